//! What a leader demands of a batch from a client, by the rules of Kafka's `ProduceRequest.validateRecords`,
//! `UnifiedLog.analyzeAndValidateRecords` and `LogValidator`.

use std::borrow::Cow;

use thiserror::Error;

use super::compression::{Compression, DECOMPRESSED_MAX};
use super::header::{BatchError, BatchHeader, HEADER_LEN, TimestampType, verify_crc};
use super::records::RecordIter;
use crate::error::ErrorCode;

/// The settings of the topic and of the request that a batch is held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceLimits {
    /// Version of the Produce request: zstd needs 7.
    pub request_version: i16,
    /// `max.message.bytes` of the topic, against the batch as it came.
    pub max_message_bytes: i32,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// Wall clock of the leader.
    pub now_ms: i64,
    /// Whether every record needs a key (`cleanup.policy=compact`).
    pub compacted: bool,
    /// Bound on the records of a compressed batch.
    pub decompressed_max: usize,
}

impl Default for ProduceLimits {
    /// Kafka's defaults, except that timestamps in the future are not limited either, as there is no clock here.
    fn default() -> Self {
        ProduceLimits {
            request_version: i16::MAX,
            max_message_bytes: 1024 * 1024 + 12,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            now_ms: 0,
            compacted: false,
            decompressed_max: DECOMPRESSED_MAX,
        }
    }
}

/// A batch that may be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validated {
    pub header: BatchHeader,
    /// The largest timestamp of the records. When the header says otherwise, the leader corrects the header with
    /// [`super::set_max_timestamp`], as Kafka does.
    pub max_timestamp: i64,
}

/// Why a batch is refused: what goes into the response.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{code}: {message}")]
pub struct ProduceError {
    pub code: ErrorCode,
    pub message: String,
    /// The record that is to blame, for `record_errors` (KIP-467).
    pub record_index: Option<i32>,
}

/// Checks the records of one partition in a Produce request: exactly one whole batch, as [`ProduceLimits`] want it.
/// Reads every record; changes nothing.
///
/// Two rules are stricter than Kafka's: offset deltas must count up from 0 (Kafka rewrites such batches, and
/// no client since 0.11 sends them), and a batch that says LogAppendTime is always refused.
pub fn validate_produce(records: &[u8], limits: &ProduceLimits) -> Result<Validated, ProduceError> {
    if records.is_empty() {
        return Err(ProduceError::new(ErrorCode::INVALID_RECORD, "no record batch".to_owned()));
    }
    let header = BatchHeader::parse(records).map_err(ProduceError::from_batch)?;
    check_header(&header, records.len(), limits)?;
    verify_crc(records).map_err(ProduceError::from_batch)?;
    check_producer(&header)?;
    let codec = header.compression().map_err(ProduceError::from_batch)?;
    if codec == Compression::Zstd && limits.request_version < 7 {
        let message = format!("zstd needs Produce version 7, this is {}", limits.request_version);
        return Err(ProduceError::new(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, message));
    }
    let body = match codec {
        Compression::None => Cow::Borrowed(&records[HEADER_LEN..]),
        codec => codec
            .decompress(&records[HEADER_LEN..], limits.decompressed_max)
            .map(Cow::Owned)
            .map_err(ProduceError::from_batch)?,
    };
    let max_timestamp = check_records(header, &body, limits)?;
    Ok(Validated { header, max_timestamp })
}

