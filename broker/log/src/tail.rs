//! The hot tail: batches that were appended lately, whole, in memory. A reader at the end of a log gets slices
//! of them without a copy and without the disk. Pure.
//!
//! The tail always reaches to the log's end; what is not written to the file yet is always in it.

use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
struct Entry {
    base: i64,
    last: i64,
    batch: Bytes,
}

/// The newest batches of one log, without a gap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
}

impl Tail {
    /// First offset that it holds.
    pub fn first_offset(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.base)
    }

    pub fn push(&mut self, base: i64, last: i64, batch: Bytes) {
        if let Some(back) = self.entries.back() {
            assert!(back.last < base, "tail goes back: base={base} after {}", back.last);
        }
        self.entries.push_back(Entry { base, last, batch });
    }

    /// Whole batches from the one that holds `offset` on, as long as they end below `up_to` and fit
    /// `max_bytes` together (the first may be larger when `min_one`), and the offset behind the last one.
    pub fn read(&self, offset: i64, up_to: i64, max_bytes: usize, min_one: bool) -> (Vec<Bytes>, i64) {
        let first = self.entries.partition_point(|entry| entry.last < offset);
        let (mut batches, mut next, mut bytes) = (Vec::new(), offset, 0);
        for entry in self.entries.range(first..) {
            bytes += entry.batch.len();
            let fits = bytes <= max_bytes || (min_one && batches.is_empty());
            if entry.last >= up_to || !fits {
                break;
            }
            batches.push(entry.batch.clone());
            next = entry.last + 1;
        }
        (batches, next)
    }

    /// Forgets batches that end below `offset`.
    pub fn evict_below(&mut self, offset: i64) {
        while self.entries.front().is_some_and(|entry| entry.last < offset) {
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }

    /// Forgets batches that end with `offset` or later.
    pub fn truncate_to(&mut self, offset: i64) {
        while self.entries.back().is_some_and(|entry| entry.last >= offset) {
            self.entries.pop_back();
        }
    }

    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> Tail {
        let mut tail = Tail::default();
        for n in 0..4 {
            tail.push(n * 10, n * 10 + 9, Bytes::from(vec![n as u8; 100]));
        }
        tail
    }

    #[test]
    fn reads_whole_batches_within_both_limits() {
        let tail = tail();
        let read = |offset, up_to, max, one| {
            let (batches, next) = tail.read(offset, up_to, max, one);
            (batches.iter().map(|b| b[0]).collect::<Vec<_>>(), next)
        };
        assert_eq!(read(0, 40, 1000, true), (vec![0, 1, 2, 3], 40));
        assert_eq!(read(15, 40, 200, true), (vec![1, 2], 30));
        assert_eq!(read(15, 25, 1000, true), (vec![1], 20), "a batch that reaches the limit is held back");
        assert_eq!(read(15, 40, 10, true), (vec![1], 20));
        assert_eq!(read(15, 40, 10, false), (vec![], 15));
        assert_eq!(read(40, 40, 10, true), (vec![], 40));
    }

    #[test]
    fn evicts_from_the_front_and_truncates_from_the_back() {
        let mut tail = tail();
        tail.evict_below(15);
        assert_eq!(tail.first_offset(), Some(10));
        tail.truncate_to(25);
        assert_eq!(tail.read(10, 40, 1000, true).1, 20);
        tail.evict_below(100);
        assert_eq!(tail.first_offset(), None);
    }
}
