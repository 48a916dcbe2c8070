//! Draws: from a scenario and a seed to a plan. Every fault has a stream of its own, named by its id, so
//! that adding or removing one does not move the others. So does every setting that is drawn.

use crate::action::{Action, Cut};
use crate::fault::{Direction, Dist, Every, Fault, FaultKind, Forgets};
use crate::plan::{
    ConsumerPlan, Durability, PLAN_VERSION, Plan, ProducerPlan, RunPlan, ScheduledFault, TopicPlan,
    TopologyPlan, WorkloadAction, WorkloadPlan,
};
use crate::release::Release;
use crate::scenario::{AckMeans, AnyOf, Controllers, PropertyValue, Scenario, Setting, Topic};
use crate::seed::Seed;
use crate::selector::{PartitionRef, Selector};
use crate::units::Dur;
use crate::workload::{AcksSetting, ConsumerProperties, ProducerProperties, Workload, WorkloadKind};
use burnin_runtime::Entropy;
use std::collections::BTreeMap;

impl Scenario {
    /// The plan of this scenario for a seed. The same scenario and seed give the same plan, always.
    pub fn resolve(&self, seed: Seed) -> Plan {
        let topology = self.resolve_topology(seed);
        let schedule = Scheduler { scenario: self, topology: &topology, seed }.schedule();
        Plan {
            plan: PLAN_VERSION,
            scenario: self.name.clone(),
            scenario_hash: self.content_hash(),
            seed,
            run: RunPlan {
                warmup: self.run.warmup,
                duration: self.run.duration,
                settle: self.run.settle,
                stop_on: self.run.stop_on,
            },
            brokers_impaired: self.budget.brokers_impaired,
            topology,
            workload: self.workload.iter().map(resolve_workload).collect(),
            network: self.target.sim.network.clone(),
            disk: self.target.sim.disk.clone(),
            schedule,
            check: self.check.clone(),
            expect: self.expect.clone(),
        }
    }

    fn resolve_topology(&self, seed: Seed) -> TopologyPlan {
        let mut entropy = seed.stream("topology");
        let brokers = count(self.topology.brokers.draw(&mut entropy));
        let clients = count(self.topology.clients.draw(&mut entropy));
        let racks = match self.topology.racks.len() {
            0 => Vec::new(),
            n => (0..brokers as usize).map(|broker| self.topology.racks[broker % n].clone()).collect(),
        };
        let properties = draw_settings(&self.topology.properties, seed, "property");
        TopologyPlan {
            brokers,
            controllers: self.topology.controllers,
            kraft_version: self.topology.kraft_version,
            clients,
            racks,
            releases: self.resolve_releases(brokers, seed),
            topic: self
                .topology
                .topic
                .iter()
                .map(|topic| self.resolve_topic(topic, &properties, seed))
                .collect(),
            properties,
        }
    }

    /// One for each machine.
    fn resolve_releases(&self, brokers: u32, seed: Seed) -> Vec<Release> {
        let releases = &self.topology.releases;
        let machines = match self.topology.controllers {
            _ if releases.is_empty() => 0,
            Controllers::Combined => brokers,
            Controllers::Separate(controllers) => brokers + controllers,
        };
        let mut entropy = seed.stream("releases");
        (0..machines).map(|_| releases[entropy.below(releases.len() as u64) as usize]).collect()
    }

    fn resolve_topic(&self, topic: &Topic, broker: &BTreeMap<String, String>, seed: Seed) -> TopicPlan {
        let config = draw_settings(&topic.config, seed, &format!("topic/{}", topic.name));
        TopicPlan {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            ack_means: match self.topology.ack_means {
                AckMeans::Fsynced => Durability::Fsynced,
                AckMeans::PageCache => Durability::PageCache,
                AckMeans::AsConfigured => configured_durability(&config, broker),
            },
            config,
        }
    }
}

/// `flush.messages=1` of the topic, or of the broker, means fsynced; it is our default.
fn configured_durability(topic: &BTreeMap<String, String>, broker: &BTreeMap<String, String>) -> Durability {
    match topic.get("flush.messages").or_else(|| broker.get("log.flush.interval.messages")) {
        Some(messages) if messages != "1" => Durability::PageCache,
        _ => Durability::Fsynced,
    }
}

/// A setting that is drawn has a stream of its own; one that is not draws nothing.
fn draw_settings(settings: &BTreeMap<String, Setting>, seed: Seed, label: &str) -> BTreeMap<String, String> {
    let draw = |name: &str, setting: &Setting| match setting {
        Setting::Fixed(value) => value.0.clone(),
        Setting::Any(AnyOf { any }) => {
            let drawn = seed.stream(&format!("{label}/{name}")).below(any.len() as u64);
            any[drawn as usize].0.clone()
        }
    };
    settings.iter().map(|(name, setting)| (name.clone(), draw(name, setting))).collect()
}

