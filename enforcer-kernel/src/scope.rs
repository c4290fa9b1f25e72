//! Who is on the node, and which class each container belongs to.
//!
//! A class is a set of policies that apply to a container alike. Tables speak of classes, cgroups are mapped to them; so a
//! pod that comes or changes its labels costs one map write, unless its set of policies is one that nobody had yet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stockade_enforcer_common::head::{CLASS_HOST, CLASS_PROBE, CLASS_UNKNOWN_POD, PROBE_CLASSES};
use stockade_policy::ir::{PodScope, PolicyId, PolicyKind, Scope};

use crate::rows::hex;

/// Who is on the node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeSnapshot {
    /// The pods that the API server has named, whether or not they run already.
    pub pods: Vec<Pod>,
    /// The cgroups below which every pod is (`kubepods`): what runs there in no known pod is of a pod not known yet.
    pub pod_roots: Vec<u64>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ids of its own cgroups; what runs there in no known container is of a container not known yet.
    pub cgroups: Vec<u64>,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// Its name in the pod; empty while only the runtime's id is known.
    pub name: String,
    /// Its image without tag and digest.
    pub repo: String,
    /// Ids of its cgroups.
    pub cgroups: Vec<u64>,
}

/// A policy in state files and classes: `TracingPolicy/name`, `TracingPolicyNamespaced/namespace/name`.
#[must_use]
pub fn policy_key(id: &PolicyId) -> String {
    match id.kind {
        PolicyKind::Cluster => format!("TracingPolicy/{}", id.name),
        PolicyKind::Namespaced => format!("TracingPolicyNamespaced/{}/{}", id.namespace, id.name),
    }
}

/// A policy with this scope, in classes: the same policy with another scope is another member.
#[must_use]
pub fn member(id: &PolicyId, scope: &Scope) -> String {
    let scope = serde_json::to_vec(scope).unwrap_or_default();
    format!("{}@{}", policy_key(id), hex(&Sha256::digest(scope), 4))
}

fn policy_of(member: &str) -> &str {
    member.rsplit_once('@').map_or(member, |(policy, _)| policy)
}

/// Whether a policy applies to a class. `assigned`: the members that classes are made of now. In a class that is older the
/// policy may be there with a scope that nobody knows any more: until its cgroups have their new class it goes on applying.
pub(crate) fn applies(members: &Members, wanted: &str, assigned: &Members) -> bool {
    let stale = |member: &String| policy_of(member) == policy_of(wanted) && !assigned.contains(member);
    members.contains(wanted) || members.iter().any(stale)
}

/// The policies that apply to a class, as [`member`] names them.
pub type Members = BTreeSet<String>;

/// The numbers of classes; a number keeps its meaning for as long as a cgroup or a table refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Classes {
    numbers: BTreeMap<u32, Members>,
    /// Numbers that cgroups carry and of which nobody remembers what they stand for, with these cgroups.
    #[serde(skip)]
    forgotten: BTreeMap<u32, BTreeSet<u64>>,
}

/// The first number for pods that are known.
const FIRST: u32 = CLASS_PROBE + PROBE_CLASSES;

/// What applies to a class of probes: no policy's key.
pub(crate) fn probe_member(class: u32) -> String {
    format!("probe/{class}")
}

/// The cgroup that stands for a class of probes: no cgroup of the kernel's has this id.
pub(crate) fn probe_cgroup(class: u32) -> u64 {
    u64::MAX - u64::from(class)
}

impl Classes {
    /// Keeps the numbers that cgroups carry and nobody remembers from being given to others, for as long as they carry them.
    pub fn know(&mut self, cgroups: &BTreeMap<u64, u32>) {
        for (cgroup, number) in cgroups.iter().filter(|(_, number)| **number >= FIRST) {
            if !self.numbers.contains_key(number) {
                self.forgotten.entry(*number).or_default().insert(*cgroup);
            }
        }
    }

    /// The class with these members; a new one gets the lowest number that is free.
    pub fn number(&mut self, members: &Members) -> u32 {
        if let Some((number, _)) = self.numbers.iter().find(|(_, found)| *found == members) {
            return *number;
        }
        let taken = |number: &u32| self.numbers.contains_key(number) || self.forgotten.contains_key(number);
        let free = (FIRST..u32::MAX).find(|number| !taken(number)).unwrap_or(CLASS_UNKNOWN_POD);
        if free != CLASS_UNKNOWN_POD {
            self.numbers.insert(free, members.clone());
        }
        free
    }

    /// Forgets the classes that are not in `used`.
    pub fn retain(&mut self, used: &BTreeSet<u32>) {
        self.numbers.retain(|number, _| *number >= FIRST && used.contains(number));
        self.forgotten.retain(|number, _| used.contains(number));
    }

    /// Every numbered class.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Members)> {
        self.numbers.iter().map(|(number, members)| (*number, members))
    }
}

/// What the node's cgroups and tables have to say for a set of policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Cgroup → class.
    pub cgroups: BTreeMap<u64, u32>,
    /// Class → members, the host's and that of unknown pods included.
    pub classes: BTreeMap<u32, Members>,
    /// The members that classes are made of.
    pub assigned: Members,
}

