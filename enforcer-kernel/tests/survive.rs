//! Nothing is ever unprotected: edits, agents that die at any point, restarts and upgrades, all under load.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

mod guest;

use std::time::{Duration, Instant};

use guest::*;
use serde_json::json;
use stockade_enforcer_kernel::Options;
use stockade_policy::ir::ValidatedPolicy;

#[test]
#[ignore = "a helper that other tests run"]
fn hammer() {
    guest::hammer();
}

fn guarded_file() {
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret").unwrap();
    std::fs::write("/tmp/open", "public").unwrap();
}

/// The same promise in other words: other rows, and for every third another program.
fn version(generation: i64) -> ValidatedPolicy {
    let mut kprobe = guard(&["/tmp/guarded", &format!("/tmp/other-{generation}")]);
    if generation % 3 == 0 {
        let also = serde_json::json!({"index": 0, "operator": "NotPostfix", "values": ["/never"]});
        kprobe["selectors"][0]["matchArgs"].as_array_mut().unwrap().push(also);
    }
    kprobe["message"] = format!("version {generation}").into();
    namespaced("shop", "guard", generation, &kprobe)
}

#[test]
fn edits_under_load_let_nothing_through() {
    if !in_guest() {
        return;
    }
    guarded_file();
    go();
    let mut engine = fresh_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let snapshot = snapshot(&[&shop, &other]);
    apply(&mut engine, &[version(1)], &snapshot);
    let mut inside = Helper::hammer("/tmp/guarded/file", &shop.container(), 0);
    let mut beside = Helper::hammer("/tmp/guarded/file", &other.container(), 0);
    for generation in 2..=20 {
        apply(&mut engine, &[version(generation)], &snapshot);
        engine.poll_events(4096);
    }
    stop();
    let (inside, beside) = (inside.hammered(), beside.hammered());
    assert_eq!((inside.allowed, inside.failed), (0, 0), "{inside:?}");
    assert_eq!((beside.refused, beside.failed), (0, 0), "{beside:?}");
    assert!(inside.refused > 100 && beside.allowed > 100, "{inside:?} {beside:?}");
    assert_eq!(pinned("hook-").len(), 1, "instances that were replaced are gone");
    finish(engine);
}

/// Refuses the opening of what is below `prefix` to pods that have one of these labels.
fn for_apps(generation: i64, apps: &[&str], prefix: &str) -> ValidatedPolicy {
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": "moving", "generation": generation},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]},
            "kprobes": [guard(&[prefix])],
        },
    }))
}

#[test]
fn a_scope_changes_together_with_the_rules() {
    if !in_guest() {
        return;
    }
    let mut engine = fresh_engine();
    for file in ["/tmp/guarded/one/file", "/tmp/guarded/two/file"] {
        std::fs::create_dir_all(std::path::Path::new(file).parent().unwrap()).unwrap();
        std::fs::write(file, "x").unwrap();
    }
    go();
    let (first, both, second) = (TestPod::new("shop", "a"), TestPod::new("shop", "b"), TestPod::new("shop", "c"));
    let snapshot = snapshot(&[&first, &both, &second]);
    // In turn: a and b may open nothing of "one"; b and c nothing of either.
    let version = |generation: i64| match generation % 2 {
        1 => for_apps(generation, &["a", "b"], "/tmp/guarded/one"),
        _ => for_apps(generation, &["b", "c"], "/tmp/guarded"),
    };
    apply(&mut engine, &[version(1)], &snapshot);
    let mut always = Helper::hammer("/tmp/guarded/one/file", &both.container(), 0);
    let mut never = Helper::hammer("/tmp/guarded/two/file", &first.container(), 0);
    for generation in 2..=12 {
        apply(&mut engine, &[version(generation)], &snapshot);
        engine.poll_events(4096);
    }
    stop();
    let (always, never) = (always.hammered(), never.hammered());
    assert_eq!((always.allowed, always.failed), (0, 0), "in both scopes, and refused by both: {always:?}");
    assert_eq!((never.refused, never.failed), (0, 0), "no version refuses it: {never:?}");
    assert!(always.refused > 100 && never.allowed > 100, "{always:?} {never:?}");
    assert_denied(&second.run("cat /tmp/guarded/one/file"));
    assert_allowed(&first.run("cat /tmp/guarded/one/file"));
    finish(engine);
}

