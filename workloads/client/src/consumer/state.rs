//! What a consumer knows of its partitions, and what it asks of which broker when. Sans-io but for the queue of
//! a connection.
//!
//! A partition is looked up (ListOffsets) until its position is known, checked (OffsetForLeaderEpoch) when its
//! leader changes, and fetched otherwise. There is one fetch in flight per broker; the next is sent from where
//! the answer is taken in, unless the answers before it still wait to be handed out. A seek raises the partition's generation: answers to what was asked
//! before it are dropped. So are answers to fetches from another offset than the position: when the leader
//! moves, the old and the new one may both be asked. (`answers.rs` takes answers in, `request.rs` builds the
//! fetch request.)

mod answers;
mod request;

use super::session::{Session, Want};
use super::{ConsumerEvent, Fetched, StartAt};
use crate::backoff::Backoff;
use crate::client::Network;
use crate::config::{ClientConfig, ConsumerConfig};
use crate::metadata::PartitionRef;
use crate::net::{Connection, Lane, Queued, Reply, ResponseHandler};
use crate::requests;
use burnin_runtime::{Entropy, Instant};
use burnin_wire::{Api, StrBytes};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;
use uuid::Uuid;

/// The version of Fetch that brought sessions (KIP-227).
const SESSIONS_SINCE: i16 = 7;
/// Answers of one partition that may wait to be handed out while more is fetched.
const BUFFERED_MAX: u32 = 2;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not read until the next seek.
    Stopped,
    /// The offset for this timestamp is asked for.
    Lookup(i64),
    /// Whether the log still has what was read is asked for.
    Check,
    /// Read.
    Fetch,
}

struct Assigned {
    at: PartitionRef,
    name: StrBytes,
    topic_id: Uuid,
    generation: u64,
    phase: Phase,
    position: i64,
    /// Leader epoch of the last batch that was read; -1 when none was.
    read_epoch: i32,
    leader: Option<(usize, i32)>,
    /// The leader epoch under which the position is known to be good.
    checked_epoch: i32,
    log_start_offset: i64,
    high_watermark: i64,
    /// A request of its own (not a fetch) is in flight.
    asking: bool,
    /// Answers that wait to be handed out.
    buffered: u32,
    failures: u32,
    not_before: Instant,
}

#[derive(Debug)]
struct Fetch {
    token: u64,
    /// Slot, generation, offset.
    asked: Vec<(usize, u64, i64)>,
}

struct Node {
    id: i32,
    fetching: Option<Arc<Connection>>,
    asking: Option<Arc<Connection>>,
    session: Session,
    in_flight: Option<Fetch>,
    failures: u32,
    not_before: Instant,
}

/// A lookup or a check in flight.
struct Question {
    token: u64,
    slot: usize,
    generation: u64,
}

pub(super) struct State {
    config: ConsumerConfig,
    retry_backoff: Backoff,
    request_timeout: Duration,
    lane: Lane,
    entropy: Entropy,
    assigned: Vec<Assigned>,
    nodes: Vec<Node>,
    questions: Vec<Question>,
    events: VecDeque<ConsumerEvent>,
    next_token: u64,
    turn: usize,
    /// Something changed that may allow another request.
    changed: bool,
    /// When the next backoff ends.
    look_again_at: Instant,
    /// Scratch.
    wants: Vec<Want>,
}

