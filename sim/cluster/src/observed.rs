//! Who plays which role, and how far replication has come, from what the brokers told their probes.
//!
//! Faults ask it whom they hit, and after the heal the run waits until it says that everything is as it should
//! be. No verdict comes from here but one: what is still wrong when the time to recover is over.

use burnin_drivers::Topology;
use burnin_history::NodeId;
use burnin_run::{Ends, Health, VoterChange, VoterChanges};
use burnin_runtime::Observation;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The log of the metadata quorum.
const METADATA: &str = "__cluster_metadata-0";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The highest quorum epoch that somebody was elected in, and who, unless it resigned since.
    quorum: (i32, Option<NodeId>),
    partitions: BTreeMap<Arc<str>, State>,
    logs: BTreeMap<Arc<str>, BTreeMap<NodeId, Log>>,
    brokers: BTreeMap<NodeId, Registration>,
    /// Topics that were deleted: a node that replays its metadata speaks of them once more.
    gone: BTreeSet<u128>,
    /// Below what each node knows the metadata to be committed.
    metadata: BTreeMap<NodeId, i64>,
    voters: VoterChanges,
    /// Voters whose disk was replaced, until they vote again.
    lost: BTreeMap<NodeId, Lost>,
}

/// How far the replacement of a voter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The one that it was is still counted.
    Counted,
    /// It is no voter any more.
    Removed,
}

/// Says how the partitions of a run are.
pub(crate) struct Watch {
    observed: Arc<Mutex<Observed>>,
    names: Vec<Arc<str>>,
    is_up: IsUp,
}

/// Whether a broker's process is there.
type IsUp = Box<dyn Fn(NodeId) -> bool + Send + Sync>;

impl Watch {
    pub fn new(observed: Arc<Mutex<Observed>>, topology: &Topology, is_up: IsUp) -> Watch {
        let names = topology.parts().iter().map(|part| format!("{}-{}", part.topic, part.index).into());
        Watch { observed, names: names.collect(), is_up }
    }
}

impl Health for Watch {
    fn ends(&self) -> Ends {
        self.observed.lock().ends(&self.names)
    }

    fn leaderless(&self) -> Option<String> {
        self.observed.lock().leaderless(&self.names, &self.is_up)
    }

    fn complaints(&self, ends: &Ends) -> Vec<String> {
        self.observed.lock().complaints(&self.names, ends)
    }
}

/// A partition in the newest metadata that anybody applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    topic_id: u128,
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    partition_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
}

/// A broker in the newest metadata that anybody applied.
#[derive(Clone, Copy, Debug)]
struct Registration {
    broker_epoch: i64,
    fenced: bool,
}

