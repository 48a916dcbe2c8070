//! The words of violations: times, records and partitions, always written in the same way.

use burnin_history::{Acks, Moment};
use std::fmt;

/// A moment as seconds with microseconds: `41.207125s`.
pub struct At(pub Moment);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        write!(f, "{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}

/// A record's identity: `producer 2's record 20417`.
#[derive(Clone, Copy, Debug)]
pub struct Rec(pub u32, pub u64);

impl fmt::Display for Rec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}:{} (producer:seq)", self.0, self.1)
    }
}

/// How an acknowledgement was asked for, as in the producer's configuration.
pub fn acks(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "acks=0",
        Acks::Leader => "acks=1",
        Acks::All => "acks=all",
    }
}
