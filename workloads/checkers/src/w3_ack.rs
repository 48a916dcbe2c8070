//! W3, acknowledgements (white-box): when acks=all is answered, and already when a leader commits (KIP-966), at least
//! `min.insync.replicas` replicas hold the records, durably where an acknowledgement means fsynced: any set of crashes
//! that the contract covers leaves one.
//!
//! How many that are the leader's own metadata say: another `min.insync.replicas` counts from the moment on at which
//! its partitions go by it, and what was committed before may be answered after.
//!
//! A leader that was replaced and does not know commits nothing that counts; what it answers is looked at all the same.
//! A replica that was wiped counts for what it held before: the leader counted it, too.
//!
//! * `acked-before-committed`: it was answered before the high watermark had passed it.
//! * `acked-under-replicated`: fewer replicas hold it than it promises.
//! * `committed-under-replicated`: the leader moved the high watermark past what fewer replicas hold.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Facts, PartitionFacts};
use crate::replicas::{Ledger, Replica};
use crate::words::At;
use burnin_history::{Event, Flush, Moment, NodeId, Tp};
use burnin_runtime::Observation;
use std::collections::{BTreeMap, VecDeque};

/// So many changes of `min.insync.replicas` are remembered for answers that come late.
const PAST_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct AckSafety {
    findings: Findings,
    /// By partition; nothing where it always was what the run began with.
    minimums: Vec<Option<Minimum>>,
}

/// A `min.insync.replicas` that changed.
#[derive(Debug, Default)]
struct Minimum {
    /// The least that each node may go by.
    nodes: BTreeMap<NodeId, u32>,
    /// What is below this offset may have been committed with this least value, which has gone up since.
    past: VecDeque<(i64, u32)>,
}

impl Default for AckSafety {
    fn default() -> Self {
        AckSafety { findings: Findings::new("W3", Class::Safety), minimums: Vec::new() }
    }
}

