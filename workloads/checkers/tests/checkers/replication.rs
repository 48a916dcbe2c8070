//! W2, W3, B17, B18 and what a licence covers: three replicas of `orders-0`.

use crate::story::*;
use burnin_history::{Acks, Event, FaultEvent, Flush, NodeId, Outcome};
use burnin_runtime::Observation;
use std::sync::Arc;

const W2: &str = "W2";

fn name() -> Arc<str> {
    "orders-0".into()
}

/// Three replicas, the first leads; a story in the words of a broker.
/// With the topic that nodes are told of.
struct Trio(Story, u128);

impl Trio {
    fn new(flush: Flush, unclean: bool) -> Trio {
        let mut story = Story::of(flush, 2);
        story.event(&Event::Replicated { tp: TP, replicas: 3, unclean });
        let mut trio = Trio(story, 9);
        trio.state(1, 0, 0, &[1, 2, 3]);
        for node in 1..=3 {
            trio.recovers(node, 0);
        }
        trio.leads(1, 0, 0, 0);
        trio
    }

    fn told(&mut self, node: i32, observation: Observation) {
        self.0.event(&Event::Observed { node: NodeId(node), observation: &observation });
    }

    fn state(&mut self, leader: i32, leader_epoch: i32, partition_epoch: i32, isr: &[i32]) {
        for node in 1..=3 {
            self.state_at(node, leader, leader_epoch, partition_epoch, (isr, &[]));
        }
    }

    fn state_at(
        &mut self,
        node: i32,
        leader: i32,
        leader_epoch: i32,
        partition_epoch: i32,
        (isr, elr): (&[i32], &[i32]),
    ) {
        let (replicas, isr, elr) = ([1, 2, 3].into(), isr.into(), elr.into());
        let topic_id = self.1;
        self.told(
            node,
            Observation::PartitionState {
                partition: name(),
                topic_id,
                leader,
                leader_epoch,
                partition_epoch,
                replicas,
                isr,
                elr,
            },
        );
    }

    fn recovers(&mut self, node: i32, log_end_offset: i64) {
        let partition = name();
        self.told(
            node,
            Observation::LogRecovered { partition, log_start_offset: 0, log_end_offset, clean: false },
        );
    }

    fn leads(&mut self, node: i32, leader_epoch: i32, start_offset: i64, high_watermark: i64) {
        self.told(
            node,
            Observation::LeaderStarted { partition: name(), leader_epoch, start_offset, high_watermark },
        );
    }

    fn follows(&mut self, node: i32, leader_epoch: i32, leader: i32) {
        self.told(node, Observation::FollowerStarted { partition: name(), leader_epoch, leader });
    }

    /// Appends ten offsets, and syncs them.
    fn appends(&mut self, nodes: &[i32], base_offset: i64, leader_epoch: i32) {
        for node in nodes {
            let (last_offset, crc) = (base_offset + 9, 0xc0de + leader_epoch as u32);
            let partition = name();
            self.told(
                *node,
                Observation::BatchAppended { partition, base_offset, last_offset, leader_epoch, crc },
            );
            self.told(*node, Observation::FlushDone { partition: name(), offset: base_offset + 10 });
        }
    }

    fn mark(&mut self, node: i32, leader_epoch: i32, offset: i64, leads: bool) {
        self.told(node, Observation::HighWatermark { partition: name(), leader_epoch, offset, leads });
    }

    fn cuts(&mut self, node: i32, offset: i64) {
        self.told(node, Observation::LogTruncated { partition: name(), offset });
    }

    /// Ten offsets on these, and committed by the first.
    fn committed(&mut self, nodes: &[i32], base: i64, epoch: i32) {
        self.appends(nodes, base, epoch);
        self.mark(nodes[0], epoch, base + 10, true);
    }

    #[track_caller]
    fn finds(mut self, checker: &str, anomaly: &str) {
        self.0.expect(checker, anomaly, 1);
    }

    #[track_caller]
    fn silent(mut self) {
        let verdict = self.0.verdict();
        assert_eq!(verdict.found_count(), 0, "{:#?}", verdict.violations);
    }
}

fn trio() -> Trio {
    Trio::new(Flush::BeforeAck, false)
}

