//! Follows the node's cgroup tree: a new pod's cgroup is known before the pod's first program runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use crate::cgroups::CgroupTree;

/// The tree is read again this often even when no change was reported.
const REREAD: Duration = Duration::from_secs(5);
/// And this often when it cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(1);

/// Sends the tree below `root` whenever it changes, until nobody listens.
pub async fn follow(root: PathBuf, trees: watch::Sender<CgroupTree>) {
    let (changed, mut changes) = mpsc::channel(1);
    // Held here too, so that the queue never closes: without a watcher the tree is still read every few seconds.
    let _open = changed.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let structural = event.is_ok_and(|event| event.kind.is_create() || event.kind.is_remove());
        // A full queue already holds a wake-up.
        if structural && changed.try_send(()).is_err() {
            tracing::trace!("the cgroup tree is already due to be read");
        }
    });
    let watcher = watcher
        .map_err(|error| tracing::error!(%error, "cgroups cannot be watched (fs.inotify.max_user_instances?); they are read every second"))
        .ok();
    let reread = if watcher.is_some() { REREAD } else { UNWATCHED };
    let mut watched = Watched { watcher, folders: BTreeSet::new() };
    while !trees.is_closed() {
        let tree = watched.read_settled(&root);
        trees.send_if_modified(|known| {
            let differs = *known != tree;
            *known = tree;
            differs
        });
        tokio::select! {
            _ = changes.recv() => {}
            () = tokio::time::sleep(reread) => {}
        }
    }
}

struct Watched {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watched {
    /// Reads the tree until every folder in it was watched before it was read: nothing can appear unseen in between.
    fn read_settled(&mut self, root: &Path) -> CgroupTree {
        loop {
            let tree = CgroupTree::read(root);
            let folders: BTreeSet<_> = tree.folders.iter().cloned().collect();
            for gone in self.folders.difference(&folders) {
                // The kernel drops the watch of a removed folder itself.
                if let Some(watcher) = &mut self.watcher
                    && let Err(error) = watcher.unwatch(gone)
                {
                    tracing::trace!(%error, "the watch of a removed cgroup was gone already");
                }
            }
            let Some(watcher) = &mut self.watcher else { return tree };
            let mut all_watched = true;
            for new in folders.difference(&self.folders) {
                all_watched = false;
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    tracing::debug!(%error, folder = %new.display(), "a cgroup cannot be watched; it is read every few seconds");
                }
            }
            self.folders = folders;
            if all_watched {
                return tree;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pod_that_appears_is_sent_at_once_with_its_containers() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("kubepods")).unwrap();
        let (sender, mut trees) = watch::channel(CgroupTree::default());
        let task = tokio::spawn(follow(root.path().to_path_buf(), sender));
        trees.wait_for(|tree| tree.pod_roots.len() == 1).await.unwrap();
        let pod = root.path().join("kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666");
        std::fs::create_dir_all(pod.join("f".repeat(64))).unwrap();
        let found = tokio::time::timeout(REREAD / 2, trees.wait_for(|tree| tree.pods.len() == 2)).await.is_ok();
        assert!(found, "found only by the periodic reading");
        std::fs::remove_dir_all(pod).unwrap();
        let gone = tokio::time::timeout(REREAD / 2, trees.wait_for(|tree| tree.pods.is_empty())).await.is_ok();
        assert!(gone, "removal found only by the periodic reading");
        task.abort();
    }
}
