//! B13: ListOffsets, log start and high watermark.

use crate::story::*;
use burnin_history::{Event, Moment, OffsetSpec};

const B13: &str = "B13";
const STALE: &str = "stale-latest";
const EARLIER: &str = "earliest-regress";
const LATEST: OffsetSpec = OffsetSpec::Latest;
const EARLIEST: OffsetSpec = OffsetSpec::Earliest;

/// Lets `ms` milliseconds pass.
fn wait(story: &mut Story, ms: Moment) -> Moment {
    story.now += ms * 1_000_000;
    story.now
}

fn told(story: &mut Story, start: i64, high_watermark: i64) {
    story.event(&Event::Polled {
        consumer: READER,
        tp: TP,
        topic_id: 0,
        fetch_offset: 0,
        next_offset: 0,
        log_start_offset: start,
        high_watermark,
        records: &[],
    });
}

#[test]
fn latest_is_below_an_acknowledged_a_read_or_an_answered_offset() {
    for known in 0..3 {
        let mut story = Story::flushed();
        match known {
            0 => story.acked(safe(0), 0, 5, 0),
            1 => {
                story.maybe(safe(0), 0, 5);
                story.poll(READER, 0, &rows(0, 0, 5, 0));
            }
            _ => story.listed(LATEST, 0, 5),
        }
        let asked = wait(&mut story, 10);
        story.listed(LATEST, asked, 4);
        story.expect(B13, STALE, 1);
    }
}

#[test]
fn latest_asked_before_the_acknowledgement_may_be_below_it() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 5, 0);
    let asked = wait(&mut story, 10);
    wait(&mut story, 10);
    story.acked(safe(0), 5, 5, 5);
    story.listed(LATEST, asked, 5);
    story.final_read(0, &rows(0, 0, 10, 0));
    story.expect_silence();
}

#[test]
fn latest_goes_back_after_a_kill_but_may_after_a_licensed_loss() {
    for (licensed, found) in [(false, 1), (true, 0)] {
        let mut story = Story::page_cache();
        story.acked(safe(0), 0, 5, 0);
        if licensed {
            story.power_loss()
        } else {
            story.kill()
        }
        let asked = wait(&mut story, 10);
        story.listed(LATEST, asked, 2);
        story.expect(B13, STALE, found);
    }
}

#[test]
fn earliest_goes_back() {
    let mut story = Story::flushed();
    story.listed(EARLIEST, 0, 5);
    let asked = wait(&mut story, 10);
    story.listed(EARLIEST, asked, 4);
    story.expect(B13, EARLIER, 1);
}

#[test]
fn earliest_after_a_crash_may_undo_retention_but_not_an_acknowledged_deletion() {
    for (deleted, found) in [(false, 0), (true, 1)] {
        let mut story = Story::flushed();
        if deleted {
            story.event(&Event::RecordsDeleted { tp: TP, log_start_offset: 5 });
        } else {
            story.listed(EARLIEST, 0, 5);
        }
        story.kill();
        let asked = wait(&mut story, 10);
        story.listed(EARLIEST, asked, 4);
        story.expect(B13, EARLIER, found);
    }
}

#[test]
fn reader_is_told_that_log_start_or_high_watermark_went_back() {
    for (start, high_watermark, anomaly) in [(2, 10, EARLIER), (3, 9, "high-watermark-regress")] {
        let mut story = Story::flushed();
        told(&mut story, 3, 10);
        told(&mut story, start, high_watermark);
        story.expect(B13, anomaly, 1);
    }
}

#[test]
fn answers_that_no_log_can_give() {
    let mut story = Story::flushed();
    told(&mut story, 3, 2);
    story.listed(LATEST, 0, -1);
    story.listed(EARLIEST, 0, -1);
    story.event(&Event::OffsetsListed {
        tp: TP,
        spec: OffsetSpec::Timestamp(100),
        invoked: 0,
        offset: 3,
        timestamp: 99,
    });
    story.expect(B13, "bad-offsets", 4);
}

#[test]
fn silent_for_offsets_that_move_on() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 5, 0);
    for step in 0..5 {
        let asked = wait(&mut story, 5);
        story.listed(EARLIEST, asked, step);
        story.listed(LATEST, asked, 5 + step);
        story.listed(OffsetSpec::Timestamp(-1), asked, -1);
        told(&mut story, step, 5 + step);
    }
    let verdict = story.verdict();
    assert_eq!(verdict.found_count(), 0, "{:#?}", verdict.violations);
}
