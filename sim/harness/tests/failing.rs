//! What a person sees when a simulated test fails. Tests that fail on purpose are ignored, and run here as the
//! test program would run them, one at a time.

use burnin::World;
use burnin::runtime::Runtime;
use std::process::Command;
use std::time::Duration;

#[burnin::test(seeds = 4)]
#[ignore = "fails on purpose"]
async fn seed_two_is_not_accepted(world: World) -> burnin::Result {
    world.sleep(Duration::from_millis(1_500)).await;
    match world.seed() {
        2 => Err(burnin::Failure::new("the ledger does not add up: expected 10, found 9")),
        _ => Ok(()),
    }
}

#[burnin::test]
#[ignore = "fails on purpose"]
async fn body_panics_after_a_fault(world: World) -> burnin::Result {
    let node = world.node("server", |_| std::future::pending());
    world.sleep(Duration::from_secs(2)).await;
    world.sim().kill(node)?;
    assert!(world.sim().is_up(node), "the server is gone");
    Ok(())
}

#[burnin::test(check_determinism = true)]
#[ignore = "fails on purpose"]
async fn process_id_decides(world: World) -> burnin::Result {
    let runtime = world.client("app");
    runtime.sleep(Duration::from_nanos(std::process::id().into())).await;
    Ok(())
}

#[burnin::test(limit = "3s")]
#[ignore = "fails on purpose"]
async fn waits_for_ever(world: World) -> burnin::Result {
    loop {
        world.sleep(Duration::from_secs(1)).await;
    }
}

#[burnin::test(scenario = "scenarios/smoke/kill-loop.toml")]
#[ignore = "fails on purpose"]
fn run_is_not_looked_at(_run: burnin::Run) -> burnin::Result {
    Ok(())
}

#[burnin::test(scenario = "scenarios/negative/s01-ack-before-fsync.toml")]
#[ignore = "fails on purpose"]
fn planted_bug_is_taken_for_a_failure(run: burnin::Run) -> burnin::Result {
    assert!(run.report().violations.is_empty(), "this test wants none");
    run.check()
}

/// Runs an ignored test of this program; gives what it printed, without what differs between two builds.
fn run(test: &str, env: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("a test program");
    let mut command = Command::new(program);
    for name in ["BURNIN_SEED", "BURNIN_SEEDS", "BURNIN_SEED_BASE", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    let output = command.arg(test).args(["--exact", "--ignored"]).envs(env.iter().copied()).output();
    let output = output.expect("the test program");
    assert!(!output.status.success(), "{test} passed");
    normal(&String::from_utf8_lossy(&output.stdout))
}

/// From the seeds on, with hashes, steps, build and process ids replaced.
fn normal(text: &str) -> String {
    let lines =
        text.lines().skip_while(|line| !line.starts_with("---- ")).take_while(|line| *line != "failures:");
    let lines = lines.filter(|line| !line.starts_with("note: "));
    let words = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned();
    let lines = lines.map(|line| match line {
        line if line.starts_with(" build ") => " build      BUILD".to_owned(),
        line if line.starts_with("thread '") => words(line.split(" (").next().unwrap_or(line)),
        line if line.starts_with("burnin-failure: ") => "burnin-failure: {...}".to_owned(),
        line => words(line),
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn word(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if core.len() == 16 && core.chars().all(|c| c.is_ascii_hexdigit()) {
        word.replace(core, "HASH")
    } else {
        word.to_owned()
    }
}

#[test]
fn failure_names_its_seed_and_the_command_that_repeats_it() {
    insta::assert_snapshot!(run("seed_two_is_not_accepted", &[]));
}

#[test]
fn command_of_the_failure_repeats_it() {
    let text = run("seed_two_is_not_accepted", &[("BURNIN_SEED", "2")]);
    assert!(text.contains("burnin: seeds=2 ") && text.contains("found 9"), "{text}");
}

#[test]
fn panic_of_the_body_says_when_and_where() {
    let text = run("body_panics_after_a_fault", &[("BURNIN_SEEDS", "7,9")]);
    assert!(text.contains("BURNIN_SEED=7 cargo test -p burnin "), "{text}");
    assert!(text.contains("the server is gone\n (sim/harness/tests/failing.rs:"), "{text}");
    assert!(text.contains("2.000s  process.kill"), "{text}");
}

#[test]
fn run_that_differs_is_non_deterministic_and_nothing_else() {
    let text = run("process_id_decides", &[]);
    assert!(text.contains("NON-DETERMINISTIC") && text.contains("the runs differ from event"), "{text}");
    assert!(text.contains("\nrun 1: #") && text.contains("\nrun 2: #"), "{text}");
}

#[test]
fn world_that_never_ends_is_stopped() {
    let text = run("waits_for_ever", &[]);
    assert!(text.contains("liveness: limit") && text.contains("3.000"), "{text}");
}

#[test]
fn test_that_looks_at_nothing_fails() {
    let text = run("run_is_not_looked_at", &[]);
    assert!(text.contains("never looked at its run"), "{text}");
}

#[test]
fn violation_of_a_scenario_is_told_in_full() {
    let text = run("planted_bug_is_taken_for_a_failure", &[]);
    assert!(text.contains("BURNIN FAILED ─ s01-ack-before-fsync ─ safety: "), "{text}");
    assert!(text.contains("replayed in a fresh process"), "{text}");
    assert!(text.contains("process.power_loss"), "{text}");
}

#[test]
fn malformed_environment_is_named() {
    let text = run("seed_two_is_not_accepted", &[("BURNIN_SEEDS", "ten")]);
    assert!(text.contains("BURNIN_SEEDS: ") && text.contains("ten") && text.contains("1000..2000"), "{text}");
}
