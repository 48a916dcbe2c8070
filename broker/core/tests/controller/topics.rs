//! Topics: placed, assigned, extended, deleted.

use crate::world::{World, code, directory};
use burnin_core::metadata::{NewPartitions, NewTopic, ResourceType};
use burnin_wire::ErrorCode;
use std::collections::BTreeSet;
use uuid::Uuid;

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor, ..NewTopic::default() }
}

fn assigned(replicas: &[(i32, &[i32])]) -> NewTopic {
    let assignments = replicas.iter().map(|(number, ids)| (*number, ids.to_vec())).collect();
    NewTopic { assignments, ..topic("n", -1, -1) }
}

#[test]
fn replicas_are_spread_over_racks() {
    let mut world = World::new(6);
    world.create(&topic("t", 12, 3)).unwrap();
    for partition in world.active.image().topic("t").unwrap().partitions.values() {
        let racks: BTreeSet<i32> = partition.replicas.iter().map(|id| id % 3).collect();
        assert_eq!(racks.len(), 3, "{partition:?}");
        assert_eq!((partition.leader, &partition.isr), (partition.replicas[0], &partition.replicas));
        assert_eq!((partition.leader_epoch, partition.partition_epoch), (0, 0));
        let directories: Vec<Uuid> = partition.replicas.iter().map(|id| directory(*id)).collect();
        assert_eq!(partition.directories, directories);
    }
    world.create(&topic("defaults", -1, -1)).unwrap();
    let partitions = &world.active.image().topic("defaults").unwrap().partitions;
    assert_eq!((partitions.len(), partitions[&0].replicas.len()), (2, 3));
}

#[test]
fn fenced_brokers_take_replicas_and_are_not_in_sync() {
    let mut world = World::new(3);
    world.fence(2);
    world.create(&topic("t", 6, 3)).unwrap();
    for partition in world.active.image().topic("t").unwrap().partitions.values() {
        assert_eq!(partition.replicas.len(), 3);
        assert!(!partition.isr.contains(&2) && partition.leader != 2, "{partition:?}");
        assert_eq!(partition.isr.len(), 2);
    }
}

#[test]
fn brokers_that_are_about_to_stop_take_nothing() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[]);
    world.stop(1);
    assert_eq!(code(world.create(&topic("u", 1, 3))), Err(ErrorCode::INVALID_REPLICATION_FACTOR));
    world.create(&topic("u", 4, 2)).unwrap();
    assert!(world.active.image().topic("u").unwrap().partitions.values().all(|p| !p.replicas.contains(&1)));
}

#[test]
fn impossible_topics_change_nothing() {
    let mut world = World::new(3);
    world.create(&topic("a.b", 1, 1)).unwrap();
    world.fence(3);
    let before = world.active.image().clone();
    let mut doubtful = topic("n", 1, 1);
    doubtful.configs = vec![("min.insync.replicas".into(), Some("0".into()))];
    let mut null = topic("n", 1, 1);
    null.configs = vec![("min.insync.replicas".into(), None)];
    let cases = [
        (topic("a.b", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a_b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("a b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("__cluster_metadata", 1, 1), ErrorCode::INVALID_REQUEST),
        (topic("n", 1, 4), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("n", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("n", 1, -2), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("n", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("n", 1_000_000, 1), ErrorCode::INVALID_PARTITIONS),
        (assigned(&[(0, &[1]), (0, &[2])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(1, &[1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[1, 1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[9])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[1, 2]), (1, &[1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[3])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (NewTopic { partitions: 1, ..assigned(&[(0, &[1])]) }, ErrorCode::INVALID_REQUEST),
        (NewTopic { replication_factor: 1, ..assigned(&[(0, &[1])]) }, ErrorCode::INVALID_REQUEST),
        (doubtful, ErrorCode::INVALID_CONFIG),
        (null, ErrorCode::INVALID_CONFIG),
    ];
    for (topic, expected) in cases {
        assert_eq!(code(world.create(&topic)), Err(expected), "{topic:?}");
    }
    assert_eq!(*world.active.image(), before);
    world.create(&assigned(&[(1, &[2, 3]), (0, &[3, 1])])).unwrap();
    assert_eq!(world.state("n"), (1, &[1][..], &[][..], &[][..]), "3 is fenced");
}

#[test]
fn nothing_is_created_while_all_brokers_are_fenced() {
    let mut world = World::new(1);
    world.fence(1);
    assert_eq!(code(world.create(&topic("t", 1, 1))), Err(ErrorCode::INVALID_REPLICATION_FACTOR));
}

#[test]
fn more_partitions_have_the_factor_of_the_first() {
    let mut world = World::new(4);
    world.create(&topic("t", 2, 2)).unwrap();
    let grow = |world: &mut World, count, assignments: Option<&[&[i32]]>| {
        let assignments = assignments.map(|all| all.iter().map(|ids| ids.to_vec()).collect());
        let request = NewPartitions { topic: "t".into(), count, assignments };
        let decision = world.active.cluster()?.create_partitions(&request, &mut world.entropy)?;
        world.commit(decision);
        Ok(())
    };
    grow(&mut world, 4, None).unwrap();
    grow(&mut world, 5, Some(&[&[4, 1]])).unwrap();
    let partitions = &world.active.image().topic("t").unwrap().partitions;
    assert_eq!(partitions.len(), 5);
    assert!(partitions.values().all(|partition| partition.replicas.len() == 2));
    assert_eq!(partitions[&4].leader, 4);
    assert_eq!(code(grow(&mut world, 5, None)), Err(ErrorCode::INVALID_PARTITIONS));
    assert_eq!(code(grow(&mut world, -1, None)), Err(ErrorCode::INVALID_PARTITIONS));
    assert_eq!(code(grow(&mut world, 7, Some(&[&[1, 2]]))), Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT));
    assert_eq!(code(grow(&mut world, 6, Some(&[&[1, 2, 3]]))), Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT));
}

#[test]
fn deleted_topic_is_gone_with_its_settings_and_its_id_never_comes_back() {
    let mut world = World::new(2);
    let id = world.topic("t", &[&[1, 2]], &[("retention.ms", "5")]);
    let decision = world.active.cluster().unwrap().delete_topic(id).unwrap();
    world.commit(decision);
    assert!(world.active.image().topic("t").is_none());
    assert!(world.active.image().config(ResourceType::Topic, "t").is_empty());
    let again = world.active.cluster().unwrap().delete_topic(id).map(|_| ());
    assert_eq!(code(again), Err(ErrorCode::UNKNOWN_TOPIC_ID));
    assert_ne!(world.topic("t", &[&[2, 1]], &[]), id);
    world.fence(2);
    assert_eq!(world.state("t").0, 1);
}
