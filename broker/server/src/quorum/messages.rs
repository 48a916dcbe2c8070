//! The quorum's messages as Kafka's requests and responses (KIP-595, KIP-630, KIP-853, KIP-996).

use super::{Address, METADATA_TOPIC_ID, Snapshots};
use crate::peer::Peer;
use burnin_core::metadata::METADATA_TOPIC;
use burnin_core::quorum::{
    BeginEpochRequest, Diverging, EndEpochRequest, FetchRequest, FetchResponse, Message, ReplicaKey,
    SnapshotId, VoteRequest, VoteResponse,
};
use burnin_runtime::Runtime;
use burnin_wire::control_records::{Voter, VotersRecord};
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use burnin_wire::{ErrorCode, Request, Response, StrBytes};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a leader holds a fetch that finds nothing (`KafkaRaftClient.FETCH_MAX_WAIT_MS`).
const FETCH_WAIT_MS: i32 = 500;
/// The most that a fetch asks for (`KafkaRaftClient.MAX_FETCH_SIZE_BYTES`).
const FETCH_BYTES: i32 = 8 * 1024 * 1024;

/// A tagged field of ours on the requests of replicas that have their voters from `controller.quorum.voters`: the
/// node ids, with commas. Kafka passes it over, as it does every tag that it does not know, and does not send it.
pub(crate) const CONFIGURED_VOTERS: i32 = 10_853;

/// What every request says of its sender.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) cluster_id: StrBytes,
    pub(crate) me: ReplicaKey,
    own: Voter,
    /// See [`CONFIGURED_VOTERS`].
    pub(super) configured_voters: Option<Bytes>,
}

impl Context {
    pub(crate) fn new(cluster_id: StrBytes, own: Voter) -> Context {
        let me = ReplicaKey { id: own.voter_id, directory: own.voter_directory_id };
        Context { cluster_id, me, own, configured_voters: None }
    }

    fn tags(&self) -> BTreeMap<i32, Bytes> {
        self.configured_voters.iter().map(|list| (CONFIGURED_VOTERS, list.clone())).collect()
    }

    /// Where this node is reached, for those whom it leads.
    fn endpoints<T>(&self, make: impl Fn(StrBytes, StrBytes, u16) -> T) -> Vec<T> {
        let text = |text: &String| StrBytes::from_string(text.clone());
        let endpoints = self.own.endpoints.iter();
        endpoints.map(|at| make(text(&at.name), text(&at.host), at.port)).collect()
    }
}

/// Why there is no answer.
pub(crate) enum Refused {
    /// INCONSISTENT_VOTER_SET.
    OtherVoters,
    /// INVALID_VOTER_KEY.
    OtherDirectory,
    Other(String),
}

impl From<i16> for Refused {
    fn from(code: i16) -> Refused {
        match ErrorCode(code) {
            ErrorCode::INCONSISTENT_VOTER_SET => Refused::OtherVoters,
            ErrorCode::INVALID_VOTER_KEY => Refused::OtherDirectory,
            code => Refused::Other(code.to_string()),
        }
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Refused {
        Refused::Other(why)
    }
}

/// A message, and where the leader that it names is reached if it says so.
type Answered = (Message, Option<(i32, Address)>);

/// A request on its way, with what is needed to read its answer.
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) versions: RangeInclusive<i16>,
    asked: Asked,
    configured_voters: Option<Bytes>,
}

enum Asked {
    Vote { pre_vote: bool, epoch: i32 },
    BeginEpoch,
    EndEpoch,
    Fetch(u64),
}

fn metadata_topic() -> TopicName {
    TopicName(StrBytes::from_static_str(METADATA_TOPIC))
}

impl Call {
    /// `None` for what is no request.
    pub(crate) fn new(context: &Context, to: i32, message: &Message) -> Option<Call> {
        let (request, versions, asked) = match message {
            // Directory ids are there from version 1 on, pre-votes from version 2 on.
            Message::VoteRequest(vote) => (
                vote_request(context, to, vote),
                if vote.pre_vote { 2 } else { 1 }..=i16::MAX,
                Asked::Vote { pre_vote: vote.pre_vote, epoch: vote.epoch },
            ),
            Message::BeginEpochRequest(begin) => {
                (begin_request(context, to, begin), 1..=i16::MAX, Asked::BeginEpoch)
            }
            Message::EndEpochRequest(end) => (end_request(context, end), 1..=i16::MAX, Asked::EndEpoch),
            Message::FetchRequest(fetch) => {
                (fetch_request(context, fetch), 15..=i16::MAX, Asked::Fetch(fetch.fetch))
            }
            _ => return None,
        };
        Some(Call { request, versions, asked, configured_voters: context.configured_voters.clone() })
    }

