//! What the broker tells an observer about its inside. The white-box invariants (W1 to W7) are checked on
//! these events, each on the event that can break it, and a fault finds out from them who plays which role. In
//! production nobody listens, and an observation is not even built.
//!
//! Each is told when it has happened and before anything follows from it: a vote when it is durable and before
//! it is answered, an ISR when the metadata is applied and before the new state is used. The metadata log is
//! the partition `__cluster_metadata-0`, whose batches, cuts and recoveries are told as those of any log.

use std::fmt;
use std::sync::Arc;

/// Something that happened inside a broker. Offsets are Kafka offsets; `partition` is `topic-number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A log was opened; `log_end_offset` is what recovery found. `clean` is whether the clean-shutdown
    /// marker spared the scan.
    LogRecovered { partition: Arc<str>, log_start_offset: i64, log_end_offset: i64, clean: bool },
    /// A batch was appended in memory and handed to the writer. `crc` is the batch's CRC-32C.
    BatchAppended { partition: Arc<str>, base_offset: i64, last_offset: i64, leader_epoch: i32, crc: u32 },
    /// Everything below `offset` is durable by the broker's reckoning.
    FlushDone { partition: Arc<str>, offset: i64 },
    /// A produce request with acks=1 (`acks` 1) or acks=all (-1) was answered without error for this range.
    ProduceAcked { partition: Arc<str>, base_offset: i64, last_offset: i64, acks: i16 },
    /// The log start moved (retention or DeleteRecords).
    LogStartAdvanced { partition: Arc<str>, log_start_offset: i64 },
    /// The log is about to be cut so that it ends at `offset`, or to be emptied and to begin there. Until the outcome
    /// is told it may end there, where it did, or in between.
    LogTruncating { partition: Arc<str>, offset: i64 },
    /// The log was cut; `offset` is the new end.
    LogTruncated { partition: Arc<str>, offset: i64 },
    /// A partition's log was removed (topic deletion).
    LogRemoved { partition: Arc<str> },
    /// The log directory went offline after an I/O error.
    LogDirOffline { reason: String },
    /// A self-check of recovered state (index against scan, producer state against log) found a difference.
    RecoveryMismatch { partition: Arc<str>, what: String },

    /// A replica of the metadata quorum came up with this durable election state.
    QuorumStarted { epoch: i32, leader: Option<i32>, voted: Option<i32> },
    /// It voted, durably.
    QuorumVoted { epoch: i32, candidate: i32 },
    /// It was elected; its metadata log ended at `start_offset`, before the epoch's first record. It resigns when no
    /// majority of the voters has asked it for `silence_ms_max`.
    QuorumElected { epoch: i32, start_offset: i64, voters: Arc<[i32]>, silence_ms_max: u64 },
    /// As the leader of the quorum it was asked by another voter for what comes next.
    QuorumFetched { epoch: i32, voter: i32 },
    /// It stopped leading the quorum.
    QuorumResigned { epoch: i32 },
    /// It knows everything below `offset` of the metadata log to be committed.
    QuorumCommitted { epoch: i32, offset: i64 },
    /// It uses these voters, from the record at `offset` on (of a snapshot: its end).
    QuorumVoters { offset: i64, voters: Arc<[i32]> },
    /// It wrote a snapshot of the metadata below `end_offset`.
    SnapshotTaken { end_offset: i64, epoch: i32 },
    /// It replaced what it had by a snapshot (of its own at the start, or fetched).
    SnapshotLoaded { end_offset: i64, epoch: i32, fetched: bool },
    /// Its controller decides from now on, by what it has applied: everything below `applied_offset`.
    ControllerActive { epoch: i32, applied_offset: i64 },
    /// Its image holds everything below `offset`; equal images have equal digests.
    MetadataImage { offset: i64, digest: u64 },

    /// It applied metadata: a feature went from one level to another; 0 is none.
    FeatureLevel { feature: Arc<str>, from: i16, to: i16 },
    /// It applied metadata: the state of a broker.
    BrokerState { broker: i32, broker_epoch: i64, fenced: bool, shutting_down: bool },
    /// It applied metadata: the broker is not registered any more.
    BrokerGone { broker: i32 },
    /// It applied metadata: the state of a partition. `leader` is -1 when there is none.
    PartitionState {
        partition: Arc<str>,
        topic_id: u128,
        leader: i32,
        leader_epoch: i32,
        partition_epoch: i32,
        replicas: Arc<[i32]>,
        isr: Arc<[i32]>,
        elr: Arc<[i32]>,
    },
    /// It applied metadata: another `min.insync.replicas` of a topic. Until that `is_followed` its partitions go by
    /// this value or by the one that was told before.
    MinIsr { topic: Arc<str>, min_isr: u32, is_followed: bool },
    /// It applied metadata: the partition's topic was deleted.
    PartitionGone { partition: Arc<str>, topic_id: u128 },

    /// It leads from now on; its log ends at `start_offset`, and it knows everything below `high_watermark` to
    /// be committed.
    LeaderStarted { partition: Arc<str>, leader_epoch: i32, start_offset: i64, high_watermark: i64 },
    /// It follows from now on (leader -1: nobody).
    FollowerStarted { partition: Arc<str>, leader_epoch: i32, leader: i32 },
    /// As the leader, it counts `replica` as holding everything below `offset`.
    ReplicaCounted { partition: Arc<str>, leader_epoch: i32, replica: i32, offset: i64 },
    /// As the leader, it asks the controller for this ISR.
    IsrProposed { partition: Arc<str>, leader_epoch: i32, partition_epoch: i32, isr: Arc<[i32]> },
    /// It follows, and is about to cut its log to `offset`, below what it knows to be committed.
    CommittedCut { partition: Arc<str>, leader_epoch: i32, offset: i64, high_watermark: i64 },
    /// It knows everything below `offset` to be committed, and serves it. `leads` is whether it decided that.
    HighWatermark { partition: Arc<str>, leader_epoch: i32, offset: i64, leads: bool },
}

/// Who listens.
pub trait ProbeSink: Send + Sync + 'static {
    /// Is told of each observation, on the task that made it, at the moment it happened.
    fn observe(&self, observation: Observation);
}

/// A listener, or none.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<dyn ProbeSink>>);

impl Probe {
    /// Nobody listens.
    pub const NONE: Probe = Probe(None);

    /// `sink` listens.
    pub fn to(sink: Arc<dyn ProbeSink>) -> Probe {
        Probe(Some(sink))
    }

    /// Whether anybody listens.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells the listener; `observation` is built only when there is one.
    #[inline]
    pub fn emit(&self, observation: impl FnOnce() -> Observation) {
        if let Some(sink) = &self.0 {
            sink.observe(observation());
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", if self.is_on() { "on" } else { "off" })
    }
}
