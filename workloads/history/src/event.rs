//! The events of a history. Plain data; batches of records rather than single ones, because that is what the
//! protocol acknowledges.

use crate::payload::{Payload, PayloadError};
use burnin_runtime::Observation;
use std::fmt;
use std::sync::Arc;

/// Nanoseconds since the run began (simulated, or the coordinator's monotonic clock on a cluster).
pub type Moment = u64;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($int:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $int);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
        }
    )*};
}

ids! {
    /// A topic partition: an index that [`Event::Partition`] introduced. Small and dense.
    Tp(u32);
    /// A writer with sequence numbers of its own per partition. Small and dense.
    ProducerId(u32);
    /// A reader. Small and dense.
    ConsumerId(u32);
    /// A client operation; unique in a history and increasing in order of invocation.
    OpId(u64);
    /// A broker, by its `node.id`.
    NodeId(i32);
}

/// What a produce request asked to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing: the request has no answer.
    None,
    /// The leader's append.
    Leader,
    /// All in-sync replicas.
    All,
}

/// Whether an operation, or one attempt of it, took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did; the client was told so.
    Applied,
    /// It did not and never will; only such an operation can yield an aborted read (G1a).
    NotApplied,
    /// Nobody can say: it may take effect at any later time, or never.
    Maybe,
}

/// What the broker promised about a partition's durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// An acknowledgement means fsynced (`flush.messages=1`).
    BeforeAck,
    /// An acknowledgement means in the page cache: a power loss may take an unsynced tail.
    PageCache,
}

/// What a ListOffsets request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset (-2).
    Earliest,
    /// The high watermark (-1).
    Latest,
    /// The first offset whose timestamp is at least this.
    Timestamp(i64),
}

/// One record as a reader saw it, already taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: i64,
    /// The leader epoch of its batch.
    pub leader_epoch: i32,
    /// What the payload says about itself, or why it could not be read.
    pub payload: Result<Payload, PayloadError>,
    /// A hash of key, value and headers: two records are the same when this is.
    pub content: u64,
}

/// What is asked of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicChange<'a> {
    /// CreateTopics with so many partitions and these settings.
    Create { partitions: u32, configs: &'a [(String, String)] },
    /// DeleteTopics, whichever topic has the name.
    Delete,
    /// DeleteTopics by id.
    DeleteId { topic_id: u128 },
    /// CreatePartitions: so many in all.
    CreatePartitions { count: u32 },
    /// IncrementalAlterConfigs of one setting; `None`: back to its default.
    SetConfig { name: &'a str, value: Option<&'a str> },
}

/// What a broker knows of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFound<'a> {
    /// There is none of that name.
    Absent,
    /// There is one, with this id and so many partitions.
    Topic { topic_id: u128, partitions: u32 },
    /// There is one, for which this setting is made; `None`: it has none of its own.
    Config { name: &'a str, value: Option<&'a str> },
}

