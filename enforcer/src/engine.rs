//! The kernel engine as the agent sees it: started when it can be, with a named reason when it cannot.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use stockade_crds::node_policy_state::{HookEntry, hook_signature};
use stockade_crds::{NodeFactsStatus, Reason, Strength};
use stockade_enforcer_kernel::engine::{self, Engine};
use stockade_enforcer_kernel::event::{DecodeError, Event};
use stockade_enforcer_kernel::report::{self, HookReport, PolicyReport};
use stockade_enforcer_kernel::scope::{Container, Pod, ScopeSnapshot};
use stockade_enforcer_kernel::start::{Options, StartError};
use stockade_enforcer_kernel::{Checked, Progress};
use stockade_policy::NodeFacts;
use stockade_policy::ir::{self, PolicyId, ValidatedPolicy};

use crate::counts::Totals;
use crate::kernel::{Counts, Integrity, Kernel, Population};
use crate::node_state::{Outcome, Trouble, shorten};

/// The compiled programs.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stockade.bpf.o"));

/// An engine that cannot start is tried again after this long.
const START_AGAIN: Duration = Duration::from_secs(15);

/// The engine, or why there is none.
pub struct Node {
    options: Options,
    state: State,
    totals: Totals,
    /// What of the last application is not as it should be and concerns no single policy.
    whole: Vec<String>,
    /// Reading back has found something that nobody has put right yet.
    tampered: bool,
    /// What the kernel has and can do, for as long as no engine says it: reading that takes a while.
    facts_without_engine: OnceLock<NodeFactsStatus>,
}

enum State {
    Running(Box<Engine>),
    Down { why: Trouble, since: Instant },
}

impl Node {
    /// Starts the engine. What an earlier agent left attached keeps enforcing, whether it can start or not.
    #[must_use]
    pub fn start(pin_root: std::path::PathBuf, state_dir: std::path::PathBuf, progress: Progress) -> Self {
        let options = Options { pin_root, state_dir, progress, ..Options::new(OBJECT.to_vec()) };
        let mut node = Self {
            options,
            state: State::down_at_start(),
            totals: Totals::default(),
            whole: Vec::new(),
            tampered: false,
            facts_without_engine: OnceLock::new(),
        };
        node.try_start();
        node
    }

    fn try_start(&mut self) {
        if upstream_runs(Path::new("/proc"), self.options.pin_root.parent().unwrap_or(&self.options.pin_root)) {
            let message = "the agent of Tetragon runs on this node: two would act on the same policies; remove one";
            tracing::error!("{message}");
            let why = Trouble { reason: Reason::UpstreamAgentRunning, message: message.into() };
            self.state = State::Down { why, since: Instant::now() };
            return;
        }
        // Before another one is started the old one has to let go of the node's lock.
        self.state = State::down_at_start();
        self.state = match Engine::start(self.options.clone()) {
            Ok(engine) => {
                let found = engine.found();
                tracing::info!(adopted = found.adopted_base, hooks = found.hooks, "the kernel engine has started");
                State::Running(Box::new(engine))
            }
            Err(error) => {
                let why = Trouble { reason: start_reason(&error), message: error.to_string() };
                tracing::error!(reason = why.reason.as_str(), "the kernel engine cannot start: {}", why.message);
                State::Down { why, since: Instant::now() }
            }
        };
    }

    /// The engine; tried again when it has been down for a while.
    fn running(&mut self) -> Result<&mut Engine, Trouble> {
        if let State::Down { since, .. } = &self.state
            && since.elapsed() >= START_AGAIN
        {
            self.try_start();
        }
        match &mut self.state {
            State::Running(engine) => Ok(engine),
            State::Down { why, .. } => Err(why.clone()),
        }
    }

    /// At most `limit` events that are there now.
    pub fn events(&mut self, limit: usize) -> Vec<Result<Event, DecodeError>> {
        match &mut self.state {
            State::Running(engine) => engine.poll_events(limit),
            State::Down { .. } => Vec::new(),
        }
    }

    /// Detaches and unpins everything that any agent of this node has left. Nothing is started again afterwards unless
    /// somebody applies policies.
    pub fn detach(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.state, State::down_at_start()) {
            State::Running(engine) => Ok(engine.detach_all()?),
            // A node on which no engine could ever start has nothing to be taken away.
            State::Down { .. } if !holds_anything(&self.options.pin_root) => Ok(()),
            State::Down { why, since } => {
                let message = why.message.clone();
                self.state = State::Down { why, since };
                anyhow::bail!("the kernel engine cannot start: {message}")
            }
        }
    }
}

