//! Why a broker does not start, or stops.

use burnin_core::config::ConfigError;
use burnin_log::LogError;
use std::io;
use std::path::PathBuf;

/// Whose fault it is; programs turn it into their exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The configuration is wrong.
    Usage,
    /// The machine does not give what is needed: a port, a directory, room on the disk.
    Environment,
    /// The data or this program is wrong.
    Internal,
}

/// Why [`crate::Broker::start`] failed. The text names the thing, the value and the choices.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener could not be bound.
    #[error("failed to listen on {address} (property `listeners`): {}", bind_reason(source))]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The data directory could not be read or written.
    #[error("failed to {action} {path}: {source}")]
    Directory {
        /// What was tried, as in `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data directory belongs to another node or another cluster.
    #[error(
        "data directory {path} belongs to {property} `{found}`, but the configuration says `{wanted}`: use another \
         directory (property `log.dirs`) or set `{property}={found}`"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// `node.id` or `cluster.id`.
        property: &'static str,
        /// What its `meta.properties` says.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
    /// `meta.properties` is missing or wrong.
    #[error("data directory {path} is not usable: {reason}")]
    Unformatted {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The log directory could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// See [`StopError::Unregistered`].
    #[error("the broker is not registered: {0}")]
    Unregistered(String),
    /// The metadata log contradicts itself.
    #[error("metadata log in {path} is broken: {reason}")]
    Metadata {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn bind_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use by another process".to_owned(),
        _ => error.to_string(),
    }
}

impl StartError {
    /// Whose fault it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            StartError::Config(_) => ErrorClass::Usage,
            StartError::Foreign { .. } => ErrorClass::Usage,
            StartError::Listen { .. } | StartError::Directory { .. } | StartError::Log(_) => {
                ErrorClass::Environment
            }
            StartError::Unformatted { .. } | StartError::Unregistered(_) => ErrorClass::Environment,
            StartError::Metadata { .. } => ErrorClass::Internal,
        }
    }
}

/// Why a running broker stopped without being told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The last log directory failed: nothing can be acknowledged any more, and Kafka halts as well.
    #[error("the broker halts because its last log directory failed: {0}")]
    LogDirectory(String),
    /// The metadata log failed or contradicts itself.
    #[error("the node halts because of its metadata log: {0}")]
    Metadata(String),
    /// The controllers did not register it in time: nobody answers, or they refuse.
    #[error("the broker stops because it is not registered: {0}")]
    Unregistered(String),
    /// The log directory could not be closed in order.
    #[error("failed to close the log directory: {0}")]
    Shutdown(String),
}
