//! A client that plays a node and knows everything that a node knows: ids, epochs, directories. Without authorization it
//! is believed in much, as by Kafka. What it says may cost an election, and nothing that was acknowledged; the cluster
//! stays up, and what cannot be true is an error.

use crate::bad_input::active;
use crate::cluster::{COMBINED, World, in_cluster, in_cluster_with};
use crate::common::requests::{batch, create, fetch, name, produce, text};
use burnin_core::Release;
use burnin_core::metadata::RecordVersions;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::metadata_records::MetadataRecord;
use burnin_wire::{ErrorCode, Response};
use std::collections::BTreeMap;
use uuid::Uuid;

const METADATA: &str = "__cluster_metadata";
const METADATA_ID: Uuid = Uuid::from_u128(1);
const CLUSTER: &str = "a-cluster";

/// A fetch of the metadata log, as a replica of it.
fn fetch_metadata(replica: i32, epoch: i32, offset: i64) -> kafka::FetchRequest {
    use kafka::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
    let partition = FetchPartition::default()
        .with_current_leader_epoch(epoch)
        .with_fetch_offset(offset)
        .with_last_fetched_epoch(0)
        .with_partition_max_bytes(8 << 20);
    let topic = FetchTopic::default().with_topic_id(METADATA_ID).with_partitions(vec![partition]);
    kafka::FetchRequest::default()
        .with_replica_state(ReplicaState::default().with_replica_id(BrokerId(replica)))
        .with_max_bytes(8 << 20)
        .with_topics(vec![topic])
}

/// The epoch of the quorum, as its leader tells it.
async fn epoch(world: &World, controller: i32) -> i32 {
    let mut peer = world.controller_listener(controller).await;
    let answer = call!(peer, Fetch v 17, fetch_metadata(77, 0, 0));
    answer.responses[0].partitions[0].current_leader.leader_epoch
}

/// Waits until somebody is the active controller, and gives it with the epoch of the quorum.
async fn controller(world: &World) -> (i32, i32) {
    let id = active(world).await;
    (id, epoch(world, id).await)
}

/// What the brokers' registrations say, read from the metadata log: broker epochs by id.
async fn broker_epochs(world: &World) -> BTreeMap<i32, i64> {
    let (id, epoch) = controller(world).await;
    let mut peer = world.controller_listener(id).await;
    let answer = call!(peer, Fetch v 17, fetch_metadata(77, epoch, 0));
    let mut bytes = answer.responses[0].partitions[0].records.clone().expect("the log");
    let (features, mut versions) = (Release::LATEST.features(), RecordVersions::at(0));
    let mut found = BTreeMap::new();
    while let Some(batch) = burnin_wire::batch::split(&mut bytes) {
        let (header, batch) = batch.expect("whole batches");
        if header.is_control() {
            continue;
        }
        for record in &burnin_wire::batch::records(&batch).expect("records") {
            let value = record.expect("a record").value.expect("a value");
            if let MetadataRecord::RegisterBroker(record) = versions.decode(value, &features).expect("known")
            {
                found.insert(record.broker_id, record.broker_epoch);
            }
        }
    }
    found
}

fn vote(candidate: i32, epoch: i32, pre_vote: bool) -> kafka::VoteRequest {
    use kafka::vote_request::{PartitionData, TopicData};
    let partition = PartitionData::default()
        .with_replica_id(BrokerId(candidate))
        .with_replica_epoch(epoch)
        .with_last_offset_epoch(i32::MAX)
        .with_last_offset(i64::MAX)
        .with_pre_vote(pre_vote);
    let topic = TopicData::default().with_topic_name(name(METADATA)).with_partitions(vec![partition]);
    kafka::VoteRequest::default()
        .with_cluster_id(Some(text(CLUSTER)))
        .with_voter_id(BrokerId(-1))
        .with_topics(vec![topic])
}

fn begin(leader: i32, epoch: i32) -> kafka::BeginQuorumEpochRequest {
    use kafka::begin_quorum_epoch_request::{PartitionData, TopicData};
    let partition = PartitionData::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
    let topic = TopicData::default().with_topic_name(name(METADATA)).with_partitions(vec![partition]);
    kafka::BeginQuorumEpochRequest::default()
        .with_cluster_id(Some(text(CLUSTER)))
        .with_voter_id(BrokerId(-1))
        .with_topics(vec![topic])
}

fn end(leader: i32, epoch: i32, successors: usize) -> kafka::EndQuorumEpochRequest {
    use kafka::end_quorum_epoch_request::{PartitionData, ReplicaInfo, TopicData};
    let candidate = ReplicaInfo::default().with_candidate_id(BrokerId(77));
    let partition = PartitionData::default()
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(epoch)
        .with_preferred_candidates(vec![candidate; successors]);
    let topic = TopicData::default().with_topic_name(name(METADATA)).with_partitions(vec![partition]);
    kafka::EndQuorumEpochRequest::default().with_cluster_id(Some(text(CLUSTER))).with_topics(vec![topic])
}

