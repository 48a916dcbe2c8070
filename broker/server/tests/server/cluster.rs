//! Several nodes: they elect a controller, know the same topics, and go on without any one of them.

use crate::common::peer::Peer;
use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_runtime::Runtime;
use burnin_server::{Broker, BrokerConfig, Release};
use burnin_wire::kafka::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use burnin_wire::kafka::messages::describe_quorum_request::{PartitionData, TopicData};
use burnin_wire::kafka::messages::describe_quorum_response::ReplicaState;
use burnin_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use burnin_wire::kafka::messages::metadata_response::MetadataResponse;
use burnin_wire::kafka::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use burnin_wire::kafka::messages::{ApiVersionsRequest, DescribeQuorumRequest, TopicName};
use burnin_wire::{ErrorCode, StrBytes};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

const SEEDS: u64 = 6;

/// Node ids with their roles.
pub(crate) type Layout = &'static [(i32, &'static str)];

pub(crate) const COMBINED: Layout =
    &[(1, "broker,controller"), (2, "broker,controller"), (3, "broker,controller")];
pub(crate) const SEPARATE: Layout = &[
    (1, "broker"),
    (2, "broker"),
    (3, "broker"),
    (101, "controller"),
    (102, "controller"),
    (103, "controller"),
];

pub(crate) fn ip(id: i32) -> [u8; 4] {
    [10, 0, 0, id as u8]
}

pub(crate) struct World {
    pub(crate) handle: SimHandle,
    layout: Layout,
    pub(crate) nodes: BTreeMap<i32, SimNode>,
    pub(crate) brokers: BTreeMap<i32, Broker<SimRuntime>>,
    pub(crate) client: SimRuntime,
    settings: &'static str,
    /// The release of each node; the latest, for those that are not named.
    pub(crate) releases: BTreeMap<i32, Release>,
    /// As which release the cluster begins.
    bootstrap_release: Release,
}

impl World {
    pub(crate) fn settings(&self, id: i32) -> BrokerConfig {
        let roles = self.layout.iter().find(|(node, _)| *node == id).expect("a node of the layout").1;
        let host = ip(id).map(|part| part.to_string()).join(".");
        let voters = self.layout.iter().filter(|(_, roles)| roles.contains("controller"));
        let voters =
            voters.map(|(id, _)| format!("{id}@{}:9093", ip(*id).map(|part| part.to_string()).join(".")));
        let mut listeners = Vec::new();
        if roles.contains("broker") {
            listeners.push(format!("PLAINTEXT://{host}:9092"));
        }
        if roles.contains("controller") {
            listeners.push(format!("CONTROLLER://{host}:9093"));
        }
        let text = format!(
            "node.id={id}\nprocess.roles={roles}\nlog.dirs=/data\ncluster.id=a-cluster\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.voters={}\nlisteners={}\n{}\n",
            voters.collect::<Vec<_>>().join(","),
            listeners.join(","),
            self.settings
        );
        let config = BrokerConfig::parse(&text).expect("a valid configuration");
        let release = self.releases.get(&id).copied().unwrap_or(Release::LATEST);
        BrokerConfig { release, bootstrap_release: self.bootstrap_release, ..config }
    }

    pub(crate) async fn start(&mut self, id: i32) {
        let runtime = self.handle.runtime(self.nodes[&id]);
        let broker = Broker::start(runtime, self.settings(id)).await.expect("the node starts");
        self.brokers.insert(id, broker);
    }

    pub(crate) fn kill(&mut self, id: i32) {
        self.handle.kill(self.nodes[&id]).expect("the node runs");
        // Its tasks are gone: nothing of it may run on.
        if let Some(broker) = self.brokers.remove(&id) {
            std::mem::forget(broker);
        }
    }

    pub(crate) fn broker_ids(&self) -> Vec<i32> {
        let is_broker = |id: &&i32| self.layout.iter().any(|(node, r)| node == *id && r.contains("broker"));
        self.brokers.keys().filter(is_broker).copied().collect()
    }

