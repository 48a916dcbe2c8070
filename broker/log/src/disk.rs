//! Writing whole small files: indexes and snapshots (synced, then covered by a `sync_dir`), and checkpoints (by
//! an atomic replacement).

use crate::error::{Context, LogError};
use crate::files::TEMP_SUFFIX;
use burnin_runtime::{Disk, File, Mutant, OpenOptions, Runtime};
use bytes::Bytes;
use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;

/// Replaces a file's content and syncs it. After a crash the file may be anything: for files that are checked
/// and can be rebuilt. The directory entry is not synced.
pub(crate) async fn write_file<R: Runtime>(runtime: &R, path: &Path, content: Bytes) -> Result<(), LogError> {
    let file = runtime.disk().open(path, OpenOptions::REPLACE).await.during("open", path)?;
    if !content.is_empty() {
        file.write_at(0, vec![content]).await.during("write", path)?;
    }
    file.sync_data().await.during("sync", path)
}

/// Replaces a file such that after a crash it holds the old content or the new one.
pub(crate) async fn replace_file<R: Runtime>(
    runtime: &R,
    path: &Path,
    content: Bytes,
) -> Result<(), LogError> {
    let disk = runtime.disk();
    let (temp, file) = write_temp(runtime, path, content).await?;
    // the planted bug renames a file whose content is only in the page cache
    if !runtime.mutants().on(Mutant::S05) {
        file.sync_data().await.during("sync", &temp)?;
    }
    disk.rename(&temp, path).await.during("rename", &temp)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(parent).await.during("sync", parent)
}

/// What [`replace_file`] must not be: after a crash the file may be anything. For a planted bug.
pub(crate) async fn replace_file_unsynced<R: Runtime>(
    runtime: &R,
    path: &Path,
    content: Bytes,
) -> Result<(), LogError> {
    let (temp, _) = write_temp(runtime, path, content).await?;
    runtime.disk().rename(&temp, path).await.during("rename", &temp)
}

async fn write_temp<R: Runtime>(
    runtime: &R,
    path: &Path,
    content: Bytes,
) -> Result<(PathBuf, <R::Disk as Disk>::File), LogError> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(TEMP_SUFFIX);
    let temp = PathBuf::from(temp);
    let file = runtime.disk().open(&temp, OpenOptions::REPLACE).await.during("open", &temp)?;
    file.write_at(0, vec![content]).await.during("write", &temp)?;
    Ok((temp, file))
}

/// The content of a file, `None` when it does not exist.
pub(crate) async fn read_file<R: Runtime>(runtime: &R, path: &Path) -> Result<Option<Bytes>, LogError> {
    let file = match runtime.disk().open(path, OpenOptions::READ).await {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("open", path, error)),
    };
    let len = file.len().await.during("read", path)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len == 0 {
        return Ok(Some(Bytes::new()));
    }
    Ok(Some(file.read_at(0, len).await.during("read", path)?))
}

/// Removes a file that may be gone already.
pub(crate) async fn remove_file<R: Runtime>(runtime: &R, path: &Path) -> Result<(), LogError> {
    match runtime.disk().remove_file(path).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(LogError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Renames a file that may be gone already; returns whether it was there.
pub(crate) async fn rename_file<R: Runtime>(runtime: &R, from: &Path, to: &Path) -> Result<bool, LogError> {
    match runtime.disk().rename(from, to).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LogError::io("rename", from, error)),
    }
}

/// Runs futures at the same time and gives their outputs in order.
pub(crate) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Option<Pin<Box<F>>>> = futures.map(|future| Some(Box::pin(future))).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        let mut waiting = false;
        for (slot, output) in running.iter_mut().zip(&mut outputs) {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => (*slot, *output) = (None, Some(value)),
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(outputs.drain(..).flatten().collect()) }
    })
    .await
}
