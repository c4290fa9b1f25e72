use super::*;
use crate::dimension::{argument, insert};
use crate::key::{LpmStrKey, NumKey};
use crate::process::Inherited;
use std::collections::BTreeMap;

/// The tables of a hook on the host.
#[derive(Default)]
struct Rows {
    numbers: BTreeMap<NumKey, u32>,
    whole: BTreeMap<(u32, Vec<u8>), u32>,
    prefixes: BTreeMap<LpmStrKey, u32>,
    vectors: Vec<Vector>,
    rules: Vec<RuleRow>,
}

impl Rows {
    fn vector_of(&mut self, rules: &[usize]) -> u32 {
        if self.vectors.is_empty() {
            self.vectors.push(Vector::EMPTY);
        }
        self.vectors.push(Vector::of(rules.iter().copied()));
        (self.vectors.len() - 1) as u32
    }

    fn longest(&self, wanted: &LpmStrKey) -> Option<u32> {
        let matching = self.prefixes.iter().filter(|(key, _)| key.covers(wanted));
        matching.max_by_key(|(key, _)| key.prefix_length).map(|(_, vector)| *vector)
    }
}

impl<'a> Tables for &'a Rows {
    type Text = &'a [u8];

    fn number(&self, dimension: u32, value: u64) -> Option<u32> {
        self.numbers.get(&NumKey::new(dimension, value)).copied()
    }
    fn whole(&self, dimension: u32, text: &[u8]) -> Option<u32> {
        self.whole.get(&(dimension, text.to_vec())).copied()
    }
    fn prefix(&self, dimension: u32, text: &[u8]) -> Option<u32> {
        self.longest(&LpmStrKey::prefix(dimension, text)?)
    }
    fn postfix(&self, dimension: u32, text: &[u8]) -> Option<u32> {
        self.longest(&LpmStrKey::postfix(dimension, text)?)
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
    fn vector(&self, number: u32) -> Option<&Vector> {
        self.vectors.get(number as usize)
    }
    fn rule(&self, rule: u32) -> Option<RuleRow> {
        self.rules.get(rule as usize).copied()
    }
}

struct Happening<'a> {
    class: u32,
    number: Result<u64, Unreadable>,
    path: Result<&'a [u8], Unreadable>,
    paths_built: u32,
}

impl<'a> Event for Happening<'a> {
    type Text = &'a [u8];

    fn kind(&self, arg: u32) -> u32 {
        [kind::INT, kind::FILE, kind::NONE, kind::NONE, kind::NONE][arg as usize]
    }
    fn class(&self) -> u32 {
        self.class
    }
    fn inherited(&mut self) -> Result<Inherited, Unreadable> {
        Ok(Inherited::default())
    }
    fn binary(&mut self, _: u64, _: u32) -> Result<BinaryIds, Unreadable> {
        Err(Unreadable)
    }
    fn pid(&mut self) -> u32 {
        1
    }
    fn own_pid(&mut self) -> Result<u32, Unreadable> {
        Err(Unreadable)
    }
    fn namespace(&mut self, _: u32) -> Result<u32, Unreadable> {
        Err(Unreadable)
    }
    fn capabilities(&mut self, _: u32) -> Result<u64, Unreadable> {
        Err(Unreadable)
    }
    fn number(&mut self, _: u32) -> Result<u64, Unreadable> {
        self.number
    }
    fn socket(&mut self, _: u32) -> Result<&SocketData, Unreadable> {
        Err(Unreadable)
    }
    fn text(&mut self, _: u32) -> Result<&'a [u8], Unreadable> {
        self.paths_built += 1;
        self.path
    }
}

