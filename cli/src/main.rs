//! `burnin`: runs plans on the simulated cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    burnin_cli::main(burnin_cli::in_simulation)
}
