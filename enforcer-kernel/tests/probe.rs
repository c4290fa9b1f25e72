//! What is in force is probed: an operation of the agent's own is seen, counted, refused and reported, and nobody else's is.
//! And what happens when a ring or a table is full.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

mod guest;

use std::time::{Duration, Instant};

use guest::*;
use serde_json::json;
use stockade_enforcer_kernel::event::Event;
use stockade_enforcer_kernel::{Checked, Engine, Liveness, Options, Verification};
use stockade_policy::ir::ValidatedPolicy;

/// Hooks of every kind, none of which matches what happens here.
fn everywhere() -> ValidatedPolicy {
    let never = |index: u32| json!([{"matchArgs": [{"index": index, "operator": "Prefix", "values": ["/never/"]}]}]);
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": "everywhere", "generation": 1},
        "spec": {
            "kprobes": [
                {"call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}], "selectors": [{
                    "matchArgs": [{"index": 0, "operator": "Prefix", "values": ["/never/"]}],
                    "matchActions": [{"action": "Override", "argError": -1}],
                }]},
                {"call": "fd_install", "syscall": false, "args": [{"index": 1, "type": "file"}], "selectors": never(1)},
            ],
            "lsmhooks": [
                {"hook": "bprm_check_security", "args": [{"index": 0, "type": "linux_binprm"}], "selectors": never(0)},
                {"hook": "bprm_committed_creds", "args": [{"index": 0, "type": "linux_binprm"}], "selectors": never(0)},
                {"hook": "socket_connect", "args": [{"index": 1, "type": "sockaddr"}], "selectors": [
                    {"matchArgs": [{"index": 1, "operator": "DAddr", "values": ["10.1.0.0/16"]}]},
                ]},
                {"hook": "file_permission", "args": [{"index": 0, "type": "file"}], "selectors": never(0)},
            ],
            "tracepoints": [{
                "subsystem": "syscalls", "event": "sys_enter_openat",
                "args": [{"index": 6, "type": "string"}], "selectors": never(6),
            }],
        },
    }))
}

/// Probes until so many hooks do not work: a program is detached in a callback of the kernel, some time after the last pin
/// of its link is gone, and works until then.
fn wrong_ones(engine: &mut Engine, wanted: usize) -> Vec<Liveness> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let wrong: Vec<_> = engine.probe().into_iter().filter(|hook| hook.wrong.is_some()).collect();
        if wrong.len() >= wanted || Instant::now() > deadline {
            assert_eq!(wrong.len(), wanted, "{wrong:?}");
            return wrong;
        }
        std::thread::yield_now();
    }
}

#[test]
fn what_is_in_force_is_probed_and_nobody_notices() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    apply(&mut engine, &[everywhere()], &snapshot(&[]));
    for round in 0..3 {
        let found = engine.probe();
        assert_eq!(found.len(), 7);
        for hook in &found {
            assert_eq!(hook.wrong, None, "round {round}: {hook:?}");
            let probed = !["kprobe/fd_install", "lsm/bprm_committed_creds"].contains(&hook.attach.as_str());
            assert_eq!(hook.checked == Checked::Probed, probed, "{hook:?}");
            assert_eq!(hook.policies.len(), 1);
        }
    }
    let counted = engine.counters().unwrap();
    assert!(counted.rules.iter().all(|counted| counted.counts.matched == 0), "{:?}", counted.rules);
    assert_eq!(counted.rules.len(), 7, "the probes' rules are nobody's");
    let mut events = engine.poll_events(4096);
    events.retain(|event| matches!(event, Ok(Event::Hook(_))));
    assert!(events.is_empty(), "the probes' events are nobody's: {events:?}");
    assert_allowed(&run_on_host("cat /init"));

    // Somebody detaches a program: the rows are all there, and do nothing.
    let name = pinned("hook-").into_iter().find(|name| name.contains("lsm_file_open")).unwrap();
    std::fs::remove_file(format!("/sys/fs/bpf/stockade/{name}/link")).unwrap();
    let wrong = wrong_ones(&mut engine, 1);
    assert_eq!((wrong[0].attach.as_str(), &wrong[0].checked), ("lsm/file_open", &Checked::Probed));
    // One that cannot be probed is found by reading back.
    let name = pinned("hook-").into_iter().find(|name| name.contains("lsm_bprm_committed_creds")).unwrap();
    std::fs::remove_file(format!("/sys/fs/bpf/stockade/{name}/link")).unwrap();
    wrong_ones(&mut engine, 2);
    engine.repair();
    apply(&mut engine, &[everywhere()], &snapshot(&[]));
    assert!(engine.probe().iter().all(|hook| hook.wrong.is_none()));
    finish(engine);
}

