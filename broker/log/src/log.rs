//! The log of one partition: appending, and what everybody may ask without waiting.
//!
//! An append is synchronous: it decides (idempotence, limits), stamps, puts the batch into the hot tail and hands
//! it to the directory's writer. Offsets exist from then on; they are promised once [`Log::wait_durable`] says so.
//! The state is behind one mutex that is never held across an await.

use crate::config::{LogConfig, TimestampType};
use crate::epochs::EpochCache;
use crate::error::{AppendError, LogError, ReadError};
use crate::files::TopicPartition;
use crate::producers::{Origin, ProducerTable, Verdict};
use crate::scan::{Damage, producer_batch};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::snapshot;
use crate::tail::Tail;
use crate::waiters::{Event, Waiters, Watch, Watchers};
use burnin_runtime::{Disk, Mutant, Observation, Runtime};
use burnin_wire::batch::{self, BatchHeader};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) type FileOf<R> = <<R as Runtime>::Disk as Disk>::File;

/// Where an appended batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record. The append is durable when [`Log::wait_durable`] of `last_offset + 1` is.
    pub last_offset: i64,
    /// The broker's time in milliseconds with `LogAppendTime`, else -1.
    pub log_append_time: i64,
    /// The log start offset.
    pub log_start_offset: i64,
    /// Whether the producer had sent it before: nothing was appended, the offsets are the original ones.
    pub duplicate: bool,
}

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
    // copies of what is in `state`, for reading without the lock; written under it
    pub end: AtomicI64,
    pub durable: AtomicI64,
    pub start: AtomicI64,
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
    pub waiters: Waiters,
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

    /// Appends batches. The caller has verified CRC and records ([`batch::validate_produce`]).
    ///
    /// A client or coordinator appends exactly one batch, which gets offsets and epoch here; a replica appends
    /// one or more as the leader stamped them. Nothing is appended when an error is returned, except that of
    /// several replicated batches those before the bad one are.
    pub fn append(
        &self,
        mut batch: BytesMut,
        leader_epoch: i32,
        origin: Origin,
    ) -> Result<Appended, AppendError> {
        if origin != Origin::Replication {
            let header = whole_batch(&batch)?;
            if header.total_len() != batch.len() {
                return Err(AppendError::Malformed("more than one batch".into()));
            }
            return self.append_one(batch, header, leader_epoch, origin);
        }
        let mut all: Option<Appended> = None;
        while !batch.is_empty() || all.is_none() {
            let header = whole_batch(&batch)?;
            let one = batch.split_to(header.total_len());
            let appended = self.append_one(one, header, header.leader_epoch, origin)?;
            all = Some(Appended {
                base_offset: all.map_or(appended.base_offset, |a| a.base_offset),
                ..appended
            });
        }
        all.ok_or_else(|| AppendError::Malformed("no batch".into()))
    }

    fn append_one(
        &self,
        mut batch: BytesMut,
        mut header: BatchHeader,
        leader_epoch: i32,
        origin: Origin,
    ) -> Result<Appended, AppendError> {
        let shared = &self.0.shared;
        let mutants = shared.runtime.mutants();
        let now_ms = shared.runtime.wall_ms();
        let bytes = batch.len() as u64;
        let mut state = self.0.state.lock();
        shared.check_online().map_err(|error| AppendError::Offline(error.to_string()))?;
        if state.deleted {
            return Err(AppendError::Deleted);
        }
        check_limits(&header, &state.config, origin, now_ms)?;
        let base_offset = if origin == Origin::Replication { header.base_offset } else { state.end };
        if base_offset != state.end {
            return Err(AppendError::UnexpectedOffset { offset: base_offset, expected: state.end });
        }
        let append_time = state.config.message_timestamp_type == TimestampType::LogAppendTime;
        let append_time = (append_time && origin != Origin::Replication).then_some(now_ms);
        let producer = producer_batch(&header, base_offset);
        if let Some(producer) = &producer
            && let Verdict::Duplicate(original) = state.producers.check(producer, origin, mutants)?
        {
            return Ok(Appended {
                base_offset: original.first_offset(),
                last_offset: original.last_offset,
                log_append_time: append_time.map_or(-1, |_| original.timestamp),
                log_start_offset: state.start,
                duplicate: true,
            });
        }
        if origin != Origin::Replication {
            batch::assign(&mut batch, base_offset, leader_epoch, append_time);
            header.max_timestamp = append_time.unwrap_or(header.max_timestamp);
        }
        let last_offset = base_offset + i64::from(header.last_offset_delta);
        let config = state.config.clone();
        if state.active().should_roll(&config, bytes, last_offset, header.max_timestamp, now_ms) {
            // the planted bug names the snapshot by an offset whose batches it does not contain
            let named = if mutants.on(Mutant::S21) { last_offset + 1 } else { base_offset };
            roll(&mut state, base_offset, named, now_ms);
        }
        let batch = batch.freeze();
        shared.runtime.probe().emit(|| Observation::BatchAppended {
            partition: self.0.name.clone(),
            base_offset,
            last_offset,
            leader_epoch,
            crc: BatchHeader::parse(&batch).map_or(0, |header| header.crc),
        });
        enqueue_batch(&mut state, &batch, base_offset, last_offset, header.max_timestamp);
        if let Some(mut producer) = producer {
            producer.timestamp = header.max_timestamp;
            state.producers.record(&producer);
        }
        state.epochs_dirty |= state.epochs.observe(leader_epoch, base_offset);
        self.0.end.store(state.end, Ordering::Release);
        let log_start_offset = state.start;
        if !std::mem::replace(&mut state.queued, true) {
            shared.enqueue(self.clone());
        }
        drop(state);
        self.0.watchers.lock().notify(Event::Appended);
        let log_append_time = append_time.unwrap_or(-1);
        Ok(Appended { base_offset, last_offset, log_append_time, log_start_offset, duplicate: false })
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

fn whole_batch(bytes: &[u8]) -> Result<BatchHeader, AppendError> {
    let header = BatchHeader::parse(bytes).map_err(|error| AppendError::Malformed(error.to_string()))?;
    if header.total_len() > bytes.len() {
        return Err(AppendError::Malformed(format!(
            "batch of {} bytes is cut off after {}",
            header.total_len(),
            bytes.len()
        )));
    }
    if header.last_offset_delta < 0 {
        return Err(AppendError::Malformed(format!("last offset delta is {}", header.last_offset_delta)));
    }
    Ok(header)
}

fn check_limits(
    header: &BatchHeader,
    config: &LogConfig,
    origin: Origin,
    now_ms: i64,
) -> Result<(), AppendError> {
    let size = header.total_len();
    let max = config.max_message_bytes.max(0) as usize;
    if origin == Origin::Client && size > max {
        return Err(AppendError::TooLarge { size, max });
    }
    let max = config.segment_bytes as usize;
    if origin != Origin::Replication && size > max {
        return Err(AppendError::LargerThanSegment { size, max });
    }
    let timestamps_are_checked =
        origin == Origin::Client && config.message_timestamp_type == TimestampType::CreateTime;
    if timestamps_are_checked && header.max_timestamp >= 0 {
        if header.max_timestamp.saturating_sub(now_ms) > config.message_timestamp_after_max_ms {
            return Err(AppendError::InvalidTimestamp { timestamp: header.max_timestamp, now_ms });
        }
        let first = header.base_timestamp;
        if first >= 0 && now_ms.saturating_sub(first) > config.message_timestamp_before_max_ms {
            return Err(AppendError::InvalidTimestamp { timestamp: first, now_ms });
        }
    }
    Ok(())
}

/// Seals the active segment and begins one at `base`.
fn roll<F>(state: &mut State<F>, base: i64, snapshot_offset: i64, now_ms: i64) {
    state.active().seal();
    let roll =
        Roll { sealed: state.active().base, snapshot: snapshot::encode(&state.producers), snapshot_offset };
    assert!(roll.sealed < base, "segment {base} would follow segment {}", roll.sealed);
    state.segments.push(Segment::new(base, now_ms));
    state.pending.push(Chunk {
        segment: base,
        position: 0,
        buffers: Vec::new(),
        bytes: 0,
        messages: 0,
        end: base,
        roll: Some(roll),
    });
}

/// Puts a stamped batch into the active segment, the tail and the writer's queue.
fn enqueue_batch<F>(
    state: &mut State<F>,
    batch: &Bytes,
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
) {
    let (bytes, interval) = (batch.len() as u64, state.config.index_interval_bytes);
    let active = state.active();
    let (segment, position) = (active.base, active.size);
    active.note_batch(last_offset, max_timestamp, bytes, interval);
    state.tail.push(base_offset, last_offset, batch.clone());
    let fresh = state.pending.last().is_none_or(|chunk| chunk.segment != segment);
    if fresh {
        state.pending.push(Chunk {
            segment,
            position,
            buffers: Vec::new(),
            bytes: 0,
            messages: 0,
            end: base_offset,
            roll: None,
        });
    }
    let chunk = state.pending.last_mut().expect("a chunk was pushed");
    assert_eq!(chunk.position + chunk.bytes, position, "a hole in segment {segment} at offset {base_offset}");
    chunk.buffers.push(batch.clone());
    chunk.bytes += bytes;
    chunk.messages += last_offset - base_offset + 1;
    chunk.end = last_offset + 1;
    state.end = last_offset + 1;
}

/// Rolls without a batch, for retention and shutdown.
pub(crate) fn roll_now<F>(state: &mut State<F>, now_ms: i64) {
    let end = state.end;
    roll(state, end, end, now_ms);
}
