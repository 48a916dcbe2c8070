//! What the coming and going of a broker does to partitions (`generateLeaderAndIsrUpdates`).

use super::Cluster;
use super::cluster::{directory_among, is_reserved};
use crate::metadata::{Broker, Partition};
use burnin_wire::metadata_records::{BrokerRegistrationChangeRecord, MetadataRecord};
use uuid::Uuid;

/// What happened to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is fenced or about to stop: it leaves every ISR and leads nothing. What it holds it keeps.
    Leaves(i32),
    /// It came back without a clean stop: its tail may be lost, so it leaves every ELR too.
    LostTail(i32),
    /// It is gone for good, with all that it held.
    Gone(i32),
    /// It is unfenced: partitions without a leader may get one.
    Returns(i32),
}

impl Event {
    fn concerns(self, partition: &Partition) -> bool {
        match self {
            Event::Leaves(id) => partition.isr.contains(&id),
            Event::LostTail(id) => partition.isr.contains(&id) || partition.elr.contains(&id),
            Event::Gone(id) => {
                let members = [&partition.isr, &partition.elr, &partition.last_known_elr];
                members.iter().any(|members| members.contains(&id))
            }
            Event::Returns(_) => partition.leader == -1,
        }
    }
}

impl<'a> Cluster<'a> {
    /// The changes of all partitions that follow from the event, which the image does not show yet. Looks at every
    /// partition: such events are rare.
    pub(super) fn follow(&self, event: Event) -> Vec<MetadataRecord> {
        self.follow_with(event, |_| None)
    }

    /// The same for a start of a broker, which may come with other directories: a disk that was replaced, where
    /// replicas are made anew. (Kafka's brokers say so with AssignReplicasToDirs.)
    pub(super) fn follow_start(&self, event: Event, broker: i32, log_dirs: &[Uuid]) -> Vec<MetadataRecord> {
        self.follow_with(event, |partition| {
            let directory = partition.directory(broker)?;
            let is_gone = !is_reserved(directory) && !log_dirs.contains(&directory);
            is_gone.then(|| (broker, directory_among(log_dirs)))
        })
    }

    fn follow_with(
        &self,
        event: Event,
        moved: impl Fn(&Partition) -> Option<(i32, Uuid)>,
    ) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for (name, topic) in self.image.topics() {
            for (number, partition) in &topic.partitions {
                let moved = moved(partition);
                if moved.is_none() && !event.concerns(partition) {
                    continue;
                }
                let mut change = self.change(name, partition);
                change.election = self.election(name);
                change.moved = moved;
                match event {
                    Event::Leaves(id) => change.isr.retain(|member| *member != id),
                    Event::LostTail(id) | Event::Gone(id) => {
                        change.isr.retain(|member| *member != id);
                        change.lost_tail = Some(id);
                        change.gone = (event == Event::Gone(id)).then_some(id);
                    }
                    Event::Returns(_) => {}
                }
                let cluster = *self;
                change.set_may_lead(Box::new(move |broker| {
                    cluster.may_lead_after(event, broker) && cluster.has_directory(broker, partition)
                }));
                records.extend(change.build(topic.id, *number).map(MetadataRecord::from));
            }
        }
        records
    }

    fn may_lead_after(&self, event: Event, broker: i32) -> bool {
        match event {
            Event::Leaves(id) | Event::LostTail(id) | Event::Gone(id) => {
                broker != id && self.is_active(broker)
            }
            Event::Returns(id) if broker == id => {
                self.image.brokers().get(&id).is_some_and(|known| !known.in_controlled_shutdown)
            }
            Event::Returns(_) => self.is_active(broker),
        }
    }

    /// The broker leaves all ISRs and leaderships, and is fenced, in one batch.
    pub(super) fn fence(&self, broker: i32) -> Vec<MetadataRecord> {
        let mut records = self.follow(Event::Leaves(broker));
        records.push(self.registration_change(broker, |change| change.fenced = 1));
        records
    }

    /// The broker may lead again.
    pub(super) fn unfence(&self, broker: i32) -> Vec<MetadataRecord> {
        let mut records = vec![self.registration_change(broker, |change| change.fenced = -1)];
        records.extend(self.follow(Event::Returns(broker)));
        records
    }

    /// The broker wants to stop: others take over first.
    pub(super) fn begin_shutdown(&self, broker: i32) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        if !self.registered(broker).in_controlled_shutdown {
            records.push(self.registration_change(broker, |change| change.in_controlled_shutdown = 1));
        }
        records.extend(self.follow(Event::Leaves(broker)));
        records
    }

    /// Whether the broker leads anything.
    pub(super) fn leads_any(&self, broker: i32) -> bool {
        let mut partitions = self.image.topics().values().flat_map(|topic| topic.partitions.values());
        partitions.any(|partition| partition.leader == broker)
    }

    fn registered(&self, broker: i32) -> &'a Broker {
        let known = self.image.brokers().get(&broker);
        known.unwrap_or_else(|| panic!("broker {broker} is not registered"))
    }

    fn registration_change(
        &self,
        broker_id: i32,
        set: impl FnOnce(&mut BrokerRegistrationChangeRecord),
    ) -> MetadataRecord {
        let broker_epoch = self.registered(broker_id).epoch;
        let mut change = BrokerRegistrationChangeRecord { broker_id, broker_epoch, ..Default::default() };
        set(&mut change);
        change.into()
    }
}
