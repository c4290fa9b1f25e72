//! `lint`, `explain` and `diff` with the nodes of a cluster, whose API server is played by this test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

mod folder;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use folder::{Folder, Ran};
use serde_json::{Value, json};

const POLICY: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: truncate}
spec:
  nodeSelector: {matchLabels: {pool: apps}}
  lsmhooks:
  - hook: file_truncate
    args: [{index: 0, type: file}]
    selectors:
    - matchArgs: [{index: 0, operator: Prefix, values: [/etc/]}]
      matchActions: [{action: Override, argError: -1}]
";

/// What the API server answers: a status, and objects by the end of the path.
type Answers = Vec<(&'static str, u16, Value)>;

fn node(name: &str, pool: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"pool": pool}}})
}

fn state(name: &str, hooks: &[&str]) -> Value {
    let facts = json!({
        "kernelRelease": "6.1.0-18-amd64", "architecture": "x86_64", "lsm": ["lockdown", "bpf"], "lsmHooks": hooks,
        "features": ["btf", "cgroup2", "perf_events"],
    });
    json!({
        "apiVersion": "stockade.dev/v1alpha1", "kind": "NodePolicyState", "metadata": {"name": name},
        "status": {"facts": facts},
    })
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
}

fn cluster() -> Answers {
    let hooks = ["file_open(struct file *file)", "file_truncate(struct file *file)"];
    // What a node says that is gone is nobody's business.
    let states = [state("new", &hooks), state("old", &hooks[..1]), state("other", &hooks[..1]), state("gone", &[])];
    let nodes = [node("new", "apps"), node("old", "apps"), node("other", "db"), node("joining", "apps")];
    vec![("/nodepolicystates", 200, list(&states)), ("/nodes", 200, list(&nodes))]
}

/// An API server, and a kubeconfig for it in a folder with a policy.
fn with(answers: Answers) -> Folder {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &answers)));
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "fake", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "prod", "context": {"cluster": "fake", "user": "me"}}],
        "users": [{"name": "me", "user": {}}],
    });
    let folder = Folder::new(&[("p.yaml", POLICY)]);
    folder.write("kubeconfig", kubeconfig.to_string());
    folder
}

fn answer(mut stream: TcpStream, answers: &Answers) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let known = answers.iter().find(|(end, ..)| path.ends_with(end));
    let (status, body) = known.map_or((404, Value::Null), |(_, status, body)| (*status, body.clone()));
    let body = match status {
        200 => body,
        _ => {
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "no", "reason": "No"})
        }
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n");
    // Whoever asked may have gone.
    let _gone = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
}

fn run(folder: &Folder, args: &[&str]) -> Ran {
    let cluster = ["--kubeconfig", "kubeconfig", "--context", "prod"];
    folder.run(&args.iter().chain(&cluster).copied().collect::<Vec<_>>(), "")
}

#[test]
fn lint_warns_of_what_the_nodes_lack_as_the_webhook_does() {
    let folder = with(cluster());
    let offline = folder.run(&["lint", "p.yaml"], "");
    assert_eq!((offline.code, offline.out.as_str()), (0, "1 document: 1 accepted, 0 refused\n"));
    let ran = run(&folder, &["lint", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in [
        "warning[HookUnavailable]: 1 of 2 nodes (old, kernel 6.1): no LSM hook file_truncate",
        "--> p.yaml:7:5",
        "= help: such nodes report HookUnavailable",
        "(0 faults, 1 warning)",
    ] {
        assert!(ran.out.contains(text), "{text}: {}", ran.out);
    }
    assert_eq!(run(&folder, &["lint", "--fail-on", "warning", "p.yaml"]).code, 1);
    let warnings = run(&folder, &["lint", "-o", "json", "p.yaml"]).json()["documents"][0]["warnings"].clone();
    assert_eq!(warnings[0]["code"], "HookUnavailable");
}

#[test]
fn explain_says_how_strong_each_hook_is_on_which_nodes() {
    let ran = run(&with(cluster()), &["explain", "p.yaml"]);
    let expected = "\
On the nodes of the cluster:
  It is loaded on 2 of 3 nodes.
  spec.lsmhooks[0] (file_truncate): Deny on new.
  spec.lsmhooks[0] (file_truncate): not to be had on old: no LSM hook file_truncate.
";
    assert!(ran.code == 0 && ran.out.contains(expected), "{ran:?}");
}

#[test]
fn diff_says_what_changes_on_the_nodes() {
    let folder = with(cluster());
    folder.write("open.yaml", POLICY.replace("file_truncate", "file_open"));
    let ran = run(&folder, &["diff", "p.yaml", "open.yaml"]);
    let expected = "\
  on the nodes of the cluster:
    - spec.lsmhooks[0] (file_truncate): Deny on new.
    - spec.lsmhooks[0] (file_truncate): not to be had on old: no LSM hook file_truncate.
    + spec.lsmhooks[0] (file_open): Deny on all 2 nodes.
";
    assert!(ran.code == 1 && ran.out.contains(expected), "{ran:?}");
    let json = run(&folder, &["diff", "-o", "json", "p.yaml", "open.yaml"]).json();
    assert_eq!(json["policies"][0]["onNodes"]["new"][0], "spec.lsmhooks[0] (file_open): Deny on all 2 nodes.");
}

#[test]
fn without_the_nodes_labels_the_policy_is_compared_with_all_nodes_and_that_is_said() {
    let answers =
        cluster().into_iter().map(|(end, status, body)| (end, if end == "/nodes" { 403 } else { status }, body));
    let ran = run(&with(answers.collect()), &["explain", "p.yaml"]);
    assert!(ran.err.contains("the nodes' labels may not be read"), "{ran:?}");
    assert!(ran.out.contains("Deny on new.") && ran.out.contains("on old, other, gone: no LSM hook"), "{ran:?}");
}

#[test]
fn a_cluster_that_cannot_say_it_is_an_error_or_a_note_and_never_silence() {
    let none = run(&with(vec![("/nodes", 200, list(&[])), ("/nodepolicystates", 200, list(&[]))]), &["lint", "p.yaml"]);
    assert!(none.code == 0 && none.err.contains("no node of the cluster has published"), "{none:?}");
    let no_kind = run(&with(vec![("/nodes", 200, list(&[]))]), &["lint", "p.yaml"]);
    assert!(no_kind.code == 2 && no_kind.err.contains("install the chart stockade-crds"), "{no_kind:?}");
    let broken = run(&with(vec![("/nodes", 500, Value::Null)]), &["explain", "p.yaml"]);
    assert!(broken.code == 2 && broken.err.contains("for nodes"), "{broken:?}");
    let no_context = with(cluster()).run(&["lint", "--kubeconfig", "kubeconfig", "--context", "x", "p.yaml"], "");
    assert!(no_context.code == 2 && no_context.err.contains("using the kubeconfig"), "{no_context:?}");
}

/// The same connection, and the same options.
#[test]
fn status_asks_the_same_cluster() {
    let policy = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "truncate", "generation": 1},
        "spec": {}, "status": {"observedGeneration": 1, "summary": "1/1", "mode": "Enforce"},
    });
    let mut answers = cluster();
    answers.push(("/tracingpolicies", 200, list(&[policy])));
    answers.push(("/tracingpoliciesnamespaced", 200, list(&[])));
    let folder = with(answers);
    let ran = run(&folder, &["status"]);
    assert!(ran.code == 0 && ran.out.contains("tgtp/truncate"), "{ran:?}");
    let detail = run(&folder, &["status", "truncate"]);
    assert!(detail.code == 0 && detail.out.contains("NotReported"), "{detail:?}");
}
