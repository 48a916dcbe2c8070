//! Committing one log: writing what it has pending, syncing when the flush mode asks for it, sealing segments, and
//! publishing what became durable.

use crate::disk::write_file;
use crate::error::{Context, LogError};
use crate::files::Kind;
use crate::log::{Chunk, FileOf, Log, Roll, State};
use crate::waiters::Event;
use burnin_runtime::{Disk, File, Mutant, Observation, OpenOptions, Runtime};
use std::sync::atomic::Ordering;

/// What a commit did to a log.
pub(crate) struct Committed {
    pub bytes: u64,
    pub end: i64,
    pub synced: bool,
    pub rolled: bool,
    /// The log is in page-cache mode with unsynced records and this `flush.ms`.
    pub flush_ms: Option<u64>,
}

/// Writes the chunks, in order.
pub(crate) async fn commit_log<R: Runtime>(log: &Log<R>, chunks: Vec<Chunk>) -> Result<Committed, LogError> {
    let mutants = log.0.shared.runtime.mutants();
    let mut committed = Committed { bytes: 0, end: 0, synced: false, rolled: false, flush_ms: None };
    for chunk in chunks {
        if let Some(roll) = chunk.roll {
            match seal(log, roll, chunk.segment).await? {
                Sealed::Yes => (committed.synced, committed.rolled) = (true, true),
                Sealed::AppendFailed => break,
            }
        }
        if chunk.buffers.is_empty() {
            continue;
        }
        let file = match open_file(log, chunk.segment) {
            Some(file) => file,
            None => segment_file(log, chunk.segment).await?,
        };
        let path = || Kind::Log.path(&log.0.dir, chunk.segment);
        file.write_at(chunk.position, chunk.buffers).await.during_at("write", path)?;
        let mut state = log.0.state.lock();
        let segment = state.segment_mut(chunk.segment).expect("only the writer removes segments");
        segment.written = chunk.position + chunk.bytes;
        segment.dirty = true;
        state.written = chunk.end;
        state.unflushed += chunk.messages;
        committed.bytes += chunk.bytes;
        committed.end = chunk.end;
    }
    let (due, promise_fsync) = {
        let state = log.0.state.lock();
        (
            state.unflushed > 0 && state.unflushed >= state.config.flush_messages,
            state.config.acks_mean_fsynced(),
        )
    };
    // the planted bug leaves the sync out and promises what is only written
    let promise_early = due && promise_fsync && mutants.on(Mutant::S01);
    if due && !promise_early {
        sync_written(log).await?;
        committed.synced = true;
    }
    let mut state = log.0.state.lock();
    let promise = if promise_fsync && !promise_early { state.synced } else { state.written };
    let moved = publish(log, &mut state, promise);
    if state.unflushed > 0 {
        committed.flush_ms = u64::try_from(state.config.flush_ms).ok().filter(|&ms| ms < i64::MAX as u64);
    }
    drop(state);
    if moved {
        log.0.tell_listener();
    }
    Ok(committed)
}

/// Everything below `offset` may be acknowledged. Whether that is news: the caller tells the listener then, when it
/// has given up the lock.
#[must_use]
pub(crate) fn publish<R: Runtime>(log: &Log<R>, state: &mut State<FileOf<R>>, offset: i64) -> bool {
    if offset <= state.durable {
        return false;
    }
    assert!(offset <= state.end, "durable offset {offset} past the end {} of {}", state.end, log.0.name);
    if state.config.acks_mean_fsynced() {
        flush_done(log, offset);
    }
    state.durable = offset;
    log.0.durable.store(offset, Ordering::Release);
    state.waiters.release(offset, &Ok(()));
    log.0.watchers.lock().notify(Event::Durable);
    true
}

fn flush_done<R: Runtime>(log: &Log<R>, offset: i64) {
    let partition = log.0.name.clone();
    log.0.shared.runtime.probe().emit(|| Observation::FlushDone { partition, offset });
}

/// Syncs what was written: all of it is on the medium afterwards, and nothing that was appended meanwhile counts.
pub(crate) async fn sync_written<R: Runtime>(log: &Log<R>) -> Result<(), LogError> {
    // only the segment that was written last can be dirty: those before it were synced when they were sealed
    let (target, dirty) = {
        let state = log.0.state.lock();
        (state.written, state.segments.iter().rev().find(|segment| segment.dirty).map(|segment| segment.base))
    };
    if let Some(segment) = dirty {
        sync_segment(log, segment).await?;
    }
    let mut state = log.0.state.lock();
    // the planted bug looks at the end of the log when the sync is over, not when it began
    let target = if log.0.shared.runtime.mutants().on(Mutant::S18) { state.end } else { target };
    state.synced = state.synced.max(target);
    state.unflushed = 0;
    let moved = if state.config.acks_mean_fsynced() {
        publish(log, &mut state, target)
    } else {
        flush_done(log, target);
        false
    };
    drop(state);
    if moved {
        log.0.tell_listener();
    }
    Ok(())
}

