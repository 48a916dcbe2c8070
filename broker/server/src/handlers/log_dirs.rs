//! DescribeLogDirs: what this broker holds on its disk (KIP-113, KIP-827). Each broker answers for itself.

use crate::shared::Shared;
use burnin_core::metadata::METADATA_TOPIC;
use burnin_log::Log;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::TopicName;
use burnin_wire::kafka::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use burnin_wire::kafka::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use burnin_wire::{ErrorCode, Response};
use std::collections::{BTreeMap, BTreeSet};

/// Answers DescribeLogDirs. Sizes of the volume stay unknown (-1): the runtime does not tell them.
pub(super) fn describe<R: Runtime>(shared: &Shared<R>, request: &DescribeLogDirsRequest) -> Response {
    let mut result = DescribeLogDirsResult::default().with_log_dir(super::text(path(shared)));
    if shared.logs.offline().is_some() {
        result.error_code = ErrorCode::KAFKA_STORAGE_ERROR.code();
    } else {
        result.topics = topics(shared, request);
    }
    DescribeLogDirsResponse::default().with_results(vec![result]).into()
}

fn path<R: Runtime>(shared: &Shared<R>) -> String {
    shared.logs.path().display().to_string()
}

fn topics<R: Runtime>(shared: &Shared<R>, request: &DescribeLogDirsRequest) -> Vec<DescribeLogDirsTopic> {
    let asked: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|number| (topic.topic.0.as_str(), *number)))
            .collect()
    });
    let mut found: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in shared.logs.logs() {
        let tp = log.topic_partition();
        let is_asked = asked.as_ref().is_none_or(|asked| asked.contains(&(&*tp.topic, tp.partition)));
        if is_asked && &*tp.topic != METADATA_TOPIC {
            found.entry(tp.topic.to_string()).or_default().push(partition(shared, &log));
        }
    }
    let topic = |(name, partitions): (String, Vec<_>)| {
        DescribeLogDirsTopic::default().with_name(TopicName(super::text(name))).with_partitions(partitions)
    };
    found.into_iter().map(topic).collect()
}

fn partition<R: Runtime>(shared: &Shared<R>, log: &Log<R>) -> DescribeLogDirsPartition {
    let tp = log.topic_partition();
    let served = shared.partitions.read().topic(&tp.topic);
    let high_watermark = served
        .as_ref()
        .and_then(|topic| topic.partition(tp.partition))
        .map_or(log.end_offset(), |partition| partition.high_watermark());
    DescribeLogDirsPartition::default()
        .with_partition_index(tp.partition)
        .with_partition_size(i64::try_from(log.size_bytes()).unwrap_or(i64::MAX))
        .with_offset_lag((high_watermark - log.end_offset()).max(0))
}
