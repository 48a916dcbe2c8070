//! A follower, or an observer: fetches from the leader, cuts what the leader does not have, and learns the
//! high watermark.

use super::{
    Action, BeginEpochRequest, ElectionState, EndEpochRequest, FetchRequest, FetchResponse, LogView, Message,
    Quorum, ReplyTo, Role, SnapshotId,
};
use burnin_runtime::Instant;

/// What is under way; nothing else is sent before it is answered or the deadline passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Fetch(u64),
    Snapshot,
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

    /// A follower that has nothing in flight is due at once: it must fetch.
    pub(super) fn deadline(&self) -> Instant {
        if self.awaited == Awaited::Nothing { Instant::ZERO } else { self.fetch_until }
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

    pub(super) fn follower_tick(&mut self, now: Instant, log: &impl LogView) {
        let Role::Follower(following) = &mut self.role else { return };
        if now >= following.fetch_until {
            if self.voters.contains(self.me) {
                return self.become_prospective(now, log);
            }
            following.fetch_until = now + self.config.fetch_timeout;
            following.awaited = Awaited::Nothing;
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

    /// An observer that knows no leader asks any voter: the refusal names the leader.
    pub(super) fn find_leader(&mut self, log: &impl LogView) {
        let voters: Vec<i32> = self.voters.ids().collect();
        let Some(count) = u64::try_from(voters.len()).ok().filter(|count| *count > 0) else { return };
        let to = voters[self.entropy.below(count) as usize];
        let request = self.fetch_request(log);
        self.actions.push(Action::Send { to, message: Message::FetchRequest(request) });
    }

    pub(super) fn on_begin_epoch_request(
        &mut self,
        request: &BeginEpochRequest,
        reply_to: ReplyTo,
        now: Instant,
    ) {
        if !self.is_stale(request.epoch, Some(request.leader), now)
            && let Role::Follower(following) = &mut self.role
        {
            following.fetch_until = now + self.config.fetch_timeout;
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
        if !self.is_stale(request.epoch, Some(request.leader), now)
            && let Role::Follower(following) = &mut self.role
        {
            let place = request
                .successors
                .iter()
                .position(|id| *id == self.me.id)
                .unwrap_or(request.successors.len());
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
        following.awaited = Awaited::Nothing;
        if response.leader != Some(from) {
            return;
        }
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
            self.actions.push(Action::Truncate { offset });
            return;
        }
        if !response.records.is_empty() {
            self.actions.push(Action::Append { records: response.records });
        }
        if let Some(high_watermark) = response.high_watermark {
            // Only what is in this log already; the rest is learnt with the next answer.
            self.set_high_watermark(high_watermark.min(log.end_offset()), log);
        }
    }

    pub(super) fn on_snapshot_fetched(&mut self, leader: i32, epoch: i32, id: SnapshotId, now: Instant) {
        if epoch != self.state.epoch {
            return;
        }
        let Role::Follower(following) = &mut self.role else { return };
        if following.leader == leader {
            following.awaited = Awaited::Nothing;
            following.fetch_until = now + self.config.fetch_timeout;
        }
        if self.high_watermark.is_none_or(|known| id.end_offset > known) {
            self.high_watermark = Some(id.end_offset);
            self.actions.push(Action::Committed(id.end_offset));
        }
    }
}
