//! A follower, or an observer: fetches from the leader, cuts what the leader does not have, and learns the
//! high watermark.

use super::{
    Action, BeginEpochRequest, ElectionState, EndEpochRequest, FetchRequest, FetchResponse, LogView, Message,
    Quorum, ReplyTo, Role, SnapshotId,
};
use burnin_runtime::{Instant, Mutant};

/// What is under way; nothing else is sent before it is answered or the deadline passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Fetch(u64),
    Snapshot,
    /// The fetch was refused: it is not sent again before.
    Pause(Instant),
    /// The leader stepped down: wait for an election instead.
    Election,
}

/// Follows a leader.
pub(super) struct Following {
    leader: i32,
    /// Without an answer until then, a voter asks for pre-votes.
    fetch_until: Instant,
    fetched: bool,
    awaited: Awaited,
}

impl Following {
    pub(super) fn new(leader: i32, fetch_until: Instant) -> Self {
        Following { leader, fetch_until, fetched: false, awaited: Awaited::Nothing }
    }

    pub(super) fn has_fetched(&self) -> bool {
        self.fetched
    }

    /// When it gives the leader up.
    pub(super) fn until_election(&self) -> Instant {
        self.fetch_until
    }

    /// A follower that has nothing in flight is due at once: it must fetch.
    pub(super) fn deadline(&self) -> Instant {
        match self.awaited {
            Awaited::Nothing => Instant::ZERO,
            Awaited::Pause(until) => until.min(self.fetch_until),
            Awaited::Fetch(_) | Awaited::Snapshot | Awaited::Election => self.fetch_until,
        }
    }
}

impl Quorum {
    /// `leader` leads `epoch`, which is at least ours.
    pub(super) fn follow(&mut self, leader: i32, epoch: i32, now: Instant) {
        if let Role::Follower(following) = &self.role
            && epoch == self.state.epoch
        {
            assert_eq!(
                following.leader, leader,
                "two leaders in one epoch: epoch={epoch} replica={}",
                self.me.id
            );
            return;
        }
        self.leave_leadership();
        let voted = if epoch == self.state.epoch { self.state.voted } else { None };
        self.set_state(ElectionState { epoch, leader: Some(leader), voted });
        self.role = Role::Follower(Following::new(leader, now + self.config.fetch_timeout));
    }

    /// An election could not be won: perhaps the leader is there after all.
    pub(super) fn follow_again(&mut self, now: Instant) {
        let Some(leader) = self.state.leader else { return };
        self.follow(leader, self.state.epoch, now);
    }

    pub(super) fn follower_tick(&mut self, now: Instant, log: &impl LogView) {
        let may_lead = self.may_lead();
        let Role::Follower(following) = &mut self.role else { return };
        if let Awaited::Pause(until) = following.awaited
            && now >= until
        {
            following.awaited = Awaited::Nothing;
        }
        if now >= following.fetch_until {
            if may_lead {
                return self.become_prospective(now, log);
            }
            following.fetch_until = now + self.config.fetch_timeout;
            following.awaited = Awaited::Nothing;
            // Its pre-vote may be needed: it can be a voter without knowing it yet.
            following.fetched = false;
            self.find_leader(log);
        }
        self.send_fetch(log);
    }

    fn send_fetch(&mut self, log: &impl LogView) {
        let Role::Follower(following) = &mut self.role else { return };
        if following.awaited != Awaited::Nothing {
            return;
        }
        let to = following.leader;
        let request = self.fetch_request(log);
        if let Role::Follower(following) = &mut self.role {
            following.awaited = Awaited::Fetch(request.fetch);
        }
        self.actions.push(Action::Send { to, message: Message::FetchRequest(request) });
    }

    fn fetch_request(&mut self, log: &impl LogView) -> FetchRequest {
        FetchRequest {
            fetch: self.entropy.u64(),
            replica: self.me,
            epoch: self.state.epoch,
            fetch_offset: log.end_offset(),
            last_fetched_epoch: log.last_epoch(),
            high_watermark: self.high_watermark.unwrap_or(-1),
        }
    }

    /// An observer that knows no leader asks anybody: the refusal names the leader.
    pub(super) fn find_leader(&mut self, log: &impl LogView) {
        let voters: Vec<i32> = self.voters.latest().ids().filter(|id| *id != self.me.id).collect();
        let request = self.fetch_request(log);
        if voters.is_empty() || self.voters.latest_offset().is_some() {
            return self.actions.push(Action::FindLeader { request });
        }
        let to = voters[self.entropy.below(voters.len() as u64) as usize];
        self.actions.push(Action::Send { to, message: Message::FetchRequest(request) });
    }

