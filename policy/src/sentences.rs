//! A policy in plain sentences: what it is about, what it observes, and what it denies.

mod filters;

use std::collections::BTreeSet;

use crate::facts::twins;
use crate::ir::{
    Actions, Arg, Effect, Hook, HookPoint, LabelOperator, LabelSelector, Mode, OnFault, PodScope, PolicyKind, Posting,
    RateScope, Scope, Selector, SockAction, Source, Step, ValidatedPolicy,
};

/// How many values are named before the rest is counted.
const NAMED: usize = 4;

/// The sentences, in paragraphs of lines: first about the policy, then about each hook.
#[must_use]
pub fn explain(policy: &ValidatedPolicy) -> Vec<Vec<String>> {
    let mut paragraphs = vec![about(policy)];
    paragraphs.extend(policy.hooks.iter().map(|hook| of_hook(policy, hook)));
    if policy.loader {
        paragraphs.push(vec!["spec.loader: every file that is mapped to be executed is reported.".into()]);
    }
    paragraphs
}

/// What goes for the whole policy; first its name.
pub(crate) fn about(policy: &ValidatedPolicy) -> Vec<String> {
    let kind = match policy.id.kind {
        PolicyKind::Cluster => "TracingPolicy",
        PolicyKind::Namespaced => "TracingPolicyNamespaced",
    };
    let mut lines = vec![format!("{kind} {}", policy.id.name), format!("It is about {}.", scope(&policy.scope))];
    if let Some(nodes) = &policy.node_selector {
        lines.push(format!("It is loaded on nodes {}.", labels(nodes)));
    }
    if policy.hooks.iter().flat_map(|hook| &hook.selectors).any(enforces) {
        lines.push(match policy.mode {
            Mode::Enforce => "What it forbids is prevented (mode Enforce).".into(),
            Mode::Monitor => "What it forbids is only counted and reported as \"would have\" (mode Monitor).".into(),
        });
        if let Some(strength) = policy.minimum_strength {
            lines.push(format!("A node that cannot reach {strength:?} reports TooWeak."));
        }
        lines.push(match policy.on_fault {
            OnFault::Allow => "What cannot be judged is let through and reported (onFault Allow).".into(),
            OnFault::Deny => "What cannot be judged is refused and reported (onFault Deny).".into(),
        });
    } else {
        lines.push("It only observes.".into());
    }
    lines
}

/// Whether a selector does something about a process, and not only reports it.
fn enforces(selector: &Selector) -> bool {
    let acts = |actions: &Actions, effects: &BTreeSet<Effect>| {
        let stops = |effect: &Effect| {
            matches!(
                effect,
                Effect::NotifyEnforcer { .. } | Effect::Registers(_) | Effect::Jump(_) | Effect::Set { .. }
            )
        };
        actions.acts() || effects.iter().any(stops)
    };
    acts(&selector.actions, &selector.effects)
        || selector.on_return.as_ref().is_some_and(|on_return| acts(&on_return.actions, &on_return.effects))
}

/// What each filter of a selector asks, in the order of [`crate::reasons::parts`].
#[must_use]
pub fn clauses(hook: &Hook, selector: &Selector) -> Vec<String> {
    filters::all(hook, selector)
}

/// Which processes a policy is about.
#[must_use]
pub fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Everything => "every process of the node".into(),
        Scope::Some { host: true, pods: None } => "the processes of the node that are in no pod".into(),
        Scope::Some { host, pods } => {
            let pods = pods.as_ref().map_or_else(|| "nothing".to_owned(), of_pods);
            if *host { format!("{pods}, and the processes of the node that are in no pod") } else { pods }
        }
    }
}

