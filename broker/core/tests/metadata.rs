//! Requests to records to image, without a broker.

use burnin_core::Release;
use burnin_core::config::Properties;
use burnin_core::metadata::{
    AlterOp, ConfigOp, Defaults, Image, NewPartitions, NewTopic, RecordVersions, ResourceType, alter_configs,
    create_partitions, create_topics, delete_topic, replace_configs,
};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{
    FeatureLevelRecord, MetadataRecord, PartitionChangeRecord, RegisterBrokerRecord,
};
use uuid::Uuid;

const DEFAULTS: Defaults = Defaults { partitions: 2, replication_factor: 1 };

fn directory(broker: i32) -> Uuid {
    Uuid::from_u128(1000 + broker as u128)
}

fn cluster(brokers: i32) -> Image {
    let mut image = Image::default();
    for broker_id in 1..=brokers {
        let record = RegisterBrokerRecord { broker_id, fenced: false, ..RegisterBrokerRecord::default() };
        apply(&mut image, &[MetadataRecord::RegisterBroker(record)]);
    }
    image
}

/// Applies records as they come back from the log: encoded and decoded.
fn apply(image: &mut Image, records: &[MetadataRecord]) {
    for record in records {
        let release = Release::LATEST;
        let mut versions = RecordVersions::at(release.metadata_version());
        let value = versions.encode(record);
        let decoded = versions.decode(&value, &release.features()).unwrap();
        assert_eq!(decoded, *record);
        image.apply(image.applied_offset(), &decoded).unwrap();
    }
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor, ..NewTopic::default() }
}

fn create(image: &mut Image, id: u128, topic: &NewTopic) -> Result<(), ErrorCode> {
    let made = create_topics(image, topic, DEFAULTS, || Uuid::from_u128(id), directory);
    let (created, records) = made.map_err(|error| error.code)?;
    apply(image, &records);
    assert_eq!(image.topic(&topic.name).unwrap().partitions.len() as i32, created.partitions);
    Ok(())
}

#[test]
fn topics_get_their_replicas_in_turn() {
    let mut image = cluster(3);
    create(&mut image, 10, &topic("t", 4, 2)).unwrap();
    let partitions = &image.topic("t").unwrap().partitions;
    let replicas: Vec<_> = partitions.values().map(|partition| partition.replicas.clone()).collect();
    assert_eq!(replicas, [[1, 2], [2, 3], [3, 1], [1, 2]]);
    for partition in partitions.values() {
        assert_eq!((partition.leader, partition.leader_epoch), (partition.replicas[0], 0));
        assert_eq!(partition.isr, partition.replicas);
        assert_eq!(
            partition.directories,
            partition.replicas.iter().map(|b| directory(*b)).collect::<Vec<_>>()
        );
    }
    create(&mut image, 11, &topic("defaults", -1, -1)).unwrap();
    assert_eq!(image.topic("defaults").unwrap().partitions.len(), 2);
    assert_eq!(image.partition_count(), 6);
}

