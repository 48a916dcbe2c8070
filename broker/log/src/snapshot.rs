//! Producer snapshots in Kafka's format (`ProducerSnapshot.json`, version 1). Pure.
//!
//! A 2-byte version, a 4-byte CRC-32C of what follows it, a 4-byte count, and 46 bytes for each producer:
//! id (8), epoch (2), last sequence (4), last offset (8), offset delta (4), timestamp (8), coordinator epoch
//! (4), first offset of the open transaction (8). Only a producer's last batch is kept.

use crate::producers::{BatchMetadata, ProducerEntry, ProducerTable};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: i16 = 1;
const CRC_AT: usize = 2;
const ENTRIES_AT: usize = 6;
const ENTRY_BYTES: usize = 46;

/// A snapshot file that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt producer snapshot: {0}")]
pub struct CorruptSnapshot(String);

/// The file's content.
pub fn encode(table: &ProducerTable) -> Bytes {
    let mut out = BytesMut::with_capacity(ENTRIES_AT + 4 + table.len() * ENTRY_BYTES);
    out.put_i16(VERSION);
    out.put_u32(0);
    out.put_i32(table.len() as i32);
    for (producer_id, entry) in table.iter() {
        let last = entry.last();
        out.put_i64(producer_id);
        out.put_i16(entry.epoch);
        out.put_i32(last.map_or(-1, |b| b.last_sequence));
        out.put_i64(last.map_or(-1, |b| b.last_offset));
        out.put_i32(last.map_or(0, |b| b.offset_delta));
        out.put_i64(entry.last_timestamp);
        out.put_i32(entry.coordinator_epoch);
        out.put_i64(entry.txn_first_offset);
    }
    let crc = crc32c::crc32c(&out[ENTRIES_AT..]);
    out[CRC_AT..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

/// The reverse of [`encode`].
pub fn decode(content: &[u8]) -> Result<ProducerTable, CorruptSnapshot> {
    let corrupt = |what: String| Err(CorruptSnapshot(what));
    if content.len() < ENTRIES_AT + 4 {
        return corrupt(format!("{} bytes are too few", content.len()));
    }
    let mut rest = content;
    let version = rest.get_i16();
    if version != VERSION {
        return corrupt(format!("unknown version {version}"));
    }
    let stored = rest.get_u32();
    let computed = crc32c::crc32c(rest);
    if stored != computed {
        return corrupt(format!("CRC is {computed:08x}, the file says {stored:08x}"));
    }
    let count = rest.get_i32();
    if i64::from(count) * ENTRY_BYTES as i64 != rest.len() as i64 {
        return corrupt(format!("{} bytes for {count} producers", rest.len()));
    }
    let mut table = ProducerTable::default();
    while rest.has_remaining() {
        let (producer_id, epoch) = (rest.get_i64(), rest.get_i16());
        let (last_sequence, last_offset, offset_delta) = (rest.get_i32(), rest.get_i64(), rest.get_i32());
        let timestamp = rest.get_i64();
        let (coordinator_epoch, txn_first_offset) = (rest.get_i32(), rest.get_i64());
        let last = BatchMetadata { last_sequence, last_offset, offset_delta, timestamp };
        let last = (last_offset >= 0).then_some(last);
        table.insert(
            producer_id,
            ProducerEntry::new(epoch, coordinator_epoch, timestamp, txn_first_offset.max(-1), last),
        );
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producers::ProducerBatch;

    fn table() -> ProducerTable {
        let mut table = ProducerTable::default();
        table.record(&ProducerBatch {
            producer_id: 0x0102,
            epoch: 3,
            base_sequence: 10,
            offset_delta: 4,
            last_offset: 99,
            timestamp: 0x55,
            transactional: false,
            control: false,
        });
        table
    }

    #[test]
    fn bytes_are_kafkas() {
        let expected: Vec<u8> = [
            &[0, 1][..],
            &crc32c::crc32c(&[
                0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 4,
                0, 0, 0, 0, 0, 0, 0, 0x55, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
            ])
            .to_be_bytes(),
            &[0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 3],
            &[0, 0, 0, 14],
            &[0, 0, 0, 0, 0, 0, 0, 99],
            &[0, 0, 0, 4],
            &[0, 0, 0, 0, 0, 0, 0, 0x55],
            &[255; 4],
            &[255; 8],
        ]
        .concat();
        assert_eq!(encode(&table()).as_ref(), expected);
        assert_eq!(decode(&expected), Ok(table()));
        assert_eq!(decode(&encode(&ProducerTable::default())), Ok(ProducerTable::default()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encode(&table());
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }
}
