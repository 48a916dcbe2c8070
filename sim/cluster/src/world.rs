//! The machines of a plan, and what the injector must ask of them.

use crate::history::History;
use burnin_drivers::{Recorder, Topology};
use burnin_engine::{DiskModel, Latency, NodeSpec, SimHandle, SimRuntime};
use burnin_faults::{Broker as Member, Cast, Cluster, Stopped};
use burnin_history::{Event, FaultEvent, Flush, NodeId};
use burnin_runtime::{Mutant, Mutants, Observation, Probe, ProbeSink, Runtime, timeout};
use burnin_scenario::{Action, DurRange, Durability, Plan};
use burnin_server::{Broker, BrokerConfig};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where brokers listen.
pub(crate) const PORT: u16 = 9092;
/// How long a broker may take to stop in order before it is killed, as service managers do.
const STOP_GRACE: Duration = Duration::from_secs(30);

type Processes = Arc<Mutex<BTreeMap<i32, Process>>>;

/// What is known of a broker's process.
#[derive(Default)]
struct Process {
    running: Option<Broker<SimRuntime>>,
    /// Why it ended by itself the last time.
    ended: Option<String>,
}

/// A cheap handle of everything that a run consists of.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    sim: SimHandle,
    cast: Cast,
    topology: Topology,
    recorder: Recorder<SimRuntime>,
    history: Arc<Mutex<History>>,
    processes: Processes,
    mutants: Mutants,
    answers: Arc<AtomicU64>,
    /// Why the plan cannot be run as it is.
    unusable: Option<String>,
}

struct Told {
    node: NodeId,
    recorder: Recorder<SimRuntime>,
}

impl ProbeSink for Told {
    fn observe(&self, observation: Observation) {
        self.recorder.record(&Event::Observed { node: self.node, observation: &observation });
    }
}

pub(crate) fn latency(range: DurRange) -> Latency {
    Latency::Uniform { low: range.low().std(), high: range.high().std() }
}

impl World {
    /// Adds the plan's machines to a new world. Nothing runs yet.
    pub fn new(sim: SimHandle, plan: &Plan, armed: bool, history: Arc<Mutex<History>>) -> World {
        let recorder = Recorder::new(sim.control(), history.clone());
        let planted = plan.expect.as_ref().and_then(|expect| expect.mutant.as_deref()).filter(|_| armed);
        let mut unusable = None;
        let mutants = match planted.map(str::parse::<Mutant>) {
            None => Mutants::NONE,
            Some(Ok(mutant)) => Mutants::arm(mutant),
            Some(Err(error)) => {
                unusable = Some(error);
                Mutants::NONE
            }
        };
        let processes: Processes = Arc::default();
        let mut cast = Cast::default();
        for id in 1..=plan.topology.brokers as i32 {
            let config = broker_config(plan, id);
            if let Err(error) = &config {
                unusable = Some(error.clone());
            }
            let spec = NodeSpec {
                disk: disk_model(plan),
                probe: Probe::to(Arc::new(Told { node: NodeId(id), recorder: recorder.clone() })),
                mutants: mutants.clone(),
                ..NodeSpec::new(format!("broker-{id}"), Ipv4Addr::new(10, 0, 0, id as u8))
            };
            let processes = processes.clone();
            let node =
                sim.add_node(spec.start(move |runtime| live(runtime, id, config.clone(), processes.clone())));
            cast.brokers.push(Member { id: NodeId(id), node });
        }
        for number in 1..=plan.topology.clients {
            let ip = Ipv4Addr::new(10, 0, 1, number as u8);
            cast.clients.push(sim.add_node(NodeSpec::new(format!("client-{number}"), ip)));
        }
        let topology = topology(plan);
        let answers = Arc::default();
        World(Arc::new(Inner {
            sim,
            cast,
            topology,
            recorder,
            history,
            processes,
            mutants,
            answers,
            unusable,
        }))
    }

    pub fn sim(&self) -> &SimHandle {
        &self.0.sim
    }

    pub fn cast(&self) -> &Cast {
        &self.0.cast
    }

    pub fn topology(&self) -> &Topology {
        &self.0.topology
    }

    pub fn history(&self) -> &Arc<Mutex<History>> {
        &self.0.history
    }

    /// Why the plan cannot be run as it is.
    pub fn unusable(&self) -> Option<&str> {
        self.0.unusable.as_deref()
    }

    /// How often the armed mutant's line was reached.
    pub fn mutant_reached(&self) -> u64 {
        self.0.mutants.reached()
    }

    /// Tells the history of which partitions retention may remove the beginning: by time it always may (seven
    /// days, unless set otherwise), but a run is shorter than that unless its wall clock jumps.
    pub fn announce_retention(&self, plan: &Plan) {
        let jumps = plan
            .schedule
            .iter()
            .any(|fault| matches!(fault.action, Action::ClockJump { .. } | Action::ClockDrift { .. }));
        let limited = |properties: &BTreeMap<String, String>| {
            properties.keys().any(|name| name.contains("retention.ms") || name.contains("retention.bytes"))
        };
        for topic in &plan.topology.topic {
            let broker = plan.topology.properties.keys().any(|name| name.starts_with("log.retention."));
            if jumps || broker || limited(&topic.config) {
                for part in self.0.topology.parts_of(&[&topic.name]) {
                    self.0.recorder.record(&Event::RetentionEnabled { tp: part.tp });
                }
            }
        }
    }

