//! Runs a plan on real broker processes of this machine: `burnin run scenario.toml --target process`.
//!
//! The brokers are `burnin-broker` as users start it, each with a directory, a `server.properties` and ports
//! of its own on loopback; clients, history and checkers are the same as in the simulator, on tokio. Faults
//! are applied to the processes: kill, stop, restart, pause. What this target cannot do is left out and named
//! in the report (`needs.rs`).
//!
//! Nothing is left behind: every child dies with the thread that runs the plan, by an explicit kill when that
//! goes on, and by the kernel (`PR_SET_PDEATHSIG`) when it is gone. The directory is the caller's to remove.
//!
//! | file | what |
//! |---|---|
//! | `needs.rs` | what the target can do, and what of a plan it must leave out |
//! | `cluster.rs` | the nodes of a plan: directories, ports, properties, roles |
//! | `node.rs` | one broker process: start, signals, how it ended |
//! | `faults.rs` | what can be done to the processes |
//! | `phases.rs` | the run from boot to final read |

mod cluster;
mod faults;
mod needs;
mod node;
mod phases;

use burnin_report::{Class, RunReport, Target};
use burnin_run::{Broke, Ended, History, Measured};
use burnin_scenario::Plan;
use cluster::Cluster;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

pub use needs::{can, takes_faults, white_box};

/// Where and how a plan runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's program.
    pub broker: PathBuf,
    /// An existing directory for everything that the nodes write.
    pub directory: PathBuf,
    /// Whether the plan's planted bug is to be armed, which this target cannot.
    pub armed: bool,
    /// The nodes' output goes next to this file, and the history into a file that ends with `.history`. By
    /// default the output goes into the directory, and the history nowhere.
    pub log: Option<PathBuf>,
    /// Ends the run when it is told: everything is killed at once.
    pub abandoned: Arc<Notify>,
}

/// Runs a plan in the calling thread. Must not be called inside of a tokio runtime.
pub fn run(plan: &Plan, options: &Options) -> RunReport {
    let wall = Instant::now();
    let cpu = cpu_ns();
    let needs::Fit { plan: possible, lacking, skipped } = needs::fit(plan, options.armed);
    let mut history = History::new(plan);
    let mut notes = Vec::new();
    if let Some(log) = options.log.as_ref().filter(|_| skipped.is_none()) {
        match std::fs::File::create(log.with_extension("history")) {
            Ok(file) => history.write_to(Box::new(std::io::BufWriter::new(file))),
            Err(error) => notes.push(format!("no history was written: {error}")),
        }
    }
    let history = Arc::new(Mutex::new(history));
    let (ended, requests) = match &skipped {
        Some(_) => (Ok(Ended::default()), 0),
        None => with_nodes(&possible, options, &history, async |cluster| {
            phases::run(cluster, &possible, options, &history).await
        }),
    };
    let measured = Measured {
        target: Target::Process,
        sim_ns: 0,
        wall_ns: wall.elapsed().as_nanos() as u64,
        cpu_ns: cpu_ns().saturating_sub(cpu),
        requests,
        events: 0,
        trace_hash: "none".to_owned(),
    };
    let mut report = burnin_run::of_run(plan, &mut history.lock(), ended, &measured);
    report.checked.retain(|checker, _| needs::judges(checker));
    report.lacking = lacking;
    report.skipped.extend(notes);
    if let Some(why) = skipped {
        report.class = Class::Skipped;
        report.anomaly = None;
        report.verdict = why;
        report.checked.clear();
    }
    report
}

type Result = std::result::Result<Ended, Broke>;

/// Has `body` run beside the plan's nodes, and ends them. Gives the requests that were answered as well.
fn with_nodes(
    plan: &Plan,
    options: &Options,
    history: &Arc<Mutex<History>>,
    body: impl AsyncFnOnce(&Cluster) -> Result,
) -> (Result, u64) {
    let unproven = |why: String| (Ok(Ended { unproven: Some(why), ..Ended::default() }), 0);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unproven(format!("no runtime: {error}")),
    };
    let outcome = runtime.block_on(async {
        match Cluster::new(plan, options, history.clone()) {
            Err(why) => unproven(why),
            Ok(cluster) => {
                let ended = body(&cluster).await;
                cluster.kill_all().await;
                (ended, cluster.stage().requests())
            }
        }
    });
    // A client's name look-up or a disk operation that never returns must not keep the run.
    runtime.shutdown_background();
    outcome
}

/// CPU time of this process; that of the brokers is not in it.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_scenario::{Scenario, Seed};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Duration;

    /// The processes that were told of a folder; one that ended and was not waited for has no arguments any more.
    fn processes(folder: &Path) -> usize {
        let folder = folder.display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        commands.filter(|command| String::from_utf8_lossy(command).contains(&folder)).count()
    }

    #[test]
    fn panic_of_the_runner_takes_its_nodes_along() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/replication/rolling-restart.toml");
        let plan = Scenario::load(&path).unwrap().resolve(Seed(0));
        let broker = folder.path().join("broker");
        std::fs::write(&broker, "#!/bin/sh\nexec tail -f \"$2\"\n").unwrap();
        std::fs::set_permissions(&broker, std::fs::Permissions::from_mode(0o755)).unwrap();
        let directory = folder.path().to_owned();
        let options = Options { broker, directory, armed: true, log: None, abandoned: Arc::default() };
        let nodes = folder.path().to_owned();
        let runner = std::thread::spawn(move || {
            let history = Arc::new(Mutex::new(History::new(&plan)));
            with_nodes(&plan, &options, &history, async |cluster| {
                cluster.members.iter().for_each(|member| member.node.start().unwrap());
                while processes(&nodes) < 3 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                panic!("a bug of the runner");
            })
        });
        let panic = runner.join().err().expect("the runner panics");
        assert_eq!(panic.downcast_ref(), Some(&"a bug of the runner"));
        let began = Instant::now();
        while processes(folder.path()) > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "nodes run on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
