//! A policy that has been found unambiguous: every default filled in, every value parsed.
//!
//! Later stages see only these types. Collections are sorted and free of duplicates, so that two documents that mean the
//! same are equal (law 2 of the semantics).

mod digest;
mod expression;
mod hook;
mod selector;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::digest::digest;
pub(crate) use self::digest::{hook_text, short};
pub use self::expression::{Compare, Expression, Operation, Width, wrap};
pub use self::hook::{
    Abi, Arg, BinaryPlaces, Generated, Hook, HookPoint, Reading, Returned, Size, SockAction, Source, Step,
};
pub use self::selector::{
    Actions, ArgFilter, ArgTest, BinaryFilter, Capabilities, CapabilityChange, CapabilityFilter, CapabilitySet, Cidr,
    Effect, FileType, Jump, Namespace, NamespaceChange, NamespaceFilter, NumberRange, OnReturn, PidFilter, PortRange,
    Posting, RateLimit, RateScope, Selector, StringCompare, Syscall,
};
pub use self::types::{ArgType, Class};

/// Which of the two kinds a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum PolicyKind {
    /// `TracingPolicy`: reaches the whole cluster.
    Cluster,
    /// `TracingPolicyNamespaced`: reaches the pods of its namespace.
    Namespaced,
}

/// Which policy: unique in a cluster at any moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyId {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for [`PolicyKind::Cluster`].
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A policy that means one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidatedPolicy {
    /// Which policy it is.
    pub id: PolicyId,
    /// `metadata.uid`, empty offline.
    pub uid: String,
    /// `metadata.generation`, 0 offline.
    pub generation: i64,
    /// Whether denials and kills are carried out or only counted.
    pub mode: Mode,
    /// What happens when an argument that a rule needs cannot be read.
    pub on_fault: OnFault,
    /// The weakest mechanism that the author accepts; below it a node reports `TooWeak`.
    pub minimum_strength: Option<Strength>,
    /// Which processes it is about.
    pub scope: Scope,
    /// Which nodes load it; `None` is every node.
    pub node_selector: Option<LabelSelector>,
    /// What it hooks, in written order, family by family. Two of them may name the same point, or twins; each is judged by
    /// itself, like hooks of two policies. No two say the same. A list of functions is a hook for each.
    pub hooks: Vec<Hook>,
    /// `enforcers[0].calls`: where what `NotifyEnforcer` asks for is done.
    pub enforcers: BTreeSet<String>,
    /// `loader: true`: files that are mapped to be executed are reported.
    pub loader: bool,
}

impl ValidatedPolicy {
    /// What its status is about: a policy in which nothing enforces has no mode to speak of.
    #[must_use]
    pub fn status_mode(&self) -> stockade_crds::Mode {
        match self.mode {
            _ if !self.hooks.iter().any(Hook::acts) => stockade_crds::Mode::Observe,
            Mode::Monitor => stockade_crds::Mode::Monitor,
            Mode::Enforce => stockade_crds::Mode::Enforce,
        }
    }
}

/// Whether denials and kills are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Mode {
    /// They are.
    Enforce,
    /// They are only counted and reported as "would have".
    Monitor,
}

/// What an enforcing rule does when something it needs cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum OnFault {
    /// Lets the operation happen and reports it.
    Allow,
    /// Denies the operation and reports it.
    Deny,
}

/// How strongly a mechanism can keep an operation from happening; ordered, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Strength {
    /// It is reported.
    Observe,
    /// The process is signalled; the operation may have happened.
    Signal,
    /// A system call or function is made to return an error.
    Override,
    /// LSM: the operation does not happen.
    Deny,
}

/// Which processes a policy is about (the truth table of `podSelector`, `containerSelector`, `hostSelector`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// Every process of the node.
    Everything,
    /// Some of them.
    Some {
        /// Processes outside every pod are in scope.
        host: bool,
        /// The pods in scope; `None`: none.
        pods: Option<PodScope>,
    },
}

/// The pods, and containers in them, that a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodScope {
    /// Only pods of this namespace (the namespaced kind).
    pub namespace: Option<String>,
    /// Pod labels, with `k8s:io.kubernetes.pod.namespace` added. For the namespaced kind [`PodScope::namespace`] holds too.
    pub pods: LabelSelector,
    /// Container keys `name` and `repo`.
    pub containers: LabelSelector,
}

/// What the container key `repo` is of an image: it without tag and digest, `registry:5000/shop/web` of
/// `registry:5000/shop/web:1.2@sha256:…`.
#[must_use]
pub fn image_repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name_start = image.rfind('/').map_or(0, |slash| slash + 1);
    match image.get(name_start..).and_then(|name| name.find(':')) {
        Some(colon) => image.get(..name_start + colon).unwrap_or(image),
        None => image,
    }
}

/// A Kubernetes label selector: every requirement must hold; none selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LabelSelector {
    /// Sorted, without duplicates.
    pub requirements: BTreeSet<LabelRequirement>,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
    /// The values for `In` and `NotIn`.
    pub values: BTreeSet<String>,
}

/// The operators of a label selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether `labels` satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator {
                LabelOperator::In => value.is_some_and(|value| requirement.values.contains(value)),
                LabelOperator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// What the language did not have in an earlier release is left out of the text of a policy that does not use it, so that its
/// digest stays.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
