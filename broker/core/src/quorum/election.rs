//! Elections: pre-vote, vote, and what a vote depends on.

use super::{
    Action, BeginEpochRequest, ElectionState, LogView, Message, Quorum, ReplyTo, Role, VoteRequest,
    VoteResponse, leader::Leading,
};
use burnin_runtime::{Instant, Mutant};
use std::collections::BTreeSet;

/// No leader is known.
pub(super) struct Unattached {
    /// When a voter starts to ask for pre-votes.
    pub until: Instant,
}

/// An election, or the question whether one could be won.
pub(super) struct Ballot {
    pub until: Instant,
    granted: BTreeSet<i32>,
    rejected: BTreeSet<i32>,
    /// Both ways to lose leave the ballot at once, but a candidate waits out its time first.
    lost: bool,
}

impl Quorum {
    pub(super) fn become_unattached(&mut self, epoch: i32, now: Instant) {
        let until = self.until_election(now);
        self.leave_leadership();
        if epoch > self.state.epoch {
            self.set_state(ElectionState { epoch, leader: None, voted: None });
        }
        self.role = Role::Unattached(Unattached { until });
    }

    /// Who waits already does not begin anew (`QuorumState.transitionToUnattached`): else somebody who cannot win, and
    /// asks for votes all the same, would keep those from standing for election who can.
    fn until_election(&mut self, now: Instant) -> Instant {
        let until = match &self.role {
            Role::Unattached(unattached) => unattached.until,
            Role::Prospective(ballot) | Role::Candidate(ballot) => ballot.until,
            Role::Follower(following) => following.until_election(),
            Role::Resigned { until } => *until,
            Role::Leader(_) => now,
        };
        if until > now { until } else { now + self.election_wait() }
    }

    pub(super) fn become_prospective(&mut self, now: Instant, log: &impl LogView) {
        if !self.may_lead() {
            self.become_unattached(self.state.epoch, now);
            return self.find_leader(log);
        }
        if matches!(self.role, Role::Candidate(_)) && self.mutants.on(Mutant::Q03) {
            self.state.voted = None;
        }
        self.role = Role::Prospective(self.ballot(now));
        self.ask_for_votes(true, log);
        self.count_votes(now, log);
    }

    fn become_candidate(&mut self, now: Instant, log: &impl LogView) {
        self.role = Role::Candidate(self.ballot(now));
        self.set_state(ElectionState { epoch: self.state.epoch + 1, leader: None, voted: Some(self.me) });
        self.ask_for_votes(false, log);
        self.count_votes(now, log);
    }

    fn ballot(&mut self, now: Instant) -> Ballot {
        let until = now + self.election_wait();
        let granted = self.is_voter().then_some(self.me.id).into_iter().collect();
        Ballot { until, granted, rejected: BTreeSet::new(), lost: false }
    }

    fn ask_for_votes(&mut self, pre_vote: bool, log: &impl LogView) {
        let request = VoteRequest {
            epoch: self.state.epoch,
            candidate: self.me,
            voter: self.me,
            last_epoch: log.last_epoch(),
            end_offset: log.end_offset(),
            pre_vote,
        };
        let voters = self.voters.latest();
        for voter in voters.ids().filter(|id| *id != self.me.id).filter_map(|id| voters.key(id)) {
            let message = Message::VoteRequest(VoteRequest { voter, ..request });
            self.actions.push(Action::Send { to: voter.id, message });
        }
    }

    pub(super) fn on_vote_request(
        &mut self,
        request: &VoteRequest,
        reply_to: ReplyTo,
        now: Instant,
        log: &impl LogView,
    ) {
        // A pre-vote of a higher epoch counts as any message of it does: its sender could follow nobody else.
        if request.epoch > self.state.epoch && self.is_believable(request.epoch) {
            self.become_unattached(request.epoch, now);
        }
        // The candidate need not be a voter for this replica, which may not have heard of the newest voters yet.
        // What it may not get is the vote of a directory that it did not ask (KIP-853).
        let granted = request.epoch == self.state.epoch && request.voter.matches(self.me) && {
            let up_to_date = (request.last_epoch, request.end_offset) >= (log.last_epoch(), log.end_offset());
            self.grants(request, up_to_date)
        };
        if granted && !request.pre_vote && self.state.voted.is_none() {
            self.set_state(ElectionState { voted: Some(request.candidate), ..self.state });
            self.role = Role::Unattached(Unattached { until: now + self.election_wait() });
        }
        let response = VoteResponse {
            epoch: self.state.epoch,
            leader: self.state.leader,
            granted,
            pre_vote: request.pre_vote,
        };
        self.actions.push(Action::Reply { to: reply_to, message: Message::VoteResponse(response) });
    }

