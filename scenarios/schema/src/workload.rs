//! What clients do: the workloads and their client properties, in Kafka's words.

use crate::ranges::{CountRange, DurRange, SizeRange};
use crate::rates::Pace;
use crate::scenario::PropertyValue;
use crate::units::{Dur, Leaf, Size, Unit, not_a, unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Its name in reports and in `--set`.
    pub id: String,
    /// The topics that it works on, all partitions of each.
    #[schemars(length(min = 1))]
    pub topics: Vec<String>,
    /// How many clients do it, each with connections of its own.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub clients: u32,
    /// What they do.
    #[serde(flatten)]
    pub kind: WorkloadKind,
}

fn one() -> u32 {
    1
}

/// What the clients of a workload do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum WorkloadKind {
    /// Writes records that are unique for ever: producer, partition and a sequence number.
    #[serde(rename = "append-unique")]
    AppendUnique(AppendUnique),
    /// Reads partitions by assignment.
    #[serde(rename = "poll")]
    Poll(Poll),
    /// Does what an administrator does, one operation after the other.
    #[serde(rename = "admin")]
    Admin(Admin),
}

/// Writers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppendUnique {
    /// Records a second, over all clients of the workload; or how many calls of each client are unfinished at
    /// every moment.
    pub rate: Pace,
    /// How many records are handed over at once.
    #[serde(default = "one_record")]
    pub records_per_batch: CountRange,
    /// The size of a record's value; at least 40 bytes, which describe the record itself.
    #[serde(default = "default_record_size")]
    pub record_size: SizeRange,
    /// Producer properties, literally as in Kafka.
    #[serde(default)]
    pub properties: ProducerProperties,
}

fn one_record() -> CountRange {
    CountRange::exactly(1)
}

fn default_record_size() -> SizeRange {
    SizeRange::exactly(Size(100))
}

/// Readers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Poll {
    /// Where a reader begins in each partition.
    #[serde(default)]
    pub start: Start,
    /// How often a reader begins anew at a random offset that exists. Never by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reseek: Option<Dur>,
    /// How often a reader asks ListOffsets (earliest, latest and a timestamp in turn). Never by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_offsets: Option<Dur>,
    /// Consumer properties, literally as in Kafka.
    #[serde(default)]
    pub properties: ConsumerProperties,
}

/// An administrator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Admin {
    /// What it does; each time one of them is drawn.
    #[schemars(length(min = 1))]
    pub operations: Vec<AdminOperation>,
    /// How long it pauses before each; drawn anew each time.
    pub every: DurRange,
    /// Bytes a second that a reassignment may take. No throttle by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Size>,
    /// Topic configurations that `alter-topic-config` sets, and puts back. Each change replaces `#` by a number of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, PropertyValue>,
}

/// What an administrator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdminOperation {
    /// Has a partition moved: a replica is added, removed or replaced, or the order changes.
    Reassign,
    /// Cancels a reassignment that is under way.
    CancelReassignment,
    /// Has the preferred replica of a partition lead it.
    ElectPreferredLeader,
    /// Sets one of `config`, or puts it back.
    AlterTopicConfig,
    /// Creates a topic of its own.
    CreateTopic,
    /// Gives a topic of its own another partition.
    CreatePartitions,
    /// Deletes a topic of its own.
    DeleteTopic,
    /// Deletes a topic of `topics`, and creates it again.
    RecreateTopic,
    /// Asks a broker what it knows of a topic, and how it is configured.
    DescribeTopic,
    /// Raises every feature to what a broker supports.
    UpgradeFeatures,
}

impl AdminOperation {
    /// As scenarios name it.
    pub const fn name(self) -> &'static str {
        match self {
            AdminOperation::Reassign => "reassign",
            AdminOperation::CancelReassignment => "cancel-reassignment",
            AdminOperation::ElectPreferredLeader => "elect-preferred-leader",
            AdminOperation::AlterTopicConfig => "alter-topic-config",
            AdminOperation::CreateTopic => "create-topic",
            AdminOperation::CreatePartitions => "create-partitions",
            AdminOperation::DeleteTopic => "delete-topic",
            AdminOperation::RecreateTopic => "recreate-topic",
            AdminOperation::DescribeTopic => "describe-topic",
            AdminOperation::UpgradeFeatures => "upgrade-features",
        }
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the log start.
    #[default]
    Earliest,
    /// At the end.
    Latest,
    /// At an offset between them, drawn when it begins.
    Random,
}

