//! The process of a test: what is written of it, field by field, over what the file says for all of its tests.

use std::collections::BTreeMap;

use serde_json::Value;
use stockade_policy::ir::{Capabilities, CapabilitySet, Namespace};
use stockade_policy::model::{Ancestor, Place, Process};
use stockade_policy::witness::hosts;

use super::shape::{Shape, below};
use crate::event::value::{capabilities, whole};
use crate::event::{Said, Subject};

/// The highest pid that a kernel gives.
const LAST_PID: i128 = 4_194_304;

type Namespaces = BTreeMap<Namespace, u32>;
type Sets = BTreeMap<CapabilitySet, Capabilities>;

/// What is written of a process; `None`: nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    own: Individual,
    parents: Option<Vec<Individual>>,
    pod: Option<Place>,
    namespaces: Option<Namespaces>,
    capabilities: Option<Sets>,
    namespaces_at_exec: Option<Namespaces>,
    capabilities_at_exec: Option<Sets>,
}

#[derive(Debug, Clone, Default)]
struct Individual {
    pid: Option<u32>,
    own_pid: Option<u32>,
    /// `Some(None)`: it cannot be read.
    binary: Option<Option<String>>,
}

const OF_ONE: [&str; 3] = ["pid", "ownPid", "binary"];
const OF_ALL: [&str; 8] = ["pid", "ownPid", "binary", "parents", "pod", "namespaces", "capabilities", "atExec"];

impl Written {
    pub(super) fn read(shape: &mut Shape, value: &Value, path: &str) -> Self {
        let mut written = Self::default();
        let Some(fields) = shape.fields(value, path, &OF_ALL) else { return written };
        written.own = Individual::read(shape, value, path);
        for (name, value) in fields {
            let path = below(path, name);
            match name.as_str() {
                "parents" => {
                    let list = shape.list(value, &path, "parents, the nearest first").iter().enumerate();
                    let mut one = |(at, value): (usize, &Value)| {
                        let path = format!("{path}[{at}]");
                        shape.fields(value, &path, &OF_ONE)?;
                        Some(Individual::read(shape, value, &path))
                    };
                    written.parents = Some(list.filter_map(&mut one).collect());
                }
                "pod" => written.pod = pod(shape, value, &path),
                "namespaces" => written.namespaces = Some(namespaces(shape, value, &path)),
                "capabilities" => written.capabilities = Some(sets(shape, value, &path)),
                "atExec" => {
                    let at_exec = shape.fields(value, &path, &["namespaces", "capabilities"]);
                    let part = |name: &str| at_exec.and_then(|fields| Some((fields.get(name)?, below(&path, name))));
                    written.namespaces_at_exec =
                        part("namespaces").map(|(value, path)| namespaces(shape, value, &path));
                    written.capabilities_at_exec = part("capabilities").map(|(value, path)| sets(shape, value, &path));
                }
                _ => {}
            }
        }
        written
    }

    /// This, and of what it does not say, what `base` says.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            own: Individual {
                pid: self.own.pid.or(base.own.pid),
                own_pid: self.own.own_pid.or(base.own.own_pid),
                binary: self.own.binary.or(base.own.binary),
            },
            parents: self.parents.or(base.parents),
            pod: self.pod.or(base.pod),
            namespaces: self.namespaces.or(base.namespaces),
            capabilities: self.capabilities.or(base.capabilities),
            namespaces_at_exec: self.namespaces_at_exec.or(base.namespaces_at_exec),
            capabilities_at_exec: self.capabilities_at_exec.or(base.capabilities_at_exec),
        }
    }

    /// The process, with the defaults: outside of pods, there with the host's namespaces; without parents; unchanged since it
    /// was executed.
    pub(super) fn subject(self) -> Subject {
        let place = self.pod.unwrap_or_default();
        let mut namespaces = if place == Place::Host { hosts() } else { Namespaces::new() };
        namespaces.extend(self.namespaces.unwrap_or_default());
        let capabilities = self.capabilities.unwrap_or_default();
        let lineage: Vec<Individual> = [self.own].into_iter().chain(self.parents.unwrap_or_default()).collect();
        let mut namespaces_at_exec = namespaces.clone();
        namespaces_at_exec.extend(self.namespaces_at_exec.unwrap_or_default());
        let mut capabilities_at_exec = capabilities.clone();
        capabilities_at_exec.extend(self.capabilities_at_exec.unwrap_or_default());
        Subject {
            said: lineage.iter().map(|one| Said { pid: one.pid.is_some(), binary: one.binary.is_some() }).collect(),
            process: Process {
                lineage: lineage.into_iter().map(Individual::ancestor).collect(),
                namespaces,
                namespaces_at_exec,
                capabilities,
                capabilities_at_exec,
                host_namespaces: hosts(),
                place,
            },
            has_more_parents: false,
            place_is_said: true,
        }
    }
}

