//! Rate limits: of equal events, one in a while is posted. They change what is reported and never what is done.
//!
//! An event is equal to another when it has the same arguments, of those that the rule's own hook reads. When a rule has posted
//! one, its *window* is open, for the thread, the process or everybody, and further ones are counted and left out.

use crate::bits::{MAX_RULES, WORDS};
use crate::decide::{Tables, Work};
use crate::head::{Head, RuleRow};
use crate::verifier::opaque;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Whose events a limit counts together: [`RuleRow::scope`].
pub mod scope {
    /// Those of a thread.
    pub const THREAD: u8 = 0;
    /// Those of a process.
    pub const PROCESS: u8 = 1;
    /// All.
    pub const GLOBAL: u8 = 2;
}

/// LIMITS: a window. The value is the boot time of the latest event that was posted.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LimitKey {
    /// [`RuleRow::window`].
    pub rule: u64,
    /// When the thread or the process's first thread began, because ids are used again; 0: everybody's.
    pub start_ns: u64,
    /// The thread's or the process's id; 0: everybody's.
    pub id: u32,
    /// Zero.
    pub reserved: u32,
    /// A digest of the arguments.
    pub arguments: u64,
}

const _: () = assert!(size_of::<LimitKey>() == 32);

/// Windows that a hook remembers. The one that was asked for least recently makes room: its next event is posted.
pub const WINDOWS: u32 = 8192;
/// Rules that are limited in one event; what more of them would post is posted.
pub const MAX_LIMITED: u32 = 24;

/// A digest under way: SipHash-1-3 over words. Keyed, because who knows the digest of an event that is reported could make
/// another that is taken for it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl Digest {
    /// Of nothing.
    #[inline(always)]
    #[must_use]
    pub const fn new(secret: [u64; 2]) -> Self {
        let [low, high] = secret;
        Self {
            a: low ^ 0x736f_6d65_7073_6575,
            b: high ^ 0x646f_7261_6e64_6f6d,
            c: low ^ 0x6c79_6765_6e65_7261,
            d: high ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self { mut a, mut b, mut c, mut d } = self;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        Self { a, b, c, d }
    }

    /// And of this word.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, word: u64) -> Self {
        let Self { a, b, c, d } = Self { d: self.d ^ word, ..self }.round();
        Self { a: a ^ word, b, c, d }
    }

    /// The digest.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u64 {
        let Self { a, b, c, d } = Self { c: self.c ^ 0xff, ..self }.round().round().round();
        a ^ b ^ c ^ d
    }
}

/// The words in which a limited rule has fired: bit *i* is word *i*. Most events have none.
#[inline(always)]
#[must_use]
pub fn limited(head: &Head, work: &Work, words: u32) -> u32 {
    let mut limited = 0;
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(fired), Some(rules)) = (work.possible.get(index), head.limited.get(index)) {
            limited |= is_set(*fired & *rules) << index;
        }
    }
    limited
}

/// Where windows are.
pub trait Windows {
    /// Whether an event of a rule is to be posted now; if so, its window begins.
    fn is_due(&mut self, row: &RuleRow) -> bool;
    /// Counts that a rule's event has been left out.
    fn count(&mut self, rule: u32);
}

/// Limits the first rule from `at` on, of those in `words` ([`limited`]): takes it out of those that fired unless it is due.
/// Returns where to go on; [`MAX_RULES`]: nowhere. One rule, because the kernel's verifier would follow each number of them.
#[inline(always)]
pub fn limit_rule<T: Tables, W: Windows>(
    head: &Head,
    tables: &T,
    work: &mut Work,
    words: u32,
    at: u32,
    windows: &mut W,
) -> u32 {
    const NONE: u32 = MAX_RULES as u32;
    if at >= NONE {
        return NONE;
    }
    let left = u64::from(words) >> (at >> 6) << (at >> 6);
    if left == 0 {
        return NONE;
    }
    let index = left.trailing_zeros();
    let skipped = if index == at >> 6 { at & 63 } else { 0 };
    let place = opaque(u64::from(index));
    if place >= WORDS as u64 {
        return NONE;
    }
    let (Some(fired), Some(limited)) = (work.possible.get_mut(place as usize), head.limited.get(place as usize)) else {
        return NONE;
    };
    let rest = (*fired & *limited) >> skipped << skipped;
    if rest != 0 {
        let shift = rest.trailing_zeros() & 63;
        let rule = (index << 6 | shift) & (NONE - 1);
        if let Some(row) = tables.rule(rule)
            && !windows.is_due(&row)
        {
            *fired &= !(1 << shift);
            windows.count(rule);
        }
        if rest & rest.wrapping_sub(1) != 0 {
            return rule + 1;
        }
    }
    if left & left.wrapping_sub(1) != 0 { (index + 1) << 6 } else { NONE }
}

