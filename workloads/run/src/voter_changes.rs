//! Which voters of the metadata quorum are committed: what nodes tell of the voters in their logs, and of what they know to
//! be committed. Only then it is certain that one was removed, or added.

use burnin_checkers::replicas::METADATA;
use burnin_history::NodeId;
use burnin_runtime::Observation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub struct VoterChanges {
    /// By node: the voters of the last record in its log, and where that stands.
    used: BTreeMap<NodeId, (i64, Arc<[i32]>)>,
    /// The newest voters that are committed.
    settled: Option<(i64, Arc<[i32]>)>,
}

/// Other voters are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterChange {
    /// Those that are none any more.
    pub removed: Vec<i32>,
    /// Those that are new.
    pub added: Vec<i32>,
}

impl VoterChanges {
    /// A node tells something; what is known to be committed by that.
    pub fn see(&mut self, node: NodeId, told: &Observation) -> Option<VoterChange> {
        match told {
            Observation::QuorumVoters { offset, voters } => {
                self.used.insert(node, (*offset, voters.clone()));
            }
            // What its log loses it may never have again.
            Observation::LogTruncated { partition, offset: end }
            | Observation::LogRecovered { partition, log_end_offset: end, .. }
                if &**partition == METADATA =>
            {
                self.used.retain(|known, (at, _)| *known != node || *at < *end);
            }
            Observation::SnapshotLoaded { fetched: true, .. } => drop(self.used.remove(&node)),
            Observation::QuorumCommitted { offset, .. } => return self.committed(node, *offset),
            _ => {}
        }
        None
    }

    fn committed(&mut self, node: NodeId, offset: i64) -> Option<VoterChange> {
        let (at, voters) = self.used.get(&node).filter(|(at, _)| *at < offset)?;
        if self.settled.as_ref().is_some_and(|(settled, _)| settled >= at) {
            return None;
        }
        let (_, before) = self.settled.replace((*at, voters.clone()))?;
        Some(VoterChange { removed: without(&before, voters), added: without(voters, &before) })
    }
}

/// Those of these that are not among those.
fn without(these: &[i32], those: &[i32]) -> Vec<i32> {
    these.iter().copied().filter(|voter| !those.contains(voter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(offset: i64, ids: &[i32]) -> Observation {
        Observation::QuorumVoters { offset, voters: ids.into() }
    }

    fn committed(offset: i64) -> Observation {
        Observation::QuorumCommitted { epoch: 1, offset }
    }

    #[test]
    fn change_counts_once_and_only_when_it_is_committed() {
        let mut changes = VoterChanges::default();
        let mut see = |node, told| {
            let change = changes.see(NodeId(node), &told);
            change.map_or((0, 0), |change| (change.removed.len(), change.added.len()))
        };
        assert_eq!(see(1, voters(0, &[1, 2, 3])), (0, 0));
        assert_eq!(see(1, committed(5)), (0, 0), "what the quorum begins with");
        assert_eq!(see(1, voters(10, &[1, 2])), (0, 0));
        assert_eq!(see(1, committed(10)), (0, 0));
        assert_eq!(see(1, committed(11)), (1, 0));
        assert_eq!(see(2, voters(10, &[1, 2])), (0, 0));
        assert_eq!(see(2, committed(20)), (0, 0), "known already");
        assert_eq!(see(2, voters(21, &[1, 2, 3])), (0, 0));
        assert_eq!(see(2, committed(30)), (0, 1));
    }

    #[test]
    fn change_that_was_cut_off_does_not_count() {
        let mut changes = VoterChanges::default();
        let mut see = |node, told| {
            let change = changes.see(NodeId(node), &told);
            change.map_or((0, 0), |change| (change.removed.len(), change.added.len()))
        };
        see(1, voters(0, &[1, 2, 3]));
        see(1, committed(5));
        see(1, voters(10, &[1, 2]));
        see(1, Observation::LogTruncated { partition: METADATA.into(), offset: 10 });
        assert_eq!(see(1, committed(12)), (0, 0));
    }
}
