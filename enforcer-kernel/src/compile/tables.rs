//! Rules → head, vectors and tables.

use std::collections::BTreeMap;

use stockade_enforcer_common::bits::{EMPTY_VECTOR, Vector, Words};
use stockade_enforcer_common::dimension::{self, CHUNK_DOUBT, CHUNK_MASK};
use stockade_enforcer_common::head::{
    CLASS_UNKNOWN_POD, DIRECT_CLASSES, Head, NEEDS_MARKS, NEEDS_NAMESPACES, NEEDS_PROCESS, RuleRow,
};
use stockade_enforcer_common::key::{MAX_TEXT, NumKey};
use stockade_enforcer_common::name::hook_map;
use stockade_policy::ir::{ArgTest, Hook};
use zerocopy::IntoBytes;

use super::dimensions::{self, Row, Value};
use super::fields::{Fields, set};
use super::tests_of::{CompiledRule, Test};
use super::{Context, TooLarge};
use crate::rows::Table;
use crate::scope::{Members, applies};

/// The tables that a hook has, in any generation.
const TABLES: [&str; 7] = [
    hook_map::NUM,
    hook_map::STR64,
    hook_map::STR256,
    hook_map::LPM_STR,
    hook_map::LPM_NET,
    hook_map::VEC,
    hook_map::RULES,
];

/// Whether every text of a hook fits into a key.
pub(super) fn check_lengths(hook: &Hook) -> Result<(), TooLarge> {
    let texts = hook.selectors.iter().flat_map(|selector| {
        let args = selector.args.iter().filter_map(|filter| match &filter.test {
            ArgTest::String(_, values) => Some(values),
            _ => None,
        });
        args.chain(selector.binaries.iter().map(|filter| &filter.values)).flatten()
    });
    match { texts }.find(|text| text.len() > MAX_TEXT) {
        Some(text) => Err(TooLarge::Value(text.clone())),
        None => Ok(()),
    }
}

/// Gives equal vectors one number; the empty one's is [`EMPTY_VECTOR`].
#[derive(Debug)]
struct Vectors {
    numbers: BTreeMap<Vector, u32>,
    table: Table,
}

impl Vectors {
    fn new() -> Self {
        let mut vectors = Self { numbers: BTreeMap::new(), table: Table::new() };
        let empty = vectors.number(Vector::EMPTY);
        debug_assert_eq!(empty, EMPTY_VECTOR);
        vectors
    }

    fn number(&mut self, vector: Vector) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(vector).or_insert(next);
        if number == next {
            self.table.insert(number.to_ne_bytes().to_vec(), vector.as_bytes().to_vec());
        }
        number
    }
}

/// The head and tables of these rules.
pub(super) fn tables(
    rules: &[CompiledRule],
    fields: &Fields,
    context: &Context,
) -> (Head, BTreeMap<&'static str, Table>) {
    let (singles, multis, lows) = fields.layout();
    let mut head = Head { words: fields.words(), singles, multis, lows, ..Head::EMPTY };
    let mut tables: BTreeMap<&'static str, Table> = TABLES.iter().map(|name| (*name, Table::new())).collect();
    let mut vectors = Vectors::new();
    scope(rules, context, &mut head, &mut vectors, &mut tables);
    let mut used: BTreeMap<u32, Vec<(u32, &Test)>> = BTreeMap::new();
    for rule in rules {
        for (dimension, test) in &rule.tests {
            used.entry(*dimension).or_default().push((rule.number, test));
        }
    }
    for (dimension, tests) in &used {
        dimension::insert(&mut head.used, *dimension);
        one_dimension(*dimension, tests, rules, context, &mut head, &mut vectors, &mut tables);
    }
    for (what, place) in head.needs.iter_mut().enumerate() {
        let needing = used.iter().filter(|(dimension, _)| needs(**dimension) == what);
        let rules = needing.flat_map(|(_, tests)| tests).map(|(rule, _)| *rule as usize);
        *place = vectors.number(Vector::of(rules));
    }
    actions(rules, &mut head, &mut tables);
    tables.insert(hook_map::VEC, vectors.table);
    (head, tables)
}

