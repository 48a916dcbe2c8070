//! What the codec costs, one line per operation: `cargo bench -p burnin-wire`.
//!
//! Each figure is the median of eleven rounds on one core. The memory copy at the end is the yardstick of the
//! machine.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark measures real time")]

use std::hint::black_box;
use std::time::Instant;

use burnin_wire::batch::{
    BatchBuilder, BatchOptions, Compression, ProduceLimits, assign, records, validate_produce, verify_crc,
};
use burnin_wire::kafka::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use burnin_wire::kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use burnin_wire::kafka::messages::{
    FetchResponse, MetadataRequest, ProduceRequest, ProduceResponse, TopicName, metadata_request,
};
use burnin_wire::{
    Api, Request, RequestHeader, Response, StrBytes, decode_request, decode_response, encode_fetch_response,
    encode_request, encode_response,
};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::Decodable;

fn main() {
    println!("{:<52} {:>10} {:>14}", "operation", "ns", "rate");
    frames();
    fetch();
    batches();
    let source = vec![7u8; 1 << 20];
    let mut target = vec![0u8; 1 << 20];
    report("memcpy 1 MiB", Some((1 << 20, "B")), || target.copy_from_slice(black_box(&source)));
}

/// Runs `work` and prints the median time of one call, and how many `units` a second that is.
fn report<T>(name: &str, units: Option<(usize, &str)>, mut work: impl FnMut() -> T) {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed().as_millis() < 20 {
        black_box(work());
        calls += 1;
    }
    let mut rounds: Vec<f64> = (0..11)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                black_box(work());
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let nanos = rounds[rounds.len() / 2];
    let rate = units.map_or(String::new(), |(count, unit)| {
        let per_second = count as f64 * 1e9 / nanos;
        format!("{:.1} M{unit}/s", per_second / 1e6)
    });
    println!("{name:<52} {nanos:>10.0} {rate:>14}");
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn batch_of(count: usize, value_len: usize, compression: Compression) -> Bytes {
    let value = vec![b'v'; value_len];
    let options = BatchOptions {
        compression,
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: 0,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    for index in 0..count {
        builder.push(1_700_000_000_000 + index as i64, Some(b"key"), Some(&value), &[]);
    }
    builder.build()
}

fn produce(records: Bytes) -> Request {
    let mut partition = PartitionProduceData::default();
    partition.records = Some(records);
    let mut data = TopicProduceData::default();
    data.name = topic();
    data.partition_data = vec![partition];
    let mut request = ProduceRequest::default();
    request.acks = -1;
    request.timeout_ms = 30_000;
    request.topic_data = vec![data];
    request.into()
}

fn frames() {
    for (name, request) in [
        ("Produce v9, 1 record", produce(batch_of(1, 100, Compression::None))),
        ("Produce v9, 1000 records of 100 B", produce(batch_of(1000, 100, Compression::None))),
    ] {
        report(&format!("encode {name}"), None, || encode_request(9, 1, "bench", &request));
        let mut frame = encode_request(9, 1, "bench", &request).into_bytes();
        frame.advance(4);
        report(&format!("decode {name}"), None, || decode_request(frame.clone()).expect("decoded"));
        // The header: 8 bytes, the client id, no tagged fields.
        let body = frame.slice(8 + 2 + 5 + 1..);
        let unchecked = || ProduceRequest::decode(&mut body.clone(), 9).expect("decoded");
        report("  of which the crate's own decoding of the body", None, unchecked);
    }
    let mut request = MetadataRequest::default();
    let mut wanted = metadata_request::MetadataRequestTopic::default();
    wanted.name = Some(topic());
    request.topics = Some(vec![wanted; 1000]);
    let mut frame = encode_request(12, 1, "bench", &request.into()).into_bytes();
    frame.advance(4);
    report("decode Metadata v12, 1000 topics", None, || decode_request(frame.clone()).expect("decoded"));
    let body = frame.slice(8 + 2 + 5 + 1..);
    let unchecked = || MetadataRequest::decode(&mut body.clone(), 12).expect("decoded");
    report("  of which the crate's own decoding of the body", None, unchecked);

    let header = RequestHeader { api: Api::Produce, version: 9, correlation_id: 1, client_id: None };
    let response = Response::Produce(ProduceResponse::default());
    report("encode Produce v9 response, empty", None, || encode_response(&header, &response));
}

fn fetch() {
    let header = RequestHeader { api: Api::Fetch, version: 13, correlation_id: 1, client_id: None };
    for (name, length) in [("100 B", 100), ("1 MiB", 1 << 20)] {
        let mut partition = PartitionData::default();
        partition.high_watermark = 100;
        let mut topic = FetchableTopicResponse::default();
        topic.partitions = vec![partition];
        let mut response = FetchResponse::default();
        response.responses = vec![topic];
        let batches = [vec![Bytes::from(vec![1u8; length])]];
        report(&format!("encode Fetch v13 response, {name}"), None, || {
            encode_fetch_response(&header, &response, &batches)
        });
        let mut frame = encode_fetch_response(&header, &response, &batches).into_bytes();
        frame.advance(4);
        report(&format!("decode Fetch v13 response, {name}"), None, || {
            decode_response(Api::Fetch, 13, frame.clone()).expect("decoded")
        });
    }
}

fn batches() {
    let value = [b'v'; 100];
    let mut builder = BatchBuilder::new(BatchOptions::default());
    report("build a batch of 1 record of 100 B", Some((1, " rec")), || {
        builder.push(1, Some(b"key"), Some(&value), &[]);
        builder.build()
    });
    report("build a batch of 1000 records of 100 B", Some((1000, " rec")), || {
        for index in 0..1000 {
            builder.push(index, Some(b"key"), Some(&value), &[]);
        }
        builder.build()
    });
    let limits = ProduceLimits::default();
    let small = batch_of(1, 100, Compression::None);
    report("validate_produce, 1 record", Some((1, " rec")), || {
        validate_produce(&small, &limits).expect("valid")
    });
    let large = batch_of(1000, 100, Compression::None);
    report("verify_crc, 110 KB", Some((large.len(), "B")), || verify_crc(&large).expect("valid"));
    report("read 1000 records of 100 B", Some((1000, " rec")), || {
        records(&large).expect("records").iter().map(|record| record.expect("a record").offset).sum::<i64>()
    });
    let mut owned = BytesMut::from(&large[..]);
    report("assign offset and epoch", None, || assign(&mut owned, 1 << 40, 7, None));
    for compression in Compression::ALL {
        let batch = batch_of(1000, 100, compression);
        report(&format!("validate_produce, 1000 records, {compression}"), Some((1000, " rec")), || {
            validate_produce(&batch, &limits).expect("valid")
        });
        let few = batch_of(10, 100, compression);
        report(&format!("validate_produce, 10 records, {compression}"), Some((10, " rec")), || {
            validate_produce(&few, &limits).expect("valid")
        });
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        report(&format!("build 10 records of 100 B, {compression}"), Some((10, " rec")), || {
            for index in 0..10 {
                builder.push(index, Some(b"key"), Some(&value), &[]);
            }
            builder.build()
        });
    }
}
