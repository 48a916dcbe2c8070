//! `--target`: where plans run, and what a target needs of this machine.

use crate::args::{TargetArgs, TargetChoice};
use crate::exec::Place;
use crate::output::Stop;
use crate::work_dir::WorkDir;
use burnin_report::Target;
use std::path::{Path, PathBuf};

/// The broker's program beside ours.
const BROKER: &str = "burnin-broker";

/// A target that was chosen and is there.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// The simulated cluster.
    Sim,
    /// Processes of this program.
    Process(PathBuf),
}

impl Chosen {
    /// As the command line says. What is missing is an error.
    pub fn of(args: &TargetArgs) -> Result<Chosen, Stop> {
        match (args.target, &args.broker) {
            (TargetChoice::Sim, None) => Ok(Chosen::Sim),
            (TargetChoice::Sim, Some(_)) => Err(Stop::usage(
                "--broker names a program, and the simulator starts none (add --target process)",
            )),
            (TargetChoice::Process, Some(path)) if path.is_file() => Ok(Chosen::Process(absolute(path)?)),
            (TargetChoice::Process, Some(path)) => {
                Err(Stop::environment(format!("there is no broker program `{}` (--broker)", path.display())))
            }
            (TargetChoice::Process, None) => beside_us().map(Chosen::Process),
        }
    }

    /// As reports name it.
    pub fn target(&self) -> Target {
        match self {
            Chosen::Sim => Target::Sim,
            Chosen::Process(_) => Target::Process,
        }
    }

    /// A place for one run, with the directory that it needs.
    pub fn place(&self, report: &Path) -> Result<(Place, Option<WorkDir>), Stop> {
        match self {
            Chosen::Sim => Ok((Place::Sim, None)),
            Chosen::Process(broker) => {
                let work = WorkDir::create(report)?;
                let place = Place::Process { broker: broker.clone(), directory: work.path().to_owned() };
                Ok((place, Some(work)))
            }
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Stop> {
    std::path::absolute(path).map_err(|error| Stop::environment(format!("{}: {error}", path.display())))
}

fn beside_us() -> Result<PathBuf, Stop> {
    let us = std::env::current_exe()
        .map_err(|error| Stop::environment(format!("the program does not find itself: {error}")))?;
    let broker = us.with_file_name(BROKER);
    if broker.is_file() {
        return Ok(broker);
    }
    let release = us.parent().is_some_and(|folder| folder.ends_with("release"));
    let flag = if release { " --release" } else { "" };
    Err(Stop::environment(format!(
        "there is no broker program `{}`: build it with `cargo build{flag} -p burnin-broker`, or name one with --broker PATH",
        broker.display()
    )))
}
