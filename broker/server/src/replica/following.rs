//! What a follower does with what its leader sends: it appends as is, cuts where the logs part, and learns what is
//! committed. Each step names the leader epoch in which it was asked for, and does nothing in another.

use super::partition::{Partition, Role};
use burnin_core::partition::{Follower, FollowerStep};
use burnin_log::{AppendError, LogError, Origin};
use burnin_runtime::{Mutant, Observation, Runtime};
use burnin_wire::batch::{BatchHeader, assign, batches, verify_crc};
use bytes::{Bytes, BytesMut};

/// Why a step was not taken.
#[derive(Debug)]
pub(super) enum FollowError {
    /// This broker does not follow in that epoch any more, or the log is not where the leader was asked to go on.
    Moved,
    /// What came cannot be appended: it is asked for again.
    Bad(String),
    /// The log is out of service.
    Log(LogError),
}

impl From<LogError> for FollowError {
    fn from(error: LogError) -> FollowError {
        FollowError::Log(error)
    }
}

impl<R: Runtime> Partition<R> {
    /// Appends batches that were fetched from `at`, and gives the new end.
    pub(super) async fn append_fetched(
        &self,
        leader_epoch: i32,
        at: i64,
        records: &Bytes,
    ) -> Result<i64, FollowError> {
        let first = check_batches(records, leader_epoch)?;
        if first < at && self.log.start_offset() == at && self.log.end_offset() == at {
            // The leader's log starts inside of a batch, and the whole batch comes.
            self.begin_at(leader_epoch, first).await?;
        }
        // the planted bug takes a late answer for the newest, and cuts whatever is in its way
        let is_late = self.log.end_offset() > first && self.log.runtime().mutants().on(Mutant::R21);
        if is_late {
            self.make_way(first).await?;
        }
        let appended = {
            let state = self.state.lock();
            if !is_late {
                follower(&state.role, leader_epoch)?;
            }
            let end = self.log.end_offset();
            if end != at.min(first) {
                return Err(FollowError::Moved);
            }
            let mut records = BytesMut::from(&records[..]);
            // the planted bug takes what it fetches for what its leader has appended in this epoch
            if self.log.runtime().mutants().on(Mutant::R31) {
                stamp(&mut records, leader_epoch);
            }
            self.log.append(records, leader_epoch, Origin::Replication)
        };
        match appended {
            Ok(_) => Ok(self.log.end_offset()),
            Err(AppendError::Offline(reason)) => Err(LogError::Offline { dir: String::new(), reason }.into()),
            Err(AppendError::Deleted) => Err(FollowError::Moved),
            Err(AppendError::OlderEpoch { epoch, .. }) => {
                self.cut_later_than(leader_epoch, epoch).await?;
                Err(FollowError::Moved)
            }
            Err(error) => Err(FollowError::Bad(error.to_string())),
        }
    }

    /// Cuts batches of later epochs than `epoch`, in which the leader goes on (or which is the leader's own). No log
    /// holds such batches: the epoch of our last one rotted, and recovery took it for a new one.
    pub(super) async fn cut_later_than(&self, leader_epoch: i32, epoch: i32) -> Result<(), FollowError> {
        let _surgery = self.surgery.lock().await;
        follower(&self.state.lock().role, leader_epoch)?;
        let Some(offset) = self.log.start_of_later_epoch(epoch) else { return Ok(()) };
        tracing::error!(
            partition = &*self.name,
            offset,
            epoch,
            leader_epoch,
            "the log goes on in an epoch that the leader has not seen"
        );
        self.cut(leader_epoch, offset).await
    }

    /// The leader says that `epoch` ended at `end_offset` in its log, before our position: cuts what is ours alone.
    pub(super) async fn diverged(
        &self,
        leader_epoch: i32,
        epoch: i32,
        end_offset: i64,
    ) -> Result<(), FollowError> {
        if end_offset < 0 {
            return Err(FollowError::Bad(format!("epoch {epoch} ends at {end_offset}")));
        }
        let _surgery = self.surgery.lock().await;
        let step = {
            let state = self.state.lock();
            let follower = follower(&state.role, leader_epoch)?;
            let own = self.log.end_offset_for_epoch(epoch);
            follower.diverging(epoch, end_offset, own, self.log.start_offset())
        };
        self.carry_out(leader_epoch, step).await
    }

    /// The leader refused our position; its log holds `start..end`.
    pub(super) async fn out_of_range(
        &self,
        leader_epoch: i32,
        start: i64,
        end: i64,
    ) -> Result<(), FollowError> {
        let _surgery = self.surgery.lock().await;
        let step = {
            let state = self.state.lock();
            follower(&state.role, leader_epoch)?.out_of_range(self.log.end_offset(), start, end)
        };
        self.carry_out(leader_epoch, step).await
    }

    /// A step that changes nothing would be asked for again at once, and so on.
    async fn carry_out(&self, leader_epoch: i32, step: FollowerStep) -> Result<(), FollowError> {
        let place = || (self.log.start_offset(), self.log.end_offset(), self.log.latest_epoch());
        let before = place();
        match step {
            FollowerStep::Fetch => {}
            FollowerStep::Truncate(offset) => self.cut(leader_epoch, offset).await?,
            FollowerStep::StartAt(offset) => self.restart(leader_epoch, offset).await?,
        }
        match place() == before {
            true => Err(FollowError::Bad(format!("{step:?} changes nothing: {before:?}"))),
            false => Ok(()),
        }
    }

