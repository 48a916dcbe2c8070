//! What all partitions of a broker tell the tasks of replication.

use burnin_core::partition::IsrProposal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// A partition by the id of its topic and its number.
pub(crate) type Key = (Uuid, i32);

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    /// This broker.
    pub(super) me: i32,
    /// `replica.lag.time.max.ms`.
    pub(super) lag_time_max: Duration,
    /// Whether followers serve consumers, so that they must learn at once how far the high watermark is.
    pub(super) followers_serve: bool,
    proposals: Mutex<BTreeMap<Key, IsrProposal>>,
    pub(super) proposed: Notify,
    moved: AtomicBool,
}

impl Hub {
    /// For broker `me`.
    pub(crate) fn new(me: i32, lag_time_max: Duration, followers_serve: bool) -> Hub {
        Hub {
            me,
            lag_time_max,
            followers_serve,
            proposals: Mutex::default(),
            proposed: Notify::new(),
            moved: AtomicBool::new(false),
        }
    }

    /// Asks for an ISR. A newer wish for the same partition takes the place of an older one.
    pub(super) fn propose(&self, key: Key, proposal: IsrProposal) {
        self.proposals.lock().insert(key, proposal);
        self.proposed.notify_one();
    }

    /// What is asked for and not sent yet.
    pub(super) fn take_proposals(&self) -> BTreeMap<Key, IsrProposal> {
        std::mem::take(&mut *self.proposals.lock())
    }

    /// Notes that a high watermark moved.
    pub(super) fn note_moved(&self) {
        if !self.moved.load(Ordering::Relaxed) {
            self.moved.store(true, Ordering::Release);
        }
    }

    /// Whether a high watermark has moved since the last time.
    pub(super) fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::AcqRel)
    }
}
