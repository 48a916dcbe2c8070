//! DeleteRecords (KIP-107): moves the log start.

use super::changing;
use crate::hints::{Named, not_here};
use crate::replica::{Duty, Partition};
use crate::reply::Reply;
use crate::shared::Shared;
use burnin_core::config::CleanupPolicy;
use burnin_log::LogError;
use burnin_runtime::{Instant, Runtime, timeout};
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages::delete_records_request::DeleteRecordsRequest;
use burnin_wire::kafka::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// How often it is looked who is alive.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Handles DeleteRecords.
pub(super) fn delete<R: Runtime>(shared: &Arc<Shared<R>>, request: DeleteRecordsRequest) -> Reply<R> {
    let shared = shared.clone();
    let deadline = shared.runtime.now() + Duration::from_millis(request.timeout_ms.max(0) as u64);
    changing(async move {
        let mut response = DeleteRecordsResponse::default();
        for topic in request.topics {
            let served = shared.partitions.read().topic(&topic.name.0);
            let mut answers = DeleteRecordsTopicResult::default().with_name(topic.name);
            for asked in topic.partitions {
                let partition = served.as_ref().and_then(|topic| topic.partition(asked.partition_index));
                let result = match partition {
                    Some(partition) => delete_before(&shared, partition, asked.offset, deadline).await,
                    None => Err(not_here(&shared, Named::Name(&answers.name.0), asked.partition_index)),
                };
                let answer =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                answers.partitions.push(match result {
                    Ok(low_watermark) => answer.with_low_watermark(low_watermark),
                    Err(code) => answer.with_low_watermark(-1).with_error_code(code.code()),
                });
            }
            response.topics.push(answers);
        }
        response
    })
}

async fn delete_before<R: Runtime>(
    shared: &Shared<R>,
    partition: &Arc<Partition<R>>,
    offset: i64,
    deadline: Instant,
) -> Result<i64, ErrorCode> {
    if !partition.is_leader() {
        return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    if partition.topic.settings().cleanup_policy == CleanupPolicy::Compact {
        // Only what retention may delete can be deleted by hand (`Partition.deleteRecordsOnLeader`).
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let high_watermark = partition.high_watermark();
    if offset < HIGH_WATERMARK || offset > high_watermark {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let wanted = if offset == HIGH_WATERMARK { high_watermark } else { offset };
    let start = partition.log.delete_records_before(wanted).await.map_err(|error| match error {
        LogError::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        LogError::Unknown(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        _ => ErrorCode::KAFKA_STORAGE_ERROR,
    })?;
    if partition.duty() == Duty::Alone {
        return Ok(start);
    }
    partition.log_start_moved();
    deleted_everywhere(shared, partition, wanted, deadline).await
}

/// Waits until the followers that are alive have deleted as well (`DelayedDeleteRecords`).
async fn deleted_everywhere<R: Runtime>(
    shared: &Shared<R>,
    partition: &Arc<Partition<R>>,
    wanted: i64,
    deadline: Instant,
) -> Result<i64, ErrorCode> {
    let notify = Arc::new(Notify::new());
    partition.watch_starts(&notify);
    loop {
        let low_watermark = {
            let image = shared.image.read();
            partition.low_watermark(|id| image.brokers().get(&id).is_some_and(|broker| !broker.fenced))
        };
        let low_watermark = low_watermark.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        if low_watermark >= wanted {
            return Ok(low_watermark);
        }
        let now = shared.runtime.now();
        if now >= deadline {
            return Err(ErrorCode::REQUEST_TIMED_OUT);
        }
        // A follower that is fenced meanwhile is not waited for, and nobody tells of that.
        let patience = deadline.since(now).min(LOOK_AGAIN);
        let _ = timeout(&shared.runtime, patience, notify.notified()).await;
    }
}
