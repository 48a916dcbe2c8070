//! Against records that Apache Kafka 4.3.1 wrote.

use std::collections::BTreeSet;

use super::*;
use crate::testing::Rng;

/// Lines of `version|value in hex|Kafka's toString`, written with `MetadataRecordSerde` from random records of every
/// type and version.
const FIXTURES: &str = include_str!("../../fixtures/metadata_records.txt");

struct Fixture {
    version: i16,
    value: Vec<u8>,
    text: &'static str,
}

fn fixtures() -> impl Iterator<Item = Fixture> {
    FIXTURES.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut parts = line.splitn(3, '|');
        let mut part = || parts.next().expect("three parts");
        let version = part().parse().expect("a version");
        let hex = part();
        let value = (0..hex.len() / 2)
            .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("hex"))
            .collect();
        Fixture { version, value, text: part() }
    })
}

/// `name=value` pairs as Kafka prints them, in brackets.
pub(crate) fn java_text(fields: &[(&str, String)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}={value}", camel(name))).collect();
    format!("({})", fields.join(", "))
}

fn camel(name: &str) -> String {
    let mut up = false;
    let mut camel = String::new();
    for letter in name.chars() {
        match letter {
            '_' => up = true,
            letter if up => {
                camel.push(letter.to_ascii_uppercase());
                up = false;
            }
            letter => camel.push(letter),
        }
    }
    camel
}

/// URL-safe, without padding, as Kafka prints ids.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for index in 0..=chunk.len() {
            text.push(DIGITS[(group >> (18 - 6 * index) & 63) as usize] as char);
        }
    }
    text
}

#[test]
fn records_of_kafka_are_read_and_written_byte_by_byte() {
    let mut seen = BTreeSet::new();
    for Fixture { version, value, text } in fixtures() {
        let (record, read) = MetadataRecord::decode(&value).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read, version, "{text}");
        assert_eq!(record.encode(version), value, "{text}");
        assert!(text.starts_with(&format!("{}(", record.name())), "{} is {text}", record.name());
        for (name, value) in record.texts() {
            // Names of nested types differ; their fields are compared.
            let plain = text.replace("BrokerEndpoint", "").replace("ControllerEndpoint", "");
            let plain = plain.replace("BrokerFeature", "").replace("ControllerFeature", "");
            let field = format!("{}={value}", camel(name));
            let at = plain.find(&field).unwrap_or_else(|| panic!("no {field} in {text}"));
            let before = plain[..at].chars().next_back().expect("a bracket or a space");
            let after = plain[at + field.len()..].chars().next().expect("a bracket or a comma");
            assert!("( ".contains(before) && ",)".contains(after), "{field} in {text}");
        }
        let fields = record.texts().len();
        if fields == 0 {
            assert!(text.ends_with("()"), "{text}");
        }
        seen.insert((record.name(), version));
        assert!((record.versions().0..=record.versions().1).contains(&version), "{text}");
    }
    let types: BTreeSet<_> = seen.iter().map(|(name, _)| *name).collect();
    assert_eq!(types.len(), MetadataRecord::TYPES.len(), "{:?}", MetadataRecord::TYPES);
    for (name, last) in [("RegisterBrokerRecord", 4), ("PartitionRecord", 2), ("PartitionChangeRecord", 2)] {
        assert!((0..=last).all(|version| seen.contains(&(name, version))), "{name}");
    }
}

#[test]
fn changed_bytes_end_in_ok_or_err() {
    let mut rng = Rng::new(8);
    let fixtures: Vec<Vec<u8>> = fixtures().map(|fixture| fixture.value).collect();
    let mut refused = 0;
    for round in 0..100_000 {
        let mut value = fixtures[round % fixtures.len()].clone();
        let at = rng.below(value.len());
        match rng.below(3) {
            0 => value.truncate(at),
            1 => value[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            _ => value[at] ^= 1 << rng.below(8),
        }
        match MetadataRecord::decode(&value) {
            Ok((record, version)) => {
                let again = MetadataRecord::decode(&record.encode(version)).expect("its own bytes");
                assert_eq!(again, (record, version));
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20_000, "{refused} refused");
}

#[test]
fn what_is_not_known_is_named() {
    assert_eq!(MetadataRecord::decode(&[2, 0, 0]), Err(MetadataRecordError::Frame(2)));
    assert_eq!(MetadataRecord::decode(&[1, 99, 0]), Err(MetadataRecordError::Unknown(99)));
    let error = MetadataRecord::decode(&[1, 3, 3]).unwrap_err();
    assert_eq!(error.to_string(), "unsupported version 3 of PartitionRecord (known: 0 to 2)");
    let hostile =
        [1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(MetadataRecord::decode(&hostile), Err(MetadataRecordError::Malformed(_))));
}

#[test]
#[should_panic(expected = "PartitionRecord v1 cannot carry eligible_leader_replicas Some([1])")]
fn field_that_the_version_cannot_carry_is_a_bug() {
    let record = PartitionRecord { eligible_leader_replicas: Some(vec![1]), ..PartitionRecord::default() };
    MetadataRecord::from(record).encode(1);
}
