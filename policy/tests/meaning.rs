//! What accepted documents mean: the canonical form, field by field.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use serde_json::{Value, json};
use stockade_policy::ir::{
    Actions, ArgFilter, ArgTest, ArgType, Cidr, HookPoint, LabelOperator, LabelRequirement, LabelSelector, Mode,
    OnFault, PidFilter, PodScope, PolicyKind, PortRange, Scope, Strength, StringCompare,
};
use stockade_policy::model::{Argument, Process, Socket, decide};
use stockade_policy::{ValidatedPolicy, digest, judge};

fn policy_of(object: &Value) -> ValidatedPolicy {
    let judgement = judge(object);
    judgement.policy.unwrap_or_else(|| panic!("{object}: {:#?}", judgement.faults))
}

fn cluster(spec: &Value) -> ValidatedPolicy {
    policy_of(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec,
    }))
}

fn namespaced(spec: &Value) -> ValidatedPolicy {
    policy_of(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicyNamespaced",
        "metadata": {"name": "p", "namespace": "shop", "uid": "u", "generation": 7}, "spec": spec,
    }))
}

/// A policy with one selector on one argument.
fn on(hook: &Value, selector: &Value) -> ValidatedPolicy {
    let mut hook = hook.clone();
    hook["selectors"] = json!([selector]);
    let list = if hook.get("hook").is_some() { "lsmhooks" } else { "kprobes" };
    cluster(&json!({list: [hook]}))
}

fn sock() -> Value {
    json!({"call": "tcp_connect", "syscall": false, "args": [{"index": 0, "type": "sock"}]})
}

fn file_open() -> Value {
    json!({"hook": "file_open", "args": [{"index": 0, "type": "file"}]})
}

fn filter(hook: &Value, operator: &str, values: &Value) -> ArgFilter {
    let policy = on(hook, &json!({"matchArgs": [{"operator": operator, "values": values}]}));
    policy.hooks[0].selectors[0].args[0].clone()
}

