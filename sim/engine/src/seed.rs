//! The seed tree. A world has one root seed; every random stream is split from it by its labels alone, so
//! that what one stream draws, or whether another stream exists at all, never moves it.

use burnin_runtime::Entropy;

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd1b5_4a32_d192_ed03;

/// One step of the mixing function: the two halves of a 128-bit product, folded. It is our own and not a
/// crate's, because seeds and traces are written down and must mean the same for years.
#[inline]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A stream for `labels` under `root`; `turn` counts the streams that were split with the same labels.
pub(crate) fn split(root: u64, labels: &[&str], turn: u64) -> Entropy {
    let mut hash = fold(root ^ K0, K1);
    for label in labels {
        hash = fold(hash ^ label.len() as u64 ^ K1, K0);
        for chunk in label.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = fold(hash ^ u64::from_le_bytes(word), K0).wrapping_add(K1);
        }
    }
    hash = fold(hash ^ turn.wrapping_mul(K1), K0).wrapping_add(root);
    let mut seed = [0; 32];
    for part in seed.chunks_mut(8) {
        hash = hash.wrapping_add(K0);
        let mut word = hash;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    Entropy::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_root_label_and_turn_and_repeat_otherwise() {
        let first = |root, labels: &[&str], turn| split(root, labels, turn).u64();
        assert_eq!(first(1, &["a", "b"], 0), first(1, &["a", "b"], 0));
        let all = [
            first(1, &["a", "b"], 0),
            first(2, &["a", "b"], 0),
            first(1, &["ab"], 0),
            first(1, &["b", "a"], 0),
            first(1, &["a", "b"], 1),
            first(1, &["a"], 0),
            first(0, &["a"], 0),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(!all[..i].contains(a), "stream {i} repeats an earlier one: {all:?}");
        }
    }
}
