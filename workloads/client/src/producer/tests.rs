//! The rules of one partition, step by step.

use super::batch::{Answer, Stamp};
use super::partition::Partition;
use super::{ProducerEvent, RecordRef};
use crate::config::ProducerConfig;
use crate::metadata::{PartitionRef, TopicRef};
use crate::outcome::{CONNECTION_BROKE, EXPIRED_UNSENT, REQUEST_TIMED_OUT_AT_CLIENT};
use burnin_history::{Acks, Outcome};
use burnin_runtime::Instant;
use burnin_wire::batch::{BatchHeader, verify_crc};
use bytes::Bytes;
use std::time::Duration;

const OUT_OF_ORDER: i16 = 45;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const MESSAGE_TOO_LARGE: i16 = 10;

/// A partition, its clock, and what it told.
struct Bench {
    config: ProducerConfig,
    partition: Partition,
    now: Instant,
    events: Vec<ProducerEvent>,
}

impl Bench {
    fn new(config: ProducerConfig) -> Self {
        let mut partition = Partition::new(PartitionRef { topic: TopicRef(0), index: 0 }, &config);
        partition.set_id(70);
        Bench { config, partition, now: Instant::from_nanos(1), events: Vec::new() }
    }

    /// Without lingering every call is a batch of its own, because it is sealed by the next.
    fn idempotent() -> Self {
        Bench::new(ProducerConfig { batch_bytes: 1, ..ProducerConfig::default() })
    }

    fn plain(acks: Acks) -> Self {
        Bench::new(ProducerConfig { batch_bytes: 1, idempotence: false, acks, ..ProducerConfig::default() })
    }

    fn append(&mut self, tokens: std::ops::Range<u64>) {
        for token in tokens {
            let record = RecordRef { timestamp: 0, key: None, value: Some(b"v"), headers: &[] };
            self.partition.append(&self.config, self.now, token, &[record], 30);
        }
    }

    /// Sends everything that may be sent: batch ids.
    fn send(&mut self) -> Vec<u64> {
        self.send_bytes().into_iter().map(|(id, _)| id).collect()
    }

    fn send_bytes(&mut self) -> Vec<(u64, Bytes)> {
        let mut sent = Vec::new();
        while let Some(at) = self.partition.sendable(&self.config, self.now, false) {
            sent.push(self.partition.take(at, self.config.idempotence));
        }
        sent
    }

    fn answer(&mut self, id: u64, code: i16) {
        let base_offset = if code == 0 { 1000 + id as i64 } else { -1 };
        let answer = Answer { code, base_offset, node: 1 };
        let backoff = Duration::from_millis(100);
        self.partition.ended(&self.config, self.now, id, answer, backoff, &mut self.events);
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.partition.expire(self.now, &mut self.events);
    }

    /// (token, outcome, offset) of what has completed since the last call.
    fn completed(&mut self) -> Vec<(u64, Outcome, Option<i64>)> {
        let done = self.events.drain(..).filter_map(|event| match event {
            ProducerEvent::Completed { token, outcome, base_offset, .. } => {
                Some((token, outcome, base_offset))
            }
            ProducerEvent::Attempt { .. } => None,
        });
        done.collect()
    }

    fn stamps(&self) -> Vec<Option<(i16, i32)>> {
        let stamp = |stamp: Stamp| (stamp.epoch, stamp.sequence);
        self.partition.batches.iter().map(|batch| batch.stamp.map(stamp)).collect()
    }

    /// Gets the first batch acknowledged, so that pipelining is allowed.
    fn proven() -> Self {
        let mut bench = Bench::idempotent();
        bench.append(0..1);
        assert_eq!(bench.send(), [0]);
        bench.answer(0, 0);
        assert_eq!(bench.completed(), [(0, Outcome::Applied, Some(1000))]);
        bench
    }
}

#[test]
fn first_batch_of_an_epoch_travels_alone_and_then_five_are_in_flight() {
    let mut bench = Bench::idempotent();
    bench.append(0..9);
    assert_eq!(bench.send(), [0]);
    bench.answer(0, 0);
    assert_eq!(bench.send(), [1, 2, 3, 4, 5]);
    bench.answer(1, 0);
    assert_eq!(bench.send(), [6]);
    assert_eq!(
        bench.stamps(),
        [2, 3, 4, 5, 6].map(|s| Some((0, s))).into_iter().chain([None, None]).collect::<Vec<_>>()
    );
}

#[test]
fn without_idempotence_one_batch_is_in_flight() {
    let mut bench = Bench::plain(Acks::Leader);
    bench.append(0..3);
    assert_eq!(bench.send(), [0]);
    assert_eq!(bench.send(), Vec::<u64>::new());
    bench.answer(0, NOT_ENOUGH_REPLICAS);
    assert_eq!(bench.send(), Vec::<u64>::new(), "the backoff holds the later ones back too");
    bench.pass(100);
    assert_eq!(bench.send(), [0]);
    bench.answer(0, 0);
    assert_eq!(bench.send(), [1]);
    assert_eq!(bench.completed(), [(0, Outcome::Applied, Some(1000))]);
}

