//! The metadata of the cluster: a log of Kafka's metadata records, and the image that they add up to.
//!
//! A change goes request -> records -> append -> apply. The functions of `topics.rs` and `configs.rs` make
//! records from a request and the current [`Image`] and change nothing; whoever owns the log appends them;
//! [`Image::apply`] replays them, on the writer as on every reader.

mod configs;
mod image;
mod image_records;
mod names;
mod partition;
mod records;
mod registration;
mod snapshot;
mod topics;

pub use configs::{AlterOp, ConfigOp, alter_configs, replace_configs};
pub use image::{Image, ResourceType, Topic};
pub use names::{METADATA_TOPIC, check_topic_name};
pub use partition::Partition;
pub(crate) use records::{METADATA_VERSION_ELR, METADATA_VERSION_MIN};
pub use records::{METADATA_VERSION_NAME, RecordRefused, RecordVersions};
pub use registration::{Broker, ControllerNode, FeatureRanges};
pub use snapshot::{
    Snapshot, SnapshotError, SnapshotParts, encode_snapshot, parse_snapshot_name, read_snapshot,
    snapshot_name,
};
pub use topics::{
    CreatedTopic, Defaults, NewPartitions, NewTopic, create_partitions, create_topics, delete_topic,
};

use burnin_wire::ErrorCode;

/// Kafka's error code with a message for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The code on the wire.
    pub code: ErrorCode,
    /// What is wrong, with the value.
    pub message: String,
}

impl ApiError {
    /// From code and text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into() }
    }
}
