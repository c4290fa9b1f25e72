//! The values of a dimension, as table keys, and what each satisfies.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::dimension::{self, CHUNK_MAY};
use stockade_enforcer_common::key::{LpmNetKey, LpmStrKey, NumKey, StrKey64, StrKey256};
use stockade_enforcer_common::name::{hook_map, shared_map};
use stockade_enforcer_common::process::{MarkRow, WHOLE_BINARY, binary_value_id};
use stockade_policy::ir::{BinaryFilter, Cidr, PortRange, StringCompare, ValidatedPolicy};
use zerocopy::IntoBytes;

use super::tests_of::{MarkSet, Marks, Set, Test, binary_dimension};
use crate::ops::BinaryTables;
use crate::rows::Table;

/// A value with its key in a table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) table: &'static str,
    pub(super) key: Vec<u8>,
    pub(super) value: Value,
}

/// What the value is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Number(u64),
    Whole(String),
    /// Everything that begins with it and with no longer listed value.
    Prefix(String),
    /// Everything that ends with it and with no longer listed value.
    Postfix(String),
    Network(Cidr),
    /// The ports of a prefix: first, bits.
    Ports(u16, u32),
    /// The value of a chunk of marks.
    Chunk(u8),
    /// The same of a process of whose ancestors an executable is unknown: what may hold.
    May(u8),
    /// Any value that no row is about.
    Other,
}

impl Value {
    /// The values that contain this one, itself included: a set that contains this one lists one of them. `None`: too many.
    pub(super) fn wider(&self) -> Option<Vec<Self>> {
        match self {
            Self::Prefix(text) => {
                Some(ends(text).filter_map(|at| Some(Self::Prefix(text.get(..at)?.into()))).collect())
            }
            Self::Postfix(text) => {
                Some(ends(text).filter_map(|at| Some(Self::Postfix(text.get(at..)?.into()))).collect())
            }
            Self::Number(_) | Self::Whole(_) => Some(vec![self.clone()]),
            Self::Network(_) | Self::Ports(..) | Self::Chunk(_) | Self::May(_) | Self::Other => None,
        }
    }
}

/// Where a text can be cut.
fn ends(text: &str) -> impl Iterator<Item = usize> + '_ {
    (0..=text.len()).filter(|at| text.is_char_boundary(*at))
}

impl Test {
    /// Whether a value satisfies the test.
    pub(super) fn holds(&self, value: &Value) -> bool {
        match *value {
            Value::May(chunk) => self.is_doubtful(chunk) || self.holds(&Value::Chunk(chunk)),
            _ => self.negated != self.set.contains(value),
        }
    }

    /// Whether a chunk of marks leaves open if the test holds, where an ancestor's executable is unknown.
    pub(super) fn is_doubtful(&self, chunk: u8) -> bool {
        matches!(self.set, Set::Mark { bit, binary: true } if chunk >> bit & 1 == 0)
    }
}

impl Set {
    fn contains(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Numbers(set), Value::Number(number)) => set.contains(number),
            (Self::Texts(set), Value::Whole(text)) => set.contains(text),
            (Self::Texts(set), Value::Prefix(text)) => set.iter().any(|prefix| text.starts_with(prefix.as_str())),
            (Self::Texts(set), Value::Postfix(text)) => set.iter().any(|postfix| text.ends_with(postfix.as_str())),
            (Self::Addresses(set), Value::Network(network)) => set.iter().any(|of| covers(of, network)),
            (Self::Ports(set), Value::Ports(first, bits)) => {
                let last = first | u16::MAX.checked_shr(*bits).unwrap_or(0);
                set.iter().any(|range| range.first <= *first && last <= range.last)
            }
            (Self::Mark { bit, .. }, Value::Chunk(chunk)) => chunk >> bit & 1 == 1,
            // No mark is set in a value that is in no row (0), and no set contains what it does not list.
            _ => false,
        }
    }

    /// The values of the set that rows are needed for.
    pub(super) fn values(&self, dimension: u32) -> Vec<Row> {
        match self {
            Self::Numbers(set) => {
                set.iter().map(|number| numeric(dimension, *number, Value::Number(*number))).collect()
            }
            Self::Texts(set) => set.iter().filter_map(|text| text_row(dimension, text)).collect(),
            Self::Addresses(set) => set.iter().filter_map(|cidr| network(dimension, *cidr)).collect(),
            Self::Ports(set) => {
                set.iter().flat_map(blocks).filter_map(|(first, bits)| ports(dimension, first, bits)).collect()
            }
            // All marks of a chunk together: see `chunks`.
            Self::Mark { .. } => Vec::new(),
        }
    }
}

fn covers(wide: &Cidr, narrow: &Cidr) -> bool {
    let mask = |length: u8| u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let same = (u128::from(wide.address) ^ u128::from(narrow.address)) & mask(wide.length) == 0;
    wide.length <= narrow.length && same
}

fn numeric(dimension: u32, number: u64, value: Value) -> Row {
    Row { table: hook_map::NUM, key: NumKey::new(dimension, number).as_bytes().to_vec(), value }
}

