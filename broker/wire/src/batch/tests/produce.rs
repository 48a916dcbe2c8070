//! What a leader refuses, and with which code.

use super::*;
use crate::ErrorCode;

/// A good batch after `change` of its header, with a true CRC again.
fn refused(limits: &ProduceLimits, change: impl FnOnce(&mut BatchHeader)) -> ProduceError {
    let mut batch = BytesMut::from(&build(BatchOptions::default(), &some_records(3))[..]);
    let mut header = BatchHeader::parse(&batch).unwrap();
    change(&mut header);
    header.write_with_crc(&mut batch);
    validate_produce(&batch, limits).expect_err("refused")
}

#[test]
fn good_batch_of_every_codec_passes() {
    let limits = ProduceLimits::default();
    for compression in Compression::ALL {
        let batch = build(BatchOptions { compression, ..BatchOptions::default() }, &some_records(40));
        let validated = validate_produce(&batch, &limits).unwrap();
        assert_eq!(validated.header.record_count, 40);
        assert_eq!(validated.max_timestamp, validated.header.max_timestamp);
    }
}

#[test]
fn header_that_contradicts_itself_is_an_invalid_record() {
    let limits = ProduceLimits::default();
    let invalid = ErrorCode::INVALID_RECORD;
    assert_eq!(refused(&limits, |header| header.record_count = 4).code, invalid);
    assert_eq!(refused(&limits, |header| header.record_count = 0).code, invalid);
    assert_eq!(refused(&limits, |header| header.last_offset_delta = 1).code, invalid);
    assert_eq!(refused(&limits, |header| header.base_offset = 1).code, invalid);
    assert_eq!(refused(&limits, |header| header.attributes |= 0x20).code, invalid);
    assert_eq!(refused(&limits, |header| header.attributes |= 0x05).code, invalid);
    assert_eq!(refused(&limits, |header| header.producer_id = 5).code, invalid);
    let fewer = refused(&limits, |header| {
        header.record_count = 2;
        header.last_offset_delta = 1;
    });
    assert_eq!(fewer.code, invalid, "a third record is left over: {fewer}");
    let more = refused(&limits, |header| {
        header.record_count = 4;
        header.last_offset_delta = 3;
    });
    assert_eq!((more.code, more.record_index), (invalid, Some(3)));
}

#[test]
fn bytes_that_changed_on_the_way_are_corrupt() {
    let batch = build(BatchOptions::default(), &some_records(3));
    let limits = ProduceLimits::default();
    for at in 21..batch.len() {
        let mut changed = batch.to_vec();
        changed[at] ^= 4;
        let error = validate_produce(&changed, &limits).unwrap_err();
        let known = [ErrorCode::CORRUPT_MESSAGE, ErrorCode::INVALID_RECORD];
        assert!(known.contains(&error.code), "byte {at}: {error}");
    }
    assert_eq!(validate_produce(&[], &limits).unwrap_err().code, ErrorCode::INVALID_RECORD);
    for cut in 1..batch.len() {
        assert_eq!(validate_produce(&batch[..cut], &limits).unwrap_err().code, ErrorCode::CORRUPT_MESSAGE);
    }
    let two = [&batch[..], &batch[..]].concat();
    assert_eq!(validate_produce(&two, &limits).unwrap_err().code, ErrorCode::INVALID_RECORD);
    let mut old = batch.to_vec();
    old[16] = 1;
    assert_eq!(validate_produce(&old, &limits).unwrap_err().code, ErrorCode::INVALID_RECORD);
}

#[test]
fn limits_of_the_topic_are_kept() {
    let records = some_records(3);
    let batch = build(BatchOptions::default(), &records);
    let code = |batch: &Bytes, limits| {
        validate_produce(batch, &limits).map_err(|error| (error.code, error.record_index))
    };
    let base = ProduceLimits { now_ms: records[0].0, ..ProduceLimits::default() };

    let length = batch.len() as i32;
    assert!(code(&batch, ProduceLimits { max_message_bytes: length, ..base }).is_ok());
    let small = ProduceLimits { max_message_bytes: length - 1, ..base };
    assert_eq!(code(&batch, small), Err((ErrorCode::MESSAGE_TOO_LARGE, None)));

    let keyed = ProduceLimits { compacted: true, ..base };
    assert_eq!(code(&batch, keyed), Err((ErrorCode::INVALID_RECORD, Some(0))));

    // Records are 0, 3 and 6 ms after the clock.
    assert!(code(&batch, ProduceLimits { timestamp_after_max_ms: 6, ..base }).is_ok());
    let early = ProduceLimits { timestamp_after_max_ms: 5, ..base };
    assert_eq!(code(&batch, early), Err((ErrorCode::INVALID_TIMESTAMP, Some(2))));
    let late = ProduceLimits { now_ms: base.now_ms + 10, timestamp_before_max_ms: 9, ..base };
    assert_eq!(code(&batch, late), Err((ErrorCode::INVALID_TIMESTAMP, Some(0))));
    let append_time = ProduceLimits { timestamp_type: TimestampType::LogAppendTime, ..late };
    assert!(code(&batch, append_time).is_ok());
    let none = build(BatchOptions::default(), &[(-1, None, None, vec![])]);
    assert!(code(&none, late).is_ok(), "a record without a timestamp");

    let append_time =
        BatchOptions { timestamp_type: TimestampType::LogAppendTime, ..BatchOptions::default() };
    assert_eq!(code(&build(append_time, &records), base), Err((ErrorCode::INVALID_TIMESTAMP, None)));

    let zstd = build(BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() }, &records);
    let old = ProduceLimits { request_version: 6, ..base };
    assert_eq!(code(&zstd, old), Err((ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, None)));
    let tight = ProduceLimits { decompressed_max: 20, ..base };
    assert_eq!(code(&zstd, tight), Err((ErrorCode::MESSAGE_TOO_LARGE, None)));
}

#[test]
fn wrong_max_timestamp_is_found_and_can_be_set_right() {
    let mut batch = BytesMut::from(&build(BatchOptions::default(), &some_records(3))[..]);
    let right = BatchHeader::parse(&batch).unwrap().max_timestamp;
    set_max_timestamp(&mut batch, i64::MAX);
    let validated = validate_produce(&batch, &ProduceLimits::default()).unwrap();
    assert_eq!((validated.header.max_timestamp, validated.max_timestamp), (i64::MAX, right));
    set_max_timestamp(&mut batch, validated.max_timestamp);
    assert_eq!(validate_produce(&batch, &ProduceLimits::default()).unwrap().header.max_timestamp, right);
}
