//! The metadata quorum: KRaft as a state machine (KIP-595, pre-vote of KIP-996, check-quorum, snapshots of
//! KIP-630, changes of the voters of KIP-853). It does no I/O and knows no clock: it takes events and `now`, and gives [`Action`]s.
//!
//! ```text
//!              election timeout            majority of pre-votes         majority of votes
//!  Unattached ------------------> Prospective --------------> Candidate -----------------> Leader
//!      ^  \                           |                          |                           |
//!      |   \ leader found             | lost                     | lost, timeout             | no majority fetches,
//!      |    v                         v                          v                           | or a clean stop
//!      |   Follower <------------ (back to Unattached / Follower) <------------- Resigned <--+
//!      +------- a higher epoch is seen, in any role
//! ```
//!
//! What the driver promises: actions are carried out in order, and none before the one in front of it is
//! complete. [`Action::Persist`] and [`Action::Append`] are complete when they are durable. So a vote is never
//! answered before it is on disk, and an offset is never fetched from before what lies below it is.

mod action;
mod change;
mod election;
mod follower;
mod leader;
mod voters;

pub use action::{
    Action, BeginEpochRequest, Diverging, EndEpochRequest, FetchRequest, FetchResponse, Message, ReplyTo,
    SnapshotId, VoteRequest, VoteResponse,
};
pub use change::{VoterChange, VoterChangeError};
pub use leader::ReplicaProgress;
pub use voters::{ReplicaKey, VoterSet};

use burnin_runtime::{Entropy, Instant, Mutants};
use election::{Ballot, Unattached};
use follower::Following;
use leader::Leading;
use std::time::Duration;
use voters::VoterHistory;

/// No honest replica ever counts so far. A message of a higher epoch is refused, so that none can make this replica's
/// own epoch overflow.
const EPOCH_MAX: i32 = i32::MAX - (1 << 20);

/// How far ahead of its own epoch a replica believes a *request*, which anybody can send: epochs are never taken back,
/// so that one forged request could use them all up. (Kafka believes any.) Whoever is really so far behind learns it
/// from the answers to what it asks itself, and a replica that is so far ahead is asked by its leader.
const EPOCH_JUMP_MAX: i32 = 1000;

/// What survives a restart: Kafka's `quorum-state` file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElectionState {
    /// The highest epoch that this replica has seen. Never goes back.
    pub epoch: i32,
    /// The leader of that epoch, once known. Never changes within an epoch.
    pub leader: Option<i32>,
    /// Whom this replica voted for in that epoch. Never changes within an epoch.
    pub voted: Option<ReplicaKey>,
}

/// Settings, in Kafka's words (`controller.quorum.*`).
#[derive(Clone, Copy, Debug)]
pub struct QuorumConfig {
    /// `controller.quorum.election.timeout.ms`; each wait is drawn from one to two times this.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
}

impl QuorumConfig {
    /// A leader resigns when no majority has fetched for so long (`LeaderState.CHECK_QUORUM_TIMEOUT_FACTOR`).
    pub fn check_quorum(&self) -> Duration {
        self.fetch_timeout + self.fetch_timeout / 2
    }
}

impl Default for QuorumConfig {
    fn default() -> Self {
        QuorumConfig {
            election_timeout: Duration::from_millis(1000),
            fetch_timeout: Duration::from_millis(2000),
            election_backoff_max: Duration::from_millis(1000),
            retry_backoff: Duration::from_millis(20),
        }
    }
}

/// What the quorum must know of the log. Offsets are of what is durable: the driver appends and syncs before
/// it feeds the next event.
pub trait LogView {
    /// One past the last record.
    fn end_offset(&self) -> i64;
    /// The epoch of the last record (or of the snapshot that the log begins after; 0 when all is empty).
    fn last_epoch(&self) -> i32;
    /// The first offset that is kept.
    fn start_offset(&self) -> i64;
    /// The largest epoch that is at most `epoch`, and where it ends. `None`: nothing that old is known.
    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)>;
    /// The newest snapshot.
    fn latest_snapshot(&self) -> Option<SnapshotId>;
}

enum Role {
    Unattached(Unattached),
    Prospective(Ballot),
    Candidate(Ballot),
    Follower(Following),
    Leader(Leading),
    Resigned { until: Instant },
}

/// A replica of the metadata quorum: a voter, or an observer when the voters do not name it.
pub struct Quorum {
    me: ReplicaKey,
    config: QuorumConfig,
    voters: VoterHistory,
    state: ElectionState,
    role: Role,
    high_watermark: Option<i64>,
    entropy: Entropy,
    mutants: Mutants,
    actions: Vec<Action>,
}

