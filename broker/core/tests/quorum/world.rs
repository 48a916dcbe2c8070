//! A world of replicas: an event queue, a network that delays, loses and repeats, crashes that keep what is durable,
//! disks that are lost, and ghost state that says what may never change.

use burnin_core::quorum::{
    Action, ElectionState, FetchRequest, FetchResponse, LogView, Message, Quorum, QuorumConfig, ReplicaKey,
    ReplyTo, RoleName, SnapshotId, VoterChange, VoterChangeError, VoterSet,
};
use burnin_runtime::{Entropy, Instant, Mutants};
use burnin_wire::control_records::{KRaftVersionFeature, Voter};
use bytes::{BufMut, Bytes, BytesMut};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;
use uuid::Uuid;

/// A "record" on the wire is epoch and value, 12 bytes. A value with this bit is a VotersRecord: the rest is its
/// number in [`World::voter_sets`].
const VOTERS: u64 = 1 << 63;

type Record = (i32, u64);

/// A log, all of it durable.
#[derive(Clone, Default)]
pub struct Log {
    pub start: i64,
    pub snapshot: Option<SnapshotId>,
    pub records: Vec<Record>,
}

impl Log {
    fn encode(&self, from: i64) -> Bytes {
        let mut out = BytesMut::new();
        for (epoch, value) in self.records.iter().skip((from - self.start) as usize).take(5) {
            out.put_i32(*epoch);
            out.put_u64(*value);
        }
        out.freeze()
    }
}

fn decode(records: &[u8]) -> Vec<Record> {
    let record = |bytes: &[u8]| {
        let epoch = i32::from_be_bytes(bytes[..4].try_into().unwrap());
        (epoch, u64::from_be_bytes(bytes[4..].try_into().unwrap()))
    };
    records.chunks(12).map(record).collect()
}

impl LogView for Log {
    fn end_offset(&self) -> i64 {
        self.start + self.records.len() as i64
    }
    fn last_epoch(&self) -> i32 {
        self.records.last().map_or(self.snapshot.map_or(0, |s| s.epoch), |r| r.0)
    }
    fn start_offset(&self) -> i64 {
        self.start
    }
    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let count = self.records.iter().filter(|r| r.0 <= epoch).count();
        match count {
            0 => self.snapshot.filter(|s| s.epoch <= epoch).map(|s| (s.epoch, self.start)),
            n => Some((self.records[n - 1].0, self.start + n as i64)),
        }
    }
    fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.snapshot
    }
}

pub struct Replica {
    pub key: ReplicaKey,
    pub quorum: Option<Quorum>,
    durable: ElectionState,
    pub log: Log,
    parked: Vec<(ReplyTo, FetchRequest)>,
    pub committed: i64,
    /// Voters that `format` wrote into a snapshot of offset 0.
    formatted: Option<VoterSet>,
}

enum Event {
    Deliver {
        from: i32,
        to: i32,
        message: Message,
        reply_to: ReplyTo,
    },
    Restart(i32),
    /// A fetch has waited for long enough.
    Waited {
        id: i32,
        reply_to: ReplyTo,
    },
}

/// Who votes in the beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Voters {
    /// `controller.quorum.voters`.
    Configured,
    /// Records of the log (KIP-853).
    InLog,
}

pub struct World {
    pub now: Instant,
    pub entropy: Entropy,
    pub replicas: BTreeMap<i32, Replica>,
    queue: BinaryHeap<(Reverse<(u64, u64)>, usize)>,
    events: Vec<Option<Event>>,
    requests: Vec<i32>,
    /// Replicas that nobody else reaches.
    pub cut: BTreeSet<i32>,
    pub loss: f64,
    /// Replicas that know no pre-votes.
    pub old: BTreeSet<i32>,
    next_value: u64,
    kind: Voters,
    initial: VoterSet,
    voter_sets: Vec<VoterSet>,
    /// Replicas whose disk is lost for good.
    pub dead: BTreeSet<ReplicaKey>,
    /// Changes that were asked for, and what became of them.
    pub changes: Vec<Option<Result<(), VoterChangeError>>>,
    mutants: Mutants,
    /// Epochs of whose leader somebody has told lies.
    pub lies: BTreeSet<i32>,
    /// Ghost state: what was committed at each offset, what each leader wrote, who led each epoch, who voted how, and
    /// when a leader was asked last by each of the others (from when it was elected on).
    canonical: Vec<Record>,
    written: BTreeMap<(i64, i32), u64>,
    leaders: BTreeMap<i32, i32>,
    votes: BTreeMap<(ReplicaKey, i32), ReplicaKey>,
    asked: BTreeMap<(i32, i32), BTreeMap<i32, Instant>>,
}

