//! The task of a replica of the metadata quorum.
//!
//! It does one thing at a time: an action that writes to the disk is waited for before the next one, and before any
//! further event. What waits for other nodes is in tasks of its own (`links.rs`).

use super::links::Links;
use super::state::StateFile;
use super::upkeep::Upkeep;
use super::{
    Address, Addresses, Answer, Event, LeaderView, MetadataLog, Progress, Quorum, Snapshots, VotersView,
    voters,
};
use crate::controller::ControllerQueue;
use crate::watched::Watched;
use burnin_core::config::BrokerConfig;
use burnin_core::quorum::{
    Action, ElectionState, FetchRequest, FetchResponse, LogView, Message, Quorum as Replica, QuorumConfig,
    ReplicaKey, ReplyTo, RoleName, SnapshotId, VoterChangeError, VoterSet,
};
use burnin_runtime::{Instant, Mutant, Observation, Runtime, Task, timeout};
use burnin_wire::StrBytes;
use burnin_wire::control_records::{
    ControlRecord, KRaftVersionRecord, LeaderChangeMessage, Voter, control_batch,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The most that one fetch of the metadata log brings (`KafkaRaftClient.MAX_FETCH_SIZE_BYTES`).
const FETCH_BYTES: usize = 8 * 1024 * 1024;

/// A request of another replica that has no answer yet.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    until: Instant,
}

/// A batch of the controller.
struct Proposal {
    epoch: i32,
    base_offset: i64,
    batch: Bytes,
    voters: Option<VoterSet>,
}

struct Parked {
    to: ReplyTo,
    request: FetchRequest,
    epoch: i32,
    until: Instant,
}

/// See the module.
pub(crate) struct Driver<R: Runtime> {
    runtime: R,
    node_id: i32,
    replica: Replica,
    log: MetadataLog<R>,
    state: StateFile<R>,
    snapshots: Snapshots<R>,
    links: Links<R>,
    addresses: Addresses,
    upkeep: Upkeep<R>,
    events: mpsc::UnboundedReceiver<Event>,
    leader: Watched<LeaderView>,
    committed: Watched<i64>,
    voters: Watched<VotersView>,
    /// What was published last.
    known_voters: VotersView,
    /// Of the controller of this node, if it has one.
    controller: Option<ControllerQueue>,
    /// For so long a leader goes on without a majority.
    silence_max: Duration,
    waiting: BTreeMap<ReplyTo, Waiting>,
    changes: BTreeMap<ReplyTo, oneshot::Sender<Result<(), VoterChangeError>>>,
    next_reply: u64,
    parked: Vec<Parked>,
}

/// What a replica starts with.
pub(crate) struct Start<'a, R: Runtime> {
    pub(crate) config: &'a BrokerConfig,
    pub(crate) cluster_id: &'a StrBytes,
    /// This node as a voter, which it need not be.
    pub(crate) own: Voter,
    pub(crate) log: MetadataLog<R>,
    pub(crate) snapshots: Snapshots<R>,
    /// Those that the newest snapshot names.
    pub(crate) snapshot_voters: Option<VoterSet>,
    pub(crate) controller: Option<ControllerQueue>,
}

