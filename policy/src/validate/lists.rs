//! `lists`: named functions and system calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::nearest;
use super::node::{Node, in_path};
use super::point;
use super::report::Report;
use super::schema::quoted;
use crate::engine::{Feature, HookKind};
use crate::fault::codes;
use crate::ir::{Abi, Generated};
use crate::language;

/// How a reference to a list begins.
const REFERENCE: &str = "list:";
/// What a reference to nothing refers to.
static WRONG: List = List::Wrong;

/// All lists of a policy.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: BTreeMap<String, List>,
    /// Those that something refers to.
    used: RefCell<BTreeSet<String>>,
    /// Where each is.
    paths: Vec<(String, String)>,
}

/// One list.
#[derive(Debug, Clone)]
pub(super) enum List {
    /// Functions of the kernel.
    Functions(BTreeSet<String>),
    /// System calls, without `sys_`.
    Syscalls(BTreeSet<(Option<Abi>, String)>),
    /// What the kernel has.
    Generated(Generated),
    /// It has been refused.
    Wrong,
}

impl Lists {
    pub(super) fn read(spec: &Node<'_>, report: &mut Report) -> Self {
        let mut lists = Self::default();
        for node in spec.each("lists") {
            let name = node.text_of("name").to_owned();
            if name.is_empty() || name.contains(':') {
                let what = format!("{} is not a name that can be referred to", quoted(&name));
                report.fault(node.path_of("name"), codes::LIST_INVALID, what, "write a name without a colon");
                continue;
            }
            report.needs(node.path(), Feature::Field("lists"));
            let list = read_one(&node, report);
            if lists.lists.insert(name.clone(), list).is_some() {
                let what = format!("there are two lists with the name {}", quoted(&name));
                report.fault(node.path_of("name"), codes::LIST_DUPLICATE, what, "give one of them another name");
            }
            lists.paths.push((name, node.path().to_owned()));
        }
        lists
    }

    /// Whether `text` is a reference to a list.
    pub(super) fn refers(&self, text: &str) -> bool {
        text.strip_prefix(REFERENCE).is_some_and(|name| self.lists.contains_key(name))
    }

    /// The list that `text` (`list:NAME`) refers to; `None` when it is no reference.
    pub(super) fn referred(&self, text: &str, path: &str, report: &mut Report) -> Option<&List> {
        let name = text.strip_prefix(REFERENCE)?;
        self.used.borrow_mut().insert(name.to_owned());
        let found = self.lists.get(name);
        if found.is_none() {
            let what = format!("there is no list {}", quoted(name));
            let help = if self.lists.is_empty() || !report.may_compare(self.lists.len()) {
                "add it to spec.lists".into()
            } else {
                let known: Vec<&str> = self.lists.keys().map(String::as_str).collect();
                nearest::suggestion(name, &known, &known)
            };
            report.fault(path, codes::LIST_UNDEFINED, what, help);
        }
        Some(found.unwrap_or(&WRONG))
    }

    /// What nothing refers to would be ignored.
    pub(super) fn check_use(&self, report: &mut Report) {
        if report.has_passed_over() {
            return;
        }
        let used = self.used.borrow();
        for (name, path) in self.paths.iter().filter(|(name, _)| !used.contains(name)) {
            let what = format!("nothing refers to the list {}", quoted(name));
            let help = format!("write list:{} where it is meant, or remove it", in_path(name));
            report.fault(path.clone(), codes::LIST_UNUSED, what, help);
        }
    }
}

