//! What an API server with our CRDs would say about a document, without one.
//!
//! The same schema, evaluated by `jsonschema` instead of the API server: for the command line and for nodes without a
//! cluster. Codes are the reasons of Kubernetes' status causes.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Value, json};

use crate::names::{self, PolicyKind};
use crate::schema::policy_schema_of;

/// How many errors are looked at: nobody reads more at once.
const MAX_ERRORS: usize = 1000;
const MISTYPED: &str = "FieldValueTypeInvalid";

/// One thing that the API server would refuse before any webhook is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaFault {
    /// Where, as a Kubernetes field path.
    pub path: String,
    /// Reason of the status cause: `FieldValueRequired`.
    pub code: &'static str,
    /// What is wrong, in half a sentence.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// What the schema of the policy's kind refuses, sorted by path. Empty for objects of other kinds.
#[must_use]
pub fn schema_faults(object: &Value) -> Vec<SchemaFault> {
    if kind_of(object).is_none() { Vec::new() } else { schema_faults_in(object.clone()) }
}

/// The same for an object that nobody needs any more: a large one is not copied.
#[must_use]
pub fn schema_faults_in(mut object: Value) -> Vec<SchemaFault> {
    let Some(kind) = kind_of(&object) else { return Vec::new() };
    as_the_server_reads(&mut object, policy_schema_of(kind));
    let mut faults: Vec<_> = match validator(kind) {
        Ok(validator) => {
            let errors = validator.iter_errors(&object).take(MAX_ERRORS);
            errors.flat_map(|error| explain(&error, policy_schema_of(kind))).collect()
        }
        Err(reason) => vec![SchemaFault {
            path: String::new(),
            code: "InternalError",
            message: format!("the schema cannot be used: {reason}"),
            help: "report this".into(),
        }],
    };
    // What has the wrong type is in no enum either: one fault is enough.
    let mistyped: BTreeSet<_> = faults.iter().filter(|f| f.code == MISTYPED).map(|f| f.path.clone()).collect();
    faults.retain(|f| f.code == MISTYPED || !mistyped.contains(&f.path));
    faults.sort();
    faults.dedup();
    faults
}

fn kind_of(object: &Value) -> Option<PolicyKind> {
    let is_ours = object.get("apiVersion")?.as_str()? == names::POLICY_API_VERSION;
    PolicyKind::from_kind(object.get("kind")?.as_str()?).filter(|_| is_ours)
}

fn validator(kind: PolicyKind) -> &'static Result<Validator, String> {
    static CLUSTER: LazyLock<Result<Validator, String>> = LazyLock::new(|| build(PolicyKind::Cluster));
    static NAMESPACED: LazyLock<Result<Validator, String>> = LazyLock::new(|| build(PolicyKind::Namespaced));
    match kind {
        PolicyKind::Cluster => &CLUSTER,
        PolicyKind::Namespaced => &NAMESPACED,
    }
}

fn build(kind: PolicyKind) -> Result<Validator, String> {
    let mut schema = policy_schema_of(kind).clone();
    // kubectl asks the API server to be strict about fields that the schema would drop.
    if let Some(root) = schema.as_object_mut() {
        root.insert("additionalProperties".into(), json!(false));
    }
    bound_integers(&mut schema);
    jsonschema::draft4::new(&schema).map_err(|error| error.to_string())
}

/// Formats of integers are ranges to the API server, and nothing to JSON schema.
fn bound_integers(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(format) = map.get("format").and_then(Value::as_str) {
        let (least, most) = match format {
            "int32" => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        if map.get("type") == Some(&json!("integer")) {
            map.entry("minimum").or_insert_with(|| json!(least));
            map.entry("maximum").or_insert_with(|| json!(most));
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(bound_integers);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            bound_integers(inner);
        }
    }
}

/// The API server drops a null where the schema knows the field and does not allow null, and takes 3.0 for the integer 3,
/// before it validates.
fn as_the_server_reads(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let any = schema.get("additionalProperties").filter(|s| s.is_object());
            let of = |name: &str| known.and_then(|k: &Map<String, Value>| k.get(name)).or(any);
            map.retain(|name, inner| !(inner.is_null() && of(name).is_some()));
            for (name, inner) in map.iter_mut() {
                if let Some(schema) = of(name) {
                    as_the_server_reads(inner, schema);
                }
            }
        }
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *value = whole.into();
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| as_the_server_reads(item, schema));
            }
        }
        _ => {}
    }
}

