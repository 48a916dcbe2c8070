//! Registration, heartbeats, fencing, stopping.

use crate::world::{SESSION, World, code, config, directory};
use burnin_core::controller::{Context, Heartbeat, HeartbeatAnswer};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{MetadataRecord, RegisterControllerRecord};
use std::time::Duration;
use uuid::Uuid;

const ALIVE: HeartbeatAnswer =
    HeartbeatAnswer { is_caught_up: true, is_fenced: false, should_shut_down: false };

#[test]
fn epoch_of_a_broker_is_the_offset_of_its_record() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[]);
    world.fence(1);
    let before = world.next_offset;
    let registration = world.registration(2, -1);
    world.pass(SESSION);
    // The old start of broker 2 is still in the ISR: the batch begins with its removal.
    let epoch = world.register(&registration).unwrap();
    assert_eq!(epoch, before + 1);
    assert_eq!(world.epoch(2), epoch);
    assert!(!world.partition("t").isr.contains(&2));
}

#[test]
fn broker_is_fenced_until_it_has_seen_its_registration() {
    let mut world = World::new(1);
    let registration = world.registration(2, -1);
    let epoch = world.register(&registration).unwrap();
    let beat = |metadata_offset| Heartbeat {
        broker_id: 2,
        broker_epoch: epoch,
        metadata_offset,
        ..Heartbeat::default()
    };
    let answer = world.heartbeat(beat(epoch - 1)).unwrap();
    assert_eq!(answer, HeartbeatAnswer { is_caught_up: false, is_fenced: true, should_shut_down: false });
    assert_eq!(world.heartbeat(beat(epoch)).unwrap(), ALIVE);
    assert_eq!(
        code(world.heartbeat(Heartbeat { broker_epoch: epoch - 1, ..beat(epoch) })),
        Err(ErrorCode::STALE_BROKER_EPOCH)
    );
    assert_eq!(
        code(world.heartbeat(Heartbeat { broker_id: 9, ..beat(epoch) })),
        Err(ErrorCode::STALE_BROKER_EPOCH)
    );
}

#[test]
fn second_broker_of_the_same_number_is_refused_while_the_first_lives() {
    let mut world = World::new(1);
    let other = world.registration(1, -1);
    assert_eq!(code(world.register(&other)), Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION));
    world.pass(SESSION - Duration::from_millis(1));
    assert_eq!(code(world.register(&other)), Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION));
    world.pass(Duration::from_millis(1));
    let epoch = world.register(&other).unwrap();
    // The first learns from its next heartbeat that it is not the one any more.
    assert_eq!(world.epoch(1), epoch);
    // A fenced start counts too: two processes must not take turns.
    let third = world.registration(1, -1);
    assert_eq!(code(world.register(&third)), Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION));
}

#[test]
fn repeated_registration_of_one_start_keeps_its_epoch_and_state() {
    let mut world = World::new(2);
    let mut registration = world.registration(3, -1);
    let epoch = world.register(&registration).unwrap();
    world.beat(3);
    registration.rack = Some("moved".into());
    assert_eq!(world.register(&registration).unwrap(), epoch);
    let broker = &world.active.image().brokers()[&3];
    assert_eq!((broker.fenced, broker.rack.as_deref()), (false, Some("moved")));
    assert_eq!(world.beat(3), ALIVE);
}

#[test]
fn registrations_that_do_not_fit_are_refused() {
    let mut world = World::new(1);
    let good = world.registration(2, -1);
    let cases = [
        (ErrorCode::INCONSISTENT_CLUSTER_ID, {
            let mut r = good.clone();
            r.cluster_id = "other".into();
            r
        }),
        (ErrorCode::INVALID_REGISTRATION, {
            let mut r = good.clone();
            r.log_dirs.clear();
            r
        }),
        (ErrorCode::INVALID_REGISTRATION, {
            let mut r = good.clone();
            r.log_dirs.push(directory(2));
            r
        }),
        (ErrorCode::INVALID_REGISTRATION, {
            let mut r = good.clone();
            r.log_dirs = vec![Uuid::from_u128(7)];
            r
        }),
        (ErrorCode::INVALID_REGISTRATION, {
            let mut r = good.clone();
            r.log_dirs = vec![directory(1)];
            r
        }),
        (ErrorCode::INVALID_REGISTRATION, {
            let mut r = good.clone();
            r.broker_id = -1;
            r
        }),
        (ErrorCode::UNSUPPORTED_VERSION, {
            let mut r = good.clone();
            r.features.clear();
            r
        }),
        (ErrorCode::UNSUPPORTED_VERSION, {
            let mut r = good.clone();
            r.features.iter_mut().for_each(|f| f.max_supported_version = 0);
            r
        }),
    ];
    let before = world.active.image().clone();
    for (expected, registration) in cases {
        assert_eq!(code(world.register(&registration)), Err(expected), "{registration:?}");
    }
    assert_eq!(*world.active.image(), before);
    world.register(&good).unwrap();
}

