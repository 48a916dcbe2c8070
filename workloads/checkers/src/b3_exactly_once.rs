//! B3, exactly-once append: a record is at one offset, and an idempotent producer's records are in the order of
//! their sequences.
//!
//! `duplicate`: one sequence at two offsets. Lawful only for a producer that is not idempotent, and only as often as
//! an attempt of it may have been appended. `out-of-order`: an idempotent producer's sequence behind a higher one. A
//! gap is no anomaly here: the producer may have given up; when it was acknowledged, B2 reports it.
//!
//! Lawful is a record out of order that the producer was asked to write before its topic was deleted and created again:
//! a broker that knows nothing of a producer takes any sequence for its first one (KIP-360), so that of several batches
//! on their way to a topic by its name (before topic ids, KIP-516, reached Produce in version 13) a later one may open
//! the new log, and the earlier one is refused, and sent again.
//!
//! Knowledge is dropped at a licensed loss (what is lost may be written again) and when the full re-read begins,
//! which walks the whole log afresh.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::digest::Run;
use crate::facts::Facts;
use crate::intervals::IntervalSet;
use crate::words::{At, Rec};
use burnin_history::{Acks, ConsumerId, Event, Moment, OpId, Tp};
use std::collections::BTreeMap;

const DUPLICATE: &str = "duplicate";
const OUT_OF_ORDER: &str = "out-of-order";
/// Retried operations that a producer keeps count of; beyond it any number of copies is let pass for the oldest.
const RETRIED_MAX: usize = 1 << 14;

/// See the module.
#[derive(Debug)]
pub struct ExactlyOnce {
    findings: Findings,
    logs: Vec<Log>,
    slots: Vec<Slot>,
    reader: Option<ConsumerId>,
    phase: u32,
}

#[derive(Debug, Default)]
struct Log {
    stamp: (u32, u32),
    covered: IntervalSet,
}

#[derive(Debug, Default)]
struct Slot {
    stamp: (u32, u32),
    seen: IntervalSet,
    /// The last record by offset: its sequence and offset.
    last: Option<(u64, i64)>,
    /// Sequences seen more than once, and how often.
    copies: BTreeMap<u64, u32>,
    /// Of operations with several attempts that may have been appended: count of records and of attempts.
    retried: BTreeMap<u64, (u32, u32)>,
    /// Sequences whose attempts nobody counted.
    uncounted: IntervalSet,
    /// Sequences below it were to be written before the topic was created again.
    asked_before: u64,
}

impl Default for ExactlyOnce {
    fn default() -> Self {
        let findings = Findings::new("B3", Class::Safety);
        ExactlyOnce { findings, logs: Vec::new(), slots: Vec::new(), reader: None, phase: 0 }
    }
}

