//! W4: what a broker says about its logs, and what it finds after a restart.

use crate::story::*;
use burnin_history::FaultEvent;
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
    Observation::ProduceAcked { partition: name(), base_offset, last_offset }
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
    story.observed(Observation::ProduceAcked { partition: internal.clone(), base_offset: 0, last_offset: 0 });
    let verdict = story.verdict();
    assert_eq!(verdict.found_count(), 0, "{:#?}", verdict.violations);
}
