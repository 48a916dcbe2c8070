//! The command line of Burnin. What each verb does is in `verbs/`; [`main`] reads the arguments and turns
//! what came out into an exit code.
//!
//! Plans are run in worker processes (`pool.rs`, `worker.rs`): a run that aborts or hangs takes its worker
//! with it and nothing else. A failure is run again in a fresh process before it is reported (`audit.rs`).

mod args;
mod audit;
mod embedded;
mod exec;
mod interrupt;
mod limit;
mod output;
mod place;
mod pool;
mod progress;
mod run;
mod run_dir;
mod select;
mod verbs;
mod work_dir;
mod worker;

pub use exec::{Execute, Job, Outcome, Place};
pub use run::execute;

use args::{Cli, Verb};
use burnin_report::Build;
use clap::{CommandFactory, FromArgMatches};
use output::Output;
use std::process::ExitCode;
use std::sync::LazyLock;

/// What `--version` says.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    // The parser puts the program's name before it.
    let build = Build::current().to_string();
    build.strip_prefix("burnin ").map_or_else(|| build.clone(), str::to_string)
});

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
        Verb::Zoo(args) => verbs::zoo::zoo(args, &output),
        Verb::Doctor(args) => verbs::doctor::doctor(args, &output),
        Verb::Worker => worker::serve(execute),
    };
    let code = result.unwrap_or_else(|stop| {
        output.stop(&stop);
        stop.code
    });
    ExitCode::from(code)
}
