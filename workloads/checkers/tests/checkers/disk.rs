//! W4: what a broker says about its logs, and what it finds after a restart.

use crate::story::*;
use burnin_history::{FaultEvent, Flush, NodeId};
use burnin_runtime::Observation;
use std::sync::Arc;

const W4: &str = "W4";

fn name() -> Arc<str> {
    "orders-0".into()
}

fn appended(base_offset: i64, last_offset: i64) -> Observation {
    Observation::BatchAppended { partition: name(), base_offset, last_offset, leader_epoch: 0, crc: 0xc0de }
}

fn flushed(offset: i64) -> Observation {
    Observation::FlushDone { partition: name(), offset }
}

fn acked(base_offset: i64, last_offset: i64) -> Observation {
    Observation::ProduceAcked { partition: name(), base_offset, last_offset, acks: -1 }
}

fn recovered(log_end_offset: i64) -> Observation {
    Observation::LogRecovered { partition: name(), log_start_offset: 0, log_end_offset, clean: false }
}

/// 20 offsets appended, 10 of them flushed.
fn half_flushed(mut story: Story) -> Story {
    story.observed(recovered(0));
    story.observed(appended(0, 9));
    story.observed(flushed(10));
    story.observed(acked(0, 9));
    story.observed(appended(10, 19));
    story
}

#[test]
fn recovered_log_ends_below_what_was_flushed() {
    for power in [false, true] {
        for story in [Story::flushed(), Story::page_cache()] {
            let mut story = half_flushed(story);
            if power {
                story.power_loss()
            } else {
                story.kill()
            }
            story.observed(recovered(9));
            story.expect(W4, "lost-on-recovery", 1);
        }
    }
}

#[test]
fn page_cache_survives_a_kill_but_not_a_power_loss() {
    for (power, found) in [(false, 1), (true, 0)] {
        let mut story = half_flushed(Story::page_cache());
        story.observed(acked(10, 19));
        if power {
            story.power_loss()
        } else {
            story.kill()
        }
        story.observed(recovered(15));
        story.expect(W4, "lost-on-recovery", found);
    }
}

#[test]
fn restart_without_a_fault_is_held_to_the_same() {
    let mut story = half_flushed(Story::flushed());
    story.observed(recovered(9));
    story.expect(W4, "lost-on-recovery", 1);
}

#[test]
fn log_that_was_created_in_its_brokers_first_life_is_held_to_the_same() {
    for (end, found) in [(8, 1), (10, 0)] {
        let mut story = Story::flushed();
        story.observed(appended(0, 9));
        story.observed(flushed(10));
        story.kill();
        story.observed(recovered(end));
        story.expect(W4, "lost-on-recovery", found);
    }
}

#[test]
fn recovered_log_ends_behind_anything_appended() {
    let mut story = half_flushed(Story::flushed());
    story.kill();
    story.observed(recovered(21));
    story.expect(W4, "recovered-unknown", 1);
}

#[test]
fn acknowledged_before_it_was_durable() {
    let mut story = half_flushed(Story::flushed());
    story.observed(acked(10, 19));
    story.expect(W4, "acked-before-durable", 1);
}

#[test]
fn acknowledged_more_than_was_appended() {
    let mut story = half_flushed(Story::page_cache());
    story.observed(acked(10, 20));
    story.expect(W4, "acked-before-durable", 1);
}

#[test]
fn append_that_does_not_begin_at_the_end_of_the_log() {
    for base in [19, 21] {
        let mut story = half_flushed(Story::flushed());
        story.observed(appended(base, base));
        story.expect(W4, "bad-append", 1);
    }
}

#[test]
fn more_flushed_than_appended() {
    let mut story = half_flushed(Story::flushed());
    story.observed(flushed(21));
    story.expect(W4, "bad-flush", 1);
}

#[test]
fn acknowledged_by_a_directory_that_is_offline() {
    let mut story = half_flushed(Story::flushed());
    story.observed(Observation::LogDirOffline { reason: "fsync failed".into() });
    story.observed(acked(0, 9));
    story.expect(W4, "acked-offline", 1);
}

#[test]
fn directory_goes_offline_on_a_disk_that_is_well() {
    let offline = || Observation::LogDirOffline { reason: "failed to truncate: bad file descriptor".into() };
    for (node, kind, found) in
        [(NODE, "disk.full", 0), (NODE, "process.pause", 1), (NodeId(99), "disk.full", 1)]
    {
        let mut story = half_flushed(Story::flushed());
        story.fault(FaultEvent::Other { kind: kind.into(), node: Some(node) });
        story.kill();
        story.observed(recovered(10));
        story.observed(offline());
        story.expect(W4, "offline-without-cause", found);
    }
}

#[test]
fn directory_that_goes_offline_as_its_process_dies_is_no_disks_doing() {
    let dies_after = |pause: u64, node: NodeId| {
        let mut story = half_flushed(Story::flushed());
        let reason = "failed to open: the process was stopped".into();
        story.observed(Observation::LogDirOffline { reason });
        story.fault_after(pause, FaultEvent::Killed { node });
        story
    };
    dies_after(0, NODE).expect(W4, "offline-without-cause", 0);
    dies_after(1, NODE).expect(W4, "offline-without-cause", 1);
    dies_after(0, NodeId(99)).expect(W4, "offline-without-cause", 1);
}

#[test]
fn log_start_goes_back_or_passes_the_end() {
    for start in [3, 21] {
        let mut story = half_flushed(Story::flushed());
        story.observed(Observation::LogStartAdvanced { partition: name(), log_start_offset: 5 });
        story.observed(Observation::LogStartAdvanced { partition: name(), log_start_offset: start });
        story.expect(W4, "log-start-regress", 1);
    }
}

