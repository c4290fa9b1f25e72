//! What the operator makes of what nodes say: through a real API server, the nodes played by the tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stockade_e2e::eventually;

use crate::stage::{Stage, condition, good, policy, with_pid_zero};

/// A node whose agent says that it is alive.
fn node(stage: &Stage, name: &str) {
    stage
        .apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"pool": name}}}))
        .unwrap();
    stage
        .apply(&json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": name}}))
        .unwrap();
    beat(stage, &stage.release.clone(), name, 0, 300);
}

/// A Lease that was renewed `age` seconds ago by a clock, and is good for as many as are given.
fn beat(stage: &Stage, namespace: &str, name: &str, age: i64, good_for: i64) {
    let renewed = Timestamp::now() - SignedDuration::from_secs(age);
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": good_for, "renewTime": format!("{renewed:.6}")}});
    stage.apply(&lease).unwrap();
}

/// What the agent of `name` says of `policy`.
fn says(stage: &Stage, name: &str, policy: &Value, mode: &str) {
    let meta = &policy["metadata"];
    let entry = json!({"kind": "TracingPolicy", "name": meta["name"], "uid": meta["uid"],
        "generation": meta["generation"], "digest": "0123456789ab", "mode": mode, "state": "Programmed", "strength": "Deny"});
    let status = json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": name},
        "status": {"policies": [entry]}});
    let args =
        ["apply", "--server-side", "--force-conflicts", "--subresource=status", "--field-manager=agent", "-f", "-"];
    stage.run(&args, &status).unwrap();
}

async fn create(stage: &Stage, prefix: &str, spec: &Value) -> (String, Value) {
    let name = stage.server.unique(prefix);
    stage.run(&["create", "-f", "-"], &policy(&name, spec)).unwrap();
    let object = stage.get(&["tracingpolicies.cilium.io", &name]).unwrap();
    (name, object)
}

/// Waits for the reason of `Ready`; returns the object.
async fn ready(stage: &Stage, name: &str, status: &str, reason: &str) -> Value {
    let what = format!("{name} is {status}/{reason}");
    stage
        .until(&what, &["tracingpolicies.cilium.io", name], |object| {
            let ready = condition(object, "Ready")?;
            (ready["status"] == status && ready["reason"] == reason).then(|| object.clone())
        })
        .await
}

