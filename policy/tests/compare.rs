//! What changes between two policies, and an event that shows it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod documents;

use serde_json::{Value, json};
use stockade_policy::compare::{Line, changes};
use stockade_policy::ir::ValidatedPolicy;
use stockade_policy::witness::{Witness, witness};
use stockade_policy::{digest, judge};

fn meaning(object: &Value) -> ValidatedPolicy {
    let judgement = judge(object);
    judgement.meaning.unwrap_or_else(|| panic!("{:?}", judgement.faults))
}

fn policy(spec: &Value) -> ValidatedPolicy {
    meaning(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec,
    }))
}

fn files(args: &Value) -> ValidatedPolicy {
    policy(&json!({"lsmhooks": [{
        "hook": "file_open", "args": [{"index": 0, "type": "file"}],
        "selectors": [{"matchArgs": args, "matchActions": [{"action": "Override", "argError": -1}]}],
    }]}))
}

/// Every line, with a sign.
fn told(before: &ValidatedPolicy, after: &ValidatedPolicy) -> Vec<String> {
    let lines = changes(before, after).into_iter().flat_map(|change| change.lines);
    lines
        .map(|line| match line {
            Line::Gone(text) => format!("- {text}"),
            Line::New(text) => format!("+ {text}"),
        })
        .collect()
}

fn shown(before: &ValidatedPolicy, after: &ValidatedPolicy) -> Witness {
    witness(Some(before), Some(after)).unwrap()
}

#[test]
fn values_more_and_less_are_told_apart_and_negation_turns_them_around() {
    let of = |operator: &str, values: &[&str]| files(&json!([{"index": 0, "operator": operator, "values": values}]));
    let (before, after) = (of("Prefix", &["/a/", "/b/"]), of("Prefix", &["/b/", "/c/"]));
    let name = "argument 0 (file) begins with";
    assert_eq!(told(&before, &after), [format!("- no longer when {name} /a/"), format!("+ also when {name} /c/")]);
    let (before, after) = (of("NotPrefix", &["/a/"]), of("NotPrefix", &["/a/", "/c/"]));
    assert_eq!(told(&before, &after), [format!("- no longer when {name} /c/")]);
    let Witness { before, after, .. } = shown(&before, &after);
    assert!(before.deny.is_some() && after.deny.is_none());
}

#[test]
fn what_means_the_same_has_no_changes_however_it_is_written() {
    let before = files(&json!([{"index": 0, "operator": "Equal", "values": ["/a", "/b"]}]));
    let after = files(&json!([{"index": 0, "operator": "Equal", "values": ["/b", "/a", "/b"]}]));
    assert_eq!(changes(&before, &after), []);
    assert_eq!(witness(Some(&before), Some(&after)), None);
}

#[test]
fn an_alternative_that_is_put_in_between_is_one_change() {
    let with = |prefixes: &[&str]| {
        let selector = |prefix: &&str| json!({"matchArgs": [{"index": 0, "operator": "Prefix", "values": [prefix]}]});
        let selectors: Vec<Value> = prefixes.iter().map(selector).collect();
        policy(&json!({"lsmhooks": [
            {"hook": "file_open", "args": [{"index": 0, "type": "file"}], "selectors": selectors},
        ]}))
    };
    let lines = told(&with(&["/a/", "/c/"]), &with(&["/a/", "/b/", "/c/"]));
    assert_eq!(lines, ["+ When argument 0 (file) begins with /b/:", "+   an event is posted."]);
}

#[test]
fn a_change_that_no_sentence_tells_is_told_by_its_fields_and_has_no_event() {
    let of = |label: &str| {
        policy(&json!({"kprobes": [{
            "call": "do_it", "syscall": false, "args": [{"index": 0, "type": "int"}],
            "return": true, "returnArg": {"index": 0, "type": "int", "label": label},
        }]}))
    };
    let (before, after) = (of("one"), of("two"));
    let lines = told(&before, &after);
    assert_eq!(lines, ["- returned.label: \"one\"", "+ returned.label: \"two\""]);
    assert_eq!(witness(Some(&before), Some(&after)), None);
}

#[test]
fn boundaries_prefixes_places_and_faults_are_found() {
    let number = |operator: &str, value: &str| {
        policy(&json!({"kprobes": [{
            "call": "do_it", "syscall": false, "args": [{"index": 3, "type": "uint32"}],
            "selectors": [{"matchArgs": [{"index": 3, "operator": operator, "values": [value]}]}],
        }]}))
    };
    let found = shown(&number("GT", "1000"), &number("GT", "1001"));
    assert_eq!(format!("{:?}", found.arguments.first().unwrap().value), "Number(1001)");
    assert!(found.before.post && !found.after.post);

    let on_fault = |on_fault: &str| {
        let mut object = json!({"lsmhooks": [{
            "hook": "file_open", "args": [{"index": 0, "type": "file"}],
            "selectors": [{"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/x"]}],
                           "matchActions": [{"action": "Override", "argError": -1}]}],
        }]});
        object["onFault"] = json!(on_fault);
        policy(&object)
    };
    let found = shown(&on_fault("Allow"), &on_fault("Deny"));
    assert!(found.before.fault && found.before.deny.is_none() && found.after.deny.is_some());

    let pods = |expressions: Value| {
        policy(&json!({
            "podSelector": {"matchExpressions": expressions},
            "lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}]}],
        }))
    };
    let one = json!([{"key": "app", "operator": "In", "values": ["a", "b"]}]);
    let other =
        json!([{"key": "app", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "DoesNotExist"}]);
    let found = shown(&pods(one), &pods(other));
    assert!(format!("{:?}", found.process.place).contains("\"x\": \"x\""), "{:?}", found.process.place);
}

/// Every policy does something about some event, or it would have been refused.
#[test]
fn an_event_is_found_for_every_policy_of_the_corpus() {
    for folder in ["valid", "language"] {
        for (name, path) in documents::all(folder) {
            let Some(meaning) = judge(&documents::read(&path)).meaning else { continue };
            if meaning.hooks.is_empty() {
                continue;
            }
            let found = witness(None, Some(&meaning));
            assert!(found.is_some(), "{folder}/{name}");
        }
    }
}

#[test]
fn two_policies_of_the_corpus_differ_exactly_when_their_digests_do() {
    let all: Vec<ValidatedPolicy> =
        documents::all("valid").values().filter_map(|path| judge(&documents::read(path)).policy).collect();
    for before in &all {
        for after in &all {
            assert_eq!(digest(before) == digest(after), changes(before, after).is_empty());
        }
    }
}
