//! Replication throttles (`ReplicationQuotaManager`, KIP-73): the bytes a second that this broker sends to followers,
//! and fetches as one, of the replicas that are throttled.
//!
//! All that these replicas move counts, but only a replica that is not in sync ever waits: a throttle keeps nobody out
//! of the ISR who is in it.

use burnin_runtime::Instant;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nothing is throttled at this rate.
const UNLIMITED: u64 = i64::MAX as u64;

/// One side: what is sent, or what is fetched. See the module.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes a second.
    rate: AtomicU64,
    /// `replication.quota.window.size.seconds`.
    window: Duration,
    /// `replication.quota.window.num`.
    windows: u32,
    samples: Mutex<VecDeque<Sample>>,
}

/// What moved within one window.
#[derive(Clone, Copy, Debug)]
struct Sample {
    since: Instant,
    bytes: u64,
}

impl Throttle {
    /// Lets everything pass.
    pub(crate) fn new(window: Duration, windows: u32) -> Throttle {
        let rate = AtomicU64::new(UNLIMITED);
        Throttle { rate, window, windows: windows.max(1), samples: Mutex::default() }
    }

    /// Takes over another rate, in bytes a second.
    pub(crate) fn set_rate(&self, rate: u64) {
        self.rate.store(rate.min(UNLIMITED), Ordering::Release);
    }

    /// Whether there is any throttle at all.
    pub(crate) fn is_on(&self) -> bool {
        self.rate.load(Ordering::Acquire) < UNLIMITED
    }

    /// So much has moved.
    pub(crate) fn note(&self, now: Instant, bytes: u64) {
        let mut samples = self.samples.lock();
        match samples.back_mut().filter(|last| now.since(last.since) < self.window) {
            Some(last) => last.bytes += bytes,
            None => samples.push_back(Sample { since: now, bytes }),
        }
        let oldest = self.window * self.windows;
        while samples.front().is_some_and(|first| now.since(first.since) >= oldest) {
            samples.pop_front();
        }
    }

    /// For how long whoever is not in sync must wait; `None`: not at all.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let rate = self.rate.load(Ordering::Acquire);
        if rate >= UNLIMITED {
            return None;
        }
        let oldest = self.window * self.windows;
        let samples = self.samples.lock();
        let mut current = samples.iter().filter(|sample| now.since(sample.since) < oldest).peekable();
        let first = current.peek()?.since;
        let bytes: u64 = current.map(|sample| sample.bytes).sum();
        let elapsed = now.since(first).max(self.window);
        // Without a rate, until the samples are old.
        let needed = match rate {
            0 => oldest,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64).min(oldest),
        };
        let is_exceeded = bytes as f64 > rate as f64 * elapsed.as_secs_f64();
        is_exceeded
            .then(|| needed.saturating_sub(now.since(first)).clamp(Duration::from_millis(1), self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn rate_counts_over_the_windows_and_waits_until_it_is_kept() {
        let throttle = Throttle::new(Duration::from_secs(1), 11);
        throttle.note(at(0), 10_000);
        assert_eq!(throttle.wait(at(0)), None, "no rate is set");
        throttle.set_rate(1000);
        assert_eq!(
            throttle.wait(at(500)),
            Some(Duration::from_secs(1)),
            "at most a window, then it is asked again"
        );
        assert_eq!(throttle.wait(at(9_500)), Some(Duration::from_millis(500)));
        assert_eq!(throttle.wait(at(10_000)), None, "10,000 bytes in 10 seconds");
        throttle.note(at(10_100), 5_000);
        assert!(throttle.wait(at(10_200)).is_some());
        throttle.note(at(12_000), 1);
        assert_eq!(throttle.samples.lock().len(), 2, "what is too old is forgotten");
    }

    #[test]
    fn steady_stream_is_let_through_at_the_rate() {
        let throttle = Throttle::new(Duration::from_secs(1), 11);
        throttle.set_rate(100_000);
        let (mut now, mut moved) = (0, 0);
        while now < 60_000 {
            match throttle.wait(at(now)) {
                Some(wait) => now += (wait.as_millis() as u64).max(1),
                None => {
                    throttle.note(at(now), 20_000);
                    moved += 20_000;
                    now += 5;
                }
            }
        }
        assert!((5_000_000..=7_500_000).contains(&moved), "{moved} bytes in 60 seconds at 100,000 a second");
    }
}
