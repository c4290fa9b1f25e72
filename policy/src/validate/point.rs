//! Where a hook of the kernel attaches.

use std::collections::BTreeSet;

use super::hook::Family;
use super::lists::List;
use super::nearest;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::spec::Surroundings;
use super::user_space;
use crate::engine::{Feature, HookKind};
use crate::fault::codes;
use crate::ir::{Abi, Generated, HookPoint};
use crate::language;
use crate::language::limits::MAX_HOOKS;

/// The kernel's own limit (`KSYM_NAME_LEN`), without the NUL.
const MAX_SYMBOL: usize = 127;
/// How the kernel's tables name the entry of a system call, and how it is called then.
const SYSCALL_PREFIXES: [(&str, &str); 4] =
    [("__x64_", ""), ("__arm64_", ""), ("__ia32_compat_", "i386/"), ("__ia32_", "i386/")];
/// Functions behind system calls of another name.
const SYSCALL_FUNCTIONS: [&str; 17] = [
    "newstat",
    "newlstat",
    "newfstat",
    "newuname",
    "umount",
    "sendfile64",
    "mmap_pgoff",
    "old_mmap",
    "olduname",
    "uname",
    "sigaltstack",
    "rt_sigreturn",
    "stime32",
    "time32",
    "setuid16",
    "setgid16",
    "chown16",
];

/// The points that an entry names: several when it names a list.
pub(super) struct Points {
    /// What is not a name is reported and replaced by nothing; of a list for which there is no room, only the first is here.
    pub(super) points: Vec<HookPoint>,
    /// How many it names.
    pub(super) listed: usize,
}

impl Points {
    fn all(points: Vec<HookPoint>) -> Self {
        let listed = points.len();
        Self { points, listed }
    }
}

pub(super) fn points(node: &Node<'_>, family: Family, surroundings: &Surroundings<'_>, report: &mut Report) -> Points {
    let point = match family {
        Family::Kprobe | Family::Fentry => return functions(node, family, surroundings, report),
        Family::Lsm => lsm(node, report),
        Family::Tracepoint => tracepoint(node, report),
        Family::Uprobe => user_space::uprobe(node, report),
        Family::Usdt => user_space::usdt(node, report),
    };
    Points::all(vec![point])
}

/// The points of a list, each as `point` makes it of what is listed.
fn unfold<T>(
    listed: &BTreeSet<T>,
    path: &str,
    report: &mut Report,
    mut point: impl FnMut(&T, &mut Report) -> HookPoint,
) -> Points {
    let count = listed.len();
    let mut room = count;
    if count > MAX_HOOKS {
        let what = format!("the list has {count} functions, and a policy can have {MAX_HOOKS} hooks");
        report.fault(path, codes::TOO_MANY, what, "split it into several policies");
        room = 1;
    } else if !report.write_out(count, path) {
        room = 1;
    }
    Points { points: listed.iter().take(room).map(|one| point(one, report)).collect(), listed: count }
}

fn lsm(node: &Node<'_>, report: &mut Report) -> HookPoint {
    report.needs(node.path_of("hook"), Feature::Hook(HookKind::Lsm));
    let written = symbol(node, "hook", report);
    let hook = written.strip_prefix("bpf_lsm_").unwrap_or(&written);
    if let Some(plain) = hook.strip_prefix("security_") {
        let what = format!("{} is the name of a function, not of an LSM hook", quoted(hook));
        let help = format!("write {plain}, or use kprobes");
        report.fault(node.path_of("hook"), codes::SYMBOL_INVALID, what, help);
    }
    HookPoint::Lsm { hook: hook.to_owned() }
}

fn tracepoint(node: &Node<'_>, report: &mut Report) -> HookPoint {
    let raw = node.flag_of("raw").unwrap_or(false);
    let kind = if raw { HookKind::RawTracepoint } else { HookKind::Tracepoint };
    report.needs(node.path_of("event"), Feature::Hook(kind));
    HookPoint::Tracepoint { subsystem: symbol(node, "subsystem", report), event: symbol(node, "event", report), raw }
}

fn functions(node: &Node<'_>, family: Family, surroundings: &Surroundings<'_>, report: &mut Report) -> Points {
    let fentry = family == Family::Fentry;
    if fentry {
        report.needs(node.path_of("call"), Feature::Hook(HookKind::Fentry));
    }
    let point = |call: String, syscall| match fentry {
        true => HookPoint::Fentry { call, syscall },
        false => HookPoint::Kprobe { call, syscall },
    };
    let path = node.path_of("call");
    let syscall = node.flag_of("syscall");
    let points = match surroundings.lists.referred(node.text_of("call"), &path, report) {
        None => {
            let (call, syscall) = function(node, report);
            Points::all(vec![point(call, syscall)])
        }
        Some(List::Functions(names)) => unfold(names, &path, report, |name, report| {
            let (call, syscall) = of_list(name, syscall, &path, report);
            point(call, syscall)
        }),
        Some(List::Syscalls(calls)) => {
            must_be(true, syscall, "the list has system calls", &path, report);
            unfold(calls, &path, report, |(abi, name), _| point(with_abi(*abi, name), true))
        }
        Some(List::Generated(functions)) => {
            let calls = *functions == Generated::Syscalls;
            let what = if calls { "the list has system calls" } else { "the list has functions of the kernel" };
            must_be(calls, syscall, what, &path, report);
            Points::all(vec![HookPoint::Generated { functions: functions.clone(), fentry }])
        }
        Some(List::Wrong) => Points::all(vec![]),
    };
    if points.points.iter().any(|point| matches!(point, HookPoint::Kprobe { syscall: true, .. })) {
        let help = "hook the security_ function behind it with syscall: false, or its tracepoint";
        report.needs_or(path, Feature::Hook(HookKind::Syscall), help);
    }
    points
}

