//! How each of the controller's APIs says that a request as a whole was not carried out, and how that is read.

use super::describe_quorum;
use crate::handlers::text;
use burnin_core::metadata::ApiError;
use burnin_wire::kafka::messages as kafka;
use burnin_wire::{ErrorCode, Request, Response};

/// The answer to a request that `error` kept from being carried out.
pub(crate) fn refuse(request: &Request, version: i16, error: &ApiError) -> Response {
    let code = error.code.code();
    let message = || Some(text(error.message.clone()));
    match request {
        Request::CreateTopics(request) => {
            let topics = request.topics.iter().map(|topic| {
                kafka::create_topics_response::CreatableTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_error_code(code)
                    .with_error_message(message())
            });
            kafka::CreateTopicsResponse::default().with_topics(topics.collect()).into()
        }
        Request::DeleteTopics(request) => {
            let names = request.topic_names.iter().map(|name| (Some(name.clone()), uuid::Uuid::nil()));
            let topics = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
            let results = names.chain(topics).map(|(name, id)| {
                kafka::delete_topics_response::DeletableTopicResult::default()
                    .with_name(name)
                    .with_topic_id(id)
                    .with_error_code(code)
                    .with_error_message(message().filter(|_| version >= 5))
            });
            kafka::DeleteTopicsResponse::default().with_responses(results.collect()).into()
        }
        Request::CreatePartitions(request) => {
            let results = request.topics.iter().map(|topic| {
                kafka::create_partitions_response::CreatePartitionsTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_error_code(code)
                    .with_error_message(message())
            });
            kafka::CreatePartitionsResponse::default().with_results(results.collect()).into()
        }
        Request::AlterConfigs(request) => {
            let results = request.resources.iter().map(|resource| {
                kafka::alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone())
                    .with_error_code(code)
                    .with_error_message(message())
            });
            kafka::AlterConfigsResponse::default().with_responses(results.collect()).into()
        }
        Request::IncrementalAlterConfigs(request) => {
            let results = request.resources.iter().map(|resource| {
                kafka::incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone())
                    .with_error_code(code)
                    .with_error_message(message())
            });
            kafka::IncrementalAlterConfigsResponse::default().with_responses(results.collect()).into()
        }
        Request::ElectLeaders(_) => kafka::ElectLeadersResponse::default().with_error_code(code).into(),
        Request::AlterPartitionReassignments(_) => kafka::AlterPartitionReassignmentsResponse::default()
            .with_error_code(code)
            .with_error_message(message())
            .into(),
        Request::ListPartitionReassignments(_) => kafka::ListPartitionReassignmentsResponse::default()
            .with_error_code(code)
            .with_error_message(message())
            .into(),
        Request::UnregisterBroker(_) => kafka::UnregisterBrokerResponse::default()
            .with_error_code(code)
            .with_error_message(message())
            .into(),
        Request::UpdateFeatures(_) => kafka::UpdateFeaturesResponse::default()
            .with_error_code(code)
            .with_error_message(message())
            .into(),
        Request::DescribeQuorum(request) => describe_quorum::refused(request, version, error),
        Request::BrokerRegistration(_) => {
            kafka::BrokerRegistrationResponse::default().with_error_code(code).with_broker_epoch(-1).into()
        }
        Request::ControllerRegistration(_) => kafka::ControllerRegistrationResponse::default()
            .with_error_code(code)
            .with_error_message(message())
            .into(),
        Request::BrokerHeartbeat(_) => kafka::BrokerHeartbeatResponse::default().with_error_code(code).into(),
        Request::AlterPartition(_) => kafka::AlterPartitionResponse::default().with_error_code(code).into(),
        Request::AllocateProducerIds(_) => {
            kafka::AllocateProducerIdsResponse::default().with_error_code(code).into()
        }
        Request::AddRaftVoter(_) => kafka::AddRaftVoterResponse::default()
            .with_error_code(voters_code(error.code))
            .with_error_message(message())
            .into(),
        Request::RemoveRaftVoter(_) => kafka::RemoveRaftVoterResponse::default()
            .with_error_code(voters_code(error.code))
            .with_error_message(message())
            .into(),
        Request::UpdateRaftVoter(_) => {
            kafka::UpdateRaftVoterResponse::default().with_error_code(voters_code(error.code)).into()
        }
        other => panic!("{} is no API of the controller", other.api()),
    }
}

/// Of a node that does not lead the quorum, which the APIs of voters say in the quorum's own words.
fn voters_code(code: ErrorCode) -> i16 {
    match code {
        ErrorCode::NOT_CONTROLLER => ErrorCode::NOT_LEADER_OR_FOLLOWER.code(),
        code => code.code(),
    }
}

/// Whether the node that answered is not the active controller, so that the request must go elsewhere.
pub(super) fn is_elsewhere(response: &Response) -> bool {
    let not_controller = Some(ErrorCode::NOT_CONTROLLER.code());
    let is_follower = |code: i16| code == ErrorCode::NOT_LEADER_OR_FOLLOWER.code();
    let code = match response {
        Response::CreateTopics(response) => response.topics.first().map(|topic| topic.error_code),
        Response::DeleteTopics(response) => response.responses.first().map(|topic| topic.error_code),
        Response::CreatePartitions(response) => response.results.first().map(|topic| topic.error_code),
        Response::AlterConfigs(response) => response.responses.first().map(|r| r.error_code),
        Response::IncrementalAlterConfigs(response) => response.responses.first().map(|r| r.error_code),
        Response::ElectLeaders(response) => Some(response.error_code),
        Response::AlterPartitionReassignments(response) => Some(response.error_code),
        Response::ListPartitionReassignments(response) => Some(response.error_code),
        Response::UnregisterBroker(response) => Some(response.error_code),
        Response::UpdateFeatures(response) => Some(response.error_code),
        Response::DescribeQuorum(response) if describe_quorum::is_elsewhere(response) => not_controller,
        Response::BrokerRegistration(response) => Some(response.error_code),
        Response::ControllerRegistration(response) => Some(response.error_code),
        Response::BrokerHeartbeat(response) => Some(response.error_code),
        Response::AlterPartition(response) => Some(response.error_code),
        Response::AllocateProducerIds(response) => Some(response.error_code),
        Response::AddRaftVoter(response) if is_follower(response.error_code) => not_controller,
        Response::RemoveRaftVoter(response) if is_follower(response.error_code) => not_controller,
        _ => None,
    };
    code == not_controller
}
