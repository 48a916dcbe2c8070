//! What can go wrong, in words.

use crate::net::RequestFailure;
use burnin_wire::{Api, ErrorCode};
use thiserror::Error;

/// Why a call of the client gave no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// A setting has no meaning, or contradicts another.
    #[error("invalid client setting: {0}")]
    InvalidConfig(String),
    /// No broker could be asked within the time that the call had.
    #[error("timed out after {waited_ms} ms: {what} (last error: {last})")]
    TimedOut {
        /// What was tried.
        what: String,
        /// For how long.
        waited_ms: u128,
        /// What the last attempt said.
        last: String,
    },
    /// One request failed, without a retry.
    #[error("{api} request to broker {node} failed: {failure}")]
    Request {
        /// Which API.
        api: Api,
        /// Which broker (negative: a bootstrap server).
        node: i32,
        /// How.
        failure: RequestFailure,
    },
    /// A broker refused.
    #[error("{what} failed: {code}{}", .message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Broker {
        /// What was asked, with the thing's name.
        what: String,
        /// Kafka's error.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
        /// Whether an earlier attempt may have taken effect: its answer was lost, or said nothing for certain.
        maybe: bool,
    },
    /// The producer has as much in its buffer as it may.
    #[error("the producer's buffer is full: {buffered} of {limit} bytes")]
    BufferFull {
        /// Bytes that wait.
        buffered: usize,
        /// `buffer.memory`.
        limit: usize,
    },
    /// One call's records are larger than a request may be.
    #[error("{bytes} bytes of records are more than max.request.size ({limit})")]
    TooLarge {
        /// Bytes of the records.
        bytes: usize,
        /// `max.request.size`.
        limit: usize,
    },
    /// The producer, consumer or client was closed.
    #[error("the {0} is closed")]
    Closed(&'static str),
}

impl ClientError {
    /// The broker's error code, if a broker refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Of one request: whether a broker may have got it.
    pub(crate) fn may_have_been_sent(&self) -> bool {
        match self {
            ClientError::Request { failure, .. } => failure.may_have_been_sent(),
            _ => true,
        }
    }
}
