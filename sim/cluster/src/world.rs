//! The machines of a plan, and what the injector must ask of them.

use crate::nodes::{self, PORT};
use crate::observed::{Observed, Watch};
use burnin_drivers::Recorder;
use burnin_engine::{Latency, NodeSpec, SimHandle, SimRuntime};
use burnin_faults::{Broker as Member, Cast, Cluster, Stopped};
use burnin_history::{Event, FaultEvent, NodeId};
use burnin_run::{History, Stage};
use burnin_runtime::{Mutant, Mutants, Observation, Probe, ProbeSink, Runtime, timeout};
use burnin_scenario::{DurRange, Plan, Release};
use burnin_server::{Broker, BrokerConfig, InitialVoters};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// How long a broker may take to stop in order before it is killed, as service managers do.
const STOP_GRACE: Duration = Duration::from_secs(30);

type Processes = Arc<Mutex<BTreeMap<i32, Process>>>;
/// As which release each node starts.
type Releases = Arc<Mutex<BTreeMap<i32, Release>>>;

/// What is known of a broker's process.
#[derive(Default)]
struct Process {
    /// Whether its first directory was.
    formatted: bool,
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
    stage: Stage<SimRuntime>,
    history: Arc<Mutex<History>>,
    processes: Processes,
    releases: Releases,
    observed: Arc<Mutex<Observed>>,
    mutants: Mutants,
    /// Whether the voters stand in the log, where one that was replaced is not taken for who it was.
    replaces_voters: bool,
    /// Why the plan cannot be run as it is.
    unusable: Option<String>,
}

struct Told {
    node: NodeId,
    recorder: Recorder<SimRuntime>,
    observed: Arc<Mutex<Observed>>,
}

impl ProbeSink for Told {
    fn observe(&self, observation: Observation) {
        self.observed.lock().note(self.node, &observation);
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
        let releases: Releases = Arc::new(Mutex::new(nodes::releases(plan)));
        let mut cast = Cast::default();
        let observed: Arc<Mutex<Observed>> = Arc::default();
        for machine in burnin_run::machines(plan) {
            let id = machine.id;
            let laid = nodes::config(plan, &machine)
                .and_then(|config| Ok(Laid { config, voters: nodes::initial_voters(plan)? }));
            if let Err(error) = &laid {
                unusable = Some(error.clone());
            }
            let told = Told { node: id, recorder: recorder.clone(), observed: observed.clone() };
            let spec = NodeSpec {
                disk: nodes::disk_model(plan),
                probe: Probe::to(Arc::new(told)),
                mutants: mutants.clone(),
                ..NodeSpec::new(machine.name.clone(), nodes::ip(&machine))
            };
            let (processes, releases) = (processes.clone(), releases.clone());
            let node = sim.add_node(spec.start(move |runtime| {
                let release = nodes::of_broker(releases.lock()[&id.0]);
                let laid = laid.clone().and_then(|laid| {
                    let config = BrokerConfig { release: release?, ..laid.config };
                    Ok(Laid { config, ..laid })
                });
                live(runtime, id.0, laid, processes.clone())
            }));
            let member = Member { id, node, voter: machine.voter };
            if machine.broker { cast.brokers.push(member) } else { cast.controllers.push(member) }
        }
        for number in 1..=plan.topology.clients {
            let ip = Ipv4Addr::new(10, 0, 1, number as u8);
            cast.clients.push(sim.add_node(NodeSpec::new(format!("client-{number}"), ip)));
        }
        let clients = cast.clients.iter().map(|node| sim.runtime(*node)).collect();
        let bootstrap = cast.brokers.iter().map(|broker| format!("{}:{PORT}", sim.ip(broker.node))).collect();
        let mut stage = Stage::new(plan, recorder, clients, bootstrap);
        if cast.machines().count() > 1 {
            let (sim, brokers) = (sim.clone(), cast.brokers.clone());
            let is_up = move |id| brokers.iter().any(|broker| broker.id == id && sim.is_up(broker.node));
            stage.watch = Some(Arc::new(Watch::new(observed.clone(), &stage.topology, Box::new(is_up))));
        }
        let replaces_voters = plan.topology.kraft_version > 0;
        World(Arc::new(Inner {
            sim,
            cast,
            stage,
            history,
            processes,
            releases,
            observed,
            mutants,
            replaces_voters,
            unusable,
        }))
    }

    pub fn sim(&self) -> &SimHandle {
        &self.0.sim
    }

    pub fn cast(&self) -> &Cast {
        &self.0.cast
    }

