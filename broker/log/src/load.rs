//! Loading one partition's directory, after a clean shutdown or after anything else.
//!
//! What may be found after a power loss: any page that was not synced is there, torn, zero or missing; a file
//! whose directory entry was not synced is missing. What is promised in return:
//! - everything below the recovery point is durable. It is not scanned (its indexes are checked when they are
//!   used), and a damaged batch in it is not a torn tail: it stays as damage, and reads of it fail;
//! - from the segment of the recovery point on every batch is checked. In a segment that another one follows, a bad
//!   one is damage, too: it was synced before the next one was begun. In the last one the log ends before the first
//!   bad one at or above the recovery point;
//! - segments that a truncation cut off, and a crash left, go. Without a log start (its checkpoint has rotted), those
//!   before a hole go instead: only retention, which takes some away, leaves one then (a truncation syncs the
//!   directory before it cuts);
//! - indexes of scanned segments are rebuilt; epochs and producers continue from the newest checkpoint and
//!   snapshot that pass their checks, or are rebuilt from the log;
//! - what was found above the recovery point is written again and synced before it is served: that it can be read
//!   does not mean that it is on the medium, not even when a sync says so (a failed sync marks pages clean).
//!
//! One limit: acknowledged data above the last *written* recovery point (`checkpoint_interval_ms` ago at most,
//! if the medium damages it) cannot be told from a torn tail.

use crate::audit::audit;
use crate::checkpoint::decode_partition_metadata;
use crate::config::LogConfig;
use crate::disk::{read_file, remove_file, write_file};
use crate::epochs::EpochCache;
use crate::error::{Context, LogError};
use crate::files::{DELETED_SUFFIX, Kind, PARTITION_METADATA, TEMP_SUFFIX};
use crate::lineage::Lineage;
use crate::log::State;
use crate::producers::ProducerBatch;
use crate::read::read_indexes;
use crate::rebuild::{load_epochs, load_producers, read_epochs};
use crate::scan::{Checks, Damage, Policy, Scan, Window, scan};
use crate::segment::{MaxTimestamp, Segment};
use burnin_runtime::{Disk, File, Mutants, Observation, OpenOptions, Runtime};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// What is known before a partition is looked at.
pub(crate) struct Known<'a> {
    pub dir: &'a Path,
    pub name: &'a Arc<str>,
    pub config: Arc<LogConfig>,
    /// The directory was shut down in order.
    pub clean: bool,
    pub recovery_point: i64,
    /// Not known when the checkpoint that says so cannot be read.
    pub log_start: Option<i64>,
    pub producer_id_expiration_ms: i64,
}

pub(crate) struct Loaded<F> {
    pub topic_id: Uuid,
    pub state: State<F>,
}

/// What was found in the segment files.
pub(crate) struct Segments<F> {
    pub list: Vec<Segment<F>>,
    /// The offset behind the last batch.
    pub end: i64,
    pub damage: Vec<Damage>,
    /// Epochs and producers of the scanned part, and where it begins.
    pub lineage: Lineage,
    pub producers: Vec<ProducerBatch>,
    pub scanned_from: i64,
}

/// A segment by name: its first offset, its bytes, and the offset behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub base: i64,
    pub bytes: u64,
    pub end: i64,
}

impl<F> Segments<F> {
    fn empty(end: i64) -> Segments<F> {
        Segments {
            list: Vec::new(),
            end,
            damage: Vec::new(),
            lineage: Lineage::default(),
            producers: Vec::new(),
            scanned_from: i64::MAX,
        }
    }

    /// What was not scanned.
    pub fn unscanned(&self) -> Vec<Extent> {
        let ends = self.list.iter().skip(1).map(|next| next.base).chain([self.end]);
        let all = self.list.iter().zip(ends);
        all.filter(|(segment, _)| segment.base < self.scanned_from)
            .map(|(segment, end)| Extent { base: segment.base, bytes: segment.size, end })
            .collect()
    }
}

