//! What the benchmarks share. Each benchmark is a program in `src/bin`; run it with
//! `cargo run --release -p burnin-bench --bin <name>`. Rivals run in the same process, in turn, and ratios are
//! of medians: a shared machine moves both.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// How a benchmark prints what it measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds of this thread's processor time: the same on an idle machine, less on a busy one.
    pub cpu: f64,
}

/// What `work` took, with its output. Only this thread's processor time counts.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    let (wall, cpu) = (Instant::now(), thread_seconds());
    let output = work();
    (Spent { wall: wall.elapsed().as_secs_f64(), cpu: thread_seconds() - cpu }, output)
}

fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The median; the upper one of two. Panics when there is nothing.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The resident memory of this process in bytes.
pub fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process's memory");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number is the resident pages") * PAGE
}

/// A number with three significant digits and a unit's prefix, as in `1.23 M`.
pub fn short(number: f64) -> String {
    let (scaled, prefix) = match number.abs() {
        n if n >= 1e6 => (number / 1e6, " M"),
        n if n >= 1e4 => (number / 1e3, " k"),
        _ => (number, ""),
    };
    let decimals = match scaled.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 4.0);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.234, 56.78, 999.4, 9999.0, 12_345.0, 2_345_678.0].map(short);
        assert_eq!(shown, ["0.00", "1.23", "56.8", "999", "9999", "12.3 k", "2.35 M"]);
    }
}
