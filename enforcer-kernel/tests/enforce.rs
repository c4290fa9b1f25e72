//! The whole way in a guest: a policy's document → rows in this kernel → an operation refused, and only where it should be.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod guest;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use guest::*;
use serde_json::json;
use stockade_enforcer_kernel::event::{Event, Value, Verdict};
use stockade_enforcer_kernel::{Engine, StartError};
use stockade_policy::ir::Strength;

fn guarded_file() {
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret").unwrap();
    std::fs::write("/tmp/open", "public").unwrap();
}

#[test]
fn a_forbidden_open_is_refused_in_its_namespace_and_nowhere_else() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let snapshot = snapshot(&[&shop, &other]);
    let policy = namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]));
    let report = apply(&mut engine, std::slice::from_ref(&policy), &snapshot);
    assert_eq!(report.policies[&policy.id].strength, Some(Strength::Deny));
    assert_eq!(report.policies[&policy.id].hooks[0].mechanism.as_deref(), Some("lsm/file_open"));

    assert_denied(&shop.run("cat /tmp/guarded/file"));
    assert_denied(&shop.run("echo x > /tmp/guarded/file"));
    assert_denied(&shop.run("sh -c 'sh -c \"(cat /tmp/guarded/file)\"'"));
    assert_allowed(&shop.run("cat /tmp/open"));
    assert_allowed(&other.run("cat /tmp/guarded/file"));
    assert_allowed(&run_on_host("cat /tmp/guarded/file"));
    assert_eq!(std::fs::read("/tmp/guarded/file").unwrap(), b"secret");
    apply(&mut engine, &[], &snapshot);
    assert_allowed(&shop.run("cat /tmp/guarded/file"));
    finish(engine);
}

#[test]
fn the_event_says_who_what_and_which_rule() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let policy = namespaced("shop", "guard", 7, &guard(&["/tmp/guarded"]));
    apply(&mut engine, &[policy], &snapshot(&[&shop]));
    let output = shop.run("cat /tmp/guarded/file");
    assert_denied(&output);
    let event = hook_event(&mut engine, |hook| !hook.fired.is_empty());
    assert_eq!(event.attach, "lsm/file_open");
    assert_eq!(event.unexplained, 0);
    let fired = &event.fired[0];
    assert_eq!(fired.verdict, Verdict::Denied);
    let rule = &fired.rule;
    assert_eq!((rule.namespace.as_str(), rule.policy.as_str(), rule.generation), ("shop", "guard", 7));
    assert_eq!((rule.function.as_str(), rule.hook_index, rule.selector), ("security_file_open", 0, 0));
    assert_eq!(event.record.errno, 1);
    assert_eq!(event.record.cgroup, inode(&shop.container()));
    assert_eq!(event.args[0].value, Value::Text { bytes: b"/tmp/guarded/file".to_vec(), cut: false });
    let counted = engine.counters().unwrap();
    let counts = counted.rules.iter().find(|counted| counted.rule.policy == "guard").unwrap().counts;
    assert!(counts.denied >= 1 && counts.would_deny == 0, "{counts:?}");
    finish(engine);
}

#[test]
fn who_is_to_be_killed_is_killed_and_refused() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let mut kill = guard(&["/tmp/guarded"]);
    kill["selectors"][0]["matchActions"] = json!([{"action": "Sigkill"}]);
    let policy = namespaced("shop", "guard", 1, &kill);
    let report = apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[&shop]));
    assert_eq!(report.policies[&policy.id].hooks[0].mechanism.as_deref(), Some("lsm/file_open"));
    assert_eq!(report.policies[&policy.id].strength, Some(Strength::Deny));
    // A kill alone would come after the file is emptied.
    let output = shop.run("exec /bin/busybox sh -c 'echo x > /tmp/guarded/file'");
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    assert_eq!(std::fs::read("/tmp/guarded/file").unwrap(), b"secret");
    let event = hook_event(&mut engine, |hook| !hook.fired.is_empty());
    assert_eq!((event.fired[0].verdict, event.record.errno), (Verdict::Denied, 1));
    assert_allowed(&shop.run("cat /tmp/open"));
    finish(engine);
}

#[test]
fn in_monitor_mode_the_operation_goes_through_and_is_counted() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let document = |mode: &str, generation: i64| {
        policy(&json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicyNamespaced",
            "metadata": {"name": "guard", "namespace": "shop", "generation": generation},
            "spec": {"options": [{"name": "policy-mode", "value": mode}], "kprobes": [guard(&["/tmp/guarded"])]},
        }))
    };
    apply(&mut engine, &[document("monitor", 1)], &snapshot(&[&shop]));
    assert_allowed(&shop.run("cat /tmp/guarded/file"));
    let event = hook_event(&mut engine, |hook| !hook.fired.is_empty());
    assert_eq!(event.fired[0].verdict, Verdict::WouldDeny);
    let counts = engine.counters().unwrap().rules[0].counts;
    assert!(counts.would_deny >= 1 && counts.denied == 0, "{counts:?}");
    apply(&mut engine, &[document("enforce", 2)], &snapshot(&[&shop]));
    assert_denied(&shop.run("cat /tmp/guarded/file"));
    finish(engine);
}

