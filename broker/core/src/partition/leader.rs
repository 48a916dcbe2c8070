//! The leader of a partition in one leader epoch.

use super::Eligibility;
use burnin_runtime::{Instant, Mutant, Mutants};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Settings of the partition that decide.
#[derive(Clone, Copy, Debug)]
pub struct LeaderConfig {
    /// `min.insync.replicas`.
    pub min_isr: usize,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
}

/// What a new leader begins with.
#[derive(Clone, Debug)]
pub struct LeaderStart {
    /// This broker.
    pub me: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// All replicas, this broker among them.
    pub replicas: Vec<i32>,
    /// The committed ISR.
    pub isr: Vec<i32>,
    /// Where the log ends when the epoch begins: the first offset of the epoch.
    pub epoch_start: i64,
    /// Where the part of the own log ends that counts (the durable part, where an acknowledgement means fsynced).
    pub own_end: i64,
    /// What this replica knows to be committed.
    pub high_watermark: i64,
}

/// What a follower says by a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    /// It holds everything below, durably where an acknowledgement means fsynced.
    pub offset: i64,
    /// Where its log starts.
    pub log_start_offset: i64,
    /// The broker epoch under which it fetches; -1 when it does not say.
    pub broker_epoch: i64,
}

/// What the leader knows of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    /// One past what it holds (durably, where an acknowledgement means fsynced). -1: not known yet.
    pub end_offset: i64,
    /// When it last had everything that the leader had at the time.
    pub caught_up_at: Instant,
    /// The broker epoch of its last fetch.
    pub broker_epoch: i64,
    /// Where its log starts; -1: not known yet.
    pub log_start_offset: i64,
    last_fetch_at: Instant,
    leader_end_at_last_fetch: i64,
}

impl ReplicaView {
    fn unknown(now: Instant) -> ReplicaView {
        ReplicaView {
            end_offset: -1,
            caught_up_at: now,
            broker_epoch: -1,
            log_start_offset: -1,
            last_fetch_at: Instant::ZERO,
            leader_end_at_last_fetch: -1,
        }
    }

    /// Whether it has everything, or had everything a short time ago (`ReplicaState.isCaughtUp`). One that has
    /// everything of an idle partition does not fall behind by being idle.
    fn is_caught_up(&self, own_end: i64, now: Instant, lag_time_max: Duration) -> bool {
        self.end_offset >= own_end || now.since(self.caught_up_at) <= lag_time_max
    }
}

/// An ISR to ask the controller for, by AlterPartition (KIP-497).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// Node ids with the broker epochs under which they were seen; -1 where none is known.
    pub isr: Vec<(i32, i64)>,
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The high watermark moved to here.
    pub high_watermark: Option<i64>,
    /// To send.
    pub propose: Option<IsrProposal>,
}

/// How an AlterPartition request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterPartitionError {
    /// The controller knows a newer state, which will come as metadata: wait for it.
    Stale,
    /// The controller refuses one of the members: drop the proposal, and try again when somebody asks anew.
    Ineligible,
    /// No answer, or a controller that moved: send the same again.
    Retry,
}

/// The leader.
#[derive(Debug)]
pub struct Leader {
    me: i32,
    config: LeaderConfig,
    leader_epoch: i32,
    partition_epoch: i32,
    epoch_start: i64,
    high_watermark: i64,
    own_end: i64,
    replicas: BTreeMap<i32, ReplicaView>,
    isr: BTreeSet<i32>,
    proposed: Option<BTreeSet<i32>>,
    mutants: Mutants,
}

