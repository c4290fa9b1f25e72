//! `stockade status` asks a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use std::process::{Command, Output};

use serde_json::{Value, json};
use stockade_e2e::{ApiServer, Rig};

use crate::stage::Stage;

fn status(server: &ApiServer, args: &[&str]) -> Output {
    let mut command = Command::new(Rig::program("stockade").unwrap());
    command.arg("status").args(args).env("KUBECONFIG", server.rig().kubeconfig()).output().unwrap()
}

#[tokio::test]
async fn status_shows_what_each_node_says_about_a_policy() {
    // Without a webhook that another test has left behind.
    let stage = Stage::set().await;
    let server = stage.server.clone();
    let namespace = server.namespace("cli").await.unwrap();
    let kubectl = server.kubectl();
    let (policy, node) = (server.unique("deny"), server.unique("node"));
    let document = include_str!("../../../testdata/policies/valid/deny-writes-in-namespace.yaml");
    let rendered = kubectl.run_with(&["create", "--dry-run=client", "-o", "json", "-f", "-"], document);
    let mut object: Value = serde_json::from_str(&rendered.unwrap().ok().unwrap()).unwrap();
    object["metadata"] = json!({"name": policy, "namespace": namespace.name()});
    stage.apply(&object).unwrap();
    let entry = json!({
        "kind": "TracingPolicyNamespaced", "namespace": namespace.name(), "name": policy, "uid": "", "generation": 1,
        "digest": "0123456789ab", "state": "Failed", "reason": "HookUnavailable", "message": "no such hook here",
    });
    let mut state =
        json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": node}});
    kubectl.run_with(&["apply", "-f", "-"], &state.to_string()).unwrap().ok().unwrap();
    state["status"] = json!({"policies": [entry]});
    let args = ["apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-"];
    kubectl.run_with(&args, &state.to_string()).unwrap().ok().unwrap();

    let output = status(&server, &["-n", namespace.name(), &policy]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("CONDITION"), "{output:?}");
    let line = text.lines().find(|line| line.starts_with(&node)).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("Failed") && line.ends_with("no such hook here"), "{text}");

    let output = status(&server, &["-n", namespace.name(), "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["version"], &report["summary"]["policies"]), (&json!(1), &json!(1)));
    assert_eq!(report["policies"][0]["name"], json!(policy));

    let missing = status(&server, &["-n", namespace.name(), "nobody"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    namespace.delete(&server).await.unwrap();
    kubectl.run(&["delete", "nps", &node]).unwrap().ok().unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_neither_fine_nor_refused() {
    let server = ApiServer::bare().unwrap();
    let kubeconfig = std::fs::read_to_string(server.rig().kubeconfig()).unwrap();
    let elsewhere = server.rig().dir().join("elsewhere.kubeconfig");
    std::fs::write(&elsewhere, kubeconfig.replace(":6443", ":1")).unwrap();
    let output = status(&server, &["--kubeconfig", elsewhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: asking https://"), "{output:?}");
}
