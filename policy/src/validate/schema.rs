//! Whether a document has the structure of a policy: one walk, driven by the table in [`super::fields`].

use serde_json::Value;

use super::nearest::suggestion;
use super::node::integer;
use super::report::Report;
use crate::fault::codes;

/// What a value may look like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    Flag,
    Integer {
        min: i64,
        max: i64,
    },
    List(&'static Shape),
    Map(&'static Shape),
    Object(&'static [Field]),
    OneOf {
        built: &'static [&'static str],
        /// Other names for some of those.
        also: &'static [&'static str],
        later: &'static [&'static str],
    },
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// It exists, but this version does not carry it out. Written out as its default it means nothing and is let through.
    pub(super) later: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, required: false, later: false }
    }

    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(super) const fn later(self) -> Self {
        Self { later: true, ..self }
    }
}

/// Checks `value` at `path` against `shape`.
pub(super) fn check(value: &Value, path: &str, shape: &Shape, report: &mut Report) {
    Walk { report, inside_later: false }.value(value, path, shape);
}

struct Walk<'r> {
    report: &'r mut Report,
    /// Inside a field that is refused as a whole, its parts are only checked for structure.
    inside_later: bool,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, path: &str, shape: &Shape) {
        match (shape, value) {
            (Shape::Text, Value::String(_)) | (Shape::Flag, Value::Bool(_)) => {}
            (Shape::Integer { min, max }, Value::Number(_)) => self.integer(value, path, *min, *max),
            (Shape::OneOf { built, also, later }, Value::String(text)) => {
                if !also.contains(&text.as_str()) {
                    self.one_of(text, path, built, later);
                }
            }
            (Shape::List(element), Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(value, &format!("{path}[{index}]"), element);
                }
            }
            (Shape::Map(element), Value::Object(map)) => {
                for (key, value) in map {
                    self.value(value, &format!("{path}[{key}]"), element);
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
            let what = format!("{} does not exist here", quoted(name));
            let help = self.suggestion(name, &names, &names);
            self.report.fault(format!("{path}.{name}"), codes::UNKNOWN_FIELD, what, help);
        }
        for field in fields {
            let path = format!("{path}.{}", field.name);
            match map.get(field.name).filter(|value| !value.is_null()) {
                None if field.required => {
                    let help = format!("write {}", field.shape.expected());
                    self.report.fault(path, codes::MISSING_FIELD, format!("{} is required", field.name), help);
                }
                None => {}
                Some(value) => self.field(value, &path, field),
            }
        }
    }

    fn field(&mut self, value: &Value, path: &str, field: &Field) {
        let refused = field.later && !self.inside_later && !is_default(value);
        if refused {
            let what = format!("the field {} is not built in this version", field.name);
            self.report.fault(path, codes::UNSUPPORTED, what, "remove it");
        }
        let outer = self.inside_later;
        self.inside_later |= field.later;
        self.value(value, path, &field.shape);
        self.inside_later = outer;
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

    fn one_of(&mut self, text: &str, path: &str, built: &[&str], later: &[&str]) {
        if built.contains(&text) {
            return;
        }
        if later.contains(&text) {
            if !self.inside_later {
                let help =
                    if built.len() <= 16 { format!("built are {}", built.join(", ")) } else { "remove it".into() };
                self.report.fault(path, codes::UNSUPPORTED, format!("{text} is not built in this version"), help);
            }
            return;
        }
        let known = [built, later].concat();
        let help = self.suggestion(text, &known, built);
        self.report.fault(path, codes::UNKNOWN_VALUE, format!("{} does not exist", quoted(text)), help);
    }

    /// What was probably meant. Looking for it takes time, which a document of nothing but mistakes does not get.
    fn suggestion(&self, wrong: &str, known: &[&str], usable: &[&str]) -> String {
        if self.report.is_flooded() { "remove it".into() } else { suggestion(wrong, known, usable) }
    }
}

impl Shape {
    fn expected(&self) -> String {
        match self {
            Self::Text => "a string".into(),
            Self::Flag => "true or false".into(),
            Self::Integer { .. } => "a whole number".into(),
            Self::List(_) => "a list".into(),
            Self::Map(_) | Self::Object(_) => "an object".into(),
            Self::OneOf { built, .. } if built.len() <= 8 => format!("one of {}", built.join(", ")),
            Self::OneOf { .. } => "one of the known names, as a string".into(),
        }
    }
}

/// A value that says what silence says. Upstream's schema writes such values into objects on its own.
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
