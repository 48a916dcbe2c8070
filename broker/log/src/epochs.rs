//! Where each leader epoch began (Kafka's `LeaderEpochFileCache`, KIP-101 and KIP-279). Pure.
//!
//! Entries increase in both epoch and start offset: an epoch that saw no record leaves no trace once a later
//! epoch begins at the same offset.

/// An epoch and the offset of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// The epochs of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest entry.
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `entry.epoch` begins at `entry.start_offset`, and forgets whatever conflicts with it. Returns
    /// whether anything changed.
    pub fn assign(&mut self, entry: EpochEntry) -> bool {
        assert!(entry.epoch >= 0 && entry.start_offset >= 0, "impossible epoch entry {entry:?}");
        if self
            .latest()
            .is_some_and(|last| last.epoch == entry.epoch && last.start_offset <= entry.start_offset)
        {
            return false;
        }
        self.entries.retain(|e| e.epoch < entry.epoch && e.start_offset < entry.start_offset);
        self.entries.push(entry);
        true
    }

    /// Notes the epoch of an appended batch: only an epoch newer than the latest changes anything.
    #[inline]
    pub fn observe(&mut self, epoch: i32, base_offset: i64) -> bool {
        let newer = epoch >= 0 && self.latest().is_none_or(|last| epoch > last.epoch);
        newer && self.assign(EpochEntry { epoch, start_offset: base_offset })
    }

    /// Where `epoch` ended, as OffsetForLeaderEpoch answers: the largest known epoch that is not newer than the
    /// asked one, and the offset behind its last record. `None` when the question is about a future or a
    /// forgotten epoch.
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        let latest = self.latest()?;
        if epoch == latest.epoch {
            return Some((epoch, log_end_offset));
        }
        let higher = self.entries.partition_point(|e| e.epoch <= epoch);
        let next = self.entries.get(higher)?;
        match higher.checked_sub(1) {
            // asked about an epoch before all known ones: it ended where the first known one began
            None => Some((epoch, next.start_offset)),
            Some(floor) => Some((self.entries[floor].epoch, next.start_offset)),
        }
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let above = self.entries.partition_point(|e| e.start_offset <= offset);
        above.checked_sub(1).map(|slot| self.entries[slot].epoch)
    }

    /// Where the first epoch later than `epoch` begins.
    pub fn start_of_later(&self, epoch: i32) -> Option<i64> {
        self.entries.get(self.entries.partition_point(|e| e.epoch <= epoch)).map(|e| e.start_offset)
    }

    /// Forgets epochs that begin at `end_offset` or later. Must be called on every truncation, also on one that
    /// removes no record (KAFKA-10706).
    pub fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let keep = self.entries.partition_point(|e| e.start_offset < end_offset);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// Forgets what is below the log start: the epoch that contains it is kept and begins there.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let Some(first) = self.entries.partition_point(|e| e.start_offset <= start_offset).checked_sub(1)
        else {
            return false;
        };
        let changed = first > 0 || self.entries[0].start_offset < start_offset;
        self.entries.drain(..first);
        self.entries[0].start_offset = start_offset.max(self.entries[0].start_offset);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for &(epoch, start_offset) in entries {
            cache.assign(EpochEntry { epoch, start_offset });
        }
        cache
    }

    fn pairs(cache: &EpochCache) -> Vec<(i32, i64)> {
        cache.entries().iter().map(|e| (e.epoch, e.start_offset)).collect()
    }

    #[test]
    fn an_empty_epoch_is_replaced_by_the_next() {
        assert_eq!(pairs(&cache(&[(0, 0), (1, 10), (2, 10)])), [(0, 0), (2, 10)]);
        assert_eq!(pairs(&cache(&[(0, 0), (3, 10), (1, 5)])), [(0, 0), (1, 5)]);
        assert!(!cache(&[(2, 10)]).assign(EpochEntry { epoch: 2, start_offset: 12 }));
    }

    #[test]
    fn end_offsets_follow_kafka() {
        let cache = cache(&[(2, 10), (4, 30), (7, 50)]);
        assert_eq!(cache.end_offset_for(7, 99), Some((7, 99)));
        assert_eq!(cache.end_offset_for(4, 99), Some((4, 50)));
        assert_eq!(cache.end_offset_for(5, 99), Some((4, 50)), "an unknown epoch answers for its floor");
        assert_eq!(cache.end_offset_for(1, 99), Some((1, 10)));
        assert_eq!(cache.end_offset_for(8, 99), None);
        assert_eq!(cache.end_offset_for(-1, 99), None);
        assert_eq!(EpochCache::default().end_offset_for(0, 0), None);
    }

    #[test]
    fn truncation_from_both_ends() {
        let mut cache = cache(&[(0, 0), (2, 10), (4, 30)]);
        assert!(cache.truncate_from_end(30), "an epoch that begins at the new end is gone");
        assert_eq!(pairs(&cache), [(0, 0), (2, 10)]);
        assert!(cache.truncate_from_start(15));
        assert_eq!(pairs(&cache), [(2, 15)]);
        assert!(!cache.truncate_from_start(3));
        assert_eq!((cache.epoch_at(14), cache.epoch_at(15)), (None, Some(2)));
    }

    #[test]
    fn epoch_zero_is_an_epoch() {
        let mut cache = EpochCache::default();
        assert!(cache.observe(0, 0));
        assert!(!cache.observe(0, 5));
        assert!(!cache.observe(-1, 5));
        assert!(cache.observe(1, 5));
        assert_eq!(pairs(&cache), [(0, 0), (1, 5)]);
    }
}
