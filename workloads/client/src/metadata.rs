//! The metadata cache: brokers, topics, and who leads what. Sans-io. Topics are interned, so that nothing on
//! the hot path compares strings.
//!
//! A leader is replaced only by one of the same or a later leader epoch (`Metadata.updateLatestMetadata` in
//! Kafka): a broker that lags behind must not send a client back to an old leader. A topic whose id changed
//! was deleted and created again: its epochs begin anew.

use burnin_wire::StrBytes;
use burnin_wire::kafka::messages::{BrokerId, MetadataResponse};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A topic, by its number in this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicRef(pub(crate) u32);

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionRef {
    /// Which topic.
    pub topic: TopicRef,
    /// Kafka's partition index.
    pub index: i32,
}

/// A broker as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// `node.id`.
    pub node: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// A partition as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The leader's `node.id`, if there is a leader.
    pub leader: Option<i32>,
    /// Its epoch; -1 when the broker does not tell.
    pub leader_epoch: i32,
    /// All replicas.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Kafka's error code for this partition.
    pub error_code: i16,
}

impl PartitionInfo {
    pub(crate) fn new(
        (leader, leader_epoch): (BrokerId, i32),
        replicas: &[BrokerId],
        isr: &[BrokerId],
        error_code: i16,
    ) -> PartitionInfo {
        let ids = |nodes: &[BrokerId]| nodes.iter().map(|node| node.0).collect();
        let leader = (leader.0 >= 0).then_some(leader.0);
        PartitionInfo { leader, leader_epoch, replicas: ids(replicas), isr: ids(isr), error_code }
    }
}

/// A topic as the metadata describes it.
#[derive(Clone, Debug)]
pub struct TopicInfo {
    /// Its name.
    pub name: StrBytes,
    /// Its id; nil when unknown.
    pub id: Uuid,
    /// Kafka's error code for the topic; `None` until it was asked for.
    pub error_code: Option<i16>,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionInfo>,
}

/// What is known about the cluster.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Counts replacements.
    pub version: u64,
    /// `cluster.id`.
    pub cluster_id: Option<String>,
    /// The controller, or the broker that admin calls may be sent to.
    pub controller: Option<i32>,
    /// The brokers, by `node.id`.
    pub brokers: BTreeMap<i32, BrokerInfo>,
    topics: Vec<TopicInfo>,
    by_name: BTreeMap<StrBytes, TopicRef>,
}

impl Metadata {
    /// The number of a topic; a new name gets the next one.
    pub fn intern(&mut self, name: &str) -> TopicRef {
        if let Some(topic) = self.lookup(name) {
            return topic;
        }
        let topic = TopicRef(u32::try_from(self.topics.len()).expect("fewer than 2^32 topics"));
        let name = StrBytes::from_string(name.to_owned());
        self.by_name.insert(name.clone(), topic);
        self.topics.push(TopicInfo { name, id: Uuid::nil(), error_code: None, partitions: Vec::new() });
        topic
    }

    /// The number of a topic that was interned.
    pub fn lookup(&self, name: &str) -> Option<TopicRef> {
        self.by_name.get(name.as_bytes()).copied()
    }

    /// A topic.
    pub fn topic(&self, topic: TopicRef) -> &TopicInfo {
        &self.topics[topic.0 as usize]
    }

    /// Every interned topic.
    pub fn topics(&self) -> &[TopicInfo] {
        &self.topics
    }

    /// A partition, once it is known.
    pub fn partition(&self, partition: PartitionRef) -> Option<&PartitionInfo> {
        self.topic(partition.topic).partitions.get(usize::try_from(partition.index).ok()?)
    }

    /// Who leads a partition, and since which epoch.
    pub fn leader(&self, partition: PartitionRef) -> Option<(i32, i32)> {
        let info = self.partition(partition)?;
        Some((info.leader?, info.leader_epoch))
    }

