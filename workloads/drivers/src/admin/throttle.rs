//! Throttled reassignments, as `kafka-reassign-partitions --throttle` makes them: a rate for every broker, and in the
//! topic the replicas that it holds for. Removed when everything has moved.

use burnin_client::{Admin, ClientError, ConfigResource};
use burnin_runtime::Runtime;
use std::collections::{BTreeMap, BTreeSet};

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Replicas that are throttled, of a topic: of the leader's side, of the follower's side.
type Throttled = [BTreeSet<(i32, i32)>; 2];

pub(super) struct Throttle {
    rate: Option<u64>,
    topics: BTreeMap<String, Throttled>,
}

impl Throttle {
    pub fn new(rate: Option<u64>) -> Throttle {
        Throttle { rate, topics: BTreeMap::new() }
    }

    /// Throttles what a partition's move from `now` to `target` will take: whoever holds it may lead and sends no
    /// faster, whoever is new fetches no faster.
    pub async fn lift<R: Runtime>(
        &mut self,
        admin: &Admin<R>,
        topic: &str,
        number: i32,
        now: &[i32],
        target: &[i32],
    ) -> Result<(), ClientError> {
        let Some(rate) = self.rate else { return Ok(()) };
        let [leaders, followers] = self.topics.entry(topic.to_owned()).or_default();
        leaders.extend(now.iter().map(|id| (number, *id)));
        followers.extend(target.iter().filter(|id| !now.contains(id)).map(|id| (number, *id)));
        let rate = rate.to_string();
        let rates = RATES.map(|name| (name, Some(rate.as_str())));
        admin.alter_configs(&ConfigResource::BrokerDefault, &rates).await?;
        let lists = [&*leaders, &*followers].map(|replicas| {
            replicas.iter().map(|(number, id)| format!("{number}:{id}")).collect::<Vec<_>>().join(",")
        });
        let changes = [(REPLICAS[0], Some(lists[0].as_str())), (REPLICAS[1], Some(lists[1].as_str()))];
        admin.alter_configs(&ConfigResource::Topic(topic.to_owned()), &changes).await
    }

    /// Removes every throttle.
    pub async fn undo<R: Runtime>(&mut self, admin: &Admin<R>) -> Result<(), ClientError> {
        while let Some(topic) = self.topics.keys().next().cloned() {
            let changes = REPLICAS.map(|name| (name, None));
            admin.alter_configs(&ConfigResource::Topic(topic.clone()), &changes).await?;
            self.topics.remove(&topic);
        }
        if self.rate.is_some() {
            admin.alter_configs(&ConfigResource::BrokerDefault, &RATES.map(|name| (name, None))).await?;
            self.rate = None;
        }
        Ok(())
    }
}
