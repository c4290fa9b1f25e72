//! Writes this node's `NodePolicyState`: when something in it changed, coalesced, and never because a counter moved.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use stockade_crds::names::{ENFORCER_MANAGER, NODE_POLICY_STATE_KIND, STOCKADE_API_VERSION};
use stockade_crds::node_policy_state::NodePolicyStateSpec;
use stockade_crds::{NodePolicyState, NodePolicyStateStatus};
use tokio::sync::{Notify, watch};

use crate::identity::{self, NodeIdentity, TOKEN_PATH};

/// Changes within this time are written together.
const COALESCE: Duration = Duration::from_secs(1);
/// A failed write is tried again after this long, doubling up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
/// See [`RETRY`].
const MAX_RETRY: Duration = Duration::from_secs(30);

/// Writes each new value of `status`, and the last one again when the object has `vanished`, until its sender is gone.
pub async fn publish(
    states: Api<NodePolicyState>,
    node: NodeIdentity,
    mut status: watch::Receiver<Option<NodePolicyStateStatus>>,
    vanished: Arc<Notify>,
) {
    let mut written = None;
    let mut retry = RETRY;
    loop {
        let now = status.borrow_and_update().clone();
        if let Some(now) = now.filter(|now| written.as_ref() != Some(now)) {
            match write(&states, &node, &now).await {
                Ok(()) => {
                    written = Some(now);
                    retry = RETRY;
                }
                Err(error) => {
                    tracing::warn!(%error, "this node's NodePolicyState could not be written; it is tried again");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(MAX_RETRY);
                    continue;
                }
            }
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = vanished.notified() => written = None,
        }
        tokio::time::sleep(COALESCE).await;
    }
}

async fn write(states: &Api<NodePolicyState>, node: &NodeIdentity, status: &NodePolicyStateStatus) -> kube::Result<()> {
    let params = PatchParams::apply(ENFORCER_MANAGER).force();
    let patch = serde_json::json!({
        "apiVersion": STOCKADE_API_VERSION,
        "kind": NODE_POLICY_STATE_KIND,
        "metadata": {"name": node.name},
        "status": status,
    });
    match states.patch_status(&node.name, &params, &Patch::Apply(&patch)).await {
        Err(kube::Error::Api(error)) if error.code == 404 => {
            create(states, node).await?;
            states.patch_status(&node.name, &params, &Patch::Apply(&patch)).await.map(drop)
        }
        answer => answer.map(drop),
    }
}

/// The object goes with its node: no blockOwnerDeletion, which would need a right on nodes.
async fn create(states: &Api<NodePolicyState>, node: &NodeIdentity) -> kube::Result<()> {
    // The node may have been made anew under its name since the agent started; its token is renewed and says so.
    let fresh = identity::node_of_token(Path::new(TOKEN_PATH)).ok().filter(|fresh| fresh.name == node.name);
    let node = fresh.as_ref().unwrap_or(node);
    let owner = node.uid.as_ref().map(|uid| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.name.clone(),
        uid: uid.clone(),
        ..OwnerReference::default()
    });
    let mut state = NodePolicyState::new(&node.name, NodePolicyStateSpec::default());
    state.metadata = ObjectMeta { owner_references: owner.map(|owner| vec![owner]), ..state.metadata };
    let params = PostParams { field_manager: Some(ENFORCER_MANAGER.into()), ..PostParams::default() };
    match states.create(&params, &state).await {
        // Somebody was faster: it is there.
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
        answer => answer.map(drop),
    }
}