impl Leader {
    /// Takes over. The other replicas get `lag_time_max` from now on to show that they are there.
    pub fn new(start: LeaderStart, config: LeaderConfig, now: Instant) -> Self {
        assert!(
            start.isr.contains(&start.me),
            "a leader is in its ISR: leader={} isr={:?}",
            start.me,
            start.isr
        );
        assert!(
            start.high_watermark <= start.own_end && start.own_end <= start.epoch_start,
            "high watermark past the log: high_watermark={} own_end={} log_end_offset={}",
            start.high_watermark,
            start.own_end,
            start.epoch_start
        );
        let unknown = ReplicaView::unknown(now);
        Leader {
            me: start.me,
            config,
            leader_epoch: start.leader_epoch,
            partition_epoch: start.partition_epoch,
            epoch_start: start.epoch_start,
            high_watermark: start.high_watermark,
            own_end: start.own_end,
            replicas: start.replicas.iter().filter(|id| **id != start.me).map(|id| (*id, unknown)).collect(),
            isr: start.isr.into_iter().collect(),
            proposed: None,
            mutants: Mutants::NONE,
        }
    }

    /// The same with a planted bug.
    pub fn planted(self, mutants: Mutants) -> Self {
        Leader { mutants, ..self }
    }

    /// Everything below is committed.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The first offset of this leader's epoch. Until the high watermark has reached it, "latest" is not known
    /// (KIP-207).
    pub fn epoch_start(&self) -> i64 {
        self.epoch_start
    }

    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// The ISR that the controller accepted last.
    pub fn isr(&self) -> &BTreeSet<i32> {
        &self.isr
    }

    /// What is known of another replica.
    pub fn replica(&self, id: i32) -> Option<&ReplicaView> {
        self.replicas.get(&id)
    }

    /// Whoever the controller may believe to be in sync.
    pub fn maximal_isr(&self) -> BTreeSet<i32> {
        match &self.proposed {
            Some(proposed) => self.isr.union(proposed).copied().collect(),
            None => self.isr.clone(),
        }
    }

    /// Whether acks=all may be promised (KIP-966: the ISR that was accepted, never the proposed one).
    pub fn has_min_isr(&self) -> bool {
        self.isr.len() >= self.min_isr()
    }

    /// How many acks=all demands: no more than there are (`Partition.effectiveMinIsr`).
    pub fn min_isr(&self) -> usize {
        self.config.min_isr.min(self.replicas.len() + 1)
    }

    /// Takes other settings: a lower minimum may let the high watermark move.
    pub fn set_config(&mut self, config: LeaderConfig, now: Instant) -> Effects {
        self.config = config;
        Effects { high_watermark: self.advance(now), propose: None }
    }

    /// Up to where the own log counts.
    pub fn own_end(&self) -> i64 {
        self.own_end
    }

    /// The least log start of this leader, whose log starts at `own`, and of those followers that are `alive`: what
    /// lies below is gone everywhere (KIP-107).
    pub fn low_watermark(&self, own: i64, alive: impl Fn(i32) -> bool) -> i64 {
        let others = self.replicas.iter().filter(|(id, _)| alive(**id));
        others.map(|(_, replica)| replica.log_start_offset).fold(own, i64::min)
    }

    /// The followers in sync that hold `offset`: whom a consumer may be sent to (KIP-392).
    pub fn holders(&self, offset: i64) -> impl Iterator<Item = i32> {
        let holds = move |replica: &ReplicaView| {
            replica.log_start_offset >= 0 && (replica.log_start_offset..=replica.end_offset).contains(&offset)
        };
        let in_sync = self.replicas.iter().filter(|(id, _)| self.isr.contains(id));
        in_sync.filter(move |(_, replica)| holds(replica)).map(|(id, _)| *id)
    }

    /// This broker's own log (its durable part, where an acknowledgement means fsynced) now ends at `end`.
    pub fn appended(&mut self, end: i64, now: Instant) -> Effects {
        assert!(end >= self.own_end, "a leader's log does not shrink: from={} to={end}", self.own_end);
        // Whoever had everything had it until now.
        for replica in self.replicas.values_mut().filter(|replica| replica.end_offset >= self.own_end) {
            replica.caught_up_at = replica.caught_up_at.max(now);
        }
        self.own_end = end;
        Effects { high_watermark: self.advance(now), propose: None }
    }