pub(crate) async fn load<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
) -> Result<Loaded<<R::Disk as Disk>::File>, LogError> {
    let (dir, now_ms) = (known.dir, runtime.wall_ms());
    let mut files = list_files(runtime, dir).await?;
    let mut changed = remove_old_segments(runtime, known, &mut files).await?;
    let mut topic_id = Uuid::nil();
    if let Some(content) = read_file(runtime, &dir.join(PARTITION_METADATA)).await? {
        match decode_partition_metadata(&content) {
            Ok(id) => topic_id = id,
            // as a crash in the middle of creating the partition leaves it
            Err(error) => tracing::warn!(log = %known.name, %error, "{PARTITION_METADATA} is unreadable"),
        }
    }
    let checkpointed = read_epochs(runtime, known).await?;
    let mut segments = load_segments(runtime, known, &files, checkpointed.as_ref()).await?;
    let first = segments.list.first().map_or(0, |segment| segment.base);
    let start = known.log_start.unwrap_or(0).max(first);
    if start > segments.end || segments.list.is_empty() {
        for segment in segments.list.drain(..) {
            remove_segment(runtime, dir, segment.base).await?;
        }
        create_segment(runtime, dir, start).await?;
        segments.list.push(Segment::new(start, now_ms));
        segments.damage.clear();
        (segments.end, segments.scanned_from, changed) = (start, start, true);
    }

    let (mut epochs, mut epochs_dirty) = load_epochs(runtime, known, &mut segments, checkpointed).await?;
    epochs_dirty |= epochs.truncate_from_start(start) || !known.clean;
    let (producers, snapshots) = load_producers(runtime, known, &files, &segments).await?;
    if changed || !known.clean {
        runtime.disk().sync_dir(dir).await.during("sync", dir)?;
    }
    let end = segments.end;
    runtime.probe().emit(|| Observation::LogRecovered {
        partition: known.name.clone(),
        log_start_offset: start,
        log_end_offset: end,
        clean: known.clean,
    });
    // Everything was synced above, or before the clean shutdown.
    runtime.probe().emit(|| Observation::FlushDone { partition: known.name.clone(), offset: end });
    let state = State {
        epochs,
        epochs_dirty,
        producers,
        snapshots,
        damage: segments.damage,
        ..State::new(known.config.clone(), segments.list, start, end)
    };
    if runtime.probe().is_on() {
        audit(runtime, known, &state).await?;
    }
    Ok(Loaded { topic_id, state })
}

/// The files that belong to segments, by kind and offset, with their sizes. Removes what an earlier life left
/// half done.
async fn list_files<R: Runtime>(runtime: &R, dir: &Path) -> Result<BTreeMap<(Kind, i64), u64>, LogError> {
    let mut files = BTreeMap::new();
    for entry in runtime.disk().list(dir).await.during("list", dir)? {
        if entry.name.ends_with(DELETED_SUFFIX) || entry.name.ends_with(TEMP_SUFFIX) {
            remove_file(runtime, &dir.join(&entry.name)).await?;
        } else if let Some(file) = Kind::parse(&entry.name) {
            files.insert(file, entry.len);
        }
    }
    Ok(files)
}

/// Removes segments below the log start: a crash may have interrupted that, with any of them gone. So it must be
/// done before anybody sees the hole between those that are left.
async fn remove_old_segments<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    files: &mut BTreeMap<(Kind, i64), u64>,
) -> Result<bool, LogError> {
    let bases: Vec<i64> =
        files.keys().filter(|(kind, _)| *kind == Kind::Log).map(|&(_, base)| base).collect();
    let mut removed = false;
    for pair in bases.windows(2).filter(|pair| known.log_start.is_some_and(|start| pair[1] <= start)) {
        remove_segment(runtime, known.dir, pair[0]).await?;
        files.retain(|&(kind, base), _| base != pair[0] || kind == Kind::Snapshot);
        removed = true;
    }
    Ok(removed)
}

