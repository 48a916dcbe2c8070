//! What a checker is, and what it finds.

use crate::facts::Facts;
use burnin_history::{Event, Moment, Tp};
use serde::Serialize;
use std::fmt;

/// How many violations a checker keeps in words. All are counted.
pub const KEPT_MAX: usize = 10;

/// What sort of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Something bad happened.
    Safety,
    /// Something good did not happen in time.
    Liveness,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Safety => "safety",
            Class::Liveness => "liveness",
        })
    }
}

/// A broken promise, with the two facts that contradict each other in `message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which checker: `B1`, `W4`, ...
    pub checker: &'static str,
    /// Jepsen's name where there is one: `lost-write`, `inconsistent-offsets`, ...
    pub anomaly: &'static str,
    /// Safety or liveness.
    pub class: Class,
    /// When it was noticed, in nanoseconds since the run began.
    #[serde(rename = "at_ns")]
    pub at: Moment,
    /// One or two sentences in Kafka's words.
    pub message: String,
    /// The partition's number in the history.
    #[serde(skip)]
    pub tp: Option<Tp>,
    /// The partition's name, `topic-number`.
    pub partition: Option<String>,
    /// The offset it is about.
    pub offset: Option<i64>,
    /// The producer of the record it is about.
    pub producer: Option<u32>,
    /// The sequence of the record it is about.
    pub seq: Option<u64>,
}

/// What a checker has found so far: every violation counted, the first [`KEPT_MAX`] kept.
#[derive(Debug)]
pub struct Findings {
    checker: &'static str,
    class: Class,
    kept: Vec<Violation>,
    found: u64,
    checked: u64,
    skipped: Vec<String>,
}

impl Findings {
    /// Of checker `checker`, whose violations are all of one class.
    pub fn new(checker: &'static str, class: Class) -> Findings {
        Findings { checker, class, kept: Vec::new(), found: 0, checked: 0, skipped: Vec::new() }
    }

    /// `count` facts were held against the property.
    #[inline]
    pub fn checked(&mut self, count: u64) {
        self.checked += count;
    }

    /// A part of the history could not be judged, and why. Kept like violations.
    pub fn skipped(&mut self, why: String) {
        if self.skipped.len() < KEPT_MAX && !self.skipped.contains(&why) {
            self.skipped.push(why);
        }
    }

    /// `count` violations of the same kind; `describe` is called only when it is kept.
    #[cold]
    pub fn report(
        &mut self,
        at: Moment,
        anomaly: &'static str,
        count: u64,
        tp: Option<Tp>,
        describe: impl FnOnce() -> Described,
    ) {
        self.found += count;
        if self.kept.len() < KEPT_MAX {
            let Described { message, partition, offset, producer, seq } = describe();
            let (checker, class) = (self.checker, self.class);
            self.kept.push(Violation {
                checker,
                anomaly,
                class,
                at,
                message,
                tp,
                partition,
                offset,
                producer,
                seq,
            });
        }
    }

    /// The first violations, in order of detection.
    pub fn violations(&self) -> &[Violation] {
        &self.kept
    }

    /// How many violations there were.
    #[inline]
    pub fn found_count(&self) -> u64 {
        self.found
    }

    /// How many facts were checked.
    pub fn checked_count(&self) -> u64 {
        self.checked
    }

    /// What could not be judged, in words.
    pub fn skips(&self) -> &[String] {
        &self.skipped
    }
}

/// The words of a violation.
#[derive(Debug, Default)]
pub struct Described {
    /// One or two sentences.
    pub message: String,
    /// `topic-number`.
    pub partition: Option<String>,
    /// The offset it is about.
    pub offset: Option<i64>,
    /// The producer of the record.
    pub producer: Option<u32>,
    /// The sequence of the record.
    pub seq: Option<u64>,
}

/// What a checker is called and what it can find. Scenarios, targets and documents take these words from here.
#[derive(Debug)]
pub struct Property {
    /// `B1`, `W4`, ...
    pub id: &'static str,
    /// The anomalies that what clients see can show.
    pub seen_outside: &'static [&'static str],
    /// The anomalies that only what brokers tell of their inside can show. Where nobody can look inside, they are not
    /// looked for.
    pub seen_inside: &'static [&'static str],
}

impl Property {
    /// All anomalies that it can report.
    pub fn anomalies(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.seen_outside.iter().chain(self.seen_inside).copied()
    }
}

/// One property. Fed by a [`crate::CheckSet`], which keeps the [`Facts`] for all of them.
pub trait Checker: Send {
    /// What it is called and what it can find.
    fn property(&self) -> &'static Property;

    /// `event` happened at `at`. `facts` hold everything before it, and of it: the partition or operation that it
    /// introduces, the licence that a fault gives, the digest of a poll; a completed operation is still there and
    /// its acknowledgement is not yet among the acknowledged. What brokers tell of their inside is shown only to those
    /// whose property has anomalies that are seen there.
    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>);

    /// The history ends at `at`.
    fn finish(&mut self, facts: &Facts, at: Moment);

    /// What was found so far.
    fn findings(&self) -> &Findings;
}
