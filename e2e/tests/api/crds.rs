//! The CRDs on a real API server.
//!
//! Most of these tests work on copies of the CRDs in an API group of their own: other tests register webhooks for the
//! real one, and one of these replaces an older CRD.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use std::collections::BTreeSet;
use std::path::Path;

use kube::Client;
use kube::api::PostParams;
use kube::core::{Request, Status};
use serde_json::{Value, json};
use stockade_crds::{Crd, PolicyKind, schema_faults};
use stockade_e2e::{ApiServer, eventually};

/// A copy of the CRD of the cluster's policies.
struct Copy {
    server: ApiServer,
    client: Client,
    group: String,
}

impl Copy {
    async fn new(prefix: &str) -> Self {
        let server = ApiServer::bare().unwrap();
        let client = server.client().await.unwrap();
        let group = format!("{}.stockade.test", server.unique(prefix));
        Self { server, client, group }
    }

    async fn with_ours(prefix: &str) -> Self {
        let copy = Self::new(prefix).await;
        copy.apply_crd(&copy.ours()).await;
        copy
    }

    /// Our CRD, in this group.
    fn ours(&self) -> Value {
        let mut crd = Crd::Policy(PolicyKind::Cluster).manifest();
        crd["metadata"]["name"] = json!(format!("tracingpolicies.{}", self.group));
        crd["spec"]["group"] = json!(self.group);
        // Short names and categories are the cluster's; the real CRD has them.
        crd["spec"]["names"].as_object_mut().unwrap().retain(|key, _| key != "shortNames" && key != "categories");
        crd
    }

    async fn apply_crd(&self, crd: &Value) {
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &crd.to_string()).unwrap();
        let url = format!("/apis/{}/v1alpha1", self.group);
        // `kubectl wait` fails at once on a CRD that has no conditions yet.
        eventually("the kind is served", || async { Ok(self.kubectl(&["get", "--raw", &url], "").ok()) })
            .await
            .unwrap();
    }

    fn kubectl(&self, args: &[&str], input: &str) -> Result<String, String> {
        let output = self.server.kubectl().run_with(args, input).unwrap();
        if output.success { Ok(output.stdout) } else { Err(output.stderr) }
    }

    fn resource(&self) -> String {
        format!("tracingpolicies.{}", self.group)
    }

    fn policy(&self, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": format!("{}/v1alpha1", self.group), "kind": "TracingPolicy",
            "metadata": {"name": name}, "spec": spec,
        })
    }

    fn apply(&self, policy: &Value) -> Result<String, String> {
        self.kubectl(&["apply", "-f", "-"], &policy.to_string())
    }

    fn get(&self, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", &self.resource(), name, "-o", "json"], "").unwrap()).unwrap()
    }

    /// What the API server says to a dry run of creating `policy`.
    async fn refusal(&self, policy: &Value) -> Option<Box<Status>> {
        let url = format!("/apis/{}/v1alpha1/tracingpolicies", self.group);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let request = Request::new(url).create(&params, policy.to_string().into_bytes()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some(status),
            Err(other) => panic!("{other}"),
        }
    }

    /// Writes a status as the operator does.
    fn write_status(&self, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let args = ["patch", &self.resource(), name, "--subresource=status", "--type=merge", "-p", &patch];
        self.kubectl(&args, "").unwrap();
    }
}

