//! Who is there, and who plays which role at the moment.

use burnin_engine::SimNode;
use burnin_history::{FaultEvent, NodeId};
use burnin_scenario::{PartitionRef, Release, Selector};
use std::future::Future;

/// A broker, or a controller, and its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: NodeId,
    /// Its machine.
    pub node: SimNode,
    /// Whether it votes in the metadata quorum.
    pub voter: bool,
}

/// The machines of a world.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// In order of `node.id`.
    pub brokers: Vec<Broker>,
    /// Those that are controllers and nothing else, in order of `node.id`.
    pub controllers: Vec<Broker>,
    /// Client machines; the first is `client(1)`.
    pub clients: Vec<SimNode>,
}

/// How a broker that was told to stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// As it should.
    InOrder,
    /// It did not in time, and was killed.
    Killed,
}

/// What the injector must ask of the cluster, because only it knows.
pub trait Cluster {
    /// Starts a stopped broker.
    fn start(&self, broker: Broker) -> Result<(), String>;
    /// Stops a broker in order, or kills it when that takes too long; completes when its process has ended.
    fn stop(&self, broker: Broker) -> impl Future<Output = Result<Stopped, String>>;
    /// Whether a disk fault may have made its process end by itself, so that it is started again.
    fn is_up(&self, broker: Broker) -> bool;
    /// As which release the broker starts from now on; gives what it has been.
    fn set_release(&self, broker: Broker, release: Release) -> Result<Release, String>;
    /// Whether the machine may be replaced by an empty one now. An error: never, since a voter that is configured would
    /// forget what it voted, which no quorum survives.
    fn may_be_wiped(&self, broker: Broker) -> Result<bool, String>;
    /// The active controller.
    fn controller(&self) -> Option<NodeId>;
    /// The leader of a partition.
    fn leader(&self, topic: &str, partition: i32) -> Option<NodeId>;
    /// The in-sync replicas of a partition.
    fn isr(&self, topic: &str, partition: i32) -> Vec<NodeId>;
    /// How many partitions a topic has.
    fn partitions(&self, topic: &str) -> i32;
    /// Why nodes are down that ended by themselves.
    fn obituaries(&self) -> Vec<String>;
    /// Tells the history.
    fn record(&self, event: FaultEvent);
}

impl Cast {
    /// All machines of the system under test, brokers first.
    pub fn machines(&self) -> impl Iterator<Item = Broker> + '_ {
        self.brokers.iter().chain(&self.controllers).copied()
    }

    /// The nodes of all machines, those of clients last.
    pub fn nodes(&self) -> impl Iterator<Item = SimNode> + '_ {
        self.machines().map(|broker| broker.node).chain(self.clients.iter().copied())
    }

    /// The broker or controller with this `node.id`.
    pub fn broker(&self, id: NodeId) -> Option<Broker> {
        self.machines().find(|broker| broker.id == id)
    }

    /// The broker or controller on this machine.
    pub fn on(&self, node: SimNode) -> Option<Broker> {
        self.machines().find(|broker| broker.node == node)
    }

    /// The machines that a selector names now. `pick(n)` draws a number below `n`. An error says that nobody
    /// plays the role at the moment, and the fault waits.
    pub fn resolve<C: Cluster>(
        &self,
        selector: &Selector,
        cluster: &C,
        pick: &mut impl FnMut(usize) -> usize,
    ) -> Result<Vec<SimNode>, String> {
        let one = |id: Option<NodeId>| {
            let id = id.ok_or_else(|| format!("nobody is `{selector}` at the moment"))?;
            let broker = self
                .broker(id)
                .ok_or_else(|| format!("`{selector}` is broker {id}, which does not exist"))?;
            Ok(vec![broker.node])
        };
        match selector {
            Selector::Broker(id) => one(Some(NodeId(*id))),
            Selector::AnyBroker => Ok(vec![self.brokers[pick(self.brokers.len())].node]),
            Selector::AllBrokers => Ok(self.brokers.iter().map(|broker| broker.node).collect()),
            Selector::Client(number) => {
                let at = (*number as usize).checked_sub(1).and_then(|at| self.clients.get(at));
                Ok(vec![*at.ok_or_else(|| {
                    format!("`{selector}` does not exist: there are {}", self.clients.len())
                })?])
            }
            Selector::AnyClient => Ok(vec![self.clients[pick(self.clients.len())]]),
            Selector::AllClients => Ok(self.clients.clone()),
            Selector::Controller => one(cluster.controller()),
            Selector::AnyVoter | Selector::AllVoters => {
                let voters: Vec<SimNode> =
                    self.machines().filter(|machine| machine.voter).map(|machine| machine.node).collect();
                match selector {
                    Selector::AnyVoter => Ok(vec![voters[pick(voters.len())]]),
                    _ => Ok(voters),
                }
            }
            Selector::Leader(partition) => {
                let number = number(partition, cluster, pick)?;
                one(cluster.leader(&partition.topic, number))
            }
            Selector::Follower(partition) => {
                let number = number(partition, cluster, pick)?;
                let leader = cluster.leader(&partition.topic, number);
                let isr = cluster.isr(&partition.topic, number);
                let followers: Vec<NodeId> = isr.into_iter().filter(|id| Some(*id) != leader).collect();
                one((!followers.is_empty()).then(|| followers[pick(followers.len())]))
            }
            Selector::Isr(partition) => {
                let number = number(partition, cluster, pick)?;
                let isr = cluster.isr(&partition.topic, number);
                if isr.is_empty() {
                    return Err(format!("`{selector}`: the ISR is empty"));
                }
                Ok(isr.into_iter().filter_map(|id| self.broker(id)).map(|broker| broker.node).collect())
            }
            Selector::IsrButOne(partition) => {
                let number = number(partition, cluster, pick)?;
                let mut isr = cluster.isr(&partition.topic, number);
                if isr.len() < 2 {
                    return Err(format!("`{selector}`: the ISR has {} members", isr.len()));
                }
                isr.remove(pick(isr.len()));
                Ok(isr.into_iter().filter_map(|id| self.broker(id)).map(|broker| broker.node).collect())
            }
        }
    }
}

fn number<C: Cluster>(
    partition: &PartitionRef,
    cluster: &C,
    pick: &mut impl FnMut(usize) -> usize,
) -> Result<i32, String> {
    match partition.partition {
        Some(number) => Ok(number),
        None => match cluster.partitions(&partition.topic) {
            0 => Err(format!("topic `{}` does not exist at the moment", partition.topic)),
            partitions => Ok(pick(partitions as usize) as i32),
        },
    }
}