impl State {
    fn down_at_start() -> Self {
        let why = Trouble { reason: Reason::AgentStarting, message: "not started yet".into() };
        Self::Down { why, since: Instant::now() }
    }
}

impl Kernel for Node {
    fn facts(&self) -> NodeFactsStatus {
        match &self.state {
            State::Running(engine) => describe(engine.facts()),
            State::Down { .. } => self.facts_without_engine.get_or_init(|| describe(&engine::facts())).clone(),
        }
    }

    fn down(&self) -> Option<Trouble> {
        match &self.state {
            State::Running(_) => None,
            State::Down { why, .. } => Some(why.clone()),
        }
    }

    fn apply(&mut self, policies: &[ValidatedPolicy], population: &Population) -> BTreeMap<PolicyId, Outcome> {
        let snapshot = snapshot(population);
        // What the rules of the generation that ends have counted would be gone with it.
        self.count();
        let ids: Vec<&PolicyId> = policies.iter().map(|policy| &policy.id).collect();
        self.totals.forget_all_but(&ids);
        let tampered = std::mem::take(&mut self.tampered);
        let report = match self.running() {
            Ok(engine) => {
                if tampered {
                    engine.repair();
                }
                engine.apply(policies, &snapshot)
            }
            Err(why) => return policies.iter().map(|policy| (policy.id.clone(), not_started(policy, &why))).collect(),
        };
        for trouble in &report.trouble {
            tracing::error!("{trouble}");
        }
        self.whole = report.trouble;
        let of = |id: &PolicyId| policies.iter().find(|policy| policy.id == *id);
        report.policies.into_iter().map(|(id, report)| (id.clone(), outcome(report, of(&id)))).collect()
    }

    fn verify(&mut self) -> Integrity {
        let whole = self.whole.join("; ");
        match self.running() {
            Ok(engine) => {
                let found = engine.verify();
                let mut integrity = Integrity::default();
                for tampered in &found.tampered {
                    for policy in &tampered.policies {
                        integrity.tampered.insert(policy.clone(), format!("{}: {}", tampered.hook, tampered.what));
                    }
                }
                let base = found.base.map(|what| (Reason::Tampered, what));
                let base = base.or_else(|| (!whole.is_empty()).then_some((Reason::LoadFailed, whole)));
                integrity.base = base.map(|(reason, message)| Trouble { reason, message });
                let mut changed = !found.tampered.is_empty();
                for tampered in &found.tampered {
                    tracing::error!(hook = tampered.hook, what = tampered.what, "a hook is not what was put there");
                }
                for hook in engine.probe() {
                    let count = match hook.checked {
                        Checked::Probed => &mut integrity.probed,
                        Checked::ReadBack(_) => &mut integrity.read_back,
                    };
                    *count += 1;
                    let Some(wrong) = hook.wrong else { continue };
                    changed = true;
                    tracing::error!(hook = hook.attach, what = wrong, "a hook does not work");
                    for policy in &hook.policies {
                        integrity.tampered.entry(policy.clone()).or_insert_with(|| format!("{}: {wrong}", hook.attach));
                    }
                }
                self.tampered = changed;
                integrity
            }
            Err(why) => Integrity { base: Some(why), ..Integrity::default() },
        }
    }

    fn counts(&mut self) -> Counts {
        self.count();
        self.totals.counts().clone()
    }
}

impl Node {
    fn count(&mut self) {
        if let State::Running(engine) = &mut self.state {
            match engine.counters() {
                Ok(counters) => self.totals.add(&counters),
                Err(error) => tracing::warn!(%error, "the counters could not be read"),
            }
        }
    }
}

fn start_reason(error: &StartError) -> Reason {
    match error {
        StartError::NoBtf(_) => Reason::BtfMissing,
        StartError::NoBpfLsm { .. } => Reason::BpfLsmMissing,
        StartError::MissingCapability(_) => Reason::CapabilityMissing,
        StartError::NoBpfFs { .. } => Reason::BpffsMissing,
        StartError::AlreadyRunning(_) => Reason::SecondEnforcer,
        StartError::Object(_) | StartError::Step(_) | StartError::State { .. } => Reason::LoadFailed,
    }
}

