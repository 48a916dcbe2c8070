//! What people and machines read, as snapshots; that shards merge in any order; that JSON comes back as it went.

use burnin_report::{
    BLOCK_LINES_MAX, Build, Class, Crash, ExitCode, Expectation, FaultLine, Paint, Replay, RunReport, SCHEMA,
    SweepReport, Target, Violation, failure_block, run_summary, sweep_summary,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;

fn build() -> Build {
    Build {
        version: "0.1.0".into(),
        commit: "4f2ac0f".into(),
        rustc: "1.95.0".into(),
        platform: "x86_64-linux".into(),
    }
}

fn passed(scenario: &str, seed: u64) -> RunReport {
    RunReport {
        schema: SCHEMA,
        scenario: scenario.into(),
        seed,
        target: Target::Sim,
        class: Class::Pass,
        anomaly: None,
        verdict: "all checks held".into(),
        violations: vec![],
        violations_found: 0,
        crash: None,
        checked: [("B1", 40_321), ("B2", 12_007), ("W4", 5_120)].map(|(k, v)| (k.to_string(), v)).into(),
        happened: [("recovered-unclean".to_string(), 3)].into(),
        brokers: 1,
        clients: 3,
        sim_ns: 51 * SECOND,
        wall_ns: SECOND / 5,
        cpu_ns: SECOND / 5,
        requests: 31_000,
        records: 12_007,
        events: 1_204_877,
        trace_hash: "9f2c51e1a0b1c2d3".into(),
        faults: vec![
            fault(4_120, Some(350), "process.power_loss", "broker 1", true),
            fault(9_007, None, "disk.bit_rot", "broker 1: 3 bits in index files of orders-2", true),
            fault(48_000, Some(100), "process.kill", "broker 1", false),
        ],
        skipped: vec![],
        lacking: vec![],
        verified: None,
        reproduce: format!("burnin run scenarios/smoke/{scenario}.toml --seed {seed}"),
        directory: None,
        build: build(),
    }
}

fn fault(at_ms: u64, for_ms: Option<u64>, kind: &str, target: &str, fired: bool) -> FaultLine {
    FaultLine {
        at_ns: at_ms * 1_000_000,
        for_ns: for_ms.map(|ms| ms * 1_000_000),
        kind: kind.into(),
        target: target.into(),
        fired,
    }
}

fn lost_write(scenario: &str, seed: u64) -> RunReport {
    let violation = |checker: &str, anomaly: &str, message: &str| Violation {
        checker: checker.into(),
        anomaly: anomaly.into(),
        class: Class::Safety,
        at_ns: 41_207_125_000,
        message: message.into(),
        partition: Some("orders-3".into()),
        offset: Some(8812),
        producer: Some(2),
        seq: Some(20_417),
    };
    RunReport {
        class: Class::Safety,
        anomaly: Some("lost-write".into()),
        verdict: "3 violations".into(),
        violations: vec![
            violation(
                "B2",
                "lost-write",
                "orders-3 @ offset 8812: record 2:20417 (producer:seq) was acknowledged (acks=all) by broker 1 at \
                 41.207125s and no reader ever saw it, but the full re-read of the log, which ends at offset 9120, does \
                 not find it at 61.500000s.",
            ),
            violation("B1", "inconsistent-offsets", "orders-3 @ offset 8812: ..."),
        ],
        violations_found: 3,
        verified: Some(Replay { trace_hash: "9f2c51e1a0b1c2d3".into(), same: true, diverged_at_event: None }),
        directory: Some("target/burnin/power-loss-loop/latest".into()),
        ..passed(scenario, seed)
    }
}

#[test]
fn failure_block_of_a_lost_write() {
    insta::assert_snapshot!(failure_block(&lost_write("power-loss-loop", 4_144_137_618), Paint::Plain));
}

#[test]
fn failure_block_of_a_divergence_claims_nothing_else() {
    let mut run = lost_write("power-loss-loop", 7);
    run.verified =
        Some(Replay { trace_hash: "0011223344556677".into(), same: false, diverged_at_event: Some(48_113) });
    assert_eq!(run.exit_code(), ExitCode::NonDeterminism);
    insta::assert_snapshot!(failure_block(&run, Paint::Plain));
}

#[test]
fn failure_block_of_a_crash() {
    let mut run = passed("disk-full-and-back", 12);
    run.class = Class::Crash;
    run.crash = Some(Crash {
        node: "broker-1".into(),
        task: "log-writer".into(),
        message: "fetch past high watermark: offset=12 hw=11 partition=orders-0".into(),
        at_ns: 9_500_000_000,
        event: 88_231,
    });
    insta::assert_snapshot!(failure_block(&run, Paint::Plain));
}

#[test]
fn failure_block_of_a_run_that_checked_nothing() {
    let mut run = passed("empty", 1);
    run.class = Class::Vacuous;
    run.verdict = "no full re-read of any partition was completed".into();
    run.faults.clear();
    insta::assert_snapshot!(failure_block(&run, Paint::Plain));
}

#[test]
fn failure_block_stays_within_its_lines_whatever_it_is_given() {
    let mut run = lost_write("power-loss-loop", u64::MAX);
    run.violations[0].message = "word ".repeat(1_000);
    run.violations_found = 1_000_000;
    run.faults =
        (0..500).map(|i| fault(i * 10, Some(i), "net.partition", &"{1,2} | {3} ".repeat(20), true)).collect();
    run.skipped = (0..20).map(|i| format!("skip {i} {}", "because ".repeat(40))).collect();
    let block = failure_block(&run, Paint::Plain);
    assert!(block.lines().count() <= BLOCK_LINES_MAX, "{} lines", block.lines().count());
    for line in block.lines().filter(|line| !line.starts_with("burnin-failure: ")) {
        assert!(line.chars().count() <= 90, "{line}");
    }
    let painted = failure_block(&run, Paint::Ansi);
    assert_eq!(painted.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", ""), block);
    let machine =
        block.lines().last().and_then(|line| line.strip_prefix("burnin-failure: ")).expect("machine line");
    let json: serde_json::Value = serde_json::from_str(machine).expect("JSON");
    assert_eq!(json["seed"], u64::MAX);
    assert_eq!(json["exit_code"], 10);
}

#[test]
fn summary_of_a_passed_run() {
    let mut run = passed("power-loss-loop", 3);
    run.skipped
        .push("orders-1: the full re-read failed with error code 2, licensed by damage to its log".into());
    insta::assert_snapshot!(run_summary(&run, Paint::Plain));
}

fn sweep() -> SweepReport {
    let mut sweep = SweepReport::new();
    sweep.expect("kill-loop", [("recovered-unclean".to_string(), 100)].into(), None);
    let negative = |anomaly: &str| {
        let (anomaly, checker) = (Some(anomaly.to_string()), None);
        Some(Expectation { anomaly, checker, planted: false, within_seeds: 20, found: 0, first_seed: None })
    };
    sweep.expect("s01-ack-before-fsync", BTreeMap::new(), negative("lost-write"));
    sweep.expect("s15-index-off-by-one", BTreeMap::new(), negative("poll-skip"));
    for seed in 0..20 {
        sweep.add(&passed("kill-loop", seed));
        sweep.add(&if seed % 10 == 3 {
            lost_write("power-loss-loop", seed)
        } else {
            passed("power-loss-loop", seed)
        });
        let caught = seed % 7 == 5;
        sweep.add(&if caught {
            lost_write("s01-ack-before-fsync", seed)
        } else {
            passed("s01-ack-before-fsync", seed)
        });
        sweep.add(&passed("s15-index-off-by-one", seed));
    }
    sweep.wall_ns = 8 * SECOND;
    sweep
}

#[test]
fn summary_of_a_sweep() {
    let sweep = sweep();
    assert_eq!(sweep.exit_code(), ExitCode::Safety);
    insta::assert_snapshot!(sweep_summary(&sweep, Paint::Plain));
}

#[test]
fn interrupted_sweep_blames_no_scenario_for_what_it_did_not_do() {
    let mut sweep = sweep();
    sweep.expect("never-begun", [("recovered-unclean".to_string(), 1)].into(), None);
    sweep.interrupted = true;
    let summary = sweep_summary(&sweep, Paint::Plain);
    for line in [
        "none never-begun           not begun",
        "ok   s15-index-off-by-one  20 runs · poll-skip not found yet",
    ] {
        assert!(summary.contains(line), "{summary}");
    }
    assert_eq!(summary.matches("FAIL").count(), 1, "{summary}");
    assert!(summary.contains("FAIL power-loss-loop"), "{summary}");
}

#[test]
fn negative_scenario_passes_when_caught_and_fails_the_sweep_when_not() {
    let run_with = |planted: bool, runs: Vec<RunReport>| {
        let mut sweep = SweepReport::new();
        let (anomaly, checker) = (Some("lost-write".to_string()), Some("B2".to_string()));
        let expectation =
            Expectation { anomaly, checker, planted, within_seeds: 20, found: 0, first_seed: None };
        sweep.expect("s01", BTreeMap::new(), Some(expectation));
        runs.iter().for_each(|run| sweep.add(run));
        sweep.exit_code()
    };
    assert_eq!(run_with(false, vec![passed("s01", 1), lost_write("s01", 2)]), ExitCode::Pass);
    assert_eq!(run_with(false, vec![passed("s01", 1)]), ExitCode::Coverage);
    assert_eq!(run_with(false, vec![]), ExitCode::Nothing);
    let mut crash = passed("s01", 3);
    crash.class = Class::Crash;
    assert_eq!(run_with(true, vec![lost_write("s01", 2), crash.clone()]), ExitCode::Crash, "of no panic");
    crash.anomaly = Some("panic".to_owned());
    assert_eq!(run_with(false, vec![lost_write("s01", 2), crash.clone()]), ExitCode::Crash);
    // The broker noticed the planted bug by itself, which is not what was looked for.
    assert_eq!(run_with(true, vec![lost_write("s01", 2), crash.clone()]), ExitCode::Pass);
    assert_eq!(run_with(true, vec![crash]), ExitCode::Coverage);
    // Its replay differs: not a detection.
    let mut diverged = lost_write("s01", 2);
    diverged.verified = Some(Replay { trace_hash: "0".into(), same: false, diverged_at_event: None });
    assert_eq!(run_with(false, vec![diverged]), ExitCode::NonDeterminism);
}

#[test]
fn an_event_that_never_happened_fails_the_sweep() {
    let mut sweep = SweepReport::new();
    sweep.expect("kill-loop", [("log-truncated".to_string(), 1)].into(), None);
    sweep.add(&passed("kill-loop", 1));
    assert_eq!(sweep.exit_code(), ExitCode::Coverage);
}

#[test]
fn reports_come_back_from_json_and_newer_ones_are_refused() {
    let run = lost_write("power-loss-loop", u64::MAX);
    assert_eq!(RunReport::from_json(&run.to_json()).expect("reads"), run);
    let sweep = sweep();
    assert_eq!(SweepReport::from_json(&sweep.to_json()).expect("reads"), sweep);
    let newer = run.to_json().replacen("\"schema\": 1", "\"schema\": 2", 1);
    let error = RunReport::from_json(&newer).expect_err("newer").to_string();
    assert_eq!(error, "the report has schema 2, this burnin knows schemas up to 1");
    let error = RunReport::from_json("{}").expect_err("empty").to_string();
    assert!(error.starts_with("the report is malformed: missing field"), "{error}");
}

fn any_run() -> impl Strategy<Value = RunReport> {
    (0u64..40, 0usize..3, 0u8..4).prop_map(|(seed, scenario, kind)| {
        let scenario = ["kill-loop", "power-loss-loop", "s01"][scenario];
        match kind {
            0 => lost_write(scenario, seed),
            1 => {
                let mut run = passed(scenario, seed);
                run.class = Class::Crash;
                let message = format!("boom at {seed}");
                run.crash =
                    Some(Crash { node: "b".into(), task: "t".into(), message, at_ns: seed, event: seed });
                run
            }
            _ => passed(scenario, seed),
        }
    })
}

fn of_runs(runs: &[RunReport]) -> SweepReport {
    let mut sweep = SweepReport::new();
    let expectation = Expectation {
        anomaly: None,
        checker: None,
        planted: false,
        within_seeds: 9,
        found: 0,
        first_seed: None,
    };
    sweep.expect("s01", [("recovered-unclean".to_string(), 2)].into(), Some(expectation));
    runs.iter().for_each(|run| sweep.add(run));
    sweep
}

proptest! {
    #[test]
    fn shards_merge_in_any_order_and_grouping(runs in prop::collection::vec(any_run(), 0..60), cuts in (0usize..60, 0usize..60)) {
        // A seed is run by one shard only.
        let mut runs = runs;
        runs.sort_by(|a, b| (&a.scenario, a.seed).cmp(&(&b.scenario, b.seed)));
        runs.dedup_by(|a, b| (&a.scenario, a.seed) == (&b.scenario, b.seed));
        let (low, high) = (cuts.0.min(cuts.1).min(runs.len()), cuts.0.max(cuts.1).min(runs.len()));
        let whole = of_runs(&runs);
        let [a, b, c] = [&runs[..low], &runs[low..high], &runs[high..]].map(of_runs);
        let mut left = a.clone();
        left.merge(b.clone());
        left.merge(c.clone());
        let mut right = b.clone();
        right.merge(c.clone());
        let mut grouped = a.clone();
        grouped.merge(right);
        let mut backwards = c;
        backwards.merge(b);
        backwards.merge(a);
        prop_assert_eq!(&left, &whole);
        prop_assert_eq!(&grouped, &whole);
        prop_assert_eq!(&backwards, &whole);
    }
}
