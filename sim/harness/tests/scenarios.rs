//! The scenarios of `scenarios/smoke`, a few seeds each, a spread of `scenarios/replication`, and some of those that
//! must find a planted bug.
//! `burnin sweep` runs many more seeds of the same files.

use burnin_cluster::RunOptions;
use burnin_scenario::{Scenario, Seed};
use std::path::Path;

/// A test of a scenario that must pass, with nothing said but its name.
macro_rules! passes {
    ($($name:ident $file:literal $seeds:literal;)*) => {
        $(
            #[burnin::test(scenario = $file, seeds = $seeds)]
            fn $name(run: burnin::Run) -> burnin::Result {
                run.check()
            }
        )*
    };
}

mod smoke {
    passes! {
        acks_1_page_cache_power_loss "scenarios/smoke/acks-1-page-cache-power-loss.toml" 4;
        clean_restarts "scenarios/smoke/clean-restarts.toml" 4;
        client_partitions "scenarios/smoke/client-partitions.toml" 4;
        disk_full_and_back "scenarios/smoke/disk-full-and-back.toml" 4;
        failed_fsync "scenarios/smoke/failed-fsync.toml" 4;
        fsync_hang_slow_disk "scenarios/smoke/fsync-hang-slow-disk.toml" 4;
        kill_loop "scenarios/smoke/kill-loop.toml" 4;
        power_loss_loop "scenarios/smoke/power-loss-loop.toml" 4;
        retention_clock_jumps "scenarios/smoke/retention-clock-jumps.toml" 4;
        torn_tail_bit_rot "scenarios/smoke/torn-tail-bit-rot.toml" 4;
    }
}

/// A cluster costs more than one broker: one seed each, of one scenario of each kind.
mod replication {
    passes! {
        acks_1_failover "scenarios/replication/acks-1-failover.toml" 1;
        disk_hang_leader "scenarios/replication/disk-hang-leader.toml" 1;
        double_failover "scenarios/replication/double-failover.toml" 1;
        isolated_controller "scenarios/replication/isolated-controller.toml" 1;
        kafka_eligible_leader_replicas "scenarios/replication/kafka-eligible-leader-replicas.toml" 1;
        leader_cut_then_killed "scenarios/replication/leader-cut-then-killed.toml" 1;
        old_leader_rejoins "scenarios/replication/old-leader-rejoins.toml" 1;
        paused_leader "scenarios/replication/paused-leader.toml" 1;
        power_loss_of_all "scenarios/replication/power-loss-of-all.toml" 1;
        power_loss_of_all_page_cache "scenarios/replication/power-loss-of-all-page-cache.toml" 1;
        quorum_member_replaced "scenarios/replication/quorum-member-replaced.toml" 1;
        rolling_restart "scenarios/replication/rolling-restart.toml" 1;
        separate_controllers "scenarios/replication/separate-controllers.toml" 1;
        standard_cluster "scenarios/smoke/replicated-cluster.toml" 2;
        unclean_election_on "scenarios/replication/unclean-election-on.toml" 1;
        wiped_broker "scenarios/replication/wiped-broker.toml" 1;
    }
}

/// Each is over when its bug was found, which takes a few seeds at most.
mod negative {
    passes! {
        acknowledgement_before_the_fsync "scenarios/negative/s01-ack-before-fsync.toml" 1;
        retried_fsync "scenarios/negative/s02-retried-fsync.toml" 1;
        no_directory_sync "scenarios/negative/s03-no-directory-sync.toml" 1;
        no_deduplication "scenarios/negative/p01-no-deduplication.toml" 1;
        page_cache_taken_for_fsync "scenarios/negative/page-cache-taken-for-fsync.toml" 1;
    }
}

/// The same bugs where nothing brings them out: silence.
mod near_miss {
    passes! {
        acknowledgement_before_the_fsync "scenarios/negative/s01-near-miss.toml" 2;
        no_deduplication "scenarios/negative/p01-near-miss.toml" 2;
        page_cache "scenarios/negative/page-cache-near-miss.toml" 2;
    }
}

#[burnin::test(scenario = "scenarios/smoke/power-loss-loop.toml", check_determinism = true)]
fn run_is_a_function_of_its_seed(run: burnin::Run) -> burnin::Result {
    assert!(run.report().events > 10_000, "only {} events", run.report().events);
    run.check()
}

#[burnin::test(scenario = "scenarios/smoke/replicated-cluster.toml", check_determinism = true)]
fn run_of_a_cluster_is_a_function_of_its_seed(run: burnin::Run) -> burnin::Result {
    assert!(run.report().events > 100_000, "only {} events", run.report().events);
    for checker in ["B17", "W1", "W2", "W3", "W4"] {
        assert!(
            run.report().checked.get(checker).is_some_and(|facts| *facts > 0),
            "{checker} checked nothing"
        );
    }
    run.check()
}

#[burnin::test(scenario = "scenarios/smoke/kill-loop.toml")]
fn report_tells_what_happened(run: burnin::Run) -> burnin::Result {
    let report = run.report();
    assert_eq!((report.seed, report.scenario.as_str()), (run.seed(), "kill-loop"));
    assert!(report.happened.get("fault:kill").is_some_and(|kills| *kills > 0), "{:?}", report.happened);
    assert!(report.checked.get("B2").is_some_and(|facts| *facts > 0), "{:?}", report.checked);
    assert!(report.fired_count() > 0 && !run.plan().schedule.is_empty());
    run.check()
}

/// The replica whose disk rots is the one that dies, whoever else follows.
#[test]
fn what_accompanies_a_fault_on_a_role_hits_the_same_node() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let scenario = Scenario::load(&root.join("scenarios/replication/bit-rot-then-election.toml")).unwrap();
    let mut pairs = 0;
    for seed in 0..4 {
        let faults = burnin_cluster::run(&scenario.resolve(Seed(seed)), &RunOptions::default()).report.faults;
        let fired = |kind| faults.iter().filter(move |fault| fault.fired && fault.kind == kind);
        for rot in fired("disk.bit_rot") {
            // another fault kills the leader, later
            let soon = rot.at_ns..rot.at_ns + 2_100_000_000;
            let Some(kill) = fired("process.kill").find(|kill| soon.contains(&kill.at_ns)) else { continue };
            assert!(rot.target.starts_with(&format!("{} ", kill.target)), "seed {seed}: {faults:#?}");
            pairs += 1;
        }
    }
    assert!(pairs > 0);
}
