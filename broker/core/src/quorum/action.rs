//! What the quorum asks its driver to do, and what its replicas say to each other. The messages carry what
//! decides; the wire's structs are filled in by the server.

use super::{ElectionState, ReplicaKey, VoterChangeError, VoterSet};
use bytes::Bytes;

/// Names a request that waits for an answer; chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ReplyTo(pub u64);

/// A snapshot: the state up to and without `end_offset`, whose last record is of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// Exclusive.
    pub end_offset: i64,
    /// The epoch of the last record that it covers.
    pub epoch: i32,
}

/// Something to do. See the module's documentation for the order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the election state durable.
    Persist(ElectionState),
    /// Send a request or an unsolicited message to a replica.
    Send { to: i32, message: Message },
    /// Send this fetch to any replica that may know the leader: one of the bootstrap servers, or of the voters. Those
    /// that this replica knows may all be gone.
    FindLeader { request: FetchRequest },
    /// Answer a request.
    Reply { to: ReplyTo, message: Message },
    /// This replica is now the leader of `epoch`: append a LeaderChangeMessage first, and make it durable.
    BecameLeader { epoch: i32 },
    /// Append a control batch with these voters, make it durable, then call
    /// [`voters_appended`](super::Quorum::voters_appended) with its offset. Alone among the actions it need not be
    /// complete before the next event, nor happen at all once the leadership is lost: it takes its turn among the
    /// proposals.
    AppendVoters { epoch: i32, voters: VoterSet },
    /// What became of [`change_voters`](super::Quorum::change_voters).
    AnswerVoterChange { to: ReplyTo, result: Result<(), VoterChangeError> },
    /// This replica is no longer the leader: fail what is proposed and not committed as "maybe".
    LostLeadership { epoch: i32 },
    /// Append batches that came from the leader, as they are, and make them durable.
    Append { records: Bytes },
    /// Cut the log to `offset`. Never below the high watermark.
    Truncate { offset: i64 },
    /// Fetch the snapshot from `leader`, replace the log by it, then tell [`Message::SnapshotFetched`].
    FetchSnapshot { leader: i32, epoch: i32, id: SnapshotId },
    /// Everything below is committed and can be applied.
    Committed(i64),
    /// Hold the fetch until there is something at its offset or the high watermark moves, then feed it again; when
    /// the wait is over, answer it without records.
    ParkFetch { reply_to: ReplyTo, request: FetchRequest },
    /// Answer a fetch with records from `offset` on.
    ServeFetch { to: ReplyTo, fetch: u64, offset: i64, epoch: i32, high_watermark: i64 },
}

/// What replicas say.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    VoteRequest(VoteRequest),
    VoteResponse(VoteResponse),
    /// From the driver: the replica that was asked in `epoch` is too old to know pre-votes.
    PreVoteUnsupported {
        epoch: i32,
    },
    BeginEpochRequest(BeginEpochRequest),
    BeginEpochResponse {
        epoch: i32,
    },
    EndEpochRequest(EndEpochRequest),
    FetchRequest(FetchRequest),
    FetchResponse(FetchResponse),
    /// From the driver to itself: the snapshot is in place.
    SnapshotFetched {
        leader: i32,
        epoch: i32,
        id: SnapshotId,
    },
}

/// KIP-595 Vote, with KIP-996's pre-vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// The candidate's epoch (of a pre-vote: its current one).
    pub epoch: i32,
    pub candidate: ReplicaKey,
    /// Whose vote is asked for: the wire's voter id and voter directory id, nil where the sender does not say.
    pub voter: ReplicaKey,
    pub last_epoch: i32,
    pub end_offset: i64,
    pub pre_vote: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteResponse {
    pub epoch: i32,
    pub leader: Option<i32>,
    pub granted: bool,
    pub pre_vote: bool,
}

/// KIP-595 BeginQuorumEpoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginEpochRequest {
    pub epoch: i32,
    pub leader: i32,
    /// Who is told: the wire's voter id and voter directory id.
    pub voter: ReplicaKey,
}

/// KIP-595 EndQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndEpochRequest {
    pub epoch: i32,
    pub leader: i32,
    /// The best first.
    pub successors: Vec<i32>,
}

/// A replica asks for records of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Comes back in the answer; the driver keeps it with the wire's correlation id.
    pub fetch: u64,
    pub replica: ReplicaKey,
    pub epoch: i32,
    /// Where its log ends, durably.
    pub fetch_offset: i64,
    /// The epoch of its last record.
    pub last_fetched_epoch: i32,
    /// The high watermark that it knows, so that a newer one is told at once (KIP-1166); -1: none yet.
    pub high_watermark: i64,
}

/// The replica's log leaves the leader's here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverging {
    pub epoch: i32,
    pub end_offset: i64,
}

/// The answer to a fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchResponse {
    /// Of the request that it answers. An answer that is not awaited is dropped: a repeated one would append
    /// or cut twice.
    pub fetch: u64,
    pub epoch: i32,
    pub leader: Option<i32>,
    /// -1: the leader does not know one yet. Without this, a divergence or a snapshot the fetch was refused.
    pub high_watermark: Option<i64>,
    pub diverging: Option<Diverging>,
    pub snapshot: Option<SnapshotId>,
    pub records: Bytes,
}
