//! B1, agreement: an offset of a partition holds one record, in one leader epoch, for ever. Everybody who reads it
//! and every acknowledgement that names it says the same.
//!
//! The first observer of an offset defines it ([`Canon`]). Later readers are compared record by record while the
//! ring remembers, and block by block beyond. An acknowledgement says which sequence of which producer is at which
//! offset, so it is held against what is read there, whichever comes first, and against other acknowledgements.
//! After a licensed loss an offset may hold another record, in a higher leader epoch (the log began to grow again
//! from a shorter end).

use crate::canon::{Canon, Entry, NOT_OURS};
use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Ack, Facts, PartitionFacts};
use crate::pending::Pending;
use crate::walk::{ANOMALY, Poll, Walk, glance, saw};
use crate::words::{At, Rec, acks};
use burnin_history::{ConsumerId, Event, Moment, OpId, Outcome, Tp};

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
    /// The end of what was acknowledged when the full re-read began, and the generation then.
    acked_end: (u32, i64),
    wipes: u32,
}

impl Default for Agreement {
    fn default() -> Self {
        Agreement { findings: Findings::new("B1", Class::Safety), logs: Vec::new(), walks: Vec::new() }
    }
}

impl Checker for Agreement {
    fn property(&self) -> &'static Property {
        &Property { id: "B1", seen_outside: &[ANOMALY], seen_inside: &[] }
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
                    fetch: *fetch_offset,
                    next: *next_offset,
                    records,
                    ring_max,
                    generation,
                };
                if facts.polled().stale {
                    self.log(*tp, partition);
                    return glance(&mut self.logs[tp.0 as usize].canon, &poll, &mut self.findings);
                }
                self.read(&poll);
                self.compare_acks(facts, &poll);
                self.log(*tp, partition).canon.forget_below(*log_start_offset);
            }
            Event::ProduceCompleted { op, outcome: Outcome::Applied, base_offset: Some(base) } => {
                self.acknowledged(facts, at, *op, *base);
            }
            Event::FinalReadStarted { .. } => {
                for (tp, partition) in facts.partitions() {
                    let acked_end = (partition.licence.generation(), partition.acked.end() as i64);
                    self.log(tp, partition).acked_end = acked_end;
                }
            }
            Event::FinalReadCompleted { tp, log_end_offset, consumer, .. } => {
                self.ended(facts, *tp, at, *consumer, *log_end_offset);
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
            walks.resize(tp + 1, Walk::default());
        }
        &mut walks[tp]
    }

    /// Follows a reader.
    fn read(&mut self, poll: &Poll<'_>) {
        let mut walk = *self.walk(poll.consumer, poll.tp);
        self.log(poll.tp, poll.facts);
        let Agreement { findings, logs, .. } = self;
        let log = &mut logs[poll.tp.0 as usize];
        walk.follow(&mut log.canon, poll, findings);
        if let Some(seen) = poll.records.last() {
            let entry = Entry::new(seen, poll.consumer, poll.at, poll.generation);
            let newer = |last: &Entry| last.generation < entry.generation || last.offset < entry.offset;
            if log.last.as_ref().is_none_or(newer) {
                log.last = Some(entry);
            }
        }
        *self.walk(poll.consumer, poll.tp) = walk;
    }

    /// Holds the acknowledgements that this poll passed against its records.
    fn compare_acks(&mut self, facts: &Facts, poll: &Poll<'_>) {
        let Agreement { findings, logs, .. } = self;
        let runs = &facts.polled().runs;
        logs[poll.tp.0 as usize].pending.pass(poll.fetch, poll.next, |ack| {
            if ack.generation < poll.generation {
                return;
            }
            let from = runs.partition_point(|run| run.end() <= ack.base);
            let mut expected = ack.base;
            for run in runs[from..].iter().take_while(|run| run.offset < ack.end()) {
                let (low, high) = (run.offset.max(ack.base), run.end().min(ack.end()));
                let acked_seq = ack.first_seq + (low - ack.base) as u64;
                let seen_seq = run.seq + (low - run.offset) as u64;
                findings.checked((high - low) as u64);
                if run.slot != ack.slot || acked_seq != seen_seq {
                    let seen = Rec(facts.slot(run.slot).producer.0, seen_seq);
                    let found = format!("consumer {} saw {seen} there at {}", poll.consumer, At(poll.at));
                    contradicts_ack(findings, facts, poll.tp, poll.at, ack, low, found, (high - low) as u64);
                }
                no_record(findings, facts, poll, ack, expected, low);
                expected = high;
            }
            no_record(findings, facts, poll, ack, expected, ack.end());
        });
    }

    fn acknowledged(&mut self, facts: &Facts, at: Moment, op: OpId, base: i64) {
        let Some(op) = facts.op(op) else { return };
        let partition = facts.partition(op.tp);
        let generation = partition.licence.generation();
        if op.generation != generation || base < 0 || facts.is_weak(op) {
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
            contradicts_ack(&mut self.findings, facts, tp, at, &ack, from as i64, found, to - from);
        }
        let kept_max = facts.share(1 << 17, 64, 8192);
        self.log(tp, partition);
        let Agreement { findings, logs, .. } = self;
        let log = &mut logs[tp.0 as usize];
        if !log.canon.covered.contains_range(start, end) {
            log.pending.add(ack, kept_max);
            return;
        }
        // Readers were faster than the acknowledgement.
        let mut known = 0;
        for offset in base..ack.end() {
            let current = |entry: &&Entry| entry.generation == generation;
            let Some(entry) = log.canon.entry(offset).filter(current) else { continue };
            known += 1;
            let seq = ack.first_seq + (offset - base) as u64;
            let same = (entry.producer, entry.seq) == (op.producer.0, seq);
            if !same && entry.producer != NOT_OURS {
                let found = format!("consumer {} had {} at {}", entry.consumer, saw(entry), At(entry.at));
                contradicts_ack(findings, facts, tp, at, &ack, offset, found, 1);
            }
        }
        findings.checked(known);
        if known < u64::from(ack.count) {
            log.pending.add(ack, kept_max);
        }
    }

    /// The full re-read ended: at or above what somebody has seen, and what was acknowledged before it.
    fn ended(&mut self, facts: &Facts, tp: Tp, at: Moment, reader: ConsumerId, end: i64) {
        let partition = facts.partition(tp);
        let generation = partition.licence.generation();
        self.log(tp, partition);
        let Log { last, acked_end, .. } = &self.logs[tp.0 as usize];
        self.findings.checked(1);
        let ends = format!("but the log of the full re-read by consumer {reader} ends at offset {end}");
        if let Some(last) = last.filter(|last| last.generation == generation && last.offset >= end) {
            let lost = (last.offset + 1 - end) as u64;
            self.findings.report(at, ANOMALY, lost, Some(tp), || {
                let seen = format!("consumer {} {} at {}", last.consumer, saw(&last), At(last.at));
                Described {
                    message: format!("{} @ offset {}: {seen}, {ends}.", partition.name, last.offset),
                    partition: Some(partition.name.to_string()),
                    offset: Some(last.offset),
                    producer: Some(last.producer),
                    seq: Some(last.seq),
                }
            });
        }
        let (acked_generation, acked_end) = *acked_end;
        if acked_generation == generation && acked_end > end {
            let offset = acked_end - 1;
            self.findings.report(at, ANOMALY, (acked_end - end) as u64, Some(tp), || {
                let ack = partition.ack_at(offset);
                let known = ack.map_or("long ago".to_string(), |ack| format!("at {}", At(ack.at)));
                Described {
                    message: format!(
                        "{} @ offset {offset}: was acknowledged {known}, {ends}.",
                        partition.name
                    ),
                    partition: Some(partition.name.to_string()),
                    offset: Some(offset),
                    producer: ack.map(|ack| facts.slot(ack.slot).producer.0),
                    seq: ack.map(|ack| ack.first_seq + (offset - ack.base) as u64),
                }
            });
        }
    }
}

/// The poll passed over `[from, to)`, which is part of `ack`, and holds none of our records there. (A record that is not
/// ours is integrity's business.)
#[inline]
fn no_record(findings: &mut Findings, facts: &Facts, poll: &Poll<'_>, ack: &Ack, from: i64, to: i64) {
    let foreign = &facts.polled().foreign;
    for offset in (from..to).filter(|offset| foreign.iter().all(|(other, _)| other != offset)) {
        let found = format!("consumer {} passed over it at {} and saw nothing", poll.consumer, At(poll.at));
        contradicts_ack(findings, facts, poll.tp, poll.at, ack, offset, found, 1);
    }
}

/// `ack` says what is at `offset`; `found` says otherwise.
#[cold]
#[expect(clippy::too_many_arguments, reason = "the parts of one sentence")]
fn contradicts_ack(
    findings: &mut Findings,
    facts: &Facts,
    tp: Tp,
    at: Moment,
    ack: &Ack,
    offset: i64,
    found: String,
    count: u64,
) {
    let partition = facts.partition(tp);
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