#[test]
fn silent_broker_is_fenced_at_the_end_of_its_session() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[("min.insync.replicas", "2")]);
    world.pass(Duration::from_secs(5));
    world.beat(2);
    world.beat(3);
    world.pass(Duration::from_secs(4) - Duration::from_nanos(1));
    assert_eq!(world.tick(), 0);
    assert_eq!(
        world.active.deadline(),
        world.now + Duration::from_nanos(1),
        "no polling: the exact time is known"
    );
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.tick(), 1);
    assert!(world.active.image().brokers()[&1].fenced);
    assert_eq!(world.state("t"), (2, &[2, 3][..], &[][..], &[][..]));
    assert_eq!(world.partition("t").leader_epoch, 1);
    assert_eq!(world.beat(1), ALIVE, "it comes back under the same epoch");
    assert_eq!(world.partition("t").isr, [2, 3], "and must catch up before it is in sync");
}

#[test]
fn fencing_takes_a_broker_out_of_everything_in_one_batch() {
    let mut world = World::new(3);
    world.topic("a", &[&[1, 2], &[2, 1], &[3, 1]], &[]);
    world.topic("b", &[&[1]], &[]);
    world.pass(SESSION);
    world.beat(2);
    world.beat(3);
    let records = world.active.tick(world.now);
    let names: Vec<&str> = records.iter().map(MetadataRecord::name).collect();
    let change = "PartitionChangeRecord";
    assert_eq!(names, [change, change, change, change, "BrokerRegistrationChangeRecord"]);
    world.append(&records);
    let partitions = world.active.image().topics().values().flat_map(|topic| topic.partitions.values());
    assert!(partitions.clone().all(|p| !p.isr.contains(&1) && p.leader != 1));
    // No ISR shrink alone raises the leader epoch (KIP-841, since metadata.version 3.6).
    let a = &world.active.image().topic("a").unwrap().partitions;
    assert_eq!(a.values().map(|p| (p.leader, p.leader_epoch)).collect::<Vec<_>>(), [(2, 1), (2, 0), (3, 0)]);
}

#[test]
fn controlled_shutdown_waits_until_the_others_know() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[]);
    let waiting = ALIVE;
    assert_eq!(world.stop(1), waiting);
    assert_eq!(world.state("t"), (2, &[2, 3][..], &[][..], &[][..]));
    assert!(world.active.image().brokers()[&1].in_controlled_shutdown);
    // A broker that is about to stop gets nothing new.
    world.topic("u", &[&[1, 2]], &[]);
    assert_eq!(world.state("u").1, [2]);
    assert_eq!(world.stop(1), waiting, "2 and 3 have not applied the change yet");
    world.beat(2);
    assert_eq!(world.stop(1), waiting);
    world.beat(3);
    assert_eq!(
        world.stop(1),
        HeartbeatAnswer { is_caught_up: true, is_fenced: true, should_shut_down: true }
    );
    // The next start need not wait for the session to end, and keeps its place where it was eligible.
    let epoch = world.epoch(1);
    world.start_after(1, epoch);
    assert!(!world.active.image().brokers()[&1].in_controlled_shutdown);
}

#[test]
fn shutdown_is_granted_at_once_to_a_broker_that_leads_nothing() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[]);
    assert!(world.stop(3).should_shut_down);
    assert_eq!(world.state("t").1, [1, 2]);
    let mut fenced = World::new(1);
    let registration = fenced.registration(2, -1);
    fenced.register(&registration).unwrap();
    assert!(fenced.stop(2).should_shut_down, "a fenced one too");
}

#[test]
fn controlled_shutdown_goes_on_under_a_new_controller() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[]);
    world.stop(1);
    let (now, committed) = (world.now, world.standby.image().clone());
    world.active.deactivate(committed);
    assert_eq!(code(world.active.cluster().map(|_| ())), Err(ErrorCode::NOT_CONTROLLER));
    assert_eq!(world.active.tick(now), []);
    std::mem::swap(&mut world.active, &mut world.standby);
    assert_eq!(world.active.activate(now), [], "a cluster that has features needs none");
    assert!(!world.stop(1).should_shut_down, "nobody knows what the others have applied");
    world.beat(2);
    world.beat(3);
    assert!(world.stop(1).should_shut_down);
}

