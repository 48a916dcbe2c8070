//! Lookups by timestamp: by time index to the batch, then record by record. An entry of a time index is believed only
//! when the log says the same.

use crate::error::ReadError;
use crate::index::TimeEntry;
use crate::log::Log;
use crate::segment::MaxTimestamp;
use burnin_runtime::Runtime;
use burnin_wire::batch::{BatchHeader, records, split};

impl<R: Runtime> Log<R> {
    /// The first record whose timestamp is at least `timestamp`: its offset and its timestamp.
    pub async fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<(i64, i64)>, ReadError> {
        let (bases, start) = {
            let state = self.0.state.lock();
            (state.segments.iter().map(|segment| segment.base).collect::<Vec<_>>(), state.start)
        };
        for base in bases {
            let Some(max) = self.segment_max_timestamp(base).await? else { continue };
            if max.timestamp < timestamp {
                continue;
            }
            let entry = {
                let state = self.0.state.lock();
                let segment = &state.segments[state.segment_at(base)];
                segment.indexes.as_ref().and_then(|indexes| indexes.times.lookup(timestamp - 1))
            };
            let from = match entry {
                Some(entry) if self.is_true(entry).await? => entry.offset,
                _ => base,
            };
            let from = from.max(start);
            return self.find(from, |record| record >= timestamp).await;
        }
        Ok(None)
    }

    /// The record with the largest timestamp (the first one of them): its offset and its timestamp.
    pub async fn max_timestamp(&self) -> Result<Option<(i64, i64)>, ReadError> {
        let bases: Vec<i64> = self.0.state.lock().segments.iter().map(|segment| segment.base).collect();
        let mut best: Option<MaxTimestamp> = None;
        for base in bases {
            if let Some(max) = self.segment_max_timestamp(base).await?
                && max.timestamp > best.map_or(-1, |best| best.timestamp)
            {
                best = Some(max);
            }
        }
        let Some(best) = best else { return Ok(None) };
        self.find(best.offset, |record| record >= best.timestamp).await
    }

    /// The largest timestamp of the segment that begins at `base`; `None` when there is no such segment any more.
    pub(crate) async fn segment_max_timestamp(&self, base: i64) -> Result<Option<MaxTimestamp>, ReadError> {
        let (known, bytes, end) = {
            let state = self.0.state.lock();
            let at = state.segment_at(base);
            let segment = &state.segments[at];
            if segment.base != base {
                return Ok(None);
            }
            (segment.indexes.is_some(), segment.written, state.segment_end(at))
        };
        if !known {
            self.load_indexes(base, bytes, end).await?;
            let last = {
                let mut state = self.0.state.lock();
                state.segment_mut(base).and_then(|segment| segment.indexes.as_ref()).map(|i| i.times.last())
            };
            // a sealed segment with records has an entry, and retention would believe it
            let believed = match last {
                None => true,
                Some(None) => bytes == 0,
                Some(Some(entry)) => self.is_true(entry).await?,
            };
            if !believed {
                self.rebuild_indexes(base).await?;
            }
        }
        let mut state = self.0.state.lock();
        Ok(state.segment_mut(base).and_then(|segment| segment.max_timestamp))
    }

    /// Whether the batch that a time index entry names is there and has that timestamp. One that is below the log
    /// start cannot be asked any more.
    async fn is_true(&self, entry: TimeEntry) -> Result<bool, ReadError> {
        match self.read(entry.offset, i64::MAX, 1, true).await {
            Ok(result) => Ok(result.batches.first().is_some_and(|batch| {
                BatchHeader::parse(batch)
                    .is_ok_and(|h| h.last_offset() == entry.offset && h.max_timestamp == entry.timestamp)
            })),
            Err(ReadError::OffsetOutOfRange { .. }) => Ok(true),
            Err(ReadError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first record from the batch that holds `from` on whose timestamp fits.
    async fn find(&self, from: i64, fits: impl Fn(i64) -> bool) -> Result<Option<(i64, i64)>, ReadError> {
        const STEP_BYTES: usize = 256 << 10;
        let (mut offset, start) = (from, self.start_offset());
        loop {
            let result = self.read(offset, i64::MAX, STEP_BYTES, true).await?;
            if result.batches.is_empty() {
                return Ok(None);
            }
            for mut slice in result.batches {
                while let Some(split) = split(&mut slice) {
                    let corrupt = |reason: String| ReadError::Corrupt { offset, reason };
                    let (header, batch) = split.map_err(|error| corrupt(error.to_string()))?;
                    if !fits(header.max_timestamp) {
                        continue;
                    }
                    for record in records(&batch).map_err(|error| corrupt(error.to_string()))?.iter() {
                        let record = record.map_err(|error| corrupt(error.to_string()))?;
                        if fits(record.timestamp) && record.offset >= start {
                            return Ok(Some((record.offset, record.timestamp)));
                        }
                    }
                }
            }
            offset = result.next_offset;
        }
    }
}
