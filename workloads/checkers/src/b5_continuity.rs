//! B5, poll continuity: a reader goes on where it stopped and misses nothing.
//!
//! `poll-skip`, `nonmonotonic-poll`: between two polls of one reader, the position jumps forward or back without a
//! new start ([`Event::Positioned`]); a poll begins behind a record that is known to be acknowledged. `int-poll-skip`,
//! `int-nonmonotonic-poll`: the same inside one poll. `leader-epoch-regress`: leader epochs go down while offsets go
//! up. Offsets without a record are lawful (control batches, compaction) where no acknowledgement names them.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Facts, PartitionFacts};
use crate::words::{At, Rec};
use burnin_history::{ConsumerId, Event, Moment, Seen, Tp};

const SKIP: &str = "poll-skip";
const NONMONOTONIC: &str = "nonmonotonic-poll";
const INT_SKIP: &str = "int-poll-skip";
const INT_NONMONOTONIC: &str = "int-nonmonotonic-poll";
const EPOCH: &str = "leader-epoch-regress";

/// See the module.
#[derive(Debug)]
pub struct Continuity {
    findings: Findings,
    /// By consumer, then by partition.
    readers: Vec<Vec<Reader>>,
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Where it must go on; -1: nowhere yet.
    next: i64,
    since: Moment,
    epoch: i32,
    epoch_offset: i64,
}

const NOWHERE: Reader = Reader { next: -1, since: 0, epoch: -1, epoch_offset: -1 };

impl Default for Continuity {
    fn default() -> Self {
        Continuity { findings: Findings::new("B5", Class::Safety), readers: Vec::new() }
    }
}

impl Checker for Continuity {
    fn property(&self) -> &'static Property {
        &Property {
            id: "B5",
            seen_outside: &[SKIP, NONMONOTONIC, INT_SKIP, INT_NONMONOTONIC, EPOCH],
            seen_inside: &[],
        }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::Positioned { consumer, tp, offset } => {
                *self.reader(*consumer, *tp) = Reader { next: *offset, since: at, ..NOWHERE };
            }
            Event::TopicCreatedAgain { tp, .. } => {
                let readers = self.readers.iter_mut().filter_map(|readers| readers.get_mut(tp.0 as usize));
                readers.for_each(|reader| *reader = NOWHERE);
            }
            Event::Polled { consumer, tp, fetch_offset, next_offset, log_start_offset, records, .. } => {
                let mut reader = *self.reader(*consumer, *tp);
                let poll = Poll {
                    facts: facts.partition(*tp),
                    tp: *tp,
                    at,
                    consumer: *consumer,
                    fetch: *fetch_offset,
                    next: *next_offset,
                    log_start: *log_start_offset,
                    records,
                };
                self.findings.checked(1 + records.len() as u64);
                poll.position(&mut self.findings, &reader);
                if facts.polled().ordered {
                    poll.skips(&mut self.findings);
                } else {
                    poll.disorder(&mut self.findings);
                }
                poll.epochs(&mut self.findings, &mut reader);
                (reader.next, reader.since) = (*next_offset, at);
                *self.reader(*consumer, *tp) = reader;
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {}

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl Continuity {
    fn reader(&mut self, consumer: ConsumerId, tp: Tp) -> &mut Reader {
        let (consumer, tp) = (consumer.0 as usize, tp.0 as usize);
        if self.readers.len() <= consumer {
            self.readers.resize_with(consumer + 1, Vec::new);
        }
        let readers = &mut self.readers[consumer];
        if readers.len() <= tp {
            readers.resize(tp + 1, NOWHERE);
        }
        &mut readers[tp]
    }
}

struct Poll<'a> {
    facts: &'a PartitionFacts,
    tp: Tp,
    at: Moment,
    consumer: ConsumerId,
    fetch: i64,
    next: i64,
    log_start: i64,
    records: &'a [Seen],
}

impl Poll<'_> {
    fn report(
        &self,
        findings: &mut Findings,
        anomaly: &'static str,
        offset: i64,
        what: impl FnOnce() -> String,
    ) {
        findings.report(self.at, anomaly, 1, Some(self.tp), || Described {
            message: format!("{} @ offset {offset}: consumer {} {}.", self.facts.name, self.consumer, what()),
            partition: Some(self.facts.name.to_string()),
            offset: Some(offset),
            ..Described::default()
        });
    }

