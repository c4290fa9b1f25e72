//! Where a policy's hook goes on this kernel: the best mechanism there is, and how its arguments are read there.

mod returns;
mod syscall;
mod uprobe;

use std::collections::BTreeMap;

use stockade_enforcer_common::plan::{ArgPlan, flag, kind, source};
use stockade_policy::NodeFacts;
use stockade_policy::facts::BtfParam;
use stockade_policy::ir::{Arg, ArgType, Class, Hook, HookPoint, Strength};

use crate::btf::{Field as BtfField, KernelBtf};
use crate::facts;
use crate::instance::Attach;
use crate::twins::{self, NoTwin};

/// What of a hook happens at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// It acts there, and reports that it did; the rest is reported at the return.
    Act,
    /// It reports there, with what the function returned.
    Report,
}

/// A hook, or a part of one, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where its program is attached.
    pub attach: Attach,
    /// How the hook's arguments are read, in the document's order.
    pub args: Vec<ArgPlan>,
    /// What a program there can do about an operation.
    pub strength: Strength,
    /// Why it is not a stronger one.
    pub why_weaker: Option<String>,
    /// For LSM hooks: how many arguments the hook has.
    pub parameters: u32,
    /// What of the hook happens here.
    pub part: Part,
    /// How what the function returned is read.
    pub returned: Option<ArgPlan>,
}

impl Placed {
    /// A place where all of a hook happens.
    fn whole(attach: Attach, args: Vec<ArgPlan>, strength: Strength) -> Self {
        Self { attach, args, strength, why_weaker: None, parameters: 0, part: Part::Whole, returned: None }
    }

    fn because(self, why: String) -> Self {
        Self { why_weaker: Some(why), ..self }
    }
}

/// Why a hook has no place on this kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// This kernel has nothing of that name.
    #[error("{0}")]
    Missing(String),
    /// There is no way to attach there.
    #[error("{0}")]
    Unavailable(String),
    /// The node has no such file, or it has no such place; another file may come.
    #[error("{0}")]
    File(String),
    /// An argument that the policy reads is not there, or is of another type.
    #[error("{0}")]
    Argument(String),
}

/// What a node offers.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// What was measured.
    pub facts: &'a NodeFacts,
    /// The kernel's types.
    pub btf: &'a KernelBtf,
}

/// Finds the places of a hook: one, or where it acts and where it reports what came of it.
pub fn place(hook: &Hook, node: Node<'_>) -> Result<Vec<Placed>, NoPlace> {
    if hook.returns.is_some() {
        return returns::place(hook, node);
    }
    if let HookPoint::Uprobe { path, places, .. } = &hook.point {
        return uprobe::place(path, places, hook, node);
    }
    entry(hook, node).map(|placed| vec![placed])
}

/// Finds the place where an operation begins.
fn entry(hook: &Hook, node: Node<'_>) -> Result<Placed, NoPlace> {
    match &hook.point {
        HookPoint::Lsm { hook: name } => lsm(name, &hook.args, node),
        HookPoint::Kprobe { call, syscall: true } => syscall::place(call, hook, node),
        HookPoint::Kprobe { call, syscall: false } => kprobe(call, hook, node),
        HookPoint::Tracepoint { subsystem, event, raw: false } => tracepoint(subsystem, event, hook, node),
        HookPoint::Tracepoint { subsystem, event, raw: true } => raw_tracepoint(subsystem, event, hook, node),
        other => Err(NoPlace::Unavailable(format!("`{}` cannot be hooked by this version", other.name()))),
    }
}

/// `read`: what is read, by the positions that the hook has.
fn lsm(name: &str, read: &[Arg], node: Node<'_>) -> Result<Placed, NoPlace> {
    if !node.facts.lsm.iter().any(|module| module == "bpf") {
        return Err(NoPlace::Unavailable("`bpf` is not an active security module of this kernel".into()));
    }
    let parameters = node
        .facts
        .lsm_hooks
        .get(name)
        .ok_or_else(|| NoPlace::Missing(format!("this kernel has no LSM hook `{name}`")))?;
    if let Some(why) = twins::unusable(name) {
        return Err(NoPlace::Unavailable(format!("the LSM hook `{name}` cannot be used: {why}")));
    }
    let args = read.iter().map(|arg| argument(arg, parameters, name, node.btf)).collect::<Result<_, _>>()?;
    let can_deny = twins::can_deny(name);
    let strength = if can_deny { Strength::Deny } else { Strength::Signal };
    Ok(Placed {
        why_weaker: (!can_deny).then(|| format!("the LSM hook `{name}` returns nothing, so it cannot refuse")),
        parameters: u32::try_from(parameters.len()).unwrap_or(0),
        ..Placed::whole(Attach::Lsm(name.into()), args, strength)
    })
}

