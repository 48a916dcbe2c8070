//! What the logs of a directory, its writer and its handle share: the queue to the writer, the register of logs,
//! and whether the directory is still in service.

use crate::config::LogDirConfig;
use crate::error::LogError;
use crate::files::TopicPartition;
use crate::log::Log;
use burnin_runtime::{Observation, Runtime};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Notify, oneshot};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// What only the writer may do, because it changes files.
pub(crate) enum Command<R: Runtime> {
    Flush(Log<R>, Reply<()>),
    TruncateTo(Log<R>, i64, Reply<()>),
    StartAt(Log<R>, i64, Reply<()>),
    DeleteRecords(Log<R>, i64, Reply<i64>),
    Retention(Vec<(Log<R>, i64)>, Reply<()>),
    Delete(Log<R>, Removal, Reply<()>),
    Checkpoint(Reply<()>),
    Shutdown(i64, Reply<()>),
}

/// What becomes of the directory of a log that is taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is removed.
    ForGood,
    /// It stays, under another name.
    Aside,
}

pub(crate) struct Queue<R: Runtime> {
    pub logs: Vec<Log<R>>,
    pub commands: Vec<Command<R>>,
}

pub(crate) struct Shared<R: Runtime> {
    pub runtime: R,
    pub path: PathBuf,
    pub config: LogDirConfig,
    pub logs: Mutex<BTreeMap<TopicPartition, Log<R>>>,
    /// Partitions whose directories are being made or removed.
    busy: Mutex<BTreeSet<TopicPartition>>,
    pub queue: Mutex<Queue<R>>,
    pub wake: Notify,
    pub next_id: AtomicU64,
    out_of_service: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl<R: Runtime> Shared<R> {
    pub fn new(runtime: R, path: PathBuf, config: LogDirConfig) -> Self {
        Shared {
            runtime,
            path,
            config,
            logs: Mutex::new(BTreeMap::new()),
            busy: Mutex::new(BTreeSet::new()),
            queue: Mutex::new(Queue { logs: Vec::new(), commands: Vec::new() }),
            wake: Notify::new(),
            next_id: AtomicU64::new(0),
            out_of_service: AtomicBool::new(false),
            reason: Mutex::new(None),
        }
    }

    /// Keeps everybody else from making or removing the partition's directory; `None` when somebody does.
    pub fn reserve(self: &Arc<Self>, tp: &TopicPartition) -> Option<Reserved<R>> {
        let free = self.busy.lock().insert(tp.clone());
        free.then(|| Reserved { shared: self.clone(), tp: tp.clone() })
    }

    /// Hands a log with pending chunks to the writer.
    pub fn enqueue(&self, log: Log<R>) {
        self.queue.lock().logs.push(log);
        self.wake.notify_one();
    }

    /// Hands a command to the writer and waits for its answer.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command<R>) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        {
            // under the queue's lock, so that a closed directory is never left with a command in its queue
            let mut queue = self.queue.lock();
            self.check_online()?;
            queue.commands.push(command(reply));
        }
        self.wake.notify_one();
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(self.closed_error()),
        }
    }

    #[inline]
    pub fn check_online(&self) -> Result<(), LogError> {
        if self.out_of_service.load(Ordering::Acquire) { Err(self.closed_error()) } else { Ok(()) }
    }

    pub fn offline_reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    pub fn closed_error(&self) -> LogError {
        let reason = self.offline_reason().unwrap_or_else(|| "it was shut down".into());
        LogError::Offline { dir: self.path.display().to_string(), reason }
    }

    /// Takes the directory out of service for good: nothing is acknowledged any more, and whoever waits is told.
    pub fn go_offline(&self, reason: &str) {
        if self.reason.lock().is_some() {
            return;
        }
        *self.reason.lock() = Some(reason.to_owned());
        tracing::error!(dir = %self.path.display(), reason, "log directory goes offline");
        self.runtime.probe().emit(|| Observation::LogDirOffline { reason: reason.to_owned() });
        self.stop_service();
    }

    /// Refuses appends and commands from now on and answers whoever waits. What is queued is forgotten.
    pub fn stop_service(&self) {
        self.out_of_service.store(true, Ordering::Release);
        let logs: Vec<Log<R>> = self.logs.lock().values().cloned().collect();
        let error = Err(self.closed_error());
        for log in &logs {
            log.0.state.lock().waiters.release_above(i64::MIN, &error);
            log.0.watchers.lock().notify_all();
        }
        let queue = {
            let mut queue = self.queue.lock();
            (std::mem::take(&mut queue.logs), std::mem::take(&mut queue.commands))
        };
        drop(queue);
    }
}

/// See [`Shared::reserve`]; dropping it ends that.
pub(crate) struct Reserved<R: Runtime> {
    shared: Arc<Shared<R>>,
    tp: TopicPartition,
}

impl<R: Runtime> Drop for Reserved<R> {
    fn drop(&mut self) {
        self.shared.busy.lock().remove(&self.tp);
    }
}
