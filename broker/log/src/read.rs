//! Reading what is no longer in the hot tail: by index from the segment files, checked batch by batch.
//!
//! An index entry is believed only when the batch that it points at ends with the entry's offset; otherwise the
//! indexes of the segment are rebuilt from the log. A damaged batch is stepped over when something behind it is
//! asked for, and is an error when it is asked for itself: the rest of the partition stays readable.

use crate::disk::read_file;
use crate::epochs::EpochCache;
use crate::error::{Context, LogError, ReadError};
use crate::files::Kind;
use crate::index::{OffsetIndex, TimeIndex};
use crate::lineage::Lineage;
use crate::load::Extent;
use crate::log::{FileOf, Log, ReadResult, State};
use crate::rebuild::lineage_of;
use crate::scan::{Checks, scan};
use crate::segment::{Indexes, MaxTimestamp};
use crate::walk::{First, Walk, Wanted, walk};
use burnin_runtime::{Disk, File, OpenOptions, Runtime};

/// Read at least so much at once.
const READ_BYTES_MIN: usize = 16 << 10;

/// Where a read begins and ends.
struct Plan<F> {
    segment: i64,
    generation: u64,
    file: Option<F>,
    /// Where to look for the offset, and what is known of the batch there.
    position: u64,
    first: First,
    written: u64,
    /// The offset behind the segment.
    end: i64,
    /// The leader epochs of the log.
    epochs: EpochCache,
}

/// What a pass over a segment gave.
enum Pass {
    Found(ReadResult),
    /// Nothing in this segment from the asked offset on.
    Nothing,
    /// The index or the log is damaged at this position.
    Bad {
        position: u64,
        offset: i64,
        reason: String,
    },
}

impl<R: Runtime> Log<R> {
    /// Reads like [`Log::try_read`], from the disk where needed. Batches from the disk have their CRC and their leader
    /// epoch checked.
    pub async fn read(
        &self,
        offset: i64,
        up_to: i64,
        max_bytes: usize,
        min_one: bool,
    ) -> Result<ReadResult, ReadError> {
        let (mut from, mut rebuilt) = (offset, false);
        loop {
            if let Some(result) = self.try_read(from, up_to, max_bytes, min_one) {
                return result;
            }
            let plan = self.plan(from).await?;
            let pass = self.pass(&plan, &Wanted { offset: from, up_to, max_bytes, min_one }).await;
            if !self.has(plan.generation, plan.segment) {
                // the log was truncated meanwhile, or retention took the segment
                continue;
            }
            match pass? {
                Pass::Found(result) => return Ok(result),
                Pass::Nothing if from >= plan.end => from = plan.end,
                Pass::Nothing => {
                    let reason = format!("offsets {from} to {} are missing", plan.end - 1);
                    return Err(ReadError::Corrupt { offset: from, reason });
                }
                Pass::Bad { offset: at, reason, .. } if rebuilt => {
                    return Err(ReadError::Corrupt { offset: at.max(from), reason });
                }
                Pass::Bad { position, reason, .. } => {
                    tracing::error!(log = %self.0.name, segment = plan.segment, position, reason, "rebuilding indexes");
                    self.rebuild_indexes(plan.segment).await?;
                    rebuilt = true;
                }
            }
        }
    }

    /// Whether the segment is there, as it was: files of one that is not are gone, or will be.
    fn has(&self, generation: u64, base: i64) -> bool {
        let mut state = self.0.state.lock();
        state.generation == generation && state.segment_mut(base).is_some()
    }

    /// Finds the position from which to look for `offset`; loads indexes and opens the file as needed.
    async fn plan(&self, offset: i64) -> Result<Plan<FileOf<R>>, ReadError> {
        let mutants = self.0.shared.runtime.mutants();
        loop {
            let load = {
                let mut state = self.0.state.lock();
                if offset < state.start {
                    // removed since the caller looked
                    return Err(ReadError::OffsetOutOfRange { offset, start: state.start, end: state.end });
                }
                let at = state.segment_at(offset);
                let end = state.segment_end(at);
                let generation = state.generation;
                let segment = &state.segments[at];
                if let Some(damage) = state
                    .damage
                    .iter()
                    .find(|d| d.segment == segment.base && (d.from..d.to).contains(&offset))
                {
                    let reason =
                        format!("offsets {} to {} are damaged on the medium", damage.from, damage.to - 1);
                    return Err(ReadError::Corrupt { offset, reason });
                }
                match &segment.indexes {
                    Some(indexes) => {
                        let entry = indexes.offsets.lookup(offset, mutants);
                        let entry_position = entry.map_or(0, |entry| u64::from(entry.position));
                        let damage =
                            state.damage.iter().filter(|d| d.segment == segment.base && d.to <= offset);
                        // behind damage the log goes on with another offset than the one before it
                        let (position, first) = match (damage.last(), entry) {
                            (Some(damage), _) if damage.end_position >= entry_position => {
                                (damage.end_position, First::Begins(damage.to))
                            }
                            (_, Some(entry)) => (entry_position, First::Ends(entry.offset)),
                            (_, None) => (0, First::Begins(segment.base)),
                        };
                        let plan = Plan {
                            segment: segment.base,
                            generation,
                            file: segment.file.clone(),
                            position,
                            first,
                            written: segment.written,
                            end,
                            epochs: state.epochs.clone(),
                        };
                        unload(&mut state, plan.segment);
                        return Ok(plan);
                    }
                    None => (segment.base, segment.written, end),
                }
            };
            let (base, bytes, end) = load;
            self.load_indexes(base, bytes, end).await?;
        }
    }

