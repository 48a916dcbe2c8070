//! Exponential backoff with jitter, as `ExponentialBackoff` in Kafka: after `n` failures in a row the wait is
//! `initial * 2^(n-1)`, at most `max`, times a factor in 0.8..1.2.

use burnin_runtime::Entropy;
use std::time::Duration;

/// Bounds of a backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Duration,
    /// Never longer (before the jitter).
    pub max: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row; zero after none.
    pub fn after(&self, failures: u32, entropy: &mut Entropy) -> Duration {
        if failures == 0 || self.initial.is_zero() {
            return Duration::ZERO;
        }
        let doubled = self.initial.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        let base = doubled.min(self.max.max(self.initial));
        base.mul_f64(0.8 + 0.4 * entropy.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_within_a_fifth() {
        let backoff = Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1) };
        let mut entropy = Entropy::from_seed([7; 32]);
        assert_eq!(backoff.after(0, &mut entropy), Duration::ZERO);
        for (failures, base_ms) in
            [(1, 50), (2, 100), (3, 200), (5, 800), (6, 1000), (60, 1000), (u32::MAX, 1000)]
        {
            for _ in 0..50 {
                let wait = backoff.after(failures, &mut entropy).as_secs_f64() * 1000.0;
                let base = f64::from(base_ms);
                assert!(
                    wait >= base * 0.8 && wait <= base * 1.2,
                    "after {failures} failures: {wait} ms, base {base} ms"
                );
            }
        }
    }
}
