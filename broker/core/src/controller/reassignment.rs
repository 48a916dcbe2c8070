//! Reassignment of replicas (KIP-455).
//!
//! A reassignment goes in two steps: the new replicas are added to the old ones; when every replica that is to
//! stay is in the ISR, the others are removed (see `PartitionChange::build`). Where nothing has to be waited for,
//! both are one. A new reassignment replaces one that is under way and starts from the replicas that there are;
//! a cancelled one goes back to the replicas without those that it added.
//!
//! Stricter than Kafka: a new target that removes (or adds) nothing does not inherit what the old one would have
//! removed (or added).

use super::{Cluster, Decision};
use crate::metadata::{ApiError, Partition};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::MetadataRecord;
use std::collections::BTreeSet;

/// A reassignment that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    pub topic: String,
    pub partition: i32,
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// Where a partition is to be: topic, number, and its replicas, or `None` to cancel.
type Target = (String, i32, Option<Vec<i32>>);

impl<'a> Cluster<'a> {
    /// AlterPartitionReassignments. One result for each target, in order: UNKNOWN_TOPIC_OR_PARTITION,
    /// INVALID_REPLICA_ASSIGNMENT, NO_REASSIGNMENT_IN_PROGRESS, INVALID_REQUEST for a partition named twice.
    pub fn alter_reassignments(&self, targets: &[Target]) -> Decision<Vec<Result<(), ApiError>>> {
        let (mut records, mut answer, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (topic, number, replicas) in targets {
            if !seen.insert((topic, number)) {
                let message = format!("Partition {topic}-{number} is named more than once.");
                answer.push(Err(ApiError::new(ErrorCode::INVALID_REQUEST, message)));
                continue;
            }
            let reassigned = self.reassign(topic, *number, replicas.as_deref());
            answer.push(reassigned.map(|record| records.extend(record)));
        }
        Decision::new(answer, records)
    }

    /// ListPartitionReassignments: of the named partitions, or with `None` of all.
    pub fn reassignments(&self, partitions: Option<&[(String, Vec<i32>)]>) -> Vec<Reassignment> {
        let of = |topic: &str, number: i32, partition: &Partition| {
            partition.is_reassigning().then(|| Reassignment {
                topic: topic.to_owned(),
                partition: number,
                replicas: partition.replicas.clone(),
                adding: partition.adding.clone(),
                removing: partition.removing.clone(),
            })
        };
        let mut found = Vec::new();
        match partitions {
            None => {
                for (name, topic) in self.image.topics() {
                    found
                        .extend(topic.partitions.iter().filter_map(|(n, partition)| of(name, *n, partition)));
                }
            }
            Some(asked) => {
                for (name, numbers) in asked {
                    let Some(topic) = self.image.topic(name) else { continue };
                    let known = numbers.iter().filter_map(|n| Some((*n, topic.partitions.get(n)?)));
                    found.extend(known.filter_map(|(n, partition)| of(name, n, partition)));
                }
            }
        }
        found
    }

    fn reassign(
        &self,
        name: &str,
        number: i32,
        target: Option<&[i32]>,
    ) -> Result<Option<MetadataRecord>, ApiError> {
        let unknown = |message| ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
        let topic = self.image.topic(name);
        let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let partition = topic.partitions.get(&number);
        let partition =
            partition.ok_or_else(|| unknown(format!("Unable to find partition {name}:{number}.")))?;
        let mut change = self.change(name, partition);
        match target {
            Some(target) => {
                self.check_assignment(target, None)?;
                change.adding = difference(target, &partition.replicas);
                change.removing = difference(&partition.replicas, target);
                change.replicas = target.iter().chain(&change.removing).copied().collect();
            }
            None => {
                let reverted = self.reverted(name, number, partition)?;
                (change.replicas, change.isr) = (reverted.replicas, reverted.isr);
                change.unclean = reverted.unclean;
                change.adding.clear();
                change.removing.clear();
                change.election = self.election(name);
            }
        }
        Ok(change.build(topic.id, number).map(MetadataRecord::from))
    }

    /// Replicas and ISR without what the reassignment added (`PartitionReassignmentRevert`).
    fn reverted(&self, name: &str, number: i32, partition: &'a Partition) -> Result<Reverted, ApiError> {
        if !partition.is_reassigning() {
            let message = "No partition reassignment is in progress.";
            return Err(ApiError::new(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, message));
        }
        let refuse = |why| {
            let message = format!("Unable to revert partition assignment for {name}:{number} because {why}.");
            Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
        };
        let stays = |ids: &[i32]| -> Vec<i32> {
            ids.iter().copied().filter(|id| !partition.adding.contains(id)).collect()
        };
        let (replicas, isr) = (stays(&partition.replicas), stays(&partition.isr));
        if replicas.is_empty() {
            return refuse("it added all replicas");
        }
        let nobody_before = partition.isr.is_empty() && partition.elr.is_empty();
        if nobody_before || !isr.is_empty() || !stays(&partition.elr).is_empty() {
            return Ok(Reverted { replicas, isr, unclean: false });
        }
        // Only replicas that were added hold everything.
        if !self.elects_uncleanly(name) {
            return refuse("it would require an unclean leader election");
        }
        let alive = replicas.iter().find(|id| self.is_active(**id) && self.has_directory(**id, partition));
        match alive {
            Some(leader) => Ok(Reverted { isr: vec![*leader], replicas, unclean: true }),
            None => refuse("no replica that would be left is alive"),
        }
    }
}

/// What a cancelled reassignment leaves.
struct Reverted {
    replicas: Vec<i32>,
    isr: Vec<i32>,
    unclean: bool,
}

/// What is in `all` and not in `without`, in order of the ids.
fn difference(all: &[i32], without: &[i32]) -> Vec<i32> {
    let mut ids: Vec<i32> = all.iter().copied().filter(|id| !without.contains(id)).collect();
    ids.sort_unstable();
    ids
}
