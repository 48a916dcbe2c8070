//! Short ways to say requests, and batches.

use burnin_wire::StrBytes;
use burnin_wire::batch::{BatchBuilder, BatchOptions, Compression, records};
use burnin_wire::kafka::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use burnin_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use burnin_wire::kafka::messages::fetch_response::PartitionData;
use burnin_wire::kafka::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use burnin_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use bytes::{Bytes, BytesMut};

pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A batch of records with these values, one millisecond apart from 1000 on.
pub fn batch_with(options: BatchOptions, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (at, value) in (1000..).zip(values) {
        builder.push(at, Some(b"key"), Some(value.as_bytes()), &[("header", Some(b"h"))]);
    }
    builder.build()
}

pub fn batch(values: &[&str]) -> Bytes {
    batch_with(BatchOptions::default(), values)
}

pub fn compressed(compression: Compression, values: &[&str]) -> Bytes {
    batch_with(BatchOptions { compression, ..BatchOptions::default() }, values)
}

/// A batch of an idempotent producer.
pub fn idempotent(producer_id: i64, producer_epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    batch_with(BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() }, values)
}

pub fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

pub fn fetch(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1)
        .with_log_start_offset(-1);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Values of the records of a fetched partition, with their offsets.
pub fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let mut bytes: Bytes = data.records.clone().unwrap_or_default();
    let mut values = Vec::new();
    while let Some(batch) = burnin_wire::batch::split(&mut bytes) {
        let (_, batch) = batch.expect("whole batches");
        burnin_wire::batch::verify_crc(&batch).expect("the CRC matches");
        for record in &records(&batch).expect("readable records") {
            let record = record.expect("a readable record");
            values.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    values
}

pub fn create(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

pub fn list_offsets(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// Appends garbage to what a batch says it is.
pub fn damaged(batch: &Bytes, at: usize) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[at] ^= 0x55;
    bytes.freeze()
}
