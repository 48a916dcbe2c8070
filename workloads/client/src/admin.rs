//! Admin calls. Each is retried, on another broker where that helps, until it succeeds, is refused for a reason
//! that will not go away, or `default.api.timeout.ms` has passed.
//!
//! A call that timed out may have taken effect, and a call that is retried may take effect twice:
//! `TOPIC_ALREADY_EXISTS` for a topic that the same call created is one example.

use crate::client::Client;
use crate::error::ClientError;
use crate::metadata::{BrokerInfo, PartitionRef};
use crate::requests::{self, millis};
use burnin_history::OffsetSpec;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::create_partitions_request::CreatePartitionsTopic;
use burnin_wire::kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use burnin_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use burnin_wire::kafka::messages::delete_topics_request::DeleteTopicState;
use burnin_wire::kafka::messages::describe_configs_request::DescribeConfigsResource;
use burnin_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use burnin_wire::kafka::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeQuorumRequest, IncrementalAlterConfigsRequest,
    TopicName, describe_quorum_request,
};
use burnin_wire::{ErrorCode, Request, Response, StrBytes};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// The topic of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; -1: the broker's default.
    pub partitions: i32,
    /// Replicas of each; -1: the broker's default.
    pub replication_factor: i16,
    /// Topic settings, by Kafka's names.
    pub configs: Vec<(String, String)>,
}

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// One broker, by `node.id`.
    Broker(i32),
    /// The default of all brokers.
    BrokerDefault,
}

impl ConfigResource {
    fn kind_and_name(&self) -> (i8, StrBytes) {
        match self {
            ConfigResource::Topic(name) => (2, text(name)),
            ConfigResource::Broker(node) => (4, StrBytes::from_string(node.to_string())),
            ConfigResource::BrokerDefault => (4, StrBytes::default()),
        }
    }
}

/// A setting as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Its value; `None` for secrets.
    pub value: Option<String>,
    /// Whether it cannot be altered.
    pub read_only: bool,
    /// Where it comes from (`DescribeConfigsResponse.ConfigSource`).
    pub source: i8,
}

/// What ListOffsets found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 when no record is that new.
    pub offset: i64,
    /// The record's timestamp; -1 for the log's ends.
    pub timestamp: i64,
    /// The leader epoch of the offset; -1 when the broker does not tell.
    pub leader_epoch: i32,
}

/// The cluster as DescribeCluster shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// `cluster.id`.
    pub cluster_id: String,
    /// The controller, or a broker that stands for it.
    pub controller: i32,
    /// The brokers that are up.
    pub brokers: Vec<BrokerInfo>,
}

/// Whom a call goes to.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    Any,
    Node(i32),
    Leader(PartitionRef),
}

/// A refusal: the code, and the broker's words.
pub(crate) type Refusal = (ErrorCode, Option<StrBytes>);

/// Admin calls of a client.
pub struct Admin<R: Runtime> {
    pub(crate) client: Client<R>,
    open: AtomicU64,
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn missing() -> Refusal {
    (ErrorCode::UNKNOWN_SERVER_ERROR, Some(StrBytes::from_static_str("the answer does not mention it")))
}

pub(crate) fn check(code: i16, message: Option<StrBytes>) -> Result<(), Refusal> {
    if code == 0 { Ok(()) } else { Err((ErrorCode(code), message)) }
}

impl<R: Runtime> Admin<R> {
    /// For the cluster of `client`.
    pub fn new(client: &Client<R>) -> Self {
        Admin { client: client.clone(), open: AtomicU64::new(0) }
    }

