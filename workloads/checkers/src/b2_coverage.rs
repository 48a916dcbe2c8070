//! B2, acked coverage: what was acknowledged is there.
//!
//! By sequence, exactly: for each producer of a partition, the set of acknowledged sequences must be a subset of the
//! sequences that the full re-read finds. Both are intervals, one of each in steady state. Before that, by offset,
//! as readers go: when a reader passes the offset of an acknowledged record, somebody must have seen that record.
//!
//! `lost-write`: it is missing, and something behind it in the log was read, or it had been seen before. `unseen`:
//! nobody ever saw it and the log ends before it. `resurrected`: it was acknowledged in a topic that was deleted, and is
//! there in the one that was created again under its name. Excused is what [`crate::licence`] allows: removal from the front
//! of what lies below the offset asked for, and, where the contract says so, a suffix of what was sent before a power
//! loss. A hole below a survivor is not a suffix; after an unclean election nobody can tell a survivor from a copy in
//! the tail of the replica that was elected, so there any of what was sent before it may be missing.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Ack, Facts, PartitionFacts};
use crate::intervals::IntervalSet;
use crate::pending::Pending;
use crate::words::{At, Rec, acks};
use burnin_history::{Acks, ConsumerId, Event, Moment, OpId, Outcome, Tp};
use std::collections::BTreeMap;

const LOST: &str = "lost-write";
const UNSEEN: &str = "unseen";
const RESURRECTED: &str = "resurrected";

/// See the module.
#[derive(Debug)]
pub struct Coverage {
    findings: Findings,
    slots: Vec<Slot>,
    pending: Vec<Pending>,
    reader: Option<ConsumerId>,
    /// How many full re-reads have begun. An acknowledgement that comes during one need not be found by it.
    phase: u32,
    any_deleted: bool,
}

/// One producer in one partition.
#[derive(Debug, Default)]
struct Slot {
    acked: Vec<Group>,
    seen: IntervalSet,
    found: IntervalSet,
    reported: IntervalSet,
    /// Acknowledged in a topic that was deleted since.
    deleted: IntervalSet,
}

/// Sequences that were both sent and acknowledged between the same two licensed losses.
#[derive(Debug)]
struct Group {
    generation: u32,
    phase: u32,
    /// Acknowledged by the leader alone: how often the leader had changed. When it changes again, they may be gone.
    leaders: Option<u32>,
    set: IntervalSet,
}

impl Default for Coverage {
    fn default() -> Self {
        let findings = Findings::new("B2", Class::Safety);
        Coverage {
            findings,
            slots: Vec::new(),
            pending: Vec::new(),
            reader: None,
            phase: 0,
            any_deleted: false,
        }
    }
}

