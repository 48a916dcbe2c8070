//! What can be said on the command line. Every flag can also be given as `BURNIN_<FLAG>`.

use crate::embedded;
use burnin_scenario::{Dur, Probability, Seed, Seeds, Shard};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

const AFTER: &str = "Exit codes: 0 passed, 1 internal error, 2 usage or scenario error, 3 environment, 4 nothing ran, \
10 safety violated, 11 liveness violated, 12 crash, 13 non-determinism, 14 unknown, 15 coverage, 20 not reproduced, \
130 and 143 interrupted (partial results are written).";

/// Proves by seed that a broker keeps what it acknowledged.
#[derive(Debug, Parser)]
#[command(name = "burnin", bin_name = "burnin", version, max_term_width = 100, after_help = AFTER)]
#[command(subcommand_required = true, arg_required_else_help = true, infer_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb.
#[derive(Debug, Args)]
pub struct Global {
    /// How results are printed: for people, as one JSON document, or as a JSON line for each event
    #[arg(
        long,
        value_enum,
        default_value = "text",
        env = "BURNIN_FORMAT",
        global = true,
        help_heading = "Output"
    )]
    pub format: Format,
    /// Whether to use colours (NO_COLOR is honoured)
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "BURNIN_COLOR",
        global = true,
        help_heading = "Output"
    )]
    pub color: Color,
    /// Print results only, no progress
    #[arg(short, long, env = "BURNIN_QUIET", value_parser = FalseyValueParser::new(), global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Print more: the schedule of a run, each run of a sweep
    #[arg(short, long, action = ArgAction::Count, env = "BURNIN_VERBOSE", global = true, help_heading = "Output")]
    pub verbose: u8,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON document at the end
    Json,
    /// A JSON line for each event
    Jsonl,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a scenario for one seed
    Run(RunArgs),
    /// Run scenarios for many seeds
    Sweep(SweepArgs),
    /// Run a recorded run, a plan or SCENARIO@SEED again
    Replay(ReplayArgs),
    /// Prove determinism: each seed twice, in two processes
    Meta(MetaArgs),
    /// Check, list and describe scenario files
    Scenario(ScenarioArgs),
    /// Measure how well planted bugs are found
    Zoo(ZooArgs),
    /// Show what this machine has and lacks
    Doctor(DoctorArgs),
    /// Run plans from standard input (used by the other verbs)
    #[command(hide = true)]
    Worker,
}

/// Changes to a scenario.
#[derive(Debug, Args)]
pub struct Overrides {
    /// Change a value of the scenario, as in run.duration=10s or workload.writers.rate=50/s; may be repeated
    #[arg(long, value_name = "KEY=VALUE", env = "BURNIN_SET", value_delimiter = ';')]
    pub set: Vec<Override>,
}

/// A key path and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override(pub String, pub String);

impl FromStr for Override {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Override(key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("`{text}` is not KEY=VALUE (write it like run.duration=10s)")),
        }
    }
}

impl Overrides {
    /// As pairs.
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.set.iter().map(|Override(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Where plans run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Where it runs: in the simulator, or on real broker processes of this machine
    #[arg(long, value_enum, default_value = "sim", env = "BURNIN_TARGET")]
    pub target: TargetChoice,
    /// With --target process: the broker's program [default: burnin-broker beside this program]
    #[arg(long, value_name = "PATH", env = "BURNIN_BROKER")]
    pub broker: Option<PathBuf>,
}

/// Where a plan can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetChoice {
    /// The simulated cluster
    Sim,
    /// Real processes; what they cannot do is skipped and named
    Process,
}

/// Where results go and how long a run may take.
#[derive(Debug, Args)]
pub struct Limits {
    /// Directory for run directories
    #[arg(long, value_name = "DIR", default_value = "target/burnin", env = "BURNIN_REPORT")]
    pub report: PathBuf,
    #[command(flatten)]
    pub run: RunLimit,
}

/// How long a run may take.
#[derive(Debug, Args)]
pub struct RunLimit {
    /// CPU time after which a single run is given up as unknown, or when it does nothing for so long; on real
    /// processes wall-clock time, and the plan's own comes on top
    #[arg(
        long = "run-limit",
        alias = "wall-limit",
        value_name = "DURATION",
        default_value = "2m",
        env = "BURNIN_RUN_LIMIT"
    )]
    pub limit: Dur,
}

/// `burnin run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenario file; replicated-cluster is in the program
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// Seed: a number (decimal, or hexadecimal with 0x), or "random"
    #[arg(
        long,
        value_name = "SEED",
        default_value = "random",
        env = "BURNIN_SEED",
        allow_negative_numbers = true
    )]
    pub seed: SeedChoice,
    /// Leave the bug out that the scenario plants
    #[arg(long, env = "BURNIN_UNARMED", value_parser = FalseyValueParser::new())]
    pub unarmed: bool,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub overrides: Overrides,
    #[command(flatten)]
    pub limits: Limits,
}

/// A seed or the wish for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedChoice {
    /// This one.
    Given(Seed),
    /// Any.
    Random,
}

impl FromStr for SeedChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "random" => Ok(SeedChoice::Random),
            number => {
                number.parse().map(SeedChoice::Given).map_err(|error| format!("{error}, or \"random\""))
            }
        }
    }
}

