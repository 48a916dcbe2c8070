//! What a node is in its cluster, and how the cluster keeps time: roles, voters, sessions, replication.

use super::ConfigError;
use super::view::View;
use std::collections::BTreeSet;
use std::time::Duration;

/// `process.roles`. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Keeps partitions and serves clients.
    pub broker: bool,
    /// Votes in the metadata quorum.
    pub controller: bool,
}

/// A voter as `controller.quorum.voters` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Where its controller listens.
    pub host: String,
    /// The same.
    pub port: u16,
}

/// Where a quorum is found whose voters stand in its log: `controller.quorum.bootstrap.servers`.
pub(super) fn bootstrap_servers(view: &View<'_>) -> Result<Vec<(String, u16)>, ConfigError> {
    const NAME: &str = "controller.quorum.bootstrap.servers";
    let read = |text: String| {
        let wanted = format!("host:port, for instance node1:9093 (`{text}` is not)");
        address(&text).ok_or_else(|| view.refusal(NAME, &wanted))
    };
    view.list(NAME).into_iter().map(read).collect()
}

/// `host:port`, with an IPv6 address in brackets.
pub(super) fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    let port = port.trim().parse().ok().filter(|port| *port > 0)?;
    let is_host = !host.is_empty() && host != "0.0.0.0" && host != "::";
    is_host.then(|| (host.to_owned(), port))
}

/// Times and sizes of the quorum and of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumSettings {
    /// `controller.quorum.election.timeout.ms`.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `controller.quorum.request.timeout.ms`.
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `controller.quorum.auto.join.enable` (KIP-1186).
    pub auto_join: bool,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `initial.broker.registration.timeout.ms`.
    pub registration_timeout: Duration,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_after_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` for never.
    pub snapshot_interval: Option<Duration>,
    /// `metadata.max.idle.interval.ms`; `None` for never.
    pub idle_interval: Option<Duration>,
    /// `leader.imbalance.check.interval.seconds`; `None` without `auto.leader.rebalance.enable`.
    pub rebalance_interval: Option<Duration>,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_interval: Duration,
    /// `request.timeout.ms`: of requests that brokers and clients have carried out by the controller.
    pub forward_timeout: Duration,
}

/// How the replica that a consumer should read from is chosen (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// The leader.
    Leader,
    /// A replica in the consumer's rack.
    RackAware,
}

/// How followers keep up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `replica.fetch.max.bytes`, of one partition.
    pub fetch_max_bytes: i32,
    /// `replica.fetch.response.max.bytes`.
    pub fetch_response_max_bytes: i32,
    /// `replica.fetch.backoff.ms`.
    pub fetch_backoff: Duration,
    /// `replica.socket.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `num.replica.fetchers`, to each leader.
    pub fetchers: usize,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval: Duration,
    /// `replica.selector.class`.
    pub selector: ReplicaSelector,
    /// `replication.quota.window.size.seconds`.
    pub throttle_window: Duration,
    /// `replication.quota.window.num`.
    pub throttle_windows: u32,
}

impl Roles {
    /// Broker and controller in one process.
    pub fn are_combined(self) -> bool {
        self.broker && self.controller
    }

    pub(super) fn read(view: &View<'_>) -> Result<Roles, ConfigError> {
        let names = view.list("process.roles");
        let has = |role: &str| names.iter().any(|name| name == role);
        let roles = Roles { broker: has("broker"), controller: has("controller") };
        let is_doubled = names.len() > usize::from(roles.broker) + usize::from(roles.controller);
        if names.is_empty() || is_doubled {
            return Err(view.refusal("process.roles", "broker, controller or both, each once"));
        }
        Ok(roles)
    }
}

