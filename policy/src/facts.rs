//! What a node's kernel has and can do, as far as a policy can depend on it.

mod reach;
pub mod twins;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use stockade_crds::NodeFactsStatus;
use stockade_crds::node_policy_state::parse_hook_signature;

pub use self::reach::on_nodes;
pub use self::warnings::{all_node_warnings, node_warnings};

/// The facts of one node, measured there by the enforcer and published in its `NodePolicyState`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// The node's name.
    pub node: String,
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub architecture: String,
    /// `/sys/kernel/security/lsm`, in order.
    pub lsm: Vec<String>,
    /// The LSM hooks to which programs can attach, with their argument names and types from BTF.
    pub lsm_hooks: BTreeMap<String, Vec<BtfParam>>,
    /// Named features: `btf`, `cgroup2`, `perf_events`, `kprobe_multi`, `override_return`.
    pub features: BTreeSet<String>,
    /// The node's labels, for `nodeSelector`.
    pub labels: BTreeMap<String, String>,
}

impl NodeFacts {
    /// What a node has published about itself, with the labels that the node has in the cluster.
    #[must_use]
    pub fn published(node: String, facts: &NodeFactsStatus, labels: BTreeMap<String, String>) -> Self {
        let hook = |text: &String| {
            let (name, params) = parse_hook_signature(text)?;
            let params = params.into_iter().map(|(name, ty)| BtfParam { name: name.into(), ty: ty.into() });
            Some((name.into(), params.collect()))
        };
        Self {
            node,
            kernel_release: facts.kernel_release.clone(),
            architecture: facts.architecture.clone(),
            lsm: facts.lsm.clone(),
            lsm_hooks: facts.lsm_hooks.iter().filter_map(hook).collect(),
            features: facts.features.iter().cloned().collect(),
            labels,
        }
    }
}

/// A parameter of a kernel function, as BTF names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfParam {
    /// For instance `prot`.
    pub name: String,
    /// C spelling without qualifiers: `unsigned long`, `struct file *`.
    pub ty: String,
}
