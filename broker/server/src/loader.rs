//! Reads what the quorum has committed, applies it to the image, and has the node follow.

use crate::partitions::log_config;
use crate::quorum::{MetadataLog, Snapshots};
use crate::replica::Changes;
use crate::shared::Shared;
use burnin_core::config::{BrokerConfig, Layers, Properties, TopicSettings};
use burnin_core::metadata::{
    FeatureRanges, Image, METADATA_TOPIC, Partition, RecordVersions, SnapshotParts, encode_snapshot,
};
use burnin_core::quorum::SnapshotId;
use burnin_log::{Log, LogConfig, LogDir, LogError, TopicPartition};
use burnin_runtime::{Instant, Mutant, Observation, Runtime, timeout};
use burnin_wire::batch::{batches, records};
use burnin_wire::control_records::VotersRecord;
use burnin_wire::metadata_records::{FeatureLevelRecord, MetadataRecord};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much of the metadata log is read at once.
const READ_BYTES: usize = 1024 * 1024;
/// How often observers get a digest of the whole image: it costs as much as the image is large.
const DIGEST_EVERY: i64 = 64;

/// Opens the metadata log, or creates it.
pub(crate) async fn open_log<R: Runtime>(
    logs: &LogDir<R>,
    config: &BrokerConfig,
) -> Result<Log<R>, LogError> {
    let none = Properties::new();
    let layers = Layers { broker: &none, cluster: &none, fixed: &config.properties };
    let number = |name: &str| layers.value(name).and_then(|text| text.trim().parse::<i64>().ok());
    let defaults = log_config(&TopicSettings::resolve(&layers, &none));
    let config = LogConfig {
        segment_bytes: number("metadata.log.segment.bytes")
            .and_then(|n| n.try_into().ok())
            .unwrap_or(1 << 30),
        segment_ms: number("metadata.log.segment.ms").unwrap_or(i64::MAX),
        // Only what a snapshot covers may go, and nothing may be lost at all.
        cleanup_delete: false,
        flush_messages: 1,
        message_timestamp_type: burnin_log::TimestampType::CreateTime,
        max_message_bytes: i32::MAX,
        ..defaults
    };
    let tp = TopicPartition::new(METADATA_TOPIC, 0);
    match logs.log(&tp) {
        Some(log) => {
            log.set_config(config);
            Ok(log)
        }
        None => logs.create(tp, crate::quorum::METADATA_TOPIC_ID, config).await,
    }
}

/// The metadata of a node that comes up.
pub(crate) struct Opened<R: Runtime> {
    pub(crate) log: MetadataLog<R>,
    pub(crate) image: Image,
    /// Those that the newest snapshot names.
    pub(crate) voters: Option<VotersRecord>,
}

/// What the newest snapshot says, and the log behind it. A log that begins behind a snapshot that is not there, or is
/// damaged, is refused: what it lacks must not be taken for nothing.
pub(crate) async fn open_snapshot<R: Runtime>(
    runtime: &R,
    snapshots: &Snapshots<R>,
    log: &Log<R>,
) -> Result<Opened<R>, String> {
    snapshots.remove_parts().await?;
    let newest = snapshots.newest().await?;
    let start = log.start_offset();
    let mut metadata = MetadataLog { log: log.clone(), snapshot: newest.as_ref().map(|newest| newest.id) };
    let Some(newest) = newest else {
        return match start {
            0 => Ok(Opened { log: metadata, image: Image::default(), voters: None }),
            _ => Err(format!("it begins at offset {start}, and there is no snapshot of what was before")),
        };
    };
    let SnapshotId { end_offset, epoch } = newest.id;
    if end_offset < start {
        return Err(format!("it begins at offset {start}, and its newest snapshot ends at {end_offset}"));
    }
    if log.end_offset() < end_offset {
        // A crash came between the snapshot of the leader and the log that it replaces.
        metadata.restart_at(newest.id).await?;
    }
    runtime.probe().emit(|| Observation::SnapshotLoaded { end_offset, epoch, fetched: false });
    Ok(Opened { log: metadata, image: newest.image, voters: newest.voters })
}

