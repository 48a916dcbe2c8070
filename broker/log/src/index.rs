//! The two sparse indexes of a segment, in Kafka's formats (classes `OffsetIndex` and `TimeIndex`). Pure.
//!
//! An offset index entry is a 4-byte offset relative to the segment's base, and a 4-byte position: *the batch
//! that begins at this position ends with this offset*. A time index entry is an 8-byte timestamp and a
//! 4-byte relative offset: *the largest timestamp up to and with the batch that ends with this offset*.
//! Numbers are big-endian. Neither file has a checksum, so whatever is read is checked for its shape here
//! and against the log where it is used.

use burnin_runtime::{Mutant, Mutants};
use bytes::{BufMut, Bytes, BytesMut};

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// An index file does not have the shape of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt index: {0}")]
pub struct CorruptIndex(pub String);

/// One entry of an offset index, with the absolute offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch.
    pub offset: i64,
    /// Where the batch begins in the segment file, in bytes.
    pub position: u32,
}

/// From offsets to positions, strictly increasing in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetIndex {
    base: i64,
    entries: Vec<(u32, u32)>,
}

impl OffsetIndex {
    /// An empty index of the segment that begins at `base`.
    pub fn new(base: i64) -> Self {
        OffsetIndex { base, entries: Vec::new() }
    }

    /// Whether a file of `bytes_max` can take no more.
    pub fn is_full(&self, bytes_max: u32) -> bool {
        self.entries.len() >= bytes_max as usize / OFFSET_ENTRY_BYTES
    }

    /// Adds the batch that ends with `offset` and begins at `position`.
    pub fn append(&mut self, offset: i64, position: u32) {
        let relative = relative(self.base, offset);
        if let Some(&(last_relative, last_position)) = self.entries.last() {
            assert!(
                relative > last_relative && position > last_position,
                "index entry goes back: offset={offset} position={position} after \
                 relative={last_relative} position={last_position} base={}",
                self.base
            );
        }
        self.entries.push((relative, position));
    }

    /// The entry with the largest offset that is at most `target`.
    pub fn lookup(&self, target: i64, mutants: &Mutants) -> Option<OffsetEntry> {
        let bound = self.entries.partition_point(|&(relative, _)| self.base + i64::from(relative) <= target);
        // the planted bug answers with the entry after the right one, where there is one
        let bound = if mutants.on(Mutant::S15) { (bound + 1).min(self.entries.len()) } else { bound };
        bound.checked_sub(1).map(|slot| self.entry(slot))
    }

    /// The last entry.
    pub fn last(&self) -> Option<OffsetEntry> {
        self.entries.len().checked_sub(1).map(|slot| self.entry(slot))
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = OffsetEntry> {
        (0..self.entries.len()).map(|slot| self.entry(slot))
    }

    fn entry(&self, slot: usize) -> OffsetEntry {
        let (relative, position) = self.entries[slot];
        OffsetEntry { offset: self.base + i64::from(relative), position }
    }

    /// Forgets the entries of batches that end with `offset` or later.
    pub fn truncate_to(&mut self, offset: i64) {
        let keep = self.entries.partition_point(|&(relative, _)| self.base + i64::from(relative) < offset);
        self.entries.truncate(keep);
    }

    /// The file's content.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.entries.len() * OFFSET_ENTRY_BYTES);
        for &(relative, position) in &self.entries {
            out.put_u32(relative);
            out.put_u32(position);
        }
        out.freeze()
    }

    /// From a file's content. `log_bytes` is the size of the segment file that it belongs to.
    pub fn decode(base: i64, content: &[u8], log_bytes: u64) -> Result<Self, CorruptIndex> {
        let mut index = OffsetIndex::new(base);
        index.entries = entries::<OFFSET_ENTRY_BYTES>(content)?
            .map(|e| {
                (u32::from_be_bytes([e[0], e[1], e[2], e[3]]), u32::from_be_bytes([e[4], e[5], e[6], e[7]]))
            })
            .collect();
        let ordered = index.entries.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1);
        let inside = index.entries.last().is_none_or(|&(relative, position)| {
            i32::try_from(relative).is_ok() && u64::from(position) < log_bytes
        });
        match (ordered, inside) {
            (true, true) => Ok(index),
            (false, _) => Err(CorruptIndex("offsets or positions do not increase".into())),
            (_, false) => Err(CorruptIndex(format!("points behind the end of the log of {log_bytes} bytes"))),
        }
    }
}

