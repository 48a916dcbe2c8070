//! Follower fetches, on the leader: a session per fetcher, which takes positions in and tells what is new.
//!
//! An incremental request names the partitions whose position has changed, and only those are looked at; the rest of
//! the session hears of appends through its [`Feed`]. A long poll of a thousand idle partitions therefore costs as
//! much as one of a single partition.

use super::feed::Feed;
use super::hub::Key;
use super::leading::{Claim, Position};
use super::partition::Partition;
use crate::fetch::{FetchAnswer, ReadPartition, Told, answer_of};
use crate::reply::Reply;
use crate::shared::Shared;
use burnin_core::partition::{Eligibility, FollowerFetch};
use burnin_log::{ReadError, ReadResult};
use burnin_runtime::{Instant, Runtime};
use burnin_wire::kafka::messages::fetch_request::FetchRequest;
use burnin_wire::{ErrorCode, RequestHeader};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::ops::Bound;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The first version that names topics by id: followers of this protocol age use no other.
const VERSION_MIN: i16 = 13;
/// How many sessions there may be; each fetcher of each follower has one.
const SESSIONS_MAX: usize = 1000;

const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// The sessions of followers.
pub(crate) struct FollowerSessions<R: Runtime> {
    by_id: Mutex<BTreeMap<i32, Arc<Session<R>>>>,
}

impl<R: Runtime> Default for FollowerSessions<R> {
    fn default() -> Self {
        FollowerSessions { by_id: Mutex::default() }
    }
}

struct Session<R: Runtime> {
    id: i32,
    replica: i32,
    broker_epoch: i64,
    feed: Arc<Feed>,
    state: Mutex<State<R>>,
}

struct State<R: Runtime> {
    /// The epoch of the request that comes next.
    epoch: i32,
    last_used: Instant,
    entries: BTreeMap<Key, Entry<R>>,
    /// Where the last answer ran out of room: the next one begins behind it.
    cursor: Option<Key>,
    /// What a throttle holds back: looked at again with everything else.
    held: BTreeSet<Key>,
}

struct Entry<R: Runtime> {
    partition: Option<Arc<Partition<R>>>,
    offset: i64,
    bytes_max: usize,
    leader_epoch: i32,
    standing: Result<Position, ErrorCode>,
    told: Told,
}

impl<R: Runtime> Drop for Session<R> {
    fn drop(&mut self) {
        for entry in self.state.get_mut().entries.values() {
            if let Some(partition) = &entry.partition {
                partition.unsubscribe(&self.feed);
            }
        }
    }
}

/// A fetch on its way.
struct LongPoll<R: Runtime> {
    shared: Arc<Shared<R>>,
    session: Arc<Session<R>>,
    /// What the session's epoch is while nobody has asked anew.
    epoch: i32,
    version: i16,
    bytes_max: usize,
    /// A first request is told of everything that it names.
    tells_all: bool,
}

/// Handles the fetch of a follower.
pub(crate) fn handle<R: Runtime>(
    shared: &Arc<Shared<R>>,
    header: &RequestHeader,
    request: FetchRequest,
) -> Reply<R> {
    if header.version < VERSION_MIN {
        return Reply::Fetched(FetchAnswer::error(ErrorCode::UNSUPPORTED_VERSION));
    }
    let now = shared.runtime.now();
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let (session, tells_all) = match begin(shared, header, &request) {
        Ok(begun) => begun,
        Err(code) => return Reply::Fetched(FetchAnswer::error(code)),
    };
    take_in(shared, &session, header, &request);
    let epoch = session.state.lock().epoch;
    let bytes_max = (request.max_bytes.max(0) as usize).min(shared.config.fetch_max_bytes);
    let poll =
        LongPoll { shared: shared.clone(), session, epoch, version: header.version, bytes_max, tells_all };
    match poll.look() {
        Look::Read(reads) if poll.is_satisfied(&reads) || wait.is_zero() => {
            Reply::Fetched(poll.answer(reads))
        }
        look => Reply::Fetching(Box::pin(poll.wait(look, now + wait))),
    }
}

fn replica_of(header: &RequestHeader, request: &FetchRequest) -> (i32, i64) {
    match header.version {
        15.. => (request.replica_state.replica_id.0, request.replica_state.replica_epoch),
        _ => (request.replica_id.0, -1),
    }
}

