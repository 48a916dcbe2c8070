//! The header of a batch: reading it, and the few fields that a broker may change in place.

use bytes::Bytes;
use thiserror::Error;

use super::compression::Compression;

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;

/// Bytes before those that `batch_length` counts: the base offset and the length itself.
const LOG_OVERHEAD: usize = 12;

/// Positions in the header. The CRC covers everything from the attributes on, so base offset and leader epoch can
/// be assigned without touching it.
mod at {
    pub(super) const BASE_OFFSET: usize = 0;
    pub(super) const BATCH_LENGTH: usize = 8;
    pub(super) const LEADER_EPOCH: usize = 12;
    pub(super) const MAGIC: usize = 16;
    pub(super) const CRC: usize = 17;
    pub(super) const ATTRIBUTES: usize = 21;
    pub(super) const LAST_OFFSET_DELTA: usize = 23;
    pub(super) const BASE_TIMESTAMP: usize = 27;
    pub(super) const MAX_TIMESTAMP: usize = 35;
    pub(super) const PRODUCER_ID: usize = 43;
    pub(super) const PRODUCER_EPOCH: usize = 51;
    pub(super) const BASE_SEQUENCE: usize = 53;
    pub(super) const RECORD_COUNT: usize = 57;
}

pub(super) mod attribute {
    pub(crate) const COMPRESSION_MASK: i16 = 0x07;
    pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
    pub(crate) const DELETE_HORIZON: i16 = 0x40;
}

/// What is wrong with the bytes of a batch.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BatchError {
    /// The bytes end before the batch does. At the end of a segment this is a torn tail.
    #[error("batch of {need} bytes is cut off after {have}")]
    Truncated { need: usize, have: usize },
    #[error("batch length {0} is shorter than a batch header")]
    Length(i32),
    #[error("magic {0} (known: 2)")]
    Magic(i8),
    #[error("crc is {stored:#010x} in the header and {computed:#010x} over the bytes")]
    Crc { stored: u32, computed: u32 },
    #[error("unknown compression codec {0} (known: 0 to 4)")]
    Codec(i16),
    #[error("record count {0}")]
    Count(i32),
    #[error("cannot decompress {codec}: {reason}")]
    Decompress { codec: Compression, reason: String },
    #[error("records decompress to more than {max} bytes")]
    TooLarge { max: usize },
    #[error("record {index}: {reason}")]
    Record { index: i32, reason: &'static str },
    #[error("{left} bytes after the last of {count} records")]
    Trailing { count: i32, left: usize },
}

/// Where the timestamps of a batch come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// Each record has the producer's.
    #[default]
    CreateTime,
    /// All records have the batch's max timestamp, which the broker set.
    LogAppendTime,
}

