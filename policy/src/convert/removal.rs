//! What has no effect: without it, the document says what it has said.

use serde_json::Value;

use super::case::{Case, Found, choice, is_idle, one};
use super::path::{self, Step, element};
use super::spelling::{of_spec, spec};
use super::{Edit, Reading};
use crate::fault::codes;
use crate::validate::nearest::all_nearest;
use crate::validate::options;

/// The field itself.
pub(super) fn itself(case: &Case<'_>) -> Found {
    one(format!("{} goes: it has no effect", case.field()?), [Edit::Remove { at: case.at.clone() }])
}

pub(super) fn option_no_effect(case: &Case<'_>) -> Found {
    one(format!("{} goes: it has no effect here", case.text()?), [case.removal(case.above(1)?)?])
}

pub(super) fn option_unknown(case: &Case<'_>) -> Found {
    let gone = case.removal(case.above(1)?)?;
    let near = all_nearest(case.text()?, options::names());
    if near.is_empty() {
        return one("the option goes: Tetragon ignores it too", [gone]);
    }
    let meant =
        near.into_iter().map(|name| Reading::new(format!("{name}, the nearest that there is"), [case.set(name)]));
    choice(meant.chain([Reading::new("without it, as Tetragon ignores it", [gone])]))
}

/// Whether something in `spec` outside of `lists` and the field `without` refers to the list.
fn is_referred_to(spec: &Value, list: &Value, without: &str) -> bool {
    let Some(name) = list.get("name").and_then(Value::as_str) else { return true };
    let mut texts = Vec::new();
    let others =
        spec.as_object().into_iter().flatten().filter(|(field, _)| ![without, "lists"].contains(&field.as_str()));
    others.for_each(|(_, value)| collect_texts(value, &mut texts));
    texts.contains(&format!("list:{name}").as_str())
}

/// The enforcers, and the lists that nothing else names.
pub(super) fn enforcer_unused(case: &Case<'_>) -> Found {
    let spec = case.get(case.above(1)?)?;
    let lists = spec.get("lists").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let unused = |list: &Value| !is_referred_to(spec, list, "enforcers");
    let mut edits: Vec<Edit> = vec![Edit::Remove { at: case.at.clone() }];
    let at = of_spec("lists");
    if !lists.is_empty() && lists.iter().all(unused) {
        edits.push(Edit::Remove { at });
    } else {
        let gone = lists.iter().enumerate().filter(|(_, list)| unused(list));
        edits.extend(gone.map(|(index, _)| Edit::Remove { at: element(&at, index) }));
    }
    one("the enforcers go: nothing notifies them", edits)
}

fn collect_texts<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(list) => list.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(map) => map.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

pub(super) fn list_invalid(case: &Case<'_>) -> Found {
    let ftrace = case.beside("type").and_then(Value::as_str) == Some("generated_ftrace");
    match case.field()? {
        "validated" => itself(case),
        "pattern" if !ftrace => itself(case),
        _ => None,
    }
}

pub(super) fn list_unused(case: &Case<'_>) -> Found {
    // A reference that is misspelt may be to this one, or one may be in what is not understood.
    if case.surroundings.has(codes::LIST_UNDEFINED) || is_referred_to(case.get(&spec())?, case.value()?, "") {
        return None;
    }
    one("the list goes: nothing refers to it", [case.removal(&case.at)?])
}

pub(super) fn macro_unused(case: &Case<'_>) -> Found {
    if case.surroundings.has(codes::MACRO_UNDEFINED) {
        return None;
    }
    let (Step::Field(name), all) = case.at.split_last()? else { return None };
    let mut texts = Vec::new();
    case.get(&spec())?.as_object()?.values().for_each(|value| collect_texts(value, &mut texts));
    // One that uses others is what uses them.
    let uses_others = case.value()?.get("macros").is_some_and(|macros| !is_idle(macros));
    if texts.contains(&name.as_str()) || uses_others {
        return None;
    }
    let alone = case.get(all)?.as_object()?.len() == 1;
    let at = if alone { all.to_vec() } else { case.at.clone() };
    one("the macro goes: no selector uses it", [Edit::Remove { at }])
}

/// The same argument once more, where no filter counts them.
pub(super) fn arg_duplicate(case: &Case<'_>) -> Found {
    let arg = case.above(1)?;
    let (Step::Element(index), list) = arg.split_last()? else { return None };
    let args = case.get(list)?.as_array()?;
    let earlier = args.iter().take(*index).any(|earlier| Some(earlier) == args.get(*index));
    let mut texts = Vec::new();
    let selectors = case.get(case.hook()?)?.get("selectors");
    selectors.into_iter().for_each(|selectors| collect_texts(selectors, &mut texts));
    let counted = texts.contains(&"CelExpr") || selectors.is_some_and(|selectors| has_field(selectors, "args"));
    // A macro may count them, too.
    let counted = counted || selectors.is_some_and(|selectors| has_field(selectors, "macros"));
    (earlier && !counted).then(|| one("the second one goes: it is the same", [Edit::Remove { at: arg.to_vec() }]))?
}

