//! Which sequences of a sender have been seen: a contiguous prefix and, rarely, ranges above it.

use crate::codec::wire::wire_struct;
use crate::limits;

/// The set of sequences seen from one sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    /// All from 1 up to here.
    contiguous: u64,
    /// Inclusive ranges above it, ascending, neither overlapping nor touching.
    above: Vec<(u64, u64)>,
}

wire_struct!(Sequences { contiguous, above });

impl Sequences {
    /// Everything up to and including `last`.
    #[must_use]
    pub const fn up_to(last: u64) -> Self {
        Self {
            contiguous: last,
            above: Vec::new(),
        }
    }

    /// Highest sequence below which nothing is missing: the sender's place in the version vector.
    #[must_use]
    pub const fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// Highest sequence seen.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.above.last().map_or(self.contiguous, |(_, to)| *to)
    }

    /// Whether `seq` is among them.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        seq <= self.contiguous
            || self
                .above
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&seq))
    }

    /// The holes, first and last of each: sequences that are missing although later ones were seen.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self.above.iter().map(|(_, to)| *to);
        let before = core::iter::once(self.contiguous).chain(before);
        before
            .zip(&self.above)
            .map(|(before, (from, _))| (before + 1, from - 1))
    }

    /// Whether all of `other` is among them.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let within = |from: u64, to: u64| {
            to <= self.contiguous
                || self
                    .above
                    .iter()
                    .any(|(first, last)| *first <= from.max(self.contiguous + 1) && to <= *last)
        };
        (other.contiguous == 0 || within(1, other.contiguous))
            && other.above.iter().all(|(from, to)| within(*from, *to))
    }

    /// Whether this is in its one form: what comes from others may be anything.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        let mut last = self.contiguous;
        self.above.len() <= limits::MAX_SEQUENCE_RANGES
            && self.above.iter().all(|(from, to)| {
                let apart = last.checked_add(1).is_some_and(|next| *from > next);
                last = *to;
                apart && from <= to
            })
    }

    /// Adds all of `other`; only its contiguous part where all would need more ranges than a device keeps.
    pub fn merge(&mut self, other: &Self) {
        let merged = self.union(other);
        *self = if merged.above.len() > limits::MAX_SEQUENCE_RANGES {
            self.union(&Self::up_to(other.contiguous))
        } else {
            merged
        };
    }

    fn union(&self, other: &Self) -> Self {
        let all = |of: &Self| {
            let first = (of.contiguous > 0).then_some((1, of.contiguous));
            first
                .into_iter()
                .chain(of.above.iter().copied())
                .collect::<Vec<_>>()
        };
        let mut ranges = [all(self), all(other)].concat();
        ranges.sort_unstable();
        let mut above: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match above.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => above.push((from, to)),
            }
        }
        let first = above.first().copied();
        let contiguous = first.filter(|(from, _)| *from == 1).map_or(0, |(_, to)| to);
        if contiguous > 0 {
            above.remove(0);
        }
        Self { contiguous, above }
    }

    /// The hole that adding `seq` gives up, because a device does not keep more ranges: nothing that is missing there is
    /// waited for any longer. It is the lowest.
    #[must_use]
    pub fn given_up_for(&self, seq: u64) -> Option<(u64, u64)> {
        let first = self.above.first()?.0;
        let apart = |other: u64| other.abs_diff(seq) > 1;
        let is_alone = !self.contains(seq)
            && apart(self.contiguous)
            && self
                .above
                .iter()
                .all(|(from, to)| apart(*from) && apart(*to));
        (is_alone && self.above.len() >= limits::MAX_SEQUENCE_RANGES)
            .then(|| (self.contiguous + 1, first.min(seq) - 1))
    }

    /// Adds `seq`; false if it was there, or is 0. With more ranges than a device keeps, the lowest hole counts as seen
    /// from then on: [`Sequences::given_up_for`].
    pub fn insert(&mut self, seq: u64) -> bool {
        if seq == 0 || self.contains(seq) {
            return false;
        }
        let at = self.above.partition_point(|(_, to)| *to < seq);
        let touches_left = at > 0 && self.above[at - 1].1 + 1 == seq;
        let touches_right = self.above.get(at).is_some_and(|(from, _)| seq + 1 == *from);
        match (touches_left, touches_right) {
            (true, true) => {
                self.above[at - 1].1 = self.above[at].1;
                self.above.remove(at);
            }
            (true, false) => self.above[at - 1].1 = seq,
            (false, true) => self.above[at].0 = seq,
            (false, false) => self.above.insert(at, (seq, seq)),
        }
        if let Some(&(from, to)) = self.above.first()
            && (from == self.contiguous + 1 || self.above.len() > limits::MAX_SEQUENCE_RANGES)
        {
            self.contiguous = to;
            self.above.remove(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set(seqs in proptest::collection::vec(0u64..60, 0..120)) {
            let mut sequences = Sequences::default();
            let mut model = BTreeSet::new();
            for seq in seqs {
                prop_assert_eq!(sequences.insert(seq), seq != 0 && model.insert(seq));
            }
            model.remove(&0);
            for seq in 1..70 {
                prop_assert_eq!(sequences.contains(seq), model.contains(&seq));
            }
            let contiguous = (1..).take_while(|seq| model.contains(seq)).last().unwrap_or(0);
            prop_assert_eq!(sequences.contiguous(), contiguous);
            prop_assert_eq!(sequences.highest(), model.last().copied().unwrap_or(0));
            let missing: Vec<_> = (1..sequences.highest()).filter(|seq| !model.contains(seq)).collect();
            let holes: Vec<_> = sequences.holes().flat_map(|(from, to)| from..=to).collect();
            prop_assert_eq!(holes, missing);
        }

        #[test]
        fn two_are_merged_like_sets(
            one in proptest::collection::btree_set(1u64..40, 0..30),
            other in proptest::collection::btree_set(1u64..40, 0..30),
        ) {
            let made = |seqs: &BTreeSet<u64>| {
                let mut made = Sequences::default();
                for seq in seqs {
                    made.insert(*seq);
                }
                made
            };
            let (a, b) = (made(&one), made(&other));
            prop_assert_eq!(a.covers(&b), other.is_subset(&one));
            let mut merged = a.clone();
            merged.merge(&b);
            prop_assert!(merged.covers(&a) && merged.covers(&b));
            prop_assert!(merged.is_canonical());
            prop_assert_eq!(merged, made(&one.union(&other).copied().collect()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn where_there_are_too_many_holes_the_lowest_are_given_up(
            seqs in Just((1u64..2_600).collect::<Vec<_>>()).prop_shuffle(),
            first in proptest::collection::vec(1u64..2_600, 0..10),
        ) {
            let mut sequences = Sequences::default();
            let mut model = BTreeSet::new();
            // Every other one, and then all of them, in any order.
            let even = seqs.iter().filter(|seq| *seq % 2 == 0);
            for seq in first.iter().chain(even).chain(&seqs).copied() {
                let given_up = sequences.given_up_for(seq);
                let new = model.insert(seq);
                prop_assert_eq!(sequences.insert(seq), new);
                prop_assert!(new || given_up.is_none());
                if let Some((from, to)) = given_up {
                    prop_assert!((from..=to).all(|gone| model.insert(gone)));
                }
                prop_assert!(sequences.is_canonical());
                prop_assert!(sequences.above.len() <= limits::MAX_SEQUENCE_RANGES);
            }
            let ranges = sequences.above.iter().map(|(from, to)| to - from + 1);
            prop_assert_eq!(sequences.contiguous + ranges.sum::<u64>(), model.len() as u64);
            prop_assert!(model.iter().all(|seq| sequences.contains(*seq)));
        }
    }

    #[test]
    fn a_range_too_many_closes_the_lowest_hole() {
        let mut full = Sequences::default();
        let most = limits::MAX_SEQUENCE_RANGES as u64;
        for n in 1..=most {
            assert_eq!(full.given_up_for(n * 3), None);
            assert!(full.insert(n * 3));
        }
        assert_eq!(full.given_up_for(4), None, "it touches a range");
        let mut below = full.clone();
        assert_eq!(below.given_up_for(2), None, "it touches 3");
        assert!(below.insert(2) && below.holes().count() == most as usize);
        assert_eq!(full.given_up_for(most * 3 + 9), Some((1, 2)));
        assert!(full.insert(most * 3 + 9));
        assert_eq!((full.contiguous(), full.highest()), (3, most * 3 + 9));
        assert!(!full.insert(1) && full.is_canonical());
    }

    #[test]
    fn only_one_form_is_canonical() {
        let form = |contiguous, above: &[(u64, u64)]| Sequences {
            contiguous,
            above: above.to_vec(),
        };
        for good in [form(0, &[]), form(3, &[(5, 5), (7, 9)]), form(0, &[(2, 2)])] {
            assert!(good.is_canonical(), "{good:?}");
        }
        let many: Vec<_> = (1..=limits::MAX_SEQUENCE_RANGES as u64 + 1)
            .map(|n| (n * 2, n * 2))
            .collect();
        for bad in [
            form(u64::MAX, &[(1, 1)]),
            form(5, &[(5, 6)]),
            form(5, &[(6, 6)]),
            form(0, &[(0, 0)]),
            form(0, &[(1, 1)]),
            form(0, &[(5, 4)]),
            form(0, &[(5, u64::MAX), (6, 7)]),
            form(0, &[(5, 6), (7, 7)]),
            form(0, &many),
        ] {
            assert!(!bad.is_canonical(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_seen_is_never_forgotten_for_what_others_have_seen() {
        let even = |from: u64| Sequences {
            contiguous: 0,
            above: (from..from + limits::MAX_SEQUENCE_RANGES as u64)
                .map(|n| (n * 2, n * 2))
                .collect(),
        };
        let own = even(1_000);
        let mut merged = own.clone();
        let mut others = even(1);
        others.insert(1);
        merged.merge(&others);
        assert!(merged.covers(&own) && merged.covers(&Sequences::up_to(2)));
        assert!(merged.is_canonical());
    }
}
