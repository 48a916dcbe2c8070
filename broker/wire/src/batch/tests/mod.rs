//! Batches against the protocol crate's codec, against bytes that Kafka's own clients wrote, and against mutations.

mod produce;

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as TheirTimestampType,
};
use proptest::prelude::*;

use super::*;
use crate::testing::{Rng, alloc};

type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;
type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, OwnedHeaders);

fn push(builder: &mut BatchBuilder, (timestamp, key, value, headers): &OwnedRecord) {
    let headers: Vec<(&str, Option<&[u8]>)> =
        headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
}

fn build(options: BatchOptions, records: &[OwnedRecord]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for record in records {
        push(&mut builder, record);
    }
    builder.build()
}

fn owned(record: &Record<'_>) -> OwnedRecord {
    let headers = record
        .headers
        .iter()
        .map(|header| (String::from_utf8(header.key.to_vec()).unwrap(), header.value.map(<[u8]>::to_vec)))
        .collect();
    (record.timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers)
}

fn some_records(count: usize) -> Vec<OwnedRecord> {
    (0..count)
        .map(|index| {
            let headers = vec![("trace".to_owned(), Some(vec![index as u8])), ("none".to_owned(), None)];
            let key = (index % 3 != 0).then(|| format!("key-{index}").into_bytes());
            let value = (index % 5 != 4).then(|| vec![index as u8; index * 7 % 300]);
            (1_700_000_000_000 + index as i64 * 3 % 7, key, value, headers)
        })
        .collect()
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..80))
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let headers = proptest::collection::vec(("[a-z]{0,6}", bytes()), 0..4);
    (0i64..i64::MAX / 4, bytes(), bytes(), headers)
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_pushed(
        records in proptest::collection::vec(record(), 1..30),
        compression in codec(),
        base_offset in 0i64..1 << 60,
    ) {
        let options = BatchOptions { compression, base_offset, ..BatchOptions::default() };
        let batch = build(options, &records);
        verify_crc(&batch).unwrap();
        let opened = super::records(&batch).unwrap();
        let header = *opened.header();
        prop_assert_eq!(header.total_len(), batch.len());
        prop_assert_eq!(header.compression().unwrap(), compression);
        prop_assert_eq!(header.last_offset(), base_offset + records.len() as i64 - 1);
        prop_assert_eq!(header.max_timestamp, records.iter().map(|record| record.0).max().unwrap());
        let back: Vec<_> = opened.iter().map(Result::unwrap).collect();
        for (index, record) in back.iter().enumerate() {
            prop_assert_eq!(record.offset, base_offset + index as i64);
        }
        prop_assert_eq!(back.iter().map(owned).collect::<Vec<_>>(), records);
    }

    #[test]
    fn protocol_crate_reads_what_the_builder_writes(
        records in proptest::collection::vec(record(), 1..20),
        transactional in any::<bool>(),
    ) {
        let options = BatchOptions {
            producer_id: 9, producer_epoch: 2, base_sequence: 5, leader_epoch: 3, transactional,
            ..BatchOptions::default()
        };
        let batch = build(options, &records);
        let theirs = RecordBatchDecoder::decode(&mut batch.clone()).unwrap().records;
        prop_assert_eq!(theirs.len(), records.len());
        for (index, (their, our)) in theirs.iter().zip(&records).enumerate() {
            prop_assert_eq!(their.offset, index as i64);
            prop_assert_eq!(their.timestamp, our.0);
            prop_assert_eq!(their.key.as_deref(), our.1.as_deref());
            prop_assert_eq!(their.value.as_deref(), our.2.as_deref());
            prop_assert_eq!((their.producer_id, their.producer_epoch), (9, 2));
            prop_assert_eq!(their.sequence, 5 + index as i32);
            prop_assert_eq!((their.transactional, their.partition_leader_epoch), (transactional, 3));
        }
    }

    #[test]
    fn size_estimate_is_exact_without_compression(records in proptest::collection::vec(record(), 1..20)) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for record in &records {
            let before = builder.size_estimate();
            push(&mut builder, record);
            let headers: Vec<_> = record.3.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            let most = BatchBuilder::record_size_max(record.1.as_deref(), record.2.as_deref(), &headers);
            prop_assert!(builder.size_estimate() - before <= most);
        }
        let estimate = builder.size_estimate();
        prop_assert_eq!(estimate, builder.build().len());
    }
}

