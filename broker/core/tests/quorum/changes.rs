//! Voters come, go and are replaced (KIP-853), alone and under everything else that can happen.

use crate::seeds;
use crate::world::{Voters, World, voter};
use burnin_core::quorum::{ReplicaKey, VoterChange, VoterChangeError};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const VOTERS: i32 = 3;
const NODES: i32 = 6;
/// So many are enough to see every outcome.
const SEEDS: u64 = 300;

/// What was tried, by what became of it.
type Outcomes = BTreeMap<&'static str, u32>;

/// A wish that keeps a majority of the voters alive: a dead voter is removed before anything else is.
fn wish(world: &mut World) -> Option<VoterChange> {
    let Some(voters) = world.settled_voters() else {
        // Refused, unless the leader does not know that it leads no more.
        let id = world.entropy.between(1, NODES as u64) as i32;
        return Some(VoterChange::Add(voter(world.replicas[&id].key)));
    };
    let keys: Vec<ReplicaKey> = voters.ids().filter_map(|id| voters.key(id)).collect();
    if let Some(dead) = keys.iter().find(|key| world.dead.contains(key)) {
        return Some(VoterChange::Remove(*dead));
    }
    let id = world.entropy.between(1, NODES as u64) as i32;
    let key = world.replicas[&id].key;
    match world.entropy.below(8) {
        // Refused, most of the time: an observer cannot be removed, a voter not be added.
        0 => Some(VoterChange::Remove(key)),
        1..=4 if keys.len() < 5 => Some(VoterChange::Add(voter(key))),
        5 if voters.contains(key) => Some(VoterChange::Update(voter(key))),
        _ if keys.len() > 2 && voters.contains(key) => Some(VoterChange::Remove(key)),
        _ => None,
    }
}

/// Loses a disk when all voters are alive and there are at least three.
fn wipe(world: &mut World) {
    let Some(voters) = world.settled_voters() else { return };
    let alive = voters.ids().all(|id| voters.key(id).is_some_and(|key| !world.dead.contains(&key)));
    if alive && voters.len() >= 3 {
        let id = world.entropy.between(1, NODES as u64) as i32;
        world.wipe(id);
    }
}

fn run(seed: u64, outcomes: &mut Outcomes) {
    let mut world = World::new(seed, Voters::InLog, VOTERS, NODES - VOTERS);
    world.loss = [0.0, 0.05, 0.2][(seed % 3) as usize];
    for _ in 0..5000 {
        world.step();
        let any = world.entropy.between(1, NODES as u64) as i32;
        match world.entropy.below(400) {
            0 => world.crash(any),
            1 => world.cut = [any].into(),
            2 => {
                let other = world.entropy.between(1, NODES as u64) as i32;
                world.cut = [any, other].into();
            }
            3..=6 => world.cut.clear(),
            7 => world.snapshot(any),
            8 if world.entropy.chance(0.3) => wipe(&mut world),
            9..=13 => {
                if let Some(change) = wish(&mut world) {
                    world.change(change);
                }
            }
            14..=45 => world.propose(),
            _ => {}
        }
    }
    world.heal();
    world.run_for(Duration::from_secs(60), |world| {
        if world.entropy.chance(0.01) {
            world.propose();
        }
    });
    remove_the_dead(&mut world);
    world.run_for(Duration::from_secs(20), |_| {});
    world.assert_settled();
    for outcome in &world.changes {
        let name = match outcome {
            None => "unanswered",
            Some(Ok(())) => "made",
            Some(Err(VoterChangeError::NotLeader)) => "not leader",
            Some(Err(VoterChangeError::EpochNotCommitted)) => "epoch not committed",
            Some(Err(VoterChangeError::ChangePending)) => "another pending",
            Some(Err(VoterChangeError::Lagging(_))) => "lagging",
            Some(Err(VoterChangeError::DuplicateVoter(_))) => "duplicate",
            Some(Err(VoterChangeError::VoterNotFound(_))) => "not found",
            Some(Err(VoterChangeError::LastVoter(_))) => "last voter",
            Some(Err(other)) => panic!("{other}"),
        };
        *outcomes.entry(name).or_default() += 1;
    }
}

fn remove_the_dead(world: &mut World) {
    let voters = world.settled_voters().expect("voters are committed a minute after everything was healed");
    for key in voters.ids().filter_map(|id| voters.key(id)) {
        if world.dead.contains(&key) {
            let number = world.change(VoterChange::Remove(key)).expect("there is a leader");
            world.run_for(Duration::from_secs(20), |_| {});
            assert_eq!(world.changes[number], Some(Ok(())), "removing {key:?}");
        }
    }
}

#[test]
fn raft_invariants_hold_while_voters_come_go_and_are_replaced() {
    let mut outcomes = Outcomes::new();
    let seeds = seeds(SEEDS);
    let all_seeds = seeds.end - seeds.start >= SEEDS;
    for seed in seeds {
        eprintln!("seed {seed}");
        run(seed, &mut outcomes);
    }
    println!("{outcomes:?}");
    if all_seeds {
        let all = [
            "made",
            "not leader",
            "epoch not committed",
            "another pending",
            "lagging",
            "duplicate",
            "not found",
            "last voter",
        ];
        for outcome in all {
            assert!(outcomes.contains_key(outcome), "no change was `{outcome}`: {outcomes:?}");
        }
    }
}

