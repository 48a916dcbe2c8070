//! W2, partitions (white-box): what is below a high watermark is in every replica that may be elected, and in every
//! later leader's log. On the event that can break it.
//!
//! * `two-leaders`: two replicas began to lead in one leader epoch.
//! * `leader-incomplete`: one began to lead without what was committed. Lawful where a licence covers it: an unclean
//!   election that is allowed, or enough page caches lost.
//! * `isr-behind`: the leader moved the high watermark past what a member of the ISR has, or a replica joined the ISR,
//!   or was proposed for it, without what was committed.
//! * `isr-lost`: a member of the ISR came back from a crash, or cut its log, without what was committed and what it had.
//! * `metadata-conflict`: two nodes applied different states under one partition epoch; or the leader epoch went back.
//! * `leader-not-in-isr`, `bad-isr`: a state that no controller may decide; `fenced-in-isr`: a fenced broker joined.
//! * `high-watermark-regress`, `high-watermark-past-end`, `high-watermark-ahead` (of what any leader committed),
//!   `high-watermark-diverges` (a replica serves as committed what is something else).
//! * `committed-cut`: a follower cut what is committed, which no unclean election and no lost page cache explains.
//! * `counted-divergent`: a leader counts a replica as holding what it holds something else in place of, or more than
//!   the leader has.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::{Facts, PartitionFacts};
use crate::replicas::{Batch, Ledger, METADATA, Replica, State};
use crate::words::At;
use burnin_history::{Event, FaultEvent, Flush, Moment, NodeId, Tp};
use burnin_runtime::Observation;
use std::collections::BTreeMap;
use std::sync::Arc;

type Marks = BTreeMap<(Arc<str>, NodeId), (i32, i64, Moment)>;

/// See the module.
#[derive(Debug)]
pub struct PartitionSafety {
    findings: Findings,
    /// What each node applied of the brokers: whether they are fenced.
    fenced: BTreeMap<NodeId, BTreeMap<i32, bool>>,
    /// The high watermark that each node told last: in which leader epoch, and when.
    marks: Marks,
}

impl Default for PartitionSafety {
    fn default() -> Self {
        let findings = Findings::new("W2", Class::Safety);
        PartitionSafety { findings, fenced: BTreeMap::new(), marks: BTreeMap::new() }
    }
}

impl Checker for PartitionSafety {
    fn property(&self) -> &'static Property {
        &Property {
            id: "W2",
            seen_outside: &[],
            seen_inside: &[
                "two-leaders",
                "leader-incomplete",
                "isr-behind",
                "isr-lost",
                "metadata-conflict",
                "leader-not-in-isr",
                "bad-isr",
                "fenced-in-isr",
                "high-watermark-regress",
                "high-watermark-past-end",
                "high-watermark-ahead",
                "high-watermark-diverges",
                "counted-divergent",
                "committed-cut",
            ],
        }
    }

    fn see(&mut self, facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::Fault(
                FaultEvent::Killed { node } | FaultEvent::PowerLost { node } | FaultEvent::Stopped { node },
            ) => {
                self.marks.retain(|(_, other), _| other != node);
                self.fenced.remove(node);
            }
            Event::Observed { node, observation } => self.observed(facts, at, *node, observation),
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
    name: &'a Arc<str>,
    ledger: &'a Ledger,
    facts: Option<(Tp, &'a PartitionFacts)>,
    node: NodeId,
    at: Moment,
}

impl Told<'_> {
    /// Whether replicas may have lost what only their page caches held.
    fn page_cache(&self) -> bool {
        self.facts.is_none_or(|(_, facts)| facts.flush == Flush::PageCache)
    }

    fn generation(&self) -> u32 {
        self.facts.map_or(0, |(_, facts)| facts.licence.generation())
    }

    fn decided(&self) -> String {
        let words = |(node, epoch, since)| format!("broker {node} in leader epoch {epoch} at {}", At(since));
        self.ledger.decided.map_or("nobody".to_owned(), words)
    }
}

impl PartitionSafety {
    fn report(&mut self, told: &Told<'_>, anomaly: &'static str, offset: i64, what: impl FnOnce() -> String) {
        let tp = told.facts.map(|(tp, _)| tp);
        self.findings.report(told.at, anomaly, 1, tp, || Described {
            message: format!("{}: broker {} {} at {}.", told.name, told.node, what(), At(told.at)),
            partition: Some(told.name.to_string()),
            offset: Some(offset),
            ..Described::default()
        });
    }

