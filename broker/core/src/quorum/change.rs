//! Membership changes, one at a time (KIP-853): AddRaftVoter, RemoveRaftVoter, UpdateRaftVoter.
//!
//! A change is a record with the whole new set of voters. It counts as soon as it is appended, so a second one may
//! not start before the first is committed, and none before the leader has committed a record of its own epoch:
//! two majorities of neighbouring sets then always share a voter.

use super::voters::supports;
use super::{Action, LogView, Quorum, ReplicaKey, ReplyTo, Role, VoterSet};
use burnin_runtime::Instant;
use burnin_wire::control_records::Voter;

/// The level of `kraft.version` with which voters stand in the log.
pub(super) const KRAFT_VERSION: i16 = 1;

/// A wish to change the voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// A replica that has caught up becomes a voter. The driver has asked it for its range of `kraft.version`.
    Add(Voter),
    /// A voter becomes an observer. A leader may name itself: it resigns once that is committed.
    Remove(ReplicaKey),
    /// A voter listens elsewhere, or supports other levels.
    Update(Voter),
}

/// Why the voters are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoterChangeError {
    /// NOT_LEADER_OR_FOLLOWER. After the change was begun: perhaps it happens, perhaps not.
    #[error("this replica does not lead the quorum")]
    NotLeader,
    /// REQUEST_TIMED_OUT: asked again, it may work.
    #[error("the leader has not committed a record of its epoch yet")]
    EpochNotCommitted,
    /// REQUEST_TIMED_OUT: asked again, it may work.
    #[error("another change of the voters is not committed yet")]
    ChangePending,
    /// REQUEST_TIMED_OUT: asked again, it may work.
    #[error("replica {} ({}) has not caught up with the leader", .0.id, .0.directory)]
    Lagging(ReplicaKey),
    /// UNSUPPORTED_VERSION.
    #[error("voters are configured with controller.quorum.voters (kraft.version is 0)")]
    StaticVoters,
    /// DUPLICATE_VOTER.
    #[error("a voter has the node id {0} already")]
    DuplicateVoter(i32),
    /// VOTER_NOT_FOUND.
    #[error("no voter {} with the directory {}", .0.id, .0.directory)]
    VoterNotFound(ReplicaKey),
    /// INVALID_REQUEST.
    #[error("voter {0} does not support kraft.version {KRAFT_VERSION}")]
    UnsupportedByVoter(i32),
    /// INVALID_REQUEST.
    #[error("voter {0} is the only one")]
    LastVoter(i32),
}

/// A change that is on its way into the log, or there and not committed.
pub(super) struct PendingChange {
    /// `None` until the driver has appended it.
    offset: Option<i64>,
    /// Who waits for the commit.
    reply_to: Option<ReplyTo>,
}

fn key(voter: &Voter) -> ReplicaKey {
    ReplicaKey { id: voter.voter_id, directory: voter.voter_directory_id }
}

impl Quorum {
    /// Changes the voters. The answer comes as [`Action::AnswerVoterChange`]: at once when the change is refused
    /// and for an update, after the commit otherwise.
    pub fn change_voters(
        &mut self,
        change: VoterChange,
        reply_to: ReplyTo,
        now: Instant,
        log: &impl LogView,
    ) -> Vec<Action> {
        match self.decide_change(&change, now, log) {
            Ok(voters) => {
                let waits = !matches!(change, VoterChange::Update(_));
                let Role::Leader(leading) = &mut self.role else { unreachable!("only a leader decides") };
                leading.change = Some(PendingChange { offset: None, reply_to: waits.then_some(reply_to) });
                self.actions.push(Action::AppendVoters { epoch: self.state.epoch, voters });
                if !waits {
                    self.actions.push(Action::AnswerVoterChange { to: reply_to, result: Ok(()) });
                }
            }
            Err(error) => {
                self.actions.push(Action::AnswerVoterChange { to: reply_to, result: Err(error) });
            }
        }
        self.take()
    }

