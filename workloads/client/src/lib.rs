//! A Kafka client that runs on any [`burnin_runtime::Runtime`], and says about every attempt to write what is
//! known about its effect: applied, not applied, or nobody can say.
//!
//! | file | what |
//! |---|---|
//! | `client.rs` | the connections to a cluster and its metadata, shared by everything below |
//! | `net/` | one connection: pipelining, timeouts, reconnects, version negotiation |
//! | `metadata.rs` | who leads what |
//! | `outcome.rs` | the table from error codes to outcomes |
//! | `producer/` | batching, ordering, retries, idempotence |
//! | `consumer/` | reading by assignment, fetch sessions, resets |
//! | `admin.rs` | topics, configs, offsets |
//! | `admin_partitions.rs` | reassignments, elections |
//! | `admin_describe.rs` | a topic as one broker knows it |

mod admin;
mod admin_describe;
mod admin_features;
mod admin_partitions;
mod backoff;
mod client;
mod config;
mod consumer;
mod error;
mod metadata;
mod net;
pub mod outcome;
mod producer;
mod requests;

pub use admin::{Admin, ClusterInfo, ConfigEntry, ConfigResource, ListedOffset, NewTopic};
pub use admin_describe::DescribeBy;
pub use admin_partitions::{DescribedTopic, Reassigning};
pub use backoff::Backoff;
pub use client::Client;
pub use config::{ClientConfig, ConsumerConfig, OffsetReset, ProducerConfig};
pub use consumer::{Consumer, ConsumerEvent, Fetched, StartAt};
pub use error::ClientError;
pub use metadata::{BrokerInfo, Metadata, PartitionInfo, PartitionRef, TopicInfo, TopicRef};
pub use net::RequestFailure;
pub use producer::{Producer, ProducerEvent, ProducerObserver, RecordRef};

pub use burnin_wire::ErrorCode;
pub use burnin_wire::batch::Compression;