    fn observed(&mut self, facts: &Facts, at: Moment, node: NodeId, observation: &Observation) {
        let name = match observation {
            Observation::BrokerState { broker, fenced, .. } => {
                self.fenced.entry(node).or_default().insert(*broker, *fenced);
                return;
            }
            Observation::BrokerGone { broker } => {
                self.fenced.entry(node).or_default().insert(*broker, true);
                return;
            }
            // What the node knew of brokers is what the snapshot says, and that is told next.
            Observation::SnapshotLoaded { .. } => {
                self.fenced.remove(&node);
                return;
            }
            // What comes next under this name is of another topic, or another replica.
            Observation::LogRemoved { partition } => {
                self.marks.remove(&(partition.clone(), node));
                return;
            }
            Observation::PartitionState { partition, .. }
            | Observation::LeaderStarted { partition, .. }
            | Observation::ReplicaCounted { partition, .. }
            | Observation::IsrProposed { partition, .. }
            | Observation::HighWatermark { partition, .. }
            | Observation::CommittedCut { partition, .. }
            | Observation::LogTruncated { partition, .. }
            | Observation::LogRecovered { partition, .. } => partition,
            _ => return,
        };
        let Some(ledger) = facts.replicas().log(name).filter(|_| **name != *METADATA) else { return };
        let is_state = matches!(observation, Observation::PartitionState { .. });
        if !is_state && ledger.is_earlier(node) {
            // It still speaks of an earlier topic of this name.
            return;
        }
        let known = facts.partition_named(name).map(|tp| (tp, facts.partition(tp)));
        let told = Told { name, ledger, facts: known, node, at };
        self.findings.checked(1);
        match observation {
            Observation::PartitionState { .. } => self.state(&told, observation),
            Observation::LeaderStarted { leader_epoch, start_offset, high_watermark, .. } => {
                self.leads(&told, *leader_epoch, *start_offset, *high_watermark);
            }
            Observation::ReplicaCounted { leader_epoch, replica, offset, .. } => {
                self.counted(&told, *leader_epoch, *replica, *offset);
            }
            Observation::IsrProposed { leader_epoch, isr, .. } => self.proposed(&told, *leader_epoch, isr),
            Observation::HighWatermark { leader_epoch, offset, leads, .. } => {
                self.high_watermark(&told, *leader_epoch, *offset, *leads);
            }
            Observation::CommittedCut { leader_epoch, offset, .. } => {
                self.committed_cut(&told, *leader_epoch, *offset);
            }
            Observation::LogTruncated { offset, .. } => self.shrank(&told, *offset, false),
            Observation::LogRecovered { log_end_offset, .. } => self.shrank(&told, *log_end_offset, true),
            _ => {}
        }
    }

    fn state(&mut self, told: &Told<'_>, observation: &Observation) {
        let Observation::PartitionState {
            topic_id,
            leader,
            leader_epoch,
            partition_epoch,
            replicas,
            isr,
            elr,
            ..
        } = observation
        else {
            return;
        };
        let Some(newest) = told.ledger.state.as_ref().filter(|newest| newest.topic_id == *topic_id) else {
            return;
        };
        let this = State {
            topic_id: *topic_id,
            leader: *leader,
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
            replicas: replicas.clone(),
            isr: isr.clone(),
            elr: elr.clone(),
        };
        if newest.topic_id == this.topic_id
            && newest.partition_epoch == this.partition_epoch
            && *newest != this
        {
            self.report(told, "metadata-conflict", -1, || {
                format!("applied {this:?}, where {newest:?} had been applied")
            });
        }
        let Some(before) = &told.ledger.change.state else { return };
        if let Some(before) = before.as_ref().filter(|before| before.leader_epoch > *leader_epoch) {
            self.report(told, "metadata-conflict", -1, || {
                format!("applied leader epoch {leader_epoch} after {}", before.leader_epoch)
            });
        }
        if *leader >= 0 && !isr.contains(leader) {
            self.report(told, "leader-not-in-isr", -1, || {
                format!("applied leader {leader} with ISR {isr:?} in leader epoch {leader_epoch}")
            });
        }
        let foreign = isr.iter().chain(elr.iter()).any(|member| !replicas.contains(member));
        if foreign || isr.iter().any(|member| elr.contains(member)) {
            self.report(told, "bad-isr", -1, || {
                format!("applied ISR {isr:?} and ELR {elr:?} of replicas {replicas:?} in leader epoch {leader_epoch}")
            });
        }
        let Some(before) = before else { return };
        for member in isr.iter().filter(|member| !before.isr.contains(member)) {
            let fenced = self.fenced.get(&told.node).and_then(|known| known.get(member)).copied();
            if fenced == Some(true) && !before.elr.contains(member) && *leader != *member {
                self.report(told, "fenced-in-isr", -1, || {
                    format!("applied ISR {isr:?} in leader epoch {leader_epoch} while {member} is fenced")
                });
            }
            let was_eligible = before.elr.contains(member) || *leader == *member;
            if let Some(replica) = told.ledger.replica(NodeId(*member)).filter(|_| !was_eligible) {
                self.behind(told, *member, replica, told.ledger.high_watermark, "joins the ISR");
            }
        }
    }

