//! Topics: created, extended, deleted (`ReplicationControlManager`).

use super::placement::{Usable, place};
use super::{Cluster, Decision};
use crate::fresh_id;
use crate::metadata::{
    AlterOp, ApiError, ConfigOp, CreatedTopic, METADATA_TOPIC, NewPartitions, NewTopic, ResourceType,
    alter_configs, check_topic_name,
};
use burnin_runtime::Entropy;
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use uuid::Uuid;

/// The most partitions that one request may create: a metadata batch holds them all.
const PARTITIONS_PER_REQUEST_MAX: i32 = 10_000;

impl Cluster<'_> {
    /// CreateTopics, for one topic. Errors: INVALID_TOPIC_EXCEPTION, TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS,
    /// INVALID_REPLICATION_FACTOR, INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG, INVALID_REQUEST.
    pub fn create_topic(
        &self,
        topic: &NewTopic,
        entropy: &mut Entropy,
    ) -> Result<Decision<CreatedTopic>, ApiError> {
        self.check_new_name(&topic.name)?;
        let placed = self.place_topic(topic, entropy)?;
        let configs = self.topic_configs(topic)?;
        let id = self.fresh_topic_id(entropy);
        let created = CreatedTopic {
            id,
            partitions: placed.len() as i32,
            replication_factor: placed.first().map_or(0, |replicas| replicas.len() as i16),
        };
        let mut records = vec![MetadataRecord::from(TopicRecord { name: topic.name.clone(), topic_id: id })];
        records.extend(configs);
        for (number, replicas) in (0..).zip(placed) {
            records.push(self.new_partition(id, number, replicas, topic.assignments.is_empty())?);
        }
        Ok(Decision::new(created, records))
    }

    /// CreatePartitions, for one topic.
    pub fn create_partitions(
        &self,
        request: &NewPartitions,
        entropy: &mut Entropy,
    ) -> Result<Decision<()>, ApiError> {
        let Some(topic) = self.image.topic(&request.topic) else {
            let message = "This server does not host this topic-partition.";
            return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        };
        let (name, current) = (&request.topic, topic.partitions.len() as i32);
        let added = request.count.saturating_sub(current);
        if added <= 0 {
            let message = match added {
                0 => format!("Topic already has {current} partition(s)."),
                _ => format!(
                    "The topic {name} currently has {current} partition(s); {} would not be an increase.",
                    request.count
                ),
            };
            return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        check_count(added)?;
        // A reassignment may have more replicas for the moment: those that it adds are not of the factor.
        let first = topic.partitions.values().next();
        let factor = first.map_or(1, |partition| partition.replicas.len() - partition.adding.len());
        let placed = match &request.assignments {
            None => self.striped(added, factor, entropy)?,
            Some(assignments) if assignments.len() != added as usize => {
                let message = format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                );
                return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
            }
            Some(assignments) => {
                for replicas in assignments {
                    self.check_assignment(replicas, Some(factor))?;
                }
                assignments.clone()
            }
        };
        let is_placed = request.assignments.is_none();
        let numbered = (current..).zip(placed);
        let records: Result<Vec<_>, _> = numbered
            .map(|(number, replicas)| self.new_partition(topic.id, number, replicas, is_placed))
            .collect();
        Ok(Decision::new((), records?))
    }

    /// DeleteTopics, for one topic. Errors: UNKNOWN_TOPIC_ID.
    pub fn delete_topic(&self, id: Uuid) -> Result<Decision<()>, ApiError> {
        if self.image.topic_name(&id).is_none() {
            return Err(ApiError::new(
                ErrorCode::UNKNOWN_TOPIC_ID,
                "This server does not host this topic ID.",
            ));
        }
        Ok(Decision::new((), vec![RemoveTopicRecord { topic_id: id }.into()]))
    }

    fn check_new_name(&self, name: &str) -> Result<(), ApiError> {
        check_topic_name(name).map_err(|why| ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        if name == METADATA_TOPIC {
            let message = format!("Creation of internal topic {name} is prohibited.");
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        if self.image.topic(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err(ApiError::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
        }
        if let Some(other) = self.image.colliding_topic(name) {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        }
        Ok(())
    }

    /// An id that no topic has or had.
    fn fresh_topic_id(&self, entropy: &mut Entropy) -> Uuid {
        loop {
            let id = fresh_id(|| {
                let mut bytes = [0; 16];
                entropy.fill(&mut bytes);
                bytes
            });
            if self.image.topic_name(&id).is_none() && !self.image.was_removed(&id) {
                return id;
            }
        }
    }

    fn topic_configs(&self, topic: &NewTopic) -> Result<Vec<MetadataRecord>, ApiError> {
        let mut ops = Vec::with_capacity(topic.configs.len());
        for (name, value) in &topic.configs {
            let Some(value) = value else {
                let message = format!("Null value not supported for topic configs: {name}");
                return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
            };
            ops.push(ConfigOp { name: name.clone(), op: AlterOp::Set, value: Some(value.clone()) });
        }
        alter_configs(self.image, ResourceType::Topic, &topic.name, &ops)
    }

    fn place_topic(&self, topic: &NewTopic, entropy: &mut Entropy) -> Result<Vec<Vec<i32>>, ApiError> {
        if !topic.assignments.is_empty() {
            return self.assigned(topic);
        }
        let factor = match topic.replication_factor {
            -1 => self.config.defaults.replication_factor,
            factor if factor < 1 => {
                let message = format!(
                    "Replication factor must be larger than 0, or -1 to use the default value, not {factor}."
                );
                return Err(ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
            }
            factor => factor,
        };
        let count = match topic.partitions {
            -1 => self.config.defaults.partitions,
            count if count < 1 => {
                let message = "Number of partitions was set to an invalid non-positive value.";
                return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
            }
            count => count,
        };
        check_count(count)?;
        self.striped(count, factor as usize, entropy)
    }

    fn striped(&self, count: i32, factor: usize, entropy: &mut Entropy) -> Result<Vec<Vec<i32>>, ApiError> {
        let usable = self.image.brokers().iter().filter(|(_, broker)| !broker.in_controlled_shutdown);
        let usable: Vec<Usable> = usable
            .map(|(id, broker)| Usable { id: *id, rack: broker.rack.clone(), fenced: broker.fenced })
            .collect();
        place(&usable, count, factor, entropy).map_err(|why| unplaceable(factor, &why))
    }

    fn assigned(&self, topic: &NewTopic) -> Result<Vec<Vec<i32>>, ApiError> {
        if topic.replication_factor != -1 || topic.partitions != -1 {
            let what = if topic.replication_factor != -1 { "replication factor" } else { "numPartitions" };
            let message =
                format!("A manual partition assignment was specified, but {what} was not set to -1.");
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        let wrong = |message: String| Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        check_count(i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX))?;
        let mut sorted: Vec<&(i32, Vec<i32>)> = topic.assignments.iter().collect();
        sorted.sort_by_key(|(number, _)| *number);
        let factor = sorted[0].1.len();
        for (expected, (number, replicas)) in (0..).zip(&sorted) {
            if *number == expected - 1 {
                return wrong(format!("Found multiple manual partition assignments for partition {number}"));
            }
            if *number != expected {
                return wrong("partitions should be a consecutive 0-based integer sequence".to_owned());
            }
            self.check_assignment(replicas, Some(factor))?;
        }
        Ok(sorted.into_iter().map(|(_, replicas)| replicas.clone()).collect())
    }

    /// Whether replicas that a client chose can be: registered brokers, each once, and as many as elsewhere.
    pub(super) fn check_assignment(&self, replicas: &[i32], factor: Option<usize>) -> Result<(), ApiError> {
        let wrong = |message: String| Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        if replicas.is_empty() {
            return wrong("The manual partition assignment includes an empty replica list.".to_owned());
        }
        for (index, broker) in replicas.iter().enumerate() {
            if !self.image.brokers().contains_key(broker) {
                let known: Vec<String> = self.image.brokers().keys().map(ToString::to_string).collect();
                return wrong(format!(
                    "The manual partition assignment includes broker {broker}, but no such broker is registered (known: \
                     {}).",
                    known.join(", ")
                ));
            }
            if replicas[..index].contains(broker) {
                return wrong(format!(
                    "The manual partition assignment includes the broker {broker} more than once."
                ));
            }
        }
        match factor {
            Some(factor) if factor != replicas.len() => wrong(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
                 with previous partitions, which have {factor} replica(s).",
                replicas.len()
            )),
            _ => Ok(()),
        }
    }

    /// The replicas that are alive are in sync, since there is nothing yet; one must be.
    fn new_partition(
        &self,
        topic_id: Uuid,
        partition_id: i32,
        replicas: Vec<i32>,
        is_placed: bool,
    ) -> Result<MetadataRecord, ApiError> {
        let isr: Vec<i32> = replicas.iter().copied().filter(|id| self.is_active(*id)).collect();
        let Some(leader) = isr.first().copied() else {
            if is_placed {
                let why = "All brokers are currently fenced or in controlled shutdown.";
                return Err(unplaceable(replicas.len(), why));
            }
            let message = format!(
                "All brokers specified in the manual partition assignment for partition {partition_id} are fenced or \
                 in controlled shutdown."
            );
            return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        };
        Ok(MetadataRecord::from(PartitionRecord {
            partition_id,
            topic_id,
            directories: replicas.iter().map(|broker| self.default_directory(*broker)).collect(),
            isr,
            leader,
            leader_epoch: 0,
            partition_epoch: 0,
            replicas,
            ..PartitionRecord::default()
        }))
    }
}

fn check_count(count: i32) -> Result<(), ApiError> {
    if count <= PARTITIONS_PER_REQUEST_MAX {
        return Ok(());
    }
    let message = format!(
        "{count} partitions are more than one request may create (at most {PARTITIONS_PER_REQUEST_MAX})."
    );
    Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message))
}

fn unplaceable(factor: usize, why: &str) -> ApiError {
    let message = format!("Unable to replicate the partition {factor} time(s): {why}");
    ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message)
}
