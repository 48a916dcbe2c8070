//! A partition of this broker: its log, and what this broker is for it. What the hot paths ask is kept beside the
//! lock; a partition without followers never takes it for a record.

use super::Verdict;
use super::feed::Feed;
use super::hub::{Hub, Key};
use crate::partitions::TopicInfo;
use burnin_core::metadata::Partition as Metadata;
use burnin_core::partition::{Effects, Follower, Leader, LeaderConfig, LeaderStart};
use burnin_log::{Event, Listener, Log, Waiters, Watch};
use burnin_runtime::{Observation, Runtime};
use burnin_wire::ErrorCode;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// What this broker is for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing: not told yet, or not any more.
    Idle,
    /// The leader without followers: what is durable is committed.
    Alone,
    /// The leader of others.
    Leads,
    /// A follower.
    Follows,
    /// Nothing, because its topic was deleted.
    Gone,
}

const DUTIES: [Duty; 5] = [Duty::Idle, Duty::Alone, Duty::Leads, Duty::Follows, Duty::Gone];

pub(super) enum Role {
    /// With what is known to be committed.
    Idle(i64),
    Leader(Leader),
    Follower(Follower),
}

pub(super) struct State {
    pub(super) role: Role,
    /// Of the metadata that were followed last; -1: none yet.
    pub(super) partition_epoch: i32,
    /// The first epoch of those that this broker has led without a break.
    pub(super) leads_since: i32,
    pub(super) parked: Waiters<Verdict>,
    /// Whoever waits for the high watermark or another role.
    watchers: Vec<(u64, Arc<Notify>)>,
    next_watch: u64,
    /// Whoever waits for log starts of followers.
    pub(super) start_watchers: Vec<Weak<Notify>>,
    feeds: Vec<Weak<Feed>>,
}

/// See the module.
pub(crate) struct Partition<R: Runtime> {
    pub(crate) topic: Arc<TopicInfo>,
    pub(crate) number: i32,
    /// `topic-number`.
    pub(crate) name: Arc<str>,
    pub(crate) log: Log<R>,
    pub(super) hub: Arc<Hub>,
    pub(super) state: Mutex<State>,
    /// Held by whoever cuts the log and by whoever changes the role, so that no cut meets another role.
    pub(super) surgery: tokio::sync::Mutex<()>,
    // copies of what is in `state`, for reading without the lock; written under it
    duty: AtomicU8,
    leader_epoch: AtomicI32,
    high_watermark: AtomicI64,
    /// The first offset of the epoch that this broker leads.
    epoch_start: AtomicI64,
}

/// What became of a partition by new metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// Nothing that concerns fetchers.
    Same,
    Leader,
    /// A follower of this broker (-1: of nobody) in this epoch.
    Follower(i32, i32),
}

impl<R: Runtime> Partition<R> {
    /// A partition that is told nothing yet. `high_watermark` is what an earlier life noted.
    pub(crate) fn new(
        topic: Arc<TopicInfo>,
        number: i32,
        name: Arc<str>,
        log: Log<R>,
        hub: Arc<Hub>,
        high_watermark: i64,
    ) -> Arc<Partition<R>> {
        let high_watermark = high_watermark.min(log.durable_offset()).max(log.start_offset());
        let state = State {
            role: Role::Idle(high_watermark),
            partition_epoch: -1,
            leads_since: -1,
            parked: Waiters::default(),
            watchers: Vec::new(),
            next_watch: 0,
            start_watchers: Vec::new(),
            feeds: Vec::new(),
        };
        Arc::new(Partition {
            topic,
            number,
            name,
            log,
            hub,
            state: Mutex::new(state),
            surgery: tokio::sync::Mutex::new(()),
            duty: AtomicU8::new(Duty::Idle as u8),
            leader_epoch: AtomicI32::new(-1),
            high_watermark: AtomicI64::new(high_watermark),
            epoch_start: AtomicI64::new(0),
        })
    }

    /// By which it is known.
    pub(crate) fn key(&self) -> Key {
        (self.topic.id, self.number)
    }

    /// What this broker is for it.
    pub(crate) fn duty(&self) -> Duty {
        DUTIES[usize::from(self.duty.load(Ordering::Acquire))]
    }

