//! Voters of a running quorum come and go (KIP-853), through any broker, and nobody minds.

use crate::common::peer::Peer;
use crate::common::requests::{create, text};
use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_runtime::Runtime;
use burnin_server::{Broker, BrokerConfig, InitialController, InitialVoters};
use burnin_wire::kafka::messages::describe_quorum_request::{PartitionData, TopicData};
use burnin_wire::kafka::messages::{
    AddRaftVoterRequest, DescribeClusterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest, TopicName,
    add_raft_voter_request, describe_quorum_response,
};
use burnin_wire::{ErrorCode, Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use uuid::Uuid;

const SEEDS: u64 = 4;
const BROKERS: [i32; 2] = [1, 2];
const VOTERS: [i32; 3] = [101, 102, 103];
const SPARE: i32 = 104;
const PORT: u16 = 9093;

fn ip(id: i32) -> [u8; 4] {
    [10, 0, 0, id as u8]
}

fn host(id: i32) -> String {
    ip(id).map(|part| part.to_string()).join(".")
}

fn directory(id: i32) -> Uuid {
    Uuid::from_u128(1000 + id as u128)
}

/// How the nodes know their voters.
#[derive(Clone, Copy, PartialEq)]
enum Voters {
    InLog,
    /// And voters are brokers as well.
    InLogCombined,
    Configured,
}

struct World {
    handle: SimHandle,
    nodes: BTreeMap<i32, SimNode>,
    running: BTreeMap<i32, Broker<SimRuntime>>,
    client: SimRuntime,
    kind: Voters,
    /// A property of single nodes, above those of all.
    own: BTreeMap<i32, (&'static str, String)>,
    settings: &'static str,
}

/// The quorum as its leader describes it.
struct Described {
    leader: i32,
    voters: BTreeMap<i32, Uuid>,
    observers: BTreeMap<i32, Uuid>,
    ports: BTreeMap<i32, u16>,
    high_watermark: i64,
}

impl World {
    fn config(&self, id: i32) -> BrokerConfig {
        let is_broker = BROKERS.contains(&id);
        let (role, listener) = match is_broker {
            true => ("broker", format!("PLAINTEXT://{}:9092", host(id))),
            false if self.kind == Voters::InLogCombined => {
                let both = format!("PLAINTEXT://{0}:9092,CONTROLLER://{0}:{PORT}", host(id));
                ("broker,controller", both)
            }
            false => ("controller", format!("CONTROLLER://{}:{PORT}", host(id))),
        };
        let quorum = match self.kind {
            Voters::InLog | Voters::InLogCombined => {
                let servers = VOTERS.map(|id| format!("{}:{PORT}", host(id)));
                format!("controller.quorum.bootstrap.servers={}", servers.join(","))
            }
            Voters::Configured => {
                let voters = VOTERS.map(|id| format!("{id}@{}:{PORT}", host(id)));
                format!("controller.quorum.voters={}", voters.join(","))
            }
        };
        let text = format!(
            "node.id={id}\nprocess.roles={role}\nlog.dirs=/data\ncluster.id=a-cluster\n\
             controller.listener.names=CONTROLLER\nlisteners={listener}\n{quorum}\n\
             default.replication.factor=2\n{}\n",
            self.settings
        );
        let config = BrokerConfig::parse(&text).expect("a valid configuration");
        match self.own.get(&id) {
            Some((name, value)) => config.with(name, value).expect("a valid property"),
            None => config,
        }
    }

    async fn start(&mut self, id: i32) {
        let runtime = self.handle.runtime(self.nodes[&id]);
        let broker = Broker::start(runtime, self.config(id)).await.expect("the node starts");
        self.running.insert(id, broker);
    }

    /// Formats the directories of the first nodes and starts them.
    async fn begin(&mut self) {
        for id in BROKERS.into_iter().chain(VOTERS) {
            if self.kind != Voters::Configured {
                let voter =
                    |id: i32| InitialController { id, host: host(id), port: PORT, directory: directory(id) };
                let voters = InitialVoters::Controllers(VOTERS.map(voter).to_vec());
                let runtime = self.handle.runtime(self.nodes[&id]);
                let config = self.config(id);
                let format = burnin_server::format(&runtime, &config, &voters);
                assert_eq!(format.await.expect("it is formatted"), "a-cluster");
            }
            self.start(id).await;
        }
        self.works("first").await;
    }

    fn kill(&mut self, id: i32) {
        self.handle.kill(self.nodes[&id]).expect("the node runs");
        if let Some(broker) = self.running.remove(&id) {
            std::mem::forget(broker);
        }
    }

    async fn revive(&mut self, id: i32) {
        self.handle.start(self.nodes[&id]).expect("the node was down");
        self.start(id).await;
    }

    /// An empty machine in its place.
    async fn replace(&mut self, id: i32) {
        self.kill(id);
        self.handle.wipe_disk(self.nodes[&id]).expect("the node is down");
        self.revive(id).await;
    }

    async fn pause(&self) {
        self.client.sleep(Duration::from_millis(200)).await;
    }

    async fn ask(&self, broker: i32, version: i16, request: impl Into<Request>) -> Response {
        let mut peer = Peer::connect_served(&self.client, SocketAddr::from((ip(broker), 9092))).await;
        peer.call(version, request).await
    }

    async fn describe(&self, broker: i32) -> Option<Described> {
        let topic = TopicData::default()
            .with_topic_name(TopicName(text("__cluster_metadata")))
            .with_partitions(vec![PartitionData::default()]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let Response::DescribeQuorum(answer) = self.ask(broker, 2, request).await else {
            panic!("another answer")
        };
        let partition = answer.topics.first()?.partitions.first().filter(|p| p.error_code == 0)?;
        let keys = |states: &[describe_quorum_response::ReplicaState]| {
            states.iter().map(|state| (state.replica_id.0, state.replica_directory_id)).collect()
        };
        Some(Described {
            leader: partition.leader_id.0,
            voters: keys(&partition.current_voters),
            observers: keys(&partition.observers),
            ports: answer.nodes.iter().map(|node| (node.node_id.0, node.listeners[0].port)).collect(),
            high_watermark: partition.high_watermark,
        })
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Described) -> bool) -> Described {
        for _ in 0..600 {
            if let Some(described) = self.describe(1).await.filter(&wanted) {
                return described;
            }
            self.pause().await;
        }
        panic!("it does not come to this: {what}");
    }

    async fn until_voters(&self, ids: &[i32]) -> Described {
        self.until(&format!("voters {ids:?}"), |d| d.voters.keys().copied().collect::<Vec<_>>() == ids).await
    }

    /// Asks until the answer is not that it would be another one later.
    async fn change(&self, broker: i32, request: impl Into<Request>) -> ErrorCode {
        let request = request.into();
        for _ in 0..300 {
            let code = match self.ask(broker, 0, request.clone()).await {
                Response::AddRaftVoter(answer) => answer.error_code,
                Response::RemoveRaftVoter(answer) => answer.error_code,
                _ => panic!("another answer"),
            };
            let code = ErrorCode(code);
            if ![ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_LEADER_OR_FOLLOWER].contains(&code) {
                return code;
            }
            self.pause().await;
        }
        panic!("{} times out for ever", request.api());
    }

    async fn add(&self, broker: i32, id: i32, directory: Uuid) -> ErrorCode {
        self.change(broker, adding(id, directory)).await
    }

    async fn remove(&self, broker: i32, id: i32, directory: Uuid) -> ErrorCode {
        self.change(broker, removing(id, directory)).await
    }

    /// Metadata can be written.
    async fn works(&self, topic: &str) {
        for attempt in 0..600 {
            let Response::CreateTopics(answer) = self.ask(1 + attempt % 2, 7, create(topic, 1, &[])).await
            else {
                panic!("another answer")
            };
            match ErrorCode(answer.topics[0].error_code) {
                ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS => return,
                _ => self.pause().await,
            }
        }
        panic!("topic {topic} cannot be created");
    }
}

fn adding(id: i32, directory: Uuid) -> AddRaftVoterRequest {
    let listener = add_raft_voter_request::Listener::default()
        .with_name(text("CONTROLLER"))
        .with_host(text(&host(id)))
        .with_port(PORT);
    AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(5_000)
        .with_voter_id(id)
        .with_voter_directory_id(directory)
        .with_listeners(vec![listener])
}

fn removing(id: i32, directory: Uuid) -> RemoveRaftVoterRequest {
    let request = RemoveRaftVoterRequest::default().with_cluster_id(None);
    request.with_voter_id(id).with_voter_directory_id(directory)
}

fn in_world<F: Future<Output = ()> + 'static>(
    kind: Voters,
    settings: &'static str,
    own: &'static [(i32, (&'static str, &'static str))],
    test: impl Fn(World, u64) -> F + Clone + 'static,
) {
    in_worlds(SEEDS, kind, settings, own, test);
}

fn in_worlds<F: Future<Output = ()> + 'static>(
    seeds: u64,
    kind: Voters,
    settings: &'static str,
    own: &'static [(i32, (&'static str, &'static str))],
    test: impl Fn(World, u64) -> F + Clone + 'static,
) {
    for seed in 0..seeds {
        let mut sim = Sim::new(seed, SimConfig::default());
        let handle = sim.handle();
        let ids = BROKERS.into_iter().chain(VOTERS).chain([SPARE]);
        let nodes = ids.map(|id| (id, handle.add_node(NodeSpec::new(format!("n{id}"), ip(id))))).collect();
        let client = handle.runtime(handle.add_node(NodeSpec::new("client", [10, 0, 1, 1])));
        let own = own.iter().map(|(id, (name, value))| (*id, (*name, (*value).to_owned()))).collect();
        let test = test.clone();
        let run = async move {
            let mut world = World { handle, nodes, running: BTreeMap::new(), client, kind, own, settings };
            world.begin().await;
            test(world, seed).await;
        };
        if let Err(error) = sim.block_on(run) {
            panic!("seed {seed}: {error}");
        }
    }
}

