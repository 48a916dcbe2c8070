//! What a leader does: appends, answers followers, knows what is committed, and keeps its ISR.

use super::Verdict;
use super::partition::{Duty, Partition, Role};
use burnin_core::partition::{AlterPartitionError, Eligibility, FollowerFetch, IsrProposal};
use burnin_log::{AppendError, Appended, Origin};
use burnin_runtime::{Mutant, Observation, Runtime};
use burnin_wire::ErrorCode;
use bytes::BytesMut;
use std::sync::{Arc, Weak};
use tokio::sync::{Notify, oneshot};

/// Why a leader did not append.
pub(crate) enum Refused {
    /// This broker does not lead.
    NotLeader,
    /// The ISR is smaller than acks=all demands.
    NotEnoughReplicas {
        in_sync: usize,
        min: usize,
    },
    Append(AppendError),
}

/// What is known of a producer's records.
pub(crate) enum Committed {
    Now(Verdict),
    /// With the durability of the own log: there is nobody else to wait for.
    WhenDurable,
    Later(oneshot::Receiver<Verdict>),
}

/// What a follower's fetch position is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// It may read from there.
    Good,
    /// Its log leaves ours: this epoch ended here at this offset.
    Diverging(i32, i64),
}

/// A position in a log as a follower's fetch gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
    pub(super) fetch: FollowerFetch,
}

impl<R: Runtime> Partition<R> {
    /// Appends a client's batch, and gives the leader epoch in which that happened.
    pub(crate) fn append(&self, batch: BytesMut, acks: i16) -> Result<(Appended, i32), Refused> {
        match self.duty() {
            Duty::Alone => {
                let epoch = self.leader_epoch();
                let appended = self.log.append(batch, epoch, Origin::Client).map_err(Refused::Append)?;
                Ok((appended, epoch))
            }
            Duty::Leads => {
                let state = self.state.lock();
                let Role::Leader(leader) = &state.role else { return Err(Refused::NotLeader) };
                if acks == -1 && !leader.has_min_isr() {
                    let (in_sync, min) = (leader.isr().len(), leader.min_isr());
                    // the planted bug looks only when it has appended
                    if self.log.runtime().mutants().on(Mutant::A02) {
                        let epoch = leader.leader_epoch();
                        self.log.append(batch, epoch, Origin::Client).map_err(Refused::Append)?;
                        self.tell_followers(&state);
                    }
                    return Err(Refused::NotEnoughReplicas { in_sync, min });
                }
                let epoch = leader.leader_epoch();
                let appended = self.log.append(batch, epoch, Origin::Client).map_err(Refused::Append)?;
                if !appended.duplicate {
                    self.tell_followers(&state);
                }
                Ok((appended, epoch))
            }
            Duty::Follows | Duty::Idle | Duty::Gone => Err(Refused::NotLeader),
        }
    }

    /// Whether this broker has led since it appended in `epoch`.
    pub(crate) fn still_leads(&self, epoch: i32) -> bool {
        if self.is_leader() && self.leader_epoch() == epoch {
            return true;
        }
        let state = self.state.lock();
        matches!(state.role, Role::Leader(_)) && epoch >= state.leads_since
    }

    /// Whether everything below `offset`, appended in `epoch`, is committed.
    pub(crate) fn committed(&self, epoch: i32, offset: i64) -> Committed {
        let mut state = self.state.lock();
        match &state.role {
            Role::Leader(_) if epoch >= state.leads_since && self.duty() == Duty::Alone => {
                Committed::WhenDurable
            }
            Role::Leader(leader) if epoch >= state.leads_since => {
                if leader.high_watermark() < offset {
                    return Committed::Later(state.parked.add(offset));
                }
                Committed::Now(match leader.has_min_isr() {
                    true => Ok(()),
                    false => Err(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
                })
            }
            _ => Committed::Now(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)),
        }
    }

