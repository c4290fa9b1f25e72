//! Whether a node's agent lives, from Leases: the agent's own, and the kubelet's once that ran out.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};

use crate::rollup::Liveness;
use crate::view::View;

/// Where kubelets renew their Leases.
const KUBELET_LEASES: &str = "kube-node-lease";
/// A node younger than this is joining.
const JOINING: SignedDuration = SignedDuration::from_secs(60);
/// A kubelet's Lease that ran out is looked at again after this long.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Whether a Lease has run out.
#[must_use]
pub fn expired(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return true };
    let (Some(renewed), Some(seconds)) = (&spec.renew_time, spec.lease_duration_seconds) else { return true };
    now.duration_since(renewed.0) > SignedDuration::from_secs(i64::from(seconds))
}

/// The kubelets' Leases, as far as somebody had to look.
#[derive(Debug, Default)]
pub struct Kubelets(BTreeMap<String, (Timestamp, bool)>);

impl Kubelets {
    /// How the nodes with a state are, by name. Kubelets are asked about only where an agent's Lease ran out.
    pub async fn look(&mut self, client: &Client, stale: &[String], now: Timestamp) {
        self.0.retain(|node, _| stale.contains(node));
        let leases: Api<Lease> = Api::namespaced(client.clone(), KUBELET_LEASES);
        for node in stale {
            if self.0.get(node).is_some_and(|(at, _)| now.duration_since(*at) < LOOK_AGAIN) {
                continue;
            }
            let fresh = match leases.get_opt(node).await {
                Ok(lease) => lease.is_some_and(|lease| !expired(&lease, now)),
                Err(error) => {
                    tracing::warn!(%error, node, "the kubelet's Lease could not be read");
                    continue;
                }
            };
            self.0.insert(node.clone(), (now, fresh));
        }
    }

    /// What is concluded for a node whose agent's Lease ran out.
    fn of_stale(&self, node: &str) -> Liveness {
        match self.0.get(node) {
            Some((_, false)) => Liveness::Unreachable,
            Some((_, true)) | None => Liveness::AgentDown,
        }
    }

    /// How the agent of a node is.
    #[must_use]
    pub fn liveness(&self, view: &View, node: &str, now: Timestamp) -> Liveness {
        match view.leases.get(node) {
            Some(lease) if !expired(lease, now) => Liveness::Alive,
            _ => self.of_stale(node),
        }
    }
}

/// The nodes with a state whose agent's Lease ran out.
#[must_use]
pub fn stale(view: &View, now: Timestamp) -> Vec<String> {
    let is_stale = |node: &&String| view.leases.get(*node).is_none_or(|lease| expired(lease, now));
    view.states.keys().filter(|node| view.nodes.contains_key(*node)).filter(is_stale).cloned().collect()
}

/// Whether a node is younger than a minute.
#[must_use]
pub fn joining(view: &View, node: &str, now: Timestamp) -> bool {
    let created = view.nodes.get(node).and_then(|node| node.metadata.creation_timestamp.as_ref());
    created.is_some_and(|created| now.duration_since(created.0) < JOINING)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    #[test]
    fn a_lease_is_good_for_as_long_as_it_says() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let spec = LeaseSpec {
            renew_time: Some(MicroTime(at(100))),
            lease_duration_seconds: Some(45),
            ..LeaseSpec::default()
        };
        let lease = Lease { spec: Some(spec), ..Lease::default() };
        assert!(!expired(&lease, at(145)));
        assert!(expired(&lease, at(146)));
        assert!(expired(&Lease::default(), at(0)));
    }
}