    /// A follower asks for what comes next, so it holds everything below. The caller has made sure that its log
    /// does not diverge, and that its leader epoch is ours.
    pub fn fetched(
        &mut self,
        id: i32,
        fetch: FollowerFetch,
        eligibility: Eligibility,
        now: Instant,
    ) -> Effects {
        let own_end = self.own_end;
        let Some(replica) = self.replicas.get_mut(&id) else { return Effects::default() };
        if fetch.offset >= own_end {
            replica.caught_up_at = now;
        } else if fetch.offset >= replica.leader_end_at_last_fetch {
            replica.caught_up_at = replica.caught_up_at.max(replica.last_fetch_at);
        }
        replica.end_offset = fetch.offset;
        replica.log_start_offset = fetch.log_start_offset;
        replica.broker_epoch = fetch.broker_epoch;
        replica.last_fetch_at = now;
        replica.leader_end_at_last_fetch = own_end;
        let propose = self.expand(id, eligibility);
        Effects { high_watermark: self.advance(now), propose }
    }

    /// Looks once more whether somebody may join, after brokers changed or the controller refused. Whoever would have
    /// to leave at once stays outside: it has not said anything since.
    pub fn reconsider(&mut self, eligibility: impl Fn(i32) -> Option<Eligibility>, now: Instant) -> Effects {
        let may_join = |id: &i32| !self.isr.contains(id) && !self.lags(*id, now);
        let outside: Vec<i32> = self.replicas.keys().copied().filter(may_join).collect();
        let propose = outside.into_iter().find_map(|id| self.expand(id, eligibility(id)?));
        Effects { high_watermark: None, propose }
    }

    /// Time has passed: whoever has not caught up for too long must leave the ISR.
    pub fn tick(&mut self, now: Instant) -> Effects {
        let lagging: Vec<i32> = self.isr.iter().copied().filter(|id| self.lags(*id, now)).collect();
        if lagging.is_empty() || self.proposed.is_some() {
            return Effects::default();
        }
        let isr: BTreeSet<i32> = self.isr.iter().copied().filter(|id| !lagging.contains(id)).collect();
        let propose = Some(self.propose(isr.clone()));
        if self.mutants.on(Mutant::R18) {
            // the planted bug does not wait for the controller: whoever is to leave counts no longer
            self.isr = isr;
            return Effects { high_watermark: self.advance(now), propose };
        }
        Effects { high_watermark: None, propose }
    }

    /// When the next member would have to leave.
    pub fn deadline(&self) -> Instant {
        let last = |id: &i32| {
            let behind = self.replicas.get(id).filter(|replica| replica.end_offset < self.own_end)?;
            Some(behind.caught_up_at + self.config.lag_time_max)
        };
        let lagging = self.isr.iter().filter_map(last).min().unwrap_or(Instant::FAR_FUTURE);
        if self.proposed.is_some() { Instant::FAR_FUTURE } else { lagging }
    }

    /// The controller accepted an ISR, or changed it by itself; states arrive in any order, older ones are
    /// dropped. Replicas may have been added or removed (a reassignment); one that is gone is in no ISR.
    pub fn committed(
        &mut self,
        isr: &[i32],
        replicas: &[i32],
        partition_epoch: i32,
        now: Instant,
    ) -> Effects {
        if partition_epoch < self.partition_epoch {
            return Effects::default();
        }
        self.take(isr, partition_epoch);
        self.replicas.retain(|id, _| replicas.contains(id));
        for id in replicas.iter().filter(|id| **id != self.me) {
            self.replicas.entry(*id).or_insert(ReplicaView::unknown(now));
        }
        Effects { high_watermark: self.advance(now), propose: None }
    }

    /// The controller answered AlterPartition with this ISR. The answer says nothing about replicas: those come with
    /// the metadata of the same epoch, and until then members count that will be gone.
    pub fn accepted(&mut self, isr: &[i32], partition_epoch: i32, now: Instant) -> Effects {
        self.take(isr, partition_epoch);
        Effects { high_watermark: self.advance(now), propose: None }
    }