    pub(crate) async fn peer(&self, id: i32) -> Peer<SimRuntime> {
        Peer::connect_served(&self.client, SocketAddr::from((ip(id), 9092))).await
    }

    pub(crate) async fn metadata(&self, id: i32, topic: Option<&str>) -> MetadataResponse {
        let topics = topic.map(|name| {
            vec![
                MetadataRequestTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_string(name.into())))),
            ]
        });
        let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        let mut peer = self.peer(id).await;
        call!(peer, Metadata v 12, request)
    }

    /// Waits until every broker that runs knows all of those that run, and nobody else.
    pub(crate) async fn settle(&self) {
        let alive = self.broker_ids();
        for _ in 0..600 {
            let mut agree = true;
            for id in &alive {
                let known = self.metadata(*id, Some("nothing")).await;
                agree &= known.brokers.iter().map(|broker| broker.node_id.0).collect::<Vec<_>>() == alive;
            }
            if agree {
                return;
            }
            self.client.sleep(Duration::from_millis(100)).await;
        }
        panic!("the brokers {alive:?} do not agree about themselves");
    }

    /// Waits until broker `id` says that a feature has this level.
    pub(crate) async fn finalized(&self, id: i32, feature: &str, level: Option<i16>) {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("test"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let mut peer = self.peer(id).await;
        for _ in 0..100 {
            let answer = call!(peer, ApiVersions v 3, request.clone());
            let found = answer.finalized_features.iter().find(|found| found.name.as_str() == feature);
            if found.map(|found| found.max_version_level) == level {
                return;
            }
            self.client.sleep(Duration::from_millis(100)).await;
        }
        panic!("broker {id} does not see level {level:?} of {feature}");
    }

    pub(crate) async fn create(&self, id: i32, topic: &str, partitions: i32, replicas: i16) -> ErrorCode {
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.into())))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let mut peer = self.peer(id).await;
        ErrorCode(call!(peer, CreateTopics v 7, request).topics[0].error_code)
    }

    /// Waits until broker `id` sees a leader for every partition, and gives their ISRs.
    pub(crate) async fn isrs(&self, id: i32, topic: &str, wanted: impl Fn(&[i32]) -> bool) -> Vec<Vec<i32>> {
        let mut last = None;
        for _ in 0..600 {
            let known = self.metadata(id, Some(topic)).await;
            let partitions = &known.topics[0].partitions;
            let isr = |p: &burnin_wire::kafka::messages::metadata_response::MetadataResponsePartition| {
                p.isr_nodes.iter().map(|id| id.0).collect::<Vec<i32>>()
            };
            let isrs: Vec<_> = partitions.iter().map(isr).collect();
            let led = partitions.iter().all(|partition| partition.leader_id.0 >= 0);
            if !partitions.is_empty() && led && isrs.iter().all(|isr| wanted(isr)) {
                return isrs;
            }
            last = Some(isrs);
            self.client.sleep(Duration::from_millis(100)).await;
        }
        panic!("broker {id} does not see what is wanted of {topic}: {last:?}");
    }
}

pub(crate) fn in_cluster<F: Future<Output = ()> + 'static>(
    layout: Layout,
    test: impl Fn(World) -> F + Clone + 'static,
) {
    in_cluster_with(layout, "", test);
}

pub(crate) fn in_cluster_with<F: Future<Output = ()> + 'static>(
    layout: Layout,
    settings: &'static str,
    test: impl Fn(World) -> F + Clone + 'static,
) {
    in_cluster_of(layout, settings, &[], test);
}

/// Nodes of these releases; the cluster begins as one of the oldest.
pub(crate) fn in_cluster_of<F: Future<Output = ()> + 'static>(
    layout: Layout,
    settings: &'static str,
    releases: &'static [(i32, Release)],
    test: impl Fn(World) -> F + Clone + 'static,
) {
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, SimConfig::default());
        let handle = sim.handle();
        let nodes =
            layout.iter().map(|(id, _)| (*id, handle.add_node(NodeSpec::new(format!("n{id}"), ip(*id)))));
        let nodes = nodes.collect();
        let client = handle.runtime(handle.add_node(NodeSpec::new("client", [10, 0, 1, 1])));
        let test = test.clone();
        let run = async move {
            let mut world = World {
                handle,
                layout,
                nodes,
                brokers: BTreeMap::new(),
                client,
                settings,
                releases: releases.iter().copied().collect(),
                bootstrap_release: releases.iter().map(|(_, one)| *one).min().unwrap_or(Release::LATEST),
            };
            for (id, _) in layout {
                world.start(*id).await;
            }
            world.settle().await;
            test(world).await;
        };
        if let Err(error) = sim.block_on(run) {
            panic!("seed {seed}: {error}");
        }
    }
}

