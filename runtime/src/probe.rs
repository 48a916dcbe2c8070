//! What the broker tells an observer about its inside. The white-box invariants (W1 to W7) are checked on
//! these events, each on the event that can break it. In production nobody listens, and an observation is
//! not even built.

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
    /// A produce request with acks=1 or acks=all was answered without error for this range.
    ProduceAcked { partition: Arc<str>, base_offset: i64, last_offset: i64 },
    /// The log start moved (retention or DeleteRecords).
    LogStartAdvanced { partition: Arc<str>, log_start_offset: i64 },
    /// The log was cut; `offset` is the new end.
    LogTruncated { partition: Arc<str>, offset: i64 },
    /// A partition's log was removed (topic deletion).
    LogRemoved { partition: Arc<str> },
    /// The log directory went offline after an I/O error.
    LogDirOffline { reason: String },
    /// A self-check of recovered state (index against scan, producer state against log) found a difference.
    RecoveryMismatch { partition: Arc<str>, what: String },
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
