//! What the metadata log adds up to.

use super::{Broker, ControllerNode, Partition};
use crate::config::Properties;
use burnin_wire::metadata_records::{
    BrokerRegistrationChangeRecord, ConfigRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord,
    UnregisterBrokerRecord,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id; a topic that is created again under the same name has another.
    pub id: Uuid,
    /// By number.
    pub partitions: BTreeMap<i32, Partition>,
}

/// What a configuration belongs to; the numbers are those of `ConfigResource.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic.
    Topic = 2,
    /// A broker by number, or with the empty name all of them.
    Broker = 4,
}

impl ResourceType {
    /// By its number.
    pub fn from_id(id: i8) -> Option<ResourceType> {
        [ResourceType::Topic, ResourceType::Broker].into_iter().find(|kind| *kind as i8 == id)
    }
}

/// The state of the cluster at one offset of the metadata log. Two are equal when they say the same about the same
/// offset; which topics there were before is no part of it, and no snapshot has it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    brokers: BTreeMap<i32, Broker>,
    controllers: BTreeMap<i32, ControllerNode>,
    topics: BTreeMap<String, Topic>,
    names: BTreeMap<Uuid, String>,
    removed: BTreeSet<Uuid>,
    collisions: BTreeMap<String, BTreeSet<String>>,
    configs: BTreeMap<(ResourceType, String), Properties>,
    features: BTreeMap<String, i16>,
    next_producer_id: i64,
    applied: i64,
}

impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        self.content() == other.content()
    }
}