    /// An ISR, if it is newer than the one that is known.
    fn take(&mut self, isr: &[i32], partition_epoch: i32) {
        if partition_epoch > self.partition_epoch {
            assert!(isr.contains(&self.me), "a leader is in its ISR: leader={} isr={isr:?}", self.me);
            self.partition_epoch = partition_epoch;
            self.isr = isr.iter().copied().collect();
            self.proposed = None;
        }
    }

    /// The proposal that was sent did not succeed. A refused expansion stops counting: the controller did not
    /// and will not accept it. What is said of an earlier proposal than the pending one is not listened to.
    pub fn alter_partition_failed(
        &mut self,
        proposal: &IsrProposal,
        error: AlterPartitionError,
    ) -> Option<IsrProposal> {
        let members = || proposal.isr.iter().map(|(id, _)| *id);
        let is_pending = (proposal.leader_epoch, proposal.partition_epoch)
            == (self.leader_epoch, self.partition_epoch)
            && self.proposed.as_ref().is_some_and(|pending| pending.iter().copied().eq(members()));
        if !is_pending {
            return None;
        }
        match error {
            // It may have been accepted: it counts until metadata says more.
            AlterPartitionError::Stale => None,
            AlterPartitionError::Ineligible => {
                self.proposed = None;
                None
            }
            AlterPartitionError::Retry => self.proposed.clone().map(|isr| self.proposal(&isr)),
        }
    }

    fn lags(&self, id: i32, now: Instant) -> bool {
        let is_caught_up =
            |replica: &ReplicaView| replica.is_caught_up(self.own_end, now, self.config.lag_time_max);
        self.replicas.get(&id).is_some_and(|replica| !is_caught_up(replica))
    }

    fn expand(&mut self, id: i32, eligibility: Eligibility) -> Option<IsrProposal> {
        let replica = self.replicas.get(&id)?;
        let offset = replica.end_offset;
        let joins = self.proposed.is_none()
            && !self.isr.contains(&id)
            && offset >= self.high_watermark
            && self.may_join(eligibility, replica.broker_epoch)
            // the planted bug takes the high watermark for what is committed, also when it is stale
            && (offset >= self.epoch_start || self.mutants.on(Mutant::R06));
        joins.then(|| {
            let mut isr = self.isr.clone();
            isr.insert(id);
            self.propose(isr)
        })
    }

    fn may_join(&self, eligibility: Eligibility, fetch_epoch: i64) -> bool {
        // the planted bug asks for whoever has everything; the controller has the other half of it
        let active = Eligibility { fenced: false, shutting_down: false, ..eligibility };
        eligibility.may_join(fetch_epoch) || (active.may_join(fetch_epoch) && self.mutants.on(Mutant::R14))
    }

    fn propose(&mut self, isr: BTreeSet<i32>) -> IsrProposal {
        let proposal = self.proposal(&isr);
        self.proposed = Some(isr);
        proposal
    }

    fn proposal(&self, isr: &BTreeSet<i32>) -> IsrProposal {
        let epoch = |id: &i32| self.replicas.get(id).map_or(-1, |replica| replica.broker_epoch);
        IsrProposal {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: isr.iter().map(|id| (*id, epoch(id))).collect(),
        }
    }