fn count(number: i64) -> u32 {
    u32::try_from(number).expect("validated: a small count")
}

fn plain(properties: &BTreeMap<String, PropertyValue>) -> BTreeMap<String, String> {
    properties.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

fn resolve_workload(workload: &Workload) -> WorkloadPlan {
    let kind = match &workload.kind {
        WorkloadKind::AppendUnique(append) => WorkloadAction::AppendUnique {
            rate: append.rate,
            records_per_batch: append.records_per_batch,
            record_size: append.record_size,
            producer: resolve_producer(&append.properties),
        },
        WorkloadKind::Poll(poll) => WorkloadAction::Poll {
            start: poll.start,
            reseek: poll.reseek,
            list_offsets: poll.list_offsets,
            consumer: resolve_consumer(&poll.properties),
        },
        WorkloadKind::Admin(admin) => WorkloadAction::Admin {
            operations: admin.operations.clone(),
            every: admin.every,
            throttle: admin.throttle,
            config: plain(&admin.config),
        },
    };
    WorkloadPlan { id: workload.id.clone(), topics: workload.topics.clone(), clients: workload.clients, kind }
}

/// Fills in Kafka's defaults (`ProducerConfig`). Idempotence is on unless it was switched off, or a property
/// that was given speaks against it.
fn resolve_producer(properties: &ProducerProperties) -> ProducerPlan {
    let acks = properties.acks.unwrap_or_default();
    let retries = properties.retries.unwrap_or(i32::MAX as u32);
    let max_in_flight = properties.max_in_flight.unwrap_or(5);
    let possible = acks == AcksSetting::All && retries > 0 && max_in_flight <= 5;
    ProducerPlan {
        acks,
        idempotent: properties.enable_idempotence.unwrap_or(possible),
        delivery_timeout: millis(properties.delivery_timeout_ms, 120_000),
        request_timeout: millis(properties.request_timeout_ms, 30_000),
        linger: millis(properties.linger_ms, 5),
        batch_size: properties.batch_size.unwrap_or(16_384),
        compression: properties.compression_type.unwrap_or_default(),
        retries,
        retry_backoff: millis(properties.retry_backoff_ms, 100),
        max_in_flight,
    }
}

/// Fills in Kafka's defaults (`ConsumerConfig`).
fn resolve_consumer(properties: &ConsumerProperties) -> ConsumerPlan {
    ConsumerPlan {
        fetch_min_bytes: properties.fetch_min_bytes.unwrap_or(1),
        fetch_max_wait: millis(properties.fetch_max_wait_ms, 500),
        fetch_max_bytes: properties.fetch_max_bytes.unwrap_or(52_428_800),
        max_partition_fetch_bytes: properties.max_partition_fetch_bytes.unwrap_or(1_048_576),
        request_timeout: millis(properties.request_timeout_ms, 30_000),
    }
}

fn millis(given: Option<u32>, default: u32) -> Dur {
    Dur::from_millis(u64::from(given.unwrap_or(default)))
}

/// Makes the schedule.
struct Scheduler<'a> {
    scenario: &'a Scenario,
    topology: &'a TopologyPlan,
    seed: Seed,
}

