//! A log directory: opening it (lock, marker, checkpoints, recovery of every partition), creating and deleting
//! logs in it, and shutting it down.

use crate::checkpoint::{decode_offsets, encode_offsets, encode_partition_metadata};
use crate::config::{LogConfig, LogDirConfig};
use crate::disk::{join_all, read_file, remove_file, replace_file, write_file};
use crate::error::{Context, LogError};
use crate::files::{
    CLEAN_SHUTDOWN, HIGH_WATERMARKS, LOCK, LOG_STARTS, PARTITION_METADATA, RECOVERY_POINTS, TEMP_SUFFIX,
    TopicPartition, is_delete_dir,
};
use crate::load::{Known, Loaded, create_segment, load};
use crate::log::{FileOf, Inner, Log, State};
use crate::ops::mark_clean;
use crate::segment::Segment;
use crate::shared::{Command, Removal, Shared};
use crate::writer::Writer;
use burnin_runtime::{Disk, Mutant, Observation, Runtime};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use uuid::Uuid;

/// A handle of an open log directory, cloned freely. When the last one is dropped the writer stops at once: what
/// was not acknowledged may be lost, as in a crash.
pub struct LogDir<R: Runtime>(Arc<Owner<R>>);

impl<R: Runtime> Clone for LogDir<R> {
    fn clone(&self) -> Self {
        LogDir(self.0.clone())
    }
}

struct Owner<R: Runtime> {
    shared: Arc<Shared<R>>,
    _writer: R::Task<()>,
    lock: Mutex<Option<<R::Disk as Disk>::Lock>>,
}

impl<R: Runtime> Drop for Owner<R> {
    fn drop(&mut self) {
        self.shared.stop_service();
        // logs hold the shared part, which holds the register of logs
        let logs = std::mem::take(&mut *self.shared.logs.lock());
        drop(logs);
    }
}

