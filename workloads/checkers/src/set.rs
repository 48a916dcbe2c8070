//! All checkers together: each event is taken apart once and shown to all of them.

use crate::checker::{Checker, Violation};
use crate::facts::Facts;
use crate::verdict::{Summary, Verdict};
use crate::{
    Agreement, Continuity, Coverage, DiskState, ExactlyOnce, FinalRead, Integrity, Offsets, RealTime,
};
use burnin_history::{Event, Moment, Sink};

/// See the module.
pub struct CheckSet {
    facts: Facts,
    checkers: Vec<Box<dyn Checker>>,
    now: Moment,
}

impl CheckSet {
    /// Every checker there is. `run` is what the payloads of this run carry.
    pub fn new(run: u64) -> CheckSet {
        CheckSet::of(
            run,
            vec![
                // What is said first of several at one moment stands in the headline.
                Box::<Coverage>::default(),
                Box::<Agreement>::default(),
                Box::<ExactlyOnce>::default(),
                Box::<RealTime>::default(),
                Box::<Continuity>::default(),
                Box::<Integrity>::default(),
                Box::<Offsets>::default(),
                Box::<FinalRead>::default(),
                Box::<DiskState>::default(),
            ],
        )
    }

    /// These checkers.
    pub fn of(run: u64, checkers: Vec<Box<dyn Checker>>) -> CheckSet {
        CheckSet { facts: Facts::new(run), checkers, now: 0 }
    }

    /// Whether a violation was found so far.
    pub fn violated(&self) -> bool {
        self.checkers.iter().any(|checker| checker.findings().found_count() > 0)
    }

    /// The violations kept so far, checker by checker.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.checkers.iter().flat_map(|checker| checker.findings().violations())
    }

    /// Every anomaly that can be found, with its checker.
    pub fn anomalies(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.checkers
            .iter()
            .flat_map(|checker| checker.anomalies().iter().map(|anomaly| (checker.id(), *anomaly)))
    }

    /// What is known of the history.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The history ends at `at`: what was found. Asked again, it answers the same.
    pub fn finish(&mut self, at: Moment) -> Verdict {
        for checker in &mut self.checkers {
            checker.finish(&self.facts, at);
        }
        let summaries = self.checkers.iter().map(|checker| Summary::of(checker.as_ref())).collect();
        let violations = self.violations().cloned().collect();
        let skipped = self.checkers.iter().flat_map(|checker| checker.findings().skips()).cloned().collect();
        Verdict::new(summaries, violations, skipped)
    }
}

impl Sink for CheckSet {
    fn record(&mut self, at: Moment, event: &Event<'_>) {
        assert!(at >= self.now, "the history goes back in time: at={at} before={} event={event:?}", self.now);
        self.now = at;
        self.facts.before(at, event);
        for checker in &mut self.checkers {
            checker.see(&self.facts, at, event);
        }
        self.facts.after(at, event);
    }
}
