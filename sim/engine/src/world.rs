//! The state of a world. It lives in its thread, and handles hold its name: no lock and no reference count
//! stands between a task and the world, and handles are `Send` and `Sync` without being of use elsewhere.
//!
//! The state is never borrowed while a future is polled or dropped or a foreign waker is woken, since all of
//! those may call back.

use crate::disk::Disk;
use crate::executor::{Tasks, Wake};
use crate::net::Net;
use crate::node::{Node, SimNode};
use crate::seed;
use crate::sim::{SimConfig, SimError};
use crate::timers::EventQueue;
use crate::trace::{Recorder, TraceKind};
use burnin_runtime::Entropy;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

/// Names a world of this thread. Handles hold it, so that they are `Send` and `Sync` and cost nothing to
/// clone; used on another thread, or after the world, they panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct World {
    place: u32,
    /// Unique in the process, so that a name never means another world.
    number: u64,
}

struct Place {
    number: u64,
    state: Option<Box<State>>,
}

thread_local! {
    static WORLDS: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    /// The time of the world whose time moved last, and that world's number: what is asked for most.
    static CLOCK: Cell<(u64, u64)> = const { Cell::new((u64::MAX, 0)) };
}

static WORLDS_MADE: AtomicU64 = AtomicU64::new(0);

/// Everything that there is.
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

/// What must wait until nobody works on the state.
#[derive(Default)]
struct Later {
    wake: Vec<Waker>,
    drop: Vec<Waker>,
}

impl World {
    pub(crate) fn new(seed: u64, config: SimConfig) -> World {
        let number = WORLDS_MADE.fetch_add(1, Ordering::Relaxed);
        WORLDS.with_borrow_mut(|worlds| {
            let free = worlds.iter().position(|place| place.state.is_none());
            let place = free.unwrap_or(worlds.len()) as u32;
            let world = World { place, number };
            let state = State {
                now: 0,
                queue: EventQueue::default(),
                tasks: Tasks::new(seed, world),
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
            let made = Place { number, state: Some(Box::new(state)) };
            match free {
                Some(free) => worlds[free] = made,
                None => worlds.push(made),
            }
            world
        })
    }

    /// Ends the world. Whatever still names it finds nothing.
    pub(crate) fn end(self) {
        CLOCK.set((u64::MAX, 0));
        let state = WORLDS.with_borrow_mut(|worlds| worlds[self.place as usize].state.take());
        drop(state);
    }

    /// Nanoseconds since the world began.
    #[inline]
    pub(crate) fn now(self) -> u64 {
        let (number, now) = CLOCK.get();
        if number == self.number { now } else { self.now_of_another() }
    }

    #[cold]
    fn now_of_another(self) -> u64 {
        WORLDS.with_borrow(|worlds| match worlds.get(self.place as usize) {
            Some(Place { number, state: Some(state) }) if *number == self.number => state.now,
            _ => no_such_world(),
        })
    }

    /// Works on the state, then does what had to wait.
    #[inline]
    pub(crate) fn with<R>(self, work: impl FnOnce(&mut State) -> R) -> R {
        self.with_if_there(work).unwrap_or_else(|| no_such_world())
    }

    /// The same, for destructors and wakers, which may come after the world.
    #[inline]
    pub(crate) fn with_if_there<R>(self, work: impl FnOnce(&mut State) -> R) -> Option<R> {
        let done = WORLDS.try_with(|worlds| {
            let mut worlds = worlds.borrow_mut();
            match worlds.get_mut(self.place as usize) {
                Some(Place { number, state: Some(state) }) if *number == self.number => {
                    let result = work(state);
                    Some((result, state.take_later()))
                }
                _ => None,
            }
        });
        let (result, later) = done.ok().flatten()?;
        if let Some(later) = later {
            later.run();
        }
        Some(result)
    }
}

#[cold]
fn no_such_world() -> ! {
    panic!("this world was dropped, or belongs to another thread")
}

impl Later {
    #[cold]
    fn run(self) {
        self.wake.into_iter().for_each(Waker::wake);
        drop(self.drop);
    }
}

impl State {
    /// Moves the clock on.
    pub(crate) fn time_is(&mut self, at: u64) {
        self.now = at;
        CLOCK.set((self.tasks.world().number, at));
    }

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

    /// Wakes now (a task of ours) or as soon as nobody works on the state (anything else).
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

    /// Whether a waker waits to be woken.
    pub(crate) fn must_wake(&self) -> bool {
        !self.later.wake.is_empty()
    }

    /// Drops a waker once nobody works on the state.
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
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// Where and when the calling code runs; `None` outside a simulation.
pub fn current() -> Option<Current> {
    CURRENT.get()
}

pub(crate) fn set_current(current: Option<Current>) {
    CURRENT.set(current);
}
