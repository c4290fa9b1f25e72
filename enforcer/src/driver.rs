//! Drives the agent: whenever what is desired or who is there changes, when something is due to be tried again, and every
//! few seconds to read back what is in the kernel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use stockade_crds::{NodePolicyStateStatus, Reason};
use stockade_enforcer_kernel::Progress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Round, VERIFY_EVERY};
use crate::cgroups::CgroupTree;
use crate::health::Readiness;
use crate::kernel::{Kernel, Population};
use crate::metrics::Metrics;
use crate::node_state::Trouble;
use crate::runtimes::Handlers;
use crate::source::PolicyKey;
use crate::source::cluster::ClusterView;
use crate::source::last_known::{LastKnown, LastPopulation};

/// The name under which the desired policies are waited for.
pub const POLICIES: &str = "policies";

/// The name under which the kernel engine is waited for.
const KERNEL: &str = "kernel";

/// What the driver reads and writes.
pub struct Wiring {
    /// What the source says.
    pub view: watch::Receiver<ClusterView>,
    /// What the cgroup tree holds.
    pub trees: watch::Receiver<CgroupTree>,
    /// The handlers of RuntimeClasses.
    pub handlers: watch::Receiver<Handlers>,
    /// What the node says.
    pub status: watch::Sender<Option<NodePolicyStateStatus>>,
    /// Where accepted policies are kept for a restart.
    pub last_known: LastKnown,
    /// Whether the agent is ready.
    pub readiness: Readiness,
    /// What the node says, as numbers.
    pub metrics: Arc<Metrics>,
    /// Told at each round, and by the engine at each of its steps.
    pub progress: Progress,
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
    /// Nobody says any more what is desired: a defect.
    SourceGone,
}

/// Runs until the agent shall end or detach.
pub async fn drive<K: Kernel>(mut agent: Agent<K>, mut wiring: Wiring) -> Ended {
    let mut again = false;
    let mut retry_at: Option<Instant> = None;
    let mut kept = Kept::default();
    let mut verify = tokio::time::interval(VERIFY_EVERY);
    verify.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    verify.reset();
    loop {
        wiring.progress.step();
        let view = wiring.view.borrow_and_update().clone();
        if view.detach {
            return Ended::Detach;
        }
        let cgroups = wiring.trees.borrow_and_update().clone();
        agent.set_handlers(wiring.handlers.borrow_and_update().clone());
        if view.complete || view.last_known {
            let round = tokio::task::block_in_place(|| kept.round(&mut agent, &wiring, view, cgroups, again));
            // The time of a retry does not move when something else happens meanwhile.
            let due = round.retry_in.map(|time| Instant::now() + time);
            let open = retry_at.filter(|at| !again && *at > Instant::now());
            retry_at = due.map(|due| open.map_or(due, |open| open.min(due)));
            wiring.progress.step();
            wiring.say(round);
        }
        // Reading back comes round soon enough for this not to look like being stuck.
        again = tokio::select! {
            () = wiring.stop.cancelled() => return Ended::Stopped,
            changed = wiring.view.changed() => {
                if changed.is_err() {
                    return Ended::SourceGone;
                }
                false
            }
            () = changed(&mut wiring.trees) => false,
            () = changed(&mut wiring.handlers) => false,
            () = wait(retry_at) => true,
            _ = verify.tick() => tokio::task::block_in_place(|| agent.verify()),
        };
    }
}

/// What is on the disk for a restart.
#[derive(Default)]
struct Kept {
    policies: Option<BTreeMap<PolicyKey, Value>>,
    population: Option<LastPopulation>,
}

