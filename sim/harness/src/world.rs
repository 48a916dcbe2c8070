//! Tests of one's own code: an async function runs inside a simulated world, on a machine of its own, and
//! builds around itself what it needs.

use crate::broker::BrokerNode;
use crate::child::Window;
use crate::cluster::BrokerCluster;
use crate::drive::{Attempt, drive};
use crate::failure::Result;
use crate::place::TestPlace;
use crate::seeds::{Outside, choose};
use burnin_engine::{NodeSpec, Sim, SimConfig, SimError, SimHandle, SimNode, SimRuntime, TraceEvent};
use burnin_report::{Build, Class, Crash, FaultLine, RunReport, SCHEMA, Target};
use burnin_runtime::{Entropy, Instant, Runtime};
use burnin_scenario::Dur;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// A simulated world, seen from the test. A cheap handle.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    sim: SimHandle,
    seed: u64,
    added: Mutex<Added>,
}

/// How many machines of each kind there are.
#[derive(Clone, Copy, Default)]
struct Added {
    brokers: u8,
    machines: u8,
}

impl World {
    fn new(sim: SimHandle, seed: u64) -> World {
        World(Arc::new(Inner { sim, seed, added: Mutex::default() }))
    }

    /// Starts a broker with these properties (by Kafka's names), on a machine and a disk of its own, and waits
    /// until it serves. It is a cluster by itself.
    pub async fn broker(&self, properties: &[(&str, &str)]) -> Result<BrokerNode> {
        let mut added = self.add_brokers(1, properties)?;
        let broker = added.remove(0);
        broker.start().await?;
        Ok(broker)
    }

    /// Starts a cluster of so many brokers with these properties, each on a machine and a disk of its own, and
    /// waits until all of them are in it. The first ones (an odd number, at most five) vote on its metadata too.
    pub async fn cluster(&self, brokers: u8, properties: &[(&str, &str)]) -> Result<BrokerCluster> {
        let watch = self.client(&format!("watch-{}", self.0.added.lock().brokers));
        let replicas = brokers.min(3).to_string();
        let properties = [&[("default.replication.factor", replicas.as_str())], properties].concat();
        BrokerCluster::start(self.add_brokers(brokers, &properties)?, watch).await
    }

    fn add_brokers(&self, count: u8, properties: &[(&str, &str)]) -> Result<Vec<BrokerNode>> {
        let first = {
            let mut added = self.0.added.lock();
            let first = added.brokers + 1;
            added.brokers += count;
            first
        };
        let all = burnin_run::brokers(first.into(), count.into());
        all.iter().map(|machine| BrokerNode::add(&self.0.sim, machine, &all, properties)).collect()
    }

    /// Adds a machine for clients: what is spawned on its runtime runs there.
    pub fn client(&self, name: &str) -> SimRuntime {
        let node = self.0.sim.add_node(NodeSpec::new(name, self.next_ip()));
        self.0.sim.runtime(node)
    }

    /// Adds a machine and starts a process on it. `process` runs again, on the same disk, each time that the
    /// machine is started again; its end is the end of the process.
    pub fn node<F>(&self, name: &str, process: impl Fn(SimRuntime) -> F + Send + Sync + 'static) -> SimNode
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let node = self.0.sim.add_node(NodeSpec::new(name, self.next_ip()).start(process));
        self.0.sim.start(node).expect("a machine that was just added is not up");
        node
    }

    fn next_ip(&self) -> Ipv4Addr {
        let mut added = self.0.added.lock();
        added.machines += 1;
        Ipv4Addr::new(10, 0, 1, added.machines)
    }

    /// The control plane: kill, power loss, pause, partitions, disk faults, clocks.
    pub fn sim(&self) -> &SimHandle {
        &self.0.sim
    }

    /// The runtime of the machine on which the test itself runs.
    pub fn runtime(&self) -> SimRuntime {
        self.0.sim.control()
    }

    /// The simulated time.
    pub fn now(&self) -> Instant {
        self.0.sim.now()
    }

    /// Lets simulated time pass.
    pub async fn sleep(&self, duration: Duration) {
        self.runtime().sleep(duration).await;
    }

    /// A random stream that depends on the seed and on the label alone.
    pub fn entropy(&self, label: &str) -> Entropy {
        self.0.sim.entropy(label)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }
}