fn check_header(header: &BatchHeader, length: usize, limits: &ProduceLimits) -> Result<(), ProduceError> {
    let invalid = |message: String| Err(ProduceError::new(ErrorCode::INVALID_RECORD, message));
    if header.total_len() > length {
        let error = BatchError::Truncated { need: header.total_len(), have: length };
        return Err(ProduceError::from_batch(error));
    }
    if header.total_len() < length {
        return invalid(format!(
            "{} bytes after the one batch of the partition",
            length - header.total_len()
        ));
    }
    if header.base_offset != 0 {
        return invalid(format!("base offset is {} instead of 0", header.base_offset));
    }
    if i64::try_from(length).is_ok_and(|length| length > limits.max_message_bytes.into()) {
        let message = format!("batch of {length} bytes, max.message.bytes is {}", limits.max_message_bytes);
        return Err(ProduceError::new(ErrorCode::MESSAGE_TOO_LARGE, message));
    }
    if header.record_count <= 0 {
        return invalid(format!("record count is {}", header.record_count));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return invalid(format!(
            "last offset delta is {} with {} records",
            header.last_offset_delta, header.record_count
        ));
    }
    Ok(())
}

fn check_producer(header: &BatchHeader) -> Result<(), ProduceError> {
    let invalid = |message: String| Err(ProduceError::new(ErrorCode::INVALID_RECORD, message));
    if header.is_control() {
        return invalid("clients may not write control records".to_owned());
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return invalid(format!(
            "sequence is {} with producer id {}",
            header.base_sequence, header.producer_id
        ));
    }
    Ok(())
}

/// The largest timestamp of the records, all of which are as they should be.
fn check_records(header: BatchHeader, body: &[u8], limits: &ProduceLimits) -> Result<i64, ProduceError> {
    if header.timestamp_type() == TimestampType::LogAppendTime {
        let message = "producers may not set the timestamp type to LogAppendTime".to_owned();
        return Err(ProduceError::new(ErrorCode::INVALID_TIMESTAMP, message));
    }
    let mut max_timestamp = -1;
    for (index, record) in (0i32..).zip(RecordIter::new(header, body)) {
        let record = record.map_err(ProduceError::from_batch)?;
        let failed = |code, message| Err(ProduceError { code, message, record_index: Some(index) });
        if record.offset != i64::from(index) {
            let message = format!("offset delta is {} instead of {index}", record.offset);
            return failed(ErrorCode::INVALID_RECORD, message);
        }
        if limits.compacted && record.key.is_none() {
            return failed(ErrorCode::INVALID_RECORD, "a compacted topic needs keys".to_owned());
        }
        if out_of_range(record.timestamp, limits) {
            let message = format!(
                "timestamp {} is not within [{}, {}]",
                record.timestamp,
                limits.now_ms.saturating_sub(limits.timestamp_before_max_ms),
                limits.now_ms.saturating_add(limits.timestamp_after_max_ms)
            );
            return failed(ErrorCode::INVALID_TIMESTAMP, message);
        }
        max_timestamp = max_timestamp.max(record.timestamp);
    }
    Ok(max_timestamp)
}

/// Only CreateTime topics look at timestamps, and -1 means that there is none.
fn out_of_range(timestamp: i64, limits: &ProduceLimits) -> bool {
    if limits.timestamp_type == TimestampType::LogAppendTime || timestamp == -1 {
        return false;
    }
    let age = limits.now_ms.saturating_sub(timestamp);
    age > limits.timestamp_before_max_ms || age.saturating_neg() > limits.timestamp_after_max_ms
}

impl ProduceError {
    fn new(code: ErrorCode, message: String) -> Self {
        ProduceError { code, message, record_index: None }
    }

    fn from_batch(error: BatchError) -> Self {
        let (code, record_index) = match error {
            BatchError::Truncated { .. } | BatchError::Crc { .. } | BatchError::Length(_) => {
                (ErrorCode::CORRUPT_MESSAGE, None)
            }
            BatchError::TooLarge { .. } => (ErrorCode::MESSAGE_TOO_LARGE, None),
            BatchError::Record { index, .. } => (ErrorCode::INVALID_RECORD, Some(index)),
            BatchError::Magic(_)
            | BatchError::Codec(_)
            | BatchError::Count(_)
            | BatchError::Decompress { .. }
            | BatchError::Trailing { .. } => (ErrorCode::INVALID_RECORD, None),
        };
        ProduceError { code, message: error.to_string(), record_index }
    }
}
