//! The disk's faults.
//!
//! Can: hang (for ever or for a while), be slow, fail reads, writes, syncs or name operations with EIO (by
//! path, by count or by chance; a failing write may have written a part), be full (ENOSPC after the part that
//! fits), flip bits of synced data, lose power, and, only when a scenario says so, answer a sync without
//! doing it.
//! Never: gives wrong bytes without an error, but for a bit that rotted; does anything when nothing was
//! asked for; loses what an honest sync promised.

use super::Disk;
use super::control::BitRot;
use super::effects::prefix;
use super::media::{LossPlan, PAGE};
use burnin_runtime::Entropy;
use bytes::Bytes;
use std::io;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Reading, asking for a size, listing.
    Read,
    /// Writing, setting a size.
    Write,
    /// Syncing a file or a directory.
    Sync,
    /// Opening, locking, creating, renaming, removing.
    Names,
}

/// Which files are meant: those whose path contains `within` and ends with one of `suffixes`. Empty means all. None
/// whose path contains `without`, unless that is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// A part of the path.
    pub within: String,
    /// A part that the path must not have.
    pub without: String,
    /// Ends of the path, as in `.log` or `checkpoint`.
    pub suffixes: Vec<String>,
}

impl PathFilter {
    /// Every file.
    pub fn any() -> Self {
        PathFilter::default()
    }

    /// Files that end with one of these.
    pub fn suffixes<'a>(suffixes: impl IntoIterator<Item = &'a str>) -> Self {
        let suffixes = suffixes.into_iter().map(str::to_owned).collect();
        PathFilter { suffixes, ..PathFilter::default() }
    }

    /// Whether a path is meant.
    pub fn matches(&self, path: &str) -> bool {
        path.contains(&self.within)
            && (self.without.is_empty() || !path.contains(&self.without))
            && (self.suffixes.is_empty() || self.suffixes.iter().any(|suffix| path.ends_with(&**suffix)))
    }
}

/// Operations that fail with EIO.
#[derive(Clone, Debug, PartialEq)]
pub struct FailRule {
    /// Which kind.
    pub op: DiskOp,
    /// On which files.
    pub path: PathFilter,
    /// With which probability each.
    pub chance: f64,
    /// How many at most.
    pub count: Option<u32>,
    /// For writes: whether a part is always written. Otherwise that is so half of the time.
    pub short: bool,
}

impl FailRule {
    /// The next `count` operations of a kind, on any file.
    pub fn next(op: DiskOp, count: u32) -> Self {
        FailRule { op, path: PathFilter::any(), chance: 1.0, count: Some(count), short: false }
    }
}

/// What a power loss did to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Unsynced pages that kept their newest content.
    pub pages_kept: u64,
    /// Unsynced pages that fell back to an older content.
    pub pages_lost: u64,
    /// Unsynced pages with sectors of several contents.
    pub pages_torn: u64,
    /// Files with another size than programs saw.
    pub files_resized: u64,
    /// Unsynced name changes that were kept.
    pub names_kept: u64,
    /// Unsynced name changes that were lost.
    pub names_lost: u64,
}

/// What a disk did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Name operations.
    pub names: u64,
    /// Operations that failed by an injected fault.
    pub failed: u64,
    /// Power losses.
    pub power_losses: u64,
}

impl DiskStats {
    pub(super) fn count(&mut self, op: DiskOp) {
        match op {
            DiskOp::Read => self.reads += 1,
            DiskOp::Write => self.writes += 1,
            DiskOp::Sync => self.syncs += 1,
            DiskOp::Names => self.names += 1,
        }
    }
}

/// What is wrong with a disk now.
pub(super) struct Faults {
    /// Operations do not end before.
    pub(super) hung_until: u64,
    pub(super) slow: f64,
    pub(super) rules: Vec<FailRule>,
    pub(super) short_writes: f64,
    pub(super) capacity: Option<u64>,
    pub(super) lying: bool,
}

/// What the faults make of an operation.
pub(super) enum Verdict {
    Fine,
    /// EIO.
    Fails,
    /// A write stops after a part, with EIO.
    Short,
}

impl Verdict {
    /// For operations that happen as a whole or not at all.
    pub(super) fn whole(&self) -> io::Result<()> {
        match self {
            Verdict::Fine => Ok(()),
            Verdict::Fails | Verdict::Short => Err(io::Error::from_raw_os_error(EIO)),
        }
    }
}

impl Faults {
    pub(super) fn new(capacity: Option<u64>) -> Self {
        Faults { hung_until: 0, slow: 1.0, rules: Vec::new(), short_writes: 0.0, capacity, lying: false }
    }

    pub(super) fn hangs(&self, now: u64) -> bool {
        now < self.hung_until
    }

    pub(super) fn slowed(&self, delay: u64) -> u64 {
        if self.slow == 1.0 { delay } else { (delay as f64 * self.slow) as u64 }
    }

    pub(super) fn lies(&self) -> bool {
        self.lying
    }

    pub(super) fn are_quiet(&self) -> bool {
        self.rules.is_empty() && self.short_writes == 0.0
    }

