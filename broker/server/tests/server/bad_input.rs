//! What does not belong in a cluster is refused with an error that says why, and the cluster goes on as if nothing had
//! happened: its records are there, and it takes more.

use crate::cluster::{COMBINED, World, in_cluster, in_cluster_with, ip};
use crate::common::peer::Peer;
use crate::common::requests::{batch, fetch, name, produce, text};
use burnin_engine::{NodeSpec, PathFilter, SimRuntime};
use burnin_runtime::Runtime;
use burnin_server::{Broker, BrokerConfig, ErrorClass};
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::{Api, ErrorCode, Request, Response};
use std::net::SocketAddr;
use std::time::Duration;
use uuid::Uuid;

impl World {
    pub(crate) async fn pause(&self) {
        self.client.sleep(Duration::from_millis(200)).await;
    }

    /// A connection to the controller listener of a node.
    pub(crate) async fn controller_listener(&self, id: i32) -> Peer<SimRuntime> {
        Peer::connect(&self.client, SocketAddr::from((ip(id), 9093))).await
    }

    /// Has a record acknowledged by all replicas; gives its offset.
    pub(crate) async fn write(&self, topic: &str, value: &str) -> i64 {
        for _ in 0..300 {
            for id in self.broker_ids() {
                let mut peer = self.peer(id).await;
                let request = produce(topic, 0, -1, batch(&[value])).with_timeout_ms(5_000);
                let answer = call!(peer, Produce v 9, request);
                let answer = &answer.responses[0].partition_responses[0];
                if answer.error_code == 0 {
                    return answer.base_offset;
                }
            }
            self.pause().await;
        }
        panic!("{topic} takes no record");
    }

    /// The leader of the partition, as a node knows it.
    pub(crate) async fn leader(&self, topic: &str) -> i32 {
        let known = self.metadata(self.broker_ids()[0], Some(topic)).await;
        known.topics[0].partitions[0].leader_id.0
    }

    /// Everything that was written is there.
    pub(crate) async fn holds(&self, topic: &str, values: &[&str]) {
        for _ in 0..300 {
            let leader = self.leader(topic).await;
            if self.broker_ids().contains(&leader) {
                let mut peer = self.peer(leader).await;
                let answer = call!(peer, Fetch v 12, fetch(topic, 0, 0));
                let found = crate::common::requests::values(&answer.responses[0].partitions[0]);
                let found: Vec<String> = found.into_iter().map(|(_, value)| value).collect();
                if found == values {
                    return;
                }
                assert!(found.len() < values.len() && values.starts_with_strings(&found), "{found:?}");
            }
            self.pause().await;
        }
        panic!("{topic} does not hold {values:?}");
    }
}

trait StartsWith {
    fn starts_with_strings(&self, prefix: &[String]) -> bool;
}

impl StartsWith for [&str] {
    fn starts_with_strings(&self, prefix: &[String]) -> bool {
        self.iter().zip(prefix).all(|(one, other)| one == other)
    }
}

/// Two live nodes with one number: the second is not let in for as long as the first is heard of.
async fn a_taken_number(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    let another = |host: u8| {
        let text = format!(
            "node.id=4\nprocess.roles=broker\ncluster.id=a-cluster\nlog.dirs=/data-{host}\n\
             controller.quorum.voters=1@10.0.0.1:9093,2@10.0.0.2:9093,3@10.0.0.3:9093\n\
             controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://10.0.0.{host}:9092"
        );
        let node = world.handle.add_node(NodeSpec::new(format!("fourth-{host}"), [10, 0, 0, host]));
        (world.handle.runtime(node), BrokerConfig::parse(&text).expect("a valid configuration"))
    };
    let ((first, first_config), (second, second_config)) = (another(4), another(5));
    let first = Broker::start(first, first_config).await.expect("it starts");
    let where_four_is = async |world: &World| {
        let known = world.metadata(1, Some("orders")).await;
        known.brokers.iter().find(|broker| broker.node_id.0 == 4).map(|broker| broker.host.to_string())
    };
    for _ in 0..100 {
        if where_four_is(&world).await.is_some() {
            break;
        }
        world.pause().await;
    }
    let second = Broker::start(second, second_config).await.expect("it starts, and waits");
    for _ in 0..50 {
        assert_eq!(where_four_is(&world).await.as_deref(), Some("10.0.0.4"), "the first keeps its place");
        world.pause().await;
    }
    world.write("orders", "b").await;
    // Its place is free: whoever was refused asks again.
    assert_eq!(first.shutdown().await, Ok(()));
    drop(first);
    for _ in 0..150 {
        if where_four_is(&world).await.as_deref() == Some("10.0.0.5") {
            break;
        }
        world.pause().await;
    }
    assert_eq!(where_four_is(&world).await.as_deref(), Some("10.0.0.5"), "the second takes it");
    world.write("orders", "c").await;
    world.holds("orders", &["a", "b", "c"]).await;
    assert_eq!(second.shutdown().await, Ok(()));
}

