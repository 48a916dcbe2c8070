//! A follower's fetcher (`AbstractFetcherThread`): one fetch after the other to one leader, for all partitions that
//! it is to fetch from there. What a response brought is durable before the next request names the new end, because
//! that is the acknowledgement.

use super::exchange::{Arrived, Exchange, Wish};
use super::fetchers::{Inbox, Order};
use super::following::FollowError;
use super::hub::Key;
use super::partition::Partition;
use crate::peer::{Peer, PeerError};
use crate::shared::Shared;
use burnin_runtime::{Instant, Mutant, Mutants, Runtime};
use burnin_wire::kafka::messages::fetch_request::{FetchRequest, ReplicaState};
use burnin_wire::kafka::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use burnin_wire::kafka::messages::{BrokerId, TopicName};
use burnin_wire::{ErrorCode, Response, StrBytes};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// The first pause after an error; it doubles up to `replica.fetch.backoff.ms`.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The first version in which a follower says who it is in a field of its own, and in which topics go by id.
const FETCH_VERSION_MIN: i16 = 15;
/// The first version that knows `EARLIEST_LOCAL`.
const LIST_OFFSETS_VERSION_MIN: i16 = 8;
/// The timestamps that ListOffsets knows for the ends of a log.
const LATEST: i64 = -1;
const EARLIEST_LOCAL: i64 = -4;

struct Following<R: Runtime> {
    partition: Arc<Partition<R>>,
    leader_epoch: i32,
    /// Whether it had everything that was committed when it last heard: a throttle does not hold it up then.
    is_in_sync: bool,
    /// Not to be fetched before.
    paused_until: Option<Instant>,
    failures: u32,
}

impl<R: Runtime> Following<R> {
    fn wish(&self, wanting: Wanting) -> Option<Wish> {
        let log = &self.partition.log;
        self.paused_until.is_none().then(|| Wish {
            offset: log.end_offset(),
            log_start_offset: log.start_offset(),
            bytes_max: wanting.bytes_max,
            leader_epoch: self.leader_epoch,
            last_fetched_epoch: log.latest_epoch().filter(|_| wanting.tells_epoch).unwrap_or(-1),
        })
    }
}

/// What holds for all partitions of a request.
#[derive(Clone, Copy)]
struct Wanting {
    bytes_max: i32,
    tells_epoch: bool,
}

/// Errors of a session as a whole, which begins anew then.
fn is_of_session(code: ErrorCode) -> bool {
    [ErrorCode::FETCH_SESSION_ID_NOT_FOUND, ErrorCode::INVALID_FETCH_SESSION_EPOCH].contains(&code)
}

struct Fetcher<R: Runtime> {
    shared: Arc<Shared<R>>,
    leader: i32,
    /// With where it leads to, and the leader's broker epoch: another start knows nothing of the connection.
    peer: Option<((String, u16, i64), Peer<R>)>,
    partitions: BTreeMap<Key, Following<R>>,
    exchange: Exchange,
    /// Requests in a row that failed as a whole.
    failures: u32,
}

/// Fetches until the task is ended.
pub(super) async fn run<R: Runtime>(shared: Arc<Shared<R>>, leader: i32, inbox: Arc<Inbox<R>>) {
    let mut fetcher = Fetcher {
        shared,
        leader,
        peer: None,
        partitions: BTreeMap::new(),
        exchange: Exchange::default(),
        failures: 0,
    };
    loop {
        fetcher.take_orders(inbox.take()).await;
        if fetcher.partitions.is_empty() {
            (fetcher.peer, fetcher.exchange, fetcher.failures) = (None, Exchange::default(), 0);
            inbox.orders().await;
            continue;
        }
        if let Some(until) = fetcher.pause() {
            tokio::select! {
                biased;
                () = inbox.orders() => {}
                () = fetcher.shared.runtime.sleep_until(until) => {}
            }
            continue;
        }
        fetcher.fetch(&inbox).await;
    }
}

