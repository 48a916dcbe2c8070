//! B5: a reader goes on where it stopped.

use crate::story::*;
use burnin_history::{Event, Outcome};

const B5: &str = "B5";

#[test]
fn poll_skips_forward_or_goes_back_without_a_seek() {
    for (fetch, anomaly) in [(3, "poll-skip"), (1, "nonmonotonic-poll")] {
        let mut story = Story::flushed();
        story.acked(safe(0), 0, 4, 0);
        story.poll(READER, 0, &rows(0, 0, 2, 0));
        story.poll(READER, fetch, &rows(0, fetch as u64, 1, fetch));
        story.expect(B5, anomaly, 1);
    }
}

#[test]
fn fetch_begins_behind_an_acknowledged_record() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 10, 0);
    story.seek(READER, 3);
    story.poll(READER, 3, &rows(0, 5, 5, 5));
    story.expect(B5, "poll-skip", 1);
}

#[test]
fn acknowledged_record_is_missing_inside_a_poll_or_at_its_end() {
    for records in [vec![(0, 0, 0), (2, 0, 2)], vec![(0, 0, 0), (1, 0, 1)]] {
        let mut story = Story::flushed();
        story.acked(safe(0), 0, 3, 0);
        story.poll_to(READER, 0, 3, &records);
        story.expect(B5, "int-poll-skip", 1);
    }
}

#[test]
fn offsets_of_a_poll_do_not_ascend_or_leave_its_range() {
    for records in [[(1, 0, 1), (0, 0, 0)], [(1, 0, 1), (1, 0, 1)], [(1, 0, 1), (9, 0, 2)]] {
        let mut story = Story::flushed();
        story.acked(safe(0), 0, 3, 0);
        story.poll_to(READER, 0, 3, &records);
        story.expect(B5, "int-nonmonotonic-poll", 1);
    }
}

#[test]
fn next_offset_before_the_fetch_offset() {
    let mut story = Story::flushed();
    story.poll_to(READER, 5, 4, &[]);
    story.expect(B5, "int-nonmonotonic-poll", 1);
}

#[test]
fn leader_epoch_goes_down_while_offsets_go_up() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 2, 0);
    story.poll_seen(READER, 0, 1, &[seen(3, (0, 0, 0))]);
    story.poll_seen(READER, 1, 2, &[seen(2, (1, 0, 1))]);
    story.expect(B5, "leader-epoch-regress", 1);
}

#[test]
fn silent_for_seeks_control_batches_and_the_log_start() {
    let mut story = Story::flushed();
    story.event(&Event::DeleteRecordsInvoked { tp: TP, offset: 4 });
    story.acked(safe(0), 0, 4, 0);
    // 4 and 5 hold no record.
    let late = story.send(safe(0), 4, 2);
    story.attempt(late, Outcome::Applied);
    story.poll_to(READER, 0, 9, &[(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3), (6, 0, 4), (7, 0, 5)]);
    story.completed(late, Outcome::Applied, Some(6));
    story.poll(READER, 9, &[]);
    story.seek(READER, 2);
    story.poll(READER, 2, &[(2, 0, 2), (3, 0, 3)]);
    // The log start has moved to 4 since: a fetch at 1 may be answered from there on.
    story.seek(OTHER, 1);
    story.event(&Event::Polled {
        consumer: OTHER,
        tp: TP,
        topic_id: 0,
        fetch_offset: 1,
        next_offset: 8,
        log_start_offset: 4,
        high_watermark: 9,
        records: &[seen(0, (6, 0, 4)), seen(0, (7, 0, 5))],
    });
    let verdict = story.verdict();
    assert!(verdict.violations.iter().all(|violation| violation.checker != B5), "{:#?}", verdict.violations);
}
