//! What processes have from their ancestors: marks of pids and executables, those of processes that are to come included,
//! for as long as a policy asks for them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

mod guest;

use std::process::{Command, Stdio};

use guest::*;
use serde_json::{Value as Json, json};
use stockade_enforcer_kernel::Engine;
use stockade_enforcer_kernel::event::Value;
use stockade_policy::ir::ValidatedPolicy;

fn guarded_file() {
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret").unwrap();
}

/// Refuses to open what is below /tmp/guarded to whom these filters select.
fn guarded(generation: i64, selectors: &[Json]) -> ValidatedPolicy {
    let selector = |filter: &Json| {
        let mut selector = filter.clone();
        selector["matchArgs"] = json!([{"index": 0, "operator": "Prefix", "values": ["/tmp/guarded"]}]);
        selector["matchActions"] = json!([{"action": "Override", "argError": -1}]);
        selector
    };
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": "lineage", "generation": generation},
        "spec": {
            // Pids of the host are those of one node.
            "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "guest"}},
            "kprobes": [{
                "call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}],
                "selectors": selectors.iter().map(selector).collect::<Vec<_>>(),
            }],
        },
    }))
}

fn pids(operator: &str, values: &[u32]) -> Json {
    json!({"matchPIDs": [{
        "operator": operator, "values": values, "followForks": true, "isNamespacePID": false,
    }]})
}

/// Opens the file with builtins and in a forked child: the exit status is 0 if it could, each time.
const OPENS: &str = "true < /tmp/guarded/file && ( ( true < /tmp/guarded/file ) )";

#[test]
fn a_pid_that_is_named_before_anybody_has_it_counts_with_its_descendants() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    guarded_file();
    let pid = Command::new("/bin/busybox").arg("true").spawn().unwrap().id() + 40;
    apply(&mut engine, &[guarded(1, &[pids("In", &[pid])])], &snapshot(&[]));
    let (mut met, mut others) = (0, 0);
    // Each forks before it opens, so that it is the child of who is named that is refused.
    let script = "( ( cat /tmp/guarded/file ) )";
    for _ in 0..200 {
        let mut command = Command::new("/bin/busybox");
        command.args(["sh", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        if child.id() == pid {
            met += 1;
            assert_denied(&child.wait_with_output().unwrap());
            break;
        }
        others += 1;
        let id = child.id();
        let output = child.wait_with_output().unwrap();
        // A descendant of one of these may have been given the pid.
        if !output.status.success() {
            assert!(id < pid && pid <= id + 4, "{id} was refused: {}", text(&output));
            met += 1;
            break;
        }
    }
    assert_eq!(met, 1, "nobody has had pid {pid} among {others}");
    assert_allowed(&run_on_host("cat /tmp/guarded/file"));
    finish(engine);
}

#[test]
fn marks_that_no_policy_knows_any_more_are_taken_from_processes_and_given_to_others() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    guarded_file();
    let mut shell = Shell::start(None);
    let refused = |shell: &mut Shell| shell.status(OPENS) != 0;
    // Three times sixty sets do not fit into 128 slots at a time. The shell is in one of the first and in none of the others.
    let version = |generation: i64, with: Option<u32>| {
        let others = (0..60_u32).map(|at| 1_000_000 + 100 * u32::try_from(generation).unwrap() + at);
        let sets: Vec<Json> = with.into_iter().chain(others).take(60).map(|pid| pids("In", &[pid])).collect();
        guarded(generation, &sets)
    };
    apply(&mut engine, &[version(1, Some(shell.pid()))], &snapshot(&[]));
    assert!(refused(&mut shell));
    apply(&mut engine, &[version(2, None)], &snapshot(&[]));
    assert!(!refused(&mut shell));
    drop(engine);
    let mut engine = start_engine();
    apply(&mut engine, &[version(3, None)], &snapshot(&[]));
    assert!(!refused(&mut shell), "its mark's slot stands for another set now");
    // An agent that has forgotten what the marks were gives none of them to another.
    drop(engine);
    std::fs::remove_file(options().state_dir.join("engine.json")).unwrap();
    let mut engine = start_engine();
    apply(&mut engine, &[version(4, Some(shell.pid()))], &snapshot(&[]));
    assert!(refused(&mut shell));
    finish(engine);
}

#[test]
fn descendants_of_an_unknown_executable_are_neither_listed_nor_not() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    guarded_file();
    // A path of more components than can be built, and one that nothing else descends from.
    let deep = format!("/tmp{}", "/d".repeat(200));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir_all("/tmp/listed").unwrap();
    let (deep, listed) = (format!("{deep}/busybox"), "/tmp/listed/busybox");
    for copy in [deep.as_str(), listed] {
        std::fs::copy("/bin/busybox", copy).unwrap();
    }
    let run = |shell: &str, script: &str| Command::new(shell).args(["sh", "-c", script]).output().unwrap();
    let follow = |operator: &str, value: &str| json!({"matchBinaries": [{"operator": operator, "values": [value], "followChildren": true}]});
    let opens = "exec /bin/busybox cat /tmp/guarded/file";
    // The event of the opening whose rule could not be judged, and not that of an executable whose path is too long.
    let faulted = |engine: &mut Engine| {
        let path = Value::Text { bytes: b"/tmp/guarded/file".to_vec(), cut: false };
        hook_event(engine, |hook| !hook.faulted.is_empty() && hook.args.iter().any(|arg| arg.value == path));
    };

    apply(&mut engine, &[guarded(1, &[follow("NotIn", listed)])], &snapshot(&[]));
    assert_denied(&run("/bin/busybox", opens));
    assert_allowed(&run(listed, opens));
    // It is not known whether an ancestor was a listed one.
    assert_allowed(&run(&deep, opens));
    faulted(&mut engine);

    // That one is, is known, whatever the others are.
    apply(&mut engine, &[guarded(2, &[follow("In", listed)])], &snapshot(&[]));
    assert_denied(&run(listed, &format!("exec {deep} sh -c '{opens}'")));
    assert_denied(&run(listed, &format!("exec {deep} cat /tmp/guarded/file")));
    assert_allowed(&run("/bin/busybox", opens));
    assert_allowed(&run(&deep, opens));
    faulted(&mut engine);
    finish(engine);
}
