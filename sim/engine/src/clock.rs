//! The wall clock of a node.
//!
//! Can: start at an offset, jump both ways, drift.
//! Never: touches the monotonic clock, which is the same on every node and exact; a lease or a timeout that
//! is wrong because monotonic clocks run at different speeds is not modelled.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Wall time = base + now + drift since `since`. Its fields are atomics only to be shared; one thread uses
/// them.
#[derive(Debug)]
pub(crate) struct WallClock {
    base_ms: AtomicI64,
    drift_ppm: AtomicI64,
    since: AtomicU64,
}

impl WallClock {
    pub(crate) fn new(base_ms: i64) -> Self {
        WallClock { base_ms: AtomicI64::new(base_ms), drift_ppm: AtomicI64::new(0), since: AtomicU64::new(0) }
    }

    /// Milliseconds since the Unix epoch, at the simulated time `now`.
    pub(crate) fn wall_ms(&self, now: u64) -> i64 {
        self.base_ms.load(Ordering::Relaxed) + (now / 1_000_000) as i64 + self.drifted_ms(now)
    }

    fn drifted_ms(&self, now: u64) -> i64 {
        let ppm = self.drift_ppm.load(Ordering::Relaxed);
        if ppm == 0 {
            return 0;
        }
        let elapsed = now - self.since.load(Ordering::Relaxed);
        (i128::from(elapsed) * i128::from(ppm) / 1_000_000_000_000) as i64
    }

    pub(crate) fn jump(&self, ms: i64) {
        self.base_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// From now on the clock gains `ppm` microseconds per second (loses, when negative).
    pub(crate) fn drift(&self, now: u64, ppm: i64) {
        self.base_ms.fetch_add(self.drifted_ms(now), Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
        self.drift_ppm.store(ppm, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_and_drifts_add_up_and_a_new_drift_keeps_the_old_one() {
        let clock = WallClock::new(1000);
        assert_eq!(clock.wall_ms(5_000_000), 1005);
        clock.jump(-2000);
        assert_eq!(clock.wall_ms(5_000_000), -995);
        clock.drift(0, 1000);
        assert_eq!(clock.wall_ms(10_000_000_000), -1000 + 10_000 + 10);
        clock.drift(10_000_000_000, -500);
        assert_eq!(clock.wall_ms(20_000_000_000), -1000 + 20_000 + 10 - 5);
    }
}
