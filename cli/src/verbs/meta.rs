//! `burnin meta`: determinism is proven, not claimed. Each seed is run twice, in two processes, and the traces
//! must be equal event for event.

use crate::args::MetaArgs;
use crate::audit::{self, Divergence};
use crate::exec::Job;
use crate::interrupt::{Interrupts, runtime};
use crate::output::{Output, Stop};
use crate::place::Chosen;
use crate::pool::Worker;
use crate::progress::Progress;
use crate::select;
use crate::verbs::sweep::cores;
use crate::verbs::{banner, names, reproduce};
use burnin_report::ExitCode;
use burnin_scenario::Dur;
use serde::Serialize;
use tokio::task::JoinSet;

/// What is reported.
#[derive(Debug, Default, Serialize)]
struct MetaReport {
    seeds: u64,
    events: u64,
    divergences: Vec<Difference>,
    interrupted: bool,
}

/// A seed that gave two different runs.
#[derive(Debug, Serialize)]
struct Difference {
    scenario: String,
    seed: u64,
    trace_hashes: [String; 2],
    event: Option<u64>,
    within: Option<(u64, u64)>,
    lines: Option<[String; 2]>,
    reproduce: String,
}

/// A seed to try.
struct Trial {
    job: Job,
    reproduce: String,
}

/// What a trial gave: events, simulated time, and a difference.
type Tried = (u64, u64, Option<Difference>);

/// See the module.
pub fn meta(args: &MetaArgs, output: &Output) -> Result<ExitCode, Stop> {
    let overrides = args.overrides.pairs();
    let selected = select::scenarios(&args.scenarios, &[], &overrides, output)?;
    output.insist(banner(&args.seeds.to_string(), &names(&selected)));
    let mut trials = args.seeds.iter().flat_map(|seed| {
        selected.iter().map(move |one| (one, seed)).map(|(one, seed)| Trial {
            job: Job::new(one.scenario.resolve(seed)),
            reproduce: reproduce(&one.path, seed, &overrides, true, &Chosen::Sim),
        })
    });
    let total = args.seeds.count() * selected.len() as u64;
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let report = runtime()?.block_on(async {
        let mut interrupts = Interrupts::new()?;
        let mut progress = Progress::new(output, "seeds, each twice");
        let mut free: Vec<[Worker; 2]> =
            (0..jobs).map(|_| [(); 2].map(|()| Worker::new(args.limits.run.limit))).collect();
        let mut running = JoinSet::new();
        let mut report = MetaReport::default();
        let mut simulated = 0;
        loop {
            while let Some(workers) = free.pop() {
                let Some(trial) = trials.next() else { break };
                running.spawn(twice(workers, trial, args.limits.run.limit));
            }
            let (workers, tried) = tokio::select! {
                biased;
                code = interrupts.next() => {
                    report.interrupted = true;
                    progress.finish();
                    return Ok((report, Some(code)));
                }
                done = running.join_next() => match done {
                    None => break,
                    Some(done) => done.map_err(Stop::internal)?,
                },
            };
            free.push(workers);
            let (events, sim_ns, difference) = tried?;
            report.seeds += 1;
            report.events += events;
            simulated += sim_ns;
            if let Some(difference) = difference {
                progress.print(&describe(&difference));
                output.event(&difference);
                report.divergences.push(difference);
            }
            progress.show(report.seeds, Some(total), simulated, report.divergences.len() as u64);
        }
        progress.finish();
        Ok((report, None))
    });
    let (report, stopped): (MetaReport, Option<ExitCode>) = report?;
    output.document(&report);
    let verdict = match report.divergences.len() {
        0 => "no divergence".to_owned(),
        1 => "1 DIVERGENCE".to_owned(),
        n => format!("{n} DIVERGENCES"),
    };
    let MetaReport { seeds, events, .. } = report;
    output.result(format!(
        "{verdict} in {seeds} seeds, each run twice in two processes ({events} events compared)"
    ));
    Ok(match (report.divergences.is_empty(), stopped) {
        (false, _) => ExitCode::NonDeterminism,
        (true, Some(code)) => code,
        (true, None) if seeds == 0 => ExitCode::Nothing,
        (true, None) => ExitCode::Pass,
    })
}

/// Runs a trial in both processes and compares.
async fn twice(mut workers: [Worker; 2], trial: Trial, run_limit: Dur) -> ([Worker; 2], Result<Tried, Stop>) {
    let tried = compare(&mut workers, &trial, run_limit).await;
    (workers, tried)
}

async fn compare(workers: &mut [Worker; 2], trial: &Trial, run_limit: Dur) -> Result<Tried, Stop> {
    let [first, second] = workers;
    let one = first.run(&trial.job).await?;
    let two = second.run(&trial.job).await?;
    let (events, sim_ns) = (one.report.events, one.report.sim_ns);
    if audit::same(&one, &two) {
        return Ok((events, sim_ns, None));
    }
    let Divergence { event, within, lines } = audit::locate(&trial.job, &one, &two, run_limit).await?;
    let difference = Difference {
        scenario: trial.job.plan.scenario.clone(),
        seed: trial.job.plan.seed.0,
        trace_hashes: [one.report.trace_hash, two.report.trace_hash],
        event,
        within,
        lines,
        reproduce: trial.reproduce.clone(),
    };
    Ok((events, sim_ns, Some(difference)))
}

fn describe(difference: &Difference) -> String {
    let Difference { scenario, seed, trace_hashes: [one, two], .. } = difference;
    let place = match (difference.event, difference.within) {
        (Some(event), _) => format!("first at event {event}"),
        (None, Some((from, to))) => format!("between events {from} and {}", to - 1),
        (None, None) => "in the verdict, not in the trace".to_owned(),
    };
    let mut text = format!("DIVERGED {scenario}@{seed}: {place} (trace hash {one}, then {two})");
    for (run, line) in difference.lines.iter().flatten().enumerate() {
        text.push_str(&format!("\n    run {}: {line}", run + 1));
    }
    text.push_str(&format!("\n    reproduce: {}", difference.reproduce));
    text
}
