//! What can be done to processes, and how it is undone. When, is the schedule's.

use crate::cluster::{Cluster, Member};
use crate::node::Stopped;
use burnin_history::{Event, FaultEvent, NodeId};
use burnin_run::{AllHeld, Applied, Faults, Restart};
use burnin_runtime::{Instant, Runtime};
use burnin_scenario::{Action, Plan, ScheduledFault, Seed};
use std::collections::BTreeSet;
use std::time::Duration;

/// A fault that goes on: whom it hits, and what must be undone at its end.
pub(crate) struct Undo {
    nodes: Vec<NodeId>,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Start,
    Resume,
}

/// See the module.
pub(crate) struct ProcessFaults<'a> {
    cluster: &'a Cluster,
    brokers_impaired: usize,
    seed: Seed,
}

impl Faults for ProcessFaults<'_> {
    type Undo = Undo;

    fn nodes(&self) -> Vec<NodeId> {
        self.cluster.members.iter().map(|member| member.id).collect()
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.cluster.member(node).node.is_up()
    }

    fn start(&self, node: NodeId) -> Result<(), String> {
        self.cluster.member(node).node.start()
    }

    fn record(&self, event: FaultEvent) {
        self.cluster.stage().recorder.record(&Event::Fault(event));
    }

    /// How long real processes take to get there is not the plan's to say.
    fn began(&self) -> Instant {
        self.cluster.runtime().now()
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
        // What is left to draw when a fault fires comes from the plan's seed, as far as real time allows.
        let mut entropy = self.seed.stream(&format!("faults/{}", entry.id));
        let pick = |count: usize| entropy.below(count as u64) as usize;
        let nodes = match &entry.on {
            Some(selector) => match self.cluster.resolve(selector, pick).await {
                Ok(nodes) => nodes,
                Err(_) => return Ok(None),
            },
            None => self.cluster.named(hit),
        };
        if nodes.is_empty() {
            return Err("it hits nobody".to_owned());
        }
        if self.over_budget(&nodes, held) {
            return Ok(None);
        }
        let members: Vec<&Member> = nodes.iter().map(|id| self.cluster.member(*id)).collect();
        // One that stands still would not stop; a kill needs no help from it.
        let paused_too = matches!(entry.action, Action::ProcessKill {});
        if !members.iter().all(|member| member.node.is_up() && (paused_too || !member.node.is_paused())) {
            return Ok(None);
        }
        let on: Vec<String> = members.iter().map(|member| member.node.name.clone()).collect();
        let mut what = None;
        for member in members {
            what = self.hit(&entry.action, member).await?;
        }
        Ok(Some(Applied {
            targets: on.clone(),
            on,
            detail: String::new(),
            undo: what.map(|what| Undo { nodes, what }),
        }))
    }

    async fn undo(&mut self, undo: Undo, _held: &AllHeld<Undo>) -> Result<Vec<Restart>, String> {
        let Undo { nodes, what } = undo;
        if what == What::Start {
            return Ok(nodes.into_iter().map(|node| (Duration::ZERO, node)).collect());
        }
        for member in nodes.into_iter().map(|node| self.cluster.member(node)) {
            // A kill in the meantime ended the pause.
            if member.node.is_paused() {
                member.node.resume()?;
            }
        }
        Ok(Vec::new())
    }

    fn keeps_down(undo: &Undo, node: NodeId) -> bool {
        undo.what == What::Start && undo.nodes.contains(&node)
    }
}

impl<'a> ProcessFaults<'a> {
    /// For the processes of a plan.
    pub fn new(cluster: &'a Cluster, plan: &Plan) -> Self {
        ProcessFaults { cluster, brokers_impaired: plan.brokers_impaired as usize, seed: plan.seed }
    }

    async fn hit(&self, action: &Action, member: &Member) -> Result<Option<What>, String> {
        let node = member.id;
        match action {
            Action::ProcessKill {} => {
                member.node.kill().await?;
                self.record(FaultEvent::Killed { node });
                Ok(Some(What::Start))
            }
            Action::ProcessStop {} => {
                self.stop(member).await?;
                Ok(Some(What::Start))
            }
            Action::ProcessRestart {} => {
                self.stop(member).await?;
                self.record(FaultEvent::Started { node });
                member.node.start()?;
                Ok(None)
            }
            Action::ProcessPause {} => {
                member.node.pause()?;
                self.record(FaultEvent::Other { kind: action.name().into(), node: Some(node) });
                Ok(Some(What::Resume))
            }
            other => Err(format!("target process cannot do {}", other.name())),
        }
    }

    async fn stop(&self, member: &Member) -> Result<(), String> {
        let node = member.id;
        let event = match member.node.stop().await? {
            Stopped::InOrder => FaultEvent::Stopped { node },
            Stopped::Killed => FaultEvent::Killed { node },
        };
        self.record(event);
        Ok(())
    }

    /// Whether the fault would impair more nodes at once than the scenario allows.
    fn over_budget(&self, nodes: &[NodeId], held: &AllHeld<Undo>) -> bool {
        let impaired: BTreeSet<&NodeId> =
            held.values().flat_map(|held| &held.undo.nodes).chain(nodes).collect();
        impaired.len() > self.brokers_impaired
    }
}
