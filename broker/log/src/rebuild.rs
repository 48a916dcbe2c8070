//! Leader epochs and producers of a log that is being loaded: from what was checkpointed, and from the log.

use crate::checkpoint::decode_epochs;
use crate::disk::{read_file, remove_file};
use crate::epochs::EpochCache;
use crate::error::{Context, LogError};
use crate::files::{Kind, LEADER_EPOCHS};
use crate::lineage::{Lineage, contradicts};
use crate::load::{Extent, Known, Segments, mismatch};
use crate::producers::ProducerTable;
use crate::scan::{Damage, Window, producer_batch};
use crate::snapshot;
use burnin_runtime::{Disk, Mutant, OpenOptions, Runtime};
use burnin_wire::batch::BatchHeader;
use std::collections::BTreeMap;
use std::path::Path;

/// The epoch checkpoint; `None` when there is none, or none that can be read.
pub(crate) async fn read_epochs<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
) -> Result<Option<EpochCache>, LogError> {
    let content = read_file(runtime, &known.dir.join(LEADER_EPOCHS)).await?;
    match content.as_deref().map(decode_epochs) {
        Some(Ok(read)) => Ok(Some(read)),
        Some(Err(error)) => {
            mismatch(runtime, known, format!("{LEADER_EPOCHS} is unreadable: {error}"));
            Ok(None)
        }
        None => Ok(None),
    }
}

/// The leader epochs, from the checkpoint as far as it can be believed, and from the log; and whether they must be
/// written. Notes batches whose epoch is damaged.
pub(crate) async fn load_epochs<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    segments: &mut Segments<<R::Disk as Disk>::File>,
    mut checkpointed: Option<EpochCache>,
) -> Result<(EpochCache, bool), LogError> {
    let mut judgement = segments.lineage.judge(checkpointed.as_ref());
    if checkpointed.is_none() || !judgement.is_plain() {
        // what the scanned part alone says, the rest of the log may explain
        let mut whole =
            lineage_of(runtime, known.dir, &segments.unscanned(), checkpointed.as_ref(), known.clean).await?;
        whole.extend(segments.lineage.clone());
        judgement = whole.judge(checkpointed.as_ref());
    }
    if judgement.epochs_are_wrong {
        mismatch(runtime, known, format!("{LEADER_EPOCHS} is not that of the log: {checkpointed:?}"));
        checkpointed = None;
    }
    for stranger in judgement.strangers {
        if segments.list.iter().any(|segment| segment.base == stranger.segment) {
            tracing::error!(log = %known.name, offset = stranger.from, "damaged leader epoch");
            segments.damage.push(stranger);
        }
    }
    segments.damage.sort_by_key(|damage| damage.from);
    let mut epochs = checkpointed.unwrap_or_default();
    let mut dirty = epochs.truncate_from_end(segments.end);
    for (epoch, offset) in judgement.starts {
        // the planted bug takes the first epoch for none
        if epoch != 0 || !runtime.mutants().on(Mutant::S11) {
            dirty |= epochs.observe(epoch, offset);
        }
    }
    Ok((epochs, dirty))
}

/// What the batches in these segments say of their leader epochs, by the headers alone, in a log that knows of `epochs`,
/// which may be `complete`.
pub(crate) async fn lineage_of<R: Runtime>(
    runtime: &R,
    dir: &Path,
    segments: &[Extent],
    epochs: Option<&EpochCache>,
    complete: bool,
) -> Result<Lineage, LogError> {
    let mut lineage = Lineage::default();
    walk_headers(runtime, dir, segments, i64::MIN, |header, segment, end_position| {
        let (epoch, last) = (header.leader_epoch, header.last_offset());
        let contradicts = epochs.is_some_and(|epochs| contradicts(epochs, epoch, last, complete));
        lineage.note(epoch, contradicts, Damage::of(header, segment, end_position));
    })
    .await?;
    Ok(lineage)
}

/// The producers, from the newest snapshot that passes its checks and the log behind it; and the snapshots that are
/// left.
pub(crate) async fn load_producers<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    files: &BTreeMap<(Kind, i64), u64>,
    segments: &Segments<<R::Disk as Disk>::File>,
) -> Result<(ProducerTable, Vec<i64>), LogError> {
    let mut snapshots: Vec<i64> =
        files.keys().filter(|(kind, _)| *kind == Kind::Snapshot).map(|&(_, offset)| offset).collect();
    let (mut table, mut from) = (ProducerTable::default(), i64::MIN);
    while let Some(&offset) = snapshots.last() {
        let path = Kind::Snapshot.path(known.dir, offset);
        if offset <= segments.end
            && let Some(content) = read_file(runtime, &path).await?
        {
            match snapshot::decode(&content) {
                Ok(read)
                    if read.iter().all(|(_, entry)| entry.last().is_none_or(|b| b.last_offset < offset)) =>
                {
                    (table, from) = (read, offset);
                    break;
                }
                Ok(_) => {
                    mismatch(runtime, known, format!("snapshot {offset} knows batches behind its offset"))
                }
                Err(error) => tracing::warn!(log = %known.name, offset, %error, "snapshot is not used"),
            }
        }
        remove_file(runtime, &path).await?;
        snapshots.pop();
    }
    if from < segments.end && from < segments.scanned_from {
        walk_headers(runtime, known.dir, &segments.unscanned(), from, |header, _, _| {
            if let Some(batch) = producer_batch(header, header.base_offset) {
                table.record(&batch);
            }
        })
        .await?;
    }
    for batch in segments.producers.iter().filter(|batch| batch.last_offset >= from) {
        table.record(batch);
    }
    table.expire(runtime.wall_ms(), known.producer_id_expiration_ms);
    // besides the newest, only snapshots where a segment begins are of use
    let newest = snapshots.last().copied();
    let mut kept = Vec::new();
    for offset in snapshots {
        if Some(offset) == newest || segments.list.iter().any(|segment| segment.base == offset) {
            kept.push(offset);
        } else {
            remove_file(runtime, &Kind::Snapshot.path(known.dir, offset)).await?;
        }
    }
    Ok((table, kept))
}

/// Walks the headers of the batches from offset `from` on in these segments; each is given with its segment and the
/// position behind it.
pub(crate) async fn walk_headers<R: Runtime>(
    runtime: &R,
    dir: &Path,
    segments: &[Extent],
    from: i64,
    mut each: impl FnMut(&BatchHeader, i64, u64),
) -> Result<(), LogError> {
    for segment in segments.iter().filter(|segment| segment.end > from) {
        let path = Kind::Log.path(dir, segment.base);
        let file = runtime.disk().open(&path, OpenOptions::READ).await.during("open", &path)?;
        let mut window = Window::new(&file, &path, segment.bytes);
        let mut position = 0;
        while position < segment.bytes {
            match window.batch(position, false).await? {
                Ok((header, _)) => {
                    position += header.total_len() as u64;
                    if header.base_offset >= from {
                        each(&header, segment.base, position);
                    }
                }
                Err(reason) => {
                    tracing::error!(path = %path.display(), position, reason, "damaged batch");
                    let Some(next) = window.resync(position, segment.base).await? else { break };
                    position = next;
                }
            }
        }
    }
    Ok(())
}
