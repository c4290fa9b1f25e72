//! Every kind of place in a guest: kprobes, tracepoints, raw tracepoints and LSM hooks of sockets see the operation, with
//! the arguments that it had, and do what the policy says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails says where")]

mod guest;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;

use guest::*;
use serde_json::{Value as Json, json};
use stockade_enforcer_common::head::RuleCounts;
use stockade_enforcer_kernel::event::{Event, Fired, Hook, Value, Verdict};
use stockade_enforcer_kernel::{Checked, Engine};
use stockade_policy::ir::{Strength, ValidatedPolicy};

/// A policy of the cluster with one entry in one of its lists of hooks.
fn hooking(list: &str, mode: &str, hook: &Json) -> ValidatedPolicy {
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": "attached", "generation": 1},
        "spec": {"options": [{"name": "policy-mode", "value": mode}], list: [hook]},
    }))
}

/// Applies it and says what was reported of its first hook.
fn attach(engine: &mut Engine, policy: &ValidatedPolicy) -> (Option<String>, Option<Strength>) {
    let report = apply(engine, std::slice::from_ref(policy), &snapshot(&[]));
    let hook = &report.policies[&policy.id].hooks[0];
    (hook.mechanism.clone(), hook.strength)
}

/// What the rule in force has counted: generations that have ended come first.
fn counts(engine: &mut Engine) -> RuleCounts {
    engine.counters().unwrap().rules.iter().rfind(|counted| counted.rule.policy == "attached").unwrap().counts
}

fn text(value: &Value) -> String {
    match value {
        Value::Text { bytes, cut: false } => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// The argument at a position of the plan: an event has first what the decision needed.
fn arg(event: &Hook, position: u8) -> &Value {
    &event.args.iter().find(|arg| arg.position == position).unwrap().value
}

fn fired(hook: &Hook) -> bool {
    hook.fired.iter().any(|fired| fired.rule.policy == "attached")
}

#[test]
fn a_kprobe_sees_the_arguments_of_a_function() {
    if !in_guest() {
        return;
    }
    std::fs::write("/tmp/installed", "x").unwrap();
    let mut engine = fresh_engine();
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "fd_install", "syscall": false,
            "args": [{"index": 0, "type": "int"}, {"index": 1, "type": "file"}],
            "selectors": [{"matchArgs": [{"index": 1, "operator": "Equal", "values": ["/tmp/installed"]}]}],
        }),
    );
    assert_eq!(attach(&mut engine, &policy), (Some("kprobe/fd_install".into()), Some(Strength::Signal)));
    assert_allowed(&run_on_host("cat /tmp/installed && cat /etc/../init"));
    let event = hook_event(&mut engine, fired);
    assert_eq!((event.attach.as_str(), event.fired[0].verdict), ("kprobe/fd_install", Verdict::Observed));
    assert_eq!(text(arg(&event, 1)), "/tmp/installed");
    assert!(matches!(arg(&event, 0), Value::Int(3..=9)), "{:?}", event.args);
    assert_eq!(event.record.errno, 0);
    let RuleCounts { matched, denied, would_deny, faults, .. } = counts(&mut engine);
    assert_eq!((matched, denied, would_deny, faults), (1, 0, 0, 0), "only what the filter names");
    // Gone with its policy, and so is the probe.
    apply(&mut engine, &[], &snapshot(&[]));
    assert!(pinned("hook-").is_empty());
    assert_allowed(&run_on_host("cat /tmp/installed"));
    finish(engine);
}

#[test]
fn a_kprobe_stays_attached_without_its_agent_and_is_adopted() {
    if !in_guest() {
        return;
    }
    std::fs::write("/tmp/installed", "x").unwrap();
    let mut engine = fresh_engine();
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "fd_install", "syscall": false, "args": [{"index": 1, "type": "file"}],
            "selectors": [{"matchArgs": [{"index": 1, "operator": "Equal", "values": ["/tmp/installed"]}]}],
        }),
    );
    attach(&mut engine, &policy);
    let before = pinned("hook-");
    drop(engine);
    assert_allowed(&run_on_host("cat /tmp/installed"));
    let mut engine = start_engine();
    assert_eq!((engine.found().hooks, pinned("hook-")), (1, before.clone()));
    attach(&mut engine, &policy);
    assert_eq!(pinned("hook-"), before, "adopted");
    assert_eq!(counts(&mut engine).matched, 1, "it was counted while no agent ran");
    hook_event(&mut engine, fired);
    assert_allowed(&run_on_host("cat /tmp/installed"));
    assert_eq!(counts(&mut engine).matched, 2);
    assert_eq!(engine.verify(), stockade_enforcer_kernel::Verification::default());
    finish(engine);
}

