//! What the API server returned, as far as it is shown. Read leniently: a policy with a nonsense status is shown without
//! one, it does not hide the others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::{DynamicObject, ResourceExt as _};
use serde_json::{Value, json};
use stockade_crds::{
    ConditionType, NodePolicyStateStatus, PolicyEntry, PolicyKind, PolicyStatus, node_policy_state::NodeFactsStatus,
};

/// A policy.
#[derive(Debug, Clone)]
pub(crate) struct PolicyView {
    pub(crate) kind: PolicyKind,
    pub(crate) object: DynamicObject,
    pub(crate) status: PolicyStatus,
    /// What the nodes say about it, by name; `None` where nobody asked them.
    pub(crate) nodes: Option<Vec<NodeView>>,
}

/// A node and what it says about one policy.
#[derive(Debug, Clone)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) facts: NodeFactsStatus,
    pub(crate) conditions: Vec<Condition>,
    /// `None`: the policy is not meant for this node, or its enforcer has not seen it yet.
    pub(crate) entry: Option<PolicyEntry>,
}

impl PolicyView {
    pub(crate) fn new(kind: PolicyKind, object: DynamicObject) -> Self {
        let status = object.data.get("status").cloned().unwrap_or(Value::Null);
        let status = serde_json::from_value(status).unwrap_or_default();
        Self { kind, object, status, nodes: None }
    }

    pub(crate) fn name(&self) -> String {
        self.object.name_any()
    }

    pub(crate) fn namespace(&self) -> Option<String> {
        self.object.namespace()
    }

    /// As kubectl takes it.
    pub(crate) fn resource(&self) -> String {
        format!("{}.{}/{}", self.kind.singular(), stockade_crds::names::POLICY_GROUP, self.name())
    }

    pub(crate) fn condition(&self, ty: ConditionType) -> Option<&Condition> {
        condition(&self.status.conditions, ty)
    }

    /// Whether the status is about an older generation, or nobody's yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.status.observed_generation != self.object.metadata.generation
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.is_behind() && self.condition(ConditionType::Ready).is_some_and(|c| c.status == "True")
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({
            "kind": self.kind.kind(),
            "namespace": self.namespace(),
            "name": self.name(),
            "uid": self.object.uid(),
            "generation": self.object.metadata.generation,
            "ready": self.is_ready(),
            "status": self.object.data.get("status"),
        });
        if let (Some(map), Some(nodes)) = (object.as_object_mut(), &self.nodes) {
            map.insert("nodes".into(), nodes.iter().map(NodeView::to_json).collect());
        }
        object
    }
}

impl NodeView {
    /// What `status` of a `NodePolicyState` says about `policy`.
    pub(crate) fn new(name: String, status: NodePolicyStateStatus, policy: &PolicyView) -> Self {
        let NodePolicyStateStatus { facts, policies, conditions } = status;
        let (policy_name, namespace) = (policy.name(), policy.namespace());
        let uid = policy.object.uid().unwrap_or_default();
        let entry = policies.into_iter().find(|entry| {
            // One of an earlier object of the same name says nothing about this one.
            entry.kind == policy.kind.kind()
                && entry.name == policy_name
                && entry.namespace.as_deref().unwrap_or_default() == namespace.as_deref().unwrap_or_default()
                && (entry.uid.is_empty() || entry.uid == uid)
        });
        Self { name, facts: facts.unwrap_or_default(), conditions, entry }
    }

    /// What is wrong with the node itself, if something is.
    pub(crate) fn trouble(&self) -> Option<&Condition> {
        [ConditionType::AgentReady, ConditionType::KernelSupported, ConditionType::Intact, ConditionType::PodsCovered]
            .into_iter()
            .filter_map(|ty| condition(&self.conditions, ty))
            .find(|c| c.status != "True")
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "kernelRelease": self.facts.kernel_release,
            "agentVersion": self.facts.agent_version,
            "conditions": self.conditions,
            "policy": self.entry,
        })
    }
}

fn condition(conditions: &[Condition], ty: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == ty.as_str())
}
