//! What a hook reads: `args`, `data` and `returnArg`.

use std::collections::BTreeSet;

use super::hook::Family;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::well_known::{self, Lookup};
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{Arg, ArgType, Class, HookPoint, Reading, Returned, Size, SockAction, Source, Step};
use crate::language::limits::{MAX_ARG_INDEX, MAX_ARGS, MAX_FIELD, MAX_STEPS};

/// The highest `sizeArgIndex`.
const MAX_SIZE_ARG: u32 = 15;

/// `args` and `data` of a hook.
#[derive(Debug, Default)]
pub(super) struct Args {
    /// Those that were understood: `args`, then `data`, in written order.
    pub(super) read: Vec<Arg>,
    /// How many of them are `data`.
    pub(super) data: usize,
    /// How many `args` are listed, understood or not.
    pub(super) written: usize,
    /// The indices of all `args` that are listed.
    pub(super) listed: BTreeSet<u32>,
    /// Something could not be understood, so that one more may be listed.
    pub(super) unclear: bool,
}

/// What the reader of an argument needs to know of its hook.
pub(super) struct Context<'a> {
    pub(super) family: Family,
    /// All points of the hook; none when they could not be read.
    pub(super) points: &'a [HookPoint],
    /// `return: true`.
    pub(super) returns: bool,
}

/// The arguments and data in written order.
pub(super) fn read(node: &Node<'_>, context: &Context<'_>, report: &mut Report) -> Args {
    let (args, data) = (node.list("args"), node.list("data"));
    let count = args.len() + data.len();
    if count > MAX_ARGS {
        let what = format!("{count} arguments are listed, and at most {MAX_ARGS} can be read");
        report.fault(node.path_of("args"), codes::TOO_MANY, what, "list those that are needed");
    }
    let mut result = Args { written: args.len(), ..Args::default() };
    for arg in &args {
        let Some(index) = index_of(arg) else {
            result.unclear = true;
            continue;
        };
        if !result.listed.insert(index) && arg.text_of("resolve").is_empty() {
            let what = format!("argument {index} is listed twice");
            report.fault(arg.path_of("index"), codes::ARG_DUPLICATE, what, "list it once");
            continue;
        }
        let ty = arg_type(arg, context, report);
        check_index(arg, index, ty, context, report);
        let reading = reading(arg, ty, false, context, report);
        match ty {
            Some(ty) => result.read.push(Arg { index, ty, label: arg.text_of("label").to_owned(), reading }),
            None => result.unclear = true,
        }
    }
    for datum in &data {
        report.needs(datum.path(), Feature::Field("data"));
        let ty = arg_type(datum, context, report);
        let reading = reading(datum, ty, true, context, report);
        match (index_of(datum), ty) {
            (Some(index), Some(ty)) => {
                result.read.push(Arg { index, ty, label: datum.text_of("label").to_owned(), reading });
                result.data += 1;
            }
            _ => result.unclear = true,
        }
    }
    result
}

fn index_of(arg: &Node<'_>) -> Option<u32> {
    arg.field("index").and_then(|index| index.integer()).and_then(|index| index.try_into().ok())
}

