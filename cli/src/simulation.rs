//! Runs jobs on the simulated cluster.

use crate::exec::{Job, Outcome};
use burnin_cluster::RunOptions;

/// Runs a job in the calling thread.
pub fn in_simulation(job: &Job) -> Outcome {
    let options = RunOptions { armed: job.armed, log: job.log.clone(), window: job.window };
    let output = burnin_cluster::run(&job.plan, &options);
    Outcome { report: output.report, checkpoints: output.checkpoints, window: output.window }
}