    /// Reads the indexes of a sealed segment, or rebuilds them when they are not what they should be.
    pub(crate) async fn load_indexes(&self, base: i64, bytes: u64, end: i64) -> Result<(), LogError> {
        match read_indexes(&self.0.shared.runtime, &self.0.dir, base, bytes, end).await? {
            Ok(indexes) => {
                let mut state = self.0.state.lock();
                if let Some(segment) = state.segment_mut(base) {
                    let last = indexes.times.last();
                    segment
                        .max_timestamp
                        .get_or_insert(last.map_or(MaxTimestamp { timestamp: -1, offset: base }, |last| {
                            MaxTimestamp { timestamp: last.timestamp, offset: last.offset }
                        }));
                    segment.indexes = Some(Box::new(indexes));
                }
                unload(&mut state, base);
                Ok(())
            }
            Err(reason) => {
                tracing::warn!(log = %self.0.name, segment = base, reason, "rebuilding indexes");
                self.rebuild_indexes(base).await
            }
        }
    }

    /// Scans a segment of which everything is durable, and replaces its indexes in memory. Does nothing when the
    /// segment goes meanwhile.
    pub(crate) async fn rebuild_indexes(&self, base: i64) -> Result<(), LogError> {
        let generation = self.0.state.lock().generation;
        match self.try_rebuild_indexes(base).await {
            Err(_) if !self.has(generation, base) => Ok(()),
            result => result,
        }
    }

    async fn try_rebuild_indexes(&self, base: i64) -> Result<(), LogError> {
        let path = Kind::Log.path(&self.0.dir, base);
        let (written, generation, config, end, epochs, all_written) = {
            let state = self.0.state.lock();
            let (at, config) = (state.segment_at(base), state.config.clone());
            let segment = &state.segments[at];
            if segment.base != base {
                return Ok(());
            }
            let end = state.segment_end(at);
            (segment.written, state.generation, config, end, state.epochs.clone(), state.written)
        };
        let file = self.0.shared.runtime.disk().open(&path, OpenOptions::READ).await.during("open", &path)?;
        let checks = Checks { epochs: Some(&epochs), ..Checks::durable(true) };
        let mut found = scan(&file, &path, base, written, &config, checks).await?;
        let mut judgement = found.lineage.judge(Some(&epochs));
        if !judgement.is_plain() {
            // what one segment alone says, its neighbours may explain
            let whole = self.lineage_around(base, std::mem::take(&mut found.lineage), &epochs).await?;
            judgement = whole.judge(Some(&epochs));
        }
        if let Some(last) = found.damage.last_mut()
            && last.to == last.from
        {
            // damaged to the end of the segment
            last.to = end;
        }
        let mut state = self.0.state.lock();
        if state.generation != generation {
            return Ok(());
        }
        state.damage.retain(|damage| damage.segment != base);
        state.damage.append(&mut found.damage);
        state.damage.extend(judgement.strangers.iter().filter(|damage| damage.segment == base));
        state.damage.sort_by_key(|damage| damage.from);
        if judgement.epochs_are_wrong {
            tracing::error!(log = %self.0.name, "leader epochs are not those of the log, learning them anew");
            state.relearn_epochs(&judgement.starts, all_written);
        }
        if let Some(segment) = state.segment_mut(base) {
            found.keep_newer(segment.indexes.as_deref(), segment.max_timestamp, written);
            segment.max_timestamp = Some(found.max_timestamp);
            segment.indexes = Some(Box::new(found.indexes));
        }
        Ok(())
    }

