//! What the nodes that are there now could not do with a policy: warnings, and never a reason to refuse.
//!
//! A new cluster, a restore and a pool scaled to zero have no nodes, or other ones, so an answer that depends on them is
//! only ever advice. Without published facts there is nothing to say.

use super::reach::too_weak;
use super::{NodeFacts, twins};
use crate::fault::Fault;
use crate::fault::codes;
use crate::ir::{Hook, HookPoint, Scope, ValidatedPolicy};

/// `kubectl` shows a warning on one line; longer ones are cut by clients.
const MAX_BYTES: usize = 200;
/// How many warnings are given; the last says how many there are beside.
const MAX_WARNINGS: usize = 10;
/// How many nodes a warning names.
const NAMED: usize = 2;

/// Compares what `policy` needs with what `nodes` have published; beyond [`MAX_WARNINGS`] the last says how many more.
#[must_use]
pub fn node_warnings(policy: &ValidatedPolicy, nodes: &[NodeFacts]) -> Vec<Fault> {
    let mut warnings = all_node_warnings(policy, nodes);
    if warnings.len() > MAX_WARNINGS {
        let more = warnings.len() + 1 - MAX_WARNINGS;
        warnings.truncate(MAX_WARNINGS - 1);
        let message = format!("{more} more warnings about nodes are not shown");
        warnings.push(warning("spec", codes::HOOK_UNAVAILABLE, message, "see the policy's status"));
    }
    warnings
}

/// Every one of them, for those who count what they leave out themselves.
#[must_use]
pub fn all_node_warnings(policy: &ValidatedPolicy, nodes: &[NodeFacts]) -> Vec<Fault> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let matched: Vec<&NodeFacts> = nodes
        .iter()
        .filter(|node| policy.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels)))
        .collect();
    if matched.is_empty() {
        let message = format!("nodeSelector matches none of {}", count(nodes.len()));
        return vec![warning("spec.nodeSelector", codes::NO_NODE_MATCHES, message, "check the labels")];
    }
    let mut warnings: Vec<Fault> = policy.hooks.iter().flat_map(|hook| of_hook(policy, hook, &matched)).collect();
    warnings.extend(of_scope(policy, &matched));
    // What no node can do comes first.
    warnings.sort_by(|a, b| {
        let rank = |fault: &Fault| fault.code != codes::NO_NODE_CAN_RUN_THIS;
        rank(a).cmp(&rank(b)).then_with(|| a.reading_order(b))
    });
    warnings
}

/// By what nodes will report: that they cannot run the hook, or that they run it more weakly than the policy accepts.
fn of_hook(policy: &ValidatedPolicy, hook: &Hook, nodes: &[&NodeFacts]) -> impl Iterator<Item = Fault> {
    let (mut unable, mut weak) = (Vec::new(), Vec::new());
    for node in nodes {
        match missing(hook, node) {
            Some(_) if hook.may_be_missing => {}
            Some(why) => unable.push((*node, why)),
            None => weak.extend(too_weak(policy, hook, node).map(|why| (*node, why))),
        }
    }
    let path = path(hook);
    let weak = over(&path, &weak, nodes.len(), codes::TOO_WEAK, "it is in force there, and such nodes report TooWeak");
    unavailable(&path, &unable, nodes.len(), "such nodes report HookUnavailable").into_iter().chain(weak)
}

/// Pods are told apart by their cgroups, which takes cgroup v2.
fn of_scope(policy: &ValidatedPolicy, nodes: &[&NodeFacts]) -> Option<Fault> {
    if policy.scope == Scope::Everything {
        return None;
    }
    let failing: Vec<(&NodeFacts, String)> = nodes
        .iter()
        .filter(|node| !node.features.contains("cgroup2"))
        .map(|node| (*node, "pods cannot be told apart without cgroup v2".to_owned()))
        .collect();
    unavailable("spec", &failing, nodes.len(), "such nodes report CgroupV2Missing")
}

fn unavailable(path: &str, failing: &[(&NodeFacts, String)], all: usize, consequence: &str) -> Option<Fault> {
    if failing.len() == all {
        over(path, failing, all, codes::NO_NODE_CAN_RUN_THIS, "nothing will be in force until a node can")
    } else {
        over(path, failing, all, codes::HOOK_UNAVAILABLE, consequence)
    }
}

/// One warning about the nodes that fail, with the first one's reason.
fn over(
    path: &str,
    failing: &[(&NodeFacts, String)],
    all: usize,
    code: &'static str,
    consequence: &str,
) -> Option<Fault> {
    let (_, reason) = failing.first()?;
    let mut names: Vec<String> = failing
        .iter()
        .take(NAMED)
        .map(|(node, _)| format!("{}, kernel {}", node.node, short_release(&node.kernel_release)))
        .collect();
    if failing.len() > NAMED {
        names.push(format!("{} more", failing.len() - NAMED));
    }
    let message = format!("{} of {} ({}): {reason}", failing.len(), count(all), names.join("; "));
    Some(warning(path, code, message, consequence))
}