pub(crate) async fn create_segment<R: Runtime>(runtime: &R, dir: &Path, base: i64) -> Result<(), LogError> {
    let path = Kind::Log.path(dir, base);
    runtime.disk().open(&path, OpenOptions::REPLACE).await.during("create", &path).map(drop)
}

/// Removes all files of a segment.
async fn remove_segment<R: Runtime>(runtime: &R, dir: &Path, base: i64) -> Result<(), LogError> {
    for kind in [Kind::OffsetIndex, Kind::TimeIndex, Kind::Log] {
        remove_file(runtime, &kind.path(dir, base)).await?;
    }
    Ok(())
}

async fn load_segments<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    files: &BTreeMap<(Kind, i64), u64>,
    epochs: Option<&EpochCache>,
) -> Result<Segments<<R::Disk as Disk>::File>, LogError> {
    let dir = known.dir;
    let logs: Vec<(i64, u64)> = files
        .iter()
        .filter(|((kind, _), _)| *kind == Kind::Log)
        .map(|(&(_, base), &len)| (base, len))
        .collect();
    for (kind, base) in files.keys() {
        let index = matches!(kind, Kind::OffsetIndex | Kind::TimeIndex);
        if index && !files.contains_key(&(Kind::Log, *base)) {
            remove_file(runtime, &kind.path(dir, *base)).await?;
        }
    }
    let mut out = Segments::empty(logs.first().map_or(0, |&(base, _)| base));
    let mut ended = false;
    for (at, &(base, len)) in logs.iter().enumerate() {
        let next = logs.get(at + 1).map(|&(next, _)| next);
        if ended {
            remove_segment(runtime, dir, base).await?;
            continue;
        }
        match next {
            // a recovery point inside a later segment proves that this one was sealed with its indexes
            Some(next) if known.clean || (next < known.recovery_point && known.log_start.is_some()) => {
                out.list.push(trusted(base, len, runtime.wall_ms()));
                out.end = next;
            }
            _ if known.clean => load_active(runtime, known, (base, len), epochs, &mut out).await?,
            _ => match scan_segment(runtime, known, (base, len), next, epochs, &mut out).await? {
                Behind::More => {}
                Behind::Nothing => ended = true,
                Behind::Hole(next) => {
                    for (base, _) in &logs[..=at] {
                        remove_segment(runtime, dir, *base).await?;
                    }
                    out = Segments::empty(next);
                }
            },
        }
    }
    Ok(out)
}

/// What comes behind a segment that was scanned.
enum Behind {
    /// The next segment, if there is one.
    More,
    /// The log ends here.
    Nothing,
    /// A part of the log that retention took, and the log begins at this offset.
    Hole(i64),
}

/// A segment that is durable and not looked at.
fn trusted<F>(base: i64, len: u64, now_ms: i64) -> Segment<F> {
    let mut segment = Segment::new(base, now_ms);
    (segment.size, segment.written) = (len, len);
    (segment.sealed, segment.indexes, segment.max_timestamp) = (true, None, None);
    segment
}

