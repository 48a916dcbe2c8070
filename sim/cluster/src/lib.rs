//! Runs a plan: boots the cluster and its clients in a simulated world, drives the workloads, has the faults
//! injected, heals, lets everything settle, reads everything back, and reports.
//!
//! ```text
//!  0        warmup              heal_at                      settle_until
//!  |-- boot --|---- faults --------|-- progress --|-- final read --|-- verdict
//! ```
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | the machines of a plan, and what the injector must ask of them |
//! | `nodes.rs` | who the machines are, and each one's properties |
//! | `observed.rs` | leaders, ISRs and high watermarks, from what the brokers tell their probes |
//! | `phases.rs` | the run from boot to final read |
//! | `logs.rs` | the nodes' logs, in simulated time |

mod logs;
mod nodes;
mod observed;
mod phases;
mod world;

use burnin_engine::{LinkModel, Sim, SimConfig, SimError};
use burnin_report::{Crash, RunReport, Target};
use burnin_run::{Broke, Ended, History, Measured};
use burnin_scenario::Plan;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
// tidy: allow(clock): how long a run takes is measured outside of the simulated world
use std::time::{Duration, Instant};
use world::World;

/// What to keep of a run besides its report.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Whether the planted bug of the plan's expectation is armed.
    pub armed: bool,
    /// Where the nodes' logs go; the history goes next to them, into a file that ends with `.history`.
    pub log: Option<PathBuf>,
    /// The events of the trace to write down: the first, and the one behind the last.
    pub window: Option<(u64, u64)>,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct RunOutput {
    /// The report. `reproduce`, `directory` and `verified` are the caller's to fill in.
    pub report: RunReport,
    /// The trace's hash after each thousand events.
    pub checkpoints: Vec<u64>,
    /// The events of the window that was asked for, as text.
    pub window: Vec<String>,
}

/// Runs a plan in the calling thread. A panic of the system under test is an outcome, not a panic.
pub fn run(plan: &Plan, options: &RunOptions) -> RunOutput {
    let logs = options.log.as_ref().map(|path| logs::to_file(path));
    match logs {
        Some(Ok(subscriber)) => tracing::subscriber::with_default(subscriber, || run_here(plan, options)),
        Some(Err(error)) => {
            let mut output = run_here(plan, options);
            output.report.skipped.push(format!("no logs were written: {error}"));
            output
        }
        None => run_here(plan, options),
    }
}

fn run_here(plan: &Plan, options: &RunOptions) -> RunOutput {
    let wall = Instant::now(); // tidy: allow(clock): how long a run takes is measured outside of the simulated world
    let cpu = thread_cpu_ns();
    let mut sim = Sim::new(plan.seed.0, sim_config(plan));
    let handle = sim.handle();
    let window = Arc::new(Mutex::new(Vec::new()));
    if let Some((first, end)) = options.window {
        let lines = window.clone();
        handle.set_trace_sink(Some(Box::new(move |event| {
            if (first..end).contains(&event.event) {
                lines.lock().push(event.to_string());
            }
        })));
    }
    let mut history = History::new(plan);
    let mut skipped = None;
    if let Some(log) = &options.log {
        // tidy: allow(disk): a run's history is written outside of the simulated world
        match std::fs::File::create(log.with_extension("history")) {
            Ok(file) => history.write_to(Box::new(std::io::BufWriter::new(file))),
            Err(error) => skipped = Some(format!("no history was written: {error}")),
        }
    }
    let history = Arc::new(Mutex::new(history));
    let world = World::new(handle.clone(), plan, options.armed, history.clone());
    logs::set_names(world.names());
    let ended: Result<Ended, SimError> = sim.block_on(phases::run(world.clone(), plan.clone()));
    let trace = sim.trace();
    let measured = Measured {
        target: Target::Sim,
        sim_ns: handle.now().as_nanos(),
        wall_ns: wall.elapsed().as_nanos() as u64,
        cpu_ns: thread_cpu_ns().saturating_sub(cpu),
        requests: world.stage().requests(),
        events: trace.events,
        trace_hash: format!("{:016x}", trace.hash),
    };
    handle.set_trace_sink(None);
    let mut history = history.lock();
    if world.mutant_reached() > 0 {
        history.happened.insert("mutant-reached".to_owned(), world.mutant_reached());
    }
    let mut report = burnin_run::of_run(plan, &mut history, ended.map_err(broke), &measured);
    report.skipped.extend(skipped);
    drop(history);
    drop(sim);
    let window = std::mem::take(&mut *window.lock());
    RunOutput { report, checkpoints: trace.checkpoints, window }
}

/// CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn broke(error: SimError) -> Broke {
    let words = error.to_string();
    match error {
        SimError::Crash { node, task, message, at, event } => {
            Broke::Crash(Crash { node, task, message, at_ns: at.as_nanos(), event })
        }
        SimError::Deadlock { .. } => Broke::Hung("deadlock", words),
        SimError::Livelock { .. } => Broke::Hung("livelock", words),
        _ => Broke::Hung("limit", words),
    }
}

fn sim_config(plan: &Plan) -> SimConfig {
    let latency = world::latency(plan.network.latency);
    SimConfig {
        link: LinkModel { latency, bandwidth: Some(plan.network.bandwidth.0), ..LinkModel::default() },
        // Whatever hangs after the end of the plan is a bug of the run, found by this limit.
        time_max: plan.run.settle_until().std() * 4 + Duration::from_secs(600),
        ..SimConfig::default()
    }
}
