//! The first faults of however many, in reading order, and their number: what is kept does not grow with what is wrong.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::fault::Fault;

/// How many are counted before "more than" is said.
const MAX_COUNTED: usize = 10_000;

/// The first of all that were added, each once.
#[derive(Debug)]
pub(super) struct First {
    /// How many are kept.
    most: usize,
    kept: BTreeSet<InOrder>,
    /// Hashes of all that were added, to count each once.
    seen: HashSet<u64>,
    added: usize,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(usize);

impl First {
    pub(super) fn of(most: usize) -> Self {
        Self { most, kept: BTreeSet::new(), seen: HashSet::new(), added: 0 }
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.added += 1;
        if self.seen.len() <= MAX_COUNTED {
            self.seen.insert(hash(&fault));
        }
        let fault = InOrder(fault);
        if self.kept.len() < self.most || self.kept.last().is_some_and(|last| fault < *last) {
            self.kept.insert(fault);
            if self.kept.len() > self.most {
                self.kept.pop_last();
            }
        }
    }

    /// How often something was added.
    pub(super) fn added(&self) -> usize {
        self.added
    }

    /// How many different ones were added.
    pub(super) fn count(&self) -> Count {
        Count(self.seen.len())
    }

    pub(super) fn into_sorted(self) -> Vec<Fault> {
        self.kept.into_iter().map(|InOrder(fault)| fault).collect()
    }
}

impl Count {
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// How many more than `shown` have been counted.
    pub(super) fn more_than(self, shown: usize) -> usize {
        self.0.min(MAX_COUNTED).saturating_sub(shown)
    }

    /// How many more than `shown` there are, in words; `None`: no more.
    pub(super) fn beyond(self, shown: usize) -> Option<String> {
        let more = Some(self.more_than(shown)).filter(|more| *more > 0)?;
        Some(if self.0 > MAX_COUNTED { format!("more than {more}") } else { more.to_string() })
    }
}

/// A fault, in the order in which a person reads a document.
#[derive(Debug, PartialEq, Eq)]
struct InOrder(Fault);

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.reading_order(&other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The same for the same fault, in every run.
fn hash(fault: &Fault) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&fault.path, fault.code, &fault.message, &fault.help).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::limits::MAX_FAULTS;

    fn of(numbers: impl Iterator<Item = usize>) -> First {
        let mut first = First::of(MAX_FAULTS);
        for number in numbers {
            let path = format!("spec.values[{number}]");
            first.add(Fault { path, code: "X", message: String::new(), help: String::new() });
        }
        first
    }

    #[test]
    fn the_first_are_kept_in_reading_order_whatever_order_they_come_in() {
        let forwards = of((0..500).chain(0..500));
        assert_eq!((forwards.added(), forwards.count()), (1000, Count(500)));
        let kept = forwards.into_sorted();
        assert_eq!(kept, of((0..500).rev()).into_sorted());
        assert_eq!(kept.len(), MAX_FAULTS);
        assert_eq!(kept.last().map(|fault| fault.path.as_str()), Some("spec.values[99]"));
    }

    #[test]
    fn many_are_counted_and_very_many_are_said_to_be_more() {
        assert_eq!(Count(100).beyond(100), None);
        assert_eq!(Count(101).beyond(100).as_deref(), Some("1"));
        assert_eq!(of(0..20_000).count().beyond(100).as_deref(), Some("more than 9900"));
    }
}
