//! Policies as people read them.

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;
use stockade_crds::{ConditionType, EntryState, NodeCounts};

use super::table::Table;
use super::view::{NodeView, PolicyView};

/// One line a policy.
pub(crate) fn overview(policies: &[PolicyView], wide: bool, now: Timestamp) -> String {
    if policies.is_empty() {
        return "No policies.\n".into();
    }
    let mut heading = vec!["NAMESPACE", "POLICY", "MODE", "READY", "ENFORCING", "REASON"];
    if wide {
        heading.extend(["STRENGTH", "DENIED", "WOULD-DENY", "FAULTS", "DIGEST"]);
    }
    heading.push("AGE");
    let mut table = Table::new(&heading);
    for policy in policies {
        let status = &policy.status;
        let mark = if policy.is_behind() && status.observed_generation.is_some() { "*" } else { "" };
        let mut row = vec![
            policy.namespace().unwrap_or_default(),
            format!("{}/{}", policy.kind.short_name(), policy.name()),
            status.mode.map_or_else(String::new, String::from),
            status.summary.clone(),
            policy.condition(ConditionType::Enforcing).map_or_else(String::new, |c| c.status.clone()),
            policy.condition(ConditionType::Ready).map_or_else(String::new, |c| c.reason.clone() + mark),
        ];
        if wide {
            let activity = status.activity.clone().unwrap_or_default();
            row.push(status.strength.map_or_else(String::new, String::from));
            row.extend([activity.denied, activity.would_deny, activity.faults, status.digest.clone()]);
        }
        row.push(age_of(policy, now));
        table.row(row);
    }
    let mut text = table.to_string();
    if policies.iter().any(|p| p.is_behind() && p.status.observed_generation.is_some()) {
        text += "* edited since: the operator has not seen the newest generation yet\n";
    }
    text
}

/// One policy, node by node.
pub(crate) fn detail(policy: &PolicyView, wide: bool, now: Timestamp) -> String {
    let mut text = String::new();
    let status = &policy.status;
    field(&mut text, "Policy", &format!("{} {}", policy.kind, policy.name()));
    field(&mut text, "Namespace", &policy.namespace().unwrap_or_default());
    field(&mut text, "Age", &age_of(policy, now));
    field(&mut text, "Generation", &generation(policy));
    field(&mut text, "Mode", status.mode.map_or("", |mode| mode.as_str()));
    field(&mut text, "Strength", status.strength.map_or("", |strength| strength.as_str()));
    field(&mut text, "Digest", &status.digest);
    if let Some(counts) = status.nodes {
        field(&mut text, "Nodes", &nodes(counts));
    }
    if let Some(activity) = &status.activity {
        let did =
            format!("{} denied, {} would be denied, {} faults", activity.denied, activity.would_deny, activity.faults);
        field(&mut text, "Activity", &did);
    }
    if !status.conditions.is_empty() {
        let mut table = Table::new(&["CONDITION", "STATUS", "REASON", "MESSAGE"]);
        for c in &status.conditions {
            table.row([c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone()]);
        }
        push(&mut text, &table);
    }
    if !status.failures.is_empty() {
        let mut table = Table::new(&["FAILURE", "NODES", "EXAMPLE", "MESSAGE"]);
        for f in &status.failures {
            table.row([f.reason.clone(), f.nodes.to_string(), f.example_node.clone(), f.message.clone()]);
        }
        push(&mut text, &table);
    }
    match policy.nodes.as_deref() {
        None => {}
        Some([]) => text += "\nNo node has reported yet.\n",
        Some(nodes) => push(&mut text, &node_table(nodes, wide)),
    }
    text
}

