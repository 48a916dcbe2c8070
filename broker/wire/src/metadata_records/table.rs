//! The records, as Kafka 4.3 has them. A field is `name: type = default since version tag number;`. Untagged fields
//! stand in the order of the wire, tagged ones in the order of their tags.

use bytes::BytesMut;
use uuid::Uuid;

use super::MetadataRecordError;
use super::codec::{Field, push_tagged, put_tagged, take_tagged, take_whole};

macro_rules! or {
    ($default:expr) => {
        $default
    };
    ($default:expr, $value:expr) => {
        $value
    };
}

macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr
            $(, since $since:literal)? $(, tag $tag:literal)?;)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Eq, Debug)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl Default for $name {
                fn default() -> Self {
                    $name { $($field: $default,)* }
                }
            }

            impl $name {
                fn put_version(&self, buf: &mut BytesMut, version: i16) {
                    let default = &$name::default();
                    assert!(version >= 0, "{default:?} has no version {version}");
                    let tagged: &mut Vec<(u32, BytesMut)> = &mut Vec::new();
                    $(
                        let tag: Option<u32> = or!(None $(, Some($tag))?);
                        let present = version >= or!(0 $(, $since)?);
                        let is_default = self.$field == default.$field;
                        assert!(
                            present || is_default,
                            concat!(stringify!($name), " v{} cannot carry ", stringify!($field), " {:?}"),
                            version,
                            self.$field
                        );
                        match tag {
                            None if present => self.$field.put(buf),
                            Some(tag) if !is_default => push_tagged(tagged, tag, &self.$field),
                            _ => {}
                        }
                    )*
                    put_tagged(buf, tagged);
                }

                fn take_version(bytes: &mut &[u8], version: i16) -> Result<Self, MetadataRecordError> {
                    assert!(version >= 0, "no version {version}");
                    let record = &mut $name::default();
                    $(
                        let tag: Option<u32> = or!(None $(, Some($tag))?);
                        if tag.is_none() && version >= or!(0 $(, $since)?) {
                            record.$field = Field::take(bytes)?;
                        }
                    )*
                    for tagged in take_tagged(bytes)? {
                        $(
                            let known: Option<u32> = or!(None $(, Some($tag))?);
                            if known == Some(tagged.0) && version >= or!(0 $(, $since)?) {
                                record.$field = take_whole(tagged.1)?;
                            }
                        )*
                        let _ = tagged;
                    }
                    Ok(std::mem::take(record))
                }

                #[cfg(test)]
                fn texts(&self) -> Vec<(&'static str, String)> {
                    vec![$((stringify!($field), self.$field.text()),)*]
                }
            }
        )*
    };
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident($record:ident) = $key:literal, $min:literal..=$max:literal {
        $($fields:tt)*
    })*) => {
        structs! { $($(#[$doc])* $record { $($fields)* })* }

        /// Any record of the metadata log.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum MetadataRecord { $($name($record),)* }

        impl MetadataRecord {
            /// Kafka's name of the type.
            pub const fn name(&self) -> &'static str {
                match self { $(MetadataRecord::$name(_) => stringify!($record),)* }
            }

            /// Kafka's number of the type.
            pub const fn api_key(&self) -> u16 {
                match self { $(MetadataRecord::$name(_) => $key,)* }
            }

            /// First and last version.
            pub const fn versions(&self) -> (i16, i16) {
                match self { $(MetadataRecord::$name(_) => ($min, $max),)* }
            }

            pub(super) fn put(&self, buf: &mut BytesMut, version: i16) {
                match self { $(MetadataRecord::$name(record) => record.put_version(buf, version),)* }
            }

            pub(super) fn take(
                api_key: u32,
                version: u32,
                bytes: &mut &[u8],
            ) -> Result<(MetadataRecord, i16), MetadataRecordError> {
                match api_key {
                    $($key => {
                        let known = i16::try_from(version).ok().filter(|version| ($min..=$max).contains(version));
                        let name = stringify!($record);
                        let unknown = MetadataRecordError::Version { name, version, min: $min, max: $max };
                        let version = known.ok_or(unknown)?;
                        Ok((MetadataRecord::$name($record::take_version(bytes, version)?), version))
                    })*
                    unknown => Err(MetadataRecordError::Unknown(unknown)),
                }
            }

            #[cfg(test)]
            pub(super) fn texts(&self) -> Vec<(&'static str, String)> {
                match self { $(MetadataRecord::$name(record) => record.texts(),)* }
            }

            #[cfg(test)]
            pub(super) const TYPES: &'static [&'static str] = &[$(stringify!($record),)*];
        }

        $(
            impl From<$record> for MetadataRecord {
                fn from(record: $record) -> Self { MetadataRecord::$name(record) }
            }
        )*
    };
}