fn not_started(policy: &ValidatedPolicy, why: &Trouble) -> Outcome {
    Outcome {
        generation_in_force: None,
        digest: short(&stockade_policy::digest(policy)),
        strength: None,
        trouble: Some(why.clone()),
        hooks: Vec::new(),
    }
}

fn outcome(report: PolicyReport, policy: Option<&ValidatedPolicy>) -> Outcome {
    let PolicyReport { generation_in_force, digest, strength, trouble, hooks } = report;
    let too_weak = trouble.as_ref().is_some_and(|trouble| trouble.reason == report::Reason::TooWeak);
    let at_goal = trouble.is_none();
    let entry = |(number, hook): (usize, HookReport)| {
        let reason = match &hook.mechanism {
            None => Reason::HookUnavailable,
            Some(_) if too_weak && hook.why.is_some() => Reason::TooWeak,
            Some(_) => return None,
        };
        Some(HookEntry {
            path: policy.and_then(|policy| policy.hooks.get(number)).map_or_else(String::new, path_of),
            hook: hook.function,
            strength: hook.strength.map(strength_word),
            reason: Some(reason),
            message: hook.why.as_deref().map(shorten),
        })
    };
    Outcome {
        generation_in_force,
        digest: short(&digest),
        strength: strength.map(strength_word),
        trouble: trouble.map(|t| Trouble { reason: reason_word(t.reason), message: t.message }),
        hooks: if at_goal { Vec::new() } else { hooks.into_iter().enumerate().filter_map(entry).collect() },
    }
}

/// Where the document has this hook.
fn path_of(hook: &ir::Hook) -> String {
    format!("spec.{}[{}]", hook.point.family(), hook.index)
}