/// Assigns every cgroup of `snapshot` its class.
pub fn assign(snapshot: &ScopeSnapshot, policies: &[(String, &Scope)], classes: &mut Classes) -> Assignment {
    let members = |applies: &dyn Fn(&Scope) -> bool| -> Members {
        policies.iter().filter(|(_, scope)| applies(scope)).map(|(key, _)| key.clone()).collect()
    };
    let assigned = policies.iter().map(|(key, _)| key.clone()).collect();
    let mut assignment = Assignment { assigned, ..Assignment::default() };
    assignment.classes.insert(CLASS_HOST, members(&applies_to_host));
    assignment.classes.insert(CLASS_UNKNOWN_POD, members(&could_apply_to_a_pod));
    for class in CLASS_PROBE..FIRST {
        assignment.classes.insert(class, Members::from([probe_member(class)]));
        assignment.cgroups.insert(probe_cgroup(class), class);
    }
    for root in &snapshot.pod_roots {
        assignment.cgroups.insert(*root, CLASS_UNKNOWN_POD);
    }
    for pod in &snapshot.pods {
        let of_pod = members(&|scope| applies_to_pod(scope, pod, None));
        let number = classes.number(&of_pod);
        assignment.cgroups.extend(pod.cgroups.iter().map(|cgroup| (*cgroup, number)));
        for container in &pod.containers {
            let named = (!container.name.is_empty()).then_some(container);
            let number = classes.number(&members(&|scope| applies_to_pod(scope, pod, named)));
            assignment.cgroups.extend(container.cgroups.iter().map(|cgroup| (*cgroup, number)));
        }
    }
    assignment.classes.extend(classes.iter().map(|(number, members)| (number, members.clone())));
    for (number, cgroups) in &classes.forgotten {
        // Until its cgroups have their new numbers, the forgotten one stands for what applies to them now. Of a number whose
        // cgroups are all gone nothing is said: it is judged as a pod that nobody knows.
        let now = cgroups.iter().filter_map(|cgroup| assignment.classes.get(assignment.cgroups.get(cgroup)?));
        let members: Option<Members> = now.cloned().reduce(|all, members| &all | &members);
        assignment.classes.extend(members.map(|members| (*number, members)));
    }
    assignment
}

fn applies_to_host(scope: &Scope) -> bool {
    match scope {
        Scope::Everything => true,
        Scope::Some { host, pods: _ } => *host,
    }
}

fn could_apply_to_a_pod(scope: &Scope) -> bool {
    match scope {
        Scope::Everything => true,
        Scope::Some { host: _, pods } => pods.is_some(),
    }
}

/// Whether a policy could apply to a container of this pod.
#[must_use]
pub fn is_about(scope: &Scope, pod: &Pod) -> bool {
    applies_to_pod(scope, pod, None)
}

