//! Asks every agent to detach and unpin, and says which did not answer. An agent answers by removing its state object.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::view::node_state_resource;

/// The annotation by which an agent is asked.
pub const DETACH: &str = "stockade.dev/detach";

/// Asks, waits at most `timeout`, prints what became of it. Nodes that join meanwhile are asked too. What nobody has answered
/// is taken back: an agent of a later installation must not answer it.
pub async fn uninstall(client: Client, timeout: Duration) -> anyhow::Result<()> {
    let states = Api::<DynamicObject>::all_with(client, &node_state_resource());
    let (mut asked, mut left) = (0, nodes(&states).await?);
    println!("asking {} to detach and unpin everything", nodes_text(left.len()));
    for node in &left {
        asked += 1;
        demand(&states, node, Some("true")).await;
    }
    let start = Instant::now();
    while !left.is_empty() && start.elapsed() < timeout {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = match nodes(&states).await {
            Ok(now) => now,
            Err(error) => {
                println!("the nodes' answers could not be read, it is tried again: {error}");
                continue;
            }
        };
        for node in left.difference(&now) {
            println!("{node}: nothing of Stockade is left in its kernel");
        }
        for node in now.difference(&left) {
            println!("{node}: has joined and is asked too");
            asked += 1;
            demand(&states, node, Some("true")).await;
        }
        left = now;
    }
    if left.is_empty() {
        println!("{} answered", nodes_text(asked));
        return Ok(());
    }
    for node in &left {
        demand(&states, node, None).await;
    }
    let names = left.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    println!("{} did not answer within {} s: {names}", nodes_text(left.len()), timeout.as_secs());
    println!("what is pinned there stays in force; run on each of them, as root: stockade-enforcer --detach");
    Ok(())
}

/// Asks the agent of `node`, or takes it back.
async fn demand(states: &Api<DynamicObject>, node: &str, value: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {(DETACH): value}}});
    match states.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(error)) if error.code == 404 => {}
        Err(error) => println!("{node}: could not be asked: {error}"),
        Ok(_) => {}
    }
}

async fn nodes(states: &Api<DynamicObject>) -> kube::Result<BTreeSet<String>> {
    let list = states.list(&ListParams::default()).await?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

fn nodes_text(number: usize) -> String {
    if number == 1 { "1 node".into() } else { format!("{number} nodes") }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// An API server that holds `c` from the second list on, lets `a` and `c` answer, and records what is asked.
    async fn answer(
        request: Request<Body>,
        seen: Arc<Mutex<Vec<String>>>,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let state = |name: &str| json!({"metadata": {"name": name}});
        let found = if parts.method == "PATCH" {
            let node = parts.uri.path().rsplit('/').next().unwrap().to_owned();
            let body = String::from_utf8(body.collect_bytes().await.unwrap().to_vec()).unwrap();
            let value = if body.contains("null") { "null" } else { "true" };
            seen.lock().unwrap().push(format!("{node} {value}"));
            state(&node)
        } else {
            let lists = {
                let mut seen = seen.lock().unwrap();
                seen.push("list".into());
                seen.iter().filter(|what| *what == "list").count()
            };
            let names: &[&str] = [&["a", "b"][..], &["b", "c"]].get(lists - 1).copied().unwrap_or(&["b"]);
            let items: Vec<_> = names.iter().map(|name| state(name)).collect();
            json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyStateList", "metadata": {}, "items": items})
        };
        Ok(Response::new(Body::from(found.to_string().into_bytes())))
    }

    #[tokio::test]
    async fn newcomers_are_asked_too_and_what_nobody_answered_is_taken_back() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let service = tower::service_fn({
            let seen = Arc::clone(&seen);
            move |request| answer(request, Arc::clone(&seen))
        });
        uninstall(Client::new(service, "default"), Duration::from_millis(1500)).await.unwrap();
        let asked: Vec<_> = seen.lock().unwrap().iter().filter(|what| *what != "list").cloned().collect();
        assert_eq!(asked, ["a true", "b true", "c true", "b null"]);
    }
}
