//! The seam filled for production: tokio's multi-thread runtime, real sockets, real files.
//!
//! | file | how the promise is kept |
//! |---|---|
//! | `tasks.rs` | a `JoinHandle` that aborts when it is dropped |
//! | `net.rs` | TCP with `TCP_NODELAY`; a reset is `SO_LINGER` 0 |
//! | `disk.rs` | system calls on tokio's blocking threads, never on a worker |
//!
//! This is the only library crate that may name `tokio::spawn`, `tokio::time`, `tokio::net`, `std::fs` and
//! the operating system's clocks; the broker gets all of them through `burnin-runtime`.

mod disk;
mod net;
mod tasks;

pub use disk::{TokioDisk, TokioFile, TokioLock};
pub use net::{TokioListener, TokioNet, TokioStream, TokioWrite};
pub use tasks::TokioTask;

use burnin_runtime::{Entropy, Instant, Runtime};
use rand::TryRng;
use rand::rngs::SysRng;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

/// What tokio does when a deadline does not fit its clock: about thirty years.
const FAR_FUTURE: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The production runtime of one process: a cheap handle, cloned freely.
#[derive(Clone, Debug)]
pub struct TokioRuntime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    began: tokio::time::Instant,
    net: TokioNet,
    disk: TokioDisk,
}

impl TokioRuntime {
    /// A runtime on the current tokio runtime; relative paths are taken from `root`. Panics outside of a
    /// tokio runtime.
    pub fn new(root: PathBuf) -> Self {
        let handle = Handle::current();
        TokioRuntime(Arc::new(Inner {
            began: tokio::time::Instant::now(),
            net: TokioNet,
            disk: TokioDisk::new(root, handle.clone()),
            handle,
        }))
    }
}

impl Runtime for TokioRuntime {
    type Sleep = Pin<Box<tokio::time::Sleep>>;
    type Task<T: Send + 'static> = TokioTask<T>;
    type Net = TokioNet;
    type Disk = TokioDisk;

    fn spawn<F>(&self, _name: &'static str, future: F) -> TokioTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        TokioTask::new(self.0.handle.spawn(future))
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.0.began.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    /// Tokio's timer wheel has a resolution of 1 ms and rounds up.
    fn sleep_until(&self, at: Instant) -> Self::Sleep {
        let after = at.since(Instant::ZERO).min(FAR_FUTURE);
        let _inside = self.0.handle.enter();
        Box::pin(tokio::time::sleep_until(self.0.began + after))
    }

    /// Seeded by the operating system; the label plays no part.
    fn entropy(&self, _label: &str) -> Entropy {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).expect("the operating system has random bytes");
        Entropy::from_seed(seed)
    }

    fn net(&self) -> &TokioNet {
        &self.0.net
    }

    fn disk(&self) -> &TokioDisk {
        &self.0.disk
    }

    async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.0.handle.spawn_blocking(work).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down: whoever waits here is about to be dropped.
            Err(_) => std::future::pending().await,
        }
    }
}
