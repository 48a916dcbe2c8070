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
    ($($id:ident, $component:literal, $area:literal, $summary:literal;)*) => {
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
                        id: stringify!($id), component: $component, area: $area, summary: $summary,
                    },)*
                }
            }
        }
    };
}

mutants! {
    S01, "log", "durability", "acknowledges before the fsync although the mode promises it";
    S02, "log", "durability", "retries a failed fsync until it returns Ok, although the dirty pages were dropped";
    S03, "log", "durability", "does not sync the directory after creating a segment";
    S04, "log", "truncation", "cuts a log without syncing the leader epochs that are left, so that a power loss leaves a damaged or an older checkpoint";
    S05, "log", "recovery", "renames a checkpoint into place before its content is synced";
    S07, "log", "recovery", "writes the clean-shutdown marker although loading never completed";
    S11, "log", "recovery", "recovery leaves the first leader epoch out of the epochs that it rebuilds";
    S12, "log", "truncation", "a cut that removes no record leaves epochs in which nothing was appended, which no other log has";
    S13, "log", "recovery", "advances the log end offset only after the index write, so that a failed index write leaves appended batches whose offsets are assigned again";
    S15, "log", "reading", "offset index entries are off by one entry";
    S18, "log", "durability", "when a sync is over, calls everything durable that was appended by then";
    S21, "log", "recovery", "producer snapshots are named by the wrong offset and recovery trusts them";
    Q01, "quorum", "quorum durability", "a replica of the metadata quorum asks for what comes next before what it has is durable";
    Q02, "quorum", "quorum durability", "votes without waiting for the disk, so that a power loss takes the vote back";
    Q03, "quorum", "election", "forgets its vote when it gives up a candidacy, and votes once more in the same epoch";
    Q05, "quorum", "high watermark", "commits records of an earlier epoch because a majority holds them, before one of its own epoch is";
    Q07, "controller", "election", "a new controller decides at once, before a record of its epoch is committed and what came before it is applied";
    Q11, "snapshot", "snapshot", "a follower that gets a snapshot keeps the log that it had";
    Q13, "quorum", "high watermark", "a follower takes the high watermark of a diverging answer for its own log";
    Q15, "recovery", "recovery", "takes everything that is committed for applied when a read brought only a part of it";
    Q16, "snapshot", "snapshot", "names a snapshot by its last offset instead of its end";
    Q18, "snapshot", "snapshot", "does not sync a snapshot before the log drops what it covers";
    Q19, "quorum", "election", "a leader that no majority fetches from goes on leading";
    Q26, "snapshot", "snapshot", "a snapshot leaves out which producer ids were given out";
    Q27, "controller", "metadata", "tells administrators that topics are changed when it has proposed that, and does not wait for the commit";
    R01, "replication", "truncation", "a replica that begins to follow cuts its log to the high watermark that it knows";
    R02, "replication", "truncation", "a follower does not say of which epoch its last record is, so that only lengths of logs are compared";
    R06, "replication", "ISR", "a follower joins the ISR at a high watermark that is stale, before it has reached the leader's epoch";
    R08, "replication", "high watermark", "a follower whose log diverges takes over the leader's high watermark before it cuts";
    R09, "replication", "high watermark", "a leader counts what a follower holds although it is not what the leader holds";
    R12, "replication", "high watermark", "the high watermark does not wait for who was proposed for the ISR and may have been accepted";
    R14, "replication", "ISR", "a broker that is fenced or about to stop joins ISRs";
    R17, "replication", "high watermark", "the high watermark moves while the ISR is smaller than min.insync.replicas";
    R18, "replication", "ISR", "a leader takes a follower out of the ISR before the controller has accepted it";
    R21, "replication", "truncation", "a late answer of an earlier leader cuts what a follower has appended since";
    R28, "replication", "high watermark", "acks=all is answered when the leader alone has the records";
    R31, "replication", "truncation", "a follower stamps the leader epoch in which it fetches into older batches";
    A01, "api", "answers", "a new leader answers for the latest offset what it knows, before its high watermark has reached its epoch";
    A02, "api", "answers", "a leader asks for min.insync.replicas only after the append, and refuses what it has appended";
    A03, "api", "answers", "a batch that is sent again and is there already is acknowledged at the end of the log instead of where it is";
    U01, "controller", "upgrade", "writes changes of partitions in the newest version that it knows, although the cluster has agreed on an older metadata.version";
    P01, "log", "idempotence", "keeps no batch metadata of idempotent producers, so that a retried batch is appended again";
}

/// What a mutant is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutantInfo {
    /// The number, as in `S01`.
    pub id: &'static str,
    /// The part of the broker that it breaks.
    pub component: &'static str,
    /// What it puts at risk, as in `truncation`.
    pub area: &'static str,
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
