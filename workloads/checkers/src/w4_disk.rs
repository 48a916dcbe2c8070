//! W4, disk (white-box): a log after a restart is what was durable before, and what a broker says about durability
//! while it runs holds together.
//!
//! * `lost-on-recovery`: the recovered log ends below what had been flushed, or acknowledged where no licence allows,
//!   and, after a crash in the middle of a cut, below where that was to leave its end.
//! * `recovered-unknown`: it ends behind anything ever appended.
//! * `acked-before-durable`: an acknowledgement, in a partition that flushes first, for what was not flushed.
//! * `bad-append`: an append that does not begin at the log's end.
//! * `bad-flush`: more is called durable than was appended.
//! * `acked-offline`: an acknowledgement from a log directory that went offline.
//! * `offline-without-cause`: a log directory goes offline on a disk that nothing was ever wrong with. Not when its process
//!   dies in the same instant: its last operations are refused then, which is no doing of the disk's.
//! * `log-start-regress`: the log start goes back while the broker runs, or passes the log's end.
//! * `truncated-durable`: an only copy cut below what was acknowledged.
//! * `recovery-mismatch`: the broker's own comparison of recovered state with the log found a difference.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::Facts;
use crate::words::At;
use burnin_history::{Event, FaultEvent, Flush, Moment, NodeId};
use burnin_runtime::Observation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct DiskState {
    findings: Findings,
    nodes: BTreeMap<NodeId, Node>,
    /// The directory that has just gone offline, and why; whether its process dies with it is not known yet.
    offline: Option<(NodeId, Moment, String)>,
}

/// A broker with one log directory.
#[derive(Debug, Default)]
struct Node {
    logs: BTreeMap<Arc<str>, Log>,
    offline_since: Option<Moment>,
    /// Its disk was once made to fail, to hang, or the like.
    disk_suffered: bool,
    /// Bits of its files have flipped: whatever it finds damaged from then on may be that.
    rotted: bool,
}

/// One replica's log, as the broker told it.
#[derive(Debug, Default)]
struct Log {
    start: i64,
    /// One more than the last offset appended.
    end: i64,
    flushed: (i64, Moment),
    acked: (i64, Moment),
    /// The leader epoch and checksum of the last batch appended.
    last_batch: Option<(i64, i32, u32)>,
    /// The highest end ever appended, also if it was truncated since (a truncation need not be durable).
    highest: i64,
    /// Where a cut that is under way will have the log end, or begin anew.
    cutting: Option<i64>,
    power_lost: bool,
    /// Bits of its records have flipped. Above the recovery point a recovery takes that for a torn tail.
    rotted: bool,
    /// The process that it was of has ended, and it was not recovered since.
    at_rest: bool,
    /// Whether it was seen from a recovery on, or from its first batch: before that, nothing is known of the log.
    known: bool,
}

impl Default for DiskState {
    fn default() -> Self {
        DiskState { findings: Findings::new("W4", Class::Safety), nodes: BTreeMap::new(), offline: None }
    }
}

