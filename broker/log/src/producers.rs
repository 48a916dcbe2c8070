//! What a log knows about idempotent producers (Kafka's `ProducerStateManager`, `ProducerAppendInfo`,
//! `ProducerStateEntry`; KIP-98, KIP-360). Pure.
//!
//! The state of a producer is its epoch and its last five batches. A batch that repeats one of the five is a
//! duplicate and is answered with the original offsets; any other batch must continue the sequence, begin at 0
//! with a new epoch, or come from a producer of which nothing is known. Deciding and changing are two steps,
//! [`ProducerTable::check`] and [`ProducerTable::record`], so that a batch that is not appended leaves no trace.

use crate::error::AppendError;
use burnin_runtime::{Mutant, Mutants};
use std::collections::BTreeMap;

/// How many batches of a producer are remembered. Clients have at most so many in flight.
const BATCHES_MAX: usize = 5;

/// No epoch is known.
const NO_EPOCH: i16 = -1;
const NO_SEQUENCE: i32 = -1;

/// Who appends: what must hold for a client's batch is not asked of a replicated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's produce request.
    Client,
    /// A replica fetcher, or the log itself while it recovers.
    Replication,
    /// A coordinator of this broker.
    Coordinator,
    /// The controller of this node. What it decided is one batch and cannot be made smaller: where it is larger than a
    /// segment may be, it has one of its own.
    Controller,
}

/// A batch that a producer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Its largest timestamp in milliseconds.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// Sequence number of its first record; sequence numbers wrap from `i32::MAX` to 0.
    pub fn first_sequence(&self) -> i32 {
        sequence_minus(self.last_sequence, self.offset_delta)
    }

    /// Offset of its first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// `sequence + delta` in the producer's arithmetic, which wraps from `i32::MAX` to 0.
pub fn sequence_plus(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}

fn sequence_minus(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) - i64::from(delta)) & i64::from(i32::MAX)) as i32
}

/// What a batch header says about its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer; never -1 here.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Largest timestamp in milliseconds.
    pub timestamp: i64,
    /// Whether it is part of a transaction.
    pub transactional: bool,
    /// Whether it is a control batch: a transaction marker has no sequence number.
    pub control: bool,
}

impl ProducerBatch {
    fn last_sequence(&self) -> i32 {
        sequence_plus(self.base_sequence, self.offset_delta)
    }
}

/// The state of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its newest epoch.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last transaction marker, or -1.
    pub coordinator_epoch: i32,
    /// Largest timestamp of its newest batch in milliseconds.
    pub last_timestamp: i64,
    /// First offset of its open transaction, or -1.
    pub txn_first_offset: i64,
    batches: [BatchMetadata; BATCHES_MAX],
    batch_count: u8,
}

impl ProducerEntry {
    /// Of a producer about whose newest batch this much is known.
    pub fn new(
        epoch: i16,
        coordinator_epoch: i32,
        last_timestamp: i64,
        txn_first_offset: i64,
        last: Option<BatchMetadata>,
    ) -> Self {
        let none =
            BatchMetadata { last_sequence: NO_SEQUENCE, last_offset: -1, offset_delta: 0, timestamp: -1 };
        let mut entry = ProducerEntry {
            epoch,
            coordinator_epoch,
            last_timestamp,
            txn_first_offset,
            batches: [none; BATCHES_MAX],
            batch_count: 0,
        };
        if let Some(batch) = last {
            entry.push(batch);
        }
        entry
    }