/// Follows the quorum until the log contradicts itself or the disk fails, for this reason.
/// `next`: what the snapshot that the image was read from covers; `voters`: whom it names.
pub(crate) async fn run<R: Runtime>(
    shared: Arc<Shared<R>>,
    log: Log<R>,
    next: i64,
    voters: Option<VotersRecord>,
) -> Result<(), String> {
    let voters = voters.map(|voters| (next - 1, voters)).into_iter().collect();
    let mut committed = shared.quorum.watch_committed();
    let snapshot_at = shared.runtime.now();
    let features = shared.config.release.features();
    let mut loader = Loader {
        shared,
        log,
        features,
        next,
        voters,
        digest_at: 0,
        is_first: true,
        unsaved: 0,
        snapshot_at,
        told_min_isr: BTreeMap::new(),
    };
    loop {
        let end = committed.see();
        if end > loader.next {
            loader.load(end).await?;
            loader.save().await?;
        }
        let due = loader.snapshot_due();
        if due == Instant::FAR_FUTURE {
            committed.changed().await;
        } else {
            let wait = due.since(loader.shared.runtime.now());
            if timeout(&loader.shared.runtime.clone(), wait, committed.changed()).await.is_none() {
                loader.save().await?;
            }
        }
    }
}

struct Loader<R: Runtime> {
    shared: Arc<Shared<R>>,
    log: Log<R>,
    /// What this node supports.
    features: FeatureRanges,
    next: i64,
    /// By the offset of their record: the last ones for the next snapshot, and newer ones.
    voters: BTreeMap<i64, VotersRecord>,
    digest_at: i64,
    is_first: bool,
    /// Bytes of records that no snapshot covers.
    unsaved: u64,
    /// When the last snapshot was taken, or this start began.
    snapshot_at: Instant,
    /// Of which topics observers were told which `min.insync.replicas`.
    told_min_isr: BTreeMap<String, u32>,
}

impl<R: Runtime> Loader<R> {
    /// Applies everything below `end`, then has the node follow all of it at once.
    async fn load(&mut self, end: i64) -> Result<(), String> {
        let mut changes = Changes::default();
        while self.next < end {
            if self.next < self.log.start_offset() {
                self.load_snapshot().await?;
                changes = Changes::everything();
                continue;
            }
            let read = self.log.read(self.next, end, READ_BYTES, true).await;
            if read.is_err() && self.next < self.log.start_offset() {
                // The quorum has just replaced the log by a snapshot.
                continue;
            }
            let read = read.map_err(|error| format!("failed to read the metadata log: {error}"))?;
            if read.next_offset <= self.next {
                return Err(format!("nothing can be read at offset {} of {end}", self.next));
            }
            for chunk in &read.batches {
                self.apply(chunk, end, &mut changes)?;
            }
            let is_part = read.next_offset < end;
            self.next = read.next_offset;
            if is_part && self.shared.runtime.mutants().on(Mutant::Q15) {
                self.next = end;
            }
        }
        if self.shared.config.roles.broker {
            let everything = Changes::everything();
            let changes = if self.is_first { &everything } else { &changes };
            let failed = |error: LogError| format!("failed to follow the metadata: {error}");
            let min_isr = self.new_min_isr(changes);
            self.observe_min_isr(&min_isr, false);
            self.shared.follow(changes).await.map_err(failed)?;
            self.observe_min_isr(&min_isr, true);
        }
        self.is_first = false;
        self.shared.applied.set(self.next);
        Ok(())
    }

    /// The log was replaced by a snapshot, and the image with it.
    async fn load_snapshot(&mut self) -> Result<(), String> {
        let snapshot = self.shared.snapshots.newest().await?;
        let snapshot =
            snapshot.ok_or_else(|| "the metadata log begins after a snapshot that is gone".to_owned())?;
        let SnapshotId { end_offset, epoch } = snapshot.id;
        assert!(
            end_offset >= self.log.start_offset(),
            "the metadata log begins at {} after its newest snapshot, which ends at {end_offset}",
            self.log.start_offset()
        );
        *self.shared.image.write() = snapshot.image;
        (self.next, self.unsaved) = (end_offset, 0);
        self.observe_snapshot(end_offset, epoch);
        self.voters = snapshot.voters.map(|voters| (end_offset - 1, voters)).into_iter().collect();
        Ok(())
    }

    /// When the last snapshot will be old; never when nothing is new.
    fn snapshot_due(&self) -> Instant {
        let interval = self.shared.config.quorum.snapshot_interval.filter(|_| self.unsaved > 0);
        interval.map_or(Instant::FAR_FUTURE, |every| self.snapshot_at + every)
    }

