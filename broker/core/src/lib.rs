//! What decides: configuration, metadata, the quorum, the controller and partitions, as plain state machines
//! without I/O.
//!
//! Nothing here is generic over the runtime: functions take what they need (time, randomness, the current
//! image) and return what is to be done. `broker/server` does it.

pub mod config;
pub mod controller;
mod ids;
pub mod metadata;
pub mod partition;
pub mod quorum;
mod release;

pub use ids::{decode_id, encode_id, fresh_id};
pub use release::{Release, fetch_version, list_offsets_version};
