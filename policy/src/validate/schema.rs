//! Whether a document has the structure of a policy: one walk, driven by the table in [`super::fields`].

use serde_json::Value;

use super::fields;
use super::nearest::suggestion;
use super::node::{in_path, integer};
use super::report::Report;
use crate::convert::Step;
use crate::fault::codes;
use crate::language;

/// What a value may look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Flag,
    Integer { min: i64, max: i64 },
    List(&'static Shape),
    Map(&'static Shape),
    Object(&'static [Field]),
    OneOf(&'static [&'static str]),
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(super) required: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, required: false }
    }

    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// The shape of what can be at a place of the document.
pub(crate) fn shape_at(steps: &[Step]) -> Option<&'static Shape> {
    let (first, rest) = steps.split_first()?;
    if !matches!(first, Step::Field(name) if name == "spec") {
        return None;
    }
    rest.iter().try_fold(&fields::SPEC, |shape, step| match (shape, step) {
        (Shape::Object(fields), Step::Field(name)) => {
            fields.iter().find(|field| field.name == name).map(|field| &field.shape)
        }
        (Shape::Map(element), Step::Field(_)) | (Shape::List(element), Step::Element(_)) => Some(*element),
        _ => None,
    })
}

/// Checks `value` at `path` against `shape`.
pub(super) fn check(value: &Value, path: &str, shape: &Shape, report: &mut Report) {
    Walk { report }.value(value, path, shape);
}

struct Walk<'r> {
    report: &'r mut Report,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, path: &str, shape: &Shape) {
        match (shape, value) {
            (Shape::Text, Value::String(_)) | (Shape::Flag, Value::Bool(_)) => {}
            (Shape::Integer { min, max }, Value::Number(_)) => self.integer(value, path, *min, *max),
            (Shape::OneOf(names), Value::String(text)) => self.one_of(text, path, names),
            (Shape::List(element), Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(value, &format!("{path}[{index}]"), element);
                }
            }
            (Shape::Map(element), Value::Object(map)) => {
                for (key, value) in map {
                    self.value(value, &format!("{path}[{}]", in_path(key)), element);
                }
            }
            (Shape::Object(fields), Value::Object(map)) => self.object(map, path, fields),
            (shape, value) => {
                let (expected, found) = (shape.expected(), kind_of(value));
                self.report.fault(path, codes::WRONG_TYPE, format!("this is {found}"), format!("write {expected}"));
            }
        }
    }

    fn object(&mut self, map: &serde_json::Map<String, Value>, path: &str, fields: &'static [Field]) {
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        for name in map.keys().filter(|name| !names.contains(&name.as_str())) {
            let path = format!("{path}.{}", in_path(name));
            if !self.obsolete(name, &path) {
                let what = format!("{} does not exist here", quoted(name));
                let help = self.suggestion(name, &names);
                self.report.fault(path, codes::UNKNOWN_FIELD, what, help);
            }
        }
        for field in fields {
            let path = format!("{path}.{}", field.name);
            match map.get(field.name).filter(|value| !value.is_null()) {
                None if field.required => {
                    let help = format!("write {}", field.shape.expected());
                    self.report.fault(path, codes::MISSING_FIELD, format!("{} is required", field.name), help);
                }
                None => {}
                Some(value) => self.value(value, &path, &field.shape),
            }
        }
    }

    fn integer(&mut self, number: &Value, path: &str, min: i64, max: i64) {
        if integer(number).is_some_and(|number| (min..=max).contains(&number)) {
            return;
        }
        if number.as_f64().is_some_and(|float| float.fract() != 0.0) {
            self.report.fault(path, codes::WRONG_TYPE, "this is a fraction", "write a whole number");
        } else {
            let what = format!("{number} is outside what this field can hold");
            self.report.fault(path, codes::OUT_OF_RANGE, what, format!("write a number from {min} to {max}"));
        }
    }

    fn one_of(&mut self, text: &str, path: &str, names: &[&str]) {
        if !names.contains(&text) && !self.obsolete(text, path) {
            let help = self.suggestion(text, names);
            self.report.fault(path, codes::UNKNOWN_VALUE, format!("{} does not exist", quoted(text)), help);
        }
    }

    /// Whether `word` is one that the language has no more, and that has been said.
    fn obsolete(&mut self, word: &str, path: &str) -> bool {
        let Some(instead) = language::instead_of(word) else { return false };
        self.report.fault(path, codes::OBSOLETE, format!("{} is no word of the language", quoted(word)), instead);
        true
    }

    /// What was probably meant. Looking for it takes time, which a document of nothing but mistakes does not get.
    fn suggestion(&self, wrong: &str, known: &[&str]) -> String {
        if self.report.is_flooded() { "remove it".into() } else { suggestion(wrong, known, known) }
    }
}

impl Shape {
    /// Whether a value is of the right kind, whatever is in it.
    pub(crate) const fn fits(&self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Text | Self::OneOf(_), Value::String(_))
                | (Self::Flag, Value::Bool(_))
                | (Self::Integer { .. }, Value::Number(_))
                | (Self::List(_), Value::Array(_))
                | (Self::Map(_) | Self::Object(_), Value::Object(_))
        )
    }

    fn expected(&self) -> String {
        match self {
            Self::Text => "a string".into(),
            Self::Flag => "true or false".into(),
            Self::Integer { .. } => "a whole number".into(),
            Self::List(_) => "a list".into(),
            Self::Map(_) | Self::Object(_) => "an object".into(),
            Self::OneOf(names) if names.len() <= 8 => format!("one of {}", names.join(", ")),
            Self::OneOf(_) => "one of the known names, as a string".into(),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// `text` in quotes, shortened, so that a message stays one readable line.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{:?}…", head)
}
