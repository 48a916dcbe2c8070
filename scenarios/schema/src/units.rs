//! Quantities as people write them: `5s`, `5s..20s`, `200/s`, `1GiB`, `30%`. Each is a newtype that parses
//! with an error that shows how to write it, and prints in a form that parses back to the same value.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A value as it stands in a file, before it has a meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Boolean(bool),
}

/// A quantity: how it is read, and how the schema names it.
pub trait Unit: Sized {
    /// The `format` of the JSON Schema.
    const FORMAT: &'static str;
    /// The JSON types that it may be written as.
    const TYPES: &'static [&'static str];
    /// How it is written, for error messages.
    const EXAMPLE: &'static str;
    /// Reads it.
    fn read(leaf: Leaf<'_>) -> Result<Self, String>;
}

/// Implements serde, schemars and `FromStr` for units. All of them print through `Display`; those whose
/// `plain` is given are written to files as that plain value.
macro_rules! unit {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                <$name as Unit>::read(Leaf::Text(text))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::units::Visitor(std::marker::PhantomData::<$name>))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let example = <$name as Unit>::EXAMPLE;
                match <$name as Unit>::TYPES {
                    [one] => json_schema!({ "type": one, "format": <$name as Unit>::FORMAT, "examples": [example] }),
                    many => json_schema!({ "type": many, "format": <$name as Unit>::FORMAT, "examples": [example] }),
                }
            }
        }
    };
}
pub(crate) use unit;

/// Reads any unit from whatever the file holds.
pub(crate) struct Visitor<U>(pub std::marker::PhantomData<U>);

impl<U: Unit> serde::de::Visitor<'_> for Visitor<U> {
    type Value = U;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} such as {}", U::FORMAT, U::EXAMPLE)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<U, E> {
        U::read(Leaf::Text(text)).map_err(E::custom)
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<U, E> {
        U::read(Leaf::Integer(number)).map_err(E::custom)
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<U, E> {
        let number = i64::try_from(number).map_err(|_| E::custom(format!("`{number}` is too large")))?;
        U::read(Leaf::Integer(number)).map_err(E::custom)
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<U, E> {
        U::read(Leaf::Float(number)).map_err(E::custom)
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<U, E> {
        U::read(Leaf::Boolean(value)).map_err(E::custom)
    }
}

impl fmt::Display for Leaf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Text(text) => f.write_str(text),
            Leaf::Integer(number) => write!(f, "{number}"),
            Leaf::Float(number) => write!(f, "{number}"),
            Leaf::Boolean(value) => write!(f, "{value}"),
        }
    }
}

/// The error of a unit that got something else.
pub(crate) fn not_a<U: Unit>(leaf: Leaf<'_>) -> String {
    format!("`{leaf}` is not a {} (write it like {})", U::FORMAT, U::EXAMPLE)
}

/// Cuts `12.5ms` into `12.5` and `ms`.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim()))
}

/// `number` times `scale`, exact to the last digit. `None` when it is not a number or too large.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = u128::from(whole).checked_mul(u128::from(scale))?;
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().ok()?;
        let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = digits.checked_mul(u128::from(scale))?;
        if part % divisor != 0 {
            return None;
        }
        total += part / divisor;
    } else if number.ends_with('.') {
        return None;
    }
    u64::try_from(total).ok()
}

/// A span of time, exact to the nanosecond: `200ms`, `1.5s`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dur(u64);
unit!(Dur);

const TIME_UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

impl Dur {
    /// No time at all.
    pub const ZERO: Dur = Dur(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Dur {
        Dur(nanos)
    }

    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Dur {
        Dur(millis * 1_000_000)
    }

    /// From seconds.
    pub const fn from_secs(secs: u64) -> Dur {
        Dur(secs * 1_000_000_000)
    }

    /// In nanoseconds.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// In whole milliseconds, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// As the standard library has it.
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }
}

impl From<Dur> for std::time::Duration {
    fn from(dur: Dur) -> Self {
        dur.std()
    }
}

impl std::ops::Add for Dur {
    type Output = Dur;
    /// Saturates.
    fn add(self, other: Dur) -> Dur {
        Dur(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for Dur {
    type Output = Dur;
    /// Saturates at zero.
    fn sub(self, other: Dur) -> Dur {
        Dur(self.0.saturating_sub(other.0))
    }
}

impl Unit for Dur {
    const FORMAT: &'static str = "duration";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"200ms\", \"1.5s\" or \"2m\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        let (number, unit) = split_unit(text.trim()).ok_or_else(|| not_a::<Self>(leaf))?;
        let unit = if unit == "µs" { "us" } else { unit };
        let Some((_, scale)) = TIME_UNITS.iter().find(|(name, _)| *name == unit) else {
            let known: Vec<_> = TIME_UNITS.iter().map(|(name, _)| *name).collect();
            let what = if unit.is_empty() {
                "a unit is missing".to_owned()
            } else {
                format!("unknown unit `{unit}`")
            };
            return Err(format!("`{text}` is not a duration: {what} (known: {})", known.join(", ")));
        };
        scaled(number, *scale).map(Dur).ok_or_else(|| not_a::<Self>(leaf))
    }
}

impl fmt::Display for Dur {
    /// Whole seconds and more in seconds, less in the largest unit that needs no leading zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, scale) = match self.0 {
            0 => return f.write_str("0s"),
            n if n >= 1_000_000_000 => ("s", 1_000_000_000),
            n if n >= 1_000_000 => ("ms", 1_000_000),
            n if n >= 1_000 => ("us", 1_000),
            _ => ("ns", 1),
        };
        let (whole, rest) = (self.0 / scale, self.0 % scale);
        if rest == 0 {
            return write!(f, "{whole}{name}");
        }
        let width = scale.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        write!(f, "{whole}.{}{name}", fraction.trim_end_matches('0'))
    }
}

/// A signed span of time in nanoseconds: `-30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SignedDur(pub i64);
unit!(SignedDur);

impl SignedDur {
    /// In whole milliseconds, rounded towards zero.
    pub const fn millis(self) -> i64 {
        self.0 / 1_000_000
    }
}

impl Unit for SignedDur {
    const FORMAT: &'static str = "signed duration";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"-30s\" or \"2h\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        let text = text.trim();
        let (sign, size) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let dur = Dur::read(Leaf::Text(size))?;
        let nanos = i64::try_from(dur.0).map_err(|_| format!("`{text}` is too long"))?;
        Ok(SignedDur(sign * nanos))
    }
}

impl fmt::Display for SignedDur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.0 < 0 { "-" } else { "" }, Dur(self.0.unsigned_abs()))
    }
}

/// A number of bytes: `100B`, `64KiB`, `1GiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);
unit!(Size);

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Unit for Size {
    const FORMAT: &'static str = "size";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"100B\", \"64KiB\" or \"1GiB\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        let (number, unit) = split_unit(text.trim()).ok_or_else(|| not_a::<Self>(leaf))?;
        let Some((_, scale)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
            let known: Vec<_> = SIZE_UNITS.iter().map(|(name, _)| *name).collect();
            let what = if unit.is_empty() {
                "a unit is missing".to_owned()
            } else {
                format!("unknown unit `{unit}`")
            };
            return Err(format!("`{text}` is not a size: {what} (known: {})", known.join(", ")));
        };
        scaled(number, *scale).map(Size).ok_or_else(|| not_a::<Self>(leaf))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, scale) = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, scale)| self.0 > 0 && self.0.is_multiple_of(*scale))
            .unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / scale)
    }
}
