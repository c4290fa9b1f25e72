//! More runnable tasks than CPUs, rules that need a path, edits and agents that are killed beside them: no call is wrongly
//! allowed, none wrongly refused. Says the most on a preemptible kernel (`--append preempt=full`; 7.2 is one by default).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

mod guest;

use std::io::Write;

use guest::*;
use serde_json::json;
use stockade_policy::ir::ValidatedPolicy;

#[test]
#[ignore = "a helper that other tests run"]
fn hammer() {
    guest::hammer();
}

/// At least so many calls in all, edits and agents killed; `STOCKADE_STRESS_CALLS`, `…_EDITS` and `…_RESTARTS` ask for
/// other numbers. Calls go on until the last agent is killed.
const CALLS: u64 = 40_000;
const EDITS: u64 = 4;
const RESTARTS: u64 = 2;
/// Tasks for each CPU.
const TASKS: u64 = 8;

fn asked(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(format!("STOCKADE_STRESS_{name}"));
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Rules that need the path in three ways, and a policy of another namespace on the same hook. Every third edit needs
/// another program, the others other rows.
fn policies(edit: i64) -> [ValidatedPolicy; 2] {
    let deny = json!([{"action": "Override", "argError": -1}]);
    let mut shop = json!({
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
    if edit % 3 == 0 {
        shop["selectors"][0]["matchArgs"][0]["operator"] = "Prefix".into();
    }
    let other = guard(&["/tmp/elsewhere"]);
    [namespaced("shop", "stress", edit, &shop), namespaced("other", "guard", 1, &other)]
}

/// An agent that edits until it is killed; it begins with the edit after `STOCKADE_AGENT`.
#[test]
#[ignore = "a helper that other tests run"]
fn agent() {
    let Some(last) = std::env::var("STOCKADE_AGENT").ok().and_then(|text| text.parse::<i64>().ok()) else { return };
    // Ahead of the hammers: with its fair share of the processors it would start for a minute, and edit hardly ever.
    rustix::process::setpriority_process(None, -15).unwrap();
    let mut engine = start_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    let snapshot = snapshot(&[&shop, &other]);
    println!("\nstarted");
    for edit in last + 1.. {
        apply(&mut engine, &policies(edit), &snapshot);
        engine.poll_events(4096);
        println!("applied {edit}");
    }
}

/// For somebody who waits: this test takes as long as it is asked to.
fn progress(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

fn sum(helpers: &mut [Helper]) -> Hammered {
    helpers.iter_mut().map(Helper::hammered).fold(Hammered::default(), |sum, one| Hammered {
        allowed: sum.allowed + one.allowed,
        refused: sum.refused + one.refused,
        failed: sum.failed + one.failed,
    })
}

#[test]
fn contention_lets_nothing_through_and_refuses_nothing_else() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all("/tmp/stress/a/b/c/d").unwrap();
    std::fs::write("/tmp/stress/a/b/c/d/file", "x").unwrap();
    go();
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let tasks = TASKS * cpus;
    let (calls, edits, restarts) = (asked("CALLS", CALLS), asked("EDITS", EDITS), asked("RESTARTS", RESTARTS));
    let mut engine = fresh_engine();
    let (shop, other) = (TestPod::new("shop", "web"), TestPod::new("other", "web"));
    apply(&mut engine, &policies(1), &snapshot(&[&shop, &other]));
    drop(engine);
    let start = |pod: &TestPod| Helper::hammer("/tmp/stress/a/b/c/d/file", &pod.container(), calls / tasks);
    let mut inside: Vec<Helper> = (0..tasks / 2).map(|_| start(&shop)).collect();
    let mut beside: Vec<Helper> = (0..tasks / 2).map(|_| start(&other)).collect();
    let (mut edit, mut restarted) = (1, 0);
    // Each agent is killed in the middle of an edit, after as many as it takes to have both numbers in the end.
    let each = edits.div_ceil(restarts.max(1));
    while restarted < restarts {
        if restarted + 1 == restarts {
            // As a scheduler may while others wait: all of them can be in the middle of a program on one processor.
            inside.iter().chain(&beside).for_each(Helper::pin_to_first_cpu);
        }
        let mut agent = Helper::start("agent", None, &[("STOCKADE_AGENT", edit.to_string())]);
        agent.line("started");
        for _ in 0..each {
            edit = agent.line("applied").parse::<u64>().unwrap();
        }
        agent.kill();
        restarted += 1;
        progress(&format!("{restarted} of {restarts} agents killed, {edit} edits"));
    }
    stop();
    let (inside, beside) = (sum(&mut inside), sum(&mut beside));
    let mut engine = start_engine();
    let places = engine.counters().unwrap().places;
    println!("{inside:?} inside, {beside:?} beside, {} edits, {restarted} agents killed, {places:?}", edit - 1);
    assert_eq!((inside.allowed, inside.failed), (0, 0), "wrongly allowed: {inside:?}");
    assert_eq!((beside.refused, beside.failed), (0, 0), "wrongly refused: {beside:?}");
    assert!(inside.refused + beside.allowed >= calls / tasks * tasks);
    finish(engine);
}