#[test]
fn new_leader_has_what_was_committed() {
    let mut lacks = trio();
    lacks.committed(&[1, 2, 3], 0, 0);
    lacks.cuts(2, 10);
    lacks.state(1, 0, 1, &[1, 3]);
    lacks.committed(&[1, 3], 10, 0);
    lacks.state(2, 1, 2, &[2]);
    lacks.leads(2, 1, 10, 10);
    lacks.finds(W2, "leader-incomplete");

    let mut has = trio();
    has.committed(&[1, 2, 3], 0, 0);
    has.appends(&[1], 10, 0);
    has.state(2, 1, 1, &[2, 3]);
    has.leads(2, 1, 10, 10);
    has.follows(1, 1, 2);
    has.cuts(1, 10);
    has.silent();
}

/// It was elected in epoch 1, and hears of it when the leader of epoch 2 has committed already.
#[test]
fn leader_that_hears_late_of_its_election_lost_nothing() {
    for (heard_of, lost) in [(1, false), (3, true)] {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        story.state(2, 1, 1, &[1, 2, 3]);
        story.state(1, 2, 2, &[1, 3]);
        story.leads(1, 2, 10, 10);
        story.follows(3, 2, 1);
        story.committed(&[1, 3], 10, 2);
        if heard_of == 3 {
            story.state(2, 3, 3, &[2]);
        }
        story.leads(2, heard_of, 10, 10);
        match lost {
            true => story.finds(W2, "leader-incomplete"),
            false => story.silent(),
        }
    }
}

#[test]
fn unclean_election_is_lawful_only_where_it_is_enabled() {
    for (enabled, found) in [(false, true), (true, false)] {
        let mut story = Trio::new(Flush::BeforeAck, enabled);
        story.committed(&[1, 2, 3], 0, 0);
        story.state(1, 0, 1, &[1, 3]);
        story.committed(&[1, 3], 10, 0);
        story.state(2, 1, 2, &[2]);
        story.leads(2, 1, 10, 10);
        story.follows(3, 1, 2);
        story.cuts(3, 10);
        story.committed(&[2, 3], 10, 1);
        match found {
            true => story.finds(W2, "leader-incomplete"),
            false => story.silent(),
        }
    }
}

/// A follower that was away while an unclean election lost what was committed cuts it when it is back.
#[test]
fn follower_cuts_what_is_committed_only_after_an_unclean_election() {
    for (elected, found) in [(true, false), (false, true)] {
        let mut story = Trio::new(Flush::BeforeAck, true);
        story.committed(&[1, 2, 3], 0, 0);
        story.state(1, 0, 1, &[1, 3]);
        story.committed(&[1, 3], 10, 0);
        if elected {
            story.state(2, 1, 2, &[2]);
            story.leads(2, 1, 10, 10);
        } else {
            story.state(1, 1, 2, &[1]);
            story.leads(1, 1, 20, 20);
        }
        let partition = name();
        story.told(
            3,
            Observation::CommittedCut { partition, leader_epoch: 1, offset: 10, high_watermark: 20 },
        );
        story.cuts(3, 10);
        match found {
            true => story.finds(W2, "committed-cut"),
            false => story.silent(),
        }
    }
}

#[test]
fn two_replicas_lead_in_one_epoch() {
    let mut story = trio();
    story.leads(2, 0, 0, 0);
    story.finds(W2, "two-leaders");
}

#[test]
fn high_watermark_waits_for_the_whole_isr() {
    let mut early = trio();
    early.appends(&[1, 2], 0, 0);
    early.mark(1, 0, 10, true);
    early.finds(W2, "isr-behind");

    let mut shrunk = trio();
    shrunk.appends(&[1, 2], 0, 0);
    shrunk.state(1, 0, 1, &[1, 2]);
    shrunk.mark(1, 0, 10, true);
    shrunk.silent();
}

#[test]
fn replica_joins_the_isr_with_everything_committed() {
    for (caught_up, found) in [(false, true), (true, false)] {
        let mut story = trio();
        story.state(1, 0, 1, &[1, 2]);
        story.committed(&[1, 2], 0, 0);
        if caught_up {
            story.appends(&[3], 0, 0);
        }
        story.state(1, 0, 2, &[1, 2, 3]);
        match found {
            true => story.finds(W2, "isr-behind"),
            false => story.silent(),
        }
    }
}

