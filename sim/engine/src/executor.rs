//! The executor: tasks in slots, and one ready list from which the seed picks. It polls one task at a time;
//! the clock moves only when nothing is ready.
//!
//! A task's future lies in its slot except while it is polled, so that stopping a node can take exactly that
//! node's futures out and drop them at once. Wakers hold a number, never the future or the world.

use crate::latency::scale;
use crate::node::SimNode;
use crate::seed;
use crate::world::World;
use burnin_runtime::Entropy;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

/// A task's future. It ends with the message of its panic, if it panicked.
pub(crate) type BoxFuture = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Names a task; stale once the task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    slot: u32,
    generation: u32,
}

impl TaskId {
    pub(crate) const NONE: TaskId = TaskId { slot: u32::MAX, generation: 0 };
}

/// Whom to wake: one of our tasks (no reference count moves), or any waker.
#[derive(Debug)]
pub(crate) enum Wake {
    Task(TaskId),
    Foreign(Waker),
}

/// A waker of our own: a number and a world's name, never the future.
struct TaskWaker {
    world: World,
    id: TaskId,
}

impl std::task::Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.world.with_if_there(|s| s.tasks.ready(self.id));
    }
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The future of `block_on`; its slot holds no future.
    Main,
    /// The start function of a node: its end is the end of the process.
    Process,
    /// Any other.
    Plain,
}

struct Task {
    future: Option<BoxFuture>,
    waker: Option<Waker>,
    number: u64,
    node: SimNode,
    name: &'static str,
    role: Role,
    queued: bool,
    aborted: bool,
}

struct Slot {
    generation: u32,
    task: Option<Task>,
}

/// A task that was taken out to be polled or dropped.
pub(crate) struct Picked {
    pub(crate) id: TaskId,
    pub(crate) future: Option<BoxFuture>,
    pub(crate) waker: Waker,
    pub(crate) number: u64,
    pub(crate) node: SimNode,
    pub(crate) role: Role,
    pub(crate) name: &'static str,
    pub(crate) aborted: bool,
    /// How many tasks were ready, this one included.
    pub(crate) choices: usize,
}

/// A task that is no more: it ended by itself, or its node was stopped while it ran.
pub(crate) struct Gone {
    pub(crate) task: Picked,
    pub(crate) by_itself: bool,
}

/// The task that is being polled, with the address of its waker.
struct Running {
    id: TaskId,
    data: usize,
    vtable: usize,
}

/// All tasks of a world.
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Vec<TaskId>,
    world: World,
    running: Option<Running>,
    spawned: u64,
    seed: u64,
    scheduler: Option<Box<Entropy>>,
}

impl Tasks {
    pub(crate) fn new(seed: u64, world: World) -> Self {
        Tasks {
            slots: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            world,
            running: None,
            spawned: 0,
            seed,
            scheduler: None,
        }
    }

    pub(crate) fn world(&self) -> World {
        self.world
    }

