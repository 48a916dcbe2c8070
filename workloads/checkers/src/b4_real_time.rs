//! B4, real time and order of sending: a record that was sent after another was acknowledged (or read) has a higher
//! offset, and an idempotent producer's acknowledgements ascend with its sequences.
//!
//! For an append-only log whose acknowledgements carry offsets this is linearizability, at the cost of one number for
//! each partition: the highest offset known when an operation was invoked.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Facts, Op};
use crate::words::{At, Rec};
use burnin_history::{Event, Moment, Outcome};

const REAL_TIME: &str = "G0-realtime";
const NONMONOTONIC: &str = "nonmonotonic-send";

/// See the module.
#[derive(Debug)]
pub struct RealTime {
    findings: Findings,
    highest: Vec<Highest>,
}

/// The acknowledged operation of a slot with the highest sequence.
#[derive(Clone, Copy, Debug)]
struct Highest {
    generation: u32,
    seq: u64,
    base: i64,
    end: i64,
    at: Moment,
}

const NONE: Highest = Highest { generation: 0, seq: 0, base: -1, end: -1, at: 0 };

impl Default for RealTime {
    fn default() -> Self {
        RealTime { findings: Findings::new("B4", Class::Safety), highest: Vec::new() }
    }
}

impl Checker for RealTime {
    fn property(&self) -> &'static Property {
        &Property { id: "B4", seen_outside: &[REAL_TIME, NONMONOTONIC], seen_inside: &[] }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        if let Event::ProduceCompleted { op, outcome: Outcome::Applied, base_offset: Some(base) } = event {
            let Some(op) = facts.op(*op) else { return };
            if op.generation == facts.partition(op.tp).licence.generation() && !facts.is_weak(op) {
                self.findings.checked(u64::from(op.count));
                self.real_time(facts, at, op, *base);
                self.order_of_sending(facts, at, op, *base);
            }
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl RealTime {
    fn real_time(&mut self, facts: &Facts, at: Moment, op: &Op, base: i64) {
        if base > op.floor {
            return;
        }
        let partition = facts.partition(op.tp);
        self.findings.report(at, REAL_TIME, 1, Some(op.tp), || {
            let rec = Rec(op.producer.0, op.first_seq);
            let before = match partition.ack_at(op.floor).filter(|ack| ack.at <= op.invoked) {
                Some(ack) => {
                    let seq = ack.first_seq + (op.floor - ack.base) as u64;
                    let other = Rec(facts.slot(ack.slot).producer.0, seq);
                    format!("{other} had been acknowledged at offset {} at {}", op.floor, At(ack.at))
                }
                None => format!("offset {} had been read or acknowledged", op.floor),
            };
            Described {
                message: format!(
                    "{} @ offset {base}: {rec} was acknowledged here at {}, though it was sent only at {}, when {before}.",
                    partition.name,
                    At(at),
                    At(op.invoked),
                ),
                partition: Some(partition.name.to_string()),
                offset: Some(base),
                producer: Some(rec.0),
                seq: Some(rec.1),
            }
        });
    }

    fn order_of_sending(&mut self, facts: &Facts, at: Moment, op: &Op, base: i64) {
        if !facts.slot(op.slot).idempotent {
            return;
        }
        let index = op.slot as usize;
        if self.highest.len() <= index {
            self.highest.resize(index + 1, NONE);
        }
        let end = base + i64::from(op.count);
        let this = Highest { generation: op.generation, seq: op.first_seq, base, end, at };
        let other = self.highest[index];
        if other.base < 0 || other.generation < op.generation {
            self.highest[index] = this;
            return;
        }
        let ahead = op.first_seq > other.seq;
        if ahead {
            self.highest[index] = this;
        }
        let in_order = if ahead { base >= other.end } else { end <= other.base };
        if !in_order {
            let partition = facts.partition(op.tp);
            self.findings.report(at, NONMONOTONIC, 1, Some(op.tp), || Described {
                message: format!(
                    "{} @ offset {base}: {} was acknowledged here at {}, while {} of the same idempotent producer was \
                     acknowledged at offset {} at {}: the offsets are not in the order of sending.",
                    partition.name,
                    Rec(op.producer.0, op.first_seq),
                    At(at),
                    Rec(op.producer.0, other.seq),
                    other.base,
                    At(other.at),
                ),
                partition: Some(partition.name.to_string()),
                offset: Some(base),
                producer: Some(op.producer.0),
                seq: Some(op.first_seq),
            });
        }
    }
}
