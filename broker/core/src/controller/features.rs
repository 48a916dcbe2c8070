//! Finalized features and `metadata.version` (`FeatureControlManager`, KIP-584, KIP-778).

use super::configs::same_isr;
use super::{Cluster, Decision};
use crate::metadata::{ApiError, FeatureRanges, METADATA_VERSION_ELR, METADATA_VERSION_NAME, ResourceType};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{
    ConfigRecord, FeatureLevelRecord, FeatureRange, MetadataRecord, PartitionChangeRecord,
};
use std::collections::BTreeMap;

/// Whether eligible leader replicas are kept (KIP-966).
pub const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";

/// Whether voters stand in the log (KIP-853). No record of the controller says so but a control record of the log.
pub const KRAFT_VERSION: &str = "kraft.version";

/// How far a client lets a level go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    /// Only up.
    Upgrade,
    /// Down, if nothing is lost.
    SafeDowngrade,
    /// Down in any case; refused here, as in Kafka.
    UnsafeDowngrade,
}

/// A wish for a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Of this feature.
    pub name: String,
    /// 0 takes the feature away.
    pub level: i16,
    /// How far it may go.
    pub kind: UpdateKind,
}

/// A broker must support every finalized level (`processRegistrationFeature`).
pub(super) fn check_registered_features(
    finalized: &BTreeMap<String, i16>,
    offered: &[FeatureRange],
) -> Result<(), ApiError> {
    for (name, level) in finalized {
        let range = offered.iter().find(|range| range.name == *name);
        let (min, max) = range.map_or((0, 0), |r| (r.min_supported_version, r.max_supported_version));
        if !(min..=max).contains(level) {
            let message = format!(
                "Unable to register because the broker does not support finalized version {level} of {name}. The \
                 broker wants a version between {min} and {max}, inclusive."
            );
            return Err(ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message));
        }
    }
    Ok(())
}

pub(super) fn level(name: &str, feature_level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.to_owned(), feature_level }.into()
}

