//! Counters that say whether writers and readers get on. Whoever runs a workload takes a copy when all faults
//! have ended, and another later: a producer that acknowledged nothing in between is stuck.

use burnin_history::Outcome;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What one producer did.
#[derive(Debug)]
pub struct WriterProgress {
    invoked: AtomicU64,
    applied: AtomicU64,
    not_applied: AtomicU64,
    maybe: AtomicU64,
    retried: AtomicU64,
    last_applied_at: AtomicU64,
    applied_to: Vec<AtomicU64>,
}

impl WriterProgress {
    /// For a producer that writes to so many partitions.
    pub fn new(partitions: usize) -> Self {
        WriterProgress {
            invoked: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            not_applied: AtomicU64::new(0),
            maybe: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            last_applied_at: AtomicU64::new(0),
            applied_to: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn invoke(&self) {
        self.invoked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn complete(&self, at: u64, partition: usize, outcome: Outcome) {
        match outcome {
            Outcome::Applied => {
                self.applied_to[partition].fetch_add(1, Ordering::Relaxed);
                self.last_applied_at.store(at, Ordering::Relaxed);
                &self.applied
            }
            Outcome::NotApplied => &self.not_applied,
            Outcome::Maybe => &self.maybe,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Operations that were begun.
    pub fn invoked(&self) -> u64 {
        self.invoked.load(Ordering::Relaxed)
    }

    /// Operations that were acknowledged.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Operations that were acknowledged, by partition, in the order of the driver's configuration.
    pub fn applied_to(&self, partition: usize) -> u64 {
        self.applied_to[partition].load(Ordering::Relaxed)
    }

    /// Operations that certainly failed.
    pub fn not_applied(&self) -> u64 {
        self.not_applied.load(Ordering::Relaxed)
    }

    /// Operations of which nobody can say. With acks=0: all that were sent.
    pub fn maybe(&self) -> u64 {
        self.maybe.load(Ordering::Relaxed)
    }

    /// Attempts after the first of an operation.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Operations that ended in some way.
    pub fn completed(&self) -> u64 {
        self.applied() + self.not_applied() + self.maybe()
    }

    /// When the last acknowledgement came, in nanoseconds since the run began; 0: none came.
    pub fn last_applied_at(&self) -> u64 {
        self.last_applied_at.load(Ordering::Relaxed)
    }
}

/// What one reader did.
#[derive(Debug)]
pub struct ReaderProgress {
    records: AtomicU64,
    refused: AtomicU64,
    last_read_at: AtomicU64,
    positions: Vec<AtomicI64>,
    high_watermarks: Vec<AtomicI64>,
}

impl ReaderProgress {
    /// For a reader of so many partitions.
    pub fn new(partitions: usize) -> Self {
        let unknown = || (0..partitions).map(|_| AtomicI64::new(-1)).collect();
        ReaderProgress {
            records: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_read_at: AtomicU64::new(0),
            positions: unknown(),
            high_watermarks: unknown(),
        }
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn position(&self, partition: usize, offset: i64) {
        self.positions[partition].store(offset, Ordering::Relaxed);
    }

    pub(crate) fn read(
        &self,
        at: u64,
        partition: usize,
        next_offset: i64,
        high_watermark: i64,
        records: u64,
    ) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.last_read_at.store(at, Ordering::Relaxed);
        self.positions[partition].store(next_offset, Ordering::Relaxed);
        self.high_watermarks[partition].store(high_watermark, Ordering::Relaxed);
    }

    /// Records that were read.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Requests for a partition that a broker refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// When something was read last, in nanoseconds since the run began; 0: never.
    pub fn last_read_at(&self) -> u64 {
        self.last_read_at.load(Ordering::Relaxed)
    }

    /// Where the reader is in a partition (by the order of the driver's configuration); -1: not known yet.
    pub fn position_of(&self, partition: usize) -> i64 {
        self.positions[partition].load(Ordering::Relaxed)
    }

    /// The high watermark that it was told last; -1: none yet.
    pub fn high_watermark_of(&self, partition: usize) -> i64 {
        self.high_watermarks[partition].load(Ordering::Relaxed)
    }

    /// Records between the reader and the high watermark that it was told last, over all partitions.
    pub fn lag(&self) -> i64 {
        let of = |partition| (self.high_watermark_of(partition) - self.position_of(partition)).max(0);
        (0..self.positions.len()).map(of).sum()
    }
}
