//! What a seed makes of a scenario.

use burnin_scenario::{
    Action, Dur, Durability, Plan, PropertyRules, Scenario, ScheduledFault, Seed, Selector,
};

const BASE: &str = r#"
schema  = 1
name    = "example"
summary = "An example"
[run]
warmup = "2s"
duration = "30s"
[topology]
clients = 3
[[topology.topic]]
name = "orders"
partitions = 4
[[workload]]
id = "writers"
kind = "append-unique"
topics = ["orders"]
rate = "100/s"
[[check]]
id = "log"
kind = "kafka.log"
all = true
"#;

const CUT: &str = r#"
[[fault]]
id = "cut"
kind = "process.power_loss"
every = { mean = "2s" }
for = "100ms..500ms"
"#;

const AGAIN: &str = r#"
[[fault]]
id = "again"
kind = "process.kill"
with = "cut"
after_end = "1ms..20ms"
for = "10ms..50ms"
probability = 0.5
"#;

const ROT: &str = r#"
[[fault]]
id = "rot"
kind = "disk.bit_rot"
with = "cut"
files = ["index"]
bits = "1..8"
"#;

const SLOW: &str = r#"
[[fault]]
id = "slow"
kind = "net.slow"
latency = "5ms..90ms"
every = { mean = "3s", dist = "uniform" }
for = "1s..2s"
in_runs = 0.5
"#;

fn scenario(faults: &[&str]) -> Scenario {
    let text = format!("{BASE}{}", faults.concat());
    Scenario::parse("example.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn of<'a>(plan: &'a Plan, fault: &str) -> Vec<&'a ScheduledFault> {
    plan.schedule.iter().filter(|entry| entry.fault() == fault).collect()
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
    let scenario = scenario(&[CUT, AGAIN, ROT, SLOW]);
    assert_eq!(scenario.resolve(Seed(7)), scenario.resolve(Seed(7)));
    assert_ne!(scenario.resolve(Seed(7)).schedule, scenario.resolve(Seed(8)).schedule);
}

#[test]
fn removing_a_fault_does_not_move_the_others() {
    for seed in 0..50 {
        let all = scenario(&[CUT, AGAIN, ROT, SLOW]).resolve(Seed(seed));
        let without_slow = scenario(&[CUT, AGAIN, ROT]).resolve(Seed(seed));
        let without_rot = scenario(&[SLOW, CUT, AGAIN]).resolve(Seed(seed));
        let alone = scenario(&[CUT]).resolve(Seed(seed));
        assert_eq!(of(&all, "cut"), of(&alone, "cut"), "seed {seed}");
        assert_eq!(of(&all, "again"), of(&without_slow, "again"), "seed {seed}");
        assert_eq!(of(&all, "again"), of(&without_rot, "again"), "seed {seed}");
        assert_eq!(of(&all, "slow"), of(&without_rot, "slow"), "seed {seed}");
    }
}

#[test]
fn a_schedule_is_in_order_and_within_its_phase() {
    for seed in 0..200 {
        let plan = scenario(&[AGAIN, ROT, CUT, SLOW]).resolve(Seed(seed));
        let end = plan.run.heal_at();
        assert!(plan.schedule.is_sorted_by_key(|entry| entry.at));
        for entry in &plan.schedule {
            assert!(entry.at >= plan.run.warmup && entry.at < end, "{entry:?}");
            assert!(entry.ends() <= end, "{entry:?}");
        }
        for pair in of(&plan, "cut").windows(2) {
            assert!(pair[0].ends() < pair[1].at, "one fault overlaps itself: {pair:?}");
        }
    }
}

#[test]
fn a_companion_follows_its_host() {
    for seed in 0..100 {
        let plan = scenario(&[ROT, AGAIN, CUT]).resolve(Seed(seed));
        let place = |id: &str| plan.schedule.iter().position(|entry| entry.id == id).unwrap();
        for rot in of(&plan, "rot") {
            let host = &plan.schedule[place(rot.with.as_deref().unwrap())];
            assert_eq!((rot.at, &rot.on), (host.at, &host.on));
            assert!(place(&rot.id) > place(&host.id), "bits rot after the power is gone");
            let Action::DiskBitRot { bits, .. } = rot.action else { panic!("{rot:?}") };
            assert!((1..=8).contains(&bits));
        }
        for again in of(&plan, "again") {
            let host = &plan.schedule[place(again.with.as_deref().unwrap())];
            let after = again.at - host.ends();
            assert!(Dur::from_millis(1) <= after && after <= Dur::from_millis(20), "{again:?}");
        }
    }
}

#[test]
fn probabilities_are_those_that_were_asked_for() {
    let scenario = scenario(&[CUT, AGAIN, SLOW]);
    let (mut with_slow, mut cuts, mut agains) = (0, 0, 0);
    for seed in 0..1000 {
        let plan = scenario.resolve(Seed(seed));
        with_slow += u32::from(!of(&plan, "slow").is_empty());
        cuts += of(&plan, "cut").len();
        agains += of(&plan, "again").len();
    }
    assert!((430..570).contains(&with_slow), "slow takes part in {with_slow} of 1000 runs");
    assert!((11_000..16_000).contains(&cuts), "30s with a mean gap of 2s and 0.3s down: {cuts} in 1000 runs");
    let share = agains as f64 / cuts as f64;
    assert!((0.47..0.53).contains(&share), "{share}");
}

#[test]
fn what_can_be_drawn_is_drawn_and_roles_stay() {
    let leader = "[[fault]]\nid = \"kill\"\nkind = \"process.kill\"\non = \"leader(orders/*)\"\nat = \"1s\"\nfor = \"1s\"\n";
    let reset = "[[fault]]\nid = \"reset\"\nkind = \"net.reset\"\nevery = { mean = \"1s\" }\n";
    let mut clients = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let plan = scenario(&[leader, reset]).resolve(Seed(seed));
        let Some(Selector::Leader(partition)) = &of(&plan, "kill")[0].on else { panic!("{plan:?}") };
        assert!(partition.partition.is_some_and(|number| (0..4).contains(&number)));
        for entry in of(&plan, "reset") {
            let Action::NetReset { between: [client, broker] } = &entry.action else { panic!("{entry:?}") };
            assert_eq!((broker, &entry.on), (&Selector::Broker(1), &None));
            clients.insert(client.to_string());
        }
    }
    assert_eq!(clients.into_iter().collect::<Vec<_>>(), ["client(1)", "client(2)", "client(3)"]);
}

