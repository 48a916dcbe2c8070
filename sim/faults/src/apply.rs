//! What a simulated world can do to its machines, and how it is undone. When, is the schedule's.

use crate::cast::{Broker, Cast, Cluster};
use crate::net::Edge;
use crate::{budget, clock, disk, net, process};
use burnin_engine::{Latency, LinkModel, SimHandle, SimNode, SimRuntime};
use burnin_history::{FaultEvent, NodeId};
use burnin_run::{AllHeld, Applied, Faults, Restart, is_held_down};
use burnin_runtime::{Entropy, Instant, Runtime};
use burnin_scenario::{Action, Cut, Plan, ScheduledFault, Selector, Shape};
use std::sync::Arc;
use std::time::Duration;

/// How far apart machines come up again that went down together.
const STAGGER: Duration = Duration::from_secs(1);

/// How long an operation may be under way that a disk fault has doomed before it ended.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A fault that goes on: whom it hits, and what must be undone at its end.
pub struct Undo {
    nodes: Vec<SimNode>,
    what: What,
    /// The rest of the fault's own random stream.
    entropy: Entropy,
}

enum What {
    Start(Vec<Broker>),
    Resume(Vec<SimNode>),
    HealDisk { brokers: Vec<Broker>, restart: bool },
    HealEdges(Vec<Edge>),
    Unslow(Vec<SimNode>, Vec<SimNode>),
    Accept(Vec<SimNode>),
    JumpBack(Vec<SimNode>, i64),
    StopDrift(Vec<SimNode>),
}

/// See the module.
pub struct SimFaults<'a, C: Cluster> {
    sim: SimHandle,
    runtime: SimRuntime,
    cast: &'a Cast,
    cluster: &'a C,
    plan: &'a Plan,
    /// What is left to draw when a fault fires: a stream of its own for each entry, so that none moves another's draws.
    entropy: Entropy,
}

impl<C: Cluster> Faults for SimFaults<'_, C> {
    type Undo = Undo;

    fn nodes(&self) -> Vec<NodeId> {
        self.cast.machines().map(|machine| machine.id).collect()
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.cluster.is_up(self.machine(node))
    }

    fn start(&self, node: NodeId) -> Result<(), String> {
        self.cluster.start(self.machine(node))
    }

    fn record(&self, event: FaultEvent) {
        self.cluster.record(event);
    }

    /// The plan's clock began with the world's.
    fn began(&self) -> Instant {
        Instant::ZERO
    }

    fn obituaries(&self) -> Vec<String> {
        self.cluster.obituaries()
    }

    async fn apply(
        &mut self,
        entry: &ScheduledFault,
        hit: &[String],
        held: &AllHeld<Undo>,
    ) -> Result<Option<Applied<Undo>>, String> {
        let Some((nodes, targets, Done { undo, detail })) = self.try_apply(entry, hit, held).await? else {
            return Ok(None);
        };
        let names = |nodes: &[SimNode]| nodes.iter().map(|node| self.sim.name(*node).to_string()).collect();
        let (on, targets) = (names(&nodes), names(&targets));
        Ok(Some(Applied {
            on,
            targets,
            detail,
            undo: undo.map(|what| Undo { nodes, what, entropy: self.entropy.clone() }),
        }))
    }

    async fn undo(&mut self, undo: Undo, held: &AllHeld<Undo>) -> Result<Vec<Restart>, String> {
        let (mut restarts, mut entropy) = (Vec::new(), undo.entropy);
        match undo.what {
            What::Start(brokers) => {
                // Machines that went down together come up one after the other, in any order.
                let alone = brokers.len() == 1;
                for broker in brokers {
                    let late = if alone { Duration::ZERO } else { entropy.duration(Duration::ZERO, STAGGER) };
                    restarts.push((late, broker.id));
                }
            }
            What::Resume(nodes) => {
                // A kill in the meantime ended the pause.
                for node in nodes.into_iter().filter(|node| self.sim.is_paused(*node)) {
                    self.sim.resume(node).map_err(|error| error.to_string())?;
                }
            }
            What::HealDisk { brokers, restart } => {
                for broker in brokers {
                    self.sim.disk(broker.node).heal();
                    if restart && !self.cluster.is_up(broker) && !is_held_down::<Self>(held, broker.id) {
                        process::start(self.cluster, broker)?;
                    }
                }
            }
            What::HealEdges(edges) => net::heal(&self.sim, &edges)?,
            What::Unslow(first, second) => net::slow(&self.sim, &first, &second, None),
            What::Accept(nodes) => {
                for node in nodes {
                    self.sim.net().refuse_connects(node, false);
                    self.sim.net().hang_connects(node, false);
                }
            }
            What::JumpBack(nodes, ms) => clock::jump(&self.sim, &nodes, -ms),
            What::StopDrift(nodes) => clock::drift(&self.sim, &nodes, 0),
        }
        Ok(restarts)
    }

    fn keeps_down(undo: &Undo, node: NodeId) -> bool {
        matches!(&undo.what, What::Start(brokers) if brokers.iter().any(|broker| broker.id == node))
    }

    /// An operation that was under way may still fail by a fault that is over, and halt its broker.
    async fn aftermath(&mut self) {
        if self.plan.schedule.iter().any(|entry| disk::restarts(&entry.action)) {
            self.runtime.sleep(AFTERMATH).await;
        }
    }
}

