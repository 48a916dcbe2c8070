//! Cuts the bytes of a connection into frames: a length of 4 bytes, then so many bytes.
//!
//! One buffer per connection, reused as long as nobody keeps a slice of it. A large frame gets a buffer of its
//! own that grows with what really arrives, so that an announced length alone costs no memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The room for small frames.
const BUFFER: usize = 8 * 1024;
/// Frames from this size on get a buffer of their own.
const LARGE: usize = 64 * 1024;
/// How much room a large frame gets at first.
const LARGE_FIRST: usize = 1024 * 1024;

/// A length that no frame can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("announced a frame of {length} bytes (allowed: 0 to {max})")]
pub(crate) struct FrameError {
    length: i32,
    max: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    frame_max: usize,
}

impl FrameReader {
    /// Accepts frames of up to `frame_max` bytes.
    pub(crate) fn new(frame_max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), frame_max }
    }

    /// The length of the frame that comes next, when it is known.
    pub(crate) fn next_length(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes)) else {
            return Ok(None);
        };
        match usize::try_from(length) {
            Ok(known) if known <= self.frame_max => Ok(Some(known)),
            _ => Err(FrameError { length, max: self.frame_max }),
        }
    }

    /// The next frame without its length, when all of it is there.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.next_length()? else { return Ok(None) };
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + length);
        frame.advance(4);
        if length >= LARGE && self.buffer.is_empty() {
            // Lets the frame be the only owner of its memory: its records can move into the log uncopied.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame.freeze()))
    }

    /// Reads once. 0 is the end of the stream.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // A wrong length was refused by `next_frame` before.
        let wanted = self.next_length().ok().flatten().map_or(0, |length| 4 + length);
        let missing = wanted.saturating_sub(self.buffer.len());
        if wanted < LARGE {
            if self.buffer.capacity() - self.buffer.len() < missing.max(1) {
                self.buffer.reserve(BUFFER.max(missing));
            }
            return pin!(stream.read_buf(&mut self.buffer)).poll(cx);
        }
        if self.buffer.capacity() == self.buffer.len() || self.buffer.capacity() < LARGE {
            let room = LARGE_FIRST.max(self.buffer.len()).min(missing);
            let mut larger = BytesMut::with_capacity(self.buffer.len() + room);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
        let mut limited = (&mut self.buffer).limit(missing);
        pin!(stream.read_buf(&mut limited)).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read_all(reader: &mut FrameReader, mut input: &[u8]) -> Vec<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push(frame);
            }
            match reader.poll_read(&mut input, &mut cx) {
                Poll::Ready(Ok(0)) => return frames,
                Poll::Ready(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn frame(byte: u8, length: usize) -> Vec<u8> {
        let mut bytes = (length as i32).to_be_bytes().to_vec();
        bytes.extend(std::iter::repeat_n(byte, length));
        bytes
    }

    #[test]
    fn frames_of_all_sizes_come_out_whole_and_in_order() {
        let lengths = [0, 1, 7, BUFFER - 4, BUFFER, LARGE - 5, LARGE, 3 * LARGE_FIRST + 1, 2];
        let mut input = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            input.extend(frame(index as u8, *length));
        }
        let mut reader = FrameReader::new(8 * LARGE_FIRST);
        let frames = read_all(&mut reader, &input);
        assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
        for (index, frame) in frames.iter().enumerate() {
            assert!(frame.iter().all(|byte| *byte == index as u8), "frame {index}");
        }
    }

    #[test]
    fn a_large_frame_owns_its_memory_and_an_announced_one_costs_little() {
        let mut reader = FrameReader::new(usize::MAX >> 1);
        let frame = read_all(&mut reader, &frame(1, 2 * LARGE)).remove(0);
        assert!(frame.try_into_mut().is_ok());
        let mut cx = Context::from_waker(Waker::noop());
        let mut announced: &[u8] = &1_000_000_000_i32.to_be_bytes();
        assert!(matches!(reader.poll_read(&mut announced, &mut cx), Poll::Ready(Ok(4))));
        let mut few: &[u8] = &[0; 10];
        assert!(matches!(reader.poll_read(&mut few, &mut cx), Poll::Ready(Ok(10))));
        assert!(reader.buffer.capacity() <= 2 * LARGE_FIRST, "{}", reader.buffer.capacity());
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [-1_i32, 101, i32::MIN] {
            let mut reader = FrameReader::new(100);
            reader.buffer.extend_from_slice(&length.to_be_bytes());
            assert_eq!(reader.next_frame(), Err(FrameError { length, max: 100 }));
        }
    }
}
