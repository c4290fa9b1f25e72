//! One entry of `kprobes`, `lsmhooks` or `tracepoints`: where it attaches, what it reads, what it selects.

use std::collections::BTreeSet;

use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::selector;
use super::spec::Surroundings;
use super::well_known;
use crate::fault::codes;
use crate::ir::{Arg, ArgType, Hook, HookPoint, Strength};

/// How many arguments one hook can read.
pub(super) const MAX_ARGS: usize = stockade_enforcer_common::plan::MAX_ARGS;
/// The highest index of an argument that can be read: what registers carry.
pub(super) const MAX_ARG_INDEX: u32 = 5;
/// The highest field number of a tracepoint.
pub(super) const MAX_FIELD: u32 = 31;
/// How many bytes a message may have, and a tag.
const MESSAGE_BYTES: (usize, usize) = (2, 256);
const TAG_BYTES: (usize, usize) = (2, 128);
const MAX_TAGS: usize = 16;
/// The kernel's own limit (`KSYM_NAME_LEN`), without the NUL.
const MAX_SYMBOL: usize = 127;
/// How the kernel's tables name the entry of a system call.
const SYSCALL_PREFIXES: [&str; 2] = ["__x64_", "__arm64_"];

/// Which list of the spec an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Kprobe,
    Lsm,
    Tracepoint,
}

impl Family {
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobes",
            Self::Lsm => "lsmhooks",
            Self::Tracepoint => "tracepoints",
        }
    }
}

/// A hook, and what the policy as a whole needs to know about it.
pub(super) struct Reading {
    pub(super) hook: Hook,
    pub(super) path: String,
    /// The strongest that the hook can be on any kernel.
    pub(super) reach: Strength,
    /// The strength that its actions ask for; `None` when it only observes.
    pub(super) asks: Option<Strength>,
}

pub(super) fn read(
    node: &Node<'_>,
    family: Family,
    index: u32,
    surroundings: &Surroundings,
    report: &mut Report,
) -> Reading {
    let point = point(node, family, report);
    let reach = well_known::reach(&point);
    let args = args(node, &point, report);
    let returns = returns(node, report);
    let selectors = selector::read_all(node, &point, &args, surroundings, report);
    let asks = selectors.iter().filter_map(|reading| reading.asks).max();
    let hook = Hook {
        point,
        index,
        message: message(node, report),
        tags: tags(node, report),
        args: args.read,
        returns,
        selectors: selectors.into_iter().map(|reading| reading.selector).collect(),
    };
    Reading { hook, path: node.path().to_owned(), reach, asks }
}

/// Where the hook attaches. What is not a name is reported and replaced by nothing.
fn point(node: &Node<'_>, family: Family, report: &mut Report) -> HookPoint {
    match family {
        Family::Kprobe => kprobe(node, report),
        Family::Lsm => {
            let written = symbol(node, "hook", report);
            let hook = written.strip_prefix("bpf_lsm_").unwrap_or(&written);
            if let Some(plain) = hook.strip_prefix("security_") {
                let what = format!("{} is the name of a function, not of an LSM hook", quoted(hook));
                report.fault(
                    node.path_of("hook"),
                    codes::SYMBOL_INVALID,
                    what,
                    format!("write {plain}, or use kprobes"),
                );
            }
            HookPoint::Lsm { hook: hook.to_owned() }
        }
        Family::Tracepoint => HookPoint::Tracepoint {
            subsystem: symbol(node, "subsystem", report),
            event: symbol(node, "event", report),
            raw: node.flag_of("raw").unwrap_or(false),
        },
    }
}

fn kprobe(node: &Node<'_>, report: &mut Report) -> HookPoint {
    let path = node.path_of("call");
    let written = node.text_of("call");
    if written.starts_with("list:") {
        report.fault(path, codes::UNSUPPORTED, "lists are not built in this version", "write one entry per function");
        return HookPoint::Kprobe { call: written.to_owned(), syscall: false };
    }
    let call = symbol(node, "call", report);
    let plain = SYSCALL_PREFIXES.iter().find_map(|prefix| call.strip_prefix(prefix)).unwrap_or(&call).to_owned();
    let is_entry = plain != call && plain.starts_with("sys_");
    // Upstream's default. Silence on a function that cannot be a system call is therefore a fault, not a guess.
    let syscall = node.flag_of("syscall").unwrap_or(true);
    if syscall && !call.is_empty() && !plain.starts_with("sys_") {
        let what = match node.flag_of("syscall") {
            Some(_) => format!("{} is not a system call", quoted(&call)),
            None => format!("{} is not a system call, and without syscall it is taken for one", quoted(&call)),
        };
        report.fault(path, codes::SYSCALL_MISMATCH, what, "write syscall: false for a function of the kernel");
    } else if !syscall && is_entry {
        let what =
            format!("{} is the entry of a system call: its arguments are not where a function's are", quoted(&call));
        report.fault(path, codes::SYSCALL_MISMATCH, what, format!("write call: {plain} and syscall: true"));
    }
    if syscall && plain.starts_with("sys_") {
        let what = "hooks on system calls are not built in this version";
        let help = "hook the security_ function behind it with syscall: false, or its tracepoint";
        report.fault(node.path_of("call"), codes::UNSUPPORTED, what, help);
    }
    HookPoint::Kprobe { call: if syscall { plain } else { call }, syscall }
}

