//! What a test expects of a policy, and where it got something else.

use serde::Serialize;
use serde_json::{Value, json};

use super::shape::{Shape, below};
use crate::event::verdict::{Shown, WORDS};

/// What is expected of one policy; only what is written is compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) path: String,
    /// Its name; `None`: the test has one policy, or it goes for all.
    pub(super) policy: Option<String>,
    /// Which of its hooks: `spec.kprobes[0]`.
    pub(super) hook: Option<String>,
    verdict: Option<String>,
    selector: Option<Option<usize>>,
    error: Option<Option<i32>>,
    signal: Option<Option<u8>>,
    post: Option<bool>,
}

/// A field that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) field: &'static str,
    pub(crate) expected: Value,
    pub(crate) got: Value,
}

const FIELDS: [&str; 7] = ["policy", "hook", "verdict", "selector", "error", "signal", "post"];

/// One expectation, or one for each policy.
pub(super) fn read(shape: &mut Shape, value: &Value, path: &str) -> Vec<Expected> {
    match value {
        Value::String(word) => Expected::word(shape, word, path).into_iter().collect(),
        Value::Object(_) => Expected::object(shape, value, path).into_iter().collect(),
        Value::Array(list) => {
            let mut all: Vec<Expected> = Vec::new();
            for (at, value) in list.iter().enumerate() {
                let path = format!("{path}[{at}]");
                let Some(expected) = Expected::object(shape, value, &path) else { continue };
                if expected.policy.is_none() {
                    shape.wrong(&path, "Required", "it does not say of which policy", "write policy: and its name");
                }
                if all.iter().any(|other| (&other.policy, &other.hook) == (&expected.policy, &expected.hook)) {
                    shape.wrong(&path, "Duplicate", "the same is expected of twice", "keep one of them");
                }
                all.push(expected);
            }
            all
        }
        _ => {
            let help = format!("write one of {}, or an object with {}", WORDS.join(", "), FIELDS.join(", "));
            shape.wrong(path, "WrongType", "this is no expectation", help);
            Vec::new()
        }
    }
}

impl Expected {
    /// Nothing is to happen.
    pub(super) fn nothing(path: &str) -> Self {
        Self { path: path.to_owned(), verdict: Some("nothing".into()), ..Self::default() }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.verdict.as_deref() == Some("nothing") && self.policy.is_none() && self.hook.is_none()
    }

    fn word(shape: &mut Shape, word: &str, path: &str) -> Option<Self> {
        if !WORDS.contains(&word) {
            let help = stockade_policy::language::nearest(word, WORDS)
                .map_or_else(|| format!("write one of {}", WORDS.join(", ")), |word| format!("did you mean {word}?"));
            shape.wrong(path, "ValueInvalid", format!("{word} is no verdict"), help);
            return None;
        }
        Some(Self { path: path.to_owned(), verdict: Some(word.to_owned()), ..Self::default() })
    }

    fn object(shape: &mut Shape, value: &Value, path: &str) -> Option<Self> {
        let fields = shape.fields(value, path, &FIELDS)?;
        let mut expected = Self { path: path.to_owned(), ..Self::default() };
        for (name, value) in fields {
            let path = below(path, name);
            let none = value == "none";
            match name.as_str() {
                "policy" => expected.policy = shape.text(value, &path, "the policy's name, or namespace/name"),
                "hook" => expected.hook = shape.text(value, &path, "its place in the policy, as spec.kprobes[0]"),
                "verdict" => {
                    let word = shape.text(value, &path, "a verdict");
                    expected.verdict = word.and_then(|word| Self::word(shape, &word, &path)?.verdict);
                }
                "selector" if none => expected.selector = Some(None),
                "selector" => expected.selector = shape.number::<u16>(value, &path, [0, 62]).map(|at| Some(at.into())),
                "error" if none => expected.error = Some(None),
                "error" => expected.error = shape.number(value, &path, [-4095, -1]).map(Some),
                "signal" if none => expected.signal = Some(None),
                "signal" => expected.signal = shape.number(value, &path, [1, 64]).map(Some),
                "post" => expected.post = shape.truth(value, &path),
                _ => {}
            }
        }
        if fields.keys().all(|name| name == "policy" || name == "hook") {
            shape.wrong(
                path,
                "Required",
                "nothing is expected",
                format!("write verdict: and one of {}", WORDS.join(", ")),
            );
        }
        Some(expected)
    }

    /// The fields in which `got` is something else.
    pub(super) fn compare(&self, got: &Shown) -> Vec<Difference> {
        let or_none = |value: Value| if value.is_null() { json!("none") } else { value };
        let fields = [
            ("verdict", self.verdict.as_ref().map(|word| json!(word)), json!(got.verdict)),
            ("selector", self.selector.map(|at| json!(at)), json!(got.selector)),
            ("error", self.error.map(|error| json!(error)), json!(got.error)),
            ("signal", self.signal.map(|signal| json!(signal)), json!(got.signal)),
            ("post", self.post.map(|post| json!(post)), json!(got.post)),
        ];
        let differs = |(field, expected, got): (&'static str, Option<Value>, Value)| {
            let expected = expected.filter(|expected| *expected != got)?;
            Some(Difference { field, expected: or_none(expected), got: or_none(got) })
        };
        fields.into_iter().filter_map(differs).collect()
    }
}