fn kprobe(call: &str, hook: &Hook, node: Node<'_>) -> Result<Placed, NoPlace> {
    let parameters = node.btf.function(call);
    let used: Vec<u32> = hook.args.iter().flat_map(positions).collect();
    let why = match twins::resolve(call, parameters.as_deref(), &used, &node.facts.lsm_hooks) {
        Ok(twin) => {
            let moved: BTreeMap<u32, u32> = used.iter().copied().zip(twin.arguments).collect();
            let read: Vec<Arg> = hook.args.iter().map(|arg| moved_to(arg, &moved)).collect();
            return lsm(&twin.hook, &read, node);
        }
        Err(NoTwin::NotLsm { .. }) => None,
        // Neither the hook nor the function: no right that the agent could be given would help.
        Err(other @ NoTwin::Absent { .. }) if parameters.is_none() => {
            return Err(NoPlace::Missing(other.to_string()));
        }
        Err(other) => Some(other.to_string()),
    };
    if parameters.is_none() && hook.may_be_missing && facts::has_function(call) == Some(false) {
        return Err(NoPlace::Missing(format!("this kernel has no function `{call}`")));
    }
    perf_events(node, call)?;
    // A function may be there without BTF (inlined copies are not); attaching will tell.
    let parameters = parameters.unwrap_or_default();
    let args = hook.args.iter();
    let args = args
        .map(|arg| {
            if parameters.is_empty() {
                let plan = untyped(arg.ty, arg.index).and_then(|plan| reach(plan, arg.ty, node.btf))?;
                Ok(sized(plan, arg, is_short(arg, &hook.args)))
            } else {
                argument(arg, &parameters, call, node.btf)
            }
        })
        .collect::<Result<_, _>>()?;
    let why = why.unwrap_or_else(|| format!("`{call}` is no LSM function, so a probe there cannot refuse"));
    Ok(Placed::whole(Attach::Kprobe(call.into()), args, Strength::Signal).because(why))
}

/// The arguments of a function that one of a policy is read from.
fn positions(arg: &Arg) -> impl Iterator<Item = u32> {
    std::iter::once(arg.index).chain(arg.reading.size.argument)
}

/// The same argument where another function has it.
fn moved_to(arg: &Arg, moved: &BTreeMap<u32, u32>) -> Arg {
    let to = |index: u32| moved.get(&index).copied().unwrap_or(index);
    let mut arg = Arg { index: to(arg.index), ..arg.clone() };
    arg.reading.size.argument = arg.reading.size.argument.map(to);
    arg
}

fn perf_events(node: Node<'_>, target: &str) -> Result<(), NoPlace> {
    if node.facts.features.contains("perf_events") {
        return Ok(());
    }
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    Err(NoPlace::Unavailable(format!(
        "`{target}` needs perf events, which this node refuses to the agent (kernel.perf_event_paranoid is {}; \
         the chart value enforcer.perfEvents: true adds the capability)",
        paranoid.trim()
    )))
}

fn tracepoint(subsystem: &str, event: &str, hook: &Hook, node: Node<'_>) -> Result<Placed, NoPlace> {
    perf_events(node, &format!("{subsystem}/{event}"))?;
    let fields = fields(subsystem, event)?;
    let args = hook.args.iter();
    let args = args
        .map(|arg| {
            let field = fields.get(arg.index as usize).ok_or_else(|| {
                NoPlace::Argument(format!("tracepoint {subsystem}/{event} has no field {}", arg.index))
            })?;
            field.plan(arg.ty)
        })
        .collect::<Result<_, _>>()?;
    let attach = Attach::Tracepoint { subsystem: subsystem.into(), event: event.into() };
    Ok(Placed::whole(attach, args, Strength::Signal).because("a tracepoint cannot refuse".into()))
}

