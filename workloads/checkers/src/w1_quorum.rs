//! W1, metadata quorum (white-box): Raft's safety, on the event that can break it.
//!
//! * `two-leaders`: two replicas were elected in one epoch.
//! * `two-votes`: a replica voted for two candidates in one epoch, or came up without the vote that it had given.
//! * `epoch-regress`: a replica came up in an older epoch than it had made durable.
//! * `leader-incomplete`: one was elected whose log lacks what was committed.
//! * `committed-changed`: a replica calls something committed that is not what was committed there.
//! * `commit-without-quorum`: a leader committed what no majority of the voters holds durably.
//! * `commit-of-earlier-epoch`: a leader committed before a record of its own epoch was (Raft, figure 8).
//! * `truncated-committed`: a replica cut what was committed and what it had.
//! * `start-without-snapshot`: the log begins behind what any snapshot of this replica covers.
//! * `snapshot-mismatch`: a snapshot does not end where a committed batch does, or names another epoch.
//! * `quorums-disjoint`: voters changed by more than one at a time, so that two majorities need not meet.
//! * `leads-without-quorum`: a leader wrote something new though no majority had asked it for longer than it may lead
//!   without one.
//! * `decides-too-early`: a controller decided by metadata that lack what may have been committed before its epoch.
//! * `voters-changed-early`: a leader changed the voters before an earlier change, or a record of its own epoch, was
//!   committed: two majorities need not meet either.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::Facts;
use crate::replicas::{Ledger, METADATA};
use crate::words::At;
use burnin_history::{Event, FaultEvent, Moment, NodeId};
use burnin_runtime::Observation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Votes of so many epochs are remembered.
const EPOCHS_MAX: usize = 256;

/// A leader, by what it says of itself.
#[derive(Debug)]
struct Leads {
    epoch: i32,
    start_offset: i64,
    silence_max: Moment,
    /// When each of the voters was heard of; in the beginning, when this one was elected.
    heard: BTreeMap<i32, Moment>,
}

impl Leads {
    /// Since when no majority has been heard of; `None` for one that needs nobody else.
    fn alone_since(&self, node: NodeId) -> Option<Moment> {
        let counts_itself = usize::from(self.heard.contains_key(&node.0));
        let needed = self.heard.len() / 2 + 1 - counts_itself;
        let others = self.heard.iter().filter(|(voter, _)| **voter != node.0);
        let mut heard: Vec<Moment> = others.map(|(_, at)| *at).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        heard.get(needed.checked_sub(1)?).copied()
    }
}

/// See the module.
#[derive(Debug)]
pub struct QuorumSafety {
    findings: Findings,
    elected: BTreeMap<i32, (NodeId, Moment)>,
    leads: BTreeMap<NodeId, Leads>,
    votes: BTreeMap<(i32, NodeId), (i32, Moment)>,
    epochs: BTreeMap<NodeId, (i32, Moment)>,
    snapshots: BTreeMap<NodeId, i64>,
    /// Those who lead, or believe so.
    leaders: BTreeMap<NodeId, Using>,
    /// The newest voters that are committed.
    settled: Option<Arc<[i32]>>,
}

/// A leader, and the voters that count for it: those of the last record in its log.
#[derive(Debug)]
struct Using {
    /// Where its epoch begins.
    start_offset: i64,
    /// The record that brought the voters, or the beginning of the epoch.
    since: i64,
    voters: Arc<[i32]>,
}

impl Default for QuorumSafety {
    fn default() -> Self {
        QuorumSafety {
            findings: Findings::new("W1", Class::Safety),
            elected: BTreeMap::new(),
            leads: BTreeMap::new(),
            votes: BTreeMap::new(),
            epochs: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            leaders: BTreeMap::new(),
            settled: None,
        }
    }
}