fn remove(stage: &Stage, node: &str) {
    let (node, state) = (format!("node/{node}"), format!("nodepolicystate/{node}"));
    stage.kubectl.run(&["delete", &node, &state]).unwrap().ok().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_stored_while_the_webhook_was_down_is_not_accepted_and_says_the_same_fault() {
    let mut stage = Stage::set().await;
    let (bad, _) = create(&stage, "stored", &with_pid_zero()).await;
    let nonsense = stage.server.unique("nonsense");
    let object = json!({"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": nonsense},
        "spec": {"unheard": {"of": [1, null, {"x": "y"}]}}});
    stage.run(&["create", "--validate=false", "-f", "-"], &object).unwrap();
    let (fine, _) = create(&stage, "fine", &good()).await;
    stage.configure_webhook();
    stage.start_operator();
    for name in [&bad, &nonsense] {
        let object = ready(&stage, name, "False", "Invalid").await;
        assert_eq!(condition(&object, "Accepted").unwrap()["status"], "False");
        assert_eq!(condition(&object, "Stalled").unwrap()["status"], "True");
    }
    let message =
        condition(&stage.get(&["tracingpolicies.cilium.io", &bad]).unwrap(), "Ready").unwrap()["message"].to_string();
    assert!(message.contains("PidZero") && message.contains("values[0]"), "{message}");
    let object = ready(&stage, &fine, "True", "NoNodes").await;
    assert_eq!(condition(&object, "Accepted").unwrap()["status"], "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_say_is_rolled_up_and_nothing_is_written_when_nothing_changed() {
    let stage = Stage::with_operator().await;
    let (a, b) = (stage.server.unique("node"), stage.server.unique("node"));
    let (name, object) = create(&stage, "rolled", &good()).await;
    for node_name in [&a, &b] {
        node(&stage, node_name);
        says(&stage, node_name, &object, "Enforce");
    }
    let all = stage
        .until("2/2", &["tracingpolicies.cilium.io", &name], |o| (o["status"]["summary"] == "2/2").then(|| o.clone()))
        .await;
    assert_eq!(all["status"]["nodes"]["desired"], 2);
    // Another policy is written: a round has passed in which this one was looked at, and not written.
    let (other, _) = create(&stage, "other", &good()).await;
    stage
        .until("the other is seen", &["tracingpolicies.cilium.io", &other], |o| {
            o["status"]["observedGeneration"].as_i64()
        })
        .await;
    let again = stage.get(&["tracingpolicies.cilium.io", &name]).unwrap();
    assert_eq!(again["metadata"]["resourceVersion"], all["metadata"]["resourceVersion"]);
    // What an agent may not ask the API server for, it is told.
    let told = stage.get(&["nodepolicystate", &a]).unwrap();
    assert!(told["metadata"]["annotations"]["stockade.dev/node-labels"].as_str().unwrap().contains(&a));
    let events = ["events.events.k8s.io", "-n", "default"];
    let recorded = |events: &Value| {
        events["items"].as_array()?.iter().find(|event| event["regarding"]["name"] == name.as_str()).cloned()
    };
    let event = stage.until("an Event tells of Ready", &events, recorded).await;
    assert_eq!(event["reportingController"], "stockade-operator");
    remove(&stage, &a);
    remove(&stage, &b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_is_claimed_when_the_nodes_say_that_they_are_in_it() {
    let stage = Stage::with_operator().await;
    let node_name = stage.server.unique("node");
    let (name, object) = create(&stage, "suspended", &good()).await;
    node(&stage, &node_name);
    let resource = ["tracingpolicies.cilium.io", name.as_str()];
    let shows = async |mode: &str, summary: &str| {
        let is_so = |object: &Value| {
            let status = &object["status"];
            (status["mode"] == mode && status["summary"] == summary).then(|| object.clone())
        };
        stage.until(&format!("{mode} {summary}"), &resource, is_so).await
    };
    says(&stage, &node_name, &object, "Enforce");
    shows("Enforce", "1/1").await;
    // No generation changes: what is said of this one is about the mode before until the node has said otherwise.
    let annotate = |value| ["annotate", "tracingpolicies.cilium.io", name.as_str(), value];
    stage.kubectl.run(&annotate("stockade.dev/suspend=true")).unwrap().ok().unwrap();
    let object = shows("Monitor", "0/1").await;
    let enforcing = condition(&object, "Enforcing").unwrap();
    assert_eq!((&enforcing["status"], &enforcing["reason"]), (&json!("Unknown"), &json!("PreviousGeneration")));
    says(&stage, &node_name, &object, "Monitor");
    shows("Monitor", "1/1").await;
    stage.kubectl.run(&annotate("stockade.dev/suspend-")).unwrap().ok().unwrap();
    let object = shows("Enforce", "0/1").await;
    assert_ne!(condition(&object, "Enforcing").unwrap()["status"], "True");
    says(&stage, &node_name, &object, "Enforce");
    shows("Enforce", "1/1").await;
    remove(&stage, &node_name);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_died_and_a_node_that_died_are_told_apart() {
    let stage = Stage::with_operator().await;
    let name = stage.server.unique("node");
    node(&stage, &name);
    let agent = |status: &'static str, reason: &'static str| {
        move |object: &Value| {
            let ready = condition(object, "AgentReady")?;
            (ready["status"] == status && ready["reason"] == reason).then_some(())
        }
    };
    let state = ["nodepolicystate", &name];
    stage.until("the agent is ready", &state, agent("True", "AgentRunning")).await;
    // Whatever the clock of a node says: two hours behind, an agent that renews is alive, and one ahead that does not is not.
    let (behind, ahead) = (7200, -7200);
    beat(&stage, "kube-node-lease", &name, behind, 300);
    beat(&stage, &stage.release, &name, behind, 1);
    stage.until("the agent is down", &state, agent("Unknown", "AgentDown")).await;
    let field = format!("--field-selector=involvedObject.kind=Node,involvedObject.name={name},reason=AgentDown");
    let told = ["events", "-n", "default", &field];
    let one = |events: &Value| (events["items"].as_array()?.len() == 1).then_some(());
    stage.until("the node has an Event that says so", &told, one).await;
    beat(&stage, &stage.release, &name, behind - 10, 300);
    stage.until("the agent is ready again", &state, agent("True", "AgentRunning")).await;
    beat(&stage, "kube-node-lease", &name, ahead, 300);
    beat(&stage, &stage.release, &name, ahead, 1);
    stage.until("the agent is down again", &state, agent("Unknown", "AgentDown")).await;
    beat(&stage, "kube-node-lease", &name, ahead, 1);
    stage.until("the node is unreachable", &state, agent("Unknown", "NodesUnreachable")).await;
    beat(&stage, &stage.release, &name, 0, 300);
    stage.until("the agent is ready once more", &state, agent("True", "AgentRunning")).await;
    remove(&stage, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_let_onto_a_node_once_its_enforcer_is_at_work() {
    let stage = Stage::with_operator().await;
    let name = stage.server.unique("new");
    let taints = json!([{"key": "stockade.dev/agent-not-ready", "effect": "NoSchedule"},
        {"key": "example.com/gpu", "effect": "NoSchedule"}]);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints}});
    stage.run(&["create", "-f", "-"], &node).unwrap();
    let state = json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": name}});
    stage.apply(&state).unwrap();
    beat(&stage, &stage.release.clone(), &name, 0, 300);
    // The operator has seen the node and its agent, which has not said yet what became of the policies.
    let agent_ready = |object: &Value| condition(object, "AgentReady").map(drop);
    stage.until("the agent is seen", &["nodepolicystate", &name], agent_ready).await;
    let keys = |object: &Value| {
        object["spec"]["taints"].as_array().map(|taints| taints.iter().map(|t| t["key"].clone()).collect::<Vec<_>>())
    };
    let said = json!([{"type": "KernelSupported", "status": "True", "reason": "KernelSupported", "message": "",
        "lastTransitionTime": format!("{:.0}", Timestamp::now())}]);
    let state = json!({"apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": name},
        "status": {"conditions": said}});
    let before = stage.get(&["node", &name]).unwrap();
    assert!(keys(&before).unwrap().contains(&json!("stockade.dev/agent-not-ready")), "{before}");
    let args =
        ["apply", "--server-side", "--force-conflicts", "--subresource=status", "--field-manager=agent", "-f", "-"];
    stage.run(&args, &state).unwrap();
    let gone = |object: &Value| {
        let keys = keys(object)?;
        assert!(keys.contains(&json!("example.com/gpu")), "another taint is gone: {object}");
        (!keys.contains(&json!("stockade.dev/agent-not-ready"))).then_some(())
    };
    stage.until("its own taint is gone, and no other", &["node", &name], gone).await;
    remove(&stage, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_certificate_secret_is_made_anew_and_costs_no_request() {
    let stage = Stage::with_operator().await;
    let secret = ["secret", "stockade-webhook-ca", "-n", &stage.release];
    let before = stage.get(&secret).unwrap()["data"]["ca.crt"].clone();
    stage.kubectl.run(&[&["delete"], &secret[..]].concat()).unwrap().ok().unwrap();
    let wrong = policy("probe", &json!({"nonsense": true}));
    eventually("there is a new CA", || async {
        let answer = stage.run(&["create", "--dry-run=server", "-f", "-"], &wrong).unwrap_err();
        assert!(answer.contains("UnknownField"), "a request failed: {answer}");
        let now = stage.get(&secret).map(|secret| secret["data"]["ca.crt"].clone());
        Ok(now.filter(|now| *now != before))
    })
    .await
    .unwrap();
    let answer = stage.run(&["create", "--dry-run=server", "-f", "-"], &wrong).unwrap_err();
    assert!(answer.contains("UnknownField"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_certificate_is_replaced_under_the_same_authority() {
    let stage = Stage::with_operator().await;
    let secret = ["secret", "stockade-webhook-ca", "-n", &stage.release];
    let before = stage.get(&secret).unwrap()["data"].clone();
    let damage = r#"{"data": {"tls.crt": "bm90IGEgY2VydGlmaWNhdGU="}}"#;
    stage.kubectl.run(&[&["patch"], &secret[..], &["--type=merge", "-p", damage]].concat()).unwrap().ok().unwrap();
    let repaired = |now: &Value| {
        let data = &now["data"];
        (data["tls.crt"] != "bm90IGEgY2VydGlmaWNhdGU=" && data["tls.crt"] != before["tls.crt"]).then(|| data.clone())
    };
    let after = stage.until("the certificate is made anew", &secret, repaired).await;
    assert_eq!(after["ca.crt"], before["ca.crt"]);
    stage.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_replaced_under_the_same_authority() {
    let stage = Stage::with_operator().await;
    let secret = ["secret", "stockade-webhook-ca", "-n", &stage.release];
    let before = stage.get(&secret).unwrap()["data"].clone();
    let (certificate, key) = expired(&before);
    let old = json!({"data": {"tls.crt": certificate, "tls.key": key}}).to_string();
    stage.kubectl.run(&[&["patch"], &secret[..], &["--type=merge", "-p", &old]].concat()).unwrap().ok().unwrap();
    let renewed = |now: &Value| {
        let data = &now["data"];
        (data["tls.crt"] != certificate && data["tls.crt"] != before["tls.crt"]).then(|| data.clone())
    };
    let after = stage.until("the certificate is made anew", &secret, renewed).await;
    assert_eq!(after["ca.crt"], before["ca.crt"]);
    stage.wait_until_ready().await;
    let answer = stage.run(&["create", "--dry-run=server", "-f", "-"], &policy("probe", &json!({"nonsense": true})));
    let answer = answer.unwrap_err();
    assert!(answer.contains("UnknownField"), "{answer}");
}

/// A certificate of the authority in a Secret's data, and its key, both as the Secret holds them; it ran out years ago.
fn expired(data: &Value) -> (String, String) {
    let pem = |key: &str| String::from_utf8(BASE64.decode(data[key].as_str().unwrap()).unwrap()).unwrap();
    let authority = rcgen::KeyPair::from_pem(&pem("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&pem("ca.crt"), authority).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["stockade-webhook".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 4, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (BASE64.encode(certificate), BASE64.encode(key.serialize_pem()))
}
