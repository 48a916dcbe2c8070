//! Random life of a cluster: brokers crash, lose the ends of their logs, stop in order, come back; metadata reaches
//! them late; AlterPartition requests are delayed and lost; topics, settings and replicas change; controllers take
//! turns. After every step:
//!
//! - the controller's invariants hold, and a standby that replays its records is equal (`World::append`);
//! - **completeness** (W2): every replica in an ISR or ELR holds all that was committed. Only an election that the
//!   record marks as recovering may cut what was committed.
//!
//! A failing seed is printed; `CONTROLLER_SEED=n cargo test -p burnin-core --test controller` repeats it,
//! `CONTROLLER_SEEDS=n` runs more of them.

mod node;

use crate::world::{World, config};
use burnin_core::controller::{AlterPartition, ElectionKind, Heartbeat, IsrState};
use burnin_core::metadata::{NewPartitions, NewTopic, Partition, ResourceType};
use burnin_core::partition::{Effects, FollowerFetch, IsrProposal};
use burnin_runtime::Entropy;
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::MetadataRecord;
use node::{Entry, Life, Node, Tp, common};
use std::collections::BTreeMap;
use std::time::Duration;

const BROKERS: i32 = 5;
const STEPS: usize = 2500;

/// What a broker asked for, and later the controller's answer.
struct InFlight {
    from: i32,
    tp: Tp,
    proposal: IsrProposal,
    request: AlterPartition,
    answer: Option<Result<IsrState, ErrorCode>>,
}

#[derive(Debug, Default)]
struct Seen {
    committed: usize,
    elections: usize,
    from_elr: usize,
    unclean: usize,
    isr_changes: usize,
    reassigned: usize,
    refused: usize,
    failovers: usize,
}

