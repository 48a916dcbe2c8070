//! The control plane: what a supervisor (the future of `block_on`, or a test) does to the world.

use crate::disk::{DiskControl, PowerLoss};
use crate::executor::Role;
use crate::net::NetControl;
use crate::node::{FaultResult, NodeSpec, SimNode, Stop, code, refuse, stop};
use crate::runtime::SimRuntime;
use crate::trace::{TraceKind, TraceSink};
use crate::world::World;
use burnin_runtime::{Entropy, Instant, Task};
use std::net::IpAddr;
use std::sync::Arc;

/// The control plane of one world. A fault that cannot be applied gives an error, never nothing.
#[derive(Clone)]
pub struct SimHandle {
    world: World,
}

impl SimHandle {
    pub(crate) fn new(world: World) -> Self {
        SimHandle { world }
    }

    /// Adds a machine. With a start function its process waits for [`SimHandle::start`]; without, it is up.
    /// Panics when the name or the address is taken.
    pub fn add_node(&self, spec: NodeSpec) -> SimNode {
        self.world.with(|s| s.add_node(spec))
    }

    /// Starts the process of a node on the disk that it left, giving the machine power if it has none.
    pub fn start(&self, node: SimNode) -> FaultResult {
        let start = self.world.with(|s| {
            s.boot(node)?;
            Ok(s.node(node).start.clone())
        })?;
        if let Some(start) = start {
            let runtime = SimRuntime::new(self.world, node);
            let process = start(runtime.clone());
            runtime.spawn_as("process", Role::Process, process).detach();
        }
        Ok(())
    }

    /// Kills the process (SIGKILL): its tasks are dropped now, its kernel ends its connections, the page
    /// cache survives, and disk operations that were under way may happen or not.
    pub fn kill(&self, node: SimNode) -> FaultResult {
        stop(self.world, node, Stop::Kill).map(|_| ())
    }

    /// Cuts the power: its tasks are dropped now, its peers hear nothing, and what was not synced is kept,
    /// lost or torn. The machine stays off until [`SimHandle::start`].
    pub fn power_loss(&self, node: SimNode) -> FaultResult<PowerLoss> {
        stop(self.world, node, Stop::PowerLoss)
    }

    /// Stops the process (SIGSTOP): no task of it runs, while its kernel still answers for it.
    pub fn pause(&self, node: SimNode) -> FaultResult {
        self.world.with(|s| {
            let n = s.node(node);
            if node == SimNode::CONTROL || !n.up || n.paused {
                return refuse(format!("pause {}: it does not run", n.name));
            }
            n.paused = true;
            s.record(TraceKind::Fault, node, code::PAUSE, 0);
            Ok(())
        })
    }

    /// Lets a paused process run on.
    pub fn resume(&self, node: SimNode) -> FaultResult {
        self.world.with(|s| {
            let n = s.node(node);
            if !n.paused {
                return refuse(format!("resume {}: it is not paused", n.name));
            }
            n.paused = false;
            let parked = std::mem::take(&mut n.parked);
            s.tasks.unpark(parked);
            s.record(TraceKind::Fault, node, code::RESUME, 0);
            Ok(())
        })
    }

    /// Whether a process runs on the node (paused or not).
    pub fn is_up(&self, node: SimNode) -> bool {
        self.world.with(|s| s.node(node).up)
    }

    /// Whether the process is paused.
    pub fn is_paused(&self, node: SimNode) -> bool {
        self.world.with(|s| s.node(node).paused)
    }

    /// Replaces the disk of a stopped node with an empty one.
    pub fn wipe_disk(&self, node: SimNode) -> FaultResult {
        let old = self.world.with(|s| {
            let n = s.node(node);
            if n.up {
                return refuse(format!("wipe the disk of {}: it is up", n.name));
            }
            s.record(TraceKind::Fault, node, code::WIPE, 0);
            Ok(s.disks[node.at()].take())
        })?;
        drop(old);
        Ok(())
    }

    /// What the process that runs on `node` now sees. For a node without a start function, this is how tasks
    /// get there.
    pub fn runtime(&self, node: SimNode) -> SimRuntime {
        SimRuntime::new(self.world, node)
    }

    /// The runtime of the control node.
    pub fn control(&self) -> SimRuntime {
        self.runtime(SimNode::CONTROL)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<SimNode> {
        self.world.with(|s| s.nodes.iter().position(|n| *n.name == *name).map(|n| SimNode(n as u32)))
    }

    /// Every node but the control node.
    pub fn nodes(&self) -> Vec<SimNode> {
        self.world.with(|s| (1..s.nodes.len() as u32).map(SimNode).collect())
    }

    /// A node's name.
    pub fn name(&self, node: SimNode) -> Arc<str> {
        self.world.with(|s| s.node(node).name.clone())
    }

    /// A node's address.
    pub fn ip(&self, node: SimNode) -> IpAddr {
        self.world.with(|s| s.node(node).ip)
    }

    /// The simulated time.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.world.now())
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.world.with(|s| s.trace.events())
    }

    /// A random stream that belongs to no node.
    pub fn entropy(&self, label: &str) -> Entropy {
        self.world.with(|s| s.entropy("", label))
    }

    /// Has every event reported, or none. The sink must not call the engine. Returns nothing of the past.
    pub fn set_trace_sink(&self, sink: Option<TraceSink>) {
        let old = self.world.with(|s| s.trace.set_sink(sink));
        drop(old);
    }

    /// Moves the wall clock of a node forward or back.
    pub fn jump_wall(&self, node: SimNode, ms: i64) {
        self.world.with(|s| {
            s.node(node).wall.jump(ms);
            s.record(TraceKind::Fault, node, code::CLOCK, ms as u64);
        });
    }

    /// Has the wall clock of a node gain `ppm` microseconds per second from now on (lose, when negative).
    pub fn drift(&self, node: SimNode, ppm: i64) {
        self.world.with(|s| {
            let now = s.now;
            s.node(node).wall.drift(now, ppm);
            s.record(TraceKind::Fault, node, code::CLOCK, ppm as u64 ^ 1 << 63);
        });
    }

    /// The network's faults.
    pub fn net(&self) -> NetControl {
        NetControl::new(self.world)
    }

    /// The faults of a node's disk.
    pub fn disk(&self, node: SimNode) -> DiskControl {
        DiskControl::new(self.world, node)
    }
}
