//! The life of a disk operation: asked for (at the first poll of its future), under way, happened, answered.
//! It happens when its time is over, even when its future is gone; a process that dies with operations under
//! way leaves it to chance which of them happen.

use super::faults::{DiskOp, Verdict};
use super::media::{PAGE, SyncPoint};
use super::{Disk, SimDisk};
use crate::executor::Wake;
use crate::node::{SimNode, Stop};
use crate::timers::{Event, EventKey};
use crate::trace::TraceKind;
use crate::world::State;
use burnin_runtime::{Access, DirEntry, OpenOptions};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Open(PathBuf, OpenOptions),
    CreateDirAll(PathBuf),
    Rename(PathBuf, PathBuf),
    RemoveFile(PathBuf),
    RemoveDirAll(PathBuf),
    List(PathBuf),
    SyncDir(PathBuf),
    Lock(PathBuf),
    Write { inode: u32, offset: u64, data: Vec<Bytes> },
    Read { inode: u32, offset: u64, len: usize },
    Sync { inode: u32 },
    SetLen { inode: u32, len: u64 },
    Len { inode: u32 },
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Reply {
    Done,
    Inode(u32),
    Lock(u32, u64),
    Bytes(Bytes),
    Len(u64),
    Entries(Vec<DirEntry>),
}

/// What a sync covers, fixed when it begins.
#[derive(Clone, Copy, Debug)]
enum Covered {
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

impl Request {
    fn kind(&self) -> DiskOp {
        match self {
            Request::Write { .. } | Request::SetLen { .. } => DiskOp::Write,
            Request::Read { .. } | Request::Len { .. } | Request::List(_) => DiskOp::Read,
            Request::Sync { .. } | Request::SyncDir(_) => DiskOp::Sync,
            _ => DiskOp::Names,
        }
    }

    /// The file that must not vanish while this is under way.
    fn inode(&self) -> Option<u32> {
        match self {
            Request::Write { inode, .. }
            | Request::Read { inode, .. }
            | Request::Sync { inode }
            | Request::SetLen { inode, .. }
            | Request::Len { inode } => Some(*inode),
            _ => None,
        }
    }

