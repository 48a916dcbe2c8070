//! Classes of outcome and exit codes. The codes are an API: scripts and CI engines act on them.
//!
//! | code | meaning | what a sweep in CI does |
//! |---|---|---|
//! | 0 | everything requested passed | success |
//! | 1 | internal error of burnin | retry once |
//! | 2 | usage, scenario or configuration error | fail |
//! | 3 | environment: an agent, cluster, port or disk was not available; nothing was proven | retry |
//! | 4 | nothing ran (also: the target can do nothing of it), or what ran checked nothing | fail |
//! | 10 | safety violated | fail, no retry |
//! | 11 | liveness violated | fail, no retry |
//! | 12 | crash: panic or assert in the system under test | fail, no retry |
//! | 13 | non-determinism: a replay diverged | fail, loudly |
//! | 14 | unknown: a checker gave up or timed out | configurable |
//! | 15 | coverage: something that must happen over a sweep did not | fail |
//! | 16 | performance gate | configurable |
//! | 20 | a replay did not reproduce | map to 125 for `git bisect run` |
//! | 130, 143 | interrupted; partial results were written | |

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// All checks held, and something was checked.
    Pass,
    /// Something bad happened.
    Safety,
    /// Something good did not happen in time.
    Liveness,
    /// The system under test panicked.
    Crash,
    /// The same seed gave two different runs.
    NonDeterminism,
    /// A checker could not decide.
    Unknown,
    /// Something that must happen did not.
    Coverage,
    /// A figure missed its gate.
    Performance,
    /// Nothing was checked.
    Vacuous,
    /// The target cannot do what the run is about: it was not begun.
    Skipped,
    /// Something that the run needs was not there.
    Environment,
    /// A bug of burnin itself.
    Internal,
}

impl Class {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Class::Pass => "pass",
            Class::Safety => "safety",
            Class::Liveness => "liveness",
            Class::Crash => "crash",
            Class::NonDeterminism => "non-determinism",
            Class::Unknown => "unknown",
            Class::Coverage => "coverage",
            Class::Performance => "performance",
            Class::Vacuous => "vacuous",
            Class::Skipped => "skipped",
            Class::Environment => "environment",
            Class::Internal => "internal",
        }
    }

    /// Whether there is nothing to look into.
    pub fn is_fine(self) -> bool {
        matches!(self, Class::Pass | Class::Skipped)
    }

    /// The exit code of a single run of this class.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Class::Pass => ExitCode::Pass,
            Class::Safety => ExitCode::Safety,
            Class::Liveness => ExitCode::Liveness,
            Class::Crash => ExitCode::Crash,
            Class::NonDeterminism => ExitCode::NonDeterminism,
            Class::Unknown => ExitCode::Unknown,
            Class::Coverage => ExitCode::Coverage,
            Class::Performance => ExitCode::Performance,
            Class::Vacuous | Class::Skipped => ExitCode::Nothing,
            Class::Environment => ExitCode::Environment,
            Class::Internal => ExitCode::Internal,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the table of the module says what each means")]
pub enum ExitCode {
    Pass = 0,
    Internal = 1,
    Usage = 2,
    Environment = 3,
    Nothing = 4,
    Safety = 10,
    Liveness = 11,
    Crash = 12,
    NonDeterminism = 13,
    Unknown = 14,
    Coverage = 15,
    Performance = 16,
    NotReproduced = 20,
    Interrupted = 130,
    Terminated = 143,
}

impl ExitCode {
    /// All of them, in order of number.
    pub const ALL: [ExitCode; 15] = [
        ExitCode::Pass,
        ExitCode::Internal,
        ExitCode::Usage,
        ExitCode::Environment,
        ExitCode::Nothing,
        ExitCode::Safety,
        ExitCode::Liveness,
        ExitCode::Crash,
        ExitCode::NonDeterminism,
        ExitCode::Unknown,
        ExitCode::Coverage,
        ExitCode::Performance,
        ExitCode::NotReproduced,
        ExitCode::Interrupted,
        ExitCode::Terminated,
    ];

    /// Which says most when several apply: first the findings (13, 12, 10, 11, 14, 15, 16), then what kept burnin
    /// from finding any, then success.
    const PRECEDENCE: [ExitCode; 15] = [
        ExitCode::NonDeterminism,
        ExitCode::Crash,
        ExitCode::Safety,
        ExitCode::Liveness,
        ExitCode::Unknown,
        ExitCode::Coverage,
        ExitCode::Performance,
        ExitCode::NotReproduced,
        ExitCode::Terminated,
        ExitCode::Interrupted,
        ExitCode::Internal,
        ExitCode::Usage,
        ExitCode::Environment,
        ExitCode::Nothing,
        ExitCode::Pass,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One line for `--help` and for the end of a run.
    pub fn meaning(self) -> &'static str {
        match self {
            ExitCode::Pass => "everything requested passed",
            ExitCode::Internal => "internal error of burnin",
            ExitCode::Usage => "usage, scenario or configuration error",
            ExitCode::Environment => "the environment lacks something; nothing was proven",
            ExitCode::Nothing => "nothing ran, or what ran checked nothing",
            ExitCode::Safety => "safety violated",
            ExitCode::Liveness => "liveness violated",
            ExitCode::Crash => "the system under test crashed",
            ExitCode::NonDeterminism => "a replay diverged",
            ExitCode::Unknown => "a checker could not decide",
            ExitCode::Coverage => "something that must happen did not",
            ExitCode::Performance => "a performance gate was missed",
            ExitCode::NotReproduced => "the replay did not reproduce",
            ExitCode::Interrupted => "interrupted; partial results were written",
            ExitCode::Terminated => "terminated; partial results were written",
        }
    }

    /// The one that says most; [`ExitCode::Nothing`] when there is none.
    pub fn worst(codes: impl IntoIterator<Item = ExitCode>) -> ExitCode {
        let rank = |code: &ExitCode| ExitCode::PRECEDENCE.iter().position(|other| other == code);
        codes.into_iter().min_by_key(rank).unwrap_or(ExitCode::Nothing)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_ranks_every_code_once_and_findings_as_documented() {
        let mut ranked = ExitCode::PRECEDENCE;
        ranked.sort_unstable();
        assert_eq!(ranked, ExitCode::ALL);
        let findings: Vec<u8> = ExitCode::PRECEDENCE[..7].iter().map(|code| code.code()).collect();
        assert_eq!(findings, [13, 12, 10, 11, 14, 15, 16]);
    }

    #[test]
    fn worst_of_several_outcomes_decides() {
        use ExitCode::*;
        assert_eq!(ExitCode::worst([Pass, Liveness, Safety, Environment]), Safety);
        assert_eq!(ExitCode::worst([Coverage, Crash, NonDeterminism]), NonDeterminism);
        assert_eq!(ExitCode::worst([Pass, Internal]), Internal);
        assert_eq!(ExitCode::worst([Pass, Pass]), Pass);
        assert_eq!(ExitCode::worst([]), Nothing);
    }
}
