//! The shape of a policy's `spec`: the one source of both CRDs' schemas.
//!
//! No field has a default and optional ones are `Option`: absent and `false` are different statements, and which of them
//! the author made is what admission judges. What an absent field means is decided by the validator, not here.
//! Constraints are those of the API whose documents we accept, and never more: the schema is the first and lonely
//! judge (the API server reports its faults alone), so what it leaves out is answered together with everything else.

pub mod args;
pub mod hooks;
pub mod selectors;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use hooks::{KProbeSpec, LsmHookSpec, TracepointSpec, UProbeSpec, UsdtSpec};
use selectors::{KProbeSelector, LabelSelector};

/// What to hook, whom to watch, and what to do about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TracingPolicySpec {
    /// Enforce (denials and kills are carried out) or Monitor (they are only counted). Absent: the option policy-mode
    /// decides, and Enforce if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Enforce", "Monitor"]))]
    pub mode: Option<String>,
    /// The weakest way to prevent an operation that is good enough: Deny (it does not happen), Override (a system call
    /// is refused), Signal (the process is killed, the operation may have happened), Observe. A node that cannot reach
    /// it reports TooWeak.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Observe", "Signal", "Override", "Deny"]))]
    pub minimum_strength: Option<String>,
    /// What an enforcing rule does when something that it needs cannot be read: Allow (and report, the default) or Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Allow", "Deny"]))]
    pub on_fault: Option<String>,
    /// Kernel functions and system calls to hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kprobes: Option<Vec<KProbeSpec>>,
    /// Static tracepoints to hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracepoints: Option<Vec<TracepointSpec>>,
    /// Security hooks.
    #[serde(rename = "lsmhooks", skip_serializing_if = "Option::is_none")]
    pub lsm_hooks: Option<Vec<LsmHookSpec>>,
    /// Functions of programs and libraries to hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uprobes: Option<Vec<UProbeSpec>>,
    /// Static probes of programs and libraries to hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usdts: Option<Vec<UsdtSpec>>,
    /// Kernel functions to observe through trampolines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fentries: Option<Vec<KProbeSpec>>,
    /// Report executable files that are mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<bool>,
    /// Where the action NotifyEnforcer takes effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcers: Option<Vec<EnforcerSpec>>,
    /// Named lists of functions or system calls, referred to as list:NAME. Written out where they are referred to, they
    /// and macros may have 131072 values together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lists: Option<Vec<ListSpec>>,
    /// Tunables of this policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<OptionSpec>>,
    /// Named pieces of selectors, which selectors refer to in their field macros. Written out where they are referred to,
    /// they and lists may have 131072 values together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selectors_macros: Option<BTreeMap<String, KProbeSelector>>,
    /// Which pods: by their labels and k8s:io.kubernetes.pod.namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Which containers of these pods: by the keys name and repo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_selector: Option<LabelSelector>,
    /// {} adds the processes that are in no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selector: Option<LabelSelector>,
    /// Which nodes, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
}

/// Where NotifyEnforcer takes effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnforcerSpec {
    /// System calls, security_ functions or list:NAME.
    pub calls: Vec<String>,
}

/// A named list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListSpec {
    /// How it is referred to.
    pub name: String,
    /// What values are: kernel functions (absent), syscalls, generated_syscalls (all of them), generated_ftrace (all
    /// functions that match pattern).
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["", "syscalls", "generated_syscalls", "generated_ftrace"]))]
    pub ty: Option<String>,
    /// The functions; empty for generated lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Regular expression for generated_ftrace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Internal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validated: Option<bool>,
}

/// A tunable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionSpec {
    /// Such as policy-mode.
    pub name: String,
    /// Such as "monitor".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
