//! Limits and bad input: what a client can do to a broker, and what it cannot.

use crate::common::Env;
use crate::common::peer::Peer;
use crate::common::requests::*;
use burnin_runtime::Runtime;
use burnin_wire::Api;
use burnin_wire::kafka::messages::ApiVersionsRequest;
use burnin_wire::kafka::messages::metadata_request::MetadataRequest;

/// A request that every version of its API can carry.
fn plainest(api: Api) -> burnin_wire::Request {
    use burnin_wire::kafka::messages as m;
    match api {
        Api::Produce => produce("t", 0, 1, batch(&["a"])).into(),
        Api::Fetch => fetch("t", 0, 0).into(),
        Api::ListOffsets => list_offsets("t", 0, -1).into(),
        Api::Metadata => m::MetadataRequest::default().with_topics(Some(vec![])).into(),
        Api::FindCoordinator => m::FindCoordinatorRequest::default().into(),
        Api::ApiVersions => m::ApiVersionsRequest::default().into(),
        Api::CreateTopics => create("t", 1, &[]).into(),
        Api::DeleteTopics => m::DeleteTopicsRequest::default().into(),
        Api::DeleteRecords => m::DeleteRecordsRequest::default().into(),
        Api::InitProducerId => m::InitProducerIdRequest::default().with_transactional_id(None).into(),
        Api::OffsetForLeaderEpoch => m::OffsetForLeaderEpochRequest::default().into(),
        Api::DescribeConfigs => m::DescribeConfigsRequest::default().into(),
        Api::AlterConfigs => m::AlterConfigsRequest::default().into(),
        Api::CreatePartitions => m::CreatePartitionsRequest::default().into(),
        Api::IncrementalAlterConfigs => m::IncrementalAlterConfigsRequest::default().into(),
        Api::DescribeCluster => m::DescribeClusterRequest::default().with_endpoint_type(1).into(),
        Api::DescribeTopicPartitions => m::DescribeTopicPartitionsRequest::default().with_cursor(None).into(),
        Api::DescribeLogDirs => m::DescribeLogDirsRequest::default().into(),
        Api::ElectLeaders => m::ElectLeadersRequest::default().into(),
        Api::AlterPartitionReassignments => m::AlterPartitionReassignmentsRequest::default().into(),
        Api::ListPartitionReassignments => m::ListPartitionReassignmentsRequest::default().into(),
        Api::Vote => m::VoteRequest::default().into(),
        Api::BeginQuorumEpoch => m::BeginQuorumEpochRequest::default().into(),
        Api::EndQuorumEpoch => m::EndQuorumEpochRequest::default().into(),
        Api::DescribeQuorum => m::DescribeQuorumRequest::default().into(),
        Api::AlterPartition => m::AlterPartitionRequest::default().into(),
        Api::UpdateFeatures => m::UpdateFeaturesRequest::default().into(),
        Api::Envelope => m::EnvelopeRequest::default().into(),
        Api::FetchSnapshot => m::FetchSnapshotRequest::default().into(),
        Api::BrokerRegistration => m::BrokerRegistrationRequest::default().into(),
        Api::BrokerHeartbeat => m::BrokerHeartbeatRequest::default().into(),
        Api::UnregisterBroker => m::UnregisterBrokerRequest::default().into(),
        Api::AllocateProducerIds => m::AllocateProducerIdsRequest::default().into(),
        Api::ControllerRegistration => m::ControllerRegistrationRequest::default().into(),
        Api::AssignReplicasToDirs => m::AssignReplicasToDirsRequest::default().into(),
        Api::AddRaftVoter => m::AddRaftVoterRequest::default().into(),
        Api::RemoveRaftVoter => m::RemoveRaftVoterRequest::default().into(),
        Api::UpdateRaftVoter => m::UpdateRaftVoterRequest::default().into(),
    }
}

/// A response may only carry what its version has: a field too many would end the connection task in a panic.
async fn every_advertised_version_is_answered<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    let id = call!(peer, CreateTopics v 7, create("t", 2, &[])).topics[0].topic_id;
    call!(peer, Produce v 9, produce("t", 0, 1, batch(&["a"])));
    let mut answered = 0;
    for api in advertised(&mut peer).await {
        let request = plainest(api);
        for version in api.versions().min..=api.versions().max {
            let mut request = request.clone();
            match &mut request {
                burnin_wire::Request::Fetch(fetch) if version >= 13 => {
                    fetch.topics[0].topic = name("");
                    fetch.topics[0].topic_id = id;
                }
                burnin_wire::Request::ApiVersions(versions) if version >= 3 => {
                    versions.client_software_name = text("peer");
                    versions.client_software_version = text("1");
                }
                burnin_wire::Request::Metadata(metadata) if version >= 1 => metadata.topics = None,
                burnin_wire::Request::FindCoordinator(find) if version >= 4 => {
                    find.coordinator_keys = vec![text("g")]
                }
                _ => {}
            }
            let response = peer.call(version, request).await;
            assert_eq!(response.api(), api);
            answered += 1;
        }
    }
    assert!(answered > 60, "{answered}");
}