    /// The caller holds `surgery`, so the role stays.
    async fn cut(&self, leader_epoch: i32, offset: i64) -> Result<(), FollowError> {
        let high_watermark = follower(&self.state.lock().role, leader_epoch)?.high_watermark();
        if offset < high_watermark {
            self.log.runtime().probe().emit(|| Observation::CommittedCut {
                partition: self.name.clone(),
                leader_epoch,
                offset,
                high_watermark,
            });
            tracing::warn!(
                partition = &*self.name,
                offset,
                high_watermark,
                leader_epoch,
                "cuts below the high watermark"
            );
        }
        if offset < self.log.start_offset() {
            // Nothing that is left here is the leader's (`UnifiedLog.truncateTo`).
            return self.restart(leader_epoch, offset).await;
        }
        tracing::info!(partition = &*self.name, offset, leader_epoch, "cuts its log");
        self.log.truncate_to(offset).await?;
        let mut state = self.state.lock();
        let Role::Follower(follower) = &mut state.role else { return Err(FollowError::Moved) };
        follower.truncated(self.log.end_offset());
        self.lower_high_watermark(follower.high_watermark());
        Ok(())
    }

    /// The bug R21, whoever is followed by now.
    async fn make_way(&self, offset: i64) -> Result<(), FollowError> {
        let _surgery = self.surgery.lock().await;
        if !matches!(self.state.lock().role, Role::Follower(_)) {
            return Err(FollowError::Moved);
        }
        let lower = || {
            let mut state = self.state.lock();
            let Role::Follower(follower) = &mut state.role else { return };
            follower.truncated(offset);
            self.lower_high_watermark(follower.high_watermark());
        };
        lower();
        self.log.truncate_to(offset).await?;
        lower();
        Ok(())
    }

    /// Shows the leader's high watermark to readers before the cut: the bug R08.
    pub(super) fn show_too_early(&self, leader_epoch: i32, high_watermark: i64) {
        let state = self.state.lock();
        let known = high_watermark.min(self.log.durable_offset());
        if follower(&state.role, leader_epoch).is_ok() && known > self.high_watermark() {
            self.show_follower_high_watermark(&state, leader_epoch, known);
        }
    }

    /// Cuts what is not known to be committed, without asking the leader: the bug R01.
    pub(super) async fn cut_to_high_watermark(&self, leader_epoch: i32) -> Result<(), FollowError> {
        let _surgery = self.surgery.lock().await;
        let high_watermark = follower(&self.state.lock().role, leader_epoch)?.high_watermark();
        self.cut(leader_epoch, high_watermark).await
    }

    async fn begin_at(&self, leader_epoch: i32, offset: i64) -> Result<(), FollowError> {
        let _surgery = self.surgery.lock().await;
        self.restart(leader_epoch, offset).await
    }

    async fn restart(&self, leader_epoch: i32, offset: i64) -> Result<(), FollowError> {
        follower(&self.state.lock().role, leader_epoch)?;
        tracing::info!(partition = &*self.name, offset, leader_epoch, "begins its log anew");
        self.log.truncate_fully_and_start_at(offset).await?;
        let mut state = self.state.lock();
        let Role::Follower(follower) = &mut state.role else { return Err(FollowError::Moved) };
        follower.started_at(offset);
        self.lower_high_watermark(offset);
        Ok(())
    }

    /// The leader's high watermark and log start, after what came with them is durable.
    pub(super) async fn learn(
        &self,
        leader_epoch: i32,
        high_watermark: i64,
        log_start: i64,
    ) -> Result<(), FollowError> {
        {
            let mut state = self.state.lock();
            let (durable, start) = (self.log.durable_offset(), self.log.start_offset());
            let Role::Follower(follower) = &mut state.role else { return Err(FollowError::Moved) };
            if follower.leader_epoch() != leader_epoch {
                return Err(FollowError::Moved);
            }
            let before = follower.high_watermark();
            let known = follower.appended(high_watermark, durable, start);
            if known > before {
                self.show_follower_high_watermark(&state, leader_epoch, known);
            }
        }
        if log_start > self.log.start_offset() && log_start <= self.log.durable_offset() {
            let _surgery = self.surgery.lock().await;
            follower(&self.state.lock().role, leader_epoch)?;
            self.log.delete_records_before(log_start).await?;
        }
        Ok(())
    }
}

fn follower(role: &Role, leader_epoch: i32) -> Result<&Follower, FollowError> {
    match role {
        Role::Follower(follower) if follower.leader_epoch() == leader_epoch => Ok(follower),
        _ => Err(FollowError::Moved),
    }
}

/// Gives whole batches this leader epoch.
fn stamp(records: &mut [u8], leader_epoch: i32) {
    let found: Vec<(i64, usize)> = batches(records)
        .map_while(|batch| batch.ok().map(|(header, bytes)| (header.base_offset, bytes.len())))
        .collect();
    let mut rest = records;
    for (base_offset, length) in found {
        let (batch, behind) = rest.split_at_mut(length);
        assign(batch, base_offset, leader_epoch, None);
        rest = behind;
    }
}

/// Whole batches with good checksums, none of a later epoch than the leader's. Gives the first offset.
fn check_batches(records: &Bytes, leader_epoch: i32) -> Result<i64, FollowError> {
    let bad = |what: String| FollowError::Bad(what);
    let mut first = None;
    for batch in batches(records) {
        let (header, bytes): (BatchHeader, &[u8]) = batch.map_err(|error| bad(error.to_string()))?;
        verify_crc(bytes).map_err(|error| bad(format!("batch at offset {}: {error}", header.base_offset)))?;
        if header.leader_epoch > leader_epoch {
            return Err(bad(format!(
                "batch at offset {} is of epoch {}, later than the leader's {leader_epoch}",
                header.base_offset, header.leader_epoch
            )));
        }
        first.get_or_insert(header.base_offset);
    }
    first.ok_or_else(|| bad("no batch".to_owned()))
}