/// An epoch is never taken back: one that is far ahead is not believed, one that is near costs an election.
async fn forged_epochs(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    let (leader, before) = controller(&world).await;
    let other = if leader == 3 { 2 } else { 3 };
    for id in world.broker_ids() {
        let mut peer = world.controller_listener(id).await;
        for epoch in [i32::MAX, i32::MAX - (1 << 20), before + 100_000] {
            for pre_vote in [false, true] {
                let answer = call!(peer, Vote v 2, vote(other, epoch, pre_vote));
                let partition = &answer.topics[0].partitions[0];
                assert!(
                    !partition.vote_granted && partition.leader_epoch == before,
                    "{epoch}: {partition:?}"
                );
            }
            let refused = ErrorCode::INVALID_REQUEST.code();
            let named = if other == id { leader } else { other };
            assert_eq!(call!(peer, BeginQuorumEpoch v 1, begin(named, epoch)).error_code, refused);
            assert_eq!(call!(peer, EndQuorumEpoch v 1, end(named, epoch, 1)).error_code, refused);
            let answer = call!(peer, Fetch v 17, fetch_metadata(other, epoch, 0));
            let code = ErrorCode(answer.responses[0].partitions[0].error_code);
            assert_eq!(code, ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        assert_eq!(call!(peer, Vote v 2, vote(9, before + 1, false)).error_code, {
            ErrorCode::INCONSISTENT_VOTER_SET.code()
        });
    }
    assert_eq!(controller(&world).await, (leader, before), "nobody was disturbed");
    // What a voter could have said.
    for id in world.broker_ids() {
        let mut peer = world.controller_listener(id).await;
        if id != leader {
            let answer = call!(peer, EndQuorumEpoch v 1, end(leader, before, 50_000));
            assert_eq!(answer.error_code, 0);
        }
        call!(peer, Vote v 2, vote(other, before + 1, false));
    }
    world.write("orders", "b").await;
    let (_, after) = controller(&world).await;
    assert!(after > before && after < before + 20, "{before} to {after}");
    // Each voter is told of another leader of one epoch.
    for (id, leader) in [(1, 2), (2, 3), (3, 1)] {
        let mut peer = world.controller_listener(id).await;
        call!(peer, BeginQuorumEpoch v 1, begin(leader, after + 2));
    }
    assert_eq!(world.create(2, "more", 1, 3).await, ErrorCode::NONE);
    world.write("more", "c").await;
    world.holds("orders", &["a", "b"]).await;
    world.holds("more", &["c"]).await;
}

#[test]
fn forged_epochs_of_the_quorum_cost_an_election_at_most() {
    in_cluster(COMBINED, forged_epochs);
}

/// The metadata log and its snapshots are read by anybody, as without authorization in Kafka, and harmed by nobody.
async fn strange_fetches(world: World) {
    for number in 0..10 {
        assert_eq!(world.create(1, &format!("topic-{number}"), 2, 3).await, ErrorCode::NONE);
    }
    let (leader, epoch) = controller(&world).await;
    let mut peer = world.controller_listener(leader).await;
    let answer = call!(peer, Fetch v 17, fetch_metadata(77, epoch, 0));
    let snapshot = answer.responses[0].partitions[0].snapshot_id.clone();
    assert!(snapshot.end_offset > 0, "the log begins after a snapshot");
    let piece = |end_offset: i64, snapshot_epoch: i32, position: i64, max_bytes: i32| {
        use kafka::fetch_snapshot_request::{PartitionSnapshot, SnapshotId, TopicSnapshot};
        let id = SnapshotId::default().with_end_offset(end_offset).with_epoch(snapshot_epoch);
        let partition = PartitionSnapshot::default()
            .with_current_leader_epoch(epoch)
            .with_snapshot_id(id)
            .with_position(position);
        let topic = TopicSnapshot::default().with_name(name(METADATA)).with_partitions(vec![partition]);
        kafka::FetchSnapshotRequest::default()
            .with_cluster_id(Some(text(CLUSTER)))
            .with_replica_id(BrokerId(77))
            .with_max_bytes(max_bytes)
            .with_topics(vec![topic])
    };
    let (end, of) = (snapshot.end_offset, snapshot.epoch);
    for (request, code) in [
        (piece(end, of, -1, 1000), ErrorCode::POSITION_OUT_OF_RANGE),
        (piece(end, of, i64::MIN, 1000), ErrorCode::POSITION_OUT_OF_RANGE),
        (piece(end, of, i64::MAX, 1000), ErrorCode::POSITION_OUT_OF_RANGE),
        (piece(end + 1, of, 0, 1000), ErrorCode::SNAPSHOT_NOT_FOUND),
        (piece(-1, of, 0, 1000), ErrorCode::SNAPSHOT_NOT_FOUND),
        (piece(i64::MAX, i32::MAX, 0, 1000), ErrorCode::SNAPSHOT_NOT_FOUND),
        (piece(end, -7, 0, 1000), ErrorCode::SNAPSHOT_NOT_FOUND),
    ] {
        let answer = call!(peer, FetchSnapshot v 1, request.clone());
        assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), code, "{request:?}");
    }
    for max_bytes in [i32::MIN, -1, 0, 1] {
        let answer = call!(peer, FetchSnapshot v 1, piece(end, of, 0, max_bytes));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.unaligned_records.len()), (0, 1), "{max_bytes}");
    }
    let answer = call!(peer, FetchSnapshot v 1, piece(end, of, 0, i32::MAX));
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.size, partition.unaligned_records.len() as i64, "all of it");
    // Offsets that cannot be, on the controllers' listener.
    for offset in [-1, i64::MIN] {
        let answer = call!(peer, Fetch v 17, fetch_metadata(77, epoch, offset));
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_REQUEST, "{offset}");
    }
    let answer = call!(peer, Fetch v 17, fetch_metadata(2, epoch, i64::MAX));
    let partition = &answer.responses[0].partitions[0];
    assert!(partition.diverging_epoch.epoch >= 0 || partition.snapshot_id.end_offset > 0, "{partition:?}");
    // On a broker's there is no such topic.
    let mut peer = world.peer(leader).await;
    let answer = call!(peer, Fetch v 17, fetch_metadata(-1, -1, 0));
    let code = ErrorCode(answer.responses[0].partitions[0].error_code);
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_ID);
    let answer = call!(peer, Fetch v 12, fetch(METADATA, 0, 0));
    let code = ErrorCode(answer.responses[0].partitions[0].error_code);
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(controller(&world).await, (leader, epoch), "nobody was disturbed");
    world.write("topic-0", "a").await;
    world.holds("topic-0", &["a"]).await;
}

