//! Truncation, on the writer: what a follower does when its log and the leader's differ.
//!
//! The recovery point is lowered durably before bytes go: later bytes below it would count as durable ones.

use crate::commit::segment_file;
use crate::disk::remove_file;
use crate::error::{Context, LogError};
use crate::files::Kind;
use crate::load::create_segment;
use crate::log::{FileOf, Log, State};
use crate::producers::ProducerTable;
use crate::scan::{Checks, Window, producer_batch, scan};
use crate::segment::Segment;
use crate::snapshot;
use crate::waiters::Event;
use crate::writer::{Writer, write_epochs, write_epochs_unsynced};
use burnin_runtime::{Disk, File, Mutant, Observation, Runtime};
use std::sync::atomic::Ordering;

impl<R: Runtime> Writer<R> {
    /// Cuts the log such that it ends with the last whole batch below `offset`.
    pub async fn truncate_to(&mut self, log: &Log<R>, offset: i64) -> Result<(), LogError> {
        self.flush(log).await?;
        let (start, end) = {
            let state = log.0.state.lock();
            (state.start, state.end)
        };
        if offset < start {
            return Err(LogError::OffsetOutOfRange { offset, start, end });
        }
        if offset >= end {
            // also then epochs that saw no record must go (KAFKA-10706)
            if self.shared.runtime.mutants().on(Mutant::S12) {
                return Ok(());
            }
            log.0.state.lock().truncate_epochs(offset);
            return write_epochs(log).await;
        }
        let cut = self.find_cut(log, offset).await?;
        let producers = self.producers_below(log, cut.end).await?;
        let runtime = self.shared.runtime.clone();
        let partition = log.0.name.clone();
        runtime.probe().emit(|| Observation::LogTruncating { partition, offset: cut.end });
        let removed = {
            let mut state = log.0.state.lock();
            cut_state(&mut state, &cut, producers);
            log.0.end.store(cut.end, Ordering::Release);
            log.0.durable.store(cut.end, Ordering::Release);
            state.waiters.release_above(cut.end, &Err(LogError::Truncated(cut.end)));
            state.segments.split_off(cut.segment_at + 1)
        };
        // the planted bug leaves the epochs to the page cache
        if runtime.mutants().on(Mutant::S04) {
            write_epochs_unsynced(log).await?;
        }
        // before the bytes go: bytes below a recovery point would count as durable ones later
        self.checkpoint().await?;
        // The last one first, and each synced: what a crash leaves has no hole.
        for segment in removed.iter().rev() {
            for kind in [Kind::OffsetIndex, Kind::TimeIndex, Kind::Log] {
                remove_file(&runtime, &kind.path(&log.0.dir, segment.base)).await?;
            }
            runtime.disk().sync_dir(&log.0.dir).await.during("sync", &log.0.dir)?;
        }
        let (file, path) = (segment_file(log, cut.segment).await?, Kind::Log.path(&log.0.dir, cut.segment));
        file.set_len(cut.position).await.during("truncate", &path)?;
        file.sync_data().await.during("sync", &path)?;
        self.drop_snapshots(log, |at| at > cut.end).await?;
        runtime.disk().sync_dir(&log.0.dir).await.during("sync", &log.0.dir)?;
        let (partition, offset) = (log.0.name.clone(), cut.end);
        runtime.probe().emit(|| Observation::LogTruncated { partition, offset });
        Ok(())
    }

    /// Where the batch that holds `offset` begins; everything before it has been scanned for the indexes of the
    /// segment, which becomes active again.
    async fn find_cut(&self, log: &Log<R>, offset: i64) -> Result<Cut<FileOf<R>>, LogError> {
        let (at, base, config) = {
            let state = log.0.state.lock();
            let at = state.segment_at(offset);
            (at, state.segments[at].base, state.config.clone())
        };
        let (file, path) = (segment_file(log, base).await?, Kind::Log.path(&log.0.dir, base));
        let written = log.0.state.lock().segments[at].written;
        let mut window = Window::new(&file, &path, written);
        let (mut position, mut end) = (0, base);
        while let Ok((header, _)) = window.batch(position, false).await? {
            if header.last_offset() >= offset {
                break;
            }
            position += header.total_len() as u64;
            end = header.last_offset() + 1;
        }
        let found = scan(&file, &path, base, position, &config, Checks::durable(false)).await?;
        let mut segment = Segment::new(base, self.shared.runtime.wall_ms());
        (segment.size, segment.written) = (position, position);
        segment.max_timestamp = Some(found.max_timestamp);
        segment.first_timestamp = found.first_timestamp;
        segment.since_index = found.since_index;
        segment.indexes = Some(Box::new(found.indexes));
        Ok(Cut { segment_at: at, segment: base, position, end, rebuilt: segment })
    }

