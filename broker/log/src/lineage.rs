//! Which of the two is wrong when a batch in a segment file and the epochs of its log disagree about its leader epoch.
//! Pure.
//!
//! The epoch of a batch lies outside of its checksum, and the epoch checkpoint has none. But epochs never go back in a
//! log, each begins once, and a batch has neighbours. So a single batch that does not fit between its neighbours is
//! damaged; so is one that contradicts the epochs of its log, where one flipped bit of it explains that and none in a line
//! of the checkpoint does. In all other cases it is the epochs that are wrong: two batches or more in a row that contradict
//! them alike outvote them, and when in doubt a batch with a good checksum is believed. That is told by all segments
//! together: one alone may hold a single batch of each epoch. What cannot be told: of an epoch with a single batch, or of a
//! batch at the border of two epochs, whether the batch or the line was hit; and after a crash, whether the last batch of
//! a log, whose epoch is later than all before, begins an epoch that no checkpoint knows of, or is damaged.

use crate::epochs::{EpochCache, EpochEntry};
use crate::scan::Damage;

/// Whether a batch of `epoch` that ends with `last_offset` contradicts the epochs of its log. Unless they are `complete`,
/// a batch may begin an epoch that they do not know of yet.
pub(crate) fn contradicts(epochs: &EpochCache, epoch: i32, last_offset: i64, complete: bool) -> bool {
    epochs.epoch_at(last_offset).is_some_and(|known| {
        let is_newest = epochs.latest().is_some_and(|newest| newest.epoch == known);
        let may_be_new = !complete && is_newest && epoch > known;
        epoch != known && !may_be_new
    })
}

/// Batches of one epoch, one after the other, which contradict the epochs of the log or do not.
#[derive(Clone, Copy, Debug)]
struct Run {
    epoch: i32,
    contradicts: bool,
    batches: u64,
    /// Where they are: what is damaged, if they are.
    place: Damage,
}

/// Whether one flipped bit in a single batch, between those of the epochs `before` and in `next`, explains that it
/// contradicts these epochs, and one damaged line of the checkpoint does not. Such a line is that of a single batch, with
/// another epoch; or one whose offset is a bit away from where the batch, or what comes next, begins its epoch.
fn is_rotten(run: &Run, epochs: &EpochCache, before: Option<i32>, next: Option<&Run>) -> bool {
    let (from, to) = (run.place.from, run.place.to);
    let known = epochs.epoch_at(to - 1).unwrap_or(-1);
    if (known ^ run.epoch).count_ones() != 1 {
        return false;
    }
    let begins = before != Some(run.epoch);
    let is_alone = begins && next.is_none_or(|next| next.epoch != run.epoch);
    let explains = |line: &EpochEntry| {
        let is_next = next.filter(|next| next.epoch == line.epoch);
        (is_alone && line.start_offset == from && is_next.is_none())
            || (begins && line.epoch == run.epoch && is_a_bit_away(line.start_offset, from))
            || (!begins
                && (from..to).contains(&line.start_offset)
                && is_next.is_some_and(|next| is_a_bit_away(line.start_offset, next.place.from)))
    };
    !epochs.entries().iter().any(explains)
}

/// As they are written in a checkpoint.
fn is_a_bit_away(a: i64, b: i64) -> bool {
    let (a, b) = (a.to_string(), b.to_string());
    let differing = a.bytes().zip(b.bytes()).map(|(a, b)| (a ^ b).count_ones());
    a.len() == b.len() && differing.sum::<u32>() == 1
}

/// The leader epochs of batches as their headers name them, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage {
    runs: Vec<Run>,
}

/// What can be believed of a lineage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Batches whose epoch is not the one that they were appended with.
    pub strangers: Vec<Damage>,
    /// The epochs of the log are not those of its batches.
    pub epochs_are_wrong: bool,
    /// Epochs of the batches that are believed, with their first offsets, in order.
    pub starts: Vec<(i32, i64)>,
}

impl Judgement {
    /// Whether nothing contradicts anything.
    pub fn is_plain(&self) -> bool {
        self.strangers.is_empty() && !self.epochs_are_wrong
    }
}

impl Lineage {
    /// Adds a batch.
    pub fn note(&mut self, epoch: i32, contradicts: bool, place: Damage) {
        self.push(Run { epoch, contradicts, batches: 1, place });
    }

    fn push(&mut self, later: Run) {
        match self.runs.last_mut() {
            Some(run) if (run.epoch, run.contradicts) == (later.epoch, later.contradicts) => {
                run.batches += later.batches;
                run.place.to = later.place.to;
            }
            _ => self.runs.push(later),
        }
    }

    /// Adds what comes behind it.
    pub fn extend(&mut self, later: Lineage) {
        later.runs.into_iter().for_each(|run| self.push(run));
    }

    /// Epochs in order, with their first offsets.
    pub fn starts(&self) -> impl Iterator<Item = (i32, i64)> {
        self.runs.iter().map(|run| (run.epoch, run.place.from))
    }