/// Whether anything is pinned below `root`.
#[must_use]
pub fn holds_anything(root: &Path) -> bool {
    std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether upstream's agent is among the processes of `proc` and has its folder on `bpffs`. Any process of any pod may take
/// the name; only what runs as root on the node makes the folder. The name alone would let a pod keep this agent from working.
fn upstream_runs(proc: &Path, bpffs: &Path) -> bool {
    if !bpffs.join("tetragon").is_dir() {
        return false;
    }
    let Ok(entries) = std::fs::read_dir(proc) else { return false };
    let is_process =
        |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let names = entries.flatten().filter(|entry| is_process(&entry.file_name()));
    let mut names = names.filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    names.any(|name| name.trim_end() == "tetragon")
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn strength_word(strength: ir::Strength) -> Strength {
    match strength {
        ir::Strength::Observe => Strength::Observe,
        ir::Strength::Signal => Strength::Signal,
        ir::Strength::Override => Strength::Override,
        ir::Strength::Deny => Strength::Deny,
    }
}

fn reason_word(reason: report::Reason) -> Reason {
    match reason {
        report::Reason::HookUnavailable => Reason::HookUnavailable,
        report::Reason::TooWeak => Reason::TooWeak,
        report::Reason::TooLarge => Reason::TableFull,
        report::Reason::CgroupV1 => Reason::CgroupV2Missing,
        report::Reason::LoadFailed
        | report::Reason::AttachFailed
        | report::Reason::TrampolineFull
        | report::Reason::MapFailed
        | report::Reason::ReadBackFailed => Reason::LoadFailed,
    }
}

fn describe(facts: &NodeFacts) -> NodeFactsStatus {
    let lsm = facts.lsm.iter().any(|module| module == "bpf");
    let perf = facts.features.contains("perf_events");
    let signal = if perf { Strength::Signal } else { Strength::Observe };
    let strengths =
        [("lsm", if lsm { Strength::Deny } else { Strength::Observe }), ("kprobe", signal), ("tracepoint", signal)];
    NodeFactsStatus {
        kernel_release: facts.kernel_release.clone(),
        architecture: facts.architecture.clone(),
        lsm: facts.lsm.clone(),
        lsm_hooks: facts
            .lsm_hooks
            .iter()
            .map(|(hook, params)| hook_signature(hook, params.iter().map(|p| (p.name.as_str(), p.ty.as_str()))))
            .collect(),
        features: facts.features.iter().cloned().collect(),
        strengths: strengths.into_iter().map(|(family, strength)| (family.to_owned(), strength)).collect(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// The population in the engine's terms. A pod that the API server has not named is in no class: it is held to the strictest
/// set, by the class of the kubelet's root.
fn snapshot(population: &Population) -> ScopeSnapshot {
    let mut pods: BTreeMap<&str, Pod> = BTreeMap::new();
    for pod in population.pods.values() {
        let described = Pod {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            labels: pod.labels.clone(),
            ..Pod::default()
        };
        pods.insert(&pod.uid, described);
    }
    for cgroup in population.cgroups.pods.values() {
        let (Some(pod), Some(info)) = (pods.get_mut(cgroup.pod_uid.as_str()), population.pods.get(&cgroup.pod_uid))
        else {
            continue;
        };
        let Some(id) = &cgroup.container_id else {
            pod.cgroups.push(cgroup.id);
            continue;
        };
        if let Some(container) = pod.containers.iter_mut().find(|container| container.id == *id) {
            container.cgroups.push(cgroup.id);
            continue;
        }
        let known = info.containers.get(id);
        pod.containers.push(Container {
            id: id.clone(),
            name: known.map(|known| known.name.clone()).unwrap_or_default(),
            repo: known.map(|known| known.repo.clone()).unwrap_or_default(),
            cgroups: vec![cgroup.id],
        });
    }
    ScopeSnapshot { pods: pods.into_values().collect(), pod_roots: population.cgroups.pod_roots.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::{CgroupTree, PodCgroup};
    use crate::pods::{ContainerInfo, PodInfo};

    #[test]
    fn upstreams_agent_is_seen_by_its_name_and_its_pins() {
        let (proc, bpffs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (pid, comm) in [("7", "bash"), ("self", "tetragon")] {
            std::fs::create_dir(proc.path().join(pid)).unwrap();
            std::fs::write(proc.path().join(pid).join("comm"), format!("{comm}\n")).unwrap();
        }
        std::fs::create_dir(bpffs.path().join("tetragon")).unwrap();
        assert!(!upstream_runs(proc.path(), bpffs.path()), "it has ended and left its folder");
        std::fs::write(proc.path().join("7/comm"), "tetragon\n").unwrap();
        assert!(upstream_runs(proc.path(), bpffs.path()));
        std::fs::remove_dir(bpffs.path().join("tetragon")).unwrap();
        assert!(!upstream_runs(proc.path(), bpffs.path()), "a pod has taken the name");
    }

    #[test]
    fn a_hook_that_is_not_at_goal_is_named_by_its_place_in_the_document() {
        let document = serde_json::json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"},
            "spec": {
                "kprobes": [{"call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}]}],
                "lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}]}],
            },
        });
        let policy = stockade_policy::judge(&document).policy.unwrap();
        let hook = |function: &str, mechanism: Option<&str>| HookReport {
            function: function.into(),
            mechanism: mechanism.map(str::to_owned),
            strength: None,
            why: mechanism.is_none().then(|| "this kernel has none".into()),
        };
        let report = PolicyReport {
            generation_in_force: None,
            digest: "0".repeat(64),
            strength: None,
            trouble: Some(report::Trouble { reason: report::Reason::HookUnavailable, message: "m".into() }),
            hooks: vec![hook("security_file_open", Some("lsm/file_open")), hook("file_open", None)],
        };
        let paths: Vec<_> = outcome(report, Some(&policy)).hooks.into_iter().map(|hook| hook.path).collect();
        assert_eq!(paths, ["spec.lsmhooks[0]"]);
    }

    #[test]
    fn only_pods_that_the_api_server_has_named_are_in_the_snapshot() {
        let mut cgroups = CgroupTree { pod_roots: vec![1], ..CgroupTree::default() };
        for (id, pod_uid, container_id) in
            [(2, "known", None), (3, "known", Some("c")), (4, "known", Some("c")), (5, "unknown", None)]
        {
            let container_id = container_id.map(str::to_owned);
            cgroups.pods.insert(id, PodCgroup { id, pod_uid: pod_uid.into(), container_id });
        }
        let info = ContainerInfo { name: "web".into(), repo: "shop/web".into(), ..ContainerInfo::default() };
        let pod = PodInfo {
            uid: "known".into(),
            namespace: "shop".into(),
            containers: BTreeMap::from([("c".into(), info)]),
            ..PodInfo::default()
        };
        let snapshot = snapshot(&Population { cgroups, pods: BTreeMap::from([("known".into(), pod)]) });
        assert_eq!(snapshot.pod_roots, [1]);
        assert_eq!(snapshot.pods.len(), 1);
        assert_eq!(snapshot.pods[0].cgroups, [2]);
        assert_eq!(snapshot.pods[0].containers[0].cgroups, [3, 4]);
        assert_eq!(snapshot.pods[0].containers[0].name, "web");
    }
}
