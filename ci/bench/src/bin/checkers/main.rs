//! The checkers on a synthetic history: records per second over all of them together, and the memory that they need.
//!
//! | phase | what runs |
//! |---|---|
//! | generate | the history is made and thrown away |
//! | check | the same history goes through every checker |
//!
//! A figure is records by the time of the second without that of the first. Every record is sent, acknowledged, read
//! by a tailing reader and read again by the full re-read at the end; it counts once.
//!
//! `cargo run --release -p burnin-bench --bin checkers -- --records 100000000`

mod history;

use burnin_bench::{Format, median, short, timed};
use burnin_checkers::CheckSet;
use burnin_history::{Event, Moment, Sink};
use clap::Parser;
use history::{RUN, Shape};
use serde_json::json;

#[derive(Parser)]
#[command(about = "Measures the checkers on a synthetic history.")]
struct Options {
    /// How the figures are printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// How many records are sent.
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// How often it is repeated; the figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// Partitions.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// Producers; each writes to all partitions.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    producers: u32,
    /// Records in a produced batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// One operation in so many has an unknown outcome (0: none).
    #[arg(long, default_value_t = 1_000)]
    maybe: u64,
}

/// Takes a history in and forgets it.
#[derive(Default)]
struct Forget {
    records: u64,
}

impl Sink for Forget {
    fn record(&mut self, _: Moment, event: &Event<'_>) {
        if let Event::Polled { records, .. } = event {
            self.records += std::hint::black_box(records).len() as u64;
        }
    }
}

fn main() {
    let options = Options::parse();
    let Options { records, partitions, producers, batch, maybe, .. } = options;
    let shape = Shape { records, partitions, producers, batch, maybe };
    let (mut generated, mut checked) = (Vec::new(), Vec::new());
    let mut facts = 0;
    for _ in 0..options.reps {
        generated.push(timed(|| shape.write(&mut Forget::default())).0.cpu);
        let (spent, end_and_set) = timed(|| {
            let mut set = CheckSet::new(RUN);
            let end = shape.write(&mut set);
            (end, set)
        });
        checked.push(spent.cpu);
        let (end, mut set) = end_and_set;
        let verdict = set.finish(end);
        assert!(verdict.passed(), "the checkers found something in a lawful history: {verdict:#?}");
        facts = verdict.checked_count();
    }
    let (generate, both) = (median(&generated), median(&checked));
    let check = both - generate;
    let rate = records as f64 / check;
    let memory = peak_resident_kib();
    match options.format {
        Format::Text => {
            println!("{records} records, {partitions} partitions, {producers} producers, batches of {batch}");
            println!("generate  {generate:8.3} s");
            println!("check     {check:8.3} s  {} records/s/core  {facts} facts", short(rate));
            println!("VmHWM     {:8.1} MiB", memory as f64 / 1024.0);
        }
        Format::Json => println!(
            "{}",
            json!({
                "benchmark": "checkers",
                "records": records,
                "partitions": partitions,
                "producers": producers,
                "batch": batch,
                "generate_cpu_s": generate,
                "check_cpu_s": check,
                "records_per_cpu_s": rate,
                "facts_checked": facts,
                "vm_hwm_kib": memory,
            })
        ),
    }
}

/// The most memory that was resident, as the kernel tells it.
fn peak_resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process's memory");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
    number.expect("VmHWM is a number of KiB")
}
