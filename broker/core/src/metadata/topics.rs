//! Topics: requests to records (`ReplicationControlManager`).

use super::configs::alter_configs;
use super::{ApiError, ConfigOp, Image, METADATA_TOPIC, ResourceType, check_topic_name};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use uuid::Uuid;

/// A topic that a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the default or when there are assignments.
    pub partitions: i32,
    /// How many replicas; -1 for the default or when there are assignments.
    pub replication_factor: i16,
    /// Replicas by partition number, when the client chooses them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Properties; a null value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: Uuid,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas each.
    pub replication_factor: i16,
}

/// What a request that does not say gets.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
}

/// More partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// Of which topic.
    pub topic: String,
    /// How many there are to be in all.
    pub count: i32,
    /// The replicas of each new one, when the client chooses them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// The most partitions that one request may create: a metadata batch holds them all.
const PARTITIONS_PER_REQUEST_MAX: i32 = 10_000;

/// Makes the records that create one topic. `fresh_id` draws its id; `directory` is the directory of a broker.
pub fn create_topics(
    image: &Image,
    topic: &NewTopic,
    defaults: Defaults,
    fresh_id: impl FnOnce() -> Uuid,
    directory: impl Fn(i32) -> Uuid,
) -> Result<(CreatedTopic, Vec<MetadataRecord>), ApiError> {
    let name = topic.name.as_str();
    check_topic_name(name).map_err(|reason| ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
    if name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {name} is prohibited.");
        return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
    }
    if image.topic(name).is_some() {
        let message = format!("Topic '{name}' already exists.");
        return Err(ApiError::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
    }
    if let Some(other) = image.colliding_topic(name) {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    let placed = place(image, topic, defaults)?;
    let config_records = topic_configs(image, topic)?;
    let id = fresh_id();
    let created = CreatedTopic {
        id,
        partitions: placed.len() as i32,
        replication_factor: placed.first().map_or(0, |replicas| replicas.len() as i16),
    };
    let mut records = vec![MetadataRecord::Topic(TopicRecord { name: name.to_owned(), topic_id: id })];
    records.extend(config_records);
    let numbered = placed.into_iter().enumerate();
    records.extend(numbered.map(|(number, replicas)| partition(id, number as i32, replicas, &directory)));
    Ok((created, records))
}

fn topic_configs(image: &Image, topic: &NewTopic) -> Result<Vec<MetadataRecord>, ApiError> {
    let mut ops = Vec::with_capacity(topic.configs.len());
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            let message = format!("Null value not supported for topic configs: {name}");
            return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
        };
        ops.push(ConfigOp { name: name.clone(), op: super::AlterOp::Set, value: Some(value.clone()) });
    }
    alter_configs(image, ResourceType::Topic, &topic.name, &ops)
}