#[test]
fn a_lost_memory_gives_no_pod_the_policies_of_another() {
    if !in_guest() {
        return;
    }
    go();
    let mut engine = fresh_engine();
    let apps = ["a", "b"];
    for app in apps {
        std::fs::create_dir_all(format!("/tmp/guarded/{app}")).unwrap();
        std::fs::write(format!("/tmp/guarded/{app}/file"), "x").unwrap();
    }
    let pods = apps.map(|app| TestPod::new("shop", app));
    let policies = apps.map(|app| {
        policy(&json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": app, "generation": 1},
            "spec": {
                "podSelector": {"matchLabels": {"app": app}},
                "kprobes": [guard(&[&format!("/tmp/guarded/{app}")])],
            },
        }))
    });
    let [a, b] = &pods;
    apply(&mut engine, &policies, &snapshot(&[a, b]));
    let mut own = Helper::hammer("/tmp/guarded/a/file", &a.container(), 0);
    let mut others = Helper::hammer("/tmp/guarded/b/file", &a.container(), 0);
    for round in 0..4 {
        drop(engine);
        std::fs::remove_file("/tmp/stockade-state/engine.json").unwrap();
        engine = start_engine();
        // Numbers are given in the order of the pods: each time the other way round.
        let order = if round % 2 == 0 { [b, a] } else { [a, b] };
        apply(&mut engine, &policies, &snapshot(&order));
        engine.poll_events(4096);
    }
    stop();
    let (own, others) = (own.hammered(), others.hammered());
    assert_eq!((own.allowed, own.failed), (0, 0), "its own policy refuses it: {own:?}");
    assert_eq!((others.refused, others.failed), (0, 0), "no policy of its own refuses it: {others:?}");
    assert!(own.refused > 100 && others.allowed > 100, "{own:?} {others:?}");
    finish(engine);
}

/// An agent that applies versions of the policy until it is killed.
#[test]
#[ignore = "a helper that other tests run"]
fn agent() {
    if std::env::var_os("STOCKADE_AGENT").is_none() {
        return;
    }
    let mut engine = start_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let snapshot = snapshot(&[&shop, &other]);
    println!("\nadopted {} {}", engine.found().adopted_base, engine.found().hooks);
    for generation in 1.. {
        apply(&mut engine, &[version(generation)], &snapshot);
        println!("applied {generation}");
        engine.poll_events(4096);
    }
}

#[test]
fn an_agent_killed_at_any_point_leaves_the_old_or_the_new_version_in_force() {
    if !in_guest() {
        return;
    }
    guarded_file();
    go();
    finish(fresh_engine());
    let shop = TestPod::new("shop", "web");
    let start = || Helper::start("agent", None, &[("STOCKADE_AGENT", "1".to_owned())]);
    let mut first = start();
    first.line("applied 1");
    let mut inside = Helper::hammer("/tmp/guarded/file", &shop.container(), 0);
    first.kill();
    // Delays that are spread over the time that an apply takes, so that every step of it is hit.
    for round in 0..12_u64 {
        let mut agent = start();
        assert!(agent.line("adopted").starts_with("true"), "round {round}: process tracking was not adopted");
        if round % 2 == 0 {
            agent.line("applied 1");
        }
        let until = Instant::now() + Duration::from_millis(37 * round);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        agent.kill();
    }
    stop();
    let inside = inside.hammered();
    assert_eq!((inside.allowed, inside.failed), (0, 0), "{inside:?}");
    assert!(inside.refused > 100, "{inside:?}");
    // The next start converges, and nothing leaks.
    let mut engine = start_engine();
    assert!(engine.found().adopted_base && engine.found().hooks >= 1, "{:?}", engine.found());
    apply(&mut engine, &[version(1)], &snapshot(&[&shop]));
    for kind in ["hook-", "base-", "maps-"] {
        assert_eq!(pinned(kind).len(), 1, "{kind}: {:?}", pinned(kind));
    }
    assert_eq!(engine.verify(), stockade_enforcer_kernel::Verification::default());
    assert_denied(&shop.run("cat /tmp/guarded/file"));
    finish(engine);
}