#[test]
fn replica_is_proposed_for_the_isr_with_everything_committed() {
    for (follows, caught_up, found) in [(1, false, true), (1, true, false), (0, false, false)] {
        let mut story = trio();
        story.state(1, 0, 1, &[1, 2]);
        story.committed(&[1, 2], 0, 0);
        story.state(2, 1, 2, &[2]);
        story.leads(2, 1, 10, 0);
        story.follows(3, follows, 2);
        if caught_up {
            story.appends(&[3], 0, 0);
        }
        let (partition, isr) = (name(), [2, 3].into());
        story.told(2, Observation::IsrProposed { partition, leader_epoch: 1, partition_epoch: 2, isr });
        match found {
            true => story.finds(W2, "isr-behind"),
            false => story.silent(),
        }
    }
}

#[test]
fn member_of_the_isr_comes_back_with_what_it_had() {
    for flush in [Flush::BeforeAck, Flush::PageCache] {
        for power in [false, true] {
            let mut story = Trio::new(flush, false);
            story.committed(&[1, 2, 3], 0, 0);
            let node = NodeId(3);
            let fault = if power { FaultEvent::PowerLost { node } } else { FaultEvent::Killed { node } };
            story.0.fault(fault);
            story.recovers(3, 0);
            let verdict = story.0.verdict();
            let found = verdict.violations.iter().any(|violation| violation.anomaly == "isr-lost");
            assert_eq!(found, !(power && flush == Flush::PageCache), "{flush:?} {power} {verdict:#?}");
        }
    }
}

#[test]
fn log_of_a_deleted_topic_is_not_taken_for_that_of_the_next() {
    let mut story = trio();
    let deleted = |story: &mut Trio, nodes: &[i32]| {
        for node in nodes {
            let topic_id = story.1;
            story.told(*node, Observation::PartitionGone { partition: name(), topic_id });
        }
        story.1 += 1;
    };
    let removed = |story: &mut Trio, node| story.told(node, Observation::LogRemoved { partition: name() });
    deleted(&mut story, &[1, 2, 3]);
    // Node 3 hears of the next topic before it has removed the log of the first.
    (1..=3).for_each(|node| story.state_at(node, 1, 0, 0, (&[1, 2, 3], &[])));
    (1..=3).for_each(|node| removed(&mut story, node));
    story.leads(1, 0, 0, 0);
    story.follows(3, 0, 1);
    story.committed(&[1, 2, 3], 0, 0);
    // It stands still while that one is deleted and created again, too.
    deleted(&mut story, &[1, 2]);
    (1..=2).for_each(|node| removed(&mut story, node));
    (1..=2).for_each(|node| story.state_at(node, 1, 0, 0, (&[1, 2], &[])));
    story.leads(1, 0, 0, 0);
    story.mark(3, 0, 10, false);
    story.silent();
}

#[test]
fn rot_excuses_the_log_that_it_hit_when_it_is_recovered() {
    for (topic, cut, found) in [("orders", false, false), ("other", false, true), ("orders", true, true)] {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        let node = NodeId(3);
        story.0.fault(FaultEvent::LogRotted { node, topic: topic.into(), partition: 0 });
        match cut {
            true => story.cuts(3, 0),
            false => {
                story.0.fault(FaultEvent::Killed { node });
                story.recovers(3, 0);
            }
        }
        match found {
            true => {
                let verdict = story.0.verdict();
                assert!(verdict.violations.iter().any(|found| found.anomaly == "isr-lost"), "{verdict:#?}");
            }
            false => story.silent(),
        }
    }
}

