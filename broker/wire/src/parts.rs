//! Bytes to send, in pieces, so that record batches go from the log to the socket without being copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// An encoded frame, the 4-byte length included, as consecutive pieces.
///
/// `Parts` is a [`Buf`]: `tokio::io::AsyncWriteExt::write_all_buf` sends it with vectored writes. Pieces are
/// never empty.
#[derive(Clone, Default, Debug)]
pub struct Parts {
    first: Bytes,
    rest: VecDeque<Bytes>,
    len: usize,
}

impl Parts {
    /// No bytes at all.
    pub fn new() -> Self {
        Parts::default()
    }

    /// `first` and then `rest`; none is empty.
    pub(crate) fn from_pieces(first: Bytes, rest: VecDeque<Bytes>) -> Self {
        assert!(!first.is_empty() && rest.iter().all(|part| !part.is_empty()), "an empty piece");
        let len = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        Parts { first, rest, len }
    }

    /// Appends a piece; an empty one is dropped.
    pub fn push(&mut self, part: Bytes) {
        if part.is_empty() {
            return;
        }
        self.len += part.len();
        if self.first.is_empty() {
            self.first = part;
        } else {
            self.rest.push_back(part);
        }
    }

    /// Bytes left to send.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces that are left, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).filter(|part| !part.is_empty()).chain(&self.rest)
    }

    /// The pieces that are left, in order.
    pub fn into_vec(self) -> Vec<Bytes> {
        self.iter().cloned().collect()
    }

    /// Everything in one piece. Copies unless there is only one.
    pub fn into_bytes(mut self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut all = BytesMut::with_capacity(self.len);
        while self.has_remaining() {
            all.extend_from_slice(self.chunk());
            self.advance(self.chunk().len());
        }
        all.freeze()
    }
}

impl From<Bytes> for Parts {
    fn from(part: Bytes) -> Self {
        let len = part.len();
        Parts { first: part, rest: VecDeque::new(), len }
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(self.iter()) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance past the end: count={count} len={}", self.len);
        self.len -= count;
        while count >= self.first.len() {
            count -= self.first.len();
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => {
                    self.first = Bytes::new();
                    return;
                }
            }
        }
        self.first.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_pieces() {
        let mut parts = Parts::new();
        for piece in ["ab", "", "c", "defg"] {
            parts.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(parts.len(), 7);
        assert_eq!(parts.iter().count(), 3);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(parts.chunks_vectored(&mut slices), 3);
        parts.advance(3);
        assert_eq!(parts.chunk(), b"defg");
        assert_eq!(parts.clone().into_bytes(), "defg");
        parts.advance(4);
        assert!(parts.is_empty());
        assert_eq!(parts.iter().count(), 0);
    }
}
