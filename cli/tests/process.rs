//! `--target process`: real brokers, real faults, real files; and nothing of them left behind.

mod common;

use common::{Ran, finished, root};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something that must happen is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn broker() -> PathBuf {
    let broker = Path::new(env!("CARGO_BIN_EXE_burnin")).with_file_name("burnin-broker");
    assert!(broker.exists(), "{} is missing: build it with `cargo build -p burnin-broker`", broker.display());
    broker
}

const MIN_ISR: &str = r#""min.insync.replicas" = 2"#;

/// Runs below a folder of their own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        broker();
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    /// A scenario for a few seconds on one broker: two writers, a reader, these faults.
    fn scenario(&self, name: &str, seconds: u32, topic: &str, faults: &str) -> String {
        self.scenario_on(1, name, seconds, topic, faults)
    }

    /// On so many brokers, each of which holds every partition.
    fn scenario_on(&self, brokers: u32, name: &str, seconds: u32, topic: &str, faults: &str) -> String {
        let path = self.folder.path().join(format!("{name}.toml"));
        let text = format!(
            r#"schema  = 1
name    = "{name}"
summary = "A test of the target"

[run]
warmup   = "500ms"
duration = "{seconds}s"
settle   = "30s"

[topology]
brokers = {brokers}
properties = {{ "broker.session.timeout.ms" = 2000, "broker.heartbeat.interval.ms" = 300 }}

[[topology.topic]]
name = "orders"
partitions = 3
replication_factor = {brokers}
config = {{ {topic} }}

[[workload]]
id = "writers"
kind = "append-unique"
topics = ["orders"]
clients = 2
rate = "200/s"
properties = {{ "linger.ms" = 0, "request.timeout.ms" = 2000, "delivery.timeout.ms" = 20000 }}

[[workload]]
id = "reader"
kind = "poll"
topics = ["orders"]
properties = {{ "request.timeout.ms" = 3000 }}

{faults}

[[check]]
id = "log"
kind = "kafka.log"
all = true

[[check]]
id = "recovers"
kind = "progress"
within = "20s"
"#
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join("report")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burnin"));
        command.args(arguments).args(["--target", "process", "--report"]).arg(self.report());
        command.current_dir(root()).env_clear().env("COLUMNS", "100").env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        finished(self.command(arguments).output().unwrap())
    }

    /// Runs a scenario and gives its report.
    fn json(&self, scenario: &str, arguments: &[&str]) -> Value {
        let run = self.run(&[&["run", scenario, "--seed", "1", "--format", "json"], arguments].concat());
        let report: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}", run.all));
        assert_eq!(report["target"], "process");
        report
    }

    fn start(&self, scenario: &str) -> Child {
        let mut command = self.command(&["run", scenario, "--seed", "1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The processes of this bench: those that were told of its folder.
    fn processes(&self, program: &str) -> Vec<u32> {
        let here = self.folder.path().display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            if command.contains(program) && command.contains(&here) {
                found.push(pid);
            }
        }
        found
    }

    /// What the nodes of the runs that go on at the moment listen on.
    fn ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        let mut folders = vec![self.report().join("nodes")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name() == "server.properties" {
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    let line = text.lines().find_map(|line| line.strip_prefix("listeners=")).unwrap();
                    ports.extend(
                        line.split(',').map(|one| one.rsplit(':').next().unwrap().parse::<u16>().unwrap()),
                    );
                } else {
                    folders.push(entry.path());
                }
            }
        }
        ports
    }

    fn wait_for(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let began = Instant::now();
        while !happened() {
            assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// No broker runs, no directory of nodes is there.
    fn nothing_is_left(&self) {
        self.wait_for("brokers are gone", || self.processes("burnin-broker").is_empty());
        self.wait_for("directories are gone", || !self.report().join("nodes").exists());
    }
}

/// Whoever wants these ports can have them.
fn are_free(ports: &[u16]) {
    for port in ports {
        let bound = std::net::TcpListener::bind(("127.0.0.1", *port));
        assert!(bound.is_ok(), "port {port} is taken: {bound:?}");
    }
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

fn passed(report: &Value, faults_at_least: usize) {
    assert_eq!(report["class"], "pass", "{report:#}");
    let fired = report["faults"].as_array().unwrap().iter().filter(|fault| fault["fired"] == true).count();
    assert!(fired >= faults_at_least, "{fired} faults: {report:#}");
    assert!(report["records"].as_u64().unwrap() > 100, "{report:#}");
    assert!(report["checked"]["B2"].as_u64().unwrap() > 100 && report["checked"]["B16"] == 3, "{report:#}");
}

const KILLS: &str = r#"[[fault]]
id = "kill"
kind = "process.kill"
on = "leader(orders/*)"
every = { mean = "500ms", dist = "fixed" }
for = "20ms..200ms"
"#;

#[test]
fn kill_9_in_a_loop_loses_nothing_and_leaves_nothing() {
    let bench = Bench::new();
    let report = bench.json(&bench.scenario("kills", 3, "", KILLS), &[]);
    passed(&report, 3);
    assert!(report["happened"]["fault:kill"].as_u64().unwrap() >= 3, "{report:#}");
    let lacking = &report["lacking"][0];
    assert_eq!(lacking["capability"], "white-box");
    assert_eq!(
        lacking["skipped"],
        serde_json::json!([
            "checker B17",
            "checker B18 (acked-nothing)",
            "checker W1",
            "checker W2",
            "checker W3",
            "checker W4"
        ])
    );
    bench.nothing_is_left();
}

#[test]
fn leader_of_three_brokers_is_killed_and_restarted() {
    let bench = Bench::new();
    let faults = r#"[[fault]]
id = "kill"
kind = "process.kill"
on = "leader(orders/0)"
every = { mean = "4s", dist = "fixed" }
for = "3s"
"#;
    let report = bench.json(&bench.scenario_on(3, "failover", 14, MIN_ISR, faults), &[]);
    passed(&report, 2);
    assert_eq!(report["brokers"], 3);
    let killed = report["faults"].as_array().unwrap().iter().map(|fault| &fault["target"]);
    let killed: std::collections::BTreeSet<String> = killed.map(ToString::to_string).collect();
    assert!(killed.len() > 1, "another broker led after the first kill: {report:#}");
    bench.nothing_is_left();
}

#[test]
fn kill_9_takes_nothing_from_the_page_cache() {
    let bench = Bench::new();
    let topic = r#""flush.messages" = 9223372036854775807"#;
    passed(&bench.json(&bench.scenario("page-cache", 3, topic, KILLS), &[]), 3);
    bench.nothing_is_left();
}

#[test]
fn clean_stops_restarts_and_pauses_lose_nothing() {
    let bench = Bench::new();
    let faults = r#"[[fault]]
id = "stop"
kind = "process.stop"
on = "controller"
every = { mean = "900ms", dist = "fixed" }
for = "20ms..200ms"

[[fault]]
id = "pause"
kind = "process.pause"
every = { mean = "700ms", dist = "fixed" }
for = "50ms..300ms"

[[fault]]
id = "restart"
kind = "process.restart"
at = "1s"
"#;
    let report = bench.json(&bench.scenario("stops", 4, "", faults), &[]);
    passed(&report, 5);
    for fault in ["fault:stop", "fault:pause", "fault:restart"] {
        assert!(report["happened"][fault].as_u64().unwrap_or(0) > 0, "{fault}: {report:#}");
    }
    bench.nothing_is_left();
}

/// A broker that is broken: at each start it throws away what its partitions hold.
#[test]
fn data_that_a_broken_broker_wiped_is_found_as_lost() {
    let bench = Bench::new();
    let broken = bench.folder.path().join("broken-broker");
    let text = format!(
        "#!/bin/sh\nrm -rf \"$(dirname \"$2\")\"/data/orders-*\nexec {} \"$@\"\n",
        broker().display()
    );
    std::fs::write(&broken, text).unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let scenario = bench.scenario("wiped", 3, "", KILLS);
    let broken = broken.to_str().unwrap();
    let to_the_end = ["--set", "run.stop_on=never"];
    let run = bench.run(&[&["run", &scenario, "--seed", "1", "--broker", broken], &to_the_end[..]].concat());
    assert_eq!(run.code, 10, "{}", run.all);
    assert!(run.err.contains("not replayed: real processes do not repeat a run"), "{}", run.all);
    let latest = bench.report().join("wiped/latest");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(latest.join("result.json")).unwrap()).unwrap();
    let violations = report["violations"].as_array().unwrap();
    let lost = violations.iter().any(|one| one["checker"] == "B2" && one["anomaly"] == "lost-write");
    assert!(lost, "{report:#}");
    let kept = ["nodes/broker-1/data/meta.properties", "log.history"];
    let all_kept = || kept.iter().all(|name| latest.join(name).exists());
    assert!(all_kept(), "what a failed run wrote is kept");
    std::fs::remove_dir_all(bench.report().join("wiped")).unwrap();
    let run = bench.run(&["sweep", &scenario, "--seeds", "1", "--broker", broken]);
    assert_eq!(run.code, 10, "{}", run.all);
    assert!(all_kept(), "a sweep keeps the same");
    bench.nothing_is_left();
}

#[test]
fn what_the_target_cannot_do_is_named_and_a_run_of_nothing_else_is_skipped() {
    let bench = Bench::new();
    let run = bench.run(&["run", "scenarios/smoke/power-loss-loop.toml", "--seed", "1", "--format", "json"]);
    assert_eq!(run.code, 4, "{}", run.all);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["class"], "skipped");
    assert!(report["verdict"].as_str().unwrap().contains("target process lacks `power`"), "{report:#}");
    assert_eq!(report["lacking"][0]["capability"], "power");

    let run =
        bench.run(&["sweep", "scenarios/negative/s01-ack-before-fsync.toml", "--seeds", "1", "-j", "1"]);
    assert_eq!(run.code, 4, "{}", run.all);
    assert!(run.out.contains("all skipped: the target lacks `mutants`, `power`"), "{}", run.all);

    let faults =
        format!("{KILLS}\n[[fault]]\nid = \"jump\"\nkind = \"clock.jump\"\nat = \"1s\"\nby = \"5s\"\n");
    let run = bench.run(&["run", &bench.scenario("mixed", 2, "", &faults), "--seed", "1"]);
    assert_eq!(run.code, 0, "{}", run.all);
    assert!(run.out.contains("target process lacks `clock`: fault jump (clock.jump)"), "{}", run.all);
    bench.nothing_is_left();
}

