//! What people read when something is wrong with what they asked for: the text and the exit code.

mod common;

use common::burnin;

#[test]
fn errors_of_usage_name_the_value_and_the_choices() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("resolved.toml");
    let resolved = burnin(&["scenario", "resolve", "scenarios/smoke/kill-loop.toml", "--seed", "7"]);
    std::fs::write(&plan, &resolved.out).unwrap();
    std::fs::write(folder.path().join("broken.toml"), "plan = 1\nsede = 7\n").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (resolved, broken, empty) = (at("resolved.toml"), at("broken.toml"), at("empty"));

    let cases: &[&[&str]] = &[
        &["swep"],
        &["run"],
        &["run", "scenarios/smoke/kil-loop.toml"],
        &["run", "scenarios/smoke/kill-loop"],
        &["run", "scenarios/smoke/kill-loop.toml", "--seed", "lucky"],
        &["run", "scenarios/smoke/kill-loop.toml", "--seed", "-1"],
        &["run", "scenarios/smoke/kill-loop.toml", "--seed", "99999999999999999999"],
        &["run", "scenarios/smoke/kill-loop.toml", "--set", "run.duration"],
        &["run", "scenarios/smoke/kill-loop.toml", "--set", "run.duraton=5s"],
        &["run", "scenarios/smoke/kill-loop.toml", "--set", "workload.writer.rate=5/s"],
        &["run", "scenarios/smoke/kill-loop.toml", "--set", "run.duration=0s"],
        &["run", "scenarios/smoke/kill-loop.toml", "--set", "topology.properties={\"num.partition\"=3}"],
        &[
            "run",
            "scenarios/smoke/kill-loop.toml",
            "--set",
            "topology.topic.orders.config={\"segment.bytes\"=\"big\"}",
        ],
        &["run", "scenarios/smoke/kill-loop.toml", "--run-limit", "10"],
        &["run", "scenarios/smoke/kill-loop.toml", "--sed", "7"],
        &["sweep", "scenarios/smoke", "--seeds", "5..5"],
        &["sweep", "scenarios/smoke", "--seeds", "9..5"],
        &["sweep", "scenarios/smoke", "--seeds", "0"],
        &["sweep", "scenarios/smoke", "--seeds", "1,x"],
        &["sweep", "scenarios/smoke", "--shard", "5/4"],
        &["sweep", "scenarios/smoke", "--shard", "1"],
        &["sweep", "scenarios/smoke", "--seeds", "1", "--shard", "2/2"],
        &["sweep", "scenarios/smoke", "-j", "0"],
        &["sweep", "scenarios/smoke", "--check-determinism", "150%"],
        &["sweep", "scenarios/smoke", "--tag", "smokey"],
        &["sweep", &empty],
        &["sweep", "scenarios/smoke", "--format", "xml"],
        &["replay", "/no/such/run"],
        &["replay", "scenarios/smoke/kill-loop.toml"],
        &["replay", "scenarios/smoke/kill-loop.toml@x"],
        &["replay", &empty],
        &["replay", &broken],
        &["replay", &resolved, "--scenario", "scenarios/smoke/power-loss-loop.toml"],
        &["replay", &resolved, "--set", "run.duration=5s"],
        &["scenario", "lint", &broken],
    ];
    let mut shown = String::new();
    for case in cases {
        let run = burnin(case);
        let text = run.all.replace(&folder.path().display().to_string(), "TMP");
        let text =
            text.replace(&format!("+{}", option_env!("BURNIN_COMMIT").unwrap_or("unknown")), "+COMMIT");
        shown.push_str(
            &format!("$ burnin {}\n{}\nexit code {}\n\n", case.join(" "), text.trim_end(), run.code)
                .replace(&folder.path().display().to_string(), "TMP"),
        );
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_plan_of_a_changed_scenario_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("resolved.toml");
    let resolved = burnin(&["scenario", "resolve", "scenarios/smoke/kill-loop.toml", "--seed", "7"]);
    std::fs::write(&plan, &resolved.out).unwrap();
    let changed = folder.path().join("kill-loop.toml");
    let text = std::fs::read_to_string(common::root().join("scenarios/smoke/kill-loop.toml")).unwrap();
    std::fs::write(&changed, text.replace("20s", "21s")).unwrap();
    let run = burnin(&["replay", &plan.display().to_string(), "--scenario", &changed.display().to_string()]);
    assert_eq!(run.code, 2, "{}", run.all);
    assert!(run.all.contains("another version of scenario `kill-loop`"), "{}", run.all);
}

#[test]
fn an_unwritable_report_directory_is_the_environments_fault() {
    let run = burnin(&["run", "scenarios/smoke/kill-loop.toml", "--seed", "1", "--report", "/proc/nowhere"]);
    assert_eq!(run.code, 3, "{}", run.all);
    assert!(run.all.contains("/proc/nowhere"), "{}", run.all);
}

#[test]
fn errors_are_json_when_asked() {
    let run = burnin(&["run", "scenarios/smoke/kil-loop.toml", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(value["exit_code"], 2);
    assert!(value["error"].as_str().unwrap().contains("did you mean"), "{value}");
}
