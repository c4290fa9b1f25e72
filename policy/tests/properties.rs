//! What holds for every document, tried on many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

mod documents;
#[path = "generated/rearranged.rs"]
mod rearranged;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use rearranged::rearranged;
use serde_json::{Map, Value, json};
use stockade_policy::{Judgement, digest, judge};

static CORPUS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let paths = ["valid", "invalid", "language"].into_iter().flat_map(|folder| documents::all(folder).into_values());
    paths.map(|path| documents::read(&path)).collect()
});

/// A source of decisions: the n-th says what to do at the n-th place.
struct Dice {
    rolls: Vec<Index>,
    next: usize,
}

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.next = (self.next + 1) % self.rolls.len();
        self.rolls[self.next].index(sides)
    }
}

/// The classes of what is wrong: places move with what is rearranged, and there are more of them when it is repeated.
fn classes(judgement: &Judgement) -> BTreeSet<&'static str> {
    judgement.faults.iter().chain(&judgement.warnings).map(|fault| fault.code).collect()
}

/// Arbitrary JSON made of words that policies are made of.
fn anything() -> impl Strategy<Value = Value> {
    let word = select(vec![
        "",
        "In",
        "NotIn",
        "Equal",
        "Prefix",
        "DAddr",
        "NotDAddr",
        "SPort",
        "Sigkill",
        "Override",
        "file",
        "sock",
        "int",
        "10.0.0.0/8",
        "::ffff:10.0.0.0/64",
        "::/0",
        "010.1",
        "%",
        "1:0",
        "65535",
        "-1",
        "0x",
        "list:x",
        "security_é",
        "host_ns",
        "/",
        "\0",
        "🦀",
        "AF_INET",
        "sys_",
        "__x64_",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    let key = select(vec![
        "kprobes",
        "lsmhooks",
        "tracepoints",
        "call",
        "hook",
        "args",
        "index",
        "type",
        "selectors",
        "matchPIDs",
        "matchArgs",
        "matchBinaries",
        "matchNamespaces",
        "matchActions",
        "operator",
        "values",
        "action",
        "argError",
        "podSelector",
        "matchLabels",
        "matchExpressions",
        "key",
        "options",
        "name",
        "nonsense",
        "métadata",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
            }),
        ]
    })
}

/// Replaces the value at the n-th place of `value`.
fn replace(value: &mut Value, place: &mut usize, with: &Value) {
    if *place == 0 {
        *value = with.clone();
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(values) => values.iter_mut().collect(),
        _ => vec![],
    };
    for child in children {
        replace(child, place, with);
        if *place == usize::MAX {
            return;
        }
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(size).sum(),
        Value::Array(values) => values.iter().map(size).sum(),
        _ => 0,
    }
}

fn check_sound(judgement: &Judgement) {
    assert_eq!(judgement.policy.is_some(), judgement.faults.is_empty(), "{judgement:?}");
    let only_later = judgement.faults.iter().all(|fault| fault.code == "Unsupported");
    assert!(judgement.faults.len() > 100 || judgement.meaning.is_some() == only_later, "{judgement:?}");
    // What is wrong comes first, then what is only not carried out, then how many more there are.
    let rank = |code: &str| match code {
        "Unsupported" => 1,
        "TooManyFaults" => 2,
        _ => 0,
    };
    assert!(judgement.faults.is_sorted_by(|a, b| {
        rank(a.code) < rank(b.code) || (rank(a.code) == rank(b.code) && a.reading_order(b).is_le())
    }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_at_all_is_judged(value in anything()) {
        check_sound(&judge(&value));
        check_sound(&judge(&json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicyNamespaced", "metadata": value, "spec": value,
        })));
    }

    #[test]
    fn any_value_anywhere_in_a_document_is_judged(which: Index, place: Index, value in anything()) {
        let mut object = which.get(&CORPUS).clone();
        let mut place = place.index(size(&object));
        replace(&mut object, &mut place, &value);
        check_sound(&judge(&object));
    }

    #[test]
    fn order_and_repetition_mean_nothing(which: Index, rolls in prop::collection::vec(any::<Index>(), 50..100)) {
        let object = which.get(&CORPUS).clone();
        let mut dice = Dice { rolls, next: 0 };
        let other = rearranged(&object, "", true, &mut |sides| dice.roll(sides));
        let (judgement, again) = (judge(&object), judge(&other));
        prop_assert_eq!(classes(&judgement), classes(&again), "{}", other);
        prop_assert_eq!(
            judgement.meaning.as_ref().map(digest), again.meaning.as_ref().map(digest), "{}", other
        );
    }
}