/// What cannot be read when a dimension cannot.
fn needs(dimension: u32) -> usize {
    match dimension {
        dimension::BINARY_EXACT..=dimension::BINARY_POSTFIX => NEEDS_PROCESS,
        dimension::MARKS..dimension::ARGUMENTS => NEEDS_MARKS,
        // Always known: a rule about it must not fail with another's executable.
        dimension::SCOPE | dimension::PID_HOST => usize::MAX,
        dimension::PID_OWN..dimension::MARKS => NEEDS_NAMESPACES,
        argument => (argument.saturating_sub(dimension::ARGUMENTS) / dimension::ARGUMENT_STRIDE) as usize,
    }
}

fn scope(
    rules: &[CompiledRule],
    context: &Context,
    head: &mut Head,
    vectors: &mut Vectors,
    tables: &mut BTreeMap<&'static str, Table>,
) {
    let of = |members: &Members| {
        Vector::of(
            rules
                .iter()
                .filter(|rule| applies(members, &rule.policy, &context.assigned))
                .map(|rule| rule.number as usize),
        )
    };
    let nobody = Members::new();
    // A class that nobody knows is judged as a pod that nobody knows.
    let strictest = of(context.classes.get(&CLASS_UNKNOWN_POD).unwrap_or(&nobody));
    dimension::insert(&mut head.used, dimension::SCOPE);
    let unknown = vectors.number(strictest);
    head.scope.fill(unknown);
    if let Some(place) = head.defaults.get_mut(dimension::SCOPE as usize) {
        *place = unknown;
    }
    if strictest != Vector::EMPTY {
        (0..DIRECT_CLASSES).filter(|class| !context.classes.contains_key(class)).for_each(|class| {
            set(&mut head.scope_any, class);
        });
    }
    for (class, members) in &context.classes {
        let vector = of(members);
        let number = vectors.number(vector);
        if vector != Vector::EMPTY && *class < DIRECT_CLASSES {
            set(&mut head.scope_any, *class);
        }
        if let Some(place) = head.scope.get_mut(*class as usize) {
            *place = number;
            continue;
        }
        let key = NumKey::new(dimension::SCOPE, u64::from(*class));
        tables.entry(hook_map::NUM).or_default().insert(key.as_bytes().to_vec(), number.to_ne_bytes().to_vec());
    }
}

fn one_dimension(
    dimension: u32,
    tests: &[(u32, &Test)],
    rules: &[CompiledRule],
    context: &Context,
    head: &mut Head,
    vectors: &mut Vectors,
    tables: &mut BTreeMap<&'static str, Table>,
) {
    let asked = Tests::of(tests, rules);
    let default = vectors.number(Vector::new(asked.default));
    if let Some(place) = head.defaults.get_mut(dimension as usize) {
        *place = default;
    }
    let mut rows: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
    // Of binaries, every value that is listed on the node: an executable is known by the longest that it matches.
    let listed = context.binaries.rows(dimension);
    let values = asked.all().flat_map(|test| test.set.values(dimension)).chain(listed);
    for row in values.chain(dimensions::chunks(dimension, tests)) {
        rows.insert(row.key.clone(), row);
    }
    doubts(dimension, tests, vectors, tables);
    let listing = asked.listing(dimension);
    for Row { table, key, value } in rows.into_values() {
        let number = vectors.number(asked.satisfied(&value, &listing));
        // A value that satisfies what any other does needs no row, unless rows nest.
        if number != default || !matches!(value, Value::Number(_) | Value::Whole(_) | Value::Chunk(_)) {
            tables.entry(table).or_default().insert(key, number.to_ne_bytes().to_vec());
        }
    }
}

/// What rules ask of one dimension.
struct Tests<'a> {
    /// By rule: all of them have to hold.
    by_rule: BTreeMap<u32, Vec<&'a Test>>,
    /// The rules that a value satisfies that nobody lists.
    default: Words,
}

/// Which rules list a value.
type Listing = BTreeMap<Value, Vec<u32>>;

