//! Probes in programs of the node.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

mod guest;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use guest::*;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value as Json, json};
use stockade_enforcer_kernel::event::{Hook, Value};
use stockade_enforcer_kernel::{Engine, Reason};
use stockade_policy::ir::ValidatedPolicy;

/// A library that the test's own program calls.
fn libc() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = |line: &str| line.split_ascii_whitespace().nth(5).map(str::to_owned);
    maps.lines().filter_map(path).find(|path| path.contains("/libc.so")).unwrap()
}

fn probing(uprobes: &[Json]) -> ValidatedPolicy {
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "probing", "generation": 1},
        "spec": {"uprobes": uprobes},
    }))
}

fn fired(engine: &mut Engine) -> Vec<Hook> {
    let mut found = Vec::new();
    loop {
        let events = engine.poll_events(4096);
        if events.is_empty() {
            return found;
        }
        found.extend(events.into_iter().map(Result::unwrap).filter_map(|event| match event {
            stockade_enforcer_kernel::event::Event::Hook(hook) => Some(hook),
            _ => None,
        }));
    }
}

fn this_program() -> String {
    std::fs::read_link("/proc/self/exe").unwrap().to_string_lossy().into_owned()
}

/// Where a program begins, in its file: what a loaded segment says of the entry's address.
fn entry_of(program: &Path) -> u64 {
    let bytes = std::fs::read(program).unwrap();
    let number =
        |at: usize, size: usize| bytes[at..at + size].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let (entry, headers, size, count) = (number(24, 8), number(32, 8), number(54, 2), number(56, 2));
    let segments = (0..count).map(|index| usize::try_from(headers + index * size).unwrap());
    let offset = segments.filter(|at| number(*at, 4) == 1).find_map(|at| {
        let (offset, address, length) = (number(at + 8, 8), number(at + 16, 8), number(at + 32, 8));
        (entry >= address && entry < address + length).then(|| entry - address + offset)
    });
    offset.unwrap()
}

#[test]
fn what_a_function_of_a_library_is_called_with_is_compared_and_reported() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let (library, program) = (libc(), this_program());
    let of_this = json!([{"operator": "In", "values": [program]}]);
    let writing = json!({
        "path": library,
        "symbols": ["write"],
        "args": [{"index": 1, "type": "char_buf", "sizeArgIndex": 3}, {"index": 2, "type": "size_t"}],
        "selectors": [{
            "matchBinaries": of_this,
            "matchArgs": [
                {"index": 1, "operator": "Prefix", "values": ["uprobes:"]}, {"index": 2, "operator": "LT", "values": ["16"]},
            ],
        }],
    });
    let making = json!({
        "path": library,
        "symbols": ["mkdir", "rmdir"],
        "args": [{"index": 0, "type": "string"}],
        "selectors": [{
            "matchBinaries": of_this, "matchArgs": [{"index": 0, "operator": "Postfix", "values": ["/made"]}],
        }],
    });
    let report = apply(&mut engine, &[probing(&[writing, making])], &snapshot(&[]));
    let hooks = &report.policies.values().next().unwrap().hooks;
    let mechanisms: Vec<String> = hooks.iter().filter_map(|hook| hook.mechanism.clone()).collect();
    let names = ["write", "mkdir", "rmdir"].map(|name| format!("{library}:{name}"));
    assert_eq!(mechanisms, names.clone().map(|name| format!("uprobe{name}")));
    std::fs::create_dir_all("/tmp/uprobes").unwrap();
    fired(&mut engine);
    for bytes in ["uprobes: too long to be it", "uprobe: no", "uprobes: yes"] {
        std::fs::write("/tmp/uprobes/written", bytes).unwrap();
    }
    for name in ["made", "made-not"] {
        std::fs::create_dir(format!("/tmp/uprobes/{name}")).unwrap();
        std::fs::remove_dir(format!("/tmp/uprobes/{name}")).unwrap();
    }
    let events = fired(&mut engine);
    let functions: Vec<&str> = events.iter().map(|hook| hook.fired[0].rule.function.as_str()).collect();
    assert_eq!(functions, names, "each once");
    let read = |event: usize, at: usize| {
        let position = events[event].fired[0].rule.args[at].position;
        events[event].args.iter().find(|arg| arg.position == position).unwrap().value.clone()
    };
    let text = |text: &str| Value::Text { bytes: text.into(), cut: false };
    assert_eq!((read(0, 0), read(0, 1)), (text("uprobes: yes"), Value::Unsigned(12)));
    assert_eq!((read(1, 0), read(2, 0)), (text("/tmp/uprobes/made"), text("/tmp/uprobes/made")));
    finish(engine);
}

