//! Record batches of magic 2 (KIP-98), the only format there is: on the wire, in segments, in snapshots.
//!
//! A batch is a header of 61 bytes and records, which may be compressed as a whole. The broker passes batches on
//! as bytes: it reads the header ([`BatchHeader`]), stamps what it owns ([`assign`]) and looks into the records
//! only to validate them ([`validate_produce`]) or to search them ([`records`]).

mod builder;
mod compression;
mod header;
mod produce;
mod records;
#[cfg(test)]
mod tests;
mod varint;

pub use builder::{BatchBuilder, BatchOptions};
pub use compression::{Compression, DECOMPRESSED_MAX};
pub use header::{
    BatchError, BatchHeader, Batches, HEADER_LEN, TimestampType, assign, batches, set_max_timestamp, split,
    verify_crc,
};
pub use produce::{ProduceError, ProduceLimits, Validated, validate_produce};
pub use records::{Header, Headers, Record, RecordIter, Records, records, records_with_max};
