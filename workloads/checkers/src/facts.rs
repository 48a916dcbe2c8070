//! What follows from the history so far and every checker may use: the partitions, who writes what, operations in
//! flight, what was acknowledged, the licence, and the digest of the poll at hand.

use crate::digest::Digest;
use crate::intervals::IntervalSet;
use crate::licence::Licence;
use crate::replicas::Replicas;
use burnin_history::{
    Acks, ConsumerId, Event, FaultEvent, Flush, Moment, NodeId, OpId, Outcome, ProducerId, Tp,
};
use burnin_runtime::Observation;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Fragments of an acknowledged-offsets set that are kept: beyond it (a partition where unacknowledged records
/// alternate with acknowledged ones for ever) the oldest are forgotten, and checked less.
const FRAGMENTS_MAX: usize = 1 << 14;

/// A produce operation in flight.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its number.
    pub id: OpId,
    /// The (partition, producer) it belongs to: an index into [`Facts::slot`].
    pub slot: u32,
    /// Where it writes.
    pub tp: Tp,
    /// Who writes.
    pub producer: ProducerId,
    /// The first record's sequence.
    pub first_seq: u64,
    /// How many records.
    pub count: u32,
    /// What acknowledgement it waits for.
    pub acks: Acks,
    /// When it was invoked.
    pub invoked: Moment,
    /// The partition's licence generation then.
    pub generation: u32,
    /// The highest offset that was known to hold a record then; -1 for none.
    pub floor: i64,
    /// Attempts that ended.
    pub attempts: u32,
    /// Attempts that ended and may have been appended.
    pub maybe_appended: u32,
    /// The broker of the last attempt that ended.
    pub node: Option<NodeId>,
    /// How often the leader had changed when it was invoked.
    pub leaders: u32,
}

/// An acknowledged batch: records `first_seq..first_seq+count` at `base..base+count`.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The first record's offset.
    pub base: i64,
    /// How many records.
    pub count: u32,
    /// Its slot.
    pub slot: u32,
    /// The first record's sequence.
    pub first_seq: u64,
    /// When the client was told.
    pub at: Moment,
    /// The partition's licence generation then.
    pub generation: u32,
    /// Who acknowledged it.
    pub node: Option<NodeId>,
    /// What was asked for.
    pub acks: Acks,
}

impl Ack {
    /// One more than the last offset.
    #[inline]
    pub fn end(&self) -> i64 {
        self.base + i64::from(self.count)
    }
}

/// One partition.
#[derive(Debug)]
pub struct PartitionFacts {
    /// `topic-number`.
    pub name: Arc<str>,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's number in payloads.
    pub topic_number: u32,
    /// The partition's number.
    pub partition: i32,
    /// What an acknowledgement means.
    pub flush: Flush,
    /// `min.insync.replicas` when the run began.
    pub min_isr: u32,
    /// What may be lost.
    pub licence: Licence,
    /// The highest offset known to hold a record (acknowledged or read) in this generation; -1 for none.
    pub floor: i64,
    /// Offsets acknowledged in this generation.
    pub acked: IntervalSet,
    /// Slots of this partition, in order of first use.
    pub slots: Vec<u32>,
    by_producer: Vec<u32>,
    acks: VecDeque<Ack>,
    /// The licence generation in which its topic was created again; 0 for never.
    created_in: u32,
}

impl PartitionFacts {
    /// Whether the topic was created again, and nothing became losable since.
    fn began_in_this_generation(&self) -> bool {
        self.created_in > 0 && self.created_in == self.licence.generation()
    }

    fn begin_anew(&mut self) {
        self.created_in = self.licence.generation();
        self.floor = -1;
        self.acked.clear();
    }

    /// The newest kept acknowledgement of the record at `offset`.
    pub fn ack_at(&self, offset: i64) -> Option<&Ack> {
        self.acks.iter().rev().find(|ack| ack.base <= offset && offset < ack.end())
    }

    /// The newest kept acknowledgement of sequence `seq` of `slot`.
    pub fn ack_of(&self, slot: u32, seq: u64) -> Option<&Ack> {
        let holds = |ack: &&Ack| {
            ack.slot == slot && ack.first_seq <= seq && seq < ack.first_seq + u64::from(ack.count)
        };
        self.acks.iter().rev().find(holds)
    }

    /// The kept acknowledgements of `slot`, oldest first.
    pub fn acks_of(&self, slot: u32) -> impl Iterator<Item = &Ack> {
        self.acks.iter().filter(move |ack| ack.slot == slot)
    }
}

