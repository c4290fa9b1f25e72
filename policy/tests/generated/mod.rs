//! Documents over the whole language and events that hit what they say. Both are made of a number, so that a case can be
//! made again: the one that a failure names.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod documents;
pub(crate) mod events;
mod hooks;
pub(crate) mod pieces;
pub(crate) mod rearranged;
mod selectors;
mod smaller;
mod values;

use std::sync::LazyLock;

use serde_json::Value;

pub(crate) use self::documents::{Reach, document};
pub(crate) use self::events::{Event, Pools};

/// How many documents each law is tried on; a longer run asks for more, such as a million.
static CASES: LazyLock<u64> = LazyLock::new(|| number("STOCKADE_CASES").unwrap_or(10_000));
/// The first of them. The suite always tries the same; who looks for more names another.
static SEED: LazyLock<u64> = LazyLock::new(|| number("STOCKADE_SEED").unwrap_or(0));

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A source of decisions: equal numbers decide equally. (SplitMix64.)
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `sides` - 1.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        (self.number() % sides.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    /// One to `most` of them, none twice.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let mut left = from.to_vec();
        let count = 1 + self.roll(most.min(left.len()));
        (0..count).map(|_| left.swap_remove(self.roll(left.len()))).collect()
    }

    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.roll(last + 1));
        }
    }
}

/// Tries `law` on one document in `share` of the cases. It is given the document and what else it decides by. The document
/// that is shown is the smallest for which it still fails.
pub(crate) fn each_document(share: u64, law: impl Fn(&Value, &mut Dice) -> Result<(), String>) {
    each(share, |seed, dice| {
        let made = document(seed, dice.number(), Reach::Whole);
        let more = dice.number();
        let Err(first) = law(&made, &mut Dice::new(more)) else { return Ok(()) };
        let (smallest, why) = smaller::smallest(made, first, |document| law(document, &mut Dice::new(more)).err());
        Err(format!("{why}\n{}", serde_json::to_string(&smallest).unwrap_or_default()))
    });
}

/// The same for what is not about one document.
pub(crate) fn each(share: u64, law: impl Fn(u64, &mut Dice) -> Result<(), String>) {
    for seed in (*SEED..).take((*CASES / share).max(1) as usize) {
        if let Err(why) = law(seed, &mut Dice::new(seed)) {
            panic!("STOCKADE_SEED={seed} STOCKADE_CASES={share}: {why}");
        }
    }
}
