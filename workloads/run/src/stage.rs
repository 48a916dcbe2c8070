//! What the workloads of a run need of the place where they run: client machines, a cluster to talk to, and a
//! history to write into.

use crate::health::{Ends, Health, whole};
use burnin_client::{Backoff, Client, ClientConfig, NewTopic};
use burnin_drivers::{Recorder, Topology, ensure_topic};
use burnin_history::{Event, Flush, Outcome, TopicChange};
use burnin_runtime::Runtime;
use burnin_scenario::{Action, Durability, Plan, TopicPlan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long creating the topics may take, from the start of the first broker on.
const CREATE_TOPICS: Duration = Duration::from_secs(60);

/// See the module.
pub struct Stage<R: Runtime> {
    /// The client machines; never none.
    pub clients: Vec<R>,
    /// `bootstrap.servers`.
    pub bootstrap: Vec<String>,
    /// The plan's topics.
    pub topology: Topology,
    /// Writes the history.
    pub recorder: Recorder<R>,
    /// Who knows how the replicas are, on a target that looks inside.
    pub watch: Option<Arc<dyn Health>>,
    answers: Arc<AtomicU64>,
}

impl<R: Runtime> Stage<R> {
    /// For a plan.
    pub fn new(plan: &Plan, recorder: Recorder<R>, clients: Vec<R>, bootstrap: Vec<String>) -> Stage<R> {
        assert!(!clients.is_empty(), "a run without client machines");
        Stage { clients, bootstrap, topology: topology(plan), recorder, watch: None, answers: Arc::default() }
    }

    /// Kafka requests that were answered to clients.
    pub fn requests(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// A client with these timeouts.
    pub fn client_config(
        &self,
        name: &str,
        request_timeout: Duration,
        retry_backoff: Duration,
    ) -> ClientConfig {
        ClientConfig {
            request_timeout,
            connect_timeout: request_timeout.min(Duration::from_secs(10)),
            retry_backoff: Backoff { initial: retry_backoff, max: retry_backoff.max(Duration::from_secs(1)) },
            answers: self.answers.clone(),
            ..ClientConfig::new(self.bootstrap.clone(), name)
        }
    }

    /// Introduces the partitions to the history, and tells it of which of them retention may remove the
    /// beginning: by time it always may (seven days, unless set otherwise), but a run is shorter than that
    /// unless its wall clock jumps.
    pub fn introduce(&self, plan: &Plan) {
        self.topology.introduce(&self.recorder);
        let jumps = plan
            .schedule
            .iter()
            .any(|fault| matches!(fault.action, Action::ClockJump { .. } | Action::ClockDrift { .. }));
        let limited = |properties: &BTreeMap<String, String>| {
            properties.keys().any(|name| name.contains("retention.ms") || name.contains("retention.bytes"))
        };
        for topic in &plan.topology.topic {
            let broker = plan.topology.properties.keys().any(|name| name.starts_with("log.retention."));
            if jumps || broker || limited(&topic.config) {
                for part in self.topology.parts_of(&[&topic.name]) {
                    self.recorder.record(&Event::RetentionEnabled { tp: part.tp });
                }
            }
        }
    }

    /// Creates the plan's topics, from the first client machine, and waits until all replicas are in sync. Gives what
    /// still is not as it should be.
    pub async fn create_topics(&self, plan: &Plan) -> Result<Vec<String>, String> {
        let config = self.client_config("setup", Duration::from_secs(2), Duration::from_millis(20));
        let runtime = self.clients[0].clone();
        let client = Client::new(runtime.clone(), config).map_err(|error| error.to_string())?;
        let until = runtime.now() + CREATE_TOPICS;
        for topic in &plan.topology.topic {
            let topic = new_topic(topic);
            let change = TopicChange::Create { partitions: topic.partitions as u32, configs: &topic.configs };
            let name = topic.name.as_str();
            let op = self.recorder.invoke(|op| Event::TopicChangeInvoked { op, topic: name, change });
            ensure_topic(&client, &topic, until).await.map_err(|error| error.to_string())?;
            // However often that was asked for.
            let (outcome, repeats) = (Outcome::Applied, true);
            self.recorder.record(&Event::TopicChangeCompleted { op, outcome, topic_id: 0, repeats });
        }
        match &self.watch {
            Some(watch) => Ok(whole(&runtime, watch.as_ref(), &Ends::new(), until).await),
            None => Ok(Vec::new()),
        }
    }
}

pub(crate) fn new_topic(plan: &TopicPlan) -> NewTopic {
    NewTopic {
        name: plan.name.clone(),
        partitions: plan.partitions as i32,
        replication_factor: plan.replication_factor as i16,
        configs: plan.config.clone().into_iter().collect(),
    }
}

/// Whether a replica that is not in sync may lead a partition of this topic.
pub fn elects_uncleanly(plan: &Plan, topic: &TopicPlan) -> bool {
    let name = "unclean.leader.election.enable";
    let set = topic.config.get(name).or(plan.topology.properties.get(name));
    topic.replication_factor > 1 && set.is_some_and(|text| text == "true")
}

fn topology(plan: &Plan) -> Topology {
    let mut topology = Topology::new();
    for topic in &plan.topology.topic {
        let flush = match topic.ack_means {
            Durability::Fsynced => Flush::BeforeAck,
            Durability::PageCache => Flush::PageCache,
        };
        let min_isr =
            topic.config.get("min.insync.replicas").or(plan.topology.properties.get("min.insync.replicas"));
        let min_isr = min_isr.and_then(|text| text.parse().ok()).unwrap_or(1);
        let replicated = (topic.replication_factor, elects_uncleanly(plan, topic));
        topology.add_replicated(&topic.name, topic.partitions as i32, flush, min_isr, replicated);
    }
    topology
}
