//! Which bits the rules of a place have.

use stockade_enforcer_common::bits::{MAX_RULES_OF_POLICY, WORDS, Words};

use super::TooLarge;
use crate::instance::Attach;

/// The bits of one hook of one policy: consecutive, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Its first rule.
    pub(super) first: u32,
    /// How many rules it has, the guard not counted.
    pub(super) rules: u32,
}

/// All fields of a place, in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    fields: Vec<Field>,
    /// Bits used in each word.
    used: [u32; WORDS],
}

impl Fields {
    /// Takes bits for `rules` rules, in the first word that has them.
    pub(super) fn take(&mut self, rules: usize, attach: &Attach) -> Result<(), TooLarge> {
        if rules > MAX_RULES_OF_POLICY {
            return Err(TooLarge::Selectors(rules));
        }
        let rules = u32::try_from(rules).map_err(|_| TooLarge::Selectors(rules))?;
        let bits = if rules == 1 { 1 } else { rules + 1 };
        for (word, used) in (0_u32..).zip(self.used.iter_mut()) {
            if *used + bits <= 64 {
                self.fields.push(Field { first: word * 64 + *used, rules });
                *used += bits;
                return Ok(());
            }
        }
        Err(TooLarge::Rules(attach.to_string()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field> {
        self.fields.iter().copied()
    }

    /// Words in use.
    pub(super) fn words(&self) -> u32 {
        (1..).zip(self.used).filter(|(_, used)| *used > 0).map(|(words, _)| words).max().unwrap_or(0)
    }

    /// Single rules, rules of larger fields, lowest rules of larger fields.
    pub(super) fn layout(&self) -> (Words, Words, Words) {
        let (mut singles, mut multis, mut lows) = ([0; WORDS], [0; WORDS], [0; WORDS]);
        for field in &self.fields {
            if field.rules == 1 {
                set(&mut singles, field.first);
                continue;
            }
            set(&mut lows, field.first);
            for rule in field.first..field.first + field.rules {
                set(&mut multis, rule);
            }
        }
        (singles, multis, lows)
    }
}

/// Sets a rule's bit.
pub(super) fn set(words: &mut Words, rule: u32) {
    if let Some(word) = words.get_mut(rule as usize / 64) {
        *word |= 1 << (rule % 64);
    }
}
