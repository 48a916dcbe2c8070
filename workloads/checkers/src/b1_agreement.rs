//! B1, agreement: an offset of a partition holds one record, in one leader epoch, for ever. Everybody who reads it
//! and every acknowledgement that names it says the same.
//!
//! The first observer of an offset defines it ([`Canon`]). Later readers are compared record by record while the
//! ring remembers, and block by block beyond. An acknowledgement says which sequence of which producer is at which
//! offset, so it is held against what is read there, whichever comes first, and against other acknowledgements.
//! After a licensed loss an offset may hold another record, in a higher leader epoch (the log began to grow again
//! from a shorter end).

use crate::canon::{BLOCK, Canon, Entry, NOT_OURS, mix};
use crate::checker::{Checker, Class, Described, Findings};
use crate::facts::{Ack, Facts, PartitionFacts};
use crate::pending::Pending;
use crate::words::{At, Rec, acks};
use burnin_history::{ConsumerId, Event, Moment, OpId, Outcome, Seen, Tp};

const ANOMALY: &str = "inconsistent-offsets";

/// See the module.
#[derive(Debug)]
pub struct Agreement {
    findings: Findings,
    logs: Vec<Log>,
    /// By consumer, then by partition.
    walks: Vec<Vec<Walk>>,
}

/// A partition as it was seen.
#[derive(Debug, Default)]
struct Log {
    canon: Canon,
    pending: Pending,
    /// What was seen at the highest offset in this generation.
    last: Option<Entry>,
    wipes: u32,
}

/// A reader on its way through a partition.
#[derive(Clone, Copy, Debug)]
struct Walk {
    next: i64,
    generation: u32,
    /// The sum of the current block, from `since` on.
    sum: u64,
    since: i64,
}

const NOWHERE: Walk = Walk { next: -1, generation: 0, sum: 0, since: 0 };

impl Default for Agreement {
    fn default() -> Self {
        Agreement { findings: Findings::new("B1", Class::Safety), logs: Vec::new(), walks: Vec::new() }
    }
}

/// The facts of one poll.
struct Poll<'a> {
    facts: &'a PartitionFacts,
    tp: Tp,
    at: Moment,
    consumer: ConsumerId,
    records: &'a [Seen],
    ring_max: usize,
    generation: u32,
}

