//! A partition as the metadata log has it (`PartitionRegistration`).

use burnin_wire::metadata_records::{PartitionChangeRecord, PartitionRecord};
use uuid::Uuid;

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Node ids, the preferred leader first. While a reassignment is under way, the old and the new ones.
    pub replicas: Vec<i32>,
    /// The directory of each replica, in the same order.
    pub directories: Vec<Uuid>,
    /// The in-sync ones.
    pub isr: Vec<i32>,
    /// -1 for none.
    pub leader: i32,
    /// Raised by every election.
    pub leader_epoch: i32,
    /// Raised by every change.
    pub partition_epoch: i32,
    /// The replicas that a reassignment takes away when it completes.
    pub removing: Vec<i32>,
    /// The replicas that a reassignment has added.
    pub adding: Vec<i32>,
    /// Whether the leader was elected uncleanly and has not said yet that it has recovered (KIP-704).
    pub recovering: bool,
    /// Replicas outside the ISR that hold everything that was committed (KIP-966).
    pub elr: Vec<i32>,
    /// While there is no leader: the last one, in KIP-966's field `LastKnownElr`.
    pub last_known_elr: Vec<i32>,
}

/// The value of `PartitionChangeRecord.leader` that keeps leader and epoch.
const LEADER_UNCHANGED: i32 = -2;

impl Partition {
    /// What a record creates, or replaces as a whole.
    pub(super) fn new(record: &PartitionRecord) -> Partition {
        Partition {
            replicas: record.replicas.clone(),
            directories: record.directories.clone(),
            isr: record.isr.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            removing: record.removing_replicas.clone(),
            adding: record.adding_replicas.clone(),
            recovering: record.leader_recovery_state == 1,
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
        }
    }

    /// `PartitionRegistration.merge`: a named leader raises the leader epoch, every change the partition epoch.
    pub fn merge(&mut self, change: &PartitionChangeRecord) {
        let lists = [
            (&mut self.isr, &change.isr),
            (&mut self.replicas, &change.replicas),
            (&mut self.removing, &change.removing_replicas),
            (&mut self.adding, &change.adding_replicas),
            (&mut self.elr, &change.eligible_leader_replicas),
            (&mut self.last_known_elr, &change.last_known_elr),
        ];
        for (current, next) in lists {
            if let Some(next) = next {
                current.clone_from(next);
            }
        }
        if let Some(directories) = &change.directories {
            self.directories.clone_from(directories);
        }
        if change.leader_recovery_state >= 0 {
            self.recovering = change.leader_recovery_state == 1;
        }
        if change.leader != LEADER_UNCHANGED {
            self.leader = change.leader;
            self.leader_epoch += 1;
        }
        self.partition_epoch += 1;
    }

    /// Whether replicas are being added or removed.
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The directory of a replica; `None` for a broker that is no replica.
    pub fn directory(&self, broker: i32) -> Option<Uuid> {
        let index = self.replicas.iter().position(|replica| *replica == broker)?;
        self.directories.get(index).copied()
    }

    /// Why this can be no partition's state: what holds whatever the configuration says.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {self:?}"));
        let is_replica = |id: &i32| self.replicas.contains(id);
        let doubled = |ids: &[i32]| ids.iter().enumerate().any(|(index, id)| ids[..index].contains(id));
        if self.replicas.is_empty() || doubled(&self.replicas) || doubled(&self.isr) || doubled(&self.elr) {
            return wrong("replicas are missing or named twice");
        }
        if !self.isr.iter().all(is_replica) {
            return wrong("the ISR names a broker that is no replica");
        }
        if self.leader != -1 && !self.isr.contains(&self.leader) {
            return wrong("the leader is not in the ISR");
        }
        if self.elr.iter().any(|id| self.isr.contains(id)) {
            return wrong("ISR and ELR overlap");
        }
        if !self.adding.iter().chain(&self.removing).all(is_replica) {
            return wrong("a reassignment adds or removes a broker that is no replica");
        }
        Ok(())
    }
}
