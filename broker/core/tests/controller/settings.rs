//! Configurations that bear on partitions, features, producer ids.

use crate::world::{World, code};
use burnin_core::controller::{FeatureUpdate, ProposedIsr, UpdateKind};
use burnin_core::metadata::ResourceType::{Broker, Topic};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{FeatureRange, RegisterControllerRecord};

const MIN_ISR: &str = "min.insync.replicas";
const ELR: &str = "eligible.leader.replicas.version";

#[test]
fn lower_minimum_forgets_the_elr_only_where_the_isr_is_full_now() {
    let mut world = World::new(3);
    world.topic("some", &[&[1, 2, 3]], &[(MIN_ISR, "2")]);
    world.topic("none", &[&[1, 2, 3]], &[(MIN_ISR, "2")]);
    world.set_isr("some", &[1]);
    for id in [3, 2, 1] {
        world.fence(id);
        if id == 2 {
            assert_eq!(world.state("some").2, [2, 3]);
        }
    }
    world.beat(1);
    world.beat(3);
    world.topic("led", &[&[1, 2, 3]], &[(MIN_ISR, "3")]);
    world.set_isr("led", &[1]);
    assert_eq!(world.state("led").2, [3]);
    world.configure(Topic, "led", MIN_ISR, Some("1")).unwrap();
    assert_eq!(world.state("led"), (1, &[1][..], &[][..], &[][..]));
    world.fence(1);
    world.configure(Topic, "none", MIN_ISR, Some("1")).unwrap();
    assert_eq!(world.state("none"), (-1, &[][..], &[2, 1][..], &[1][..]), "the only way out is kept");
    world.beat(2);
    assert_eq!(world.state("none").0, 2);
}

#[test]
fn higher_minimum_is_seen_by_a_leader_before_it_changes_the_isr() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[(MIN_ISR, "2")]);
    let in_flight = world.proposal("t", &[1, 2]);
    world.configure(Topic, "t", MIN_ISR, Some("3")).unwrap();
    // Granted, 3 would be taken for a replica that holds everything, while the leader commits with 1 and 2.
    assert_eq!(world.alter(1, in_flight), Err(ErrorCode::INVALID_UPDATE_VERSION));
    assert_eq!((world.partition("t").leader_epoch, world.partition("t").partition_epoch), (0, 1));
    world.set_isr("t", &[1, 2]);
    assert_eq!(world.state("t").2, [3]);
    let before = world.partition("t").partition_epoch;
    world.configure(Topic, "t", MIN_ISR, Some("9")).unwrap();
    assert_eq!(world.partition("t").partition_epoch, before, "three replicas: nothing changes");
}

#[test]
fn minimum_of_the_cluster_counts_for_topics_that_do_not_say() {
    let mut world = World::new(3);
    world.topic("own", &[&[1, 2, 3]], &[(MIN_ISR, "1")]);
    world.topic("t", &[&[1, 2, 3]], &[]);
    world.configure(Broker, "", MIN_ISR, Some("2")).unwrap();
    assert_eq!(world.partition("own").partition_epoch, 0);
    assert_eq!(world.partition("t").partition_epoch, 1);
    world.set_isr("t", &[1]);
    world.set_isr("own", &[1]);
    assert_eq!((world.state("t").2, world.state("own").2), (&[2, 3][..], &[][..]));
    let invalid = Err(ErrorCode::INVALID_CONFIG);
    assert_eq!(code(world.configure(Broker, "1", MIN_ISR, Some("2"))), invalid, "not of a single broker");
    assert_eq!(code(world.configure(Broker, "", MIN_ISR, None)), invalid, "not removed");
}

#[test]
fn resources_must_exist() {
    let mut world = World::new(1);
    world.topic("t", &[&[1]], &[]);
    world.configure(Topic, "t", "retention.ms", Some("5")).unwrap();
    world.configure(Broker, "1", "message.max.bytes", Some("5000")).unwrap();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(code(world.configure(Topic, "u", "retention.ms", Some("5"))), Err(unknown));
    let unknown = ErrorCode::BROKER_ID_NOT_REGISTERED;
    assert_eq!(code(world.configure(Broker, "9", "message.max.bytes", Some("5000"))), Err(unknown));
    world.configure(Broker, "100", "message.max.bytes", Some("5000")).unwrap();
}

fn update(world: &mut World, name: &str, level: i16, kind: UpdateKind) -> Result<(), ErrorCode> {
    let updates = [FeatureUpdate { name: name.into(), level, kind }];
    let decision = code(world.active.cluster().unwrap().update_features(&updates, false))?;
    world.commit(decision);
    Ok(())
}