impl<R: Runtime> Fetcher<R> {
    async fn take_orders(&mut self, orders: Vec<Order<R>>) {
        for order in orders {
            match order {
                Order::Fetch(partition, leader_epoch) => {
                    let key = partition.key();
                    let end = partition.log.end_offset();
                    // What an earlier role left must be durable before it is acknowledged. An error is told by
                    // whatever comes next.
                    let _ = partition.log.wait_durable(end).await;
                    let _ = partition.cut_later_than(leader_epoch, leader_epoch).await;
                    // the planted bug believes its own high watermark, which may be behind
                    if self.mutants().on(Mutant::R01) {
                        let _ = partition.cut_to_high_watermark(leader_epoch).await;
                    }
                    self.exchange.again(key);
                    let (paused_until, is_in_sync) = (None, false);
                    let following =
                        Following { partition, leader_epoch, is_in_sync, paused_until, failures: 0 };
                    self.partitions.insert(key, following);
                }
                Order::Leave(key) => {
                    self.partitions.remove(&key);
                    self.exchange.touch(key);
                }
            }
        }
    }

    /// When there is something to fetch again, unless there is now.
    fn pause(&mut self) -> Option<Instant> {
        let now = self.shared.runtime.now();
        let mut first = Instant::FAR_FUTURE;
        let mut due = false;
        let throttled = self.shared.replication.fetching.wait(now);
        for (key, following) in &mut self.partitions {
            if let (Some(wait), None) = (throttled, following.paused_until)
                && !following.is_in_sync
                && following.partition.is_throttled_follower()
            {
                following.paused_until = Some(now + wait);
                self.exchange.touch(*key);
            }
            match following.paused_until {
                Some(until) if until > now => first = first.min(until),
                Some(_) => {
                    following.paused_until = None;
                    self.exchange.touch(*key);
                    due = true;
                }
                None => due = true,
            }
        }
        (!due).then_some(first)
    }

    /// One fetch and what follows from it. Orders are taken while it is under way: a leader that is gone may never
    /// answer.
    async fn fetch(&mut self, inbox: &Inbox<R>) {
        let Some(peer) = self.peer() else {
            // Nobody knows yet where the leader is; the metadata will say.
            self.rest().await;
            return;
        };
        let request = self.request();
        let mut answering = pin!(self.send(&peer, request));
        // What is new is not to wait until the leader has news of what is old: another request ends the one that is on
        // its way.
        let mut following = None;
        // the planted bug waits for the answer of a leader that is not followed any more
        let takes_orders = !self.mutants().on(Mutant::R21);
        loop {
            let answer = tokio::select! {
                biased;
                answer = &mut answering => Some(answer),
                () = inbox.orders(), if takes_orders => None,
            };
            match (answer, following.take()) {
                (None, sent) => {
                    following = sent;
                    self.take_orders(inbox.take()).await;
                    if self.partitions.is_empty() || !self.is_same_leader() {
                        (self.peer, self.exchange) = (None, Exchange::default());
                        return;
                    }
                    if following.is_none() && self.exchange.can_go_on() && self.exchange.has_news() {
                        let (request, named) = self.next_request();
                        following = Some((self.send(&peer, request), named));
                    }
                }
                (Some(Ok(Response::Fetch(response))), Some((next, named))) if response.error_code == 0 => {
                    let arrived = self.exchange.take_earlier(response, &named);
                    self.process(&peer, arrived).await;
                    answering.set(next);
                }
                (Some(Ok(Response::Fetch(response))), Some((next, _)))
                    if is_of_session(ErrorCode(response.error_code)) =>
                {
                    answering.set(next);
                }
                (Some(answer), _) => return self.answered(&peer, answer).await,
            }
        }
    }

    /// Sends a fetch; the answer comes by itself.
    fn send(
        &self,
        peer: &Peer<R>,
        request: FetchRequest,
    ) -> impl Future<Output = Result<Response, PeerError>> + Send + use<R> {
        let settings = &self.shared.config.replication;
        let within = settings.fetch_wait_max + settings.fetch_timeout;
        let version = burnin_core::fetch_version(self.shared.image.read().metadata_version());
        peer.call_in(FETCH_VERSION_MIN..=version, self.dressed(request).into(), within)
    }

    async fn answered(&mut self, peer: &Peer<R>, answer: Result<Response, PeerError>) {
        match answer {
            Ok(Response::Fetch(response)) if response.error_code == 0 => {
                self.failures = 0;
                let arrived = self.exchange.take(response);
                self.process(peer, arrived).await;
            }
            Ok(Response::Fetch(response)) => {
                let code = ErrorCode(response.error_code);
                tracing::debug!(leader = self.leader, %code, "a fetch was refused");
                self.exchange.reset(true);
                if !is_of_session(code) || self.failures > 0 {
                    self.rest().await;
                }
                self.failures += 1;
            }
            Ok(other) => {
                tracing::warn!(leader = self.leader, api = %other.api(), "an answer to another request");
                self.exchange.reset(true);
                self.rest().await;
            }
            Err(error) => {
                tracing::debug!(leader = self.leader, %error, "a fetch has no answer");
                // The leader may remember another session than we do.
                self.exchange.reset(true);
                self.rest().await;
            }
        }
    }

