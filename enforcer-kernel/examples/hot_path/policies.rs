//! The policies of the bench.

use serde_json::{Value, json};
use stockade_policy::ir::ValidatedPolicy;

const CLUSTER: &str = "TracingPolicy";
const NAMESPACED: &str = "TracingPolicyNamespaced";

fn own() -> String {
    std::env::current_exe().unwrap().display().to_string()
}

fn document(kind: &str, name: &str, kprobe: &Value) -> Value {
    let mut document = json!({
        "apiVersion": "cilium.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "generation": 1},
        "spec": {"kprobes": [kprobe]},
    });
    if kind == NAMESPACED {
        document["metadata"]["namespace"] = "shop".into();
    }
    document
}

fn judged(document: &Value) -> ValidatedPolicy {
    let judgement = stockade_policy::judge(document);
    judgement.policy.unwrap_or_else(|| panic!("{:#?}", judgement.faults))
}

/// 50 binaries each; this process is among them only if `matching`.
fn binaries(number: usize, matching: bool) -> Value {
    let mut values: Vec<String> = (0..50).map(|value| format!("/usr/bin/{number}-{value}")).collect();
    if matching {
        values[0] = own();
    }
    json!({
        "call": "security_task_getpgid",
        "syscall": false,
        "selectors": [{"matchBinaries": [{"operator": "In", "values": values}]}],
    })
}

/// Policies that apply to this process.
pub fn listing_binaries(count: usize, matching: bool) -> Vec<ValidatedPolicy> {
    let policy = |number| judged(&document(CLUSTER, &format!("bench-{number}"), &binaries(number, matching)));
    (0..count).map(policy).collect()
}

/// Policies of a namespace that this process is not in.
pub fn elsewhere(count: usize) -> Vec<ValidatedPolicy> {
    let policy = |number| judged(&document(NAMESPACED, &format!("bench-{number}"), &binaries(number, false)));
    (0..count).map(policy).collect()
}

/// The same as files: name and text.
pub fn documents(count: usize) -> Vec<(String, String)> {
    let file = |number| {
        let document = document(CLUSTER, &format!("bench-{number}"), &binaries(number, false));
        (format!("{number}.json"), document.to_string())
    };
    (0..count).map(file).collect()
}

pub fn denying(event: bool) -> ValidatedPolicy {
    let mut actions = vec![json!({"action": "Override", "argError": -1})];
    if !event {
        actions.push(json!({"action": "NoPost"}));
    }
    let kprobe = json!({
        "call": "security_task_getpgid",
        "syscall": false,
        "selectors": [{
            "matchBinaries": [{"operator": "In", "values": [own()]}],
            "matchActions": actions,
        }],
    });
    judged(&document(CLUSTER, "bench-deny", &kprobe))
}

pub fn path_prefixes(values: usize) -> ValidatedPolicy {
    let values: Vec<String> = (0..values).map(|value| format!("/srv/secret-{value}/")).collect();
    let kprobe = json!({
        "call": "security_file_open",
        "syscall": false,
        "args": [{"index": 0, "type": "file"}],
        "selectors": [{
            "matchArgs": [{"index": 0, "operator": "Prefix", "values": values}],
            "matchActions": [{"action": "Override", "argError": -1}],
        }],
    });
    judged(&document(CLUSTER, "bench-paths", &kprobe))
}

/// Everything that can be asked about a process.
fn about_the_process(selector: &mut Value) {
    selector["matchBinaries"] = json!([
        {"operator": "Prefix", "values": ["/opt/"]},
        {"operator": "NotIn", "values": ["/opt/allowed"], "followChildren": true},
        {"operator": "NotPostfix", "values": ["/busybox"]},
    ]);
    selector["matchPIDs"] = json!([
        {"operator": "NotIn", "values": [1], "followForks": true, "isNamespacePID": true},
        {"operator": "NotIn", "values": [2], "followForks": false, "isNamespacePID": true},
    ]);
    let namespaces = ["Uts", "Ipc", "Mnt", "Pid", "PidForChildren", "Net", "Cgroup", "User"];
    let namespaces = namespaces.map(|name| json!({"namespace": name, "operator": "NotIn", "values": ["1"]}));
    selector["matchNamespaces"] = namespaces.to_vec().into();
}

pub fn everything() -> Vec<ValidatedPolicy> {
    let mut file = json!({
        "matchArgs": [
            {"index": 0, "operator": "Equal", "values": ["/etc/shadow"]},
            {"index": 0, "operator": "NotPrefix", "values": ["/proc/"]},
            {"index": 0, "operator": "NotPostfix", "values": [".tmp"]},
            {"index": 1, "operator": "Equal", "values": ["2"]},
        ],
        "matchActions": [{"action": "Override", "argError": -1}, {"action": "Sigkill"}],
    });
    let mut socket = json!({
        "matchArgs": [
            {"index": 0, "operator": "Family", "values": ["AF_INET"]},
            {"index": 0, "operator": "Protocol", "values": ["IPPROTO_TCP"]},
            {"index": 1, "operator": "DAddr", "values": ["10.0.0.0/8"]},
            {"index": 1, "operator": "DPort", "values": ["443"]},
        ],
        "matchActions": [{"action": "Override", "argError": -1}, {"action": "Sigkill"}],
    });
    about_the_process(&mut file);
    about_the_process(&mut socket);
    let file = json!({
        "call": "security_file_permission",
        "syscall": false,
        "args": [{"index": 0, "type": "file"}, {"index": 1, "type": "int"}],
        "selectors": [file],
    });
    let socket = json!({
        "call": "security_socket_connect",
        "syscall": false,
        "args": [{"index": 0, "type": "sock"}, {"index": 1, "type": "sockaddr"}],
        "selectors": [socket],
    });
    let policies = [("bench-file", file), ("bench-socket", socket)];
    policies.map(|(name, kprobe)| judged(&document(CLUSTER, name, &kprobe))).to_vec()
}
