//! The typed configuration of a broker.

use super::cluster::{QuorumSettings, ReplicationSettings, Roles, Voter, bootstrap_servers, check_protocols};
use super::definition::Effect;
use super::endpoint::Endpoint;
use super::layers::{Layers, Properties};
use super::listeners::Listeners;
use super::view::View;
use super::{ConfigError, broker_definition, check_broker_property, parse_properties};
use crate::Release;
use std::path::PathBuf;

/// What a broker is started with. Everything in it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: i32,
    /// The cluster id with which an empty directory is formatted.
    pub cluster_id: Option<String>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `process.roles`.
    pub roles: Roles,
    /// The listeners of the broker, without those of the controller; none without the broker role.
    pub listeners: Vec<Endpoint>,
    /// Those of the controller; none without the controller role, and for a single node that names none.
    pub controller_listeners: Vec<Endpoint>,
    /// `advertised.listeners`, one for each listener that has one, also of the controller.
    pub advertised: Vec<Endpoint>,
    /// `inter.broker.listener.name`: the listener that brokers use between themselves.
    pub inter_broker_listener: String,
    /// `controller.listener.names`.
    pub controller_listener_names: Vec<String>,
    /// `controller.quorum.voters`. Empty: the voters stand in the log, or this node is alone.
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// `controller.quorum.*`, sessions of brokers, snapshots.
    pub quorum: QuorumSettings,
    /// `replica.*` and what belongs to it.
    pub replication: ReplicationSettings,
    /// The data directory.
    pub data_dir: PathBuf,
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `queued.max.request.bytes`; `None` for no limit.
    pub queued_max_request_bytes: Option<usize>,
    /// `connections.max.idle.ms`; `None` for never.
    pub connections_max_idle_ms: Option<u64>,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_slots: usize,
    /// `max.request.partition.size.limit`.
    pub describe_partitions_max: usize,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `num.partitions`.
    pub partitions_default: i32,
    /// `default.replication.factor`.
    pub replication_factor_default: i16,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: u64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_checkpoint_interval_ms: u64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `controlled.shutdown.enable`.
    pub controlled_shutdown: bool,
    /// What was set, name by name.
    pub properties: Properties,
    /// The release that this node stands for. No property sets it: simulations of upgrades do.
    pub release: Release,
    /// The release as which a cluster begins that has no metadata yet. No property sets it either.
    pub bootstrap_release: Release,
}

impl Default for BrokerConfig {
    /// A single node on 127.0.0.1:9092 with its data in `burnin-data`.
    fn default() -> Self {
        BrokerConfig::from_properties(&Properties::new()).expect("the defaults are valid")
    }
}

