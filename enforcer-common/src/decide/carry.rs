//! What a decision does: counts, signals, an errno.

use super::{Outcome, Tables, Work};
use crate::bits::{MAX_RULES, WORDS, Words};
use crate::head::Head;
use crate::verifier::opaque;

/// What carrying out an [`Outcome`] needs from where it happens.
pub trait Effects {
    /// Counts what a rule has come to.
    fn count(&mut self, rule: u32, tally: Tally);
    /// Sends a signal to the process.
    fn send(&mut self, signal: u8);
    /// Rules fired that are not counted one by one.
    fn uncounted(&mut self);
}

/// What a rule has come to: zeros and ones, to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// It fired.
    pub matched: u64,
    /// Its denial or signal is carried out, or it denies because it could not be judged.
    pub denied: u64,
    /// Its denial or signal is only counted.
    pub would_deny: u64,
    /// It could not be judged.
    pub faults: u64,
}

/// Rules that are counted one by one in an event.
pub const MAX_COUNTED: u32 = 24;
/// The errno of a denial for which no rule names one.
pub const EPERM: u16 = 1;

/// Counts the rules that fired, sends their signals, and returns the errno to refuse with (0: none): the lowest of those
/// that the denying rules name, so that it does not depend on how rules are numbered.
#[inline(always)]
pub fn carry_out<T: Tables, F: Effects>(
    head: &Head,
    tables: &T,
    work: &Work,
    outcome: &Outcome,
    effects: &mut F,
) -> u16 {
    let mut carried = Carried::NOTHING;
    for _ in 0..MAX_COUNTED {
        if carried.at < MAX_RULES as u32 {
            let Carried { at, lowest } = carry_out_rule(head, tables, work, outcome.rules(), carried.at, effects);
            carried = Carried { at, lowest: lower(carried.lowest, lowest) };
        }
    }
    carried.finish(outcome.deny, effects)
}

/// How far the carrying out of an [`Outcome`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// No rule below this one is left; [`MAX_RULES`]: none at all.
    pub at: u32,
    /// One less than the lowest errno of the denying rules so far, so that none is the highest.
    pub lowest: u32,
}

impl Carried {
    /// The beginning.
    pub const NOTHING: Self = Self { at: 0, lowest: u32::MAX };

    /// The errno to refuse with.
    #[inline(always)]
    pub fn finish<F: Effects>(self, deny: bool, effects: &mut F) -> u16 {
        if self.at < MAX_RULES as u32 {
            effects.uncounted();
        }
        match (deny, self.lowest) {
            (false, _) => 0,
            (true, 0..4095) => self.lowest as u16 + 1,
            (true, _) => EPERM,
        }
    }
}

/// Carries out the first rule from `at` on, of those in `words` ([`Outcome::rules`]). One rule, because the kernel's verifier
/// would otherwise follow each number of them.
#[inline(always)]
pub fn carry_out_rule<T: Tables, F: Effects>(
    head: &Head,
    tables: &T,
    work: &Work,
    words: u32,
    at: u32,
    effects: &mut F,
) -> Carried {
    const NONE: Carried = Carried { at: MAX_RULES as u32, lowest: u32::MAX };
    let left = u64::from(words) >> (at >> 6) << (at >> 6);
    if left == 0 || at >= MAX_RULES as u32 {
        return NONE;
    }
    let index = left.trailing_zeros();
    let skipped = if index == at >> 6 { at & 63 } else { 0 };
    let rest = (word_of(&work.possible, index) | word_of(&work.faulted, index)) >> skipped << skipped;
    let shift = rest.trailing_zeros() & 63;
    let rule = (index << 6 | shift) & (MAX_RULES as u32 - 1);
    let tally = tally(head, work, index, shift);
    if rest == 0 {
        effects.uncounted();
        return NONE;
    }
    effects.count(rule, tally);
    let mut lowest = u32::MAX;
    if let Some(row) = tables.rule(rule) {
        let denies = word_of(&head.deny, index) >> shift & tally.denied;
        lowest = (u64::from(row.errno).wrapping_sub(1) | denies.wrapping_sub(1)) as u32;
        let signal = u64::from(row.signal) & (tally.matched & tally.denied).wrapping_neg();
        if signal != 0 {
            effects.send(signal as u8);
        }
    }
    let next = if rest & rest.wrapping_sub(1) != 0 {
        rule + 1
    } else if left & left.wrapping_sub(1) != 0 {
        (index + 1) << 6
    } else {
        MAX_RULES as u32
    };
    Carried { at: next, lowest }
}

/// The lower of two, without a branch.
#[inline(always)]
#[must_use]
pub fn lower(one: u32, other: u32) -> u32 {
    let (one, other) = (u64::from(one), u64::from(other));
    let below = opaque(one.wrapping_sub(other) >> 63).wrapping_neg();
    (one & below | other & !below) as u32
}

/// Word `index`, which is below [`WORDS`].
#[inline(always)]
fn word_of(words: &Words, index: u32) -> u64 {
    let index = opaque(u64::from(index));
    if index >= WORDS as u64 { 0 } else { words.get(index as usize).copied().unwrap_or_default() }
}

/// What a rule that fired or could not be judged comes to. Without branches: the verifier would follow each.
#[inline(always)]
fn tally(head: &Head, work: &Work, index: u32, shift: u32) -> Tally {
    let bit = |words: &Words| word_of(words, index) >> shift & 1;
    let (faults, fault_denies) = (bit(&work.faulted), bit(&head.fault_deny));
    let (acts, monitor) = (bit(&head.deny) | bit(&head.signal), bit(&head.monitor));
    let matched = faults ^ 1;
    Tally {
        matched,
        denied: matched & acts & (monitor ^ 1) | faults & fault_denies,
        would_deny: matched & acts & monitor,
        faults,
    }
}