#[test]
fn signals_are_sent_from_a_kprobe() {
    if !in_guest() {
        return;
    }
    std::fs::write("/tmp/installed", "x").unwrap();
    let hook = |action: &Json| {
        json!({
            "call": "fd_install", "syscall": false, "args": [{"index": 1, "type": "file"}],
            "selectors": [{
                "matchArgs": [{"index": 1, "operator": "Equal", "values": ["/tmp/installed"]}],
                "matchActions": [action],
            }],
        })
    };
    let mut engine = fresh_engine();
    attach(&mut engine, &hooking("kprobes", "enforce", &hook(&json!({"action": "Sigkill"}))));
    assert_eq!(run_on_host("exec cat /tmp/installed").status.signal(), Some(9));
    assert_eq!(hook_event(&mut engine, fired).fired[0].verdict, Verdict::Signalled);
    let RuleCounts { matched, denied, .. } = counts(&mut engine);
    assert_eq!((matched, denied), (1, 1));

    attach(&mut engine, &hooking("kprobes", "enforce", &hook(&json!({"action": "Signal", "argSig": 10}))));
    assert_eq!(run_on_host("exec cat /tmp/installed").status.signal(), Some(10));
    assert_allowed(&run_on_host("trap '' USR1; exec cat /tmp/installed"));

    attach(&mut engine, &hooking("kprobes", "monitor", &hook(&json!({"action": "Sigkill"}))));
    assert_allowed(&run_on_host("exec cat /tmp/installed"));
    let event = hook_event(&mut engine, |hook| fired(hook) && hook.fired[0].verdict == Verdict::WouldDeny);
    assert_eq!(event.record.errno, 0);
    let RuleCounts { would_deny, denied, .. } = counts(&mut engine);
    assert_eq!((would_deny, denied), (1, 0));
    finish(engine);
}

#[test]
fn a_tracepoint_sees_the_fields_of_its_record() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    // After the four fields that all have: the number of the call, the directory, the name.
    let policy = hooking(
        "tracepoints",
        "enforce",
        &json!({
            "subsystem": "syscalls", "event": "sys_enter_mkdirat",
            "args": [{"index": 5, "type": "int"}, {"index": 6, "type": "string"}, {"index": 7, "type": "uint32"}],
            "selectors": [{"matchArgs": [{"index": 6, "operator": "Prefix", "values": ["/tmp/made"]}]}],
        }),
    );
    let (mechanism, strength) = attach(&mut engine, &policy);
    assert_eq!(
        (mechanism.as_deref(), strength),
        (Some("tracepoint/syscalls/sys_enter_mkdirat"), Some(Strength::Signal))
    );
    for path in ["/tmp/other-directory", "/tmp/made-here"] {
        rustix::fs::mkdirat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o751)).unwrap();
    }
    let event = hook_event(&mut engine, fired);
    assert_eq!(arg(&event, 0), &Value::Int(i64::from(libc::AT_FDCWD)));
    assert_eq!(text(arg(&event, 1)), "/tmp/made-here");
    assert_eq!(arg(&event, 2), &Value::Unsigned(0o751));
    assert_eq!(counts(&mut engine).matched, 1);
    for made in ["/tmp/other-directory", "/tmp/made-here"] {
        std::fs::remove_dir(made).unwrap();
    }
    finish(engine);
}

