//! Carries a plan's fault schedule out in a simulated world.
//!
//! | file | faults |
//! |---|---|
//! | `process.rs` | kill, power loss, stop, restart, pause |
//! | `disk.rs` | hang, slow, fail, full, short write, bit rot |
//! | `net.rs` | partition, half-open, reset, end, slow, refuse, hanging connects |
//! | `clock.rs` | jump, drift |
//!
//! How each of them is simulated is `sim/engine`'s; when, to whom and for how long is decided here: roles are
//! resolved at the moment a fault fires, the impairment budget is kept, and every fault is undone at its end
//! or when everything is healed. A fault that cannot be applied is an error, and the run fails with it.

mod cast;
mod clock;
mod disk;
mod injector;
mod net;
mod process;

pub use cast::{Broker, Cast, Cluster, Stopped};
pub use injector::{Fired, Injector};

use std::fmt;

/// A fault could not be applied. The run proves nothing and fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultFailure {
    /// The schedule's entry.
    pub id: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for FaultFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault `{}` could not be applied: {}", self.id, self.why)
    }
}

impl std::error::Error for FaultFailure {}
