//! The writer's rarer work: deletion of records, retention, deletion of logs, shutdown.
//!
//! What is removed on purpose is first noted durably (a lowered recovery point, a raised log start) and then
//! removed, so that no crash brings it back and none takes more than was meant.

use crate::append::roll_now;
use crate::checkpoint::encode_clean_shutdown;
use crate::disk::{remove_file, rename_file, write_file};
use crate::error::{Context, LogError, ReadError};
use crate::files::{CLEAN_SHUTDOWN, DELETED_SUFFIX, Kind, delete_dir_name, stray_dir_name};
use crate::log::{FileOf, Log, State};
use crate::shared::Removal;
use crate::snapshot;
use crate::writer::Writer;
use burnin_runtime::{Disk, Observation, Runtime};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl<R: Runtime> Writer<R> {
    /// Moves the log start to `offset` (-1: to the durable offset) and removes segments that are below it.
    /// Returns the log start. It is durable before anybody can see it.
    pub async fn delete_records(&mut self, log: &Log<R>, offset: i64) -> Result<i64, LogError> {
        let (offset, start, durable) = {
            let state = log.0.state.lock();
            (if offset == -1 { state.durable } else { offset }, state.start, state.durable)
        };
        if offset < 0 || offset > durable {
            return Err(LogError::OffsetOutOfRange { offset, start, end: durable });
        }
        if offset > start {
            self.checkpoint_starts(Some((log, offset))).await?;
            self.advance_start(log, offset);
            self.remove_old_segments(log).await?;
        }
        Ok(log.start_offset())
    }

    fn advance_start(&self, log: &Log<R>, offset: i64) {
        let mut state = log.0.state.lock();
        assert!(
            offset <= state.durable,
            "log start {offset} past the durable {} of {}",
            state.durable,
            log.0.name
        );
        state.start = offset;
        state.epochs_dirty |= state.epochs.truncate_from_start(offset);
        log.0.start.store(offset, Ordering::Release);
        drop(state);
        let partition = log.0.name.clone();
        let moved = || Observation::LogStartAdvanced { partition, log_start_offset: offset };
        self.shared.runtime.probe().emit(moved);
    }

    /// Renames the files of segments that end at or below the log start, and removes them later.
    async fn remove_old_segments(&mut self, log: &Log<R>) -> Result<(), LogError> {
        let runtime = self.shared.runtime.clone();
        let (removed, delay_ms) = {
            let mut state = log.0.state.lock();
            let start = state.start;
            // one that is not sealed yet is still being written, even if all of it may go
            let ends = state.segments.iter().skip(1).map(|next| next.base);
            let gone =
                state.segments.iter().zip(ends).take_while(|(segment, end)| segment.sealed && *end <= start);
            let count = gone.count();
            let removed: Vec<i64> = state.segments.drain(..count).map(|segment| segment.base).collect();
            state.damage.retain(|damage| !removed.contains(&damage.segment));
            (removed, state.config.file_delete_delay_ms)
        };
        if removed.is_empty() {
            return Ok(());
        }
        let at = runtime.now() + Duration::from_millis(delay_ms);
        for base in &removed {
            for kind in [Kind::OffsetIndex, Kind::TimeIndex, Kind::Log] {
                let path = kind.path(&log.0.dir, *base);
                let mut deleted = path.as_os_str().to_owned();
                deleted.push(DELETED_SUFFIX);
                let deleted = PathBuf::from(deleted);
                if rename_file(&runtime, &path, &deleted).await? {
                    self.removals.push_back((at, deleted));
                }
            }
        }
        let first = log.0.state.lock().segments.first().map_or(0, |segment| segment.base);
        self.drop_snapshots(log, |at| at < first).await?;
        runtime.disk().sync_dir(&log.0.dir).await.during("sync", &log.0.dir)
    }

    pub async fn drop_snapshots(&self, log: &Log<R>, unwanted: impl Fn(i64) -> bool) -> Result<(), LogError> {
        let all = std::mem::take(&mut log.0.state.lock().snapshots);
        let (drop, keep): (Vec<i64>, Vec<i64>) = all.into_iter().partition(|&at| unwanted(at));
        log.0.state.lock().snapshots = keep;
        for at in drop {
            remove_file(&self.shared.runtime, &Kind::Snapshot.path(&log.0.dir, at)).await?;
        }
        Ok(())
    }

    /// Applies retention to these logs, each below its high watermark, and forgets their silent producers.
    pub async fn retention(&mut self, logs: &[(Log<R>, i64)]) -> Result<(), LogError> {
        let now_ms = self.shared.runtime.wall_ms();
        for (log, high_watermark) in logs {
            let expiration_ms = self.shared.config.producer_id_expiration_ms;
            {
                let mut state = log.0.state.lock();
                if state.deleted {
                    continue;
                }
                state.producers.expire(now_ms, expiration_ms);
            }
            if let Some(start) = self.retained_from(log, *high_watermark, now_ms).await? {
                self.delete_records(log, start).await?;
            }
        }
        Ok(())
    }

    /// The new log start by retention, when it moves. Only what is durable and committed may go
    /// (`UnifiedLog.deletableSegments`); an active segment that is old as a whole is rolled first, so that it is
    /// never the active one that goes.
    async fn retained_from(
        &mut self,
        log: &Log<R>,
        high_watermark: i64,
        now_ms: i64,
    ) -> Result<Option<i64>, LogError> {
        let config = log.config();
        if !config.cleanup_delete || (config.retention_ms < 0 && config.retention_bytes < 0) {
            return Ok(None);
        }
        let segments: Vec<(i64, u64, i64)> = {
            let state = log.0.state.lock();
            let ends = (0..state.segments.len()).map(|at| state.segment_end(at));
            state.segments.iter().zip(ends).map(|(segment, end)| (segment.base, segment.size, end)).collect()
        };
        let total: u64 = segments.iter().map(|&(_, size, _)| size).sum();
        let mut excess = total as i128 - i128::from(config.retention_bytes);
        let (bound, mut new_start) = (log.durable_offset().min(high_watermark), None);
        for (at, &(base, size, end)) in segments.iter().enumerate() {
            if size == 0 || end > bound {
                break;
            }
            let age_unknown = |state: &mut State<FileOf<R>>| {
                config.retention_ms >= 0 && state.segment_mut(base).is_some_and(|s| s.max_timestamp.is_none())
            };
            let unknown = age_unknown(&mut log.0.state.lock());
            if unknown && let Err(ReadError::Log(error)) = log.segment_max_timestamp(base).await {
                return Err(error);
            }
            let age =
                log.0.state.lock().segment_mut(base).map_or(0, |segment| now_ms - segment.age_timestamp());
            let too_old = config.retention_ms >= 0 && age > config.retention_ms;
            let too_much = config.retention_bytes >= 0 && excess >= i128::from(size);
            if !too_old && !too_much {
                break;
            }
            if at + 1 == segments.len() && !self.roll_empty(log, end, now_ms).await? {
                break;
            }
            excess -= i128::from(size);
            new_start = Some(end);
        }
        Ok(new_start.filter(|&start| start > log.start_offset()))
    }

    /// Rolls the active segment if the log still ends at `end`; returns whether it did.
    async fn roll_empty(&mut self, log: &Log<R>, end: i64, now_ms: i64) -> Result<bool, LogError> {
        let rolled = {
            let mut state = log.0.state.lock();
            let quiet = state.end == end && state.durable == end && state.active().size > 0;
            if quiet {
                roll_now(&mut state, now_ms);
            }
            quiet
        };
        if rolled {
            self.flush(log).await?;
        }
        Ok(rolled)
    }

    /// Removes a log: first from the checkpoints, so that a log of the same name that comes later does not
    /// inherit them, then by renaming its directory, then for good unless it is only set aside.
    pub async fn delete(&mut self, log: &Log<R>, removal: Removal) -> Result<(), LogError> {
        let runtime = self.shared.runtime.clone();
        let unknown = || LogError::Unknown(log.0.name.to_string());
        let _reserved = self.shared.reserve(&log.0.tp).ok_or_else(unknown)?;
        {
            let mut logs = self.shared.logs.lock();
            if logs.get(&log.0.tp).is_none_or(|known| known.0.id != log.0.id) {
                return Err(unknown());
            }
            logs.remove(&log.0.tp);
        }
        {
            let mut state = log.0.state.lock();
            state.deleted = true;
            state.pending.clear();
            state.tail.clear();
            state.segments.iter_mut().for_each(|segment| segment.file = None);
            state.waiters.release_above(i64::MIN, &Err(unknown()));
        }
        log.0.watchers.lock().notify_all();
        self.forget(log);
        self.removals.retain(|(_, path)| !path.starts_with(&log.0.dir));
        self.checkpoint().await?;
        self.checkpoint_starts(None).await?;
        let mut unique = runtime.entropy("log-delete");
        let unique = u128::from(unique.u64()) << 64 | u128::from(unique.u64());
        let name = match removal {
            Removal::ForGood => delete_dir_name(&log.0.tp, unique),
            Removal::Aside => stray_dir_name(&log.0.tp, unique),
        };
        let renamed = self.shared.path.join(name);
        runtime.disk().rename(&log.0.dir, &renamed).await.during("rename", &log.0.dir)?;
        runtime.disk().sync_dir(&self.shared.path).await.during("sync", &self.shared.path)?;
        let partition = log.0.name.clone();
        runtime.probe().emit(|| Observation::LogRemoved { partition });
        match removal {
            Removal::ForGood => runtime.disk().remove_dir_all(&renamed).await.during("remove", &renamed),
            Removal::Aside => Ok(()),
        }
    }

    /// Flushes everything and leaves the directory such that the next start need not scan.
    pub async fn shutdown(&mut self, broker_epoch: i64) -> Result<(), LogError> {
        let logs: Vec<Log<R>> = self.shared.logs.lock().values().cloned().collect();
        let runtime = self.shared.runtime.clone();
        for log in &logs {
            self.flush(log).await?;
            let (base, offsets, times, snapshot, end) = {
                let mut state = log.0.state.lock();
                let (end, snapshot) = (state.end, snapshot::encode(&state.producers));
                let active = state.active();
                active.seal();
                let base = active.base;
                let indexes = active.active_indexes();
                (base, indexes.offsets.encode(), indexes.times.encode(), snapshot, end)
            };
            write_file(&runtime, &Kind::OffsetIndex.path(&log.0.dir, base), offsets).await?;
            write_file(&runtime, &Kind::TimeIndex.path(&log.0.dir, base), times).await?;
            if end > base || !log.0.state.lock().producers.is_empty() {
                write_file(&runtime, &Kind::Snapshot.path(&log.0.dir, end), snapshot).await?;
            }
            runtime.disk().sync_dir(&log.0.dir).await.during("sync", &log.0.dir)?;
        }
        self.checkpoint().await?;
        self.checkpoint_starts(None).await?;
        mark_clean(&runtime, &self.shared.path, broker_epoch).await
    }
}

/// Writes the marker that spares the next start the scan.
pub(crate) async fn mark_clean<R: Runtime>(
    runtime: &R,
    dir: &std::path::Path,
    broker_epoch: i64,
) -> Result<(), LogError> {
    let content = Bytes::from(encode_clean_shutdown(broker_epoch));
    write_file(runtime, &dir.join(CLEAN_SHUTDOWN), content).await?;
    runtime.disk().sync_dir(dir).await.during("sync", dir)
}