#[test]
fn broken_pipeline_is_sent_again_one_by_one_with_the_same_sequences() {
    let mut bench = Bench::proven();
    bench.append(1..5);
    let first = bench.send_bytes();
    for (id, _) in &first {
        bench.answer(*id, CONNECTION_BROKE);
    }
    bench.pass(100);
    for (id, bytes) in &first {
        let again = bench.send_bytes();
        assert_eq!(again, [(*id, bytes.clone())], "the same bytes, and nothing beside them");
        bench.answer(*id, 0);
    }
    bench.append(5..6);
    assert_eq!(bench.send(), [5]);
    let done = bench.completed();
    assert_eq!(
        done.iter().map(|d| (d.0, d.1)).collect::<Vec<_>>(),
        [1, 2, 3, 4].map(|t| (t, Outcome::Applied))
    );
}

#[test]
fn wrong_sequence_behind_an_open_batch_is_only_retried() {
    let mut bench = Bench::proven();
    bench.append(1..3);
    assert_eq!(bench.send(), [1, 2]);
    bench.answer(1, NOT_ENOUGH_REPLICAS);
    bench.answer(2, OUT_OF_ORDER);
    bench.pass(100);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, 0);
    assert_eq!(bench.send(), [2]);
    assert_eq!(bench.stamps(), [Some((0, 2))]);
}

#[test]
fn wrong_sequence_at_the_front_raises_the_epoch_and_renumbers_what_was_refused() {
    let mut bench = Bench::proven();
    bench.append(1..4);
    assert_eq!(bench.send(), [1, 2, 3]);
    bench.answer(1, OUT_OF_ORDER);
    assert_eq!(bench.send(), Vec::<u64>::new(), "the epoch is raised only when nothing is in flight");
    assert_eq!(bench.stamps(), [Some((0, 1)), Some((0, 2)), Some((0, 3))]);
    bench.answer(2, OUT_OF_ORDER);
    bench.answer(3, OUT_OF_ORDER);
    bench.pass(100);
    let sent = bench.send_bytes();
    assert_eq!(sent.len(), 1, "nothing is acknowledged under the new epoch yet");
    let header = BatchHeader::parse(&sent[0].1).expect("a batch");
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (70, 1, 0));
    assert!(verify_crc(&sent[0].1).is_ok());
    assert!(bench.completed().is_empty());
    bench.answer(1, 0);
    assert_eq!(bench.send(), [2]);
    assert_eq!(bench.stamps(), [Some((1, 1)), None]);
}

#[test]
fn batch_that_may_have_been_applied_is_never_sent_under_another_epoch() {
    let mut bench = Bench::proven();
    bench.append(1..3);
    assert_eq!(bench.send(), [1, 2]);
    bench.answer(1, CONNECTION_BROKE);
    bench.answer(2, NOT_ENOUGH_REPLICAS);
    bench.pass(100);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, OUT_OF_ORDER);
    assert_eq!(bench.completed(), [(1, Outcome::Maybe, None)]);
    bench.pass(100);
    assert_eq!(bench.send(), [2]);
    assert_eq!(bench.stamps(), [Some((1, 0))]);
}

#[test]
fn duplicate_is_applied_without_an_offset() {
    let mut bench = Bench::proven();
    bench.append(1..2);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, CONNECTION_BROKE);
    bench.pass(100);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, 46);
    assert_eq!(bench.completed(), [(1, Outcome::Applied, None)]);
}

#[test]
fn fenced_producer_asks_for_another_id() {
    let mut bench = Bench::proven();
    bench.append(1..2);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, INVALID_PRODUCER_EPOCH);
    bench.pass(100);
    assert_eq!(bench.send(), Vec::<u64>::new());
    bench.partition.set_id(70);
    assert_eq!(bench.partition.identity, None, "the id that was refused is not taken again");
    bench.partition.set_id(71);
    let sent = bench.send_bytes();
    let header = BatchHeader::parse(&sent[0].1).expect("a batch");
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (71, 0, 0));
}

#[test]
fn last_epoch_is_followed_by_another_id() {
    let mut bench = Bench::proven();
    bench.partition.identity.as_mut().expect("has one").epoch = i16::MAX;
    bench.append(1..2);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, OUT_OF_ORDER);
    assert_eq!(bench.partition.identity, None);
    assert_eq!(bench.partition.refused_id, Some(70));
}

