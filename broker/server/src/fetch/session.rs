//! Incremental fetch sessions (KIP-227; `FetchSession.scala`): a consumer that fetches the same partitions again
//! and again names only what changed, and is told only what changed. Pure: no clock but the one passed in.
//!
//! It is always legal to answer with session id 0 ("no session"); that is what a full cache does.

use burnin_runtime::Instant;
use burnin_wire::StrBytes;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How a request names a topic: by id from version 13 on, by name before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    /// Versions 13 and later.
    Id(Uuid),
    /// Versions up to 12.
    Name(StrBytes),
}

/// A partition as a fetch request names it.
pub type PartitionKey = (TopicKey, i32);

/// What a fetch request wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From which offset.
    pub offset: i64,
    /// At most how many bytes.
    pub bytes_max: i32,
    /// The leader epoch that the client believes in; -1 when it does not say.
    pub current_leader_epoch: i32,
    /// The epoch of the last record that the client has; -1 when it does not say.
    pub last_fetched_epoch: i32,
}

/// What the last response said of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The high watermark.
    pub high_watermark: i64,
    /// The log start.
    pub log_start_offset: i64,
}

impl Told {
    /// Before the first response.
    pub const NOTHING: Told = Told { high_watermark: -1, log_start_offset: -1 };
}

/// What a response would say of a partition, as far as sessions care.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// The watermarks.
    pub told: Told,
    /// Whether there are records.
    pub has_records: bool,
    /// Whether there is an error, or a diverging epoch.
    pub is_notable: bool,
}

impl News {
    /// Whether a session that was told `before` must hear of it.
    pub fn is_new_to(&self, before: Told) -> bool {
        self.has_records || self.is_notable || before != self.told
    }
}

/// Why a request does not fit the session that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// `FETCH_SESSION_ID_NOT_FOUND`.
    NotFound,
    /// `INVALID_FETCH_SESSION_EPOCH`.
    InvalidEpoch,
    /// `FETCH_SESSION_TOPIC_ID_ERROR`: names and ids were mixed.
    TopicIds,
}

/// What a request is within its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// No session, and none wanted: answer with session id 0.
    Sessionless,
    /// A full request that wants a session.
    Full,
    /// An incremental request of this session, with all of the session's partitions.
    Incremental {
        /// Its id.
        session_id: i32,
        /// The session's partitions in the order in which they are to be served, each with what was told of it.
        partitions: Vec<(PartitionKey, Wanted, Told)>,
    },
}

#[derive(Debug)]
struct Cached {
    key: PartitionKey,
    wanted: Wanted,
    told: Told,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_ids: bool,
    last_used: Instant,
    /// By turn: a partition that gave records goes to the end, so that others come first next time.
    order: BTreeMap<u64, Cached>,
    turns: BTreeMap<PartitionKey, u64>,
    next_turn: u64,
}

impl Session {
    fn put(&mut self, key: PartitionKey, wanted: Wanted, told: Told) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(key.clone(), turn);
        self.order.insert(turn, Cached { key, wanted, told });
    }

    fn remove(&mut self, key: &PartitionKey) -> Option<Cached> {
        self.turns.remove(key).and_then(|turn| self.order.remove(&turn))
    }

    fn update(&mut self, key: PartitionKey, wanted: Wanted) {
        match self.turns.get(&key).and_then(|turn| self.order.get_mut(turn)) {
            Some(cached) => cached.wanted = wanted,
            None => self.put(key, wanted, Told::NOTHING),
        }
    }
}

/// The sessions of a broker.
#[derive(Debug)]
pub struct SessionCache {
    slots: usize,
    sessions: BTreeMap<i32, Session>,
}

/// A session that was not used for so long may be evicted for a new one
/// (`min.incremental.fetch.session.eviction.ms` of Kafka, which is not configurable either).
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that ends a session.
const FINAL_EPOCH: i32 = -1;

