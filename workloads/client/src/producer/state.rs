//! All partitions of a producer: what is sent to which broker when, and what the answers mean. Sans-io but for
//! the queue of a connection, into which requests are put in the order in which they were numbered.

use super::batch::Answer;
use super::partition::Partition;
use super::{ProducerEvent, RecordRef};
use crate::config::{ClientConfig, ProducerConfig};
use crate::error::ClientError;
use crate::metadata::PartitionRef;
use crate::net::{Connection, Lane, Queued, Reply, RequestFailure, ResponseHandler};
use crate::outcome::{self, Next};
use crate::{client::Network, requests};
use burnin_history::Acks;
use burnin_runtime::{Entropy, Instant};
use burnin_wire::batch::{BatchBuilder, HEADER_LEN};
use burnin_wire::{Request, Response, StrBytes};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

/// One batch within a request.
#[derive(Clone, Copy, Debug)]
struct Sent {
    partition: u32,
    batch: u64,
}

struct Node {
    id: i32,
    connection: Option<Arc<Connection>>,
    in_flight: usize,
    /// Scratch: what the next request to it will hold.
    pending: Vec<(u32, usize)>,
    pending_bytes: usize,
}

pub(super) struct State {
    config: ProducerConfig,
    retry_backoff: crate::backoff::Backoff,
    request_timeout: std::time::Duration,
    entropy: Entropy,
    pub partitions: Vec<Partition>,
    names: Vec<StrBytes>,
    by_ref: BTreeMap<PartitionRef, u32>,
    /// Partitions that have batches.
    active: Vec<u32>,
    turn: usize,
    nodes: Vec<Node>,
    /// Requests in flight, oldest first: token, node, batches.
    requests: VecDeque<(u64, usize, Vec<Sent>)>,
    spare: Vec<Vec<Sent>>,
    next_token: u64,
    pub events: Vec<ProducerEvent>,
    pub delivering: bool,
    /// The id for partitions that have none yet.
    pub producer_id: Option<i64>,
    pub id_wanted: bool,
    buffered: usize,
    pub flush: bool,
    pub closed: bool,
    /// When the timer task will look next.
    pub armed: Instant,
}

/// What the caller of [`State::drive`] has to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub metadata: bool,
    pub timer: bool,
    pub id: bool,
}

impl State {
    pub fn new(config: ProducerConfig, client: &ClientConfig, entropy: Entropy) -> Self {
        State {
            config,
            retry_backoff: client.retry_backoff,
            request_timeout: client.request_timeout,
            entropy,
            partitions: Vec::new(),
            names: Vec::new(),
            by_ref: BTreeMap::new(),
            active: Vec::new(),
            turn: 0,
            nodes: Vec::new(),
            requests: VecDeque::new(),
            spare: Vec::new(),
            next_token: 0,
            events: Vec::new(),
            delivering: false,
            producer_id: None,
            id_wanted: false,
            buffered: 0,
            flush: false,
            closed: false,
            armed: Instant::FAR_FUTURE,
        }
    }