async fn topics_are_created_via_any_broker(world: World) {
    for id in world.broker_ids() {
        let name = format!("orders-{id}");
        assert_eq!(world.create(id, &name, 4, 3).await, ErrorCode::NONE);
        for other in world.broker_ids() {
            let isrs = world.isrs(other, &name, |isr| isr.len() == 3).await;
            assert_eq!(isrs.len(), 4);
        }
    }
    assert_eq!(world.create(2, "orders-1", 1, 1).await, ErrorCode::TOPIC_ALREADY_EXISTS);
    assert_eq!(world.create(3, "too-many", 1, 4).await, ErrorCode::INVALID_REPLICATION_FACTOR);
}

#[test]
fn combined_nodes_create_topics_via_any_broker() {
    in_cluster(COMBINED, topics_are_created_via_any_broker);
}

#[test]
fn separate_controllers_create_topics_via_any_broker() {
    in_cluster(SEPARATE, topics_are_created_via_any_broker);
}

/// Kills one node after the other, so that the active controller is among them, and starts it again.
async fn every_node_can_be_missed(mut world: World) {
    let ids: Vec<i32> = world.nodes.keys().copied().collect();
    for id in ids {
        let before = format!("before-{id}");
        assert_eq!(world.create(world.broker_ids()[0], &before, 3, 3).await, ErrorCode::NONE);
        world.kill(id);
        world.settle().await;
        let asked = world.broker_ids()[0];
        let name = format!("without-{id}");
        assert_eq!(world.create(asked, &name, 1, 2).await, ErrorCode::NONE);
        let gone = id;
        world.isrs(asked, &before, |isr| !isr.contains(&gone)).await;
        world.handle.start(world.nodes[&id]).expect("the node starts again");
        world.start(id).await;
        world.settle().await;
        world.isrs(asked, &name, |isr| !isr.is_empty()).await;
    }
}

#[test]
fn combined_nodes_go_on_without_any_one_of_them() {
    in_cluster(COMBINED, every_node_can_be_missed);
}

#[test]
fn separate_controllers_go_on_without_any_one_of_them() {
    in_cluster(SEPARATE, every_node_can_be_missed);
}

/// Metadata go into snapshots, the log begins behind them, and a node that missed all of it gets the snapshot.
async fn snapshots_take_the_place_of_the_log(mut world: World) {
    world.kill(3);
    world.settle().await;
    for number in 0..12 {
        assert_eq!(world.create(1, &format!("topic-{number}"), 3, 2).await, ErrorCode::NONE);
    }
    for id in [1, 2] {
        let files = world.handle.runtime(world.nodes[&id]);
        let dir = std::path::Path::new("/data/__cluster_metadata-0");
        let entries = burnin_runtime::Disk::list(files.disk(), dir).await.expect("the directory is there");
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        // The last two, and one that was just written.
        let count = names.iter().filter(|name| name.ends_with(".checkpoint")).count();
        assert!((1..=3).contains(&count), "node {id}: {names:?}");
    }
    world.handle.start(world.nodes[&3]).expect("the node starts again");
    world.start(3).await;
    world.settle().await;
    for number in 0..12 {
        world.isrs(3, &format!("topic-{number}"), |isr| !isr.is_empty()).await;
    }
    for id in [1, 2, 3] {
        world.kill(id);
    }
    for id in [1, 2, 3] {
        world.handle.start(world.nodes[&id]).expect("the node starts again");
        world.start(id).await;
    }
    world.settle().await;
    for id in [1, 2, 3] {
        for number in 0..12 {
            world.isrs(id, &format!("topic-{number}"), |isr| !isr.is_empty()).await;
        }
    }
}

