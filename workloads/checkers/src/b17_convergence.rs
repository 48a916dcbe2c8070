//! B17, convergence (white-box): in the end all replicas of a partition hold the same log, and nodes that applied the
//! metadata up to the same offset hold the same image.
//!
//! * `replicas-differ`: when everything was healed, nobody wrote any more and everything was read back, a replica in
//!   the newest ISR holds another log than the leader.
//! * `images-differ`: two nodes that applied the same metadata came to different images; looked at whenever told.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::Facts;
use crate::words::At;
use burnin_history::{Event, FaultEvent, Moment, NodeId};
use burnin_runtime::Observation;
use std::collections::BTreeMap;

/// Images of so many offsets are remembered.
const IMAGES_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Convergence {
    findings: Findings,
    images: BTreeMap<i64, (u64, NodeId, Moment)>,
    /// Everything was healed and read back since the last fault.
    quiet: bool,
    healed: bool,
}

impl Default for Convergence {
    fn default() -> Self {
        let findings = Findings::new("B17", Class::Safety);
        Convergence { findings, images: BTreeMap::new(), quiet: false, healed: false }
    }
}

impl Checker for Convergence {
    fn property(&self) -> &'static Property {
        &Property { id: "B17", seen_outside: &[], seen_inside: &["replicas-differ", "images-differ"] }
    }

    fn see(&mut self, _facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::Fault(FaultEvent::Healed) => self.healed = true,
            Event::Fault(FaultEvent::Started { .. }) => {}
            Event::Fault(_) => (self.healed, self.quiet) = (false, false),
            Event::ProduceInvoked { .. } => self.quiet = false,
            Event::FinalReadCompleted { .. } => self.quiet = self.healed,
            Event::Observed { node, observation: Observation::MetadataImage { offset, digest } } => {
                self.findings.checked(1);
                match self.images.get(offset).copied() {
                    Some((known, other, since)) if known != *digest => {
                        self.findings.report(at, "images-differ", 1, None, || Described {
                            message: format!(
                                "node {node} applied the metadata below {offset} and has image {digest:016x} at {}, node \
                                 {other} had image {known:016x} of the same at {}.",
                                At(at),
                                At(since)
                            ),
                            offset: Some(*offset),
                            ..Described::default()
                        });
                    }
                    _ => drop(self.images.insert(*offset, (*digest, *node, at))),
                }
                while self.images.len() > IMAGES_MAX {
                    self.images.pop_first();
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, facts: &Facts, at: Moment) {
        if !std::mem::take(&mut self.quiet) {
            return;
        }
        for (name, ledger) in facts.replicas().logs() {
            let Some(state) = &ledger.state else { continue };
            let Some(leader) = ledger.replica(NodeId(state.leader)) else { continue };
            for member in state.isr.iter().filter(|member| **member != state.leader) {
                self.findings.checked(1);
                let Some(replica) = ledger.replica(NodeId(*member)) else { continue };
                let same = replica.end == leader.end
                    && replica.matched == leader.matched
                    && replica.tail == leader.tail;
                if same {
                    continue;
                }
                self.findings.report(at, "replicas-differ", 1, facts.partition_named(name), || Described {
                    message: format!(
                        "{name}: at the end the log of replica {member} ends at {} and is what is committed up to {}{}; \
                         that of leader {} in leader epoch {} ends at {}, committed is up to {}.",
                        replica.end,
                        replica.matched,
                        replica.tail.front().map_or(String::new(), |batch| format!(", then {batch:?}")),
                        state.leader,
                        state.leader_epoch,
                        leader.end,
                        ledger.high_watermark
                    ),
                    partition: Some(name.to_string()),
                    offset: Some(replica.matched),
                    ..Described::default()
                });
            }
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}
