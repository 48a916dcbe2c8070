//! Kafka frames to typed requests and back; record batches; metadata records. Pure: no clock, no I/O.
//!
//! Messages are the structs of `kafka-protocol`, re-exported as [`kafka`].

pub mod api;
pub mod batch;
pub mod error;
mod fetch;
mod frame;
pub mod metadata_records;
mod parts;
mod schema;
#[cfg(test)]
mod testing;
pub mod versions;

pub use api::{Api, Request, Response};
pub use error::ErrorCode;
pub use fetch::encode_fetch_response;
pub use frame::{
    RequestError, RequestHeader, ResponseError, decode_request, decode_response, encode_request,
    encode_response, response_correlation_id,
};
pub use parts::Parts;
pub use schema::memory_max;

pub use kafka_protocol as kafka;
pub use kafka_protocol::protocol::StrBytes;