/// What `node` lacks for `hook`, if anything.
pub(super) fn missing(hook: &Hook, node: &NodeFacts) -> Option<String> {
    if !node.lsm.iter().any(|lsm| lsm == "bpf") {
        return Some("bpf is not among its LSMs, without which nothing is loaded".into());
    }
    match &hook.point {
        // Nodes do not publish of which functions they know the return.
        HookPoint::Kprobe { .. } if hook.only_reports_a_return() => None,
        HookPoint::Lsm { hook: name } => missing_lsm(name, hook, node),
        HookPoint::Kprobe { call, syscall } => match call.strip_prefix("security_").filter(|_| !syscall) {
            Some(name) => missing_security(call, name, node),
            None => missing_perf(node),
        },
        HookPoint::Tracepoint { raw: true, .. } | HookPoint::Fentry { .. } => None,
        HookPoint::Tracepoint { raw: false, .. }
        | HookPoint::Generated { .. }
        | HookPoint::Uprobe { .. }
        | HookPoint::Usdt { .. } => missing_perf(node),
    }
}

fn missing_lsm(name: &str, hook: &Hook, node: &NodeFacts) -> Option<String> {
    if let Some(why) = twins::unusable(name) {
        return Some(format!("programs cannot use the LSM hook {name}: {why}"));
    }
    let Some(parameters) = node.lsm_hooks.get(name) else {
        return Some(format!("no LSM hook {name}"));
    };
    let highest = hook.args.iter().map(|arg| arg.index).max()?;
    let has = usize::try_from(highest).is_ok_and(|index| index < parameters.len());
    (!has).then(|| format!("{name} has no argument {highest} there"))
}

/// A `security_` function is run by its LSM twin.
fn missing_security(call: &str, name: &str, node: &NodeFacts) -> Option<String> {
    let has = twins::of(name).any(|twin| node.lsm_hooks.contains_key(twin));
    (!has).then(|| format!("no LSM hook for {call}"))
}

fn missing_perf(node: &NodeFacts) -> Option<String> {
    (!node.features.contains("perf_events")).then(|| "perf events are not allowed there".into())
}