/// Checks a whole segment, cuts what is torn, and rebuilds its indexes. After a clean shutdown, when only the indexes
/// were in doubt, CRCs are left to the readers.
async fn scan_segment<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    (base, len): (i64, u64),
    next: Option<i64>,
    epochs: Option<&EpochCache>,
    out: &mut Segments<<R::Disk as Disk>::File>,
) -> Result<Behind, LogError> {
    let dir = known.dir;
    let path = Kind::Log.path(dir, base);
    let file = runtime.disk().open(&path, OpenOptions::WRITE).await.during("open", &path)?;
    // after a clean shutdown nothing can be torn, nor before the next segment: what is bad was damaged later
    let durable = known.recovery_point.max(next.unwrap_or(0));
    let policy = if known.clean { Policy::Durable } else { Policy::TornFrom(durable) };
    let checks = Checks { policy, crc: !known.clean, epochs };
    let mut found = scan(&file, &path, base, len, &known.config, checks).await?;
    if let Some(last) = found.damage.last_mut()
        && last.to == last.from
    {
        // damaged to the end of the file: what was durable there is lost, and no offset of it is used again
        last.to = next.unwrap_or(known.recovery_point).max(found.end_offset);
        found.end_offset = last.to;
        found.end_position = len;
    }
    if let Some(next) = next
        && known.log_start.is_none()
        && found.end_offset < next
    {
        tracing::warn!(log = %known.name, from = found.end_offset, to = next, "retention was interrupted");
        return Ok(Behind::Hole(next));
    }
    let torn = found.torn.is_some() || next.is_some_and(|next| found.end_offset != next);
    if torn {
        let reason = found.torn.as_deref().unwrap_or("the next segment does not continue it");
        tracing::warn!(log = %known.name, offset = found.end_offset, position = found.end_position, reason, "torn tail");
        file.set_len(found.end_position).await.during("truncate", &path)?;
    }
    rewrite(&file, &path, found.durable_position, found.end_position).await?;
    file.sync_data().await.during("sync", &path)?;
    let sealed = next.is_some() && !torn;
    if sealed {
        if found.max_timestamp.timestamp >= 0 {
            found.indexes.times.maybe_append(found.max_timestamp.timestamp, found.max_timestamp.offset);
        }
        write_file(runtime, &Kind::OffsetIndex.path(dir, base), found.indexes.offsets.encode()).await?;
        write_file(runtime, &Kind::TimeIndex.path(dir, base), found.indexes.times.encode()).await?;
    }
    out.scanned_from = out.scanned_from.min(base);
    take_scan(runtime, found, base, sealed, out);
    Ok(if torn { Behind::Nothing } else { Behind::More })
}

/// Writes a part of a file over itself. A sync that failed in an earlier life has marked pages clean that never
/// reached the medium: they can be read, and syncing them does nothing. Writing makes them dirty again.
async fn rewrite<F: File>(file: &F, path: &Path, from: u64, to: u64) -> Result<(), LogError> {
    const STEP: u64 = 4 << 20;
    let mut at = from;
    while at < to {
        let bytes = file.read_at(at, STEP.min(to - at) as usize).await.during("read", path)?;
        let read = bytes.len() as u64;
        assert!(read > 0, "{} ended at {at} instead of {to}", path.display());
        file.write_at(at, vec![bytes]).await.during("write", path)?;
        at += read;
    }
    Ok(())
}

fn take_scan<R: Runtime>(
    runtime: &R,
    found: Scan,
    base: i64,
    sealed: bool,
    out: &mut Segments<<R::Disk as Disk>::File>,
) {
    let mut segment = Segment::new(base, runtime.wall_ms());
    (segment.size, segment.written) = (found.end_position, found.end_position);
    segment.max_timestamp = Some(found.max_timestamp);
    segment.first_timestamp = found.first_timestamp;
    segment.since_index = found.since_index;
    segment.sealed = sealed;
    segment.indexes = (!sealed).then(|| Box::new(found.indexes));
    out.list.push(segment);
    out.end = found.end_offset;
    out.damage.extend(found.damage);
    out.lineage.extend(found.lineage);
    out.producers.extend(found.producers);
}