/// The rows of a chunk of marks, for every value of the bits that the tests ask about: what holds, and, where executions are
/// asked about, what may hold if one is unknown.
pub(super) fn chunks(dimension: u32, tests: &[(u32, &Test)]) -> Vec<Row> {
    let mask = chunk_mask(tests, |_| true);
    let binaries = chunk_mask(tests, |binary| binary) != 0;
    // 0 is the value of a dimension of another kind, too.
    let values = (0..=u8::MAX).filter(|chunk| mask != 0 && chunk & !mask == 0);
    values
        .flat_map(|chunk| {
            let plain = numeric(dimension, u64::from(chunk), Value::Chunk(chunk));
            let may = binaries.then(|| numeric(dimension, u64::from(chunk) | CHUNK_MAY, Value::May(chunk)));
            std::iter::once(plain).chain(may)
        })
        .collect()
}

/// The bits of a chunk that tests ask about; `of`: only those of executions, or all.
pub(super) fn chunk_mask(tests: &[(u32, &Test)], of: impl Fn(bool) -> bool) -> u8 {
    let bits = tests.iter().filter_map(|(_, test)| match test.set {
        Set::Mark { bit, binary } if of(binary) => Some(1_u8 << (bit & 7)),
        _ => None,
    });
    bits.fold(0, |mask, bit| mask | bit)
}

/// The facet of an argument's dimension.
fn facet(dimension: u32) -> u32 {
    dimension.saturating_sub(dimension::ARGUMENTS) % dimension::ARGUMENT_STRIDE
}

fn text_row(dimension: u32, text: &str) -> Option<Row> {
    use dimension::Facet;
    let row = |table, key: &[u8], value| Some(Row { table, key: key.to_vec(), value });
    // Binaries are asked about by the id of the listed value that matched.
    match dimension {
        dimension::BINARY_EXACT | dimension::BINARY_PREFIX | dimension::BINARY_POSTFIX => {
            let value = match dimension {
                dimension::BINARY_EXACT => Value::Whole(text.into()),
                dimension::BINARY_PREFIX => Value::Prefix(text.into()),
                _ => Value::Postfix(text.into()),
            };
            return Some(numeric(dimension, binary_value_id(dimension, text.as_bytes()), value));
        }
        _ => {}
    }
    let bytes = text.as_bytes();
    if facet(dimension) == Facet::Whole as u32 {
        let value = Value::Whole(text.into());
        if let Some(key) = StrKey64::new(dimension, bytes) {
            return row(hook_map::STR64, key.as_bytes(), value);
        }
        return row(hook_map::STR256, StrKey256::new(dimension, bytes)?.as_bytes(), value);
    }
    if facet(dimension) == Facet::Prefix as u32 {
        return row(hook_map::LPM_STR, LpmStrKey::prefix(dimension, bytes)?.as_bytes(), Value::Prefix(text.into()));
    }
    row(hook_map::LPM_STR, LpmStrKey::postfix(dimension, bytes)?.as_bytes(), Value::Postfix(text.into()))
}

fn network(dimension: u32, cidr: Cidr) -> Option<Row> {
    let key = LpmNetKey::address(dimension, cidr.address.octets(), u32::from(cidr.length))?;
    Some(Row { table: hook_map::LPM_NET, key: key.as_bytes().to_vec(), value: Value::Network(cidr) })
}

fn ports(dimension: u32, first: u16, bits: u32) -> Option<Row> {
    let key = LpmNetKey::port(dimension, first, bits)?;
    Some(Row { table: hook_map::LPM_NET, key: key.as_bytes().to_vec(), value: Value::Ports(first, bits) })
}

/// The fewest prefixes that together are a range: (first, bits).
fn blocks(range: &PortRange) -> Vec<(u16, u32)> {
    let mut blocks = Vec::new();
    let (mut at, end) = (u32::from(range.first), u32::from(range.last) + 1);
    while at < end {
        let mut size = if at == 0 { 1 << 16 } else { 1_u32 << at.trailing_zeros() };
        while at + size > end {
            size >>= 1;
        }
        blocks.push((u16::try_from(at).unwrap_or(u16::MAX), 16 - size.trailing_zeros()));
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
    pub(super) fn rows(&self, dimension: u32) -> Vec<Row> {
        self.0.get(&dimension).into_iter().flatten().filter_map(|text| text_row(dimension, text)).collect()
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
        for (dimension, values) in &self.0 {
            for value in values {
                let row = marks_set_by(*dimension, value, marks);
                if row.marks != [0; 2] {
                    let id = binary_value_id(*dimension, value.as_bytes());
                    table.insert(NumKey::new(*dimension, id).as_bytes().to_vec(), row.as_bytes().to_vec());
                }
            }
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
            if let Some(word) = row.marks.get_mut(*slot as usize / 64) {
                *word |= 1 << (slot % 64);
            }
        }
    }
    let row = |((dimension, pid), row): ((u32, u32), MarkRow)| {
        (NumKey::new(dimension, u64::from(pid)).as_bytes().to_vec(), row.as_bytes().to_vec())
    };
    rows.into_iter().map(row).collect()
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

/// The marks of the sets that contain a binary whose longest listed value is `value`.
fn marks_set_by(dimension: u32, value: &str, marks: &Marks) -> MarkRow {
    let mut row = MarkRow::default();
    for (mark, slot) in marks {
        let MarkSet::Binaries { compare, values } = mark else { continue };
        let matches = match compare {
            StringCompare::Equal => values.contains(value),
            StringCompare::Prefix => values.iter().any(|prefix| value.starts_with(prefix.as_str())),
            StringCompare::Postfix => values.iter().any(|postfix| value.ends_with(postfix.as_str())),
        };
        if binary_dimension(*compare) == dimension
            && matches
            && let Some(word) = row.marks.get_mut(*slot as usize / 64)
        {
            *word |= 1 << (slot % 64);
        }
    }
    row
}
