//! Produce: validate, append, wait until durable, answer (`KafkaApis.handleProduceRequest`, `ReplicaManager`).
//!
//! The append happens when the request is handled, so requests of one connection are appended in their order.
//! The answer waits until every appended batch is durable in its log's flush mode; with acks=1 as well as with
//! acks=all, because an acknowledgement promises that here. When `timeout_ms` passes first the answer is
//! REQUEST_TIMED_OUT: the records may still become durable.

use crate::partitions::Partition;
use crate::recompress::recompressed;
use crate::reply::{Later, Reply};
use crate::shared::Shared;
use burnin_core::config::{CleanupPolicy, StoredCompression, TimestampType, TopicSettings};
use burnin_log::{AppendError, Appended, LogError, Origin};
use burnin_runtime::{Instant, Observation, Runtime};
use burnin_wire::batch::{self, ProduceError, ProduceLimits, validate_produce};
use burnin_wire::kafka::messages::produce_request::ProduceRequest;
use burnin_wire::kafka::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use burnin_wire::{ErrorCode, RequestHeader, Response, StrBytes};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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

/// An appended batch whose durability is awaited, and where its answer goes.
struct Awaited<R: Runtime> {
    topic: usize,
    index: usize,
    partition: Arc<Partition<R>>,
    base_offset: i64,
    last_offset: i64,
}

/// A produce request between append and answer.
pub(crate) struct ProduceWait<R: Runtime> {
    response: ProduceResponse,
    version: i16,
    awaited: Vec<Awaited<R>>,
    settled: usize,
    current: Option<Later<Result<(), LogError>>>,
    deadline: Instant,
}

/// Handles a produce request.
pub(crate) fn handle<R: Runtime>(
    shared: &Arc<Shared<R>>,
    header: &RequestHeader,
    request: ProduceRequest,
) -> Reply<R> {
    let (version, acks) = (header.version, request.acks);
    let now = shared.runtime.now();
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let mut wait = ProduceWait {
        response: ProduceResponse::default(),
        version,
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
            let answer = match attempt.append(partition, data.records.unwrap_or_default()) {
                Ok((partition, appended)) => {
                    let answer = granted(answer, &appended, version);
                    wait.awaited.push(Awaited {
                        topic: wait.response.responses.len(),
                        index: answers.partition_responses.len(),
                        partition,
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
    fn append(
        &self,
        partition: Option<Arc<Partition<R>>>,
        records: Bytes,
    ) -> Result<(Arc<Partition<R>>, Appended), Refusal> {
        if !(-1..=1).contains(&self.acks) {
            let message = format!("acks is {} (known: -1, 0, 1)", self.acks);
            return Err(Refusal::new(ErrorCode::INVALID_REQUIRED_ACKS, message));
        }
        let Some(partition) = partition else {
            let message = "This server does not host this topic-partition.";
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        };
        let settings = partition.topic.settings();
        let in_sync = partition.in_sync_replicas();
        if self.acks == -1 && in_sync < settings.min_insync_replicas {
            let message = format!(
                "The size of the current ISR ({in_sync}) is insufficient to satisfy the min.isr requirement of {} for \
                 partition {}",
                settings.min_insync_replicas, partition.name
            );
            return Err(Refusal::new(ErrorCode::NOT_ENOUGH_REPLICAS, message));
        }
        let batch = self.validated(&settings, records)?;
        let appended = partition.log.append(batch, partition.leader_epoch(), Origin::Client)?;
        Ok((partition, appended))
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

    /// The response, when everything is durable, has failed, or the deadline has passed.
    pub(crate) fn poll(&mut self, shared: &Shared<R>, cx: &mut Context<'_>) -> Poll<Response> {
        while let Some(awaited) = self.awaited.get(self.settled) {
            let wanted = awaited.last_offset + 1;
            let result = if self.current.is_none() && awaited.partition.log.durable_offset() >= wanted {
                Ok(())
            } else {
                let log = &awaited.partition.log;
                let waiting = self.current.get_or_insert_with(|| {
                    let log = log.clone();
                    Box::pin(async move { log.wait_durable(wanted).await })
                });
                match waiting.as_mut().poll(cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending if shared.runtime.now() < self.deadline => return Poll::Pending,
                    Poll::Pending => {
                        self.time_out();
                        break;
                    }
                }
            };
            self.current = None;
            self.settle(shared, result);
        }
        Poll::Ready(Response::Produce(std::mem::take(&mut self.response)))
    }

    fn settle(&mut self, shared: &Shared<R>, result: Result<(), LogError>) {
        let awaited = &self.awaited[self.settled];
        self.settled += 1;
        // What was synced before the directory failed would be true, but nobody acknowledges on it any more.
        match result.and_then(|()| shared.logs.check_online()) {
            Ok(()) => shared.runtime.probe().emit(|| Observation::ProduceAcked {
                partition: awaited.partition.name.clone(),
                base_offset: awaited.base_offset,
                last_offset: awaited.last_offset,
            }),
            Err(error) => {
                let code = match error {
                    LogError::Unknown(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    _ => ErrorCode::KAFKA_STORAGE_ERROR,
                };
                let refusal = Refusal::new(code, error.to_string());
                self.refuse(self.settled - 1, refusal);
            }
        }
    }

    fn time_out(&mut self) {
        for late in self.settled..self.awaited.len() {
            let message = "the records were not durable within the request's timeout";
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
}
