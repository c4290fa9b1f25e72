//! The agent's one loop: what is desired and who is there → the kernel → what is said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use stockade_crds::policy_status::magnitude;
use stockade_crds::{ConditionStatus, ConditionType, NodePolicyStateStatus, PolicyEntry, Reason};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_kernel::scope::{Pod, is_about};
use stockade_policy::ir::{PolicyId, Scope, ValidatedPolicy};

use crate::activity::Activities;
use crate::judged::{Judge, Judged};
use crate::kernel::{Counts, Integrity, Kernel, Population};
use crate::node_state::{self, Attempts, Outcome, Trouble};
use crate::pods::PodInfo;
use crate::runtimes::{Handlers, Runtimes};
use crate::source::Desired;

/// How often what is in the kernel is read back and probed.
pub const VERIFY_EVERY: Duration = Duration::from_secs(10);

/// The agent's memory between two rounds.
pub struct Agent<K> {
    kernel: Arc<Mutex<K>>,
    judge: Judge,
    attempts: Attempts,
    activities: Activities,
    applied: Option<(Vec<ValidatedPolicy>, Population)>,
    outcomes: BTreeMap<PolicyId, Outcome>,
    integrity: Integrity,
    conditions: Vec<Condition>,
    runtimes: Runtimes,
    handlers: Handlers,
}

/// What one round has found.
pub struct Round {
    /// For the `NodePolicyState`.
    pub status: NodePolicyStateStatus,
    /// When to try again what failed.
    pub retry_in: Option<Duration>,
    /// Why nothing can be done on this node at all, if so.
    pub down: Option<Trouble>,
}

impl<K: Kernel> Agent<K> {
    /// An agent that has done nothing yet.
    pub fn new(kernel: Arc<Mutex<K>>, judge: Judge) -> Self {
        Self {
            kernel,
            judge,
            attempts: Attempts::default(),
            activities: Activities::default(),
            applied: None,
            outcomes: BTreeMap::new(),
            integrity: Integrity::default(),
            conditions: Vec::new(),
            runtimes: Runtimes::default(),
            handlers: Handlers::default(),
        }
    }

    /// Told which runtimes are of the host's kernel beside those that everybody has.
    #[must_use]
    pub fn with_runtimes(self, runtimes: Runtimes) -> Self {
        Self { runtimes, ..self }
    }

    /// Takes in the handlers of RuntimeClasses.
    pub fn set_handlers(&mut self, handlers: Handlers) {
        self.handlers = handlers;
    }

    /// Judges what is desired. Its documents are what a restart goes on from: they are kept before they are made true.
    pub fn judge(&mut self, desired: &Desired) -> Judged {
        self.judge.judge(desired)
    }

