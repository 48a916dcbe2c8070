//! The leader: serves fetches, counts who has what, commits, and resigns when no majority asks any more.

use super::{
    Action, Diverging, EndEpochRequest, FetchRequest, FetchResponse, LogView, Message, Quorum, QuorumConfig,
    ReplyTo, Role, VoterSet,
};
use burnin_runtime::Instant;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy)]
struct Replica {
    end_offset: i64,
    last_fetch: Instant,
    acknowledged_epoch: bool,
}

/// Leads an epoch.
pub(super) struct Leading {
    /// The offset of this epoch's LeaderChangeMessage. Nothing is committed before it is.
    epoch_start: i64,
    followers: BTreeMap<i32, Replica>,
    counts_itself: bool,
    began: Instant,
    check_quorum: Duration,
    announce_every: Duration,
    announce_at: Instant,
}

impl Leading {
    pub(super) fn new(
        voters: &VoterSet,
        me: i32,
        epoch_start: i64,
        config: QuorumConfig,
        now: Instant,
    ) -> Self {
        let nobody = Replica { end_offset: -1, last_fetch: now, acknowledged_epoch: false };
        Leading {
            epoch_start,
            followers: voters.ids().filter(|id| *id != me).map(|id| (id, nobody)).collect(),
            counts_itself: voters.contains_id(me),
            began: now,
            check_quorum: config.fetch_timeout + config.fetch_timeout / 2,
            announce_every: config.fetch_timeout / 2,
            announce_at: now + config.fetch_timeout / 2,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let announce =
            if self.not_heard_of().next().is_some() { self.announce_at } else { Instant::FAR_FUTURE };
        announce.min(self.quorum_until())
    }

    /// Voters that have neither acknowledged the epoch nor fetched in it.
    pub(super) fn not_heard_of(&self) -> impl Iterator<Item = i32> + '_ {
        self.followers.iter().filter(|(_, replica)| !replica.acknowledged_epoch).map(|(id, _)| *id)
    }

    fn needed(&self) -> usize {
        let voters = self.followers.len() + usize::from(self.counts_itself);
        voters / 2 + 1 - usize::from(self.counts_itself)
    }

    /// When a majority will have been silent for too long.
    fn quorum_until(&self) -> Instant {
        let needed = self.needed();
        if needed == 0 {
            return Instant::FAR_FUTURE;
        }
        let mut last: Vec<Instant> =
            self.followers.values().map(|replica| replica.last_fetch.max(self.began)).collect();
        last.sort_unstable_by(|a, b| b.cmp(a));
        last[needed - 1] + self.check_quorum
    }

    /// The highest offset that a majority holds durably.
    fn majority_offset(&self, own: i64) -> i64 {
        let mut ends: Vec<i64> = self.followers.values().map(|replica| replica.end_offset).collect();
        if self.counts_itself {
            ends.push(own);
        }
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let majority = ends.len() / 2 + 1;
        ends[majority - 1]
    }
}

/// Whether a replica's log ends before what is kept, or exactly there with another history.
fn needs_snapshot(request: &FetchRequest, log: &impl LogView) -> bool {
    let start = log.start_offset();
    if start == 0 || request.fetch_offset > start {
        return false;
    }
    let same = log
        .latest_snapshot()
        .is_some_and(|id| id.end_offset == start && id.epoch == request.last_fetched_epoch);
    request.fetch_offset < start || !same
}

impl Quorum {
    pub(super) fn leader_tick(&mut self, now: Instant, _log: &impl LogView) {
        let Role::Leader(leading) = &mut self.role else { return };
        if now >= leading.quorum_until() {
            return self.become_resigned(now);
        }
        if now >= leading.announce_at {
            leading.announce_at = now + leading.announce_every;
            self.announce_epoch();
        }
    }

    pub(super) fn on_begin_epoch_response(&mut self, from: i32, epoch: i32, now: Instant) {
        if self.is_stale(epoch, None, now) {
            return;
        }
        if let Role::Leader(leading) = &mut self.role
            && let Some(replica) = leading.followers.get_mut(&from)
        {
            replica.acknowledged_epoch = true;
        }
    }

