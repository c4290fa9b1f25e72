//! What `/metrics` shows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use stockade_crds::ConditionType;
use stockade_webhooks::server::Outcome;

use crate::view::View;

/// Policies by what their `Ready` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadyLabels {
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// The reason of `Ready`.
    pub reason: String,
}

/// Reviews by how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReviewLabels {
    /// `allowed`, `refused`, `malformed` or `overloaded`.
    pub outcome: String,
}

/// Every number that the operator exports.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    policies: Family<ReadyLabels, Gauge>,
    nodes: Gauge,
    covered: Gauge,
    leader: Gauge,
    reviews: Family<ReviewLabels, Counter>,
    review_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stockade_operator");
        let (policies, nodes, covered, leader) =
            (Family::default(), Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("policies", "Policies by the status and reason of Ready", Family::clone(&policies));
        registry.register("nodes", "Nodes of the cluster", nodes.clone());
        registry.register("nodes_covered", "Nodes with an enforcer", covered.clone());
        registry.register("leader", "1 on the replica that writes", leader.clone());
        let reviews = Family::default();
        let review_seconds = Histogram::new(exponential_buckets(0.0001, 4.0, 8));
        registry.register("reviews", "Admission reviews by how they ended", Family::clone(&reviews));
        registry.register("review_seconds", "Time to answer an admission review", review_seconds.clone());
        Self { registry: Mutex::new(registry), policies, nodes, covered, leader, reviews, review_seconds }
    }
}

impl Metrics {
    /// Takes in what the cluster holds.
    pub fn set(&self, view: &View) {
        // Nobody reads between what goes and what comes.
        let _reading = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.policies.clear();
        for policy in view.policies.values() {
            let conditions = policy.object.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
            let ready = conditions.into_iter().flatten().find(|c| c["type"] == ConditionType::Ready.as_str());
            let text = |key: &str| ready.and_then(|c| c.get(key)?.as_str()).unwrap_or("Unknown").to_owned();
            self.policies.get_or_create(&ReadyLabels { ready: text("status"), reason: text("reason") }).inc();
        }
        self.nodes.set(i64::try_from(view.nodes.len()).unwrap_or(i64::MAX));
        self.covered.set(i64::try_from(view.states.len()).unwrap_or(i64::MAX));
    }

    /// Takes in how a review ended.
    pub fn reviewed(&self, outcome: Outcome, took: Duration) {
        let outcome = match outcome {
            Outcome::Allowed => "allowed",
            Outcome::Refused => "refused",
            Outcome::Malformed => "malformed",
            Outcome::Overloaded => "overloaded",
        };
        self.reviews.get_or_create(&ReviewLabels { outcome: outcome.into() }).inc();
        self.review_seconds.observe(took.as_secs_f64());
    }

    /// Whether this replica writes.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

#[cfg(test)]
#[path = "../../testdata/metrics_page.rs"]
mod metrics_page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_metrics_says_what_is_printed() {
        let metrics = Metrics::default();
        metrics.reviewed(Outcome::Allowed, Duration::from_millis(1));
        let ready = ReadyLabels { ready: "True".into(), reason: "Enforced".into() };
        metrics.policies.get_or_create(&ready).set(1);
        let text = metrics.encode().unwrap();
        metrics_page::compare(&text, "stockade_operator");
    }
}
