//! Selectors: what they ask.

use serde_json::{Map, Value, json};
use stockade_policy::ir::{ArgType, Class, StringCompare};
use stockade_policy::language::{OPERATORS, Operator, Subject};

use super::documents::{Author, Reach};
use super::hooks::{Place, may};
use super::values::{self, Item};

impl Author {
    pub(super) fn selectors(&mut self, place: &Place) -> Vec<Value> {
        let count = *self.dice.pick(&[0, 1, 1, 1, 2, 2, 3, 4]);
        let mut selectors: Vec<Map<String, Value>> = Vec::new();
        for at in 0..count {
            let mut selector = self.filters(place);
            // Alternatives that have something in common can cover each other.
            if let Some(other) = selectors.last().filter(|_| self.dice.one_in(3)) {
                selector = other.clone();
                let keys: Vec<String> = selector.keys().filter(|key| key.starts_with("match")).cloned().collect();
                if !keys.is_empty() && self.dice.one_in(2) {
                    selector.shift_remove(self.dice.pick(&keys));
                } else {
                    selector.extend(self.filters(place));
                }
            }
            for field in ["matchActions", "matchReturnArgs", "matchReturnActions", "label"] {
                selector.shift_remove(field);
            }
            self.done(&mut selector, place, at + 1 == count);
            if selector.keys().any(|key| key != "label") {
                selectors.push(selector);
            }
        }
        let mut written = Vec::new();
        for selector in selectors {
            let selector = self.with_macros(selector);
            // What is said twice in a row means what it means once.
            let copies = if self.style.one_in(8) { 2 } else { 1 };
            written.extend(std::iter::repeat_n(Value::Object(selector), copies));
        }
        written
    }

    fn done(&mut self, selector: &mut Map<String, Value>, place: &Place, last: bool) {
        let actions = self.actions(place, last, false);
        if !actions.is_empty() {
            selector.insert("matchActions".into(), json!(actions));
        }
        if self.reach == Reach::Whole && self.dice.one_in(6) {
            selector.insert("label".into(), json!(self.dice.pick(&["one", "two"])));
        }
        let Some(ty) = place.returns.filter(|_| self.dice.one_in(2)) else { return };
        let args = self.entries(|author| author.compare(ty, &[], None));
        selector.insert("matchReturnArgs".into(), json!(args));
        if self.dice.one_in(2) {
            let actions = self.actions(place, true, true);
            if !actions.is_empty() {
                selector.insert("matchReturnActions".into(), json!(actions));
            }
        }
    }