/// Epochs run from 1 to the largest number and around to 1 (`FetchMetadata.nextEpoch`).
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl SessionCache {
    /// A cache for at most `slots` sessions.
    pub fn new(slots: usize) -> SessionCache {
        SessionCache { slots, sessions: BTreeMap::new() }
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes a request in: finds its session, checks the epoch, and updates the session's partitions.
    pub fn begin(
        &mut self,
        now: Instant,
        session_id: i32,
        epoch: i32,
        uses_ids: bool,
        wanted: impl IntoIterator<Item = (PartitionKey, Wanted)>,
        forgotten: impl IntoIterator<Item = PartitionKey>,
    ) -> Result<Context, SessionError> {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            self.sessions.remove(&session_id);
            return Ok(if epoch == FINAL_EPOCH { Context::Sessionless } else { Context::Full });
        }
        let session = self.sessions.get_mut(&session_id).ok_or(SessionError::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.uses_ids != uses_ids {
            return Err(SessionError::TopicIds);
        }
        for (key, wanted) in wanted {
            session.update(key, wanted);
        }
        for key in forgotten {
            session.remove(&key);
        }
        if session.order.is_empty() {
            self.sessions.remove(&session_id);
            return Ok(Context::Sessionless);
        }
        session.epoch = next_epoch(session.epoch);
        session.last_used = now;
        let cached = session.order.values();
        let partitions = cached.map(|cached| (cached.key.clone(), cached.wanted, cached.told)).collect();
        Ok(Context::Incremental { session_id, partitions })
    }

    /// Makes a session after a full request was answered with `partitions`. Gives its id, or 0 when the cache is
    /// full. `draw` gives random numbers.
    pub fn create(
        &mut self,
        now: Instant,
        uses_ids: bool,
        partitions: impl IntoIterator<Item = (PartitionKey, Wanted, Told)>,
        mut draw: impl FnMut() -> u64,
    ) -> i32 {
        if !self.make_room(now) {
            return 0;
        }
        let id = loop {
            let id = (draw() % (i32::MAX as u64 - 1)) as i32 + 1;
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_ids,
            last_used: now,
            order: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
        };
        for (key, wanted, told) in partitions {
            session.remove(&key);
            session.put(key, wanted, told);
        }
        if session.order.is_empty() {
            return 0;
        }
        self.sessions.insert(id, session);
        id
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(id, session)| (session.last_used, **id));
        match oldest {
            Some((id, session)) if now.since(session.last_used) > EVICTION_AGE => {
                let id = *id;
                self.sessions.remove(&id);
                true
            }
            _ => false,
        }
    }

    /// Whether the response to the incremental request of `epoch` must mention the partition, and remembers what
    /// it says. A session that has moved on meanwhile mentions everything.
    pub fn must_tell(&mut self, session_id: i32, key: &PartitionKey, news: News) -> bool {
        let Some(session) = self.sessions.get_mut(&session_id) else { return true };
        let Some(turn) = session.turns.get(key).copied() else { return true };
        let cached = session.order.get_mut(&turn).expect("turns and order agree");
        let must = news.is_new_to(cached.told);
        cached.told = news.told;
        if news.is_notable {
            // After an error the next response tells the watermark again.
            cached.told.high_watermark = -1;
        }
        if news.has_records {
            let cached = session.remove(key).expect("it was just found");
            session.put(cached.key, cached.wanted, cached.told);
        }
        must
    }

    /// Whether there is such a session.
    pub fn knows(&self, session_id: i32) -> bool {
        self.sessions.contains_key(&session_id)
    }

    /// Whether the session is still where the request of `epoch` left it; if not, the request was a duplicate and
    /// is answered with `INVALID_FETCH_SESSION_EPOCH`.
    pub fn is_current(&self, session_id: i32, epoch: i32) -> bool {
        self.sessions.get(&session_id).is_none_or(|session| session.epoch == next_epoch(epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> PartitionKey {
        (TopicKey::Name(StrBytes::from_static_str("t")), partition)
    }

    fn wanted(offset: i64) -> Wanted {
        Wanted { offset, bytes_max: 1, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn told(high_watermark: i64) -> Told {
        Told { high_watermark, log_start_offset: 0 }
    }

    fn news(high_watermark: i64, has_records: bool) -> News {
        News { told: told(high_watermark), has_records, is_notable: false }
    }

    fn cache_with_session(partitions: i32) -> (SessionCache, i32) {
        let mut cache = SessionCache::new(2);
        let all = (0..partitions).map(|p| (key(p), wanted(0), told(5)));
        let id = cache.create(Instant::ZERO, false, all, || 6);
        (cache, id)
    }

    #[test]
    fn incremental_requests_carry_all_partitions_and_responses_only_what_changed() {
        let (mut cache, id) = cache_with_session(2);
        assert_eq!(id, 7);
        let update = [(key(1), wanted(9)), (key(2), wanted(1))];
        let context = cache.begin(Instant::ZERO, id, 1, false, update, [key(0)]).unwrap();
        let partitions = vec![(key(1), wanted(9), told(5)), (key(2), wanted(1), Told::NOTHING)];
        assert_eq!(context, Context::Incremental { session_id: id, partitions });
        assert!(!cache.must_tell(id, &key(1), news(5, false)), "nothing new");
        assert!(cache.must_tell(id, &key(2), news(5, false)), "never told before");
        assert!(cache.must_tell(id, &key(1), news(6, false)), "the high watermark moved");
        assert!(!cache.must_tell(id, &key(1), news(6, false)));
        let error = News { is_notable: true, ..news(6, false) };
        assert!(cache.must_tell(id, &key(1), error));
        assert!(cache.must_tell(id, &key(1), news(6, false)), "told again after an error");
    }

    #[test]
    fn partitions_with_records_go_to_the_end() {
        let (mut cache, id) = cache_with_session(3);
        assert!(cache.must_tell(id, &key(0), news(5, true)));
        let Context::Incremental { partitions, .. } =
            cache.begin(Instant::ZERO, id, 1, false, [], []).unwrap()
        else {
            panic!("not incremental");
        };
        let order: Vec<i32> = partitions.iter().map(|((_, partition), ..)| *partition).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn wrong_ids_epochs_and_kinds_are_refused() {
        let (mut cache, id) = cache_with_session(1);
        let mut begin = |id, epoch, ids| cache.begin(Instant::ZERO, id, epoch, ids, [], []);
        assert_eq!(begin(99, 1, false), Err(SessionError::NotFound));
        assert_eq!(begin(id, 2, false), Err(SessionError::InvalidEpoch));
        assert_eq!(begin(id, 1, true), Err(SessionError::TopicIds));
        assert!(begin(id, 1, false).is_ok());
        assert_eq!(begin(id, 1, false), Err(SessionError::InvalidEpoch), "the same request again");
        assert_eq!(begin(id, -1, false), Ok(Context::Sessionless));
        assert_eq!(begin(id, 2, false), Err(SessionError::NotFound), "it was ended");
    }

    #[test]
    fn a_session_without_partitions_ends_and_epochs_wrap() {
        let (mut cache, id) = cache_with_session(1);
        assert_eq!(cache.begin(Instant::ZERO, id, 1, false, [], [key(0)]), Ok(Context::Sessionless));
        assert!(cache.is_empty());
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn a_full_cache_evicts_only_sessions_that_are_long_unused() {
        let mut cache = SessionCache::new(1);
        let mut draws = 1..;
        let mut create = |cache: &mut SessionCache, now| {
            cache.create(now, false, [(key(0), wanted(0), told(0))], || draws.next().unwrap())
        };
        assert_ne!(create(&mut cache, Instant::ZERO), 0);
        assert_eq!(create(&mut cache, Instant::ZERO + EVICTION_AGE), 0);
        assert_ne!(create(&mut cache, Instant::ZERO + EVICTION_AGE + Duration::from_nanos(1)), 0);
        assert_eq!(cache.len(), 1);
    }
}
