//! What Apache's tools ask a cluster for, of any broker: none of these is its controller.

use crate::cluster::{SEPARATE, World, in_cluster};
use crate::common::requests::{name, text};
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::BrokerId;
use std::time::Duration;

const TOPIC: &str = "orders";

impl World {
    /// Has the partition moved to these brokers, or no more.
    async fn move_to(&self, broker: i32, replicas: Option<&[i32]>) -> ErrorCode {
        use kafka::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
        let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_replicas(replicas);
        let topic = ReassignableTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let request = kafka::AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![topic]);
        let mut peer = self.peer(broker).await;
        let answer = call!(peer, AlterPartitionReassignments v 0, request);
        assert_eq!(answer.error_code, 0);
        ErrorCode(answer.responses[0].partitions[0].error_code)
    }

    /// The move that is under way, as a broker lists it: replicas, adding, removing.
    async fn moving(&self, broker: i32, named: bool) -> Option<[Vec<i32>; 3]> {
        use kafka::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
        let topic = ListPartitionReassignmentsTopics::default()
            .with_name(name(TOPIC))
            .with_partition_indexes(vec![0]);
        let request = kafka::ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(named.then(|| vec![topic]));
        let mut peer = self.peer(broker).await;
        let answer = call!(peer, ListPartitionReassignments v 0, request);
        assert_eq!(answer.error_code, 0);
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<i32>>();
        let partition = answer.topics.first()?.partitions.first()?;
        Some([ids(&partition.replicas), ids(&partition.adding_replicas), ids(&partition.removing_replicas)])
    }

    /// The brokers that a broker describes, with whether they are fenced.
    async fn described(&self, broker: i32) -> Vec<(i32, bool)> {
        let request = kafka::DescribeClusterRequest::default().with_include_fenced_brokers(true);
        let mut peer = self.peer(broker).await;
        let answer = call!(peer, DescribeCluster v 2, request);
        assert_eq!(answer.error_code, 0);
        answer.brokers.iter().map(|broker| (broker.broker_id.0, broker.is_fenced)).collect()
    }

    /// Waits until a broker describes these.
    async fn describes(&self, broker: i32, wanted: &[(i32, bool)]) {
        for _ in 0..300 {
            if self.described(broker).await == wanted {
                return;
            }
            self.client.sleep(Duration::from_millis(100)).await;
        }
        panic!("broker {broker} describes {:?}, not {wanted:?}", self.described(broker).await);
    }

    /// Elects leaders of partitions of the topic.
    async fn elect(&self, broker: i32, kind: i8, partitions: Vec<i32>) -> Vec<ErrorCode> {
        let topic = kafka::elect_leaders_request::TopicPartitions::default()
            .with_topic(name(TOPIC))
            .with_partitions(partitions);
        let request = kafka::ElectLeadersRequest::default()
            .with_election_type(kind)
            .with_topic_partitions(Some(vec![topic]))
            .with_timeout_ms(10_000);
        let mut peer = self.peer(broker).await;
        let answer = call!(peer, ElectLeaders v 2, request);
        assert_eq!(answer.error_code, 0);
        let results = &answer.replica_election_results[0].partition_result;
        results.iter().map(|result| ErrorCode(result.error_code)).collect()
    }
}

/// A replica is to be added on a broker that is away: the move is listed by every broker until it is cancelled.
async fn moves_are_listed_and_cancelled(mut world: World) {
    assert_eq!(world.create(1, TOPIC, 1, 1).await, ErrorCode::NONE);
    let from = world.isrs(1, TOPIC, |isr| !isr.is_empty()).await[0][0];
    let away = if from == 3 { 2 } else { 3 };
    world.kill(away);
    world.settle().await;
    let asked = world.broker_ids()[0];
    assert_eq!(world.move_to(asked, Some(&[from, away])).await, ErrorCode::NONE);
    for id in world.broker_ids() {
        for named in [true, false] {
            let listed = world.moving(id, named).await;
            assert_eq!(listed, Some([vec![from, away], vec![away], vec![]]), "of broker {id}");
        }
    }
    let other = world.broker_ids()[1];
    assert_eq!(world.move_to(other, None).await, ErrorCode::NONE);
    assert_eq!(world.move_to(other, None).await, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS);
    for id in world.broker_ids() {
        assert_eq!(world.moving(id, true).await, None);
    }
}

