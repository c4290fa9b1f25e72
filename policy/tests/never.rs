//! Law 6: a selector is refused as one that never matches exactly when the reference model finds no event that it matches.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::net::Ipv6Addr;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use stockade_policy::model::{Ancestor, Argument, Process, Socket, decide};
use stockade_policy::{Judgement, judge};

/// Refusals that say "no event at all".
const NEVER: [&str; 5] = ["FilterNever", "AddrNever", "AddrFamilyNever", "PortNever", "PidContradiction"];

fn judged(selector: &Value) -> Judgement {
    judge(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"},
        "spec": {
            "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "node-1"}},
            "kprobes": [{
                "call": "tcp_close", "syscall": false,
                "args": [{"index": 0, "type": "sock"}, {"index": 1, "type": "int"}],
                "selectors": [selector],
            }],
        },
    }))
}

/// Whether any of `events` matches; `None` when the selector was refused for something else.
fn agrees<'e>(
    selector: &Value,
    mut events: impl Iterator<Item = (&'e Process, &'e [Argument])>,
) -> Option<(bool, bool)> {
    let judgement = judged(selector);
    match judgement.policy {
        Some(policy) => {
            let hook = &policy.hooks[0];
            Some((
                true,
                events.any(|(process, arguments)| decide(&policy, hook, process, arguments).selector.is_some()),
            ))
        }
        None if judgement.faults.iter().all(|fault| NEVER.contains(&fault.code)) => Some((false, false)),
        None => None,
    }
}

/// Sockets with every combination of what the filters below can tell apart.
static SOCKETS: LazyLock<Vec<[Argument; 2]>> = LazyLock::new(|| {
    let addresses: Vec<Ipv6Addr> =
        ["::ffff:10.0.0.1", "::ffff:10.1.0.1", "::ffff:11.0.0.1", "::ffff:12.0.0.1", "2001:db8::1", "::1", "2002::1"]
            .map(|address| address.parse().unwrap())
            .into();
    let mut sockets = Vec::new();
    for family in [2, 10] {
        for destination in addresses.iter().filter(|address| family == 10 || address.to_ipv4_mapped().is_some()) {
            for destination_port in [0, 79, 80, 443, 1023, 1024, 65535] {
                for protocol in [6, 17, 132] {
                    let source = "::1".parse().unwrap();
                    let socket = Socket {
                        family,
                        protocol,
                        source,
                        destination: *destination,
                        source_port: 1,
                        destination_port,
                        state: 1,
                    };
                    for number in [1, 2, 3] {
                        sockets.push([Argument::Socket(socket), Argument::Number(number)]);
                    }
                }
            }
        }
    }
    sockets
});

/// Processes whose own and whose ancestors' pids are any of four.
static PROCESSES: LazyLock<Vec<Process>> = LazyLock::new(|| {
    let mut lineages: Vec<Vec<u32>> = vec![vec![]];
    let mut from = 0;
    for _ in 0..4 {
        let to = lineages.len();
        for at in from..to {
            for pid in 1..=4 {
                let mut lineage = lineages[at].clone();
                lineage.push(pid);
                lineages.push(lineage);
            }
        }
        from = to;
    }
    let process = |lineage: &Vec<u32>| Process {
        lineage: lineage.iter().map(|pid| Ancestor { pid: *pid, own_pid: Some(*pid), binary: None }).collect(),
        ..Process::default()
    };
    lineages.iter().filter(|lineage| !lineage.is_empty()).map(process).collect()
});

fn values(pool: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(pool, 1..=pool.len().min(3))
}

fn argument_filter() -> impl Strategy<Value = Value> {
    let addresses = &["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1", "::ffff:11.0.0.0/104"];
    let ports = &["80", "443", "1:1023", "1024:65535", "1:79", "81:65535"];
    let entry = |index: u32| move |(operator, values): (&str, Vec<&str>)| json!({"index": index, "operator": operator, "values": values});
    prop_oneof![
        (select(vec!["DAddr", "NotDAddr"]), values(addresses)).prop_map(entry(0)),
        (select(vec!["DPort", "NotDPort"]), values(ports)).prop_map(entry(0)),
        (Just("Family"), values(&["AF_INET", "AF_INET6"])).prop_map(entry(0)),
        (Just("Protocol"), values(&["IPPROTO_TCP", "IPPROTO_UDP"])).prop_map(entry(0)),
        (select(vec!["Equal", "NotEqual"]), values(&["1", "2"])).prop_map(entry(1)),
        select(vec!["DPortPriv", "NotDPortPriv"]).prop_map(|operator| json!({"index": 0, "operator": operator})),
    ]
}

fn pid_filter() -> impl Strategy<Value = Value> {
    let pids = subsequence(vec![1, 2, 3], 1..=3);
    (select(vec!["In", "NotIn"]), pids, any::<bool>())
        .prop_map(|(operator, values, follow)| json!({"operator": operator, "values": values, "followForks": follow}))
}

