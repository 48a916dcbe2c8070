//! The requests of the hot paths, built, and their answers, taken apart.

use crate::metadata::Metadata;
use burnin_history::Acks;
use burnin_wire::kafka::messages::metadata_request::MetadataRequestTopic;
use burnin_wire::kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use burnin_wire::kafka::messages::{
    BrokerId, InitProducerIdRequest, MetadataRequest, ProduceRequest, ProduceResponse, ProducerId, TopicName,
    list_offsets_request, offset_for_leader_epoch_request,
};
use burnin_wire::kafka::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};
use burnin_wire::{Request, StrBytes};
use bytes::Bytes;
use std::time::Duration;

/// A timeout as the protocol has it.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The metadata of every interned topic, and of the brokers.
pub(crate) fn metadata(known: &Metadata) -> Request {
    let topics = known
        .topics()
        .iter()
        .map(|topic| MetadataRequestTopic::default().with_name(Some(TopicName(topic.name.clone()))))
        .collect();
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
    Request::Metadata(request)
}

/// A producer id for an idempotent producer.
pub(crate) fn init_producer_id() -> Request {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    Request::InitProducerId(request)
}

/// Collects batches into a produce request.
pub(crate) struct ProduceBuilder(ProduceRequest);

impl ProduceBuilder {
    pub fn new(acks: Acks, timeout: Duration) -> Self {
        let acks = match acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        ProduceBuilder(ProduceRequest::default().with_acks(acks).with_timeout_ms(millis(timeout)))
    }

    pub fn push(&mut self, topic: &StrBytes, partition: i32, batch: Bytes) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topics = &mut self.0.topic_data;
        match topics.iter_mut().find(|known| known.name.0 == *topic) {
            Some(known) => known.partition_data.push(data),
            None => topics.push(
                TopicProduceData::default()
                    .with_name(TopicName(topic.clone()))
                    .with_partition_data(vec![data]),
            ),
        }
    }

    pub fn finish(self) -> ProduceRequest {
        self.0
    }
}

/// Error code and base offset of a partition in a produce response.
pub(crate) fn produce_answer(
    response: &ProduceResponse,
    topic: &StrBytes,
    partition: i32,
) -> Option<(i16, i64)> {
    let topic = response.responses.iter().find(|answer| answer.name.0 == *topic)?;
    let answer = topic.partition_responses.iter().find(|answer| answer.index == partition)?;
    Some((answer.error_code, answer.base_offset))
}

/// One partition's offset for a timestamp (-1: the end, -2: the log start).
pub(crate) fn list_offset(topic: &StrBytes, partition: i32, leader_epoch: i32, timestamp: i64) -> Request {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(leader_epoch)
        .with_timestamp(timestamp);
    let topic =
        ListOffsetsTopic::default().with_name(TopicName(topic.clone())).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(0)
        .with_topics(vec![topic]);
    Request::ListOffsets(request)
}

/// Where `epoch` ends in the leader's log.
pub(crate) fn end_of_epoch(topic: &StrBytes, partition: i32, leader_epoch: i32, epoch: i32) -> Request {
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let partition = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(leader_epoch)
        .with_leader_epoch(epoch);
    let topic =
        OffsetForLeaderTopic::default().with_topic(TopicName(topic.clone())).with_partitions(vec![partition]);
    // -1 is a consumer's replica id; the codec's default is the debugging consumer.
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    Request::OffsetForLeaderEpoch(request)
}