    /// Makes true what was judged. `again`: also when nothing has changed, because something failed before.
    pub fn round(&mut self, judged: &Judged, population: &Population, again: bool, now: Instant) -> Round {
        let wanted = (judged.policies.clone(), population.clone());
        let changed = self.applied.as_ref() != Some(&wanted);
        if changed || again {
            let kernel = Arc::clone(&self.kernel);
            self.outcomes = kernel.lock().unwrap_or_else(PoisonError::into_inner).apply(&wanted.0, population);
            self.applied = Some(wanted);
            self.tell_who_is_not_seen(judged, population);
        }
        let known: Vec<&PolicyId> = judged.policies.iter().map(|policy| &policy.id).collect();
        self.attempts.forget_all_but(&known);
        let mut entries = self.entries(judged, now, changed || again);
        let counts = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).counts();
        self.activities.fill(&mut entries, &counts.verdicts, now);
        entries.sort_by(|a, b| (&a.kind, &a.namespace, &a.name).cmp(&(&b.kind, &b.namespace, &b.name)));
        let down = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).down();
        let status = self.status(entries, &counts, down.clone());
        Round { status, retry_in: self.attempts.next_in(), down }
    }

    /// Policies about pods are in force for nobody on a node whose pods cannot be told from the host's processes.
    fn tell_who_is_not_seen(&mut self, judged: &Judged, population: &Population) {
        let Some(why) = unseen(population) else { return };
        for policy in judged.policies.iter().filter(|policy| matches!(policy.scope, Scope::Some { .. })) {
            if let Some(outcome) = self.outcomes.get_mut(&policy.id) {
                outcome.trouble.get_or_insert_with(|| why.clone());
            }
        }
    }

    /// Reads back and probes; says whether something has to be repaired.
    pub fn verify(&mut self) -> bool {
        let kernel = Arc::clone(&self.kernel);
        self.integrity = kernel.lock().unwrap_or_else(PoisonError::into_inner).verify();
        for (id, what) in &self.integrity.tampered {
            if let Some(outcome) = self.outcomes.get_mut(id) {
                outcome.trouble = Some(Trouble { reason: Reason::Tampered, message: what.clone() });
            }
        }
        !self.integrity.tampered.is_empty() || self.integrity.base.is_some()
    }

    fn entries(&mut self, judged: &Judged, now: Instant, fresh: bool) -> Vec<PolicyEntry> {
        let mut entries = judged.entries.clone();
        for policy in &judged.policies {
            let Some(outcome) = self.outcomes.get(&policy.id) else { continue };
            // What is refused or waits has its entry already. Whether its older version is in force the kernel says.
            if let Some(entry) = entries.iter_mut().find(|entry| is_of(entry, policy)) {
                entry.generation_in_force = outcome.generation_in_force;
                continue;
            }
            let entry = if fresh {
                node_state::entry(policy, outcome, &mut self.attempts, now)
            } else {
                node_state::entry_as_before(policy, outcome, &self.attempts, now)
            };
            let beyond = self.sandboxed().filter(|pod| is_about(&policy.scope, &described(pod))).count();
            let pods_out_of_reach = (beyond > 0).then(|| magnitude(beyond as u64));
            entries.push(PolicyEntry { pods_out_of_reach, ..entry });
        }
        entries
    }

    /// The pods that no policy reaches.
    fn sandboxed(&self) -> impl Iterator<Item = &PodInfo> {
        let pods = self.applied.iter().flat_map(|(_, population)| population.pods.values());
        pods.filter(|pod| !self.runtimes.reaches(pod, &self.handlers))
    }

    fn pods_covered(&self) -> (ConditionStatus, Reason, String) {
        let classes: BTreeSet<&str> = self.sandboxed().filter_map(|pod| pod.runtime_class.as_deref()).collect();
        if classes.is_empty() {
            let message = "what pods do here is done by this node's kernel";
            return (ConditionStatus::True, Reason::HostKernel, message.into());
        }
        let classes = Vec::from_iter(classes).join(", ");
        let number = magnitude(self.sandboxed().count() as u64);
        let message = format!(
            "{number} pods have a runtime with a kernel of its own, where no policy reaches (RuntimeClass: {classes}); a \
             handler that has none is named in the chart's enforcer.hostKernelRuntimes"
        );
        (ConditionStatus::False, Reason::SandboxedPods, message)
    }

    fn status(&mut self, policies: Vec<PolicyEntry>, counts: &Counts, down: Option<Trouble>) -> NodePolicyStateStatus {
        let facts = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).facts();
        let unseen = self.applied.as_ref().and_then(|(_, population)| unseen(population));
        let supported = match down.or(unseen) {
            Some(why) => (ConditionStatus::False, why.reason, why.message),
            None => kernel_supported(&facts.features, &facts.lsm),
        };
        let intact = match &self.integrity.base {
            Some(trouble) => (ConditionStatus::False, trouble.reason, trouble.message.clone()),
            None if self.integrity.tampered.is_empty() => whole(counts, &self.integrity),
            None => {
                let what: Vec<_> = self.integrity.tampered.values().map(String::as_str).collect();
                (ConditionStatus::False, Reason::Tampered, what.join("; "))
            }
        };
        let conditions = vec![
            condition(&self.conditions, ConditionType::KernelSupported, supported),
            condition(&self.conditions, ConditionType::Intact, intact),
            condition(&self.conditions, ConditionType::PodsCovered, self.pods_covered()),
        ];
        self.conditions.clone_from(&conditions);
        NodePolicyStateStatus { facts: Some(facts), policies, conditions }
    }
}

/// A pod in the engine's terms, as far as a scope asks for it.
fn described(pod: &PodInfo) -> Pod {
    Pod { namespace: pod.namespace.clone(), labels: pod.labels.clone(), ..Pod::default() }
}

fn is_of(entry: &PolicyEntry, policy: &ValidatedPolicy) -> bool {
    let namespace = entry.namespace.as_deref().unwrap_or_default();
    let kind = node_state::kind_of(&policy.id);
    entry.kind == kind && entry.name == policy.id.name && namespace == policy.id.namespace
}

fn kernel_supported(features: &[String], lsm: &[String]) -> (ConditionStatus, Reason, String) {
    let has = |feature: &str| features.iter().any(|f| f == feature);
    let lacks = |reason, text: &str| (ConditionStatus::False, reason, text.to_owned());
    if !has("btf") {
        lacks(Reason::BtfMissing, "the kernel publishes no BTF (/sys/kernel/btf/vmlinux): nothing can be loaded")
    } else if !lsm.iter().any(|name| name == "bpf") {
        lacks(
            Reason::BpfLsmMissing,
            "bpf is not in /sys/kernel/security/lsm: nothing can be denied here; add it to the kernel's lsm= argument",
        )
    } else if !has("cgroup2") {
        lacks(Reason::CgroupV2Missing, "no unified cgroup hierarchy: only policies without a scope run here")
    } else {
        (ConditionStatus::True, Reason::KernelSupported, "the kernel has what enforcement needs".into())
    }
}

