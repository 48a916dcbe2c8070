//! Reads the partitions of one fetch, in order, within its limits.

use super::session::{PartitionKey, TopicKey, Wanted};
use crate::partitions::Partition;
use crate::shared::Shared;
use burnin_log::{ReadError, ReadResult};
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use bytes::Bytes;
use std::sync::Arc;

/// Limits of a whole fetch.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of records in the response; the first batch may be larger (KIP-74).
    pub(super) bytes_max: usize,
}

/// A partition that a fetch wants.
pub(super) struct Target<R: Runtime> {
    pub(super) key: PartitionKey,
    pub(super) wanted: Wanted,
    /// Where it is, or why it cannot be served.
    found: Result<Arc<Partition<R>>, ErrorCode>,
}

/// What was read of a partition.
pub(super) struct ReadPartition {
    pub(super) error: ErrorCode,
    /// -1 with an error.
    pub(super) high_watermark: i64,
    /// -1 with an error.
    pub(super) log_start_offset: i64,
    pub(super) batches: Vec<Bytes>,
    /// Where the client's log leaves ours: the epoch and where it ended here (KIP-595).
    pub(super) diverging: Option<(i32, i64)>,
}

impl ReadPartition {
    fn error(error: ErrorCode) -> ReadPartition {
        ReadPartition {
            error,
            high_watermark: -1,
            log_start_offset: -1,
            batches: Vec::new(),
            diverging: None,
        }
    }

    /// Bytes of records.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    /// Whether the client must learn of it at once.
    pub(super) fn is_notable(&self) -> bool {
        self.error.is_err() || self.diverging.is_some()
    }
}

impl<R: Runtime> Target<R> {
    /// Looks the partitions up. `replica` is the node id of a fetching follower, negative for a consumer.
    pub(super) fn resolve(
        shared: &Shared<R>,
        partitions: Vec<(PartitionKey, Wanted)>,
        replica: i32,
    ) -> Vec<Target<R>> {
        let table = shared.partitions.read();
        let find = |key: &PartitionKey| {
            if replica >= 0 {
                // No partition has a follower: followers come with replication.
                return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            }
            let topic = match &key.0 {
                TopicKey::Id(id) => table.topic_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?,
                TopicKey::Name(name) => table.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?,
            };
            topic.partition(key.1).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        partitions.into_iter().map(|(key, wanted)| Target { found: find(&key), key, wanted }).collect()
    }

    /// The partition, when it was found.
    pub(super) fn partition(&self) -> Option<&Arc<Partition<R>>> {
        self.found.as_ref().ok()
    }

    /// Everything but the records, and from where to where they are to be read.
    fn begin(&self) -> Result<(ReadPartition, &Partition<R>), ReadPartition> {
        let partition = self.found.as_ref().map_err(|code| ReadPartition::error(*code))?;
        check_epoch(self.wanted.current_leader_epoch, partition.leader_epoch())
            .map_err(ReadPartition::error)?;
        let mut read = ReadPartition {
            error: ErrorCode::NONE,
            high_watermark: partition.high_watermark(),
            log_start_offset: partition.log.start_offset(),
            batches: Vec::new(),
            diverging: None,
        };
        let last_epoch = self.wanted.last_fetched_epoch;
        if last_epoch >= 0 {
            let Some((epoch, end)) = partition.log.end_offset_for_epoch(last_epoch) else {
                return Err(ReadPartition::error(ErrorCode::OFFSET_OUT_OF_RANGE));
            };
            if epoch < last_epoch || end < self.wanted.offset {
                read.diverging = Some((epoch, end));
                return Err(read);
            }
        }
        Ok((read, partition))
    }
}

/// The epoch that the client believes in must be ours (KIP-320). Negative: it does not say.
pub(crate) fn check_epoch(believed: i32, actual: i32) -> Result<(), ErrorCode> {
    match believed {
        unknown if unknown < 0 => Ok(()),
        older if older < actual => Err(ErrorCode::FENCED_LEADER_EPOCH),
        newer if newer > actual => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        _ => Ok(()),
    }
}

/// How many bytes a fetch may still read, and whether it has read any.
struct Budget {
    left: usize,
    empty: bool,
}

impl Budget {
    fn new(limits: Limits) -> Budget {
        Budget { left: limits.bytes_max, empty: true }
    }

    fn limit(&self, wanted: &Wanted) -> usize {
        self.left.min(wanted.bytes_max.max(0) as usize)
    }

    fn take(&mut self, mut read: ReadPartition, result: Result<ReadResult, ReadError>) -> ReadPartition {
        match result {
            Ok(result) => {
                let bytes = result.bytes();
                self.left = self.left.saturating_sub(bytes);
                self.empty &= bytes == 0;
                read.batches = result.batches;
                read
            }
            Err(error) => ReadPartition::error(ErrorCode(error.kafka_code())),
        }
    }
}

/// Reads everything from memory; `None` when some of it is on disk only.
pub(super) fn read_hot<R: Runtime>(targets: &[Target<R>], limits: Limits) -> Option<Vec<ReadPartition>> {
    let mut budget = Budget::new(limits);
    let mut reads = Vec::with_capacity(targets.len());
    for target in targets {
        reads.push(match target.begin() {
            Err(read) => read,
            Ok((read, partition)) => {
                let (from, to) = (target.wanted.offset, read.high_watermark);
                let result = partition.log.try_read(from, to, budget.limit(&target.wanted), budget.empty)?;
                budget.take(read, result)
            }
        });
    }
    Some(reads)
}

/// Reads everything, from disk where it must be.
pub(super) async fn read_cold<R: Runtime>(targets: &[Target<R>], limits: Limits) -> Vec<ReadPartition> {
    let mut budget = Budget::new(limits);
    let mut reads = Vec::with_capacity(targets.len());
    for target in targets {
        reads.push(match target.begin() {
            Err(read) => read,
            Ok((read, partition)) => {
                let (from, to) = (target.wanted.offset, read.high_watermark);
                let result = partition.log.read(from, to, budget.limit(&target.wanted), budget.empty).await;
                budget.take(read, result)
            }
        });
    }
    reads
}
