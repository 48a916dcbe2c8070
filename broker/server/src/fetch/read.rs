//! Reads the partitions of one fetch, in order, within its limits.

use super::nearest::Nearest;
use super::session::{PartitionKey, Told, TopicKey, Wanted};
use crate::hints::{Named, not_here};
use crate::partitions::Topic;
use crate::replica::{Duty, Partition};
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
    /// What its session was told of it.
    pub(super) told: Told,
    /// Where it is, or why it cannot be served.
    found: Result<Arc<Partition<R>>, ErrorCode>,
}

/// What was read of a partition.
pub(crate) struct ReadPartition {
    pub(crate) error: ErrorCode,
    /// -1 with an error.
    pub(crate) high_watermark: i64,
    /// -1 with an error.
    pub(crate) log_start_offset: i64,
    pub(crate) batches: Vec<Bytes>,
    /// Where the client's log leaves ours: the epoch and where it ended here (KIP-595).
    pub(crate) diverging: Option<(i32, i64)>,
    /// Who serves this consumer better (KIP-392).
    pub(crate) preferred: Option<i32>,
}

impl ReadPartition {
    /// Nothing but an error.
    pub(crate) fn error(error: ErrorCode) -> ReadPartition {
        ReadPartition { error, ..ReadPartition::at(-1, -1) }
    }

    /// Without records.
    pub(crate) fn at(high_watermark: i64, log_start_offset: i64) -> ReadPartition {
        ReadPartition {
            error: ErrorCode::NONE,
            high_watermark,
            log_start_offset,
            batches: Vec::new(),
            diverging: None,
            preferred: None,
        }
    }

    /// Bytes of records.
    pub(crate) fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    /// Whether the client must learn of it at once.
    pub(crate) fn is_notable(&self) -> bool {
        self.error.is_err() || self.diverging.is_some() || self.preferred.is_some()
    }
}

impl<R: Runtime> Target<R> {
    /// Looks the partitions up.
    pub(super) fn resolve(
        shared: &Shared<R>,
        partitions: Vec<(PartitionKey, Wanted, Told)>,
    ) -> Vec<Target<R>> {
        let table = shared.partitions.read();
        // Partitions of one topic mostly come one after the other.
        let mut last: Option<(TopicKey, Option<Arc<Topic<R>>>)> = None;
        let mut find = |key: &PartitionKey| {
            if last.as_ref().is_none_or(|(topic, _)| *topic != key.0) {
                let topic = match &key.0 {
                    TopicKey::Id(id) => table.topic_by_id(id),
                    TopicKey::Name(name) => table.topic(name),
                };
                last = Some((key.0.clone(), topic));
            }
            let topic = last.as_ref().and_then(|(_, topic)| topic.as_ref());
            topic.and_then(|topic| topic.partition(key.1).cloned()).ok_or_else(|| {
                let named = match &key.0 {
                    TopicKey::Id(id) => Named::Id(id),
                    TopicKey::Name(name) => Named::Name(name),
                };
                not_here(shared, named, key.1)
            })
        };
        let found = partitions.into_iter().map(|(key, wanted, told)| {
            let found = find(&key);
            Target { key, wanted, told, found }
        });
        found.collect()
    }

    /// The partition, when it was found.
    pub(super) fn partition(&self) -> Option<&Arc<Partition<R>>> {
        self.found.as_ref().ok()
    }

    /// Everything but the records, and from where to where they are to be read.
    fn begin(&self, source: Source<'_>) -> Result<(ReadPartition, &Partition<R>), ReadPartition> {
        let partition = self.found.as_ref().map_err(|code| ReadPartition::error(*code))?;
        match partition.duty() {
            Duty::Alone | Duty::Leads => {}
            // A consumer that knows of racks may read from a follower (KIP-392).
            Duty::Follows if source.followers_serve => {}
            Duty::Gone => return Err(ReadPartition::error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
            Duty::Follows | Duty::Idle => {
                return Err(ReadPartition::error(ErrorCode::NOT_LEADER_OR_FOLLOWER));
            }
        }
        check_epoch(self.wanted.current_leader_epoch, partition.leader_epoch())
            .map_err(ReadPartition::error)?;
        let mut read = ReadPartition::at(partition.high_watermark(), partition.log.start_offset());
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
        if let Some(nearest) = source.nearest
            && partition.duty() == Duty::Leads
            && let Some(id) = nearest.choose(partition.holders(self.wanted.offset))
        {
            read.preferred = Some(id);
            return Err(read);
        }
        Ok((read, partition))
    }
}

/// What a fetch may be answered from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) followers_serve: bool,
    /// Who else could serve this consumer.
    pub(super) nearest: Option<&'a Nearest>,
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
pub(super) fn read_hot<R: Runtime>(
    targets: &[Target<R>],
    limits: Limits,
    source: Source<'_>,
) -> Option<Vec<ReadPartition>> {
    let mut budget = Budget::new(limits);
    let mut reads = Vec::with_capacity(targets.len());
    for target in targets {
        reads.push(match target.begin(source) {
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
pub(super) async fn read_cold<R: Runtime>(
    targets: &[Target<R>],
    limits: Limits,
    source: Source<'_>,
) -> Vec<ReadPartition> {
    let mut budget = Budget::new(limits);
    let mut reads = Vec::with_capacity(targets.len());
    for target in targets {
        reads.push(match target.begin(source) {
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
