//! Produce, Fetch, ListOffsets, InitProducerId: the data path, on the simulator and on tokio.

use crate::common::Env;
use crate::common::peer::Peer;
use crate::common::requests::*;
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use burnin_wire::batch::{BatchOptions, Compression, TimestampType};
use burnin_wire::kafka::messages::fetch_response::PartitionData;
use burnin_wire::kafka::messages::produce_response::PartitionProduceResponse;
use std::time::Duration;

async fn created<R: Runtime>(
    peer: &mut Peer<R>,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> uuid::Uuid {
    let response = call!(peer, CreateTopics v 7, create(topic, partitions, configs));
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    response.topics[0].topic_id
}

async fn append<R: Runtime>(
    peer: &mut Peer<R>,
    version: i16,
    request: burnin_wire::kafka::messages::ProduceRequest,
) -> PartitionProduceResponse {
    call!(peer, Produce v version, request).responses.remove(0).partition_responses.remove(0)
}

async fn read<R: Runtime>(
    peer: &mut Peer<R>,
    version: i16,
    request: burnin_wire::kafka::messages::FetchRequest,
) -> PartitionData {
    let response = call!(peer, Fetch v version, request);
    assert_eq!(response.error_code, 0);
    response.responses.into_iter().next().expect("a topic").partitions.remove(0)
}

async fn every_codec_is_stored_and_read_from_any_offset<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[]).await;
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (index, codec) in codecs.into_iter().enumerate() {
        let answer = append(&mut peer, 11, produce("t", 0, -1, compressed(codec, &["a", "b", "c"]))).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 3 * index as i64), "{codec}");
        assert_eq!(answer.log_append_time_ms, -1);
    }
    for offset in 0..15 {
        let data = read(&mut peer, 12, fetch("t", 0, offset)).await;
        let values = values(&data);
        let first = offset - offset % 3;
        assert_eq!(values.first().unwrap().0, first, "the batch that holds the offset comes whole");
        assert_eq!(values.last().unwrap(), &(14, "c".to_owned()));
        assert_eq!((data.high_watermark, data.log_start_offset), (15, 0));
    }
}

async fn zstd_needs_produce_version_7<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[]).await;
    let request = || produce("t", 0, 1, compressed(Compression::Zstd, &["a"]));
    let refused = append(&mut peer, 6, request()).await;
    assert_eq!(refused.error_code, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE.code());
    assert_eq!(append(&mut peer, 7, request()).await.error_code, 0);
}

