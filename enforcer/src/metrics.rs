//! What `/metrics` shows: numbers that the kernel and the agent count. Label sets are bounded: policies and hooks, never
//! pods or binaries.

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A policy, by kind of verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyLabels {
    /// Its namespace; empty for the cluster-scoped kind.
    pub policy_namespace: String,
    /// Its name.
    pub policy: String,
    /// `denied`, `would_deny`, `matched`, `fault`.
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
    /// Its namespace.
    pub policy_namespace: String,
    /// Its name.
    pub policy: String,
    /// `Enforcing`, `Monitoring`, `Failed` …
    pub state: String,
}

/// Every number that the agent exports.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Verdicts of each policy, as the kernel counted them.
    pub verdicts: Family<PolicyLabels, Gauge>,
    /// Events lost because the ring was full.
    pub events_lost: Gauge,
    /// Events exported, and events that could not be written.
    pub events_written: Gauge,
    /// Events that could not be written.
    pub events_failed: Gauge,
    /// Calls a program did not see (`recursion_misses`), by program.
    pub missed: Family<PlaceLabels, Gauge>,
    /// Failures counted in the kernel, by place.
    pub kernel_errors: Family<PlaceLabels, Gauge>,
    /// 1 for the state that each policy is in.
    pub policy_state: Family<StateLabels, Gauge>,
    /// Executions in a pod that was not known yet: they were held to the strictest set.
    pub unknown_pod_execs: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stockade_enforcer");
        let metrics = Self {
            registry: Mutex::default(),
            verdicts: Family::default(),
            events_lost: Gauge::default(),
            events_written: Gauge::default(),
            events_failed: Gauge::default(),
            missed: Family::default(),
            kernel_errors: Family::default(),
            policy_state: Family::default(),
            unknown_pod_execs: Gauge::default(),
        };
        registry.register(
            "policy_verdicts",
            "Verdicts of each policy as the kernel counted them",
            metrics.verdicts.clone(),
        );
        registry.register("events_lost", "Events lost because the ring was full", metrics.events_lost.clone());
        registry.register("events_written", "Events exported", metrics.events_written.clone());
        registry.register("events_failed", "Events that could not be written", metrics.events_failed.clone());
        registry.register("program_missed_calls", "Calls that a program did not see", metrics.missed.clone());
        registry.register("kernel_errors", "Failures counted in the kernel", metrics.kernel_errors.clone());
        registry.register("policy_state", "1 for the state of each policy on this node", metrics.policy_state.clone());
        registry.register(
            "unknown_pod_execs",
            "Executions in a pod not known yet, held to the strictest set",
            metrics.unknown_pod_execs.clone(),
        );
        Self { registry: Mutex::new(registry), ..metrics }
    }
}

impl Metrics {
    /// The OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::default();
        metrics.events_lost.set(3);
        let labels = PolicyLabels { policy_namespace: "shop".into(), policy: "p".into(), verdict: "denied".into() };
        metrics.verdicts.get_or_create(&labels).set(2);
        let text = metrics.encode().unwrap();
        assert!(text.contains("stockade_enforcer_events_lost 3"), "{text}");
        assert!(text.contains(
            "stockade_enforcer_policy_verdicts{policy_namespace=\"shop\",policy=\"p\",verdict=\"denied\"} 2"
        ));
        assert!(text.ends_with("# EOF\n"));
    }
}
