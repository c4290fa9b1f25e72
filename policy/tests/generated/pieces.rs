//! Pieces of documents: one alternative, one entry of a filter, by itself.

use serde_json::{Map, Value, json};
use stockade_policy::language::{OPERATORS, operator};

/// The lists of hooks.
const FAMILIES: [&str; 6] = ["kprobes", "lsmhooks", "tracepoints", "fentries", "uprobes", "usdts"];

/// Where a selector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) family: &'static str,
    pub(crate) hook: usize,
    pub(crate) selector: usize,
}

/// Every selector of the document, and what it says with its macros.
pub(crate) fn selectors(document: &Value) -> Vec<(Place, Map<String, Value>)> {
    let mut found = Vec::new();
    for family in FAMILIES {
        let hooks = document["spec"][family].as_array().into_iter().flatten().enumerate();
        for (hook, value) in hooks {
            for (selector, own) in value["selectors"].as_array().into_iter().flatten().enumerate() {
                found.push((Place { family, hook, selector }, merged(document, own)));
            }
        }
    }
    found
}

fn merged(document: &Value, own: &Value) -> Map<String, Value> {
    let mut all = own.as_object().cloned().unwrap_or_default();
    let names = all.shift_remove("macros").unwrap_or_default();
    for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let piece = document["spec"]["selectorsMacros"][name].as_object().cloned().unwrap_or_default();
        all.extend(piece);
    }
    all
}

/// The filters of a selector, each entry by itself: its field, and the selector that has no other.
pub(crate) fn entries(selector: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (field, value) in selector {
        match value {
            Value::Array(entries) if field.starts_with("match") && !field.ends_with("Actions") => {
                found.extend(entries.iter().map(|entry| (field.clone(), entry.clone())));
            }
            Value::Object(_) if field.starts_with("match") => found.push((field.clone(), value.clone())),
            _ => {}
        }
    }
    found
}

/// A selector of one entry.
pub(crate) fn one(field: &str, entry: &Value) -> Value {
    if field == "matchWorkloads" { json!({field: entry}) } else { json!({field: [entry]}) }
}

/// The document with that hook alone, and these selectors on it.
pub(crate) fn only(document: &Value, place: Place, selectors: &[Value]) -> Value {
    let mut document = document.clone();
    let spec = document["spec"].as_object_mut().unwrap();
    let mut hook = spec[place.family][place.hook].clone();
    hook.as_object_mut().unwrap().shift_remove("selectors");
    if !selectors.is_empty() {
        hook["selectors"] = json!(selectors);
    }
    for name in FAMILIES {
        spec.shift_remove(name);
    }
    for name in ["enforcers", "loader", "onFault", "minimumStrength", "selectorsMacros"] {
        spec.shift_remove(name);
    }
    let text = hook.to_string();
    if let Some(lists) = spec.get_mut("lists").and_then(Value::as_array_mut) {
        lists.retain(|list| text.contains(&format!("\"list:{}\"", list["name"].as_str().unwrap_or_default())));
    }
    if spec.get("lists") == Some(&json!([])) {
        spec.shift_remove("lists");
    }
    spec.insert(place.family.into(), json!([hook]));
    document
}

/// The entry that says the contrary, if there is an operator for it.
pub(crate) fn negated(entry: &Value) -> Option<Value> {
    let name = entry["operator"].as_str()?;
    let opposite = match operator(name) {
        Some(own) => OPERATORS.iter().find(|o| o.subject == own.subject && o.negated != own.negated)?.name.to_owned(),
        None => name.strip_prefix("Not").map_or_else(|| format!("Not{name}"), ToOwned::to_owned),
    };
    let mut entry = entry.clone();
    entry["operator"] = json!(opposite);
    Some(entry)
}
