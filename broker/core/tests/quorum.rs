//! The metadata quorum under a small world of its own: messages are delayed, lost, repeated and reordered,
//! replicas crash and lose what was not durable, and Raft's invariants (W1) are checked after every step.
//! Every seed that fails is printed; `QUORUM_SEED=n cargo test -p burnin-core --test quorum` repeats it,
//! `QUORUM_SEEDS=n` runs more of them.

use burnin_core::quorum::{
    Action, ElectionState, FetchRequest, FetchResponse, LogView, Message, Quorum, QuorumConfig, ReplicaKey,
    ReplyTo, RoleName, SnapshotId, VoterSet,
};
use burnin_runtime::{Entropy, Instant};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;
use uuid::Uuid;

/// A log of (epoch, value), with a durable prefix. A "record" on the wire is epoch and value, 12 bytes.
#[derive(Clone, Default)]
struct Log {
    start: i64,
    snapshot: Option<SnapshotId>,
    records: Vec<(i32, u64)>,
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

    fn append(&mut self, records: &[u8]) {
        for record in records.chunks(12) {
            let epoch = i32::from_be_bytes(record[..4].try_into().unwrap());
            self.records.push((epoch, u64::from_be_bytes(record[4..].try_into().unwrap())));
        }
    }
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

struct Replica {
    quorum: Option<Quorum>,
    durable: ElectionState,
    log: Log,
    parked: Vec<(ReplyTo, FetchRequest)>,
    committed: i64,
}

enum Event {
    Deliver { from: i32, to: i32, message: Message, reply_to: ReplyTo },
    Restart(i32),
}

struct World {
    now: Instant,
    entropy: Entropy,
    replicas: BTreeMap<i32, Replica>,
    queue: BinaryHeap<(std::cmp::Reverse<(u64, u64)>, usize)>,
    events: Vec<Option<Event>>,
    requests: Vec<i32>,
    cut: Option<i32>,
    loss: f64,
    next_value: u64,
    /// Ghost state: what was committed at each offset, and who led each epoch.
    canonical: Vec<(i32, u64)>,
    leaders: BTreeMap<i32, i32>,
    votes: BTreeMap<(i32, i32), ReplicaKey>,
    voters: i32,
}

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id, directory: Uuid::nil() }
}

impl World {
    fn new(seed: u64, voters: i32, observers: i32) -> World {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut world = World {
            now: Instant::ZERO,
            entropy: Entropy::from_seed(bytes),
            replicas: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: Vec::new(),
            requests: Vec::new(),
            cut: None,
            loss: 0.0,
            next_value: 1,
            canonical: Vec::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            voters,
        };
        for id in 1..=voters + observers {
            let replica = Replica {
                quorum: None,
                durable: ElectionState::default(),
                log: Log::default(),
                parked: Vec::new(),
                committed: 0,
            };
            world.replicas.insert(id, replica);
            world.start(id);
        }
        world
    }

    fn start(&mut self, id: i32) {
        let mut seed = [0; 32];
        self.entropy.fill(&mut seed);
        let voters = VoterSet::new((1..=self.voters).map(key));
        let replica = self.replicas.get_mut(&id).unwrap();
        replica.committed = replica.log.start;
        let entropy = Entropy::from_seed(seed);
        replica.quorum = Some(Quorum::new(
            key(id),
            voters,
            QuorumConfig::default(),
            replica.durable,
            &replica.log,
            entropy,
            self.now,
        ));
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        let at = (self.now + after).as_nanos();
        self.events.push(Some(event));
        let index = self.events.len() - 1;
        self.queue.push((std::cmp::Reverse((at, index as u64)), index));
    }

