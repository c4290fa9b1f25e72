//! Hands who is on the node to the thread that writes events.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cgroups::CgroupTree;
use crate::events::directory::Directory;
use crate::pods::PodInfo;

/// The latest that is known of cgroups and pods, until it is taken.
#[derive(Debug, Default)]
pub struct Known(Mutex<Changes>);

#[derive(Debug, Default)]
struct Changes {
    tree: Option<CgroupTree>,
    pods: Option<BTreeMap<String, PodInfo>>,
}

impl Known {
    /// The cgroup tree has changed.
    pub fn set_tree(&self, tree: CgroupTree) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tree = Some(tree);
    }

    /// The node's pods have changed.
    pub fn set_pods(&self, pods: BTreeMap<String, PodInfo>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pods = Some(pods);
    }

    /// Brings `directory` up to date; says whether anything had changed.
    pub fn take_changes(&self, directory: &mut Directory) -> bool {
        let Changes { tree, pods } = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let changed = tree.is_some() || pods.is_some();
        if let Some(tree) = tree {
            directory.set_cgroups(&tree);
        }
        if let Some(pods) = pods {
            directory.set_pods(&pods);
        }
        changed
    }
}