impl Scheduler<'_> {
    /// All occurrences of all faults in order of time; at one time, those that accompany come after theirs.
    fn schedule(&self) -> Vec<ScheduledFault> {
        let mut occurrences: BTreeMap<&str, Vec<ScheduledFault>> = BTreeMap::new();
        let mut waiting: Vec<&Fault> = self.scenario.fault.iter().collect();
        let mut schedule = Vec::new();
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|fault| {
                let made = match &fault.with {
                    None => self.alone(fault),
                    Some(host) => match occurrences.get(host.as_str()) {
                        Some(hosts) => self.accompany(fault, hosts),
                        None => return true,
                    },
                };
                schedule.extend(made.iter().cloned());
                occurrences.insert(&fault.id, made);
                false
            });
            assert!(waiting.len() < before, "validated: `with` has no circle, in {}", self.scenario.name);
        }
        schedule.sort_by_key(|entry| entry.at);
        schedule
    }

    /// Where the faults' phase ends.
    fn end(&self) -> Dur {
        self.scenario.run.warmup + self.scenario.run.duration
    }

    fn stream(&self, fault: &Fault) -> Entropy {
        self.seed.stream(&format!("fault/{}", fault.id))
    }

    /// The occurrences of a fault that has times of its own.
    fn alone(&self, fault: &Fault) -> Vec<ScheduledFault> {
        let mut entropy = self.stream(fault);
        let mut made = Vec::new();
        if !takes_part(fault, &mut entropy) {
            return made;
        }
        let mut at = self.scenario.run.warmup + fault.at.map_or(Dur::ZERO, |at| at.draw(&mut entropy));
        if fault.at.is_none()
            && let Some(every) = &fault.every
        {
            at = at + gap(every, &mut entropy);
        }
        while at < self.end() {
            let happens = happens(fault, &mut entropy);
            let entry = self.entry(fault, made.len(), at, None, &mut entropy);
            let ends = entry.ends();
            if happens {
                made.push(entry);
            }
            let Some(every) = &fault.every else { break };
            at = ends + gap(every, &mut entropy);
        }
        made
    }

    /// The occurrences of a fault that goes along with others.
    fn accompany(&self, fault: &Fault, hosts: &[ScheduledFault]) -> Vec<ScheduledFault> {
        let mut entropy = self.stream(fault);
        let mut made = Vec::new();
        if !takes_part(fault, &mut entropy) {
            return made;
        }
        for host in hosts {
            let happens = happens(fault, &mut entropy);
            let at = match (fault.after_start, fault.after_end) {
                (_, Some(after)) => host.ends() + after.draw(&mut entropy),
                (Some(after), None) => host.at + after.draw(&mut entropy),
                (None, None) => host.at,
            };
            let entry = self.entry(fault, made.len(), at, Some(host), &mut entropy);
            if happens && at < self.end() {
                made.push(entry);
            }
        }
        made
    }

    /// One occurrence, its end cut off where the phase ends.
    fn entry(
        &self,
        fault: &Fault,
        number: usize,
        at: Dur,
        host: Option<&ScheduledFault>,
        entropy: &mut Entropy,
    ) -> ScheduledFault {
        let lasts = fault.lasts.map_or(Dur::ZERO, |lasts| lasts.draw(entropy));
        let on = match (&fault.on, host) {
            _ if fault.kind.sides().is_some() => None,
            (Some(on), _) => Some(self.pick(on, entropy)),
            // whoever played the role then
            (None, Some(ScheduledFault { on: Some(role), .. })) if role.is_role() => None,
            (None, Some(ScheduledFault { on: Some(on), .. })) => Some(on.clone()),
            (None, Some(host)) if host.follows().is_some() => None,
            (None, _) => Some(self.pick(&Selector::AnyBroker, entropy)),
        };
        let mut needs = vec![fault.kind.capability()];
        needs.extend(fault.needs.iter().copied().filter(|need| *need != fault.kind.capability()));
        ScheduledFault {
            id: format!("{}#{}", fault.id, number + 1),
            at,
            lasts: lasts.min(self.end() - at),
            on,
            with: host.map(|host| host.id.clone()),
            needs,
            action: self.action(&fault.kind, entropy),
        }
    }

    /// Draws what can be drawn before the run; roles stay.
    fn pick(&self, selector: &Selector, entropy: &mut Entropy) -> Selector {
        let draw_partition = |partition: &PartitionRef, entropy: &mut Entropy| {
            let topic = self.topology.topic.iter().find(|topic| topic.name == partition.topic);
            let partitions = topic.expect("validated: the topic exists").partitions;
            let drawn = entropy.below(u64::from(partitions)) as i32;
            PartitionRef {
                topic: partition.topic.clone(),
                partition: Some(partition.partition.unwrap_or(drawn)),
            }
        };
        match selector {
            Selector::AnyBroker => {
                Selector::Broker(entropy.between(1, u64::from(self.topology.brokers)) as i32)
            }
            Selector::AnyClient => {
                Selector::Client(entropy.between(1, u64::from(self.topology.clients)) as u32)
            }
            Selector::Leader(partition) => Selector::Leader(draw_partition(partition, entropy)),
            Selector::Follower(partition) => Selector::Follower(draw_partition(partition, entropy)),
            Selector::IsrButOne(partition) => Selector::IsrButOne(draw_partition(partition, entropy)),
            Selector::Isr(partition) => Selector::Isr(draw_partition(partition, entropy)),
            fixed => fixed.clone(),
        }
    }

    /// Two sides; two brokers that are both drawn are not the same one, where there are two.
    fn pick_two(&self, a: &Selector, b: &Selector, entropy: &mut Entropy) -> [Selector; 2] {
        let (first, mut second) = (self.pick(a, entropy), self.pick(b, entropy));
        let brokers = self.topology.brokers as i32;
        if let (Selector::Broker(one), Selector::Broker(other), Selector::AnyBroker) = (&first, &second, b)
            && one == other
            && brokers > 1
        {
            second = Selector::Broker(one % brokers + 1);
        }
        [first, second]
    }

    fn action(&self, kind: &FaultKind, entropy: &mut Entropy) -> Action {
        let sides = kind.sides().map(|[a, b]| self.pick_two(&a, &b, entropy));
        let between = || sides.clone().expect("a kind with two sides");
        match kind {
            FaultKind::ProcessKill {} => Action::ProcessKill {},
            FaultKind::ProcessPowerLoss {} => Action::ProcessPowerLoss {},
            FaultKind::ProcessStop {} => Action::ProcessStop {},
            FaultKind::ProcessRestart {} => Action::ProcessRestart {},
            FaultKind::ProcessUpgrade { to } => Action::ProcessUpgrade { to: *to },
            FaultKind::ProcessPause {} => Action::ProcessPause {},
            FaultKind::ProcessWipe {} => Action::ProcessWipe {},
            FaultKind::DiskHang {} => Action::DiskHang {},
            FaultKind::DiskSlow { factor } => Action::DiskSlow { factor: count(factor.draw(entropy)) },
            FaultKind::DiskFail { op, files, count: times, restart } => Action::DiskFail {
                op: *op,
                files: files.clone(),
                count: times.map(|times| count(times.draw(entropy))),
                restart: *restart,
            },
            FaultKind::DiskFull { free, restart } => {
                Action::DiskFull { free: free.draw(entropy), restart: *restart }
            }
            FaultKind::DiskShortWrite { files, count: times, restart } => Action::DiskShortWrite {
                files: files.clone(),
                count: times.map(|times| count(times.draw(entropy))),
                restart: *restart,
            },
            FaultKind::DiskBitRot { files, bits } => {
                Action::DiskBitRot { files: files.clone(), bits: count(bits.draw(entropy)) }
            }
            FaultKind::NetPartition { shape, direction, .. } => Action::NetPartition {
                between: sides,
                shape: *shape,
                direction: draw_cut(*direction, entropy),
            },
            FaultKind::NetHalfOpen { forgets, .. } => {
                let [first, second] = between();
                let first_forgets = entropy.chance(0.5);
                match (forgets, first_forgets) {
                    (Forgets::First, _) | (Forgets::Any, true) => {
                        Action::NetHalfOpen { between: [first, second] }
                    }
                    (Forgets::Second, _) | (Forgets::Any, false) => {
                        Action::NetHalfOpen { between: [second, first] }
                    }
                }
            }
            FaultKind::NetReset { .. } => Action::NetReset { between: between() },
            FaultKind::NetEnd { .. } => Action::NetEnd { between: between() },
            FaultKind::NetSlow { latency, .. } => Action::NetSlow { between: between(), latency: *latency },
            FaultKind::NetLossy { loss, .. } => Action::NetLossy { between: between(), loss: *loss },
            FaultKind::NetBlackhole { .. } => Action::NetBlackhole { between: between() },
            FaultKind::NetRefuse {} => Action::NetRefuse {},
            FaultKind::NetHangConnects {} => Action::NetHangConnects {},
            FaultKind::ClockJump { by } => Action::ClockJump { by: by.draw(entropy) },
            FaultKind::ClockDrift { ppm } => Action::ClockDrift {
                ppm: i32::try_from(ppm.draw(entropy)).expect("validated: a small number"),
            },
        }
    }
}

fn draw_cut(direction: Direction, entropy: &mut Entropy) -> Cut {
    let drawn = entropy.below(3);
    match direction {
        Direction::Both => Cut::Both,
        Direction::Out => Cut::Out,
        Direction::In => Cut::In,
        Direction::Any => [Cut::Both, Cut::Out, Cut::In][drawn as usize],
    }
}

fn takes_part(fault: &Fault, entropy: &mut Entropy) -> bool {
    let drawn = entropy.unit();
    fault.in_runs.is_none_or(|share| drawn < share.get())
}

fn happens(fault: &Fault, entropy: &mut Entropy) -> bool {
    let drawn = entropy.unit();
    fault.probability.is_none_or(|probability| drawn < probability.get())
}

/// A gap; at least a millisecond, so that a schedule ends.
fn gap(every: &Every, entropy: &mut Entropy) -> Dur {
    let mean = every.mean.nanos() as f64;
    let nanos = match every.dist {
        Dist::Exponential => entropy.exponential(mean),
        Dist::Uniform => entropy.unit() * 2.0 * mean,
        Dist::Fixed => mean,
    };
    Dur::from_nanos(nanos as u64).max(Dur::from_millis(1))
}
