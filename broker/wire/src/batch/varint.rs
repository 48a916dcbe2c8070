//! Zig-zag variable-length integers, as records have them.

/// Bytes that `value` takes.
#[inline]
pub(super) fn varlong_len(value: i64) -> usize {
    let zigzag = zigzag(value);
    (70 - (zigzag | 1).leading_zeros() as usize) / 7
}

/// Appends `value`. A 32-bit value has the same form as the 64-bit one.
#[inline]
pub(super) fn put_varlong(buf: &mut Vec<u8>, value: i64) {
    let zigzag = zigzag(value);
    match zigzag {
        0..0x80 => buf.push(zigzag as u8),
        0x80..0x4000 => buf.extend_from_slice(&[zigzag as u8 | 0x80, (zigzag >> 7) as u8]),
        _ => put_long(buf, zigzag),
    }
}

fn put_long(buf: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        buf.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    buf.push(rest as u8);
}

/// Takes a value of at most 64 bits off the front of `bytes`. `None` when it is cut off or longer.
#[inline]
pub(super) fn take_varlong(bytes: &mut &[u8]) -> Option<i64> {
    match **bytes {
        [first @ 0..0x80, ref rest @ ..] => {
            *bytes = rest;
            Some(unzigzag(first.into()))
        }
        [first, second @ 0..0x80, ref rest @ ..] => {
            *bytes = rest;
            Some(unzigzag(u64::from(first & 0x7f) | u64::from(second) << 7))
        }
        _ => take_long(bytes),
    }
}

fn take_long(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

/// Takes a value of at most 32 bits off the front of `bytes`. `None` when it is cut off or larger.
#[inline]
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