async fn sync_segment<R: Runtime>(log: &Log<R>, base: i64) -> Result<(), LogError> {
    let file = match open_file(log, base) {
        Some(file) => file,
        None => segment_file(log, base).await?,
    };
    let mut result = file.sync_data().await;
    // the planted bug: the second sync returns Ok, but the pages of the first one are gone
    while result.is_err() && log.0.shared.runtime.mutants().on(Mutant::S02) {
        result = file.sync_data().await;
    }
    result.during_at("sync", || Kind::Log.path(&log.0.dir, base))?;
    if let Some(segment) = log.0.state.lock().segment_mut(base) {
        segment.dirty = false;
    }
    Ok(())
}

/// The segment's file, if it is open.
fn open_file<R: Runtime>(log: &Log<R>, base: i64) -> Option<FileOf<R>> {
    log.0.state.lock().segment_mut(base).and_then(|segment| segment.file.clone())
}

/// The segment's open file.
pub(crate) async fn segment_file<R: Runtime>(log: &Log<R>, base: i64) -> Result<FileOf<R>, LogError> {
    if let Some(file) = open_file(log, base) {
        return Ok(file);
    }
    let path = Kind::Log.path(&log.0.dir, base);
    let file = log.0.shared.runtime.disk().open(&path, OpenOptions::WRITE).await.during("open", &path)?;
    if let Some(segment) = log.0.state.lock().segment_mut(base) {
        segment.file = Some(file.clone());
    }
    Ok(file)
}

enum Sealed {
    Yes,
    /// Only with the planted bug S13.
    AppendFailed,
}

/// Makes the segment before `base` durable with its indexes and the producer snapshot, and begins the file of
/// the segment `base`. Nothing in the new segment is written before all of that is on the medium.
async fn seal<R: Runtime>(log: &Log<R>, roll: Roll, base: i64) -> Result<Sealed, LogError> {
    let (runtime, dir) = (&log.0.shared.runtime, &log.0.dir);
    let (dirty, offsets, times) = {
        let mut state = log.0.state.lock();
        let segment = state.segment_mut(roll.sealed).expect("only the writer removes segments");
        let indexes = segment.indexes.as_ref().expect("a segment keeps its indexes until it is sealed");
        (segment.dirty, indexes.offsets.encode(), indexes.times.encode())
    };
    if dirty {
        sync_segment(log, roll.sealed).await?;
    }
    let written = async {
        write_file(runtime, &Kind::OffsetIndex.path(dir, roll.sealed), offsets).await?;
        write_file(runtime, &Kind::TimeIndex.path(dir, roll.sealed), times).await
    };
    if let Err(error) = written.await {
        // the planted bug treats this as a failed append, although the batches are in the log
        if runtime.mutants().on(Mutant::S13) {
            forget_appended(log, &error);
            return Ok(Sealed::AppendFailed);
        }
        return Err(error);
    }
    write_file(runtime, &Kind::Snapshot.path(dir, roll.snapshot_offset), roll.snapshot).await?;
    let path = Kind::Log.path(dir, base);
    let file = runtime.disk().open(&path, OpenOptions::REPLACE).await.during("create", &path)?;
    // the planted bug forgets that a synced file without a directory entry is no file
    if !runtime.mutants().on(Mutant::S03) {
        runtime.disk().sync_dir(dir).await.during("sync", dir)?;
    }
    let mut state = log.0.state.lock();
    state.snapshots.push(roll.snapshot_offset);
    if let Some(sealed) = state.segment_mut(roll.sealed) {
        (sealed.sealed, sealed.indexes, sealed.file) = (true, None, None);
    }
    if let Some(segment) = state.segment_mut(base) {
        segment.file = Some(file);
    }
    state.synced = state.synced.max(base);
    state.unflushed = 0;
    if !state.config.acks_mean_fsynced() {
        flush_done(log, base);
    }
    Ok(Sealed::Yes)
}

/// Takes the log end back to what was acknowledged and leaves the bytes in the segment: the bug S13.
fn forget_appended<R: Runtime>(log: &Log<R>, error: &LogError) {
    let mut state = log.0.state.lock();
    let end = state.durable;
    state.pending.clear();
    while state.segments.len() > 1 && state.active().written == 0 {
        state.segments.pop();
    }
    let active = state.active();
    active.size = active.written;
    if let Some(indexes) = &mut active.indexes {
        indexes.offsets.truncate_to(end);
        indexes.times.truncate_to(end);
    }
    (state.end, state.written) = (end, end);
    state.tail.truncate_to(end);
    state.waiters.release_above(end, &Err(error.clone()));
    log.0.end.store(end, Ordering::Release);
}
