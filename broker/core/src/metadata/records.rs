//! Which version of each metadata record is written and read, and the bytes of a record.

use super::FeatureRanges;
use burnin_wire::metadata_records::{MetadataRecord, MetadataRecordError};
use bytes::Bytes;

/// The feature that says which records may be written.
pub const METADATA_VERSION_NAME: &str = "metadata.version";

/// The lowest level that is written here: that of Kafka 3.9 (`MetadataVersion.IBP_3_9_IV0`).
pub(crate) const METADATA_VERSION_MIN: i16 = 21;

/// From this level on partitions carry eligible leader replicas (`MetadataVersion.isElrSupported`, KIP-966).
pub(crate) const METADATA_VERSION_ELR: i16 = 23;

/// The version of a record that this level of `metadata.version` calls for (`MetadataVersion`:
/// `registerBrokerRecordVersion`, `partitionRecordVersion`, `partitionChangeRecordVersion`).
fn version_at(level: i16, record: &MetadataRecord) -> i16 {
    let partition = if level >= METADATA_VERSION_ELR { 2 } else { 1 };
    match record {
        MetadataRecord::RegisterBroker(_) => 3,
        MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => partition,
        MetadataRecord::BrokerRegistrationChange(_) => 2,
        _ => 0,
    }
}

/// Why a record of the metadata log or of a snapshot is refused. What it is part of is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefused {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] MetadataRecordError),
    /// Whoever wrote it did not keep to what the cluster has agreed on.
    #[error("{name} has version {version}, and metadata.version {level} calls for {expected} at most")]
    TooNew { name: &'static str, version: i16, level: i16, expected: i16 },
    /// This node is too old, or too new, for the cluster.
    #[error("{name} is finalized at level {level}, and this node supports {min} to {max}")]
    Unsupported { name: String, level: i16, min: i16, max: i16 },
}

/// Writes or reads records one after the other, each in the version that the level of `metadata.version` at its place
/// calls for: a record that changes the level counts for those behind it.
#[derive(Clone, Copy, Debug)]
pub struct RecordVersions {
    level: i16,
}

impl RecordVersions {
    /// From a place where this level is finalized.
    pub fn at(level: i16) -> RecordVersions {
        RecordVersions { level }
    }

    /// The value of a record.
    pub fn encode(&mut self, record: &MetadataRecord) -> Bytes {
        let value = record.encode(version_at(self.level, record));
        self.passed(record);
        value
    }

    /// Reads the value of a record, on a node that supports these features. A record of a later version than the
    /// level calls for is refused, also where its bytes could be read: nodes that are older could not, and their state
    /// would differ. (Kafka reads whatever it knows.)
    pub fn decode(
        &mut self,
        value: &[u8],
        supported: &FeatureRanges,
    ) -> Result<MetadataRecord, RecordRefused> {
        let (record, version) = MetadataRecord::decode(value)?;
        let (level, expected) = (self.level, version_at(self.level, &record));
        if version > expected {
            return Err(RecordRefused::TooNew { name: record.name(), version, level, expected });
        }
        if let MetadataRecord::FeatureLevel(feature) = &record {
            let (name, level) = (feature.name.clone(), feature.feature_level);
            let (min, max) = supported.get(&name).copied().unwrap_or((0, 0));
            if level != 0 && !(min..=max).contains(&level) {
                return Err(RecordRefused::Unsupported { name, level, min, max });
            }
        }
        self.passed(&record);
        Ok(record)
    }

    fn passed(&mut self, record: &MetadataRecord) {
        if let MetadataRecord::FeatureLevel(feature) = record
            && feature.name == METADATA_VERSION_NAME
        {
            self.level = feature.feature_level;
        }
    }
}
