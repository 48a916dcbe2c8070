//! W1: three voters of the metadata quorum.

use crate::story::*;
use burnin_history::{Event, FaultEvent, NodeId};
use burnin_runtime::Observation;
use std::sync::Arc;

const W1: &str = "W1";

struct Voters(Story);

fn name() -> Arc<str> {
    "__cluster_metadata-0".into()
}

impl Voters {
    /// Node 1 leads epoch 1 and has committed its first ten offsets.
    fn new() -> Voters {
        let mut voters = Voters(Story::flushed());
        for node in 1..=3 {
            voters.told(node, Observation::QuorumStarted { epoch: 0, leader: None, voted: None });
        }
        voters.vote(&[1, 2], 1, 1);
        voters.elected(1, 1, 0);
        voters.append(&[1, 2], 0, 1);
        voters.commit(1, 1, 10);
        voters
    }

    fn told(&mut self, node: i32, observation: Observation) {
        self.0.event(&Event::Observed { node: NodeId(node), observation: &observation });
    }

    fn vote(&mut self, nodes: &[i32], epoch: i32, candidate: i32) {
        nodes.iter().for_each(|node| self.told(*node, Observation::QuorumVoted { epoch, candidate }));
    }

    fn elected(&mut self, node: i32, epoch: i32, start_offset: i64) {
        let voters = [1, 2, 3].into();
        self.told(node, Observation::QuorumElected { epoch, start_offset, voters, silence_ms_max: 3000 });
    }

    fn fetched(&mut self, node: i32, epoch: i32, voter: i32) {
        self.told(node, Observation::QuorumFetched { epoch, voter });
    }

    fn passes(&mut self, seconds: u64) {
        self.0.now += seconds * 1_000_000_000;
    }

    fn append(&mut self, nodes: &[i32], base_offset: i64, leader_epoch: i32) {
        for node in nodes {
            let (last_offset, crc) = (base_offset + 9, leader_epoch as u32);
            let partition = name();
            self.told(
                *node,
                Observation::BatchAppended { partition, base_offset, last_offset, leader_epoch, crc },
            );
            self.told(*node, Observation::FlushDone { partition: name(), offset: base_offset + 10 });
        }
    }

    fn commit(&mut self, node: i32, epoch: i32, offset: i64) {
        self.told(node, Observation::QuorumCommitted { epoch, offset });
    }

    #[track_caller]
    fn finds(mut self, anomaly: &str) {
        self.0.expect(W1, anomaly, 1);
    }

    #[track_caller]
    fn silent(mut self) {
        let verdict = self.0.verdict();
        assert_eq!(verdict.found_count(), 0, "{:#?}", verdict.violations);
    }
}

#[test]
fn ordinary_election_is_passed_over_in_silence() {
    let mut voters = Voters::new();
    voters.append(&[3], 0, 1);
    voters.append(&[1], 10, 1);
    voters.vote(&[2, 3], 2, 2);
    voters.elected(2, 2, 10);
    voters.append(&[2, 3], 10, 2);
    voters.told(1, Observation::LogTruncated { partition: name(), offset: 10 });
    voters.append(&[1], 10, 2);
    voters.commit(2, 2, 20);
    voters.commit(1, 2, 20);
    voters.silent();
}

#[test]
fn two_leaders_of_one_epoch() {
    let mut voters = Voters::new();
    voters.elected(2, 1, 10);
    voters.finds("two-leaders");
}

#[test]
fn one_vote_for_each_epoch_also_after_a_restart() {
    let mut twice = Voters::new();
    twice.vote(&[2], 1, 3);
    twice.finds("two-votes");

    for (voted, found) in [(None, true), (Some(1), false)] {
        let mut restarted = Voters::new();
        restarted.0.fault(FaultEvent::PowerLost { node: NodeId(2) });
        restarted.told(2, Observation::QuorumStarted { epoch: 1, leader: None, voted });
        match found {
            true => restarted.finds("two-votes"),
            false => restarted.silent(),
        }
    }

    let mut older = Voters::new();
    older.told(2, Observation::QuorumStarted { epoch: 0, leader: None, voted: None });
    older.finds("epoch-regress");
}

#[test]
fn elected_replica_has_what_was_committed() {
    let mut voters = Voters::new();
    voters.vote(&[3], 2, 3);
    voters.elected(3, 2, 0);
    voters.finds("leader-incomplete");
}

#[test]
fn commit_needs_a_durable_majority_and_a_record_of_the_epoch() {
    let mut alone = Voters::new();
    alone.append(&[1], 10, 1);
    alone.commit(1, 1, 20);
    alone.finds("commit-without-quorum");

    // The fetch by which the leader counted it was on its way when it lost its disk.
    let mut wiped = Voters::new();
    wiped.append(&[1, 2], 10, 1);
    wiped.0.fault(FaultEvent::PowerLost { node: NodeId(2) });
    wiped.0.fault(FaultEvent::Wiped { node: NodeId(2) });
    wiped.commit(1, 1, 20);
    wiped.silent();

    let mut old = Voters::new();
    old.append(&[1, 2], 10, 1);
    old.vote(&[1, 2], 2, 2);
    old.elected(2, 2, 20);
    old.commit(2, 2, 20);
    old.finds("commit-of-earlier-epoch");
}

