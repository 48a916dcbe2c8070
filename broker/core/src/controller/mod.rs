//! The controller: who is in the cluster, who leads what, and what may change. It does no I/O and knows no clock.
//! A request and `now` go in, an answer and the records that make it true come out; the driver appends them to the
//! metadata log and feeds them back with [`Controller::apply`].
//!
//! ```text
//!   request --> Decision { answer, records } --> append (one atomic batch) --> apply --> commit --> send answer
//!                        ^                                                      |
//!                        +--------------- image, on every controller <----------+
//! ```
//!
//! What the driver promises:
//!
//! 1. The records of one decision are appended as one batch, in order, at [`Context::next_offset`], and applied
//!    before the next decision is asked for. (Whether it also waits for the commit in between is its choice.)
//! 2. An answer is sent when its records are committed, and never when leadership is lost before.
//! 3. When leadership is lost, [`Controller::deactivate`] gets the image of what is committed.
//!
//! **Everything that decides is in the [`Image`]**, so a standby that applies the same records is equal. The one
//! exception is when brokers were heard of last: that is soft, and a new controller gives every broker a session.
//!
//! | File | Kafka's class |
//! |---|---|
//! | `brokers.rs`, `features.rs` | `ClusterControlManager`, `FeatureControlManager` |
//! | `sessions.rs`, `heartbeat.rs` | `BrokerHeartbeatManager` |
//! | `partition_change.rs` | `PartitionChangeBuilder` |
//! | `membership.rs`, `election.rs`, `alter_partition.rs`, `reassignment.rs`, `topics.rs` | `ReplicationControlManager` |
//! | `placement.rs` | `StripedReplicaPlacer` |
//! | `configs.rs`, `producer_ids.rs` | `ConfigurationControlManager`, `ProducerIdControlManager` |
//!
//! Where this is stricter than Kafka, the file says so.

mod alter_partition;
mod brokers;
mod cluster;
mod configs;
mod controllers;
mod election;
mod features;
mod heartbeat;
mod invariants;
mod membership;
mod partition_change;
mod placement;
mod producer_ids;
mod reassignment;
mod sessions;
mod topics;

pub use alter_partition::{AlterPartition, IsrState, ProposedIsr};
pub use brokers::Registration;
pub use cluster::Cluster;
pub use controllers::ControllerRegistration;
pub use election::{ElectionKind, ElectionResult};
pub use features::{ELIGIBLE_LEADER_REPLICAS, FeatureUpdate, KRAFT_VERSION, UpdateKind};
pub use heartbeat::{Heartbeat, HeartbeatAnswer};
pub use invariants::{check_image, check_step};
pub use producer_ids::ProducerIdBlock;
pub use reassignment::Reassignment;

use crate::config::Properties;
use crate::metadata::{ApiError, Defaults, FeatureRanges, Image};
use burnin_runtime::{Instant, Mutants};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{MetadataRecord, NoOpRecord};
use sessions::Sessions;
use std::time::Duration;

/// Settings of a controller, in Kafka's words. All controllers of a cluster should have the same.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// This controller.
    pub node_id: i32,
    /// The id of the cluster; brokers of another are refused.
    pub cluster_id: String,
    /// The voters of the quorum: they must have registered before a feature is raised.
    pub voters: Vec<i32>,
    /// Whether the voters are configured: then no other controller registers.
    pub voters_are_configured: bool,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// What a topic gets that does not say (`num.partitions`, `default.replication.factor`).
    pub defaults: Defaults,
    /// `server.properties`: the last place where settings of topics are looked for.
    pub properties: Properties,
    /// `leader.imbalance.check.interval.seconds`; `None` without `auto.leader.rebalance.enable`.
    pub rebalance_interval: Option<Duration>,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_interval: Duration,
    /// `metadata.max.idle.interval.ms`; `None` for never.
    pub idle_interval: Option<Duration>,
    /// The levels of features that this controller supports.
    pub features: FeatureRanges,
    /// What a cluster without any metadata begins with: features and their levels.
    pub bootstrap: Vec<(String, i16)>,
    /// A planted bug, in the simulator.
    pub mutants: Mutants,
}

/// When and where a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time.
    pub now: Instant,
    /// The offset that the first record of the decision will have.
    pub next_offset: i64,
}

/// What a request led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// To be sent when the records are committed.
    pub answer: T,
    /// To be appended as one batch. Without records the answer can be sent at once.
    pub records: Vec<MetadataRecord>,
}

impl<T> Decision<T> {
    fn new(answer: T, records: Vec<MetadataRecord>) -> Self {
        Decision { answer, records }
    }
}

/// One node's controller, active or standby.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    image: Image,
    active: Option<Active>,
}