    /// A member of the ISR must have what is committed below `offset`.
    fn behind(&mut self, told: &Told<'_>, member: i32, replica: &Replica, offset: i64, how: &str) {
        if replica.matched >= offset || (replica.power_lost && told.page_cache()) {
            return;
        }
        self.report(told, "isr-behind", replica.matched, || {
            let by = told.decided();
            format!(
                "says that {member} {how}, which has what is committed only up to {} (its log ends at {}), while \
                 everything below {offset} was committed by {by}; noticed",
                replica.matched, replica.end
            )
        });
    }

    /// A leader asks for an ISR. One that was replaced asks in vain; a member that was told of another epoch since may
    /// have been cut.
    fn proposed(&mut self, told: &Told<'_>, epoch: i32, isr: &[i32]) {
        let newest = told.ledger.leaders.last_key_value().map(|(epoch, _)| *epoch);
        let Some(state) = told.ledger.state.as_ref().filter(|_| newest == Some(epoch)) else { return };
        for member in isr.iter().filter(|member| !state.isr.contains(member)) {
            let replica = told.ledger.replicas.get(&NodeId(*member));
            if let Some(replica) = replica.filter(|replica| replica.epoch == epoch && !replica.rotted) {
                self.behind(told, *member, replica, told.ledger.high_watermark, "is to join the ISR");
            }
        }
    }

    fn leads(&mut self, told: &Told<'_>, epoch: i32, start: i64, high_watermark: i64) {
        if let Some((other, since)) = told.ledger.leaders.get(&epoch).filter(|(other, _)| *other != told.node)
        {
            self.report(told, "two-leaders", start, || {
                format!(
                    "leads in leader epoch {epoch}, in which broker {other} has led since {}; noticed",
                    At(*since)
                )
            });
        }
        if high_watermark > start {
            self.report(told, "high-watermark-past-end", high_watermark, || {
                format!("begins to lead at {start} with high watermark {high_watermark}")
            });
        }
        self.marks.insert((told.name.clone(), told.node), (epoch, high_watermark, told.at));
        self.in_sync(told, high_watermark);
        let Some(lost) = told.ledger.change.lost else { return };
        let lawful = lost.first.is_none_or(|(_, generation)| generation < told.generation());
        if !lawful {
            let instead = lost.instead.map_or(String::new(), |batch| format!(" (it has {batch:?} there)"));
            self.report(told, "leader-incomplete", lost.kept, || {
                format!(
                    "began to lead in leader epoch {epoch} without what was committed from {} to {}{instead}",
                    lost.kept, lost.committed
                )
            });
        }
    }

    fn counted(&mut self, told: &Told<'_>, epoch: i32, replica: i32, offset: i64) {
        let (Some(leader), Some(follower)) =
            (told.ledger.replica(told.node), told.ledger.replica(NodeId(replica)))
        else {
            return;
        };
        // What it fetched in an earlier epoch, or before it crashed, says nothing of what it holds now.
        if follower.epoch != epoch {
            return;
        }
        if offset > leader.end {
            let end = leader.end;
            self.report(told, "counted-divergent", end, || {
                format!("counts replica {replica} up to {offset} in leader epoch {epoch}, though its own log ends at {end},")
            });
            return;
        }
        let is_other = |batch: &&Batch| match batch.last < leader.matched {
            true => told.ledger.keeps(batch.base) && told.ledger.committed_at(batch.base) != Some(**batch),
            false => {
                let at = leader.tail.partition_point(|other| other.base < batch.base);
                leader.tail.get(at).is_some_and(|other| other.base == batch.base && other != *batch)
            }
        };
        // what is below the leader's log start is no part of the log any more
        let counted = follower.tail.iter().skip_while(|batch| batch.last < leader.start);
        let differs = counted.take_while(|batch| batch.last < offset).find(is_other);
        if let Some(batch) = differs {
            self.report(told, "counted-divergent", batch.base, || {
                format!("counts replica {replica} up to {offset} in leader epoch {epoch}, which has {batch:?}, another batch than the leader,")
            });
        }
    }

