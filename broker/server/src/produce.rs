//! Produce: validate, append, wait until durable, answer (`KafkaApis.handleProduceRequest`, `ReplicaManager`).
//!
//! The append happens when the request is handled, so requests of one connection are appended in their order.
//! The answer waits until every appended batch is durable in its log's flush mode, because an acknowledgement
//! promises that here; with acks=all it waits until the batch is committed, which is that on every replica in sync.
//! When `timeout_ms` passes first the answer is REQUEST_TIMED_OUT: the records may still become durable.

use crate::hints::{Named, endpoints, leader_of, not_here};
use crate::recompress::recompressed;
use crate::replica::{Committed, Duty, Partition, Refused, Verdict};
use crate::reply::{Later, Reply};
use crate::shared::{Client, Shared};
use burnin_core::config::{CleanupPolicy, StoredCompression, TimestampType, TopicSettings};
use burnin_log::{AppendError, Appended, LogError};
use burnin_runtime::{Instant, Mutant, Observation, Runtime};
use burnin_wire::batch::{self, ProduceError, ProduceLimits, validate_produce};
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::kafka::messages::produce_request::ProduceRequest;
use burnin_wire::kafka::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use burnin_wire::{ErrorCode, RequestHeader, Response, StrBytes};
use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a partition was refused.
struct Refusal {
    code: ErrorCode,
    message: String,
    record_index: Option<i32>,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), record_index: None }
    }
}

impl From<ProduceError> for Refusal {
    fn from(error: ProduceError) -> Refusal {
        Refusal { code: error.code, message: error.message, record_index: error.record_index }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Refusal {
        Refusal::new(ErrorCode(error.kafka_code()), error.to_string())
    }
}

const NOT_LEADER: &str = "This broker does not lead the partition.";

/// An appended batch whose acknowledgement is awaited, and where its answer goes.
struct Awaited<R: Runtime> {
    topic: usize,
    index: usize,
    partition: Arc<Partition<R>>,
    /// In which it was appended.
    leader_epoch: i32,
    base_offset: i64,
    last_offset: i64,
}

/// What the first of the awaited batches waits for.
enum Waiting {
    Durable(Later<Result<(), LogError>>),
    Committed(oneshot::Receiver<Verdict>),
}

/// A produce request between append and answer.
pub(crate) struct ProduceWait<R: Runtime> {
    response: ProduceResponse,
    client: Client,
    version: i16,
    acks: i16,
    awaited: Vec<Awaited<R>>,
    settled: usize,
    current: Option<Waiting>,
    deadline: Instant,
}

/// Handles a produce request.
pub(crate) fn handle<R: Runtime>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    header: &RequestHeader,
    request: ProduceRequest,
) -> Reply<R> {
    let (version, acks) = (header.version, request.acks);
    let now = shared.runtime.now();
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let mut wait = ProduceWait {
        response: ProduceResponse::default(),
        client: *client,
        version,
        acks,
        awaited: Vec::with_capacity(request.topic_data.len()),
        settled: 0,
        current: None,
        deadline: now + timeout,
    };
    let transactional = request.transactional_id.is_some();
    let mut failure = None;
    wait.response.responses.reserve_exact(request.topic_data.len());
    for topic in request.topic_data {
        let entry = shared.partitions.read().topic(&topic.name.0);
        // The table's own copy of the name: that of the request holds the memory of the whole frame.
        let name = entry.as_ref().map_or(topic.name.0, |entry| entry.name.clone());
        let mut answers = TopicProduceResponse::default().with_name(name.into());
        answers.partition_responses.reserve_exact(topic.partition_data.len());
        for data in topic.partition_data {
            let partition = entry.as_ref().and_then(|entry| entry.partition(data.index)).cloned();
            let attempt = Attempt { shared, version, acks, transactional };
            let answer = PartitionProduceResponse::default().with_index(data.index);
            let partition = partition.ok_or_else(|| attempt.missing(&answers.name.0, data.index));
            let appended = partition.and_then(|partition| {
                let (appended, leader_epoch) =
                    attempt.append(&partition, data.records.unwrap_or_default())?;
                Ok((partition, appended, leader_epoch))
            });
            let answer = match appended {
                Ok((partition, appended, leader_epoch)) => {
                    let mut answer = granted(answer, &appended, version);
                    // the planted bug acknowledges what it did not append
                    if appended.duplicate && shared.runtime.mutants().on(Mutant::A03) {
                        answer.base_offset = partition.log.end_offset();
                    }
                    wait.awaited.push(Awaited {
                        topic: wait.response.responses.len(),
                        index: answers.partition_responses.len(),
                        partition,
                        leader_epoch,
                        base_offset: appended.base_offset,
                        last_offset: appended.last_offset,
                    });
                    answer
                }
                Err(refusal) => {
                    let text = || format!("{}-{}: {}", answers.name.0, data.index, refusal.message);
                    failure.get_or_insert_with(text);
                    refused(answer, refusal, version)
                }
            };
            answers.partition_responses.push(answer);
        }
        wait.response.responses.push(answers);
    }
    match (acks, failure) {
        // Without a response an error can only be told by closing the connection.
        (0, Some(failure)) => Reply::Close(format!("error of a produce request with acks=0: {failure}")),
        (0, None) => Reply::Nothing,
        _ => Reply::Produced(wait),
    }
}

