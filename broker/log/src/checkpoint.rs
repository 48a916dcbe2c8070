//! The small text files of a log directory, in Kafka's formats (classes `CheckpointFile`,
//! `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`, `PartitionMetadataFile`, `CleanShutdownFileHandler`).
//! Pure. The parsers are strict: version, count and the final line feed must fit, and a file that was torn or zeroed
//! does not pass for a shorter one. Nothing else says what the offsets in a checkpoint say, so they carry a checksum:
//! one more entry, of a topic that cannot be, which Kafka reads over.

use crate::epochs::{EpochCache, EpochEntry};
use crate::files::TopicPartition;
use std::collections::BTreeMap;
use std::fmt::Write;
use uuid::Uuid;

/// The content of `.kafka_cleanshutdown`; -1 for no broker epoch.
pub(crate) fn encode_clean_shutdown(broker_epoch: i64) -> String {
    format!(r#"{{"version":0,"brokerEpoch":{broker_epoch}}}"#)
}

/// The broker epoch in a `.kafka_cleanshutdown`; -1 when it has none or is not one.
pub fn clean_shutdown_epoch(content: &str) -> i64 {
    let fields = content.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    let epoch = fields.split(',').find_map(|field| {
        let (name, value) = field.split_once(':')?;
        (name.trim() == r#""brokerEpoch""#).then(|| value.trim().parse().ok())?
    });
    epoch.unwrap_or(-1)
}

/// A checkpoint file that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CorruptCheckpoint(String);

fn corrupt<T>(what: impl Into<String>) -> Result<T, CorruptCheckpoint> {
    Err(CorruptCheckpoint(what.into()))
}

/// `0`, the number of entries, and one line for each.
fn lines(content: &[u8]) -> Result<Vec<&str>, CorruptCheckpoint> {
    let Ok(text) = std::str::from_utf8(content) else { return corrupt("not text") };
    let Some(text) = text.strip_suffix('\n') else { return corrupt("does not end with a line feed") };
    let mut lines = text.split('\n');
    if lines.next() != Some("0") {
        return corrupt("version is not 0");
    }
    let Some(Ok(count)) = lines.next().map(str::parse::<usize>) else { return corrupt("no entry count") };
    let entries: Vec<&str> = lines.collect();
    if entries.len() != count {
        return corrupt(format!("{} entries instead of {count}", entries.len()));
    }
    Ok(entries)
}

/// How the last entry of a checkpoint of offsets begins; the CRC32C of all before it follows as the offset.
const CHECKSUM: &str = "#crc32c 0 ";

/// The content of `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint` and
/// `replication-offset-checkpoint`.
pub fn encode_offsets(offsets: &BTreeMap<TopicPartition, i64>) -> String {
    let mut out = format!("0\n{}\n", offsets.len() + 1);
    for (tp, offset) in offsets {
        let _ = writeln!(out, "{} {} {offset}", tp.topic, tp.partition);
    }
    let checksum = crc32c::crc32c(out.as_bytes());
    let _ = writeln!(out, "{CHECKSUM}{checksum}");
    out
}

/// The reverse of [`encode_offsets`]. One without a checksum, as Kafka writes it, is not believed.
pub fn decode_offsets(content: &[u8]) -> Result<BTreeMap<TopicPartition, i64>, CorruptCheckpoint> {
    let mut offsets = BTreeMap::new();
    let mut lines = lines(content)?;
    let Some(checksum) = lines.pop().and_then(|line| line.strip_prefix(CHECKSUM)) else {
        return corrupt("no checksum");
    };
    let computed = crc32c::crc32c(&content[..content.len() - CHECKSUM.len() - checksum.len() - 1]);
    if checksum != computed.to_string() {
        return corrupt(format!("the checksum is {computed} instead of {checksum}"));
    }
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let (topic, partition, offset, rest) = (words.next(), words.next(), words.next(), words.next());
        let (Some(topic), Some(Ok(partition)), Some(Ok(offset)), None) =
            (topic, partition.map(str::parse::<i32>), offset.map(str::parse::<i64>), rest)
        else {
            return corrupt(format!("bad entry {line:?}"));
        };
        if partition < 0 || offset < 0 {
            return corrupt(format!("negative number in {line:?}"));
        }
        offsets.insert(TopicPartition::new(topic, partition), offset);
    }
    Ok(offsets)
}

/// The content of `leader-epoch-checkpoint`.
pub fn encode_epochs(epochs: &EpochCache) -> String {
    let mut out = format!("0\n{}\n", epochs.entries().len());
    for entry in epochs.entries() {
        let _ = writeln!(out, "{} {}", entry.epoch, entry.start_offset);
    }
    out
}

/// The reverse of [`encode_epochs`]. Epochs and offsets must increase.
pub fn decode_epochs(content: &[u8]) -> Result<EpochCache, CorruptCheckpoint> {
    let mut epochs = EpochCache::default();
    for line in lines(content)? {
        let words = line.split_once(' ').map(|(epoch, start)| (epoch.parse(), start.parse()));
        let Some((Ok(epoch), Ok(start_offset))) = words else {
            return corrupt(format!("bad entry {line:?}"));
        };
        let grows = epochs.latest().is_none_or(|last| last.epoch < epoch && last.start_offset < start_offset);
        if !grows || epoch < 0 || start_offset < 0 {
            return corrupt(format!("entry {line:?} goes back"));
        }
        epochs.assign(EpochEntry { epoch, start_offset });
    }
    Ok(epochs)
}

/// The content of `partition.metadata`.
pub fn encode_partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {}", base64_uuid(topic_id))
}