fn node_table(nodes: &[NodeView], wide: bool) -> Table {
    let mut heading = vec!["NODE", "STATE", "STRENGTH", "GENERATION", "REASON"];
    if wide {
        heading.extend(["DIGEST", "KERNEL", "AGENT"]);
    }
    heading.push("MESSAGE");
    let mut table = Table::new(&heading);
    for node in nodes {
        let trouble = node.trouble();
        let entry = node.entry.as_ref();
        let reason = entry.and_then(|e| e.reason).map(String::from).or_else(|| trouble.map(|c| c.reason.clone()));
        let mut row = vec![
            node.name.clone(),
            entry.map_or_else(|| "NotReported".to_owned(), |e| e.state.into()),
            entry.and_then(|e| e.strength).map_or_else(String::new, String::from),
            entry.map_or_else(String::new, |e| {
                match e.generation_in_force.filter(|_| e.state != EntryState::Programmed) {
                    Some(old) => format!("{old} of {}", e.generation),
                    None => e.generation.to_string(),
                }
            }),
            reason.unwrap_or_default(),
        ];
        if wide {
            let facts = &node.facts;
            let digest = entry.map_or_else(String::new, |e| e.digest.clone());
            row.extend([digest, facts.kernel_release.clone(), facts.agent_version.clone()]);
        }
        row.push(message(node));
        table.row(row);
    }
    table
}

