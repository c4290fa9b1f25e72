//! Drives the agent: whenever what is desired or who is there changes, when something is due to be tried again, and every
//! few seconds to read back what is in the kernel.

use std::time::{Duration, Instant};

use stockade_crds::NodePolicyStateStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, VERIFY_EVERY};
use crate::cgroups::CgroupTree;
use crate::health::Readiness;
use crate::kernel::{Kernel, Population};
use crate::source::cluster::ClusterView;
use crate::source::last_known::LastKnown;

/// The name under which the desired policies are waited for.
pub const POLICIES: &str = "policies";

/// What the driver reads and writes.
pub struct Wiring {
    /// What the source says.
    pub view: watch::Receiver<ClusterView>,
    /// What the cgroup tree holds.
    pub trees: watch::Receiver<CgroupTree>,
    /// What the node says.
    pub status: watch::Sender<Option<NodePolicyStateStatus>>,
    /// Where accepted policies are kept for a restart.
    pub last_known: LastKnown,
    /// Whether the agent is ready.
    pub readiness: Readiness,
    /// The agent shall end; what is pinned stays.
    pub stop: CancellationToken,
}

/// Why the driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The agent shall end.
    Stopped,
    /// The agent was asked to detach everything.
    Detach,
}

/// Runs until the agent shall end or detach.
pub async fn drive<K: Kernel>(mut agent: Agent<K>, mut wiring: Wiring) -> Ended {
    let mut again = false;
    let mut saved = None;
    let mut verify = tokio::time::interval(VERIFY_EVERY);
    verify.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    verify.reset();
    loop {
        let view = wiring.view.borrow_and_update().clone();
        if view.detach {
            return Ended::Detach;
        }
        let cgroups = wiring.trees.borrow_and_update().clone();
        let mut retry_in = None;
        if view.complete || view.last_known {
            let population = Population { cgroups, pods: view.desired.pods.clone() };
            let round = tokio::task::block_in_place(|| agent.round(&view.desired, &population, again, Instant::now()));
            retry_in = round.retry_in;
            wiring.status.send_replace(Some(round.status));
            wiring.readiness.ready(POLICIES);
            if view.complete && saved.as_ref() != Some(&round.judged.last_good) {
                match wiring.last_known.save(&round.judged.last_good) {
                    Ok(()) => saved = Some(round.judged.last_good),
                    Err(error) => tracing::error!(%error, "the policies could not be kept for a restart"),
                }
            }
        }
        again = tokio::select! {
            () = wiring.stop.cancelled() => return Ended::Stopped,
            changed = wiring.view.changed() => {
                if changed.is_err() {
                    return Ended::Stopped;
                }
                false
            }
            changed = wiring.trees.changed() => {
                if changed.is_err() {
                    return Ended::Stopped;
                }
                false
            }
            () = wait(retry_in) => true,
            _ = verify.tick() => tokio::task::block_in_place(|| agent.verify()),
        };
    }
}

