//! Every error that a file can have: what people read, held by snapshots.

use burnin_runtime::Mutant;
use burnin_scenario::Scenario;

/// A scenario without mistakes, to which each test adds some.
const GOOD: &str = r#"schema  = 1
name    = "example"
summary = "An example"

[run]
duration = "10s"

[topology]
[[topology.topic]]
name = "orders"
partitions = 3

[[workload]]
id = "writers"
kind = "append-unique"
topics = ["orders"]
rate = "100/s"

[[fault]]
id = "kills"
kind = "process.kill"
every = { mean = "2s" }
for = "1s"

[[check]]
id = "log"
kind = "kafka.log"
all = true
"#;

fn errors(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good scenario holds {from}");
    let text = GOOD.replacen(from, to, 1);
    Scenario::parse("example.toml", &text).expect_err("a scenario with a mistake").to_string()
}

#[test]
fn a_good_scenario_has_no_errors() {
    Scenario::parse("example.toml", GOOD).unwrap();
}

#[test]
fn every_error_of_a_file_is_shown_with_its_lines() {
    let text = GOOD
        .replace("duration", "durration")
        .replace("process.kill", "proces.kill")
        .replace("100/s", "100")
        .replace("partitions = 3", "partitions = \"three\"");
    let problems = Scenario::parse("example.toml", &text).unwrap_err();
    insta::assert_snapshot!(problems.render(100, false));
}

#[test]
fn one_line_errors() {
    let cases = [
        ("schema  = 1", "schema  = 2"),
        ("name    = \"example\"", "name    = \"An Example\""),
        ("summary = \"An example\"", ""),
        ("duration = \"10s\"", "duration = 10"),
        ("duration = \"10s\"", "duration = \"10 parsecs\""),
        ("duration = \"10s\"", "duration = \"0s\""),
        ("duration = \"10s\"", "duration = \"10s\"\nstop_on = \"first-safty\""),
        ("[topology]", "[budget]\nbrokers_impaired = 2\n[topology]"),
        ("[topology]", "[topology]\nbrokers = \"5..3\""),
        ("[topology]", "[topology]\nbrokers = 9"),
        ("[topology]", "[topology]\ncontrollers = \"none\""),
        ("[topology]", "[topology]\nproperties = { \"num.partitions\" = [3] }"),
        ("[topology]", "[topology]\nproperties = { \"num.partitions\" = { any = 3 } }"),
        ("[topology]", "[topology]\nproperties = { \"num.partitions\" = { any = [3] } }"),
        ("[topology]", "[topology]\nproperties = { \"num.partitions\" = { any = [3, [4]] } }"),
        ("[topology]", "[topology]\nproperties = { \"num.partitions\" = { one = [3, 4] } }"),
        ("partitions = 3", "partitions = 0"),
        ("partitions = 3", "partitions = 3\nreplication_factor = 3"),
        ("name = \"orders\"", "name = \"or ders\""),
        ("kind = \"append-unique\"", "kind = \"apend-unique\""),
        ("kind = \"append-unique\"\n", ""),
        ("kind = \"append-unique\"", "kind = \"poll\""),
        ("topics = [\"orders\"]", "topics = [\"order\"]"),
        ("topics = [\"orders\"]", "topics = []"),
        ("rate = \"100/s\"", "rate = \"0/s\""),
        ("rate = \"100/s\"", "rate = \"closed(0)\""),
        ("rate = \"100/s\"", "rate = \"closed(all)\""),
        ("rate = \"100/s\"", "rate = \"100/s\"\nrecord_size = \"1B\""),
        ("rate = \"100/s\"", "rate = \"100/s\"\nrecord_size = \"100\""),
        ("rate = \"100/s\"", "rate = \"100/s\"\nproperties = { ack = \"all\" }"),
        ("rate = \"100/s\"", "rate = \"100/s\"\nproperties = { acks = 2 }"),
        ("rate = \"100/s\"", "rate = \"100/s\"\nproperties = { acks = 1, \"enable.idempotence\" = true }"),
        ("rate = \"100/s\"", "rate = \"100/s\"\nproperties = { \"delivery.timeout.ms\" = 100 }"),
        ("rate = \"100/s\"", "rate = \"100/s\"\nproperties = { \"compression.type\" = \"lzma\" }"),
        ("for = \"1s\"", ""),
        ("for = \"1s\"", "for = \"5s..1s\""),
        ("for = \"1s\"", "for = \"1s\"\non = \"any(broke)\""),
        ("for = \"1s\"", "for = \"1s\"\non = \"broker(2)\""),
        ("for = \"1s\"", "for = \"1s\"\non = \"leader(payments/0)\""),
        ("for = \"1s\"", "for = \"1s\"\non = \"leader(orders/7)\""),
        ("for = \"1s\"", "for = \"1s\"\non = \"clients\""),
        ("for = \"1s\"", "for = \"1s\"\nprobability = 1.5"),
        ("for = \"1s\"", "for = \"1s\"\nat = \"20s\""),
        ("for = \"1s\"", "for = \"1s\"\nwith = \"cuts\""),
        ("for = \"1s\"", "for = \"1s\"\nafter_end = \"1s\""),
        ("for = \"1s\"", "for = \"1s\"\nfactor = 10"),
        ("every = { mean = \"2s\" }", "every = { mean = \"2s\", dist = \"gauss\" }"),
        ("every = { mean = \"2s\" }", "with = \"kills\""),
        (
            "kind = \"process.kill\"\nevery = { mean = \"2s\" }\nfor = \"1s\"",
            "kind = \"net.reset\"\nfor = \"1s\"",
        ),
        ("kind = \"process.kill\"", "kind = \"disk.slow\"\nfactor = 1"),
        ("kind = \"process.kill\"", "kind = \"disk.bit_rot\"\nfiles = [\"logs\"]"),
        ("kind = \"process.kill\"", "kind = \"net.partition\"\nshape = \"ring\""),
        ("kind = \"process.kill\"", "kind = \"net.partition\"\nbetween = [\"clients\"]"),
        ("all = true", ""),
        ("all = true", "forbid = [\"lost-writes\"]"),
        ("kind = \"kafka.log\"\nall = true", "kind = \"progress\"\nwithin = \"5m\""),
        ("kind = \"kafka.log\"\nall = true", "kind = \"sometimes\"\nevent = \"fault:kill\""),
        ("all = true", "all = true\n[expect]\nmutant = \"S99\"\nanomaly = \"lost-write\"\nchecker = \"B2\""),
        ("all = true", "all = true\n[expect]\nmutant = \"S01\"\nanomaly = \"duplicate\"\nchecker = \"B2\""),
        ("all = true", "all = true\n[expect]\nnear_miss = true\nanomaly = \"lost-write\""),
        ("all = true", "all = true\n[expect]\nanomaly = \"lost-write\""),
        ("[[check]]", "[[check]"),
    ];
    let mut shown = String::new();
    for (from, to) in cases {
        let added = to.strip_prefix(from).unwrap_or(to).trim().replace('\n', " ⏎ ");
        let added = if added.is_empty() { format!("without {}", from.replace('\n', " ⏎ ")) } else { added };
        shown.push_str(&format!("{added}\n    {}\n", errors(from, to).replace('\n', "\n    ")));
    }
    // What the list of planted bugs is today is not what this is about.
    let mutants: Vec<String> = Mutant::ALL.iter().map(Mutant::to_string).collect();
    insta::assert_snapshot!(shown.replace(&mutants.join(", "), "[every mutant]"));
}