    pub(super) fn on_fetch_request(
        &mut self,
        request: &FetchRequest,
        reply_to: ReplyTo,
        now: Instant,
        log: &impl LogView,
    ) {
        if request.epoch > self.state.epoch {
            self.become_unattached(request.epoch, now);
        }
        let Role::Leader(leading) = &mut self.role else { return self.refuse_fetch(reply_to, request) };
        if request.epoch < self.state.epoch {
            return self.refuse_fetch(reply_to, request);
        }
        let mut response = FetchResponse {
            fetch: request.fetch,
            epoch: self.state.epoch,
            leader: Some(self.me.id),
            high_watermark: None,
            diverging: None,
            snapshot: None,
            records: Bytes::new(),
        };
        if needs_snapshot(request, log) {
            response.snapshot = log.latest_snapshot();
            assert!(
                response.snapshot.is_some(),
                "the log begins at {} without a snapshot",
                log.start_offset()
            );
        } else {
            let known = log.end_offset_for_epoch(request.last_fetched_epoch);
            let (epoch, end_offset) = known.unwrap_or((request.last_fetched_epoch, log.start_offset()));
            if request.fetch_offset > log.start_offset()
                && (epoch != request.last_fetched_epoch || end_offset < request.fetch_offset)
            {
                response.diverging = Some(Diverging { epoch, end_offset });
            }
        }
        if let Some(replica) = leading.followers.get_mut(&request.replica.id) {
            replica.last_fetch = now;
            replica.acknowledged_epoch = true;
        }
        if response.snapshot.is_some() || response.diverging.is_some() {
            // What such a replica holds must not be counted: it is another history (KAFKA-13141).
            return self
                .actions
                .push(Action::Reply { to: reply_to, message: Message::FetchResponse(response) });
        }
        if self.voters.contains(request.replica)
            && let Role::Leader(leading) = &mut self.role
            && let Some(replica) = leading.followers.get_mut(&request.replica.id)
        {
            replica.end_offset = request.fetch_offset;
        }
        self.advance_high_watermark(log, now);
        if request.fetch_offset == log.end_offset()
            && self.high_watermark.unwrap_or(-1) <= request.high_watermark
        {
            return self.actions.push(Action::ParkFetch { reply_to, request: *request });
        }
        self.serve_fetch(reply_to, request);
    }

    /// Answers a fetch with what there is. For parked fetches the driver calls it through a new request.
    fn serve_fetch(&mut self, to: ReplyTo, request: &FetchRequest) {
        let high_watermark = self.high_watermark.unwrap_or(-1);
        self.actions.push(Action::ServeFetch {
            to,
            fetch: request.fetch,
            offset: request.fetch_offset,
            epoch: self.state.epoch,
            high_watermark,
        });
    }

    fn refuse_fetch(&mut self, to: ReplyTo, request: &FetchRequest) {
        let response = FetchResponse {
            fetch: request.fetch,
            epoch: self.state.epoch,
            leader: self.state.leader,
            high_watermark: None,
            diverging: None,
            snapshot: None,
            records: Bytes::new(),
        };
        self.actions.push(Action::Reply { to, message: Message::FetchResponse(response) });
    }

    /// Raft's rule: what a majority holds is committed once a record of the leader's own epoch is.
    pub(super) fn advance_high_watermark(&mut self, log: &impl LogView, _now: Instant) {
        let Role::Leader(leading) = &self.role else { return };
        let offset = leading.majority_offset(log.end_offset()).min(log.end_offset());
        if offset > leading.epoch_start {
            self.set_high_watermark(offset, log);
        }
    }

    pub(super) fn become_resigned(&mut self, now: Instant) {
        let Role::Leader(leading) = &self.role else { return };
        let mut successors: Vec<(i64, i32)> =
            leading.followers.iter().map(|(id, r)| (-r.end_offset, *id)).collect();
        successors.sort_unstable();
        let successors: Vec<i32> = successors.into_iter().map(|(_, id)| id).collect();
        let request =
            EndEpochRequest { epoch: self.state.epoch, leader: self.me.id, successors: successors.clone() };
        self.leave_leadership();
        self.role = Role::Resigned { until: now + self.election_wait() };
        for to in successors {
            self.actions.push(Action::Send { to, message: Message::EndEpochRequest(request.clone()) });
        }
    }

    /// Tells the driver when this replica stops being the leader; the caller sets the next role.
    pub(super) fn leave_leadership(&mut self) {
        if let Role::Leader(_) = self.role {
            self.actions.push(Action::LostLeadership { epoch: self.state.epoch });
            self.role = Role::Resigned { until: Instant::FAR_FUTURE };
        }
    }
}
