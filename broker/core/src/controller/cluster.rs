//! The cluster as the active controller sees it: the image, with the settings that decide.

use super::ControllerConfig;
use super::features::ELIGIBLE_LEADER_REPLICAS;
use super::partition_change::{Election, PartitionChange};
use crate::config::{Layers, Properties, topic_definition};
use crate::metadata::{
    ApiError, Broker, Image, METADATA_VERSION_ELR, METADATA_VERSION_NAME, Partition, ResourceType,
};
use burnin_wire::ErrorCode;
use uuid::Uuid;

/// Answers requests from the image alone; the methods are in the files of their topics.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    pub(super) image: &'a Image,
    pub(super) config: &'a ControllerConfig,
}

/// `DirectoryId`: a replica whose directory is not known yet.
const UNASSIGNED: Uuid = Uuid::from_u128(1);
/// `DirectoryId`: a replica whose directory failed.
const LOST: Uuid = Uuid::from_u128(2);
/// `DirectoryId.reserved`: ids below this are no directories.
const DIRECTORY_MIN: u128 = 100;

/// Whether no directory may have this id.
pub(super) fn is_reserved(directory: Uuid) -> bool {
    directory.as_u128() < DIRECTORY_MIN
}

/// The directory of a new replica: the only one that there is, or one that the broker chooses.
pub(super) fn directory_among(log_dirs: &[Uuid]) -> Uuid {
    match log_dirs {
        [] => Uuid::nil(),
        [only] => *only,
        _ => UNASSIGNED,
    }
}

impl<'a> Cluster<'a> {
    /// What was applied.
    pub fn image(&self) -> &'a Image {
        self.image
    }

    /// Whether the broker may lead and join ISRs: registered, not fenced, not about to stop.
    pub(super) fn is_active(&self, broker: i32) -> bool {
        self.image.brokers().get(&broker).is_some_and(Broker::is_active)
    }

    /// Whether the broker's directory of this partition works.
    pub(super) fn has_directory(&self, broker: i32, partition: &Partition) -> bool {
        let Some(known) = self.image.brokers().get(&broker) else { return false };
        match partition.directory(broker) {
            None => true,
            Some(LOST) => false,
            Some(directory) => {
                is_reserved(directory) || known.log_dirs.is_empty() || known.log_dirs.contains(&directory)
            }
        }
    }

    /// Where a new replica goes (`ClusterControlManager.defaultDir`).
    pub(super) fn default_directory(&self, broker: i32) -> Uuid {
        match self.image.brokers().get(&broker) {
            Some(known) => directory_among(&known.log_dirs),
            None => UNASSIGNED,
        }
    }

    /// The registration under this epoch; an older start of the broker must not act for the newer one.
    pub(super) fn check_epoch(&self, broker: i32, epoch: i64) -> Result<&'a Broker, ApiError> {
        let stale = |message| ApiError::new(ErrorCode::STALE_BROKER_EPOCH, message);
        let known = self.image.brokers().get(&broker);
        let known =
            known.ok_or_else(|| stale(format!("No broker registration found for broker id {broker}")))?;
        if known.epoch != epoch {
            let message = format!("Expected broker epoch {}, but got broker epoch {epoch}", known.epoch);
            return Err(stale(message));
        }
        Ok(known)
    }

    /// Whether eligible leader replicas are kept (KIP-966).
    pub fn has_elr(&self) -> bool {
        let level = |name: &str| self.image.features().get(name).copied().unwrap_or(0);
        level(ELIGIBLE_LEADER_REPLICAS) >= 1 && level(METADATA_VERSION_NAME) >= METADATA_VERSION_ELR
    }

    /// `min.insync.replicas` of a topic; a partition with fewer replicas needs all of them.
    pub fn min_isr(&self, topic: &str) -> usize {
        let own = self.image.config(ResourceType::Topic, topic);
        self.min_isr_with(self.image.config(ResourceType::Broker, ""), own)
    }

    /// The same with other settings than the current ones.
    pub(super) fn min_isr_with(&self, cluster: &Properties, topic: &Properties) -> usize {
        self.setting("min.insync.replicas", cluster, topic).parse().unwrap_or(1)
    }

    /// Whether a replica that may lack committed records may be elected, when there is no other.
    pub(super) fn elects_uncleanly(&self, topic: &str) -> bool {
        let own = self.image.config(ResourceType::Topic, topic);
        self.elects_uncleanly_with(self.image.config(ResourceType::Broker, ""), own)
    }

    /// The same with other settings than the current ones.
    pub(super) fn elects_uncleanly_with(&self, cluster: &Properties, topic: &Properties) -> bool {
        self.setting("unclean.leader.election.enable", cluster, topic) == "true"
    }

    /// A topic's setting: its own, else the cluster's default, else this controller's file. Settings of single
    /// brokers do not count: what decides about a partition must not depend on who leads it.
    fn setting(&self, name: &str, cluster: &Properties, topic: &Properties) -> String {
        static NONE: Properties = Properties::new();
        let definition = topic_definition(name).unwrap_or_else(|| panic!("no topic property {name}"));
        let layers = Layers { broker: &NONE, cluster, fixed: &self.config.properties };
        definition.resolve(&layers, topic).0
    }

    /// How a topic elects when its ISR changes.
    pub(super) fn election(&self, topic: &str) -> Election {
        if self.elects_uncleanly(topic) { Election::Unclean } else { Election::Online }
    }

    /// Begins a change of a partition, with the current rules and brokers.
    pub(super) fn change(&self, topic: &str, partition: &'a Partition) -> PartitionChange<'a> {
        self.change_with(self.min_isr(topic), partition)
    }

    /// The same with another `min.insync.replicas`.
    pub(super) fn change_with(&self, min_isr: usize, partition: &'a Partition) -> PartitionChange<'a> {
        let cluster = *self;
        PartitionChange::new(
            partition,
            min_isr,
            self.has_elr(),
            Box::new(move |broker| cluster.is_active(broker) && cluster.has_directory(broker, partition)),
            Box::new(move |broker| cluster.default_directory(broker)),
        )
    }
}
