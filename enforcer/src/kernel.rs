//! What the agent asks of the kernel engine: the seam at which the agent is tested without a kernel.

use std::collections::BTreeMap;

use stockade_crds::NodeFactsStatus;
use stockade_policy::ir::{PolicyId, ValidatedPolicy};

use crate::cgroups::CgroupTree;
use crate::node_state::{Outcome, Trouble};
use crate::pods::PodInfo;

/// Whom policies can be about on this node now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Population {
    /// Pods and containers by cgroup.
    pub cgroups: CgroupTree,
    /// The pods that the API server has named, by uid.
    pub pods: BTreeMap<String, PodInfo>,
}

/// Whether what is in the kernel is what was put there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Integrity {
    /// What is not, by policy; the agent applies again.
    pub tampered: BTreeMap<PolicyId, String>,
    /// What is wrong with the base: process tracking, shared tables, the ring.
    pub base: Option<Trouble>,
    /// Hooks that were checked by an operation of the agent's own.
    pub probed: usize,
    /// Hooks for which there is none: what is in the kernel was read back.
    pub read_back: usize,
}

/// Numbers that the kernel has counted since they were reset, which only a new load does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts {
    /// Verdicts by policy: matched, denied, would have been denied, faults.
    pub verdicts: BTreeMap<PolicyId, Verdicts>,
    /// Events lost because the ring was full.
    pub events_lost: u64,
    /// Calls not seen, by program.
    pub missed: BTreeMap<String, u64>,
    /// Failures by place.
    pub errors: BTreeMap<String, u64>,
}

/// Verdicts of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Events that a rule matched.
    pub matched: u64,
    /// Operations denied or signalled.
    pub denied: u64,
    /// Operations that would have been.
    pub would_deny: u64,
    /// Checks that could not be made.
    pub faults: u64,
    /// Events that a `rateLimit` kept back.
    pub limited: u64,
}

/// The kernel engine.
pub trait Kernel: Send + 'static {
    /// What this node's kernel has and can do.
    fn facts(&self) -> NodeFactsStatus;
    /// Why nothing can be done on this node at all, if so.
    fn down(&self) -> Option<Trouble>;
    /// Makes exactly `policies` true for `population`; says of each what became of it.
    fn apply(&mut self, policies: &[ValidatedPolicy], population: &Population) -> BTreeMap<PolicyId, Outcome>;
    /// Reads back and probes.
    fn verify(&mut self) -> Integrity;
    /// What was counted.
    fn counts(&mut self) -> Counts;
}