/// The integer that `value` is, if it is one that a 64-bit float holds exactly.
#[must_use]
pub fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() != 0.0 || value.abs() > EXACT {
        return None;
    }
    format!("{value:.0}").parse().ok()
}

fn explain(error: &ValidationError<'_>, schema: &Value) -> Vec<SchemaFault> {
    let path = field_path(error.instance_path(), schema);
    let instance = error.instance();
    let one = |code, message: String, help: String| vec![SchemaFault { path: path.clone(), code, message, help }];
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![SchemaFault {
                path: child(&path, name),
                code: "FieldValueRequired",
                message: format!("{name} must be given"),
                help: format!("add {name}"),
            }]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| SchemaFault {
                path: child(&path, name),
                code: "UnknownField",
                message: format!("there is no field {name} here"),
                help: "remove it, or write it as it is spelt".into(),
            })
            .collect(),
        ValidationErrorKind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(JsonType::String) => "a string",
                TypeKind::Single(JsonType::Integer) => "an integer",
                TypeKind::Single(JsonType::Boolean) => "true or false",
                TypeKind::Single(JsonType::Array) => "a list",
                TypeKind::Single(JsonType::Object) => "an object",
                TypeKind::Single(_) | TypeKind::Multiple(_) => "another type",
            };
            let message = format!("{} is {}, where {wanted} is needed", short(instance), type_name(instance));
            one(MISTYPED, message, type_help(wanted, instance))
        }
        ValidationErrorKind::Enum { options } => {
            let message = format!("{} is not supported", short(instance));
            one("FieldValueNotSupported", message, format!("write one of {}", listed(options)))
        }
        ValidationErrorKind::Minimum { limit } => {
            one("FieldValueInvalid", format!("{} is too small", short(instance)), format!("write at least {limit}"))
        }
        ValidationErrorKind::Maximum { limit } => {
            one("FieldValueInvalid", format!("{} is too large", short(instance)), format!("write at most {limit}"))
        }
        ValidationErrorKind::MaxItems { limit } => {
            let count = instance.as_array().map_or(0, Vec::len);
            one("FieldValueTooMany", format!("{count} entries are too many"), format!("list at most {limit}"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            one("FieldValueTooLong", format!("{} is too long", short(instance)), format!("at most {limit} characters"))
        }
        ValidationErrorKind::Pattern { pattern } => one(
            "FieldValueInvalid",
            format!("{} does not have the right form", short(instance)),
            format!("it must match {pattern}"),
        ),
        other => one("FieldValueInvalid", error.to_string(), format!("see `{}` in the schema", other.keyword())),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a fractional number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn type_help(wanted: &str, instance: &Value) -> String {
    match (wanted, instance) {
        ("a string", Value::Bool(_) | Value::Number(_)) => format!("write it in quotes: \"{instance}\""),
        ("an integer" | "true or false", Value::String(_)) => format!("write {wanted}, without quotes"),
        _ => format!("write {wanted}"),
    }
}

fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}…")
}

fn listed(options: &Value) -> String {
    let words = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<_> = words.iter().filter_map(Value::as_str).filter(|w| !w.is_empty()).collect();
    words.join(", ")
}

/// `/spec/kprobes/0/call` as Kubernetes writes it: `spec.kprobes[0].call`; what the author named is in brackets as well:
/// `spec.podSelector.matchLabels[app]`.
fn field_path(location: &Location, schema: &Value) -> String {
    let (mut path, mut schema) = (String::new(), Some(schema));
    for segment in location {
        let below = |key: &str| schema.and_then(|s| s.get(key));
        match segment {
            LocationSegment::Property(name) => match below("properties").and_then(|known| known.get(name.as_ref())) {
                Some(field) => (path, schema) = (child(&path, &name), Some(field)),
                None => (path, schema) = (format!("{path}[{name}]"), below("additionalProperties")),
            },
            LocationSegment::Index(index) => (path, schema) = (format!("{path}[{index}]"), below("items")),
        }
    }
    path
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
