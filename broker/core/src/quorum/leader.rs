//! The leader: serves fetches, counts who has what, commits, and resigns when no majority asks any more.

use super::change::PendingChange;
use super::{
    Action, Diverging, EndEpochRequest, FetchRequest, FetchResponse, LogView, Message, Quorum, QuorumConfig,
    ReplicaKey, ReplyTo, Role, VoterSet,
};
use burnin_runtime::{Instant, Mutant};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// After so long without a fetch an observer is forgotten (`LeaderState.OBSERVER_SESSION_TIMEOUT_MS`).
const OBSERVER_FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

/// So many observers are remembered; what is beyond is served all the same.
const OBSERVERS_MAX: usize = 1000;

#[derive(Clone, Copy)]
struct Replica {
    directory: Uuid,
    /// The directory of whoever fetches as this voter: where voters are configured they are known by their number alone.
    /// Nil: nobody told.
    heard: Uuid,
    /// -1: not known in this epoch.
    end_offset: i64,
    /// Its first fetch is awaited from then on.
    since: Instant,
    last_fetch: Option<Instant>,
    acknowledged_epoch: bool,
    /// When it last held all that the leader held.
    caught_up: Option<Instant>,
    /// Where the leader's log ended at its last fetch; -1: not known in this epoch.
    leader_end: i64,
}

impl Replica {
    fn new(directory: Uuid, now: Instant) -> Self {
        Replica {
            directory,
            heard: Uuid::nil(),
            end_offset: -1,
            since: now,
            last_fetch: None,
            acknowledged_epoch: false,
            caught_up: None,
            leader_end: -1,
        }
    }

    /// A fetch came whose offset lies in the leader's own history (`ReplicaState.updateFollowerState`).
    fn holds(&mut self, end_offset: i64, leader_end: i64, now: Instant) {
        if end_offset >= leader_end {
            self.caught_up = Some(now);
        } else if self.leader_end >= 0 && end_offset >= self.leader_end {
            self.caught_up = self.caught_up.max(self.last_fetch);
        }
        self.end_offset = end_offset;
        self.leader_end = leader_end;
    }

    fn asked(&mut self, now: Instant) {
        self.last_fetch = Some(now);
        self.acknowledged_epoch = true;
    }

    /// Whether somebody else with the same number, and another directory, was heard of not longer ago than `within`: of two
    /// that claim to be one voter only the first counts, since what one of them holds the other need not have.
    fn is_another(&self, directory: Uuid, within: Duration, now: Instant) -> bool {
        let differs = !self.heard.is_nil() && !directory.is_nil() && self.heard != directory;
        differs && self.heard_of() + within > now
    }

    /// Whoever fetches as this voter has this directory.
    fn heard_from(&mut self, directory: Uuid) {
        if directory.is_nil() || self.heard == directory {
            return;
        }
        if !self.heard.is_nil() {
            (self.end_offset, self.leader_end, self.caught_up) = (-1, -1, None);
        }
        self.heard = directory;
    }

    fn heard_of(&self) -> Instant {
        self.last_fetch.map_or(self.since, |at| at.max(self.since))
    }
}

/// What a leader knows of a replica, for DescribeQuorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// Which replica.
    pub key: ReplicaKey,
    /// Or an observer.
    pub voter: bool,
    /// -1: not known.
    pub end_offset: i64,
    /// `None`: not in this epoch; and of the leader itself.
    pub last_fetch: Option<Instant>,
    /// When it last held all that the leader held.
    pub last_caught_up: Option<Instant>,
}

/// Leads an epoch.
pub(super) struct Leading {
    /// The offset of this epoch's LeaderChangeMessage. Nothing is committed before it is.
    epoch_start: i64,
    /// Voters, without the leader.
    followers: BTreeMap<i32, Replica>,
    observers: BTreeMap<ReplicaKey, Replica>,
    counts_itself: bool,
    check_quorum: Duration,
    announce_every: Duration,
    announce_at: Instant,
    pub(super) change: Option<PendingChange>,
}

impl Leading {
    pub(super) fn new(
        voters: &VoterSet,
        me: ReplicaKey,
        epoch_start: i64,
        config: QuorumConfig,
        now: Instant,
    ) -> Self {
        let mut leading = Leading {
            epoch_start,
            followers: BTreeMap::new(),
            observers: BTreeMap::new(),
            counts_itself: false,
            check_quorum: config.check_quorum(),
            announce_every: config.fetch_timeout / 2,
            announce_at: now + config.fetch_timeout / 2,
            change: None,
        };
        leading.set_voters(voters, me, now);
        leading
    }

    /// Other replicas vote from now on. What is known of a replica stays known, a voter or not.
    pub(super) fn set_voters(&mut self, voters: &VoterSet, me: ReplicaKey, now: Instant) {
        let mut known = std::mem::take(&mut self.observers);
        let before = std::mem::take(&mut self.followers);
        known.extend(before.iter().map(|(id, replica)| {
            let key = ReplicaKey { id: *id, directory: replica.directory };
            (key, *replica)
        }));
        for key in voters.ids().filter(|id| *id != me.id).filter_map(|id| voters.key(id)) {
            let found = known.keys().copied().find(|other| other.matches(key));
            let found = found.and_then(|other| known.remove(&other));
            let mut replica = found.unwrap_or_else(|| Replica::new(key.directory, now));
            if !before.contains_key(&key.id) {
                replica.since = now;
            }
            replica.directory = key.directory;
            self.followers.insert(key.id, replica);
        }
        self.observers = known;
        self.counts_itself = voters.contains(me);
        self.announce_at = self.announce_at.min(now + self.announce_every);
    }