    pub(super) fn on_begin_epoch_request(
        &mut self,
        request: &BeginEpochRequest,
        reply_to: ReplyTo,
        now: Instant,
    ) {
        if self.is_believable(request.epoch) && !self.is_stale(request.epoch, Some(request.leader), now) {
            if let Role::Prospective(_) = self.role {
                self.follow_again(now);
            }
            // One that is meant for the voter that this replica was, before its disk was replaced, comes again and again: it
            // may not keep this one from asking anew after a fetch that was lost.
            if let Role::Follower(following) = &mut self.role
                && request.voter.matches(self.me)
            {
                following.fetch_until = now + self.config.fetch_timeout;
            }
        }
        self.actions.push(Action::Reply {
            to: reply_to,
            message: Message::BeginEpochResponse { epoch: self.state.epoch },
        });
    }

    /// The leader steps down: the best successor asks at once, the others give it a head start.
    pub(super) fn on_end_epoch_request(
        &mut self,
        request: &EndEpochRequest,
        reply_to: ReplyTo,
        now: Instant,
    ) {
        let voters = self.voters.latest().len();
        if self.is_believable(request.epoch)
            && !self.is_stale(request.epoch, Some(request.leader), now)
            && let Role::Follower(following) = &mut self.role
        {
            let place = request.successors.iter().position(|id| *id == self.me.id);
            // Nobody waits for more successors than there are voters.
            let place = place.unwrap_or(request.successors.len()).min(voters);
            following.awaited = Awaited::Election;
            following.fetch_until =
                now + self.config.election_backoff_max * u32::try_from(place).unwrap_or(u32::MAX) / 4;
            following.fetched = false;
        }
        self.actions.push(Action::Reply {
            to: reply_to,
            message: Message::BeginEpochResponse { epoch: self.state.epoch },
        });
    }

    pub(super) fn on_fetch_response(
        &mut self,
        from: i32,
        response: FetchResponse,
        now: Instant,
        log: &impl LogView,
    ) {
        if self.is_stale(response.epoch, response.leader, now) {
            return;
        }
        let high_watermark = self.high_watermark;
        let Role::Follower(following) = &mut self.role else { return };
        if following.leader != from || following.awaited != Awaited::Fetch(response.fetch) {
            return;
        }
        let is_served =
            response.high_watermark.is_some() || response.diverging.is_some() || response.snapshot.is_some();
        if response.leader != Some(from) || !is_served {
            // A leader that has resigned, for instance by a restart, still says that it leads the epoch. It is not
            // waited for longer than if it were silent.
            following.awaited = Awaited::Pause(now + self.config.retry_backoff);
            return;
        }
        following.awaited = Awaited::Nothing;
        following.fetch_until = now + self.config.fetch_timeout;
        following.fetched = true;
        if let Some(id) = response.snapshot {
            following.awaited = Awaited::Snapshot;
            self.actions.push(Action::FetchSnapshot { leader: from, epoch: response.epoch, id });
            return;
        }
        if let Some(diverging) = response.diverging {
            let own = log.end_offset_for_epoch(diverging.epoch).map_or(log.start_offset(), |(_, end)| end);
            let offset = own.min(diverging.end_offset);
            assert!(
                high_watermark.is_none_or(|committed| offset >= committed),
                "truncation below the high watermark: offset={offset} high_watermark={high_watermark:?} replica={}",
                self.me.id
            );
            // The high watermark of a diverging answer says nothing about this log (KAFKA-14704).
            if let Some(known) = response.high_watermark
                && self.mutants.on(Mutant::Q13)
            {
                self.set_high_watermark(known.min(log.end_offset()), log);
            }
            self.actions.push(Action::Truncate { offset });
            self.voters.truncate(offset);
            return;
        }
        if !response.records.is_empty() {
            self.actions.push(Action::Append { records: response.records });
        }
        if let Some(high_watermark) = response.high_watermark.filter(|known| *known >= 0) {
            // Only what is in this log already; the rest is learnt with the next answer.
            self.set_high_watermark(high_watermark.min(log.end_offset()), log);
        }
    }

    /// The snapshot took the place of the log, whatever became of the leader that had it meanwhile.
    pub(super) fn on_snapshot_fetched(&mut self, leader: i32, epoch: i32, id: SnapshotId, now: Instant) {
        if epoch == self.state.epoch
            && let Role::Follower(following) = &mut self.role
            && following.leader == leader
        {
            following.awaited = Awaited::Nothing;
            following.fetch_until = now + self.config.fetch_timeout;
        }
        if self.high_watermark.is_none_or(|known| id.end_offset > known) {
            self.high_watermark = Some(id.end_offset);
            self.actions.push(Action::Committed(id.end_offset));
        }
    }
}
