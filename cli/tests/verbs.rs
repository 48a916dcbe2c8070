//! The verbs from outside: exit codes, run directories, verification, interruption.

mod common;

use common::{Ran, burnin, command, finished};
use serde_json::{Value, json as value};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const KILL_LOOP: &str = "scenarios/smoke/kill-loop.toml";
const S01: &str = "scenarios/negative/s01-ack-before-fsync.toml";

/// Runs with a run directory of its own.
fn in_folder(folder: &Path, arguments: &[&str]) -> Ran {
    let report = folder.display().to_string();
    burnin(&[arguments, &["--report", &report]].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_class_of_outcome_has_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, code) in [("1", 0), ("13", 10), ("14", 11), ("15", 12), ("16", 12), ("17", 14)] {
        let run = in_folder(folder.path(), &["run", KILL_LOOP, "--seed", seed, "--run-limit", "2s"]);
        assert_eq!(run.code, code, "seed {seed}: {}", run.all);
        assert!(
            run.err.starts_with(&format!("burnin: seed={seed} scenario=kill-loop build=")),
            "{}",
            run.err
        );
    }
}

#[test]
fn the_limit_of_a_run_is_what_it_works_or_how_long_it_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, code, says) in [
        ("17", 14, "the run did nothing for 1s (--run-limit)"),
        ("19", 14, "the run took longer than 1s of CPU time (--run-limit)"),
        ("21", 0, ""),
    ] {
        let run = in_folder(folder.path(), &["run", KILL_LOOP, "--seed", seed, "--run-limit", "1s"]);
        assert!(run.code == code && run.all.contains(says), "seed {seed}: {}", run.all);
    }
}

#[test]
fn a_failure_is_verified_in_a_fresh_process_and_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(folder.path(), &["run", KILL_LOOP, "--seed", "13", "--format", "json"]);
    assert_eq!(run.code, 10, "{}", run.all);
    let report = json(&run.out);
    assert_eq!(report["verified"]["same"], true);
    assert_eq!(report["reproduce"], "burnin replay scenarios/smoke/kill-loop.toml@13");

    let latest = folder.path().join("kill-loop/latest");
    for file in ["result.json", "resolved.toml", "log"] {
        assert!(latest.join(file).is_file(), "{file} is missing");
    }
    let latest = latest.display().to_string();
    let resolved = format!("{latest}/resolved.toml");
    for what in [latest.as_str(), resolved.as_str(), "scenarios/smoke/kill-loop.toml@13"] {
        let run = in_folder(folder.path(), &["replay", what]);
        assert_eq!(run.code, 10, "{what}: {}", run.all);
        assert!(run.err.contains("lost-write"), "{}", run.err);
    }
    let run = in_folder(folder.path(), &["replay", &resolved, "--scenario", KILL_LOOP]);
    assert_eq!(run.code, 10, "{}", run.all);
}

#[test]
fn a_replay_that_differs_from_the_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    in_folder(folder.path(), &["run", KILL_LOOP, "--seed", "13"]);
    let result = folder.path().join("kill-loop/latest/result.json");
    let latest = folder.path().join("kill-loop/latest").display().to_string();
    let text = std::fs::read_to_string(&result).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();

    let passed = text
        .replace("\"class\": \"safety\"", "\"class\": \"liveness\"")
        .replace("\"version\": \"", "\"version\": \"9");
    std::fs::write(&result, passed).unwrap();
    let run = in_folder(elsewhere.path(), &["replay", &latest]);
    assert_eq!(run.code, 20, "{}", run.all);
    assert!(run.err.contains("not reproduced"), "{}", run.err);

    let hash = json(&text)["trace_hash"].as_str().unwrap().to_owned();
    std::fs::write(&result, text.replace(&hash, "feedfeedfeedfeed")).unwrap();
    let run = in_folder(elsewhere.path(), &["replay", &latest]);
    assert_eq!(run.code, 13, "{}", run.all);
}

#[test]
fn a_sweep_counts_everything_and_keeps_only_failures() {
    let folder = tempfile::tempdir().unwrap();
    let run =
        in_folder(folder.path(), &["sweep", KILL_LOOP, "--seeds", "0..17", "-j", "2", "--format", "json"]);
    assert_eq!(run.code, 12, "crash comes before safety: {}", run.all);
    let report = json(&run.out);
    let classes = &report["scenarios"]["kill-loop"]["classes"];
    assert_eq!(*classes, serde_json::json!({"pass": 13, "safety": 1, "liveness": 1, "crash": 2}));
    assert_eq!(report["failures"].as_array().unwrap().len(), 4);
    let directories: Vec<_> = std::fs::read_dir(folder.path().join("kill-loop"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "latest")
        .collect();
    assert_eq!(directories.len(), 4, "{directories:?}");
    assert_eq!(
        json(&std::fs::read_to_string(folder.path().join("sweep/latest/sweep.json")).unwrap()),
        report
    );
}

#[test]
fn a_sweep_that_passes_leaves_no_run_directory() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(folder.path(), &["sweep", KILL_LOOP, "--seeds", "0..10"]);
    assert_eq!(run.code, 0, "{}", run.all);
    assert!(!folder.path().join("kill-loop").exists());
}