/// A producer in a partition.
#[derive(Debug)]
pub struct SlotFacts {
    /// The partition.
    pub tp: Tp,
    /// The producer.
    pub producer: ProducerId,
    /// Whether all its operations were idempotent.
    pub idempotent: bool,
    /// The sequences that it was asked to write.
    pub sent: IntervalSet,
}

/// See the module.
#[derive(Debug)]
pub struct Facts {
    run: u64,
    partitions: Vec<Option<PartitionFacts>>,
    by_name: BTreeMap<Arc<str>, Tp>,
    /// The partition that a broker told of last, and the very name by which it did.
    last_named: Option<(Arc<str>, Tp)>,
    partition_count: usize,
    slots: Vec<SlotFacts>,
    ops: BTreeMap<OpId, Op>,
    polled: Digest,
    replicas: Replicas,
    /// By consumer, then by partition: the licence generation in which it last began, or got an answer.
    asked_in: Vec<Vec<u32>>,
}

impl Facts {
    /// No history yet. `run` is what the payloads of this run carry.
    pub fn new(run: u64) -> Facts {
        Facts {
            run,
            partitions: Vec::new(),
            by_name: BTreeMap::new(),
            last_named: None,
            partition_count: 0,
            slots: Vec::new(),
            ops: BTreeMap::new(),
            polled: Digest::default(),
            replicas: Replicas::default(),
            asked_in: Vec::new(),
        }
    }

    /// What this run's payloads carry.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The partition `tp`.
    ///
    /// # Panics
    /// When no [`Event::Partition`] introduced it: the history is malformed.
    #[inline]
    pub fn partition(&self, tp: Tp) -> &PartitionFacts {
        match self.partitions.get(tp.0 as usize) {
            Some(Some(facts)) => facts,
            _ => panic!("the history uses partition {tp} before it introduces it"),
        }
    }

    /// All partitions, by number.
    pub fn partitions(&self) -> impl Iterator<Item = (Tp, &PartitionFacts)> {
        self.partitions.iter().enumerate().filter_map(|(tp, facts)| Some((Tp(tp as u32), facts.as_ref()?)))
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The partition called `name` (`topic-number`).
    pub fn partition_named(&self, name: &str) -> Option<Tp> {
        match &self.last_named {
            Some((last, tp)) if std::ptr::eq(&**last, name) => Some(*tp),
            _ => self.by_name.get(name).copied(),
        }
    }

    /// A slot.
    #[inline]
    pub fn slot(&self, slot: u32) -> &SlotFacts {
        &self.slots[slot as usize]
    }

    /// The slot of `producer` in `tp`, if it ever wrote there.
    #[inline]
    pub fn slot_of(&self, tp: Tp, producer: ProducerId) -> Option<u32> {
        let slot = *self.partition(tp).by_producer.get(producer.0 as usize)?;
        (slot != u32::MAX).then_some(slot)
    }

    /// The operation, while it is in flight (and while its completion is looked at).
    #[inline]
    pub fn op(&self, op: OpId) -> Option<&Op> {
        self.ops.get(&op)
    }

    /// The operations in flight, in order of invocation.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.ops.values()
    }

    /// The replicated logs.
    pub fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// Whether an acknowledgement of this operation promises no more than that the leader has it: that is gone when
    /// another one leads.
    #[inline]
    pub fn is_weak(&self, op: &Op) -> bool {
        op.acks == Acks::Leader && self.partition(op.tp).licence.is_replicated()
    }

    /// The poll that is being looked at, taken apart.
    #[inline]
    pub fn polled(&self) -> &Digest {
        &self.polled
    }

    /// How many entries of a ring one partition may keep when all share `total`.
    pub fn share(&self, total: usize, least: usize, most: usize) -> usize {
        (total / self.partition_count.max(1)).clamp(least, most)
    }

    fn partition_mut(&mut self, tp: Tp) -> &mut PartitionFacts {
        match self.partitions.get_mut(tp.0 as usize) {
            Some(Some(facts)) => facts,
            _ => panic!("the history uses partition {tp} before it introduces it"),
        }
    }

