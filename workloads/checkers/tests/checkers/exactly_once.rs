//! B3: a record is at one offset, in the order of sending.

use crate::story::*;
use burnin_history::{Acks, ConsumerId, Outcome, Seen};

const B3: &str = "B3";

#[test]
fn idempotent_record_is_there_twice() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 3);
    story.poll(READER, 0, &[(0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 1), (4, 0, 2)]);
    story.expect(B3, "duplicate", 2);
}

#[test]
fn duplicate_across_polls_and_readers() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 3);
    story.poll(READER, 10, &[(10, 0, 0)]);
    story.poll(OTHER, 0, &[(0, 0, 0)]);
    story.expect(B3, "duplicate", 1);
}

#[test]
fn idempotent_records_are_out_of_order() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 3);
    story.poll(READER, 0, &[(0, 0, 0), (1, 0, 2), (2, 0, 1)]);
    story.expect(B3, "out-of-order", 1);
}

#[test]
fn plain_record_without_a_retry_is_there_twice() {
    let mut story = Story::flushed();
    story.acked(plain(0), 0, 1, 0);
    story.final_read(0, &[(0, 0, 0), (1, 0, 0)]);
    story.expect(B3, "duplicate", 1);
}

#[test]
fn plain_record_is_there_more_often_than_attempts_may_have_been_appended() {
    for (copies, found) in [(2, 0), (3, 1)] {
        let mut story = Story::flushed();
        let op = story.send(plain(0), 0, 1);
        story.attempt(op, Outcome::Maybe);
        story.attempt(op, Outcome::NotApplied);
        story.attempt(op, Outcome::Applied);
        story.completed(op, Outcome::Applied, Some(1));
        let log: Vec<_> = (0..copies).map(|offset| (offset, 0, 0)).collect();
        story.final_read(0, &log);
        story.expect(B3, "duplicate", found);
    }
}

#[test]
fn found_only_by_the_final_read_when_no_reader_saw_both() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 3, 0);
    story.final_read(0, &[(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 1)]);
    story.expect(B3, "duplicate", 1);
}

#[test]
fn silent_for_rereads_from_anywhere() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 10, 0);
    let log = rows(0, 0, 10, 0);
    story.poll(READER, 0, &log);
    for start in [0, 3, 9] {
        story.seek(READER, start);
        story.poll(READER, start, &log[start as usize..]);
        story.poll(ConsumerId(10 + start as u32), start, &log[start as usize..]);
    }
    story.final_read(0, &log);
    story.expect_silence();
}

#[test]
fn silent_for_a_gap_that_the_producer_gave_up() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 1, 0);
    story.maybe(safe(0), 1, 5);
    story.acked(safe(0), 6, 1, 1);
    story.final_read(0, &[(0, 0, 0), (1, 0, 6)]);
    story.expect_silence();
}

#[test]
fn silent_for_plain_duplicates_and_disorder_by_retries() {
    let mut story = Story::flushed();
    let retried = story.send(plain(0), 0, 2);
    story.attempt(retried, Outcome::Maybe);
    story.acked(plain(0), 2, 1, 2);
    // The second attempt is not yet known to have ended.
    story.poll(READER, 0, &[(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 0), (4, 0, 1)]);
    story.attempt(retried, Outcome::Applied);
    story.completed(retried, Outcome::Applied, Some(3));
    story.final_read(0, &[(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 0), (4, 0, 1)]);
    story.expect_silence();
}

#[test]
fn silent_when_nobody_counted_the_attempts_of_a_plain_producer() {
    let mut story = Story::flushed();
    let op = story.send(plain(0), 0, 1);
    story.completed(op, Outcome::Applied, Some(2));
    story.final_read(0, &[(0, 0, 0), (1, 0, 0), (2, 0, 0)]);
    story.expect_silence();
}

#[test]
fn fire_and_forget_has_no_retries_and_may_be_lost() {
    for (copies, found) in [(0, 0), (1, 0), (2, 1)] {
        let mut story = Story::flushed();
        story.acked(safe(1), 0, 1, 0);
        let op = story.send(Writer { producer: 0, acks: Acks::None, idempotent: false }, 0, 1);
        story.completed(op, Outcome::Maybe, None);
        let mut log = vec![(0, 1, 0)];
        log.extend((0..copies).map(|i| (1 + i, 0, 0)));
        story.final_read(0, &log);
        story.expect(B3, "duplicate", found);
    }
}

#[test]
fn silent_when_a_lost_record_is_written_again_after_a_licensed_loss() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 2, 0);
    let op = story.send(safe(0), 2, 1);
    story.poll(READER, 0, &rows(0, 0, 3, 0));
    story.attempt(op, Outcome::Maybe);
    story.power_loss();
    story.attempt(op, Outcome::Applied);
    story.completed(op, Outcome::Applied, Some(1));
    let log: Vec<Seen> = vec![seen(0, (0, 0, 0)), seen(1, (1, 0, 2))];
    story.seek(READER, 1);
    story.poll_seen(READER, 1, 2, &log[1..]);
    story.final_read_seen(0, &log);
    story.expect_silence();
}
