//! A history in few words. One topic, `orders`; partition 0 unless said otherwise; time moves by a millisecond with
//! each event. Records are `(offset, producer, seq)`.

use burnin_checkers::{CheckSet, Verdict};
use burnin_history::{
    Acks, ConsumerId, Event, FaultEvent, Flush, Moment, NodeId, OffsetSpec, OpId, Outcome, Payload,
    ProducerId, Seen, Sink, Tp,
};
use burnin_runtime::Observation;

pub const RUN: u64 = 0xb0b;
pub const TP: Tp = Tp(0);
pub const READER: ConsumerId = ConsumerId(0);
pub const OTHER: ConsumerId = ConsumerId(1);
pub const FINAL: ConsumerId = ConsumerId(2);
pub const NODE: NodeId = NodeId(1);

pub struct Story {
    pub set: CheckSet,
    pub now: Moment,
    pub epoch: i32,
    /// Of the topic that readers are answered from; 0: they ask by name.
    pub topic_id: u128,
    high_watermark: i64,
    readers: Vec<ConsumerId>,
    next_op: u64,
}

/// Who sends, and how.
#[derive(Clone, Copy)]
pub struct Writer {
    pub producer: u32,
    pub acks: Acks,
    pub idempotent: bool,
}

/// An idempotent producer with `acks=all`.
pub const fn safe(producer: u32) -> Writer {
    Writer { producer, acks: Acks::All, idempotent: true }
}

/// A producer that is not idempotent.
pub const fn plain(producer: u32) -> Writer {
    Writer { producer, acks: Acks::Leader, idempotent: false }
}

pub fn seen(epoch: i32, (offset, producer, seq): (i64, u32, u64)) -> Seen {
    let payload = Payload { run: RUN, producer: ProducerId(producer), topic_number: 7, partition: 0, seq };
    let content = (u64::from(producer) << 40) ^ seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Seen { offset, leader_epoch: epoch, payload: Ok(payload), content }
}

impl Story {
    /// Of a partition that flushes before it acknowledges.
    pub fn flushed() -> Story {
        Story::of(Flush::BeforeAck, 1)
    }

    /// Of a partition that acknowledges from the page cache.
    pub fn page_cache() -> Story {
        Story::of(Flush::PageCache, 1)
    }

    /// With `min.insync.replicas`.
    pub fn of(flush: Flush, min_isr: u32) -> Story {
        let mut story = Story {
            set: CheckSet::new(RUN),
            now: 0,
            epoch: 0,
            topic_id: 0,
            high_watermark: 0,
            readers: Vec::new(),
            next_op: 0,
        };
        story.event(&Event::Partition {
            tp: TP,
            topic: "orders".into(),
            topic_number: 7,
            partition: 0,
            flush,
            min_isr,
        });
        story
    }

    pub fn event(&mut self, event: &Event<'_>) {
        self.now += 1_000_000;
        self.set.record(self.now, event);
    }

