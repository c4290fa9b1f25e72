//! The laws of the semantics, as properties of the reference model over generated policies and events.
#![allow(clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use proptest::prelude::*;
use stockade_policy::ir::{
    Actions, Arg, ArgFilter, ArgTest, ArgType, BinaryFilter, Cidr, Hook, HookPoint, Mode, OnFault, PidFilter, PolicyId,
    PolicyKind, PortRange, Scope, Selector, StringCompare, ValidatedPolicy,
};
use stockade_policy::model::{Ancestor, Argument, Outcome, Process, Socket, decide, together};

/// How many policies and events each law is tried on; a longer run asks for more, such as a million.
static CASES: LazyLock<u32> =
    LazyLock::new(|| std::env::var("STOCKADE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000));

const TYPES: [ArgType; 3] = [ArgType::Int, ArgType::File, ArgType::Sock];

fn hook(selectors: Vec<Selector>) -> Hook {
    Hook {
        args: TYPES.iter().zip(0..).map(|(ty, index)| Arg::plain(index, *ty)).collect(),
        selectors,
        ..Hook::at(HookPoint::Lsm { hook: "x".into() })
    }
}

fn policy(mode: Mode, on_fault: OnFault, selectors: Vec<Selector>) -> ValidatedPolicy {
    ValidatedPolicy {
        id: PolicyId { kind: PolicyKind::Cluster, namespace: String::new(), name: "p".into() },
        uid: String::new(),
        generation: 1,
        mode,
        on_fault,
        minimum_strength: None,
        scope: Scope::Everything,
        node_selector: None,
        hooks: vec![hook(selectors)],
        enforcers: BTreeSet::new(),
        loader: false,
    }
}

fn judge(policy: &ValidatedPolicy, process: &Process, arguments: &[Argument]) -> stockade_policy::model::Verdict {
    decide(policy, &policy.hooks[0], process, arguments)
}

fn only(args: Vec<ArgFilter>) -> Selector {
    let actions = Actions { post: true, deny: Some(1), signal: None };
    Selector { args, actions, ..Selector::default() }
}

fn text() -> impl Strategy<Value = String> {
    "(/[ab]{1,2}){1,3}"
}

fn address() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        (0_u8..4, 0_u8..4).prop_map(|(a, b)| Ipv4Addr::new(10, a, 0, b).to_ipv6_mapped()),
        (0_u16..3).prop_map(|a| Ipv6Addr::new(0xfd00, a, 0, 0, 0, 0, 0, 1)),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (address(), 96_u8..=128).prop_map(|(address, length)| {
        let mask = u128::MAX << (128 - u32::from(length));
        Cidr { address: Ipv6Addr::from(u128::from(address) & mask), length }
    })
}

fn filter() -> impl Strategy<Value = ArgFilter> {
    let compare = prop_oneof![Just(StringCompare::Equal), Just(StringCompare::Prefix), Just(StringCompare::Postfix)];
    let range = (0_u16..6, 0_u16..6).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) });
    let test = prop_oneof![
        prop::collection::btree_set(0_u64..5, 1..4).prop_map(|values| (0, ArgTest::Number(values))),
        (compare, prop::collection::btree_set(text(), 1..3)).prop_map(|(c, values)| (1, ArgTest::String(c, values))),
        prop::collection::btree_set(cidr(), 1..3).prop_map(|values| (2, ArgTest::DestinationAddress(values))),
        prop::collection::btree_set(range, 1..3).prop_map(|values| (2, ArgTest::SourcePort(values))),
        prop::collection::btree_set(0_u16..3, 1..3).prop_map(|values| (2, ArgTest::Family(values))),
    ];
    (test, any::<bool>()).prop_map(|((arg, test), negated)| ArgFilter { arg, test, negated })
}

fn selector() -> impl Strategy<Value = Selector> {
    let actions = (any::<bool>(), prop::option::of(1_u16..9), prop::option::of(Just(9_u8)));
    let pids = prop::collection::vec((any::<bool>(), any::<bool>(), 1_u32..5), 0..2);
    let binaries = prop::collection::vec((any::<bool>(), any::<bool>(), text()), 0..2);
    (prop::collection::vec(filter(), 0..3), pids, binaries, actions).prop_map(|(args, pids, binaries, actions)| {
        let (post, deny, signal) = actions;
        let pid = |(negated, follow_forks, pid)| PidFilter {
            negated,
            pids: BTreeSet::from([pid]),
            follow_forks,
            namespace_pid: false,
        };
        let binary = |(negated, follow_children, value)| BinaryFilter {
            compare: StringCompare::Prefix,
            negated,
            values: BTreeSet::from([value]),
            follow_children,
        };
        Selector {
            pids: pids.into_iter().map(pid).collect(),
            binaries: binaries.into_iter().map(binary).collect(),
            args,
            actions: Actions { post, deny, signal },
            ..Selector::default()
        }
    })
}

fn arguments() -> impl Strategy<Value = Vec<Argument>> {
    let socket = (0_u16..3, address(), address(), 0_u16..6).prop_map(|(family, source, destination, port)| {
        let ports = (port, port);
        Argument::Socket(Socket {
            family,
            protocol: 6,
            source,
            destination,
            source_port: ports.0,
            destination_port: ports.1,
            state: 1,
        })
    });
    (0_u64..5, text(), socket)
        .prop_map(|(number, path, socket)| vec![Argument::Number(number), Argument::Text(path.into_bytes()), socket])
}

