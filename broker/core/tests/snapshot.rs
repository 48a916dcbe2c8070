//! Snapshots: an image goes into a file and comes back equal, and no damaged file is taken for a snapshot.

use burnin_core::Release;
use burnin_core::metadata::{
    Image, METADATA_VERSION_NAME, Snapshot, SnapshotError, SnapshotParts, encode_snapshot,
    parse_snapshot_name, read_snapshot, snapshot_name,
};
use burnin_core::quorum::SnapshotId;
use burnin_runtime::Entropy;
use burnin_wire::batch::batches;
use burnin_wire::control_records::{KRaftVersionFeature, Voter, VoterEndpoint, VotersRecord};
use burnin_wire::metadata_records::*;
use bytes::Bytes;
use uuid::Uuid;

const ID: SnapshotId = SnapshotId { end_offset: 4711, epoch: 12 };

fn read(name: &str, bytes: &Bytes) -> Result<Snapshot, SnapshotError> {
    read_snapshot(name, bytes, &Release::LATEST.features())
}

/// Any cluster: records at random, of which those count that do not contradict the image.
fn image(seed: u64, records: u32) -> Image {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let entropy = &mut Entropy::from_seed(bytes);
    let mut image = Image::default();
    for _ in 0..records {
        let record = record(entropy, &image);
        // Only the reader's own errors matter here.
        let _ = image.apply(image.applied_offset(), &record);
    }
    // Where the snapshot is taken.
    image.apply(ID.end_offset - 1, &NoOpRecord {}.into()).unwrap();
    image
}

fn ids(entropy: &mut Entropy) -> Vec<i32> {
    (0..entropy.below(4)).map(|_| entropy.below(6) as i32).collect()
}

fn maybe<T>(entropy: &mut Entropy, value: T) -> Option<T> {
    entropy.chance(0.5).then_some(value)
}

fn uuid(entropy: &mut Entropy) -> Uuid {
    Uuid::from_u128(entropy.u64().into())
}

