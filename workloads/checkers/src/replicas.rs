//! Ghost copies of every replicated log, the metadata log among them, kept from what the brokers tell: what was
//! committed, and what each replica holds. White-box checkers hold events against it.
//!
//! What is committed is kept once. A replica keeps the offset up to which it is the same (`matched`) and, batch by
//! batch, only what lies behind that.

use burnin_history::{FaultEvent, Moment, NodeId};
use burnin_runtime::Observation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The log of the metadata quorum.
pub const METADATA: &str = "__cluster_metadata-0";
/// Committed batches that are kept of one log; beyond, the oldest are believed to be the same everywhere.
const COMMITTED_MAX: usize = 1 << 16;
/// Epochs of which the leader is remembered.
const EPOCHS_MAX: usize = 64;

/// A batch, as far as two replicas must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its first offset.
    pub base: i64,
    /// Its last offset.
    pub last: i64,
    /// The epoch of the leader that appended it.
    pub epoch: i32,
    /// Its checksum.
    pub crc: u32,
}

/// One replica's log.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// The first offset that it keeps.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
    /// Below this it is durable by its own reckoning.
    pub flushed: i64,
    /// Below this it is the same as what was committed.
    pub matched: i64,
    /// What lies behind `matched`.
    pub tail: VecDeque<Batch>,
    /// The leader epoch in which it leads or follows; -1 when it was not told since its start.
    pub epoch: i32,
    /// Its power was lost and it has not joined the ISR again since.
    pub power_lost: bool,
    /// Bits of its log rotted on the medium.
    pub rotted: bool,
    topic_id: Option<u128>,
}

impl Replica {
    fn cut(&mut self, offset: i64) {
        while self.tail.back().is_some_and(|batch| batch.last >= offset) {
            self.tail.pop_back();
        }
        self.matched = self.matched.min(offset);
        self.end = offset;
        self.flushed = self.flushed.min(offset);
    }

    fn begin_at(&mut self, offset: i64) {
        *self = Replica {
            start: offset,
            end: offset,
            flushed: offset,
            matched: offset,
            tail: VecDeque::new(),
            ..*self
        };
    }
}

/// A partition's state in the newest metadata that anybody applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which incarnation of the topic.
    pub topic_id: u128,
    /// -1 for none.
    pub leader: i32,
    /// Goes up with each election.
    pub leader_epoch: i32,
    /// Goes up with each change.
    pub partition_epoch: i32,
    /// All replicas.
    pub replicas: Arc<[i32]>,
    /// Those in sync.
    pub isr: Arc<[i32]>,
    /// Those that may be elected though they are not in sync.
    pub elr: Arc<[i32]>,
}

/// What was committed and then lost, when a leader began without it.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// The new leader has everything below.
    pub kept: i64,
    /// Everything below was committed.
    pub committed: i64,
    /// The first batch that is lost, if it is known, and the licence generation in which it was committed.
    pub first: Option<(Batch, u32)>,
    /// What the new leader has in its place.
    pub instead: Option<Batch>,
}

/// How the last event changed a log.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The high watermark before.
    pub high_watermark: i64,
    /// How far the replica had matched before.
    pub matched: i64,
    /// Where the replica had ended before.
    pub end: i64,
    /// The state before, when this event brought a newer one.
    pub state: Option<Option<State>>,
    /// What a new leader does not have.
    pub lost: Option<Lost>,
}

/// A replicated log.
#[derive(Debug, Default)]
pub struct Ledger {
    committed: VecDeque<(Batch, u32)>,
    /// Batches below are not kept any more.
    kept_from: i64,
    /// Everything below was called committed by somebody who may say so.
    pub high_watermark: i64,
    /// Who said so, in which epoch, and when.
    pub decided: Option<(NodeId, i32, Moment)>,
    /// From which offset on which leader epoch committed.
    deciders: VecDeque<(i64, i32)>,
    /// The replicas, by node.
    pub replicas: BTreeMap<NodeId, Replica>,
    /// What was wiped last of each replica. Leaders counted it, and may not know yet that it is gone.
    pub wiped: BTreeMap<NodeId, Replica>,
    /// Of data partitions.
    pub state: Option<State>,
    /// Who led in which epoch, and since when.
    pub leaders: BTreeMap<i32, (NodeId, Moment)>,
    /// What the last event did.
    pub change: Change,
    deposed_until: Moment,
    /// Topics of this name that were deleted: a node that replays its metadata speaks of them once more.
    gone: BTreeSet<u128>,
    /// Of which topic of this name each node was told last.
    told: BTreeMap<NodeId, u128>,
}

