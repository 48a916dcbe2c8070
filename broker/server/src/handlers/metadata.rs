//! Metadata and DescribeTopicPartitions: which topics there are, and who leads their partitions.

use super::cluster::{Node, controller_id, has_broker, nodes, some_broker};
use super::text;
use crate::reply::Reply;
use crate::shared::{Client, Shared};
use burnin_core::metadata::{Image, Partition, Topic, check_topic_name};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
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
    let is_served = has_broker(shared, &client);
    if missing.is_empty() && is_served {
        return Reply::Now(answer(shared, &client, version, &asked));
    }
    let shared = shared.clone();
    if missing.is_empty() {
        return Reply::Reading(Box::pin(async move {
            some_broker(&shared, &client).await;
            answer(&shared, &client, version, &asked)
        }));
    }
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

/// What fails is missing from the image, and the answer says so.
async fn create_missing<R: Runtime>(shared: &Arc<Shared<R>>, missing: BTreeSet<String>) {
    let topic = |name: String| {
        CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
    };
    let request = CreateTopicsRequest::default().with_topics(missing.into_iter().map(topic).collect());
    let within = shared.config.quorum.forward_timeout;
    match shared.controller_channel.call(request.into(), within).await {
        Ok(Response::CreateTopics(response)) => {
            for topic in response.topics.iter().filter(|topic| topic.error_code != 0) {
                tracing::debug!(topic = %topic.name.0, error = ?topic.error_message, "a topic was not created");
            }
        }
        Ok(other) => tracing::debug!(api = %other.api(), "an answer to another request"),
        Err(error) => tracing::debug!(%error, "topics were not created"),
    }
}

fn answer<R: Runtime>(shared: &Shared<R>, client: &Client, version: i16, asked: &Asked) -> Response {
    let image = shared.image.read();
    let mut response = MetadataResponse::default();
    let nodes = nodes(shared, client, &image);
    let alive = Alive::of(&image, &nodes);
    if version >= 1 {
        response.controller_id = controller_id(shared, &nodes);
    }
    response.brokers = nodes
        .into_iter()
        .map(|node| {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(node.id))
                .with_host(node.host)
                .with_port(node.port);
            if version >= 1 { broker.with_rack(node.rack) } else { broker }
        })
        .collect();
    if version >= 2 {
        response.cluster_id = Some(shared.identity.cluster_id.clone());
    }
    response.topics = match asked {
        Asked::All => {
            let all = image.topics().iter();
            all.map(|(name, topic)| known(text(name.as_str()), topic, version, &alive)).collect()
        }
        Asked::Named(names) => {
            let mut seen = BTreeSet::new();
            let first = names.iter().filter(|name| seen.insert((*name).clone()));
            first.map(|name| by_name(&image, name, version, &alive)).collect()
        }
        Asked::Ids(ids) => ids.iter().map(|id| by_id(&image, id, version, &alive)).collect(),
    };
    response.into()
}

/// Which brokers can be used, and which of those from the listener of a client.
struct Alive {
    usable: BTreeSet<i32>,
    reachable: BTreeSet<i32>,
}

impl Alive {
    fn of(image: &Image, nodes: &[Node]) -> Alive {
        let usable = image.brokers().iter().filter(|(_, broker)| !broker.fenced).map(|(id, _)| *id);
        Alive { usable: usable.collect(), reachable: nodes.iter().map(|node| node.id).collect() }
    }

    /// The leader to name, and what is wrong with it (`KRaftMetadataCache.getPartitionMetadata`).
    fn leader(&self, partition: &Partition, version: i16) -> (i32, ErrorCode) {
        match partition.leader {
            leader if self.reachable.contains(&leader) => (leader, ErrorCode::NONE),
            leader if self.usable.contains(&leader) && version >= 6 => (-1, ErrorCode::LISTENER_NOT_FOUND),
            _ => (-1, ErrorCode::LEADER_NOT_AVAILABLE),
        }
    }

    fn offline(&self, partition: &Partition) -> Vec<BrokerId> {
        let gone = partition.replicas.iter().filter(|id| !self.usable.contains(id));
        gone.map(|id| BrokerId(*id)).collect()
    }
}

fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

fn by_name(image: &Image, name: &StrBytes, version: i16, alive: &Alive) -> MetadataResponseTopic {
    if let Some(topic) = image.topic(name) {
        return known(name.clone(), topic, version, alive);
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

fn by_id(image: &Image, id: &Uuid, version: i16, alive: &Alive) -> MetadataResponseTopic {
    let topic = image
        .topic_name(id)
        .and_then(|name| image.topic(name).map(|topic| known(text(name), topic, version, alive)));
    topic.unwrap_or_else(|| {
        MetadataResponseTopic::default()
            .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.code())
            .with_name(None)
            .with_topic_id(*id)
    })
}

fn known(name: StrBytes, topic: &Topic, version: i16, alive: &Alive) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic::default();
    if version >= 1 {
        answer.is_internal = is_internal(&name);
    }
    answer.name = Some(TopicName(name));
    if version >= 10 {
        answer.topic_id = topic.id;
    }
    answer.partitions = topic
        .partitions
        .iter()
        .map(|(number, partition)| {
            let mut answer = MetadataResponsePartition::default();
            answer.partition_index = *number;
            let (leader, code) = alive.leader(partition, version);
            answer.leader_id = BrokerId(leader);
            answer.error_code = code.code();
            if version >= 5 {
                answer.offline_replicas = alive.offline(partition);
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
    client: &Client,
    request: DescribeTopicPartitionsRequest,
) -> Response {
    let image = shared.image.read();
    let alive = Alive::of(&image, &nodes(shared, client, &image));
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
            answer.partitions.push(describe_partition(*number, partition, &alive));
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
    partition: &Partition,
    alive: &Alive,
) -> DescribeTopicPartitionsResponsePartition {
    let (leader, code) = alive.leader(partition, i16::MAX);
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(code.code())
        .with_partition_index(number)
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(broker_ids(&partition.replicas))
        .with_isr_nodes(broker_ids(&partition.isr))
        .with_eligible_leader_replicas(Some(broker_ids(&partition.elr)))
        .with_last_known_elr(Some(broker_ids(&partition.last_known_elr)))
        .with_offline_replicas(alive.offline(partition))
}
