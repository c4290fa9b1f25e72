//! What a node's kernel has and can do, as far as a policy can depend on it.

pub mod twins;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

pub use self::warnings::node_warnings;

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

/// A parameter of a kernel function, as BTF names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfParam {
    /// For instance `prot`.
    pub name: String,
    /// C spelling without qualifiers: `unsigned long`, `struct file *`.
    pub ty: String,
}