    /// Takes a follower's position in: what it asks for next is what it acknowledges.
    pub(super) fn fetched_by(
        &self,
        replica: i32,
        claim: Claim,
        eligibility: Eligibility,
    ) -> Result<Position, ErrorCode> {
        let mut state = self.state.lock();
        let Role::Leader(leader) = &mut state.role else { return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        crate::fetch::check_epoch(claim.leader_epoch, leader.leader_epoch())?;
        let Some(known) = leader.replica(replica).copied() else {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        };
        let (start, end, offset) = (self.log.start_offset(), self.log.end_offset(), claim.fetch.offset);
        let mut position = Position::Good;
        if claim.last_fetched_epoch >= 0 {
            let Some((epoch, epoch_end)) = self.log.end_offset_for_epoch(claim.last_fetched_epoch) else {
                return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
            };
            if offset < start {
                return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
            }
            if epoch < claim.last_fetched_epoch || epoch_end < offset {
                // Nothing is counted: what it holds there is not what we hold (KAFKA-13141).
                position = Position::Diverging(epoch, epoch_end);
                if !self.log.runtime().mutants().on(Mutant::R09) {
                    return Ok(position);
                }
            }
        }
        if position == Position::Good && !(start..=end).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if known.end_offset != offset {
            self.log.runtime().probe().emit(|| Observation::ReplicaCounted {
                partition: self.name.clone(),
                leader_epoch: leader.leader_epoch(),
                replica,
                offset,
            });
        }
        let effects = leader.fetched(replica, claim.fetch, eligibility, self.log.runtime().now());
        self.settle(&mut state, effects);
        if known.log_start_offset != claim.fetch.log_start_offset {
            self.tell_starts(&mut state);
        }
        Ok(position)
    }

    /// Asks for the members that have not caught up for too long to leave the ISR.
    pub(super) fn expire_isr(&self) {
        if self.duty() != Duty::Leads {
            return;
        }
        let mut state = self.state.lock();
        let Role::Leader(leader) = &mut state.role else { return };
        let effects = leader.tick(self.log.runtime().now());
        self.settle(&mut state, effects);
    }

    /// Looks once more whether somebody may join the ISR.
    pub(super) fn reconsider_isr(&self, eligibility: impl Fn(i32) -> Option<Eligibility>) {
        if self.duty() != Duty::Leads {
            return;
        }
        let mut state = self.state.lock();
        let Role::Leader(leader) = &mut state.role else { return };
        let effects = leader.reconsider(eligibility, self.log.runtime().now());
        self.settle(&mut state, effects);
    }

    /// The controller accepted an ISR in this leader epoch.
    pub(super) fn isr_accepted(&self, leader_epoch: i32, isr: &[i32], partition_epoch: i32) {
        let mut state = self.state.lock();
        let Role::Leader(leader) = &mut state.role else { return };
        if leader.leader_epoch() != leader_epoch || !isr.contains(&self.hub.me) {
            return;
        }
        let effects = leader.accepted(isr, partition_epoch, self.log.runtime().now());
        state.partition_epoch = state.partition_epoch.max(partition_epoch);
        self.settle(&mut state, effects);
    }

    /// It did not.
    pub(super) fn isr_refused(&self, proposal: &IsrProposal, error: AlterPartitionError) {
        let mut state = self.state.lock();
        let Role::Leader(leader) = &mut state.role else { return };
        let propose = leader.alter_partition_failed(proposal, error);
        self.settle(&mut state, burnin_core::partition::Effects { high_watermark: None, propose });
    }

    /// What is deleted on this leader and on every `alive` follower; `None` when this broker does not lead.
    pub(crate) fn low_watermark(&self, alive: impl Fn(i32) -> bool) -> Option<i64> {
        let state = self.state.lock();
        let Role::Leader(leader) = &state.role else { return None };
        Some(leader.low_watermark(self.log.start_offset(), alive))
    }

    /// The log start has moved: followers are told.
    pub(crate) fn log_start_moved(&self) {
        self.tell_followers(&self.state.lock());
    }

    /// From now on `notify` is told when a follower's log start moves or the role changes, as long as it lives.
    pub(crate) fn watch_starts(&self, notify: &Arc<Notify>) {
        let mut state = self.state.lock();
        state.start_watchers.retain(|watcher| Weak::strong_count(watcher) > 0);
        state.start_watchers.push(Arc::downgrade(notify));
    }

    /// The followers in sync that hold `offset`, with the end of what each holds.
    pub(crate) fn holders(&self, offset: i64) -> Vec<(i32, i64)> {
        let state = self.state.lock();
        let Role::Leader(leader) = &state.role else { return Vec::new() };
        let end = |id: i32| leader.replica(id).map_or(-1, |replica| replica.end_offset);
        leader.holders(offset).map(|id| (id, end(id))).collect()
    }
}
