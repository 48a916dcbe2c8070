//! The command line of Burnin. What each verb does is in `verbs/`; [`main`] reads the arguments and turns
//! what came out into an exit code.
//!
//! Plans are run in worker processes (`pool.rs`, `worker.rs`): a run that aborts or hangs takes its worker
//! with it and nothing else. A failure is run again in a fresh process before it is reported (`audit.rs`).

mod args;
mod audit;
mod exec;
mod interrupt;
mod output;
mod pool;
mod progress;
mod run_dir;
mod select;
mod simulation;
mod verbs;
mod worker;

pub use exec::{Execute, Job, Outcome};
pub use simulation::in_simulation;

use args::{Cli, Verb};
use burnin_report::Build;
use clap::{CommandFactory, FromArgMatches};
use output::Output;
use std::process::ExitCode;
use std::sync::LazyLock;

/// What `--version` says.
static BUILD: LazyLock<String> = LazyLock::new(|| Build::current().to_string());

/// The program, with `execute` to run a plan.
pub fn main(execute: Execute) -> ExitCode {
    let command = Cli::command().long_version(BUILD.as_str());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let output = Output::new(&cli.global);
    let result = match &cli.verb {
        Verb::Run(args) => verbs::run::run(args, &output),
        Verb::Sweep(args) => verbs::sweep::sweep(args, &output),
        Verb::Replay(args) => verbs::replay::replay(args, &output),
        Verb::Meta(args) => verbs::meta::meta(args, &output),
        Verb::Scenario(args) => verbs::scenario::scenario(args, &output),
        Verb::Doctor(args) => verbs::doctor::doctor(args, &output),
        Verb::Worker => worker::serve(execute),
    };
    let code = result.unwrap_or_else(|stop| {
        output.stop(&stop);
        stop.code
    });
    ExitCode::from(code)
}