fn process() -> impl Strategy<Value = Process> {
    prop::collection::vec((1_u32..5, text()), 1..4).prop_map(|lineage| Process {
        lineage: lineage
            .into_iter()
            .map(|(pid, binary)| Ancestor { pid, own_pid: None, binary: Some(binary) })
            .collect(),
        ..Process::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: *CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_1_negation_is_negation(filter in filter(), arguments in arguments(), process in process()) {
        let opposite = ArgFilter { negated: !filter.negated, ..filter.clone() };
        let matched = |filter| {
            let policy = policy(Mode::Enforce, OnFault::Allow, vec![only(vec![filter])]);
            judge(&policy, &process, &arguments).selector.is_some()
        };
        prop_assert_ne!(matched(filter), matched(opposite));
    }

    #[test]
    fn law_2_order_and_repetition_of_filters_mean_nothing(
        selector in selector(), arguments in arguments(), process in process(), turns in 0_usize..4,
    ) {
        let mut other = selector.clone();
        // Turned around, and with the first of each said once more.
        other.pids.rotate_left(turns.min(selector.pids.len()));
        other.pids.extend(selector.pids.first().cloned());
        other.binaries.reverse();
        other.binaries.extend(selector.binaries.first().cloned());
        other.args.rotate_left(turns.min(selector.args.len()));
        other.args.extend(selector.args.first().cloned());
        let verdict = |selector| judge(&policy(Mode::Enforce, OnFault::Deny, vec![selector]), &process, &arguments);
        prop_assert_eq!(verdict(selector), verdict(other));
    }

    #[test]
    fn law_4_a_policy_more_changes_no_other_verdict_and_takes_nothing_back(
        policies in prop::collection::vec(prop::collection::vec(selector(), 0..3), 1..5),
        another in prop::collection::vec(selector(), 0..3), arguments in arguments(), process in process(),
    ) {
        let of = |selectors: &Vec<Selector>| {
            judge(&policy(Mode::Enforce, OnFault::Allow, selectors.clone()), &process, &arguments)
        };
        let mut verdicts: Vec<_> = policies.iter().map(of).collect();
        let Outcome { errors, signals, reports } = together(&verdicts);
        verdicts.push(of(&another));
        let more = together(&verdicts);
        prop_assert!(errors.is_subset(&more.errors) && signals.is_subset(&more.signals) && reports <= more.reports);
        verdicts.reverse();
        prop_assert_eq!(together(&verdicts), more);
    }

    #[test]
    fn law_3_the_first_selector_that_matches_alone_decides(
        selectors in prop::collection::vec(selector(), 1..5), arguments in arguments(), process in process(),
    ) {
        let alone = |selector: &Selector| {
            let policy = policy(Mode::Enforce, OnFault::Allow, vec![selector.clone()]);
            judge(&policy, &process, &arguments).selector.is_some()
        };
        let verdict = judge(&policy(Mode::Enforce, OnFault::Allow, selectors.clone()), &process, &arguments);
        let first = selectors.iter().position(alone);
        prop_assert_eq!(verdict.selector, first);
        if let Some(first) = first {
            let Actions { post, deny, signal } = selectors[first].actions;
            prop_assert_eq!((verdict.post, verdict.deny, verdict.signal), (post, deny, signal));
        }
    }

    #[test]
    fn law_7_what_cannot_be_read_is_neither_match_nor_non_match(
        selector in selector(), arguments in arguments(), process in process(), unreadable in 0_usize..3,
    ) {
        let uses = selector.args.iter().any(|filter| filter.arg == unreadable);
        let mut damaged = arguments.clone();
        damaged[unreadable] = Argument::Unreadable;
        let with = |on_fault, selector: &Selector, arguments: &[Argument]| {
            judge(&policy(Mode::Enforce, on_fault, vec![selector.clone()]), &process, arguments)
        };
        let rest = Selector {
            args: selector.args.iter().filter(|filter| filter.arg != unreadable).cloned().collect(),
            ..selector.clone()
        };
        let rest_matches = with(OnFault::Allow, &rest, &arguments).selector.is_some();
        let verdict = with(OnFault::Allow, &selector, &damaged);
        prop_assert_eq!(verdict.fault, uses && rest_matches);
        if verdict.fault {
            prop_assert!(verdict.post && verdict.deny.is_none());
            prop_assert_eq!(with(OnFault::Deny, &selector, &damaged).deny, selector.actions.deny);
        }
    }

    #[test]
    fn law_8_monitor_and_enforce_differ_in_the_last_step_only(
        selectors in prop::collection::vec(selector(), 0..4), arguments in arguments(), process in process(),
    ) {
        let enforce = judge(&policy(Mode::Enforce, OnFault::Allow, selectors.clone()), &process, &arguments);
        let monitor = judge(&policy(Mode::Monitor, OnFault::Allow, selectors), &process, &arguments);
        prop_assert_eq!((enforce.selector, enforce.post), (monitor.selector, monitor.post));
        prop_assert_eq!(enforce.deny.is_some() || enforce.signal.is_some(), monitor.would_deny);
        prop_assert!(monitor.deny.is_none() && monitor.signal.is_none() && !enforce.would_deny);
    }

    #[test]
    fn a_descendant_at_any_depth_is_followed(process in process(), pid in 1_u32..5) {
        let filter = PidFilter { negated: false, pids: BTreeSet::from([pid]), follow_forks: true, namespace_pid: false };
        let selector = Selector { pids: vec![filter], ..only(Vec::new()) };
        let verdict = judge(&policy(Mode::Enforce, OnFault::Allow, vec![selector]), &process, &[]);
        prop_assert_eq!(verdict.selector.is_some(), process.lineage.iter().any(|ancestor| ancestor.pid == pid));
    }
}
