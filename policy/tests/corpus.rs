//! Every document below `testdata/policies` means what its place says: those in `valid` are accepted without a remark, those
//! in `invalid` have exactly the faults and warnings listed beside them, those in `language` mean one thing and may need
//! what this release does not carry out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its documents must fail")]

mod documents;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use stockade_policy::fault::{Fault, codes};
use stockade_policy::judge;

/// `NAME.faults.json`: what is expected of `NAME.yaml`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expected {
    faults: Vec<Place>,
    warnings: Vec<Place>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    path: String,
    code: String,
}

fn places(faults: &[Fault]) -> Vec<Place> {
    faults.iter().map(|fault| Place { path: fault.path.clone(), code: fault.code.to_owned() }).collect()
}

fn expected(document: &Path) -> Expected {
    let path = document.with_extension("faults.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn show(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

#[test]
fn valid_documents_are_accepted_without_a_remark() {
    for (name, path) in documents::all("valid") {
        let judgement = judge(&documents::read(&path));
        assert!(judgement.faults.is_empty(), "{name} has faults:{}", show(&judgement.faults));
        assert!(judgement.warnings.is_empty(), "{name} has warnings:{}", show(&judgement.warnings));
        assert!(judgement.policy.is_some(), "{name} means nothing");
    }
}

#[test]
fn documents_of_the_language_mean_something_and_are_only_not_carried_out() {
    for (name, path) in documents::all("language") {
        let judgement = judge(&documents::read(&path));
        let others: Vec<_> = judgement.faults.iter().filter(|fault| fault.code != codes::UNSUPPORTED).collect();
        assert_eq!(others, Vec::<&Fault>::new(), "{name}");
        assert!(judgement.warnings.is_empty(), "{name} has warnings:{}", show(&judgement.warnings));
        assert!(judgement.meaning.is_some(), "{name} means nothing");
    }
}

#[test]
fn invalid_documents_have_exactly_the_faults_beside_them() {
    for (name, path) in documents::all("invalid") {
        let judgement = judge(&documents::read(&path));
        let expected = expected(&path);
        assert_eq!(places(&judgement.faults), expected.faults, "{name}:{}", show(&judgement.faults));
        assert_eq!(places(&judgement.warnings), expected.warnings, "{name}:{}", show(&judgement.warnings));
        assert_eq!(judgement.policy.is_some(), expected.faults.is_empty(), "{name}");
    }
}

#[test]
fn every_invalid_document_has_a_corrected_one() {
    let (valid, language) = (documents::all("valid"), documents::all("language"));
    let corrected = |name: &String| valid.contains_key(name) || language.contains_key(name);
    let missing: Vec<_> = documents::all("invalid").into_keys().filter(|name| !corrected(name)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_code_is_in_the_corpus() {
    let seen: BTreeSet<String> = documents::all("invalid")
        .values()
        .flat_map(|path| {
            let Expected { faults, warnings } = expected(path);
            faults.into_iter().chain(warnings)
        })
        .map(|place| place.code)
        .collect();
    // Too large to be files, or about nodes: they have tests of their own.
    let elsewhere = [
        codes::DOCUMENT_TOO_LARGE,
        codes::TOO_MANY_FAULTS,
        codes::TOO_MANY_WARNINGS,
        codes::HOOK_UNAVAILABLE,
        codes::TOO_WEAK,
        codes::NO_NODE_CAN_RUN_THIS,
        codes::NO_NODE_MATCHES,
    ];
    let missing: Vec<_> = codes::ALL
        .iter()
        .map(|code| code.name)
        .filter(|name| !elsewhere.contains(name) && !seen.contains(*name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
    let unknown: Vec<_> = seen.iter().filter(|name| codes::ALL.iter().all(|code| code.name != name.as_str())).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

#[test]
fn every_code_is_in_the_documentation() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md")).unwrap();
    let missing: Vec<_> =
        codes::ALL.iter().map(|code| code.name).filter(|name| !text.contains(&format!("\n### {name}\n"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies.md")).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let judgement = judge(&serde_saphyr::from_str(block).unwrap());
        assert!(judgement.policy.is_some() && judgement.warnings.is_empty(), "{block}{}", show(&judgement.faults));
    }
}

#[test]
fn every_fault_says_what_to_do() {
    for (name, path) in documents::all("invalid") {
        let judgement = judge(&documents::read(&path));
        for fault in judgement.faults.iter().chain(&judgement.warnings) {
            assert!(!fault.message.is_empty() && !fault.help.is_empty(), "{name}: {fault}");
            assert!(!fault.to_string().contains('\n'), "{name}: {fault}");
            // A client shows a warning on one line and cuts it at 256 bytes.
            assert!(fault.text().len() <= 256, "{name}: {fault}");
        }
    }
}

#[test]
fn a_document_of_more_than_a_mebibyte_is_refused_as_one() {
    let paths: Vec<_> = (0..60_000).map(|n| format!("/a/long/path/{n}")).collect();
    let mut object = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "large"},
        "spec": {"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}],
            "selectors": [{"matchArgs": [{"operator": "Equal", "values": paths}]}]}]},
    });
    assert_eq!(
        places(&judge(&object).faults).first().map(|place| place.code.as_str()),
        Some(codes::DOCUMENT_TOO_LARGE)
    );
    // What clients and the API server add is no part of the document.
    let values = object.pointer_mut("/spec/lsmhooks/0/selectors/0/matchArgs/0/values").unwrap();
    values.as_array_mut().unwrap().truncate(30_000);
    let copy = object.to_string();
    object.as_object_mut().unwrap().insert(
        "metadata".into(),
        json!({"name": "large", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": copy}}),
    );
    assert!(judge(&object).policy.is_some());
}

#[test]
fn beyond_a_hundred_faults_they_are_counted() {
    let values = vec![json!(0); 250];
    let object = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "zeros"},
        "spec": {"lsmhooks": [{"hook": "file_open", "selectors": [
            {"matchPIDs": [{"operator": "In", "values": values, "followForks": true}]}]}]},
    });
    let faults = judge(&object).faults;
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[99].path, "spec.lsmhooks[0].selectors[0].matchPIDs[0].values[99]");
    assert_eq!(
        (faults[100].code, faults[100].message.as_str()),
        (codes::TOO_MANY_FAULTS, "150 more faults are not shown")
    );
}

#[test]
fn beyond_a_hundred_warnings_they_are_counted() {
    let hooks: Vec<_> = (0..130).map(|n| json!({"call": format!("sys_unheard_{n}"), "syscall": true})).collect();
    let object = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "many"},
        "spec": {"kprobes": hooks},
    });
    let judgement = judge(&object);
    assert_eq!((judgement.warnings.len(), judgement.more_warnings), (101, 30), "{:?}", judgement.faults);
    let last = &judgement.warnings[100];
    assert_eq!((last.code, last.message.as_str()), (codes::TOO_MANY_WARNINGS, "30 more warnings are not shown"));
}

#[test]
fn the_schema_of_the_api_server_accepts_what_is_accepted_here() {
    for (name, path) in documents::all("valid").into_iter().chain(documents::all("language")) {
        assert_eq!(stockade_crds::offline::schema_faults(&documents::read(&path)), [], "{name}");
    }
}