fn raw_tracepoint(subsystem: &str, event: &str, hook: &Hook, node: Node<'_>) -> Result<Placed, NoPlace> {
    let parameters = node.btf.raw_tracepoint(event).unwrap_or_default();
    if parameters.is_empty() && !hook.args.is_empty() {
        return Err(NoPlace::Unavailable(format!("this kernel does not describe raw tracepoint {subsystem}/{event}")));
    }
    let name = format!("raw tracepoint {event}");
    let args = hook.args.iter().map(|arg| argument(arg, &parameters, &name, node.btf));
    let args = args.collect::<Result<_, _>>()?;
    let attach = Attach::RawTracepoint(event.into());
    Ok(Placed::whole(attach, args, Strength::Signal).because("a tracepoint cannot refuse".into()))
}

/// How an argument is read whose type nobody describes.
fn untyped(ty: ArgType, index: u32) -> Result<ArgPlan, NoPlace> {
    let (size, flags) = match ty {
        ArgType::Int8 => (1, flag::SIGNED),
        ArgType::Int16 => (2, flag::SIGNED),
        ArgType::Uint8 => (1, 0),
        ArgType::Uint16 => (2, 0),
        ArgType::Socket => (0, flag::SOCKET),
        _ => (0, 0),
    };
    let kind = kind_of(ty).ok_or_else(|| not_read(ty))?;
    Ok(ArgPlan { kind, source: source::ARGUMENT, index, size, flags, ..ArgPlan::default() })
}

/// Whether it is a number of its own width, sign or no sign.
const fn is_number(ty: ArgType) -> bool {
    matches!(ty.class(), Class::Number { .. })
}

/// How the kernel side reads a type, if it can.
fn kind_of(ty: ArgType) -> Option<u32> {
    Some(match ty {
        ArgType::Int8 | ArgType::Int16 | ArgType::Int | ArgType::BpfCmd | ArgType::Capability => kind::INT,
        ArgType::Uint8 | ArgType::Uint16 | ArgType::Uint32 => kind::UINT32,
        ArgType::Int64 => kind::INT64,
        ArgType::SizeT
        | ArgType::KernelCapT
        | ArgType::CapEffective
        | ArgType::CapInheritable
        | ArgType::CapPermitted => kind::SIZE,
        ArgType::String | ArgType::Filename => kind::STRING,
        ArgType::NetDevice => kind::INNER_STRING,
        ArgType::CharBuf => kind::BUFFER,
        ArgType::File | ArgType::Kiocb => kind::FILE,
        ArgType::Path => kind::PATH,
        ArgType::Dentry => kind::DENTRY,
        ArgType::LinuxBinprm => kind::BINPRM,
        ArgType::Sock | ArgType::Socket => kind::SOCK,
        ArgType::Sockaddr => kind::SOCKADDR,
        ArgType::Skb => kind::PACKET,
        ArgType::Cred => kind::CREDENTIALS,
        ArgType::UserNamespace => kind::USER_NAMESPACE,
        ArgType::BpfAttr => kind::BPF_ATTR,
        ArgType::BpfProg => kind::BPF_PROGRAM,
        ArgType::BpfMap => kind::BPF_MAP,
        ArgType::PerfEvent => kind::PERF_EVENT,
        ArgType::Module => kind::MODULE,
        ArgType::LoadInfo => kind::LOAD_INFO,
        ArgType::Nop => kind::NONE,
        _ => return None,
    })
}

fn not_read(ty: ArgType) -> NoPlace {
    NoPlace::Argument(format!("type {} is not read by this version", spelling(ty)))
}

/// A pointer to a set of capabilities, as BTF spells it.
const CAPABILITIES: &str = "kernel_cap_t *";