/// Properties of a producer. What is not given is Kafka's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProducerProperties {
    /// Who must have a record before it is acknowledged: 0, 1 or "all". Default: "all".
    #[serde(rename = "acks", skip_serializing_if = "Option::is_none")]
    pub acks: Option<AcksSetting>,
    /// Whether retries are recognised by the broker. Default: true, unless acks or retries speak against it.
    #[serde(rename = "enable.idempotence", skip_serializing_if = "Option::is_none")]
    pub enable_idempotence: Option<bool>,
    /// After how long a record fails for good. Default: 120000.
    #[serde(rename = "delivery.timeout.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub delivery_timeout_ms: Option<u32>,
    /// How long one attempt may take. Default: 30000.
    #[serde(rename = "request.timeout.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub request_timeout_ms: Option<u32>,
    /// How long a batch waits for more records. Default: 5.
    #[serde(rename = "linger.ms", skip_serializing_if = "Option::is_none")]
    pub linger_ms: Option<u32>,
    /// The size at which a batch is full. Default: 16384.
    #[serde(rename = "batch.size", skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// How batches are compressed. Default: "none".
    #[serde(rename = "compression.type", skip_serializing_if = "Option::is_none")]
    pub compression_type: Option<CompressionType>,
    /// How often an attempt is repeated, within the delivery timeout. Default: 2147483647.
    #[serde(rename = "retries", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub retries: Option<u32>,
    /// How long a producer waits before it repeats. Default: 100.
    #[serde(rename = "retry.backoff.ms", skip_serializing_if = "Option::is_none")]
    pub retry_backoff_ms: Option<u32>,
    /// How many requests may be unanswered on a connection. Default: 5.
    #[serde(rename = "max.in.flight.requests.per.connection", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<u32>,
}

/// Properties of a consumer. What is not given is Kafka's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerProperties {
    /// How much the broker waits for before it answers. Default: 1.
    #[serde(rename = "fetch.min.bytes", skip_serializing_if = "Option::is_none")]
    pub fetch_min_bytes: Option<u32>,
    /// How long the broker waits for that. Default: 500.
    #[serde(rename = "fetch.max.wait.ms", skip_serializing_if = "Option::is_none")]
    pub fetch_max_wait_ms: Option<u32>,
    /// The most bytes of an answer. Default: 52428800.
    #[serde(rename = "fetch.max.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fetch_max_bytes: Option<u32>,
    /// The most bytes of one partition in an answer. Default: 1048576.
    #[serde(rename = "max.partition.fetch.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_partition_fetch_bytes: Option<u32>,
    /// How long one request may take. Default: 30000.
    #[serde(rename = "request.timeout.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub request_timeout_ms: Option<u32>,
}

/// Kafka's compression codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompressionType {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The producer property `acks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcksSetting {
    /// 0: nobody; the request has no answer.
    None,
    /// 1: the leader.
    Leader,
    /// "all" or -1: all in-sync replicas.
    #[default]
    All,
}
unit!(AcksSetting);

impl Unit for AcksSetting {
    const FORMAT: &'static str = "value of acks";
    const TYPES: &'static [&'static str] = &["string", "integer"];
    const EXAMPLE: &'static str = "\"all\", 1 or 0";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        match leaf {
            Leaf::Text("all" | "-1") | Leaf::Integer(-1) => Ok(AcksSetting::All),
            Leaf::Text("1") | Leaf::Integer(1) => Ok(AcksSetting::Leader),
            Leaf::Text("0") | Leaf::Integer(0) => Ok(AcksSetting::None),
            _ => Err(not_a::<Self>(leaf)),
        }
    }
}

impl fmt::Display for AcksSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcksSetting::None => "0",
            AcksSetting::Leader => "1",
            AcksSetting::All => "all",
        })
    }
}