struct Attempt<'a, R: Runtime> {
    shared: &'a Arc<Shared<R>>,
    version: i16,
    acks: i16,
    transactional: bool,
}

impl<R: Runtime> Attempt<'_, R> {
    /// Of a partition that is not here.
    fn missing(&self, topic: &str, number: i32) -> Refusal {
        if let Some(refusal) = self.wrong_acks() {
            return refusal;
        }
        let message = "This server does not host this topic-partition.";
        Refusal::new(not_here(self.shared, Named::Name(topic), number), message)
    }

    fn wrong_acks(&self) -> Option<Refusal> {
        let wrong = !(-1..=1).contains(&self.acks);
        wrong.then(|| {
            let message = format!("acks is {} (known: -1, 0, 1)", self.acks);
            Refusal::new(ErrorCode::INVALID_REQUIRED_ACKS, message)
        })
    }

    fn append(&self, partition: &Partition<R>, records: Bytes) -> Result<(Appended, i32), Refusal> {
        if let Some(refusal) = self.wrong_acks() {
            return Err(refusal);
        }
        if !partition.is_leader() {
            return Err(Refusal::new(ErrorCode::NOT_LEADER_OR_FOLLOWER, NOT_LEADER));
        }
        let settings = partition.topic.settings();
        let batch = self.validated(&settings, records)?;
        partition.append(batch, self.acks).map_err(|refused| match refused {
            Refused::Append(error) => error.into(),
            Refused::NotLeader => Refusal::new(ErrorCode::NOT_LEADER_OR_FOLLOWER, NOT_LEADER),
            Refused::NotEnoughReplicas { in_sync, min } => {
                let message = format!(
                    "The size of the current ISR ({in_sync}) is insufficient to satisfy the min.isr requirement of \
                     {min} for partition {}",
                    partition.name
                );
                Refusal::new(ErrorCode::NOT_ENOUGH_REPLICAS, message)
            }
        })
    }

    /// The one batch of the partition, checked and as it is to be stored.
    fn validated(&self, settings: &TopicSettings, records: Bytes) -> Result<BytesMut, Refusal> {
        let limits = ProduceLimits {
            request_version: self.version,
            max_message_bytes: settings.max_message_bytes,
            timestamp_type: match settings.timestamp_type {
                TimestampType::CreateTime => batch::TimestampType::CreateTime,
                TimestampType::LogAppendTime => batch::TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: settings.timestamp_before_max_ms,
            timestamp_after_max_ms: settings.timestamp_after_max_ms,
            now_ms: self.shared.runtime.wall_ms(),
            compacted: settings.cleanup_policy != CleanupPolicy::Delete,
            ..ProduceLimits::default()
        };
        let valid = validate_produce(&records, &limits)?;
        if self.transactional || valid.header.is_transactional() {
            let message = "transactions are not supported yet";
            return Err(Refusal::new(ErrorCode::INVALID_TXN_STATE, message));
        }
        if let StoredCompression::Codec(codec) = &settings.compression
            && let Some(batch) = recompressed(&records, &valid.header, codec)
                .map_err(|message| Refusal::new(ErrorCode::INVALID_RECORD, message))?
        {
            return Ok(batch);
        }
        // Uncopied when the frame has memory of its own.
        let mut batch = records.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        if valid.max_timestamp != valid.header.max_timestamp {
            batch::set_max_timestamp(&mut batch, valid.max_timestamp);
        }
        Ok(batch)
    }
}

