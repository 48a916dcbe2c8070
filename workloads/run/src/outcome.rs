//! How a run ended, before anybody judges it.

use crate::failover::Failover;
use burnin_drivers::FinalReadReport;
use burnin_report::Crash;
use burnin_runtime::Instant;

/// A fault as it really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The schedule's entry, as in `cut#3`.
    pub id: String,
    /// As in `process.kill`.
    pub kind: String,
    /// When it began.
    pub at: Instant,
    /// When it ended; `None` when it was over at once.
    pub until: Option<Instant>,
    /// The names of the nodes that it hit.
    pub on: Vec<String>,
    /// What exactly it did, where that was not known before.
    pub detail: String,
}

/// How a run ended.
#[derive(Default)]
pub struct Ended {
    /// What happened of the schedule.
    pub fired: Vec<Fired>,
    /// How often a fault had to wait.
    pub waits: u64,
    /// Entries whose time came and which never began.
    pub never_fired: Vec<String>,
    /// Nothing was proven: why.
    pub unproven: Option<String>,
    /// Writers and readers that did not get on after everything was healed.
    pub stuck: Vec<String>,
    /// When that was noticed, in nanoseconds.
    pub stuck_at: u64,
    /// A violation ended the run early.
    pub stopped_early: bool,
    /// The longest time without a leader, if that was watched.
    pub failover: Option<Failover>,
    /// How reading back went.
    pub final_read: Option<FinalReadReport>,
}

/// Why a run broke off.
#[derive(Clone, Debug)]
pub enum Broke {
    /// The system under test panicked.
    Crash(Crash),
    /// It did not come to an end: the anomaly's name, and the words.
    Hung(&'static str, String),
}
