//! One segment of a log in memory: what its file holds, what of it is on the medium, and its indexes. Pure:
//! the file handle is only kept here.

use crate::config::LogConfig;
use crate::index::{OffsetIndex, TimeIndex};

/// Both indexes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexes {
    pub offsets: OffsetIndex,
    pub times: TimeIndex,
}

impl Indexes {
    pub fn new(base: i64) -> Self {
        Indexes { offsets: OffsetIndex::new(base), times: TimeIndex::new(base) }
    }
}

/// The largest timestamp of a segment and the last offset of the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxTimestamp {
    pub timestamp: i64,
    pub offset: i64,
}

/// A segment. Sizes and positions are bytes in its file.
#[derive(Clone, Debug)]
pub(crate) struct Segment<F> {
    /// Its first offset, and its name.
    pub base: i64,
    /// Size with everything that was appended, written or not.
    pub size: u64,
    /// How much of it was written to the file.
    pub written: u64,
    /// Whether something was written since the file was last synced.
    pub dirty: bool,
    /// Whether its index files are on the medium: it is not the active one, and the writer has sealed it.
    pub sealed: bool,
    /// Always there until it is sealed; then only when they were needed lately.
    pub indexes: Option<Box<Indexes>>,
    /// `None` until it was read from the time index of a segment that was not scanned.
    pub max_timestamp: Option<MaxTimestamp>,
    /// Largest timestamp of the first batch, which decides about rolling by time.
    pub first_timestamp: Option<i64>,
    /// Wall clock when it was made or loaded, for segments without timestamps.
    pub created_ms: i64,
    /// Bytes appended since the last index entry.
    pub since_index: u64,
    /// Open when it was needed.
    pub file: Option<F>,
}

const NO_TIMESTAMP: i64 = -1;

impl<F> Segment<F> {
    /// An empty segment.
    pub fn new(base: i64, now_ms: i64) -> Self {
        Segment {
            base,
            size: 0,
            written: 0,
            dirty: false,
            sealed: false,
            indexes: Some(Box::new(Indexes::new(base))),
            max_timestamp: Some(MaxTimestamp { timestamp: NO_TIMESTAMP, offset: base }),
            first_timestamp: None,
            created_ms: now_ms,
            since_index: 0,
            file: None,
        }
    }

    /// The indexes of the active segment.
    pub fn active_indexes(&mut self) -> &mut Indexes {
        self.indexes.as_deref_mut().unwrap_or_else(|| panic!("active segment {} has no indexes", self.base))
    }

    /// Notes an appended batch (Kafka's `LogSegment.append`): it begins at the segment's current size.
    pub fn note_batch(&mut self, last_offset: i64, max_timestamp: i64, bytes: u64, interval: u32) {
        let position = self.size;
        if position == 0 {
            self.first_timestamp = Some(max_timestamp);
        }
        let mut max =
            self.max_timestamp.unwrap_or(MaxTimestamp { timestamp: NO_TIMESTAMP, offset: self.base });
        if max_timestamp > max.timestamp {
            max = MaxTimestamp { timestamp: max_timestamp, offset: last_offset };
        }
        self.max_timestamp = Some(max);
        if self.since_index > u64::from(interval) {
            let indexes = self.active_indexes();
            indexes.offsets.append(last_offset, position as u32);
            indexes.times.maybe_append(max.timestamp, max.offset);
            self.since_index = 0;
        }
        self.since_index += bytes;
        self.size += bytes;
    }

    /// Adds the last entry of the time index: a segment that becomes inactive ends with its largest timestamp.
    pub fn seal(&mut self) {
        if let Some(max) = self.max_timestamp
            && let Some(indexes) = &mut self.indexes
        {
            indexes.times.maybe_append(max.timestamp, max.offset);
        }
    }

    /// Whether a batch needs a new segment (Kafka's `LogSegment.shouldRoll`).
    pub fn should_roll(
        &self,
        config: &LogConfig,
        bytes: u64,
        last_offset: i64,
        max_timestamp: i64,
        now_ms: i64,
    ) -> bool {
        if last_offset - self.base > i64::from(i32::MAX) {
            return true;
        }
        if self.size == 0 {
            return false;
        }
        let waited = match self.first_timestamp {
            Some(first) if first >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        let full = self.indexes.as_ref().is_some_and(|indexes| {
            indexes.offsets.is_full(config.segment_index_bytes)
                || indexes.times.is_full(config.segment_index_bytes)
        });
        self.size + bytes > u64::from(config.segment_bytes) || waited > config.segment_ms || full
    }

    /// The timestamp that retention looks at.
    pub fn age_timestamp(&self) -> i64 {
        match self.max_timestamp {
            Some(max) if max.timestamp >= 0 => max.timestamp,
            _ => self.created_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LogConfig {
        LogConfig { segment_bytes: 1000, segment_ms: 500, index_interval_bytes: 100, ..LogConfig::default() }
    }

    fn filled() -> Segment<()> {
        let mut segment = Segment::new(10, 0);
        for n in 0..5 {
            segment.note_batch(10 + n, 1_000 + n, 80, 100);
        }
        segment
    }

    #[test]
    fn index_entries_name_the_end_and_the_position_of_a_batch() {
        let mut segment = filled();
        // after 80 + 80 > 100 bytes the third batch is entered, after 80 + 80 more the fifth
        let entries: Vec<_> =
            segment.active_indexes().offsets.iter().map(|e| (e.offset, e.position)).collect();
        assert_eq!(entries, [(12, 160), (14, 320)]);
        assert_eq!(segment.size, 400);
        segment.note_batch(15, 9_000, 80, 100);
        segment.seal();
        assert_eq!(segment.active_indexes().times.last().map(|e| (e.timestamp, e.offset)), Some((9_000, 15)));
    }

    #[test]
    fn rolls_by_size_time_index_and_offset() {
        let (segment, config) = (filled(), config());
        let roll = |bytes, last, ts| segment.should_roll(&config, bytes, last, ts, 0);
        assert!(!roll(600, 15, 1_500));
        assert!(roll(601, 15, 1_500), "size");
        assert!(roll(80, 15, 1_501), "time since the first batch");
        assert!(!roll(80, 10 + i64::from(i32::MAX), 1_000));
        assert!(roll(80, 11 + i64::from(i32::MAX), 1_000), "relative offset");
        let small = LogConfig { segment_index_bytes: 16, ..config.clone() };
        assert!(segment.should_roll(&small, 80, 15, 1_000, 0), "full index");
        let empty: Segment<()> = Segment::new(10, 0);
        assert!(!empty.should_roll(&small, 5_000, 15, 99_999, 99_999), "an empty segment is never rolled");
    }

    #[test]
    fn without_timestamps_the_clock_rolls() {
        let mut segment: Segment<()> = Segment::new(0, 100);
        segment.note_batch(0, -1, 80, 100);
        assert!(!segment.should_roll(&config(), 80, 1, -1, 600));
        assert!(segment.should_roll(&config(), 80, 1, -1, 601));
        assert_eq!(segment.age_timestamp(), 100);
    }
}
