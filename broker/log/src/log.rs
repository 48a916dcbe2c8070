//! The log of one partition: its state, and what everybody may ask of it without waiting.
//!
//! Offsets exist once a batch was appended; they are promised once [`Log::wait_durable`] says so. The state is
//! behind one mutex that is never held across an await.

use crate::config::LogConfig;
use crate::epochs::{EpochCache, EpochEntry};
use crate::error::{LogError, ReadError};
use crate::files::TopicPartition;
use crate::producers::ProducerTable;
use crate::scan::Damage;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::tail::Tail;
use crate::waiters::{Event, Listener, Waiters, Watch, Watchers};
use burnin_runtime::{Disk, Runtime};
use bytes::Bytes;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) type FileOf<R> = <<R as Runtime>::Disk as Disk>::File;

/// Whole batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadResult {
    /// Contiguous slices, each of one or more whole batches, in order. The first batch may begin below the asked
    /// offset (it holds it).
    pub batches: Vec<Bytes>,
    /// The offset behind the last batch; the asked offset when there is none.
    pub next_offset: i64,
}

impl ReadResult {
    /// Size of all batches in bytes.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}

/// A handle of one partition's log, cloned freely.
pub struct Log<R: Runtime>(pub(crate) Arc<Inner<R>>);

impl<R: Runtime> Clone for Log<R> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

pub(crate) struct Inner<R: Runtime> {
    pub id: u64,
    pub tp: TopicPartition,
    pub name: Arc<str>,
    pub topic_id: Uuid,
    pub dir: PathBuf,
    pub shared: Arc<Shared<R>>,
    pub state: Mutex<State<FileOf<R>>>,
    pub watchers: Mutex<Watchers>,
    /// Whether `watchers` has a listener.
    pub is_listened: AtomicBool,
    // copies of what is in `state`, for reading without the lock; written under it
    pub end: AtomicI64,
    pub durable: AtomicI64,
    pub start: AtomicI64,
}

impl<R: Runtime> Inner<R> {
    /// See [`Listener`].
    pub fn tell_listener(&self) {
        if !self.is_listened.load(Ordering::Acquire) {
            return;
        }
        let listener = self.watchers.lock().listener.clone();
        if let Some(listener) = listener.and_then(|listener| listener.upgrade()) {
            listener.durable_moved();
        }
    }
}

/// What the writer has to put into one segment file.
pub(crate) struct Chunk {
    pub segment: i64,
    pub position: u64,
    pub buffers: Vec<Bytes>,
    pub bytes: u64,
    pub messages: i64,
    /// The offset behind its last record.
    pub end: i64,
    /// The segment is new: first the one before it must be sealed.
    pub roll: Option<Roll>,
}

/// What was true at the moment of a roll.
pub(crate) struct Roll {
    pub sealed: i64,
    pub snapshot: Bytes,
    /// The offset that names the snapshot.
    pub snapshot_offset: i64,
}

pub(crate) struct State<F> {
    pub config: Arc<LogConfig>,
    /// By base offset; never empty; the last one is active.
    pub segments: Vec<Segment<F>>,
    pub start: i64,
    /// The offset behind the last appended record.
    pub end: i64,
    /// Everything below is written to its file.
    pub written: i64,
    /// Everything below is on the medium.
    pub synced: i64,
    /// Everything below is what acknowledgements promise.
    pub durable: i64,
    pub epochs: EpochCache,
    pub epochs_dirty: bool,
    pub producers: ProducerTable,
    /// Offsets of the snapshot files that exist.
    pub snapshots: Vec<i64>,
    pub tail: Tail,
    pub pending: Vec<Chunk>,
    pub queued: bool,
    /// Records written since the last sync.
    pub unflushed: i64,
    pub waiters: Waiters<Result<(), LogError>>,
    pub damage: Vec<Damage>,
    /// Grows with every truncation, so that a read on disk can tell that it was overtaken.
    pub generation: u64,
    /// The sealed segment whose indexes were loaded last.
    pub loaded: Option<i64>,
    pub deleted: bool,
}

impl<F> State<F> {
    /// Of a log that holds `start..end` in `segments`, all of it durable.
    pub fn new(config: Arc<LogConfig>, segments: Vec<Segment<F>>, start: i64, end: i64) -> Self {
        State {
            config,
            segments,
            start,
            end,
            written: end,
            synced: end,
            durable: end,
            epochs: EpochCache::default(),
            epochs_dirty: false,
            producers: ProducerTable::default(),
            snapshots: Vec::new(),
            tail: Tail::default(),
            pending: Vec::new(),
            queued: false,
            unflushed: 0,
            waiters: Waiters::default(),
            damage: Vec::new(),
            generation: 0,
            loaded: None,
            deleted: false,
        }
    }

    pub fn active(&mut self) -> &mut Segment<F> {
        self.segments.last_mut().expect("a log has a segment")
    }

    pub fn truncate_epochs(&mut self, end: i64) {
        self.epochs_dirty |= self.epochs.truncate_from_end(end);
    }

    /// Takes the leader epochs from the batches below `end`, which say that they begin like that.
    pub fn relearn_epochs(&mut self, starts: &[(i32, i64)], end: i64) {
        let known = std::mem::take(&mut self.epochs);
        let newer = known.entries().iter().filter(|entry| entry.start_offset >= end);
        for (epoch, start) in
            starts.iter().copied().chain(newer.map(|entry| (entry.epoch, entry.start_offset)))
        {
            self.epochs.observe(epoch, start);
        }
        self.epochs.truncate_from_start(self.start);
        self.epochs_dirty = true;
    }

