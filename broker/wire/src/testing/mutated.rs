//! Mutated real frames through the public entry points: never a panic, never an abort, never more memory than
//! [`crate::memory_max`] says.
//!
//! The number of frames is `BURNIN_WIRE_FRAMES`, one million by default, split evenly between requests and
//! responses, between all APIs and versions, and between the kinds of mutation. Every frame counts that was handed
//! to `decode_request` or `decode_response`; those that came out of a mutation unchanged are not counted.

use bytes::Bytes;

use super::generate::{self, Frame};
use super::{Rng, alloc};
use crate::schema::Direction;
use crate::{Api, RequestError, decode_request, decode_response, memory_max};

const FRAMES: usize = 1_000_000;

/// For the text of an error, which quotes numbers and names but no bytes of the frame.
const ERROR_MEMORY: usize = 4096;

#[derive(Clone, Copy, Debug)]
enum Mutation {
    FlipBits,
    Extremes,
    Truncate,
    Insert,
    Delete,
    Splice,
    Lengths,
    Header,
}

const MUTATIONS: [Mutation; 8] = [
    Mutation::FlipBits,
    Mutation::Extremes,
    Mutation::Truncate,
    Mutation::Insert,
    Mutation::Delete,
    Mutation::Splice,
    Mutation::Lengths,
    Mutation::Header,
];

impl Mutation {
    fn apply(self, rng: &mut Rng, frame: &Frame, other: &Frame) -> Vec<u8> {
        let mut bytes = frame.bytes.to_vec();
        let at = rng.below(bytes.len());
        match self {
            Mutation::FlipBits => {
                for _ in 0..1 + rng.below(4) {
                    let at = rng.below(bytes.len());
                    bytes[at] ^= 1 << rng.below(8);
                }
            }
            Mutation::Extremes => {
                let length = (1 + rng.below(5)).min(bytes.len() - at);
                bytes[at..at + length].fill(rng.pick(&[0x00, 0x01, 0x7f, 0x80, 0xff]));
            }
            Mutation::Truncate => bytes.truncate(at),
            Mutation::Insert => {
                let mut more = vec![0; 1 + rng.below(8)];
                rng.fill(&mut more);
                bytes.splice(at..at, more);
            }
            Mutation::Delete => {
                let length = (1 + rng.below(8)).min(bytes.len() - at);
                bytes.drain(at..at + length);
            }
            Mutation::Splice => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other.bytes[rng.below(other.bytes.len())..]);
            }
            Mutation::Lengths => {
                for _ in 0..1 + rng.below(2) {
                    mutate_length(rng, frame, &mut bytes);
                }
            }
            Mutation::Header => {
                let at = rng.below(12.min(bytes.len()));
                bytes[at] = rng.pick(&[0, 1, 2, 3, 9, 18, 0x7f, 0x80, 0xff]);
            }
        }
        bytes
    }
}

/// Puts a hostile number where a length or a count is.
fn mutate_length(rng: &mut Rng, frame: &Frame, bytes: &mut Vec<u8>) {
    let Some(&(at, width)) = frame.lengths.get(rng.below(frame.lengths.len().max(1))) else {
        return;
    };
    if at + width > bytes.len() {
        return; // cut off by the length before it
    }
    let small = rng.below(300) as i32;
    let value = rng.pick(&[i32::MAX, i32::MIN, -1, -2, 0, 1, small, 0xffff, 0x00ff_ffff, 0x7fff]);
    match width {
        // Two and four bytes are plain or compact: both kinds of bytes are tried.
        2 if rng.one_in(2) => bytes[at..at + 2].copy_from_slice(&(value as i16).to_be_bytes()),
        4 if rng.one_in(2) => bytes[at..at + 4].copy_from_slice(&value.to_be_bytes()),
        width => {
            let mut compact = Vec::new();
            let mut rest = value as u32;
            while rest >= 0x80 {
                compact.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            compact.push(rest as u8);
            bytes.splice(at..at + width, compact);
        }
    }
}

/// Whether the frame was accepted.
fn decode(frame: &Frame, bytes: Bytes) -> bool {
    let length = bytes.len();
    let (accepted, taken) = alloc::peak(|| match frame.direction {
        Direction::Request => match decode_request(bytes) {
            Ok((header, request)) => {
                assert_eq!(header.api, request.api());
                true
            }
            Err(RequestError::Malformed(reason)) => {
                assert!(reason.len() < ERROR_MEMORY / 2);
                false
            }
            Err(_) => false,
        },
        Direction::Response => decode_response(frame.api, frame.version, bytes).is_ok(),
    });
    let most = memory_max(length) + ERROR_MEMORY;
    assert!(taken <= most, "{} v{}: {length} bytes took {taken}", frame.api, frame.version);
    accepted
}

fn frames() -> usize {
    match std::env::var("BURNIN_WIRE_FRAMES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("BURNIN_WIRE_FRAMES is `{text}`, not a number")),
        Err(_) => FRAMES,
    }
}

#[test]
fn a_million_mutated_frames_end_in_ok_or_err_within_the_memory_bound() {
    let seed = 6;
    let mut rng = Rng::new(seed);
    let served = |frame: &(&crate::schema::parse::Message, i16)| {
        let versions = Api::ALL.iter().find(|api| api.name() == frame.0.api).expect("an api").versions();
        (versions.min..=versions.max).contains(&frame.1)
    };
    let shapes: Vec<_> = generate::shapes().into_iter().filter(served).collect();
    let mut tried = [0usize; MUTATIONS.len()];
    let mut accepted = [0usize; MUTATIONS.len()];
    let mut other = generate::frame(&mut rng, shapes[0].0, shapes[0].1);
    // The first frame of a process compiles the schema; that memory is not the frame's.
    decode_response(other.api, other.version, other.bytes.clone()).ok();
    let total = frames();
    let mut done = 0;
    while done < total {
        for &(message, version) in &shapes {
            let frame = generate::frame(&mut rng, message, version);
            for (index, mutation) in MUTATIONS.into_iter().enumerate() {
                let bytes = mutation.apply(&mut rng, &frame, &other);
                if bytes == frame.bytes {
                    continue;
                }
                tried[index] += 1;
                done += 1;
                accepted[index] += usize::from(decode(&frame, bytes.into()));
            }
            other = frame;
        }
    }
    println!("{done} mutated frames, seed {seed}");
    for (index, mutation) in MUTATIONS.into_iter().enumerate() {
        println!("  {mutation:?}: {} tried, {} accepted", tried[index], accepted[index]);
        assert!(tried[index] >= total / 16, "{mutation:?} was tried {} times", tried[index]);
        // A mutation that is never refused, or never reaches the decoder, would prove little. Nothing that is cut
        // off is ever accepted.
        assert!(accepted[index] < tried[index], "{mutation:?} was never refused");
        assert_eq!(accepted[index] == 0, matches!(mutation, Mutation::Truncate), "{mutation:?}");
    }
}
