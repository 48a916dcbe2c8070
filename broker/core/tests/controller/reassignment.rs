//! Reassignment: add, remove, replace, cancel, list.

use crate::world::{World, code};
use burnin_core::controller::Reassignment;
use burnin_wire::ErrorCode;

type Plan = (Vec<i32>, Vec<i32>, Vec<i32>);

fn reassign(world: &mut World, replicas: Option<&[i32]>) -> Result<(), ErrorCode> {
    let target = [("t".to_owned(), 0, replicas.map(<[i32]>::to_vec))];
    let decision = world.active.cluster().unwrap().alter_reassignments(&target);
    code(world.commit(decision).remove(0))
}

fn plan(world: &World) -> Plan {
    let partition = world.partition("t");
    (partition.replicas.clone(), partition.adding.clone(), partition.removing.clone())
}

fn world(replicas: &[i32]) -> World {
    let mut world = World::new(6);
    world.topic("t", &[replicas], &[]);
    world
}

#[test]
fn replicas_move_once_the_new_ones_are_in_sync() {
    let mut world = world(&[1, 2, 3]);
    reassign(&mut world, Some(&[4, 2, 5])).unwrap();
    assert_eq!(plan(&world), (vec![4, 2, 5, 1, 3], vec![4, 5], vec![1, 3]));
    assert_eq!(world.state("t").0, 1);
    let listed = Reassignment {
        topic: "t".into(),
        partition: 0,
        replicas: vec![4, 2, 5, 1, 3],
        adding: vec![4, 5],
        removing: vec![1, 3],
    };
    let cluster = world.active.cluster().unwrap();
    assert_eq!(cluster.reassignments(None), std::slice::from_ref(&listed));
    let asked = [("t".to_owned(), vec![0, 9]), ("nope".to_owned(), vec![0])];
    assert_eq!(cluster.reassignments(Some(&asked)), [listed]);

    world.set_isr("t", &[1, 2, 3, 4]);
    assert_eq!(plan(&world).1, [4, 5], "5 is not there yet");
    let proposal = world.proposal("t", &[1, 2, 3, 4, 5]);
    // The leader is one of those that go: another one leads now.
    assert_eq!(world.alter(1, proposal), Err(ErrorCode::NEW_LEADER_ELECTED));
    assert_eq!(plan(&world), (vec![4, 2, 5], vec![], vec![]));
    assert_eq!(world.state("t"), (4, &[2, 4, 5][..], &[][..], &[][..]));
    assert!(world.active.cluster().unwrap().reassignments(None).is_empty());
    let directories: Vec<_> = [4, 2, 5].map(crate::world::directory).to_vec();
    assert_eq!(world.partition("t").directories, directories);
}

#[test]
fn every_replica_that_stays_must_be_in_sync() {
    let mut world = world(&[1, 2, 3]);
    world.set_isr("t", &[1, 3]);
    reassign(&mut world, Some(&[1, 2, 4])).unwrap();
    world.set_isr("t", &[1, 3, 4]);
    assert_eq!(plan(&world).2, [3], "2 stays and is behind (KAFKA-15665)");
    let epoch = world.partition("t").leader_epoch;
    world.set_isr("t", &[1, 2, 3, 4]);
    assert_eq!(plan(&world), (vec![1, 2, 4], vec![], vec![]));
    assert_eq!(world.partition("t").leader_epoch, epoch + 1, "3 must not be followed or counted any more");
    assert_eq!(world.state("t").1, [1, 2, 4]);
}

#[test]
fn nothing_is_waited_for_when_nothing_is_added() {
    let mut world = world(&[1, 2, 3]);
    reassign(&mut world, Some(&[3, 2, 1])).unwrap();
    assert_eq!(plan(&world), (vec![3, 2, 1], vec![], vec![]));
    assert_eq!((world.state("t").0, world.partition("t").leader_epoch), (1, 0));
    reassign(&mut world, Some(&[3, 2])).unwrap();
    assert_eq!(plan(&world), (vec![3, 2], vec![], vec![]));
    assert_eq!(world.state("t"), (3, &[2, 3][..], &[][..], &[][..]));
    reassign(&mut world, Some(&[3, 2])).unwrap();
    assert_eq!(world.partition("t").leader_epoch, 1, "the same again is no change");
}

