//! B2: what was acknowledged is there.

use crate::story::*;
use burnin_history::{Acks, Event, FaultEvent, Outcome, Seen};

const B2: &str = "B2";

#[test]
fn reader_passes_over_an_acknowledged_record() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 3, 0);
    story.poll(READER, 0, &[(0, 0, 0), (2, 0, 2)]);
    story.expect(B2, "lost-write", 1);
}

#[test]
fn final_read_misses_a_record_in_the_middle() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 3, 0);
    story.poll(READER, 0, &rows(0, 0, 3, 0));
    story.final_read(0, &[(0, 0, 0), (2, 0, 2)]);
    story.expect(B2, "lost-write", 1);
}

#[test]
fn final_read_ends_before_an_acknowledged_tail() {
    for (acks, idempotent) in [(Acks::Leader, false), (Acks::All, true)] {
        let mut story = Story::flushed();
        let writer = Writer { producer: 0, acks, idempotent };
        story.acked(writer, 0, 3, 0);
        story.acked(writer, 3, 2, 3);
        story.final_read(0, &rows(0, 0, 3, 0));
        story.expect(B2, "unseen", 1);
        let verdict = story.verdict();
        let violation = &verdict.violations[0];
        assert_eq!((violation.offset, violation.producer, violation.seq), (Some(3), Some(0), Some(3)));
        let summary = verdict.summaries.iter().find(|summary| summary.checker == B2);
        assert_eq!(summary.map(|summary| summary.found), Some(2), "both records are counted");
    }
}

#[test]
fn tail_that_was_seen_and_is_gone_is_lost() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 3, 0);
    story.poll(READER, 0, &rows(0, 0, 3, 0));
    story.final_read(0, &rows(0, 0, 2, 0));
    story.expect(B2, "lost-write", 1);
}

#[test]
fn kill_and_power_loss_license_nothing_where_acks_mean_flushed() {
    for power in [false, true] {
        let mut story = Story::flushed();
        story.acked(plain(0), 0, 3, 0);
        if power {
            story.power_loss()
        } else {
            story.kill()
        }
        story.acked(plain(0), 3, 3, 1);
        story.final_read(0, &[(0, 0, 0), (1, 0, 3), (2, 0, 4), (3, 0, 5)]);
        story.expect(B2, "lost-write", 1);
    }
}

#[test]
fn kill_licenses_nothing_in_the_page_cache_either() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 3, 0);
    story.kill();
    story.final_read(0, &rows(0, 0, 2, 0));
    story.expect(B2, "unseen", 1);
}

#[test]
fn acknowledged_without_an_offset_counts_too() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 1, 0);
    let op = story.send(safe(0), 1, 1);
    story.completed(op, Outcome::Applied, None);
    story.final_read(0, &rows(0, 0, 1, 0));
    story.expect(B2, "unseen", 1);
}

#[test]
fn hole_below_a_survivor_of_a_power_loss_is_not_a_suffix() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 5, 0);
    story.power_loss();
    story.final_read(0, &[(0, 0, 0), (1, 0, 1), (3, 0, 3)]);
    story.expect(B2, "lost-write", 1);
}

#[test]
fn hole_below_another_producers_survivor_is_not_a_suffix() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 2, 0);
    story.acked(safe(1), 0, 2, 2);
    story.power_loss();
    story.final_read(0, &[(0, 0, 0), (2, 1, 0), (3, 1, 1)]);
    story.expect(B2, "lost-write", 1);
}

#[test]
fn sent_after_the_power_loss_is_not_licensed_by_it() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 5, 0);
    story.power_loss();
    story.acked(safe(0), 5, 2, 3);
    story.final_read(0, &[(0, 0, 0), (1, 0, 1), (2, 0, 2)]);
    story.expect(B2, "unseen", 1);
}

#[test]
fn removal_beyond_the_offset_asked_for_is_a_loss() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 10, 0);
    story.event(&Event::RecordsDeleted { tp: TP, log_start_offset: 4 });
    story.final_read(6, &rows(0, 6, 4, 6));
    story.expect(B2, "lost-write", 1);
    assert_eq!(story.verdict().found_count(), 2);
}

#[test]
fn hole_behind_the_log_start_is_a_loss_also_with_retention() {
    let mut story = Story::flushed();
    story.event(&Event::RetentionEnabled { tp: TP });
    story.acked(safe(0), 0, 10, 0);
    story.final_read(4, &[(4, 0, 4), (5, 0, 5), (7, 0, 7), (8, 0, 8), (9, 0, 9)]);
    story.expect(B2, "lost-write", 1);
}

#[test]
fn rot_does_not_license_silence() {
    let mut story = Story::flushed();
    story.fault(FaultEvent::LogRotted { node: NODE, topic: "orders".into(), partition: 0 });
    story.acked(safe(0), 0, 3, 0);
    story.final_read(0, &[(0, 0, 0), (2, 0, 2)]);
    story.expect(B2, "lost-write", 1);
}

#[test]
fn silent_for_maybe_refused_and_unacknowledged_records_that_are_there_or_not() {
    for there in [false, true] {
        let mut story = Story::flushed();
        story.acked(safe(0), 0, 2, 0);
        story.maybe(safe(0), 2, 1);
        story.maybe(safe(1), 0, 3);
        let never_answered = story.send(safe(2), 0, 1);
        let unasked = Writer { producer: 3, acks: Acks::None, idempotent: false };
        let fire = story.send(unasked, 0, 1);
        story.completed(fire, Outcome::Applied, None);
        let refused = story.send(safe(4), 0, 1);
        story.attempt(refused, Outcome::NotApplied);
        story.completed(refused, Outcome::NotApplied, None);
        let mut log = rows(0, 0, 2, 0);
        if there {
            log.extend([(2, 0, 2), (3, 1, 0), (4, 1, 1), (5, 1, 2), (6, 2, 0), (7, 3, 0)]);
        }
        let _ = never_answered;
        story.final_read(0, &log);
        story.expect_silence();
    }
}