    /// What is written in the selector can be written in a macro.
    fn with_macros(&mut self, mut selector: Map<String, Value>) -> Map<String, Value> {
        let keys: Vec<String> = selector.keys().filter(|key| *key != "macros").cloned().collect();
        if keys.is_empty() || !self.style.one_in(5) {
            return selector;
        }
        let key = self.style.pick(&keys).clone();
        let piece = json!({key.clone(): selector.shift_remove(&key)});
        let known = self.macros.iter().find(|(_, own)| **own == piece).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| format!("m{}", self.macros.len()));
        self.macros.insert(name.clone(), piece);
        selector.insert("macros".into(), json!([name]));
        selector
    }

    fn filters(&mut self, place: &Place) -> Map<String, Value> {
        let mut selector = Map::new();
        let reach = self.reach;
        let asks =
            |author: &mut Self, filter: &'static str, sides: usize| may(reach, filter) && author.dice.one_in(sides);
        if asks(self, "matchPIDs", 6) {
            selector.insert("matchPIDs".into(), json!(self.entries(Self::pids)));
        }
        if asks(self, "matchBinaries", 5) {
            selector.insert("matchBinaries".into(), json!(self.entries(Self::binaries)));
        }
        if asks(self, "matchParentBinaries", 8) {
            selector.insert("matchParentBinaries".into(), json!(self.entries(Self::binaries)));
        }
        if asks(self, "matchNamespaces", 8) {
            selector.insert("matchNamespaces".into(), json!(self.entries(Self::namespaces)));
        }
        if asks(self, "matchNamespaceChanges", 12) {
            selector.insert("matchNamespaceChanges".into(), json!(self.entries(Self::namespace_changes)));
        }
        if asks(self, "matchCapabilities", 10) {
            selector.insert("matchCapabilities".into(), json!(self.entries(Self::capabilities)));
        }
        if asks(self, "matchCapabilityChanges", 12) {
            selector.insert("matchCapabilityChanges".into(), json!(self.entries(Self::capabilities)));
        }
        if asks(self, "matchWorkloads", 12) {
            let (name, labels) = match self.dice.roll(3) {
                0 => ("containerSelector", self.container_labels()),
                1 if !self.namespaced => ("hostSelector", json!({})),
                _ => ("podSelector", self.pod_labels()),
            };
            selector.insert("matchWorkloads".into(), json!({name: labels}));
        }
        if !place.args.is_empty() && self.dice.one_in(2) {
            let args = self.entries(|author| author.argument(place));
            if !args.is_empty() {
                selector.insert("matchArgs".into(), json!(args));
            }
        }
        if !place.data.is_empty() && self.dice.one_in(3) {
            let ty = place.data[0];
            selector.insert("matchData".into(), json!(self.entries(|author| author.compare(ty, &[], None))));
        }
        selector
    }

    /// One to three entries, in any order; the same once more is the same.
    fn entries(&mut self, one: impl Fn(&mut Self) -> Vec<Value>) -> Vec<Value> {
        let count = *self.dice.pick(&[1, 1, 1, 1, 2, 3]);
        let mut entries: Vec<Value> = Vec::new();
        for _ in 0..count {
            entries.extend(one(self));
        }
        if let Some(first) = entries.first().cloned().filter(|_| self.style.one_in(5)) {
            entries.push(first);
        }
        self.style.shuffle(&mut entries);
        entries
    }

    /// Values that may be listed in one entry, or, negated, in two.
    fn split<T: Clone>(&mut self, negated: bool, values: Vec<T>) -> Vec<Vec<T>> {
        if !negated || values.len() < 2 || !self.style.one_in(3) {
            return vec![values];
        }
        let at = 1 + self.style.roll(values.len() - 1);
        let (left, right) = values.split_at(at);
        vec![left.to_vec(), right.to_vec()]
    }

    fn each_of(&mut self, negated: bool, values: Vec<Value>, entry: &Value) -> Vec<Value> {
        let mut entries = Vec::new();
        for mut values in self.split(negated, values) {
            if let Some(first) = values.first().cloned().filter(|_| self.style.one_in(4)) {
                values.push(first);
            }
            self.style.shuffle(&mut values);
            let mut entry = entry.clone();
            entry["values"] = json!(values);
            entries.push(entry);
        }
        entries
    }

    fn listed(&mut self) -> (&'static str, bool) {
        *self.dice.pick(&[("In", false), ("NotIn", true)])
    }

    /// `field: false` is what silence says.
    fn flag(&mut self, entry: &mut Value, field: &str, sides: usize) -> bool {
        let flag = self.dice.one_in(sides);
        if flag || self.style.one_in(3) {
            entry[field] = json!(flag);
        }
        flag
    }

    fn pids(&mut self) -> Vec<Value> {
        let (operator, negated) = self.listed();
        let mut entry = json!({"operator": operator, "followForks": self.dice.one_in(2)});
        let own = self.namespaced || self.dice.one_in(2);
        if self.about_pods || own {
            entry["isNamespacePID"] = json!(own);
        }
        let known: &[u32] = if own || self.one_node { &[1, 2, 3, 7, 4_194_304] } else { &[1, 2] };
        let pids = self.dice.some(known, 3).into_iter().map(Value::from).collect();
        self.each_of(negated, pids, &entry)
    }

    fn binaries(&mut self) -> Vec<Value> {
        let operators = [
            ("In", StringCompare::Equal, false),
            ("NotIn", StringCompare::Equal, true),
            ("Prefix", StringCompare::Prefix, false),
            ("NotPrefix", StringCompare::Prefix, true),
            ("Postfix", StringCompare::Postfix, false),
            ("NotPostfix", StringCompare::Postfix, true),
        ];
        let (operator, compare, negated) = *self.dice.pick(&operators);
        let mut entry = json!({"operator": operator});
        if self.reach == Reach::Whole || compare == StringCompare::Equal {
            self.flag(&mut entry, "followChildren", 3);
        }
        let values = self.dice.some(&values::paths(compare), 3).into_iter().map(|item| match item {
            Item::Text(text) => json!(text),
            _ => Value::Null,
        });
        let values = values.collect();
        self.each_of(negated, values, &entry)
    }

    fn namespaces(&mut self) -> Vec<Value> {
        let (operator, negated) = self.listed();
        let namespace = *self.dice.pick(&["Mnt", "Net", "User", "Pid", "PidForChildren"]);
        let entry = json!({"namespace": namespace, "operator": operator});
        let values = self.dice.some(&["host_ns", "4026531836", "4026532001"], 2);
        self.each_of(negated, values.into_iter().map(Value::from).collect(), &entry)
    }

    fn namespace_changes(&mut self) -> Vec<Value> {
        let (operator, negated) = self.listed();
        let values = self.dice.some(&["Mnt", "Net", "User", "Uts"], 3);
        self.each_of(negated, values.into_iter().map(Value::from).collect(), &json!({"operator": operator}))
    }

    fn capabilities(&mut self) -> Vec<Value> {
        let (operator, negated) = self.listed();
        let mut entry = json!({"operator": operator});
        match *self.dice.pick(&["Effective", "Effective", "Permitted", "Inheritable"]) {
            "Effective" if self.style.one_in(2) => {}
            set => entry["type"] = json!(set),
        }
        self.flag(&mut entry, "isNamespaceCapability", 5);
        let values = self.dice.some(&values::capabilities(), 3).into_iter().map(Value::from).collect();
        self.each_of(negated, values, &entry)
    }

    fn argument(&mut self, place: &Place) -> Vec<Value> {
        let whole = self.reach == Reach::Whole;
        let numbers: Vec<usize> = positions(place, |class| matches!(class, Class::Number { .. }));
        let sets: Vec<usize> = positions(place, |class| matches!(class, Class::Capabilities));
        if whole && !numbers.is_empty() && self.dice.one_in(5) {
            let text = self.expression(&numbers, 2);
            return vec![json!({"operator": "CelExpr", "values": [text]})];
        }
        if whole && sets.len() > 1 && self.dice.one_in(2) {
            let pair = self.dice.some(&sets, 2);
            let (old, new) = (pair[0], *pair.last().unwrap());
            return vec![json!({"operator": "CapabilitiesGained", "args": [old, new]})];
        }
        let at = self.dice.roll(place.args.len());
        let (index, ty) = place.args[at];
        self.compare(ty, &[("index", index), ("args", at as u32)], Some(index))
    }

    /// A filter on a value of the type; none if nothing can be asked of it. `names`: the fields that can say which it is.
    fn compare(&mut self, ty: ArgType, names: &[(&str, u32)], index: Option<u32>) -> Vec<Value> {
        let reach = self.reach;
        let usable = |operator: &&Operator| {
            let known = !matches!(operator.subject, Subject::Gained | Subject::Expression);
            known && operator.subject.is_about(ty.class()) && (reach == Reach::Whole || runs(operator.subject))
        };
        let operators: Vec<Operator> = OPERATORS.iter().filter(usable).copied().collect();
        if operators.is_empty() {
            return Vec::new();
        }
        let Operator { subject, negated, .. } = *self.dice.pick(&operators);
        let mut entry = json!({});
        match names {
            [(_, number), _] if self.style.one_in(2) && (*number != 0 || self.style.one_in(2)) => {
                entry["index"] = json!(number);
            }
            // Silence is argument 0.
            [(_, 0), _] if self.style.one_in(2) => {}
            [_, (_, at)] if self.style.one_in(2) => entry["args"] = json!([at]),
            _ => entry["index"] = json!(index.unwrap_or(0)),
        }
        if matches!(subject, Subject::Privileged(_)) {
            entry["operator"] = json!(self.operator(subject, negated, ty));
            return vec![entry];
        }
        let pool = values::pool(subject, ty);
        let most = if matches!(subject, Subject::Above | Subject::Below) { 1 } else { 3 };
        if pool.is_empty() {
            return Vec::new();
        }
        let items = self.dice.some(&pool, most);
        let named = subject == Subject::Map && ty.class() == Class::Syscall && self.dice.one_in(2);
        let named = named.then(|| self.list("calls"));
        let mut entries = Vec::new();
        for items in self.split(negated && named.is_none(), items) {
            let mut entry = entry.clone();
            let operator = self.operator(subject, negated, ty);
            let map = operator.ends_with("InMap");
            let range = operator.ends_with("InRange");
            let mut values = if range { ranges(&items) } else { values::written(&items, map, &mut self.style) };
            if let Some(list) = &named {
                values.as_array_mut().unwrap().push(json!(list));
            }
            entry["operator"] = json!(operator);
            entry["values"] = values;
            if subject == Subject::Above || subject == Subject::Below {
                entry["values"] = json!([entry["values"][0]]);
            }
            entries.push(entry);
        }
        entries
    }

    /// One of the operators that mean the same.
    fn operator(&mut self, subject: Subject, negated: bool, ty: ArgType) -> &'static str {
        // A list of numbers is a map without ranges, and ranges are one of nothing else.
        let map = Subject::Map.is_about(ty.class()) && matches!(subject, Subject::Value | Subject::Range);
        let subject = if map && self.reach == Reach::Whole && self.style.one_in(2) { Subject::Map } else { subject };
        let same = |operator: &&Operator| operator.subject == subject && operator.negated == negated;
        let names: Vec<&str> = OPERATORS.iter().filter(same).map(|operator| operator.name).collect();
        self.style.pick::<&str>(&names)
    }

    /// Something true or false about numbers.
    fn expression(&mut self, numbers: &[usize], depth: usize) -> String {
        let space = *self.style.pick(&["", " "]);
        if depth > 0 && self.dice.one_in(2) {
            let left = self.expression(numbers, depth - 1);
            let right = self.expression(numbers, depth - 1);
            return match self.dice.roll(3) {
                0 => format!("({left}){space}&&{space}({right})"),
                1 => format!("({left}){space}||{space}({right})"),
                _ => format!("!({left})"),
            };
        }
        let at = *self.dice.pick(numbers);
        let literal = *self.dice.pick(&[0, 1, 2, 3, 7, 100]);
        let term = match self.dice.roll(5) {
            0 => format!("and(arg{at}, {literal})"),
            1 => format!("arg{at}{space}+{space}1"),
            _ => format!("arg{at}"),
        };
        let literal = *self.dice.pick(&[0, 1, 2, 3, 7, 100]);
        let compare = *self.dice.pick(&["==", "!=", "<", "<=", ">", ">="]);
        let turned = match compare {
            "<" => ">",
            "<=" => ">=",
            ">" => "<",
            ">=" => "<=",
            same => same,
        };
        if ["==", "!="].contains(&compare) || self.style.one_in(2) {
            format!("{term}{space}{compare}{space}{literal}")
        } else {
            format!("{literal}{space}{turned}{space}{term}")
        }
    }
}

fn positions(place: &Place, is: impl Fn(Class) -> bool) -> Vec<usize> {
    place.args.iter().enumerate().filter(|(_, (_, ty))| is(ty.class())).map(|(at, _)| at).collect()
}

/// Ranges as `InRange` wants them.
fn ranges(items: &[Item]) -> Value {
    let text = |item: &Item| match item {
        Item::Numbers(first, last) => json!(format!("{first}:{last}")),
        _ => Value::Null,
    };
    items.iter().map(text).collect()
}

/// Whether the engine has a test for it.
fn runs(subject: Subject) -> bool {
    !matches!(
        subject,
        Subject::Above
            | Subject::Below
            | Subject::Range
            | Subject::Mask
            | Subject::Substring { .. }
            | Subject::State
            | Subject::FileType
    )
}
