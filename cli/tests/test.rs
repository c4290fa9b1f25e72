//! `stockade test` as a user runs it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

mod folder;

use folder::{Folder, Ran};
use serde_json::{Value, json};

const POLICY: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicyNamespaced
metadata: {name: deny-writes, namespace: shop}
spec:
  kprobes:
  - call: security_file_permission
    syscall: false
    args:
    - {index: 0, type: file}
    - {index: 1, type: int}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [/etc/app/]}
      - {index: 1, operator: Equal, values: ['2']}
      matchActions: [{action: Sigkill}]
";

/// Everything that a policy can ask about a process.
const PROCESSES: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: processes}
spec:
  lsmhooks:
  - hook: file_open
    args: [{index: 0, type: file}]
    selectors:
    - matchPIDs: [{operator: In, values: [1], followForks: true, isNamespacePID: true}]
      matchActions: [{action: Override, argError: -13}]
    - matchBinaries: [{operator: In, values: [/bin/sh], followChildren: true}]
      matchNamespaces: [{namespace: Net, operator: NotIn, values: [host_ns]}]
      matchActions: [{action: Signal, argSig: 10}]
";

fn folder(test: &str) -> Folder {
    Folder::new(&[("deny.yaml", POLICY), ("deny.test.yaml", test)])
}

fn test(test: &str) -> Ran {
    folder(test).run(&["test", "deny.test.yaml"], "")
}

/// A test file with this event, of a pod of the policy's namespace.
fn of(event: &str) -> Ran {
    test(&format!("process: {{pod: {{namespace: shop}}}}\ntests:\n- hook: security_file_permission\n  {event}\n"))
}

#[test]
fn what_is_as_expected_passes_and_the_file_beside_it_is_the_policy() {
    for event in [
        "args: [/etc/app/x, 2]\n  expect: denied",
        "args: {1: 0x2, 0: /etc/app/x}\n  expect: {verdict: denied, selector: 0, error: -1, signal: 9, post: true}",
        "args: [/etc/app/x, 4]\n  expect: {verdict: nothing, selector: none, error: none, signal: none, post: false}",
        "args: [/etc/app/x, 2]\n  process: {pod: none}\n  expect: nothing",
        "args: [/etc/app/x, 2]\n  process: {pod: unknown}\n  expect: denied",
        "args: [{unreadable: true}, 2]\n  expect: fault",
        "args: [/tmp/x]\n  expect: nothing",
        "args: [/etc/app/x, 2]\n  expect: [{policy: shop/deny-writes, hook: 'spec.kprobes[0]', verdict: denied}]",
    ] {
        let ran = of(event);
        assert_eq!((ran.code, ran.out.as_str()), (0, "1 test in 1 file: 1 passed, 0 failed\n"), "{event}: {ran:?}");
    }
}