    fn send(&mut self, from: i32, to: i32, message: Message, reply_to: ReplyTo) {
        if self.cut == Some(from) || self.cut == Some(to) || self.entropy.chance(self.loss) {
            return;
        }
        let copies = if self.entropy.chance(self.loss / 2.0) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = if self.entropy.chance(self.loss) { 3000 } else { 20 };
            let delay = Duration::from_millis(self.entropy.between(1, slow));
            self.schedule(delay, Event::Deliver { from, to, message: message.clone(), reply_to });
        }
    }

    fn step(&mut self) {
        let due: Vec<(Instant, i32)> = self
            .replicas
            .iter()
            .filter_map(|(id, r)| r.quorum.as_ref().map(|q| (q.deadline(), *id)))
            .collect();
        let (deadline, id) = due.into_iter().min().unwrap_or((Instant::FAR_FUTURE, 0));
        let next = self.queue.peek().map_or(u64::MAX, |(at, _)| at.0.0);
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
                Event::Deliver { from, to, message, reply_to } => {
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

    fn perform(&mut self, id: i32, action: Action) {
        let replica = self.replicas.get_mut(&id).unwrap();
        match action {
            Action::Persist(state) => {
                replica.durable = state;
                if let Some(voted) = state.voted {
                    let known = *self.votes.entry((id, state.epoch)).or_insert(voted);
                    assert_eq!(known, voted, "replica {id} voted twice in epoch {}", state.epoch);
                }
                if let Some(leader) = state.leader {
                    let known = *self.leaders.entry(state.epoch).or_insert(leader);
                    assert_eq!(known, leader, "two leaders in epoch {}", state.epoch);
                }
            }
            Action::Send { to, message } => {
                self.requests.push(id);
                let reply_to = ReplyTo(self.requests.len() as u64 - 1);
                self.send(id, to, message, reply_to);
            }
            Action::Reply { to, message } => self.send(id, self.requests[to.0 as usize], message, to),
            Action::BecameLeader { epoch } => {
                replica.log.records.push((epoch, 0));
                self.drive(id, |quorum, log, now| quorum.appended(now, log));
                self.unpark(id);
            }
            Action::LostLeadership { .. } => self.unpark(id),
            Action::Append { records } => replica.log.append(&records),
            Action::Truncate { offset } => {
                let keep = (offset - replica.log.start) as usize;
                replica.log.records.truncate(keep);
            }
            Action::FetchSnapshot { leader, epoch, id: snapshot } => {
                replica.log =
                    Log { start: snapshot.end_offset, snapshot: Some(snapshot), records: Vec::new() };
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
            Action::ParkFetch { reply_to, request } => replica.parked.push((reply_to, request)),
            Action::ServeFetch { to, fetch, offset, epoch, high_watermark } => {
                let response = FetchResponse {
                    fetch,
                    epoch,
                    leader: Some(id),
                    high_watermark: (high_watermark >= 0).then_some(high_watermark),
                    diverging: None,
                    snapshot: None,
                    records: replica.log.encode(offset),
                };
                self.send(id, self.requests[to.0 as usize], Message::FetchResponse(response), to);
            }
        }
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
        let mut epochs = replica.log.records.iter().map(|r| r.0);
        let mut last = epochs.next().unwrap_or(0);
        for epoch in epochs {
            assert!(epoch >= last, "epochs go back in the log of {id}");
            last = epoch;
        }
    }

    fn leader(&self) -> Option<i32> {
        let leads = |r: &Replica| r.quorum.as_ref().is_some_and(|q| q.role() == RoleName::Leader);
        self.replicas.iter().filter(|(_, r)| leads(r)).max_by_key(|(_, r)| r.durable.epoch).map(|(id, _)| *id)
    }

    fn propose(&mut self) {
        if let Some(id) = self.leader() {
            let value = self.next_value;
            self.next_value += 1;
            let replica = self.replicas.get_mut(&id).unwrap();
            replica.log.records.push((replica.durable.epoch, value));
            self.drive(id, |quorum, log, now| quorum.appended(now, log));
            self.unpark(id);
        }
    }

    fn snapshot(&mut self, id: i32) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let end = replica.committed;
        if end > replica.log.start {
            let drop = (end - replica.log.start) as usize;
            let epoch = replica.log.records[drop - 1].0;
            replica.log.records.drain(..drop);
            replica.log.start = end;
            replica.log.snapshot = Some(SnapshotId { end_offset: end, epoch });
        }
    }

    fn crash(&mut self, id: i32) {
        let down = Duration::from_millis(self.entropy.between(10, 4000));
        let replica = self.replicas.get_mut(&id).unwrap();
        if replica.quorum.take().is_some() {
            replica.parked.clear();
            self.schedule(down, Event::Restart(id));
        }
    }
}

fn run(seed: u64) -> (i64, i32) {
    let voters = if seed.is_multiple_of(3) { 5 } else { 3 };
    let mut world = World::new(seed, voters, 1);
    world.loss = [0.0, 0.05, 0.2][(seed % 3) as usize];
    for _ in 0..4000 {
        world.step();
        match world.entropy.below(400) {
            0 => {
                let id = world.entropy.between(1, voters as u64 + 1) as i32;
                world.crash(id);
            }
            1 => world.cut = Some(world.entropy.between(1, voters as u64) as i32),
            2..=5 => world.cut = None,
            6 => {
                let id = world.entropy.between(1, voters as u64 + 1) as i32;
                world.snapshot(id);
            }
            7..=40 => world.propose(),
            _ => {}
        }
    }
    // Healed: a leader must emerge, commit, and every replica must catch up.
    world.cut = None;
    world.loss = 0.0;
    let until = world.now + Duration::from_secs(60);
    while world.now < until {
        world.step();
        if world.entropy.chance(0.01) {
            world.propose();
        }
    }
    let leader = world.leader().unwrap_or_else(|| panic!("no leader a minute after everything was healed"));
    let quiet = world.now + Duration::from_secs(20);
    while world.now < quiet {
        world.step();
    }
    let end = world.replicas[&leader].log.end_offset();
    assert!(end > 0, "nothing was ever proposed");
    for (id, replica) in &world.replicas {
        assert_eq!(replica.committed, end, "replica {id} did not catch up with leader {leader}");
    }
    (end, world.leaders.keys().next_back().copied().unwrap_or(0))
}

#[test]
fn raft_invariants_hold_under_loss_delay_duplication_and_crashes() {
    let seeds = match std::env::var("QUORUM_SEED") {
        Ok(seed) => seed.parse().map(|seed: u64| seed..seed + 1).expect("QUORUM_SEED is a number"),
        Err(_) => {
            0..std::env::var("QUORUM_SEEDS")
                .map_or(300, |seeds| seeds.parse().expect("QUORUM_SEEDS is a number"))
        }
    };
    let mut epochs = 0;
    for seed in seeds {
        eprintln!("seed {seed}");
        let (end, epoch) = run(seed);
        assert!(end > 0);
        epochs += epoch;
    }
    assert!(epochs > 0, "elections happened: {epochs}");
}

#[test]
fn single_voter_elects_itself_at_its_first_timeout() {
    let mut world = World::new(7, 1, 0);
    for _ in 0..20 {
        world.step();
        if world.leader().is_some() {
            break;
        }
    }
    assert_eq!(world.leader(), Some(1));
    world.propose();
    assert_eq!(world.replicas[&1].committed, 2);
}
