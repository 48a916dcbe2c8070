//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs (`ConfigHelper`, `ConfigAdminManager`).

use super::{changing, outcome, text};
use crate::reply::Reply;
use crate::shared::Shared;
use burnin_core::config::{Candidate, Definition, Properties, Source, TOPIC, Update, broker_definition};
use burnin_core::metadata::{
    AlterOp, ApiError, ConfigOp, Image, ResourceType, alter_configs, check_topic_name, replace_configs,
};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::alter_configs_request::AlterConfigsRequest;
use burnin_wire::kafka::messages::alter_configs_response::{
    AlterConfigsResourceResponse as ReplacedResource, AlterConfigsResponse,
};
use burnin_wire::kafka::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use burnin_wire::kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use burnin_wire::kafka::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use burnin_wire::kafka::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};
use burnin_wire::metadata_records::MetadataRecord;
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::sync::Arc;

/// What a client wants to see of each property.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
    types: bool,
}

/// Answers DescribeConfigs.
pub(super) fn describe<R: Runtime>(
    shared: &Shared<R>,
    version: i16,
    request: DescribeConfigsRequest,
) -> Response {
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: version >= 3 && request.include_documentation,
        types: version >= 3,
    };
    let image = shared.image.read();
    let describe = |resource: DescribeConfigsResource| {
        let mut answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe_one(shared, &image, &resource, detail) {
            Ok(configs) => answer.configs = configs,
            Err(error) => {
                answer.error_code = error.code.code();
                answer.error_message = Some(text(error.message));
            }
        }
        answer
    };
    DescribeConfigsResponse::default()
        .with_results(request.resources.into_iter().map(describe).collect())
        .into()
}

fn describe_one<R: Runtime>(
    shared: &Shared<R>,
    image: &Image,
    resource: &DescribeConfigsResource,
    detail: Detail,
) -> Result<Vec<DescribeConfigsResourceResult>, ApiError> {
    let name = resource.resource_name.as_str();
    let is_asked = |property: &str| match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| key.as_str() == property),
        _ => true,
    };
    let layers = shared.layers(image);
    match resource_type(resource.resource_type)? {
        ResourceType::Topic => {
            check_topic_name(name)
                .map_err(|reason| ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
            check_topic_exists(image, name)?;
            let overrides = image.config(ResourceType::Topic, name);
            let asked = TOPIC.iter().filter(|topic| is_asked(topic.definition.name));
            let describe = |topic: &burnin_core::config::TopicDefinition| {
                let (value, synonyms) = topic.resolve(&layers, overrides);
                entry(&topic.definition, Some(value), false, synonyms, detail)
            };
            Ok(asked.map(describe).collect())
        }
        ResourceType::Broker if name.is_empty() => {
            let set = image.config(ResourceType::Broker, "").iter().filter(|(name, _)| is_asked(name));
            let describe = |(name, value): (&String, &String)| {
                let definition = broker_definition(name)?;
                let synonym = Candidate {
                    name: definition.name,
                    value: Some(value.clone()),
                    source: Source::DynamicDefaultBroker,
                };
                let read_only = definition.update == Update::ReadOnly;
                Some(entry(definition, Some(value.clone()), read_only, vec![synonym], detail))
            };
            Ok(set.filter_map(describe).collect())
        }
        ResourceType::Broker => {
            check_broker(shared, name)?;
            let all = layers.describe().into_iter().filter(|(definition, ..)| is_asked(definition.name));
            let describe = |(definition, value, synonyms): (&Definition, Option<String>, Vec<Candidate>)| {
                entry(definition, value, definition.update == Update::ReadOnly, synonyms, detail)
            };
            Ok(all.map(describe).collect())
        }
    }
}

fn entry(
    definition: &Definition,
    value: Option<String>,
    read_only: bool,
    synonyms: Vec<Candidate>,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let source = synonyms.first().map_or(Source::Default, |first| first.source);
    let mut entry = DescribeConfigsResourceResult::default()
        .with_name(text(definition.name))
        .with_value(value.map(text))
        .with_read_only(read_only)
        .with_config_source(source as i8);
    if detail.synonyms {
        let synonym = |candidate: Candidate| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(candidate.name))
                .with_value(candidate.value.map(text))
                .with_source(candidate.source as i8)
        };
        entry.synonyms = synonyms.into_iter().map(synonym).collect();
    }
    if detail.types {
        entry.config_type = definition.kind.wire_id();
    }
    if detail.documentation {
        entry.documentation = Some(text(definition.doc));
    }
    entry
}

fn resource_type(id: i8) -> Result<ResourceType, ApiError> {
    ResourceType::from_id(id).ok_or_else(|| {
        let message = format!("resource type {id} has no configuration here (known: 2 topic, 4 broker)");
        ApiError::new(ErrorCode::INVALID_REQUEST, message)
    })
}

fn check_topic_exists(image: &Image, name: &str) -> Result<(), ApiError> {
    if image.topic(name).is_some() {
        return Ok(());
    }
    let message = format!("The topic '{name}' does not exist.");
    Err(ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message))
}