#[test]
fn a_failure_says_what_was_expected_what_came_and_which_filter_decided() {
    let ran = of("args: [/etc/app/x, 4]\n  expect: denied");
    assert_eq!(ran.code, 1);
    let expected = "\
FAILED deny.test.yaml:3: security_file_permission (tests[0])
  shop/deny-writes, spec.kprobes[0]: nothing
    - verdict: denied
    + verdict: nothing
    selectors[0] does not match:
      yes argument 0 (file) begins with /etc/app/ (it is \"/etc/app/x\")
      no  argument 1 (int) is 2 (it is 4)

1 test in 1 file: 0 passed, 1 failed
";
    assert_eq!(ran.out, expected);
    let outside = of("args: [/etc/app/x, 2]\n  process: {pod: {namespace: bank}}\n  expect: denied");
    let why = "the policy is about every pod of namespace shop, and the process is in a pod of bank";
    assert!(outside.out.contains(why), "{}", outside.out);
}

#[test]
fn what_the_verdict_depends_on_and_the_test_does_not_say_is_asked_for() {
    for (event, missing) in
        [("args: [/etc/app/x]\n  expect: denied", "argument 1"), ("args: {1: 2}\n  expect: denied", "argument 0")]
    {
        let ran = of(event);
        assert_eq!(ran.code, 2, "{event}");
        assert!(ran.out.contains(&format!("depends on what the test does not say: {missing}\n")), "{}", ran.out);
    }
}

#[test]
fn everything_about_a_process_can_be_said_and_what_is_not_said_is_no_unreadable() {
    let run = |process: &str, expect: &str| {
        let text = format!(
            "policies: [p.yaml]\ntests:\n- hook: file_open\n  args: [/x]\n  process: {process}\n  expect: {expect}\n"
        );
        Folder::new(&[("p.yaml", PROCESSES), ("p.test.yaml", text.as_str())]).run(&["test"], "")
    };
    for (process, expect) in [
        ("{ownPid: 1}", "{verdict: denied, error: -13, selector: 0}"),
        ("{ownPid: 9, parents: [{ownPid: 4}, {ownPid: 1}]}", "denied"),
        ("{ownPid: 9, binary: /bin/sh, namespaces: {Net: 4026532000}}", "{verdict: signalled, signal: 10}"),
        ("{ownPid: 9, binary: /bin/sh}", "nothing"),
        ("{ownPid: 9, binary: /bin/a, parents: [{ownPid: 5, binary: /bin/sh}], namespaces: {Net: 7}}", "signalled"),
        ("{ownPid: 9, binary: {unreadable: true}, namespaces: {Net: 7}}", "fault"),
    ] {
        let ran = run(process, expect);
        assert_eq!(ran.code, 0, "{process}: {}", ran.out);
    }
    for (process, missing) in [
        ("{pid: 4}", "ownPid"),
        ("{ownPid: 9, namespaces: {Net: 7}}", "binary"),
        ("{ownPid: 9, binary: /a, parents: [{ownPid: 5}], namespaces: {Net: 7}}", "the binary of a parent"),
        ("{ownPid: 9, binary: /bin/sh, pod: {namespace: shop}}", "namespaces"),
    ] {
        let ran = run(process, "nothing");
        assert!(ran.code == 2 && ran.out.contains(&format!("say: {missing}\n")), "{process}: {}", ran.out);
    }
}

#[test]
fn sockets_labels_and_macros_of_a_process_are_read() {
    let policy = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: egress}
spec:
  podSelector: {matchLabels: {app: web}}
  containerSelector: {matchExpressions: [{key: name, operator: In, values: [main]}]}
  kprobes:
  - call: tcp_connect
    syscall: false
    args: [{index: 0, type: sock, label: to}]
    selectors:
    - matchArgs:
      - {index: 0, operator: NotDAddr, values: [10.0.0.0/8]}
      - {index: 0, operator: DPort, values: ['443']}
";
    let run = |args: &str, container: &str, expect: &str| {
        let text = format!(
            "tests:\n- hook: tcp_connect\n  args: {args}\n  expect: {expect}\n  \
             process: {{pod: {{namespace: x, labels: {{app: web}}{container}}}}}\n"
        );
        Folder::new(&[("e.yaml", policy), ("e.test.yaml", text.as_str())]).run(&["test"], "")
    };
    let main = ", container: {name: main}";
    for (args, expect) in [
        ("['192.0.2.1:443']", "observed"),
        ("{to: {daddr: 192.0.2.1, dport: 443}}", "observed"),
        ("['[::ffff:10.1.1.1]:443']", "nothing"),
        ("['192.0.2.1:80']", "nothing"),
    ] {
        let ran = run(args, main, expect);
        assert_eq!(ran.code, 0, "{args}: {}", ran.out);
    }
    assert_eq!(run("['192.0.2.1:443']", ", container: {name: side}", "nothing").code, 0);
    let unsaid = run("['192.0.2.1:443']", "", "observed");
    assert!(unsaid.code == 2 && unsaid.out.contains("say: the container of its pod"), "{}", unsaid.out);
    let port = run("['192.0.2.1']", main, "observed");
    assert!(port.out.contains("say: dport of argument 0"), "{}", port.out);
}

#[test]
fn several_policies_are_expected_of_one_by_one_and_of_whom_nothing_is_said_nothing() {
    let other = POLICY.replace("deny-writes", "other").replace("[/etc/app/]", "[/etc/]");
    let run = |expect: &str| {
        let text = format!(
            "policies: [deny.yaml, other.yaml]\nprocess: {{pod: {{namespace: shop}}}}\ntests:\n\
             - hook: file_permission\n  args: [/etc/x, 2]\n  expect: {expect}\n"
        );
        Folder::new(&[("deny.yaml", POLICY), ("other.yaml", &other), ("t.test.yaml", &text)]).run(&["test"], "")
    };
    assert_eq!(run("[{policy: other, verdict: denied}]").code, 0);
    assert_eq!(run("[{policy: other, verdict: denied}, {policy: shop/deny-writes, verdict: nothing}]").code, 0);
    let forgotten = run("[{policy: deny-writes, verdict: nothing}]");
    assert!(forgotten.code == 1 && forgotten.out.contains("shop/other, spec.kprobes[0]: denied"), "{}", forgotten.out);
    assert_eq!(run("nothing").code, 1);
    let ambiguous = run("denied");
    assert!(ambiguous.code == 2 && ambiguous.out.contains("of which of 2 policies"), "{}", ambiguous.out);
    assert!(run("[{policy: third, verdict: denied}]").out.contains("there is no policy third"));
}

