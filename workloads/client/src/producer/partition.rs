//! The queue of one partition, and the rules that keep it in order. Sans-io.
//!
//! Batches stay in one queue from the call to the completion, and only a prefix of it is ever on the wire:
//! - without idempotence one batch is in flight at a time, so that a retry cannot overtake;
//! - with idempotence several are (KIP-98), the broker's sequence check keeps them in order, and a batch that
//!   must be sent again waits until it is the first of the queue;
//! - the first batch of an epoch travels alone: a broker that has no state for a producer accepts any
//!   sequence, so that a later one could be taken for the first.
//!
//! When the broker says that the sequence is wrong (KIP-360), the epoch is raised and the batches are numbered
//! anew, but only those of which every attempt was refused. A batch with an attempt that nobody can judge is
//! given up as [`Outcome::Maybe`] instead: under a new epoch the broker could not recognise it, and it would
//! be appended twice. (Kafka's producer sends it again.)

use super::batch::{Answer, Batch, Identity, Op, Stamp, advance, restamp};
use super::{ProducerEvent, RecordRef};
use crate::config::ProducerConfig;
use crate::metadata::PartitionRef;
use crate::outcome::{self, Next, join, verdict};
use burnin_history::{Acks, Outcome};
use burnin_runtime::Instant;
use burnin_wire::batch::{BatchBuilder, BatchOptions};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

pub(super) struct Partition {
    pub at: PartitionRef,
    /// Index of the leader in the producer's table of nodes.
    pub leader: Option<usize>,
    pub batches: VecDeque<Batch>,
    builder: BatchBuilder,
    next_id: u64,
    pub identity: Option<Identity>,
    /// The epoch must be raised as soon as nothing is in flight.
    must_bump: bool,
    /// The producer id is of no more use; set together with `must_bump`.
    fenced: bool,
    /// The id that a new one must differ from, once `identity` was dropped.
    pub refused_id: Option<i64>,
    /// Whether it is in the producer's list of partitions with work.
    pub listed: bool,
    /// Bytes of the buffer that were given back since somebody looked.
    pub freed: usize,
}

impl Partition {
    pub fn new(at: PartitionRef, config: &ProducerConfig) -> Self {
        let options = BatchOptions { compression: config.compression, ..BatchOptions::default() };
        Partition {
            at,
            leader: None,
            batches: VecDeque::new(),
            builder: BatchBuilder::new(options),
            next_id: 0,
            identity: None,
            must_bump: false,
            fenced: false,
            refused_id: None,
            listed: false,
            freed: 0,
        }
    }

