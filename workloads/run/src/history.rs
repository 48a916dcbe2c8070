//! Where the history of a run goes: to the checkers, and to counters of what happened.

use crate::voter_changes::VoterChanges;
use burnin_checkers::{CheckSet, Class, Violation};
use burnin_history::{Event, Moment, Outcome, Sink};
use burnin_runtime::{Instant, Observation};
use burnin_scenario::{CheckKind, Plan, StopOn};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::Notify;

/// The checkers and the counters of one run.
pub struct History {
    /// The checkers.
    pub checks: CheckSet,
    /// How often each event of `sometimes` checks happened.
    pub happened: BTreeMap<String, u64>,
    /// Records that were acknowledged.
    pub records_acked: u64,
    stop_on: StopOn,
    /// Which anomalies the plan forbids.
    forbids: Forbids,
    /// Whether one was seen that ends the run.
    must_stop: bool,
    /// Told when the run should end early.
    pub stop_early: Arc<Notify>,
    last: Moment,
    counts: BTreeMap<u64, u32>,
    voters: VoterChanges,
    /// Where every event is written down, for people.
    text: Option<Box<dyn Write + Send>>,
}

impl History {
    /// For a plan: nothing has happened yet.
    pub fn new(plan: &Plan) -> Self {
        History {
            checks: CheckSet::new(plan.seed.0),
            happened: BTreeMap::new(),
            records_acked: 0,
            stop_on: plan.run.stop_on,
            forbids: Forbids::of(plan),
            must_stop: false,
            stop_early: Arc::new(Notify::new()),
            last: 0,
            counts: BTreeMap::new(),
            voters: VoterChanges::default(),
            text: None,
        }
    }

    /// Has every event written down, one per line.
    pub fn write_to(&mut self, text: Box<dyn Write + Send>) {
        self.text = Some(text);
    }

    /// The moment of the last event.
    pub fn last(&self) -> Moment {
        self.last
    }

    /// Counts an event of `sometimes` checks.
    pub fn happened(&mut self, what: &str) {
        match self.happened.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.happened.insert(what.to_owned(), 1)),
        }
    }

    fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::ProduceInvoked { op, count, .. } => drop(self.counts.insert(op.0, *count)),
            Event::ProduceAttempt { attempt, .. } if *attempt > 1 => self.happened("attempt-retried"),
            Event::ProduceCompleted { op, outcome, .. } => {
                let count = self.counts.remove(&op.0).unwrap_or(0);
                match outcome {
                    Outcome::Applied => self.records_acked += u64::from(count),
                    Outcome::Maybe => self.happened("outcome-maybe"),
                    Outcome::NotApplied => {}
                }
            }
            Event::AdminCompleted { kind, outcome: Outcome::Applied, .. } => {
                self.happened(&format!("admin:{kind}"));
            }
            Event::Observed { node, observation } => {
                if let Some(change) = self.voters.see(*node, observation) {
                    change.removed.iter().for_each(|_| self.happened("voter-removed"));
                    change.added.iter().for_each(|_| self.happened("voter-added"));
                }
                match observation {
                    Observation::LogRecovered { clean: true, .. } => self.happened("recovered-clean"),
                    Observation::LogRecovered { clean: false, .. } => self.happened("recovered-unclean"),
                    Observation::LogTruncated { .. } => self.happened("log-truncated"),
                    Observation::LogStartAdvanced { .. } => self.happened("log-start-advanced"),
                    Observation::LogDirOffline { .. } => self.happened("log-dir-offline"),
                    Observation::SnapshotTaken { .. } => self.happened("snapshot-taken"),
                    Observation::SnapshotLoaded { fetched: true, .. } => self.happened("snapshot-fetched"),
                    Observation::FeatureLevel { feature, from, to }
                        if &**feature == "metadata.version" && (1..*to).contains(from) =>
                    {
                        self.happened("metadata-version-raised");
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The anomalies that a plan's checks forbid.
#[derive(Clone, Debug)]
pub(crate) struct Forbids {
    all: bool,
    some: Vec<String>,
}

impl Forbids {
    pub(crate) fn of(plan: &Plan) -> Forbids {
        let mut forbids = Forbids { all: false, some: Vec::new() };
        for check in &plan.check {
            if let CheckKind::KafkaLog { all, forbid } = &check.kind {
                forbids.all |= all;
                forbids.some.extend_from_slice(forbid);
            }
        }
        forbids
    }

    pub(crate) fn forbid(&self, found: &Violation) -> bool {
        self.all || self.some.iter().any(|anomaly| anomaly == found.anomaly)
    }
}

impl History {
    /// Whether what was found so far ends the run early.
    fn ends_the_run(&self) -> bool {
        let ends = |found: &Violation| match self.stop_on {
            StopOn::Never => false,
            StopOn::FirstSafety => found.class == Class::Safety,
            StopOn::FirstAny => true,
        };
        self.checks.violations().any(|found| ends(found) && self.forbids.forbid(found))
    }
}

impl Sink for History {
    fn record(&mut self, at: Moment, event: &Event<'_>) {
        self.last = at;
        if let Some(text) = &mut self.text {
            // A history that cannot be written down is no reason to end a run.
            let _ = writeln!(text, "{} {event:?}", Instant::from_nanos(at));
        }
        self.count(event);
        self.checks.record(at, event);
        if !self.must_stop && self.checks.violated() && self.ends_the_run() {
            self.must_stop = true;
            self.stop_early.notify_one();
        }
    }
}
