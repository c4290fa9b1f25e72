//! `status` of `TracingPolicy` and `TracingPolicyNamespaced`: written by the operator's leader alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::{Mode, Strength};

/// What all nodes together do about one policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The generation of the policy that everything below is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Nodes at goal of nodes desired: "3/3".
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// Enforce, Monitor or Observe (nothing in it enforces).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Digest of the compiled policy: nodes that show the same one have the same rules.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// How certainly what it forbids is prevented; the weakest over the nodes: Deny, Override, Signal or Observe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<Strength>,
    /// How many nodes are how far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Orders of magnitude of what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// Why it is not at goal somewhere: at most 10, most nodes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Accepted, Programmed, Enforcing, Ready; Reconciling or Stalled while that is so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How many nodes are how far with one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    /// Nodes with an enforcer that the policy's nodeSelector matches.
    pub desired: i32,
    /// Of these: doing what the policy's mode asks.
    pub at_goal: i32,
    /// Of these: on their way.
    pub pending: i32,
    /// Of these: failed.
    pub failed: i32,
    /// Of these: neither the enforcer's nor the kubelet's Lease is fresh.
    pub unreachable: i32,
    /// Of these: younger than a minute.
    pub joining: i32,
    /// Nodes with an enforcer that the nodeSelector does not match.
    pub skipped: i32,
    /// Nodes that the nodeSelector matches where no enforcer runs. Never in desired.
    pub uncovered: i32,
}

/// Orders of magnitude (`0`, `1+`, `10+`, `100+`, …) of what a policy did, changed at most every ten minutes. Exact
/// numbers are in the metrics: an object that is written whenever a counter moves would be sent to every node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Activity {
    /// Operations denied.
    pub denied: String,
    /// Operations that would have been denied in enforce mode.
    pub would_deny: String,
    /// Operations that could not be judged.
    pub faults: String,
}

impl Activity {
    /// The orders of magnitude of exact numbers.
    #[must_use]
    pub fn of(denied: u64, would_deny: u64, faults: u64) -> Self {
        Self { denied: magnitude(denied), would_deny: magnitude(would_deny), faults: magnitude(faults) }
    }

    /// What several nodes did together, at the least.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut denied, mut would_deny, mut faults) = (0_u64, 0_u64, 0_u64);
        for one in all {
            denied = denied.saturating_add(at_least(&one.denied));
            would_deny = would_deny.saturating_add(at_least(&one.would_deny));
            faults = faults.saturating_add(at_least(&one.faults));
        }
        Self::of(denied, would_deny, faults)
    }
}

/// The order of magnitude of a number: `0`, `1+`, `10+`, …
#[must_use]
pub fn magnitude(number: u64) -> String {
    match number.checked_ilog10() {
        None => "0".into(),
        Some(zeros) => format!("1{}+", "0".repeat(usize::try_from(zeros).unwrap_or_default())),
    }
}

/// What such an order of magnitude is at least.
#[must_use]
pub fn at_least(magnitude: &str) -> u64 {
    magnitude.trim_end_matches('+').parse().unwrap_or(0)
}

/// One cause for which nodes are not at goal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// In CamelCase: HookUnavailable.
    pub reason: String,
    /// What one of the nodes says.
    pub message: String,
    /// How many nodes.
    pub nodes: i32,
    /// The name of one of them.
    pub example_node: String,
}

/// At most so many [`Failure`]s are listed.
pub const MAX_FAILURES: usize = 10;
/// At most so many bytes in the message of a condition.
pub const MAX_CONDITION_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_orders_of_magnitude() {
        let shown = |n| Activity::of(n, 0, 0).denied;
        let all = [0, 1, 9, 10, 99, 100, 12_345, u64::MAX].map(shown);
        assert_eq!(all, ["0", "1+", "1+", "10+", "10+", "100+", "10000+", "10000000000000000000+"]);
    }

    #[test]
    fn nodes_together_did_at_least_what_they_did_at_least() {
        let node = Activity::of(50, 0, 1);
        let twelve: Vec<_> = std::iter::repeat_n(node, 12).collect();
        assert_eq!(Activity::sum(&twelve), Activity::of(120, 0, 12));
        assert_eq!(Activity::sum(&[]), Activity::of(0, 0, 0));
        let odd = Activity { denied: "many".into(), ..Activity::default() };
        assert_eq!(Activity::sum([&odd]), Activity::of(0, 0, 0));
    }
}