/// After a clean shutdown: the active segment's indexes are on disk, and only what is behind the last entry is
/// walked, without checking CRCs.
async fn load_active<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    (base, len): (i64, u64),
    epochs: Option<&EpochCache>,
    out: &mut Segments<<R::Disk as Disk>::File>,
) -> Result<(), LogError> {
    let path = Kind::Log.path(known.dir, base);
    let file = runtime.disk().open(&path, OpenOptions::READ).await.during("open", &path)?;
    let indexes = read_indexes(runtime, known.dir, base, len, i64::MAX).await?;
    let walked = match indexes {
        Ok(indexes) => walk_tail(&file, &path, base, len, &indexes).await?.map(|walked| (walked, indexes)),
        Err(reason) => Err(reason),
    };
    match walked {
        Ok((walked, indexes)) => {
            let mut segment = Segment::new(base, runtime.wall_ms());
            (segment.size, segment.written) = (len, len);
            segment.max_timestamp = Some(walked.max_timestamp);
            segment.first_timestamp = walked.first_timestamp;
            segment.since_index = walked.since_index;
            segment.indexes = Some(Box::new(indexes));
            out.end = walked.end;
            out.list.push(segment);
        }
        Err(reason) => {
            tracing::warn!(log = %known.name, segment = base, reason, "scanning although the shutdown was clean");
            scan_segment(runtime, known, (base, len), None, epochs, out).await?;
        }
    }
    Ok(())
}

struct Walked {
    end: i64,
    max_timestamp: MaxTimestamp,
    first_timestamp: Option<i64>,
    since_index: u64,
}

async fn walk_tail<F: File>(
    file: &F,
    path: &Path,
    base: i64,
    len: u64,
    indexes: &crate::segment::Indexes,
) -> Result<Result<Walked, String>, LogError> {
    let mut window = Window::new(file, path, len);
    let last = indexes.times.last();
    let mut walked = Walked {
        end: base,
        max_timestamp: MaxTimestamp {
            timestamp: last.map_or(-1, |last| last.timestamp),
            offset: last.map_or(base, |last| last.offset),
        },
        first_timestamp: None,
        since_index: 0,
    };
    if len > 0
        && let Ok((first, _)) = window.batch(0, false).await?
    {
        walked.first_timestamp = Some(first.max_timestamp);
    }
    let entry = indexes.offsets.last();
    let mut position = entry.map_or(0, |entry| u64::from(entry.position));
    walked.since_index = len - position;
    let mut expected = entry.is_none().then_some(base);
    while position < len {
        let header = match window.batch(position, false).await? {
            Ok((header, _)) => header,
            Err(reason) => return Ok(Err(reason)),
        };
        let fits = match (expected, entry) {
            (Some(expected), _) => header.base_offset == expected,
            (None, Some(entry)) => header.last_offset() == entry.offset,
            (None, None) => true,
        };
        if !fits {
            return Ok(Err(format!("unexpected offset {} at position {position}", header.base_offset)));
        }
        if header.max_timestamp > walked.max_timestamp.timestamp {
            walked.max_timestamp =
                MaxTimestamp { timestamp: header.max_timestamp, offset: header.last_offset() };
        }
        walked.end = header.last_offset() + 1;
        expected = Some(walked.end);
        position += header.total_len() as u64;
    }
    if let Some(last) = last {
        // retention believes this entry, so the log must say the same
        let entry = indexes.offsets.lookup(last.offset, &Mutants::NONE);
        let mut position = entry.map_or(0, |entry| u64::from(entry.position));
        while let Ok((header, _)) = window.batch(position, false).await? {
            if header.last_offset() >= last.offset {
                let same = header.last_offset() == last.offset && header.max_timestamp == last.timestamp;
                return Ok(if same { Ok(walked) } else { Err("the time index does not fit the log".into()) });
            }
            position += header.total_len() as u64;
        }
        return Ok(Err("the time index points behind the log".into()));
    }
    Ok(Ok(walked))
}

/// Reports something that only a bug or a damaged medium can explain.
pub(crate) fn mismatch<R: Runtime>(runtime: &R, known: &Known<'_>, what: String) {
    tracing::error!(log = %known.name, what, "recovery found something odd");
    runtime.probe().emit(|| Observation::RecoveryMismatch { partition: known.name.clone(), what });
}