impl Voter {
    pub(super) fn read(
        view: &View<'_>,
        roles: Roles,
        has_bootstrap: bool,
    ) -> Result<Vec<Voter>, ConfigError> {
        const NAME: &str = "controller.quorum.voters";
        let mut voters = Vec::new();
        for text in view.list(NAME) {
            let wanted = format!("id@host:port, for instance 1@node1:9093 (`{text}` is not)");
            voters.push(Voter::parse(&text).ok_or_else(|| view.refusal(NAME, &wanted))?);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = voters.iter().find(|voter| !seen.insert(voter.id)) {
            return Err(view.refusal(NAME, &format!("each node id once ({} is there twice)", twice.id)));
        }
        let id = view.node_id()?;
        match (seen.contains(&id), roles) {
            (false, Roles { controller: true, .. }) if !voters.is_empty() => Err(view.refusal(
                NAME,
                &format!("a list with this node, whose `process.roles` has controller and `node.id` is {id}"),
            )),
            (true, Roles { controller: false, .. }) => Err(view.refusal(
                NAME,
                &format!(
                    "a list without this node, whose `process.roles` is broker alone and `node.id` is {id}"
                ),
            )),
            (false, Roles { controller: false, .. }) if voters.is_empty() && !has_bootstrap => {
                let wanted = "the controllers, since `process.roles` is broker alone and there are no \
                              `controller.quorum.bootstrap.servers`";
                Err(view.refusal(NAME, wanted))
            }
            _ => Ok(voters),
        }
    }

    /// `id@host:port`.
    pub fn parse(text: &str) -> Option<Voter> {
        let (id, address) = text.split_once('@')?;
        let (host, port) = self::address(address)?;
        let id = id.trim().parse().ok().filter(|id| *id >= 0)?;
        Some(Voter { id, host, port })
    }
}

impl View<'_> {
    fn millis(&self, name: &str) -> Result<Duration, ConfigError> {
        match u64::try_from(self.number(name)) {
            Ok(millis) => Ok(Duration::from_millis(millis)),
            Err(_) => Err(self.refusal(name, "milliseconds, at least 0")),
        }
    }

    fn positive_millis(&self, name: &str) -> Result<Duration, ConfigError> {
        let time = self.millis(name)?;
        if time.is_zero() { Err(self.refusal(name, "milliseconds, at least 1")) } else { Ok(time) }
    }
}

impl QuorumSettings {
    pub(super) fn read(view: &View<'_>) -> Result<QuorumSettings, ConfigError> {
        let snapshot_interval = view.millis("metadata.log.max.snapshot.interval.ms")?;
        let idle_interval = view.millis("metadata.max.idle.interval.ms")?;
        let rebalance = Duration::from_secs(view.number("leader.imbalance.check.interval.seconds") as u64);
        let settings = QuorumSettings {
            election_timeout: view.positive_millis("controller.quorum.election.timeout.ms")?,
            fetch_timeout: view.positive_millis("controller.quorum.fetch.timeout.ms")?,
            election_backoff_max: view.positive_millis("controller.quorum.election.backoff.max.ms")?,
            request_timeout: view.positive_millis("controller.quorum.request.timeout.ms")?,
            retry_backoff: view.positive_millis("controller.quorum.retry.backoff.ms")?,
            auto_join: view.flag("controller.quorum.auto.join.enable"),
            heartbeat_interval: view.positive_millis("broker.heartbeat.interval.ms")?,
            session_timeout: view.positive_millis("broker.session.timeout.ms")?,
            registration_timeout: view.positive_millis("initial.broker.registration.timeout.ms")?,
            snapshot_after_bytes: view.number("metadata.log.max.record.bytes.between.snapshots") as u64,
            snapshot_interval: Some(snapshot_interval).filter(|interval| !interval.is_zero()),
            idle_interval: Some(idle_interval).filter(|interval| !interval.is_zero()),
            rebalance_interval: view.flag("auto.leader.rebalance.enable").then_some(rebalance),
            unclean_interval: view.positive_millis("unclean.leader.election.interval.ms")?,
            forward_timeout: view.positive_millis("request.timeout.ms")?,
        };
        if settings.heartbeat_interval * 2 > settings.session_timeout {
            let wanted = format!(
                "at most half of `broker.session.timeout.ms`, which is {}",
                settings.session_timeout.as_millis()
            );
            return Err(view.refusal("broker.heartbeat.interval.ms", &wanted));
        }
        Ok(settings)
    }
}

