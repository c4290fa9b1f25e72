//! Which processes and nodes a policy is about.

use super::labels;
use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::spec::Surroundings;
use crate::fault::codes;
use crate::ir::{LabelOperator, LabelSelector, PodScope, PolicyId, PolicyKind, Scope};

/// The keys by which containers are told apart.
const CONTAINER_KEYS: [&str; 2] = ["name", "repo"];
/// A pod's namespace, beside its labels.
const POD_NAMESPACE: &str = "k8s:io.kubernetes.pod.namespace";
/// The label that tells a node from every other.
const HOSTNAME: &str = "kubernetes.io/hostname";

pub(super) fn read(spec: &Node<'_>, id: &PolicyId, report: &mut Report) -> Scope {
    let host = spec.field("hostSelector");
    let pods = spec.field("podSelector").map(|node| labels::read(&node, report));
    let containers = spec.field("containerSelector").map(|node| {
        let selector = labels::read(&node, report);
        check_container_keys(&node, &selector, report);
        selector
    });
    if let Some(host) = &host {
        check_host(host, id.kind, report);
    }
    if let (PolicyKind::Namespaced, Some(pods)) = (id.kind, &pods) {
        check_namespace(spec, pods, &id.namespace, report);
    }
    match id.kind {
        PolicyKind::Namespaced => Scope::Some {
            host: false,
            pods: Some(PodScope {
                namespace: Some(id.namespace.clone()),
                pods: pods.unwrap_or_default(),
                containers: containers.unwrap_or_default(),
            }),
        },
        PolicyKind::Cluster => cluster(host.is_some(), pods, containers),
    }
}

