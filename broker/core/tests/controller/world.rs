//! A small cluster: an active controller, a standby that replays what it writes, and a clock.

use burnin_core::Release;
use burnin_core::config::Properties;
use burnin_core::controller::{
    AlterPartition, Context, Controller, ControllerConfig, Decision, ELIGIBLE_LEADER_REPLICAS, Heartbeat,
    HeartbeatAnswer, IsrState, ProposedIsr, Registration, check_step,
};
use burnin_core::metadata::{
    AlterOp, ApiError, ConfigOp, Defaults, Image, METADATA_VERSION_NAME, NewTopic, Partition, RecordVersions,
    ResourceType,
};
use burnin_runtime::{Entropy, Instant};
use burnin_wire::ErrorCode;
use burnin_wire::metadata_records::{FeatureRange, MetadataRecord};
use std::time::Duration;
use uuid::Uuid;

pub(crate) const SESSION: Duration = Duration::from_secs(9);

pub(crate) struct World {
    pub(crate) active: Controller,
    pub(crate) standby: Controller,
    pub(crate) now: Instant,
    pub(crate) entropy: Entropy,
    pub(crate) next_offset: i64,
    /// What was appended: offset of the first record, and the records.
    pub(crate) batches: Vec<(i64, Vec<MetadataRecord>)>,
    incarnations: u128,
}

pub(crate) fn config(elr: bool) -> ControllerConfig {
    ControllerConfig {
        node_id: 100,
        cluster_id: "cluster".into(),
        voters: vec![100],
        voters_are_configured: true,
        session_timeout: SESSION,
        defaults: Defaults { partitions: 2, replication_factor: 3 },
        properties: Properties::new(),
        rebalance_interval: Some(Duration::from_secs(300)),
        unclean_interval: Duration::from_secs(300),
        idle_interval: None,
        features: Release::LATEST.features(),
        bootstrap: vec![
            (METADATA_VERSION_NAME.into(), 25),
            (ELIGIBLE_LEADER_REPLICAS.into(), i16::from(elr)),
        ],
        mutants: burnin_runtime::Mutants::NONE,
    }
}

/// Removes the code of an error, for comparisons.
pub(crate) fn code<T>(result: Result<T, ApiError>) -> Result<T, ErrorCode> {
    result.map_err(|error| error.code)
}

impl World {
    /// A controller without brokers.
    pub(crate) fn with(config: ControllerConfig) -> World {
        let controller = || Controller::new(config.clone(), Image::default());
        let mut world = World {
            active: controller(),
            standby: controller(),
            now: Instant::ZERO + Duration::from_secs(1),
            entropy: Entropy::from_seed([3; 32]),
            next_offset: 0,
            batches: Vec::new(),
            incarnations: 0,
        };
        let records = world.active.activate(world.now);
        world.append(&records);
        world
    }

    /// Brokers 1 to `brokers`, alive, with ELR.
    pub(crate) fn new(brokers: i32) -> World {
        let mut world = World::with(config(true));
        (1..=brokers).for_each(|id| world.start(id));
        world
    }

    /// The same without ELR.
    pub(crate) fn without_elr(brokers: i32) -> World {
        let mut world = World::with(config(false));
        (1..=brokers).for_each(|id| world.start(id));
        world
    }

