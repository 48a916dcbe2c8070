//! Admin calls that ask one broker what it knows of a topic. That it knows none of that name is an answer, not an
//! error.

use crate::admin::{Admin, ConfigEntry, ConfigResource, Target, check, missing, text};
use crate::admin_partitions::{DescribedTopic, described};
use crate::error::ClientError;
use crate::metadata::PartitionInfo;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::describe_topic_partitions_request::TopicRequest;
use burnin_wire::kafka::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use burnin_wire::kafka::messages::metadata_request::MetadataRequestTopic;
use burnin_wire::kafka::messages::{DescribeTopicPartitionsRequest, MetadataRequest, TopicName};
use burnin_wire::{ErrorCode, Request, Response};

/// `DescribeConfigsResponse.ConfigSource`: the topic's own setting.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;

/// Which of the two APIs that describe topics is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribeBy {
    /// What every client asks for.
    Metadata,
    /// What `kafka-topics --describe` asks for (KIP-966).
    DescribeTopicPartitions,
}

impl<R: Runtime> Admin<R> {
    /// A topic as broker `node` knows it; `None`: it knows none of that name.
    pub async fn topic_at(
        &self,
        node: i32,
        topic: &str,
        by: DescribeBy,
    ) -> Result<Option<DescribedTopic>, ClientError> {
        let name = TopicName(text(topic));
        let request: Request = match by {
            DescribeBy::Metadata => MetadataRequest::default()
                .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
                .with_allow_auto_topic_creation(false)
                .into(),
            DescribeBy::DescribeTopicPartitions => DescribeTopicPartitionsRequest::default()
                .with_topics(vec![TopicRequest::default().with_name(name)])
                .into(),
        };
        let what = format!("to ask broker {node} for topic {topic}");
        self.call(&what, Target::Node(node), request, |response| match response {
            Response::Metadata(response) => {
                let answer = response.topics.into_iter().next().ok_or_else(missing)?;
                is_there(answer.error_code)?.then(|| Ok(described(answer))).transpose()
            }
            Response::DescribeTopicPartitions(response) => {
                let answer = response.topics.into_iter().next().ok_or_else(missing)?;
                is_there(answer.error_code)?.then(|| Ok(described_partitions(answer))).transpose()
            }
            other => unreachable!("asked by {by:?}, answered by {}", other.api()),
        })
        .await
    }

    /// The settings of a topic that are its own, as broker `node` knows them; `None`: it knows no topic of that name.
    pub async fn topic_configs_at(
        &self,
        node: i32,
        topic: &str,
    ) -> Result<Option<Vec<ConfigEntry>>, ClientError> {
        let resource = ConfigResource::Topic(topic.to_owned());
        let described = self.describe_configs_at(Target::Node(node), &resource, true).await?;
        Ok(described.map(|entries| {
            entries.into_iter().filter(|entry| entry.source == DYNAMIC_TOPIC_CONFIG).collect()
        }))
    }
}

fn is_there(code: i16) -> Result<bool, crate::admin::Refusal> {
    if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code() {
        return Ok(false);
    }
    check(code, None).map(|()| true)
}

fn described_partitions(topic: DescribeTopicPartitionsResponseTopic) -> DescribedTopic {
    let mut partitions = topic.partitions;
    partitions.sort_unstable_by_key(|partition| partition.partition_index);
    let partitions = partitions.iter().map(|p| {
        let leader = (p.leader_id, p.leader_epoch);
        PartitionInfo::new(leader, &p.replica_nodes, &p.isr_nodes, p.error_code)
    });
    DescribedTopic { id: topic.topic_id, partitions: partitions.collect() }
}
