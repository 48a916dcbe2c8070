//! The codecs of record batches, in the forms that Kafka's own clients write and read.
//!
//! | codec | form |
//! |---|---|
//! | gzip | RFC 1952; several members are read as one |
//! | snappy | xerial framing (what snappy-java writes) in blocks of 32 KiB; a raw block is read as well |
//! | lz4 | frame format, independent blocks of 64 KiB, no checksums of content |
//! | zstd | one frame, level 3 |
//!
//! Decompression stops at a bound that the caller gives, so that a small batch cannot take much memory. A codec's own
//! buffers come on top of it, and the batch says how large they are: two blocks for lz4, at most 16 MiB; the window
//! for zstd, at most 128 MiB, of which the system provides what is really decompressed.

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use zstd::zstd_safe::{CCtx, DCtx};

use super::header::BatchError;

/// Default bound on what the records of one batch may decompress to.
pub const DECOMPRESSED_MAX: usize = 128 * 1024 * 1024;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// All of them, by codec number.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Kafka's name, as in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// By Kafka's name. `None` for anything else, also for `producer` and `uncompressed`, which are settings of a
    /// topic and not codecs.
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The number in the attributes of a batch.
    pub const fn codec(self) -> i16 {
        self as i16
    }

    /// By the number in the attributes of a batch.
    pub fn from_codec(codec: i16) -> Option<Compression> {
        usize::try_from(codec).ok().and_then(|codec| Compression::ALL.get(codec).copied())
    }

    /// Appends `records` to `out`, compressed.
    pub(super) fn compress(self, records: &[u8], out: &mut Vec<u8>) {
        let result = match self {
            Compression::None => {
                out.extend_from_slice(records);
                Ok(())
            }
            Compression::Gzip => gzip(records, out),
            Compression::Snappy => snappy(records, out),
            Compression::Lz4 => lz4(records, out),
            Compression::Zstd => zstd(records, out),
        };
        result.unwrap_or_else(|error| panic!("{self} failed on {} bytes in memory: {error}", records.len()));
    }

    /// Decompresses to at most `max` bytes.
    pub(super) fn decompress(self, bytes: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
        let failed = |reason: String| BatchError::Decompress { codec: self, reason };
        match self {
            Compression::None if bytes.len() > max => Err(BatchError::TooLarge { max }),
            Compression::None => Ok(bytes.to_vec()),
            Compression::Gzip => read_all(MultiGzDecoder::new(bytes), bytes.len(), max, failed),
            Compression::Snappy => unsnappy(bytes, max),
            Compression::Lz4 => read_all(FrameDecoder::new(bytes), bytes.len(), max, failed),
            Compression::Zstd => UNZSTD.with_borrow_mut(|context| {
                let decoder = zstd::stream::read::Decoder::with_context(bytes, context);
                read_all(decoder, bytes.len(), max, failed)
            }),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn gzip(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut encoder = GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(records)?;
    encoder.finish().map(drop)
}

fn lz4(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    // Kafka's reader demands independent blocks.
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records)?;
    encoder.finish().map(drop).map_err(std::io::Error::other)
}

// Making a context of zstd costs more than a small batch. Every use starts a new session in it, so nothing of one
// batch is left for the next.
thread_local! {
    static ZSTD: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static UNZSTD: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

fn zstd(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut compressed = vec![0; zstd::zstd_safe::compress_bound(records.len())];
    let length = ZSTD
        .with_borrow_mut(|context| {
            context.compress(&mut compressed[..], records, zstd::DEFAULT_COMPRESSION_LEVEL)
        })
        .map_err(|code| std::io::Error::other(zstd::zstd_safe::get_error_name(code)))?;
    out.extend_from_slice(&compressed[..length]);
    Ok(())
}

/// The header of snappy-java's stream: magic, version 1, readable from version 1.
const XERIAL: [u8; 16] = *b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
const XERIAL_MAGIC_LEN: usize = 8;
const XERIAL_BLOCK: usize = 32 * 1024;

fn snappy(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(&XERIAL);
    for block in records.chunks(XERIAL_BLOCK) {
        let start = out.len();
        out.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut out[start + 4..])?;
        out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
        out.truncate(start + 4 + length);
    }
    Ok(())
}

fn unsnappy(bytes: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let failed =
        |reason: &str| BatchError::Decompress { codec: Compression::Snappy, reason: reason.to_owned() };
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL[..XERIAL_MAGIC_LEN]) {
        unsnappy_block(bytes, max, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes.get(XERIAL.len()..).ok_or_else(|| failed("stream header is cut off"))?;
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| failed("block length is cut off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| failed("block is cut off"))?;
        unsnappy_block(block, max, &mut out)?;
        rest = after;
    }
    Ok(out)
}

/// Appends a raw block. The length that it claims is believed only as far as its own length can reach: three
/// bytes give at most 64.
fn unsnappy_block(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let failed = |reason: String| BatchError::Decompress { codec: Compression::Snappy, reason };
    let length = snap::raw::decompress_len(block).map_err(|error| failed(error.to_string()))?;
    if length > block.len().saturating_mul(22) + 64 {
        return Err(failed(format!("block of {} bytes claims to hold {length}", block.len())));
    }
    if length > max.saturating_sub(out.len()) {
        return Err(BatchError::TooLarge { max });
    }
    let start = out.len();
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|error| failed(error.to_string()))?;
    out.truncate(start + written);
    Ok(())
}

/// Reads to the end, or fails past `max`.
fn read_all(
    reader: impl Read,
    compressed_len: usize,
    max: usize,
    failed: impl Fn(String) -> BatchError,
) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::with_capacity(compressed_len.saturating_mul(2).min(max));
    reader.take(max as u64 + 1).read_to_end(&mut out).map_err(|error| failed(error.to_string()))?;
    if out.len() > max { Err(BatchError::TooLarge { max }) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(codec: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec.compress(bytes, &mut out);
        out
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for codec in Compression::ALL {
            for length in [0, 1, 100, XERIAL_BLOCK, XERIAL_BLOCK + 1, 200_000] {
                let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
                let small = compressed(codec, &bytes);
                assert_eq!(codec.decompress(&small, length).unwrap(), bytes, "{codec} of {length}");
                if length > 0 {
                    let error = codec.decompress(&small, length - 1).unwrap_err();
                    assert_eq!(error, BatchError::TooLarge { max: length - 1 }, "{codec} of {length}");
                }
            }
        }
    }

    #[test]
    fn bomb_stops_at_the_bound() {
        let zeros = vec![0u8; 8 * 1024 * 1024];
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let bomb = compressed(codec, &zeros);
            assert!(bomb.len() < 600_000, "{codec} gave {}", bomb.len());
            assert_eq!(
                codec.decompress(&bomb, 100_000),
                Err(BatchError::TooLarge { max: 100_000 }),
                "{codec}"
            );
        }
    }

    #[test]
    fn blocks_of_lz4_take_no_more_than_they_may() {
        let records = [7u8; 100];
        for block_size in [BlockSize::Max64KB, BlockSize::Max4MB] {
            let mut encoder =
                FrameEncoder::with_frame_info(FrameInfo::new().block_size(block_size), Vec::new());
            encoder.write_all(&records).unwrap();
            let frame = encoder.finish().unwrap();
            let (read, taken) =
                crate::testing::alloc::peak(|| Compression::Lz4.decompress(&frame, 1000).unwrap());
            assert_eq!(read, records);
            assert!(taken <= 16 << 20, "{block_size:?}: {taken} bytes");
        }
    }

    #[test]
    fn raw_snappy_is_read_and_its_claimed_length_is_not_believed() {
        let raw = snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap();
        assert_eq!(Compression::Snappy.decompress(&raw, 100).unwrap(), b"hello hello hello");
        let claim = [0xff, 0xff, 0xff, 0x7f, 0];
        let error = Compression::Snappy.decompress(&claim, usize::MAX).unwrap_err();
        assert!(matches!(error, BatchError::Decompress { codec: Compression::Snappy, .. }), "{error}");
    }

    #[test]
    fn names_are_kafkas() {
        for codec in Compression::ALL {
            assert_eq!(Compression::from_name(codec.name()), Some(codec));
            assert_eq!(Compression::from_codec(codec.codec()), Some(codec));
        }
        assert_eq!(Compression::from_codec(5), None);
        assert_eq!(Compression::from_name("producer"), None);
    }
}