impl Checker for ExactlyOnce {
    fn property(&self) -> &'static Property {
        &Property { id: "B3", seen_outside: &[DUPLICATE, OUT_OF_ORDER], seen_inside: &[] }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceCompleted { op, .. } => self.completed(facts, *op),
            Event::Polled { consumer, tp, fetch_offset, next_offset, .. }
                if facts.polled().is_usable() && self.reader.is_none_or(|reader| reader == *consumer) =>
            {
                self.read(facts, at, *consumer, *tp, (*fetch_offset, *next_offset));
            }
            Event::TopicCreatedAgain { tp, .. } => {
                for slot in &facts.partition(*tp).slots {
                    let asked = facts.slot(*slot).sent.spans().last().map_or(0, |span| span.1);
                    self.slot(*slot).asked_before = asked;
                }
            }
            Event::FinalReadStarted { consumer } => {
                self.reader = Some(*consumer);
                self.phase += 1;
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl ExactlyOnce {
    /// Keeps how often the operation may have been appended, when that is more than once.
    fn completed(&mut self, facts: &Facts, op: OpId) {
        let Some(op) = facts.op(op) else { return };
        if facts.slot(op.slot).idempotent || (op.attempts > 0 && op.maybe_appended <= 1) {
            return;
        }
        if op.attempts == 0 && op.acks == Acks::None {
            // No answer, hence no retry.
            return;
        }
        let (first, end) = (op.first_seq, op.first_seq + u64::from(op.count));
        let slot = self.slot(op.slot);
        if op.attempts == 0 {
            slot.uncounted.insert(first, end);
            return;
        }
        slot.retried.insert(first, (op.count, op.maybe_appended));
        while slot.retried.len() > RETRIED_MAX {
            if let Some((first, (count, _))) = slot.retried.pop_first() {
                slot.uncounted.insert(first, first + u64::from(count));
            }
        }
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        &mut self.slots[index]
    }

    fn read(&mut self, facts: &Facts, at: Moment, consumer: ConsumerId, tp: Tp, (fetch, next): (i64, i64)) {
        let stamp = (facts.partition(tp).licence.generation(), self.phase);
        let index = tp.0 as usize;
        if self.logs.len() <= index {
            self.logs.resize_with(index + 1, Log::default);
        }
        if self.logs[index].stamp != stamp {
            self.logs[index] = Log { stamp, covered: IntervalSet::new() };
        }
        let all_new = !self.logs[index].covered.intersects(fetch as u64, next as u64);
        if !all_new && self.logs[index].covered.contains_range(fetch as u64, next as u64) {
            return;
        }
        for run in &facts.polled().runs {
            if all_new {
                self.run(facts, at, consumer, tp, stamp, run);
                continue;
            }
            let mut whole = IntervalSet::new();
            whole.insert(run.offset as u64, run.end() as u64);
            for &(from, to) in whole.minus(&self.logs[index].covered).spans() {
                let skipped = from - run.offset as u64;
                let piece =
                    Run { offset: from as i64, seq: run.seq + skipped, len: (to - from) as u32, ..*run };
                self.run(facts, at, consumer, tp, stamp, &piece);
            }
        }
        self.logs[index].covered.insert(fetch as u64, next as u64);
    }

    /// Records at offsets that were not seen before.
    fn run(&mut self, facts: &Facts, at: Moment, consumer: ConsumerId, tp: Tp, stamp: (u32, u32), run: &Run) {
        self.findings.checked(u64::from(run.len));
        let slot = self.slot(run.slot);
        if slot.stamp != stamp {
            slot.stamp = stamp;
            slot.seen.clear();
            slot.copies.clear();
            slot.last = None;
        }
        let copied: Vec<(u64, u64)> = slot.seen.within(run.seq, run.seq_end()).collect();
        let behind = slot.last.filter(|(_, offset)| *offset < run.offset);
        if behind.is_some() || slot.last.is_none() {
            slot.last = Some((run.seq_end() - 1, run.end() - 1));
        }
        slot.seen.insert(run.seq, run.seq_end());
        if !copied.is_empty() {
            self.copies(facts, at, consumer, tp, run, &copied);
        } else if let Some((last_seq, last_offset)) = behind.filter(|(seq, _)| *seq >= run.seq)
            && facts.slot(run.slot).idempotent
        {
            if run.seq < slot.asked_before {
                slot.last = Some((last_seq.max(run.seq_end() - 1), run.end() - 1));
                return;
            }
            self.out_of_order(facts, at, consumer, tp, run, (last_seq, last_offset));
        }
    }

    #[cold]
    fn copies(
        &mut self,
        facts: &Facts,
        at: Moment,
        consumer: ConsumerId,
        tp: Tp,
        run: &Run,
        copied: &[(u64, u64)],
    ) {
        let idempotent = facts.slot(run.slot).idempotent;
        for seq in copied.iter().flat_map(|span| span.0..span.1) {
            let slot = &mut self.slots[run.slot as usize];
            let copies = slot.copies.entry(seq).or_insert(1);
            *copies += 1;
            let copies = *copies;
            if !idempotent && slot.copies.len() > RETRIED_MAX {
                slot.copies.pop_first();
            }
            let allowed = if idempotent { 1 } else { slot.allowed(facts, run.slot, seq) };
            if copies <= allowed {
                continue;
            }
            let partition = facts.partition(tp);
            self.findings.report(at, DUPLICATE, 1, Some(tp), || {
                let rec = Rec(facts.slot(run.slot).producer.0, seq);
                let offset = run.offset + (seq - run.seq) as i64;
                let first = match partition.ack_of(run.slot, seq) {
                    Some(ack) => {
                        let acked = ack.base + (seq - ack.first_seq) as i64;
                        format!("it was acknowledged at offset {acked} at {}", At(ack.at))
                    }
                    None => "it was never acknowledged".to_string(),
                };
                let why = if idempotent {
                    "its producer is idempotent".to_string()
                } else {
                    format!("{allowed} of its attempts may have been appended")
                };
                Described {
                    message: format!(
                        "{} @ offset {offset}: consumer {consumer} sees {rec} here at {}, the {copies}. copy of it in \
                         this log; {first}, and {why}.",
                        partition.name,
                        At(at)
                    ),
                    partition: Some(partition.name.to_string()),
                    offset: Some(offset),
                    producer: Some(rec.0),
                    seq: Some(rec.1),
                }
            });
        }
    }

    #[cold]
    fn out_of_order(
        &mut self,
        facts: &Facts,
        at: Moment,
        consumer: ConsumerId,
        tp: Tp,
        run: &Run,
        (last_seq, last_offset): (u64, i64),
    ) {
        let partition = facts.partition(tp);
        self.findings.report(at, OUT_OF_ORDER, 1, Some(tp), || {
            let producer = facts.slot(run.slot).producer.0;
            Described {
                message: format!(
                    "{} @ offset {}: consumer {consumer} sees {} here at {}, behind {} at offset {last_offset}, though \
                     the producer is idempotent.",
                    partition.name,
                    run.offset,
                    Rec(producer, run.seq),
                    At(at),
                    Rec(producer, last_seq),
                ),
                partition: Some(partition.name.to_string()),
                offset: Some(run.offset),
                producer: Some(producer),
                seq: Some(run.seq),
            }
        });
    }
}

impl Slot {
    /// How many copies of `seq` there may be.
    fn allowed(&self, facts: &Facts, slot: u32, seq: u64) -> u32 {
        if self.uncounted.contains(seq) {
            return u32::MAX;
        }
        if let Some((first, (count, attempts))) = self.retried.range(..=seq).next_back()
            && seq < first + u64::from(*count)
        {
            return *attempts;
        }
        let in_flight = facts
            .ops()
            .find(|op| op.slot == slot && (op.first_seq..op.first_seq + u64::from(op.count)).contains(&seq));
        // One more attempt than have ended may be on its way.
        in_flight.map_or(1, |op| op.maybe_appended + 1)
    }
}
