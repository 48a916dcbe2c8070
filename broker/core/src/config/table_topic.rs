//! Properties of topics, and which broker properties give their defaults (`ServerTopicConfigSynonyms`).

use super::definition::Kind::{Boolean, Double, Int, List, Long, Text};
use super::definition::Range::{Any, AtLeast, Between, Each, Fraction, OneOf, Replicas};
use super::definition::{Definition, idle, used};

/// The values of `compression.type`.
pub(super) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// How the value of a broker property becomes that of the topic property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    Same,
    /// From hours to milliseconds.
    Hours,
    /// From minutes to milliseconds.
    Minutes,
}

/// A topic property with the broker properties that give its default, the first that is set wins.
#[derive(Clone, Copy, Debug)]
pub struct TopicDefinition {
    /// Name, type, range.
    pub definition: Definition,
    /// Where the default comes from; empty for none.
    pub synonyms: &'static [(&'static str, Scale)],
}

const fn from(definition: Definition, synonyms: &'static [(&'static str, Scale)]) -> TopicDefinition {
    TopicDefinition { definition, synonyms }
}

use Scale::{Hours, Minutes, Same};

/// Every topic property, in order of the alphabet.
pub const TOPIC: &[TopicDefinition] = &[
    from(
        used(
            "cleanup.policy",
            List,
            Some("delete"),
            Each(&["compact", "delete"]),
            "What happens to old records: delete by retention, or compact. Compaction does not run yet: a topic that is only \
         compacted keeps everything.",
        ),
        &[("log.cleanup.policy", Same)],
    ),
    from(
        used(
            "compression.gzip.level",
            Int,
            Some("-1"),
            Between(-1, 9),
            "The level when compression.type is gzip.",
        ),
        &[("compression.gzip.level", Same)],
    ),
    from(
        used(
            "compression.lz4.level",
            Int,
            Some("9"),
            Between(1, 17),
            "The level when compression.type is lz4.",
        ),
        &[("compression.lz4.level", Same)],
    ),
    from(
        used(
            "compression.type",
            Text,
            Some("producer"),
            OneOf(COMPRESSION_TYPES),
            "How batches are stored; producer keeps what the producer chose.",
        ),
        &[("compression.type", Same)],
    ),
    from(
        used(
            "compression.zstd.level",
            Int,
            Some("3"),
            Between(-131072, 22),
            "The level when compression.type is zstd.",
        ),
        &[("compression.zstd.level", Same)],
    ),
    from(
        idle(
            "delete.retention.ms",
            Long,
            Some("86400000"),
            AtLeast(0),
            "How long tombstones of a compacted topic are kept.",
        ),
        &[("log.cleaner.delete.retention.ms", Same)],
    ),
    from(
        used(
            "file.delete.delay.ms",
            Long,
            Some("60000"),
            AtLeast(0),
            "How long a deleted file stays on disk.",
        ),
        &[("log.segment.delete.delay.ms", Same)],
    ),
    from(
        used(
            "flush.messages",
            Long,
            Some("1"),
            AtLeast(1),
            "How many records may be written before fsync. 1: what is acknowledged is durable.",
        ),
        &[("log.flush.interval.messages", Same)],
    ),
    from(
        used(
            "flush.ms",
            Long,
            Some("9223372036854775807"),
            AtLeast(0),
            "How old a record may grow before fsync.",
        ),
        &[("log.flush.interval.ms", Same), ("log.flush.scheduler.interval.ms", Same)],
    ),
    from(
        used(
            "follower.replication.throttled.replicas",
            List,
            Some(""),
            Replicas,
            "Replicas that fetch under the throttle of their broker.",
        ),
        &[],
    ),
    from(
        used(
            "index.interval.bytes",
            Int,
            Some("4096"),
            AtLeast(0),
            "Bytes of log between two index entries.",
        ),
        &[("log.index.interval.bytes", Same)],
    ),
    from(
        used(
            "leader.replication.throttled.replicas",
            List,
            Some(""),
            Replicas,
            "Replicas that send, as leaders, under the throttle of their broker.",
        ),
        &[],
    ),
    from(
        idle("local.retention.bytes", Long, Some("-2"), AtLeast(-2), "Local retention of a tiered topic."),
        &[("log.local.retention.bytes", Same)],
    ),
    from(
        idle("local.retention.ms", Long, Some("-2"), AtLeast(-2), "Local retention of a tiered topic."),
        &[("log.local.retention.ms", Same)],
    ),
    from(
        idle(
            "max.compaction.lag.ms",
            Long,
            Some("9223372036854775807"),
            AtLeast(1),
            "How long a record may stay uncompacted.",
        ),
        &[("log.cleaner.max.compaction.lag.ms", Same)],
    ),
    from(
        used("max.message.bytes", Int, Some("1048588"), AtLeast(0), "The largest record batch in bytes."),
        &[("message.max.bytes", Same)],
    ),
    from(
        used(
            "message.timestamp.after.max.ms",
            Long,
            Some("3600000"),
            AtLeast(0),
            "How far a record's timestamp may lie after the broker's clock.",
        ),
        &[("log.message.timestamp.after.max.ms", Same)],
    ),
    from(
        used(
            "message.timestamp.before.max.ms",
            Long,
            Some("9223372036854775807"),
            AtLeast(0),
            "How far a record's timestamp may lie before the broker's clock.",
        ),
        &[("log.message.timestamp.before.max.ms", Same)],
    ),
    from(
        used(
            "message.timestamp.type",
            Text,
            Some("CreateTime"),
            OneOf(&["CreateTime", "LogAppendTime"]),
            "Whose clock stamps records.",
        ),
        &[("log.message.timestamp.type", Same)],
    ),
    from(
        idle(
            "min.cleanable.dirty.ratio",
            Double,
            Some("0.5"),
            Fraction,
            "How dirty a log must be to be compacted.",
        ),
        &[("log.cleaner.min.cleanable.ratio", Same)],
    ),
    from(
        idle("min.compaction.lag.ms", Long, Some("0"), AtLeast(0), "How long a record stays uncompacted."),
        &[("log.cleaner.min.compaction.lag.ms", Same)],
    ),
    from(
        used(
            "min.insync.replicas",
            Int,
            Some("1"),
            AtLeast(1),
            "How many replicas must have a record before acks=all is answered.",
        ),
        &[("min.insync.replicas", Same)],
    ),
    from(
        idle("preallocate", Boolean, Some("false"), Any, "Whether new segments are allocated at once."),
        &[("log.preallocate", Same)],
    ),
    from(
        used(
            "retention.bytes",
            Long,
            Some("-1"),
            AtLeast(-1),
            "How many bytes of a partition are kept; -1 for all.",
        ),
        &[("log.retention.bytes", Same)],
    ),
    from(
        used("retention.ms", Long, Some("604800000"), AtLeast(-1), "How long records are kept; -1 for ever."),
        &[("log.retention.ms", Same), ("log.retention.minutes", Minutes), ("log.retention.hours", Hours)],
    ),
    from(
        used("segment.bytes", Int, Some("1073741824"), AtLeast(14), "The size at which a segment is sealed."),
        &[("log.segment.bytes", Same)],
    ),
    from(
        used(
            "segment.index.bytes",
            Int,
            Some("10485760"),
            AtLeast(4),
            "The largest offset index of a segment.",
        ),
        &[("log.index.size.max.bytes", Same)],
    ),
    from(
        idle("segment.jitter.ms", Long, Some("0"), AtLeast(0), "A random part of the age of a segment."),
        &[("log.roll.jitter.ms", Same), ("log.roll.jitter.hours", Hours)],
    ),
    from(
        used("segment.ms", Long, Some("604800000"), AtLeast(1), "The age at which a segment is sealed."),
        &[("log.roll.ms", Same), ("log.roll.hours", Hours)],
    ),
    from(
        idle(
            "unclean.leader.election.enable",
            Boolean,
            Some("false"),
            Any,
            "Whether a replica outside the ISR may become leader.",
        ),
        &[("unclean.leader.election.enable", Same)],
    ),
];
