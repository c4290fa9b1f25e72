//! Reviews that nobody should send, and the largest that an API server does: over TLS, to the operator's webhook.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use stockade_e2e::eventually;

use crate::stage::{Stage, good, policy};

/// As long as an API server waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Posts a body as the API server does: over TLS, trusting the configuration's bundle and nobody else.
fn post(stage: &mut Stage, body: &[u8]) -> (u16, Value) {
    let configuration = stage.get(&["validatingwebhookconfigurations", "stockade-tracingpolicies"]).unwrap();
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&BASE64.decode(bundle).unwrap()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let (host, port) = stage.operator().webhook();
    let stream = TcpStream::connect((host, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(host).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream);
    let head =
        format!("POST /validate HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    write!(stream, "{head}Content-Type: application/json\r\n\r\n").unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_answered_in_words_over_tls_and_harms_nobody() {
    let mut stage = Stage::with_operator().await;
    let review = |request: Value| {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
            .to_string()
            .into_bytes()
    };
    let of = json!({"group": "cilium.io", "version": "v1alpha1", "kind": "TracingPolicy"});
    let deep = "[".repeat(100_000);
    // Without a uid no answer would be taken for one.
    let nobody_asks = [
        Vec::new(),
        b"{\"kind\": \"AdmissionReview\", \"req".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"null".to_vec(),
        deep.clone().into_bytes(),
        format!("{deep}{}", "]".repeat(100_000)).into_bytes(),
        json!({"apiVersion": "v1", "kind": "Pod"}).to_string().into_bytes(),
        review(json!({"uid": 7, "operation": "CREATE"})),
        review(json!([])),
    ];
    let somebody_asks = [
        review(json!({"uid": "u"})),
        review(json!({"uid": "u", "operation": "CREATE", "kind": of, "object": ["no object"]})),
        review(json!({"uid": "u", "operation": "CREATE", "kind": of, "object": {"spec": "no spec"}})),
        review(json!({"uid": "u", "operation": "CREATE", "kind": of})),
        json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "u"}})
            .to_string()
            .into_bytes(),
    ];
    for (bodies, code, uid) in [(&nobody_asks[..], 400, json!("")), (&somebody_asks[..], 200, json!("u"))] {
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let (answered, answer) = post(&mut stage, body);
            let response = &answer["response"];
            assert_eq!(
                (answered, &response["allowed"], &response["uid"]),
                (code, &json!(false), &uid),
                "{shown}: {answer}"
            );
            let message = response["status"]["message"].as_str().unwrap_or_default();
            assert!(!message.is_empty(), "{shown} is refused without a word: {answer}");
        }
    }
    assert!(stage.operator().operator.is_running().unwrap(), "{}", stage.log());
    let name = stage.server.unique("after");
    stage.run(&["create", "-f", "-"], &policy(&name, &good())).unwrap();
    stage.wait_until_ready().await;
}

/// A policy whose values are this text again and again, about so many bytes of JSON.
fn large(name: &str, text: &str, bytes: usize) -> String {
    let values: Vec<String> = (0..bytes / (text.len() + 13)).map(|n| format!("/{n:08}/{text}")).collect();
    let mut spec = good();
    spec["lsmhooks"][0]["selectors"][0]["matchArgs"][0]["values"] = json!(values);
    policy(name, &spec).to_string()
}

/// Sends a text as it is: kubectl would write it in a way of its own.
fn send(stage: &Stage, verb: &str, path: &str, body: &str) -> Result<String, String> {
    let path = format!("/apis/cilium.io/v1alpha1/tracingpolicies{path}");
    let output = stage.kubectl.run_with(&[verb, "--raw", &path, "-f", "-"], body).unwrap();
    if output.success { Ok(output.stdout) } else { Err(output.stderr) }
}

/// Replaces what is stored, whatever the operator writes of it meanwhile.
async fn replace(stage: &Stage, name: &str, text: &str) -> Result<String, String> {
    eventually("nobody has written it in between", || async {
        let stored = stage.get(&["tracingpolicies.cilium.io", name]).unwrap();
        let version = stored["metadata"]["resourceVersion"].as_str().unwrap();
        let versioned = format!("\"metadata\":{{\"resourceVersion\":{version:?},");
        let answer = send(stage, "replace", &format!("/{name}"), &text.replacen("\"metadata\":{", &versioned, 1));
        let outrun = answer.as_ref().is_err_and(|error| error.contains("has been modified"));
        Ok((!outrun).then_some(answer))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_reviews_that_an_api_server_sends_are_judged() {
    // What a store takes, and what an API server reads of a request.
    const STORED: usize = 1_450_000;
    const READ: usize = 3_000_000;
    let plain = "p".repeat(88);
    // Go writes each of these as six characters when it sends a review.
    let escaped = "<".repeat(88);
    let mut stage = Stage::set().await;
    let name = stage.server.unique("large");
    send(&stage, "create", "", &large(&name, &plain, STORED)).unwrap();
    stage.configure_webhook();
    stage.start_operator();
    stage.wait_until_ready().await;

    let unjudged = |answer: Result<String, String>| {
        let answer = answer.unwrap_err();
        (!answer.contains("DocumentTooLarge")).then(|| answer.chars().take(600).collect::<String>())
    };
    for text in [&plain, &escaped] {
        let created = large(&stage.server.unique("new"), text, READ);
        let edited = large(&name, text, READ);
        assert_eq!(unjudged(send(&stage, "create", "", &created)), None, "{} bytes are created", created.len());
        assert_eq!(unjudged(replace(&stage, &name, &edited).await), None, "{} bytes replace others", edited.len());
    }
    // Beyond that nobody is asked.
    let beyond = send(&stage, "create", "", &large("beyond", &plain, 3_300_000)).unwrap_err();
    assert!(beyond.to_lowercase().contains("too large"), "{beyond}");
    // What is stored, however large, can be replaced by what is not, and labelled.
    let label = ["label", "tracingpolicies.cilium.io", &name, "team=a"];
    stage.kubectl.run(&label).unwrap().ok().unwrap();
    replace(&stage, &name, &policy(&name, &good()).to_string()).await.unwrap();
    assert!(stage.operator().operator.is_running().unwrap(), "{}", stage.log());
}
