//! What a scenario file holds. The doc comment of each key is also its description in the JSON Schema; the
//! reference for people is `docs/scenario-format.md`, and a test holds that it names every key.

use crate::check::{Check, Expect};
use crate::fault::Fault;
use crate::ranges::{CountRange, DurRange};
use crate::release::Release;
use crate::units::{Dur, Leaf, Size, Unit, not_a, unit};
use crate::workload::Workload;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The version of the format that this crate reads.
pub const SCHEMA_VERSION: u32 = 1;

/// A scenario: a cluster, what clients do with it, what goes wrong, and what must hold all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The version of the format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// The scenario's name: lower case letters, digits and hyphens; the same as the file's name.
    pub name: String,
    /// What it shows, in one sentence.
    pub summary: String,
    /// Words to select scenarios by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How long its phases are.
    pub run: Run,
    /// The most that may be broken at once.
    #[serde(default)]
    pub budget: Budget,
    /// The cluster and its topics.
    pub topology: Topology,
    /// What clients do.
    #[schemars(length(min = 1))]
    pub workload: Vec<Workload>,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fault: Vec<Fault>,
    /// What must hold.
    #[schemars(length(min = 1))]
    pub check: Vec<Check>,
    /// Models and settings of the targets that the scenario runs on.
    #[serde(default)]
    pub target: Targets,
    /// For scenarios that test the checkers: what must be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// The phases of a run: warmup, then faults, then everything is healed and settles, then the last checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Time without faults at the start.
    #[serde(default = "default_warmup")]
    pub warmup: Dur,
    /// Time in which faults happen.
    pub duration: Dur,
    /// Time after all faults were healed in which everything must recover.
    #[serde(default = "default_settle")]
    pub settle: Dur,
    /// Which violation ends the run early.
    #[serde(default)]
    pub stop_on: StopOn,
}

fn default_warmup() -> Dur {
    Dur::from_secs(1)
}

fn default_settle() -> Dur {
    Dur::from_secs(30)
}

/// Which violation ends a run early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopOn {
    /// None: the run goes on and collects.
    Never,
    /// The first violation of safety.
    #[default]
    FirstSafety,
    /// The first violation of any class.
    FirstAny,
}

/// The impairment budget. The checks are sound only inside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How many brokers may be dead, cut off, paused or on a failing disk at the same time, over all faults. A fault
    /// that would exceed it waits, and the report counts the waits.
    #[schemars(range(min = 0, max = 7))]
    pub brokers_impaired: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { brokers_impaired: 1 }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// How many brokers, 1 to 7.
    #[serde(default = "one")]
    pub brokers: CountRange,
    /// Who votes on metadata: "combined" (the brokers themselves) or a number of separate controllers.
    #[serde(default)]
    pub controllers: Controllers,
    /// 0: the voters are configured on every node. 1: they stand in the metadata log and can change (KIP-853).
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 1))]
    pub kraft_version: u32,
    /// How many client nodes the workloads' clients are spread over.
    #[serde(default = "one")]
    pub clients: CountRange,
    /// The racks that brokers are spread over, in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub racks: Vec<String>,
    /// The releases that nodes stand for, one drawn for each; the cluster begins as one of the oldest that was drawn.
    /// Default: all are of the latest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// Broker properties, literally as in server.properties; of `{ any = [...] }` each seed draws one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Setting>,
    /// What the checks hold an acknowledgement to. By default what the properties say.
    #[serde(default)]
    pub ack_means: AckMeans,
    /// The topics that are created at the start.
    #[schemars(length(min = 1))]
    pub topic: Vec<Topic>,
}

fn one() -> CountRange {
    CountRange::exactly(1)
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AckMeans {
    /// What the broker's properties say (`flush.messages`).
    #[default]
    AsConfigured,
    /// Fsynced: a power loss takes nothing that was acknowledged.
    Fsynced,
    /// In the page cache: a power loss may take an unsynced tail.
    PageCache,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    #[serde(default = "one_u32")]
    #[schemars(range(min = 1, max = 10000))]
    pub partitions: u32,
    /// How many replicas each partition has.
    #[serde(default = "one_u32")]
    #[schemars(range(min = 1, max = 7))]
    pub replication_factor: u32,
    /// Topic configuration, literally as in Kafka; of `{ any = [...] }` each seed draws one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, Setting>,
}

fn one_u32() -> u32 {
    1
}

/// What the targets need to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// The simulator's models of network and disk.
    #[serde(default)]
    pub sim: SimTarget,
}

