//! What a policy comes to on the nodes that there are: how strongly each hook can act on each of them, and why not more.

use std::collections::BTreeMap;

use super::warnings::missing;
use super::{NodeFacts, twins};
use crate::ir::{Hook, HookPoint, Strength, ValidatedPolicy};

/// How many nodes are named before the rest is counted.
const NAMED: usize = 4;

/// The sentences, one for the policy if it is not about all nodes, then one or more for each hook.
#[must_use]
pub fn on_nodes(policy: &ValidatedPolicy, nodes: &[NodeFacts]) -> Vec<String> {
    let matched: Vec<&NodeFacts> = nodes
        .iter()
        .filter(|node| policy.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels)))
        .collect();
    let mut lines = Vec::new();
    if matched.len() < nodes.len() {
        lines.push(format!("It is loaded on {} of {}.", matched.len(), count(nodes.len())));
    }
    if policy.scope != crate::ir::Scope::Everything {
        let without = matched.iter().filter(|node| !node.features.contains("cgroup2"));
        let without: Vec<&str> = without.map(|node| node.node.as_str()).collect();
        if !without.is_empty() {
            lines.push(format!("Pods cannot be told apart on {}: no cgroup v2.", names(&without, matched.len())));
        }
    }
    for hook in &policy.hooks {
        let mut groups: BTreeMap<(Option<Strength>, String), Vec<&str>> = BTreeMap::new();
        for node in &matched {
            groups.entry(reach(policy, hook, node)).or_default().push(&node.node);
        }
        let place = format!("spec.{}[{}] ({})", hook.point.family(), hook.index, hook.point.name());
        // The strongest first, what cannot be done last.
        lines.extend(groups.into_iter().rev().map(|((strength, why), of)| {
            let what = strength.map_or_else(|| "not to be had".to_owned(), |strength| format!("{strength:?}"));
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("{place}: {what} on {}{why}.", names(&of, matched.len()))
        }));
    }
    lines
}

/// How strongly a hook can act on a node, or `None` and why it is not there at all.
fn reach(policy: &ValidatedPolicy, hook: &Hook, node: &NodeFacts) -> (Option<Strength>, String) {
    if let Some(why) = missing(hook, node) {
        return (None, why);
    }
    let (strength, why) = strongest(hook, node);
    match minimum(policy, hook).filter(|minimum| strength < *minimum) {
        Some(minimum) => (Some(strength), format!("weaker than {minimum:?}, so it reports TooWeak")),
        None => (Some(strength), why),
    }
}

/// Why a hook that is there is weaker than the policy accepts.
pub(super) fn too_weak(policy: &ValidatedPolicy, hook: &Hook, node: &NodeFacts) -> Option<String> {
    let (strength, _) = strongest(hook, node);
    let minimum = minimum(policy, hook).filter(|minimum| strength < *minimum)?;
    Some(format!("{strength:?} is what there is, {minimum:?} is asked for"))
}

/// What is accepted of a hook that does more than report.
fn minimum(policy: &ValidatedPolicy, hook: &Hook) -> Option<Strength> {
    let acts = hook.selectors.iter().any(|selector| {
        let on_return = selector.on_return.as_ref().map(|on_return| on_return.actions);
        [Some(selector.actions), on_return].into_iter().flatten().any(|actions| actions.acts())
    });
    policy.minimum_strength.filter(|_| acts)
}

fn strongest(hook: &Hook, node: &NodeFacts) -> (Strength, String) {
    if hook.only_reports_a_return() { (Strength::Observe, String::new()) } else { strongest_at(&hook.point, node) }
}

fn strongest_at(point: &HookPoint, node: &NodeFacts) -> (Strength, String) {
    let by_lsm = |name: &str| match twins::can_deny(name) {
        true => (Strength::Deny, String::new()),
        false => (Strength::Signal, format!("the LSM hook {name} returns nothing")),
    };
    match point {
        HookPoint::Lsm { hook } => by_lsm(hook),
        HookPoint::Kprobe { call, syscall: false } => match call.strip_prefix("security_") {
            Some(name) => match twins::of(name).find(|twin| node.lsm_hooks.contains_key(*twin)) {
                Some(twin) => by_lsm(twin),
                None => (Strength::Signal, "the kernel has no LSM hook for it".into()),
            },
            None => (Strength::Signal, String::new()),
        },
        HookPoint::Kprobe { syscall: true, .. } | HookPoint::Generated { fentry: false, .. } => {
            (Strength::Signal, "this release overrides no system call".into())
        }
        HookPoint::Fentry { .. } | HookPoint::Generated { fentry: true, .. } => (Strength::Observe, String::new()),
        HookPoint::Tracepoint { .. } | HookPoint::Uprobe { .. } | HookPoint::Usdt { .. } => {
            (Strength::Signal, String::new())
        }
    }
}