impl Checker for AckSafety {
    fn property(&self) -> &'static Property {
        &Property {
            id: "W3",
            seen_outside: &[],
            seen_inside: &["acked-before-committed", "acked-under-replicated", "committed-under-replicated"],
        }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        let Event::Observed { node, observation } = event else { return };
        match observation {
            Observation::ProduceAcked { partition, base_offset, last_offset, acks: -1 } => {
                let Some(told) = Told::of(facts, at, *node, partition) else { return };
                self.acked(&told, (*base_offset, *last_offset));
            }
            Observation::HighWatermark { partition, leader_epoch, leads: true, .. } => {
                let Some(told) = Told::of(facts, at, *node, partition) else { return };
                self.committed(&told, *leader_epoch);
            }
            Observation::MinIsr { topic, min_isr, is_followed } => {
                let of_topic = facts.partitions().filter(|(_, known)| known.topic == *topic);
                for (tp, known) in of_topic {
                    let committed = facts.replicas().log(&known.name).map_or(0, |log| log.high_watermark);
                    self.changed((tp, known.min_isr), *node, (*min_isr, *is_followed), committed);
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

/// A partition of which something was told.
struct Told<'a> {
    ledger: &'a Ledger,
    tp: Tp,
    known: &'a PartitionFacts,
    node: NodeId,
    at: Moment,
}

impl<'a> Told<'a> {
    fn of(facts: &'a Facts, at: Moment, node: NodeId, partition: &str) -> Option<Told<'a>> {
        let (ledger, tp) = (facts.replicas().log(partition)?, facts.partition_named(partition)?);
        if ledger.is_earlier(node) {
            // It speaks of a topic that is being deleted.
            return None;
        }
        Some(Told { ledger, tp, known: facts.partition(tp), node, at })
    }

    fn is_durable(&self) -> bool {
        self.known.flush == Flush::BeforeAck
    }

    /// How many replicas `min_isr` demands: no more than there are (`Partition.effectiveMinIsr`).
    fn needed(&self, min_isr: u32) -> usize {
        let replicas = self.ledger.state.as_ref().map_or(usize::MAX, |state| state.replicas.len());
        replicas.min(min_isr as usize)
    }

    /// How many replicas hold everything up to `offset`.
    fn held(&self, offset: i64) -> usize {
        let durable = self.is_durable();
        let holds = |replica: &&Replica| {
            let flushed = if durable { replica.flushed } else { replica.end };
            replica.power_lost && !durable || replica.matched.min(flushed) > offset
        };
        // What a wipe took away was held when the leader counted it; that it is gone is the licence's business.
        let held_before_wipe = |(node, before): &(&NodeId, &Replica)| {
            let again = self.ledger.replica(**node).is_some_and(|replica| holds(&replica));
            !again && (!durable || before.flushed > offset) && self.ledger.agrees_up_to(before, offset)
        };
        let wiped = self.ledger.wiped.iter().filter(held_before_wipe).count();
        self.ledger.current().map(|(_, replica)| replica).filter(holds).count() + wiped
    }

    /// In words, when `held` are too few and `needed` must.
    fn too_few(&self, held: usize, needed: usize) -> String {
        let ends: Vec<String> = self
            .ledger
            .replicas
            .iter()
            .map(|(node, replica)| {
                format!("{node}: {} durable, {} the same", replica.flushed, replica.matched)
            })
            .collect();
        let how = if self.is_durable() { "durably" } else { "in their logs" };
        format!("when {held} replicas held it {how} and {needed} must ({})", ends.join("; "))
    }
}

impl AckSafety {
    /// A node was told of another `min.insync.replicas` than the one that the run began with or was told before.
    fn changed(
        &mut self,
        (tp, at_start): (Tp, u32),
        node: NodeId,
        (min_isr, is_followed): (u32, bool),
        committed: i64,
    ) {
        let index = tp.0 as usize;
        let is_known = self.minimums.get(index).is_some_and(Option::is_some);
        if !is_known && min_isr == at_start {
            return;
        }
        if self.minimums.len() <= index {
            self.minimums.resize_with(index + 1, || None);
        }
        let minimum = self.minimums[index].get_or_insert_default();
        let least = minimum.nodes.entry(node).or_insert(at_start);
        if min_isr > *least && is_followed {
            if minimum.past.len() >= PAST_MAX {
                minimum.past.pop_front();
            }
            minimum.past.push_back((committed, *least));
        }
        if min_isr < *least || is_followed {
            *least = min_isr;
        }
    }

    /// The least `min.insync.replicas` with which a node may have answered for this offset, or commit it now.
    fn minimum(&self, told: &Told<'_>, offset: i64) -> u32 {
        let Some(Some(minimum)) = self.minimums.get(told.tp.0 as usize) else { return told.known.min_isr };
        let now = minimum.nodes.get(&told.node).copied().unwrap_or(told.known.min_isr);
        let past = minimum.past.iter().filter(|(below, _)| offset < *below).map(|(_, least)| *least);
        past.fold(now, u32::min)
    }

    fn report(&mut self, told: &Told<'_>, anomaly: &'static str, last: i64, what: String) {
        let partition = &told.known.name;
        self.findings.report(told.at, anomaly, 1, Some(told.tp), || Described {
            message: format!("{partition} @ offset {last}: broker {} {what}.", told.node),
            partition: Some(partition.to_string()),
            offset: Some(last),
            ..Described::default()
        });
    }

    fn acked(&mut self, told: &Told<'_>, (base, last): (i64, i64)) {
        self.findings.checked(1);
        let answered = || format!("answered acks=all for {base}..={last} at {}", At(told.at));
        let committed = told.ledger.high_watermark;
        if last >= committed {
            let by = told.ledger.decided.map_or("nobody".to_owned(), |(node, epoch, since)| {
                format!("broker {node} in leader epoch {epoch} at {}", At(since))
            });
            let what = format!("{}, but {by} has committed only up to {committed}", answered());
            return self.report(told, "acked-before-committed", last, what);
        }
        let (held, needed) = (told.held(last), told.needed(self.minimum(told, last)));
        if held < needed {
            let what = format!("{}, {}", answered(), told.too_few(held, needed));
            self.report(told, "acked-under-replicated", last, what);
        }
    }

    fn committed(&mut self, told: &Told<'_>, epoch: i32) {
        let offset = told.ledger.high_watermark;
        let newest = told.ledger.leaders.last_key_value().map(|(epoch, _)| *epoch);
        if offset <= told.ledger.change.high_watermark || newest != Some(epoch) {
            return;
        }
        self.findings.checked(1);
        let needed = told.needed(self.minimum(told, i64::MAX));
        let held = told.held(offset - 1);
        if held < needed {
            let too_few = told.too_few(held, needed);
            let what = format!(
                "committed everything below {offset} in leader epoch {epoch} at {}, {too_few}",
                At(told.at)
            );
            self.report(told, "committed-under-replicated", offset - 1, what);
        }
    }
}