    /// Whether this broker leads it.
    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.duty(), Duty::Alone | Duty::Leads)
    }

    /// The leader epoch that this broker knows.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// What consumers may read up to. Without followers that is what is durable in the log's flush mode, so that
    /// nobody reads what a power loss takes back.
    pub(crate) fn high_watermark(&self) -> i64 {
        match self.duty() {
            Duty::Alone => self.log.durable_offset(),
            _ => self.high_watermark.load(Ordering::Acquire),
        }
    }

    /// Whether the high watermark may be behind what an earlier leader acknowledged (KIP-207).
    pub(crate) fn is_high_watermark_stale(&self) -> bool {
        self.duty() == Duty::Leads
            && self.high_watermark.load(Ordering::Acquire) < self.epoch_start.load(Ordering::Acquire)
    }

    /// From now on `notify` is told when the high watermark moves or the role changes.
    pub(crate) fn watch(self: &Arc<Self>, notify: &Arc<Notify>) -> PartitionWatch<R> {
        if self.duty() == Duty::Alone {
            return PartitionWatch::Log { _watch: self.log.watch(Event::Durable, notify) };
        }
        let mut state = self.state.lock();
        state.next_watch += 1;
        let id = state.next_watch;
        state.watchers.push((id, notify.clone()));
        PartitionWatch::Partition { partition: self.clone(), id }
    }

    /// Follows newer metadata. The caller holds `surgery`.
    pub(super) fn update(self: &Arc<Self>, metadata: &Metadata, min_isr: usize) -> Became {
        let mut state = self.state.lock();
        if metadata.partition_epoch < state.partition_epoch {
            return Became::Same;
        }
        state.partition_epoch = metadata.partition_epoch;
        if metadata.leader == self.hub.me {
            self.lead(&mut state, metadata, min_isr)
        } else {
            self.follow(&mut state, metadata)
        }
    }

    fn lead(self: &Arc<Self>, state: &mut State, metadata: &Metadata, min_isr: usize) -> Became {
        let now = self.log.runtime().now();
        let mut became = Became::Same;
        let config = LeaderConfig { min_isr, lag_time_max: self.hub.lag_time_max };
        match &mut state.role {
            Role::Leader(leader) if leader.leader_epoch() == metadata.leader_epoch => {
                let own_end = self.log.durable_offset();
                let effects = leader.appended(own_end, now);
                self.settle(state, effects);
                let Role::Leader(leader) = &mut state.role else { unreachable!("the role was just seen") };
                let (isr, replicas) = (&metadata.isr, &metadata.replicas);
                let effects = leader.committed(isr, replicas, metadata.partition_epoch, now);
                self.settle(state, effects);
            }
            role => {
                became = Became::Leader;
                if !matches!(role, Role::Leader(_)) {
                    state.leads_since = metadata.leader_epoch;
                }
                let known = self.known_high_watermark(role);
                let (epoch_start, own_end) =
                    (self.log.begin_epoch(metadata.leader_epoch), self.log.durable_offset());
                let start = LeaderStart {
                    me: self.hub.me,
                    leader_epoch: metadata.leader_epoch,
                    partition_epoch: metadata.partition_epoch,
                    replicas: metadata.replicas.clone(),
                    isr: metadata.isr.clone(),
                    epoch_start,
                    own_end: own_end.min(epoch_start),
                    high_watermark: known.min(own_end).max(self.log.start_offset()),
                };
                let high_watermark = start.high_watermark;
                self.log.runtime().probe().emit(|| Observation::LeaderStarted {
                    partition: self.name.clone(),
                    leader_epoch: metadata.leader_epoch,
                    start_offset: epoch_start,
                    high_watermark,
                });
                tracing::info!(
                    partition = &*self.name, leader_epoch = metadata.leader_epoch, start_offset = epoch_start,
                    high_watermark, isr = ?metadata.isr, "leads"
                );
                self.high_watermark.store(high_watermark, Ordering::Release);
                self.epoch_start.store(epoch_start, Ordering::Release);
                let mutants = self.log.runtime().mutants().clone();
                state.role = Role::Leader(Leader::new(start, config, now).planted(mutants));
                self.refresh(state);
            }
        }
        let alone = metadata.replicas == [self.hub.me];
        if alone {
            self.log.set_listener(None);
            // Nobody tells those who wait any more: they look again, and wait for the log.
            state.parked = Waiters::default();
        } else {
            let listener: Weak<Self> = Arc::downgrade(self);
            self.log.set_listener(Some(listener));
        }
        self.show(if alone { Duty::Alone } else { Duty::Leads }, metadata.leader_epoch);
        let Role::Leader(leader) = &mut state.role else { unreachable!("it leads") };
        // What became durable before there was a listener; and whoever leads alone has nobody to wait for.
        let effects = leader.appended(self.log.durable_offset(), now);
        self.settle(state, effects);
        let Role::Leader(leader) = &mut state.role else { unreachable!("it leads") };
        let effects = leader.set_config(config, now);
        self.settle(state, effects);
        became
    }

    fn follow(&self, state: &mut State, metadata: &Metadata) -> Became {
        let (leader, leader_epoch) = (metadata.leader, metadata.leader_epoch);
        if let Role::Follower(follower) = &state.role
            && (follower.leader(), follower.leader_epoch()) == (leader, leader_epoch)
        {
            return Became::Same;
        }
        let high_watermark = self.known_high_watermark(&state.role);
        self.log.set_listener(None);
        self.high_watermark.store(high_watermark, Ordering::Release);
        state.role = Role::Follower(Follower::new(leader, leader_epoch, high_watermark));
        self.show(Duty::Follows, leader_epoch);
        let partition = || self.name.clone();
        self.log.runtime().probe().emit(|| Observation::FollowerStarted {
            partition: partition(),
            leader_epoch,
            leader,
        });
        tracing::info!(partition = &*self.name, leader, leader_epoch, high_watermark, "follows");
        self.leave(state);
        Became::Follower(leader, leader_epoch)
    }

    /// Serves no more: the partition `is_deleted`, or this broker is no replica of it any more. The caller holds
    /// `surgery`.
    pub(super) fn retire(&self, is_deleted: bool) {
        let mut state = self.state.lock();
        let high_watermark = self.known_high_watermark(&state.role);
        self.log.set_listener(None);
        state.role = Role::Idle(high_watermark);
        self.show(if is_deleted { Duty::Gone } else { Duty::Idle }, self.leader_epoch());
        self.leave(&mut state);
    }

    /// Whether what this broker fetches of it counts against its throttle.
    pub(super) fn is_throttled_follower(&self) -> bool {
        self.topic.settings().throttled_followers.holds(self.number, self.hub.me)
    }

    /// Whether what this broker sends of it counts against its throttle.
    pub(super) fn is_throttled_leader(&self) -> bool {
        self.topic.settings().throttled_leaders.holds(self.number, self.hub.me)
    }

    /// Whether the leader knows this replica to be in sync.
    pub(super) fn has_in_sync(&self, replica: i32) -> bool {
        match &self.state.lock().role {
            Role::Leader(leader) => leader.isr().contains(&replica),
            Role::Idle(_) | Role::Follower(_) => false,
        }
    }

    /// Takes over another `min.insync.replicas`.
    pub(crate) fn set_min_isr(&self, min_isr: usize) {
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role {
            let config = LeaderConfig { min_isr, lag_time_max: self.hub.lag_time_max };
            let effects = leader.set_config(config, self.log.runtime().now());
            self.settle(&mut state, effects);
        }
    }

    fn known_high_watermark(&self, role: &Role) -> i64 {
        match role {
            Role::Idle(high_watermark) => *high_watermark,
            Role::Leader(_) if self.duty() == Duty::Alone => self.log.durable_offset(),
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower(follower) => follower.high_watermark(),
        }
    }

    fn show(&self, duty: Duty, leader_epoch: i32) {
        self.leader_epoch.store(leader_epoch, Ordering::Release);
        self.duty.store(duty as u8, Ordering::Release);
    }

    /// Whoever waits for this leader is told to look elsewhere.
    fn leave(&self, state: &mut State) {
        state.leads_since = -1;
        let refusal = match self.duty() {
            Duty::Gone => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            _ => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        };
        state.parked.release(i64::MAX, &Err(refusal));
        self.refresh(state);
    }

    /// Has everybody who waits look again.
    fn refresh(&self, state: &mut State) {
        for (_, notify) in &state.watchers {
            notify.notify_one();
        }
        self.tell_starts(state);
        self.tell_followers(state);
    }

    pub(super) fn tell_starts(&self, state: &mut State) {
        state
            .start_watchers
            .retain(|watcher| watcher.upgrade().inspect(|notify| notify.notify_one()).is_some());
    }

    /// Has followers fetch.
    pub(super) fn tell_followers(&self, state: &State) {
        for feed in state.feeds.iter().filter_map(Weak::upgrade) {
            feed.tell(self.key());
        }
    }

    /// From now on this follower's session is told what happens here.
    pub(super) fn subscribe(&self, feed: &Arc<Feed>) {
        let mut state = self.state.lock();
        let ours = Arc::downgrade(feed);
        state.feeds.retain(|known| known.strong_count() > 0);
        if !state.feeds.iter().any(|known| known.ptr_eq(&ours)) {
            state.feeds.push(ours);
        }
    }

    /// The reverse of [`Partition::subscribe`].
    pub(super) fn unsubscribe(&self, feed: &Arc<Feed>) {
        let ours = Arc::downgrade(feed);
        self.state.lock().feeds.retain(|known| !known.ptr_eq(&ours));
    }

    /// Carries out what follows from an event.
    pub(super) fn settle(&self, state: &mut State, effects: Effects) {
        let Role::Leader(leader) = &state.role else { return };
        if let Some(offset) = effects.high_watermark {
            let leader_epoch = leader.leader_epoch();
            let before = self.high_watermark.swap(offset, Ordering::AcqRel);
            assert!(
                before <= offset,
                "high watermark goes back: from={before} to={offset} partition={}",
                self.name
            );
            if self.duty() != Duty::Alone {
                self.log.runtime().probe().emit(|| Observation::HighWatermark {
                    partition: self.name.clone(),
                    leader_epoch,
                    offset,
                    leads: true,
                });
                self.hub.note_moved();
            }
            // It moves only while the ISR is large enough.
            state.parked.release(offset, &Ok(()));
            for (_, notify) in &state.watchers {
                notify.notify_one();
            }
            for feed in state.feeds.iter().filter_map(Weak::upgrade) {
                if self.hub.followers_serve { feed.tell(self.key()) } else { feed.tell_quietly(self.key()) }
            }
        }
        if let Some(proposal) = effects.propose {
            self.log.runtime().probe().emit(|| Observation::IsrProposed {
                partition: self.name.clone(),
                leader_epoch: proposal.leader_epoch,
                partition_epoch: proposal.partition_epoch,
                isr: proposal.isr.iter().map(|(id, _)| *id).collect(),
            });
            self.hub.propose(self.key(), proposal);
        }
    }

    /// A follower learnt how far the leader has committed.
    pub(super) fn show_follower_high_watermark(&self, state: &State, leader_epoch: i32, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
        self.log.runtime().probe().emit(|| Observation::HighWatermark {
            partition: self.name.clone(),
            leader_epoch,
            offset,
            leads: false,
        });
        self.hub.note_moved();
        for (_, notify) in &state.watchers {
            notify.notify_one();
        }
    }

    /// After the log was cut.
    pub(super) fn lower_high_watermark(&self, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
        self.hub.note_moved();
    }
}

impl<R: Runtime> Listener for Partition<R> {
    fn durable_moved(&self) {
        let mut state = self.state.lock();
        let Role::Leader(leader) = &mut state.role else { return };
        let effects = leader.appended(self.log.durable_offset(), self.log.runtime().now());
        self.settle(&mut state, effects);
    }
}

/// Keeps a watcher registered; dropping it ends that.
pub(crate) enum PartitionWatch<R: Runtime> {
    Log { _watch: Watch<R> },
    Partition { partition: Arc<Partition<R>>, id: u64 },
}

impl<R: Runtime> Drop for PartitionWatch<R> {
    fn drop(&mut self) {
        if let PartitionWatch::Partition { partition, id } = self {
            partition.state.lock().watchers.retain(|(other, _)| other != id);
        }
    }
}