/// The name of something in the kernel; empty when it is absent.
fn symbol(node: &Node<'_>, field: &str, report: &mut Report) -> String {
    let Some(text) = node.field(field).and_then(|field| field.text()) else { return String::new() };
    let is_symbol = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte);
        !text.is_empty() && text.bytes().all(allowed) && !text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
    };
    if !is_symbol(text) || text.len() > MAX_SYMBOL {
        let what = format!("{} cannot be a name in the kernel", quoted(text));
        let help = format!("write a name of at most {MAX_SYMBOL} letters, digits and '_'");
        report.fault(node.path_of(field), codes::SYMBOL_INVALID, what, help);
    }
    text.to_owned()
}

/// `args` of a hook.
#[derive(Debug, Default)]
pub(super) struct Args {
    /// Those that were understood, in written order.
    pub(super) read: Vec<Arg>,
    /// The indices of all that are listed.
    pub(super) listed: BTreeSet<u32>,
    /// An index could not be understood, so that one more may be listed.
    pub(super) unclear: bool,
}

/// The arguments in written order.
fn args(node: &Node<'_>, point: &HookPoint, report: &mut Report) -> Args {
    let list = node.list("args");
    if list.len() > MAX_ARGS {
        let what = format!("{} arguments are listed, and at most {MAX_ARGS} can be read", list.len());
        report.fault(node.path_of("args"), codes::TOO_MANY, what, "list those that are needed");
    }
    let mut args = Args::default();
    for arg in &list {
        let Some(index) = arg.field("index").and_then(|index| index.integer()).and_then(|index| index.try_into().ok())
        else {
            args.unclear = true;
            continue;
        };
        if !args.listed.insert(index) {
            let what = format!("argument {index} is listed twice");
            report.fault(arg.path_of("index"), codes::ARG_DUPLICATE, what, "list it once");
            continue;
        }
        let ty = arg_type(arg, point, report);
        check_index(arg, index, ty, point, report);
        if let Some(ty) = ty {
            args.read.push(Arg { index, ty, label: arg.text_of("label").to_owned() });
        }
    }
    args
}

fn arg_type(arg: &Node<'_>, point: &HookPoint, report: &mut Report) -> Option<ArgType> {
    match arg.field("type") {
        None => {
            unstated(arg, point, report);
            None
        }
        Some(ty) => match ty.text()? {
            "auto" | "" => {
                unstated(arg, point, report);
                None
            }
            "socket" => socket(arg, point, report),
            name => type_named(name),
        },
    }
}

/// A `struct socket *`. Where the kernel's types say that an argument is one, it is followed to its sock.
fn socket(arg: &Node<'_>, point: &HookPoint, report: &mut Report) -> Option<ArgType> {
    let described = match point {
        HookPoint::Lsm { .. } => true,
        HookPoint::Kprobe { call, .. } => call.starts_with("security_"),
        HookPoint::Tracepoint { .. } => false,
    };
    if !described {
        let what = "socket is not built in this version for other hooks than LSM hooks and security_ functions";
        report.fault(arg.path_of("type"), codes::UNSUPPORTED, what, "hook one of those");
    }
    described.then_some(ArgType::Sock)
}

fn unstated(arg: &Node<'_>, point: &HookPoint, report: &mut Report) {
    let what = match point {
        HookPoint::Tracepoint { raw: false, .. } => "the type of the field is not written out, and not yet looked up",
        _ => "the type of the argument is not written out, and the kernel does not say it",
    };
    report.fault(arg.path_of("type"), codes::TYPE_UNSTATED, what, "write the type, for instance int or file");
}