/// Waits that long; for ever without a time.
async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use stockade_crds::{EntryState, NodeFactsStatus, Reason};
    use stockade_policy::ir::{PolicyId, ValidatedPolicy};

    use super::*;
    use crate::judged::Judge;
    use crate::kernel::{Counts, Integrity};
    use crate::node_state::{Outcome, Trouble};
    use crate::source::Desired;

    /// A kernel that refuses the first `failures` attempts and remembers what it was given.
    #[derive(Default)]
    struct Fake {
        failures: usize,
        applied: Vec<Vec<(String, i64)>>,
    }

    impl Kernel for Fake {
        fn facts(&self) -> NodeFactsStatus {
            NodeFactsStatus {
                lsm: vec!["bpf".into()],
                features: vec!["btf".into(), "cgroup2".into()],
                ..Default::default()
            }
        }

        fn down(&self) -> Option<Trouble> {
            None
        }

        fn apply(&mut self, policies: &[ValidatedPolicy], _: &Population) -> BTreeMap<PolicyId, Outcome> {
            self.applied.push(policies.iter().map(|p| (p.id.name.clone(), p.generation)).collect());
            let fails = self.failures > 0;
            self.failures = self.failures.saturating_sub(1);
            let outcome = |policy: &ValidatedPolicy| Outcome {
                generation_in_force: (!fails).then_some(policy.generation),
                digest: "d".into(),
                strength: None,
                trouble: fails.then(|| Trouble { reason: Reason::LoadFailed, message: "not yet".into() }),
                hooks: Vec::new(),
            };
            policies.iter().map(|policy| (policy.id.clone(), outcome(policy))).collect()
        }

        fn verify(&mut self) -> Integrity {
            Integrity::default()
        }

        fn counts(&mut self) -> Counts {
            Counts::default()
        }
    }

    fn policy(generation: i64, hooks: &serde_json::Value) -> serde_json::Value {
        json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": "p", "uid": "u", "generation": generation},
            "spec": {"lsmhooks": hooks},
        })
    }

    fn good() -> serde_json::Value {
        json!([{"hook": "file_open", "args": [{"index": 0, "type": "file"}],
            "selectors": [{"matchArgs": [{"index": 0, "operator": "Prefix", "values": ["/etc/"]}]}]}])
    }

    struct Running {
        view: watch::Sender<ClusterView>,
        status: watch::Receiver<Option<NodePolicyStateStatus>>,
        kernel: Arc<Mutex<Fake>>,
        _trees: watch::Sender<CgroupTree>,
        _dir: tempfile::TempDir,
    }

    fn start(failures: usize) -> Running {
        let kernel = Arc::new(Mutex::new(Fake { failures, ..Fake::default() }));
        let (view, views) = watch::channel(ClusterView::default());
        let (trees, tree) = watch::channel(CgroupTree::default());
        let (status, statuses) = watch::channel(None);
        let dir = tempfile::tempdir().unwrap();
        let wiring = Wiring {
            view: views,
            trees: tree,
            status,
            last_known: LastKnown::in_state_dir(dir.path()),
            readiness: Readiness::default(),
            stop: CancellationToken::new(),
        };
        tokio::spawn(drive(Agent::new(Arc::clone(&kernel), Judge::default()), wiring));
        Running { view, status: statuses, kernel, _trees: trees, _dir: dir }
    }

    fn desired(object: serde_json::Value) -> ClusterView {
        let policies = BTreeMap::from([("TracingPolicy//p".to_owned(), object)]);
        ClusterView { desired: Desired { policies, ..Desired::default() }, complete: true, ..ClusterView::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_applied_before_every_list_is_complete() {
        let mut running = start(0);
        running.view.send_modify(|view| view.desired = desired(policy(1, &good())).desired);
        running.view.send_replace(desired(policy(1, &good())));
        running.status.wait_for(Option::is_some).await.unwrap();
        assert_eq!(running.kernel.lock().unwrap().applied, [[("p".to_owned(), 1)]]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_load_is_tried_again_without_any_change() {
        let mut running = start(1);
        running.view.send_replace(desired(policy(1, &good())));
        let state =
            |status: &Option<NodePolicyStateStatus>| status.as_ref().and_then(|s| Some(s.policies.first()?.state));
        running.status.wait_for(|status| state(status) == Some(EntryState::Retrying)).await.unwrap();
        running.status.wait_for(|status| state(status) == Some(EntryState::Programmed)).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_edit_leaves_the_older_generation_in_force_and_says_so() {
        let mut running = start(0);
        running.view.send_replace(desired(policy(1, &good())));
        running.status.wait_for(Option::is_some).await.unwrap();
        running.view.send_replace(desired(policy(2, &json!([{"hook": "file_open", "nonsense": true}]))));
        let refused = |status: &Option<NodePolicyStateStatus>| {
            status
                .as_ref()
                .and_then(|s| s.policies.first())
                .filter(|entry| entry.reason == Some(Reason::Invalid))
                .cloned()
        };
        let status = running.status.wait_for(|status| refused(status).is_some()).await.unwrap().clone();
        let entry = refused(&status).unwrap();
        assert_eq!((entry.generation, entry.generation_in_force), (2, Some(1)));
        assert_eq!(status.unwrap().policies.len(), 1);
        assert_eq!(running.kernel.lock().unwrap().applied.last().unwrap(), &[("p".to_owned(), 1)]);
    }
}
