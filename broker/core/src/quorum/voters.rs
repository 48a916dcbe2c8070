//! Who votes, and since which offset of the log (KIP-853).

use burnin_wire::control_records::{KRaftVersionFeature, Voter, VoterEndpoint, VotersRecord};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A replica: its node id and the directory that holds its log. A node that comes back with an empty disk is
/// another replica (KIP-853).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    pub id: i32,
    /// Nil where voters are configured statically and directories are not known.
    pub directory: Uuid,
}

impl ReplicaKey {
    /// Whether both can be the same replica. A nil directory on either side matches any.
    pub fn matches(self, other: ReplicaKey) -> bool {
        let same = self.directory == other.directory;
        self.id == other.id && (same || self.directory.is_nil() || other.directory.is_nil())
    }
}

/// The voters of the quorum, by node id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSet(BTreeMap<i32, Voter>);

impl VoterSet {
    /// From replica keys. A node id stands once.
    pub fn new(voters: impl IntoIterator<Item = ReplicaKey>) -> Self {
        VoterSet::from_voters(voters.into_iter().map(|key| Voter {
            voter_id: key.id,
            voter_directory_id: key.directory,
            ..Voter::default()
        }))
    }

    /// With where they listen and what they support.
    pub fn from_voters(voters: impl IntoIterator<Item = Voter>) -> Self {
        VoterSet(voters.into_iter().map(|voter| (voter.voter_id, voter)).collect())
    }

    /// As it stands in the log.
    pub fn from_record(record: &VotersRecord) -> Self {
        VoterSet::from_voters(record.voters.iter().cloned())
    }

    /// As it goes to the log.
    pub fn to_record(&self) -> VotersRecord {
        VotersRecord { voters: self.0.values().cloned().collect() }
    }

    /// Whether `key` is a voter. A nil directory on either side matches any.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.key(key.id).is_some_and(|known| known.matches(key))
    }

    /// Whether a voter has this node id.
    pub fn contains_id(&self, id: i32) -> bool {
        self.0.contains_key(&id)
    }

    /// The replica that votes under this node id.
    pub fn key(&self, id: i32) -> Option<ReplicaKey> {
        self.0.get(&id).map(|voter| ReplicaKey { id, directory: voter.voter_directory_id })
    }

    /// Where a voter listens: name, host, port. Nothing where voters are configured without it.
    pub fn endpoints(&self, id: i32) -> &[VoterEndpoint] {
        self.0.get(&id).map_or(&[], |voter| &voter.endpoints)
    }

    /// The voters in order of their ids.
    pub fn voters(&self) -> impl Iterator<Item = &Voter> + '_ {
        self.0.values()
    }

    /// Node ids in order.
    pub fn ids(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.keys().copied()
    }

    /// How many voters make a majority.
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// How many voters there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody votes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set with one voter more, or with another entry for this voter.
    pub(super) fn with(&self, voter: Voter) -> VoterSet {
        let mut voters = self.clone();
        voters.0.insert(voter.voter_id, voter);
        voters
    }

    /// The set without this voter.
    pub(super) fn without(&self, id: i32) -> VoterSet {
        let mut voters = self.clone();
        voters.0.remove(&id);
        voters
    }

    /// Whether the entry of `voter` says something else than `voter` does.
    pub(super) fn differs(&self, voter: &Voter) -> bool {
        self.0.get(&voter.voter_id).is_some_and(|known| known != voter)
    }
}

/// Whether a voter can take part where the level of `kraft.version` is `level`.
pub(super) fn supports(range: &KRaftVersionFeature, level: i16) -> bool {
    (range.min_supported_version..=range.max_supported_version).contains(&level)
}

/// The voter sets of the log. The last one counts from the moment that it is appended, committed or not, and the
/// one before it again when it is cut off.
#[derive(Debug)]
pub(super) struct VoterHistory {
    /// Counts while the log has none: `controller.quorum.voters`.
    configured: VoterSet,
    /// By the offset of their record.
    in_log: BTreeMap<i64, VoterSet>,
}

impl VoterHistory {
    pub(super) fn new(configured: VoterSet) -> Self {
        VoterHistory { configured, in_log: BTreeMap::new() }
    }

    pub(super) fn latest(&self) -> &VoterSet {
        self.in_log.last_key_value().map_or(&self.configured, |(_, voters)| voters)
    }

    /// The offset of the last record; `None` while voters are configured.
    pub(super) fn latest_offset(&self) -> Option<i64> {
        self.in_log.last_key_value().map(|(offset, _)| *offset)
    }

    /// What counted before the last record.
    pub(super) fn previous(&self) -> &VoterSet {
        self.in_log.values().rev().nth(1).unwrap_or(&self.configured)
    }

    /// What the log up to and with `offset` says.
    pub(super) fn at(&self, offset: i64) -> Option<&VoterSet> {
        self.in_log.range(..=offset).next_back().map(|(_, voters)| voters)
    }

    pub(super) fn append(&mut self, offset: i64, voters: VoterSet) {
        let last = self.latest_offset();
        assert!(
            last.is_none_or(|last| last < offset),
            "voters out of order: offset={offset} last={last:?} voters={voters:?}"
        );
        self.in_log.insert(offset, voters);
    }

    /// The log was cut to `end`. Returns whether other voters count now.
    pub(super) fn truncate(&mut self, end: i64) -> bool {
        !self.in_log.split_off(&end).is_empty()
    }

    /// The log begins at `start` now; what counted before that stays known.
    pub(super) fn forget_before(&mut self, start: i64) {
        let Some((&first, _)) = self.in_log.range(..start).next_back() else { return };
        self.in_log = self.in_log.split_off(&first);
    }

    /// A snapshot took the place of the log.
    pub(super) fn replace(&mut self, end: i64, voters: Option<VoterSet>) {
        self.in_log = voters.map(|voters| (end - 1, voters)).into_iter().collect();
    }
}