    /// A pre-vote promises nothing, so it asks only whether an election would make sense: not while a leader
    /// is heard of. A vote is given once per epoch, to a replica whose log is not behind.
    fn grants(&self, request: &VoteRequest, up_to_date: bool) -> bool {
        if request.pre_vote {
            return match &self.role {
                Role::Leader(_) => false,
                Role::Follower(following) => up_to_date && !following.has_fetched(),
                Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) | Role::Resigned { .. } => {
                    up_to_date
                }
            };
        }
        match self.state.voted {
            Some(voted) => voted == request.candidate,
            None => self.state.leader.is_none() && up_to_date,
        }
    }

    pub(super) fn on_vote_response(
        &mut self,
        from: i32,
        response: &VoteResponse,
        now: Instant,
        log: &impl LogView,
    ) {
        // Replicas that were lied to about the leader of an epoch must be able to leave it: a vote counts whatever else
        // its sender believes.
        let contradicts = response.epoch == self.state.epoch && self.state.leader.is_some();
        let leader = response.leader.filter(|_| !contradicts);
        if self.is_stale(response.epoch, leader, now) || !self.voters.latest().contains_id(from) {
            return;
        }
        let ballot = match (&mut self.role, response.pre_vote) {
            (Role::Prospective(ballot), true) | (Role::Candidate(ballot), false) => ballot,
            _ => return,
        };
        if response.granted {
            ballot.granted.insert(from);
        } else {
            ballot.rejected.insert(from);
        }
        self.count_votes(now, log);
    }

    /// While replicas of earlier releases vote, nobody can ask first whether an election could be won, and they do not
    /// either: votes are asked for at once (KIP-996).
    pub(super) fn on_pre_vote_unsupported(
        &mut self,
        from: i32,
        epoch: i32,
        now: Instant,
        log: &impl LogView,
    ) {
        let has_asked = matches!(self.role, Role::Prospective(_)) && epoch == self.state.epoch;
        if has_asked && self.voters.latest().contains_id(from) {
            self.become_candidate(now, log);
        }
    }

    fn count_votes(&mut self, now: Instant, log: &impl LogView) {
        let majority = self.voters.latest().majority();
        let voters = self.voters.latest().len();
        let (ballot, prospective) = match &mut self.role {
            Role::Prospective(ballot) => (ballot, true),
            Role::Candidate(ballot) => (ballot, false),
            _ => return,
        };
        if ballot.granted.len() >= majority {
            return if prospective { self.become_candidate(now, log) } else { self.become_leader(now, log) };
        }
        if !ballot.lost && ballot.rejected.len() > voters - majority {
            ballot.lost = true;
            let max = self.config.election_backoff_max;
            let wait = self.entropy.duration(max / 10, max);
            if let Role::Prospective(ballot) | Role::Candidate(ballot) = &mut self.role {
                ballot.until = ballot.until.min(now + wait);
            }
        }
    }

    fn become_leader(&mut self, now: Instant, log: &impl LogView) {
        let epoch = self.state.epoch;
        assert_eq!(
            self.state.voted,
            Some(self.me),
            "a leader voted for itself: epoch={epoch} replica={}",
            self.me.id
        );
        self.set_state(ElectionState { leader: Some(self.me.id), ..self.state });
        let leading = Leading::new(self.voters.latest(), self.me, log.end_offset(), self.config, now);
        self.role = Role::Leader(leading);
        self.actions.push(Action::BecameLeader { epoch });
        self.announce_epoch();
    }

    pub(super) fn announce_epoch(&mut self) {
        let Role::Leader(leading) = &self.role else { return };
        for voter in leading.not_heard_of() {
            let request = BeginEpochRequest { epoch: self.state.epoch, leader: self.me.id, voter };
            self.actions.push(Action::Send { to: voter.id, message: Message::BeginEpochRequest(request) });
        }
    }
}