    /// It begins where the last one ended.
    fn position(&self, findings: &mut Findings, reader: &Reader) {
        if reader.next < 0 || reader.next == self.fetch {
            return;
        }
        let anomaly = if self.fetch > reader.next { SKIP } else { NONMONOTONIC };
        self.report(findings, anomaly, self.fetch, || {
            let (next, since, now) = (reader.next, At(reader.since), At(self.at));
            format!(
                "was to go on at offset {next} since {since}, but was answered for {} at {now}",
                self.fetch
            )
        });
    }

    /// No acknowledged offset lies between its records, before the first or behind the last.
    fn skips(&self, findings: &mut Findings) {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else {
            return self.gap(findings, SKIP, self.fetch, self.next);
        };
        self.gap(findings, SKIP, self.fetch, first.offset);
        if last.offset - first.offset + 1 > self.records.len() as i64 {
            for pair in self.records.windows(2) {
                self.gap(findings, INT_SKIP, pair[0].offset + 1, pair[1].offset);
            }
        }
        self.gap(findings, INT_SKIP, last.offset + 1, self.next);
    }

    #[inline]
    fn gap(&self, findings: &mut Findings, anomaly: &'static str, from: i64, to: i64) {
        let from = from.max(self.log_start).max(0);
        if from >= to {
            return;
        }
        let acked = self.facts.acked.first_at_or_after(from as u64).map(|offset| offset as i64);
        if let Some(offset) = acked.filter(|offset| *offset < to) {
            self.report(findings, anomaly, offset, || {
                let known = self
                    .facts
                    .ack_at(offset)
                    .map_or("before".to_string(), |ack| format!("at {}", At(ack.at)));
                format!(
                    "passed over offsets {from}..{to} at {} though {offset} was acknowledged {known}",
                    At(self.at)
                )
            });
        }
    }

    /// It says itself that it is not in order.
    #[cold]
    fn disorder(&self, findings: &mut Findings) {
        let mut floor = self.fetch;
        for seen in self.records {
            if seen.offset < floor || seen.offset >= self.next {
                self.report(findings, INT_NONMONOTONIC, seen.offset, || {
                    let rec = match &seen.payload {
                        Ok(payload) => Rec(payload.producer.0, payload.seq).to_string(),
                        Err(_) => "a record".to_string(),
                    };
                    format!(
                        "was answered {rec} at {} where an offset in {floor}..{} was due (fetch offset {})",
                        At(self.at),
                        self.next,
                        self.fetch
                    )
                });
            }
            floor = floor.max(seen.offset + 1);
        }
        if self.records.is_empty() {
            self.report(findings, INT_NONMONOTONIC, self.fetch, || {
                format!(
                    "asked for offset {} and was sent back to {} at {}",
                    self.fetch,
                    self.next,
                    At(self.at)
                )
            });
        }
    }

    fn epochs(&self, findings: &mut Findings, reader: &mut Reader) {
        for seen in self.records {
            if seen.leader_epoch < reader.epoch {
                let (epoch, offset) = (reader.epoch, reader.epoch_offset);
                self.report(findings, EPOCH, seen.offset, || {
                    format!(
                        "sees leader epoch {} here at {}, behind leader epoch {epoch} at offset {offset}",
                        seen.leader_epoch,
                        At(self.at)
                    )
                });
            }
            (reader.epoch, reader.epoch_offset) = (seen.leader_epoch, seen.offset);
        }
    }
}
