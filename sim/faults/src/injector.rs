//! The injector: walks through the schedule in simulated time.
//!
//! An entry begins when its time has come, its target exists, and the impairment budget has room; until then
//! it waits, and the report counts that. An entry `with` another keeps its distance to it, however long that
//! one waited. Whatever is still active when everything is healed is undone then.

use crate::cast::{Broker, Cast, Cluster};
use crate::net::Edge;
use crate::{FaultFailure, clock, disk, net, process};
use burnin_engine::{Latency, LinkModel, SimHandle, SimNode, SimRuntime};
use burnin_history::FaultEvent;
use burnin_runtime::{Entropy, Instant, Runtime};
use burnin_scenario::{Action, Plan, ScheduledFault};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a fault that had to wait waits before it tries again, besides trying after each other fault's end.
const RETRY: Duration = Duration::from_millis(100);

/// How long an operation may be under way that a disk fault has doomed before it ended.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A fault as it really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The schedule's entry, as in `cut#3`.
    pub id: String,
    /// As in `process.kill`.
    pub kind: String,
    /// When it began.
    pub at: Instant,
    /// When it ended; `None` when it was over at once.
    pub until: Option<Instant>,
    /// The names of the nodes that it hit.
    pub on: Vec<String>,
    /// What exactly it did, where that was not known before.
    pub detail: String,
}

/// What must be undone at a fault's end.
enum Undo {
    Nothing,
    Start(Broker),
    Resume(SimNode),
    HealDisk { brokers: Vec<Broker>, restart: bool },
    HealEdges(Vec<Edge>),
    Unslow(Vec<SimNode>, Vec<SimNode>),
    Accept(Vec<SimNode>),
    JumpBack(Vec<SimNode>, i64),
    StopDrift(Vec<SimNode>),
}

struct Active {
    fired: usize,
    entry: usize,
    nodes: Vec<SimNode>,
    undo: Undo,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    End(usize),
    Begin(usize),
}

/// Carries out one plan's schedule.
pub struct Injector<'a, C: Cluster> {
    sim: SimHandle,
    runtime: SimRuntime,
    cast: &'a Cast,
    cluster: &'a C,
    plan: &'a Plan,
    entropy: Entropy,
    steps: BTreeMap<(Instant, u64), Step>,
    counter: u64,
    waiting: Vec<usize>,
    active: BTreeMap<usize, Active>,
    fired: Vec<Fired>,
    waits: u64,
}

impl<'a, C: Cluster> Injector<'a, C> {
    /// For a plan whose clock began with the world's.
    pub fn new(sim: SimHandle, cast: &'a Cast, cluster: &'a C, plan: &'a Plan) -> Self {
        let entropy = sim.entropy("faults");
        let runtime = sim.control();
        let mut injector = Injector {
            sim,
            runtime,
            cast,
            cluster,
            plan,
            entropy,
            steps: BTreeMap::new(),
            counter: 0,
            waiting: Vec::new(),
            active: BTreeMap::new(),
            fired: Vec::new(),
            waits: 0,
        };
        for (index, entry) in plan.schedule.iter().enumerate() {
            if entry.with.is_none() {
                injector.push(Instant::ZERO + entry.at.std(), Step::Begin(index));
            }
        }
        injector
    }

    /// What happened so far.
    pub fn fired(&self) -> &[Fired] {
        &self.fired
    }

    /// How often a fault had to wait for its target or for the budget.
    pub fn waits(&self) -> u64 {
        self.waits
    }

    /// The ids of entries whose time came and which never began.
    pub fn never_fired(&self) -> Vec<String> {
        self.waiting.iter().map(|index| self.plan.schedule[*index].id.clone()).collect()
    }

    /// Starts every broker, at the beginning.
    pub fn boot(&self) -> Result<(), FaultFailure> {
        for broker in &self.cast.brokers {
            process::start(self.cluster, *broker)
                .map_err(|why| FaultFailure { id: "boot".to_owned(), why })?;
        }
        Ok(())
    }

    /// Carries the schedule out until `until`.
    pub async fn run(&mut self, until: Instant) -> Result<(), FaultFailure> {
        loop {
            let next = self.steps.first_key_value().map(|((at, _), _)| *at);
            let now = self.runtime.now();
            let retry = if self.waiting.is_empty() { Instant::FAR_FUTURE } else { now + RETRY };
            let wake = next.unwrap_or(Instant::FAR_FUTURE).min(retry).min(until);
            if wake > now {
                self.runtime.sleep_until(wake).await;
            }
            if self.runtime.now() >= until {
                return Ok(());
            }
            self.due().await?;
            self.retry_waiting().await?;
        }
    }