impl Checker for QuorumSafety {
    fn property(&self) -> &'static Property {
        &Property {
            id: "W1",
            seen_outside: &[],
            seen_inside: &[
                "two-leaders",
                "two-votes",
                "epoch-regress",
                "leader-incomplete",
                "committed-changed",
                "commit-without-quorum",
                "commit-of-earlier-epoch",
                "truncated-committed",
                "start-without-snapshot",
                "snapshot-mismatch",
                "quorums-disjoint",
                "leads-without-quorum",
                "decides-too-early",
                "voters-changed-early",
            ],
        }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::Fault(
                FaultEvent::Killed { node } | FaultEvent::PowerLost { node } | FaultEvent::Stopped { node },
            ) => drop(self.leads.remove(node)),
            Event::Fault(FaultEvent::Wiped { node }) => {
                self.leads.remove(node);
                self.votes.retain(|(_, voter), _| voter != node);
                self.epochs.remove(node);
                self.snapshots.remove(node);
                self.leaders.remove(node);
            }
            Event::Observed { node, observation } => self.observed(facts, at, *node, observation),
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl QuorumSafety {
    fn report(&mut self, at: Moment, anomaly: &'static str, offset: Option<i64>, message: String) {
        self.findings.report(at, anomaly, 1, None, || Described {
            message: format!("{METADATA}: {message} at {}.", At(at)),
            partition: Some(METADATA.to_owned()),
            offset,
            ..Described::default()
        });
    }

    fn observed(&mut self, facts: &Facts, at: Moment, node: NodeId, told: &Observation) {
        let ledger = facts.replicas().metadata();
        match told {
            Observation::QuorumStarted { epoch, voted, .. } => {
                self.leaders.remove(&node);
                self.started(at, node, *epoch, *voted)
            }
            Observation::QuorumResigned { .. } => {
                self.leaders.remove(&node);
                self.leads.remove(&node);
            }
            Observation::QuorumVoted { epoch, candidate } => self.voted(at, node, *epoch, *candidate),
            Observation::QuorumElected { epoch, start_offset, voters, silence_ms_max } => {
                self.findings.checked(1);
                let leads = Leads {
                    epoch: *epoch,
                    start_offset: *start_offset,
                    silence_max: silence_ms_max * 1_000_000,
                    heard: voters.iter().map(|voter| (*voter, at)).collect(),
                };
                self.leads.insert(node, leads);
                match self.elected.get(epoch).copied() {
                    Some((other, since)) if other != node => {
                        let message = format!(
                            "node {node} was elected in epoch {epoch}, in which node {other} was elected at {},",
                            At(since)
                        );
                        self.report(at, "two-leaders", None, message);
                    }
                    _ => drop(self.elected.insert(*epoch, (node, at))),
                }
                self.led_by(at, node, *start_offset, voters);
                if let Some(lost) = ledger.and_then(|ledger| ledger.change.lost) {
                    let instead = lost.instead.map(|batch| format!(" (it has {batch:?} there)"));
                    let message = format!(
                        "node {node} was elected in epoch {epoch} without what was committed from offset {} to {}{}, \
                         noticed",
                        lost.kept,
                        lost.committed,
                        instead.unwrap_or_default()
                    );
                    self.report(at, "leader-incomplete", Some(lost.kept), message);
                }
            }
            Observation::QuorumCommitted { epoch, offset } => {
                if let Some(ledger) = ledger {
                    self.committed(ledger, at, node, *epoch, *offset);
                }
            }
            Observation::QuorumFetched { epoch, voter } => {
                let leads = self.leads.get_mut(&node).filter(|leads| leads.epoch == *epoch);
                if let Some(heard) = leads.and_then(|leads| leads.heard.get_mut(voter)) {
                    *heard = at;
                }
            }
            Observation::BatchAppended { partition, leader_epoch, base_offset, .. }
                if **partition == *METADATA =>
            {
                self.wrote(at, node, *leader_epoch, *base_offset);
            }
            Observation::ControllerActive { epoch, applied_offset } => {
                self.findings.checked(1);
                let leads = self.leads.get(&node).filter(|leads| leads.epoch == *epoch);
                if let Some(start) =
                    leads.map(|leads| leads.start_offset).filter(|start| applied_offset < start)
                {
                    let message = format!(
                        "the controller of node {node} decides in epoch {epoch}, which begins at {start}, by the metadata                          below {applied_offset},"
                    );
                    self.report(at, "decides-too-early", Some(*applied_offset), message);
                }
            }
            Observation::QuorumVoters { offset, voters } => {
                if let Some(leads) = self.leads.get_mut(&node) {
                    let heard = |voter: &i32| leads.heard.get(voter).copied().unwrap_or(at);
                    leads.heard = voters.iter().map(|voter| (*voter, heard(voter))).collect();
                }
                let committed = ledger.map_or(0, |ledger| ledger.high_watermark);
                self.changed_voters(at, node, *offset, voters, committed);
            }
            Observation::SnapshotTaken { end_offset, epoch }
            | Observation::SnapshotLoaded { end_offset, epoch, .. } => {
                if let Some(ledger) = ledger {
                    self.snapshot(ledger, at, node, *end_offset, *epoch);
                }
                let known = self.snapshots.entry(node).or_default();
                *known = (*known).max(*end_offset);
            }
            Observation::LogTruncated { partition, offset } if **partition == *METADATA => {
                let Some(ledger) = ledger else { return };
                let (had, committed) = (ledger.change.matched, ledger.change.high_watermark);
                self.findings.checked(1);
                if *offset < had.min(committed) && *offset <= ledger.change.end {
                    let by = decided(ledger);
                    let message = format!(
                        "node {node} cut its log to {offset}, though it had what is committed up to {}{by},",
                        had.min(committed)
                    );
                    self.report(at, "truncated-committed", Some(*offset), message);
                }
            }
            Observation::LogStartAdvanced { partition, log_start_offset } if **partition == *METADATA => {
                let covered = self.snapshots.get(&node).copied().unwrap_or(0);
                self.findings.checked(1);
                if *log_start_offset > covered {
                    let message = format!(
                        "node {node} dropped its log below {log_start_offset}, its newest snapshot ends at {covered},"
                    );
                    self.report(at, "start-without-snapshot", Some(*log_start_offset), message);
                }
            }
            _ => {}
        }
    }

    /// A leader may not know at once that it leads no more, but not for ever.
    fn wrote(&mut self, at: Moment, node: NodeId, epoch: i32, offset: i64) {
        let Some(leads) = self.leads.get(&node).filter(|leads| leads.epoch == epoch) else { return };
        self.findings.checked(1);
        let Some(since) = leads.alone_since(node).filter(|since| at > since + leads.silence_max) else {
            return;
        };
        let message = format!(
            "node {node}, leader of epoch {epoch}, wrote at offset {offset}, though no majority of the voters {:?} had              asked it since {} and it may lead {} ms without one,",
            leads.heard.keys().collect::<Vec<_>>(),
            At(since),
            leads.silence_max / 1_000_000
        );
        self.report(at, "leads-without-quorum", Some(offset), message);
    }

    /// The state below an offset is that of the committed records below it.
    fn snapshot(&mut self, ledger: &Ledger, at: Moment, node: NodeId, end_offset: i64, epoch: i32) {
        if end_offset == 0 || !ledger.remembers(end_offset - 1) {
            return;
        }
        self.findings.checked(1);
        let last = ledger.committed_holding(end_offset - 1);
        if last.is_some_and(|batch| batch.last + 1 == end_offset && batch.epoch == epoch) {
            return;
        }
        let instead = last.map_or("nothing is".to_owned(), |batch| format!("{batch:?} is"));
        let message = format!(
            "node {node} has a snapshot that ends at {end_offset} in epoch {epoch}, where {instead} committed (up to              {}), noticed",
            ledger.high_watermark
        );
        self.report(at, "snapshot-mismatch", Some(end_offset), message);
    }

    fn started(&mut self, at: Moment, node: NodeId, epoch: i32, voted: Option<i32>) {
        self.findings.checked(1);
        if let Some((known, since)) = self.epochs.get(&node).copied()
            && epoch < known
        {
            let message = format!(
                "node {node} came up in epoch {epoch}, though it was in epoch {known} at {},",
                At(since)
            );
            self.report(at, "epoch-regress", None, message);
        }
        if let Some((candidate, since)) = self.votes.get(&(epoch, node)).copied()
            && voted != Some(candidate)
        {
            let now = voted.map_or("no vote".to_owned(), |voted| format!("a vote for node {voted}"));
            let message = format!(
                "node {node} came up with {now} in epoch {epoch}, in which it had voted for node {candidate} at {},",
                At(since)
            );
            self.report(at, "two-votes", None, message);
        }
        self.epochs.insert(node, (epoch, at));
    }

    fn voted(&mut self, at: Moment, node: NodeId, epoch: i32, candidate: i32) {
        self.findings.checked(1);
        match self.votes.get(&(epoch, node)).copied() {
            Some((other, since)) if other != candidate => {
                let message = format!(
                    "node {node} voted for node {candidate} in epoch {epoch}, in which it had voted for node {other} at \
                     {},",
                    At(since)
                );
                self.report(at, "two-votes", None, message);
            }
            _ => drop(self.votes.insert((epoch, node), (candidate, at))),
        }
        while self.votes.len() > EPOCHS_MAX {
            self.votes.pop_first();
        }
        let known = self.epochs.entry(node).or_insert((epoch, at));
        if epoch > known.0 {
            *known = (epoch, at);
        }
    }

    fn committed(&mut self, ledger: &Ledger, at: Moment, node: NodeId, epoch: i32, offset: i64) {
        self.findings.checked(1);
        let Some(replica) = ledger.replicas.get(&node) else { return };
        if let Some((ours, theirs)) = ledger.conflict(replica).filter(|(ours, _)| ours.base < offset) {
            let by = decided(ledger);
            let theirs = theirs.map_or("no batch begins".to_owned(), |batch| format!("{batch:?} is"));
            let message =
                format!("node {node} calls {ours:?} committed, where {theirs} committed{by}, noticed");
            return self.report(at, "committed-changed", Some(ours.base), message);
        }
        let leads = self.elected.get(&epoch).is_some_and(|(leader, _)| *leader == node);
        if !leads || ledger.high_watermark <= ledger.change.high_watermark {
            return;
        }
        if let Some(last) = ledger.last_committed().filter(|last| last.epoch != epoch) {
            let message = format!(
                "node {node} leads epoch {epoch} and committed up to {offset}, where epoch {} ends,",
                last.epoch
            );
            self.report(at, "commit-of-earlier-epoch", Some(offset), message);
        }
        let Some(leads) = self.leaders.get(&node) else { return };
        let (voters, is_settled) = (leads.voters.clone(), offset > leads.since);
        // A leader counts what a voter held when it fetched, whatever became of its disk since.
        let holds = |voter: &&i32| {
            let node = NodeId(**voter);
            let now = ledger.replicas.get(&node);
            let before = ledger.wiped.get(&node).filter(|replica| replica.flushed >= offset);
            now.is_some_and(|replica| replica.matched.min(replica.flushed) >= offset)
                || before.is_some_and(|replica| ledger.agrees_up_to(replica, offset - 1))
        };
        let (held, needed) = (voters.iter().filter(holds).count(), voters.len() / 2 + 1);
        if held < needed {
            let message = format!(
                "node {node}, leader of epoch {epoch}, committed up to {offset}, which {held} of the voters {voters:?} \
                 hold durably ({needed} are needed),"
            );
            self.report(at, "commit-without-quorum", Some(offset), message);
        }
        if is_settled {
            self.settled = Some(voters);
        }
    }

    fn led_by(&mut self, at: Moment, node: NodeId, start_offset: i64, voters: &Arc<[i32]>) {
        let settled = self.settled.get_or_insert_with(|| voters.clone()).clone();
        self.one_at_a_time(at, start_offset, &settled, voters);
        let leads = Using { start_offset, since: start_offset, voters: voters.clone() };
        self.leaders.insert(node, leads);
    }

    /// A leader appended other voters. What followers say they use, their leader has said before.
    fn changed_voters(&mut self, at: Moment, node: NodeId, offset: i64, voters: &Arc<[i32]>, committed: i64) {
        let Some(leads) = self.leaders.get_mut(&node).filter(|leads| offset >= leads.start_offset) else {
            return;
        };
        let (since, start) = (leads.since, leads.start_offset);
        let before = std::mem::replace(&mut leads.voters, voters.clone());
        leads.since = offset;
        if before == *voters {
            return;
        }
        self.one_at_a_time(at, offset, &before, voters);
        if committed <= since.max(start) {
            let message = format!(
                "node {node}, whose epoch begins at {start}, changed the voters from {before:?} to {voters:?} at \
                 {offset}, where the last voters stand at {since} and only what is below {committed} is committed,"
            );
            self.report(at, "voters-changed-early", Some(offset), message);
        }
    }

    fn one_at_a_time(&mut self, at: Moment, offset: i64, before: &[i32], voters: &[i32]) {
        let gone = before.iter().filter(|voter| !voters.contains(voter)).count();
        let new = voters.iter().filter(|voter| !before.contains(voter)).count();
        self.findings.checked(1);
        if gone + new > 1 {
            let message = format!("the voters changed from {before:?} to {voters:?} at once, noticed");
            self.report(at, "quorums-disjoint", Some(offset), message);
        }
    }
}

fn decided(ledger: &Ledger) -> String {
    let by = ledger
        .decided
        .map(|(node, epoch, since)| format!(" (last by node {node} in epoch {epoch} at {})", At(since)));
    by.unwrap_or_default()
}
