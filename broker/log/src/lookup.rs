//! Lookups by timestamp: by time index to the batch, then record by record.

use crate::error::ReadError;
use crate::log::Log;
use crate::segment::MaxTimestamp;
use burnin_runtime::Runtime;
use burnin_wire::batch::{records, split};

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
            let from = {
                let state = self.0.state.lock();
                let at = state.segment_at(base);
                let entry = state.segments[at].indexes.as_ref().and_then(|i| i.times.lookup(timestamp - 1));
                entry.map_or(base, |entry| entry.offset).max(start)
            };
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

    async fn segment_max_timestamp(&self, base: i64) -> Result<Option<MaxTimestamp>, ReadError> {
        let (known, bytes, end) = {
            let state = self.0.state.lock();
            let at = state.segment_at(base);
            let segment = &state.segments[at];
            if segment.base != base {
                return Ok(None);
            }
            let known = segment.max_timestamp.filter(|_| segment.indexes.is_some());
            (known, segment.written, state.segment_end(at))
        };
        if known.is_none() {
            self.load_indexes(base, bytes, end).await?;
        }
        let mut state = self.0.state.lock();
        Ok(state.segment_mut(base).and_then(|segment| segment.max_timestamp))
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
