//! The APIs of the metadata quorum, on controller listeners: Vote, BeginQuorumEpoch, EndQuorumEpoch, FetchSnapshot, and
//! Fetch of the metadata log.

use crate::fetch::FetchAnswer;
use crate::quorum::messages::{CONFIGURED_VOTERS, asked};
use crate::quorum::{Address, Answer, LeaderView, METADATA_TOPIC_ID};
use crate::reply::Reply;
use crate::shared::{Client, Shared};
use burnin_core::metadata::METADATA_TOPIC;
use burnin_core::quorum::{FetchResponse, Message, ReplicaKey, SnapshotId};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::sync::Arc;
use std::time::Duration;

/// The longest that a fetch may be held.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Whether a request belongs to this cluster. One that does not say so is taken to.
fn is_ours<R: Runtime>(shared: &Shared<R>, cluster_id: &Option<StrBytes>) -> bool {
    cluster_id.as_ref().is_none_or(|id| *id == shared.identity.cluster_id)
}

fn metadata_topic() -> TopicName {
    TopicName(StrBytes::from_static_str(METADATA_TOPIC))
}

fn id(leader: Option<i32>) -> BrokerId {
    BrokerId(leader.unwrap_or(-1))
}

/// Asks the replica of this node; the connection is closed when it has no answer.
async fn ask<R: Runtime>(
    shared: Arc<Shared<R>>,
    from: i32,
    message: Message,
    leader_at: Option<Address>,
    wait: Duration,
) -> Option<Answer> {
    shared.quorum.ask(from, message, leader_at, wait).await
}

/// Where the leader is reached, from the version on that can say so.
fn endpoint<R: Runtime, T>(
    shared: &Shared<R>,
    leader: Option<i32>,
    is_known: bool,
    make: impl Fn(BrokerId, StrBytes, u16) -> T,
) -> Vec<T> {
    let leader = leader.filter(|_| is_known);
    let at = leader.and_then(|leader| Some((leader, shared.quorum.address(leader)?)));
    at.map(|(leader, (host, port))| make(BrokerId(leader), StrBytes::from_string(host), port))
        .into_iter()
        .collect()
}

/// INVALID_VOTER_KEY for who was meant for another directory than this node's: it is not the voter that it was.
fn voter_error<R: Runtime>(shared: &Shared<R>, meant: ReplicaKey) -> Option<ErrorCode> {
    let me = ReplicaKey { id: shared.identity.node_id, directory: shared.identity.directory_id };
    (!meant.matches(me)).then_some(ErrorCode::INVALID_VOTER_KEY)
}

/// Handles Vote.
pub(super) fn vote<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: kafka::VoteRequest,
) -> Reply<R> {
    use kafka::vote_response::{NodeEndpoint, PartitionData, TopicData};
    let mut response = kafka::VoteResponse::default();
    if !is_ours(shared, &request.cluster_id) {
        response.error_code = ErrorCode::INCONSISTENT_CLUSTER_ID.code();
        return Reply::Now(response.into());
    }
    let asked = match asked::vote(shared.identity.node_id, &request) {
        Ok(asked) => asked,
        Err(code) => {
            response.error_code = code.code();
            return Reply::Now(response.into());
        }
    };
    let (shared, from) = (shared.clone(), asked.candidate.id);
    if shared.quorum.is_refused(from, request.unknown_tagged_fields.get(&CONFIGURED_VOTERS), true) {
        response.error_code = ErrorCode::INCONSISTENT_VOTER_SET.code();
        return Reply::Now(response.into());
    }
    Reply::Reading(Box::pin(async move {
        let answer = ask(shared.clone(), from, Message::VoteRequest(asked), None, Duration::ZERO).await;
        let Some(Answer::Message(Message::VoteResponse(answer))) = answer else {
            response.error_code = ErrorCode::BROKER_NOT_AVAILABLE.code();
            return response.into();
        };
        let code = match voter_error(&shared, asked.voter) {
            _ if asked.epoch < answer.epoch => ErrorCode::FENCED_LEADER_EPOCH,
            Some(code) => code,
            None => ErrorCode::NONE,
        };
        response.node_endpoints = endpoint(&shared, answer.leader, version >= 1, |id, host, port| {
            NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port)
        });
        let partition = PartitionData::default()
            .with_error_code(code.code())
            .with_leader_id(id(answer.leader))
            .with_leader_epoch(answer.epoch)
            .with_vote_granted(answer.granted);
        response.topics =
            vec![TopicData::default().with_topic_name(metadata_topic()).with_partitions(vec![partition])];
        response.into()
    }))
}