/// The fields of a batch's header. A plain copy: changing it changes no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field; [`BatchHeader::total_len`] is the whole.
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may go on behind the batch or end inside its records.
    /// Checks the length's lower bound and the magic, and nothing else.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Truncated { need: HEADER_LEN, have: bytes.len() });
        };
        let parsed = BatchHeader {
            base_offset: i64::from_be_bytes(field(header, at::BASE_OFFSET)),
            batch_length: i32::from_be_bytes(field(header, at::BATCH_LENGTH)),
            leader_epoch: i32::from_be_bytes(field(header, at::LEADER_EPOCH)),
            magic: i8::from_be_bytes(field(header, at::MAGIC)),
            crc: u32::from_be_bytes(field(header, at::CRC)),
            attributes: i16::from_be_bytes(field(header, at::ATTRIBUTES)),
            last_offset_delta: i32::from_be_bytes(field(header, at::LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(header, at::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(header, at::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(header, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(header, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(header, at::BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(header, at::RECORD_COUNT)),
        };
        if parsed.magic != 2 {
            return Err(BatchError::Magic(parsed.magic));
        }
        if parsed.batch_length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
            return Err(BatchError::Length(parsed.batch_length));
        }
        Ok(parsed)
    }

    /// Writes the header over the first 61 bytes, as it is.
    pub(super) fn write(&self, bytes: &mut [u8]) {
        put(bytes, at::BASE_OFFSET, self.base_offset.to_be_bytes());
        put(bytes, at::BATCH_LENGTH, self.batch_length.to_be_bytes());
        put(bytes, at::LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(bytes, at::MAGIC, self.magic.to_be_bytes());
        put(bytes, at::CRC, self.crc.to_be_bytes());
        put(bytes, at::ATTRIBUTES, self.attributes.to_be_bytes());
        put(bytes, at::LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(bytes, at::BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(bytes, at::MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(bytes, at::PRODUCER_ID, self.producer_id.to_be_bytes());
        put(bytes, at::PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(bytes, at::BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(bytes, at::RECORD_COUNT, self.record_count.to_be_bytes());
    }

    #[cfg(test)]
    pub(super) fn write_with_crc(&self, batch: &mut [u8]) {
        self.write(batch);
        write_crc(batch);
    }

    /// Bytes of the whole batch.
    pub fn total_len(&self) -> usize {
        LOG_OVERHEAD + self.batch_length as usize
    }

    /// Offset of the last record. Saturates, so that a header from a hostile client cannot overflow it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// Offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record, -1 when there are none. Sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    pub fn compression(&self) -> Result<Compression, BatchError> {
        let codec = self.attributes & attribute::COMPRESSION_MASK;
        Compression::from_codec(codec).ok_or(BatchError::Codec(codec))
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & attribute::LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & attribute::TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & attribute::CONTROL != 0
    }

    /// Whether `base_timestamp` is the time from which a compaction may drop the batch (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & attribute::DELETE_HORIZON != 0
    }

    /// Whether an idempotent or transactional producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }
}

/// The batches in `bytes`, one after the other, as headers and slices. Ends after the first error; a batch that is
/// cut off is [`BatchError::Truncated`]. CRCs are not checked: see [`verify_crc`].
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let Some((batch, after)) = rest.split_at_checked(header.total_len()) else {
            return Some(Err(BatchError::Truncated { need: header.total_len(), have: rest.len() }));
        };
        self.rest = after;
        Some(Ok((header, batch)))
    }
}

/// Takes the first batch off the front of `bytes` without copying it. `None` when `bytes` is empty.
pub fn split(bytes: &mut Bytes) -> Option<Result<(BatchHeader, Bytes), BatchError>> {
    let header = match batches(bytes).next()? {
        Ok((header, _)) => header,
        Err(error) => return Some(Err(error)),
    };
    Some(Ok((header, bytes.split_to(header.total_len()))))
}

/// Checks the CRC of one whole batch.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let covered = batch
        .get(at::ATTRIBUTES..header.total_len())
        .ok_or(BatchError::Truncated { need: header.total_len(), have: batch.len() })?;
    let computed = crc32c::crc32c(covered);
    if computed == header.crc { Ok(()) } else { Err(BatchError::Crc { stored: header.crc, computed }) }
}

/// Stamps what the leader decides into a batch, in place: its first offset, the leader epoch and, for a topic with
/// `message.timestamp.type=LogAppendTime`, the time. Only the last one recomputes the CRC.
///
/// # Panics
/// When `batch` is not one whole batch.
pub fn assign(batch: &mut [u8], base_offset: i64, leader_epoch: i32, log_append_time: Option<i64>) {
    put(batch, at::BASE_OFFSET, base_offset.to_be_bytes());
    put(batch, at::LEADER_EPOCH, leader_epoch.to_be_bytes());
    if let Some(time) = log_append_time {
        let attributes = i16::from_be_bytes(field(batch, at::ATTRIBUTES)) | attribute::LOG_APPEND_TIME;
        put(batch, at::ATTRIBUTES, attributes.to_be_bytes());
        set_max_timestamp(batch, time);
    }
}

/// Overwrites the max timestamp and recomputes the CRC.
///
/// # Panics
/// When `batch` is not one whole batch.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    put(batch, at::MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    write_crc(batch);
}

/// Computes the CRC of a whole batch and writes it.
pub(super) fn write_crc(batch: &mut [u8]) {
    let length = i32::from_be_bytes(field(batch, at::BATCH_LENGTH));
    assert!(
        usize::try_from(length) == Ok(batch.len() - LOG_OVERHEAD),
        "not one whole batch: batch_length={length} bytes={}",
        batch.len()
    );
    let crc = crc32c::crc32c(&batch[at::ATTRIBUTES..]);
    put(batch, at::CRC, crc.to_be_bytes());
}

#[inline(always)]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk::<N>().expect("a batch is longer than its header")
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
