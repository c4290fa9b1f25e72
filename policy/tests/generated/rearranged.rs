//! The same document with its keys and sets in another order.

use serde_json::{Map, Value};

/// Lists in which order and repetition mean nothing.
const SETS: [&str; 24] = [
    "values",
    "matchPIDs",
    "matchArgs",
    "matchBinaries",
    "matchNamespaces",
    "matchActions",
    "matchExpressions",
    "options",
    "kprobes",
    "lsmhooks",
    "tracepoints",
    "fentries",
    "matchParentBinaries",
    "matchNamespaceChanges",
    "matchCapabilities",
    "matchCapabilityChanges",
    "matchData",
    "matchReturnArgs",
    "matchReturnActions",
    "macros",
    "calls",
    "binaryDigests",
    "usdts",
    "argRegs",
];

/// The same document with its keys in another order, and its sets in another order with, if `repeated`, some elements several
/// times. `roll` decides: a number below the one that it is given.
pub(crate) fn rearranged(value: &Value, name: &str, repeated: bool, roll: &mut dyn FnMut(usize) -> usize) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> =
                map.iter().map(|(key, value)| (key.clone(), rearranged(value, key, repeated, roll))).collect();
            shuffle(&mut entries, roll);
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(values) => {
            let mut values: Vec<_> = values.iter().map(|value| rearranged(value, "", repeated, roll)).collect();
            if SETS.contains(&name) {
                if repeated && !values.is_empty() {
                    for _ in 0..roll(3) {
                        values.push(values[roll(values.len())].clone());
                    }
                }
                shuffle(&mut values, roll);
            }
            Value::Array(values)
        }
        other => other.clone(),
    }
}

fn shuffle<T>(values: &mut [T], roll: &mut dyn FnMut(usize) -> usize) {
    for last in (1..values.len()).rev() {
        values.swap(last, roll(last + 1));
    }
}
