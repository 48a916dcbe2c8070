//! The report of a sweep. Merging is associative and commutative: shards may be merged in any order, in any groups.

use crate::build::Build;
use crate::cluster::Failure;
use crate::exit::{Class, ExitCode};
use crate::run::{ReadError, RunReport, SCHEMA, read};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// By scenario.
    pub scenarios: BTreeMap<String, ScenarioTotals>,
    /// Distinct failures, most telling class first.
    pub failures: Vec<Failure>,
    /// Wall-clock time of the longest part.
    pub wall_ns: u64,
    /// Whether a part was interrupted, so that not all seeds were run.
    pub interrupted: bool,
    /// The build, unless parts came from different ones: then all of them.
    pub builds: Vec<Build>,
}

/// Sums over runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Runs made.
    pub runs: u64,
    /// Simulated time.
    pub sim_ns: u64,
    /// CPU time.
    pub cpu_ns: u64,
    /// Kafka requests answered.
    pub requests: u64,
    /// Records acknowledged.
    pub records: u64,
    /// Steps of the engine.
    pub events: u64,
    /// Faults applied.
    pub faults: u64,
    /// Facts checked.
    pub checked: u64,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.sim_ns += other.sim_ns;
        self.cpu_ns += other.cpu_ns;
        self.requests += other.requests;
        self.records += other.records;
        self.events += other.events;
        self.faults += other.faults;
        self.checked += other.checked;
    }
}

/// One scenario in a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScenarioTotals {
    /// Over all its runs.
    pub totals: Totals,
    /// How many runs ended in which class, by name.
    pub classes: BTreeMap<String, u64>,
    /// How often each event of the scenario's `sometimes` checks happened.
    pub happened: BTreeMap<String, u64>,
    /// How often it must: by event.
    pub must_happen: BTreeMap<String, u64>,
    /// What the target lacks, and in how many runs something was left out because of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lacking: BTreeMap<String, u64>,
    /// What it must find, when it is a negative one.
    pub expectation: Option<Expectation>,
}

/// What a negative scenario must find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The anomaly, any when `None`.
    pub anomaly: Option<String>,
    /// The checker, any when `None`.
    pub checker: Option<String>,
    /// Whether a bug is planted.
    #[serde(default)]
    pub planted: bool,
    /// Within how many seeds.
    pub within_seeds: u64,
    /// In how many runs it was found.
    pub found: u64,
    /// The lowest seed that found it.
    pub first_seed: Option<u64>,
}

impl Expectation {
    /// Whether a run that went wrong is no failure here, whether or not it is what was looked for: the bug shows in other
    /// ways as well. Where one is planted, the broker may notice by itself before any checker does, and panic.
    pub fn covers(&self, run: &RunReport) -> bool {
        match run.effective_class() {
            Class::Safety | Class::Liveness => true,
            Class::Crash => self.planted && run.anomaly.as_deref() == Some("panic"),
            _ => false,
        }
    }

    /// Whether a violation of this run is the expected one.
    pub fn meets(&self, run: &RunReport) -> bool {
        let same = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|want| want == have);
        run.effective_class() == run.class
            && run
                .violations
                .iter()
                .any(|found| same(&self.anomaly, &found.anomaly) && same(&self.checker, &found.checker))
    }
}

impl ScenarioTotals {
    /// Which events happened too rarely: event, how often, how often it must.
    pub fn missed(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.must_happen.iter().filter_map(|(event, least)| {
            let count = self.happened.get(event).copied().unwrap_or(0);
            (count < *least).then_some((event.as_str(), count, *least))
        })
    }

    /// Whether the target could do nothing of it: no run was begun.
    pub fn is_skipped(&self) -> bool {
        self.totals.runs > 0 && self.of_class(Class::Skipped) == self.totals.runs
    }

    /// Runs of this class.
    pub fn of_class(&self, class: Class) -> u64 {
        self.classes.get(class.name()).copied().unwrap_or(0)
    }

    fn merge(&mut self, other: ScenarioTotals) {
        self.totals.add(&other.totals);
        for (class, count) in other.classes {
            *self.classes.entry(class).or_default() += count;
        }
        for (event, count) in other.happened {
            *self.happened.entry(event).or_default() += count;
        }
        for (capability, runs) in other.lacking {
            *self.lacking.entry(capability).or_default() += runs;
        }
        for (event, least) in other.must_happen {
            let entry = self.must_happen.entry(event).or_default();
            *entry = (*entry).max(least);
        }
        self.expectation = match (self.expectation.take(), other.expectation) {
            (Some(mut mine), Some(theirs)) => {
                mine.found += theirs.found;
                mine.within_seeds = mine.within_seeds.max(theirs.within_seeds);
                mine.first_seed = match (mine.first_seed, theirs.first_seed) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                Some(mine)
            }
            (mine, theirs) => mine.or(theirs),
        };
    }
}

impl Default for SweepReport {
    fn default() -> Self {
        SweepReport::new()
    }
}