    /// Takes a snapshot when enough is new or the last one is old.
    async fn save(&mut self) -> Result<(), String> {
        let (shared, settings) = (&self.shared, &self.shared.config.quorum);
        let now = shared.runtime.now();
        if self.unsaved < settings.snapshot_after_bytes && now < self.snapshot_due() {
            return Ok(());
        }
        let mut image = shared.image.read().clone();
        let end_offset = image.applied_offset();
        // the planted bug forgets what was given out
        if image.next_producer_id() > 0 && shared.runtime.mutants().on(Mutant::Q26) {
            image.forget_producer_ids();
        }
        self.snapshot_at = now;
        let Some(epoch) = self.log.epoch_at(end_offset - 1) else { return Ok(()) };
        let (mut id, now_ms) = (SnapshotId { end_offset, epoch }, shared.runtime.wall_ms());
        let voters =
            self.voters.range(..end_offset).next_back().map(|(offset, voters)| (*offset, voters.clone()));
        if let Some((offset, _)) = voters {
            self.voters = self.voters.split_off(&offset);
        }
        let encode = move || {
            let (last_timestamp_ms, voters) = (now_ms, voters.as_ref().map(|(_, voters)| voters));
            encode_snapshot(&SnapshotParts { id, image: &image, voters, last_timestamp_ms, now_ms })
        };
        let bytes = shared.runtime.offload(encode).await;
        if shared.runtime.mutants().on(Mutant::Q16) {
            id.end_offset -= 1;
        }
        shared.snapshots.store(id, bytes).await?;
        shared.runtime.probe().emit(|| Observation::SnapshotTaken { end_offset: id.end_offset, epoch });
        shared.quorum.snapshot_taken(id);
        self.unsaved = 0;
        Ok(())
    }

    fn apply(&mut self, chunk: &Bytes, end: i64, changes: &mut Changes) -> Result<(), String> {
        for batch in batches(chunk) {
            let (header, bytes) = batch.map_err(|error| error.to_string())?;
            assert!(header.next_offset() <= end, "a committed batch ends past the high watermark {end}");
            if header.is_control() {
                let voters = crate::quorum::voters::in_batches(&chunk.slice_ref(bytes))?;
                self.voters.extend(voters.into_iter().map(|(offset, voters)| (offset, voters.to_record())));
            } else {
                self.unsaved += bytes.len() as u64;
                let shared = self.shared.clone();
                let level = shared.image.read().metadata_version();
                let records = decode(&chunk.slice_ref(bytes), level, &self.features)?;
                let mut image = shared.image.write();
                for (offset, record) in &records {
                    match record {
                        MetadataRecord::RemoveTopic(record) => self.observe_removal(&image, record.topic_id),
                        MetadataRecord::FeatureLevel(record) => self.observe_level(&image, record),
                        _ => {}
                    }
                    image.apply(*offset, record)?;
                    changes.note(record);
                }
                let image = parking_lot::RwLockWriteGuard::downgrade(image);
                self.observe(&image, header.next_offset(), &records);
            }
        }
        Ok(())
    }

    /// To be called before the topic goes, and told under the lock with which it does.
    fn observe_removal(&self, image: &Image, id: uuid::Uuid) {
        let probe = self.shared.runtime.probe();
        if let Some(name) = image.topic_name(&id).filter(|_| probe.is_on()) {
            let partitions = image.topic(name).into_iter().flat_map(|topic| topic.partitions.keys());
            for number in partitions {
                let partition = format!("{name}-{number}").into();
                probe.emit(|| Observation::PartitionGone { partition, topic_id: id.as_u128() });
            }
        }
    }

    /// To be called before the level changes.
    fn observe_level(&self, image: &Image, record: &FeatureLevelRecord) {
        let from = image.features().get(&record.name).copied().unwrap_or(0);
        let (feature, to) = (record.name.as_str().into(), record.feature_level);
        self.shared.runtime.probe().emit(|| Observation::FeatureLevel { feature, from, to });
    }

    /// Topics whose `min.insync.replicas` is another one than observers were told.
    fn new_min_isr(&mut self, changes: &Changes) -> Vec<(Arc<str>, u32)> {
        if !self.shared.runtime.probe().is_on() {
            return Vec::new();
        }
        let image = self.shared.image.read();
        let names: Vec<&str> = match changes.everything || changes.configs {
            true => image.topics().keys().map(String::as_str).collect(),
            false => changes.topics.iter().filter_map(|id| image.topic_name(id)).collect(),
        };
        let mut new = Vec::new();
        for name in names {
            let min_isr = self.shared.topic_settings(&image, name).min_insync_replicas;
            let min_isr = u32::try_from(min_isr).unwrap_or(1);
            if self.told_min_isr.get(name) != Some(&min_isr) {
                self.told_min_isr.insert(name.to_owned(), min_isr);
                new.push((name.into(), min_isr));
            }
        }
        new
    }

