//! Arguments that are texts and objects of the kernel: what is reported is what was handed over, and what is compared is
//! that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails says where")]

mod guest;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::Command;

use guest::*;
use serde_json::{Value as Json, json};
use stockade_enforcer_common::event::{OBJECT_UNKNOWN, ObjectData};
use stockade_enforcer_kernel::Engine;
use stockade_enforcer_kernel::event::{Event, Hook, Value};
use stockade_enforcer_kernel::report::{PolicyReport, Reason};
use stockade_enforcer_kernel::sys;
use stockade_policy::ir::ValidatedPolicy;

const FILES: &str = "/tmp/arguments";
/// A module of each kernel, which nothing else loads.
const MODULE: &str = "nls_utf8";

fn observing(name: &str, kprobes: &Json) -> ValidatedPolicy {
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": name, "generation": 1},
        "spec": {"kprobes": kprobes},
    }))
}

/// A hook that reads one argument and asks nothing.
fn reading(call: &str, index: u32, ty: &str) -> Json {
    json!({"call": call, "syscall": false, "args": [{"index": index, "type": ty}]})
}

fn report(engine: &mut Engine, policies: &[ValidatedPolicy]) -> BTreeMap<String, PolicyReport> {
    let report = engine.apply(policies, &snapshot(&[]));
    assert!(report.trouble.is_empty(), "{report:#?}");
    report.policies.into_iter().map(|(id, report)| (id.name, report)).collect()
}

/// What the hooks of each policy have reported of their first argument, since this was last asked.
fn reported(engine: &mut Engine) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    loop {
        let events = engine.poll_events(4096);
        if events.is_empty() {
            return found;
        }
        for event in events {
            if let Event::Hook(hook) = event.unwrap()
                && let Some(fired) = hook.fired.first()
            {
                found.entry(fired.rule.policy.clone()).or_default().push(first(&hook).clone());
            }
        }
    }
}

/// The same of one policy.
fn first_arguments(engine: &mut Engine, policy: &str) -> Vec<Value> {
    reported(engine).remove(policy).unwrap_or_default()
}

fn first(hook: &Hook) -> &Value {
    let position = hook.fired[0].rule.args[0].position;
    &hook.args.iter().find(|arg| arg.position == position).unwrap().value
}

fn matched(engine: &mut Engine, policy: &str) -> u64 {
    let counters = engine.counters().unwrap();
    counters.rules.iter().filter(|counted| counted.rule.policy == policy).map(|counted| counted.counts.matched).sum()
}

fn name(object: &ObjectData) -> String {
    String::from_utf8_lossy(object.name.split(|byte| *byte == 0).next().unwrap()).into_owned()
}

/// A filter of one argument, what it is about, and what it is not about.
struct Case {
    name: &'static str,
    policy: ValidatedPolicy,
    text: &'static [u8],
    matching: Box<dyn Fn()>,
    other: Box<dyn Fn()>,
}

fn filtering(name: &'static str, hook: &Json, operator: &str, value: &str) -> ValidatedPolicy {
    let mut hook = hook.clone();
    let filter = json!({"index": hook["args"][0]["index"], "operator": operator, "values": [value]});
    hook["selectors"] = json!([{"matchArgs": [filter]}]);
    observing(name, &json!([hook]))
}

type Act = Box<dyn Fn()>;

fn case(name: &'static str, hook: &Json, rule: (&str, &str), text: &'static [u8], matching: Act, other: Act) -> Case {
    let (operator, value) = rule;
    Case { name, policy: filtering(name, hook, operator, value), text, matching, other }
}

/// What is written.
fn buffers() -> Vec<Case> {
    let writing = |bytes: &'static [u8]| move || std::fs::write(format!("{FILES}/written"), bytes).unwrap();
    let sized = json!([{"index": 1, "type": "char_buf", "sizeArgIndex": 3}]);
    let buffer = json!({"call": "sys_write", "syscall": true, "args": sized});
    let in_function = json!({"call": "vfs_write", "syscall": false, "args": sized});
    // A buffer may hold anything, also a NUL at its end.
    let nearly = move || {
        writing(b"arguments: whole\0")();
        writing(b"arguments: whole.")();
    };
    vec![
        case(
            "buffer",
            &buffer,
            ("Equal", "arguments: whole"),
            b"arguments: whole",
            Box::new(writing(b"arguments: whole")),
            Box::new(nearly),
        ),
        case(
            "buffer-postfix",
            &buffer,
            ("Postfix", "its end"),
            b"arguments, its end",
            Box::new(writing(b"arguments, its end")),
            Box::new(writing(b"arguments, its end.")),
        ),
        case(
            "buffer-of-function",
            &in_function,
            ("Prefix", "arguments in"),
            b"arguments in vfs_write",
            Box::new(writing(b"arguments in vfs_write")),
            Box::new(writing(b"arguments not in vfs_write")),
        ),
    ]
}