#[test]
fn a_node_that_missed_everything_gets_a_snapshot() {
    let often = "metadata.log.max.record.bytes.between.snapshots=1000";
    in_cluster_with(COMBINED, often, snapshots_take_the_place_of_the_log);
}

/// One decision is one batch, also when it is larger than a segment of the metadata log may be.
async fn a_decision_larger_than_a_segment(mut world: World) {
    assert_eq!(world.create(1, "small", 1, 3).await, ErrorCode::NONE);
    assert_eq!(world.create(2, "large", 40, 3).await, ErrorCode::NONE);
    for id in [1, 2, 3] {
        world.kill(id);
    }
    for id in [1, 2, 3] {
        world.handle.start(world.nodes[&id]).expect("the node starts again");
        world.start(id).await;
    }
    world.settle().await;
    assert_eq!(world.isrs(3, "large", |isr| !isr.is_empty()).await.len(), 40);
}

#[test]
fn a_topic_whose_records_exceed_a_segment_of_the_metadata_log_is_created() {
    in_cluster_with(COMBINED, "metadata.log.segment.bytes=1024", a_decision_larger_than_a_segment);
}

/// Whoever comes back has not applied the metadata at once, and does not answer by what it has so far.
async fn no_topic_is_denied(mut world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    for id in [3, 1, 3] {
        world.isrs(id, "orders", |isr| isr.len() == 3).await;
        world.kill(id);
        world.handle.start(world.nodes[&id]).expect("the node starts again");
        world.start(id).await;
        let known = world.metadata(id, Some("orders")).await;
        assert_eq!(known.topics[0].error_code, 0, "broker {id} denies a topic");
    }
}

#[test]
fn a_broker_that_comes_back_denies_no_topic() {
    in_cluster(COMBINED, no_topic_is_denied);
}

/// A node of another cluster and a second node with a number that is taken are refused, and nobody else minds.
async fn strangers_are_refused(mut world: World) {
    let stranger = world.handle.add_node(NodeSpec::new("stranger", [10, 0, 0, 9]));
    let voters = "controller.quorum.voters=1@10.0.0.1:9093,2@10.0.0.2:9093,3@10.0.0.3:9093";
    let settings = |cluster: &str, id: i32| {
        let text = format!(
            "node.id={id}\nprocess.roles=broker\ncluster.id={cluster}\nlog.dirs=/{cluster}-{id}\n{voters}\n\
             controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://10.0.0.9:9092"
        );
        BrokerConfig::parse(&text).expect("a valid configuration")
    };
    let runtime = world.handle.runtime(stranger);
    let foreign = Broker::start(runtime.clone(), settings("another-cluster", 9)).await.expect("it starts");
    world.client.sleep(Duration::from_secs(5)).await;
    world.settle().await;
    assert_eq!(foreign.shutdown().await, Ok(()));
    drop(foreign);
    let fourth = Broker::start(runtime.clone(), settings("a-cluster", 4)).await.expect("it starts");
    world.brokers.insert(4, fourth.clone());
    let alive = |known: &MetadataResponse| known.brokers.iter().any(|broker| broker.node_id.0 == 4);
    let mut joined = false;
    for _ in 0..100 {
        joined |= alive(&world.metadata(1, Some("nothing")).await);
        world.client.sleep(Duration::from_millis(100)).await;
    }
    assert!(joined, "a broker of this cluster joins it");
    let other_dir = settings("a-cluster", 5).with("log.dirs", "/a-cluster-4").expect("a valid property");
    assert_eq!(fourth.shutdown().await, Ok(()));
    world.brokers.remove(&4);
    drop(fourth);
    let refused = Broker::start(runtime, other_dir).await.err().expect("the directory of another node");
    assert!(refused.to_string().contains("node.id `4`"), "{refused}");
}

#[test]
fn nodes_of_another_cluster_and_foreign_directories_are_refused() {
    in_cluster(COMBINED, strangers_are_refused);
}