impl<'a, C: Cluster> SimFaults<'a, C> {
    /// For the machines of a world.
    pub fn new(sim: SimHandle, cast: &'a Cast, cluster: &'a C, plan: &'a Plan) -> Self {
        let (entropy, runtime) = (sim.entropy("faults"), sim.control());
        SimFaults { sim, runtime, cast, cluster, plan, entropy }
    }

    fn machine(&self, node: NodeId) -> Broker {
        self.cast.broker(node).expect("a machine of the cast")
    }

    /// Applies an entry if its target is there and the budget has room; gives the nodes that it hit, and its targets.
    async fn try_apply(
        &mut self,
        entry: &ScheduledFault,
        hit: &[String],
        held: &AllHeld<Undo>,
    ) -> Result<Option<(Vec<SimNode>, Vec<SimNode>, Done)>, String> {
        self.entropy = self.sim.entropy(&format!("faults/{}", entry.id));
        let mut pick = |count: usize| self.entropy.below(count as u64) as usize;
        let targets = match &entry.on {
            Some(selector) => match self.cast.resolve(selector, self.cluster, &mut pick) {
                Ok(nodes) => nodes,
                Err(_) => return Ok(None),
            },
            None => self
                .cast
                .nodes()
                .filter(|node| hit.iter().any(|name| *name == *self.sim.name(*node)))
                .collect(),
        };
        let brokers: Vec<Broker> = targets.iter().filter_map(|node| self.cast.on(*node)).collect();
        let edges = match &entry.action {
            Action::NetPartition { between, shape, direction } => {
                match self.cut_edges(between.as_ref(), *shape, *direction, &targets)? {
                    Some(edges) => edges,
                    None => return Ok(None),
                }
            }
            _ => Vec::new(),
        };
        if self.over_budget(&entry.action, &targets, &edges, held) {
            return Ok(None);
        }
        let up = |broker: &Broker| self.cluster.is_up(*broker);
        let ready = match &entry.action {
            Action::ProcessKill {}
            | Action::ProcessPowerLoss {}
            | Action::ProcessStop {}
            | Action::ProcessUpgrade { .. }
            | Action::ProcessRestart {} => brokers.iter().all(up),
            Action::ProcessWipe {} => {
                let mut may = true;
                for broker in &brokers {
                    may &= self.cluster.may_be_wiped(*broker)?;
                }
                // Each forgets what the others still know: one after the other.
                may && brokers.iter().all(up) && brokers.iter().filter(|broker| broker.voter).count() <= 1
            }
            Action::ProcessPause {} => brokers.iter().all(|b| up(b) && !self.sim.is_paused(b.node)),
            _ => true,
        };
        if !ready {
            return Ok(None);
        }
        let sim = &self.sim;
        let (mut nodes, aimed_at) = (targets.clone(), targets.clone());
        let applied = match &entry.action {
            Action::ProcessKill {} | Action::ProcessPowerLoss {} | Action::ProcessWipe {} => {
                for broker in &brokers {
                    match &entry.action {
                        Action::ProcessKill {} => process::kill(sim, self.cluster, *broker),
                        Action::ProcessPowerLoss {} => process::power_loss(sim, self.cluster, *broker),
                        _ => process::wipe(sim, self.cluster, *broker),
                    }?;
                }
                Done::undone_by(What::Start(brokers))
            }
            Action::ProcessStop {} => {
                for broker in &brokers {
                    process::stop(self.cluster, *broker).await?;
                }
                Done::undone_by(What::Start(brokers))
            }
            Action::ProcessUpgrade { to } => {
                let mut detail = Vec::new();
                for broker in &brokers {
                    let from = self.cluster.set_release(*broker, *to)?;
                    detail.push(format!("{} to {}", from.name(), to.name()));
                    process::stop(self.cluster, *broker).await?;
                }
                Done { undo: Some(What::Start(brokers)), detail: detail.join(", ") }
            }
            Action::ProcessRestart {} => {
                let broker = single(&brokers)?;
                process::stop(self.cluster, broker).await?;
                process::start(self.cluster, broker)?;
                Done::at_once()
            }
            Action::ProcessPause {} => {
                for broker in &brokers {
                    sim.pause(broker.node).map_err(|error| error.to_string())?;
                }
                Done::undone_by(What::Resume(targets))
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
                Done { undo: None, detail: detail.join("; ") }
            }
            Action::DiskHang {}
            | Action::DiskSlow { .. }
            | Action::DiskFail { .. }
            | Action::DiskFull { .. }
            | Action::DiskShortWrite { .. } => {
                let restart = disk::restarts(&entry.action);
                for broker in &brokers {
                    disk::apply(sim, broker.node, &entry.action)?;
                }
                Done::undone_by(What::HealDisk { brokers, restart })
            }
            Action::NetPartition { .. } => {
                net::cut(&self.sim, &edges)?;
                nodes = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
                nodes.sort_unstable();
                nodes.dedup();
                Done::undone_by(What::HealEdges(edges))
            }
            Action::NetHalfOpen { between }
            | Action::NetReset { between }
            | Action::NetEnd { between }
            | Action::NetBlackhole { between } => {
                let Some((first, second)) = self.sides(&between[0], &between[1]) else { return Ok(None) };
                let net = self.sim.net();
                let hit = net::each_pair(&first, &second, |a, b| {
                    match &entry.action {
                        Action::NetHalfOpen { .. } => net.half_open(a, b),
                        Action::NetReset { .. } => net.reset_connections(a, b),
                        Action::NetBlackhole { .. } => net.blackhole_connections(a, b),
                        _ => net.end_connections(a, b),
                    }
                    .map_err(|error| error.to_string())
                });
                // Nobody is connected at the moment: wait for a connection.
                let Ok(hit) = hit else { return Ok(None) };
                nodes = first.into_iter().chain(second).collect();
                Done { undo: None, detail: format!("{hit} connections") }
            }
            Action::NetSlow { between, .. } | Action::NetLossy { between, .. } => {
                let Some((first, second)) = self.sides(&between[0], &between[1]) else { return Ok(None) };
                let (latency, loss) = match &entry.action {
                    Action::NetLossy { loss, .. } => (&self.plan.network.latency, loss.get()),
                    Action::NetSlow { latency, .. } => (latency, 0.0),
                    _ => unreachable!("one of the two"),
                };
                let model = LinkModel {
                    latency: Latency::Uniform { low: latency.low().std(), high: latency.high().std() },
                    bandwidth: Some(self.plan.network.bandwidth.0),
                    loss,
                    ..LinkModel::default()
                };
                net::slow(&self.sim, &first, &second, Some(model));
                nodes = first.iter().chain(&second).copied().collect();
                Done::undone_by(What::Unslow(first, second))
            }
            Action::NetRefuse {} => {
                targets.iter().for_each(|node| sim.net().refuse_connects(*node, true));
                Done::undone_by(What::Accept(targets))
            }
            Action::NetHangConnects {} => {
                targets.iter().for_each(|node| sim.net().hang_connects(*node, true));
                Done::undone_by(What::Accept(targets))
            }
            Action::ClockJump { by } => {
                let ms = by.0 / 1_000_000;
                clock::jump(sim, &targets, ms);
                let lasts = !entry.lasts.std().is_zero();
                Done { undo: lasts.then_some(What::JumpBack(targets, ms)), detail: String::new() }
            }
            Action::ClockDrift { ppm } => {
                clock::drift(sim, &targets, i64::from(*ppm));
                Done::undone_by(What::StopDrift(targets))
            }
        };
        if !matches!(
            entry.action,
            Action::ProcessKill {}
                | Action::ProcessPowerLoss {}
                | Action::ProcessWipe {}
                | Action::ProcessStop {}
                | Action::ProcessUpgrade { .. }
                | Action::ProcessRestart {}
        ) {
            let kind: Arc<str> = entry.action.name().into();
            // a disk is one machine's; of what goes on between machines the first one is named
            let told = if kind.starts_with("disk.") { &nodes[..] } else { &nodes[..nodes.len().min(1)] };
            for node in told {
                let node = self.cast.on(*node).map(|broker| broker.id);
                self.cluster.record(FaultEvent::Other { kind: kind.clone(), node });
            }
        }
        Ok(Some((nodes, aimed_at, applied)))
    }