#[test]
fn what_is_removed_decides_nothing_any_more() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let guarded = cluster("guard", &guard(&["/tmp/guarded"]));
    let open = || std::fs::File::open("/tmp/guarded/file").map(drop).map_err(|error| error.raw_os_error());
    for _ in 0..10 {
        apply(&mut engine, std::slice::from_ref(&guarded), &snapshot(&[]));
        assert_eq!(open(), Err(Some(1)));
        // At once: the kernel takes its time to detach.
        apply(&mut engine, &[], &snapshot(&[]));
        assert_eq!(open(), Ok(()));
    }
    finish(engine);
}

#[test]
fn what_was_counted_before_an_edit_is_not_lost() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let snapshot = snapshot(&[&shop]);
    // The third needs another program.
    let mut postfix = guard(&["/tmp/guarded"]);
    postfix["selectors"][0]["matchArgs"][0] = json!({"index": 0, "operator": "Postfix", "values": ["/guarded/file"]});
    let hooks = [guard(&["/tmp/guarded"]), guard(&["/tmp/guarded", "/tmp/more"]), postfix];
    for (generation, hook) in (1..).zip(&hooks) {
        apply(&mut engine, &[namespaced("shop", "guard", generation, hook)], &snapshot);
        for _ in 0..generation {
            assert_denied(&shop.run("cat /tmp/guarded/file"));
        }
    }
    let denied = |engine: &mut Engine| -> Vec<(i64, u64)> {
        let rules = engine.counters().unwrap().rules;
        rules.iter().map(|counted| (counted.rule.generation, counted.counts.denied)).collect()
    };
    assert_eq!(denied(&mut engine), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(denied(&mut engine), [(3, 3)], "each is told once");
    finish(engine);
}

#[test]
fn what_happens_while_policies_are_applied_is_not_lost() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let snapshot = snapshot(&[&shop]);
    let mut shell = shop.shell();
    let lost = |engine: &mut Engine| engine.counters().unwrap().places["event_lost"];
    let before = lost(&mut engine);
    // All together more than the ring holds, and each time less: nobody takes events in between but the next application.
    let (rounds, opens) = (16, 300);
    for generation in 1..=rounds {
        let hook = guard(&["/tmp/guarded", &format!("/tmp/{generation}")]);
        apply(&mut engine, &[namespaced("shop", "guard", generation, &hook)], &snapshot);
        shell.status(&format!("i=0; while [ $i -lt {opens} ]; do true < /tmp/guarded/file; i=$((i+1)); done"));
    }
    let mut reported = 0;
    loop {
        let events = engine.poll_events(4096);
        if events.is_empty() {
            break;
        }
        // Not by what the rule is called: that is known of the last generations only.
        let refused = |event: &Result<Event, _>| matches!(event, Ok(Event::Hook(hook)) if hook.record.errno == 1);
        reported += events.iter().filter(|event| refused(event)).count();
    }
    assert_eq!((lost(&mut engine), reported), (before, rounds as usize * opens));
    finish(engine);
}

#[test]
fn a_second_enforcer_refuses_to_start() {
    if !in_guest() {
        return;
    }
    let engine = fresh_engine();
    assert!(matches!(Engine::start(options()), Err(StartError::AlreadyRunning(_))));
    finish(engine);
}

#[test]
fn detaching_leaves_nothing_behind() {
    if !in_guest() {
        return;
    }
    fresh_engine().detach_all().unwrap();
    let before = settled_objects();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    apply(&mut engine, &[namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]))], &snapshot(&[&shop]));
    assert_ne!(objects(), before);
    engine.detach_all().unwrap();
    assert!(!std::path::Path::new("/sys/fs/bpf/stockade").exists());
    assert_eq!(settled_objects(), before);
}

/// How many there are once that changes no more: the kernel frees what nobody holds after a grace period.
fn settled_objects() -> [usize; 3] {
    let (mut last, mut since) = (objects(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(100));
        let now = objects();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// How many programs, maps and links the kernel has.
fn objects() -> [usize; 3] {
    use stockade_enforcer_kernel::sys::{ObjectKind, count_objects};
    [ObjectKind::Program, ObjectKind::Map, ObjectKind::Link].map(|kind| count_objects(kind).unwrap())
}
