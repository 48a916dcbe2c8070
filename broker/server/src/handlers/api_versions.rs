//! ApiVersions: what this broker speaks (KIP-35, KIP-511, KIP-584).

use crate::shared::Shared;
use burnin_core::metadata::METADATA_VERSION;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use burnin_wire::kafka::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use burnin_wire::{ErrorCode, Response, StrBytes, versions};

/// The lowest metadata version that KRaft has (`MetadataVersion.MINIMUM_KRAFT_VERSION` of Kafka 3).
const METADATA_VERSION_MIN: i16 = 1;

/// Answers ApiVersions.
pub(super) fn api_versions<R: Runtime>(
    shared: &Shared<R>,
    version: i16,
    request: &ApiVersionsRequest,
) -> Response {
    let mut response = ApiVersionsResponse::default();
    let named = [&request.client_software_name, &request.client_software_version];
    if version >= 3 && !named.into_iter().all(|name| is_software_name(name)) {
        response.error_code = ErrorCode::INVALID_REQUEST.code();
        return response.into();
    }
    response.api_keys = versions::advertised()
        .iter()
        .map(|(api, min, max)| {
            ApiVersion::default().with_api_key(api.key()).with_min_version(*min).with_max_version(*max)
        })
        .collect();
    if version >= 3 {
        let name = StrBytes::from_static_str(METADATA_VERSION.0);
        let supported = SupportedFeatureKey::default()
            .with_name(name)
            .with_min_version(METADATA_VERSION_MIN)
            .with_max_version(METADATA_VERSION.1);
        response.supported_features.push(supported);
        let image = shared.image.read();
        for (name, level) in image.features() {
            let finalized = FinalizedFeatureKey::default()
                .with_name(super::text(name.as_str()))
                .with_max_version_level(*level)
                .with_min_version_level(*level);
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
    fn software_names_are_those_of_kip_511() {
        for good in ["a", "apache-kafka-java", "2.3.1", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "ä", "a_b"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
