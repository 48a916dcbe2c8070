//! How often and how likely: `200/s`, `closed(4)`, `30%`.

use crate::units::{Leaf, Unit, not_a, unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// How often: `200/s`, `12/m`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate {
    /// Per `unit`.
    count: f64,
    /// One of [`RATE_UNITS`].
    unit: &'static str,
}
unit!(Rate);

const RATE_UNITS: [(&str, f64); 3] = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl Rate {
    /// Times a second.
    pub fn per_second(self) -> f64 {
        let (_, seconds) = RATE_UNITS.iter().find(|(unit, _)| *unit == self.unit).expect("a known unit");
        self.count / seconds
    }
}

impl Unit for Rate {
    const FORMAT: &'static str = "rate";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"200/s\" or \"12/m\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        let parts = text.trim().split_once('/').and_then(|(count, unit)| {
            let (unit, _) = RATE_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
            Some((count.trim().parse::<f64>().ok()?, *unit))
        });
        match parts {
            Some((count, unit)) if count.is_finite() && count > 0.0 => Ok(Rate { count, unit }),
            Some(_) => Err(format!("`{text}` is not a possible rate: it must be above zero")),
            None => Err(not_a::<Self>(leaf)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}

/// When a writer's next call begins: at a rate, or in a closed loop (`closed(4)`), as fast as it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So often, whatever became of the calls before.
    Open(Rate),
    /// As soon as fewer calls than this are unfinished.
    Closed(u32),
}
unit!(Pace);

/// With more unfinished calls a loop is no longer a loop, but a queue.
const CLOSED_MAX: u32 = 10_000;

impl Unit for Pace {
    const FORMAT: &'static str = "rate";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"200/s\", \"12/m\" or \"closed(4)\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        if text.contains('/') {
            return Rate::read(leaf).map(Pace::Open);
        }
        let calls = text.trim().strip_prefix("closed(").and_then(|rest| rest.strip_suffix(')'));
        match calls.and_then(|calls| calls.trim().parse().ok()) {
            Some(calls) if (1..=CLOSED_MAX).contains(&calls) => Ok(Pace::Closed(calls)),
            Some(_) => {
                Err(format!("`{text}` is not possible: from 1 to {CLOSED_MAX} calls can be unfinished"))
            }
            None => Err(not_a::<Self>(leaf)),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Open(rate) => write!(f, "{rate}"),
            Pace::Closed(calls) => write!(f, "closed({calls})"),
        }
    }
}

/// A probability: `0.3` or `30%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f64);
unit!(Probability);

impl Probability {
    /// From 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Unit for Probability {
    const FORMAT: &'static str = "probability";
    const TYPES: &'static [&'static str] = &["string", "number"];
    const EXAMPLE: &'static str = "0.3 or \"30%\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let value = match leaf {
            Leaf::Text(text) => match text.trim().strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().map_err(|_| not_a::<Self>(leaf))? / 100.0,
                None => text.trim().parse().map_err(|_| not_a::<Self>(leaf))?,
            },
            Leaf::Float(number) => number,
            Leaf::Integer(number) => number as f64,
            Leaf::Boolean(_) => return Err(not_a::<Self>(leaf)),
        };
        if (0.0..=1.0).contains(&value) {
            Ok(Probability(value))
        } else {
            Err(format!("`{leaf}` is not a probability: it must be from 0 to 1 (or 0% to 100%)"))
        }
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
