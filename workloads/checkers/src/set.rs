//! All checkers together: each event is taken apart once and shown to all of them.

use crate::checker::{Checker, Property, Violation};
use crate::facts::Facts;
use crate::verdict::{Summary, Verdict};
use crate::{
    AckSafety, Agreement, Answers, Continuity, Convergence, Coverage, DiskState, ExactlyOnce, FinalRead,
    Integrity, Offsets, PartitionSafety, QuorumSafety, RealTime, TopicMetadata,
};
use burnin_history::{Event, Moment, Sink};

fn every() -> Vec<Box<dyn Checker>> {
    vec![
        // What is said first of several at one moment stands in the headline.
        Box::<Coverage>::default(),
        Box::<Agreement>::default(),
        Box::<ExactlyOnce>::default(),
        Box::<RealTime>::default(),
        Box::<Continuity>::default(),
        Box::<Integrity>::default(),
        Box::<Offsets>::default(),
        Box::<TopicMetadata>::default(),
        Box::<FinalRead>::default(),
        Box::<Convergence>::default(),
        Box::<Answers>::default(),
        Box::<QuorumSafety>::default(),
        Box::<PartitionSafety>::default(),
        Box::<AckSafety>::default(),
        Box::<DiskState>::default(),
    ]
}

/// What every checker there is can find.
pub fn properties() -> Vec<&'static Property> {
    every().iter().map(|checker| checker.property()).collect()
}

/// See the module.
pub struct CheckSet {
    facts: Facts,
    checkers: Vec<Box<dyn Checker>>,
    /// Of each, whether what brokers tell of their inside can break its property.
    look_inside: Vec<bool>,
    violated: bool,
    now: Moment,
}

impl CheckSet {
    /// Every checker there is. `run` is what the payloads of this run carry.
    pub fn new(run: u64) -> CheckSet {
        CheckSet::of(run, every())
    }

    /// These checkers.
    pub fn of(run: u64, checkers: Vec<Box<dyn Checker>>) -> CheckSet {
        let look_inside = checkers.iter().map(|checker| !checker.property().seen_inside.is_empty()).collect();
        CheckSet { facts: Facts::new(run), checkers, look_inside, violated: false, now: 0 }
    }

    /// Whether a violation was found so far.
    pub fn violated(&self) -> bool {
        self.violated
    }

    /// The violations kept so far, checker by checker.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.checkers.iter().flat_map(|checker| checker.findings().violations())
    }

    /// What is known of the history.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The history ends at `at`: what was found. Asked again, it answers the same.
    pub fn finish(&mut self, at: Moment) -> Verdict {
        for checker in &mut self.checkers {
            checker.finish(&self.facts, at);
            self.violated |= checker.findings().found_count() > 0;
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
        let anew;
        let event = match event {
            // Where this reader is in the topic that there is now, nobody knows.
            Event::Polled { consumer, tp, .. } if self.facts.polled().of_another_topic => {
                anew = Event::Positioned { consumer: *consumer, tp: *tp, offset: -1 };
                &anew
            }
            Event::OffsetsListed { tp, .. } if self.facts.partition(*tp).licence.is_between_topics() => {
                return;
            }
            event => event,
        };
        let is_inside = matches!(event, Event::Observed { .. });
        for (checker, looks_inside) in self.checkers.iter_mut().zip(&self.look_inside) {
            if *looks_inside || !is_inside {
                checker.see(&self.facts, at, event);
                self.violated |= checker.findings().found_count() > 0;
            }
        }
        self.facts.after(at, event);
    }
}