impl State {
    pub fn new(config: ConsumerConfig, client: &ClientConfig, lane: Lane, entropy: Entropy) -> Self {
        State {
            config,
            retry_backoff: client.retry_backoff,
            request_timeout: client.request_timeout,
            lane,
            entropy,
            assigned: Vec::new(),
            nodes: Vec::new(),
            questions: Vec::new(),
            events: VecDeque::new(),
            next_token: 0,
            turn: 0,
            changed: false,
            look_again_at: Instant::FAR_FUTURE,
            wants: Vec::new(),
        }
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// When to look again, if nothing is answered before.
    pub fn look_again_at(&self) -> Instant {
        self.look_again_at
    }

    /// Whether [`State::drive`] could find something to do.
    pub fn must_drive(&self, now: Instant) -> bool {
        self.changed || self.look_again_at <= now
    }

    pub fn take_event(&mut self) -> Option<ConsumerEvent> {
        let event = self.events.pop_front()?;
        if let ConsumerEvent::Fetched(fetched) = &event
            && let Some(slot) = self.slot(fetched.partition)
        {
            // It may have been the one that held fetches back.
            self.changed |= self.assigned[slot].buffered >= BUFFERED_MAX;
            self.assigned[slot].buffered -= 1;
        }
        Some(event)
    }

    fn slot(&self, at: PartitionRef) -> Option<usize> {
        self.assigned.iter().position(|assigned| assigned.at == at)
    }

    pub fn position(&self, at: PartitionRef) -> Option<i64> {
        let assigned = &self.assigned[self.slot(at)?];
        (assigned.phase == Phase::Fetch || assigned.phase == Phase::Check).then_some(assigned.position)
    }

    pub fn seek(&mut self, network: &dyn Network, at: PartitionRef, start: StartAt) {
        let slot = self.slot(at).unwrap_or_else(|| {
            self.assigned.push(Assigned {
                at,
                name: StrBytes::default(),
                topic_id: Uuid::nil(),
                generation: 0,
                phase: Phase::Stopped,
                position: -1,
                read_epoch: -1,
                leader: None,
                checked_epoch: -1,
                log_start_offset: -1,
                high_watermark: -1,
                asking: false,
                buffered: 0,
                failures: 0,
                not_before: Instant::ZERO,
            });
            self.assign_leaders(network);
            self.assigned.len() - 1
        });
        self.forget(slot);
        match start {
            StartAt::Earliest => self.assigned[slot].phase = Phase::Lookup(EARLIEST),
            StartAt::Latest => self.assigned[slot].phase = Phase::Lookup(LATEST),
            StartAt::Timestamp(timestamp) => self.assigned[slot].phase = Phase::Lookup(timestamp),
            StartAt::Offset(offset) => self.begin_at(slot, offset, -1),
        }
    }

    pub fn unassign(&mut self, at: PartitionRef) {
        if let Some(slot) = self.slot(at) {
            self.forget(slot);
        }
    }

    /// Drops what was asked and what was fetched.
    fn forget(&mut self, slot: usize) {
        self.changed = true;
        let assigned = &mut self.assigned[slot];
        assigned.generation += 1;
        assigned.phase = Phase::Stopped;
        assigned.asking = false;
        assigned.buffered = 0;
        assigned.failures = 0;
        assigned.not_before = Instant::ZERO;
        let at = assigned.at;
        self.events.retain(|event| match event {
            ConsumerEvent::Fetched(Fetched { partition, .. })
            | ConsumerEvent::Positioned { partition, .. }
            | ConsumerEvent::OutOfRange { partition, .. }
            | ConsumerEvent::Truncated { partition, .. }
            | ConsumerEvent::Refused { partition, .. } => *partition != at,
        });
    }

    fn begin_at(&mut self, slot: usize, offset: i64, epoch: i32) {
        let assigned = &mut self.assigned[slot];
        assigned.phase = Phase::Fetch;
        assigned.position = offset;
        assigned.read_epoch = epoch;
        assigned.checked_epoch = assigned.leader.map_or(-1, |(_, epoch)| epoch);
        assigned.failures = 0;
        self.events.push_back(ConsumerEvent::Positioned { partition: assigned.at, offset });
    }

    /// The metadata was replaced.
    pub fn assign_leaders(&mut self, network: &dyn Network) {
        let State { assigned, nodes, config, .. } = self;
        network.with_metadata(&mut |metadata| {
            for assigned in assigned.iter_mut() {
                let topic = metadata.topic(assigned.at.topic);
                assigned.name.clone_from(&topic.name);
                assigned.topic_id = topic.id;
                assigned.leader = metadata.leader(assigned.at).map(|(id, epoch)| {
                    let known = nodes.iter().position(|node| node.id == id);
                    let node = known.unwrap_or_else(|| {
                        nodes.push(Node {
                            id,
                            fetching: None,
                            asking: None,
                            session: Session::new(config.sessions),
                            in_flight: None,
                            failures: 0,
                            not_before: Instant::ZERO,
                        });
                        nodes.len() - 1
                    });
                    (node, epoch)
                });
                let Some((_, epoch)) = assigned.leader else { continue };
                if assigned.phase == Phase::Fetch && epoch > assigned.checked_epoch {
                    if config.truncation_detection && assigned.read_epoch >= 0 {
                        // What is in flight was asked under the old epoch.
                        assigned.phase = Phase::Check;
                        assigned.generation += 1;
                    } else {
                        assigned.checked_epoch = epoch;
                    }
                }
            }
        });
        for node in &mut self.nodes {
            if node.fetching.is_none() {
                node.fetching = network.connection(node.id, self.lane);
            }
            if node.asking.is_none() {
                node.asking = network.connection(node.id, Lane::Main);
            }
        }
    }

    /// Asks whatever may be asked now.
    pub fn drive(&mut self, now: Instant, network: &dyn Network, handler: &Weak<dyn ResponseHandler>) {
        self.changed = false;
        let mut again = Instant::FAR_FUTURE;
        let mut stale = false;
        for slot in 0..self.assigned.len() {
            let assigned = &self.assigned[slot];
            if assigned.phase == Phase::Stopped {
                continue;
            }
            if assigned.leader.is_none() {
                stale = true;
            } else if assigned.not_before > now {
                again = again.min(assigned.not_before);
            } else if assigned.phase != Phase::Fetch && !assigned.asking {
                self.ask(slot, handler);
            }
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].in_flight.is_some() {
                continue;
            }
            if self.nodes[node].not_before > now {
                again = again.min(self.nodes[node].not_before);
                continue;
            }
            self.fetch(now, node, handler);
        }
        if stale {
            network.refresh_metadata();
        }
        self.look_again_at = again;
    }