    /// Waits a bit after a request that failed as a whole.
    async fn rest(&mut self) {
        let pause = backoff(self.failures, self.shared.config.replication.fetch_backoff);
        self.failures = self.failures.saturating_add(1);
        self.shared.runtime.sleep(pause).await;
    }

    /// Whether the metadata still know the start of the leader that the connection leads to.
    fn is_same_leader(&self) -> bool {
        let epoch = self.shared.image.read().brokers().get(&self.leader).map(|broker| broker.epoch);
        self.peer.as_ref().map(|((.., known), _)| *known) == epoch
    }

    /// The connection to where the metadata say that the leader is.
    fn peer(&mut self) -> Option<Peer<R>> {
        let address = {
            let image = self.shared.image.read();
            let listener = &self.shared.config.inter_broker_listener;
            let broker = image.brokers().get(&self.leader)?;
            let (_, host, port) = broker.endpoints.iter().find(|(name, ..)| name == listener)?;
            match &self.peer {
                Some((known, peer)) if *known == (host.clone(), *port, broker.epoch) => {
                    return Some(peer.clone());
                }
                _ => (host.clone(), *port, broker.epoch),
            }
        };
        let client_id = format!("broker-{}-fetcher", self.shared.identity.node_id);
        let (runtime, release) = (self.shared.runtime.clone(), self.shared.config.release);
        let peer = Peer::new(runtime, release, (address.0.clone(), address.1), client_id);
        self.exchange.reset(false);
        self.peer = Some((address, peer.clone()));
        Some(peer)
    }

    fn mutants(&self) -> &Mutants {
        self.shared.runtime.mutants()
    }

    fn request(&mut self) -> FetchRequest {
        let all = self.partitions.keys().copied();
        let wanting = self.wanting();
        self.exchange.request(all, |key| self.partitions.get(key)?.wish(wanting))
    }

    fn next_request(&mut self) -> (FetchRequest, BTreeSet<Key>) {
        let wanting = self.wanting();
        self.exchange.next_request(|key| self.partitions.get(key)?.wish(wanting))
    }

    fn wanting(&self) -> Wanting {
        // the planted bug knows lengths and no lineage
        let tells_epoch = !self.mutants().on(Mutant::R02);
        Wanting { bytes_max: self.shared.config.replication.fetch_max_bytes, tells_epoch }
    }

    /// With who asks, and how much there may be.
    fn dressed(&self, request: FetchRequest) -> FetchRequest {
        let settings = &self.shared.config.replication;
        request
            .with_replica_state(
                ReplicaState::default()
                    .with_replica_id(BrokerId(self.shared.identity.node_id))
                    .with_replica_epoch(self.shared.broker_epoch()),
            )
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(settings.fetch_wait_max.as_millis() as i32)
            .with_min_bytes(settings.fetch_min_bytes)
            .with_max_bytes(settings.fetch_response_max_bytes)
    }