#[test]
fn only_copy_is_cut_below_what_was_acknowledged() {
    let mut story = half_flushed(Story::flushed());
    story.observed(Observation::LogTruncated { partition: name(), offset: 9 });
    story.expect(W4, "truncated-durable", 1);
}

fn cutting(offset: i64) -> Observation {
    Observation::LogTruncating { partition: name(), offset }
}

#[test]
fn crash_in_the_middle_of_a_cut_leaves_what_was_cut_what_was_there_or_less_than_that() {
    for (end, found) in [(10, 0), (7, 0), (5, 0), (4, 1)] {
        for power in [false, true] {
            let mut story = half_flushed(Story::of(Flush::BeforeAck, 2));
            story.observed(cutting(5));
            if power {
                story.power_loss()
            } else {
                story.kill()
            }
            story.observed(recovered(end));
            story.expect(W4, "lost-on-recovery", found);
        }
    }
}

#[test]
fn cut_that_is_over_excuses_no_loss_and_neither_does_one_of_another_log() {
    let mut story = half_flushed(Story::of(Flush::BeforeAck, 2));
    story.observed(cutting(5));
    story.observed(Observation::LogTruncated { partition: name(), offset: 5 });
    story.observed(appended(5, 14));
    story.observed(flushed(15));
    story.kill();
    story.observed(recovered(14));
    story.expect(W4, "lost-on-recovery", 1);

    let mut story = half_flushed(Story::of(Flush::BeforeAck, 2));
    story.observed(Observation::LogTruncating { partition: "orders-1".into(), offset: 5 });
    story.kill();
    story.observed(recovered(9));
    story.expect(W4, "lost-on-recovery", 1);

    // The excuse is for the crash that interrupted the cut, not for the one after it.
    let mut story = half_flushed(Story::of(Flush::BeforeAck, 2));
    story.observed(cutting(5));
    story.kill();
    story.observed(recovered(10));
    story.kill();
    story.observed(recovered(8));
    story.expect(W4, "lost-on-recovery", 1);
}

#[test]
fn log_that_was_to_begin_anew_begins_there_or_is_what_it_was() {
    for (start, end, found) in [(30, 30, 0), (0, 20, 0), (0, 30, 1), (31, 31, 1)] {
        let mut story = half_flushed(Story::of(Flush::BeforeAck, 2));
        story.observed(flushed(20));
        story.observed(cutting(30));
        story.kill();
        story.observed(Observation::LogRecovered {
            partition: name(),
            log_start_offset: start,
            log_end_offset: end,
            clean: false,
        });
        story.expect(W4, "recovered-unknown", found);
    }
}

#[test]
fn broker_finds_that_recovered_state_does_not_match() {
    let mut story = Story::flushed();
    let what = "offset index entry 3 points to 900, the scan says 880".to_string();
    story.observed(Observation::RecoveryMismatch { partition: name(), what });
    story.expect(W4, "recovery-mismatch", 1);
}

#[test]
fn silent_for_a_lawful_life() {
    let mut story = half_flushed(Story::flushed());
    story.observed(Observation::LogTruncated { partition: name(), offset: 15 });
    story.power_loss();
    // The truncation was not durable, and neither was all of the tail.
    story.observed(recovered(18));
    story.observed(appended(18, 18));
    story.observed(flushed(19));
    story.observed(acked(18, 18));
    story.observed(Observation::LogStartAdvanced { partition: name(), log_start_offset: 19 });
    story.fault(FaultEvent::Other { kind: "disk.fail".into(), node: Some(NODE) });
    story.observed(Observation::LogDirOffline { reason: "fsync failed".into() });
    story.fault(FaultEvent::Stopped { node: NODE });
    story.observed(recovered(19));
    story.observed(appended(19, 19));
    story.observed(flushed(20));
    story.observed(acked(19, 19));
    story.fault(FaultEvent::Wiped { node: NODE });
    story.observed(recovered(0));
    story.observed(Observation::LogRemoved { partition: name() });
    story.observed(recovered(0));
    let internal: Arc<str> = "__cluster_metadata-0".into();
    let batch = |base| Observation::BatchAppended {
        partition: internal.clone(),
        base_offset: base,
        last_offset: base,
        leader_epoch: 0,
        crc: 1,
    };
    story.observed(batch(0));
    story.observed(Observation::ProduceAcked {
        partition: internal.clone(),
        base_offset: 0,
        last_offset: 0,
        acks: -1,
    });
    let verdict = story.verdict();
    assert_eq!(verdict.found_count(), 0, "{:#?}", verdict.violations);
}

#[test]
fn log_of_a_deleted_topic_may_be_gone_without_a_word() {
    for (deleted, found) in [(true, 0), (false, 1)] {
        let mut story = half_flushed(Story::flushed());
        // The node died while it removed the log, which is not there any more when it starts again.
        story.power_loss();
        if deleted {
            story.observed(Observation::PartitionGone { partition: name(), topic_id: 7 });
        }
        story.observed(appended(0, 0));
        story.expect(W4, "bad-append", found);
    }
}

#[test]
fn log_that_was_recovered_is_not_gone_before_it_is_removed() {
    let mut story = half_flushed(Story::flushed());
    story.kill();
    story.observed(recovered(20));
    story.observed(Observation::PartitionGone { partition: name(), topic_id: 7 });
    story.observed(appended(0, 0));
    story.expect(W4, "bad-append", 1);
}