/// The session of a request, and whether it is a new one.
fn begin<R: Runtime>(
    shared: &Arc<Shared<R>>,
    header: &RequestHeader,
    request: &FetchRequest,
) -> Result<(Arc<Session<R>>, bool), ErrorCode> {
    let (replica, broker_epoch) = replica_of(header, request);
    let now = shared.runtime.now();
    let mut sessions = shared.replication.sessions.by_id.lock();
    if request.session_epoch != INITIAL_EPOCH && request.session_epoch != FINAL_EPOCH {
        let session = sessions.get(&request.session_id).filter(|session| session.replica == replica);
        let session = session.cloned().ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut state = session.state.lock();
        if state.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        state.epoch = next_epoch(state.epoch);
        state.last_used = now;
        drop(state);
        // An earlier poll of the session is of no use any more.
        session.feed.wake();
        return Ok((session, false));
    }
    sessions.remove(&request.session_id);
    // An earlier life of the follower comes back no more.
    sessions.retain(|_, session| session.replica != replica || session.broker_epoch >= broker_epoch);
    let mut id = 0;
    if request.session_epoch == INITIAL_EPOCH {
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(id, session)| (session.state.lock().last_used, **id));
            let oldest = oldest.map(|(id, _)| *id);
            oldest.and_then(|id| sessions.remove(&id));
        }
        let mut entropy = shared.entropy.lock();
        while id == 0 || sessions.contains_key(&id) {
            id = (entropy.u64() % (i32::MAX as u64 - 1)) as i32 + 1;
        }
    }
    let state = State {
        epoch: next_epoch(INITIAL_EPOCH),
        last_used: now,
        entries: BTreeMap::new(),
        cursor: None,
        held: BTreeSet::new(),
    };
    let feed = Arc::new(Feed::default());
    let session = Arc::new(Session { id, replica, broker_epoch, feed, state: Mutex::new(state) });
    if id != 0 {
        sessions.insert(id, session.clone());
    }
    Ok((session, true))
}

/// Takes in what the request says of partitions.
fn take_in<R: Runtime>(
    shared: &Arc<Shared<R>>,
    session: &Arc<Session<R>>,
    header: &RequestHeader,
    request: &FetchRequest,
) {
    let (replica, broker_epoch) = replica_of(header, request);
    let (eligibility, is_stale) = standing_of(shared, replica, broker_epoch);
    let mut state = session.state.lock();
    for topic in &request.forgotten_topics_data {
        for number in &topic.partitions {
            let entry = state.entries.remove(&(topic.topic_id, *number));
            if let Some(partition) = entry.and_then(|entry| entry.partition) {
                partition.unsubscribe(&session.feed);
            }
        }
    }
    for topic in &request.topics {
        for asked in &topic.partitions {
            let key = (topic.topic_id, asked.partition);
            let found = find(shared, &key);
            let (partition, standing) = match found {
                Err(code) => (None, Err(code)),
                Ok(partition) => {
                    let claim = Claim {
                        leader_epoch: asked.current_leader_epoch,
                        last_fetched_epoch: asked.last_fetched_epoch,
                        fetch: FollowerFetch {
                            offset: asked.fetch_offset,
                            log_start_offset: asked.log_start_offset,
                            broker_epoch,
                        },
                    };
                    // Before its position is taken in: what is appended from then on is told.
                    partition.subscribe(&session.feed);
                    let standing = match is_stale {
                        true => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                        false => partition.fetched_by(replica, claim, eligibility),
                    };
                    (Some(partition), standing)
                }
            };
            let told = state.entries.get(&key).map_or(Told::NOTHING, |entry| entry.told);
            let entry = Entry {
                partition,
                offset: asked.fetch_offset,
                bytes_max: asked.partition_max_bytes.max(0) as usize,
                leader_epoch: asked.current_leader_epoch,
                standing,
                told,
            };
            state.entries.insert(key, entry);
            session.feed.tell(key);
        }
    }
}

/// What the metadata say of a follower, and whether it fetches in the name of an earlier life (KIP-903).
fn standing_of<R: Runtime>(shared: &Shared<R>, replica: i32, broker_epoch: i64) -> (Eligibility, bool) {
    match super::isr::eligibility(&shared.image.read(), replica) {
        Some(known) => (known, broker_epoch != -1 && known.broker_epoch > broker_epoch),
        None => (Eligibility { broker_epoch: -1, fenced: true, shutting_down: false }, false),
    }
}