impl ReplicationSettings {
    pub(super) fn read(view: &View<'_>) -> Result<ReplicationSettings, ConfigError> {
        let number = |name: &str| view.number(name) as i32;
        let settings = ReplicationSettings {
            lag_time_max: view.positive_millis("replica.lag.time.max.ms")?,
            fetch_wait_max: view.millis("replica.fetch.wait.max.ms")?,
            fetch_min_bytes: number("replica.fetch.min.bytes"),
            fetch_max_bytes: number("replica.fetch.max.bytes"),
            fetch_response_max_bytes: number("replica.fetch.response.max.bytes"),
            fetch_backoff: view.millis("replica.fetch.backoff.ms")?,
            fetch_timeout: view.positive_millis("replica.socket.timeout.ms")?,
            fetchers: view.number("num.replica.fetchers") as usize,
            high_watermark_checkpoint_interval: view
                .positive_millis("replica.high.watermark.checkpoint.interval.ms")?,
            selector: ReplicaSelector::read(view)?,
            throttle_window: Duration::from_secs(view.number("replication.quota.window.size.seconds") as u64),
            throttle_windows: view.number("replication.quota.window.num") as u32,
        };
        let limits = [
            ("replica.socket.timeout.ms", settings.fetch_timeout),
            ("replica.lag.time.max.ms", settings.lag_time_max),
        ];
        for (name, limit) in limits {
            if settings.fetch_wait_max > limit {
                let wanted = format!("at most `{name}`, which is {}", limit.as_millis());
                return Err(view.refusal("replica.fetch.wait.max.ms", &wanted));
            }
        }
        Ok(settings)
    }
}

impl ReplicaSelector {
    const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    const LEADER: &str = "org.apache.kafka.common.replica.LeaderSelector";

    fn read(view: &View<'_>) -> Result<ReplicaSelector, ConfigError> {
        match view.text("replica.selector.class").as_deref() {
            None | Some(Self::LEADER) => Ok(ReplicaSelector::Leader),
            Some(Self::RACK_AWARE) => Ok(ReplicaSelector::RackAware),
            Some(_) => {
                let wanted = format!("one of {}, {}", Self::LEADER, Self::RACK_AWARE);
                Err(view.refusal("replica.selector.class", &wanted))
            }
        }
    }
}