/// Runs `body` in a fresh world once per seed; what `#[burnin::test]` on an async function calls. `limit` is the
/// simulated time after which a world is stopped and the test fails.
#[track_caller]
pub fn run_world_test<F, Fut>(place: TestPlace, seeds: u64, check_determinism: bool, limit: &str, body: F)
where
    F: Fn(World) -> Fut + Sync,
    Fut: Future<Output = Result> + 'static,
{
    let outside = Outside { folder: place.manifest_dir };
    let chosen = match choose(seeds, |name| std::env::var(name).ok(), &outside) {
        Ok(chosen) => chosen,
        Err(why) => panic!("{why}"),
    };
    let limit: Dur = match limit.parse() {
        Ok(limit) => limit,
        Err(why) => panic!("`limit` of {}: {why}", place.path()),
    };
    let attempt = |seed: u64, window: Option<Window>| run_once(&place, seed, limit, window, &body);
    drive(&place, &chosen, check_determinism, &attempt, &mut |_| false);
}

/// What the trace told while the world ran.
#[derive(Default)]
struct Seen {
    window: Vec<String>,
    faults: Vec<(Instant, &'static str, SimNode)>,
}

fn run_once<F, Fut>(place: &TestPlace, seed: u64, limit: Dur, window: Option<Window>, body: &F) -> Attempt
where
    F: Fn(World) -> Fut + Sync,
    Fut: Future<Output = Result> + 'static,
{
    let wall = std::time::Instant::now();
    let mut sim = Sim::new(seed, SimConfig { time_max: limit.std(), ..SimConfig::default() });
    let handle = sim.handle();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let sink = seen.clone();
    handle.set_trace_sink(Some(Box::new(move |event: &TraceEvent| {
        if window.is_some_and(|(from, to)| (from..to).contains(&event.event)) {
            sink.lock().window.push(event.to_string());
        }
        if let Some(fault) = event.fault() {
            sink.lock().faults.push((event.at, fault, event.node));
        }
    })));
    let world = World::new(handle.clone(), seed);
    let result = sim.block_on(body(world.clone()));
    handle.set_trace_sink(None);
    let (class, anomaly, verdict, crash) = outcome(result);
    let Seen { window, faults } = std::mem::take(&mut *seen.lock());
    let trace = sim.trace();
    let added = *world.0.added.lock();
    let report = RunReport {
        schema: SCHEMA,
        scenario: place.path(),
        seed,
        target: Target::Sim,
        class,
        anomaly: anomaly.map(str::to_owned),
        verdict: verdict.clone(),
        violations: Vec::new(),
        violations_found: 0,
        crash,
        checked: BTreeMap::new(),
        happened: BTreeMap::new(),
        brokers: added.brokers.into(),
        clients: added.machines.into(),
        sim_ns: handle.now().as_nanos(),
        wall_ns: wall.elapsed().as_nanos() as u64,
        // Nobody adds these up.
        cpu_ns: 0,
        requests: 0,
        records: 0,
        events: trace.events,
        trace_hash: format!("{:016x}", trace.hash),
        faults: faults.into_iter().map(|(at, kind, node)| fault_line(&handle, at, kind, node)).collect(),
        skipped: Vec::new(),
        lacking: vec![],
        verified: None,
        reproduce: String::new(),
        directory: None,
        build: Build::current(),
    };
    drop(sim);
    Attempt { report, trace, window, failed: (class != Class::Pass).then_some(verdict) }
}

fn fault_line(sim: &SimHandle, at: Instant, kind: &str, node: SimNode) -> FaultLine {
    let target = if node == SimNode::CONTROL { String::new() } else { sim.name(node).to_string() };
    FaultLine { at_ns: at.as_nanos(), for_ns: None, kind: kind.to_owned(), target, fired: true }
}

type Outcome = (Class, Option<&'static str>, String, Option<Crash>);

fn outcome(result: std::result::Result<Result, SimError>) -> Outcome {
    let error = match result {
        Ok(Ok(())) => return (Class::Pass, None, "the test passed".to_owned(), None),
        Ok(Err(failure)) => return (Class::Safety, Some("test-failed"), failure.to_string(), None),
        Err(error) => error,
    };
    let words = error.to_string();
    match error {
        SimError::Crash { node, task, message, at, event } => {
            let crash = Crash { node, task, message, at_ns: at.as_nanos(), event };
            (Class::Crash, Some("panic"), words, Some(crash))
        }
        SimError::Deadlock { .. } => (Class::Liveness, Some("deadlock"), words, None),
        SimError::Livelock { .. } => (Class::Liveness, Some("livelock"), words, None),
        SimError::TimeLimit { .. } | SimError::EventLimit { .. } => {
            (Class::Liveness, Some("limit"), words, None)
        }
    }
}