#[test]
fn a_system_call_is_seen_with_what_its_caller_handed_over() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let hook = |call: &str| {
        json!({
            "call": call, "syscall": true,
            "args": [{"index": 0, "type": "int"}, {"index": 1, "type": "string"}, {"index": 2, "type": "uint32"}],
            "selectors": [{"matchArgs": [{"index": 1, "operator": "Prefix", "values": ["/tmp/called"]}]}],
        })
    };
    // The 32-bit way in is another function with its arguments elsewhere.
    let (mechanism, strength) = attach(&mut engine, &hooking("kprobes", "enforce", &hook("__ia32_sys_mkdirat")));
    assert_eq!((mechanism.as_deref(), strength), (Some("kprobe/__ia32_sys_mkdirat"), Some(Strength::Signal)));
    let policy = hooking("kprobes", "enforce", &hook("sys_mkdirat"));
    let (mechanism, strength) = attach(&mut engine, &policy);
    assert_eq!((mechanism.as_deref(), strength), (Some("kprobe/__x64_sys_mkdirat"), Some(Strength::Signal)));
    for path in ["/tmp/other-directory", "/tmp/called-here"] {
        rustix::fs::mkdirat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o751)).unwrap();
        std::fs::remove_dir(path).unwrap();
    }
    let event = hook_event(&mut engine, fired);
    let read = |at: usize| arg(&event, event.fired[0].rule.args[at].position);
    assert_eq!(read(0), &Value::Int(i64::from(libc::AT_FDCWD)));
    assert_eq!(text(read(1)), "/tmp/called-here");
    assert_eq!(read(2), &Value::Unsigned(0o751));
    assert_eq!(counts(&mut engine).matched, 1, "only what the filter names");
    // A call that exists nowhere.
    apply(&mut engine, &[], &snapshot(&[]));
    let policy = hooking("kprobes", "enforce", &hook("sys_no_such_call"));
    let report = engine.apply(std::slice::from_ref(&policy), &snapshot(&[]));
    let why = report.policies[&policy.id].hooks[0].why.clone().unwrap();
    assert_eq!(why, "this kernel has no system call `sys_no_such_call`");
    finish(engine);
}

#[test]
fn the_caller_of_a_system_call_can_be_killed() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "sys_getpgid", "syscall": true, "args": [{"index": 0, "type": "int"}],
            "selectors": [{
                "matchArgs": [{"index": 0, "operator": "Equal", "values": ["424242"]}],
                "matchActions": [{"action": "Sigkill"}],
            }],
        }),
    );
    attach(&mut engine, &policy);
    let probes = engine.probe();
    assert!(probes.iter().all(|hook| hook.wrong.is_none() && hook.checked == Checked::Probed), "{probes:?}");
    let getpgid = |pid: i32| Helper::start("caller", None, &[("STOCKADE_GETPGID", pid.to_string())]).end();
    assert!(getpgid(std::process::id().cast_signed()).success());
    assert_eq!(getpgid(424_242).signal(), Some(libc::SIGKILL));
    assert_eq!(counts(&mut engine).denied, 1);
    finish(engine);
}

#[test]
#[ignore = "a helper that other tests run"]
fn caller() {
    if let Some(pid) = std::env::var("STOCKADE_GETPGID").ok().and_then(|pid| pid.parse().ok()) {
        // An id that nobody has is an error, and no matter.
        rustix::process::getpgid(rustix::process::Pid::from_raw(pid)).ok();
    }
}

#[test]
fn what_a_function_returned_is_reported_with_what_it_was_called_with() {
    if !in_guest() {
        return;
    }
    std::fs::write("/tmp/returned", "x").unwrap();
    std::fs::write("/tmp/refused", "x").unwrap();
    let mut engine = fresh_engine();
    // What only reports has one place.
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "security_file_open", "syscall": false, "return": true,
            "args": [{"index": 0, "type": "file"}], "returnArg": {"index": 0, "type": "int"},
            "selectors": [{"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/tmp/returned"]}]}],
        }),
    );
    let places = (Some("fexit/security_file_open".into()), Some(Strength::Observe));
    assert_eq!(attach(&mut engine, &policy), places);
    assert_allowed(&run_on_host("cat /tmp/returned"));
    let event = hook_event(&mut engine, fired);
    let returned = |event: &Hook| arg(event, event.fired[0].rule.returned.as_ref().unwrap().position).clone();
    assert_eq!(
        (text(arg(&event, event.fired[0].rule.args[0].position)), returned(&event)),
        ("/tmp/returned".into(), Value::Int(0))
    );
    // What acts as well has two: it is refused where it begins, and what came of it is reported where it returns.
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "security_file_open", "syscall": false, "return": true,
            "args": [{"index": 0, "type": "file"}], "returnArg": {"index": 0, "type": "int"},
            "selectors": [
                {"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/tmp/refused"]}],
                 "matchActions": [{"action": "Override", "argError": -7}]},
                {"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/tmp/returned"]}]},
            ],
        }),
    );
    let report = apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[]));
    let report = &report.policies[&policy.id];
    let places: Vec<_> = report.hooks.iter().map(|hook| (hook.mechanism.as_deref().unwrap(), hook.strength)).collect();
    let (deny, observe) = (Some(Strength::Deny), Some(Strength::Observe));
    assert_eq!(places, [("lsm/file_open", deny), ("fexit/security_file_open", observe)]);
    assert_eq!((report.strength, report.trouble.clone()), (deny, None));
    assert!(!run_on_host("cat /tmp/refused").status.success());
    assert_allowed(&run_on_host("cat /tmp/returned"));
    let mut seen: Vec<(String, Verdict, Option<Value>)> = Vec::new();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while seen.len() < 3 && std::time::Instant::now() < until {
        for event in engine.poll_events(4096) {
            let Ok(Event::Hook(event)) = event else { continue };
            let Some(Fired { rule, verdict, .. }) = event.fired.first() else { continue };
            let returned = rule.returned.as_ref().map(|wanted| arg(&event, wanted.position).clone());
            seen.push((text(arg(&event, rule.args[0].position)), *verdict, returned));
        }
    }
    assert_eq!(
        seen,
        [
            ("/tmp/refused".into(), Verdict::Denied, None),
            ("/tmp/refused".into(), Verdict::Observed, Some(Value::Int(-7))),
            ("/tmp/returned".into(), Verdict::Observed, Some(Value::Int(0))),
        ]
    );
    apply(&mut engine, &[], &snapshot(&[]));
    assert!(pinned("hook-").is_empty());
    finish(engine);
}