#[test]
fn a_program_that_is_replaced_is_noticed_and_probed_again() {
    if !in_guest() {
        return;
    }
    let folder = Path::new("/tmp/uprobes");
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    let program = folder.join("bin/program");
    std::fs::copy("/bin/busybox", &program).unwrap();
    // A link that begins at the root is followed from the node's root.
    std::os::unix::fs::symlink("/tmp/uprobes/bin", folder.join("link")).unwrap();
    let run = || assert!(Command::new(&program).arg0("true").status().unwrap().success());
    let uprobe = json!({"path": "/tmp/uprobes/link/program", "offsets": [entry_of(&program)]});
    let policy = probing(&[uprobe]);
    let mut engine = fresh_engine();
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[]));
    fired(&mut engine);
    run();
    assert_eq!(fired(&mut engine).len(), 1);
    assert!(engine.verify().tampered.is_empty());
    std::fs::copy("/bin/busybox", folder.join("bin/new")).unwrap();
    std::fs::rename(folder.join("bin/new"), &program).unwrap();
    run();
    assert_eq!(fired(&mut engine).len(), 0, "it is another file");
    let tampered = engine.verify().tampered;
    assert!(tampered.len() == 1 && tampered[0].what.contains("replaced"), "{tampered:?}");
    engine.repair();
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[]));
    assert!(engine.verify().tampered.is_empty());
    run();
    assert_eq!(fired(&mut engine).len(), 1);
    // What is in force outlives the agent, as at every other place.
    drop(engine);
    run();
    let mut engine = start_engine();
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[]));
    run();
    assert_eq!(fired(&mut engine).len(), 2);
    finish(engine);
}

#[test]
fn what_a_file_does_not_have_is_said_and_takes_nothing_else_out_of_force() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/uprobes").unwrap();
    let pipe = Path::new("/tmp/uprobes/pipe");
    rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut engine = fresh_engine();
    let (library, program) = (libc(), this_program());
    let symbol = |path: &str, name: &str| json!({"path": path, "symbols": [name]});
    let cases = [
        (symbol("/no/such/file", "main"), "No such file"),
        // Opening one would wait for somebody who writes.
        (symbol("/tmp/uprobes/pipe", "main"), "not a file"),
        (symbol("/init", "main"), "no program"),
        (symbol(&library, "stockade_nowhere"), "no symbol"),
        // Chosen by what the processor can do.
        (symbol(&library, "memcpy"), "IFUNC"),
        // Its data: a probe there would be in force and never be hit.
        (json!({"path": program, "offsets": [0]}), "no code at offset"),
        (json!({"path": program, "addrs": [u64::MAX >> 1]}), "no code at address"),
    ];
    for (uprobe, why) in cases {
        let report = engine.apply(&[probing(&[uprobe])], &snapshot(&[]));
        let report = report.policies.into_values().next().unwrap();
        let trouble = report.trouble.unwrap();
        assert_eq!((trouble.reason, report.generation_in_force), (Reason::AttachFailed, None), "{why}");
        assert!(trouble.message.contains(why), "{why}: {}", trouble.message);
    }
    // Of a name with an old version, what programs are linked to today.
    let report = engine.apply(&[probing(&[symbol(&library, "glob")])], &snapshot(&[]));
    assert_eq!(report.policies.into_values().next().unwrap().trouble, None);
    // A policy that refuses as well goes on refusing when the program of its probe has gone.
    let copy = Path::new("/tmp/uprobes/copy");
    std::fs::copy("/bin/busybox", copy).unwrap();
    let both = policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "both", "generation": 1},
        "spec": {
            "lsmhooks": [{
                "hook": "path_mkdir", "args": [{"index": 0, "type": "path"}],
                "selectors": [{
                    "matchArgs": [{"index": 0, "operator": "Equal", "values": ["/tmp/uprobes"]}],
                    "matchActions": [{"action": "Override", "argError": -1}],
                }],
            }],
            "uprobes": [{"path": "/tmp/uprobes/copy", "offsets": [entry_of(copy)]}],
        },
    }));
    apply(&mut engine, std::slice::from_ref(&both), &snapshot(&[]));
    let refused = || std::fs::create_dir("/tmp/uprobes/refused").is_err();
    assert!(refused());
    std::fs::remove_file(copy).unwrap();
    for _ in 0..2 {
        let report = engine.apply(std::slice::from_ref(&both), &snapshot(&[]));
        let report = report.policies.into_values().next().unwrap();
        assert_eq!(report.trouble.map(|trouble| trouble.reason), Some(Reason::AttachFailed));
        assert_eq!(report.generation_in_force, Some(1));
        assert!(refused());
        drop(engine);
        engine = start_engine();
        assert!(refused());
    }
    finish(engine);
}