fn spec() -> Value {
    json!({"kprobes": [{"call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}]}]})
}

#[tokio::test]
async fn the_generated_crds_are_established_structural_and_known_by_their_short_names() {
    let server = ApiServer::shared().await.unwrap();
    for crd in Crd::ALL {
        let args = ["get", "crd", &crd.name(), "-o", "json"];
        let object = server.kubectl().run(&args).unwrap().ok().unwrap();
        let object: Value = serde_json::from_str(&object).unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let status = |ty: &str| conditions.iter().find(|c| c["type"] == ty).map(|c| c["status"].as_str().unwrap());
        assert_eq!(status("Established"), Some("True"), "{conditions:?}");
        assert_eq!(status("NamesAccepted"), Some("True"), "{conditions:?}");
        assert!(!matches!(status("NonStructuralSchema"), Some("True")), "{conditions:?}");
    }
    for name in ["tgtp", "tgtpn", "nps", "stockade", "tetragon"] {
        let output = server.kubectl().run(&["get", name, "-A"]).unwrap();
        assert!(output.success, "{name}: {output:?}");
    }
}

#[tokio::test]
async fn a_policy_that_nobody_has_looked_at_says_so() {
    let copy = Copy::with_ours("pending").await;
    copy.apply(&copy.policy("p", &spec())).unwrap();
    let stored = copy.get("p");
    let conditions = stored["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 1, "{stored}");
    assert_eq!(
        (&conditions[0]["type"], &conditions[0]["status"], &conditions[0]["reason"]),
        (&json!("Ready"), &json!("Unknown"), &json!("Pending"))
    );
    // It is nobody's field: applying the file again changes nothing, and the operator's status replaces it.
    assert!(copy.apply(&copy.policy("p", &spec())).unwrap().contains("unchanged"));
    assert_eq!(copy.get("p")["metadata"]["generation"], 1);
    let ready = json!({"type": "Ready", "status": "True", "reason": "Enforced", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    copy.write_status("p", &json!({"observedGeneration": 1, "conditions": [ready]}));
    let conditions = copy.get("p")["status"]["conditions"].clone();
    assert_eq!(conditions, json!([ready]));
    copy.kubectl(&["wait", "--for=condition=Ready", "--timeout=5s", &copy.resource(), "p"], "").unwrap();
}

#[tokio::test]
async fn kubectl_get_answers_what_a_policy_does_and_why() {
    let copy = Copy::with_ours("columns").await;
    copy.apply(&copy.policy("deny", &spec())).unwrap();
    let words = |args: &[&str]| -> Vec<Vec<String>> {
        let text = copy.kubectl(args, "").unwrap();
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let resource = copy.resource();
    let new = words(&["get", &resource]);
    assert_eq!(new[0], ["NAME", "MODE", "READY", "ENFORCING", "REASON", "AGE"]);
    assert_eq!(new[1][..2], ["deny", "Pending"], "{new:?}");
    let condition = |ty: &str, reason: &str| json!({"type": ty, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    copy.write_status(
        "deny",
        &json!({
            "mode": "Enforce", "summary": "3/3", "strength": "Deny", "digest": "0123456789ab",
            "activity": {"denied": "10+", "wouldDeny": "0", "faults": "1+"},
            "conditions": [condition("Enforcing", "Enforced"), condition("Ready", "Enforced")],
        }),
    );
    let table = words(&["get", &resource]);
    assert_eq!(table[1][..5], ["deny", "Enforce", "3/3", "True", "Enforced"]);
    let wide = words(&["get", &resource, "-o", "wide"]);
    assert_eq!(wide[0][5..10], ["STRENGTH", "DENIED", "WOULD-DENY", "FAULTS", "DIGEST"]);
    assert_eq!(wide[1][5..10], ["Deny", "10+", "0", "1+", "0123456789ab"]);
}

#[tokio::test]
async fn what_the_author_wrote_is_stored_as_it_was_written() {
    let copy = Copy::with_ours("kept").await;
    // Misspelt fields at every depth, and fields that other schemas would fill in.
    let spec = json!({
        "kprobez": [1],
        "kprobes": [{
            "call": "security_file_open", "sycall": true,
            "args": [{"index": 0, "tpye": "file"}],
            "selectors": [{"matchPID": [{"operator": "In"}], "matchPIDs": [{"operator": "In", "values": [1], "followFork": true}]}],
        }],
        "podSelector": {"matchLabel": {"a": "b"}},
    });
    copy.apply(&copy.policy("p", &spec)).unwrap();
    assert_eq!(copy.get("p")["spec"], spec);
    // At the root nothing is kept, and kubectl's strictness says so.
    let mut policy = copy.policy("q", &spec);
    policy["spek"] = json!({});
    let refused = copy.apply(&policy).unwrap_err();
    assert!(refused.contains("unknown field \"spek\""), "{refused}");
}

/// A CRD like the ones that clusters have already: defaults, no status, no columns, unknown fields dropped.
fn older(copy: &Copy) -> Value {
    let mut crd = copy.ours();
    let version = &mut crd["spec"]["versions"][0];
    version.as_object_mut().unwrap().retain(|key, _| ["name", "served", "storage", "schema"].contains(&key.as_str()));
    let pids = json!({"type": "array", "items": {
        "type": "object", "required": ["operator", "values"], "properties": {
            "operator": {"type": "string", "enum": ["In", "NotIn"]},
            "values": {"type": "array", "items": {"type": "integer", "format": "int32"}},
            "isNamespacePID": {"type": "boolean", "default": false},
            "followForks": {"type": "boolean", "default": false},
        },
    }});
    let argument = json!({"type": "object", "required": ["index"], "properties": {
        "index": {"type": "integer", "format": "int32", "minimum": 0},
        "type": {"type": "string", "default": "auto"},
        "maxData": {"type": "boolean", "default": false},
    }});
    let kprobe = json!({"type": "object", "required": ["call"], "properties": {
        "call": {"type": "string"},
        "syscall": {"type": "boolean", "default": true},
        "return": {"type": "boolean", "default": false},
        "args": {"type": "array", "items": argument},
        "selectors": {"type": "array", "items": {"type": "object", "properties": {"matchPIDs": pids}}},
    }});
    version["schema"]["openAPIV3Schema"] = json!({
        "type": "object", "required": ["metadata", "spec"], "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": {"kprobes": {"type": "array", "items": kprobe}}},
        },
    });
    crd["metadata"]["labels"] = json!({(stockade_crds::names::SCHEMA_VERSION_LABEL): "1.8.13"});
    crd
}

#[tokio::test]
async fn applied_over_an_older_crd_it_keeps_the_stored_policies_and_gives_them_a_status() {
    let copy = Copy::new("older").await;
    copy.apply_crd(&older(&copy)).await;
    let written = json!({"kprobes": [{"call": "sys_write", "selectors": [{"matchPIDs": [{"operator": "NotIn", "values": [1]}]}]}]});
    copy.apply(&copy.policy("old", &written)).unwrap();
    let before = copy.get("old");
    assert_eq!(before["spec"]["kprobes"][0]["syscall"], true, "the stand-in has defaults: {before}");
    assert!(before.get("status").is_none(), "{before}");

    copy.apply_crd(&copy.ours()).await;
    let after = eventually("the new schema is served", || async {
        let object = copy.get("old");
        Ok(object.get("status").is_some().then_some(object))
    });
    let after = after.await.unwrap();
    assert_eq!((&after["spec"], &after["metadata"]["uid"]), (&before["spec"], &before["metadata"]["uid"]));
    assert_eq!(after["status"]["conditions"][0]["reason"], "Pending");
    copy.write_status("old", &json!({"mode": "Enforce", "summary": "1/1"}));
    copy.kubectl(&["label", &copy.resource(), "old", "still=writable"], "").unwrap();
    assert_eq!(copy.get("old")["spec"], before["spec"]);

    // The same file, applied again, takes out what only the older schema had written: admission then judges it.
    copy.apply(&copy.policy("new", &written)).unwrap();
    assert_eq!(copy.get("new")["spec"], written);
}

/// Documents of the corpus, and one for every way in which a schema can be broken.
fn documents(copy: &Copy) -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    for folder in ["valid", "invalid"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies").join(folder);
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "yaml") {
                let args =
                    ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", path.to_str().unwrap()];
                // What kubectl itself cannot read, or is of no kind that exists, no schema is asked about.
                let Ok(text) = copy.kubectl(&args, "") else { continue };
                let object: Value = serde_json::from_str(&text).unwrap();
                documents.push((path.display().to_string(), object["spec"].clone()));
            }
        }
    }
    assert!(documents.len() > 20, "{}", documents.len());
    let kprobe = |more: Value| {
        let mut kprobe = json!({"call": "a"});
        kprobe.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"kprobes": [kprobe]})
    };
    let broken = [
        json!(null),
        json!("text"),
        json!({"kprobes": {}}),
        json!({"kprobes": [null]}),
        json!({"kprobes": [{}]}),
        json!({"kprobes": null, "podSelector": null}),
        json!({"mode": "enforce"}),
        json!({"mode": 1}),
        json!({"loader": "yes"}),
        json!({"podSelector": {"matchLabels": {"app": "no spaces"}}}),
        json!({"podSelector": {"matchLabels": {"app": 1, "tier": "b".repeat(64)}}}),
        json!({"selectorsMacros": {"m": {"matchPIDs": [{"operator": "Is", "values": [1]}]}}}),
        json!({"lists": [{"values": []}]}),
        kprobe(json!({"tags": vec!["t"; 17]})),
        kprobe(json!({"args": [{"index": -1}, {"index": 1.5}, {"index": "2"}, {"index": 1, "type": "itn"}]})),
        kprobe(json!({"args": [{"index": 9_223_372_036_854_775_807_i64}, {"index": 3.0}]})),
        kprobe(json!({"selectors": [{"matchPIDs": [{"operator": "In", "values": [1, "2", null]}]}]})),
        kprobe(json!({"selectors": [{"matchActions": [{"action": "sigkill", "argError": "-1"}]}]})),
        kprobe(
            json!({"syscall": null, "message": null, "selectors": [{"matchArgs": [{"operator": "Equal", "values": [5]}]}]}),
        ),
    ];
    documents.extend(broken.into_iter().map(|spec| (spec.to_string(), spec)));
    documents
}

#[tokio::test]
async fn offline_the_schema_says_what_the_api_server_says() {
    let copy = Copy::with_ours("agree").await;
    let mut refused = 0;
    for (name, spec) in documents(&copy) {
        let mut offline = copy.policy("p", &spec);
        offline["apiVersion"] = json!(stockade_crds::names::POLICY_API_VERSION);
        let offline: BTreeSet<_> =
            schema_faults(&offline).into_iter().map(|f| (plain(&f.path), f.code.to_owned())).collect();
        let online = copy.refusal(&copy.policy("p", &spec)).await;
        refused += usize::from(online.is_some());
        let online: BTreeSet<_> = online.into_iter().flat_map(|status| causes(&status)).collect();
        assert_eq!(offline, online, "{name}");
    }
    assert!(refused >= 15, "{refused}");
}

/// Where and why it refuses.
fn causes(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code, 422, "{status:?}");
    let causes = status.details.as_ref().map(|d| d.causes.clone()).unwrap_or_default();
    let causes = causes.into_iter().filter(|cause| cause.field != "<nil>");
    let causes: Vec<_> = causes.map(|cause| (plain(&cause.field), cause.reason)).collect();
    // What has the wrong type is in no enum either: we say the first alone.
    let mistyped = |path: &str| causes.iter().any(|(p, reason)| p == path && reason == "FieldValueTypeInvalid");
    let kept = |(path, reason): &&(String, String)| reason == "FieldValueTypeInvalid" || !mistyped(path);
    causes.iter().filter(kept).cloned().collect()
}

/// The API server writes `matchLabels.app` where we write `matchLabels[app]`.
fn plain(path: &str) -> String {
    path.replace('[', ".").replace(']', "")
}

#[tokio::test]
async fn the_chart_takes_existing_crds_over_and_leaves_them_when_it_goes() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("charts").await.unwrap();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/stockade-crds");
    let helm = |args: &[&str]| {
        let mut command = std::process::Command::new(server.rig().tool("helm"));
        let command = command.args(args).args(["--namespace", namespace.name()]);
        let output = command.env("KUBECONFIG", server.rig().kubeconfig()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    let uid = |crd: Crd| {
        let args = ["get", "crd", &crd.name(), "-o", "jsonpath={.metadata.uid}"];
        server.kubectl().run(&args).unwrap().ok().unwrap()
    };
    let before = Crd::ALL.map(uid);
    let chart = chart.to_str().unwrap();
    helm(&["upgrade", "--install", "stockade-crds", chart, "--take-ownership", "--force-conflicts"]);
    helm(&["uninstall", "stockade-crds"]);
    assert_eq!(Crd::ALL.map(uid), before);
    namespace.delete(&server).await.unwrap();
}