#[test]
fn the_next_agent_probes_what_it_has_adopted() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let snapshot = snapshot(&[&shop]);
    let policy = namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]));
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot);
    drop(engine);
    let mut engine = start_engine();
    // It does not know yet what there is; the link and the rows can be read back.
    let found = engine.probe();
    assert!(matches!(found[0].checked, Checked::ReadBack(_)) && found[0].wrong.is_none(), "{found:?}");
    apply(&mut engine, &[policy], &snapshot);
    let found = engine.probe();
    assert!(found[0].checked == Checked::Probed && found[0].wrong.is_none(), "{found:?}");
    finish(engine);
}

/// An engine with other sizes than other tests'.
fn sized(change: impl FnOnce(&mut Options)) -> Engine {
    fresh_engine().detach_all().unwrap();
    let mut options = options();
    change(&mut options);
    Engine::start(options).unwrap()
}

#[test]
fn a_full_ring_loses_events_and_says_how_many_and_refuses_all_the_same() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret").unwrap();
    let mut engine = sized(|options| options.ring_bytes = 8192);
    let shop = TestPod::new("shop", "web");
    apply(&mut engine, &[namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]))], &snapshot(&[&shop]));
    // Nobody takes events.
    let output = shop.run("for i in $(seq 200); do (: < /tmp/guarded/file) 2>/dev/null && echo open; done; exit 0");
    assert_eq!(text(&output), "", "refused each time");
    let counted = engine.counters().unwrap();
    assert_eq!(counted.rules[0].counts.denied, 200, "counted each time");
    let lost = counted.places["event_lost"];
    assert!(lost > 100, "{lost}");
    // The hook works, so that is not what is said to be wrong.
    let found = engine.probe();
    assert!(found.iter().all(|hook| hook.wrong.is_none()), "{found:?}");
    assert!(engine.counters().unwrap().places["event_lost"] >= lost);
    // Once somebody takes them there is room again.
    while !engine.poll_events(256).is_empty() {}
    assert_denied(&shop.run("cat /tmp/guarded/file"));
    hook_event(&mut engine, |hook| !hook.fired.is_empty());
    engine.detach_all().unwrap();
}

#[test]
fn a_full_table_of_processes_is_counted_and_lets_nothing_through() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret").unwrap();
    let running = std::fs::read_dir("/proc").unwrap().flatten();
    let running = running.filter(|entry| entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()));
    let room = u32::try_from(running.count()).unwrap() + 24;
    let mut engine = sized(|options| options.processes = room);
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let policy = namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]));
    apply(&mut engine, &[policy], &snapshot(&[&shop, &other]));
    let before = engine.counters().unwrap().places["process_full"];
    let script = "for i in $(seq 60); do sleep 1000 > /dev/null 2>&1 & done; (cat /tmp/guarded/file; exec cat /tmp/guarded/file)";
    assert_denied(&shop.run(script));
    let counted = engine.counters().unwrap();
    assert!(counted.places["process_full"] > before, "{:?}", counted.places);
    assert!(counted.rules[0].counts.denied >= 2, "{:?}", counted.rules);
    assert_allowed(&other.run("cat /tmp/guarded/file"));
    assert_denied(&shop.run("cat /tmp/guarded/file"));
    std::fs::write(shop.container().join("cgroup.kill"), "1").ok();
    run_on_host("killall -9 sleep");
    assert_eq!(engine.verify(), Verification::default());
    engine.detach_all().unwrap();
}

#[test]
fn executables_that_nobody_runs_any_more_make_room_for_others() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    std::fs::create_dir_all("/tmp/many").unwrap();
    std::fs::copy("/bin/busybox", "/tmp/many/busybox").unwrap();
    let execute = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let directory = format!("/tmp/many/{number}");
            std::fs::create_dir(&directory).unwrap();
            let executable = format!("{directory}/true");
            std::fs::hard_link("/tmp/many/busybox", &executable).unwrap();
            assert!(std::process::Command::new(executable).status().unwrap().success());
        }
    };
    let full = |engine: &mut Engine| engine.counters().unwrap().places["binary_full"];
    let before = full(&mut engine);
    // More than the table holds, and room is made now and then as an agent does it.
    for round in 0..4 {
        execute(round * 280..(round + 1) * 280);
        engine.probe();
        while !engine.poll_events(4096).is_empty() {}
    }
    assert_eq!(full(&mut engine), before);
    // Without, it is full, and that is counted.
    execute(2000..2600);
    assert!(full(&mut engine) > before);
    engine.probe();
    std::fs::remove_dir_all("/tmp/many").unwrap();
    finish(engine);
}