/// Handles BeginQuorumEpoch.
pub(super) fn begin_epoch<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: kafka::BeginQuorumEpochRequest,
) -> Reply<R> {
    use kafka::begin_quorum_epoch_response::{NodeEndpoint, PartitionData, TopicData};
    let mut response = kafka::BeginQuorumEpochResponse::default();
    if !is_ours(shared, &request.cluster_id) {
        response.error_code = ErrorCode::INCONSISTENT_CLUSTER_ID.code();
        return Reply::Now(response.into());
    }
    let asked = match asked::begin(shared.identity.node_id, &request) {
        Ok(asked) => asked,
        Err(code) => {
            response.error_code = code.code();
            return Reply::Now(response.into());
        }
    };
    let shared = shared.clone();
    if shared.quorum.is_refused(asked.leader, request.unknown_tagged_fields.get(&CONFIGURED_VOTERS), true) {
        response.error_code = ErrorCode::INCONSISTENT_VOTER_SET.code();
        return Reply::Now(response.into());
    }
    let endpoints = request.leader_endpoints.iter();
    let at = main_endpoint(&shared, endpoints.map(|at| (at.name.as_str(), at.host.as_str(), at.port)));
    Reply::Reading(Box::pin(async move {
        let message = Message::BeginEpochRequest(asked);
        let Some((code, epoch)) = told(shared.clone(), asked.leader, asked.epoch, message, at).await else {
            response.error_code = ErrorCode::INVALID_REQUEST.code();
            return response.into();
        };
        let code = match voter_error(&shared, asked.voter) {
            Some(other) if code == ErrorCode::NONE => other,
            _ => code,
        };
        let leader = shared.quorum.leader().leader;
        response.node_endpoints = endpoint(&shared, leader, version >= 1, |id, host, port| {
            NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port)
        });
        let partition = PartitionData::default()
            .with_error_code(code.code())
            .with_leader_id(id(leader))
            .with_leader_epoch(epoch);
        response.topics =
            vec![TopicData::default().with_topic_name(metadata_topic()).with_partitions(vec![partition])];
        response.into()
    }))
}

/// Handles EndQuorumEpoch.
pub(super) fn end_epoch<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: kafka::EndQuorumEpochRequest,
) -> Reply<R> {
    use kafka::end_quorum_epoch_response::{NodeEndpoint, PartitionData, TopicData};
    let mut response = kafka::EndQuorumEpochResponse::default();
    if !is_ours(shared, &request.cluster_id) {
        response.error_code = ErrorCode::INCONSISTENT_CLUSTER_ID.code();
        return Reply::Now(response.into());
    }
    let asked = match asked::end(shared.identity.node_id, version, &request) {
        Ok(asked) => asked,
        Err(code) => {
            response.error_code = code.code();
            return Reply::Now(response.into());
        }
    };
    let shared = shared.clone();
    if shared.quorum.is_refused(asked.leader, request.unknown_tagged_fields.get(&CONFIGURED_VOTERS), true) {
        response.error_code = ErrorCode::INCONSISTENT_VOTER_SET.code();
        return Reply::Now(response.into());
    }
    let endpoints = request.leader_endpoints.iter();
    let at = main_endpoint(&shared, endpoints.map(|at| (at.name.as_str(), at.host.as_str(), at.port)));
    Reply::Reading(Box::pin(async move {
        let (leader, epoch) = (asked.leader, asked.epoch);
        let message = Message::EndEpochRequest(asked);
        let Some((code, epoch)) = told(shared.clone(), leader, epoch, message, at).await else {
            response.error_code = ErrorCode::INVALID_REQUEST.code();
            return response.into();
        };
        let leader = shared.quorum.leader().leader;
        response.node_endpoints = endpoint(&shared, leader, version >= 1, |id, host, port| {
            NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port)
        });
        let partition = PartitionData::default()
            .with_error_code(code.code())
            .with_leader_id(id(leader))
            .with_leader_epoch(epoch);
        response.topics =
            vec![TopicData::default().with_topic_name(metadata_topic()).with_partitions(vec![partition])];
        response.into()
    }))
}

