//! The rig is what it claims to be.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use stockade_e2e::{ApiServer, Rig, eventually};

#[tokio::test]
async fn each_test_has_a_namespace_of_its_own() {
    let server = ApiServer::bare().unwrap();
    let (one, other) = (server.namespace("rig").await.unwrap(), server.namespace("rig").await.unwrap());
    assert_ne!(one.name(), other.name());
    let maps = Api::<ConfigMap>::namespaced(server.client().await.unwrap(), one.name());
    let map = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let elsewhere = Api::<ConfigMap>::namespaced(server.client().await.unwrap(), other.name());
    let found = elsewhere.list(&ListParams::default()).await.unwrap();
    assert!(found.items.iter().all(|map| map.metadata.name.as_deref() != Some("a")));
}

#[tokio::test]
async fn kubectl_trusts_the_servers_certificate_and_nobody_is_trusted_without_one() {
    let server = ApiServer::bare().unwrap();
    let output = server.kubectl().run(&["auth", "whoami"]).unwrap();
    assert!(output.clone().ok().unwrap().contains("system:masters"), "{output:?}");
    let kubeconfig = std::fs::read_to_string(server.rig().kubeconfig()).unwrap();
    assert!(!kubeconfig.contains("insecure"), "{kubeconfig}");
    let url = format!("https://{}:6443/api", Rig::ADDRESS);
    let anonymous = server.kubectl().run(&["get", "--raw", "/api/v1/secrets", "--as=nobody"]).unwrap();
    assert!(!anonymous.success && anonymous.stderr.contains("Forbidden"), "{url}: {anonymous:?}");
}

#[tokio::test]
async fn what_never_comes_true_is_an_error_that_says_what_was_seen_last() {
    let limit = std::time::Duration::from_millis(300);
    let asked =
        stockade_e2e::eventually_within::<(), _>(limit, "pigs fly", || async { anyhow::bail!("a pig on the ground") });
    let error = asked.await.unwrap_err().to_string();
    assert!(error.contains("pigs fly") && error.contains("a pig on the ground"), "{error}");
    eventually("the answer is there", || async { Ok(Some(())) }).await.unwrap();
}
