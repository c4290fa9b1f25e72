//! Nothing that a person can send makes the validator slow: every answer comes within a second, and is faults with a path.
//! How much memory it takes is tried with the whole command (`cli/tests/bad_input.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use stockade_policy::language::limits::{LIMITS, MAX_WRITTEN_OUT};
use stockade_policy::{Judgement, digest, judge};

/// A second of a CPU for code that is optimised; tests usually are not.
const LONG: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// How long this thread has run; what else the machine does is no part of it.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn timed(spec: &Value) -> Judgement {
    timed_object(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec,
    }))
}

fn timed_object(object: &Value) -> Judgement {
    let start = cpu_time();
    let judgement = judge(object);
    let took = cpu_time() - start;
    assert!(took < LONG, "{took:?}: {:.300}", object.to_string());
    assert!(judgement.faults.len() <= 101 && judgement.warnings.len() <= 101);
    assert_eq!(judgement.policy.is_none(), !judgement.faults.is_empty());
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

fn codes(judgement: &Judgement) -> Vec<&'static str> {
    let mut codes: Vec<_> = judgement.faults.iter().map(|fault| fault.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// A filter on pids with this many values.
fn pids(count: u32) -> Value {
    json!([{"operator": "In", "values": (1..=count).collect::<Vec<_>>(), "followForks": true}])
}

#[test]
fn hundreds_of_thousands_of_nothings_are_refused_at_once() {
    for nothing in [json!({}), json!(null), json!([]), json!(1), json!("")] {
        let many = vec![nothing; if cfg!(debug_assertions) { 30_000 } else { 240_000 }];
        for spec in [
            json!({"kprobes": many}),
            json!({"lsmhooks": [{"hook": "file_open", "selectors": many}]}),
            json!({"lsmhooks": [{"hook": "file_open", "args": many}]}),
            json!({"lsmhooks": [{"hook": "file_open", "tags": many}]}),
            json!({"lsmhooks": [{"hook": "file_open", "selectors": [{"matchArgs": many}]}]}),
            json!({"lsmhooks": [{"hook": "file_open", "selectors": [{"matchActions": many}]}]}),
            json!({"lsmhooks": [{"hook": "file_open", "selectors": [{"matchPIDs": [{"values": many}]}]}]}),
            json!({"lists": many}),
            json!({"options": many}),
            json!({"podSelector": {"matchExpressions": many}}),
        ] {
            assert!(timed(&spec).policy.is_none());
        }
    }
    let fields: serde_json::Map<String, Value> = (0..60_000).map(|n| (format!("f{n}"), json!({}))).collect();
    assert_eq!(timed(&json!(fields)).faults.last().map(|fault| fault.code), Some("TooManyFaults"));
    timed(&json!({"selectorsMacros": fields}));
    timed(&json!({"podSelector": {"matchLabels": fields}}));
}

/// What is written once and meant often: small documents that would be large ones if they were written out.
#[test]
fn what_would_be_large_if_it_were_written_out_is_refused_with_the_limit() {
    let refused = |spec: Value| {
        let judgement = timed(&spec);
        let limit = MAX_WRITTEN_OUT.to_string();
        let said = |fault: &stockade_policy::Fault| fault.code == "TooMany" && fault.message.contains(&limit);
        assert!(judgement.faults.iter().any(said), "{:.2000}", format!("{:?}", judgement.faults));
    };
    let functions: Vec<String> = (0..4000).map(|n| format!("f{n}")).collect();
    let of_list = |count: usize, selectors: Value| {
        vec![json!({"call": "list:l", "syscall": false, "selectors": selectors}); count]
    };
    let lists = json!([{"name": "l", "values": functions}]);
    // Of one list, of several hooks together, and with one long text instead of many values.
    refused(json!({"kprobes": of_list(1, json!([{"matchPIDs": pids(40)}])), "lists": lists}));
    refused(json!({"kprobes": of_list(9, json!([{"matchPIDs": pids(2)}])), "lists": lists}));
    let names = json!([{"name": "l", "values": (0..600).map(|n| format!("f{n}")).collect::<Vec<_>>()}]);
    refused(json!({"kprobes": of_list(5000, json!([])), "lists": names}));
    let long: Vec<String> = (0..40).map(|n| format!("/{n}{}", "a".repeat(250))).collect();
    refused(
        json!({"kprobes": of_list(1, json!([{"matchBinaries": [{"operator": "In", "values": long}]}])), "lists": lists}),
    );
    // Macros.
    let macros = json!({"m": {"matchPIDs": pids(2000)}});
    let selectors = vec![json!({"macros": ["m"]}); 900];
    refused(json!({"lsmhooks": [{"hook": "file_open", "selectors": selectors}], "selectorsMacros": macros}));
    let hooks: Vec<Value> = (0..900)
        .map(|n| json!({"call": format!("f{n}"), "syscall": false, "selectors": [{"macros": ["m"]}]}))
        .collect();
    refused(json!({"kprobes": hooks, "selectorsMacros": macros}));
    // A list that filters name.
    let calls: Vec<String> = (0..4000).map(|n| format!("sys_c{n}")).collect();
    let in_map = json!([{"matchArgs": [{"index": 4, "operator": "InMap", "values": ["list:l"]}]}]);
    let hooks: Vec<Value> = (0..100)
        .map(|n| json!({"subsystem": "raw_syscalls", "event": format!("e{n}"), "args": [{"index": 4, "type": "syscall64"}], "selectors": in_map}))
        .collect();
    refused(json!({"tracepoints": hooks, "lists": [{"name": "l", "type": "syscalls", "values": calls}]}));
}

#[test]
fn the_limit_of_what_is_written_out_is_in_the_schema_and_the_documentation() {
    let limit = MAX_WRITTEN_OUT.to_string();
    let schema = stockade_crds::schema::policy_schema_of(stockade_crds::PolicyKind::Cluster).to_string();
    assert!(schema.matches(&limit).count() >= 2);
    assert!(LIMITS.iter().any(|(_, most)| most.to_string() == limit));
}

#[test]
fn thousands_of_names_are_not_compared_with_thousands() {
    let lists: Vec<Value> = (0..12_000).map(|n| json!({"name": format!("l{n}"), "values": ["f"]})).collect();
    let calls = |prefix: &str| -> Vec<Value> {
        (0..12_000).map(|n| json!({"call": format!("list:{prefix}{n}"), "syscall": false})).collect()
    };
    assert!(codes(&timed(&json!({"kprobes": calls("x"), "lists": lists}))).contains(&"ListUndefined"));
    assert!(codes(&timed(&json!({"kprobes": calls("l"), "lists": lists}))).contains(&"TooMany"));
    let macros: serde_json::Map<String, Value> =
        (0..5000).map(|n| (format!("m{n}"), json!({"matchPIDs": pids(1)}))).collect();
    let unknown: Vec<String> = (0..5000).map(|n| format!("x{n}")).collect();
    timed(&json!({"lsmhooks": [{"hook": "file_open", "selectors": [{"macros": unknown}]}], "selectorsMacros": macros}));
}

#[test]
fn numbers_that_no_field_can_hold_are_faults_at_their_places() {
    for number in [
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(-0.5),
        json!(1_u64 << 53),
        json!(f64::NAN),
        json!(f64::INFINITY),
    ] {
        let judgement =
            timed(&json!({"kprobes": [{"call": "f", "syscall": false, "args": [{"index": number, "type": "int"}]}]}));
        let path = "spec.kprobes[0].args[0].index";
        assert!(judgement.faults.iter().any(|fault| fault.path == path), "{number}: {:?}", judgement.faults);
    }
    let digits = "9".repeat(500_000);
    for text in [digits.as_str(), "NaN", "inf", "1e3", "0x", "-", "18446744073709551616", "٣", "1\0"] {
        let judgement = timed(&on_number("uint64", &json!([{"operator": "Equal", "values": [text]}])));
        let path = "spec.kprobes[0].selectors[0].matchArgs[0].values[0]";
        assert!(judgement.faults.iter().any(|fault| fault.path == path), "{:?}", judgement.faults);
    }
}

#[test]
fn megabyte_strings_are_refused_wherever_they_are() {
    let long = "x".repeat(1_000_000);
    let hook = |field: &str, value: Value| json!({"lsmhooks": [{"hook": "file_open", field: value}]});
    for spec in [
        json!({"lsmhooks": [{"hook": long}]}),
        json!({"kprobes": [{"call": format!("list:{long}"), "syscall": false}]}),
        hook("message", json!(long)),
        hook("tags", json!([long])),
        hook("args", json!([{"index": 0, "type": long}])),
        hook("args", json!([{"index": 0, "type": "file", "resolve": long}])),
        hook("selectors", json!([{"macros": [long]}])),
        hook("selectors", json!([{"matchBinaries": [{"operator": "In", "values": [format!("/{long}")]}]}])),
        hook("selectors", json!([{"matchBinaries": [{"operator": long, "values": ["/a"]}]}])),
        hook("selectors", json!([{"matchActions": [{"action": long}]}])),
        hook("selectors", json!([{"matchNamespaces": [{"namespace": "Pid", "operator": "In", "values": [long]}]}])),
        hook("selectors", json!([{"matchCapabilities": [{"type": "Effective", "operator": "In", "values": [long]}]}])),
        hook("selectors", json!([{long.clone(): 1}])),
        json!({long.clone(): 1}),
        json!({"podSelector": {"matchLabels": {long.clone(): "a"}}}),
        json!({"lists": [{"name": long, "values": ["f"]}]}),
        json!({"options": [{"name": long, "value": "1"}]}),
        on_number("uint32", &json!([{"operator": "CelExpr", "values": [long]}])),
        on_number("uint32", &json!([{"operator": "Mask", "values": [long]}])),
    ] {
        assert!(timed(&spec).policy.is_none(), "{:.200}", spec.to_string());
    }
    let object = |kind: &str, name: &str| json!({"apiVersion": "cilium.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": {}});
    assert!(codes(&timed_object(&object(&long, "p"))).contains(&"WrongKind"));
    assert!(codes(&timed_object(&object("TracingPolicy", &long))).contains(&"InvalidName"));
}