    /// Undoes everything that is active and starts every broker that is down.
    pub async fn heal(&mut self) -> Result<(), FaultFailure> {
        self.steps.clear();
        let active: Vec<usize> = self.active.keys().copied().collect();
        for index in active {
            self.end(index).await?;
        }
        if self.plan.schedule.iter().any(|entry| disk::restarts(&entry.action)) {
            // An operation that was under way may still fail by a fault that is over, and halt its broker.
            self.runtime.sleep(AFTERMATH).await;
        }
        for broker in &self.cast.brokers {
            if !self.cluster.is_up(*broker) {
                process::start(self.cluster, *broker)
                    .map_err(|why| FaultFailure { id: "heal".to_owned(), why })?;
            }
        }
        self.cluster.record(FaultEvent::Healed);
        Ok(())
    }

    fn push(&mut self, at: Instant, step: Step) {
        self.counter += 1;
        self.steps.insert((at, self.counter), step);
    }

    async fn due(&mut self) -> Result<(), FaultFailure> {
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > self.runtime.now() {
                break;
            }
            match entry.remove() {
                Step::Begin(index) => {
                    if !self.begin(index).await? {
                        self.waits += 1;
                        self.waiting.push(index);
                    }
                }
                Step::End(index) => {
                    self.end(index).await?;
                    self.retry_waiting().await?;
                }
            }
        }
        Ok(())
    }

    async fn retry_waiting(&mut self) -> Result<(), FaultFailure> {
        for index in std::mem::take(&mut self.waiting) {
            if !self.begin(index).await? {
                self.waiting.push(index);
            }
        }
        Ok(())
    }

    /// Begins an entry; `false` when it has to wait.
    async fn begin(&mut self, index: usize) -> Result<bool, FaultFailure> {
        let entry = &self.plan.schedule[index];
        let Some((nodes, applied)) = self.try_apply(entry).await? else { return Ok(false) };
        let now = self.runtime.now();
        let lasts = entry.lasts.std();
        let ends = now + lasts;
        let on = nodes.iter().map(|node| self.sim.name(*node).to_string()).collect();
        let until = (!lasts.is_zero()).then_some(ends);
        let kind = kind_of(&entry.action);
        tracing::info!(fault = entry.id, kind, ?on, detail = applied.detail, "fault begins");
        self.fired.push(Fired { id: entry.id.clone(), kind, at: now, until, on, detail: applied.detail });
        if !matches!(applied.undo, Undo::Nothing) {
            self.active.insert(
                index,
                Active { fired: self.fired.len() - 1, entry: index, nodes, undo: applied.undo },
            );
            self.push(ends, Step::End(index));
        }
        for (other, companion) in self.plan.schedule.iter().enumerate() {
            if companion.with.as_deref() == Some(&entry.id) {
                let distance = companion.at.std().saturating_sub(entry.at.std());
                self.push(now + distance, Step::Begin(other));
            }
        }
        Ok(true)
    }

    async fn end(&mut self, index: usize) -> Result<(), FaultFailure> {
        let Some(active) = self.active.remove(&index) else { return Ok(()) };
        let id = self.plan.schedule[active.entry].id.clone();
        tracing::info!(fault = id, "fault ends");
        self.fired[active.fired].until = Some(self.runtime.now());
        self.undo(active.undo).await.map_err(|why| FaultFailure { id, why })
    }

    async fn undo(&mut self, undo: Undo) -> Result<(), String> {
        match undo {
            Undo::Nothing => Ok(()),
            Undo::Start(broker) => {
                if self.cluster.is_up(broker) {
                    return Ok(());
                }
                process::start(self.cluster, broker)
            }
            Undo::Resume(node) => match self.sim.is_paused(node) {
                true => self.sim.resume(node).map_err(|error| error.to_string()),
                // A kill in the meantime ended the pause.
                false => Ok(()),
            },
            Undo::HealDisk { brokers, restart } => {
                for broker in brokers {
                    self.sim.disk(broker.node).heal();
                    if restart && !self.cluster.is_up(broker) && !self.is_held_down(broker) {
                        process::start(self.cluster, broker)?;
                    }
                }
                Ok(())
            }
            Undo::HealEdges(edges) => net::heal(&self.sim, &edges),
            Undo::Unslow(first, second) => {
                net::slow(&self.sim, &first, &second, None);
                Ok(())
            }
            Undo::Accept(nodes) => {
                for node in nodes {
                    self.sim.net().refuse_connects(node, false);
                    self.sim.net().hang_connects(node, false);
                }
                Ok(())
            }
            Undo::JumpBack(nodes, ms) => {
                clock::jump(&self.sim, &nodes, -ms);
                Ok(())
            }
            Undo::StopDrift(nodes) => {
                clock::drift(&self.sim, &nodes, 0);
                Ok(())
            }
        }
    }

    /// Whether another fault keeps the broker down until its own end.
    fn is_held_down(&self, broker: Broker) -> bool {
        self.active.values().any(|active| matches!(active.undo, Undo::Start(held) if held == broker))
    }

    /// Applies an entry if its target is there and the budget has room.
    async fn try_apply(
        &mut self,
        entry: &ScheduledFault,
    ) -> Result<Option<(Vec<SimNode>, Applied)>, FaultFailure> {
        let mut pick = |count: usize| self.entropy.below(count as u64) as usize;
        let targets = match &entry.on {
            Some(selector) => match self.cast.resolve(selector, self.cluster, &mut pick) {
                Ok(nodes) => nodes,
                Err(_) => return Ok(None),
            },
            None => Vec::new(),
        };
        let brokers: Vec<Broker> = targets.iter().filter_map(|node| self.cast.on(*node)).collect();
        if self.over_budget(&entry.action, &targets) {
            return Ok(None);
        }
        let fail = |why: String| FaultFailure { id: entry.id.clone(), why };
        let up = |broker: &Broker| self.cluster.is_up(*broker);
        let ready = match &entry.action {
            Action::ProcessKill {}
            | Action::ProcessPowerLoss {}
            | Action::ProcessStop {}
            | Action::ProcessRestart {} => brokers.iter().all(up),
            Action::ProcessPause {} => brokers.iter().all(|b| up(b) && !self.sim.is_paused(b.node)),
            _ => true,
        };
        if !ready {
            return Ok(None);
        }
        let sim = &self.sim;
        let mut nodes = targets.clone();
        let applied = match &entry.action {
            Action::ProcessKill {} => {
                let broker = single(&brokers).map_err(fail)?;
                process::kill(sim, self.cluster, broker).map_err(fail)?;
                Applied::undone_by(Undo::Start(broker))
            }
            Action::ProcessPowerLoss {} => {
                let broker = single(&brokers).map_err(fail)?;
                process::power_loss(sim, self.cluster, broker).map_err(fail)?;
                Applied::undone_by(Undo::Start(broker))
            }
            Action::ProcessStop {} => {
                let broker = single(&brokers).map_err(fail)?;
                process::stop(self.cluster, broker).await.map_err(fail)?;
                Applied::undone_by(Undo::Start(broker))
            }
            Action::ProcessRestart {} => {
                let broker = single(&brokers).map_err(fail)?;
                process::stop(self.cluster, broker).await.map_err(fail)?;
                process::start(self.cluster, broker).map_err(fail)?;
                Applied::at_once()
            }
            Action::ProcessPause {} => {
                let broker = single(&brokers).map_err(fail)?;
                sim.pause(broker.node).map_err(|error| fail(error.to_string()))?;
                Applied::undone_by(Undo::Resume(broker.node))
            }
            Action::DiskBitRot { files, bits } => {
                let mut detail = Vec::new();
                for broker in &brokers {
                    match disk::bit_rot(sim, self.cluster, *broker, files, *bits) {
                        Ok(hit) => detail.push(hit),
                        // There is no such file yet: wait for one.
                        Err(_) => return Ok(None),
                    }
                }
                Applied { undo: Undo::Nothing, detail: detail.join("; ") }
            }
            Action::DiskHang {}
            | Action::DiskSlow { .. }
            | Action::DiskFail { .. }
            | Action::DiskFull { .. }
            | Action::DiskShortWrite { .. } => {
                let restart = disk::restarts(&entry.action);
                for broker in &brokers {
                    disk::apply(sim, broker.node, &entry.action).map_err(fail)?;
                }
                Applied::undone_by(Undo::HealDisk { brokers, restart })
            }
            Action::NetPartition { between, shape, direction } => {
                let edges = match (between, shape) {
                    (Some([a, b]), _) => {
                        let Some((first, second)) = self.sides(a, b) else { return Ok(None) };
                        net::edges_between(&first, &second, *direction)
                    }
                    (None, Some(shape)) => {
                        let mut pick = |count: usize| self.entropy.below(count as u64) as usize;
                        net::edges_of_shape(self.cast, *shape, &targets, *direction, &mut pick)
                            .map_err(fail)?
                    }
                    (None, None) => return Err(fail("neither `between` nor `shape` is given".to_owned())),
                };
                net::cut(&self.sim, &edges).map_err(fail)?;
                nodes = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
                nodes.sort_unstable();
                nodes.dedup();
                Applied::undone_by(Undo::HealEdges(edges))
            }
            Action::NetHalfOpen { between } | Action::NetReset { between } | Action::NetEnd { between } => {
                let Some((first, second)) = self.sides(&between[0], &between[1]) else { return Ok(None) };
                let net = self.sim.net();
                let hit = net::each_pair(&first, &second, |a, b| {
                    match &entry.action {
                        Action::NetHalfOpen { .. } => net.half_open(a, b),
                        Action::NetReset { .. } => net.reset_connections(a, b),
                        _ => net.end_connections(a, b),
                    }
                    .map_err(|error| error.to_string())
                });
                // Nobody is connected at the moment: wait for a connection.
                let Ok(hit) = hit else { return Ok(None) };
                nodes = first.into_iter().chain(second).collect();
                Applied { undo: Undo::Nothing, detail: format!("{hit} connections") }
            }
            Action::NetSlow { between, latency } => {
                let Some((first, second)) = self.sides(&between[0], &between[1]) else { return Ok(None) };
                let latency = Latency::Uniform { low: latency.low().std(), high: latency.high().std() };
                let model = LinkModel {
                    latency,
                    bandwidth: Some(self.plan.network.bandwidth.0),
                    ..LinkModel::default()
                };
                net::slow(&self.sim, &first, &second, Some(model));
                nodes = first.iter().chain(&second).copied().collect();
                Applied::undone_by(Undo::Unslow(first, second))
            }
            Action::NetRefuse {} => {
                targets.iter().for_each(|node| sim.net().refuse_connects(*node, true));
                Applied::undone_by(Undo::Accept(targets))
            }
            Action::NetHangConnects {} => {
                targets.iter().for_each(|node| sim.net().hang_connects(*node, true));
                Applied::undone_by(Undo::Accept(targets))
            }
            Action::ClockJump { by } => {
                let ms = by.0 / 1_000_000;
                clock::jump(sim, &targets, ms);
                let lasts = !entry.lasts.std().is_zero();
                Applied::undone_by(if lasts { Undo::JumpBack(targets, ms) } else { Undo::Nothing })
            }
            Action::ClockDrift { ppm } => {
                clock::drift(sim, &targets, i64::from(*ppm));
                Applied::undone_by(Undo::StopDrift(targets))
            }
        };
        if !matches!(
            entry.action,
            Action::ProcessKill {}
                | Action::ProcessPowerLoss {}
                | Action::ProcessStop {}
                | Action::ProcessRestart {}
        ) {
            let node = nodes.first().and_then(|node| self.cast.on(*node)).map(|broker| broker.id);
            self.cluster.record(FaultEvent::Other { kind: kind_of(&entry.action).into(), node });
        }
        Ok(Some((nodes, applied)))
    }

    fn sides(
        &mut self,
        a: &burnin_scenario::Selector,
        b: &burnin_scenario::Selector,
    ) -> Option<(Vec<SimNode>, Vec<SimNode>)> {
        let mut pick = |count: usize| self.entropy.below(count as u64) as usize;
        let first = self.cast.resolve(a, self.cluster, &mut pick).ok()?;
        let second = self.cast.resolve(b, self.cluster, &mut pick).ok()?;
        Some((first, second))
    }

    /// Whether the fault would impair more brokers at once than the scenario allows. Links to clients, wall
    /// clocks and slow things impair nobody.
    fn over_budget(&self, action: &Action, targets: &[SimNode]) -> bool {
        let impairs = |action: &Action| {
            !matches!(
                action,
                Action::ClockJump { .. }
                    | Action::ClockDrift { .. }
                    | Action::DiskSlow { .. }
                    | Action::DiskBitRot { .. }
                    | Action::NetReset { .. }
                    | Action::NetEnd { .. }
                    | Action::NetHalfOpen { .. }
                    | Action::NetSlow { .. }
            )
        };
        if !impairs(action) {
            return false;
        }
        let mut impaired: Vec<SimNode> = self
            .active
            .values()
            .filter(|active| impairs(&self.plan.schedule[active.entry].action))
            .flat_map(|active| active.nodes.iter().copied())
            .chain(targets.iter().copied())
            .filter(|node| self.cast.on(*node).is_some())
            .collect();
        impaired.sort_unstable();
        impaired.dedup();
        impaired.len() > self.plan.brokers_impaired as usize
    }
}

struct Applied {
    undo: Undo,
    detail: String,
}

impl Applied {
    fn undone_by(undo: Undo) -> Self {
        Applied { undo, detail: String::new() }
    }

    fn at_once() -> Self {
        Applied::undone_by(Undo::Nothing)
    }
}

fn single(brokers: &[Broker]) -> Result<Broker, String> {
    match brokers {
        [broker] => Ok(*broker),
        other => Err(format!("it must hit one broker, not {}", other.len())),
    }
}

/// The kind as scenarios name it.
fn kind_of(action: &Action) -> String {
    let value = serde_json::to_value(action).expect("an action is plain data");
    value["kind"].as_str().expect("an action is tagged by its kind").to_owned()
}