impl Ledger {
    /// Another topic of this name may come. Each replica speaks of the earlier one until it has removed its log.
    fn restart(&mut self) {
        let Ledger { replicas, gone, told, .. } = std::mem::take(self);
        *self = Ledger { replicas, gone, told, ..Ledger::default() };
    }

    /// Whether a replica believed to lead at `moment` or since, though another had been elected.
    pub fn deposed_since(&self, moment: Moment) -> bool {
        self.deposed_until >= moment
            || self.replicas.iter().any(|(node, replica)| self.is_deposed(*node, replica))
    }

    fn is_deposed(&self, node: NodeId, replica: &Replica) -> bool {
        let newest = self.leaders.last_key_value().map_or(-1, |(epoch, _)| *epoch);
        replica.epoch >= 0
            && replica.epoch < newest
            && self.leaders.get(&replica.epoch).is_some_and(|(leader, _)| *leader == node)
    }

    /// The replica on a node, unless it still holds the log of an earlier topic of this name.
    pub fn replica(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.get(&node).filter(|replica| self.is_of_this_topic(replica))
    }

    /// Whether the log on a node is still that of an earlier topic of this name.
    pub fn is_earlier(&self, node: NodeId) -> bool {
        self.replicas.get(&node).is_some_and(|replica| !self.is_of_this_topic(replica))
    }

    /// The replicas on all nodes that hold a log of this topic.
    pub fn current(&self) -> impl Iterator<Item = (&NodeId, &Replica)> {
        self.replicas.iter().filter(|(_, replica)| self.is_of_this_topic(replica))
    }

    fn is_of_this_topic(&self, replica: &Replica) -> bool {
        let current = self.state.as_ref().map(|state| state.topic_id);
        replica.topic_id.is_none() || replica.topic_id == current
    }

    /// Whether what was committed at `base` is still known.
    pub fn keeps(&self, base: i64) -> bool {
        base >= self.kept_from
    }

    /// The committed batch that begins at `base`.
    pub fn committed_at(&self, base: i64) -> Option<Batch> {
        batch_at(&self.committed, base)
    }

    /// Whether batches that hold `offset` would still be known.
    pub fn remembers(&self, offset: i64) -> bool {
        offset >= self.kept_from
    }

    /// The committed batch that `offset` is in.
    pub fn committed_holding(&self, offset: i64) -> Option<Batch> {
        let at = self.committed.partition_point(|(batch, _)| batch.last < offset);
        self.committed.get(at).map(|(batch, _)| *batch).filter(|batch| batch.base <= offset)
    }

    /// Whether all that `replica` has up to `offset` is what was committed.
    pub fn agrees_up_to(&self, replica: &Replica, offset: i64) -> bool {
        let up_to = replica.tail.iter().take_while(|batch| batch.last <= offset);
        replica.end > offset && up_to.into_iter().all(|batch| self.committed_at(batch.base) == Some(*batch))
    }

    /// The last committed batch.
    pub fn last_committed(&self) -> Option<Batch> {
        self.committed.back().map(|(batch, _)| *batch)
    }

    /// The first batch of `replica` that contradicts what was committed.
    pub fn conflict(&self, replica: &Replica) -> Option<(Batch, Option<Batch>)> {
        let first = replica.tail.front().filter(|batch| batch.base < self.high_watermark)?;
        Some((*first, self.committed_at(first.base)))
    }

    fn commit(&mut self, node: NodeId, (offset, epoch): (i64, i32), at: Moment, generation: u32) {
        let Some(replica) = self.replicas.get_mut(&node) else { return };
        if offset <= self.high_watermark || replica.matched != self.high_watermark {
            return;
        }
        while let Some(batch) = replica.tail.front().copied().filter(|batch| batch.last < offset) {
            replica.tail.pop_front();
            replica.matched = batch.last + 1;
            self.committed.push_back((batch, generation));
        }
        if replica.matched == self.high_watermark {
            return;
        }
        if self.deciders.back().is_none_or(|(_, known)| *known != epoch) {
            self.deciders.push_back((self.high_watermark, epoch));
        }
        self.high_watermark = replica.matched;
        self.decided = Some((node, epoch, at));
        while self.deciders.len() > EPOCHS_MAX {
            self.deciders.pop_front();
        }
        while self.committed.len() > COMMITTED_MAX {
            if let Some((batch, _)) = self.committed.pop_front() {
                self.kept_from = batch.last + 1;
            }
        }
        let Ledger { replicas, committed, kept_from, high_watermark, .. } = self;
        for replica in replicas.values_mut() {
            compare(replica, committed, *kept_from, *high_watermark);
        }
    }

