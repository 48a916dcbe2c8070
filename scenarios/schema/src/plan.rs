//! A plan: a scenario for one seed, with nothing left to draw. It holds everything that a run needs, can be
//! written to a file and read back, and gives the same run without the generator that made it.

use crate::action::Action;
use crate::check::{Check, Expect};
use crate::fault::Capability;
use crate::ranges::{CountRange, DurRange, SizeRange};
use crate::rates::Pace;
use crate::release::Release;
use crate::scenario::{Controllers, DiskModel, NetworkModel, StopOn};
use crate::seed::Seed;
use crate::selector::Selector;
use crate::units::{Dur, Size};
use crate::workload::{AcksSetting, AdminOperation, CompressionType, Start};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the plan's format.
pub const PLAN_VERSION: u32 = 1;

/// A scenario for one seed. All times count from the beginning of the simulated world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the plan's format.
    #[schemars(range(min = 1, max = 1))]
    pub plan: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The hash of the scenario's content, 16 hexadecimal digits.
    pub scenario_hash: String,
    /// The root of what is random while it runs (latencies, scheduling, tearing, ...).
    pub seed: Seed,
    /// The phases.
    pub run: RunPlan,
    /// How many brokers may be impaired at once.
    pub brokers_impaired: u32,
    /// The cluster.
    pub topology: TopologyPlan,
    /// What clients do.
    pub workload: Vec<WorkloadPlan>,
    /// The simulated network.
    pub network: NetworkModel,
    /// The simulated disks.
    pub disk: DiskModel,
    /// What goes wrong, in order of time.
    #[serde(default)]
    pub schedule: Vec<ScheduledFault>,
    /// What must hold.
    pub check: Vec<Check>,
    /// What must be found, when the scenario tests the checkers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// The phases of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    /// Time without faults at the start.
    pub warmup: Dur,
    /// Time in which faults happen, after the warmup.
    pub duration: Dur,
    /// Time to recover, after everything was healed.
    pub settle: Dur,
    /// Which violation ends the run early.
    pub stop_on: StopOn,
}

impl RunPlan {
    /// When everything is healed, counted from the beginning.
    pub fn heal_at(&self) -> Dur {
        self.warmup + self.duration
    }

    /// When it must have recovered, counted from the beginning.
    pub fn settle_until(&self) -> Dur {
        self.heal_at() + self.settle
    }
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologyPlan {
    /// How many brokers; their node ids are 1, 2, ...
    pub brokers: u32,
    /// Who votes on metadata.
    pub controllers: Controllers,
    /// 1: the voters stand in the metadata log.
    #[serde(default)]
    pub kraft_version: u32,
    /// How many client nodes.
    pub clients: u32,
    /// The rack of each broker; empty when there are none.
    #[serde(default)]
    pub racks: Vec<String>,
    /// The release of each node, brokers first; empty when all are of the latest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// Broker properties.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// The topics.
    pub topic: Vec<TopicPlan>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of each.
    pub replication_factor: u32,
    /// What the checks hold an acknowledgement to.
    pub ack_means: Durability,
    /// Topic configuration.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Fsynced.
    Fsynced,
    /// In the page cache.
    PageCache,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadPlan {
    /// Its name.
    pub id: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// How many clients.
    pub clients: u32,
    /// What they do.
    #[serde(flatten)]
    pub kind: WorkloadAction,
}

/// What the clients of a workload do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum WorkloadAction {
    /// Write unique records.
    #[serde(rename = "append-unique")]
    AppendUnique {
        /// Records a second, over all clients; or unfinished calls of each.
        rate: Pace,
        /// How many at once; drawn anew each time.
        records_per_batch: CountRange,
        /// The size of a value; drawn anew each time.
        record_size: SizeRange,
        /// How the producer is set up.
        producer: ProducerPlan,
    },
    /// Read by assignment.
    #[serde(rename = "poll")]
    Poll {
        /// Where a reader begins.
        start: Start,
        /// How often it begins anew at a random offset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reseek: Option<Dur>,
        /// How often it asks ListOffsets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        list_offsets: Option<Dur>,
        /// How the consumer is set up.
        consumer: ConsumerPlan,
    },
    /// Administrate.
    #[serde(rename = "admin")]
    Admin {
        /// What it does; drawn anew each time.
        operations: Vec<AdminOperation>,
        /// How long it pauses before each; drawn anew each time.
        every: DurRange,
        /// Bytes a second that a reassignment may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        throttle: Option<Size>,
        /// Topic configurations that are set and put back.
        #[serde(default)]
        config: BTreeMap<String, String>,
    },
}

/// A producer with every property decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProducerPlan {
    /// acks.
    pub acks: AcksSetting,
    /// enable.idempotence.
    pub idempotent: bool,
    /// delivery.timeout.ms.
    pub delivery_timeout: Dur,
    /// request.timeout.ms.
    pub request_timeout: Dur,
    /// linger.ms.
    pub linger: Dur,
    /// batch.size, in bytes.
    pub batch_size: u32,
    /// compression.type.
    pub compression: CompressionType,
    /// retries.
    pub retries: u32,
    /// retry.backoff.ms.
    pub retry_backoff: Dur,
    /// max.in.flight.requests.per.connection.
    pub max_in_flight: u32,
}

/// A consumer with every property decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerPlan {
    /// fetch.min.bytes.
    pub fetch_min_bytes: u32,
    /// fetch.max.wait.ms.
    pub fetch_max_wait: Dur,
    /// fetch.max.bytes.
    pub fetch_max_bytes: u32,
    /// max.partition.fetch.bytes.
    pub max_partition_fetch_bytes: u32,
    /// request.timeout.ms.
    pub request_timeout: Dur,
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduledFault {
    /// Unique in the plan: the fault's id and the number of the occurrence, as in `cut#3`.
    pub id: String,
    /// When it begins.
    pub at: Dur,
    /// How long it lasts; zero when it is over at once.
    #[serde(default, rename = "for", skip_serializing_if = "is_zero")]
    pub lasts: Dur,
    /// Whom it hits. A role is resolved when the fault fires. Absent for faults between two sides, and for one that hits
    /// the same nodes as the one that it accompanies, which played a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Selector>,
    /// The entry that it accompanies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Capabilities that the target must have.
    pub needs: Vec<Capability>,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}

fn is_zero(dur: &Dur) -> bool {
    *dur == Dur::ZERO
}

impl ScheduledFault {
    /// When it ends.
    pub fn ends(&self) -> Dur {
        self.at + self.lasts
    }

    /// The entry that hit the nodes that this one hits.
    pub fn follows(&self) -> Option<&str> {
        let is_alone = self.on.is_some() || self.action.is_between();
        self.with.as_deref().filter(|_| !is_alone)
    }

    /// Whom it hits, in a word.
    pub fn target(&self) -> String {
        let on = self.on.as_ref().map(ToString::to_string);
        on.or(self.follows().map(|with| format!("the target of {with}"))).unwrap_or_default()
    }

    /// The id of the scenario's fault that it is an occurrence of.
    pub fn fault(&self) -> &str {
        self.id.split('#').next().unwrap_or(&self.id)
    }
}
