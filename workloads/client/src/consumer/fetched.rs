//! What a fetch brought for one partition, and its records, decoded when asked for.

use crate::metadata::PartitionRef;
use burnin_wire::batch::{self, BatchError, BatchHeader, Record};
use bytes::Bytes;
use uuid::Uuid;

/// Records of one partition, from one answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whose.
    pub partition: PartitionRef,
    /// The id of the topic that answered; nil when it was asked by name.
    pub topic_id: Uuid,
    /// Where the fetch began.
    pub fetch_offset: i64,
    /// Where the next one begins.
    pub next_offset: i64,
    /// The log start at that time; -1 when the broker does not tell.
    pub log_start_offset: i64,
    /// The high watermark at that time.
    pub high_watermark: i64,
    /// Whole batches; the first may begin before `fetch_offset`.
    pub(crate) batches: Bytes,
    pub(crate) check_crcs: bool,
}

impl Fetched {
    /// Bytes of the batches, as they came.
    pub fn bytes(&self) -> usize {
        self.batches.len()
    }

    /// Whether there is no batch in it (the high watermark or the log start moved).
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Hands out every record from `fetch_offset` on, in order, with the header of its batch. Control batches
    /// are left out. A batch that is damaged is handed out as one error, with the header if that much could be
    /// read; the batches behind it follow.
    pub fn for_each(&self, mut take: impl FnMut(Option<&BatchHeader>, Result<Record<'_>, BatchError>)) {
        let mut rest = self.batches.clone();
        while let Some(split) = batch::split(&mut rest) {
            let (header, batch) = match split {
                Ok(split) => split,
                // The broker may cut the last batch off.
                Err(BatchError::Truncated { .. }) => return,
                Err(error) => return take(None, Err(error)),
            };
            if header.is_control() || header.next_offset() <= self.fetch_offset {
                continue;
            }
            if self.check_crcs
                && let Err(error) = batch::verify_crc(&batch)
            {
                take(Some(&header), Err(error));
                continue;
            }
            match batch::records(&batch) {
                Err(error) => take(Some(&header), Err(error)),
                Ok(records) => {
                    for record in &records {
                        match record {
                            Ok(record) if record.offset < self.fetch_offset => {}
                            record => take(Some(&header), record),
                        }
                    }
                }
            }
        }
    }
}

/// Where reading goes on after these batches, and the leader epoch of the last one. `None`: nothing in them is
/// at or behind `fetch_offset`.
pub(super) fn progress(batches: &[u8], fetch_offset: i64) -> Option<(i64, i32)> {
    let headers = batch::batches(batches).map_while(Result::ok);
    let last = headers.last()?.0;
    (last.next_offset() > fetch_offset).then(|| (last.next_offset(), last.leader_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::TopicRef;
    use burnin_wire::batch::{BatchBuilder, BatchOptions};

    fn two_batches() -> Vec<u8> {
        let mut bytes = Vec::new();
        for base_offset in [10, 13] {
            let options = BatchOptions { base_offset, leader_epoch: 4, ..BatchOptions::default() };
            let mut builder = BatchBuilder::new(options);
            for value in 0..3u8 {
                builder.push(0, None, Some(&[value]), &[]);
            }
            bytes.extend_from_slice(&builder.build());
        }
        bytes
    }

    fn fetched(batches: Vec<u8>, fetch_offset: i64) -> Fetched {
        let partition = PartitionRef { topic: TopicRef(0), index: 0 };
        let batches = Bytes::from(batches);
        let (log_start_offset, high_watermark, next_offset) = (0, 16, 16);
        Fetched {
            partition,
            topic_id: Uuid::nil(),
            fetch_offset,
            next_offset,
            log_start_offset,
            high_watermark,
            batches,
            check_crcs: true,
        }
    }

    fn offsets(fetched: &Fetched) -> Vec<Option<i64>> {
        let mut offsets = Vec::new();
        fetched.for_each(|_, record| offsets.push(record.ok().map(|record| record.offset)));
        offsets
    }

    #[test]
    fn records_before_the_fetch_offset_are_left_out() {
        assert_eq!(offsets(&fetched(two_batches(), 12)), [12, 13, 14, 15].map(Some));
        assert_eq!(progress(&two_batches(), 12), Some((16, 4)));
        assert_eq!(progress(&two_batches(), 16), None);
        assert_eq!(progress(&[], 0), None);
    }

    #[test]
    fn batch_that_is_cut_off_is_read_next_time() {
        let mut bytes = two_batches();
        bytes.pop();
        assert_eq!(progress(&bytes, 10), Some((13, 4)));
        assert_eq!(offsets(&fetched(bytes, 10)), [10, 11, 12].map(Some));
    }

    #[test]
    fn damaged_batch_is_one_error_and_the_next_is_read() {
        let mut bytes = two_batches();
        bytes[64] ^= 1;
        assert_eq!(offsets(&fetched(bytes, 10)), [None, Some(13), Some(14), Some(15)]);
    }
}
