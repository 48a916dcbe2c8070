//! The loss licence: what the contract allows to disappear, computed from the faults that were injected.
//!
//! | what happened | what it allows |
//! |---|---|
//! | process killed, stopped, paused, cut off, its disk slow, full or failing | nothing |
//! | power lost, partition flushes before it acknowledges | nothing |
//! | power lost, partition acknowledges from the page cache | a *suffix* of what was sent before it; nothing sent later |
//! | directory wiped | everything sent before it |
//! | `DeleteRecords`, retention | removal from the front, up to the offset asked for (retention: any) |
//! | the topic deleted and created again | everything sent before it was created again, and it must not come back |
//! | bytes of a log segment damaged on the medium | an answer that is an error; never wrong data, never silence |
//! | `acks=0` | never promised |
//!
//! | a replica that was not in sync was elected, `unclean.leader.election.enable=true` | any of what was sent before it |
//! | `acks=1` in a replicated partition | as long as the leader stays, what the rest of the table says; with another leader, a suffix |
//!
//! "Allows" needs as many replicas as an acknowledgement waited for: with `min.insync.replicas=2`, two different
//! nodes must have lost power, or their directory, after a record was sent (KIP-966: the ISR and the eligible leader
//! replicas hold all that was committed, and one that comes back from an unclean stop belongs to neither). A node
//! that was seen to leave the ISR and to join it again has everything again, and counts no longer. Where
//! `min.insync.replicas` changed during the run, the least that it ever was counts.
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
    power_lost: BTreeMap<NodeId, Loss>,
    wiped: BTreeMap<NodeId, Loss>,
    horizon: Option<Moment>,
    generation: u32,
    wipes: u32,
    rotted: bool,
    removable_below: i64,
    replicas: u32,
    unclean: bool,
    leader: Option<i32>,
    leaders: u32,
    incarnation: Incarnation,
}

/// Which topic of this name a partition belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incarnation {
    /// The only one that there ever was.
    Only,
    /// It is being deleted and created again: nobody can say which of the two answers.
    Between,
    /// The one with this id.
    Is(u128),
}

