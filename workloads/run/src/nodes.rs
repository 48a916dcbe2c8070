//! The nodes of a plan: who they are, and each one's `server.properties`.
//!
//! One broker is a cluster of its own and needs nothing. Several have a metadata quorum: with combined roles
//! the first brokers vote, as many as make an odd number of at most five; with separate controllers those do.

use burnin_history::NodeId;
use burnin_scenario::{Controllers, Plan};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The first `node.id` of separate controllers.
const FIRST_CONTROLLER: i32 = 101;
/// The id of every cluster that runs a plan.
const CLUSTER_ID: &str = "c2ltdWxhdGVkLWNsdXN0ZQ";

/// A machine that runs the system under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its `node.id`.
    pub id: NodeId,
    /// As reports name it.
    pub name: String,
    /// Whether it holds partitions.
    pub broker: bool,
    /// Whether it votes on metadata.
    pub voter: bool,
}

/// All of them: the brokers in order, then the controllers that are nothing else.
pub fn machines(plan: &Plan) -> Vec<Machine> {
    let mut machines = brokers(1, plan.topology.brokers as i32);
    if let Controllers::Separate(count) = plan.topology.controllers {
        machines.iter_mut().for_each(|machine| machine.voter = false);
        machines.extend((0..count as i32).map(|number| Machine {
            id: NodeId(FIRST_CONTROLLER + number),
            name: format!("controller-{}", number + 1),
            broker: false,
            voter: true,
        }));
    }
    machines
}

/// So many brokers, the first of which vote as well. `first` is the first one's `node.id`.
pub fn brokers(first: i32, count: i32) -> Vec<Machine> {
    let voters = voters_among(count);
    let machine = |number: i32| {
        let id = first + number;
        Machine { id: NodeId(id), name: format!("broker-{id}"), broker: true, voter: number < voters }
    };
    (0..count).map(machine).collect()
}

/// An odd number: one more voter would have to be heard and make nothing safer.
fn voters_among(brokers: i32) -> i32 {
    match brokers {
        ..=2 => 1,
        3..=4 => 3,
        _ => 5,
    }
}

/// The voters with which the quorum of a plan begins, where they stand in its log: `id@host:port:directory`, as
/// `burnin-broker format --initial-controllers` takes them. Nothing where they are configured.
pub fn initial_controllers(
    plan: &Plan,
    all: &[Machine],
    at: impl Fn(&Machine, Listener) -> SocketAddr,
) -> Vec<String> {
    if plan.topology.kraft_version == 0 || all.len() == 1 {
        return Vec::new();
    }
    let voters = all.iter().filter(|machine| machine.voter);
    // 16 bytes as base64: the last of 22 characters has two bits.
    let entry = |voter: &Machine| {
        format!("{}@{}:directory-of-node-{:03}A", voter.id, at(voter, Listener::Controller), voter.id.0)
    };
    voters.map(entry).collect()
}

/// What listens on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// For clients and other brokers.
    Broker,
    /// For the metadata quorum.
    Controller,
}

/// A machine's properties, where `at` says what listens where, and `data` is its data directory.
pub fn properties(
    plan: &Plan,
    me: &Machine,
    all: &[Machine],
    at: impl Fn(&Machine, Listener) -> SocketAddr,
    data: &str,
) -> BTreeMap<String, String> {
    let mut properties = plan.topology.properties.clone();
    properties.extend(membership(me, all, &at));
    if plan.topology.kraft_version > 0 && properties.remove("controller.quorum.voters").is_some() {
        let voters = all.iter().filter(|machine| machine.voter);
        let voters: Vec<String> = voters.map(|voter| at(voter, Listener::Controller).to_string()).collect();
        properties.insert("controller.quorum.bootstrap.servers".to_owned(), voters.join(","));
    }
    properties.insert("log.dirs".to_owned(), data.to_owned());
    let brokers = plan.topology.brokers;
    let mut default = |name: &str, value: String| {
        properties.entry(name.to_owned()).or_insert(value);
    };
    default("auto.create.topics.enable", "false".to_owned());
    default("default.replication.factor", brokers.min(3).to_string());
    if let Some(rack) = plan.topology.racks.get(me.id.0 as usize - 1).filter(|_| me.broker) {
        properties.insert("broker.rack".to_owned(), rack.clone());
    }
    properties
}

