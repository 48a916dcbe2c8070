//! `burnin zoo`: how well planted bugs are found. Each mutant is armed in runs of the general scenarios, seed after
//! seed, until one finds it or the budget is over; then so many more runs measure how often.
//!
//! General is every scenario that is given and expects nothing itself. A round is one seed, and in it one scenario
//! after the other, shuffled, so that also a few runs are a fair sample. So that a thousand runs of a bug that is hard
//! to find are worth their time:
//!
//! - a bug of anything but the log is armed in clusters only;
//! - in the first rounds every scenario takes part, then those in which the bug's line was reached, and the others in
//!   one round of eight;
//! - a scenario with hundreds of partitions takes part in one round of as many.
//!
//! What is run does not depend on what was found, so the rate is that of this mixture. A find counts when the bug's line
//! was reached, and the first one only when the same run without the bug is clean; else the zoo ends with that run.

mod page;

use crate::args::{Format, ZooArgs};
use crate::exec::Job;
use crate::interrupt::{Interrupts, runtime};
use crate::output::{Output, Stop};
use crate::pool::Worker;
use crate::select::{self, Selected};
use crate::verbs::sweep::cores;
use burnin_report::{Class, ExitCode};
use burnin_runtime::Mutant;
use burnin_scenario::{Controllers, Dur, Expect, Seed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// In so many rounds every scenario takes part.
const FIRST: u64 = 2;
/// Then those in which the line was not reached take part once in so many.
const SELDOM: u64 = 8;
/// So many partitions make a scenario as expensive as another one.
const PARTITIONS: u64 = 50;

/// What is known of a mutant.
#[derive(Clone, Debug, Serialize)]
pub struct Specimen {
    id: &'static str,
    component: &'static str,
    /// What it puts at risk.
    area: &'static str,
    summary: &'static str,
    /// Whether a run found it.
    detected: bool,
    /// Who found it first: a checker, or `assert` when the broker noticed by itself.
    checker: Option<String>,
    /// The run that found it first, as `SCENARIO@SEED`.
    first: Option<String>,
    /// How many runs it took to find it; all of them when none did.
    seeds: u64,
    /// CPU time until then.
    cpu_seconds: f64,
    /// Runs, in which the mutated line was reached, and which found it.
    runs: u64,
    reached: u64,
    found: u64,
    /// The rate of detection per run lies between these with 95 % confidence (Clopper and Pearson).
    rate_low: f64,
    rate_high: f64,
}

/// See the module.
pub fn zoo(args: &ZooArgs, output: &Output) -> Result<ExitCode, Stop> {
    let mutants: Vec<Mutant> = match (&args.id, args.all) {
        (Some(id), false) => vec![id.parse().map_err(Stop::usage)?],
        (None, true) => Mutant::ALL.to_vec(),
        _ => return Err(Stop::usage("give one ID, or --all")),
    };
    let selected = select::scenarios(&args.scenarios, &args.tag, &args.overrides.pairs(), output)?;
    let selected: Arc<[Selected]> = selected.into_iter().filter(is_general).collect();
    let budget = Budget { seeds: args.seeds, more: args.more, run_limit: args.run.limit };
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let mut specimens: BTreeMap<Mutant, Specimen> = BTreeMap::new();
    let stopped: Option<ExitCode> = runtime()?.block_on(async {
        let mut interrupts = Interrupts::new()?;
        let mut waiting = mutants.iter().copied();
        let mut running = JoinSet::new();
        loop {
            while running.len() < jobs
                && let Some(mutant) = waiting.next()
            {
                running.spawn(measure(mutant, selected.clone(), budget));
            }
            let specimen = tokio::select! {
                biased;
                code = interrupts.next() => return Ok(Some(code)),
                done = running.join_next() => match done {
                    None => return Ok::<_, Stop>(None),
                    Some(done) => done.map_err(Stop::internal)??,
                },
            };
            if args.json(output) {
                println!("{}", serde_json::to_string(&specimen.1).expect("plain data"));
            }
            output.say(line(&specimen.1));
            specimens.insert(specimen.0, specimen.1);
        }
    })?;
    let specimens: Vec<Specimen> = specimens.into_values().collect();
    if !args.json(output) {
        output.result(page::table(&specimens).trim_end());
    }
    if let Some(code) = stopped {
        return Ok(code);
    }
    if let Some(path) = &args.table {
        std::fs::write(path, page::page(&specimens, &selected, budget))
            .map_err(|error| Stop::environment(format!("failed to write {}: {error}", path.display())))?;
    }
    let missed = specimens.iter().any(|specimen| !specimen.detected);
    Ok(if missed { ExitCode::Coverage } else { ExitCode::Pass })
}

impl ZooArgs {
    fn json(&self, output: &Output) -> bool {
        output.format != Format::Text
    }
}

/// How much is run for one bug.
#[derive(Clone, Copy, Debug)]
struct Budget {
    seeds: u64,
    more: u64,
    run_limit: Dur,
}

/// Whether a scenario was written for no bug.
fn is_general(one: &Selected) -> bool {
    one.scenario.expect.is_none()
}

/// Whether a bug of `component` can matter in a scenario: only the log is there without other brokers.
fn concerns(component: &str, one: &Selected) -> bool {
    let topology = &one.scenario.topology;
    component == "log" || topology.brokers.high() > 1 || topology.controllers != Controllers::Combined
}

/// Which scenario is run with which seed: see the module.
struct Rounds {
    weights: Vec<u64>,
    reached: Vec<bool>,
    seed: u64,
    /// The scenarios of this round that are yet to come, the next one last.
    waiting: Vec<usize>,
}

impl Rounds {
    fn new(scenarios: &[&Selected]) -> Rounds {
        let weight = |one: &&Selected| {
            let topics = one.scenario.topology.topic.iter();
            1 + topics.map(|topic| u64::from(topic.partitions)).sum::<u64>() / PARTITIONS
        };
        Rounds::of(scenarios.iter().map(weight).collect())
    }

    fn of(weights: Vec<u64>) -> Rounds {
        let (reached, waiting) = (vec![false; weights.len()], shuffled(weights.len(), 0));
        Rounds { weights, reached, seed: 0, waiting }
    }

    /// Whether a scenario takes part with the seed of this round.
    fn takes_part(&self, number: usize) -> bool {
        let every = if self.seed < FIRST || self.reached[number] { 1 } else { SELDOM };
        self.seed.is_multiple_of(every * self.weights[number])
    }
}

impl Iterator for Rounds {
    type Item = (usize, Seed);

    fn next(&mut self) -> Option<(usize, Seed)> {
        if self.weights.is_empty() {
            return None;
        }
        loop {
            let Some(number) = self.waiting.pop() else {
                self.seed += 1;
                self.waiting = shuffled(self.weights.len(), self.seed);
                continue;
            };
            if self.takes_part(number) {
                return Some((number, Seed(self.seed)));
            }
        }
    }
}

/// The numbers below `count` in the order of this round (Fisher and Yates).
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut entropy = Seed(seed).stream("zoo");
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, entropy.below(last as u64 + 1) as usize);
    }
    order
}

