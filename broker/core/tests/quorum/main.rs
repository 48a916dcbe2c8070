//! The metadata quorum under a small world of its own: messages are delayed, lost, repeated and reordered,
//! replicas crash, lose their disks and are replaced, and Raft's invariants (W1) are checked after every step.
//! Every seed that fails is printed; `QUORUM_SEED=n cargo test -p burnin-core --test quorum` repeats it,
//! `QUORUM_SEEDS=n` runs more of them.

mod changes;
mod world;

use burnin_core::quorum::ReplicaKey;
use burnin_runtime::{Mutant, Mutants};
use std::time::Duration;
use world::{Voters, World};

/// The seeds to run.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is `{text}`, not a number")))
    };
    match number("QUORUM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUORUM_SEEDS").unwrap_or(default),
    }
}

/// `old`: how many replicas know no pre-votes in the beginning; one after the other is upgraded.
fn run(seed: u64, old: i32, mutants: Mutants) -> i32 {
    let voters = if seed.is_multiple_of(3) { 5 } else { 3 };
    let mut world = World::planted(seed, Voters::Configured, voters, 1, mutants);
    world.old = (1..=old.min(voters)).collect();
    world.loss = [0.0, 0.05, 0.2][(seed % 3) as usize];
    for step in 0..4000 {
        world.step();
        if step % 1000 == 999 {
            world.old.pop_first();
        }
        let any = world.entropy.between(1, voters as u64 + 1) as i32;
        match world.entropy.below(400) {
            0 => world.crash(any),
            1 => world.cut = [any].into(),
            2..=5 => world.cut.clear(),
            6 => world.snapshot(any),
            7..=40 => world.propose(),
            _ => {}
        }
    }
    // Healed: a leader must emerge, commit, and every replica must catch up.
    world.heal();
    world.run_for(Duration::from_secs(60), |world| {
        if world.entropy.chance(0.01) {
            world.propose();
        }
    });
    world.run_for(Duration::from_secs(20), |_| {});
    world.assert_settled();
    world.newest_epoch()
}

#[test]
fn raft_invariants_hold_under_loss_delay_duplication_and_crashes() {
    let mut epochs = 0;
    for seed in seeds(300) {
        eprintln!("seed {seed}");
        epochs += run(seed, 0, Mutants::NONE);
    }
    assert!(epochs > 0, "elections happened: {epochs}");
}

/// The invariants are not blind: each planted bug of this state machine breaks one of them.
#[test]
fn planted_bugs_break_an_invariant() {
    let planted = [
        (Mutant::Q03, "memory and disk differ"),
        (Mutant::Q05, "of an earlier epoch"),
        (Mutant::Q13, "committed twice"),
        (Mutant::Q19, "no majority asks"),
    ];
    for (mutant, says) in planted {
        let broken = (0..100).find_map(|seed| {
            let run = || run(seed, 0, Mutants::arm(mutant));
            let panic = std::panic::catch_unwind(run).err()?;
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            Some((seed, text))
        });
        let (seed, text) = broken.unwrap_or_else(|| panic!("{mutant} is not found in 100 seeds"));
        assert!(text.contains(says), "{mutant}, seed {seed}: {text}");
        println!("{mutant}: seed {seed}: {text}");
    }
}

#[test]
fn raft_invariants_hold_while_some_know_no_pre_votes() {
    for seed in seeds(150) {
        eprintln!("seed {seed}");
        assert!(run(seed, 1 + (seed % 5) as i32, Mutants::NONE) > 0);
    }
}

#[test]
fn single_voter_elects_itself_at_its_first_timeout() {
    for kind in [Voters::Configured, Voters::InLog] {
        let mut world = World::new(7, kind, 1, 0);
        for _ in 0..20 {
            world.step();
            if world.leader().is_some() {
                break;
            }
        }
        assert_eq!(world.leader(), Some(1));
        world.propose();
        let voters_record = i64::from(kind == Voters::InLog);
        assert_eq!(world.replicas[&1].committed, 2 + voters_record);
    }
}

