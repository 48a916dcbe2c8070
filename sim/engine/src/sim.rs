//! A world, from the outside: make it, run a future in it, look at its trace, drop it.

use crate::executor::{Gone, Picked, Role};
use crate::handle::SimHandle;
use crate::latency::{Latency, nanos};
use crate::net::LinkModel;
use crate::node::{self, NodeSpec, SimNode, Stop};
use crate::panics;
use crate::trace::{Trace, TraceKind};
use crate::world::{Current, State, World, set_current};
use burnin_runtime::Instant;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// How a world is made and when it is stopped.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The link between two nodes, unless set otherwise.
    pub link: LinkModel,
    /// The link of a node to itself.
    pub loopback: LinkModel,
    /// How TCP behaves on every node.
    pub tcp: crate::net::TcpModel,
    /// The wall clock at the beginning, in milliseconds since the Unix epoch.
    pub wall_start_ms: i64,
    /// The run fails when the simulated time passes this.
    pub time_max: Duration,
    /// The run fails when it takes more events.
    pub events_max: u64,
    /// The run fails when so many tasks are polled at one instant: somebody spins.
    pub polls_per_instant_max: u64,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            link: LinkModel { latency: Latency::micros(200, 800), ..LinkModel::default() },
            loopback: LinkModel { latency: Latency::micros(10, 30), ..LinkModel::default() },
            tcp: crate::net::TcpModel::default(),
            wall_start_ms: 1_767_225_600_000,
            time_max: Duration::from_secs(100_000_000),
            events_max: u64::MAX,
            polls_per_instant_max: 10_000_000,
        }
    }
}

/// Why a run ended without its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimError {
    /// Nothing is ready and nothing will ever be.
    Deadlock { at: Instant, event: u64, waiting: Vec<String> },
    /// A task panicked.
    Crash { node: String, task: String, message: String, at: Instant, event: u64 },
    /// The simulated time passed [`SimConfig::time_max`].
    TimeLimit { at: Instant, event: u64 },
    /// More than [`SimConfig::events_max`] events.
    EventLimit { at: Instant, event: u64 },
    /// More than [`SimConfig::polls_per_instant_max`] polls without time passing.
    Livelock { node: String, task: String, at: Instant, event: u64 },
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimError::Deadlock { at, event, waiting } => {
                write!(f, "deadlock at {at} (event {event}): {} tasks wait for nothing", waiting.len())?;
                for (index, task) in waiting.iter().take(8).enumerate() {
                    write!(f, "{}{task}", if index == 0 { ": " } else { ", " })?;
                }
                Ok(())
            }
            SimError::Crash { node, task, message, at, event } => {
                write!(f, "task `{task}` of {node} panicked at {at} (event {event}): {message}")
            }
            SimError::TimeLimit { at, event } => {
                write!(f, "the limit of simulated time was reached at {at} (event {event})")
            }
            SimError::EventLimit { at, event } => {
                write!(f, "the limit of events was reached at {at} (event {event})")
            }
            SimError::Livelock { node, task, at, event } => {
                write!(f, "no time passes at {at} (event {event}); task `{task}` of {node} was polled last")
            }
        }
    }
}

impl std::error::Error for SimError {}

/// A world. Dropping it stops every node and drops every future, whoever still holds a handle. It and its
/// handles are of use on the thread that made it only.
pub struct Sim {
    world: World,
    /// A world stays in its thread.
    stays: PhantomData<*const ()>,
}

impl Sim {
    /// A world with its control node. Equal seeds and configurations give equal worlds.
    pub fn new(seed: u64, config: SimConfig) -> Sim {
        panics::watch();
        let world = World::new(seed, config);
        world.with(|s| s.add_node(NodeSpec::control()));
        Sim { world, stays: PhantomData }
    }

    /// The control plane.
    pub fn handle(&self) -> SimHandle {
        SimHandle::new(self.world)
    }

    /// The fingerprint of the run so far.
    pub fn trace(&self) -> Trace {
        self.world.with(|s| s.trace.trace())
    }

    /// Runs `main` on the control node until it completes. Other tasks stay where they are.
    pub fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> Result<T, SimError> {
        let mut main = pin!(main);
        let id = self.world.with(|s| s.tasks.insert(SimNode::CONTROL, "main", Role::Main, None));
        let result = self.run(main.as_mut());
        set_current(None);
        self.world.with(|s| s.tasks.end(id));
        result
    }