#[test]
fn without_a_scenario_the_one_in_the_program_is_swept_in_any_directory() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |arguments: &[&str]| {
        let mut command = command(&[arguments, &["--format", "json", "--report", "runs"]].concat());
        finished(command.current_dir(folder.path()).output().unwrap())
    };
    let run = sweep(&["sweep", "--seeds", "13", "--set", "run.duration=5s"]);
    assert!(run.err.starts_with("burnin: seed=0..13 scenario=replicated-cluster build="), "{}", run.err);
    // The scripted runs cut no log, which this scenario asks for.
    assert_eq!(run.code, 15, "{}", run.all);
    assert_eq!(json(&run.out)["scenarios"]["replicated-cluster"]["totals"]["runs"], 13);

    let run = sweep(&["run", "replicated-cluster", "--seed", "13"]);
    assert_eq!(run.code, 10, "{}", run.all);
    assert_eq!(json(&run.out)["reproduce"], "burnin replay replicated-cluster@13");
    assert_eq!(sweep(&["replay", "replicated-cluster@13"]).code, 10);
}

#[test]
fn fail_fast_stops_at_the_first_failure() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(
        folder.path(),
        &["sweep", KILL_LOOP, "--seeds", "13..2000", "-j", "1", "--fail-fast", "--format", "json"],
    );
    assert_eq!(run.code, 10, "{}", run.all);
    assert_eq!(json(&run.out)["scenarios"]["kill-loop"]["totals"]["runs"], 1);
}

#[test]
fn shards_are_disjoint_and_complete() {
    let mut seeds = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let folder = tempfile::tempdir().unwrap();
        let run = in_folder(
            folder.path(),
            &["sweep", KILL_LOOP, "--seeds", "0..10", "--shard", shard, "--format", "jsonl"],
        );
        assert_eq!(run.code, 0, "{}", run.all);
        let runs = run.out.lines().map(json).filter(|line| line["event"] == "run");
        seeds.extend(runs.map(|line| line["seed"].as_u64().unwrap()));
    }
    seeds.sort_unstable();
    assert_eq!(seeds, (0..10).collect::<Vec<_>>());
}

#[test]
fn events_that_never_happen_fail_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(folder.path(), &["sweep", "scenarios/smoke/failed-fsync.toml", "--seeds", "3"]);
    assert_eq!(run.code, 15, "{}", run.all);
    assert!(run.out.contains("log-dir-offline happened 0 times"), "{}", run.out);
}

#[test]
fn a_planted_bug_that_is_found_passes_and_its_twin_without_the_bug_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(folder.path(), &["sweep", S01, "--seeds", "1", "-j", "1"]);
    assert_eq!(run.code, 0, "{}", run.all);
    assert!(run.out.contains("found in 1, first by seed 3"), "{}", run.out);
    assert!(run.out.contains("without its bug"), "{}", run.out);
}

#[test]
fn a_planted_bug_that_is_not_found_fails() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(folder.path(), &["sweep", S01, "--seeds", "100..102"]);
    assert_eq!(run.code, 15, "{}", run.all);
    assert!(run.out.contains("NOT found within 20 seeds"), "{}", run.out);
}

#[test]
fn what_is_found_without_the_planted_bug_is_a_real_failure() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().display().to_string();
    let output =
        command(&["sweep", S01, "--report", &report]).env("BURNIN_SCRIPT", "real-bug").output().unwrap();
    let run = finished(output);
    assert_eq!(run.code, 10, "{}", run.all);
    assert!(run.err.contains("s01-ack-before-fsync.toml@3 --unarmed"), "{}", run.err);
}

#[test]
fn audits_find_a_run_that_does_not_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let run =
        in_folder(folder.path(), &["sweep", KILL_LOOP, "--seeds", "18..19", "--check-determinism", "100%"]);
    assert_eq!(run.code, 13, "{}", run.all);
    assert!(run.err.contains("NON-DETERMINISTIC") && run.err.contains("from event 1501 on"), "{}", run.err);
}