fn cidr(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').unwrap();
    Cidr { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn addresses(filter: &ArgFilter) -> BTreeSet<Cidr> {
    match &filter.test {
        ArgTest::SourceAddress(set) | ArgTest::DestinationAddress(set) => set.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_absent_field_is_upstreams_default() {
    let policy = namespaced(&json!({"lsmhooks": [{"hook": "file_open"}]}));
    assert_eq!(
        (policy.id.kind, policy.id.namespace.as_str(), policy.id.name.as_str()),
        (PolicyKind::Namespaced, "shop", "p")
    );
    assert_eq!((policy.uid.as_str(), policy.generation), ("u", 7));
    assert_eq!((policy.mode, policy.on_fault, policy.minimum_strength), (Mode::Enforce, OnFault::Allow, None));
    assert_eq!(policy.node_selector, None);
    let hook = &policy.hooks[0];
    assert_eq!(hook.point, HookPoint::Lsm { hook: "file_open".into() });
    assert!(hook.args.is_empty() && hook.selectors.is_empty() && hook.message.is_empty() && hook.returns.is_none());
}

#[test]
fn the_mode_can_be_said_in_two_ways() {
    let hooks = json!([{"hook": "file_open"}]);
    let field = cluster(&json!({"lsmhooks": hooks, "mode": "Monitor"}));
    let option = cluster(&json!({"lsmhooks": hooks, "options": [{"name": "policy-mode", "value": "monitor"}]}));
    assert_eq!(field.mode, Mode::Monitor);
    assert_eq!(field, option);
}

#[test]
fn the_scope_is_that_of_the_truth_table() {
    let scope = |selectors: Value| {
        let mut spec = selectors;
        spec["lsmhooks"] = json!([{"hook": "file_open"}]);
        cluster(&spec).scope
    };
    let label = |key: &str| LabelSelector {
        requirements: BTreeSet::from([LabelRequirement {
            key: key.into(),
            operator: LabelOperator::In,
            values: BTreeSet::from(["a".to_owned()]),
        }]),
    };
    let some = |host, pods: Option<(&str, &str)>| {
        let selector = |key: &str| if key.is_empty() { LabelSelector::default() } else { label(key) };
        let pods = pods.map(|(pods, containers)| PodScope {
            namespace: None,
            pods: selector(pods),
            containers: selector(containers),
        });
        Scope::Some { host, pods }
    };
    let app = json!({"matchLabels": {"app": "a"}});
    let name = json!({"matchLabels": {"name": "a"}});
    assert_eq!(scope(json!({})), Scope::Everything);
    assert_eq!(scope(json!({"containerSelector": name})), some(false, Some(("", "name"))));
    assert_eq!(scope(json!({"podSelector": app})), some(false, Some(("app", ""))));
    assert_eq!(scope(json!({"podSelector": app, "containerSelector": name})), some(false, Some(("app", "name"))));
    assert_eq!(scope(json!({"hostSelector": {}})), some(true, None));
    assert_eq!(scope(json!({"hostSelector": {}, "containerSelector": name})), some(true, Some(("", "name"))));
    assert_eq!(scope(json!({"hostSelector": {}, "podSelector": app})), some(true, Some(("app", ""))));
    assert_eq!(
        scope(json!({"hostSelector": {}, "podSelector": app, "containerSelector": name})),
        some(true, Some(("app", "name")))
    );
    assert_eq!(scope(json!({"hostSelector": {}, "podSelector": {}, "containerSelector": {}})), Scope::Everything);
    assert_eq!(scope(json!({"podSelector": {}})), some(false, Some(("", ""))));
    let of_namespace = namespaced(&json!({"lsmhooks": [{"hook": "file_open"}]})).scope;
    let pods = PodScope {
        namespace: Some("shop".into()),
        pods: LabelSelector::default(),
        containers: LabelSelector::default(),
    };
    assert_eq!(of_namespace, Scope::Some { host: false, pods: Some(pods) });
}

#[test]
fn a_label_is_the_same_requirement_however_it_is_written() {
    let spec = |selector: Value| json!({"podSelector": selector, "lsmhooks": [{"hook": "file_open"}]});
    let label = cluster(&spec(json!({"matchLabels": {"app": "web"}})));
    let expression = cluster(&spec(json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]})));
    assert_eq!(label, expression);
    let Scope::Some { pods: Some(pods), .. } = label.scope else { panic!("not about pods") };
    assert!(pods.pods.matches(&BTreeMap::from([("app".into(), "web".into())])));
    assert!(!pods.pods.matches(&BTreeMap::new()));
}

#[test]
fn an_address_is_one_value_in_every_spelling() {
    let plain = filter(&sock(), "DAddr", &json!(["172.16.0.0/12"]));
    for spelling in ["::ffff:172.16.0.0/108", "::ffff:ac10:0/108", "0:0:0:0:0:FFFF:172.16.0.0/108"] {
        assert_eq!(filter(&sock(), "DAddr", &json!([spelling])), plain, "{spelling}");
    }
    assert_eq!(addresses(&plain), BTreeSet::from([cidr("::ffff:172.16.0.0/108")]));
    assert_eq!(filter(&sock(), "NotSAddr", &json!(["10.0.0.1"])), filter(&sock(), "NotSAddr", &json!(["10.0.0.1/32"])));
}

#[test]
fn ranges_are_as_few_as_they_can_be() {
    let halves = filter(&sock(), "DAddr", &json!(["10.0.0.0/9", "10.128.0.0/9", "10.1.2.3"]));
    assert_eq!(halves, filter(&sock(), "DAddr", &json!(["10.0.0.0/8"])));
}

#[test]
fn every_ipv6_address_is_not_an_ipv4_address() {
    let native = addresses(&filter(&sock(), "DAddr", &json!(["::/0"])));
    let covers = |address: &str| {
        let bits = address.parse::<std::net::Ipv6Addr>().unwrap().to_bits();
        native.iter().any(|range| range.length == 0 || (bits ^ range.address.to_bits()) >> (128 - range.length) == 0)
    };
    assert_eq!(native.len(), 96);
    for inside in
        ["::", "::1", "2001:db8::1", "::fffe:ffff:ffff", "::1:0:0:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
    {
        assert!(covers(inside), "{inside}");
    }
    for outside in ["::ffff:0.0.0.0", "::ffff:10.0.0.1", "::ffff:255.255.255.255"] {
        assert!(!covers(outside), "{outside}");
    }
}

#[test]
fn a_sockaddr_has_one_address() {
    let connect = json!({"hook": "socket_connect", "args": [{"index": 1, "type": "sockaddr"}]});
    let test = |operator: &str, values: Value| {
        let entry = json!({"index": 1, "operator": operator, "values": values});
        let policy = on(&connect, &json!({"matchArgs": [entry]}));
        let mut filters = policy.hooks[0].selectors[0].args.iter();
        filters.find(|filter| !matches!(filter.test, ArgTest::Family(_))).unwrap().clone()
    };
    let address = test("DAddr", json!(["10.0.0.0/8"]));
    assert!(matches!(address.test, ArgTest::DestinationAddress(_)));
    assert_eq!(address, test("SAddr", json!(["10.0.0.0/8"])));
    assert_eq!(test("NotSPort", json!(["80"])), test("NotDPort", json!(["80"])));
}

#[test]
fn a_socket_without_addresses_is_outside_of_none() {
    let connect = json!({"hook": "socket_connect", "args": [{"index": 1, "type": "sockaddr"}]});
    let socket = |family| Socket {
        family,
        protocol: 0,
        source: Ipv6Addr::UNSPECIFIED,
        destination: Ipv6Addr::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        state: 1,
    };
    let process = Process::default();
    for entry in [
        json!({"index": 1, "operator": "NotDAddr", "values": ["10.0.0.0/8"]}),
        json!({"index": 1, "operator": "DAddr", "values": ["::/0"]}),
        json!({"index": 1, "operator": "NotDPort", "values": ["443"]}),
    ] {
        let policy = on(&connect, &json!({"matchArgs": [entry]}));
        let matches = |family| {
            decide(&policy, &policy.hooks[0], &process, &[Argument::Socket(socket(family))]).selector.is_some()
        };
        assert!(matches(10) && !matches(1), "{entry}");
        let mut said = vec![entry.clone()];
        said.push(json!({"index": 1, "operator": "Family", "values": ["AF_INET", "AF_INET6"]}));
        assert_eq!(on(&connect, &json!({"matchArgs": said})), policy);
    }
}

#[test]
fn ports_are_ranges_that_do_not_touch() {
    let ports = filter(&sock(), "NotDPort", &json!(["80", "81:90", "85:100", "443"]));
    let ranges = BTreeSet::from([PortRange { first: 80, last: 100 }, PortRange { first: 443, last: 443 }]);
    assert_eq!(ports, ArgFilter { arg: 0, test: ArgTest::DestinationPort(ranges), negated: true });
    let entry = json!({"matchArgs": [{"operator": "NotSportPriv"}]});
    let privileged = BTreeSet::from([PortRange { first: 0, last: 1023 }]);
    assert_eq!(
        on(&sock(), &entry).hooks[0].selectors[0].args[0],
        ArgFilter { arg: 0, test: ArgTest::SourcePort(privileged), negated: true }
    );
}

#[test]
fn names_of_families_and_protocols_are_numbers() {
    assert_eq!(filter(&sock(), "Family", &json!(["AF_INET", "10"])).test, ArgTest::Family(BTreeSet::from([2, 10])));
    assert_eq!(filter(&sock(), "Protocol", &json!(["IPPROTO_TCP"])).test, ArgTest::Protocol(BTreeSet::from([6])));
}

#[test]
fn numbers_are_sign_extended() {
    let hook = json!({"call": "f", "syscall": false, "args": [{"index": 0, "type": "int"}]});
    let test = filter(&hook, "Equal", &json!(["-1", "0x10", "16"])).test;
    assert_eq!(test, ArgTest::Number(BTreeSet::from([u64::MAX, 16])));
}

#[test]
fn longer_prefixes_of_a_prefix_say_nothing() {
    let test = filter(&file_open(), "Prefix", &json!(["/etc/ssl", "/etc", "/etc", "/srv"])).test;
    assert_eq!(test, ArgTest::String(StringCompare::Prefix, BTreeSet::from(["/etc".into(), "/srv".into()])));
}

#[test]
fn a_filter_is_about_the_position_of_its_argument() {
    let hook = json!({
        "call": "security_file_permission", "syscall": false,
        "args": [{"index": 1, "type": "int32", "label": "mask"}, {"index": 0, "type": "file"}],
    });
    let policy = on(&hook, &json!({"matchArgs": [{"index": 0, "operator": "NotEqual", "values": ["/a"]}]}));
    assert_eq!((policy.hooks[0].args[0].ty, policy.hooks[0].args[0].index), (ArgType::Int, 1));
    let set = BTreeSet::from(["/a".to_owned()]);
    let expected = ArgFilter { arg: 1, test: ArgTest::String(StringCompare::Equal, set), negated: true };
    assert_eq!(policy.hooks[0].selectors[0].args, [expected]);
}

#[test]
fn pids_are_sets() {
    let entry = json!({"operator": "NotIn", "values": [2, 1, 2], "followForks": true});
    let policy = on(&file_open(), &json!({"matchPIDs": [entry, entry]}));
    let expected = PidFilter { negated: true, pids: BTreeSet::from([1, 2]), follow_forks: true, namespace_pid: false };
    assert_eq!(policy.hooks[0].selectors[0].pids, [expected]);
}

#[test]
fn actions_say_what_is_denied_killed_and_posted() {
    let actions = |hook: &Value, actions: Value| {
        let policy = on(hook, &json!({"matchActions": actions}));
        (policy.hooks[0].selectors[0].actions, policy.minimum_strength)
    };
    let says = |post, deny, signal, strength| (Actions { post, deny, signal }, strength);
    let (lsm, security) = (file_open(), json!({"call": "security_file_open", "syscall": false}));
    let void = json!({"hook": "bprm_committed_creds"});
    let kill = json!([{"action": "Sigkill"}]);
    assert_eq!(actions(&lsm, json!([{"action": "Post"}])), says(true, None, None, None));
    assert_eq!(actions(&lsm, kill.clone()), says(true, Some(1), Some(9), Some(Strength::Signal)));
    assert_eq!(actions(&security, kill.clone()), says(true, Some(1), Some(9), Some(Strength::Signal)));
    // What runs beside the operation, or after it, can only kill.
    assert_eq!(actions(&sock(), kill.clone()), says(true, None, Some(9), Some(Strength::Signal)));
    assert_eq!(actions(&void, kill), says(true, None, Some(9), Some(Strength::Signal)));
    let deny = json!([{"action": "Override", "argError": -13}, {"action": "NoPost"}]);
    assert_eq!(actions(&lsm, deny), says(false, Some(13), None, Some(Strength::Override)));
    let both = json!([{"action": "Sigkill"}, {"action": "Override", "argError": -13}]);
    assert_eq!(actions(&lsm, both), says(true, Some(13), Some(9), Some(Strength::Override)));
    // Asked for by its number, a kill is a signal and nothing more.
    let signal = json!([{"action": "Signal", "argSig": 9}]);
    assert_eq!(actions(&lsm, signal), says(true, None, Some(9), Some(Strength::Signal)));
}

#[test]
fn the_digest_is_about_the_meaning() {
    let one = json!([{"hook": "file_open", "message": "opened"}, {"hook": "file_permission"}]);
    let policy = cluster(&json!({"lsmhooks": one}));
    let name = digest(&policy);
    assert_eq!(name.len(), 12);
    assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let other = json!([{"hook": "file_permission"}, {"hook": "file_open", "message": "opened"}]);
    assert_eq!(digest(&cluster(&json!({"lsmhooks": other}))), name);
    let mut renamed = policy.clone();
    (renamed.id.name, renamed.uid, renamed.generation) = ("q".into(), "u".into(), 9);
    assert_eq!(digest(&renamed), name);
    for (key, value) in [("mode", "Monitor"), ("hostSelector", ""), ("nodeSelector", "")] {
        let mut spec = json!({"lsmhooks": one});
        spec[key] = if value.is_empty() { json!({}) } else { json!(value) };
        // An empty nodeSelector is every node, which is what silence says.
        assert_eq!(digest(&cluster(&spec)) == name, key == "nodeSelector", "{key}");
    }
}

#[test]
fn the_digest_does_not_change_between_releases() {
    let policy = on(
        &file_open(),
        &json!({
            "matchPIDs": [{"operator": "NotIn", "values": [1], "followForks": true}],
            "matchBinaries": [{"operator": "In", "values": ["/usr/bin/cat"], "followChildren": true}],
            "matchNamespaces": [{"namespace": "Net", "operator": "In", "values": ["host_ns"]}],
            "matchArgs": [{"operator": "Prefix", "values": ["/etc"]}],
            "matchActions": [{"action": "Sigkill"}],
        }),
    );
    // Agents adopt what they find in the kernel by this: a change makes every node replace everything once.
    assert_eq!(digest(&policy), "d6ac969fd532");
}
