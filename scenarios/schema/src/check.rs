//! What must hold: checks, and what a scenario that tests the checkers expects to be found.

use crate::units::Dur;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name in reports.
    pub id: String,
    /// What it checks.
    #[serde(flatten)]
    pub kind: CheckKind,
}

/// What a check checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum CheckKind {
    /// Safety: anomalies of the log that must not occur. Exactly one of `all` and `forbid` is given.
    #[serde(rename = "kafka.log")]
    KafkaLog {
        /// That every anomaly is forbidden that a checker knows.
        #[serde(default)]
        all: bool,
        /// The anomalies that are forbidden.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        forbid: Vec<String>,
    },
    /// Liveness: after everything was healed, every writer is acknowledged and every reader catches up.
    #[serde(rename = "progress")]
    Progress {
        /// Within this time after the last heal.
        within: Dur,
    },
    /// Coverage: something must happen at least so often over all seeds of a sweep.
    #[serde(rename = "sometimes")]
    Sometimes {
        /// What: one of the known events, or `fault:ID` for a fault of this scenario that was applied.
        event: String,
        /// How often, over the sweep.
        #[serde(default = "once")]
        at_least: u64,
    },
}

fn once() -> u64 {
    1
}

/// For a scenario that tests the checkers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The planted bug that is armed, by its number in the bug zoo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// The setting that is wrong, in words, when no bug is planted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_setting: Option<String>,
    /// The anomaly that must be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<String>,
    /// The checker that must find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<String>,
    /// Within how many seeds.
    #[serde(default = "default_within")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub within_seeds: u64,
    /// That nothing may be found: the bug is planted, but no fault brings it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub near_miss: bool,
}

fn default_within() -> u64 {
    100
}

/// The checkers by their numbers (B: what clients can see, W: what only the simulator sees), each with the
/// anomalies that it can report, in Jepsen's words where Jepsen has one.
pub const CHECKERS: [(&str, &[&str]); 9] = [
    ("B1", &["inconsistent-offsets"]),
    ("B2", &["lost-write", "unseen"]),
    ("B3", &["duplicate", "out-of-order"]),
    ("B4", &["G0-realtime", "nonmonotonic-send"]),
    (
        "B5",
        &["poll-skip", "nonmonotonic-poll", "int-poll-skip", "int-nonmonotonic-poll", "leader-epoch-regress"],
    ),
    ("B6", &["corrupt", "foreign", "misplaced", "never-sent", "G1a"]),
    ("B13", &["stale-latest", "earliest-regress", "high-watermark-regress", "bad-offsets"]),
    ("B16", &["unreadable", "stuck"]),
    (
        "W4",
        &[
            "lost-on-recovery",
            "recovered-unknown",
            "acked-before-durable",
            "bad-append",
            "bad-flush",
            "acked-offline",
            "log-start-regress",
            "truncated-durable",
            "recovery-mismatch",
        ],
    ),
];

/// All anomalies of all checkers.
pub fn anomalies() -> Vec<&'static str> {
    CHECKERS.iter().flat_map(|(_, anomalies)| anomalies.iter().copied()).collect()
}

/// Events that a `sometimes` check can ask for, besides `fault:ID`.
pub const EVENTS: [&str; 8] = [
    "recovered-unclean",
    "recovered-clean",
    "log-truncated",
    "log-start-advanced",
    "log-dir-offline",
    "attempt-retried",
    "outcome-maybe",
    "mutant-reached",
];
