//! What the cluster's nodes have to do with a document: warnings for its author, never a reason to refuse.

use std::sync::Arc;

use arc_swap::ArcSwap;
use stockade_policy::NodeFacts;
use stockade_policy::ir::{HookPoint, ValidatedPolicy};

use crate::warnings::line;

/// A snapshot of the facts of all nodes that have an enforcer. Whoever follows the nodes replaces it; readers never wait.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Arc<ArcSwap<Vec<NodeFacts>>>);

impl Nodes {
    /// Replaces the snapshot.
    pub fn store(&self, nodes: Vec<NodeFacts>) {
        self.0.store(Arc::new(nodes));
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Vec<NodeFacts>> {
        self.0.load_full()
    }
}

/// Kernel functions `security_x` whose hook is called neither `x` nor something that begins with `x`.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("create_user_ns", "userns_create"),
    ("settime64", "settime"),
    ("sock_rcv_skb", "socket_sock_rcv_skb"),
    ("prepare_creds", "cred_prepare"),
    ("transfer_creds", "cred_transfer"),
];

/// What the author should know about the nodes. Nothing when no node is known.
#[must_use]
pub fn warnings(policy: &ValidatedPolicy, nodes: &[NodeFacts]) -> Vec<String> {
    if nodes.is_empty() {
        return vec![];
    }
    let meant: Vec<&NodeFacts> = nodes
        .iter()
        .filter(|node| policy.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels)))
        .collect();
    if meant.is_empty() {
        let what =
            format!("NoNodeMatches: spec.nodeSelector matches none of the {} nodes with an enforcer", nodes.len());
        return vec![line(&what, "")];
    }
    let mut able = vec![true; meant.len()];
    let mut said = Vec::new();
    for hook in &policy.hooks {
        let lacking: Vec<&NodeFacts> = meant
            .iter()
            .zip(&mut able)
            .filter(|(node, _)| lacks(node, &hook.point))
            .map(|(node, able)| {
                *able = false;
                *node
            })
            .collect();
        if let Some(example) = lacking.first() {
            said.push(unavailable(&hook.point, lacking.len(), meant.len(), example));
        }
    }
    if able.iter().all(|able| !able) {
        said.insert(0, line("NoNodeCanRunThis: every node lacks a hook that this policy needs", ""));
    }
    said
}

fn unavailable(point: &HookPoint, lacking: usize, meant: usize, example: &NodeFacts) -> String {
    let noun = if meant == 1 { "node" } else { "nodes" };
    let verb = if lacking == 1 { "has" } else { "have" };
    let what = format!(
        "HookUnavailable: {lacking} of {meant} {noun} ({}{}, kernel {}) {verb} no {}",
        if lacking > 1 { "for example " } else { "" },
        example.node,
        example.kernel_release,
        name(point)
    );
    line(&what, "")
}

fn name(point: &HookPoint) -> String {
    match point {
        HookPoint::Kprobe { call, .. } => format!("function {call} that a program can be put on"),
        HookPoint::Lsm { hook } => format!("security hook {hook}"),
        HookPoint::Tracepoint { subsystem, event, .. } => format!("tracepoint {subsystem}/{event}"),
    }
}

/// Whether it is certain, from the node's facts alone, that nothing can be attached there. Whether a function exists that
/// is no security hook is found by attaching; nothing is said about those.
fn lacks(node: &NodeFacts, point: &HookPoint) -> bool {
    // A node that published no hooks said nothing about them.
    if node.lsm_hooks.is_empty() {
        return false;
    }
    match point {
        HookPoint::Lsm { hook } => !node.lsm_hooks.contains_key(hook) || !has_bpf_lsm(node),
        HookPoint::Kprobe { call, syscall: false } => {
            call.strip_prefix("security_").is_some_and(|function| !has_twin(node, function)) && !can_probe(node)
        }
        HookPoint::Kprobe { syscall: true, .. } | HookPoint::Tracepoint { .. } => false,
    }
}

fn has_twin(node: &NodeFacts, function: &str) -> bool {
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == function).map(|(_, hook)| *hook);
    has_bpf_lsm(node) && node.lsm_hooks.keys().any(|hook| hook.starts_with(function) || Some(hook.as_str()) == other)
}

fn has_bpf_lsm(node: &NodeFacts) -> bool {
    node.lsm.iter().any(|module| module == "bpf")
}

fn can_probe(node: &NodeFacts) -> bool {
    node.features.contains("perf_events")
}