impl Kept {
    fn round<K: Kernel>(
        &mut self,
        agent: &mut Agent<K>,
        wiring: &Wiring,
        view: ClusterView,
        cgroups: CgroupTree,
        again: bool,
    ) -> Round {
        let judged = agent.judge(&view.desired);
        // Kept before they are in force: what an agent that was killed has put into the kernel, its successor knows.
        if view.complete && self.policies.as_ref() != Some(&judged.last_good) {
            match wiring.last_known.save(&judged.last_good) {
                Ok(()) => self.policies = Some(judged.last_good.clone()),
                Err(error) => tracing::error!(%error, "the policies could not be kept for a restart"),
            }
        }
        let population = Population { cgroups, pods: view.desired.pods };
        let round = agent.round(&judged, &population, again, Instant::now());
        let who = LastPopulation { pods: population.pods, node_labels: view.desired.node_labels };
        if view.complete && self.population.as_ref() != Some(&who) {
            match wiring.last_known.save_population(&who) {
                Ok(()) => self.population = Some(who),
                Err(error) => tracing::error!(%error, "the pods could not be kept for a restart"),
            }
        }
        round
    }
}

impl Wiring {
    fn say(&self, round: Round) {
        self.metrics.show_status(&round.status);
        let refused = round.down.as_ref().is_some_and(|trouble| trouble.reason == Reason::SecondEnforcer);
        match round.down {
            None => self.readiness.ready(KERNEL),
            Some(Trouble { reason, message }) => {
                let why = format!("{reason}: {message}");
                match reason {
                    // Somebody else is at work here, and this agent refuses to be.
                    Reason::SecondEnforcer | Reason::UpstreamAgentRunning => self.readiness.wait_for(KERNEL, why),
                    // Every policy is reported as failed. That a node cannot do it must not hold up other nodes' agents.
                    _ => self.readiness.note(KERNEL, why),
                }
            }
        }
        self.readiness.ready(POLICIES);
        // The node's state is the first enforcer's to tell.
        if !refused {
            self.status.send_replace(Some(round.status));
        }
    }
}