/// The topic id in `partition.metadata`.
pub fn decode_partition_metadata(content: &[u8]) -> Result<Uuid, CorruptCheckpoint> {
    let Ok(text) = std::str::from_utf8(content) else { return corrupt("not text") };
    let id = text.trim_end().strip_prefix("version: 0\ntopic_id: ");
    match id.and_then(parse_base64_uuid) {
        Some(id) => Ok(id),
        None => corrupt("not `version: 0` and `topic_id: ...`"),
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A uuid as Kafka prints it: 22 characters of URL-safe base64 without padding.
pub fn base64_uuid(id: Uuid) -> String {
    let bits = id.as_u128();
    // 128 bits are 21 groups of 6 and a last one of 2
    let group = |n: u32| if n < 21 { bits >> (122 - 6 * n) } else { bits << 4 };
    (0..22).map(|n| char::from(BASE64_URL[(group(n) & 63) as usize])).collect()
}

/// The reverse of [`base64_uuid`].
pub fn parse_base64_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (n, byte) in text.bytes().enumerate() {
        let value = BASE64_URL.iter().position(|&b| b == byte)? as u128;
        if n < 21 {
            bits = bits << 6 | value;
        } else if value & 15 == 0 {
            bits = bits << 2 | value >> 4;
        } else {
            return None;
        }
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_checkpoint_is_kafkas_text() {
        let offsets = BTreeMap::from([
            (TopicPartition::new("a-b", 3), 12),
            (TopicPartition::new("orders", 0), 1 << 40),
        ]);
        let text = encode_offsets(&offsets);
        assert_eq!(text, "0\n3\na-b 3 12\norders 0 1099511627776\n#crc32c 0 3701565068\n");
        assert_eq!(decode_offsets(text.as_bytes()), Ok(offsets));
        assert_eq!(decode_offsets(encode_offsets(&BTreeMap::new()).as_bytes()), Ok(BTreeMap::new()));
        assert!(decode_offsets(b"0\n1\norders 0 17\n").is_err(), "it has no checksum");
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_checkpoint_of_offsets_is_seen() {
        let text = encode_offsets(&BTreeMap::from([(TopicPartition::new("orders", 1), 430)]));
        for bit in 0..text.len() * 8 {
            let mut rotten = text.clone().into_bytes();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_offsets(&rotten).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn no_prefix_and_no_zeroed_copy_of_a_checkpoint_parses() {
        let offsets =
            BTreeMap::from([(TopicPartition::new("a", 0), 12), (TopicPartition::new("b", 0), 1234)]);
        let text = encode_offsets(&offsets);
        for end in 0..text.len() {
            assert!(decode_offsets(&text.as_bytes()[..end]).is_err(), "prefix of {end} bytes");
            let mut zeroed = text.clone().into_bytes();
            zeroed[end..].fill(0);
            assert!(decode_offsets(&zeroed).is_err(), "zeros from {end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_a_checkpoint_is_read_and_what_is_read_can_be_written(content: Vec<u8>, text in "0\n[0-3]\n[ab0-9 \n-]{0,20}") {
            let _ = (decode_offsets(&content), decode_epochs(&content), decode_partition_metadata(&content));
            let text = format!("{text}{CHECKSUM}{}\n", crc32c::crc32c(text.as_bytes()));
            if let Ok(offsets) = decode_offsets(text.as_bytes()) {
                proptest::prop_assert_eq!(decode_offsets(encode_offsets(&offsets).as_bytes()), Ok(offsets));
            }
            if let Ok(epochs) = decode_epochs(text.as_bytes()) {
                proptest::prop_assert_eq!(decode_epochs(encode_epochs(&epochs).as_bytes()), Ok(epochs));
            }
        }
    }

    #[test]
    fn clean_shutdown_marker_is_kafkas_text() {
        assert_eq!(encode_clean_shutdown(-1), r#"{"version":0,"brokerEpoch":-1}"#);
        assert_eq!(clean_shutdown_epoch(&encode_clean_shutdown(42)), 42);
        assert_eq!(clean_shutdown_epoch("{ \"brokerEpoch\" : 7, \"version\" : 0 }\n"), 7);
        for other in ["", "{}", "{\"version\":0}", "{\"brokerEpoch\":\"x\"}", "\0\0"] {
            assert_eq!(clean_shutdown_epoch(other), -1, "{other}");
        }
    }

    #[test]
    fn epoch_checkpoint_is_kafkas_text() {
        let mut epochs = EpochCache::default();
        epochs.assign(EpochEntry { epoch: 0, start_offset: 0 });
        epochs.assign(EpochEntry { epoch: 3, start_offset: 17 });
        assert_eq!(encode_epochs(&epochs), "0\n2\n0 0\n3 17\n");
        assert_eq!(decode_epochs(b"0\n2\n0 0\n3 17\n"), Ok(epochs));
        assert!(decode_epochs(b"0\n2\n3 0\n3 17\n").is_err());
        assert!(decode_epochs(b"0\n2\n1 17\n3 17\n").is_err());
    }

    #[test]
    fn partition_metadata_is_kafkas_text() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978);
        // java: new Uuid(0x0123456789abcdefL, 0x0f1e2d3c4b5a6978L).toString()
        assert_eq!(encode_partition_metadata(id), "version: 0\ntopic_id: ASNFZ4mrze8PHi08S1ppeA");
        assert_eq!(decode_partition_metadata(encode_partition_metadata(id).as_bytes()), Ok(id));
        assert!(decode_partition_metadata(b"version: 0\ntopic_id: ASNF").is_err());
        for bits in [0, u128::MAX, 1, 1 << 127] {
            assert_eq!(parse_base64_uuid(&base64_uuid(Uuid::from_u128(bits))), Some(Uuid::from_u128(bits)));
        }
    }
}