    /// The leader epoch in which `offset` was committed.
    fn committed_in(&self, offset: i64) -> Option<i32> {
        let after = self.deciders.partition_point(|(from, _)| *from <= offset);
        Some(self.deciders.get(after.checked_sub(1)?)?.1)
    }

    /// A leader began. What it does not have was committed no longer; but one that hears of its election when a later
    /// leader has committed already answers for what was committed before its own epoch only.
    fn lead(&mut self, node: NodeId, epoch: i32) {
        let Some(leader) = self.replicas.get(&node) else { return };
        let kept = leader.matched;
        if kept >= self.high_watermark
            || kept < self.kept_from
            || self.committed_in(kept).is_some_and(|decided| decided > epoch)
        {
            return;
        }
        let at = self.committed.partition_point(|(batch, _)| batch.last < kept);
        let lost = Lost {
            kept,
            committed: self.high_watermark,
            first: self.committed.get(at).copied(),
            instead: leader.tail.front().copied(),
        };
        self.change.lost = Some(lost);
        let void: Vec<Batch> = self.committed.drain(at..).map(|(batch, _)| batch).collect();
        for replica in self.replicas.values_mut().filter(|replica| replica.matched > kept) {
            for batch in void.iter().rev().filter(|batch| batch.last < replica.matched) {
                replica.tail.push_front(*batch);
            }
            replica.matched = kept;
        }
        self.high_watermark = kept;
        self.deciders.retain(|(from, _)| *from < kept);
    }

    fn note_leader(&mut self, epoch: i32, node: NodeId, at: Moment) {
        self.leaders.entry(epoch).or_insert((node, at));
        while self.leaders.len() > EPOCHS_MAX {
            self.leaders.pop_first();
        }
    }
}

/// The committed batch that begins at `base`.
fn batch_at(committed: &VecDeque<(Batch, u32)>, base: i64) -> Option<Batch> {
    let at = committed.partition_point(|(batch, _)| batch.base < base);
    committed.get(at).map(|(batch, _)| *batch).filter(|batch| batch.base == base)
}

/// Moves on what is the same as what was committed.
fn compare(replica: &mut Replica, committed: &VecDeque<(Batch, u32)>, kept_from: i64, high_watermark: i64) {
    while let Some(batch) = replica.tail.front().copied().filter(|batch| batch.base < high_watermark) {
        if batch.last >= kept_from && batch_at(committed, batch.base) != Some(batch) {
            break;
        }
        replica.tail.pop_front();
        replica.matched = batch.last + 1;
    }
}

/// All replicated logs.
#[derive(Debug, Default)]
pub struct Replicas {
    ledgers: Vec<Ledger>,
    by_name: BTreeMap<Arc<str>, usize>,
    /// The metadata log.
    metadata: Option<usize>,
    /// The log that was told of last, and the very name by which it was.
    last: Option<(Arc<str>, usize)>,
}

impl Replicas {
    /// The log called `topic-number`; only those with several replicas are kept, and the metadata log.
    pub fn log(&self, name: &str) -> Option<&Ledger> {
        match &self.last {
            Some((last, at)) if std::ptr::eq(&**last, name) => Some(&self.ledgers[*at]),
            _ => self.by_name.get(name).map(|at| &self.ledgers[*at]),
        }
    }

    /// The metadata log.
    pub fn metadata(&self) -> Option<&Ledger> {
        self.metadata.map(|at| &self.ledgers[at])
    }

    /// All of them.
    pub fn logs(&self) -> impl Iterator<Item = (&Arc<str>, &Ledger)> {
        self.by_name.iter().map(|(name, at)| (name, &self.ledgers[*at]))
    }

    fn place(&mut self, name: &Arc<str>) -> Option<usize> {
        match &self.last {
            Some((last, at)) if Arc::ptr_eq(last, name) => Some(*at),
            _ => {
                let at = *self.by_name.get(name)?;
                self.last = Some((name.clone(), at));
                Some(at)
            }
        }
    }

    fn place_or_new(&mut self, name: &Arc<str>) -> usize {
        self.place(name).unwrap_or_else(|| {
            let at = self.ledgers.len();
            self.ledgers.push(Ledger::default());
            self.by_name.insert(name.clone(), at);
            at
        })
    }

