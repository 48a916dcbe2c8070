//! Walking a segment file batch by batch: what is valid, what is damaged, and everything that can be rebuilt
//! from it (indexes, largest timestamp, leader epochs, producers).

use crate::config::LogConfig;
use crate::epochs::EpochCache;
use crate::error::{Context, LogError};
use crate::lineage::{Lineage, contradicts};
use crate::producers::ProducerBatch;
use crate::segment::{Indexes, MaxTimestamp, Segment};
use burnin_runtime::File;
use burnin_wire::batch::{BatchHeader, HEADER_LEN, verify_crc};
use bytes::Bytes;
use std::path::Path;

const CHUNK_BYTES: usize = 1 << 20;

/// A file and a window of it in memory.
pub(crate) struct Window<'a, F> {
    file: &'a F,
    path: &'a Path,
    len: u64,
    at: u64,
    bytes: Bytes,
}

impl<'a, F: File> Window<'a, F> {
    pub fn new(file: &'a F, path: &'a Path, len: u64) -> Self {
        Window { file, path, len, at: 0, bytes: Bytes::new() }
    }

    /// Up to `len` bytes at `position`; fewer only at the end of the file.
    pub async fn get(&mut self, position: u64, len: usize) -> Result<Bytes, LogError> {
        let len = len.min(usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX));
        let inside = position >= self.at && position + len as u64 <= self.at + self.bytes.len() as u64;
        if !inside {
            let want = len.max(CHUNK_BYTES);
            self.bytes = self.file.read_at(position, want).await.during("read", self.path)?;
            self.at = position;
        }
        let begin = (position - self.at) as usize;
        let end = (begin + len).min(self.bytes.len());
        Ok(self.bytes.slice(begin.min(end)..end))
    }

    /// The batch at `position`, or why there is none.
    pub async fn batch(
        &mut self,
        position: u64,
        verify: bool,
    ) -> Result<Result<(BatchHeader, Bytes), String>, LogError> {
        let head = self.get(position, HEADER_LEN).await?;
        let header = match BatchHeader::parse(&head) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if header.last_offset_delta < 0 || header.base_offset < 0 {
            return Ok(Err(format!(
                "impossible offsets {} + {}",
                header.base_offset, header.last_offset_delta
            )));
        }
        let total = header.total_len();
        if position + total as u64 > self.len {
            return Ok(Err(format!("batch of {total} bytes is cut off after {}", self.len - position)));
        }
        if !verify {
            return Ok(Ok((header, head)));
        }
        let batch = self.get(position, total).await?;
        if batch.len() < total {
            return Ok(Err(format!("batch of {total} bytes is cut off after {}", batch.len())));
        }
        Ok(match verify_crc(&batch) {
            Ok(()) => Ok((header, batch)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The first position behind `position` where a valid batch begins whose offset is at least `offset`.
    pub async fn resync(&mut self, position: u64, offset: i64) -> Result<Option<u64>, LogError> {
        let mut at = position + 1;
        while at + HEADER_LEN as u64 <= self.len {
            let window = self.get(at, CHUNK_BYTES).await?;
            if window.len() < HEADER_LEN {
                return Ok(None);
            }
            for begin in 0..=window.len() - HEADER_LEN {
                let Ok(header) = BatchHeader::parse(&window[begin..]) else { continue };
                let near = header.base_offset >= offset && header.base_offset - offset <= i64::from(i32::MAX);
                if near && self.batch(at + begin as u64, true).await?.is_ok() {
                    return Ok(Some(at + begin as u64));
                }
            }
            at += (window.len() - HEADER_LEN + 1) as u64;
        }
        Ok(None)
    }
}

/// A stretch of a segment that is damaged on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The segment.
    pub segment: i64,
    /// First offset that is lost.
    pub from: i64,
    /// The offset behind the last one that is lost.
    pub to: i64,
    /// Where the file is good again.
    pub end_position: u64,
}

impl Damage {
    /// All of a batch.
    pub fn of(header: &BatchHeader, segment: i64, end_position: u64) -> Self {
        Damage { segment, from: header.base_offset, to: header.last_offset() + 1, end_position }
    }
}

/// What to do about a bad batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Policy {
    /// Below this offset it is damage of durable data: step over it. From this offset on it is a torn tail:
    /// stop there.
    TornFrom(i64),
    /// Everything is durable.
    Durable,
}

/// What a scan looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks<'a> {
    pub policy: Policy,
    /// Whether every batch's CRC is checked.
    pub crc: bool,
    /// The leader epochs of the log, as far as they are known.
    pub epochs: Option<&'a EpochCache>,
}

impl Checks<'_> {
    /// Checks of a segment of which everything is durable.
    pub fn durable(crc: bool) -> Self {
        Checks { policy: Policy::Durable, crc, epochs: None }
    }

    /// Whether the epochs of the log say that the batch is of another one. They are written before a recovery point, but
    /// after a crash that may be rotten, too: so the batch may begin an epoch that they do not know of.
    fn contradict(&self, header: &BatchHeader) -> bool {
        let complete = matches!(self.policy, Policy::Durable);
        let (epoch, last_offset) = (header.leader_epoch, header.last_offset());
        self.epochs.is_some_and(|epochs| contradicts(epochs, epoch, last_offset, complete))
    }
}

