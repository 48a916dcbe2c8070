//! Control batches of a metadata log and its snapshots, in Kafka's encoding: who leads an epoch, where a snapshot
//! begins and ends, which replicas vote.
//!
//! The key of a control record is a version and a type (`ControlRecordType`), its value a message that begins with
//! its own version. Messages are those of Kafka 4.3 (`LeaderChangeMessage`, `SnapshotHeaderRecord`,
//! `SnapshotFooterRecord`, `KRaftVersionRecord`, `VotersRecord`).

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use uuid::Uuid;

use crate::batch::{BatchBuilder, BatchError, BatchOptions, records};
use crate::metadata_records::MetadataRecordError;
use crate::metadata_records::codec::{
    Field, push_tagged, put_tagged, put_varint, take_tagged, take_varint, take_whole,
};
use crate::metadata_records::table::{nested, or, structs};

/// The version in the key of a control record.
const KEY_VERSION: i16 = 0;

/// Why a control batch is not read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ControlRecordError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("control record without a whole key at offset {0}")]
    Key(i64),
    #[error("unknown control record type {0}")]
    Unknown(i16),
    #[error("unsupported version {version} of {name} (known: 0 to {max})")]
    Version { name: &'static str, version: i16, max: i16 },
    #[error("malformed {name}: {reason}")]
    Malformed { name: &'static str, reason: MetadataRecordError },
    #[error("not a control batch at offset {0}")]
    Data(i64),
}

/// A control record of a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ControlRecord {
    /// The first record of an epoch.
    LeaderChange(LeaderChangeMessage),
    /// The first record of a snapshot.
    SnapshotHeader(SnapshotHeaderRecord),
    /// The last record of a snapshot.
    SnapshotFooter(SnapshotFooterRecord),
    /// The level of `kraft.version` from here on.
    KRaftVersion(KRaftVersionRecord),
    /// The voters from here on (KIP-853).
    KRaftVoters(VotersRecord),
}

/// Who leads the epoch of the batch that this stands in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaderChangeMessage {
    pub leader_id: i32,
    /// Node ids. Directories, which version 1 adds, are passed over: they stand in [`VotersRecord`].
    pub voters: Vec<i32>,
    /// Those who voted for the leader.
    pub granting_voters: Vec<i32>,
}

structs! {
    /// A snapshot begins.
    SnapshotHeaderRecord {
        /// Timestamp of the last record that the snapshot covers.
        last_contained_log_timestamp: i64 = 0;
    }
    /// A snapshot is whole.
    SnapshotFooterRecord {
    }
    /// Level 0: voters are configured. Level 1: voters stand in the log (KIP-853).
    KRaftVersionRecord {
        k_raft_version: i16 = 0;
    }
    /// All voters; what stood before counts no more.
    VotersRecord {
        voters: Vec<Voter> = Vec::new();
    }
    /// A voter.
    Voter {
        voter_id: i32 = 0;
        voter_directory_id: Uuid = Uuid::nil();
        /// Its controller listeners.
        endpoints: Vec<VoterEndpoint> = Vec::new();
        k_raft_version_feature: KRaftVersionFeature = KRaftVersionFeature::default();
    }
    /// Where a voter listens.
    VoterEndpoint {
        name: String = String::new();
        host: String = String::new();
        port: u16 = 0;
    }
    /// The levels of `kraft.version` that a voter supports.
    KRaftVersionFeature {
        min_supported_version: i16 = 0;
        max_supported_version: i16 = 0;
    }
}

nested! { Voter VoterEndpoint KRaftVersionFeature }