impl Image {
    /// All by which two images are compared.
    pub fn content(&self) -> impl PartialEq + std::fmt::Debug + '_ {
        let who = (&self.brokers, &self.controllers);
        let what = (&self.topics, &self.names, &self.collisions, &self.configs, &self.features);
        (self.applied, who, what, self.next_producer_id)
    }

    /// Brokers by number.
    pub fn brokers(&self) -> &BTreeMap<i32, Broker> {
        &self.brokers
    }

    /// Controllers by number.
    pub fn controllers(&self) -> &BTreeMap<i32, ControllerNode> {
        &self.controllers
    }

    /// Topics by name.
    pub fn topics(&self) -> &BTreeMap<String, Topic> {
        &self.topics
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// The name of the topic with this id.
    pub fn topic_name(&self, id: &Uuid) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: &Uuid) -> Option<&Topic> {
        self.topics.get(self.names.get(id)?)
    }

    /// Whether a topic of this id existed and was removed.
    pub fn was_removed(&self, id: &Uuid) -> bool {
        self.removed.contains(id)
    }

    /// A topic whose name differs from `name` in `.` and `_` alone.
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        let same = self.collisions.get(&super::names::collision_key(name))?;
        same.iter().map(String::as_str).find(|other| *other != name)
    }

    /// What was set on a resource.
    pub fn config(&self, kind: ResourceType, name: &str) -> &Properties {
        static NONE: Properties = Properties::new();
        self.configs.get(&(kind, name.to_owned())).unwrap_or(&NONE)
    }

    /// Everything that was set, by resource.
    pub fn configs(&self) -> &BTreeMap<(ResourceType, String), Properties> {
        &self.configs
    }

    /// Finalized features.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The first producer id that no broker was given yet.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The offset after the last applied record.
    pub fn applied_offset(&self) -> i64 {
        self.applied
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    /// Replays the record at `offset`. Records arrive in order, each once; a record that contradicts the image
    /// is a broken log and gives an error that says so.
    pub fn apply(&mut self, offset: i64, record: &MetadataRecord) -> Result<(), String> {
        if offset < self.applied {
            return Err(format!(
                "metadata record at offset {offset} was applied before (up to {})",
                self.applied
            ));
        }
        self.replay(record)?;
        self.applied = offset + 1;
        Ok(())
    }

    pub(super) fn replay(&mut self, record: &MetadataRecord) -> Result<(), String> {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                self.brokers.insert(record.broker_id, Broker::new(record));
            }
            MetadataRecord::UnregisterBroker(record) => self.unregister(record)?,
            MetadataRecord::FenceBroker(record) => {
                self.change_broker(&fencing(record.id, record.epoch, 1))?
            }
            MetadataRecord::UnfenceBroker(record) => {
                self.change_broker(&fencing(record.id, record.epoch, -1))?;
            }
            MetadataRecord::BrokerRegistrationChange(record) => self.change_broker(record)?,
            MetadataRecord::RegisterController(record) => {
                self.controllers.insert(record.controller_id, ControllerNode::new(record));
            }
            MetadataRecord::Topic(record) => self.add_topic(&record.name, record.topic_id)?,
            MetadataRecord::Partition(record) => self.add_partition(record)?,
            MetadataRecord::PartitionChange(record) => self.change_partition(record)?,
            MetadataRecord::ClearElr(record) => self.clear_elr(&record.topic_name)?,
            MetadataRecord::RemoveTopic(record) => self.remove_topic(record.topic_id)?,
            MetadataRecord::Config(record) => self.configure(record),
            MetadataRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetadataRecord::FeatureLevel(record) => match record.feature_level {
                0 => drop(self.features.remove(record.name.as_str())),
                level => drop(self.features.insert(record.name.clone(), level)),
            },
            // Records of later slices and no-ops change nothing that this broker looks at.
            _ => {}
        }
        Ok(())
    }

    /// What a planted bug leaves out of snapshots.
    pub fn forget_producer_ids(&mut self) {
        self.next_producer_id = 0;
    }

    pub(super) fn set_applied_offset(&mut self, offset: i64) {
        self.applied = offset;
    }

    fn broker_mut(&mut self, id: i32, epoch: i64) -> Result<&mut Broker, String> {
        let broker = self.brokers.get_mut(&id).filter(|broker| broker.epoch == epoch);
        broker.ok_or_else(|| format!("no registration of broker {id} has the epoch {epoch}"))
    }

    fn unregister(&mut self, record: &UnregisterBrokerRecord) -> Result<(), String> {
        self.broker_mut(record.broker_id, record.broker_epoch)?;
        self.brokers.remove(&record.broker_id);
        Ok(())
    }

    fn change_broker(&mut self, change: &BrokerRegistrationChangeRecord) -> Result<(), String> {
        self.broker_mut(change.broker_id, change.broker_epoch)?.merge(change);
        Ok(())
    }

    fn add_topic(&mut self, name: &str, id: Uuid) -> Result<(), String> {
        let topic = Topic { id, partitions: BTreeMap::new() };
        if let Some(other) = self.topics.insert(name.to_owned(), topic) {
            return Err(format!("topic {name} was created twice (ids {} and {id})", other.id));
        }
        self.names.insert(id, name.to_owned());
        self.collisions.entry(super::names::collision_key(name)).or_default().insert(name.to_owned());
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Topic, String> {
        let name = self.names.get(&id).ok_or_else(|| format!("no topic has the id {id}"))?;
        Ok(self.topics.get_mut(name).expect("ids and names agree"))
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let partition = Partition::new(record);
        self.topic_mut(record.topic_id)?.partitions.insert(record.partition_id, partition);
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), String> {
        let (id, number) = (record.topic_id, record.partition_id);
        let partition = self.topic_mut(id)?.partitions.get_mut(&number);
        partition.ok_or_else(|| format!("topic {id} has no partition {number}"))?.merge(record);
        Ok(())
    }

    /// Forgets the eligible leader replicas of a topic, or with the empty name of all.
    fn clear_elr(&mut self, name: &str) -> Result<(), String> {
        if !name.is_empty() && !self.topics.contains_key(name) {
            return Err(format!("no topic has the name {name}"));
        }
        let topics = self.topics.iter_mut().filter(|(other, _)| name.is_empty() || *other == name);
        for partition in topics.flat_map(|(_, topic)| topic.partitions.values_mut()) {
            if !partition.elr.is_empty() || !partition.last_known_elr.is_empty() {
                partition.merge(&PartitionChangeRecord {
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    ..PartitionChangeRecord::default()
                });
            }
        }
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), String> {
        let name = self.names.remove(&id).ok_or_else(|| format!("no topic has the id {id}"))?;
        self.topics.remove(&name);
        self.configs.remove(&(ResourceType::Topic, name.clone()));
        self.removed.insert(id);
        let key = super::names::collision_key(&name);
        if let Some(same) = self.collisions.get_mut(&key) {
            same.remove(&name);
            if same.is_empty() {
                self.collisions.remove(&key);
            }
        }
        Ok(())
    }

    fn configure(&mut self, record: &ConfigRecord) {
        let Some(kind) = ResourceType::from_id(record.resource_type) else { return };
        let key = (kind, record.resource_name.clone());
        let properties = self.configs.entry(key.clone()).or_default();
        match &record.value {
            Some(value) => drop(properties.insert(record.name.clone(), value.clone())),
            None => drop(properties.remove(record.name.as_str())),
        }
        if properties.is_empty() {
            self.configs.remove(&key);
        }
    }
}

/// The newer form of FenceBrokerRecord and UnfenceBrokerRecord.
fn fencing(broker_id: i32, broker_epoch: i64, fenced: i8) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id,
        broker_epoch,
        fenced,
        ..BrokerRegistrationChangeRecord::default()
    }
}