#[test]
fn reader_takes_what_the_protocol_crate_writes() {
    let theirs: Vec<TheirRecord> = (0..10)
        .map(|index| TheirRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 7,
            producer_id: 11,
            producer_epoch: 1,
            timestamp_type: TheirTimestampType::Creation,
            offset: 100 + i64::from(index),
            sequence: index,
            timestamp: 1000 + i64::from(index),
            key: Some(Bytes::from(format!("k{index}"))),
            value: None,
            headers: [("h".into(), Some(Bytes::from_static(b"v")))].into_iter().collect(),
        })
        .collect();
    let mut buf = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: TheirCompression::None };
    RecordBatchEncoder::encode(&mut buf, &theirs, &options).unwrap();
    let batch = buf.freeze();
    verify_crc(&batch).unwrap();
    let records = records(&batch).unwrap();
    assert_eq!((records.header().base_offset, records.header().leader_epoch), (100, 7));
    assert_eq!((records.header().last_offset(), records.header().last_sequence()), (109, 9));
    for (record, their) in records.iter().map(Result::unwrap).zip(&theirs) {
        assert_eq!((record.offset, record.timestamp), (their.offset, their.timestamp));
        assert_eq!((record.key, record.value), (their.key.as_deref(), None));
        assert_eq!(record.headers.iter().next(), Some(Header { key: b"h", value: Some(b"v") }));
    }
}

/// Lines of `codec|timestamp type|batch in hex`, five records each.
const KAFKA_BATCHES: &str = include_str!("../../../fixtures/batches.txt");

#[test]
fn batches_of_kafka_are_read_in_every_codec() {
    let expected: Vec<OwnedRecord> = (0..5)
        .map(|index| {
            let key = (index % 2 == 0).then(|| format!("key-{index}").into_bytes());
            let value =
                (index != 3).then(|| format!("value-{index}-{}", "x".repeat(10 * index)).into_bytes());
            let headers = if index == 4 {
                vec![("a".to_owned(), Some(vec![1, 2])), ("b".to_owned(), None)]
            } else {
                vec![]
            };
            (1_700_000_000_000 + 10 * index as i64, key, value, headers)
        })
        .collect();
    let mut seen = 0;
    for line in KAFKA_BATCHES.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('|').collect();
        let batch = Bytes::from(unhex(parts[2]));
        verify_crc(&batch).unwrap();
        let opened = records(&batch).unwrap_or_else(|error| panic!("{}: {error}", parts[0]));
        let header = *opened.header();
        assert_eq!(header.compression().unwrap().name(), parts[0]);
        let mut read: Vec<OwnedRecord> = opened.iter().map(|record| owned(&record.unwrap())).collect();
        if parts[1] == "append" {
            assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
            assert!(read.iter().all(|record| record.0 == 777));
            assert_eq!((header.base_offset, header.leader_epoch, header.is_transactional()), (1000, 9, true));
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4242, 3, 17));
            read.iter_mut().zip(&expected).for_each(|(record, expected)| record.0 = expected.0);
        } else {
            let limits = ProduceLimits::default();
            assert_eq!(validate_produce(&batch, &limits).unwrap().max_timestamp, header.max_timestamp);
        }
        assert_eq!(read, expected, "{line}");
        if (parts[0], parts[1]) == ("none", "create") {
            assert_eq!(build(BatchOptions::default(), &expected), batch, "the builder writes the same bytes");
        }
        seen += 1;
    }
    assert_eq!(seen, 2 * Compression::ALL.len());
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

#[test]
fn assign_changes_what_it_says_and_keeps_the_crc_true() {
    let original = build(BatchOptions { producer_id: 4, ..BatchOptions::default() }, &some_records(3));
    let before = BatchHeader::parse(&original).unwrap();

    let mut batch = BytesMut::from(&original[..]);
    assign(&mut batch, 1 << 40, 17, None);
    let expected = BatchHeader { base_offset: 1 << 40, leader_epoch: 17, ..before };
    assert_eq!(BatchHeader::parse(&batch).unwrap(), expected, "the CRC does not cover them");
    verify_crc(&batch).unwrap();

    assign(&mut batch, 5, 18, Some(42));
    verify_crc(&batch).unwrap();
    let records = records(&batch.freeze()).unwrap();
    assert_eq!(records.header().timestamp_type(), TimestampType::LogAppendTime);
    assert_ne!(records.header().crc, before.crc);
    assert!(records.iter().all(|record| record.unwrap().timestamp == 42));
    assert_eq!(records.iter().map(|record| record.unwrap().offset).collect::<Vec<_>>(), [5, 6, 7]);
}