fn read_one(node: &Node<'_>, report: &mut Report) -> List {
    let kind = node.text_of("type");
    let pattern = node.said("pattern");
    if let Some(pattern) = pattern.as_ref().filter(|_| kind != "generated_ftrace") {
        let what = "only a list of type generated_ftrace has a pattern";
        report.fault(pattern.path(), codes::LIST_INVALID, what, "remove it, or write that type");
    }
    if let Some(validated) = node.said("validated") {
        let what = "validated is a note that Tetragon makes for itself";
        report.fault(validated.path(), codes::LIST_INVALID, what, "remove it");
    }
    let empty = node.count("values") == 0;
    let values = || node.each("values");
    let generated = kind.starts_with("generated_");
    if generated && !empty {
        let what = "the values of a generated list come from the kernel";
        report.fault(node.path_of("values"), codes::LIST_INVALID, what, "remove them, or write another type");
    } else if !generated && empty {
        let help = "list at least one function, or remove the list";
        report.fault(node.path_of("values"), codes::VALUES_EMPTY, "the list has no values", help);
    }
    match kind {
        "generated_syscalls" => {
            report.needs(node.path_of("type"), Feature::Hook(HookKind::Generated));
            List::Generated(Generated::Syscalls)
        }
        "generated_ftrace" => {
            report.needs(node.path_of("type"), Feature::Hook(HookKind::Generated));
            check_pattern(node, report);
            List::Generated(Generated::Functions { pattern: node.text_of("pattern").to_owned() })
        }
        "syscalls" => List::Syscalls(values().filter_map(|value| syscall(&value, report)).collect()),
        "" => List::Functions(values().filter_map(|value| function(&value, report)).collect()),
        _ => List::Wrong,
    }
}

/// A pattern is a regular expression. It is compiled on the node; here only what no engine could read is refused.
fn check_pattern(node: &Node<'_>, report: &mut Report) {
    let pattern = node.text_of("pattern");
    let path = node.path_of("pattern");
    if pattern.is_empty() {
        let what = "a list of type generated_ftrace needs a pattern";
        report.fault(path, codes::LIST_INVALID, what, "write a regular expression such as ^ksys_");
        return;
    }
    let (mut depth, mut class, mut escaped) = (0_i32, false, false);
    for byte in pattern.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'[' if !class => class = true,
            b']' if class => class = false,
            b'(' if !class => depth += 1,
            b')' if !class => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 || class || escaped || pattern.starts_with(['*', '+', '?']) {
        let what = format!("{} is not a regular expression", quoted(pattern));
        report.fault(path, codes::LIST_INVALID, what, "write one such as ^ksys_");
    }
}

/// `sys_x`, `ABI/sys_x`.
fn syscall(value: &Node<'_>, report: &mut Report) -> Option<(Option<Abi>, String)> {
    let text = value.text()?;
    if nested(text, value, report) {
        return None;
    }
    let entry = point::entry_of(text).map(|(abi, name)| (abi.strip_suffix('/'), name));
    let (abi, name) = entry.unwrap_or_else(|| point::split_abi(text));
    let plain = name.strip_prefix("sys_");
    let abi = match abi.map(|abi| (abi, point::abi(abi))) {
        None => None,
        Some((_, Some(abi))) => Some(abi),
        Some((word, None)) => {
            let what = format!("{} is not the name of an ABI", quoted(word));
            report.fault(value.path(), codes::LIST_INVALID, what, "write x64/, i386/, arm64/, or nothing");
            return None;
        }
    };
    let Some(plain) = plain else {
        let what = format!("{} is not the name of a system call", quoted(text));
        report.fault(value.path(), codes::LIST_INVALID, what, "write sys_ and its name, such as sys_openat");
        return None;
    };
    point::warn_unknown_syscall(plain, value.path(), report);
    if let Some(abi) = abi
        && language::same_everywhere(plain).is_some()
        && language::syscall_number(abi, plain).is_none()
    {
        let what = format!("there is no system call {} under {}", quoted(plain), point::abi_name(abi));
        report.fault(value.path(), codes::LIST_INVALID, what, "remove it");
        return None;
    }
    Some((abi, plain.to_owned()))
}

fn function(value: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = value.text()?;
    if nested(text, value, report) {
        return None;
    }
    if !point::is_symbol(text) {
        let what = format!("{} cannot be a name in the kernel", quoted(text));
        report.fault(value.path(), codes::SYMBOL_INVALID, what, "write the name of a function");
        return None;
    }
    Some(text.to_owned())
}

fn nested(text: &str, value: &Node<'_>, report: &mut Report) -> bool {
    let nested = text.starts_with(REFERENCE);
    if nested {
        let what = "a list cannot refer to a list";
        report.fault(value.path(), codes::LIST_INVALID, what, "write the functions themselves");
    }
    nested
}
