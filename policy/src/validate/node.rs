//! A value in the document together with its field path.
//!
//! The readers answer `None` for a wrong type: the structure check has reported that already, and everything else in the
//! document can still be judged.

use std::borrow::Cow;

use serde_json::Value;

use crate::language::limits::TEXT_UNIT;

/// The whole number that `value` is. To the API server 3.0 is one too.
pub(super) fn integer(value: &Value) -> Option<i64> {
    /// Beyond it, not every whole number is a floating one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT)?;
        format!("{float:.0}").parse().ok()
    })
}

/// A value that says what silence says.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(_) => integer(value) == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => !map.is_empty() && map.values().all(is_default),
    }
}

/// A key of a map as it is shown in paths: everything below would repeat a long one.
pub(super) fn in_path(key: &str) -> Cow<'_, str> {
    /// No name of Kubernetes is longer: a label's key with its prefix.
    const LONGEST: usize = 317;
    const SHOWN: usize = 60;
    if key.len() <= LONGEST {
        return Cow::Borrowed(key);
    }
    Cow::Owned(key.chars().take(SHOWN).chain(['…']).collect())
}

/// A value and where it is.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    pub(super) fn new(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a field, whether or not it is written.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field of an object. `null` is an absent field: the API server drops nulls before anyone sees them.
    pub(super) fn field(&self, name: &str) -> Option<Node<'a>> {
        let value = self.value.as_object()?.get(name)?;
        (!value.is_null()).then(|| Node { value, path: self.path_of(name) })
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let path = self.path.clone();
        self.value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(index, value)| Node { value, path: format!("{path}[{index}]") })
    }

    /// The entries of a map, with their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + use<'a> {
        let path = self.path.clone();
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(key, value)| (key.as_str(), Node { value, path: format!("{path}[{}]", in_path(key)) }))
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.value.as_bool()
    }

    pub(super) fn integer(&self) -> Option<i64> {
        integer(self.value)
    }

    /// A field that says more than silence does: upstream's schema writes `false`, 0, "" and [] into objects on its own.
    pub(super) fn said(&self, name: &str) -> Option<Node<'a>> {
        self.field(name).filter(|field| !is_default(field.value))
    }

    /// The elements of the list in field `name`; none when it is absent.
    pub(super) fn list(&self, name: &str) -> Vec<Node<'a>> {
        self.each(name).collect()
    }

    /// The same one by one: for lists that may be long.
    pub(super) fn each(&self, name: &str) -> impl Iterator<Item = Node<'a>> + use<'a> {
        self.field(name).into_iter().flat_map(|list| list.items())
    }

    /// How much it is to be read once more: 1 for each value in it, and for each [`TEXT_UNIT`] bytes of a text.
    pub(super) fn weight(&self) -> usize {
        fn of(value: &Value) -> usize {
            match value {
                Value::String(text) => 1 + text.len() / TEXT_UNIT,
                Value::Array(values) => 1 + values.iter().map(of).sum::<usize>(),
                Value::Object(map) => 1 + map.values().map(of).sum::<usize>(),
                _ => 1,
            }
        }
        of(self.value)
    }

    /// How many elements the list in field `name` has; 0 when it is absent.
    pub(super) fn count(&self, name: &str) -> usize {
        self.value.get(name).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The text in field `name`; empty when it is absent.
    pub(super) fn text_of(&self, name: &str) -> &'a str {
        self.field(name).and_then(|field| field.text()).unwrap_or_default()
    }

    /// The flag in field `name`.
    pub(super) fn flag_of(&self, name: &str) -> Option<bool> {
        self.field(name).and_then(|field| field.flag())
    }
}
