//! Reviews in, answers out: what the API server is told, over the router itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints exempt functions marked as tests, not what they share"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use stockade_policy::NodeFacts;
use stockade_webhooks::review::Request as Review;
use stockade_webhooks::room::MAX_BODIES;
use stockade_webhooks::server::{MAX_BODY, Outcome, PATH};
use stockade_webhooks::{Action, Nodes, Observer, Room, Settings, router};
use tower::ServiceExt;

async fn post(settings: Settings, body: impl Into<Body>) -> (StatusCode, Value) {
    let body = body.into();
    let length = body.size_hint().exact().unwrap();
    let request = Request::post(PATH).header("content-type", "application/json").header("content-length", length);
    let request = request.body(body).unwrap();
    let response = router(settings).oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn ask(settings: Settings, review: &Value) -> Value {
    let (status, answer) = post(settings, review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].clone()
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": operation,
            "kind": {"group": "cilium.io", "version": "v1alpha1", "kind": "TracingPolicy"},
            "name": object["metadata"]["name"], "object": object, "oldObject": old,
        }
    })
}

fn policy(hook: &str, pids: &Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": "shadow", "generation": 1},
        "spec": {"lsmhooks": [{
            "hook": hook,
            "args": [{"index": 0, "type": "file"}],
            "selectors": [{
                "matchPIDs": pids,
                "matchArgs": [{"index": 0, "operator": "Prefix", "values": ["/etc/"]}],
                "matchActions": [{"action": "Override", "argError": -1}],
            }],
        }]},
    })
}

fn ambiguous() -> Value {
    policy("file_open", &json!([{"operator": "NotIn", "values": [1, 0], "isNamespacePID": false}]))
}

fn clear() -> Value {
    policy("file_open", &json!([{"operator": "NotIn", "values": [1], "isNamespacePID": false, "followForks": false}]))
}

fn node(name: &str, hooks: &[&str]) -> NodeFacts {
    let hooks: BTreeMap<String, Vec<_>> = hooks
        .iter()
        .map(|hook| {
            let file = stockade_policy::facts::BtfParam { name: "file".into(), ty: "struct file *".into() };
            ((*hook).to_owned(), vec![file])
        })
        .collect();
    NodeFacts {
        node: name.into(),
        kernel_release: "6.1.0".into(),
        lsm: vec!["bpf".into()],
        lsm_hooks: hooks,
        ..NodeFacts::default()
    }
}