pub fn voter(key: ReplicaKey) -> Voter {
    Voter {
        voter_id: key.id,
        voter_directory_id: key.directory,
        endpoints: Vec::new(),
        k_raft_version_feature: KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 },
    }
}

fn key(id: i32, generation: u128, kind: Voters) -> ReplicaKey {
    let directory = match kind {
        Voters::Configured => Uuid::nil(),
        Voters::InLog => Uuid::from_u128(1000 * generation + id as u128),
    };
    ReplicaKey { id, directory }
}

impl World {
    pub fn new(seed: u64, kind: Voters, voters: i32, observers: i32) -> World {
        World::planted(seed, kind, voters, observers, Mutants::NONE)
    }

    /// With a planted bug in every replica.
    pub fn planted(seed: u64, kind: Voters, voters: i32, observers: i32, mutants: Mutants) -> World {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let initial = VoterSet::from_voters((1..=voters).map(|id| voter(key(id, 1, kind))));
        let mut world = World {
            now: Instant::ZERO,
            entropy: Entropy::from_seed(bytes),
            replicas: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: Vec::new(),
            requests: Vec::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            old: BTreeSet::new(),
            next_value: 1,
            kind,
            initial: initial.clone(),
            voter_sets: Vec::new(),
            dead: BTreeSet::new(),
            changes: Vec::new(),
            canonical: Vec::new(),
            written: BTreeMap::new(),
            leaders: BTreeMap::new(),
            lies: BTreeSet::new(),
            votes: BTreeMap::new(),
            mutants,
            asked: BTreeMap::new(),
        };
        for id in 1..=voters + observers {
            let formatted = (kind == Voters::InLog && id <= voters).then(|| initial.clone());
            world.replicas.insert(id, Replica::new(key(id, 1, kind), formatted));
            world.start(id);
        }
        world
    }

    fn start(&mut self, id: i32) {
        let mut seed = [0; 32];
        self.entropy.fill(&mut seed);
        let snapshot_voters = self.voters_in_snapshot(id);
        let replica = self.replicas.get_mut(&id).unwrap();
        if replica.quorum.is_some() {
            return;
        }
        replica.committed = replica.log.start;
        let configured =
            if self.kind == Voters::Configured { self.initial.clone() } else { VoterSet::default() };
        let mut quorum = Quorum::new(
            replica.key,
            configured,
            QuorumConfig::default(),
            replica.durable,
            &replica.log,
            Entropy::from_seed(seed),
            self.now,
        )
        .planted(self.mutants.clone());
        if let Some(voters) = snapshot_voters {
            quorum.voters_from_snapshot(replica.log.start, Some(voters));
        }
        for (offset, (_, value)) in (replica.log.start..).zip(&replica.log.records) {
            if value & VOTERS != 0 {
                let voters = self.voter_sets[(value & !VOTERS) as usize].clone();
                let actions = quorum.voters_appended(offset, voters, self.now, &replica.log);
                assert_eq!(actions, [], "nothing happens at the start");
            }
        }
        replica.quorum = Some(quorum);
    }

    /// The voters of the snapshot that the log begins after, or of the one that `format` wrote.
    fn voters_in_snapshot(&self, id: i32) -> Option<VoterSet> {
        let replica = &self.replicas[&id];
        if self.kind == Voters::Configured {
            return None;
        }
        if replica.log.start == 0 {
            return replica.formatted.clone();
        }
        let covered = self.canonical[..replica.log.start as usize].iter().rev();
        let last = covered.map(|record| record.1).find(|value| value & VOTERS != 0);
        Some(last.map_or(self.initial.clone(), |value| self.voter_sets[(value & !VOTERS) as usize].clone()))
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        let at = (self.now + after).as_nanos();
        self.events.push(Some(event));
        let index = self.events.len() - 1;
        self.queue.push((Reverse((at, index as u64)), index));
    }

