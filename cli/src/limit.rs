//! How long a run may take. In the simulator CPU time counts: a machine that is busy with other things makes a
//! run late, not wrong. A run that gets stuck without working would never be over so; one that does not work at
//! all for as long is given up as well. On real processes it is wall-clock time, on top of the plan's own.

use crate::exec::{Job, Place};
use burnin_scenario::Dur;
use std::time::Duration;
use tokio::time::Instant;

/// How often the clock of a worker is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Completes when the job has taken longer than it may, with the reason.
pub async fn reached(job: &Job, worker: Option<u32>, limit: Dur) -> String {
    match job.place {
        Place::Sim => worked(worker, limit).await,
        Place::Process { .. } => {
            let limit = limit + job.plan.run.settle_until();
            tokio::time::sleep(limit.std()).await;
            format!("the run took longer than {limit} of wall-clock time")
        }
    }
}

async fn worked(worker: Option<u32>, limit: Dur) -> String {
    let began = Instant::now();
    // Where nobody tells CPU times, wall-clock time stands for them.
    let worked = || worker.and_then(cpu_time).unwrap_or_else(|| began.elapsed());
    let before = worked();
    let (mut last, mut at) = (before, began);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = worked();
        if now.saturating_sub(before) >= limit.std() {
            return format!("the run took longer than {limit} of CPU time");
        }
        if now != last {
            (last, at) = (now, Instant::now());
        }
        if at.elapsed() >= limit.std() {
            return format!("the run did nothing for {limit}");
        }
    }
}

/// What a process has worked so far, all its threads together.
fn cpu_time(process: u32) -> Option<Duration> {
    const USER: usize = 11;
    const SYSTEM: usize = 12;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program is in parentheses and may hold anything; the state comes after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((ticks(USER)? + ticks(SYSTEM)?) * 1000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_counts_work_and_not_waiting() {
        let us = std::process::id();
        let before = cpu_time(us).expect("Linux tells");
        let began = std::time::Instant::now();
        while cpu_time(us).unwrap() < before + Duration::from_millis(50) {
            assert!(began.elapsed() < Duration::from_secs(60), "work does not count");
        }
        assert_eq!(cpu_time(0), None);
    }
}
