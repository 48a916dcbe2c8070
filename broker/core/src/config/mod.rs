//! Configuration: Kafka's property names, types, defaults and precedence.
//!
//! - `properties.rs` reads the file format; `definition.rs` says what a property is; `table_*.rs` list them;
//! - `layers.rs` finds the value that counts (topic, broker, cluster default, file, default);
//! - `broker.rs`, `cluster.rs`, `listeners.rs` and `topic.rs` are the typed views that the server works with.
//!
//! A property that nobody knows is an error that names the nearest known ones; one that Kafka knows and that
//! would change what an operator relies on (security, tiered storage) is refused rather than ignored; one that
//! only tunes something that this broker lacks is accepted, and [`BrokerConfig::without_effect`] lists it.

mod broker;
mod cluster;
mod definition;
mod endpoint;
mod layers;
mod listeners;
mod nearest;
mod properties;
mod table_log;
mod table_server;
mod table_topic;
mod topic;
mod view;

pub use broker::BrokerConfig;
pub use cluster::{QuorumSettings, ReplicaSelector, ReplicationSettings, Roles, Voter};
pub use definition::{Definition, Effect, Kind, Range, Update, Value};
pub use endpoint::Endpoint;
pub use layers::{Candidate, Layers, Properties, Source, broker_synonyms};
pub use nearest::nearest;
pub use properties::parse_properties;
pub use table_topic::{Scale, TOPIC, TopicDefinition};
pub use topic::{
    CleanupPolicy, StoredCompression, ThrottledReplicas, TimestampType, TopicSettings, check_topic_property,
    topic_definition,
};

/// Why a configuration was refused. The text names the property, the value and the choices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not in the format of `java.util.Properties`.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Nobody knows this property.
    #[error("unknown property `{name}`{}", hint(nearest))]
    Unknown {
        /// The name as written.
        name: String,
        /// Known names that are near.
        nearest: Vec<String>,
    },
    /// Kafka knows it, this broker does not obey it, and ignoring it would mislead.
    #[error("property `{name}` is not supported: {reason}")]
    Unsupported {
        /// The name as written.
        name: String,
        /// Why.
        reason: String,
    },
    /// Not of the type, or out of range.
    #[error("invalid value `{value}` for property `{name}` (expected {wanted})")]
    Invalid {
        /// The property.
        name: String,
        /// The value as written.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

fn hint(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(" (nearest known: {})", names.join(", ")),
    }
}

/// Every broker property.
pub fn broker_definitions() -> impl Iterator<Item = &'static Definition> {
    table_server::SERVER.iter().chain(table_log::LOG).chain(table_log::CLUSTER)
}

/// The broker property of this name.
pub fn broker_definition(name: &str) -> Option<&'static Definition> {
    broker_definitions().find(|definition| definition.name == name)
}

/// Checks name, type and range of one broker property.
pub fn check_broker_property(name: &str, value: &str) -> Result<Value, ConfigError> {
    match broker_definition(name) {
        Some(definition) => definition.parse(value),
        None => Err(unknown(name, broker_definitions().map(|d| d.name))),
    }
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> ConfigError {
    match REFUSED.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        Some((_, reason)) => ConfigError::Unsupported { name: name.to_owned(), reason: (*reason).to_owned() },
        None => {
            let nearest = nearest(name, known).into_iter().map(str::to_owned).collect();
            ConfigError::Unknown { name: name.to_owned(), nearest }
        }
    }
}

/// Properties that Kafka knows and that must not be ignored, by prefix.
const REFUSED: &[(&str, &str)] = &[
    ("ssl.", "TLS is not built in yet"),
    ("sasl.", "SASL is not built in yet"),
    ("security.providers", "Java security providers do not exist here"),
    ("listener.name.", "listeners have no security settings of their own yet"),
    ("authorizer.", "authorization is not built in yet"),
    ("super.users", "authorization is not built in yet"),
    ("allow.everyone.if.no.acl.found", "authorization is not built in yet"),
    ("principal.builder.class", "authorization is not built in yet"),
    ("connections.max.reauth.ms", "SASL is not built in yet"),
    ("delegation.token.", "delegation tokens are not built in yet"),
    ("remote.", "tiered storage is not built in"),
    ("zookeeper.", "this broker has a KRaft metadata log and no ZooKeeper"),
    ("password.encoder.", "this broker has a KRaft metadata log and no ZooKeeper"),
    ("control.plane.listener.name", "this broker has a KRaft metadata log and no ZooKeeper"),
    ("create.topic.policy.class.name", "Java policies do not exist here"),
    ("alter.config.policy.class.name", "Java policies do not exist here"),
    ("client.quota.callback.class", "Java callbacks do not exist here"),
    ("config.providers", "configuration providers are not built in"),
    ("message.format.version", "Kafka 4 removed it; batches have magic 2"),
    ("log.message.format.version", "Kafka 4 removed it; batches have magic 2"),
    (
        "log.message.timestamp.difference.max.ms",
        "Kafka 4 removed it; use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms",
    ),
    (
        "message.timestamp.difference.max.ms",
        "Kafka 4 removed it; use message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_obeys_its_own_definition_and_names_are_unique() {
        let mut names = BTreeSet::new();
        for definition in broker_definitions() {
            assert!(names.insert(definition.name), "{} is defined twice", definition.name);
            if let Some(default) = definition.default {
                definition.parse(default).unwrap();
            }
        }
        let mut previous = "";
        for topic in TOPIC {
            assert!(previous < topic.definition.name, "{} is out of order", topic.definition.name);
            previous = topic.definition.name;
            topic.definition.parse(topic.definition.default.unwrap()).unwrap();
            for (synonym, _) in topic.synonyms {
                assert!(names.contains(synonym), "{synonym} is not a broker property");
            }
        }
    }

    #[test]
    fn unknown_properties_name_the_nearest_and_security_is_refused() {
        let error = check_broker_property("log.retention.hour", "1").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown property `log.retention.hour` (nearest known: log.retention.hours, log.retention.ms, \
             log.retention.bytes)"
        );
        let error = check_broker_property("ssl.keystore.location", "x").unwrap_err().to_string();
        assert_eq!(error, "property `ssl.keystore.location` is not supported: TLS is not built in yet");
        let error = check_broker_property("num.partitions", "many").unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid value `many` for property `num.partitions` (expected a 32-bit number, at least 1)"
        );
    }
}
