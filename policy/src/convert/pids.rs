//! `matchPIDs`.

use serde_json::Value;

use super::case::{Case, Found, choice, is_idle, one};
use super::path::{self, Step};
use super::{Edit, Reading};

/// Tetragon looks for a 0 among the ancestors that it has not found, so that it always finds one: with both flags, `NotIn`
/// never matches. Without them, 0 is a pid like any other that no process has.
pub(super) fn zero(case: &Case<'_>) -> Found {
    let filter = case.get(case.above(2)?)?;
    let flag = |name: &str| filter.get(name).and_then(Value::as_bool).unwrap_or(false);
    let negated = filter.get("operator").and_then(Value::as_str) == Some("NotIn");
    let (edit, says) = match case.drop_value() {
        Some(edit) => (edit, "the 0 goes: no process has that pid"),
        // An entry that excludes nothing.
        None if negated => (without_entry(case)?, "the entry goes: it excludes pid 0 alone, which no process has"),
        None => return None,
    };
    if flag("followForks") && flag("isNamespacePID") && negated {
        let says = format!("{says}. In Tetragon the 0 keeps this filter from ever matching; without it, it does match");
        return choice([Reading::new(says, [edit])]);
    }
    one(says, [edit])
}

/// The edit that removes the entry of `matchPIDs`, unless the selector would say nothing any more.
fn without_entry(case: &Case<'_>) -> Option<Edit> {
    let entry = case.above(2)?;
    let edit = case.removal(entry)?;
    let (Step::Field(_), selector) = edit.at().split_last()? else { return Some(edit) };
    // A macro that does nothing but use others says nothing.
    let others = case.get(selector)?.as_object()?.iter().filter(|(_, value)| !is_idle(value));
    let left = others.filter(|(name, _)| !["matchPIDs", "label", "macros"].contains(&name.as_str())).count();
    (left > 0).then_some(edit)
}

pub(super) fn range(case: &Case<'_>) -> Found {
    let pid = case.value()?.as_i64()?;
    one(format!("{pid} goes: no process ever has that pid"), [case.drop_value()?])
}

pub(super) fn forks_unstated(case: &Case<'_>) -> Found {
    let excludes = case.beside("operator").and_then(Value::as_str) == Some("NotIn");
    let verb = if excludes { "excludes" } else { "selects" };
    choice([
        Reading::new(
            format!("followForks: false, which {verb} these pids alone: Tetragon's default"),
            [case.set(false)],
        ),
        Reading::new(
            format!("followForks: true, which {verb} their children too: what some releases did in effect"),
            [case.set(true)],
        ),
    ])
}

pub(super) fn namespace_unstated(case: &Case<'_>) -> Found {
    let own = Reading::new("isNamespacePID: true, the numbers inside of the container", [case.set(true)]);
    let hosts = Reading::new("isNamespacePID: false, the numbers of the node: Tetragon's default", [case.set(false)]);
    let namespaced = case.object.get("kind").and_then(Value::as_str) == Some("TracingPolicyNamespaced");
    // Other pids of the node are other processes on every node.
    let pids = case.beside("values").and_then(Value::as_array).into_iter().flatten();
    let everywhere = { pids }.all(|pid| matches!(pid.as_i64(), Some(1 | 2)));
    if namespaced || !everywhere { choice([own]) } else { choice([hosts, own]) }
}

pub(super) fn host_in_namespaced(case: &Case<'_>) -> Found {
    let at = match case.field()? {
        "isNamespacePID" => case.at.clone(),
        _ => path::below(&case.at, "isNamespacePID"),
    };
    choice([Reading::new("isNamespacePID: true, the numbers inside of the container", [Edit::set(at, true)])])
}
