//! Who votes, as the rest of the node sees it; what this node says of itself; and the voters that stand in the log.

use crate::shared::BoundListener;
use burnin_core::config::BrokerConfig;
use burnin_core::quorum::{ReplicaKey, VoterSet};
use burnin_log::Log;
use burnin_runtime::Runtime;
use burnin_wire::batch::batches;
use burnin_wire::control_records::{
    ControlRecord, KRaftVersionFeature, Voter, VoterEndpoint, control_records,
};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// The levels of `kraft.version` that this build supports.
pub(crate) const KRAFT_VERSIONS: KRaftVersionFeature =
    KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 };
/// How much of the log is read at once.
const SCAN_BYTES: usize = 1024 * 1024;

/// The voters that count now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VotersView {
    /// Whether they are those of `controller.quorum.voters` (`kraft.version` 0), and not of the log.
    pub(crate) are_configured: bool,
    pub(crate) voters: Arc<VoterSet>,
}

impl VotersView {
    /// Node ids in order.
    pub(crate) fn ids(&self) -> Vec<i32> {
        self.voters.ids().collect()
    }

    /// What a node says of its voters with every request to another (`messages::CONFIGURED_VOTERS`), so that nobody
    /// goes on with who counts other majorities; `None` where the log names them.
    pub(super) fn told(&self) -> Option<Bytes> {
        let is_configured = self.are_configured && !self.voters.is_empty();
        is_configured.then(|| Bytes::from(list(&self.ids())))
    }

    /// Why a request of `from`, who was configured with `theirs`, must not be listened to. Kafka 3.9 and later listens
    /// to everybody; before, INCONSISTENT_VOTER_SET was the answer to a candidate or leader that is not configured.
    pub(crate) fn contradiction(&self, from: i32, theirs: Option<&[u8]>, is_voter: bool) -> Option<String> {
        let theirs = theirs.map(String::from_utf8_lossy);
        let ours = list(&self.ids());
        if !self.are_configured {
            // A broker may find the quorum with what is configured; who wants to lead must know the log's voters.
            let theirs = theirs.filter(|_| is_voter)?;
            return Some(format!(
                "node {from} wants to lead with controller.quorum.voters={theirs} of its own, but the voters of this \
                 quorum stand in its log: {ours}"
            ));
        }
        if self.voters.is_empty() {
            return None;
        }
        match theirs {
            Some(theirs) if theirs != ours => Some(format!(
                "node {from} is configured with other voters than this node: its controller.quorum.voters are {theirs}, \
                 here they are {ours}"
            )),
            None if is_voter && !self.voters.contains_id(from) => Some(format!(
                "node {from} acts as a voter and is not among this node's controller.quorum.voters, which are {ours}"
            )),
            _ => None,
        }
    }
}

fn list(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The voters until the log names others.
pub(super) fn configured(config: &BrokerConfig) -> VoterSet {
    let ids: Vec<i32> = match &config.voters[..] {
        [] if config.is_alone() => vec![config.node_id],
        voters => voters.iter().map(|voter| voter.id).collect(),
    };
    VoterSet::new(ids.into_iter().map(|id| ReplicaKey { id, directory: Uuid::nil() }))
}

/// This node as a voter.
pub(crate) fn own(me: ReplicaKey, listeners: &[BoundListener]) -> Voter {
    let endpoint = |listener: &BoundListener| {
        let (host, port) = listener.reached_at();
        VoterEndpoint { name: listener.name.clone(), host, port }
    };
    Voter {
        voter_id: me.id,
        voter_directory_id: me.directory,
        endpoints: listeners.iter().filter(|listener| listener.is_controllers).map(endpoint).collect(),
        k_raft_version_feature: KRAFT_VERSIONS,
    }
}

/// The VotersRecords of batches, with their offsets.
pub(crate) fn in_batches(chunk: &Bytes) -> Result<Vec<(i64, VoterSet)>, String> {
    let mut found = Vec::new();
    for batch in batches(chunk) {
        let (header, bytes) = batch.map_err(|error| error.to_string())?;
        if !header.is_control() {
            continue;
        }
        for (offset, record) in control_records(&chunk.slice_ref(bytes)).map_err(|error| error.to_string())? {
            if let ControlRecord::KRaftVoters(record) = record {
                found.push((offset, VoterSet::from_record(&record)));
            }
        }
    }
    Ok(found)
}

/// The same of a whole log.
pub(super) async fn in_log<R: Runtime>(log: &Log<R>) -> Result<Vec<(i64, VoterSet)>, String> {
    let (mut next, end) = (log.start_offset(), log.end_offset());
    let mut found = Vec::new();
    while next < end {
        let read = log.read(next, end, SCAN_BYTES, true).await;
        let read = read.map_err(|error| format!("failed to read the metadata log: {error}"))?;
        if read.next_offset <= next {
            return Err(format!("nothing can be read at offset {next} of {end}"));
        }
        for chunk in &read.batches {
            found.extend(in_batches(chunk)?);
        }
        next = read.next_offset;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ids: &[i32], are_configured: bool) -> VotersView {
        let keys = ids.iter().map(|id| ReplicaKey { id: *id, directory: Uuid::nil() });
        VotersView { are_configured, voters: Arc::new(VoterSet::new(keys)) }
    }

    #[test]
    fn other_voters_are_a_contradiction_that_names_both_lists() {
        let ours = view(&[1, 2, 3], true);
        assert_eq!(ours.told().as_deref(), Some(&b"1,2,3"[..]));
        assert_eq!(ours.contradiction(2, Some(b"1,2,3"), true), None);
        let why = ours.contradiction(3, Some(b"3,4,5"), false).unwrap();
        assert!(why.contains("node 3") && why.contains("3,4,5") && why.contains("1,2,3"), "{why}");
        assert!(ours.contradiction(9, None, true).unwrap().contains("node 9"));
        assert_eq!(ours.contradiction(9, None, false), None, "a broker of another make");
    }

    #[test]
    fn where_the_log_names_the_voters_only_who_does_not_know_them_is_refused() {
        let ours = view(&[1, 2, 3], false);
        assert_eq!(ours.told(), None);
        assert_eq!(ours.contradiction(4, None, true), None, "a voter that this node has not heard of");
        assert_eq!(ours.contradiction(9, Some(b"1"), false), None);
        assert!(ours.contradiction(1, Some(b"1"), true).unwrap().contains("stand in its log"));
    }
}