impl ControlRecord {
    /// Kafka's name of the message.
    pub const fn name(&self) -> &'static str {
        match self {
            ControlRecord::LeaderChange(_) => "LeaderChangeMessage",
            ControlRecord::SnapshotHeader(_) => "SnapshotHeaderRecord",
            ControlRecord::SnapshotFooter(_) => "SnapshotFooterRecord",
            ControlRecord::KRaftVersion(_) => "KRaftVersionRecord",
            ControlRecord::KRaftVoters(_) => "VotersRecord",
        }
    }

    const fn kind(&self) -> i16 {
        match self {
            ControlRecord::LeaderChange(_) => 2,
            ControlRecord::SnapshotHeader(_) => 3,
            ControlRecord::SnapshotFooter(_) => 4,
            ControlRecord::KRaftVersion(_) => 5,
            ControlRecord::KRaftVoters(_) => 6,
        }
    }

    /// The key and the value of the record, in version 0 of its message.
    pub fn encode(&self) -> ([u8; 4], Bytes) {
        let mut buf = BytesMut::with_capacity(64);
        buf.put_i16(0);
        match self {
            ControlRecord::LeaderChange(message) => message.put(&mut buf),
            ControlRecord::SnapshotHeader(record) => record.put_version(&mut buf, 0),
            ControlRecord::SnapshotFooter(record) => record.put_version(&mut buf, 0),
            ControlRecord::KRaftVersion(record) => record.put_version(&mut buf, 0),
            ControlRecord::KRaftVoters(record) => record.put_version(&mut buf, 0),
        }
        let [k0, k1] = KEY_VERSION.to_be_bytes();
        let [k2, k3] = self.kind().to_be_bytes();
        ([k0, k1, k2, k3], buf.freeze())
    }

    /// Reads a record by its key and value. Unknown tagged fields are passed over; `offset` is for the error.
    pub fn decode(
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<ControlRecord, ControlRecordError> {
        let (Some([_, _, k2, k3, ..]), Some(value)) = (key, value) else {
            return Err(ControlRecordError::Key(offset));
        };
        let kind = i16::from_be_bytes([*k2, *k3]);
        let bytes = &mut &value[..];
        match kind {
            2 => take("LeaderChangeMessage", 1, bytes, LeaderChangeMessage::take)
                .map(ControlRecord::LeaderChange),
            3 => take("SnapshotHeaderRecord", 0, bytes, SnapshotHeaderRecord::take_version)
                .map(ControlRecord::SnapshotHeader),
            4 => take("SnapshotFooterRecord", 0, bytes, SnapshotFooterRecord::take_version)
                .map(ControlRecord::SnapshotFooter),
            5 => take("KRaftVersionRecord", 0, bytes, KRaftVersionRecord::take_version)
                .map(ControlRecord::KRaftVersion),
            6 => take("VotersRecord", 0, bytes, VotersRecord::take_version).map(ControlRecord::KRaftVoters),
            unknown => Err(ControlRecordError::Unknown(unknown)),
        }
    }
}

/// A message behind its version, which takes all of `bytes`.
fn take<T>(
    name: &'static str,
    max: i16,
    bytes: &mut &[u8],
    message: impl FnOnce(&mut &[u8], i16) -> Result<T, MetadataRecordError>,
) -> Result<T, ControlRecordError> {
    let malformed = |reason| ControlRecordError::Malformed { name, reason };
    let version = i16::take(bytes).map_err(malformed)?;
    if !(0..=max).contains(&version) {
        return Err(ControlRecordError::Version { name, version, max });
    }
    let message = message(bytes, version).map_err(malformed)?;
    if bytes.is_empty() {
        Ok(message)
    } else {
        Err(malformed(MetadataRecordError::Malformed("bytes after the end")))
    }
}

impl LeaderChangeMessage {
    fn put(&self, buf: &mut BytesMut) {
        self.leader_id.put(buf);
        for voters in [&self.voters, &self.granting_voters] {
            put_varint(buf, u32::try_from(voters.len() + 1).expect("few voters"));
            for voter in voters {
                voter.put(buf);
                put_tagged(buf, &[]);
            }
        }
        put_tagged(buf, &[]);
    }

    fn take(bytes: &mut &[u8], version: i16) -> Result<Self, MetadataRecordError> {
        let leader_id = i32::take(bytes)?;
        let voters = take_voters(bytes, version)?;
        let granting_voters = take_voters(bytes, version)?;
        take_tagged(bytes)?;
        Ok(LeaderChangeMessage { leader_id, voters, granting_voters })
    }
}

fn take_voters(bytes: &mut &[u8], version: i16) -> Result<Vec<i32>, MetadataRecordError> {
    let count = take_varint(bytes)?.checked_sub(1).ok_or(MetadataRecordError::Malformed("null array"))?;
    let mut voters = Vec::new();
    for _ in 0..count {
        voters.push(i32::take(bytes)?);
        if version >= 1 {
            Uuid::take(bytes)?;
        }
        take_tagged(bytes)?;
    }
    Ok(voters)
}