async fn measure(
    mutant: Mutant,
    selected: Arc<[Selected]>,
    budget: Budget,
) -> Result<(Mutant, Specimen), Stop> {
    let info = mutant.info();
    let mut worker = Worker::new(budget.run_limit);
    let mut specimen = Specimen::of(mutant);
    let scenarios: Vec<&Selected> = selected.iter().filter(|one| concerns(info.component, one)).collect();
    let mut rounds = Rounds::new(&scenarios);
    loop {
        let enough = if specimen.detected { budget.more.min(budget.seeds) } else { budget.seeds };
        let Some((number, seed)) = rounds.next().filter(|_| specimen.runs < enough) else { break };
        let mut plan = scenarios[number].scenario.resolve(seed);
        plan.expect = Some(Expect {
            mutant: Some(info.id.to_owned()),
            wrong_setting: None,
            anomaly: None,
            checker: None,
            within_seeds: 1,
            near_miss: false,
        });
        let unarmed = Job { armed: false, ..Job::new(plan.clone()) };
        let report = worker.run(&Job::new(plan)).await?.report;
        let reached = report.happened.contains_key("mutant-reached");
        rounds.reached[number] |= reached;
        specimen.runs += 1;
        specimen.reached += u64::from(reached);
        if !specimen.detected {
            specimen.seeds += 1;
            specimen.cpu_seconds += report.cpu_ns as f64 / 1e9;
        }
        let first = report.violations.first().map(|found| found.checker.clone());
        let by = match report.class {
            Class::Safety | Class::Liveness => first.unwrap_or("B16".to_owned()),
            Class::Crash => first.unwrap_or("assert".to_owned()),
            _ => continue,
        };
        if !specimen.detected || !reached {
            let without = worker.run(&unarmed).await?.report;
            if !reached || matches!(without.class, Class::Safety | Class::Liveness | Class::Crash) {
                let (id, name) = (specimen.id, &scenarios[number].scenario.name);
                return Err(Stop {
                    code: without.exit_code(),
                    message: format!("{name}@{seed} fails without {id} as well: {}", report.verdict),
                });
            }
        }
        specimen.found += 1;
        specimen.detected = true;
        specimen.checker.get_or_insert(by);
        specimen.first.get_or_insert(format!("{}@{seed}", scenarios[number].scenario.name));
    }
    (specimen.rate_low, specimen.rate_high) = interval(specimen.found, specimen.runs);
    Ok((mutant, specimen))
}

