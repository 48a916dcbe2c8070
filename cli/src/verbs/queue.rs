//! Which run of a sweep comes next. The scenarios take turns, so that all of them have got about as far when
//! a sweep ends early. A scenario that plants a bug is over when the bug was found.

use crate::args::SweepArgs;
use crate::exec::Job;
use crate::output::Output;
use crate::place::Chosen;
use crate::select::Selected;
use crate::verbs::reproduce;
use crate::verbs::task::{Task, unarmed_name};
use burnin_report::{Expectation, RunReport, SweepReport, Target};
use burnin_scenario::{CheckKind, Dur, Scenario, Seeds, Shard};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// See the module.
#[derive(Debug)]
pub struct Queue {
    tracks: Vec<Track>,
    seeds: Seeds,
    shard: Shard,
    /// Whose turn it is.
    turn: usize,
    /// One in so many passing runs is run again; 0: none.
    audit_every: u64,
    overrides: Vec<(String, String)>,
    chosen: Chosen,
    run_limit: Dur,
    report: PathBuf,
    directories: Arc<AtomicUsize>,
    time_is_over: bool,
}

/// A scenario's way through its seeds.
#[derive(Debug)]
struct Track {
    selected: Selected,
    expectation: Option<Expectation>,
    /// The number of the next seed, over all shards.
    next: u64,
    /// The number behind the last one.
    end: u64,
    /// How many runs were handed out.
    started: u64,
    /// The bug was found, or the sweep stops.
    over: bool,
    found: bool,
}

impl Queue {
    /// The runs of these scenarios and seeds that belong to a shard: seeds are dealt out in turn, scenarios
    /// that plant a bug as a whole.
    pub fn new(
        selected: Vec<Selected>,
        seeds: Seeds,
        shard: Shard,
        chosen: Chosen,
        args: &SweepArgs,
    ) -> Queue {
        let tracks = selected.into_iter().enumerate().map(|(number, selected)| {
            let expect = selected.scenario.expect.clone();
            // Without the faults that bring a bug out it cannot be asked for.
            let possible = can_all(&selected.scenario, &chosen);
            let within = expect.as_ref().filter(|_| possible).map(|expect| expect.within_seeds);
            let elsewhere = within.is_some() && !shard.takes(number as u64);
            let expectation =
                expect.filter(|expect| !expect.near_miss && possible).map(|expect| Expectation {
                    anomaly: expect.anomaly,
                    checker: expect.checker,
                    planted: expect.mutant.is_some(),
                    within_seeds: expect.within_seeds,
                    found: 0,
                    first_seed: None,
                });
            Track {
                selected,
                expectation,
                next: 0,
                end: within.map_or(seeds.count(), |within| within.min(seeds.count().max(within))),
                started: 0,
                over: elsewhere,
                found: false,
            }
        });
        let share = if chosen.target() == Target::Sim { args.check_determinism.get() } else { 0.0 };
        Queue {
            tracks: tracks.collect(),
            seeds,
            shard,
            turn: 0,
            audit_every: if share > 0.0 { (1.0 / share).round().max(1.0) as u64 } else { 0 },
            overrides: args.overrides.pairs(),
            chosen,
            run_limit: args.limits.run.limit,
            report: args.limits.report.clone(),
            directories: Arc::new(AtomicUsize::new(args.keep_failures)),
            time_is_over: false,
        }
    }

    /// The report of the sweep before its first run.
    pub fn new_report(&self) -> SweepReport {
        let mut report = SweepReport::new();
        for track in self.tracks.iter().filter(|track| !track.over) {
            // A part of a sweep cannot know what happened in the others.
            let whole = self.shard.of == 1 || track.is_planted();
            let must_happen =
                if whole { must_happen(&track.selected.scenario, &self.chosen) } else { BTreeMap::new() };
            report.expect(&track.selected.scenario.name, must_happen, track.expectation.clone());
        }
        report
    }

    /// The next run, with the number of its scenario.
    pub fn next(&mut self) -> Option<(usize, Task)> {
        for _ in 0..self.tracks.len() {
            let number = self.turn;
            self.turn = (self.turn + 1) % self.tracks.len();
            if let Some(seed_number) = self.tracks[number].advance(self.shard) {
                return Some((number, self.task(number, seed_number)));
            }
        }
        None
    }