    /// Whether nothing waits for its end.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.events.is_empty() && !self.delivering
    }

    /// Takes the records of one call over. `true`: something may be sent now, call [`State::drive`].
    pub fn append(
        &mut self,
        now: Instant,
        network: &dyn Network,
        at: PartitionRef,
        token: u64,
        records: &[RecordRef<'_>],
    ) -> Result<bool, ClientError> {
        if self.closed {
            return Err(ClientError::Closed("producer"));
        }
        assert!(!records.is_empty(), "a call hands over at least one record (token {token})");
        let size: usize =
            records.iter().map(|r| BatchBuilder::record_size_max(r.key, r.value, r.headers)).sum();
        if size + HEADER_LEN > self.config.request_bytes_max {
            return Err(ClientError::TooLarge { bytes: size, limit: self.config.request_bytes_max });
        }
        if self.buffered + size > self.config.buffer_bytes {
            return Err(ClientError::BufferFull { buffered: self.buffered, limit: self.config.buffer_bytes });
        }
        self.buffered += size;
        let slot = self.slot(at, network);
        let partition = &mut self.partitions[slot as usize];
        partition.append(&self.config, now, token, records, size);
        if !partition.listed {
            partition.listed = true;
            self.active.push(slot);
        }
        // A batch that only began to linger needs its timer; everything else may be ready.
        Ok(true)
    }

    fn slot(&mut self, at: PartitionRef, network: &dyn Network) -> u32 {
        if let Some(slot) = self.by_ref.get(&at) {
            return *slot;
        }
        let slot = u32::try_from(self.partitions.len()).expect("fewer than 2^32 partitions");
        let mut partition = Partition::new(at, &self.config);
        if let Some(id) = self.producer_id {
            partition.set_id(id);
        }
        self.partitions.push(partition);
        self.by_ref.insert(at, slot);
        let mut name = StrBytes::default();
        network.with_metadata(&mut |metadata| name = metadata.topic(at.topic).name.clone());
        self.names.push(name);
        self.assign_leaders(network);
        slot
    }

    /// The metadata was replaced: looks every partition's leader up again.
    pub fn assign_leaders(&mut self, network: &dyn Network) {
        let State { partitions, nodes, .. } = self;
        network.with_metadata(&mut |metadata| {
            for partition in partitions.iter_mut() {
                partition.leader = metadata.leader(partition.at).map(|(id, _)| {
                    nodes.iter().position(|node| node.id == id).unwrap_or_else(|| {
                        let pending = Vec::new();
                        nodes.push(Node { id, connection: None, in_flight: 0, pending, pending_bytes: 0 });
                        nodes.len() - 1
                    })
                });
            }
        });
        for node in self.nodes.iter_mut().filter(|node| node.connection.is_none()) {
            node.connection = network.connection(node.id, Lane::Main);
        }
    }

    /// A producer id was obtained.
    pub fn set_producer_id(&mut self, id: i64) {
        self.producer_id = Some(id);
        self.id_wanted = false;
        for partition in &mut self.partitions {
            partition.set_id(id);
        }
    }

    /// Sends whatever may be sent now.
    pub fn drive(&mut self, now: Instant, handler: &Weak<dyn ResponseHandler>) -> Wanted {
        let mut wanted = Wanted::default();
        let mut more = true;
        while more {
            more = self.collect(now, &mut wanted);
            for node in 0..self.nodes.len() {
                if !self.nodes[node].pending.is_empty() {
                    self.send(now, node, handler);
                }
            }
        }
        self.retire();
        let mut timer = Instant::FAR_FUTURE;
        for slot in &self.active {
            timer = timer.min(self.partitions[*slot as usize].next_timer(&self.config, now));
        }
        if timer < self.armed {
            self.armed = timer;
            wanted.timer = true;
        }
        wanted
    }

    /// Finds at most one batch per partition for each broker. `true`: there may be more behind them.
    fn collect(&mut self, now: Instant, wanted: &mut Wanted) -> bool {
        let mut more = false;
        let count = self.active.len();
        if count > 0 {
            self.turn = (self.turn + 1) % count;
        }
        for step in 0..count {
            let slot = self.active[(self.turn + step) % count];
            let partition = &mut self.partitions[slot as usize];
            if self.config.idempotence && partition.identity.is_none() && !partition.batches.is_empty() {
                if partition.refused_id.is_some() && partition.refused_id == self.producer_id {
                    self.producer_id = None;
                }
                match self.producer_id {
                    Some(id) => partition.set_id(id),
                    None => {
                        wanted.id = !self.id_wanted;
                        self.id_wanted = true;
                        continue;
                    }
                }
            }
            let Some(at) = partition.sendable(&self.config, now, self.flush) else { continue };
            let Some(leader) = partition.leader else {
                wanted.metadata = true;
                continue;
            };
            let node = &mut self.nodes[leader];
            let Some(connection) = &node.connection else {
                wanted.metadata = true;
                continue;
            };
            if !connection.is_ready() {
                connection.want();
                continue;
            }
            let size = partition.size_of(at);
            let fits = node.pending.is_empty() || node.pending_bytes + size <= self.config.request_bytes_max;
            if node.in_flight >= self.config.in_flight_max {
                continue;
            }
            if !fits {
                more = true;
                continue;
            }
            node.pending.push((slot, at));
            node.pending_bytes += size;
            more |= partition.batches.len() > at + 1;
        }
        more
    }

    fn send(&mut self, now: Instant, node_at: usize, handler: &Weak<dyn ResponseHandler>) {
        let node = &mut self.nodes[node_at];
        let mut pending = std::mem::take(&mut node.pending);
        node.pending_bytes = 0;
        let mut sent = self.spare.pop().unwrap_or_default();
        let mut request = requests::ProduceBuilder::new(self.config.acks, self.config.broker_timeout);
        for (slot, at) in pending.drain(..) {
            let partition = &mut self.partitions[slot as usize];
            let (batch, bytes) = partition.take(at, self.config.idempotence);
            request.push(&self.names[slot as usize], partition.at.index, bytes);
            sent.push(Sent { partition: slot, batch });
        }
        let token = self.next_token;
        self.next_token += 1;
        let queued = Queued {
            request: Request::Produce(request.finish()),
            version: None,
            timeout: self.request_timeout,
            answered: self.config.acks != Acks::None,
            reply: Reply::Handler(handler.clone(), token),
        };
        node.pending = pending;
        node.in_flight += 1;
        self.requests.push_back((token, node_at, sent));
        let connection = node.connection.as_ref().expect("collected for a known connection");
        if connection.send(queued).is_err() {
            let id = node.id;
            self.answered(now, id, token, Err(RequestFailure::Closed));
        }
    }

    /// Takes partitions without batches off the list, and counts what they no longer hold.
    fn retire(&mut self) {
        let State { partitions, active, buffered, .. } = self;
        active.retain(|slot| {
            let partition = &mut partitions[*slot as usize];
            *buffered -= std::mem::take(&mut partition.freed);
            partition.listed = !partition.batches.is_empty();
            partition.listed
        });
    }

    /// Takes the end of a request in. `true`: the metadata is stale.
    pub fn answered(
        &mut self,
        now: Instant,
        node: i32,
        token: u64,
        result: Result<Option<Response>, RequestFailure>,
    ) -> bool {
        let Some(at) = self.requests.iter().position(|(sent, ..)| *sent == token) else {
            return false;
        };
        let (_, node_at, mut sent) = self.requests.remove(at).expect("just found");
        self.nodes[node_at].in_flight -= 1;
        let mut stale = false;
        for Sent { partition: slot, batch } in sent.drain(..) {
            let partition = &mut self.partitions[slot as usize];
            let (code, base_offset) = match &result {
                Ok(None) => (0, -1),
                Ok(Some(Response::Produce(response))) => {
                    requests::produce_answer(response, &self.names[slot as usize], partition.at.index)
                        .unwrap_or((outcome::MISSING_IN_RESPONSE, -1))
                }
                Ok(Some(other)) => unreachable!("a produce request was answered with {}", other.api()),
                Err(failure) if !failure.may_have_been_sent() => {
                    let wait = self.retry_backoff.after(1, &mut self.entropy);
                    partition.untake(batch, now + wait, &mut self.events);
                    stale = true;
                    continue;
                }
                Err(RequestFailure::TimedOut { .. }) => (outcome::REQUEST_TIMED_OUT_AT_CLIENT, -1),
                Err(_) => (outcome::CONNECTION_BROKE, -1),
            };
            let backoff = match code {
                0 => std::time::Duration::ZERO,
                _ => self.retry_backoff.after(partition.attempts_of(batch), &mut self.entropy),
            };
            let answer = Answer { code, base_offset, node };
            let next = partition.ended(&self.config, now, batch, answer, backoff, &mut self.events);
            stale |= next == Next::RetryElsewhere;
        }
        self.spare.push(sent);
        stale
    }

    /// Gives up what has run out of time.
    pub fn expire(&mut self, now: Instant) {
        for slot in &self.active {
            self.partitions[*slot as usize].expire(now, &mut self.events);
        }
    }

    /// Gives up everything, for good.
    pub fn close(&mut self) {
        self.closed = true;
        for slot in &self.active {
            self.partitions[*slot as usize].close(&mut self.events);
        }
        self.retire();
    }
}
