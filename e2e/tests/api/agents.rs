//! What an agent's token is good for: the objects named like the node that it is bound to, whatever RBAC says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use serde_json::{Value, json};
use stockade_e2e::eventually;

use crate::stage::Stage;

const ACCOUNT: &str = "stockade-enforcer";

/// A request with some token: `kubectl ARGS`, with an object as its input.
fn with_token(
    stage: &Stage,
    config: &tempfile::NamedTempFile,
    args: &[&str],
    object: &Value,
) -> Result<String, String> {
    let config = format!("--kubeconfig={}", config.path().display());
    stage.run(&[args, &[config.as_str()]].concat(), object)
}

/// A node, and the agent's pod on it, whose tokens are bound to it.
fn agent_on(stage: &Stage, node: &str) -> tempfile::NamedTempFile {
    stage.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})).unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": node, "namespace": stage.release},
        "spec": {"nodeName": node, "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}]}});
    stage.apply(&pod).unwrap();
    let token = stage.kubeconfig(ACCOUNT, &["--bound-object-kind=Pod", &format!("--bound-object-name={node}")]);
    // Its name is in the token. Other tests count nodes.
    stage.kubectl.run(&["delete", &format!("node/{node}")]).unwrap().ok().unwrap();
    token
}

fn state(name: &str) -> Value {
    json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": name}})
}

fn lease(stage: &Stage, name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": stage.release}, "spec": {"holderIdentity": name}})
}

/// Everything that writes an object: each verb, and the part of it that it writes.
fn writes(object: &Value) -> Vec<(Vec<String>, Value)> {
    let (name, kind) = (object["metadata"]["name"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let kind = if kind == "Lease" { "leases" } else { "nodepolicystates" };
    let namespace = object["metadata"]["namespace"].as_str().map(|namespace| format!("--namespace={namespace}"));
    let labelled = r#"{"metadata": {"labels": {"a": "b"}}}"#;
    let conditions = r#"{"status": {"conditions": []}}"#;
    let mut all = vec![
        vec!["create", "-f", "-"],
        vec!["patch", kind, name, "--type=merge", "-p", labelled],
        vec!["patch", kind, name, "--type=merge", "--subresource=status", "-p", conditions],
        vec!["delete", kind, name],
    ];
    all.retain(|args| kind != "leases" || !args.contains(&"--subresource=status"));
    let args = |args: Vec<&str>| {
        let namespace = namespace.clone().filter(|_| args[0] != "create");
        args.into_iter().map(str::to_owned).chain(namespace).collect()
    };
    all.into_iter().map(|all| (args(all), object.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_writes_only_what_is_named_like_its_node() {
    let stage = Stage::set().await;
    let (own, other) = (stage.server.unique("own"), stage.server.unique("other"));
    for object in stage.chart_objects("enforcer-admission.yaml") {
        stage.apply(&object).unwrap();
    }
    stage.account(ACCOUNT);
    let agent = agent_on(&stage, &own);
    let refused = |config: &tempfile::NamedTempFile, args: &[String], object: &Value| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        with_token(&stage, config, &args, object).err()
    };
    // An admission policy takes a moment to be in force.
    let create = ["create", "--dry-run=server", "-f", "-"].map(str::to_owned);
    let first =
        eventually("the admission policy is in force", || async { Ok(refused(&agent, &create, &state(&other))) });
    first.await.unwrap();

    let loose = stage.kubeconfig(ACCOUNT, &[]);
    let election = lease(&stage, "stockade-operator");
    for (object, config) in [
        (state(&other), &agent),
        (lease(&stage, &other), &agent),
        (election, &agent),
        // A token that is bound to no node is good for nothing, not for the node of its holder either.
        (state(&own), &loose),
        (lease(&stage, &own), &loose),
    ] {
        for (args, object) in writes(&object) {
            // What is to be created must not be there; the rest must.
            if args[0] == "patch" {
                stage.apply(&object).unwrap();
            }
            let why = refused(config, &args, &object).unwrap_or_else(|| panic!("{args:?} was done to {object}"));
            assert!(why.contains("named like its node"), "{args:?}: {why}");
        }
        let args = writes(&object).pop().unwrap().0;
        stage.kubectl.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).unwrap().ok().unwrap();
    }
    for object in [state(&own), lease(&stage, &own)] {
        for (args, object) in writes(&object) {
            assert_eq!(refused(&agent, &args, &object), None, "{args:?}");
        }
    }
}