    /// A new task, ready to be polled.
    pub(crate) fn insert(
        &mut self,
        node: SimNode,
        name: &'static str,
        role: Role,
        future: Option<BoxFuture>,
    ) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, task: None });
            (self.slots.len() - 1) as u32
        });
        let id = TaskId { slot, generation: self.slots[slot as usize].generation };
        let waker = Waker::from(Arc::new(TaskWaker { world: self.world, id }));
        self.spawned += 1;
        self.slots[slot as usize].task = Some(Task {
            future,
            waker: Some(waker),
            number: self.spawned,
            node,
            name,
            role,
            queued: true,
            aborted: false,
        });
        self.ready.push(id);
        id
    }

    fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.task.as_mut() } else { None }
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let task = slot.task.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(task)
    }

    /// Puts a task on the ready list, once.
    #[inline]
    pub(crate) fn ready(&mut self, id: TaskId) {
        if let Some(task) = self.get_mut(id)
            && !task.queued
        {
            task.queued = true;
            self.ready.push(id);
        }
    }

    /// Has the task dropped when its turn comes.
    pub(crate) fn abort(&mut self, id: TaskId) {
        if let Some(task) = self.get_mut(id) {
            task.aborted = true;
            self.ready(id);
        }
    }

    /// The task that polls with this waker, if it is the one that runs now.
    #[inline]
    pub(crate) fn running_as(&self, waker: &Waker) -> Option<TaskId> {
        let running = self.running.as_ref()?;
        let same = waker.data().addr() == running.data
            && std::ptr::from_ref(waker.vtable()).addr() == running.vtable;
        same.then_some(running.id)
    }

    /// Takes a random ready task whose node is not paused; paused ones go to their node's list.
    pub(crate) fn pick(&mut self, nodes: &mut [crate::node::Node]) -> Option<Picked> {
        loop {
            let choices = self.ready.len();
            let index = match choices {
                0 => return None,
                1 => 0,
                n => {
                    let seed = self.seed;
                    let scheduler = self.scheduler.get_or_insert_with(|| {
                        Box::new(seed::split(seed, &["engine", "scheduler"], u64::MAX))
                    });
                    scale(scheduler.u64(), n as u64) as usize
                }
            };
            let id = self.ready.swap_remove(index);
            let Some(task) = self.get_mut(id) else { continue };
            if let Some(node) = nodes.get_mut(task.node.at())
                && node.paused
                && !task.aborted
            {
                node.parked.push(id);
                continue;
            }
            task.queued = false;
            let waker = task.waker.take().expect("a ready task is not running");
            let picked = Picked {
                id,
                future: task.future.take(),
                number: task.number,
                node: task.node,
                role: task.role,
                name: task.name,
                aborted: task.aborted,
                choices,
                waker,
            };
            self.running = Some(Running {
                id,
                data: picked.waker.data().addr(),
                vtable: std::ptr::from_ref(picked.waker.vtable()).addr(),
            });
            return Some(picked);
        }
    }

    /// Gives a polled task back; one that ended must be dropped outside of the world.
    pub(crate) fn put_back(&mut self, mut picked: Picked, ended: bool) -> Option<Gone> {
        self.running = None;
        match self.get_mut(picked.id) {
            Some(task) if !ended => {
                task.future = picked.future.take();
                task.waker = Some(picked.waker);
                None
            }
            Some(_) => {
                self.remove(picked.id);
                Some(Gone { task: picked, by_itself: true })
            }
            None => Some(Gone { task: picked, by_itself: false }),
        }
    }

    /// Ends a task that has no future to drop.
    pub(crate) fn end(&mut self, id: TaskId) {
        self.running = None;
        self.remove(id);
    }

    /// Gives the tasks of a resumed process back to the ready list.
    pub(crate) fn unpark(&mut self, parked: Vec<TaskId>) {
        for id in parked {
            if self.get_mut(id).is_some() {
                self.ready.push(id);
            }
        }
    }

    /// Takes all tasks of a node out; the running one is dropped when its poll returns.
    pub(crate) fn take_node(&mut self, node: SimNode) -> Vec<BoxFuture> {
        let mut futures = Vec::new();
        for slot in 0..self.slots.len() {
            let id = TaskId { slot: slot as u32, generation: self.slots[slot].generation };
            if self.slots[slot].task.as_ref().is_some_and(|t| t.node == node && t.role != Role::Main) {
                futures.extend(self.remove(id).and_then(|task| task.future));
            }
        }
        futures
    }

    /// Takes everything out.
    pub(crate) fn take_all(&mut self) -> Vec<BoxFuture> {
        self.ready.clear();
        self.running = None;
        self.free.clear();
        self.slots.drain(..).filter_map(|slot| slot.task).filter_map(|task| task.future).collect()
    }

    /// The names of the tasks that wait, for the report of a deadlock.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (SimNode, &'static str)> {
        self.slots.iter().filter_map(|slot| slot.task.as_ref()).map(|task| (task.node, task.name))
    }
}
