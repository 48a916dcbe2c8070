//! A broker of the simulation: metadata that lags behind, logs that can lose their tails, and the real
//! [`Leader`] for what it leads.

use burnin_core::controller::{AlterPartition, IsrState, ProposedIsr};
use burnin_core::metadata::{Image, Partition, ResourceType};
use burnin_core::partition::{
    AlterPartitionError, Effects, Eligibility, IsrProposal, Leader, LeaderConfig, LeaderStart,
};
use burnin_runtime::{Entropy, Instant};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::MetadataRecord;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

pub(super) type Tp = (Uuid, i32);
/// Leader epoch, and a number that no other entry has.
pub(super) type Entry = (i32, u64);

/// `replica.lag.time.max.ms`, short enough to be reached.
const LAG: Duration = Duration::from_secs(4);

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Life {
    Up,
    /// Stopped in order, under this epoch.
    Stopped(i64),
    /// Crashed; its logs may lack their tails.
    Crashed,
}

pub(super) struct Node {
    pub(super) id: i32,
    pub(super) life: Life,
    pub(super) epoch: i64,
    pub(super) stopping: bool,
    /// What it has applied: an image, and how many batches.
    pub(super) image: Image,
    pub(super) applied: usize,
    pub(super) logs: BTreeMap<Tp, Vec<Entry>>,
    pub(super) leaders: BTreeMap<Tp, Leader>,
    high_watermarks: BTreeMap<Tp, i64>,
}

/// How long the two logs are the same.
pub(super) fn common(a: &[Entry], b: &[Entry]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Node {
    pub(super) fn new(id: i32) -> Node {
        Node {
            id,
            life: Life::Stopped(-1),
            epoch: -1,
            stopping: false,
            image: Image::default(),
            applied: 0,
            logs: BTreeMap::new(),
            leaders: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.life == Life::Up
    }

    /// What the broker knows of a partition.
    pub(super) fn view(&self, tp: Tp) -> Option<&Partition> {
        self.image.topic_by_id(&tp.0)?.partitions.get(&tp.1)
    }

    pub(super) fn log(&mut self, tp: Tp) -> &mut Vec<Entry> {
        self.logs.entry(tp).or_default()
    }

    /// The power is gone: leaders are forgotten, and each log may lose some of its end.
    pub(super) fn crash(&mut self, entropy: &mut Entropy) {
        self.life = Life::Crashed;
        self.stopping = false;
        self.leaders.clear();
        for log in self.logs.values_mut() {
            let lost = entropy.below(4) as usize;
            log.truncate(log.len().saturating_sub(lost));
        }
        self.bound_high_watermarks();
    }

    pub(super) fn stop(&mut self) {
        self.life = Life::Stopped(self.epoch);
        self.stopping = false;
        self.leaders.clear();
    }

    fn bound_high_watermarks(&mut self) {
        for (tp, mark) in &mut self.high_watermarks {
            *mark = (*mark).min(self.logs.get(tp).map_or(0, |log| log.len() as i64));
        }
    }

    /// Applies one batch of metadata as a whole. Gives the high watermarks that follow.
    pub(super) fn apply(&mut self, batch: &(i64, Vec<MetadataRecord>), now: Instant) -> Vec<(Tp, i64)> {
        for (offset, record) in (batch.0..).zip(&batch.1) {
            self.image.apply(offset, record).unwrap();
        }
        self.applied += 1;
        if self.is_up() { self.lead(now) } else { Vec::new() }
    }

    /// Leads what the image says, and nothing else. A leader learns settings before it learns a state.
    pub(super) fn lead(&mut self, now: Instant) -> Vec<(Tp, i64)> {
        let (me, image) = (self.id, &self.image);
        self.leaders.retain(|tp, leader| {
            let partition = image.topic_by_id(&tp.0).and_then(|topic| topic.partitions.get(&tp.1));
            partition.is_some_and(|p| p.leader == me && p.leader_epoch == leader.leader_epoch())
        });
        let mut marks = Vec::new();
        for (name, topic) in image.topics() {
            for (number, partition) in topic.partitions.iter().filter(|(_, p)| p.leader == me) {
                let tp = (topic.id, *number);
                let log_end = self.logs.entry(tp).or_default().len() as i64;
                let mark = self.high_watermarks.get(&tp).copied().unwrap_or(0);
                let config = LeaderConfig { min_isr: min_isr(image, name), lag_time_max: LAG };
                let leader = self.leaders.entry(tp).or_insert_with(|| {
                    let start = LeaderStart {
                        me,
                        leader_epoch: partition.leader_epoch,
                        partition_epoch: partition.partition_epoch,
                        replicas: partition.replicas.clone(),
                        isr: partition.isr.clone(),
                        epoch_start: log_end,
                        own_end: log_end,
                        high_watermark: mark.min(log_end),
                    };
                    Leader::new(start, config, now)
                });
                marks.extend(leader.set_config(config, now).high_watermark.map(|mark| (tp, mark)));
                let (isr, replicas) = (&partition.isr, &partition.replicas);
                let effects = leader.committed(isr, replicas, partition.partition_epoch, now);
                marks.extend(effects.high_watermark.map(|mark| (tp, mark)));
            }
        }
        marks
    }

    /// What this leader believes of another broker.
    pub(super) fn eligibility(&self, id: i32) -> Eligibility {
        match self.image.brokers().get(&id) {
            Some(broker) => Eligibility {
                broker_epoch: broker.epoch,
                fenced: broker.fenced,
                shutting_down: broker.in_controlled_shutdown,
            },
            None => Eligibility { broker_epoch: -1, fenced: true, shutting_down: false },
        }
    }

    pub(super) fn learn_high_watermark(&mut self, tp: Tp, offset: i64) {
        let log_end = self.log(tp).len() as i64;
        self.high_watermarks.insert(tp, offset.min(log_end));
    }

    pub(super) fn request(&self, tp: Tp, proposal: &IsrProposal) -> AlterPartition {
        let proposed = ProposedIsr {
            topic_id: tp.0,
            partition: tp.1,
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch,
            isr: proposal.isr.clone(),
            recovering: false,
        };
        AlterPartition { broker_id: self.id, broker_epoch: self.epoch, partitions: vec![proposed] }
    }

    /// The controller's answer, or none. Gives what is to be sent again.
    pub(super) fn answered(
        &mut self,
        tp: Tp,
        proposal: &IsrProposal,
        answer: Option<Result<IsrState, ErrorCode>>,
        now: Instant,
    ) -> (Effects, Option<IsrProposal>) {
        let leader = self.leaders.get_mut(&tp);
        let Some(leader) = leader.filter(|leader| leader.leader_epoch() == proposal.leader_epoch) else {
            return Default::default();
        };
        let error = match answer {
            Some(Ok(state)) => return (leader.accepted(&state.isr, state.partition_epoch, now), None),
            Some(Err(ErrorCode::INELIGIBLE_REPLICA)) => AlterPartitionError::Ineligible,
            Some(Err(_)) => AlterPartitionError::Stale,
            None => AlterPartitionError::Retry,
        };
        (Effects::default(), leader.alter_partition_failed(proposal, error))
    }
}

/// `min.insync.replicas` as a broker with this image sees it.
fn min_isr(image: &Image, topic: &str) -> usize {
    let name = "min.insync.replicas";
    let own = image.config(ResourceType::Topic, topic).get(name);
    own.or_else(|| image.config(ResourceType::Broker, "").get(name)).map_or(1, |value| value.parse().unwrap())
}
