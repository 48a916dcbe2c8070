//! The life of a disk operation: asked for (at the first poll of its future), under way, happened, answered.
//! It happens when its time is over, even when its future is gone; a process that dies with operations under
//! way leaves it to chance which of them happen.

use super::media::{PAGE, SyncPoint};
use super::request::{Reply, Request, check_range};
use super::{Disk, SimDisk};
use crate::executor::Wake;
use crate::node::{SimNode, Stop};
use crate::timers::{Event, EventKey};
use crate::trace::TraceKind;
use crate::world::State;
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a sync covers, fixed when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Covered {
    Nothing,
    File(SyncPoint),
    Names(u64),
}

enum Stage {
    Waiting { request: Request, covered: Covered, event: Option<EventKey> },
    Answered(io::Result<Reply>),
}

struct Running {
    stage: Stage,
    wake: Option<Wake>,
    /// Its future was dropped.
    orphan: bool,
}

/// The operations of a disk that are under way, in slots.
#[derive(Default)]
pub(super) struct Ops {
    slots: Vec<Option<Running>>,
    free: Vec<u32>,
    /// Operations whose time is over while the disk hangs.
    stuck: Vec<u32>,
}

impl Ops {
    fn insert(&mut self, running: Running) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(running);
                slot
            }
            None => {
                self.slots.push(Some(running));
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn take(&mut self, op: u32) -> Running {
        self.free.push(op);
        self.slots[op as usize].take().expect("an operation ends once")
    }

    /// How many are under way.
    pub(super) fn waiting(&self) -> usize {
        let waits = |r: &&Running| matches!(r.stage, Stage::Waiting { .. });
        self.slots.iter().flatten().filter(waits).count()
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the process was stopped")
}

impl State {
    /// Begins an operation. One that takes no time is answered at once.
    fn disk_begin(&mut self, at: &SimDisk, request: Request) -> Result<u32, io::Result<Reply>> {
        if !self.is_alive(at.node, at.boot) {
            return Err(Err(stopped()));
        }
        if let Err(error) = check_range(&request) {
            return Err(Err(error));
        }
        let now = self.now;
        let disk = self.disk(at.node);
        let delay = disk.delay(&request);
        let covered = disk.covered(&request);
        if delay == 0 && !disk.faults.hangs(now) {
            let [a, b] = request.trace();
            let result = disk.happen(request, covered);
            self.record(TraceKind::Disk, at.node, a, b);
            return Err(result);
        }
        if let Some(inode) = request.inode() {
            disk.names.inode(inode).opens += 1;
        }
        let stage = Stage::Waiting { request, covered, event: None };
        let op = disk.ops.insert(Running { stage, wake: None, orphan: false });
        let key = self.queue.insert(now + delay, Event::Disk { node: at.node.0, op });
        if let Some(Running { stage: Stage::Waiting { event, .. }, .. }) =
            &mut self.disk(at.node).ops.slots[op as usize]
        {
            *event = Some(key);
        }
        Ok(op)
    }

    /// An operation's time is over.
    pub(crate) fn disk_complete(&mut self, node: SimNode, op: u32) {
        let now = self.now;
        let disk = self.disk(node);
        let running = disk.ops.slots[op as usize].as_mut().expect("its event names an operation under way");
        let Stage::Waiting { event, .. } = &mut running.stage else {
            unreachable!("an operation happens once")
        };
        *event = None;
        if disk.faults.hangs(now) {
            disk.ops.stuck.push(op);
            return;
        }
        let answered = Stage::Answered(Ok(Reply::Done));
        let Stage::Waiting { request, covered, .. } = std::mem::replace(&mut running.stage, answered) else {
            unreachable!("checked above")
        };
        let [a, b] = request.trace();
        let inode = request.inode();
        let result = disk.happen(request, covered);
        if let Some(inode) = inode {
            disk.names.inode(inode).opens -= 1;
        }
        let running = disk.ops.slots[op as usize].as_mut().expect("checked above");
        let mut wake = running.wake.take();
        let orphan = running.orphan;
        running.stage = Stage::Answered(result);
        if orphan {
            disk.undo(op);
        }
        self.record(TraceKind::Disk, node, a, b);
        self.wake_option(&mut wake);
    }

    /// A disk stops hanging: what is stuck happens now, each in its own time.
    pub(crate) fn disk_back(&mut self, node: SimNode) {
        let now = self.now;
        let disk = self.disk(node);
        if disk.faults.hangs(now) {
            return;
        }
        for op in std::mem::take(&mut disk.ops.stuck) {
            let disk = self.disk(node);
            let Some(Running { stage: Stage::Waiting { request, .. }, .. }) = &disk.ops.slots[op as usize]
            else {
                unreachable!("a stuck operation waits")
            };
            let delay = disk.model.delay_of(request, &mut disk.latency);
            let key = self.queue.insert(now + delay, Event::Disk { node: node.0, op });
            let disk = self.disk(node);
            if let Some(Running { stage: Stage::Waiting { event, .. }, .. }) =
                &mut disk.ops.slots[op as usize]
            {
                *event = Some(key);
            }
        }
    }

    /// The process of a node stops: operations under way happen, happen in part, or do not.
    pub(crate) fn disk_stop(&mut self, node: SimNode, how: Stop) -> super::PowerLoss {
        if self.disks[node.at()].is_none() {
            return super::PowerLoss::default();
        }
        let disk = self.disk(node);
        let slots = std::mem::take(&mut disk.ops.slots);
        disk.ops = Ops::default();
        let mut keys = Vec::new();
        let mut wakes = Vec::new();
        for running in slots.into_iter().flatten() {
            wakes.extend(running.wake);
            if let Stage::Waiting { request, covered, event } = running.stage {
                keys.extend(event);
                disk.left_to_chance(request, covered);
            }
        }
        disk.names.release_all();
        let loss = if how == Stop::PowerLoss { disk.power_loss() } else { super::PowerLoss::default() };
        for key in keys {
            self.queue.cancel(key);
        }
        for wake in wakes {
            self.forget(wake);
        }
        loss
    }

    pub(super) fn disk_close(&mut self, node: SimNode, boot: u32, inode: u32) {
        if self.is_alive(node, boot) {
            let inode = self.disk(node).names.inode(inode);
            assert!(inode.opens > 0, "a file was closed more often than it was opened");
            inode.opens -= 1;
        }
    }

    pub(super) fn disk_unlock(&mut self, node: SimNode, boot: u32, inode: u32, lock: u64) {
        if self.is_alive(node, boot) {
            let inode = self.disk(node).names.inode(inode);
            assert_eq!(inode.lock, Some(lock), "a lock was released that was not held");
            inode.lock = None;
        }
    }

    /// A read from the page cache, when nothing stands in its way.
    pub(super) fn disk_try_read(
        &mut self,
        node: SimNode,
        boot: u32,
        inode: u32,
        offset: u64,
        len: usize,
    ) -> Option<Bytes> {
        if !self.is_alive(node, boot) {
            return None;
        }
        let now = self.now;
        let disk = self.disk(node);
        if check_range(&Request::Read { inode, offset, len }).is_err() {
            return None;
        }
        if disk.faults.hangs(now) || disk.faults.touches_reads() {
            return None;
        }
        let data = disk.names.file(inode);
        (!data.is_cold(offset, len)).then(|| data.read(offset, len))
    }
}

impl Disk {
    fn delay(&mut self, request: &Request) -> u64 {
        let delay = match request {
            Request::Read { inode, offset, len } if self.names.file(*inode).is_cold(*offset, *len) => {
                let entropy = &mut self.latency;
                self.model.read.draw(|| burnin_runtime::Entropy::u64(entropy))
            }
            request => self.model.delay_of(request, &mut self.latency),
        };
        let data = match (request, self.model.bandwidth) {
            (Request::Sync { inode }, Some(rate)) => {
                let bytes = (self.names.file(*inode).dirty_pages() * PAGE) as u64;
                bytes.saturating_mul(1_000_000_000) / rate.max(1)
            }
            _ => 0,
        };
        self.faults.slowed(delay.saturating_add(data))
    }

    /// Ends an operation whose answer nobody takes.
    fn undo(&mut self, op: u32) {
        if let Stage::Answered(answer) = self.ops.take(op).stage {
            self.undo_reply(answer);
        }
    }

    fn covered(&mut self, request: &Request) -> Covered {
        match request {
            Request::Sync { inode } => Covered::File(self.names.file(*inode).sync_begin()),
            Request::SyncDir(_) => Covered::Names(self.names.sync_begin()),
            _ => Covered::Nothing,
        }
    }
}

impl super::DiskModel {
    fn delay_of(&self, request: &Request, entropy: &mut burnin_runtime::Entropy) -> u64 {
        let latency = match request {
            Request::Write { .. } | Request::SetLen { .. } => self.write,
            Request::Read { .. } | Request::Len { .. } => self.cached_read,
            Request::Sync { .. } | Request::SyncDir(_) => self.sync,
            _ => self.meta,
        };
        latency.draw(|| entropy.u64())
    }
}

/// The future of an operation.
pub(super) struct Op {
    disk: SimDisk,
    state: Asked,
}

enum Asked {
    Not(Option<Request>),
    Waits(u32),
    Answered,
}

impl Op {
    pub(super) fn new(disk: SimDisk, request: Request) -> Self {
        Op { disk, state: Asked::Not(Some(request)) }
    }

    fn answer(&mut self, op: u32, cx: &Context<'_>) -> Poll<io::Result<Reply>> {
        let SimDisk { world, node, boot } = &self.disk;
        world.with(|s| {
            if !s.is_alive(*node, *boot) {
                return Poll::Ready(Err(stopped()));
            }
            let wake = s.waker(cx);
            let disk = s.disk(*node);
            let running = disk.ops.slots[op as usize].as_mut().expect("an operation waits for its future");
            if let Stage::Answered(_) = running.stage {
                let Stage::Answered(result) = disk.ops.take(op).stage else { unreachable!("checked above") };
                s.forget(wake);
                return Poll::Ready(result);
            }
            if let Some(old) = running.wake.replace(wake) {
                s.forget(old);
            }
            Poll::Pending
        })
    }
}

impl Future for Op {
    type Output = io::Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Asked::Not(request) = &mut self.state {
            let request = request.take().expect("an operation is asked for once");
            let begun = self.disk.world.with(|s| s.disk_begin(&self.disk, request));
            match begun {
                Ok(op) => self.state = Asked::Waits(op),
                Err(result) => {
                    self.state = Asked::Answered;
                    return Poll::Ready(result);
                }
            }
        }
        let Asked::Waits(op) = self.state else { panic!("a disk operation was polled after its answer") };
        let answer = self.answer(op, cx);
        if answer.is_ready() {
            self.state = Asked::Answered;
        }
        answer
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        let Asked::Waits(op) = self.state else { return };
        let SimDisk { world, node, boot } = &self.disk;
        world.with_if_there(|s| {
            if !s.is_alive(*node, *boot) {
                return;
            }
            let disk = s.disk(*node);
            let running = disk.ops.slots[op as usize].as_mut().expect("an operation waits for its future");
            let wake = running.wake.take();
            if let Stage::Answered(_) = running.stage {
                disk.undo(op);
            } else {
                running.orphan = true;
            }
            if let Some(wake) = wake {
                s.forget(wake);
            }
        });
    }
}
