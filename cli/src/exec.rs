//! The seam between the command line and what runs a plan.

use burnin_report::{Build, Class, Crash, RunReport, SCHEMA, Target};
use burnin_scenario::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// On what a job runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Place {
    /// The simulated cluster.
    #[default]
    Sim,
    /// Processes of this program, which write into this directory.
    Process {
        /// The broker's program.
        broker: PathBuf,
        /// Where everything goes that they write.
        directory: PathBuf,
    },
}

impl Place {
    /// As reports name it.
    pub fn target(&self) -> Target {
        match self {
            Place::Sim => Target::Sim,
            Place::Process { .. } => Target::Process,
        }
    }
}

/// A plan to run, and what to keep of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The plan.
    pub plan: Plan,
    /// On what it runs.
    #[serde(default)]
    pub place: Place,
    /// Whether the planted bug of the plan's expectation is armed.
    pub armed: bool,
    /// Where the nodes' logs go.
    pub log: Option<PathBuf>,
    /// The events of the trace to write down: the first, and the one behind the last.
    pub window: Option<(u64, u64)>,
}

impl Job {
    /// Runs the plan as it is.
    pub fn new(plan: Plan) -> Job {
        Job { plan, place: Place::Sim, armed: true, log: None, window: None }
    }

    /// The report of a run that cannot speak for itself.
    pub fn report(&self, class: Class, anomaly: &str, verdict: String) -> RunReport {
        let crash = (class == Class::Crash).then(|| Crash {
            node: "the process".to_owned(),
            task: "unknown".to_owned(),
            message: verdict.clone(),
            at_ns: 0,
            event: 0,
        });
        RunReport {
            schema: SCHEMA,
            scenario: self.plan.scenario.clone(),
            seed: self.plan.seed.0,
            target: self.place.target(),
            class,
            anomaly: Some(anomaly.to_owned()),
            verdict,
            violations: Vec::new(),
            violations_found: 0,
            crash,
            checked: BTreeMap::new(),
            happened: BTreeMap::new(),
            brokers: self.plan.topology.brokers,
            clients: self.plan.topology.clients,
            sim_ns: 0,
            wall_ns: 0,
            cpu_ns: 0,
            requests: 0,
            records: 0,
            events: 0,
            trace_hash: "none".to_owned(),
            faults: Vec::new(),
            skipped: Vec::new(),
            lacking: Vec::new(),
            verified: None,
            reproduce: String::new(),
            directory: None,
            build: Build::current(),
        }
    }
}

/// What came out of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The report.
    pub report: RunReport,
    /// The trace's hash after each thousand events.
    pub checkpoints: Vec<u64>,
    /// The events of the window that was asked for, as text.
    pub window: Vec<String>,
}

impl From<RunReport> for Outcome {
    fn from(report: RunReport) -> Outcome {
        Outcome { report, checkpoints: Vec::new(), window: Vec::new() }
    }
}

/// Events between two checkpoints of a trace.
pub const CHECKPOINT_EVENTS: u64 = burnin_engine::CHECKPOINT_EVENTS;

/// Runs a job in the calling thread. A panic of the system under test is an outcome, not a panic.
pub type Execute = fn(&Job) -> Outcome;
