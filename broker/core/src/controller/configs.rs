//! Configurations, where they bear on what is committed and who may lead. The properties themselves are checked
//! by `metadata::alter_configs`.
//!
//! Stricter than Kafka, which forgets every ELR that a new `min.insync.replicas` touches (and with it the only
//! clean way out of an empty ISR):
//!
//! - **lower**: an ELR is forgotten only where the ISR is large enough now;
//! - **higher**: every partition with an ISR gets a new partition epoch. A leader that has not seen the new value
//!   goes on committing with the smaller ISR; the controller would take a replica that leaves for one that holds
//!   everything. With the new epoch no ISR is changed by a leader that has not seen the value.
//!
//! Turning `unclean.leader.election.enable` on elects at once where there is no leader; Kafka waits for its sweep.

use super::partition_change::Election;
use super::{Cluster, Decision};
use crate::config::Properties;
use crate::metadata::{ApiError, ConfigOp, Partition, ResourceType, alter_configs, replace_configs};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{ConfigRecord, MetadataRecord, PartitionChangeRecord};
use uuid::Uuid;

const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";

impl Cluster<'_> {
    /// IncrementalAlterConfigs for one resource. Errors: those of the properties; UNKNOWN_TOPIC_OR_PARTITION and
    /// BROKER_ID_NOT_REGISTERED for resources that do not exist; INVALID_CONFIG for what ELR forbids.
    pub fn alter_configs(
        &self,
        kind: ResourceType,
        resource: &str,
        ops: &[ConfigOp],
    ) -> Result<Decision<()>, ApiError> {
        let records = alter_configs(self.image, kind, resource, ops)?;
        self.with_consequences(kind, resource, records)
    }

    /// AlterConfigs for one resource: it has exactly `properties` afterwards.
    pub fn replace_configs(
        &self,
        kind: ResourceType,
        resource: &str,
        properties: &Properties,
    ) -> Result<Decision<()>, ApiError> {
        let records = replace_configs(self.image, kind, resource, properties)?;
        self.with_consequences(kind, resource, records)
    }

    fn with_consequences(
        &self,
        kind: ResourceType,
        resource: &str,
        mut records: Vec<MetadataRecord>,
    ) -> Result<Decision<()>, ApiError> {
        self.check_exists(kind, resource)?;
        let changes: Vec<ConfigRecord> = records
            .iter()
            .filter_map(|record| match record {
                MetadataRecord::Config(config) if [MIN_ISR, UNCLEAN].contains(&config.name.as_str()) => {
                    Some(config.clone())
                }
                _ => None,
            })
            .collect();
        for change in changes.iter().filter(|change| change.name == MIN_ISR) {
            self.check_elr_allows(change)?;
        }
        if !changes.is_empty() {
            records.extend(self.consequences(kind, resource, &changes));
        }
        Ok(Decision::new((), records))
    }

    fn check_exists(&self, kind: ResourceType, resource: &str) -> Result<(), ApiError> {
        match kind {
            ResourceType::Topic if self.image.topic(resource).is_none() => {
                let message = format!("The topic '{resource}' does not exist.");
                Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message))
            }
            ResourceType::Broker if !resource.is_empty() => {
                let id: Option<i32> = resource.parse().ok();
                let is_known = |id: &i32| {
                    self.image.brokers().contains_key(id)
                        || self.image.controllers().contains_key(id)
                        || self.config.voters.contains(id)
                };
                match id.filter(is_known) {
                    Some(_) => Ok(()),
                    None => {
                        let message = format!("No broker with id {resource} found.");
                        Err(ApiError::new(ErrorCode::BROKER_ID_NOT_REGISTERED, message))
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn check_elr_allows(&self, change: &ConfigRecord) -> Result<(), ApiError> {
        let is_broker = change.resource_type == ResourceType::Broker as i8;
        let of_one = is_broker && !change.resource_name.is_empty();
        let message = match (of_one, &change.value) {
            (true, Some(_)) => "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
            (false, None) if is_broker => {
                "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
            }
            _ => return Ok(()),
        };
        if self.has_elr() { Err(ApiError::new(ErrorCode::INVALID_CONFIG, message)) } else { Ok(()) }
    }

    /// What the changes of one resource mean for partitions.
    fn consequences(
        &self,
        kind: ResourceType,
        resource: &str,
        changes: &[ConfigRecord],
    ) -> Vec<MetadataRecord> {
        let cluster = self.image.config(ResourceType::Broker, "");
        let mut records = Vec::new();
        for (name, topic) in self.image.topics() {
            let own = self.image.config(ResourceType::Topic, name);
            let (new_cluster, new_own) = match kind {
                ResourceType::Broker if resource.is_empty() => (with(cluster, changes), own.clone()),
                ResourceType::Topic if resource == name => (cluster.clone(), with(own, changes)),
                _ => continue,
            };
            let min_isr = (self.min_isr(name), self.min_isr_with(&new_cluster, &new_own));
            let unclean = (self.elects_uncleanly(name), self.elects_uncleanly_with(&new_cluster, &new_own));
            for (number, partition) in &topic.partitions {
                let elected = || {
                    let is_wanted = unclean == (false, true) && partition.leader == -1;
                    let mut change = is_wanted.then(|| self.change_with(min_isr.1, partition))?;
                    change.election = Election::Unclean;
                    change.build(topic.id, *number)
                };
                let record = elected().or_else(|| follow_min_isr(topic.id, *number, partition, min_isr));
                records.extend(record.map(MetadataRecord::from));
            }
        }
        records
    }
}

/// See the module. `min_isr`: before and after.
fn follow_min_isr(
    topic_id: Uuid,
    partition_id: i32,
    partition: &Partition,
    min_isr: (usize, usize),
) -> Option<PartitionChangeRecord> {
    let (isr, count) = (partition.isr.len(), partition.replicas.len());
    let (before, after) = (min_isr.0.min(count), min_isr.1.min(count));
    let mut record = same_isr(topic_id, partition_id, partition);
    if isr > 0 && after > before {
        return Some(record);
    }
    record.eligible_leader_replicas = Some(Vec::new());
    (isr >= after && !partition.elr.is_empty()).then_some(record)
}

/// A change that changes nothing but the partition epoch.
pub(super) fn same_isr(topic_id: Uuid, partition_id: i32, partition: &Partition) -> PartitionChangeRecord {
    let isr = Some(partition.isr.clone());
    PartitionChangeRecord { topic_id, partition_id, isr, ..PartitionChangeRecord::default() }
}

fn with(properties: &Properties, changes: &[ConfigRecord]) -> Properties {
    let mut properties = properties.clone();
    for change in changes {
        match &change.value {
            Some(value) => properties.insert(change.name.clone(), value.clone()),
            None => properties.remove(&change.name),
        };
    }
    properties
}