    fn run<T>(&self, mut main: Pin<&mut impl Future<Output = T>>) -> Result<T, SimError> {
        let world = self.world;
        let mut last = None;
        let mut polls = 0;
        loop {
            // One visit for giving the last task back and taking the next one.
            let next = world.with(|s| {
                match last.take().and_then(|(picked, ended)| s.tasks.put_back(picked, ended)) {
                    Some(gone) => Next::Drop(gone),
                    None => s.next(&mut polls),
                }
            });
            let mut picked = match next {
                Next::Poll(picked) => picked,
                Next::Drop(gone) => {
                    self.drop_task(gone);
                    continue;
                }
                Next::Again => continue,
                Next::Fail(error) => return Err(error),
            };
            let mut cx = Context::from_waker(&picked.waker);
            let outcome = match &mut picked.future {
                _ if picked.aborted => Ok(Polled::Ended),
                Some(future) => catch_unwind(AssertUnwindSafe(|| match future.as_mut().poll(&mut cx) {
                    Poll::Pending => Polled::Pending,
                    Poll::Ready(None) => Polled::Ended,
                    Poll::Ready(Some(message)) => Polled::Panicked(message),
                })),
                None => catch_unwind(AssertUnwindSafe(|| match main.as_mut().poll(&mut cx) {
                    Poll::Pending => Polled::Pending,
                    Poll::Ready(output) => Polled::Output(output),
                })),
            };
            let outcome = outcome.unwrap_or_else(|panic| Polled::Panicked(panics::message(&*panic)));
            let ended = match outcome {
                Polled::Pending => false,
                Polled::Ended => true,
                Polled::Output(output) => {
                    world.with(|s| s.tasks.put_back(picked, false));
                    return Ok(output);
                }
                Polled::Panicked(message) => {
                    world.with(|s| s.crash(picked.node, picked.name, message));
                    picked.role != Role::Main
                }
            };
            last = Some((picked, ended));
        }
    }

    /// Drops a task that ended; the end of a start function is the end of its process.
    fn drop_task(&self, gone: Gone) {
        let Gone { task: Picked { future, node, role, .. }, by_itself } = gone;
        if let Some(future) = future {
            node::drop_future(self.world, node, future);
        }
        if role == Role::Process && by_itself {
            // What its end set off may have stopped it already.
            let _ = node::stop(self.world, node, Stop::Exit);
        }
    }
}

enum Polled<T> {
    Pending,
    Ended,
    Panicked(String),
    Output(T),
}

enum Next {
    Poll(Picked),
    /// A task ended and must be dropped outside of the world.
    Drop(Gone),
    /// Wakers were woken outside of the world.
    Again,
    Fail(SimError),
}

impl State {
    /// The next task to poll, moving the clock when there is none.
    fn next(&mut self, polls: &mut u64) -> Next {
        if let Some(error) = self.failure.take() {
            return Next::Fail(error);
        }
        let picked = loop {
            if let Some(picked) = self.tasks.pick(&mut self.nodes) {
                break picked;
            }
            match self.queue.next_at() {
                None => return Next::Fail(self.deadlock()),
                Some(at) if at > nanos(self.config.time_max) => {
                    let (at, event) = self.place();
                    return Next::Fail(SimError::TimeLimit { at, event });
                }
                Some(at) => {
                    if at > self.now {
                        self.time_is(at);
                        *polls = 0;
                    }
                    while let Some((number, event)) = self.queue.pop_due(self.now) {
                        self.happen(number, event);
                    }
                    if self.must_wake() {
                        return Next::Again;
                    }
                }
            }
        };
        self.record(TraceKind::Poll, picked.node, picked.number, picked.choices as u64);
        *polls += 1;
        let (at, event) = self.place();
        if event >= self.config.events_max {
            self.failure = Some(SimError::EventLimit { at, event });
        }
        if *polls > self.config.polls_per_instant_max {
            let node = self.nodes[picked.node.at()].name.to_string();
            self.failure = Some(SimError::Livelock { node, task: picked.name.to_owned(), at, event });
        }
        set_current(Some(Current { now: at, event, node: picked.node }));
        Next::Poll(picked)
    }

    fn happen(&mut self, number: u64, event: crate::timers::Event) {
        use crate::timers::Event;
        match event {
            Event::Timer(wake) => {
                self.record(TraceKind::Timer, SimNode::CONTROL, number, 0);
                self.wake(wake);
            }
            Event::Connect { conn, step } => self.net_connect_step(conn, step),
            Event::Deliver { conn, from } => self.net_deliver(conn, from as usize),
            Event::Window { conn, from } => self.net_window(conn, from as usize),
            Event::GiveUp { conn, from } => self.net_give_up(conn, from as usize),
            Event::Disk { node, op } => self.disk_complete(SimNode(node), op),
            Event::DiskBack { node } => self.disk_back(SimNode(node)),
        }
    }

    pub(crate) fn place(&self) -> (Instant, u64) {
        (Instant::from_nanos(self.now), self.trace.events())
    }

    fn deadlock(&self) -> SimError {
        let (at, event) = self.place();
        let name = |(node, task): (SimNode, &str)| format!("{}/{task}", self.nodes[node.at()].name);
        SimError::Deadlock { at, event, waiting: self.tasks.waiting().map(name).collect() }
    }

    /// Fails the run; the first failure counts.
    pub(crate) fn crash(&mut self, node: SimNode, task: &str, message: String) {
        let (at, event) = self.place();
        let node = self.nodes[node.at()].name.to_string();
        self.failure.get_or_insert(SimError::Crash { node, task: task.to_owned(), message, at, event });
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Futures first: their destructors may still ask the world for something. Nodes after them: their
        // start functions may hold handles of this world. A panic of a destructor has no run to fail any
        // more.
        let nodes = self.world.with(|s| s.nodes.len());
        for node in 1..nodes {
            let _ = node::stop(self.world, SimNode(node as u32), Stop::Kill);
        }
        self.world.with(|s| s.node(SimNode::CONTROL).up = false);
        for future in self.world.with(|s| s.tasks.take_all()) {
            node::drop_future(self.world, SimNode::CONTROL, future);
        }
        let rest = self.world.with(|s| s.take_rest());
        drop(rest);
        self.world.end();
    }
}
