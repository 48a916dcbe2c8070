//! A look at a recovered log by somebody who does not trust it: every batch is read, and what recovery concluded
//! from indexes and snapshots is compared with it. Only when somebody listens to the probe, which is never in
//! production: it reads everything.

use crate::epochs::EpochCache;
use crate::error::{Context, LogError};
use crate::files::Kind;
use crate::lineage::Lineage;
use crate::load::{Known, mismatch};
use crate::log::State;
use crate::producers::ProducerTable;
use crate::read::read_indexes;
use crate::scan::{Checks, Scan, Window, scan};
use crate::segment::Indexes;
use burnin_runtime::{Disk, File, OpenOptions, Runtime};
use std::path::Path;

/// Reports each difference as a `RecoveryMismatch`.
pub(crate) async fn audit<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    state: &State<<R::Disk as Disk>::File>,
) -> Result<(), LogError> {
    let (mut rebuilt, mut lineage) = (ProducerTable::default(), Lineage::default());
    for (at, segment) in state.segments.iter().enumerate() {
        let path = Kind::Log.path(known.dir, segment.base);
        let file = runtime.disk().open(&path, OpenOptions::READ).await.during("open", &path)?;
        let found =
            scan(&file, &path, segment.base, segment.size, &known.config, Checks::durable(true)).await?;
        for batch in &found.producers {
            rebuilt.record(batch);
        }
        lineage.extend(found.lineage.clone());
        let end = state.segment_end(at);
        if found.damage.is_empty() && found.end_offset != end {
            mismatch(
                runtime,
                known,
                format!("segment {} ends at {}, not at {end}", segment.base, found.end_offset),
            );
        }
        let indexes = match &segment.indexes {
            Some(indexes) => Ok((**indexes).clone()),
            None => read_indexes(runtime, known.dir, segment.base, segment.size, end).await?,
        };
        match indexes {
            Ok(indexes) => check_indexes(runtime, known, &file, &path, &found, &indexes).await?,
            Err(reason) => mismatch(runtime, known, format!("indexes of {}: {reason}", segment.base)),
        }
    }
    check_producers(runtime, known, state, &rebuilt);
    check_epochs(runtime, known, state, &lineage);
    Ok(())
}

/// Looks every batch up.
async fn check_indexes<R: Runtime, F: File>(
    runtime: &R,
    known: &Known<'_>,
    file: &F,
    path: &Path,
    found: &Scan,
    indexes: &Indexes,
) -> Result<(), LogError> {
    let mut window = Window::new(file, path, found.end_position);
    let (mut position, mut entered) = (0, None);
    let entries: Vec<_> = indexes.offsets.iter().collect();
    while position < found.end_position {
        let Ok((header, _)) = window.batch(position, false).await? else { break };
        let exact = entries.iter().find(|entry| u64::from(entry.position) == position);
        if let Some(entry) = exact
            && entry.offset != header.last_offset()
        {
            let ends = header.last_offset();
            mismatch(
                runtime,
                known,
                format!("the index says {} at {position}, the log {ends}", entry.offset),
            );
        }
        // a reader of this batch's last record may begin here, one of its first record only if they are the same
        let below = if header.last_offset_delta == 0 { exact.map(|e| e.offset).or(entered) } else { entered };
        let looked_up =
            indexes.offsets.lookup(header.base_offset, runtime.mutants()).map(|entry| entry.offset);
        if looked_up != below {
            let offset = header.base_offset;
            mismatch(runtime, known, format!("looking up {offset} gives {looked_up:?} instead of {below:?}"));
        }
        entered = exact.map(|entry| entry.offset).or(entered);
        position += header.total_len() as u64;
    }
    if found.damage.is_empty() && entries.iter().any(|entry| u64::from(entry.position) >= found.end_position)
    {
        mismatch(runtime, known, "an index entry points behind the log".into());
    }
    Ok(())
}

/// The newest batch of each producer must be known; a producer that has no batch in the log any more may be.
fn check_producers<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    state: &State<<R::Disk as Disk>::File>,
    rebuilt: &ProducerTable,
) {
    let now_ms = runtime.wall_ms();
    let mut alive = rebuilt.clone();
    alive.expire(now_ms, known.producer_id_expiration_ms);
    for (id, entry) in alive.iter() {
        let recovered = state.producers.get(id);
        let same = recovered.is_some_and(|r| r.epoch == entry.epoch && r.last() == entry.last());
        if !same {
            let recovered = recovered.and_then(|r| r.last());
            mismatch(
                runtime,
                known,
                format!("producer {id} is {recovered:?}, by the log {:?}", entry.last()),
            );
        }
    }
    let first = state.segments.first().map_or(0, |segment| segment.base);
    for (id, entry) in state.producers.iter() {
        let last = entry.last().map_or(-1, |batch| batch.last_offset);
        if rebuilt.get(id).is_none() && last >= first {
            mismatch(
                runtime,
                known,
                format!("producer {id} is known for {last}, where the log has nothing of it"),
            );
        }
    }
}

/// The epochs must be those of the batches.
fn check_epochs<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    state: &State<<R::Disk as Disk>::File>,
    lineage: &Lineage,
) {
    let mut rebuilt = EpochCache::default();
    for (epoch, first) in lineage.starts() {
        rebuilt.observe(epoch, first);
    }
    rebuilt.truncate_from_start(state.start);
    let (recovered, by_the_log) = (state.epochs.entries(), rebuilt.entries());
    // of a log without a batch the epoch of the last one that was deleted may be known
    let is_of_deleted = by_the_log.is_empty() && matches!(recovered, [e] if e.start_offset == state.start);
    if recovered != by_the_log && !is_of_deleted {
        mismatch(runtime, known, format!("epochs are {recovered:?}, by the log {by_the_log:?}"));
    }
}
