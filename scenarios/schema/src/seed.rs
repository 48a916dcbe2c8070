//! Seeds: one number is the root of every random stream of a run, and streams are split by label.

use crate::units::{Leaf, Unit, not_a, unit};
use burnin_runtime::Entropy;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The root of all randomness of a run: decimal, or hexadecimal with `0x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed(pub u64);
unit!(Seed);

impl Seed {
    /// A random stream that depends on the seed and on `label` alone.
    pub fn stream(self, label: &str) -> Entropy {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        for (lane, chunk) in key[8..].chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&fnv1a(lane as u64, label.as_bytes()).to_le_bytes());
        }
        Entropy::from_seed(key)
    }
}

impl Unit for Seed {
    const FORMAT: &'static str = "seed";
    const TYPES: &'static [&'static str] = &["string", "integer"];
    const EXAMPLE: &'static str = "4144137618 or 0xf703a912";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let seed = match leaf {
            Leaf::Integer(number) => u64::try_from(number).ok(),
            Leaf::Text(text) => {
                let text = text.trim().replace('_', "");
                match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16).ok(),
                    None => text.parse().ok(),
                }
            }
            Leaf::Float(_) | Leaf::Boolean(_) => None,
        };
        seed.map(Seed).ok_or_else(|| format!("{}, from 0 to {}", not_a::<Self>(leaf), u64::MAX))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which seeds a sweep takes: `100` (the first hundred), `1000..2000` (the end excluded), or `7,9,11`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// From the first, up to and without the second.
    Span(u64, u64),
    /// These.
    List(Vec<u64>),
}

impl Seeds {
    /// How many there are.
    pub fn count(&self) -> u64 {
        match self {
            Seeds::Span(from, to) => to - from,
            Seeds::List(list) => list.len() as u64,
        }
    }

    /// Seed number `index`, below [`Seeds::count`].
    pub fn get(&self, index: u64) -> Seed {
        match self {
            Seeds::Span(from, _) => Seed(from + index),
            Seeds::List(list) => Seed(list[usize::try_from(index).expect("index of a list")]),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Seed> + '_ {
        (0..self.count()).map(|index| self.get(index))
    }
}

impl FromStr for Seeds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (Seed::from_str(from)?, Seed::from_str(to.strip_prefix('=').unwrap_or(to))?);
            let end = if text.contains("..=") { to.0.checked_add(1) } else { Some(to.0) };
            return match end {
                Some(end) if end > from.0 => Ok(Seeds::Span(from.0, end)),
                _ => Err(format!("`{text}` is an empty range of seeds: write FROM..TO with FROM below TO")),
            };
        }
        if text.contains(',') {
            let list: Result<Vec<u64>, String> =
                text.split(',').map(|one| Seed::from_str(one).map(|seed| seed.0)).collect();
            return list.map(Seeds::List);
        }
        match Seed::from_str(text)? {
            Seed(0) => {
                Err("`0` seeds are none: give a count (100), a range (1000..2000) or a list (7,9,11)".into())
            }
            Seed(count) => Ok(Seeds::Span(0, count)),
        }
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seeds::Span(from, to) => write!(f, "{from}..{to}"),
            Seeds::List(list) => {
                let list: Vec<String> = list.iter().map(u64::to_string).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

/// One of `n` parts of a sweep, counted from 1: `3/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `of`.
    pub index: u64,
    /// How many there are.
    pub of: u64,
}

impl Shard {
    /// Everything in one part.
    pub const WHOLE: Shard = Shard { index: 1, of: 1 };

    /// Whether the `n`th job (from 0) belongs to this part.
    pub fn takes(self, n: u64) -> bool {
        n % self.of == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Shard { index, of }),
            Some((index, of)) => {
                Err(format!("shard `{index}/{of}` does not exist: parts are counted from 1 to {of}"))
            }
            None => Err(format!("`{text}` is not a shard (write it like 3/16)")),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// 64 bits of FNV-1a; `lane` gives independent hashes of the same bytes. For names and content, not for secrets.
pub(crate) fn fnv1a(lane: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64 ^ lane.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