/// The structure that a pointer type of a policy is to, as BTF spells it.
fn pointer_to(ty: ArgType) -> Option<&'static str> {
    match ty {
        ArgType::String => Some("char *"),
        ArgType::Filename => Some("struct filename *"),
        ArgType::NetDevice => Some("struct net_device *"),
        ArgType::Kiocb => Some("struct kiocb *"),
        ArgType::Dentry => Some("struct dentry *"),
        ArgType::BpfAttr => Some("union bpf_attr *"),
        ArgType::BpfProg => Some("struct bpf_prog *"),
        ArgType::BpfMap => Some("struct bpf_map *"),
        ArgType::PerfEvent => Some("struct perf_event *"),
        ArgType::Module => Some("struct module *"),
        ArgType::LoadInfo => Some("struct load_info *"),
        ArgType::File => Some("struct file *"),
        ArgType::Path => Some("struct path *"),
        ArgType::LinuxBinprm => Some("struct linux_binprm *"),
        ArgType::Sock => Some("struct sock *"),
        ArgType::Socket => Some("struct socket *"),
        ArgType::Sockaddr => Some("struct sockaddr *"),
        ArgType::Skb => Some("struct sk_buff *"),
        ArgType::KernelCapT => Some(CAPABILITIES),
        ArgType::Cred | ArgType::CapEffective | ArgType::CapInheritable | ArgType::CapPermitted => {
            Some("struct cred *")
        }
        ArgType::UserNamespace => Some("struct user_namespace *"),
        _ => None,
    }
}

/// How what a pointer leads to is read, for types of which something behind one is meant.
fn reach(plan: ArgPlan, ty: ArgType, btf: &KernelBtf) -> Result<ArgPlan, NoPlace> {
    let offset = |structure, field| {
        btf.field(structure, field).map(BtfField::offset).map_err(|error| NoPlace::Argument(error.to_string()))
    };
    let behind = |offset| ArgPlan { depth: 1, chain: [offset, 0, 0, 0], ..plan };
    Ok(match ty {
        ArgType::Cred => return ids_together(btf).map(|()| plan),
        // It has one field, or two halves, lowest first.
        ArgType::KernelCapT => behind(0),
        ArgType::CapEffective => behind(offset("cred", "cap_effective")?),
        ArgType::CapInheritable => behind(offset("cred", "cap_inheritable")?),
        ArgType::CapPermitted => behind(offset("cred", "cap_permitted")?),
        ArgType::Filename => behind(offset("filename", "name")?),
        ArgType::Kiocb => behind(offset("kiocb", "ki_filp")?),
        ArgType::NetDevice => ArgPlan { size: offset("net_device", "name")?, ..plan },
        _ => plan,
    })
}

/// With the argument that says how long a buffer is; `short`: it has 32 bits.
fn sized(plan: ArgPlan, arg: &Arg, short: bool) -> ArgPlan {
    let flags = plan.flags | if short { flag::SHORT_LENGTH } else { 0 };
    match arg.reading.size.argument {
        Some(size) if plan.kind == kind::BUFFER => ArgPlan { size, flags, ..plan },
        _ => plan,
    }
}

/// Whether the policy reads the argument that says how long a buffer is, as a number of 32 bits. Where nobody else says what a
/// function's arguments are, that does.
fn is_short(arg: &Arg, all: &[Arg]) -> bool {
    let size = all.iter().find(|other| Some(other.index) == arg.reading.size.argument);
    size.is_some_and(|size| matches!(size.ty.class(), Class::Number { bits: 0..=32, .. }))
}

/// Whether a parameter that is a length has 32 bits.
fn is_short_length(parameter: &BtfParam, of: &str) -> Result<bool, NoPlace> {
    let BtfParam { name, ty } = parameter;
    if ty.ends_with('*') {
        return Err(NoPlace::Argument(format!("`{name}` of `{of}` is `{ty}` on this kernel, which says no length")));
    }
    Ok(["int", "unsigned int", "u32", "s32", "__u32", "__s32"].contains(&ty.as_str()))
}

/// Credentials are read in one piece from the first id to the secure bits.
fn ids_together(btf: &KernelBtf) -> Result<(), NoPlace> {
    let fields = ["uid", "gid", "suid", "sgid", "euid", "egid", "fsuid", "fsgid", "securebits"];
    let offsets: Result<Vec<u32>, _> =
        fields.iter().map(|field| btf.field("cred", field).map(BtfField::offset)).collect();
    let offsets = offsets.map_err(|error| NoPlace::Argument(error.to_string()))?;
    let together = offsets.windows(2).all(|pair| matches!(pair, [one, next] if one + 4 == *next));
    together
        .then_some(())
        .ok_or_else(|| NoPlace::Argument("this kernel has the fields of struct cred in an order of its own".into()))
}

