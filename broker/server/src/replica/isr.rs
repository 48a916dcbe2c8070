//! The ISR of the partitions that this broker leads, towards the controller: AlterPartition (KIP-497), one request in
//! flight for all of them, and the clock that sees who has fallen behind.

use super::hub::Key;
use crate::shared::Shared;
use burnin_core::metadata::Image;
use burnin_core::partition::{AlterPartitionError, Eligibility, IsrProposal};
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::BrokerId;
use burnin_wire::kafka::messages::alter_partition_request::{
    AlterPartitionRequest, BrokerState, PartitionData, TopicData,
};
use burnin_wire::kafka::messages::alter_partition_response::{
    AlterPartitionResponse, PartitionData as Answer,
};
use burnin_wire::{ErrorCode, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries of a request that failed as a whole (`DefaultAlterPartitionManager`).
const RETRY: Duration = Duration::from_millis(50);
/// Between two looks at who may join.
const RECONSIDER: Duration = Duration::from_millis(500);

/// What the metadata say of a broker.
pub(super) fn eligibility(image: &Image, id: i32) -> Option<Eligibility> {
    let broker = image.brokers().get(&id)?;
    Some(Eligibility {
        broker_epoch: broker.epoch,
        fenced: broker.fenced,
        shutting_down: broker.in_controlled_shutdown,
    })
}

/// Sends what the leaders ask for.
pub(super) async fn send<R: Runtime>(shared: Arc<Shared<R>>) {
    let hub = shared.replication.hub.clone();
    let within = shared.config.quorum.session_timeout;
    loop {
        let proposals = hub.take_proposals();
        if proposals.is_empty() {
            hub.proposed.notified().await;
            continue;
        }
        let request = request(&shared, &proposals);
        let answer = match shared.controller_channel.call(request.into(), within).await {
            Ok(Response::AlterPartition(response)) if response.error_code == 0 => Some(response),
            Ok(Response::AlterPartition(response)) => {
                tracing::debug!(code = %ErrorCode(response.error_code), "AlterPartition was refused");
                None
            }
            Ok(other) => {
                tracing::warn!(api = %other.api(), "an answer to another request");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "AlterPartition has no answer");
                None
            }
        };
        let failed_as_a_whole = answer.is_none();
        settle(&shared, proposals, answer);
        if failed_as_a_whole {
            shared.runtime.sleep(RETRY).await;
        }
    }
}

fn request<R: Runtime>(shared: &Shared<R>, proposals: &BTreeMap<Key, IsrProposal>) -> AlterPartitionRequest {
    let mut topics: Vec<TopicData> = Vec::new();
    for ((topic_id, number), proposal) in proposals {
        let member = |(id, epoch): &(i32, i64)| {
            // The leader's own epoch is the one of its registration.
            let epoch = if *id == shared.identity.node_id { shared.broker_epoch() } else { *epoch };
            BrokerState::default().with_broker_id(BrokerId(*id)).with_broker_epoch(epoch)
        };
        let data = PartitionData::default()
            .with_partition_index(*number)
            .with_leader_epoch(proposal.leader_epoch)
            .with_partition_epoch(proposal.partition_epoch)
            .with_new_isr_with_epochs(proposal.isr.iter().map(member).collect());
        match topics.last_mut().filter(|topic| topic.topic_id == *topic_id) {
            Some(topic) => topic.partitions.push(data),
            None => topics.push(TopicData::default().with_topic_id(*topic_id).with_partitions(vec![data])),
        }
    }
    AlterPartitionRequest::default()
        .with_broker_id(BrokerId(shared.identity.node_id))
        .with_broker_epoch(shared.broker_epoch())
        .with_topics(topics)
}

/// Tells each partition what became of its proposal.
fn settle<R: Runtime>(
    shared: &Shared<R>,
    proposals: BTreeMap<Key, IsrProposal>,
    response: Option<AlterPartitionResponse>,
) {
    let mut answers: BTreeMap<Key, Answer> = BTreeMap::new();
    for topic in response.into_iter().flat_map(|response| response.topics) {
        for answer in topic.partitions {
            answers.insert((topic.topic_id, answer.partition_index), answer);
        }
    }
    for (key, proposal) in proposals {
        let served = shared.partitions.read().topic_by_id(&key.0);
        let Some(partition) = served.and_then(|topic| topic.partition(key.1).cloned()) else { continue };
        match answers.remove(&key) {
            Some(answer) if answer.error_code == 0 => {
                let isr: Vec<i32> = answer.isr.iter().map(|id| id.0).collect();
                partition.isr_accepted(answer.leader_epoch, &isr, answer.partition_epoch);
            }
            answer => {
                let code = answer.map(|answer| ErrorCode(answer.error_code));
                tracing::debug!(partition = &*partition.name, ?code, ?proposal, "the ISR was not accepted");
                let failure = failure(code);
                partition.isr_refused(&proposal, failure);
                if failure == AlterPartitionError::Ineligible {
                    // The reason may pass without a word.
                    shared.replication.brokers_changed.notify_one();
                }
            }
        }
    }
}

/// `Partition.handleAlterPartitionError`. `None`: no answer for the partition.
fn failure(code: Option<ErrorCode>) -> AlterPartitionError {
    match code {
        Some(ErrorCode::OPERATION_NOT_ATTEMPTED | ErrorCode::INELIGIBLE_REPLICA) => {
            AlterPartitionError::Ineligible
        }
        Some(
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::FENCED_LEADER_EPOCH
            | ErrorCode::INVALID_UPDATE_VERSION
            | ErrorCode::INVALID_REQUEST
            | ErrorCode::NEW_LEADER_ELECTED,
        ) => AlterPartitionError::Stale,
        _ => AlterPartitionError::Retry,
    }
}

/// Looks twice in `replica.lag.time.max.ms` who has not caught up.
pub(super) async fn expire<R: Runtime>(shared: Arc<Shared<R>>) {
    let interval = (shared.config.replication.lag_time_max / 2).max(Duration::from_millis(1));
    loop {
        shared.runtime.sleep(interval).await;
        let topics: Vec<_> = shared.partitions.read().topics().cloned().collect();
        for topic in topics {
            topic.partitions().for_each(|(_, partition)| partition.expire_isr());
        }
    }
}

/// Looks again whether followers outside of ISRs may join: after brokers changed, and while the controller may have
/// refused somebody for a reason that passes.
pub(super) async fn reconsider<R: Runtime>(shared: Arc<Shared<R>>) {
    loop {
        shared.replication.brokers_changed.notified().await;
        shared.reconsider_isrs();
        // Not at full speed, however often somebody is refused.
        shared.runtime.sleep(RECONSIDER).await;
    }
}

impl<R: Runtime> Shared<R> {
    fn reconsider_isrs(&self) {
        // Taken before any partition is locked: whoever holds the image may wait for a partition.
        let known: BTreeMap<i32, Eligibility> = {
            let image = self.image.read();
            let ids = image.brokers().keys();
            ids.filter_map(|id| eligibility(&image, *id).map(|known| (*id, known))).collect()
        };
        let topics: Vec<_> = self.partitions.read().topics().cloned().collect();
        for topic in topics {
            for (_, partition) in topic.partitions() {
                partition.reconsider_isr(|id| known.get(&id).copied());
            }
        }
    }
}