fn granted(
    mut answer: PartitionProduceResponse,
    appended: &Appended,
    version: i16,
) -> PartitionProduceResponse {
    answer.base_offset = appended.base_offset;
    answer.log_append_time_ms = appended.log_append_time;
    if version >= 5 {
        answer.log_start_offset = appended.log_start_offset;
    }
    answer
}

fn refused(mut answer: PartitionProduceResponse, refusal: Refusal, version: i16) -> PartitionProduceResponse {
    answer.error_code = refusal.code.code();
    answer.base_offset = -1;
    answer.log_append_time_ms = -1;
    if version >= 8 {
        let message = StrBytes::from_string(refusal.message);
        if let Some(index) = refusal.record_index {
            let record = BatchIndexAndErrorMessage::default()
                .with_batch_index(index)
                .with_batch_index_error_message(Some(message.clone()));
            answer.record_errors.push(record);
        }
        answer.error_message = Some(message);
    }
    answer
}

impl<R: Runtime> ProduceWait<R> {
    /// When the client no longer waits.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The response, when everything is acknowledged, has failed, or the deadline has passed.
    pub(crate) fn poll(&mut self, shared: &Shared<R>, cx: &mut Context<'_>) -> Poll<Response> {
        while self.settled < self.awaited.len() {
            match self.poll_first(cx) {
                Poll::Ready(result) => {
                    self.current = None;
                    self.settle(shared, result);
                }
                Poll::Pending => {
                    if let Err(error) = shared.logs.check_online() {
                        let refusal = self.awaited[self.settled].lost(self.acks, &error);
                        self.current = None;
                        self.settle(shared, Err(refusal));
                        continue;
                    }
                    if shared.runtime.now() < self.deadline {
                        return Poll::Pending;
                    }
                    self.time_out();
                }
            }
        }
        if self.version >= 10 {
            self.hint(shared);
        }
        Poll::Ready(Response::Produce(std::mem::take(&mut self.response)))
    }