#[test]
fn steps_are_one_after_the_other_and_rate_limits_count_between_them() {
    let policy = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: limited}
spec:
  kprobes:
  - call: do_it
    syscall: false
    args: [{index: 0, type: int}]
    selectors:
    - matchArgs: [{operator: CelExpr, values: ['arg0 < 9']}]
      matchActions: [{action: Post, rateLimit: 1m, rateLimitScope: process}]
";
    let text = "\
tests:
- name: one in a minute
  hook: do_it
  args: [1]
  process: {pid: 7}
  steps:
  - expect: observed
  - {time: 59, expect: nothing}
  - {time: 59, args: [2], expect: observed}
  - {time: 59, process: {pid: 8}, expect: observed}
  - {time: 60, expect: observed}
  - {time: 61, args: [9], expect: nothing}
";
    let ran = Folder::new(&[("l.yaml", policy), ("l.test.yaml", text)]).run(&["test"], "");
    assert_eq!(ran.code, 0, "{}", ran.out);
    // What this release does not carry out can be tested, and is said to be so.
    assert!(ran.out.starts_with("note: this release does not carry out all of limited"), "{}", ran.out);
    let wrong = text.replace("time: 59, expect: nothing", "time: 59, expect: observed");
    let ran = Folder::new(&[("l.yaml", policy), ("l.test.yaml", wrong.as_str())]).run(&["test"], "");
    assert!(
        ran.code == 1 && ran.out.contains("step 2, limited") && ran.out.contains("too short a time"),
        "{}",
        ran.out
    );
}

#[test]
fn what_is_wrong_with_a_test_file_is_shown_where_it_is_written_with_a_fix() {
    for (text, message, help) in [
        ("tests: []", "there are no tests", "write a list of events"),
        ("test: []", "there is no field test here", "did you mean tests?"),
        ("tests:\n- {hook: file_permission, expect: deny}", "deny is no verdict", "write one of denied, signalled"),
        ("tests:\n- {hook: file_permision, expect: denied}", "no policy hooks file_permision", "they hook"),
        (
            "tests:\n- {hook: file_permission, args: {9: 1}, expect: denied}",
            "no policy reads argument 9",
            "they read 0, 1",
        ),
        ("tests:\n- {hook: file_permission, args: [7], expect: denied}", "is of type file", "write a path"),
        ("tests:\n- {hook: file_permission, process: {pid: 0}, expect: denied}", "no number from 1", "write one"),
        ("tests:\n- {name: yes, hook: file_permission, expect: denied}", "YAML reads it as true", "in quotes"),
        ("tests:\n- {hook: file_permission, hook: file_permission, expect: denied}", "written twice", "remove one"),
        ("policies: [none.yaml]\ntests:\n- {hook: x, expect: denied}", "none.yaml cannot be read", "name a file"),
        ("policies: [deny.test.yaml]\ntests:\n- {hook: x, expect: denied}", "there is no policy in", "name a file"),
        (
            "tests:\n- {hook: file_permission, returns: 1, expect: denied}",
            "no policy reads what file_permission returns",
            "remove it",
        ),
        ("", "there are no tests", "write tests"),
        ("tests: [", "", ""),
    ] {
        let ran = test(text);
        assert_eq!(ran.code, 2, "{text}: {ran:?}");
        assert!(ran.out.contains(message) && ran.out.contains(help), "{text}: {}", ran.out);
        assert!(ran.out.contains("--> deny.test.yaml:"), "{text}: {}", ran.out);
    }
    let faulty =
        Folder::new(&[("a.yaml", "kind: TracingPolicy"), ("a.test.yaml", "tests: [{hook: x, expect: denied}]")]);
    let ran = faulty.run(&["test"], "");
    assert!(ran.code == 2 && ran.out.contains("see: stockade lint a.yaml"), "{}", ran.out);
    let none = Folder::new(&[("a.yaml", POLICY)]).run(&["test"], "");
    assert!(none.code == 2 && none.err.contains("has no .test.yaml file in it"), "{none:?}");
}

