//! The control plane of a disk: every fault of `faults.rs`, begun and ended, and what there is to see.

use super::faults::{DiskStats, FailRule, Faults, PathFilter};
use crate::latency::nanos;
use crate::node::{FaultResult, SimNode, code, refuse};
use crate::timers::Event;
use crate::trace::TraceKind;
use crate::world::{State, World};
use std::time::Duration;

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitRot {
    /// The file.
    pub path: String,
    /// The byte.
    pub offset: u64,
    /// The bit, 0 to 7.
    pub bit: u8,
}

/// A file, as programs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// From the root.
    pub path: String,
    /// Bytes.
    pub len: u64,
    /// The synced size.
    pub durable_len: u64,
    /// Pages that a power loss could change.
    pub dirty_pages: usize,
}

/// The control plane of one disk.
#[derive(Clone)]
pub struct DiskControl {
    world: World,
    node: SimNode,
}

impl DiskControl {
    pub(crate) fn new(world: World, node: SimNode) -> Self {
        DiskControl { world, node }
    }

    fn fault<R>(&self, parameter: u64, apply: impl FnOnce(&mut State) -> R) -> R {
        self.world.with(|s| {
            s.record(TraceKind::Fault, self.node, code::DISK, parameter);
            apply(s)
        })
    }

    /// From now on no operation ends, for a while or until [`DiskControl::heal`] or a power loss; then all of
    /// them do.
    pub fn hang(&self, duration: Option<Duration>) {
        self.fault(1, |s| {
            let now = s.now;
            let until = duration.map_or(u64::MAX, |d| now.saturating_add(nanos(d)));
            let faults = &mut s.disk(self.node).faults;
            faults.hung_until = faults.hung_until.max(until);
            if duration.is_some() {
                s.queue.insert(until, Event::DiskBack { node: self.node.0 });
            }
        });
    }

    /// New operations take `factor` times as long.
    pub fn slow(&self, factor: f64) -> FaultResult {
        if !(factor.is_finite() && factor > 0.0) {
            return refuse(format!("slow disk: the factor {factor} is not above 0"));
        }
        self.fault(2 | factor.to_bits() << 8, |s| s.disk(self.node).faults.slow = factor);
        Ok(())
    }

    /// Takes back everything that is wrong: hanging, slowness, failing, short writes, lies and a changed
    /// capacity. What was lost or rotted stays so.
    pub fn heal(&self) {
        self.fault(3, |s| {
            let capacity = s.node(self.node).disk.capacity;
            s.disk(self.node).faults = Faults::new(capacity);
            s.disk_back(self.node);
        });
    }

    /// Has operations fail with EIO. Rules are asked in the order in which they were made.
    pub fn fail(&self, rule: FailRule) -> FaultResult {
        if !(0.0..=1.0).contains(&rule.chance) || rule.count == Some(0) {
            return refuse(format!(
                "failing disk: chance {} and count {:?} never fail",
                rule.chance, rule.count
            ));
        }
        self.fault(4 | (rule.op as u64) << 8, |s| s.disk(self.node).faults.rules.push(rule));
        Ok(())
    }

    /// How many bytes fit; `None` for no limit. Less than what is there makes the disk full.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.fault(5 | bytes.unwrap_or(u64::MAX) << 8, |s| s.disk(self.node).faults.capacity = bytes);
    }

    /// The probability that a write stops after a part, with EIO.
    pub fn short_writes(&self, chance: f64) {
        self.fault(6 | chance.to_bits() << 8, |s| s.disk(self.node).faults.short_writes = chance);
    }

    /// Whether syncs answer without having done anything. What is lost by it is not the broker's fault: only
    /// for scenarios that say so.
    pub fn lie_on_sync(&self, lying: bool) {
        self.fault(7 | u64::from(lying) << 8, |s| s.disk(self.node).faults.lying = lying);
    }

    /// Flips one bit in each of `count` synced pages of matching files (fewer when there are fewer), and says
    /// where. An error when no synced page matches.
    pub fn bit_rot(&self, path: &PathFilter, count: usize) -> FaultResult<Vec<BitRot>> {
        self.fault(8 | (count as u64) << 8, |s| {
            let hits = s.disk(self.node).rot(path, count);
            if hits.is_empty() {
                return refuse(format!("bit rot: no synced data matches {path:?}"));
            }
            Ok(hits)
        })
    }

    /// Every file that programs can reach, by path.
    pub fn files(&self) -> Vec<FileInfo> {
        self.world.with(|s| {
            let names = &mut s.disk(self.node).names;
            let files = names.files();
            let info = |(path, inode)| {
                let data = names.file(inode);
                let (len, durable_len, dirty_pages) = (data.len(), data.durable_len(), data.dirty_pages());
                FileInfo { path, len, durable_len, dirty_pages }
            };
            files.into_iter().map(info).collect()
        })
    }

    /// Bytes in use, in whole pages.
    pub fn used(&self) -> u64 {
        self.world.with(|s| s.disk(self.node).names.allocated())
    }

    /// Operations under way, stuck ones included.
    pub fn waiting(&self) -> usize {
        self.world.with(|s| s.disk(self.node).ops.waiting())
    }

    /// Name changes that no directory sync has made durable.
    pub fn pending_names(&self) -> usize {
        self.world.with(|s| s.disk(self.node).names.pending())
    }

    /// What it did so far.
    pub fn stats(&self) -> DiskStats {
        self.world.with(|s| s.disk(self.node).stats)
    }
}