async fn retried_batches_of_idempotent_producers_are_appended_once<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[]).await;
    let mut send = async |epoch, sequence, values: &[&str]| {
        let answer = append(&mut peer, 9, produce("t", 0, -1, idempotent(7, epoch, sequence, values))).await;
        (ErrorCode(answer.error_code), answer.base_offset)
    };
    assert_eq!(send(0, 0, &["a", "b"]).await, (ErrorCode::NONE, 0));
    assert_eq!(send(0, 2, &["c"]).await, (ErrorCode::NONE, 2));
    assert_eq!(send(0, 0, &["a", "b"]).await, (ErrorCode::NONE, 0), "a duplicate gets its old offset");
    assert_eq!(send(0, 9, &["x"]).await, (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    assert_eq!(send(1, 0, &["d"]).await, (ErrorCode::NONE, 3), "a new epoch begins at 0");
    assert_eq!(send(0, 3, &["x"]).await, (ErrorCode::INVALID_PRODUCER_EPOCH, -1));
    let data = read(&mut peer, 12, fetch("t", 0, 0)).await;
    assert_eq!(values(&data).len(), 4);
}

async fn refused_batches_say_why<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[("max.message.bytes", "200")]).await;
    created(&mut peer, "two", 1, &[("min.insync.replicas", "2")]).await;
    let alone = append(&mut peer, 9, produce("two", 0, -1, batch(&["a"]))).await;
    assert_eq!(alone.error_code, 0, "a minimum beyond the replicas that there are asks for all of them");
    created(&mut peer, "strict", 1, &[("message.timestamp.before.max.ms", "1000")]).await;
    let transactional = BatchOptions {
        transactional: true,
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: 0,
        ..BatchOptions::default()
    };
    let control = BatchOptions { control: true, ..BatchOptions::default() };
    let appended_time =
        BatchOptions { timestamp_type: TimestampType::LogAppendTime, ..BatchOptions::default() };
    let long = "x".repeat(300);
    let two_batches = [batch(&["a"]), batch(&["b"])].concat();
    let cases = [
        (produce("nowhere", 0, 1, batch(&["a"])), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (produce("t", 1, 1, batch(&["a"])), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (produce("t", 0, 2, batch(&["a"])), ErrorCode::INVALID_REQUIRED_ACKS),
        (produce("t", 0, 1, batch(&[&long])), ErrorCode::MESSAGE_TOO_LARGE),
        (produce("t", 0, 1, damaged(&batch(&["a"]), 70)), ErrorCode::CORRUPT_MESSAGE),
        (produce("t", 0, 1, two_batches.into()), ErrorCode::INVALID_RECORD),
        (produce("t", 0, 1, bytes::Bytes::new()), ErrorCode::INVALID_RECORD),
        (produce("t", 0, 1, batch_with(transactional, &["a"])), ErrorCode::INVALID_TXN_STATE),
        (produce("t", 0, 1, batch_with(control, &["a"])), ErrorCode::INVALID_RECORD),
        (produce("t", 0, 1, batch_with(appended_time, &["a"])), ErrorCode::INVALID_TIMESTAMP),
        (produce("strict", 0, 1, batch(&["a"])), ErrorCode::INVALID_TIMESTAMP),
    ];
    for (request, wanted) in cases {
        let answer = append(&mut peer, 9, request).await;
        assert_eq!(ErrorCode(answer.error_code), wanted, "{:?}", answer.error_message);
        assert!(answer.error_message.is_some_and(|message| !message.is_empty()));
        assert_eq!(answer.base_offset, -1);
    }
    assert_eq!(
        append(&mut peer, 9, produce("two", 0, 1, batch(&["a"]))).await.error_code,
        0,
        "acks=1 needs the leader only"
    );
    assert_eq!(
        append(&mut peer, 9, produce("t", 0, 1, batch(&["a"]))).await.base_offset,
        0,
        "nothing was appended"
    );
}

async fn topics_can_stamp_and_recompress<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[("message.timestamp.type", "LogAppendTime"), ("compression.type", "zstd")])
        .await;
    let answer = append(&mut peer, 9, produce("t", 0, 1, batch(&["a", "b"]))).await;
    assert_eq!(answer.error_code, 0);
    assert!(answer.log_append_time_ms > 1_500_000_000_000, "{}", answer.log_append_time_ms);
    let data = read(&mut peer, 12, fetch("t", 0, 0)).await;
    let header = burnin_wire::batch::BatchHeader::parse(data.records.as_ref().unwrap()).unwrap();
    assert_eq!(
        (header.max_timestamp, header.timestamp_type()),
        (answer.log_append_time_ms, TimestampType::LogAppendTime)
    );
    assert_eq!(header.compression(), Ok(Compression::Zstd));
    assert_eq!(values(&data), [(0, "a".to_owned()), (1, "b".to_owned())]);
}

async fn pipelined_requests_are_answered_in_order<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[]).await;
    let mut sent = Vec::new();
    for index in 0..300 {
        let id = match index % 3 {
            0 => peer.send(9, produce("t", 0, -1, batch(&["a"]))).await,
            1 => peer.send(9, produce("t", 0, 0, batch(&["b"]))).await,
            _ => peer.send(12, fetch("t", 0, 0)).await,
        };
        sent.push((index, id));
    }
    for (index, id) in sent {
        match index % 3 {
            0 => drop(peer.receive(id, burnin_wire::Api::Produce, 9).await),
            1 => {} // acks=0 has no answer
            _ => drop(peer.receive(id, burnin_wire::Api::Fetch, 12).await),
        }
    }
    let data = read(&mut peer, 12, fetch("t", 0, 199)).await;
    assert_eq!(data.high_watermark, 200);
}

async fn an_error_with_acks_0_closes_the_connection<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    peer.send(9, produce("nowhere", 0, 0, batch(&["a"]))).await;
    peer.expect_closed().await;
}