    /// Takes an answer over. Returns whether every interned topic that it mentions has a leader everywhere; if
    /// not, the caller should ask again soon.
    pub fn update(&mut self, response: &MetadataResponse) -> bool {
        self.version += 1;
        self.cluster_id = response.cluster_id.as_ref().map(|id| id.to_string());
        self.controller = (response.controller_id.0 >= 0).then_some(response.controller_id.0);
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| {
                let info = BrokerInfo {
                    node: broker.node_id.0,
                    host: broker.host.to_string(),
                    port: u16::try_from(broker.port).unwrap_or(0),
                    rack: broker.rack.as_ref().map(|rack| rack.to_string()),
                };
                (info.node, info)
            })
            .collect();
        let mut complete = true;
        for answer in &response.topics {
            let Some(name) = &answer.name else { continue };
            let Some(topic) = self.by_name.get(&name.0).copied() else { continue };
            let topic = &mut self.topics[topic.0 as usize];
            topic.error_code = Some(answer.error_code);
            if answer.error_code != 0 {
                // The partitions stay as they were: the topic may only be unknown to this broker as yet.
                complete = false;
                continue;
            }
            if topic.id != answer.topic_id {
                topic.partitions.clear();
                topic.id = answer.topic_id;
            }
            for partition in &answer.partitions {
                let Ok(index) = usize::try_from(partition.partition_index) else { continue };
                let info = PartitionInfo {
                    leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.iter().map(|node| node.0).collect(),
                    isr: partition.isr_nodes.iter().map(|node| node.0).collect(),
                    error_code: partition.error_code,
                };
                complete &= info.leader.is_some();
                while topic.partitions.len() <= index {
                    topic.partitions.push(PartitionInfo {
                        leader: None,
                        leader_epoch: -1,
                        replicas: Vec::new(),
                        isr: Vec::new(),
                        error_code: 0,
                    });
                }
                let known = &mut topic.partitions[index];
                if info.leader_epoch == -1 || info.leader_epoch >= known.leader_epoch {
                    *known = info;
                } else {
                    complete = false;
                }
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_wire::kafka::messages::TopicName;
    use burnin_wire::kafka::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};

    fn answer(id: u128, partitions: &[(i32, i32, i32)]) -> MetadataResponse {
        let partitions = partitions.iter().map(|(index, leader, epoch)| {
            MetadataResponsePartition::default()
                .with_partition_index(*index)
                .with_leader_id(BrokerId(*leader))
                .with_leader_epoch(*epoch)
        });
        MetadataResponse::default().with_topics(vec![
            MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
                .with_topic_id(Uuid::from_u128(id))
                .with_partitions(partitions.collect()),
        ])
    }

    #[test]
    fn leader_of_an_older_epoch_is_not_believed() {
        let mut metadata = Metadata::default();
        let topic = metadata.intern("t");
        assert_eq!(metadata.intern("t"), topic);
        let partition = PartitionRef { topic, index: 1 };
        assert_eq!(metadata.leader(partition), None);
        assert!(metadata.update(&answer(1, &[(0, 1, 0), (1, 2, 5)])));
        assert_eq!(metadata.leader(partition), Some((2, 5)));
        assert!(!metadata.update(&answer(1, &[(1, 1, 4)])), "an old epoch asks for another look");
        assert_eq!(metadata.leader(partition), Some((2, 5)));
        assert!(!metadata.update(&answer(1, &[(1, -1, 6)])), "no leader");
        assert_eq!(metadata.leader(partition), None);
    }

    #[test]
    fn topic_that_was_created_again_starts_anew() {
        let mut metadata = Metadata::default();
        let topic = metadata.intern("t");
        metadata.update(&answer(1, &[(0, 1, 9), (1, 1, 9)]));
        metadata.update(&answer(2, &[(0, 3, 0)]));
        assert_eq!(metadata.leader(PartitionRef { topic, index: 0 }), Some((3, 0)));
        assert_eq!(metadata.partition(PartitionRef { topic, index: 1 }), None);
    }
}
