//! `burnin` with runs that are scripted by their seed instead of simulated: for the tests of the command line.
//!
//! | seed modulo 100 | what happens |
//! |---|---|
//! | 13 | safety: `lost-write`, found by B2 |
//! | 14 | liveness |
//! | 15 | the broker panics |
//! | 16 | the process aborts |
//! | 17 | the run never ends, and does nothing |
//! | 18 | the trace differs from process to process, from event 1501 on |
//! | 19 | the run never ends, and works |
//! | 20 | a second of wall-clock time |
//! | 21 | three seconds of wall-clock time, a tenth of them worked: as on a busy machine |
//! | others | pass |
//!
//! A planted bug that is armed is found by seed 3; `BURNIN_SCRIPT=real-bug` finds it without the bug as well.

use burnin_cli::{Execute, Job, Outcome};
use burnin_report::{Class, Crash, FaultLine, RunReport, Violation};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    burnin_cli::main(SCRIPTED)
}

const SCRIPTED: Execute = |job| {
    let mut report = passed(job);
    let seed = job.plan.seed.0;
    let expect = job.plan.expect.as_ref().filter(|expect| !expect.near_miss);
    let real_bug = std::env::var("BURNIN_SCRIPT").is_ok_and(|script| script == "real-bug");
    if let Some(expect) = expect {
        if job.armed {
            report.happened.insert("mutant-reached".to_owned(), 1);
        }
        if seed == 3 && (job.armed || real_bug) {
            let anomaly = expect.anomaly.clone().unwrap_or_default();
            violate(&mut report, Class::Safety, expect.checker.as_deref().unwrap_or_default(), &anomaly);
        }
        return outcome(job, report, 0);
    }
    match seed % 100 {
        13 => violate(&mut report, Class::Safety, "B2", "lost-write"),
        14 => violate(&mut report, Class::Liveness, "B16", "unreadable"),
        15 => {
            report.class = Class::Crash;
            report.verdict = "broker 1 panicked".to_owned();
            report.crash = Some(Crash {
                node: "broker 1".to_owned(),
                task: "log-writer".to_owned(),
                message: "assertion failed: offset=7 end=5".to_owned(),
                at_ns: 3_000_000_000,
                event: 1234,
            });
        }
        16 => std::process::abort(),
        17 => loop {
            std::thread::park();
        },
        18 => return outcome(job, report, u64::from(std::process::id())),
        19 => loop {
            std::hint::spin_loop();
        },
        20 => std::thread::sleep(Duration::from_secs(1)),
        21 => (0..30).for_each(|_| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(10) {}
            std::thread::sleep(Duration::from_millis(90));
        }),
        _ => {}
    }
    outcome(job, report, 0)
};

fn passed(job: &Job) -> RunReport {
    let mut report = job.report(Class::Pass, "", "every check held".to_owned());
    report.anomaly = None;
    report.checked = [("B1".to_owned(), 1000), ("B2".to_owned(), 500)].into();
    report.happened = [("recovered-unclean".to_owned(), 2), ("attempt-retried".to_owned(), 3)].into();
    report.sim_ns = 51_000_000_000;
    report.wall_ns = 100_000_000;
    report.cpu_ns = 90_000_000;
    report.requests = 4000;
    report.records = 3000;
    report.events = 2500;
    report.faults = job
        .plan
        .schedule
        .iter()
        .map(|fault| FaultLine {
            at_ns: fault.at.nanos(),
            for_ns: Some(fault.lasts.nanos()),
            kind: fault.action.name().to_owned(),
            target: fault.target(),
            fired: true,
        })
        .collect();
    report
}

fn violate(report: &mut RunReport, class: Class, checker: &str, anomaly: &str) {
    report.class = class;
    report.anomaly = Some(anomaly.to_owned());
    report.verdict = format!("{anomaly} ({checker})");
    report.violations_found = 1;
    report.violations = vec![Violation {
        checker: checker.to_owned(),
        anomaly: anomaly.to_owned(),
        class,
        at_ns: 30_000_000_000,
        message: "orders-0 @ offset 8812: record 2:20417 (producer:seq) was acknowledged and is gone."
            .to_owned(),
        partition: Some("orders-0".to_owned()),
        offset: Some(8812),
        producer: Some(2),
        seq: Some(20417),
    }];
}

/// Adds a trace: the same for one seed, but for what `noise` changes from event 1501 on.
fn outcome(job: &Job, mut report: RunReport, noise: u64) -> Outcome {
    let seed = job.plan.seed.0;
    let hash_at = |event: u64| seed.wrapping_mul(1_000_003) + event + if event > 1500 { noise } else { 0 };
    report.trace_hash = format!("{:016x}", hash_at(report.events));
    let checkpoints = (1..=report.events / 1000).map(|thousand| hash_at(thousand * 1000)).collect();
    let (from, to) = job.window.unwrap_or((1, 1));
    let window = (from..to.min(report.events + 1))
        .map(|event| format!("#{event} hash {:x}", hash_at(event)))
        .collect();
    if let Some(log) = &job.log {
        std::fs::write(log, "a line of the log\n").expect("the run directory can be written");
    }
    Outcome { report, checkpoints, window }
}