    /// What becomes of the first batch that is not settled.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let awaited = &self.awaited[self.settled];
        let (partition, wanted) = (&awaited.partition, awaited.last_offset + 1);
        loop {
            match &mut self.current {
                Some(Waiting::Durable(waiting)) => {
                    return waiting
                        .as_mut()
                        .poll(cx)
                        .map(|result| result.map_err(|error| awaited.lost(self.acks, &error)));
                }
                Some(Waiting::Committed(waiting)) => {
                    match ready!(Pin::new(waiting).poll(cx)) {
                        Ok(verdict) => return Poll::Ready(verdict.map_err(|code| awaited.refused(code))),
                        // Dropped unanswered: the partition has no followers any more.
                        Err(_) => self.current = None,
                    }
                }
                // the planted bug takes the leader's own disk for the replicas'
                None if self.acks == -1
                    && partition.duty() != Duty::Alone
                    && !partition.log.runtime().mutants().on(Mutant::R28) =>
                {
                    match partition.committed(awaited.leader_epoch, wanted) {
                        Committed::Now(verdict) => {
                            return Poll::Ready(verdict.map_err(|code| awaited.refused(code)));
                        }
                        Committed::Later(waiting) => self.current = Some(Waiting::Committed(waiting)),
                        Committed::WhenDurable => {}
                    }
                }
                None if partition.log.durable_offset() >= wanted => return Poll::Ready(Ok(())),
                None => {
                    let log = partition.log.clone();
                    let waiting = Box::pin(async move { log.wait_durable(wanted).await });
                    self.current = Some(Waiting::Durable(waiting));
                }
            }
        }
    }

    fn settle(&mut self, shared: &Shared<R>, result: Result<(), Refusal>) {
        let awaited = &self.awaited[self.settled];
        self.settled += 1;
        let result = result.and_then(|()| {
            if awaited.partition.duty() != Duty::Gone && !awaited.partition.still_leads(awaited.leader_epoch)
            {
                return Err(awaited.replaced(self.acks));
            }
            // What was synced before the directory failed would be true, but nobody acknowledges on it any more.
            shared.logs.check_online().map_err(|error| awaited.lost(self.acks, &error))
        });
        match result {
            Ok(()) => shared.runtime.probe().emit(|| Observation::ProduceAcked {
                partition: awaited.partition.name.clone(),
                base_offset: awaited.base_offset,
                last_offset: awaited.last_offset,
                acks: self.acks,
            }),
            Err(refusal) => self.refuse(self.settled - 1, refusal),
        }
    }

    fn time_out(&mut self) {
        for late in self.settled..self.awaited.len() {
            let message = match self.acks {
                -1 => "the records were not committed within the request's timeout",
                _ => "the records were not durable within the request's timeout",
            };
            self.refuse(late, Refusal::new(ErrorCode::REQUEST_TIMED_OUT, message));
        }
        self.settled = self.awaited.len();
    }

    fn refuse(&mut self, which: usize, refusal: Refusal) {
        let Awaited { topic, index, .. } = self.awaited[which];
        let answer = &mut self.response.responses[topic].partition_responses[index];
        *answer =
            refused(PartitionProduceResponse::default().with_index(answer.index), refusal, self.version);
    }

    /// Says who leads what this broker does not lead (KIP-951).
    fn hint(&mut self, shared: &Shared<R>) {
        let mut leaders = Vec::new();
        for topic in &mut self.response.responses {
            for answer in &mut topic.partition_responses {
                if answer.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER.code()
                    && let Some((id, epoch)) = leader_of(shared, Named::Name(&topic.name.0), answer.index)
                {
                    answer.current_leader =
                        LeaderIdAndEpoch::default().with_leader_id(BrokerId(id)).with_leader_epoch(epoch);
                    leaders.push(id);
                }
            }
        }
        if !leaders.is_empty() {
            let endpoints = endpoints(shared, &self.client, &leaders).into_iter().map(|endpoint| {
                NodeEndpoint::default()
                    .with_node_id(BrokerId(endpoint.id))
                    .with_host(endpoint.host)
                    .with_port(endpoint.port)
                    .with_rack(endpoint.rack)
            });
            self.response.node_endpoints = endpoints.collect();
        }
    }
}

impl<R: Runtime> Awaited<R> {
    fn lost(&self, acks: i16, error: &LogError) -> Refusal {
        let code = match error {
            LogError::Unknown(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            // Another leader's records take their place, for now: an unclean election may bring them back.
            LogError::Truncated(_) => return self.replaced(acks),
            _ => ErrorCode::KAFKA_STORAGE_ERROR,
        };
        Refusal::new(code, error.to_string())
    }

    /// Another broker leads. With acks=1 clients take NOT_LEADER_OR_FOLLOWER for a promise that nothing was appended,
    /// since Kafka answers those before leadership can move. Here it can: we wait for the disk. So they are told what
    /// is known, which is nothing.
    fn replaced(&self, acks: i16) -> Refusal {
        match acks {
            -1 => self.refused(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            _ => Refusal::new(
                ErrorCode::REQUEST_TIMED_OUT,
                "leadership moved before the appended records were known to be durable",
            ),
        }
    }

    fn refused(&self, code: ErrorCode) -> Refusal {
        let message = match code {
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => {
                format!("The ISR of {} became smaller than min.isr after the append.", self.partition.name)
            }
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "The topic was deleted.".to_owned(),
            _ => NOT_LEADER.to_owned(),
        };
        Refusal::new(code, message)
    }
}