    fn place_of_metadata(&mut self) -> usize {
        let at = match self.metadata {
            Some(at) => at,
            None => self.place_or_new(&METADATA.into()),
        };
        *self.metadata.insert(at)
    }

    pub(crate) fn fault(&mut self, fault: &FaultEvent) {
        if let FaultEvent::Killed { node } | FaultEvent::Stopped { node } | FaultEvent::PowerLost { node } =
            fault
        {
            // It may have removed the log of an earlier topic and not have said so.
            for ledger in self.ledgers.iter_mut().filter(|ledger| ledger.replica(*node).is_none()) {
                ledger.replicas.remove(node);
            }
        }
        match fault {
            FaultEvent::PowerLost { node } => {
                for ledger in self.ledgers.iter_mut() {
                    if let Some(replica) = ledger.replicas.get_mut(node) {
                        replica.power_lost = true;
                        replica.epoch = -1;
                    }
                }
            }
            FaultEvent::Killed { node } | FaultEvent::Stopped { node } => {
                for ledger in self.ledgers.iter_mut() {
                    if let Some(replica) = ledger.replicas.get_mut(node) {
                        replica.epoch = -1;
                    }
                }
            }
            FaultEvent::Wiped { node } => {
                for ledger in self.ledgers.iter_mut() {
                    if let Some(replica) = ledger.replicas.remove(node) {
                        ledger.wiped.insert(*node, replica);
                    }
                }
            }
            FaultEvent::LogRotted { node, topic, partition } => {
                let at = self.by_name.get(format!("{topic}-{partition}").as_str());
                if let Some(replica) = at.and_then(|at| self.ledgers[*at].replicas.get_mut(node)) {
                    replica.rotted = true;
                }
            }
            _ => {}
        }
    }

    /// Takes in what `node` told. `generation` is the partition's licence generation.
    pub(crate) fn observe(&mut self, at: Moment, node: NodeId, told: &Observation, generation: u32) {
        if let Observation::PartitionState { partition, replicas, .. } = told
            && replicas.len() > 1
        {
            self.place_or_new(partition);
        }
        let at_log = match log_of(told) {
            None => return,
            Some(Name::Metadata) => self.place_of_metadata(),
            Some(Name::Partition(name)) => match self.place(name) {
                Some(at) => at,
                // A replica of the quorum opens its log before it says anything else.
                None if **name == *METADATA => self.place_of_metadata(),
                None => return,
            },
        };
        let ledger = &mut self.ledgers[at_log];
        ledger.change = Change { high_watermark: ledger.high_watermark, ..Change::default() };
        match told {
            Observation::PartitionState { .. } => return new_state(ledger, node, told),
            Observation::PartitionGone { topic_id, .. } => {
                if ledger.state.as_ref().is_some_and(|state| state.topic_id == *topic_id) {
                    // Each replica speaks of this topic until it has removed its log.
                    ledger.restart();
                }
                ledger.gone.insert(*topic_id);
                return;
            }
            _ => {}
        }
        if let Some(replica) = ledger.replicas.get(&node) {
            if !ledger.is_of_this_topic(replica) {
                if let Observation::LogRemoved { .. } = told {
                    ledger.replicas.remove(&node);
                } else {
                    ledger.deposed_until = at;
                }
                return;
            }
            if ledger.is_deposed(node, replica) {
                ledger.deposed_until = at;
            }
        }
        // A log that takes the place of a removed one is of the topic that the node was told of meanwhile.
        let told_of = &ledger.told;
        let replica = ledger.replicas.entry(node).or_insert_with(|| Replica {
            epoch: -1,
            topic_id: told_of.get(&node).copied(),
            ..Replica::default()
        });
        (ledger.change.matched, ledger.change.end) = (replica.matched, replica.end);
        match told {
            Observation::LogRecovered { log_start_offset, log_end_offset, .. } => {
                replica.epoch = -1;
                if *log_end_offset > replica.end {
                    // Nothing is known of it.
                    replica.begin_at(*log_end_offset);
                } else {
                    replica.cut(*log_end_offset);
                }
                replica.start = *log_start_offset;
            }
            Observation::BatchAppended { base_offset, last_offset, leader_epoch, crc, .. } => {
                if *base_offset > replica.end {
                    replica.begin_at(*base_offset);
                } else if *base_offset < replica.end {
                    replica.cut(*base_offset);
                }
                replica.tail.push_back(Batch {
                    base: *base_offset,
                    last: *last_offset,
                    epoch: *leader_epoch,
                    crc: *crc,
                });
                replica.end = last_offset + 1;
                if *base_offset < ledger.high_watermark {
                    compare(replica, &ledger.committed, ledger.kept_from, ledger.high_watermark);
                }
            }
            Observation::FlushDone { offset, .. } => {
                replica.flushed = replica.flushed.max((*offset).min(replica.end));
            }
            Observation::LogTruncated { offset, .. } if *offset > replica.end => replica.begin_at(*offset),
            Observation::LogTruncated { offset, .. } => replica.cut(*offset),
            Observation::SnapshotLoaded { end_offset, .. } if *end_offset > replica.end => {
                replica.begin_at(*end_offset);
            }
            Observation::LogStartAdvanced { log_start_offset, .. } => {
                if *log_start_offset > replica.end {
                    replica.begin_at(*log_start_offset);
                }
                replica.start = *log_start_offset;
            }
            Observation::LogRemoved { .. } => drop(ledger.replicas.remove(&node)),
            Observation::FollowerStarted { leader_epoch, .. } => replica.epoch = *leader_epoch,
            Observation::LeaderStarted { leader_epoch, high_watermark, .. } => {
                replica.epoch = *leader_epoch;
                ledger.note_leader(*leader_epoch, node, at);
                ledger.lead(node, *leader_epoch);
                // It may know of more: what a checkpoint says that is older than a loss.
                ledger.commit(node, (*high_watermark, *leader_epoch), at, generation);
            }
            Observation::QuorumElected { epoch, .. } => {
                ledger.note_leader(*epoch, node, at);
                ledger.lead(node, *epoch);
            }
            Observation::QuorumCommitted { epoch, offset } => {
                ledger.commit(node, (*offset, *epoch), at, generation);
            }
            Observation::HighWatermark { leader_epoch, offset, leads: true, .. } => {
                ledger.commit(node, (*offset, *leader_epoch), at, generation);
            }
            _ => {}
        }
    }
}

