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

use burnin_bench::{Format, Spent, median, resident_bytes, short, timed};
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
    ours: Figure,
    theirs: Option<Figure>,
    /// Whether a larger number is the better one.
    more_is_better: bool,
}

/// Medians by the clock and by processor time.
struct Figure {
    wall: f64,
    cpu: f64,
}

impl Row {
    /// How many times better we are by the clock.
    fn ratio(&self) -> Option<f64> {
        let theirs = self.theirs.as_ref()?.wall;
        Some(if self.more_is_better { self.ours.wall / theirs } else { theirs / self.ours.wall })
    }
}

fn main() {
    let options = Options::parse();
    let rows = [frames_row(&options), idle_row(&options), world_row(&options), leak_row()];
    match options.format {
        Format::Text => print_table(&options, &rows),
        Format::Json => print_json(&options, &rows),
    }
}

/// Both engines in turn, `reps` times after one round that does not count. `figure` makes seconds a figure.
fn alternate(
    reps: u32,
    mut ours: impl FnMut(),
    ours_figure: impl Fn(f64) -> f64,
    mut theirs: impl FnMut(),
    theirs_figure: impl Fn(f64) -> f64,
) -> (Figure, Option<Figure>) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..=reps {
        let (one, other) = (timed(&mut ours).0, timed(&mut theirs).0);
        if round > 0 {
            a.push(one);
            b.push(other);
        }
    }
    (figure(&a, ours_figure), Some(figure(&b, theirs_figure)))
}

fn figure(spent: &[Spent], figure: impl Fn(f64) -> f64) -> Figure {
    let median_of = |seconds: fn(&Spent) -> f64| median(&spent.iter().map(seconds).collect::<Vec<_>>());
    Figure { wall: figure(median_of(|spent| spent.wall)), cpu: figure(median_of(|spent| spent.cpu)) }
}

fn frames_row(options: &Options) -> Row {
    let each = options.frames / frames::FOLLOWERS;
    let rate = |seconds: f64| (each * frames::FOLLOWERS) as f64 / seconds;
    let (ours, theirs) = alternate(options.reps, || ours::frames(each), rate, || theirs::frames(each), rate);
    Row { name: "frames", unit: "frames/s", ours, theirs, more_is_better: true }
}

fn idle_row(options: &Options) -> Row {
    // Simulated seconds per repetition: each engine gets some 0.2 s of wall time.
    let (long, short) = (30_000, 20);
    let (ours, theirs) = alternate(
        options.reps,
        || ours::idle(Duration::from_secs(long)),
        |seconds| long as f64 / seconds,
        || theirs::idle(Duration::from_secs(short)),
        |seconds| short as f64 / seconds,
    );
    Row { name: "idle", unit: "simulated s/s", ours, theirs, more_is_better: true }
}

fn world_row(options: &Options) -> Row {
    let (many, few) = (2_000, 200);
    let (ours, theirs) = alternate(
        options.reps,
        || (0..many).for_each(ours::world),
        |seconds| seconds * 1e6 / f64::from(many),
        || (0..few).for_each(theirs::world),
        |seconds| seconds * 1e6 / f64::from(few),
    );
    Row { name: "world", unit: "us", ours, theirs, more_is_better: false }
}

fn leak_row() -> Row {
    const RUNS: u32 = 4_000;
    (0..RUNS / 4).for_each(|_| ours::frames(32));
    let before = resident_bytes();
    (0..RUNS).for_each(|_| ours::frames(32));
    let grown = resident_bytes().saturating_sub(before) as f64 / f64::from(RUNS);
    let ours = Figure { wall: grown, cpu: grown };
    Row { name: "leak", unit: "B/run", ours, theirs: None, more_is_better: false }
}

fn print_json(options: &Options, rows: &[Row]) {
    let figure = |figure: &Figure| json!({ "wall": figure.wall, "cpu": figure.cpu });
    let measures: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "measure": row.name, "unit": row.unit, "times_better": row.ratio(),
                "burnin": figure(&row.ours), "turmoil": row.theirs.as_ref().map(figure),
            })
        })
        .collect();
    println!("{}", json!({ "benchmark": "engine", "reps": options.reps, "measures": measures }));
}

/// `burnin` and `turmoil` are by the clock, `per cpu` is ours by processor time: what it were on an idle machine.
fn print_table(options: &Options, rows: &[Row]) {
    println!("medians of {}, both engines in one process, in turn", options.reps);
    println!(
        "{:<8} {:<14} {:>10} {:>10} {:>8} {:>10}",
        "measure", "unit", "burnin", "turmoil", "better", "per cpu"
    );
    for row in rows {
        let theirs = row.theirs.as_ref().map_or("-".to_owned(), |figure| short(figure.wall));
        let ratio = row.ratio().map_or("-".to_owned(), |ratio| format!("{}x", short(ratio)));
        let (ours, cpu) = (short(row.ours.wall), short(row.ours.cpu));
        println!("{:<8} {:<14} {ours:>10} {theirs:>10} {ratio:>8} {cpu:>10}", row.name, row.unit);
    }
}
