//! The Rust types and the schemas describe the same documents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use serde_json::{Map, Value, json};
use stockade_crds::{Crd, PolicyKind, PolicyStatus, TracingPolicySpec, schema_faults};

/// A value that has every field which the schema knows.
fn fullest(schema: &Value) -> Value {
    if let Some(word) = schema.get("enum").and_then(|e| e.as_array()?.last().cloned()) {
        return word;
    }
    match schema["type"].as_str().unwrap() {
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(known) => known.iter().map(|(name, inner)| (name.clone(), fullest(inner))).collect(),
            None => Map::from_iter([("key".to_owned(), fullest(&schema["additionalProperties"]))]).into(),
        },
        "array" => json!([fullest(&schema["items"])]),
        "integer" => json!(7),
        "boolean" => json!(false),
        "string" if schema.get("format").is_some() => json!("2026-01-02T03:04:05Z"),
        "string" => json!("text"),
        other => panic!("{other}"),
    }
}

fn policy(spec: impl Into<Value>) -> Value {
    json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec.into(),
    })
}

fn parts() -> [Value; 2] {
    let schema = Crd::Policy(PolicyKind::Cluster).schema();
    ["spec", "status"].map(|part| fullest(&schema["properties"][part]))
}

#[test]
fn a_document_with_every_field_survives_the_types_unchanged() {
    let [spec, status] = parts();
    let typed: TracingPolicySpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), spec);
    let typed: PolicyStatus = serde_json::from_value(status.clone()).unwrap();
    // Status words are open in the schema and closed in the types.
    let mut expected = status;
    expected["mode"] = json!("Other");
    expected["strength"] = json!("Other");
    assert_eq!(serde_json::to_value(typed).unwrap(), expected);
}

#[test]
fn a_document_with_every_field_satisfies_the_schema() {
    assert_eq!(schema_faults(&policy(parts()[0].clone())), vec![]);
}

#[test]
fn absent_and_false_stay_different() {
    for spec in [json!({}), json!({"loader": false}), json!({"kprobes": []})] {
        let typed: TracingPolicySpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), spec);
    }
}

#[test]
fn every_field_of_the_spec_is_typed_in_the_schema() {
    let [spec, _] = parts();
    fn break_one(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
        // An object in the place of a scalar, and a string in the place of an object or list, is never right.
        let wrong = if value.is_object() || value.is_array() { json!("wrong") } else { json!({"wrong": 1}) };
        out.push((path.to_owned(), wrong));
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| break_one(v, &format!("{path}/{k}"), out)),
            Value::Array(items) => break_one(&items[0], &format!("{path}/0"), out),
            _ => {}
        }
    }
    let mut cases = vec![];
    break_one(&spec, "", &mut cases);
    assert!(cases.len() > 500, "{}", cases.len());
    for (pointer, wrong) in cases {
        let mut broken = spec.clone();
        *broken.pointer_mut(&pointer).unwrap() = wrong;
        let faults = schema_faults(&policy(broken));
        assert_eq!(faults.len(), 1, "{pointer}: {faults:?}");
    }
}

#[test]
fn unknown_fields_in_spec_are_left_to_the_webhook_and_at_the_root_are_not() {
    let mut document = policy(json!({"kprobez": [], "kprobes": [{"call": "a", "matchPID": 1}]}));
    assert_eq!(schema_faults(&document), vec![]);
    document["spek"] = json!({});
    let faults = schema_faults(&document);
    assert_eq!((faults.len(), faults[0].path.as_str(), faults[0].code), (1, "spek", "UnknownField"));
}

#[test]
fn faults_say_where_and_what() {
    let document = policy(json!({"kprobes": [{
        "syscall": "yes",
        "args": [{"index": -1, "type": "itn"}],
        "selectors": [{"matchPIDs": [{"operator": "In", "values": ["1"]}]}],
        "tags": vec!["t"; 17],
    }], "podSelector": {"matchLabels": {"app": "no spaces"}}}));
    let faults: Vec<_> = schema_faults(&document)
        .into_iter()
        .map(|f| format!("{} {}: {}; {}", f.path, f.code, f.message, f.help))
        .collect();
    insta::assert_snapshot!(faults.join("\n"));
}

#[test]
fn nulls_of_known_fields_are_absent_as_they_are_to_the_api_server() {
    assert_eq!(schema_faults(&policy(json!({"podSelector": null, "kprobes": [{"call": "a", "args": null}]}))), vec![]);
    let faults = schema_faults(&policy(json!({"kprobes": [{"call": null}, null]})));
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn objects_of_other_kinds_are_none_of_our_business() {
    for other in [
        json!({"apiVersion": "v1", "kind": "Pod", "spec": 3}),
        json!({"apiVersion": "cilium.io/v2", "kind": "TracingPolicy"}),
        json!({"apiVersion": "cilium.io/v1alpha1", "kind": "PodInfo"}),
        json!([]),
        json!("text"),
    ] {
        assert_eq!(schema_faults(&other), vec![], "{other}");
    }
}
