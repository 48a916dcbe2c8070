//! Records of `__cluster_metadata`, in Kafka's own encoding, so that Apache's tools read our metadata log.
//!
//! The value of such a record is three unsigned varints (frame version 1, record type, record version) and the
//! fields of a message that is flexible in all its versions. The table in `table.rs` is Kafka's
//! `metadata/src/main/resources/common/metadata/*.json` of 4.3; `fixtures/metadata_records.txt` has records that
//! Kafka 4.3.1 wrote, and the tests read and write each of them byte by byte.

pub(crate) mod codec;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod tests;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use codec::{put_varint, take_varint};
pub use table::*;

/// Kafka's `AbstractApiMessageSerde.DEFAULT_FRAME_VERSION`.
const FRAME_VERSION: u32 = 1;

/// Why a record is not read. A metadata log with such a record is refused as a whole: skipping it would make this
/// node's state differ from that of the others.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MetadataRecordError {
    #[error("frame version {0} (known: 1)")]
    Frame(u32),
    #[error("unknown metadata record type {0}")]
    Unknown(u32),
    #[error("unsupported version {version} of {name} (known: {min} to {max})")]
    Version { name: &'static str, version: u32, min: i16, max: i16 },
    #[error("malformed metadata record: {0}")]
    Malformed(&'static str),
}

impl MetadataRecord {
    /// The value of a record of this version.
    ///
    /// # Panics
    /// When the record has no such version, or a field is set that the version cannot carry: bugs of the caller,
    /// who takes the version from the finalized `metadata.version`.
    pub fn encode(&self, version: i16) -> Bytes {
        let (min, max) = self.versions();
        assert!((min..=max).contains(&version), "{} has versions {min} to {max}, not {version}", self.name());
        let mut buf = BytesMut::with_capacity(64);
        put_varint(&mut buf, FRAME_VERSION);
        put_varint(&mut buf, self.api_key().into());
        put_varint(&mut buf, version as u32);
        self.put(&mut buf, version);
        buf.freeze()
    }

    /// Reads the value of a record: what it is, and its version. Unknown tagged fields are passed over.
    pub fn decode(value: &[u8]) -> Result<(MetadataRecord, i16), MetadataRecordError> {
        let bytes = &mut &value[..];
        let frame = take_varint(bytes)?;
        if frame != FRAME_VERSION {
            return Err(MetadataRecordError::Frame(frame));
        }
        let api_key = take_varint(bytes)?;
        let version = take_varint(bytes)?;
        let decoded = MetadataRecord::take(api_key, version, bytes)?;
        if bytes.is_empty() {
            Ok(decoded)
        } else {
            Err(MetadataRecordError::Malformed("bytes after the end"))
        }
    }
}