    /// What the batches of the whole log say of their leader epochs; `middle` is what those of the segment `base` do.
    async fn lineage_around(
        &self,
        base: i64,
        middle: Lineage,
        epochs: &EpochCache,
    ) -> Result<Lineage, LogError> {
        let (runtime, dir) = (&self.0.shared.runtime, &self.0.dir);
        let (mut whole, mut middle) = (Lineage::default(), Some(middle));
        for extent in self.extents() {
            let generation = self.0.state.lock().generation;
            if extent.base == base {
                whole.extend(middle.take().unwrap_or_default());
                continue;
            }
            match lineage_of(runtime, dir, &[extent], Some(epochs), true).await {
                Ok(lineage) => whole.extend(lineage),
                // retention took it meanwhile
                Err(_) if !self.has(generation, extent.base) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    /// The segments that anything was written to: one that was just begun has no file yet.
    fn extents(&self) -> Vec<Extent> {
        let state = self.0.state.lock();
        let extent = |at: usize| Extent {
            base: state.segments[at].base,
            bytes: state.segments[at].written,
            end: state.segment_end(at),
        };
        (0..state.segments.len()).map(extent).filter(|extent| extent.bytes > 0).collect()
    }

    async fn pass(&self, plan: &Plan<FileOf<R>>, wanted: &Wanted) -> Result<Pass, ReadError> {
        let path = Kind::Log.path(&self.0.dir, plan.segment);
        let disk = self.0.shared.runtime.disk();
        let file = match &plan.file {
            Some(file) => file.clone(),
            None => {
                let file = disk.open(&path, OpenOptions::READ).await.during("open", &path)?;
                let mut state = self.0.state.lock();
                // kept until another sealed segment is read
                if state.loaded == Some(plan.segment)
                    && let Some(segment) = state.segment_mut(plan.segment)
                {
                    segment.file = Some(file.clone());
                }
                file
            }
        };
        let interval = self.0.state.lock().config.index_interval_bytes as usize;
        let (mut position, mut first) = (plan.position, plan.first);
        let mut want = wanted.max_bytes.max(READ_BYTES_MIN).saturating_add(interval);
        loop {
            let left = plan.written.saturating_sub(position);
            if left == 0 {
                return Ok(Pass::Nothing);
            }
            let len = want.min(usize::try_from(left).unwrap_or(usize::MAX));
            let window = match file.try_read_at(position, len) {
                Some(result) => result.during("read", &path)?,
                None => file.read_at(position, len).await.during("read", &path)?,
            };
            let bad = |at: usize, reason: String| {
                Ok(Pass::Bad { position: position + at as u64, offset: wanted.offset, reason })
            };
            match walk(&window, first, wanted, &plan.epochs) {
                Walk::Found(result) => return Ok(Pass::Found(result)),
                Walk::Bad { at, reason } => return bad(at, reason),
                Walk::Further { skip, need, first: then } => {
                    let behind = left.saturating_sub(skip as u64);
                    let stuck = skip == 0 && need <= window.len();
                    if skip as u64 > left || stuck || (behind > 0 && (need as u64) > behind) {
                        return bad(
                            skip.min(len),
                            format!("a batch of {need} bytes with {behind} bytes left"),
                        );
                    }
                    position += skip as u64;
                    want = need.max(wanted.max_bytes).max(READ_BYTES_MIN);
                    first = then;
                }
            }
        }
    }
}

/// Notes that the indexes of `base` are in use, and forgets those of the sealed segment that was used before.
fn unload<F>(state: &mut State<F>, base: i64) {
    if !state.segment_mut(base).is_some_and(|segment| segment.sealed) {
        return;
    }
    let before = state.loaded.replace(base).filter(|&before| before != base);
    if let Some(segment) = before.and_then(|before| state.segment_mut(before))
        && segment.sealed
    {
        (segment.indexes, segment.file) = (None, None);
    }
}

/// Reads both index files of a segment; the inner error says why they cannot be used.
pub(crate) async fn read_indexes<R: Runtime>(
    runtime: &R,
    dir: &std::path::Path,
    base: i64,
    log_bytes: u64,
    end: i64,
) -> Result<Result<Indexes, String>, LogError> {
    let offsets = read_file(runtime, &Kind::OffsetIndex.path(dir, base)).await?;
    let times = read_file(runtime, &Kind::TimeIndex.path(dir, base)).await?;
    let (Some(offsets), Some(times)) = (offsets, times) else {
        return Ok(Err("an index file is missing".into()));
    };
    let offsets = match OffsetIndex::decode(base, &offsets, log_bytes) {
        Ok(index) => index,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match TimeIndex::decode(base, &times, end) {
        Ok(times) => Ok(Indexes { offsets, times }),
        Err(error) => Err(error.to_string()),
    })
}