#[test]
fn strange_fetches_of_the_metadata_are_errors_and_change_nothing() {
    in_cluster_with(COMBINED, "metadata.log.max.record.bytes.between.snapshots=1000", strange_fetches);
}

/// In the name of a broker that is alive, under its own epoch.
async fn in_anothers_name(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    world.write("orders", "a").await;
    let epochs = broker_epochs(&world).await;
    assert_eq!(epochs.len(), 3);
    let id = active(&world).await;
    let mut peer = world.controller_listener(id).await;
    let beat = |broker: i32| {
        kafka::BrokerHeartbeatRequest::default()
            .with_broker_id(BrokerId(broker))
            .with_broker_epoch(epochs[&broker])
            .with_current_metadata_offset(i64::MAX)
    };
    // Everybody shall be fenced, and one shall stop: nobody asked for that, and their own heartbeats say otherwise.
    for broker in world.broker_ids() {
        let mut requests = vec![
            beat(broker).with_want_fence(true),
            beat(broker).with_want_fence(true).with_current_metadata_offset(i64::MIN),
        ];
        if broker == 3 {
            requests.push(beat(broker).with_want_shut_down(true));
        }
        for request in requests {
            let answer = call!(peer, BrokerHeartbeat v 1, request);
            assert_eq!(ErrorCode(answer.error_code), ErrorCode::NONE);
        }
        let registration = kafka::BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(broker))
            .with_cluster_id(text(CLUSTER))
            .with_incarnation_id(Uuid::from_u128(0x5123_4567_89ab_4cde_8123_4567_89ab_cdef))
            .with_log_dirs((0..200_000).map(|n| Uuid::from_u128((7 << 64) + n)).collect())
            .with_previous_broker_epoch(epochs[&broker]);
        let answer = call!(peer, BrokerRegistration v 4, registration);
        assert_ne!(ErrorCode(answer.error_code), ErrorCode::NONE);
    }
    // Somebody who does not lead a partition says who is in sync in it; its leader says what cannot be.
    let known = world.metadata(1, Some("orders")).await;
    let (topic_id, partition) = (known.topics[0].topic_id, &known.topics[0].partitions[0]);
    for broker in world.broker_ids() {
        for members in [vec![broker], vec![], vec![9], vec![broker, broker], vec![-1, i32::MAX]] {
            use kafka::alter_partition_request::{BrokerState, PartitionData, TopicData};
            let member = |id: &i32| {
                BrokerState::default()
                    .with_broker_id(BrokerId(*id))
                    .with_broker_epoch(epochs.get(id).copied().unwrap_or(-1))
            };
            let data = PartitionData::default()
                .with_leader_epoch(partition.leader_epoch)
                .with_partition_epoch(i32::MAX)
                .with_new_isr_with_epochs(members.iter().map(member).collect());
            let topic = TopicData::default().with_topic_id(topic_id).with_partitions(vec![data]);
            let request = kafka::AlterPartitionRequest::default()
                .with_broker_id(BrokerId(broker))
                .with_broker_epoch(epochs[&broker])
                .with_topics(vec![topic]);
            let answer = call!(peer, AlterPartition v 3, request);
            let code = match answer.topics.first() {
                Some(topic) => topic.partitions[0].error_code,
                None => answer.error_code,
            };
            assert_ne!(code, 0, "broker {broker} has {members:?} in sync");
        }
    }
    // Producer ids that are given to a stranger are given to nobody else.
    let mut blocks = Vec::new();
    for _ in 0..3 {
        let request = kafka::AllocateProducerIdsRequest::default()
            .with_broker_id(BrokerId(2))
            .with_broker_epoch(epochs[&2]);
        let answer = call!(peer, AllocateProducerIds v 0, request);
        if answer.error_code == 0 {
            blocks.push(
                answer.producer_id_start.0..answer.producer_id_start.0 + i64::from(answer.producer_id_len),
            );
        }
    }
    for broker in world.broker_ids() {
        let mut peer = world.peer(broker).await;
        let request = kafka::InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(1000)
            .with_producer_id(kafka::ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = call!(peer, InitProducerId v 4, request);
        assert_eq!(answer.error_code, 0);
        assert!(blocks.iter().all(|block| !block.contains(&answer.producer_id.0)), "{blocks:?}");
    }
    world.settle().await;
    // Who led when it was made to stop is in no ISR until it is started again, as in Kafka: there is no record that takes
    // a controlled shutdown back.
    world.isrs(1, "orders", |isr| isr.len() >= 2).await;
    world.write("orders", "b").await;
    world.holds("orders", &["a", "b"]).await;
}