    /// Which of the two is wrong, where it contradicts `epochs`, those of the log, or itself.
    pub fn judge(&self, epochs: Option<&EpochCache>) -> Judgement {
        let judgement = self.judge_once(epochs);
        if !judgement.epochs_are_wrong {
            return judgement;
        }
        // what contradicts them says nothing then
        let mut alone = Lineage::default();
        self.runs.iter().for_each(|&run| alone.push(Run { contradicts: false, ..run }));
        Judgement { epochs_are_wrong: true, ..alone.judge_once(None) }
    }

    fn judge_once(&self, epochs: Option<&EpochCache>) -> Judgement {
        let in_order = self.in_order();
        let mut judgement = Judgement::default();
        for (at, (run, fits)) in self.runs.iter().zip(in_order).enumerate() {
            let before = at.checked_sub(1).map(|before| self.runs[before].epoch);
            let rotten =
                || epochs.is_some_and(|epochs| is_rotten(run, epochs, before, self.runs.get(at + 1)));
            if run.batches == 1 && (!fits || (run.contradicts && rotten())) {
                judgement.strangers.push(run.place);
                continue;
            }
            judgement.epochs_are_wrong |= run.contradicts;
            if fits {
                judgement.starts.push((run.epoch, run.place.from));
            }
        }
        judgement
    }