/// What is left to be reported: bit *i* where word *i* still has a rule that fired, and whether an event is posted.
#[inline(always)]
#[must_use]
pub fn left(head: &Head, work: &Work, words: u32) -> (u32, bool) {
    let (mut fired, mut post) = (0, 0);
    for index in 0..WORDS {
        if index >= words as usize {
            break;
        }
        if let (Some(possible), Some(faulted), Some(posting)) =
            (work.possible.get(index), work.faulted.get(index), head.post.get(index))
        {
            fired |= is_set(*possible) << index;
            post |= *possible & *posting | *faulted;
        }
    }
    (fired, is_set(post) != 0)
}

/// 1 if any bit is set, without a branch.
#[inline(always)]
fn is_set(word: u64) -> u32 {
    (opaque(word | word.wrapping_neg()) >> 63) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_algorithm() {
        // SipHash-1-3 ends with a word of the length, which these words do not have; so it is put there.

        fn reference(words: &[u64]) -> u64 {
            use std::hash::Hasher;
            let mut hasher = std::hash::DefaultHasher::new();
            words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
            hasher.finish()
        }
        for words in [&[][..], &[0], &[1, 2, 3], &[u64::MAX; 9]] {
            let length = (words.len() as u64 * 8) << 56;
            let digest = words.iter().fold(Digest::new([0; 2]), |digest, word| digest.add(*word));
            assert_eq!(digest.add(length).finish(), reference(words));
        }
        assert_ne!(Digest::new([1, 0]).finish(), Digest::new([0, 1]).finish());
    }

    /// No tables but the rules.
    struct Rows;

    impl Tables for Rows {
        type Text = ();
        fn number(&self, _: u32, _: u64) -> Option<u32> {
            None
        }
        fn whole(&self, _: u32, (): ()) -> Option<u32> {
            None
        }
        fn prefix(&self, _: u32, (): ()) -> Option<u32> {
            None
        }
        fn postfix(&self, _: u32, (): ()) -> Option<u32> {
            None
        }
        fn address(&self, _: u32, _: &[u8; 16]) -> Option<u32> {
            None
        }
        fn range(&self, _: u32, _: u64) -> Option<u32> {
            None
        }
        fn port(&self, _: u32, _: u16) -> Option<u32> {
            None
        }
        fn vector(&self, _: u32) -> Option<&crate::bits::Vector> {
            None
        }
        fn rule(&self, rule: u32) -> Option<RuleRow> {
            Some(RuleRow { window: u64::from(rule), ..RuleRow::default() })
        }
    }

    struct Every {
        due: fn(u64) -> bool,
        asked: Vec<u64>,
        counted: Vec<u32>,
    }

    impl Windows for Every {
        fn is_due(&mut self, row: &RuleRow) -> bool {
            self.asked.push(row.window);
            (self.due)(row.window)
        }
        fn count(&mut self, rule: u32) {
            self.counted.push(rule);
        }
    }

    #[test]
    fn every_limited_rule_that_fired_is_asked_once_and_leaves_if_it_is_not_due() {
        let of = |rules: &[usize]| crate::bits::Vector::of(rules.iter().copied()).words;
        let mut head = Head { limited: of(&[0, 3, 63, 64, 700, 1023]), post: [u64::MAX; 16], ..Head::EMPTY };
        let mut work = Work { possible: of(&[0, 1, 63, 64, 700, 900]), faulted: [0; 16] };
        let words = limited(&head, &work, 16);
        assert_eq!(words, 1 | 1 << 1 | 1 << 10);
        let mut windows = Every { due: |rule| rule == 64, asked: Vec::new(), counted: Vec::new() };
        let mut at = 0;
        while at < MAX_RULES as u32 {
            at = limit_rule(&head, &Rows, &mut work, words, at, &mut windows);
        }
        assert_eq!((windows.asked, windows.counted), (vec![0, 63, 64, 700], vec![0, 63, 700]));
        assert_eq!(work.possible, of(&[1, 64, 900]));
        assert_eq!(left(&head, &work, 16), (1 | 1 << 1 | 1 << 14, true));
        // Rules that post nothing keep no event; one that could not be judged does.
        head.post = of(&[0]);
        assert!(!left(&head, &work, 16).1);
        work.faulted = of(&[2]);
        assert!(left(&head, &work, 16).1);
    }
}
