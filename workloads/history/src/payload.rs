//! Self-describing records: any reader can verify a record without looking anything up.
//!
//! Layout of a record's value, little endian: magic `BRN1` (4), CRC-32C of all that follows (4), run (8),
//! producer (4), topic number (4), partition (4), reserved (4), sequence (8), then filler bytes that are a
//! function of the sequence, up to the wanted size.

use crate::event::ProducerId;

/// The smallest value that carries a payload.
pub const HEADER_BYTES: usize = 40;
const MAGIC: [u8; 4] = *b"BRN1";

/// What a record says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Which run wrote it.
    pub run: u64,
    /// Which producer wrote it.
    pub producer: ProducerId,
    /// The topic's number in the run.
    pub topic_number: u32,
    /// The partition it was written to.
    pub partition: i32,
    /// Position in what the producer wrote to this partition: 0, 1, 2, ...
    pub seq: u64,
}

/// Why a value is not a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// Shorter than [`HEADER_BYTES`], or with another magic.
    NotOurs,
    /// The checksum does not match.
    BadChecksum,
    /// Null.
    Null,
}

impl Payload {
    /// Appends the value, `size` bytes in all (at least [`HEADER_BYTES`]).
    pub fn encode_into(&self, size: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let size = size.max(HEADER_BYTES);
        out.reserve(size);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.producer.0.to_le_bytes());
        out.extend_from_slice(&self.topic_number.to_le_bytes());
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.seq.to_le_bytes());
        let mut filler = self.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while out.len() - start < size {
            let left = size - (out.len() - start);
            out.extend_from_slice(&filler.to_le_bytes()[..left.min(8)]);
            filler = filler.rotate_left(7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        let crc = crc32c::crc32c(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Takes a value apart and verifies it.
    pub fn decode(value: &[u8]) -> Result<Payload, PayloadError> {
        if value.len() < HEADER_BYTES || value[..4] != MAGIC {
            return Err(PayloadError::NotOurs);
        }
        if crc32c::crc32c(&value[8..]) != u32_at(value, 4) {
            return Err(PayloadError::BadChecksum);
        }
        Ok(Payload {
            run: u64_at(value, 8),
            producer: ProducerId(u32_at(value, 16)),
            topic_number: u32_at(value, 20),
            partition: u32_at(value, 24) as i32,
            seq: u64_at(value, 32),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_round_trips_and_every_flipped_bit_is_noticed() {
        let payload = Payload { run: 7, producer: ProducerId(3), topic_number: 1, partition: 2, seq: 99 };
        for size in [0, HEADER_BYTES, 41, 100] {
            let mut value = Vec::new();
            payload.encode_into(size, &mut value);
            assert_eq!(value.len(), size.max(HEADER_BYTES));
            assert_eq!(Payload::decode(&value), Ok(payload));
            for bit in 0..value.len() * 8 {
                let mut broken = value.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert!(Payload::decode(&broken).is_err(), "bit {bit} of {size} bytes");
            }
        }
    }
}
