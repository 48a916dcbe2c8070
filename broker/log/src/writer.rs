//! The writer of a log directory: one task that alone changes files.
//!
//! It drains the queue and commits in groups: for each log that has pending batches one write per segment file,
//! and one sync when the flush mode asks for it; then it publishes what became durable. The offset to publish is
//! taken before the sync begins, because appends go on meanwhile. Logs of one group are committed at the same
//! time. The first I/O error takes the directory offline for good; a disk that hangs leaves everybody waiting.

use crate::checkpoint::{encode_epochs, encode_offsets};
use crate::commit::{Committed, commit_log, sync_written};
use crate::disk::{join_all, replace_file, replace_file_unsynced};
use crate::error::LogError;
use crate::files::{LEADER_EPOCHS, LOG_STARTS, RECOVERY_POINTS, TopicPartition};
use crate::log::{FileOf, Log, State};
use crate::shared::{Command, Shared};
use burnin_runtime::{Instant, Runtime};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Batches of one log leave the hot tail about so many bytes at a time.
const EVICTION_BYTES: u64 = 16 << 10;

pub(crate) struct Writer<R: Runtime> {
    pub shared: Arc<Shared<R>>,
    /// Logs in page-cache mode with unsynced records, and when `flush.ms` ends for them.
    unsynced: BTreeMap<u64, (Log<R>, Instant)>,
    /// Written batches in hot tails, oldest first: log, end offset, bytes.
    evictable: VecDeque<(Log<R>, i64, u64)>,
    evictable_bytes: u64,
    /// When the recovery points are written next; `None` while none has moved.
    checkpoint_at: Option<Instant>,
    /// Files to remove, and when.
    pub removals: VecDeque<(Instant, PathBuf)>,
}

impl<R: Runtime> Writer<R> {
    pub fn new(shared: Arc<Shared<R>>) -> Self {
        Writer {
            shared,
            unsynced: BTreeMap::new(),
            evictable: VecDeque::new(),
            evictable_bytes: 0,
            checkpoint_at: None,
            removals: VecDeque::new(),
        }
    }

    /// Works until the directory is shut down or goes offline.
    pub async fn run(mut self) {
        loop {
            let (logs, commands) = {
                let mut queue = self.shared.queue.lock();
                (std::mem::take(&mut queue.logs), std::mem::take(&mut queue.commands))
            };
            if logs.is_empty() && commands.is_empty() {
                self.idle().await;
            }
            let mut worked = self.commit(logs).await;
            for command in commands {
                if worked.is_ok() && matches!(self.execute(command).await, Done::ShutDown) {
                    return;
                }
            }
            if worked.is_ok() && self.is_due() {
                worked = self.on_time().await;
            }
            if let Err(error) = worked {
                self.shared.go_offline(&error.to_string());
            }
            if self.shared.check_online().is_err() {
                return;
            }
        }
    }