    /// For each run, whether it is one of those of most batches whose epochs never go back; of as many, of those that
    /// nothing contradicts, and then of those with fewest epochs.
    fn in_order(&self) -> Vec<bool> {
        // as good as always nothing goes back
        if self.runs.is_sorted_by_key(|run| run.epoch) {
            return vec![true; self.runs.len()];
        }
        const MORE: u64 = 1 << 20;
        let mut best: Vec<(u64, Option<usize>)> = Vec::with_capacity(self.runs.len());
        for (at, run) in self.runs.iter().enumerate() {
            let with = |b: usize| best[b].0 + u64::from(self.runs[b].epoch == run.epoch);
            let before = (0..at).filter(|&b| self.runs[b].epoch <= run.epoch).max_by_key(|&b| with(b));
            let weight = MORE * (2 * run.batches + u64::from(!run.contradicts));
            best.push((weight + before.map_or(0, with), before));
        }
        let mut fits = vec![false; self.runs.len()];
        let mut last = (0..best.len()).max_by_key(|&at| best[at].0);
        while let Some(at) = last {
            fits[at] = true;
            last = best[at].1;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of one record each, from offset 0 on, of these epochs, in a log that knows of `known`.
    fn judge(epochs: &[i32], known: &[(i32, i64)], complete: bool) -> (Vec<i64>, bool) {
        let mut cache = EpochCache::default();
        for &(epoch, start_offset) in known {
            cache.assign(EpochEntry { epoch, start_offset });
        }
        let mut lineage = Lineage::default();
        for (offset, &epoch) in (0..).zip(epochs) {
            let place = Damage { segment: 0, from: offset, to: offset + 1, end_position: 0 };
            lineage.note(epoch, contradicts(&cache, epoch, offset, complete), place);
        }
        let judgement = lineage.judge(Some(&cache));
        let strangers = judgement.strangers.iter().map(|place| place.from).collect();
        (strangers, judgement.epochs_are_wrong)
    }

    #[test]
    fn batches_as_they_were_appended_are_believed() {
        for complete in [false, true] {
            assert_eq!(judge(&[3, 3, 5, 7, 7], &[(3, 0), (5, 2), (7, 3)], complete), (vec![], false));
            assert_eq!(judge(&[3, 3, 5], &[], complete), (vec![], false), "nothing else is known");
            assert_eq!(judge(&[3, 5], &[(3, 1), (5, 1)], complete), (vec![], false), "below the log start");
        }
        assert_eq!(judge(&[3, 3, 5, 7, 7], &[(3, 0)], false), (vec![], false), "newer than the checkpoint");
    }

    #[test]
    fn every_single_flipped_bit_is_found_but_for_one_that_may_be_a_new_epoch_or_a_border() {
        let good = [3, 3, 3, 5, 5, 6, 6, 7, 7, 7];
        let known = [(3, 0), (5, 3), (6, 5), (7, 7)];
        for at in 0..good.len() {
            for bit in 0..32 {
                let mut bad = good;
                bad[at] ^= 1_i32.rotate_left(bit);
                for complete in [false, true] {
                    let found = judge(&bad, &known, complete);
                    let may_be_new = !complete && at == good.len() - 1 && bad[at] > good[at];
                    // as if 7 had begun at 6, which is a bit away from 7
                    let border = bad == [3, 3, 3, 5, 5, 6, 7, 7, 7, 7];
                    let expected = if may_be_new || border { vec![] } else { vec![at as i64] };
                    assert_eq!(found, (expected, border), "{bad:?} complete={complete}");
                }
            }
        }
    }

    #[test]
    fn without_a_checkpoint_neighbours_tell() {
        assert_eq!(judge(&[3, 3, 7, 3, 3], &[], false), (vec![2], false));
        assert_eq!(judge(&[3, 3, 1, 3, 3], &[], false), (vec![2], false));
        assert_eq!(judge(&[3, 3, 5, 5, 1], &[], false), (vec![4], false));
        assert_eq!(judge(&[3, 3, 5, 4, 5, 5], &[], false), (vec![3], false));
    }

    #[test]
    fn a_wrong_checkpoint_is_found_by_two_batches_in_a_row() {
        for complete in [false, true] {
            assert_eq!(judge(&[3, 3, 5, 5, 5], &[(3, 0), (5, 4)], complete), (vec![], true));
            assert_eq!(judge(&[3, 3, 5, 5, 6], &[(3, 0), (4, 2), (6, 4)], complete), (vec![], true));
            assert_eq!(judge(&[3, 3, 5, 5], &[(3, 0), (5, 0)], complete), (vec![], true));
            assert_eq!(judge(&[3, 3, 5, 5], &[(5, 0)], complete), (vec![], true));
        }
    }

    #[test]
    fn line_of_the_checkpoint_may_explain_a_single_batch() {
        for complete in [false, true] {
            let alone = [3, 3, 5, 7, 7];
            assert_eq!(
                judge(&alone, &[(3, 0), (4, 2), (7, 3)], complete),
                (vec![], true),
                "the epoch rotted"
            );
            assert_eq!(judge(&alone, &[(3, 0), (5, 2), (6, 3), (7, 4)], complete), (vec![3], false));
            let later = [3, 3, 7, 7, 7];
            assert_eq!(judge(&later, &[(3, 0), (7, 3)], complete), (vec![], true), "of either one bit");
            let earlier = [3, 3, 3, 7, 7];
            assert_eq!(judge(&earlier, &[(3, 0), (7, 2)], complete), (vec![], true), "of either one bit");
            let far = [3, 7, 7, 7, 7];
            assert_eq!(
                judge(&far, &[(3, 0), (7, 2)], complete),
                (vec![1], false),
                "1 and 2 are two bits apart"
            );
            let two_bits = [3, 5, 5, 5, 5];
            assert_eq!(judge(&two_bits, &[(3, 0), (5, 2)], complete), (vec![], true), "so are 3 and 5");
        }
    }

    #[test]
    fn segments_of_one_batch_each_outvote_the_checkpoint_together() {
        let mut cache = EpochCache::default();
        cache.assign(EpochEntry { epoch: 3, start_offset: 0 });
        cache.assign(EpochEntry { epoch: 5, start_offset: 10 });
        let segment = |epoch: i32, from: i64| {
            let mut lineage = Lineage::default();
            let place = Damage { segment: from, from, to: from + 2, end_position: 70 };
            lineage.note(epoch, contradicts(&cache, epoch, from + 1, true), place);
            lineage
        };
        assert_eq!(segment(4, 12).judge(Some(&cache)).strangers.len(), 1, "alone");
        let joined = |epochs: &[i32]| {
            let mut joined = Lineage::default();
            (3..).zip(epochs).for_each(|(at, &epoch)| joined.extend(segment(epoch, 2 * at)));
            joined.judge(Some(&cache))
        };
        let expected =
            Judgement { epochs_are_wrong: true, starts: vec![(3, 6), (4, 10)], ..Judgement::default() };
        assert_eq!(joined(&[3, 3, 4, 4, 4]), expected);
        // with neighbours that go on, one batch is still found
        let stranger = Damage { segment: 12, from: 12, to: 14, end_position: 70 };
        let starts = vec![(3, 6), (5, 10), (5, 14)];
        let expected = Judgement { strangers: vec![stranger], starts, ..Judgement::default() };
        assert_eq!(joined(&[3, 3, 5, 4, 5]), expected);
    }

    #[test]
    fn epochs_that_are_wrong_make_no_strangers() {
        // a batch alone is one bit away from what the damaged line says
        let known = [(3, 0), (7, 2), (8, 6)];
        assert_eq!(judge(&[3, 3, 4, 4, 4, 6, 8], &known, true), (vec![], true));
        assert_eq!(judge(&[3, 3, 4, 4, 1, 6, 8], &known, true), (vec![4], true), "but for what goes back");
    }

    #[test]
    fn epoch_that_nobody_noted_is_found_when_everything_is_known() {
        assert_eq!(judge(&[3, 3, 5, 5], &[(3, 0)], true), (vec![], true));
        assert_eq!(judge(&[3, 3, 5], &[(3, 0)], true), (vec![], true), "two bits, but no one bit");
        assert_eq!(judge(&[3, 3, 7], &[(3, 0)], true), (vec![2], false));
    }
}
