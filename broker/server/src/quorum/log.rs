//! The metadata log as the quorum sees it: everything that is in it is durable.

use burnin_core::quorum::{LogView, SnapshotId, VoterSet};
use burnin_log::{Log, LogError, Origin};
use burnin_runtime::Runtime;
use burnin_wire::batch::{batches, verify_crc};
use bytes::{Bytes, BytesMut};

/// See the module.
pub(crate) struct MetadataLog<R: Runtime> {
    pub(crate) log: Log<R>,
    /// The newest snapshot that is whole.
    pub(crate) snapshot: Option<SnapshotId>,
}

impl<R: Runtime> LogView for MetadataLog<R> {
    fn end_offset(&self) -> i64 {
        self.log.end_offset()
    }

    fn last_epoch(&self) -> i32 {
        let of_snapshot = || self.snapshot.map_or(0, |id| id.epoch);
        self.log.latest_epoch().unwrap_or_else(of_snapshot)
    }

    fn start_offset(&self) -> i64 {
        self.log.start_offset()
    }

    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let known = self.log.end_offset_for_epoch(epoch);
        match self.snapshot {
            // What ends with the snapshot is known by it alone.
            Some(id) if known.is_none() && epoch == id.epoch && self.log.latest_epoch().is_none() => {
                Some((id.epoch, self.log.end_offset()))
            }
            _ => known,
        }
    }

    fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.snapshot
    }
}

impl<R: Runtime> MetadataLog<R> {
    /// Appends a batch of this leader, which gets its offsets and epoch here. It is not durable yet.
    pub(super) fn lead(&self, batch: Bytes, epoch: i32) -> Result<(), String> {
        let batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let appended = self.log.append(batch, epoch, Origin::Controller);
        appended.map(drop).map_err(|error| format!("failed to append to the metadata log: {error}"))
    }

    /// Waits until what was appended is durable.
    pub(super) async fn settle(&self) -> Result<(), String> {
        let settled = self.log.wait_durable(self.log.end_offset()).await;
        settled.map_err(|error| format!("failed to write the metadata log: {error}"))
    }

    /// Appends what the leader of `epoch` sent, up to the first batch that is not sound or does not follow. It is
    /// durable when it has settled. Gives the voters that it names, with the offsets of their records.
    pub(super) fn follow(&self, records: &Bytes, epoch: i32) -> Result<Vec<(i64, VoterSet)>, String> {
        let (mut length, mut next, mut newest) = (0, self.log.end_offset(), self.last_epoch());
        for batch in batches(records) {
            let Ok((header, bytes)) = batch else { break };
            let is_next = header.base_offset == next && (newest..=epoch).contains(&header.leader_epoch);
            if !is_next || verify_crc(bytes).is_err() {
                tracing::warn!(
                    offset = header.base_offset,
                    expected = next,
                    epoch = header.leader_epoch,
                    "a batch of the metadata log is damaged or does not follow"
                );
                break;
            }
            length += bytes.len();
            (next, newest) = (header.next_offset(), header.leader_epoch);
        }
        if length == 0 {
            return Ok(Vec::new());
        }
        let voters = super::voters::in_batches(&records.slice(..length))?;
        let sound = BytesMut::from(&records[..length]);
        let appended = self.log.append(sound, epoch, Origin::Replication);
        appended.map_err(|error| format!("failed to append to the metadata log: {error}"))?;
        Ok(voters)
    }

    /// Removes what is below `offset`, which a snapshot covers.
    pub(super) async fn forget_before(&self, offset: i64) -> Result<(), String> {
        let deleted = self.log.delete_records_before(offset).await;
        deleted.map(drop).map_err(|error| format!("failed to shorten the metadata log: {error}"))
    }

    /// Begins anew behind a snapshot.
    pub(crate) async fn restart_at(&mut self, id: SnapshotId) -> Result<(), String> {
        let emptied = self.log.truncate_fully_and_start_at(id.end_offset).await;
        emptied.map_err(|error| format!("failed to empty the metadata log: {error}"))?;
        self.snapshot = Some(id);
        Ok(())
    }

    pub(super) async fn truncate(&self, offset: i64) -> Result<(), String> {
        let cut = self.log.truncate_to(offset).await;
        cut.map_err(|error: LogError| format!("failed to truncate the metadata log: {error}"))
    }
}
