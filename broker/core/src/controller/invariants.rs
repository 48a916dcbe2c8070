//! What is always true of the image, whoever wrote the records.
//!
//! [`check_applied`] runs at every record, on active and standby controllers. [`check_image`] and [`check_step`]
//! look at everything: for tests and for the simulator.

use crate::metadata::{Broker, Image, Partition};
use burnin_wire::metadata_records::MetadataRecord;

/// After one record: what it touched is sound, and a broker that it fenced is in no ISR any more. Within a batch
/// partitions change before their broker is fenced, so this holds at every record.
pub(super) fn check_applied(image: &Image, record: &MetadataRecord) -> Result<(), String> {
    let partition = |id, number| {
        let partition = image.topic_by_id(id).and_then(|topic| topic.partitions.get(number));
        partition.ok_or_else(|| format!("topic {id} has no partition {number}"))?.check()
    };
    match record {
        MetadataRecord::Partition(record) => partition(&record.topic_id, &record.partition_id),
        MetadataRecord::PartitionChange(record) => partition(&record.topic_id, &record.partition_id),
        MetadataRecord::FenceBroker(record) => check_fenced(image, record.id),
        MetadataRecord::BrokerRegistrationChange(record) => check_fenced(image, record.broker_id),
        MetadataRecord::RegisterBroker(record) => check_fenced(image, record.broker_id),
        _ => Ok(()),
    }
}

fn check_fenced(image: &Image, broker: i32) -> Result<(), String> {
    if image.brokers().get(&broker).is_none_or(|known| !known.fenced) {
        return Ok(());
    }
    for (name, topic) in image.topics() {
        for (number, partition) in &topic.partitions {
            check_member(partition, broker).map_err(|broken| format!("{name}-{number}: {broken}"))?;
        }
    }
    Ok(())
}

/// A fenced broker leads nothing. It is in an ISR only where it is the last member and there is no leader: so it
/// is without ELR, where the last member stays.
fn check_member(partition: &Partition, fenced: i32) -> Result<(), String> {
    let stayed = partition.leader == -1 && partition.isr == [fenced];
    if partition.isr.contains(&fenced) && !stayed {
        return Err(format!("broker {fenced} is fenced and in the ISR: {partition:?}"));
    }
    Ok(())
}

/// The whole image. `min_isr` gives `min.insync.replicas` of a topic; with `has_elr`, no fenced broker is in any
/// ISR at all.
pub fn check_image(image: &Image, has_elr: bool, min_isr: impl Fn(&str) -> usize) -> Result<(), String> {
    for (name, topic) in image.topics() {
        for (number, partition) in &topic.partitions {
            let wrong = |what: &str| Err(format!("{name}-{number}: {what}: {partition:?}"));
            partition.check().map_err(|broken| format!("{name}-{number}: {broken}"))?;
            let wanted = min_isr(name).min(partition.replicas.len());
            if partition.isr.len() >= wanted && !partition.elr.is_empty() {
                return wrong("an ELR beside a full ISR");
            }
            if !partition.elr.iter().all(|id| partition.replicas.contains(id)) {
                return wrong("the ELR names a broker that is no replica");
            }
            if partition.leader != -1 && !partition.last_known_elr.is_empty() {
                return wrong("a last known leader beside a leader");
            }
            if has_elr && partition.leader == -1 && !partition.isr.is_empty() {
                return wrong("an ISR without a leader");
            }
            for member in &partition.isr {
                let is_active = image.brokers().get(member).is_some_and(Broker::is_active);
                if !is_active && (has_elr || partition.leader == *member) {
                    return wrong(&format!("broker {member} is not active and in the ISR"));
                }
                if !is_active {
                    check_member(partition, *member)
                        .map_err(|broken| format!("{name}-{number}: {broken}"))?;
                }
            }
        }
    }
    Ok(())
}

/// From one image to a later one: epochs grow. A leader epoch stays only with its leader; a partition epoch stays
/// only when nothing changed.
pub fn check_step(before: &Image, after: &Image) -> Result<(), String> {
    for (name, topic) in before.topics() {
        let Some(later) = after.topic_by_id(&topic.id) else { continue };
        for (number, old) in &topic.partitions {
            let Some(new) = later.partitions.get(number) else {
                return Err(format!("{name}-{number} is gone and its topic is not"));
            };
            let leader_epoch_grew = new.leader_epoch > old.leader_epoch;
            let partition_epoch_grew = new.partition_epoch > old.partition_epoch;
            let is_sound = (leader_epoch_grew
                || (new.leader_epoch, new.leader) == (old.leader_epoch, old.leader))
                && (partition_epoch_grew || new == old)
                && new.partition_epoch - old.partition_epoch >= new.leader_epoch - old.leader_epoch;
            if !is_sound {
                return Err(format!("{name}-{number}: epochs do not grow: before={old:?} after={new:?}"));
            }
        }
    }
    for (id, old) in before.brokers() {
        if let Some(new) = after.brokers().get(id).filter(|new| new.epoch < old.epoch) {
            return Err(format!("broker {id}: epoch went back from {} to {}", old.epoch, new.epoch));
        }
    }
    Ok(())
}
