//! Which replica is nearest to a consumer (KIP-392, `RackAwareReplicaSelector`): one in its rack that is in sync and
//! holds what it wants. Where the leader is in that rack as well, the leader serves.

use crate::handlers::nodes;
use crate::shared::{Client, Shared};
use burnin_core::config::ReplicaSelector;
use burnin_runtime::Runtime;
use std::collections::BTreeSet;

/// The brokers in a consumer's rack, without this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nearest {
    in_rack: BTreeSet<i32>,
}

impl Nearest {
    /// `None` when this broker serves the consumer in any case.
    pub(super) fn of<R: Runtime>(shared: &Shared<R>, client: &Client, rack: &str) -> Option<Nearest> {
        if rack.is_empty() || shared.config.replication.selector == ReplicaSelector::Leader {
            return None;
        }
        if shared.config.rack.as_deref() == Some(rack) {
            return None;
        }
        let nodes = nodes(shared, client, &shared.image.read());
        let in_rack = nodes.into_iter().filter(|node| node.rack.as_deref() == Some(rack));
        Some(Nearest { in_rack: in_rack.map(|node| node.id).collect() })
    }

    /// Of followers that hold what is wanted, each with its log end, the one to read from: the furthest.
    pub(super) fn choose(&self, holders: Vec<(i32, i64)>) -> Option<i32> {
        let near = holders.into_iter().filter(|(id, _)| self.in_rack.contains(id));
        near.max_by_key(|(id, end)| (*end, *id)).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn furthest_holder_in_the_rack_is_chosen() {
        let nearest = Nearest { in_rack: BTreeSet::from([2, 3]) };
        assert_eq!(nearest.choose(vec![(2, 10), (3, 12), (4, 99)]), Some(3));
        assert_eq!(nearest.choose(vec![(4, 99)]), None);
    }
}
