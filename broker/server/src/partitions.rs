//! The partitions that this broker serves, by name and by id: what the hot paths look things up in.

use crate::replica::Partition;
use burnin_core::config::{CleanupPolicy, TimestampType, TopicSettings};
use burnin_log::LogConfig;
use burnin_runtime::Runtime;
use burnin_wire::StrBytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// What the partitions of a topic share.
#[derive(Debug)]
pub(crate) struct TopicInfo {
    pub(crate) id: Uuid,
    settings: RwLock<Arc<TopicSettings>>,
}

impl TopicInfo {
    pub(crate) fn new(id: Uuid, settings: TopicSettings) -> Arc<TopicInfo> {
        Arc::new(TopicInfo { id, settings: RwLock::new(Arc::new(settings)) })
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<TopicSettings> {
        self.settings.read().clone()
    }
}

/// A topic that this broker serves.
pub(crate) struct Topic<R: Runtime> {
    pub(crate) name: StrBytes,
    pub(crate) info: Arc<TopicInfo>,
    partitions: Vec<Option<Arc<Partition<R>>>>,
}

impl<R: Runtime> Clone for Topic<R> {
    fn clone(&self) -> Self {
        Topic { name: self.name.clone(), info: self.info.clone(), partitions: self.partitions.clone() }
    }
}

impl<R: Runtime> Topic<R> {
    pub(crate) fn new(name: &str, info: Arc<TopicInfo>) -> Topic<R> {
        Topic { name: StrBytes::from_string(name.to_owned()), info, partitions: Vec::new() }
    }

    /// The partition of this number.
    pub(crate) fn partition(&self, number: i32) -> Option<&Arc<Partition<R>>> {
        self.partitions.get(usize::try_from(number).ok()?)?.as_ref()
    }

    /// All partitions that are served, in order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (i32, &Arc<Partition<R>>)> {
        let numbered = (0..).zip(&self.partitions);
        numbered.filter_map(|(number, partition)| partition.as_ref().map(|partition| (number, partition)))
    }

    /// Removes a partition.
    pub(crate) fn take(&mut self, number: i32) -> Option<Arc<Partition<R>>> {
        self.partitions.get_mut(usize::try_from(number).ok()?)?.take()
    }

    /// Adds a partition.
    pub(crate) fn put(&mut self, number: i32, partition: Arc<Partition<R>>) {
        let at = usize::try_from(number).expect("partition numbers are not negative");
        if self.partitions.len() <= at {
            self.partitions.resize_with(at + 1, || None);
        }
        self.partitions[at] = Some(partition);
    }
}

/// The topics that this broker serves.
pub(crate) struct PartitionTable<R: Runtime> {
    by_name: BTreeMap<StrBytes, Arc<Topic<R>>>,
    by_id: BTreeMap<Uuid, Arc<Topic<R>>>,
}

impl<R: Runtime> Default for PartitionTable<R> {
    fn default() -> Self {
        PartitionTable { by_name: BTreeMap::new(), by_id: BTreeMap::new() }
    }
}

impl<R: Runtime> PartitionTable<R> {
    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic<R>>> {
        self.by_name.get(name.as_bytes()).cloned()
    }

    /// The topic of this id.
    pub(crate) fn topic_by_id(&self, id: &Uuid) -> Option<Arc<Topic<R>>> {
        self.by_id.get(id).cloned()
    }

    /// All topics.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic<R>>> {
        self.by_name.values()
    }

    /// Adds or replaces a topic.
    pub(crate) fn put(&mut self, topic: Topic<R>) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.info.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    /// Removes a topic.
    pub(crate) fn remove(&mut self, id: &Uuid) -> Option<Arc<Topic<R>>> {
        let topic = self.by_id.remove(id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }

    /// Gives a topic other settings, from the next request on.
    pub(crate) fn configure(&self, name: &str, settings: TopicSettings) {
        let Some(topic) = self.by_name.get(name.as_bytes()) else { return };
        let min_isr = usize::try_from(settings.min_insync_replicas).unwrap_or(1);
        for (_, partition) in topic.partitions() {
            partition.log.set_config(log_config(&settings));
            partition.set_min_isr(min_isr);
        }
        *topic.info.settings.write() = Arc::new(settings);
    }
}

/// The settings of a topic as the log takes them.
pub(crate) fn log_config(settings: &TopicSettings) -> LogConfig {
    let size = |value: i32| u32::try_from(value).unwrap_or(0);
    LogConfig {
        segment_bytes: size(settings.segment_bytes),
        segment_ms: settings.segment_ms,
        retention_bytes: settings.retention_bytes,
        retention_ms: settings.retention_ms,
        flush_messages: settings.flush_messages,
        flush_ms: settings.flush_ms,
        max_message_bytes: settings.max_message_bytes,
        index_interval_bytes: size(settings.index_interval_bytes),
        segment_index_bytes: size(settings.segment_index_bytes),
        message_timestamp_type: match settings.timestamp_type {
            TimestampType::CreateTime => burnin_log::TimestampType::CreateTime,
            TimestampType::LogAppendTime => burnin_log::TimestampType::LogAppendTime,
        },
        message_timestamp_before_max_ms: settings.timestamp_before_max_ms,
        message_timestamp_after_max_ms: settings.timestamp_after_max_ms,
        file_delete_delay_ms: settings.file_delete_delay_ms.max(0) as u64,
        cleanup_delete: settings.cleanup_policy != CleanupPolicy::Compact,
    }
}