fn warnings(response: &Value) -> Vec<&str> {
    response["warnings"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[tokio::test]
async fn an_ambiguous_policy_is_refused_with_every_fault_its_field_and_the_fix() {
    let response = ask(Settings::default(), &review("CREATE", &ambiguous(), &Value::Null)).await;
    insta::assert_json_snapshot!("refusal", response);
    let causes = response["status"]["details"]["causes"].as_array().unwrap();
    let message = response["status"]["message"].as_str().unwrap();
    for cause in causes {
        let line = format!("\n{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap());
        assert!(message.contains(&line), "kubectl would show {line} for one file and not for several");
    }
}

#[tokio::test]
async fn a_policy_that_means_one_thing_is_allowed_without_a_word() {
    let response = ask(Settings::default(), &review("CREATE", &clear(), &Value::Null)).await;
    assert_eq!(response, json!({"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": true}));
}

#[tokio::test]
async fn while_a_cluster_is_moved_faults_are_warnings() {
    let settings = Settings { action: Action::Warn, ..Settings::default() };
    let response = ask(settings, &review("CREATE", &ambiguous(), &Value::Null)).await;
    assert_eq!(response["allowed"], true);
    let said = warnings(&response);
    assert!(said.iter().any(|w| w.starts_with("would be refused: ") && w.contains("PidZero")), "{said:?}");
    assert!(said.iter().all(|w| w.len() <= 200 && !w.contains('\n')), "{said:?}");
}

#[tokio::test]
async fn an_object_that_is_invalid_already_can_be_labelled_suspended_and_deleted() {
    let old = ambiguous();
    let mut annotated = old.clone();
    annotated["metadata"]["annotations"] = json!({"stockade.dev/suspend": "true"});
    assert_eq!(ask(Settings::default(), &review("UPDATE", &annotated, &old)).await["allowed"], true);
    assert_eq!(ask(Settings::default(), &review("DELETE", &Value::Null, &old)).await["allowed"], true);
    let mut deleted = ambiguous();
    deleted["metadata"]["generation"] = 2.into();
    assert_eq!(ask(Settings::default(), &review("UPDATE", &deleted, &old)).await["allowed"], false);
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(ask(Settings::default(), &review("UPDATE", &deleted, &old)).await["allowed"], true);
}

#[tokio::test]
async fn nodes_give_warnings_and_never_a_refusal() {
    let with = |nodes: Vec<NodeFacts>| {
        let known = Nodes::default();
        known.store(nodes);
        Settings { nodes: known, ..Settings::default() }
    };
    let request = review("CREATE", &clear(), &Value::Null);
    let one_of_two = with(vec![node("node-1", &["file_open"]), node("node-2", &["bprm_check_security"])]);
    let response = ask(one_of_two, &request).await;
    assert_eq!(response["allowed"], true);
    let said = warnings(&response);
    let names_it = |w: &&str| w.starts_with("HookUnavailable: 1 of 2 nodes (node-2, kernel 6.1");
    assert!(said.iter().any(names_it), "{said:?}");

    let none = with(vec![node("node-2", &["bprm_check_security"])]);
    let response = ask(none, &request).await;
    assert_eq!(response["allowed"], true);
    assert!(warnings(&response).iter().any(|w| w.starts_with("NoNodeCanRunThis: ")), "{response}");

    let able = with(vec![node("node-1", &["file_open"])]);
    assert_eq!(warnings(&ask(able, &request).await), Vec::<&str>::new());
}

#[tokio::test]
async fn every_warning_is_counted_however_many_there_are() {
    let mut policy = clear();
    let hooks: Vec<_> = (0..130).map(|n| json!({"call": format!("sys_unheard_{n}"), "syscall": true})).collect();
    policy["spec"] = json!({"kprobes": hooks});
    let known = Nodes::default();
    known.store(vec![node("node-1", &[])]);
    let settings = Settings { nodes: known, ..Settings::default() };
    let response = ask(settings, &review("CREATE", &policy, &Value::Null)).await;
    let said = warnings(&response);
    // Nobody knows the calls, and the node has no perf events: 260, of which nine are told.
    assert_eq!(said.len(), 10);
    assert!(said[9].starts_with("and 251 more warnings;"), "{said:?}");
    assert!(said.iter().map(|line| line.chars().count()).sum::<usize>() < 4096);
}

#[tokio::test]
async fn what_is_no_review_is_answered_in_words_and_by_its_uid_where_there_is_one() {
    let (status, answer) = post(Settings::default(), "{\"kind\":").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    insta::assert_json_snapshot!("not_json", answer);

    let (status, answer) = post(Settings::default(), r#"{"kind": "Pod", "request": {"uid": "u"}}"#).await;
    assert_eq!((status, &answer["response"]["uid"]), (StatusCode::OK, &json!("u")));
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(answer["response"]["status"]["reason"], "BadRequest");

    for nonsense in [json!(null), json!(7), json!("text"), json!([[]]), json!({"spec": []})] {
        let mut request = review("CREATE", &json!({"metadata": {"name": "n"}}), &Value::Null);
        request["request"]["object"] = nonsense.clone();
        let response = ask(Settings::default(), &request).await;
        assert_eq!(response["allowed"], false, "{nonsense} was admitted");
    }
}

#[tokio::test]
async fn a_review_of_three_megabytes_is_judged_and_one_beyond_the_limit_is_told_so() {
    let mut large = clear();
    large["metadata"]["annotations"] = json!({"note": "x".repeat(1_500_000)});
    let mut next = large.clone();
    next["metadata"]["generation"] = 2.into();
    let response = ask(Settings::default(), &review("UPDATE", &next, &large)).await;
    let causes = response["status"]["details"]["causes"].as_array().unwrap();
    assert_eq!(causes[0]["reason"], "DocumentTooLarge");

    // Where the uid is where API servers write it, that is an answer; of a 413 nobody would be shown the words.
    large["spec"]["unheard"] = Value::String("<".repeat(MAX_BODY));
    let response = ask(Settings::default(), &review("CREATE", &large, &Value::Null)).await;
    assert_eq!(response["allowed"], false);
    assert!(response["status"]["message"].as_str().unwrap().contains("spec: DocumentTooLarge: "), "{response}");

    let (status, answer) = post(Settings::default(), vec![b' '; MAX_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer["response"]["status"]["message"].as_str().unwrap().contains("larger than 8 MiB"), "{answer}");
}

/// Reading it would take hundreds of MiB.
#[tokio::test]
async fn a_document_that_is_larger_than_any_may_be_is_refused_without_being_read() {
    let mut large = clear();
    large["spec"]["unheard"] = Value::Array(vec![json!({"": 0}); 200_000]);
    let body = review("CREATE", &large, &Value::Null).to_string();
    assert!(Review::parse(body.as_bytes()).unwrap().is_too_large());
    let (_, answer) = post(Settings::default(), body).await;
    let faults = stockade_policy::judge(&large).faults;
    assert_eq!(answer["response"]["status"]["details"]["causes"][0]["message"], faults[0].text(), "as everybody else");
    large["spec"]["unheard"] = Value::Array(vec![json!({"": 0}); 50_000]);
    let body = review("CREATE", &large, &Value::Null).to_string();
    assert!(!Review::parse(body.as_bytes()).unwrap().is_too_large());
}

#[tokio::test]
async fn what_there_is_no_room_for_is_told_to_ask_again() {
    let (seen, settings) = observed();
    let settings = Settings { room: Room::with_patience(Duration::from_millis(50)), ..settings };
    let request = review("CREATE", &clear(), &Value::Null);
    let judging = settings.room.for_document().await.unwrap();
    let response = ask(settings.clone(), &request).await;
    assert_eq!(response["allowed"], false);
    let status = &response["status"];
    assert_eq!((&status["code"], &status["details"]["retryAfterSeconds"]), (&json!(429), &json!(1)), "{status}");
    drop(judging);
    let bodies = settings.room.for_body(MAX_BODIES).await.unwrap();
    let (code, answer) = post(settings.clone(), request.to_string()).await;
    assert_eq!(
        (code, &answer["response"]["status"]["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("TooManyRequests"))
    );
    drop(bodies);
    assert_eq!(ask(settings, &request).await["allowed"], true);
    assert_eq!(*seen.lock().unwrap(), [Outcome::Overloaded, Outcome::Overloaded, Outcome::Allowed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_gives_its_room_back() {
    let settings = Settings { room: Room::with_patience(Duration::from_millis(50)), ..Settings::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router(settings.clone())).into_future());
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer.into()).unwrap()
    });
    assert_eq!(answer.await.unwrap(), "HTTP/1.1 408");
    assert!(settings.room.for_body(MAX_BODIES).await.is_some());
}

/// Settings that note how reviews end.
fn observed() -> (Arc<Mutex<Vec<Outcome>>>, Settings) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let observer: Observer = Arc::new(move |outcome, _| sink.lock().unwrap().push(outcome));
    (seen, Settings { observer, ..Settings::default() })
}

#[tokio::test]
async fn each_review_is_counted_as_what_it_was() {
    let (seen, settings) = observed();
    ask(settings.clone(), &review("CREATE", &clear(), &Value::Null)).await;
    ask(settings.clone(), &review("CREATE", &ambiguous(), &Value::Null)).await;
    post(settings, "").await;
    assert_eq!(*seen.lock().unwrap(), [Outcome::Allowed, Outcome::Refused, Outcome::Malformed]);
}
