//! A document: what the policy as a whole says.

use serde_json::{Map, Value, json};

use super::Dice;

/// How much of the language a document is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it.
    Whole,
    /// What the engine carries out.
    Runs,
}

/// Who writes a document. What it means is decided by `dice`, how that is written by `style`.
pub(super) struct Author {
    pub(super) dice: Dice,
    pub(super) style: Dice,
    pub(super) reach: Reach,
    pub(super) namespaced: bool,
    pub(super) about_pods: bool,
    pub(super) one_node: bool,
    /// Some processes are out of scope.
    scoped: bool,
    /// Something refuses or signals.
    pub(super) acts: bool,
    pub(super) notifies: bool,
    lists: Map<String, Value>,
    pub(super) macros: Map<String, Value>,
}

/// The document of `meaning`, written in the way of `style`: whatever that is, the documents mean the same.
pub(crate) fn document(meaning: u64, style: u64, reach: Reach) -> Value {
    let mut dice = Dice::new(meaning);
    let namespaced = dice.one_in(5);
    let mut author = Author {
        dice,
        style: Dice::new(style),
        reach,
        namespaced,
        about_pods: false,
        one_node: false,
        scoped: false,
        acts: false,
        notifies: false,
        lists: Map::new(),
        macros: Map::new(),
    };
    let spec = author.spec();
    let mut metadata = json!({"name": "p"});
    if namespaced {
        metadata["namespace"] = json!("shop");
    }
    let kind = if namespaced { "TracingPolicyNamespaced" } else { "TracingPolicy" };
    let document = json!({"apiVersion": "cilium.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    in_any_order(document, &mut author.style)
}

/// The keys of objects have no order.
fn in_any_order(value: Value, style: &mut Dice) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, in_any_order(value, style))).collect();
            style.shuffle(&mut entries);
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(values) => values.into_iter().map(|value| in_any_order(value, style)).collect(),
        other => other,
    }
}

impl Author {
    fn spec(&mut self) -> Value {
        let mut spec = self.scope();
        for _ in 0..1 + self.dice.roll(2) {
            let (family, hook) = self.hook();
            let copies = if self.style.one_in(8) { 2 } else { 1 };
            let list = spec.entry(family).or_insert(json!([]));
            list.as_array_mut().unwrap().extend(std::iter::repeat_n(hook, copies));
        }
        for (_, hooks) in spec.iter_mut().filter(|(_, value)| value.is_array()) {
            self.style.shuffle(hooks.as_array_mut().unwrap());
        }
        if self.notifies {
            spec.insert("enforcers".into(), json!([{"calls": ["sys_openat", "sys_read"]}]));
        }
        if self.reach == Reach::Whole && !self.namespaced && !self.scoped && self.dice.one_in(12) {
            spec.insert("loader".into(), json!(true));
        }
        self.mode(&mut spec);
        if self.acts && self.dice.one_in(3) {
            spec.insert("onFault".into(), json!(self.dice.pick(&["Deny", "Allow"])));
        }
        if self.acts && self.dice.one_in(4) {
            spec.insert("minimumStrength".into(), json!(self.dice.pick(&["Signal", "Observe"])));
        }
        if !self.lists.is_empty() {
            let mut lists: Vec<Value> = std::mem::take(&mut self.lists).into_iter().map(|(_, list)| list).collect();
            self.style.shuffle(&mut lists);
            spec.insert("lists".into(), json!(lists));
        }
        if !self.macros.is_empty() {
            spec.insert("selectorsMacros".into(), Value::Object(std::mem::take(&mut self.macros)));
        }
        Value::Object(spec)
    }

    fn mode(&mut self, spec: &mut Map<String, Value>) {
        let monitor = self.dice.one_in(3);
        let (name, option) = if monitor { ("Monitor", "monitor") } else { ("Enforce", "enforce") };
        match self.style.roll(4) {
            0 => spec.insert("options".into(), json!([{"name": "policy-mode", "value": option}])),
            // Silence is to enforce.
            1 if !monitor => None,
            _ => spec.insert("mode".into(), json!(name)),
        };
    }

    fn scope(&mut self) -> Map<String, Value> {
        let mut scope = Map::new();
        let mut add = |name: &str, value| drop(scope.insert(name.into(), value));
        let which = self.dice.roll(8);
        if which == 1 || which == 2 {
            add("podSelector", self.pod_labels());
        }
        if which == 2 || which == 3 {
            add("containerSelector", self.container_labels());
        }
        if !self.namespaced && (which == 1 || which == 4) && self.dice.one_in(2) {
            add("hostSelector", json!({}));
        }
        self.about_pods = self.namespaced || (1..4).contains(&which);
        self.scoped = (1..5).contains(&which);
        self.one_node = self.dice.one_in(2);
        if self.one_node {
            add("nodeSelector", self.labels("kubernetes.io/hostname", &["node-1"]));
        } else if self.dice.one_in(4) {
            add("nodeSelector", self.labels("pool", &["a", "b"]));
        }
        scope
    }

    /// Pods by their labels.
    pub(super) fn pod_labels(&mut self) -> Value {
        let key = *self.dice.pick(&["app", "app", "tier"]);
        let values = self.dice.some(&["web", "db", "cache"], 2);
        match self.dice.roll(6) {
            0 => json!({"matchExpressions": [{"key": key, "operator": self.dice.pick(&["Exists", "DoesNotExist"])}]}),
            1 => json!({"matchExpressions": [{"key": key, "operator": "NotIn", "values": values}]}),
            2 => {
                let mut both = self.labels(key, &values);
                let more = json!({"key": "zone", "operator": "NotIn", "values": ["z"]});
                match both.get_mut("matchExpressions") {
                    Some(list) => list.as_array_mut().unwrap().push(more),
                    None => both["matchExpressions"] = json!([more]),
                }
                both
            }
            _ => self.labels(key, &values),
        }
    }

    pub(super) fn container_labels(&mut self) -> Value {
        let key = *self.dice.pick(&["name", "name", "repo"]);
        let values = self.dice.some(&["main", "side", "init"], 2);
        self.labels(key, &values)
    }

    /// A label that has one of the values.
    fn labels(&mut self, key: &str, values: &[&str]) -> Value {
        if values.len() == 1 && self.style.one_in(2) {
            return json!({"matchLabels": {key: values[0]}});
        }
        let mut values = values.to_vec();
        values.extend(self.style.one_in(4).then_some(values[0]));
        self.style.shuffle(&mut values);
        json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]})
    }

    /// A reference to a list, which is then in the document.
    pub(super) fn list(&mut self, name: &str) -> String {
        let mut list = match name {
            "calls" => {
                json!({"name": name, "type": "syscalls", "values": ["sys_openat", "i386/sys_read", "sys_close"]})
            }
            "functions" => json!({"name": name, "values": ["do_this", "do_that"]}),
            "every" => json!({"name": name, "type": "generated_syscalls"}),
            _ => json!({"name": name, "type": "generated_ftrace", "pattern": "^ksys_"}),
        };
        if let Some(values) = list.get_mut("values") {
            self.style.shuffle(values.as_array_mut().unwrap());
        }
        self.lists.insert(name.into(), list);
        format!("list:{name}")
    }
}