/// `burnin sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Scenario files, or directories of them; replicated-cluster is in the program
    #[arg(value_name = "SCENARIO", default_value = embedded::NAME)]
    pub scenarios: Vec<PathBuf>,
    /// Seeds for each scenario: a count (100), a range without its end (1000..2000) or a list (7,9,11)
    /// [default: 100, or without an end with --for]
    #[arg(long, value_name = "SEEDS", env = "BURNIN_SEEDS")]
    pub seeds: Option<Seeds>,
    /// Stop after this wall-clock time; without --seeds there is no other end
    #[arg(long = "for", value_name = "DURATION", env = "BURNIN_FOR")]
    pub time: Option<Dur>,
    /// Runs at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", env = "BURNIN_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Take only part K of N of the seeds; by default read from the environment of Kubernetes indexed jobs,
    /// Slurm and AWS Batch arrays and GitLab's parallel jobs
    #[arg(long, value_name = "K/N", env = "BURNIN_SHARD")]
    pub shard: Option<Shard>,
    /// Only scenarios with this tag; may be repeated
    #[arg(long, value_name = "TAG", env = "BURNIN_TAG")]
    pub tag: Vec<String>,
    /// Stop at the first failure
    #[arg(long, env = "BURNIN_FAIL_FAST", value_parser = FalseyValueParser::new())]
    pub fail_fast: bool,
    /// How many failures get a run directory; all are counted
    #[arg(long, value_name = "N", default_value = "10", env = "BURNIN_KEEP_FAILURES")]
    pub keep_failures: usize,
    /// What part of the seeds that passed is run once more, in a fresh process, to compare traces (simulator)
    #[arg(long, value_name = "SHARE", default_value = "5%", env = "BURNIN_CHECK_DETERMINISM")]
    pub check_determinism: Probability,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub overrides: Overrides,
    #[command(flatten)]
    pub limits: Limits,
}

/// `burnin replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A run directory, a resolved.toml, or SCENARIO@SEED
    #[arg(value_name = "WHAT")]
    pub what: String,
    /// The scenario that the plan must belong to
    #[arg(long, value_name = "SCENARIO", env = "BURNIN_SCENARIO")]
    pub scenario: Option<PathBuf>,
    /// Leave the bug out that the scenario plants
    #[arg(long, env = "BURNIN_UNARMED", value_parser = FalseyValueParser::new())]
    pub unarmed: bool,
    #[command(flatten)]
    pub overrides: Overrides,
    #[command(flatten)]
    pub limits: Limits,
}

/// `burnin meta`.
#[derive(Debug, Args)]
pub struct MetaArgs {
    /// Scenario files, or directories of them; replicated-cluster is in the program
    #[arg(value_name = "SCENARIO", default_value = embedded::NAME)]
    pub scenarios: Vec<PathBuf>,
    /// Seeds for each scenario: a count (100), a range without its end (1000..2000) or a list (7,9,11)
    #[arg(long, value_name = "SEEDS", default_value = "20", env = "BURNIN_SEEDS")]
    pub seeds: Seeds,
    /// Runs at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", env = "BURNIN_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    #[command(flatten)]
    pub overrides: Overrides,
    #[command(flatten)]
    pub limits: Limits,
}

/// `burnin scenario`.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    #[command(subcommand)]
    pub verb: ScenarioVerb,
}

/// What to do with scenario files.
#[derive(Debug, Subcommand)]
pub enum ScenarioVerb {
    /// Check files and show every error
    Lint {
        /// Scenario files, or directories of them
        #[arg(value_name = "SCENARIO", required = true)]
        scenarios: Vec<PathBuf>,
    },
    /// List what there is
    List {
        /// Directories, or files
        #[arg(value_name = "DIR", default_value = "scenarios")]
        scenarios: Vec<PathBuf>,
        /// Only scenarios with this tag; may be repeated
        #[arg(long, value_name = "TAG", env = "BURNIN_TAG")]
        tag: Vec<String>,
    },
    /// Print the JSON Schema of scenario files
    Schema,
    /// Print the plan of a scenario for a seed
    Resolve {
        /// Scenario file
        #[arg(value_name = "SCENARIO")]
        scenario: PathBuf,
        /// Seed
        #[arg(long, value_name = "SEED", env = "BURNIN_SEED")]
        seed: Seed,
        #[command(flatten)]
        overrides: Overrides,
    },
}

/// `burnin zoo`.
#[derive(Debug, Args)]
pub struct ZooArgs {
    /// Number of a planted bug, as in Q02
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// All of them
    #[arg(long, env = "BURNIN_ALL", value_parser = FalseyValueParser::new())]
    pub all: bool,
    /// Scenarios in which they are armed, or directories of them; may be repeated
    #[arg(
        long = "scenario",
        value_name = "SCENARIO",
        default_values = ["scenarios/smoke", "scenarios/replication"],
        env = "BURNIN_SCENARIOS",
        value_delimiter = ';'
    )]
    pub scenarios: Vec<PathBuf>,
    /// Only scenarios with this tag; may be repeated
    #[arg(long, value_name = "TAG", env = "BURNIN_TAG")]
    pub tag: Vec<String>,
    /// Give a bug up after so many runs
    #[arg(long, value_name = "N", default_value = "1000", env = "BURNIN_SEEDS")]
    pub seeds: u64,
    /// Runs to measure the rate of detection, also when it was found earlier
    #[arg(long, value_name = "N", default_value = "50", env = "BURNIN_MORE")]
    pub more: u64,
    /// Bugs measured at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", env = "BURNIN_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    #[command(flatten)]
    pub run: RunLimit,
    /// Where to write the table, as docs/zoo.md
    #[arg(long, value_name = "FILE", env = "BURNIN_TABLE")]
    pub table: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `burnin doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Directory for run directories
    #[arg(long, value_name = "DIR", default_value = "target/burnin", env = "BURNIN_REPORT")]
    pub report: PathBuf,
}
