//! Admin calls about partitions: where their replicas are, who leads them, and which topic a broker knows by a name.

use crate::admin::{Admin, Target, check, missing, text};
use crate::error::ClientError;
use crate::metadata::PartitionInfo;
use crate::requests::millis;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use burnin_wire::kafka::messages::elect_leaders_request::TopicPartitions;
use burnin_wire::kafka::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use burnin_wire::kafka::messages::metadata_request::MetadataRequestTopic;
use burnin_wire::kafka::messages::metadata_response::MetadataResponseTopic;
use burnin_wire::kafka::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    MetadataRequest, TopicName,
};
use burnin_wire::{Request, Response};
use uuid::Uuid;

/// A reassignment that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassigning {
    /// The topic's name.
    pub topic: String,
    /// Kafka's partition index.
    pub partition: i32,
    /// All replicas, those that are added and those that are removed among them.
    pub replicas: Vec<i32>,
    /// Those that are added.
    pub adding: Vec<i32>,
    /// Those that are removed.
    pub removing: Vec<i32>,
}

/// A topic as one broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    /// Its id.
    pub id: Uuid,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionInfo>,
}

impl<R: Runtime> Admin<R> {
    /// Has a partition moved to these replicas; `None` cancels what is under way.
    pub async fn reassign(
        &self,
        topic: &str,
        partition: i32,
        replicas: Option<&[i32]>,
    ) -> Result<(), ClientError> {
        let what = match replicas {
            Some(replicas) => format!("to reassign {topic}-{partition} to {replicas:?}"),
            None => format!("to cancel the reassignment of {topic}-{partition}"),
        };
        let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
        let wanted = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        let wanted =
            ReassignableTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![wanted]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(millis(self.client.config().request_timeout))
            .with_topics(vec![wanted]);
        self.call(&what, Target::Any, Request::AlterPartitionReassignments(request), |response| {
            let Response::AlterPartitionReassignments(response) = response else {
                unreachable!("asked for AlterPartitionReassignments")
            };
            check(response.error_code, response.error_message)?;
            let topic = response.responses.into_iter().next().ok_or_else(missing)?;
            let answer = topic.partitions.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, answer.error_message)
        })
        .await
    }

    /// The reassignments that are under way in these partitions of a topic.
    pub async fn reassignments(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<Reassigning>, ClientError> {
        let asked = ListPartitionReassignmentsTopics::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(partitions.to_vec());
        let request = ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(millis(self.client.config().request_timeout))
            .with_topics(Some(vec![asked]));
        let what = format!("to list the reassignments of {topic}");
        self.call(&what, Target::Any, Request::ListPartitionReassignments(request), |response| {
            let Response::ListPartitionReassignments(response) = response else {
                unreachable!("asked for ListPartitionReassignments")
            };
            check(response.error_code, response.error_message)?;
            let ids = |ids: Vec<BrokerId>| ids.into_iter().map(|id| id.0).collect();
            let mut found = Vec::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    found.push(Reassigning {
                        topic: topic.name.to_string(),
                        partition: partition.partition_index,
                        replicas: ids(partition.replicas),
                        adding: ids(partition.adding_replicas),
                        removing: ids(partition.removing_replicas),
                    });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Has the preferred replica of a partition lead it.
    pub async fn elect_preferred_leader(&self, topic: &str, partition: i32) -> Result<(), ClientError> {
        const PREFERRED: i8 = 0;
        let wanted =
            TopicPartitions::default().with_topic(TopicName(text(topic))).with_partitions(vec![partition]);
        let request = ElectLeadersRequest::default()
            .with_election_type(PREFERRED)
            .with_topic_partitions(Some(vec![wanted]))
            .with_timeout_ms(millis(self.client.config().request_timeout));
        let what = format!("to elect the preferred leader of {topic}-{partition}");
        self.call(&what, Target::Any, Request::ElectLeaders(request), |response| {
            let Response::ElectLeaders(response) = response else { unreachable!("asked for ElectLeaders") };
            check(response.error_code, None)?;
            let topic = response.replica_election_results.into_iter().next().ok_or_else(missing)?;
            let answer = topic.partition_result.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, answer.error_message)
        })
        .await
    }

    /// A topic as broker `node` knows it (`None`: as some broker does). Without one of that name:
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub async fn describe_topic(
        &self,
        node: Option<i32>,
        topic: &str,
    ) -> Result<DescribedTopic, ClientError> {
        let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
        let request =
            MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
        let target = node.map_or(Target::Any, Target::Node);
        self.call(&format!("to describe topic {topic}"), target, Request::Metadata(request), |response| {
            let Response::Metadata(response) = response else { unreachable!("asked for Metadata") };
            let answer = response.topics.into_iter().next().ok_or_else(missing)?;
            check(answer.error_code, None)?;
            Ok(described(answer))
        })
        .await
    }
}

pub(crate) fn described(topic: MetadataResponseTopic) -> DescribedTopic {
    let mut partitions = topic.partitions;
    partitions.sort_unstable_by_key(|partition| partition.partition_index);
    let partitions = partitions.iter().map(|p| {
        let leader = (p.leader_id, p.leader_epoch);
        PartitionInfo::new(leader, &p.replica_nodes, &p.isr_nodes, p.error_code)
    });
    DescribedTopic { id: topic.topic_id, partitions: partitions.collect() }
}
