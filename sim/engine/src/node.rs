//! Nodes: a machine with a process on it. A process is one boot of the node; whatever it left behind (a
//! handle in somebody's hands) knows its boot and is dead when the node has another one, or none.
//!
//! Can: a process is killed (its tasks are dropped, its kernel ends its sockets, the page cache stays), it
//! exits by itself, it is paused and resumed; a machine loses power (its tasks are dropped, nobody hears of
//! it, unsynced data is lost in part) and is started again on the same disk or on a wiped one.
//! Never: a task of a stopped process runs again; a task of another node is touched; memory survives.

use crate::clock::WallClock;
use crate::disk::{DiskModel, PowerLoss};
use crate::executor::{BoxFuture, TaskId};
use crate::runtime::SimRuntime;
use crate::trace::TraceKind;
use crate::world::{State, World};
use burnin_runtime::{Mutants, Probe};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

/// Names a node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimNode(pub(crate) u32);

impl SimNode {
    /// The node on which the future of `block_on` runs.
    pub const CONTROL: SimNode = SimNode(0);

    /// Its number: nodes count from 0 (the control node) in the order in which they were added.
    pub const fn index(self) -> u32 {
        self.0
    }

    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// What a process runs: its end is the end of the process.
pub type Start = Arc<dyn Fn(SimRuntime) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What a node is made of.
#[derive(Clone)]
pub struct NodeSpec {
    /// Unique; resolves to `ip`.
    pub name: String,
    /// Unique.
    pub ip: IpAddr,
    /// The process. A node without one is up from the beginning and hosts what is spawned on it.
    pub start: Option<Start>,
    /// How its disk behaves.
    pub disk: DiskModel,
    /// Who hears what the process reports.
    pub probe: Probe,
    /// The planted bug, if any.
    pub mutants: Mutants,
    /// Added to the wall clock.
    pub wall_offset_ms: i64,
}

impl NodeSpec {
    /// A node without a process.
    pub fn new(name: impl Into<String>, ip: impl Into<IpAddr>) -> Self {
        NodeSpec {
            name: name.into(),
            ip: ip.into(),
            start: None,
            disk: DiskModel::default(),
            probe: Probe::NONE,
            mutants: Mutants::NONE,
            wall_offset_ms: 0,
        }
    }

    /// The same with this process.
    pub fn start<F>(mut self, start: impl Fn(SimRuntime) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start = Some(Arc::new(move |runtime| Box::pin(start(runtime))));
        self
    }

    pub(crate) fn control() -> Self {
        NodeSpec::new("control", Ipv4Addr::new(10, 255, 255, 254))
    }
}

/// A fault that could not be applied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError(pub(crate) String);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}

/// The result of applying a fault.
pub type FaultResult<T = ()> = Result<T, FaultError>;

pub(crate) fn refuse<T>(what: impl Into<String>) -> FaultResult<T> {
    Err(FaultError(what.into()))
}

/// What the engine knows of a node.
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) ip: IpAddr,
    pub(crate) start: Option<Start>,
    pub(crate) probe: Probe,
    pub(crate) mutants: Mutants,
    pub(crate) disk: DiskModel,
    pub(crate) wall: Arc<WallClock>,
    /// The number of the process; counts from 1.
    pub(crate) boot: u32,
    /// Whether a process runs.
    pub(crate) up: bool,
    /// Whether the machine has power.
    pub(crate) powered: bool,
    pub(crate) paused: bool,
    /// Ready tasks of a paused process.
    pub(crate) parked: Vec<TaskId>,
    pub(crate) next_port: u16,
}

/// How a process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its start function returned.
    Exit,
    Kill,
    PowerLoss,
}

/// Codes of [`TraceKind::Fault`].
pub(crate) mod code {
    pub(crate) const START: u64 = 1;
    pub(crate) const EXIT: u64 = 2;
    pub(crate) const KILL: u64 = 3;
    pub(crate) const POWER_LOSS: u64 = 4;
    pub(crate) const PAUSE: u64 = 5;
    pub(crate) const RESUME: u64 = 6;
    pub(crate) const WIPE: u64 = 7;
    pub(crate) const CLOCK: u64 = 8;
    pub(crate) const NET: u64 = 9;
    pub(crate) const DISK: u64 = 10;
}

impl State {
    pub(crate) fn add_node(&mut self, spec: NodeSpec) -> SimNode {
        let NodeSpec { name, ip, start, disk, probe, mutants, wall_offset_ms } = spec;
        for node in &self.nodes {
            assert!(*node.name != *name, "two nodes are called {name}");
            assert!(node.ip != ip, "nodes {} and {name} have the same address {ip}", node.name);
        }
        let up = start.is_none();
        self.nodes.push(Node {
            name: name.into(),
            ip,
            start,
            probe,
            mutants,
            disk,
            wall: Arc::new(WallClock::new(self.config.wall_start_ms + wall_offset_ms)),
            boot: u32::from(up),
            up,
            powered: true,
            paused: false,
            parked: Vec::new(),
            next_port: 32_768,
        });
        self.disks.push(None);
        self.net.add_node();
        SimNode((self.nodes.len() - 1) as u32)
    }

    pub(crate) fn node(&mut self, node: SimNode) -> &mut Node {
        &mut self.nodes[node.at()]
    }

    /// Begins a new boot. The caller runs the start function.
    pub(crate) fn boot(&mut self, node: SimNode) -> FaultResult<u32> {
        let n = self.node(node);
        if n.up {
            return refuse(format!("start {}: it is up", n.name));
        }
        let was_off = !n.powered;
        n.up = true;
        n.powered = true;
        n.paused = false;
        n.boot += 1;
        let boot = n.boot;
        self.record(TraceKind::Fault, node, code::START, u64::from(boot));
        if was_off {
            self.net_machine_back(node);
        }
        Ok(boot)
    }

    /// Ends the process of a node; what is returned must be dropped outside of the world.
    fn stop(&mut self, node: SimNode, how: Stop) -> FaultResult<(Vec<BoxFuture>, PowerLoss)> {
        if node == SimNode::CONTROL {
            return refuse("the control node cannot be stopped");
        }
        let n = self.node(node);
        if how == Stop::PowerLoss {
            if !n.powered {
                return refuse(format!("power loss of {}: it has no power", n.name));
            }
        } else if !n.up {
            return refuse(format!("kill {}: it is not up", n.name));
        }
        n.up = false;
        n.paused = false;
        n.parked.clear();
        n.powered = how != Stop::PowerLoss;
        let (code, boot) = match how {
            Stop::Exit => (code::EXIT, n.boot),
            Stop::Kill => (code::KILL, n.boot),
            Stop::PowerLoss => (code::POWER_LOSS, n.boot),
        };
        self.record(TraceKind::Fault, node, code, u64::from(boot));
        self.net_stop(node, how);
        let loss = self.disk_stop(node, how);
        Ok((self.tasks.take_node(node), loss))
    }
}

/// Ends the process of a node and drops its tasks at once.
pub(crate) fn stop(world: World, node: SimNode, how: Stop) -> FaultResult<PowerLoss> {
    let (futures, loss) = world.with(|s| s.stop(node, how))?;
    for future in futures {
        drop_future(world, node, future);
    }
    Ok(loss)
}

/// Drops a future; a panic in one of its destructors fails the run.
pub(crate) fn drop_future(world: World, node: SimNode, future: BoxFuture) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        let message = crate::panics::message(&*panic);
        world.with(|s| s.crash(node, "a task that was dropped", message));
    }
}
