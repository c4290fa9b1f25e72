//! Stage 11: one policy, what its nodes say → its status. Pure; the table of states is the specification.
//!
//! `Ready=True` means: the policy does what its mode asks on every live desired node. Never `Reconciling` and `Stalled` at
//! once. When several causes hold, the first in the order of [`Reason`] is named.

mod conditions;
mod count;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use stockade_crds::policy_status::Activity;
use stockade_crds::{EntryState, Mode, PolicyEntry, PolicyStatus, Reason, Strength};
use stockade_policy::Fault;
use stockade_policy::ir::{LabelSelector, ValidatedPolicy};

/// Whether a node's agent lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Liveness {
    /// Its Lease is fresh.
    #[default]
    Alive,
    /// It ran out, the kubelet's is fresh.
    AgentDown,
    /// Both ran out.
    Unreachable,
}

/// A node as the roll-up sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It has a `NodePolicyState`: an enforcer runs there, or did.
    pub covered: bool,
    /// It is younger than a minute.
    pub joining: bool,
    /// Whether its agent lives.
    pub liveness: Liveness,
    /// What it says of this policy.
    pub entry: Option<PolicyEntry>,
}

/// What the document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// It means one thing.
    Accepted {
        /// What its conditions are about.
        mode: Mode,
        /// First 12 hexadecimal digits of its digest.
        digest: String,
        /// Which nodes it is meant for.
        node_selector: Option<LabelSelector>,
        /// In monitor mode through the annotation.
        suspended: bool,
    },
    /// It has faults.
    Invalid(Vec<Fault>),
}

impl Document {
    /// What is to be known of an accepted document.
    #[must_use]
    pub fn accepted(policy: &ValidatedPolicy, suspended: bool) -> Self {
        let mode = match policy.status_mode() {
            Mode::Enforce if suspended => Mode::Monitor,
            mode => mode,
        };
        Self::Accepted {
            mode,
            digest: stockade_policy::digest(policy).chars().take(12).collect(),
            node_selector: policy.node_selector.clone(),
            suspended,
        }
    }
}

/// One policy with everything that its status depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Input<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// What the document is.
    pub document: Document,
    /// Every node of the cluster.
    pub nodes: &'a [Node],
    /// The status as it is: times of conditions that stay are kept.
    pub previous: Option<&'a PolicyStatus>,
    /// Now.
    pub now: Timestamp,
}

/// How far a live desired node is.
#[derive(Debug, Clone, PartialEq)]
enum Progress {
    /// Where it is to be.
    AtGoal(Option<Strength>),
    /// Not there, for a cause.
    Not {
        cause: Reason,
        message: String,
        /// It will not get there by itself.
        stalled: bool,
    },
}

/// A live desired node.
#[derive(Debug, Clone, PartialEq)]
struct Standing<'a> {
    node: &'a str,
    progress: Progress,
    /// An older version is in force there: another generation, or the same in another mode.
    older: bool,
    /// That one may deny.
    older_denies: bool,
}

/// The status of a policy; `None`: nothing is to be written.
#[must_use]
pub fn roll_up(input: &Input<'_>) -> Option<PolicyStatus> {
    if input.deleting {
        return None;
    }
    let count = count::count(input);
    let mut status = PolicyStatus {
        observed_generation: Some(input.generation),
        nodes: Some(count.nodes),
        summary: format!("{}/{}", count.nodes.at_goal, count.nodes.desired),
        failures: count::failures(&count.standings),
        activity: activity(input),
        ..PolicyStatus::default()
    };
    if let Document::Accepted { mode, digest, .. } = &input.document {
        status.mode = Some(*mode);
        status.digest.clone_from(digest);
        status.strength = count::weakest(&count.standings);
    }
    status.conditions = conditions::conditions(input, &count);
    Some(status)
}

/// What all nodes did together; as it was while none of them says.
fn activity(input: &Input<'_>) -> Option<Activity> {
    let said: Vec<&Activity> = input.nodes.iter().filter_map(|node| node.entry.as_ref()?.activity.as_ref()).collect();
    if said.is_empty() {
        return input.previous.and_then(|previous| previous.activity.clone());
    }
    Some(Activity::sum(said))
}

impl<'a> Standing<'a> {
    /// `mode`: the one that is asked for; `None` while the document asks for nothing.
    fn of(node: &'a Node, generation: i64, mode: Option<Mode>) -> Self {
        let entry = node.entry.as_ref();
        let current = entry.filter(|entry| entry.generation == generation && is_of_mode(entry, mode));
        let in_force = |entry: &&PolicyEntry| entry.generation_in_force.is_some_and(|in_force| in_force != generation);
        let kept = entry.filter(in_force);
        let not_seen_yet = entry.filter(|entry| current.is_none() && entry.state == EntryState::Programmed);
        let may_deny = |entry: &PolicyEntry| !matches!(entry.mode, Some(Mode::Monitor | Mode::Observe));
        let not = |cause, message: &str, stalled| Progress::Not { cause, message: message.to_owned(), stalled };
        let progress = match (node.liveness, current) {
            (Liveness::AgentDown | Liveness::Unreachable, _) => {
                not(Reason::AgentDown, "the enforcer does not renew its Lease; what is pinned stays in force", false)
            }
            (Liveness::Alive, None) => not(Reason::Progressing, NOT_SEEN, false),
            (Liveness::Alive, Some(entry)) => {
                let message = entry.message.as_deref().unwrap_or_default();
                match entry.state {
                    EntryState::Programmed => Progress::AtGoal(entry.strength),
                    EntryState::Pending | EntryState::Other => not(Reason::Progressing, message, false),
                    EntryState::Retrying => not(cause_of(entry.reason), message, false),
                    EntryState::Failed => not(cause_of(entry.reason), message, true),
                }
            }
        };
        Self {
            node: &node.name,
            progress,
            older: kept.is_some() || not_seen_yet.is_some(),
            // In which mode a version is that is kept while a newer one fails, nobody says.
            older_denies: kept.is_some() || not_seen_yet.is_some_and(may_deny),
        }
    }
}

const NOT_SEEN: &str = "the node has not seen this generation in this mode yet";

/// Whether an entry is about the mode that is asked for. An annotation changes the mode and makes no generation. That a policy
/// is in force says nothing unless it says how; what has failed or waits may not have come so far as to have a mode.
fn is_of_mode(entry: &PolicyEntry, mode: Option<Mode>) -> bool {
    match entry.mode {
        None => mode.is_none() || entry.state != EntryState::Programmed,
        said => mode.is_none() || said == mode,
    }
}

/// A node's reason as a cause of the table: what its kernel or its set-up lacks is `HookUnavailable`.
fn cause_of(reason: Option<Reason>) -> Reason {
    match reason {
        Some(reason @ (Reason::Tampered | Reason::TooWeak | Reason::HookUnavailable)) => reason,
        Some(
            Reason::BtfMissing
            | Reason::BpfLsmMissing
            | Reason::CapabilityMissing
            | Reason::BpffsMissing
            | Reason::CgroupV2Missing
            | Reason::KernelTooOld,
        ) => Reason::HookUnavailable,
        _ => Reason::LoadFailed,
    }
}
