//! Metadata and DescribeTopicPartitions: which topics there are, and who leads their partitions.

use super::cluster::nodes;
use super::text;
use crate::reply::Reply;
use crate::shared::{Client, Shared};
use burnin_core::metadata::{Defaults, Image, NewTopic, Topic, check_topic_name, create_topics};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use burnin_wire::kafka::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use burnin_wire::kafka::messages::metadata_request::MetadataRequest;
use burnin_wire::kafka::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// What a client wants to know of.
enum Asked {
    All,
    Named(Vec<StrBytes>),
    Ids(Vec<Uuid>),
}

/// Handles Metadata. Topics that do not exist are created when broker and client allow it, and are then part of
/// the answer (Kafka answers first and creates meanwhile).
pub(super) fn metadata<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: Client,
    version: i16,
    request: MetadataRequest,
) -> Reply<R> {
    let asked = match asked(version, &request) {
        Ok(asked) => asked,
        Err(reason) => return Reply::Close(reason),
    };
    let missing = match &asked {
        Asked::Named(names) if request.allow_auto_topic_creation && shared.config.auto_create_topics => {
            let image = shared.image.read();
            let wanted = |name: &&StrBytes| image.topic(name).is_none() && may_be_created(name);
            names.iter().filter(wanted).map(|name| name.to_string()).collect()
        }
        _ => BTreeSet::new(),
    };
    if missing.is_empty() {
        return Reply::Now(answer(shared, &client, version, &asked));
    }
    let shared = shared.clone();
    Reply::Changing(Box::pin(async move {
        create_missing(&shared, missing).await;
        answer(&shared, &client, version, &asked)
    }))
}

/// Internal topics are made by their coordinators.
fn is_internal(name: &str) -> bool {
    ["__consumer_offsets", "__transaction_state", "__share_group_state"].contains(&name)
}

fn may_be_created(name: &str) -> bool {
    check_topic_name(name).is_ok() && !is_internal(name)
}

fn asked(version: i16, request: &MetadataRequest) -> Result<Asked, String> {
    let Some(topics) = &request.topics else { return Ok(Asked::All) };
    if version == 0 && topics.is_empty() {
        return Ok(Asked::All);
    }
    let ids: Vec<Uuid> = topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_nil()).collect();
    if version < 12 && !ids.is_empty() {
        return Err(format!("topic ids are not supported in Metadata version {version}"));
    }
    if !ids.is_empty() {
        return Ok(Asked::Ids(ids));
    }
    let name = |topic: &burnin_wire::kafka::messages::metadata_request::MetadataRequestTopic| {
        topic
            .name
            .as_ref()
            .map(|name| name.0.clone())
            .ok_or_else(|| "a topic has neither name nor id".to_owned())
    };
    topics.iter().map(name).collect::<Result<_, _>>().map(Asked::Named)
}

async fn create_missing<R: Runtime>(shared: &Arc<Shared<R>>, missing: BTreeSet<String>) {
    let defaults = Defaults {
        partitions: shared.config.partitions_default,
        replication_factor: shared.config.replication_factor_default,
    };
    for name in missing {
        let drawing = shared.clone();
        let created = shared.controller.commit(move |image: &Image| {
            let topic = NewTopic { name, partitions: -1, replication_factor: -1, ..NewTopic::default() };
            match create_topics(
                image,
                &topic,
                defaults,
                || drawing.fresh_id(),
                |_| drawing.identity.directory_id,
            ) {
                Ok((_, records)) => (Ok(()), records),
                Err(error) => (Err(error), Vec::new()),
            }
        });
        // What failed is missing from the image, and the answer says so.
        match created.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => tracing::debug!(%error, "a topic was not created automatically"),
        }
    }
}

fn answer<R: Runtime>(shared: &Shared<R>, client: &Client, version: i16, asked: &Asked) -> Response {
    let image = shared.image.read();
    let mut response = MetadataResponse::default();
    response.brokers = nodes(shared, client, &image)
        .into_iter()
        .map(|node| {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(node.id))
                .with_host(node.host)
                .with_port(node.port);
            if version >= 1 { broker.with_rack(node.rack) } else { broker }
        })
        .collect();
    if version >= 1 {
        response.controller_id = BrokerId(shared.identity.node_id);
    }
    if version >= 2 {
        response.cluster_id = Some(shared.identity.cluster_id.clone());
    }
    response.topics = match asked {
        Asked::All => {
            image.topics().iter().map(|(name, topic)| known(text(name.as_str()), topic, version)).collect()
        }
        Asked::Named(names) => {
            let mut seen = BTreeSet::new();
            let first = names.iter().filter(|name| seen.insert((*name).clone()));
            first.map(|name| by_name(&image, name, version)).collect()
        }
        Asked::Ids(ids) => ids.iter().map(|id| by_id(&image, id, version)).collect(),
    };
    response.into()
}