/// Of the endpoints of a leader, the one for other replicas.
fn main_endpoint<'a, R: Runtime>(
    shared: &Shared<R>,
    endpoints: impl Iterator<Item = (&'a str, &'a str, u16)> + Clone,
) -> Option<Address> {
    let name = shared.config.controller_listener_names.first()?;
    let named = endpoints.clone().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    named.or(endpoints.clone().next()).map(|(_, host, port)| (host.to_owned(), port))
}

/// The answer to news of `leader` and its `epoch`; `None` for what contradicts what this replica knows.
async fn told<R: Runtime>(
    shared: Arc<Shared<R>>,
    leader: i32,
    epoch: i32,
    message: Message,
    leader_at: Option<Address>,
) -> Option<(ErrorCode, i32)> {
    // Nobody but a client that plays a voter names another leader of the same epoch.
    let contradicts = |known: LeaderView| known.epoch == epoch && known.leader.is_some_and(|id| id != leader);
    if contradicts(shared.quorum.leader()) {
        return None;
    }
    match ask(shared, leader, message, leader_at, Duration::ZERO).await? {
        Answer::Message(Message::BeginEpochResponse { epoch: known }) if known > epoch => {
            Some((ErrorCode::FENCED_LEADER_EPOCH, known))
        }
        Answer::Message(Message::BeginEpochResponse { epoch: known }) if known < epoch => {
            tracing::warn!(leader, epoch, known, "a leader is not believed: its epoch is too far ahead");
            None
        }
        Answer::Message(Message::BeginEpochResponse { epoch }) => Some((ErrorCode::NONE, epoch)),
        _ => None,
    }
}