/// The role, for reports and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// No leader is known, no election is under way here.
    Unattached,
    /// Asks whether an election could be won, without a new epoch.
    Prospective,
    /// Asks for votes.
    Candidate,
    /// Fetches from the leader.
    Follower,
    /// Is the leader.
    Leader,
    /// Was the leader, and lets others be elected.
    Resigned,
}

impl Quorum {
    /// A replica that comes up with what its `quorum-state` says. A former leader does not resume: records of
    /// its epoch that were not durable may be gone, and (epoch, offset) must stay unique (KAFKA-10527).
    pub fn new(
        me: ReplicaKey,
        voters: VoterSet,
        config: QuorumConfig,
        state: ElectionState,
        log: &impl LogView,
        entropy: Entropy,
        now: Instant,
    ) -> Self {
        let mut quorum = Quorum {
            me,
            config,
            voters: VoterHistory::new(voters),
            state,
            role: Role::Resigned { until: now },
            // What a snapshot covers was committed.
            high_watermark: Some(log.start_offset()).filter(|start| *start > 0),
            entropy,
            mutants: Mutants::NONE,
            actions: Vec::new(),
        };
        let wait = quorum.first_wait();
        quorum.role = match state.leader {
            Some(leader) if leader != me.id => {
                Role::Follower(Following::new(leader, now + config.fetch_timeout))
            }
            Some(_) => Role::Resigned { until: now + wait },
            None => Role::Unattached(Unattached { until: now + wait }),
        };
        quorum
    }

    /// The driver has told the voters that it found in the snapshot and in the log: only now it is known who waits for
    /// how long.
    pub fn voters_found(&mut self, now: Instant) {
        let wait = self.first_wait();
        match &mut self.role {
            Role::Unattached(unattached) => unattached.until = now + wait,
            Role::Resigned { until } => *until = now + wait,
            _ => {}
        }
    }

    /// The same with a planted bug.
    pub fn planted(self, mutants: Mutants) -> Self {
        Quorum { mutants, ..self }
    }

