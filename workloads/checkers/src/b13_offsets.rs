//! B13, offsets API: what ListOffsets, the log start and the high watermark say fits what was acknowledged and read.
//!
//! * `stale-latest`: Latest is below an offset that was acknowledged, read or answered before the question was asked.
//! * `earliest-regress`: Earliest, or a reader's log start offset, goes back. What DeleteRecords was acknowledged for
//!   stays removed, also after a crash when the partition flushes; what retention removed may come back after one
//!   (Kafka checkpoints the log start offset from time to time), and with another leader: also one that was replaced
//!   and does not know it yet removes what is old.
//! * `high-watermark-regress`: a reader's high watermark goes back. Not for partitions that need several replicas:
//!   there a new leader may not know it yet (KIP-207 is about ListOffsets only).
//! * `bad-offsets`: an answer that no log can give: log start above high watermark, no Latest, a timestamp's offset
//!   whose own timestamp is below the one asked for.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Facts, PartitionFacts};
use crate::words::At;
use burnin_history::{ConsumerId, Event, FaultEvent, Flush, Moment, OffsetSpec, Outcome, Tp};
use std::collections::VecDeque;

const STALE: &str = "stale-latest";
const EARLIEST: &str = "earliest-regress";
const WATERMARK: &str = "high-watermark-regress";
const BAD: &str = "bad-offsets";

/// See the module.
#[derive(Debug)]
pub struct Offsets {
    findings: Findings,
    logs: Vec<Log>,
    /// By consumer, then by partition.
    readers: Vec<Vec<Reader>>,
    /// Goes up when a broker's process ends in any way.
    crashes: u32,
    /// When one last did.
    crashed: Option<Moment>,
}

#[derive(Debug, Default)]
struct Log {
    generation: u32,
    crashes: u32,
    ends: Floor,
    starts: Floor,
    /// Acknowledged by DeleteRecords.
    deleted: Floor,
    delete_asked: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    generation: u32,
    crashes: u32,
    log_start: i64,
    high_watermark: i64,
    at: Moment,
}

const NOWHERE: Reader = Reader { generation: 0, crashes: 0, log_start: -1, high_watermark: -1, at: 0 };

impl Default for Offsets {
    fn default() -> Self {
        let findings = Findings::new("B13", Class::Safety);
        Offsets { findings, logs: Vec::new(), readers: Vec::new(), crashes: 0, crashed: None }
    }
}

