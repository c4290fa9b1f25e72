//! More runnable tasks than CPUs, rules that need a path, edits and restarts beside them: no call is wrongly allowed, none
//! wrongly refused. Says the most on a preemptible kernel (`--append preempt=full`; 7.2 is one by default).
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod guest;

use guest::*;
use serde_json::json;
use stockade_policy::ir::ValidatedPolicy;

#[test]
#[ignore = "a helper that other tests run"]
fn hammer() {
    guest::hammer();
}

/// Calls in all; `STOCKADE_STRESS_CALLS` asks for another number.
const CALLS: u64 = 200_000;
/// Tasks for each CPU.
const TASKS: u64 = 8;

/// Rules that need the path in three ways, and a policy of another namespace on the same hook.
fn policies(edit: i64) -> [ValidatedPolicy; 2] {
    let deny = json!([{"action": "Override", "argError": -1}]);
    let shop = json!({
        "call": "security_file_open",
        "syscall": false,
        "message": format!("edit {edit}"),
        "args": [{"index": 0, "type": "file"}],
        "selectors": [
            {"matchArgs": [{"index": 0, "operator": "Postfix", "values": [format!("/none-{edit}")]}]},
            {"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/tmp/stress/a/b/c/d/file", "/tmp/x"]}],
             "matchActions": deny},
        ],
    });
    let other = guard(&["/tmp/elsewhere"]);
    [namespaced("shop", "stress", edit, &shop), namespaced("other", "guard", 1, &other)]
}

#[test]
fn contention_lets_nothing_through_and_refuses_nothing_else() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/stress/a/b/c/d").unwrap();
    std::fs::write("/tmp/stress/a/b/c/d/file", "x").unwrap();
    go();
    let asked = std::env::var("STOCKADE_STRESS_CALLS").ok().and_then(|text| text.parse().ok());
    let calls: u64 = asked.unwrap_or(CALLS);
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let tasks = TASKS * cpus;
    let mut engine = fresh_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let snapshot = snapshot(&[&shop, &other]);
    apply(&mut engine, &policies(1), &snapshot);
    let start = |pod: &TestPod| Helper::hammer("/tmp/stress/a/b/c/d/file", &pod.container(), calls / tasks);
    let mut inside: Vec<Helper> = (0..tasks / 2).map(|_| start(&shop)).collect();
    let mut beside: Vec<Helper> = (0..tasks / 2).map(|_| start(&other)).collect();
    let done = std::thread::spawn(move || {
        let sum = |helpers: &mut Vec<Helper>| {
            helpers.iter_mut().map(Helper::hammered).fold(Hammered::default(), |sum, one| Hammered {
                allowed: sum.allowed + one.allowed,
                refused: sum.refused + one.refused,
                failed: sum.failed + one.failed,
            })
        };
        (sum(&mut inside), sum(&mut beside))
    });
    let (mut edit, mut restarts) = (2, 0);
    while !done.is_finished() {
        apply(&mut engine, &policies(edit), &snapshot);
        engine.poll_events(4096);
        edit += 1;
        if edit % 4 == 0 {
            drop(engine);
            engine = start_engine();
            restarts += 1;
        }
    }
    let (inside, beside) = done.join().unwrap();
    let counters = engine.counters().unwrap();
    println!("{inside:?} inside, {beside:?} beside, {edit} edits, {restarts} restarts, {:?}", counters.places);
    assert_eq!((inside.allowed, inside.failed), (0, 0), "wrongly allowed: {inside:?}");
    assert_eq!((beside.refused, beside.failed), (0, 0), "wrongly refused: {beside:?}");
    assert_eq!(inside.refused + beside.allowed, calls / tasks * tasks);
    engine.detach_all().unwrap();
}
