//! What can go wrong, for the caller to map to Kafka's error codes ([`AppendError::kafka_code`],
//! [`ReadError::kafka_code`]). A bug is a panic and never one of these.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An operation on a log or its directory failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The directory has seen an I/O error and serves no more; `KAFKA_STORAGE_ERROR`.
    #[error("log directory {dir} is offline: {reason}")]
    Offline {
        /// The directory.
        dir: String,
        /// The first error that it saw.
        reason: String,
    },
    /// An I/O error outside of the writer (which takes the directory offline instead).
    #[error("failed to {action} {path}: {source}")]
    Io {
        /// What was tried, as in `open`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The error.
        source: Arc<io::Error>,
    },
    /// Another process holds the directory.
    #[error("failed to lock {0}: another process uses this log directory")]
    Locked(PathBuf),
    /// [`crate::StopFlag`] was set while the directory was loading.
    #[error("loading of log directory {0} was stopped")]
    Stopped(PathBuf),
    /// The partition has a log already.
    #[error("partition {0} exists already")]
    Exists(String),
    /// The partition has no log, or it was deleted meanwhile.
    #[error("partition {0} has no log here")]
    Unknown(String),
    /// The waited-for offset was cut off.
    #[error("the log was truncated to {0}")]
    Truncated(i64),
    /// The offset is outside of the log.
    #[error("offset {offset} is outside of the log [{start}, {end}]")]
    OffsetOutOfRange {
        /// The asked offset.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// Log end offset.
        end: i64,
    },
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> LogError {
        LogError::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// Adds what was tried, and on what, to an I/O error.
pub(crate) trait Context<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, LogError>;

    /// The same, where the path would be made for each record batch.
    fn during_at(self, action: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, LogError>;
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|error| LogError::io(action, path, error))
    }

    fn during_at(self, action: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, LogError> {
        self.map_err(|error| LogError::io(action, &path(), error))
    }
}

/// A batch was not appended. Nothing of the log has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log directory is offline or shut down.
    #[error("the log directory is offline: {0}")]
    Offline(String),
    /// The log was deleted.
    #[error("the log was deleted")]
    Deleted,
    /// The bytes are not one well-formed batch (replication: a sequence of them).
    #[error("not a record batch: {0}")]
    Malformed(String),
    /// The batch is larger than `max.message.bytes`.
    #[error("batch of {size} bytes is larger than max.message.bytes={max}")]
    TooLarge {
        /// Size of the batch in bytes.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The batch is larger than a segment may be.
    #[error("batch of {size} bytes is larger than segment.bytes={max}")]
    LargerThanSegment {
        /// Size of the batch in bytes.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A timestamp is too far in the past or the future.
    #[error("timestamp {timestamp} is out of range: the broker's clock shows {now_ms}")]
    InvalidTimestamp {
        /// The offending timestamp in milliseconds.
        timestamp: i64,
        /// The broker's wall clock in milliseconds.
        now_ms: i64,
    },
    /// The producer skipped or repeated a sequence number (and it is not a known duplicate).
    #[error(
        "out of order sequence number of producer {producer_id}: {sequence} after {last_sequence} \
         (epoch {epoch}, known epoch {known_epoch})"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// Its epoch in the batch.
        epoch: i16,
        /// The epoch on record.
        known_epoch: i16,
        /// First sequence number of the batch.
        sequence: i32,
        /// Last sequence number on record.
        last_sequence: i32,
    },
    /// The producer was fenced by a newer epoch.
    #[error("epoch {epoch} of producer {producer_id} is older than the known epoch {known_epoch}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// Its epoch in the batch.
        epoch: i16,
        /// The epoch on record.
        known_epoch: i16,
    },
    /// A batch outside of the producer's open transaction.
    #[error("producer {producer_id} sent a non-transactional batch within a transaction")]
    InvalidTxnState {
        /// The producer.
        producer_id: i64,
    },
    /// A replicated batch does not continue the log.
    #[error("replicated batch at offset {offset} does not continue the log at {expected}")]
    UnexpectedOffset {
        /// First offset of the batch.
        offset: i64,
        /// The log end offset.
        expected: i64,
    },
    /// The log holds batches of a later leader epoch.
    #[error("batch of leader epoch {epoch} in a log that has come to epoch {latest}")]
    OlderEpoch {
        /// Epoch of the batch.
        epoch: i32,
        /// The newest epoch of the log.
        latest: i32,
    },
}

impl AppendError {
    /// Kafka's error code for a produce response.
    pub fn kafka_code(&self) -> i16 {
        match self {
            AppendError::Offline(_) => 56,
            AppendError::Deleted => 3,
            AppendError::Malformed(_) => 87,
            AppendError::TooLarge { .. } => 10,
            AppendError::LargerThanSegment { .. } => 18,
            AppendError::InvalidTimestamp { .. } => 32,
            AppendError::OutOfOrderSequence { .. } => 45,
            AppendError::InvalidProducerEpoch { .. } => 47,
            AppendError::InvalidTxnState { .. } => 48,
            AppendError::UnexpectedOffset { .. } => -1,
            AppendError::OlderEpoch { .. } => 6,
        }
    }
}

/// Nothing could be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or above the limit of the read.
    #[error("offset {offset} is outside of the log [{start}, {end}]")]
    OffsetOutOfRange {
        /// The asked offset.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// Log end offset.
        end: i64,
    },
    /// The batch at this offset is damaged on the medium.
    #[error("record batch at offset {offset} is corrupt: {reason}")]
    Corrupt {
        /// The first damaged offset that was asked for.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The log directory is offline, or reading failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadError {
    /// Kafka's error code for a fetch response.
    pub fn kafka_code(&self) -> i16 {
        match self {
            ReadError::OffsetOutOfRange { .. } => 1,
            ReadError::Corrupt { .. } => 2,
            ReadError::Log(LogError::Unknown(_)) => 3,
            ReadError::Log(_) => 56,
        }
    }
}
