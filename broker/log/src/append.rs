//! Appending: deciding (limits, idempotence), stamping offsets and epochs, rolling, and handing to the writer. All of
//! it synchronous, under the log's lock, and in memory.

use crate::config::{LogConfig, TimestampType};
use crate::error::AppendError;
use crate::log::{Chunk, Log, Roll, State};
use crate::producers::{Origin, Verdict};
use crate::scan::producer_batch;
use crate::segment::Segment;
use crate::snapshot;
use crate::waiters::Event;
use burnin_runtime::{Mutant, Observation, Runtime};
use burnin_wire::batch::{self, BatchHeader};
use bytes::{Bytes, BytesMut};
use std::sync::atomic::Ordering;

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

impl<R: Runtime> Log<R> {
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
        // a replica may have a last batch whose epoch rotted
        if let Some(latest) = state.epochs.latest().map(|entry| entry.epoch).filter(|&it| it > leader_epoch) {
            return Err(AppendError::OlderEpoch { epoch: leader_epoch, latest });
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
    if matches!(origin, Origin::Client | Origin::Coordinator) && size > max {
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
