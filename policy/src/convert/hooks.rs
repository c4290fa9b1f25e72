//! Hooks, what they read, and what the policy says about all of them.

use serde_json::{Value, json};

use super::case::{Case, Found, choice, is_idle, one};
use super::path::{Step, below, element};
use super::spelling::of_spec;
use super::{Answer, Edit, Reading};
use crate::language;

const POLICY_MODE: &str = "policy-mode";

/// The option policy-mode with letters of the wrong case, or twice.
pub(super) fn option_value(case: &Case<'_>) -> Found {
    if case.field() == Some("options") {
        return one_mode(case);
    }
    let written = case.text()?;
    let lower = written.to_ascii_lowercase();
    let known = ["enforce", "monitor"].contains(&lower.as_str());
    known.then(|| one(format!("{written} is {lower}"), [case.set(lower)]))?
}

/// The elements of `options` that are about the mode, and what they say.
fn modes(list: &[Value]) -> impl Iterator<Item = (usize, &str)> {
    let is_mode = |option: &Value| option.get("name").and_then(Value::as_str) == Some(POLICY_MODE);
    list.iter()
        .enumerate()
        .filter(move |(_, option)| is_mode(option))
        .filter_map(|(index, option)| Some((index, option.get("value")?.as_str()?)))
}

fn one_mode(case: &Case<'_>) -> Found {
    let list = case.value()?.as_array()?;
    let keep = |mode: &'static str| {
        let others = modes(list).filter(move |(_, said)| *said != mode);
        let edits: Vec<Edit> = others.map(|(index, _)| Edit::Remove { at: element(&case.at, index) }).collect();
        Reading::new(format!("policy-mode {mode}"), edits)
    };
    choice([keep("enforce"), keep("monitor")])
}

/// `spec.mode` and the option: the option stays, because other releases read it too.
pub(super) fn mode_contradiction(case: &Case<'_>) -> Found {
    let options = of_spec("options");
    let list = case.get(&options)?.as_array()?;
    let gone = Edit::Remove { at: case.at.clone() };
    let said = case.text()?.to_ascii_lowercase();
    let (_, other) = modes(list).next()?;
    let mut edits = vec![gone.clone()];
    edits.extend(modes(list).map(|(index, _)| Edit::set(below(&element(&options, index), "value"), said.clone())));
    choice([
        Reading::new(format!("policy-mode {other}, as Tetragon reads it"), [gone]),
        Reading::new(format!("policy-mode {said}, as spec.mode says"), edits),
    ])
}

pub(super) fn symbol_invalid(case: &Case<'_>) -> Found {
    if case.family() != Some("lsmhooks") {
        return None;
    }
    let text = case.text()?;
    let hook = text.strip_prefix("bpf_lsm_").unwrap_or(text).strip_prefix("security_")?;
    one(format!("{hook}, the LSM hook"), [case.set(hook)])
}

pub(super) fn syscall_mismatch(case: &Case<'_>) -> Found {
    let call = case.text()?;
    let at = case.place_beside("syscall")?;
    let said = case.beside("syscall").and_then(Value::as_bool);
    let reads = ["args", "data"].iter().any(|name| case.beside(name).is_some_and(|list| !is_idle(list)));
    if said == Some(false) {
        return as_syscall(case, call, at, reads);
    }
    let function = Edit::set(at.clone(), false);
    if language::same_everywhere(call).is_some() {
        let name = format!("sys_{call}");
        return choice([
            Reading::new(format!("{name}, the system call"), [case.set(name)]),
            Reading::new("syscall: false, the kernel's function of that name", [function]),
        ]);
    }
    if names_syscalls(case, call) {
        return None;
    }
    one("syscall: false: it is no system call", [function])
}

/// Whether `call` refers to a list of functions of which some are system calls.
fn names_syscalls(case: &Case<'_>, call: &str) -> bool {
    let Some(name) = call.strip_prefix("list:") else { return false };
    let lists = case.get(&of_spec("lists")).and_then(Value::as_array).into_iter().flatten();
    let values = |list: &Value| list.get("values").and_then(Value::as_array).cloned().unwrap_or_default();
    let named = { lists }.filter(|list| list.get("name").and_then(Value::as_str) == Some(name));
    named
        .flat_map(values)
        .any(|value| value.as_str().is_some_and(|call| call.starts_with("sys_") || call.contains("_sys_")))
}