#[test]
fn time_that_runs_out_before_the_first_attempt_is_not_applied() {
    let mut bench = Bench::proven();
    bench.append(1..2);
    bench.pass(120_000);
    let events = bench.events.clone();
    assert_eq!(
        events,
        [ProducerEvent::Completed {
            token: 1,
            outcome: Outcome::NotApplied,
            base_offset: None,
            error_code: EXPIRED_UNSENT
        }]
    );
    assert!(bench.partition.batches.is_empty());
    assert_eq!(bench.partition.identity.map(|i| (i.epoch, i.next_sequence)), Some((0, 1)), "no gap, no bump");
}

#[test]
fn time_that_runs_out_in_flight_is_maybe_and_the_late_answer_is_not_told() {
    let mut bench = Bench::proven();
    bench.append(1..2);
    assert_eq!(bench.send(), [1]);
    bench.pass(120_000);
    assert_eq!(bench.completed(), [(1, Outcome::Maybe, None)]);
    bench.append(2..3);
    bench.answer(1, 0);
    assert!(bench.events.is_empty(), "{:?}", bench.events);
    assert_eq!(bench.send(), [2]);
    assert_eq!(bench.stamps(), [Some((0, 2))], "it was applied: the sequences go on");
}

#[test]
fn expired_batch_that_leaves_a_gap_raises_the_epoch() {
    let mut bench = Bench::proven();
    bench.append(1..2);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, REQUEST_TIMED_OUT_AT_CLIENT);
    bench.pass(120_000);
    assert_eq!(bench.completed(), [(1, Outcome::Maybe, None)]);
    bench.append(2..3);
    assert_eq!(bench.send(), [2]);
    assert_eq!(bench.stamps(), [Some((1, 0))]);
}

#[test]
fn every_attempt_refused_is_not_applied_and_one_unknown_is_maybe() {
    for (codes, outcome) in [
        ([NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS, MESSAGE_TOO_LARGE], Outcome::NotApplied),
        ([NOT_ENOUGH_REPLICAS, CONNECTION_BROKE, MESSAGE_TOO_LARGE], Outcome::Maybe),
        ([CONNECTION_BROKE, NOT_ENOUGH_REPLICAS, MESSAGE_TOO_LARGE], Outcome::Maybe),
    ] {
        let mut bench = Bench::proven();
        bench.append(1..2);
        for code in codes {
            assert_eq!(bench.send(), [1]);
            bench.answer(1, code);
            bench.pass(100);
        }
        assert_eq!(bench.completed(), [(1, outcome, None)], "{codes:?}");
        bench.append(2..3);
        assert_eq!(bench.send(), [2]);
        assert_eq!(bench.stamps(), [Some((1, 0))], "the sequence that was never taken is not waited for");
    }
}

#[test]
fn without_acknowledgements_everything_sent_is_maybe() {
    let mut bench = Bench::plain(Acks::None);
    bench.append(0..2);
    assert_eq!(bench.send(), [0]);
    bench.answer(0, 0);
    assert_eq!(bench.send(), [1]);
    bench.answer(1, CONNECTION_BROKE);
    assert_eq!(bench.completed(), [(0, Outcome::Maybe, None), (1, Outcome::Maybe, None)]);
}

#[test]
fn unsent_request_is_no_attempt() {
    let mut bench = Bench::proven();
    bench.append(1..2);
    assert_eq!(bench.send(), [1]);
    let later = bench.now + Duration::from_millis(100);
    bench.partition.untake(1, later, &mut bench.events);
    assert!(bench.events.is_empty());
    assert_eq!(bench.send(), Vec::<u64>::new(), "backoff");
    bench.pass(120_000);
    assert_eq!(bench.completed(), [(1, Outcome::NotApplied, None)]);
}

#[test]
fn calls_share_a_batch_while_it_lingers_and_each_gets_its_own_offset() {
    let config = ProducerConfig { linger: Duration::from_millis(5), ..ProducerConfig::default() };
    let mut bench = Bench::new(config);
    bench.append(0..3);
    assert_eq!(bench.send(), Vec::<u64>::new());
    assert_eq!(bench.partition.next_timer(&bench.config, bench.now), bench.now + Duration::from_millis(5));
    bench.pass(5);
    let sent = bench.send_bytes();
    assert_eq!(sent.len(), 1);
    assert_eq!(BatchHeader::parse(&sent[0].1).expect("a batch").record_count, 3);
    bench.answer(0, 0);
    let applied = |at: u64| (at, Outcome::Applied, Some(1000 + at as i64));
    assert_eq!(bench.completed(), [applied(0), applied(1), applied(2)]);
}

#[test]
fn close_tells_the_end_of_everything_once() {
    let mut bench = Bench::proven();
    bench.append(1..4);
    let sent = bench.partition.sendable(&bench.config, bench.now, false).expect("sendable");
    bench.partition.take(sent, true);
    bench.partition.close(&mut bench.events);
    bench.answer(1, 0);
    let done = bench.completed();
    assert_eq!(
        done,
        [(1, Outcome::Maybe, None), (2, Outcome::NotApplied, None), (3, Outcome::NotApplied, None)]
    );
}