/// What no replica says may not stop the one that hears it.
#[test]
fn impossible_messages_change_nothing() {
    use burnin_core::quorum::{BeginEpochRequest, EndEpochRequest, FetchRequest, Message, VoteRequest};
    let mut world = World::new(3, Voters::Configured, 3, 0);
    world.run_for(Duration::from_secs(10), |_| {});
    let (leader, epoch) = (world.leader().unwrap(), world.newest_epoch());
    let stranger = ReplicaKey { id: 77, directory: uuid::Uuid::from_u128(7) };
    let fetch = FetchRequest {
        fetch: 1,
        replica: stranger,
        epoch,
        fetch_offset: 0,
        last_fetched_epoch: 0,
        high_watermark: -1,
    };
    let vote = VoteRequest {
        epoch: i32::MAX,
        candidate: stranger,
        voter: ReplicaKey::default(),
        last_epoch: i32::MAX,
        end_offset: i64::MAX,
        pre_vote: false,
    };
    let begin = BeginEpochRequest { epoch, leader: 77, voter: ReplicaKey::default() };
    let end = EndEpochRequest { epoch, leader: 77, successors: vec![77, 77, -1] };
    let messages = [
        Message::VoteRequest(vote),
        Message::VoteRequest(VoteRequest { pre_vote: true, ..vote }),
        Message::BeginEpochRequest(begin),
        Message::BeginEpochRequest(BeginEpochRequest { epoch: i32::MAX, ..begin }),
        Message::BeginEpochRequest(BeginEpochRequest { epoch: -5, ..begin }),
        Message::EndEpochRequest(end.clone()),
        Message::EndEpochRequest(EndEpochRequest { epoch: i32::MAX, ..end }),
        Message::FetchRequest(FetchRequest { fetch_offset: i64::MIN, ..fetch }),
        Message::FetchRequest(FetchRequest { fetch_offset: i64::MAX, ..fetch }),
        Message::FetchRequest(FetchRequest { last_fetched_epoch: i32::MAX, ..fetch }),
        Message::FetchRequest(FetchRequest { epoch: i32::MAX, ..fetch }),
        Message::FetchRequest(FetchRequest { epoch: i32::MIN, last_fetched_epoch: i32::MIN, ..fetch }),
        Message::FetchRequest(FetchRequest { replica: ReplicaKey { id: -1, ..stranger }, ..fetch }),
    ];
    for id in 1..=3 {
        for message in &messages {
            world.receive(id, message.clone());
        }
    }
    world.run_for(Duration::from_secs(10), |_| {});
    world.assert_settled();
    assert_eq!((world.leader(), world.newest_epoch()), (Some(leader), epoch));
}

/// Epochs are never taken back: whoever makes replicas believe in one that is far ahead uses up all that there are.
#[test]
fn request_of_an_epoch_far_ahead_is_not_believed() {
    use burnin_core::quorum::{BeginEpochRequest, EndEpochRequest, FetchRequest, Message, VoteRequest};
    let mut world = World::new(3, Voters::Configured, 3, 0);
    world.run_for(Duration::from_secs(10), |_| {});
    let (leader, before) = (world.leader().unwrap(), world.newest_epoch());
    let epoch = i32::MAX - (1 << 20);
    let voter = ReplicaKey::default();
    let candidate = ReplicaKey { id: if leader == 3 { 2 } else { 3 }, directory: uuid::Uuid::nil() };
    let vote = VoteRequest { epoch, candidate, voter, last_epoch: 0, end_offset: 0, pre_vote: false };
    let (fetch_offset, last_fetched_epoch, high_watermark) = (0, 0, -1);
    let fetch = FetchRequest {
        fetch: 1,
        replica: candidate,
        epoch,
        fetch_offset,
        last_fetched_epoch,
        high_watermark,
    };
    let messages = [
        Message::VoteRequest(vote),
        Message::VoteRequest(VoteRequest { pre_vote: true, ..vote }),
        Message::BeginEpochRequest(BeginEpochRequest { epoch, leader: candidate.id, voter }),
        Message::EndEpochRequest(EndEpochRequest { epoch, leader: candidate.id, successors: Vec::new() }),
        Message::FetchRequest(fetch),
    ];
    for id in 1..=3 {
        for message in &messages {
            world.receive(id, message.clone());
        }
    }
    world.run_for(Duration::from_secs(10), |_| {});
    world.assert_settled();
    assert_eq!((world.leader(), world.newest_epoch()), (Some(leader), before));
}

/// Somebody makes each voter believe in another leader of one epoch. Kafka's nodes end at that; ours elect one.
#[test]
fn voters_that_were_lied_to_about_the_leader_elect_one() {
    use burnin_core::quorum::{BeginEpochRequest, Message};
    let mut world = World::new(3, Voters::Configured, 3, 0);
    world.run_for(Duration::from_secs(10), |_| {});
    let epoch = world.newest_epoch() + 1;
    world.lies.insert(epoch);
    for (id, leader) in [(1, 2), (2, 3), (3, 1)] {
        let begin = BeginEpochRequest { epoch, leader, voter: ReplicaKey::default() };
        world.receive(id, Message::BeginEpochRequest(begin));
    }
    world.run_for(Duration::from_secs(20), |_| {});
    world.assert_settled();
    assert!(world.leader().is_some() && world.newest_epoch() > epoch);
}

