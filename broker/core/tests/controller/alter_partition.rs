//! AlterPartition: which wishes of a leader are granted.

use crate::world::{World, code};
use burnin_core::controller::{AlterPartition, ProposedIsr};
use burnin_wire::ErrorCode;
use uuid::Uuid;

fn world() -> World {
    let mut world = World::new(4);
    world.topic("t", &[&[1, 2, 3]], &[]);
    world
}

#[test]
fn granted_isr_raises_the_partition_epoch_alone() {
    let mut world = world();
    let state = world.set_isr("t", &[1, 3]);
    assert_eq!((state.leader, state.leader_epoch, state.partition_epoch), (1, 0, 1));
    assert_eq!(state.isr, [1, 3]);
    let state = world.set_isr("t", &[3, 1]);
    assert_eq!((state.partition_epoch, &state.isr[..]), (1, &[1, 3][..]), "the same set is no change");
    let state = world.set_isr("t", &[1, 2, 3]);
    assert_eq!(state.partition_epoch, 2);
}

#[test]
fn epochs_say_who_knows_more() {
    let mut world = world();
    world.set_isr("t", &[1, 2]);
    world.fence(1);
    world.beat(1);
    let now = world.proposal("t", &[1, 2]);
    assert_eq!((now.leader_epoch, now.partition_epoch, world.partition("t").leader), (1, 2, 2));
    let with = |leader_epoch, partition_epoch| ProposedIsr { leader_epoch, partition_epoch, ..now.clone() };
    assert_eq!(world.alter(2, with(2, 2)), Err(ErrorCode::NOT_CONTROLLER));
    assert_eq!(world.alter(2, with(1, 3)), Err(ErrorCode::NOT_CONTROLLER));
    assert_eq!(world.alter(1, with(0, 2)), Err(ErrorCode::FENCED_LEADER_EPOCH));
    assert_eq!(world.alter(2, with(0, 1)), Err(ErrorCode::FENCED_LEADER_EPOCH), "even from the leader");
    assert_eq!(world.alter(2, with(1, 1)), Err(ErrorCode::INVALID_UPDATE_VERSION));
    assert_eq!(world.alter(1, with(1, 2)), Err(ErrorCode::INVALID_REQUEST), "1 does not lead");
    assert_eq!(world.alter(2, now.clone()).unwrap().isr, [1, 2]);
}

#[test]
fn isr_that_can_be_none_is_refused() {
    let mut world = world();
    for isr in [&[1, 4][..], &[2, 3], &[1, 1], &[]] {
        let proposal = world.proposal("t", isr);
        assert_eq!(world.alter(1, proposal), Err(ErrorCode::INVALID_REQUEST), "{isr:?}");
    }
    let unknown = ProposedIsr { topic_id: Uuid::from_u128(5), ..world.proposal("t", &[1]) };
    assert_eq!(world.alter(1, unknown), Err(ErrorCode::UNKNOWN_TOPIC_ID));
    let unknown = ProposedIsr { partition: 7, ..world.proposal("t", &[1]) };
    assert_eq!(world.alter(1, unknown), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let recovering = ProposedIsr { recovering: true, ..world.proposal("t", &[1]) };
    assert_eq!(world.alter(1, recovering), Err(ErrorCode::INVALID_REQUEST), "it has recovered long ago");
}

#[test]
fn members_must_be_alive_and_of_the_start_that_fetched() {
    let mut world = world();
    world.set_isr("t", &[1]);
    let epoch = world.epoch(2);
    world.fence(2);
    let fenced = world.proposal("t", &[1, 2]);
    assert_eq!(world.alter(1, fenced), Err(ErrorCode::INELIGIBLE_REPLICA));
    world.beat(2);
    let mut older = world.proposal("t", &[1, 2]);
    older.isr[1].1 = epoch - 1;
    assert_eq!(world.alter(1, older.clone()), Err(ErrorCode::INELIGIBLE_REPLICA));
    older.isr[1].1 = -1;
    assert_eq!(world.alter(1, older).unwrap().isr, [1, 2], "-1: not known");
    world.topic("u", &[&[3, 1]], &[]);
    world.stop(3);
    let stopping = world.proposal("t", &[1, 2, 3]);
    assert_eq!(world.alter(1, stopping), Err(ErrorCode::INELIGIBLE_REPLICA));
}

#[test]
fn whole_request_of_an_older_start_is_refused() {
    let world = world();
    let partitions = vec![world.proposal("t", &[1])];
    let request = AlterPartition { broker_id: 1, broker_epoch: world.epoch(1) - 1, partitions };
    let result = world.active.cluster().unwrap().alter_partition(&request).map(|_| ());
    assert_eq!(code(result), Err(ErrorCode::STALE_BROKER_EPOCH));
}

#[test]
fn partition_named_twice_is_changed_once() {
    let mut world = world();
    let partitions = vec![world.proposal("t", &[1, 2]), world.proposal("t", &[1, 3])];
    let request = AlterPartition { broker_id: 1, broker_epoch: world.epoch(1), partitions };
    let decision = world.active.cluster().unwrap().alter_partition(&request).unwrap();
    assert_eq!(decision.records.len(), 1);
    let results = world.commit(decision);
    assert_eq!(results[0].as_ref().unwrap().isr, [1, 2]);
    assert_eq!(results[1], Err(ErrorCode::INVALID_REQUEST));
}

#[test]
fn recovering_leader_is_alone_until_it_has_recovered() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[("unclean.leader.election.enable", "true")]);
    world.set_isr("t", &[1]);
    world.fence(1);
    assert!(world.partition("t").recovering);
    let early = ProposedIsr { recovering: true, ..world.proposal("t", &[2, 3]) };
    assert_eq!(world.alter(2, early), Err(ErrorCode::INVALID_REQUEST));
    let state = world.set_isr("t", &[2, 3]);
    assert_eq!((state.recovering, &state.isr[..]), (false, &[2, 3][..]));
}

#[test]
fn shrink_below_the_minimum_keeps_who_left_eligible_and_growth_forgets_it() {
    let mut world = World::new(3);
    world.topic("t", &[&[1, 2, 3]], &[("min.insync.replicas", "2")]);
    world.set_isr("t", &[1]);
    assert_eq!(world.state("t"), (1, &[1][..], &[2, 3][..], &[][..]));
    world.set_isr("t", &[1, 3]);
    assert_eq!(world.state("t"), (1, &[1, 3][..], &[][..], &[][..]));
}
