//! Which pod and container a cgroup is: for people's eyes. Verdicts never ask it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cgroups::CgroupTree;
use crate::pods::PodInfo;

/// The node's cgroups and pods, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// What the cgroup tree holds, and held: an exit is reported after its container is gone.
    cgroups: BTreeMap<u64, (String, Option<String>)>,
    pods: BTreeMap<String, PodInfo>,
    /// Whether anybody tells the names of pods.
    in_cluster: bool,
}

/// So many cgroups that are gone are remembered.
const REMEMBERED: usize = 4096;

/// Whose process it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// A process outside every pod.
    Host,
    /// A process in a pod.
    Pod(Value),
    /// It cannot be said.
    Unknown(&'static str),
}

impl Directory {
    /// A directory for a node in a cluster, or for one alone.
    #[must_use]
    pub fn new(in_cluster: bool) -> Self {
        Self { in_cluster, ..Self::default() }
    }

    /// Whether anybody tells the names of pods.
    #[must_use]
    pub fn names_pods(&self) -> bool {
        self.in_cluster
    }

    /// Whether this cgroup is, or was, a pod's.
    #[must_use]
    pub fn knows(&self, cgroup: u64) -> bool {
        self.cgroups.contains_key(&cgroup)
    }

    /// Takes in the tree as it is now.
    pub fn set_cgroups(&mut self, tree: &CgroupTree) {
        let gone = self.cgroups.len().saturating_sub(REMEMBERED);
        if gone > 0 {
            self.cgroups.retain(|id, _| tree.pods.contains_key(id));
        }
        for (id, cgroup) in &tree.pods {
            self.cgroups.insert(*id, (cgroup.pod_uid.clone(), cgroup.container_id.clone()));
        }
    }

    /// Takes in the node's pods as they are now.
    pub fn set_pods(&mut self, pods: &BTreeMap<String, PodInfo>) {
        // A pod that is gone is remembered as long as one of its cgroups is.
        let cgroups = &self.cgroups;
        self.pods.retain(|uid, _| cgroups.values().any(|(pod, _)| pod == uid));
        self.pods.extend(pods.iter().map(|(uid, pod)| (uid.clone(), pod.clone())));
    }

    /// Whose a process is that was executed in `cgroup`, below the kubelet's root or not.
    #[must_use]
    pub fn identify(&self, cgroup: u64, scope_cgroup: u64) -> Identity {
        if cgroup == 0 {
            return Identity::Unknown("its exec was not seen, and nothing says which cgroup it is in");
        }
        let known = self.cgroups.get(&cgroup).or_else(|| self.cgroups.get(&scope_cgroup));
        match known {
            None if scope_cgroup == 0 => Identity::Host,
            None => Identity::Unknown("its cgroup is below the kubelet's root and was gone before it was read"),
            Some((uid, container)) => match self.pods.get(uid) {
                Some(pod) => Identity::Pod(describe(pod, container.as_deref())),
                None if self.in_cluster => Identity::Unknown("the API server has not named its pod yet"),
                None => Identity::Unknown("no API server is asked for the names of pods"),
            },
        }
    }
}

fn describe(pod: &PodInfo, container_id: Option<&str>) -> Value {
    let mut described = json!({"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "pod_labels": pod.labels});
    if let Some((kind, name)) = &pod.workload {
        insert(&mut described, "workload", json!(name));
        insert(&mut described, "workload_kind", json!(kind));
    }
    if let Some(id) = container_id {
        let info = pod.containers.get(id);
        let mut container = json!({"id": format!("containerd://{id}")});
        if let Some(info) = info {
            insert(&mut container, "name", json!(info.name));
            insert(&mut container, "image", json!({"name": info.image}));
        }
        insert(&mut described, "container", container);
    }
    described
}

pub(crate) fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::PodCgroup;

    fn directory() -> Directory {
        let mut directory = Directory::new(true);
        let mut tree = CgroupTree::default();
        for (id, container_id) in [(10, None), (11, Some("c1".to_owned()))] {
            tree.pods.insert(id, PodCgroup { id, pod_uid: "u1".into(), container_id });
        }
        directory.set_cgroups(&tree);
        directory
    }

    #[test]
    fn a_process_is_never_silently_blank() {
        let mut directory = directory();
        assert_eq!(directory.identify(1, 0), Identity::Host);
        assert!(matches!(directory.identify(99, 5), Identity::Unknown(_)));
        assert!(matches!(directory.identify(11, 10), Identity::Unknown(_)));
        let pod = PodInfo { uid: "u1".into(), namespace: "shop".into(), name: "web".into(), ..PodInfo::default() };
        directory.set_pods(&BTreeMap::from([("u1".into(), pod)]));
        let Identity::Pod(pod) = directory.identify(11, 10) else { panic!("the pod is known") };
        assert_eq!((&pod["namespace"], &pod["container"]["id"]), (&json!("shop"), &json!("containerd://c1")));
    }

    #[test]
    fn a_pod_that_ended_is_still_named() {
        let mut directory = directory();
        let pod = PodInfo { uid: "u1".into(), name: "web".into(), ..PodInfo::default() };
        directory.set_pods(&BTreeMap::from([("u1".into(), pod)]));
        directory.set_pods(&BTreeMap::new());
        directory.set_cgroups(&CgroupTree::default());
        assert!(matches!(directory.identify(11, 10), Identity::Pod(_)));
    }
}