#[test]
fn impossible_topics_change_nothing() {
    let mut image = cluster(2);
    create(&mut image, 10, &topic("a.b", 1, 1)).unwrap();
    let before = image.clone();
    for (topic, code) in [
        (topic("a.b", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a_b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("n", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("n", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("n", -2, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("n", 1_000_000, 1), ErrorCode::INVALID_PARTITIONS),
    ] {
        assert_eq!(create(&mut image, 11, &topic), Err(code), "{topic:?}");
    }
    assert_eq!(image, before);
}

#[test]
fn partitions_are_added_where_the_last_ones_ended() {
    let mut image = cluster(3);
    create(&mut image, 10, &topic("t", 2, 1)).unwrap();
    let grow = |count, assignments| NewPartitions { topic: "t".into(), count, assignments };
    let records = create_partitions(&image, &grow(4, None), directory).unwrap();
    apply(&mut image, &records);
    let leaders: Vec<_> =
        image.topic("t").unwrap().partitions.values().map(|partition| partition.leader).collect();
    assert_eq!(leaders, [1, 2, 3, 1]);
    let refused = |request| create_partitions(&image, &request, directory).unwrap_err().code;
    assert_eq!(refused(grow(4, None)), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(refused(grow(6, Some(vec![vec![1]]))), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(refused(grow(5, Some(vec![vec![1, 2]]))), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(refused(grow(5, Some(vec![vec![9]]))), ErrorCode::INVALID_REPLICA_ASSIGNMENT);
}

#[test]
fn a_deleted_topic_leaves_nothing_but_the_memory_of_its_id() {
    let mut image = cluster(1);
    let mut configured = topic("t", 1, 1);
    configured.configs.push(("retention.ms".into(), Some("5".into())));
    create(&mut image, 10, &configured).unwrap();
    assert_eq!(image.config(ResourceType::Topic, "t")["retention.ms"], "5");
    let id = Uuid::from_u128(10);
    let records = delete_topic(&image, id).unwrap();
    apply(&mut image, &records);
    assert!(image.topic("t").is_none() && image.topic_name(&id).is_none() && image.was_removed(&id));
    assert!(image.config(ResourceType::Topic, "t").is_empty());
    assert_eq!(delete_topic(&image, id).unwrap_err().code, ErrorCode::UNKNOWN_TOPIC_ID);
    create(&mut image, 11, &topic("t", 1, 1)).unwrap();
}

#[test]
fn a_leader_that_is_named_raises_the_epoch() {
    let mut image = cluster(2);
    create(&mut image, 10, &topic("t", 1, 2)).unwrap();
    let change = |leader, isr: Option<Vec<i32>>| {
        let topic_id = Uuid::from_u128(10);
        let base =
            PartitionChangeRecord { topic_id, partition_id: 0, isr, ..PartitionChangeRecord::default() };
        [MetadataRecord::PartitionChange(PartitionChangeRecord { leader, ..base })]
    };
    apply(&mut image, &change(-2, Some(vec![1])));
    let of = |image: &Image| {
        let partition = &image.topic("t").unwrap().partitions[&0];
        (partition.leader, partition.leader_epoch, partition.partition_epoch, partition.isr.clone())
    };
    assert_eq!(of(&image), (1, 0, 1, vec![1]));
    apply(&mut image, &change(1, None));
    assert_eq!(of(&image), (1, 1, 2, vec![1]), "the same leader again, after an unclean stop");
}

#[test]
fn broken_logs_are_errors_and_never_guessed_at() {
    let mut image = cluster(1);
    create(&mut image, 10, &topic("t", 1, 1)).unwrap();
    let again =
        create_topics(&cluster(1), &topic("t", 1, 1), DEFAULTS, || Uuid::from_u128(10), directory).unwrap().1;
    let offset = image.applied_offset();
    assert!(image.clone().apply(offset, &again[0]).unwrap_err().contains("created twice"));
    assert!(image.clone().apply(0, &again[0]).unwrap_err().contains("applied before"));
    let stranger =
        PartitionChangeRecord { topic_id: Uuid::from_u128(99), ..PartitionChangeRecord::default() };
    let error = image.apply(offset, &MetadataRecord::PartitionChange(stranger)).unwrap_err();
    assert!(error.contains("no topic has the id"), "{error}");
}

#[test]
fn configurations_are_set_deleted_extended_and_replaced() {
    let mut image = cluster(1);
    create(&mut image, 10, &topic("t", 1, 1)).unwrap();
    let op = |name: &str, op, value: Option<&str>| ConfigOp {
        name: name.into(),
        op,
        value: value.map(str::to_owned),
    };
    let mut alter = |ops: &[ConfigOp]| {
        let records = alter_configs(&image, ResourceType::Topic, "t", ops).map_err(|error| error.code)?;
        apply(&mut image, &records);
        Ok::<_, ErrorCode>((records.len(), image.config(ResourceType::Topic, "t").clone()))
    };
    let set = |pairs: &[(&str, &str)]| -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let both =
        [op("retention.ms", AlterOp::Set, Some("1")), op("cleanup.policy", AlterOp::Append, Some("compact"))];
    let wanted = set(&[("retention.ms", "1"), ("cleanup.policy", "delete,compact")]);
    assert_eq!(alter(&both), Ok((2, wanted.clone())));
    assert_eq!(alter(&both), Ok((0, wanted)), "nothing changes, nothing is written");
    let less =
        [op("cleanup.policy", AlterOp::Subtract, Some("delete")), op("retention.ms", AlterOp::Delete, None)];
    assert_eq!(alter(&less), Ok((2, set(&[("cleanup.policy", "compact")]))));
    assert_eq!(alter(&[op("retention.ms", AlterOp::Append, Some("1"))]), Err(ErrorCode::INVALID_CONFIG));
    assert_eq!(alter(&[op("retention.ms", AlterOp::Set, None)]), Err(ErrorCode::INVALID_REQUEST));
    let twice = [op("retention.ms", AlterOp::Set, Some("1")), op("retention.ms", AlterOp::Delete, None)];
    assert_eq!(alter(&twice), Err(ErrorCode::INVALID_REQUEST));
    let records =
        replace_configs(&image, ResourceType::Topic, "t", &set(&[("segment.bytes", "100")])).unwrap();
    apply(&mut image, &records);
    assert_eq!(*image.config(ResourceType::Topic, "t"), set(&[("segment.bytes", "100")]));
    let wrong = replace_configs(&image, ResourceType::Broker, "x", &set(&[])).unwrap_err();
    assert_eq!(wrong.code, ErrorCode::INVALID_REQUEST);
}

fn level(name: &str, feature_level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.to_owned(), feature_level }.into()
}

fn shrink() -> MetadataRecord {
    let isr = Some(vec![1]);
    PartitionChangeRecord { partition_id: 0, topic_id: Uuid::from_u128(7), isr, ..Default::default() }.into()
}

#[test]
fn a_record_newer_than_what_the_cluster_agreed_on_is_refused() {
    let supported = Release::LATEST.features();
    let (old, new) = (RecordVersions::at(21), RecordVersions::at(25));
    let read = |mut at: RecordVersions, mut written: RecordVersions| {
        at.decode(&written.encode(&shrink()), &supported).map_err(|error| error.to_string())
    };
    assert_eq!(read(old, old), Ok(shrink()));
    assert_eq!(read(new, new), Ok(shrink()));
    assert_eq!(read(new, old), Ok(shrink()), "what was written before");
    let refused = "PartitionChangeRecord has version 2, and metadata.version 21 calls for 1 at most";
    assert_eq!(read(old, new), Err(refused.to_owned()));
}

#[test]
fn a_level_counts_for_the_records_behind_it() {
    let records = [shrink(), level("metadata.version", 25), shrink()];
    let (mut writes, mut reads) = (RecordVersions::at(21), RecordVersions::at(21));
    let values: Vec<_> = records.iter().map(|record| writes.encode(record)).collect();
    assert_ne!(values[0], values[2], "the second has another version");
    for (value, record) in values.iter().zip(&records) {
        assert_eq!(reads.decode(value, &Release::LATEST.features()).as_ref(), Ok(record));
    }
}

#[test]
fn a_level_that_a_node_does_not_support_is_refused() {
    let read = |release: Release, record: MetadataRecord| {
        let value = RecordVersions::at(21).encode(&record);
        let read = RecordVersions::at(21).decode(&value, &release.features());
        read.map(drop).map_err(|error| error.to_string())
    };
    let elr = "eligible.leader.replicas.version";
    assert_eq!(read(Release::V4_0, level("metadata.version", 25)), Ok(()));
    assert_eq!(read(Release::V4_0, level(elr, 1)), Ok(()));
    assert_eq!(read(Release::V3_9, level(elr, 0)), Ok(()), "it is taken away");
    let refused = |what: &str| Err(format!("{what}, and this node supports 21 to 21"));
    let newer = level("metadata.version", 25);
    assert_eq!(read(Release::V3_9, newer), refused("metadata.version is finalized at level 25"));
    let unknown = "no.feature is finalized at level 1, and this node supports 0 to 0";
    assert_eq!(read(Release::V4_1, level("no.feature", 1)), Err(unknown.to_owned()));
}
