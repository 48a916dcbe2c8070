//! The scenario format: what a file may say, what a seed makes of it, and every error in between.
//!
//! A [`Scenario`] is read from strict TOML ([`Scenario::load`]); all errors of a file are reported at once,
//! each with its place, its value and the choices. [`Scenario::resolve`] draws everything that is left open
//! from a seed and gives a [`Plan`]: an explicit schedule that can be saved, edited, loaded and run without
//! the generator. This crate runs nothing: `sim/cluster` runs plans, `cli` and the test attribute make them.

mod action;
mod check;
mod document;
mod fault;
mod load;
mod names;
mod overrides;
mod plan;
mod problem;
mod ranges;
mod rates;
mod release;
mod resolve;
mod scenario;
mod seed;
mod selector;
mod units;
mod validate;
mod workload;

pub use action::{Action, Cut};
pub use check::{Check, CheckKind, EVENTS, Expect};
pub use fault::{
    Capability, Direction, DiskOp, Dist, Every, Fault, FaultKind, FileClass, Forgets, Lasting, Shape,
};
pub use names::{choices, nearest};
pub use plan::{
    ConsumerPlan, Durability, PLAN_VERSION, Plan, ProducerPlan, RunPlan, ScheduledFault, TopicPlan,
    TopologyPlan, WorkloadAction, WorkloadPlan,
};
pub use problem::{Problem, Problems};
pub use ranges::{CountRange, DurRange, Range, SignedDurRange, SizeRange};
pub use rates::{Pace, Probability, Rate};
pub use release::Release;
pub use scenario::{
    AckMeans, AnyOf, Budget, Controllers, DiskModel, NetworkModel, PropertyValue, Run, SCHEMA_VERSION,
    Scenario, Setting, SimTarget, StopOn, Targets, Topic, Topology,
};
pub use seed::{Seed, Seeds, Shard};
pub use selector::{FORMS, PartitionRef, Selector};
pub use units::{Dur, Leaf, SignedDur, Size, Unit};
pub use validate::{PropertyRule, PropertyRules};
pub use workload::{
    AcksSetting, Admin, AdminOperation, AppendUnique, CompressionType, ConsumerProperties, Poll,
    ProducerProperties, Start, Workload, WorkloadKind,
};
