//! What a run's checkers say in the end. A run that checked nothing does not pass.

use crate::checker::{Checker, Class, Violation};
use serde::Serialize;

/// What one checker did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `B1`, `W4`, ...
    pub checker: &'static str,
    /// How many facts it held against its property.
    pub checked: u64,
    /// How many violations it found.
    pub found: u64,
}

impl Summary {
    pub(crate) fn of(checker: &dyn Checker) -> Summary {
        let findings = checker.findings();
        Summary {
            checker: checker.property().id,
            checked: findings.checked_count(),
            found: findings.found_count(),
        }
    }

    fn checked(summaries: &[Summary], checker: &str) -> Option<u64> {
        summaries.iter().find(|summary| summary.checker == checker).map(|summary| summary.checked)
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Every checker's counts.
    pub summaries: Vec<Summary>,
    /// The violations that were kept, safety first, then in order of time.
    pub violations: Vec<Violation>,
    /// What could not be judged, lawfully.
    pub skipped: Vec<String>,
    /// Why this run proves nothing, if so.
    pub vacuous: Option<String>,
}

impl Verdict {
    pub(crate) fn new(
        summaries: Vec<Summary>,
        mut violations: Vec<Violation>,
        skipped: Vec<String>,
    ) -> Verdict {
        violations.sort_by_key(|violation| (violation.class, violation.at));
        let vacuous = vacuous(&summaries);
        Verdict { summaries, violations, skipped, vacuous }
    }

    /// Whether nothing was violated and something was checked.
    pub fn passed(&self) -> bool {
        self.class().is_none() && self.vacuous.is_none()
    }

    /// The worst class that was violated.
    pub fn class(&self) -> Option<Class> {
        self.violations.iter().map(|violation| violation.class).min()
    }

    /// How many violations there were, kept or not.
    pub fn found_count(&self) -> u64 {
        self.summaries.iter().map(|summary| summary.found).sum()
    }

    /// How many facts were checked in all.
    pub fn checked_count(&self) -> u64 {
        self.summaries.iter().map(|summary| summary.checked).sum()
    }
}

fn vacuous(summaries: &[Summary]) -> Option<String> {
    if Summary::checked(summaries, "B16") == Some(0) {
        return Some("no full re-read of any partition was completed".to_string());
    }
    if Summary::checked(summaries, "B2") == Some(0) {
        return Some("no acknowledged record was read again by a full re-read".to_string());
    }
    let nothing = summaries.iter().all(|summary| summary.checked == 0);
    nothing.then(|| "no checker was shown anything that it could check".to_string())
}