async fn one_comes_and_one_goes(mut world: World, _seed: u64) {
    let described = world.until_voters(&VOTERS).await;
    assert_eq!(described.voters[&101], directory(101));
    world.start(SPARE).await;
    let described = world.until("the spare is an observer", |d| d.observers.contains_key(&SPARE)).await;
    let spare = described.observers[&SPARE];
    assert_eq!(world.add(1, SPARE, spare).await, ErrorCode::NONE);
    assert_eq!(world.add(2, SPARE, spare).await, ErrorCode::DUPLICATE_VOTER);
    let described = world.until_voters(&[101, 102, 103, 104]).await;
    assert_eq!((described.voters[&SPARE], described.ports[&SPARE]), (spare, PORT));
    assert_eq!(world.remove(2, 101, Uuid::from_u128(77)).await, ErrorCode::VOTER_NOT_FOUND);
    // Whoever leads: it makes way.
    assert_eq!(world.remove(2, described.leader, described.voters[&described.leader]).await, ErrorCode::NONE);
    let left: Vec<i32> = described.voters.keys().copied().filter(|id| *id != described.leader).collect();
    let after = world.until_voters(&left).await;
    assert_ne!(after.leader, described.leader);
    world.works("second").await;
    for id in BROKERS.into_iter().chain(VOTERS).chain([SPARE]) {
        world.kill(id);
    }
    for id in BROKERS.into_iter().chain(VOTERS).chain([SPARE]) {
        world.revive(id).await;
    }
    let again = world.until_voters(&left).await;
    assert_eq!(again.voters, after.voters);
    world.works("third").await;
}

