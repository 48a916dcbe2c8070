//! A topic is deleted and created again under its name: what was in it may go, and must not come back.

use crate::story::*;
use burnin_history::{Event, OffsetSpec};

const OLD: u128 = 7;
const NEW: u128 = 8;

/// Ten records that somebody has read; then the topic is deleted and created again.
fn recreated() -> Story {
    let mut story = Story::flushed();
    story.topic_id = OLD;
    story.acked(safe(0), 0, 10, 0);
    story.poll(READER, 0, &rows(0, 0, 10, 0));
    story.event(&Event::TopicDeletionInvoked { tp: TP });
    // Nobody can say which of the two takes this one.
    story.acked(safe(0), 10, 1, 10);
    story.event(&Event::TopicCreatedAgain { tp: TP, topic_id: NEW });
    story
}

#[test]
fn topic_that_was_created_again_begins_anew_and_owes_nothing_of_the_old_one() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.acked(safe(0), 11, 5, 0);
    // The reader goes on where it was in the old topic, and hears that there is no such offset.
    story.seek(READER, 0);
    story.poll(READER, 0, &rows(0, 11, 5, 0));
    let now = story.now;
    story.listed(OffsetSpec::Latest, now, 5);
    story.final_read(0, &rows(0, 11, 5, 0));
    story.expect_silence();
}

#[test]
fn what_was_acknowledged_meanwhile_may_be_in_the_new_topic() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.acked(safe(0), 11, 5, 1);
    story.final_read(0, &[&rows(0, 10, 1, 0)[..], &rows(0, 11, 5, 1)[..]].concat());
    story.expect_silence();
}

#[test]
fn record_of_the_old_topic_in_the_new_one_is_resurrected() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.acked(safe(0), 11, 5, 2);
    // A replica came back with the old log, took it for the new one's, and leads.
    story.final_read(0, &[&rows(0, 0, 2, 0)[..], &rows(0, 11, 5, 2)[..]].concat());
    story.expect("B2", "resurrected", 1);
}

#[test]
fn answer_of_the_old_topic_says_nothing_of_the_new_one() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.acked(safe(0), 11, 5, 0);
    // A broker that stood still and has not heard of it yet.
    story.topic_id = OLD;
    story.poll(OTHER, 0, &rows(0, 0, 10, 0));
    story.topic_id = NEW;
    story.poll(OTHER, 10, &[]);
    story.seek(OTHER, 0);
    story.poll(OTHER, 0, &rows(0, 11, 5, 0));
    story.final_read(0, &rows(0, 11, 5, 0));
    story.expect_silence();
}

#[test]
fn what_the_new_topic_acknowledged_must_be_there() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.acked(safe(0), 11, 5, 0);
    story.final_read(0, &rows(0, 11, 3, 0));
    story.expect("B2", "unseen", 1);
}

#[test]
fn record_that_was_on_its_way_to_the_old_topic_may_come_late_into_the_new_one() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.acked(safe(0), 11, 5, 0);
    // Record 10, asked for before, is sent again behind those that opened the new log.
    let log = [&rows(0, 11, 5, 0)[..], &rows(0, 10, 1, 5)[..], &rows(0, 16, 1, 6)[..]].concat();
    story.acked(safe(0), 16, 1, 6);
    story.poll(READER, 0, &log);
    story.final_read(0, &log);
    story.expect_silence();
}

#[test]
fn records_of_the_new_topic_alone_are_in_order() {
    let mut story = recreated();
    story.topic_id = NEW;
    let late = [(0, 0, 11), (1, 0, 13), (2, 0, 10), (3, 0, 12)];
    story.maybe(safe(0), 11, 3);
    story.seek(READER, 0);
    story.poll(READER, 0, &late);
    story.expect("B3", "out-of-order", 1);
}

#[test]
fn record_that_was_on_its_way_comes_once() {
    let mut story = recreated();
    story.topic_id = NEW;
    story.maybe(safe(0), 11, 1);
    story.seek(READER, 0);
    story.poll(READER, 0, &[(0, 0, 11), (1, 0, 10), (2, 0, 10)]);
    story.expect("B3", "duplicate", 1);
}
