//! Whether the kinds of policy that the API server serves are ours: upstream's have no `status` and no `spec.mode`, and what
//! is written into a field that is not served is lost.

use std::time::Duration;

use kube::Client;
use serde_json::Value;

use crate::health::Readiness;

/// The name under which readiness waits for it.
const CRDS: &str = "CRDs";
/// Every logged-in user may read this document.
const DOCUMENT: &str = "/openapi/v3/apis/cilium.io/v1alpha1";
/// How often it is read while something is missing, and afterwards.
const EVERY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// Tells `readiness` what the served kinds lack, for as long as the process runs.
pub async fn follow(client: Client, readiness: Readiness) {
    loop {
        let lacking = match read(&client).await {
            Ok(document) => lacking(&document),
            Err(error) => {
                tracing::debug!(%error, "the served schema of policies could not be read");
                tokio::time::sleep(EVERY.0).await;
                continue;
            }
        };
        if lacking.is_empty() {
            readiness.ready(CRDS);
            tokio::time::sleep(EVERY.1).await;
        } else {
            let why = format!("the served CRDs lack {}; install charts/stockade-crds", lacking.join(", "));
            tracing::error!("{why}");
            readiness.wait_for(CRDS, why);
            tokio::time::sleep(EVERY.0).await;
        }
    }
}

async fn read(client: &Client) -> anyhow::Result<Value> {
    let request = axum::http::Request::get(DOCUMENT).body(Vec::new())?;
    Ok(client.request(request).await?)
}

/// What the document's kinds of policy do not have. A document that does not show what upstream's kinds have too says
/// nothing: that a kind is not served at all its watch finds out.
fn lacking(document: &Value) -> Vec<String> {
    let mut lacking = Vec::new();
    for kind in ["TracingPolicy", "TracingPolicyNamespaced"] {
        let schema = format!("/components/schemas/io.cilium.v1alpha1.{kind}/properties");
        let has = |path: &str| document.pointer(&format!("{schema}/{path}")).is_some();
        if !has("spec/properties/kprobes") {
            continue;
        }
        let fields = [("status", "status"), ("spec.mode", "spec/properties/mode")];
        let absent = fields.into_iter().filter(|(_, path)| !has(path));
        lacking.extend(absent.map(|(field, _)| format!("{kind} {field}")));
    }
    lacking
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn upstreams_kinds_lack_what_ours_have() {
        let ours = json!({"properties": {"spec": {"properties": {"kprobes": {}, "mode": {}}}, "status": {}}});
        let upstreams = json!({"properties": {"spec": {"properties": {"kprobes": {}}}}});
        let document = |namespaced: &Value| {
            json!({"components": {"schemas": {
                "io.cilium.v1alpha1.TracingPolicy": ours, "io.cilium.v1alpha1.TracingPolicyNamespaced": namespaced,
            }}})
        };
        assert!(lacking(&document(&ours)).is_empty());
        assert_eq!(
            lacking(&document(&upstreams)),
            ["TracingPolicyNamespaced status", "TracingPolicyNamespaced spec.mode"]
        );
        assert!(lacking(&json!({})).is_empty(), "what is not shown is not missing");
    }
}
