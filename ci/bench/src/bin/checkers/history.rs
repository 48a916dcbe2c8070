//! A lawful history of any length, made as it goes: nothing of it is kept but counters.

use burnin_history::{
    Acks, ConsumerId, Event, Flush, Moment, NodeId, OffsetSpec, OpId, Outcome, Payload, ProducerId, Seen,
    Sink, Tp,
};

pub const RUN: u64 = 0x5eed;
const NODE: NodeId = NodeId(1);
const TAIL: ConsumerId = ConsumerId(0);
const FINAL: ConsumerId = ConsumerId(1);
/// Batches in a poll.
const POLLED_BATCHES: usize = 8;

/// What the history is like.
pub struct Shape {
    pub records: u64,
    pub partitions: u32,
    pub producers: u32,
    pub batch: u32,
    pub maybe: u64,
}

/// A batch on its way from producer to reader.
#[derive(Clone, Copy)]
struct Batch {
    base: i64,
    producer: u32,
    seq: u64,
}

impl Shape {
    /// Writes it; the moment of its last event.
    pub fn write(&self, sink: &mut impl Sink) -> Moment {
        let mut now = 0;
        for tp in 0..self.partitions {
            sink.record(
                now,
                &Event::Partition {
                    tp: Tp(tp),
                    topic: "bench".into(),
                    topic_number: 0,
                    partition: tp as i32,
                    flush: Flush::BeforeAck,
                    min_isr: 1,
                },
            );
        }
        let per_partition = self.records / u64::from(self.partitions) / u64::from(self.batch);
        let batches = per_partition.max(1);
        let mut records: Vec<Seen> = Vec::new();
        let mut op = 0;
        for round in (0..batches).step_by(POLLED_BATCHES) {
            let to = (round + POLLED_BATCHES as u64).min(batches);
            for tp in 0..self.partitions {
                for index in round..to {
                    op += 1;
                    now += 1_000;
                    self.produce(sink, now, OpId(op), Tp(tp), self.batch_at(tp, index));
                }
                now += 1_000;
                self.poll(sink, now, TAIL, Tp(tp), round, to, &mut records);
            }
        }
        now += 1_000_000_000;
        sink.record(now, &Event::FinalReadStarted { consumer: FINAL });
        for tp in (0..self.partitions).map(Tp) {
            let end = (batches * u64::from(self.batch)) as i64;
            let (spec, invoked) = (OffsetSpec::Latest, now);
            now += 1_000;
            sink.record(now, &Event::OffsetsListed { tp, spec, invoked, offset: end, timestamp: -1 });
            sink.record(now, &Event::Positioned { consumer: FINAL, tp, offset: 0 });
            for round in (0..batches).step_by(POLLED_BATCHES) {
                let to = (round + POLLED_BATCHES as u64).min(batches);
                now += 1_000;
                self.poll(sink, now, FINAL, tp, round, to, &mut records);
            }
            sink.record(
                now,
                &Event::FinalReadCompleted { consumer: FINAL, tp, log_start_offset: 0, log_end_offset: end },
            );
        }
        now
    }

    /// The batch `index` of a partition: producers take turns, which makes its sequence known.
    fn batch_at(&self, tp: u32, index: u64) -> Batch {
        let producers = u64::from(self.producers);
        let producer = ((index + u64::from(tp)) % producers) as u32;
        let seq = index / producers * u64::from(self.batch);
        Batch { base: (index * u64::from(self.batch)) as i64, producer, seq }
    }

    fn produce(&self, sink: &mut impl Sink, now: Moment, op: OpId, tp: Tp, batch: Batch) {
        let producer = ProducerId(batch.producer);
        let (first_seq, count) = (batch.seq, self.batch);
        let acks = Acks::All;
        sink.record(
            now,
            &Event::ProduceInvoked { op, producer, tp, first_seq, count, acks, idempotent: true },
        );
        let unknown = self.maybe > 0 && op.0.is_multiple_of(self.maybe);
        let (outcome, base_offset) =
            if unknown { (Outcome::Maybe, None) } else { (Outcome::Applied, Some(batch.base)) };
        sink.record(now, &Event::ProduceAttempt { op, attempt: 0, node: NODE, outcome, error_code: 0 });
        sink.record(now, &Event::ProduceCompleted { op, outcome, base_offset });
    }

    #[expect(clippy::too_many_arguments, reason = "a poll has as many parts")]
    fn poll(
        &self,
        sink: &mut impl Sink,
        now: Moment,
        consumer: ConsumerId,
        tp: Tp,
        from: u64,
        to: u64,
        records: &mut Vec<Seen>,
    ) {
        records.clear();
        for index in from..to {
            let batch = self.batch_at(tp.0, index);
            for i in 0..u64::from(self.batch) {
                let seq = batch.seq + i;
                let payload = Payload {
                    run: RUN,
                    producer: ProducerId(batch.producer),
                    topic_number: 0,
                    partition: tp.0 as i32,
                    seq,
                };
                let content = (seq ^ (u64::from(batch.producer) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                records.push(Seen {
                    offset: batch.base + i as i64,
                    leader_epoch: 0,
                    payload: Ok(payload),
                    content,
                });
            }
        }
        let (fetch_offset, next_offset) =
            ((from * u64::from(self.batch)) as i64, (to * u64::from(self.batch)) as i64);
        sink.record(
            now,
            &Event::Polled {
                consumer,
                tp,
                topic_id: 0,
                fetch_offset,
                next_offset,
                log_start_offset: 0,
                high_watermark: next_offset.max(if consumer == FINAL { i64::MAX } else { 0 }),
                records,
            },
        );
    }
}
