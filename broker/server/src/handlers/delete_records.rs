//! DeleteRecords (KIP-107): moves the log start.

use super::changing;
use crate::partitions::Partition;
use crate::reply::Reply;
use crate::shared::Shared;
use burnin_core::config::CleanupPolicy;
use burnin_log::LogError;
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages::delete_records_request::DeleteRecordsRequest;
use burnin_wire::kafka::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use std::sync::Arc;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Handles DeleteRecords.
pub(super) fn delete<R: Runtime>(shared: &Arc<Shared<R>>, request: DeleteRecordsRequest) -> Reply<R> {
    let shared = shared.clone();
    changing(async move {
        let mut response = DeleteRecordsResponse::default();
        for topic in request.topics {
            let served = shared.partitions.read().topic(&topic.name.0);
            let mut answers = DeleteRecordsTopicResult::default().with_name(topic.name);
            for asked in topic.partitions {
                let partition = served.as_ref().and_then(|topic| topic.partition(asked.partition_index));
                let result = match partition {
                    Some(partition) => delete_before(partition, asked.offset).await,
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
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

async fn delete_before<R: Runtime>(partition: &Partition<R>, offset: i64) -> Result<i64, ErrorCode> {
    if partition.topic.settings().cleanup_policy == CleanupPolicy::Compact {
        // Only what retention may delete can be deleted by hand (`Partition.deleteRecordsOnLeader`).
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    if offset < HIGH_WATERMARK || offset > partition.high_watermark() {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    partition.log.delete_records_before(offset).await.map_err(|error| match error {
        LogError::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        LogError::Unknown(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        _ => ErrorCode::KAFKA_STORAGE_ERROR,
    })
}
