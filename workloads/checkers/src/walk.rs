//! A reader walks through a partition and is held against the canonical log: record by record where the ring
//! remembers, block by block beyond.

use crate::canon::{BLOCK, Canon, Entry, HOLE, NOT_OURS, mix};
use crate::checker::{Described, Findings};
use crate::facts::PartitionFacts;
use crate::words::{At, Rec};
use burnin_history::{ConsumerId, Moment, Seen, Tp};

/// Jepsen's name for one offset that holds two records.
pub const ANOMALY: &str = "inconsistent-offsets";
/// A jump over more offsets than this, with no record among them, is not walked.
const JUMP_MAX: i64 = 1 << 20;

/// The facts of one poll.
pub struct Poll<'a> {
    pub facts: &'a PartitionFacts,
    pub tp: Tp,
    pub at: Moment,
    pub consumer: ConsumerId,
    pub fetch: i64,
    pub next: i64,
    pub records: &'a [Seen],
    pub ring_max: usize,
    pub generation: u32,
}

/// A reader on its way through a partition.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    next: i64,
    generation: u32,
    /// The sum of the current block, from `since` on.
    sum: u64,
    since: i64,
}

impl Default for Walk {
    fn default() -> Self {
        Walk { next: -1, generation: 0, sum: 0, since: 0 }
    }
}

impl Walk {
    /// Goes over the poll, in segments that lie in one block and are either new or known.
    pub fn follow(&mut self, canon: &mut Canon, poll: &Poll<'_>, findings: &mut Findings) {
        if self.next != poll.fetch || self.generation != poll.generation {
            *self = Walk { next: poll.fetch, generation: poll.generation, sum: 0, since: poll.fetch };
        }
        self.next = poll.next;
        let last = poll.records.last().map_or(poll.fetch, |last| last.offset);
        let next = if poll.next - last > JUMP_MAX { last + 1 } else { poll.next };
        let (mut at, mut index) = (poll.fetch, 0);
        while at < next {
            let block_end = (at / BLOCK + 1) * BLOCK;
            let (known, span_end) = match canon.covered.span_at(at as u64) {
                Some(end) => (true, end),
                None => (false, canon.covered.first_at_or_after(at as u64).unwrap_or(u64::MAX)),
            };
            let end = next.min(block_end).min(i64::try_from(span_end).unwrap_or(i64::MAX));
            let count = count_below(&poll.records[index..], end);
            let segment = Segment { start: at, end, known, records: &poll.records[index..index + count] };
            match segment.read(canon, poll, findings, self) {
                Ok(sum) => {
                    self.sum = self.sum.wrapping_add(sum);
                    if !known {
                        if let Some(block) = canon.block_mut(at, poll.generation) {
                            block.sum = block.sum.wrapping_add(sum);
                        }
                        canon.covered.insert(at as u64, end as u64);
                    }
                    (at, index) = (end, index + count);
                    if end == block_end {
                        compare_block(canon, poll, findings, self, block_end - BLOCK);
                    }
                }
                Err(Cut { new, index: good }) => {
                    canon.cut(&new, poll.facts.licence.elects_uncleanly());
                    (at, index) = (new.offset, index + good);
                    (self.sum, self.since) = (0, new.offset);
                }
            }
        }
    }
}

/// Holds an answer that may be of before the last licensed loss against what was seen, and keeps what is new as of
/// before it. It can still be wrong: one offset holds one record in one leader epoch, and epochs never go down.
pub fn glance(canon: &mut Canon, poll: &Poll<'_>, findings: &mut Findings) {
    for seen in poll.records {
        let new = Entry::new(seen, poll.consumer, poll.at, poll.generation.saturating_sub(1));
        match canon.entry(seen.offset) {
            Some(old) if old.agrees(&new) => findings.checked(1),
            Some(old) if old.epoch > new.epoch => {}
            Some(old) if old.epoch == new.epoch || old.generation == poll.generation => {
                disagree(findings, poll, old, &new);
            }
            _ => canon.put(new, poll.ring_max),
        }
    }
}

/// Part of a poll: `[start, end)` in one block, all of it passed by somebody before (`known`) or none of it.
struct Segment<'a> {
    start: i64,
    end: i64,
    known: bool,
    records: &'a [Seen],
}

/// Record `index` of the segment, `new`, is lawfully another one than was seen: from it on, the log is new.
struct Cut {
    new: Entry,
    index: usize,
}

