//! Carries a plan's schedule out, whatever the target.
//!
//! An entry begins when its time has come, its target exists, and the impairment budget has room; until then it waits,
//! and the report counts that. Every fault is undone at its end or when everything is healed. A fault that cannot be
//! applied is an error, and the run fails with it.

use crate::outcome::{Ended, Fired};
use crate::schedule::{Schedule, Step};
use burnin_history::{FaultEvent, NodeId};
use burnin_runtime::{Instant, Runtime};
use burnin_scenario::{Plan, ScheduledFault};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

/// A fault that was applied just now.
#[derive(Debug)]
pub struct Applied<U> {
    /// The names of the nodes that it hit.
    pub on: Vec<String>,
    /// Of those that `on` selected: a cut hits both of its ends.
    pub targets: Vec<String>,
    /// What exactly it did, where that was not known before.
    pub detail: String,
    /// What must be undone at its end.
    pub undo: Option<U>,
}

/// A fault that goes on.
#[derive(Debug)]
pub struct Held<U> {
    /// Its entry in the plan's schedule.
    pub entry: usize,
    /// What must be undone at its end.
    pub undo: U,
    fired: usize,
}

/// The faults that go on, by their entries.
pub type AllHeld<U> = BTreeMap<usize, Held<U>>;

/// When a node is to be started again that a fault kept down: so long from now.
pub type Restart = (Duration, NodeId);

/// What a target can do to its nodes.
pub trait Faults {
    /// What must be undone at a fault's end.
    type Undo;

    /// All nodes, in the order in which they are started.
    fn nodes(&self) -> Vec<NodeId>;
    /// Whether a node's process is there.
    fn is_up(&self, node: NodeId) -> bool;
    /// Starts a node that is down.
    fn start(&self, node: NodeId) -> Result<(), String>;
    /// Tells the history.
    fn record(&self, event: FaultEvent);
    /// The moment from which the plan's times count; asked when the workloads have begun.
    fn began(&self) -> Instant;
    /// Which nodes are down although nobody told them to, and why.
    fn obituaries(&self) -> Vec<String>;

    /// Applies an entry; `None` when it has to wait for its target or for the budget. `hit` are the targets
    /// of the one that it follows.
    fn apply(
        &mut self,
        entry: &ScheduledFault,
        hit: &[String],
        held: &AllHeld<Self::Undo>,
    ) -> impl Future<Output = Result<Option<Applied<Self::Undo>>, String>>;

    /// Undoes a fault; gives the nodes that are to be started again.
    fn undo(
        &mut self,
        undo: Self::Undo,
        held: &AllHeld<Self::Undo>,
    ) -> impl Future<Output = Result<Vec<Restart>, String>>;

    /// Whether a fault that goes on keeps a node down until its end.
    fn keeps_down(undo: &Self::Undo, node: NodeId) -> bool;

    /// Every fault was undone: waits until none can end a node any more.
    fn aftermath(&mut self) -> impl Future<Output = ()> {
        std::future::ready(())
    }
}

/// Whether a fault that goes on keeps a node down until its end.
pub fn is_held_down<F: Faults>(held: &AllHeld<F::Undo>, node: NodeId) -> bool {
    held.values().any(|held| F::keeps_down(&held.undo, node))
}

/// See the module.
pub struct Injector<'a, R: Runtime, F: Faults> {
    runtime: R,
    plan: &'a Plan,
    faults: F,
    schedule: Schedule<'a>,
    held: AllHeld<F::Undo>,
    fired: Vec<Fired>,
    /// Whom the entries that began were aimed at.
    targets: BTreeMap<&'a str, Vec<String>>,
}

impl<'a, R: Runtime, F: Faults> Injector<'a, R, F> {
    /// For a plan that has not begun.
    pub fn new(runtime: R, plan: &'a Plan, faults: F) -> Self {
        let schedule = Schedule::new(&plan.schedule);
        let (held, fired, targets) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Injector { runtime, plan, faults, schedule, held, fired, targets }
    }

    /// Says what happened of the schedule.
    pub fn tell(&self, ended: &mut Ended) {
        ended.fired.clone_from(&self.fired);
        ended.waits = self.schedule.waits();
        ended.never_fired = self.schedule.still_waiting();
    }

