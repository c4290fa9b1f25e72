//! The values that sets list, by dimension.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::dimension;
use stockade_enforcer_common::key::{LpmStrKey, NumKey, StrKey64, StrKey256};
use stockade_enforcer_common::name::shared_map;
use stockade_enforcer_common::process::{MarkRow, WHOLE_BINARY, binary_value_id};
use stockade_policy::ir::{BinaryFilter, NumberRange, PortRange, ValidatedPolicy};
use zerocopy::IntoBytes;

use super::nested::{Value, outside_in};
use super::tests_of::{MarkSet, Marks, Set, Test, binary_dimension};
use crate::ops::BinaryTables;
use crate::rows::Table;

impl Test {
    /// Whether a value satisfies the test that no set lists and none that a set lists contains.
    pub(super) fn holds_elsewhere(&self) -> bool {
        self.negated
    }

    /// Whether a chunk of marks satisfies the test.
    pub(super) fn holds_in(&self, chunk: u8) -> bool {
        matches!(self.set, Set::Mark { bit, .. } if self.negated != (chunk >> bit & 1 == 1))
    }

    /// Whether a chunk of marks leaves open if the test holds, where an ancestor's executable is unknown.
    pub(super) fn is_doubtful(&self, chunk: u8) -> bool {
        matches!(self.set, Set::Mark { bit, binary: true } if chunk >> bit & 1 == 0)
    }
}

impl Set {
    /// The values of the set that rows are needed for: it contains what they contain, and nothing else.
    pub(super) fn values(&self, dimension: u32) -> Vec<Value> {
        match self {
            Self::Numbers(set) => set.iter().map(|number| Value::Number(*number)).collect(),
            Self::Texts(set) => set.iter().map(|text| Value::text(dimension, text)).collect(),
            Self::Addresses(set) => set.iter().map(|cidr| Value::Network(*cidr)).collect(),
            Self::Ports(set) => set.iter().flat_map(ports).collect(),
            Self::Ranges(set) => set.iter().flat_map(numbers).collect(),
            // All bits of a chunk together: see `chunks`.
            Self::Mark { .. } | Self::Mask { .. } => Vec::new(),
        }
    }
}

/// The bits of a chunk that tests ask about; `of`: only those of executions, or all.
pub(super) fn chunk_mask(tests: &[(u32, &Test)], of: impl Fn(bool) -> bool) -> u8 {
    let bits = tests.iter().filter_map(|(_, test)| match test.set {
        Set::Mark { bit, binary } if of(binary) => Some(1_u8 << (bit & 7)),
        _ => None,
    });
    bits.fold(0, |mask, bit| mask | bit)
}

fn ports(range: &PortRange) -> Vec<Value> {
    let port = |(first, bits)| Some(Value::Ports(u16::try_from(first).ok()?, bits));
    blocks(range.first.into(), range.last.into(), 16).into_iter().filter_map(port).collect()
}

fn numbers(range: &NumberRange) -> Vec<Value> {
    let number = |(first, bits)| Some(Value::Numbers(u64::try_from(first).ok()?, bits));
    blocks(range.first.into(), range.last.into(), 64).into_iter().filter_map(number).collect()
}

/// The fewest prefixes that together are a range of numbers of `width` bits: (first, bits).
fn blocks(first: u128, last: u128, width: u32) -> Vec<(u128, u32)> {
    let mut blocks = Vec::new();
    let (mut at, end) = (first, last + 1);
    while at < end {
        let mut size = if at == 0 { 1 << width } else { 1_u128 << at.trailing_zeros() };
        while at + size > end {
            size >>= 1;
        }
        blocks.push((at, width - size.trailing_zeros()));
        at += size;
    }
    blocks
}

/// The binaries that policies list, by comparison: one table for the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binaries(BTreeMap<u32, BTreeSet<String>>);

