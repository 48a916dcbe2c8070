//! What a run is on every target: the plan's topics, workloads and schedule of faults, the history with its checkers,
//! the end in which everything settles and is read back, and the report. How nodes are started and faults applied is
//! the target's (`sim/cluster`, `trogdor-agents/process`).
//!
//! | file | what |
//! |---|---|
//! | `nodes.rs` | the nodes of a plan, and each one's properties |
//! | `stage.rs` | what workloads need of the place where they run |
//! | `workloads.rs` | the plan's workloads as drivers |
//! | `history.rs` | where the history goes: checkers, and counters of what happened |
//! | `voter_changes.rs` | which voters of the metadata quorum are committed |
//! | `phases.rs` | from boot to final read |
//! | `schedule.rs` | which fault is due when |
//! | `injector.rs` | carries the schedule out |
//! | `health.rs` | how the replicas are, on a target that looks inside |
//! | `failover.rs` | how long partitions had no leader, on such a target |
//! | `settle.rs` | progress after everything was healed, and the final read |
//! | `outcome.rs` | how a run ended, before anybody judges it |
//! | `report.rs` | what came out, as a report |

mod failover;
mod health;
mod history;
mod injector;
mod nodes;
mod outcome;
mod phases;
mod report;
mod schedule;
mod settle;
mod stage;
mod voter_changes;
mod workloads;

pub use failover::Failover;
pub use health::{Ends, Health};
pub use history::History;
pub use injector::{AllHeld, Applied, Faults, Held, Injector, Restart, is_held_down};
pub use nodes::{Listener, Machine, brokers, initial_controllers, machines, membership, properties};
pub use outcome::{Broke, Ended, Fired};
pub use phases::phases;
pub use report::{Measured, of_run};
pub use stage::{Stage, elects_uncleanly};
pub use voter_changes::{VoterChange, VoterChanges};
pub use workloads::Workloads;