    fn decide_change(
        &self,
        change: &VoterChange,
        now: Instant,
        log: &impl LogView,
    ) -> Result<VoterSet, VoterChangeError> {
        let Role::Leader(leading) = &self.role else { return Err(VoterChangeError::NotLeader) };
        let committed = self.high_watermark.unwrap_or(-1);
        if committed <= leading.epoch_start() {
            return Err(VoterChangeError::EpochNotCommitted);
        }
        let offset = self.voters.latest_offset().ok_or(VoterChangeError::StaticVoters)?;
        if leading.change.is_some() || offset >= committed {
            return Err(VoterChangeError::ChangePending);
        }
        let voters = self.voters.latest();
        match change {
            VoterChange::Add(voter) => {
                let id = voter.voter_id;
                if voters.contains_id(id) {
                    return Err(VoterChangeError::DuplicateVoter(id));
                }
                if !supports(&voter.k_raft_version_feature, KRAFT_VERSION) {
                    return Err(VoterChangeError::UnsupportedByVoter(id));
                }
                if !leading.has_caught_up(key(voter), now, log.end_offset()) {
                    return Err(VoterChangeError::Lagging(key(voter)));
                }
                Ok(voters.with(voter.clone()))
            }
            VoterChange::Remove(key) => {
                if voters.key(key.id) != Some(*key) {
                    return Err(VoterChangeError::VoterNotFound(*key));
                }
                if voters.len() == 1 {
                    return Err(VoterChangeError::LastVoter(key.id));
                }
                Ok(voters.without(key.id))
            }
            VoterChange::Update(voter) => {
                if !voters.contains(key(voter)) {
                    return Err(VoterChangeError::VoterNotFound(key(voter)));
                }
                if !supports(&voter.k_raft_version_feature, KRAFT_VERSION) {
                    return Err(VoterChangeError::UnsupportedByVoter(voter.voter_id));
                }
                Ok(voters.with(voter.clone()))
            }
        }
    }

    /// Whether the voters' entry of this replica is out of date. A follower mends it with an UpdateRaftVoter request.
    pub fn needs_update(&self, own: &Voter) -> bool {
        self.voters.latest_offset().is_some()
            && self.voters.latest().contains(self.me)
            && self.voters.latest().differs(own)
    }

    /// The voters that a new leader writes behind its LeaderChangeMessage: when its own entry is out of date, or they
    /// stand in no record of the log yet but in the snapshot of offset 0 that `format` wrote.
    pub fn voters_to_write(&self, own: &Voter) -> Option<VoterSet> {
        let unwritten = self.voters.latest_offset().is_some_and(|offset| offset < 0);
        (unwritten || self.needs_update(own)).then(|| self.voters.latest().with(own.clone()))
    }

    /// A VotersRecord stands at `offset` of the log, durably: the driver tells this for each one that it finds at its
    /// start, that [`Action::Append`] brought, and that it appended itself.
    pub fn voters_appended(
        &mut self,
        offset: i64,
        voters: VoterSet,
        now: Instant,
        log: &impl LogView,
    ) -> Vec<Action> {
        self.voters.append(offset, voters);
        let me = self.me;
        if let Role::Leader(leading) = &mut self.role {
            let change = leading.change.get_or_insert(PendingChange { offset: None, reply_to: None });
            change.offset = Some(offset);
            leading.set_voters(self.voters.latest(), me, now);
            self.advance_high_watermark(log, now);
        }
        self.take()
    }

    /// The log was replaced by the snapshot that ends at `end`, or begins with it: the voters that it names, if any.
    pub fn voters_from_snapshot(&mut self, end: i64, voters: Option<VoterSet>) {
        assert!(
            !matches!(self.role, Role::Leader(_)),
            "a leader's log is not replaced: epoch={} replica={}",
            self.state.epoch,
            self.me.id
        );
        self.voters.replace(end, voters);
    }

    /// The log begins at `start` now.
    pub fn log_prefix_deleted(&mut self, start: i64) {
        self.voters.forget_before(start);
    }

    /// The voters that a snapshot up to and with `offset` has to name; `None` where they are configured.
    pub fn voters_at(&self, offset: i64) -> Option<&VoterSet> {
        self.voters.at(offset)
    }

    /// The offset of the record that names the voters; `None` where they are configured.
    pub fn voters_offset(&self) -> Option<i64> {
        self.voters.latest_offset()
    }

    /// The high watermark has moved: a change may be complete, and a leader that is no voter any more has done its
    /// work.
    pub(super) fn complete_change(&mut self, now: Instant) {
        let committed = self.high_watermark.unwrap_or(-1);
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(offset) = leading.change.as_ref().and_then(|change| change.offset)
            && offset < committed
        {
            let change = leading.change.take().expect("it was just looked at");
            if let Some(to) = change.reply_to {
                self.actions.push(Action::AnswerVoterChange { to, result: Ok(()) });
            }
        }
        if self.voters.latest_offset().is_some_and(|offset| offset < committed) && !self.is_voter() {
            self.become_resigned(now);
        }
    }

    /// A leader that steps down does not know what becomes of its change.
    pub(super) fn abandon_change(&mut self) {
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(to) = leading.change.take().and_then(|change| change.reply_to) {
            let result = Err(VoterChangeError::NotLeader);
            self.actions.push(Action::AnswerVoterChange { to, result });
        }
    }
}
