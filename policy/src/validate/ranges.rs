//! Sets of whole numbers as ranges: what address, port and pid filters come down to.

/// A set of numbers: sorted ranges, both ends included, that neither overlap nor touch. Equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ranges {
    ranges: Vec<(u128, u128)>,
}

impl Ranges {
    pub(super) fn new(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers are in it.
    pub(super) fn count(&self) -> u128 {
        self.iter().fold(0_u128, |count, (first, last)| count.saturating_add(last - first).saturating_add(1))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.ranges.iter().copied()
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(&(a_first, a_last)), Some(&(b_first, b_last))) = (left.peek(), right.peek()) {
            both.push((a_first.max(b_first), a_last.min(b_last)));
            if a_last <= b_last {
                left.next();
            } else {
                right.next();
            }
        }
        Self::new(both)
    }

    /// What of `universe` is not in the set.
    pub(super) fn complement(&self, universe: (u128, u128)) -> Self {
        let (mut next, end) = universe;
        let mut gaps = Vec::new();
        for (first, last) in self.iter() {
            if first > next {
                gaps.push((next, first - 1));
            }
            match last.checked_add(1) {
                Some(after) => next = next.max(after),
                None => return Self::new(gaps),
            }
        }
        gaps.push((next, end));
        Self::new(gaps.into_iter().map(|(first, last)| (first, last.min(end))))
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        self.intersection(&other.complement((0, u128::MAX)))
    }

    pub(super) fn contains_all(&self, other: &Self) -> bool {
        other.without(self).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIVERSE: (u128, u128) = (0, 15);

    /// The set of the bits of `bits`.
    fn of(bits: u16) -> Ranges {
        Ranges::new((0..16).filter(|bit| bits & (1 << bit) != 0).map(|bit| (bit, bit)))
    }

    #[test]
    fn sets_behave_like_bits() {
        for a in (0..=u16::MAX).step_by(251) {
            assert_eq!(of(a).complement(UNIVERSE), of(!a));
            for b in (0..=u16::MAX).step_by(509) {
                assert_eq!(of(a).intersection(&of(b)), of(a & b));
                assert_eq!(of(a).without(&of(b)), of(a & !b));
                assert_eq!(of(a).contains_all(&of(b)), a & b == b);
            }
        }
    }

    #[test]
    fn the_last_number_does_not_overflow() {
        let all = Ranges::new([(0, u128::MAX)]);
        assert!(all.complement((0, u128::MAX)).is_empty());
        assert_eq!(Ranges::default().complement((0, u128::MAX)), all);
        assert_eq!(Ranges::new([(5, u128::MAX), (0, 4)]), all);
    }
}