/// What the faults together were to bring about is demanded when all of them are possible, and only then.
#[test]
fn events_are_demanded_of_a_sweep_that_can_do_every_fault() {
    let bench = Bench::new();
    let jump = "\n[[fault]]\nid = \"jump\"\nkind = \"clock.jump\"\nat = \"1s\"\nby = \"5s\"\n";
    let often =
        "\n[[check]]\nid = \"often\"\nkind = \"sometimes\"\nevent = \"outcome-maybe\"\nat_least = 1000000\n";
    for (name, jump, code) in [("whole", "", 15), ("part", jump, 0)] {
        let faults = format!("{KILLS}{jump}{often}");
        let run = bench.run(&["sweep", &bench.scenario(name, 2, "", &faults), "--seeds", "1", "-j", "1"]);
        assert_eq!(run.code, code, "{name}: {}", run.all);
    }
    bench.nothing_is_left();
}

#[test]
fn a_sweep_runs_several_clusters_at_once() {
    let bench = Bench::new();
    let run = bench.run(&["sweep", &bench.scenario("kills", 2, "", KILLS), "--seeds", "3", "-j", "3"]);
    assert_eq!(run.code, 0, "{}", run.all);
    bench.nothing_is_left();
}

#[test]
fn interrupted_or_killed_it_leaves_nothing() {
    let bench = Bench::new();
    let scenario = bench.scenario_on(3, "long", 600, MIN_ISR, KILLS);
    for (how, code) in [("INT", 130), ("TERM", 143), ("KILL", -1)] {
        let run = bench.start(&scenario);
        bench.wait_for("three brokers are up", || bench.processes("burnin-broker").len() == 3);
        let ports = bench.ports();
        assert_eq!(ports.len(), 6, "each is a broker and a controller");
        signal(run.id(), how);
        let run = finished(run.wait_with_output().unwrap());
        assert_eq!(run.code, code, "{how}: {}", run.all);
        bench.nothing_is_left();
        are_free(&ports);
    }
}

