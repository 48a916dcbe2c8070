//! B1: an offset holds one record for ever.

use crate::story::*;
use burnin_history::{ConsumerId, FaultEvent, Outcome, Seen};

const B1: &str = "B1";
const ANOMALY: &str = "inconsistent-offsets";

#[test]
fn two_readers_see_different_records_at_one_offset() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 3);
    story.poll(READER, 0, &[(0, 0, 0), (1, 0, 1)]);
    story.poll(OTHER, 0, &[(0, 0, 0), (1, 0, 2)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn message_holds_both_facts() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 3);
    story.poll(READER, 0, &[(0, 0, 0)]);
    story.poll(OTHER, 0, &[(0, 0, 2)]);
    let verdict = story.verdict();
    let message = &verdict.violations[0].message;
    for part in [
        "orders-0 @ offset 0",
        "consumer 0 saw record 0:0",
        "0.005000s",
        "consumer 1 saw record 0:2",
        "0.006000s",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn same_identity_with_other_bytes_is_another_record() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 1);
    story.poll(READER, 0, &[(0, 0, 0)]);
    let other = Seen { content: 1, ..seen(0, (0, 0, 0)) };
    story.poll_seen(OTHER, 0, 1, &[other]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn same_record_in_another_epoch_is_another_log() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 1);
    story.poll(READER, 0, &[(0, 0, 0)]);
    story.epoch = 1;
    story.poll(OTHER, 0, &[(0, 0, 0)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn record_vanishes_from_between_others_or_appears_there() {
    for (first, second) in [([0, 1, 2].as_slice(), [0, 2].as_slice()), (&[0, 2], &[0, 1, 2])] {
        let mut story = Story::flushed();
        story.maybe(safe(0), 0, 3);
        let rows = |offsets: &[i64]| offsets.iter().map(|o| (*o, 0, *o as u64)).collect::<Vec<_>>();
        story.poll(READER, 0, &rows(first));
        story.poll(OTHER, 0, &rows(second));
        story.expect(B1, ANOMALY, 1);
    }
}

#[test]
fn ack_contradicts_a_later_read() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 2, 10);
    story.maybe(safe(1), 0, 2);
    story.poll(READER, 10, &[(10, 1, 0), (11, 1, 1)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn ack_contradicts_an_earlier_read() {
    let mut story = Story::flushed();
    let late = story.send(safe(0), 0, 1);
    story.maybe(safe(1), 0, 1);
    story.poll(READER, 0, &[(0, 1, 0)]);
    story.completed(late, Outcome::Applied, Some(0));
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn two_acks_name_one_offset() {
    let mut story = Story::flushed();
    let (a, b) = (story.send(safe(0), 0, 3), story.send(safe(1), 0, 3));
    story.completed(a, Outcome::Applied, Some(0));
    story.completed(b, Outcome::Applied, Some(2));
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn old_block_is_compared_when_the_ring_has_moved_on() {
    let last = 20_000;
    for altered in [None, Some(5), Some(1500)] {
        let mut story = Story::flushed();
        story.maybe(safe(0), 0, last);
        let rows = rows(0, 0, last.into(), 0);
        let records: Vec<Seen> = rows.iter().map(|row| seen(0, *row)).collect();
        story.poll_seen(READER, 0, last.into(), &records);
        let mut again = records.clone();
        if let Some(altered) = altered {
            again[altered].content ^= 1;
        }
        // The second walk comes in pieces that do not fit the blocks.
        let mut at = 0;
        for piece in again.chunks(777) {
            story.poll_seen(OTHER, at, at + piece.len() as i64, piece);
            at += piece.len() as i64;
        }
        story.seek(OTHER, 3);
        story.poll_seen(OTHER, 3, 5_000, &records[3..5_000]);
        story.expect(B1, ANOMALY, usize::from(altered.is_some()));
    }
}

#[test]
fn final_read_ends_below_what_was_seen() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 1, 0);
    story.maybe(safe(0), 1, 1);
    story.poll(READER, 0, &[(0, 0, 0), (1, 0, 1)]);
    story.final_read(0, &[(0, 0, 0)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn silent_when_all_agree_over_seeks_rereads_and_gaps() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 10, 0);
    // Offsets 10 and 11 hold no record of ours (control batch).
    story.acked(safe(0), 10, 10, 12);
    let all: Vec<_> = rows(0, 0, 10, 0).into_iter().chain(rows(0, 10, 10, 12)).collect();
    story.poll(READER, 15, &all[13..]);
    story.poll(OTHER, 0, &all[..7]);
    story.poll(OTHER, 7, &all[7..]);
    story.seek(READER, 3);
    story.poll(READER, 3, &all[3..12]);
    for consumer in 3..8 {
        story.poll(ConsumerId(consumer), 0, &all);
    }
    story.final_read(0, &all);
    story.expect_silence();
}

#[test]
fn offsets_are_used_again_after_a_licensed_loss_in_a_higher_epoch() {
    let mut story = Story::page_cache();
    story.acked(safe(0), 0, 10, 0);
    story.poll(READER, 0, &rows(0, 0, 10, 0));
    story.power_loss();
    story.acked(safe(0), 10, 4, 6);
    story.seek(READER, 6);
    story.poll(READER, 6, &rows(0, 10, 4, 6));
    let mut log: Vec<Seen> = rows(0, 0, 6, 0).into_iter().map(|row| seen(0, row)).collect();
    log.extend(rows(0, 10, 4, 6).into_iter().map(|row| seen(1, row)));
    story.final_read_seen(0, &log);
    story.expect_silence();
}

#[test]
fn licensed_loss_does_not_allow_another_record_in_the_same_epoch() {
    let mut story = Story::page_cache();
    story.maybe(safe(0), 0, 10);
    story.poll(READER, 0, &rows(0, 0, 10, 0));
    story.power_loss();
    story.epoch = 0;
    story.maybe(safe(0), 10, 1);
    story.poll(OTHER, 9, &[(9, 0, 10)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn what_was_seen_again_after_a_licensed_loss_is_promised_again() {
    let mut story = Story::page_cache();
    story.maybe(safe(0), 0, 11);
    story.poll(READER, 0, &rows(0, 0, 10, 0));
    story.power_loss();
    let old: Vec<Seen> = rows(0, 0, 10, 0).into_iter().map(|row| seen(0, row)).collect();
    story.poll_seen(OTHER, 0, 10, &old);
    story.poll(ConsumerId(5), 9, &[(9, 0, 10)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn answers_that_were_on_the_wire_when_power_went_are_of_the_time_before() {
    let mut story = Story::page_cache();
    story.maybe(safe(0), 0, 10);
    story.poll(READER, 0, &rows(0, 0, 9, 0));
    story.fault(FaultEvent::PowerLost { node: NODE });
    story.poll(READER, 9, &[(9, 0, 9)]);
    story.fault(FaultEvent::Started { node: NODE });
    story.epoch += 1;
    let op = story.send(safe(0), 10, 1);
    story.completed(op, Outcome::Applied, Some(7));
    let mut log: Vec<Seen> = rows(0, 0, 7, 0).into_iter().map(|row| seen(0, row)).collect();
    log.push(seen(1, (7, 0, 10)));
    story.final_read_seen(0, &log);
    story.expect_silence();
}

#[test]
fn power_loss_licenses_nothing_where_acks_mean_flushed() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 11);
    story.poll(READER, 0, &rows(0, 0, 10, 0));
    story.power_loss();
    story.poll(OTHER, 9, &[(9, 0, 10)]);
    story.expect(B1, ANOMALY, 1);
}

#[test]
fn late_answer_is_held_to_one_record_per_offset_and_epoch() {
    let mut story = Story::page_cache();
    story.maybe(safe(0), 0, 2);
    story.poll(READER, 0, &[(0, 0, 0)]);
    story.seek(OTHER, 0);
    story.power_loss();
    story.poll_seen(OTHER, 0, 1, &[seen(0, (0, 0, 1))]);
    story.expect(B1, ANOMALY, 1);
}
