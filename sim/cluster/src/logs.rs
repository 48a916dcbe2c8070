//! The nodes' logs: one file, each line with simulated time, event number and node, so that two runs of a
//! seed give the same file.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

thread_local! {
    static NAMES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The nodes' names by number, for the world of this thread.
pub(crate) fn set_names(names: Vec<String>) {
    NAMES.with(|known| *known.borrow_mut() = names);
}

struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let Some(current) = burnin_engine::current() else { return write!(out, "-") };
        NAMES.with(|names| {
            let names = names.borrow();
            let name = names.get(current.node.index() as usize).map_or("?", String::as_str);
            write!(out, "{} #{} {name}", current.now, current.event)
        })
    }
}

/// A subscriber that writes to a new file. `BURNIN_LOG` filters; everything from `info` on by default.
pub(crate) fn to_file(path: &Path) -> io::Result<impl Subscriber + Send + Sync + use<>> {
    // tidy: allow(disk): a run's log is written outside of the simulated world
    let file = std::fs::File::create(path)?;
    let filter = EnvFilter::try_from_env("BURNIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    Ok(tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SimulatedTime)
        .with_ansi(false)
        .with_writer(Mutex::new(io::LineWriter::new(file)))
        .finish())
}
