//! Reading values of a given shape, and saying what is wrong with those that have another.

use serde_json::{Map, Value};
use stockade_policy::Fault;
use stockade_policy::language::nearest;

use crate::event::value::whole;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) faults: Vec<Fault>,
}

impl Shape {
    pub(super) fn wrong(
        &mut self,
        path: &str,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.faults.push(Fault { path: path.to_owned(), code, message: message.into(), help: help.into() });
    }

    /// The fields of an object that may have these and no others.
    pub(super) fn fields<'v>(
        &mut self,
        value: &'v Value,
        path: &str,
        known: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        let Some(fields) = value.as_object() else {
            self.wrong(path, "WrongType", "this is no object", format!("write fields below it: {}", known.join(", ")));
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let help = nearest(name, known.iter().copied())
                .map_or_else(|| format!("write one of {}", known.join(", ")), |name| format!("did you mean {name}?"));
            self.wrong(&below(path, name), "UnknownField", format!("there is no field {name} here"), help);
        }
        Some(fields)
    }

    pub(super) fn text(&mut self, value: &Value, path: &str, what: &str) -> Option<String> {
        let text = value.as_str().map(str::to_owned).filter(|text| !text.is_empty());
        if text.is_none() {
            let (message, quotes) = match value {
                Value::Bool(_) | Value::Number(_) => {
                    (format!("this is no text: YAML reads it as {value}"), ", in quotes")
                }
                _ => ("this is no text".to_owned(), ""),
            };
            self.wrong(path, "WrongType", message, format!("write {what}{quotes}"));
        }
        text
    }

    pub(super) fn list<'v>(&mut self, value: &'v Value, path: &str, what: &str) -> &'v [Value] {
        let list = value.as_array().map(Vec::as_slice);
        if list.is_none() {
            self.wrong(path, "WrongType", "this is no list", format!("write a list of {what}"));
        }
        list.unwrap_or_default()
    }

    /// A whole number in a range.
    pub(super) fn number<T: TryFrom<i128>>(&mut self, value: &Value, path: &str, range: [i128; 2]) -> Option<T> {
        let [first, last] = range;
        let number = whole(value).filter(|number| (first..=last).contains(number)).and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.wrong(path, "ValueInvalid", format!("this is no number from {first} to {last}"), "write one");
        }
        number
    }

    pub(super) fn truth(&mut self, value: &Value, path: &str) -> Option<bool> {
        if value.as_bool().is_none() {
            self.wrong(path, "WrongType", "this is neither true nor false", "write true or false");
        }
        value.as_bool()
    }
}

/// The path of a field.
pub(super) fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