    fn sides(&mut self, a: &Selector, b: &Selector) -> Option<(Vec<SimNode>, Vec<SimNode>)> {
        let mut pick = |count: usize| self.entropy.below(count as u64) as usize;
        let first = self.cast.resolve(a, self.cluster, &mut pick).ok()?;
        let second = self.cast.resolve(b, self.cluster, &mut pick).ok()?;
        Some((first, second))
    }

    /// The links that a partition cuts; `None` when nobody plays a role that it names.
    fn cut_edges(
        &mut self,
        between: Option<&[Selector; 2]>,
        shape: Option<Shape>,
        direction: Cut,
        targets: &[SimNode],
    ) -> Result<Option<Vec<Edge>>, String> {
        match (between, shape) {
            (Some([a, b]), _) => Ok(self
                .sides(a, b)
                .map(|(first, second)| net::edges_between(&first, &second, direction))
                // Both sides are the same machine at the moment.
                .filter(|edges| !edges.is_empty())),
            (None, Some(shape)) => {
                let mut pick = |count: usize| self.entropy.below(count as u64) as usize;
                net::edges_of_shape(self.cast, shape, targets, direction, &mut pick).map(Some)
            }
            (None, None) => Err("neither `between` nor `shape` is given".to_owned()),
        }
    }

