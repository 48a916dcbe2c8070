//! A replicated partition as its leader and its followers see it: who is in sync, what is committed, and when
//! the ISR must change. It does no I/O: it takes fetches, appends, metadata and `now`, and says what follows.
//!
//! The rules are Kafka's (`Partition`, `Replica`), after KIP-101, KIP-279, KIP-320, KIP-497, KIP-841, KIP-903
//! and KIP-966. What they protect:
//!
//! 1. The high watermark is the least log end over the **maximal ISR**: whoever is in the committed ISR or in
//!    one that was proposed and not answered yet. The controller may elect any of them.
//! 2. The high watermark does not move while the ISR is smaller than `min.insync.replicas`.
//! 3. A follower joins the ISR only when it has reached the high watermark **and** the start of this leader's
//!    epoch: before that, the high watermark may be stale.
//! 4. An expansion counts at once, a shrink only when the controller has accepted it.

mod follower;
mod leader;

pub use follower::{Follower, FollowerStep};
pub use leader::{
    AlterPartitionError, Effects, FollowerFetch, IsrProposal, Leader, LeaderConfig, LeaderStart, ReplicaView,
};

/// A replica as the cluster's metadata knows it at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eligibility {
    /// The broker's epoch (its registration).
    pub broker_epoch: i64,
    /// Whether it may not lead or follow.
    pub fenced: bool,
    /// Whether it is about to stop.
    pub shutting_down: bool,
}

impl Eligibility {
    /// Whether a replica that fetches with `fetch_epoch` may be in an ISR (KIP-841, KIP-903). -1: a fetch that
    /// carries no broker epoch.
    pub fn may_join(&self, fetch_epoch: i64) -> bool {
        !self.fenced && !self.shutting_down && (fetch_epoch == -1 || fetch_epoch == self.broker_epoch)
    }
}
