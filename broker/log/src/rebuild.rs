//! Leader epochs and producers of a log that is being loaded: from what was checkpointed, and from the log.

use crate::checkpoint::decode_epochs;
use crate::disk::{read_file, remove_file};
use crate::epochs::EpochCache;
use crate::error::{Context, LogError};
use crate::files::{Kind, LEADER_EPOCHS};
use crate::load::{Known, Segments, mismatch};
use crate::producers::ProducerTable;
use crate::scan::{Window, producer_batch};
use crate::snapshot;
use burnin_runtime::{Disk, OpenOptions, Runtime};
use burnin_wire::batch::BatchHeader;
use std::collections::BTreeMap;

/// The leader epochs, from the checkpoint as far as it can be believed, and from the log; and whether they must be
/// written.
pub(crate) async fn load_epochs<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    segments: &Segments<<R::Disk as Disk>::File>,
) -> Result<(EpochCache, bool), LogError> {
    let (mut epochs, mut dirty) = (EpochCache::default(), false);
    let content = read_file(runtime, &known.dir.join(LEADER_EPOCHS)).await?;
    let readable = match content.as_deref().map(decode_epochs) {
        Some(Ok(read)) => {
            epochs = read;
            true
        }
        Some(Err(error)) => {
            mismatch(runtime, known, format!("{LEADER_EPOCHS} is unreadable: {error}"));
            false
        }
        None => false,
    };
    dirty |= epochs.truncate_from_end(segments.end);
    if !readable {
        walk_headers(runtime, known, segments, i64::MIN, |header| {
            dirty |= epochs.observe(header.leader_epoch, header.base_offset);
        })
        .await?;
    }
    for &(epoch, offset) in &segments.epochs {
        dirty |= epochs.observe(epoch, offset);
    }
    Ok((epochs, dirty))
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
        walk_headers(runtime, known, segments, from, |header| {
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

/// Walks the headers of the batches from offset `from` on in the segments that were not scanned.
async fn walk_headers<R: Runtime>(
    runtime: &R,
    known: &Known<'_>,
    segments: &Segments<<R::Disk as Disk>::File>,
    from: i64,
    mut each: impl FnMut(&BatchHeader),
) -> Result<(), LogError> {
    for (at, segment) in segments.list.iter().enumerate() {
        let end = segments.list.get(at + 1).map_or(segments.end, |next| next.base);
        if segment.base >= segments.scanned_from || end <= from {
            continue;
        }
        let path = Kind::Log.path(known.dir, segment.base);
        let file = runtime.disk().open(&path, OpenOptions::READ).await.during("open", &path)?;
        let mut window = Window::new(&file, &path, segment.size);
        let mut position = 0;
        while position < segment.size {
            match window.batch(position, false).await? {
                Ok((header, _)) => {
                    if header.base_offset >= from {
                        each(&header);
                    }
                    position += header.total_len() as u64;
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
