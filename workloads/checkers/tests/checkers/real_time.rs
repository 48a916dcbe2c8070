//! B4: what was sent later is behind.

use crate::story::*;
use burnin_history::Outcome;

const B4: &str = "B4";

#[test]
fn sent_after_an_acknowledgement_and_placed_before_it() {
    let mut story = Story::flushed();
    story.acked(plain(0), 0, 1, 10);
    story.acked(plain(1), 0, 1, 5);
    story.expect(B4, "G0-realtime", 1);
}

#[test]
fn sent_after_a_read_and_placed_before_it() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 1);
    story.poll(READER, 10, &[(10, 0, 0)]);
    story.acked(plain(1), 0, 1, 10);
    story.expect(B4, "G0-realtime", 1);
}

#[test]
fn idempotent_acks_are_not_in_the_order_of_sending() {
    for first in [true, false] {
        let mut story = Story::flushed();
        let (a, b) = (story.send(safe(0), 0, 2), story.send(safe(0), 2, 2));
        let order = if first { [(a, 2), (b, 0)] } else { [(b, 0), (a, 2)] };
        for (op, base) in order {
            story.completed(op, Outcome::Applied, Some(base));
        }
        story.expect(B4, "nonmonotonic-send", 1);
    }
}

#[test]
fn silent_for_concurrent_operations_in_any_order() {
    let mut story = Story::flushed();
    let (a, b) = (story.send(plain(0), 0, 1), story.send(plain(1), 0, 1));
    let (c, d) = (story.send(plain(0), 1, 1), story.send(safe(2), 0, 1));
    for (op, base) in [(a, 3), (b, 1), (c, 2), (d, 0)] {
        story.completed(op, Outcome::Applied, Some(base));
    }
    story.final_read(0, &[(0, 2, 0), (1, 1, 0), (2, 0, 1), (3, 0, 0)]);
    story.expect_silence();
}

#[test]
fn silent_for_pipelined_idempotent_acks_that_arrive_out_of_order() {
    let mut story = Story::flushed();
    let (a, b) = (story.send(safe(0), 0, 2), story.send(safe(0), 2, 2));
    story.completed(b, Outcome::Applied, Some(2));
    story.completed(a, Outcome::Applied, Some(0));
    story.final_read(0, &rows(0, 0, 4, 0));
    story.expect_silence();
}

#[test]
fn licensed_loss_lets_offsets_go_back_and_kill_does_not() {
    for (power, found) in [(true, 0), (false, 1)] {
        let mut story = Story::page_cache();
        story.acked(plain(0), 0, 5, 0);
        if power {
            story.power_loss()
        } else {
            story.kill()
        }
        story.acked(plain(0), 5, 1, 2);
        story.expect(B4, "G0-realtime", found);
    }
}