    /// What the target can do.
    pub fn faults(&self) -> &F {
        &self.faults
    }

    /// Starts every node.
    pub fn boot(&self) -> Result<(), String> {
        self.start_those_down()
    }

    /// The plan begins; gives the moment from which its times count.
    pub fn begin(&mut self) -> Instant {
        let began = self.faults.began();
        self.schedule.begin(began);
        began
    }

    /// Carries the schedule out until `until`.
    pub async fn run(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let now = self.runtime.now();
            let wake = self.schedule.wake(now).min(until);
            if wake > now {
                self.runtime.sleep_until(wake).await;
            }
            if self.runtime.now() >= until {
                return Ok(());
            }
            while let Some(step) = self.schedule.due(self.runtime.now()) {
                match step {
                    Step::Begin(index) if self.try_begin(index).await? => {}
                    Step::Begin(index) => self.schedule.must_wait(index, false),
                    Step::Start(node) if self.faults.is_up(node) => {}
                    Step::Start(node) if is_held_down::<F>(&self.held, node) => {}
                    Step::Start(node) => self.start(node)?,
                    Step::End(index) => {
                        self.end(index).await?;
                        self.retry_waiting().await?;
                    }
                }
            }
            self.retry_waiting().await?;
        }
    }

    /// Undoes everything that goes on and starts every node that is down.
    pub async fn heal(&mut self) -> Result<(), String> {
        self.schedule.close();
        let held: Vec<usize> = self.held.keys().copied().collect();
        for index in held {
            self.end(index).await?;
        }
        self.faults.aftermath().await;
        self.start_those_down()?;
        self.faults.record(FaultEvent::Healed);
        Ok(())
    }

    fn start_those_down(&self) -> Result<(), String> {
        let nodes = self.faults.nodes();
        nodes.into_iter().filter(|node| !self.faults.is_up(*node)).try_for_each(|node| self.start(node))
    }

    fn start(&self, node: NodeId) -> Result<(), String> {
        self.faults.record(FaultEvent::Started { node });
        self.faults.start(node).map_err(|why| format!("node {node} could not be started: {why}"))
    }

    async fn retry_waiting(&mut self) -> Result<(), String> {
        for index in self.schedule.take_waiting() {
            if !self.try_begin(index).await? {
                self.schedule.must_wait(index, true);
            }
        }
        Ok(())
    }

    /// Begins an entry; `false` when it has to wait.
    async fn try_begin(&mut self, index: usize) -> Result<bool, String> {
        let entry = &self.plan.schedule[index];
        let before = entry.follows().and_then(|id| self.targets.get(id));
        let hit = before.map_or(&[][..], Vec::as_slice);
        let applied = self.faults.apply(entry, hit, &self.held).await.map_err(|why| failed(entry, &why))?;
        let Some(Applied { on, targets, detail, undo }) = applied else { return Ok(false) };
        self.targets.insert(&entry.id, targets);
        let now = self.runtime.now();
        let kind = entry.action.name().to_owned();
        tracing::info!(fault = entry.id, kind, ?on, detail, "fault begins");
        let until = (!entry.lasts.std().is_zero()).then(|| now + entry.lasts.std());
        self.fired.push(Fired { id: entry.id.clone(), kind, at: now, until, on, detail });
        self.schedule.began(index, now, undo.is_some());
        if let Some(undo) = undo {
            self.held.insert(index, Held { entry: index, undo, fired: self.fired.len() - 1 });
        }
        Ok(true)
    }

    async fn end(&mut self, index: usize) -> Result<(), String> {
        let Some(Held { undo, fired, .. }) = self.held.remove(&index) else { return Ok(()) };
        let entry = &self.plan.schedule[index];
        tracing::info!(fault = entry.id, "fault ends");
        self.fired[fired].until = Some(self.runtime.now());
        let restarts = self.faults.undo(undo, &self.held).await.map_err(|why| failed(entry, &why))?;
        for (after, node) in restarts {
            self.schedule.start(self.runtime.now() + after, node);
        }
        Ok(())
    }
}

fn failed(entry: &ScheduledFault, why: &str) -> String {
    format!("fault `{}` could not be applied: {why}", entry.id)
}