    pub(crate) fn context(&self) -> Context {
        Context { now: self.now, next_offset: self.next_offset }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Appends one batch: every record goes through its encoding to both controllers.
    pub(crate) fn append(&mut self, records: &[MetadataRecord]) {
        if records.is_empty() {
            return;
        }
        let before = self.active.image().clone();
        self.batches.push((self.next_offset, records.to_vec()));
        for record in records {
            let mut versions = RecordVersions::at(self.active.image().metadata_version());
            let decoded =
                versions.decode(&versions.clone().encode(record), &Release::LATEST.features()).unwrap();
            assert_eq!(decoded, *record, "the encoding keeps everything");
            for controller in [&mut self.active, &mut self.standby] {
                controller.apply(self.next_offset, &decoded).unwrap();
            }
            self.next_offset += 1;
        }
        assert_eq!(self.active.image(), self.standby.image(), "a standby is equal");
        check_step(&before, self.active.image()).unwrap();
        self.active.check().unwrap();
    }

    pub(crate) fn commit<T>(&mut self, decision: Decision<T>) -> T {
        self.append(&decision.records);
        decision.answer
    }

    /// Commits what the controller does by itself until nothing is due. Says how many batches that were.
    pub(crate) fn tick(&mut self) -> usize {
        let mut batches = 0;
        while self.active.deadline() <= self.now {
            let records = self.active.tick(self.now);
            self.append(&records);
            batches += 1;
            assert!(batches < 100, "ticks do not end");
        }
        batches
    }

    /// A registration of a new start.
    pub(crate) fn registration(&mut self, id: i32, previous_broker_epoch: i64) -> Registration {
        self.incarnations += 1;
        let range = |(name, (min, max)): (String, (i16, i16))| FeatureRange {
            name,
            min_supported_version: min,
            max_supported_version: max,
        };
        Registration {
            broker_id: id,
            cluster_id: "cluster".into(),
            incarnation_id: Uuid::from_u128(self.incarnations),
            features: Release::LATEST.features().into_iter().map(range).collect(),
            log_dirs: vec![directory(id)],
            rack: Some(format!("rack{}", id % 3)),
            previous_broker_epoch,
            ..Registration::default()
        }
    }

    pub(crate) fn register(&mut self, request: &Registration) -> Result<i64, ApiError> {
        let context = self.context();
        let decision = self.active.register(request, context)?;
        Ok(self.commit(decision))
    }

    /// Registers without a clean stop before, and unfences.
    pub(crate) fn start(&mut self, id: i32) {
        self.start_after(id, -1);
    }

    /// Registers after a clean stop under `epoch` (or -1), and unfences.
    pub(crate) fn start_after(&mut self, id: i32, epoch: i64) {
        let registration = self.registration(id, epoch);
        self.register(&registration).unwrap();
        assert!(!self.beat(id).is_fenced);
    }

    pub(crate) fn epoch(&self, id: i32) -> i64 {
        self.active.image().brokers()[&id].epoch
    }

    pub(crate) fn heartbeat(&mut self, request: Heartbeat) -> Result<HeartbeatAnswer, ApiError> {
        let context = self.context();
        let decision = self.active.heartbeat(&request, context)?;
        Ok(self.commit(decision))
    }

    fn plain(&self, id: i32) -> Heartbeat {
        let metadata_offset = self.next_offset - 1;
        Heartbeat { broker_id: id, broker_epoch: self.epoch(id), metadata_offset, ..Heartbeat::default() }
    }

    /// A heartbeat of a broker that has applied everything and wants to live.
    pub(crate) fn beat(&mut self, id: i32) -> HeartbeatAnswer {
        self.heartbeat(self.plain(id)).unwrap()
    }

    /// A heartbeat of a broker that wants to stop.
    pub(crate) fn stop(&mut self, id: i32) -> HeartbeatAnswer {
        self.heartbeat(Heartbeat { want_shut_down: true, ..self.plain(id) }).unwrap()
    }

    /// Fences a broker at once, as if its session were over.
    pub(crate) fn fence(&mut self, id: i32) {
        self.heartbeat(Heartbeat { want_fence: true, ..self.plain(id) }).unwrap();
    }

    /// A topic whose partitions have these replicas.
    pub(crate) fn topic(&mut self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) -> Uuid {
        let topic = NewTopic {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            assignments: (0..).zip(replicas.iter().map(|ids| ids.to_vec())).collect(),
            configs: configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect(),
        };
        self.create(&topic).unwrap()
    }

    pub(crate) fn create(&mut self, topic: &NewTopic) -> Result<Uuid, ApiError> {
        let decision = self.active.cluster()?.create_topic(topic, &mut self.entropy)?;
        Ok(self.commit(decision).id)
    }

    pub(crate) fn configure(
        &mut self,
        kind: ResourceType,
        resource: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ApiError> {
        let op = if value.is_some() { AlterOp::Set } else { AlterOp::Delete };
        let ops = [ConfigOp { name: name.into(), op, value: value.map(str::to_owned) }];
        let decision = self.active.cluster()?.alter_configs(kind, resource, &ops)?;
        self.commit(decision);
        Ok(())
    }

    /// Partition 0 of a topic.
    pub(crate) fn partition(&self, topic: &str) -> &Partition {
        &self.active.image().topic(topic).unwrap().partitions[&0]
    }

    /// Leader, ISR, ELR and last known leader of partition 0.
    pub(crate) fn state(&self, topic: &str) -> (i32, &[i32], &[i32], &[i32]) {
        let partition = self.partition(topic);
        (partition.leader, &partition.isr, &partition.elr, &partition.last_known_elr)
    }

    /// What the leader of partition 0 would ask for, in its current epochs.
    pub(crate) fn proposal(&self, topic: &str, isr: &[i32]) -> ProposedIsr {
        let partition = self.partition(topic);
        ProposedIsr {
            topic_id: self.active.image().topic(topic).unwrap().id,
            partition: 0,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr
                .iter()
                .map(|id| (*id, self.active.image().brokers().get(id).map_or(-1, |b| b.epoch)))
                .collect(),
            recovering: false,
        }
    }

    pub(crate) fn alter(&mut self, broker: i32, proposed: ProposedIsr) -> Result<IsrState, ErrorCode> {
        let request = AlterPartition {
            broker_id: broker,
            broker_epoch: self.epoch(broker),
            partitions: vec![proposed],
        };
        let decision = self.active.cluster().unwrap().alter_partition(&request).unwrap();
        self.commit(decision).remove(0)
    }

    /// The leader of partition 0 changes its ISR.
    pub(crate) fn set_isr(&mut self, topic: &str, isr: &[i32]) -> IsrState {
        let (leader, proposal) = (self.partition(topic).leader, self.proposal(topic, isr));
        self.alter(leader, proposal).unwrap()
    }
}

pub(crate) fn directory(broker: i32) -> Uuid {
    Uuid::from_u128(1000 + broker as u128)
}
