//! CreateTopics, DeleteTopics, CreatePartitions.

use super::{changing, outcome, text};
use crate::reply::Reply;
use crate::shared::Shared;
use burnin_core::config::{Properties, TOPIC};
use burnin_core::metadata::{
    ApiError, CreatedTopic, Defaults, Image, NewPartitions, NewTopic, create_partitions as new_partitions,
    create_topics, delete_topic,
};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::TopicName;
use burnin_wire::kafka::messages::create_partitions_request::CreatePartitionsRequest;
use burnin_wire::kafka::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use burnin_wire::kafka::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use burnin_wire::kafka::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use burnin_wire::kafka::messages::delete_topics_request::DeleteTopicsRequest;
use burnin_wire::kafka::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use burnin_wire::metadata_records::MetadataRecord;
use burnin_wire::{ErrorCode, StrBytes};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// An image that a request's own records are applied to one after the other, so that its parts see each other.
struct Draft {
    image: Image,
    records: Vec<MetadataRecord>,
}

impl Draft {
    fn of(image: &Image) -> Draft {
        Draft { image: image.clone(), records: Vec::new() }
    }

    fn add(&mut self, records: Vec<MetadataRecord>) {
        for record in &records {
            let offset = self.image.applied_offset();
            self.image.apply(offset, record).unwrap_or_else(|error| panic!("own metadata record: {error}"));
        }
        self.records.extend(records);
    }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
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

/// Handles CreateTopics.
pub(super) fn create<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: CreateTopicsRequest,
) -> Reply<R> {
    let topics: Vec<NewTopic> = request.topics.iter().map(new_topic).collect();
    let (validate_only, shared) = (request.validate_only, shared.clone());
    changing(async move {
        let deciding = shared.clone();
        let wanted = topics.clone();
        let decided = shared
            .controller
            .commit(move |image| {
                let (results, records) = decide_topics(&deciding, image, &wanted);
                (results, if validate_only { Vec::new() } else { records })
            })
            .await;
        let results = decided.unwrap_or_else(|error| topics.iter().map(|_| Err(error.clone())).collect());
        let mut response = CreateTopicsResponse::default();
        let both = topics.iter().zip(results);
        response.topics = both.map(|(topic, result)| created(&shared, version, topic, result)).collect();
        response
    })
}

fn decide_topics<R: Runtime>(
    shared: &Shared<R>,
    image: &Image,
    topics: &[NewTopic],
) -> (Vec<Result<CreatedTopic, ApiError>>, Vec<MetadataRecord>) {
    let defaults = Defaults {
        partitions: shared.config.partitions_default,
        replication_factor: shared.config.replication_factor_default,
    };
    let mut draft = Draft::of(image);
    let mut results = Vec::with_capacity(topics.len());
    for topic in topics {
        let twice = topics.iter().filter(|other| other.name == topic.name).count() > 1;
        let result = if twice {
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
        } else {
            let directory = |_| shared.identity.directory_id;
            create_topics(&draft.image, topic, defaults, || shared.fresh_id(), directory)
        };
        results.push(result.map(|(created, records)| {
            draft.add(records);
            created
        }));
    }
    (results, draft.records)
}

fn created<R: Runtime>(
    shared: &Shared<R>,
    version: i16,
    topic: &NewTopic,
    result: Result<CreatedTopic, ApiError>,
) -> CreatableTopicResult {
    let mut answer = CreatableTopicResult::default().with_name(TopicName(text(topic.name.as_str())));
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
fn effective_configs<R: Runtime>(shared: &Shared<R>, topic: &NewTopic) -> Vec<CreatableTopicConfigs> {
    let set = |(name, value): &(String, Option<String>)| value.clone().map(|value| (name.clone(), value));
    let overrides: Properties = topic.configs.iter().filter_map(set).collect();
    let image = shared.image.read();
    let layers = shared.layers(&image);
    let config = |definition: &burnin_core::config::TopicDefinition| {
        let (value, candidates) = definition.resolve(&layers, &overrides);
        let source =
            candidates.first().map_or(burnin_core::config::Source::Default, |candidate| candidate.source);
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(definition.definition.name))
            .with_value(Some(text(value)))
            .with_config_source(source as i8)
    };
    TOPIC.iter().map(config).collect()
}

/// A topic as a deletion names it.
#[derive(Clone)]
enum Doomed {
    Name(StrBytes),
    Id(Uuid),
}

