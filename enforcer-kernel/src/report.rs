//! What became of policies.

use std::collections::BTreeMap;

use stockade_policy::ir::{PolicyId, Strength};

/// What became of every policy that was to be applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplyReport {
    /// By policy.
    pub policies: BTreeMap<PolicyId, PolicyReport>,
    /// Why something of the whole, and not of one policy, is not as it should be.
    pub trouble: Vec<String>,
}

/// What became of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyReport {
    /// The generation that is in force; `None`: none.
    pub generation_in_force: Option<i64>,
    /// Digest of the generation that was to be applied.
    pub digest: String,
    /// The weakest mechanism over its hooks; `None` when it is not in force.
    pub strength: Option<Strength>,
    /// Why the generation that was to be applied is not in force, or not at goal.
    pub trouble: Option<Trouble>,
    /// By hook, in the document's order.
    pub hooks: Vec<HookReport>,
}

/// What became of one hook of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReport {
    /// As the document spells it.
    pub function: String,
    /// Where it is attached (`lsm/file_open`); `None`: nowhere.
    pub mechanism: Option<String>,
    /// What that can do.
    pub strength: Option<Strength>,
    /// Why it is not attached, or not at a stronger place.
    pub why: Option<String>,
}

/// Why a policy is not at goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The class of reason.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// Classes of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// This kernel has no place for a hook of it.
    HookUnavailable,
    /// What this kernel can do is less than the policy asks for at least.
    TooWeak,
    /// More rules or arguments than a hook has room for.
    TooLarge,
    /// A program could not be loaded.
    LoadFailed,
    /// A program could not be attached.
    AttachFailed,
    /// As many programs as a place carries are there already.
    TrampolineFull,
    /// A map could not be made or written.
    MapFailed,
    /// What was read back is not what was written.
    ReadBackFailed,
    /// It is about pods or containers, and this node has no unified cgroup hierarchy.
    CgroupV1,
}

impl Reason {
    /// In CamelCase, as statuses spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HookUnavailable => "HookUnavailable",
            Self::TooWeak => "TooWeak",
            Self::TooLarge => "TooLarge",
            Self::LoadFailed => "LoadFailed",
            Self::AttachFailed => "AttachFailed",
            Self::TrampolineFull => "TrampolineFull",
            Self::MapFailed => "MapFailed",
            Self::ReadBackFailed => "ReadBackFailed",
            Self::CgroupV1 => "CgroupV1",
        }
    }
}
