//! One change of one partition: what an ISR, replicas and elections come to, as a record
//! (`PartitionChangeBuilder`; KIP-455, KIP-704, KIP-966).
//!
//! **Election**, in this order: the leader that there is; a member of the ISR; when the ISR is empty, an eligible
//! leader replica; when both are empty, the last leader that is known; and only where unclean election is on, any
//! replica that is alive. The last two may lose records: the ISR is then the new leader alone, which is marked as
//! recovering.
//!
//! **ELR.** While the ISR is smaller than `min.insync.replicas`, its leader commits nothing. So whoever left it
//! since then, and did not lose its tail, holds everything that was committed and may lead.
//!
//! Stricter than Kafka, each for an invariant that is asserted here: the ELR is computed for the ISR *after* the
//! election (Kafka: before), names replicas only (Kafka keeps one that a reassignment removed), and what
//! `min.insync.replicas` demands is bounded by the replicas of this partition (Kafka: of partition 0). And the last known
//! leader is forgotten when it comes back with another directory or is unregistered.

use crate::metadata::Partition;
use burnin_wire::metadata_records::PartitionChangeRecord;
use uuid::Uuid;

/// How a leader is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The first replica if it can lead, else as [`Election::Online`].
    Preferred,
    /// Whoever can lead without a loss.
    Online,
    /// As [`Election::Online`], and in the end any replica that is alive.
    Unclean,
}

/// A change under construction. Fields that are not set stay as they are.
pub(super) struct PartitionChange<'a> {
    before: &'a Partition,
    min_isr: usize,
    has_elr: bool,
    may_lead: Box<dyn Fn(i32) -> bool + 'a>,
    directory: Box<dyn Fn(i32) -> Uuid + 'a>,
    pub(super) election: Election,
    pub(super) isr: Vec<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) removing: Vec<i32>,
    pub(super) adding: Vec<i32>,
    pub(super) recovering: bool,
    /// A broker that came back without having stopped cleanly: its tail may be gone.
    pub(super) lost_tail: Option<i32>,
    /// The ISR was chosen without regard to what is committed.
    pub(super) unclean: bool,
    /// A broker whose replica is in another directory from now on.
    pub(super) moved: Option<(i32, Uuid)>,
    /// A broker that is gone for good.
    pub(super) gone: Option<i32>,
}

struct Elected {
    leader: i32,
    unclean: bool,
}

const NO_LEADER: i32 = -1;

impl<'a> PartitionChange<'a> {
    pub(super) fn new(
        before: &'a Partition,
        min_isr: usize,
        has_elr: bool,
        may_lead: Box<dyn Fn(i32) -> bool + 'a>,
        directory: Box<dyn Fn(i32) -> Uuid + 'a>,
    ) -> Self {
        PartitionChange {
            before,
            min_isr,
            has_elr,
            may_lead,
            directory,
            election: Election::Online,
            isr: before.isr.clone(),
            replicas: before.replicas.clone(),
            removing: before.removing.clone(),
            adding: before.adding.clone(),
            recovering: before.recovering,
            lost_tail: None,
            unclean: false,
            moved: None,
            gone: None,
        }
    }

    /// Restricts who may lead further.
    pub(super) fn set_may_lead(&mut self, may_lead: Box<dyn Fn(i32) -> bool + 'a>) {
        self.may_lead = may_lead;
    }

    /// The record, or `None` when nothing changes.
    pub(super) fn build(mut self, topic_id: Uuid, partition_id: i32) -> Option<PartitionChangeRecord> {
        self.complete_reassignment();
        let before = self.before;
        let min_isr = self.min_isr.min(self.replicas.len());
        let mut elr = self.eligible(min_isr);
        let elected = self.elect(&elr);
        if elected.leader != NO_LEADER && !self.isr.contains(&elected.leader) {
            self.isr = vec![elected.leader];
            elr.retain(|id| *id != elected.leader && !elected.unclean);
        }
        if self.isr.is_empty() && !self.has_elr {
            // Without ELR the last member stays, so that it is known who may lead.
            self.isr.clone_from(&before.isr);
        }
        if self.isr.len() >= min_isr || (!self.has_elr && !self.isr.is_empty()) {
            elr.clear();
        }
        let unclean = self.unclean || elected.unclean;
        let recovering = self.recovering || unclean;
        let last_known = self.last_known_elr(elected.leader);
        let directories: Vec<Uuid> = self.replicas.iter().map(|id| self.directory_of(*id)).collect();
        let mut record = PartitionChangeRecord { topic_id, partition_id, ..PartitionChangeRecord::default() };
        if elected.leader != before.leader || elected.unclean {
            record.leader = elected.leader;
        } else if before.replicas.iter().any(|id| !self.replicas.contains(id)) {
            // Replicas that are gone must not be followed or counted in this epoch any more.
            record.leader = before.leader;
        }
        // Marked every time, also where the election before was unclean too: the record itself says what it was.
        if unclean || recovering != before.recovering {
            record.leader_recovery_state = i8::from(recovering);
        }
        record.isr = changed(&before.isr, self.isr);
        record.eligible_leader_replicas = changed(&before.elr, elr);
        record.last_known_elr = changed(&before.last_known_elr, last_known);
        record.replicas = changed(&before.replicas, self.replicas);
        record.removing_replicas = changed(&before.removing, self.removing);
        record.adding_replicas = changed(&before.adding, self.adding);
        record.directories = changed(&before.directories, directories);
        let unchanged = PartitionChangeRecord { topic_id, partition_id, ..PartitionChangeRecord::default() };
        if record == unchanged {
            return None;
        }
        assert_valid(before, &record, min_isr);
        Some(record)
    }