impl<R: Runtime> LogDir<R> {
    /// Opens the directory `path`, creates it when missing, and recovers every partition in it.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process has it, [`LogError::Stopped`], or an I/O error. The disk is left
    /// as it was found then, except that recovered partitions stay recovered.
    pub async fn open(runtime: R, path: PathBuf, config: LogDirConfig) -> Result<LogDir<R>, LogError> {
        let disk = runtime.disk();
        create_durably(&runtime, &path).await?;
        let lock_path = path.join(LOCK);
        let lock = match disk.lock(&lock_path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(LogError::Locked(path)),
            lock => lock.during("lock", &lock_path)?,
        };
        let shared = Arc::new(Shared::new(runtime.clone(), path.clone(), config));
        if let Err(error) = load_all(&shared).await {
            shared.logs.lock().clear();
            // the planted bug ends every life with the marker, also one that never finished loading
            if runtime.mutants().on(Mutant::S07) {
                mark_clean(&runtime, &path, -1).await?;
            }
            return Err(error);
        }
        let writer = runtime.spawn("log-writer", Writer::new(shared.clone()).run());
        Ok(LogDir(Arc::new(Owner { shared, _writer: writer, lock: Mutex::new(Some(lock)) })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.shared.path
    }

    /// All logs, by partition.
    pub fn logs(&self) -> Vec<Log<R>> {
        self.0.shared.logs.lock().values().cloned().collect()
    }

    /// The log of a partition.
    pub fn log(&self, tp: &TopicPartition) -> Option<Log<R>> {
        self.0.shared.logs.lock().get(tp).cloned()
    }

    /// Whether appends are accepted and may be acknowledged; the error says why not.
    pub fn check_online(&self) -> Result<(), LogError> {
        self.0.shared.check_online()
    }

    /// Why the directory is offline; `None` while it is in service.
    pub fn offline(&self) -> Option<String> {
        self.0.shared.offline_reason()
    }

    /// Creates the log of a partition, empty and durable. What an earlier creation left unfinished is replaced.
    /// [`LogError::Exists`] also while one of that name is being created or deleted.
    pub async fn create(
        &self,
        tp: TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
    ) -> Result<Log<R>, LogError> {
        let shared = &self.0.shared;
        shared.check_online()?;
        let Some(_reserved) = shared.reserve(&tp) else { return Err(LogError::Exists(tp.to_string())) };
        if shared.logs.lock().contains_key(&tp) {
            return Err(LogError::Exists(tp.to_string()));
        }
        let dir = shared.path.join(tp.to_string());
        let made = make_partition(&shared.runtime, &shared.path, &dir, topic_id).await;
        if let Err(error) = made {
            shared.go_offline(&error.to_string());
            return Err(error);
        }
        let segment = Segment::new(0, shared.runtime.wall_ms());
        let state = State::new(Arc::new(config), vec![segment], 0, 0);
        let log = register(shared, &tp, Arc::from(tp.to_string()), dir, Loaded { topic_id, state });
        log.ok_or_else(|| LogError::Exists(tp.to_string()))
    }

    /// Creates the logs of several partitions of a topic, at the same time: each waits for the disk several times.
    pub async fn create_all(
        &self,
        tps: &[TopicPartition],
        topic_id: Uuid,
        config: &LogConfig,
    ) -> Result<Vec<Log<R>>, LogError> {
        let creating = tps.iter().map(|tp| self.create(tp.clone(), topic_id, config.clone()));
        join_all(creating).await.into_iter().collect()
    }

    /// Deletes the log of a partition. Whoever waits for it gets [`LogError::Unknown`].
    pub async fn delete(&self, tp: &TopicPartition) -> Result<(), LogError> {
        let log = self.log(tp).ok_or_else(|| LogError::Unknown(tp.to_string()))?;
        self.0.shared.ask(|reply| Command::Delete(log, Removal::ForGood, reply)).await
    }

    /// Takes the log of a partition out of service and leaves its directory under another name, for people to look
    /// at: nobody knows whether it is still wanted.
    pub async fn set_aside(&self, tp: &TopicPartition) -> Result<(), LogError> {
        let log = self.log(tp).ok_or_else(|| LogError::Unknown(tp.to_string()))?;
        self.0.shared.ask(|reply| Command::Delete(log, Removal::Aside, reply)).await
    }

    /// Writes the high watermarks (`replication-offset-checkpoint`).
    pub async fn checkpoint_high_watermarks(
        &self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), LogError> {
        let shared = &self.0.shared;
        shared.check_online()?;
        let content = Bytes::from(encode_offsets(offsets));
        let written = replace_file(&shared.runtime, &shared.path.join(HIGH_WATERMARKS), content).await;
        if let Err(error) = &written {
            shared.go_offline(&error.to_string());
        }
        written
    }

    /// The high watermarks that were written last. They are lower bounds: a missing one is no error.
    pub async fn high_watermarks(&self) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
        let offsets = read_offsets(&self.0.shared.runtime, &self.0.shared.path, HIGH_WATERMARKS).await?;
        Ok(offsets.unwrap_or_default())
    }

    /// Applies retention to these logs, each with its high watermark, and forgets their silent producers. A log
    /// that is not named keeps everything: nobody has said yet which settings are its own. To be called every
    /// `log.retention.check.interval.ms`.
    pub async fn retention_tick(&self, logs: Vec<(Log<R>, i64)>) -> Result<(), LogError> {
        self.0.shared.ask(|reply| Command::Retention(logs, reply)).await
    }

    /// Writes the recovery points now.
    pub async fn checkpoint(&self) -> Result<(), LogError> {
        self.0.shared.ask(Command::Checkpoint).await
    }

    /// Flushes everything, writes checkpoints, indexes and snapshots and the clean-shutdown marker, and gives the
    /// lock back. The logs refuse everything afterwards.
    pub async fn shutdown(&self) -> Result<(), LogError> {
        self.shutdown_with_epoch(-1).await
    }

    /// The same, with the broker epoch for the marker: who knows it at the next start has not been down uncleanly in
    /// between (KIP-966).
    pub async fn shutdown_with_epoch(&self, broker_epoch: i64) -> Result<(), LogError> {
        let result = self.0.shared.ask(|reply| Command::Shutdown(broker_epoch, reply)).await;
        self.0.lock.lock().take();
        result
    }
}

impl<R: Runtime> Log<R> {
    /// Makes everything that was appended before the call durable on the medium, whatever the flush mode.
    pub async fn flush(&self) -> Result<(), LogError> {
        self.0.shared.ask(|reply| Command::Flush(self.clone(), reply)).await
    }