#[test]
fn committed_records_stay() {
    let mut cut = Voters::new();
    cut.told(2, Observation::LogTruncated { partition: name(), offset: 0 });
    cut.finds("truncated-committed");

    let mut other = Voters::new();
    other.append(&[3], 0, 7);
    other.commit(3, 1, 10);
    other.finds("committed-changed");
}

#[test]
fn log_begins_where_a_snapshot_ends() {
    let begins = |voters: &mut Voters| {
        voters.told(1, Observation::LogStartAdvanced { partition: name(), log_start_offset: 10 });
    };
    let mut without = Voters::new();
    begins(&mut without);
    without.finds("start-without-snapshot");

    let mut with = Voters::new();
    with.told(1, Observation::SnapshotTaken { end_offset: 10, epoch: 1 });
    begins(&mut with);
    with.silent();
}

#[test]
fn snapshot_ends_where_a_committed_batch_does() {
    for (end_offset, epoch, found) in [(10, 1, false), (9, 1, true), (10, 2, true), (20, 1, true)] {
        let mut voters = Voters::new();
        voters.append(&[1, 2], 10, 1);
        voters.told(2, Observation::SnapshotTaken { end_offset, epoch });
        if found { voters.finds("snapshot-mismatch") } else { voters.silent() }
    }
}

#[test]
fn leader_that_nobody_asks_writes_nothing_after_a_while() {
    let mut alone = Voters::new();
    alone.fetched(1, 1, 3);
    alone.passes(4);
    alone.append(&[1], 10, 1);
    alone.finds("leads-without-quorum");

    let mut asked = Voters::new();
    asked.passes(2);
    asked.fetched(1, 1, 3);
    asked.passes(2);
    asked.append(&[1], 10, 1);
    asked.passes(2);
    asked.told(1, Observation::QuorumResigned { epoch: 1 });
    asked.passes(2);
    asked.append(&[1], 20, 1);
    asked.silent();

    // What was asked in another epoch does not count.
    let mut deposed = Voters::new();
    deposed.passes(2);
    deposed.fetched(1, 2, 3);
    deposed.passes(2);
    deposed.append(&[1], 10, 1);
    deposed.finds("leads-without-quorum");
}

#[test]
fn controller_decides_by_all_that_was_committed_before_its_epoch() {
    for (applied_offset, found) in [(9, true), (10, false)] {
        let mut voters = Voters::new();
        voters.vote(&[2, 3], 2, 2);
        voters.elected(2, 2, 10);
        voters.told(2, Observation::ControllerActive { epoch: 2, applied_offset });
        if found { voters.finds("decides-too-early") } else { voters.silent() }
    }
}

#[test]
fn voters_change_when_what_was_before_is_committed() {
    let changes = |voters: &mut Voters, offset: i64, ids: &[i32]| {
        voters.told(1, Observation::QuorumVoters { offset, voters: ids.into() });
    };
    let mut twice = Voters::new();
    changes(&mut twice, 10, &[1, 2, 3, 4]);
    changes(&mut twice, 11, &[1, 2, 4]);
    twice.finds("voters-changed-early");

    let mut fresh = Voters::new();
    fresh.append(&[3], 0, 1);
    fresh.vote(&[2, 3], 2, 2);
    fresh.elected(2, 2, 10);
    fresh.told(2, Observation::QuorumVoters { offset: 11, voters: [1, 2, 3, 4].into() });
    fresh.finds("voters-changed-early");

    let mut in_turn = Voters::new();
    changes(&mut in_turn, 10, &[1, 2, 3, 4]);
    in_turn.append(&[3], 0, 1);
    in_turn.append(&[1, 2, 3], 10, 1);
    in_turn.commit(1, 1, 20);
    changes(&mut in_turn, 20, &[1, 2, 4]);
    in_turn.silent();
}

#[test]
fn majority_is_that_of_the_voters_that_the_leader_uses() {
    let mut four = Voters::new();
    four.told(1, Observation::QuorumVoters { offset: 10, voters: [1, 2, 3, 4].into() });
    four.append(&[1, 2], 10, 1);
    four.commit(1, 1, 20);
    four.finds("commit-without-quorum");
}

#[test]
fn voters_change_one_at_a_time() {
    for (voters, found) in [(&[1, 2, 3, 4][..], false), (&[1, 4, 5], true)] {
        let mut story = Voters::new();
        story.told(1, Observation::QuorumVoters { offset: 12, voters: voters.into() });
        match found {
            true => story.finds("quorums-disjoint"),
            false => story.silent(),
        }
    }
}
