//! `docs/hooks.md`: which LSM hook stands for which function, which of them can refuse, and how it is seen that one works.

use std::collections::BTreeSet;

use stockade_policy::facts::twins::{self, RENAMED, UNUSABLE, VOID};
use stockade_policy::validate::well_known_hooks;

use crate::Output;

const HEAD: &str = "# Hooks

Where a policy's hook goes in the kernel, whether it can refuse there, and how it is seen that it does. The kinds of hooks are in
[the language](language.md#hooks). What a node has is in its `NodePolicyState`: `kubectl get nps NODE -o yaml` lists the LSM hooks with
their arguments under `facts.lsmHooks`, and `stockade explain FILE --context …` says for a policy what it comes to on each node.

This page is generated from `policy/src/facts/twins.rs`, `policy/src/validate/functions.rs` and a table in `xtask/gen/src/hooks.rs`,
which a test compares with the probes of the kernel engine, by `cargo xtask gen`.

## Strength

| strength | what happens | where |
|---|---|---|
| `Deny` | the operation does not happen | LSM hooks that return something, by their own name or by the function that calls them |
| `Override` | the system call is refused before it begins | nowhere in this release |
| `Signal` | the process gets a signal; the operation may have happened | other functions, system calls, tracepoints, functions of programs (`uprobes`), and LSM hooks that return nothing |
| `Observe` | it is reported | what is only reported when a function returns |

A kprobe on `security_x` is put on the LSM hook that the function calls, its twin, if the node has it and it gets every argument that the
policy reads; arguments are found by name and type, not by position. Where it has not, the function itself is probed, which is weaker: the
policy's status and the warnings at admission say so, and `minimumStrength` decides whether that is enough.

## LSM hooks

Those that have a name of their own, return nothing, cannot be used, or are probed, and those whose arguments are the same on every
kernel. Any other LSM hook that a node has can be used too: `security_x` calls `x`, and it can refuse.

*Probed by*: the system call that the agent makes to see that the hook sees, counts, reports and refuses it; read back: that its program,
its link and its tables are those that were put there.

| hook | called by | strongest | probed by |
|---|---|---|---|
";

const TAIL: &str = "
## Other places

A tracepoint `syscalls/sys_enter_…` or `sys_exit_…`, and a kprobe on a system call, are probed by that call if it is one of those above;
all others are read back.

A probe is made by a process of the agent's own, which is in no pod and no policy's scope; the rule that refuses it is about this process alone.
Some hooks of one call are probed one after the other, because the first that refuses would hide the second. `Intact` of the
`NodePolicyState` says how many hooks were probed and how many only read back.
";

/// What the agent does to see that an LSM hook works.
const PROBED: [(&str, &str); 34] = [
    ("file_open", "openat"),
    ("file_permission", "read"),
    ("mmap_addr", "mmap"),
    ("mmap_file", "mmap"),
    ("file_mprotect", "mprotect"),
    ("inode_getattr", "newfstat"),
    ("inode_permission", "newfstatat"),
    ("inode_follow_link", "newfstatat"),
    ("inode_readlink", "readlinkat"),
    ("sb_statfs", "fstatfs"),
    ("file_fcntl", "fcntl"),
    ("file_ioctl", "ioctl"),
    ("file_lock", "flock"),
    ("bprm_creds_for_exec", "execveat"),
    ("bprm_check_security", "execveat"),
    ("task_alloc", "fork"),
    ("task_getpgid", "getpgid"),
    ("task_getsid", "getsid"),
    ("task_setpgid", "setpgid"),
    ("task_setnice", "setpriority"),
    ("task_getscheduler", "sched_getscheduler"),
    ("task_setscheduler", "sched_setscheduler"),
    ("task_kill", "kill"),
    ("task_prctl", "prctl"),
    ("capget", "capget"),
    ("socket_create", "socket"),
    ("socket_bind", "bind"),
    ("socket_connect", "connect"),
    ("socket_listen", "listen"),
    ("socket_sendmsg", "sendto"),
    ("socket_recvmsg", "recvfrom"),
    ("socket_getsockname", "getsockname"),
    ("socket_getsockopt", "getsockopt"),
    ("bpf", "bpf"),
];

pub(crate) fn output() -> Output {
    let renamed = RENAMED.iter().flat_map(|row| row.hooks.iter().copied());
    let mut hooks: BTreeSet<&str> = renamed.chain(VOID.iter().copied()).chain(well_known_hooks()).collect();
    hooks.extend(UNUSABLE.iter().map(|(hook, _)| *hook));
    hooks.extend(PROBED.iter().map(|(hook, _)| *hook));
    let mut text = HEAD.to_owned();
    for hook in hooks {
        text += &format!("| `{hook}` | {} | {} | {} |\n", callers(hook), strongest(hook), probe(hook));
    }
    Output { path: "docs/hooks.md".into(), text: text + TAIL }
}

/// The functions that call a hook.
fn callers(hook: &str) -> String {
    let renamed = RENAMED.iter().filter(|row| row.hooks.contains(&hook));
    let names: Vec<String> = renamed.map(|row| format!("`{}`", row.function)).collect();
    if names.is_empty() { format!("`security_{hook}`") } else { names.join(", ") }
}

fn strongest(hook: &str) -> String {
    match twins::unusable(hook) {
        Some(why) => format!("none: {why}"),
        None if twins::can_deny(hook) => "`Deny`".into(),
        None => "`Signal`: it returns nothing".into(),
    }
}

fn probe(hook: &str) -> String {
    let call = PROBED.iter().find(|(probed, _)| *probed == hook);
    match call {
        Some((_, call)) => format!("`{call}`"),
        None if twins::unusable(hook).is_some() => String::new(),
        None => "read back".into(),
    }
}
