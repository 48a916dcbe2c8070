//! A plan: a scenario for one seed, with nothing left to draw. It holds everything that a run needs, can be
//! written to a file and read back, and gives the same run without the generator that made it.

use crate::check::{Check, Expect};
use crate::fault::{Capability, DiskOp, FileClass, Shape};
use crate::ranges::DurRange;
use crate::ranges::{CountRange, SizeRange};
use crate::scenario::{Controllers, DiskModel, NetworkModel, StopOn};
use crate::seed::Seed;
use crate::selector::Selector;
use crate::units::{Dur, Rate, SignedDur, Size};
use crate::workload::{AcksSetting, CompressionType, Start};
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
    /// How many client nodes.
    pub clients: u32,
    /// The rack of each broker; empty when there are none.
    #[serde(default)]
    pub racks: Vec<String>,
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
        /// Records a second, over all clients.
        rate: Rate,
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
    /// Whom it hits; absent for faults between two sides. A role is resolved when the fault fires.
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

    /// The id of the scenario's fault that it is an occurrence of.
    pub fn fault(&self) -> &str {
        self.id.split('#').next().unwrap_or(&self.id)
    }
}

/// What a scheduled fault does. Kinds and meaning are those of [`crate::FaultKind`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Action {
    /// The process dies at once.
    #[serde(rename = "process.kill")]
    ProcessKill {},
    /// The machine loses power.
    #[serde(rename = "process.power_loss")]
    ProcessPowerLoss {},
    /// The process stops in order.
    #[serde(rename = "process.stop")]
    ProcessStop {},
    /// The process stops in order and starts again.
    #[serde(rename = "process.restart")]
    ProcessRestart {},
    /// The process stands still.
    #[serde(rename = "process.pause")]
    ProcessPause {},
    /// Disk operations do not return.
    #[serde(rename = "disk.hang")]
    DiskHang {},
    /// Disk operations take longer.
    #[serde(rename = "disk.slow")]
    DiskSlow {
        /// How many times longer.
        factor: u32,
    },
    /// Disk operations fail.
    #[serde(rename = "disk.fail")]
    DiskFail {
        /// Which.
        op: DiskOp,
        /// In which files; empty for all.
        #[serde(default)]
        files: Vec<FileClass>,
        /// How many; absent for all until the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// Whether a halted broker is started again at the end.
        restart: bool,
    },
    /// Nothing more fits.
    #[serde(rename = "disk.full")]
    DiskFull {
        /// How much still fits.
        free: Size,
        /// Whether a halted broker is started again at the end.
        restart: bool,
    },
    /// Writes write only a part and fail.
    #[serde(rename = "disk.short_write")]
    DiskShortWrite {
        /// In which files; empty for all.
        #[serde(default)]
        files: Vec<FileClass>,
        /// How many; absent for all until the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// Whether a halted broker is started again at the end.
        restart: bool,
    },
    /// Bits flip.
    #[serde(rename = "disk.bit_rot")]
    DiskBitRot {
        /// In which files.
        files: Vec<FileClass>,
        /// How many bits.
        bits: u32,
    },
    /// Nothing gets through.
    #[serde(rename = "net.partition")]
    NetPartition {
        /// The two sides, or absent with `shape`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        between: Option<[Selector; 2]>,
        /// How the brokers are cut apart around `on`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shape: Option<Shape>,
        /// Which way.
        direction: Cut,
    },
    /// One side of open connections forgets them.
    #[serde(rename = "net.half_open")]
    NetHalfOpen {
        /// The side that forgets, and the side that is not told.
        between: [Selector; 2],
    },
    /// Open connections are broken with RST.
    #[serde(rename = "net.reset")]
    NetReset {
        /// The two sides.
        between: [Selector; 2],
    },
    /// Open connections end with FIN.
    #[serde(rename = "net.end")]
    NetEnd {
        /// The two sides.
        between: [Selector; 2],
    },
    /// Links are slower.
    #[serde(rename = "net.slow")]
    NetSlow {
        /// The two sides.
        between: [Selector; 2],
        /// How long a segment travels.
        latency: DurRange,
    },
    /// New connections are refused.
    #[serde(rename = "net.refuse")]
    NetRefuse {},
    /// New connections are never answered.
    #[serde(rename = "net.hang_connects")]
    NetHangConnects {},
    /// The wall clock jumps.
    #[serde(rename = "clock.jump")]
    ClockJump {
        /// How far; back again at the end when it lasts.
        by: SignedDur,
    },
    /// The wall clock drifts.
    #[serde(rename = "clock.drift")]
    ClockDrift {
        /// Parts in a million.
        ppm: i32,
    },
}

impl Action {
    /// Its kind, as in `process.kill`.
    pub fn name(&self) -> &'static str {
        match self {
            Action::ProcessKill {} => "process.kill",
            Action::ProcessPowerLoss {} => "process.power_loss",
            Action::ProcessStop {} => "process.stop",
            Action::ProcessRestart {} => "process.restart",
            Action::ProcessPause {} => "process.pause",
            Action::DiskHang {} => "disk.hang",
            Action::DiskSlow { .. } => "disk.slow",
            Action::DiskFail { .. } => "disk.fail",
            Action::DiskFull { .. } => "disk.full",
            Action::DiskShortWrite { .. } => "disk.short_write",
            Action::DiskBitRot { .. } => "disk.bit_rot",
            Action::NetPartition { .. } => "net.partition",
            Action::NetHalfOpen { .. } => "net.half_open",
            Action::NetReset { .. } => "net.reset",
            Action::NetEnd { .. } => "net.end",
            Action::NetSlow { .. } => "net.slow",
            Action::NetRefuse {} => "net.refuse",
            Action::NetHangConnects {} => "net.hang_connects",
            Action::ClockJump { .. } => "clock.jump",
            Action::ClockDrift { .. } => "clock.drift",
        }
    }
}

/// Which way of a link is cut, seen from the first side (or from `on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Both ways.
    Both,
    /// What it sends.
    Out,
    /// What it receives.
    In,
}
