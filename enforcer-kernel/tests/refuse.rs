//! What an agent that cannot run says, by name, and that it leaves alone what an earlier one has put into force.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

mod guest;

use std::os::unix::process::CommandExt;
use std::process::Command;

use guest::*;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use stockade_enforcer_kernel::Engine;

/// Starts an engine and says what came of it. With `STOCKADE_WITHOUT` it first becomes a process that lacks this capability.
#[test]
#[ignore = "a helper that other tests run"]
fn starter() {
    if std::env::var_os("STOCKADE_STARTER").is_none() {
        return;
    }
    let without = match std::env::var("STOCKADE_WITHOUT").unwrap_or_default().as_str() {
        "CAP_BPF" => CapabilitySet::BPF,
        "CAP_PERFMON" => CapabilitySet::PERFMON,
        _ => CapabilitySet::empty(),
    };
    if !without.is_empty() {
        // SYS_ADMIN contains both.
        for capability in without.union(CapabilitySet::SYS_ADMIN).iter() {
            remove_capability_from_bounding_set(capability).unwrap();
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        panic!("{}", again.args(std::env::args_os().skip(1)).env_remove("STOCKADE_WITHOUT").exec());
    }
    match Engine::start(options()) {
        Ok(_) => println!("\nstarted"),
        Err(error) => println!("\nrefused {error:?}"),
    }
}

/// What an engine says that is started after this script, in a mount namespace of its own.
fn start_after(script: &str, environment: &[(&str, String)]) -> String {
    let script = format!("{script} exec \"$0\" \"$@\"");
    let before = ["/bin/busybox", "unshare", "-m", "/bin/busybox", "sh", "-c", &script];
    let mut environment = environment.to_vec();
    environment.push(("STOCKADE_STARTER", "1".to_owned()));
    let mut helper = Helper::start_after(&before, "starter", &environment);
    helper.line_or_end("refused").unwrap_or_else(|| "nothing".to_owned())
}

#[test]
fn what_an_engine_lacks_is_named_and_what_is_in_force_stays() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/guarded").unwrap();
    std::fs::write("/tmp/guarded/file", "secret").unwrap();
    std::fs::write("/tmp/lsm", "lockdown,capability").unwrap();
    let mut engine = fresh_engine();
    let shop = TestPod::new("shop", "web");
    apply(&mut engine, &[namespaced("shop", "guard", 1, &guard(&["/tmp/guarded"]))], &snapshot(&[&shop]));
    drop(engine);
    let everything = || (pinned("hook-"), pinned("base-"), pinned("maps-"));
    let before = everything();
    for (script, without, named) in [
        ("mount -t tmpfs tmpfs /sys/kernel/btf;", "", "NoBtf"),
        ("mount -o bind /tmp/lsm /sys/kernel/security/lsm;", "", "NoBpfLsm { active: \"lockdown,capability\" }"),
        ("mount -t tmpfs tmpfs /sys/fs/bpf;", "", "NoBpfFs"),
        ("", "CAP_BPF", "MissingCapability(\"CAP_BPF\")"),
        ("", "CAP_PERFMON", "MissingCapability(\"CAP_PERFMON\")"),
    ] {
        let said = start_after(script, &[("STOCKADE_WITHOUT", without.to_owned())]);
        assert!(said.starts_with(named), "{named}: {said}");
        assert_eq!(everything(), before, "{named}");
        assert_denied(&shop.run("cat /tmp/guarded/file"));
    }
    let engine = start_engine();
    assert_eq!((engine.found().adopted_base, engine.found().hooks), (true, 1));
    finish(engine);
}