    fn send(&mut self, from: i32, to: i32, message: Message, reply_to: ReplyTo) {
        let known = self.replicas.contains_key(&to);
        if !known || self.cut.contains(&from) || self.cut.contains(&to) || self.entropy.chance(self.loss) {
            return;
        }
        let (from, to, message) = match message {
            // Whoever finds that the other side cannot be asked that tells itself so.
            Message::VoteRequest(vote)
                if vote.pre_vote && (self.old.contains(&from) || self.old.contains(&to)) =>
            {
                (to, from, Message::PreVoteUnsupported { epoch: vote.epoch })
            }
            other => (from, to, other),
        };
        let copies = if self.entropy.chance(self.loss / 2.0) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = if self.entropy.chance(self.loss) { 3000 } else { 20 };
            let delay = Duration::from_millis(self.entropy.between(1, slow));
            self.schedule(delay, Event::Deliver { from, to, message: message.clone(), reply_to });
        }
    }

    pub fn step(&mut self) {
        let due: Vec<(Instant, i32)> = self
            .replicas
            .iter()
            .filter_map(|(id, r)| r.quorum.as_ref().map(|q| (q.deadline(), *id)))
            .collect();
        let (deadline, id) = due.into_iter().min().unwrap_or((Instant::FAR_FUTURE, 0));
        let next = self.queue.peek().map_or(u64::MAX, |(at, _)| at.0.0);
        if deadline == Instant::FAR_FUTURE && next == u64::MAX {
            self.now = self.now + Duration::from_secs(1);
            return;
        }
        if deadline.as_nanos() <= next {
            self.now = self.now.max(deadline);
            // Time moves on between ticks, so that a replica that is always due cannot stop the world.
            self.now = self.now + Duration::from_micros(100);
            self.drive(id, |quorum, log, now| quorum.tick(now, log));
        } else {
            let (_, index) = self.queue.pop().unwrap();
            self.now = self.now.max(Instant::from_nanos(next));
            match self.events[index].take().unwrap() {
                Event::Restart(id) => self.start(id),
                Event::Waited { id, reply_to } => self.answer_empty(id, reply_to),
                Event::Deliver { from, to, message, reply_to } => {
                    if let Message::FetchRequest(request) = &message {
                        let heard = self.asked.get_mut(&(to, request.epoch));
                        heard.and_then(|heard| heard.insert(request.replica.id, self.now));
                    }
                    self.drive(to, |quorum, log, now| quorum.receive(from, message, reply_to, now, log));
                }
            }
        }
    }

    fn drive(&mut self, id: i32, event: impl FnOnce(&mut Quorum, &Log, Instant) -> Vec<Action>) {
        let now = self.now;
        let replica = self.replicas.get_mut(&id).unwrap();
        let Some(quorum) = replica.quorum.as_mut() else { return };
        let actions = event(quorum, &replica.log, now);
        for action in actions {
            self.perform(id, action);
        }
        self.check(id);
    }

    /// A message of a stranger, who gets no answer.
    pub fn receive(&mut self, id: i32, message: Message) {
        self.requests.push(0);
        let reply_to = ReplyTo(self.requests.len() as u64 - 1);
        self.drive(id, |quorum, log, now| quorum.receive(77, message, reply_to, now, log));
    }

    /// A replica is told to stop in order: if it leads, somebody else shall.
    pub fn resign(&mut self, id: i32) {
        self.drive(id, |quorum, _log, now| quorum.resign(now));
    }

    fn request(&mut self, from: i32, to: i32, message: Message) {
        self.requests.push(from);
        let reply_to = ReplyTo(self.requests.len() as u64 - 1);
        self.send(from, to, message, reply_to);
    }

    fn perform(&mut self, id: i32, action: Action) {
        let replica = self.replicas.get_mut(&id).unwrap();
        match action {
            Action::Persist(state) => {
                replica.durable = state;
                if let Some(voted) = state.voted {
                    let known = *self.votes.entry((replica.key, state.epoch)).or_insert(voted);
                    assert_eq!(known, voted, "replica {id} voted twice in epoch {}", state.epoch);
                }
                if let Some(leader) = state.leader.filter(|_| !self.lies.contains(&state.epoch)) {
                    let known = *self.leaders.entry(state.epoch).or_insert(leader);
                    assert_eq!(known, leader, "two leaders in epoch {}", state.epoch);
                }
            }
            Action::Send { to, message } => self.request(id, to, message),
            Action::FindLeader { request } => {
                let ids: Vec<i32> = self.replicas.keys().copied().filter(|other| *other != id).collect();
                let to = ids[self.entropy.below(ids.len() as u64) as usize];
                self.request(id, to, Message::FetchRequest(request));
            }
            Action::Reply { to, message } => self.send(id, self.requests[to.0 as usize], message, to),
            Action::BecameLeader { epoch } => {
                let voters = replica.quorum.as_ref().unwrap().voters_to_write(&voter(replica.key));
                let others = self.initial.ids().filter(|other| *other != id);
                self.asked.insert((id, epoch), others.map(|other| (other, self.now)).collect());
                self.append(id, (epoch, 0));
                if let Some(voters) = voters {
                    self.append_voters(id, epoch, voters);
                }
                self.drive(id, |quorum, log, now| quorum.appended(now, log));
                self.unpark(id);
            }
            Action::LostLeadership { .. } => self.unpark(id),
            Action::Append { records } => {
                for record in decode(&records) {
                    self.append(id, record);
                }
            }
            Action::AppendVoters { epoch, voters } => {
                self.one_change_at_a_time(id, &voters);
                self.append_voters(id, epoch, voters);
                self.drive(id, |quorum, log, now| quorum.appended(now, log));
                self.unpark(id);
            }
            Action::AnswerVoterChange { to, result } => {
                let known = self.changes[to.0 as usize].replace(result);
                assert_eq!(known, None, "a change of voters is answered once");
            }
            Action::Truncate { offset } => {
                let keep = (offset - replica.log.start) as usize;
                replica.log.records.truncate(keep);
            }
            Action::FetchSnapshot { leader, epoch, id: snapshot } => {
                replica.log =
                    Log { start: snapshot.end_offset, snapshot: Some(snapshot), records: Vec::new() };
                let voters = self.voters_in_snapshot(id);
                let quorum = self.replicas.get_mut(&id).unwrap().quorum.as_mut().unwrap();
                quorum.voters_from_snapshot(snapshot.end_offset, voters);
                let message = Message::SnapshotFetched { leader, epoch, id: snapshot };
                self.schedule(
                    Duration::from_millis(5),
                    Event::Deliver { from: id, to: id, message, reply_to: ReplyTo(0) },
                );
            }
            Action::Committed(offset) => {
                self.commit(id, offset);
                self.unpark(id);
            }
            Action::ParkFetch { reply_to, request } => {
                replica.parked.push((reply_to, request));
                self.schedule(Duration::from_millis(500), Event::Waited { id, reply_to });
            }
            Action::ServeFetch { to, fetch, offset, epoch, high_watermark } => {
                let records = replica.log.encode(offset);
                self.serve(id, to, (fetch, epoch, high_watermark), records);
            }
        }
    }

    fn serve(
        &mut self,
        id: i32,
        to: ReplyTo,
        (fetch, epoch, high_watermark): (u64, i32, i64),
        records: Bytes,
    ) {
        let response = FetchResponse {
            fetch,
            epoch,
            leader: Some(id),
            high_watermark: Some(high_watermark),
            diverging: None,
            snapshot: None,
            records,
        };
        self.send(id, self.requests[to.0 as usize], Message::FetchResponse(response), to);
    }

    /// A leader has nothing new for a parked fetch; one that leads no more has unparked it already.
    fn answer_empty(&mut self, id: i32, reply_to: ReplyTo) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let Some(index) = replica.parked.iter().position(|(to, _)| *to == reply_to) else { return };
        let (_, request) = replica.parked.remove(index);
        let epoch = replica.durable.epoch;
        let high_watermark = replica.quorum.as_ref().unwrap().high_watermark().unwrap_or(-1);
        self.serve(id, reply_to, (request.fetch, epoch, high_watermark), Bytes::new());
    }

    /// Log matching: offset and epoch name one record, whoever holds it.
    fn append(&mut self, id: i32, (epoch, value): Record) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let offset = replica.log.end_offset();
        let known = *self.written.entry((offset, epoch)).or_insert(value);
        assert_eq!(known, value, "replica {id} has another record at {offset} of epoch {epoch}");
        replica.log.records.push((epoch, value));
        if value & VOTERS != 0 {
            let voters = self.voter_sets[(value & !VOTERS) as usize].clone();
            self.drive(id, |quorum, log, now| quorum.voters_appended(offset, voters, now, log));
        }
    }

    fn append_voters(&mut self, id: i32, epoch: i32, voters: VoterSet) {
        self.voter_sets.push(voters);
        self.append(id, (epoch, VOTERS | (self.voter_sets.len() as u64 - 1)));
    }

    /// A change begins when the one before is committed, and moves one voter.
    fn one_change_at_a_time(&self, id: i32, next: &VoterSet) {
        let quorum = self.replicas[&id].quorum.as_ref().unwrap();
        let offset = quorum.voters_offset().unwrap();
        assert!(
            offset < self.canonical.len() as i64,
            "leader {id} changes the voters while those of {offset} are not committed"
        );
        let keys = |set: &VoterSet| set.ids().filter_map(|id| set.key(id)).collect::<BTreeSet<_>>();
        let moved = keys(quorum.voters()).symmetric_difference(&keys(next)).count();
        assert!(moved <= 1, "leader {id} moves {moved} voters at once");
    }

    fn unpark(&mut self, id: i32) {
        let parked = std::mem::take(&mut self.replicas.get_mut(&id).unwrap().parked);
        for (reply_to, request) in parked {
            let message = Message::FetchRequest(request);
            let from = request.replica.id;
            self.schedule(Duration::ZERO, Event::Deliver { from, to: id, message, reply_to });
        }
    }

    /// State-machine safety: every replica commits the same record at the same offset.
    fn commit(&mut self, id: i32, offset: i64) {
        let replica = self.replicas.get_mut(&id).unwrap();
        for at in replica.committed..offset {
            if at < replica.log.start {
                continue;
            }
            let record = replica.log.records[(at - replica.log.start) as usize];
            match self.canonical.get(at as usize) {
                Some(known) => assert_eq!(*known, record, "offset {at} committed twice, by replica {id}"),
                None => {
                    assert_eq!(self.canonical.len() as i64, at, "replica {id} commits {at} past a gap");
                    self.canonical.push(record);
                }
            }
        }
        assert!(offset >= replica.committed, "high watermark of {id} went back to {offset}");
        if replica.quorum.as_ref().is_some_and(|quorum| quorum.role() == RoleName::Leader) {
            let last = replica.log.records[(offset - 1 - replica.log.start) as usize].0;
            assert_eq!(
                last, replica.durable.epoch,
                "leader {id} commits up to {offset}, of an earlier epoch"
            );
        }
        replica.committed = offset;
    }

    /// Leader completeness: a leader holds everything that was ever committed (once its epoch is settled).
    fn check(&mut self, id: i32) {
        let replica = &self.replicas[&id];
        let Some(quorum) = &replica.quorum else { return };
        assert_eq!(quorum.election_state(), replica.durable, "replica {id}: memory and disk differ");
        let newest = self.leaders.keys().next_back().copied().unwrap_or(0);
        if quorum.role() == RoleName::Leader && quorum.election_state().epoch == newest {
            let start = replica.log.start as usize;
            for (at, known) in self.canonical.iter().enumerate().skip(start) {
                assert_eq!(
                    replica.log.records.get(at - start),
                    Some(known),
                    "leader {id} lacks committed {at}"
                );
            }
        }
        if quorum.role() == RoleName::Leader && self.kind == Voters::Configured {
            self.check_quorum(id, quorum.election_state().epoch);
        }
        let mut epochs = replica.log.records.iter().map(|r| r.0);
        let mut last = epochs.next().unwrap_or(0);
        for epoch in epochs {
            assert!(epoch >= last, "epochs go back in the log of {id}");
            last = epoch;
        }
        // The voters that count are those of the last record in the log.
        let last = replica.log.records.iter().rposition(|record| record.1 & VOTERS != 0);
        if let Some(index) = last {
            let number = (replica.log.records[index].1 & !VOTERS) as usize;
            assert_eq!(
                *quorum.voters(),
                self.voter_sets[number],
                "replica {id} has other voters than its log"
            );
        }
    }

    /// A leader that no majority asks resigns after a while; the world may be a little late to tell it the time.
    fn check_quorum(&self, id: i32, epoch: i32) {
        let Some(heard) = self.asked.get(&(id, epoch)) else { return };
        let mut heard: Vec<Instant> = heard.values().copied().collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let Some(since) = self.initial.majority().checked_sub(2).map(|needed| heard[needed]) else { return };
        let late = QuorumConfig::default().check_quorum() + Duration::from_secs(1);
        assert!(self.now < since + late, "leader {id} leads epoch {epoch}, no majority asks since {since:?}");
    }

    pub fn leader(&self) -> Option<i32> {
        let leads = |r: &Replica| r.quorum.as_ref().is_some_and(|q| q.role() == RoleName::Leader);
        self.replicas.iter().filter(|(_, r)| leads(r)).max_by_key(|(_, r)| r.durable.epoch).map(|(id, _)| *id)
    }

    pub fn newest_epoch(&self) -> i32 {
        self.leaders.keys().next_back().copied().unwrap_or(0)
    }

    pub fn propose(&mut self) {
        if let Some(id) = self.leader() {
            let value = self.next_value;
            self.next_value += 1;
            let epoch = self.replicas[&id].durable.epoch;
            self.append(id, (epoch, value));
            self.drive(id, |quorum, log, now| quorum.appended(now, log));
            self.unpark(id);
        }
    }

    pub fn snapshot(&mut self, id: i32) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let end = replica.committed;
        if end > replica.log.start {
            let drop = (end - replica.log.start) as usize;
            let epoch = replica.log.records[drop - 1].0;
            replica.log.records.drain(..drop);
            replica.log.start = end;
            replica.log.snapshot = Some(SnapshotId { end_offset: end, epoch });
            if let Some(quorum) = &mut replica.quorum {
                quorum.log_prefix_deleted(end);
            }
        }
    }

    pub fn crash(&mut self, id: i32) {
        let down = Duration::from_millis(self.entropy.between(10, 4000));
        let replica = self.replicas.get_mut(&id).unwrap();
        if replica.quorum.take().is_some() {
            replica.parked.clear();
            self.schedule(down, Event::Restart(id));
        }
    }

    /// Asks the leader for a change. Gives the number of the change.
    pub fn change(&mut self, change: VoterChange) -> Option<usize> {
        let id = self.leader()?;
        self.changes.push(None);
        let number = self.changes.len() - 1;
        let to = ReplyTo(number as u64);
        self.drive(id, |quorum, log, now| quorum.change_voters(change, to, now, log));
        Some(number)
    }

    /// The voters that the newest leader knows, when they are committed and no other can come out of an old log any
    /// more.
    pub fn settled_voters(&self) -> Option<VoterSet> {
        let quorum = self.replicas[&self.leader()?].quorum.as_ref()?;
        let committed = quorum.voters_offset()? < self.canonical.len() as i64;
        let own = self.canonical.last()?.0 == self.newest_epoch();
        (committed && own).then(|| quorum.voters().clone())
    }

    /// A node loses its disk and comes back as another replica. Never while another voter is dead: two at a time are
    /// more than a quorum of three survives.
    pub fn wipe(&mut self, id: i32) {
        let old = self.replicas[&id].key;
        self.dead.insert(old);
        let generation = old.directory.as_u128() / 1000 + 1;
        let running = self.replicas[&id].quorum.is_some();
        self.replicas.insert(id, Replica::new(key(id, generation, self.kind), None));
        if running {
            self.schedule(Duration::from_millis(100), Event::Restart(id));
        }
    }

    /// Everything works again from now on.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0.0;
    }

    pub fn run_for(&mut self, duration: Duration, mut between: impl FnMut(&mut World)) {
        let until = self.now + duration;
        while self.now < until {
            self.step();
            between(self);
        }
    }

    /// Every replica has committed everything.
    pub fn assert_settled(&self) -> i64 {
        let leader = self.leader().unwrap_or_else(|| panic!("no leader after everything was healed"));
        let end = self.replicas[&leader].log.end_offset();
        assert!(end > 0, "nothing was ever proposed");
        for (id, replica) in &self.replicas {
            assert_eq!(replica.committed, end, "replica {id} did not catch up with leader {leader}");
        }
        end
    }
}

impl Replica {
    fn new(key: ReplicaKey, formatted: Option<VoterSet>) -> Replica {
        Replica {
            key,
            quorum: None,
            durable: ElectionState::default(),
            log: Log::default(),
            parked: Vec::new(),
            committed: 0,
            formatted,
        }
    }
}
