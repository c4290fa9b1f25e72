//! What the API server demands of a structural schema, and what admission demands of ours.

use serde_json::Value;
use stockade_crds::Crd;

/// Walks a schema and collects what is wrong with it.
struct Walker {
    faults: Vec<String>,
    under_spec: bool,
}

const FORBIDDEN: [&str; 18] = [
    "$ref",
    "$schema",
    "definitions",
    "$defs",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "writeOnly",
    "xml",
    "title",
    "nullable",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
];
const KNOWN: [&str; 17] = [
    "type",
    "description",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "enum",
    "format",
    "minimum",
    "maximum",
    "maxItems",
    "maxLength",
    "pattern",
    "default",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
];

impl Walker {
    fn fault(&mut self, path: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{path}: {what}"));
    }

    fn walk(&mut self, schema: &Value, path: &str) {
        let Some(map) = schema.as_object() else { return self.fault(path, "not an object") };
        for key in map.keys() {
            if FORBIDDEN.contains(&key.as_str()) || !KNOWN.contains(&key.as_str()) {
                self.fault(path, format_args!("{key} is not allowed"));
            }
        }
        let ty = map.get("type").and_then(Value::as_str).unwrap_or_default();
        if !["object", "array", "string", "integer", "boolean"].contains(&ty) {
            self.fault(path, format_args!("type {ty:?}"));
        }
        if map.contains_key("default") && path != "status" {
            self.fault(path, "has a default");
        }
        if map.contains_key("properties") && map.contains_key("additionalProperties") {
            self.fault(path, "has properties and additionalProperties");
        }
        let format = map.get("format").and_then(Value::as_str);
        match (ty, format) {
            ("integer", Some("int32" | "int64")) | ("string", None | Some("date-time")) => {}
            ("integer", other) => self.fault(path, format_args!("format {other:?}")),
            (_, Some(other)) => self.fault(path, format_args!("format {other:?}")),
            (_, None) => {}
        }
        let list = map.get("x-kubernetes-list-type").and_then(Value::as_str);
        match (ty, list, self.under_spec) {
            ("array", Some("atomic"), _) | ("array", Some("map"), false) => {}
            ("array", other, _) => self.fault(path, format_args!("list type {other:?}")),
            (_, Some(_), _) => self.fault(path, "list type on what is no list"),
            _ => {}
        }
        let keeps = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        if map.contains_key("properties") && keeps != self.under_spec {
            self.fault(path, format_args!("preserves unknown fields: {keeps}"));
        }
        if ty == "array" && !map.contains_key("items") {
            self.fault(path, "list without items");
        }
        for required in map.get("required").and_then(Value::as_array).into_iter().flatten() {
            if map["properties"].get(required.as_str().unwrap_or_default()).is_none() {
                self.fault(path, format_args!("requires {required}, which it does not have"));
            }
        }
        for (name, inner) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if path.is_empty() {
                self.under_spec = name == "spec";
            }
            if inner.get("description").is_none() && !["apiVersion", "kind", "metadata"].contains(&below.as_str()) {
                self.fault(&below, "is not described");
            }
            self.walk(inner, &below);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = map.get(key) {
                self.walk(inner, &format!("{path}.{key}"));
            }
        }
    }
}

fn faults_of(schema: &Value) -> Vec<String> {
    let mut walker = Walker { faults: vec![], under_spec: false };
    walker.walk(schema, "");
    walker.faults
}

#[test]
fn every_schema_is_structural_and_has_what_admission_needs() {
    for crd in Crd::ALL {
        assert_eq!(faults_of(&crd.schema()), Vec::<String>::new(), "{}", crd.name());
    }
}

#[test]
fn the_walker_finds_what_it_looks_for() {
    let whole = Crd::ALL[0].schema();
    for (pointer, value, expected) in [
        ("/properties/spec/properties/loader/default", serde_json::json!(false), "has a default"),
        ("/properties/spec/properties/loader/nullable", serde_json::json!(true), "nullable is not allowed"),
        ("/properties/spec/properties/kprobes/x-kubernetes-list-type", serde_json::json!("map"), "list type"),
        ("/properties/spec/properties/kprobes/items/type", Value::Null, "type \"\""),
        ("/properties/spec/x-kubernetes-preserve-unknown-fields", serde_json::json!(false), "preserves"),
        ("/properties/status/x-kubernetes-preserve-unknown-fields", serde_json::json!(true), "preserves"),
        (
            "/properties/spec/properties/kprobes/items/properties/args/items/properties/index/format",
            serde_json::json!("uint32"),
            "format",
        ),
    ] {
        let mut broken = whole.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[key] = value;
        let faults = faults_of(&broken);
        assert!(faults.iter().any(|f| f.contains(expected)), "{pointer}: {faults:?}");
    }
}

#[test]
fn a_crd_is_small_enough_for_what_carries_it() {
    for crd in Crd::ALL {
        let size = serde_json::to_string(&crd.manifest()).unwrap().len();
        assert!(size <= 240 * 1024, "{}: {size} bytes", crd.name());
    }
}

#[test]
fn both_kinds_of_policy_have_the_same_spec_and_status() {
    let [cluster, namespaced, _] = Crd::ALL.map(Crd::schema);
    assert_eq!(cluster["properties"], namespaced["properties"]);
}