async fn the_quorum_is_described_by_any_broker(world: World) {
    let controllers = world.layout.iter().filter(|(_, roles)| roles.contains("controller"));
    let controllers: Vec<i32> = controllers.map(|(id, _)| *id).collect();
    let observers: Vec<i32> = world.broker_ids().into_iter().filter(|id| !controllers.contains(id)).collect();
    let about = |topic: &str| {
        let topic = TopicData::default()
            .with_topic_name(TopicName(StrBytes::from_string(topic.into())))
            .with_partitions(vec![PartitionData::default()]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    for id in world.broker_ids() {
        let mut peer = world.peer(id).await;
        let answer = call!(peer, DescribeQuorum v 2, about("__cluster_metadata"));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, partition.error_code), (0, 0));
        assert!(controllers.contains(&partition.leader_id.0), "{partition:?}");
        assert!(partition.leader_epoch > 0 && partition.high_watermark > 0, "{partition:?}");
        let ids = |states: &[ReplicaState]| {
            let mut ids: Vec<i32> = states.iter().map(|state| state.replica_id.0).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&partition.current_voters), controllers);
        assert_eq!(ids(&partition.observers), observers);
        let wall_ms = world.client.wall_ms();
        for state in partition.current_voters.iter().chain(&partition.observers) {
            assert!(state.log_end_offset > 0 && state.log_end_offset <= partition.high_watermark + 100);
            assert!((wall_ms - state.last_caught_up_timestamp).abs() < 5_000, "{state:?}");
        }
        let nodes: Vec<i32> = answer.nodes.iter().map(|node| node.node_id.0).collect();
        assert_eq!(nodes, controllers);
        assert!(answer.nodes.iter().all(|node| node.listeners[0].port == 9093));
        let other = call!(peer, DescribeQuorum v 2, about("orders"));
        let code = ErrorCode(other.topics[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn combined_nodes_describe_the_quorum() {
    in_cluster(COMBINED, the_quorum_is_described_by_any_broker);
}

#[test]
fn separate_controllers_describe_the_quorum() {
    in_cluster(SEPARATE, the_quorum_is_described_by_any_broker);
}

async fn features_are_updated_via_any_broker(world: World) {
    const ELR: &str = "eligible.leader.replicas.version";
    let update = |name: &str, level: i16, kind: i8| {
        let update = FeatureUpdateKey::default()
            .with_feature(StrBytes::from_string(name.into()))
            .with_max_version_level(level)
            .with_upgrade_type(kind);
        UpdateFeaturesRequest::default().with_timeout_ms(10_000).with_feature_updates(vec![update])
    };
    let (upgrade, downgrade) = (1, 2);
    for id in world.broker_ids() {
        let mut peer = world.peer(id).await;
        // Once every controller has registered.
        let mut last = None;
        for _ in 0..100 {
            let answer = call!(peer, UpdateFeatures v 2, update(ELR, 0, downgrade));
            last = Some((ErrorCode(answer.error_code), answer.error_message));
            if answer.error_code == 0 {
                break;
            }
            world.client.sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(last, Some((ErrorCode::NONE, None)));
        world.finalized(id, ELR, None).await;
        let answer = call!(peer, UpdateFeatures v 1, update(ELR, 1, upgrade));
        assert_eq!((answer.error_code, answer.results[0].error_code), (0, 0), "{answer:?}");
        world.finalized(id, ELR, Some(1)).await;
        for (name, level, kind) in
            [("metadata.version", 99, upgrade), (ELR, 0, upgrade), ("no.feature", 1, upgrade)]
        {
            let answer = call!(peer, UpdateFeatures v 2, update(name, level, kind));
            assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_UPDATE_VERSION, "{name}");
        }
        let answer = call!(peer, UpdateFeatures v 2, update(ELR, 1, 7));
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_REQUEST);
    }
}

#[test]
fn combined_nodes_update_features() {
    in_cluster(COMBINED, features_are_updated_via_any_broker);
}

#[test]
fn separate_controllers_update_features() {
    in_cluster(SEPARATE, features_are_updated_via_any_broker);
}