/// `matchWorkloads`: the same selectors, of one alternative.
pub(super) fn workloads(selector: &Merged<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<Scope> {
    let node = selector.field("matchWorkloads")?;
    if !node.is_object() {
        return None;
    }
    let scope = read(&node, surroundings.id, report);
    let everything = ["podSelector", "containerSelector", "hostSelector"].iter().all(|name| node.field(name).is_none());
    if everything || scope == Scope::Everything {
        let what = "it selects every process that the policy is about";
        report.fault(node.path(), codes::FILTER_ALWAYS, what, "write which pods or containers are meant, or remove it");
        return Some(scope);
    }
    if is_nothing(&both(surroundings.scope, &scope)) && !is_nothing(&scope) {
        let what = "it selects no process that the policy is about";
        report.fault(node.path(), codes::LABEL_SELECTOR_NEVER, what, "write which of the policy's pods are meant");
    } else if is_within(surroundings.scope, &scope) {
        let what = "it selects every process that the policy is about";
        report.fault(
            node.path(),
            codes::FILTER_ALWAYS,
            what,
            "write which of the policy's pods are meant, or remove it",
        );
    }
    Some(scope)
}

/// The processes that are in both.
pub(super) fn both(left: &Scope, right: &Scope) -> Scope {
    let (Scope::Some { host, pods }, Scope::Some { host: other_host, pods: other_pods }) = (left, right) else {
        return if *left == Scope::Everything { right.clone() } else { left.clone() };
    };
    let merged = |one: &LabelSelector, other: &LabelSelector| LabelSelector {
        requirements: &one.requirements | &other.requirements,
    };
    let pods = pods.as_ref().zip(other_pods.as_ref()).map(|(one, other)| PodScope {
        namespace: one.namespace.clone().or_else(|| other.namespace.clone()),
        pods: merged(&one.pods, &other.pods),
        containers: merged(&one.containers, &other.containers),
    });
    Scope::Some { host: *host && *other_host, pods: pods.filter(can_be) }
}

fn can_be(pods: &PodScope) -> bool {
    labels::never(&pods.pods).is_none() && labels::never(&pods.containers).is_none()
}

fn is_nothing(scope: &Scope) -> bool {
    matches!(scope, Scope::Some { host: false, pods } if !pods.as_ref().is_some_and(can_be))
}

/// Whether every process in `inner` is in `outer`.
pub(super) fn is_within(inner: &Scope, outer: &Scope) -> bool {
    let Scope::Some { host: outer_host, pods: outer_pods } = outer else { return true };
    let Scope::Some { host, pods } = inner else { return false };
    let all_in = |pods: &PodScope| {
        outer_pods.as_ref().is_some_and(|outer| {
            (outer.namespace.is_none() || outer.namespace == pods.namespace)
                && labels::implies(&pods.pods, &outer.pods)
                && labels::implies(&pods.containers, &outer.containers)
        })
    };
    (!*host || *outer_host) && pods.as_ref().is_none_or(all_in)
}

fn cluster(host: bool, pods: Option<LabelSelector>, containers: Option<LabelSelector>) -> Scope {
    let pods = (pods.is_some() || containers.is_some()).then(|| PodScope {
        namespace: None,
        pods: pods.unwrap_or_default(),
        containers: containers.unwrap_or_default(),
    });
    let all_pods = |pods: &PodScope| pods.pods.requirements.is_empty() && pods.containers.requirements.is_empty();
    match (host, &pods) {
        (false, None) => Scope::Everything,
        (true, Some(scope)) if all_pods(scope) => Scope::Everything,
        _ => Scope::Some { host, pods },
    }
}

/// Whether a policy is about pods, so that "pid 1" may be a container's.
pub(super) fn is_about_pods(scope: &Scope) -> bool {
    matches!(scope, Scope::Some { pods: Some(_), .. })
}

pub(super) fn node_selector(spec: &Node<'_>, report: &mut Report) -> Option<LabelSelector> {
    let selector = spec.field("nodeSelector").map(|node| labels::read(&node, report))?;
    // `{}` selects every node, as silence does.
    (!selector.requirements.is_empty()).then_some(selector)
}

/// Whether the selector can only select one node.
pub(super) fn selects_one_node(selector: Option<&LabelSelector>) -> bool {
    selector.is_some_and(|selector| {
        selector.requirements.iter().any(|requirement| {
            requirement.key == HOSTNAME && requirement.operator == LabelOperator::In && requirement.values.len() == 1
        })
    })
}

fn check_host(host: &Node<'_>, kind: PolicyKind, report: &mut Report) {
    if kind == PolicyKind::Namespaced {
        let what = "processes of the node are outside every namespace";
        report.fault(host.path(), codes::HOST_SELECTOR_IN_NAMESPACED, what, "remove it, or use TracingPolicy");
    }
    let labels = host.field("matchLabels").is_some_and(|labels| labels.entries().next().is_some());
    if labels || !host.list("matchExpressions").is_empty() {
        let what = "processes of the node have no labels";
        report.fault(host.path(), codes::HOST_SELECTOR_LABELS, what, "write hostSelector: {} to select them all");
    }
}

fn check_container_keys(node: &Node<'_>, selector: &LabelSelector, report: &mut Report) {
    for requirement in &selector.requirements {
        if !CONTAINER_KEYS.contains(&requirement.key.as_str()) {
            let what = format!("containers have no key {}", quoted(&requirement.key));
            report.fault(
                node.path(),
                codes::CONTAINER_KEY,
                what,
                "use name or repo, or podSelector for a pod's labels",
            );
        }
    }
}

fn check_namespace(spec: &Node<'_>, pods: &LabelSelector, namespace: &str, report: &mut Report) {
    let excluded = pods.requirements.iter().filter(|requirement| requirement.key == POD_NAMESPACE).any(|requirement| {
        match requirement.operator {
            LabelOperator::In => !namespace.is_empty() && !requirement.values.contains(namespace),
            LabelOperator::NotIn => requirement.values.contains(namespace),
            LabelOperator::Exists => false,
            LabelOperator::DoesNotExist => true,
        }
    });
    if excluded {
        let what = format!("a namespaced policy is about pods of {} alone", quoted(namespace));
        report.fault(
            spec.path_of("podSelector"),
            codes::LABEL_SELECTOR_NEVER,
            what,
            "remove the namespace from podSelector",
        );
    }
}