/// Whether BTF has `found` where a policy says `ty`, and how it is read then.
fn argument(arg: &Arg, parameters: &[BtfParam], of: &str, btf: &KernelBtf) -> Result<ArgPlan, NoPlace> {
    let (ty, index) = (arg.ty, arg.index);
    let mut short = false;
    if let Some(size) = arg.reading.size.argument {
        checked(ArgType::SizeT, size, parameters, of)?;
        short = parameters.get(size as usize).map_or(Ok(false), |parameter| is_short_length(parameter, of))?;
    }
    // A set by itself, not one of credentials, is read as such whatever it is called.
    let itself =
        ty.class() == Class::Capabilities && parameters.get(index as usize).is_some_and(|p| p.ty == CAPABILITIES);
    let ty = if itself { ArgType::KernelCapT } else { ty };
    checked(ty, index, parameters, of).and_then(|plan| reach(plan, ty, btf)).map(|plan| sized(plan, arg, short))
}

fn checked(ty: ArgType, index: u32, parameters: &[BtfParam], of: &str) -> Result<ArgPlan, NoPlace> {
    let parameter = parameters.get(index as usize).ok_or_else(|| {
        NoPlace::Argument(format!("`{of}` has {} arguments on this kernel, none at {index}", parameters.len()))
    })?;
    let found = parameter.ty.as_str();
    let mut plan = untyped(ty, index)?;
    let fits = match pointer_to(ty) {
        None if ty == ArgType::CharBuf => found.ends_with('*') && !found.starts_with("struct "),
        None => !found.ends_with('*') || matches!(ty, ArgType::SizeT | ArgType::Nop),
        Some("struct sock *") if found == "struct socket *" => {
            plan.flags |= flag::SOCKET;
            true
        }
        // A mapping without a file has none.
        Some("struct file *") if found == "struct file *" => {
            plan.flags |= flag::NULLABLE;
            true
        }
        Some(wanted) => found == wanted || found == "void *",
    };
    if fits {
        return Ok(plan);
    }
    Err(NoPlace::Argument(format!(
        "argument {index} of `{of}` (`{}`) is `{found}` on this kernel, which cannot be read as {}",
        parameter.name,
        spelling(ty)
    )))
}

/// A type as the document spells it.
#[must_use]
pub fn spelling(ty: ArgType) -> &'static str {
    ty.name()
}

/// A field of a tracepoint's record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    ty: String,
    name: String,
    offset: u32,
    size: u32,
    signed: bool,
}

impl Field {
    /// `\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;`
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(';').map(str::trim);
        let declaration = parts.next()?.strip_prefix("field:")?;
        let mut number = |key: &str| parts.next()?.strip_prefix(key)?.strip_prefix(':')?.parse::<u32>().ok();
        let (offset, size, signed) = (number("offset")?, number("size")?, number("signed")?);
        let (ty, name) = declaration.rsplit_once([' ', '*']).map(|(ty, name)| (ty.len(), name))?;
        let ty = declaration.get(..declaration.len() - name.len()).or(declaration.get(..ty))?.trim();
        Some(Self { ty: ty.into(), name: name.into(), offset, size, signed: signed == 1 })
    }

    fn plan(&self, ty: ArgType) -> Result<ArgPlan, NoPlace> {
        let located = self.ty.starts_with("__data_loc");
        let text = ty == ArgType::String;
        let plan = ArgPlan {
            kind: kind_of(ty).ok_or_else(|| not_read(ty))?,
            source: if located { source::DATA_LOC } else { source::FIELD },
            index: self.offset,
            size: self.size,
            flags: if self.signed { flag::SIGNED } else { 0 },
            ..ArgPlan::default()
        };
        let fits = match ty {
            ArgType::Int8 | ArgType::Uint8 => !located && self.size == 1,
            ArgType::Int16 | ArgType::Uint16 => !located && self.size == 2,
            ArgType::Capability => !located && self.size == 4,
            _ if is_number(ty) => !located && matches!(self.size, 1 | 2 | 4 | 8),
            // A record has the pointer, and by the time it is read nobody holds what it is to.
            _ if ty.class() == Class::Capabilities => false,
            ArgType::Nop => true,
            // How long it is, no other field says; what is behind a pointer of a record is not followed.
            ArgType::CharBuf | ArgType::Filename | ArgType::Kiocb | ArgType::NetDevice => false,
            ArgType::String => located || (self.ty.contains("char") && self.ty.ends_with('*')),
            _ => !located && self.ty.ends_with('*') && self.size == 8,
        };
        if !fits {
            return Err(NoPlace::Argument(format!(
                "field `{}` is `{}` on this kernel, which cannot be read as {}",
                self.name,
                self.ty,
                spelling(ty)
            )));
        }
        // System call tracepoints record the caller's pointers.
        let user = text && !located;
        Ok(ArgPlan { flags: plan.flags | if user { flag::USER } else { 0 }, ..plan })
    }
}

