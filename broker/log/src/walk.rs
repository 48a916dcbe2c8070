//! Picking the wanted batches out of bytes of a segment file, believing nothing: a batch counts when it continues
//! the one before it, its CRC fits, and its leader epoch, which no CRC covers, is that of the log there. Pure.

use crate::epochs::EpochCache;
use crate::log::ReadResult;
use burnin_wire::batch::{BatchHeader, HEADER_LEN, verify_crc};
use bytes::Bytes;

/// What a read asks for: see [`crate::Log::try_read`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub offset: i64,
    pub up_to: i64,
    pub max_bytes: usize,
    pub min_one: bool,
}

/// What is known of the batch at the beginning of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Its first offset.
    Begins(i64),
    /// Its last offset, by an index entry.
    Ends(i64),
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    Found(ReadResult),
    /// The batch at this position is not what it should be.
    Bad {
        at: usize,
        reason: String,
    },
    /// The bytes end too early: go on at position `skip`, with at least `need` bytes.
    Further {
        skip: usize,
        need: usize,
        first: First,
    },
}

/// `window` begins with a batch; `epochs` are those of the log.
pub(crate) fn walk(window: &Bytes, mut first: First, wanted: &Wanted, epochs: &EpochCache) -> Walk {
    let (mut at, mut begin, mut next) = (0, None::<usize>, wanted.offset);
    let found = |begin: Option<usize>, at: usize, next_offset| {
        let batches = begin.map(|begin| window.slice(begin..at)).into_iter().collect();
        Walk::Found(ReadResult { batches, next_offset })
    };
    loop {
        let rest = &window[at..];
        let end = match look(rest, first, wanted, epochs) {
            Look::Batch { header, end } => (header, end),
            // what was found before is good; the next read begins here
            _ if begin.is_some() => return found(begin, at, next),
            Look::Cut { need } => return Walk::Further { skip: at, need, first },
            Look::Bad(reason) => return Walk::Bad { at, reason },
        };
        let (header, total) = end;
        first = First::Begins(header.next_offset());
        if header.last_offset() < wanted.offset {
            if total > rest.len() {
                return Walk::Further { skip: at + total, need: HEADER_LEN, first };
            }
            at += total;
            continue;
        }
        let size = at + total - begin.unwrap_or(at);
        let fits = size <= wanted.max_bytes || (wanted.min_one && begin.is_none());
        if header.last_offset() >= wanted.up_to || !fits {
            return found(begin, at, next);
        }
        begin.get_or_insert(at);
        at += total;
        next = header.next_offset();
    }
}

enum Look {
    /// One that is wanted is whole and has been checked; one to skip may go on behind the bytes.
    Batch {
        header: BatchHeader,
        end: usize,
    },
    Cut {
        need: usize,
    },
    Bad(String),
}