#[test]
fn meta_names_the_first_event_that_differs() {
    let run = burnin(&["meta", KILL_LOOP, "--seeds", "0..5", "-j", "2"]);
    assert_eq!(run.code, 0, "{}", run.all);
    assert!(run.out.contains("no divergence in 5 seeds"), "{}", run.out);
    let run = burnin(&["meta", KILL_LOOP, "--seeds", "18..19", "--format", "json"]);
    assert_eq!(run.code, 13, "{}", run.all);
    assert_eq!(json(&run.out)["divergences"][0]["event"], 1501);
}

#[test]
fn an_interrupted_sweep_writes_what_it_has() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().display().to_string();
        let seeds: Vec<String> =
            (0..2000).map(|hundred| format!("{},{}", hundred * 100 + 1, hundred * 100 + 20)).collect();
        let sweep =
            command(&["sweep", KILL_LOOP, "--seeds", &seeds.join(","), "-j", "1", "--report", &report])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        let kill = std::process::Command::new("kill")
            .args([format!("-{signal}"), sweep.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let asked = Instant::now();
        let run = finished(sweep.wait_with_output().unwrap());
        assert!(asked.elapsed() < Duration::from_secs(5), "it took {:?} to stop", asked.elapsed());
        assert_eq!(run.code, code, "{}", run.all);
        let report = json(&std::fs::read_to_string(folder.path().join("sweep/latest/sweep.json")).unwrap());
        assert_eq!(report["interrupted"], true);
        assert!(report["scenarios"]["kill-loop"]["totals"]["runs"].as_u64().unwrap() >= 1, "{report}");
    }
}

#[test]
fn a_time_limit_ends_a_sweep_without_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(
        folder.path(),
        &["sweep", KILL_LOOP, "--for", "300ms", "-j", "1", "--run-limit", "5s", "--fail-fast"],
    );
    assert!([0, 10].contains(&run.code), "{}", run.all);
}

#[test]
fn flags_come_from_the_environment_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&["sweep", KILL_LOOP])
        .env("BURNIN_SEEDS", "5..8")
        .env("BURNIN_REPORT", folder.path())
        .env("BURNIN_FORMAT", "json")
        .env("BURNIN_QUIET", "1")
        .env("BURNIN_VERBOSE", "2")
        .env("BURNIN_SET", "run.duration=5s;workload.plain-writer.rate=10/s")
        .env("JOB_COMPLETION_INDEX", "1")
        .env("BURNIN_SHARDS", "3")
        .output()
        .unwrap();
    let run = finished(output);
    assert_eq!(run.code, 0, "{}", run.all);
    assert_eq!(json(&run.out)["scenarios"]["kill-loop"]["totals"]["runs"], 1);
}

#[test]
fn a_find_of_the_zoo_is_one_that_is_not_there_without_the_bug() {
    let arguments =
        ["zoo", "S01", "--scenario", KILL_LOOP, "--seeds", "20", "--more", "10", "--format", "json"];
    let run = burnin(&arguments);
    assert_eq!(run.code, 0, "{}", run.all);
    let found = json(&run.out);
    assert_eq!(
        (&found["detected"], &found["first"], &found["seeds"]),
        (&value!(true), &value!("kill-loop@3"), &value!(4))
    );
    assert_eq!((&found["runs"], &found["reached"], &found["found"]), (&value!(10), &value!(10), &value!(1)));

    let run = finished(command(&arguments).env("BURNIN_SCRIPT", "real-bug").output().unwrap());
    assert_eq!(run.code, 10, "{}", run.all);
    assert!(run.err.contains("kill-loop@3 fails without S01 as well"), "{}", run.all);
}

#[test]
fn scenarios_are_listed_linted_and_described() {
    let run = burnin(&["scenario", "list", "--format", "json", "--tag", "smoke"]);
    assert_eq!(run.code, 0, "{}", run.all);
    assert_eq!(json(&run.out).as_array().unwrap().len(), 11);
    let run = burnin(&["scenario", "lint", "scenarios"]);
    assert_eq!(run.code, 0, "{}", run.all);
    let run = burnin(&["scenario", "schema"]);
    assert_eq!(json(&run.out)["title"], "Scenario");
}

#[test]
fn doctor_finds_this_machine_fit() {
    let folder = tempfile::tempdir().unwrap();
    let run = in_folder(folder.path(), &["doctor", "--format", "json"]);
    assert_eq!(run.code, 0, "{}", run.all);
    let found = json(&run.out);
    let worker =
        found.as_array().unwrap().iter().find(|finding| finding["name"] == "worker process").unwrap();
    assert_eq!(worker["ok"], true, "{worker}");
}