/// The type of an argument; `None` when it is unstated or wrong, which has been said.
fn arg_type(arg: &Node<'_>, context: &Context<'_>, report: &mut Report) -> Option<ArgType> {
    let path = arg.path_of("type");
    let described = matches!(context.family, Family::Tracepoint | Family::Usdt)
        && !context.points.iter().any(|point| matches!(point, HookPoint::Tracepoint { raw: true, .. }));
    let ty = match arg.field("type") {
        None => ArgType::Auto,
        Some(field) if field.text() == Some("") => ArgType::Auto,
        Some(field) => ArgType::named(field.text()?)?,
    };
    match ty {
        ArgType::Auto if described => {
            report.needs_or(path, Feature::Type(ty), "write the type, for instance int or string");
            Some(ty)
        }
        ArgType::Auto => {
            let what = "the type of the argument is not written out, and the kernel does not say it";
            report.fault(path, codes::TYPE_UNSTATED, what, "write the type, for instance int or file");
            None
        }
        ArgType::Syscall64 if context.family != Family::Tracepoint => {
            let what = "syscall64 is the number in a tracepoint of raw_syscalls";
            report.fault(path, codes::TYPE_ON_HOOK, what, "remove it: the hook is on one system call already");
            None
        }
        ArgType::ConstBuf if context.family == Family::Tracepoint => {
            let what = "const_buf is what a field's description makes of it, and not to be written";
            report.fault(path, codes::TYPE_ON_HOOK, what, "remove type: the field's description says it");
            None
        }
        ArgType::DataLoc if context.family != Family::Tracepoint => {
            let what = "only fields of tracepoints are of type data_loc";
            report.fault(path, codes::TYPE_ON_HOOK, what, "write string");
            None
        }
        ArgType::Socket if context.points.iter().all(well_known::describes_sockets) => Some(ArgType::Sock),
        ty => {
            let plain = matches!(ty.class(), Class::Number { .. } | Class::Text) || ty == ArgType::Nop;
            report.needs(
                path,
                match context.family {
                    Family::Tracepoint if ty == ArgType::CharBuf => Feature::Field("char_buf of a tracepoint"),
                    Family::Uprobe if !plain => Feature::Field("a structure of the kernel in a uprobe"),
                    _ => Feature::Type(ty),
                },
            );
            Some(ty)
        }
    }
}

fn check_index(arg: &Node<'_>, index: u32, ty: Option<ArgType>, context: &Context<'_>, report: &mut Report) {
    let path = arg.path_of("index");
    let fields = context.points.iter().any(|point| matches!(point, HookPoint::Tracepoint { raw: false, .. }));
    let highest = if fields { MAX_FIELD } else { MAX_ARG_INDEX };
    if index > highest {
        let what = format!("argument {index} cannot be read");
        report.fault(path, codes::ARG_INDEX, what, format!("write an index from 0 to {highest}"));
        return;
    }
    // With resolve, the type is that of a field of the argument; of what is not read, there is none.
    let ty = ty.filter(|ty| arg.text_of("resolve").is_empty() && *ty != ArgType::Nop);
    for point in context.points {
        match (well_known::parameter(point, index), ty) {
            (Lookup::UnknownFunction, _) => {}
            (Lookup::NoSuchParameter { count }, _) => {
                let what = format!("{} has {count} arguments, numbered from 0", point.name());
                report.fault(path.clone(), codes::ARG_INDEX, what, "write the index of one of them");
            }
            (Lookup::Parameter { name, class }, Some(ty)) if !class.can_be_read_as(ty) => {
                let what = format!("argument {index} of {} is {name}, {}", point.name(), class.describe());
                report.fault(arg.path_of("type"), codes::ARG_TYPE_MISMATCH, what, class.suggestion());
            }
            (Lookup::Parameter { .. }, _) => {}
        }
    }
}

/// Everything about an argument but its index, type and label.
fn reading(arg: &Node<'_>, ty: Option<ArgType>, data: bool, context: &Context<'_>, report: &mut Report) -> Reading {
    let path = steps(arg, report);
    if arg.said("resolve").is_some() {
        report.needs(arg.path_of("resolve"), Feature::Field("resolve"));
        if context.points.iter().any(|point| matches!(point, HookPoint::Tracepoint { raw: false, .. })) {
            let what = "a field of a tracepoint has no fields of its own";
            report.fault(arg.path_of("resolve"), codes::RESOLVE_INVALID, what, "write raw: true, or remove it");
        }
    }
    let source = source(arg, data, context, report);
    let pointer = pointer(arg, context, report);
    Reading {
        source,
        path,
        pointer,
        size: size(arg, ty, context, report),
        on_return: return_copy(arg, context, report),
    }
}

