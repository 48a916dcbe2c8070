//! The verdict: nothing checked is not passed; safety comes before liveness; everything is counted.

use crate::story::*;
use burnin_checkers::{CheckSet, Class, KEPT_MAX};
use burnin_history::Event;

#[test]
fn empty_history_is_vacuous() {
    let verdict = CheckSet::new(RUN).finish(0);
    assert!(!verdict.passed() && verdict.class().is_none());
    assert_eq!(verdict.vacuous.as_deref(), Some("no full re-read of any partition was completed"));
}

#[test]
fn history_without_an_acknowledged_record_is_vacuous() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 2);
    story.final_read(0, &rows(0, 0, 2, 0));
    let verdict = story.verdict();
    assert_eq!(verdict.vacuous.as_deref(), Some("no acknowledged record was read again by a full re-read"));
}

#[test]
fn history_without_a_final_read_is_vacuous() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 2, 0);
    story.poll(READER, 0, &rows(0, 0, 2, 0));
    assert!(story.verdict().vacuous.is_some());
}

#[test]
fn final_read_that_never_ends_is_a_liveness_violation() {
    let mut story = Story::flushed();
    story.acked(safe(0), 0, 2, 0);
    story.event(&Event::FinalReadStarted { consumer: FINAL });
    story.poll(FINAL, 0, &rows(0, 0, 1, 0));
    story.expect("B16", "unreadable", 1);
    assert_eq!(story.verdict().class(), Some(Class::Liveness));
}

#[test]
fn safety_comes_first_and_all_violations_are_counted() {
    let mut story = Story::flushed();
    story.maybe(safe(0), 0, 100);
    story.poll(READER, 0, &rows(0, 0, 100, 0));
    story.poll(OTHER, 0, &rows(0, 1, 99, 0));
    story.event(&Event::FinalReadStarted { consumer: FINAL });
    let verdict = story.verdict();
    let kept = verdict.violations.iter().filter(|violation| violation.checker == "B1").count();
    assert_eq!(kept, KEPT_MAX);
    let found = verdict.summaries.iter().find(|summary| summary.checker == "B1").map(|summary| summary.found);
    assert_eq!(found, Some(99));
    assert_eq!(verdict.class(), Some(Class::Safety));
    let classes: Vec<Class> = verdict.violations.iter().map(|violation| violation.class).collect();
    assert!(classes.is_sorted() && classes.contains(&Class::Liveness), "{classes:?}");
    assert_eq!(story.verdict(), verdict, "asked again, it says the same");
}

#[test]
#[should_panic(expected = "goes back in time")]
fn history_that_goes_back_in_time_is_refused() {
    let mut story = Story::flushed();
    story.now = 0;
    story.seek(READER, 0);
    story.now = 0;
    story.seek(READER, 0);
    story.set.finish(0);
    story.now = 0;
    let event = Event::Positioned { consumer: READER, tp: TP, offset: 0 };
    burnin_history::Sink::record(&mut story.set, 0, &event);
}