/// Why no pod's cgroup is found though there are pods: the kubelet keeps them elsewhere.
fn unseen(population: &Population) -> Option<Trouble> {
    let seen = population.pods.is_empty() || !population.cgroups.pod_roots.is_empty();
    let message = "there are pods, and none of the kubelet's cgroups (kubepods, kubepods.slice) is where it is looked for: \
                   policies about pods reach none here";
    (!seen).then(|| Trouble { reason: Reason::CgroupV2Missing, message: message.into() })
}

/// The tables that decide; one without room leaves processes without what verdicts need.
const TABLES: [Place; 2] = [Place::ProcessFull, Place::BinaryFull];

/// Whether anything was lost for want of room: in orders of magnitude, because nothing is written when a counter moves.
fn whole(counts: &Counts, integrity: &Integrity) -> (ConditionStatus, Reason, String) {
    let lost = |place: Place| counts.errors.get(place.name()).copied().unwrap_or_default();
    let described = |place: Place| format!("{}: {}", place.name(), magnitude(lost(place)));
    let full: Vec<String> = TABLES.into_iter().filter(|table| lost(*table) > 0).map(described).collect();
    if !full.is_empty() {
        return (ConditionStatus::False, Reason::TableFull, full.join(", "));
    }
    let (deciding, observing) = missed(counts);
    if !deciding.is_empty() {
        let message = format!("calls that programs which decide did not see: {}", deciding.join(", "));
        return (ConditionStatus::False, Reason::CallsMissed, message);
    }
    let Integrity { probed, read_back, .. } = integrity;
    let mut message = format!("hooks that answered a probe: {probed}; that were read back as written: {read_back}");
    if counts.events_lost > 0 {
        message = format!("{message}; events lost because the ring was full: {}", magnitude(counts.events_lost));
    }
    if !observing.is_empty() {
        message = format!("{message}; calls that probes did not see: {}", observing.join(", "));
    }
    (ConditionStatus::True, Reason::ReadBack, message)
}

/// The programs that missed calls, and about how many: those that refuse, and probes, which report and signal. The kernel does
/// not run a probe on a CPU that is in the middle of another program; one that decides it always runs.
fn missed(counts: &Counts) -> (Vec<String>, Vec<String>) {
    let missed = counts.missed.iter().filter(|(_, count)| **count > 0);
    let described = missed.map(|(program, count)| (program, format!("{program}: {}", magnitude(*count))));
    let (deciding, observing): (Vec<_>, Vec<_>) =
        described.partition(|(program, _)| program.starts_with("lsm_") || program.starts_with("base/"));
    let texts = |programs: Vec<(&String, String)>| programs.into_iter().map(|(_, text)| text).collect();
    (texts(deciding), texts(observing))
}

