//! The nodes of a plan: directories, ports, properties; and who plays which role at the moment.

use crate::Options;
use crate::node::{self, Deaths, Node};
use burnin_client::{Admin, Client, ClientConfig};
use burnin_drivers::Recorder;
use burnin_history::NodeId;
use burnin_run::{History, Listener, Machine, Stage};
use burnin_runtime_tokio::TokioRuntime;
use burnin_scenario::{PartitionRef, Plan, Selector};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;

/// How long it may take to learn who plays a role; then the fault waits.
const ASK: Duration = Duration::from_secs(2);

/// A node of a cluster.
pub(crate) struct Member {
    /// Its `node.id`.
    pub id: NodeId,
    /// Who it is.
    pub machine: Machine,
    /// Its process.
    pub node: Node,
}

/// Everything that runs besides the workloads. See the module.
pub(crate) struct Cluster {
    /// In order of `node.id`.
    pub members: Vec<Member>,
    /// Told of processes that end by themselves.
    pub deaths: Arc<Deaths>,
    runtime: TokioRuntime,
    stage: Stage<TokioRuntime>,
    client: Client<TokioRuntime>,
    /// Held as long as the cluster.
    _ports: Ports,
}

impl Cluster {
    /// Lays out the nodes; none runs yet. Must be called inside of a tokio runtime of one thread, which must
    /// outlive the processes.
    pub fn new(plan: &Plan, options: &Options, history: Arc<Mutex<History>>) -> Result<Cluster, String> {
        let runtime = TokioRuntime::new(options.directory.clone());
        let machines = burnin_run::machines(plan);
        let ports = Ports::of(&machines).map_err(|error| format!("no free port: {error}"))?;
        let deaths: Arc<Deaths> = Arc::default();
        let mut members = Vec::new();
        for machine in &machines {
            let directory = options.directory.join(&machine.name);
            let file = directory.join("server.properties");
            let data = directory.join("data").display().to_string();
            let at = |machine: &Machine, listener| ports.at(machine.id, listener);
            let properties = burnin_run::properties(plan, machine, &machines, at, &data);
            std::fs::create_dir_all(&directory)
                .and_then(|()| std::fs::write(&file, text_of(&properties)))
                .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
            let voters = burnin_run::initial_controllers(plan, &machines, at);
            if !voters.is_empty() {
                node::format(&options.broker, &file, &voters)?;
            }
            let output = match &options.log {
                Some(log) => log.with_file_name(format!("{}.log", machine.name)),
                None => directory.join("log"),
            };
            let node = Node::new(machine.name.clone(), &options.broker, file, output, deaths.clone());
            members.push(Member { id: machine.id, machine: machine.clone(), node });
        }
        let brokers = machines.iter().filter(|machine| machine.broker);
        let bootstrap = brokers.map(|machine| ports.at(machine.id, Listener::Broker).to_string()).collect();
        let recorder = Recorder::new(runtime.clone(), history);
        let clients = vec![runtime.clone(); plan.topology.clients.max(1) as usize];
        let stage = Stage::new(plan, recorder, clients, bootstrap);
        let config = ClientConfig {
            api_timeout: ASK,
            ..stage.client_config("faults", Duration::from_millis(500), Duration::from_millis(50))
        };
        let client = Client::new(runtime.clone(), config).map_err(|error| error.to_string())?;
        Ok(Cluster { members, deaths, runtime, stage, client, _ports: ports })
    }

    pub fn runtime(&self) -> &TokioRuntime {
        &self.runtime
    }

    /// Where the workloads run.
    pub fn stage(&self) -> &Stage<TokioRuntime> {
        &self.stage
    }

    /// The node with this id. Panics when the plan has none: selectors are checked before.
    pub fn member(&self, id: NodeId) -> &Member {
        self.members.iter().find(|member| member.id == id).expect("a node of the plan")
    }

    /// The nodes with these names.
    pub fn named(&self, names: &[String]) -> Vec<NodeId> {
        let those = self.members.iter().filter(|member| names.contains(&member.node.name));
        those.map(|member| member.id).collect()
    }

    /// Kills whatever runs. Completes when all are gone.
    pub async fn kill_all(&self) {
        for member in self.members.iter().filter(|member| member.node.is_up()) {
            if let Err(error) = member.node.kill().await {
                tracing::warn!(error, "a process could not be killed");
            }
        }
    }

    /// Why nodes that are down ended by themselves.
    pub fn obituaries(&self) -> Vec<String> {
        self.members.iter().filter_map(|member| member.node.obituary()).collect()
    }