/// Filters on an 8-bit number, of which every value can be tried.
fn number_filter() -> impl Strategy<Value = Value> {
    let number = || select(vec!["-128", "-5", "-1", "0", "1", "3", "4", "100", "126", "127"]);
    let range = || select(vec!["-128:-1", "-5:5", "0:127", "1:3", "4:126", "-128:127", "100:100"]);
    let entry = |(operator, values): (&str, Vec<&str>)| json!({"operator": operator, "values": values});
    prop_oneof![
        (select(vec!["Equal", "NotEqual"]), prop::collection::vec(number(), 1..3)).prop_map(entry),
        (select(vec!["GT", "LT"]), prop::collection::vec(number(), 1)).prop_map(entry),
        (select(vec!["InRange", "NotInRange"]), prop::collection::vec(range(), 1..3)).prop_map(entry),
        (select(vec!["InMap", "NotInMap"]), prop::collection::vec(prop_oneof![range(), number()], 1..3))
            .prop_map(entry),
        (Just("Mask"), prop::collection::vec(select(vec!["1", "4", "64", "-128"]), 1..3)).prop_map(entry),
    ]
}

/// What a filter on a number means, said once more: for each value, from the document.
fn holds(filter: &Value, number: i64) -> bool {
    let values: Vec<(i64, i64)> = filter["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| {
            let (first, last) = value.as_str().unwrap().split_once(':').unwrap_or((value.as_str().unwrap(), ""));
            let first = first.parse().unwrap();
            (first, last.parse().unwrap_or(first))
        })
        .collect();
    let within = values.iter().any(|(first, last)| (first..=last).contains(&&number));
    match filter["operator"].as_str().unwrap() {
        "Equal" | "InRange" | "InMap" => within,
        "GT" => number > values[0].0,
        "LT" => number < values[0].0,
        "Mask" => values.iter().any(|(bits, _)| number & bits & 0xff != 0),
        _ => !within,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters_on_arguments_never_match_exactly_when_it_is_said(filters in prop::collection::vec(argument_filter(), 1..5)) {
        let selector = json!({"matchArgs": filters});
        let process = Process::default();
        let events = SOCKETS.iter().map(|arguments| (&process, &arguments[..]));
        if let Some((accepted, matched)) = agrees(&selector, events) {
            prop_assert_eq!(accepted, matched, "{}", selector);
        }
    }

    #[test]
    fn filters_on_pids_never_match_exactly_when_it_is_said(filters in prop::collection::vec(pid_filter(), 1..5)) {
        let selector = json!({"matchPIDs": filters});
        let events = PROCESSES.iter().map(|process| (process, &[][..]));
        if let Some((accepted, matched)) = agrees(&selector, events) {
            prop_assert_eq!(accepted, matched, "{}", selector);
        }
    }

    #[test]
    fn filters_on_numbers_mean_what_they_say_and_never_match_exactly_when_it_is_said(
        filters in prop::collection::vec(number_filter(), 1..4)
    ) {
        let judgement = judge(&json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"},
            "spec": {"kprobes": [{
                "call": "f", "syscall": false, "args": [{"index": 0, "type": "int8"}],
                "selectors": [{"matchArgs": filters}],
            }]},
        }));
        let expected: Vec<i64> = (-128..128).filter(|number| filters.iter().all(|filter| holds(filter, *number))).collect();
        match judgement.meaning {
            Some(policy) => {
                let matches = |number: &i64| {
                    let argument = [Argument::Number(number.cast_unsigned())];
                    decide(&policy, &policy.hooks[0], &Process::default(), &argument).selector.is_some()
                };
                prop_assert_eq!((-128..128).filter(matches).collect::<Vec<_>>(), expected);
            }
            None => {
                let refused: Vec<&str> =
                    judgement.faults.iter().map(|fault| fault.code).filter(|code| *code != "Unsupported").collect();
                prop_assert!(refused.iter().all(|code| ["FilterNever", "FilterAlways"].contains(code)), "{:?}", refused);
                // A filter that is always true is refused by itself, whatever the others say.
                if !refused.contains(&"FilterAlways") {
                    prop_assert_eq!(expected, Vec::<i64>::new());
                }
            }
        }
    }
}

#[test]
fn capabilities_in_a_namespace_are_not_had_in_the_hosts() {
    let refused = |namespaces: Value, in_namespace: bool| {
        let judgement = judge(&json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"},
            "spec": {"kprobes": [{"call": "f", "syscall": false, "selectors": [{
                "matchNamespaces": namespaces,
                "matchCapabilities": [
                    {"operator": "In", "values": ["CAP_SYS_ADMIN"], "isNamespaceCapability": in_namespace},
                ],
            }]}]},
        }));
        judgement.faults.iter().any(|fault| fault.code == "FilterNever")
    };
    let entry = |operator: &str, values: &[&str]| json!({"namespace": "User", "operator": operator, "values": values});
    assert!(refused(json!([entry("In", &["host_ns"])]), true));
    assert!(!refused(json!([entry("In", &["host_ns"])]), false));
    assert!(!refused(json!([entry("In", &["host_ns", "4026531999"])]), true));
    assert!(refused(json!([entry("In", &["host_ns", "4026531999"]), entry("NotIn", &["4026531999"])]), true));
    assert!(!refused(json!([entry("NotIn", &["4026531999"])]), true));
}