    /// Where the workloads run.
    pub fn stage(&self) -> &Stage<SimRuntime> {
        &self.0.stage
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

    /// The names of the nodes by number, the control node first.
    pub fn names(&self) -> Vec<String> {
        let nodes = self.0.sim.nodes();
        std::iter::once("control".to_owned())
            .chain(nodes.iter().map(|node| self.0.sim.name(*node).to_string()))
            .collect()
    }

    /// The only machine, when there is one.
    fn alone(&self) -> Option<Member> {
        match self.0.cast.machines().collect::<Vec<_>>()[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn is_member_up(&self, id: NodeId) -> bool {
        self.0.cast.broker(id).is_some_and(|member| self.is_up(member))
    }
}

/// How a broker is laid out.
#[derive(Clone)]
struct Laid {
    config: BrokerConfig,
    /// To format its directory for, once: a machine that was replaced comes empty.
    voters: InitialVoters,
}

/// A broker's process from its start to its end.
async fn live(runtime: SimRuntime, id: i32, laid: Result<Laid, String>, processes: Processes) {
    let ended = |why: Option<String>| {
        let mut processes = processes.lock();
        let process = processes.entry(id).or_default();
        process.ended = why;
        process.running.take()
    };
    // The handle of an earlier life is of a process that is dead.
    drop(ended(None));
    let Laid { config, voters } = match laid {
        Ok(laid) => laid,
        Err(error) => return drop(ended(Some(error))),
    };
    if voters != InitialVoters::Configured && !processes.lock().entry(id).or_default().formatted {
        if let Err(error) = burnin_server::format(&runtime, &config, &voters).await {
            return drop(ended(Some(error.to_string())));
        }
        processes.lock().entry(id).or_default().formatted = true;
    }
    match Broker::start(runtime, config).await {
        Ok(broker) => {
            processes.lock().entry(id).or_default().running = Some(broker.clone());
            let why = broker.wait().await.err().map(|error| error.to_string());
            drop(ended(why));
        }
        Err(error) => drop(ended(Some(error.to_string()))),
    }
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

    fn set_release(&self, broker: Member, release: Release) -> Result<Release, String> {
        let mut releases = self.0.releases.lock();
        releases.insert(broker.id.0, release).ok_or_else(|| format!("there is no node {}", broker.id))
    }

    fn may_be_wiped(&self, broker: Member) -> Result<bool, String> {
        match (broker.voter, self.0.replaces_voters) {
            (false, _) => Ok(true),
            (true, true) => Ok(!self.0.observed.lock().is_a_voter_lost()),
            (true, false) => {
                let id = broker.id;
                Err(format!(
                    "node {id} votes in the metadata quorum and must not forget it (kraft_version is 0)"
                ))
            }
        }
    }

    fn controller(&self) -> Option<NodeId> {
        match self.alone() {
            Some(broker) => self.is_up(broker).then_some(broker.id),
            None => self.0.observed.lock().controller().filter(|id| self.is_member_up(*id)),
        }
    }

    fn leader(&self, topic: &str, partition: i32) -> Option<NodeId> {
        if self.alone().is_some() {
            let exists = (0..self.partitions(topic)).contains(&partition);
            return self.controller().filter(|_| exists);
        }
        let observed = self.0.observed.lock();
        let leader = observed.partition(topic, partition)?.leader;
        leader.filter(|id| self.is_member_up(*id))
    }

    fn isr(&self, topic: &str, partition: i32) -> Vec<NodeId> {
        if self.alone().is_some() {
            return self.leader(topic, partition).into_iter().collect();
        }
        let observed = self.0.observed.lock();
        observed.partition(topic, partition).map(|state| state.isr.clone()).unwrap_or_default()
    }

    fn partitions(&self, topic: &str) -> i32 {
        self.0.stage.topology.parts().iter().filter(|part| *part.topic == *topic).count() as i32
    }

    fn obituaries(&self) -> Vec<String> {
        let processes = self.0.processes.lock();
        let down = processes.iter().filter(|(_, process)| process.running.is_none());
        down.filter_map(|(id, process)| process.ended.as_ref().map(|why| format!("node {id}: {why}")))
            .collect()
    }

    fn record(&self, event: FaultEvent) {
        if let FaultEvent::Wiped { node } = &event
            && self.0.cast.broker(*node).is_some_and(|member| member.voter)
        {
            self.0.observed.lock().lost_a_voter(*node);
        }
        self.0.stage.recorder.record(&Event::Fault(event));
    }
}