/// One replica's log.
#[derive(Clone, Copy, Debug, Default)]
struct Log {
    end: i64,
    /// Below this it is durable, as far as an acknowledgement promises that.
    durable: i64,
    high_watermark: i64,
    /// The epoch in which it leads.
    leads: Option<i32>,
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

impl Observed {
    pub fn note(&mut self, node: NodeId, observation: &Observation) {
        if let Some(change) = self.voters.see(node, observation) {
            self.voters_changed(&change);
        }
        match observation {
            Observation::QuorumElected { epoch, .. } if *epoch >= self.quorum.0 => {
                self.quorum = (*epoch, Some(node));
            }
            Observation::QuorumResigned { epoch } if self.quorum == (*epoch, Some(node)) => {
                self.quorum.1 = None;
            }
            Observation::LogRecovered { partition, log_start_offset, .. } if **partition == *METADATA => {
                self.metadata.insert(node, *log_start_offset);
            }
            Observation::QuorumCommitted { offset, .. } => drop(self.metadata.insert(node, *offset)),
            Observation::SnapshotLoaded { end_offset, .. } => drop(self.metadata.insert(node, *end_offset)),
            Observation::BrokerState { broker, broker_epoch, fenced, .. } => {
                let id = NodeId(*broker);
                let new = Registration { broker_epoch: *broker_epoch, fenced: *fenced };
                let known = self.brokers.entry(id).or_insert(new);
                if new.broker_epoch >= known.broker_epoch {
                    *known = new;
                }
            }
            Observation::PartitionState {
                partition,
                topic_id,
                leader,
                leader_epoch,
                partition_epoch,
                replicas,
                isr,
                ..
            } => {
                if self.gone.contains(topic_id) {
                    return;
                }
                let known = self.partitions.get(partition);
                let newer =
                    |known: &State| known.topic_id != *topic_id || known.partition_epoch < *partition_epoch;
                if known.is_none_or(newer) {
                    let state = State {
                        topic_id: *topic_id,
                        leader: (*leader >= 0).then_some(NodeId(*leader)),
                        leader_epoch: *leader_epoch,
                        partition_epoch: *partition_epoch,
                        replicas: nodes(replicas),
                        isr: nodes(isr),
                    };
                    let before = self.partitions.insert(partition.clone(), state);
                    self.gone.extend(before.map(|before| before.topic_id).filter(|id| id != topic_id));
                }
            }
            Observation::PartitionGone { partition, topic_id } => {
                if self.partitions.get(partition).is_some_and(|known| known.topic_id == *topic_id) {
                    self.partitions.remove(partition);
                }
                self.gone.insert(*topic_id);
            }
            Observation::LogRemoved { partition } => *self.log(partition, node) = Log::default(),
            Observation::LogRecovered { partition, log_end_offset, .. } => {
                *self.log(partition, node) = Log { end: *log_end_offset, ..Log::default() };
            }
            Observation::FlushDone { partition, offset } => {
                let logs = self.logs.get_mut(partition);
                if let Some(log) = logs.and_then(|logs| logs.get_mut(&node)) {
                    log.durable = *offset;
                }
            }
            Observation::BatchAppended { partition, last_offset, .. } => {
                self.log(partition, node).end = last_offset + 1;
            }
            Observation::LogTruncated { partition, offset } => {
                let log = self.log(partition, node);
                log.end = log.end.min(*offset);
                log.durable = log.durable.min(*offset);
            }
            Observation::LeaderStarted { partition, leader_epoch, high_watermark, .. } => {
                let log = self.log(partition, node);
                (log.leads, log.high_watermark) = (Some(*leader_epoch), *high_watermark);
            }
            Observation::FollowerStarted { partition, .. } => self.log(partition, node).leads = None,
            Observation::HighWatermark { partition, offset, .. } => {
                self.log(partition, node).high_watermark = *offset;
            }
            _ => {}
        }
    }

    /// The disk of a voter was replaced.
    pub fn lost_a_voter(&mut self, node: NodeId) {
        self.lost.insert(node, Lost::Counted);
    }

    /// Whether a voter whose disk was replaced does not vote again yet.
    pub fn is_a_voter_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// A voter that lost its disk is another one when it was removed and is added, and both are committed.
    fn voters_changed(&mut self, change: &VoterChange) {
        self.lost.retain(|node, lost| *lost == Lost::Counted || !change.added.contains(&node.0));
        for node in &change.removed {
            if let Some(lost) = self.lost.get_mut(&NodeId(*node)) {
                *lost = Lost::Removed;
            }
        }
    }

    fn log(&mut self, partition: &Arc<str>, node: NodeId) -> &mut Log {
        self.logs.entry(partition.clone()).or_default().entry(node).or_default()
    }

    /// The leader of the metadata quorum.
    pub fn controller(&self) -> Option<NodeId> {
        self.quorum.1
    }

    pub fn partition(&self, topic: &str, partition: i32) -> Option<&State> {
        self.partitions.get(format!("{topic}-{partition}").as_str())
    }

    /// Where the leader's log of each partition ends at the moment.
    pub fn ends(&self, names: &[Arc<str>]) -> Ends {
        let end = |name: &Arc<str>| {
            let leader = self.partitions.get(name)?.leader?;
            Some(self.logs.get(name)?.get(&leader)?.end)
        };
        let mut ends: Ends = names.iter().filter_map(|name| Some((name.clone(), end(name)?))).collect();
        ends.extend(self.metadata.values().max().map(|end| (METADATA.into(), *end)));
        ends
    }

    /// The first partition without a leader that is up and has begun to lead, and how many there are.
    pub fn leaderless(&self, names: &[Arc<str>], is_up: impl Fn(NodeId) -> bool) -> Option<String> {
        let leads = |name: &Arc<str>| {
            let Some(state) = self.partitions.get(name) else { return true };
            let Some(leader) = state.leader.filter(|leader| is_up(*leader)) else { return false };
            let log = self.logs.get(name).and_then(|logs| logs.get(&leader));
            log.is_some_and(|log| log.leads == Some(state.leader_epoch))
        };
        let mut without = names.iter().filter(|name| !leads(name));
        let first = without.next()?;
        Some(match without.count() {
            0 => format!("partition {first}"),
            more => format!("partition {first} and {more} more"),
        })
    }

