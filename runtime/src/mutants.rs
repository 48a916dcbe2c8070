//! Planted bugs. Each names a historical bug of the field; the sweep of a negative scenario must find it.
//!
//! How it is kept out of production: a mutant is armed by handing a [`Mutants`] with [`Mutants::arm`] to a
//! simulated node, and only `sim/engine` does that (a tidy test holds it). The production runtime keeps the
//! trait's default, [`Mutants::NONE`], for which [`Mutants::on`] is one comparison with a null pointer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! mutants {
    ($($id:ident, $component:literal, $summary:literal;)*) => {
        /// A planted bug, by its number in the bug zoo.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $(#[doc = $summary] $id,)*
        }

        impl Mutant {
            /// Every mutant, in order.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$id,)*];

            /// What it is.
            pub const fn info(self) -> MutantInfo {
                match self {
                    $(Mutant::$id => MutantInfo {
                        id: stringify!($id), component: $component, summary: $summary,
                    },)*
                }
            }
        }
    };
}

mutants! {
    S01, "log", "acknowledges before the fsync although the mode promises it";
    S02, "log", "retries a failed fsync until it returns Ok, although the dirty pages were dropped";
    S03, "log", "does not sync the directory after creating a segment";
    S05, "log", "renames a checkpoint into place before its content is synced";
    S07, "log", "writes the clean-shutdown marker although loading never completed";
    S13, "log", "advances the log end offset only after the index write, so that a failed index write leaves appended batches whose offsets are assigned again";
    S15, "log", "offset index entries are off by one entry";
    S21, "log", "producer snapshots are named by the wrong offset and recovery trusts them";
    P01, "log", "keeps no batch metadata of idempotent producers, so that a retried batch is appended again";
}

/// What a mutant is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutantInfo {
    /// The number, as in `S01`.
    pub id: &'static str,
    /// The part of the broker that it breaks.
    pub component: &'static str,
    /// The bug in a sentence.
    pub summary: &'static str,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().id)
    }
}

impl FromStr for Mutant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Mutant::ALL.iter().copied().find(|m| m.info().id == text).ok_or_else(|| {
            let known: Vec<_> = Mutant::ALL.iter().map(|m| m.info().id).collect();
            format!("unknown mutant `{text}` (known: {})", known.join(", "))
        })
    }
}

#[derive(Debug)]
struct Armed {
    mutant: Mutant,
    reached: AtomicU64,
}

/// The mutant that is armed on a node, or none.
#[derive(Clone, Debug, Default)]
pub struct Mutants(Option<Arc<Armed>>);

impl Mutants {
    /// No mutant.
    pub const NONE: Mutants = Mutants(None);

    /// Arms one mutant. For the simulator only.
    pub fn arm(mutant: Mutant) -> Mutants {
        Mutants(Some(Arc::new(Armed { mutant, reached: AtomicU64::new(0) })))
    }

    /// Whether `mutant` is armed; counts the visit when it is. Ask it at the mutated line only.
    #[inline]
    pub fn on(&self, mutant: Mutant) -> bool {
        match &self.0 {
            None => false,
            Some(armed) => {
                let hit = armed.mutant == mutant;
                if hit {
                    armed.reached.fetch_add(1, Ordering::Relaxed);
                }
                hit
            }
        }
    }

    /// How often the mutated line was reached.
    pub fn reached(&self) -> u64 {
        self.0.as_ref().map_or(0, |armed| armed.reached.load(Ordering::Relaxed))
    }
}