#[test]
fn moves_are_listed_and_cancelled_by_any_broker() {
    in_cluster(SEPARATE, moves_are_listed_and_cancelled);
}

/// A broker that is gone is forgotten when an operator says so, and can come back.
async fn a_broker_is_unregistered(mut world: World) {
    assert_eq!(world.create(1, TOPIC, 1, 3).await, ErrorCode::NONE);
    world.isrs(1, TOPIC, |isr| isr.len() == 3).await;
    world.kill(3);
    world.describes(1, &[(1, false), (2, false), (3, true)]).await;
    let request = || kafka::UnregisterBrokerRequest::default().with_broker_id(BrokerId(3));
    let mut peer = world.peer(2).await;
    assert_eq!(call!(peer, UnregisterBroker v 0, request()).error_code, 0);
    for id in world.broker_ids() {
        world.describes(id, &[(1, false), (2, false)]).await;
    }
    let again = call!(peer, UnregisterBroker v 0, request());
    assert_eq!(ErrorCode(again.error_code), ErrorCode::BROKER_ID_NOT_REGISTERED);
    assert!(again.error_message.is_some_and(|message| message.contains('3')));
    let node = world.nodes[&3];
    world.handle.start(node).expect("it was down");
    world.start(3).await;
    world.describes(1, &[(1, false), (2, false), (3, false)]).await;
    world.isrs(2, TOPIC, |isr| isr.len() == 3).await;
}

#[test]
fn a_broker_is_unregistered_via_any_other() {
    in_cluster(SEPARATE, a_broker_is_unregistered);
}

/// What needs no election, and what there is not.
async fn elections(world: World) {
    assert_eq!(world.create(1, TOPIC, 1, 3).await, ErrorCode::NONE);
    world.isrs(1, TOPIC, |isr| isr.len() == 3).await;
    let (none_needed, unknown) = (ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    for id in world.broker_ids() {
        for kind in [0, 1] {
            assert_eq!(world.elect(id, kind, vec![0, 7]).await, [none_needed, unknown], "kind {kind}");
        }
    }
}

#[test]
fn elections_are_held_via_any_broker() {
    in_cluster(SEPARATE, elections);
}

/// A dry run says what would happen, and nothing happens.
async fn a_dry_run_of_features(world: World) {
    const ELR: &str = "eligible.leader.replicas.version";
    let update = |level: i16| {
        let update = kafka::update_features_request::FeatureUpdateKey::default()
            .with_feature(text(ELR))
            .with_max_version_level(level)
            .with_upgrade_type(if level == 0 { 2 } else { 1 });
        kafka::UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_feature_updates(vec![update])
            .with_validate_only(true)
    };
    for id in world.broker_ids() {
        let mut peer = world.peer(id).await;
        let mut last = None;
        // Once every controller has registered.
        for _ in 0..100 {
            let answer = call!(peer, UpdateFeatures v 2, update(0));
            last = Some(ErrorCode(answer.error_code));
            if answer.error_code == 0 {
                break;
            }
            world.client.sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(last, Some(ErrorCode::NONE));
        let answer = call!(peer, UpdateFeatures v 2, update(99));
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_UPDATE_VERSION);
        world.client.sleep(Duration::from_secs(1)).await;
        world.finalized(id, ELR, Some(1)).await;
    }
}

#[test]
fn a_dry_run_of_features_changes_nothing() {
    in_cluster(SEPARATE, a_dry_run_of_features);
}