fn find<R: Runtime>(shared: &Shared<R>, key: &Key) -> Result<Arc<Partition<R>>, ErrorCode> {
    let served = shared.partitions.read().topic_by_id(&key.0);
    if let Some(partition) = served.and_then(|topic| topic.partition(key.1).cloned()) {
        return Ok(partition);
    }
    match shared.image.read().topic_by_id(&key.0) {
        None => Err(ErrorCode::UNKNOWN_TOPIC_ID),
        Some(topic) if topic.partitions.contains_key(&key.1) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Some(_) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

/// What there is to say of a partition.
enum Planned<R: Runtime> {
    Nothing,
    /// An error, or where the logs part.
    News(ReadPartition),
    /// Records, from here on.
    Records {
        read: ReadPartition,
        partition: Arc<Partition<R>>,
        offset: i64,
        limit: usize,
    },
}

/// What a look at the news gave.
enum Look {
    Read(Vec<(Key, ReadPartition)>),
    /// Some of it is on disk only.
    OnDisk(BTreeSet<Key>),
}

impl<R: Runtime> LongPoll<R> {
    fn is_satisfied(&self, reads: &[(Key, ReadPartition)]) -> bool {
        self.tells_all || reads.iter().any(|(_, read)| read.bytes() > 0 || read.is_notable())
    }

    fn is_current(&self) -> bool {
        self.session.state.lock().epoch == self.epoch
    }

    /// Reads what is new, from memory.
    fn look(&self) -> Look {
        let mut keys = self.session.feed.take_fresh();
        keys.append(&mut self.session.state.lock().held);
        let mut reads = Vec::new();
        let mut room = Room { bytes: self.bytes_max, empty: true };
        for key in self.in_turn(&keys) {
            match self.plan(&key, &room) {
                Planned::Nothing => {}
                Planned::News(read) => reads.push((key, read)),
                Planned::Records { read, partition, offset, limit } => {
                    if self.is_full(&key, &room) || self.is_held(&key, &partition) {
                        continue;
                    }
                    match partition.log.try_read(offset, i64::MAX, limit, room.empty) {
                        None => return Look::OnDisk(keys),
                        Some(result) => {
                            let read = room.take(read, result);
                            self.note_rest(&key, &read, &partition, offset);
                            reads.push((key, read));
                        }
                    }
                }
            }
        }
        Look::Read(reads)
    }

    /// The same, from disk where it must be.
    async fn look_on_disk(&self, keys: &BTreeSet<Key>) -> Vec<(Key, ReadPartition)> {
        let mut reads = Vec::new();
        let mut room = Room { bytes: self.bytes_max, empty: true };
        for key in self.in_turn(keys) {
            match self.plan(&key, &room) {
                Planned::Nothing => {}
                Planned::News(read) => reads.push((key, read)),
                Planned::Records { read, partition, offset, limit } => {
                    if self.is_full(&key, &room) || self.is_held(&key, &partition) {
                        continue;
                    }
                    let result = partition.log.read(offset, i64::MAX, limit, room.empty).await;
                    let read = room.take(read, result);
                    self.note_rest(&key, &read, &partition, offset);
                    reads.push((key, read));
                }
            }
        }
        reads
    }

    /// Whether there is no room left; the partition comes first next time then.
    fn is_full(&self, key: &Key, room: &Room) -> bool {
        let full = room.bytes == 0 && !room.empty;
        if full {
            self.session.feed.tell(*key);
        }
        full
    }

    /// Whether a throttle holds it back: the follower is not in sync, and more than enough was sent.
    fn is_held(&self, key: &Key, partition: &Partition<R>) -> bool {
        let sending = &self.shared.replication.sending;
        let is_held = sending.is_on()
            && partition.is_throttled_leader()
            && !partition.has_in_sync(self.session.replica)
            && sending.wait(self.shared.runtime.now()).is_some();
        if is_held {
            self.session.state.lock().held.insert(*key);
        }
        is_held
    }

    /// What did not fit at all is looked at again with the next request.
    fn note_rest(&self, key: &Key, read: &ReadPartition, partition: &Partition<R>, offset: i64) {
        if read.bytes() == 0 && !read.is_notable() && partition.log.end_offset() > offset {
            self.session.feed.tell(*key);
        }
    }

    fn in_turn(&self, keys: &BTreeSet<Key>) -> Vec<Key> {
        let Some(cursor) = self.session.state.lock().cursor else { return keys.iter().copied().collect() };
        let behind = keys.range((Bound::Excluded(cursor), Bound::Unbounded));
        behind.chain(keys.range(..=cursor)).copied().collect()
    }

    /// Everything but the records.
    fn plan(&self, key: &Key, room: &Room) -> Planned<R> {
        let mut state = self.session.state.lock();
        let Some(entry) = state.entries.get_mut(key) else { return Planned::Nothing };
        let standing = entry.standing.and_then(|position| {
            let partition = entry.partition.as_ref().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
            if !partition.is_leader() {
                return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            }
            crate::fetch::check_epoch(entry.leader_epoch, partition.leader_epoch())?;
            Ok((position, partition.clone()))
        });
        match standing {
            Err(code) => {
                entry.standing = Err(code);
                Planned::News(ReadPartition::error(code))
            }
            Ok((position, partition)) => {
                let mut read = ReadPartition::at(partition.high_watermark(), partition.log.start_offset());
                match position {
                    Position::Diverging(epoch, end) => {
                        read.diverging = Some((epoch, end));
                        Planned::News(read)
                    }
                    Position::Good => {
                        let (offset, limit) = (entry.offset, entry.bytes_max.min(room.bytes));
                        Planned::Records { read, partition, offset, limit }
                    }
                }
            }
        }
    }

    /// Waits until there is something to tell or the deadline has come.
    async fn wait(self, first: Look, deadline: Instant) -> FetchAnswer {
        let mut timer = self.shared.runtime.sleep_until(deadline);
        let mut look = first;
        loop {
            let reads = match look {
                Look::Read(reads) => reads,
                Look::OnDisk(keys) => self.look_on_disk(&keys).await,
            };
            let expired = self.shared.runtime.now() >= deadline;
            if expired || !self.is_current() || self.is_satisfied(&reads) {
                return self.answer(reads);
            }
            for (key, _) in reads {
                // Only a watermark may have moved.
                self.session.feed.tell_quietly(key);
            }
            {
                let mut news = pin!(self.session.feed.news());
                poll_fn(|cx| match news.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(()),
                    Poll::Pending => Pin::new(&mut timer).poll(cx),
                })
                .await;
            }
            look = self.look();
        }
    }

    fn answer(self, mut reads: Vec<(Key, ReadPartition)>) -> FetchAnswer {
        if !self.is_current() {
            reads.iter().for_each(|(key, _)| self.session.feed.tell(*key));
            return FetchAnswer::error(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        let told: BTreeSet<Key> = reads.iter().map(|(key, _)| *key).collect();
        for key in self.session.feed.take_quiet().difference(&told) {
            match self.plan(key, &Room { bytes: 0, empty: false }) {
                Planned::Nothing => {}
                Planned::News(read) | Planned::Records { read, .. } => reads.push((*key, read)),
            }
        }
        let mut state = self.session.state.lock();
        reads.retain(|(key, read)| {
            let Some(entry) = state.entries.get_mut(key) else { return false };
            let news = Told { high_watermark: read.high_watermark, log_start_offset: read.log_start_offset };
            let before = std::mem::replace(&mut entry.told, news);
            self.tells_all || read.bytes() > 0 || read.is_notable() || before != news
        });
        if let Some((key, _)) = reads.iter().rev().find(|(_, read)| read.bytes() > 0) {
            state.cursor = Some(*key);
        }
        let sending = &self.shared.replication.sending;
        if sending.is_on() {
            let is_throttled = |key: &Key| {
                let entry = state.entries.get(key).and_then(|entry| entry.partition.as_ref());
                entry.is_some_and(|partition| partition.is_throttled_leader())
            };
            let sent = reads.iter().filter(|(key, _)| is_throttled(key)).map(|(_, read)| read.bytes() as u64);
            match sent.sum() {
                0 => {}
                bytes => sending.note(self.shared.runtime.now(), bytes),
            }
        }
        drop(state);
        answer_of(self.version, self.session.id, reads)
    }
}

/// How many bytes an answer may still hold, and whether it holds any.
struct Room {
    bytes: usize,
    empty: bool,
}

impl Room {
    fn take(&mut self, mut read: ReadPartition, result: Result<ReadResult, ReadError>) -> ReadPartition {
        match result {
            Ok(result) => {
                let bytes = result.bytes();
                self.bytes = self.bytes.saturating_sub(bytes);
                self.empty &= bytes == 0;
                read.batches = result.batches;
                read
            }
            Err(error) => ReadPartition::error(ErrorCode(error.kafka_code())),
        }
    }
}