#[test]
fn what_accompanies_a_fault_on_a_role_hits_the_same_nodes() {
    let fault = |id: &str, more: &str| {
        format!("[[fault]]\nid = \"{id}\"\nkind = \"clock.jump\"\nby = \"1s\"\n{more}\n")
    };
    let leader = fault("leader", "on = \"leader(orders/0)\"\nat = \"1s\"\nfor = \"1s\"");
    let same = fault("same", "with = \"leader\"\nafter_end = \"1s\"");
    let again = fault("again", "with = \"same\"");
    let next = fault("next", "with = \"leader\"\non = \"leader(orders/0)\"");
    let drawn = fault("drawn", "at = \"1s\"");
    let as_drawn = fault("as-drawn", "with = \"drawn\"");
    let plan = scenario(&[&leader, &same, &again, &next, &drawn, &as_drawn]).resolve(Seed(1));
    let target = |id| {
        let entry = &of(&plan, id)[0];
        (entry.follows(), entry.target())
    };
    assert_eq!(target("leader"), (None, "leader(orders/0)".to_owned()));
    assert_eq!(target("same"), (Some("leader#1"), "the target of leader#1".to_owned()));
    assert_eq!(target("again"), (Some("same#1"), "the target of same#1".to_owned()));
    assert_eq!(target("next"), (None, "leader(orders/0)".to_owned()));
    assert_eq!(target("as-drawn"), target("drawn"));
}

