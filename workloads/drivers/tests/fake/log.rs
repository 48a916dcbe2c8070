//! A log in memory, with the producer state of `ProducerStateManager`: five batches per producer are remembered.

use burnin_history::Payload;
use burnin_wire::batch::{self, BatchHeader};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub struct Log {
    batches: Vec<Bytes>,
    start: i64,
    end: i64,
    producers: BTreeMap<i64, Producer>,
    /// Batches that were recognised as appended before.
    pub duplicates: u64,
}

struct Producer {
    epoch: i16,
    /// (first sequence, last sequence, base offset), oldest first.
    batches: VecDeque<(i32, i32, i64)>,
}

/// Where each payload is.
pub type Truth = BTreeMap<(u32, u64), Vec<i64>>;

impl Log {
    pub fn start(&self) -> i64 {
        self.start
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    /// Every producer's state is lost, as when it expired.
    pub fn forget(&mut self) {
        self.producers.clear();
    }

    /// Removes everything below `offset`.
    pub fn delete_before(&mut self, offset: i64) {
        self.start = offset;
    }

    pub fn append(&mut self, batch: &Bytes, leader_epoch: i32) -> Result<i64, i16> {
        const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
        const INVALID_PRODUCER_EPOCH: i16 = 47;
        batch::verify_crc(batch).expect("the client sends whole batches");
        let header = BatchHeader::parse(batch).expect("the client sends batches");
        if header.producer_id >= 0 {
            let (first, last) = (header.base_sequence, header.last_sequence());
            if let Some(known) = self.producers.get(&header.producer_id) {
                if header.producer_epoch < known.epoch {
                    return Err(INVALID_PRODUCER_EPOCH);
                }
                if header.producer_epoch == known.epoch {
                    if let Some((.., base)) = known.batches.iter().find(|(f, l, _)| (*f, *l) == (first, last))
                    {
                        self.duplicates += 1;
                        return Ok(*base);
                    }
                    let expected =
                        known.batches.back().map_or(0, |(_, last, _)| last.wrapping_add(1) & i32::MAX);
                    if first != expected {
                        return Err(OUT_OF_ORDER_SEQUENCE_NUMBER);
                    }
                } else if first != 0 {
                    return Err(OUT_OF_ORDER_SEQUENCE_NUMBER);
                }
            }
            let new = Producer { epoch: header.producer_epoch, batches: VecDeque::new() };
            let known = self.producers.entry(header.producer_id).or_insert(new);
            if known.epoch != header.producer_epoch {
                *known = Producer { epoch: header.producer_epoch, batches: VecDeque::new() };
            }
            known.batches.push_back((first, last, self.end));
            if known.batches.len() > 5 {
                known.batches.pop_front();
            }
        }
        let mut bytes = BytesMut::from(&batch[..]);
        batch::assign(&mut bytes, self.end, leader_epoch, None);
        self.batches.push(bytes.freeze());
        let base = self.end;
        self.end += i64::from(header.last_offset_delta) + 1;
        Ok(base)
    }

    /// Cuts everything from `offset` on, which must be the beginning of a batch.
    pub fn truncate_to(&mut self, offset: i64) {
        self.batches.retain(|batch| BatchHeader::parse(batch).expect("a batch").base_offset < offset);
        self.end = offset;
    }

    /// The last epoch up to `epoch` that is in the log, and where it ends; -1 and -1 when there is none.
    pub fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        let headers = self.batches.iter().map(|batch| BatchHeader::parse(batch).expect("a batch"));
        let last = headers.filter(|header| header.leader_epoch <= epoch).last();
        last.map_or((-1, -1), |header| (header.leader_epoch, header.next_offset()))
    }

    pub fn read(&self, offset: i64, max: usize) -> Bytes {
        let mut out = BytesMut::new();
        let header = |batch: &Bytes| BatchHeader::parse(batch).expect("a batch");
        let from = self.batches.partition_point(|batch| header(batch).next_offset() <= offset);
        for batch in &self.batches[from..] {
            if !out.is_empty() && out.len() + batch.len() > max {
                break;
            }
            out.extend_from_slice(batch);
        }
        out.freeze()
    }

    pub fn truth(&self) -> Truth {
        let mut truth = Truth::new();
        for batch in &self.batches {
            let records = batch::records(batch).expect("records");
            for record in &records {
                let record = record.expect("a record");
                let payload = Payload::decode(record.value.expect("a value")).expect("a payload");
                truth.entry((payload.producer.0, payload.seq)).or_default().push(record.offset);
            }
        }
        truth
    }
}
