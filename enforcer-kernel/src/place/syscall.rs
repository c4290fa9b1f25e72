//! Where a hook on a system call goes: on the kernel's own entry of it, which has the caller's registers as its one argument.
//!
//! Each way in has an entry of its own. A policy that names no ABI means the kernel's own; a call through the 32-bit way is
//! another entry (`i386/sys_openat`), which is said where the strength is.

use stockade_enforcer_common::plan::{ArgPlan, flag};
use stockade_policy::ir::{Arg, ArgType, Hook, Strength};

use super::{NoPlace, Node, Placed, is_number, is_short, perf_events, spelling, untyped};
use crate::instance::Attach;

/// Where x86-64's `pt_regs` has the arguments of a system call: rdi, rsi, rdx, r10, r8, r9.
const X64: [u32; 6] = [112, 104, 96, 56, 72, 64];
/// The same of one that came the 32-bit way: ebx, ecx, edx, esi, edi, ebp.
const I386: [u32; 6] = [40, 88, 96, 104, 112, 32];

/// An entry's arguments: where the caller's registers are.
pub(super) const PARAMETERS: usize = 1;

/// The kernel's functions for a way to be called, in the order in which they are looked for, and where the arguments are.
fn ways(abi: Option<&str>) -> Option<(&'static [&'static str], [u32; 6])> {
    match abi {
        None | Some("x64") => Some((&["__x64_"], X64)),
        Some("i386") => Some((&["__ia32_compat_", "__ia32_"], I386)),
        Some(_) => None,
    }
}

/// The kernel's function for system call `call` (`sys_openat`, `i386/sys_openat`), and how its arguments are read there.
pub(super) fn entry(call: &str, hook: &Hook, node: Node<'_>) -> Result<(String, Vec<ArgPlan>), NoPlace> {
    let (abi, name) = split(call);
    let Some((prefixes, registers)) = ways(abi) else {
        let abi = abi.unwrap_or_default();
        return Err(NoPlace::Unavailable(format!("`{call}` is a system call of {abi}, and this node is x86-64")));
    };
    let mut functions = prefixes.iter().map(|prefix| format!("{prefix}{name}"));
    let found = functions.find(|function| node.btf.function(function).is_some());
    let function = found.ok_or_else(|| NoPlace::Missing(format!("this kernel has no system call `{call}`")))?;
    let args = hook.args.iter().map(|arg| argument(arg, &hook.args, call, &registers)).collect::<Result<_, _>>()?;
    Ok((function, args))
}

fn split(call: &str) -> (Option<&str>, &str) {
    call.split_once('/').map_or((None, call), |(abi, name)| (Some(abi), name))
}

/// Finds the place of a hook on a system call.
pub(super) fn place(call: &str, hook: &Hook, node: Node<'_>) -> Result<Placed, NoPlace> {
    let (function, args) = entry(call, hook, node)?;
    perf_events(node, call)?;
    let other = match split(call).0 {
        None => "; calls that come the 32-bit way (i386/) are another hook",
        Some(_) => "",
    };
    let why = format!(
        "a probe at system call `{call}` can only signal, and what the caller's pointers lead to can change after it was \
         read: a security_ function or an LSM hook can refuse{other}"
    );
    Ok(Placed::whole(Attach::Kprobe(function), args, Strength::Signal).because(why))
}

/// An argument is in a register of the caller, and what it points to in the caller's memory.
fn argument(arg: &Arg, all: &[Arg], call: &str, registers: &[u32; 6]) -> Result<ArgPlan, NoPlace> {
    let in_register = |index: u32| {
        let none = || NoPlace::Argument(format!("a system call has at most 6 arguments, `{call}` none at {index}"));
        registers.get(index as usize).copied().ok_or_else(none)
    };
    let register = in_register(arg.index)?;
    let plan = untyped(arg.ty, 0)?;
    let flags = match arg.ty {
        ArgType::String | ArgType::Sockaddr | ArgType::CharBuf => flag::USER,
        ty if is_number(ty) || ty == ArgType::Nop => plan.flags,
        _ => {
            let ty = spelling(arg.ty);
            return Err(NoPlace::Argument(format!("`{call}` is called by a process, which has no {ty} to hand over")));
        }
    };
    let size = match arg.reading.size.argument {
        Some(argument) => in_register(argument)?,
        None => plan.size,
    };
    let flags = flags | if is_short(arg, all) { flag::SHORT_LENGTH } else { 0 };
    Ok(ArgPlan { flags, size, depth: 1, chain: [register, 0, 0, 0], ..plan })
}