/// What the node says about the policy, its hooks included; otherwise what is wrong with the node.
fn message(node: &NodeView) -> String {
    let Some(entry) = &node.entry else {
        return node.trouble().map_or_else(String::new, |c| c.message.clone());
    };
    let mut parts: Vec<String> = entry.message.iter().cloned().collect();
    for hook in &entry.hooks {
        let why = hook.message.clone().or_else(|| hook.reason.map(String::from)).unwrap_or_default();
        let part = format!("{} ({}): {why}", hook.path, hook.hook);
        if !parts.iter().any(|known| known.contains(&why) && known.contains(&hook.path)) {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        parts.extend(node.trouble().map(|c| c.message.clone()));
    }
    parts.join("; ")
}

fn nodes(counts: NodeCounts) -> String {
    let NodeCounts { desired, at_goal, pending, failed, unreachable, joining, skipped, uncovered } = counts;
    let mut text = format!("{at_goal} of {desired} at goal");
    let others = [
        (pending, "pending"),
        (failed, "failed"),
        (unreachable, "unreachable"),
        (joining, "joining"),
        (skipped, "not selected"),
        (uncovered, "without an enforcer"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        // Writing to a string cannot fail.
        let _infallible = write!(text, ", {count} {what}");
    }
    text
}

fn generation(policy: &PolicyView) -> String {
    let newest = policy.object.metadata.generation.unwrap_or(0);
    match policy.status.observed_generation {
        Some(seen) if seen == newest => newest.to_string(),
        Some(seen) => format!("{newest} (the operator has seen {seen})"),
        None => format!("{newest} (no operator has seen it)"),
    }
}

fn field(text: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let _infallible = writeln!(text, "{:<12} {value}", format!("{name}:"));
    }
}

fn push(text: &mut String, table: &Table) {
    let _infallible = write!(text, "\n{table}");
}

fn age_of(policy: &PolicyView, now: Timestamp) -> String {
    policy
        .object
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or_else(String::new, |created| age(now.as_second().saturating_sub(created.0.as_second())))
}

/// As kubectl shows ages.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 120 => format!("{s}s"),
        s if s < 7_200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stockade_crds::PolicyKind;

    use super::*;

    fn policy(kind: PolicyKind, object: Value) -> PolicyView {
        PolicyView::new(kind, serde_json::from_value(object).unwrap())
    }

    fn condition(ty: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({
            "type": ty, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2,
        })
    }

    fn fixtures() -> [PolicyView; 4] {
        let metadata = |name: &str, generation: i64| json!({"name": name, "uid": format!("uid-{name}"), "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z"});
        let types = |kind: PolicyKind| (stockade_crds::names::POLICY_API_VERSION, kind.kind());
        let (v, cluster) = types(PolicyKind::Cluster);
        let (_, namespaced) = types(PolicyKind::Namespaced);
        let mut in_shop = metadata("deny-etc-shadow", 2);
        in_shop["namespace"] = json!("shop");
        [
            policy(
                PolicyKind::Cluster,
                json!({"apiVersion": v, "kind": cluster, "metadata": metadata("new", 1), "status": {
                "conditions": [condition("Ready", "Unknown", "Pending", "waiting for the operator")]}}),
            ),
            policy(
                PolicyKind::Cluster,
                json!({"apiVersion": v, "kind": cluster, "metadata": metadata("watch-egress", 3), "status": {
                "observedGeneration": 2, "summary": "2/3", "mode": "Monitor",
                "conditions": [condition("Enforcing", "False", "Monitor", ""), condition("Ready", "False", "HookUnavailable", "")]}}),
            ),
            policy(
                PolicyKind::Namespaced,
                json!({"apiVersion": v, "kind": namespaced, "metadata": in_shop, "status": {
                "observedGeneration": 2, "summary": "1/2", "mode": "Enforce", "digest": "0123456789ab", "strength": "Deny",
                "nodes": {"desired": 2, "atGoal": 1, "failed": 1, "skipped": 1},
                "activity": {"denied": "10+", "wouldDeny": "0", "faults": "1+"},
                "failures": [{"reason": "HookUnavailable", "message": "no hook file_open", "nodes": 1, "exampleNode": "node-2"}],
                "conditions": [condition("Accepted", "True", "Valid", "3 rules"),
                    condition("Ready", "False", "HookUnavailable", "1 of 2 nodes cannot run it")]}}),
            ),
            policy(
                PolicyKind::Cluster,
                json!({"apiVersion": v, "kind": cluster, "metadata": metadata("odd", 1), "status": {
                "conditions": "nonsense"}}),
            ),
        ]
    }

    fn node(policy: &PolicyView, name: &str, status: Value) -> NodeView {
        NodeView::new(name.into(), serde_json::from_value(status).unwrap(), policy)
    }

    fn later() -> Timestamp {
        "2026-01-01T03:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_overview_has_a_line_for_every_policy_whatever_its_status() {
        insta::assert_snapshot!(overview(&fixtures(), false, later()));
    }

    #[test]
    fn the_wide_overview_adds_what_it_did() {
        insta::assert_snapshot!(overview(&fixtures(), true, later()));
    }

    #[test]
    fn a_policy_is_shown_node_by_node_with_the_reason_where_it_is_not_at_goal() {
        let [_, _, mut policy, _] = fixtures();
        let entry = json!({"kind": "TracingPolicyNamespaced", "namespace": "shop", "name": "deny-etc-shadow",
            "uid": "uid-deny-etc-shadow", "generation": 2, "digest": "0123456789ab", "state": "Programmed", "strength": "Deny"});
        let mut failed = entry.clone();
        failed["state"] = json!("Failed");
        failed["generationInForce"] = json!(1);
        failed["reason"] = json!("HookUnavailable");
        failed["hooks"] =
            json!([{"path": "spec.lsmhooks[0]", "hook": "file_open", "message": "no such hook in this kernel"}]);
        let mut earlier = entry.clone();
        earlier["uid"] = json!("another");
        let facts = json!({"kernelRelease": "6.1.0", "architecture": "x86_64", "agentVersion": "0.1.0"});
        policy.nodes = Some(vec![
            node(&policy, "node-1", json!({"facts": facts, "policies": [entry]})),
            node(&policy, "node-2", json!({"facts": facts, "policies": [failed]})),
            node(
                &policy,
                "node-3",
                json!({"policies": [earlier], "conditions": [
                condition("AgentReady", "Unknown", "AgentDown", "no heartbeat for 60 s")]}),
            ),
        ]);
        insta::assert_snapshot!(detail(&policy, true, later()));
    }

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let shown: Vec<_> = [-5, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(age).into();
        assert_eq!(shown, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }
}
