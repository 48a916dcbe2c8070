//! Reading what is no longer in the hot tail: by index from the segment files, checked batch by batch.
//!
//! An index entry is believed only when the batch that it points at ends with the entry's offset; otherwise the
//! indexes of the segment are rebuilt from the log. A damaged batch is stepped over when something behind it is
//! asked for, and is an error when it is asked for itself: the rest of the partition stays readable.

use crate::disk::read_file;
use crate::error::{Context, LogError, ReadError};
use crate::files::Kind;
use crate::index::{OffsetIndex, TimeIndex};
use crate::log::{FileOf, Log, ReadResult, State};
use crate::scan::{Policy, scan};
use crate::segment::{Indexes, MaxTimestamp};
use burnin_runtime::{Disk, File, OpenOptions, Runtime};
use burnin_wire::batch::{BatchHeader, HEADER_LEN, verify_crc};
use bytes::Bytes;

/// Read at least so much at once.
const READ_BYTES_MIN: usize = 16 << 10;

/// Where a read begins and ends.
struct Plan<F> {
    segment: i64,
    generation: u64,
    file: Option<F>,
    /// Where to look for the offset, and the offset that the batch there must end with.
    position: u64,
    entry: Option<i64>,
    written: u64,
    /// The offset behind the segment.
    end: i64,
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
    /// Reads like [`Log::try_read`], from the disk where needed. Batches from the disk have their CRC checked.
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
            let pass = self.pass(&plan, from, up_to, max_bytes, min_one).await;
            if self.0.state.lock().generation != plan.generation {
                // the log was truncated meanwhile
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
                        let good_from = state
                            .damage
                            .iter()
                            .filter(|d| d.segment == segment.base && d.to <= offset)
                            .map(|d| d.end_position)
                            .max()
                            .unwrap_or(0);
                        let plan = Plan {
                            segment: segment.base,
                            generation,
                            file: segment.file.clone(),
                            position: entry_position.max(good_from),
                            entry: entry.filter(|_| entry_position >= good_from).map(|entry| entry.offset),
                            written: segment.written,
                            end,
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

    /// Scans a segment of which everything is durable, and replaces its indexes in memory.
    pub(crate) async fn rebuild_indexes(&self, base: i64) -> Result<(), LogError> {
        let path = Kind::Log.path(&self.0.dir, base);
        let (written, generation, config, end) = {
            let state = self.0.state.lock();
            let at = state.segment_at(base);
            (state.segments[at].written, state.generation, state.config.clone(), state.segment_end(at))
        };
        let file = self.0.shared.runtime.disk().open(&path, OpenOptions::READ).await.during("open", &path)?;
        let mut found = scan(&file, &path, base, written, &config, Policy::Durable, true).await?;
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
        if let Some(segment) = state.segment_mut(base)
            && segment.size == written
        {
            segment.max_timestamp = Some(found.max_timestamp);
            segment.indexes = Some(Box::new(found.indexes));
        }
        Ok(())
    }

    async fn pass(
        &self,
        plan: &Plan<FileOf<R>>,
        offset: i64,
        up_to: i64,
        max_bytes: usize,
        min_one: bool,
    ) -> Result<Pass, ReadError> {
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
        let mut position = plan.position;
        let mut want = max_bytes.max(READ_BYTES_MIN).saturating_add(interval);
        let mut entry = plan.entry;
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
            match walk(&window, entry, offset, up_to, max_bytes, min_one) {
                Walk::Found(result) => return Ok(Pass::Found(result)),
                Walk::Bad { at, reason } => {
                    return Ok(Pass::Bad { position: position + at as u64, offset, reason });
                }
                Walk::Further { skip, need } => {
                    if skip == 0 && need <= window.len() || (need as u64) > left - skip as u64 {
                        let reason = format!("batch of {need} bytes in a segment with {left} bytes left");
                        return Ok(Pass::Bad { position, offset, reason });
                    }
                    position += skip as u64;
                    want = need.max(max_bytes).max(READ_BYTES_MIN);
                    if skip > 0 {
                        entry = None;
                    }
                }
            }
        }
    }
}

enum Walk {
    Found(ReadResult),
    Bad {
        at: usize,
        reason: String,
    },
    /// The window ends before the wanted batch does: it begins at `skip` and has `need` bytes.
    Further {
        skip: usize,
        need: usize,
    },
}

/// Picks the wanted batches out of a window that begins with a batch.
fn walk(
    window: &Bytes,
    entry: Option<i64>,
    offset: i64,
    up_to: i64,
    max_bytes: usize,
    min_one: bool,
) -> Walk {
    let (mut at, mut begin, mut next) = (0, None::<usize>, offset);
    let found = |begin: Option<usize>, at: usize, next| {
        let batches = begin.map(|begin| window.slice(begin..at)).into_iter().collect();
        Walk::Found(ReadResult { batches, next_offset: next })
    };
    loop {
        let rest = &window[at..];
        if rest.is_empty() && begin.is_none() {
            return Walk::Further { skip: at, need: 0 };
        }
        if rest.len() < HEADER_LEN {
            return if begin.is_some() {
                found(begin, at, next)
            } else {
                Walk::Further { skip: at, need: HEADER_LEN }
            };
        }
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(_) if begin.is_some() => return found(begin, at, next),
            Err(error) => return Walk::Bad { at, reason: error.to_string() },
        };
        if let Some(entry) = entry
            && at == 0
            && header.last_offset() != entry
        {
            let reason = format!(
                "an index entry for {entry} points at a batch that ends with {}",
                header.last_offset()
            );
            return Walk::Bad { at, reason };
        }
        let total = header.total_len();
        if header.last_offset() < offset {
            if total > rest.len() {
                return Walk::Further { skip: at + total, need: 0 };
            }
            at += total;
            continue;
        }
        let size = at + total - begin.unwrap_or(at);
        let fits = size <= max_bytes || (min_one && begin.is_none());
        if header.last_offset() >= up_to || !fits {
            return found(begin, at, next);
        }
        if total > rest.len() {
            return if begin.is_some() {
                found(begin, at, next)
            } else {
                Walk::Further { skip: at, need: total }
            };
        }
        if let Err(error) = verify_crc(&rest[..total]) {
            return if begin.is_some() {
                found(begin, at, next)
            } else {
                Walk::Bad { at, reason: error.to_string() }
            };
        }
        begin.get_or_insert(at);
        at += total;
        next = header.last_offset() + 1;
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