struct Sim {
    world: World,
    nodes: BTreeMap<i32, Node>,
    entropy: Entropy,
    in_flight: Vec<InFlight>,
    committed: BTreeMap<Tp, Vec<Entry>>,
    /// The epoch of the last unclean election: what leaders before it still commit is lost with them.
    unclean: BTreeMap<Tp, i32>,
    /// How many batches were looked at.
    looked: usize,
    entries: u64,
    topics: u64,
    seen: Seen,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut entropy = Entropy::from_seed(bytes);
        let mut config = config(true);
        config.rebalance_interval = Some(Duration::from_secs(60));
        config.unclean_interval = Duration::from_secs(30);
        if entropy.chance(0.5) {
            config.properties.insert("min.insync.replicas".into(), "2".into());
        }
        let world = World::with(config);
        let nodes = (1..=BROKERS).map(|id| (id, Node::new(id))).collect();
        Sim {
            world,
            nodes,
            entropy,
            in_flight: Vec::new(),
            committed: BTreeMap::new(),
            unclean: BTreeMap::new(),
            looked: 0,
            entries: 0,
            topics: 0,
            seen: Seen::default(),
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.entropy.below(below as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.entropy.below(from.len() as u64) as usize])
    }

    fn node(&mut self, id: i32) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn up(&self) -> Vec<i32> {
        self.nodes.values().filter(|node| node.is_up()).map(|node| node.id).collect()
    }

    fn partitions(&self) -> Vec<(String, Tp)> {
        let topics = self.world.active.image().topics().iter();
        topics.flat_map(|(name, t)| t.partitions.keys().map(move |n| (name.clone(), (t.id, *n)))).collect()
    }

    fn registered(&self, tp: Tp) -> Option<&Partition> {
        self.world.active.image().topic_by_id(&tp.0)?.partitions.get(&tp.1)
    }

    fn step(&mut self) {
        match self.draw(200) {
            0..16 => self.time(),
            16..40 => self.beat(),
            40..72 => self.metadata(),
            72..92 => self.produce(),
            92..152 => self.fetch(),
            152..176 => self.deliver(),
            176..181 => self.lag(),
            181 => self.crash(),
            182 => self.begin_stop(),
            183..195 => self.start(),
            195 => self.fail_over(),
            _ => self.administer(),
        }
        self.look();
    }

    fn time(&mut self) {
        let time = Duration::from_millis(self.entropy.between(10, 1500));
        self.world.pass(time);
        self.world.tick();
    }

    fn beat(&mut self) {
        let Some(id) = self.pick(&self.up()) else { return };
        let node = &self.nodes[&id];
        let last = self.world.batches.get(..node.applied).and_then(|applied| applied.last());
        let metadata_offset = last.map_or(-1, |(base, records)| base + records.len() as i64 - 1);
        let heartbeat = Heartbeat {
            broker_id: id,
            broker_epoch: node.epoch,
            metadata_offset,
            want_fence: false,
            want_shut_down: node.stopping,
        };
        if self.world.heartbeat(heartbeat).unwrap().should_shut_down {
            self.node(id).stop();
        }
    }

    fn metadata(&mut self) {
        let Some(id) = self.pick(&self.nodes.keys().copied().collect::<Vec<_>>()) else { return };
        let count = 1 + self.draw(6);
        self.catch_up(id, count);
    }

    fn catch_up(&mut self, id: i32, count: usize) {
        for _ in 0..count {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(batch) = self.world.batches.get(node.applied) else { return };
            let marks = node.apply(batch, self.world.now);
            marks.into_iter().for_each(|(tp, mark)| self.commit(id, tp, mark));
        }
    }

    fn leading(&self) -> Vec<(i32, Tp)> {
        self.nodes.values().flat_map(|node| node.leaders.keys().map(|tp| (node.id, *tp))).collect()
    }

    fn produce(&mut self) {
        let Some((id, tp)) = self.pick(&self.leading()) else { return };
        self.entries += 1;
        let (entry, now) = (self.entries, self.world.now);
        let node = self.node(id);
        let epoch = node.leaders[&tp].leader_epoch();
        node.log(tp).push((epoch, entry));
        let end = node.log(tp).len() as i64;
        let effects = node.leaders.get_mut(&tp).unwrap().appended(end, now);
        self.follow(id, tp, effects);
    }

    fn fetch(&mut self) {
        let Some((leader, tp)) = self.pick(&self.leading()) else { return };
        let epoch = self.nodes[&leader].leaders[&tp].leader_epoch();
        let follows = |node: &&Node| {
            let is_replica = |view: &Partition| {
                (view.leader, view.leader_epoch) == (leader, epoch) && view.replicas.contains(&node.id)
            };
            node.is_up() && node.id != leader && node.view(tp).is_some_and(is_replica)
        };
        let followers: Vec<i32> = self.nodes.values().filter(follows).map(|node| node.id).collect();
        let Some(id) = self.pick(&followers) else { return };
        let source = &self.nodes[&leader];
        let (their, eligibility) = (source.logs[&tp].clone(), source.eligibility(id));
        let (now, count) = (self.world.now, self.draw(4));
        let node = self.node(id);
        let broker_epoch = node.epoch;
        let log = node.log(tp);
        log.truncate(common(log, &their));
        let offset = log.len();
        let fetch = FollowerFetch { offset: offset as i64, log_start_offset: 0, broker_epoch };
        let leading = self.node(leader).leaders.get_mut(&tp).unwrap();
        let effects = leading.fetched(id, fetch, eligibility, now);
        let mark = leading.high_watermark();
        let node = self.node(id);
        let end = (offset + count).min(their.len());
        node.log(tp).extend_from_slice(&their[offset..end]);
        node.learn_high_watermark(tp, mark);
        self.follow(leader, tp, effects);
    }

    fn follow(&mut self, id: i32, tp: Tp, effects: Effects) {
        if let Some(mark) = effects.high_watermark {
            self.commit(id, tp, mark);
        }
        if let Some(proposal) = effects.propose {
            self.propose(id, tp, &proposal);
        }
    }

    fn propose(&mut self, from: i32, tp: Tp, proposal: &IsrProposal) {
        let request = self.nodes[&from].request(tp, proposal);
        let proposal = proposal.clone();
        self.in_flight.push(InFlight { from, tp, proposal, request, answer: None });
    }

    /// A leader says that everything below `mark` is committed.
    fn commit(&mut self, id: i32, tp: Tp, mark: i64) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.learn_high_watermark(tp, mark);
        if node.leaders[&tp].leader_epoch() < self.unclean.get(&tp).copied().unwrap_or(0) {
            return;
        }
        let log = &node.log(tp)[..mark as usize];
        let committed = self.committed.entry(tp).or_default();
        let same = common(log, committed);
        assert_eq!(
            same,
            log.len().min(committed.len()),
            "two histories are committed: {committed:?} {log:?}"
        );
        if log.len() > committed.len() {
            self.seen.committed += log.len() - committed.len();
            *committed = log.to_vec();
        }
    }

    fn deliver(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let index = self.draw(self.in_flight.len());
        let mut message = self.in_flight.swap_remove(index);
        let is_lost = self.entropy.chance(0.1);
        if message.answer.is_none() && !is_lost {
            let decision = self.world.active.cluster().unwrap().alter_partition(&message.request);
            // A broker that registered anew meanwhile waits for nothing.
            let Ok(decision) = decision else { return };
            self.seen.isr_changes += decision.records.len();
            message.answer = self.world.commit(decision).pop();
            self.seen.refused += usize::from(matches!(message.answer, Some(Err(_))));
            self.in_flight.push(message);
            return;
        }
        let InFlight { from, tp, proposal, request, answer } = message;
        let (now, node) = (self.world.now, self.node(from));
        if node.epoch != request.broker_epoch || !node.is_up() {
            return;
        }
        let (effects, again) = node.answered(tp, &proposal, answer.filter(|_| !is_lost), now);
        self.follow(from, tp, effects);
        if let Some(proposal) = again {
            self.propose(from, tp, &proposal);
        }
    }

    fn lag(&mut self) {
        let Some((id, tp)) = self.pick(&self.leading()) else { return };
        let now = self.world.now;
        let effects = self.node(id).leaders.get_mut(&tp).unwrap().tick(now);
        self.follow(id, tp, effects);
    }

    fn crash(&mut self) {
        let Some(id) = self.pick(&self.up()) else { return };
        self.nodes.get_mut(&id).unwrap().crash(&mut self.entropy);
    }

    fn begin_stop(&mut self) {
        let Some(id) = self.pick(&self.up()) else { return };
        self.node(id).stopping = true;
    }

    fn start(&mut self) {
        let down: Vec<i32> = self.nodes.values().filter(|n| !n.is_up()).map(|n| n.id).collect();
        let Some(id) = self.pick(&down) else { return };
        let previous = match self.nodes[&id].life {
            Life::Stopped(epoch) => epoch,
            _ => -1,
        };
        let registration = self.world.registration(id, previous);
        let Ok(epoch) = self.world.register(&registration) else { return };
        // A broker acts when it has applied its own registration.
        self.catch_up(id, usize::MAX);
        let now = self.world.now;
        let node = self.node(id);
        (node.life, node.epoch) = (Life::Up, epoch);
        let marks = node.lead(now);
        assert!(marks.is_empty(), "a broker that just registered leads: {marks:?}");
    }

    fn fail_over(&mut self) {
        self.seen.failovers += 1;
        let committed = self.world.standby.image().clone();
        self.world.active.deactivate(committed);
        std::mem::swap(&mut self.world.active, &mut self.world.standby);
        let records = self.world.active.activate(self.world.now);
        self.world.append(&records);
    }

    fn administer(&mut self) {
        let chosen = self.pick(&(0..self.partitions().len()).collect::<Vec<_>>());
        let Some((name, tp)) = chosen.map(|index| self.partitions().swap_remove(index)) else {
            return self.create();
        };
        match self.draw(20) {
            0..3 if self.partitions().len() < 6 => self.create(),
            3 => {
                let decision = self.world.active.cluster().unwrap().delete_topic(tp.0).unwrap();
                self.world.commit(decision);
                self.committed.retain(|other, _| other.0 != tp.0);
            }
            4..8 => self.reassign(&name, tp),
            8 => self.reassign_to(&name, tp, None),
            9..11 => {
                let kind = if self.draw(3) == 0 { ElectionKind::Unclean } else { ElectionKind::Preferred };
                let decision = self.world.active.cluster().unwrap().elect_leaders(kind, None);
                self.world.commit(decision);
            }
            11..15 => {
                let value = (1 + self.draw(3)).to_string();
                let (kind, of) = match self.draw(3) {
                    0 => (ResourceType::Broker, ""),
                    _ => (ResourceType::Topic, name.as_str()),
                };
                self.world.configure(kind, of, "min.insync.replicas", Some(&value)).unwrap();
            }
            15..17 => {
                let value = if self.draw(4) == 0 { "true" } else { "false" };
                let property = "unclean.leader.election.enable";
                self.world.configure(ResourceType::Topic, &name, property, Some(value)).unwrap();
            }
            17 => {
                let count = self.world.active.image().topic(&name).unwrap().partitions.len() as i32 + 1;
                let request = NewPartitions { topic: name, count, assignments: None };
                let cluster = self.world.active.cluster().unwrap();
                if let Some(decision) =
                    cluster.create_partitions(&request, &mut self.entropy).ok().filter(|_| count < 4)
                {
                    self.world.commit(decision);
                }
            }
            18 => self.unregister(),
            _ => self.create(),
        }
    }

    fn create(&mut self) {
        self.topics += 1;
        let topic = NewTopic {
            name: format!("t{}", self.topics),
            partitions: 1,
            replication_factor: 1 + self.draw(4) as i16,
            configs: match self.draw(3) {
                0 => vec![],
                n => vec![("min.insync.replicas".into(), Some(n.to_string()))],
            },
            ..NewTopic::default()
        };
        self.world.create(&topic).ok();
    }

    fn reassign(&mut self, name: &str, tp: Tp) {
        let mut all: Vec<i32> = self.world.active.image().brokers().keys().copied().collect();
        let count = (1 + self.draw(4)).min(all.len());
        let mut target = Vec::new();
        while target.len() < count {
            target.push(all.swap_remove(self.entropy.below(all.len() as u64) as usize));
        }
        self.reassign_to(name, tp, Some(target));
    }

    fn reassign_to(&mut self, name: &str, tp: Tp, target: Option<Vec<i32>>) {
        if target.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let targets = [(name.to_owned(), tp.1, target)];
        let decision = self.world.active.cluster().unwrap().alter_reassignments(&targets);
        self.seen.reassigned += decision.records.len();
        self.world.commit(decision);
    }

    /// A broker that is down for good, with a fresh directory in its place.
    fn unregister(&mut self) {
        let fenced =
            |id: &i32| self.world.active.image().brokers().get(id).is_some_and(|broker| broker.fenced);
        let gone: Vec<i32> =
            self.nodes.values().filter(|n| !n.is_up() && fenced(&n.id)).map(|n| n.id).collect();
        let Some(id) = self.pick(&gone) else { return };
        let decision = self.world.active.cluster().unwrap().unregister(id).unwrap();
        self.world.commit(decision);
        let node = self.node(id);
        node.logs.clear();
        node.crash(&mut Entropy::from_seed([0; 32]));
    }

    /// Looks at what was appended since the last look.
    fn look(&mut self) {
        for index in self.looked..self.world.batches.len() {
            for record in self.world.batches[index].1.clone() {
                let MetadataRecord::PartitionChange(change) = record else { continue };
                if change.leader < 0 {
                    continue;
                }
                self.seen.elections += 1;
                let tp = (change.topic_id, change.partition_id);
                if change.leader_recovery_state == 1 {
                    // Marked: records may be lost.
                    self.seen.unclean += 1;
                    if let Some(epoch) = self.registered(tp).map(|partition| partition.leader_epoch) {
                        self.unclean.insert(tp, epoch);
                    }
                    let log = self.nodes[&change.leader].logs.get(&tp).cloned().unwrap_or_default();
                    let committed = self.committed.entry(tp).or_default();
                    committed.truncate(common(committed, &log));
                } else if change.isr.as_deref() == Some(&[change.leader]) {
                    self.seen.from_elr += 1;
                }
            }
        }
        self.looked = self.world.batches.len();
        for (name, tp) in self.partitions() {
            let (partition, none) = (self.registered(tp).unwrap(), Vec::new());
            let committed = self.committed.get(&tp).unwrap_or(&none);
            for id in partition.isr.iter().chain(&partition.elr) {
                let node = &self.nodes[id];
                // One that crashed is not asked before it registers, and then it is out of both.
                if node.life == Life::Crashed {
                    continue;
                }
                let log = node.logs.get(&tp).unwrap_or(&none);
                let held = common(log, committed);
                assert_eq!(
                    held,
                    committed.len(),
                    "broker {id} may lead {name}-{} and lacks committed entries: {partition:?} log={log:?} \
                     committed={committed:?}",
                    tp.1
                );
            }
        }
    }
}