    /// How many attempts of all calls so far ended without an answer that says what became of them. Also after the call
    /// itself has succeeded, what they asked for may happen once more, at any later time.
    pub fn open_attempts(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How long a client waits before it tries again.
    pub fn retry_backoff(&self) -> std::time::Duration {
        self.client.config().retry_backoff.initial
    }

    /// Creates a topic. Its id, or nil when the broker does not tell.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<Uuid, ClientError> {
        let configs = topic.configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        });
        let wanted = CreatableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(configs.collect());
        let timeout_ms = millis(self.client.config().request_timeout);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(timeout_ms);
        let what = format!("to create topic {}", topic.name);
        let id = self
            .call(&what, Target::Any, Request::CreateTopics(request), |response| {
                let Response::CreateTopics(response) = response else {
                    unreachable!("asked for CreateTopics")
                };
                let answer = response.topics.into_iter().next().ok_or_else(missing)?;
                check(answer.error_code, answer.error_message)?;
                Ok(answer.topic_id)
            })
            .await?;
        self.client.topic(&topic.name);
        self.client.mark_stale();
        Ok(id)
    }

    /// Deletes a topic by name.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let timeout_ms = millis(self.client.config().request_timeout);
        // Version 6 names topics in another field than the versions before it.
        let state = DeleteTopicState::default().with_name(Some(TopicName(text(name))));
        let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(timeout_ms);
        self.call(
            &format!("to delete topic {name}"),
            Target::Any,
            Request::DeleteTopics(request),
            |response| {
                let Response::DeleteTopics(response) = response else {
                    unreachable!("asked for DeleteTopics")
                };
                let answer = response.responses.into_iter().next().ok_or_else(missing)?;
                check(answer.error_code, answer.error_message)
            },
        )
        .await?;
        self.client.mark_stale();
        Ok(())
    }

    /// Deletes the topic with this id, if there is one. Whether there was: a call that is retried may have deleted it
    /// itself.
    pub async fn delete_topic_by_id(&self, id: Uuid) -> Result<bool, ClientError> {
        let timeout_ms = millis(self.client.config().request_timeout);
        let state = DeleteTopicState::default().with_name(None).with_topic_id(id);
        let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(timeout_ms);
        let what = format!("to delete the topic with id {id}");
        let existed = self
            .call(&what, Target::Any, Request::DeleteTopics(request), |response| {
                let Response::DeleteTopics(response) = response else {
                    unreachable!("asked for DeleteTopics")
                };
                let answer = response.responses.into_iter().next().ok_or_else(missing)?;
                if answer.error_code == ErrorCode::UNKNOWN_TOPIC_ID.code() {
                    return Ok(false);
                }
                check(answer.error_code, answer.error_message).map(|()| true)
            })
            .await?;
        self.client.mark_stale();
        Ok(existed)
    }

    /// Raises the number of partitions of a topic to `count`.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text(name)))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(millis(self.client.config().request_timeout));
        let what = format!("to raise {name} to {count} partitions");
        self.call(&what, Target::Any, Request::CreatePartitions(request), |response| {
            let Response::CreatePartitions(response) = response else {
                unreachable!("asked for CreatePartitions")
            };
            let answer = response.results.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, answer.error_message)
        })
        .await?;
        self.client.mark_stale();
        Ok(())
    }

    /// The settings of a resource.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, ClientError> {
        let described = self.describe_configs_at(self.target_of(resource), resource, false).await?;
        Ok(described.expect("that there is none of that name is an error"))
    }

    /// `None`, where `may_be_unknown`: there is no topic of that name. Else that is tried again.
    pub(crate) async fn describe_configs_at(
        &self,
        target: Target,
        resource: &ConfigResource,
        may_be_unknown: bool,
    ) -> Result<Option<Vec<ConfigEntry>>, ClientError> {
        let (kind, name) = resource.kind_and_name();
        let wanted = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![wanted]);
        let what = format!("to describe the configs of {resource:?}");
        self.call(&what, target, Request::DescribeConfigs(request), |response| {
            let Response::DescribeConfigs(response) = response else {
                unreachable!("asked for DescribeConfigs")
            };
            let answer = response.results.into_iter().next().ok_or_else(missing)?;
            if may_be_unknown && answer.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code() {
                return Ok(None);
            }
            check(answer.error_code, answer.error_message)?;
            let entries = answer.configs.into_iter().map(|entry| ConfigEntry {
                name: entry.name.to_string(),
                value: entry.value.map(|value| value.to_string()),
                read_only: entry.read_only,
                source: entry.config_source,
            });
            Ok(Some(entries.collect()))
        })
        .await
    }

    /// Sets (`Some`) or deletes (`None`) settings of a resource.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[(&str, Option<&str>)],
    ) -> Result<(), ClientError> {
        const SET: i8 = 0;
        const DELETE: i8 = 1;
        let (kind, name) = resource.kind_and_name();
        let configs = changes.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.map(text))
        });
        let wanted = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![wanted]);
        let what = format!("to alter the configs of {resource:?}");
        self.call(&what, self.target_of(resource), Request::IncrementalAlterConfigs(request), |response| {
            let Response::IncrementalAlterConfigs(response) = response else {
                unreachable!("asked for IncrementalAlterConfigs")
            };
            let answer = response.responses.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, answer.error_message)
        })
        .await
    }

    /// An offset of a partition, from its leader.
    pub async fn list_offset(
        &self,
        partition: PartitionRef,
        spec: OffsetSpec,
    ) -> Result<ListedOffset, ClientError> {
        let timestamp = match spec {
            OffsetSpec::Earliest => -2,
            OffsetSpec::Latest => -1,
            OffsetSpec::Timestamp(timestamp) => timestamp,
        };
        let name = self.client.topic_name(partition.topic);
        let what = format!("to list the {spec:?} offset of {name}-{}", partition.index);
        // Without a leader epoch: the metadata may be older or newer than the leader that answers.
        let request = requests::list_offset(&name, partition.index, -1, timestamp);
        self.call(&what, Target::Leader(partition), request, |response| {
            let Response::ListOffsets(response) = response else { unreachable!("asked for ListOffsets") };
            let topic = response.topics.into_iter().next().ok_or_else(missing)?;
            let answer = topic.partitions.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, None)?;
            let (offset, timestamp, leader_epoch) = (answer.offset, answer.timestamp, answer.leader_epoch);
            Ok(ListedOffset { offset, timestamp, leader_epoch })
        })
        .await
    }

    /// Deletes the records before `offset` (-1: all up to the high watermark). The new log start.
    pub async fn delete_records(&self, partition: PartitionRef, offset: i64) -> Result<i64, ClientError> {
        let name = self.client.topic_name(partition.topic);
        let what = format!("to delete the records of {name}-{} before {offset}", partition.index);
        let wanted =
            DeleteRecordsPartition::default().with_partition_index(partition.index).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(TopicName(name)).with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(millis(self.client.config().request_timeout));
        self.call(&what, Target::Leader(partition), Request::DeleteRecords(request), |response| {
            let Response::DeleteRecords(response) = response else { unreachable!("asked for DeleteRecords") };
            let topic = response.topics.into_iter().next().ok_or_else(missing)?;
            let answer = topic.partitions.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, None)?;
            Ok(answer.low_watermark)
        })
        .await
    }

    /// The cluster.
    pub async fn describe_cluster(&self) -> Result<ClusterInfo, ClientError> {
        let request = Request::DescribeCluster(DescribeClusterRequest::default());
        self.call("to describe the cluster", Target::Any, request, |response| {
            let Response::DescribeCluster(response) = response else {
                unreachable!("asked for DescribeCluster")
            };
            check(response.error_code, response.error_message)?;
            let brokers = response.brokers.iter().map(|broker| BrokerInfo {
                node: broker.broker_id.0,
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).unwrap_or(0),
                rack: broker.rack.as_ref().map(|rack| rack.to_string()),
            });
            Ok(ClusterInfo {
                cluster_id: response.cluster_id.to_string(),
                controller: response.controller_id.0,
                brokers: brokers.collect(),
            })
        })
        .await
    }

    /// Who leads the metadata quorum: the active controller. `None` while nobody does.
    pub async fn quorum_leader(&self) -> Result<Option<i32>, ClientError> {
        let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(TopicName(text(METADATA_TOPIC)))
            .with_partitions(vec![partition]);
        let request = Request::DescribeQuorum(DescribeQuorumRequest::default().with_topics(vec![topic]));
        self.call("to describe the metadata quorum", Target::Any, request, |response| {
            let Response::DescribeQuorum(response) = response else {
                unreachable!("asked for DescribeQuorum")
            };
            check(response.error_code, response.error_message)?;
            let topic = response.topics.into_iter().next().ok_or_else(missing)?;
            let answer = topic.partitions.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, answer.error_message)?;
            Ok((answer.leader_id.0 >= 0).then_some(answer.leader_id.0))
        })
        .await
    }

    fn target_of(&self, resource: &ConfigResource) -> Target {
        match resource {
            ConfigResource::Broker(node) => Target::Node(*node),
            ConfigResource::Topic(_) | ConfigResource::BrokerDefault => Target::Any,
        }
    }

    /// Sends `request` until `take` accepts an answer.
    pub(crate) async fn call<T>(
        &self,
        what: &str,
        target: Target,
        request: Request,
        mut take: impl FnMut(Response) -> Result<T, Refusal>,
    ) -> Result<T, ClientError> {
        let runtime = self.client.runtime();
        let config = self.client.config();
        let mut entropy = runtime.entropy("client/admin");
        let start = runtime.now();
        let deadline = start + config.api_timeout;
        let mut attempts = 0;
        let mut last;
        let mut maybe = false;
        loop {
            attempts += 1;
            let node = match target {
                Target::Any => Some(self.client.any_broker(&mut entropy)),
                Target::Node(node) => Some(node),
                Target::Leader(partition) => self.client.leader(partition),
            };
            match node {
                None => last = "the partition has no known leader".to_owned(),
                Some(node) => match self.client.request(node, request.clone()).await {
                    Ok(response) => match take(response) {
                        Ok(value) => return Ok(value),
                        // Retriable by its class in Kafka, and an answer all the same, as for Kafka's own client.
                        Err((code, _)) if code.retriable() && code != ErrorCode::ELECTION_NOT_NEEDED => {
                            (last, maybe) = (code.to_string(), true);
                            self.open.fetch_add(1, Ordering::Relaxed);
                        }
                        Err((code, message)) => {
                            let message = message.map(|message| message.to_string());
                            return Err(ClientError::Broker { what: what.to_owned(), code, message, maybe });
                        }
                    },
                    Err(error) => {
                        if error.may_have_been_sent() {
                            maybe = true;
                            self.open.fetch_add(1, Ordering::Relaxed);
                        }
                        last = error.to_string();
                    }
                },
            }
            self.client.mark_stale();
            let wait = config.retry_backoff.after(attempts, &mut entropy);
            if runtime.now() + wait >= deadline {
                let waited_ms = runtime.now().since(start).as_millis();
                return Err(ClientError::TimedOut { what: what.to_owned(), waited_ms, last });
            }
            runtime.sleep(wait).await;
        }
    }
}