fn record(entropy: &mut Entropy, image: &Image) -> MetadataRecord {
    let broker_id = entropy.below(6) as i32;
    let known = |image: &Image| image.brokers().get(&broker_id).map_or(0, |broker| broker.epoch);
    let topics: Vec<Uuid> = image.topics().values().map(|topic| topic.id).collect();
    let topic_id = match topics.len() as u64 {
        0 => Uuid::nil(),
        count => topics[entropy.below(count) as usize],
    };
    let end_points = || {
        vec![Endpoint { name: "L".into(), host: format!("h{broker_id}"), port: 9092, security_protocol: 0 }]
    };
    let features = || {
        let name = METADATA_VERSION_NAME.to_owned();
        vec![FeatureRange { name, min_supported_version: 21, max_supported_version: 25 }]
    };
    match entropy.below(12) {
        0 => RegisterBrokerRecord {
            broker_id,
            incarnation_id: uuid(entropy),
            broker_epoch: image.applied_offset(),
            end_points: end_points(),
            features: features(),
            rack: maybe(entropy, "r1".to_owned()),
            fenced: entropy.chance(0.5),
            in_controlled_shutdown: entropy.chance(0.5),
            log_dirs: vec![uuid(entropy)],
            ..RegisterBrokerRecord::default()
        }
        .into(),
        1 => BrokerRegistrationChangeRecord {
            broker_id,
            broker_epoch: known(image),
            fenced: entropy.between(0, 2) as i8 - 1,
            in_controlled_shutdown: entropy.below(2) as i8,
            ..BrokerRegistrationChangeRecord::default()
        }
        .into(),
        2 => RegisterControllerRecord {
            controller_id: broker_id,
            incarnation_id: uuid(entropy),
            end_points: end_points(),
            features: features(),
            ..RegisterControllerRecord::default()
        }
        .into(),
        3 => {
            let name = format!("t{}", ["a.b", "a_b", "c"][entropy.below(3) as usize]);
            let name = if image.topic(&name).is_some() { format!("t{}", entropy.u64()) } else { name };
            TopicRecord { name, topic_id: uuid(entropy) }.into()
        }
        4 | 5 => {
            let replicas = ids(entropy);
            PartitionRecord {
                partition_id: entropy.below(5) as i32,
                topic_id,
                directories: replicas.iter().map(|_| uuid(entropy)).collect(),
                replicas,
                isr: ids(entropy),
                removing_replicas: ids(entropy),
                adding_replicas: ids(entropy),
                leader: entropy.below(7) as i32 - 1,
                leader_epoch: entropy.below(9) as i32,
                partition_epoch: entropy.below(99) as i32,
                leader_recovery_state: entropy.below(2) as i8,
                eligible_leader_replicas: Some(ids(entropy)),
                last_known_elr: Some(ids(entropy)),
            }
            .into()
        }
        6 | 7 => PartitionChangeRecord {
            partition_id: entropy.below(5) as i32,
            topic_id,
            isr: Some(ids(entropy)),
            leader: entropy.below(8) as i32 - 2,
            eligible_leader_replicas: Some(ids(entropy)),
            ..PartitionChangeRecord::default()
        }
        .into(),
        8 => RemoveTopicRecord { topic_id }.into(),
        9 => ConfigRecord {
            resource_type: [2, 4][entropy.below(2) as usize],
            resource_name: ["", "1", "tc"][entropy.below(3) as usize].to_owned(),
            name: format!("key.{}", entropy.below(5)),
            value: entropy.chance(0.5).then(|| format!("value {broker_id}")),
        }
        .into(),
        10 => {
            ProducerIdsRecord { broker_id, broker_epoch: 1, next_producer_id: entropy.below(99_000) as i64 }
                .into()
        }
        _ => {
            let (name, level) = match entropy.below(2) {
                0 => (METADATA_VERSION_NAME, Release::LATEST.metadata_version()),
                _ => ("eligible.leader.replicas.version", entropy.below(2) as i16),
            };
            FeatureLevelRecord { name: name.to_owned(), feature_level: level }.into()
        }
    }
}

fn voters() -> VotersRecord {
    let voter = |voter_id| Voter {
        voter_id,
        voter_directory_id: Uuid::from_u128(voter_id as u128),
        endpoints: vec![VoterEndpoint { name: "C".into(), host: "h".into(), port: 9093 }],
        k_raft_version_feature: KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 },
    };
    VotersRecord { voters: vec![voter(1), voter(2), voter(3)] }
}

fn encoded(image: &Image, voters: Option<&VotersRecord>) -> Bytes {
    encode_snapshot(&SnapshotParts { id: ID, image, voters, last_timestamp_ms: 77, now_ms: 99 })
}

#[test]
fn images_come_back_equal_from_their_snapshots() {
    let mut largest = 0;
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let image = image(seed, 10 + 2 * seed as u32);
        let voters = (seed % 2 == 0).then(voters);
        let bytes = encoded(&image, voters.as_ref());
        let read = read(&snapshot_name(ID), &bytes).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!((read.id, read.last_timestamp_ms), (ID, 77));
        assert_eq!(read.voters, voters);
        assert_eq!(read.image, image, "seed {seed}");
        assert_eq!(read.image.to_records(), image.to_records(), "seed {seed}");
        largest = largest.max(batches(&bytes).count());
        kinds.extend(image.to_records().iter().map(MetadataRecord::name));
        let mut partitions = image.topics().values().flat_map(|topic| topic.partitions.values());
        if partitions.any(|p| p.recovering && !p.elr.is_empty() && !p.last_known_elr.is_empty()) {
            kinds.insert("every field of a partition");
        }
    }
    let all = [
        "ConfigRecord",
        "FeatureLevelRecord",
        "PartitionRecord",
        "ProducerIdsRecord",
        "RegisterBrokerRecord",
        "RegisterControllerRecord",
        "TopicRecord",
        "every field of a partition",
    ];
    assert!(kinds.iter().eq(&all), "{kinds:?}");
    assert!(largest >= 3, "at most {largest} batches");
}

