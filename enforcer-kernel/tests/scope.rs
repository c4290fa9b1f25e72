//! Whose process it is, in a guest: the container's in whose cgroup it was executed, wherever it goes.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod guest;

use guest::*;
use stockade_enforcer_kernel::Engine;

/// An engine with a policy of namespace `shop` that nobody opens `/tmp/guarded`.
fn guarding(pods: &[&TestPod]) -> Engine {
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret\n").unwrap();
    let mut engine = fresh_engine();
    guard_for(&mut engine, pods);
    engine
}

fn guard_for(engine: &mut Engine, pods: &[&TestPod]) {
    let policy = namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]));
    apply(engine, &[policy], &snapshot(pods));
}

/// Opens the file without executing anything: `read` is the shell's own.
const OPEN: &str = "read line < /tmp/guarded/file";
const OPEN_BY_ANOTHER: &str = "/bin/busybox cat /tmp/guarded/file";

#[test]
fn who_moves_to_another_cgroup_stays_in_scope() {
    if !in_guest() {
        return;
    }
    let shop = TestPod::new("shop", "web");
    let engine = guarding(&[&shop]);
    let mut shell = shop.shell();
    assert_ne!(shell.status(OPEN), 0, "in its container");
    assert_eq!(shell.status("echo $$ > /sys/fs/cgroup/cgroup.procs"), 0);
    assert_ne!(shell.status(OPEN), 0, "it has moved out");
    assert_ne!(shell.status(&format!("({OPEN})")), 0, "its child");
    assert_ne!(shell.status(OPEN_BY_ANOTHER), 0, "what it executes outside");
    assert_allowed(&run_on_host(OPEN_BY_ANOTHER));
    finish(engine);
}

#[test]
fn who_joins_a_container_is_in_scope_from_its_next_execution_on() {
    if !in_guest() {
        return;
    }
    let shop = TestPod::new("shop", "web");
    let engine = guarding(&[&shop]);
    let mut runtime = Shell::start(None);
    assert_eq!(runtime.status(&format!("echo $$ > {}/cgroup.procs", shop.container().display())), 0);
    assert_eq!(runtime.status(OPEN), 0, "what sets a container up is the host's");
    assert_ne!(runtime.status(OPEN_BY_ANOTHER), 0, "the first program of the container");
    finish(engine);
}

#[test]
fn whatever_is_below_a_pods_cgroup_is_the_pods() {
    if !in_guest() {
        return;
    }
    let mut shop = TestPod::new("shop", "web");
    // The pod is known before its containers are.
    shop.pod.containers.clear();
    let engine = guarding(&[&shop]);
    let nested = shop.container().join("nested/deeper");
    std::fs::create_dir_all(&nested).unwrap();
    for cgroup in [&shop.directory, &shop.container(), &nested] {
        assert_denied(&run_in(cgroup, OPEN_BY_ANOTHER));
    }
    let beside = TestPod::new("other", "beside");
    assert_denied(&beside.run(OPEN_BY_ANOTHER));
    finish(engine);
}

#[test]
fn a_pod_that_nobody_has_named_is_held_to_every_policy_until_somebody_does() {
    if !in_guest() {
        return;
    }
    let (shop, new) = (TestPod::new("shop", "web"), TestPod::new("other", "new"));
    let mut engine = guarding(&[&shop]);
    assert_denied(&new.run(OPEN_BY_ANOTHER));
    let mut waiting = new.shell();
    assert_ne!(waiting.status(OPEN), 0);
    guard_for(&mut engine, &[&shop, &new]);
    assert_eq!(waiting.status(OPEN), 0, "it is of another namespace, and that is known now");
    assert_allowed(&new.run(OPEN_BY_ANOTHER));
    assert_denied(&shop.run(OPEN_BY_ANOTHER));
    finish(engine);
}