#[test]
fn what_is_asked_of_a_returned_value_decides_what_is_reported() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/returns").unwrap();
    std::fs::write("/tmp/returns/asked", "x").unwrap();
    let mut engine = fresh_engine();
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "sys_openat", "syscall": true, "return": true,
            "args": [{"index": 1, "type": "string"}, {"index": 2, "type": "int"}],
            "returnArg": {"index": 0, "type": "int"},
            "selectors": [
                {
                    "matchArgs": [{"index": 1, "operator": "Postfix", "values": ["/asked"]}],
                    "matchReturnArgs": [{"index": 0, "operator": "LT", "values": ["0"]}],
                },
                {"matchArgs": [{"index": 1, "operator": "Prefix", "values": ["/tmp/returns/"]}]},
            ],
        }),
    );
    attach(&mut engine, &policy);
    // The first selector has decided about a call whose value it does not ask for: the second says nothing of it.
    assert_allowed(&run_on_host("cat /tmp/returns/asked"));
    assert!(!run_on_host("cat /nowhere/asked").status.success());
    assert!(!run_on_host("cat /tmp/returns/other").status.success());
    let mut seen: Vec<(String, u32, Value)> = Vec::new();
    loop {
        let events = engine.poll_events(4096);
        if events.is_empty() {
            break;
        }
        for event in events {
            let Ok(Event::Hook(event)) = event else { continue };
            let rule = &event.fired[0].rule;
            let returned = arg(&event, rule.returned.as_ref().unwrap().position).clone();
            seen.push((text(arg(&event, rule.args[0].position)), rule.selector, returned));
        }
    }
    let missing = Value::Int(-i64::from(rustix::io::Errno::NOENT.raw_os_error()));
    assert_eq!(seen, [("/nowhere/asked".into(), 0, missing.clone()), ("/tmp/returns/other".into(), 1, missing)]);
    finish(engine);
}

#[test]
fn what_a_system_call_returned_is_reported() {
    if !in_guest() {
        return;
    }
    std::fs::write("/tmp/returned", "x").unwrap();
    let mut engine = fresh_engine();
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "sys_mkdirat", "syscall": true, "return": true,
            "args": [{"index": 1, "type": "string"}], "returnArg": {"index": 0, "type": "int"},
            "selectors": [{"matchArgs": [{"index": 1, "operator": "Prefix", "values": ["/tmp/returned"]}]}],
        }),
    );
    assert_eq!(attach(&mut engine, &policy).0.as_deref(), Some("fexit/__x64_sys_mkdirat"));
    rustix::fs::mkdirat(rustix::fs::CWD, "/tmp/returned/in-a-file", rustix::fs::Mode::from_raw_mode(0o751))
        .unwrap_err();
    let event = hook_event(&mut engine, fired);
    let rule = &event.fired[0].rule;
    assert_eq!(text(arg(&event, rule.args[0].position)), "/tmp/returned/in-a-file");
    assert_eq!(arg(&event, rule.returned.as_ref().unwrap().position), &Value::Int(i64::from(-libc::ENOTDIR)));
    finish(engine);
}