/// The types that are built. Names that mean the same are the same.
fn type_named(name: &str) -> Option<ArgType> {
    Some(match name {
        "int" | "sint32" | "int32" => ArgType::Int,
        "uint32" => ArgType::Uint32,
        "size_t" | "uint64" | "ulong" => ArgType::SizeT,
        "string" => ArgType::String,
        "file" => ArgType::File,
        "path" => ArgType::Path,
        "linux_binprm" => ArgType::LinuxBinprm,
        "sock" => ArgType::Sock,
        "sockaddr" => ArgType::Sockaddr,
        _ => return None,
    })
}

fn check_index(arg: &Node<'_>, index: u32, ty: Option<ArgType>, point: &HookPoint, report: &mut Report) {
    let path = arg.path_of("index");
    let highest = if matches!(point, HookPoint::Tracepoint { raw: false, .. }) { MAX_FIELD } else { MAX_ARG_INDEX };
    if index > highest {
        let what = format!("argument {index} cannot be read");
        report.fault(path, codes::ARG_INDEX, what, format!("write an index from 0 to {highest}"));
        return;
    }
    // With resolve, the type is that of a field of the argument.
    let ty = ty.filter(|_| arg.text_of("resolve").is_empty());
    match (well_known::parameter(point, index), ty) {
        (well_known::Lookup::UnknownFunction, _) => {}
        (well_known::Lookup::NoSuchParameter { count }, _) => {
            let what = format!("{} has {count} arguments, numbered from 0", well_known::name(point));
            report.fault(path, codes::ARG_INDEX, what, "write the index of one of them");
        }
        (well_known::Lookup::Parameter { name, class }, Some(ty)) if !class.can_be_read_as(ty) => {
            let what = format!("argument {index} of {} is {name}, {}", well_known::name(point), class.describe());
            report.fault(arg.path_of("type"), codes::ARG_TYPE_MISMATCH, what, class.suggestion());
        }
        (well_known::Lookup::Parameter { .. }, _) => {}
    }
}

/// `return` and `returnArg`.
fn returns(node: &Node<'_>, report: &mut Report) -> Option<ArgType> {
    let asked = node.flag_of("return").unwrap_or(false);
    let arg = node.field("returnArg");
    if !asked {
        for field in ["returnArg", "returnArgAction"].into_iter().filter(|name| node.field(name).is_some()) {
            let what = format!("{field} has no effect without return: true");
            report.fault(node.path_of(field), codes::RETURN_UNUSED, what, "write return: true, or remove it");
        }
        return None;
    }
    let Some(arg) = arg else {
        let what = "return: true needs to know how the return value is read";
        report.fault(node.path_of("returnArg"), codes::MISSING_FIELD, what, "write returnArg with index 0 and a type");
        return None;
    };
    if arg.field("index").and_then(|index| index.integer()).is_some_and(|index| index != 0) {
        let what = "a function has one return value, numbered 0";
        report.fault(arg.path_of("index"), codes::ARG_INDEX, what, "write index: 0");
    }
    let written = arg.text_of("type");
    if written.is_empty() || written == "auto" {
        let what = "the type of the return value is not written out";
        report.fault(arg.path_of("type"), codes::TYPE_UNSTATED, what, "write the type, for instance int");
        return None;
    }
    match type_named(written)? {
        ty @ (ArgType::Int | ArgType::Uint32 | ArgType::SizeT) => Some(ty),
        _ => {
            let what = format!("a return value of type {written} is not built in this version");
            report.fault(
                arg.path_of("type"),
                codes::UNSUPPORTED,
                what,
                "write int, uint32 or size_t, or remove return",
            );
            None
        }
    }
}

fn message(node: &Node<'_>, report: &mut Report) -> String {
    let text = node.text_of("message");
    if !text.is_empty() {
        check_length(node.path_of("message"), "a message", text, MESSAGE_BYTES, report);
    }
    text.to_owned()
}

fn tags(node: &Node<'_>, report: &mut Report) -> Vec<String> {
    let tags = node.list("tags");
    if tags.len() > MAX_TAGS {
        let what = format!("there are {} tags, and at most {MAX_TAGS} can be reported", tags.len());
        report.fault(node.path_of("tags"), codes::TOO_MANY, what, "remove some");
    }
    for tag in &tags {
        if let Some(text) = tag.text() {
            check_length(tag.path().to_owned(), "a tag", text, TAG_BYTES, report);
        }
    }
    tags.iter().filter_map(|tag| tag.text().map(ToOwned::to_owned)).collect()
}

fn check_length(path: String, what: &str, text: &str, (least, most): (usize, usize), report: &mut Report) {
    if !(least..=most).contains(&text.len()) {
        let message = format!("{what} of {} bytes is not reported whole", text.len());
        report.fault(path, codes::TEXT_LENGTH, message, format!("write {least} to {most} bytes"));
    }
}
