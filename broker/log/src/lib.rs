//! The durable log of the broker: Kafka's segments, indexes, checkpoints and producer snapshots, over
//! [`burnin_runtime::Disk`].
//!
//! A [`LogDir`] owns a directory and one writer task; a [`Log`] is a partition in it. Appending and reading at the
//! tail are synchronous; the writer commits in groups and publishes what became durable. An acknowledgement means
//! fsynced unless `flush.messages` says otherwise. Recovery needs nothing beyond the disk model of the runtime.
//!
//! | file | responsible for |
//! |---|---|
//! | `dir.rs` | a log directory: opening, creating, deleting, shutdown |
//! | `log.rs`, `append.rs` | a log: its state, the synchronous questions, appending |
//! | `read.rs`, `walk.rs`, `lookup.rs` | reading from segment files, lookups by timestamp |
//! | `writer.rs`, `commit.rs` | group commit, rolling, checkpoints |
//! | `ops.rs`, `truncate.rs` | deletion, retention, shutdown, truncation, on the writer |
//! | `load.rs`, `scan.rs`, `rebuild.rs` | recovery |
//! | `audit.rs` | what recovery concluded, compared with the log, when somebody listens |
//! | `index.rs`, `epochs.rs`, `lineage.rs`, `producers.rs`, `segment.rs`, `tail.rs` | the state, pure |
//! | `checkpoint.rs`, `snapshot.rs`, `files.rs` | Kafka's formats and names, pure |

mod append;
mod audit;
mod checkpoint;
mod commit;
mod config;
mod dir;
mod disk;
mod epochs;
mod error;
mod files;
mod index;
mod lineage;
mod load;
mod log;
mod lookup;
mod ops;
mod producers;
mod read;
mod rebuild;
mod scan;
mod segment;
mod shared;
mod snapshot;
mod tail;
mod truncate;
mod waiters;
mod walk;
mod writer;

pub use append::Appended;
pub use checkpoint::{base64_uuid, clean_shutdown_epoch, parse_base64_uuid};
pub use config::{LogConfig, LogDirConfig, StopFlag, TimestampType};
pub use dir::LogDir;
pub use epochs::{EpochCache, EpochEntry};
pub use error::{AppendError, LogError, ReadError};
pub use files::TopicPartition;
pub use log::{Log, ReadResult};
pub use producers::{BatchMetadata, Origin, ProducerEntry, ProducerTable};
pub use waiters::{Event, Listener, Waiters, Watch};
