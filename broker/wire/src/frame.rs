//! Frames: the 4-byte length, the header, the body.
//!
//! The reader of a connection cuts frames and hands them in *without* the length; what goes out carries it.

use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use crate::api::{Api, Request, Response};
use crate::fetch::encode_fetch_response;
use crate::parts::Parts;
use crate::schema::{self, Direction, WalkError};

/// What a request says before its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    pub api: Api,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
}

/// Why a request was not decoded. Kafka closes the connection for all of them but one: an `ApiVersions` request
/// of a version that is too new is answered with [`crate::versions::unsupported_api_versions`] (KIP-511).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RequestError {
    #[error("unknown api key {api_key} (version {version}, correlation id {correlation_id})")]
    UnknownApi { api_key: i16, version: i16, correlation_id: i32 },
    #[error("unsupported version {version} of {api} (known: {}, correlation id {correlation_id})", .api.versions())]
    UnsupportedVersion { api: Api, version: i16, correlation_id: i32 },
    #[error("malformed request: {0}")]
    Malformed(String),
}

/// Why a response was not decoded. The connection that it came from is of no more use.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ResponseError {
    #[error("unsupported version {version} of {api}")]
    UnsupportedVersion { api: Api, version: i16 },
    #[error("malformed {api} v{version} response: {reason}")]
    Malformed { api: Api, version: i16, reason: String },
}

/// Decodes one request frame, given without its length. Whatever the bytes are, it does not panic, and it allocates
/// at most [`crate::memory_max`] of the frame's length, besides the text of an error.
pub fn decode_request(frame: Bytes) -> Result<(RequestHeader, Request), RequestError> {
    let malformed = |reason: String| RequestError::Malformed(reason);
    if frame.len() < 8 {
        return Err(malformed(format!("frame of {} bytes is shorter than a request header", frame.len())));
    }
    let mut body = frame;
    let api_key = body.get_i16();
    let version = body.get_i16();
    let correlation_id = body.get_i32();
    let api = Api::from_key(api_key).ok_or(RequestError::UnknownApi { api_key, version, correlation_id })?;
    let versions = api.versions();
    if !(versions.min..=versions.max).contains(&version) {
        return Err(RequestError::UnsupportedVersion { api, version, correlation_id });
    }
    let client_id = take_nullable_string(&mut body).map_err(malformed)?;
    if api.request_header_version(version) >= 2 {
        schema::skip_tags(&mut body)
            .map_err(|error| malformed(format!("{api} v{version} header: {error}")))?;
    }
    let checked = match schema::check(api, Direction::Request, version, &body) {
        // Kafka's parser never looks at bytes behind the body, and clients rely on it: librdkafka 2.16 sends three
        // of them with a Metadata request for all topics.
        Err(WalkError::Trailing { left }) => {
            body.truncate(body.len() - left);
            schema::check(api, Direction::Request, version, &body)
        }
        checked => checked,
    };
    checked.map_err(|error| malformed(format!("{api} v{version}: {error}")))?;
    let request = Request::decode(api, version, &mut body)
        .map_err(|error| malformed(format!("{api} v{version}: {}", error.0)))?;
    Ok((RequestHeader { api, version, correlation_id, client_id }, request))
}

/// The correlation id of a response frame, or `None` when the frame is shorter than that.
pub fn response_correlation_id(frame: &Bytes) -> Option<i32> {
    frame.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Decodes one response frame, given without its length, that answers a request of `api` and `version`. Bounded
/// as [`decode_request`] is.
pub fn decode_response(api: Api, version: i16, frame: Bytes) -> Result<Response, ResponseError> {
    let malformed = |reason: String| ResponseError::Malformed { api, version, reason };
    let versions = api.versions();
    if !(versions.min..=versions.max).contains(&version) {
        return Err(ResponseError::UnsupportedVersion { api, version });
    }
    if frame.len() < 4 {
        return Err(malformed(format!("frame of {} bytes is shorter than a response header", frame.len())));
    }
    let mut body = frame;
    body.advance(4);
    if api.response_header_version(version) >= 1 {
        schema::skip_tags(&mut body).map_err(|error| malformed(format!("header: {error}")))?;
    }
    schema::check(api, Direction::Response, version, &body).map_err(|error| malformed(error.to_string()))?;
    Response::decode(api, version, &mut body).map_err(|error| malformed(error.0))
}

/// Encodes a request, length included.
///
/// # Panics
/// When the request has a field set that `version` cannot carry: that is a bug of the caller.
pub fn encode_request(version: i16, correlation_id: i32, client_id: &str, request: &Request) -> Parts {
    let api = request.api();
    let mut buf = Vec::with_capacity(256 + records_len(request));
    buf.put_i32(0);
    buf.put_i16(api.key());
    buf.put_i16(version);
    buf.put_i32(correlation_id);
    buf.put_i16(i16::try_from(client_id.len()).expect("client id is shorter than 32 KiB"));
    buf.put_slice(client_id.as_bytes());
    if api.request_header_version(version) >= 2 {
        buf.put_u8(0);
    }
    if let Err(error) = request.encode(&mut buf, version) {
        panic!("{api} v{version} request cannot be encoded: {}", error.0);
    }
    finish(buf)
}

/// Encodes the response to the request with this header, length included. Records of a Fetch response are not
/// copied; see [`encode_fetch_response`] for batches in several pieces.
///
/// # Panics
/// When the response is of another API, or has a field set that the version cannot carry: a bug of the caller.
pub fn encode_response(header: &RequestHeader, response: &Response) -> Parts {
    let RequestHeader { api, version, .. } = *header;
    assert!(response.api() == api, "response of {} to a request of {api}", response.api());
    if let Response::Fetch(response) = response {
        return encode_fetch_response(header, response, &[]);
    }
    let mut buf = response_start(header, 256);
    if let Err(error) = response.encode(&mut buf, version) {
        panic!("{api} v{version} response cannot be encoded: {}", error.0);
    }
    finish(buf)
}

/// Bytes of the record batches that a request carries.
fn records_len(request: &Request) -> usize {
    let Request::Produce(produce) = request else {
        return 0;
    };
    let partitions = produce.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.filter_map(|partition| partition.records.as_ref()).map(Bytes::len).sum()
}

/// The length (zero for now) and the response header.
pub(crate) fn response_start(header: &RequestHeader, capacity: usize) -> Vec<u8> {
    let mut buf = Vec::with_capacity(capacity);
    buf.put_i32(0);
    buf.put_i32(header.correlation_id);
    if header.api.response_header_version(header.version) >= 1 {
        buf.put_u8(0);
    }
    buf
}

fn finish(mut buf: Vec<u8>) -> Parts {
    let length = frame_length(buf.len() - 4);
    buf[..4].copy_from_slice(&length);
    Parts::from(Bytes::from(buf))
}

pub(crate) fn frame_length(length: usize) -> [u8; 4] {
    i32::try_from(length).expect("a frame is shorter than 2 GiB").to_be_bytes()
}

fn take_nullable_string(body: &mut Bytes) -> Result<Option<StrBytes>, String> {
    if body.len() < 2 {
        return Err("header ends before the client id".to_owned());
    }
    let length = body.get_i16();
    match usize::try_from(length) {
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(format!("client id has length {length}")),
        Ok(length) if length > body.len() => {
            Err(format!("client id of {length} bytes in a frame with {} left", body.len()))
        }
        Ok(length) => StrBytes::from_utf8(body.split_to(length))
            .map(Some)
            .map_err(|error| format!("client id is not UTF-8: {error}")),
    }
}
