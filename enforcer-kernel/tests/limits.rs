//! Rate limits in a guest: what they keep back is counted, what is done stays as it is, and nobody's window is another's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails says where")]

mod guest;

use std::time::Duration;

use guest::*;
use serde_json::{Value as Json, json};
use stockade_enforcer_kernel::Engine;
use stockade_enforcer_kernel::event::{Event, Value};
use stockade_policy::ir::ValidatedPolicy;

/// A policy about what is opened below `/tmp/limited`, with one more action than Post if there is one.
fn limited(name: &str, limit: &str, scope: &str, also: Option<Json>) -> ValidatedPolicy {
    let mut post = json!({"action": "Post"});
    if !limit.is_empty() {
        post["rateLimit"] = json!(limit);
        post["rateLimitScope"] = json!(scope);
    }
    let actions: Vec<Json> = [post].into_iter().chain(also).collect();
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": name, "generation": 1},
        "spec": {"lsmhooks": [{
            "hook": "file_open", "args": [{"index": 0, "type": "file"}],
            "selectors": [{
                "matchArgs": [{"index": 0, "operator": "Prefix", "values": ["/tmp/limited/"]}],
                "matchActions": actions,
            }],
        }]},
    }))
}

/// What has been reported since the last time: policies and the last letter of what was opened.
fn reported(engine: &mut Engine) -> Vec<(String, char)> {
    let mut reported = Vec::new();
    loop {
        let events = engine.poll_events(4096);
        if events.is_empty() {
            return reported;
        }
        for event in events {
            let Event::Hook(hook) = event.unwrap() else { continue };
            let Value::Text { bytes, .. } = &hook.args[0].value else { continue };
            let letter = char::from(*bytes.last().unwrap());
            reported.extend(hook.fired.iter().map(|fired| (fired.rule.policy.clone(), letter)));
        }
    }
}

/// What the rule of a policy has matched, denied and kept back.
fn counts(engine: &mut Engine, policy: &str) -> (u64, u64, u64) {
    let counters = engine.counters().unwrap();
    let counts = counters.rules.iter().rfind(|counted| counted.rule.policy == policy).unwrap().counts;
    (counts.matched, counts.denied, counts.limited)
}

fn files() {
    std::fs::create_dir_all("/tmp/limited").unwrap();
    for name in ["a", "b"] {
        std::fs::write(format!("/tmp/limited/{name}"), "x").unwrap();
    }
    // As long as a path may be, but for one letter at its end.
    let long = format!("/tmp/limited/{}", format!("{}/", "l".repeat(250)).repeat(8));
    std::fs::create_dir_all(&long).unwrap();
    for name in ["c", "d"] {
        std::fs::write(format!("{long}{name}"), "x").unwrap();
    }
}

const LONG: &str = "L=$(printf %250s | tr ' ' l); D=/tmp/limited/$L/$L/$L/$L/$L/$L/$L/$L";

fn of(policy: &str, letters: &str) -> Vec<(String, char)> {
    letters.chars().map(|letter| (policy.to_owned(), letter)).collect()
}

#[test]
fn of_equal_events_one_is_reported_in_a_window_and_the_others_are_counted() {
    if !in_guest() {
        return;
    }
    files();
    let mut engine = fresh_engine();
    apply(&mut engine, &[limited("one", "1h", "process", None)], &snapshot(&[]));
    reported(&mut engine);
    // Redirections of a builtin: the shell itself opens.
    let twice = ": < /tmp/limited/a; : < /tmp/limited/b; : < /tmp/limited/a; : < /tmp/limited/a";
    assert_allowed(&run_on_host(twice));
    assert_eq!(reported(&mut engine), of("one", "ab"));
    assert_eq!(counts(&mut engine, "one"), (4, 0, 2));
    assert_allowed(&run_on_host(twice));
    assert_eq!(reported(&mut engine), of("one", "ab"), "another process");
    let script = format!("{LONG}; : < $D/c; : < $D/d; : < $D/d; : < $D/c");
    assert_allowed(&run_on_host(&script));
    assert_eq!(reported(&mut engine), of("one", "cd"), "all of a path counts");
    assert_eq!(counts(&mut engine, "one"), (12, 0, 6));
    finish(engine);
}

#[test]
fn a_window_ends_and_is_everybodys_and_outlives_the_agent_where_the_policy_says_so() {
    if !in_guest() {
        return;
    }
    files();
    let mut engine = fresh_engine();
    let policy = limited("all", "3s", "global", None);
    apply(&mut engine, std::slice::from_ref(&policy), &snapshot(&[]));
    reported(&mut engine);
    assert_allowed(&run_on_host("cat /tmp/limited/a"));
    assert_allowed(&run_on_host("cat /tmp/limited/a"));
    assert_eq!(reported(&mut engine), of("all", "a"));
    std::thread::sleep(Duration::from_millis(3100));
    assert_allowed(&run_on_host("cat /tmp/limited/a; cat /tmp/limited/a"));
    assert_eq!(reported(&mut engine), of("all", "a"));

    let longer = limited("all", "1h", "global", None);
    apply(&mut engine, std::slice::from_ref(&longer), &snapshot(&[]));
    assert_allowed(&run_on_host("cat /tmp/limited/a; cat /tmp/limited/b"));
    assert_eq!(reported(&mut engine), of("all", "b"), "an edit does not begin a window anew");
    drop(engine);
    assert_allowed(&run_on_host("cat /tmp/limited/a; cat /tmp/limited/b"));
    let mut engine = start_engine();
    apply(&mut engine, &[longer], &snapshot(&[]));
    assert_allowed(&run_on_host("cat /tmp/limited/a; cat /tmp/limited/b"));
    assert_eq!(reported(&mut engine), Vec::new());
    assert_eq!(counts(&mut engine, "all"), (6, 0, 5));
    finish(engine);
}

#[test]
fn a_limit_changes_no_verdict_and_no_other_policys_report() {
    if !in_guest() {
        return;
    }
    files();
    let mut engine = fresh_engine();
    let deny = limited("deny", "1h", "global", Some(json!({"action": "Override", "argError": -1})));
    let other = limited("other", "", "", None);
    apply(&mut engine, std::slice::from_ref(&deny), &snapshot(&[]));
    reported(&mut engine);
    for _ in 0..3 {
        assert_denied(&run_on_host("cat /tmp/limited/a"));
    }
    assert_eq!(reported(&mut engine), of("deny", "a"));
    assert_eq!(counts(&mut engine, "deny"), (3, 3, 2));
    apply(&mut engine, &[deny, other], &snapshot(&[]));
    for _ in 0..2 {
        assert_denied(&run_on_host("cat /tmp/limited/a"));
    }
    assert_eq!(reported(&mut engine), of("other", "aa"));
    assert_eq!(counts(&mut engine, "deny"), (2, 2, 2));
    assert_eq!(counts(&mut engine, "other"), (2, 0, 0));
    finish(engine);
}

#[test]
fn threads_have_windows_of_their_own() {
    if !in_guest() {
        return;
    }
    files();
    let mut engine = fresh_engine();
    apply(&mut engine, &[limited("each", "1h", "thread", None)], &snapshot(&[]));
    reported(&mut engine);
    let open = || {
        for _ in 0..5 {
            std::fs::File::open("/tmp/limited/a").unwrap();
        }
    };
    for _ in 0..3 {
        std::thread::spawn(open).join().unwrap();
    }
    assert_eq!(reported(&mut engine), of("each", "aaa"));
    assert_eq!(counts(&mut engine, "each"), (15, 0, 12));
    finish(engine);
}
