//! `burnin sweep`: many seeds of many scenarios, on all cores. Passing runs leave nothing but the totals.

use crate::args::SweepArgs;
use crate::interrupt::{Interrupts, runtime};
use crate::output::{Output, Stop};
use crate::place::Chosen;
use crate::pool::Worker;
use crate::progress::Progress;
use crate::run_dir;
use crate::select;
use crate::verbs::queue::Queue;
use crate::verbs::task::{Finished, Task};
use crate::verbs::{banner, names};
use burnin_report::{ExitCode, RunReport, SweepReport, failure_block, sweep_summary};
use burnin_scenario::Seeds;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many seeds a scenario gets when nobody says.
const SEEDS_DEFAULT: u64 = 100;

/// Runs at the same time when nobody says.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// See the module.
pub fn sweep(args: &SweepArgs, output: &Output) -> Result<ExitCode, Stop> {
    let chosen = Chosen::of(&args.target)?;
    let overrides = args.overrides.pairs();
    let selected = select::scenarios(&args.scenarios, &args.tag, &overrides, output)?;
    let shard = select::shard(args.shard, |name| std::env::var(name).ok())?;
    let seeds = match (&args.seeds, args.time) {
        (Some(seeds), _) => seeds.clone(),
        (None, None) => Seeds::Span(0, SEEDS_DEFAULT),
        (None, Some(_)) => Seeds::Span(0, u64::MAX),
    };
    let endless = args.seeds.is_none() && args.time.is_some();
    output.insist(banner(&if endless { "0..".to_owned() } else { seeds.to_string() }, &names(&selected)));

    let queue = Queue::new(selected, seeds, shard, chosen, args);
    if queue.total() == Some(0) {
        let message = format!("shard {shard} has no seeds: there are fewer seeds than parts");
        return Err(Stop { code: ExitCode::Nothing, message });
    }
    let sweep = Sweep {
        report: queue.new_report(),
        queue,
        shown: BTreeSet::new(),
        progress: Progress::new(output, "runs"),
        stopped: None,
        fail_fast: args.fail_fast,
        output,
    };
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let (report, stopped) = runtime()?.block_on(sweep.run(jobs, args))?;

    let directory = run_dir::fresh(&args.limits.report.join("sweep"), &run_dir::timestamp())?;
    run_dir::write(&directory.join("sweep.json"), &report.to_json())?;
    run_dir::point_latest(&directory)?;
    output.document(&report);
    output.result(sweep_summary(&report, output.paint()).trim_end());
    output.say(format!("report {}", directory.join("sweep.json").display()));
    Ok(match (report.exit_code(), stopped) {
        (ExitCode::Interrupted, Some(code)) => code,
        (code, _) => code,
    })
}

/// A sweep under way.
struct Sweep<'a> {
    queue: Queue,
    report: SweepReport,
    /// The failures whose block was printed: class, anomaly, checker.
    shown: BTreeSet<(String, String, String)>,
    progress: Progress,
    /// The signal that ended it.
    stopped: Option<ExitCode>,
    fail_fast: bool,
    output: &'a Output,
}

impl Sweep<'_> {
    async fn run(mut self, jobs: usize, args: &SweepArgs) -> Result<(SweepReport, Option<ExitCode>), Stop> {
        let mut interrupts = Interrupts::new()?;
        let mut free: Vec<Worker> = (0..jobs).map(|_| Worker::new(args.limits.run.limit)).collect();
        let mut running = JoinSet::new();
        let deadline =
            tokio::time::sleep(args.time.map_or(Duration::from_secs(u64::from(u32::MAX)), |time| time.std()));
        tokio::pin!(deadline);
        loop {
            while let Some(worker) = free.pop() {
                let Some((scenario, task)) = self.queue.next() else { break };
                running.spawn(one(worker, scenario, task));
            }
            tokio::select! {
                biased;
                code = interrupts.next() => {
                    self.report.interrupted = true;
                    self.stopped = Some(code);
                    break;
                }
                () = &mut deadline => {
                    self.queue.time_is_over();
                    // Runs in hand are awaited: they are short, and their results count.
                    deadline.as_mut().reset(tokio::time::Instant::now() + Duration::from_secs(u64::from(u32::MAX)));
                }
                done = running.join_next() => {
                    let Some(done) = done else { break };
                    let (worker, scenario, finished) = done.map_err(Stop::internal)?;
                    free.push(worker);
                    self.take(scenario, finished?);
                }
            }
        }
        self.progress.finish();
        self.report.wall_ns = u64::try_from(self.progress.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.queue.close(&mut self.report, self.output);
        Ok((self.report, self.stopped))
    }

    fn take(&mut self, scenario: usize, finished: Finished) {
        let Finished { report, twin } = finished;
        let found = self.queue.finished(scenario, &report);
        for run in std::iter::once(&report).chain(&twin) {
            let failures = self.report.failures.len();
            self.report.add(run);
            self.output.event(&line(run));
            if self.output.verbose > 0 {
                self.progress.print(&format!(
                    "{} {}@{}: {}",
                    run.effective_class(),
                    run.scenario,
                    run.seed,
                    run.verdict
                ));
            }
            let is_failure = self.report.failures.len() > failures || self.counts_as_failure(run);
            if is_failure {
                self.show_failure(run);
                if self.fail_fast {
                    self.queue.stop();
                }
            }
        }
        if found {
            let seed = report.seed;
            let note = format!("found by seed {seed}: {} (expected)", report.verdict);
            if self.output.verbose > 0 {
                self.progress.print(&format!("{}: {note}", report.scenario));
            }
        }
        let totals = self.report.totals();
        let failures = self.report.failures.iter().map(|failure| failure.runs).sum();
        self.progress.show(totals.runs, self.queue.total(), totals.sim_ns, failures);
    }

    /// Whether the report took this run for a failure.
    fn counts_as_failure(&self, run: &RunReport) -> bool {
        let expectation =
            self.report.scenarios.get(&run.scenario).and_then(|totals| totals.expectation.as_ref());
        !run.effective_class().is_fine() && !expectation.is_some_and(|expectation| expectation.covers(run))
    }

    /// Prints the block of a failure when it is the first of its kind.
    fn show_failure(&mut self, run: &RunReport) {
        let anomaly = run.anomaly.clone().unwrap_or_default();
        let key = (run.effective_class().to_string(), anomaly, run.checker().unwrap_or_default().to_owned());
        if self.shown.insert(key) {
            self.progress.print(failure_block(run, self.output.paint()).trim_end());
        }
    }
}

async fn one(mut worker: Worker, scenario: usize, task: Task) -> (Worker, usize, Result<Finished, Stop>) {
    let finished = task.run(&mut worker).await;
    (worker, scenario, finished)
}

/// A run as a line of JSON.
fn line(run: &RunReport) -> serde_json::Value {
    json!({
        "event": "run",
        "scenario": run.scenario,
        "seed": run.seed,
        "class": run.effective_class(),
        "anomaly": run.anomaly,
        "checker": run.checker(),
        "sim_ns": run.sim_ns,
        "wall_ns": run.wall_ns,
        "events": run.events,
        "trace_hash": run.trace_hash,
        "directory": run.directory,
        "reproduce": run.reproduce,
    })
}
