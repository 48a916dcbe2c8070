//! A broker in a world: the production code of `burnin-broker` on a simulated machine.

use crate::failure::{Failure, Result};
use burnin_engine::{NodeSpec, SimHandle, SimNode, SimRuntime};
use burnin_run::{Listener, Machine};
use burnin_runtime::{Runtime, timeout};
use burnin_server::{Broker, BrokerConfig};
use parking_lot::Mutex;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const PORT: u16 = 9092;
const CONTROLLER_PORT: u16 = 9093;
/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);

/// A broker and its machine. A cheap handle.
#[derive(Clone)]
pub struct BrokerNode {
    sim: SimHandle,
    node: SimNode,
    id: i32,
    process: Arc<Mutex<Process>>,
}

/// What is known of the broker's process.
#[derive(Default)]
struct Process {
    running: Option<Broker<SimRuntime>>,
    /// Why it ended by itself the last time.
    ended: Option<String>,
}

impl BrokerNode {
    /// Adds the machine, one of `all` that form a cluster. The process waits for [`BrokerNode::start`].
    pub(crate) fn add(
        sim: &SimHandle,
        machine: &Machine,
        all: &[Machine],
        properties: &[(&str, &str)],
    ) -> Result<BrokerNode> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut together = burnin_run::membership(machine, all, address);
        together.insert("log.dirs".to_owned(), "/data".to_owned());
        together.extend(properties.iter().copied().map(owned));
        let config = BrokerConfig::from_properties(&together)?;
        let process: Arc<Mutex<Process>> = Arc::default();
        let shared = process.clone();
        let spec = NodeSpec::new(machine.name.clone(), ip(machine))
            .start(move |runtime| live(runtime, config.clone(), shared.clone()));
        Ok(BrokerNode { sim: sim.clone(), node: sim.add_node(spec), process, id: machine.id.0 })
    }

    /// Its `node.id`.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// `bootstrap.servers` for clients.
    pub fn bootstrap(&self) -> Vec<String> {
        vec![format!("{}:{PORT}", self.sim.ip(self.node))]
    }

    /// Its machine, for faults of network, disk and clock through [`crate::World::sim`].
    pub fn node(&self) -> SimNode {
        self.node
    }

    /// Whether its process runs.
    pub fn is_up(&self) -> bool {
        self.sim.is_up(self.node)
    }

    /// Kills the process. What it wrote is in the page cache and survives.
    pub fn kill(&self) -> Result {
        Ok(self.sim.kill(self.node)?)
    }

    /// Cuts the power of the machine. What was not synced is kept, lost or torn.
    pub fn power_loss(&self) -> Result {
        self.sim.power_loss(self.node)?;
        Ok(())
    }

    /// Starts the process on the disk that it left, and waits until it serves.
    pub async fn start(&self) -> Result {
        // The handle of an earlier life is of a process that is dead.
        let earlier = std::mem::take(&mut *self.process.lock());
        drop(earlier);
        self.sim.start(self.node)?;
        let serves = || {
            let process = self.process.lock();
            process.running.is_some() || process.ended.is_some()
        };
        self.wait("start", serves).await?;
        match self.process.lock().ended.clone() {
            Some(why) => Err(Failure::new(format!("{} did not start: {why}", self.name()))),
            None => Ok(()),
        }
    }

    /// Stops the broker in order, as SIGTERM does, and waits until its process has ended.
    pub async fn stop(&self) -> Result {
        let running = self.process.lock().running.clone();
        let running = running.ok_or_else(|| Failure::new(format!("{} does not run", self.name())))?;
        match timeout(&self.sim.control(), PATIENCE, running.shutdown()).await {
            Some(stopped) => stopped?,
            None => return Err(Failure::new(format!("{} did not stop within {PATIENCE:?}", self.name()))),
        }
        drop(running);
        self.wait("stop", || !self.is_up()).await
    }

    /// Why the process ended by itself the last time, if it did not go on.
    pub fn obituary(&self) -> Option<String> {
        self.process.lock().ended.clone()
    }

    async fn wait(&self, what: &str, done: impl Fn() -> bool) -> Result {
        let control = self.sim.control();
        let waiting = async {
            while !done() {
                control.sleep(LOOK).await;
            }
        };
        let in_time = timeout(&control, PATIENCE, waiting).await;
        in_time.ok_or_else(|| Failure::new(format!("{} did not {what} within {PATIENCE:?}", self.name())))
    }

    fn name(&self) -> Arc<str> {
        self.sim.name(self.node)
    }
}

fn ip(machine: &Machine) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, machine.id.0 as u8)
}

fn address(machine: &Machine, listener: Listener) -> SocketAddr {
    let port = match listener {
        Listener::Broker => PORT,
        Listener::Controller => CONTROLLER_PORT,
    };
    SocketAddr::from((ip(machine), port))
}

/// The process from its start to its end.
async fn live(runtime: SimRuntime, config: BrokerConfig, process: Arc<Mutex<Process>>) {
    let ended = match Broker::start(runtime, config).await {
        Ok(broker) => {
            process.lock().running = Some(broker.clone());
            broker.wait().await.err().map(|error| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    let handle = {
        let mut process = process.lock();
        process.ended = ended;
        process.running.take()
    };
    drop(handle);
}
