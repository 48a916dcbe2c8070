//! What programs ask of a disk, and what they get.

use super::faults::DiskOp;
use burnin_runtime::{DirEntry, OpenOptions};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;

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

impl Request {
    pub(super) fn kind(&self) -> DiskOp {
        match self {
            Request::Write { .. } | Request::SetLen { .. } => DiskOp::Write,
            Request::Read { .. } | Request::Len { .. } | Request::List(_) => DiskOp::Read,
            Request::Sync { .. } | Request::SyncDir(_) => DiskOp::Sync,
            _ => DiskOp::Names,
        }
    }

    /// The file that must not vanish while this is under way.
    pub(super) fn inode(&self) -> Option<u32> {
        match self {
            Request::Write { inode, .. }
            | Request::Read { inode, .. }
            | Request::Sync { inode }
            | Request::SetLen { inode, .. }
            | Request::Len { inode } => Some(*inode),
            _ => None,
        }
    }

    pub(super) fn trace(&self) -> [u64; 2] {
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
pub(super) fn check_range(request: &Request) -> io::Result<()> {
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
