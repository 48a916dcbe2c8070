//! Brokers are asked what they know of topics: by an administrator while others change them, and in the end by all means.
//!
//! In the end a topic is created that nobody else uses. The metadata are one log, and a broker that shows this topic has
//! applied everything that was acknowledged before: what it shows from then on must be what was acknowledged.

use super::{AdminOperation, Administrator, Failure};
use crate::Recorder;
use burnin_client::{Admin, Client, ClientError, DescribeBy, ErrorCode, NewTopic};
use burnin_history::{Event, Moment, NodeId, TopicFound};
use burnin_runtime::{Instant, Runtime, timeout};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a broker may take to answer an administrator, who asks another one next time.
const ANSWER: Duration = Duration::from_secs(3);

impl<R: Runtime> Administrator<R> {
    pub(super) async fn describe_topic(&mut self) -> Result<(), Failure> {
        let worked_on = self.config.topics.iter().map(|topic| &topic.topic.name);
        let own = self.own.iter().map(|(name, _)| name);
        let names: Vec<String> = worked_on.chain(own).chain(&self.deleted).cloned().collect();
        let name = names[self.entropy.below(names.len() as u64) as usize].clone();
        let node = self.draw(&self.config.brokers.clone()).expect("a cluster has brokers");
        let by = match self.entropy.chance(0.5) {
            true => DescribeBy::Metadata,
            false => DescribeBy::DescribeTopicPartitions,
        };
        let configs: Vec<String> = self.config.configs.keys().cloned().collect();
        let asked = Asked { node, settled: false, by };
        let asking = describe(&self.admin, &self.recorder, asked, &name, &configs);
        let what = format!("broker {node} for {name}");
        self.ask(AdminOperation::DescribeTopic, what, async {
            match timeout(&self.runtime, ANSWER, asking).await {
                Some(answer) => answer,
                None => Err(ClientError::TimedOut {
                    what: format!("to describe {name}"),
                    waited_ms: ANSWER.as_millis(),
                    last: "no answer".to_owned(),
                }),
            }
        })
        .await?;
        Ok(())
    }
}

/// Whom to ask, by which API, and whether it is known to have applied all changes.
#[derive(Clone, Copy)]
struct Asked {
    node: i32,
    settled: bool,
    by: DescribeBy,
}

/// Asks a broker for a topic and its configurations of these names, and tells the history.
async fn describe<R: Runtime>(
    admin: &Admin<R>,
    recorder: &Recorder<R>,
    asked: Asked,
    topic: &str,
    configs: &[String],
) -> Result<(), ClientError> {
    let Asked { node, settled, by } = asked;
    let tell = |invoked: Moment, found: TopicFound<'_>| {
        recorder.record(&Event::TopicDescribed { node: NodeId(node), topic, invoked, settled, found });
    };
    let invoked = recorder.now();
    match admin.topic_at(node, topic, by).await? {
        Some(known) => {
            let (topic_id, partitions) = (known.id.as_u128(), known.partitions.len() as u32);
            tell(invoked, TopicFound::Topic { topic_id, partitions });
        }
        None => tell(invoked, TopicFound::Absent),
    }
    if configs.is_empty() {
        return Ok(());
    }
    let invoked = recorder.now();
    match admin.topic_configs_at(node, topic).await? {
        Some(known) => {
            for name in configs {
                let entry = known.iter().find(|entry| entry.name == *name);
                let value = entry.and_then(|entry| entry.value.as_deref());
                tell(invoked, TopicFound::Config { name, value });
            }
        }
        None => tell(invoked, TopicFound::Absent),
    }
    Ok(())
}

/// What is asked for in the end.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Topics that were changed.
    pub topics: BTreeSet<String>,
    /// Their configurations that were changed.
    pub configs: BTreeSet<String>,
}

/// Asks every broker that is up for all of it, once it has applied everything. Nobody else changes topics meanwhile.
/// `marker` is the name of a topic that is created for this. Errors: what is missing at `until`, in words.
pub async fn describe_settled<R: Runtime>(
    client: Client<R>,
    recorder: Recorder<R>,
    marker: &str,
    what: &Described,
    until: Instant,
) -> Result<(), String> {
    let runtime = client.runtime().clone();
    let admin = Admin::new(&client);
    let pause = admin.retry_backoff();
    let last = parking_lot::Mutex::new(String::new());
    let asking = async {
        let topic =
            NewTopic { name: marker.to_owned(), partitions: 1, replication_factor: 1, configs: Vec::new() };
        loop {
            match admin.create_topic(&topic).await {
                Ok(_) => break,
                Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => break,
                Err(error) => *last.lock() = error.to_string(),
            }
            runtime.sleep(pause).await;
        }
        let brokers = loop {
            match admin.describe_cluster().await {
                Ok(cluster) => break cluster.brokers,
                Err(error) => *last.lock() = error.to_string(),
            }
            runtime.sleep(pause).await;
        };
        let configs: Vec<String> = what.configs.iter().cloned().collect();
        for node in brokers.iter().map(|broker| broker.node) {
            loop {
                match admin.topic_at(node, marker, DescribeBy::Metadata).await {
                    Ok(Some(_)) => break,
                    Ok(None) => *last.lock() = format!("broker {node} shows no topic {marker}"),
                    Err(error) => *last.lock() = error.to_string(),
                }
                runtime.sleep(pause).await;
            }
            for (number, topic) in what.topics.iter().enumerate() {
                let by = match number % 2 {
                    0 => DescribeBy::Metadata,
                    _ => DescribeBy::DescribeTopicPartitions,
                };
                let asked = Asked { node, settled: true, by };
                while let Err(error) = describe(&admin, &recorder, asked, topic, &configs).await {
                    *last.lock() = error.to_string();
                    runtime.sleep(pause).await;
                }
            }
        }
    };
    let within = until.since(runtime.now());
    match timeout(&runtime, within, asking).await {
        Some(()) => Ok(()),
        None => Err(format!("not every broker shows the metadata in the end: {}", last.lock())),
    }
}
