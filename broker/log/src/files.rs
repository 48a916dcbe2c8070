//! The names of files and directories, as Kafka spells them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const LOCK: &str = ".lock";
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
pub(crate) const TEMP_SUFFIX: &str = ".tmp";
const DELETE_DIR_SUFFIX: &str = "-delete";
const STRAY_DIR_SUFFIX: &str = "-stray";

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// From its parts.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }

    /// From the name of a partition's directory, `TOPIC-N`.
    pub(crate) fn from_dir_name(name: &str) -> Option<Self> {
        let (topic, number) = name.rsplit_once('-')?;
        let tp = TopicPartition::new(topic, number.parse().ok()?);
        // `a-007` and `a-+7` are strangers
        (!topic.is_empty() && tp.partition >= 0 && tp.to_string() == name).then_some(tp)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The name that a partition's directory has while it is being deleted.
pub(crate) fn delete_dir_name(tp: &TopicPartition, unique: u128) -> String {
    unique_dir_name(tp, unique, DELETE_DIR_SUFFIX)
}

/// The name that a partition's directory gets when nobody knows whether it is wanted.
pub(crate) fn stray_dir_name(tp: &TopicPartition, unique: u128) -> String {
    unique_dir_name(tp, unique, STRAY_DIR_SUFFIX)
}

fn unique_dir_name(tp: &TopicPartition, unique: u128, suffix: &str) -> String {
    let name = format!("{tp}.{unique:032x}{suffix}");
    if name.len() <= 255 {
        return name;
    }
    let keep = tp.topic.len().min(255 - (name.len() - tp.topic.len()));
    format!("{}-{}.{unique:032x}{suffix}", &tp.topic[..keep], tp.partition)
}

/// Whether a directory's partition is being deleted.
pub(crate) fn is_delete_dir(name: &str) -> bool {
    name.ends_with(DELETE_DIR_SUFFIX)
        && name
            .trim_end_matches(DELETE_DIR_SUFFIX)
            .rsplit_once('.')
            .is_some_and(|(_, id)| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A file that belongs to a segment (or a producer snapshot, which is named like one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Log,
    OffsetIndex,
    TimeIndex,
    Snapshot,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::Snapshot];

    fn suffix(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::OffsetIndex => "index",
            Kind::TimeIndex => "timeindex",
            Kind::Snapshot => "snapshot",
        }
    }

    /// `00000000000000000042.log`
    pub(crate) fn name(self, offset: i64) -> String {
        format!("{offset:020}.{}", self.suffix())
    }

    pub(crate) fn path(self, dir: &Path, offset: i64) -> PathBuf {
        dir.join(self.name(offset))
    }

    /// The kind and the offset of a name.
    pub(crate) fn parse(name: &str) -> Option<(Kind, i64)> {
        let (number, suffix) = name.split_once('.')?;
        if number.len() != 20 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        Some((kind, number.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(Kind::Log.name(42), "00000000000000000042.log");
        assert_eq!(Kind::parse("00000000000000000042.timeindex"), Some((Kind::TimeIndex, 42)));
        assert_eq!(Kind::parse("00000000000000000042.log.deleted"), None);
        assert_eq!(Kind::parse("42.log"), None);
        assert_eq!(Kind::parse("99999999999999999999.log"), None);
    }

    #[test]
    fn partition_directories_are_told_from_others() {
        assert_eq!(TopicPartition::from_dir_name("a-b-3"), Some(TopicPartition::new("a-b", 3)));
        assert_eq!(TopicPartition::from_dir_name("meta.properties"), None);
        assert_eq!(TopicPartition::from_dir_name("-3"), None);
        assert_eq!(TopicPartition::from_dir_name("a-03"), None);
        assert_eq!(TopicPartition::from_dir_name("a--3"), Some(TopicPartition::new("a-", 3)));
        let name = delete_dir_name(&TopicPartition::new("orders", 0), 7);
        assert_eq!(name, "orders-0.00000000000000000000000000000007-delete");
        assert!(is_delete_dir(&name));
        assert!(!is_delete_dir("orders-delete"));
        let long = delete_dir_name(&TopicPartition::new("x".repeat(249), 12), 7);
        assert!(long.len() <= 255 && is_delete_dir(&long), "{long}");
        let stray = stray_dir_name(&TopicPartition::new("orders", 0), 7);
        assert!(!is_delete_dir(&stray) && TopicPartition::from_dir_name(&stray).is_none(), "{stray}");
    }
}
