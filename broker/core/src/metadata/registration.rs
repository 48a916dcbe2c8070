//! Brokers and controllers as the metadata log has them (`BrokerRegistration`, `ControllerRegistration`).

use burnin_wire::metadata_records::{
    BrokerRegistrationChangeRecord, Endpoint, FeatureRange, RegisterBrokerRecord, RegisterControllerRecord,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The levels of features that a node supports: from, to.
pub type FeatureRanges = BTreeMap<String, (i16, i16)>;

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Which start of its process registered.
    pub incarnation_id: Uuid,
    /// The offset of its registration.
    pub epoch: i64,
    /// Where clients reach it: listener name, host, port.
    pub endpoints: Vec<(String, String, u16)>,
    /// Its rack.
    pub rack: Option<String>,
    /// Whether it may not lead anything.
    pub fenced: bool,
    /// Whether it is about to stop: it leads nothing and joins no ISR any more.
    pub in_controlled_shutdown: bool,
    /// The levels of features that it supports.
    pub features: FeatureRanges,
    /// The ids of its directories that work.
    pub log_dirs: Vec<Uuid>,
}

/// A registered controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerNode {
    /// Which start of its process registered.
    pub incarnation_id: Uuid,
    /// Where it is reached: listener name, host, port.
    pub endpoints: Vec<(String, String, u16)>,
    /// The levels of features that it supports.
    pub features: FeatureRanges,
}

impl Broker {
    pub(super) fn new(record: &RegisterBrokerRecord) -> Broker {
        Broker {
            incarnation_id: record.incarnation_id,
            epoch: record.broker_epoch,
            endpoints: endpoints(&record.end_points),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            features: ranges(&record.features),
            log_dirs: record.log_dirs.clone(),
        }
    }

    pub(super) fn merge(&mut self, change: &BrokerRegistrationChangeRecord) {
        match change.fenced {
            -1 => self.fenced = false,
            1 => self.fenced = true,
            _ => {}
        }
        if change.in_controlled_shutdown == 1 {
            self.in_controlled_shutdown = true;
        }
        if !change.log_dirs.is_empty() {
            self.log_dirs.clone_from(&change.log_dirs);
        }
    }

    /// Whether it may lead partitions and join their ISR.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

impl ControllerNode {
    pub(super) fn new(record: &RegisterControllerRecord) -> ControllerNode {
        ControllerNode {
            incarnation_id: record.incarnation_id,
            endpoints: endpoints(&record.end_points),
            features: ranges(&record.features),
        }
    }
}

fn endpoints(endpoints: &[Endpoint]) -> Vec<(String, String, u16)> {
    endpoints.iter().map(|endpoint| (endpoint.name.clone(), endpoint.host.clone(), endpoint.port)).collect()
}

fn ranges(features: &[FeatureRange]) -> FeatureRanges {
    let range = |f: &FeatureRange| (f.name.clone(), (f.min_supported_version, f.max_supported_version));
    features.iter().map(range).collect()
}
