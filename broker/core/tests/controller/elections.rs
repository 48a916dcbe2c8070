//! Who leads: KIP-966's order, preferred and unclean elections, and what is remembered.

use crate::world::{SESSION, World, code, config};
use burnin_core::controller::{ElectionKind, ElectionResult};
use burnin_core::metadata::ResourceType;
use burnin_wire::ErrorCode;
use std::time::Duration;

const MIN_2: &[(&str, &str)] = &[("min.insync.replicas", "2")];

fn elect(world: &mut World, kind: ElectionKind, topic: &str) -> Result<(), ErrorCode> {
    let asked = [(topic.to_owned(), vec![0])];
    let decision = world.active.cluster().unwrap().elect_leaders(kind, Some(&asked));
    code(world.commit(decision).remove(0).result)
}

#[test]
fn leader_is_the_first_replica_of_the_isr_that_is_alive() {
    let mut world = World::new(3);
    world.topic("t", &[&[3, 1, 2]], &[]);
    assert_eq!(world.state("t").0, 3);
    world.set_isr("t", &[2, 3]);
    world.fence(3);
    assert_eq!(world.state("t"), (2, &[2][..], &[][..], &[][..]), "1 is before 2, and not in sync");
    let partition = world.partition("t");
    assert_eq!((partition.leader_epoch, partition.partition_epoch, partition.recovering), (1, 2, false));
}

#[test]
fn who_leaves_below_the_minimum_stays_eligible() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], MIN_2);
    world.fence(3);
    assert_eq!(
        world.state("t"),
        (1, &[1, 2][..], &[][..], &[][..]),
        "the ISR is full: more can be committed"
    );
    world.fence(2);
    assert_eq!(world.state("t"), (1, &[1][..], &[2][..], &[][..]));
    world.fence(1);
    assert_eq!(world.state("t"), (-1, &[][..], &[2, 1][..], &[1][..]));
    world.beat(3);
    assert_eq!(world.state("t").0, -1, "3 lacks what was committed after it left");
    world.beat(2);
    assert_eq!(world.state("t"), (2, &[2][..], &[1][..], &[][..]));
    assert!(!world.partition("t").recovering, "nothing is lost");
    world.beat(1);
    world.set_isr("t", &[1, 2]);
    assert_eq!(world.state("t"), (2, &[1, 2][..], &[][..], &[][..]));
}

#[test]
fn one_member_is_enough_where_the_minimum_says_so() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[]);
    world.fence(2);
    world.fence(1);
    assert_eq!(world.state("t"), (-1, &[][..], &[1][..], &[1][..]));
    world.beat(2);
    assert_eq!(world.state("t").0, -1);
    world.beat(1);
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]), "the ISR is full: no ELR beside it");
}

#[test]
fn last_known_leader_is_the_last_resort_and_only_when_it_is_back() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], MIN_2);
    for id in [3, 2, 1] {
        world.fence(id);
    }
    world.pass(SESSION);
    // Both eligible replicas lose their tails.
    world.start(2);
    assert_eq!(world.state("t"), (-1, &[][..], &[1][..], &[1][..]), "1 may still be whole");
    let registration = world.registration(1, -1);
    world.register(&registration).unwrap();
    assert_eq!(world.state("t"), (-1, &[][..], &[][..], &[1][..]), "not elected while fenced (KAFKA-19522)");
    world.beat(3);
    assert_eq!(world.state("t").0, -1, "another replica is worse");
    world.beat(1);
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]));
    assert!(world.partition("t").recovering, "records may be lost, and it is marked");
    let state = world.set_isr("t", &[1]);
    assert!(!state.recovering);
}

/// Elected, it would empty the others too.
#[test]
fn last_known_leader_with_an_empty_disk_is_forgotten() {
    for is_unregistered in [false, true] {
        let mut world = World::new(3);
        world.topic("t", &[&[1, 2, 3]], MIN_2);
        for id in [3, 2, 1] {
            world.fence(id);
        }
        world.pass(SESSION);
        world.start(2);
        if is_unregistered {
            let decision = world.active.cluster().unwrap().unregister(1).unwrap();
            world.commit(decision);
        }
        let mut registration = world.registration(1, -1);
        registration.log_dirs = vec![uuid::Uuid::from_u128(7777)];
        world.register(&registration).unwrap();
        assert_eq!(world.state("t"), (-1, &[][..], &[][..], &[][..]), "{is_unregistered}");
        world.beat(1);
        world.beat(3);
        assert_eq!(world.state("t").0, -1, "nobody is left who surely holds anything");
        elect(&mut world, ElectionKind::Unclean, "t").unwrap();
        assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]), "whom the operator asks for");
    }
}

#[test]
fn unclean_election_happens_only_where_it_is_on() {
    for on in [false, true] {
        let mut world = World::new(3);
        world.topic(
            "t",
            &[&[1, 2, 3]],
            &[("unclean.leader.election.enable", if on { "true" } else { "false" })],
        );
        world.set_isr("t", &[1]);
        world.fence(1);
        if on {
            assert_eq!(world.state("t"), (2, &[2][..], &[][..], &[][..]));
            assert!(world.partition("t").recovering);
        } else {
            assert_eq!(world.state("t"), (-1, &[][..], &[1][..], &[1][..]));
        }
    }
}