/// The kernel kills the brokers of a process that could not do it itself.
#[test]
fn killed_worker_takes_its_brokers_along() {
    let bench = Bench::new();
    let run = bench.start(&bench.scenario("long", 600, "", KILLS));
    bench.wait_for("a broker is up", || !bench.processes("burnin-broker").is_empty());
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
    let worker = children.split_whitespace().next().expect("a worker").parse().unwrap();
    signal(worker, "KILL");
    let run = finished(run.wait_with_output().unwrap());
    assert_eq!(run.code, 12, "{}", run.all);
    bench.wait_for("brokers are gone", || bench.processes("burnin-broker").is_empty());
    let kept = bench.report().join("long/latest/nodes");
    assert!(kept.exists() && !bench.report().join("nodes").exists(), "what a failed run wrote is kept");
}

#[test]
fn broker_that_is_missing_or_does_not_start_is_said_so() {
    let bench = Bench::new();
    let scenario = bench.scenario("kills", 2, "", KILLS);
    let run = bench.run(&["run", &scenario, "--broker", "/nowhere/burnin-broker"]);
    assert_eq!(run.code, 3, "{}", run.all);
    assert!(run.err.contains("/nowhere/burnin-broker"), "{}", run.all);

    let alone = bench.folder.path().join("burnin");
    std::fs::copy(env!("CARGO_BIN_EXE_burnin"), &alone).unwrap();
    let run =
        finished(Command::new(&alone).args(["run", &scenario, "--target", "process"]).output().unwrap());
    assert_eq!(run.code, 3, "{}", run.all);
    assert!(run.err.contains("cargo build -p burnin-broker"), "{}", run.all);

    let run = bench.run(&["run", &scenario, "--broker", "/bin/false"]);
    assert_eq!(run.code, 12, "it ends with 1, as a broker that panics does: {}", run.all);
    let run = bench.run(&["run", &scenario, "--set", "run.duration=1s", "--broker", "/bin/true"]);
    assert_eq!(run.code, 3, "{}", run.all);
    assert!(run.err.contains("ended with exit code 0"), "{}", run.all);
}
