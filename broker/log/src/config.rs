//! What an operator can set, in Kafka's words: per log ([`LogConfig`]) and per log directory
//! ([`LogDirConfig`]). Plain data; the names are those of Kafka's topic and broker properties.

pub use burnin_wire::batch::TimestampType;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The settings of one log. [`LogConfig::default`] is Kafka's default, except that an acknowledgement means
/// fsynced (`flush_messages = 1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Largest size of a segment file in bytes (`segment.bytes`).
    pub segment_bytes: u32,
    /// Longest time that a segment covers, by record timestamps (`segment.ms`).
    pub segment_ms: i64,
    /// Oldest segments are deleted while the rest is at least this many bytes; -1 is no limit.
    pub retention_bytes: i64,
    /// Segments whose newest record is older are deleted; -1 is no limit (`retention.ms`).
    pub retention_ms: i64,
    /// 1: every acknowledgement waits for fsync. More: an acknowledgement means written to the page cache,
    /// and fsync follows after so many records. `i64::MAX`: never by count (`flush.messages`).
    pub flush_messages: i64,
    /// In page-cache mode: the longest time that written records stay without fsync (`flush.ms`).
    pub flush_ms: i64,
    /// Largest batch that a client may append, in bytes (`max.message.bytes`).
    pub max_message_bytes: i32,
    /// At most one offset index entry per so many bytes of log (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// Largest size of an index file in bytes; a full index rolls the segment (`segment.index.bytes`).
    pub segment_index_bytes: u32,
    /// What timestamps mean (`message.timestamp.type`).
    pub message_timestamp_type: TimestampType,
    /// How far in the past a producer's timestamp may be (`message.timestamp.before.max.ms`).
    pub message_timestamp_before_max_ms: i64,
    /// How far in the future (`message.timestamp.after.max.ms`).
    pub message_timestamp_after_max_ms: i64,
    /// How long a deleted segment file stays under its `.deleted` name (`file.delete.delay.ms`).
    pub file_delete_delay_ms: u64,
    /// Whether old segments are deleted by retention at all (`cleanup.policy` contains `delete`).
    pub cleanup_delete: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3_600_000,
            flush_messages: 1,
            flush_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            file_delete_delay_ms: 60_000,
            cleanup_delete: true,
        }
    }
}

impl LogConfig {
    /// Whether an acknowledgement promises fsync.
    pub fn acks_mean_fsynced(&self) -> bool {
        self.flush_messages <= 1
    }
}

/// The settings of a log directory.
#[derive(Clone, Debug)]
pub struct LogDirConfig {
    /// For logs that are found when the directory is opened; [`crate::Log::set_config`] changes them later.
    pub log: LogConfig,
    /// How many bytes of recently appended batches the directory keeps in memory, over all of its logs.
    /// Batches that are not written yet are kept in any case.
    pub tail_bytes_max: usize,
    /// The longest time between checkpoints of recovery points, when one has moved
    /// (`log.flush.offset.checkpoint.interval.ms`).
    pub checkpoint_interval_ms: u64,
    /// How long the state of a silent producer is kept (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// Ends [`crate::LogDir::open`] between partitions with [`crate::LogError::Stopped`].
    pub stop: StopFlag,
}

impl Default for LogDirConfig {
    fn default() -> Self {
        LogDirConfig {
            log: LogConfig::default(),
            tail_bytes_max: 8 << 20,
            checkpoint_interval_ms: 60_000,
            producer_id_expiration_ms: 86_400_000,
            stop: StopFlag::default(),
        }
    }
}

/// Asks a loading log directory to stop: a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
