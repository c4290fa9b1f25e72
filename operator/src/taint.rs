//! Lets pods onto a new node: nodes may be registered with a taint that keeps pods away until their enforcer is at work,
//! so that no pod ever runs on a node that does not enforce yet. Off unless the chart is told otherwise, because it needs
//! the right to change nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use stockade_crds::ConditionType;
use stockade_crds::names::{NOT_READY_TAINT, OPERATOR_MANAGER};

use crate::view::{SharedView, View};

/// A node that could not be looked at is tried again after this long.
const AGAIN: Duration = Duration::from_secs(5);

/// Removes the taint from each node once its enforcer is at work, for as long as this replica leads.
pub async fn remove(client: Client, view: SharedView) {
    let nodes = Api::<Node>::all(client);
    // Looked at once each: whoever taints a node by hand later means something by it.
    let mut done = BTreeSet::new();
    loop {
        let ready = view.with(ready);
        done.retain(|node| ready.contains(node));
        for node in ready {
            if done.contains(&node) {
                continue;
            }
            match untaint(&nodes, &node).await {
                Ok(removed) => {
                    if removed {
                        tracing::info!(node, "its enforcer is at work: pods are let onto the node");
                    }
                    done.insert(node);
                }
                Err(error) => tracing::warn!(%error, node, "the taint of a node could not be removed; tried again"),
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The nodes whose enforcer has said what became of the policies: it says nothing before it has tried them all.
fn ready(view: &View) -> BTreeSet<String> {
    // `AgentReady` is the operator's own word.
    let own = |condition: &Condition| condition.type_ == ConditionType::KernelSupported.as_str();
    let said = |node: &String| view.states.get(node).is_some_and(|state| state.status.conditions.iter().any(own));
    view.nodes.keys().filter(|node| said(node)).cloned().collect()
}

async fn untaint(nodes: &Api<Node>, name: &str) -> kube::Result<bool> {
    let Some(node) = nodes.get_opt(name).await? else { return Ok(false) };
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let Some(patch) = patch(&taints, node.metadata.resource_version.as_deref()) else { return Ok(false) };
    let params = PatchParams { field_manager: Some(OPERATOR_MANAGER.into()), ..PatchParams::default() };
    nodes.patch(name, &params, &Patch::Merge(&patch)).await.map(|_| true)
}

/// The taints without ours, if it is there; refused by the API server if somebody has changed the node meanwhile.
fn patch(taints: &[Taint], version: Option<&str>) -> Option<Value> {
    let rest: Vec<&Taint> = taints.iter().filter(|taint| taint.key != NOT_READY_TAINT).collect();
    (rest.len() < taints.len()).then(|| json!({"metadata": {"resourceVersion": version}, "spec": {"taints": rest}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_taint_of_the_enforcer_is_removed_and_nothing_is_written_without_it() {
        let taint = |key: &str| Taint { key: key.into(), effect: "NoSchedule".into(), ..Taint::default() };
        let other = taint("example.com/gpu");
        assert_eq!(patch(std::slice::from_ref(&other), Some("7")), None);
        let patch = patch(&[taint(NOT_READY_TAINT), other], Some("7")).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["spec"]["taints"], json!([{"key": "example.com/gpu", "effect": "NoSchedule"}]));
    }
}
