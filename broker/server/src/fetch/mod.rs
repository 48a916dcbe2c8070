//! Fetch: from memory at once when it can be, else in a future that reads the disk or waits for records
//! (`KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`, KIP-74, KIP-227, KIP-320, KIP-516).

mod nearest;
mod read;
mod session;

pub(crate) use read::{ReadPartition, check_epoch};
pub(crate) use session::{SessionCache, Told};

use crate::hints::{Named, endpoints, leader_of};
use crate::reply::Reply;
use crate::shared::{Client, Shared};
use burnin_runtime::{Instant, Runtime};
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::kafka::messages::fetch_request::FetchRequest;
use burnin_wire::kafka::messages::fetch_response::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use burnin_wire::{ErrorCode, Parts, RequestHeader, encode_fetch_response};
use bytes::Bytes;
use nearest::Nearest;
use read::{Limits, Source, Target};
use session::{Context, News, PartitionKey, SessionError, TopicKey, Wanted};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

/// A fetch response with the batches that go into it, uncopied.
pub(crate) struct FetchAnswer {
    response: FetchResponse,
    batches: Vec<Vec<Bytes>>,
}

impl FetchAnswer {
    /// The frame.
    pub(crate) fn encode(&self, header: &RequestHeader) -> Parts {
        encode_fetch_response(header, &self.response, &self.batches)
    }

    /// Of at most one partition.
    pub(crate) fn whole(response: FetchResponse, batches: Vec<Bytes>) -> FetchAnswer {
        let batches = if response.responses.is_empty() { Vec::new() } else { vec![batches] };
        FetchAnswer { response, batches }
    }

    /// Nothing but an error.
    pub(crate) fn error(code: ErrorCode) -> FetchAnswer {
        let response = FetchResponse::default().with_error_code(code.code());
        FetchAnswer { response, batches: Vec::new() }
    }
}

/// A fetch on its way.
struct Fetch<R: Runtime> {
    shared: Arc<Shared<R>>,
    client: Client,
    version: i16,
    context: SessionContext,
    nearest: Option<Nearest>,
    targets: Vec<Target<R>>,
    limits: Limits,
    bytes_min: usize,
    read_committed: bool,
}

/// What has to be done about the session when the answer is known.
enum SessionContext {
    None,
    Create,
    Update { session_id: i32, epoch: i32 },
}

/// Handles a fetch request.
pub(crate) fn handle<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    header: &RequestHeader,
    request: FetchRequest,
) -> Reply<R> {
    let (version, epoch) = (header.version, request.session_epoch);
    let replica = if version >= 15 { request.replica_state.replica_id.0 } else { request.replica_id.0 };
    if replica >= 0 {
        return crate::replica::serve_follower(shared, header, request);
    }
    let uses_ids = version >= 13;
    let now = shared.runtime.now();
    let nearest = Nearest::of(shared, client, &request.rack_id);
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let bytes_max = (request.max_bytes.max(0) as usize).min(shared.config.fetch_max_bytes);
    let bytes_min = (request.min_bytes.max(0) as usize).min(bytes_max);
    let read_committed = request.isolation_level == 1;
    let context = {
        let wanted = request.topics.iter().flat_map(|topic| {
            let key = topic_key(uses_ids, &topic.topic_id, &topic.topic.0);
            topic.partitions.iter().map(move |partition| {
                let wanted = Wanted {
                    offset: partition.fetch_offset,
                    bytes_max: partition.partition_max_bytes,
                    current_leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                };
                ((key.clone(), partition.partition), wanted)
            })
        });
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
            let key = topic_key(uses_ids, &topic.topic_id, &topic.topic.0);
            topic.partitions.iter().map(move |partition| (key.clone(), *partition))
        });
        // A full request serves what it names; only an incremental one needs the session's list.
        let is_incremental = epoch > 0;
        let mut sessions = shared.sessions.lock();
        let named: Vec<_> = if is_incremental { Vec::new() } else { wanted.clone().collect() };
        sessions
            .begin(now, request.session_id, epoch, uses_ids, wanted.filter(|_| is_incremental), forgotten)
            .map(|context| (context, named))
    };
    let named = |named: Vec<_>| named.into_iter().map(|(key, wanted)| (key, wanted, Told::NOTHING)).collect();
    let (context, partitions) = match context {
        Ok((Context::Sessionless, all)) => (SessionContext::None, named(all)),
        Ok((Context::Full, all)) => (SessionContext::Create, named(all)),
        Ok((Context::Incremental { session_id, partitions }, _)) => {
            (SessionContext::Update { session_id, epoch }, partitions)
        }
        Err(error) => return Reply::Fetched(FetchAnswer::error(session_error(error))),
    };
    let targets = Target::resolve(shared, partitions);
    let limits = Limits { bytes_max };
    let (shared, client) = (shared.clone(), *client);
    let fetch =
        Fetch { shared, client, version, context, nearest, targets, limits, bytes_min, read_committed };
    match read::read_hot(&fetch.targets, fetch.limits, fetch.source()) {
        Some(reads) if wait.is_zero() || fetch.is_satisfied(&reads) => Reply::Fetched(fetch.answer(reads)),
        _ => Reply::Fetching(Box::pin(fetch.wait(now + wait))),
    }
}