async fn a_long_poll_ends_with_records_or_with_time<R: Runtime>(env: Env<R>) {
    let (mut reader, mut writer) = (env.peer().await, env.peer().await);
    created(&mut writer, "t", 2, &[]).await;
    let began = env.client.now();
    let data = read(&mut reader, 12, fetch("t", 0, 0).with_max_wait_ms(200)).await;
    let waited = env.client.now().since(began);
    assert!(
        values(&data).is_empty() && waited >= Duration::from_millis(200) && waited < Duration::from_secs(2),
        "{waited:?}"
    );

    let id = reader.send(12, fetch("t", 0, 0).with_max_wait_ms(30_000)).await;
    env.client.sleep(Duration::from_millis(50)).await;
    assert_eq!(append(&mut writer, 9, produce("t", 1, 1, batch(&["other"]))).await.error_code, 0);
    let began = env.client.now();
    assert_eq!(append(&mut writer, 9, produce("t", 0, 1, batch(&["a"]))).await.error_code, 0);
    let burnin_wire::Response::Fetch(response) = reader.receive(id, burnin_wire::Api::Fetch, 12).await else {
        panic!()
    };
    assert_eq!(values(&response.responses[0].partitions[0]), [(0, "a".to_owned())]);
    let woken = env.client.now().since(began);
    assert!(woken < Duration::from_secs(2), "{woken:?}");

    let many = fetch("t", 0, 0).with_max_wait_ms(100).with_min_bytes(1_000_000);
    let data = read(&mut reader, 12, many).await;
    assert_eq!(values(&data).len(), 1, "what there is comes when the time is over");
}

async fn size_limits_never_stop_a_reader<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 2, &[]).await;
    let value = "x".repeat(1000);
    for partition in [0, 1] {
        for _ in 0..5 {
            append(&mut peer, 9, produce("t", partition, 1, batch(&[&value]))).await;
        }
    }
    let limited = |response_max, partition_max| {
        let mut request = fetch("t", 0, 0).with_max_bytes(response_max);
        let mut second = request.topics[0].partitions[0].clone();
        second.partition = 1;
        request.topics[0].partitions.push(second);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max;
        }
        request
    };
    let mut counts = async |response_max, partition_max| {
        let response = call!(peer, Fetch v 12, limited(response_max, partition_max));
        let count = |data: &PartitionData| values(data).len();
        response.responses[0].partitions.iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(counts(1 << 20, 1 << 20).await, [5, 5]);
    assert_eq!(counts(1 << 20, 2500).await, [2, 2]);
    assert_eq!(counts(1, 1).await, [1, 0], "the first batch comes whatever the limits (KIP-74)");
    assert_eq!(counts(4000, 1 << 20).await, [3, 0]);
}