/// Waits for a change; for ever when nobody follows what changes any more.
async fn changed<T>(followed: &mut watch::Receiver<T>) {
    if followed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until then; for ever without a time.
async fn wait(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::json;
    use stockade_crds::{EntryState, NodeFactsStatus};
    use stockade_policy::ir::{PolicyId, ValidatedPolicy};

    use super::*;
    use crate::health::Health;
    use crate::judged::Judge;
    use crate::kernel::{Counts, Integrity};
    use crate::node_state::Outcome;
    use crate::source::Desired;

    /// A kernel that refuses the first `failures` attempts and remembers what it was given.
    #[derive(Default)]
    struct Fake {
        failures: usize,
        applied: Vec<Vec<(String, i64)>>,
        down: Option<Trouble>,
        /// Applies nothing before it is told to.
        gate: Option<std::sync::mpsc::Receiver<()>>,
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
            self.down.clone()
        }

        fn apply(&mut self, policies: &[ValidatedPolicy], _: &Population) -> BTreeMap<PolicyId, Outcome> {
            if let Some(gate) = &self.gate {
                gate.recv().unwrap();
            }
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
        readiness: Readiness,
        metrics: Arc<Metrics>,
        progress: Progress,
        trees: Option<watch::Sender<CgroupTree>>,
        dir: tempfile::TempDir,
    }

    fn start(failures: usize) -> Running {
        start_with(Fake { failures, ..Fake::default() })
    }

    fn start_with(fake: Fake) -> Running {
        let kernel = Arc::new(Mutex::new(fake));
        let (view, views) = watch::channel(ClusterView::default());
        let (trees, tree) = watch::channel(CgroupTree::default());
        let (status, statuses) = watch::channel(None);
        let dir = tempfile::tempdir().unwrap();
        let (readiness, metrics) = (Readiness::default(), Arc::new(Metrics::default()));
        let progress = Progress::with_longest_step(Duration::from_secs(1));
        let wiring = Wiring {
            view: views,
            trees: tree,
            handlers: watch::channel(Handlers::default()).1,
            status,
            last_known: LastKnown::in_state_dir(dir.path()),
            readiness: readiness.clone(),
            metrics: Arc::clone(&metrics),
            progress: progress.clone(),
            stop: CancellationToken::new(),
        };
        tokio::spawn(drive(Agent::new(Arc::clone(&kernel), Judge::default()), wiring));
        Running { view, status: statuses, kernel, readiness, metrics, progress, trees: Some(trees), dir }
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

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_due_for_a_policy_that_was_deleted_while_it_failed() {
        let mut running = start(usize::MAX);
        running.view.send_replace(desired(policy(1, &good())));
        running.status.wait_for(Option::is_some).await.unwrap();
        running.view.send_replace(ClusterView { complete: true, ..ClusterView::default() });
        running.status.wait_for(|s| s.as_ref().is_some_and(|s| s.policies.is_empty())).await.unwrap();
        let applied = running.kernel.lock().unwrap().applied.len();
        // The first retry would be due after 2 s.
        assert!(tokio::time::timeout(Duration::from_secs(3), running.status.changed()).await.is_err());
        assert_eq!(running.kernel.lock().unwrap().applied.len(), applied);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn changes_that_never_end_do_not_hold_up_a_retry() {
        let mut running = start(1);
        running.view.send_replace(desired(policy(1, &good())));
        let view = running.view.clone();
        let noise = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                view.send_modify(|_| {});
            }
        });
        let programmed = |status: &Option<NodePolicyStateStatus>| {
            status.as_ref().and_then(|s| s.policies.first()).is_some_and(|entry| entry.state == EntryState::Programmed)
        };
        tokio::time::timeout(Duration::from_secs(10), running.status.wait_for(programmed)).await.unwrap().unwrap();
        noise.abort();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_accepted_and_who_is_here_is_kept_for_a_restart() {
        let mut running = start(0);
        let mut view = desired(policy(1, &good()));
        view.desired.pods.insert("u".into(), crate::pods::PodInfo::default());
        running.view.send_replace(view);
        running.status.wait_for(Option::is_some).await.unwrap();
        let kept = LastKnown::in_state_dir(running.dir.path());
        assert!(kept.policies().unwrap().contains_key("TracingPolicy//p"));
        assert!(kept.population().unwrap().pods.contains_key("u"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_an_engine_the_reason_is_told_and_another_enforcer_is_refused() {
        for (reason, ready) in [(Reason::BpfLsmMissing, true), (Reason::SecondEnforcer, false)] {
            let down = Some(Trouble { reason, message: "why".into() });
            let mut running = start_with(Fake { down, ..Fake::default() });
            running.view.send_replace(desired(policy(1, &good())));
            let line = format!("kernel: {reason}: why\n");
            while !(running.readiness.reasons() + &running.readiness.notes()).contains(&line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if ready {
                running.status.wait_for(Option::is_some).await.unwrap();
            } else {
                assert!(running.status.borrow().is_none(), "what the node's state says is the first enforcer's");
            }
            let (reasons, notes) = (running.readiness.reasons(), running.readiness.notes());
            assert_eq!(if ready { notes } else { reasons.clone() }, line);
            assert_eq!(reasons.is_empty(), ready);
            let text = running.metrics.encode().unwrap();
            assert!(text.contains(&format!("status=\"False\",reason=\"{reason}\"")), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_driver_that_waits_for_the_kernel_for_ever_looks_dead_until_it_gets_on() {
        let (open, gate) = std::sync::mpsc::channel();
        let mut running = start_with(Fake { gate: Some(gate), ..Fake::default() });
        let health = Health {
            readiness: running.readiness.clone(),
            metrics: Arc::clone(&running.metrics),
            progress: running.progress.clone(),
        };
        running.view.send_replace(desired(policy(1, &good())));
        while health.alive().is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(health.alive().unwrap_err().starts_with("the driver has made no step for "));
        open.send(()).unwrap();
        running.status.wait_for(Option::is_some).await.unwrap();
        // Of this test's steps none may take longer than a second, which a busy machine may need until here: the next one tells.
        while health.alive().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_agent_whose_cgroups_nobody_follows_goes_on() {
        let mut running = start(0);
        drop(running.trees.take());
        running.view.send_replace(desired(policy(1, &good())));
        running.status.wait_for(Option::is_some).await.unwrap();
        running.view.send_replace(desired(policy(2, &good())));
        running.status.wait_for(|s| s.as_ref().is_some_and(|s| s.policies[0].generation == 2)).await.unwrap();
    }
}
