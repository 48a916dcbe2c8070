//! Sets of integers as sorted, disjoint, half-open intervals. In steady state one interval; a hole for each
//! operation whose fate is unknown. Insertion at the end, which is nearly every insertion, costs no search.

/// A set of `u64` as intervals `[start, end)`, ascending, never touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    spans: Vec<(u64, u64)>,
}

impl IntervalSet {
    /// The empty set.
    pub const fn new() -> IntervalSet {
        IntervalSet { spans: Vec::new() }
    }

    /// Adds `[start, end)`.
    #[inline]
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        match self.spans.last_mut() {
            None => self.spans.push((start, end)),
            Some(last) if start > last.1 => self.spans.push((start, end)),
            Some(last) if start >= last.0 => last.1 = last.1.max(end),
            Some(_) => self.insert_slow(start, end),
        }
    }

    fn insert_slow(&mut self, start: u64, end: u64) {
        let from = self.spans.partition_point(|span| span.1 < start);
        let to = self.spans.partition_point(|span| span.0 <= end);
        if from == to {
            self.spans.insert(from, (start, end));
            return;
        }
        let merged = (start.min(self.spans[from].0), end.max(self.spans[to - 1].1));
        self.spans[from] = merged;
        self.spans.drain(from + 1..to);
    }

    /// Takes `[start, end)` out.
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let from = self.spans.partition_point(|span| span.1 <= start);
        let to = self.spans.partition_point(|span| span.0 < end);
        if from >= to {
            return;
        }
        let (low, high) = (self.spans[from].0, self.spans[to - 1].1);
        let left = (low < start).then_some((low, start));
        let right = (end < high).then_some((end, high));
        self.spans.splice(from..to, left.into_iter().chain(right));
    }

    /// Whether all of `[start, end)` is in the set.
    #[inline]
    pub fn contains_range(&self, start: u64, end: u64) -> bool {
        start >= end || self.span_at(start).is_some_and(|span_end| span_end >= end)
    }

    /// Whether `value` is in the set.
    #[inline]
    pub fn contains(&self, value: u64) -> bool {
        self.span_at(value).is_some()
    }

    /// Whether any of `[start, end)` is in the set.
    pub fn intersects(&self, start: u64, end: u64) -> bool {
        self.first_at_or_after(start).is_some_and(|first| first < end)
    }

    /// The end of the interval that holds `value`.
    #[inline]
    pub fn span_at(&self, value: u64) -> Option<u64> {
        let last = self.spans.last()?;
        if value >= last.0 {
            return (value < last.1).then_some(last.1);
        }
        let span = self.spans[self.spans.partition_point(|span| span.1 <= value)];
        (span.0 <= value).then_some(span.1)
    }

    /// The least member that is at least `value`.
    #[inline]
    pub fn first_at_or_after(&self, value: u64) -> Option<u64> {
        if self.spans.last()?.1 <= value {
            return None;
        }
        let span = self.spans[self.spans.partition_point(|span| span.1 <= value)];
        Some(span.0.max(value))
    }

    /// The intervals of `[start, end)` that are in the set.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let from = self.spans.partition_point(|span| span.1 <= start);
        self.spans[from..]
            .iter()
            .take_while(move |span| span.0 < end)
            .map(move |span| (span.0.max(start), span.1.min(end)))
    }

    /// The intervals of this set that are not in `other`.
    pub fn minus(&self, other: &IntervalSet) -> IntervalSet {
        let mut left = IntervalSet::new();
        for &(start, end) in &self.spans {
            let mut at = start;
            for (from, to) in other.within(start, end) {
                left.insert(at, from);
                at = to;
            }
            left.insert(at, end);
        }
        left
    }

    /// Forgets the lowest intervals when there are more than `max`: bounds memory when a set cannot collapse.
    pub fn forget_lowest_beyond(&mut self, max: usize) {
        if self.spans.len() > max {
            self.spans.drain(..self.spans.len() - max / 2);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.spans.clear();
    }

    /// The intervals, ascending.
    pub fn spans(&self) -> &[(u64, u64)] {
        &self.spans
    }

    /// The least member.
    pub fn first(&self) -> Option<u64> {
        self.spans.first().map(|span| span.0)
    }

    /// One more than the greatest member, 0 when empty.
    pub fn end(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.1)
    }

    /// How many members there are.
    pub fn count(&self) -> u64 {
        self.spans.iter().map(|span| span.1 - span.0).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn interval_set_equals_a_plain_set(ops in prop::collection::vec((0u8..3, 0u64..60, 0u64..12), 0..60), probe in 0u64..70, len in 0u64..10) {
            let (mut set, mut plain) = (IntervalSet::new(), BTreeSet::new());
            let mut other = IntervalSet::new();
            for (what, start, len) in ops {
                match what {
                    0 => { set.insert(start, start + len); plain.extend(start..start + len); }
                    1 => { set.remove(start, start + len); plain.retain(|v| *v < start || *v >= start + len); }
                    _ => other.insert(start, start + len),
                }
                let spans = set.spans();
                prop_assert!(spans.iter().all(|s| s.0 < s.1) && spans.windows(2).all(|w| w[0].1 < w[1].0), "{spans:?}");
            }
            prop_assert_eq!(set.spans().iter().flat_map(|s| s.0..s.1).collect::<BTreeSet<_>>(), plain.clone());
            prop_assert_eq!(set.contains(probe), plain.contains(&probe));
            prop_assert_eq!(set.contains_range(probe, probe + len), (probe..probe + len).all(|v| plain.contains(&v)));
            prop_assert_eq!(set.intersects(probe, probe + len), (probe..probe + len).any(|v| plain.contains(&v)));
            prop_assert_eq!(set.first_at_or_after(probe), plain.range(probe..).next().copied());
            prop_assert_eq!(set.within(probe, probe + len).flat_map(|s| s.0..s.1).collect::<Vec<_>>(),
                plain.range(probe..probe + len).copied().collect::<Vec<_>>());
            prop_assert_eq!(set.minus(&other).spans().iter().flat_map(|s| s.0..s.1).collect::<Vec<_>>(),
                plain.iter().copied().filter(|v| !other.contains(*v)).collect::<Vec<_>>());
            prop_assert_eq!(set.count(), plain.len() as u64);
        }
    }
}
