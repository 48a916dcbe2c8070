//! Who votes.

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

/// The voters of the quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSet(BTreeMap<i32, Uuid>);

impl VoterSet {
    /// From replica keys. A node id stands once.
    pub fn new(voters: impl IntoIterator<Item = ReplicaKey>) -> Self {
        VoterSet(voters.into_iter().map(|key| (key.id, key.directory)).collect())
    }

    /// Whether `key` is a voter. A nil directory on either side matches any.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.0
            .get(&key.id)
            .is_some_and(|known| known.is_nil() || key.directory.is_nil() || *known == key.directory)
    }

    /// Whether a voter has this node id.
    pub fn contains_id(&self, id: i32) -> bool {
        self.0.contains_key(&id)
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
}