#[test]
fn batches_end_at_a_torn_tail() {
    let first = build(BatchOptions::default(), &some_records(2));
    let second = build(BatchOptions::default(), &some_records(5));
    let all = Bytes::from([&first[..], &second[..]].concat());
    assert_eq!(
        batches(&all).map(|batch| batch.unwrap().1.len()).collect::<Vec<_>>(),
        [first.len(), second.len()]
    );
    for cut in first.len() + 1..all.len() {
        let found: Vec<_> = batches(&all[..cut]).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok());
        assert!(matches!(found[1], Err(BatchError::Truncated { .. })), "cut to {cut}: {:?}", found[1]);
    }
    let mut rest = all.clone();
    assert_eq!(split(&mut rest).unwrap().unwrap().1.as_ptr(), all.as_ptr(), "not copied");
    assert_eq!(split(&mut rest).unwrap().unwrap().1, second);
    assert_eq!(split(&mut rest), None);
}

#[test]
fn keys_and_values_can_be_kept_without_copying() {
    let batch = build(BatchOptions::default(), &some_records(2));
    let records = records(&batch).unwrap();
    let record = records.iter().nth(1).unwrap().unwrap();
    let key = records.slice(record.key.unwrap());
    assert_eq!(key, "key-1");
    assert!(batch.as_ptr_range().contains(&key.as_ptr()));
}

#[test]
fn sequences_wrap_to_zero() {
    let header = BatchHeader::parse(&build(
        BatchOptions {
            producer_id: 1,
            producer_epoch: 0,
            base_sequence: i32::MAX - 1,
            ..BatchOptions::default()
        },
        &some_records(4),
    ));
    assert_eq!(header.unwrap().last_sequence(), 1);
}

/// Batches with changed bytes and a true CRC: the reader ends in records or an error, and takes no more memory than
/// it was told to.
#[test]
fn mutated_batches_end_in_ok_or_err_within_the_bound() {
    const MUTATED: usize = 200_000;
    const DECOMPRESSED: usize = 100_000;
    let mut rng = Rng::new(7);
    let originals: Vec<Bytes> = Compression::ALL
        .into_iter()
        .flat_map(|compression| {
            [1, 5, 60].map(|count| {
                build(BatchOptions { compression, ..BatchOptions::default() }, &some_records(count))
            })
        })
        .collect();
    let limits = ProduceLimits { decompressed_max: DECOMPRESSED, ..ProduceLimits::default() };
    let (mut read_to_the_end, mut accepted, mut most) = (0, 0, 0);
    for round in 0..MUTATED {
        let mut batch = BytesMut::from(&originals[round % originals.len()][..]);
        for _ in 0..1 + rng.below(3) {
            let at = HEADER_LEN - 8 + rng.below(batch.len() - HEADER_LEN + 8);
            batch[at] =
                rng.pick(&[0, 1, 2, 0x7e, 0x7f, 0x80, 0xfe, 0xff, batch[at] ^ 1, batch[at].wrapping_add(1)]);
        }
        header::write_crc(&mut batch);
        let batch = batch.freeze();
        let (complete, taken) = alloc::peak(|| {
            let Ok(records) = records_with_max(&batch, DECOMPRESSED) else { return false };
            records.iter().all(|record| record.is_ok())
        });
        // Growing by half leaves both halves for a moment, and a codec has its own buffers.
        assert!(taken <= 2 * DECOMPRESSED + (16 << 20), "round {round}: {taken} bytes");
        most = most.max(taken);
        read_to_the_end += usize::from(complete);
        accepted += usize::from(validate_produce(&batch, &limits).is_ok());
    }
    assert!(
        accepted > 0 && accepted <= read_to_the_end && read_to_the_end < MUTATED,
        "{accepted} {read_to_the_end}"
    );
    println!(
        "{MUTATED} mutated batches: {read_to_the_end} read to the end, {accepted} valid, at most {most} bytes"
    );
}
