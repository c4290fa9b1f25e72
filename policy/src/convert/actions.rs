//! Actions.

use serde_json::{Value, json};

use super::case::{Case, Found, choice, one};
use super::path::{Step, element};
use super::removal::actions;
use super::{Edit, Reading};

/// The highest error number.
const MAX_ERRNO: i64 = 4095;

/// A positive error number. At an LSM hook, Tetragon returns -1 for all of them; elsewhere it returns the number itself.
pub(super) fn error_number(case: &Case<'_>) -> Found {
    let number = case.value()?.as_i64().filter(|number| (1..=MAX_ERRNO).contains(number))?;
    let negative = case.set(-number);
    match (case.family()?, number) {
        ("lsmhooks", 1) => one("-1 (EPERM), which is what Tetragon returns for it", [negative]),
        ("lsmhooks", _) => choice([
            Reading::new(format!("-{number}, the error with its sign"), [negative]),
            Reading::new("-1 (EPERM), which is what Tetragon returns for it", [case.set(-1)]),
        ]),
        _ => choice([Reading::new(
            format!("-{number}, the error with its sign. Tetragon returns {number}, which is none"),
            [negative],
        )]),
    }
}

/// A parameter that the action does not have.
pub(super) fn argument(case: &Case<'_>) -> Found {
    let field = case.field()?;
    let value = case.value()?;
    let action = case.beside("action")?.as_str()?;
    let (at, list) = actions(case)?;
    let gone = Edit::Remove { at: case.at.clone() };
    let ignored = || Reading::new("without it, as Tetragon ignores it", [gone.clone()]);
    let owner = match field {
        // What this action has, and not as it should be.
        "argUrl" if action == "GetUrl" => return None,
        "argFqdn" if action == "DnsLookup" => return None,
        "argIndex" | "argValue" if action == "Set" => return None,
        "argSock" if action.ends_with("Sock") => return None,
        "argError" => "Override",
        "argSig" => "Signal",
        "argSock" | "argUrl" | "argFqdn" | "argIndex" | "argValue" => return choice([ignored()]),
        "argNewSymbol" | "argNewAddr" | "argNewOffset" if action != "Override" => return choice([ignored()]),
        // Tetragon refuses the others too.
        _ => return None,
    };
    let has =
        |other: &Value| other.get("action").and_then(Value::as_str) == Some(owner) && other.get(field) == Some(value);
    if list.iter().any(has) {
        return one(format!("{field} goes: {owner} beside it has it"), [gone]);
    }
    if field == "argSig" {
        let same = action == "Sigkill" && value.as_i64() == Some(9);
        let says = "argSig goes: 9 is what Sigkill sends";
        return if same { one(says, [gone]) } else { choice([ignored()]) };
    }
    if !can_override(case) {
        return one("argError goes: nothing can return an error there, and Tetragon ignores it", [gone]);
    }
    let error = value.as_i64().filter(|error| (-MAX_ERRNO..0).contains(error));
    let without = ignored();
    let overrides = list.iter().any(|other| other.get("action").and_then(Value::as_str) == Some("Override"));
    let beside = error.filter(|_| !overrides).map(|error| {
        let append = Edit::Append { at: at.to_vec(), value: json!({"action": "Override", "argError": error}) };
        Reading::new(format!("Override with argError: {error} beside it"), [gone, append])
    });
    choice([without].into_iter().chain(beside))
}

/// Whether the kernel can return an error at the hook.
fn can_override(case: &Case<'_>) -> bool {
    let hook = case.hook().and_then(|hook| case.get(hook));
    let call = hook.and_then(|hook| hook.get("call")).and_then(Value::as_str).unwrap_or_default();
    let on_return = case.at.iter().any(|step| matches!(step, Step::Field(name) if name == "matchReturnActions"));
    match case.family() {
        Some("lsmhooks" | "uprobes") => !on_return,
        Some("kprobes") => {
            let refusable = ["security_", "sys_", "__x64_sys_", "__arm64_sys_", "list:"];
            !on_return && refusable.iter().any(|prefix| call.starts_with(prefix))
        }
        Some("tracepoints" | "usdts" | "fentries") => false,
        // A macro may be used at any hook.
        _ => true,
    }
}

/// `Post` and `NoPost`: in Tetragon, `NoPost` decides.
pub(super) fn contradiction(case: &Case<'_>) -> Found {
    let list = case.value()?.as_array()?;
    let of = |name: &str| -> Vec<Edit> {
        let has = |action: &Value| action.get("action").and_then(Value::as_str) == Some(name);
        let found = list.iter().enumerate().filter(|(_, action)| has(action));
        found.map(|(index, _)| Edit::Remove { at: element(&case.at, index) }).collect()
    };
    let (post, no_post) = (of("Post"), of("NoPost"));
    if post.is_empty() || no_post.is_empty() {
        return None;
    }
    choice([Reading::new("without Post, as NoPost decides in Tetragon", post), Reading::new("without NoPost", no_post)])
}