records! {
    /// A broker has registered; its epoch is the offset of this record.
    RegisterBroker(RegisterBrokerRecord) = 0, 0..=4 {
        broker_id: i32 = 0;
        is_migrating_zk_broker: bool = false, since 2;
        incarnation_id: Uuid = Uuid::nil();
        broker_epoch: i64 = 0;
        end_points: Vec<Endpoint> = Vec::new();
        features: Vec<FeatureRange> = Vec::new();
        rack: Option<String> = Some(String::new());
        fenced: bool = true;
        in_controlled_shutdown: bool = false, since 1;
        log_dirs: Vec<Uuid> = Vec::new(), since 3, tag 0;
        cordoned_log_dirs: Option<Vec<Uuid>> = None, since 4, tag 1;
    }
    /// A broker is gone for good.
    UnregisterBroker(UnregisterBrokerRecord) = 1, 0..=0 {
        broker_id: i32 = 0;
        broker_epoch: i64 = 0;
    }
    /// A topic exists; its partitions follow.
    Topic(TopicRecord) = 2, 0..=0 {
        name: String = String::new();
        topic_id: Uuid = Uuid::nil();
    }
    /// A partition exists, or all of its state is replaced.
    Partition(PartitionRecord) = 3, 0..=2 {
        partition_id: i32 = -1;
        topic_id: Uuid = Uuid::nil();
        /// In preferred order.
        replicas: Vec<i32> = Vec::new();
        isr: Vec<i32> = Vec::new();
        removing_replicas: Vec<i32> = Vec::new();
        adding_replicas: Vec<i32> = Vec::new();
        /// -1: none.
        leader: i32 = -1;
        leader_epoch: i32 = -1;
        partition_epoch: i32 = -1;
        /// One for each replica (KIP-858).
        directories: Vec<Uuid> = Vec::new(), since 1;
        /// 1: recovering from an unclean election.
        leader_recovery_state: i8 = 0, tag 0;
        /// KIP-966.
        eligible_leader_replicas: Option<Vec<i32>> = None, since 2, tag 1;
        last_known_elr: Option<Vec<i32>> = None, since 2, tag 2;
    }
    /// A setting, or its removal when `value` is `None`.
    Config(ConfigRecord) = 4, 0..=0 {
        /// Kafka's `ConfigResource.Type`: 2 topic, 4 broker.
        resource_type: i8 = 0;
        /// Empty for the default of all brokers.
        resource_name: String = String::new();
        name: String = String::new();
        value: Option<String> = Some(String::new());
    }
    /// What changed in a partition. Each one increments the partition epoch by 1, and a new leader the leader epoch.
    PartitionChange(PartitionChangeRecord) = 5, 0..=2 {
        partition_id: i32 = -1;
        topic_id: Uuid = Uuid::nil();
        isr: Option<Vec<i32>> = None, tag 0;
        /// -2: no change. -1: none.
        leader: i32 = -2, tag 1;
        replicas: Option<Vec<i32>> = None, tag 2;
        removing_replicas: Option<Vec<i32>> = None, tag 3;
        adding_replicas: Option<Vec<i32>> = None, tag 4;
        /// -1: no change.
        leader_recovery_state: i8 = -1, tag 5;
        eligible_leader_replicas: Option<Vec<i32>> = None, since 2, tag 6;
        last_known_elr: Option<Vec<i32>> = None, since 2, tag 7;
        directories: Option<Vec<Uuid>> = None, since 1, tag 8;
    }
    /// A broker is fenced. Newer clusters write [`BrokerRegistrationChangeRecord`].
    FenceBroker(FenceBrokerRecord) = 7, 0..=0 {
        id: i32 = 0;
        epoch: i64 = 0;
    }
    /// A broker is unfenced. Newer clusters write [`BrokerRegistrationChangeRecord`].
    UnfenceBroker(UnfenceBrokerRecord) = 8, 0..=0 {
        id: i32 = 0;
        epoch: i64 = 0;
    }
    /// A topic and its partitions are gone.
    RemoveTopic(RemoveTopicRecord) = 9, 0..=0 {
        topic_id: Uuid = Uuid::nil();
    }
    /// The finalized level of a feature; 0 removes it.
    FeatureLevel(FeatureLevelRecord) = 12, 0..=0 {
        name: String = String::new();
        feature_level: i16 = 0;
    }
    /// A block of producer ids was handed out.
    ProducerIds(ProducerIdsRecord) = 15, 0..=0 {
        broker_id: i32 = 0;
        broker_epoch: i64 = -1;
        /// The first id of the next block.
        next_producer_id: i64 = 0;
    }
    /// What changed in a broker's registration.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17, 0..=3 {
        broker_id: i32 = 0;
        broker_epoch: i64 = 0;
        /// -1: unfenced. 0: no change. 1: fenced.
        fenced: i8 = 0, tag 0;
        /// 0: no change. 1: in controlled shutdown.
        in_controlled_shutdown: i8 = 0, since 1, tag 1;
        log_dirs: Vec<Uuid> = Vec::new(), since 2, tag 2;
        cordoned_log_dirs: Option<Vec<Uuid>> = None, since 3, tag 3;
    }
    /// Written by an idle controller, so that its high watermark moves.
    NoOp(NoOpRecord) = 20, 0..=0 {
    }
    /// Kept from the time of ZooKeeper: 0 in a cluster that never had it.
    ZkMigrationState(ZkMigrationStateRecord) = 21, 0..=0 {
        zk_migration_state: i8 = 0;
    }
    /// Records from here on count only when the transaction ends (KIP-868).
    BeginTransaction(BeginTransactionRecord) = 23, 0..=0 {
        name: Option<String> = None, tag 0;
    }
    /// All records since the transaction began count.
    EndTransaction(EndTransactionRecord) = 24, 0..=0 {
    }
    /// No record since the transaction began counts.
    AbortTransaction(AbortTransactionRecord) = 25, 0..=0 {
        reason: Option<String> = None, tag 0;
    }
    /// A controller has registered.
    RegisterController(RegisterControllerRecord) = 27, 0..=0 {
        controller_id: i32 = 0;
        incarnation_id: Uuid = Uuid::nil();
        zk_migration_ready: bool = false;
        end_points: Vec<Endpoint> = Vec::new();
        features: Vec<FeatureRange> = Vec::new();
    }
    /// The eligible leader replicas of a topic, or of all topics when the name is empty, are forgotten.
    ClearElr(ClearElrRecord) = 28, 0..=0 {
        topic_name: String = String::new();
    }
}

structs! {
    /// Where a broker or a controller listens.
    Endpoint {
        name: String = String::new();
        host: String = String::new();
        port: u16 = 0;
        /// Kafka's `SecurityProtocol`: 0 is PLAINTEXT.
        security_protocol: i16 = 0;
    }
    /// The levels of a feature that a node supports.
    FeatureRange {
        name: String = String::new();
        min_supported_version: i16 = 0;
        max_supported_version: i16 = 0;
    }
}

macro_rules! nested {
    ($($name:ident)*) => {
        $(impl Field for $name {
            fn put(&self, buf: &mut BytesMut) {
                self.put_version(buf, i16::MAX);
            }
            fn take(bytes: &mut &[u8]) -> Result<Self, MetadataRecordError> {
                $name::take_version(bytes, i16::MAX)
            }
            #[cfg(test)]
            fn text(&self) -> String {
                crate::metadata_records::tests::java_text(&self.texts())
            }
        })*
    };
}

nested! { Endpoint FeatureRange }

pub(crate) use {nested, or, structs};
