//! Points in the kernel and the arguments there, as events name them: which hooks of a policy an event concerns.

use crate::facts::twins;
use crate::ir::{Arg, Generated, HookPoint, Source, Step};

/// What an event calls a point: as the document names it; raw tracepoints, whose arguments are others, with `raw/` in front.
#[must_use]
pub fn name(point: &HookPoint) -> String {
    match point {
        HookPoint::Tracepoint { raw: true, .. } => format!("raw/{}", point.name()),
        _ => point.name(),
    }
}

/// An event that happens there: what a hook on every system call sees is a system call.
#[must_use]
pub fn example(point: &HookPoint) -> String {
    match point {
        HookPoint::Generated { functions: Generated::Syscalls, .. } => "sys_getpid".into(),
        _ => name(point),
    }
}

/// Whether an event at `hook` is one of `point`. A `security_` function and the LSM hook behind it are one; a system call
/// without an ABI is that of the node's own way of being called.
#[must_use]
pub fn is_at(point: &HookPoint, hook: &str) -> bool {
    match point {
        HookPoint::Generated { functions: Generated::Syscalls, .. } => plain(hook).starts_with("sys_"),
        HookPoint::Kprobe { call, syscall: true } | HookPoint::Fentry { call, syscall: true } => {
            call == hook || (call == plain(hook) && !hook.starts_with("i386/"))
        }
        HookPoint::Lsm { hook: lsm } => twins_of(hook).any(|twin| twin == lsm) || lsm == hook,
        _ => {
            let own = name(point);
            own == hook || twins_of(&own).any(|twin| twin == hook)
        }
    }
}

/// What an event calls an argument that has no label: its number, or where else it is found, and the way from there.
#[must_use]
pub fn key(arg: &Arg) -> String {
    let start = match &arg.reading.source {
        Source::Argument => arg.index.to_string(),
        Source::Task => "task".to_owned(),
        Source::Register(register) => register.clone(),
    };
    let step = |step: &Step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Element(number) => format!("[{number}]"),
    };
    start + &arg.reading.path.iter().map(step).collect::<String>()
}

/// A system call without its ABI.
fn plain(hook: &str) -> &str {
    ["x64/", "i386/", "arm64/"].iter().find_map(|abi| hook.strip_prefix(abi)).unwrap_or(hook)
}

/// The LSM hooks behind a `security_` function.
fn twins_of(hook: &str) -> impl Iterator<Item = &str> {
    hook.strip_prefix("security_").into_iter().flat_map(twins::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_and_its_twin_are_one_point_and_an_abi_is_its_own() {
        let lsm = HookPoint::Lsm { hook: "bprm_check_security".into() };
        let function = HookPoint::Kprobe { call: "security_bprm_check".into(), syscall: false };
        for hook in ["bprm_check_security", "security_bprm_check"] {
            assert!(is_at(&lsm, hook) && is_at(&function, hook), "{hook}");
        }
        assert!(!is_at(&lsm, "file_open") && !is_at(&function, "security_file_open"));
        let own = HookPoint::Kprobe { call: "sys_openat".into(), syscall: true };
        let old = HookPoint::Kprobe { call: "i386/sys_openat".into(), syscall: true };
        assert!(is_at(&own, "sys_openat") && is_at(&own, "arm64/sys_openat") && !is_at(&own, "i386/sys_openat"));
        assert!(is_at(&old, "i386/sys_openat") && !is_at(&old, "sys_openat"));
        let every = HookPoint::Generated { functions: Generated::Syscalls, fentry: false };
        assert!(is_at(&every, &example(&every)) && is_at(&every, "i386/sys_openat") && !is_at(&every, "file_open"));
        let raw = HookPoint::Tracepoint { subsystem: "sched".into(), event: "x".into(), raw: true };
        assert!(is_at(&raw, "raw/sched/x") && !is_at(&raw, "sched/x"));
    }
}