    /// The producers as of `offset`, from the newest snapshot below it and the log.
    async fn producers_below(&self, log: &Log<R>, offset: i64) -> Result<ProducerTable, LogError> {
        let snapshots = log.0.state.lock().snapshots.clone();
        let (mut table, mut from) = (ProducerTable::default(), i64::MIN);
        for at in snapshots.into_iter().rev().filter(|&at| at <= offset) {
            let path = Kind::Snapshot.path(&log.0.dir, at);
            let content = crate::disk::read_file(&self.shared.runtime, &path).await?;
            if let Some(Ok(read)) = content.map(|content| snapshot::decode(&content)) {
                (table, from) = (read, at);
                break;
            }
        }
        let segments: Vec<(i64, u64)> =
            log.0.state.lock().segments.iter().map(|segment| (segment.base, segment.written)).collect();
        for (at, &(base, written)) in segments.iter().enumerate() {
            let ends = segments.get(at + 1).map_or(i64::MAX, |&(next, _)| next);
            if base >= offset || ends <= from {
                continue;
            }
            let (file, path) = (segment_file(log, base).await?, Kind::Log.path(&log.0.dir, base));
            let mut window = Window::new(&file, &path, written);
            let mut position = 0;
            while let Ok((header, _)) = window.batch(position, false).await? {
                if header.base_offset >= offset {
                    break;
                }
                if header.base_offset >= from
                    && let Some(batch) = producer_batch(&header, header.base_offset)
                {
                    table.record(&batch);
                }
                position += header.total_len() as u64;
                if position >= written {
                    break;
                }
            }
        }
        Ok(table)
    }

    /// Empties the log; it begins and ends at `offset` then.
    pub async fn start_at(&mut self, log: &Log<R>, offset: i64) -> Result<(), LogError> {
        self.flush(log).await?;
        let runtime = self.shared.runtime.clone();
        let partition = log.0.name.clone();
        runtime.probe().emit(|| Observation::LogTruncating { partition, offset });
        let removed = {
            let mut state = log.0.state.lock();
            state.tail.clear();
            state.pending.clear();
            state.damage.clear();
            state.generation += 1;
            state.producers = ProducerTable::default();
            state.truncate_epochs(i64::MIN);
            (state.start, state.end, state.written) = (offset, offset, offset);
            (state.synced, state.durable, state.unflushed) = (offset, offset, 0);
            state.waiters.release_above(i64::MIN, &Err(LogError::Truncated(offset)));
            log.0.end.store(offset, Ordering::Release);
            log.0.durable.store(offset, Ordering::Release);
            log.0.start.store(offset, Ordering::Release);
            std::mem::replace(&mut state.segments, vec![Segment::new(offset, runtime.wall_ms())])
        };
        self.checkpoint().await?;
        self.checkpoint_starts(None).await?;
        for segment in &removed {
            for kind in [Kind::OffsetIndex, Kind::TimeIndex, Kind::Log] {
                remove_file(&runtime, &kind.path(&log.0.dir, segment.base)).await?;
            }
        }
        self.drop_snapshots(log, |_| true).await?;
        // one after the other: old segments must not come back beside the new one
        runtime.disk().sync_dir(&log.0.dir).await.during("sync", &log.0.dir)?;
        create_segment(&runtime, &log.0.dir, offset).await?;
        runtime.disk().sync_dir(&log.0.dir).await.during("sync", &log.0.dir)?;
        let partition = log.0.name.clone();
        runtime.probe().emit(|| Observation::LogTruncated { partition, offset });
        log.0.watchers.lock().notify(Event::Appended);
        Ok(())
    }
}

struct Cut<F> {
    segment_at: usize,
    segment: i64,
    position: u64,
    end: i64,
    rebuilt: Segment<F>,
}

fn cut_state<F: Clone>(state: &mut State<F>, cut: &Cut<F>, producers: ProducerTable) {
    state.generation += 1;
    state.pending.clear();
    state.tail.clear();
    state.producers = producers;
    state.truncate_epochs(cut.end);
    state.damage.retain(|damage| damage.from < cut.end);
    // without an open file: that of a sealed segment may be open for reading only
    state.segments[cut.segment_at] = cut.rebuilt.clone();
    (state.end, state.written, state.synced, state.durable) = (cut.end, cut.end, cut.end, cut.end);
    state.unflushed = 0;
}