    /// The role.
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Unattached(_) => RoleName::Unattached,
            Role::Prospective(_) => RoleName::Prospective,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Follower(_) => RoleName::Follower,
            Role::Leader(_) => RoleName::Leader,
            Role::Resigned { .. } => RoleName::Resigned,
        }
    }

    /// The epoch, its leader when known, and whom this replica voted for.
    pub fn election_state(&self) -> ElectionState {
        self.state
    }

    /// Everything below is committed. `None` until it is known in this life.
    pub fn high_watermark(&self) -> Option<i64> {
        self.high_watermark
    }

    /// The voters: those of the last record in the log, committed or not.
    pub fn voters(&self) -> &VoterSet {
        self.voters.latest()
    }

    /// When [`Quorum::tick`] is due next.
    pub fn deadline(&self) -> Instant {
        match &self.role {
            Role::Unattached(unattached) => unattached.until,
            Role::Prospective(ballot) | Role::Candidate(ballot) => ballot.until,
            Role::Follower(following) => following.deadline(),
            Role::Leader(leading) => leading.deadline(),
            Role::Resigned { until } => *until,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, log: &impl LogView) -> Vec<Action> {
        if now >= self.deadline() {
            match self.role {
                Role::Prospective(_) if self.state.leader.is_some() => self.follow_again(now),
                Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) => {
                    self.become_prospective(now, log)
                }
                Role::Follower(_) => self.follower_tick(now, log),
                Role::Leader(_) => self.leader_tick(now, log),
                Role::Resigned { .. } => self.become_unattached(self.state.epoch + 1, now),
            }
        }
        self.take()
    }

    /// A message came in; requests are answered through `reply_to`.
    pub fn receive(
        &mut self,
        from: i32,
        message: Message,
        reply_to: ReplyTo,
        now: Instant,
        log: &impl LogView,
    ) -> Vec<Action> {
        match message {
            Message::VoteRequest(request) => self.on_vote_request(&request, reply_to, now, log),
            Message::VoteResponse(response) => self.on_vote_response(from, &response, now, log),
            Message::PreVoteUnsupported { epoch } => self.on_pre_vote_unsupported(from, epoch, now, log),
            Message::BeginEpochRequest(request) => self.on_begin_epoch_request(&request, reply_to, now),
            Message::BeginEpochResponse { epoch } => self.on_begin_epoch_response(from, epoch, now),
            Message::EndEpochRequest(request) => self.on_end_epoch_request(&request, reply_to, now),
            Message::FetchRequest(request) => self.on_fetch_request(&request, reply_to, now, log),
            Message::FetchResponse(response) => self.on_fetch_response(from, response, now, log),
            Message::SnapshotFetched { leader, epoch, id } => {
                self.on_snapshot_fetched(leader, epoch, id, now)
            }
        }
        self.take()
    }

    /// The driver made the leader's own records durable (those of [`Action::Append`] and of proposals).
    pub fn appended(&mut self, now: Instant, log: &impl LogView) -> Vec<Action> {
        if let Role::Leader(_) = self.role {
            self.advance_high_watermark(log, now);
        }
        self.take()
    }

    /// A clean stop: a leader lets the best follower take over.
    pub fn resign(&mut self, now: Instant) -> Vec<Action> {
        if let Role::Leader(_) = self.role {
            self.become_resigned(now);
        }
        self.take()
    }

    fn is_voter(&self) -> bool {
        self.voters.latest().contains(self.me)
    }

    /// Whether this replica stands for election: a voter does, and one whose removal is not known to be committed. It
    /// may be the only one that has the record, and without it nobody could be elected; its own vote does not count.
    fn may_lead(&self) -> bool {
        let uncommitted = self.voters.latest_offset() >= self.high_watermark.or(Some(0));
        self.is_voter() || uncommitted && self.voters.previous().contains(self.me)
    }

    /// One to two election timeouts, so that candidates do not march in step.
    fn election_wait(&mut self) -> Duration {
        let low = self.config.election_timeout;
        self.entropy.duration(low, low * 2)
    }

    /// Who need not fear to disturb anybody does not wait at the start: an observer, which only looks for the leader,
    /// and a voter that is alone. In a quorum that never had a leader the wait is short.
    fn first_wait(&mut self) -> Duration {
        let timeout = self.config.election_timeout;
        match self.is_voter() {
            true if self.voters().len() > 1 && self.state.epoch > 0 => self.election_wait(),
            true if self.voters().len() > 1 => self.entropy.duration(Duration::ZERO, timeout / 4),
            _ => Duration::ZERO,
        }
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The one place where what must survive changes. Within an epoch a leader and a vote are set once.
    fn set_state(&mut self, next: ElectionState) {
        let old = self.state;
        assert!(
            next.epoch >= old.epoch,
            "epoch went back: from={} to={} replica={}",
            old.epoch,
            next.epoch,
            self.me.id
        );
        if next.epoch == old.epoch {
            assert!(
                old.leader.is_none() || next.leader == old.leader,
                "two leaders in one epoch: epoch={} known={:?} new={:?} replica={}",
                old.epoch,
                old.leader,
                next.leader,
                self.me.id
            );
            assert!(
                old.voted.is_none() || next.voted == old.voted,
                "two votes in one epoch: epoch={} voted={:?} new={:?} replica={}",
                old.epoch,
                old.voted,
                next.voted,
                self.me.id
            );
        }
        if next != old {
            self.state = next;
            self.actions.push(Action::Persist(next));
        }
    }

    fn set_high_watermark(&mut self, offset: i64, log: &impl LogView) {
        assert!(
            offset <= log.end_offset(),
            "high watermark past the log: high_watermark={offset} log_end_offset={} replica={}",
            log.end_offset(),
            self.me.id
        );
        if self.high_watermark.is_none_or(|known| offset > known) {
            self.high_watermark = Some(offset);
            self.actions.push(Action::Committed(offset));
        }
    }

    /// Whether a request may come from an honest replica, by its epoch.
    fn is_believable(&self, epoch: i32) -> bool {
        epoch <= EPOCH_MAX && epoch <= self.state.epoch.saturating_add(EPOCH_JUMP_MAX)
    }

    /// A message of another epoch came in. Returns whether the message is of an older one and must be refused, as
    /// one must that names another leader of this epoch: whoever sends that is no replica of this quorum.
    fn is_stale(&mut self, epoch: i32, leader: Option<i32>, now: Instant) -> bool {
        if epoch > EPOCH_MAX {
            return true;
        }
        let contradicts = leader.is_some() && self.state.leader.is_some() && leader != self.state.leader;
        if epoch < self.state.epoch || epoch == self.state.epoch && contradicts {
            return true;
        }
        let news = epoch > self.state.epoch || self.state.leader.is_none();
        match leader {
            // A leader that is known already is no reason to give up an election: it may be the one that is gone.
            Some(leader) if leader != self.me.id && news => self.follow(leader, epoch, now),
            _ if epoch > self.state.epoch => self.become_unattached(epoch, now),
            _ => {}
        }
        false
    }
}
