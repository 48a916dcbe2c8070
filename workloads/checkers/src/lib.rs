//! Checkers: a history goes in, a verdict comes out. One property per file.
//!
//! A checker sees the [`burnin_history::Event`]s and what [`Facts`] derives from them, and nothing else, so that
//! the same checkers judge a simulated broker, our own processes and Apache Kafka. Everything streams: an event is
//! looked at when it happens and then dropped, and what is kept (interval sets, rings of recent facts, block
//! hashes) is bounded by the number of partitions, producers and faults, not by the number of records. Where that
//! costs detail (a ring has moved on), the verdict stays right and the message says less: the same seed can be run
//! again with more recording.
//!
//! What a contract allows to be lost is computed from the faults in [`licence`]; all else is a violation. Anomalies
//! have Jepsen's names where Jepsen has one.

mod b13_offsets;
mod b14_metadata;
mod b16_final_read;
mod b17_convergence;
mod b18_answers;
mod b1_agreement;
mod b2_coverage;
mod b3_exactly_once;
mod b4_real_time;
mod b5_continuity;
mod b6_integrity;
mod canon;
mod checker;
mod digest;
mod facts;
mod intervals;
pub mod licence;
mod pending;
pub mod replicas;
mod set;
mod topic_states;
mod verdict;
mod w1_quorum;
mod w2_partition;
mod w3_ack;
mod w4_disk;
mod walk;
mod words;

pub use b1_agreement::Agreement;
pub use b2_coverage::Coverage;
pub use b3_exactly_once::ExactlyOnce;
pub use b4_real_time::RealTime;
pub use b5_continuity::Continuity;
pub use b6_integrity::Integrity;
pub use b13_offsets::Offsets;
pub use b14_metadata::TopicMetadata;
pub use b16_final_read::FinalRead;
pub use b17_convergence::Convergence;
pub use b18_answers::Answers;
pub use checker::{Checker, Class, Findings, KEPT_MAX, Property, Violation};
pub use digest::{Digest, Foreign, Run};
pub use facts::{Ack, Facts, Op, PartitionFacts, SlotFacts};
pub use intervals::IntervalSet;
pub use set::{CheckSet, properties};
pub use verdict::{Summary, Verdict};
pub use w1_quorum::QuorumSafety;
pub use w2_partition::PartitionSafety;
pub use w3_ack::AckSafety;
pub use w4_disk::DiskState;