/// Names that the kernel has.
fn names() -> Vec<Case> {
    let asking = |file: &'static str| move || assert!(std::fs::metadata(format!("{FILES}/{file}")).is_err());
    let removing = |file: &'static str| {
        move || {
            let path = format!("{FILES}/mount/{file}");
            std::fs::write(&path, "").unwrap();
            std::fs::remove_file(path).unwrap();
        }
    };
    let appending = |file: &'static str| move || std::fs::write(format!("{FILES}/{file}"), "x").unwrap();
    let sending = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    };
    vec![
        case(
            "filename",
            &reading("filename_lookup", 1, "filename"),
            ("Postfix", "/named"),
            b"/tmp/arguments/named",
            Box::new(asking("named")),
            Box::new(asking("named-otherwise")),
        ),
        case(
            "dentry",
            &reading("security_inode_unlink", 1, "dentry"),
            ("Equal", "/below/removed"),
            b"/below/removed",
            Box::new(removing("below/removed")),
            Box::new(removing("removed")),
        ),
        case(
            "kiocb",
            &reading("generic_write_checks", 0, "kiocb"),
            ("Prefix", "/tmp/arguments/appended"),
            b"/tmp/arguments/appended",
            Box::new(appending("appended")),
            Box::new(appending("other")),
        ),
        case(
            "device",
            &reading("dev_hard_start_xmit", 1, "net_device"),
            ("Equal", "lo"),
            b"lo",
            Box::new(sending),
            Box::new(|| {}),
        ),
    ]
}

#[test]
fn texts_are_compared_and_reported_wherever_they_are() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all(format!("{FILES}/mount")).unwrap();
    rustix::mount::mount("none", format!("{FILES}/mount"), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    std::fs::create_dir_all(format!("{FILES}/mount/below")).unwrap();
    let mut engine = fresh_engine();
    let cases: Vec<Case> = buffers().into_iter().chain(names()).collect();
    let policies: Vec<ValidatedPolicy> = cases.iter().map(|case| case.policy.clone()).collect();
    let reports = report(&mut engine, &policies);
    let unable: Vec<_> = reports.iter().filter_map(|(name, report)| Some((name, report.trouble.as_ref()?))).collect();
    assert!(unable.is_empty(), "{unable:?}");
    let mut wrong = Vec::new();
    for case in &cases {
        (case.other)();
        let others = matched(&mut engine, case.name);
        (case.matching)();
        let both = matched(&mut engine, case.name);
        let reported = first_arguments(&mut engine, case.name);
        let expected = Value::Text { bytes: case.text.to_vec(), cut: false };
        if (others, both) != (0, 1) || reported != [expected] {
            wrong.push((case.name, others, both, reported));
        }
    }
    assert!(wrong.is_empty(), "(rule, matches of others, of both, reported): {wrong:?}");
    // Of a buffer that is larger than what is read nobody knows the end: the rule about ends cannot be judged.
    let large = [&b"arguments: whole"[..], &[b'x'; 8000], b", its end"].concat();
    std::fs::write(format!("{FILES}/written"), &large).unwrap();
    let faulted = |engine: &mut Engine, policy: &str| {
        let counters = engine.counters().unwrap();
        let of = counters.rules.iter().filter(|counted| counted.rule.policy == policy);
        of.map(|counted| counted.counts.faults).sum::<u64>()
    };
    assert_eq!(faulted(&mut engine, "buffer-postfix"), 1);
    // What is read of it is compared and reported as a beginning.
    let large = [&b"arguments in"[..], &[b'x'; 8000]].concat();
    first_arguments(&mut engine, "buffer-of-function");
    std::fs::write(format!("{FILES}/written"), &large).unwrap();
    let expected = Value::Text { bytes: large[..4095].to_vec(), cut: true };
    assert_eq!(first_arguments(&mut engine, "buffer-of-function"), [expected]);
    finish(engine);
}