async fn fetch_errors_are_kafkas<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    let id = created(&mut peer, "t", 1, &[]).await;
    append(&mut peer, 9, produce("t", 0, 1, batch(&["a", "b"]))).await;
    let with = |change: fn(&mut burnin_wire::kafka::messages::fetch_request::FetchPartition)| {
        let mut request = fetch("t", 0, 0);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    for (request, wanted) in [
        (fetch("nowhere", 0, 0), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (fetch("t", 7, 0), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (fetch("t", 0, 3), ErrorCode::OFFSET_OUT_OF_RANGE),
        (fetch("t", 0, -1), ErrorCode::OFFSET_OUT_OF_RANGE),
        (with(|p| p.current_leader_epoch = 5), ErrorCode::UNKNOWN_LEADER_EPOCH),
        (with(|p| p.last_fetched_epoch = 9), ErrorCode::OFFSET_OUT_OF_RANGE),
    ] {
        let data = read(&mut peer, 12, request.with_max_wait_ms(10_000)).await;
        assert_eq!(ErrorCode(data.error_code), wanted);
        assert_eq!(data.high_watermark, -1);
    }
    let by_id = |id| {
        let mut request = fetch("t", 0, 0);
        request.topics[0].topic_id = id;
        request.topics[0].topic = name("");
        request.replica_id = burnin_wire::kafka::messages::BrokerId(-1);
        request
    };
    assert_eq!(values(&read(&mut peer, 13, by_id(id)).await).len(), 2);
    let unknown = read(&mut peer, 13, by_id(uuid::Uuid::from_u128(77))).await;
    assert_eq!(ErrorCode(unknown.error_code), ErrorCode::UNKNOWN_TOPIC_ID);
    let stranger = burnin_wire::kafka::messages::BrokerId(3);
    let no_replica = read(&mut peer, 13, by_id(id).with_replica_id(stranger)).await;
    assert_eq!(ErrorCode(no_replica.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let old = call!(peer, Fetch v 12, fetch("t", 0, 0).with_replica_id(stranger));
    assert_eq!(ErrorCode(old.error_code), ErrorCode::UNSUPPORTED_VERSION, "replicas name topics by id");
    let diverging = read(&mut peer, 12, with(|p| (p.fetch_offset, p.last_fetched_epoch) = (5, 0))).await;
    assert_eq!(
        (diverging.error_code, diverging.diverging_epoch.epoch, diverging.diverging_epoch.end_offset),
        (0, 0, 2)
    );
}

async fn sessions_name_only_what_changed<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 2, &[]).await;
    let mut full = fetch("t", 0, 0).with_session_epoch(0);
    let mut second = full.topics[0].partitions[0].clone();
    second.partition = 1;
    full.topics[0].partitions.push(second);
    let response = call!(peer, Fetch v 12, full);
    let session = response.session_id;
    assert!(session > 0 && response.responses[0].partitions.len() == 2);

    let incremental = |epoch| {
        let request = fetch("t", 0, 0).with_session_id(session).with_session_epoch(epoch);
        request.with_topics(Vec::new())
    };
    let nothing = call!(peer, Fetch v 12, incremental(1));
    assert_eq!((nothing.error_code, nothing.session_id, nothing.responses.len()), (0, session, 0));
    append(&mut peer, 9, produce("t", 1, 1, batch(&["a"]))).await;
    let changed = call!(peer, Fetch v 12, incremental(2));
    assert_eq!(changed.responses[0].partitions[0].partition_index, 1);
    assert_eq!(changed.responses[0].partitions.len(), 1);
    for (request, wanted) in [
        (incremental(2), ErrorCode::INVALID_FETCH_SESSION_EPOCH),
        (incremental(3).with_session_id(session ^ 1), ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
    ] {
        assert_eq!(ErrorCode(call!(peer, Fetch v 12, request).error_code), wanted);
    }
    let by_id = call!(peer, Fetch v 13, incremental(3));
    assert_eq!(ErrorCode(by_id.error_code), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
}

async fn offsets_are_listed_by_every_special_timestamp<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1, &[]).await;
    append(&mut peer, 9, produce("t", 0, 1, batch(&["a", "b", "c"]))).await;
    let mut listed = async |version: i16, timestamp: i64| {
        let mut request = list_offsets("t", 0, timestamp);
        request.timeout_ms = if version >= 10 { 1000 } else { 0 };
        let mut response = call!(peer, ListOffsets v version, request);
        let found = response.topics.remove(0).partitions.remove(0);
        (ErrorCode(found.error_code), found.offset, found.timestamp)
    };
    assert_eq!(listed(10, -1).await, (ErrorCode::NONE, 3, -1));
    assert_eq!(listed(1, -2).await, (ErrorCode::NONE, 0, -1));
    assert_eq!(listed(7, -3).await, (ErrorCode::NONE, 2, 1002));
    assert_eq!(listed(8, -4).await, (ErrorCode::NONE, 0, -1));
    assert_eq!(listed(9, -5).await, (ErrorCode::NONE, -1, -1));
    assert_eq!(listed(6, -3).await.0, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(listed(10, -9).await.0, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(listed(10, 1001).await, (ErrorCode::NONE, 1, 1001));
    assert_eq!(listed(10, 0).await, (ErrorCode::NONE, 0, 1000));
    assert_eq!(listed(10, 5000).await, (ErrorCode::NONE, -1, -1));
}

async fn producer_ids_are_never_given_twice<R: Runtime>(env: Env<R>) {
    use burnin_wire::kafka::messages::{InitProducerIdRequest, ProducerId, TransactionalId};
    let request = || {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(1)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut env = env;
    for _ in 0..3 {
        let mut peer = env.peer().await;
        for _ in 0..700 {
            let response = call!(peer, InitProducerId v 4, request());
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            assert!(seen.insert(response.producer_id.0), "{} was given twice", response.producer_id.0);
        }
        env = env.restart().await;
    }
    let mut peer = env.peer().await;
    let transactional = request().with_transactional_id(Some(TransactionalId(text("t"))));
    assert_eq!(call!(peer, InitProducerId v 4, transactional).error_code, ErrorCode::INVALID_REQUEST.code());
    let half = request().with_producer_id(ProducerId(5));
    assert_eq!(call!(peer, InitProducerId v 4, half).error_code, ErrorCode::INVALID_REQUEST.code());
}

both! {
    every_codec_is_stored_and_read_from_any_offset: "";
    zstd_needs_produce_version_7: "";
    retried_batches_of_idempotent_producers_are_appended_once: "";
    refused_batches_say_why: "";
    topics_can_stamp_and_recompress: "";
    pipelined_requests_are_answered_in_order: "";
    an_error_with_acks_0_closes_the_connection: "";
    a_long_poll_ends_with_records_or_with_time: "";
    size_limits_never_stop_a_reader: "";
    fetch_errors_are_kafkas: "";
    sessions_name_only_what_changed: "";
    offsets_are_listed_by_every_special_timestamp: "";
    producer_ids_are_never_given_twice: "";
}