/// The example with these properties of brokers and this configuration of its topic.
fn configured(properties: &str, config: &str) -> Scenario {
    let text = format!("{BASE}{CUT}{AGAIN}{SLOW}")
        .replace("[topology]", &format!("[topology]\nproperties = {{ {properties} }}"))
        .replace("partitions = 4", &format!("partitions = 4\nconfig = {{ {config} }}"));
    Scenario::parse("example.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn each_seed_draws_its_settings_and_moves_nothing_else() {
    let bytes = r#""segment.bytes" = { any = [4096, 65536, 1048576, 1048576] }"#;
    let messages = r#""log.flush.interval.messages" = { any = [1, 1000] }"#;
    let (drawn, both) = (configured("", bytes), configured(messages, bytes));
    let fixed = configured("", r#""segment.bytes" = 65536"#);
    let mut seen = std::collections::BTreeMap::new();
    for seed in (0..1000).map(Seed) {
        let (drawn, both, fixed) = (drawn.resolve(seed), both.resolve(seed), fixed.resolve(seed));
        let of = |plan: &Plan| plan.topology.topic[0].config["segment.bytes"].clone();
        assert_eq!(of(&drawn), of(&both), "another setting moves this one");
        assert_eq!(of(&fixed), "65536");
        assert_eq!((&drawn.schedule, &both.schedule), (&fixed.schedule, &fixed.schedule));
        assert_eq!(drawn.topology.clients, fixed.topology.clients);
        let page_cache = both.topology.properties["log.flush.interval.messages"] == "1000";
        let means = if page_cache { Durability::PageCache } else { Durability::Fsynced };
        assert_eq!(both.topology.topic[0].ack_means, means, "an acknowledgement means what was drawn");
        *seen.entry((of(&drawn), page_cache)).or_insert(0) += 1;
    }
    let share = |bytes: &str, page_cache: bool| seen[&(bytes.to_owned(), page_cache)];
    for page_cache in [false, true] {
        for (bytes, about) in [("4096", 125), ("65536", 125), ("1048576", 250)] {
            let many = share(bytes, page_cache);
            assert!((about * 3 / 4..about * 5 / 4).contains(&many), "{bytes} {page_cache}: {many}");
        }
    }
}

#[test]
fn what_was_drawn_stands_in_the_plan_and_what_may_be_drawn_in_the_scenario() {
    let scenario = configured("", r#""segment.bytes" = { any = [4096, 65536] }"#);
    let plan = scenario.resolve(Seed(3));
    let again = Plan::parse("resolved.toml", &plan.to_toml()).unwrap();
    assert_eq!(plan, again);
    let other = configured("", r#""segment.bytes" = { any = [4096, 65537] }"#);
    assert!(plan.belongs_to(&other).unwrap_err().contains("another version"));
    let json: Scenario = serde_json::from_str(&serde_json::to_string(&scenario).unwrap()).unwrap();
    assert_eq!(scenario, json);
}

#[test]
fn every_value_that_may_be_drawn_is_judged_in_its_place() {
    let rules = PropertyRules {
        broker: |_, _| Ok(()),
        topic: |name, value| match value {
            "13" => Err(format!("`{name}` must be at least 14, not {value}")),
            _ => Ok(()),
        },
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.toml");
    let config = "config = { \"segment.bytes\" = { any = [14, 13] } }";
    std::fs::write(&file, BASE.replace("partitions = 4", &format!("partitions = 4\n{config}"))).unwrap();
    let problems = Scenario::load_with(&file, &[], Some(&rules)).unwrap_err();
    let [problem] = problems.list() else { panic!("{problems}") };
    assert_eq!(problem.message, "`segment.bytes` must be at least 14, not 13");
    assert_eq!(problems.place(problem), (13, 43));
}

#[test]
fn a_plan_belongs_to_its_scenario_only() {
    let one = scenario(&[CUT]);
    let plan = one.resolve(Seed(1));
    plan.belongs_to(&one).unwrap();
    assert!(plan.belongs_to(&scenario(&[CUT, ROT])).unwrap_err().contains("another version"));
    let renamed = Scenario { name: "other".to_owned(), ..one };
    assert!(plan.belongs_to(&renamed).unwrap_err().contains("from scenario `example`, not from `other`"));
}

#[test]
fn a_comment_does_not_change_a_scenario_and_a_value_does() {
    let one = scenario(&[CUT]).content_hash();
    let commented = Scenario::parse("example.toml", &format!("# a story\n{BASE}{CUT}")).unwrap();
    let changed = Scenario::parse("example.toml", &format!("{BASE}{}", CUT.replace("2s", "3s"))).unwrap();
    assert_eq!(one, commented.content_hash());
    assert_ne!(one, changed.content_hash());
}