/// The entry of a system call, or a list of some, hooked as a function: its arguments are elsewhere.
fn as_syscall(case: &Case<'_>, call: &str, at: Vec<Step>, reads: bool) -> Found {
    let mut edits = vec![Edit::set(at, true)];
    if let Some(name) = call.find("sys_").filter(|at| *at > 0).and_then(|at| call.get(at..)) {
        edits.push(case.set(name));
    }
    let says = "the system call";
    if reads { choice([Reading::new(format!("{says}, with its own arguments"), edits)]) } else { one(says, edits) }
}

/// At a tracepoint, Tetragon takes an index that is no field of `args` for a position in it.
pub(super) fn arg_not_read(case: &Case<'_>) -> Found {
    if case.family() != Some("tracepoints") || case.field() != Some("index") {
        return None;
    }
    let position = usize::try_from(case.value()?.as_u64()?).ok()?;
    let hook = case.get(case.hook()?)?;
    if hook.get("raw").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let index = hook.get("args")?.get(position)?.get("index")?.as_u64()?;
    one(format!("index {index}, the field at position {position} of args, as Tetragon reads it"), [case.set(index)])
}

/// What is said about the return value of a call that is not looked at when it returns.
pub(super) fn return_unused(case: &Case<'_>) -> Found {
    let hook_at = case.hook()?;
    let hook = case.get(hook_at)?.as_object()?;
    let field = case.field()?;
    let gone = Reading::new(format!("without {field}, as Tetragon ignores it"), [Edit::Remove { at: case.at.clone() }]);
    let returns = below(hook_at, "return");
    let has_arg = hook.get("returnArg").is_some_and(Value::is_object);
    let possible = matches!(case.family()?, "kprobes" | "fentries" | "uprobes") && has_arg;
    let asked = possible.then(|| Reading::new("return: true, so that it counts", [Edit::set(returns, true)]));
    // A selector that has nothing else would match every call.
    let alone = case.get(case.above(1)?)?.as_object()?.len() == 1;
    choice((!alone).then_some(gone).into_iter().chain(asked))
}

/// `index` and `args` both.
pub(super) fn arg_reference(case: &Case<'_>) -> Found {
    let filter_at = case.above(1)?;
    let filter = case.get(filter_at)?;
    let operator = filter.get("operator")?.as_str()?;
    let remove = |name: &str| Edit::Remove { at: below(filter_at, name) };
    match (operator, case.field()?) {
        ("CelExpr", field) => {
            one(format!("{field} goes: the expression says itself what it is about"), [remove(field)])
        }
        ("CapabilitiesGained", "index") if filter.get("args")?.as_array()?.len() == 2 => {
            one("index goes: args says which two are compared", [remove("index")])
        }
        (_, "args") if case.value()?.as_array()?.len() == 1 => {
            let position = case.value()?.get(0)?.as_u64()?;
            let index = filter.get("index")?.as_u64()?;
            let args = case.get(case.hook()?)?.get("args")?.as_array()?;
            let meant = args.get(usize::try_from(position).ok()?)?.get("index")?.as_u64()?;
            if meant == index {
                return one("index goes: args says the same, and decides in Tetragon", [remove("index")]);
            }
            choice([
                Reading::new("args alone, which is what Tetragon reads", [remove("index")]),
                Reading::new("index alone", [remove("args")]),
            ])
        }
        _ => None,
    }
}

/// A selector without anything in it matches every event, and posts it.
pub(super) fn selector_empty(case: &Case<'_>) -> Found {
    let (Step::Element(_), selectors) = case.at.split_last()? else { return None };
    let said = case.value()?.as_object()?.iter().filter(|(_, value)| !is_idle(value));
    let said: Vec<&str> = said.map(|(name, _)| name.as_str()).collect();
    // What is not looked at is not nothing.
    if said.iter().any(|name| *name != "label") {
        return None;
    }
    if said.is_empty() && case.get(selectors)?.as_array()?.len() == 1 {
        let gone = Edit::Remove { at: selectors.to_vec() };
        return one("it goes: it matches every event, as a hook without selectors does", [gone]);
    }
    // What says nothing and is written all the same (`matchArgs: []`) stays: it does not matter any more.
    let post = json!([{"action": "Post"}]);
    let edit = match case.value()?.as_object() {
        Some(map) if map.is_empty() => case.set(json!({"matchActions": post})),
        _ => Edit::set(below(&case.at, "matchActions"), post),
    };
    Some(Answer::One(Reading::new("action Post, which is what it does, for every event", [edit])))
}