impl<R: Runtime> Driver<R> {
    /// A replica that comes up with what its disk says.
    pub(crate) async fn start(runtime: &R, start: Start<'_, R>) -> Result<(Driver<R>, Quorum), String> {
        let Start { config, cluster_id, own, log, snapshots, snapshot_voters, controller } = start;
        let me = ReplicaKey { id: own.voter_id, directory: own.voter_directory_id };
        let dir = config.data_dir.join(log.log.topic_partition().to_string());
        let state = StateFile::new(runtime.clone(), dir);
        let mut stored = state.load().await?;
        if stored.epoch < log.last_epoch() {
            // The log of an earlier release knows more: it had no other replica and no such file.
            stored = ElectionState { epoch: log.last_epoch(), leader: None, voted: None };
        }
        runtime.probe().emit(|| Observation::QuorumStarted {
            epoch: stored.epoch,
            leader: stored.leader,
            voted: stored.voted.map(|key| key.id),
        });
        let times = QuorumConfig {
            election_timeout: config.quorum.election_timeout,
            fetch_timeout: config.quorum.fetch_timeout,
            election_backoff_max: config.quorum.election_backoff_max,
            retry_backoff: config.quorum.retry_backoff,
        };
        let entropy = runtime.entropy("quorum");
        let now = runtime.now();
        let replica = Replica::new(me, voters::configured(config), times, stored, &log, entropy, now);
        let mut replica = replica.planted(runtime.mutants().clone());
        if let Some((snapshot, voters)) = log.snapshot.zip(snapshot_voters) {
            replica.voters_from_snapshot(snapshot.end_offset, Some(voters));
        }
        let covered = replica.voters_offset();
        for (offset, voters) in voters::in_log(&log.log).await? {
            if covered.is_none_or(|covered| offset > covered) {
                let actions = replica.voters_appended(offset, voters, now, &log);
                assert_eq!(actions, [], "nothing happens at the start");
            }
        }
        replica.voters_found(now);
        let (sender, events) = mpsc::unbounded_channel();
        let view = LeaderView { epoch: stored.epoch, leader: None };
        let leader = Watched::new(view);
        let committed = Watched::new(replica.high_watermark().unwrap_or(0));
        let known_voters = view_of(&replica);
        let voters = Watched::new(known_voters.clone());
        let addresses = Addresses::new(config, &own.endpoints);
        addresses.set_voters(&known_voters);
        let quorum = Quorum {
            events: sender.clone(),
            leader: leader.clone(),
            committed: committed.clone(),
            voters: voters.clone(),
            addresses: addresses.clone(),
            refused: Arc::default(),
        };
        let mut links =
            Links::new(runtime, config, cluster_id.clone(), own.clone(), addresses.clone(), sender);
        links.set_voters(&known_voters);
        let upkeep = Upkeep::new(runtime, config, cluster_id.clone(), own, addresses.clone());
        let driver = Driver {
            runtime: runtime.clone(),
            node_id: me.id,
            replica,
            log,
            state,
            snapshots,
            links,
            addresses,
            upkeep,
            events,
            leader,
            committed,
            voters,
            known_voters,
            controller,
            silence_max: times.check_quorum(),
            waiting: BTreeMap::new(),
            changes: BTreeMap::new(),
            next_reply: 0,
            parked: Vec::new(),
        };
        Ok((driver, quorum))
    }

