//! B6: what is read was sent, and arrived undamaged.

use crate::story::*;
use burnin_history::{Outcome, Payload, PayloadError, ProducerId, Seen};

const B6: &str = "B6";

fn with(payload: Result<Payload, PayloadError>) -> Vec<Seen> {
    vec![Seen { payload, ..seen(0, (0, 0, 0)) }]
}

const OURS: Payload = Payload { run: RUN, producer: ProducerId(0), topic_number: 7, partition: 0, seq: 0 };

#[test]
fn damaged_value() {
    for error in [PayloadError::BadChecksum, PayloadError::NotOurs, PayloadError::Null] {
        let mut story = Story::flushed();
        story.maybe(safe(0), 0, 1);
        story.poll_seen(READER, 0, 1, &with(Err(error)));
        story.expect(B6, "corrupt", 1);
    }
}

#[test]
fn record_of_another_run_topic_partition_producer_or_sequence() {
    for (payload, anomaly) in [
        (Payload { run: 1, ..OURS }, "foreign"),
        (Payload { topic_number: 8, ..OURS }, "misplaced"),
        (Payload { partition: 1, ..OURS }, "misplaced"),
        (Payload { producer: ProducerId(99), ..OURS }, "never-sent"),
        (Payload { seq: 1, ..OURS }, "never-sent"),
        (Payload { seq: u64::MAX, ..OURS }, "never-sent"),
    ] {
        let mut story = Story::flushed();
        story.maybe(safe(0), 0, 1);
        story.poll_seen(READER, 0, 1, &with(Ok(payload)));
        story.expect(B6, anomaly, 1);
    }
}

#[test]
fn never_written_records_amid_a_run_of_good_ones() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 3);
    story.maybe(safe(0), 5, 3);
    story.poll(READER, 0, &rows(0, 0, 8, 0));
    story.expect(B6, "never-sent", 2);
}

#[test]
fn record_of_an_operation_that_is_known_to_have_failed() {
    let mut story = Story::flushed();
    let op = story.send(safe(0), 0, 2);
    story.attempt(op, Outcome::NotApplied);
    story.completed(op, Outcome::NotApplied, None);
    story.poll(READER, 0, &[(0, 0, 1)]);
    story.expect(B6, "G1a", 1);
}

#[test]
fn silent_for_what_was_sent_and_for_what_was_sent_again_after_a_failure() {
    let mut story = Story::flushed();
    let op = story.send(safe(0), 0, 2);
    story.completed(op, Outcome::NotApplied, None);
    story.acked(safe(0), 0, 2, 0);
    let in_flight = story.send(safe(1), 0, 1);
    story.poll(READER, 0, &[(0, 0, 0), (1, 0, 1), (2, 1, 0)]);
    story.final_read(0, &[(0, 0, 0), (1, 0, 1), (2, 1, 0)]);
    let _ = in_flight;
    story.expect_silence();
}
