//! The broker: connections, handlers and tasks over the log and the metadata, generic over the runtime.
//!
//! | file | responsible for |
//! |---|---|
//! | `broker.rs`, `recovery.rs`, `storage.rs` | start and end of a broker; the data directory |
//! | `connection.rs`, `frames.rs`, `reply.rs`, `limits.rs` | one task per connection; order of responses; limits |
//! | `produce.rs`, `recompress.rs`, `fetch/` | the hot paths |
//! | `handlers/` | every other API, one file per subject |
//! | `quorum/`, `peer.rs` | the metadata log and its replicas; connections to other nodes |
//! | `controller/` | decides what is written to the metadata log, while this node leads the quorum |
//! | `loader.rs` | applies what is committed |
//! | `lifecycle.rs` | the broker registers and says that it is alive |
//! | `replica/` | the partitions follow the metadata |
//! | `partitions.rs`, `shared.rs` | what they share |

mod broker;
mod connection;
mod controller;
mod error;
mod fetch;
mod frames;
mod handlers;
mod hints;
mod lifecycle;
mod limits;
mod loader;
mod partitions;
mod peer;
mod produce;
mod quorum;
mod recompress;
mod replica;
mod reply;
mod shared;
mod storage;
mod watched;

pub use broker::Broker;
pub use burnin_core::Release;
pub use burnin_core::config::{BrokerConfig, ConfigError};
pub use error::{ErrorClass, StartError, StopError};
pub use storage::{InitialController, InitialVoters, format, random_id};
