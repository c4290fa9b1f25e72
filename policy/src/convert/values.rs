//! Values of filters on strings that nothing can ever equal.

use serde_json::Value;

use super::Reading;
use super::case::{Case, Found, choice, one};
use super::path::Step;

pub(super) fn never(case: &Case<'_>) -> Found {
    // Bits and states are numbers: which one is meant is not written.
    let text = case.text()?;
    let plain = text.trim_end_matches('\0');
    let operator = case.get(case.above(2)?)?.get("operator").and_then(Value::as_str).unwrap_or_default();
    let compares_whole = ["Equal", "NotEqual", "In", "NotIn"].contains(&operator);
    let left = !plain.is_empty() && !plain.contains('\0') && (!is_of_path(case) || is_path(plain));
    if plain.len() < text.len() && left {
        let edit = case.set(plain);
        // The NUL ends the string that is compared; a beginning of it does not have one.
        let says = format!("{plain:?} without the NUL that ends it");
        return if compares_whole { one(says, [edit]) } else { choice([Reading::new(says, [edit])]) };
    }
    let dropped = case.drop_value();
    let goes = format!("{text:?} goes: nothing ever compares with it");
    match clean(text).filter(|_| compares_whole || operator.ends_with("Prefix")) {
        Some(clean) => {
            let written = Reading::new(format!("{clean:?}, as the kernel writes it"), [case.set(clean)]);
            let gone = dropped.map(|edit| Reading::new(format!("{goes}, as it has not in Tetragon"), [edit]));
            choice([written].into_iter().chain(gone))
        }
        None => one(hint(text, goes), [dropped?]),
    }
}

/// What somebody may have meant by a path that does not begin with `/`.
fn hint(text: &str, goes: String) -> String {
    if text.starts_with('.') {
        format!("{goes}; for how a path ends, write Postfix in a selector of its own")
    } else {
        goes
    }
}

/// Whether what is compared is a path of the kernel, as far as the hook says so.
fn is_of_path(case: &Case<'_>) -> bool {
    let filter = case.above(2).and_then(|at| case.get(at));
    let index = filter.and_then(|filter| filter.get("index")).and_then(Value::as_u64).unwrap_or(0);
    let args = case.hook().and_then(|hook| case.get(hook)).and_then(|hook| hook.get("args")).and_then(Value::as_array);
    let arg = args.into_iter().flatten().find(|arg| arg.get("index").and_then(Value::as_u64) == Some(index));
    let ty = arg.and_then(|arg| arg.get("type")).and_then(Value::as_str);
    let of_args = case.at.iter().any(|step| matches!(step, Step::Field(name) if name == "matchArgs"));
    let texts = ["string", "char_buf", "filename", "net_device", "data_loc", "dentry", "sockaddr_un"];
    !of_args || !ty.is_some_and(|ty| texts.contains(&ty))
}

/// Whether a path is written as the kernel writes it.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/') && clean(text).is_none()
}

/// An absolute path as the kernel would write it: without empty parts, dots and a slash at its end.
fn clean(text: &str) -> Option<String> {
    if !text.starts_with('/') || text.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let clean = format!("/{}", parts.join("/"));
    (clean.len() < text.len() && clean.len() > 1).then_some(clean)
}