impl Checker for Agreement {
    fn id(&self) -> &'static str {
        "B1"
    }

    fn anomalies(&self) -> &'static [&'static str] {
        &[ANOMALY]
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::Polled { consumer, tp, fetch_offset, next_offset, log_start_offset, records, .. } => {
                if !facts.polled().ordered {
                    return;
                }
                let partition = facts.partition(*tp);
                let generation = partition.licence.generation();
                let ring_max = 1 << facts.share(1 << 18, 64, 8192).ilog2();
                let poll = Poll {
                    facts: partition,
                    tp: *tp,
                    at,
                    consumer: *consumer,
                    records,
                    ring_max,
                    generation,
                };
                self.read(&poll, *fetch_offset, *next_offset);
                self.compare_acks(facts, &poll, *fetch_offset, *next_offset);
                self.log(*tp, partition).canon.forget_below(*log_start_offset);
            }
            Event::ProduceCompleted { op, outcome: Outcome::Applied, base_offset: Some(base) } => {
                self.acknowledged(facts, at, *op, *base);
            }
            Event::FinalReadCompleted { tp, log_end_offset, consumer, .. } => {
                self.ended(facts.partition(*tp), *tp, at, *consumer, *log_end_offset);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl Agreement {
    fn log(&mut self, tp: Tp, facts: &PartitionFacts) -> &mut Log {
        let index = tp.0 as usize;
        if self.logs.len() <= index {
            self.logs.resize_with(index + 1, Log::default);
        }
        let log = &mut self.logs[index];
        if log.wipes != facts.licence.wipes() {
            *log = Log { wipes: facts.licence.wipes(), ..Log::default() };
        }
        log
    }

    fn walk(&mut self, consumer: ConsumerId, tp: Tp) -> &mut Walk {
        let (consumer, tp) = (consumer.0 as usize, tp.0 as usize);
        if self.walks.len() <= consumer {
            self.walks.resize_with(consumer + 1, Vec::new);
        }
        let walks = &mut self.walks[consumer];
        if walks.len() <= tp {
            walks.resize(tp + 1, NOWHERE);
        }
        &mut walks[tp]
    }

    /// Follows a reader over `[fetch, next)`, in segments that lie in one block and are either new or known.
    fn read(&mut self, poll: &Poll<'_>, fetch: i64, next: i64) {
        let mut walk = *self.walk(poll.consumer, poll.tp);
        if walk.next != fetch || walk.generation != poll.generation {
            walk = Walk { next: fetch, generation: poll.generation, sum: 0, since: fetch };
        }
        self.log(poll.tp, poll.facts);
        let Agreement { findings, logs, .. } = self;
        let log = &mut logs[poll.tp.0 as usize];
        let (mut at, mut index) = (fetch, 0);
        while at < next {
            let block_end = (at / BLOCK + 1) * BLOCK;
            let (known, span_end) = match log.canon.covered.span_at(at as u64) {
                Some(end) => (true, end),
                None => (false, log.canon.covered.first_at_or_after(at as u64).unwrap_or(u64::MAX)),
            };
            let end = next.min(block_end).min(i64::try_from(span_end).unwrap_or(i64::MAX));
            let count = count_below(&poll.records[index..], end);
            let segment = Segment { start: at, end, known, records: &poll.records[index..index + count] };
            match segment.read(&mut log.canon, poll, findings, &mut walk) {
                Ok(sum) => {
                    walk.sum = walk.sum.wrapping_add(sum);
                    if !known {
                        if let Some(block) = log.canon.block_mut(at, poll.generation) {
                            block.sum = block.sum.wrapping_add(sum);
                        }
                        log.canon.covered.insert(at as u64, end as u64);
                    }
                    (at, index) = (end, index + count);
                    if end == block_end {
                        compare_block(&mut log.canon, poll, findings, &mut walk, block_end - BLOCK);
                    }
                }
                Err(Cut { offset, index: good }) => {
                    // Lawfully another record: from here on the log is new.
                    log.canon.cut(offset);
                    (at, index) = (offset, index + good);
                    (walk.sum, walk.since) = (0, offset);
                }
            }
        }
        if let Some(seen) = poll.records.last() {
            let entry = Entry::new(seen, poll.consumer, poll.at, poll.generation);
            let newer = |last: &Entry| last.generation < entry.generation || last.offset < entry.offset;
            if log.last.as_ref().is_none_or(newer) {
                log.last = Some(entry);
            }
        }
        walk.next = next;
        *self.walk(poll.consumer, poll.tp) = walk;
    }

    /// Holds the acknowledgements that this poll passed against its records.
    fn compare_acks(&mut self, facts: &Facts, poll: &Poll<'_>, fetch: i64, next: i64) {
        let Agreement { findings, logs, .. } = self;
        let runs = &facts.polled().runs;
        logs[poll.tp.0 as usize].pending.pass(fetch, next, |ack| {
            if ack.generation < poll.generation {
                return;
            }
            let from = runs.partition_point(|run| run.end() <= ack.base);
            for run in runs[from..].iter().take_while(|run| run.offset < ack.end()) {
                let (low, high) = (run.offset.max(ack.base), run.end().min(ack.end()));
                let acked_seq = ack.first_seq + (low - ack.base) as u64;
                let seen_seq = run.seq + (low - run.offset) as u64;
                findings.checked((high - low) as u64);
                if run.slot != ack.slot || acked_seq != seen_seq {
                    let seen = Rec(facts.slot(run.slot).producer.0, seen_seq);
                    let (consumer, at) = (poll.consumer, poll.at);
                    let found = format!("consumer {consumer} saw {seen} there at {}", At(at));
                    contradicts_ack(
                        findings,
                        facts,
                        poll.facts,
                        poll.tp,
                        at,
                        ack,
                        low,
                        found,
                        (high - low) as u64,
                    );
                }
            }
        });
    }

    fn acknowledged(&mut self, facts: &Facts, at: Moment, op: OpId, base: i64) {
        let Some(op) = facts.op(op) else { return };
        let partition = facts.partition(op.tp);
        let generation = partition.licence.generation();
        if op.generation != generation || base < 0 {
            return;
        }
        let ack = Ack {
            base,
            count: op.count,
            slot: op.slot,
            first_seq: op.first_seq,
            at,
            generation,
            node: op.node,
            acks: op.acks,
        };
        let tp = op.tp;
        let (start, end) = (base as u64, ack.end() as u64);
        for (from, to) in partition.acked.within(start, end) {
            let found = match partition.ack_at(from as i64) {
                Some(other) => {
                    let seq = other.first_seq + (from as i64 - other.base) as u64;
                    let rec = Rec(facts.slot(other.slot).producer.0, seq);
                    format!("{rec} had been acknowledged there at {}", At(other.at))
                }
                None => "another record had been acknowledged there before".to_string(),
            };
            contradicts_ack(
                &mut self.findings,
                facts,
                partition,
                tp,
                at,
                &ack,
                from as i64,
                found,
                to - from,
            );
        }
        let kept_max = facts.share(1 << 17, 64, 8192);
        self.log(tp, partition);
        let Agreement { findings, logs, .. } = self;
        let log = &mut logs[tp.0 as usize];
        if log.canon.covered.contains_range(start, end) && log.canon.remembers(base) {
            for offset in base..ack.end() {
                let Some(entry) = log.canon.entry(offset) else { continue };
                let seq = ack.first_seq + (offset - base) as u64;
                findings.checked(1);
                let same = (entry.producer, entry.seq) == (op.producer.0, seq);
                if !same && entry.producer != NOT_OURS && entry.generation == generation {
                    let rec = Rec(entry.producer, entry.seq);
                    let found =
                        format!("consumer {} had seen {rec} there at {}", entry.consumer, At(entry.at));
                    contradicts_ack(findings, facts, partition, tp, at, &ack, offset, found, 1);
                }
            }
        } else {
            log.pending.add(ack, kept_max);
        }
    }

    /// The full re-read ended below what somebody has seen.
    fn ended(&mut self, facts: &PartitionFacts, tp: Tp, at: Moment, reader: ConsumerId, end: i64) {
        let generation = facts.licence.generation();
        self.log(tp, facts);
        let Some(last) = self.logs[tp.0 as usize].last else { return };
        self.findings.checked(1);
        if last.generation == generation && last.offset >= end {
            let lost = (last.offset + 1 - end) as u64;
            self.findings.report(at, ANOMALY, lost, Some(tp), || Described {
                message: format!(
                    "{} @ offset {}: consumer {} saw {} there at {}, but the log of the full re-read by consumer \
                     {reader} ends at offset {end}.",
                    facts.name,
                    last.offset,
                    last.consumer,
                    Rec(last.producer, last.seq),
                    At(last.at),
                ),
                partition: Some(facts.name.to_string()),
                offset: Some(last.offset),
                producer: Some(last.producer),
                seq: Some(last.seq),
            });
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

/// From `offset` on (record `index` of the segment) the log is lawfully another one.
struct Cut {
    offset: i64,
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
            let entry = Entry::new(seen, poll.consumer, poll.at, poll.generation);
            match canon.entry(seen.offset) {
                Some(old) if old.agrees(&entry) => {
                    if old.generation < poll.generation {
                        canon.put(Entry { generation: poll.generation, ..*old }, poll.ring_max);
                    }
                }
                Some(old) if old.generation < poll.generation && old.epoch < entry.epoch => {
                    return Err(Cut { offset: seen.offset, index });
                }
                Some(old) => {
                    disagree(findings, poll, old, &entry);
                    walk.since = i64::MAX;
                }
                None if self.known && canon.remembers(seen.offset) => {
                    appeared(findings, poll, &entry);
                    walk.since = i64::MAX;
                }
                None => canon.put(entry, poll.ring_max),
            }
            if self.known && expected < seen.offset {
                vanished(canon, findings, poll, walk, expected, seen.offset);
            }
            expected = seen.offset + 1;
            sum = sum.wrapping_add(mix(seen));
        }
        if self.known {
            findings.checked(self.records.len() as u64);
            if expected < self.end {
                vanished(canon, findings, poll, walk, expected, self.end);
            }
        }
        Ok(sum)
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
    findings.report(poll.at, ANOMALY, 1, Some(poll.tp), || Described {
        message: format!(
            "{} @ offset {}: consumer {} saw {} (leader epoch {}, content {:016x}) there at {}, but consumer {} sees \
             {} (leader epoch {}, content {:016x}) there at {}{}.",
            poll.facts.name,
            new.offset,
            old.consumer,
            described(old),
            old.epoch,
            old.content,
            At(old.at),
            new.consumer,
            described(new),
            new.epoch,
            new.content,
            At(new.at),
            if same { ": the same record in another epoch" } else { "" },
        ),
        partition: Some(poll.facts.name.to_string()),
        offset: Some(new.offset),
        producer: Some(old.producer),
        seq: Some(old.seq),
    });
}

fn described(entry: &Entry) -> String {
    match entry.producer {
        NOT_OURS => "a record that is not ours".to_string(),
        producer => Rec(producer, entry.seq).to_string(),
    }
}

#[cold]
fn appeared(findings: &mut Findings, poll: &Poll<'_>, new: &Entry) {
    findings.report(poll.at, ANOMALY, 1, Some(poll.tp), || Described {
        message: format!(
            "{} @ offset {}: consumer {} sees {} there at {}, but a reader before it passed over this offset and saw \
             nothing.",
            poll.facts.name,
            new.offset,
            new.consumer,
            described(new),
            At(new.at),
        ),
        partition: Some(poll.facts.name.to_string()),
        offset: Some(new.offset),
        producer: Some(new.producer),
        seq: Some(new.seq),
    });
}

/// The poll holds no record in `[from, to)`: the ring must not have one either.
#[cold]
fn vanished(canon: &Canon, findings: &mut Findings, poll: &Poll<'_>, walk: &mut Walk, from: i64, to: i64) {
    for old in (from..to).filter_map(|offset| canon.entry(offset)) {
        if old.generation < poll.generation {
            continue;
        }
        walk.since = i64::MAX;
        findings.report(poll.at, ANOMALY, 1, Some(poll.tp), || Described {
            message: format!(
                "{} @ offset {}: consumer {} saw {} there at {}, but consumer {} passed over it at {} and saw nothing.",
                poll.facts.name,
                old.offset,
                old.consumer,
                described(old),
                At(old.at),
                poll.consumer,
                At(poll.at),
            ),
            partition: Some(poll.facts.name.to_string()),
            offset: Some(old.offset),
            producer: Some(old.producer),
            seq: Some(old.seq),
        });
    }
}

/// `ack` says what is at `offset`; `found` says otherwise.
#[cold]
#[expect(clippy::too_many_arguments, reason = "the parts of one sentence")]
fn contradicts_ack(
    findings: &mut Findings,
    facts: &Facts,
    partition: &PartitionFacts,
    tp: Tp,
    at: Moment,
    ack: &Ack,
    offset: i64,
    found: String,
    count: u64,
) {
    let (producer, seq) = (facts.slot(ack.slot).producer.0, ack.first_seq + (offset - ack.base) as u64);
    findings.report(at, ANOMALY, count, Some(tp), || Described {
        message: format!(
            "{} @ offset {offset}: {} was acknowledged there ({}){} at {}, but {found}.",
            partition.name,
            Rec(producer, seq),
            acks(ack.acks),
            ack.node.map(|node| format!(" by broker {node}")).unwrap_or_default(),
            At(ack.at),
        ),
        partition: Some(partition.name.to_string()),
        offset: Some(offset),
        producer: Some(producer),
        seq: Some(seq),
    });
}
