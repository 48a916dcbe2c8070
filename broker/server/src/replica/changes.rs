//! What a run of metadata records touched, so that whoever follows the metadata looks at nothing else.

use burnin_wire::metadata_records::MetadataRecord;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Whether anything may differ, for instance after a snapshot: the rest is not looked at then.
    pub(crate) everything: bool,
    /// Topics that came or got partitions.
    pub(crate) topics: BTreeSet<Uuid>,
    /// Partitions whose state changed, of other topics as well.
    pub(crate) partitions: BTreeMap<Uuid, BTreeSet<i32>>,
    /// Topics that went.
    pub(crate) removed_topics: BTreeSet<Uuid>,
    /// Whether a broker came, went or changed.
    pub(crate) brokers: bool,
    /// Whether a configuration changed.
    pub(crate) configs: bool,
    /// Whether a feature changed.
    pub(crate) features: bool,
}

impl Changes {
    /// Everything may differ.
    pub(crate) fn everything() -> Changes {
        Changes { everything: true, brokers: true, configs: true, features: true, ..Changes::default() }
    }

    /// Of these records.
    #[cfg(test)]
    fn of(records: &[MetadataRecord]) -> Changes {
        let mut changes = Changes::default();
        records.iter().for_each(|record| changes.note(record));
        changes
    }

    /// Takes note of a record that was applied.
    pub(crate) fn note(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(record) => drop(self.topics.insert(record.topic_id)),
            MetadataRecord::Partition(record) => drop(self.topics.insert(record.topic_id)),
            MetadataRecord::PartitionChange(record) => {
                self.partitions.entry(record.topic_id).or_default().insert(record.partition_id);
            }
            MetadataRecord::RemoveTopic(record) => {
                self.topics.remove(&record.topic_id);
                self.partitions.remove(&record.topic_id);
                self.removed_topics.insert(record.topic_id);
            }
            MetadataRecord::RegisterBroker(_)
            | MetadataRecord::UnregisterBroker(_)
            | MetadataRecord::FenceBroker(_)
            | MetadataRecord::UnfenceBroker(_)
            | MetadataRecord::BrokerRegistrationChange(_) => self.brokers = true,
            MetadataRecord::Config(_) => self.configs = true,
            MetadataRecord::FeatureLevel(_) => self.features = true,
            // It raises the partition epoch of any partition.
            MetadataRecord::ClearElr(_) => self.everything = true,
            _ => {}
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_wire::metadata_records::{PartitionRecord, RemoveTopicRecord, TopicRecord};

    #[test]
    fn a_topic_that_came_and_went_is_only_removed() {
        let (id, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let changes = Changes::of(&[
            MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id: id }),
            MetadataRecord::Partition(PartitionRecord { topic_id: other, ..PartitionRecord::default() }),
            MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id }),
        ]);
        assert_eq!(changes.topics, BTreeSet::from([other]));
        assert_eq!(changes.removed_topics, BTreeSet::from([id]));
        assert!(!changes.is_empty() && !changes.brokers && Changes::default().is_empty());
    }
}