    /// Whether the fault would impair more machines at once than the scenario allows.
    fn over_budget(
        &self,
        action: &Action,
        targets: &[SimNode],
        edges: &[Edge],
        held: &AllHeld<Undo>,
    ) -> bool {
        if !budget::impairs(action) {
            return false;
        }
        let (mut down, mut cut) = (Vec::new(), edges.to_vec());
        for held in held.values() {
            match &held.undo {
                Undo { what: What::HealEdges(edges), .. } => cut.extend(edges),
                undo if budget::impairs(&self.plan.schedule[held.entry].action) => down.extend(&undo.nodes),
                _ => {}
            }
        }
        if edges.is_empty() {
            down.extend(targets);
        }
        budget::impaired(self.cast, &down, &cut) > self.plan.brokers_impaired as usize
    }
}

struct Done {
    undo: Option<What>,
    detail: String,
}

impl Done {
    fn undone_by(what: What) -> Self {
        Done { undo: Some(what), detail: String::new() }
    }

    fn at_once() -> Self {
        Done { undo: None, detail: String::new() }
    }
}

fn single(brokers: &[Broker]) -> Result<Broker, String> {
    match brokers {
        [broker] => Ok(*broker),
        other => Err(format!("it must hit one broker, not {}", other.len())),
    }
}
