//! A poll taken apart once for all checkers: runs of records that are what they should be, and the others.

use crate::facts::Facts;
use burnin_history::{Payload, PayloadError, Seen, Tp};

/// Records with consecutive offsets and consecutive sequences of one producer, in batches of one leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first record's offset.
    pub offset: i64,
    /// The first record's sequence.
    pub seq: u64,
    /// How many records.
    pub len: u32,
    /// The (partition, producer).
    pub slot: u32,
    /// The leader epoch of all of them.
    pub leader_epoch: i32,
}

impl Run {
    /// One more than the last offset.
    #[inline]
    pub fn end(&self) -> i64 {
        self.offset + i64::from(self.len)
    }

    /// One more than the last sequence.
    #[inline]
    pub fn seq_end(&self) -> u64 {
        self.seq + u64::from(self.len)
    }
}

/// Why a record cannot be one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Its value is not a payload, or damaged.
    Payload(PayloadError),
    /// It was written by another run.
    OtherRun(Payload),
    /// It was written to another partition.
    Elsewhere(Payload),
    /// Nobody was asked to write it.
    NeverSent(Payload),
}

/// See the module. Its buffers are used again for the next poll.
#[derive(Debug, Default)]
pub struct Digest {
    /// The good records, in the order of the poll.
    pub runs: Vec<Run>,
    /// The others: offset and reason.
    pub foreign: Vec<(i64, Foreign)>,
    /// Whether offsets ascend strictly within `[fetch_offset, next_offset)`. Most checkers ignore a poll where they
    /// do not: continuity reports it.
    pub ordered: bool,
    /// Whether the answer may have been on the wire since before a licensed loss. It then tells nothing about the log
    /// as it is now. (Of each reader the first answer after the loss, unless it has begun anew since: it asks again
    /// only when it has got an answer or given up.)
    pub stale: bool,
    /// Whether another topic of this name answered, or nobody can say which did: checkers are not shown it.
    pub of_another_topic: bool,
}

impl Digest {
    /// Whether it tells something about the log.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.ordered && !self.stale
    }

    pub(crate) fn take_in(&mut self, facts: &Facts, tp: Tp, fetch: i64, next: i64, records: &[Seen]) {
        self.runs.clear();
        self.foreign.clear();
        let partition = facts.partition(tp);
        let (topic_number, number) = (partition.topic_number, partition.partition);
        // The run that is being built: `at` is the next offset, `seq` the next sequence that would continue it.
        let (mut at, mut seq, mut producer, mut epoch) = (i64::MIN, 0, 0, 0);
        let mut len = 0u32;
        let mut floor = fetch;
        self.ordered = fetch >= 0 && fetch <= next;
        for record in records {
            self.ordered &= record.offset >= floor && record.offset < next;
            floor = record.offset + 1;
            let payload = match &record.payload {
                Ok(payload) => payload,
                Err(error) => {
                    self.foreign.push((record.offset, Foreign::Payload(*error)));
                    continue;
                }
            };
            if payload.run != facts.run() {
                self.foreign.push((record.offset, Foreign::OtherRun(*payload)));
                continue;
            }
            if payload.topic_number != topic_number || payload.partition != number {
                self.foreign.push((record.offset, Foreign::Elsewhere(*payload)));
                continue;
            }
            if record.offset == at
                && payload.seq == seq
                && payload.producer.0 == producer
                && record.leader_epoch == epoch
            {
                len += 1;
            } else {
                self.close(facts, tp, (at, seq, producer, epoch), len, payload);
                (producer, epoch, len) = (payload.producer.0, record.leader_epoch, 1);
            }
            (at, seq) = (record.offset + 1, payload.seq.wrapping_add(1));
        }
        if let Some(last) = records.iter().rev().find_map(|record| record.payload.ok()) {
            self.close(facts, tp, (at, seq, producer, epoch), len, &last);
        }
    }

    /// Ends the run that reached `(offset, seq, producer, epoch)` after `len` records.
    fn close(
        &mut self,
        facts: &Facts,
        tp: Tp,
        (at, seq, producer, epoch): (i64, u64, u32, i32),
        len: u32,
        like: &Payload,
    ) {
        if len == 0 {
            return;
        }
        let (offset, first) = (at - i64::from(len), seq.wrapping_sub(u64::from(len)));
        let producer = burnin_history::ProducerId(producer);
        let slot = facts.slot_of(tp, producer);
        // (A sequence may wrap around: then nobody sent it.)
        let sent =
            |from, to| from < to && slot.is_some_and(|slot| facts.slot(slot).sent.contains_range(from, to));
        if let (Some(slot), true) = (slot, sent(first, seq)) {
            self.runs.push(Run { offset, seq: first, len, slot, leader_epoch: epoch });
            return;
        }
        for i in 0..len {
            let (offset, seq) = (offset + i64::from(i), first.wrapping_add(u64::from(i)));
            match slot {
                Some(slot) if sent(seq, seq.saturating_add(1)) => {
                    self.runs.push(Run { offset, seq, len: 1, slot, leader_epoch: epoch });
                }
                _ => self.foreign.push((offset, Foreign::NeverSent(Payload { producer, seq, ..*like }))),
            }
        }
    }
}
