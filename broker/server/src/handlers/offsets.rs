//! ListOffsets and OffsetForLeaderEpoch (`ReplicaManager.fetchOffset`, KIP-79, KIP-405, KIP-734, KIP-1005).

use crate::fetch::check_epoch;
use crate::hints::{Named, not_here};
use crate::replica::Partition;
use crate::reply::Reply;
use crate::shared::Shared;
use burnin_log::ReadError;
use burnin_runtime::{Mutant, Runtime};
use burnin_wire::kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use burnin_wire::kafka::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use burnin_wire::kafka::messages::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest;
use burnin_wire::kafka::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use burnin_wire::{ErrorCode, Response};
use std::sync::Arc;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// An offset with the timestamp that led to it; both -1 for none.
struct Found {
    timestamp: i64,
    offset: i64,
}

/// Who asks: a client sees what is committed, a replica all there is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Client,
    Replica,
}

const NOTHING: Found = Found { timestamp: -1, offset: -1 };

/// Handles ListOffsets: in a future when a timestamp has to be looked up.
pub(super) fn list<R: Runtime>(
    shared: &Arc<Shared<R>>,
    version: i16,
    request: ListOffsetsRequest,
) -> Reply<R> {
    let is_lookup =
        |partition: &ListOffsetsPartition| partition.timestamp >= 0 || partition.timestamp == MAX_TIMESTAMP;
    let lookups = request.topics.iter().any(|topic| topic.partitions.iter().any(is_lookup));
    let shared = shared.clone();
    let mut answering = Box::pin(async move { answer(&shared, version, request).await.into() });
    if lookups {
        return Reply::Reading(answering);
    }
    // Without a lookup nothing waits.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match answering.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(response) => Reply::Now(response),
        std::task::Poll::Pending => Reply::Reading(answering),
    }
}

async fn answer<R: Runtime>(
    shared: &Shared<R>,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let mut response = ListOffsetsResponse::default();
    let asker = if request.replica_id.0 >= 0 { Asker::Replica } else { Asker::Client };
    for topic in request.topics {
        let served = shared.partitions.read().topic(&topic.name.0);
        let mut answers = ListOffsetsTopicResponse::default().with_name(topic.name);
        for asked in topic.partitions {
            let partition = served.as_ref().and_then(|topic| topic.partition(asked.partition_index));
            let mut answer =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let found = match partition {
                Some(partition) => {
                    find(partition, asker, version, &asked).await.map(|found| (found, partition))
                }
                None => Err(not_here(shared, Named::Name(&answers.name.0), asked.partition_index)),
            };
            (answer.timestamp, answer.offset) = (NOTHING.timestamp, NOTHING.offset);
            match found {
                Err(code) => answer.error_code = code.code(),
                Ok((found, partition)) => {
                    (answer.timestamp, answer.offset) = (found.timestamp, found.offset);
                    if version >= 4 {
                        answer.leader_epoch = epoch_of(partition, found.offset);
                    }
                }
            }
            answers.partitions.push(answer);
        }
        response.topics.push(answers);
    }
    response
}

/// The epoch of the record at an offset; behind the last record that of the log's end.
fn epoch_of<R: Runtime>(partition: &Partition<R>, offset: i64) -> i32 {
    if offset < 0 {
        return -1;
    }
    partition.log.epoch_at(offset).or_else(|| partition.log.latest_epoch()).unwrap_or(-1)
}

async fn find<R: Runtime>(
    partition: &Partition<R>,
    asker: Asker,
    version: i16,
    asked: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    if !partition.is_leader() {
        return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    if version >= 4 {
        check_epoch(asked.current_leader_epoch, partition.leader_epoch())?;
    }
    let log = &partition.log;
    let needs = |since: i16| if version >= since { Ok(()) } else { Err(ErrorCode::UNSUPPORTED_VERSION) };
    let storage = |error: ReadError| ErrorCode(error.kafka_code());
    // What an earlier leader acknowledged may lie above: "latest" is not known yet (KIP-207).
    let known = || match asker == Asker::Client && partition.is_high_watermark_stale() {
        // the planted bug says what it knows
        true if log.runtime().mutants().on(Mutant::A01) => Ok(()),
        true if version >= 5 => Err(ErrorCode::OFFSET_NOT_AVAILABLE),
        true => Err(ErrorCode::LEADER_NOT_AVAILABLE),
        false => Ok(()),
    };
    match asked.timestamp {
        LATEST if asker == Asker::Replica => Ok(Found { timestamp: -1, offset: log.end_offset() }),
        LATEST => known().map(|()| Found { timestamp: -1, offset: partition.high_watermark() }),
        EARLIEST => Ok(Found { timestamp: -1, offset: log.start_offset() }),
        MAX_TIMESTAMP => {
            needs(7)?;
            let found = log.max_timestamp().await.map_err(storage)?;
            visible(partition, found).map_or_else(|| known().map(|()| NOTHING), Ok)
        }
        EARLIEST_LOCAL => {
            needs(8)?;
            Ok(Found { timestamp: -1, offset: log.start_offset() })
        }
        LATEST_TIERED => {
            needs(9)?;
            // Nothing is tiered.
            Ok(NOTHING)
        }
        timestamp if timestamp >= 0 => {
            let found = log.offset_for_timestamp(timestamp).await.map_err(storage)?;
            visible(partition, found).map_or_else(|| known().map(|()| NOTHING), Ok)
        }
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

/// What consumers cannot read yet is not there for them.
fn visible<R: Runtime>(partition: &Partition<R>, found: Option<(i64, i64)>) -> Option<Found> {
    let (offset, timestamp) = found?;
    (offset < partition.high_watermark()).then_some(Found { timestamp, offset })
}

/// Answers OffsetForLeaderEpoch (KIP-320): where an epoch ended in this leader's log.
pub(super) fn for_leader_epoch<R: Runtime>(
    shared: &Shared<R>,
    request: OffsetForLeaderEpochRequest,
) -> Response {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let served = shared.partitions.read().topic(&topic.topic.0);
        let mut answers = OffsetForLeaderTopicResult::default().with_topic(topic.topic);
        for asked in topic.partitions {
            let partition = served.as_ref().and_then(|topic| topic.partition(asked.partition));
            let mut answer = EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1);
            let checked = match partition {
                None => Err(not_here(shared, Named::Name(&answers.topic.0), asked.partition)),
                Some(partition) if !partition.is_leader() => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                Some(partition) => {
                    check_epoch(asked.current_leader_epoch, partition.leader_epoch()).map(|()| partition)
                }
            };
            match checked {
                Err(code) => answer.error_code = code.code(),
                Ok(partition) => {
                    if let Some((epoch, end)) = partition.log.end_offset_for_epoch(asked.leader_epoch) {
                        (answer.leader_epoch, answer.end_offset) = (epoch, end);
                    }
                }
            }
            answers.partitions.push(answer);
        }
        response.topics.push(answers);
    }
    response.into()
}
