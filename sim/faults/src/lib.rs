//! The faults of a simulated world.
//!
//! | file | faults |
//! |---|---|
//! | `process.rs` | kill, power loss, wipe, stop, restart, upgrade, pause |
//! | `disk.rs` | hang, slow, fail, full, short write, bit rot |
//! | `net.rs` | partition, half-open, reset, end, blackhole, slow, lossy, refuse, hanging connects |
//! | `clock.rs` | jump, drift |
//! | `apply.rs` | dispatches to these, and undoes |
//! | `budget.rs` | how many machines are impaired |
//!
//! How each of them is simulated is `sim/engine`'s, when it begins and ends is decided by `workloads/run`. Here is
//! decided whom it hits: roles are resolved at the moment a fault fires, and the impairment budget is kept.

mod apply;
mod budget;
mod cast;
mod clock;
mod disk;
mod net;
mod process;

pub use apply::{SimFaults, Undo};
pub use cast::{Broker, Cast, Cluster, Stopped};