    async fn idle(&self) {
        match self.next_due() {
            None => self.shared.wake.notified().await,
            Some(at) => tokio::select! {
                biased;
                () = self.shared.wake.notified() => {}
                () = self.shared.runtime.sleep_until(at) => {}
            },
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let flush = self.unsynced.values().map(|(_, at)| *at).min();
        let removal = self.removals.front().map(|(at, _)| *at);
        [flush, removal, self.checkpoint_at].into_iter().flatten().min()
    }

    fn is_due(&self) -> bool {
        self.next_due().is_some_and(|at| at <= self.shared.runtime.now())
    }

    /// Commits what logs have pending.
    pub async fn commit(&mut self, logs: Vec<Log<R>>) -> Result<(), LogError> {
        let mut jobs = logs.into_iter().map(|log| {
            let mut state = log.0.state.lock();
            state.queued = false;
            let chunks = std::mem::take(&mut state.pending);
            drop(state);
            (log, chunks)
        });
        if jobs.len() <= 1 {
            let Some((log, chunks)) = jobs.next() else { return Ok(()) };
            let committed = commit_log(&log, chunks).await?;
            self.note(log, committed);
            return Ok(());
        }
        let jobs: Vec<_> = jobs.collect();
        let work = jobs.into_iter().map(|(log, chunks)| async move {
            let committed = commit_log(&log, chunks).await;
            (log, committed)
        });
        for (log, committed) in join_all(work).await {
            self.note(log, committed?);
        }
        Ok(())
    }

    /// Keeps the books after a log was committed.
    fn note(&mut self, log: Log<R>, committed: Committed) {
        let now = self.shared.runtime.now();
        if committed.synced {
            self.unsynced.remove(&log.0.id);
            self.recovery_point_moved(committed.rolled);
        } else if let Some(flush_ms) = committed.flush_ms {
            let at = now + Duration::from_millis(flush_ms);
            self.unsynced.entry(log.0.id).or_insert((log.clone(), at));
        }
        self.evictable_bytes += committed.bytes;
        match self.evictable.back_mut() {
            Some((last, end, bytes)) if last.0.id == log.0.id && *bytes < EVICTION_BYTES => {
                (*end, *bytes) = (committed.end, *bytes + committed.bytes);
            }
            _ => self.evictable.push_back((log, committed.end, committed.bytes)),
        }
        while self.evictable_bytes > self.shared.config.tail_bytes_max as u64 {
            let Some((log, end, bytes)) = self.evictable.pop_front() else { break };
            self.evictable_bytes -= bytes;
            log.0.state.lock().tail.evict_below(end);
        }
    }

    /// Has the recovery points written some time from now; soon after a roll, so that recovery seldom scans more
    /// than one segment.
    pub fn recovery_point_moved(&mut self, rolled: bool) {
        let mut after = Duration::from_millis(self.shared.config.checkpoint_interval_ms);
        if rolled {
            after = after.min(Duration::from_secs(1));
        }
        let at = self.shared.runtime.now() + after;
        self.checkpoint_at = Some(self.checkpoint_at.map_or(at, |before| before.min(at)));
    }

    /// Does what is due.
    async fn on_time(&mut self) -> Result<(), LogError> {
        let now = self.shared.runtime.now();
        let due: Vec<Log<R>> =
            self.unsynced.values().filter(|(_, at)| *at <= now).map(|(log, _)| log.clone()).collect();
        for log in due {
            self.flush(&log).await?;
        }
        if self.checkpoint_at.is_some_and(|at| at <= now) {
            self.checkpoint().await?;
        }
        while self.removals.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, path)) = self.removals.pop_front() else { break };
            crate::disk::remove_file(&self.shared.runtime, &path).await?;
        }
        Ok(())
    }

    /// Commits what the log has pending and syncs it.
    pub async fn flush(&mut self, log: &Log<R>) -> Result<(), LogError> {
        let chunks = std::mem::take(&mut log.0.state.lock().pending);
        if !chunks.is_empty() {
            let committed = commit_log(log, chunks).await?;
            self.note(log.clone(), committed);
        }
        let behind = {
            let state = log.0.state.lock();
            state.synced < state.written
        };
        if behind {
            sync_written(log).await?;
        }
        self.unsynced.remove(&log.0.id);
        self.recovery_point_moved(false);
        Ok(())
    }

    pub fn forget(&mut self, log: &Log<R>) {
        self.unsynced.remove(&log.0.id);
        self.evictable.retain(|(other, _, bytes)| {
            let keep = other.0.id != log.0.id;
            if !keep {
                self.evictable_bytes -= bytes;
            }
            keep
        });
    }

    /// Writes the recovery points. Leader epochs go first: below a recovery point they are not rebuilt.
    pub async fn checkpoint(&mut self) -> Result<(), LogError> {
        let points = self.offsets(|state| state.synced);
        let logs: Vec<Log<R>> = self.shared.logs.lock().values().cloned().collect();
        for log in &logs {
            write_epochs(log).await?;
        }
        self.write_offsets(RECOVERY_POINTS, &points).await?;
        self.checkpoint_at = None;
        Ok(())
    }

    /// Writes the log start offsets, with `changed` as if it had moved already.
    pub async fn checkpoint_starts(&mut self, changed: Option<(&Log<R>, i64)>) -> Result<(), LogError> {
        let mut starts = self.offsets(|state| state.start);
        if let Some((log, start)) = changed {
            starts.insert(log.0.tp.clone(), start);
        }
        starts.retain(|_, start| *start > 0);
        self.write_offsets(LOG_STARTS, &starts).await
    }

    fn offsets(&self, offset: impl Fn(&State<FileOf<R>>) -> i64) -> BTreeMap<TopicPartition, i64> {
        let logs = self.shared.logs.lock();
        logs.iter().map(|(tp, log)| (tp.clone(), offset(&log.0.state.lock()))).collect()
    }

    pub async fn write_offsets(
        &self,
        name: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), LogError> {
        let content = Bytes::from(encode_offsets(offsets));
        replace_file(&self.shared.runtime, &self.shared.path.join(name), content).await
    }

    async fn execute(&mut self, command: Command<R>) -> Done {
        let mut done = Done::GoOn;
        match command {
            Command::Flush(log, reply) => {
                let result = self.flush(&log).await;
                self.answer(reply, result);
            }
            Command::TruncateTo(log, offset, reply) => {
                let result = self.truncate_to(&log, offset).await;
                self.answer(reply, result);
            }
            Command::StartAt(log, offset, reply) => {
                let result = self.start_at(&log, offset).await;
                self.answer(reply, result);
            }
            Command::DeleteRecords(log, offset, reply) => {
                let result = self.delete_records(&log, offset).await;
                self.answer(reply, result);
            }
            Command::Retention(logs, reply) => {
                let result = self.retention(&logs).await;
                self.answer(reply, result);
            }
            Command::Delete(log, removal, reply) => {
                let result = self.delete(&log, removal).await;
                self.answer(reply, result);
            }
            Command::Checkpoint(reply) => {
                let result = self.checkpoint().await;
                self.answer(reply, result);
            }
            Command::Shutdown(broker_epoch, reply) => {
                let result = self.shutdown(broker_epoch).await;
                done = Done::ShutDown;
                self.answer(reply, result);
                self.shared.stop_service();
            }
        }
        done
    }

    /// An I/O error takes the directory offline; other errors are the asker's.
    fn answer<T>(&self, reply: crate::shared::Reply<T>, result: Result<T, LogError>) {
        if let Err(error @ LogError::Io { .. }) = &result {
            self.shared.go_offline(&error.to_string());
        }
        // whoever asked may have gone
        let _ = reply.send(result);
    }
}

enum Done {
    GoOn,
    ShutDown,
}

/// Writes the log's leader epochs when they have changed.
pub(crate) async fn write_epochs<R: Runtime>(log: &Log<R>) -> Result<(), LogError> {
    let Some(content) = changed_epochs(log) else { return Ok(()) };
    replace_file(&log.0.shared.runtime, &log.0.dir.join(LEADER_EPOCHS), content).await
}

/// The same without a sync: the bug S04.
pub(crate) async fn write_epochs_unsynced<R: Runtime>(log: &Log<R>) -> Result<(), LogError> {
    let Some(content) = changed_epochs(log) else { return Ok(()) };
    replace_file_unsynced(&log.0.shared.runtime, &log.0.dir.join(LEADER_EPOCHS), content).await
}

fn changed_epochs<R: Runtime>(log: &Log<R>) -> Option<Bytes> {
    let mut state = log.0.state.lock();
    let is_wanted = !state.deleted && std::mem::take(&mut state.epochs_dirty);
    is_wanted.then(|| Bytes::from(encode_epochs(&state.epochs)))
}