    fn advance(&mut self, now: Instant) -> Option<i64> {
        // the planted bug moves it however small the ISR is
        if !self.has_min_isr() && !self.mutants.on(Mutant::R17) {
            return None;
        }
        let maximal = self.maximal_isr();
        // the planted bug forgets that the controller may have accepted what was proposed
        let forgets = self.proposed.is_some() && self.mutants.on(Mutant::R12);
        let lag_time_max = self.config.lag_time_max;
        // A replica that is caught up and about to join is waited for, so that it does not fall behind the
        // high watermark while it joins.
        let counts = |id: &i32, replica: &ReplicaView| {
            if forgets {
                return self.isr.contains(id);
            }
            maximal.contains(id)
                || (replica.end_offset >= self.high_watermark
                    && replica.end_offset >= self.epoch_start
                    && self.proposed.is_some()
                    && replica.is_caught_up(self.own_end, now, lag_time_max)
                    && replica.last_fetch_at > Instant::ZERO)
        };
        let others = self
            .replicas
            .iter()
            .filter(|(id, replica)| counts(id, replica))
            .map(|(_, replica)| replica.end_offset);
        let least = others.chain([self.own_end]).min().unwrap_or(self.own_end);
        assert!(
            least <= self.own_end,
            "high watermark past the log: least={least} log_end_offset={}",
            self.own_end
        );
        (least > self.high_watermark).then(|| {
            self.high_watermark = least;
            least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIVE: Eligibility = Eligibility { broker_epoch: 7, fenced: false, shutting_down: false };

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn from(offset: i64, broker_epoch: i64) -> FollowerFetch {
        FollowerFetch { offset, log_start_offset: 0, broker_epoch }
    }

    fn leader(isr: &[i32], min_isr: usize) -> Leader {
        let start = LeaderStart {
            me: 1,
            leader_epoch: 5,
            partition_epoch: 9,
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
            epoch_start: 10,
            own_end: 10,
            high_watermark: 4,
        };
        Leader::new(start, LeaderConfig { min_isr, lag_time_max: Duration::from_secs(10) }, at(0))
    }

    #[test]
    fn high_watermark_is_the_least_log_end_of_the_isr() {
        let mut leader = leader(&[1, 2, 3], 2);
        assert_eq!(leader.appended(20, at(1)).high_watermark, None);
        assert_eq!(leader.fetched(2, from(20, 7), ALIVE, at(2)).high_watermark, None);
        assert_eq!(leader.fetched(3, from(15, 7), ALIVE, at(3)).high_watermark, Some(15));
        assert_eq!(leader.fetched(3, from(20, 7), ALIVE, at(4)).high_watermark, Some(20));
    }

    #[test]
    fn high_watermark_rests_while_the_isr_is_below_the_minimum() {
        let mut leader = leader(&[1], 2);
        assert!(!leader.has_min_isr());
        assert_eq!(leader.appended(30, at(1)).high_watermark, None);
        let effects = leader.fetched(2, from(30, 7), ALIVE, at(2));
        assert_eq!(effects.high_watermark, None, "a proposed ISR promises nothing yet");
        assert!(effects.propose.is_some());
        assert_eq!(leader.committed(&[1, 2], &[1, 2, 3], 10, at(3)).high_watermark, Some(30));
    }

    #[test]
    fn follower_joins_only_at_the_high_watermark_and_the_epoch_start() {
        let mut leader = leader(&[1, 2], 1);
        leader.appended(20, at(1));
        // Past the (stale) high watermark 4, before the epoch's start 10 (KAFKA-7128).
        assert_eq!(leader.fetched(3, from(9, 7), ALIVE, at(2)).propose, None);
        let proposal = leader.fetched(3, from(10, 7), ALIVE, at(3)).propose.expect("it has reached both");
        assert_eq!(proposal.isr, vec![(1, -1), (2, -1), (3, 7)]);
        assert_eq!(proposal.partition_epoch, 9);
    }

    #[test]
    fn pending_expansion_holds_the_high_watermark_back() {
        let mut leader = leader(&[1, 2], 1);
        leader.appended(20, at(1));
        let proposal = leader.fetched(3, from(12, 7), ALIVE, at(2)).propose.unwrap();
        // The controller may have accepted it already and elect 3 (KAFKA-12686).
        assert_eq!(leader.fetched(2, from(20, 7), ALIVE, at(3)).high_watermark, Some(12));
        leader.alter_partition_failed(&proposal, AlterPartitionError::Ineligible);
        assert_eq!(leader.appended(21, at(4)).high_watermark, Some(20));
    }

    #[test]
    fn refusal_of_an_earlier_proposal_leaves_the_pending_one() {
        let mut leader = leader(&[1, 2], 1);
        leader.appended(20, at(1));
        let first = leader.fetched(3, from(12, 7), ALIVE, at(2)).propose.unwrap();
        // Its answer is slow; meanwhile the metadata say something else, and the same is asked for again.
        leader.committed(&[1, 2], &[1, 2, 3], 10, at(3));
        let second = leader.fetched(3, from(12, 7), ALIVE, at(4)).propose.unwrap();
        assert_eq!((first.partition_epoch, second.partition_epoch), (9, 10));
        assert_eq!(leader.alter_partition_failed(&first, AlterPartitionError::Ineligible), None);
        assert_eq!(leader.fetched(2, from(20, 7), ALIVE, at(5)).high_watermark, Some(12), "3 still counts");
        assert_eq!(leader.alter_partition_failed(&first, AlterPartitionError::Retry), None);
        assert!(leader.alter_partition_failed(&second, AlterPartitionError::Retry).is_some());
        leader.alter_partition_failed(&second, AlterPartitionError::Ineligible);
        assert_eq!(leader.appended(21, at(6)).high_watermark, Some(20));
    }

    #[test]
    fn answer_from_before_a_reassignment_was_cancelled_counts_its_members() {
        let mut leader = leader(&[1], 2);
        leader.appended(20, at(1));
        assert!(leader.fetched(3, from(12, 7), ALIVE, at(2)).propose.is_some());
        // By now the controller has removed 3, which this leader has not heard of: one copy is not enough.
        assert_eq!(leader.accepted(&[1, 3], 10, at(3)).high_watermark, Some(12));
        assert_eq!(leader.accepted(&[1, 3], 10, at(3)), Effects::default());
        let effects = leader.committed(&[1], &[1, 2], 11, at(4));
        assert_eq!((effects, leader.has_min_isr()), (Effects::default(), false));
    }

    #[test]
    fn lagging_member_leaves_only_when_the_controller_says_so() {
        let mut leader = leader(&[1, 2, 3], 2);
        leader.appended(20, at(1));
        leader.fetched(2, from(20, 7), ALIVE, at(9_000));
        assert_eq!(leader.tick(at(10_000)), Effects::default());
        let proposal = leader.tick(at(10_001)).propose.expect("3 was silent for more than ten seconds");
        assert_eq!(proposal.isr.iter().map(|(id, _)| *id).collect::<Vec<_>>(), vec![1, 2]);
        assert_eq!(leader.appended(25, at(10_002)).high_watermark, None, "3 counts until it is out");
        assert_eq!(leader.committed(&[1, 2], &[1, 2, 3], 10, at(10_100)).high_watermark, Some(20));
    }

    #[test]
    fn slow_follower_that_reads_everything_in_time_stays_in_sync() {
        let mut leader = leader(&[1, 2], 1);
        for step in 1..10 {
            leader.appended(10 + step * 10, at(step as u64 * 5_000));
            // Always one step behind, but it had everything that was there at its fetch before.
            leader.fetched(2, from(step * 10, 7), ALIVE, at(step as u64 * 5_000 + 1));
            assert_eq!(leader.tick(at(step as u64 * 5_000 + 2)).propose, None, "step {step}");
        }
    }

    #[test]
    fn fenced_leaving_or_earlier_incarnations_do_not_join() {
        for (eligibility, epoch) in [
            (Eligibility { fenced: true, ..ALIVE }, 7),
            (Eligibility { shutting_down: true, ..ALIVE }, 7),
            (ALIVE, 6),
        ] {
            let mut leader = leader(&[1, 2], 1);
            leader.appended(20, at(1));
            assert_eq!(
                leader.fetched(3, from(20, epoch), eligibility, at(2)).propose,
                None,
                "{eligibility:?} {epoch}"
            );
        }
        let mut leader = leader(&[1, 2], 1);
        leader.appended(20, at(1));
        assert!(
            leader.fetched(3, from(20, -1), ALIVE, at(2)).propose.is_some(),
            "an old fetch carries no epoch"
        );
    }

    #[test]
    fn older_states_from_the_controller_are_dropped() {
        let mut leader = leader(&[1, 2, 3], 1);
        leader.committed(&[1, 2], &[1, 2, 3], 12, at(1));
        leader.committed(&[1, 2, 3], &[1, 2, 3], 11, at(2));
        assert_eq!(leader.isr(), &BTreeSet::from([1, 2]));
    }

    #[test]
    fn idle_follower_that_has_everything_stays_and_gets_its_time_when_records_come() {
        let mut leader = leader(&[1, 2], 1);
        leader.fetched(2, from(10, 7), ALIVE, at(1));
        assert_eq!(leader.tick(at(60_000)), Effects::default(), "nothing came, nothing is missing");
        leader.appended(11, at(60_000));
        assert_eq!(leader.tick(at(70_000)), Effects::default());
        assert_eq!(leader.deadline(), at(70_000));
        assert!(leader.tick(at(70_001)).propose.is_some());
    }

    #[test]
    fn follower_that_was_not_eligible_joins_when_it_is() {
        let mut leader = leader(&[1, 2], 1);
        let fenced = Eligibility { fenced: true, ..ALIVE };
        assert_eq!(leader.fetched(3, from(10, 7), fenced, at(2)).propose, None);
        assert_eq!(leader.reconsider(|_| Some(fenced), at(3)).propose, None);
        assert_eq!(leader.reconsider(|_| None, at(3)).propose, None, "an unknown broker");
        assert!(leader.reconsider(|_| Some(ALIVE), at(3)).propose.is_some());
        assert_eq!(leader.reconsider(|_| Some(ALIVE), at(3)).propose, None, "one at a time");
    }

    #[test]
    fn member_that_left_for_its_silence_does_not_come_back_by_it() {
        let mut leader = leader(&[1, 2, 3], 3);
        leader.fetched(2, from(10, 7), ALIVE, at(1));
        leader.fetched(3, from(10, 7), ALIVE, at(1));
        leader.appended(11, at(2));
        leader.fetched(2, from(11, 7), ALIVE, at(10_000));
        assert!(leader.tick(at(10_003)).propose.is_some());
        leader.committed(&[1, 2], &[1, 2, 3], 10, at(10_004));
        assert_eq!(leader.high_watermark(), 10, "it still holds everything that is committed");
        assert_eq!(leader.reconsider(|_| Some(ALIVE), at(10_005)).propose, None);
        assert!(leader.fetched(3, from(11, 7), ALIVE, at(10_006)).propose.is_some());
    }

    #[test]
    fn own_end_that_is_not_durable_yet_holds_the_high_watermark_back() {
        let start = LeaderStart {
            me: 1,
            leader_epoch: 5,
            partition_epoch: 9,
            replicas: vec![1, 2],
            isr: vec![1, 2],
            epoch_start: 10,
            own_end: 8,
            high_watermark: 4,
        };
        let config = LeaderConfig { min_isr: 1, lag_time_max: Duration::from_secs(10) };
        let mut leader = Leader::new(start, config, at(0));
        assert_eq!(leader.fetched(2, from(10, 7), ALIVE, at(1)).high_watermark, Some(8));
        assert_eq!(leader.appended(10, at(2)).high_watermark, Some(10));
    }

    #[test]
    fn low_watermark_and_holders_are_what_followers_say() {
        let mut leader = leader(&[1, 2], 1);
        assert_eq!(leader.low_watermark(3, |_| true), -1, "not known yet");
        leader.fetched(2, FollowerFetch { offset: 10, log_start_offset: 2, broker_epoch: 7 }, ALIVE, at(1));
        assert_eq!(leader.low_watermark(3, |id| id == 2), 2);
        assert_eq!(leader.low_watermark(3, |_| false), 3);
        assert_eq!(leader.holders(10).collect::<Vec<_>>(), [2]);
        assert_eq!((leader.holders(1).count(), leader.holders(11).count()), (0, 0));
    }
}
