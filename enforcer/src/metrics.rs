//! What `/metrics` shows: numbers that the kernel and the agent count. Label sets are bounded: policies and hooks, never
//! pods or binaries.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use stockade_crds::NodePolicyStateStatus;

use crate::kernel::Counts;
use crate::node_state;

/// A policy, by kind of verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyLabels {
    /// `TracingPolicy` or `TracingPolicyNamespaced`.
    pub kind: String,
    /// Its namespace; empty for the cluster-scoped kind.
    pub policy_namespace: String,
    /// Its name.
    pub policy: String,
    /// `denied`, `would_deny`, `matched`, `fault`; `limited` counts events that a `rateLimit` kept back.
    pub verdict: String,
}

/// A place where something was counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PlaceLabels {
    /// The place: a program, a map, a stage.
    pub place: String,
}

/// The state of a policy on this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// `TracingPolicy` or `TracingPolicyNamespaced`.
    pub kind: String,
    /// Its namespace.
    pub policy_namespace: String,
    /// Its name.
    pub policy: String,
    /// `Programmed`, `Pending`, `Retrying`, `Failed`.
    pub state: String,
    /// Why it is not at goal; empty when it is.
    pub reason: String,
}

/// A condition of this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConditionLabels {
    /// `KernelSupported`, `Intact`, `PodsCovered`.
    pub condition: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why.
    pub reason: String,
}

/// Every number that the agent exports.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Verdicts of each policy, as the kernel counted them.
    pub verdicts: Family<PolicyLabels, Counter>,
    /// Events lost because the ring was full.
    pub events_lost: Counter,
    /// Events exported.
    pub events_written: Counter,
    /// Events that could not be decoded or written.
    pub events_failed: Counter,
    /// Calls a program did not see (`recursion_misses`), by program.
    pub missed: Family<PlaceLabels, Counter>,
    /// Failures counted in the kernel, by place.
    pub kernel_errors: Family<PlaceLabels, Counter>,
    /// 1 for the state that each policy is in.
    pub policy_state: Family<StateLabels, Gauge>,
    /// 1 for what each condition of this node is.
    pub condition: Family<ConditionLabels, Gauge>,
    /// Executions in a pod that was not known yet: they were held to the strictest set.
    pub unknown_pod_execs: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            verdicts: Family::default(),
            events_lost: Counter::default(),
            events_written: Counter::default(),
            events_failed: Counter::default(),
            missed: Family::default(),
            kernel_errors: Family::default(),
            policy_state: Family::default(),
            condition: Family::default(),
            unknown_pod_execs: Counter::default(),
        };
        let registry = metrics.register();
        Self { registry: Mutex::new(registry), ..metrics }
    }
}

