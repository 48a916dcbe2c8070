//! How long something takes: distributions that links and disks draw from.

use burnin_runtime::Entropy;
use std::time::Duration;

/// A distribution of durations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always the same. Draws nothing.
    Fixed(Duration),
    /// Anything in `low..=high`, equally likely.
    Uniform { low: Duration, high: Duration },
    /// `min` plus an exponentially distributed part with this mean, at most `max` in all.
    Exponential { min: Duration, mean: Duration, max: Duration },
}

impl Latency {
    /// No time at all.
    pub const ZERO: Latency = Latency::Fixed(Duration::ZERO);

    /// Uniform between two numbers of microseconds.
    pub const fn micros(low: u64, high: u64) -> Latency {
        Latency::Uniform { low: Duration::from_micros(low), high: Duration::from_micros(high) }
    }

    /// A value in nanoseconds.
    pub(crate) fn draw(&self, entropy: impl FnOnce() -> u64) -> u64 {
        match *self {
            Latency::Fixed(duration) => nanos(duration),
            Latency::Uniform { low, high } => {
                let (low, high) = (nanos(low), nanos(high).max(nanos(low)));
                low + scale(entropy(), high - low + 1)
            }
            Latency::Exponential { min, mean, max } => {
                let unit = (entropy() >> 11) as f64 / (1u64 << 53) as f64;
                let part = -(nanos(mean) as f64) * (1.0 - unit).ln();
                nanos(min).saturating_add(part as u64).min(nanos(max))
            }
        }
    }
}

/// A duration in nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Maps a uniform 64-bit number to `0..bound`.
#[inline]
pub(crate) fn scale(random: u64, bound: u64) -> u64 {
    ((random as u128 * bound as u128) >> 64) as u64
}

/// True with probability `p`; draws nothing when `p` is 0.
pub(crate) fn chance(entropy: &mut Entropy, p: f64) -> bool {
    p > 0.0 && entropy.chance(p)
}
