//! Registration of controllers (`ClusterControlManager.registerController`, KIP-919).

use super::{Cluster, Decision};
use crate::metadata::ApiError;
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{Endpoint, FeatureRange, MetadataRecord, RegisterControllerRecord};
use uuid::Uuid;

/// What a controller tells when it starts.
#[derive(Clone, Debug)]
pub struct ControllerRegistration {
    /// Its node id.
    pub controller_id: i32,
    /// This start of its process.
    pub incarnation_id: Uuid,
    /// Where it is reached.
    pub listeners: Vec<Endpoint>,
    /// The levels of features that it supports.
    pub features: Vec<FeatureRange>,
}

impl Cluster<'_> {
    /// ControllerRegistration: no feature is raised to a level that a voter has not said to support. Errors:
    /// INVALID_REQUEST for a node that is no voter and cannot become one.
    pub fn register_controller(&self, request: &ControllerRegistration) -> Result<Decision<()>, ApiError> {
        let ControllerRegistration { controller_id, incarnation_id, listeners, features } = request.clone();
        if self.config.voters_are_configured && !self.config.voters.contains(&controller_id) {
            let message = format!("Node {controller_id} is no voter of this cluster.");
            return Err(ApiError::new(ErrorCode::INVALID_REQUEST, message));
        }
        let record = RegisterControllerRecord {
            controller_id,
            incarnation_id,
            end_points: listeners,
            features,
            ..RegisterControllerRecord::default()
        };
        Ok(Decision::new((), vec![MetadataRecord::from(record)]))
    }
}