#[test]
fn controller_is_added_and_the_leader_removed_and_a_restart_remembers_it() {
    in_world(Voters::InLog, "", &[], one_comes_and_one_goes);
}

/// It makes way at the moment at which it answers; whoever passed the request on must not ask the next leader, which
/// would know of no such voter.
async fn leader_after_leader(world: World, seed: u64) {
    let asked = VOTERS[(seed % 3) as usize];
    for _ in 0..2 {
        let described = world.until("a leader", |_| true).await;
        let leader = described.leader;
        assert_eq!(world.remove(asked, leader, described.voters[&leader]).await, ErrorCode::NONE);
        world.until("another leader", |d| d.leader != leader).await;
    }
}

#[test]
fn leader_that_is_removed_says_so_itself() {
    in_worlds(100, Voters::InLogCombined, "", &[], leader_after_leader);
}

#[test]
fn snapshots_carry_the_voters() {
    let often = "metadata.log.max.record.bytes.between.snapshots=600";
    in_world(Voters::InLog, often, &[], one_comes_and_one_goes);
}

async fn replaced_voter(mut world: World, _seed: u64) {
    let before = world.until_voters(&VOTERS).await;
    world.replace(102).await;
    let described = world.until("the empty one is an observer", |d| d.observers.contains_key(&102)).await;
    assert_eq!(described.voters, before.voters, "the one that it was still votes, and is dead");
    let new = described.observers[&102];
    assert_ne!(new, directory(102));
    assert_eq!(world.add(1, 102, new).await, ErrorCode::DUPLICATE_VOTER);
    assert_eq!(world.remove(1, 102, directory(102)).await, ErrorCode::NONE);
    assert_eq!(world.add(2, 102, new).await, ErrorCode::NONE);
    assert_eq!(world.until_voters(&VOTERS).await.voters[&102], new);
    // It counts: without one of the others it makes a majority.
    world.kill(103);
    world.works("second").await;
}