/// The properties that make machines a cluster: one's id, roles and listeners, and who votes.
pub fn membership(
    me: &Machine,
    all: &[Machine],
    at: impl Fn(&Machine, Listener) -> SocketAddr,
) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut listeners = Vec::new();
    if me.broker {
        listeners.push(format!("PLAINTEXT://{}", at(me, Listener::Broker)));
    }
    let mut set = |name: &str, value: String| drop(properties.insert(name.to_owned(), value));
    set("node.id", me.id.to_string());
    if all.len() > 1 {
        if me.voter {
            listeners.push(format!("CONTROLLER://{}", at(me, Listener::Controller)));
        }
        let roles = match (me.broker, me.voter) {
            (true, true) => "broker,controller",
            (true, false) => "broker",
            _ => "controller",
        };
        let voters = all.iter().filter(|machine| machine.voter);
        let voters: Vec<String> =
            voters.map(|voter| format!("{}@{}", voter.id, at(voter, Listener::Controller))).collect();
        set("process.roles", roles.to_owned());
        set("controller.quorum.voters", voters.join(","));
        set("controller.listener.names", "CONTROLLER".to_owned());
        set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned());
        set("cluster.id", CLUSTER_ID.to_owned());
    }
    set("listeners", listeners.join(","));
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_scenario::{Scenario, Seed};

    fn at(machine: &Machine, listener: Listener) -> SocketAddr {
        let host = machine.id.0 as u8;
        match listener {
            Listener::Broker => SocketAddr::from(([10, 0, 0, host], 9092)),
            Listener::Controller => SocketAddr::from(([10, 0, 0, host], 9093)),
        }
    }

    fn plan(topology: &str) -> Plan {
        let text = format!(
            "schema = 1\nname = \"t\"\nsummary = \"t\"\n[run]\nduration = \"1s\"\n[topology]\n{topology}\n\
             [[topology.topic]]\nname = \"orders\"\n[[workload]]\nid = \"w\"\nkind = \"append-unique\"\n\
             topics = [\"orders\"]\nrate = \"1/s\"\n[[check]]\nid = \"log\"\nkind = \"kafka.log\"\nall = true\n"
        );
        Scenario::parse("t.toml", &text).expect("a valid scenario").resolve(Seed(1))
    }

    #[test]
    fn one_broker_needs_no_quorum() {
        let plan = plan("brokers = 1");
        let machines = machines(&plan);
        let properties = properties(&plan, &machines[0], &machines, at, "/data");
        assert_eq!(machines.len(), 1);
        assert_eq!(properties.get("controller.quorum.voters"), None);
        assert_eq!(properties["listeners"], "PLAINTEXT://10.0.0.1:9092");
    }

    #[test]
    fn combined_voters_are_odd_in_number_and_the_rest_are_brokers_only() {
        let plan = plan("brokers = 4\nracks = [\"a\", \"b\"]");
        let machines = machines(&plan);
        let of = |number: usize| properties(&plan, &machines[number], &machines, at, "/data");
        assert_eq!(of(0)["process.roles"], "broker,controller");
        assert_eq!(of(3)["process.roles"], "broker");
        assert_eq!(of(3)["listeners"], "PLAINTEXT://10.0.0.4:9092");
        assert_eq!(of(3)["broker.rack"], "b");
        assert_eq!(of(3)["controller.quorum.voters"], "1@10.0.0.1:9093,2@10.0.0.2:9093,3@10.0.0.3:9093");
    }

    #[test]
    fn voters_of_the_log_are_found_and_not_configured() {
        let plan = plan("brokers = 1\ncontrollers = 3\nkraft_version = 1");
        let machines = machines(&plan);
        let broker = properties(&plan, &machines[0], &machines, at, "/data");
        assert_eq!(broker.get("controller.quorum.voters"), None);
        assert_eq!(
            broker["controller.quorum.bootstrap.servers"],
            "10.0.0.101:9093,10.0.0.102:9093,10.0.0.103:9093"
        );
        let voters = initial_controllers(&plan, &machines, at);
        assert_eq!(voters[0], "101@10.0.0.101:9093:directory-of-node-101A");
    }

    #[test]
    fn separate_controllers_are_no_brokers() {
        let plan = plan("brokers = 3\ncontrollers = 3\nracks = [\"a\"]");
        let machines = machines(&plan);
        let last = properties(&plan, &machines[5], &machines, at, "/data");
        assert_eq!((machines.len(), last["process.roles"].as_str()), (6, "controller"));
        assert_eq!(last["listeners"], "CONTROLLER://10.0.0.103:9093");
        assert_eq!(last.get("broker.rack"), None);
    }
}
