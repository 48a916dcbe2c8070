//! Workloads: what clients do while faults are injected, one driver per file. Each writes what it asked and
//! what it was told into a history, and checks nothing itself.
//!
//! | file | what |
//! |---|---|
//! | `recorder.rs` | stamps events and hands them to whoever listens |
//! | `topology.rs` | the numbers of topics and partitions in a history |
//! | `append_unique.rs` | writers of self-describing records |
//! | `poll.rs` | readers by assignment, which sometimes jump and sometimes list offsets |
//! | `final_read.rs` | the full re-read at the end |
//! | `admin.rs`, `admin/` | an administrator: partitions are moved, topics come and go |
//! | `admin_ops.rs` | creating topics, deleting records |
//! | `progress.rs` | counters that say whether writers and readers get on |
//! | `stop.rs` | how a driver is told to end |

mod admin;
mod admin_ops;
mod append_unique;
mod final_read;
mod poll;
mod progress;
mod recorder;
mod seen;
mod stop;
mod topology;

pub use admin::{
    AdminConfig, AdminOperation, AdminProgress, AdminTopic, Described, administrate, describe_settled,
};
pub use admin_ops::{DeleteRecordsConfig, delete_records, ensure_topic};
pub use append_unique::{AppendConfig, Pace, append_unique};
pub use final_read::{FinalReadConfig, FinalReadReport, final_read};
pub use poll::{PollConfig, Start, poll};
pub use progress::{ReaderProgress, WriterProgress};
pub use recorder::Recorder;
pub use stop::Stop;
pub use topology::{Part, Topology};