fn check_broker<R: Runtime>(shared: &Shared<R>, name: &str) -> Result<(), ApiError> {
    let expected = shared.identity.node_id;
    if name.parse() == Ok(expected) {
        return Ok(());
    }
    let message = format!("Unexpected broker id, expected {expected} or empty string, but received {name}");
    Err(ApiError::new(ErrorCode::INVALID_REQUEST, message))
}

/// A resource with what is to happen to it.
struct Altered<T> {
    kind: i8,
    name: StrBytes,
    wanted: T,
}

/// What was decided for a resource.
type Decided = (i8, StrBytes, Result<(), ApiError>);

/// Decides for each resource on its own and carries out those that are allowed.
async fn carry_out<R: Runtime, T: Send + 'static>(
    shared: Arc<Shared<R>>,
    resources: Vec<Altered<T>>,
    validate_only: bool,
    decide: impl Fn(&Image, ResourceType, &str, &T) -> Result<Vec<MetadataRecord>, ApiError> + Send + 'static,
) -> Vec<Decided> {
    let named: Vec<(i8, StrBytes)> = resources.iter().map(|r| (r.kind, r.name.clone())).collect();
    let deciding = shared.clone();
    let decided = shared.controller.commit(move |image| {
        let (mut results, mut records) = (Vec::new(), Vec::new());
        for resource in &resources {
            let same =
                resources.iter().filter(|other| other.kind == resource.kind && other.name == resource.name);
            let result = if same.count() > 1 {
                let message = "Each resource must appear at most once.";
                Err(ApiError::new(ErrorCode::INVALID_REQUEST, message))
            } else {
                decide_one(&deciding, image, resource, &decide)
            };
            results.push(result.map(|more| records.extend(more)));
        }
        (results, if validate_only { Vec::new() } else { records })
    });
    let results = decided.await.unwrap_or_else(|error| named.iter().map(|_| Err(error.clone())).collect());
    named.into_iter().zip(results).map(|((kind, name), result)| (kind, name, result)).collect()
}

fn decide_one<R: Runtime, T>(
    shared: &Shared<R>,
    image: &Image,
    resource: &Altered<T>,
    decide: impl Fn(&Image, ResourceType, &str, &T) -> Result<Vec<MetadataRecord>, ApiError>,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let kind = resource_type(resource.kind)?;
    match kind {
        ResourceType::Topic => check_topic_exists(image, &resource.name)?,
        ResourceType::Broker if resource.name.is_empty() => {}
        ResourceType::Broker => check_broker(shared, &resource.name)?,
    }
    decide(image, kind, &resource.name, &resource.wanted)
}

/// Handles IncrementalAlterConfigs (KIP-339).
pub(super) fn alter<R: Runtime>(
    shared: &Arc<Shared<R>>,
    request: IncrementalAlterConfigsRequest,
) -> Reply<R> {
    let resources = request.resources.into_iter().map(|resource| {
        let op =
            |config: burnin_wire::kafka::messages::incremental_alter_configs_request::AlterableConfig| {
                let op = AlterOp::from_id(config.config_operation).ok_or_else(|| {
                    let message =
                        format!("unknown config operation {} (known: 0 to 3)", config.config_operation);
                    ApiError::new(ErrorCode::INVALID_REQUEST, message)
                })?;
                Ok(ConfigOp {
                    name: config.name.to_string(),
                    op,
                    value: config.value.map(|value| value.to_string()),
                })
            };
        let wanted: Result<Vec<ConfigOp>, ApiError> = resource.configs.into_iter().map(op).collect();
        Altered { kind: resource.resource_type, name: resource.resource_name, wanted }
    });
    let (resources, shared) = (resources.collect(), shared.clone());
    changing(async move {
        let decided = carry_out(shared, resources, request.validate_only, |image, kind, name, ops| {
            alter_configs(image, kind, name, ops.as_deref().map_err(Clone::clone)?)
        });
        let answer = |(kind, name, result): Decided| {
            let (code, message) = outcome(&result);
            AlterConfigsResourceResponse::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_error_code(code)
                .with_error_message(message)
        };
        IncrementalAlterConfigsResponse::default()
            .with_responses(decided.await.into_iter().map(answer).collect())
    })
}

/// Handles AlterConfigs: what is not named goes back to its default.
pub(super) fn replace<R: Runtime>(shared: &Arc<Shared<R>>, request: AlterConfigsRequest) -> Reply<R> {
    let resources = request.resources.into_iter().map(|resource| {
        let set = resource
            .configs
            .into_iter()
            .filter_map(|config| config.value.map(|value| (config.name.to_string(), value.to_string())));
        let wanted: Properties = set.collect();
        Altered { kind: resource.resource_type, name: resource.resource_name, wanted }
    });
    let (resources, shared) = (resources.collect(), shared.clone());
    changing(async move {
        let decided = carry_out(shared, resources, request.validate_only, replace_configs);
        let answer = |(kind, name, result): Decided| {
            let (code, message) = outcome(&result);
            ReplacedResource::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_error_code(code)
                .with_error_message(message)
        };
        AlterConfigsResponse::default().with_responses(decided.await.into_iter().map(answer).collect())
    })
}
