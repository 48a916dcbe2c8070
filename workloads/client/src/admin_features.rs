//! Admin calls about features (KIP-584).

use crate::admin::{Admin, Target, check, text};
use crate::error::ClientError;
use crate::requests::millis;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::update_features_request::FeatureUpdateKey;
use burnin_wire::kafka::messages::{ApiVersionsRequest, UpdateFeaturesRequest};
use burnin_wire::{Request, Response, StrBytes};

impl<R: Runtime> Admin<R> {
    /// The features that some broker supports, each with its highest level.
    pub async fn supported_features(&self) -> Result<Vec<(String, i16)>, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("burnin-client"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let what = "to ask for the features that are supported";
        self.call(what, Target::Any, Request::ApiVersions(request), |response| {
            let Response::ApiVersions(response) = response else { unreachable!("asked for ApiVersions") };
            check(response.error_code, None)?;
            let features = response.supported_features.into_iter();
            Ok(features.map(|feature| (feature.name.to_string(), feature.max_version)).collect())
        })
        .await
    }

    /// Raises features to these levels: all of them or none.
    pub async fn upgrade_features(&self, levels: &[(String, i16)]) -> Result<(), ClientError> {
        const UPGRADE: i8 = 1;
        let update = |(name, level): &(String, i16)| {
            FeatureUpdateKey::default()
                .with_feature(text(name))
                .with_max_version_level(*level)
                .with_upgrade_type(UPGRADE)
        };
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(millis(self.client.config().request_timeout))
            .with_feature_updates(levels.iter().map(update).collect());
        let what = format!("to raise features to {levels:?}");
        self.call(&what, Target::Any, Request::UpdateFeatures(request), |response| {
            let Response::UpdateFeatures(response) = response else {
                unreachable!("asked for UpdateFeatures")
            };
            check(response.error_code, response.error_message)
        })
        .await
    }
}