fn topic_key(uses_ids: bool, id: &uuid::Uuid, name: &burnin_wire::StrBytes) -> TopicKey {
    if uses_ids { TopicKey::Id(*id) } else { TopicKey::Name(name.clone()) }
}

fn session_error(error: SessionError) -> ErrorCode {
    match error {
        SessionError::NotFound => ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        SessionError::InvalidEpoch => ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        SessionError::TopicIds => ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    }
}

impl<R: Runtime> Fetch<R> {
    fn source(&self) -> Source<'_> {
        Source { followers_serve: self.version >= 11, nearest: self.nearest.as_ref() }
    }

    /// Whether the client should not wait any longer: enough bytes, nothing to wait for, or news that it must
    /// learn at once.
    fn is_satisfied(&self, reads: &[ReadPartition]) -> bool {
        let bytes: usize = reads.iter().map(ReadPartition::bytes).sum();
        bytes >= self.bytes_min || reads.is_empty() || reads.iter().any(ReadPartition::is_notable)
    }

    /// Reads until the client is satisfied or the deadline has come.
    async fn wait(self, deadline: Instant) -> FetchAnswer {
        let notify = Arc::new(Notify::new());
        let partitions = self.targets.iter().filter_map(|target| target.partition());
        let watches: Vec<_> = partitions.map(|partition| partition.watch(&notify)).collect();
        let mut timer = self.shared.runtime.sleep_until(deadline);
        loop {
            // What happened between the first try and the watches is seen by trying memory once more.
            let reads = match read::read_hot(&self.targets, self.limits, self.source()) {
                Some(reads) => reads,
                None => read::read_cold(&self.targets, self.limits, self.source()).await,
            };
            let expired = self.shared.runtime.now() >= deadline;
            if self.is_satisfied(&reads) || expired {
                drop(watches);
                return self.answer(reads);
            }
            let mut notified = pin!(notify.notified());
            poll_fn(|cx| match notified.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => Pin::new(&mut timer).poll(cx),
            })
            .await;
        }
    }

    fn answer(self, reads: Vec<ReadPartition>) -> FetchAnswer {
        let mut response = FetchResponse::default();
        let mut told: Vec<(PartitionKey, Wanted, Told)> = Vec::new();
        let mut sessions = self.shared.sessions.lock();
        if let SessionContext::Update { session_id, epoch } = self.context {
            if !sessions.is_current(session_id, epoch) {
                return FetchAnswer::error(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
            }
            response.session_id = session_id;
        }
        // While it is there and its epoch is the request's, nobody has told it anything since the request came.
        let knows =
            matches!(self.context, SessionContext::Update { session_id, .. } if sessions.knows(session_id));
        let (mut batches, mut leaders) = (Vec::new(), Vec::new());
        for (target, read) in self.targets.into_iter().zip(reads) {
            let told_now =
                Told { high_watermark: read.high_watermark, log_start_offset: read.log_start_offset };
            let news = News { told: told_now, has_records: read.bytes() > 0, is_notable: read.is_notable() };
            match self.context {
                SessionContext::Update { .. } if knows && !news.is_new_to(target.told) => continue,
                SessionContext::Update { session_id, .. }
                    if !sessions.must_tell(session_id, &target.key, news) =>
                {
                    continue;
                }
                SessionContext::Create => told.push((target.key.clone(), target.wanted, told_now)),
                _ => {}
            }
            let mut data = partition_data(target.key.1, &read, self.version, self.read_committed);
            let is_elsewhere =
                [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH].contains(&read.error);
            if is_elsewhere && self.version >= 16 {
                let named = match &target.key.0 {
                    TopicKey::Id(id) => Named::Id(id),
                    TopicKey::Name(name) => Named::Name(name),
                };
                if let Some((id, epoch)) = leader_of(&self.shared, named, target.key.1) {
                    data.current_leader =
                        LeaderIdAndEpoch::default().with_leader_id(BrokerId(id)).with_leader_epoch(epoch);
                    leaders.push(id);
                }
            }
            push(&mut response, target.key.0, data);
            batches.push(read.batches);
        }
        if let SessionContext::Create = self.context {
            let mut entropy = self.shared.entropy.lock();
            let now = self.shared.runtime.now();
            response.session_id = sessions.create(now, self.version >= 13, told, || entropy.u64());
        }
        drop(sessions);
        if !leaders.is_empty() {
            let endpoints = endpoints(&self.shared, &self.client, &leaders).into_iter().map(|endpoint| {
                NodeEndpoint::default()
                    .with_node_id(BrokerId(endpoint.id))
                    .with_host(endpoint.host)
                    .with_port(endpoint.port)
                    .with_rack(endpoint.rack)
            });
            response.node_endpoints = endpoints.collect();
        }
        FetchAnswer { response, batches }
    }
}

