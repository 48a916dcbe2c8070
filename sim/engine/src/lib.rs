//! The deterministic engine: one world, one thread, one seed.
//!
//! It fills the seam of `burnin-runtime` with simulated tasks, time, network, disk and randomness. A world
//! is a function of its seed, its configuration and the code that runs in it: nothing here reads the
//! machine's clock, its randomness, its files or its network, and no order depends on an address.
//!
//! | file | what is simulated |
//! |---|---|
//! | `sim.rs` | a world: make, run, drop; the loop |
//! | `handle.rs` | the control plane: nodes, faults, the clock, the trace |
//! | `world.rs` | the state, and how handles reach it |
//! | `executor.rs` | the ready list, from which the seed picks |
//! | `task.rs`, `panics.rs` | spawned tasks and their handles; where they panicked |
//! | `timers.rs` | the event queue and timers |
//! | `node.rs` | machines and processes: start, kill, power loss, pause |
//! | `clock.rs` | wall clocks that jump and drift |
//! | `net/` | TCP as a program sees it, and how it fails |
//! | `disk/` | page cache, media and directory entries, and how they fail |
//! | `seed.rs`, `latency.rs` | random streams by label; distributions |
//! | `trace.rs` | the rolling hash and its checkpoints |

mod clock;
mod disk;
mod executor;
mod handle;
mod latency;
mod net;
mod node;
mod panics;
mod runtime;
mod seed;
mod sim;
mod task;
mod timers;
mod trace;
mod world;

pub use disk::{
    BitRot, DiskControl, DiskModel, DiskOp, DiskStats, FailRule, FileInfo, PathFilter, PowerLoss, SimDisk,
    SimFile, SimLock,
};
pub use handle::SimHandle;
pub use latency::Latency;
pub use net::{LinkModel, NetControl, NetStats, SimListener, SimNet, SimRead, SimStream, SimWrite, TcpModel};
pub use node::{FaultError, FaultResult, NodeSpec, SimNode, Start};
pub use runtime::SimRuntime;
pub use sim::{Sim, SimConfig, SimError};
pub use task::SimTask;
pub use timers::Sleep;
pub use trace::{CHECKPOINT_EVENTS, Trace, TraceEvent, TraceKind, TraceSink};
pub use world::{Current, current};
