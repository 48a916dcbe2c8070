//! The snapshot files of the metadata log, in its directory. A file is there whole or not at all.

use burnin_core::metadata::{FeatureRanges, Snapshot, parse_snapshot_name, read_snapshot, snapshot_name};
use burnin_core::quorum::SnapshotId;
use burnin_runtime::{Disk, File, Mutant, OpenOptions, Runtime};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a file is written before it has its name; a start removes what is left of it.
const PART: &str = ".part";
/// The largest piece that one request gets.
const PIECE_MAX: usize = 8 * 1024 * 1024;

/// See the module.
#[derive(Clone)]
pub(crate) struct Snapshots<R: Runtime> {
    runtime: R,
    dir: PathBuf,
    /// What this node supports.
    features: Arc<FeatureRanges>,
}

impl<R: Runtime> Snapshots<R> {
    pub(crate) fn new(runtime: R, dir: PathBuf, features: FeatureRanges) -> Self {
        Snapshots { runtime, dir, features: Arc::new(features) }
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(snapshot_name(id))
    }

    /// The newest snapshot, read whole. A damaged one is an error: without it the metadata are not known.
    pub(crate) async fn newest(&self) -> Result<Option<Snapshot>, String> {
        match self.ids().await?.into_iter().max() {
            Some(id) => self.load(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads a snapshot.
    pub(crate) async fn load(&self, id: SnapshotId) -> Result<Snapshot, String> {
        let path = self.path(id);
        let failed = |error: io::Error| format!("failed to read {}: {error}", path.display());
        let file = self.runtime.disk().open(&path, OpenOptions::READ).await.map_err(failed)?;
        let length = file.len().await.map_err(failed)?;
        let bytes = file.read_at(0, length as usize).await.map_err(failed)?;
        self.check(id, bytes).await
    }

    /// Whether these bytes are the snapshot, and what it says.
    pub(crate) async fn check(&self, id: SnapshotId, bytes: Bytes) -> Result<Snapshot, String> {
        let features = self.features.clone();
        let read = move || read_snapshot(&snapshot_name(id), &bytes, &features);
        let read = self.runtime.offload(read).await;
        read.map_err(|error| error.to_string())
    }

    async fn ids(&self) -> Result<Vec<SnapshotId>, String> {
        let failed = |error: io::Error| format!("failed to list {}: {error}", self.dir.display());
        let entries = self.runtime.disk().list(&self.dir).await.map_err(failed)?;
        Ok(entries.iter().filter_map(|entry| parse_snapshot_name(&entry.name)).collect())
    }

    /// A piece of a snapshot, and how large all of it is; `None` when there is no such snapshot.
    pub(crate) async fn piece(
        &self,
        id: SnapshotId,
        position: u64,
        bytes_max: usize,
    ) -> io::Result<Option<(Bytes, u64)>> {
        let file = match self.runtime.disk().open(&self.path(id), OpenOptions::READ).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let size = file.len().await?;
        let length = size.saturating_sub(position).min(bytes_max.min(PIECE_MAX) as u64);
        let bytes = if length == 0 { Bytes::new() } else { file.read_at(position, length as usize).await? };
        Ok(Some((bytes, size)))
    }

    /// Content first, then the name.
    pub(crate) async fn store(&self, id: SnapshotId, bytes: Bytes) -> Result<(), String> {
        let path = self.path(id);
        let mut part = path.clone().into_os_string();
        part.push(PART);
        let stored = self.write(Path::new(&part), &path, bytes).await;
        stored.map_err(|error| format!("failed to write {}: {error}", path.display()))
    }

    async fn write(&self, part: &Path, path: &Path, bytes: Bytes) -> io::Result<()> {
        let disk = self.runtime.disk();
        let file = disk.open(part, OpenOptions::REPLACE).await?;
        file.write_at(0, vec![bytes]).await?;
        // the planted bug leaves the snapshot to the page cache
        if self.runtime.mutants().on(Mutant::Q18) {
            return disk.rename(part, path).await;
        }
        file.sync_data().await?;
        disk.rename(part, path).await?;
        disk.sync_dir(&self.dir).await
    }

    /// Removes snapshots before `kept`.
    pub(crate) async fn remove_before(&self, kept: SnapshotId) -> Result<(), String> {
        self.remove(|name| parse_snapshot_name(name).is_some_and(|id| id < kept)).await
    }

    /// Removes what an interrupted write left behind. At the start alone: later somebody may be writing.
    pub(crate) async fn remove_parts(&self) -> Result<(), String> {
        self.remove(|name| name.ends_with(PART)).await
    }

    async fn remove(&self, is_unwanted: impl Fn(&str) -> bool) -> Result<(), String> {
        let disk = self.runtime.disk();
        let failed = |error: io::Error| format!("failed to remove a snapshot: {error}");
        for entry in disk.list(&self.dir).await.map_err(failed)? {
            if is_unwanted(&entry.name) {
                disk.remove_file(&self.dir.join(&entry.name)).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}
