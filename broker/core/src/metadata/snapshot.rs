//! Snapshots of the metadata log (KIP-630), in Kafka's encoding: what `DumpLogSegments` reads as a `.checkpoint` file.
//!
//! A file is record batches with offsets from 0 on, all of the epoch in its name. The first is a control batch that
//! begins with a SnapshotHeaderRecord and, where the log names the voters, goes on with KRaftVersionRecord and
//! VotersRecord (KIP-853); the last is a control batch with a SnapshotFooterRecord. Between them stand the records of
//! the image.
//!
//! Reading is strict. A file that ends early, whose bytes were changed, or that is something else, is an error that
//! names it: taken for a smaller snapshot, it would make a cluster forget topics. Here is no I/O.

use super::{FeatureRanges, Image, RecordVersions};
use crate::quorum::SnapshotId;
use burnin_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, records, split, verify_crc};
use burnin_wire::control_records::{
    ControlRecord, KRaftVersionRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    control_batch, control_records,
};
use bytes::{Bytes, BytesMut};

/// Records of one batch take about so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// The only level of `kraft.version` besides 0: the log names the voters.
const KRAFT_VERSION_MAX: i16 = 1;

const SUFFIX: &str = ".checkpoint";

/// The name of a snapshot's file.
pub fn snapshot_name(id: SnapshotId) -> String {
    format!("{:020}-{:010}{SUFFIX}", id.end_offset, id.epoch)
}

/// The snapshot that a file name names; `None` for any other file.
pub fn parse_snapshot_name(name: &str) -> Option<SnapshotId> {
    let (offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(offset, 20) || !digits(epoch, 10) {
        return None;
    }
    Some(SnapshotId { end_offset: offset.parse().ok()?, epoch: epoch.parse().ok()? })
}

/// What goes into a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotParts<'a> {
    /// The image covers everything below its end offset.
    pub id: SnapshotId,
    /// The state.
    pub image: &'a Image,
    /// The voters where the log names them.
    pub voters: Option<&'a VotersRecord>,
    /// The timestamp of the last record that is covered.
    pub last_timestamp_ms: i64,
    /// The time of the snapshot.
    pub now_ms: i64,
}

/// The bytes of a snapshot's file.
///
/// # Panics
/// When the image is not that of the snapshot's end offset: a bug of the caller.
pub fn encode_snapshot(parts: &SnapshotParts<'_>) -> Bytes {
    let SnapshotParts { id, image, now_ms, .. } = *parts;
    assert!(
        image.applied_offset() == id.end_offset,
        "snapshot of another offset: end_offset={} applied={}",
        id.end_offset,
        image.applied_offset()
    );
    let mut header = vec![ControlRecord::SnapshotHeader(SnapshotHeaderRecord {
        last_contained_log_timestamp: parts.last_timestamp_ms,
    })];
    if let Some(voters) = parts.voters {
        let version = KRaftVersionRecord { k_raft_version: KRAFT_VERSION_MAX };
        header.push(ControlRecord::KRaftVersion(version));
        header.push(ControlRecord::KRaftVoters(voters.clone()));
    }
    let mut out = BytesMut::from(&control_batch(0, id.epoch, now_ms, &header)[..]);
    let mut offset = header.len() as i64;
    let mut versions = RecordVersions::at(image.metadata_version());
    let options = BatchOptions { leader_epoch: id.epoch, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let mut flush = |builder: &mut BatchBuilder, out: &mut BytesMut| {
        let count = builder.len() as i64;
        if count > 0 {
            builder.options.base_offset = offset;
            out.extend_from_slice(&builder.build());
            offset += count;
        }
        offset
    };
    for record in image.to_records() {
        builder.push(now_ms, None, Some(&versions.encode(&record)), &[]);
        if builder.size_estimate() >= BATCH_BYTES {
            flush(&mut builder, &mut out);
        }
    }
    let end = flush(&mut builder, &mut out);
    let footer = [ControlRecord::SnapshotFooter(SnapshotFooterRecord {})];
    out.extend_from_slice(&control_batch(end, id.epoch, now_ms, &footer));
    out.freeze()
}

/// A snapshot that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// As its file is named.
    pub id: SnapshotId,
    /// The state.
    pub image: Image,
    /// The voters where the log names them.
    pub voters: Option<VotersRecord>,
    /// The timestamp of the last record that is covered.
    pub last_timestamp_ms: i64,
}

