//! The seam's filling: what a process of a node sees of the world.

use crate::clock::WallClock;
use crate::disk::SimDisk;
use crate::executor::Role;
use crate::net::SimNet;
use crate::node::SimNode;
use crate::task::{self, SimTask};
use crate::timers::Sleep;
use crate::world::World;
use burnin_runtime::{Entropy, Instant, Mutants, Probe, Runtime};
use std::future::Future;
use std::sync::Arc;

/// The runtime of one boot of one node. Everything that is asked of it after the process has stopped fails:
/// spawned futures are dropped, connections are reset, disk operations give errors.
#[derive(Clone)]
pub struct SimRuntime(Arc<Inner>);

struct Inner {
    world: World,
    node: SimNode,
    boot: u32,
    name: Arc<str>,
    net: SimNet,
    disk: SimDisk,
    probe: Probe,
    mutants: Mutants,
    wall: Arc<WallClock>,
}

impl SimRuntime {
    /// The runtime of the process that runs on `node` now.
    pub(crate) fn new(world: World, node: SimNode) -> Self {
        let (boot, name, probe, mutants, wall) = world.with(|s| {
            let n = s.node(node);
            (n.boot, n.name.clone(), n.probe.clone(), n.mutants.clone(), n.wall.clone())
        });
        SimRuntime(Arc::new(Inner {
            net: SimNet::new(world, node, boot),
            disk: SimDisk::new(world, node, boot),
            world,
            node,
            boot,
            name,
            probe,
            mutants,
            wall,
        }))
    }

    /// The node.
    pub fn node(&self) -> SimNode {
        self.0.node
    }

    /// The node's name.
    pub fn node_name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn spawn_as<F>(&self, name: &'static str, role: Role, future: F) -> SimTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(self.0.world, (self.0.node, self.0.boot), name, role, future)
    }
}

impl Runtime for SimRuntime {
    type Sleep = Sleep;
    type Task<T: Send + 'static> = SimTask<T>;
    type Net = SimNet;
    type Disk = SimDisk;

    fn spawn<F>(&self, name: &'static str, future: F) -> SimTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_as(name, Role::Plain, future)
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.world.now())
    }

    fn wall_ms(&self) -> i64 {
        self.0.wall.wall_ms(self.0.world.now())
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::new(self.0.world, at.as_nanos())
    }

    fn entropy(&self, label: &str) -> Entropy {
        self.0.world.with(|s| s.entropy(&self.0.name, label))
    }

    fn net(&self) -> &SimNet {
        &self.0.net
    }

    fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }

    fn probe(&self) -> &Probe {
        &self.0.probe
    }

    fn mutants(&self) -> &Mutants {
        &self.0.mutants
    }
}