fn of_pods(scope: &PodScope) -> String {
    let PodScope { namespace, pods, containers } = scope;
    let containers = match containers.requirements.is_empty() {
        true => String::new(),
        false => format!("containers {} of ", labels(containers)),
    };
    let whose = match (namespace.as_deref(), pods.requirements.is_empty()) {
        (Some(""), true) => "every pod of its namespace".into(),
        (Some(namespace), true) => format!("every pod of namespace {namespace}"),
        (Some(namespace), false) => format!("the pods of namespace {namespace} {}", labels(pods)),
        (None, true) => "every pod".into(),
        (None, false) => format!("the pods {}", labels(pods)),
    };
    format!("{containers}{whose}")
}

fn labels(selector: &LabelSelector) -> String {
    let each: Vec<String> = selector
        .requirements
        .iter()
        .map(|requirement| {
            let values = list(requirement.values.iter().cloned(), "or");
            let key = &requirement.key;
            match requirement.operator {
                LabelOperator::In => format!("whose {key} is {values}"),
                LabelOperator::NotIn => format!("whose {key} is not {values}"),
                LabelOperator::Exists => format!("that have {key}"),
                LabelOperator::DoesNotExist => format!("that have no {key}"),
            }
        })
        .collect();
    each.join(" and ")
}

