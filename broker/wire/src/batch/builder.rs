//! Builds batches, as a producer does.

use bytes::Bytes;

use super::compression::Compression;
use super::header::{BatchHeader, HEADER_LEN, TimestampType, attribute, write_crc};
use super::varint::{put_varlong, varlong_len};

/// What the header of a batch says besides what its records say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchOptions {
    pub compression: Compression,
    /// -1 without idempotence; then epoch and sequence are -1 as well.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub transactional: bool,
    pub control: bool,
    pub timestamp_type: TimestampType,
    /// 0 in what a producer sends; the leader assigns the real one.
    pub base_offset: i64,
    /// -1 in what a producer sends; the leader assigns the real one.
    pub leader_epoch: i32,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            compression: Compression::None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
            control: false,
            timestamp_type: TimestampType::CreateTime,
            base_offset: 0,
            leader_epoch: -1,
        }
    }
}

/// Collects records and makes batches of them. One builder makes any number of batches, one after the other, and
/// keeps its buffer: a batch costs one allocation, of its own size.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// May be changed at any time before [`BatchBuilder::build`]: a producer learns its sequence last.
    pub options: BatchOptions,
    /// The records, uncompressed.
    records: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

impl BatchBuilder {
    pub fn new(options: BatchOptions) -> Self {
        BatchBuilder::with_capacity(options, 0)
    }

    /// With room for so many bytes of records.
    pub fn with_capacity(options: BatchOptions, bytes: usize) -> Self {
        BatchBuilder {
            options,
            records: Vec::with_capacity(bytes),
            base_timestamp: -1,
            max_timestamp: -1,
            count: 0,
        }
    }

    /// Adds a record; its offset is the next one. Header keys must not repeat a meaning: Kafka keeps duplicates.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);
        let length = body_len(timestamp_delta, offset_delta, key, value, headers);
        assert!(i32::try_from(length).is_ok(), "a record is shorter than 2 GiB: length={length}");
        let records = &mut self.records;
        records.reserve(length + 5);
        put_varlong(records, length as i64);
        records.push(0);
        put_varlong(records, timestamp_delta);
        put_varlong(records, offset_delta);
        put_nullable(records, key);
        put_nullable(records, value);
        put_varlong(records, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(records, Some(key.as_bytes()));
            put_nullable(records, *value);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
    }

    /// Records in the batch so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far: exact without compression, and what it would be without compression otherwise.
    pub fn size_estimate(&self) -> usize {
        HEADER_LEN + self.records.len()
    }

    /// Bytes that one more record would add at most.
    pub fn record_size_max(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> usize {
        body_len(i64::MIN, i32::MAX.into(), key, value, headers) + 5
    }

    /// The batch, ready to send, and an empty builder again.
    ///
    /// # Panics
    /// When there is no record.
    pub fn build(&mut self) -> Bytes {
        assert!(self.count > 0, "a batch has at least one record");
        let options = self.options;
        let mut batch = Vec::with_capacity(HEADER_LEN + self.records.len());
        batch.extend_from_slice(&[0; HEADER_LEN]);
        options.compression.compress(&self.records, &mut batch);
        if options.compression != Compression::None {
            batch.shrink_to_fit();
        }
        let header = BatchHeader {
            base_offset: options.base_offset,
            batch_length: i32::try_from(batch.len() - 12).expect("a batch is shorter than 2 GiB"),
            leader_epoch: options.leader_epoch,
            magic: 2,
            crc: 0,
            attributes: attributes(&options),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.count,
        };
        header.write(&mut batch);
        write_crc(&mut batch);
        self.count = 0;
        self.records.clear();
        batch.into()
    }
}

fn attributes(options: &BatchOptions) -> i16 {
    let flag = |on: bool, bit: i16| if on { bit } else { 0 };
    options.compression.codec()
        | flag(options.timestamp_type == TimestampType::LogAppendTime, attribute::LOG_APPEND_TIME)
        | flag(options.transactional, attribute::TRANSACTIONAL)
        | flag(options.control, attribute::CONTROL)
}

fn body_len(
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) -> usize {
    let headers_len: usize =
        headers.iter().map(|(key, value)| nullable_len(Some(key.as_bytes())) + nullable_len(*value)).sum();
    1 + varlong_len(timestamp_delta)
        + varlong_len(offset_delta)
        + nullable_len(key)
        + nullable_len(value)
        + varlong_len(headers.len() as i64)
        + headers_len
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_len(bytes.len() as i64) + bytes.len())
}

fn put_nullable(buf: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(buf, -1),
        Some(bytes) => {
            put_varlong(buf, bytes.len() as i64);
            buf.extend_from_slice(bytes);
        }
    }
}