/// Something that happened. See the fields' types for units; `at` is carried by [`Sink::record`].
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Introduces a partition before its first use. `topic` number is what payloads carry.
    Partition { tp: Tp, topic: Arc<str>, topic_number: u32, partition: i32, flush: Flush, min_isr: u32 },
    /// Says more of a partition, right after it was introduced: how many replicas it has, and whether one that is
    /// not in sync may be elected (`unclean.leader.election.enable`). Without it: one replica.
    Replicated { tp: Tp, replicas: u32, unclean: bool },
    /// A batch of `count` records with sequences `first_seq..first_seq+count` was handed to the client.
    ProduceInvoked {
        op: OpId,
        producer: ProducerId,
        tp: Tp,
        first_seq: u64,
        count: u32,
        acks: Acks,
        idempotent: bool,
    },
    /// One attempt of it ended in this way, at this broker, with this Kafka error code (0: none; -1000: the
    /// connection broke; -1001: the request timed out at the client).
    ProduceAttempt { op: OpId, attempt: u32, node: NodeId, outcome: Outcome, error_code: i16 },
    /// The operation ended. `base_offset` is where the broker said the batch begins (Applied, acks other than
    /// none, and not when it answered a duplicate without an offset).
    ProduceCompleted { op: OpId, outcome: Outcome, base_offset: Option<i64> },
    /// A reader begins to read a partition at `offset`: continuity starts anew.
    Positioned { consumer: ConsumerId, tp: Tp, offset: i64 },
    /// A fetch was answered for a partition. `records` begin at or after `fetch_offset`, in offset order,
    /// without the records before it that the batch format drags along. `next_offset` is where the reader
    /// goes on (it differs from the last offset + 1 after control batches and compaction). `topic_id` is that of the
    /// topic that answered (0: it was asked by name).
    Polled {
        consumer: ConsumerId,
        tp: Tp,
        topic_id: u128,
        fetch_offset: i64,
        next_offset: i64,
        log_start_offset: i64,
        high_watermark: i64,
        records: &'a [Seen],
    },
    /// ListOffsets was invoked at `invoked` and is answered now. -1: no such offset.
    OffsetsListed { tp: Tp, spec: OffsetSpec, invoked: Moment, offset: i64, timestamp: i64 },
    /// DeleteRecords was asked to remove everything below `offset` (-1: all that is there): whether or not it is
    /// ever acknowledged, from now on it may happen.
    DeleteRecordsInvoked { tp: Tp, offset: i64 },
    /// DeleteRecords was acknowledged with this new log start.
    RecordsDeleted { tp: Tp, log_start_offset: i64 },
    /// Retention may remove sealed segments of this partition (told once, when configured).
    RetentionEnabled { tp: Tp },
    /// An administrator asks for something: `kind` as in a scenario's `operations`, `what` in words.
    AdminInvoked { op: OpId, kind: &'static str, what: &'a str },
    /// It ended; `why` says more when it was not carried out.
    AdminCompleted { op: OpId, kind: &'static str, outcome: Outcome, why: &'a str },
    /// A topic is asked to be created, changed or deleted.
    TopicChangeInvoked { op: OpId, topic: &'a str, change: TopicChange<'a> },
    /// It ended. `topic_id` is that of the topic that was created (0: nobody told). `repeats` is whether the call took
    /// more than one attempt and nobody knows what became of one of them: what it asks for may happen once more, later.
    TopicChangeCompleted { op: OpId, outcome: Outcome, topic_id: u128, repeats: bool },
    /// Broker `node` was asked at `invoked` what it knows of a topic, and answers now. `settled` is whether it was asked
    /// after it had shown a topic that was created after all changes that this history knows were over.
    TopicDescribed { node: NodeId, topic: &'a str, invoked: Moment, settled: bool, found: TopicFound<'a> },
    /// The partition's topic will be deleted and created again: from now on everything in it may go.
    TopicDeletionInvoked { tp: Tp },
    /// The topic was created again, and every broker that is up knows it under this id: what is acknowledged from now
    /// on is acknowledged in it.
    TopicCreatedAgain { tp: Tp, topic_id: u128 },
    /// A fault was applied or ended. Licences are computed from these.
    Fault(FaultEvent),
    /// The full re-read begins: from here on, `Polled` of reader `consumer` walks every partition from its
    /// log start to its end.
    FinalReadStarted { consumer: ConsumerId },
    /// The full re-read of this partition reached its end. Nothing acknowledged may be missing now.
    FinalReadCompleted { consumer: ConsumerId, tp: Tp, log_start_offset: i64, log_end_offset: i64 },
    /// The re-read of this partition failed for good, with a Kafka error code.
    FinalReadFailed { consumer: ConsumerId, tp: Tp, error_code: i16 },
    /// White-box: a broker reported something about its inside.
    Observed { node: NodeId, observation: &'a Observation },
}

/// A fault, as the history needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultEvent {
    /// The process died; its page cache survived.
    Killed { node: NodeId },
    /// The machine lost power: unsynced data may be gone.
    PowerLost { node: NodeId },
    /// The process was told to stop, and stopped in order.
    Stopped { node: NodeId },
    /// The process was started again.
    Started { node: NodeId },
    /// The bytes of a log segment file of this partition were damaged on the medium: an RF-1 partition may
    /// be unable to serve them (and must say so, never serve them).
    LogRotted { node: NodeId, topic: Arc<str>, partition: i32 },
    /// The machine's directory was wiped.
    Wiped { node: NodeId },
    /// Any other fault: no licence follows from it.
    Other { kind: Arc<str>, node: Option<NodeId> },
    /// All faults have ended.
    Healed,
}

/// Who takes a history in: a checker, a file, a ring buffer.
pub trait Sink {
    /// `event` happened at `at`; calls come in order of `at`.
    fn record(&mut self, at: Moment, event: &Event<'_>);
}