fn look(rest: &[u8], first: First, wanted: &Wanted, epochs: &EpochCache) -> Look {
    if rest.len() < HEADER_LEN {
        return Look::Cut { need: HEADER_LEN };
    }
    let header = match BatchHeader::parse(rest) {
        Ok(header) => header,
        Err(error) => return Look::Bad(error.to_string()),
    };
    let fits = match first {
        First::Begins(offset) => header.base_offset == offset,
        First::Ends(offset) => header.last_offset() == offset,
    };
    if !fits || header.last_offset_delta < 0 {
        let (base, last) = (header.base_offset, header.last_offset());
        return Look::Bad(format!("offsets {base} to {last} where {first:?} was expected"));
    }
    let end = header.total_len();
    if header.last_offset() < wanted.offset {
        return Look::Batch { header, end };
    }
    let Some(batch) = rest.get(..end) else { return Look::Cut { need: end } };
    if let Err(error) = verify_crc(batch) {
        return Look::Bad(error.to_string());
    }
    match epochs.epoch_at(header.last_offset()) {
        Some(epoch) if epoch != header.leader_epoch => {
            Look::Bad(format!("leader epoch {} where the log is of epoch {epoch}", header.leader_epoch))
        }
        _ => Look::Batch { header, end },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::EpochEntry;
    use burnin_wire::batch::{BatchBuilder, BatchOptions, assign};
    use bytes::BytesMut;

    fn walk(window: &Bytes, first: First, wanted: &Wanted) -> Walk {
        let mut epochs = EpochCache::default();
        epochs.assign(EpochEntry { epoch: EPOCH, start_offset: 90 });
        super::walk(window, first, wanted, &epochs)
    }

    const EPOCH: i32 = 4;

    /// Four batches of 10 records each, from offset 100 on, and the size of one.
    fn window() -> (Bytes, usize) {
        let mut bytes = Vec::new();
        for n in 0..4 {
            let mut builder =
                BatchBuilder::new(BatchOptions { base_offset: 100 + n * 10, ..BatchOptions::default() });
            (0..10).for_each(|_| builder.push(5, None, Some(b"value"), &[]));
            let mut batch = BytesMut::from(&builder.build()[..]);
            assign(&mut batch, 100 + n * 10, EPOCH, None);
            bytes.extend_from_slice(&batch);
        }
        let size = bytes.len() / 4;
        (bytes.into(), size)
    }

    fn wanted(offset: i64) -> Wanted {
        Wanted { offset, up_to: 140, max_bytes: usize::MAX, min_one: true }
    }

    fn found(walk: Walk) -> (usize, i64) {
        let Walk::Found(result) = walk else { panic!("{walk:?}") };
        (result.bytes(), result.next_offset)
    }

    const BEGIN: First = First::Begins(100);

    #[test]
    fn gives_whole_batches_from_the_one_that_holds_the_offset() {
        let (bytes, size) = window();
        assert_eq!(found(walk(&bytes, BEGIN, &wanted(115))), (3 * size, 140));
        assert_eq!(found(walk(&bytes, First::Ends(109), &wanted(115))), (3 * size, 140));
        let less = Wanted { max_bytes: 2 * size, ..wanted(115) };
        assert_eq!(found(walk(&bytes, BEGIN, &less)), (2 * size, 130));
        let none = Wanted { max_bytes: 1, min_one: false, ..wanted(115) };
        assert_eq!(found(walk(&bytes, BEGIN, &none)), (0, 115));
        let one = Wanted { max_bytes: 1, ..wanted(115) };
        assert_eq!(found(walk(&bytes, BEGIN, &one)), (size, 120));
        let bounded = Wanted { up_to: 130, ..wanted(115) };
        assert_eq!(found(walk(&bytes, BEGIN, &bounded)), (2 * size, 130));
    }

    #[test]
    fn asks_for_more_bytes_when_they_end_too_early() {
        let (bytes, size) = window();
        let cut = |len| walk(&bytes.slice(..len), BEGIN, &wanted(115));
        let first = First::Begins(110);
        assert_eq!(cut(size / 2), Walk::Further { skip: size, need: HEADER_LEN, first });
        assert_eq!(cut(size), Walk::Further { skip: size, need: HEADER_LEN, first });
        assert_eq!(cut(size + 70), Walk::Further { skip: size, need: size, first });
        assert_eq!(found(cut(2 * size + 10)), (size, 120));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let (bytes, size) = window();
        for bit in 0..size * 8 {
            let mut bad = bytes.to_vec();
            bad[size + bit / 8] ^= 1 << (bit % 8);
            let walked = walk(&bad.into(), BEGIN, &wanted(115));
            let noticed = matches!(walked, Walk::Bad { at, .. } if at >= size)
                || matches!(walked, Walk::Further { skip, need, .. } if skip == size && need > bytes.len() - size);
            assert!(noticed, "bit {bit}: {walked:?}");
        }
    }

    #[test]
    fn nothing_is_said_of_epochs_that_are_not_known() {
        let (bytes, size) = window();
        let mut later = EpochCache::default();
        later.assign(EpochEntry { epoch: 9, start_offset: 140 });
        assert_eq!(found(super::walk(&bytes, BEGIN, &wanted(115), &later)), (3 * size, 140));
    }

    #[test]
    fn what_comes_before_a_bad_batch_is_given() {
        let (bytes, size) = window();
        let mut bad = bytes.to_vec();
        bad[2 * size + 80] ^= 1;
        assert_eq!(found(walk(&bad.into(), BEGIN, &wanted(105))), (2 * size, 120));
    }
}
