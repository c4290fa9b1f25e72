//! `NodePolicyState`: what one node's kernel can do and what is in force there. Named like the node, written by its
//! enforcer alone, except for the condition `AgentReady`, which is the operator's.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy_status::Activity;
use crate::words::{EntryState, Mode, Reason, Strength};

/// NodePolicyState has no spec: there is nothing to wish for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "stockade.dev",
    version = "v1alpha1",
    kind = "NodePolicyState",
    plural = "nodepolicystates",
    shortname = "nps",
    category = "stockade",
    status = "NodePolicyStateStatus",
    no_spec,
    derive = "PartialEq",
    doc = "What one node's kernel can do and which policies are in force there."
)]
pub struct NodePolicyStateSpec {}

/// What one node reports.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePolicyStateStatus {
    /// What the kernel has and can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<NodeFactsStatus>,
    /// Every policy that is meant for this node. One writer, replaced as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyEntry>,
    /// AgentReady (written by the operator), KernelSupported, Intact, PodsCovered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What a node's kernel has and can do, as far as a policy can depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeFactsStatus {
    /// As `uname -r` prints it.
    pub kernel_release: String,
    /// As `uname -m` prints it.
    pub architecture: String,
    /// Active security modules, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lsm: Vec<String>,
    /// The security hooks to which programs can attach, with their parameters as the kernel's BTF names them:
    /// "file_open(struct file *file)".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lsm_hooks: Vec<String>,
    /// Named features: btf, cgroup2, perf_events, kprobe_multi, override_return.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The most that each hook family can do here: Deny, Override, Signal or Observe.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub strengths: BTreeMap<String, Strength>,
    /// Version of the enforcer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
}

/// One policy on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEntry {
    /// TracingPolicy or TracingPolicyNamespaced.
    pub kind: String,
    /// Namespace of a TracingPolicyNamespaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the policy.
    pub name: String,
    /// Uid of the policy.
    #[serde(default)]
    pub uid: String,
    /// The newest generation that the enforcer has seen; what the state is about.
    #[serde(default)]
    pub generation: i64,
    /// First 12 hexadecimal digits of the compiled policy's digest.
    #[serde(default)]
    pub digest: String,
    /// What the state is about, beside the generation: Enforce, Monitor (also by the annotation stockade.dev/suspend, which
    /// makes no generation) or Observe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Pending, Programmed, Retrying or Failed.
    pub state: EntryState,
    /// An older generation that is in force while this one is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_in_force: Option<i64>,
    /// How certainly what it forbids is prevented here; the weakest over its hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<Strength>,
    /// Why it is not at goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same in a sentence, at most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The hooks that are not at goal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookEntry>,
    /// Order of magnitude of the pods here that it is about and does not reach, because their runtime has a kernel of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_out_of_reach: Option<String>,
    /// Orders of magnitude of what it did here since the enforcer started; changed at most every ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// A hook of a policy that is not at goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookEntry {
    /// Where in the policy: spec.kprobes[0].
    pub path: String,
    /// What it hooks: security_file_open.
    pub hook: String,
    /// How certainly it prevents what it forbids here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<Strength>,
    /// Why it is not at goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// At most so many bytes in the message of an entry.
pub const MAX_ENTRY_MESSAGE: usize = 256;

/// A security hook as it is published in [`NodeFactsStatus::lsm_hooks`]; parameters are (name, C type without
/// qualifiers).
#[must_use]
pub fn hook_signature<'a>(hook: &str, params: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let params: Vec<String> = params
        .into_iter()
        .map(|(name, ty)| if ty.ends_with('*') { format!("{ty}{name}") } else { format!("{ty} {name}") })
        .collect();
    format!("{hook}({})", params.join(", "))
}

/// The hook and its parameters (name, C type) of a published signature; `None` if it is none.
#[must_use]
pub fn parse_hook_signature(text: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (hook, rest) = text.split_once('(')?;
    let inside = rest.strip_suffix(')')?;
    let params = inside.split(", ").filter(|p| !p.is_empty()).map(|param| {
        let at = param.rfind([' ', '*'])?;
        let (ty, name) = param.split_at_checked(at + 1)?;
        Some((name, ty.trim_end()))
    });
    Some((hook, params.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_signature_reads_back_as_it_was_written() {
        for params in [
            vec![],
            vec![("file", "struct file *")],
            vec![("dir", "struct inode *"), ("prot", "unsigned long"), ("list", "struct list_head **")],
        ] {
            let text = hook_signature("some_hook", params.clone());
            assert_eq!(parse_hook_signature(&text), Some(("some_hook", params)), "{text}");
        }
        assert_eq!(parse_hook_signature("nothing"), None);
        assert_eq!(parse_hook_signature("half(struct file *file"), None);
    }

    #[test]
    fn an_entry_from_a_newer_agent_is_read_and_its_unknown_words_are_other() {
        let entry: PolicyEntry = serde_json::from_value(serde_json::json!({
            "kind": "TracingPolicy", "name": "a", "state": "Levitating", "reason": "Magic", "shine": 3
        }))
        .unwrap();
        assert_eq!((entry.state, entry.reason), (EntryState::Other, Some(Reason::Other)));
    }

    #[test]
    fn a_node_state_round_trips_without_spec() {
        let mut state = NodePolicyState::new("node-1", NodePolicyStateSpec::default());
        state.status = Some(NodePolicyStateStatus {
            policies: vec![PolicyEntry {
                kind: "TracingPolicy".into(),
                namespace: None,
                name: "deny".into(),
                uid: "u".into(),
                generation: 3,
                digest: "0123456789ab".into(),
                mode: Some(Mode::Monitor),
                state: EntryState::Programmed,
                generation_in_force: None,
                strength: Some(Strength::Deny),
                reason: None,
                message: None,
                hooks: vec![],
                pods_out_of_reach: None,
                activity: None,
            }],
            ..Default::default()
        });
        let json = serde_json::to_value(&state).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": "node-1"},
                "status": {"policies": [{
                    "kind": "TracingPolicy", "name": "deny", "uid": "u", "generation": 3, "digest": "0123456789ab",
                    "mode": "Monitor", "state": "Programmed", "strength": "Deny"
                }]}
            })
        );
        assert_eq!(serde_json::from_value::<NodePolicyState>(json).unwrap(), state);
    }
}
