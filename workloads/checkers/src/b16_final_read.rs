//! B16 for now: after the heal, every partition that holds something acknowledged can be read from start to end.
//!
//! `unreadable`: the full re-read of a partition failed for good, or never ended. A failure is lawful where the
//! medium of an only copy was damaged.
//!
//! `stuck`, too, is reported under this number: that writers, readers and replicas get on in time is judged by the run,
//! which knows the clock.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Facts, PartitionFacts};
use crate::words::At;
use burnin_history::{Event, Moment, Tp};

const UNREADABLE: &str = "unreadable";

/// See the module.
#[derive(Debug)]
pub struct FinalRead {
    findings: Findings,
    started: Option<Moment>,
    /// By partition: whether the re-read ended, in whatever way.
    ended: Vec<bool>,
}

impl Default for FinalRead {
    fn default() -> Self {
        FinalRead { findings: Findings::new("B16", Class::Liveness), started: None, ended: Vec::new() }
    }
}

impl Checker for FinalRead {
    fn property(&self) -> &'static Property {
        &Property { id: "B16", seen_outside: &[UNREADABLE, "stuck", "slow-failover"], seen_inside: &[] }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::FinalReadStarted { .. } => {
                self.started = Some(at);
                self.ended.clear();
            }
            Event::FinalReadCompleted { tp, .. } => {
                self.findings.checked(1);
                self.end(*tp);
            }
            Event::FinalReadFailed { tp, error_code, .. } => {
                self.end(*tp);
                let partition = facts.partition(*tp);
                if !partition.licence.unreadable() {
                    self.report(partition, *tp, at, format!("failed for good with error code {error_code}"));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, facts: &Facts, at: Moment) {
        let Some(started) = self.started.take() else { return };
        for (tp, partition) in facts.partitions() {
            let ended = self.ended.get(tp.0 as usize).copied().unwrap_or(false);
            if !ended && !partition.slots.is_empty() {
                self.report(partition, tp, at, format!("began at {} and has not ended", At(started)));
            }
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl FinalRead {
    fn end(&mut self, tp: Tp) {
        let index = tp.0 as usize;
        if self.ended.len() <= index {
            self.ended.resize(index + 1, false);
        }
        self.ended[index] = true;
    }

    fn report(&mut self, facts: &PartitionFacts, tp: Tp, at: Moment, what: String) {
        self.findings.report(at, UNREADABLE, 1, Some(tp), || Described {
            message: format!(
                "{}: the full re-read after the heal {what}; noticed at {}.",
                facts.name,
                At(at)
            ),
            partition: Some(facts.name.to_string()),
            ..Described::default()
        });
    }
}