impl Individual {
    /// Of an object that has fields of [`OF_ONE`], and maybe others.
    fn read(shape: &mut Shape, value: &Value, path: &str) -> Self {
        let mut pid = |name: &str| shape.number(value.get(name)?, &below(path, name), [1, LAST_PID]);
        let (own, in_namespace) = (pid("pid"), pid("ownPid"));
        let binary = value.get("binary").and_then(|binary| {
            if binary.get("unreadable") == Some(&Value::Bool(true)) {
                return Some(None);
            }
            shape.text(binary, &below(path, "binary"), "the path of its executable, or {unreadable: true}").map(Some)
        });
        Self { pid: own, own_pid: in_namespace, binary }
    }

    fn ancestor(self) -> Ancestor {
        Ancestor { pid: self.pid.unwrap_or(0), own_pid: self.own_pid, binary: self.binary.flatten() }
    }
}

fn pod(shape: &mut Shape, value: &Value, path: &str) -> Option<Place> {
    if value == "unknown" {
        return Some(Place::UnknownPod);
    }
    if value == "none" {
        return Some(Place::Host);
    }
    if value.is_string() {
        let help =
            "write {namespace: shop, labels: {app: web}}, or unknown for one that the node does not know yet, or none";
        shape.wrong(path, "WrongType", "this is no pod", help);
        return None;
    }
    let fields = shape.fields(value, path, &["namespace", "labels", "container"])?;
    let at = |name: &str| below(path, name);
    let Some(namespace) = fields.get("namespace") else {
        shape.wrong(path, "Required", "the pod has no namespace", "write its namespace");
        return None;
    };
    let namespace = shape.text(namespace, &at("namespace"), "the pod's namespace")?;
    let mut labels = BTreeMap::new();
    for (name, value) in fields.get("labels").and_then(Value::as_object).into_iter().flatten() {
        // An empty one is a label, too.
        match value.as_str() {
            Some(value) => drop(labels.insert(name.clone(), value.to_owned())),
            None => shape.wrong(&below(&at("labels"), name), "WrongType", "labels are text", "write it in quotes"),
        }
    }
    if fields.get("labels").is_some_and(|labels| !labels.is_object()) {
        shape.wrong(&at("labels"), "WrongType", "these are no labels", "write {app: web}");
    }
    let container = fields.get("container").and_then(|value| {
        let path = at("container");
        let fields = shape.fields(value, &path, &["name", "repo"])?;
        let mut part = |name: &str| {
            fields.get(name).map_or(Some(String::new()), |value| shape.text(value, &below(&path, name), "text"))
        };
        Some((part("name")?, part("repo")?))
    });
    Some(Place::Pod { namespace, labels, container })
}

fn namespaces(shape: &mut Shape, value: &Value, path: &str) -> Namespaces {
    let spelt = |namespace: Namespace| format!("{namespace:?}");
    let names: Vec<String> = Namespace::ALL.into_iter().map(spelt).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(fields) = shape.fields(value, path, &known) else { return Namespaces::new() };
    let mut found = Namespaces::new();
    for (namespace, host) in hosts() {
        let name = spelt(namespace);
        let inode = match fields.get(&name) {
            None => continue,
            Some(value) if value == "host" => Some(host),
            Some(value) => whole(value).and_then(|number| u32::try_from(number).ok()),
        };
        match inode {
            Some(inode) => drop(found.insert(namespace, inode)),
            None => {
                let help = "write its inode number, or host for the host's";
                shape.wrong(&below(path, &name), "ValueInvalid", "this is no namespace", help);
            }
        }
    }
    found
}

/// A list is what it may do: its effective and its permitted ones.
fn sets(shape: &mut Shape, value: &Value, path: &str) -> Sets {
    const ALL: [(&str, CapabilitySet); 3] = [
        ("Effective", CapabilitySet::Effective),
        ("Permitted", CapabilitySet::Permitted),
        ("Inheritable", CapabilitySet::Inheritable),
    ];
    let mut read = |value: &Value, path: &str| match capabilities(value) {
        Ok(bits) => Some(Capabilities(bits)),
        Err(help) => {
            shape.wrong(path, "ValueInvalid", "these are no capabilities", help);
            None
        }
    };
    if !value.is_object() {
        let Some(has) = read(value, path) else { return Sets::new() };
        let none = (CapabilitySet::Inheritable, Capabilities(0));
        return [(CapabilitySet::Effective, has), (CapabilitySet::Permitted, has), none].into();
    }
    let found =
        ALL.iter().filter_map(|(name, set)| Some((*set, read(value.get(*name)?, &below(path, name))?))).collect();
    shape.fields(value, path, &ALL.map(|(name, _)| name));
    found
}