#[test]
fn high_watermarks_of_followers_are_what_a_leader_committed() {
    let mut ahead = trio();
    ahead.appends(&[1, 2], 0, 0);
    ahead.mark(2, 0, 10, false);
    ahead.finds(W2, "high-watermark-ahead");

    let mut other = trio();
    other.committed(&[1, 2, 3], 0, 0);
    other.state(1, 0, 1, &[1, 2]);
    other.appends(&[3], 10, 5);
    other.committed(&[1, 2], 10, 0);
    other.mark(3, 0, 20, false);
    other.finds(W2, "high-watermark-diverges");

    let mut late = trio();
    late.committed(&[1, 2, 3], 0, 0);
    late.mark(2, 0, 10, false);
    late.mark(1, 0, 5, true);
    late.finds(W2, "high-watermark-regress");
}

#[test]
fn leader_counts_only_what_is_the_same() {
    for (follower_epoch, found) in [(1, true), (0, false)] {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        story.appends(&[1], 10, 0);
        story.state(2, 1, 1, &[2, 3]);
        story.leads(2, 1, 10, 10);
        story.appends(&[2], 10, 1);
        if follower_epoch == 1 {
            story.follows(1, 1, 2);
        }
        let partition = name();
        story.told(2, Observation::ReplicaCounted { partition, leader_epoch: 1, replica: 1, offset: 20 });
        match found {
            true => story.finds(W2, "counted-divergent"),
            false => story.silent(),
        }
    }
}

#[test]
fn states_that_no_controller_may_decide() {
    let mut foreign = trio();
    foreign.state_at(1, 1, 0, 1, (&[1, 4], &[]));
    foreign.finds(W2, "bad-isr");

    let mut both = trio();
    both.state_at(1, 1, 0, 1, (&[1, 2], &[2]));
    both.finds(W2, "bad-isr");

    let mut outside = trio();
    outside.state_at(1, 3, 1, 1, (&[1, 2], &[]));
    outside.finds(W2, "leader-not-in-isr");

    let mut forked = trio();
    forked.state_at(1, 1, 0, 1, (&[1, 2], &[]));
    forked.state_at(2, 1, 0, 1, (&[1, 3], &[]));
    forked.finds(W2, "metadata-conflict");

    let mut fenced = trio();
    fenced.state(1, 0, 1, &[1, 2]);
    fenced
        .told(1, Observation::BrokerState { broker: 3, broker_epoch: 5, fenced: true, shutting_down: false });
    fenced.state_at(1, 1, 0, 2, (&[1, 2, 3], &[]));
    fenced.finds(W2, "fenced-in-isr");
}

/// A node that was cut off learns from a snapshot who is back, and who is gone since.
#[test]
fn who_is_fenced_is_what_the_last_snapshot_says() {
    let told_by_snapshot = |fenced: bool| {
        let mut story = trio();
        story.state(1, 0, 1, &[1, 2]);
        let broker =
            |fenced| Observation::BrokerState { broker: 3, broker_epoch: 5, fenced, shutting_down: false };
        story.told(1, broker(!fenced));
        story.told(1, Observation::SnapshotLoaded { end_offset: 0, epoch: 0, fetched: true });
        story.told(1, broker(fenced));
        story.state_at(1, 1, 0, 2, (&[1, 2, 3], &[]));
        story
    };
    told_by_snapshot(false).silent();
    told_by_snapshot(true).finds(W2, "fenced-in-isr");
}

#[test]
fn leader_knows_nothing_to_be_committed_that_it_does_not_have() {
    let elected = |high_watermark: i64| {
        let mut elected = trio();
        elected.committed(&[1, 2, 3], 0, 0);
        elected.state(2, 1, 1, &[2, 3]);
        elected.leads(2, 1, 10, high_watermark);
        elected
    };
    elected(11).finds(W2, "high-watermark-past-end");
    elected(10).silent();
}

fn min_isr(story: &mut Trio, node: i32, min_isr: u32, is_followed: bool) {
    story.told(node, Observation::MinIsr { topic: "orders".into(), min_isr, is_followed });
}