/// The answer to a follower, whose topics go by id.
pub(crate) fn answer_of(
    version: i16,
    session_id: i32,
    reads: Vec<((uuid::Uuid, i32), ReadPartition)>,
) -> FetchAnswer {
    let mut response = FetchResponse::default().with_session_id(session_id);
    let mut batches = Vec::with_capacity(reads.len());
    for ((id, number), read) in reads {
        push(&mut response, TopicKey::Id(id), partition_data(number, &read, version, false));
        batches.push(read.batches);
    }
    FetchAnswer { response, batches }
}

/// Adds a partition to the response, under its topic when that is the last one.
fn push(response: &mut FetchResponse, topic: TopicKey, data: PartitionData) {
    let same = response.responses.last().is_some_and(|last| match &topic {
        TopicKey::Id(id) => last.topic_id == *id,
        TopicKey::Name(name) => last.topic.0 == *name,
    });
    if !same {
        let mut entry = FetchableTopicResponse::default();
        match topic {
            TopicKey::Id(id) => entry.topic_id = id,
            TopicKey::Name(name) => entry.topic = name.into(),
        }
        response.responses.push(entry);
    }
    let last = response.responses.last_mut().expect("a topic was pushed");
    last.partitions.push(data);
}

fn partition_data(number: i32, read: &ReadPartition, version: i16, read_committed: bool) -> PartitionData {
    let mut data = PartitionData::default();
    data.partition_index = number;
    // Consumers before version 6 do not know the storage error (`maybeDownConvertStorageError`).
    let code = match read.error {
        ErrorCode::KAFKA_STORAGE_ERROR if version <= 5 => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        code => code,
    };
    data.error_code = code.code();
    data.high_watermark = read.high_watermark;
    data.last_stable_offset = read.high_watermark;
    if version >= 5 {
        data.log_start_offset = read.log_start_offset;
    }
    if read_committed {
        data.aborted_transactions = Some(Vec::new());
    } else {
        data.aborted_transactions = None;
    }
    if version >= 11
        && let Some(id) = read.preferred
    {
        data.preferred_read_replica = BrokerId(id);
    }
    if let Some((epoch, end_offset)) = read.diverging
        && version >= 12
    {
        data.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
    }
    data
}
