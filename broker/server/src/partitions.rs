//! The partitions that this broker serves, by name and by id: what the hot paths look things up in.

use burnin_core::config::{CleanupPolicy, TimestampType, TopicSettings};
use burnin_log::{Log, LogConfig};
use burnin_runtime::Runtime;
use burnin_wire::StrBytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
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

/// A partition that this broker leads.
pub(crate) struct Partition<R: Runtime> {
    pub(crate) topic: Arc<TopicInfo>,
    /// `topic-number`.
    pub(crate) name: Arc<str>,
    pub(crate) log: Log<R>,
    leader_epoch: AtomicI32,
    in_sync: AtomicI32,
}

impl<R: Runtime> Partition<R> {
    pub(crate) fn new(topic: Arc<TopicInfo>, name: Arc<str>, log: Log<R>) -> Partition<R> {
        Partition { topic, name, log, leader_epoch: AtomicI32::new(0), in_sync: AtomicI32::new(1) }
    }

    /// Takes over what the metadata say.
    pub(crate) fn update(&self, metadata: &burnin_core::metadata::Partition) {
        self.leader_epoch.store(metadata.leader_epoch, Ordering::Release);
        self.in_sync.store(i32::try_from(metadata.isr.len()).unwrap_or(i32::MAX), Ordering::Release);
    }

    /// The epoch that this leader stamps into batches.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// How many replicas are in sync.
    pub(crate) fn in_sync_replicas(&self) -> i32 {
        self.in_sync.load(Ordering::Acquire)
    }

    /// What consumers may read up to: with one replica, what is durable in the log's flush mode, so that nobody
    /// reads what a power loss takes back.
    pub(crate) fn high_watermark(&self) -> i64 {
        self.log.durable_offset()
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

    /// Adds a partition.
    pub(crate) fn put(&mut self, number: i32, partition: Partition<R>) {
        let at = usize::try_from(number).expect("partition numbers are not negative");
        if self.partitions.len() <= at {
            self.partitions.resize_with(at + 1, || None);
        }
        self.partitions[at] = Some(Arc::new(partition));
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
        for (_, partition) in topic.partitions() {
            partition.log.set_config(log_config(&settings));
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
