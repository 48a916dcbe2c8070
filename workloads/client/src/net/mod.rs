//! Connections: one per broker and lane, one task each.
//!
//! `connection.rs` is the handle that producers, consumers and admin calls put requests into; `driver.rs` is
//! the task behind it (connect, negotiate versions, reconnect with backoff); `pump.rs` moves the bytes of an
//! established connection. Answers are handed to a [`ResponseHandler`] on the connection's own task, which may
//! send the next request from there: no other task has to wake up.

mod connection;
mod driver;
mod pump;
mod versions;

pub(crate) use connection::{Connection, Lane, NetworkListener, Queued, Reply, ResponseHandler};
pub(crate) use driver::{Dial, run};
pub(crate) use versions::Versions;

use burnin_wire::Api;
use std::sync::Arc;
use thiserror::Error;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestFailure {
    /// No connection could be made: not a byte was sent.
    #[error("no connection: {0}")]
    NotConnected(Arc<str>),
    /// The connection broke.
    #[error("the connection broke{}: {reason}", if *.sent { "" } else { " before the request was sent" })]
    Disconnected {
        /// Whether any byte of the request was handed to the network.
        sent: bool,
        /// What broke it.
        reason: Arc<str>,
    },
    /// No answer came within the request's timeout; the connection was given up.
    #[error("no answer within the request timeout{}", if *.sent { "" } else { " (not yet sent)" })]
    TimedOut {
        /// Whether any byte of the request was handed to the network.
        sent: bool,
    },
    /// The broker has no version of this API that the client speaks.
    #[error("the broker does not support {0}")]
    Unsupported(Api),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl RequestFailure {
    /// Whether any byte of the request may have reached the broker.
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            RequestFailure::Disconnected { sent, .. } | RequestFailure::TimedOut { sent } => *sent,
            RequestFailure::NotConnected(_) | RequestFailure::Unsupported(_) | RequestFailure::Closed => {
                false
            }
        }
    }
}
