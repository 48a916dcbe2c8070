//! B18, answers (white-box): what a produce answer says has happened, has happened.
//!
//! * `acked-nothing`: a broker acknowledged records at offsets where no replica ever appended a batch that covers them.
//! * `wrong-outcome`: an error that says nothing about the fate of the records was taken for a refusal: codes that a
//!   broker sends after it appended (NOT_ENOUGH_REPLICAS_AFTER_APPEND, REQUEST_TIMED_OUT), broken connections and
//!   timeouts leave the fate open. (That what was refused for good is never read is G1a, in B6.)

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::Facts;
use crate::words::{At, Rec};
use burnin_history::{Event, Moment, Outcome};
use burnin_runtime::Observation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Errors after which the records may be in the log: Kafka's codes, and the client's own for a broken connection and
/// for no answer in time.
const MAYBE: [i16; 5] = [7, 20, -1, -1000, -1001];

/// See the module.
#[derive(Debug)]
pub struct Answers {
    findings: Findings,
    /// One more than the highest offset that anybody appended.
    ends: BTreeMap<Arc<str>, i64>,
}

impl Default for Answers {
    fn default() -> Self {
        Answers { findings: Findings::new("B18", Class::Safety), ends: BTreeMap::new() }
    }
}

impl Checker for Answers {
    fn property(&self) -> &'static Property {
        &Property { id: "B18", seen_outside: &["wrong-outcome"], seen_inside: &["acked-nothing"] }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::Observed {
                observation: Observation::BatchAppended { partition, last_offset, .. },
                ..
            } => match self.ends.get_mut(partition) {
                Some(end) => *end = (*end).max(last_offset + 1),
                None => drop(self.ends.insert(partition.clone(), last_offset + 1)),
            },
            Event::ProduceAttempt { op, node, outcome: Outcome::NotApplied, error_code, .. } => {
                self.findings.checked(1);
                let Some(op) = facts.op(*op).filter(|_| MAYBE.contains(error_code)) else { return };
                let partition = facts.partition(op.tp);
                self.findings.report(at, "wrong-outcome", 1, Some(op.tp), || Described {
                    message: format!(
                        "{}: an attempt to send {} to broker {node} ended with error code {error_code} and was taken for \
                         a refusal at {}, though the records may have been appended.",
                        partition.name,
                        Rec(op.producer.0, op.first_seq),
                        At(at)
                    ),
                    partition: Some(partition.name.to_string()),
                    ..Described::default()
                });
            }
            Event::ProduceCompleted { op, outcome: Outcome::Applied, base_offset: Some(base) } => {
                let Some(op) = facts.op(*op) else { return };
                let partition = facts.partition(op.tp);
                // Without observations there is nothing to hold an answer against.
                let Some(end) = self.ends.get(&partition.name).copied() else { return };
                self.findings.checked(1);
                if base + i64::from(op.count) <= end {
                    return;
                }
                self.findings.report(at, "acked-nothing", 1, Some(op.tp), || Described {
                    message: format!(
                        "{} @ offset {base}: {} was acknowledged there at {}, but the longest log of any replica ever \
                         ended at {end}.",
                        partition.name,
                        Rec(op.producer.0, op.first_seq),
                        At(at)
                    ),
                    partition: Some(partition.name.to_string()),
                    offset: Some(*base),
                    ..Described::default()
                });
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