/// `a.b[3].c`.
fn steps(arg: &Node<'_>, report: &mut Report) -> Vec<Step> {
    let text = arg.text_of("resolve");
    // In user space and in data it may name a register, which is read by source().
    if text.is_empty() || is_register(text) {
        return Vec::new();
    }
    let (mut steps, mut count) = (Vec::new(), 0_usize);
    let mut add = |step: Step| {
        count += 1;
        if count <= MAX_STEPS {
            steps.push(step);
        }
    };
    let mut good = true;
    for part in text.split('.') {
        let (name, elements) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        // `[3]` alone is an element of what the argument points to.
        good &= is_name && (!name.is_empty() || elements.is_some());
        if !name.is_empty() {
            add(Step::Field(name.to_owned()));
        }
        for element in elements.into_iter().flat_map(|rest| rest.split('[')) {
            match element.strip_suffix(']').and_then(|number| number.parse().ok()) {
                Some(number) => add(Step::Element(number)),
                None => good = false,
            }
        }
    }
    if !good {
        let what = format!("{} is not a path of fields", quoted(text));
        report.fault(
            arg.path_of("resolve"),
            codes::RESOLVE_INVALID,
            what,
            "write a path such as mm.owner.pid or a.b[3].c",
        );
    } else if count > MAX_STEPS {
        let what = format!("it has {count} steps, and at most {MAX_STEPS} can be followed");
        report.fault(arg.path_of("resolve"), codes::RESOLVE_INVALID, what, "begin nearer to what is read");
    }
    steps
}

/// `rax`, `8(%rsp)`, `(%rsp)`.
pub(super) fn is_register(text: &str) -> bool {
    let name = |text: &str| {
        let text = text.strip_prefix('%').unwrap_or(text);
        REGISTERS.contains(&text)
    };
    match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        None => name(text),
        Some((offset, register)) => (offset.is_empty() || offset.parse::<i32>().is_ok()) && name(register),
    }
}

/// The registers of x86-64, whole and in part.
const REGISTERS: [&str; 40] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "eflags", "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "ax", "bx", "cx", "dx", "si", "di",
    "bp", "sp", "ip", "al", "bl", "cl", "dl",
];

fn source(arg: &Node<'_>, data: bool, context: &Context<'_>, report: &mut Report) -> Source {
    let path = arg.path_of("source");
    let written = arg.text_of("source");
    let resolve = arg.text_of("resolve");
    if !data {
        if !written.is_empty() {
            let what = "args begin at an argument of the function";
            report.fault(path, codes::SOURCE_INVALID, what, "remove source, or put it in data");
        }
        return Source::Argument;
    }
    if resolve.is_empty() {
        let what = "data does not say what is read from its source";
        report.fault(arg.path_of("resolve"), codes::RESOLVE_INVALID, what, "write resolve, such as cred.uid.val");
    }
    match written {
        "current_task" if !resolve.is_empty() && is_register(resolve) && context.family != Family::Kprobe => {
            let what = format!("{} is a register, not a field of the task", quoted(resolve));
            report.fault(path, codes::SOURCE_INVALID, what, "write source: pt_regs");
            Source::Task
        }
        "current_task" => Source::Task,
        "pt_regs" => {
            if !is_register(resolve) && !resolve.is_empty() {
                let what = format!("{} is not a register", quoted(resolve));
                report.fault(arg.path_of("resolve"), codes::RESOLVE_INVALID, what, "write one such as rax or 8(%rsp)");
            }
            if context.family == Family::Fentry {
                let what = "fentries have no registers";
                report.fault(path, codes::SOURCE_INVALID, what, "use kprobes");
            }
            Source::Register(resolve.to_owned())
        }
        other => {
            let what = if other.is_empty() {
                "data does not say where it begins".to_owned()
            } else {
                format!("{} is not where data can begin", quoted(other))
            };
            report.fault(path, codes::SOURCE_INVALID, what, "write current_task or pt_regs");
            Source::Task
        }
    }
}

