//! DescribeConfigs (`ConfigHelper`).

use super::text;
use crate::shared::Shared;
use burnin_core::config::{Candidate, Definition, Source, TOPIC, Update, broker_definition};
use burnin_core::metadata::{ApiError, Image, ResourceType, check_topic_name};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use burnin_wire::kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use burnin_wire::{ErrorCode, Response, StrBytes};

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

/// What is said of one broker is said to that broker.
pub(super) fn check_broker<R: Runtime>(shared: &Shared<R>, name: &str) -> Result<(), ApiError> {
    let expected = shared.identity.node_id;
    if name.parse() == Ok(expected) {
        return Ok(());
    }
    let message = format!("Unexpected broker id, expected {expected} or empty string, but received {name}");
    Err(ApiError::new(ErrorCode::INVALID_REQUEST, message))
}
