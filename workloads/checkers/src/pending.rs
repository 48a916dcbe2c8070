//! Acknowledged batches that no reader has passed yet, in order of offset. Bounded: when readers fall far behind,
//! the oldest are dropped (the full re-read still covers them by sequence).

use crate::facts::Ack;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub struct Pending {
    acks: VecDeque<Ack>,
}

impl Pending {
    /// Keeps `ack`; at most `kept_max` are.
    #[inline]
    pub fn add(&mut self, ack: Ack, kept_max: usize) {
        if self.acks.len() >= kept_max {
            self.acks.pop_front();
        }
        let mut at = self.acks.len();
        while at > 0 && self.acks[at - 1].base > ack.base {
            at -= 1;
        }
        if at == self.acks.len() { self.acks.push_back(ack) } else { self.acks.insert(at, ack) }
    }

    /// A reader passed over `[start, end)`: hands every pending piece in it to `passed` and forgets it.
    #[inline]
    pub fn pass(&mut self, start: i64, end: i64, mut passed: impl FnMut(&Ack)) {
        while let Some(front) = self.acks.front() {
            if front.base >= start && front.end() <= end {
                passed(front);
                self.acks.pop_front();
            } else if front.base >= end {
                return;
            } else {
                break;
            }
        }
        if self.acks.is_empty() {
            return;
        }
        self.pass_in_pieces(start, end, passed);
    }

    /// The rest: batches of which `[start, end)` covers none, a part, or a later one.
    fn pass_in_pieces(&mut self, start: i64, end: i64, mut passed: impl FnMut(&Ack)) {
        let mut at = 0;
        while at < self.acks.len() && self.acks[at].base < end {
            if self.acks[at].end() <= start {
                at += 1;
                continue;
            }
            let Some(whole) = self.acks.remove(at) else { return };
            let (from, to) = (whole.base.max(start), whole.end().min(end));
            passed(&piece(&whole, from, to));
            for (from, to) in [(whole.base, from), (to, whole.end())] {
                if from < to {
                    self.acks.insert(at, piece(&whole, from, to));
                    at += 1;
                }
            }
        }
    }
}

fn piece(ack: &Ack, from: i64, to: i64) -> Ack {
    let skipped = (from - ack.base) as u64;
    Ack { base: from, count: (to - from) as u32, first_seq: ack.first_seq + skipped, ..ack.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_history::Acks;

    fn ack(base: i64, count: u32) -> Ack {
        let first_seq = base as u64 * 10;
        Ack { base, count, slot: 0, first_seq, at: 0, generation: 0, node: None, acks: Acks::All }
    }

    fn pass(pending: &mut Pending, start: i64, end: i64) -> Vec<(i64, u32, u64)> {
        let mut got = Vec::new();
        pending.pass(start, end, |piece| got.push((piece.base, piece.count, piece.first_seq)));
        got
    }

    #[test]
    fn batches_come_back_once_whole_or_in_pieces() {
        let mut pending = Pending::default();
        for base in [20, 0, 10] {
            pending.add(ack(base, 10), 100);
        }
        assert_eq!(pass(&mut pending, 0, 10), [(0, 10, 0)]);
        assert_eq!(pass(&mut pending, 14, 16), [(14, 2, 104)]);
        assert_eq!(pass(&mut pending, 12, 25), [(12, 2, 102), (16, 4, 106), (20, 5, 200)]);
        assert_eq!(pass(&mut pending, 0, 100), [(10, 2, 100), (25, 5, 205)]);
        assert_eq!(pass(&mut pending, 0, 100), []);
    }
}