#[test]
fn a_second_broker_with_a_number_that_is_taken_waits_until_it_is_free() {
    in_cluster(COMBINED, a_taken_number);
}

/// Replication factors and replicas that cannot be.
async fn impossible_replicas(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    let mut peer = world.peer(2).await;
    for (factor, hint) in [(4, "only 3 broker(s)"), (0, "0"), (-2, "-2"), (i16::MAX, "32767")] {
        let mut request = crate::common::requests::create("impossible", 1, &[]);
        request.topics[0].replication_factor = factor;
        let answer = call!(peer, CreateTopics v 7, request);
        let topic = &answer.topics[0];
        assert_eq!(ErrorCode(topic.error_code), ErrorCode::INVALID_REPLICATION_FACTOR, "{factor}");
        let message = topic.error_message.clone().unwrap_or_default();
        assert!(message.contains(hint), "{factor}: {message}");
    }
    use kafka::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    for (replicas, hint) in [
        (vec![1, 9], "broker 9"),
        (vec![-1, 2], "broker -1"),
        (vec![2, 2], "broker 2 more"),
        (vec![], "empty"),
    ] {
        let partition = ReassignablePartition::default()
            .with_replicas(Some(replicas.iter().map(|id| BrokerId(*id)).collect()));
        let topic = ReassignableTopic::default().with_name(name("orders")).with_partitions(vec![partition]);
        let request = kafka::AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![topic]);
        let answer = call!(peer, AlterPartitionReassignments v 0, request);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(ErrorCode(partition.error_code), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{replicas:?}");
        let message = partition.error_message.clone().unwrap_or_default();
        assert!(message.contains(hint), "{replicas:?}: {message}");
        if hint == "broker 9" {
            assert!(message.contains("(known: 1, 2, 3)"), "{message}");
        }
    }
    let listed =
        kafka::ListPartitionReassignmentsRequest::default().with_timeout_ms(10_000).with_topics(None);
    assert!(call!(peer, ListPartitionReassignments v 0, listed).topics.is_empty(), "nothing was begun");
    world.write("orders", "b").await;
    world.holds("orders", &["a", "b"]).await;
}

#[test]
fn impossible_replication_factors_and_unknown_brokers_are_refused() {
    in_cluster(COMBINED, impossible_replicas);
}

/// The node whose controller listener carries out what it is asked.
pub(crate) async fn active(world: &World) -> i32 {
    for _ in 0..100 {
        for id in [1, 2, 3] {
            let mut peer = world.controller_listener(id).await;
            let request = kafka::AllocateProducerIdsRequest::default().with_broker_id(BrokerId(77));
            let answer = call!(peer, AllocateProducerIds v 0, request);
            if ErrorCode(answer.error_code) != ErrorCode::NOT_CONTROLLER {
                return id;
            }
        }
        world.pause().await;
    }
    panic!("nobody is the active controller");
}