impl Checker for Offsets {
    fn property(&self) -> &'static Property {
        &Property { id: "B13", seen_outside: &[STALE, EARLIEST, WATERMARK, BAD], seen_inside: &[] }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::ProduceCompleted { op, outcome: Outcome::Applied, base_offset: Some(base) } => {
                let Some(op) = facts.op(*op) else { return };
                let partition = facts.partition(op.tp);
                if op.generation == partition.licence.generation() && !facts.is_weak(op) {
                    self.log(op.tp, partition).ends.raise(at, base + i64::from(op.count));
                }
            }
            Event::Polled { consumer, tp, log_start_offset, high_watermark, records, .. } => {
                if facts.polled().stale {
                    return;
                }
                let partition = facts.partition(*tp);
                if let (Some(last), true) = (records.last(), facts.polled().ordered) {
                    self.log(*tp, partition).ends.raise(at, last.offset + 1);
                }
                let was_deposed = |since| was_deposed(facts, partition, since);
                let told = (*log_start_offset, *high_watermark);
                self.polled(partition, *tp, at, *consumer, told, was_deposed);
            }
            Event::OffsetsListed { tp, spec, invoked, offset, timestamp } => {
                let partition = facts.partition(*tp);
                if partition.licence.before_loss(*invoked) {
                    return;
                }
                self.findings.checked(1);
                match spec {
                    // A leader that does not know yet that another was elected answers what it knows.
                    OffsetSpec::Latest if was_deposed(facts, partition, *invoked) => {}
                    OffsetSpec::Latest => self.latest(partition, *tp, at, *invoked, *offset),
                    OffsetSpec::Earliest => {
                        let binds = !was_deposed(facts, partition, *invoked);
                        self.earliest(partition, *tp, at, (*invoked, *offset), binds);
                    }
                    OffsetSpec::Timestamp(asked) => {
                        if *offset >= 0 && timestamp < asked {
                            self.bad(partition, *tp, at, *offset, || {
                                format!("ListOffsets for timestamp {asked} was answered with one of timestamp {timestamp}")
                            });
                        }
                    }
                }
            }
            Event::DeleteRecordsInvoked { tp, .. } => {
                self.log(*tp, facts.partition(*tp)).delete_asked = Some(at);
            }
            Event::RecordsDeleted { tp, log_start_offset } => {
                let (partition, crashed) = (facts.partition(*tp), self.crashed);
                let log = self.log(*tp, partition);
                let asked = log.delete_asked.unwrap_or(at);
                if partition.licence.before_loss(asked) {
                    return;
                }
                log.deleted.raise(at, *log_start_offset);
                if Some(asked) > crashed || partition.flush == Flush::BeforeAck {
                    log.starts.raise(at, *log_start_offset);
                }
            }
            Event::Fault(
                FaultEvent::Killed { .. } | FaultEvent::PowerLost { .. } | FaultEvent::Stopped { .. },
            ) => {
                self.crashes += 1;
                self.crashed = Some(at);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl Offsets {
    fn log(&mut self, tp: Tp, facts: &PartitionFacts) -> &mut Log {
        // Another leader may have another log start, as one that crashed may have.
        let (index, crashes) = (tp.0 as usize, self.crashes + facts.licence.leaders());
        if self.logs.len() <= index {
            self.logs.resize_with(index + 1, Log::default);
        }
        let log = &mut self.logs[index];
        let generation = facts.licence.generation();
        if log.generation != generation {
            *log = Log { generation, crashes, delete_asked: log.delete_asked, ..Log::default() };
        }
        if log.crashes != crashes {
            log.crashes = crashes;
            log.starts = match facts.flush {
                Flush::BeforeAck => log.deleted.clone(),
                Flush::PageCache => Floor::default(),
            };
        }
        log
    }

    fn polled(
        &mut self,
        facts: &PartitionFacts,
        tp: Tp,
        at: Moment,
        consumer: ConsumerId,
        (start, hw): (i64, i64),
        was_deposed: impl Fn(Moment) -> bool,
    ) {
        let generation = facts.licence.generation();
        let crashes = self.crashes + facts.licence.leaders();
        let reader = reader(&mut self.readers, consumer, tp);
        let before = *reader;
        // The first answer since a crash may have been on the wire before it: its log start binds nobody.
        let log_start = if before.crashes == crashes { start } else { -1 };
        *reader = Reader { generation, crashes, log_start, high_watermark: hw, at };
        self.findings.checked(1);
        if start > hw {
            self.bad(facts, tp, at, start, || {
                format!("consumer {consumer} was told log start offset {start} and high watermark {hw}")
            });
        }
        if before.generation != generation || before.high_watermark < 0 {
            return;
        }
        if start < before.log_start && before.crashes == crashes && !was_deposed(before.at) {
            self.report(EARLIEST, facts, tp, at, start, || {
                let (was, when) = (before.log_start, At(before.at));
                format!(
                    "consumer {consumer} was told log start offset {was} at {when} and {start} at {}",
                    At(at)
                )
            });
        }
        if hw < before.high_watermark && !facts.licence.is_replicated() {
            self.report(WATERMARK, facts, tp, at, hw, || {
                let (was, when) = (before.high_watermark, At(before.at));
                format!("consumer {consumer} was told high watermark {was} at {when} and {hw} at {}", At(at))
            });
        }
    }

    fn latest(&mut self, facts: &PartitionFacts, tp: Tp, at: Moment, invoked: Moment, offset: i64) {
        if offset < 0 {
            return self.bad(facts, tp, at, offset, || format!("ListOffsets(latest) was answered {offset}"));
        }
        let log = self.log(tp, facts);
        let floor = log.ends.at(invoked);
        log.ends.raise(at, offset);
        if let Some((since, end)) = floor.filter(|(_, end)| offset < *end) {
            self.report(STALE, facts, tp, at, offset, || {
                format!(
                    "ListOffsets(latest), asked at {}, was answered {offset}, though the log end was known to be at \
                     least {end} at {}",
                    At(invoked),
                    At(since)
                )
            });
        }
    }

    fn earliest(
        &mut self,
        facts: &PartitionFacts,
        tp: Tp,
        at: Moment,
        (invoked, offset): (Moment, i64),
        binds: bool,
    ) {
        if offset < 0 {
            return self
                .bad(facts, tp, at, offset, || format!("ListOffsets(earliest) was answered {offset}"));
        }
        let crashed = self.crashed;
        let log = self.log(tp, facts);
        let floor = log.starts.at(invoked);
        if binds && Some(invoked) > crashed {
            log.starts.raise(at, offset);
        }
        log.ends.raise(at, offset);
        if let Some((since, start)) = floor.filter(|(_, start)| offset < *start) {
            self.report(EARLIEST, facts, tp, at, offset, || {
                format!(
                    "ListOffsets(earliest), asked at {}, was answered {offset}, though the log start was known to be \
                     at least {start} at {}",
                    At(invoked),
                    At(since)
                )
            });
        }
    }

    fn bad(
        &mut self,
        facts: &PartitionFacts,
        tp: Tp,
        at: Moment,
        offset: i64,
        what: impl FnOnce() -> String,
    ) {
        self.report(BAD, facts, tp, at, offset, || format!("{} at {}", what(), At(at)));
    }

    fn report(
        &mut self,
        anomaly: &'static str,
        facts: &PartitionFacts,
        tp: Tp,
        at: Moment,
        offset: i64,
        what: impl FnOnce() -> String,
    ) {
        self.findings.report(at, anomaly, 1, Some(tp), || Described {
            message: format!("{}: {}.", facts.name, what()),
            partition: Some(facts.name.to_string()),
            offset: Some(offset),
            ..Described::default()
        });
    }
}

fn reader(readers: &mut Vec<Vec<Reader>>, consumer: ConsumerId, tp: Tp) -> &mut Reader {
    let (consumer, tp) = (consumer.0 as usize, tp.0 as usize);
    if readers.len() <= consumer {
        readers.resize_with(consumer + 1, Vec::new);
    }
    let readers = &mut readers[consumer];
    if readers.len() <= tp {
        readers.resize(tp + 1, NOWHERE);
    }
    &mut readers[tp]
}

/// A number that only goes up, and what it was at recent moments. Raises within [`Floor::GRAIN`] of the first of them
/// are one, at the moment of the last: asked for a moment in between, the floor says less than was known, never more.
#[derive(Clone, Debug, Default)]
struct Floor {
    raised: VecDeque<Raise>,
}

#[derive(Clone, Copy, Debug)]
struct Raise {
    first_at: Moment,
    at: Moment,
    to: i64,
}

impl Floor {
    const GRAIN: Moment = 1_000_000;
    const KEPT_MAX: usize = 512;

    #[inline]
    fn raise(&mut self, at: Moment, to: i64) {
        match self.raised.back_mut() {
            Some(last) if last.to >= to => return,
            Some(last) if at - last.first_at < Self::GRAIN => {
                (last.at, last.to) = (at, to);
                return;
            }
            _ => {}
        }
        if self.raised.len() >= Self::KEPT_MAX {
            self.raised.pop_front();
        }
        self.raised.push_back(Raise { first_at: at, at, to });
    }

    /// The last raise strictly before `moment`: when it was, and to what.
    fn at(&self, moment: Moment) -> Option<(Moment, i64)> {
        let before = self.raised.partition_point(|raise| raise.at < moment);
        self.raised.get(before.checked_sub(1)?).map(|raise| (raise.at, raise.to))
    }
}

/// Whether somebody believed to lead since `invoked` who did not any more.
fn was_deposed(facts: &Facts, partition: &PartitionFacts, invoked: Moment) -> bool {
    facts.replicas().log(&partition.name).is_some_and(|ledger| ledger.deposed_since(invoked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_says_what_was_known_before_a_moment_and_never_more() {
        let mut floor = Floor::default();
        floor.raise(10_000_000, 5);
        floor.raise(20_000_000, 4);
        floor.raise(20_000_000, 7);
        assert_eq!(floor.at(10_000_000), None);
        assert_eq!(floor.at(10_000_001), Some((10_000_000, 5)));
        assert_eq!(floor.at(30_000_000), Some((20_000_000, 7)));
        for i in 0..10_000 {
            floor.raise(30_000_000 + i * 2_000_000, 100 + i as i64);
        }
        assert_eq!(floor.at(30_000_000), None, "forgotten");
        assert_eq!(floor.raised.len(), Floor::KEPT_MAX);
    }

    #[test]
    fn floor_under_a_steady_stream_of_raises_still_moves_on() {
        let mut floor = Floor::default();
        for i in 0..100_000u64 {
            floor.raise(i * 10_000, i as i64);
        }
        let (at, value) = floor.at(500_000_000).expect("half a second back is kept");
        assert!(at < 500_000_000 && value >= 49_000, "at={at} value={value}");
    }
}