    fn trace(&self) -> [u64; 2] {
        match self {
            Request::Open(..) => [1, 0],
            Request::CreateDirAll(_) => [2, 0],
            Request::Rename(..) => [3, 0],
            Request::RemoveFile(_) => [4, 0],
            Request::RemoveDirAll(_) => [5, 0],
            Request::List(_) => [6, 0],
            Request::SyncDir(_) => [7, 0],
            Request::Lock(_) => [8, 0],
            Request::Write { inode, offset, data } => {
                let len: usize = data.iter().map(Bytes::len).sum();
                [9 | u64::from(*inode) << 8, offset << 24 | len as u64]
            }
            Request::Read { inode, offset, len } => [10 | u64::from(*inode) << 8, offset << 24 | *len as u64],
            Request::Sync { inode } => [11 | u64::from(*inode) << 8, 0],
            Request::SetLen { inode, len } => [12 | u64::from(*inode) << 8, *len],
            Request::Len { inode } => [13 | u64::from(*inode) << 8, 0],
        }
    }
}

/// The largest file. Linux allows more; here a file costs memory for its size.
const FILE_LEN_MAX: u64 = 16 << 30;
const EFBIG: i32 = 27;
const EINVAL: i32 = 22;

/// What the kernel refuses before it looks at the disk.
fn check_range(request: &Request) -> io::Result<()> {
    let (end, code) = match request {
        Request::Write { offset, data, .. } => {
            let len: usize = data.iter().map(Bytes::len).sum();
            (offset.checked_add(len as u64), EFBIG)
        }
        Request::SetLen { len, .. } => (Some(*len), EFBIG),
        Request::Read { offset, len, .. } => (offset.checked_add(*len as u64), EINVAL),
        _ => return Ok(()),
    };
    let max = if code == EFBIG { FILE_LEN_MAX } else { i64::MAX as u64 };
    if end.is_some_and(|end| end <= max) { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
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
            let running = disk.ops.take(op);
            disk.undo_reply(running.stage);
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

    fn covered(&mut self, request: &Request) -> Covered {
        match request {
            Request::Sync { inode } => Covered::File(self.names.file(*inode).sync_begin()),
            Request::SyncDir(_) => Covered::Names(self.names.sync_begin()),
            _ => Covered::Nothing,
        }
    }

    /// The operation takes effect, or fails.
    fn happen(&mut self, request: Request, covered: Covered) -> io::Result<Reply> {
        self.stats.count(request.kind());
        let verdict = self.judge(&request);
        match request {
            Request::Open(path, options) => {
                verdict.whole()?;
                self.open(path, options).map(Reply::Inode)
            }
            Request::CreateDirAll(path) => {
                verdict.whole()?;
                self.names.create_dir_all(&path).map(|()| Reply::Done)
            }
            Request::Rename(from, to) => {
                verdict.whole()?;
                self.names.rename(&from, &to).map(|()| Reply::Done)
            }
            Request::RemoveFile(path) => {
                verdict.whole()?;
                self.names.remove_file(&path).map(|()| Reply::Done)
            }
            Request::RemoveDirAll(path) => {
                verdict.whole()?;
                self.names.remove_dir_all(&path).map(|()| Reply::Done)
            }
            Request::List(path) => {
                verdict.whole()?;
                self.names.list(&path).map(Reply::Entries)
            }
            Request::Lock(path) => {
                verdict.whole()?;
                self.lock(path)
            }
            Request::SyncDir(path) => {
                verdict.whole()?;
                let dir = self.names.lookup(&path)?;
                let Covered::Names(covered) = covered else { unreachable!("a directory sync covers names") };
                if !self.faults.lies() {
                    self.names.sync_done(dir, covered);
                }
                Ok(Reply::Done)
            }
            Request::Sync { inode } => {
                let Covered::File(point) = covered else { unreachable!("a file sync covers a file") };
                let data = self.names.file(inode);
                match verdict.whole() {
                    Err(error) => {
                        data.sync_failed(point, &mut self.chance);
                        Err(error)
                    }
                    Ok(()) if self.faults.lies() => {
                        data.sync_cancel(point);
                        Ok(Reply::Done)
                    }
                    Ok(()) => {
                        data.sync_done(point);
                        Ok(Reply::Done)
                    }
                }
            }
            Request::Write { inode, offset, data } => {
                let (part, error) = self.write_limit(inode, offset, &data, verdict);
                match part {
                    None => self.names.file(inode).write(offset, &data),
                    Some(bytes) => self.names.file(inode).write(offset, &prefix(&data, bytes)),
                }
                error.map_or(Ok(Reply::Done), Err)
            }
            Request::Read { inode, offset, len } => {
                verdict.whole()?;
                Ok(Reply::Bytes(self.names.file(inode).read(offset, len)))
            }
            Request::SetLen { inode, len } => {
                verdict.whole()?;
                self.names.file(inode).set_len(len);
                Ok(Reply::Done)
            }
            Request::Len { inode } => {
                verdict.whole()?;
                Ok(Reply::Len(self.names.file(inode).len()))
            }
        }
    }

    fn open(&mut self, path: PathBuf, options: OpenOptions) -> io::Result<u32> {
        let found = match self.names.lookup(&path) {
            Ok(_) if options.access == Access::CreateNew => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(inode) => Some(inode),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let inode = match (found, options.access) {
            (Some(inode), _) => inode,
            (None, Access::Create | Access::CreateNew) => {
                self.check_room()?;
                self.names.create(&path)?
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        if matches!(self.names.inode(inode).body, super::namespace::Body::Dir { .. }) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if options.truncate {
            self.names.file(inode).set_len(0);
        }
        self.names.inode(inode).opens += 1;
        Ok(inode)
    }

    fn lock(&mut self, path: PathBuf) -> io::Result<Reply> {
        let options = OpenOptions { access: Access::Create, truncate: false };
        let inode = self.open(path, options)?;
        let node = self.names.inode(inode);
        node.opens -= 1;
        if node.lock.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.locks += 1;
        node.lock = Some(self.locks);
        Ok(Reply::Lock(inode, self.locks))
    }

    /// Nobody took the answer: what it holds is released.
    fn undo_reply(&mut self, stage: Stage) {
        match stage {
            Stage::Answered(Ok(Reply::Inode(inode))) => self.names.inode(inode).opens -= 1,
            Stage::Answered(Ok(Reply::Lock(inode, _))) => self.names.inode(inode).lock = None,
            _ => {}
        }
    }

    /// The process died while the operation was under way.
    fn left_to_chance(&mut self, request: Request, covered: Covered) {
        let happens = self.chance.below(3);
        match (request, covered) {
            (Request::Sync { inode }, Covered::File(point)) => {
                if happens == 0 {
                    self.names.file(inode).sync_cancel(point);
                } else {
                    self.names.file(inode).sync_done(point);
                }
            }
            (Request::Write { inode, offset, data }, _) => match happens {
                0 => {}
                1 => {
                    // A signal stops a long write between two pages.
                    let len: usize = data.iter().map(Bytes::len).sum();
                    let pages = self.chance.below(len as u64 / PAGE as u64 + 1) as usize;
                    let cut = (pages * PAGE).saturating_sub((offset % PAGE as u64) as usize).min(len);
                    self.names.file(inode).write(offset, &prefix(&data, cut));
                }
                _ => self.names.file(inode).write(offset, &data),
            },
            (request, covered) if happens > 0 => {
                let answer = self.happen(request, covered);
                self.undo_reply(Stage::Answered(answer));
            }
            _ => {}
        }
    }

    fn judge(&mut self, request: &Request) -> Verdict {
        if self.faults.are_quiet() {
            return Verdict::Fine;
        }
        let path = match request {
            Request::Open(path, _)
            | Request::CreateDirAll(path)
            | Request::Rename(_, path)
            | Request::RemoveFile(path)
            | Request::RemoveDirAll(path)
            | Request::List(path)
            | Request::SyncDir(path)
            | Request::Lock(path) => path.to_string_lossy().into_owned(),
            request => request.inode().and_then(|inode| self.names.path(inode)).unwrap_or_default(),
        };
        self.faults.judge(request.kind(), &path, &mut self.chance)
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

/// The first `bytes` bytes of some buffers.
pub(super) fn prefix(data: &[Bytes], mut bytes: usize) -> Vec<Bytes> {
    let mut out = Vec::new();
    for part in data {
        let take = part.len().min(bytes);
        out.push(part.slice(..take));
        bytes -= take;
    }
    out
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
        world.with(|s| {
            if !s.is_alive(*node, *boot) {
                return;
            }
            let disk = s.disk(*node);
            let running = disk.ops.slots[op as usize].as_mut().expect("an operation waits for its future");
            let wake = running.wake.take();
            if let Stage::Answered(_) = running.stage {
                let running = disk.ops.take(op);
                disk.undo_reply(running.stage);
            } else {
                running.orphan = true;
            }
            if let Some(wake) = wake {
                s.forget(wake);
            }
        });
    }
}