/// `min.insync.replicas` is what the leader's metadata say at the moment, and near a change either of both.
#[test]
fn minimum_that_changes_during_the_run_is_followed() {
    let alone = || {
        let mut alone = trio();
        alone.state(1, 0, 1, &[1]);
        alone
    };
    let mut lowered = alone();
    min_isr(&mut lowered, 1, 1, false);
    lowered.committed(&[1], 0, 0);
    ack(&mut lowered, 9, -1);
    min_isr(&mut lowered, 1, 1, true);
    lowered.committed(&[1], 10, 0);
    ack(&mut lowered, 19, -1);
    lowered.silent();

    let mut elsewhere = alone();
    min_isr(&mut elsewhere, 2, 1, true);
    elsewhere.committed(&[1], 0, 0);
    elsewhere.finds("W3", "committed-under-replicated");

    // What was committed before it grew is answered after.
    let mut raised = alone();
    min_isr(&mut raised, 1, 1, true);
    raised.committed(&[1], 0, 0);
    min_isr(&mut raised, 1, 2, false);
    raised.committed(&[1], 10, 0);
    min_isr(&mut raised, 1, 2, true);
    ack(&mut raised, 19, -1);
    raised.silent();

    let mut stale = alone();
    min_isr(&mut stale, 1, 3, true);
    stale.committed(&[1, 2], 0, 0);
    stale.finds("W3", "committed-under-replicated");
    let mut not_yet = alone();
    min_isr(&mut not_yet, 1, 3, false);
    not_yet.committed(&[1, 2], 0, 0);
    not_yet.silent();

    let mut grown = alone();
    min_isr(&mut grown, 1, 1, true);
    grown.committed(&[1], 0, 0);
    min_isr(&mut grown, 1, 2, true);
    grown.committed(&[1], 10, 0);
    grown.finds("W3", "committed-under-replicated");
}

fn ack(story: &mut Trio, last_offset: i64, acks: i16) {
    let partition = name();
    story.told(1, Observation::ProduceAcked { partition, base_offset: last_offset - 9, last_offset, acks });
}

#[test]
fn acknowledgement_waits_for_the_high_watermark_and_for_enough_replicas() {
    let mut early = trio();
    early.appends(&[1, 2, 3], 0, 0);
    ack(&mut early, 9, -1);
    early.finds("W3", "acked-before-committed");

    let alone = || {
        let mut alone = trio();
        alone.state(1, 0, 1, &[1]);
        alone.committed(&[1], 0, 0);
        alone
    };
    alone().finds("W3", "committed-under-replicated");
    let mut acked = alone();
    ack(&mut acked, 9, -1);
    acked.finds("W3", "acked-under-replicated");

    // The leader counted what a wipe took away since.
    let mut wiped = trio();
    wiped.state(1, 0, 1, &[1, 2]);
    wiped.appends(&[1, 2], 0, 0);
    wiped.0.fault(FaultEvent::Wiped { node: NodeId(2) });
    wiped.mark(1, 0, 10, true);
    ack(&mut wiped, 9, -1);
    wiped.silent();

    let mut leader_only = trio();
    leader_only.appends(&[1], 0, 0);
    ack(&mut leader_only, 9, 1);
    leader_only.silent();

    let mut enough = trio();
    enough.state(1, 0, 1, &[1, 2]);
    enough.committed(&[1, 2], 0, 0);
    ack(&mut enough, 9, -1);
    enough.silent();
}

#[test]
fn leader_counts_what_a_wipe_took_away_and_nothing_else_of_the_replica() {
    // Broker 2 is empty and has its log again, when broker 3 leaves the ISR and the high watermark moves.
    let wiped = |moved: i64| {
        let mut story = trio();
        story.appends(&[1, 2], 0, 0);
        story.0.fault(FaultEvent::Wiped { node: NodeId(2) });
        story.recovers(2, 0);
        story.appends(&[1], 10, 0);
        story.state(1, 0, 1, &[1, 2]);
        story.mark(1, 0, moved, true);
        story
    };
    wiped(10).silent();
    wiped(20).finds("W2", "isr-behind");
}

#[test]
fn replicas_are_the_same_in_the_end() {
    for (differs, found) in [(true, true), (false, false)] {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        story.appends(&[1, 2], 10, 0);
        if !differs {
            story.appends(&[3], 10, 0);
        }
        story.mark(1, 0, 10, true);
        story.0.event(&Event::Fault(FaultEvent::Healed));
        story.0.final_read(0, &[]);
        match found {
            true => story.finds("B17", "replicas-differ"),
            false => story.silent(),
        }
    }
}