#[test]
fn what_is_adopted_is_what_was_there() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let snapshot = snapshot(&[&shop]);
    apply(&mut engine, &[version(1)], &snapshot);
    let before = (pinned("hook-"), engine.counters().unwrap().rules[0].generation);
    drop(engine);
    assert_denied(&shop.run("cat /tmp/guarded/file"));
    let mut engine = start_engine();
    assert!(engine.found().adopted_base);
    assert_eq!(engine.found().hooks, 1);
    // The event of the time without an agent is still there, and explained by the memory of the agent before.
    let event = hook_event(&mut engine, |hook| !hook.fired.is_empty());
    assert_eq!(event.fired[0].rule.message, "version 1");
    apply(&mut engine, &[version(1)], &snapshot);
    let after = (pinned("hook-"), engine.counters().unwrap().rules[0].generation);
    assert_eq!(before, after, "the same program and the same generation go on");
    finish(engine);
}

#[test]
fn another_object_replaces_the_base_and_the_hooks_without_a_gap() {
    if !in_guest() {
        return;
    }
    guarded_file();
    go();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let snapshot = snapshot(&[&shop]);
    apply(&mut engine, &[version(1)], &snapshot);
    let before = (pinned("hook-"), pinned("base-"), pinned("maps-"));
    drop(engine);
    let mut inside = Helper::hammer("/tmp/guarded/file", &shop.container(), 0);
    // An upgrade: other bytes, here behind the end of the object.
    let mut object = object();
    object.extend_from_slice(b"another build");
    let mut engine = stockade_enforcer_kernel::Engine::start(Options { object, ..options() }).unwrap();
    assert!(!engine.found().adopted_base && engine.found().hooks == 1, "{:?}", engine.found());
    apply(&mut engine, &[version(1)], &snapshot);
    let after = (pinned("hook-"), pinned("base-"), pinned("maps-"));
    assert_ne!(before.0, after.0);
    assert_ne!(before.1, after.1);
    assert_eq!(before.2, after.2, "maps of the same shape are kept, and the processes in them");
    assert_eq!((after.0.len(), after.1.len()), (1, 1));
    stop();
    let inside = inside.hammered();
    assert_eq!((inside.allowed, inside.failed), (0, 0), "{inside:?}");
    engine.detach_all().unwrap();
}

#[test]
fn what_somebody_changes_is_found() {
    if !in_guest() {
        return;
    }
    guarded_file();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    let snapshot = snapshot(&[&shop]);
    let policy = version(1);
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot);
    assert_eq!(engine.verify(), stockade_enforcer_kernel::Verification::default());
    let hook = format!("/sys/fs/bpf/stockade/{}", pinned("hook-")[0]);
    // Rows in force cannot be written, not even by root.
    let rows = stockade_enforcer_kernel::map::Map::open(std::path::Path::new(&format!("{hook}/LPM_STR_0"))).unwrap();
    let key = rows.keys().unwrap().remove(0);
    assert!(rows.set(&key, &[0; 4]).is_err() && rows.delete(&key).is_err(), "the rows are frozen");
    // The link can be taken away.
    std::fs::remove_file(format!("{hook}/link")).unwrap();
    let verification = engine.verify();
    assert_eq!(verification.tampered.len(), 1, "{verification:?}");
    assert!(verification.tampered[0].policies.contains(&policy.id), "{verification:?}");
    engine.repair();
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot);
    assert_eq!(engine.verify(), stockade_enforcer_kernel::Verification::default());
    assert_denied(&shop.run("cat /tmp/guarded/file"));
    finish(engine);
}
