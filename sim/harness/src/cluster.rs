//! Brokers of a world that form a cluster.

use crate::broker::BrokerNode;
use crate::failure::{Failure, Result};
use burnin_client::{Admin, Client, ClientConfig, Metadata};
use burnin_engine::SimRuntime;
use burnin_runtime::Runtime;
use std::time::Duration;

/// How long something that must come is waited for: longer than a broker's session.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A cluster of brokers. A cheap handle.
#[derive(Clone)]
pub struct BrokerCluster {
    brokers: Vec<BrokerNode>,
    /// Asks who plays which role, from a machine of its own.
    client: Client<SimRuntime>,
}

impl BrokerCluster {
    pub(crate) async fn start(brokers: Vec<BrokerNode>, watch: SimRuntime) -> Result<BrokerCluster> {
        let bootstrap: Vec<String> = brokers.iter().flat_map(BrokerNode::bootstrap).collect();
        let config = ClientConfig {
            request_timeout: Duration::from_secs(1),
            api_timeout: Duration::from_secs(2),
            ..ClientConfig::new(bootstrap, "watch")
        };
        let cluster = BrokerCluster { client: Client::new(watch, config)?, brokers };
        for broker in &cluster.brokers {
            broker.start().await?;
        }
        let all = cluster.brokers.len();
        cluster
            .wait("all brokers are in the cluster", |metadata| (metadata.brokers.len() == all).then_some(()))
            .await?;
        Ok(cluster)
    }

    /// Its brokers, in order of `node.id`.
    pub fn brokers(&self) -> &[BrokerNode] {
        &self.brokers
    }

    /// `bootstrap.servers` for clients.
    pub fn bootstrap(&self) -> Vec<String> {
        self.brokers.iter().flat_map(BrokerNode::bootstrap).collect()
    }

    /// The leader of a partition. Waits until there is one that is up.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<&BrokerNode> {
        let partition = self.client.partition(topic, partition);
        let what = format!("{topic}-{} has a leader", partition.index);
        self.wait(&what, |metadata| {
            let (leader, _) = metadata.leader(partition)?;
            self.brokers.iter().find(|broker| broker.id() == leader && broker.is_up())
        })
        .await
    }

    /// The active controller. Waits until there is one that is up.
    pub async fn controller(&self) -> Result<&BrokerNode> {
        let admin = Admin::new(&self.client);
        let runtime = self.client.runtime();
        let until = runtime.now() + PATIENCE;
        while runtime.now() < until {
            let leader = admin.quorum_leader().await.ok().flatten();
            let found = self.brokers.iter().find(|broker| Some(broker.id()) == leader && broker.is_up());
            match found {
                Some(found) => return Ok(found),
                None => runtime.sleep(LOOK).await,
            }
        }
        Err(Failure::new(format!("after {PATIENCE:?} there is no active controller")))
    }

    /// Waits until all replicas of a topic are in sync.
    pub async fn in_sync(&self, topic: &str) -> Result {
        let number = self.client.topic(topic);
        self.wait(&format!("all replicas of {topic} are in sync"), |metadata| {
            let partitions = &metadata.topic(number).partitions;
            let whole =
                partitions.iter().all(|one| one.leader.is_some() && one.isr.len() == one.replicas.len());
            (!partitions.is_empty() && whole).then_some(())
        })
        .await
    }

    /// Asks until the answer shows what is wanted.
    async fn wait<T>(&self, what: &str, look: impl Fn(&Metadata) -> Option<T>) -> Result<T> {
        let runtime = self.client.runtime();
        let until = runtime.now() + PATIENCE;
        loop {
            let asked = self.client.refresh_metadata().await;
            if let Some(found) = asked.is_ok().then(|| look(&self.client.metadata())).flatten() {
                return Ok(found);
            }
            if runtime.now() >= until {
                let why = asked.err().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(Failure::new(format!("not within {PATIENCE:?}: {what}{why}")));
            }
            runtime.sleep(LOOK).await;
        }
    }
}
