//! Rules → head, vectors and tables.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::bits::{EMPTY_VECTOR, Vector, Words};
use stockade_enforcer_common::dimension::{self, CHUNK_DOUBT, CHUNK_MASK, CHUNK_MAY};
use stockade_enforcer_common::head::{
    CLASS_UNKNOWN_POD, DIRECT_CLASSES, Head, NEEDS_CAPABILITIES, NEEDS_MARKS, NEEDS_NAMESPACES, NEEDS_PROCESS, RuleRow,
};
use stockade_enforcer_common::key::{MAX_TEXT, NumKey};
use stockade_enforcer_common::limit::scope;
use stockade_enforcer_common::name::hook_map;
use stockade_policy::ir::{ArgTest, Hook, RateLimit, RateScope};
use zerocopy::IntoBytes;

use super::dimensions::{Binaries, chunk_mask};
use super::fields::{Fields, set};
use super::masks;
use super::nested::{self, Value};
use super::tests_of::{CompiledRule, Limit, Test};
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
        let returned = selector.on_return.iter().flat_map(|on_return| &on_return.args);
        let args = selector.args.iter().chain(returned).filter_map(|filter| match &filter.test {
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
    rules: &mut [CompiledRule],
    fields: &Fields,
    context: &Context,
) -> (Head, BTreeMap<&'static str, Table>) {
    let (singles, multis, lows) = fields.layout();
    let mut head = Head { words: fields.words(), singles, multis, lows, ..Head::EMPTY };
    masks::number(rules, &mut head);
    let rules = &*rules;
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
        dimension::CAPABILITIES.. => {
            NEEDS_CAPABILITIES + (dimension - dimension::CAPABILITIES) as usize / dimension::MASK_CHUNKS
        }
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
    chunks(dimension, tests, &asked, vectors, tables);
    let mut insert = |value: &Value, inside: &Inside| {
        let number = vectors.number(Vector::new(inside.rules));
        // A value that satisfies what any other does needs no row, unless rows nest.
        if (number != default || value.nests())
            && let Some((table, key)) = value.key(dimension)
        {
            tables.entry(table).or_default().insert(key, number.to_ne_bytes().to_vec());
        }
    };
    let listed = asked.listed(dimension, &context.binaries);
    nested::outside_in(listed, |outer, listing| asked.inside(outer, &listing), &mut insert);
}

/// What rules ask of one dimension.
struct Tests<'a> {
    /// By rule, numbered: all of them have to hold.
    by_rule: BTreeMap<u32, Vec<(usize, &'a Test)>>,
    /// The rules that a value satisfies that nobody lists.
    default: Words,
}

/// A test: its rule and its number.
type TestOf = (u32, usize);

/// What is known of a value.
struct Inside {
    /// The tests whose sets contain it.
    tests: BTreeSet<TestOf>,
    /// The rules that it satisfies.
    rules: Words,
}

impl<'a> Tests<'a> {
    fn of(tests: &[(u32, &'a Test)], rules: &[CompiledRule]) -> Self {
        let mut by_rule: BTreeMap<u32, Vec<(usize, &Test)>> = BTreeMap::new();
        for (number, (rule, test)) in tests.iter().enumerate() {
            by_rule.entry(*rule).or_default().push((number, test));
        }
        // A probe's rule is judged by its class alone; left out here, it keeps no vector from being empty.
        let asking = rules.iter().filter(|rule| !rule.probe);
        let mut default = Vector::of(asking.map(|rule| rule.number as usize)).words;
        for (rule, tests) in &by_rule {
            put(&mut default, *rule, tests.iter().all(|(_, test)| test.holds_elsewhere()));
        }
        Self { by_rule, default }
    }

    /// The values that need rows, each with the tests that list it. Of binaries, every value that is listed on the node: an
    /// executable is known by the longest that it matches.
    fn listed(&self, dimension: u32, binaries: &Binaries) -> BTreeMap<Value, Vec<TestOf>> {
        let mut listed: BTreeMap<Value, Vec<TestOf>> =
            binaries.values(dimension).map(|value| (value, Vec::new())).collect();
        for (rule, tests) in &self.by_rule {
            for (number, test) in tests {
                for value in test.set.values(dimension) {
                    listed.entry(value).or_default().push((*rule, *number));
                }
            }
        }
        listed
    }

    /// What is known of a value that these tests list. A rule that lists neither the value nor one around it thinks of it as of
    /// any other, and one that lists nothing new as of the value around it.
    fn inside(&self, outer: Option<&Inside>, listing: &[TestOf]) -> Inside {
        let (mut tests, mut rules) =
            outer.map_or_else(|| (BTreeSet::new(), self.default), |outer| (outer.tests.clone(), outer.rules));
        tests.extend(listing);
        for (rule, _) in listing {
            let asked = self.by_rule.get(rule).into_iter().flatten();
            let holds = { asked }.all(|(number, test)| test.negated != tests.contains(&(*rule, *number)));
            put(&mut rules, *rule, holds);
        }
        Inside { tests, rules }
    }

    /// The rules that a chunk of marks satisfies.
    fn chunk(&self, holds: impl Fn(&Test) -> bool) -> Vector {
        let mut rules = self.default;
        for (rule, tests) in &self.by_rule {
            put(&mut rules, *rule, tests.iter().all(|(_, test)| holds(test)));
        }
        Vector::new(rules)
    }
}

/// Sets or clears a rule's bit.
fn put(words: &mut Words, rule: u32, is: bool) {
    if let Some(word) = words.get_mut(rule as usize / 64) {
        let bit = 1 << (rule % 64);
        *word = if is { *word | bit } else { *word & !bit };
    }
}

/// The rows of a chunk of marks, for every value of the bits that tests ask about: what holds, and, where executions are
/// asked about, what may hold and what that leaves open if one is unknown.
fn chunks(
    dimension: u32,
    tests: &[(u32, &Test)],
    asked: &Tests<'_>,
    vectors: &mut Vectors,
    tables: &mut BTreeMap<&'static str, Table>,
) {
    let mask = chunk_mask(tests, |_| true);
    if mask == 0 {
        return;
    }
    let mut insert = |value: u64, number: u32| {
        let (table, key) = nested::numeric(dimension, value);
        tables.entry(table).or_default().insert(key, number.to_ne_bytes().to_vec());
    };
    // Marks have bits that other hooks ask about.
    if dimension < dimension::ARGUMENTS {
        insert(CHUNK_MASK, u32::from(mask));
    }
    let default = vectors.number(Vector::new(asked.default));
    let binaries = chunk_mask(tests, |binary| binary) != 0;
    // 0 is the value of a dimension of another kind, too.
    for chunk in (0..=u8::MAX).filter(|chunk| chunk & !mask == 0) {
        let number = vectors.number(asked.chunk(|test| test.holds_in(chunk)));
        if number != default {
            insert(u64::from(chunk), number);
        }
        if binaries {
            let may = asked.chunk(|test| test.is_doubtful(chunk) || test.holds_in(chunk));
            insert(u64::from(chunk) | CHUNK_MAY, vectors.number(may));
            let doubtful = tests.iter().filter(|(_, test)| test.is_doubtful(chunk)).map(|(rule, _)| *rule as usize);
            insert(u64::from(chunk) | CHUNK_DOUBT, vectors.number(Vector::of(doubtful)));
        }
    }
}

fn actions(rules: &[CompiledRule], head: &mut Head, tables: &mut BTreeMap<&'static str, Table>) {
    let mut rows: BTreeMap<u32, RuleRow> = BTreeMap::new();
    for rule in rules {
        let CompiledRule { number, deny, signal, post, monitor, fault_deny, limit, .. } = rule;
        let bits = [
            (&mut head.deny, deny.is_some()),
            (&mut head.signal, signal.is_some()),
            (&mut head.post, *post),
            (&mut head.monitor, *monitor),
            (&mut head.fault_deny, *fault_deny),
            (&mut head.limited, limit.is_some()),
        ];
        for (words, is) in bits {
            if is {
                set(words, *number);
            }
        }
        let mut row = RuleRow { errno: deny.unwrap_or(0), signal: signal.unwrap_or(0), ..RuleRow::default() };
        if let Some(Limit { limit: RateLimit { seconds, scope }, window, args }) = *limit {
            let scope = match scope {
                RateScope::Thread => scope::THREAD,
                RateScope::Process => scope::PROCESS,
                RateScope::Global => scope::GLOBAL,
            };
            row = RuleRow { scope, seconds, window, args, ..row };
        }
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
