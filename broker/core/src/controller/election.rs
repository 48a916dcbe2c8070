//! Elections that are asked for (ElectLeaders, KIP-460), and those that the controller makes by itself.

use super::partition_change::Election;
use super::{Cluster, Decision};
use crate::metadata::{ApiError, Partition};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{MetadataRecord, PartitionChangeRecord};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What is asked for; the numbers are those of `ElectionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ElectionKind {
    /// The first replica, if it is in sync.
    Preferred = 0,
    /// Anybody, where there is no leader; records may be lost.
    Unclean = 1,
}

impl ElectionKind {
    /// By its number on the wire.
    pub fn from_id(id: i8) -> Option<ElectionKind> {
        [ElectionKind::Preferred, ElectionKind::Unclean].into_iter().find(|kind| *kind as i8 == id)
    }
}

/// The outcome for one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ElectionResult {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// UNKNOWN_TOPIC_OR_PARTITION, ELECTION_NOT_NEEDED, PREFERRED_LEADER_NOT_AVAILABLE,
    /// ELIGIBLE_LEADERS_NOT_AVAILABLE.
    pub result: Result<(), ApiError>,
}

/// How many leaders are changed at once (`maxElectionsPerImbalance`).
const ELECTIONS_MAX: usize = 1000;

impl<'a> Cluster<'a> {
    /// ElectLeaders. `None`: every partition; those that need no election are then left out of the answer.
    pub fn elect_leaders(
        &self,
        kind: ElectionKind,
        partitions: Option<&[(String, Vec<i32>)]>,
    ) -> Decision<Vec<ElectionResult>> {
        let all: Vec<(String, Vec<i32>)>;
        let asked = match partitions {
            Some(asked) => asked,
            None => {
                let numbers = self.image.topics().iter();
                all = numbers
                    .map(|(name, topic)| (name.clone(), topic.partitions.keys().copied().collect()))
                    .collect();
                &all
            }
        };
        let (mut results, mut records) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let numbered = asked.iter().flat_map(|(topic, numbers)| numbers.iter().map(move |n| (topic, *n)));
        for (topic, partition) in numbered {
            // Named twice in one request: the second finds the work done.
            let result = match seen.insert((topic, partition)) {
                true => self.elect(kind, topic, partition).map(|record| records.push(record)),
                false => Err(not_needed()),
            };
            let is_needed = !matches!(&result, Err(error) if error.code == ErrorCode::ELECTION_NOT_NEEDED);
            if is_needed || partitions.is_some() {
                results.push(ElectionResult { topic: topic.clone(), partition, result });
            }
        }
        Decision::new(results, records)
    }

    fn elect(&self, kind: ElectionKind, topic: &str, number: i32) -> Result<MetadataRecord, ApiError> {
        let unknown = |message| ApiError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message);
        let known = self.image.topic(topic).ok_or_else(|| unknown(format!("No such topic as {topic}")))?;
        let partition = known.partitions.get(&number);
        let partition = partition.ok_or_else(|| unknown(format!("No such partition as {topic}-{number}")))?;
        let (election, is_done, failure) = match kind {
            ElectionKind::Preferred => (
                Election::Preferred,
                partition.leader == partition.replicas[0],
                ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
            ),
            ElectionKind::Unclean => {
                (Election::Unclean, partition.leader != -1, ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE)
            }
        };
        if is_done {
            return Err(not_needed());
        }
        let record = self.run(election, topic, partition, known.id, number).ok_or_else(|| {
            let message = format!("No replica of {topic}-{number} can be elected; ISR {:?}", partition.isr);
            ApiError::new(failure, message)
        })?;
        Ok(record.into())
    }

    fn run(
        &self,
        election: Election,
        topic: &str,
        partition: &'a Partition,
        id: Uuid,
        number: i32,
    ) -> Option<PartitionChangeRecord> {
        let mut change = self.change(topic, partition);
        change.election = election;
        change.build(id, number)
    }

    /// Gives partitions that are not led by their first replica back to it, where it is in sync. Also says whether
    /// there may be more.
    pub(super) fn balance_leaders(&self) -> (Vec<MetadataRecord>, bool) {
        self.sweep(Election::Preferred, |partition| partition.leader != partition.replicas[0], |_| true)
    }

    /// Elects for partitions without a leader, where unclean election is on.
    pub(super) fn elect_leaderless(&self) -> (Vec<MetadataRecord>, bool) {
        let cluster = *self;
        self.sweep(
            Election::Unclean,
            |partition| partition.leader == -1,
            move |topic| cluster.elects_uncleanly(topic),
        )
    }

    fn sweep(
        &self,
        election: Election,
        is_wanted: impl Fn(&Partition) -> bool,
        may: impl Fn(&str) -> bool,
    ) -> (Vec<MetadataRecord>, bool) {
        let mut records = Vec::new();
        for (name, topic) in self.image.topics() {
            let wanted = topic.partitions.iter().filter(|(_, partition)| is_wanted(partition));
            for (number, partition) in wanted.filter(|_| may(name)) {
                if records.len() == ELECTIONS_MAX {
                    return (records, true);
                }
                records
                    .extend(self.run(election, name, partition, topic.id, *number).map(MetadataRecord::from));
            }
        }
        (records, false)
    }
}

fn not_needed() -> ApiError {
    ApiError::new(ErrorCode::ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")
}