fn pointer(arg: &Node<'_>, context: &Context<'_>, report: &mut Report) -> Option<(String, String)> {
    let (ty, module) = (arg.text_of("btfType"), arg.text_of("btfTypeModule"));
    if ty.is_empty() && !module.is_empty() {
        let what = "btfTypeModule has no effect without btfType";
        report.fault(arg.path_of("btfTypeModule"), codes::RESOLVE_INVALID, what, "write btfType, or remove it");
    }
    if !module.is_empty() && context.family != Family::Kprobe {
        let what = "only kprobes can take a pointer for a type of a module";
        report.fault(arg.path_of("btfTypeModule"), codes::RESOLVE_INVALID, what, "remove it, or use kprobes");
    }
    if ty.is_empty() {
        return None;
    }
    report.needs(arg.path_of("btfType"), Feature::Field("btfType"));
    if arg.text_of("resolve").is_empty() {
        let what = "btfType has no effect without resolve";
        report.fault(arg.path_of("btfType"), codes::RESOLVE_INVALID, what, "write resolve, or remove it");
    }
    Some((ty.to_owned(), module.to_owned()))
}

fn size(arg: &Node<'_>, ty: Option<ArgType>, context: &Context<'_>, report: &mut Report) -> Size {
    let path = arg.path_of("sizeArgIndex");
    let buffer = ty.is_none_or(|ty| matches!(ty, ArgType::CharBuf | ArgType::CharIovec));
    let large = arg.said("maxData").is_some();
    if large {
        report.needs(arg.path_of("maxData"), Feature::Field("maxData"));
        if ty.is_some_and(|ty| ty != ArgType::CharBuf) {
            let what = "maxData has no effect on anything but a char_buf";
            report.fault(arg.path_of("maxData"), codes::SIZE_INVALID, what, "remove it");
        } else if arg.said("returnCopy").is_some() {
            let what = "a buffer that is read on return is read in one piece";
            report.fault(arg.path_of("maxData"), codes::SIZE_INVALID, what, "remove maxData or returnCopy");
        }
    }
    let Some(written) = arg.said("sizeArgIndex") else {
        if ty == Some(ArgType::CharBuf) && arg.said("returnCopy").is_none() && !is_sized(arg, context) {
            let what = "it is not said how many bytes the buffer has";
            let help = "write sizeArgIndex (from 1), or returnCopy: true if the return value says it";
            report.fault(path, codes::SIZE_INVALID, what, help);
        }
        return Size { argument: None, large };
    };
    let Some(number) = written.integer().and_then(|number| u32::try_from(number).ok()) else { return Size::default() };
    report.needs(path.clone(), Feature::Field("sizeArgIndex"));
    if !buffer {
        let what = format!("sizeArgIndex has no effect on an argument of type {}", ty.map_or("", ArgType::name));
        report.fault(path, codes::SIZE_INVALID, what, "remove it");
        return Size { argument: None, large };
    }
    if number > MAX_SIZE_ARG {
        report.fault(
            path,
            codes::SIZE_INVALID,
            format!("there is no argument {number}"),
            format!("write 1 to {MAX_SIZE_ARG}"),
        );
        return Size { argument: None, large };
    }
    let index = number.saturating_sub(1);
    for point in context.points {
        let wrong = match well_known::parameter(point, index) {
            Lookup::UnknownFunction => None,
            Lookup::NoSuchParameter { count } => Some(format!("{} has {count} arguments", point.name())),
            Lookup::Parameter { class: well_known::Class::Number, .. } => None,
            Lookup::Parameter { name, class } => {
                Some(format!("argument {number} of {}, counted from 1, is {name}, {}", point.name(), class.describe()))
            }
        };
        if let Some(what) = wrong {
            report.fault(path.clone(), codes::SIZE_INVALID, what, "write which argument says it, counted from 1");
        }
    }
    Size { argument: Some(index), large }
}