    /// Moves the log start to `offset`, or to the durable offset when it is -1 (DeleteRecords). Returns the log
    /// start, which is durable then.
    pub async fn delete_records_before(&self, offset: i64) -> Result<i64, LogError> {
        self.0.shared.ask(|reply| Command::DeleteRecords(self.clone(), offset, reply)).await
    }

    /// Cuts the log such that it ends at `offset`, or before the batch that `offset` is inside of.
    pub async fn truncate_to(&self, offset: i64) -> Result<(), LogError> {
        self.0.shared.ask(|reply| Command::TruncateTo(self.clone(), offset, reply)).await
    }

    /// Empties the log; it begins and ends at `offset` then.
    pub async fn truncate_fully_and_start_at(&self, offset: i64) -> Result<(), LogError> {
        self.0.shared.ask(|reply| Command::StartAt(self.clone(), offset, reply)).await
    }
}

/// Creates a directory and its parents such that a crash does not take them back, also when a crash interrupted
/// an earlier creation.
async fn create_durably<R: Runtime>(runtime: &R, path: &Path) -> Result<(), LogError> {
    let disk = runtime.disk();
    let mut missing = Vec::new();
    for ancestor in path.ancestors().skip(1) {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        missing.push(ancestor);
        if disk.list(ancestor).await.is_ok() {
            break;
        }
    }
    disk.create_dir_all(path).await.during("create", path)?;
    for parent in missing {
        match disk.sync_dir(parent).await {
            // a parent that this process may not read was not made by it
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            synced => synced.during("sync", parent)?,
        }
    }
    Ok(())
}

/// Makes the directory of a partition with its metadata and an empty segment, durably.
async fn make_partition<R: Runtime>(
    runtime: &R,
    root: &Path,
    dir: &Path,
    topic_id: Uuid,
) -> Result<(), LogError> {
    let disk = runtime.disk();
    match disk.list(dir).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        left_over => {
            left_over.during("list", dir)?;
            disk.remove_dir_all(dir).await.during("remove", dir)?;
        }
    }
    disk.create_dir_all(dir).await.during("create", dir)?;
    let metadata = Bytes::from(encode_partition_metadata(topic_id));
    write_file(runtime, &dir.join(PARTITION_METADATA), metadata).await?;
    create_segment(runtime, dir, 0).await?;
    disk.sync_dir(dir).await.during("sync", dir)?;
    disk.sync_dir(root).await.during("sync", root)
}

/// Puts a log into the register; `None` when the partition got one meanwhile.
fn register<R: Runtime>(
    shared: &Arc<Shared<R>>,
    tp: &TopicPartition,
    name: Arc<str>,
    dir: PathBuf,
    loaded: Loaded<FileOf<R>>,
) -> Option<Log<R>> {
    let state = loaded.state;
    let log = Log(Arc::new(Inner {
        id: shared.next_id.fetch_add(1, Ordering::Relaxed),
        tp: tp.clone(),
        name,
        topic_id: loaded.topic_id,
        dir,
        shared: shared.clone(),
        end: AtomicI64::new(state.end),
        durable: AtomicI64::new(state.durable),
        start: AtomicI64::new(state.start),
        state: Mutex::new(state),
        watchers: Mutex::default(),
        is_listened: AtomicBool::new(false),
    }));
    let mut logs = shared.logs.lock();
    if logs.contains_key(tp) {
        return None;
    }
    logs.insert(tp.clone(), log.clone());
    Some(log)
}

/// How many partitions are loaded at the same time.
const LOADED_AT_ONCE: usize = 16;

async fn load_one<R: Runtime>(
    shared: &Arc<Shared<R>>,
    tp: &TopicPartition,
    dir: &Path,
    clean: bool,
    recovery_point: i64,
    log_start: Option<i64>,
) -> Result<(), LogError> {
    let name: Arc<str> = Arc::from(tp.to_string());
    let known = Known {
        dir,
        name: &name,
        config: Arc::new(shared.config.log.clone()),
        clean,
        recovery_point,
        log_start,
        producer_id_expiration_ms: shared.config.producer_id_expiration_ms,
    };
    let loaded = load(&shared.runtime, &known).await?;
    let log = register(shared, tp, name.clone(), dir.to_owned(), loaded);
    assert!(log.is_some(), "directory {} was listed twice", dir.display());
    Ok(())
}