    /// Whether a read may be slow or fail, so that it must not be answered at once.
    pub(super) fn touches_reads(&self) -> bool {
        self.slow != 1.0 || self.rules.iter().any(|rule| rule.op == DiskOp::Read)
    }

    pub(super) fn judge(&mut self, op: DiskOp, path: &str, entropy: &mut Entropy) -> Verdict {
        for index in 0..self.rules.len() {
            let rule = &mut self.rules[index];
            if rule.op != op || !rule.path.matches(path) || !entropy.chance(rule.chance) {
                continue;
            }
            let short = op == DiskOp::Write && (rule.short || entropy.chance(0.5));
            if let Some(count) = &mut rule.count {
                *count -= 1;
                if *count == 0 {
                    self.rules.remove(index);
                }
            }
            return if short { Verdict::Short } else { Verdict::Fails };
        }
        if op == DiskOp::Write && entropy.chance(self.short_writes) { Verdict::Short } else { Verdict::Fine }
    }
}

impl Disk {
    /// How much of a write happens (`None`: all of it), and its error.
    pub(super) fn write_limit(
        &mut self,
        inode: u32,
        offset: u64,
        data: &[Bytes],
        verdict: Verdict,
    ) -> (Option<usize>, Option<io::Error>) {
        let len: usize = data.iter().map(Bytes::len).sum();
        match verdict {
            Verdict::Fine => {}
            Verdict::Fails => {
                self.stats.failed += 1;
                return (Some(0), Some(io::Error::from_raw_os_error(EIO)));
            }
            Verdict::Short => {
                self.stats.failed += 1;
                let part = self.chance.below(len as u64 + 1) as usize;
                return (Some(part), Some(io::Error::from_raw_os_error(EIO)));
            }
        }
        let Some(capacity) = self.faults.capacity else { return (None, None) };
        // Most writes fill up a page that is there: only the others have to know how full the disk is.
        let needed = self.names.file(inode).would_allocate(offset, len as u64);
        if needed == 0 {
            return (None, None);
        }
        let room = capacity.saturating_sub(self.names.allocated());
        if needed <= room {
            return (None, None);
        }
        // Page by page, until no page is left.
        let mut fits = 0;
        while fits < len {
            let to_boundary = PAGE - ((offset + fits as u64) % PAGE as u64) as usize;
            let next = (fits + to_boundary).min(len);
            if self.names.file(inode).would_allocate(offset, next as u64) > room {
                break;
            }
            fits = next;
        }
        assert_eq!(prefix(data, fits).iter().map(Bytes::len).sum::<usize>(), fits);
        (Some(fits), Some(io::Error::from_raw_os_error(ENOSPC)))
    }

    /// Fails with ENOSPC when the disk is full.
    pub(super) fn check_room(&mut self) -> io::Result<()> {
        match self.faults.capacity {
            Some(capacity) if self.names.allocated() >= capacity => Err(io::Error::from_raw_os_error(ENOSPC)),
            _ => Ok(()),
        }
    }

    /// The power goes. Each loss has its own character: some lose everything that was not synced, some
    /// nothing, most something between; half of them tear pages.
    pub(super) fn power_loss(&mut self) -> PowerLoss {
        self.stats.power_losses += 1;
        let entropy = &mut self.chance;
        let draw = |entropy: &mut Entropy| match entropy.below(5) {
            0 => 0.0,
            1 => 1.0,
            _ => entropy.unit(),
        };
        let (pages, names) = (draw(entropy), draw(entropy));
        let tear = if entropy.chance(0.5) { entropy.unit() } else { 0.0 };
        let (names_kept, names_lost) = self.names.power_loss(names, entropy);
        let mut loss = PowerLoss { names_kept, names_lost, ..PowerLoss::default() };
        let plan = LossPlan { keep: pages, tear };
        for data in self.names.contents() {
            let pages = data.power_loss(plan, entropy);
            loss.pages_kept += pages.kept;
            loss.pages_lost += pages.lost;
            loss.pages_torn += pages.torn;
            loss.files_resized += pages.resized;
        }
        // A machine that starts again has a disk that answers; what else is wrong with it stays wrong.
        self.faults.hung_until = 0;
        loss
    }

    pub(super) fn rot(&mut self, filter: &PathFilter, count: usize) -> Vec<BitRot> {
        let mut candidates = Vec::new();
        for (path, inode) in self.names.files() {
            if filter.matches(&path) {
                candidates
                    .extend(self.names.file(inode).clean_pages().map(|page| (path.clone(), inode, page)));
            }
        }
        let mut hits = Vec::new();
        while hits.len() < count && !candidates.is_empty() {
            let pick = self.chance.below(candidates.len() as u64) as usize;
            let (path, inode, page) = candidates.swap_remove(pick);
            let data = self.names.file(inode);
            let end = data.len().min(data.durable_len()).min(page + PAGE as u64);
            let offset = self.chance.between(page, end - 1);
            let bit = self.chance.below(8) as u8;
            if self.names.file(inode).rot(offset, u32::from(bit)).is_some() {
                hits.push(BitRot { path, offset, bit });
            }
        }
        hits
    }
}