fn path(hook: &Hook) -> String {
    format!("spec.{}[{}]", hook.point.family(), hook.index)
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

/// `6.1` of `6.1.0-18-amd64`.
fn short_release(release: &str) -> &str {
    let end = release.match_indices('.').nth(1).map_or(release.len(), |(end, _)| end);
    release.get(..end).unwrap_or(release)
}

/// A warning whose line fits: node names and functions may be long.
fn warning(path: &str, code: &'static str, message: String, help: &str) -> Fault {
    let mut fault = Fault { path: path.to_owned(), code, message, help: help.to_owned() };
    let excess = fault.to_string().len().saturating_sub(MAX_BYTES);
    if excess > 0 {
        let keep = fault.message.len().saturating_sub(excess + '…'.len_utf8());
        let end = (0..=keep).rev().find(|end| fault.message.is_char_boundary(*end)).unwrap_or(0);
        fault.message.truncate(end);
        fault.message.push('…');
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge;
    use serde_json::json;

    fn node(name: &str, hooks: &[&str]) -> NodeFacts {
        NodeFacts {
            node: name.into(),
            kernel_release: "6.1.0-18-amd64".into(),
            lsm: vec!["lockdown".into(), "bpf".into()],
            lsm_hooks: hooks.iter().map(|hook| ((*hook).to_owned(), vec![])).collect(),
            features: ["btf", "cgroup2"].map(str::to_owned).into(),
            ..NodeFacts::default()
        }
    }

    fn policy(spec: &serde_json::Value) -> ValidatedPolicy {
        let object = json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec,
        });
        let judgement = judge(&object);
        judgement.policy.unwrap_or_else(|| panic!("{:?}", judgement.faults))
    }

    fn codes_of(warnings: &[Fault]) -> Vec<&str> {
        warnings.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn without_facts_there_is_nothing_to_say() {
        assert_eq!(node_warnings(&policy(&json!({"lsmhooks": [{"hook": "file_truncate"}]})), &[]), []);
    }

    #[test]
    fn a_hook_that_one_of_two_nodes_lacks_is_counted_and_named() {
        let policy = policy(&json!({"lsmhooks": [{"hook": "file_truncate"}]}));
        let nodes = [node("node-1", &["file_truncate"]), node("node-2", &[])];
        let warnings = node_warnings(&policy, &nodes);
        assert_eq!(
            warnings.first().map(ToString::to_string).as_deref(),
            Some(
                "spec.lsmhooks[0]: HookUnavailable: 1 of 2 nodes (node-2, kernel 6.1): no LSM hook file_truncate; \
                 such nodes report HookUnavailable"
            )
        );
        assert_eq!(warnings.len(), 1);
        assert_eq!(codes_of(&node_warnings(&policy, &nodes[1..])), [codes::NO_NODE_CAN_RUN_THIS]);
        assert_eq!(node_warnings(&policy, &nodes[..1]), []);
    }

    #[test]
    fn a_security_function_is_looked_up_by_its_twin() {
        let policy = policy(&json!({"kprobes": [{"call": "security_bprm_check", "syscall": false}]}));
        assert_eq!(node_warnings(&policy, &[node("a", &["bprm_check_security"])]), []);
        assert_eq!(codes_of(&node_warnings(&policy, &[node("a", &["file_open"])])), [codes::NO_NODE_CAN_RUN_THIS]);
    }

    #[test]
    fn only_nodes_that_are_selected_count() {
        let policy = policy(&json!({
            "lsmhooks": [{"hook": "file_truncate"}], "nodeSelector": {"matchLabels": {"pool": "new"}},
        }));
        let mut new = node("new", &["file_truncate"]);
        assert_eq!(codes_of(&node_warnings(&policy, &[new.clone()])), [codes::NO_NODE_MATCHES]);
        new.labels.insert("pool".into(), "new".into());
        assert_eq!(node_warnings(&policy, &[new, node("old", &[])]), []);
    }

    #[test]
    fn a_kernel_without_perf_events_or_cgroup2_is_told_apart() {
        let tcp = json!({"kprobes": [{"call": "tcp_connect", "syscall": false}], "podSelector": {}});
        let mut able = node("able", &[]);
        able.features.insert("perf_events".into());
        let mut hybrid = able.clone();
        hybrid.features.remove("cgroup2");
        let warnings = node_warnings(&policy(&tcp), &[able, hybrid, node("plain", &[])]);
        assert_eq!(codes_of(&warnings), [codes::HOOK_UNAVAILABLE; 2]);
        assert!(warnings[0].message.contains("cgroup v2") && warnings[1].message.contains("plain"), "{warnings:?}");
    }

    #[test]
    fn what_is_weaker_than_the_policy_accepts_is_told_apart_from_what_is_not_there() {
        let selectors = |action: &serde_json::Value| {
            json!([{"matchPIDs": [{"operator": "In", "values": [7], "isNamespacePID": true, "followForks": false}],
                "matchActions": [action]}])
        };
        // What one hook asks for is asked of all of them that act.
        let policy = policy(&json!({
            "lsmhooks": [{"hook": "file_open", "selectors": selectors(&json!({"action": "Override", "argError": -1}))}],
            "kprobes": [{"call": "sys_openat", "syscall": true, "selectors": selectors(&json!({"action": "Sigkill"}))}],
        }));
        let mut able = node("able", &["file_open"]);
        able.features.insert("perf_events".into());
        let warnings = node_warnings(&policy, &[able.clone(), node("plain", &["file_open"])]);
        assert_eq!(codes_of(&warnings), [codes::HOOK_UNAVAILABLE, codes::TOO_WEAK]);
        assert_eq!(
            warnings[1].to_string(),
            "spec.kprobes[0]: TooWeak: 1 of 2 nodes (able, kernel 6.1): Signal is what there is, Override is asked for; \
             it is in force there, and such nodes report TooWeak"
        );
        // In force on all of them, so that it cannot be said that no node can run it.
        assert_eq!(codes_of(&node_warnings(&policy, &[able.clone()])), [codes::TOO_WEAK]);
        able.lsm = vec!["yama".into()];
        assert_eq!(codes_of(&node_warnings(&policy, &[able])), [codes::NO_NODE_CAN_RUN_THIS; 2]);
    }

    #[test]
    fn warnings_are_short_and_few() {
        let hooks: Vec<_> = (0..30).map(|n| json!({"hook": format!("{}_{n}", "long".repeat(30))})).collect();
        let nodes = [node(&"n".repeat(253), &[]), node("b", &["x"])];
        let warnings = node_warnings(&policy(&json!({"lsmhooks": hooks})), &nodes);
        assert_eq!(warnings.len(), MAX_WARNINGS);
        assert!(warnings.iter().all(|warning| warning.to_string().len() <= MAX_BYTES));
        assert!(warnings[MAX_WARNINGS - 1].message.starts_with("21 more"), "{warnings:?}");
        assert_eq!(all_node_warnings(&policy(&json!({"lsmhooks": hooks})), &nodes).len(), 30);
    }
}
