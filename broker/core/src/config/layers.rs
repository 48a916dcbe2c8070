//! Which value of a broker property counts: that of the broker, the cluster's default, the file, the default
//! (`DynamicBrokerConfig`, `ConfigHelper`).

use super::definition::Definition;
use super::{broker_definition, broker_definitions};
use std::collections::BTreeMap;

/// Names and values as they were set.
pub type Properties = BTreeMap<String, String>;

/// Where a value comes from; the numbers are those of `DescribeConfigsResponse.ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker while it ran.
    DynamicBroker = 2,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// From `server.properties`.
    StaticBroker = 4,
    /// From the tables here.
    Default = 5,
}

/// A value that a property has or would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The property that gives it.
    pub name: &'static str,
    /// The value; `None` is Kafka's null.
    pub value: Option<String>,
    /// Where it was set.
    pub source: Source,
}

/// The layers of one broker's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Dynamic, of this broker.
    pub broker: &'a Properties,
    /// Dynamic, of all brokers.
    pub cluster: &'a Properties,
    /// Of `server.properties`.
    pub fixed: &'a Properties,
}

impl Layers<'_> {
    /// Every value that one of `names` has, the one that counts first. Within a layer the order is that of
    /// `names`. A property without a default gives no candidate of [`Source::Default`].
    pub fn candidates(&self, names: &[&str]) -> Vec<Candidate> {
        let mut found = Vec::new();
        let definitions: Vec<&Definition> = names.iter().filter_map(|name| broker_definition(name)).collect();
        let set = [
            (self.broker, Source::DynamicBroker),
            (self.cluster, Source::DynamicDefaultBroker),
            (self.fixed, Source::StaticBroker),
        ];
        for (properties, source) in set {
            for definition in &definitions {
                if let Some(value) = properties.get(definition.name) {
                    found.push(Candidate { name: definition.name, value: Some(value.clone()), source });
                }
            }
        }
        for definition in &definitions {
            if let Some(default) = definition.default {
                let value = Some(default.to_owned());
                found.push(Candidate { name: definition.name, value, source: Source::Default });
            }
        }
        found
    }

    /// The value of the property `name` alone, as text.
    pub fn value(&self, name: &str) -> Option<String> {
        self.candidates(&[name]).into_iter().next().and_then(|candidate| candidate.value)
    }

    /// What DescribeConfigs shows of a broker: every property in order of the alphabet, each with its value
    /// and its synonyms.
    pub fn describe(&self) -> Vec<(&'static Definition, Option<String>, Vec<Candidate>)> {
        let mut all: Vec<_> = broker_definitions()
            .map(|definition| {
                let mut synonyms = self.candidates(broker_synonyms(definition.name));
                let first = synonyms.iter().position(|candidate| candidate.name == definition.name);
                synonyms.drain(..first.unwrap_or(synonyms.len()));
                (definition, self.value(definition.name), synonyms)
            })
            .collect();
        all.sort_unstable_by_key(|(definition, ..)| definition.name);
        all
    }
}

/// The properties that mean the same as `name`, the strongest first (`DynamicBrokerConfig.brokerConfigSynonyms`).
pub fn broker_synonyms(name: &str) -> &'static [&'static str] {
    const GROUPS: &[&[&str]] = &[
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    ];
    if let Some(group) = GROUPS.iter().find(|group| group.contains(&name)) {
        // The scheduler's interval is the default of the flush interval, not the other way round.
        let alone = name == "log.flush.scheduler.interval.ms";
        return if alone { &group[1..] } else { group };
    }
    broker_definition(name).map_or(&[], |definition| std::slice::from_ref(&definition.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_layer_counts_and_synonyms_keep_kafkas_order() {
        let properties = |pairs: &[(&str, &str)]| -> Properties {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let fixed = properties(&[("log.retention.hours", "24"), ("log.retention.ms", "5")]);
        let cluster = properties(&[("log.retention.ms", "7")]);
        let broker = properties(&[]);
        let layers = Layers { broker: &broker, cluster: &cluster, fixed: &fixed };
        let seen: Vec<_> = layers
            .candidates(broker_synonyms("log.retention.hours"))
            .into_iter()
            .map(|c| (c.name, c.value.unwrap(), c.source))
            .collect();
        let wanted = [
            ("log.retention.ms", "7".to_owned(), Source::DynamicDefaultBroker),
            ("log.retention.ms", "5".to_owned(), Source::StaticBroker),
            ("log.retention.hours", "24".to_owned(), Source::StaticBroker),
            ("log.retention.hours", "168".to_owned(), Source::Default),
        ];
        assert_eq!(seen, wanted);
        let described = layers.describe();
        let hours = described.iter().find(|(d, ..)| d.name == "log.retention.hours").unwrap();
        assert_eq!((hours.1.as_deref(), hours.2.len()), (Some("24"), 2));
    }
}