#[test]
fn new_controller_gives_every_broker_a_session() {
    let mut world = World::new(2);
    world.pass(SESSION - Duration::from_secs(1));
    std::mem::swap(&mut world.active, &mut world.standby);
    world.active.activate(world.now);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.tick(), 0);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.tick(), 2, "one at a time");
    assert!(world.active.image().brokers().values().all(|broker| broker.fenced));
}

#[test]
fn clean_restart_keeps_eligibility_and_an_unclean_one_loses_it() {
    for clean in [true, false] {
        let mut world = World::new(3);
        world.topic("t", &[&[1, 2, 3]], &[("min.insync.replicas", "2")]);
        world.fence(3);
        world.fence(2);
        assert_eq!(world.state("t"), (1, &[1][..], &[2][..], &[][..]));
        let previous = if clean { world.epoch(2) } else { -1 };
        world.pass(SESSION);
        world.beat(1);
        world.start_after(2, previous);
        let elr: &[i32] = if clean { &[2] } else { &[] };
        assert_eq!(world.state("t"), (1, &[1][..], elr, &[][..]), "clean={clean}");
    }
}

#[test]
fn broker_with_a_new_disk_can_lead_again() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[]);
    world.fence(1);
    world.pass(SESSION);
    world.beat(2);
    let mut registration = world.registration(1, -1);
    registration.log_dirs = vec![Uuid::from_u128(5000)];
    world.register(&registration).unwrap();
    assert_eq!(world.partition("t").directories, [Uuid::from_u128(5000), directory(2)]);
    world.beat(1);
    world.set_isr("t", &[1, 2]);
    world.fence(2);
    assert_eq!(world.state("t").0, 1);
}

#[test]
fn unregistered_broker_leaves_every_isr_and_elr() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[("min.insync.replicas", "2")]);
    world.fence(3);
    world.fence(2);
    let unregister = |world: &mut World, id| {
        let decision = world.active.cluster().unwrap().unregister(id)?;
        world.commit(decision);
        Ok(())
    };
    unregister(&mut world, 2).unwrap();
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]));
    unregister(&mut world, 1).unwrap();
    assert_eq!(world.state("t"), (-1, &[][..], &[][..], &[][..]));
    assert_eq!(code(unregister(&mut world, 1)), Err(ErrorCode::BROKER_ID_NOT_REGISTERED));
    world.start(1);
    assert_eq!(world.state("t").0, -1, "what comes under its id may be another machine");
}

#[test]
fn standby_decides_nothing() {
    let mut world = World::new(1);
    let context = Context { now: world.now, next_offset: world.next_offset };
    let registration = world.registration(1, -1);
    assert_eq!(
        code(world.standby.register(&registration, context).map(|_| ())),
        Err(ErrorCode::NOT_CONTROLLER)
    );
    assert_eq!(
        code(world.standby.heartbeat(&Heartbeat::default(), context).map(|_| ())),
        Err(ErrorCode::NOT_CONTROLLER)
    );
    assert!(world.standby.deadline() > world.now + Duration::from_secs(1_000_000));
}

#[test]
fn first_controller_of_a_cluster_writes_what_it_begins_with() {
    let mut elr = config(true);
    elr.properties.insert("min.insync.replicas".into(), "2".into());
    let world = World::with(elr);
    let image = world.active.image();
    assert_eq!(image.features()["metadata.version"], 25);
    assert_eq!(image.features()["eligible.leader.replicas.version"], 1);
    assert_eq!(image.config(burnin_core::metadata::ResourceType::Broker, "")["min.insync.replicas"], "2");
    let world = World::with(config(false));
    assert_eq!(world.active.image().features().len(), 1);
    assert!(world.active.image().config(burnin_core::metadata::ResourceType::Broker, "").is_empty());
}

#[test]
fn contradicting_records_are_errors() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[]);
    let offset = world.next_offset;
    let fence = MetadataRecord::BrokerRegistrationChange(
        burnin_wire::metadata_records::BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch: world.epoch(1),
            fenced: 1,
            ..Default::default()
        },
    );
    let error = world.standby.apply(offset, &fence).unwrap_err();
    assert!(error.contains("broker 1 is fenced and in the ISR"), "{error}");
    let mut stale = World::new(2);
    let unregister = burnin_wire::metadata_records::UnregisterBrokerRecord { broker_id: 1, broker_epoch: 77 };
    let error = stale.active.apply(stale.next_offset, &unregister.into()).unwrap_err();
    assert!(error.contains("no registration of broker 1 has the epoch 77"), "{error}");
    stale.append(&[RegisterControllerRecord { controller_id: 100, ..Default::default() }.into()]);
    assert!(stale.active.image().controllers().contains_key(&100));
}
