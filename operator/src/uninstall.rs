//! Asks every agent to detach and unpin, and says which did not answer. An agent answers by removing its state object.

use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::view::node_state_resource;

/// The annotation by which an agent is asked.
pub const DETACH: &str = "stockade.dev/detach";

/// Asks, waits at most `timeout`, prints what became of it.
pub async fn uninstall(client: Client, timeout: Duration) -> anyhow::Result<()> {
    let states = Api::<DynamicObject>::all_with(client, &node_state_resource());
    let asked = nodes(&states).await?;
    println!("asking {} to detach and unpin everything", nodes_text(asked.len()));
    for node in &asked {
        let patch = json!({"metadata": {"annotations": {(DETACH): "true"}}});
        if let Err(error) = states.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
            println!("{node}: could not be asked: {error}");
        }
    }
    let start = Instant::now();
    let mut left = asked.clone();
    while !left.is_empty() && start.elapsed() < timeout {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = nodes(&states).await?;
        for node in left.iter().filter(|node| !now.contains(node)) {
            println!("{node}: nothing of Stockade is left in its kernel");
        }
        left.retain(|node| now.contains(node));
    }
    if left.is_empty() {
        println!("{} answered", nodes_text(asked.len()));
        return Ok(());
    }
    println!("{} did not answer within {} s: {}", nodes_text(left.len()), timeout.as_secs(), left.join(", "));
    println!("what is pinned there stays in force; run on each of them, as root: stockade-enforcer --detach");
    Ok(())
}

async fn nodes(states: &Api<DynamicObject>) -> kube::Result<Vec<String>> {
    let list = states.list(&ListParams::default()).await?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

fn nodes_text(number: usize) -> String {
    if number == 1 { "1 node".into() } else { format!("{number} nodes") }
}
