//! Words and values that are not spelt as the language spells them.

use serde_json::{Value, json};

use super::case::{Case, Found, choice, one};
use super::path::{self, Step};
use super::{Edit, Reading};
use crate::language::{CAPABILITIES, FILE_TYPES, TCP_STATES};
use crate::validate::nearest::all_nearest;
use crate::validate::schema::{Shape, shape_at};
use crate::validate::{FAMILIES, PROTOCOLS};

/// Words that have had another name, and that name.
const RENAMED: [(&str, &str); 10] = [
    ("NotifyKiller", "NotifyEnforcer"),
    ("killers", "enforcers"),
    ("eq", "Equal"),
    ("neq", "NotEqual"),
    ("gt", "GT"),
    ("lt", "LT"),
    ("SubStringIgnoreCase", "SubStringIgnCase"),
    ("NotSPortPriv", "NotSportPriv"),
    ("In", "Equal"),
    ("NotIn", "NotEqual"),
];
/// Actions that were about following file descriptors, which is done without them today.
const FOLLOWING: [&str; 3] = ["FollowFD", "UnfollowFD", "CopyFD"];
/// Where Tetragon cuts a message, and a tag.
const MESSAGE_BYTES: usize = 256;
const TAG_BYTES: usize = 128;

pub(super) fn unknown_field(case: &Case<'_>) -> Found {
    let parent = case.above(1)?;
    let Shape::Object(fields) = shape_at(parent)? else { return None };
    let wrong = case.field()?;
    let mut names = all_nearest(wrong, fields.iter().map(|field| field.name));
    let name = names.pop().filter(|_| names.is_empty())?;
    let shape = fields.iter().find(|field| field.name == name)?.shape;
    // A field that is there already, or a value of another kind: not what was meant.
    if case.beside(name).is_some() || !shape.fits(case.value()?) {
        return None;
    }
    one(format!("{wrong} is {name}"), [Edit::Rename { at: case.at.clone(), name: name.to_owned() }])
}

pub(super) fn unknown_value(case: &Case<'_>) -> Found {
    let wrong = case.text()?;
    let known = words(case)?;
    if let Some(right) = known.iter().find(|word| word.eq_ignore_ascii_case(wrong)) {
        return one(format!("{wrong} is {right}"), [case.set(*right)]);
    }
    let near = all_nearest(wrong, known.iter().copied());
    choice(near.into_iter().map(|word| Reading::new(format!("{word}, the nearest known word"), [case.set(word)])))
}

/// The words that can be at a place.
fn words(case: &Case<'_>) -> Option<Vec<&'static str>> {
    if let Some(Shape::OneOf(words)) = shape_at(&case.at) {
        return Some(words.to_vec());
    }
    if case.field() == Some("returnArgAction") {
        return Some(vec!["TrackSock", "UntrackSock"]);
    }
    let filter = case.get(case.above(2)?)?;
    let list = case.at.iter().rev().nth(3).filter(|step| matches!(step, Step::Field(_)));
    if list.is_some_and(|list| ["matchCapabilities", "matchCapabilityChanges"].iter().any(|name| is(list, name))) {
        return Some(CAPABILITIES.to_vec());
    }
    let operator = filter.get("operator")?.as_str()?;
    Some(match operator {
        "Family" => FAMILIES.iter().map(|(name, _)| *name).collect(),
        "Protocol" => PROTOCOLS.iter().map(|(name, _)| *name).collect(),
        "State" => TCP_STATES.iter().map(|(name, _)| *name).collect(),
        "FileType" | "NotFileType" => FILE_TYPES.iter().map(|(name, _)| *name).collect(),
        _ => CAPABILITIES.to_vec(),
    })
}

fn is(step: &Step, name: &str) -> bool {
    matches!(step, Step::Field(field) if field == name)
}

pub(super) fn obsolete(case: &Case<'_>) -> Found {
    // Either the name of a field or the word in it is the one.
    match case.text() {
        Some(word) if FOLLOWING.contains(&word) && case.field() == Some("action") => {
            let says = format!("{word} goes: paths of descriptors are known without it");
            one(says, [case.removal(case.above(1)?)?])
        }
        Some(word) => {
            let (_, right) = RENAMED.iter().find(|(old, _)| *old == word)?;
            let Shape::OneOf(words) = shape_at(&case.at)? else { return None };
            words.contains(right).then(|| one(format!("{word} is {right}"), [case.set(*right)]))?
        }
        None => {
            let old = case.field()?;
            let (_, right) = RENAMED.iter().find(|(known, _)| *known == old)?;
            let Shape::Object(fields) = shape_at(case.above(1)?)? else { return None };
            let free = fields.iter().any(|field| field.name == *right) && case.beside(right).is_none();
            let rename = Edit::Rename { at: case.at.clone(), name: (*right).to_owned() };
            free.then(|| one(format!("{old} is {right}"), [rename]))?
        }
    }
}

pub(super) fn wrong_type(case: &Case<'_>) -> Found {
    let shape = shape_at(&case.at)?;
    let value = case.value()?;
    if let Some((says, right)) = retyped(shape, value) {
        return one(says, [case.set(right)]);
    }
    let Shape::List(element) = shape else { return None };
    let inner = if element.fits(value) { value.clone() } else { retyped(element, value)?.1 };
    // A single object is not one line, and what it is about may be another.
    (!inner.is_object() && !inner.is_array()).then(|| one("one value is a list of one", [case.set(json!([inner]))]))?
}

/// `value` as its field wants it, if it is only written as another type.
fn retyped(shape: &Shape, value: &Value) -> Option<(String, Value)> {
    match (shape, value) {
        (Shape::Text, Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Some((format!("{number} gets quotes"), number.to_string().into()))
        }
        (Shape::Integer { .. }, Value::String(text)) => {
            let number: i64 = text.parse().ok().filter(|number: &i64| number.to_string() == *text)?;
            Some((format!("{number} loses its quotes"), number.into()))
        }
        (Shape::Flag, Value::String(text)) => {
            let flag: bool = text.parse().ok()?;
            Some((format!("{flag} loses its quotes"), flag.into()))
        }
        _ => None,
    }
}

pub(super) fn text_length(case: &Case<'_>) -> Found {
    let (most, text) = (if case.field() == Some("message") { MESSAGE_BYTES } else { TAG_BYTES }, case.text()?);
    // What needs an escape is longer by the time that it is cut.
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
    let cut = text.get(..most).filter(|_| plain)?;
    one(format!("cut at {most} bytes, as Tetragon does"), [case.set(cut)])
}

/// `list:NAME`, or the name of a macro.
pub(super) fn reference(case: &Case<'_>) -> Found {
    let text = case.text()?;
    let (prefix, wrong) = text.strip_prefix("list:").map_or(("", text), |name| ("list:", name));
    let spec = case.get(case.at.get(..1)?)?;
    let known: Vec<&str> = if prefix.is_empty() {
        spec.get("selectorsMacros")?.as_object()?.keys().map(String::as_str).collect()
    } else {
        spec.get("lists")?.as_array()?.iter().filter_map(|list| list.get("name")?.as_str()).collect()
    };
    let near = all_nearest(wrong, known);
    choice(near.into_iter().map(|name| {
        let name = format!("{prefix}{name}");
        Reading::new(format!("{name}, the nearest that is there"), [case.set(name)])
    }))
}

/// The place of the policy's `spec`.
pub(super) fn spec() -> [Step; 1] {
    [Step::Field("spec".into())]
}

/// The place of the field `name` of the policy's `spec`.
pub(super) fn of_spec(name: &str) -> Vec<Step> {
    path::below(&spec(), name)
}