impl Segment<'_> {
    /// Compares with what was seen and keeps what is new; the sum of the segment.
    fn read(
        &self,
        canon: &mut Canon,
        poll: &Poll<'_>,
        findings: &mut Findings,
        walk: &mut Walk,
    ) -> Result<u64, Cut> {
        let mut sum = 0u64;
        let mut expected = self.start;
        for (index, seen) in self.records.iter().enumerate() {
            if expected < seen.offset {
                passed_over(canon, findings, poll, walk, expected, seen.offset);
            }
            let entry = Entry::new(seen, poll.consumer, poll.at, poll.generation);
            match canon.entry(seen.offset) {
                Some(old) if old.agrees(&entry) => survived(canon, *old, poll),
                Some(old) if old.generation < poll.generation && is_later(old, &entry, poll) => {
                    return Err(Cut { new: entry, index });
                }
                Some(old) => {
                    disagree(findings, poll, old, &entry);
                    walk.since = i64::MAX;
                }
                None => canon.put(entry, poll.ring_max),
            }
            expected = seen.offset + 1;
            sum = sum.wrapping_add(mix(seen));
        }
        if expected < self.end {
            passed_over(canon, findings, poll, walk, expected, self.end);
        }
        if self.known {
            findings.checked(self.records.len() as u64);
        }
        Ok(sum)
    }
}

/// What is written after a loss is of a later epoch. Only where a replica that was cut off may be elected does its own
/// tail of an earlier epoch come back.
fn is_later(old: &Entry, new: &Entry, poll: &Poll<'_>) -> bool {
    old.epoch < new.epoch || old.epoch != new.epoch && poll.facts.licence.elects_uncleanly()
}

/// What was seen again after a licensed loss is promised again.
#[inline]
fn survived(canon: &mut Canon, old: Entry, poll: &Poll<'_>) {
    if old.generation < poll.generation {
        canon.put(Entry { generation: poll.generation, ..old }, poll.ring_max);
    }
}

/// The poll holds no record in `[from, to)`: nobody else may see one there.
#[cold]
fn passed_over(
    canon: &mut Canon,
    findings: &mut Findings,
    poll: &Poll<'_>,
    walk: &mut Walk,
    from: i64,
    to: i64,
) {
    for offset in from..to {
        let hole = Entry::hole(offset, poll.consumer, poll.at, poll.generation);
        match canon.entry(offset) {
            Some(old) if old.producer == HOLE => survived(canon, *old, poll),
            Some(old) if old.generation == poll.generation => {
                disagree(findings, poll, old, &hole);
                walk.since = i64::MAX;
            }
            _ if Canon::is_small_hole(from, to) => canon.put(hole, poll.ring_max),
            _ => {}
        }
    }
}

/// The records below `end`; they ascend.
#[inline]
fn count_below(records: &[Seen], end: i64) -> usize {
    match records.last() {
        Some(last) if last.offset >= end => records.partition_point(|seen| seen.offset < end),
        _ => records.len(),
    }
}

/// The reader has walked to the end of the block at `start`: compares its sum if it walked all of it.
fn compare_block(canon: &mut Canon, poll: &Poll<'_>, findings: &mut Findings, walk: &mut Walk, start: i64) {
    let (sum, whole) = (walk.sum, walk.since <= start);
    (walk.sum, walk.since) = (0, start + BLOCK);
    let Some(block) = canon.whole_block(start).filter(|block| whole && block.sum != sum) else { return };
    if block.generation < poll.generation {
        if let Some(block) = canon.block_mut(start, poll.generation) {
            (block.sum, block.generation) = (sum, poll.generation);
        }
        return;
    }
    findings.report(poll.at, ANOMALY, 1, Some(poll.tp), || Described {
        message: format!(
            "{} @ offsets {start}..{}: consumer {} read other records there at {} than were first seen (which of \
             them is no longer known: run the seed again with recording).",
            poll.facts.name,
            start + BLOCK,
            poll.consumer,
            At(poll.at),
        ),
        partition: Some(poll.facts.name.to_string()),
        offset: Some(start),
        ..Described::default()
    });
}

#[cold]
fn disagree(findings: &mut Findings, poll: &Poll<'_>, old: &Entry, new: &Entry) {
    let same = (old.content, old.producer, old.seq) == (new.content, new.producer, new.seq);
    let known = if old.producer == HOLE { new } else { old };
    findings.report(poll.at, ANOMALY, 1, Some(poll.tp), || Described {
        message: format!(
            "{} @ offset {}: consumer {} {} at {}, but consumer {} {} at {}{}.",
            poll.facts.name,
            new.offset,
            old.consumer,
            saw(old),
            At(old.at),
            new.consumer,
            saw(new),
            At(new.at),
            if same { ": the same record in another epoch" } else { "" },
        ),
        partition: Some(poll.facts.name.to_string()),
        offset: Some(new.offset),
        producer: Some(known.producer),
        seq: Some(known.seq),
    });
}

/// `saw record 1:7 (producer:seq) of leader epoch 3 and content ... there`.
pub fn saw(entry: &Entry) -> String {
    let record = match entry.producer {
        HOLE => return "passed over it and saw nothing".to_string(),
        NOT_OURS => "a record that is not ours".to_string(),
        producer => Rec(producer, entry.seq).to_string(),
    };
    format!("saw {record} (leader epoch {}, content {:016x}) there", entry.epoch, entry.content)
}