async fn load_all<R: Runtime>(shared: &Arc<Shared<R>>) -> Result<(), LogError> {
    let (runtime, path) = (&shared.runtime, &shared.path);
    let entries = runtime.disk().list(path).await.during("list", path)?;
    let clean = entries.iter().any(|entry| entry.name == CLEAN_SHUTDOWN);
    if clean {
        // before anything can be appended: a crash from here on is not a clean shutdown
        remove_file(runtime, &path.join(CLEAN_SHUTDOWN)).await?;
        runtime.disk().sync_dir(path).await.during("sync", path)?;
    }
    let points = read_offsets(runtime, path, RECOVERY_POINTS).await?.unwrap_or_default();
    let starts = read_offsets(runtime, path, LOG_STARTS).await?;
    let mut partitions = Vec::new();
    for entry in entries {
        let entry_path = path.join(&entry.name);
        if is_delete_dir(&entry.name) && entry.is_dir {
            runtime.disk().remove_dir_all(&entry_path).await.during("remove", &entry_path)?;
        } else if entry.name.ends_with(TEMP_SUFFIX) && !entry.is_dir {
            remove_file(runtime, &entry_path).await?;
        } else if let Some(tp) = TopicPartition::from_dir_name(&entry.name).filter(|_| entry.is_dir) {
            let point = points.get(&tp).copied().unwrap_or(0);
            let start = starts.as_ref().map(|starts| starts.get(&tp).copied().unwrap_or(0));
            partitions.push((tp, entry_path, point, start));
        }
    }
    for some in partitions.chunks(LOADED_AT_ONCE) {
        if shared.config.stop.is_set() {
            return Err(LogError::Stopped(path.clone()));
        }
        let loading =
            some.iter().map(|(tp, dir, point, start)| load_one(shared, tp, dir, clean, *point, *start));
        join_all(loading).await.into_iter().collect::<Result<(), LogError>>()?;
    }
    let recovered: BTreeMap<_, _> =
        shared.logs.lock().values().map(|log| (log.0.tp.clone(), log.recovery_point())).collect();
    if clean && recovered == points { Ok(()) } else { checkpoint_recovered(shared, &recovered).await }
}

/// Everything that was found is durable now: notes it, so that a crash loop does not scan the same again and a log
/// that comes later does not inherit an entry. After a crash the checkpoints are written in any case: what can be
/// read of them is not on the medium for sure.
async fn checkpoint_recovered<R: Runtime>(
    shared: &Arc<Shared<R>>,
    points: &BTreeMap<TopicPartition, i64>,
) -> Result<(), LogError> {
    let logs: Vec<Log<R>> = shared.logs.lock().values().cloned().collect();
    // a partition's directory may have been created and not synced
    shared.runtime.disk().sync_dir(&shared.path).await.during("sync", &shared.path)?;
    for log in &logs {
        crate::writer::write_epochs(log).await?;
    }
    let starts: BTreeMap<_, _> = logs
        .iter()
        .map(|log| (log.0.tp.clone(), log.start_offset()))
        .filter(|&(_, start)| start > 0)
        .collect();
    for (name, offsets) in [(LOG_STARTS, &starts), (RECOVERY_POINTS, points)] {
        replace_file(&shared.runtime, &shared.path.join(name), Bytes::from(encode_offsets(offsets))).await?;
    }
    Ok(())
}

/// A checkpoint; empty when there is none, and nothing when it cannot be read.
async fn read_offsets<R: Runtime>(
    runtime: &R,
    dir: &Path,
    name: &str,
) -> Result<Option<BTreeMap<TopicPartition, i64>>, LogError> {
    let Some(content) = read_file(runtime, &dir.join(name)).await? else { return Ok(Some(BTreeMap::new())) };
    match decode_offsets(&content) {
        Ok(offsets) => Ok(Some(offsets)),
        Err(error) => {
            tracing::error!(dir = %dir.display(), name, %error, "checkpoint is unreadable");
            let what = format!("{name} is unreadable: {error}");
            let partition: Arc<str> = Arc::from(dir.display().to_string());
            runtime.probe().emit(|| Observation::RecoveryMismatch { partition, what });
            Ok(None)
        }
    }
}
