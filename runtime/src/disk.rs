//! The disk. The contract is POSIX's, read strictly:
//! - a write goes to the page cache; it is durable only after [`File::sync_data`] of that file returned `Ok`;
//! - pages that were written and not synced may, after a power loss, be on the medium whole, in part, or not
//!   at all, in any combination; a process crash loses none of them;
//! - `sync_data` makes the file's content and its size durable, not the directory entry that names it; a
//!   created, renamed or removed entry is durable only after [`Disk::sync_dir`] of its directory;
//! - after a failed `sync_data` the dirty pages are marked clean: they may be lost although they can be read,
//!   and a later `sync_data` that returns `Ok` says nothing about them. Whoever sees the error must stop
//!   trusting the file;
//! - a write or a read may be short only at the end of the file (reads) or with an error (writes: an unknown
//!   part of the range may have been written);
//! - any operation may take very long, or never return. Nothing but the caller's own timeout bounds it;
//! - dropping a future of an operation does not undo it: it may still happen later.
//!
//! Paths are absolute, or relative to the node's root directory.

use bytes::Bytes;
use std::future::Future;
use std::io;
use std::path::Path;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    Write,
    /// Reading and writing; created when missing.
    Create,
    /// Reading and writing; must not exist yet (`AlreadyExists`).
    CreateNew,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// What for.
    pub access: Access,
    /// Whether the content is dropped on opening.
    pub truncate: bool,
}

impl OpenOptions {
    /// For reading.
    pub const READ: OpenOptions = OpenOptions { access: Access::Read, truncate: false };
    /// For reading and writing; the file must exist.
    pub const WRITE: OpenOptions = OpenOptions { access: Access::Write, truncate: false };
    /// For reading and writing; created when missing.
    pub const CREATE: OpenOptions = OpenOptions { access: Access::Create, truncate: false };
    /// For reading and writing a file that must not exist yet.
    pub const CREATE_NEW: OpenOptions = OpenOptions { access: Access::CreateNew, truncate: false };
    /// For writing from scratch.
    pub const REPLACE: OpenOptions = OpenOptions { access: Access::Create, truncate: true };
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name without its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Size in bytes (0 for directories).
    pub len: u64,
}

/// The disk of one node.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;
    /// Holds a lock file; dropping it, or the death of the process, releases the lock.
    type Lock: Send + Sync + 'static;

    /// Opens a file. A missing one gives `NotFound`.
    fn open(&self, path: &Path, options: OpenOptions) -> impl Future<Output = io::Result<Self::File>> + Send;

    /// Creates a directory and its parents. An existing one is fine.
    fn create_dir_all(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Renames a file or a directory, replacing an existing file.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a directory with everything in it.
    fn remove_dir_all(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// The entries of a directory, sorted by name.
    fn list(&self, path: &Path) -> impl Future<Output = io::Result<Vec<DirEntry>>> + Send;

    /// Makes the directory's entries durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes an exclusive lock on a (created) lock file; held elsewhere it gives `WouldBlock`.
    fn lock(&self, path: &Path) -> impl Future<Output = io::Result<Self::Lock>> + Send;
}

/// An open file: a cheap handle, cloned freely. Operations of one file may run at the same time; those that
/// overlap have no order unless the caller awaits one before it starts the other.
#[expect(clippy::len_without_is_empty, reason = "a size is asked of the disk; nobody asks for emptiness")]
pub trait File: Clone + Send + Sync + 'static {
    /// Writes the buffers one after the other, beginning at `offset`; extends the file when needed.
    fn write_at(&self, offset: u64, data: Vec<Bytes>) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads up to `len` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, len: usize) -> impl Future<Output = io::Result<Bytes>> + Send;

    /// The same from the page cache without waiting; `None` when that cannot be promised.
    fn try_read_at(&self, offset: u64, len: usize) -> Option<io::Result<Bytes>>;

    /// Makes content and size durable.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Cuts or extends (with zeros) to `len`.
    fn set_len(&self, len: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Size in bytes.
    fn len(&self) -> impl Future<Output = io::Result<u64>> + Send;
}
