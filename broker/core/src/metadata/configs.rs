//! Configurations: requests to records (`ConfigurationControlManager`).

use super::{ApiError, Image, ResourceType, check_topic_name};
use crate::config::{
    Kind, Properties, Update, broker_definition, check_broker_property, check_topic_property,
    topic_definition,
};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{ConfigRecord, MetadataRecord};

/// What to do with a property (`AlterConfigOp.OpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    /// Sets it.
    Set,
    /// Takes it back to its default.
    Delete,
    /// Adds items to a list.
    Append,
    /// Removes items from a list.
    Subtract,
}

impl AlterOp {
    /// By its number on the wire.
    pub fn from_id(id: i8) -> Option<AlterOp> {
        [AlterOp::Set, AlterOp::Delete, AlterOp::Append, AlterOp::Subtract]
            .get(usize::try_from(id).ok()?)
            .copied()
    }
}

/// One change of one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOp {
    /// The property.
    pub name: String,
    /// What to do.
    pub op: AlterOp,
    /// With what; nothing for [`AlterOp::Delete`].
    pub value: Option<String>,
}

/// Makes the records of IncrementalAlterConfigs for one resource. Every value that the resource would have in
/// the end is checked, as Kafka does.
pub fn alter_configs(
    image: &Image,
    kind: ResourceType,
    resource: &str,
    ops: &[ConfigOp],
) -> Result<Vec<MetadataRecord>, ApiError> {
    let mut wanted = image.config(kind, resource).clone();
    let mut seen: Vec<&str> = Vec::new();
    for op in ops {
        if seen.contains(&op.name.as_str()) {
            let message = format!("Error due to duplicate config keys: {}", op.name);
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        seen.push(&op.name);
        apply(kind, &mut wanted, op)?;
    }
    check(kind, resource, &wanted)?;
    Ok(difference(image.config(kind, resource), &wanted, kind, resource))
}

/// Makes the records of AlterConfigs: the resource has exactly `properties` afterwards.
pub fn replace_configs(
    image: &Image,
    kind: ResourceType,
    resource: &str,
    properties: &Properties,
) -> Result<Vec<MetadataRecord>, ApiError> {
    check(kind, resource, properties)?;
    Ok(difference(image.config(kind, resource), properties, kind, resource))
}

fn apply(kind: ResourceType, wanted: &mut Properties, op: &ConfigOp) -> Result<(), ApiError> {
    let ConfigOp { name, op, value } = op;
    let value = match (op, value) {
        (AlterOp::Delete, _) => {
            wanted.remove(name);
            return Ok(());
        }
        (_, Some(value)) => value,
        (_, None) => {
            let message = format!("Null value not supported for : {name}");
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
    };
    if *op == AlterOp::Set {
        wanted.insert(name.clone(), value.clone());
        return Ok(());
    }
    let definition = match kind {
        ResourceType::Topic => topic_definition(name).map(|topic| &topic.definition),
        ResourceType::Broker => broker_definition(name),
    };
    if definition.is_none_or(|definition| definition.kind != Kind::List) {
        let message = format!("Can't {} to key {name} because its type is not LIST.", op_name(*op));
        return Err(ApiError::new(ErrorCode::INVALID_CONFIG, message));
    }
    let default = definition.and_then(|definition| definition.default);
    let current = wanted.get(name).map(String::as_str).or(default).unwrap_or_default();
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let mut items = split(current);
    for item in split(value) {
        match op {
            AlterOp::Append if !items.contains(&item) => items.push(item),
            AlterOp::Subtract => items.retain(|other| *other != item),
            _ => {}
        }
    }
    wanted.insert(name.clone(), items.join(","));
    Ok(())
}

fn op_name(op: AlterOp) -> &'static str {
    match op {
        AlterOp::Set => "SET",
        AlterOp::Delete => "DELETE",
        AlterOp::Append => "APPEND",
        AlterOp::Subtract => "SUBTRACT",
    }
}

fn check(kind: ResourceType, resource: &str, wanted: &Properties) -> Result<(), ApiError> {
    let invalid = |error: String| ApiError::new(ErrorCode::INVALID_CONFIG, error);
    match kind {
        ResourceType::Topic => {
            check_topic_name(resource)
                .map_err(|reason| ApiError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
            for (name, value) in wanted {
                check_topic_property(name, value).map_err(|error| invalid(error.to_string()))?;
            }
        }
        ResourceType::Broker => {
            if !resource.is_empty() && resource.parse::<i32>().ok().is_none_or(|id| id < 0) {
                let message = format!("Unable to parse broker name as a base 10 number: {resource}");
                return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
            }
            for (name, value) in wanted {
                check_broker_property(name, value).map_err(|error| invalid(error.to_string()))?;
                if broker_definition(name).is_some_and(|definition| definition.update == Update::ReadOnly) {
                    return Err(ApiError::new(
                        ErrorCode::INVALID_REQUEST,
                        format!("Cannot update these configs dynamically: Set({name})"),
                    ));
                }
            }
        }
    }
    Ok(())
}

fn difference(
    current: &Properties,
    wanted: &Properties,
    kind: ResourceType,
    resource: &str,
) -> Vec<MetadataRecord> {
    let record = |name: &str, value: Option<&String>| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: kind as i8,
            resource_name: resource.to_owned(),
            name: name.to_owned(),
            value: value.cloned(),
        })
    };
    let set = wanted.iter().filter(|(name, value)| current.get(*name) != Some(value));
    let gone = current.keys().filter(|name| !wanted.contains_key(*name));
    set.map(|(name, value)| record(name, Some(value))).chain(gone.map(|name| record(name, None))).collect()
}