#[test]
fn silent_when_a_reader_is_faster_than_the_acknowledgement() {
    let mut story = Story::flushed();
    let op = story.send(safe(0), 0, 3);
    story.poll(READER, 0, &rows(0, 0, 3, 0));
    story.attempt(op, Outcome::Applied);
    story.completed(op, Outcome::Applied, Some(0));
    story.final_read(0, &rows(0, 0, 3, 0));
    story.expect_silence();
}

#[test]
fn silent_for_a_suffix_lost_from_the_page_cache() {
    for kept in 0..=5 {
        let mut story = Story::page_cache();
        story.acked(safe(0), 0, 2, 0);
        story.acked(plain(1), 0, 1, 2);
        story.acked(safe(0), 2, 2, 3);
        story.power_loss();
        story.acked(safe(0), 4, 2, kept);
        let old = [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 0, 2), (4, 0, 3)];
        let mut log: Vec<Seen> = old[..kept as usize].iter().map(|row| seen(0, *row)).collect();
        log.extend(rows(0, 4, 2, kept).into_iter().map(|row| seen(1, row)));
        story.final_read_seen(0, &log);
        story.expect_silence();
    }
}

#[test]
fn silent_for_a_suffix_of_a_suffix_lost_in_two_power_losses() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 5, 0);
    story.power_loss();
    story.acked(safe(0), 5, 5, 3);
    story.power_loss();
    story.acked(safe(0), 10, 1, 6);
    let mut log: Vec<Seen> = rows(0, 0, 3, 0).into_iter().map(|row| seen(0, row)).collect();
    log.extend(rows(0, 5, 3, 3).into_iter().map(|row| seen(1, row)));
    log.push(seen(2, (6, 0, 10)));
    story.final_read_seen(0, &log);
    story.expect_silence();
}

#[test]
fn silent_when_sent_before_a_power_loss_and_acknowledged_after_it() {
    for there in [false, true] {
        let mut story = Story::page_cache();
        story.acked(safe(0), 0, 1, 0);
        let op = story.send(safe(0), 1, 1);
        story.power_loss();
        story.attempt(op, Outcome::Applied);
        story.completed(op, Outcome::Applied, Some(1));
        let log = [seen(0, (0, 0, 0)), seen(0, (1, 0, 1))];
        story.final_read_seen(0, &log[..if there { 2 } else { 1 }]);
        story.expect_silence();
    }
}

#[test]
fn silent_for_removal_from_the_front_by_delete_records_and_retention() {
    for retention in [false, true] {
        let mut story = Story::flushed();
        if retention {
            story.event(&Event::RetentionEnabled { tp: TP });
        } else {
            story.event(&Event::DeleteRecordsInvoked { tp: TP, offset: 6 });
        }
        story.acked(safe(0), 0, 10, 0);
        story.poll(READER, 0, &rows(0, 0, 10, 0));
        story.final_read(6, &rows(0, 6, 4, 6));
        story.expect_silence();
    }
}

#[test]
fn silent_for_an_acknowledgement_that_comes_during_the_final_read() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 2, 0);
    let late = story.send(safe(0), 2, 1);
    story.event(&Event::FinalReadStarted { consumer: FINAL });
    story.poll(FINAL, 0, &rows(0, 0, 2, 0));
    story.completed(late, Outcome::Applied, Some(2));
    story.event(&Event::FinalReadCompleted {
        consumer: FINAL,
        tp: TP,
        log_start_offset: 0,
        log_end_offset: 2,
    });
    story.expect_silence();
}

#[test]
fn silent_for_a_wiped_directory() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 3, 0);
    story.poll(READER, 0, &rows(0, 0, 3, 0));
    story.fault(FaultEvent::Killed { node: NODE });
    story.fault(FaultEvent::Wiped { node: NODE });
    story.acked(safe(0), 3, 1, 0);
    story.final_read(0, &[(0, 0, 3)]);
    story.expect_silence();
}

#[test]
fn rotted_partition_may_answer_with_an_error_and_says_that_it_was_skipped() {
    for rotted in [0, 1] {
        let mut story = Story::flushed();
        story.fault(FaultEvent::LogRotted { node: NODE, topic: "orders".into(), partition: rotted });
        story.acked(safe(0), 0, 3, 0);
        story.event(&Event::FinalReadStarted { consumer: FINAL });
        story.event(&Event::FinalReadFailed { consumer: FINAL, tp: TP, error_code: 2 });
        let verdict = story.verdict();
        assert_eq!(verdict.skipped.len(), usize::from(rotted == 0));
        story.expect("B16", "unreadable", usize::from(rotted != 0));
    }
}

#[test]
fn silent_when_a_late_answer_passes_offsets_that_were_acknowledged_anew() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 4, 0);
    story.seek(READER, 0);
    story.power_loss();
    story.acked(safe(0), 4, 2, 2);
    // What it asked before the power loss is answered now.
    let old: Vec<Seen> = rows(0, 0, 4, 0).into_iter().map(|row| seen(0, row)).collect();
    story.poll_seen(READER, 0, 4, &old);
    let mut log = old[..2].to_vec();
    log.extend(rows(0, 4, 2, 2).into_iter().map(|row| seen(1, row)));
    story.final_read_seen(0, &log);
    story.expect_silence();
}
