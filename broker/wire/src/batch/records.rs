//! The records of a batch, one by one, without allocating for any of them.

use bytes::Bytes;

use super::compression::{Compression, DECOMPRESSED_MAX};
use super::header::{BatchError, BatchHeader, HEADER_LEN, TimestampType};
use super::varint::{take_varint, take_varlong};

/// The smallest record: its length and seven fields of a byte each.
const RECORD_LEN_MIN: usize = 7;

/// Opens one whole batch for reading its records; compressed ones are decompressed to at most
/// [`DECOMPRESSED_MAX`]. The CRC is not checked.
pub fn records(batch: &Bytes) -> Result<Records, BatchError> {
    records_with_max(batch, DECOMPRESSED_MAX)
}

/// [`records`] with a bound of its own.
pub fn records_with_max(batch: &Bytes, decompressed_max: usize) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(batch)?;
    if batch.len() < header.total_len() {
        return Err(BatchError::Truncated { need: header.total_len(), have: batch.len() });
    }
    let body = match header.compression()? {
        Compression::None => batch.slice(HEADER_LEN..header.total_len()),
        codec => codec.decompress(&batch[HEADER_LEN..header.total_len()], decompressed_max)?.into(),
    };
    Ok(Records { header, body })
}

/// A batch opened for reading. [`Records::iter`] gives the records.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
}

impl Records {
    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order. They are checked one by one as they are read; after an error there are no more.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::new(self.header, &self.body)
    }

    /// A key, value or header of one of these records as `Bytes`, without copying it.
    ///
    /// # Panics
    /// When `part` is not a slice of this batch's records.
    pub fn slice(&self, part: &[u8]) -> Bytes {
        self.body.slice_ref(part)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub offset: i64,
    /// The producer's, or the batch's when the broker set it.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record, already checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// A header of a record. Kafka does not check that keys are UTF-8, so neither does this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut bytes = self.bytes;
        (0..self.count).map(move |_| take_header(&mut bytes).expect("headers were checked with their record"))
    }
}

/// See [`Records::iter`].
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    index: i32,
    failed: bool,
}

impl<'a> RecordIter<'a> {
    pub(super) fn new(header: BatchHeader, body: &'a [u8]) -> Self {
        RecordIter { header, rest: body, index: 0, failed: false }
    }

    fn record(&mut self) -> Result<Record<'a>, &'static str> {
        let length = take_varint(&mut self.rest).ok_or("length is cut off or too large")?;
        let length = usize::try_from(length).map_err(|_| "length is negative")?;
        let (mut body, rest) = self.rest.split_at_checked(length).ok_or("record is cut off")?;
        self.rest = rest;
        // The attributes of a record: Kafka uses none and checks none.
        body = body.get(1..).ok_or("attributes are cut off")?;
        let timestamp_delta = take_varlong(&mut body).ok_or("timestamp delta is cut off or too large")?;
        let offset_delta = take_varint(&mut body).ok_or("offset delta is cut off or too large")?;
        let key = take_nullable(&mut body).ok_or("key is cut off")?;
        let value = take_nullable(&mut body).ok_or("value is cut off")?;
        let count = take_varint(&mut body).ok_or("header count is cut off or too large")?;
        let count = usize::try_from(count).map_err(|_| "header count is negative")?;
        let headers = Headers { count, bytes: body };
        for _ in 0..count {
            take_header(&mut body).ok_or("header is cut off or has a negative key length")?;
        }
        if !body.is_empty() {
            return Err("record is longer than its fields");
        }
        let timestamp = match self.header.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let offset = self.header.base_offset.wrapping_add(offset_delta.into());
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let count = self.header.record_count;
        if self.failed {
            return None;
        }
        if self.index >= count {
            self.failed = true;
            return match self.rest.len() {
                _ if count < 0 => Some(Err(BatchError::Count(count))),
                0 => None,
                left => Some(Err(BatchError::Trailing { count, left })),
            };
        }
        let index = self.index;
        self.index += 1;
        Some(self.record().map_err(|reason| {
            self.failed = true;
            BatchError::Record { index, reason }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let claimed = usize::try_from(self.header.record_count - self.index).unwrap_or(0);
        (0, Some(claimed.min(self.rest.len() / RECORD_LEN_MIN).saturating_add(1)))
    }
}

/// Bytes behind a length of which -1 (and, as in Kafka, everything negative) means null.
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(take_varint(bytes)?) else {
        return Some(None);
    };
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(taken))
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = take_nullable(bytes)??;
    let value = take_nullable(bytes)?;
    Some(Header { key, value })
}