/// Handles DeleteTopics, by name and by id (KIP-516).
pub(super) fn delete<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: DeleteTopicsRequest,
) -> Reply<R> {
    let mut doomed: Vec<Doomed> = request.topic_names.into_iter().map(|name| Doomed::Name(name.0)).collect();
    for topic in request.topics {
        match topic.name {
            Some(_) if !topic.topic_id.is_nil() => {
                return Reply::Close("DeleteTopics with both name and id of a topic".to_owned());
            }
            Some(name) => doomed.push(Doomed::Name(name.0)),
            None => doomed.push(Doomed::Id(topic.topic_id)),
        }
    }
    let shared = shared.clone();
    changing(async move {
        let (enabled, named) = (shared.config.delete_topics, doomed.clone());
        let decided = shared.controller.commit(move |image| {
            let mut draft = Draft::of(image);
            let mut seen = BTreeSet::new();
            let results: Vec<_> = doomed
                .into_iter()
                .map(|doomed| delete_one(&mut draft, &mut seen, doomed, enabled, version))
                .collect();
            (results, draft.records)
        });
        let failed =
            |error: ApiError| named.iter().map(|doomed| not_deleted(doomed, &error, version)).collect();
        let responses = decided.await.unwrap_or_else(failed);
        DeleteTopicsResponse::default().with_responses(responses)
    })
}

fn not_deleted(doomed: &Doomed, error: &ApiError, version: i16) -> DeletableTopicResult {
    let mut answer = DeletableTopicResult::default().with_name(None).with_error_code(error.code.code());
    match doomed {
        Doomed::Name(name) => answer.name = Some(TopicName(name.clone())),
        Doomed::Id(id) => answer.topic_id = *id,
    }
    if version >= 5 {
        answer.error_message = Some(text(error.message.clone()));
    }
    answer
}

fn delete_one(
    draft: &mut Draft,
    seen: &mut BTreeSet<Uuid>,
    doomed: Doomed,
    enabled: bool,
    version: i16,
) -> DeletableTopicResult {
    let mut answer = DeletableTopicResult::default();
    let (name, id, unknown) = match doomed {
        Doomed::Name(name) => {
            let id = draft.image.topic(&name).map(|topic| topic.id);
            (Some(name), id, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
        Doomed::Id(id) => {
            let name = draft.image.topic_name(&id).map(text);
            (name, Some(id), ErrorCode::UNKNOWN_TOPIC_ID)
        }
    };
    answer.name = name.map(TopicName);
    if version >= 6 {
        answer.topic_id = id.unwrap_or_default();
    }
    let result = match id {
        _ if !enabled => {
            let code =
                if version < 3 { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED };
            Err(ApiError::new(code, "Topic deletion is disabled."))
        }
        Some(id) if !seen.insert(id) => {
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name or id."))
        }
        Some(id) => delete_topic(&draft.image, id).map(|records| draft.add(records)),
        None => Err(ApiError::new(unknown, "This server does not host this topic-partition.")),
    };
    let (code, message) = outcome(&result);
    answer.error_code = code;
    if version >= 5 {
        answer.error_message = message;
    }
    answer
}

/// Handles CreatePartitions.
pub(super) fn create_partitions<R: Runtime>(
    shared: &Arc<Shared<R>>,
    request: CreatePartitionsRequest,
) -> Reply<R> {
    let validate_only = request.validate_only;
    let wanted: Vec<NewPartitions> = request
        .topics
        .into_iter()
        .map(|topic| NewPartitions {
            topic: topic.name.0.to_string(),
            count: topic.count,
            assignments: topic.assignments.map(|assignments| {
                let ids = |a: burnin_wire::kafka::messages::create_partitions_request::CreatePartitionsAssignment| {
                    a.broker_ids.into_iter().map(|broker| broker.0).collect()
                };
                assignments.into_iter().map(ids).collect()
            }),
        })
        .collect();
    let shared = shared.clone();
    changing(async move {
        let directory_id = shared.identity.directory_id;
        let names: Vec<String> = wanted.iter().map(|topic| topic.topic.clone()).collect();
        let decided = shared.controller.commit(move |image| {
            let mut draft = Draft::of(image);
            let mut results = Vec::with_capacity(wanted.len());
            for topic in &wanted {
                let twice = wanted.iter().filter(|other| other.topic == topic.topic).count() > 1;
                let result = if twice {
                    Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic in request."))
                } else {
                    new_partitions(&draft.image, topic, |_| directory_id)
                };
                results.push(result.map(|records| draft.add(records)));
            }
            (results, if validate_only { Vec::new() } else { draft.records })
        });
        let results =
            decided.await.unwrap_or_else(|error| names.iter().map(|_| Err(error.clone())).collect());
        let answers = names.into_iter().zip(results).map(|(name, result)| {
            let (code, message) = outcome(&result);
            CreatePartitionsTopicResult::default()
                .with_name(TopicName(text(name)))
                .with_error_code(code)
                .with_error_message(message)
        });
        CreatePartitionsResponse::default().with_results(answers.collect())
    })
}