/// The APIs that the broker says it serves.
async fn advertised<R: Runtime>(peer: &mut Peer<R>) -> Vec<Api> {
    let response = call!(peer, ApiVersions v 2, ApiVersionsRequest::default());
    response.api_keys.iter().map(|served| Api::from_key(served.api_key).expect("a known API")).collect()
}

async fn request_of_an_api_that_is_not_advertised_costs_the_connection<R: Runtime>(env: Env<R>) {
    let mut healthy = env.peer().await;
    let advertised = advertised(&mut healthy).await;
    let hidden: Vec<Api> = Api::ALL.iter().copied().filter(|api| !advertised.contains(api)).collect();
    for controller in [Api::Vote, Api::BrokerHeartbeat, Api::AlterPartition, Api::FetchSnapshot] {
        assert!(hidden.contains(&controller), "{controller} on a broker's listener");
    }
    for api in hidden {
        let mut peer = env.peer().await;
        peer.send(api.versions().max, plainest(api)).await;
        peer.expect_closed().await;
    }
    healthy.call(2, ApiVersionsRequest::default()).await;
}

async fn bad_bytes_cost_their_sender_the_connection_and_nobody_else<R: Runtime>(env: Env<R>) {
    let mut healthy = env.peer().await;
    let unknown_api = [0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let unsupported_version = [0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff];
    // An array that claims two billion topics.
    let hostile_length = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff];
    let oversized = 104_857_601_i32.to_be_bytes();
    let negative = (-1_i32).to_be_bytes();
    for bytes in [&unknown_api[..], &unsupported_version, &hostile_length, &oversized, &negative] {
        let mut peer = env.peer().await;
        peer.send_bytes(bytes).await;
        peer.expect_closed().await;
        call!(healthy, Metadata v 1, MetadataRequest::default().with_topics(None));
    }
}

/// What librdkafka 2.16 sends: bytes behind the body.
async fn bytes_behind_a_request_are_passed_over<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    let mut frame = burnin_wire::encode_request(13, 7, "peer", &request.into()).into_bytes().to_vec();
    frame.extend([1, 0, 0]);
    frame[3] += 3;
    peer.send_bytes(&frame).await;
    let burnin_wire::Response::Metadata(answer) = peer.receive(7, Api::Metadata, 13).await else { panic!() };
    assert_eq!(answer.brokers.len(), 1);
}

async fn connections_are_limited<R: Runtime>(env: Env<R>) {
    let request = || MetadataRequest::default().with_topics(None);
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = env.peer().await;
        call!(peer, Metadata v 1, request());
        peers.push(peer);
    }
    let mut one_too_many = env.peer().await;
    one_too_many.send(1, request()).await;
    one_too_many.expect_closed().await;
    drop(peers.pop());
    // The broker learns of the end when the FIN arrives.
    env.client.sleep(std::time::Duration::from_millis(100)).await;
    let mut peer = env.peer().await;
    call!(peer, Metadata v 1, request());
}

async fn idle_connections_are_closed_and_busy_ones_are_not<R: Runtime>(env: Env<R>) {
    let (mut idle, mut busy) = (env.peer().await, env.peer().await);
    let began = env.client.now();
    for _ in 0..6 {
        env.client.sleep(std::time::Duration::from_millis(100)).await;
        call!(busy, ApiVersions v 0, ApiVersionsRequest::default());
    }
    idle.expect_closed().await;
    assert!(env.client.now().since(began).as_millis() < 5_000);
    busy.expect_closed().await;
}

/// With a limit of 1,000 bytes, requests of 600 bytes wait for each other and all get through.
async fn request_memory_is_bounded<R: Runtime>(env: Env<R>) {
    let mut first = env.peer().await;
    call!(first, CreateTopics v 7, create("t", 1, &[]));
    let value = "x".repeat(600);
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = env.peer().await;
        let id = peer.send(9, produce("t", 0, -1, batch(&[&value]))).await;
        peers.push((peer, id));
    }
    for (peer, id) in &mut peers {
        let burnin_wire::Response::Produce(answer) = peer.receive(*id, Api::Produce, 9).await else {
            panic!()
        };
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let larger = "x".repeat(5000);
    let answer = call!(first, Produce v 9, produce("t", 0, -1, batch(&[&larger])));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "one that is larger than the limit");
}

both! {
    every_advertised_version_is_answered: "";
    request_of_an_api_that_is_not_advertised_costs_the_connection: "";
    bad_bytes_cost_their_sender_the_connection_and_nobody_else: "";
    bytes_behind_a_request_are_passed_over: "";
    connections_are_limited: "max.connections.per.ip=3";
    idle_connections_are_closed_and_busy_ones_are_not: "connections.max.idle.ms=400";
    request_memory_is_bounded: "queued.max.request.bytes=1000";
}
