//! The disk: system calls on tokio's blocking threads.
//!
//! Why there: a call can hang for as long as the device does, and a hung one must cost a thread and nothing
//! else. The hand-over adds about 10 µs to a call. Threads of our own with a queue were no faster (append of
//! 4 KiB and fdatasync, medians: 114 µs called directly, 142 to 190 µs from blocking threads, 163 to 192 µs
//! from two threads of our own), and `block_in_place`, which is as fast as the direct call, would take away the
//! caller's timeout.
//!
//! A future that is dropped leaves its operation running.

use burnin_runtime::{Access, DirEntry, Disk, File, OpenOptions};
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// How many buffers the kernel takes in one call (`IOV_MAX` on Linux).
const BUFFERS_PER_CALL: usize = 1024;

/// The host's file system below a root directory.
#[derive(Clone, Debug)]
pub struct TokioDisk {
    root: Arc<Path>,
    handle: Handle,
}

impl TokioDisk {
    pub(crate) fn new(root: PathBuf, handle: Handle) -> Self {
        TokioDisk { root: root.into(), handle }
    }

    /// An absolute path stays; a relative one is below the root.
    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

/// Runs a system call where it may block.
async fn blocking<T: Send + 'static>(
    handle: &Handle,
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match handle.spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(io::Error::other("the runtime is shutting down")),
    }
}

impl Disk for TokioDisk {
    type File = TokioFile;
    type Lock = TokioLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<TokioFile> {
        let path = self.at(path);
        let file = blocking(&self.handle, move || {
            let mut how = fs::OpenOptions::new();
            how.read(true).truncate(options.truncate);
            match options.access {
                Access::Read => &mut how,
                Access::Write => how.write(true),
                Access::Create => how.write(true).create(true),
                Access::CreateNew => how.write(true).create_new(true),
            };
            how.open(path)
        });
        Ok(TokioFile { file: Arc::new(file.await?), handle: self.handle.clone() })
    }

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        blocking(&self.handle, move || fs::create_dir_all(path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.at(from), self.at(to));
        blocking(&self.handle, move || fs::rename(from, to)).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        blocking(&self.handle, move || fs::remove_file(path)).await
    }

    async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        blocking(&self.handle, move || fs::remove_dir_all(path)).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = self.at(path);
        blocking(&self.handle, move || list(&path)).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        blocking(&self.handle, move || fs::File::open(path)?.sync_all()).await
    }

    async fn lock(&self, path: &Path) -> io::Result<TokioLock> {
        let path = self.at(path);
        blocking(&self.handle, move || {
            let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            file.try_lock()?;
            Ok(TokioLock { _file: file })
        })
        .await
    }
}

/// The entries by name. One that disappears while we look is left out.
fn list(directory: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Through symbolic links, which operators use to move a partition; a dangling one is itself.
        let about = match fs::metadata(&path).or_else(|_| fs::symlink_metadata(&path)) {
            Ok(about) => about,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            let reason = format!("a file name is not UTF-8: {}", path.display());
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        };
        let is_dir = about.is_dir();
        entries.push(DirEntry { name: name.to_owned(), is_dir, len: if is_dir { 0 } else { about.len() } });
    }
    entries.sort();
    Ok(entries)
}

/// An exclusive `flock`: released when it is dropped and when the process ends, however it ends.
#[derive(Debug)]
pub struct TokioLock {
    _file: fs::File,
}

/// An open file.
#[derive(Clone, Debug)]
pub struct TokioFile {
    file: Arc<fs::File>,
    handle: Handle,
}

impl TokioFile {
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.clone();
        blocking(&self.handle, move || call(&file)).await
    }
}

impl File for TokioFile {
    async fn write_at(&self, offset: u64, data: Vec<Bytes>) -> io::Result<()> {
        self.call(move |file| write_all_at(file, offset, &data)).await
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.call(move |file| read_up_to(file, offset, len)).await
    }

    fn try_read_at(&self, offset: u64, len: usize) -> Option<io::Result<Bytes>> {
        read_cached(&self.file, offset, len)
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.call(fs::File::sync_data).await
    }

    async fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(move |file| file.set_len(len)).await
    }

    async fn len(&self) -> io::Result<u64> {
        self.call(|file| Ok(file.metadata()?.len())).await
    }
}

/// Offsets are signed in the kernel, and `u64::MAX` would mean the file's own position to rustix.
fn check_range(offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => {
            let reason = format!("no file reaches that far: offset={offset} len={len}");
            Err(io::Error::new(ErrorKind::InvalidInput, reason))
        }
    }
}

/// Writes everything, continuing after short and interrupted writes.
fn write_all_at(file: &fs::File, mut offset: u64, data: &[Bytes]) -> io::Result<()> {
    check_range(offset, data.iter().map(Bytes::len).sum())?;
    let mut slices: Vec<_> = data.iter().filter(|b| !b.is_empty()).map(|b| IoSlice::new(b)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match rustix::io::pwritev(file, &left[..left.len().min(BUFFERS_PER_CALL)], offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Reads until `len` or the end of the file, continuing after short and interrupted reads.
fn read_up_to(file: &fs::File, offset: u64, len: usize) -> io::Result<Bytes> {
    check_range(offset, len)?;
    let mut buffer = Vec::with_capacity(len);
    while buffer.len() < len {
        let position = offset + buffer.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut buffer), position) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(exactly(buffer, len))
}

/// The same when all of it is in the page cache, else `None`. A short answer of the kernel is either the end
/// of the file or the edge of what is cached; the next call tells them apart.
#[cfg(target_os = "linux")]
fn read_cached(file: &fs::File, offset: u64, len: usize) -> Option<io::Result<Bytes>> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    use std::io::IoSliceMut;

    if let Err(error) = check_range(offset, len) {
        return Some(Err(error));
    }
    let mut buffer = vec![0; len];
    let mut filled = 0;
    while filled < len {
        let rest = &mut [IoSliceMut::new(&mut buffer[filled..])];
        match preadv2(file, rest, offset + filled as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return None,
            Err(errno) => return Some(Err(errno.into())),
        }
    }
    buffer.truncate(filled);
    Some(Ok(exactly(buffer, len)))
}

/// Only Linux can promise it.
#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &fs::File, _offset: u64, _len: usize) -> Option<io::Result<Bytes>> {
    None
}

/// Gives back the memory that a read at the end of a file did not fill.
fn exactly(mut buffer: Vec<u8>, asked: usize) -> Bytes {
    if buffer.len() < asked / 2 {
        buffer.shrink_to_fit();
    }
    buffer.into()
}