#[test]
fn levels_of_features_move_only_as_far_as_everybody_can() {
    let refused = Err(ErrorCode::INVALID_UPDATE_VERSION);
    let mut world = World::new(2);
    let (up, down) = (UpdateKind::Upgrade, UpdateKind::SafeDowngrade);
    assert_eq!(update(&mut world, "metadata.version", 28, up), refused, "not supported here");
    assert_eq!(update(&mut world, "metadata.version", 24, up), refused, "that is down");
    assert_eq!(update(&mut world, "metadata.version", 24, down), Ok(()));
    assert_eq!(update(&mut world, "metadata.version", 25, down), refused, "that is up");
    assert_eq!(update(&mut world, "metadata.version", 22, down), refused, "ELRs would be lost");
    assert_eq!(update(&mut world, "metadata.version", 22, UpdateKind::UnsafeDowngrade), refused);
    assert_eq!(update(&mut world, "nobody.knows", 1, up), refused);
    assert_eq!(update(&mut world, ELR, -1, down), refused);
    let mut old = world.registration(3, -1);
    old.features
        .iter_mut()
        .filter(|f| f.name == "metadata.version")
        .for_each(|f| f.max_supported_version = 24);
    world.register(&old).unwrap();
    assert_eq!(update(&mut world, "metadata.version", 25, up), refused, "broker 3 cannot");
    let decision = world.active.cluster().unwrap().unregister(3).unwrap();
    world.commit(decision);
    assert_eq!(update(&mut world, "metadata.version", 25, up), Ok(()));
}

#[test]
fn controllers_must_have_registered_before_a_level_is_raised() {
    let mut config = crate::world::config(false);
    config.voters = vec![100, 101];
    let mut world = World::with(config);
    let up = UpdateKind::Upgrade;
    assert_eq!(update(&mut world, ELR, 1, up), Err(ErrorCode::INVALID_UPDATE_VERSION));
    let range = |max| FeatureRange { name: ELR.into(), min_supported_version: 0, max_supported_version: max };
    let node = |max| RegisterControllerRecord {
        controller_id: 101,
        features: vec![range(max)],
        ..RegisterControllerRecord::default()
    };
    world.append(&[node(0).into()]);
    assert_eq!(update(&mut world, ELR, 1, up), Err(ErrorCode::INVALID_UPDATE_VERSION));
    world.append(&[node(1).into()]);
    assert_eq!(update(&mut world, ELR, 1, up), Ok(()));
}

#[test]
fn elr_is_turned_on_and_off() {
    let mut world = World::without_elr(3);
    world.topic("last", &[&[3]], &[]);
    world.topic("t", &[&[1, 2]], &[(MIN_ISR, "2")]);
    world.configure(Broker, "1", MIN_ISR, Some("2")).unwrap();
    world.fence(3);
    assert_eq!(world.state("last"), (-1, &[3][..], &[][..], &[][..]));
    let in_flight = world.proposal("t", &[1]);
    update(&mut world, ELR, 1, UpdateKind::Upgrade).unwrap();
    assert_eq!(world.state("last"), (-1, &[][..], &[3][..], &[3][..]));
    assert_eq!(world.active.image().config(Broker, "")[MIN_ISR], "1", "leaders do not go by their files");
    assert!(world.active.image().config(Broker, "1").is_empty());
    assert_eq!(world.alter(1, in_flight), Err(ErrorCode::INVALID_UPDATE_VERSION));
    world.set_isr("t", &[1]);
    assert_eq!(world.state("t").2, [2]);
    update(&mut world, ELR, 0, UpdateKind::SafeDowngrade).unwrap();
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]));
    world.beat(3);
    assert_eq!(world.state("last").0, 3, "the only way out was kept");
    assert_eq!(update(&mut world, "metadata.version", 24, UpdateKind::SafeDowngrade), Ok(()));
}

#[test]
fn older_metadata_version_writes_records_without_elr() {
    let mut config = crate::world::config(false);
    config.bootstrap[0].1 = 21;
    let mut world = World::with(config);
    world.start(1);
    world.start(2);
    world.topic("t", &[&[1, 2]], &[(MIN_ISR, "2")]);
    world.fence(2);
    world.fence(1);
    assert_eq!(world.state("t"), (-1, &[1][..], &[][..], &[][..]));
    assert_eq!(update(&mut world, ELR, 1, UpdateKind::Upgrade), Err(ErrorCode::INVALID_UPDATE_VERSION));
    update(&mut world, "metadata.version", 25, UpdateKind::Upgrade).unwrap();
    update(&mut world, ELR, 1, UpdateKind::Upgrade).unwrap();
    assert_eq!(world.state("t").2, [1]);
}

#[test]
fn producer_ids_come_in_blocks_that_do_not_overlap() {
    let mut world = World::new(2);
    let mut firsts = Vec::new();
    for broker in [1, 2, 1] {
        let epoch = world.epoch(broker);
        let decision = world.active.cluster().unwrap().allocate_producer_ids(broker, epoch).unwrap();
        let block = world.commit(decision);
        assert_eq!(block.count, 1000);
        firsts.push(block.first);
    }
    assert_eq!(firsts, [0, 1000, 2000]);
    let stale = world.active.cluster().unwrap().allocate_producer_ids(1, 1).map(|_| ());
    assert_eq!(code(stale), Err(ErrorCode::STALE_BROKER_EPOCH));
}

#[test]
fn recovery_is_not_claimed_twice() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[("unclean.leader.election.enable", "true")]);
    world.set_isr("t", &[1]);
    world.fence(1);
    let recovering = ProposedIsr { recovering: true, ..world.proposal("t", &[2]) };
    let state = world.alter(2, recovering).unwrap();
    assert!(state.recovering);
    assert_eq!(state.partition_epoch, world.partition("t").partition_epoch, "nothing changed");
}