    /// Its remembered batches, oldest first.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batch_count)]
    }

    /// Its newest batch.
    pub fn last(&self) -> Option<&BatchMetadata> {
        self.batches().last()
    }

    fn last_sequence(&self) -> i32 {
        self.last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn push(&mut self, batch: BatchMetadata) {
        if usize::from(self.batch_count) == BATCHES_MAX {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[usize::from(self.batch_count)] = batch;
        self.batch_count += 1;
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It continues the producer's sequence.
    Append,
    /// It was appended before, there.
    Duplicate(BatchMetadata),
}

/// The producers of one log, and up to which offset they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<i64, ProducerEntry>,
}

impl ProducerTable {
    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The producers by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter().map(|(&id, entry)| (id, entry))
    }

    /// The state of one producer.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// Adds a producer as a snapshot tells it.
    pub fn insert(&mut self, producer_id: i64, entry: ProducerEntry) {
        self.producers.insert(producer_id, entry);
    }

    /// Whether a batch may be appended. Changes nothing.
    pub fn check(
        &self,
        batch: &ProducerBatch,
        origin: Origin,
        mutants: &Mutants,
    ) -> Result<Verdict, AppendError> {
        let Some(entry) = self.producers.get(&batch.producer_id) else {
            // KIP-360: nothing is known (any more), so any sequence may begin
            return Ok(Verdict::Append);
        };
        if origin == Origin::Client && !batch.control && batch.epoch == entry.epoch {
            let (first, last) = (batch.base_sequence, batch.last_sequence());
            let known =
                entry.batches().iter().find(|b| b.first_sequence() == first && b.last_sequence == last);
            if let Some(original) = known {
                // the planted bug knows nothing of the producer's batches, so the retry is as good as a first try
                let forgotten = mutants.on(Mutant::P01);
                return Ok(if forgotten { Verdict::Append } else { Verdict::Duplicate(*original) });
            }
        }
        if batch.epoch < entry.epoch && origin != Origin::Replication {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: batch.producer_id,
                epoch: batch.epoch,
                known_epoch: entry.epoch,
            });
        }
        if batch.control {
            return Ok(Verdict::Append);
        }
        if origin == Origin::Client && !in_sequence(entry, batch) {
            return Err(AppendError::OutOfOrderSequence {
                producer_id: batch.producer_id,
                epoch: batch.epoch,
                known_epoch: entry.epoch,
                sequence: batch.base_sequence,
                last_sequence: entry.last_sequence(),
            });
        }
        if entry.txn_first_offset >= 0 && !batch.transactional && origin != Origin::Replication {
            return Err(AppendError::InvalidTxnState { producer_id: batch.producer_id });
        }
        Ok(Verdict::Append)
    }

    /// Notes a batch that was appended.
    pub fn record(&mut self, batch: &ProducerBatch) {
        let entry = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerEntry::new(NO_EPOCH, -1, -1, -1, None));
        if entry.epoch != batch.epoch {
            entry.epoch = batch.epoch;
            entry.batch_count = 0;
        }
        entry.last_timestamp = batch.timestamp;
        if batch.control {
            entry.txn_first_offset = -1;
            return;
        }
        let metadata = BatchMetadata {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset,
            offset_delta: batch.offset_delta,
            timestamp: batch.timestamp,
        };
        entry.push(metadata);
        if batch.transactional && entry.txn_first_offset < 0 {
            entry.txn_first_offset = metadata.first_offset();
        }
    }

    /// Forgets producers that were silent for `expiration_ms` and have no open transaction.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, entry| {
            entry.txn_first_offset >= 0 || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }

    /// First offset of the oldest open transaction.
    pub fn first_open_txn(&self) -> Option<i64> {
        self.producers.values().map(|entry| entry.txn_first_offset).filter(|&offset| offset >= 0).min()
    }
}

