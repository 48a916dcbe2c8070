//! The state of one world behind one lock. Everything here is single-threaded; the lock only makes the
//! handles `Send` and `Sync`, and it is never held while a future is polled or dropped or a foreign waker is
//! woken, since all of those may call back.

use crate::disk::Disk;
use crate::executor::{Tasks, Wake, Woken};
use crate::net::Net;
use crate::node::{Node, SimNode};
use crate::seed;
use crate::sim::{SimConfig, SimError};
use crate::timers::EventQueue;
use crate::trace::{Recorder, TraceKind};
use burnin_runtime::Entropy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

/// One world.
pub(crate) struct World {
    now: AtomicU64,
    state: Mutex<State>,
}

/// What the lock holds.
pub(crate) struct State {
    pub(crate) now: u64,
    pub(crate) config: SimConfig,
    pub(crate) queue: EventQueue,
    pub(crate) tasks: Tasks,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) disks: Vec<Option<Box<Disk>>>,
    pub(crate) trace: Recorder,
    pub(crate) failure: Option<SimError>,
    seed: u64,
    turns: BTreeMap<String, u64>,
    later: Later,
}

/// What must wait until the lock is free.
#[derive(Default)]
struct Later {
    wake: Vec<Waker>,
    drop: Vec<Waker>,
}

impl World {
    pub(crate) fn new(seed: u64, config: SimConfig) -> Arc<World> {
        let state = State {
            now: 0,
            queue: EventQueue::default(),
            tasks: Tasks::new(seed, Arc::new(Woken::default())),
            nodes: Vec::new(),
            net: Net::new(&config),
            disks: Vec::new(),
            trace: Recorder::new(seed),
            failure: None,
            seed,
            turns: BTreeMap::new(),
            later: Later::default(),
            config,
        };
        Arc::new(World { now: AtomicU64::new(0), state: Mutex::new(state) })
    }

    /// Nanoseconds since the world began.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Moves the clock. Only the executor does.
    pub(crate) fn set_now(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// Works on the state, then does what had to wait for the lock.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = work(&mut state);
        let later = state.take_later();
        drop(state);
        if let Some(later) = later {
            later.run();
        }
        result
    }
}

impl Later {
    #[cold]
    fn run(self) {
        self.wake.into_iter().for_each(Waker::wake);
        drop(self.drop);
    }
}

impl State {
    #[inline]
    fn take_later(&mut self) -> Option<Later> {
        if self.later.wake.is_empty() && self.later.drop.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.later))
    }

    /// What wakes the context's task: its number when the task itself polls, else its waker.
    #[inline]
    pub(crate) fn waker(&self, cx: &Context<'_>) -> Wake {
        match self.tasks.running_as(cx.waker()) {
            Some(task) => Wake::Task(task),
            None => Wake::Foreign(cx.waker().clone()),
        }
    }

    /// Wakes now (a task of ours) or as soon as the lock is free (anything else).
    #[inline]
    pub(crate) fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Task(task) => self.tasks.ready(task),
            Wake::Foreign(waker) => self.later.wake.push(waker),
        }
    }

    /// Wakes what is there.
    #[inline]
    pub(crate) fn wake_option(&mut self, wake: &mut Option<Wake>) {
        if let Some(wake) = wake.take() {
            self.wake(wake);
        }
    }

    /// Whether a waker waits for the lock to be free.
    pub(crate) fn must_wake(&self) -> bool {
        !self.later.wake.is_empty()
    }

    /// Drops a waker once the lock is free.
    #[inline]
    pub(crate) fn forget(&mut self, wake: Wake) {
        if let Wake::Foreign(waker) = wake {
            self.later.drop.push(waker);
        }
    }

    /// Records an event.
    #[inline]
    pub(crate) fn record(&mut self, kind: TraceKind, node: SimNode, a: u64, b: u64) {
        self.trace.record(self.now, kind, node, a, b);
    }

    /// A stream that depends on the root seed, the scope, the label and how often both were asked for.
    pub(crate) fn entropy(&mut self, scope: &str, label: &str) -> Entropy {
        let key = format!("{scope}/{label}");
        let turn = self.turns.entry(key).or_insert(0);
        *turn += 1;
        seed::split(self.seed, &[scope, label], *turn - 1)
    }

    /// A stream of the engine's own, asked for once.
    pub(crate) fn engine_entropy(&self, labels: &[&str]) -> Entropy {
        seed::split(self.seed, labels, u64::MAX)
    }

    /// Whether `boot` of a node is the process that runs there now.
    #[inline]
    pub(crate) fn is_alive(&self, node: SimNode, boot: u32) -> bool {
        self.nodes.get(node.at()).is_some_and(|n| n.up && n.boot == boot)
    }

    /// Takes everything out that may refer back to the world, but for tasks.
    pub(crate) fn take_rest(&mut self) -> impl Sized + use<> {
        let nodes = std::mem::take(&mut self.nodes);
        let queue = std::mem::take(&mut self.queue);
        let net = std::mem::replace(&mut self.net, Net::new(&self.config));
        let disks = std::mem::take(&mut self.disks);
        let sink = self.trace.set_sink(None);
        (nodes, queue, net, disks, sink)
    }
}

/// The task that the world of this thread is polling now, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The simulated time.
    pub now: burnin_runtime::Instant,
    /// The number of the event that polls the task.
    pub event: u64,
    /// The task's node.
    pub node: SimNode,
}

thread_local! {
    static CURRENT: std::cell::Cell<Option<Current>> = const { std::cell::Cell::new(None) };
}

/// Where and when the calling code runs; `None` outside a simulation.
pub fn current() -> Option<Current> {
    CURRENT.get()
}

pub(crate) fn set_current(current: Option<Current>) {
    CURRENT.set(current);
}