    /// The nodes that a selector names now. `pick(n)` draws a number below `n`. An error says that nobody
    /// plays the role at the moment, and the fault waits.
    pub async fn resolve(
        &self,
        selector: &Selector,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Result<Vec<NodeId>, String> {
        let nobody = || format!("nobody is `{selector}` at the moment");
        let those = |is: fn(&Machine) -> bool| -> Vec<NodeId> {
            self.members.iter().filter(|member| is(&member.machine)).map(|member| member.id).collect()
        };
        let (brokers, voters) = (those(|machine| machine.broker), those(|machine| machine.voter));
        match selector {
            Selector::Broker(id) if brokers.contains(&NodeId(*id)) => Ok(vec![NodeId(*id)]),
            Selector::AnyVoter => Ok(vec![voters[pick(voters.len())]]),
            Selector::AllVoters => Ok(voters),
            Selector::Broker(_) => Err(format!("`{selector}` does not exist")),
            Selector::AnyBroker => Ok(vec![brokers[pick(brokers.len())]]),
            Selector::AllBrokers => Ok(brokers),
            Selector::Controller => Ok(vec![self.controller().await.ok_or_else(nobody)?]),
            Selector::Leader(partition) => {
                let (leader, _) = self.replicas(partition, &mut pick).await.ok_or_else(nobody)?;
                Ok(vec![leader.ok_or_else(nobody)?])
            }
            Selector::Follower(partition) => {
                let (leader, isr) = self.replicas(partition, &mut pick).await.ok_or_else(nobody)?;
                let followers: Vec<NodeId> = isr.into_iter().filter(|id| Some(*id) != leader).collect();
                match followers.len() {
                    0 => Err(nobody()),
                    count => Ok(vec![followers[pick(count)]]),
                }
            }
            Selector::Isr(partition) => {
                let (_, isr) = self.replicas(partition, &mut pick).await.ok_or_else(nobody)?;
                if isr.is_empty() { Err(nobody()) } else { Ok(isr) }
            }
            Selector::IsrButOne(partition) => {
                let (_, mut isr) = self.replicas(partition, &mut pick).await.ok_or_else(nobody)?;
                if isr.len() < 2 {
                    return Err(format!("`{selector}`: the ISR has {} members", isr.len()));
                }
                isr.remove(pick(isr.len()));
                Ok(isr)
            }
            Selector::Client(_) | Selector::AnyClient | Selector::AllClients => {
                Err(format!("`{selector}`: clients are not processes of their own"))
            }
        }
    }

    async fn controller(&self) -> Option<NodeId> {
        let admin = Admin::new(&self.client);
        let leader = match self.members.len() {
            1 => Some(admin.describe_cluster().await.ok()?.controller),
            // In a cluster DescribeCluster names any broker: requests to the controller are passed on.
            _ => admin.quorum_leader().await.ok()?,
        };
        self.members.iter().map(|member| member.id).find(|id| Some(id.0) == leader)
    }

    /// Leader and ISR of a partition, as the brokers tell now.
    async fn replicas(
        &self,
        partition: &PartitionRef,
        pick: &mut impl FnMut(usize) -> usize,
    ) -> Option<(Option<NodeId>, Vec<NodeId>)> {
        let topic = self.client.topic(&partition.topic);
        self.client.refresh_metadata().await.ok()?;
        let metadata = self.client.metadata();
        let partitions = &metadata.topic(topic).partitions;
        let index = match partition.partition {
            Some(number) => usize::try_from(number).ok()?,
            None if partitions.is_empty() => return None,
            None => pick(partitions.len()),
        };
        let info = partitions.get(index)?;
        Some((info.leader.map(NodeId), info.isr.iter().copied().map(NodeId).collect()))
    }
}

/// What listens where. A port stays bound here, not listening, so that nobody else is given it while its node is
/// down; the node binds it as well, as `SO_REUSEADDR` lets it.
struct Ports {
    held: Vec<(NodeId, Listener, SocketAddr, TcpSocket)>,
}

impl Ports {
    /// Free ones on loopback for all of these.
    fn of(machines: &[Machine]) -> std::io::Result<Ports> {
        let mut held = Vec::new();
        for machine in machines {
            for (wanted, listener) in
                [(machine.broker, Listener::Broker), (machine.voter, Listener::Controller)]
            {
                if wanted {
                    let socket = TcpSocket::new_v4()?;
                    socket.set_reuseaddr(true)?;
                    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
                    held.push((machine.id, listener, socket.local_addr()?, socket));
                }
            }
        }
        Ok(Ports { held })
    }

    fn at(&self, id: NodeId, listener: Listener) -> SocketAddr {
        let found = self.held.iter().find(|(holder, what, ..)| (*holder, *what) == (id, listener));
        found.expect("every listener of every machine has a port").2
    }
}

/// In the format of `java.util.Properties`.
fn text_of(properties: &BTreeMap<String, String>) -> String {
    properties.iter().map(|(name, value)| format!("{name}={}\n", value.replace('\\', "\\\\"))).collect()
}