/// `a, b or c`; of many, the first few and how many more.
fn list(values: impl IntoIterator<Item = String>, last: &str) -> String {
    let values: Vec<String> = values.into_iter().collect();
    let (shown, more) = match values.len() {
        0..=NAMED => (values.clone(), 0),
        count => (values.iter().take(NAMED - 1).cloned().collect(), count + 1 - NAMED),
    };
    let mut shown = shown;
    if more > 0 {
        shown.push(format!("{more} others"));
    }
    match shown.split_last() {
        None => "nothing".into(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

fn of_hook(policy: &ValidatedPolicy, hook: &Hook) -> Vec<String> {
    let mut lines = vec![format!("spec.{}[{}]: {}", hook.point.family(), hook.index, place(&hook.point))];
    lines.extend(reads(hook).into_iter().map(|line| format!("  {line}")));
    if hook.selectors.is_empty() {
        lines.push("  Every call is reported.".into());
        return lines;
    }
    for (number, selector) in (1..).zip(&hook.selectors) {
        lines.push(format!("  {number}. {}:", conditions(hook, selector)));
        lines.extend(does(policy.mode, hook, selector).into_iter().map(|line| format!("     {line}")));
    }
    lines.push("  Anything else is let through and not reported.".into());
    lines.push(format!("  {}", cost(hook)));
    lines
}

/// What a hook reads.
pub(crate) fn reads(hook: &Hook) -> Vec<String> {
    let mut lines = Vec::new();
    if !hook.args.is_empty() {
        let args: Vec<String> = (0..hook.args.len()).map(|at| argument(hook, at)).collect();
        lines.push(format!("Reads {}.", list(args, "and")));
    }
    if let Some(ty) = hook.returns {
        lines.push(format!("Reads what is returned, as {}.", ty.name()));
    }
    match hook.returned.action {
        Some(SockAction::Track) => lines.push("The socket that is returned is remembered as the process's.".into()),
        Some(SockAction::Untrack) => lines.push("The socket that is returned is forgotten.".into()),
        None => {}
    }
    lines
}

/// What an alternative does when it matches.
pub(crate) fn does(mode: Mode, hook: &Hook, selector: &Selector) -> Vec<String> {
    let done = |actions, posting, effects: &BTreeSet<Effect>| done(mode, hook, actions, posting, effects.iter());
    let mut lines = vec![format!("{}.", done(&selector.actions, &selector.posting, &selector.effects))];
    if let Some(on_return) = &selector.on_return {
        let asked: Vec<String> =
            on_return.args.iter().map(|filter| filters::of_value("what it returns", hook, filter)).collect();
        let when = if asked.is_empty() {
            "When it returns".into()
        } else {
            format!("When it returns and {}", asked.join(", and "))
        };
        lines.push(format!("{when}:"));
        lines.push(format!("{}.", done(&on_return.actions, &on_return.posting, &on_return.effects)));
    }
    lines
}

pub(crate) fn place(point: &HookPoint) -> String {
    match point {
        HookPoint::Lsm { hook } if twins::can_deny(hook) => {
            format!("LSM hook {hook}, where the operation can be refused (Deny).")
        }
        HookPoint::Lsm { hook } => {
            format!("LSM hook {hook}, which returns nothing: the process can be signalled (Signal).")
        }
        HookPoint::Kprobe { call, syscall: true } => {
            format!(
                "system call {call}, where the process can be signalled (Signal); this release refuses none (Override)."
            )
        }
        HookPoint::Kprobe { call, .. } => match call.strip_prefix("security_") {
            Some(name) => format!(
                "function {call}, through the LSM hook {} where the kernel has it (Deny; Signal without).",
                twins::of(name).next().unwrap_or(name)
            ),
            None => format!("function {call}, where the process can be signalled (Signal)."),
        },
        HookPoint::Tracepoint { raw, .. } => {
            let raw = if *raw { "raw tracepoint" } else { "tracepoint" };
            format!("{raw} {}, where the process can be signalled (Signal).", point.name())
        }
        HookPoint::Fentry { .. } => format!("function {}, through a trampoline, which only observes.", point.name()),
        HookPoint::Generated { .. } => format!("{}.", point.name()),
        HookPoint::Uprobe { .. } => format!("function of a program, {}.", point.name()),
        HookPoint::Usdt { .. } => format!("static probe {}.", point.name()),
    }
}

/// What a filter or a sentence calls an argument.
fn argument(hook: &Hook, at: usize) -> String {
    let Some(Arg { index, ty, label, reading }) = hook.args.get(at) else { return format!("argument {at}") };
    if !label.is_empty() {
        return format!("{label} ({})", ty.name());
    }
    let name = match &reading.source {
        Source::Argument => format!("argument {index}"),
        Source::Task => "the task".to_owned(),
        Source::Register(register) => format!("register {register}"),
    };
    let steps: String = reading
        .path
        .iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Element(number) => format!("[{number}]"),
        })
        .collect();
    format!("{name}{steps} ({})", ty.name())
}

pub(crate) fn conditions(hook: &Hook, selector: &Selector) -> String {
    let all = filters::all(hook, selector);
    if all.is_empty() { "On every call".into() } else { format!("When {}", all.join(", and ")) }
}

fn done<'a>(
    mode: Mode,
    hook: &Hook,
    actions: &Actions,
    posting: &Posting,
    effects: impl Iterator<Item = &'a Effect>,
) -> String {
    let would = if mode == Mode::Monitor { "would be" } else { "is" };
    let mut parts = Vec::new();
    if let Some(errno) = actions.deny {
        parts.push(format!("the operation {would} refused with error -{errno}"));
    }
    match actions.signal {
        Some(9) => parts.push(format!("the process {would} killed")),
        Some(signal) => parts.push(format!("the process {would} sent signal {signal}")),
        None => {}
    }
    parts.extend(effects.map(|effect| effect_text(hook, effect)));
    if actions.post {
        parts.push(posted(posting));
    } else if parts.is_empty() {
        parts.push("nothing is done, and no later alternative is tried".into());
    } else {
        parts.push("nothing is reported".into());
    }
    list(parts, "and")
}

fn posted(posting: &Posting) -> String {
    let mut with = Vec::new();
    for (asked, what) in [
        (posting.kernel_stack, "the kernel's stack"),
        (posting.user_stack, "the program's stack"),
        (posting.ima_hash, "the file's IMA digest"),
    ] {
        if asked {
            with.push(what.to_owned());
        }
    }
    let mut text = "an event is posted".to_owned();
    if !with.is_empty() {
        text += &format!(" with {}", list(with, "and"));
    }
    if let Some(limit) = posting.limit {
        let scope = match limit.scope {
            RateScope::Thread => " of a thread",
            RateScope::Process => " of a process",
            RateScope::Global => "",
        };
        text += &format!(", of equal ones{scope} one in {} s", limit.seconds);
    }
    text
}