/// A condition whose time changes only with its status.
fn condition(
    before: &[Condition],
    kind: ConditionType,
    (status, reason, message): (ConditionStatus, Reason, String),
) -> Condition {
    let known = before.iter().find(|c| c.type_ == kind.as_str() && c.status == status.as_str());
    Condition {
        type_: kind.as_str().into(),
        status: status.as_str().into(),
        reason: reason.as_str().into(),
        message: node_state::shorten(&message),
        last_transition_time: known.map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone()),
        observed_generation: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stockade_crds::{EntryState, NodeFactsStatus};

    use super::*;

    /// A kernel that can do everything.
    struct Able;

    impl Kernel for Able {
        fn facts(&self) -> NodeFactsStatus {
            let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            NodeFactsStatus { lsm: text(&["bpf"]), features: text(&["btf", "cgroup2"]), ..Default::default() }
        }

        fn down(&self) -> Option<Trouble> {
            None
        }

        fn apply(&mut self, policies: &[ValidatedPolicy], _: &Population) -> BTreeMap<PolicyId, Outcome> {
            let outcome = |policy: &ValidatedPolicy| Outcome {
                generation_in_force: Some(policy.generation),
                digest: String::new(),
                strength: None,
                trouble: None,
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

    #[test]
    fn a_policy_about_pods_is_not_in_force_where_no_pod_is_seen() {
        let policy = |kind: &str, name: &str| {
            json!({
                "apiVersion": "cilium.io/v1alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
                "spec": {"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}]}]},
            })
        };
        let policies = BTreeMap::from([
            ("a".to_owned(), policy("TracingPolicy", "everybody")),
            ("b".to_owned(), policy("TracingPolicyNamespaced", "pods")),
        ]);
        let mut agent = Agent::new(Arc::new(Mutex::new(Able)), Judge::default());
        let judged = agent.judge(&Desired { policies, ..Desired::default() });
        let mut population = Population::default();
        population.pods.insert("u".into(), PodInfo::default());
        let states = |round: Round| round.status.policies.into_iter().map(|entry| entry.state).collect::<Vec<_>>();
        let blind = agent.round(&judged, &population, false, Instant::now());
        assert_eq!(blind.status.conditions[0].reason, Reason::CgroupV2Missing.as_str());
        assert_eq!(states(blind), [EntryState::Programmed, EntryState::Retrying]);
        population.cgroups.pod_roots.push(1);
        let round = agent.round(&judged, &population, false, Instant::now());
        assert_eq!(states(round), [EntryState::Programmed, EntryState::Programmed]);
    }

    #[test]
    fn pods_with_a_kernel_of_their_own_are_told_of_and_counted_by_the_policies_that_are_about_them() {
        let policy = |kind: &str, name: &str, namespace: &str| {
            json!({
                "apiVersion": "cilium.io/v1alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": namespace, "uid": name, "generation": 1},
                "spec": {"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}]}]},
            })
        };
        let policies = BTreeMap::from([
            ("a".to_owned(), policy("TracingPolicy", "everybody", "")),
            ("b".to_owned(), policy("TracingPolicyNamespaced", "other", "other")),
            ("c".to_owned(), policy("TracingPolicyNamespaced", "shop", "shop")),
        ]);
        let mut agent = Agent::new(Arc::new(Mutex::new(Able)), Judge::default());
        let judged = agent.judge(&Desired { policies, ..Desired::default() });
        let mut population = Population::default();
        population.cgroups.pod_roots.push(1);
        let safe = PodInfo { namespace: "shop".into(), runtime_class: Some("safe".into()), ..PodInfo::default() };
        population.pods.insert("u".into(), safe);
        population.pods.insert("v".into(), PodInfo { namespace: "shop".into(), ..PodInfo::default() });
        let round = |agent: &mut Agent<Able>| {
            let status = agent.round(&judged, &population, false, Instant::now()).status;
            let covered = status.conditions.iter().find(|c| c.type_ == ConditionType::PodsCovered.as_str()).cloned();
            let beyond: Vec<_> = status.policies.into_iter().map(|entry| entry.pods_out_of_reach).collect();
            (covered.unwrap(), beyond)
        };
        let (covered, beyond) = round(&mut agent);
        assert_eq!((covered.status.as_str(), covered.reason.as_str()), ("False", Reason::SandboxedPods.as_str()));
        assert!(covered.message.starts_with("1+ pods") && covered.message.contains("safe"), "{}", covered.message);
        assert_eq!(beyond, [Some("1+".to_owned()), None, Some("1+".to_owned())]);
        agent.set_handlers(Handlers::from([("safe".into(), "crun".into())]));
        let (covered, beyond) = round(&mut agent);
        assert_eq!((covered.status.as_str(), covered.reason.as_str()), ("True", Reason::HostKernel.as_str()));
        assert_eq!(beyond, [None, None, None]);
    }

    #[test]
    fn a_full_table_is_a_condition_and_lost_events_are_said_in_orders_of_magnitude() {
        let integrity = Integrity { probed: 2, read_back: 1, ..Integrity::default() };
        let mut counts = Counts { events_lost: 4321, ..Counts::default() };
        let (status, _, message) = whole(&counts, &integrity);
        assert_eq!(status, ConditionStatus::True);
        assert!(message.contains("probe: 2;") && message.ends_with("1000+"), "{message}");
        counts.missed.insert("kprobe_fd_install-01".into(), 30);
        counts.missed.insert("lsm_file_open-02".into(), 0);
        let (status, _, message) = whole(&counts, &integrity);
        assert_eq!(status, ConditionStatus::True);
        assert!(message.ends_with("calls that probes did not see: kprobe_fd_install-01: 10+"), "{message}");
        counts.missed.insert("lsm_file_open-02".into(), 1);
        let (status, reason, message) = whole(&counts, &integrity);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::CallsMissed));
        assert!(message.ends_with("which decide did not see: lsm_file_open-02: 1+"), "{message}");
        counts.errors.insert("process_full".into(), 7);
        assert_eq!(whole(&counts, &integrity), (ConditionStatus::False, Reason::TableFull, "process_full: 1+".into()));
    }
}
