//! The image as records: what a snapshot holds. Replayed on an empty image they give an equal one.

use super::{Broker, ControllerNode, Image, METADATA_VERSION_ELR, METADATA_VERSION_NAME, Partition};
use crate::Release;
use crate::metadata::registration::FeatureRanges;
use burnin_wire::metadata_records::{
    ConfigRecord, Endpoint, FeatureLevelRecord, FeatureRange, MetadataRecord, PartitionRecord,
    ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord, TopicRecord,
};
use uuid::Uuid;

impl Image {
    /// The level of `metadata.version`, which says in which versions records are written. An image without one is that
    /// of a log that has not begun.
    pub fn metadata_version(&self) -> i16 {
        let level = self.features().get(METADATA_VERSION_NAME).copied();
        level.unwrap_or_else(|| Release::LATEST.metadata_version())
    }

    /// All of the image, in the order in which Kafka's `MetadataImage.write` has it: `metadata.version` first.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = self.feature_records();
        records.extend(self.brokers().iter().map(|(id, broker)| broker.to_record(*id).into()));
        records.extend(self.controllers().iter().map(|(id, controller)| controller.to_record(*id).into()));
        let elr = self.metadata_version() >= METADATA_VERSION_ELR;
        for (name, topic) in self.topics() {
            records.push(TopicRecord { name: name.clone(), topic_id: topic.id }.into());
            let partitions = topic.partitions.iter();
            records.extend(partitions.map(|(number, p)| p.to_record(topic.id, *number, elr).into()));
        }
        for ((kind, resource), properties) in self.configs() {
            records.extend(properties.iter().map(|(name, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: *kind as i8,
                    resource_name: resource.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                })
            }));
        }
        if self.next_producer_id() > 0 {
            let next_producer_id = self.next_producer_id();
            records.push(ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id }.into());
        }
        records
    }

    fn feature_records(&self) -> Vec<MetadataRecord> {
        let mut levels: Vec<_> = self.features().iter().collect();
        levels.sort_by_key(|(name, _)| *name != METADATA_VERSION_NAME);
        let record = |(name, level): (&String, &i16)| {
            FeatureLevelRecord { name: name.clone(), feature_level: *level }.into()
        };
        levels.into_iter().map(record).collect()
    }
}

impl Broker {
    fn to_record(&self, broker_id: i32) -> RegisterBrokerRecord {
        RegisterBrokerRecord {
            broker_id,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: endpoints(&self.endpoints),
            features: ranges(&self.features),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
            ..RegisterBrokerRecord::default()
        }
    }
}

impl ControllerNode {
    fn to_record(&self, controller_id: i32) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id,
            incarnation_id: self.incarnation_id,
            end_points: endpoints(&self.endpoints),
            features: ranges(&self.features),
            ..RegisterControllerRecord::default()
        }
    }
}

impl Partition {
    fn to_record(&self, topic_id: Uuid, partition_id: i32, elr: bool) -> PartitionRecord {
        let some = |ids: &Vec<i32>| (elr && !ids.is_empty()).then(|| ids.clone());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing.clone(),
            adding_replicas: self.adding.clone(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            leader_recovery_state: i8::from(self.recovering),
            eligible_leader_replicas: some(&self.elr),
            last_known_elr: some(&self.last_known_elr),
        }
    }
}

/// Listeners are all PLAINTEXT here, whose number is 0.
fn endpoints(endpoints: &[(String, String, u16)]) -> Vec<Endpoint> {
    let endpoint = |(name, host, port): &(String, String, u16)| Endpoint {
        name: name.clone(),
        host: host.clone(),
        port: *port,
        security_protocol: 0,
    };
    endpoints.iter().map(endpoint).collect()
}

fn ranges(features: &FeatureRanges) -> Vec<FeatureRange> {
    let range = |(name, (min, max)): (&String, &(i16, i16))| FeatureRange {
        name: name.clone(),
        min_supported_version: *min,
        max_supported_version: *max,
    };
    features.iter().map(range).collect()
}