#[test]
fn a_tracepoint_finds_a_text_that_lies_in_its_record() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let policy = hooking(
        "tracepoints",
        "enforce",
        &json!({
            "subsystem": "sched", "event": "sched_process_exec",
            "args": [{"index": 4, "type": "string"}, {"index": 5, "type": "int"}],
            "selectors": [{
                "matchArgs": [{"index": 4, "operator": "Postfix", "values": ["/bin/busybox"]}],
                "matchActions": [{"action": "Sigkill"}],
            }],
        }),
    );
    attach(&mut engine, &policy);
    let child = std::process::Command::new("/bin/busybox").arg("true").spawn().unwrap();
    let pid = child.id();
    assert_eq!({ child }.wait().unwrap().signal(), Some(9));
    let event = hook_event(&mut engine, fired);
    assert_eq!(text(arg(&event, 0)), "/bin/busybox");
    assert_eq!(arg(&event, 1), &Value::Int(i64::from(pid)));
    finish(engine);
}

#[test]
fn a_raw_tracepoint_sees_its_arguments() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let policy = hooking(
        "tracepoints",
        "enforce",
        &json!({
            "subsystem": "sched", "event": "sched_process_exec", "raw": true,
            "args": [{"index": 1, "type": "int"}, {"index": 2, "type": "linux_binprm"}],
            "selectors": [{"matchArgs": [{"index": 2, "operator": "Postfix", "values": ["/busybox"]}]}],
        }),
    );
    let (mechanism, _) = attach(&mut engine, &policy);
    assert_eq!(mechanism.as_deref(), Some("raw_tracepoint/sched_process_exec"));
    let mut child = std::process::Command::new("/bin/busybox").arg("true").spawn().unwrap();
    child.wait().unwrap();
    let event = hook_event(&mut engine, fired);
    assert_eq!(arg(&event, 0), &Value::Int(i64::from(child.id())));
    assert_eq!(text(arg(&event, 1)), "/bin/busybox");
    finish(engine);
}

/// Connects to `STOCKADE_CONNECT` and says how that ended.
#[test]
#[ignore = "a helper that other tests run"]
fn connector() {
    let Ok(to) = std::env::var("STOCKADE_CONNECT") else { return };
    match TcpStream::connect(to.parse::<SocketAddr>().unwrap()) {
        Ok(_) => println!("\nconnected 0"),
        Err(error) => println!("\nconnected {}", error.raw_os_error().unwrap_or(-1)),
    }
}

/// The errno of a connection from the pod; `None`: the process was killed.
fn connect(pod: &TestPod, to: SocketAddr) -> Option<i32> {
    let mut helper = Helper::start("connector", Some(&pod.container()), &[("STOCKADE_CONNECT", to.to_string())]);
    helper.line_or_end("connected").map(|errno| errno.parse().unwrap())
}

/// An address of this machine in 10.0.0.0/8, with somebody who listens; the same, mapped; and one elsewhere.
fn listeners() -> (Vec<TcpListener>, [SocketAddr; 3]) {
    assert_allowed(&run_on_host("ip addr add 10.9.8.7/32 dev lo 2>/dev/null || true"));
    let inside = TcpListener::bind("10.9.8.7:0").unwrap();
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, elsewhere) = (inside.local_addr().unwrap(), outside.local_addr().unwrap());
    let IpAddr::V4(address) = at.ip() else { panic!("{at}") };
    let mapped = SocketAddr::new(IpAddr::V6(address.to_ipv6_mapped()), at.port());
    (vec![inside, outside], [at, mapped, elsewhere])
}

fn peer(value: &Value) -> (u16, std::net::Ipv6Addr, u16) {
    match value {
        Value::Socket(socket) => (socket.family, socket.destination.into(), socket.destination_port),
        other => panic!("{other:?}"),
    }
}

const EGRESS: [&str; 1] = ["10.0.0.0/8"];

