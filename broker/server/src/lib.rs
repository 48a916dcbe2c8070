//! The broker: connections, handlers and tasks over the log and the metadata, generic over the runtime.
//!
//! | file | responsible for |
//! |---|---|
//! | `broker.rs`, `recovery.rs`, `storage.rs` | start and end of a broker; the data directory |
//! | `connection.rs`, `frames.rs`, `reply.rs`, `limits.rs` | one task per connection; order of responses; limits |
//! | `produce.rs`, `recompress.rs`, `fetch/` | the hot paths |
//! | `handlers/` | every other API, one file per subject |
//! | `controller.rs` | the metadata log: decide, append, apply |
//! | `partitions.rs`, `shared.rs` | what they share |

mod broker;
mod connection;
mod controller;
mod error;
mod fetch;
mod frames;
mod handlers;
mod limits;
mod partitions;
mod produce;
mod recompress;
mod recovery;
mod reply;
mod shared;
mod storage;

pub use broker::Broker;
pub use burnin_core::config::{BrokerConfig, ConfigError};
pub use error::{ErrorClass, StartError, StopError};