#[test]
fn turning_unclean_election_on_saves_leaderless_partitions() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[]);
    world.set_isr("t", &[1]);
    world.fence(1);
    let set = |world: &mut World, value| {
        world.configure(ResourceType::Topic, "t", "unclean.leader.election.enable", Some(value)).unwrap();
    };
    set(&mut world, "true");
    assert_eq!(world.state("t").0, 2);
    assert!(world.partition("t").recovering);
}

#[test]
fn leaderless_partitions_are_looked_at_from_time_to_time() {
    let mut config = config(true);
    config.properties.insert("unclean.leader.election.enable".into(), "true".into());
    let mut world = World::with(config);
    world.start(1);
    world.start(2);
    world.topic("t", &[&[1, 2]], &[("unclean.leader.election.enable", "false")]);
    world.set_isr("t", &[1]);
    world.fence(1);
    // The file of the controller counts for topics that do not say; it is no request, so a sweep finds it.
    let ops = [(ResourceType::Topic, "t")];
    let records: Vec<_> = ops
        .iter()
        .map(|(kind, name)| {
            burnin_wire::metadata_records::ConfigRecord {
                resource_type: *kind as i8,
                resource_name: (*name).into(),
                name: "unclean.leader.election.enable".into(),
                value: None,
            }
            .into()
        })
        .collect();
    world.append(&records);
    assert_eq!(world.state("t").0, -1);
    for _ in 0..40 {
        world.pass(Duration::from_secs(8));
        world.beat(2);
        world.tick();
    }
    assert_eq!(world.state("t").0, 2);
}

#[test]
fn without_elr_the_last_member_stays_in_the_isr() {
    let mut world = World::without_elr(2);
    world.topic("t", &[&[1, 2]], MIN_2);
    world.fence(2);
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]));
    world.fence(1);
    assert_eq!(world.state("t"), (-1, &[1][..], &[][..], &[][..]));
    world.beat(2);
    assert_eq!(world.state("t").0, -1);
    world.beat(1);
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]));
}

#[test]
fn preferred_election_gives_the_first_replica_back() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[]);
    let preferred = ElectionKind::Preferred;
    assert_eq!(elect(&mut world, preferred, "t"), Err(ErrorCode::ELECTION_NOT_NEEDED));
    world.fence(1);
    world.beat(1);
    assert_eq!(elect(&mut world, preferred, "t"), Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE));
    world.set_isr("t", &[1, 2, 3]);
    assert_eq!(elect(&mut world, preferred, "t"), Ok(()));
    assert_eq!((world.state("t").0, world.partition("t").leader_epoch), (1, 2));
    assert_eq!(elect(&mut world, preferred, "nope"), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[test]
fn unclean_election_on_request_needs_a_partition_without_leader() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[]);
    world.set_isr("t", &[1]);
    let unclean = ElectionKind::Unclean;
    assert_eq!(elect(&mut world, unclean, "t"), Err(ErrorCode::ELECTION_NOT_NEEDED));
    world.fence(1);
    world.fence(2);
    assert_eq!(elect(&mut world, unclean, "t"), Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE));
    world.beat(2);
    assert_eq!(elect(&mut world, unclean, "t"), Ok(()));
    assert_eq!(world.state("t"), (2, &[2][..], &[][..], &[][..]));
    assert!(world.partition("t").recovering);
}

#[test]
fn election_for_all_leaves_out_what_needs_none() {
    let mut world = World::new(2);
    world.topic("a", &[&[1, 2], &[2, 1]], &[]);
    world.topic("b", &[&[2, 1]], &[]);
    world.fence(2);
    world.beat(2);
    world.set_isr("b", &[1, 2]);
    let decision = world.active.cluster().unwrap().elect_leaders(ElectionKind::Preferred, None);
    let results = world.commit(decision);
    let shown: Vec<_> = results
        .into_iter()
        .map(|ElectionResult { topic, partition, result }| (topic, partition, code(result)))
        .collect();
    let unavailable = Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE);
    assert_eq!(shown, [("a".to_owned(), 1, unavailable), ("b".to_owned(), 0, Ok(()))]);
    let twice = [("b".to_owned(), vec![0, 0]), ("b".to_owned(), vec![0])];
    world.fence(2);
    world.beat(2);
    world.set_isr("b", &[1, 2]);
    let decision = world.active.cluster().unwrap().elect_leaders(ElectionKind::Preferred, Some(&twice));
    assert_eq!(decision.records.len(), 1);
    let codes: Vec<_> = decision.answer.into_iter().map(|r| code(r.result)).collect();
    assert_eq!(codes, [Ok(()), Err(ErrorCode::ELECTION_NOT_NEEDED), Err(ErrorCode::ELECTION_NOT_NEEDED)]);
}

#[test]
fn leaders_are_balanced_after_a_while() {
    let mut world = World::new(2);
    world.topic("t", &[&[1, 2]], &[]);
    world.fence(1);
    world.beat(1);
    world.set_isr("t", &[1, 2]);
    for _ in 0..40 {
        world.pass(Duration::from_secs(8));
        world.beat(1);
        world.beat(2);
        world.tick();
    }
    assert_eq!(world.state("t").0, 1);
}

#[test]
fn records_that_say_nothing_are_written_in_time_where_they_shall() {
    for (every, written) in [(None, 0), (Some(Duration::from_millis(500)), 4)] {
        let mut world =
            World::with(burnin_core::controller::ControllerConfig { idle_interval: every, ..config(true) });
        world.start(1);
        let mut batches = 0;
        for _ in 0..20 {
            world.pass(Duration::from_millis(100));
            batches += world.tick();
        }
        assert_eq!(batches, written);
    }
}