pub(super) fn check_protocols(view: &View<'_>) -> Result<(), ConfigError> {
    for pair in view.list("listener.security.protocol.map") {
        let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
        let protocol = pair.split_once(':').map(|(_, protocol)| protocol.to_ascii_uppercase());
        if !protocol.is_some_and(|protocol| known.contains(&protocol.as_str())) {
            return Err(view.refusal("listener.security.protocol.map", "NAME:PROTOCOL pairs"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::{BrokerConfig, ReplicaSelector};

    const THREE: &str =
        "controller.quorum.voters=1@a:9093,2@b:9093,3@[::1]:9093\ncontroller.listener.names=CONTROLLER\n";
    const COMBINED: &str = "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n";

    fn parse(text: &str) -> Result<BrokerConfig, String> {
        BrokerConfig::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_role_of_a_cluster_is_read() {
        let combined = parse(&format!("node.id=3\n{THREE}{COMBINED}")).unwrap();
        assert!(combined.roles.are_combined());
        assert_eq!((combined.voters[2].host.as_str(), combined.voters.len()), ("::1", 3));
        assert_eq!((combined.listeners.len(), combined.controller_listeners.len()), (1, 1));
        assert_eq!(combined.inter_broker_listener, "PLAINTEXT");
        let broker =
            parse(&format!("node.id=4\nprocess.roles=broker\n{THREE}listeners=PLAINTEXT://:9092")).unwrap();
        assert_eq!((broker.listeners.len(), broker.controller_listeners.len()), (1, 0));
        let controller =
            parse(&format!("node.id=1\nprocess.roles=controller\n{THREE}listeners=CONTROLLER://:9093"))
                .unwrap();
        assert_eq!((controller.listeners.len(), controller.controller_listeners.len()), (0, 1));
        let rack = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
        assert_eq!(parse(rack).unwrap().replication.selector, ReplicaSelector::RackAware);
    }

    #[test]
    fn quorum_is_that_of_its_bootstrap_servers_unless_they_are_this_node() {
        let with = |servers: &str| {
            let names = "controller.listener.names=CONTROLLER\n";
            parse(&format!("{names}{COMBINED}controller.quorum.bootstrap.servers={servers}")).unwrap()
        };
        assert!(BrokerConfig::default().is_alone());
        assert!(with("localhost:9093").is_alone());
        for servers in ["localhost:9094", "other:9093", "localhost:9093,other:9093"] {
            assert!(!with(servers).is_alone(), "{servers}");
        }
        assert_eq!(with("[::1]:9093,b:1").bootstrap_servers, [("::1".to_owned(), 9093), ("b".to_owned(), 1)]);
        let broker = "node.id=4\nprocess.roles=broker\nlisteners=PLAINTEXT://:9092\n\
            controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=a:9093";
        assert!(!parse(broker).unwrap().is_alone());
    }

    #[test]
    fn contradictions_name_the_property_and_the_choices() {
        for (text, property, says) in [
            (format!("node.id=4\n{THREE}{COMBINED}"), "controller.quorum.voters", "`node.id` is 4"),
            (
                format!("node.id=1\nprocess.roles=broker\n{THREE}"),
                "controller.quorum.voters",
                "without this node",
            ),
            ("process.roles=broker".into(), "controller.quorum.voters", "the controllers"),
            ("controller.quorum.voters=1@a:1,1@b:1".into(), "controller.quorum.voters", "1 is there twice"),
            ("controller.quorum.voters=1@a".into(), "controller.quorum.voters", "`1@a` is not"),
            ("controller.quorum.voters=1@0.0.0.0:9093".into(), "controller.quorum.voters", "is not"),
            ("controller.quorum.voters=1@a:1,2@b:1".into(), "controller.listener.names", "several voters"),
            (
                "controller.quorum.bootstrap.servers=a:1,b".into(),
                "controller.quorum.bootstrap.servers",
                "`b` is not",
            ),
            (
                "controller.quorum.bootstrap.servers=a:1".into(),
                "controller.listener.names",
                "a listener of the controller",
            ),
            (format!("{THREE}listeners=PLAINTEXT://:9092"), "listeners", "`CONTROLLER`"),
            (
                format!("process.roles=controller\n{THREE}{COMBINED}"),
                "listeners",
                "those of `controller.listener.names` alone",
            ),
            (
                format!("node.id=4\nprocess.roles=broker\n{THREE}{COMBINED}"),
                "listeners",
                "without those of `controller.listener.names`",
            ),
            ("process.roles=controller".into(), "controller.listener.names", "a listener of the controller"),
            (
                format!("{THREE}{COMBINED}inter.broker.listener.name=CONTROLLER"),
                "inter.broker.listener.name",
                "PLAINTEXT",
            ),
            ("inter.broker.listener.name=OTHER".into(), "inter.broker.listener.name", "PLAINTEXT"),
            ("process.roles=".into(), "process.roles", "each once"),
            ("process.roles=broker,broker".into(), "process.roles", "each once"),
            ("broker.session.timeout.ms=3999".into(), "broker.heartbeat.interval.ms", "half"),
            (
                "controller.quorum.fetch.timeout.ms=0".into(),
                "controller.quorum.fetch.timeout.ms",
                "at least 1",
            ),
            ("replica.lag.time.max.ms=499".into(), "replica.fetch.wait.max.ms", "which is 499"),
            ("replica.selector.class=Mine".into(), "replica.selector.class", "RackAware"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(&format!("`{property}`")) && error.contains(says), "{text}: {error}");
        }
    }
}
