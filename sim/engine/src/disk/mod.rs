//! The disk of a node. Layers: a program's operation, the page cache, the medium. Operations take time and
//! happen when it is over, whether or not somebody still waits for them.
//!
//! | file | what |
//! |---|---|
//! | `request.rs` | what is asked for |
//! | `ops.rs` | the life of an operation |
//! | `effects.rs` | what it does when it happens |
//! | `media.rs` | contents: page cache, sync, power loss |
//! | `namespace.rs`, `journal.rs` | names, and which of them are durable |
//! | `faults.rs`, `control.rs` | what can go wrong, and who says so |

mod control;
mod effects;
mod faults;
mod journal;
mod media;
mod namespace;
mod ops;
mod request;

pub use control::{BitRot, DiskControl, FileInfo};
pub use faults::{DiskOp, DiskStats, FailRule, PathFilter, PowerLoss};

use crate::latency::Latency;
use crate::node::SimNode;
use crate::world::{State, World};
use burnin_runtime::{Access, DirEntry, Entropy, OpenOptions};
use bytes::Bytes;
use faults::Faults;
use namespace::Namespace;
use ops::{Op, Ops};
use request::{Reply, Request};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a disk behaves while nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskModel {
    /// Copying into the page cache.
    pub write: Latency,
    /// Reading what is in the page cache.
    pub cached_read: Latency,
    /// Reading what is not.
    pub read: Latency,
    /// Syncing a file or a directory, without the time for its data.
    pub sync: Latency,
    /// Opening, renaming, removing, listing.
    pub meta: Latency,
    /// Bytes per second that a sync writes.
    pub bandwidth: Option<u64>,
    /// Bytes that fit, in whole pages.
    pub capacity: Option<u64>,
}

impl Default for DiskModel {
    /// A data-centre SSD.
    fn default() -> Self {
        DiskModel {
            write: Latency::micros(2, 20),
            cached_read: Latency::micros(1, 10),
            read: Latency::micros(60, 250),
            sync: Latency::micros(150, 2_000),
            meta: Latency::micros(5, 50),
            bandwidth: Some(1_000_000_000),
            capacity: None,
        }
    }
}

impl DiskModel {
    /// A disk whose operations take no time. For tests of other things.
    pub const INSTANT: DiskModel = DiskModel {
        write: Latency::ZERO,
        cached_read: Latency::ZERO,
        read: Latency::ZERO,
        sync: Latency::ZERO,
        meta: Latency::ZERO,
        bandwidth: None,
        capacity: None,
    };
}

/// The state of one disk; it outlives the processes that use it.
pub(crate) struct Disk {
    model: DiskModel,
    names: Namespace,
    ops: Ops,
    faults: Faults,
    /// For latencies.
    latency: Entropy,
    /// For everything that goes wrong.
    chance: Entropy,
    locks: u64,
    stats: DiskStats,
}

impl State {
    /// The node's disk, made when first used.
    pub(crate) fn disk(&mut self, node: SimNode) -> &mut Disk {
        if self.disks[node.at()].is_none() {
            let name = self.nodes[node.at()].name.clone();
            let latency = self.entropy("engine/disk-latency", &name);
            let chance = self.entropy("engine/disk-faults", &name);
            let model = self.nodes[node.at()].disk;
            self.disks[node.at()] = Some(Box::new(Disk {
                faults: Faults::new(model.capacity),
                model,
                names: Namespace::new(),
                ops: Ops::default(),
                latency,
                chance,
                locks: 0,
                stats: DiskStats::default(),
            }));
        }
        self.disks[node.at()].as_deref_mut().expect("was made above")
    }
}

/// The disk as one process sees it.
#[derive(Clone)]
pub struct SimDisk {
    world: World,
    node: SimNode,
    boot: u32,
}

impl SimDisk {
    pub(crate) fn new(world: World, node: SimNode, boot: u32) -> Self {
        SimDisk { world, node, boot }
    }

    fn op(&self, request: Request) -> Op {
        Op::new(self.clone(), request)
    }
}

impl burnin_runtime::Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<SimFile> {
        let reply = self.op(Request::Open(path.to_owned(), options)).await?;
        let inode = reply.inode();
        let writable = options.access != Access::Read;
        Ok(SimFile(Arc::new(OpenFile { disk: self.clone(), inode, writable })))
    }

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.op(Request::CreateDirAll(path.to_owned())).await.map(drop)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.op(Request::Rename(from.to_owned(), to.to_owned())).await.map(drop)
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.op(Request::RemoveFile(path.to_owned())).await.map(drop)
    }

    async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.op(Request::RemoveDirAll(path.to_owned())).await.map(drop)
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        Ok(self.op(Request::List(path.to_owned())).await?.entries())
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.op(Request::SyncDir(path.to_owned())).await.map(drop)
    }

    async fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let (inode, lock) = self.op(Request::Lock(path.to_owned())).await?.lock();
        Ok(SimLock { disk: self.clone(), inode, lock })
    }
}

struct OpenFile {
    disk: SimDisk,
    inode: u32,
    writable: bool,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let SimDisk { world, node, boot } = &self.disk;
        world.with_if_there(|s| s.disk_close(*node, *boot, self.inode));
    }
}

/// An open file.
#[derive(Clone)]
pub struct SimFile(Arc<OpenFile>);

impl SimFile {
    fn writable(&self) -> io::Result<()> {
        if self.0.writable { Ok(()) } else { Err(io::Error::from_raw_os_error(EBADF)) }
    }
}

const EBADF: i32 = 9;

impl burnin_runtime::File for SimFile {
    async fn write_at(&self, offset: u64, data: Vec<Bytes>) -> io::Result<()> {
        self.writable()?;
        self.0.disk.op(Request::Write { inode: self.0.inode, offset, data }).await.map(drop)
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        Ok(self.0.disk.op(Request::Read { inode: self.0.inode, offset, len }).await?.bytes())
    }

    fn try_read_at(&self, offset: u64, len: usize) -> Option<io::Result<Bytes>> {
        let SimDisk { world, node, boot } = &self.0.disk;
        world.with(|s| s.disk_try_read(*node, *boot, self.0.inode, offset, len)).map(Ok)
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.0.disk.op(Request::Sync { inode: self.0.inode }).await.map(drop)
    }

    async fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        self.0.disk.op(Request::SetLen { inode: self.0.inode, len }).await.map(drop)
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(self.0.disk.op(Request::Len { inode: self.0.inode }).await?.len())
    }
}

/// A held lock file.
pub struct SimLock {
    disk: SimDisk,
    inode: u32,
    lock: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let SimDisk { world, node, boot } = &self.disk;
        world.with_if_there(|s| s.disk_unlock(*node, *boot, self.inode, self.lock));
    }
}

/// Replies of an operation, by what it asked for.
impl Reply {
    fn inode(self) -> u32 {
        let Reply::Inode(inode) = self else { unreachable!("opening gives an inode") };
        inode
    }

    fn lock(self) -> (u32, u64) {
        let Reply::Lock(inode, lock) = self else { unreachable!("locking gives a lock") };
        (inode, lock)
    }

    fn bytes(self) -> Bytes {
        let Reply::Bytes(bytes) = self else { unreachable!("reading gives bytes") };
        bytes
    }

    fn len(self) -> u64 {
        let Reply::Len(len) = self else { unreachable!("asking for the size gives it") };
        len
    }

    fn entries(self) -> Vec<DirEntry> {
        let Reply::Entries(entries) = self else { unreachable!("listing gives entries") };
        entries
    }
}