/// One entry of a time index, with the absolute offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Largest timestamp so far, in milliseconds.
    pub timestamp: i64,
    /// Last offset of the batch that has it.
    pub offset: i64,
}

/// From timestamps to offsets, strictly increasing in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    base: i64,
    entries: Vec<(i64, u32)>,
}

impl TimeIndex {
    /// An empty index of the segment that begins at `base`.
    pub fn new(base: i64) -> Self {
        TimeIndex { base, entries: Vec::new() }
    }

    /// Whether a file of `bytes_max` can take no more; one slot is reserved for the entry at the roll.
    pub fn is_full(&self, bytes_max: u32) -> bool {
        self.entries.len() + 1 >= bytes_max as usize / TIME_ENTRY_BYTES
    }

    /// Adds the largest timestamp so far, unless it has not grown.
    pub fn maybe_append(&mut self, timestamp: i64, offset: i64) {
        if timestamp < 0 || self.entries.last().is_some_and(|&(last, _)| timestamp <= last) {
            return;
        }
        let relative = relative(self.base, offset);
        if let Some(&(_, last)) = self.entries.last() {
            assert!(relative > last, "time index goes back: offset={offset} after {last} base={}", self.base);
        }
        self.entries.push((timestamp, relative));
    }

    /// The entry with the largest timestamp that is at most `timestamp`.
    pub fn lookup(&self, timestamp: i64) -> Option<TimeEntry> {
        let bound = self.entries.partition_point(|&(at, _)| at <= timestamp);
        bound.checked_sub(1).map(|slot| self.entry(slot))
    }

    /// The last entry.
    pub fn last(&self) -> Option<TimeEntry> {
        self.entries.len().checked_sub(1).map(|slot| self.entry(slot))
    }

    fn entry(&self, slot: usize) -> TimeEntry {
        let (timestamp, relative) = self.entries[slot];
        TimeEntry { timestamp, offset: self.base + i64::from(relative) }
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = TimeEntry> {
        (0..self.entries.len()).map(|slot| self.entry(slot))
    }

    /// Forgets the entries of batches that end with `offset` or later.
    pub fn truncate_to(&mut self, offset: i64) {
        let keep = self.entries.partition_point(|&(_, relative)| self.base + i64::from(relative) < offset);
        self.entries.truncate(keep);
    }

    /// The file's content.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.entries.len() * TIME_ENTRY_BYTES);
        for &(timestamp, relative) in &self.entries {
            out.put_i64(timestamp);
            out.put_u32(relative);
        }
        out.freeze()
    }

    /// From a file's content. `end_offset` is the first offset behind the segment.
    pub fn decode(base: i64, content: &[u8], end_offset: i64) -> Result<Self, CorruptIndex> {
        let mut index = TimeIndex::new(base);
        index.entries = entries::<TIME_ENTRY_BYTES>(content)?
            .map(|e| {
                let timestamp = i64::from_be_bytes([e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]]);
                (timestamp, u32::from_be_bytes([e[8], e[9], e[10], e[11]]))
            })
            .collect();
        let ordered = index.entries.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1);
        let sane = index.entries.first().is_none_or(|&(timestamp, _)| timestamp >= 0)
            && index.last().is_none_or(|last| last.offset < end_offset);
        match (ordered, sane) {
            (true, true) => Ok(index),
            (false, _) => Err(CorruptIndex("timestamps or offsets do not increase".into())),
            (_, false) => Err(CorruptIndex(format!("points behind the end offset {end_offset}"))),
        }
    }
}

fn entries<const N: usize>(content: &[u8]) -> Result<impl Iterator<Item = &[u8; N]>, CorruptIndex> {
    let (entries, rest) = content.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(CorruptIndex(format!("{} bytes are not a multiple of {N}", content.len())));
    }
    Ok(entries.iter())
}

