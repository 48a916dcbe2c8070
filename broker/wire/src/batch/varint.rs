//! Zig-zag variable-length integers, as records have them.

use bytes::BufMut;

/// Bytes that `value` takes.
pub(super) fn varlong_len(value: i64) -> usize {
    let zigzag = zigzag(value);
    (70 - (zigzag | 1).leading_zeros() as usize) / 7
}

/// Appends `value`. A 32-bit value has the same form as the 64-bit one.
pub(super) fn put_varlong(buf: &mut impl BufMut, value: i64) {
    let mut rest = zigzag(value);
    let mut bytes = [0u8; 10];
    let mut length = 0;
    while rest >= 0x80 {
        bytes[length] = rest as u8 | 0x80;
        rest >>= 7;
        length += 1;
    }
    bytes[length] = rest as u8;
    buf.put_slice(&bytes[..=length]);
}

/// Takes a value of at most 64 bits off the front of `bytes`. `None` when it is cut off or longer.
pub(super) fn take_varlong(bytes: &mut &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(unzigzag(first.into()));
    }
    let mut value = u64::from(first & 0x7f);
    for (index, &byte) in rest.iter().take(9).enumerate() {
        let shift = 7 * (index + 1);
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *bytes = &rest[index + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

/// Takes a value of at most 32 bits off the front of `bytes`. `None` when it is cut off or larger.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<i32> {
    take_varlong(bytes).and_then(|value| i32::try_from(value).ok())
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        let edges = (0..63).flat_map(|shift| [(1i64 << shift) - 1, 1 << shift]).chain([i64::MAX, i64::MIN]);
        for value in edges.flat_map(|value| [value, value.wrapping_neg()]) {
            let mut buf = Vec::new();
            put_varlong(&mut buf, value);
            assert_eq!(buf.len(), varlong_len(value), "length of {value}");
            let mut bytes = &buf[..];
            assert_eq!(take_varlong(&mut bytes), Some(value));
            assert!(bytes.is_empty());
            for cut in 0..buf.len() {
                assert_eq!(take_varlong(&mut &buf[..cut]), None, "{value} cut to {cut}");
            }
        }
    }

    #[test]
    fn too_long_is_refused() {
        assert_eq!(take_varlong(&mut &[0xff; 10][..]), None);
        assert_eq!(take_varlong(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
        assert_eq!(take_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x10][..]), None);
        assert_eq!(take_varint(&mut &[0xfe, 0xff, 0xff, 0xff, 0x0f][..]), Some(i32::MAX));
    }
}