#[test]
fn the_return_of_a_call_is_an_event_of_its_own() {
    let policy = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: returns}
spec:
  kprobes:
  - call: sys_openat
    return: true
    returnArg: {index: 0, type: int}
    args: [{index: 1, type: string}]
    selectors:
    - matchArgs: [{index: 1, operator: Equal, values: [/x]}]
      matchReturnArgs: [{index: 0, operator: GT, values: ['2']}]
      matchReturnActions: [{action: Post}]
";
    let text = "\
tests:
- {hook: sys_openat, args: {1: /x}, returns: 3, expect: observed}
- {hook: x64/sys_openat, args: {1: /x}, returns: -2, expect: nothing}
- {hook: sys_openat, args: {1: /y}, returns: 3, expect: nothing}
";
    let ran = Folder::new(&[("r.yaml", policy), ("r.test.yaml", text)]).run(&["test"], "");
    assert_eq!(ran.code, 0, "{}", ran.out);
}

#[test]
fn json_has_every_test_with_its_result() {
    let text = "\
process: {pod: {namespace: shop}}
tests:
- {name: a, hook: file_permission, args: [/etc/app/x, 2], expect: denied}
- {name: b, hook: file_permission, args: [/etc/app/x, 2], expect: observed}
- {name: c, hook: file_permission, args: [/etc/app/x], expect: observed}
";
    let object = folder(text).run(&["test", "-o", "json"], "").json();
    assert_eq!(object["summary"], json!({"tests": 3, "passed": 1, "failed": 1, "faulty": 1}));
    let tests = object["files"][0]["tests"].as_array().unwrap();
    let results: Vec<_> = tests.iter().map(|test| (test["name"].clone(), test["result"].clone())).collect();
    assert_eq!(json!(results), json!([["a", "passed"], ["b", "failed"], ["c", "faulty"]]));
    let failure = &tests[1]["failures"][0];
    assert_eq!(failure["differences"], json!([{"field": "verdict", "expected": "observed", "got": "denied"}]));
    assert_eq!(failure["got"], json!({"verdict": "denied", "selector": 0, "error": -1, "signal": 9, "post": true}));
    assert_eq!(object["files"][0]["faults"][0]["code"], "Unsaid");
}