fn names(of: &[&str], all: usize) -> String {
    if of.len() == all {
        return if all == 1 { of.concat() } else { format!("all {}", count(all)) };
    }
    let shown: Vec<&str> = of.iter().take(NAMED).copied().collect();
    let more = of.len().saturating_sub(NAMED);
    let mut text = shown.join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(spec: &Value) -> ValidatedPolicy {
        let object = json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec,
        });
        crate::judge(&object).meaning.unwrap()
    }

    fn node(name: &str, lsm: &[&str], hooks: &[&str]) -> NodeFacts {
        NodeFacts {
            node: name.into(),
            lsm: lsm.iter().map(|lsm| (*lsm).to_owned()).collect(),
            lsm_hooks: hooks.iter().map(|hook| ((*hook).to_owned(), vec![])).collect(),
            features: ["perf_events", "cgroup2"].map(str::to_owned).into(),
            ..NodeFacts::default()
        }
    }

    #[test]
    fn each_hook_is_told_by_what_nodes_can_do_the_strongest_first() {
        let policy = policy(&json!({"kprobes": [{
            "call": "security_file_truncate", "syscall": false, "args": [{"index": 0, "type": "file"}],
            "selectors": [{"matchArgs": [{"index": 0, "operator": "Prefix", "values": ["/a/"]}],
                           "matchActions": [{"action": "Sigkill"}]}],
        }]}));
        let nodes = [
            node("a", &["bpf"], &["file_truncate"]),
            node("b", &["bpf"], &[]),
            node("c", &["yama"], &["file_truncate"]),
            node("d", &["bpf"], &["file_truncate"]),
        ];
        let place = "spec.kprobes[0] (security_file_truncate)";
        assert_eq!(
            on_nodes(&policy, &nodes),
            [
                format!("{place}: Deny on a, d."),
                format!("{place}: not to be had on b: no LSM hook for security_file_truncate."),
                format!("{place}: not to be had on c: bpf is not among its LSMs, without which nothing is loaded."),
            ]
        );
    }

    #[test]
    fn a_return_is_observed_wherever_it_is_and_no_kernel_makes_a_system_call_overridden() {
        let policy = policy(&json!({"kprobes": [
            {"call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}],
             "return": true, "returnArg": {"index": 0, "type": "int"}},
            {"call": "sys_getpgid", "syscall": true},
        ]}));
        let mut node = node("n", &["bpf"], &[]);
        node.features.insert("override_return".into());
        let lines = on_nodes(&policy, std::slice::from_ref(&node));
        assert_eq!(
            lines,
            [
                "spec.kprobes[0] (security_file_open): Observe on n.",
                "spec.kprobes[1] (sys_getpgid): Signal on n: this release overrides no system call.",
            ]
        );
        // It needs no perf events; what sees a call begin does.
        node.features.remove("perf_events");
        let lines = on_nodes(&policy, &[node]);
        assert_eq!(lines.first().map(String::as_str), Some("spec.kprobes[0] (security_file_open): Observe on n."));
        assert!(lines.iter().any(|line| line.contains("perf events are not allowed there")), "{lines:?}");
    }

    #[test]
    fn what_is_weaker_than_the_policy_accepts_says_so_and_only_nodes_that_are_selected_count() {
        let policy = policy(&json!({
            "minimumStrength": "Deny", "nodeSelector": {"matchLabels": {"pool": "new"}}, "podSelector": {},
            "kprobes": [{"call": "tcp_connect", "syscall": false}],
            "lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}],
                "selectors": [{"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/a"]}],
                               "matchActions": [{"action": "Override", "argError": -1}]}]}],
        }));
        let mut new = NodeFacts { labels: [("pool".into(), "new".into())].into(), ..node("n", &["bpf"], &[]) };
        new.features.remove("cgroup2");
        let lines = on_nodes(&policy, &[new, node("old", &["bpf"], &["file_open"])]);
        assert_eq!(
            lines,
            [
                "It is loaded on 1 of 2 nodes.",
                "Pods cannot be told apart on n: no cgroup v2.",
                "spec.kprobes[0] (tcp_connect): Signal on n.",
                "spec.lsmhooks[0] (file_open): not to be had on n: no LSM hook file_open.",
            ]
        );
    }
}