#[test]
fn programs_and_maps_of_bpf_and_perf_events_are_reported() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    // The function for maps has had two names.
    let may_be_missing = |call: &str| {
        let mut hook = reading(call, 0, "bpf_map");
        hook["ignore"] = json!({"callNotFound": true});
        hook
    };
    let maps = observing(
        "maps",
        &json!([may_be_missing("security_bpf_map_alloc"), may_be_missing("security_bpf_map_create")]),
    );
    let programs = observing("programs", &json!([reading("bpf_check", 1, "bpf_attr")]));
    let events = observing("events", &json!([reading("security_perf_event_alloc", 0, "perf_event")]));
    let nothing = observing("nothing", &json!([may_be_missing("security_no_such_function")]));
    let weak = policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "weak", "generation": 1},
        "spec": {"minimumStrength": "Deny", "kprobes": [
            {
                "call": "security_no_such_function", "syscall": false, "ignore": {"callNotFound": true},
                "selectors": [{"matchActions": [{"action": "Sigkill"}]}],
            },
            reading("security_file_open", 0, "file"),
        ]},
    }));
    let elsewhere = observing("elsewhere", &json!([reading("security_no_such_function", 0, "bpf_map")]));
    let reports = report(&mut engine, &[maps, programs, events, nothing, elsewhere, weak]);
    let placed: Vec<bool> = reports["maps"].hooks.iter().map(|hook| hook.mechanism.is_some()).collect();
    assert!(placed == [true, false] || placed == [false, true], "{:?}", reports["maps"]);
    assert_eq!(reports["maps"].trouble, None, "that one is missing is no trouble");
    for none in ["nothing", "elsewhere"] {
        assert!(reports[none].trouble.is_some() && reports[none].generation_in_force.is_none(), "{:?}", reports[none]);
    }
    let weak = reports["weak"].trouble.clone().unwrap();
    assert_eq!(weak.reason, Reason::TooWeak, "the hook that would refuse is missing: {}", weak.message);
    first_arguments(&mut engine, "maps");
    // A hash of eight bytes by four.
    let shape = sys::Shape { kind: 1, key: 4, value: 8, entries: 77, flags: 0 };
    drop(sys::map_create("argued", shape, None).unwrap());
    let found = first_arguments(&mut engine, "maps");
    let [Value::Object(_, map)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((map.numbers, name(map)), ([1, 4, 8, 77], "argued".into()));
    first_arguments(&mut engine, "programs");
    // r0 = 0; exit
    let instructions = [0x0000_0000_0000_00b7, 0x95];
    let program = sys::ProbeProgram { kind: 1, attach_type: 0, attach_btf_id: 0, instructions: &instructions };
    drop(sys::load_probe_program(&program).unwrap());
    let found = first_arguments(&mut engine, "programs");
    let [Value::Object(_, program)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(program.numbers, [1, 2, OBJECT_UNKNOWN, OBJECT_UNKNOWN]);
    let kind = std::fs::read_to_string("/sys/bus/event_source/devices/kprobe/type").unwrap().trim().parse().unwrap();
    first_arguments(&mut engine, "events");
    drop(sys::perf_kprobe(kind, c"vfs_fsync_range", false).unwrap());
    let found = first_arguments(&mut engine, "events");
    let [Value::Object(_, event)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((event.numbers[0], event.numbers[2], name(event)), (kind.into(), 0, "vfs_fsync_range".into()));
    finish(engine);
}

#[test]
fn modules_are_reported_while_they_are_loaded() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let loaded = observing("loaded", &json!([reading("do_init_module", 0, "module")]));
    let loading = observing("loading", &json!([reading("mod_sysfs_setup", 1, "load_info")]));
    let freed = observing("freed", &json!([reading("free_module", 0, "module")]));
    let reports = report(&mut engine, &[loaded, loading, freed]);
    for wanted in ["loaded", "loading", "freed"] {
        assert_eq!(reports[wanted].trouble, None, "{wanted}");
    }
    let run = |program: &str, argument: &str| {
        let output = Command::new("/bin/busybox").args([program, argument]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    run("insmod", &format!("/modules/{MODULE}.ko"));
    run("rmmod", MODULE);
    let found = reported(&mut engine);
    for policy in ["loaded", "freed"] {
        let [Value::Object(_, module)] = &found[policy][..] else { panic!("{found:?}") };
        let [signed, taints, ..] = module.numbers;
        assert_eq!((name(module), signed, taints), (MODULE.into(), 1, 0), "{policy}");
    }
    let [Value::Object(_, module)] = &found["loading"][..] else { panic!("{found:?}") };
    assert_eq!((name(module), module.numbers[0]), (MODULE.into(), 1));
    finish(engine);
}