/// As the enforcer writes it.
fn event(verdict: &str, path: &str, more: &Value) -> String {
    let mut body = json!({
        "process": {
            "exec_id": "c", "pid": 42, "tid": 42, "binary": "/usr/bin/cp", "parent_exec_id": "b", "identity": "pod",
            "pod": {"namespace": "shop", "name": "web", "pod_labels": {"app": "web"}},
        },
        "parent": {"exec_id": "b", "pid": 41, "binary": "/bin/sh", "parent_exec_id": "a"},
        "args": [{"file_arg": {"path": path}}, {"int_arg": 2}],
        "action": "KPROBE_ACTION_POST", "policy_name": "deny-writes", "policy_namespace": "shop", "hook_index": 0,
        "selector": 0, "verdict": verdict, "strength": "Deny", "message": "", "tags": [],
        "function_name": "security_file_permission",
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    json!({"process_kprobe": body, "node_name": "n1", "time": format!("2026-01-01T00:00:00Z {path}")}).to_string()
}

#[test]
fn recorded_events_are_judged_and_differences_are_shown() {
    let none = json!({});
    let lines = [
        json!({"process_exec": {"process": {"exec_id": "a", "pid": 1, "binary": "/init"}}, "time": "1"}).to_string(),
        event("denied", "/etc/app/x", &none),
        event("denied", "/etc/old/x", &none),
        event("observed", "/x", &json!({"policy_name": "elsewhere", "function_name": "other"})),
        String::new(),
        json!({"timestamp": "t", "level": "INFO", "fields": {"message": "x"}, "target": "stockade"}).to_string(),
    ];
    let folder = Folder::new(&[("deny.yaml", POLICY), ("e.jsonl", &lines.join("\n"))]);
    let ran = folder.run(&["test", "--events", "e.jsonl", "deny.yaml"], "");
    assert_eq!(ran.code, 1, "{ran:?}");
    let expected = "\
e.jsonl:2: security_file_permission by /usr/bin/cp (pid 42)
  shop/deny-writes, spec.kprobes[0]: denied by selectors[0]: error -1, signal 9, event posted
e.jsonl:3: security_file_permission by /usr/bin/cp (pid 42)
  shop/deny-writes, spec.kprobes[0]: nothing
    recorded: denied by selectors[0]
    selectors[0] does not match:
      no  argument 0 (file) begins with /etc/app/ (it is \"/etc/old/x\")
      yes argument 1 (int) is 2 (it is 2)
3 events: 1 judged differently, 1 at hooks that no policy has, 2 lines of other kinds
";
    assert_eq!(ran.out, expected);
    let json = folder.run(&["test", "--events", "-", "-o", "json", "deny.yaml"], &lines.join("\n")).json();
    assert_eq!(json["summary"]["differing"], 1);
    assert_eq!(json["events"][1]["policies"][0]["recorded"], json!({"verdict": "denied", "selector": 0}));
}

#[test]
fn what_an_event_does_not_say_is_said_and_never_guessed() {
    let ancestors =
        PROCESSES.replace("isNamespacePID: true", "isNamespacePID: false").replace("values: [1]", "values: [2]");
    let other = POLICY.replace("deny-writes", "other");
    let files = [("deny.yaml", POLICY), ("p.yaml", &ancestors), ("other.yaml", &other)];
    let folder = Folder::new(&files);
    let judge = |line: &str, policy: &str| folder.run(&["test", "--events", "-", policy], line);
    let unread = json!({"args": [{"file_arg": {"path": "/etc/app/x"}}, {"error_arg": {"message": "not needed"}}]});
    let unreadable =
        json!({"args": [{"file_arg": {"path": "/etc/app/x"}}, {"error_arg": {"message": "could not be read"}}]});
    let of_kernel = json!({"function_name": "file_open", "args": [{"file_arg": {"path": "/x"}}]});
    for (line, policy, code, text) in [
        (event("denied", "/x", &unread), "deny.yaml", 2, "the event does not have argument 1"),
        (event("fault", "/x", &unreadable), "deny.yaml", 0, "fault by selectors[0]"),
        (event("denied", "/x", &json!({"process": {"pid": 1}})), "deny.yaml", 2, "does not have pod"),
        (event("denied", "/etc/app/x", &json!({})), "other.yaml", 2, "does not have argument 0, argument 1"),
        (event("observed", "/x", &of_kernel), "p.yaml", 2, "does not have its further parents"),
        ("{".to_owned(), "deny.yaml", 2, "1 line that cannot be read"),
        ("{}".to_owned(), "deny.yaml", 2, "1 line that cannot be read"),
    ] {
        let ran = judge(&line, policy);
        assert!(ran.code == code && ran.out.contains(text), "{line}: {ran:?}");
    }
    // The policy that recorded it says which arguments it carries.
    let both =
        folder.run(&["test", "--events", "-", "deny.yaml", "other.yaml"], &event("denied", "/etc/app/x", &json!({})));
    assert!(both.code == 0 && both.out.contains("shop/other, spec.kprobes[0]: denied"), "{both:?}");
    assert_eq!(folder.run(&["test", "--events", "-"], "").code, 2);
}

#[test]
fn a_hook_of_a_list_is_told_from_the_others_by_its_function() {
    let policy = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: closing}
spec:
  lists: [{name: closing, values: [tcp_close, sk_free]}]
  kprobes:
  - call: list:closing
    syscall: false
    args: [{index: 0, type: sock}]
    selectors:
    - matchArgs: [{index: 0, operator: DPort, values: ['443']}]
";
    let more = json!({
        "function_name": "sk_free", "policy_name": "closing", "policy_namespace": "",
        "args": [{"sock_arg": {"family": "AF_INET", "type": "SOCK_STREAM", "protocol": "IPPROTO_TCP", "saddr": "10.0.0.1",
                  "daddr": "10.0.0.2", "sport": 4, "dport": 443, "state": "TCP_CLOSE"}}],
    });
    let folder = Folder::new(&[("p.yaml", policy)]);
    let ran = folder.run(&["test", "--events", "-", "p.yaml"], &event("observed", "/x", &more));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("closing, spec.kprobes[0]: observed by selectors[0]: event posted\n1 event: 0 judged"),
        "{ran:?}"
    );
}
