//! The loss licence: what the contract allows to disappear, computed from the faults that were injected.
//!
//! | what happened | what it allows |
//! |---|---|
//! | process killed, stopped, paused, cut off, its disk slow, full or failing | nothing |
//! | power lost, partition flushes before it acknowledges | nothing |
//! | power lost, partition acknowledges from the page cache | a *suffix* of what was sent before it; nothing sent later |
//! | directory wiped | everything sent before it |
//! | `DeleteRecords`, retention | removal from the front, up to the offset asked for (retention: any) |
//! | bytes of a log segment damaged on the medium | an answer that is an error; never wrong data, never silence |
//! | `acks=0` | never promised |
//!
//! "Allows" needs as many replicas as an acknowledgement waited for: with `min.insync.replicas=2`, two different
//! nodes must have lost power after a record was sent. (How many replicas a partition has, and hence what `acks=1`
//! promises across a failover, is not in the history yet: replicated partitions will need it.)
//!
//! Each time a new licence makes more of the past losable, the partition's *generation* goes up by one. A checker
//! notes the generation with a fact, and may contradict the fact only with one of a later generation.

use burnin_history::{FaultEvent, Flush, Moment, NodeId};
use std::collections::BTreeMap;

/// The licence of one partition.
#[derive(Clone, Debug)]
pub struct Licence {
    flush: Flush,
    needed: usize,
    power_lost: BTreeMap<NodeId, Moment>,
    wiped: BTreeMap<NodeId, Moment>,
    horizon: Option<Moment>,
    generation: u32,
    wipes: u32,
    rotted: bool,
    removable_below: i64,
}

impl Licence {
    /// Of a partition that flushes in this mode and acknowledges on `min_isr` replicas.
    pub fn new(flush: Flush, min_isr: u32) -> Licence {
        Licence {
            flush,
            needed: min_isr.max(1) as usize,
            power_lost: BTreeMap::new(),
            wiped: BTreeMap::new(),
            horizon: None,
            generation: 0,
            wipes: 0,
            rotted: false,
            removable_below: 0,
        }
    }

    /// A fault happened; `name` is the partition's topic and number. Returns whether the generation went up.
    pub fn fault(&mut self, at: Moment, fault: &FaultEvent, name: (&str, i32)) -> bool {
        let lossy = match fault {
            FaultEvent::PowerLost { node } if self.flush == Flush::PageCache => {
                self.power_lost.insert(*node, at);
                true
            }
            FaultEvent::Wiped { node } => {
                self.wiped.insert(*node, at);
                true
            }
            FaultEvent::LogRotted { topic, partition, .. } => {
                self.rotted |= (&**topic, *partition) == name;
                false
            }
            _ => false,
        };
        lossy && self.move_horizon()
    }

    /// The horizon is the latest moment before which enough nodes lost what they had.
    fn move_horizon(&mut self) -> bool {
        let mut last: BTreeMap<NodeId, Moment> = self.power_lost.clone();
        for (node, at) in &self.wiped {
            let entry = last.entry(*node).or_insert(*at);
            *entry = (*entry).max(*at);
        }
        let mut moments: Vec<Moment> = last.into_values().collect();
        moments.sort_unstable_by(|a, b| b.cmp(a));
        let horizon = moments.get(self.needed - 1).copied();
        if horizon <= self.horizon {
            return false;
        }
        self.horizon = horizon;
        self.generation += 1;
        if self.wiped.len() >= self.needed {
            self.wipes += 1;
        }
        true
    }

    /// Removal from the front was asked for, below `offset` (-1: all there is).
    pub fn delete_below(&mut self, offset: i64) {
        self.removable_below = self.removable_below.max(if offset < 0 { i64::MAX } else { offset });
    }

    /// Whether what was asked at `moment` was asked before the past became losable the last time: the answer may have
    /// been on the wire when power went, and then tells nothing about the log as it is now.
    #[inline]
    pub fn before_loss(&self, moment: Moment) -> bool {
        self.horizon.is_some_and(|horizon| moment <= horizon)
    }

    /// How often the past became losable.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// How often all of the past became losable, so that even the offsets may begin anew.
    #[inline]
    pub fn wipes(&self) -> u32 {
        self.wipes
    }

    /// Whether the partition may answer reads with an error.
    pub fn unreadable(&self) -> bool {
        self.rotted
    }

    /// Offsets below this may have been removed from the front.
    pub fn removable_below(&self) -> i64 {
        self.removable_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: (&str, i32) = ("orders", 3);

    fn power(node: i32) -> FaultEvent {
        FaultEvent::PowerLost { node: NodeId(node) }
    }

    #[test]
    fn flushed_partition_is_never_licensed_by_kill_or_power_loss() {
        let mut licence = Licence::new(Flush::BeforeAck, 1);
        assert!(!licence.fault(1, &power(1), NAME));
        assert!(!licence.fault(2, &FaultEvent::Killed { node: NodeId(1) }, NAME));
        assert_eq!(licence.generation(), 0);
    }

    #[test]
    fn page_cache_partition_is_licensed_by_power_loss_of_enough_nodes_only() {
        let mut licence = Licence::new(Flush::PageCache, 2);
        assert!(!licence.fault(1, &FaultEvent::Killed { node: NodeId(1) }, NAME));
        assert!(!licence.fault(2, &power(1), NAME));
        assert!(!licence.fault(3, &power(1), NAME));
        assert!(licence.fault(4, &power(2), NAME));
        assert_eq!((licence.generation(), licence.horizon), (1, Some(3)));
    }

    #[test]
    fn wipe_licenses_everything_and_rot_only_the_partition_that_it_names() {
        let mut licence = Licence::new(Flush::BeforeAck, 1);
        assert!(licence.fault(1, &FaultEvent::Wiped { node: NodeId(1) }, NAME));
        assert_eq!(licence.wipes(), 1);
        let rot = |partition| FaultEvent::LogRotted { node: NodeId(1), topic: "orders".into(), partition };
        licence.fault(2, &rot(2), NAME);
        assert!(!licence.unreadable());
        licence.fault(3, &rot(3), NAME);
        assert!(licence.unreadable());
    }
}
