//! A batch of one partition on its way: what it holds, how often it was sent, and what is known about it.

use burnin_history::Outcome;
use burnin_runtime::Instant;
use burnin_wire::batch::HEADER_LEN;
use bytes::{Bytes, BytesMut};

/// What one call handed over: `count` records, all in one batch, beginning at its record `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub token: u64,
    pub first: u32,
}

/// Producer id, epoch and sequence that a batch was sent with. A batch that may have reached a broker is never
/// sent with another one: that is what makes a retry recognisable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// The producer id of a partition and what comes next under it. Epochs are kept per partition: the broker
/// keeps them so, and one partition's trouble need not renumber the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub id: i64,
    pub epoch: i16,
    pub next_sequence: i32,
    /// Something was acknowledged under this epoch.
    pub proven: bool,
}

/// The answer for one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub code: i16,
    pub base_offset: i64,
    pub node: i32,
}

/// The sequence number `count` records after `sequence`; it wraps from 2^31-1 to 0
/// (`DefaultRecordBatch.incrementSequence`).
pub(super) fn advance(sequence: i32, count: u32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

#[derive(Debug)]
pub(super) struct Batch {
    /// Ascending within the partition.
    pub id: u64,
    pub ops: Vec<Op>,
    pub records: u32,
    /// The encoded batch; empty while it is open (its records are then in the partition's builder).
    pub bytes: Bytes,
    /// Bytes that it takes of the buffer.
    pub size: usize,
    pub created: Instant,
    pub deadline: Instant,
    /// Not before this: the backoff after a failed attempt.
    pub retry_at: Instant,
    /// Attempts that were begun.
    pub attempts: u32,
    /// What the attempts that have ended say.
    pub known: Outcome,
    pub last_error: i16,
    pub stamp: Option<Stamp>,
    pub in_flight: bool,
    /// The user was told the end (its time ran out while it was in flight).
    pub completed: bool,
    pub open: bool,
}

/// Writes a stamp into an encoded batch and makes its CRC right again.
pub(super) fn restamp(batch: Bytes, stamp: Stamp) -> Bytes {
    const CRC: std::ops::Range<usize> = 17..21;
    const CRC_COVERS_FROM: usize = 21;
    const PRODUCER_ID: usize = 43;
    const PRODUCER_EPOCH: usize = 51;
    const BASE_SEQUENCE: usize = 53;
    assert!(batch.len() > HEADER_LEN, "a batch of {} bytes has no records", batch.len());
    let mut bytes = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&stamp.id.to_be_bytes());
    bytes[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&stamp.epoch.to_be_bytes());
    bytes[BASE_SEQUENCE..BASE_SEQUENCE + 4].copy_from_slice(&stamp.sequence.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[CRC].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, verify_crc};

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(0, 5), 5);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 5), 3);
    }

    #[test]
    fn restamped_batch_is_the_same_as_one_built_with_the_stamp() {
        let stamp = Stamp { id: 7, epoch: 3, sequence: 99 };
        let build = |options| {
            let mut builder = BatchBuilder::new(options);
            builder.push(5, None, Some(b"value"), &[]);
            builder.build()
        };
        let plain = build(BatchOptions::default());
        let stamped = build(BatchOptions {
            producer_id: stamp.id,
            producer_epoch: stamp.epoch,
            base_sequence: stamp.sequence,
            ..BatchOptions::default()
        });
        let restamped = restamp(plain.clone(), stamp);
        assert_eq!(restamped, stamped);
        let header = BatchHeader::parse(&restamped).expect("a batch");
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 99));
        assert!(verify_crc(&restamped).is_ok());
        assert_eq!(restamp(restamped, Stamp { id: -1, epoch: -1, sequence: -1 }), plain);
    }
}