#[test]
fn images_of_the_same_metadata_are_the_same() {
    let mut story = trio();
    story.told(1, Observation::MetadataImage { offset: 7, digest: 1 });
    story.told(2, Observation::MetadataImage { offset: 8, digest: 2 });
    story.told(3, Observation::MetadataImage { offset: 7, digest: 3 });
    story.finds("B17", "images-differ");
}

#[test]
fn answers_tell_what_happened() {
    let mut nothing = trio();
    nothing.committed(&[1, 2, 3], 0, 0);
    nothing.0.acked(safe(0), 0, 10, 10);
    nothing.finds("B18", "acked-nothing");

    let mut wrong = trio();
    let op = wrong.0.send(safe(0), 0, 1);
    wrong.0.event(&Event::ProduceAttempt {
        op,
        attempt: 0,
        node: NodeId(1),
        outcome: Outcome::NotApplied,
        error_code: 20,
    });
    wrong.finds("B18", "wrong-outcome");

    let mut right = trio();
    right.committed(&[1, 2, 3], 0, 0);
    right.0.acked(safe(0), 0, 10, 0);
    right.silent();
}

#[test]
fn what_only_the_leader_acknowledged_may_go_with_it() {
    let writer = plain(0);
    assert_eq!(writer.acks, Acks::Leader);
    for (fails_over, found) in [(false, true), (true, false)] {
        let mut story = trio();
        story.0.acked(writer, 0, 5, 0);
        story.0.acked(safe(1), 0, 5, 5);
        if fails_over {
            story.state(2, 1, 1, &[2, 3]);
        }
        story.0.final_read(0, &[(0, 1, 0), (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4)]);
        let verdict = story.0.verdict();
        let lost = verdict.violations.iter().filter(|found| found.checker == "B2").count();
        assert_eq!(lost > 0, found, "{verdict:#?}");
    }
}

#[test]
fn what_is_below_the_log_start_of_the_leader_is_not_compared() {
    for (start, found) in [(0, true), (20, false)] {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        story.appends(&[1], 10, 0);
        story.state(2, 1, 1, &[2, 3]);
        story.leads(2, 1, 10, 10);
        story.committed(&[2, 3], 10, 1);
        // Broker 1 cut its log where the leader's begins, and kept what it has before that.
        story.told(2, Observation::LogStartAdvanced { partition: name(), log_start_offset: start });
        story.follows(1, 1, 2);
        let partition = name();
        story.told(2, Observation::ReplicaCounted { partition, leader_epoch: 1, replica: 1, offset: 20 });
        match found {
            true => story.finds(W2, "counted-divergent"),
            false => story.silent(),
        }
    }
}

#[test]
fn leader_may_begin_with_a_high_watermark_that_nobody_told_of() {
    // A checkpoint of broker 2 is older than a loss that its log has grown over since.
    let begins = |isr: &[i32]| {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        story.appends(&[1, 2], 10, 0);
        story.state(2, 1, 1, isr);
        story.leads(2, 1, 20, 20);
        story
    };
    let mut alone = begins(&[2]);
    alone.appends(&[3], 10, 0);
    alone.follows(3, 1, 2);
    alone.mark(3, 1, 20, false);
    alone.silent();
    begins(&[2, 3]).finds(W2, "isr-behind");
}

#[test]
fn log_start_of_a_replaced_leader_binds_nobody() {
    for (knows, found) in [(false, false), (true, true)] {
        let mut story = trio();
        story.committed(&[1, 2, 3], 0, 0);
        story.state(2, 1, 1, &[2, 3]);
        story.leads(2, 1, 10, 10);
        if knows {
            story.follows(1, 1, 2);
        }
        // Broker 1 removes what is old, and answers; broker 2 has it all.
        for log_start_offset in [5, 5, 0] {
            story.0.event(&Event::Polled {
                consumer: READER,
                tp: TP,
                topic_id: 9,
                fetch_offset: 10,
                next_offset: 10,
                log_start_offset,
                high_watermark: 10,
                records: &[],
            });
        }
        match found {
            true => story.finds("B13", "earliest-regress"),
            false => story.silent(),
        }
    }
}