    fn high_watermark(&mut self, told: &Told<'_>, epoch: i32, offset: i64, leads: bool) {
        let Some(replica) = told.ledger.replica(told.node) else { return };
        let key = (told.name.clone(), told.node);
        if let Some((known, before, since)) = self.marks.insert(key, (epoch, offset, told.at))
            && known == epoch
            && offset < before
        {
            self.report(told, "high-watermark-regress", offset, || {
                format!(
                    "moved its high watermark from {before} (at {}) back to {offset} in leader epoch {epoch}",
                    At(since)
                )
            });
        }
        if offset > replica.end {
            let end = replica.end;
            self.report(told, "high-watermark-past-end", offset, || {
                format!(
                    "has a high watermark of {offset} in leader epoch {epoch} and a log that ends at {end}"
                )
            });
            return;
        }
        if leads {
            self.in_sync(told, offset);
            return;
        }
        let committed = told.ledger.high_watermark;
        if offset > committed {
            self.report(told, "high-watermark-ahead", offset, || {
                let by = told.decided();
                format!("follows with a high watermark of {offset}, but {by} has committed only up to {committed}; noticed")
            });
        } else if replica.matched < offset {
            let (matched, ours) = (replica.matched, replica.tail.front().copied());
            self.report(told, "high-watermark-diverges", matched, || {
                let by = told.decided();
                format!("follows with a high watermark of {offset}, but at {matched} has {ours:?}, not what {by} committed; noticed")
            });
        }
    }

    /// The leader has moved the high watermark: whoever may be elected has everything below.
    fn in_sync(&mut self, told: &Told<'_>, offset: i64) {
        let committed = offset.min(told.ledger.high_watermark);
        if told.ledger.high_watermark <= told.ledger.change.high_watermark {
            return;
        }
        let Some(state) = &told.ledger.state else { return };
        for member in state.isr.iter() {
            let Some(replica) = told.ledger.replica(NodeId(*member)) else { continue };
            // The leader counted what a wipe took away since, and does not know.
            let before = told.ledger.wiped.get(&NodeId(*member));
            if before.is_some_and(|before| told.ledger.agrees_up_to(before, committed - 1)) {
                continue;
            }
            self.behind(told, *member, replica, committed, "is in the ISR");
        }
    }

    /// A follower is about to cut what it knew to be committed. When the leader was elected without it, it is
    /// committed no longer, and whether that was lawful was decided then.
    fn committed_cut(&mut self, told: &Told<'_>, epoch: i32, offset: i64) {
        let Some(replica) = told.ledger.replicas.get(&told.node) else { return };
        let had = replica.matched.min(told.ledger.high_watermark);
        if offset >= had || (replica.power_lost && told.page_cache()) {
            return;
        }
        self.report(told, "committed-cut", offset, || {
            let by = told.decided();
            format!(
                "follows in leader epoch {epoch} and cuts its log to {offset}, though it has what is committed up to \
                 {had} (by {by}); noticed"
            )
        });
    }

    /// A log got shorter: of what is committed an ISR member keeps what it had.
    fn shrank(&mut self, told: &Told<'_>, offset: i64, recovered: bool) {
        let Some(state) = &told.ledger.state else { return };
        let had = told.ledger.change.matched.min(told.ledger.high_watermark);
        let Some(replica) = told.ledger.replica(told.node) else { return };
        if offset >= had || !state.isr.contains(&told.node.0) || (replica.power_lost && told.page_cache()) {
            return;
        }
        // Rot above the recovery point looks like a torn tail. The start was unclean, so that such a replica leaves the
        // ISR before it can lead.
        if recovered && replica.rotted {
            return;
        }
        let how = if recovered { "came back with a log that ends" } else { "cut its log" };
        self.report(told, "isr-lost", offset, || {
            let by = told.decided();
            format!(
                "{how} at {offset}, though it is in the ISR {:?} of leader epoch {} and had what is committed up to \
                 {had} (by {by}); noticed",
                state.isr, state.leader_epoch
            )
        });
    }
}