#[test]
fn requests_in_the_name_of_living_brokers_lose_nothing() {
    in_cluster_with(COMBINED, "min.insync.replicas=2", in_anothers_name);
}

/// The topic of the metadata log is no topic for clients.
async fn the_metadata_topic(world: World) {
    let mut peer = world.peer(2).await;
    let answer = call!(peer, CreateTopics v 7, create(METADATA, 1, &[]));
    assert_ne!(answer.topics[0].error_code, 0);
    let produce = produce(METADATA, 0, -1, batch(&["x"]));
    let answer = call!(peer, Produce v 9, produce);
    let code = ErrorCode(answer.responses[0].partition_responses[0].error_code);
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let topic = kafka::delete_topics_request::DeleteTopicState::default();
    for topic in [topic.clone().with_name(Some(name(METADATA))), topic.with_topic_id(METADATA_ID)] {
        let request = kafka::DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        let answer = call!(peer, DeleteTopics v 6, request);
        assert_ne!(answer.responses[0].error_code, 0);
    }
    let (leader, epoch) = controller(&world).await;
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    assert_eq!(controller(&world).await, (leader, epoch));
    world.write("orders", "a").await;
}

#[test]
fn the_metadata_topic_is_no_topic_for_clients() {
    in_cluster(COMBINED, the_metadata_topic);
}

/// What only an operator's mistake or malice asks for is refused, and what is asked for in numbers without end as well.
async fn without_end(world: World) {
    assert_eq!(world.create(1, "orders", 1, 3).await, ErrorCode::NONE);
    let mut peer = world.peer(3).await;
    for count in [i32::MAX, 1_000_000, 0, -1, 1] {
        let topic = kafka::create_partitions_request::CreatePartitionsTopic::default()
            .with_name(name("orders"))
            .with_count(count);
        let request =
            kafka::CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let answer = call!(peer, CreatePartitions v 3, request);
        assert_ne!(answer.results[0].error_code, 0, "{count} partitions");
    }
    for count in [i32::MAX, 1_000_000, 0, -7] {
        let answer = call!(peer, CreateTopics v 7, create("many", count, &[]));
        assert_ne!(answer.topics[0].error_code, 0, "{count} partitions");
    }
    for id in [i32::MIN, -1, 9, i32::MAX] {
        let request = kafka::UnregisterBrokerRequest::default().with_broker_id(BrokerId(id));
        let Response::UnregisterBroker(answer) = peer.call(0, request).await else {
            panic!("another answer")
        };
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::BROKER_ID_NOT_REGISTERED);
    }
    world.write("orders", "a").await;
    world.holds("orders", &["a"]).await;
}

#[test]
fn numbers_without_end_are_refused() {
    in_cluster(COMBINED, without_end);
}