impl SweepReport {
    /// Nothing was run yet.
    pub fn new() -> SweepReport {
        SweepReport {
            schema: SCHEMA,
            scenarios: BTreeMap::new(),
            failures: Vec::new(),
            wall_ns: 0,
            interrupted: false,
            builds: Vec::new(),
        }
    }

    /// Introduces a scenario: what must happen in its runs at least how often, and what it must find if it is
    /// negative. Without this, a scenario's runs must simply pass.
    pub fn expect(
        &mut self,
        scenario: &str,
        must_happen: BTreeMap<String, u64>,
        negative: Option<Expectation>,
    ) {
        let totals = self.scenarios.entry(scenario.to_string()).or_default();
        totals.must_happen = must_happen;
        totals.expectation = negative;
    }

    /// Takes in a run. In a negative scenario a safety or liveness violation is no failure, whether or not it is the
    /// expected one: a planted bug has consequences.
    pub fn add(&mut self, run: &RunReport) {
        let class = run.effective_class();
        let totals = self.scenarios.entry(run.scenario.clone()).or_default();
        totals.totals.add(&Totals {
            runs: 1,
            sim_ns: run.sim_ns,
            cpu_ns: run.cpu_ns,
            requests: run.requests,
            records: run.records,
            events: run.events,
            faults: run.fired_count() as u64,
            checked: run.checked.values().sum(),
        });
        *totals.classes.entry(class.name().to_string()).or_default() += 1;
        for (event, count) in &run.happened {
            *totals.happened.entry(event.clone()).or_default() += count;
        }
        for lacking in &run.lacking {
            *totals.lacking.entry(lacking.capability.clone()).or_default() += 1;
        }
        let meant = totals.expectation.as_ref().is_some_and(|expectation| expectation.covers(run));
        if let Some(expectation) = totals.expectation.as_mut().filter(|expectation| expectation.meets(run)) {
            expectation.found += 1;
            expectation.first_seed = Some(expectation.first_seed.map_or(run.seed, |seed| seed.min(run.seed)));
        }
        if !class.is_fine() && !meant {
            self.add_failure(Failure::of(run));
        }
        if !self.builds.contains(&run.build) {
            self.add_build(run.build.clone());
        }
    }

    /// Takes in the report of another shard.
    pub fn merge(&mut self, other: SweepReport) {
        for (scenario, totals) in other.scenarios {
            self.scenarios.entry(scenario).or_default().merge(totals);
        }
        for failure in other.failures {
            self.add_failure(failure);
        }
        self.wall_ns = self.wall_ns.max(other.wall_ns);
        self.interrupted |= other.interrupted;
        for build in other.builds {
            if !self.builds.contains(&build) {
                self.add_build(build);
            }
        }
    }

    fn add_build(&mut self, build: Build) {
        self.builds.push(build);
        self.builds.sort_by_key(ToString::to_string);
    }

    fn add_failure(&mut self, failure: Failure) {
        match self.failures.iter_mut().find(|known| known.key() == failure.key()) {
            Some(known) => known.absorb(failure),
            None => {
                self.failures.push(failure);
                self.failures.sort_by(|a, b| a.key().cmp(&b.key()));
            }
        }
    }

    /// Over all scenarios.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.scenarios.values().for_each(|scenario| totals.add(&scenario.totals));
        totals
    }

    /// Negative scenarios that did not find what they must.
    pub fn not_found(&self) -> impl Iterator<Item = (&str, &Expectation)> {
        self.scenarios.iter().filter_map(|(name, scenario)| {
            let expectation = scenario.expectation.as_ref().filter(|expectation| expectation.found == 0)?;
            if scenario.is_skipped() {
                return None;
            }
            Some((name.as_str(), expectation))
        })
    }

    /// The exit code of the sweep. A sweep without a run, or whose runs were all skipped or checked nothing, fails.
    pub fn exit_code(&self) -> ExitCode {
        if self.totals().runs == 0 {
            let interrupted = if self.interrupted { ExitCode::Interrupted } else { ExitCode::Nothing };
            return ExitCode::worst([interrupted]);
        }
        if self.scenarios.values().all(ScenarioTotals::is_skipped) {
            return ExitCode::Nothing;
        }
        let failures = self.failures.iter().map(|failure| failure.class.exit_code());
        let missed = self
            .scenarios
            .values()
            .any(|scenario| !scenario.is_skipped() && scenario.missed().next().is_some());
        let coverage = missed || self.not_found().next().is_some();
        let coverage = (coverage && !self.interrupted).then_some(ExitCode::Coverage);
        let interrupted = self.interrupted.then_some(ExitCode::Interrupted);
        ExitCode::worst(failures.chain(coverage).chain(interrupted).chain([ExitCode::Pass]))
    }

    /// Reads a report of this schema or an older one.
    ///
    /// # Errors
    /// When it is malformed or newer.
    pub fn from_json(json: &str) -> Result<SweepReport, ReadError> {
        read(json)
    }

    /// As JSON on several lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }
}
