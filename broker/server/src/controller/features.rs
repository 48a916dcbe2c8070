//! UpdateFeatures (KIP-584, KIP-778).

use super::task::Active;
use burnin_core::controller::{FeatureUpdate, UpdateKind};
use burnin_core::metadata::ApiError;
use burnin_runtime::Runtime;
use burnin_wire::kafka::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use burnin_wire::kafka::messages::update_features_response::{
    UpdatableFeatureResult, UpdateFeaturesResponse,
};
use burnin_wire::{ErrorCode, Response};
use std::collections::BTreeSet;

/// Changes the levels of features: all of them or none.
pub(super) fn update<R: Runtime>(
    active: &mut Active<R>,
    version: i16,
    request: &UpdateFeaturesRequest,
) -> Result<Response, ApiError> {
    let mut seen = BTreeSet::new();
    let mut updates = Vec::new();
    for update in &request.feature_updates {
        if !seen.insert(update.feature.to_string()) {
            let message = format!("Feature {} is updated more than once.", update.feature.as_str());
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        updates.push(FeatureUpdate {
            name: update.feature.to_string(),
            level: update.max_version_level,
            kind: kind(version, update)?,
        });
    }
    let decision = active.controller.cluster()?.update_features(&updates, request.validate_only)?;
    active.commit(decision.records);
    let mut response = UpdateFeaturesResponse::default().with_error_message(None);
    if version < 2 {
        let result = |update: &FeatureUpdateKey| {
            UpdatableFeatureResult::default().with_feature(update.feature.clone()).with_error_message(None)
        };
        response.results = request.feature_updates.iter().map(result).collect();
    }
    Ok(response.into())
}

fn kind(version: i16, update: &FeatureUpdateKey) -> Result<UpdateKind, ApiError> {
    match update.upgrade_type {
        _ if version == 0 && update.allow_downgrade => Ok(UpdateKind::SafeDowngrade),
        _ if version == 0 => Ok(UpdateKind::Upgrade),
        1 => Ok(UpdateKind::Upgrade),
        2 => Ok(UpdateKind::SafeDowngrade),
        3 => Ok(UpdateKind::UnsafeDowngrade),
        other => {
            let message =
                format!("unknown upgrade type {other} (known: 1 upgrade, 2 safe, 3 unsafe downgrade)");
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, message))
        }
    }
}
