//! AlterPartition: a leader asks for another ISR (KIP-497, KIP-704, KIP-841, KIP-903).

use super::{Cluster, Decision};
use crate::metadata::{ApiError, Partition};
use burnin_runtime::Mutant;
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{MetadataRecord, PartitionChangeRecord};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What a broker asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterPartition {
    /// Who asks.
    pub broker_id: i32,
    /// Under which registration.
    pub broker_epoch: i64,
    /// For partitions that it leads.
    pub partitions: Vec<ProposedIsr>,
}

/// The ISR that one partition should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProposedIsr {
    /// Of this topic.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The epoch in which the broker leads.
    pub leader_epoch: i32,
    /// The state that the broker knows.
    pub partition_epoch: i32,
    /// Members, with the broker epochs under which they fetched; -1 where that is not known.
    pub isr: Vec<(i32, i64)>,
    /// Whether the leader still recovers from an unclean election.
    pub recovering: bool,
}

/// The state of a partition that holds from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrState {
    pub leader: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub isr: Vec<i32>,
    pub recovering: bool,
}

impl<'a> Cluster<'a> {
    /// AlterPartition. The answer has one result for each partition of the request, in its order:
    ///
    /// - UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION;
    /// - NOT_CONTROLLER: the leader knows more than this controller;
    /// - FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION: it knows less, and metadata will tell it;
    /// - INVALID_REQUEST: it does not lead, or the ISR is none;
    /// - INELIGIBLE_REPLICA: a member is fenced, about to stop, or of an earlier start;
    /// - NEW_LEADER_ELECTED: granted, but a reassignment ended with it and another one leads now.
    ///
    /// Errors of the whole: STALE_BROKER_EPOCH.
    pub fn alter_partition(
        &self,
        request: &AlterPartition,
    ) -> Result<Decision<Vec<Result<IsrState, ErrorCode>>>, ApiError> {
        self.check_epoch(request.broker_id, request.broker_epoch)?;
        let mut records = Vec::new();
        let mut seen = BTreeSet::new();
        let mut alter = |proposed: &ProposedIsr| {
            // The second of two wishes for one partition rests on a state that the first has changed.
            if !seen.insert((proposed.topic_id, proposed.partition)) {
                return Err(ErrorCode::INVALID_REQUEST);
            }
            let (partition, record) = self.alter_one(request.broker_id, proposed)?;
            let mut after = partition.clone();
            if let Some(record) = record {
                after.merge(&record);
                records.push(MetadataRecord::from(record));
            }
            if after.leader != request.broker_id {
                return Err(ErrorCode::NEW_LEADER_ELECTED);
            }
            Ok(IsrState {
                leader: after.leader,
                leader_epoch: after.leader_epoch,
                partition_epoch: after.partition_epoch,
                isr: after.isr,
                recovering: after.recovering,
            })
        };
        let answer = request.partitions.iter().map(&mut alter).collect();
        Ok(Decision::new(answer, records))
    }

    fn alter_one(
        &self,
        broker: i32,
        proposed: &ProposedIsr,
    ) -> Result<(&'a Partition, Option<PartitionChangeRecord>), ErrorCode> {
        let id = proposed.topic_id;
        let name = self.image.topic_name(&id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        let partition = self.image.topic(name).and_then(|topic| topic.partitions.get(&proposed.partition));
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        check_epochs(partition, broker, proposed)?;
        check_isr(partition, proposed)?;
        if !proposed.isr.iter().all(|(id, epoch)| self.is_eligible(*id, *epoch)) {
            return Err(ErrorCode::INELIGIBLE_REPLICA);
        }
        let mut change = self.change(name, partition);
        change.election = self.election(name);
        change.recovering = proposed.recovering;
        let is_member = |id: &i32| proposed.isr.iter().any(|(member, _)| member == id);
        // The same members in another order are no change.
        if proposed.isr.len() != partition.isr.len() || !partition.isr.iter().all(is_member) {
            change.isr = proposed.isr.iter().map(|(id, _)| *id).collect();
        }
        Ok((partition, change.build(id, proposed.partition)))
    }

    fn is_eligible(&self, broker: i32, epoch: i64) -> bool {
        let known = self.image.brokers().get(&broker);
        known.is_some_and(|known| {
            let is_current = epoch == -1 || epoch == known.epoch;
            // the planted bug does not ask whether the broker may lead
            is_current && (known.is_active() || self.config.mutants.on(Mutant::R14))
        })
    }
}

fn check_epochs(partition: &Partition, broker: i32, proposed: &ProposedIsr) -> Result<(), ErrorCode> {
    let (leader_epoch, partition_epoch) = (partition.leader_epoch, partition.partition_epoch);
    if proposed.leader_epoch > leader_epoch || proposed.partition_epoch > partition_epoch {
        return Err(ErrorCode::NOT_CONTROLLER);
    }
    if proposed.leader_epoch < leader_epoch {
        return Err(ErrorCode::FENCED_LEADER_EPOCH);
    }
    if broker != partition.leader {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if proposed.partition_epoch < partition_epoch {
        return Err(ErrorCode::INVALID_UPDATE_VERSION);
    }
    Ok(())
}

fn check_isr(partition: &Partition, proposed: &ProposedIsr) -> Result<(), ErrorCode> {
    let isr: Vec<i32> = proposed.isr.iter().map(|(id, _)| *id).collect();
    let is_doubled = isr.iter().enumerate().any(|(index, id)| isr[..index].contains(id));
    let is_wrong = is_doubled
        || !isr.iter().all(|id| partition.replicas.contains(id))
        || !isr.contains(&partition.leader)
        || (proposed.recovering && (isr.len() > 1 || !partition.recovering));
    if is_wrong { Err(ErrorCode::INVALID_REQUEST) } else { Ok(()) }
}