    /// Takes in what checkers may know while they look at `event`.
    pub(crate) fn before(&mut self, at: Moment, event: &Event<'_>) {
        match event {
            Event::Partition { tp, topic, topic_number, partition, flush, min_isr } => {
                self.introduce(*tp, topic, *topic_number, *partition, *flush, *min_isr);
            }
            Event::Replicated { tp, replicas, unclean } => {
                self.partition_mut(*tp).licence.replicated(*replicas, *unclean);
            }
            Event::Observed { node, observation } => self.observed(at, *node, observation),
            Event::ProduceInvoked { op, producer, tp, first_seq, count, acks, idempotent } => {
                let slot = self.open_slot(*tp, *producer, *idempotent);
                self.slots[slot as usize].sent.insert(*first_seq, first_seq + u64::from(*count));
                let facts = self.partition(*tp);
                let op = Op {
                    id: *op,
                    slot,
                    tp: *tp,
                    producer: *producer,
                    first_seq: *first_seq,
                    count: *count,
                    acks: *acks,
                    invoked: at,
                    generation: facts.licence.generation_of_new(),
                    floor: facts.floor,
                    attempts: 0,
                    maybe_appended: 0,
                    node: None,
                    leaders: facts.licence.leaders(),
                };
                let id = op.id;
                assert!(self.ops.insert(id, op).is_none(), "operation {id} was invoked twice");
            }
            Event::ProduceAttempt { op, node, outcome, .. } => {
                if let Some(op) = self.ops.get_mut(op) {
                    op.attempts += 1;
                    op.maybe_appended += u32::from(*outcome != Outcome::NotApplied);
                    op.node = Some(*node);
                }
            }
            Event::Positioned { consumer, tp, .. } => {
                self.asks(*consumer, *tp);
            }
            Event::Polled { consumer, tp, topic_id, fetch_offset, next_offset, records, .. } => {
                let mut polled = std::mem::take(&mut self.polled);
                polled.take_in(self, *tp, *fetch_offset, *next_offset, records);
                let stale = self.asks(*consumer, *tp);
                let is_ours = self.partition(*tp).licence.is_of_this_topic(*topic_id);
                polled.of_another_topic = !is_ours.unwrap_or(!stale);
                // One that names the topic that was created again was asked for since.
                polled.stale =
                    stale && !(is_ours == Some(true) && self.partition(*tp).began_in_this_generation());
                self.polled = polled;
            }
            Event::DeleteRecordsInvoked { tp, offset } => {
                self.partition_mut(*tp).licence.delete_below(*offset)
            }
            Event::RecordsDeleted { tp, log_start_offset } => {
                self.partition_mut(*tp).licence.delete_below((*log_start_offset).max(0));
            }
            Event::RetentionEnabled { tp } => self.partition_mut(*tp).licence.delete_below(-1),
            Event::TopicDeletionInvoked { tp } => {
                let facts = self.partition_mut(*tp);
                facts.licence.deleted();
                facts.begin_anew();
            }
            Event::TopicCreatedAgain { tp, topic_id } => {
                let facts = self.partition_mut(*tp);
                facts.licence.created_again(at, *topic_id);
                facts.begin_anew();
            }
            Event::Fault(fault) => self.fault(at, fault),
            _ => {}
        }
    }