/// Who speaks for an earlier start, an earlier leader or an earlier epoch of the quorum is told so.
async fn earlier_epochs(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    let controller = active(&world).await;
    let mut peer = world.controller_listener(controller).await;
    let beat = kafka::BrokerHeartbeatRequest::default().with_broker_id(BrokerId(1)).with_want_fence(true);
    let answer = call!(peer, BrokerHeartbeat v 1, beat);
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::STALE_BROKER_EPOCH);
    let alter = kafka::AlterPartitionRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(0);
    let answer = call!(peer, AlterPartition v 3, alter);
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::STALE_BROKER_EPOCH);
    let ids = kafka::AllocateProducerIdsRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(0);
    let answer = call!(peer, AllocateProducerIds v 0, ids);
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::STALE_BROKER_EPOCH);
    let metadata = || kafka::TopicName(text("__cluster_metadata"));
    let vote = {
        use kafka::vote_request::{PartitionData, TopicData};
        let partition = PartitionData::default().with_replica_id(BrokerId(3)).with_replica_epoch(0);
        let topic = TopicData::default().with_topic_name(metadata()).with_partitions(vec![partition]);
        kafka::VoteRequest::default().with_voter_id(BrokerId(-1)).with_topics(vec![topic])
    };
    let answer = call!(peer, Vote v 2, vote);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(ErrorCode(partition.error_code), ErrorCode::FENCED_LEADER_EPOCH);
    assert!(!partition.vote_granted && partition.leader_epoch > 0);
    let begin = {
        use kafka::begin_quorum_epoch_request::{PartitionData, TopicData};
        let leader = if controller == 3 { 2 } else { 3 };
        let partition = PartitionData::default().with_leader_id(BrokerId(leader)).with_leader_epoch(0);
        let topic = TopicData::default().with_topic_name(metadata()).with_partitions(vec![partition]);
        kafka::BeginQuorumEpochRequest::default().with_voter_id(BrokerId(-1)).with_topics(vec![topic])
    };
    let answer = call!(peer, BeginQuorumEpoch v 1, begin);
    assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), ErrorCode::FENCED_LEADER_EPOCH);
    // Of a partition: the leader may not be of another epoch than its follower thinks.
    let leader = world.leader("orders").await;
    let mut peer = world.peer(leader).await;
    for (epoch, code) in [(-7, ErrorCode::FENCED_LEADER_EPOCH), (99, ErrorCode::UNKNOWN_LEADER_EPOCH)] {
        let mut request = fetch("orders", 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let answer = call!(peer, Fetch v 12, request);
        let found = ErrorCode(answer.responses[0].partitions[0].error_code);
        // A negative epoch says nothing.
        assert_eq!(found, if epoch < -1 { found } else { code });
    }
    world.write("orders", "b").await;
    world.holds("orders", &["a", "b"]).await;
    assert_eq!(active(&world).await, controller, "nobody was disturbed");
}

#[test]
fn earlier_epochs_are_refused() {
    in_cluster(COMBINED, earlier_epochs);
}

