//! Tests of a scenario: each seed is run as `burnin run` would run it, and the test says what it makes of it.
//!
//! What a sweep asks of the whole is asked here as well: what must sometimes happen has happened (when there are
//! enough seeds to ask for it), and a scenario that plants a bug is over when the bug was found and gone when it is
//! not planted, and fails when none of its `within_seeds` seeds found it.

use crate::child::Window;
use crate::drive::{Attempt, Driven, drive};
use crate::failure::{Failure, Result};
use crate::place::TestPlace;
use crate::seeds::{Chosen, Outside, choose};
use burnin_cluster::{RunOptions, RunOutput};
use burnin_engine::Trace;
use burnin_report::{Class, Expectation, RunReport, SweepReport};
use burnin_scenario::{CheckKind, Expect, Plan, Scenario, Seed, Seeds};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// With fewer seeds nothing is asked of what sometimes happens.
const SOMETIMES_SEEDS_MIN: u64 = 20;

/// A run of a scenario that is over.
#[derive(Clone, Debug)]
pub struct Run {
    plan: Plan,
    report: RunReport,
    looked_at: Arc<AtomicBool>,
}

impl Run {
    /// Whether it went as the scenario says: everything that it checks held, or, where it plants a bug, the
    /// bug had consequences or none. (That it is found is asked of all seeds together.)
    pub fn check(&self) -> Result {
        let RunReport { class, anomaly, verdict, .. } = self.report();
        let planted = self.plan.expect.as_ref().is_some_and(|expect| !expect.near_miss);
        match class {
            Class::Pass => Ok(()),
            Class::Safety | Class::Liveness if planted => Ok(()),
            _ => Err(Failure::new(format!("{}: {verdict}", anomaly.as_deref().unwrap_or(class.name())))),
        }
    }

    /// Everything that came out: violations, counters, the faults that were applied.
    pub fn report(&self) -> &RunReport {
        self.looked_at.store(true, Ordering::Relaxed);
        &self.report
    }

    /// What was run: the scenario with everything drawn from the seed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.plan.seed.0
    }
}

/// Runs a scenario once per seed; what `#[burnin::test(scenario = ...)]` calls. `path` is relative to the
/// package, or else to a folder around it.
#[track_caller]
pub fn run_scenario_test(
    place: TestPlace,
    path: &str,
    seeds: u64,
    check_determinism: bool,
    body: impl Fn(Run) -> Result + Sync,
) {
    let (scenario, mut chosen) = match prepare(&place, path, seeds) {
        Ok(prepared) => prepared,
        Err(why) => panic!("{why}"),
    };
    let expectation = scenario.expect.as_ref().filter(|expect| !expect.near_miss).map(expectation);
    if let (Some(expectation), Seeds::Span(from, to)) = (&expectation, &mut chosen.seeds) {
        *to = (*to).max(from.saturating_add(expectation.within_seeds));
    }
    let enough = chosen.seeds.count() >= SOMETIMES_SEEDS_MIN;
    let must_happen = if enough { must_happen(&scenario) } else { BTreeMap::new() };
    let mut sweep = SweepReport::new();
    sweep.expect(&scenario.name, must_happen, expectation.clone());
    let attempt = |seed: u64, window: Option<Window>| run_once(scenario.resolve(Seed(seed)), window, &body);
    let driven = drive(&place, &chosen, check_determinism, &attempt, &mut |report| {
        sweep.add(report);
        expectation.as_ref().is_some_and(|expectation| expectation.meets(report))
    });
    if driven == Driven::Answered {
        return;
    }
    if let Some(why) = missing(&sweep, &chosen, &place) {
        panic!("{why}");
    }
    if let Some(why) = still_there_without_bug(&scenario, &sweep) {
        panic!("{why}");
    }
}

fn prepare(place: &TestPlace, path: &str, seeds: u64) -> std::result::Result<(Scenario, Chosen), String> {
    let outside = Outside { folder: place.manifest_dir };
    let chosen = choose(seeds, |name| std::env::var(name).ok(), &outside)?;
    let file = place.find(path)?;
    let scenario = Scenario::load(&file).map_err(|problems| problems.render(100, false))?;
    Ok((scenario, chosen))
}

fn run_once(plan: Plan, window: Option<Window>, body: &(impl Fn(Run) -> Result + Sync)) -> Attempt {
    let options = RunOptions { armed: true, log: None, window };
    let RunOutput { report, checkpoints, window } = burnin_cluster::run(&plan, &options);
    let hash = u64::from_str_radix(&report.trace_hash, 16).unwrap_or_default();
    let trace = Trace { hash, events: report.events, checkpoints };
    let run = Run { plan, report: report.clone(), looked_at: Arc::default() };
    let looked_at = run.looked_at.clone();
    let failed = match catch_unwind(AssertUnwindSafe(|| body(run))) {
        Ok(Ok(())) if looked_at.load(Ordering::Relaxed) => None,
        Ok(Ok(())) => {
            Some("the test never looked at its run: call `run.check()` or read `run.report()`".to_owned())
        }
        Ok(Err(failure)) => Some(failure.to_string()),
        Err(panic) => Some(said(&*panic)),
    };
    Attempt { report, trace, window, failed }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the test panicked: {}", text.as_deref().unwrap_or("without a message"))
}

fn expectation(expect: &Expect) -> Expectation {
    Expectation {
        anomaly: expect.anomaly.clone(),
        checker: expect.checker.clone(),
        planted: expect.mutant.is_some(),
        within_seeds: expect.within_seeds,
        found: 0,
        first_seed: None,
    }
}

fn must_happen(scenario: &Scenario) -> BTreeMap<String, u64> {
    let sometimes = scenario.check.iter().filter_map(|check| match &check.kind {
        CheckKind::Sometimes { event, at_least } => Some((event.clone(), *at_least)),
        _ => None,
    });
    sometimes.collect()
}

/// What all seeds together did not show.
fn missing(sweep: &SweepReport, chosen: &Chosen, place: &TestPlace) -> Option<String> {
    let (name, totals) = sweep.scenarios.iter().next()?;
    let mut lines: Vec<String> = totals
        .missed()
        .map(|(event, count, least)| {
            format!("`{event}` happened {count} times, must {least}: it proves little")
        })
        .collect();
    if let Some((_, expectation)) = sweep.not_found().next() {
        let what = expectation.anomaly.as_deref().unwrap_or("a violation");
        let by = expectation.checker.as_ref().map(|checker| format!(" ({checker})")).unwrap_or_default();
        lines.push(format!("{what}{by} was NOT found, although a bug is planted"));
    }
    let seed = chosen.single.then(|| chosen.seeds.get(0).0);
    let (seeds, repeat) = (&chosen.seeds, place.command(seed));
    (!lines.is_empty()).then(|| format!("{name}, seeds {seeds}:\n{}\nreproduce  {repeat}", lines.join("\n")))
}

/// Runs the plan that found the bug without it: then nothing may be found.
fn still_there_without_bug(scenario: &Scenario, sweep: &SweepReport) -> Option<String> {
    scenario.expect.as_ref()?.mutant.as_ref()?;
    let seed = sweep.scenarios.get(&scenario.name)?.expectation.as_ref()?.first_seed?;
    let report = burnin_cluster::run(&scenario.resolve(Seed(seed)), &RunOptions::default()).report;
    let RunReport { class, verdict, scenario: name, .. } = &report;
    (*class != Class::Pass).then(|| {
        format!("{name}, seed {seed}: it fails without the planted bug as well ({class}): {verdict}")
    })
}