/// Long before anybody would miss the leader, and though the other follower does not have everything.
#[test]
fn leader_that_stops_hands_over_at_once_to_who_is_furthest() {
    for lags in 1..=3 {
        let mut world = World::new(3, Voters::Configured, 3, 0);
        world.run_for(Duration::from_secs(10), |_| {});
        let (leader, epoch) = (world.leader().unwrap(), world.newest_epoch());
        if lags == leader {
            continue;
        }
        world.cut.insert(lags);
        (0..3).for_each(|_| world.propose());
        world.run_for(Duration::from_secs(1), |_| {});
        world.cut.clear();
        world.resign(leader);
        world.run_for(Duration::from_millis(400), |_| {});
        let furthest = 6 - leader - lags;
        assert_eq!((world.leader(), world.newest_epoch()), (Some(furthest), epoch + 1), "{lags} lags");
    }
}

/// A leader that steps down names its successors, or somebody in its name does: a voter waits for its turn, and not
/// for hours.
#[test]
fn successors_without_number_hold_up_nobody() {
    use burnin_core::quorum::{EndEpochRequest, Message};
    let mut world = World::new(3, Voters::Configured, 3, 0);
    world.run_for(Duration::from_secs(10), |_| {});
    let (leader, epoch) = (world.leader().unwrap(), world.newest_epoch());
    let follower = if leader == 3 { 2 } else { 3 };
    let end = EndEpochRequest { epoch, leader, successors: vec![77; 100_000] };
    world.receive(follower, Message::EndEpochRequest(end));
    world.run_for(Duration::from_secs(1), |_| {});
    world.propose();
    world.run_for(Duration::from_secs(20), |_| {});
    world.assert_settled();
}

/// The leader has restarted within its epoch: it refuses, and still says that it leads.
#[test]
fn refusal_of_a_resigned_leader_is_no_fetch() {
    use burnin_core::quorum::{
        Action, BeginEpochRequest, FetchResponse, Message, Quorum, QuorumConfig, ReplyTo, RoleName,
        VoteRequest, VoterSet,
    };
    use burnin_runtime::{Entropy, Instant};
    let key = |id: i32| ReplicaKey { id, directory: uuid::Uuid::nil() };
    let voters = VoterSet::from_voters((1..=3).map(|id| world::voter(key(id))));
    let (log, config) = (world::Log::default(), QuorumConfig::default());
    let (entropy, start) = (Entropy::from_seed([7; 32]), Instant::ZERO);
    let mut quorum = Quorum::new(key(1), voters, config, Default::default(), &log, entropy, start);
    let begin = BeginEpochRequest { epoch: 1, leader: 2, voter: key(1) };
    quorum.receive(2, Message::BeginEpochRequest(begin), ReplyTo(0), start, &log);
    let sent = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Send { message: Message::FetchRequest(request), .. } => Some(request.fetch),
            _ => None,
        })
    };
    let fetch = sent(&quorum.tick(start, &log)).expect("a follower fetches");
    let refusal = FetchResponse {
        fetch,
        epoch: 1,
        leader: Some(2),
        high_watermark: None,
        diverging: None,
        snapshot: None,
        records: bytes::Bytes::new(),
    };
    let at = start + Duration::from_millis(1);
    quorum.receive(2, Message::FetchResponse(refusal), ReplyTo(1), at, &log);
    assert_eq!(quorum.deadline(), at + config.retry_backoff);
    assert_eq!(sent(&quorum.tick(at, &log)), None, "not at once");
    let vote = VoteRequest {
        epoch: 1,
        candidate: key(3),
        voter: key(1),
        last_epoch: 0,
        end_offset: 0,
        pre_vote: true,
    };
    let granted = quorum.receive(3, Message::VoteRequest(vote), ReplyTo(2), at, &log);
    let is_granted = |action: &Action| matches!(action, Action::Reply { message: Message::VoteResponse(vote), .. } if vote.granted);
    assert!(granted.iter().any(is_granted), "it has heard of no leader: {granted:?}");
    assert!(sent(&quorum.tick(at + config.retry_backoff, &log)).is_some());
    quorum.tick(start + config.fetch_timeout, &log);
    assert_eq!(quorum.role(), RoleName::Prospective, "a refusal is no sign of life");
}