impl Checker for Coverage {
    fn property(&self) -> &'static Property {
        &Property { id: "B2", seen_outside: &[LOST, UNSEEN, RESURRECTED], seen_inside: &[] }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceCompleted { op, outcome: Outcome::Applied, base_offset } => {
                self.acknowledged(facts, at, *op, *base_offset);
            }
            Event::Polled { consumer, tp, fetch_offset, next_offset, .. } if facts.polled().is_usable() => {
                if self.any_deleted {
                    self.resurrected(facts, at, *consumer, *tp);
                }
                self.read(facts, at, *consumer, *tp, (*fetch_offset, *next_offset));
            }
            Event::TopicDeletionInvoked { tp } => {
                self.any_deleted = true;
                for group in self.forget(facts, *tp) {
                    let (id, deleted) = group;
                    let spans = deleted.spans().iter();
                    spans.for_each(|span| self.slots[id as usize].deleted.insert(span.0, span.1));
                }
            }
            // What was acknowledged meanwhile may be in the one or in the other.
            Event::TopicCreatedAgain { tp, .. } => drop(self.forget(facts, *tp)),
            Event::FinalReadStarted { consumer } => {
                self.reader = Some(*consumer);
                self.phase += 1;
                self.slots.iter_mut().for_each(|slot| slot.found.clear());
            }
            Event::FinalReadCompleted { consumer, tp, log_start_offset, log_end_offset }
                if self.reader == Some(*consumer) =>
            {
                let judge = Judge::new(facts, *tp, at, *log_start_offset, *log_end_offset);
                judge.judge(&mut self.findings, &mut self.slots, self.phase);
            }
            Event::FinalReadFailed { tp, error_code, .. } => {
                let partition = facts.partition(*tp);
                if partition.licence.unreadable() {
                    self.findings.skipped(format!(
                        "{}: the full re-read failed with error code {error_code}, licensed by damage to its log",
                        partition.name
                    ));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl Coverage {
    fn slot(&mut self, slot: u32) -> &mut Slot {
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        &mut self.slots[index]
    }

    /// Nothing that was acknowledged in this partition so far need be there; gives it, by slot.
    fn forget(&mut self, facts: &Facts, tp: Tp) -> Vec<(u32, IntervalSet)> {
        let mut forgotten = Vec::new();
        for id in &facts.partition(tp).slots {
            let Some(slot) = self.slots.get_mut(*id as usize) else { continue };
            forgotten.extend(slot.acked.drain(..).map(|group| (*id, group.set)));
        }
        if let Some(pending) = self.pending.get_mut(tp.0 as usize) {
            *pending = Pending::default();
        }
        forgotten
    }

    /// A reader of the topic that there is now sees what was deleted with one before it.
    fn resurrected(&mut self, facts: &Facts, at: Moment, consumer: ConsumerId, tp: Tp) {
        let partition = facts.partition(tp);
        for run in &facts.polled().runs {
            let Some(slot) = self.slots.get(run.slot as usize) else { continue };
            self.findings.checked(u64::from(run.len));
            for (from, to) in slot.deleted.within(run.seq, run.seq_end()) {
                let offset = run.offset + (from - run.seq) as i64;
                self.findings.report(at, RESURRECTED, to - from, Some(tp), || {
                    let rec = Rec(facts.slot(run.slot).producer.0, from);
                    let acked = partition.ack_of(run.slot, from);
                    let acked = acked.map_or("before".to_string(), acknowledged_words);
                    let what = format!(
                        "{} @ offset {offset}: consumer {consumer} sees {rec} at {}, which was acknowledged {acked} in \
                         a topic of this name that was deleted since.",
                        partition.name,
                        At(at)
                    );
                    words(partition, what, Some(offset), rec)
                });
            }
        }
    }

    fn acknowledged(&mut self, facts: &Facts, at: Moment, op: OpId, base: Option<i64>) {
        let Some(op) = facts.op(op).filter(|op| op.acks != Acks::None) else { return };
        let partition = facts.partition(op.tp);
        let generation = partition.licence.generation();
        if op.generation != generation {
            // Sent before a licensed loss and acknowledged after it: either fate is lawful.
            return;
        }
        let (phase, kept_max) = (self.phase, facts.share(1 << 17, 64, 8192));
        let weak = facts.is_weak(op);
        if weak && (op.leaders != partition.licence.leaders() || op.node != partition.licence.leader()) {
            // The leader changed meanwhile, or it was another that answered: nothing was promised.
            return;
        }
        let leaders = weak.then_some(op.leaders);
        let (first, end) = (op.first_seq, op.first_seq + u64::from(op.count));
        let slot = self.slot(op.slot);
        match slot.acked.last_mut() {
            Some(group) if (group.generation, group.phase, group.leaders) == (generation, phase, leaders) => {
                group.set.insert(first, end)
            }
            _ => {
                let mut set = IntervalSet::new();
                set.insert(first, end);
                slot.acked.push(Group { generation, phase, leaders, set });
            }
        }
        if weak || slot.seen.contains_range(first, end) {
            return;
        }
        if let Some(base) = base.filter(|base| *base >= 0) {
            let index = op.tp.0 as usize;
            if self.pending.len() <= index {
                self.pending.resize_with(index + 1, Pending::default);
            }
            let ack = Ack {
                base,
                count: op.count,
                slot: op.slot,
                first_seq: first,
                at,
                generation,
                node: op.node,
                acks: op.acks,
            };
            self.pending[index].add(ack, kept_max);
        }
    }

    fn read(&mut self, facts: &Facts, at: Moment, consumer: ConsumerId, tp: Tp, (fetch, next): (i64, i64)) {
        let last_read = self.reader == Some(consumer);
        for run in &facts.polled().runs {
            let slot = self.slot(run.slot);
            slot.seen.insert(run.seq, run.seq_end());
            if last_read {
                slot.found.insert(run.seq, run.seq_end());
            }
        }
        let Coverage { findings, slots, pending, .. } = self;
        let Some(pending) = pending.get_mut(tp.0 as usize) else { return };
        let partition = facts.partition(tp);
        pending.pass(fetch, next, |ack| {
            if ack.generation < partition.licence.generation() {
                return;
            }
            let slot = &mut slots[ack.slot as usize];
            let end = ack.first_seq + u64::from(ack.count);
            if slot.seen.contains_range(ack.first_seq, end) {
                return;
            }
            let mut missing = IntervalSet::new();
            missing.insert(ack.first_seq, end);
            for &(from, to) in missing.minus(&slot.seen).minus(&slot.reported).spans() {
                slot.reported.insert(from, to);
                let offset = ack.base + (from - ack.first_seq) as i64;
                findings.report(at, LOST, to - from, Some(tp), || {
                    let rec = Rec(facts.slot(ack.slot).producer.0, from);
                    let acked = acknowledged_words(ack);
                    let what = format!(
                        "{} @ offset {offset}: {rec} was acknowledged {acked}, but consumer {consumer} passed over \
                         this offset at {} without seeing it, and no reader ever saw it.",
                        partition.name,
                        At(at)
                    );
                    words(partition, what, Some(offset), rec)
                });
            }
        });
    }
}

/// The full re-read of a partition has ended: what is missing, and was it allowed?
struct Judge<'a> {
    facts: &'a Facts,
    partition: &'a PartitionFacts,
    tp: Tp,
    at: Moment,
    end: i64,
    /// What lies below was removed from the front, lawfully.
    removed_below: i64,
}

impl<'a> Judge<'a> {
    fn new(facts: &'a Facts, tp: Tp, at: Moment, start: i64, end: i64) -> Judge<'a> {
        let partition = facts.partition(tp);
        let removed_below = start.min(partition.licence.removable_below());
        Judge { facts, partition, tp, at, end, removed_below }
    }

    fn judge(&self, findings: &mut Findings, slots: &mut [Slot], phase: u32) {
        let generation = self.partition.licence.generation();
        // For each earlier generation, the highest offset of a survivor that the kept acknowledgements tell.
        let mut survivors: BTreeMap<u32, (i64, Rec)> = BTreeMap::new();
        let mut losses: Vec<(u32, u32, IntervalSet)> = Vec::new();
        for &id in &self.partition.slots {
            let Some(slot) = slots.get_mut(id as usize) else { continue };
            let promised = |group: &&Group| {
                let stayed = |leaders| leaders == self.partition.licence.leaders();
                group.phase < phase && group.leaders.is_none_or(stayed)
            };
            for group in slot.acked.iter().filter(promised) {
                let missing = group.set.minus(&slot.found);
                let present = group.set.minus(&missing);
                findings.checked(present.count());
                let missing = self.not_removed(id, &missing.minus(&slot.reported), &slot.found);
                if group.generation == generation {
                    self.lost(findings, id, &missing, &slot.seen);
                    missing.spans().iter().for_each(|span| slot.reported.insert(span.0, span.1));
                    continue;
                }
                // The tail of a replica that was cut off may hold copies of what was lost: they survived nothing.
                if self.partition.licence.elects_uncleanly() {
                    continue;
                }
                if let Some((offset, rec)) = self.last_survivor(id, &present) {
                    let best = survivors.entry(group.generation).or_insert((offset, rec));
                    if best.0 < offset {
                        *best = (offset, rec);
                    }
                }
                self.holes(findings, id, &missing, &present);
                losses.push((group.generation, id, missing));
            }
        }
        for (generation, id, missing) in losses {
            let Some((survivor, rec)) = survivors.get(&generation) else { continue };
            self.holes_below(findings, id, &missing, *survivor, *rec);
        }
    }

    /// The last of `present`, an earlier generation's records that are still there, and its offset if it is known. (Of
    /// a plain producer's record another copy may be the one that is there.)
    fn last_survivor(&self, id: u32, present: &IntervalSet) -> Option<(i64, Rec)> {
        let slot = self.facts.slot(id);
        let last = present.end().checked_sub(1).filter(|_| slot.idempotent)?;
        let ack = self.partition.ack_of(id, last)?;
        Some((ack.base + (last - ack.first_seq) as i64, Rec(slot.producer.0, last)))
    }

    /// What of `missing` was not removed from the front.
    fn not_removed(&self, id: u32, missing: &IntervalSet, found: &IntervalSet) -> IntervalSet {
        if self.removed_below <= 0 || missing.is_empty() {
            return missing.clone();
        }
        let (mut left, mut known) = (IntervalSet::new(), IntervalSet::new());
        for ack in self.partition.acks_of(id) {
            let end = ack.first_seq + u64::from(ack.count);
            known.insert(ack.first_seq, end);
            let removed = (self.removed_below - ack.base).clamp(0, i64::from(ack.count)) as u64;
            missing.within(ack.first_seq + removed, end).for_each(|span| left.insert(span.0, span.1));
        }
        // Where a sequence was is no longer known, but an idempotent producer's records are in order: behind a record
        // that is there, nothing was removed from the front.
        if let (true, Some(first)) = (self.facts.slot(id).idempotent, found.first()) {
            let unknown = missing.minus(&known);
            unknown.within(first, u64::MAX).for_each(|span| left.insert(span.0, span.1));
        }
        left
    }

    /// Missing without any licence.
    fn lost(&self, findings: &mut Findings, id: u32, missing: &IntervalSet, seen: &IntervalSet) {
        for &(from, to) in missing.spans() {
            let ack = self.partition.ack_of(id, from);
            let offset = ack.map(|ack| ack.base + (from - ack.first_seq) as i64);
            let was_seen = seen.contains(from);
            let tail = !was_seen && offset.map_or(seen.end() <= from, |offset| offset >= self.end);
            let anomaly = if tail { UNSEEN } else { LOST };
            findings.report(self.at, anomaly, to - from, Some(self.tp), || {
                let rec = Rec(self.facts.slot(id).producer.0, from);
                let acked = ack.map_or("long ago".to_string(), acknowledged_words);
                let place = offset.map(|offset| format!(" @ offset {offset}")).unwrap_or_default();
                let more = if to - from > 1 { format!(" ({} records, to {})", to - from, to - 1) } else { String::new() };
                let seen = if was_seen { "was seen by a reader since" } else { "no reader ever saw it" };
                let what = format!(
                    "{}{place}: {rec}{more} was acknowledged {acked} and {seen}, but the full re-read of the log, \
                     which ends at offset {}, does not find it at {}.",
                    self.partition.name,
                    self.end,
                    At(self.at),
                );
                words(self.partition, what, offset, rec)
            });
        }
    }

    /// A licensed loss takes a suffix: of one producer's records, none below a survivor.
    fn holes(&self, findings: &mut Findings, id: u32, missing: &IntervalSet, present: &IntervalSet) {
        let Some(survivor) = present.end().checked_sub(1).filter(|_| self.facts.slot(id).idempotent) else {
            return;
        };
        for (from, to) in missing.within(0, survivor) {
            findings.report(self.at, LOST, to - from, Some(self.tp), || {
                let producer = self.facts.slot(id).producer.0;
                let (rec, kept) = (Rec(producer, from), Rec(producer, survivor));
                let what = format!(
                    "{}: {rec} was acknowledged before a power loss and is missing at {}, while {kept}, which was \
                     acknowledged before it too, has survived: a power loss may take a suffix of the log only.",
                    self.partition.name,
                    At(self.at),
                );
                words(self.partition, what, None, rec)
            });
        }
    }

    /// The same across producers, as far as kept acknowledgements tell the offsets.
    fn holes_below(&self, findings: &mut Findings, id: u32, missing: &IntervalSet, survivor: i64, kept: Rec) {
        if self.facts.slot(id).producer.0 == kept.0 && self.facts.slot(id).idempotent {
            return;
        }
        for ack in self.partition.acks_of(id) {
            let end = ack.first_seq + u64::from(ack.count);
            for (from, to) in missing.within(ack.first_seq, end) {
                let offset = ack.base + (from - ack.first_seq) as i64;
                if offset >= survivor {
                    continue;
                }
                findings.report(self.at, LOST, to - from, Some(self.tp), || {
                    let rec = Rec(self.facts.slot(id).producer.0, from);
                    let what = format!(
                        "{} @ offset {offset}: {rec} was acknowledged {} and is missing at {}, while {kept} at offset \
                         {survivor} has survived the same power loss, which may take a suffix of the log only.",
                        self.partition.name,
                        acknowledged_words(ack),
                        At(self.at),
                    );
                    words(self.partition, what, Some(offset), rec)
                });
            }
        }
    }
}

fn acknowledged_words(ack: &Ack) -> String {
    let by = ack.node.map(|node| format!(" by broker {node}")).unwrap_or_default();
    format!("({}){by} at {}", acks(ack.acks), At(ack.at))
}

fn words(partition: &PartitionFacts, message: String, offset: Option<i64>, rec: Rec) -> Described {
    let partition = Some(partition.name.to_string());
    Described { message, partition, offset, producer: Some(rec.0), seq: Some(rec.1) }
}