    /// Takes in what checkers may know only after they have looked at `event`.
    pub(crate) fn after(&mut self, at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceCompleted { op, outcome, base_offset } => {
                let Some(op) = self.ops.remove(op) else {
                    panic!("operation {op} completed twice, or without having been invoked");
                };
                if let (Outcome::Applied, Some(base)) = (outcome, base_offset) {
                    self.acknowledged(at, &op, *base);
                }
            }
            Event::Polled { tp, records, .. } => {
                if let (Some(last), true) = (records.last(), self.polled.is_usable()) {
                    let facts = self.partition_mut(*tp);
                    facts.floor = facts.floor.max(last.offset);
                }
            }
            _ => {}
        }
    }

    /// The reader asks, or asks again because it got an answer. Whether it last did so before a licensed loss.
    fn asks(&mut self, consumer: ConsumerId, tp: Tp) -> bool {
        let generation = self.partition(tp).licence.generation();
        let (consumer, tp) = (consumer.0 as usize, tp.0 as usize);
        if self.asked_in.len() <= consumer {
            self.asked_in.resize_with(consumer + 1, Vec::new);
        }
        let asked_in = &mut self.asked_in[consumer];
        if asked_in.len() <= tp {
            asked_in.resize(tp + 1, 0);
        }
        std::mem::replace(&mut asked_in[tp], generation) < generation
    }

    fn introduce(
        &mut self,
        tp: Tp,
        topic: &Arc<str>,
        topic_number: u32,
        partition: i32,
        flush: Flush,
        min_isr: u32,
    ) {
        let index = tp.0 as usize;
        if self.partitions.len() <= index {
            self.partitions.resize_with(index + 1, || None);
        }
        assert!(self.partitions[index].is_none(), "partition {tp} was introduced twice");
        let name: Arc<str> = format!("{topic}-{partition}").into();
        self.by_name.insert(name.clone(), tp);
        self.partition_count += 1;
        self.partitions[index] = Some(PartitionFacts {
            name,
            topic: topic.clone(),
            topic_number,
            partition,
            flush,
            min_isr,
            licence: Licence::new(flush, min_isr),
            floor: -1,
            acked: IntervalSet::new(),
            slots: Vec::new(),
            by_producer: Vec::new(),
            acks: VecDeque::new(),
            created_in: 0,
        });
    }

    fn open_slot(&mut self, tp: Tp, producer: ProducerId, idempotent: bool) -> u32 {
        if let Some(slot) = self.slot_of(tp, producer) {
            self.slots[slot as usize].idempotent &= idempotent;
            return slot;
        }
        let slot = self.slots.len() as u32;
        self.slots.push(SlotFacts { tp, producer, idempotent, sent: IntervalSet::new() });
        let facts = self.partition_mut(tp);
        let index = producer.0 as usize;
        if facts.by_producer.len() <= index {
            facts.by_producer.resize(index + 1, u32::MAX);
        }
        facts.by_producer[index] = slot;
        facts.slots.push(slot);
        slot
    }

    fn acknowledged(&mut self, at: Moment, op: &Op, base: i64) {
        let kept_max = self.share(1 << 17, 64, 4096);
        let facts = self.partition_mut(op.tp);
        let generation = facts.licence.generation();
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
        let weak = op.acks == Acks::Leader && facts.licence.is_replicated();
        if op.generation == generation && base >= 0 && !weak {
            facts.floor = facts.floor.max(ack.end() - 1);
            facts.acked.insert(base as u64, ack.end() as u64);
            facts.acked.forget_lowest_beyond(FRAGMENTS_MAX);
        }
        while facts.acks.len() >= kept_max {
            facts.acks.pop_front();
        }
        facts.acks.push_back(ack);
    }

    fn observed(&mut self, at: Moment, node: NodeId, told: &Observation) {
        if let Observation::MinIsr { topic, min_isr, .. } = told {
            let of_topic = self.partitions.iter_mut().flatten().filter(|facts| facts.topic == *topic);
            return of_topic.for_each(|facts| facts.licence.may_be_acknowledged_by(*min_isr));
        }
        let tp = match told {
            Observation::HighWatermark { partition, .. } | Observation::PartitionState { partition, .. } => {
                self.told_of(partition)
            }
            Observation::ProduceAcked { partition, .. } | Observation::ReplicaCounted { partition, .. } => {
                self.told_of(partition);
                None
            }
            _ => None,
        };
        let generation = tp.map_or(0, |tp| self.partition(tp).licence.generation());
        self.replicas.observe(at, node, told, generation);
        let (Some(tp), Observation::PartitionState { partition, leader, isr, .. }) = (tp, told) else {
            return;
        };
        let Some(before) = self.replicas.log(partition).and_then(|ledger| ledger.change.state.clone()) else {
            return;
        };
        let eligible = match &before {
            Some(before) => before.isr.contains(leader) || before.elr.contains(leader) || *leader < 0,
            None => true,
        };
        let facts = self.partition_mut(tp);
        facts.licence.in_sync(isr);
        if facts.licence.elected(at, *leader, eligible) {
            facts.floor = -1;
            facts.acked.clear();
        }
    }

    /// The partition of this name, which checkers will ask for again by the same name.
    fn told_of(&mut self, name: &Arc<str>) -> Option<Tp> {
        let tp = self.partition_named(name)?;
        if !self.last_named.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, name)) {
            self.last_named = Some((name.clone(), tp));
        }
        Some(tp)
    }

    fn fault(&mut self, at: Moment, fault: &FaultEvent) {
        self.replicas.fault(fault);
        for facts in self.partitions.iter_mut().flatten() {
            if facts.licence.fault(at, fault, (&facts.topic, facts.partition)) {
                facts.floor = -1;
                facts.acked.clear();
            }
        }
    }
}
