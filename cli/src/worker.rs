//! A worker process: reads a job per line from standard input, runs it, writes its outcome as a line to
//! standard output. It ends when its input does.

use crate::exec::{Execute, Job, Outcome};
use crate::output::Stop;
use burnin_report::ExitCode;
use std::io::{BufRead, Write, stdin, stdout};

/// How much stack a run gets.
const STACK_BYTES: usize = 16 << 20;

/// Serves until the input ends.
pub fn serve(execute: Execute) -> Result<ExitCode, Stop> {
    for line in stdin().lock().lines() {
        let line = line.map_err(|error| Stop::internal(format!("reading a job: {error}")))?;
        let job: Job =
            serde_json::from_str(&line).map_err(|error| Stop::internal(format!("reading a job: {error}")))?;
        let outcome = in_fresh_thread(execute, job);
        let mut answer = serde_json::to_string(&outcome).expect("an outcome is plain data");
        answer.push('\n');
        let mut out = stdout().lock();
        out.write_all(answer.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Stop::internal(format!("writing an outcome: {error}")))?;
    }
    Ok(ExitCode::Pass)
}

/// Each seed has a thread of its own, so that nothing of a thread outlives a run. A panic that gets here is
/// not the system under test's (that would be an outcome) but ours: the process dies of it, and whoever
/// waits for the answer reports it.
fn in_fresh_thread(execute: Execute, job: Job) -> Outcome {
    let name = format!("seed {}", job.plan.seed);
    let thread = std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || execute(&job));
    let outcome = thread.map(std::thread::JoinHandle::join);
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => std::process::abort(),
        Err(error) => panic!("no thread for a run: {error}"),
    }
}
