//! Time. The contract: [`Instant`] is monotonic within one run of a node, has nanosecond resolution, and is
//! a plain number, so that state machines that take `now` need no type parameter.

use crate::Runtime;
use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Nanoseconds since the runtime began (in a simulation: since the world began, the same on every node).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// When the runtime began.
    pub const ZERO: Instant = Instant(0);
    /// Later than everything.
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// From nanoseconds since the runtime began.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// Nanoseconds since the runtime began.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    /// Saturates at [`Instant::ZERO`].
    fn sub(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
    }
}

impl fmt::Display for Instant {
    /// Seconds with microseconds, as in `41.207113s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// The output of `future`, or `None` when `duration` passes first. The future is polled before the timer, so
/// a result that is ready at the deadline wins.
pub async fn timeout<R: Runtime, F: Future>(runtime: &R, duration: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = runtime.sleep(duration);
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| None)
    })
    .await
}