fn effect_text(hook: &Hook, effect: &Effect) -> String {
    match effect {
        Effect::GetUrl(url) => format!("the agent fetches {url}"),
        Effect::DnsLookup(name) => format!("the agent resolves {name}"),
        Effect::Sock(SockAction::Track, at) => {
            format!("the socket in {} is remembered as the process's", argument(hook, *at))
        }
        Effect::Sock(SockAction::Untrack, at) => format!("the socket in {} is forgotten", argument(hook, *at)),
        Effect::NotifyEnforcer { error, signal } => {
            let mut parts = Vec::new();
            parts.extend(error.map(|errno| format!("refuses with error -{errno}")));
            parts.extend(signal.map(|signal| format!("sends signal {signal}")));
            format!("the enforcer {} at its calls", list(parts, "and"))
        }
        Effect::CleanupEnforcerNotification => "what the enforcer was told is taken back".into(),
        Effect::Set { arg, value } => format!("{value} is written to argument {arg} of the probe"),
        Effect::Registers(set) => format!("registers are set: {}", list(set.iter().cloned(), "and")),
        Effect::Jump(jump) => format!("the program goes on elsewhere ({jump:?})"),
    }
}

/// What a call of the hooked function costs: a look-up for each distinct thing that is asked about.
fn cost(hook: &Hook) -> String {
    let mut asked: Vec<String> = Vec::new();
    for selector in &hook.selectors {
        let process = [
            ("the process's ids", selector.pids.is_empty()),
            ("its executable", selector.binaries.is_empty() && selector.parent_binaries.is_empty()),
            ("its namespaces", selector.namespaces.is_empty() && selector.namespace_changes.is_empty()),
            ("its capabilities", selector.capabilities.is_empty() && selector.capability_changes.is_empty()),
        ];
        asked.extend(process.into_iter().filter(|(_, none)| !none).map(|(what, _)| what.to_owned()));
        asked.extend(selector.args.iter().map(|filter| argument(hook, filter.arg)));
    }
    asked.sort_unstable();
    asked.dedup();
    match asked.len() {
        0 => "Costs a call nothing but the report.".into(),
        1 => format!("Costs every call in scope one look-up: {}.", list(asked, "and")),
        count => format!("Costs every call in scope {count} look-ups: {}.", list(asked, "and")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_is_told_in_sentences() {
        let object = json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicyNamespaced",
            "metadata": {"name": "keys", "namespace": "shop"},
            "spec": {"lsmhooks": [{
                "hook": "file_permission",
                "args": [{"index": 0, "type": "file"}, {"index": 1, "type": "int", "label": "mask"}],
                "selectors": [{
                    "matchPIDs": [{"operator": "NotIn", "values": [1], "followForks": true, "isNamespacePID": true}],
                    "matchArgs": [
                        {"index": 0, "operator": "Prefix", "values": ["/a/", "/b/", "/c/", "/d/", "/e/"]},
                        {"index": 1, "operator": "Equal", "values": ["2"]},
                    ],
                    "matchActions": [{"action": "Sigkill"}],
                }],
            }]},
        });
        let lines: Vec<String> = explain(&crate::judge(&object).policy.unwrap()).concat();
        assert_eq!(
            lines,
            [
                "TracingPolicyNamespaced keys",
                "It is about every pod of namespace shop.",
                "What it forbids is prevented (mode Enforce).",
                "A node that cannot reach Signal reports TooWeak.",
                "What cannot be judged is let through and reported (onFault Allow).",
                "spec.lsmhooks[0]: LSM hook file_permission, where the operation can be refused (Deny).",
                "  Reads argument 0 (file) and mask (int).",
                "  1. When the process is not pid 1 in its own pid namespace and does not descend from it, and argument 0 \
                 (file) begins with /a/, /b/, /c/ or 2 others, and mask (int) is 2:",
                "     the operation is refused with error -1, the process is killed and an event is posted.",
                "  Anything else is let through and not reported.",
                "  Costs every call in scope 3 look-ups: argument 0 (file), mask (int) and the process's ids.",
            ]
        );
    }
}