/// What only the active one has.
#[derive(Debug)]
struct Active {
    sessions: Sessions,
    balance_at: Instant,
    unclean_at: Instant,
    idle_at: Instant,
}

impl Controller {
    /// A standby with what the metadata log (or its snapshot) says.
    pub fn new(config: ControllerConfig, image: Image) -> Self {
        Controller { config, image, active: None }
    }

    /// What was applied.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Others vote from now on.
    pub fn set_voters(&mut self, voters: Vec<i32>) {
        self.config.voters = voters;
    }

    /// Whether this is the one that decides.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// This node leads the quorum now, and everything that was committed is applied. Brokers that may lead get a
    /// full session, since nobody knows when they were heard of. The records come first in the new epoch.
    pub fn activate(&mut self, now: Instant) -> Vec<MetadataRecord> {
        let sessions = Sessions::begin(self.config.session_timeout, &self.image, now);
        let balance_at = self.config.rebalance_interval.map_or(Instant::FAR_FUTURE, |every| now + every);
        let unclean_at = now + self.config.unclean_interval;
        let idle_at = self.config.idle_interval.map_or(Instant::FAR_FUTURE, |every| now + every);
        self.active = Some(Active { sessions, balance_at, unclean_at, idle_at });
        self.view().activation_records()
    }

    /// This node does not lead the quorum any more: what was applied and not committed is forgotten.
    pub fn deactivate(&mut self, committed: Image) {
        self.active = None;
        self.image = committed;
    }

    /// Replays a record, on the active controller as on a standby. An error means that the log contradicts itself
    /// or breaks an invariant: the node must not go on.
    pub fn apply(&mut self, offset: i64, record: &MetadataRecord) -> Result<(), String> {
        self.image.apply(offset, record)?;
        invariants::check_applied(&self.image, record)
            .map_err(|broken| format!("metadata record at offset {offset}: {broken}"))?;
        if let (MetadataRecord::UnregisterBroker(record), Some(active)) = (record, &mut self.active) {
            active.sessions.remove(record.broker_id);
        }
        Ok(())
    }

    /// For requests that need nothing but the image.
    pub fn cluster(&self) -> Result<Cluster<'_>, ApiError> {
        match &self.active {
            Some(_) => Ok(self.view()),
            None => Err(not_controller()),
        }
    }

    /// When [`Controller::tick`] is due next.
    pub fn deadline(&self) -> Instant {
        let Some(active) = &self.active else { return Instant::FAR_FUTURE };
        let deadline = active.sessions.deadline(&self.image);
        deadline.min(active.balance_at).min(active.unclean_at).min(active.idle_at)
    }

    /// Time has passed: fences one broker whose session is over, or balances leaders, or elects uncleanly where
    /// that is allowed, or writes a record that says nothing (`QuorumController.maybeScheduleNextWriteNoOpRecord`). One thing at a time, so that each sees the outcome of the one before (as
    /// `maybeFenceOneStaleBroker`): apply the records and ask again while [`Controller::deadline`] is past.
    pub fn tick(&mut self, now: Instant) -> Vec<MetadataRecord> {
        let Some(active) = &mut self.active else { return Vec::new() };
        let cluster = Cluster { image: &self.image, config: &self.config };
        if let Some(broker) = active.sessions.stale(&self.image, now) {
            tracing::info!(broker, "fencing: its session is over");
            return cluster.fence(broker);
        }
        if active.balance_at <= now {
            let (records, more) = cluster.balance_leaders();
            let wait = self.config.rebalance_interval.filter(|_| !more).unwrap_or_default();
            active.balance_at = now + wait;
            return records;
        }
        if active.unclean_at <= now {
            let (records, more) = cluster.elect_leaderless();
            active.unclean_at = if more { now } else { now + self.config.unclean_interval };
            return records;
        }
        if active.idle_at <= now {
            active.idle_at = self.config.idle_interval.map_or(Instant::FAR_FUTURE, |every| now + every);
            return vec![MetadataRecord::NoOp(NoOpRecord {})];
        }
        Vec::new()
    }

    /// Looks at the whole image: for tests and the simulator. See [`check_image`].
    pub fn check(&self) -> Result<(), String> {
        let cluster = self.view();
        check_image(&self.image, cluster.has_elr(), |topic| cluster.min_isr(topic))
    }

    fn view(&self) -> Cluster<'_> {
        Cluster { image: &self.image, config: &self.config }
    }

    fn parts(&mut self) -> Result<(Cluster<'_>, &mut Active), ApiError> {
        let cluster = Cluster { image: &self.image, config: &self.config };
        self.active.as_mut().map(|active| (cluster, active)).ok_or_else(not_controller)
    }
}

fn not_controller() -> ApiError {
    ApiError::new(ErrorCode::NOT_CONTROLLER, "This is not the correct controller for this cluster.")
}