/// Whether a policy applies to a container of a pod; of one that is not known, whether it could.
fn applies_to_pod(scope: &Scope, pod: &Pod, container: Option<&Container>) -> bool {
    let pods = match scope {
        Scope::Everything => return true,
        Scope::Some { host: _, pods: None } => return false,
        Scope::Some { host: _, pods: Some(pods) } => pods,
    };
    let PodScope { namespace, pods, containers } = pods;
    let mut labels = pod.labels.clone();
    labels.insert("k8s:io.kubernetes.pod.namespace".into(), pod.namespace.clone());
    let of_container = |container: &Container| {
        let keys = [("name", &container.name), ("repo", &container.repo)];
        containers.matches(&keys.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect())
    };
    namespace.as_ref().is_none_or(|namespace| *namespace == pod.namespace)
        && pods.matches(&labels)
        && container.is_none_or(of_container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_policy::ir::{LabelOperator, LabelRequirement, LabelSelector};

    fn select(key: &str, value: &str) -> LabelSelector {
        let requirement =
            LabelRequirement { key: key.into(), operator: LabelOperator::In, values: BTreeSet::from([value.into()]) };
        LabelSelector { requirements: BTreeSet::from([requirement]) }
    }

    fn pods(namespace: Option<&str>, pods: LabelSelector, containers: LabelSelector) -> Scope {
        Scope::Some { host: false, pods: Some(PodScope { namespace: namespace.map(Into::into), pods, containers }) }
    }

    fn pod(namespace: &str, app: &str, cgroup: u64) -> Pod {
        Pod {
            namespace: namespace.into(),
            labels: BTreeMap::from([("app".into(), app.into())]),
            cgroups: vec![cgroup],
            containers: vec![
                Container { id: "a".into(), name: "main".into(), repo: "shop".into(), cgroups: vec![cgroup + 1] },
                Container { id: "b".into(), cgroups: vec![cgroup + 2], ..Container::default() },
            ],
            ..Pod::default()
        }
    }

    fn members(assignment: &Assignment, cgroup: u64) -> Vec<&str> {
        assignment.classes[&assignment.cgroups[&cgroup]].iter().map(String::as_str).collect()
    }

    #[test]
    fn a_container_gets_what_applies_to_it_and_an_unknown_one_what_could() {
        let policies = [
            ("everything", Scope::Everything),
            ("shop", pods(Some("shop"), LabelSelector::default(), LabelSelector::default())),
            ("web", pods(None, select("app", "web"), LabelSelector::default())),
            ("sidecar", pods(None, LabelSelector::default(), select("name", "sidecar"))),
            ("host", Scope::Some { host: true, pods: None }),
        ];
        let policies: Vec<_> = policies.iter().map(|(name, scope)| ((*name).to_owned(), scope)).collect();
        let snapshot = ScopeSnapshot { pods: vec![pod("shop", "db", 10), pod("other", "web", 20)], pod_roots: vec![1] };
        let assignment = assign(&snapshot, &policies, &mut Classes::default());
        assert_eq!(members(&assignment, 1), ["everything", "shop", "sidecar", "web"], "an unknown pod");
        assert_eq!(members(&assignment, 10), ["everything", "shop", "sidecar"], "an unknown container of shop");
        assert_eq!(members(&assignment, 11), ["everything", "shop"]);
        assert_eq!(members(&assignment, 12), ["everything", "shop", "sidecar"], "a container whose name is not known");
        assert_eq!(members(&assignment, 21), ["everything", "web"]);
        let host: Vec<_> = assignment.classes[&CLASS_HOST].iter().map(String::as_str).collect();
        assert_eq!(host, ["everything", "host"]);
    }

    #[test]
    fn a_class_keeps_its_number_and_a_number_its_meaning() {
        let mut classes = Classes::default();
        let set = |names: &[&str]| -> Members { names.iter().map(|name| (*name).to_owned()).collect() };
        assert_eq!(classes.number(&set(&["a"])), FIRST);
        assert_eq!(classes.number(&set(&["b"])), FIRST + 1);
        assert_eq!(classes.number(&set(&["a"])), FIRST);
        classes.retain(&BTreeSet::from([FIRST + 1]));
        assert_eq!(classes.number(&set(&["c"])), FIRST, "a number that nobody uses is used again");
        assert_eq!(classes.number(&set(&["b"])), FIRST + 1);
    }

    #[test]
    fn a_number_that_cgroups_carry_and_nobody_remembers_stands_for_what_applies_to_them() {
        let policies = [
            ("shop", pods(Some("shop"), LabelSelector::default(), LabelSelector::default())),
            ("web", pods(None, select("app", "web"), LabelSelector::default())),
        ];
        let policies: Vec<_> = policies.iter().map(|(name, scope)| ((*name).to_owned(), scope)).collect();
        let snapshot = ScopeSnapshot { pods: vec![pod("shop", "db", 10), pod("other", "web", 20)], pod_roots: vec![1] };
        let mut classes = Classes::default();
        // The numbers of an earlier agent, in another order than this one would give them.
        let (of_web, of_both, of_gone) = (FIRST, FIRST + 1, FIRST + 2);
        let carried = [(1, CLASS_UNKNOWN_POD), (21, of_web), (10, of_both), (20, of_both), (99, of_gone)];
        classes.know(&BTreeMap::from(carried));
        let assignment = assign(&snapshot, &policies, &mut classes);
        assert_eq!(members(&assignment, 10), ["shop"]);
        assert_eq!(members(&assignment, 20), ["web"]);
        assert!(assignment.cgroups.values().all(|number| ![of_web, of_both, of_gone].contains(number)));
        let now = |number: u32| assignment.classes.get(&number).map(|members| Vec::from_iter(members.iter()));
        assert_eq!(now(of_web).unwrap(), ["web"]);
        assert_eq!(now(of_both).unwrap(), ["shop", "web"]);
        assert_eq!(now(of_gone), None);
        // No cgroup carries them any more.
        classes.retain(&assignment.cgroups.values().copied().collect());
        assert_eq!(classes.number(&Members::from(["new".to_owned()])), FIRST);
    }

    #[test]
    fn a_policy_with_another_scope_is_another_member_and_a_forgotten_scope_goes_on() {
        let id = PolicyId { kind: PolicyKind::Cluster, namespace: String::new(), name: "p".into() };
        let (all, host) = (member(&id, &Scope::Everything), member(&id, &Scope::Some { host: true, pods: None }));
        assert_ne!(all, host);
        let (old, new) = (Members::from([all.clone()]), Members::from([host.clone()]));
        let both: Members = old.union(&new).cloned().collect();
        assert!(applies(&old, &all, &both) && !applies(&old, &host, &both), "both are known: they are told apart");
        assert!(applies(&old, &host, &new), "the old one is not");
        assert!(!applies(&Members::new(), &host, &new));
    }

    #[test]
    fn the_namespace_is_a_label_to_select_by() {
        let scope = pods(None, select("k8s:io.kubernetes.pod.namespace", "shop"), LabelSelector::default());
        assert!(applies_to_pod(&scope, &pod("shop", "x", 1), None));
        assert!(!applies_to_pod(&scope, &pod("other", "x", 1), None));
    }
}
