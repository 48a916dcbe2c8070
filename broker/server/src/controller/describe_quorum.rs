//! DescribeQuorum (KIP-595, KIP-836): how far each replica of the metadata log is, as its leader sees it.

use super::Asked;
use super::task::Active;
use crate::handlers::text;
use crate::quorum::Progress;
use crate::shared::Shared;
use burnin_core::metadata::{ApiError, METADATA_TOPIC};
use burnin_core::quorum::ReplicaProgress;
use burnin_runtime::{Instant, Runtime, Task};
use burnin_wire::kafka::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use burnin_wire::kafka::messages::{BrokerId, DescribeQuorumRequest, TopicName};
use burnin_wire::{ErrorCode, Request, Response};
use std::sync::Arc;

/// Answers as soon as the driver has told how things are: nothing is decided.
pub(super) fn describe<R: Runtime>(active: &Active<R>, asked: Asked) {
    let shared = active.shared.clone();
    let work = async move {
        let Asked { request, version, answer } = asked;
        let response = match (&request, shared.quorum.describe().await) {
            (Request::DescribeQuorum(request), Some(progress)) => {
                described(&shared, version, request, &progress)
            }
            _ => super::refuse(&request, version, &super::not_controller()),
        };
        // Whoever asked may have gone.
        let _ = answer.send(Ok(response));
    };
    active.shared.runtime.spawn("describe-quorum", work).detach();
}

fn described<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: &DescribeQuorumRequest,
    progress: &Progress,
) -> Response {
    if !is_of_the_metadata_log(request) {
        return failed(request, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let clock = Clock { now: shared.runtime.now(), wall_ms: shared.runtime.wall_ms() };
    let states = |voters: bool| {
        let replicas = progress.replicas.iter().filter(|replica| replica.voter == voters);
        replicas.map(|replica| state(version, replica, progress.leader, clock)).collect()
    };
    let partition = PartitionData::default()
        .with_leader_id(BrokerId(progress.leader))
        .with_leader_epoch(progress.epoch)
        .with_high_watermark(progress.high_watermark)
        .with_error_message(None)
        .with_current_voters(states(true))
        .with_observers(states(false));
    let mut response = DescribeQuorumResponse::default()
        .with_error_message(None)
        .with_topics(vec![topic(METADATA_TOPIC, vec![partition])]);
    if version >= 2 {
        response.nodes = nodes(shared);
    }
    response.into()
}

fn is_of_the_metadata_log(request: &DescribeQuorumRequest) -> bool {
    match &request.topics[..] {
        [topic] if topic.topic_name.as_str() == METADATA_TOPIC => {
            matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
        }
        _ => false,
    }
}

fn topic(name: &str, partitions: Vec<PartitionData>) -> TopicData {
    TopicData::default().with_topic_name(TopicName(text(name))).with_partitions(partitions)
}

/// Every partition that was asked for has this error.
fn failed(request: &DescribeQuorumRequest, code: ErrorCode) -> Response {
    let topics = request.topics.iter().map(|asked| {
        let partitions = asked.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.code())
                .with_error_message(None)
        });
        topic(&asked.topic_name, partitions.collect())
    });
    DescribeQuorumResponse::default().with_error_message(None).with_topics(topics.collect()).into()
}

/// The answer where the request could not be carried out. Who is not the leader says so for the partition.
pub(super) fn refused(request: &DescribeQuorumRequest, version: i16, error: &ApiError) -> Response {
    if error.code == ErrorCode::NOT_CONTROLLER {
        let topic = burnin_wire::kafka::messages::describe_quorum_request::TopicData::default()
            .with_topic_name(TopicName(text(METADATA_TOPIC)))
            .with_partitions(vec![Default::default()]);
        let request = request.clone().with_topics(vec![topic]);
        return failed(&request, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    DescribeQuorumResponse::default()
        .with_error_code(error.code.code())
        .with_error_message(Some(text(error.message.clone())).filter(|_| version >= 2))
        .into()
}

/// Whether another node must be asked.
pub(super) fn is_elsewhere(response: &DescribeQuorumResponse) -> bool {
    let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| partition.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER.code())
}

#[derive(Clone, Copy)]
struct Clock {
    now: Instant,
    wall_ms: i64,
}

impl Clock {
    /// When that was, on the wall.
    fn wall(self, at: Option<Instant>) -> i64 {
        let ago = |at| i64::try_from(self.now.since(at).as_millis()).unwrap_or(i64::MAX);
        at.map_or(-1, |at| self.wall_ms - ago(at))
    }
}

fn state(version: i16, replica: &ReplicaProgress, leader: i32, clock: Clock) -> ReplicaState {
    let is_leader = replica.key.id == leader && replica.voter;
    // The leader is where it is, now.
    let wall = |at| if is_leader { clock.wall_ms } else { clock.wall(at) };
    let mut state = ReplicaState::default()
        .with_replica_id(BrokerId(replica.key.id))
        .with_log_end_offset(replica.end_offset)
        .with_last_fetch_timestamp(wall(replica.last_fetch))
        .with_last_caught_up_timestamp(wall(replica.last_caught_up));
    if version >= 2 {
        state.replica_directory_id = replica.key.directory;
    }
    state
}

/// The voters and where they listen.
fn nodes<R: Runtime>(shared: &Shared<R>) -> Vec<Node> {
    let view = shared.quorum.voters();
    let main = shared.config.controller_listener_names.first().map_or("", String::as_str);
    let listener = |name: &str, host: &str, port: u16| {
        Listener::default().with_name(text(name)).with_host(text(host)).with_port(port)
    };
    let node = |id: i32| {
        let endpoints = view.voters.endpoints(id);
        let listeners = match endpoints {
            // Configured voters are known by one address.
            [] => shared.quorum.address(id).iter().map(|(host, port)| listener(main, host, *port)).collect(),
            endpoints => endpoints.iter().map(|at| listener(&at.name, &at.host, at.port)).collect(),
        };
        Node::default().with_node_id(BrokerId(id)).with_listeners(listeners)
    };
    view.voters.ids().map(node).collect()
}
