//! The node's cgroups: which belong to which pod and container, by the names that the kubelet and the runtimes give them.
//!
//! A cgroup's id in the kernel is the inode number of its folder, and its name says the pod's uid or the container's id, so
//! no runtime has to be asked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A cgroup below the kubelet's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCgroup {
    /// The inode number: the kernel's id.
    pub id: u64,
    /// The uid of its pod, with dashes.
    pub pod_uid: String,
    /// The runtime's id of its container; `None` for the pod's own cgroup.
    pub container_id: Option<String>,
}

/// What the node's cgroup tree holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupTree {
    /// The kubelet's roots (`kubepods`, `kubepods.slice`): every pod is below one.
    pub pod_roots: Vec<u64>,
    /// Pods and containers, by id.
    pub pods: BTreeMap<u64, PodCgroup>,
    /// Every folder that was visited, to be watched for new ones.
    pub folders: Vec<PathBuf>,
}

/// Where kubelets keep pods: directly below the root, or below a slice of their own.
const ROOTS: [&str; 4] = ["kubepods", "kubepods.slice", "kubelet.slice/kubelet-kubepods.slice", "kubelet/kubepods"];

impl CgroupTree {
    /// Reads the tree below `root`. A folder that disappears meanwhile is left out.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let mut tree = Self { folders: vec![root.to_path_buf()], ..Self::default() };
        for name in ROOTS {
            let path = root.join(name);
            if let Ok(meta) = fs::metadata(&path) {
                tree.pod_roots.push(meta.ino());
                tree.visit(&path, None, None);
            }
        }
        tree
    }

    fn visit(&mut self, folder: &Path, pod: Option<&str>, container: Option<&str>) {
        self.folders.push(folder.to_path_buf());
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let (Ok(kind), Ok(meta)) = (entry.file_type(), entry.metadata()) else { continue };
            if !kind.is_dir() {
                continue;
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let pod = pod.map(str::to_owned).or_else(|| pod_uid(&name));
            let container = match (&pod, container) {
                (Some(_), Some(outer)) => Some(outer.to_owned()),
                (Some(_), None) => container_id(&name),
                (None, _) => None,
            };
            if let Some(uid) = &pod {
                let cgroup = PodCgroup { id: meta.ino(), pod_uid: uid.clone(), container_id: container.clone() };
                self.pods.insert(cgroup.id, cgroup);
            }
            self.visit(&entry.path(), pod.as_deref(), container.as_deref());
        }
    }
}

/// `podUID` (cgroupfs) or `kubepods-burstable-podUID.slice` with the uid's dashes as underscores (systemd).
fn pod_uid(name: &str) -> Option<String> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (_, uid) = name.rsplit_once("pod").filter(|(before, _)| before.is_empty() || before.ends_with('-'))?;
    let uid = uid.replace('_', "-");
    let plausible = uid.len() >= 32 && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    plausible.then_some(uid)
}

/// `ID` (cgroupfs) or `cri-containerd-ID.scope`, `crio-ID.scope` (systemd).
fn container_id(name: &str) -> Option<String> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    (id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    #[test]
    fn pods_and_containers_are_found_under_both_cgroup_drivers() {
        let id = "f".repeat(64);
        for (pod, container) in [
            (format!("kubepods/burstable/pod{UID}"), id.clone()),
            (
                format!(
                    "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
                    UID.replace('-', "_")
                ),
                format!("cri-containerd-{id}.scope"),
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let nested = root.path().join(&pod).join(&container).join("nested");
            fs::create_dir_all(&nested).unwrap();
            let tree = CgroupTree::read(root.path());
            assert_eq!(tree.pod_roots.len(), 1);
            let mut found: Vec<_> =
                tree.pods.values().map(|c| (c.pod_uid.as_str(), c.container_id.as_deref())).collect();
            found.sort();
            assert_eq!(found, [(UID, None), (UID, Some(id.as_str())), (UID, Some(id.as_str()))]);
            assert!(tree.folders.contains(&nested));
        }
    }

    #[test]
    fn a_folder_that_is_no_pod_is_no_pod() {
        assert_eq!(pod_uid("kubepods-besteffort.slice"), None);
        assert_eq!(pod_uid("burstable"), None);
        assert_eq!(container_id("nested"), None);
    }
}