fn fields(subsystem: &str, event: &str) -> Result<Vec<Field>, NoPlace> {
    let wrong = |part: &str| part.is_empty() || part.contains(['/', '.']);
    let missing = || NoPlace::Unavailable(format!("this kernel has no tracepoint {subsystem}/{event}"));
    if wrong(subsystem) || wrong(event) {
        return Err(missing());
    }
    let roots = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let read = |root: &&str| std::fs::read_to_string(format!("{root}/events/{subsystem}/{event}/format")).ok();
    let text = roots.iter().find_map(read).ok_or_else(missing)?;
    Ok(text.lines().filter_map(Field::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoint_fields_are_read_from_the_kernels_own_description() {
        let field = Field::parse("\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;").unwrap();
        assert_eq!((field.ty.as_str(), field.name.as_str(), field.offset), ("const char *", "filename", 24));
        let plan = field.plan(ArgType::String).unwrap();
        assert_eq!((plan.source, plan.index, plan.flags), (source::FIELD, 24, flag::USER));
        let field = Field::parse("\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;").unwrap();
        let plan = field.plan(ArgType::String).unwrap();
        assert_eq!((plan.source, plan.index, plan.flags), (source::DATA_LOC, 8, 0));
        let field = Field::parse("\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;").unwrap();
        assert_eq!(field.plan(ArgType::Int).unwrap().flags, flag::SIGNED);
        assert!(matches!(field.plan(ArgType::String), Err(NoPlace::Argument(_))));
        assert_eq!(Field::parse("print fmt: \"x\""), None);
    }

    #[test]
    fn numbers_have_the_width_that_the_policy_says() {
        let parameter = vec![BtfParam { name: "x".into(), ty: "int".into() }];
        let of = |ty| checked(ty, 0, &parameter, "f").map(|plan| (plan.kind, plan.size, plan.flags));
        assert_eq!(of(ArgType::Int8).unwrap(), (kind::INT, 1, flag::SIGNED));
        assert_eq!(of(ArgType::Uint16).unwrap(), (kind::UINT32, 2, 0));
        assert_eq!(of(ArgType::Int64).unwrap(), (kind::INT64, 0, 0));
        let field = Field::parse("\tfield:short x;\toffset:8;\tsize:2;\tsigned:1;").unwrap();
        assert_eq!(field.plan(ArgType::Int16).unwrap().flags, flag::SIGNED);
        assert_eq!(field.plan(ArgType::Int64).unwrap().kind, kind::INT64);
        assert!(field.plan(ArgType::Int8).is_err(), "half of it is not read for the whole");
    }

    #[test]
    fn an_argument_must_be_what_the_policy_says() {
        let parameter = |ty: &str| vec![BtfParam { name: "x".into(), ty: ty.into() }];
        let plan = checked(ArgType::Sock, 0, &parameter("struct socket *"), "f").unwrap();
        assert_eq!(plan.flags, flag::SOCKET);
        assert!(checked(ArgType::File, 0, &parameter("struct path *"), "f").is_err());
        assert!(checked(ArgType::Int, 0, &parameter("struct path *"), "f").is_err());
        assert!(checked(ArgType::Int, 1, &parameter("int"), "f").is_err());
        assert!(checked(ArgType::Path, 0, &parameter("struct path *"), "f").is_ok());
    }
}