/// The interval of Clopper and Pearson for `found` of `runs`, at 95 %.
fn interval(found: u64, runs: u64) -> (f64, f64) {
    if runs == 0 {
        return (0.0, 1.0);
    }
    // The probability of at most `k` successes is monotone in the rate, so halve.
    let solve = |k: u64, wanted: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if at_most(k, runs, middle) > wanted { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    };
    let low = if found == 0 { 0.0 } else { solve(found - 1, 0.975) };
    let high = if found == runs { 1.0 } else { solve(found, 0.025) };
    (low, high)
}

/// The probability of at most `k` successes in `n` trials of rate `p`.
fn at_most(k: u64, n: u64, p: f64) -> f64 {
    let (p, q) = (p.clamp(1e-12, 1.0 - 1e-12), (1.0 - p).clamp(1e-12, 1.0));
    let mut log = n as f64 * q.ln();
    let mut sum = log.exp();
    for i in 0..k {
        log += ((n - i) as f64 / (i + 1) as f64).ln() + p.ln() - q.ln();
        sum += log.exp();
    }
    sum.min(1.0)
}

fn line(specimen: &Specimen) -> String {
    match &specimen.checker {
        Some(checker) => format!(
            "{} found by {checker} after {} runs, {:.1} CPU seconds ({} of {})",
            specimen.id, specimen.seeds, specimen.cpu_seconds, specimen.found, specimen.runs
        ),
        None => format!(
            "{} not found in {} runs (the mutated line was reached in {})",
            specimen.id, specimen.runs, specimen.reached
        ),
    }
}

impl Specimen {
    /// Nothing was run yet.
    fn of(mutant: Mutant) -> Specimen {
        let info = mutant.info();
        Specimen {
            id: info.id,
            component: info.component,
            area: info.area,
            summary: info.summary,
            detected: false,
            checker: None,
            first: None,
            seeds: 0,
            cpu_seconds: 0.0,
            runs: 0,
            reached: 0,
            found: 0,
            rate_low: 0.0,
            rate_high: 1.0,
        }
    }

    fn rate(&self) -> f64 {
        self.found as f64 / self.runs.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_in_which_nothing_is_reached_are_looked_at_seldom() {
        let mut rounds = Rounds::of(vec![1, 1, 20]);
        let mut taken = [0; 3];
        while let Some((number, seed)) = rounds.next()
            && seed.0 < 24
        {
            taken[number] += 1;
            rounds.reached[0] = true;
        }
        assert_eq!(taken, [24, 4, 1]);
        assert_eq!(Rounds::of(Vec::new()).next(), None);
    }

    #[test]
    fn an_object_has_what_is_promised() {
        let specimen = Specimen::of(Mutant::S01);
        let json = serde_json::to_value(&specimen).unwrap();
        for field in
            ["id", "component", "detected", "checker", "seeds", "cpu_seconds", "rate_low", "rate_high"]
        {
            assert!(json.get(field).is_some(), "no {field} in {json}");
        }
    }

    #[test]
    fn interval_is_that_of_clopper_and_pearson() {
        let close = |(low, high): (f64, f64), (a, b): (f64, f64)| {
            assert!((low - a).abs() < 1e-3 && (high - b).abs() < 1e-3, "{low} {high}");
        };
        close(interval(0, 10), (0.0, 0.3085));
        close(interval(10, 10), (0.6915, 1.0));
        close(interval(5, 20), (0.0866, 0.4910));
    }
}
