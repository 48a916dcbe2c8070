//! Power loss and kills in a loop: what was acknowledged is there, as it was. Every planted bug is found.
//!
//! `BURNIN_LOG_SEEDS=100 cargo test -p burnin-log --test crash survive` runs a hundred times as many seeds.

mod common;

use burnin_log::LogConfig;
use burnin_runtime::Mutant;
use common::{Options, run};

fn assert_healthy(seeds: std::ops::Range<u64>, options: &Options) {
    let (mut acked, mut recoveries, mut reads) = (0, 0, 0);
    let factor = std::env::var("BURNIN_LOG_SEEDS").map_or(1, |factor| factor.parse().expect("a number"));
    let seeds = seeds.start * factor..seeds.end * factor;
    for seed in seeds {
        let outcome = run(seed, options.clone());
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        acked += outcome.acked_batches;
        recoveries += outcome.recoveries;
        reads += outcome.disk_reads_checked;
    }
    assert!(
        acked > 1000 && recoveries > 50 && reads > 100,
        "acked={acked} recoveries={recoveries} reads={reads}"
    );
}

/// Some seed finds the planted bug as one of these kinds of violations.
fn assert_found(mutant: Mutant, options: Options, kinds: &[&str]) {
    let options = Options { mutant: Some(mutant), ..options };
    let mut others = Vec::new();
    for seed in 0..100 {
        let outcome = run(seed, options.clone());
        let fits = |text: &&String| kinds.iter().any(|kind| text.starts_with(kind));
        if let Some(found) = outcome.violations.iter().find(fits) {
            assert!(outcome.reached > 0, "{mutant} was never reached, yet: {found}");
            println!("{mutant}: seed {seed}: {found}");
            return;
        }
        others.extend(outcome.violations);
    }
    panic!("{mutant} was not found as {kinds:?} in 100 seeds, but as {others:#?}");
}

#[test]
fn what_was_acknowledged_survives_power_loss() {
    assert_healthy(0..40, &Options::default());
}

#[test]
fn what_was_acknowledged_survives_when_records_are_deleted() {
    assert_healthy(100..140, &Options { deletes: true, ..Options::default() });
}

#[test]
fn what_was_acknowledged_survives_failing_syncs_index_writes_and_reads() {
    let options = Options {
        failing_syncs: true,
        failing_index_writes: true,
        failing_recovery: true,
        deletes: true,
        ..Options::default()
    };
    assert_healthy(200..260, &options);
}

#[test]
fn page_cache_mode_survives_kills() {
    let config = LogConfig { flush_messages: i64::MAX, flush_ms: 10, ..Options::default().config };
    assert_healthy(300..320, &Options { config, power_loss: false, ..Options::default() });
}

#[test]
fn page_cache_mode_loses_only_the_tail_when_the_power_goes() {
    for flush_ms in [i64::MAX, 10] {
        let config = LogConfig { flush_messages: i64::MAX, flush_ms, ..Options::default().config };
        assert_healthy(400..430, &Options { config, loss_is_licensed: true, ..Options::default() });
    }
}

#[test]
fn one_seed_gives_one_trace() {
    assert_eq!(run(5, Options::default()).trace, run(5, Options::default()).trace);
}

#[test]
fn ack_before_fsync_is_found() {
    assert_found(Mutant::S01, Options::default(), &["B2", "W4"]);
}

#[test]
fn retried_fsync_is_found() {
    assert_found(Mutant::S02, Options { failing_syncs: true, ..Options::default() }, &["B2", "W4"]);
}

#[test]
fn unsynced_directory_is_found() {
    assert_found(Mutant::S03, Options::default(), &["B2", "W4: orders-0 was", "W4: audit-trail-3 was"]);
}

#[test]
fn unsynced_checkpoint_is_found() {
    assert_found(Mutant::S05, Options { deletes: true, ..Options::default() }, &["W4", "B13"]);
}

#[test]
fn clean_marker_after_failed_loading_is_found() {
    assert_found(Mutant::S07, Options { failing_recovery: true, ..Options::default() }, &["B6", "B1", "W4"]);
}

#[test]
fn offsets_assigned_twice_are_found() {
    assert_found(Mutant::S13, Options { failing_index_writes: true, ..Options::default() }, &["B1", "B3"]);
}

#[test]
fn index_off_by_one_is_found() {
    assert_found(Mutant::S15, Options::default(), &["B5"]);
}

#[test]
fn snapshot_at_the_wrong_offset_is_found() {
    assert_found(Mutant::S21, Options::default(), &["B3", "W4"]);
}

#[test]
fn forgotten_batch_metadata_is_found() {
    assert_found(Mutant::P01, Options::default(), &["B3"]);
}