/// Policy A: rules 0, 1 (guard 2). Policy B: rule 3. Policy C, in another word: rules 64, 65 (guard 66).
/// Rule 0: number 7. Rule 1: path under /etc/. Rule 3: number not 7. Rules 64: path /etc/passwd; 65: everything.
/// Rules 0 and 1 deny with errno 13 and 1, rule 3 signals, C is in monitor mode and denies.
fn hook() -> (Head, Rows) {
    let (mut head, mut rows) = (Head::EMPTY, Rows::default());
    let none = rows.vector_of(&[]);
    let everything = rows.vector_of(&[0, 1, 3, 64, 65]);
    head.generation = 9;
    head.words = 2;
    head.scope_any[0] = 0b10;
    (head.singles[0], head.multis[0], head.lows[0]) = (0b1000, 0b11, 0b1);
    (head.multis[1], head.lows[1]) = (0b11, 0b1);
    (head.deny[0], head.deny[1], head.monitor[1]) = (0b11, 0b11, 0b11);
    (head.signal[0], head.post[0], head.post[1]) = (0b1000, 0b1011, 0b11);
    rows.rules = vec![RuleRow::default(); 128];
    rows.rules[0].errno = 13;
    rows.rules[1].errno = 1;
    rows.rules[3].signal = 9;
    head.defaults[dimension::SCOPE as usize] = none;
    head.scope[1] = everything;
    let number = argument(0, Facet::Number);
    insert(&mut head.used, number);
    let seven = rows.vector_of(&[0, 1, 64, 65]);
    rows.numbers.insert(NumKey::new(number, 7), seven);
    head.defaults[number as usize] = rows.vector_of(&[1, 3, 64, 65]);
    head.needs[0] = rows.vector_of(&[0, 3]);
    let (whole, prefix) = (argument(1, Facet::Whole), argument(1, Facet::Prefix));
    insert(&mut head.used, whole);
    insert(&mut head.used, prefix);
    let passwd = rows.vector_of(&[0, 1, 3, 64, 65]);
    rows.whole.insert((whole, b"/etc/passwd".to_vec()), passwd);
    head.defaults[whole as usize] = rows.vector_of(&[0, 1, 3, 65]);
    rows.prefixes.insert(LpmStrKey::prefix(prefix, b"/etc/").unwrap(), everything);
    head.defaults[prefix as usize] = rows.vector_of(&[0, 3, 64, 65]);
    head.needs[1] = rows.vector_of(&[1, 64]);
    (head, rows)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Matched,
    Denied,
    WouldDeny,
    Faulted,
    FaultDenied,
}

#[derive(Default, Debug, PartialEq)]
struct Seen {
    counts: Vec<(u32, Effect)>,
    signals: Vec<u8>,
    uncounted: bool,
}

impl Effects for Seen {
    fn count(&mut self, rule: u32, tally: Tally) {
        let effect = match (tally.matched, tally.denied, tally.would_deny, tally.faults) {
            (1, 0, 0, 0) => Effect::Matched,
            (1, 1, 0, 0) => Effect::Denied,
            (1, 0, 1, 0) => Effect::WouldDeny,
            (0, 0, 0, 1) => Effect::Faulted,
            (0, 1, 0, 1) => Effect::FaultDenied,
            other => panic!("{other:?}"),
        };
        self.counts.push((rule, effect));
    }
    fn send(&mut self, signal: u8) {
        self.signals.push(signal);
    }
    fn uncounted(&mut self) {
        self.uncounted = true;
    }
}

fn run(
    head: &Head,
    rows: &Rows,
    class: u32,
    number: Result<u64, Unreadable>,
    path: Result<&[u8], Unreadable>,
) -> Option<(Outcome, u16, Seen, u32)> {
    let (mut work, mut seen) = (Work { possible: [u64::MAX; 16], faulted: [u64::MAX; 16] }, Seen::default());
    let mut event = Happening { class, number, path, paths_built: 0 };
    let outcome = decide(head, &rows, &mut event, &mut work)?;
    let errno = carry_out(head, &rows, &work, &outcome, &mut seen);
    Some((outcome, errno, seen, event.paths_built))
}

#[test]
fn the_first_rule_of_each_policy_fires() {
    let (head, rows) = hook();
    let (outcome, errno, seen, _) = run(&head, &rows, 1, Ok(7), Ok(b"/etc/passwd")).unwrap();
    assert_eq!(seen.counts, [(0, Effect::Denied), (64, Effect::WouldDeny)]);
    assert_eq!((errno, outcome.deny, outcome.signal, outcome.would_deny, outcome.post), (13, true, false, true, true));
    let (outcome, errno, seen, _) = run(&head, &rows, 1, Ok(8), Ok(b"/etc/shadow")).unwrap();
    assert_eq!(seen.counts, [(1, Effect::Denied), (3, Effect::Denied), (65, Effect::WouldDeny)]);
    assert_eq!((errno, outcome.deny, outcome.signal), (1, true, true));
    assert_eq!(seen.signals, [9]);
}

#[test]
fn a_class_without_rules_ends_before_anything_is_read() {
    let (head, rows) = hook();
    assert_eq!(run(&head, &rows, 0, Err(Unreadable), Err(Unreadable)), None);
    // Beyond the shortcut's bits the row decides.
    assert_eq!(run(&head, &rows, 5000, Err(Unreadable), Err(Unreadable)), None);
}

#[test]
fn an_unreadable_path_faults_the_rules_that_need_it_and_come_first() {
    let (mut head, rows) = hook();
    // Rule 0 matches and comes before rule 1, which needs the path: no fault for A. C's first rule needs it.
    let (outcome, errno, seen, _) = run(&head, &rows, 1, Ok(7), Err(Unreadable)).unwrap();
    assert_eq!(seen.counts, [(0, Effect::Denied), (64, Effect::Faulted)]);
    assert_eq!((errno, outcome.faulted, outcome.fired), (13, 0b10, 0b1));
    // With another number rule 1 is first and cannot be judged: allowed, reported.
    let (outcome, errno, seen, _) = run(&head, &rows, 1, Ok(8), Err(Unreadable)).unwrap();
    assert_eq!(seen.counts, [(1, Effect::Faulted), (3, Effect::Denied), (64, Effect::Faulted)]);
    assert_eq!((errno, outcome.deny, outcome.post), (0, false, true));
    // onFault: Deny.
    head.fault_deny[0] = 0b11;
    let (outcome, errno, seen, _) = run(&head, &rows, 1, Ok(8), Err(Unreadable)).unwrap();
    assert_eq!(seen.counts[0], (1, Effect::FaultDenied));
    assert_eq!((errno, outcome.deny), (1, true));
}