    /// What the request says of the sender's voters.
    pub(super) fn configured_voters(&self) -> String {
        let told = self.configured_voters.as_deref().map(String::from_utf8_lossy);
        told.map_or_else(|| "not set".to_owned(), |told| told.into_owned())
    }

    /// What it means that the other side does not know the request, where that means something.
    pub(crate) fn unsupported(&self) -> Option<Message> {
        match self.asked {
            Asked::Vote { pre_vote: true, epoch } => Some(Message::PreVoteUnsupported { epoch }),
            _ => None,
        }
    }

    /// The answer, or why there is none.
    pub(crate) fn answer(&self, response: Response) -> Result<Answered, Refused> {
        let missing = || "its answer names no partition".to_owned();
        macro_rules! partition {
            ($response:expr) => {{
                check($response.error_code)?;
                let partition = $response.topics.first().and_then(|topic| topic.partitions.first());
                let partition = partition.ok_or_else(missing)?;
                check_partition(partition.error_code)?;
                let leader = leader(partition.leader_id.0);
                let endpoint = $response.node_endpoints.iter().find(|node| Some(node.node_id.0) == leader);
                let at = endpoint.map(|node| (node.node_id.0, (node.host.to_string(), node.port)));
                (partition, leader, at)
            }};
        }
        match (&self.asked, response) {
            (Asked::Vote { pre_vote, .. }, Response::Vote(response)) => {
                let (partition, leader, at) = partition!(response);
                let vote = VoteResponse {
                    epoch: partition.leader_epoch,
                    leader,
                    granted: partition.vote_granted,
                    pre_vote: *pre_vote,
                };
                Ok((Message::VoteResponse(vote), at))
            }
            (Asked::BeginEpoch, Response::BeginQuorumEpoch(response)) => {
                let (partition, _, at) = partition!(response);
                Ok((Message::BeginEpochResponse { epoch: partition.leader_epoch }, at))
            }
            (Asked::EndEpoch, Response::EndQuorumEpoch(response)) => {
                let (partition, _, at) = partition!(response);
                Ok((Message::BeginEpochResponse { epoch: partition.leader_epoch }, at))
            }
            (Asked::Fetch(fetch), Response::Fetch(response)) => {
                check(response.error_code)?;
                let topic = response.responses.into_iter().next();
                let partition = topic.and_then(|topic| topic.partitions.into_iter().next());
                let partition = partition.ok_or_else(missing)?;
                let leader = partition.current_leader.leader_id;
                let endpoint = response.node_endpoints.iter().find(|node| node.node_id == leader);
                let at = endpoint.and_then(|node| {
                    Some((node.node_id.0, (node.host.to_string(), u16::try_from(node.port).ok()?)))
                });
                Ok((fetched(*fetch, partition)?, at))
            }
            (_, other) => Err(format!("an answer of {}", other.api()).into()),
        }
    }
}

fn check(code: i16) -> Result<(), i16> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// These say who leads, and since when.
fn check_partition(code: i16) -> Result<(), i16> {
    let telling = [
        ErrorCode::NONE,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ];
    if telling.iter().any(|known| known.code() == code) { Ok(()) } else { Err(code) }
}

fn leader(id: i32) -> Option<i32> {
    (id >= 0).then_some(id)
}

fn vote_request(context: &Context, to: i32, vote: &VoteRequest) -> Request {
    use kafka::vote_request::{PartitionData, TopicData};
    let partition = PartitionData::default()
        .with_replica_epoch(vote.epoch)
        .with_replica_id(BrokerId(vote.candidate.id))
        .with_replica_directory_id(vote.candidate.directory)
        .with_voter_directory_id(vote.voter.directory)
        .with_last_offset_epoch(vote.last_epoch)
        .with_last_offset(vote.end_offset)
        .with_pre_vote(vote.pre_vote);
    let topic = TopicData::default().with_topic_name(metadata_topic()).with_partitions(vec![partition]);
    kafka::VoteRequest::default()
        .with_unknown_tagged_fields(context.tags())
        .with_cluster_id(Some(context.cluster_id.clone()))
        .with_voter_id(BrokerId(to))
        .with_topics(vec![topic])
        .into()
}

fn begin_request(context: &Context, to: i32, begin: &BeginEpochRequest) -> Request {
    use kafka::begin_quorum_epoch_request::{PartitionData, TopicData};
    let partition = PartitionData::default()
        .with_voter_directory_id(begin.voter.directory)
        .with_leader_id(BrokerId(begin.leader))
        .with_leader_epoch(begin.epoch);
    let topic = TopicData::default().with_topic_name(metadata_topic()).with_partitions(vec![partition]);
    let endpoints = context.endpoints(|name, host, port| {
        kafka::begin_quorum_epoch_request::LeaderEndpoint::default()
            .with_name(name)
            .with_host(host)
            .with_port(port)
    });
    kafka::BeginQuorumEpochRequest::default()
        .with_unknown_tagged_fields(context.tags())
        .with_leader_endpoints(endpoints)
        .with_cluster_id(Some(context.cluster_id.clone()))
        .with_voter_id(BrokerId(to))
        .with_topics(vec![topic])
        .into()
}

