//! Replication: what this broker is for its partitions follows the metadata.
//!
//! | file | responsible for |
//! |---|---|
//! | `changes.rs`, `apply.rs` | following the metadata: logs, roles, settings |
//! | `partition.rs`, `leading.rs`, `following.rs` | a partition, and what its leader and its followers do |
//! | `feed.rs`, `hub.rs` | who waits for a partition: followers, tasks |
//! | `serve.rs` | fetches of followers, on the leader |
//! | `fetchers.rs`, `fetcher.rs`, `exchange.rs` | fetches of followers, on the follower |
//! | `throttle.rs` | how fast replicas may move that are not in sync |
//! | `isr.rs`, `checkpoint.rs` | AlterPartition; high watermarks on disk |
//!
//! The rules are in `burnin_core::partition`; here is what they act on.

mod apply;
mod changes;
mod checkpoint;
mod exchange;
mod feed;
mod fetcher;
mod fetchers;
mod following;
mod hub;
mod isr;
mod leading;
mod partition;
mod serve;
mod throttle;

pub(crate) use changes::Changes;
pub(crate) use hub::Hub;
pub(crate) use leading::{Committed, Refused};
pub(crate) use partition::{Duty, Partition};
pub(crate) use serve::handle as serve_follower;

use crate::shared::Shared;
use burnin_core::config::{BrokerConfig, ReplicaSelector};
use burnin_log::TopicPartition;
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

/// What a producer is told that waited until its records are committed.
pub(crate) type Verdict = Result<(), ErrorCode>;

/// What replication shares.
pub(crate) struct Replication<R: Runtime> {
    pub(crate) hub: Arc<Hub>,
    pub(crate) sessions: serve::FollowerSessions<R>,
    pub(crate) fetchers: fetchers::Fetchers<R>,
    /// Of what is sent to followers.
    pub(crate) sending: throttle::Throttle,
    /// Of what is fetched as a follower.
    pub(crate) fetching: throttle::Throttle,
    /// Told when a broker came, went or changed.
    pub(crate) brokers_changed: Notify,
    /// Whether the metadata know this start of this broker: until then they speak of an earlier life.
    has_begun: AtomicBool,
    /// The high watermarks that an earlier life noted; `None`: not read yet.
    noted: Mutex<Option<BTreeMap<TopicPartition, i64>>>,
}

impl<R: Runtime> Replication<R> {
    pub(crate) fn new(node_id: i32, config: &BrokerConfig) -> Replication<R> {
        let settings = &config.replication;
        let followers_serve = settings.selector == ReplicaSelector::RackAware;
        Replication {
            hub: Arc::new(Hub::new(node_id, settings.lag_time_max, followers_serve)),
            sessions: serve::FollowerSessions::default(),
            fetchers: fetchers::Fetchers::default(),
            sending: throttle::Throttle::new(settings.throttle_window, settings.throttle_windows),
            fetching: throttle::Throttle::new(settings.throttle_window, settings.throttle_windows),
            brokers_changed: Notify::new(),
            has_begun: AtomicBool::new(false),
            noted: Mutex::default(),
        }
    }

    /// Fetches nothing any more.
    pub(crate) fn stop(&self) {
        self.fetchers.stop();
    }
}

/// Starts the tasks of replication; dropping the handles ends them.
pub(crate) fn spawn<R: Runtime>(shared: &Arc<Shared<R>>) -> Vec<R::Task<()>> {
    let runtime = &shared.runtime;
    vec![
        runtime.spawn("isr-sender", isr::send(shared.clone())),
        runtime.spawn("isr-expiration", isr::expire(shared.clone())),
        runtime.spawn("isr-reconsideration", isr::reconsider(shared.clone())),
        runtime.spawn("high-watermark-checkpoint", checkpoint::run(shared.clone())),
    ]
}
