//! The seam: everything that the broker, the client and the workloads may ask of the world.
//!
//! Code that runs under simulation is generic over [`Runtime`] and reaches time, tasks, the network, the
//! disk and randomness through it and through nothing else. There is one trait per file, and each trait's
//! documentation is its contract; `runtime/conformance` holds every filling to it.
//!
//! | file | promise |
//! |---|---|
//! | `clock.rs` | monotonic [`Instant`]; wall clock in milliseconds |
//! | `tasks.rs` | spawned futures with handles that abort on drop |
//! | `net.rs` | listen, connect, byte streams that are tokio's `AsyncRead` and `AsyncWrite` |
//! | `disk.rs` | files with explicit offsets and explicit durability |
//! | `entropy.rs` | random streams by label |
//! | `probe.rs` | what the broker tells an observer about its inside (nobody listens in production) |
//! | `mutants.rs` | planted bugs (none can be armed in production) |

mod clock;
mod disk;
mod entropy;
mod mutants;
mod net;
mod probe;
mod tasks;

pub use clock::{Instant, timeout};
pub use disk::{Access, DirEntry, Disk, File, OpenOptions};
pub use entropy::Entropy;
pub use mutants::{Mutant, MutantInfo, Mutants};
pub use net::{Listener, Net, Stream};
pub use probe::{Observation, Probe, ProbeSink};
pub use tasks::{Task, TaskError};

use std::future::Future;
use std::time::Duration;

/// A world to run in: a cheap handle, cloned freely, one per node.
///
/// Two fillings exist: `burnin-runtime-tokio` (production) and `burnin-engine` (simulation). The traits are
/// shaped so that madsim and turmoil can fill them as well: streams are tokio's, tasks return handles of the
/// filling's own type, and nothing here needs a global.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A timer. Dropping it cancels it.
    type Sleep: Future<Output = ()> + Send + Unpin + 'static;
    /// A handle of a spawned future.
    type Task<T: Send + 'static>: Task<T>;
    /// The network as this node sees it.
    type Net: Net;
    /// The disk of this node.
    type Disk: Disk;

    /// Starts `future` on this node. The name is for traces and panics. Dropping the handle aborts the task;
    /// see [`Task`].
    fn spawn<F>(&self, name: &'static str, future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Monotonic time. Never goes back, not even when the wall clock does.
    fn now(&self) -> Instant;

    /// Wall-clock time in milliseconds since the Unix epoch. It can jump in both directions: use it for
    /// timestamps that people or Kafka clients see, and for nothing else.
    fn wall_ms(&self) -> i64;

    /// Completes at `at`, or at once when `at` has passed. Never completes early.
    fn sleep_until(&self, at: Instant) -> Self::Sleep;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// A random stream for this node and this label. In a simulation two calls with one label on one node
    /// give different streams (the second continues where a fresh split begins), and streams of different
    /// labels never influence each other.
    fn entropy(&self, label: &str) -> Entropy;

    /// The network.
    fn net(&self) -> &Self::Net;

    /// The disk.
    fn disk(&self) -> &Self::Disk;

    /// Runs a computation that takes more than about 100 µs without stalling other tasks. A simulation runs
    /// it in place, in zero simulated time.
    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// Where the broker reports what it did inside. Production keeps the default: nobody listens.
    fn probe(&self) -> &Probe {
        const { &Probe::NONE }
    }

    /// Planted bugs. Production keeps the default: none is armed, and no way exists to arm one.
    fn mutants(&self) -> &Mutants {
        const { &Mutants::NONE }
    }
}