fn end_request(context: &Context, end: &EndEpochRequest) -> Request {
    use kafka::end_quorum_epoch_request::{PartitionData, ReplicaInfo, TopicData};
    let candidate = |id: &i32| ReplicaInfo::default().with_candidate_id(BrokerId(*id));
    let partition = PartitionData::default()
        .with_leader_id(BrokerId(end.leader))
        .with_leader_epoch(end.epoch)
        .with_preferred_candidates(end.successors.iter().map(candidate).collect());
    let topic = TopicData::default().with_topic_name(metadata_topic()).with_partitions(vec![partition]);
    let endpoints = context.endpoints(|name, host, port| {
        kafka::end_quorum_epoch_request::LeaderEndpoint::default()
            .with_name(name)
            .with_host(host)
            .with_port(port)
    });
    kafka::EndQuorumEpochRequest::default()
        .with_unknown_tagged_fields(context.tags())
        .with_leader_endpoints(endpoints)
        .with_cluster_id(Some(context.cluster_id.clone()))
        .with_topics(vec![topic])
        .into()
}

fn fetch_request(context: &Context, fetch: &FetchRequest) -> Request {
    use kafka::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
    let partition = FetchPartition::default()
        .with_current_leader_epoch(fetch.epoch)
        .with_fetch_offset(fetch.fetch_offset)
        .with_last_fetched_epoch(fetch.last_fetched_epoch)
        .with_partition_max_bytes(FETCH_BYTES)
        .with_replica_directory_id(fetch.replica.directory)
        .with_high_watermark(fetch.high_watermark);
    let topic = FetchTopic::default().with_topic_id(METADATA_TOPIC_ID).with_partitions(vec![partition]);
    kafka::FetchRequest::default()
        .with_unknown_tagged_fields(context.tags())
        .with_cluster_id(Some(context.cluster_id.clone()))
        .with_replica_state(ReplicaState::default().with_replica_id(BrokerId(fetch.replica.id)))
        .with_max_wait_ms(FETCH_WAIT_MS)
        .with_max_bytes(FETCH_BYTES)
        .with_topics(vec![topic])
        .into()
}

fn fetched(fetch: u64, partition: kafka::fetch_response::PartitionData) -> Result<Message, i16> {
    check_partition(partition.error_code)?;
    let is_served = partition.error_code == 0;
    let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
    Ok(Message::FetchResponse(FetchResponse {
        fetch,
        epoch: partition.current_leader.leader_epoch,
        leader: leader(partition.current_leader.leader_id.0),
        high_watermark: is_served.then_some(partition.high_watermark),
        diverging: (diverging.epoch >= 0)
            .then_some(Diverging { epoch: diverging.epoch, end_offset: diverging.end_offset }),
        snapshot: (snapshot.end_offset >= 0)
            .then_some(SnapshotId { end_offset: snapshot.end_offset, epoch: snapshot.epoch }),
        records: partition.records.unwrap_or_default(),
    }))
}

/// Fetches a snapshot piece by piece, checks all of it, and puts it in place (KIP-630). Gives the voters that it names.
pub(super) async fn fetch_snapshot<R: Runtime>(
    peer: &Peer<R>,
    context: &Context,
    epoch: i32,
    id: SnapshotId,
    store: &Snapshots<R>,
    within: Duration,
) -> Result<Option<VotersRecord>, String> {
    use kafka::fetch_snapshot_request::{PartitionSnapshot, SnapshotId as WireId, TopicSnapshot};
    let mut bytes = BytesMut::new();
    loop {
        let wanted = WireId::default().with_end_offset(id.end_offset).with_epoch(id.epoch);
        let partition = PartitionSnapshot::default()
            .with_current_leader_epoch(epoch)
            .with_snapshot_id(wanted)
            .with_position(bytes.len() as i64)
            .with_replica_directory_id(context.me.directory);
        let topic = TopicSnapshot::default().with_name(metadata_topic()).with_partitions(vec![partition]);
        let request = kafka::FetchSnapshotRequest::default()
            .with_cluster_id(Some(context.cluster_id.clone()))
            .with_replica_id(BrokerId(context.me.id))
            .with_max_bytes(FETCH_BYTES)
            .with_topics(vec![topic]);
        let answer = peer.call_in(1..=i16::MAX, request.into(), within).await;
        let Response::FetchSnapshot(answer) = answer.map_err(|error| error.to_string())? else {
            return Err("an answer to another request".to_owned());
        };
        let refused = |code: i16| ErrorCode(code).to_string();
        check(answer.error_code).map_err(refused)?;
        let partition =
            answer.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let partition = partition.ok_or_else(|| "its answer names no partition".to_owned())?;
        check(partition.error_code).map_err(refused)?;
        let is_next = partition.position == bytes.len() as i64 && partition.size > partition.position;
        if !is_next || partition.unaligned_records.is_empty() {
            return Err(format!("a piece at {} of {}", partition.position, partition.size));
        }
        bytes.extend_from_slice(&partition.unaligned_records);
        if bytes.len() as i64 >= partition.size {
            break;
        }
    }
    let bytes = bytes.freeze();
    let snapshot = store.check(id, bytes.clone()).await?;
    store.store(id, bytes).await?;
    Ok(snapshot.voters)
}