#[test]
fn voter_that_lost_its_disk_is_another_one_until_it_is_added() {
    in_world(Voters::InLog, "", &[], replaced_voter);
}

async fn joins_by_itself(mut world: World, _seed: u64) {
    world.start(SPARE).await;
    world.until_voters(&[101, 102, 103, 104]).await;
    world.replace(102).await;
    let all_new = |d: &Described| d.voters.len() == 4 && d.voters[&102] != directory(102);
    world.until("the replaced one votes", all_new).await;
    world.works("second").await;
}

#[test]
fn controllers_join_by_themselves_where_they_may() {
    let joins = "controller.quorum.auto.join.enable=true";
    in_world(Voters::InLog, joins, &[], joins_by_itself);
}

async fn killed_in_between(mut world: World, seed: u64) {
    let mut entropy = world.handle.entropy("killed-in-between");
    world.start(SPARE).await;
    let described = world.until("the spare is an observer", |d| d.observers.contains_key(&SPARE)).await;
    let spare = described.observers[&SPARE];
    for round in 0..4 {
        let described = world.until("a leader", |_| true).await;
        let is_in = described.voters.contains_key(&SPARE);
        let request: Request = match is_in {
            false => adding(SPARE, spare).into(),
            true => removing(SPARE, spare).into(),
        };
        let mut peer = Peer::connect_served(&world.client, SocketAddr::from((ip(1), 9092))).await;
        peer.send(0, request).await;
        world.client.sleep(entropy.duration(Duration::ZERO, Duration::from_millis(40))).await;
        world.kill(described.leader);
        world.works(&format!("seed-{seed}-{round}")).await;
        world.revive(described.leader).await;
        let code = match is_in {
            false => world.add(2, SPARE, spare).await,
            true => world.remove(2, SPARE, spare).await,
        };
        let made = if is_in { ErrorCode::VOTER_NOT_FOUND } else { ErrorCode::DUPLICATE_VOTER };
        assert!([ErrorCode::NONE, made].contains(&code), "{code}");
        world.until("the change", |d| d.voters.contains_key(&SPARE) != is_in).await;
    }
}

#[test]
fn change_that_its_leader_did_not_survive_is_made_or_not_and_can_be_repeated() {
    in_world(Voters::InLog, "", &[], killed_in_between);
}

