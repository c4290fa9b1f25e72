//! Whether a node's agent lives, from Leases: the agent's own, and the kubelet's once that ran out.
//!
//! A Lease is as old as the time since this replica saw it change. The times in it are the node's, whose clock may be
//! anywhere; they are compared only with each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use stockade_crds::{ConditionStatus, ConditionType, Reason};

use crate::rollup::Liveness;
use crate::view::{SharedView, View};

/// Where kubelets renew their Leases.
const KUBELET_LEASES: &str = "kube-node-lease";
/// A node younger than this is joining.
const JOINING: SignedDuration = SignedDuration::from_secs(60);
/// A kubelet's Lease is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a Lease says, and since when it has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// By the clock of the node.
    renewed: Option<Timestamp>,
    good_for: SignedDuration,
    /// When this replica first saw it like this.
    seen: Instant,
    /// It was there when this replica began to look, and nobody has renewed it since.
    found: bool,
}

impl Heartbeat {
    /// What `lease` says now; `before`: what was known of it. `found`: it was there before anybody looked.
    #[must_use]
    pub fn of(lease: &Lease, before: Option<&Self>, found: bool, now: Instant) -> Self {
        let spec = lease.spec.as_ref();
        let renewed = spec.and_then(|spec| Some(spec.renew_time.as_ref()?.0));
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let good_for = SignedDuration::from_secs(seconds.into());
        match before {
            Some(before) if before.renewed == renewed => Self { good_for, ..before.clone() },
            Some(_) => Self { renewed, good_for, seen: now, found: false },
            None => Self { renewed, good_for, seen: now, found },
        }
    }

    fn age(&self, now: Instant) -> SignedDuration {
        SignedDuration::try_from(now.saturating_duration_since(self.seen)).unwrap_or(SignedDuration::MAX)
    }

    fn ran_out(&self, now: Instant) -> bool {
        self.renewed.is_none() || self.age(now) > self.good_for
    }

    /// Whether it had run out already when it was first seen, going by another Lease of the same node: that one was renewed
    /// by the same clock, which has gone on since.
    fn ran_out_before(&self, other: &Self, now: Instant) -> bool {
        let (Some(own), Some(other_renewed)) = (self.renewed, other.renewed) else { return false };
        other_renewed.duration_since(own).saturating_add(other.age(now)) > self.good_for
    }
}

/// The kubelets' Leases, as far as somebody had to look.
#[derive(Debug, Default)]
pub struct Kubelets(BTreeMap<String, Kubelet>);

#[derive(Debug)]
struct Kubelet {
    looked: Instant,
    heartbeat: Option<Heartbeat>,
    /// What was concluded then: while nobody can look again, nothing else is.
    fresh: bool,
}

impl Kubelets {
    /// Looks at the kubelets of nodes whose agent's Lease ran out.
    pub async fn look(&mut self, client: &Client, view: &SharedView, stale: &[String]) {
        self.0.retain(|node, _| stale.contains(node));
        let leases: Api<Lease> = Api::namespaced(client.clone(), KUBELET_LEASES);
        for node in stale {
            let now = Instant::now();
            let recent = |kubelet: &Kubelet| now.saturating_duration_since(kubelet.looked) < LOOK_AGAIN;
            if self.0.get(node).is_some_and(recent) {
                continue;
            }
            match leases.get_opt(node).await {
                Ok(lease) => {
                    let agent = view.with(|view| view.leases.get(node).cloned());
                    self.see(node, lease.as_ref(), agent.as_ref(), Instant::now());
                }
                Err(error) => tracing::warn!(%error, node, "the kubelet's Lease could not be read"),
            }
        }
    }

    fn see(&mut self, node: &str, lease: Option<&Lease>, agent: Option<&Heartbeat>, now: Instant) {
        let before = self.0.get(node).and_then(|kubelet| kubelet.heartbeat.as_ref());
        let heartbeat = lease.map(|lease| Heartbeat::of(lease, before, true, now));
        // Once it has been seen to change, that it goes on changing says more than what it said at first.
        let ran_out_before =
            |kubelet: &Heartbeat| kubelet.found && agent.is_some_and(|agent| kubelet.ran_out_before(agent, now));
        let fresh = heartbeat.as_ref().is_some_and(|kubelet| !kubelet.ran_out(now) && !ran_out_before(kubelet));
        self.0.insert(node.to_owned(), Kubelet { looked: now, heartbeat, fresh });
    }

    /// How the agent of a node is.
    #[must_use]
    pub fn liveness(&self, view: &View, node: &str, now: Instant) -> Liveness {
        if !is_stale(view, node, now) {
            return Liveness::Alive;
        }
        // What has not changed since this replica began to look is as it was said to be.
        let changed = |kubelet: &Kubelet| kubelet.heartbeat.as_ref().is_some_and(|heartbeat| !heartbeat.found);
        match self.0.get(node) {
            Some(kubelet) if !kubelet.fresh => Liveness::Unreachable,
            Some(kubelet) if changed(kubelet) => Liveness::AgentDown,
            _ if said(view, node, |ready| ready.reason == Reason::NodesUnreachable.as_str()) => Liveness::Unreachable,
            _ => Liveness::AgentDown,
        }
    }
}

/// The nodes with a state whose agent's Lease ran out.
#[must_use]
pub fn stale(view: &View, now: Instant) -> Vec<String> {
    let known = view.states.keys().filter(|node| view.nodes.contains_key(*node));
    known.filter(|node| is_stale(view, node, now)).cloned().collect()
}