fn relative(base: i64, offset: i64) -> u32 {
    let relative = offset - base;
    assert!((0..=i64::from(i32::MAX)).contains(&relative), "offset {offset} does not fit base {base}");
    relative as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> OffsetIndex {
        let mut index = OffsetIndex::new(100);
        index.append(109, 4200);
        index.append(119, 8400);
        index.append(150, 20_000);
        index
    }

    #[test]
    fn offset_index_has_kafkas_bytes() {
        let expected =
            [0, 0, 0, 9, 0, 0, 0x10, 0x68, 0, 0, 0, 19, 0, 0, 0x20, 0xd0, 0, 0, 0, 50, 0, 0, 0x4e, 0x20];
        assert_eq!(three().encode().as_ref(), expected);
        assert_eq!(OffsetIndex::decode(100, &expected, 30_000), Ok(three()));
    }

    #[test]
    fn lookup_finds_the_largest_entry_not_above() {
        let at = |target| three().lookup(target, &Mutants::NONE).map(|e| e.position);
        assert_eq!((at(100), at(108), at(109)), (None, None, Some(4200)));
        assert_eq!(
            (at(118), at(119), at(149), at(10_000)),
            (Some(4200), Some(8400), Some(8400), Some(20_000))
        );
        let wrong = three().lookup(100, &Mutants::arm(Mutant::S15)).map(|e| e.position);
        assert_eq!(wrong, Some(4200), "the planted bug starts past the target");
    }

    #[test]
    fn offset_index_of_wrong_shape_is_refused() {
        let good = three().encode();
        assert!(OffsetIndex::decode(100, &good[..good.len() - 1], 30_000).is_err());
        assert!(OffsetIndex::decode(100, &good, 20_000).is_err());
        let zeros = [good.as_ref(), &[0; 8]].concat();
        assert!(OffsetIndex::decode(100, &zeros, 30_000).is_err());
        assert!(OffsetIndex::decode(100, &[], 0).is_ok());
    }

    #[test]
    fn truncation_drops_entries_from_the_offset_on() {
        let mut index = three();
        index.truncate_to(119);
        assert_eq!(index.entries.len(), 1);
        index.append(130, 8400);
    }

    #[test]
    fn time_index_has_kafkas_bytes_and_keeps_only_growth() {
        let mut index = TimeIndex::new(100);
        index.maybe_append(-1, 101);
        index.maybe_append(1_000, 109);
        index.maybe_append(1_000, 119);
        index.maybe_append(999, 120);
        index.maybe_append(2_000, 150);
        let expected = [0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 7, 0xd0, 0, 0, 0, 50];
        assert_eq!(index.encode().as_ref(), expected);
        assert_eq!(TimeIndex::decode(100, &expected, 151), Ok(index.clone()));
        assert!(TimeIndex::decode(100, &expected, 150).is_err());
        assert_eq!(index.lookup(999), None);
        assert_eq!(index.lookup(1_999), Some(TimeEntry { timestamp: 1_000, offset: 109 }));
        index.truncate_to(150);
        assert_eq!(index.last(), Some(TimeEntry { timestamp: 1_000, offset: 109 }));
    }

    proptest::proptest! {
        #[test]
        fn whatever_decodes_can_be_searched(content: Vec<u8>, log_bytes: u32, target: i64) {
            if let Ok(index) = OffsetIndex::decode(100, &content, log_bytes.into()) {
                let best = index.iter().filter(|entry| entry.offset <= target).last();
                proptest::prop_assert_eq!(index.lookup(target, &Mutants::NONE), best);
                proptest::prop_assert_eq!(index.encode().to_vec(), content.clone());
            }
            if let Ok(index) = TimeIndex::decode(100, &content, i64::MAX) {
                proptest::prop_assert_eq!(index.encode().to_vec(), content.clone());
                proptest::prop_assert!(index.lookup(target).is_none_or(|entry| entry.timestamp <= target));
            }
        }

        #[test]
        fn lookups_agree_with_a_search_from_the_front(steps: Vec<(u8, u16)>, target in 0..20_000_i64) {
            let (mut index, mut offset, mut position) = (OffsetIndex::new(100), 100, 0);
            for (step, bytes) in steps {
                (offset, position) = (offset + i64::from(step) + 1, position + u32::from(bytes) + 1);
                index.append(offset, position);
            }
            let best = index.iter().filter(|entry| entry.offset <= target).last();
            proptest::prop_assert_eq!(index.lookup(target, &Mutants::NONE), best);
            let decoded = OffsetIndex::decode(100, &index.encode(), u64::from(position) + 1);
            proptest::prop_assert_eq!(decoded, Ok(index));
        }
    }

    #[test]
    fn full_indexes_say_so() {
        assert!(three().is_full(24));
        assert!(!three().is_full(32));
        let mut times = TimeIndex::new(0);
        times.maybe_append(1, 1);
        assert!(times.is_full(24), "one slot is reserved");
        assert!(!times.is_full(36));
    }
}