    /// Sends a lookup or a check.
    fn ask(&mut self, slot: usize, handler: &Weak<dyn ResponseHandler>) {
        let assigned = &mut self.assigned[slot];
        let (node, leader_epoch) = assigned.leader.expect("has a leader");
        let Some(connection) = &self.nodes[node].asking else { return };
        if !connection.is_ready() {
            connection.want();
            return;
        }
        let request = match assigned.phase {
            Phase::Lookup(timestamp) => {
                requests::list_offset(&assigned.name, assigned.at.index, leader_epoch, timestamp)
            }
            Phase::Check => {
                if connection.version(Api::OffsetForLeaderEpoch).is_none() {
                    assigned.checked_epoch = leader_epoch;
                    assigned.phase = Phase::Fetch;
                    return;
                }
                requests::end_of_epoch(&assigned.name, assigned.at.index, leader_epoch, assigned.read_epoch)
            }
            Phase::Stopped | Phase::Fetch => unreachable!("nothing to ask"),
        };
        let token = self.next_token;
        self.next_token += 1;
        let reply = Reply::Handler(handler.clone(), token);
        let queued = Queued { request, version: None, timeout: self.request_timeout, answered: true, reply };
        if connection.send(queued).is_ok() {
            assigned.asking = true;
            self.questions.push(Question { token, slot, generation: assigned.generation });
        }
    }

    /// Sends a fetch for everything that a broker leads and that may be fetched.
    fn fetch(&mut self, now: Instant, node_at: usize, handler: &Weak<dyn ResponseHandler>) {
        let mut wants = std::mem::take(&mut self.wants);
        wants.clear();
        let mut asked = Vec::new();
        let mut blocked = false;
        let mut named = true;
        let count = self.assigned.len();
        self.turn = (self.turn + 1) % count.max(1);
        for step in 0..count {
            let slot = (self.turn + step) % count;
            let assigned = &self.assigned[slot];
            let Some((leader, leader_epoch)) = assigned.leader.filter(|(leader, _)| *leader == node_at)
            else {
                continue;
            };
            debug_assert_eq!(leader, node_at);
            blocked |= assigned.buffered >= BUFFERED_MAX;
            if assigned.phase == Phase::Fetch && assigned.not_before <= now {
                wants.push(Want { at: assigned.at, offset: assigned.position, leader_epoch });
                asked.push((slot, assigned.generation, assigned.position));
                named &= !assigned.topic_id.is_nil();
            }
        }
        let node = &mut self.nodes[node_at];
        if !wants.is_empty()
            && !blocked
            && let Some(connection) = &node.fetching
        {
            if connection.is_ready() {
                let version = connection.version(Api::Fetch).map(|max| if named { max } else { max.min(12) });
                if let Some(version) = version {
                    if version < SESSIONS_SINCE {
                        node.session = Session::new(false);
                    }
                    let ask = node.session.ask(&wants);
                    let request = request::fetch_request(&self.config, version, ask, &self.assigned);
                    let token = self.next_token;
                    self.next_token += 1;
                    let timeout = self.request_timeout.max(self.config.max_wait * 2);
                    let reply = Reply::Handler(handler.clone(), token);
                    let queued = Queued { request, version: Some(version), timeout, answered: true, reply };
                    if connection.send(queued).is_ok() {
                        node.in_flight = Some(Fetch { token, asked });
                    }
                }
            } else {
                connection.want();
            }
        }
        self.wants = wants;
    }
}