impl Cluster<'_> {
    /// UpdateFeatures: all of them or none. Errors: INVALID_UPDATE_VERSION, with the node that lacks the level.
    pub fn update_features(
        &self,
        updates: &[FeatureUpdate],
        validate_only: bool,
    ) -> Result<Decision<()>, ApiError> {
        let mut proposed = self.image.features().clone();
        for update in updates {
            self.check_update(update)?;
            proposed.insert(update.name.clone(), update.level);
        }
        let of = |name: &str| proposed.get(name).copied().unwrap_or(0);
        let (elr, version) = (of(ELIGIBLE_LEADER_REPLICAS), of(METADATA_VERSION_NAME));
        if elr >= 1 && version < METADATA_VERSION_ELR {
            let why = format!("It depends on {METADATA_VERSION_NAME} level {METADATA_VERSION_ELR}.");
            return Err(invalid(ELIGIBLE_LEADER_REPLICAS, elr, &why));
        }
        if validate_only {
            return Ok(Decision::new((), Vec::new()));
        }
        let changes = updates.iter().filter(|u| self.finalized(&u.name) != u.level);
        let mut records: Vec<MetadataRecord> = changes.map(|u| level(&u.name, u.level)).collect();
        match (self.finalized(ELIGIBLE_LEADER_REPLICAS), elr) {
            (0, 1..) => {
                records.extend(self.elr_safety_records());
                records.extend(self.begin_elr_records());
            }
            (1.., 0) => records.extend(self.forget_elr_records()),
            _ => {}
        }
        Ok(Decision::new((), records))
    }

    fn finalized(&self, name: &str) -> i16 {
        self.image.features().get(name).copied().unwrap_or(0)
    }

    fn check_update(&self, update: &FeatureUpdate) -> Result<(), ApiError> {
        let FeatureUpdate { name, level, kind } = update;
        let refuse = |why: &str| Err(invalid(name, *level, why));
        let current = self.finalized(name);
        if name == KRAFT_VERSION {
            return refuse("It is decided when the directories of the controllers are formatted.");
        }
        if *level < 0 {
            return refuse("A feature version cannot be less than 0.");
        }
        if let Some(why) = self.reason_not_supported(name, *level) {
            return refuse(&why);
        }
        if *level < current && *kind == UpdateKind::Upgrade {
            return refuse(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                 unsafe downgrade.",
            );
        }
        if *level > current && *kind != UpdateKind::Upgrade {
            return refuse("Can't downgrade to a newer version.");
        }
        let loses_records = *level < METADATA_VERSION_ELR && current >= METADATA_VERSION_ELR;
        if name == METADATA_VERSION_NAME && loses_records {
            return refuse(match kind {
                UpdateKind::UnsafeDowngrade => "Unsafe metadata downgrade is not supported in this version.",
                _ => {
                    "Refusing to perform the requested downgrade because it might delete metadata information."
                }
            });
        }
        Ok(())
    }

    /// Who cannot work at this level: this controller, another one, or a broker.
    fn reason_not_supported(&self, name: &str, level: i16) -> Option<String> {
        let lacks = |who: String, features: &FeatureRanges| {
            let (min, max) = features.get(name).copied().unwrap_or((0, 0));
            let supported = level == 0 && name != METADATA_VERSION_NAME || (min..=max).contains(&level);
            (!supported).then(|| match max {
                0 => format!("{who} does not support this feature."),
                _ => format!("{who} only supports versions {min}-{max}"),
            })
        };
        let local = lacks(format!("Local controller {}", self.config.node_id), &self.config.features);
        let mut brokers = self.image.brokers().iter();
        let mut controllers = self.image.controllers().iter().filter(|(id, _)| **id != self.config.node_id);
        let missing = |id: &&i32| **id != self.config.node_id && !self.image.controllers().contains_key(id);
        local
            .or_else(|| brokers.find_map(|(id, broker)| lacks(format!("Broker {id}"), &broker.features)))
            .or_else(|| controllers.find_map(|(id, node)| lacks(format!("Controller {id}"), &node.features)))
            .or_else(|| {
                let id = self.config.voters.iter().find(missing)?;
                Some(format!("controller {id} has not registered, and may not support this feature"))
            })
    }

    /// With ELR, `min.insync.replicas` is a matter of the cluster and of topics: a value that leaders take from
    /// their own files would let them commit what the controller counts as not committed
    /// (`maybeGenerateElrSafetyRecords`).
    pub(super) fn elr_safety_records(&self) -> Vec<MetadataRecord> {
        const NAME: &str = "min.insync.replicas";
        let record = |resource_name: &str, value: Option<String>| {
            MetadataRecord::from(ConfigRecord {
                resource_type: ResourceType::Broker as i8,
                resource_name: resource_name.to_owned(),
                name: NAME.to_owned(),
                value,
            })
        };
        let mut records = Vec::new();
        if !self.image.config(ResourceType::Broker, "").contains_key(NAME) {
            let value = self.config.properties.get(NAME).map_or("1", String::as_str);
            records.push(record("", Some(value.to_owned())));
        }
        let own = self.image.brokers().keys().map(ToString::to_string);
        let own = own.filter(|id| self.image.config(ResourceType::Broker, id).contains_key(NAME));
        records.extend(own.map(|id| record(&id, None)));
        records
    }

    /// A new partition epoch for every partition, so that no leader changes an ISR before it has seen the
    /// `min.insync.replicas` that comes in the same batch. A last member that stayed in the ISR is an eligible
    /// leader from now on.
    fn begin_elr_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.image.topics().values() {
            for (number, partition) in topic.partitions.iter().filter(|(_, p)| !p.isr.is_empty()) {
                let mut record = same_isr(topic.id, *number, partition);
                if partition.leader == -1 {
                    record.eligible_leader_replicas = record.isr.replace(Vec::new());
                    record.last_known_elr.clone_from(&record.eligible_leader_replicas);
                }
                records.push(record.into());
            }
        }
        records
    }

    /// Without ELR nobody keeps it true, so it ends with the feature; where the ISR is empty it stays as the only
    /// trace of who may lead.
    fn forget_elr_records(&self) -> Vec<MetadataRecord> {
        let topics = self.image.topics().values();
        let partitions = topics.flat_map(|topic| topic.partitions.iter().map(move |entry| (topic.id, entry)));
        let stale =
            partitions.filter(|(_, (_, partition))| !partition.isr.is_empty() && !partition.elr.is_empty());
        stale
            .map(|(topic_id, (number, _))| {
                MetadataRecord::from(PartitionChangeRecord {
                    topic_id,
                    partition_id: *number,
                    eligible_leader_replicas: Some(Vec::new()),
                    ..PartitionChangeRecord::default()
                })
            })
            .collect()
    }
}

fn invalid(name: &str, level: i16, why: &str) -> ApiError {
    let message = format!("Invalid update version {level} for feature {name}. {why}");
    ApiError::new(ErrorCode::INVALID_UPDATE_VERSION, message)
}