fn has_field(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|value| has_field(value, name)),
        Value::Object(map) => map.contains_key(name) || map.values().any(|value| has_field(value, name)),
        _ => false,
    }
}

pub(super) fn size_invalid(case: &Case<'_>) -> Found {
    let buffer = |names: &[&str]| case.beside("type").and_then(Value::as_str).is_some_and(|ty| names.contains(&ty));
    match case.field()? {
        "maxData" if buffer(&["char_buf"]) => {
            let copy = case.place_beside("returnCopy")?;
            let sized = case.beside("sizeArgIndex").is_some_and(|size| !is_idle(size));
            let without = |name: &str, at| Reading::new(format!("without {name}"), [Edit::Remove { at }]);
            let at_the_call = sized.then(|| without("returnCopy, so that it is read at the call", copy));
            let on_return = without("maxData, so that it is read on return, in one piece", case.at.clone());
            choice([on_return].into_iter().chain(at_the_call))
        }
        "maxData" => one("maxData goes: it has an effect on a char_buf alone", [Edit::Remove { at: case.at.clone() }]),
        "sizeArgIndex" if case.value().is_some() && !buffer(&["char_buf", "char_iovec"]) => {
            one("sizeArgIndex goes: it has an effect on buffers alone", [Edit::Remove { at: case.at.clone() }])
        }
        _ => None,
    }
}

pub(super) fn resolve_invalid(case: &Case<'_>) -> Found {
    let silent = |name: &str| case.beside(name).is_none_or(is_idle);
    match case.field()? {
        "btfTypeModule" if silent("btfType") => itself(case),
        "btfType" if silent("resolve") => itself(case),
        "resolve" if case.family() == Some("tracepoints") => {
            let raw = case.hook().and_then(|hook| case.get(hook)).and_then(|hook| hook.get("raw"));
            let field = raw.and_then(Value::as_bool) != Some(true);
            let gone = Reading::new("without it, as Tetragon ignores it there", [Edit::Remove { at: case.at.clone() }]);
            if field { choice([gone]) } else { None }
        }
        _ => None,
    }
}

pub(super) fn selector_unreachable(case: &Case<'_>) -> Found {
    choice([Reading::new("without it, as it is never reached", [Edit::Remove { at: case.at.clone() }])])
}

pub(super) fn selector_no_effect(case: &Case<'_>) -> Found {
    let list = case.above(1)?;
    let all = case.get(list)?.as_array()?;
    let same = all.iter().enumerate().filter(|(_, selector)| Some(*selector) == case.value());
    let edits: Vec<Edit> = same.map(|(index, _)| Edit::Remove { at: element(list, index) }).collect();
    // Without any selector, the hook would match every call.
    (edits.len() < all.len()).then(|| one("it goes: it does nothing", edits))?
}

/// A filter on executables without values is ignored by Tetragon, so every process matches it.
pub(super) fn values_empty(case: &Case<'_>) -> Found {
    let entry = case.above(1)?;
    let list = case.above(2)?;
    let Step::Field(name) = list.last()? else { return None };
    let gone = case.removal(entry)?;
    let selector = case.get(case.above(3)?)?.as_object()?;
    let filters = ["matchBinaries", "matchParentBinaries"];
    (filters.contains(&name.as_str()) && selector.len() > 1)
        .then(|| choice([Reading::new("without the filter, as Tetragon ignores it", [gone])]))?
}

pub(super) fn values_unused(case: &Case<'_>) -> Found {
    let gone = Edit::Remove { at: case.at.clone() };
    let operator = case.beside("operator")?.as_str()?;
    let Some(plain) = operator.strip_suffix("Priv").map(|plain| plain.replace("NotSport", "NotSPort")) else {
        return one("the values go: the operator takes none", [gone]);
    };
    let place = case.place_beside("operator")?;
    choice([
        Reading::new(format!("without the values, which {operator} ignores in Tetragon"), [gone]),
        Reading::new(format!("{plain} with these values"), [Edit::set(place, plain)]),
    ])
}

/// The place of an action's list, and the list.
pub(super) fn actions<'c>(case: &'c Case<'_>) -> Option<(&'c [Step], &'c Vec<Value>)> {
    let at = case.above(2)?;
    Some((at, path::get(case.object, at)?.as_array()?))
}