/// What a scan found.
pub(crate) struct Scan {
    /// Indexes of the valid batches.
    pub indexes: Indexes,
    /// Their largest timestamp.
    pub max_timestamp: MaxTimestamp,
    /// That of the first batch.
    pub first_timestamp: Option<i64>,
    /// Bytes since the last index entry.
    pub since_index: u64,
    /// The offset behind the last valid batch.
    pub end_offset: i64,
    /// The position behind the last valid batch.
    pub end_position: u64,
    /// Why the scan stopped before the end of the file.
    pub torn: Option<String>,
    /// What it stepped over.
    pub damage: Vec<Damage>,
    /// Batches of idempotent producers.
    pub producers: Vec<ProducerBatch>,
    /// The leader epochs of the valid batches.
    pub lineage: Lineage,
    /// The position behind the last batch that is known to be durable.
    pub durable_position: u64,
}

impl Scan {
    /// Adds what the log has learned since the scan began: entries of batches from position `scanned` on.
    pub fn keep_newer(&mut self, newer: Option<&Indexes>, max: Option<MaxTimestamp>, scanned: u64) {
        if let Some(newer) = newer {
            for entry in newer.offsets.iter().filter(|entry| u64::from(entry.position) >= scanned) {
                self.indexes.offsets.append(entry.offset, entry.position);
            }
            for entry in newer.times.iter().filter(|entry| entry.offset >= self.end_offset) {
                self.indexes.times.maybe_append(entry.timestamp, entry.offset);
            }
        }
        if let Some(max) = max
            && max.offset >= self.end_offset
            && max.timestamp > self.max_timestamp.timestamp
        {
            self.max_timestamp = max;
        }
    }
}

/// Scans a whole segment file of `len` bytes.
pub(crate) async fn scan<F: File>(
    file: &F,
    path: &Path,
    base: i64,
    len: u64,
    config: &LogConfig,
    checks: Checks<'_>,
) -> Result<Scan, LogError> {
    let mut window = Window::new(file, path, len);
    let mut segment: Segment<()> = Segment::new(base, 0);
    let mut scan = Scan {
        indexes: Indexes::new(base),
        max_timestamp: MaxTimestamp { timestamp: -1, offset: base },
        first_timestamp: None,
        since_index: 0,
        end_offset: base,
        end_position: 0,
        torn: None,
        damage: Vec::new(),
        producers: Vec::new(),
        lineage: Lineage::default(),
        durable_position: 0,
    };
    let mut position = 0;
    while position < len {
        let expected = scan.end_offset;
        let after_damage = scan.damage.last().is_some_and(|d| d.end_position == position);
        let found = match window.batch(position, checks.crc).await? {
            Ok((header, _)) if header.base_offset == expected => Ok(header),
            Ok((header, _)) if after_damage && header.base_offset > expected => Ok(header),
            Ok((header, _)) => Err(format!("offset {} instead of {expected}", header.base_offset)),
            Err(reason) => Err(reason),
        };
        let header = match (found, checks.policy) {
            (Ok(header), _) => header,
            (Err(reason), Policy::TornFrom(recovery_point)) if expected >= recovery_point => {
                scan.torn = Some(reason);
                break;
            }
            (Err(reason), _) => {
                tracing::error!(path = %path.display(), position, offset = expected, reason, "damaged batch");
                let next = window.resync(position, expected).await?;
                let end_position = next.unwrap_or(len);
                scan.damage.push(Damage { segment: base, from: expected, to: expected, end_position });
                segment.size = end_position;
                position = end_position;
                continue;
            }
        };
        if let Some(damage) = scan.damage.last_mut()
            && after_damage
        {
            damage.to = header.base_offset;
        }
        let last_offset = header.last_offset();
        segment.note_batch(
            last_offset,
            header.max_timestamp,
            header.total_len() as u64,
            config.index_interval_bytes,
        );
        if let Some(batch) = producer_batch(&header, header.base_offset) {
            scan.producers.push(batch);
        }
        scan.end_offset = last_offset + 1;
        position += header.total_len() as u64;
        scan.end_position = position;
        let place = Damage::of(&header, base, position);
        scan.lineage.note(header.leader_epoch, checks.contradict(&header), place);
        if !matches!(checks.policy, Policy::TornFrom(recovery_point) if scan.end_offset > recovery_point) {
            scan.durable_position = position;
        }
    }
    if let Some(max) = segment.max_timestamp {
        scan.max_timestamp = max;
    }
    scan.first_timestamp = segment.first_timestamp;
    scan.since_index = segment.since_index;
    if let Some(indexes) = segment.indexes {
        scan.indexes = *indexes;
    }
    Ok(scan)
}

/// What a batch at `base_offset` says about its producer; `None` when it has none.
pub(crate) fn producer_batch(header: &BatchHeader, base_offset: i64) -> Option<ProducerBatch> {
    header.has_producer_id().then(|| ProducerBatch {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        offset_delta: header.last_offset_delta,
        last_offset: base_offset + i64::from(header.last_offset_delta),
        timestamp: header.max_timestamp,
        transactional: header.is_transactional(),
        control: header.is_control(),
    })
}