fn run(seed: u64) -> Seen {
    let mut sim = Sim::new(seed);
    for _ in 0..BROKERS {
        sim.start();
    }
    for _ in 0..STEPS {
        sim.step();
    }
    sim.seen
}

#[test]
fn every_electable_replica_holds_what_was_committed() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("CONTROLLER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CONTROLLER_SEEDS").unwrap_or(40),
    };
    let mut all = Seen::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| run(seed));
        let seen = run.unwrap_or_else(|panic| {
            eprintln!("CONTROLLER_SEED={seed} cargo test -p burnin-core --test controller every_electable");
            std::panic::resume_unwind(panic)
        });
        all.committed += seen.committed;
        all.elections += seen.elections;
        all.from_elr += seen.from_elr;
        all.unclean += seen.unclean;
        all.isr_changes += seen.isr_changes;
        all.reassigned += seen.reassigned;
        all.refused += seen.refused;
        all.failovers += seen.failovers;
    }
    eprintln!("{} seeds: {all:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= 40 {
        let Seen { committed, elections, from_elr, unclean, isr_changes, reassigned, refused, failovers } =
            all;
        let counts = [committed, elections, from_elr, unclean, isr_changes, reassigned, refused, failovers];
        assert!(counts.iter().all(|count| *count > 40), "the life was too quiet: {all:?}");
    }
}