    /// What is not as it should be: a partition without a leader, a replica that is not in sync, a high watermark
    /// that has not reached what was the end of the log when `ends` was asked for.
    pub fn complaints(&self, names: &[Arc<str>], ends: &Ends) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.quorum.1.is_none() {
            complaints.push(format!("the metadata quorum has no leader (epoch {})", self.quorum.0));
        }
        let end = ends.get(METADATA).copied().unwrap_or(0);
        for (id, known) in self.metadata.iter().filter(|(_, known)| **known < end) {
            complaints.push(format!(
                "node {id} knows the metadata below {known} to be committed, {end} were when everything was healed"
            ));
        }
        for (node, lost) in &self.lost {
            complaints.push(format!("node {node}, whose disk was replaced, does not vote again ({lost:?})"));
        }
        let fenced = |id: &NodeId| match self.brokers.get(id) {
            Some(known) if known.fenced => ", which is fenced",
            Some(_) => "",
            None => ", which is not registered",
        };
        for name in names {
            let Some(state) = self.partitions.get(name) else {
                complaints.push(format!("partition {name} does not exist"));
                continue;
            };
            let epoch = state.leader_epoch;
            let Some(leader) = state.leader else {
                let isr: Vec<String> = state.isr.iter().map(|id| format!("{id}{}", fenced(id))).collect();
                complaints.push(format!(
                    "partition {name} has no leader (leader epoch {epoch}, ISR {})",
                    isr.join(" ")
                ));
                continue;
            };
            let logs = self.logs.get(name);
            let log = |id: &NodeId| logs.and_then(|logs| logs.get(id)).copied().unwrap_or_default();
            let led = log(&leader);
            if led.leads != Some(epoch) {
                complaints.push(format!("partition {name}: broker {leader} does not lead in epoch {epoch}"));
                continue;
            }
            for id in state.replicas.iter().filter(|id| !state.isr.contains(id)) {
                complaints.push(format!(
                    "partition {name}: replica {id}{} is not in sync with leader {leader} in epoch {epoch}: its log \
                     ends at {}, the leader's at {}",
                    fenced(id),
                    log(id).end,
                    led.end
                ));
            }
            let wanted = ends.get(name).copied().unwrap_or(0).min(led.end);
            // Whoever has nobody to wait for tells no high watermark: it is what is durable.
            let is_alone = state.replicas == [leader];
            let high_watermark = if is_alone { led.durable } else { led.high_watermark };
            if high_watermark < wanted {
                complaints.push(format!(
                    "partition {name}: the high watermark of leader {leader} in epoch {epoch} is {high_watermark}, its \
                     log ended at {wanted} when everything was healed"
                ));
            }
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "orders-0";

    fn state(leader: i32, leader_epoch: i32, partition_epoch: i32, isr: &[i32]) -> Observation {
        Observation::PartitionState {
            partition: NAME.into(),
            topic_id: 7,
            leader,
            leader_epoch,
            partition_epoch,
            replicas: [1, 2].into(),
            isr: isr.into(),
            elr: [].into(),
        }
    }

    fn appended(last_offset: i64) -> Observation {
        Observation::BatchAppended {
            partition: NAME.into(),
            base_offset: last_offset,
            last_offset,
            leader_epoch: 0,
            crc: 0,
        }
    }

    #[test]
    fn roles_are_those_of_the_newest_metadata_whoever_tells_it() {
        let mut observed = Observed::default();
        observed.note(
            NodeId(1),
            &Observation::QuorumElected {
                epoch: 2,
                start_offset: 0,
                voters: [1].into(),
                silence_ms_max: 3000,
            },
        );
        observed.note(NodeId(1), &state(1, 0, 0, &[1, 2]));
        observed.note(NodeId(2), &state(2, 1, 1, &[2]));
        observed.note(NodeId(1), &state(1, 0, 0, &[1, 2]));
        let known = observed.partition("orders", 0).unwrap();
        assert_eq!((known.leader, known.isr.as_slice()), (Some(NodeId(2)), &[NodeId(2)][..]));
        assert_eq!(observed.controller(), Some(NodeId(1)));
        observed.note(NodeId(1), &Observation::QuorumResigned { epoch: 2 });
        assert_eq!(observed.controller(), None);
    }

    #[test]
    fn voter_that_was_replaced_is_lost_until_it_is_added_and_that_is_committed() {
        let mut observed = Observed::default();
        let voters = |offset, ids: &[i32]| Observation::QuorumVoters { offset, voters: ids.into() };
        let committed = |offset| Observation::QuorumCommitted { epoch: 1, offset };
        let elected = |epoch, ids: &[i32]| Observation::QuorumElected {
            epoch,
            start_offset: 0,
            voters: ids.into(),
            silence_ms_max: 3000,
        };
        observed.note(NodeId(1), &elected(1, &[1, 2, 3]));
        observed.note(NodeId(1), &voters(0, &[1, 2, 3]));
        observed.note(NodeId(1), &committed(5));
        observed.lost_a_voter(NodeId(3));
        observed.note(NodeId(1), &voters(10, &[1, 2]));
        // Another leader never had that record: the old one is counted still.
        observed.note(NodeId(2), &voters(0, &[1, 2, 3]));
        observed.note(NodeId(2), &elected(2, &[1, 2, 3]));
        observed.note(NodeId(2), &committed(20));
        assert!(observed.is_a_voter_lost());
        observed.note(NodeId(2), &voters(20, &[1, 2]));
        observed.note(NodeId(2), &committed(21));
        // The leader that adds it does not live to see that committed.
        observed.note(NodeId(2), &voters(22, &[1, 2, 3]));
        observed.note(NodeId(1), &Observation::LogTruncated { partition: METADATA.into(), offset: 10 });
        observed.note(NodeId(1), &voters(20, &[1, 2]));
        observed.note(NodeId(1), &voters(22, &[1, 2, 3]));
        observed.note(NodeId(1), &elected(3, &[1, 2, 3]));
        observed.note(NodeId(1), &committed(22));
        assert!(observed.is_a_voter_lost());
        observed.note(NodeId(1), &committed(24));
        assert!(!observed.is_a_voter_lost());
        assert_eq!(observed.metadata[&NodeId(1)], 24, "and that node knows so much");
    }

    #[test]
    fn complaints_name_partition_replica_and_epoch_until_all_is_well() {
        let mut observed = Observed::default();
        let names: Vec<Arc<str>> = vec![NAME.into()];
        let complaints = |observed: &Observed| observed.complaints(&names, &observed.ends(&names)).join("\n");
        observed.note(
            NodeId(1),
            &Observation::QuorumElected {
                epoch: 1,
                start_offset: 0,
                voters: [1].into(),
                silence_ms_max: 3000,
            },
        );
        assert!(complaints(&observed).contains("does not exist"));
        observed.note(NodeId(1), &state(1, 4, 3, &[1]));
        assert!(complaints(&observed).contains("broker 1 does not lead in epoch 4"));
        let started = Observation::LeaderStarted {
            partition: NAME.into(),
            leader_epoch: 4,
            start_offset: 0,
            high_watermark: 0,
        };
        assert_eq!(observed.leaderless(&names, |_| true).as_deref(), Some("partition orders-0"));
        observed.note(NodeId(1), &started);
        assert_eq!(observed.leaderless(&names, |_| true), None);
        assert!(observed.leaderless(&names, |_| false).is_some(), "its process is dead");
        observed.note(NodeId(1), &appended(9));
        let text = complaints(&observed);
        assert!(text.contains("replica 2, which is not registered is not in sync"), "{text}");
        assert!(text.contains("high watermark of leader 1 in epoch 4 is 0"), "{text}");
        let advanced =
            Observation::HighWatermark { partition: NAME.into(), leader_epoch: 4, offset: 10, leads: true };
        observed.note(NodeId(1), &advanced);
        observed.note(NodeId(1), &state(1, 4, 4, &[1, 2]));
        assert_eq!(complaints(&observed), "");
    }

    /// It tells no high watermark.
    #[test]
    fn only_replica_has_committed_what_is_durable() {
        let mut observed = Observed::default();
        let names: Vec<Arc<str>> = vec![NAME.into()];
        let complaints = |observed: &Observed| observed.complaints(&names, &observed.ends(&names)).join("\n");
        let mut alone = state(1, 4, 0, &[1]);
        if let Observation::PartitionState { replicas, .. } = &mut alone {
            *replicas = [1].into();
        }
        let (start_offset, high_watermark) = (0, 0);
        let voters = [1].into();
        let elected = Observation::QuorumElected { epoch: 1, start_offset, voters, silence_ms_max: 3000 };
        let partition = NAME.into();
        let started = Observation::LeaderStarted { partition, leader_epoch: 4, start_offset, high_watermark };
        for told in [elected, alone, started, appended(9)] {
            observed.note(NodeId(1), &told);
        }
        assert!(complaints(&observed).contains("high watermark of leader 1 in epoch 4 is 0"));
        observed.note(NodeId(1), &Observation::FlushDone { partition: NAME.into(), offset: 10 });
        assert_eq!(complaints(&observed), "");
    }
}