impl Metrics {
    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("stockade_enforcer");
        let verdicts = "Verdicts of each policy as the kernel counted them";
        registry.register("policy_verdicts", verdicts, self.verdicts.clone());
        registry.register("events_lost", "Events lost because the ring was full", self.events_lost.clone());
        registry.register("events_written", "Events exported", self.events_written.clone());
        let failed = "Events that could not be decoded or written";
        registry.register("events_failed", failed, self.events_failed.clone());
        registry.register("program_missed_calls", "Calls that a program did not see", self.missed.clone());
        registry.register("kernel_errors", "Failures counted in the kernel", self.kernel_errors.clone());
        registry.register("policy_state", "1 for the state of each policy on this node", self.policy_state.clone());
        registry.register("node_condition", "1 for what each condition of this node is", self.condition.clone());
        let unknown = "Executions in a pod not known yet, held to the strictest set";
        registry.register("unknown_pod_execs", unknown, self.unknown_pod_execs.clone());
        registry
    }

    /// Shows what the node says of itself and of its policies.
    pub fn show_status(&self, status: &NodePolicyStateStatus) {
        // Nobody reads between what goes and what comes.
        let _reading = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.policy_state.clear();
        for entry in &status.policies {
            let labels = StateLabels {
                kind: entry.kind.clone(),
                policy_namespace: entry.namespace.clone().unwrap_or_default(),
                policy: entry.name.clone(),
                state: entry.state.as_str().into(),
                reason: entry.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
            };
            self.policy_state.get_or_create(&labels).set(1);
        }
        self.condition.clear();
        for condition in &status.conditions {
            let labels = ConditionLabels {
                condition: condition.type_.clone(),
                status: condition.status.clone(),
                reason: condition.reason.clone(),
            };
            self.condition.get_or_create(&labels).set(1);
        }
    }

    /// Shows what was counted; policies that are gone are left out.
    pub fn show_counts(&self, counts: &Counts) {
        let _reading = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.verdicts.clear();
        for (policy, verdicts) in &counts.verdicts {
            for (verdict, count) in [
                ("matched", verdicts.matched),
                ("denied", verdicts.denied),
                ("would_deny", verdicts.would_deny),
                ("fault", verdicts.faults),
                ("limited", verdicts.limited),
            ] {
                let labels = PolicyLabels {
                    kind: node_state::kind_of(policy).into(),
                    policy_namespace: policy.namespace.clone(),
                    policy: policy.name.clone(),
                    verdict: verdict.into(),
                };
                set(&self.verdicts.get_or_create(&labels), count);
            }
        }
        set(&self.events_lost, counts.events_lost);
        self.missed.clear();
        for (program, count) in &counts.missed {
            set(&self.missed.get_or_create(&PlaceLabels { place: program.clone() }), *count);
        }
        for (place, count) in &counts.errors {
            set(&self.kernel_errors.get_or_create(&PlaceLabels { place: place.clone() }), *count);
        }
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// A counter that somebody else counts.
pub fn set(counter: &Counter, total: u64) {
    counter.inner().store(total, Ordering::Relaxed);
}

#[cfg(test)]
#[path = "../../testdata/metrics_page.rs"]
mod metrics_page;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stockade_enforcer_common::counter::Place;
    use stockade_policy::ir::{PolicyId, PolicyKind};

    use super::*;
    use crate::kernel::Verdicts;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::default();
        let id = PolicyId { kind: PolicyKind::Namespaced, namespace: "shop".into(), name: "p".into() };
        let verdicts = BTreeMap::from([(id, Verdicts { denied: 2, ..Verdicts::default() })]);
        metrics.show_counts(&Counts { verdicts, events_lost: 3, ..Counts::default() });
        let text = metrics.encode().unwrap();
        assert!(text.contains("stockade_enforcer_events_lost_total 3"), "{text}");
        assert!(text.contains(
            "stockade_enforcer_policy_verdicts_total{kind=\"TracingPolicyNamespaced\",policy_namespace=\"shop\",policy=\"p\",verdict=\"denied\"} 2"
        ), "{text}");
        assert!(text.ends_with("# EOF\n"));
        metrics.show_counts(&Counts::default());
        assert!(!metrics.encode().unwrap().contains("shop"), "a policy that is gone is left out");
    }

    #[test]
    fn a_policy_is_in_one_state() {
        let metrics = Metrics::default();
        for state in ["Retrying", "Programmed"] {
            let entry = serde_json::json!({"kind": "TracingPolicy", "name": "p", "state": state});
            let status: NodePolicyStateStatus =
                serde_json::from_value(serde_json::json!({"policies": [entry]})).unwrap();
            metrics.show_status(&status);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains("state=\"Programmed\"") && !text.contains("Retrying"), "{text}");
    }

    #[test]
    fn the_page_of_metrics_says_what_is_printed() {
        let metrics = Metrics::default();
        let id = PolicyId { kind: PolicyKind::Cluster, namespace: String::new(), name: "p".into() };
        let counts = Counts {
            verdicts: BTreeMap::from([(id, Verdicts::default())]),
            missed: BTreeMap::from([("base/exec".into(), 0)]),
            errors: BTreeMap::from([("path_too_long".into(), 0)]),
            ..Counts::default()
        };
        metrics.show_counts(&counts);
        let status = serde_json::json!({
            "policies": [{"kind": "TracingPolicy", "name": "p", "state": "Programmed"}],
            "conditions": [{"type": "Intact", "status": "True", "reason": "ReadBack", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        });
        metrics.show_status(&serde_json::from_value(status).unwrap());
        let text = metrics.encode().unwrap();
        let page = metrics_page::compare(&text, "stockade_enforcer");
        for verdict in ["matched", "denied", "would_deny", "fault", "limited"] {
            assert!(
                text.contains(&format!("verdict=\"{verdict}\"")) && page.contains(&format!("`{verdict}`")),
                "{verdict}"
            );
        }
        let places: String =
            Place::ALL.iter().map(|place| format!("| `{}` | {} |\n", place.name(), place.meaning().trim())).collect();
        assert!(page.contains(&places), "the places are now:\n{places}");
    }
}
