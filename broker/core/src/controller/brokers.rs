//! Registration of brokers (`ClusterControlManager`; KIP-631, KIP-858, KIP-966).

use super::cluster::is_reserved;
use super::features::check_registered_features;
use super::membership::Event;
use super::{Cluster, Context, Controller, Decision};
use crate::metadata::ApiError;
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{
    Endpoint, FeatureRange, MetadataRecord, RegisterBrokerRecord, UnregisterBrokerRecord,
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A start of a broker presents itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    /// Its number.
    pub broker_id: i32,
    /// The cluster that its directory belongs to.
    pub cluster_id: String,
    /// New for every start of the process.
    pub incarnation_id: Uuid,
    /// Where it listens.
    pub listeners: Vec<Endpoint>,
    /// The levels of features that it supports.
    pub features: Vec<FeatureRange>,
    /// Its rack.
    pub rack: Option<String>,
    /// The ids of its directories.
    pub log_dirs: Vec<Uuid>,
    /// The epoch that it had when it stopped cleanly; -1 when it did not, or never ran.
    pub previous_broker_epoch: i64,
}

impl Controller {
    /// BrokerRegistration; the answer is the broker's epoch, the offset of its record. A start that did not follow
    /// a clean stop leaves every ISR and ELR in the same batch, since its tail may be lost.
    ///
    /// Errors: INCONSISTENT_CLUSTER_ID; DUPLICATE_BROKER_REGISTRATION while another start of that number is heard
    /// of; INVALID_REGISTRATION for directories; UNSUPPORTED_VERSION when it lacks a finalized feature level.
    pub fn register(&mut self, request: &Registration, context: Context) -> Result<Decision<i64>, ApiError> {
        let (cluster, active) = self.parts()?;
        cluster.check_registration(request)?;
        let existing = cluster.image.brokers().get(&request.broker_id);
        let amended = existing.filter(|known| known.incarnation_id == request.incarnation_id);
        if let Some(known) = existing.filter(|_| amended.is_none())
            && active.sessions.is_alive(request.broker_id, known.epoch, context.now)
        {
            let message = format!(
                "Another broker is registered with broker id {}: incarnation {} is alive.",
                request.broker_id, known.incarnation_id
            );
            return Err(ApiError::new(ErrorCode::DUPLICATE_BROKER_REGISTRATION, message));
        }
        let mut records = Vec::new();
        let mut record = registration_record(request);
        match amended {
            Some(known) => {
                record.broker_epoch = known.epoch;
                record.fenced = known.fenced;
                record.in_controlled_shutdown = known.in_controlled_shutdown;
            }
            None => {
                let was_clean = existing.is_some_and(|known| known.epoch == request.previous_broker_epoch);
                let id = request.broker_id;
                let event = if was_clean { Event::Leaves(id) } else { Event::LostTail(id) };
                records = cluster.follow_start(event, id, &request.log_dirs);
                record.broker_epoch = context.next_offset + records.len() as i64;
                tracing::info!(broker = id, epoch = record.broker_epoch, was_clean, "a broker registers");
            }
        }
        let epoch = record.broker_epoch;
        records.push(record.into());
        active.sessions.touch(request.broker_id, epoch, context.now);
        Ok(Decision::new(epoch, records))
    }
}

fn registration_record(request: &Registration) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        end_points: request.listeners.clone(),
        features: request.features.clone(),
        rack: request.rack.clone(),
        log_dirs: request.log_dirs.clone(),
        fenced: true,
        ..RegisterBrokerRecord::default()
    }
}

impl Cluster<'_> {
    /// UnregisterBroker: the broker is gone for good, and with it whatever it held. (Kafka leaves it in ELRs.)
    /// Errors: BROKER_ID_NOT_REGISTERED.
    pub fn unregister(&self, broker_id: i32) -> Result<Decision<()>, ApiError> {
        let Some(known) = self.image.brokers().get(&broker_id) else {
            let message = format!("Broker ID {broker_id} is not currently registered");
            return Err(ApiError::new(ErrorCode::BROKER_ID_NOT_REGISTERED, message));
        };
        let mut records = self.follow(Event::Gone(broker_id));
        records.push(UnregisterBrokerRecord { broker_id, broker_epoch: known.epoch }.into());
        Ok(Decision::new((), records))
    }

    fn check_registration(&self, request: &Registration) -> Result<(), ApiError> {
        if request.cluster_id != self.config.cluster_id {
            let message = format!(
                "Expected cluster ID {}, but got cluster ID {}",
                self.config.cluster_id, request.cluster_id
            );
            return Err(ApiError::new(ErrorCode::INCONSISTENT_CLUSTER_ID, message));
        }
        if request.broker_id < 0 {
            let message = format!("Invalid broker id {}: it must not be negative", request.broker_id);
            return Err(ApiError::new(ErrorCode::INVALID_REGISTRATION, message));
        }
        self.check_directories(request)
            .map_err(|message| ApiError::new(ErrorCode::INVALID_REGISTRATION, message))?;
        check_registered_features(self.image.features(), &request.features)
    }

    fn check_directories(&self, request: &Registration) -> Result<(), String> {
        if request.log_dirs.is_empty() {
            return Err("No directories specified in request".to_owned());
        }
        let mut seen = BTreeSet::new();
        for directory in &request.log_dirs {
            if is_reserved(*directory) {
                return Err("Reserved directory ID in request".to_owned());
            }
            if !seen.insert(*directory) {
                return Err("Duplicate directory ID in request".to_owned());
            }
            let owner = self.image.brokers().iter().find(|(_, broker)| broker.log_dirs.contains(directory));
            if let Some((owner, _)) = owner.filter(|(owner, _)| **owner != request.broker_id) {
                return Err(format!(
                    "Broker {owner} is already registered with directory {}",
                    crate::encode_id(*directory)
                ));
            }
        }
        Ok(())
    }

    /// What a new leader of the quorum writes first: for a cluster without metadata, its features; and with ELR,
    /// a `min.insync.replicas` of the whole cluster, so that no broker's file decides what is committed.
    pub(super) fn activation_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        let is_new = self.image.features().is_empty();
        if is_new {
            records.extend(
                self.config.bootstrap.iter().map(|(name, level)| super::features::level(name, *level)),
            );
        }
        let elr_begins = is_new
            && self
                .config
                .bootstrap
                .iter()
                .any(|(name, level)| name == super::features::ELIGIBLE_LEADER_REPLICAS && *level >= 1);
        if self.has_elr() || elr_begins {
            records.extend(self.elr_safety_records());
        }
        records
    }
}