fn must_be(expected: bool, written: Option<bool>, what: &str, path: &str, report: &mut Report) {
    // Absent is upstream's default.
    if written.unwrap_or(true) != expected {
        report.fault(path, codes::SYSCALL_MISMATCH, what, format!("write syscall: {expected}"));
    }
}

/// A function that a plain list names.
fn of_list(name: &str, syscall: Option<bool>, path: &str, report: &mut Report) -> (String, bool) {
    let syscall = syscall.unwrap_or(true);
    if syscall && !name.starts_with("sys_") {
        let what = format!("the list has {}, which is not a system call", quoted(name));
        report.fault(path, codes::SYSCALL_MISMATCH, what, "write syscall: false for functions of the kernel");
    }
    (name.to_owned(), syscall)
}

fn function(node: &Node<'_>, report: &mut Report) -> (String, bool) {
    let path = node.path_of("call");
    let call = symbol(node, "call", report);
    let entry = entry_of(&call);
    let plain = entry.map_or(call.as_str(), |(_, plain)| plain);
    // Upstream's default. Silence on a function that cannot be a system call is therefore a fault, not a guess.
    let syscall = node.flag_of("syscall").unwrap_or(true);
    if syscall && !call.is_empty() && !plain.starts_with("sys_") {
        let what = match node.flag_of("syscall") {
            Some(_) => format!("{} is not a system call", quoted(&call)),
            None => format!("{} is not a system call, and without syscall it is taken for one", quoted(&call)),
        };
        report.fault(path, codes::SYSCALL_MISMATCH, what, "write syscall: false for a function of the kernel");
    } else if !syscall && entry.is_some() {
        let what =
            format!("{} is the entry of a system call: its arguments are not where a function's are", quoted(&call));
        report.fault(path, codes::SYSCALL_MISMATCH, what, format!("write call: {plain} and syscall: true"));
    } else if let Some(name) = plain.strip_prefix("sys_").filter(|_| syscall) {
        warn_unknown_syscall(name, &path, report);
    }
    match (syscall, entry) {
        (true, Some((abi, plain))) => (format!("{abi}{plain}"), true),
        _ => (call, syscall),
    }
}

/// The system call of which `call` is the kernel's own entry, and how it is called there (`i386/`, or nothing).
pub(super) fn entry_of(call: &str) -> Option<(&'static str, &str)> {
    let found = SYSCALL_PREFIXES.iter().find_map(|(prefix, abi)| Some((*abi, call.strip_prefix(prefix)?)));
    found.filter(|(_, plain)| plain.starts_with("sys_"))
}

/// A name that no system call has may be that of a function behind one; it may also be misspelt.
pub(super) fn warn_unknown_syscall(name: &str, path: &str, report: &mut Report) {
    if language::same_everywhere(name).is_some() || SYSCALL_FUNCTIONS.contains(&name) {
        return;
    }
    let what = format!("no kernel that is known has a system call {}", quoted(name));
    // Where there is so much to say that most of it is only counted, nobody reads a suggestion.
    let meant = if report.is_flooded() { None } else { nearest::nearest(name, language::syscall_names()) };
    let help = meant.map_or_else(|| "check its name".to_owned(), |name| format!("did you mean sys_{name}?"));
    report.warn(path, codes::SYSCALL_UNKNOWN, what, help);
}

/// `i386/sys_openat` in two.
pub(super) fn split_abi(text: &str) -> (Option<&str>, &str) {
    text.split_once('/').map_or((None, text), |(abi, name)| (Some(abi), name))
}

pub(super) fn abi(name: &str) -> Option<Abi> {
    match name {
        "x64" => Some(Abi::X64),
        "i386" => Some(Abi::I386),
        "arm64" => Some(Abi::Arm64),
        _ => None,
    }
}

pub(super) const fn abi_name(abi: Abi) -> &'static str {
    match abi {
        Abi::X64 => "x64",
        Abi::I386 => "i386",
        Abi::Arm64 => "arm64",
    }
}

fn with_abi(abi: Option<Abi>, name: &str) -> String {
    match abi {
        None => format!("sys_{name}"),
        Some(abi) => format!("{}/sys_{name}", abi_name(abi)),
    }
}

/// Whether `text` can be the name of something in the kernel.
pub(super) fn is_symbol(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte);
    !text.is_empty()
        && text.len() <= MAX_SYMBOL
        && text.bytes().all(allowed)
        && !text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
}

/// The name of something in the kernel; empty when it is absent.
fn symbol(node: &Node<'_>, field: &str, report: &mut Report) -> String {
    let Some(text) = node.field(field).and_then(|field| field.text()) else { return String::new() };
    if !is_symbol(text) {
        let what = format!("{} cannot be a name in the kernel", quoted(text));
        let help = format!("write a name of at most {MAX_SYMBOL} letters, digits and '_'");
        report.fault(node.path_of(field), codes::SYMBOL_INVALID, what, help);
    }
    text.to_owned()
}