/// A node that lost what it had.
#[derive(Clone, Copy, Debug)]
struct Loss {
    at: Moment,
    /// Whether it was seen outside of the ISR since.
    left: bool,
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
            replicas: 1,
            unclean: false,
            leader: None,
            leaders: 0,
            incarnation: Incarnation::Only,
        }
    }

    /// A fault happened; `name` is the partition's topic and number. Returns whether the generation went up.
    pub fn fault(&mut self, at: Moment, fault: &FaultEvent, name: (&str, i32)) -> bool {
        let lossy = match fault {
            FaultEvent::PowerLost { node } if self.flush == Flush::PageCache => {
                self.power_lost.insert(*node, Loss { at, left: false });
                true
            }
            FaultEvent::Wiped { node } => {
                self.wiped.insert(*node, Loss { at, left: false });
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
        let mut last: BTreeMap<NodeId, Moment> = BTreeMap::new();
        for (node, loss) in self.power_lost.iter().chain(&self.wiped) {
            let entry = last.entry(*node).or_insert(loss.at);
            *entry = (*entry).max(loss.at);
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

    /// The partition has so many replicas; whether one that is not in sync may lead.
    pub fn replicated(&mut self, replicas: u32, unclean: bool) {
        (self.replicas, self.unclean) = (replicas, unclean);
        self.needed = self.needed.min(replicas.max(1) as usize);
    }

    /// From now on an acknowledgement may wait for only so many replicas.
    pub fn may_be_acknowledged_by(&mut self, min_isr: u32) {
        self.needed = self.needed.min(min_isr.max(1) as usize);
    }

    /// Whether a replica that is not in sync may lead.
    pub fn elects_uncleanly(&self) -> bool {
        self.unclean
    }

    /// Whether a leader's own append is less than a promise across a failover.
    pub fn is_replicated(&self) -> bool {
        self.replicas > 1
    }

    /// These are in sync, by the newest metadata.
    pub fn in_sync(&mut self, isr: &[i32]) {
        for losses in [&mut self.power_lost, &mut self.wiped] {
            losses.retain(|node, loss| {
                let inside = isr.contains(&node.0);
                let back = inside && loss.left;
                loss.left |= !inside;
                !back
            });
        }
    }

    /// This node leads now, and whether it was eligible. Returns whether the generation went up.
    pub fn elected(&mut self, at: Moment, leader: i32, eligible: bool) -> bool {
        if self.leader.is_some_and(|known| known != leader) {
            self.leaders += 1;
        }
        self.leader = Some(leader);
        if eligible || !self.unclean {
            return false;
        }
        self.horizon = Some(at);
        self.generation += 1;
        true
    }

    /// The topic is being deleted: all of it may be gone from now on.
    pub fn deleted(&mut self) {
        self.incarnation = Incarnation::Between;
        self.begin_anew(Moment::MAX);
    }

    /// The topic was created again, with this id: whatever was sent before may be gone.
    pub fn created_again(&mut self, at: Moment, topic_id: u128) {
        self.incarnation = Incarnation::Is(topic_id);
        self.begin_anew(at);
    }

    fn begin_anew(&mut self, horizon: Moment) {
        self.horizon = Some(horizon);
        self.generation += 1;
        self.wipes += 1;
        self.power_lost.clear();
        self.wiped.clear();
        self.leader = None;
        self.leaders += 1;
    }

    /// Whether nobody can say which topic of this name answers.
    pub fn is_between_topics(&self) -> bool {
        self.incarnation == Incarnation::Between
    }

    /// Whether an answer of the topic with this id (0: it was asked by name) is of this incarnation; `None` when that
    /// depends on when it was asked for.
    pub fn is_of_this_topic(&self, topic_id: u128) -> Option<bool> {
        match (self.incarnation, topic_id) {
            (Incarnation::Only, _) => Some(true),
            (Incarnation::Between, _) => Some(false),
            (Incarnation::Is(_), 0) => None,
            (Incarnation::Is(known), id) => Some(known == id),
        }
    }

    /// Who leads, if that was told.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader.filter(|leader| *leader >= 0).map(NodeId)
    }

    /// How often another node became the leader, or none was left.
    pub fn leaders(&self) -> u32 {
        self.leaders
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

    /// The generation of what is sent now: while nobody can say which topic takes it, one that is never reached.
    pub fn generation_of_new(&self) -> u32 {
        if self.is_between_topics() { u32::MAX } else { self.generation }
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
    fn least_minimum_of_the_run_counts_and_no_more_replicas_than_there_are() {
        let mut lowered = Licence::new(Flush::PageCache, 2);
        lowered.may_be_acknowledged_by(1);
        lowered.may_be_acknowledged_by(2);
        assert!(lowered.fault(1, &power(1), NAME));
        let mut single = Licence::new(Flush::PageCache, 2);
        single.replicated(1, false);
        assert!(single.fault(1, &power(1), NAME));
    }

    #[test]
    fn node_that_joined_again_has_everything_again() {
        let mut licence = Licence::new(Flush::PageCache, 2);
        assert!(!licence.fault(1, &power(1), NAME));
        licence.in_sync(&[1, 2, 3]);
        licence.in_sync(&[2, 3]);
        licence.in_sync(&[1, 2, 3]);
        assert!(!licence.fault(2, &power(2), NAME), "1 fetched all that it had lost");
        assert!(licence.fault(3, &power(1), NAME), "2 did not");
    }

    #[test]
    fn unclean_election_is_a_licence_only_where_it_is_allowed() {
        let mut licence = Licence::new(Flush::BeforeAck, 2);
        assert!(!licence.elected(1, 3, false));
        licence.replicated(3, true);
        assert!(!licence.elected(2, 2, true));
        assert!(licence.elected(3, 3, false));
        assert!(licence.before_loss(3) && !licence.before_loss(4));
    }

    #[test]
    fn topic_that_is_created_again_takes_everything_with_it_and_answers_under_its_own_id() {
        let mut licence = Licence::new(Flush::BeforeAck, 2);
        assert_eq!(licence.is_of_this_topic(7), Some(true));
        licence.deleted();
        assert!(licence.before_loss(5) && licence.is_between_topics());
        assert_eq!(licence.is_of_this_topic(8), Some(false));
        assert!(licence.generation_of_new() > licence.generation());
        licence.created_again(6, 8);
        assert!(licence.before_loss(6) && !licence.before_loss(7));
        assert_eq!([7, 8, 0].map(|id| licence.is_of_this_topic(id)), [Some(false), Some(true), None]);
        assert_eq!((licence.generation(), licence.wipes()), (2, 2));
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
