//! What clients ask of the controller. Each topic and each resource of a request is decided for on its own.

use super::task::Active;
use crate::handlers::{outcome, text};
use crate::shared::Shared;
use burnin_core::config::{Properties, TOPIC};
use burnin_core::controller::ElectionKind;
use burnin_core::metadata::{
    AlterOp, ApiError, ConfigOp, CreatedTopic, NewPartitions, NewTopic, ResourceType,
};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::collections::{BTreeMap, BTreeSet};

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}

/// What occurs more than once.
fn doubled<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(item.clone())).collect()
}

fn new_topic(topic: &kafka::create_topics_request::CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.iter().map(|assignment| {
        (assignment.partition_index, assignment.broker_ids.iter().map(|broker| broker.0).collect())
    });
    let configs = topic
        .configs
        .iter()
        .map(|config| (config.name.to_string(), config.value.as_ref().map(|v| v.to_string())));
    NewTopic {
        name: topic.name.0.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

/// CreateTopics.
pub(super) fn create_topics<R: Runtime>(
    active: &mut Active<R>,
    version: i16,
    request: &kafka::CreateTopicsRequest,
) -> Response {
    let doubled = doubled(request.topics.iter().map(|topic| topic.name.0.clone()));
    let mut response = kafka::CreateTopicsResponse::default();
    for topic in &request.topics {
        let wanted = new_topic(topic);
        let result = if doubled.contains(&topic.name.0) {
            Err(invalid("Duplicate topic name."))
        } else {
            create_topic(active, &wanted, request.validate_only)
        };
        response.topics.push(created(&active.shared, version, &wanted, result));
    }
    response.into()
}

fn create_topic<R: Runtime>(
    active: &mut Active<R>,
    topic: &NewTopic,
    validate_only: bool,
) -> Result<CreatedTopic, ApiError> {
    let decision = active.controller.cluster()?.create_topic(topic, &mut active.entropy)?;
    if !validate_only {
        active.commit(decision.records);
    }
    Ok(decision.answer)
}

fn created<R: Runtime>(
    shared: &Shared<R>,
    version: i16,
    topic: &NewTopic,
    result: Result<CreatedTopic, ApiError>,
) -> kafka::create_topics_response::CreatableTopicResult {
    let mut answer = kafka::create_topics_response::CreatableTopicResult::default()
        .with_name(TopicName(text(topic.name.as_str())));
    let created = match result {
        Ok(created) => created,
        Err(error) => {
            answer.error_code = error.code.code();
            answer.error_message = Some(text(error.message));
            return answer;
        }
    };
    if version >= 5 {
        answer.num_partitions = created.partitions;
        answer.replication_factor = created.replication_factor;
        answer.configs = Some(effective_configs(shared, topic));
    }
    if version >= 7 {
        answer.topic_id = created.id;
    }
    answer
}

/// The configuration that a new topic has (KIP-525).
fn effective_configs<R: Runtime>(
    shared: &Shared<R>,
    topic: &NewTopic,
) -> Vec<kafka::create_topics_response::CreatableTopicConfigs> {
    let set = |(name, value): &(String, Option<String>)| value.clone().map(|value| (name.clone(), value));
    let overrides: Properties = topic.configs.iter().filter_map(set).collect();
    let image = shared.image.read();
    let layers = shared.layers(&image);
    let config = |definition: &burnin_core::config::TopicDefinition| {
        let (value, candidates) = definition.resolve(&layers, &overrides);
        let source =
            candidates.first().map_or(burnin_core::config::Source::Default, |candidate| candidate.source);
        kafka::create_topics_response::CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(definition.definition.name))
            .with_value(Some(text(value)))
            .with_config_source(source as i8)
    };
    TOPIC.iter().map(config).collect()
}

/// DeleteTopics, by name and by id (KIP-516).
pub(super) fn delete_topics<R: Runtime>(
    active: &mut Active<R>,
    version: i16,
    request: &kafka::DeleteTopicsRequest,
) -> Response {
    let names = request.topic_names.iter().map(|name| (Some(name.0.clone()), uuid::Uuid::nil()));
    let topics = request.topics.iter();
    let topics = topics.map(|topic| (topic.name.as_ref().map(|name| name.0.clone()), topic.topic_id));
    let mut seen = BTreeSet::new();
    let answers =
        names.chain(topics).map(|(name, id)| delete_topic(active, &mut seen, version, name, id)).collect();
    kafka::DeleteTopicsResponse::default().with_responses(answers).into()
}

fn delete_topic<R: Runtime>(
    active: &mut Active<R>,
    seen: &mut BTreeSet<uuid::Uuid>,
    version: i16,
    name: Option<StrBytes>,
    id: uuid::Uuid,
) -> kafka::delete_topics_response::DeletableTopicResult {
    let image = active.controller.image();
    let (name, id, unknown) = match name {
        Some(name) => {
            let id = image.topic(&name).map(|topic| topic.id);
            (Some(name), id, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
        None => (image.topic_name(&id).map(text), Some(id), ErrorCode::UNKNOWN_TOPIC_ID),
    };
    let result = match id {
        _ if !active.shared.config.delete_topics => {
            let code =
                if version < 3 { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED };
            Err(ApiError::new(code, "Topic deletion is disabled."))
        }
        Some(id) if !seen.insert(id) => Err(invalid("Duplicate topic name or id.")),
        Some(id) => {
            let decision = active.controller.cluster().and_then(|cluster| cluster.delete_topic(id));
            decision.map(|decision| active.commit(decision.records))
        }
        None => Err(ApiError::new(unknown, "This server does not host this topic-partition.")),
    };
    let mut answer =
        kafka::delete_topics_response::DeletableTopicResult::default().with_name(name.map(TopicName));
    if version >= 6 {
        answer.topic_id = id.unwrap_or_default();
    }
    let (code, message) = outcome(&result);
    answer.error_code = code;
    if version >= 5 {
        answer.error_message = message;
    }
    answer
}

/// CreatePartitions.
pub(super) fn create_partitions<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::CreatePartitionsRequest,
) -> Response {
    let doubled = doubled(request.topics.iter().map(|topic| topic.name.0.clone()));
    let mut response = kafka::CreatePartitionsResponse::default();
    for topic in &request.topics {
        let assignments = topic.assignments.as_ref().map(|assignments| {
            let ids = |assignment: &kafka::create_partitions_request::CreatePartitionsAssignment| {
                assignment.broker_ids.iter().map(|broker| broker.0).collect()
            };
            assignments.iter().map(ids).collect()
        });
        let wanted = NewPartitions { topic: topic.name.0.to_string(), count: topic.count, assignments };
        let result = if doubled.contains(&topic.name.0) {
            Err(invalid("Duplicate topic in request."))
        } else {
            let cluster = active.controller.cluster();
            cluster.and_then(|cluster| cluster.create_partitions(&wanted, &mut active.entropy))
        };
        let result = result.map(|decision| {
            if !request.validate_only {
                active.commit(decision.records);
            }
        });
        let (code, message) = outcome(&result);
        response.results.push(
            kafka::create_partitions_response::CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    response.into()
}

fn resource_type(id: i8) -> Result<ResourceType, ApiError> {
    let unknown =
        || invalid(format!("resource type {id} has no configuration here (known: 2 topic, 4 broker)"));
    ResourceType::from_id(id).ok_or_else(unknown)
}

/// AlterConfigs: what is not named goes back to its default.
pub(super) fn replace_configs<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::AlterConfigsRequest,
) -> Response {
    let key = |resource: &kafka::alter_configs_request::AlterConfigsResource| {
        (resource.resource_type, resource.resource_name.clone())
    };
    let doubled = doubled(request.resources.iter().map(key));
    let mut response = kafka::AlterConfigsResponse::default();
    for resource in &request.resources {
        let set = resource.configs.iter().filter_map(|config| {
            config.value.as_ref().map(|value| (config.name.to_string(), value.to_string()))
        });
        let wanted: Properties = set.collect();
        let result = if doubled.contains(&key(resource)) {
            Err(invalid("Each resource must appear at most once."))
        } else {
            resource_type(resource.resource_type).and_then(|kind| {
                active.controller.cluster()?.replace_configs(kind, &resource.resource_name, &wanted)
            })
        };
        let result = result.map(|decision| {
            if !request.validate_only {
                active.commit(decision.records);
            }
        });
        let (code, message) = outcome(&result);
        response.responses.push(
            kafka::alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    response.into()
}

/// IncrementalAlterConfigs (KIP-339).
pub(super) fn alter_configs<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::IncrementalAlterConfigsRequest,
) -> Response {
    let key = |resource: &kafka::incremental_alter_configs_request::AlterConfigsResource| {
        (resource.resource_type, resource.resource_name.clone())
    };
    let doubled = doubled(request.resources.iter().map(key));
    let mut response = kafka::IncrementalAlterConfigsResponse::default();
    for resource in &request.resources {
        let ops: Result<Vec<ConfigOp>, ApiError> = resource.configs.iter().map(config_op).collect();
        let result = if doubled.contains(&key(resource)) {
            Err(invalid("Each resource must appear at most once."))
        } else {
            resource_type(resource.resource_type).and_then(|kind| {
                active.controller.cluster()?.alter_configs(kind, &resource.resource_name, &ops?)
            })
        };
        let result = result.map(|decision| {
            if !request.validate_only {
                active.commit(decision.records);
            }
        });
        let (code, message) = outcome(&result);
        response.responses.push(
            kafka::incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    response.into()
}

fn config_op(
    config: &kafka::incremental_alter_configs_request::AlterableConfig,
) -> Result<ConfigOp, ApiError> {
    let op = AlterOp::from_id(config.config_operation).ok_or_else(|| {
        invalid(format!("unknown config operation {} (known: 0 to 3)", config.config_operation))
    })?;
    Ok(ConfigOp {
        name: config.name.to_string(),
        op,
        value: config.value.as_ref().map(|value| value.to_string()),
    })
}

/// ElectLeaders.
pub(super) fn elect_leaders<R: Runtime>(
    active: &mut Active<R>,
    version: i16,
    request: &kafka::ElectLeadersRequest,
) -> Result<Response, ApiError> {
    use kafka::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
    let id = if version >= 1 { request.election_type } else { 0 };
    let kind = ElectionKind::from_id(id)
        .ok_or_else(|| invalid(format!("unknown election type {id} (known: 0 preferred, 1 unclean)")))?;
    let asked = request.topic_partitions.as_ref().map(|topics| {
        topics.iter().map(|topic| (topic.topic.0.to_string(), topic.partitions.clone())).collect::<Vec<_>>()
    });
    let decision = active.controller.cluster()?.elect_leaders(kind, asked.as_deref());
    active.commit(decision.records);
    let mut topics: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for result in decision.answer {
        let (code, message) = outcome(&result.result);
        topics.entry(result.topic).or_default().push(
            PartitionResult::default()
                .with_partition_id(result.partition)
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    let results = topics.into_iter().map(|(topic, partitions)| {
        ReplicaElectionResult::default().with_topic(TopicName(text(topic))).with_partition_result(partitions)
    });
    Ok(kafka::ElectLeadersResponse::default().with_replica_election_results(results.collect()).into())
}

/// AlterPartitionReassignments.
pub(super) fn alter_reassignments<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::AlterPartitionReassignmentsRequest,
) -> Result<Response, ApiError> {
    use kafka::alter_partition_reassignments_response::{
        ReassignablePartitionResponse, ReassignableTopicResponse,
    };
    let mut targets = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let replicas = partition.replicas.as_ref();
            let replicas = replicas.map(|replicas| replicas.iter().map(|id| id.0).collect::<Vec<i32>>());
            targets.push((topic.name.0.to_string(), partition.partition_index, replicas));
        }
    }
    let decision = active.controller.cluster()?.alter_reassignments(&targets);
    active.commit(decision.records);
    let mut results = decision.answer.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let (code, message) = outcome(&results.next().expect("one result for each target"));
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_error_message(message)
        });
        ReassignableTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    Ok(kafka::AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_responses(topics.collect())
        .into())
}

/// ListPartitionReassignments.
pub(super) fn list_reassignments<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::ListPartitionReassignmentsRequest,
) -> Result<Response, ApiError> {
    use kafka::list_partition_reassignments_response::{
        OngoingPartitionReassignment, OngoingTopicReassignment,
    };
    let asked = request.topics.as_ref().map(|topics| {
        let topics = topics.iter();
        topics.map(|topic| (topic.name.0.to_string(), topic.partition_indexes.clone())).collect::<Vec<_>>()
    });
    let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect::<Vec<_>>();
    let mut topics: BTreeMap<String, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for found in active.controller.cluster()?.reassignments(asked.as_deref()) {
        topics.entry(found.topic).or_default().push(
            OngoingPartitionReassignment::default()
                .with_partition_index(found.partition)
                .with_replicas(ids(found.replicas))
                .with_adding_replicas(ids(found.adding))
                .with_removing_replicas(ids(found.removing)),
        );
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OngoingTopicReassignment::default().with_name(TopicName(text(topic))).with_partitions(partitions)
    });
    Ok(kafka::ListPartitionReassignmentsResponse::default().with_topics(topics.collect()).into())
}
