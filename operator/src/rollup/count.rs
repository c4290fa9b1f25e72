//! Which nodes count, how many are how far, and why not.

use std::collections::BTreeMap;

use stockade_crds::policy_status::{Failure, MAX_FAILURES, at_least};
use stockade_crds::{NodeCounts, Strength};

use super::{Document, Input, Liveness, Node, Progress, Standing};

/// The nodes of a policy.
pub(super) struct Count<'a> {
    pub(super) nodes: NodeCounts,
    /// Live desired nodes.
    pub(super) standings: Vec<Standing<'a>>,
    /// Nodes that the selector matches and that have an enforcer.
    pub(super) any_desired: bool,
    /// A node that the selector matches is so young that its enforcer may be on its way.
    pub(super) any_awaited: bool,
    /// An older version is in force on a desired node, live or not.
    pub(super) older: bool,
    /// One of those may deny.
    pub(super) older_denies: bool,
    /// At least so many pods that it is about have a kernel of their own.
    pub(super) pods_out_of_reach: u64,
}

pub(super) fn count<'a>(input: &Input<'a>) -> Count<'a> {
    let (selector, mode) = match &input.document {
        Document::Accepted { node_selector, mode, .. } => (node_selector.as_ref(), Some(*mode)),
        Document::Invalid(_) => (None, None),
    };
    let mut count = Count {
        nodes: NodeCounts::default(),
        standings: Vec::new(),
        any_desired: false,
        any_awaited: false,
        older: false,
        older_denies: false,
        pods_out_of_reach: 0,
    };
    let nodes = &mut count.nodes;
    for node in input.nodes {
        let matches = selector.is_none_or(|selector| selector.matches(&node.labels));
        match (node.covered, matches) {
            (true, false) => nodes.skipped += 1,
            (false, true) if !node.joining => nodes.uncovered += 1,
            (false, true) => count.any_awaited = true,
            (false, false) => {}
            (true, true) => {
                nodes.desired += 1;
                count.any_desired = true;
                let standing = Standing::of(node, input.generation, mode);
                count.older |= standing.older;
                count.older_denies |= standing.older_denies;
                let beyond = node.entry.as_ref().and_then(|entry| entry.pods_out_of_reach.as_deref());
                count.pods_out_of_reach = count.pods_out_of_reach.saturating_add(beyond.map_or(0, at_least));
                add(nodes, node, &standing);
                if !node.joining && node.liveness != Liveness::Unreachable {
                    count.standings.push(standing);
                }
            }
        }
    }
    count
}

/// Every desired node is counted once, under the first that applies.
fn add(nodes: &mut NodeCounts, node: &Node, standing: &Standing<'_>) {
    let place = match &standing.progress {
        Progress::AtGoal(_) => &mut nodes.at_goal,
        _ if node.liveness == Liveness::Unreachable => &mut nodes.unreachable,
        _ if node.joining => &mut nodes.joining,
        Progress::Not { stalled: true, .. } => &mut nodes.failed,
        Progress::Not { stalled: false, .. } => &mut nodes.pending,
    };
    *place += 1;
}

/// Why nodes are not at goal: by reason, most nodes first.
pub(super) fn failures(standings: &[Standing<'_>]) -> Vec<Failure> {
    let mut by_reason: BTreeMap<&str, Failure> = BTreeMap::new();
    for standing in standings {
        let Progress::Not { cause, message, .. } = &standing.progress else { continue };
        let failure = by_reason.entry(cause.as_str()).or_insert_with(|| Failure {
            reason: cause.as_str().into(),
            message: message.clone(),
            nodes: 0,
            example_node: standing.node.into(),
        });
        failure.nodes += 1;
    }
    let mut failures: Vec<Failure> = by_reason.into_values().collect();
    failures.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.reason.cmp(&b.reason)));
    failures.truncate(MAX_FAILURES);
    failures
}

/// The weakest strength over the nodes at goal.
pub(super) fn weakest(standings: &[Standing<'_>]) -> Option<Strength> {
    let strengths = standings.iter().filter_map(|standing| match standing.progress {
        Progress::AtGoal(strength) => strength,
        Progress::Not { .. } => None,
    });
    strengths.min()
}
