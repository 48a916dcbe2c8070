//! Ctrl-C and SIGTERM: the work in hand is dropped, what is known is written, and the exit code says so.

use crate::output::Stop;
use burnin_report::ExitCode;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The runtime of a verb: one thread waits for worker processes.
pub fn runtime() -> Result<Runtime, Stop> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Stop::environment(format!("no runtime: {error}")))
}

/// Waits for either signal.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Takes the signals over from their default, which is to die at once.
    pub fn new() -> Result<Interrupts, Stop> {
        let take =
            |kind| signal(kind).map_err(|error| Stop::environment(format!("no signal handler: {error}")));
        Ok(Interrupts {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Which one came.
    pub async fn next(&mut self) -> ExitCode {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => ExitCode::Terminated,
            _ = self.interrupt.recv() => ExitCode::Interrupted,
        }
    }

    /// `work`, or the reason why it was not awaited.
    pub async fn or<T>(&mut self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            code = self.next() => Err(Stop { code, message: "interrupted before the run was over".to_owned() }),
            result = work => result,
        }
    }
}