#[test]
fn removed_replica_is_not_eligible() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2]], &[("min.insync.replicas", "2")]);
    reassign(&mut world, Some(&[1])).unwrap();
    assert_eq!(world.state("t"), (1, &[1][..], &[][..], &[][..]), "one replica needs one");
}

#[test]
fn cancelled_reassignment_goes_back() {
    let mut world = world(&[1, 2, 3]);
    assert_eq!(reassign(&mut world, None), Err(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
    reassign(&mut world, Some(&[4, 5, 6])).unwrap();
    world.set_isr("t", &[1, 2, 4]);
    reassign(&mut world, None).unwrap();
    let (mut replicas, adding, removing) = plan(&world);
    replicas.sort_unstable();
    assert_eq!((replicas, adding, removing), (vec![1, 2, 3], vec![], vec![]));
    assert_eq!(world.state("t").1, [1, 2]);
}

#[test]
fn cancelling_does_not_lose_what_only_new_replicas_hold() {
    for (unclean, alive) in [(false, true), (true, true), (true, false)] {
        let mut world = World::new(6);
        let unclean_value = if unclean { "true" } else { "false" };
        world.topic("t", &[&[1, 2]], &[("unclean.leader.election.enable", unclean_value)]);
        reassign(&mut world, Some(&[4, 5])).unwrap();
        world.set_isr("t", &[1, 4]);
        world.fence(1);
        assert_eq!(world.state("t"), (4, &[4][..], &[][..], &[][..]));
        if !alive {
            world.fence(2);
        }
        let before = world.partition("t").clone();
        let result = reassign(&mut world, None);
        if unclean && alive {
            assert_eq!(result, Ok(()));
            assert_eq!(world.state("t"), (2, &[2][..], &[][..], &[][..]));
            assert!(world.partition("t").recovering, "records may be lost, and it is marked");
        } else {
            assert_eq!(result, Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT));
            assert_eq!(*world.partition("t"), before);
        }
    }
}

#[test]
fn new_target_replaces_the_old_one() {
    let mut world = world(&[1, 2, 3]);
    reassign(&mut world, Some(&[1, 2, 4])).unwrap();
    reassign(&mut world, Some(&[1, 2, 5])).unwrap();
    assert_eq!(plan(&world), (vec![1, 2, 5, 3, 4], vec![5], vec![3, 4]));
    reassign(&mut world, Some(&[1, 2, 3, 4, 5])).unwrap();
    assert_eq!(plan(&world), (vec![1, 2, 3, 4, 5], vec![], vec![]), "nothing goes, nothing comes");
    assert_eq!(world.state("t").1, [1, 2, 3]);
}

#[test]
fn impossible_targets_change_nothing() {
    let mut world = world(&[1, 2, 3]);
    let before = world.active.image().clone();
    for replicas in [&[1, 2, 9][..], &[1, 1], &[]] {
        assert_eq!(reassign(&mut world, Some(replicas)), Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT));
    }
    let targets = [
        ("nope".to_owned(), 0, Some(vec![1])),
        ("t".to_owned(), 5, Some(vec![1])),
        ("t".to_owned(), 0, None),
        ("t".to_owned(), 0, Some(vec![1])),
    ];
    let decision = world.active.cluster().unwrap().alter_reassignments(&targets);
    let codes: Vec<_> = world.commit(decision).into_iter().map(|r| code(r).unwrap_err()).collect();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(codes, [unknown, unknown, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, ErrorCode::INVALID_REQUEST]);
    assert_eq!(*world.active.image(), before);
}