impl Binaries {
    /// Everything that these policies list.
    #[must_use]
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a ValidatedPolicy>) -> Self {
        let mut binaries = Self::default();
        let selectors = policies.into_iter().flat_map(|policy| &policy.hooks).flat_map(|hook| &hook.selectors);
        for BinaryFilter { compare, negated: _, values, follow_children: _ } in selectors.flat_map(|s| &s.binaries) {
            binaries.0.entry(binary_dimension(*compare)).or_default().extend(values.iter().cloned());
        }
        binaries
    }

    /// The values listed in a dimension.
    pub(super) fn values(&self, dimension: u32) -> impl Iterator<Item = Value> + '_ {
        self.0.get(&dimension).into_iter().flatten().map(move |text| Value::text(dimension, text))
    }

    /// The tables in which executables' paths are looked up.
    #[must_use]
    pub fn tables(&self) -> BinaryTables {
        let mut tables: BinaryTables = [shared_map::BINARY_STR64, shared_map::BINARY_STR256, shared_map::BINARY_LPM]
            .into_iter()
            .map(|name| (name, Table::new()))
            .collect();
        for (dimension, values) in &self.0 {
            for value in values {
                let id = binary_value_id(*dimension, value.as_bytes()).to_ne_bytes().to_vec();
                if let Some((name, key)) = binary_key(*dimension, value.as_bytes()) {
                    tables.entry(name).or_default().insert(key, id);
                }
            }
        }
        tables
    }

    /// MARKS: for each listed value the marks that an exec of it sets, for each listed pid those of who has it.
    #[must_use]
    pub fn mark_rows(&self, marks: &Marks) -> Table {
        let mut table = pid_rows(marks);
        for dimension in self.0.keys() {
            // The marks of the sets that list a value; an exec of what it contains sets them too.
            let mut listed: BTreeMap<Value, MarkRow> =
                self.values(*dimension).map(|value| (value, MarkRow::default())).collect();
            for (mark, slot) in marks {
                let MarkSet::Binaries { compare, values } = mark else { continue };
                for value in values.iter().filter(|_| binary_dimension(*compare) == *dimension) {
                    mark_in(listed.entry(Value::text(*dimension, value)).or_default(), *slot);
                }
            }
            let with_outer = |outer: Option<&MarkRow>, MarkRow { marks: [low, high] }| {
                let [outer_low, outer_high] = outer.map_or([0; 2], |outer| outer.marks);
                MarkRow { marks: [low | outer_low, high | outer_high] }
            };
            outside_in(listed, with_outer, |value, row| {
                if let Some((_, key)) = value.key(*dimension)
                    && row.marks != [0; 2]
                {
                    table.insert(key, row.as_bytes().to_vec());
                }
            });
        }
        table
    }
}

fn pid_rows(marks: &Marks) -> Table {
    let mut rows: BTreeMap<(u32, u32), MarkRow> = BTreeMap::new();
    for (mark, slot) in marks {
        let MarkSet::Pids { own, pids } = mark else { continue };
        let dimension = if *own { dimension::PID_OWN } else { dimension::PID_HOST };
        for pid in pids {
            let row = rows.entry((dimension, *pid)).or_default();
            mark_in(row, *slot);
        }
    }
    let row = |((dimension, pid), row): ((u32, u32), MarkRow)| {
        (NumKey::new(dimension, u64::from(pid)).as_bytes().to_vec(), row.as_bytes().to_vec())
    };
    rows.into_iter().map(row).collect()
}

fn mark_in(row: &mut MarkRow, slot: u32) {
    if let Some(word) = row.marks.get_mut(slot as usize / 64) {
        *word |= 1 << (slot % 64);
    }
}

fn binary_key(dimension: u32, value: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    match dimension {
        dimension::BINARY_EXACT => match StrKey64::new(WHOLE_BINARY, value) {
            Some(key) => Some((shared_map::BINARY_STR64, key.as_bytes().to_vec())),
            None => Some((shared_map::BINARY_STR256, StrKey256::new(WHOLE_BINARY, value)?.as_bytes().to_vec())),
        },
        dimension::BINARY_PREFIX => {
            Some((shared_map::BINARY_LPM, LpmStrKey::prefix(dimension, value)?.as_bytes().to_vec()))
        }
        _ => Some((shared_map::BINARY_LPM, LpmStrKey::postfix(dimension, value)?.as_bytes().to_vec())),
    }
}
