//! The fetch request.

use super::super::session::Ask;
use super::Assigned;
use crate::config::ConsumerConfig;
use crate::metadata::PartitionRef;
use crate::requests;
use burnin_wire::kafka::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use burnin_wire::kafka::messages::{BrokerId, FetchRequest, TopicName};
use burnin_wire::{Request, StrBytes};
use uuid::Uuid;

/// A fetch in a version that names topics by id (13 on) or by name.
pub(super) fn fetch_request(
    config: &ConsumerConfig,
    version: i16,
    ask: Ask,
    assigned: &[Assigned],
) -> Request {
    let by_id = version >= 13;
    let topic_of = |at: PartitionRef| {
        let assigned =
            assigned.iter().find(|assigned| assigned.at == at).expect("wanted partitions are assigned");
        let name = if by_id { StrBytes::default() } else { assigned.name.clone() };
        (TopicName(name), if by_id { assigned.topic_id } else { Uuid::nil() })
    };
    let mut topics: Vec<FetchTopic> = Vec::new();
    for want in ask.wants {
        let partition = FetchPartition::default()
            .with_partition(want.at.index)
            .with_current_leader_epoch(want.leader_epoch)
            .with_fetch_offset(want.offset)
            .with_partition_max_bytes(config.partition_max_bytes);
        let (name, id) = topic_of(want.at);
        match topics.iter_mut().find(|topic| topic.topic == name && topic.topic_id == id) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                FetchTopic::default().with_topic(name).with_topic_id(id).with_partitions(vec![partition]),
            ),
        }
    }
    let mut forgotten: Vec<ForgottenTopic> = Vec::new();
    for at in ask.forgotten {
        let (name, id) = topic_of(at);
        match forgotten.iter_mut().find(|topic| topic.topic == name && topic.topic_id == id) {
            Some(topic) => topic.partitions.push(at.index),
            None => forgotten.push(
                ForgottenTopic::default().with_topic(name).with_topic_id(id).with_partitions(vec![at.index]),
            ),
        }
    }
    let mut request = FetchRequest::default()
        .with_max_wait_ms(requests::millis(config.max_wait))
        .with_min_bytes(config.min_bytes)
        .with_max_bytes(config.max_bytes)
        .with_isolation_level(0)
        .with_session_id(ask.session_id)
        .with_session_epoch(ask.session_epoch)
        .with_topics(topics)
        .with_forgotten_topics_data(forgotten);
    if version < 15 {
        request.replica_id = BrokerId(-1);
    }
    Request::Fetch(request)
}
