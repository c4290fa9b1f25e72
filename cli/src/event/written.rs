//! An event of the model as a test would write it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use stockade_policy::ir::Class;
use stockade_policy::model::{Ancestor, Place, Process};
use stockade_policy::witness::{Asked, Part, Told, Witness};

use super::value::{self, Known};

/// The fields of a test's event.
pub(crate) fn step(witness: &Witness) -> Map<String, Value> {
    let mut step = Map::new();
    step.insert("hook".into(), json!(witness.point));
    let numbers = (0..).map(|number: usize| number.to_string());
    let is_list = witness.arguments.iter().zip(numbers).all(|(told, number)| told.key == number);
    let args = witness.arguments.iter().map(|told| (told.key.clone(), of(told)));
    let args = if is_list { args.map(|(_, value)| value).collect() } else { Value::Object(args.collect()) };
    if !witness.arguments.is_empty() {
        step.insert("args".into(), args);
    }
    step.extend(witness.returned.as_ref().map(|told| ("returns".to_owned(), of(told))));
    let process = process(&witness.process, &witness.asked);
    if !process.is_empty() {
        step.insert("process".into(), process.into());
    }
    step
}

fn of(told: &Told) -> Value {
    let named = told.ty.class() == Class::Address;
    let name = |part: Part| match part {
        Part::Destination if named => "addr",
        Part::DestinationPort if named => "port",
        Part::Family => "family",
        Part::Protocol => "protocol",
        Part::Source => "saddr",
        Part::Destination => "daddr",
        Part::SourcePort => "sport",
        Part::DestinationPort => "dport",
        Part::State => "state",
    };
    let said: BTreeSet<&str> = told.parts.iter().map(|part| name(*part)).collect();
    let all = ["addr", "port", "family", "protocol", "saddr", "daddr", "sport", "dport", "state"];
    let unsaid = all.into_iter().filter(|name| !said.contains(name)).collect();
    value::written(told.ty, &Known { argument: told.value.clone(), unsaid })
}

fn process(process: &Process, asked: &BTreeSet<Asked>) -> Map<String, Value> {
    let mut fields = Map::new();
    let is = |what: Asked| asked.contains(&what);
    let own = process.lineage.first();
    fields.extend(own.into_iter().flat_map(|own| individual(own, asked, is(Asked::Binary))));
    let parents: Vec<Value> = process
        .lineage
        .iter()
        .skip(1)
        .map(|parent| Value::Object(individual(parent, asked, true).into_iter().collect()))
        .collect();
    if !parents.is_empty() && is(Asked::Parent) {
        fields.insert("parents".into(), parents.into());
    }
    if is(Asked::Pod) {
        fields.extend(pod(&process.place, is(Asked::Container)).map(|pod| ("pod".to_owned(), pod)));
    }
    let namespaces = |of: &std::collections::BTreeMap<stockade_policy::ir::Namespace, u32>| -> Value {
        let host = |namespace, inode| process.host_namespaces.get(namespace) == Some(inode);
        let one = |(namespace, inode)| {
            let inode = if host(namespace, inode) { json!("host") } else { json!(inode) };
            (format!("{namespace:?}"), inode)
        };
        Value::Object(of.iter().map(one).collect())
    };
    if is(Asked::Namespaces) || is(Asked::NamespacesAtExec) {
        fields.insert("namespaces".into(), namespaces(&process.namespaces));
    }
    let sets = |of: &std::collections::BTreeMap<_, stockade_policy::ir::Capabilities>| -> Value {
        let one = |(set, bits): (&stockade_policy::ir::CapabilitySet, &stockade_policy::ir::Capabilities)| {
            (format!("{set:?}"), value::capability_names(bits.0))
        };
        Value::Object(of.iter().map(one).collect())
    };
    if is(Asked::Capabilities) {
        fields.insert("capabilities".into(), sets(&process.capabilities));
    }
    let mut at_exec = Map::new();
    if is(Asked::NamespacesAtExec) && process.namespaces_at_exec != process.namespaces {
        at_exec.insert("namespaces".into(), namespaces(&process.namespaces_at_exec));
    }
    if is(Asked::CapabilitiesAtExec) && process.capabilities_at_exec != process.capabilities {
        at_exec.insert("capabilities".into(), sets(&process.capabilities_at_exec));
    }
    if !at_exec.is_empty() {
        fields.insert("atExec".into(), at_exec.into());
    }
    fields
}

fn individual(of: &Ancestor, asked: &BTreeSet<Asked>, with_binary: bool) -> Vec<(String, Value)> {
    let mut fields = Vec::new();
    if asked.contains(&Asked::Pid) {
        fields.push(("pid".to_owned(), json!(of.pid)));
    }
    if asked.contains(&Asked::OwnPid) {
        fields.extend(of.own_pid.map(|pid| ("ownPid".to_owned(), json!(pid))));
    }
    if with_binary {
        let binary = of.binary.as_ref().map_or_else(|| json!({"unreadable": true}), |binary| json!(binary));
        fields.push(("binary".to_owned(), binary));
    }
    fields
}

fn pod(place: &Place, with_container: bool) -> Option<Value> {
    let Place::Pod { namespace, labels, container } = place else {
        return (*place == Place::UnknownPod).then(|| json!("unknown"));
    };
    let mut fields = Map::new();
    fields.insert("namespace".into(), json!(namespace));
    if !labels.is_empty() {
        fields.insert("labels".into(), json!(labels));
    }
    if let Some((name, repo)) = container.as_ref().filter(|_| with_container) {
        fields.insert("container".into(), json!({"name": name, "repo": repo}));
    }
    Some(fields.into())
}

/// A value as YAML on one line.
pub(crate) fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}: {}", word(name), flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => word(text),
        other => other.to_string(),
    }
}

/// In quotes, unless every reader of YAML takes it for the same text. Names that are numbers are read as text anyway.
fn word(text: &str) -> String {
    const OTHERS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let is_plain = starts && text.bytes().all(plain) && !OTHERS.contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}