    pub(super) fn epoch_start(&self) -> i64 {
        self.epoch_start
    }

    pub(super) fn deadline(&self) -> Instant {
        let announce =
            if self.not_heard_of().next().is_some() { self.announce_at } else { Instant::FAR_FUTURE };
        announce.min(self.quorum_until())
    }

    /// Voters that have neither acknowledged the epoch nor fetched in it.
    pub(super) fn not_heard_of(&self) -> impl Iterator<Item = ReplicaKey> + '_ {
        let silent = self.followers.iter().filter(|(_, replica)| !replica.acknowledged_epoch);
        silent.map(|(id, replica)| ReplicaKey { id: *id, directory: replica.directory })
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
        let mut last: Vec<Instant> = self.followers.values().map(Replica::heard_of).collect();
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

    /// The voter or observer that sends this fetch; an observer is remembered.
    fn replica_mut(&mut self, key: ReplicaKey, now: Instant) -> Option<&mut Replica> {
        let voter = self.followers.get(&key.id).is_some_and(|replica| {
            key.matches(ReplicaKey { id: key.id, directory: replica.directory })
                && !replica.is_another(key.directory, self.check_quorum, now)
        });
        if voter {
            let replica = self.followers.get_mut(&key.id)?;
            replica.heard_from(key.directory);
            return Some(replica);
        }
        if !self.observers.contains_key(&key) {
            self.observers.retain(|_, observer| observer.heard_of() + OBSERVER_FORGOTTEN_AFTER > now);
            if key.id < 0 || self.observers.len() >= OBSERVERS_MAX {
                return None;
            }
        }
        Some(self.observers.entry(key).or_insert_with(|| Replica::new(key.directory, now)))
    }

    /// Whether an observer would not hold up commits if it voted: it held everything a moment ago.
    pub(super) fn has_caught_up(&self, key: ReplicaKey, now: Instant, end_offset: i64) -> bool {
        let observer = self.observers.get(&key);
        observer.is_some_and(|observer| {
            let recently = observer.caught_up.is_some_and(|at| at + self.check_quorum > now);
            observer.end_offset >= end_offset || recently
        })
    }

    fn progress(&self) -> impl Iterator<Item = ReplicaProgress> + '_ {
        let followers = self.followers.iter().map(|(id, replica)| (*id, true, replica));
        let observers = self.observers.iter().map(|(key, replica)| (key.id, false, replica));
        followers.chain(observers).map(|(id, voter, replica)| ReplicaProgress {
            key: ReplicaKey { id, directory: replica.directory },
            voter,
            end_offset: replica.end_offset,
            last_fetch: replica.last_fetch,
            last_caught_up: replica.caught_up,
        })
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

/// Whether a replica can be in such a state: Kafka answers INVALID_REQUEST otherwise.
fn is_possible(request: &FetchRequest) -> bool {
    request.fetch_offset >= 0 && (0..=request.epoch).contains(&request.last_fetched_epoch)
}

impl Quorum {
    pub(super) fn leader_tick(&mut self, now: Instant, _log: &impl LogView) {
        let Role::Leader(leading) = &mut self.role else { return };
        if now >= leading.quorum_until() {
            if self.mutants.on(Mutant::Q19) {
                leading.check_quorum = Duration::from_secs(365 * 86_400);
                return;
            }
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
        if !self.is_believable(request.epoch) || !is_possible(request) {
            return self.refuse_fetch(reply_to, request);
        }
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
                response.high_watermark = self.high_watermark;
            }
        }
        let replica = leading.replica_mut(request.replica, now);
        if response.snapshot.is_some() || response.diverging.is_some() {
            // What such a replica holds must not be counted: it is another history (KAFKA-13141).
            replica.into_iter().for_each(|replica| replica.asked(now));
            return self
                .actions
                .push(Action::Reply { to: reply_to, message: Message::FetchResponse(response) });
        }
        if let Some(replica) = replica {
            replica.holds(request.fetch_offset, log.end_offset(), now);
            replica.asked(now);
        }
        self.advance_high_watermark(log, now);
        if !matches!(self.role, Role::Leader(_)) {
            return self.refuse_fetch(reply_to, request);
        }
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
    pub(super) fn advance_high_watermark(&mut self, log: &impl LogView, now: Instant) {
        let Role::Leader(leading) = &self.role else { return };
        let offset = leading.majority_offset(log.end_offset()).min(log.end_offset());
        let is_own = offset > leading.epoch_start;
        if is_own || offset > self.high_watermark.unwrap_or(0) && self.mutants.on(Mutant::Q05) {
            self.set_high_watermark(offset, log);
            self.complete_change(now);
        }
    }

    /// What this leader knows of the replicas, itself first; nothing when it is not the leader.
    pub fn replicas(&self, log: &impl LogView) -> Vec<ReplicaProgress> {
        let Role::Leader(leading) = &self.role else { return Vec::new() };
        let own = ReplicaProgress {
            key: self.me,
            voter: leading.counts_itself,
            end_offset: log.end_offset(),
            last_fetch: None,
            last_caught_up: None,
        };
        std::iter::once(own).chain(leading.progress()).collect()
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
        self.abandon_change();
        if let Role::Leader(_) = self.role {
            self.actions.push(Action::LostLeadership { epoch: self.state.epoch });
            self.role = Role::Resigned { until: Instant::FAR_FUTURE };
        }
    }
}
