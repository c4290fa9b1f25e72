//! The node's pods, as the API server names them, reduced to what scope and events need.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::{Deserialize, Serialize};
use stockade_policy::ir::image_repository;

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodInfo {
    /// `metadata.uid`; of a static pod the hash that the kubelet uses for its cgroup.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its containers by runtime id, init and ephemeral ones included.
    pub containers: BTreeMap<String, ContainerInfo>,
    /// The kind and name of what owns it: `Deployment/shop`.
    pub workload: Option<(String, String)>,
    /// `spec.runtimeClassName`.
    #[serde(default)]
    pub runtime_class: Option<String>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Its name in the pod.
    pub name: String,
    /// The image as written in the pod.
    pub image: String,
    /// The image without tag and digest: the key `repo` of a `containerSelector`.
    pub repo: String,
}

/// The cgroup of a static pod is named by its configuration's hash, not by the uid of its mirror.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// What the kubelet writes on the mirror that it makes of a static pod.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

impl PodInfo {
    /// What scope and events need of `pod`; `None` for an object without a uid.
    #[must_use]
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let uid = static_pod_hash(pod).or(meta.uid.as_ref())?.clone();
        let status = pod.status.as_ref();
        let statuses = status.into_iter().flat_map(|s| {
            [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses]
                .into_iter()
                .flatten()
                .flatten()
        });
        Some(Self {
            uid,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            containers: statuses.filter_map(container).collect(),
            workload: workload(pod),
            runtime_class: pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.clone()),
        })
    }

    /// The pod's labels with the keys that a selector may name besides.
    #[must_use]
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert("k8s:io.kubernetes.pod.namespace".into(), self.namespace.clone());
        labels
    }
}

/// The hash that names the cgroup of a static pod. Anybody may annotate a pod, so it counts only on a mirror that a node
/// owns, and never when it has the form of a uid: otherwise one pod could pass for another and take it out of its policies.
fn static_pod_hash(pod: &Pod) -> Option<&String> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let hash = annotations.get(CONFIG_HASH)?;
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let is_mirror = annotations.get(CONFIG_MIRROR) == Some(hash) && owners.iter().any(|owner| owner.kind == "Node");
    (is_mirror && hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(hash)
}

fn container(status: &ContainerStatus) -> Option<(String, ContainerInfo)> {
    let id = status.container_id.as_deref()?;
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    let info = ContainerInfo {
        name: status.name.clone(),
        image: status.image.clone(),
        repo: image_repository(&status.image).into(),
    };
    Some((id.to_owned(), info))
}

/// The owner that people know: a ReplicaSet's name without its hash is the Deployment's.
fn workload(pod: &Pod) -> Option<(String, String)> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    if owner.kind == "ReplicaSet"
        && let Some(name) = hash.and_then(|hash| owner.name.strip_suffix(hash)).and_then(|n| n.strip_suffix('-'))
    {
        return Some(("Deployment".into(), name.into()));
    }
    Some((owner.kind.clone(), owner.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_keeps_the_port_of_its_registry() {
        assert_eq!(image_repository("registry:5000/shop/web:1.2@sha256:ab"), "registry:5000/shop/web");
        assert_eq!(image_repository("registry:5000/shop/web"), "registry:5000/shop/web");
        assert_eq!(image_repository("busybox:1"), "busybox");
    }

    #[test]
    fn a_pod_is_reduced_to_what_scope_and_events_need() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-5d4-x", "namespace": "shop", "uid": "u1",
                "labels": {"app": "web", "pod-template-hash": "5d4"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4", "uid": "r", "controller": true}]},
            "spec": {"runtimeClassName": "gvisor", "containers": []},
            "status": {"containerStatuses": [{"name": "web", "image": "shop/web:1", "imageID": "", "ready": true,
                "restartCount": 0, "containerID": "containerd://abc"}]},
        }))
        .unwrap();
        let info = PodInfo::from_pod(&pod).unwrap();
        assert_eq!(info.workload, Some(("Deployment".into(), "web".into())));
        assert_eq!(info.containers["abc"].repo, "shop/web");
        assert_eq!(info.runtime_class.as_deref(), Some("gvisor"));
        assert_eq!(info.selector_labels()["k8s:io.kubernetes.pod.namespace"], "shop");
    }

    #[test]
    fn a_static_pod_is_known_by_the_hash_its_cgroup_is_named_after() {
        let hash = "0123456789abcdef0123456789abcdef";
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "etcd", "uid": "mirror",
                "annotations": {"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n", "controller": true}]},
        }))
        .unwrap();
        assert_eq!(PodInfo::from_pod(&pod).unwrap().uid, hash);
    }

    #[test]
    fn a_pod_cannot_pass_for_another_by_an_annotation() {
        let victim = "0a1b2c3d-1111-2222-3333-444455556666";
        for owners in
            [serde_json::json!([]), serde_json::json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n"}])]
        {
            let pod: Pod = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "evil", "uid": "own", "ownerReferences": owners,
                    "annotations": {"kubernetes.io/config.hash": victim, "kubernetes.io/config.mirror": victim}},
            }))
            .unwrap();
            assert_eq!(PodInfo::from_pod(&pod).unwrap().uid, "own");
        }
    }
}
