//! A log that crashes, with clients that retry, as a state machine that writes a history. Nothing here shares code
//! with the checkers.

use burnin_checkers::CheckSet;
use burnin_history::{
    Acks, ConsumerId, Event, FaultEvent, Flush, Moment, NodeId, OffsetSpec, OpId, Outcome, Payload,
    ProducerId, Seen, Sink, Tp,
};
use burnin_runtime::Observation;
use std::fmt;
use std::sync::Arc;

pub const RUN: u64 = 77;
pub const TP: Tp = Tp(0);
pub const NODE: NodeId = NodeId(1);
pub const FINAL: ConsumerId = ConsumerId(9);
const PRODUCERS: u32 = 4;
const READERS: u32 = 3;

/// xorshift*.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// An event that owns what it holds.
#[derive(Clone, Debug)]
pub enum Owned {
    Plain(Event<'static>),
    /// `late`: it was on the wire when the broker crashed.
    Polled {
        consumer: ConsumerId,
        fetch: i64,
        next: i64,
        start: i64,
        high_watermark: i64,
        records: Vec<Seen>,
        late: bool,
    },
    Observed(Observation),
}

#[derive(Clone, Default)]
pub struct History {
    pub events: Vec<(Moment, Owned)>,
    /// Sequences acknowledged since the last licensed loss, with their offsets: `(producer, seq, offset)`.
    pub promised: Vec<(u32, u64, i64)>,
}

impl History {
    pub fn end(&self) -> Moment {
        self.events.last().map_or(0, |event| event.0)
    }

