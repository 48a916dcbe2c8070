//! B6, integrity: what is read was sent, to this partition, in this run, and arrived undamaged.
//!
//! `corrupt`: the value is not a payload or its checksum fails. `foreign`: a payload of another run. `misplaced`: of
//! another topic or partition. `never-sent`: of a producer and sequence that nobody was asked to write. `G1a` (aborted
//! read): of an operation that was known to have failed when it was read.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::digest::Foreign;
use crate::facts::Facts;
use crate::intervals::IntervalSet;
use crate::words::{At, Rec};
use burnin_history::{ConsumerId, Event, Moment, Outcome, Tp};

/// See the module.
#[derive(Debug)]
pub struct Integrity {
    findings: Findings,
    /// By slot: sequences of operations that did not take effect, and when the last of them was known.
    refused: Vec<(IntervalSet, Moment)>,
    any_refused: bool,
}

impl Default for Integrity {
    fn default() -> Self {
        Integrity { findings: Findings::new("B6", Class::Safety), refused: Vec::new(), any_refused: false }
    }
}

impl Checker for Integrity {
    fn property(&self) -> &'static Property {
        &Property {
            id: "B6",
            seen_outside: &["corrupt", "foreign", "misplaced", "never-sent", "G1a"],
            seen_inside: &[],
        }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceInvoked { producer, tp, first_seq, count, .. } if self.any_refused => {
                // Sent again by another operation.
                let slot = facts.slot_of(*tp, *producer).and_then(|slot| self.refused.get_mut(slot as usize));
                if let Some((refused, _)) = slot {
                    refused.remove(*first_seq, first_seq + u64::from(*count));
                }
            }
            Event::ProduceCompleted { op, outcome: Outcome::NotApplied, .. } => {
                let Some(op) = facts.op(*op) else { return };
                let index = op.slot as usize;
                if self.refused.len() <= index {
                    self.refused.resize_with(index + 1, Default::default);
                }
                let (refused, when) = &mut self.refused[index];
                refused.insert(op.first_seq, op.first_seq + u64::from(op.count));
                *when = at;
                self.any_refused = true;
            }
            Event::Polled { consumer, tp, records, .. } => {
                self.findings.checked(records.len() as u64);
                self.foreign(facts, at, *consumer, *tp);
                if self.any_refused {
                    self.aborted(facts, at, *consumer, *tp);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl Integrity {
    fn foreign(&mut self, facts: &Facts, at: Moment, consumer: ConsumerId, tp: Tp) {
        for (offset, foreign) in &facts.polled().foreign {
            let partition = facts.partition(tp);
            let anomaly = match foreign {
                Foreign::Payload(_) => "corrupt",
                Foreign::OtherRun(_) => "foreign",
                Foreign::Elsewhere(_) => "misplaced",
                Foreign::NeverSent(_) => "never-sent",
            };
            self.findings.report(at, anomaly, 1, Some(tp), || {
                let (what, payload) = match foreign {
                    Foreign::Payload(error) => {
                        (format!("a value that is no payload of ours ({error:?})"), None)
                    }
                    Foreign::OtherRun(payload) => (
                        format!("a record of run {:016x}, this is {:016x}", payload.run, facts.run()),
                        Some(payload),
                    ),
                    Foreign::Elsewhere(payload) => {
                        let written =
                            format!("topic {} partition {}", payload.topic_number, payload.partition);
                        let here =
                            format!("topic {} partition {}", partition.topic_number, partition.partition);
                        (format!("a record that was written to {written}, this is {here}"), Some(payload))
                    }
                    Foreign::NeverSent(payload) => {
                        let rec = Rec(payload.producer.0, payload.seq);
                        (format!("{rec}, which nobody was asked to write"), Some(payload))
                    }
                };
                Described {
                    message: format!(
                        "{} @ offset {offset}: consumer {consumer} sees {what}, at {}.",
                        partition.name,
                        At(at)
                    ),
                    partition: Some(partition.name.to_string()),
                    offset: Some(*offset),
                    producer: payload.map(|payload| payload.producer.0),
                    seq: payload.map(|payload| payload.seq),
                }
            });
        }
    }

    fn aborted(&mut self, facts: &Facts, at: Moment, consumer: ConsumerId, tp: Tp) {
        let Integrity { findings, refused, .. } = self;
        let partition = facts.partition(tp);
        for run in &facts.polled().runs {
            let Some((refused, when)) = refused.get(run.slot as usize) else { continue };
            for (from, to) in refused.within(run.seq, run.seq_end()) {
                let offset = run.offset + (from - run.seq) as i64;
                let rec = Rec(facts.slot(run.slot).producer.0, from);
                findings.report(at, "G1a", to - from, Some(tp), || Described {
                    message: format!(
                        "{} @ offset {offset}: consumer {consumer} sees {rec} at {}, though its producer had been told \
                         by {} that it was not appended.",
                        partition.name,
                        At(at),
                        At(*when)
                    ),
                    partition: Some(partition.name.to_string()),
                    offset: Some(offset),
                    producer: Some(rec.0),
                    seq: Some(rec.1),
                });
            }
        }
    }
}