    fn directory_of(&self, broker: i32) -> Uuid {
        match self.moved {
            Some((id, directory)) if id == broker => directory,
            _ => self.before.directory(broker).unwrap_or_else(|| (self.directory)(broker)),
        }
    }

    /// A reassignment is over when every replica that stays is in sync (KAFKA-15665).
    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let stays = |id: &i32| !self.removing.contains(id);
        let isr: Vec<i32> = self.isr.iter().copied().filter(stays).collect();
        let replicas: Vec<i32> = self.replicas.iter().copied().filter(stays).collect();
        if replicas.is_empty() || !replicas.iter().all(|id| isr.contains(id)) {
            return;
        }
        (self.isr, self.replicas) = (isr, replicas);
        self.removing.clear();
        self.adding.clear();
    }

    /// The ELR for the ISR as it is before the election: who was in either, is no longer in the ISR, and holds
    /// what it held.
    fn eligible(&self, min_isr: usize) -> Vec<i32> {
        if self.isr.len() >= min_isr {
            return Vec::new();
        }
        let left: &[i32] = if self.has_elr { &self.before.isr } else { &[] };
        let holds_all =
            |id: &i32| !self.isr.contains(id) && self.replicas.contains(id) && self.lost_tail != Some(*id);
        self.before.elr.iter().chain(left).copied().filter(holds_all).collect()
    }

    fn elect(&self, elr: &[i32]) -> Elected {
        let is_eligible = |id: &i32| {
            let holds_all = self.isr.contains(id) || (self.isr.is_empty() && elr.contains(id));
            holds_all && (self.may_lead)(*id)
        };
        let preferred = self.replicas.first().filter(|_| self.election == Election::Preferred);
        let mut candidates = preferred.into_iter().chain([&self.before.leader]).chain(&self.replicas);
        if let Some(leader) = candidates.find(|id| is_eligible(id)) {
            return Elected { leader: *leader, unclean: false };
        }
        if let Some(leader) = self.last_known_leader(elr) {
            return Elected { leader, unclean: true };
        }
        let anyone = self.replicas.iter().find(|id| (self.may_lead)(**id));
        match anyone.filter(|_| self.election == Election::Unclean) {
            Some(leader) => Elected { leader: *leader, unclean: true },
            None => Elected { leader: NO_LEADER, unclean: false },
        }
    }

    /// Nobody is left who surely holds everything: the last leader is the best guess, once it is back
    /// (KAFKA-19522: not before).
    fn last_known_leader(&self, elr: &[i32]) -> Option<i32> {
        let [last] = self.before.last_known_elr[..] else { return None };
        let wanted = self.holds_something(last)
            && self.has_elr
            && self.isr.is_empty()
            && elr.is_empty()
            && self.replicas.contains(&last);
        (wanted && (self.may_lead)(last)).then_some(last)
    }

    /// Whom to remember while there is no leader.
    fn last_known_elr(&self, leader: i32) -> Vec<i32> {
        let before = self.before;
        if leader != NO_LEADER || (!self.has_elr && !self.isr.is_empty()) {
            return Vec::new();
        }
        let mut known = match (before.leader, &before.last_known_elr[..], &before.isr[..]) {
            (last, _, _) if last != NO_LEADER && self.has_elr && self.isr.is_empty() => vec![last],
            // Leaderless since before ELR was on: the last member of the ISR was the last leader.
            (NO_LEADER, [], [last]) if self.has_elr && self.isr.is_empty() => vec![*last],
            _ => before.last_known_elr.clone(),
        };
        known.retain(|id| self.holds_something(*id));
        known
    }

    /// Not so a broker with an empty disk: elected as the last known leader, it would empty the others too.
    fn holds_something(&self, broker: i32) -> bool {
        self.moved.is_none_or(|(id, _)| id != broker) && self.gone != Some(broker)
    }
}

fn changed<T: PartialEq>(before: &T, after: T) -> Option<T> {
    (*before != after).then_some(after)
}

fn assert_valid(before: &Partition, record: &PartitionChangeRecord, min_isr: usize) {
    let mut after = before.clone();
    after.merge(record);
    if let Err(broken) = after.check() {
        panic!("a change breaks an invariant: {broken} before={before:?} record={record:?}");
    }
    assert!(
        after.isr.len() < min_isr || after.elr.is_empty(),
        "an ELR beside a full ISR: min_isr={min_isr} before={before:?} after={after:?}"
    );
    assert!(
        after.elr.iter().all(|id| after.replicas.contains(id)),
        "the ELR names a broker that is no replica: before={before:?} after={after:?}"
    );
}