    /// Sends `count` records from `seq` on.
    pub fn send(&mut self, writer: Writer, seq: u64, count: u32) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        let Writer { producer, acks, idempotent } = writer;
        let producer = ProducerId(producer);
        self.event(&Event::ProduceInvoked { op, producer, tp: TP, first_seq: seq, count, acks, idempotent });
        op
    }

    /// An attempt ended.
    pub fn attempt(&mut self, op: OpId, outcome: Outcome) {
        let error_code = match outcome {
            Outcome::Applied => 0,
            Outcome::NotApplied => 19,
            Outcome::Maybe => -1000,
        };
        self.event(&Event::ProduceAttempt { op, attempt: 0, node: NODE, outcome, error_code });
    }

    /// The operation ended.
    pub fn completed(&mut self, op: OpId, outcome: Outcome, base_offset: Option<i64>) {
        self.event(&Event::ProduceCompleted { op, outcome, base_offset });
    }

    /// Sends and is acknowledged at `base`.
    pub fn acked(&mut self, writer: Writer, seq: u64, count: u32, base: i64) {
        let op = self.send(writer, seq, count);
        self.attempt(op, Outcome::Applied);
        self.completed(op, Outcome::Applied, Some(base));
    }

    /// Sends and never hears of it.
    pub fn maybe(&mut self, writer: Writer, seq: u64, count: u32) {
        let op = self.send(writer, seq, count);
        self.attempt(op, Outcome::Maybe);
        self.completed(op, Outcome::Maybe, None);
    }

    pub fn seek(&mut self, consumer: ConsumerId, offset: i64) {
        self.readers.push(consumer);
        self.event(&Event::Positioned { consumer, tp: TP, offset });
    }

    /// A poll of these records, which ends behind the last.
    pub fn poll(&mut self, consumer: ConsumerId, fetch: i64, records: &[(i64, u32, u64)]) {
        let next = records.last().map_or(fetch, |record| record.0 + 1);
        self.poll_to(consumer, fetch, next, records);
    }

    pub fn poll_to(&mut self, consumer: ConsumerId, fetch: i64, next: i64, records: &[(i64, u32, u64)]) {
        let records: Vec<Seen> = records.iter().map(|record| seen(self.epoch, *record)).collect();
        self.poll_seen(consumer, fetch, next, &records);
    }

    pub fn poll_seen(&mut self, consumer: ConsumerId, fetch: i64, next: i64, records: &[Seen]) {
        if !self.readers.contains(&consumer) {
            // A reader that is new begins here.
            self.now -= 1_000_000;
            self.seek(consumer, fetch);
        }
        self.high_watermark = self.high_watermark.max(next);
        self.event(&Event::Polled {
            consumer,
            tp: TP,
            topic_id: self.topic_id,
            fetch_offset: fetch,
            next_offset: next,
            log_start_offset: 0,
            high_watermark: self.high_watermark,
            records,
        });
    }

    pub fn fault(&mut self, fault: FaultEvent) {
        self.event(&Event::Fault(fault));
    }

    /// So soon after what came last; other events come a millisecond later.
    pub fn fault_after(&mut self, nanos: u64, fault: FaultEvent) {
        self.now += nanos;
        self.set.record(self.now, &Event::Fault(fault));
    }

    /// Power is lost and comes back; the leader epoch goes up.
    pub fn power_loss(&mut self) {
        self.fault(FaultEvent::PowerLost { node: NODE });
        self.high_watermark = 0;
        // Longer than an answer can be on the wire.
        self.now += 1_000_000_000;
        self.fault(FaultEvent::Started { node: NODE });
        self.epoch += 1;
    }

    /// The process is killed and started again; the leader epoch goes up.
    pub fn kill(&mut self) {
        self.fault(FaultEvent::Killed { node: NODE });
        self.fault(FaultEvent::Started { node: NODE });
        self.epoch += 1;
    }

    pub fn listed(&mut self, spec: OffsetSpec, invoked: Moment, offset: i64) {
        let timestamp = if let OffsetSpec::Timestamp(asked) = spec { asked } else { -1 };
        self.event(&Event::OffsetsListed { tp: TP, spec, invoked, offset, timestamp });
    }

    pub fn observed(&mut self, observation: Observation) {
        self.event(&Event::Observed { node: NODE, observation: &observation });
    }

    /// The full re-read, of a log that begins at `start`, finds these records, with these epochs.
    pub fn final_read_seen(&mut self, start: i64, records: &[Seen]) {
        let end = records.last().map_or(start, |record| record.offset + 1);
        self.event(&Event::FinalReadStarted { consumer: FINAL });
        self.seek(FINAL, start);
        self.poll_seen(FINAL, start, end, records);
        self.event(&Event::FinalReadCompleted {
            consumer: FINAL,
            tp: TP,
            log_start_offset: start,
            log_end_offset: end,
        });
    }

    /// The full re-read, of a log that begins at `start`, finds these records, all of the epoch of now.
    pub fn final_read(&mut self, start: i64, records: &[(i64, u32, u64)]) {
        let records: Vec<Seen> = records.iter().map(|record| seen(self.epoch, *record)).collect();
        self.final_read_seen(start, &records);
    }

    pub fn verdict(&mut self) -> Verdict {
        self.now += 1_000_000;
        self.set.finish(self.now)
    }

    /// The checker has found this anomaly so often.
    #[track_caller]
    pub fn expect(&mut self, checker: &str, anomaly: &str, count: usize) {
        let verdict = self.verdict();
        let found = verdict
            .violations
            .iter()
            .filter(|violation| violation.checker == checker && violation.anomaly == anomaly)
            .count();
        assert_eq!(found, count, "{checker} {anomaly}: {:#?}", verdict.violations);
    }

    /// Nothing was found, and something was checked.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        let verdict = self.verdict();
        assert!(verdict.passed(), "{verdict:#?}");
    }
}

/// Records `0..count` of a producer at offsets from `base` on.
pub fn rows(producer: u32, seq: u64, count: u64, base: i64) -> Vec<(i64, u32, u64)> {
    (0..count).map(|i| (base + i as i64, producer, seq + i)).collect()
}