#[test]
fn large_image_takes_several_batches() {
    let mut image = Image::default();
    for number in 0..40 {
        let topic_id = Uuid::from_u128(number + 1);
        image
            .apply(image.applied_offset(), &TopicRecord { name: format!("t{number}"), topic_id }.into())
            .unwrap();
        for partition_id in 0..25 {
            let record = PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![1, 2, 3],
                isr: vec![1],
                ..Default::default()
            };
            image.apply(image.applied_offset(), &record.into()).unwrap();
        }
    }
    let id = SnapshotId { end_offset: image.applied_offset(), epoch: 3 };
    let bytes =
        encode_snapshot(&SnapshotParts { id, image: &image, voters: None, last_timestamp_ms: 0, now_ms: 0 });
    assert!(batches(&bytes).count() > 3, "{} batches", batches(&bytes).count());
    assert_eq!(read(&snapshot_name(id), &bytes).unwrap().image, image);
}

#[test]
fn every_cut_is_an_error_and_names_the_file() {
    let bytes = encoded(&image(5, 60), Some(&voters()));
    for length in 0..bytes.len() {
        let error = read(&snapshot_name(ID), &bytes.slice(..length)).unwrap_err().to_string();
        assert!(error.contains("00000000000000004711-0000000012.checkpoint"), "{error}");
    }
}

#[test]
fn every_changed_byte_is_an_error() {
    let bytes = encoded(&image(6, 40), Some(&voters()));
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            let read = read(&snapshot_name(ID), &changed.into());
            assert!(read.is_err(), "byte {at} changed by {mask:#x} is not noticed");
        }
    }
}

#[test]
fn what_is_not_one_whole_snapshot_is_an_error() {
    let bytes = encoded(&image(7, 400), None);
    let parts: Vec<&[u8]> = batches(&bytes).map(|batch| batch.unwrap().1).collect();
    assert!(parts.len() >= 3);
    let read = |name: &str, parts: &[&[u8]]| {
        read(name, &Bytes::from(parts.concat())).map(drop).map_err(|error| error.reason)
    };
    let name = snapshot_name(ID);
    assert_eq!(read(&name, &parts), Ok(()));
    assert_eq!(read(&name, &[]), Err("it is empty".into()));
    assert_eq!(read(&name, &parts[..parts.len() - 1]), Err("it ends before its footer".into()));
    assert!(read(&name, &parts[1..]).is_err(), "without its header");
    assert!(read(&name, &[parts[0], parts[parts.len() - 1]]).is_err(), "without its records");
    assert_eq!(read(&name, &[&bytes[..], &bytes[..]]), Err("bytes after the footer".into()));
    let other = snapshot_name(SnapshotId { epoch: 13, ..ID });
    assert_eq!(read(&other, &parts), Err("epoch 12 in a snapshot of epoch 13".into()));
    assert!(read("00000000000000000000.log", &parts).is_err(), "a segment");
}

#[test]
fn names_are_kafkas() {
    assert_eq!(snapshot_name(ID), "00000000000000004711-0000000012.checkpoint");
    assert_eq!(parse_snapshot_name("00000000000000004711-0000000012.checkpoint"), Some(ID));
    for other in [
        "00000000000000004711-0000000012.checkpoint.part",
        "00000000000000004711-0000000012.checkpoint.deleted",
        "4711-12.checkpoint",
        "0000000000000000471x-0000000012.checkpoint",
        "00000000000000004711-9999999999.checkpoint",
        "bootstrap.checkpoint",
        "00000000000000004711.log",
    ] {
        assert_eq!(parse_snapshot_name(other), None, "{other}");
    }
}
