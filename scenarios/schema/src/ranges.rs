//! Ranges from which a seed draws: `5s..20s`. Both ends belong to the range; a single value is a range of one.

use crate::units::{Dur, Leaf, SignedDur, Size, Unit, not_a, unit};
use burnin_runtime::Entropy;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// From `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<T> {
    low: T,
    high: T,
}

impl<T: Copy + PartialOrd + fmt::Display> Range<T> {
    /// Only this value.
    pub const fn exactly(value: T) -> Self {
        Range { low: value, high: value }
    }

    /// From `low` to `high`. Panics when `low` is above `high`.
    pub fn new(low: T, high: T) -> Self {
        assert!(low <= high, "empty range {low}..{high}");
        Range { low, high }
    }

    /// The lowest value.
    pub const fn low(&self) -> T {
        self.low
    }

    /// The highest value.
    pub const fn high(&self) -> T {
        self.high
    }

    /// Reads `a` or `a..b`, each end by `one`.
    fn read_text(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let Some((low, high)) = text.split_once("..") else { return one(text).map(Range::exactly) };
        let (low, high) = (one(low.trim())?, one(high.trim())?);
        if low > high {
            return Err(format!("`{text}` is an empty range: {low} is more than {high}"));
        }
        Ok(Range { low, high })
    }
}

impl<T: Copy + PartialEq + fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}..{}", self.low, self.high)
        }
    }
}

/// A duration or a range of durations.
pub type DurRange = Range<Dur>;
unit!(DurRange);

impl DurRange {
    /// A uniform value.
    pub fn draw(&self, entropy: &mut Entropy) -> Dur {
        Dur::from_nanos(entropy.between(self.low.nanos(), self.high.nanos()))
    }
}

impl Unit for DurRange {
    const FORMAT: &'static str = "duration range";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"5s\" or \"5s..20s\"";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        Range::read_text(text, |one| one.parse())
    }
}

/// A signed duration or a range of them.
pub type SignedDurRange = Range<SignedDur>;
unit!(SignedDurRange);

impl SignedDurRange {
    /// A uniform value.
    pub fn draw(&self, entropy: &mut Entropy) -> SignedDur {
        let width = self.high.0.abs_diff(self.low.0);
        SignedDur(self.low.0.saturating_add_unsigned(entropy.between(0, width)))
    }
}

impl Unit for SignedDurRange {
    const FORMAT: &'static str = "signed duration range";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"-1h\" or \"-30s..30s\"";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        Range::read_text(text, |one| one.parse())
    }
}

/// A size or a range of sizes.
pub type SizeRange = Range<Size>;
unit!(SizeRange);

impl SizeRange {
    /// A uniform value.
    pub fn draw(&self, entropy: &mut Entropy) -> Size {
        Size(entropy.between(self.low.0, self.high.0))
    }
}

impl Unit for SizeRange {
    const FORMAT: &'static str = "size range";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"100B\" or \"100B..4KiB\"";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        Range::read_text(text, |one| one.parse())
    }
}

/// A whole number or a range of them.
pub type CountRange = Range<i64>;
unit!(CountRange);

impl CountRange {
    /// A uniform value.
    pub fn draw(&self, entropy: &mut Entropy) -> i64 {
        self.low.saturating_add_unsigned(entropy.between(0, self.high.abs_diff(self.low)))
    }
}

impl Unit for CountRange {
    const FORMAT: &'static str = "count range";
    const TYPES: &'static [&'static str] = &["integer", "string"];
    const EXAMPLE: &'static str = "5 or \"1..5\"";
    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        match leaf {
            Leaf::Integer(number) => Ok(Range::exactly(number)),
            Leaf::Text(text) => Range::read_text(text, |one| one.parse().map_err(|_| not_a::<Self>(leaf))),
            Leaf::Float(_) | Leaf::Boolean(_) => Err(not_a::<Self>(leaf)),
        }
    }
}
