//! The report of one run: versioned, plain data.

use crate::build::Build;
use crate::exit::{Class, ExitCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The version of the JSON. It goes up when a field changes its meaning or goes away; new fields do not raise it, and
/// unknown ones are ignored.
pub const SCHEMA: u32 = 1;

/// See the module. Times are nanoseconds; hashes are hexadecimal text, because JSON's numbers lose bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// On what it ran.
    #[serde(default)]
    pub target: Target,
    /// How it ended.
    pub class: Class,
    /// The name of the first violation's anomaly, if any.
    pub anomaly: Option<String>,
    /// One sentence: what the class rests on.
    pub verdict: String,
    /// The violations that were kept.
    pub violations: Vec<Violation>,
    /// How many there were, kept or not.
    pub violations_found: u64,
    /// The panic, when the class is crash.
    pub crash: Option<Crash>,
    /// How many facts each checker checked.
    pub checked: BTreeMap<String, u64>,
    /// How often each event that scenarios ask about (`sometimes`) happened.
    #[serde(default)]
    pub happened: BTreeMap<String, u64>,
    /// Brokers in the run.
    pub brokers: u32,
    /// Clients in the run.
    pub clients: u32,
    /// Simulated time.
    pub sim_ns: u64,
    /// Wall-clock time.
    pub wall_ns: u64,
    /// CPU time of the process.
    pub cpu_ns: u64,
    /// Kafka requests answered.
    pub requests: u64,
    /// Records acknowledged.
    pub records: u64,
    /// Steps of the engine.
    pub events: u64,
    /// The hash of all steps.
    pub trace_hash: String,
    /// The resolved schedule.
    pub faults: Vec<FaultLine>,
    /// What could not be judged or was not done, and why.
    pub skipped: Vec<String>,
    /// What the target cannot do, and what was left out because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Lacking>,
    /// The second run of a failure, in a fresh process.
    pub verified: Option<Replay>,
    /// The command that repeats this run.
    pub reproduce: String,
    /// The run directory, if one was written.
    pub directory: Option<String>,
    /// Which build it was.
    pub build: Build,
}

/// On what a run ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The simulated cluster.
    #[default]
    Sim,
    /// Real broker processes on this machine.
    Process,
}

impl Target {
    /// Its name, as `--target` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Target::Sim => "sim",
            Target::Process => "process",
        }
    }
}

/// A capability that the target lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// Its name in scenarios: `net`, `power`, ...
    pub capability: String,
    /// The faults and checks that were left out.
    pub skipped: Vec<String>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// `B2`, `W4`, ...
    pub checker: String,
    /// `lost-write`, ...
    pub anomaly: String,
    /// Safety or liveness.
    pub class: Class,
    /// When it was noticed.
    pub at_ns: u64,
    /// The contradicting facts.
    pub message: String,
    /// `topic-number`.
    pub partition: Option<String>,
    /// The offset.
    pub offset: Option<i64>,
    /// The record's producer.
    pub producer: Option<u32>,
    /// The record's sequence.
    pub seq: Option<u64>,
}

/// A panic of the system under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// On which node.
    pub node: String,
    /// In which task.
    pub task: String,
    /// What it said.
    pub message: String,
    /// When.
    pub at_ns: u64,
    /// At which step of the engine.
    pub event: u64,
}

/// One line of the resolved schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultLine {
    /// When it was due.
    pub at_ns: u64,
    /// For how long; `None`: an instant, or to the end.
    pub for_ns: Option<u64>,
    /// `process.power_loss`, `net.partition`, ...
    pub kind: String,
    /// What it hit, in words: `broker 1`, `{2} | {1,3}`.
    pub target: String,
    /// Whether it was applied.
    pub fired: bool,
}

/// What the replay of a failure in a fresh process gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Its trace hash.
    pub trace_hash: String,
    /// Whether hash, class and anomaly are the same.
    pub same: bool,
    /// The first step that differs, when it is known.
    pub diverged_at_event: Option<u64>,
}

/// Why a report cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is not JSON of this shape.
    Malformed(serde_json::Error),
    /// It was written by a newer burnin.
    Newer {
        /// The schema that it has.
        schema: u64,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Malformed(error) => write!(f, "the report is malformed: {error}"),
            ReadError::Newer { schema } => {
                write!(f, "the report has schema {schema}, this burnin knows schemas up to {SCHEMA}")
            }
        }
    }
}

impl std::error::Error for ReadError {}

impl RunReport {
    /// Reads a report of this schema or an older one.
    ///
    /// # Errors
    /// When it is malformed or newer.
    pub fn from_json(json: &str) -> Result<RunReport, ReadError> {
        read(json)
    }

    /// As JSON on several lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    /// The exit code of a command that made this run only.
    pub fn exit_code(&self) -> ExitCode {
        self.effective_class().exit_code()
    }

    /// The class, unless the replay of a failure gave something else: then nothing but that is claimed.
    pub fn effective_class(&self) -> Class {
        match &self.verified {
            Some(replay) if !replay.same => Class::NonDeterminism,
            _ => self.class,
        }
    }

    /// The checker of the first violation.
    pub fn checker(&self) -> Option<&str> {
        self.violations.first().map(|violation| violation.checker.as_str())
    }

    /// How many faults of the schedule were applied.
    pub fn fired_count(&self) -> usize {
        self.faults.iter().filter(|fault| fault.fired).count()
    }
}

/// Reads JSON that has a `schema`.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(json: &str) -> Result<T, ReadError> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(ReadError::Malformed)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema > u64::from(SCHEMA) => Err(ReadError::Newer { schema }),
        _ => serde_json::from_value(value).map_err(ReadError::Malformed),
    }
}