/// The leader says again and again that it leads, to the voter that this replica was before it lost its disk.
#[test]
fn fetch_that_was_lost_is_repeated_though_the_leader_is_heard_of() {
    use burnin_core::quorum::{Action, BeginEpochRequest, Message, Quorum, QuorumConfig, ReplyTo, VoterSet};
    use burnin_runtime::{Entropy, Instant};
    let (me, lost) = (uuid::Uuid::from_u128(8), uuid::Uuid::from_u128(3));
    let (log, config) = (world::Log::default(), QuorumConfig::default());
    let (entropy, start) = (Entropy::from_seed([7; 32]), Instant::ZERO);
    let me = ReplicaKey { id: 3, directory: me };
    let mut quorum = Quorum::new(me, VoterSet::default(), config, Default::default(), &log, entropy, start);
    let fetches = |actions: &[Action]| {
        let is_fetch =
            |action: &&Action| matches!(action, Action::Send { to: 1, message: Message::FetchRequest(_) });
        actions.iter().filter(is_fetch).count()
    };
    let (mut sent, mut now) = (0, start);
    for _ in 0..10 {
        let begin = BeginEpochRequest { epoch: 1, leader: 1, voter: ReplicaKey { id: 3, directory: lost } };
        sent += fetches(&quorum.receive(1, Message::BeginEpochRequest(begin), ReplyTo(0), now, &log));
        sent += fetches(&quorum.tick(now, &log));
        now = now + config.fetch_timeout / 2;
    }
    assert!(sent >= 3, "{sent} fetches in five times the fetch timeout, none of which was answered");
}

/// A log of which only its end matters.
struct Ends(i64, i32);

impl burnin_core::quorum::LogView for Ends {
    fn end_offset(&self) -> i64 {
        self.0
    }
    fn last_epoch(&self) -> i32 {
        self.1
    }
    fn start_offset(&self) -> i64 {
        0
    }
    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        (epoch >= self.1).then_some((self.1, self.0))
    }
    fn latest_snapshot(&self) -> Option<burnin_core::quorum::SnapshotId> {
        None
    }
}

/// Voters that are configured have nothing but their numbers: two live nodes with one number are told apart by their
/// directories, and what the second holds commits nothing while the first is heard of.
#[test]
fn second_node_with_the_number_of_a_configured_voter_commits_nothing() {
    use burnin_core::quorum::{
        FetchRequest, Message, Quorum, QuorumConfig, ReplyTo, RoleName, VoteResponse, VoterSet,
    };
    use burnin_runtime::{Entropy, Instant};
    let nil = |id: i32| ReplicaKey { id, directory: uuid::Uuid::nil() };
    let voters = VoterSet::from_voters((1..=3).map(|id| world::voter(nil(id))));
    let (config, entropy) = (QuorumConfig::default(), Entropy::from_seed([7; 32]));
    let me = ReplicaKey { id: 1, directory: uuid::Uuid::from_u128(1) };
    let mut log = Ends(0, 0);
    let mut quorum = Quorum::new(me, voters, config, Default::default(), &log, entropy, Instant::ZERO);
    let mut now = quorum.deadline();
    quorum.tick(now, &log);
    for (pre_vote, epoch) in [(true, 0), (false, 1)] {
        let granted = VoteResponse { epoch, leader: None, granted: true, pre_vote };
        quorum.receive(2, Message::VoteResponse(granted), ReplyTo(0), now, &log);
    }
    assert_eq!(quorum.role(), RoleName::Leader);
    log = Ends(1, 1);
    quorum.appended(now, &log);
    let fetch = |quorum: &mut Quorum, directory: u128, fetch_offset: i64, log: &Ends, now: Instant| {
        let replica = ReplicaKey { id: 3, directory: uuid::Uuid::from_u128(directory) };
        let request = FetchRequest {
            fetch: 1,
            replica,
            epoch: 1,
            fetch_offset,
            last_fetched_epoch: 1,
            high_watermark: -1,
        };
        quorum.receive(3, Message::FetchRequest(request), ReplyTo(1), now, log);
        quorum.high_watermark()
    };
    assert_eq!(fetch(&mut quorum, 33, 1, &log, now), Some(1), "the voter");
    log = Ends(2, 1);
    quorum.appended(now, &log);
    now = now + Duration::from_millis(100);
    assert_eq!(fetch(&mut quorum, 44, 2, &log, now), Some(1), "another node with its number");
    assert_eq!(fetch(&mut quorum, 33, 2, &log, now), Some(2), "the voter");
    log = Ends(3, 1);
    quorum.appended(now, &log);
    // It is silent: the other may be it, with a new disk.
    now = now + config.check_quorum();
    assert_eq!(
        fetch(&mut quorum, 44, 1, &log, now),
        Some(2),
        "and what the first one had does not count for it"
    );
    assert_eq!(fetch(&mut quorum, 44, 3, &log, now), Some(3));
}
