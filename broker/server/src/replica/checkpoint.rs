//! High watermarks on disk (`replication-offset-checkpoint`), so that a restarted replica knows what was committed.

use super::partition::Duty;
use crate::shared::Shared;
use burnin_log::{LogError, TopicPartition};
use burnin_runtime::Runtime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes them every `replica.high.watermark.checkpoint.interval.ms`, when one has moved.
pub(super) async fn run<R: Runtime>(shared: Arc<Shared<R>>) {
    let interval = shared.config.replication.high_watermark_checkpoint_interval;
    loop {
        shared.runtime.sleep(interval).await;
        if shared.checkpoint_high_watermarks().await.is_err() {
            // The directory is offline then, which the monitor sees.
            return;
        }
    }
}

impl<R: Runtime> Shared<R> {
    /// Writes the high watermarks when one has moved since the last time.
    pub(crate) async fn checkpoint_high_watermarks(&self) -> Result<(), LogError> {
        if !self.replication.hub.take_moved() {
            return Ok(());
        }
        let mut offsets: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let topics: Vec<_> = self.partitions.read().topics().cloned().collect();
        for topic in topics {
            // Without followers, what is durable is committed.
            let replicated = topic.partitions().filter(|(_, partition)| partition.duty() != Duty::Alone);
            offsets.extend(
                replicated.map(|(_, partition)| {
                    (partition.log.topic_partition().clone(), partition.high_watermark())
                }),
            );
        }
        self.logs.checkpoint_high_watermarks(&offsets).await
    }

    /// What an earlier life noted of a partition; 0 when it noted nothing.
    pub(super) async fn noted_high_watermark(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        if self.replication.noted.lock().is_none() {
            let noted = self.logs.high_watermarks().await?;
            *self.replication.noted.lock() = Some(noted);
        }
        let noted = self.replication.noted.lock();
        Ok(noted.as_ref().and_then(|noted| noted.get(tp)).copied().unwrap_or(0))
    }
}