    async fn process(&mut self, peer: &Peer<R>, arrived: Vec<Arrived>) {
        let mut appended: Vec<Key> = Vec::new();
        let mut told: Vec<(Key, i64, i64)> = Vec::new();
        for arrived in arrived {
            let key = arrived.key;
            let Some(following) = self.partitions.get(&key) else { continue };
            let (partition, epoch) = (following.partition.clone(), following.leader_epoch);
            let is_late =
                arrived.wish.leader_epoch != epoch || arrived.wish.offset != partition.log.end_offset();
            if is_late && !self.mutants().on(Mutant::R21) {
                // It was removed and added again, or cut, since it was asked for.
                self.exchange.again(key);
                continue;
            }
            let done = match arrived.code {
                ErrorCode::NONE => match arrived.diverging {
                    Some((at, end)) => {
                        self.exchange.again(key);
                        // the planted bug takes what is committed in the leader's log for committed in ours
                        if self.mutants().on(Mutant::R08) {
                            partition.show_too_early(epoch, arrived.high_watermark);
                        }
                        partition.diverged(epoch, at, end).await
                    }
                    None => {
                        told.push((key, arrived.high_watermark, arrived.log_start_offset));
                        if arrived.records.is_empty() {
                            Ok(())
                        } else {
                            self.exchange.touch(key);
                            let bytes = arrived.records.len() as u64;
                            let done =
                                partition.append_fetched(epoch, arrived.wish.offset, &arrived.records).await;
                            if done.is_ok() && partition.is_throttled_follower() {
                                self.shared.replication.fetching.note(self.shared.runtime.now(), bytes);
                            }
                            done.map(|_| appended.push(key))
                        }
                    }
                },
                ErrorCode::OFFSET_OUT_OF_RANGE => {
                    self.exchange.again(key);
                    self.out_of_range(peer, &partition, epoch).await
                }
                // Metadata with another epoch are on their way to us, or to the leader.
                code => Err(FollowError::Bad(code.to_string())),
            };
            self.note(key, done);
        }
        for key in appended {
            let Some(following) = self.partitions.get(&key) else { continue };
            let log = following.partition.log.clone();
            let durable = log.wait_durable(log.end_offset()).await;
            self.note(key, durable.map_err(FollowError::Log));
        }
        for (key, high_watermark, log_start) in told {
            let Some(following) = self.partitions.get(&key) else { continue };
            let (partition, epoch) = (following.partition.clone(), following.leader_epoch);
            let is_in_sync = partition.log.end_offset() >= high_watermark;
            if let Some(following) = self.partitions.get_mut(&key) {
                following.is_in_sync = is_in_sync;
            }
            let start = partition.log.start_offset();
            let learnt = partition.learn(epoch, high_watermark, log_start).await;
            if partition.log.start_offset() != start {
                // The leader waits to hear of it.
                self.exchange.touch(key);
            }
            self.note(key, learnt);
        }
    }

    /// Keeps the books: a partition in trouble is left alone for a while, and then asked for again.
    fn note(&mut self, key: Key, done: Result<(), FollowError>) {
        let Some(following) = self.partitions.get_mut(&key) else { return };
        match done {
            Ok(()) => following.failures = 0,
            Err(FollowError::Moved) => self.exchange.again(key),
            Err(error) => {
                let pause = backoff(following.failures, self.shared.config.replication.fetch_backoff);
                let reason = match error {
                    FollowError::Bad(reason) => reason,
                    FollowError::Log(error) => error.to_string(),
                    FollowError::Moved => unreachable!("it was handled above"),
                };
                let partition = &*following.partition.name;
                tracing::debug!(partition, leader = self.leader, reason, "a fetch failed");
                following.failures = following.failures.saturating_add(1);
                following.paused_until = Some(self.shared.runtime.now() + pause);
                self.exchange.again(key);
            }
        }
    }

    /// Asks the leader for the bounds of its log, and goes to where both can go on.
    async fn out_of_range(
        &self,
        peer: &Peer<R>,
        partition: &Partition<R>,
        leader_epoch: i32,
    ) -> Result<(), FollowError> {
        let end = self.offset_at(peer, partition, leader_epoch, LATEST).await?;
        let start = self.offset_at(peer, partition, leader_epoch, EARLIEST_LOCAL).await?;
        partition.out_of_range(leader_epoch, start, end).await
    }

    async fn offset_at(
        &self,
        peer: &Peer<R>,
        partition: &Partition<R>,
        leader_epoch: i32,
        timestamp: i64,
    ) -> Result<i64, FollowError> {
        let name = StrBytes::from_string(partition.log.topic_partition().topic.to_string());
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition.number)
            .with_current_leader_epoch(leader_epoch)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(TopicName(name)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(self.shared.identity.node_id))
            .with_topics(vec![topic]);
        let within = self.shared.config.replication.fetch_timeout;
        let bad = |reason: String| FollowError::Bad(format!("the bounds of the leader's log: {reason}"));
        let version = burnin_core::list_offsets_version(self.shared.image.read().metadata_version());
        let answer = peer.call_in(LIST_OFFSETS_VERSION_MIN..=version, request.into(), within).await;
        let answer = answer.map_err(|error| bad(error.to_string()))?;
        let Response::ListOffsets(answer) = answer else { return Err(bad("another answer".to_owned())) };
        let answer = answer.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or_else(|| bad("no answer".to_owned()))?;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE if answer.offset >= 0 => Ok(answer.offset),
            ErrorCode::NONE => Err(bad("none".to_owned())),
            code => Err(bad(code.to_string())),
        }
    }
}

fn backoff(failures: u32, max: Duration) -> Duration {
    BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failures.min(10))).min(max.max(BACKOFF_MIN))
}