async fn voter_moves(mut world: World, _seed: u64) {
    world.until_voters(&VOTERS).await;
    for id in VOTERS {
        world.kill(id);
        world.own.insert(id, ("listeners", format!("CONTROLLER://{}:9193", host(id))));
        world.revive(id).await;
        world.until("the new port is known", |d| d.ports.get(&id) == Some(&9193)).await;
        world.works(&format!("moved-{id}")).await;
    }
}

#[test]
fn voters_that_listen_elsewhere_say_so() {
    in_world(Voters::InLog, "", &[], voter_moves);
}

async fn configured_voters_stay(mut world: World, _seed: u64) {
    world.until_voters(&VOTERS).await;
    assert_eq!(world.remove(1, 101, directory(101)).await, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(world.add(1, 101, Uuid::nil()).await, ErrorCode::INVALID_REQUEST);
    world.kill(101);
    world.works("second").await;
}

#[test]
fn configured_voters_are_not_changed() {
    in_world(Voters::Configured, "", &[], configured_voters_stay);
}

/// The others go on as if it were not there: it neither votes nor disturbs.
async fn one_is_wrong(world: World, _seed: u64) {
    let before = world.until("a leader among the others", |d| d.leader != 103).await;
    for number in 0..10 {
        world.works(&format!("topic-{number}")).await;
        world.client.sleep(Duration::from_secs(2)).await;
    }
    let after = world.until("a leader", |_| true).await;
    assert_eq!(after.leader, before.leader);
    assert!(after.high_watermark > before.high_watermark);
}

const LIST: &str = "controller.quorum.voters";

#[test]
fn voter_with_another_list_of_voters_is_refused_by_the_others() {
    in_world(
        Voters::Configured,
        "",
        &[(103, (LIST, "101@10.0.0.101:9093,103@10.0.0.103:9093,104@10.0.0.104:9093"))],
        one_is_wrong,
    );
    in_world(Voters::Configured, "", &[(103, (LIST, "103@10.0.0.103:9093"))], one_is_wrong);
}

async fn controllers_are_described(world: World, _seed: u64) {
    let described = world.until_voters(&VOTERS).await;
    let mut peer = Peer::connect(&world.client, SocketAddr::from((ip(102), PORT))).await;
    for _ in 0..100 {
        let request = DescribeClusterRequest::default().with_endpoint_type(2);
        let answer = call!(peer, DescribeCluster v 1, request);
        assert_eq!((answer.error_code, answer.endpoint_type), (0, 2));
        let ids: Vec<i32> = answer.brokers.iter().map(|node| node.broker_id.0).collect();
        if ids == VOTERS {
            assert_eq!(answer.controller_id.0, described.leader);
            let answer = call!(peer, DescribeCluster v 1, DescribeClusterRequest::default());
            assert_eq!(ErrorCode(answer.error_code), ErrorCode::MISMATCHED_ENDPOINT_TYPE);
            return;
        }
        world.pause().await;
    }
    panic!("not all controllers are described");
}

#[test]
fn controllers_are_described_on_their_own_listener() {
    in_world(Voters::InLog, "", &[], controllers_are_described);
}

/// Java's client that is told of no active controller never asks again.
async fn somebody_is_active(mut world: World, _seed: u64) {
    let leader = world.until_voters(&VOTERS).await.leader;
    let asked = VOTERS.into_iter().find(|&id| id != leader).unwrap();
    let mut peer = Peer::connect(&world.client, SocketAddr::from((ip(asked), PORT))).await;
    world.works("registered").await;
    world.kill(leader);
    let mut named = BTreeSet::new();
    while !named.iter().any(|&id| id != leader) {
        let request = DescribeClusterRequest::default().with_endpoint_type(2);
        let answer = call!(peer, DescribeCluster v 1, request);
        let ids: Vec<i32> = answer.brokers.iter().map(|node| node.broker_id.0).collect();
        assert!(ids.contains(&answer.controller_id.0), "{:?} is not in {ids:?}", answer.controller_id);
        named.insert(answer.controller_id.0);
        world.client.sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn active_controller_is_named_as_soon_as_there_is_one() {
    in_world(Voters::InLog, "", &[], somebody_is_active);
}