impl<'a> Tests<'a> {
    fn of(tests: &[(u32, &'a Test)], rules: &[CompiledRule]) -> Self {
        let mut by_rule: BTreeMap<u32, Vec<&Test>> = BTreeMap::new();
        for (rule, test) in tests {
            by_rule.entry(*rule).or_default().push(test);
        }
        // A probe's rule is judged by its class alone; left out here, it keeps no vector from being empty.
        let asking = rules.iter().filter(|rule| !rule.probe);
        let mut default = Vector::of(asking.map(|rule| rule.number as usize)).words;
        for (rule, tests) in &by_rule {
            put(&mut default, *rule, tests.iter().all(|test| test.holds(&Value::Other)));
        }
        Self { by_rule, default }
    }

    fn all(&self) -> impl Iterator<Item = &'a Test> + '_ {
        self.by_rule.values().flatten().copied()
    }

    fn listing(&self, dimension: u32) -> Listing {
        let mut listing = Listing::new();
        for (rule, tests) in &self.by_rule {
            for row in tests.iter().flat_map(|test| test.set.values(dimension)) {
                listing.entry(row.value).or_default().push(*rule);
            }
        }
        listing
    }

    /// The rules that a value satisfies. A rule that lists neither the value nor one that it is part of thinks of it as of
    /// any other: with a thousand policies of fifty values each, asking all of them about all values would take minutes.
    fn satisfied(&self, value: &Value, listing: &Listing) -> Vector {
        let mut words = self.default;
        let mut ask = |rule: u32, tests: &[&Test]| put(&mut words, rule, tests.iter().all(|test| test.holds(value)));
        match value.wider() {
            Some(values) => {
                for rule in values.iter().filter_map(|value| listing.get(value)).flatten() {
                    ask(*rule, self.by_rule.get(rule).map_or(&[], Vec::as_slice));
                }
            }
            None => self.by_rule.iter().for_each(|(rule, tests)| ask(*rule, tests)),
        }
        Vector::new(words)
    }
}

/// Sets or clears a rule's bit.
fn put(words: &mut Words, rule: u32, is: bool) {
    if let Some(word) = words.get_mut(rule as usize / 64) {
        let bit = 1 << (rule % 64);
        *word = if is { *word | bit } else { *word & !bit };
    }
}

/// What a chunk of marks needs beside its rows: its mask, and the rules of which it cannot be known whether they hold.
fn doubts(dimension: u32, tests: &[(u32, &Test)], vectors: &mut Vectors, tables: &mut BTreeMap<&'static str, Table>) {
    let mask = dimensions::chunk_mask(tests, |_| true);
    if mask == 0 {
        return;
    }
    let mut insert = |value: u64, number: u32| {
        let key = NumKey::new(dimension, value).as_bytes().to_vec();
        tables.entry(hook_map::NUM).or_default().insert(key, number.to_ne_bytes().to_vec());
    };
    insert(CHUNK_MASK, u32::from(mask));
    if dimensions::chunk_mask(tests, |binary| binary) == 0 {
        return;
    }
    for chunk in (0..=u8::MAX).filter(|chunk| chunk & !mask == 0) {
        let doubtful = tests.iter().filter(|(_, test)| test.is_doubtful(chunk)).map(|(rule, _)| *rule as usize);
        insert(u64::from(chunk) | CHUNK_DOUBT, vectors.number(Vector::of(doubtful)));
    }
}

fn actions(rules: &[CompiledRule], head: &mut Head, tables: &mut BTreeMap<&'static str, Table>) {
    let mut rows: BTreeMap<u32, RuleRow> = BTreeMap::new();
    for rule in rules {
        let CompiledRule { number, deny, signal, post, monitor, fault_deny, .. } = rule;
        let bits = [
            (&mut head.deny, deny.is_some()),
            (&mut head.signal, signal.is_some()),
            (&mut head.post, *post),
            (&mut head.monitor, *monitor),
            (&mut head.fault_deny, *fault_deny),
        ];
        for (words, is) in bits {
            if is {
                set(words, *number);
            }
        }
        let row = RuleRow { errno: deny.unwrap_or(0), signal: signal.unwrap_or(0), ..RuleRow::default() };
        rows.insert(*number, row);
    }
    // An array: every element up to the last has a row.
    let end = rows.keys().next_back().map_or(0, |last| last + 1);
    let table = tables.entry(hook_map::RULES).or_default();
    for number in 0..end {
        let row = rows.get(&number).copied().unwrap_or_default();
        table.insert(number.to_ne_bytes().to_vec(), row.as_bytes().to_vec());
    }
}
