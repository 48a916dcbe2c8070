//! Runs the program as its users do, with runs that are scripted by their seed (`examples/scripted.rs`).
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What came out.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Standard error, then standard output.
    pub all: String,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The scripted program.
pub fn program() -> PathBuf {
    let bin = Path::new(env!("CARGO_BIN_EXE_burnin"));
    let scripted = bin.parent().expect("a directory").join("examples/scripted");
    assert!(
        scripted.exists(),
        "{} is missing: build it with `cargo build -p burnin-cli --examples`",
        scripted.display()
    );
    scripted
}

/// A command of the scripted program in the root of the workspace, with nothing of our environment.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(root()).env_clear().env("COLUMNS", "100");
    command
}

/// Runs it.
pub fn burnin(arguments: &[&str]) -> Ran {
    finished(command(arguments).output().expect("the program runs"))
}

/// Takes the output apart.
pub fn finished(output: Output) -> Ran {
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), all: format!("{err}{out}"), out, err }
}
