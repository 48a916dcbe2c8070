//! Which topics and partitions a run works on, by the numbers that its history has for them.

use crate::Recorder;
use burnin_client::{Client, PartitionRef};
use burnin_history::{Event, Flush, Tp};
use burnin_runtime::Runtime;
use std::sync::Arc;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number in the history.
    pub tp: Tp,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's number in payloads.
    pub topic_number: u32,
    /// Kafka's partition index.
    pub index: i32,
    /// What an acknowledgement promises.
    pub flush: Flush,
    /// `min.insync.replicas`.
    pub min_isr: u32,
    /// How many replicas it has.
    pub replicas: u32,
    /// `unclean.leader.election.enable`.
    pub unclean: bool,
}

impl Part {
    /// The same in a client.
    pub fn in_client<R: Runtime>(&self, client: &Client<R>) -> PartitionRef {
        client.partition(&self.topic, self.index)
    }
}

/// Every partition of a run.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    parts: Vec<Part>,
    topics: Vec<Arc<str>>,
}

impl Topology {
    /// Without topics.
    pub fn new() -> Self {
        Topology::default()
    }

    /// Adds a topic with one replica. Panics when it was added before.
    pub fn add_topic(&mut self, name: &str, partitions: i32, flush: Flush, min_isr: u32) {
        self.add_replicated(name, partitions, flush, min_isr, (1, false));
    }

    /// Adds a topic: how many replicas it has, and whether one that is not in sync may be elected. Panics when it
    /// was added before.
    pub fn add_replicated(
        &mut self,
        name: &str,
        partitions: i32,
        flush: Flush,
        min_isr: u32,
        (replicas, unclean): (u32, bool),
    ) {
        assert!(!self.topics.iter().any(|topic| **topic == *name), "topic {name} was added before");
        let topic: Arc<str> = name.into();
        let topic_number = u32::try_from(self.topics.len()).expect("fewer than 2^32 topics");
        for index in 0..partitions {
            let tp = Tp(u32::try_from(self.parts.len()).expect("fewer than 2^32 partitions"));
            self.parts.push(Part {
                tp,
                topic: topic.clone(),
                topic_number,
                index,
                flush,
                min_isr,
                replicas,
                unclean,
            });
        }
        self.topics.push(topic);
    }

    /// Every partition, by number.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The partitions of these topics. Panics when one is unknown: scenarios are checked before they run.
    pub fn parts_of<S: AsRef<str>>(&self, topics: &[S]) -> Vec<Part> {
        for topic in topics {
            let topic = topic.as_ref();
            assert!(
                self.topics.iter().any(|known| **known == *topic),
                "topic {topic} is not in the topology"
            );
        }
        let wanted = |part: &&Part| topics.iter().any(|topic| *topic.as_ref() == *part.topic);
        self.parts.iter().filter(wanted).cloned().collect()
    }

    /// Introduces every partition to the history. Once, before anything else.
    pub fn introduce<R: Runtime>(&self, recorder: &Recorder<R>) {
        for part in &self.parts {
            recorder.record(&Event::Partition {
                tp: part.tp,
                topic: part.topic.clone(),
                topic_number: part.topic_number,
                partition: part.index,
                flush: part.flush,
                min_isr: part.min_isr,
            });
            if part.replicas > 1 {
                let (tp, replicas, unclean) = (part.tp, part.replicas, part.unclean);
                recorder.record(&Event::Replicated { tp, replicas, unclean });
            }
        }
    }
}
