//! The examples of `docs/cli.md`, run: what they print is what stands there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

mod folder;

use std::fs;
use std::path::Path;

use folder::Folder;
use serde_json::json;

/// The policy that the examples of `lint` are about.
const SHADOW: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: shadow
spec:
  kprobes:
  - call: security_file_permission
    syscall: false
    args:
    - index: 0
      type: file
    selectors:
    - matchPIDs:
        # Everything but the first process.
      - operator: NotIn
        values: [1, 0]
";

/// The commands that need no cluster.
const OFFLINE: [&str; 5] = ["lint", "explain", "test", "convert", "diff"];

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

/// The blocks of code of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    for (at, piece) in page.split("\n```").enumerate() {
        if at % 2 == 1 {
            let (language, text) = piece.split_once('\n').unwrap();
            blocks.push((language.to_owned(), format!("{text}\n")));
        }
    }
    blocks
}

/// As an enforcer writes it.
fn event(path: &str) -> String {
    let process = json!({
        "exec_id": "c", "pid": 4711, "tid": 4711, "binary": "/usr/bin/cp", "identity": "pod",
        "pod": {"namespace": "shop", "name": "web", "pod_labels": {}},
    });
    let body = json!({
        "process": process, "args": [{"file_arg": {"path": path}}, {"int_arg": 2}],
        "policy_name": "deny-writes", "policy_namespace": "shop", "hook_index": 0, "selector": 0, "verdict": "denied",
        "function_name": "security_file_permission",
    });
    json!({"process_kprobe": body, "time": path}).to_string()
}

fn examples() -> Folder {
    let folder = Folder::new(&[("shadow.yaml", SHADOW)]);
    let policy = blocks(&page("policies.md")).into_iter().find(|(language, _)| language == "yaml").unwrap().1;
    folder.write("deny-writes.yaml", &policy);
    folder.write("events.jsonl", [event("/etc/app/x"), event("/etc/app.d/x")].join("\n"));
    folder
}

#[test]
fn every_example_of_the_page_prints_what_stands_there() {
    let folder = examples();
    let mut ran = 0;
    for (language, text) in blocks(&page("cli.md")) {
        // A file of an example says its name in its first line.
        let named = text.lines().next().and_then(|line| line.strip_prefix("# ")).filter(|name| name.ends_with(".yaml"));
        if let Some(name) = named.filter(|_| language == "yaml") {
            folder.write(name, &text);
        }
        for example in format!("\n{text}").split("\n$ stockade ").skip(1) {
            let (command, expected) = example.split_once('\n').unwrap();
            let args: Vec<&str> = command.split(' ').collect();
            if OFFLINE.contains(&args[0]) {
                let output = folder.run(&args, "");
                // What a conversion has done is said beside the text.
                let said = if args[0] == "convert" { output.out.clone() + &output.err } else { output.out.clone() };
                assert_eq!(said.trim_end(), expected.trim_end(), "stockade {command}: {}", output.err);
                ran += 1;
            }
        }
    }
    assert!(ran >= 5, "only {ran} examples were found");
}