fn place(image: &Image, topic: &NewTopic, defaults: Defaults) -> Result<Vec<Vec<i32>>, ApiError> {
    if !topic.assignments.is_empty() {
        return assigned(image, topic);
    }
    let factor = match topic.replication_factor {
        -1 => defaults.replication_factor,
        factor if factor < 1 => {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        factor => factor,
    };
    let count = match topic.partitions {
        -1 => defaults.partitions,
        count if count < 1 => {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        count => count,
    };
    check_count(count)?;
    striped(image, 0, count, factor)
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

/// Partition `n` begins at the `n`-th usable broker and goes on around.
fn striped(image: &Image, first: i32, count: i32, factor: i16) -> Result<Vec<Vec<i32>>, ApiError> {
    let usable: Vec<i32> = image.brokers().iter().filter(|(_, b)| !b.fenced).map(|(id, _)| *id).collect();
    let factor = factor as usize;
    if factor > usable.len() {
        let message = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only {} broker(s) are registered.",
            usable.len()
        );
        return Err(ApiError::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    let replicas = |number: i32| (0..factor).map(|i| usable[(number as usize + i) % usable.len()]).collect();
    Ok((first..first + count).map(replicas).collect())
}

fn assigned(image: &Image, topic: &NewTopic) -> Result<Vec<Vec<i32>>, ApiError> {
    if topic.replication_factor != -1 || topic.partitions != -1 {
        let what = if topic.replication_factor != -1 { "replication factor" } else { "numPartitions" };
        let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
    }
    let wrong = |message: String| ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
    check_count(i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX))?;
    let mut sorted = topic.assignments.clone();
    sorted.sort_by_key(|(number, _)| *number);
    for (expected, (number, _)) in sorted.iter().enumerate() {
        match number - expected as i32 {
            0 => {}
            -1 => {
                let message = format!("Found multiple manual partition assignments for partition {number}");
                return Err(wrong(message));
            }
            _ => return Err(wrong("partitions should be a consecutive 0-based integer sequence".to_owned())),
        }
    }
    let placed: Vec<Vec<i32>> = sorted.into_iter().map(|(_, replicas)| replicas).collect();
    check_replicas(image, &placed, placed[0].len())?;
    Ok(placed)
}

fn check_replicas(image: &Image, placed: &[Vec<i32>], factor: usize) -> Result<(), ApiError> {
    let wrong = |message: String| Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    for replicas in placed {
        if replicas.is_empty() {
            return wrong("The manual partition assignment includes an empty replica list.".to_owned());
        }
        if replicas.len() != factor {
            return wrong(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
                 with previous partitions, which have {factor} replica(s).",
                replicas.len()
            ));
        }
        for (index, broker) in replicas.iter().enumerate() {
            if replicas[..index].contains(broker) {
                return wrong(format!(
                    "The manual partition assignment includes the broker {broker} more than once."
                ));
            }
            if image.brokers().get(broker).is_none_or(|known| known.fenced) {
                return wrong(format!(
                    "The manual partition assignment includes broker {broker}, but no such broker is registered."
                ));
            }
        }
    }
    Ok(())
}

fn partition(
    topic_id: Uuid,
    number: i32,
    replicas: Vec<i32>,
    directory: &impl Fn(i32) -> Uuid,
) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition_id: number,
        topic_id,
        directories: replicas.iter().map(|broker| directory(*broker)).collect(),
        isr: replicas.clone(),
        leader: replicas[0],
        leader_epoch: 0,
        partition_epoch: 0,
        replicas,
        ..PartitionRecord::default()
    })
}

/// Makes the records that give a topic more partitions.
pub fn create_partitions(
    image: &Image,
    request: &NewPartitions,
    directory: impl Fn(i32) -> Uuid,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let Some(topic) = image.topic(&request.topic) else {
        let message = "This server does not host this topic-partition.";
        return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    };
    let (name, current) = (&request.topic, topic.partitions.len() as i32);
    if request.count <= current {
        let message = if request.count == current {
            format!("Topic already has {current} partition(s).")
        } else {
            format!(
                "The topic {name} currently has {current} partition(s); {} would not be an increase.",
                request.count
            )
        };
        return Err(ApiError::new(ErrorCode::INVALID_PARTITIONS, message));
    }
    let added = request.count - current;
    check_count(added)?;
    let factor = topic.partitions.values().next().map_or(1, |partition| partition.replicas.len());
    let placed = match &request.assignments {
        None => striped(image, current, added, factor as i16)?,
        Some(assignments) if assignments.len() != added as usize => {
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        Some(assignments) => {
            check_replicas(image, assignments, factor)?;
            assignments.clone()
        }
    };
    let numbered = (current..).zip(placed);
    Ok(numbered.map(|(number, replicas)| partition(topic.id, number, replicas, &directory)).collect())
}

/// Makes the records that delete a topic.
pub fn delete_topic(image: &Image, id: Uuid) -> Result<Vec<MetadataRecord>, ApiError> {
    if image.topic_name(&id).is_none() {
        return Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID."));
    }
    Ok(vec![MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id })])
}