    pub fn feed(&self, set: &mut CheckSet) {
        for (at, event) in &self.events {
            match event {
                Owned::Plain(event) => set.record(*at, event),
                Owned::Observed(observation) => set.record(*at, &Event::Observed { node: NODE, observation }),
                Owned::Polled { consumer, fetch, next, start, high_watermark, records, .. } => set.record(
                    *at,
                    &Event::Polled {
                        consumer: *consumer,
                        tp: TP,
                        topic_id: 0,
                        fetch_offset: *fetch,
                        next_offset: *next,
                        log_start_offset: *start,
                        high_watermark: *high_watermark,
                        records,
                    },
                ),
            }
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, event) in &self.events {
            match event {
                Owned::Polled { consumer, fetch, next, records, .. } => {
                    write!(f, "{at} polled consumer={consumer} fetch={fetch} next={next}:")?;
                    for seen in records {
                        let who = seen.payload.map(|payload| (payload.producer.0, payload.seq));
                        write!(f, " {}@{}={who:?}", seen.offset, seen.leader_epoch)?;
                    }
                    writeln!(f)?;
                }
                other => writeln!(f, "{at} {other:?}")?,
            }
        }
        Ok(())
    }
}

pub fn content(producer: u32, seq: u64) -> u64 {
    (u64::from(producer) + 1).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[derive(Clone, Copy)]
struct Row {
    offset: i64,
    epoch: i32,
    producer: u32,
    seq: u64,
}

impl Row {
    fn seen(&self) -> Seen {
        let Row { offset, epoch, producer, seq } = *self;
        let payload =
            Payload { run: RUN, producer: ProducerId(producer), topic_number: 1, partition: 0, seq };
        Seen { offset, leader_epoch: epoch, payload: Ok(payload), content: content(producer, seq) }
    }
}

struct Op {
    id: OpId,
    producer: u32,
    seq: u64,
    count: u32,
    acks: Acks,
    generation: u32,
    /// Where the copy that this attempt made begins, once it was appended.
    base: Option<i64>,
}

struct World {
    rng: Rng,
    history: History,
    flush: Flush,
    now: Moment,
    log: Vec<Row>,
    start: i64,
    end: i64,
    durable: i64,
    /// Ends of batches: a torn batch does not survive a crash.
    batch_ends: Vec<i64>,
    epoch: i32,
    generation: u32,
    next_op: u64,
    next_seq: [u64; PRODUCERS as usize],
    ops: Vec<Op>,
    positions: [i64; READERS as usize],
}

/// Producers 0 and 1 are idempotent, 2 is not, 3 does not wait for acknowledgements.
pub fn idempotent(producer: u32) -> bool {
    producer < 2
}

pub fn simulate(seed: u64, flush: Flush, steps: usize) -> History {
    let mut world = World {
        rng: Rng::new(seed),
        history: History::default(),
        flush,
        now: 0,
        log: Vec::new(),
        start: 0,
        end: 0,
        durable: 0,
        batch_ends: vec![0],
        epoch: 0,
        generation: 0,
        next_op: 0,
        next_seq: [0; PRODUCERS as usize],
        ops: Vec::new(),
        positions: [0; READERS as usize],
    };
    world.plain(Event::Partition {
        tp: TP,
        topic: "t".into(),
        topic_number: 1,
        partition: 0,
        flush,
        min_isr: 1,
    });
    world.recovered();
    (0..READERS as usize).for_each(|reader| world.position(reader, 0));
    (0..steps).for_each(|_| world.step());
    // One acknowledged record at least, whatever the dice said.
    world.settle();
    world.invoke(0);
    world.settle();
    world.final_read();
    world.history
}

impl World {
    fn push(&mut self, event: Owned) {
        self.now += self.rng.below(3_000_000) as u64;
        self.history.events.push((self.now, event));
    }

    fn plain(&mut self, event: Event<'static>) {
        self.push(Owned::Plain(event));
    }

    fn observe(&mut self, observation: Observation) {
        self.push(Owned::Observed(observation));
    }

    fn name() -> Arc<str> {
        "t-0".into()
    }

    /// What readers may see.
    fn visible(&self) -> i64 {
        if self.flush == Flush::BeforeAck { self.durable } else { self.end }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..20 => {
                let producer = self.rng.below(PRODUCERS as usize) as u32;
                self.invoke(producer);
            }
            20..45 => self.append(),
            45..55 => self.flush_all(),
            55..75 => self.answer(),
            75..90 => self.poll(),
            90..92 => self.seek(),
            92..95 => self.list(),
            95 => self.delete(),
            96..98 => self.lose_answer(),
            98 => self.crash(false),
            _ => self.crash(true),
        }
    }

    fn invoke(&mut self, producer: u32) {
        if self.ops.iter().filter(|op| op.producer == producer).count() >= 3 {
            return;
        }
        self.next_op += 1;
        let (id, seq) = (OpId(self.next_op), self.next_seq[producer as usize]);
        let count = 1 + self.rng.below(4) as u32;
        self.next_seq[producer as usize] += u64::from(count);
        let acks = match producer {
            0 | 1 => Acks::All,
            2 => Acks::Leader,
            _ => Acks::None,
        };
        self.plain(Event::ProduceInvoked {
            op: id,
            producer: ProducerId(producer),
            tp: TP,
            first_seq: seq,
            count,
            acks,
            idempotent: idempotent(producer),
        });
        self.ops.push(Op { id, producer, seq, count, acks, generation: self.generation, base: None });
    }

    /// An attempt reaches the log: of an idempotent producer the oldest that is due, of another any.
    fn append(&mut self) {
        let due: Vec<usize> = (0..self.ops.len())
            .filter(|i| {
                let op = &self.ops[*i];
                let blocked = idempotent(op.producer)
                    && self.ops[..*i]
                        .iter()
                        .any(|other| other.producer == op.producer && other.base.is_none());
                op.base.is_none() && !blocked
            })
            .collect();
        if due.is_empty() {
            return;
        }
        let which = due[self.rng.below(due.len())];
        if self.rng.one_in(30) {
            // A control batch takes an offset and shows nothing.
            self.observe(Observation::BatchAppended {
                partition: World::name(),
                base_offset: self.end,
                last_offset: self.end,
                leader_epoch: self.epoch,
                crc: 0,
            });
            self.end += 1;
            self.batch_ends.push(self.end);
        }
        let (producer, seq, count) = (self.ops[which].producer, self.ops[which].seq, self.ops[which].count);
        let base = self.end;
        for i in 0..u64::from(count) {
            self.log.push(Row { offset: self.end, epoch: self.epoch, producer, seq: seq + i });
            self.end += 1;
        }
        self.batch_ends.push(self.end);
        self.ops[which].base = Some(base);
        self.observe(Observation::BatchAppended {
            partition: World::name(),
            base_offset: base,
            last_offset: self.end - 1,
            leader_epoch: self.epoch,
            crc: 1,
        });
    }

    fn flush_all(&mut self) {
        self.durable = self.end;
        self.observe(Observation::FlushDone { partition: World::name(), offset: self.durable });
    }

    fn attempt(&mut self, op: OpId, outcome: Outcome) {
        self.plain(Event::ProduceAttempt { op, attempt: 0, node: NODE, outcome, error_code: 0 });
    }

    /// The broker answers an operation whose batch is visible, or refuses one that it has not appended.
    fn answer(&mut self) {
        if self.ops.is_empty() {
            return;
        }
        let which = self.rng.below(self.ops.len());
        let op = &self.ops[which];
        let (id, count) = (op.id, i64::from(op.count));
        match op.base {
            Some(base) if base + count <= self.visible() => {
                let op = self.ops.remove(which);
                self.observe(Observation::ProduceAcked {
                    partition: World::name(),
                    base_offset: base,
                    last_offset: base + count - 1,
                    acks: -1,
                });
                self.attempt(id, Outcome::Applied);
                let told = op.acks != Acks::None && !(idempotent(op.producer) && self.rng.one_in(20));
                self.plain(Event::ProduceCompleted {
                    op: id,
                    outcome: Outcome::Applied,
                    base_offset: told.then_some(base),
                });
                // (Without an offset, a record at the log's start may have been removed from the front.)
                if told && op.generation == self.generation {
                    let promised =
                        (0..u64::from(op.count)).map(|i| (op.producer, op.seq + i, base + i as i64));
                    self.history.promised.extend(promised);
                }
            }
            None if self.rng.one_in(10) => {
                // An idempotent producer gives up on all that follows too, or the rest would be out of order.
                let producer = op.producer;
                if idempotent(producer) && self.ops[..which].iter().any(|other| other.producer == producer) {
                    return;
                }
                self.ops.remove(which);
                self.attempt(id, Outcome::NotApplied);
                let copies = self.log.iter().any(|row| {
                    row.producer == producer
                        && matches!(
                            self.history.events.iter().rev().find_map(|(_, event)| match event {
                                Owned::Plain(Event::ProduceInvoked { op, first_seq, count, .. })
                                    if *op == id =>
                                {
                                    Some((*first_seq..first_seq + u64::from(*count)).contains(&row.seq))
                                }
                                _ => None,
                            }),
                            Some(true)
                        )
                });
                let lost_before = self.generation > 0;
                let outcome = if copies || lost_before { Outcome::Maybe } else { Outcome::NotApplied };
                self.plain(Event::ProduceCompleted { op: id, outcome, base_offset: None });
            }
            _ => {}
        }
    }

    /// The connection breaks: the client retries or gives up.
    fn lose_answer(&mut self) {
        if self.ops.is_empty() {
            return;
        }
        let which = self.rng.below(self.ops.len());
        let (id, producer) = (self.ops[which].id, self.ops[which].producer);
        self.attempt(id, Outcome::Maybe);
        let give_up = producer == 3 || self.rng.one_in(2);
        if give_up {
            // What was not appended yet never will be.
            self.ops.remove(which);
            self.plain(Event::ProduceCompleted { op: id, outcome: Outcome::Maybe, base_offset: None });
        } else if !idempotent(producer) {
            // The retry may be appended once more.
            self.ops[which].base = None;
        }
    }

    fn poll(&mut self) {
        let reader = self.rng.below(READERS as usize);
        let mut fetch = self.positions[reader];
        if fetch < self.start || fetch > self.visible() {
            fetch = if self.rng.one_in(2) { self.start } else { self.visible() };
            self.position(reader, fetch);
        }
        let most = 1 + self.rng.below(12);
        self.positions[reader] = self.read(ConsumerId(reader as u32), fetch, most);
    }

    fn read(&mut self, consumer: ConsumerId, fetch: i64, most: usize) -> i64 {
        let (next, polled) = self.answer_of(consumer, fetch, most);
        self.push(polled);
        next
    }

    /// What a fetch is answered now: the next offset and the event.
    fn answer_of(&self, consumer: ConsumerId, fetch: i64, most: usize) -> (i64, Owned) {
        let visible = self.visible();
        let from = self.log.partition_point(|row| row.offset < fetch);
        let rows = self.log[from..].iter().take_while(|row| row.offset < visible).take(most);
        let records: Vec<Seen> = rows.map(Row::seen).collect();
        let next = match records.last() {
            Some(last) if records.len() == most => last.offset + 1,
            _ => visible,
        };
        let (start, high_watermark) = (self.start, visible);
        (next, Owned::Polled { consumer, fetch, next, start, high_watermark, records, late: false })
    }

    fn position(&mut self, reader: usize, offset: i64) {
        self.positions[reader] = offset;
        self.plain(Event::Positioned { consumer: ConsumerId(reader as u32), tp: TP, offset });
    }

    fn seek(&mut self) {
        let span = (self.visible() - self.start) as usize + 1;
        let (reader, offset) = (self.rng.below(READERS as usize), self.start + self.rng.below(span) as i64);
        self.position(reader, offset);
    }

    fn list(&mut self) {
        let invoked = self.now;
        let (spec, offset) = match self.rng.one_in(2) {
            true => (OffsetSpec::Latest, self.visible()),
            false => (OffsetSpec::Earliest, self.start),
        };
        self.plain(Event::OffsetsListed { tp: TP, spec, invoked, offset, timestamp: -1 });
    }

    fn delete(&mut self) {
        let span = (self.visible() - self.start) as usize / 3 + 1;
        let offset = self.start + self.rng.below(span) as i64;
        self.plain(Event::DeleteRecordsInvoked { tp: TP, offset });
        if self.rng.one_in(3) {
            return;
        }
        self.start = offset;
        self.log.retain(|row| row.offset >= offset);
        self.observe(Observation::LogStartAdvanced { partition: World::name(), log_start_offset: offset });
        if self.rng.one_in(2) {
            self.plain(Event::RecordsDeleted { tp: TP, log_start_offset: offset });
        }
    }

    /// The process dies, and with `power` the page cache too.
    fn crash(&mut self, power: bool) {
        let on_the_wire = self.on_the_wire();
        let fault =
            if power { FaultEvent::PowerLost { node: NODE } } else { FaultEvent::Killed { node: NODE } };
        self.plain(Event::Fault(fault));
        // What may be lost: of a flushing log all that nobody was told of; of a page cache all, by power loss only.
        let floor = match (self.flush, power) {
            (Flush::BeforeAck, _) => self.durable,
            (Flush::PageCache, true) => self.durable.max(self.start),
            (Flush::PageCache, false) => self.end,
        };
        let end = floor + self.rng.below((self.end - floor) as usize + 1) as i64;
        let end = self.batch_ends.iter().copied().filter(|batch| *batch <= end).max().unwrap_or(0).max(floor);
        self.batch_ends.retain(|batch| *batch <= end);
        if power && self.flush == Flush::PageCache {
            self.generation += 1;
            self.history.promised.clear();
        }
        self.log.retain(|row| row.offset < end);
        self.end = end;
        self.durable = self.durable.min(end);
        self.epoch += 1;
        for which in 0..self.ops.len() {
            let id = self.ops[which].id;
            self.attempt(id, Outcome::Maybe);
            let op = &mut self.ops[which];
            // A retry of what survived is answered as a duplicate, of what did not is appended anew.
            let lost = op.base.is_some_and(|base| base + i64::from(op.count) > end);
            if lost || !idempotent(op.producer) {
                op.base = None;
            }
        }
        self.plain(Event::Fault(FaultEvent::Started { node: NODE }));
        self.recovered();
        if let Some((reader, next, polled)) = on_the_wire {
            self.append();
            self.push(polled);
            self.positions[reader] = next;
        }
    }

    /// An answer that will arrive only after the crash.
    fn on_the_wire(&mut self) -> Option<(usize, i64, Owned)> {
        let reader = self.rng.below(READERS as usize);
        let fetch = self.positions[reader];
        if fetch < self.start || fetch > self.visible() || self.rng.one_in(3) {
            return None;
        }
        let (next, mut polled) = self.answer_of(ConsumerId(reader as u32), fetch, 8);
        if let Owned::Polled { late, .. } = &mut polled {
            *late = true;
        }
        Some((reader, next, polled))
    }

    fn recovered(&mut self) {
        self.observe(Observation::LogRecovered {
            partition: World::name(),
            log_start_offset: self.start,
            log_end_offset: self.end,
            clean: false,
        });
    }

    fn settle(&mut self) {
        self.plain(Event::Fault(FaultEvent::Healed));
        while !self.ops.is_empty() {
            self.append();
            self.flush_all();
            self.answer();
        }
        (0..READERS).for_each(|_| self.poll());
    }

    fn final_read(&mut self) {
        self.plain(Event::FinalReadStarted { consumer: FINAL });
        self.plain(Event::Positioned { consumer: FINAL, tp: TP, offset: self.start });
        let mut at = self.start;
        while at < self.end {
            let most = 1 + self.rng.below(40);
            at = self.read(FINAL, at, most);
        }
        self.plain(Event::FinalReadCompleted {
            consumer: FINAL,
            tp: TP,
            log_start_offset: self.start,
            log_end_offset: self.end,
        });
        let start = self.start;
        self.history.promised.retain(|(_, _, offset)| *offset >= start);
    }
}