    fn observe_min_isr(&self, new: &[(Arc<str>, u32)], is_followed: bool) {
        for (topic, min_isr) in new {
            let (topic, min_isr) = (topic.clone(), *min_isr);
            self.shared.runtime.probe().emit(|| Observation::MinIsr { topic, min_isr, is_followed });
        }
    }

    /// Observers forget what they were told of brokers before, and are told anew.
    fn observe_snapshot(&self, end_offset: i64, epoch: i32) {
        let probe = self.shared.runtime.probe();
        if !probe.is_on() {
            return;
        }
        probe.emit(|| Observation::SnapshotLoaded { end_offset, epoch, fetched: true });
        let image = self.shared.image.read();
        for id in image.brokers().keys() {
            observe_broker(&image, *id, &mut |observation| probe.emit(|| observation));
        }
    }

    fn observe(&mut self, image: &Image, offset: i64, records: &[(i64, MetadataRecord)]) {
        let probe = self.shared.runtime.probe();
        if !probe.is_on() {
            return;
        }
        for (_, record) in records {
            observe_record(image, record, &mut |observation| probe.emit(|| observation));
        }
        if offset >= self.digest_at {
            self.digest_at = (offset / DIGEST_EVERY + 1) * DIGEST_EVERY;
            probe.emit(|| Observation::MetadataImage { offset, digest: digest(image) });
        }
    }
}

/// `level` is that of `metadata.version` before the batch.
fn decode(
    batch: &Bytes,
    level: i16,
    supported: &FeatureRanges,
) -> Result<Vec<(i64, MetadataRecord)>, String> {
    let opened = records(batch).map_err(|error| error.to_string())?;
    let mut versions = RecordVersions::at(level);
    let mut decoded = Vec::new();
    for record in &opened {
        let record = record.map_err(|error| error.to_string())?;
        let at = |error: String| format!("record at offset {}: {error}", record.offset);
        let value = record.value.ok_or_else(|| at("it has no value".to_owned()))?;
        let value = versions.decode(value, supported).map_err(|error| at(error.to_string()))?;
        decoded.push((record.offset, value));
    }
    Ok(decoded)
}

/// FNV-1a over the image as text: the same everywhere.
fn digest(image: &Image) -> u64 {
    struct Fnv(u64);
    impl std::fmt::Write for Fnv {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for byte in text.bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            Ok(())
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    std::fmt::Write::write_fmt(&mut hash, format_args!("{:?}", image.content()))
        .expect("hashing does not fail");
    hash.0
}

fn observe_record(image: &Image, record: &MetadataRecord, emit: &mut impl FnMut(Observation)) {
    match record {
        MetadataRecord::RegisterBroker(record) => observe_broker(image, record.broker_id, emit),
        MetadataRecord::FenceBroker(record) => observe_broker(image, record.id, emit),
        MetadataRecord::UnfenceBroker(record) => observe_broker(image, record.id, emit),
        MetadataRecord::BrokerRegistrationChange(record) => observe_broker(image, record.broker_id, emit),
        MetadataRecord::UnregisterBroker(record) => {
            emit(Observation::BrokerGone { broker: record.broker_id })
        }
        MetadataRecord::Partition(record) => {
            observe_partition(image, record.topic_id, record.partition_id, emit)
        }
        MetadataRecord::PartitionChange(record) => {
            observe_partition(image, record.topic_id, record.partition_id, emit)
        }
        _ => {}
    }
}

fn observe_broker(image: &Image, id: i32, emit: &mut impl FnMut(Observation)) {
    let Some(known) = image.brokers().get(&id) else { return };
    emit(Observation::BrokerState {
        broker: id,
        broker_epoch: known.epoch,
        fenced: known.fenced,
        shutting_down: known.in_controlled_shutdown,
    });
}

fn observe_partition(image: &Image, id: uuid::Uuid, number: i32, emit: &mut impl FnMut(Observation)) {
    let Some(name) = image.topic_name(&id) else { return };
    let partition = image.topic(name).and_then(|topic| topic.partitions.get(&number));
    let Some(Partition { leader, leader_epoch, partition_epoch, replicas, isr, elr, .. }) = partition else {
        return;
    };
    emit(Observation::PartitionState {
        partition: format!("{name}-{number}").into(),
        topic_id: id.as_u128(),
        leader: *leader,
        leader_epoch: *leader_epoch,
        partition_epoch: *partition_epoch,
        replicas: replicas.as_slice().into(),
        isr: isr.as_slice().into(),
        elr: elr.as_slice().into(),
    });
}
