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
    /// Liveness: no time is longer than this in which some partition had no leader that is alive and serves. (The time
    /// in which a dead leader is not noticed belongs to it: `broker.session.timeout.ms`.)
    #[serde(rename = "failover")]
    Failover {
        /// At most this time.
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

/// Events that a `sometimes` check can ask for, besides `fault:ID` and `admin:OPERATION`.
pub const EVENTS: [&str; 13] = [
    "recovered-unclean",
    "recovered-clean",
    "log-truncated",
    "log-start-advanced",
    "log-dir-offline",
    "snapshot-taken",
    "snapshot-fetched",
    "metadata-version-raised",
    "voter-removed",
    "voter-added",
    "attempt-retried",
    "outcome-maybe",
    "mutant-reached",
];