fn by_name(image: &Image, name: &StrBytes, version: i16) -> MetadataResponseTopic {
    if let Some(topic) = image.topic(name) {
        return known(name.clone(), topic, version);
    }
    let code = match check_topic_name(name) {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
    };
    let mut topic = MetadataResponseTopic::default();
    topic.error_code = code.code();
    topic.name = Some(TopicName(name.clone()));
    if version >= 1 {
        topic.is_internal = is_internal(name);
    }
    topic
}

fn by_id(image: &Image, id: &Uuid, version: i16) -> MetadataResponseTopic {
    let topic = image
        .topic_name(id)
        .and_then(|name| image.topic(name).map(|topic| known(text(name), topic, version)));
    topic.unwrap_or_else(|| {
        MetadataResponseTopic::default()
            .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.code())
            .with_name(None)
            .with_topic_id(*id)
    })
}

fn known(name: StrBytes, topic: &Topic, version: i16) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic::default();
    if version >= 1 {
        answer.is_internal = is_internal(&name);
    }
    answer.name = Some(TopicName(name));
    if version >= 10 {
        answer.topic_id = topic.id;
    }
    let broker_ids = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
    answer.partitions = topic
        .partitions
        .iter()
        .map(|(number, partition)| {
            let mut answer = MetadataResponsePartition::default();
            answer.partition_index = *number;
            answer.leader_id = BrokerId(partition.leader);
            if partition.leader < 0 {
                answer.error_code = ErrorCode::LEADER_NOT_AVAILABLE.code();
            }
            if version >= 7 {
                answer.leader_epoch = partition.leader_epoch;
            }
            answer.replica_nodes = broker_ids(&partition.replicas);
            answer.isr_nodes = broker_ids(&partition.isr);
            answer
        })
        .collect();
    answer
}

/// Answers DescribeTopicPartitions (KIP-966): page by page, in order of topic names.
pub(super) fn describe_partitions<R: Runtime>(
    shared: &Shared<R>,
    request: DescribeTopicPartitionsRequest,
) -> Response {
    let image = shared.image.read();
    let mut names: BTreeSet<String> = request.topics.iter().map(|topic| topic.name.0.to_string()).collect();
    let all = names.is_empty();
    if all {
        names = image.topics().keys().cloned().collect();
    }
    let (from_topic, mut from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.0.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
    let mut left = asked.min(shared.config.describe_partitions_max);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.range(from_topic.clone()..) {
        let first = if *name == from_topic { std::mem::take(&mut from_partition) } else { 0 };
        let mut answer = DescribeTopicPartitionsResponseTopic::default();
        answer.name = Some(TopicName(text(name.as_str())));
        answer.is_internal = is_internal(name);
        let Some(topic) = image.topic(name) else {
            let code = match check_topic_name(name) {
                Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            };
            answer.error_code = code.code();
            response.topics.push(answer);
            continue;
        };
        let next = || Cursor::default().with_topic_name(TopicName(text(name.as_str())));
        if left == 0 {
            response.next_cursor = Some(next().with_partition_index(first));
            break;
        }
        answer.topic_id = topic.id;
        let mut partitions = topic.partitions.range(first..);
        for (number, partition) in partitions.by_ref().take(left) {
            answer.partitions.push(describe_partition(*number, partition));
        }
        left -= answer.partitions.len();
        response.topics.push(answer);
        if let Some((number, _)) = partitions.next() {
            response.next_cursor = Some(next().with_partition_index(*number));
            break;
        }
    }
    response.into()
}

fn describe_partition(
    number: i32,
    partition: &burnin_core::metadata::Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let broker_ids = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(number)
        .with_leader_id(BrokerId(partition.leader))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(broker_ids(&partition.replicas))
        .with_isr_nodes(broker_ids(&partition.isr))
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