impl Checker for DiskState {
    fn property(&self) -> &'static Property {
        &Property {
            id: "W4",
            seen_outside: &[],
            seen_inside: &[
                "lost-on-recovery",
                "recovered-unknown",
                "acked-before-durable",
                "bad-append",
                "bad-flush",
                "acked-offline",
                "offline-without-cause",
                "log-start-regress",
                "truncated-durable",
                "recovery-mismatch",
            ],
        }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        if self.offline.is_some() {
            self.judge_offline(at, event);
        }
        match event {
            Event::Observed { node, observation } => {
                self.findings.checked(1);
                let DiskState { findings, nodes, offline } = self;
                let state = nodes.entry(*node).or_default();
                if let Observation::LogDirOffline { reason } = observation
                    && !state.disk_suffered
                {
                    *offline = Some((*node, at, reason.clone()));
                }
                Watch { facts, findings, node: *node, at }.observe(state, observation);
            }
            Event::Fault(fault) => self.fault(fault),
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {
        self.report_offline();
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

impl DiskState {
    fn judge_offline(&mut self, now: Moment, event: &Event<'_>) {
        let Some((node, at, _)) = &self.offline else { return };
        let dies = match event {
            Event::Fault(
                FaultEvent::Killed { node: dead }
                | FaultEvent::Stopped { node: dead }
                | FaultEvent::PowerLost { node: dead },
            ) => dead == node,
            _ => false,
        };
        if *at != now {
            self.report_offline();
        } else if dies {
            self.offline = None;
        }
    }

    fn report_offline(&mut self) {
        let Some((broker, at, reason)) = self.offline.take() else { return };
        self.findings.report(at, "offline-without-cause", 1, None, || Described {
            message: format!(
                "the log directory of broker {broker} went offline, though nothing was ever wrong with its disk: \
                 {reason}, at {}.",
                At(at)
            ),
            ..Described::default()
        });
    }

    fn fault(&mut self, fault: &FaultEvent) {
        let (node, power_lost) = match fault {
            FaultEvent::Killed { node } | FaultEvent::Stopped { node } => (node, false),
            FaultEvent::PowerLost { node } => (node, true),
            FaultEvent::Wiped { node } => return drop(self.nodes.remove(node)),
            FaultEvent::LogRotted { node, topic, partition } => {
                let node = self.nodes.entry(*node).or_default();
                node.rotted = true;
                if let Some(log) = node.logs.get_mut(format!("{topic}-{partition}").as_str()) {
                    log.rotted = true;
                }
                return;
            }
            FaultEvent::Other { kind, node: Some(node) } if kind.starts_with("disk.") => {
                let node = self.nodes.entry(*node).or_default();
                node.disk_suffered = true;
                node.rotted |= **kind == *"disk.bit_rot";
                return;
            }
            _ => return,
        };
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.offline_since = None;
        for log in node.logs.values_mut() {
            log.power_lost |= power_lost;
            log.at_rest = true;
        }
    }
}

/// One observation on its way in.
struct Watch<'a> {
    facts: &'a Facts,
    findings: &'a mut Findings,
    node: NodeId,
    at: Moment,
}

impl Watch<'_> {
    fn report(&mut self, anomaly: &'static str, partition: &str, offset: i64, what: impl FnOnce() -> String) {
        let tp = self.facts.partition_named(partition);
        let (node, at) = (self.node, self.at);
        self.findings.report(at, anomaly, 1, tp, || Described {
            message: format!("{partition} @ offset {offset}: broker {node} {} at {}.", what(), At(at)),
            partition: Some(partition.to_string()),
            offset: Some(offset),
            ..Described::default()
        });
    }

    fn flush(&self, partition: &str) -> Option<Flush> {
        Some(self.facts.partition(self.facts.partition_named(partition)?).flush)
    }

    fn observe(&mut self, node: &mut Node, observation: &Observation) {
        match observation {
            Observation::LogRecovered { partition, log_start_offset, log_end_offset, clean } => {
                node.offline_since = None;
                let log = node.logs.entry(partition.clone()).or_default();
                log.at_rest = false;
                self.recovered(log, partition, (*log_start_offset, *log_end_offset), *clean);
            }
            Observation::BatchAppended { partition, base_offset, last_offset, leader_epoch, crc } => {
                let log = node.logs.entry(partition.clone()).or_default();
                if *base_offset != log.end || last_offset < base_offset {
                    let (end, last) = (log.end, log.last_batch);
                    self.report("bad-append", partition, *base_offset, || {
                        let last = last.map(|(base, epoch, crc)| {
                            format!(", whose last batch begins at {base} (leader epoch {epoch}, crc {crc:08x})")
                        });
                        format!(
                            "appended a batch {base_offset}..={last_offset} (leader epoch {leader_epoch}, crc \
                             {crc:08x}) to a log that ends at offset {end}{}",
                            last.unwrap_or_default()
                        )
                    });
                }
                (log.end, log.known) = (last_offset + 1, true);
                log.highest = log.highest.max(log.end);
                log.last_batch = Some((*base_offset, *leader_epoch, *crc));
            }
            Observation::FlushDone { partition, offset } => {
                let log = node.logs.entry(partition.clone()).or_default();
                if *offset > log.end {
                    let end = log.end;
                    self.report("bad-flush", partition, *offset, || {
                        format!("called everything below {offset} durable, but the log ends at offset {end}")
                    });
                }
                if *offset > log.flushed.0 {
                    log.flushed = (*offset, self.at);
                }
            }
            Observation::ProduceAcked { partition, base_offset, last_offset, .. } => {
                let offline = node.offline_since;
                let log = node.logs.entry(partition.clone()).or_default();
                self.acked(log, partition, (*base_offset, *last_offset), offline);
            }
            Observation::LogStartAdvanced { partition, log_start_offset } => {
                let log = node.logs.entry(partition.clone()).or_default();
                if *log_start_offset < log.start || *log_start_offset > log.end {
                    let (start, end) = (log.start, log.end);
                    self.report("log-start-regress", partition, *log_start_offset, || {
                        format!("moved the log start from {start} to {log_start_offset} in a log that ends at {end}")
                    });
                }
                log.start = *log_start_offset;
            }
            Observation::LogTruncating { partition, offset } => {
                node.logs.entry(partition.clone()).or_default().cutting = Some(*offset);
            }
            Observation::LogTruncated { partition, offset } => {
                let log = node.logs.entry(partition.clone()).or_default();
                log.cutting = None;
                if *offset > log.end {
                    // A follower begins anew, where its leader's log starts.
                    (log.start, log.end, log.highest, log.last_batch) = (*offset, *offset, *offset, None);
                    log.flushed.0 = *offset;
                    return;
                }
                self.truncated(log, partition, *offset);
            }
            Observation::LogRemoved { partition } => {
                node.logs.remove(partition);
            }
            // It was gone when the node started again: a crash came before it could say so.
            Observation::PartitionGone { partition, .. }
                if node.logs.get(partition).is_some_and(|log| log.at_rest) =>
            {
                node.logs.remove(partition);
            }
            Observation::LogDirOffline { .. } => node.offline_since = Some(self.at),
            Observation::RecoveryMismatch { .. } if node.rotted => {}
            Observation::RecoveryMismatch { partition, what } => {
                self.report("recovery-mismatch", partition, -1, || format!("found after recovery: {what},"));
            }
            _ => {}
        }
    }

    fn recovered(&mut self, log: &mut Log, partition: &str, (start, end): (i64, i64), clean: bool) {
        let cutting = log.cutting.take();
        if log.known {
            // After a power loss the page cache is gone: what was acknowledged from it alone may be.
            let licensed = log.power_lost && self.flush(partition) != Some(Flush::BeforeAck);
            let (floor, since, how) = match licensed || log.flushed.0 >= log.acked.0 {
                true => (log.flushed.0, log.flushed.1, "flushed"),
                false => (log.acked.0, log.acked.1, "acknowledged"),
            };
            // A cut that a crash interrupted may have gone as far as it was meant to.
            if end < floor.min(cutting.unwrap_or(floor)) && !log.rotted {
                self.report("lost-on-recovery", partition, end, || {
                    let clean = if clean { " after a clean shutdown" } else { "" };
                    format!("recovered{clean} a log that ends at offset {end}, though it had {how} up to {floor} at {}", At(since))
                });
            }
            let begun_anew = start == end && cutting == Some(end);
            if end > log.highest && !begun_anew {
                let before = log.highest;
                self.report("recovered-unknown", partition, end, || {
                    format!("recovered a log that ends at offset {end}, though it had appended only up to {before}")
                });
            }
        }
        log.flushed.0 = log.flushed.0.min(end);
        log.acked.0 = log.acked.0.min(end);
        (log.start, log.end, log.last_batch) = (start, end, None);
        log.highest = end;
        (log.power_lost, log.known) = (false, true);
    }

    fn acked(&mut self, log: &mut Log, partition: &str, (base, last): (i64, i64), offline: Option<Moment>) {
        if let Some(since) = offline {
            self.report("acked-offline", partition, base, || {
                format!(
                    "acknowledged {base}..={last}, though its log directory went offline at {}",
                    At(since)
                )
            });
        }
        let durable = log.flushed.0;
        let must_be_flushed = self.flush(partition) == Some(Flush::BeforeAck);
        if last >= log.end || (must_be_flushed && last >= durable) {
            let end = log.end;
            self.report("acked-before-durable", partition, last, || {
                format!("acknowledged {base}..={last} when {durable} was the end of what is flushed and {end} of the log")
            });
        }
        if last + 1 > log.acked.0 {
            log.acked = (last + 1, self.at);
        }
    }

    fn truncated(&mut self, log: &mut Log, partition: &str, offset: i64) {
        let single = self
            .facts
            .partition_named(partition)
            .is_some_and(|tp| !self.facts.partition(tp).licence.is_replicated());
        if single && offset < log.acked.0 {
            let (acked, since) = log.acked;
            self.report("truncated-durable", partition, offset, || {
                format!("cut the log to {offset}, though it had acknowledged up to {acked} at {}", At(since))
            });
        }
        log.end = log.end.min(offset);
        log.flushed.0 = log.flushed.0.min(offset);
        log.acked.0 = log.acked.0.min(offset);
        log.last_batch = None;
    }
}
