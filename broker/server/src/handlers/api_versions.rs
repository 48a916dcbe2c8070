//! ApiVersions: what this broker speaks (KIP-35, KIP-511, KIP-584).

use crate::shared::Shared;
use burnin_core::controller::KRAFT_VERSION;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use burnin_wire::kafka::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use burnin_wire::{Api, ErrorCode, Response};

/// The APIs that a broker's listener has a handler for. An API that is not named here is neither advertised nor
/// dispatched.
const SERVED_BY_BROKER: &[Api] = &[
    Api::Produce,
    Api::Fetch,
    Api::ListOffsets,
    Api::Metadata,
    Api::FindCoordinator,
    Api::ApiVersions,
    Api::CreateTopics,
    Api::DeleteTopics,
    Api::DeleteRecords,
    Api::InitProducerId,
    Api::OffsetForLeaderEpoch,
    Api::DescribeConfigs,
    Api::AlterConfigs,
    Api::DescribeLogDirs,
    Api::CreatePartitions,
    Api::ElectLeaders,
    Api::IncrementalAlterConfigs,
    Api::AlterPartitionReassignments,
    Api::ListPartitionReassignments,
    Api::DescribeQuorum,
    Api::UpdateFeatures,
    Api::DescribeCluster,
    Api::UnregisterBroker,
    Api::DescribeTopicPartitions,
    Api::AddRaftVoter,
    Api::RemoveRaftVoter,
];

/// The same for a controller listener.
const SERVED_BY_CONTROLLER: &[Api] = &[
    Api::Fetch,
    Api::ApiVersions,
    Api::CreateTopics,
    Api::DeleteTopics,
    Api::AlterConfigs,
    Api::CreatePartitions,
    Api::ElectLeaders,
    Api::IncrementalAlterConfigs,
    Api::AlterPartitionReassignments,
    Api::ListPartitionReassignments,
    Api::Vote,
    Api::BeginQuorumEpoch,
    Api::EndQuorumEpoch,
    Api::DescribeQuorum,
    Api::AlterPartition,
    Api::UpdateFeatures,
    Api::FetchSnapshot,
    Api::DescribeCluster,
    Api::BrokerRegistration,
    Api::BrokerHeartbeat,
    Api::UnregisterBroker,
    Api::AllocateProducerIds,
    Api::ControllerRegistration,
    Api::AddRaftVoter,
    Api::RemoveRaftVoter,
    Api::UpdateRaftVoter,
];

/// The APIs that a listener serves, by key.
pub(super) const fn served(controller_listener: bool) -> &'static [Api] {
    if controller_listener { SERVED_BY_CONTROLLER } else { SERVED_BY_BROKER }
}

/// Whether a broker has the active controller carry it out, so that both must speak it
/// (`ApiVersionsResponse.intersectForwardableApis`).
fn is_passed_on(api: Api) -> bool {
    let own = [Api::Fetch, Api::ApiVersions];
    SERVED_BY_BROKER.contains(&api) && SERVED_BY_CONTROLLER.contains(&api) && !own.contains(&api)
}

/// Answers ApiVersions.
pub(super) fn api_versions<R: Runtime>(
    shared: &Shared<R>,
    controller_listener: bool,
    version: i16,
    request: &ApiVersionsRequest,
) -> Response {
    let mut response = ApiVersionsResponse::default();
    let named = [&request.client_software_name, &request.client_software_version];
    if version >= 3 && !named.into_iter().all(|name| is_software_name(name)) {
        response.error_code = ErrorCode::INVALID_REQUEST.code();
        return response.into();
    }
    response.api_keys = served(controller_listener)
        .iter()
        .map(|api| {
            let versions = shared.config.release.advertised(*api);
            let passed_on = !controller_listener && is_passed_on(*api);
            let elsewhere = passed_on.then(|| shared.controller_channel.version_max(*api)).flatten();
            ApiVersion::default()
                .with_api_key(api.key())
                .with_min_version(*versions.start())
                .with_max_version(elsewhere.unwrap_or(i16::MAX).min(*versions.end()))
        })
        .collect();
    if version >= 3 {
        // Only from version 4 on clients understand that a feature may be absent (KAFKA-17011).
        let features = shared.config.release.features();
        let understood = features.into_iter().filter(|(_, (min, _))| version >= 4 || *min >= 1);
        for (name, (min, max)) in understood {
            let supported = SupportedFeatureKey::default()
                .with_name(super::text(name))
                .with_min_version(min)
                .with_max_version(max);
            response.supported_features.push(supported);
        }
        let image = shared.image.read();
        for (name, level) in image.features() {
            let finalized = FinalizedFeatureKey::default()
                .with_name(super::text(name.as_str()))
                .with_max_version_level(*level)
                .with_min_version_level(*level);
            response.finalized_features.push(finalized);
        }
        if !shared.quorum.voters().are_configured {
            let finalized = FinalizedFeatureKey::default()
                .with_name(super::text(KRAFT_VERSION))
                .with_max_version_level(1)
                .with_min_version_level(1);
            response.finalized_features.push(finalized);
        }
        // Clients keep what has the highest epoch: the offset of the last applied record only grows.
        response.finalized_features_epoch = image.applied_offset().max(1) - 1;
    }
    response.into()
}

/// `ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN`: letters and digits, with `-` and `.` inside.
fn is_software_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_serve_what_is_in_their_scope_in_order_of_keys() {
        for &api in SERVED_BY_BROKER {
            assert!(api.scope().on_broker(), "{api}");
        }
        for &api in SERVED_BY_CONTROLLER {
            assert!(api.scope().on_controller(), "{api}");
        }
        assert!(SERVED_BY_BROKER.is_sorted() && SERVED_BY_CONTROLLER.is_sorted());
    }

    #[test]
    fn software_names_are_those_of_kip_511() {
        for good in ["a", "apache-kafka-java", "2.3.1", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä", "a_b"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
