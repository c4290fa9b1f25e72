//! `docs/language.md`: the types, operators and hooks of the language, from the tables that the validator has.

use stockade_policy::engine::{Feature, HookKind};
use stockade_policy::ir::ArgType;
use stockade_policy::language::limits::LIMITS;
use stockade_policy::language::{OPERATORS, Operator};

use crate::Output;

const HEAD: &str = "# The language in tables

What can be written, what it means, and what of it this release carries out (`yes`). The rest is read, judged and explained like
everything else, and then refused as `Unsupported`: it is never ignored. [Policies](policies.md) says how the parts go together.

This page is generated from `policy/src/language` and `policy/src/engine.rs` by `cargo xtask gen`.
";

/// Each list of hooks, its kind, what it names, and the strongest that it can be on any kernel.
const HOOKS: [(&str, HookKind, &str, &str); 11] = [
    ("`lsmhooks`", HookKind::Lsm, "an LSM hook", "`Deny`"),
    (
        "`kprobes`, `syscall: false`",
        HookKind::Kprobe,
        "a function of the kernel",
        "`Deny` for `security_` functions, else `Signal`",
    ),
    ("`kprobes`, `syscall: true`", HookKind::Syscall, "a system call, under any ABI of the kernel", "`Override`"),
    (
        "`kprobes`, `call: list:NAME` of a generated list",
        HookKind::Generated,
        "what the kernel has",
        "`Override` for system calls, else `Signal`",
    ),
    ("`tracepoints`", HookKind::Tracepoint, "a tracepoint", "`Signal`"),
    ("`tracepoints`, `raw: true`", HookKind::RawTracepoint, "a raw tracepoint", "`Signal`"),
    (
        "`fentries`",
        HookKind::Fentry,
        "a function of the kernel, through a trampoline",
        "`Observe`: they miss calls on some kernels",
    ),
    ("`uprobes`", HookKind::Uprobe, "a function of a program or library", "`Signal`"),
    ("`usdts`", HookKind::Usdt, "a static probe of a program or library", "`Signal`"),
    ("`enforcers`", HookKind::Enforcer, "where `NotifyEnforcer` takes effect", "`Override`"),
    ("`loader`", HookKind::Loader, "files that are mapped to be executed", "`Observe`"),
];

/// Each field of a selector and each action, and what it says.
const FILTERS: [(&str, &str); 12] = [
    ("matchPIDs", "the process, or with `followForks` one of its ancestors, has one of these ids"),
    ("matchBinaries", "its executable, or with `followChildren` that of an ancestor"),
    ("matchParentBinaries", "the executable of its parent"),
    ("matchNamespaces", "the inode numbers of its namespaces"),
    ("matchNamespaceChanges", "one of these namespaces is another than when it was executed"),
    ("matchCapabilities", "it has one of these capabilities"),
    ("matchCapabilityChanges", "it gained or lost one of these since it was executed"),
    ("matchWorkloads", "it is in these pods or containers"),
    ("matchArgs", "what the hook reads in `args`"),
    ("matchData", "what the hook reads in `data`"),
    ("matchReturnArgs", "what the function returned"),
    ("macros", "what these `selectorsMacros` say"),
];

const ACTIONS: [(&str, &str); 12] = [
    ("Post", "posts an event; `rateLimit`, `rateLimitScope`, `kernelStackTrace`, `userStackTrace`, `imaHash`"),
    ("NoPost", "posts none"),
    ("Sigkill", "kills the process; where the operation can be refused, it is refused too"),
    ("Signal", "sends `argSig`"),
    (
        "Override",
        "the operation returns `argError` instead of being done; in `uprobes` also `argRegs`, `argNewSymbol`, `argNewAddr`, `argNewOffset`",
    ),
    ("NotifyEnforcer", "the enforcer refuses with `argError`, sends `argSig`, or both, when the process comes to it"),
    ("CleanupEnforcerNotification", "that is taken back"),
    ("TrackSock", "the socket in argument `argSock` is the process's: its later packets are known"),
    ("UntrackSock", "it no longer is"),
    ("GetUrl", "the agent fetches `argUrl`"),
    ("DnsLookup", "the agent resolves `argFqdn`"),
    ("Set", "writes `argValue` to where argument `argIndex` of a static probe is read from"),
];

const LIMITS_HEAD: &str = "
## Limits

What is beyond one of these is refused, never cut in silence.

| what | at most |
|---|--:|
";

pub(crate) fn output() -> Output {
    let mut text = HEAD.to_owned();
    text += "\n## Hooks\n\n| list | what it names | strongest | this release |\n|---|---|---|---|\n";
    for (list, kind, names, strongest) in HOOKS {
        text += &format!("| {list} | {names} | {strongest} | {} |\n", runs(Feature::Hook(kind)));
    }
    text += "\n## Types of arguments\n\n| type | reads | operators | this release |\n|---|---|---|---|\n";
    for ty in ArgType::ALL {
        let names: Vec<String> = ty.names().iter().map(|name| format!("`{name}`")).collect();
        text +=
            &format!("| {} | {} | {} | {} |\n", names.join(", "), ty.reads(), operators(*ty), runs(Feature::Type(*ty)));
    }
    text += "\n## Operators\n\n| operator | true when |\n|---|---|\n";
    for operator in OPERATORS {
        text += &format!("| `{}` | {} |\n", operator.name, operator.asks);
    }
    text += "\n## Selectors\n\n| field | asks | this release |\n|---|---|---|\n";
    for (field, asks) in FILTERS {
        let feature = if field == "matchReturnArgs" { Feature::Field(field) } else { Feature::Filter(field) };
        text += &format!("| `{field}` | {asks} | {} |\n", runs(feature));
    }
    text += "\n## Actions\n\n| action | what it does | this release |\n|---|---|---|\n";
    for (action, does) in ACTIONS {
        text += &format!("| `{action}` | {does} | {} |\n", runs(Feature::Action(action)));
    }
    text += LIMITS_HEAD;
    for (what, most) in LIMITS {
        text += &format!("| {what} | {most} |\n");
    }
    Output { path: "docs/language.md".into(), text }
}

fn runs(feature: Feature) -> &'static str {
    if feature.runs() { "yes" } else { "" }
}

/// The operators of a type, negations left to the reader.
fn operators(ty: ArgType) -> String {
    let has = |operator: &&Operator| {
        let alias = ["GreaterThan", "LessThan", "CelExpr"].contains(&operator.name);
        !operator.negated && !alias && operator.subject.is_about(ty.class())
    };
    let names: Vec<String> = OPERATORS.iter().filter(has).map(|operator| format!("`{}`", operator.name)).collect();
    if names.is_empty() { "none: it is only reported".into() } else { names.join(", ") }
}
