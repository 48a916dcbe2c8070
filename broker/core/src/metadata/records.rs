//! Which version of each metadata record is written, and the bytes of a record.

use burnin_wire::metadata_records::{MetadataRecord, MetadataRecordError};
use bytes::Bytes;

/// The feature that says which records may be written, and the level that is written here: that of Kafka 4.0
/// (`MetadataVersion.IBP_4_0_IV3`).
pub const METADATA_VERSION: (&str, i16) = ("metadata.version", 25);

/// From this level on partitions carry eligible leader replicas (`MetadataVersion.isElrSupported`, KIP-966).
pub(crate) const METADATA_VERSION_ELR: i16 = 23;

/// The value of a record, in the version that [`METADATA_VERSION`] calls for.
pub fn encode_record(record: &MetadataRecord) -> Bytes {
    encode_record_at(METADATA_VERSION.1, record)
}

/// The value of a record, in the version that this level of `metadata.version` calls for (`MetadataVersion`:
/// `registerBrokerRecordVersion`, `partitionRecordVersion`, `partitionChangeRecordVersion`). Levels from 21
/// (Kafka 3.9) on.
pub fn encode_record_at(level: i16, record: &MetadataRecord) -> Bytes {
    let partition = if level >= METADATA_VERSION_ELR { 2 } else { 1 };
    let version = match record {
        MetadataRecord::RegisterBroker(_) => 3,
        MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => partition,
        MetadataRecord::BrokerRegistrationChange(_) => 2,
        _ => 0,
    };
    record.encode(version)
}

/// Reads the value of a record, in any version that is known.
pub fn decode_record(value: &[u8]) -> Result<MetadataRecord, MetadataRecordError> {
    MetadataRecord::decode(value).map(|(record, _)| record)
}
