//! Faults of disks.
//!
//! Can: have operations hang, take longer, or fail (EIO; a failed fsync drops its dirty pages), fill the disk
//! (ENOSPC), cut writes short, and flip bits of synced data on the medium.
//! Never: gives wrong bytes without an error, but for a bit that rotted. A rotted segment is told to the
//! history, because no replica of an RF-1 partition can make up for it. No bit rots in segments of the metadata log: a
//! node refuses to start with such a log, until somebody replaces its disk.

use crate::cast::{Broker, Cluster};
use burnin_engine::{DiskOp, FailRule, PathFilter, SimHandle, SimNode};
use burnin_history::FaultEvent;
use burnin_scenario::{Action, FileClass};
use std::collections::BTreeSet;

/// A part of the paths of the metadata log.
const METADATA_DIR: &str = "__cluster_metadata-";

/// Whether a broker that halted because of it is started again at the fault's end.
pub(crate) fn restarts(action: &Action) -> bool {
    match action {
        Action::DiskFail { restart, .. }
        | Action::DiskFull { restart, .. }
        | Action::DiskShortWrite { restart, .. } => *restart,
        _ => false,
    }
}

pub(crate) fn apply(sim: &SimHandle, node: SimNode, action: &Action) -> Result<(), String> {
    let disk = sim.disk(node);
    match action {
        Action::DiskHang {} => disk.hang(None),
        Action::DiskSlow { factor } => disk.slow(f64::from(*factor)).map_err(|error| error.to_string())?,
        Action::DiskFail { op, files, count, .. } => {
            let op = match op {
                burnin_scenario::DiskOp::Read => DiskOp::Read,
                burnin_scenario::DiskOp::Write => DiskOp::Write,
                burnin_scenario::DiskOp::Sync => DiskOp::Sync,
            };
            let rule = FailRule { op, path: filter(files), chance: 1.0, count: *count, short: false };
            disk.fail(rule).map_err(|error| error.to_string())?;
        }
        Action::DiskFull { free, .. } => disk.set_capacity(Some(disk.used() + free.0)),
        Action::DiskShortWrite { files, count, .. } => {
            let rule =
                FailRule { op: DiskOp::Write, path: filter(files), chance: 1.0, count: *count, short: true };
            disk.fail(rule).map_err(|error| error.to_string())?;
        }
        other => return Err(format!("not a disk fault: {other:?}")),
    }
    Ok(())
}

/// Flips bits; says where. An error when there is no such file with synced data.
pub(crate) fn bit_rot<C: Cluster>(
    sim: &SimHandle,
    cluster: &C,
    broker: Broker,
    files: &[FileClass],
    bits: u32,
) -> Result<String, String> {
    let mut filter = filter(files);
    if files.contains(&FileClass::Log) {
        METADATA_DIR.clone_into(&mut filter.without);
    }
    let hits = sim.disk(broker.node).bit_rot(&filter, bits as usize).map_err(|error| error.to_string())?;
    let mut rotted = BTreeSet::new();
    for hit in hits.iter().filter(|hit| hit.path.ends_with(".log")) {
        if let Some((topic, partition)) = partition_of(&hit.path) {
            rotted.insert((topic.to_owned(), partition));
        }
    }
    for (topic, partition) in rotted {
        cluster.record(FaultEvent::LogRotted { node: broker.id, topic: topic.into(), partition });
    }
    let places: Vec<String> =
        hits.iter().map(|hit| format!("{} byte {} bit {}", hit.path, hit.offset, hit.bit)).collect();
    Ok(places.join(", "))
}

/// `data/orders-3/00000000000000000000.log` is of partition 3 of `orders`.
fn partition_of(path: &str) -> Option<(&str, i32)> {
    let directory = path.rsplit('/').nth(1)?;
    let (topic, number) = directory.rsplit_once('-')?;
    Some((topic, number.parse().ok()?))
}

fn filter(files: &[FileClass]) -> PathFilter {
    PathFilter::suffixes(files.iter().map(|class| match class {
        FileClass::Log => ".log",
        FileClass::Index => ".index",
        FileClass::Timeindex => ".timeindex",
        FileClass::Checkpoint => "checkpoint",
        FileClass::Snapshot => ".snapshot",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_is_read_off_a_path() {
        assert_eq!(partition_of("/data/my-orders-12/00000000000000000000.log"), Some(("my-orders", 12)));
        assert_eq!(partition_of("/data/meta.properties"), None);
    }
}
