//! Kafka's wire: frames to typed requests and back, record batches, metadata records. Pure: no clock, no I/O, no task.
//!
//! Messages are the structs of `kafka-protocol`, re-exported in [`kafka`]; everything around them is here.
//!
//! | file | what it knows |
//! |---|---|
//! | `api.rs` | the one table of APIs: [`Api`], [`Request`], [`Response`] |
//! | `versions.rs` | what an ApiVersions response advertises |
//! | `frame.rs` | [`decode_request`], [`encode_response`] for a broker; [`encode_request`], [`decode_response`] for a client |
//! | `schema/`, `../schema/*.txt` | the bounds check, and the shapes that it walks by |
//! | `fetch.rs`, `parts.rs` | Fetch responses without copying record batches; [`Parts`] to send |
//! | `batch/` | record batches: header, records, builder, codecs, what a leader demands of a producer |
//! | `metadata_records/` | records of `__cluster_metadata` in Kafka's encoding |
//! | `control_records.rs` | control batches: what a quorum writes for itself |
//! | `error.rs` | [`ErrorCode`] |
//!
//! - **No byte from a socket reaches the decoder of `kafka-protocol` unchecked.** [`decode_request`] and
//!   [`decode_response`] are the only ways to decode a message; the crate's own `Decodable` is not re-exported.
//! - **What a frame takes to decode is bounded by its length** ([`memory_max`]), and what a compressed batch takes
//!   by the bound that its reader gives.
//! - **A peer's bytes give an `Err`, never a panic.** What panics is a message of ours that cannot be encoded.
//! - **Batches are passed on as bytes.** Nothing is encoded again that came from a client, and a Fetch response does
//!   not copy what the log holds.
//!
//! To add an API: a row in `api.rs`, and a stanza for each direction in `schema/`. The tests then hold all versions
//! of it against the protocol crate, byte by byte, without another line.
//!
//! ```
//! use burnin_wire::kafka::messages::MetadataRequest;
//! use burnin_wire::{Request, decode_request, encode_request};
//!
//! let mut frame = encode_request(12, 7, "docs", &MetadataRequest::default().into()).into_bytes();
//! let _length = frame.split_to(4);
//! let (header, request) = decode_request(frame)?;
//! assert_eq!((header.version, header.correlation_id), (12, 7));
//! assert!(matches!(request, Request::Metadata(_)));
//! # Ok::<(), burnin_wire::RequestError>(())
//! ```

pub mod api;
pub mod batch;
pub mod control_records;
pub mod error;
mod fetch;
mod frame;
pub mod metadata_records;
mod parts;
mod schema;
#[cfg(test)]
mod testing;
pub mod versions;

pub use api::{Api, Request, Response, Scope};
pub use error::ErrorCode;
pub use fetch::encode_fetch_response;
pub use frame::{
    RequestError, RequestHeader, ResponseError, decode_request, decode_response, encode_request,
    encode_response, response_correlation_id,
};
pub use parts::Parts;
pub use schema::memory_max;

pub use kafka_protocol::protocol::StrBytes;

/// The message structs of `kafka-protocol`, without its decoder:
///
/// ```compile_fail,E0432
/// use burnin_wire::kafka::protocol::Decodable;
/// ```
pub mod kafka {
    pub use kafka_protocol::ResponseError;
    pub use kafka_protocol::messages;
}
