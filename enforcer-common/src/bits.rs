//! Rule bits: vectors of them, and which of the matching rules wins.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of a rule vector.
pub const WORDS: usize = 16;
/// Rule bits of a hook, guard bits included.
pub const MAX_RULES: usize = WORDS * 64;
/// Rules that one policy can have on a hook: a word less the guard bit.
pub const MAX_RULES_OF_POLICY: usize = 63;

/// The number of the vector without rules, in every hook's vectors.
pub const EMPTY_VECTOR: u32 = 0;

/// One bit a rule.
pub type Words = [u64; WORDS];

/// The rules that a value satisfies.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Vector {
    /// Bit *i* is set when word *i* is not zero.
    pub summary: u64,
    /// The rule bits, rule 0 in the lowest bit of word 0.
    pub words: Words,
}

const _: () = assert!(size_of::<Vector>() == 136);

impl Vector {
    /// No rule.
    pub const EMPTY: Self = Self { summary: 0, words: [0; WORDS] };

    /// The vector with these words.
    #[must_use]
    pub fn new(words: Words) -> Self {
        let mut summary = 0;
        for (index, word) in words.iter().enumerate() {
            summary |= u64::from(*word != 0) << index;
        }
        Self { summary, words }
    }

    /// The vector of these rules; numbers of [`MAX_RULES`] and above are left out.
    #[must_use]
    pub fn of(rules: impl IntoIterator<Item = usize>) -> Self {
        let mut words = [0; WORDS];
        for rule in rules {
            if let Some(word) = words.get_mut(rule / 64) {
                *word |= 1 << (rule % 64);
            }
        }
        Self::new(words)
    }

    /// The rules of the vector, lowest first.
    pub fn rules(&self) -> impl Iterator<Item = usize> + '_ {
        rules_of(&self.words)
    }
}

/// The rules whose bits are set, lowest first.
pub fn rules_of(words: &Words) -> impl Iterator<Item = usize> + '_ {
    words
        .iter()
        .enumerate()
        .flat_map(|(index, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit))
}

/// Of the matching rules of one word, the first of each policy.
///
/// `singles` are the bits of fields of one rule, `multis` the bits, guards excluded, of larger fields, `lows` the lowest
/// bit of each larger field. Adding `lows` to the complement carries through the rules that do not match up to the first
/// that does (or into the guard), so that exactly this bit changes from 0 to 1.
#[inline(always)]
#[must_use]
pub const fn winners(matching: u64, singles: u64, multis: u64, lows: u64) -> u64 {
    (matching & singles) | (matching & (!matching & multis).wrapping_add(lows))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (singles, multis, lows, fields).
    type Layout = (u64, u64, u64, Vec<(u32, u32)>);

    /// Places fields of the given sizes one after another.
    fn layout(sizes: &[u32]) -> Option<Layout> {
        let (mut singles, mut multis, mut lows, mut at, mut fields) = (0u64, 0u64, 0u64, 0, Vec::new());
        for &size in sizes {
            let bits = if size == 1 { 1 } else { size + 1 };
            if at + bits > 64 {
                return None;
            }
            if size == 1 {
                singles |= 1 << at;
            } else {
                multis |= ((1u64 << size) - 1) << at;
                lows |= 1 << at;
            }
            fields.push((at, size));
            at += bits;
        }
        Some((singles, multis, lows, fields))
    }

    fn by_hand(matching: u64, fields: &[(u32, u32)]) -> u64 {
        let mut winners = 0;
        for &(at, size) in fields {
            if let Some(bit) = (at..at + size).find(|bit| matching >> bit & 1 == 1) {
                winners |= 1 << bit;
            }
        }
        winners
    }

    #[test]
    fn first_of_each_field_wins_in_every_small_layout() {
        let mut layouts = 0;
        for a in 1..=4 {
            for b in 1..=4 {
                for c in 1..=3 {
                    let (singles, multis, lows, fields) = layout(&[a, b, c]).unwrap();
                    let valid = singles | multis;
                    for matching in 0..1u64 << (a + b + c + 3) {
                        // A guard is never set.
                        if matching & !valid == 0 {
                            assert_eq!(
                                winners(matching, singles, multis, lows),
                                by_hand(matching, &fields),
                                "sizes {a} {b} {c}, matching {matching:b}"
                            );
                        }
                    }
                    layouts += 1;
                }
            }
        }
        assert_eq!(layouts, 48);
    }

    #[test]
    fn carries_stay_inside_their_field_up_to_the_top_of_the_word() {
        // The last field's guard is bit 63: a carry out of the word must not matter.
        for sizes in [&[63u32][..], &[31, 31], &[1, 62], &[20, 20, 21], &[62, 1], &[1; 64]] {
            let (singles, multis, lows, fields) = layout(sizes).unwrap();
            let valid = singles | multis;
            let mut seed = 0x9e37_79b9_7f4a_7c15u64;
            for round in 0..20_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let matching = match round {
                    0 => 0,
                    1 => valid,
                    _ => (seed ^ seed >> 29) & valid & if round % 3 == 0 { seed.rotate_left(17) } else { u64::MAX },
                };
                assert_eq!(
                    winners(matching, singles, multis, lows),
                    by_hand(matching, &fields),
                    "{sizes:?} {matching:b}"
                );
            }
        }
    }

    #[test]
    fn a_vector_names_its_words_that_are_not_empty() {
        let vector = Vector::of([0, 63, 64, 1023, 5000]);
        assert_eq!(vector.summary, 1 | 2 | 1 << 15);
        assert_eq!(vector.rules().collect::<Vec<_>>(), [0, 63, 64, 1023]);
        assert_eq!(Vector::of([]), Vector::EMPTY);
    }
}