    fn task(&self, number: usize, seed_number: u64) -> Task {
        let track = &self.tracks[number];
        let seed = track.seed(&self.seeds, seed_number);
        Task {
            job: Job::new(track.selected.scenario.resolve(seed)),
            chosen: self.chosen.clone(),
            reproduce: reproduce(&track.selected.path, seed, &self.overrides, true, &self.chosen),
            expectation: track.expectation.clone(),
            audit: self.audit_every > 0 && (track.started - 1).is_multiple_of(self.audit_every),
            run_limit: self.run_limit,
            report: self.report.clone(),
            directories: self.directories.clone(),
        }
    }

    /// A run of scenario `number` came back. Whether it is the one that found the planted bug.
    pub fn finished(&mut self, number: usize, report: &RunReport) -> bool {
        let track = &mut self.tracks[number];
        let found = track.expectation.as_ref().is_some_and(|expectation| expectation.meets(report));
        let first = found && !track.found;
        track.found |= found;
        track.over |= found;
        first
    }

    /// How many runs there will be, as far as is known now.
    pub fn total(&self) -> Option<u64> {
        let mut total = 0_u64;
        for track in &self.tracks {
            let left = if track.over { 0 } else { track.left(self.shard) };
            if left > u64::from(u32::MAX) {
                return None;
            }
            total += track.started + left + u64::from(track.found);
        }
        Some(total)
    }

    /// No more runs.
    pub fn stop(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.over = true);
    }

    /// No more runs, and what was not found by now may be out there.
    pub fn time_is_over(&mut self) {
        self.time_is_over = self.tracks.iter().any(|track| !track.over);
        self.stop();
    }

    /// Puts into the report what only the end knows.
    pub fn close(&self, report: &mut SweepReport, output: &Output) {
        for track in self.tracks.iter().filter(|track| track.expectation.is_some()) {
            let name = &track.selected.scenario.name;
            if self.time_is_over && !track.found && track.next < track.end {
                output
                    .say(format!("{name}: the time was over after {} of {} seeds", track.started, track.end));
                if let Some(totals) = report.scenarios.get_mut(name) {
                    totals.expectation = None;
                }
            }
        }
        report.scenarios.retain(|name, totals| totals.totals.runs > 0 || !name.ends_with(&unarmed_name("")));
    }
}

impl Track {
    fn is_planted(&self) -> bool {
        self.selected.scenario.expect.is_some()
    }

    /// The number of the next seed that is ours.
    fn advance(&mut self, shard: Shard) -> Option<u64> {
        while !self.over && self.next < self.end {
            let number = self.next;
            self.next += 1;
            if self.is_planted() || shard.takes(number) {
                self.started += 1;
                return Some(number);
            }
        }
        None
    }

    /// How many seeds are left for us.
    fn left(&self, shard: Shard) -> u64 {
        if self.is_planted() {
            return self.end - self.next;
        }
        // Of the numbers below n, those that are ours.
        let below = |n: u64| n / shard.of + u64::from(n % shard.of >= shard.index);
        below(self.end) - below(self.next)
    }

    /// Seed number `number`. A scenario that plants a bug may have as many as it says that it needs: beyond the
    /// seeds that were asked for they go on counting from the last.
    fn seed(&self, seeds: &Seeds, number: u64) -> burnin_scenario::Seed {
        let count = seeds.count();
        if number < count {
            return seeds.get(number);
        }
        let last = seeds.get(count - 1);
        burnin_scenario::Seed(last.0.wrapping_add(number - (count - 1)))
    }
}

/// Whether the target can apply every fault of the scenario, and plant its bug.
fn can_all(scenario: &Scenario, chosen: &Chosen) -> bool {
    match chosen {
        Chosen::Sim => true,
        Chosen::Process(_) => {
            let plants = scenario.expect.as_ref().is_some_and(|expect| expect.mutant.is_some());
            !plants && scenario.fault.iter().all(|fault| burnin_process::can(fault.kind.capability()))
        }
    }
}

/// The events that must happen over a sweep, and how often; without those that the target cannot see or do,
/// which the runs' reports name.
fn must_happen(scenario: &Scenario, chosen: &Chosen) -> BTreeMap<String, u64> {
    let whole = can_all(scenario, chosen);
    let possible = |event: &str| match (chosen, event.strip_prefix("fault:")) {
        (Chosen::Sim, _) => true,
        (Chosen::Process(_), None) => {
            !burnin_process::white_box(event) && (whole || !burnin_process::takes_faults(event))
        }
        (Chosen::Process(_), Some(id)) => {
            scenario.fault.iter().any(|fault| fault.id == id && burnin_process::can(fault.kind.capability()))
        }
    };
    let sometimes = scenario.check.iter().filter_map(|check| match &check.kind {
        CheckKind::Sometimes { event, at_least } if possible(event) => Some((event.clone(), *at_least)),
        _ => None,
    });
    sometimes.collect()
}