fn new_state(ledger: &mut Ledger, node: NodeId, told: &Observation) {
    let Observation::PartitionState {
        topic_id,
        leader,
        leader_epoch,
        partition_epoch,
        replicas,
        isr,
        elr,
        ..
    } = told
    else {
        return;
    };
    if ledger.gone.contains(topic_id) {
        return;
    }
    let known = ledger.state.as_ref();
    let other_topic = known.is_some_and(|known| known.topic_id != *topic_id);
    if known.is_none_or(|known| other_topic || known.partition_epoch < *partition_epoch) {
        let before = ledger.state.replace(State {
            topic_id: *topic_id,
            leader: *leader,
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
            replicas: replicas.clone(),
            isr: isr.clone(),
            elr: elr.clone(),
        });
        if other_topic {
            let state = ledger.state.take();
            ledger.restart();
            ledger.state = state;
            ledger.gone.extend(before.map(|before| before.topic_id));
        } else {
            ledger.change.state = Some(before);
        }
    }
    if replicas.contains(&node.0) {
        ledger.told.insert(node, *topic_id);
        let replica =
            ledger.replicas.entry(node).or_insert_with(|| Replica { epoch: -1, ..Replica::default() });
        // The log of an earlier topic is removed a little later.
        replica.topic_id.get_or_insert(*topic_id);
    }
}

/// The log that an observation speaks of.
enum Name<'a> {
    Partition(&'a Arc<str>),
    Metadata,
}

fn log_of(told: &Observation) -> Option<Name<'_>> {
    match told {
        Observation::LogRecovered { partition, .. }
        | Observation::BatchAppended { partition, .. }
        | Observation::FlushDone { partition, .. }
        | Observation::ProduceAcked { partition, .. }
        | Observation::LogStartAdvanced { partition, .. }
        | Observation::LogTruncated { partition, .. }
        | Observation::LogRemoved { partition }
        | Observation::PartitionState { partition, .. }
        | Observation::PartitionGone { partition, .. }
        | Observation::LeaderStarted { partition, .. }
        | Observation::FollowerStarted { partition, .. }
        | Observation::ReplicaCounted { partition, .. }
        | Observation::IsrProposed { partition, .. }
        | Observation::HighWatermark { partition, .. }
        | Observation::CommittedCut { partition, .. } => Some(Name::Partition(partition)),
        Observation::QuorumStarted { .. }
        | Observation::QuorumElected { .. }
        | Observation::QuorumCommitted { .. }
        | Observation::SnapshotLoaded { .. } => Some(Name::Metadata),
        _ => None,
    }
}
