//! The controller's APIs between nodes, and the way to those of clients (`admin.rs`).

use super::refusals::refuse;
use super::task::Active;
use super::{admin, features, not_controller};
use burnin_core::controller::{AlterPartition, ControllerRegistration, Heartbeat, ProposedIsr, Registration};
use burnin_core::metadata::ApiError;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::kafka::messages::{BrokerId, ProducerId};
use burnin_wire::metadata_records::{Endpoint, FeatureRange};
use burnin_wire::{Request, Response};

/// Decides, proposes, and gives the answer that will be true when it is committed.
pub(super) fn carry_out<R: Runtime>(active: &mut Active<R>, version: i16, request: Request) -> Response {
    match decide(active, version, &request) {
        Ok(response) => response,
        Err(error) => refuse(&request, version, &error),
    }
}

fn decide<R: Runtime>(active: &mut Active<R>, version: i16, request: &Request) -> Result<Response, ApiError> {
    match request {
        Request::BrokerRegistration(request) => register(active, request),
        Request::ControllerRegistration(request) => register_controller(active, request),
        Request::BrokerHeartbeat(request) => heartbeat(active, request),
        Request::AlterPartition(request) => alter_partition(active, version, request),
        Request::AllocateProducerIds(request) => allocate_producer_ids(active, request),
        Request::CreateTopics(request) => Ok(admin::create_topics(active, version, request)),
        Request::DeleteTopics(request) => Ok(admin::delete_topics(active, version, request)),
        Request::CreatePartitions(request) => Ok(admin::create_partitions(active, request)),
        Request::AlterConfigs(request) => Ok(admin::replace_configs(active, request)),
        Request::IncrementalAlterConfigs(request) => Ok(admin::alter_configs(active, request)),
        Request::UnregisterBroker(request) => {
            let decision = active.controller.cluster()?.unregister(request.broker_id.0)?;
            active.commit(decision.records);
            Ok(kafka::UnregisterBrokerResponse::default().into())
        }
        Request::ElectLeaders(request) => admin::elect_leaders(active, version, request),
        Request::AlterPartitionReassignments(request) => admin::alter_reassignments(active, request),
        Request::ListPartitionReassignments(request) => admin::list_reassignments(active, request),
        Request::UpdateFeatures(request) => features::update(active, version, request),
        _ => Err(not_controller()),
    }
}

fn register<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::BrokerRegistrationRequest,
) -> Result<Response, ApiError> {
    let listener = |listener: &kafka::broker_registration_request::Listener| Endpoint {
        name: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    };
    let feature = |feature: &kafka::broker_registration_request::Feature| FeatureRange {
        name: feature.name.to_string(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
    };
    let registration = Registration {
        broker_id: request.broker_id.0,
        cluster_id: request.cluster_id.to_string(),
        incarnation_id: request.incarnation_id,
        listeners: request.listeners.iter().map(listener).collect(),
        features: request.features.iter().map(feature).collect(),
        rack: request.rack.as_ref().map(ToString::to_string),
        log_dirs: request.log_dirs.clone(),
        previous_broker_epoch: request.previous_broker_epoch,
    };
    let context = active.context();
    let decision = active.controller.register(&registration, context)?;
    active.commit(decision.records);
    Ok(kafka::BrokerRegistrationResponse::default().with_broker_epoch(decision.answer).into())
}

fn register_controller<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::ControllerRegistrationRequest,
) -> Result<Response, ApiError> {
    let listener = |listener: &kafka::controller_registration_request::Listener| Endpoint {
        name: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    };
    let feature = |feature: &kafka::controller_registration_request::Feature| FeatureRange {
        name: feature.name.to_string(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
    };
    let registration = ControllerRegistration {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        listeners: request.listeners.iter().map(listener).collect(),
        features: request.features.iter().map(feature).collect(),
    };
    let decision = active.controller.cluster()?.register_controller(&registration)?;
    active.commit(decision.records);
    Ok(kafka::ControllerRegistrationResponse::default().with_error_message(None).into())
}

fn heartbeat<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::BrokerHeartbeatRequest,
) -> Result<Response, ApiError> {
    let heartbeat = Heartbeat {
        broker_id: request.broker_id.0,
        broker_epoch: request.broker_epoch,
        metadata_offset: request.current_metadata_offset,
        want_fence: request.want_fence,
        want_shut_down: request.want_shut_down,
    };
    let context = active.context();
    let decision = active.controller.heartbeat(&heartbeat, context)?;
    active.commit(decision.records);
    let answer = decision.answer;
    Ok(kafka::BrokerHeartbeatResponse::default()
        .with_is_caught_up(answer.is_caught_up)
        .with_is_fenced(answer.is_fenced)
        .with_should_shut_down(answer.should_shut_down)
        .into())
}

fn alter_partition<R: Runtime>(
    active: &mut Active<R>,
    version: i16,
    request: &kafka::AlterPartitionRequest,
) -> Result<Response, ApiError> {
    use kafka::alter_partition_response::{PartitionData, TopicData};
    let mut partitions = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let members = partition.new_isr_with_epochs.iter();
            let isr = if version >= 3 {
                members.map(|member| (member.broker_id.0, member.broker_epoch)).collect()
            } else {
                partition.new_isr.iter().map(|id| (id.0, -1)).collect()
            };
            partitions.push(ProposedIsr {
                topic_id: topic.topic_id,
                partition: partition.partition_index,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr,
                recovering: partition.leader_recovery_state == 1,
            });
        }
    }
    let asked =
        AlterPartition { broker_id: request.broker_id.0, broker_epoch: request.broker_epoch, partitions };
    let decision = active.controller.cluster()?.alter_partition(&asked)?;
    active.commit(decision.records);
    let mut results = decision.answer.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = PartitionData::default().with_partition_index(partition.partition_index);
            match results.next().expect("one result for each partition") {
                Err(code) => answer.with_error_code(code.code()),
                Ok(state) => answer
                    .with_leader_id(BrokerId(state.leader))
                    .with_leader_epoch(state.leader_epoch)
                    .with_partition_epoch(state.partition_epoch)
                    .with_leader_recovery_state(i8::from(state.recovering))
                    .with_isr(state.isr.into_iter().map(BrokerId).collect()),
            }
        });
        TopicData::default().with_topic_id(topic.topic_id).with_partitions(partitions.collect())
    });
    Ok(kafka::AlterPartitionResponse::default().with_topics(topics.collect()).into())
}

fn allocate_producer_ids<R: Runtime>(
    active: &mut Active<R>,
    request: &kafka::AllocateProducerIdsRequest,
) -> Result<Response, ApiError> {
    let cluster = active.controller.cluster()?;
    let decision = cluster.allocate_producer_ids(request.broker_id.0, request.broker_epoch)?;
    active.commit(decision.records);
    Ok(kafka::AllocateProducerIdsResponse::default()
        .with_producer_id_start(ProducerId(decision.answer.first))
        .with_producer_id_len(decision.answer.count)
        .into())
}
