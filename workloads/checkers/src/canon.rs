//! The canonical log of a partition: what the first observer of each offset saw.
//!
//! Recent observations are kept in a ring, one entry for each offset, with who saw it and when. Of everything, a
//! sum over each block of [`BLOCK`] offsets is kept: of a mixed hash of offset, epoch and content, so that the order
//! of observation does not matter and a block can be compared by any later reader who walks all of it. Sixteen bytes
//! for 1,024 records: 10^9 records are 16 MB.

use crate::intervals::IntervalSet;
use burnin_history::{ConsumerId, Moment, Seen};
use std::collections::VecDeque;

/// Offsets in a block.
pub const BLOCK: i64 = 1 << 10;
/// Blocks that are kept for a partition; the oldest are dropped.
const BLOCKS_MAX: usize = 1 << 22;
/// Says in [`Entry::producer`] that the record was not one of ours.
pub const NOT_OURS: u32 = u32::MAX;
/// Says in [`Entry::producer`] that a reader passed over the offset and saw no record.
pub const HOLE: u32 = u32::MAX - 1;
/// Wider holes are not entered into the ring offset by offset.
const HOLE_MAX: i64 = 64;

/// What was seen at an offset.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The offset; -1 for an unused entry.
    pub offset: i64,
    /// The record's sequence.
    pub seq: u64,
    /// The hash of key, value and headers.
    pub content: u64,
    /// When it was first seen.
    pub at: Moment,
    /// The record's producer, or [`NOT_OURS`].
    pub producer: u32,
    /// The leader epoch of its batch.
    pub epoch: i32,
    /// Who saw it first.
    pub consumer: u32,
    /// The partition's licence generation then.
    pub generation: u32,
}

const UNUSED: Entry = Entry {
    offset: -1,
    seq: 0,
    content: 0,
    at: 0,
    producer: NOT_OURS,
    epoch: -1,
    consumer: 0,
    generation: 0,
};

impl Entry {
    /// What `consumer` saw at `at`.
    #[inline]
    pub fn new(seen: &Seen, consumer: ConsumerId, at: Moment, generation: u32) -> Entry {
        let (producer, seq) = match &seen.payload {
            Ok(payload) => (payload.producer.0, payload.seq),
            Err(_) => (NOT_OURS, 0),
        };
        Entry {
            offset: seen.offset,
            seq,
            content: seen.content,
            at,
            producer,
            epoch: seen.leader_epoch,
            consumer: consumer.0,
            generation,
        }
    }

    /// That `consumer` saw no record at `offset`.
    pub fn hole(offset: i64, consumer: ConsumerId, at: Moment, generation: u32) -> Entry {
        Entry { offset, at, producer: HOLE, consumer: consumer.0, generation, ..UNUSED }
    }

    /// Whether it is the same record in a batch of the same epoch.
    #[inline]
    pub fn agrees(&self, other: &Entry) -> bool {
        self.content == other.content
            && self.seq == other.seq
            && self.producer == other.producer
            && self.epoch == other.epoch
    }
}

/// A term of a block's sum.
#[inline]
pub fn mix(seen: &Seen) -> u64 {
    let lane = (seen.offset as u64) ^ ((seen.leader_epoch as u32 as u64) << 40) ^ 0x9e37_79b9_7f4a_7c15;
    let folded = u128::from(seen.content ^ 0xa076_1d64_78bd_642f) * u128::from(lane | 1);
    (folded as u64) ^ ((folded >> 64) as u64) ^ lane.rotate_left(23)
}

/// The sum of a block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Block {
    /// Of [`mix`] over the records in it.
    pub sum: u64,
    /// The licence generation in which the first of them was seen.
    pub generation: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Canon {
    ring: Vec<Entry>,
    /// Offsets that somebody passed over.
    pub covered: IntervalSet,
    blocks: VecDeque<Block>,
    first_block: i64,
}

