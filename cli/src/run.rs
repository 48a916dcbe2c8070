//! Runs jobs where they are to run.

use crate::exec::{Job, Outcome, Place};
use crate::work_dir;
use burnin_cluster::RunOptions;
use burnin_process::Options;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::sync::{Arc, LazyLock};
use tokio::sync::Notify;

/// Runs a job in the calling thread.
pub fn execute(job: &Job) -> Outcome {
    match &job.place {
        Place::Sim => {
            let options = RunOptions { armed: job.armed, log: job.log.clone(), window: job.window };
            let output = burnin_cluster::run(&job.plan, &options);
            Outcome { report: output.report, checkpoints: output.checkpoints, window: output.window }
        }
        Place::Process { broker, directory } => {
            let options = Options {
                broker: broker.clone(),
                directory: directory.clone(),
                armed: job.armed,
                log: job.log.clone(),
                abandoned: ABANDONED.clone(),
            };
            let report = burnin_process::run(&job.plan, &options);
            if has_hung_up(Some(&Timespec::default())) {
                // Nobody else is there to do it.
                work_dir::remove(directory);
            }
            report.into()
        }
    }
}

/// Told when whoever wants the outcomes is gone.
static ABANDONED: LazyLock<Arc<Notify>> = LazyLock::new(|| {
    let abandoned = Arc::new(Notify::new());
    let tell = abandoned.clone();
    std::thread::spawn(move || {
        if has_hung_up(None) {
            tell.notify_one();
        }
    });
    abandoned
});

/// Whether our standard input has no writer any more; waits for it so long, or for ever. The next job may be
/// waiting to be read: that does not count.
fn has_hung_up(wait: Option<&Timespec>) -> bool {
    let stdin = rustix::stdio::stdin();
    loop {
        let mut input = [PollFd::new(&stdin, PollFlags::empty())];
        match poll(&mut input, wait) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return input[0].revents().contains(PollFlags::HUP),
        }
    }
}