fn in_sequence(entry: &ProducerEntry, batch: &ProducerBatch) -> bool {
    if batch.epoch != entry.epoch {
        return batch.base_sequence == 0 || entry.epoch == NO_EPOCH;
    }
    // a producer that is known by a transaction marker only has NO_SEQUENCE, and begins at 0
    batch.base_sequence == sequence_plus(entry.last_sequence(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, records: i32, last_offset: i64) -> ProducerBatch {
        ProducerBatch {
            producer_id: 7,
            epoch,
            base_sequence,
            offset_delta: records - 1,
            last_offset,
            timestamp: 1_000,
            transactional: false,
            control: false,
        }
    }

    fn check(table: &ProducerTable, batch: &ProducerBatch) -> Result<Verdict, AppendError> {
        table.check(batch, Origin::Client, &Mutants::NONE)
    }

    fn table(batches: &[ProducerBatch]) -> ProducerTable {
        let mut table = ProducerTable::default();
        for batch in batches {
            assert_eq!(check(&table, batch), Ok(Verdict::Append), "{batch:?}");
            table.record(batch);
        }
        table
    }

    #[test]
    fn the_last_five_batches_are_recognised_and_the_sixth_is_out_of_order() {
        let sent: Vec<_> = (0..6).map(|n| batch(0, n * 10, 10, i64::from(n) * 10 + 9)).collect();
        let table = table(&sent);
        for repeated in &sent[1..] {
            let Ok(Verdict::Duplicate(original)) = check(&table, repeated) else { panic!("{repeated:?}") };
            assert_eq!(original.first_offset(), repeated.last_offset - 9);
        }
        assert!(matches!(check(&table, &sent[0]), Err(AppendError::OutOfOrderSequence { .. })));
        assert!(matches!(check(&table, &batch(0, 70, 1, 0)), Err(AppendError::OutOfOrderSequence { .. })));
        let part_of_one = batch(0, 50, 5, 0);
        assert!(matches!(check(&table, &part_of_one), Err(AppendError::OutOfOrderSequence { .. })));
    }

    #[test]
    fn without_batch_metadata_a_retry_is_appended_again() {
        let table = table(&[batch(0, 0, 10, 9)]);
        let retried = table.check(&batch(0, 0, 10, 9), Origin::Client, &Mutants::arm(Mutant::P01));
        assert_eq!(retried, Ok(Verdict::Append));
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_fences_the_old() {
        let mut table = table(&[batch(3, 0, 10, 9)]);
        assert!(matches!(check(&table, &batch(4, 10, 1, 10)), Err(AppendError::OutOfOrderSequence { .. })));
        assert_eq!(check(&table, &batch(4, 0, 1, 10)), Ok(Verdict::Append));
        table.record(&batch(4, 0, 1, 10));
        assert!(matches!(check(&table, &batch(3, 10, 1, 11)), Err(AppendError::InvalidProducerEpoch { .. })));
        let replicated = table.check(&batch(3, 10, 1, 11), Origin::Replication, &Mutants::NONE);
        assert_eq!(replicated, Ok(Verdict::Append));
        assert_eq!(table.get(7).map(|e| e.batches().len()), Some(1), "the old epoch's batches are forgotten");
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere() {
        assert_eq!(check(&ProducerTable::default(), &batch(2, 77, 1, 0)), Ok(Verdict::Append));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let near = batch(0, i32::MAX - 1, 4, 3);
        let mut table = table(&[near]);
        assert_eq!(table.get(7).map(ProducerEntry::last_sequence), Some(1));
        assert!(matches!(check(&table, &near), Ok(Verdict::Duplicate(_))));
        assert_eq!(check(&table, &batch(0, 2, 1, 4)), Ok(Verdict::Append));
        table.record(&batch(0, 2, i32::MAX - 2, 5));
        assert_eq!(table.get(7).map(ProducerEntry::last_sequence), Some(i32::MAX - 1));
        table.record(&batch(0, i32::MAX, 1, 6));
        assert_eq!(check(&table, &batch(0, 0, 1, 7)), Ok(Verdict::Append));
    }

    #[test]
    fn silent_producers_expire_unless_a_transaction_is_open() {
        let mut table = table(&[batch(0, 0, 1, 0)]);
        let open = ProducerBatch { producer_id: 8, transactional: true, ..batch(0, 0, 1, 1) };
        table.record(&open);
        table.expire(1_999, 1_000);
        assert_eq!(table.len(), 2);
        table.expire(2_000, 1_000);
        assert_eq!((table.get(7), table.first_open_txn()), (None, Some(1)));
        table.record(&ProducerBatch { control: true, transactional: true, ..open });
        assert_eq!(table.first_open_txn(), None);
    }
}