impl Canon {
    /// The entry for `offset`, if the ring still has it.
    #[inline]
    pub fn entry(&self, offset: i64) -> Option<&Entry> {
        let entry = self.ring.get(offset as usize & self.ring.len().wrapping_sub(1))?;
        (entry.offset == offset).then_some(entry)
    }

    /// Keeps `entry` unless the ring has moved past it; the ring may grow to `most` entries (a power of two).
    #[inline]
    pub fn put(&mut self, entry: Entry, most: usize) {
        let size = self.ring.len();
        match self.ring.get_mut(entry.offset as usize & size.wrapping_sub(1)) {
            Some(old) if old.offset < 0 || old.offset == entry.offset => *old = entry,
            Some(old) if size >= most => {
                if old.offset < entry.offset {
                    *old = entry;
                }
            }
            _ => self.grow_and_put(entry, most),
        }
    }

    #[cold]
    fn grow_and_put(&mut self, entry: Entry, most: usize) {
        let size = (self.ring.len() * 2).max(64);
        let old = std::mem::replace(&mut self.ring, vec![UNUSED; size]);
        for kept in old.into_iter().filter(|kept| kept.offset >= 0) {
            self.ring[kept.offset as usize & (size - 1)] = kept;
        }
        self.put(entry, most.max(size));
    }

    /// The block that holds `offset`, made when it is new in `generation`; `None` when blocks so low are not kept.
    pub fn block_mut(&mut self, offset: i64, generation: u32) -> Option<&mut Block> {
        let index = offset / BLOCK;
        let far = index >= self.first_block + 2 * BLOCKS_MAX as i64;
        if self.blocks.is_empty() || far {
            self.blocks.clear();
            self.covered.clear();
            self.first_block = index;
        }
        while index < self.first_block {
            if self.blocks.len() >= BLOCKS_MAX {
                return None;
            }
            self.blocks.push_front(Block { sum: 0, generation });
            self.first_block -= 1;
        }
        while self.first_block + (self.blocks.len() as i64) <= index {
            self.blocks.push_back(Block { sum: 0, generation });
            if self.blocks.len() > BLOCKS_MAX {
                self.forget_below((self.first_block + 1) * BLOCK);
            }
        }
        self.blocks.get_mut((index - self.first_block) as usize)
    }

    /// The block that begins at `start`, if all of it was passed over.
    pub fn whole_block(&self, start: i64) -> Option<Block> {
        if !self.covered.contains_range(start as u64, (start + BLOCK) as u64) {
            return None;
        }
        self.blocks.get(usize::try_from(start / BLOCK - self.first_block).ok()?).copied()
    }

    /// The log was cut at `new` or below, lawfully, and `new`, which is there now, was written since. What was seen
    /// there and behind it in older generations, and in older epochs or in any (`any_epoch`), is void. Blocks cannot
    /// tell what was seen when, so those from the cut on are begun anew.
    pub fn cut(&mut self, new: &Entry, any_epoch: bool) {
        let offset = new.offset;
        let void = |entry: &Entry| {
            entry.offset >= offset
                && entry.generation < new.generation
                && (any_epoch || entry.epoch < new.epoch)
        };
        for entry in self.ring.iter_mut().filter(|entry| void(entry)) {
            *entry = UNUSED;
        }
        let keep = (offset / BLOCK - self.first_block).max(0) as usize;
        self.blocks.truncate(keep);
        self.covered.remove((offset / BLOCK * BLOCK) as u64, u64::MAX);
    }

    /// Whether a hole of this width is entered into the ring.
    #[inline]
    pub fn is_small_hole(from: i64, to: i64) -> bool {
        to - from <= HOLE_MAX
    }

    /// What was seen in whole blocks below `offset` need not be compared any more.
    pub fn forget_below(&mut self, offset: i64) {
        if self.first_block >= offset / BLOCK {
            return;
        }
        while self.first_block < offset / BLOCK && self.blocks.pop_front().is_some() {
            self.first_block += 1;
        }
        // A block that is made again later must begin empty.
        self.covered.remove(0, (offset / BLOCK * BLOCK) as u64);
    }
}