/// Why a file is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot {file} cannot be read: {reason} (in the batch at byte {at} of {length})")]
pub struct SnapshotError {
    /// The file's name.
    pub file: String,
    /// Where the batch starts that is wrong.
    pub at: usize,
    /// How long the file is.
    pub length: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a whole snapshot file, on a node that supports these features.
pub fn read_snapshot(
    file: &str,
    bytes: &Bytes,
    supported: &FeatureRanges,
) -> Result<Snapshot, SnapshotError> {
    let mut reader = Reader { rest: bytes.clone(), next_offset: 0, state: State::Start, supported };
    let mut at = 0;
    let error = |at, reason| SnapshotError { file: file.to_owned(), at, length: bytes.len(), reason };
    let id = parse_snapshot_name(file).ok_or_else(|| {
        error(
            0,
            format!("its name is not of the form {}", snapshot_name(SnapshotId { end_offset: 0, epoch: 0 })),
        )
    })?;
    let mut snapshot = Snapshot { id, image: Image::default(), voters: None, last_timestamp_ms: 0 };
    while !reader.rest.is_empty() {
        reader.batch(&mut snapshot).map_err(|reason| error(at, reason))?;
        at = bytes.len() - reader.rest.len();
    }
    match reader.state {
        State::Start => return Err(error(0, "it is empty".to_owned())),
        State::Records => return Err(error(at, "it ends before its footer".to_owned())),
        State::End => {}
    }
    snapshot.image.set_applied_offset(id.end_offset);
    Ok(snapshot)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Records,
    End,
}

struct Reader<'a> {
    rest: Bytes,
    next_offset: i64,
    state: State,
    supported: &'a FeatureRanges,
}

impl Reader<'_> {
    fn batch(&mut self, snapshot: &mut Snapshot) -> Result<(), String> {
        if self.state == State::End {
            return Err("bytes after the footer".to_owned());
        }
        let (header, batch) = match split(&mut self.rest) {
            Some(split) => split.map_err(|error| error.to_string())?,
            None => return Err("no batch".to_owned()),
        };
        verify_crc(&batch).map_err(|error| error.to_string())?;
        self.check_header(&header, snapshot.id)?;
        if header.is_control() {
            self.control(&batch, snapshot)
        } else if self.state == State::Start {
            Err("it does not begin with a header".to_owned())
        } else {
            replay(&batch, snapshot, self.supported)
        }
    }

    fn check_header(&mut self, header: &BatchHeader, id: SnapshotId) -> Result<(), String> {
        if header.leader_epoch != id.epoch {
            return Err(format!("epoch {} in a snapshot of epoch {}", header.leader_epoch, id.epoch));
        }
        let (base, next) = (header.base_offset, header.next_offset());
        if base != self.next_offset || next - base != i64::from(header.record_count) || next <= base {
            let count = header.record_count;
            return Err(format!(
                "offsets {base} to {next} of {count} records, expected {}",
                self.next_offset
            ));
        }
        self.next_offset = next;
        Ok(())
    }

    fn control(&mut self, batch: &Bytes, snapshot: &mut Snapshot) -> Result<(), String> {
        let records = control_records(batch).map_err(|error| error.to_string())?;
        let mut records = records.into_iter().map(|(_, record)| record);
        let first = records.next();
        match (self.state, first) {
            (State::Start, Some(ControlRecord::SnapshotHeader(header))) => {
                snapshot.last_timestamp_ms = header.last_contained_log_timestamp;
                self.state = State::Records;
                snapshot.voters = voters(records)?;
                Ok(())
            }
            (State::Start, _) => Err("it does not begin with a header".to_owned()),
            (_, Some(ControlRecord::SnapshotFooter(_))) if records.next().is_none() => {
                self.state = State::End;
                Ok(())
            }
            (_, other) => Err(format!("unexpected {}", other.map_or("empty batch", |record| record.name()))),
        }
    }
}

/// What stands behind the header: nothing, or the level of `kraft.version` and, with level 1, the voters.
fn voters(records: impl Iterator<Item = ControlRecord>) -> Result<Option<VotersRecord>, String> {
    let (mut level, mut voters) = (0, None);
    for record in records {
        match record {
            ControlRecord::KRaftVersion(version)
                if (0..=KRAFT_VERSION_MAX).contains(&version.k_raft_version) =>
            {
                level = version.k_raft_version;
            }
            ControlRecord::KRaftVersion(version) => {
                return Err(format!(
                    "kraft.version {} (known: 0 to {KRAFT_VERSION_MAX})",
                    version.k_raft_version
                ));
            }
            ControlRecord::KRaftVoters(record) if level > 0 && voters.is_none() => voters = Some(record),
            other => return Err(format!("unexpected {}", other.name())),
        }
    }
    Ok(voters)
}

fn replay(batch: &Bytes, snapshot: &mut Snapshot, supported: &FeatureRanges) -> Result<(), String> {
    let opened = records(batch).map_err(|error| error.to_string())?;
    let mut versions = RecordVersions::at(snapshot.image.metadata_version());
    for record in &opened {
        let record = record.map_err(|error| error.to_string())?;
        let at = |error: String| format!("record {}: {error}", record.offset);
        let value = record.value.ok_or_else(|| at("it has no value".to_owned()))?;
        let decoded = versions.decode(value, supported).map_err(|error| at(error.to_string()))?;
        snapshot.image.replay(&decoded).map_err(at)?;
    }
    Ok(())
}