/// Fields of tracepoints and probes are described with their size.
fn is_sized(arg: &Node<'_>, context: &Context<'_>) -> bool {
    matches!(context.family, Family::Tracepoint | Family::Usdt) || !arg.text_of("resolve").is_empty()
}

fn return_copy(arg: &Node<'_>, context: &Context<'_>, report: &mut Report) -> bool {
    let asked = arg.said("returnCopy").is_some();
    if asked {
        report.needs(arg.path_of("returnCopy"), Feature::Field("returnCopy"));
        if !context.returns {
            let what = "returnCopy has no effect without return: true";
            report.fault(arg.path_of("returnCopy"), codes::RETURN_UNUSED, what, "write return: true, or remove it");
        }
    }
    asked
}

/// `return`, `returnArg` and `returnArgAction`: the type of the return value, and the rest.
pub(super) fn returned(node: &Node<'_>, context: &Context<'_>, report: &mut Report) -> (Option<ArgType>, Returned) {
    let arg = node.field("returnArg");
    if !context.returns {
        for field in ["returnArg", "returnArgAction"].into_iter().filter(|name| node.said(name).is_some()) {
            let what = format!("{field} has no effect without return: true");
            report.fault(node.path_of(field), codes::RETURN_UNUSED, what, "write return: true, or remove it");
        }
        return (None, Returned::default());
    }
    report.needs(node.path_of("return"), Feature::Field("return"));
    let Some(arg) = arg else {
        let what = "return: true needs to know how the return value is read";
        report.fault(node.path_of("returnArg"), codes::MISSING_FIELD, what, "write returnArg with index 0 and a type");
        return (None, Returned::default());
    };
    if arg.field("index").and_then(|index| index.integer()).is_some_and(|index| index != 0) {
        let what = "a function has one return value, numbered 0";
        report.fault(arg.path_of("index"), codes::ARG_INDEX, what, "write index: 0");
    }
    let ty = match arg.text_of("type") {
        "" | "auto" => {
            let what = "the type of the return value is not written out";
            report.fault(arg.path_of("type"), codes::TYPE_UNSTATED, what, "write the type, for instance int");
            None
        }
        name => ArgType::named(name),
    };
    let values = matches!(
        ty.map(ArgType::class),
        Some(Class::Number { .. } | Class::Socket { .. } | Class::Path { .. } | Class::Text)
    );
    if let Some(ty) = ty.filter(|_| !values) {
        let what = format!("a function does not return a {}", ty.name());
        report.fault(arg.path_of("type"), codes::TYPE_ON_HOOK, what, "write int, or what it returns");
    }
    if ty == Some(ArgType::CharBuf) {
        report.needs(arg.path_of("type"), Feature::Field("a char_buf that is returned"));
    }
    let plain = Context { returns: true, points: &[], ..*context };
    let reading = reading(&arg, ty.filter(|ty| *ty != ArgType::CharBuf), false, &plain, report);
    let action = node.said("returnArgAction").and_then(|action| sock_action(&action, ty, report));
    (ty, Returned { label: arg.text_of("label").to_owned(), reading, action })
}

fn sock_action(node: &Node<'_>, ty: Option<ArgType>, report: &mut Report) -> Option<SockAction> {
    let action = match node.text()? {
        "TrackSock" => SockAction::Track,
        "UntrackSock" => SockAction::Untrack,
        other => {
            let what = format!("{} is nothing that can be done with a return value", quoted(other));
            report.fault(node.path(), codes::UNKNOWN_VALUE, what, "write TrackSock or UntrackSock");
            return None;
        }
    };
    report.needs(node.path(), Feature::Field("returnArgAction"));
    if ty.is_some_and(|ty| !matches!(ty, ArgType::Sock | ArgType::Socket)) {
        let what = "the return value is not read as a socket";
        report.fault(node.path(), codes::ACTION_ON_HOOK, what, "write type: sock in returnArg");
    }
    Some(action)
}