/// One control batch of these records.
///
/// # Panics
/// When there is no record.
pub fn control_batch(
    base_offset: i64,
    leader_epoch: i32,
    timestamp: i64,
    control_records: &[ControlRecord],
) -> Bytes {
    let options = BatchOptions { control: true, base_offset, leader_epoch, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for record in control_records {
        let (key, value) = record.encode();
        builder.push(timestamp, Some(&key), Some(&value), &[]);
    }
    builder.build()
}

/// The records of one whole control batch with their offsets. The CRC is not checked.
pub fn control_records(batch: &Bytes) -> Result<Vec<(i64, ControlRecord)>, ControlRecordError> {
    let opened = records(batch)?;
    if !opened.header().is_control() {
        return Err(ControlRecordError::Data(opened.header().base_offset));
    }
    opened
        .iter()
        .map(|record| {
            let record = record?;
            Ok((record.offset, ControlRecord::decode(record.offset, record.key, record.value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use kafka_protocol::messages as theirs;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    fn all() -> Vec<ControlRecord> {
        let voter = |voter_id| Voter {
            voter_id,
            voter_directory_id: Uuid::from_u128(0x1234_5678 + voter_id as u128),
            endpoints: vec![VoterEndpoint {
                name: "CONTROLLER".to_owned(),
                host: format!("c{voter_id}.example"),
                port: 9093,
            }],
            k_raft_version_feature: KRaftVersionFeature {
                min_supported_version: 0,
                max_supported_version: 1,
            },
        };
        vec![
            ControlRecord::LeaderChange(LeaderChangeMessage {
                leader_id: 3,
                voters: vec![1, 2, 3],
                granting_voters: vec![2, 3],
            }),
            ControlRecord::SnapshotHeader(SnapshotHeaderRecord { last_contained_log_timestamp: 1234 }),
            ControlRecord::SnapshotFooter(SnapshotFooterRecord {}),
            ControlRecord::KRaftVersion(KRaftVersionRecord { k_raft_version: 1 }),
            ControlRecord::KRaftVoters(VotersRecord { voters: vec![voter(1), voter(2)] }),
        ]
    }

    fn their_value(record: &ControlRecord) -> BytesMut {
        let mut buf = BytesMut::new();
        match record {
            ControlRecord::LeaderChange(message) => {
                use theirs::leader_change_message::Voter;
                let voters = |ids: &[i32]| ids.iter().map(|id| Voter::default().with_voter_id(*id)).collect();
                theirs::LeaderChangeMessage::default()
                    .with_leader_id(message.leader_id.into())
                    .with_voters(voters(&message.voters))
                    .with_granting_voters(voters(&message.granting_voters))
                    .encode(&mut buf, 0)
            }
            ControlRecord::SnapshotHeader(header) => theirs::SnapshotHeaderRecord::default()
                .with_last_contained_log_timestamp(header.last_contained_log_timestamp)
                .encode(&mut buf, 0),
            ControlRecord::SnapshotFooter(_) => theirs::SnapshotFooterRecord::default().encode(&mut buf, 0),
            ControlRecord::KRaftVersion(version) => theirs::KRaftVersionRecord::default()
                .with_k_raft_version(version.k_raft_version)
                .encode(&mut buf, 0),
            ControlRecord::KRaftVoters(voters) => {
                use theirs::voters_record::{Endpoint, KRaftVersionFeature, Voter};
                let voter = |voter: &super::Voter| {
                    let endpoints = voter.endpoints.iter().map(|endpoint| {
                        Endpoint::default()
                            .with_name(StrBytes::from_string(endpoint.name.clone()))
                            .with_host(StrBytes::from_string(endpoint.host.clone()))
                            .with_port(endpoint.port)
                    });
                    let feature = &voter.k_raft_version_feature;
                    Voter::default()
                        .with_voter_id(voter.voter_id.into())
                        .with_voter_directory_id(voter.voter_directory_id)
                        .with_endpoints(endpoints.collect())
                        .with_k_raft_version_feature(
                            KRaftVersionFeature::default()
                                .with_min_supported_version(feature.min_supported_version)
                                .with_max_supported_version(feature.max_supported_version),
                        )
                };
                theirs::VotersRecord::default()
                    .with_voters(voters.voters.iter().map(voter).collect())
                    .encode(&mut buf, 0)
            }
        }
        .unwrap();
        buf
    }

    fn text(record: &ControlRecord) -> String {
        use crate::metadata_records::tests::java_text;
        let fields = match record {
            ControlRecord::LeaderChange(message) => return format!("{message:?}"),
            ControlRecord::SnapshotHeader(record) => record.texts(),
            ControlRecord::SnapshotFooter(record) => record.texts(),
            ControlRecord::KRaftVersion(record) => record.texts(),
            ControlRecord::KRaftVoters(record) => record.texts(),
        };
        record.name().to_owned() + &java_text(&fields)
    }

    #[test]
    fn values_are_those_of_the_protocol_crate_and_are_read_back() {
        for (kind, record) in (2..).zip(all()) {
            let (key, value) = record.encode();
            assert_eq!(key, [0, 0, 0, kind]);
            assert_eq!(value, their_value(&record), "{}", text(&record));
            assert_eq!(ControlRecord::decode(0, Some(&key), Some(&value)), Ok(record));
        }
    }

    #[test]
    fn leader_change_of_version_1_is_read_too() {
        use theirs::leader_change_message::Voter;
        let voter = Voter::default().with_voter_id(7).with_voter_directory_id(Uuid::from_u128(9));
        let message = theirs::LeaderChangeMessage::default()
            .with_version(1)
            .with_leader_id(7.into())
            .with_voters(vec![voter.clone()])
            .with_granting_voters(vec![voter]);
        let mut buf = BytesMut::new();
        message.encode(&mut buf, 1).unwrap();
        let expected = LeaderChangeMessage { leader_id: 7, voters: vec![7], granting_voters: vec![7] };
        let decoded = ControlRecord::decode(0, Some(&[0, 0, 0, 2]), Some(&buf));
        assert_eq!(decoded, Ok(ControlRecord::LeaderChange(expected)));
    }

    #[test]
    fn batch_of_control_records_is_read_back_and_marked_as_one() {
        let batch = control_batch(40, 5, 77, &all());
        crate::batch::verify_crc(&batch).unwrap();
        let header = crate::batch::BatchHeader::parse(&batch).unwrap();
        assert!(header.is_control() && !header.is_transactional() && !header.has_producer_id());
        assert_eq!((header.base_offset, header.leader_epoch, header.record_count), (40, 5, 5));
        let read = control_records(&batch).unwrap();
        assert_eq!(read, (40..).zip(all()).collect::<Vec<_>>());

        let mut data = BatchBuilder::new(BatchOptions { base_offset: 9, ..BatchOptions::default() });
        data.push(0, None, Some(b"value"), &[]);
        assert_eq!(control_records(&data.build()), Err(ControlRecordError::Data(9)));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let decode = |key: &[u8], value: &[u8]| ControlRecord::decode(1, Some(key), Some(value));
        assert_eq!(decode(&[0, 0, 0], &[]), Err(ControlRecordError::Key(1)));
        assert_eq!(ControlRecord::decode(1, None, Some(&[])), Err(ControlRecordError::Key(1)));
        assert_eq!(decode(&[0, 0, 0, 9], &[]), Err(ControlRecordError::Unknown(9)));
        let version = ControlRecordError::Version { name: "SnapshotFooterRecord", version: 1, max: 0 };
        assert_eq!(decode(&[0, 0, 0, 4], &[0, 1, 0]), Err(version));
        assert!(decode(&[0, 0, 0, 4], &[0, 0, 0, 0]).unwrap_err().to_string().contains("after the end"));
    }

    #[test]
    fn mutated_batches_end_in_ok_or_err() {
        let mut rng = Rng::new(8);
        let batch = control_batch(0, 1, 2, &all());
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes = batch.to_vec();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff, rng_byte(at)]);
            }
            refused += usize::from(control_records(&bytes.into()).is_err());
        }
        assert!(refused > 1000, "{refused}");
    }

    /// A byte that depends on where it stands.
    fn rng_byte(at: usize) -> u8 {
        (at as u8).wrapping_mul(37)
    }
}