/// A Lease that was there when this replica began to look may be of any age: it counts as fresh, unless it has been said to
/// have run out.
fn is_stale(view: &View, node: &str, now: Instant) -> bool {
    let was_down = || said(view, node, |ready| ready.status == ConditionStatus::Unknown.as_str());
    view.leases.get(node).is_none_or(|lease| lease.ran_out(now) || (lease.found && was_down()))
}

/// What the condition `AgentReady` of a node says, by whichever replica it was written.
fn said(view: &View, node: &str, what: impl Fn(&Condition) -> bool) -> bool {
    let conditions = view.states.get(node).map(|state| &state.status.conditions);
    let mut ready = conditions.into_iter().flatten().filter(|c| c.type_ == ConditionType::AgentReady.as_str());
    ready.any(what)
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
    use stockade_crds::NodePolicyStateStatus;

    use super::*;
    use crate::view::NodeState;

    /// Renewed at this second of the node's clock, good for 45.
    fn lease(second: i64) -> Lease {
        let spec = LeaseSpec {
            renew_time: Some(MicroTime(Timestamp::from_second(second).unwrap())),
            lease_duration_seconds: Some(45),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn view(lease: Heartbeat) -> View {
        let mut view = View::default();
        view.leases.insert("n".into(), lease);
        view
    }

    #[test]
    fn a_lease_is_good_for_as_long_as_it_says_whatever_the_clock_of_its_node_says() {
        let start = Instant::now();
        for clock in [0, 1_000_000, 4_000_000_000] {
            let first = Heartbeat::of(&lease(clock), None, false, start);
            let same = Heartbeat::of(&lease(clock), Some(&first), false, after(start, 40));
            assert!(!same.ran_out(after(start, 45)) && same.ran_out(after(start, 46)), "seen again is not renewed");
            // A clock that was set back is a change, too.
            for renewed in [clock + 15, clock - 3600] {
                let next = Heartbeat::of(&lease(renewed), Some(&same), false, after(start, 40));
                assert!(!next.ran_out(after(start, 85)) && next.ran_out(after(start, 86)));
            }
        }
        assert!(Heartbeat::of(&Lease::default(), None, false, start).ran_out(start));
    }

    fn say(view: &mut View, status: ConditionStatus, reason: Reason) {
        let condition = Condition {
            type_: ConditionType::AgentReady.as_str().into(),
            status: status.as_str().into(),
            reason: reason.as_str().into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let status = NodePolicyStateStatus { conditions: vec![condition], ..Default::default() };
        view.states.insert("n".into(), NodeState { annotations: BTreeMap::new(), status });
    }

    #[test]
    fn what_was_down_before_this_replica_looked_is_down_until_it_renews() {
        let start = Instant::now();
        let found = Heartbeat::of(&lease(100), None, true, start);
        let mut view = view(found.clone());
        let mut kubelets = Kubelets::default();
        say(&mut view, ConditionStatus::True, Reason::AgentRunning);
        assert_eq!(kubelets.liveness(&view, "n", after(start, 45)), Liveness::Alive);
        assert_eq!(kubelets.liveness(&view, "n", after(start, 46)), Liveness::AgentDown);
        say(&mut view, ConditionStatus::Unknown, Reason::AgentDown);
        assert_eq!(kubelets.liveness(&view, "n", start), Liveness::AgentDown);
        // So is a kubelet: this one's Lease is as old as the agent's, and nobody has seen for how long.
        say(&mut view, ConditionStatus::Unknown, Reason::NodesUnreachable);
        kubelets.see("n", Some(&lease(105)), Some(&found), start);
        assert_eq!(kubelets.liveness(&view, "n", start), Liveness::Unreachable);
        kubelets.see("n", Some(&lease(900)), Some(&found), after(start, 10));
        assert_eq!(kubelets.liveness(&view, "n", after(start, 10)), Liveness::AgentDown);
        view.leases.insert("n".into(), Heartbeat::of(&lease(115), Some(&found), false, start));
        assert_eq!(kubelets.liveness(&view, "n", start), Liveness::Alive);
    }

    #[test]
    fn a_kubelet_is_judged_by_the_clock_of_its_own_node_and_by_whether_it_goes_on() {
        let start = Instant::now();
        let agent = Heartbeat::of(&lease(1000), None, false, start);
        let view = view(agent.clone());
        let mut kubelets = Kubelets::default();
        let mut seen = |kubelet: i64, seconds: u64| {
            let now = after(start, seconds);
            kubelets.see("n", Some(&lease(kubelet)), Some(&agent), now);
            kubelets.liveness(&view, "n", now)
        };
        // Both died at once: that is known at the first look.
        assert_eq!(seen(1005, 55), Liveness::Unreachable);
        // The kubelet goes on, and then it does not.
        assert_eq!(seen(1050, 60), Liveness::AgentDown);
        assert_eq!(seen(1050, 95), Liveness::AgentDown);
        assert_eq!(seen(1050, 106), Liveness::Unreachable);
        assert_eq!(seen(-2500, 110), Liveness::AgentDown, "the clock was set back: that it changes is what counts");
        let mut kubelets = Kubelets::default();
        kubelets.see("n", None, Some(&agent), after(start, 50));
        assert_eq!(kubelets.liveness(&view, "n", after(start, 50)), Liveness::Unreachable);
    }
}
