//! Failures of a sweep that look alike are one.

use crate::exit::Class;
use crate::run::RunReport;
use serde::{Deserialize, Serialize};

/// How many seeds a cluster keeps: the lowest, so that merging in any order keeps the same.
pub const SEEDS_MAX: usize = 16;

/// A seed of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeedOf {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
}

/// Failures with the same class, anomaly and checker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub class: Class,
    /// The anomaly; of a crash, the first line of the panic.
    pub anomaly: String,
    /// The checker, empty when none is involved.
    pub checker: String,
    /// How many runs failed so.
    pub runs: u64,
    /// The lowest of them, ascending, at most [`SEEDS_MAX`].
    pub seeds: Vec<SeedOf>,
    /// What the first of them says.
    pub message: String,
    /// The command that repeats the first of them.
    pub reproduce: String,
}

impl Failure {
    /// Of one run that did not pass.
    pub fn of(run: &RunReport) -> Failure {
        let class = run.effective_class();
        let (anomaly, message) = match (class, &run.crash, run.violations.first()) {
            (Class::NonDeterminism, _, _) => ("diverged".to_string(), run.verdict.clone()),
            (Class::Crash, Some(crash), _) => {
                let first = crash.message.lines().next().unwrap_or_default();
                (digits_out(first), crash.message.clone())
            }
            (_, _, Some(violation)) => (violation.anomaly.clone(), violation.message.clone()),
            _ => (run.anomaly.clone().unwrap_or_default(), run.verdict.clone()),
        };
        let checker = match class {
            Class::Safety | Class::Liveness => run.checker().unwrap_or_default().to_string(),
            _ => String::new(),
        };
        Failure {
            class,
            anomaly,
            checker,
            runs: 1,
            seeds: vec![SeedOf { scenario: run.scenario.clone(), seed: run.seed }],
            message,
            reproduce: run.reproduce.clone(),
        }
    }

    /// What makes two failures one.
    pub fn key(&self) -> (Class, &str, &str) {
        (self.class, &self.anomaly, &self.checker)
    }

    /// Takes in another failure with the same key.
    pub fn absorb(&mut self, other: Failure) {
        assert_eq!(self.key(), other.key(), "failures of different clusters");
        if other.seeds.first() < self.seeds.first() {
            (self.message, self.reproduce) = (other.message, other.reproduce);
        }
        self.runs += other.runs;
        self.seeds.extend(other.seeds);
        self.seeds.sort();
        self.seeds.dedup();
        self.seeds.truncate(SEEDS_MAX);
    }
}

/// Panics differ in offsets and counts; what they mean does not.
fn digits_out(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !out.ends_with('#') {
            out.push(c);
        }
    }
    out
}
