//! The engine beside turmoil: frames per second, idle time, worlds, leaks.
//!
//! | measure | what runs |
//! |---|---|
//! | frames | a leader sends 200-byte frames with a length prefix to two followers, 32 at a time, and reads an acknowledgement of each; links take 1 ms |
//! | idle | three nodes with a timer of 50 ms each |
//! | world | a world of three nodes is made, boots, and is dropped |
//! | leak | growth of resident memory per world in which nodes talk |
//!
//! `cargo run --release -p burnin-bench --bin engine`

mod frames;
mod ours;
mod theirs;

use burnin_bench::{Format, median, resident_bytes, short, timed};
use clap::Parser;
use serde_json::json;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Measures the simulation engine beside turmoil.")]
struct Options {
    /// How the figures are printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// How often each measure is repeated; the figures are medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// How many frames the leader sends in all.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(64..))]
    frames: u64,
}

/// A measure of both engines.
struct Row {
    name: &'static str,
    unit: &'static str,
    ours: f64,
    theirs: Option<f64>,
    /// Whether a larger number is the better one.
    more_is_better: bool,
}

impl Row {
    /// How many times better we are.
    fn ratio(&self) -> Option<f64> {
        self.theirs.map(|theirs| if self.more_is_better { self.ours / theirs } else { theirs / self.ours })
    }
}

fn main() {
    let options = Options::parse();
    let rows = [frames_row(&options), idle_row(&options), world_row(&options), leak_row()];
    match options.format {
        Format::Text => print_table(&options, &rows),
        Format::Json => {
            let measures: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "measure": row.name, "unit": row.unit, "burnin": row.ours, "turmoil": row.theirs,
                        "times_better": row.ratio(),
                    })
                })
                .collect();
            println!("{}", json!({ "benchmark": "engine", "reps": options.reps, "measures": measures }));
        }
    }
}

/// Both engines in turn, `reps` times after one round that does not count.
fn alternate(reps: u32, mut ours: impl FnMut() -> f64, mut theirs: impl FnMut() -> f64) -> (f64, f64) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..=reps {
        let (one, other) = (ours(), theirs());
        if round > 0 {
            a.push(one);
            b.push(other);
        }
    }
    (median(&a), median(&b))
}

fn frames_row(options: &Options) -> Row {
    let each = options.frames / frames::FOLLOWERS;
    let rate = |wall: Duration| (each * frames::FOLLOWERS) as f64 / wall.as_secs_f64();
    let (ours, theirs) = alternate(
        options.reps,
        || rate(timed(|| ours::frames(each)).0),
        || rate(timed(|| theirs::frames(each)).0),
    );
    Row { name: "frames", unit: "frames/s", ours, theirs: Some(theirs), more_is_better: true }
}

fn idle_row(options: &Options) -> Row {
    // Simulated seconds per repetition: each engine gets some 0.2 s of wall time.
    let (long, short) = (30_000, 20);
    let rate = |seconds: u64, wall: Duration| seconds as f64 / wall.as_secs_f64();
    let (ours, theirs) = alternate(
        options.reps,
        || rate(long, timed(|| ours::idle(Duration::from_secs(long))).0),
        || rate(short, timed(|| theirs::idle(Duration::from_secs(short))).0),
    );
    Row { name: "idle", unit: "simulated s/s", ours, theirs: Some(theirs), more_is_better: true }
}

fn world_row(options: &Options) -> Row {
    let micros = |wall: Duration, worlds: u32| wall.as_secs_f64() * 1e6 / f64::from(worlds);
    let (ours, theirs) = alternate(
        options.reps,
        || micros(timed(|| (0..2_000).for_each(ours::world)).0, 2_000),
        || micros(timed(|| (0..200).for_each(theirs::world)).0, 200),
    );
    Row { name: "world", unit: "us", ours, theirs: Some(theirs), more_is_better: false }
}

fn leak_row() -> Row {
    const RUNS: u32 = 4_000;
    let run = || {
        ours::frames(32);
    };
    (0..RUNS / 4).for_each(|_| run());
    let before = resident_bytes();
    (0..RUNS).for_each(|_| run());
    let grown = resident_bytes().saturating_sub(before);
    let ours = grown as f64 / f64::from(RUNS);
    Row { name: "leak", unit: "B/run", ours, theirs: None, more_is_better: false }
}

fn print_table(options: &Options, rows: &[Row]) {
    println!("medians of {}, both engines in one process, in turn", options.reps);
    println!("{:<8} {:<14} {:>10} {:>10} {:>8}", "measure", "unit", "burnin", "turmoil", "better");
    for row in rows {
        let theirs = row.theirs.map_or("-".to_owned(), short);
        let ratio = row.ratio().map_or("-".to_owned(), |ratio| format!("{}x", short(ratio)));
        println!("{:<8} {:<14} {:>10} {theirs:>10} {ratio:>8}", row.name, row.unit, short(row.ours));
    }
}
