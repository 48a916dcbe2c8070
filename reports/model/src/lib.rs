//! What a run and a sweep report: versioned JSON, exit codes, and the words that people read.
//!
//! A report says what was found; it never decides it. The verdict is in the report before rendering begins, and
//! rendering is the same for a person's terminal, a log file and a machine.

mod build;
mod cluster;
mod exit;
mod failure;
mod run;
mod sweep;
mod text;
mod wrap;

pub use build::Build;
pub use cluster::{Failure, SEEDS_MAX, SeedOf};
pub use exit::{Class, ExitCode};
pub use failure::{BLOCK_LINES_MAX, failure_block};
pub use run::{Crash, FaultLine, Lacking, ReadError, Replay, RunReport, SCHEMA, Target, Violation};
pub use sweep::{Expectation, ScenarioTotals, SweepReport, Totals};
pub use text::{Paint, duration, run_summary, sweep_summary};
