//! What operations do when they happen, and what is left of them when their process dies first.

use super::Disk;
use super::faults::Verdict;
use super::media::PAGE;
use super::namespace::Body;
use super::ops::Covered;
use super::request::{Reply, Request};
use burnin_runtime::{Access, OpenOptions};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;

impl Disk {
    /// The operation takes effect, or fails.
    pub(super) fn happen(&mut self, request: Request, covered: Covered) -> io::Result<Reply> {
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
        if matches!(self.names.inode(inode).body, Body::Dir { .. }) {
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
    pub(super) fn undo_reply(&mut self, answer: io::Result<Reply>) {
        match answer {
            Ok(Reply::Inode(inode)) => self.names.inode(inode).opens -= 1,
            Ok(Reply::Lock(inode, _)) => self.names.inode(inode).lock = None,
            _ => {}
        }
    }

    /// The process died while the operation was under way.
    pub(super) fn left_to_chance(&mut self, request: Request, covered: Covered) {
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
                self.undo_reply(answer);
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