    /// The segment that holds `offset`, by number.
    pub fn segment_at(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    pub fn segment_mut(&mut self, base: i64) -> Option<&mut Segment<F>> {
        let at = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        Some(&mut self.segments[at])
    }

    /// The offset behind the segment with this number.
    pub fn segment_end(&self, at: usize) -> i64 {
        self.segments.get(at + 1).map_or(self.end, |next| next.base)
    }
}

impl<R: Runtime> Log<R> {
    /// Which partition it is.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.0.tp
    }

    /// The topic's id; nil when the directory does not say.
    pub fn topic_id(&self) -> Uuid {
        self.0.topic_id
    }

    /// The offset behind the last appended record.
    pub fn end_offset(&self) -> i64 {
        self.0.end.load(Ordering::Acquire)
    }

    /// Everything below is what an acknowledgement may promise: fsynced, or written to the page cache when
    /// `flush.messages` is more than 1.
    pub fn durable_offset(&self) -> i64 {
        self.0.durable.load(Ordering::Acquire)
    }

    /// The first offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.0.start.load(Ordering::Acquire)
    }

    /// Everything below is on the medium (Kafka's recovery point).
    pub fn recovery_point(&self) -> i64 {
        self.0.state.lock().synced
    }

    /// The newest leader epoch that appended.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.0.state.lock().epochs.latest().map(|entry| entry.epoch)
    }

    /// Where the first epoch later than `epoch` begins; `None` when there is none.
    pub fn start_of_later_epoch(&self, epoch: i32) -> Option<i64> {
        self.0.state.lock().epochs.start_of_later(epoch)
    }

    /// Where `epoch` ended: see [`EpochCache::end_offset_for`].
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let state = self.0.state.lock();
        state.epochs.end_offset_for(epoch, state.end)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.0.state.lock().epochs.epoch_at(offset)
    }

    /// A copy of what is known about producers.
    pub fn producers(&self) -> ProducerTable {
        self.0.state.lock().producers.clone()
    }

    /// Bytes in segment files, written or not.
    pub fn size_bytes(&self) -> u64 {
        self.0.state.lock().segments.iter().map(|segment| segment.size).sum()
    }

    /// Base offsets of the segments.
    pub fn segment_offsets(&self) -> Vec<i64> {
        self.0.state.lock().segments.iter().map(|segment| segment.base).collect()
    }

    /// The settings.
    pub fn config(&self) -> Arc<LogConfig> {
        self.0.state.lock().config.clone()
    }

    /// Changes the settings, from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        self.0.state.lock().config = Arc::new(config);
    }

    /// Waits until everything below `offset` is durable in the log's flush mode. Waits as long as the disk does.
    pub async fn wait_durable(&self, offset: i64) -> Result<(), LogError> {
        let receiver = {
            let mut state = self.0.state.lock();
            self.0.shared.check_online()?;
            if state.durable >= offset {
                return Ok(());
            }
            if state.deleted {
                return Err(LogError::Unknown(self.0.name.to_string()));
            }
            state.waiters.add(offset)
        };
        match receiver.await {
            Ok(result) => result,
            Err(_) => Err(self.0.shared.closed_error()),
        }
    }

    /// The runtime that it lives in.
    pub fn runtime(&self) -> &R {
        &self.0.shared.runtime
    }

    /// From now on `listener` is told of durable progress; `None`: nobody is.
    pub fn set_listener(&self, listener: Option<Weak<dyn Listener>>) {
        let mut watchers = self.0.watchers.lock();
        self.0.is_listened.store(listener.is_some(), Ordering::Release);
        watchers.listener = listener;
    }

    /// Notes that a leader begins `epoch` at the end of the log, and gives that offset: the epoch is known then even
    /// if nothing is ever appended in it.
    pub fn begin_epoch(&self, epoch: i32) -> i64 {
        let mut state = self.0.state.lock();
        let start_offset = state.end;
        let changed = state.epochs.assign(EpochEntry { epoch, start_offset });
        state.epochs_dirty |= changed;
        start_offset
    }

    /// From now on `notify` is told (`notify_one`) of each such event, until the watch is dropped.
    pub fn watch(&self, event: Event, notify: &Arc<Notify>) -> Watch<R> {
        let id = self.0.watchers.lock().add(event, notify.clone());
        Watch::new(self.clone(), id)
    }

    /// Reads from memory, without waiting: whole batches from the one that holds `offset` on that end below
    /// `up_to` (the high watermark for a consumer, [`Log::end_offset`] for a replica) and fit `max_bytes`
    /// together; the first may be larger when `min_one`. `None` when the disk is needed: see [`Log::read`].
    pub fn try_read(
        &self,
        offset: i64,
        up_to: i64,
        max_bytes: usize,
        min_one: bool,
    ) -> Option<Result<ReadResult, ReadError>> {
        if let Err(error) = self.0.shared.check_online() {
            return Some(Err(error.into()));
        }
        let state = self.0.state.lock();
        if state.deleted {
            return Some(Err(LogError::Unknown(self.0.name.to_string()).into()));
        }
        if offset < state.start || offset > state.end {
            return Some(Err(ReadError::OffsetOutOfRange { offset, start: state.start, end: state.end }));
        }
        if offset >= up_to.min(state.end) {
            return Some(Ok(ReadResult { batches: Vec::new(), next_offset: offset }));
        }
        if state.tail.first_offset().is_none_or(|first| offset < first) {
            return None;
        }
        let (batches, next_offset) = state.tail.read(offset, up_to, max_bytes, min_one);
        Some(Ok(ReadResult { batches, next_offset }))
    }
}