    /// Kafka requests that were answered to clients.
    pub fn requests(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// What counts them.
    pub fn answers(&self) -> Arc<AtomicU64> {
        self.0.answers.clone()
    }

    /// A recorder for what runs on a client node.
    pub fn recorder(&self) -> Recorder<SimRuntime> {
        self.0.recorder.clone()
    }

    /// `bootstrap.servers` for clients.
    pub fn bootstrap(&self) -> Vec<String> {
        self.0.cast.brokers.iter().map(|broker| format!("{}:{PORT}", self.0.sim.ip(broker.node))).collect()
    }

    /// The names of the nodes by number, the control node first.
    pub fn names(&self) -> Vec<String> {
        let nodes = self.0.sim.nodes();
        std::iter::once("control".to_owned())
            .chain(nodes.iter().map(|node| self.0.sim.name(*node).to_string()))
            .collect()
    }

    /// Why brokers that are down ended by themselves.
    pub fn obituaries(&self) -> Vec<String> {
        let processes = self.0.processes.lock();
        let down = processes.iter().filter(|(_, process)| process.running.is_none());
        down.filter_map(|(id, process)| process.ended.as_ref().map(|why| format!("broker {id}: {why}")))
            .collect()
    }
}

/// A broker's process from its start to its end.
async fn live(runtime: SimRuntime, id: i32, config: Result<BrokerConfig, String>, processes: Processes) {
    let ended = |why: Option<String>| {
        let mut processes = processes.lock();
        let process = processes.entry(id).or_default();
        process.ended = why;
        process.running.take()
    };
    // The handle of an earlier life is of a process that is dead.
    drop(ended(None));
    let config = match config {
        Ok(config) => config,
        Err(error) => return drop(ended(Some(error))),
    };
    match Broker::start(runtime, config).await {
        Ok(broker) => {
            processes.lock().entry(id).or_default().running = Some(broker.clone());
            let why = broker.wait().await.err().map(|error| error.to_string());
            drop(ended(why));
        }
        Err(error) => drop(ended(Some(error.to_string()))),
    }
}

fn broker_config(plan: &Plan, id: i32) -> Result<BrokerConfig, String> {
    let mut properties = plan.topology.properties.clone();
    let host = Ipv4Addr::new(10, 0, 0, id as u8);
    properties.insert("node.id".to_owned(), id.to_string());
    properties.insert("listeners".to_owned(), format!("PLAINTEXT://{host}:{PORT}"));
    properties.insert("log.dirs".to_owned(), "/data".to_owned());
    properties.entry("auto.create.topics.enable".to_owned()).or_insert_with(|| "false".to_owned());
    if let Some(rack) = plan.topology.racks.get(id as usize - 1) {
        properties.insert("broker.rack".to_owned(), rack.clone());
    }
    BrokerConfig::from_properties(&properties).map_err(|error| error.to_string())
}

fn disk_model(plan: &Plan) -> DiskModel {
    DiskModel {
        write: latency(plan.disk.write),
        read: latency(plan.disk.read),
        sync: latency(plan.disk.fsync),
        capacity: Some(plan.disk.capacity.0),
        ..DiskModel::default()
    }
}

fn topology(plan: &Plan) -> Topology {
    let mut topology = Topology::new();
    for topic in &plan.topology.topic {
        let flush = match topic.ack_means {
            Durability::Fsynced => Flush::BeforeAck,
            Durability::PageCache => Flush::PageCache,
        };
        let min_isr =
            topic.config.get("min.insync.replicas").or(plan.topology.properties.get("min.insync.replicas"));
        let min_isr = min_isr.and_then(|text| text.parse().ok()).unwrap_or(1);
        topology.add_topic(&topic.name, topic.partitions as i32, flush, min_isr);
    }
    topology
}

impl Cluster for World {
    fn start(&self, broker: Member) -> Result<(), String> {
        self.0.sim.start(broker.node).map_err(|error| error.to_string())
    }

    async fn stop(&self, broker: Member) -> Result<Stopped, String> {
        let control = self.0.sim.control();
        let running = self.0.processes.lock().get(&broker.id.0).and_then(|process| process.running.clone());
        let stopped = match running {
            Some(running) => timeout(&control, STOP_GRACE, running.shutdown()).await,
            // It has not come up yet: what a service manager's SIGTERM does to such a process.
            None => None,
        };
        let left = async {
            while self.is_up(broker) {
                control.sleep(Duration::from_millis(1)).await;
            }
        };
        if matches!(stopped, Some(Ok(()))) && timeout(&control, STOP_GRACE, left).await.is_some() {
            return Ok(Stopped::InOrder);
        }
        if self.is_up(broker) {
            self.0.sim.kill(broker.node).map_err(|error| error.to_string())?;
        }
        Ok(Stopped::Killed)
    }

    fn is_up(&self, broker: Member) -> bool {
        self.0.sim.is_up(broker.node)
    }

    fn controller(&self) -> Option<NodeId> {
        self.0.cast.brokers.first().filter(|broker| self.is_up(**broker)).map(|broker| broker.id)
    }

    fn leader(&self, topic: &str, partition: i32) -> Option<NodeId> {
        let exists = (0..self.partitions(topic)).contains(&partition);
        self.controller().filter(|_| exists)
    }

    fn isr(&self, topic: &str, partition: i32) -> Vec<NodeId> {
        self.leader(topic, partition).into_iter().collect()
    }

    fn partitions(&self, topic: &str) -> i32 {
        self.0.topology.parts().iter().filter(|part| *part.topic == *topic).count() as i32
    }

    fn record(&self, event: FaultEvent) {
        self.0.recorder.record(&Event::Fault(event));
    }
}
