//! The typed configuration of a broker.

use super::definition::{Effect, Value};
use super::endpoint::Endpoint;
use super::layers::{Layers, Properties};
use super::{ConfigError, broker_definition, check_broker_property, parse_properties};
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
    /// The client listeners of `listeners`, without those of the controller. At least one.
    pub listeners: Vec<Endpoint>,
    /// `advertised.listeners`, one for each listener that has one.
    pub advertised: Vec<Endpoint>,
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
        let controllers = view.list("controller.listener.names");
        check_protocols(&view)?;
        check_quorum(&view)?;
        let listeners = client_endpoints(&view, "listeners", &controllers)?;
        if listeners.is_empty() {
            return Err(view.refusal("listeners", "at least one listener that is not the controller's"));
        }
        let advertised = client_endpoints(&view, "advertised.listeners", &controllers)?;
        for endpoint in &advertised {
            if endpoint.is_wildcard() || !listeners.iter().any(|listener| listener.name == endpoint.name) {
                let wanted = "a host that clients can reach, under the name of one of `listeners`";
                return Err(view.refusal("advertised.listeners", wanted));
            }
        }
        Ok(BrokerConfig {
            node_id: view.node_id()?,
            cluster_id: view.cluster_id()?,
            rack: view.text("broker.rack"),
            listeners,
            advertised,
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
        })
    }

    /// The same configuration with one property set otherwise.
    pub fn with(&self, name: &str, value: &str) -> Result<BrokerConfig, ConfigError> {
        let mut properties = self.properties.clone();
        properties.insert(name.to_owned(), value.to_owned());
        BrokerConfig::from_properties(&properties)
    }

    /// The properties that were set and change nothing here.
    pub fn without_effect(&self) -> Vec<&str> {
        let names = self.properties.keys().map(String::as_str);
        names.filter(|name| broker_definition(name).is_some_and(|d| d.effect == Effect::None)).collect()
    }
}

/// Typed access to checked properties.
struct View<'a>(Layers<'a>);

impl View<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let definition = broker_definition(name).unwrap_or_else(|| panic!("no broker property {name}"));
        let text = self.0.value(name)?;
        Some(
            definition
                .parse(&text)
                .unwrap_or_else(|error| panic!("checked property became invalid: {error}")),
        )
    }

    fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Number(number)) => number,
            other => panic!("broker property {name} is not a number: {other:?}"),
        }
    }

    fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Boolean(flag)) => flag,
            other => panic!("broker property {name} is not a boolean: {other:?}"),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text).filter(|text| !text.is_empty()),
            None => None,
            other => panic!("broker property {name} is not a text: {other:?}"),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(items)) => items,
            None => Vec::new(),
            other => panic!("broker property {name} is not a list: {other:?}"),
        }
    }

    fn refusal(&self, name: &str, wanted: &str) -> ConfigError {
        let value = self.0.value(name).unwrap_or_default();
        ConfigError::Invalid { name: name.to_owned(), value, wanted: wanted.to_owned() }
    }

    fn node_id(&self) -> Result<i32, ConfigError> {
        let (node, broker) = (self.0.fixed.get("node.id"), self.0.fixed.get("broker.id"));
        match (node, broker) {
            (Some(node), Some(broker)) if node.trim() != broker.trim() => {
                Err(self.refusal("broker.id", &format!("the same as node.id, which is {node}")))
            }
            (None, Some(_)) if self.number("broker.id") < 0 => {
                Err(self.refusal("broker.id", "a number, at least 0"))
            }
            (None, Some(_)) => Ok(self.number("broker.id") as i32),
            _ => Ok(self.number("node.id") as i32),
        }
    }

    fn cluster_id(&self) -> Result<Option<String>, ConfigError> {
        let id = self.text("cluster.id");
        let is_id = |id: &String| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        match id {
            Some(id) if !is_id(&id) => {
                Err(self.refusal("cluster.id", "1 to 64 letters, digits, `-` and `_`"))
            }
            other => Ok(other),
        }
    }

    fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        let dirs = self.list("log.dirs");
        let dir = match dirs.as_slice() {
            [] => self.text("log.dir").ok_or_else(|| self.refusal("log.dir", "a directory"))?,
            [one] => one.clone(),
            _ => return Err(self.refusal("log.dirs", "exactly one directory; several are not supported yet")),
        };
        match self.text("metadata.log.dir") {
            Some(metadata) if metadata != dir => {
                Err(self.refusal("metadata.log.dir", &format!("the data directory itself, which is {dir}")))
            }
            _ => Ok(PathBuf::from(dir)),
        }
    }
}

fn check_protocols(view: &View<'_>) -> Result<(), ConfigError> {
    for pair in view.list("listener.security.protocol.map") {
        let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
        let protocol = pair.split_once(':').map(|(_, protocol)| protocol.to_ascii_uppercase());
        if !protocol.is_some_and(|protocol| known.contains(&protocol.as_str())) {
            return Err(view.refusal("listener.security.protocol.map", "NAME:PROTOCOL pairs"));
        }
    }
    Ok(())
}

/// Slice by slice: until the quorum has several voters, only this node may be one.
fn check_quorum(view: &View<'_>) -> Result<(), ConfigError> {
    let roles = view.list("process.roles");
    if !(roles.iter().any(|role| role == "broker") && roles.iter().any(|role| role == "controller")) {
        return Err(view.refusal("process.roles", "broker,controller; separate roles are not supported yet"));
    }
    let node = format!("{}@", view.node_id()?);
    let voters = view.list("controller.quorum.voters");
    if voters.len() > 1 || voters.iter().any(|voter| !voter.starts_with(&node)) {
        return Err(
            view.refusal("controller.quorum.voters", "this node alone; quorums are not supported yet")
        );
    }
    if view.list("controller.quorum.bootstrap.servers").len() > 1 {
        let wanted = "this node alone; quorums are not supported yet";
        return Err(view.refusal("controller.quorum.bootstrap.servers", wanted));
    }
    Ok(())
}

fn client_endpoints(
    view: &View<'_>,
    property: &str,
    controllers: &[String],
) -> Result<Vec<Endpoint>, ConfigError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for text in view.list(property) {
        let endpoint = Endpoint::parse(property, &text)?;
        if controllers.iter().any(|name| name.eq_ignore_ascii_case(&endpoint.name)) {
            continue;
        }
        let map = view.list("listener.security.protocol.map");
        let protocol = map.iter().find_map(|pair| {
            pair.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case(&endpoint.name)).map(|(_, p)| p)
        });
        if !protocol.unwrap_or(&endpoint.name).eq_ignore_ascii_case("PLAINTEXT") {
            let wanted = format!("PLAINTEXT listeners (`{}` is not mapped to PLAINTEXT)", endpoint.name);
            return Err(view.refusal(property, &wanted));
        }
        if endpoints.iter().any(|other| other.name == endpoint.name) {
            return Err(
                view.refusal(property, &format!("each name once (`{}` is there twice)", endpoint.name))
            );
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
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
            ("controller.quorum.voters=1@a:1,2@b:1", "controller.quorum.voters"),
            ("process.roles=broker", "process.roles"),
            ("cluster.id=not an id", "cluster.id"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("`{property}`")), "{text}: {error}");
        }
    }
}
