//! Kafka's text form of 128-bit ids: 22 characters of URL-safe base64 without padding (`org.apache.kafka.common.Uuid`).

use uuid::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text of an id.
pub fn encode_id(id: Uuid) -> String {
    let bits = id.as_u128();
    // 22 sextets are 132 bits: the last one carries the lowest 2 bits and four zeros.
    (0..22)
        .map(|index| {
            let sextet = if index < 21 { bits >> (122 - 6 * index) } else { bits << 4 };
            ALPHABET[(sextet & 63) as usize] as char
        })
        .collect()
}

/// The id of a text, or `None` when the text is none.
pub fn decode_id(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (index, byte) in text.bytes().enumerate() {
        let sextet = ALPHABET.iter().position(|known| *known == byte)? as u128;
        bits = if index < 21 { bits << 6 | sextet } else { bits << 2 | sextet >> 4 };
    }
    Some(Uuid::from_u128(bits))
}

/// A fresh id from random bytes. Kafka keeps the ids 0 and 1 for itself and never gives one whose text begins
/// with `-`, because command lines would take it for an option.
pub fn fresh_id(mut random: impl FnMut() -> [u8; 16]) -> Uuid {
    loop {
        let id = uuid::Builder::from_random_bytes(random()).into_uuid();
        if id.as_u128() > 1 && !encode_id(id).starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kafkas() {
        // Uuid.METADATA_TOPIC_ID and Uuid.ZERO_UUID of Kafka.
        assert_eq!(encode_id(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(encode_id(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        let id = Uuid::from_u128(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef);
        assert_eq!(decode_id(&encode_id(id)), Some(id));
        assert_eq!(decode_id("too short"), None);
        assert_eq!(decode_id("!AAAAAAAAAAAAAAAAAAAAQ"), None);
    }

    #[test]
    fn fresh_ids_skip_what_kafka_reserves() {
        let mut draws = [[0xf8; 16], [7; 16]].into_iter();
        let id = fresh_id(|| draws.next().unwrap());
        assert_eq!(draws.next(), None, "0xf8 begins with `-` and is drawn again");
        assert_eq!(id.get_version_num(), 4);
    }
}