    /// Runs until the disk fails, for this reason, or until nobody can ask any more.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        loop {
            self.tick().await?;
            self.serve_parked();
            self.publish();
            self.upkeep.tick(&self.replica);
            let parked = self.parked.iter().map(|parked| parked.until).min();
            let deadline = parked.unwrap_or(Instant::FAR_FUTURE).min(self.replica.deadline());
            let deadline = deadline.min(self.upkeep.deadline(&self.replica));
            let event = if deadline == Instant::FAR_FUTURE {
                self.events.recv().await
            } else {
                let wait = deadline.since(self.runtime.now());
                match timeout(&self.runtime, wait, self.events.recv()).await {
                    Some(event) => event,
                    None => continue,
                }
            };
            let Some(event) = event else { return Ok(()) };
            // What was due before the event comes before it, also after the process stood still.
            self.tick().await?;
            self.handle(event).await?;
        }
    }

    async fn tick(&mut self) -> Result<(), String> {
        loop {
            let now = self.runtime.now();
            if now < self.replica.deadline() {
                return Ok(());
            }
            let actions = self.replica.tick(now, &self.log);
            self.carry_out(actions).await?;
        }
    }

    /// A voter has asked this replica, which leads: told before anything follows from it.
    fn observe_fetch(&self, request: &FetchRequest) {
        let (epoch, voter) = (request.epoch, request.replica);
        let leads = self.replica.role() == RoleName::Leader && self.replica.election_state().epoch == epoch;
        if leads && self.replica.voters().contains(voter) {
            self.runtime.probe().emit(|| Observation::QuorumFetched { epoch, voter: voter.id });
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), String> {
        let now = self.runtime.now();
        let actions = match event {
            Event::Asked { from, message, leader_at, wait_max, answer } => {
                let to = self.next_reply();
                self.waiting.insert(to, Waiting { answer, until: now + wait_max });
                let fetch = match &message {
                    Message::FetchRequest(request) => Some(*request),
                    _ => None,
                };
                let actions = self.replica.receive(from, message, to, now, &self.log);
                fetch.iter().for_each(|request| self.observe_fetch(request));
                self.learn(leader_at.map(|address| (from, address)));
                actions
            }
            Event::Answered { from, message, leader_at } => {
                tracing::trace!(from, ?message, "an answer of the quorum");
                let actions = self.replica.receive(from, message, ReplyTo::default(), now, &self.log);
                self.learn(leader_at);
                actions
            }
            Event::Proposed { epoch, base_offset, batch, voters } => {
                return self.append(Proposal { epoch, base_offset, batch, voters }).await;
            }
            Event::ChangeVoters { change, answer } => {
                let to = self.next_reply();
                self.changes.insert(to, answer);
                tracing::info!(?change, "the voters shall change");
                self.replica.change_voters(change, to, now, &self.log)
            }
            Event::SnapshotTaken(id) => return self.forget_prefix(id).await,
            Event::SnapshotArrived { leader, epoch, id, voters } => {
                let is_wanted = self.replica.role() == RoleName::Follower
                    && self.replica.election_state().epoch == epoch
                    && id.end_offset > self.log.end_offset();
                if !is_wanted {
                    return Ok(());
                }
                let has_log = self.log.end_offset() > self.log.start_offset();
                if has_log && self.runtime.mutants().on(Mutant::Q11) {
                    self.log.snapshot = Some(id);
                } else {
                    self.log.restart_at(id).await?;
                }
                self.replica.voters_from_snapshot(id.end_offset, voters);
                let message = Message::SnapshotFetched { leader, epoch, id };
                self.replica.receive(leader, message, ReplyTo::default(), now, &self.log)
            }
            Event::Described(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.progress());
                return Ok(());
            }
            Event::Resign(done) => {
                let actions = self.replica.resign(now);
                self.carry_out(actions).await?;
                // Whoever stops the node may not wait.
                let _ = done.send(());
                return Ok(());
            }
        };
        self.carry_out(actions).await
    }

    /// Removes what the snapshot before this one covers: replicas that lag a little find the rest in the log.
    async fn forget_prefix(&mut self, id: SnapshotId) -> Result<(), String> {
        if self.log.snapshot.is_some_and(|known| known >= id) {
            return Ok(());
        }
        let Some(before) = self.log.snapshot.replace(id) else { return Ok(()) };
        self.log.forget_before(before.end_offset).await?;
        self.replica.log_prefix_deleted(self.log.start_offset());
        self.snapshots.remove_before(before).await
    }

    fn progress(&self) -> Option<Progress> {
        let replicas = self.replica.replicas(&self.log);
        (self.replica.role() == RoleName::Leader).then(|| Progress {
            leader: self.node_id,
            epoch: self.replica.election_state().epoch,
            high_watermark: self.replica.high_watermark().unwrap_or(-1),
            replicas,
        })
    }

    fn next_reply(&mut self) -> ReplyTo {
        self.next_reply += 1;
        ReplyTo(self.next_reply)
    }

    /// Where the leader is reached, if it is the one that this replica follows.
    fn learn(&self, leader_at: Option<(i32, Address)>) {
        if let Some((leader, address)) = leader_at
            && self.replica.election_state().leader == Some(leader)
        {
            self.addresses.learn(leader, address);
        }
    }

    /// Appends what the controller proposes, with whatever it has proposed meanwhile: one wait for the disk.
    async fn append(&mut self, first: Proposal) -> Result<(), String> {
        let mut proposed = Some(first);
        let mut after = None;
        let mut any = false;
        let mut changed = Vec::new();
        while let Some(Proposal { epoch, base_offset, batch, voters }) = proposed.take() {
            // The controller hears of a lost leadership on its own.
            if self.replica.role() == RoleName::Leader && self.replica.election_state().epoch == epoch {
                let end = self.log.end_offset();
                assert_eq!(base_offset, end, "a proposal of epoch {epoch} rests on another log");
                self.log.lead(batch, epoch)?;
                changed.extend(voters.map(|voters| (base_offset, voters)));
                any = true;
            }
            match self.events.try_recv() {
                Ok(Event::Proposed { epoch, base_offset, batch, voters }) => {
                    proposed = Some(Proposal { epoch, base_offset, batch, voters })
                }
                Ok(other) => after = Some(other),
                Err(_) => {}
            }
        }
        if any {
            self.log.settle().await?;
            let mut actions = self.voters_appended(changed);
            actions.extend(self.replica.appended(self.runtime.now(), &self.log));
            self.carry_out(actions).await?;
        }
        match after {
            Some(event) => Box::pin(self.handle(event)).await,
            None => Ok(()),
        }
    }

    /// These records are in the log, durably.
    fn voters_appended(&mut self, records: Vec<(i64, VoterSet)>) -> Vec<Action> {
        let mut actions = Vec::new();
        for (offset, voters) in records {
            let ids: Vec<i32> = voters.ids().collect();
            tracing::info!(offset, voters = ?ids, "these vote from now on");
            self.runtime
                .probe()
                .emit(|| Observation::QuorumVoters { offset, voters: Arc::from(ids.as_slice()) });
            actions.extend(self.replica.voters_appended(offset, voters, self.runtime.now(), &self.log));
        }
        actions
    }

    async fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), String> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Persist(state) => {
                    self.state.store(&state).await?;
                    if let Some(voted) = state.voted {
                        let (epoch, candidate) = (state.epoch, voted.id);
                        self.runtime.probe().emit(|| Observation::QuorumVoted { epoch, candidate });
                    }
                }
                Action::Send { to, message } => self.links.send(to, message),
                Action::FindLeader { request } => self.links.find_leader(request),
                Action::Reply { to, message } => self.answer(to, Answer::Message(message)),
                Action::BecameLeader { epoch } => {
                    actions.extend(self.begin_epoch(epoch).await?);
                    actions.extend(self.replica.appended(self.runtime.now(), &self.log));
                }
                // It takes its turn among the controller's own proposals, whose offsets nobody else gives out.
                Action::AppendVoters { epoch, voters } => {
                    let controller = self.controller.as_ref();
                    controller.expect("a leader has a controller").append_voters(epoch, voters);
                }
                Action::AnswerVoterChange { to, result } => {
                    if let Some(answer) = self.changes.remove(&to) {
                        // Whoever asked may have gone.
                        let _ = answer.send(result);
                    }
                }
                Action::LostLeadership { epoch } => {
                    tracing::info!(epoch, "this controller does not lead the quorum any more");
                    self.runtime.probe().emit(|| Observation::QuorumResigned { epoch });
                    if let Some(controller) = &self.controller {
                        controller.lost(epoch);
                    }
                }
                Action::Append { records } => {
                    let voters = self.log.follow(&records, self.replica.election_state().epoch)?;
                    if !self.runtime.mutants().on(Mutant::Q01) {
                        self.log.settle().await?;
                    }
                    actions.extend(self.voters_appended(voters));
                }
                Action::Truncate { offset } => self.log.truncate(offset).await?,
                Action::FetchSnapshot { leader, epoch, id } => {
                    self.links.fetch_snapshot(leader, epoch, id, self.snapshots.clone());
                }
                Action::Committed(offset) => {
                    let epoch = self.replica.election_state().epoch;
                    self.runtime.probe().emit(|| Observation::QuorumCommitted { epoch, offset });
                    self.committed.set(offset);
                }
                Action::ParkFetch { reply_to, request } => {
                    if let Some(waiting) = self.waiting.get(&reply_to) {
                        let (until, epoch) = (waiting.until, self.replica.election_state().epoch);
                        self.parked.push(Parked { to: reply_to, request, epoch, until });
                    }
                }
                Action::ServeFetch { to, fetch, offset, epoch, high_watermark } => {
                    self.serve(to, fetch, offset, epoch, high_watermark);
                }
            }
        }
        Ok(())
    }

    /// The first batch of an epoch.
    async fn begin_epoch(&mut self, epoch: i32) -> Result<Vec<Action>, String> {
        let voters: Vec<i32> = self.replica.voters().ids().collect();
        let start_offset = self.log.end_offset();
        tracing::info!(epoch, start_offset, "this controller leads the quorum");
        self.runtime.probe().emit(|| Observation::QuorumElected {
            epoch,
            start_offset,
            voters: Arc::from(voters.as_slice()),
            silence_ms_max: self.silence_max.as_millis() as u64,
        });
        let message =
            LeaderChangeMessage { leader_id: self.node_id, voters, granting_voters: vec![self.node_id] };
        let mut records = vec![ControlRecord::LeaderChange(message)];
        let mut changed = Vec::new();
        if let Some(voters) = self.replica.voters_to_write(self.upkeep.own()) {
            let version = KRaftVersionRecord { k_raft_version: 1 };
            records.extend([
                ControlRecord::KRaftVersion(version),
                ControlRecord::KRaftVoters(voters.to_record()),
            ]);
            changed.push((start_offset + 2, voters));
        }
        self.log.lead(control_batch(start_offset, epoch, self.runtime.wall_ms(), &records), epoch)?;
        self.log.settle().await?;
        if let Some(controller) = &self.controller {
            controller.leads(epoch, self.log.end_offset());
        }
        Ok(self.voters_appended(changed))
    }

    /// Answers fetches that waited long enough, or that have something to bring. In the epoch in which it was
    /// parked a fetch needs no second look: what it named has only been appended to.
    fn serve_parked(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let now = self.runtime.now();
        let epoch = self.replica.election_state().epoch;
        let leads = self.replica.role() == RoleName::Leader;
        let high_watermark = self.replica.high_watermark().unwrap_or(-1);
        let end = self.log.end_offset();
        for parked in std::mem::take(&mut self.parked) {
            let request = &parked.request;
            if !leads || epoch != parked.epoch {
                let response = self.response(request.fetch, None);
                self.answer(parked.to, Answer::Message(Message::FetchResponse(response)));
            } else if end > request.fetch_offset
                || high_watermark > request.high_watermark
                || now >= parked.until
            {
                self.serve(parked.to, request.fetch, request.fetch_offset, epoch, high_watermark);
            } else {
                self.parked.push(parked);
            }
        }
    }

    fn response(&self, fetch: u64, high_watermark: Option<i64>) -> FetchResponse {
        let state = self.replica.election_state();
        FetchResponse {
            fetch,
            epoch: state.epoch,
            leader: state.leader,
            high_watermark,
            diverging: None,
            snapshot: None,
            records: Bytes::new(),
        }
    }

    /// Brings records. What is not in memory any more is read in a task of its own.
    fn serve(&mut self, to: ReplyTo, fetch: u64, offset: i64, epoch: i32, high_watermark: i64) {
        let Some(waiting) = self.waiting.remove(&to) else { return };
        let response = self.response(fetch, Some(high_watermark));
        assert_eq!(response.epoch, epoch, "served in another epoch");
        let (log, end) = (self.log.log.clone(), self.log.end_offset());
        let reading = async move {
            match log.read(offset, end, FETCH_BYTES, true).await {
                Ok(read) => {
                    let log_start_offset = log.start_offset();
                    let answer = Answer::Records { response, log_start_offset, batches: read.batches };
                    // Whoever asked may have gone.
                    let _ = waiting.answer.send(answer);
                }
                Err(error) => tracing::warn!(offset, %error, "failed to read the metadata log"),
            }
        };
        let mut reading = Box::pin(reading);
        // What is in memory is there at once.
        let first = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            self.runtime.spawn("quorum-read", reading).detach();
        }
    }

    fn answer(&mut self, to: ReplyTo, answer: Answer) {
        if let Some(waiting) = self.waiting.remove(&to) {
            // Whoever asked may have gone.
            let _ = waiting.answer.send(answer);
        }
    }

    fn publish(&mut self) {
        let state = self.replica.election_state();
        // A replica that leads no more keeps the epoch's leader in its state.
        let is_stale = state.leader == Some(self.node_id) && self.replica.role() != RoleName::Leader;
        let view = LeaderView { epoch: state.epoch, leader: state.leader.filter(|_| !is_stale) };
        if *self.known_voters.voters != *self.replica.voters()
            || self.known_voters.are_configured != self.replica.voters_offset().is_none()
        {
            self.known_voters = view_of(&self.replica);
            self.addresses.set_voters(&self.known_voters);
            self.links.set_voters(&self.known_voters);
            self.voters.set(self.known_voters.clone());
        }
        self.leader.set(view);
    }
}

fn view_of(replica: &Replica) -> VotersView {
    VotersView {
        are_configured: replica.voters_offset().is_none(),
        voters: Arc::new(replica.voters().clone()),
    }
}