/// Reads the requests of other replicas. `Err`: what is wrong with them.
pub(crate) mod asked {
    use super::*;

    /// Vote.
    pub(crate) fn vote(me: i32, request: &kafka::VoteRequest) -> Result<VoteRequest, ErrorCode> {
        let [topic] = &request.topics[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        let [partition] = &topic.partitions[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        check_name(&topic.topic_name, partition.partition_index)?;
        check_voter(me, request.voter_id)?;
        if partition.replica_id.0 < 0 || partition.replica_epoch < 0 || partition.last_offset < 0 {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        Ok(VoteRequest {
            epoch: partition.replica_epoch,
            candidate: ReplicaKey { id: partition.replica_id.0, directory: partition.replica_directory_id },
            voter: ReplicaKey { id: me, directory: partition.voter_directory_id },
            last_epoch: partition.last_offset_epoch,
            end_offset: partition.last_offset,
            pre_vote: partition.pre_vote,
        })
    }

    /// BeginQuorumEpoch.
    pub(crate) fn begin(
        me: i32,
        request: &kafka::BeginQuorumEpochRequest,
    ) -> Result<BeginEpochRequest, ErrorCode> {
        let [topic] = &request.topics[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        let [partition] = &topic.partitions[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        check_name(&topic.topic_name, partition.partition_index)?;
        check_voter(me, request.voter_id)?;
        check_leader(me, partition.leader_id, partition.leader_epoch)?;
        Ok(BeginEpochRequest {
            epoch: partition.leader_epoch,
            leader: partition.leader_id.0,
            voter: ReplicaKey { id: me, directory: partition.voter_directory_id },
        })
    }

    /// EndQuorumEpoch.
    pub(crate) fn end(
        me: i32,
        version: i16,
        request: &kafka::EndQuorumEpochRequest,
    ) -> Result<EndEpochRequest, ErrorCode> {
        let [topic] = &request.topics[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        let [partition] = &topic.partitions[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        check_name(&topic.topic_name, partition.partition_index)?;
        check_leader(me, partition.leader_id, partition.leader_epoch)?;
        let candidates = partition.preferred_candidates.iter().map(|candidate| candidate.candidate_id.0);
        let successors =
            if version >= 1 { candidates.collect() } else { partition.preferred_successors.clone() };
        Ok(EndEpochRequest { epoch: partition.leader_epoch, leader: partition.leader_id.0, successors })
    }

    /// Fetch. `number` comes back in the answer.
    pub(crate) fn fetch(
        number: u64,
        version: i16,
        request: &kafka::FetchRequest,
    ) -> Result<FetchRequest, ErrorCode> {
        // Older versions cannot say where logs diverge.
        if version < 13 {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let [topic] = &request.topics[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        let [partition] = &topic.partitions[..] else { return Err(ErrorCode::INVALID_REQUEST) };
        let is_named = topic.topic_id == METADATA_TOPIC_ID;
        if !is_named || partition.partition != 0 {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
        let is_sound = partition.fetch_offset >= 0
            && partition.last_fetched_epoch >= 0
            && partition.current_leader_epoch >= 0;
        if !is_sound {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        Ok(FetchRequest {
            fetch: number,
            replica: ReplicaKey { id: id.0, directory: partition.replica_directory_id },
            epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            high_watermark: partition.high_watermark,
        })
    }

    fn check_name(topic: &TopicName, partition: i32) -> Result<(), ErrorCode> {
        if topic.0.as_str() == METADATA_TOPIC && partition == 0 {
            Ok(())
        } else {
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
    }

    /// A request that was meant for another replica.
    fn check_voter(me: i32, meant: BrokerId) -> Result<(), ErrorCode> {
        if meant.0 < 0 || meant.0 == me { Ok(()) } else { Err(ErrorCode::INVALID_VOTER_KEY) }
    }

    /// Nobody else knows better than this replica whether it leads.
    fn check_leader(me: i32, leader: BrokerId, epoch: i32) -> Result<(), ErrorCode> {
        if leader.0 < 0 || leader.0 == me || epoch < 0 { Err(ErrorCode::INVALID_REQUEST) } else { Ok(()) }
    }
}
