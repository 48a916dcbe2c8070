//! The start of a broker after its log directory was opened: replays the metadata log, registers this start,
//! raises leader epochs after an unclean stop, and serves the partitions that the metadata name.

use crate::controller::MetadataWriter;
use crate::error::StartError;
use crate::partitions::log_config;
use crate::shared::Shared;
use burnin_core::config::{Layers, Properties, TopicSettings};
use burnin_core::metadata::{Image, METADATA_TOPIC, METADATA_VERSION, decode_record};
use burnin_log::{Log, LogConfig, LogError, TopicPartition};
use burnin_runtime::Runtime;
use burnin_wire::batch::{batches, records};
use burnin_wire::metadata_records::{
    Endpoint, FeatureLevelRecord, MetadataRecord, PartitionChangeRecord, RegisterBrokerRecord,
};
use std::sync::Arc;
use uuid::Uuid;

/// The id of the topic of the metadata log (`Uuid.METADATA_TOPIC_ID`).
const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);

/// How much of the metadata log is read at once.
const REPLAY_BYTES: usize = 1024 * 1024;

/// See the module. `was_clean`: the last stop was in order.
pub(crate) async fn recover<R: Runtime>(
    shared: &Arc<Shared<R>>,
    was_clean: bool,
) -> Result<MetadataWriter<R>, StartError> {
    let log = open_metadata_log(shared).await?;
    let image = replay(shared, &log).await?;
    *shared.image.write() = image;
    let writer = MetadataWriter { epoch: log.latest_epoch().map_or(1, |epoch| epoch + 1), log };
    let ids: Vec<Uuid> = shared.image.read().topics().values().map(|topic| topic.id).collect();
    for id in ids {
        shared.host_topic(id).await?;
    }
    remove_leftovers(shared).await?;
    let records = registration(shared, &shared.image.read(), writer.log.end_offset(), was_clean);
    let broken = |reason: String| StartError::Metadata { path: shared.config.data_dir.clone(), reason };
    shared.make_true(&writer, &records).await.map_err(|error| broken(error.to_string()))?;
    shared.configure_topics();
    Ok(writer)
}

async fn open_metadata_log<R: Runtime>(shared: &Shared<R>) -> Result<Log<R>, LogError> {
    let none = Properties::new();
    let layers = Layers { broker: &none, cluster: &none, fixed: &shared.config.properties };
    let number = |name: &str| layers.value(name).and_then(|text| text.trim().parse::<i64>().ok());
    let defaults = log_config(&TopicSettings::resolve(&layers, &none));
    let config = LogConfig {
        segment_bytes: number("metadata.log.segment.bytes")
            .and_then(|n| n.try_into().ok())
            .unwrap_or(1 << 30),
        segment_ms: number("metadata.log.segment.ms").unwrap_or(i64::MAX),
        // Nothing of it may go before there are snapshots, and nothing may be lost at all.
        cleanup_delete: false,
        flush_messages: 1,
        message_timestamp_type: burnin_log::TimestampType::CreateTime,
        max_message_bytes: i32::MAX,
        ..defaults
    };
    let tp = TopicPartition::new(METADATA_TOPIC, 0);
    match shared.logs.log(&tp) {
        Some(log) => {
            log.set_config(config);
            Ok(log)
        }
        None => shared.logs.create(tp, METADATA_TOPIC_ID, config).await,
    }
}

async fn replay<R: Runtime>(shared: &Shared<R>, log: &Log<R>) -> Result<Image, StartError> {
    let broken = |reason: String| StartError::Metadata { path: shared.config.data_dir.clone(), reason };
    let mut image = Image::default();
    let (mut offset, end) = (log.start_offset(), log.end_offset());
    while offset < end {
        let read =
            log.read(offset, end, REPLAY_BYTES, true).await.map_err(|error| broken(error.to_string()))?;
        if read.next_offset <= offset {
            return Err(broken(format!("nothing can be read at offset {offset} of {end}")));
        }
        for chunk in &read.batches {
            for batch in batches(chunk) {
                let (header, bytes) = batch.map_err(|error| broken(error.to_string()))?;
                if !header.is_control() {
                    apply_batch(&mut image, &chunk.slice_ref(bytes)).map_err(broken)?;
                }
            }
        }
        offset = read.next_offset;
    }
    Ok(image)
}

fn apply_batch(image: &mut Image, batch: &bytes::Bytes) -> Result<(), String> {
    let opened = records(batch).map_err(|error| error.to_string())?;
    for record in &opened {
        let record = record.map_err(|error| error.to_string())?;
        let at = |error: String| format!("record at offset {}: {error}", record.offset);
        let value = record.value.ok_or_else(|| at("it has no value".to_owned()))?;
        let decoded = decode_record(value).map_err(|error| at(error.to_string()))?;
        image.apply(record.offset, &decoded)?;
    }
    Ok(())
}

/// Finishes deletions that a crash interrupted. A directory that no metadata ever named is a stranger: it is left
/// alone.
async fn remove_leftovers<R: Runtime>(shared: &Shared<R>) -> Result<(), LogError> {
    for log in shared.logs.logs() {
        let tp = log.topic_partition();
        if &*tp.topic == METADATA_TOPIC {
            continue;
        }
        let served = shared.partitions.read().topic(&tp.topic).is_some_and(|topic| {
            topic.partition(tp.partition).is_some_and(|partition| partition.topic.id == log.topic_id())
        });
        if served || log.topic_id().is_nil() {
            continue;
        }
        if shared.image.read().was_removed(&log.topic_id()) {
            shared.logs.delete(tp).await?;
        } else {
            tracing::warn!(partition = %tp, topic_id = %log.topic_id(), "stray directory: no metadata name this partition");
        }
    }
    Ok(())
}

/// The records of this start.
fn registration<R: Runtime>(
    shared: &Shared<R>,
    image: &Image,
    offset: i64,
    was_clean: bool,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if image.features().is_empty() {
        let (name, feature_level) = METADATA_VERSION;
        records
            .push(MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level }));
    }
    let node_id = shared.identity.node_id;
    let end_points = shared.listeners.iter().map(|listener| {
        let advertised = listener.advertised.as_ref();
        Endpoint {
            name: listener.name.clone(),
            host: advertised
                .map_or_else(|| listener.address.ip().to_string(), |endpoint| endpoint.host.clone()),
            port: advertised.map_or(listener.address.port(), |endpoint| endpoint.port),
            security_protocol: 0,
        }
    });
    records.push(MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: node_id,
        incarnation_id: shared.fresh_id(),
        broker_epoch: offset + records.len() as i64,
        end_points: end_points.collect(),
        rack: shared.config.rack.clone(),
        fenced: false,
        log_dirs: vec![shared.identity.directory_id],
        ..RegisterBrokerRecord::default()
    }));
    if !was_clean {
        // What was appended and not durable may be gone: offsets that are assigned again get another epoch.
        for topic in image.topics().values() {
            for (number, _) in topic.partitions.iter().filter(|(_, partition)| partition.leader == node_id) {
                records.push(MetadataRecord::PartitionChange(PartitionChangeRecord {
                    topic_id: topic.id,
                    partition_id: *number,
                    leader: node_id,
                    ..PartitionChangeRecord::default()
                }));
            }
        }
    }
    records
}
