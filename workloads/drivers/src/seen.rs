//! Takes fetched records apart for the history.

use burnin_client::Fetched;
use burnin_history::{Payload, PayloadError, Seen};
use std::hash::{BuildHasher, Hasher};

/// Fills `seen` with the records of `fetched`, in offset order. A batch that is damaged stands for one record
/// with a bad checksum.
pub(crate) fn take_apart(fetched: &Fetched, seen: &mut Vec<Seen>) {
    seen.clear();
    let mut next = fetched.fetch_offset;
    fetched.for_each(|header, record| {
        let leader_epoch = header.map_or(-1, |header| header.leader_epoch);
        let one = match record {
            Ok(record) => {
                let mut hasher = foldhash::fast::FixedState::default().build_hasher();
                hash(&mut hasher, record.key);
                hash(&mut hasher, record.value);
                for header in record.headers.iter() {
                    hash(&mut hasher, Some(header.key));
                    hash(&mut hasher, header.value);
                }
                let payload = record.value.map_or(Err(PayloadError::Null), Payload::decode);
                Seen { offset: record.offset, leader_epoch, payload, content: hasher.finish() }
            }
            Err(_) => {
                let offset = header.map_or(next, |header| header.base_offset.max(next));
                Seen { offset, leader_epoch, payload: Err(PayloadError::BadChecksum), content: 0 }
            }
        };
        next = one.offset + 1;
        seen.push(one);
    });
}

fn hash(hasher: &mut impl Hasher, bytes: Option<&[u8]>) {
    match bytes {
        None => hasher.write_u64(u64::MAX),
        Some(bytes) => {
            hasher.write_u64(bytes.len() as u64);
            hasher.write(bytes);
        }
    }
}
