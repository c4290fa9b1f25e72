//! Selectors: which calls by which processes, and what is done about them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every operator of `matchArgs`, `matchData` and `matchReturnArgs`.
pub const ARG_OPERATORS: &[&str] = &[
    "Equal",
    "NotEqual",
    "Prefix",
    "NotPrefix",
    "Postfix",
    "NotPostfix",
    "GreaterThan",
    "LessThan",
    "GT",
    "LT",
    "Mask",
    "SPort",
    "NotSPort",
    "SPortPriv",
    "NotSportPriv",
    "DPort",
    "NotDPort",
    "DPortPriv",
    "NotDPortPriv",
    "SAddr",
    "NotSAddr",
    "DAddr",
    "NotDAddr",
    "Protocol",
    "Family",
    "State",
    "InMap",
    "NotInMap",
    "CapabilitiesGained",
    "InRange",
    "NotInRange",
    "SubString",
    "SubStringIgnCase",
    "CelExpr",
    "FileType",
    "NotFileType",
];

/// Every action.
pub const ACTIONS: [&str; 12] = [
    "Post",
    "Sigkill",
    "Override",
    "GetUrl",
    "DnsLookup",
    "NoPost",
    "Signal",
    "TrackSock",
    "UntrackSock",
    "NotifyEnforcer",
    "CleanupEnforcerNotification",
    "Set",
];

/// Every name of a namespace.
pub const NAMESPACES: [&str; 10] =
    ["Uts", "Ipc", "Mnt", "Pid", "PidForChildren", "Net", "Time", "TimeForChildren", "Cgroup", "User"];

/// Every field must hold, and every entry of every field.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KProbeSelector {
    /// Name of the selector in statistics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Pieces of selectorsMacros to merge in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macros: Option<Vec<String>>,
    /// By process id.
    #[serde(rename = "matchPIDs", skip_serializing_if = "Option::is_none")]
    pub match_pids: Option<Vec<PidSelector>>,
    /// By namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_namespaces: Option<Vec<NamespaceSelector>>,
    /// By capability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_capabilities: Option<Vec<CapabilitiesSelector>>,
    /// By change of namespace since the process was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_namespace_changes: Option<Vec<NamespaceChangesSelector>>,
    /// By change of capabilities since the process was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_capability_changes: Option<Vec<CapabilitiesSelector>>,
    /// By the path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_binaries: Option<Vec<BinarySelector>>,
    /// By the path of the parent's executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_parent_binaries: Option<Vec<BinarySelector>>,
    /// By pod and container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_workloads: Option<WorkloadsSelector>,
    /// By argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_args: Option<Vec<ArgSelector>>,
    /// By data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_data: Option<Vec<ArgSelector>>,
    /// What is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_actions: Option<Vec<ActionSelector>>,
    /// By return value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_return_args: Option<Vec<ArgSelector>>,
    /// What is done on return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_return_actions: Option<Vec<ActionSelector>>,
}

/// Process ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PidSelector {
    /// In or NotIn.
    #[schemars(extend("enum" = ["In", "NotIn"]))]
    pub operator: String,
    /// The process ids.
    pub values: Vec<i64>,
    /// Whether they are those of the process's own pid namespace (false: the host's). Has to be written where the policy is
    /// about pods.
    #[serde(default, rename = "isNamespacePID", skip_serializing_if = "Option::is_none")]
    pub is_namespace_pid: Option<bool>,
    /// Whether every descendant is meant too, at any depth. Has to be written: neither answer goes without saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_forks: Option<bool>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Which one.
    #[schemars(extend("enum" = NAMESPACES))]
    pub namespace: String,
    /// In or NotIn.
    #[schemars(extend("enum" = ["In", "NotIn"]))]
    pub operator: String,
    /// Inode numbers, or host_ns.
    pub values: Vec<String>,
}

/// Changes of namespaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceChangesSelector {
    /// In or NotIn.
    #[schemars(extend("enum" = ["In", "NotIn"]))]
    pub operator: String,
    /// Names of namespaces.
    pub values: Vec<String>,
}

/// Capabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesSelector {
    /// Which set of the process.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Effective", "Inheritable", "Permitted"]))]
    pub ty: Option<String>,
    /// In: it has one of them. NotIn: it has none.
    #[schemars(extend("enum" = ["In", "NotIn"]))]
    pub operator: String,
    /// Only processes in a user namespace of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_namespace_capability: Option<bool>,
    /// Names: CAP_SYS_ADMIN.
    pub values: Vec<String>,
}

/// Paths of executables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BinarySelector {
    /// How values are compared with the path.
    #[schemars(extend("enum" = ["In", "NotIn", "Prefix", "NotPrefix", "Postfix", "NotPostfix"]))]
    pub operator: String,
    /// Paths or parts of paths.
    pub values: Vec<String>,
    /// Whether every descendant is meant too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_children: Option<bool>,
}

/// Pods and containers, as at the top of the policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadsSelector {
    /// Which pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Which containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_selector: Option<LabelSelector>,
    /// {} adds the processes that are in no pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selector: Option<LabelSelector>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgSelector {
    /// Position among the function's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub index: Option<i64>,
    /// Positions in args; takes precedence over index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<i64>>,
    /// How values are compared with it.
    #[schemars(extend("enum" = ARG_OPERATORS))]
    pub operator: String,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
}

/// An action and what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionSelector {
    /// What is done.
    #[schemars(extend("enum" = ACTIONS))]
    pub action: String,
    /// GetUrl: the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_url: Option<String>,
    /// DnsLookup: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_fqdn: Option<String>,
    /// Override, NotifyEnforcer: the error returned, such as -1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_error: Option<i64>,
    /// Signal, NotifyEnforcer: the signal's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_sig: Option<i64>,
    /// TrackSock, UntrackSock: position of the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_sock: Option<i64>,
    /// Set: position of the argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_index: Option<i64>,
    /// Set: the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_value: Option<i64>,
    /// Override of a uprobe: registers to set, such as rax=11.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_regs: Option<Vec<String>>,
    /// Override of a uprobe: the function to run instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_new_symbol: Option<String>,
    /// Override of a uprobe: the address to continue at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_new_addr: Option<i64>,
    /// Override of a uprobe: the file offset to continue at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_new_offset: Option<i64>,
    /// Post: at most one event in this time: 5, 5s, 1m, 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<String>,
    /// Post: for each thread, each process, or global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_scope: Option<String>,
    /// Post: with the kernel's stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_stack_trace: Option<bool>,
    /// Post: with the program's stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_stack_trace: Option<bool>,
    /// Post: with the file's IMA digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ima_hash: Option<bool>,
}

/// Every requirement must hold; none selects all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels and their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, LabelValue>>,
    /// Requirements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<LabelRequirement>>,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: String,
    /// Values for In and NotIn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
}

/// A label's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LabelValue(
    #[schemars(length(max = 63), extend("pattern" = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"))] pub String,
);
