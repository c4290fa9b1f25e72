//! Nothing that a person can send makes the validator slow: every answer comes within a second, and is faults with a path.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_policy::{Judgement, digest, judge};

/// A second on a machine that does nothing else, for code that is optimised; tests are neither.
const LONG: Duration = Duration::from_secs(20);

fn timed(spec: &Value) -> Judgement {
    let object = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec,
    });
    let start = Instant::now();
    let judgement = judge(&object);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    assert!(judgement.faults.len() <= 101);
    for fault in &judgement.faults {
        assert!(!fault.path.is_empty() && fault.to_string().len() < 1000, "{fault}");
    }
    judgement
}

fn on_file(filter: &Value) -> Value {
    json!({"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}], "selectors": [{"matchArgs": [filter]}]}]})
}

fn on_number(ty: &str, filters: &Value) -> Value {
    json!({"kprobes": [{"call": "f", "syscall": false, "args": [{"index": 0, "type": ty}], "selectors": [{"matchArgs": filters}]}]})
}

#[test]
fn a_hundred_thousand_values_are_judged() {
    let numbers: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let policy = timed(&on_number("uint32", &json!([{"operator": "Equal", "values": numbers}]))).policy.unwrap();
    let range = timed(&on_number("uint32", &json!([{"operator": "InRange", "values": ["0:99999"]}]))).meaning.unwrap();
    // However a set is written, it is one set.
    assert_eq!(digest(&policy), digest(&range));
    let paths: Vec<String> = (0..100_000).map(|n| format!("/{n}")).collect();
    for operator in ["Equal", "Prefix", "Postfix", "NotPrefix"] {
        timed(&on_file(&json!({"operator": operator, "values": paths})));
    }
    let wrong: Vec<String> = (0..100_000).map(|n| format!("x{n}")).collect();
    assert_eq!(timed(&on_number("uint32", &json!([{"operator": "Equal", "values": wrong}]))).faults.len(), 101);
    timed(&on_file(&json!({"operator": "SubString", "values": paths})));
    let addresses: Vec<String> = (0..60_000).map(|n| format!("10.{}.{}.1", n / 256, n % 256)).collect();
    timed(&json!({"kprobes": [{"call": "tcp_connect", "syscall": false, "args": [{"index": 0, "type": "sock"}],
        "selectors": [{"matchArgs": [{"operator": "DAddr", "values": addresses}]}]}]}));
}

#[test]
fn huge_ranges_and_lists_cost_nothing() {
    let filters: Vec<Value> =
        (0..60).map(|n| json!({"operator": "InMap", "values": [format!("{n}:18446744073709551615")]})).collect();
    timed(&on_number("uint64", &json!(filters)));
    let calls: Vec<String> = (0..50_000).map(|n| format!("f{n}")).collect();
    let hooks: Vec<Value> = (0..10).map(|_| json!({"call": "list:all", "syscall": false})).collect();
    timed(&json!({"kprobes": hooks, "lists": [{"name": "all", "values": calls}]}));
    let unknown: Vec<String> = (0..50_000).map(|n| format!("sys_open{n}")).collect();
    timed(
        &json!({"kprobes": [{"call": "list:all"}], "lists": [{"name": "all", "type": "syscalls", "values": unknown}]}),
    );
}

#[test]
fn macros_that_name_themselves_end() {
    let macros: Value = (0..500)
        .map(|n| (format!("m{n}"), json!({"macros": [format!("m{}", (n + 1) % 500)]})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let judgement = timed(&json!({
        "lsmhooks": [{"hook": "file_open", "selectors": [{"macros": ["m0", "m0", "m1"]}]}], "selectorsMacros": macros,
    }));
    assert!(judgement.faults.iter().any(|fault| fault.code == "MacroNested"));
    let used: Vec<String> = (0..500).map(|n| format!("m{n}")).collect();
    let wide: Value = used
        .iter()
        .map(|name| (name.clone(), json!({"matchPIDs": [{"operator": "In", "values": [1], "followForks": true}]})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    timed(&json!({"lsmhooks": [{"hook": "file_open", "selectors": [{"macros": used}]}], "selectorsMacros": wide}));
}

#[test]
fn deep_expressions_and_paths_end() {
    for text in [
        "(".repeat(100_000),
        "!".repeat(4000),
        "arg0 + ".repeat(580),
        "arg0 == 1 && ".repeat(300) + "true",
        "and(".repeat(1000),
    ] {
        timed(&on_number("uint32", &json!([{"operator": "CelExpr", "values": [text]}])));
    }
    timed(
        &json!({"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "int", "resolve": "a.".repeat(100_000)}]}]}),
    );
    timed(&json!({"lsmhooks": [{"hook": "x".repeat(500_000)}]}));
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({"matchLabels": [deep]});
    }
    timed(&json!({"lsmhooks": [{"hook": "file_open"}], "podSelector": deep}));
}