#[test]
fn a_path_is_built_only_if_a_possible_rule_needs_it() {
    let (mut head, mut rows) = hook();
    assert_eq!(run(&head, &rows, 1, Ok(7), Ok(b"/x")).unwrap().3, 1);
    let few = rows.vector_of(&[0, 3]);
    let everything = std::mem::replace(&mut head.scope[1], few);
    // They post: the event contains the path.
    assert_eq!(run(&head, &rows, 1, Ok(7), Ok(b"/x")).unwrap().3, 1);
    head.scope[1] = everything;
    head.post = [0; 16];
    // The class has only rules that do not need the path.
    let few = rows.vector_of(&[0, 3]);
    head.scope[1] = few;
    let (_, _, seen, built) = run(&head, &rows, 1, Ok(7), Err(Unreadable)).unwrap();
    assert_eq!((seen.counts, built), (vec![(0, Effect::Denied)], 0));
}

#[test]
fn a_given_up_check_denies_only_where_an_enforcing_rule_could() {
    let (mut head, rows) = hook();
    assert!(contended(&head, &&rows, 2, 1));
    assert!(!contended(&head, &&rows, 2, 0));
    head.monitor[0] = 0b11;
    assert!(!contended(&head, &&rows, 2, 1));
}

#[test]
fn more_winners_than_are_counted_still_deny() {
    let (mut head, mut rows) = (Head::EMPTY, Rows::default());
    let all: Vec<usize> = (0..1024).collect();
    head.scope[0] = rows.vector_of(&all);
    head.words = 16;
    head.scope_any[0] = 1;
    head.singles = [u64::MAX; 16];
    head.deny[15] = 1 << 63;
    let (outcome, errno, seen, _) = run(&head, &rows, 0, Ok(0), Ok(b"/")).unwrap();
    assert_eq!((outcome.deny, errno, seen.counts.len(), seen.uncounted), (true, EPERM, MAX_COUNTED as usize, true));
}

/// Every assignment of what two policies' rules say about two numbers, judged by hand.
#[test]
fn small_hooks_agree_with_a_walk_over_policies() {
    for rules in 0..4u64.pow(4) {
        // Rule r of policy p satisfies number 0 (bit 0) and number 1 (bit 1).
        let says = |rule: u64, number: u64| rules >> (2 * rule) >> number & 1 == 1;
        let (mut head, mut rows) = (Head::EMPTY, Rows::default());
        head.words = 1;
        head.scope_any[0] = 1;
        // Policy 0: rules 0, 1, guard 2; policy 1: rules 3, 4, guard 5.
        let bits = [0usize, 1, 3, 4];
        (head.multis[0], head.lows[0]) = (0b01_1011, 0b00_1001);
        head.scope[0] = rows.vector_of(&bits);
        let number = argument(0, Facet::Number);
        insert(&mut head.used, number);
        for value in 0..2 {
            let satisfied: Vec<_> = (0..4).filter(|rule| says(*rule, value)).map(|rule| bits[rule as usize]).collect();
            let vector = rows.vector_of(&satisfied);
            rows.numbers.insert(NumKey::new(number, value), vector);
        }
        for value in 0..2 {
            let mut expected = Vec::new();
            for policy in 0..2 {
                expected.extend(
                    (2 * policy..2 * policy + 2).find(|rule| says(*rule, value)).map(|r| bits[r as usize] as u32),
                );
            }
            let got = run(&head, &rows, 0, Ok(value), Ok(b"/")).map(|(_, _, seen, _)| seen.counts).unwrap_or_default();
            assert_eq!(got.into_iter().map(|(rule, _)| rule).collect::<Vec<_>>(), expected, "{rules:08b} {value}");
        }
    }
}

#[test]
fn an_outcome_is_a_number_and_back() {
    for bits in 0..1u64 << 12 {
        let packed = bits | bits << 12 | bits << 24;
        let outcome = Outcome::unpacked(packed);
        assert_eq!(outcome.packed(), packed);
        assert_eq!(outcome.rules(), outcome.fired | outcome.faulted);
    }
    let outcome = Outcome { fired: 0x8001, faulted: 2, deny: true, post: true, ..Outcome::default() };
    assert_eq!(Outcome::unpacked(outcome.packed()), outcome);
}