/// Handles Fetch.
pub(super) fn fetch<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    version: i16,
    request: kafka::FetchRequest,
) -> Reply<R> {
    use kafka::fetch_response::NodeEndpoint;
    let failed = |code: ErrorCode| {
        Reply::Now(Response::from(kafka::FetchResponse::default().with_error_code(code.code())))
    };
    if !is_ours(shared, &request.cluster_id) {
        return failed(ErrorCode::INCONSISTENT_CLUSTER_ID);
    }
    // The answer goes back on this connection, so that the number says nothing.
    let asked = match asked::fetch(0, version, &request) {
        Ok(asked) => asked,
        Err(code) => return failed(code),
    };
    if shared.quorum.is_refused(
        asked.replica.id,
        request.unknown_tagged_fields.get(&CONFIGURED_VOTERS),
        false,
    ) {
        return failed(ErrorCode::INCONSISTENT_VOTER_SET);
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let (shared, peer) = (shared.clone(), client.peer);
    Reply::Fetching(Box::pin(async move {
        let message = Message::FetchRequest(asked);
        let answer = ask(shared.clone(), asked.replica.id, message, None, wait).await;
        let (response, log_start_offset, batches) = match answer {
            Some(Answer::Records { response, log_start_offset, batches }) => {
                (response, log_start_offset, batches)
            }
            Some(Answer::Message(Message::FetchResponse(response))) => (response, -1, Vec::new()),
            _ => {
                tracing::debug!(%peer, "a fetch of the metadata log has no answer");
                let code = ErrorCode::BROKER_NOT_AVAILABLE.code();
                let response = kafka::FetchResponse::default().with_error_code(code);
                return FetchAnswer::whole(response, Vec::new());
            }
        };
        let code = refusal(&response, asked.epoch);
        // Who is served knows the leader.
        let is_told = version >= 16 && code != ErrorCode::NONE;
        let nodes = endpoint(&shared, response.leader, is_told, |id, host, port| {
            NodeEndpoint::default().with_node_id(id).with_host(host).with_port(port.into())
        });
        let partition = partition(response, code, log_start_offset);
        let topic = kafka::fetch_response::FetchableTopicResponse::default()
            .with_topic_id(METADATA_TOPIC_ID)
            .with_partitions(vec![partition]);
        let response = kafka::FetchResponse::default().with_responses(vec![topic]).with_node_endpoints(nodes);
        FetchAnswer::whole(response, batches)
    }))
}

/// Whether this replica did not serve the fetch, and why: only a leader tells a high watermark, a divergence or a
/// snapshot.
fn refusal(response: &FetchResponse, epoch: i32) -> ErrorCode {
    let is_served =
        response.high_watermark.is_some() || response.diverging.is_some() || response.snapshot.is_some();
    match response.epoch {
        _ if is_served => ErrorCode::NONE,
        known if epoch < known => ErrorCode::FENCED_LEADER_EPOCH,
        known if epoch > known => ErrorCode::UNKNOWN_LEADER_EPOCH,
        _ => ErrorCode::NOT_LEADER_OR_FOLLOWER,
    }
}

fn partition(
    response: FetchResponse,
    code: ErrorCode,
    log_start_offset: i64,
) -> kafka::fetch_response::PartitionData {
    use kafka::fetch_response::{EpochEndOffset, LeaderIdAndEpoch, SnapshotId};
    let mut partition = kafka::fetch_response::PartitionData::default()
        .with_error_code(code.code())
        .with_high_watermark(response.high_watermark.unwrap_or(-1))
        .with_last_stable_offset(response.high_watermark.unwrap_or(-1))
        .with_log_start_offset(log_start_offset)
        .with_current_leader(
            LeaderIdAndEpoch::default().with_leader_id(id(response.leader)).with_leader_epoch(response.epoch),
        )
        .with_records(Some(bytes::Bytes::new()));
    if let Some(diverging) = response.diverging {
        partition.diverging_epoch =
            EpochEndOffset::default().with_epoch(diverging.epoch).with_end_offset(diverging.end_offset);
    }
    if let Some(snapshot) = response.snapshot {
        partition.snapshot_id =
            SnapshotId::default().with_end_offset(snapshot.end_offset).with_epoch(snapshot.epoch);
    }
    partition
}

/// Handles FetchSnapshot (KIP-630).
pub(super) fn fetch_snapshot<R: Runtime>(
    shared: &Arc<Shared<R>>,
    request: kafka::FetchSnapshotRequest,
) -> Reply<R> {
    use kafka::fetch_snapshot_response::{LeaderIdAndEpoch, PartitionSnapshot, TopicSnapshot};
    let mut response = kafka::FetchSnapshotResponse::default();
    if !is_ours(shared, &request.cluster_id) {
        response.error_code = ErrorCode::INCONSISTENT_CLUSTER_ID.code();
        return Reply::Now(response.into());
    }
    let topic = request.topics.into_iter().next().filter(|topic| topic.name == metadata_topic());
    let asked = topic.and_then(|topic| topic.partitions.into_iter().next());
    let Some(asked) = asked.filter(|asked| asked.partition == 0) else {
        response.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code();
        return Reply::Now(response.into());
    };
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).max(1);
    let shared = shared.clone();
    Reply::Reading(Box::pin(async move {
        let known = shared.quorum.leader();
        let leader =
            LeaderIdAndEpoch::default().with_leader_id(id(known.leader)).with_leader_epoch(known.epoch);
        let mut partition = PartitionSnapshot::default().with_current_leader(leader);
        let code = match asked.current_leader_epoch {
            epoch if epoch < known.epoch => ErrorCode::FENCED_LEADER_EPOCH,
            epoch if epoch > known.epoch => ErrorCode::UNKNOWN_LEADER_EPOCH,
            _ if known.leader != Some(shared.identity.node_id) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            _ => read_piece(&shared, &asked, bytes_max, &mut partition).await,
        };
        partition.error_code = code.code();
        response.topics =
            vec![TopicSnapshot::default().with_name(metadata_topic()).with_partitions(vec![partition])];
        response.into()
    }))
}

async fn read_piece<R: Runtime>(
    shared: &Shared<R>,
    asked: &kafka::fetch_snapshot_request::PartitionSnapshot,
    bytes_max: usize,
    partition: &mut kafka::fetch_snapshot_response::PartitionSnapshot,
) -> ErrorCode {
    let (end_offset, epoch) = (asked.snapshot_id.end_offset, asked.snapshot_id.epoch);
    let Ok(position) = u64::try_from(asked.position) else { return ErrorCode::POSITION_OUT_OF_RANGE };
    if end_offset < 0 || epoch < 0 {
        return ErrorCode::SNAPSHOT_NOT_FOUND;
    }
    match shared.snapshots.piece(SnapshotId { end_offset, epoch }, position, bytes_max).await {
        Ok(Some((_, size))) if position >= size => ErrorCode::POSITION_OUT_OF_RANGE,
        Ok(Some((bytes, size))) => {
            partition.snapshot_id.end_offset = end_offset;
            partition.snapshot_id.epoch = epoch;
            partition.size = size as i64;
            partition.position = asked.position;
            partition.unaligned_records = bytes;
            ErrorCode::NONE
        }
        Ok(None) => ErrorCode::SNAPSHOT_NOT_FOUND,
        Err(error) => {
            tracing::warn!(%error, "failed to read a snapshot");
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    }
}