fn settled(nodes: i32) -> World {
    let mut world = World::new(11, Voters::InLog, VOTERS, nodes - VOTERS);
    world.run_for(Duration::from_secs(20), |_| {});
    world.assert_settled();
    world
}

fn outcome(world: &mut World, change: VoterChange) -> Result<(), VoterChangeError> {
    let number = world.change(change).expect("there is a leader");
    world.run_for(Duration::from_secs(10), |_| {});
    world.changes[number].take().expect("the change is answered")
}

#[test]
fn observer_that_has_caught_up_becomes_a_voter_and_an_unknown_one_does_not() {
    let mut world = settled(4);
    let stranger = ReplicaKey { id: 9, directory: Uuid::from_u128(9) };
    let refused = outcome(&mut world, VoterChange::Add(voter(stranger)));
    assert_eq!(refused, Err(VoterChangeError::Lagging(stranger)));
    let key = world.replicas[&4].key;
    assert_eq!(outcome(&mut world, VoterChange::Add(voter(key))), Ok(()));
    assert_eq!(world.settled_voters().unwrap().len(), 4);
    assert_eq!(outcome(&mut world, VoterChange::Add(voter(key))), Err(VoterChangeError::DuplicateVoter(4)));
    world.assert_settled();
}

#[test]
fn observer_that_is_cut_off_does_not_become_a_voter() {
    let mut world = settled(4);
    world.cut.insert(4);
    world.run_for(Duration::from_secs(10), |_| {});
    world.propose();
    let key = world.replicas[&4].key;
    assert_eq!(outcome(&mut world, VoterChange::Add(voter(key))), Err(VoterChangeError::Lagging(key)));
}

#[test]
fn leader_that_removes_itself_resigns_after_the_commit_and_another_leads() {
    let mut world = settled(3);
    let old = world.leader().unwrap();
    let key = world.replicas[&old].key;
    assert_eq!(outcome(&mut world, VoterChange::Remove(key)), Ok(()));
    let new = world.leader().unwrap();
    assert_ne!(new, old);
    assert_eq!(world.settled_voters().unwrap().len(), 2);
    world.propose();
    world.run_for(Duration::from_secs(10), |_| {});
    world.assert_settled();
}

#[test]
fn only_the_named_directory_is_removed() {
    let mut world = settled(3);
    let other = ReplicaKey { id: 2, directory: Uuid::from_u128(77) };
    let refused = outcome(&mut world, VoterChange::Remove(other));
    assert_eq!(refused, Err(VoterChangeError::VoterNotFound(other)));
}

#[test]
fn last_voter_stays() {
    let mut world = World::new(5, Voters::InLog, 1, 0);
    world.run_for(Duration::from_secs(5), |_| {});
    let key = world.replicas[&1].key;
    assert_eq!(outcome(&mut world, VoterChange::Remove(key)), Err(VoterChangeError::LastVoter(1)));
}

#[test]
fn configured_voters_are_not_changed() {
    let mut world = World::new(5, Voters::Configured, 3, 1);
    world.run_for(Duration::from_secs(10), |_| {});
    let key = world.replicas[&4].key;
    assert_eq!(outcome(&mut world, VoterChange::Add(voter(key))), Err(VoterChangeError::StaticVoters));
}

#[test]
fn uncommitted_voters_go_when_the_record_is_cut_off() {
    let mut world = settled(4);
    let leader = world.leader().unwrap();
    // Alone, the leader appends the change and cannot commit it.
    world.cut.insert(leader);
    let key = world.replicas[&4].key;
    let number = world.change(VoterChange::Add(voter(key))).unwrap();
    let voters_of = |world: &World| world.replicas[&leader].quorum.as_ref().unwrap().voters().len();
    assert_eq!(voters_of(&world), 4);
    world.run_for(Duration::from_secs(20), |_| {});
    assert_eq!(world.changes[number], Some(Err(VoterChangeError::NotLeader)));
    world.propose();
    world.cut.clear();
    world.run_for(Duration::from_secs(20), |_| {});
    assert_eq!(voters_of(&world), 3);
    world.assert_settled();
}

#[test]
fn replica_with_a_lost_disk_does_not_vote_for_the_one_it_was() {
    let mut world = settled(3);
    world.wipe(2);
    world.run_for(Duration::from_secs(10), |_| {});
    let old = *world.dead.first().unwrap();
    assert_eq!(outcome(&mut world, VoterChange::Remove(old)), Ok(()));
    let key = world.replicas[&2].key;
    assert_ne!(key, old);
    assert_eq!(outcome(&mut world, VoterChange::Add(voter(key))), Ok(()));
    assert_eq!(world.settled_voters().unwrap().key(2), Some(key));
    world.propose();
    world.run_for(Duration::from_secs(10), |_| {});
    world.assert_settled();
}