/// Requests between nodes, from somebody who is none: on a broker's listener they cost the connection, on a
/// controller's they get an answer, and they change nothing for the others.
async fn requests_of_a_stranger(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    let stranger = Uuid::from_u128(0x5123_4567_89ab_4cde_8123_4567_89ab_cdef);
    let registration = |id: i32, cluster: &str| {
        kafka::BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(id))
            .with_cluster_id(text(cluster))
            .with_incarnation_id(stranger)
            .with_log_dirs(vec![stranger])
    };
    let requests: Vec<(i16, Request)> = vec![
        (2, kafka::VoteRequest::default().into()),
        (1, kafka::BeginQuorumEpochRequest::default().into()),
        (1, kafka::EndQuorumEpochRequest::default().into()),
        (1, kafka::FetchSnapshotRequest::default().into()),
        (3, kafka::AlterPartitionRequest::default().with_broker_id(BrokerId(-1)).into()),
        (4, registration(1, "a-cluster").into()),
        (4, registration(9, "another-cluster").into()),
        (4, registration(-3, "a-cluster").into()),
        (4, registration(9, "a-cluster").into()),
        (1, kafka::BrokerHeartbeatRequest::default().with_broker_id(BrokerId(9)).into()),
        (0, kafka::ControllerRegistrationRequest::default().with_controller_id(9).into()),
        (0, kafka::AllocateProducerIdsRequest::default().with_broker_id(BrokerId(9)).into()),
    ];
    let unsupported = ErrorCode::UNSUPPORTED_VERSION;
    for id in world.broker_ids() {
        for (version, request) in &requests {
            let mut peer = world.peer(id).await;
            peer.send(*version, request.clone()).await;
            peer.expect_closed().await;
            let mut peer = world.controller_listener(id).await;
            let code = match peer.call(*version, request.clone()).await {
                Response::Vote(answer) => answer.error_code,
                Response::BeginQuorumEpoch(answer) => answer.error_code,
                Response::EndQuorumEpoch(answer) => answer.error_code,
                Response::FetchSnapshot(answer) => answer.error_code,
                Response::AlterPartition(answer) => answer.error_code,
                Response::BrokerRegistration(answer) => answer.error_code,
                Response::BrokerHeartbeat(answer) => answer.error_code,
                Response::ControllerRegistration(answer) => answer.error_code,
                Response::AllocateProducerIds(answer) => answer.error_code,
                other => panic!("{other:?}"),
            };
            let api = request.api();
            assert!(code != 0, "{api} of a stranger is carried out");
            if let Request::BrokerRegistration(request) = request
                && ErrorCode(code) != ErrorCode::NOT_CONTROLLER
            {
                let expected = match (request.broker_id.0, request.cluster_id.as_str()) {
                    (1, _) => ErrorCode::DUPLICATE_BROKER_REGISTRATION,
                    (9, "another-cluster") => ErrorCode::INCONSISTENT_CLUSTER_ID,
                    (-3, _) => ErrorCode::INVALID_REGISTRATION,
                    _ => unsupported,
                };
                let found = ErrorCode(code);
                assert!(found == expected || found == unsupported, "{request:?}: {found}");
            }
        }
        // What only a broker has is not on the controller's listener.
        let mut peer = world.controller_listener(id).await;
        peer.send(9, produce("orders", 0, -1, batch(&["x"]))).await;
        peer.expect_closed().await;
        assert!(!Api::Produce.scope().on_controller());
    }
    world.settle().await;
    world.write("orders", "b").await;
    world.holds("orders", &["a", "b"]).await;
}

#[test]
fn requests_between_nodes_from_a_stranger_change_nothing() {
    in_cluster(COMBINED, requests_of_a_stranger);
}

/// A damaged snapshot of the metadata keeps its node from starting, and nobody else; it is never taken for less than it
/// was.
async fn a_damaged_snapshot(mut world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    for number in 0..10 {
        assert_eq!(world.create(1, &format!("topic-{number}"), 2, 3).await, ErrorCode::NONE);
    }
    world.pause().await;
    let node = world.nodes[&3];
    world.handle.power_loss(node).expect("it runs");
    std::mem::forget(world.brokers.remove(&3));
    let snapshots = world.handle.disk(node).files();
    let newest = snapshots.iter().map(|file| file.path.clone()).filter(|path| path.ends_with(".checkpoint"));
    let newest = newest.max().expect("it has a snapshot");
    let rotted = world.handle.disk(node).bit_rot(&PathFilter::suffixes([newest.as_str()]), 1);
    assert_eq!(rotted.expect("there is something to damage").len(), 1);
    world.handle.start(node).expect("the machine comes back");
    let refused = Broker::start(world.handle.runtime(node), world.settings(3)).await.map(drop);
    let refused = refused.expect_err("a node does not start from a damaged snapshot");
    assert_eq!(refused.class(), ErrorClass::Internal);
    let name = newest.rsplit('/').next().expect("it has a name");
    assert!(refused.to_string().contains(name), "{refused}");
    for _ in 0..300 {
        if world.metadata(1, Some("orders")).await.brokers.len() == 2 {
            break;
        }
        world.pause().await;
    }
    world.settle().await;
    world.write("orders", "b").await;
    world.holds("orders", &["a", "b"]).await;
    assert_eq!(world.create(2, "another", 1, 2).await, ErrorCode::NONE);
}

#[test]
fn a_damaged_snapshot_of_the_metadata_is_refused_and_never_read_as_empty() {
    in_cluster_with(
        COMBINED,
        "metadata.log.max.record.bytes.between.snapshots=1000\nmin.insync.replicas=2",
        a_damaged_snapshot,
    );
}