    /// Takes the records of one call over. They stay together in one batch.
    pub fn append(
        &mut self,
        config: &ProducerConfig,
        now: Instant,
        token: u64,
        records: &[RecordRef<'_>],
        size: usize,
    ) {
        let joins = self.batches.back().is_some_and(|batch| batch.open)
            && self.builder.size_estimate() + size <= config.batch_bytes;
        if !joins {
            self.seal();
            self.batches.push_back(Batch {
                id: self.next_id,
                ops: Vec::with_capacity(1),
                records: 0,
                bytes: Bytes::new(),
                size: 0,
                created: now,
                deadline: now + config.delivery_timeout,
                retry_at: Instant::ZERO,
                attempts: 0,
                known: Outcome::NotApplied,
                last_error: outcome::EXPIRED_UNSENT,
                stamp: None,
                in_flight: false,
                completed: false,
                open: true,
            });
            self.next_id += 1;
        }
        for record in records {
            self.builder.push(record.timestamp, record.key, record.value, record.headers);
        }
        let batch = self.batches.back_mut().expect("just looked at or pushed");
        batch.ops.push(Op { token, first: batch.records });
        batch.records += u32::try_from(records.len()).expect("fewer than 2^32 records");
        batch.size += size;
    }

    /// Closes the batch that records were added to.
    fn seal(&mut self) {
        if let Some(batch) = self.batches.back_mut().filter(|batch| batch.open) {
            batch.bytes = self.builder.build();
            batch.open = false;
        }
    }

    /// Which batch may be sent now.
    pub fn sendable(&self, config: &ProducerConfig, now: Instant, flush: bool) -> Option<usize> {
        if self.must_bump || (config.idempotence && self.identity.is_none()) {
            return None;
        }
        let mut in_flight = 0;
        for (at, batch) in self.batches.iter().enumerate() {
            if batch.in_flight {
                in_flight += 1;
                continue;
            }
            if batch.attempts > 0 {
                return (at == 0 && now >= batch.retry_at).then_some(at);
            }
            let alone = !config.idempotence || self.identity.is_some_and(|identity| !identity.proven);
            if in_flight >= config.in_flight_max || (alone && in_flight > 0) || now < batch.retry_at {
                return None;
            }
            let full = !batch.open || self.builder.size_estimate() >= config.batch_bytes;
            return (full || flush || now >= batch.created + config.linger).then_some(at);
        }
        None
    }

    /// How often a batch was sent.
    pub fn attempts_of(&self, id: u64) -> u32 {
        self.find(id).map_or(0, |at| self.batches[at].attempts)
    }

    /// Bytes of a batch as it will be sent, more or less.
    pub fn size_of(&self, at: usize) -> usize {
        let batch = &self.batches[at];
        if batch.open { self.builder.size_estimate() } else { batch.bytes.len() }
    }

    /// Puts a sendable batch into flight: its id and its bytes.
    pub fn take(&mut self, at: usize, idempotent: bool) -> (u64, Bytes) {
        let batch = &mut self.batches[at];
        assert!(
            !batch.in_flight && !batch.completed,
            "batch {} of {:?} is sent twice at a time",
            batch.id,
            self.at
        );
        if idempotent && batch.stamp.is_none() {
            let identity = self.identity.as_mut().expect("only sendable with a producer id");
            let stamp = Stamp { id: identity.id, epoch: identity.epoch, sequence: identity.next_sequence };
            identity.next_sequence = advance(identity.next_sequence, batch.records);
            batch.stamp = Some(stamp);
            if batch.open {
                self.builder.options.producer_id = stamp.id;
                self.builder.options.producer_epoch = stamp.epoch;
                self.builder.options.base_sequence = stamp.sequence;
            } else {
                batch.bytes = restamp(std::mem::take(&mut batch.bytes), stamp);
            }
        }
        if batch.open {
            batch.bytes = self.builder.build();
            batch.open = false;
        }
        batch.in_flight = true;
        batch.attempts += 1;
        (batch.id, batch.bytes.clone())
    }

    /// A batch was not sent after all: as if it had never been taken.
    pub fn untake(&mut self, id: u64, retry_at: Instant, events: &mut Vec<ProducerEvent>) {
        let Some(at) = self.find(id) else { return };
        let batch = &mut self.batches[at];
        batch.in_flight = false;
        batch.attempts -= 1;
        batch.retry_at = retry_at;
        if batch.completed {
            self.remove_unacknowledged(at);
        }
        self.settle(events);
    }

    /// One attempt of a batch has ended.
    pub fn ended(
        &mut self,
        config: &ProducerConfig,
        now: Instant,
        id: u64,
        answer: Answer,
        backoff: Duration,
        events: &mut Vec<ProducerEvent>,
    ) -> Next {
        let at = self.find(id).expect("a batch in flight stays in its queue");
        let verdict = verdict(answer.code, config.acks);
        let batch = &mut self.batches[at];
        assert!(batch.in_flight, "batch {id} of {:?} was answered twice", self.at);
        batch.in_flight = false;
        batch.known = join(batch.known, verdict.outcome);
        batch.last_error = answer.code;
        if !batch.completed {
            for op in &batch.ops {
                events.push(ProducerEvent::Attempt {
                    token: op.token,
                    attempt: batch.attempts,
                    node: answer.node,
                    outcome: verdict.outcome,
                    error_code: answer.code,
                });
            }
        }
        let mut next = verdict.next;
        if config.acks == Acks::None && next != Next::Done {
            // Nobody will ever know more.
            next = Next::Fail;
        }
        if !config.idempotence && matches!(next, Next::BumpEpoch | Next::NewProducerId) {
            next = Next::Fail;
        }
        match next {
            Next::Done => {
                let told = verdict.outcome == Outcome::Applied && answer.code == 0 && answer.base_offset >= 0;
                let offset = told.then_some(answer.base_offset);
                self.complete(at, events, offset);
                self.batches.remove(at);
                if let Some(identity) = &mut self.identity {
                    identity.proven = true;
                }
            }
            Next::Fail => {
                self.complete(at, events, None);
                self.remove_unacknowledged(at);
            }
            Next::Retry | Next::RetryElsewhere | Next::BumpEpoch | Next::NewProducerId => {
                if next == Next::NewProducerId {
                    self.must_bump = true;
                    self.fenced = true;
                }
                // Behind an earlier batch that is still open the wrong sequence is only the consequence.
                if next == Next::BumpEpoch && at == 0 {
                    self.must_bump = true;
                }
                let batch = &mut self.batches[at];
                batch.retry_at = now + backoff;
                if batch.completed || batch.attempts > config.retries || now >= batch.deadline {
                    self.complete(at, events, None);
                    self.remove_unacknowledged(at);
                }
            }
        }
        self.settle(events);
        next
    }

    /// Gives up what has run out of time.
    pub fn expire(&mut self, now: Instant, events: &mut Vec<ProducerEvent>) {
        let mut at = 0;
        while at < self.batches.len() && self.batches[at].deadline <= now {
            if self.batches[at].in_flight {
                self.abandon(at, outcome::REQUEST_TIMED_OUT_AT_CLIENT, events);
                at += 1;
            } else {
                self.complete(at, events, None);
                self.remove_unacknowledged(at);
            }
        }
        self.settle(events);
    }

    /// Gives up everything, for good.
    pub fn close(&mut self, events: &mut Vec<ProducerEvent>) {
        for at in 0..self.batches.len() {
            if self.batches[at].in_flight {
                self.abandon(at, outcome::PRODUCER_CLOSED, events);
            } else {
                self.complete(at, events, None);
            }
        }
        self.batches.retain(|batch| batch.in_flight);
    }

    /// Completes a batch in flight, whose attempt may yet take effect.
    fn abandon(&mut self, at: usize, code: i16, events: &mut Vec<ProducerEvent>) {
        let batch = &mut self.batches[at];
        if batch.completed {
            return;
        }
        batch.known = join(batch.known, Outcome::Maybe);
        batch.last_error = code;
        for op in &batch.ops {
            events.push(ProducerEvent::Attempt {
                token: op.token,
                attempt: batch.attempts,
                node: -1,
                outcome: Outcome::Maybe,
                error_code: code,
            });
        }
        self.complete(at, events, None);
        self.batches[at].completed = true;
    }

    /// When it needs attention next, if nothing is answered before.
    pub fn next_timer(&self, config: &ProducerConfig, now: Instant) -> Instant {
        let mut next = Instant::FAR_FUTURE;
        for batch in &self.batches {
            if !batch.completed {
                next = next.min(batch.deadline);
            }
            if !batch.in_flight {
                if batch.retry_at > now {
                    next = next.min(batch.retry_at);
                }
                if batch.open && batch.created + config.linger > now {
                    next = next.min(batch.created + config.linger);
                }
                break;
            }
        }
        next
    }

    /// Gives it a producer id to begin with.
    pub fn set_id(&mut self, id: i64) {
        if self.identity.is_none() && self.refused_id != Some(id) {
            self.identity = Some(Identity { id, epoch: 0, next_sequence: 0, proven: false });
            self.refused_id = None;
        }
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.batches.iter().position(|batch| batch.id == id)
    }

    fn complete(&mut self, at: usize, events: &mut Vec<ProducerEvent>, base_offset: Option<i64>) {
        let batch = &mut self.batches[at];
        self.freed += std::mem::take(&mut batch.size);
        if batch.completed {
            return;
        }
        for op in &batch.ops {
            events.push(ProducerEvent::Completed {
                token: op.token,
                outcome: batch.known,
                base_offset: base_offset.map(|offset| offset + i64::from(op.first)),
                error_code: batch.last_error,
            });
        }
    }

    /// Takes a batch out that was not acknowledged. If it had a sequence and no later batch has one, nothing
    /// would tell whether there is a gap: the next batch begins a new epoch, which also fences this one, should
    /// it still be on its way.
    fn remove_unacknowledged(&mut self, at: usize) {
        let batch = self.batches.remove(at).expect("in the queue");
        if batch.open {
            // Its records are in the builder: throw them away.
            self.builder.build();
        }
        if batch.stamp.is_some() && self.batches.iter().all(|batch| batch.stamp.is_none()) {
            self.must_bump = true;
        }
    }

    /// Raises the epoch when it must be raised and nothing is in flight.
    fn settle(&mut self, events: &mut Vec<ProducerEvent>) {
        if !self.must_bump || self.batches.iter().any(|batch| batch.in_flight) {
            return;
        }
        let mut at = 0;
        while at < self.batches.len() {
            if self.batches[at].stamp.is_some() && self.batches[at].known == Outcome::Maybe {
                self.complete(at, events, None);
                self.batches.remove(at);
            } else {
                self.batches[at].stamp = None;
                at += 1;
            }
        }
        self.must_bump = false;
        let Some(identity) = &mut self.identity else { return };
        if self.fenced || identity.epoch == i16::MAX {
            self.fenced = false;
            self.refused_id = Some(identity.id);
            self.identity = None;
        } else {
            *identity =
                Identity { id: identity.id, epoch: identity.epoch + 1, next_sequence: 0, proven: false };
        }
    }
}
