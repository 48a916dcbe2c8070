//! The typed settings of a topic.

use super::definition::{Definition, Value, throttled_replica};
use super::layers::{Candidate, Layers, Properties, Source, broker_synonyms};
use super::table_topic::{Scale, TOPIC, TopicDefinition};
use super::{ConfigError, unknown};
use std::collections::BTreeSet;

/// What retention does with old segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// Removes them by time and size.
    Delete,
    /// Compacts them; until compaction is built they are kept.
    Compact,
    /// Both.
    CompactAndDelete,
}

/// Whose clock stamps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

/// How batches are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredCompression {
    /// As the producer sent them.
    Producer,
    /// With this codec: `uncompressed`, `gzip`, `snappy`, `lz4` or `zstd`.
    Codec(String),
}

/// The settings of one topic, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`.
    pub compression: StoredCompression,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: i32,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `retention.bytes`; -1 for all.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
    /// `leader.replication.throttled.replicas`.
    pub throttled_leaders: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`.
    pub throttled_followers: ThrottledReplicas,
}

/// Which replicas of a topic a throttle holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// All of them.
    All,
    /// These: partition and broker.
    Of(BTreeSet<(i32, i32)>),
}

impl ThrottledReplicas {
    /// Whether it holds for this one.
    pub fn holds(&self, partition: i32, broker: i32) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::Of(replicas) => replicas.contains(&(partition, broker)),
        }
    }

    fn of(value: Value) -> ThrottledReplicas {
        match value {
            Value::List(items) if items.iter().any(|item| item == "*") => ThrottledReplicas::All,
            Value::List(items) => {
                ThrottledReplicas::Of(items.iter().filter_map(|item| throttled_replica(item)).collect())
            }
            other => panic!("throttled replicas are not a list: {other:?}"),
        }
    }
}

/// The topic property of this name.
pub fn topic_definition(name: &str) -> Option<&'static TopicDefinition> {
    TOPIC.iter().find(|topic| topic.definition.name == name)
}

/// Checks name, type and range of one topic property.
pub fn check_topic_property(name: &str, value: &str) -> Result<Value, ConfigError> {
    match topic_definition(name) {
        Some(topic) => topic.definition.parse(value),
        None => Err(unknown(name, TOPIC.iter().map(|topic| topic.definition.name))),
    }
}

impl TopicDefinition {
    /// The value that counts for a topic with these overrides, with the synonyms as DescribeConfigs shows them
    /// (their values unscaled).
    pub fn resolve(&self, layers: &Layers<'_>, overrides: &Properties) -> (String, Vec<Candidate>) {
        let name = self.definition.name;
        let own = overrides.get(name);
        let names = self.synonyms.first().map_or(&[][..], |(first, _)| broker_synonyms(first));
        let mut candidates = layers.candidates(names);
        let inherited = candidates.first().and_then(|candidate| {
            let scale =
                self.synonyms.iter().find(|(synonym, _)| *synonym == candidate.name).map(|(_, scale)| *scale);
            candidate.value.as_deref().map(|value| scaled(value, scale.unwrap_or(Scale::Same)))
        });
        if let Some(own) = own {
            candidates.insert(0, Candidate { name, value: Some(own.clone()), source: Source::Topic });
        }
        let value = own.cloned().or(inherited).or_else(|| self.definition.default.map(str::to_owned));
        (value.unwrap_or_default(), candidates)
    }
}

fn scaled(value: &str, scale: Scale) -> String {
    let factor = match scale {
        Scale::Same => return value.to_owned(),
        Scale::Minutes => 60_000,
        Scale::Hours => 3_600_000,
    };
    match value.trim().parse::<i64>() {
        // -1 stays "for ever" (`KafkaConfig.logRetentionTimeMillis`).
        Ok(number) if number < 0 => "-1".to_owned(),
        Ok(number) => number.saturating_mul(factor).to_string(),
        Err(_) => value.to_owned(),
    }
}

impl TopicSettings {
    /// Resolves all settings. The layers and overrides were checked when they were set.
    pub fn resolve(layers: &Layers<'_>, overrides: &Properties) -> TopicSettings {
        let value = |name: &str| -> Value {
            let topic = topic_definition(name).unwrap_or_else(|| panic!("no topic property {name}"));
            let (text, _) = topic.resolve(layers, overrides);
            parse_or_default(&topic.definition, &text)
        };
        let long = |name: &str| match value(name) {
            Value::Number(number) => number,
            other => panic!("topic property {name} is not a number: {other:?}"),
        };
        let int = |name: &str| i32::try_from(long(name)).unwrap_or(i32::MAX);
        let text = |name: &str| match value(name) {
            Value::Text(text) => text,
            other => panic!("topic property {name} is not a text: {other:?}"),
        };
        let policies = match value("cleanup.policy") {
            Value::List(policies) => policies,
            other => panic!("topic property cleanup.policy is not a list: {other:?}"),
        };
        let has = |policy: &str| policies.iter().any(|p| p == policy);
        TopicSettings {
            cleanup_policy: match (has("compact"), has("delete")) {
                (true, true) => CleanupPolicy::CompactAndDelete,
                (true, false) => CleanupPolicy::Compact,
                (false, _) => CleanupPolicy::Delete,
            },
            compression: match text("compression.type") {
                kept if kept == "producer" => StoredCompression::Producer,
                codec => StoredCompression::Codec(codec),
            },
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: int("index.interval.bytes"),
            max_message_bytes: int("max.message.bytes"),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            min_insync_replicas: int("min.insync.replicas"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            segment_bytes: int("segment.bytes"),
            segment_index_bytes: int("segment.index.bytes"),
            segment_ms: long("segment.ms"),
            unclean_leader_election: value("unclean.leader.election.enable") == Value::Boolean(true),
            throttled_leaders: ThrottledReplicas::of(value("leader.replication.throttled.replicas")),
            throttled_followers: ThrottledReplicas::of(value("follower.replication.throttled.replicas")),
        }
    }
}

/// A broker-level value can be out of the topic-level range (`log.retention.hours=-2` is legal in Kafka); the
/// default is safer than a crash.
fn parse_or_default(definition: &Definition, text: &str) -> Value {
    definition.parse(text).unwrap_or_else(|_| {
        let default = definition.default.unwrap_or_default();
        definition.parse(default).unwrap_or_else(|error| panic!("default of {}: {error}", definition.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn topic_settings_follow_override_then_broker_then_default() {
        let none = properties(&[]);
        let fixed =
            properties(&[("log.retention.hours", "2"), ("log.roll.hours", "1"), ("message.max.bytes", "99")]);
        let layers = Layers { broker: &none, cluster: &none, fixed: &fixed };
        let settings = TopicSettings::resolve(&layers, &none);
        assert_eq!((settings.retention_ms, settings.segment_ms), (7_200_000, 3_600_000));
        assert_eq!((settings.max_message_bytes, settings.flush_messages), (99, 1));
        assert_eq!(settings.cleanup_policy, CleanupPolicy::Delete);

        let overrides = properties(&[("retention.ms", "5"), ("cleanup.policy", "compact,delete")]);
        let settings = TopicSettings::resolve(&layers, &overrides);
        assert_eq!(settings.retention_ms, 5);
        let throttled = properties(&[("follower.replication.throttled.replicas", "0:1, 2:3")]);
        let throttled = TopicSettings::resolve(&layers, &throttled);
        assert!(throttled.throttled_followers.holds(2, 3) && !throttled.throttled_followers.holds(0, 3));
        assert!(!throttled.throttled_leaders.holds(0, 1));
        assert_eq!(settings.cleanup_policy, CleanupPolicy::CompactAndDelete);

        let retention = topic_definition("retention.ms").unwrap();
        let (value, synonyms) = retention.resolve(&layers, &overrides);
        let shown: Vec<_> =
            synonyms.iter().map(|c| (c.name, c.value.as_deref().unwrap(), c.source)).collect();
        assert_eq!(value, "5");
        let wanted = [
            ("retention.ms", "5", Source::Topic),
            ("log.retention.hours", "2", Source::StaticBroker),
            ("log.retention.hours", "168", Source::Default),
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn unknown_topic_properties_name_the_nearest() {
        let error = check_topic_property("retention.m", "1").unwrap_err().to_string();
        assert!(error.starts_with("unknown property `retention.m` (nearest known: retention.ms"), "{error}");
        assert!(check_topic_property("retention.ms", "-2").is_err());
        assert!(
            check_topic_property("remote.storage.enable", "true").unwrap_err().to_string().contains("tiered")
        );
    }
}