#[test]
fn egress_is_refused_by_address_whatever_family_the_socket_has() {
    if !in_guest() {
        return;
    }
    let (_listeners, [plain, mapped, elsewhere]) = listeners();
    let mut engine = fresh_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let policy = namespaced(
        "shop",
        "attached",
        1,
        &json!({
            "call": "security_socket_connect", "syscall": false,
            "args": [{"index": 0, "type": "sock"}, {"index": 1, "type": "sockaddr"}],
            "selectors": [{
                "matchArgs": [{"index": 1, "operator": "DAddr", "values": EGRESS}],
                "matchActions": [{"action": "Override", "argError": -1}],
            }],
        }),
    );
    let report = apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[&shop, &other]));
    assert_eq!(report.policies[&policy.id].hooks[0].mechanism.as_deref(), Some("lsm/socket_connect"));
    for (to, family) in [(plain, 2), (mapped, 10)] {
        assert_eq!(connect(&shop, to), Some(libc::EPERM), "{to}");
        let event = hook_event(&mut engine, fired);
        assert_eq!(event.fired[0].verdict, Verdict::Denied);
        let IpAddr::V6(address) = mapped.ip() else { panic!() };
        assert_eq!(peer(arg(&event, 1)), (family, address, to.port()), "{to}");
        assert_eq!(connect(&other, to), Some(0), "{to}");
    }
    assert_eq!(connect(&shop, elsewhere), Some(0));
    assert_eq!(counts(&mut engine).denied, 2);
    finish(engine);
}

#[test]
fn egress_is_seen_where_the_connection_is_made_whatever_family_the_socket_has() {
    if !in_guest() {
        return;
    }
    let (_listeners, [plain, mapped, elsewhere]) = listeners();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let hook = |actions: &Json| {
        namespaced(
            "shop",
            "attached",
            1,
            &json!({
                "call": "tcp_connect", "syscall": false, "args": [{"index": 0, "type": "sock"}],
                "selectors": [{
                    "matchArgs": [{"index": 0, "operator": "DAddr", "values": EGRESS}],
                    "matchActions": actions,
                }],
            }),
        )
    };
    apply(&mut engine, &[hook(&json!([{"action": "Post"}]))], &snapshot(&[&shop]));
    for (to, family) in [(plain, 2), (mapped, 10)] {
        assert_eq!(connect(&shop, to), Some(0), "{to}");
        let event = hook_event(&mut engine, fired);
        let IpAddr::V6(address) = mapped.ip() else { panic!() };
        assert_eq!(peer(arg(&event, 0)), (family, address, to.port()), "{to}");
    }
    assert_eq!(connect(&shop, elsewhere), Some(0));
    assert_eq!(counts(&mut engine).matched, 2);
    apply(&mut engine, &[hook(&json!([{"action": "Sigkill"}]))], &snapshot(&[&shop]));
    assert_eq!(connect(&shop, plain), None, "killed");
    assert_eq!(connect(&shop, mapped), None, "killed");
    assert_eq!(connect(&shop, elsewhere), Some(0));
    finish(engine);
}

#[test]
fn credentials_are_reported_as_they_are_handed_over() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let policy = hooking(
        "kprobes",
        "enforce",
        &json!({
            "call": "security_capable", "syscall": false,
            "args": [
                {"index": 0, "type": "cred"}, {"index": 1, "type": "user_namespace"}, {"index": 2, "type": "capability"},
            ],
            "selectors": [{"matchArgs": [{"index": 2, "operator": "Equal", "values": ["CAP_SYS_CHROOT"]}]}],
        }),
    );
    attach(&mut engine, &policy);
    let thread = std::thread::spawn(|| {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.inheritable = rustix::thread::CapabilitySet::NET_RAW;
        rustix::thread::set_capabilities(None, sets).unwrap();
        let (user, group) = (rustix::process::Uid::from_raw, rustix::process::Gid::from_raw);
        rustix::thread::set_thread_res_gid(group(31), group(32), group(33)).unwrap();
        rustix::thread::set_thread_res_uid(user(21), user(0), user(23)).unwrap();
        rustix::process::chroot("/").unwrap();
        sets
    });
    let sets = thread.join().unwrap();
    let event = hook_event(&mut engine, fired);
    let read = |at: usize| arg(&event, event.fired[0].rule.args[at].position);
    let Value::Credentials(credentials) = read(0) else { panic!("{:?}", event.args) };
    assert_eq!(credentials.ids, [21, 31, 23, 33, 0, 32, 0, 32]);
    assert_eq!((credentials.secure_bits, credentials.reserved), (0, 0));
    let expected = [sets.effective, sets.inheritable, sets.permitted].map(|set| set.bits());
    assert_eq!(credentials.capabilities, expected);
    let Value::UserNamespace(namespace) = read(1) else { panic!("{:?}", event.args) };
    assert_eq!(*namespace, credentials.user_namespace);
    let inode = std::fs::read_link("/proc/self/ns/user").unwrap();
    assert_eq!(inode.to_string_lossy(), format!("user:[{}]", namespace.inode));
    assert_eq!((namespace.level, namespace.owner), (0, [0, 0]));
    finish(engine);
}