/// The simulated world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimTarget {
    /// Every link between two nodes.
    #[serde(default)]
    pub network: NetworkModel,
    /// The disk of every broker.
    #[serde(default)]
    pub disk: DiskModel,
}

/// Links between nodes. Bytes of a stream are never lost or reordered: that is TCP's promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkModel {
    /// How long a segment travels.
    pub latency: DurRange,
    /// Bytes per second each way between two nodes, for all their connections together.
    pub bandwidth: Size,
}

impl Default for NetworkModel {
    fn default() -> Self {
        NetworkModel {
            latency: DurRange::new(Dur::from_nanos(200_000), Dur::from_millis(2)),
            bandwidth: Size(125_000_000),
        }
    }
}

/// The disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskModel {
    /// How long a read takes that the page cache cannot answer.
    pub read: DurRange,
    /// How long a write to the page cache takes.
    pub write: DurRange,
    /// How long an fsync takes.
    pub fsync: DurRange,
    /// How much fits.
    pub capacity: Size,
}

impl Default for DiskModel {
    fn default() -> Self {
        DiskModel {
            read: DurRange::new(Dur::from_nanos(50_000), Dur::from_nanos(500_000)),
            write: DurRange::new(Dur::from_nanos(1_000), Dur::from_nanos(20_000)),
            fsync: DurRange::new(Dur::from_nanos(500_000), Dur::from_millis(5)),
            capacity: Size(1 << 30),
        }
    }
}

/// A value of a property: Kafka's properties are strings, numbers and booleans are taken as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyValue(pub String);
unit!(PropertyValue);

impl Unit for PropertyValue {
    const FORMAT: &'static str = "property value";
    const TYPES: &'static [&'static str] = &["string", "number", "boolean"];
    const EXAMPLE: &'static str = "65536, true or \"delete\"";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        Ok(PropertyValue(leaf.to_string()))
    }
}

impl fmt::Display for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a scenario says of a property: its value, or several of which each seed draws one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// The same for every seed.
    Fixed(PropertyValue),
    /// One of these.
    Any(AnyOf),
}

/// `{ any = [4096, 1048576] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnyOf {
    /// Each seed draws one of these; one that stands there twice is twice as likely.
    #[schemars(length(min = 2))]
    pub any: Vec<PropertyValue>,
}

impl Setting {
    /// Every value that it may have.
    pub fn values(&self) -> &[PropertyValue] {
        match self {
            Setting::Fixed(value) => std::slice::from_ref(value),
            Setting::Any(AnyOf { any }) => any,
        }
    }
}

impl JsonSchema for Setting {
    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }
    fn inline_schema() -> bool {
        true
    }
    /// Both forms in one, so that an error of either names both.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = AnyOf::json_schema(generator);
        let types: Vec<&str> = PropertyValue::TYPES.iter().copied().chain(["object"]).collect();
        schema.insert("type".to_owned(), types.into());
        schema.insert("format".to_owned(), PropertyValue::FORMAT.into());
        let example = format!("{}, or {{ any = [4096, 65536] }}", PropertyValue::EXAMPLE);
        schema.insert("examples".to_owned(), vec![example].into());
        schema
    }
}

/// Who votes on metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// The brokers themselves.
    #[default]
    Combined,
    /// So many nodes that are controllers only.
    Separate(u32),
}
unit!(Controllers);

impl Unit for Controllers {
    const FORMAT: &'static str = "number of controllers";
    const TYPES: &'static [&'static str] = &["string", "integer"];
    const EXAMPLE: &'static str = "\"combined\" or 3";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let number = match leaf {
            Leaf::Text("combined") => return Ok(Controllers::Combined),
            Leaf::Text(text) => text.parse().ok(),
            Leaf::Integer(number) => Some(number),
            Leaf::Float(_) | Leaf::Boolean(_) => None,
        };
        match number {
            Some(number @ 1..=7) => Ok(Controllers::Separate(number as u32)),
            Some(number) => Err(format!("`{number}` controllers are not possible: 1 to 7, or \"combined\"")),
            None => Err(not_a::<Self>(leaf)),
        }
    }
}

impl fmt::Display for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Controllers::Combined => f.write_str("combined"),
            Controllers::Separate(number) => write!(f, "{number}"),
        }
    }
}