impl BrokerConfig {
    /// Reads the text of a `server.properties`.
    pub fn parse(text: &str) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_properties(&parse_properties(text)?)
    }

    /// Checks every property, and what they say together.
    pub fn from_properties(properties: &Properties) -> Result<BrokerConfig, ConfigError> {
        for (name, value) in properties {
            check_broker_property(name, value)?;
        }
        let none = Properties::new();
        let view = View(Layers { broker: &none, cluster: &none, fixed: properties });
        check_protocols(&view)?;
        let roles = Roles::read(&view)?;
        let bootstrap_servers = bootstrap_servers(&view)?;
        let voters = Voter::read(&view, roles, !bootstrap_servers.is_empty())?;
        let has_others = voters.len() > 1 || !bootstrap_servers.is_empty();
        let listeners = Listeners::read(&view, roles, has_others)?;
        Ok(BrokerConfig {
            node_id: view.node_id()?,
            cluster_id: view.cluster_id()?,
            rack: view.text("broker.rack"),
            roles,
            listeners: listeners.broker,
            controller_listeners: listeners.controller,
            advertised: listeners.advertised,
            inter_broker_listener: listeners.inter_broker,
            controller_listener_names: listeners.controller_names,
            voters,
            bootstrap_servers,
            quorum: QuorumSettings::read(&view)?,
            replication: ReplicationSettings::read(&view)?,
            data_dir: view.data_dir()?,
            request_max_bytes: view.number("socket.request.max.bytes") as usize,
            queued_max_request_bytes: usize::try_from(view.number("queued.max.request.bytes")).ok(),
            connections_max_idle_ms: u64::try_from(view.number("connections.max.idle.ms")).ok(),
            fetch_max_bytes: view.number("fetch.max.bytes") as usize,
            fetch_session_slots: view.number("max.incremental.fetch.session.cache.slots") as usize,
            describe_partitions_max: view.number("max.request.partition.size.limit") as usize,
            auto_create_topics: view.flag("auto.create.topics.enable"),
            delete_topics: view.flag("delete.topic.enable"),
            partitions_default: view.number("num.partitions") as i32,
            replication_factor_default: i16::try_from(view.number("default.replication.factor"))
                .map_err(|_| view.refusal("default.replication.factor", "a 16-bit number"))?,
            retention_check_interval_ms: view.number("log.retention.check.interval.ms") as u64,
            recovery_checkpoint_interval_ms: view.number("log.flush.offset.checkpoint.interval.ms") as u64,
            producer_id_expiration_ms: view.number("producer.id.expiration.ms"),
            controlled_shutdown: view.flag("controlled.shutdown.enable"),
            properties: properties.clone(),
            release: Release::LATEST,
            bootstrap_release: Release::LATEST,
        })
    }

    /// Whether this node is its own quorum: it names no voters, and nobody but itself to ask for them.
    pub fn is_alone(&self) -> bool {
        let is_own = |(host, port): &(String, u16)| {
            let own = self.controller_listeners.iter().filter(|listener| listener.port == *port);
            let advertised = |name: &str| self.advertised.iter().find(|endpoint| endpoint.name == name);
            own.into_iter().any(|listener| {
                let local = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
                listener.host == *host
                    || listener.is_wildcard() && local
                    || advertised(&listener.name).is_some_and(|endpoint| endpoint.host == *host)
            })
        };
        self.voters.is_empty() && self.roles.are_combined() && self.bootstrap_servers.iter().all(is_own)
    }

    /// The same configuration with one property set otherwise.
    pub fn with(&self, name: &str, value: &str) -> Result<BrokerConfig, ConfigError> {
        let mut properties = self.properties.clone();
        properties.insert(name.to_owned(), value.to_owned());
        let (release, bootstrap_release) = (self.release, self.bootstrap_release);
        let config = BrokerConfig::from_properties(&properties)?;
        Ok(BrokerConfig { release, bootstrap_release, ..config })
    }

    /// The properties that were set and change nothing here.
    pub fn without_effect(&self) -> Vec<&str> {
        let names = self.properties.keys().map(String::as_str);
        names.filter(|name| broker_definition(name).is_some_and(|d| d.effect == Effect::None)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BrokerConfig, String> {
        BrokerConfig::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_a_single_node_on_loopback() {
        let config = BrokerConfig::default();
        assert_eq!(
            (config.node_id, config.listeners[0].to_string()),
            (1, "PLAINTEXT://127.0.0.1:9092".into())
        );
        assert_eq!(config.data_dir, PathBuf::from("burnin-data"));
        assert!(config.auto_create_topics && config.queued_max_request_bytes.is_none());
    }

    #[test]
    fn kafkas_own_kraft_example_is_accepted() {
        let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@localhost:9093\n\
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
            advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
            controller.listener.names=CONTROLLER\n\
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL\n\
            num.network.threads=3\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
            offsets.topic.replication.factor=1\nlog.retention.hours=168\n";
        let config = parse(text).unwrap();
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.advertised[0].to_string(), "PLAINTEXT://localhost:9092");
        assert_eq!(config.without_effect(), ["num.network.threads", "offsets.topic.replication.factor"]);
    }

    #[test]
    fn contradictions_name_property_and_value() {
        for (text, property) in [
            ("node.id=1\nbroker.id=2", "broker.id"),
            ("listeners=SSL://:9093", "listeners"),
            ("listeners=PLAINTEXT://:1,PLAINTEXT://:2", "listeners"),
            ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "advertised.listeners"),
            ("log.dirs=/a,/b", "log.dirs"),
            ("cluster.id=not an id", "cluster.id"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("`{property}`")), "{text}: {error}");
        }
    }
}
