//! A test for every row of the table of states, with what kstatus and Argo CD conclude from it.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use stockade_crds::{ConditionStatus, ConditionType};
use stockade_policy::ir::{LabelOperator, LabelRequirement};

use super::*;

const GENERATION: i64 = 2;

/// A node whose agent says nothing of the policy yet.
fn node(name: &str) -> Node {
    Node { name: name.into(), covered: true, ..Node::default() }
}

fn entry(generation: i64, state: EntryState, reason: Option<Reason>) -> PolicyEntry {
    PolicyEntry {
        kind: "TracingPolicy".into(),
        namespace: None,
        name: "p".into(),
        uid: "u".into(),
        generation,
        digest: "d".into(),
        mode: Some(Mode::Enforce),
        state,
        generation_in_force: None,
        strength: Some(Strength::Deny),
        reason,
        message: Some("because".into()),
        hooks: Vec::new(),
        pods_out_of_reach: None,
        activity: None,
    }
}

fn at_goal(name: &str) -> Node {
    Node { entry: Some(entry(GENERATION, EntryState::Programmed, None)), ..node(name) }
}

fn trouble(name: &str, state: EntryState, reason: Reason) -> Node {
    Node { entry: Some(entry(GENERATION, state, Some(reason))), ..node(name) }
}

/// What nodes say is about a policy in this mode.
fn in_mode<const N: usize>(mode: Mode, nodes: [Node; N]) -> [Node; N] {
    nodes.map(|node| Node { entry: node.entry.map(|entry| PolicyEntry { mode: Some(mode), ..entry }), ..node })
}

/// The node has an older generation in force.
fn older(mut node: Node) -> Node {
    if let Some(entry) = &mut node.entry {
        entry.generation_in_force = Some(GENERATION - 1);
    } else {
        node.entry = Some(entry(GENERATION - 1, EntryState::Programmed, None));
    }
    node
}

fn accepted(mode: Mode) -> Document {
    Document::Accepted { mode, digest: "abc".into(), node_selector: None, suspended: false }
}

fn suspended() -> Document {
    Document::Accepted { mode: Mode::Monitor, digest: String::new(), node_selector: None, suspended: true }
}

fn invalid() -> Document {
    let fault = Fault { path: "spec".into(), code: "PidZero", message: "m".into(), help: "h".into() };
    Document::Invalid(vec![fault])
}

fn status_of(document: Document, nodes: &[Node]) -> PolicyStatus {
    let now = Timestamp::from_second(1000).unwrap();
    roll_up(&Input { generation: GENERATION, deleting: false, document, nodes, previous: None, now }).unwrap()
}

/// `Accepted Programmed Enforcing Ready third`, each as status initial and reason: `T/Valid F/Progressing …`.
fn row(status: &PolicyStatus) -> String {
    let parts = status.conditions.iter().map(|condition| match condition.type_.as_str() {
        "Reconciling" | "Stalled" => condition.type_.clone(),
        _ => format!("{}/{}", &condition.status[..1], condition.reason),
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// What kstatus concludes: Flux and Helm wait by it. Its own rules for a kind that it does not know, in its order.
fn kstatus(status: &PolicyStatus, deleting: bool) -> &'static str {
    let is = |kind: ConditionType, wanted: ConditionStatus| {
        status.conditions.iter().any(|c| c.type_ == kind.as_str() && c.status == wanted.as_str())
    };
    let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
    if deleting {
        "Terminating"
    } else if status.observed_generation.is_some_and(|observed| observed != GENERATION)
        || is(ConditionType::Reconciling, ConditionStatus::True)
    {
        "InProgress"
    } else if is(ConditionType::Stalled, ConditionStatus::True) {
        "Failed"
    } else if ready.is_none_or(|ready| ready.status == ConditionStatus::True.as_str()) {
        // Also what says nothing of Ready.
        "Current"
    } else {
        "InProgress"
    }
}

/// What Argo CD concludes, by the script of `docs/argocd.md`.
fn argo(status: &PolicyStatus) -> String {
    let docs = include_str!("../../../docs/argocd.md");
    let script = docs.split("```lua\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let conditions: String = status
        .conditions
        .iter()
        .map(|c| format!("{{type={:?},status={:?},reason={:?},message={:?}}},", c.type_, c.status, c.reason, c.message))
        .collect();
    let observed = status.observed_generation.map_or_else(|| "nil".to_owned(), |generation| generation.to_string());
    let object = format!(
        "local obj = {{metadata={{generation={GENERATION}}},status={{observedGeneration={observed},conditions={{{conditions}}}}}}}"
    );
    let program = format!("local function health()\n{object}\n{script}\nend\nio.write(health().status)");
    let child = Command::new("lua5.1").args(["-e", &program]).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = child.expect("lua5.1 runs the script that Argo CD would: apt-get install lua5.1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn check(document: Document, nodes: &[Node], expected: &str, kstatus_says: &str) -> PolicyStatus {
    let status = status_of(document, nodes);
    assert_eq!(row(&status), expected);
    concluded(&status, kstatus_says);
    status
}

/// What both conclude.
fn concluded(status: &PolicyStatus, kstatus_says: &str) {
    assert_eq!(kstatus(status, false), kstatus_says);
    let argo_says = match kstatus_says {
        "Current" => "Healthy",
        "Failed" => "Degraded",
        _ => "Progressing",
    };
    assert_eq!(argo(status), argo_says);
}

#[test]
fn row_0_no_operator_has_seen_it() {
    for kind in stockade_crds::PolicyKind::ALL {
        let crds = stockade_crds::Crd::ALL.into_iter().map(stockade_crds::Crd::manifest);
        let crd = crds.into_iter().find(|crd| crd["metadata"]["name"] == kind.crd_name()).unwrap();
        let status = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/default").unwrap();
        let status: PolicyStatus = serde_json::from_value(status.clone()).unwrap();
        assert_eq!(row(&status), "U/Pending");
        assert_eq!(status.observed_generation, None);
        concluded(&status, "InProgress");
    }
    assert_eq!(kstatus(&PolicyStatus::default(), false), "Current", "without the default it would be done");
}

#[test]
fn row_1_an_edit_that_no_operator_has_seen() {
    let nodes = [Node { entry: Some(entry(GENERATION - 1, EntryState::Programmed, None)), ..node("a") }];
    let now = Timestamp::from_second(1000).unwrap();
    // Whatever was said of the one before is not about this one: a sync that mends it must not be taken for a failed one.
    for (document, before) in [
        (accepted(Mode::Enforce), "T/Valid T/Programmed T/Enforced T/Enforced"),
        (invalid(), "F/Invalid F/Invalid F/Invalid F/Invalid Stalled"),
    ] {
        let nodes = if document == invalid() { &[][..] } else { &nodes };
        let input = Input { generation: GENERATION - 1, deleting: false, document, nodes, previous: None, now };
        let status = roll_up(&input).unwrap();
        assert_eq!(row(&status), before);
        concluded(&status, "InProgress");
    }
}

#[test]
fn row_2_invalid_and_nothing_older_in_force() {
    let status = check(invalid(), &[node("a")], "F/Invalid F/Invalid F/Invalid F/Invalid Stalled", "Failed");
    assert!(status.conditions[0].message.contains("PidZero"));
}

#[test]
fn row_3_invalid_with_an_older_generation_in_force() {
    let nodes = [older(trouble("a", EntryState::Failed, Reason::Invalid))];
    check(invalid(), &nodes, "F/Invalid F/StaleRevision U/PreviousGeneration F/Invalid Stalled", "Failed");
}

#[test]
fn row_4_first_rollout() {
    let nodes = [at_goal("a"), node("b")];
    let expected = "T/Valid F/Progressing F/Progressing F/Progressing Reconciling";
    let status = check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
    assert_eq!(status.summary, "1/2");
}

#[test]
fn row_5_rollout_of_an_edit() {
    let nodes = [at_goal("a"), older(node("b"))];
    let expected = "T/Valid F/Progressing U/PreviousGeneration F/Progressing Reconciling";
    check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
}

#[test]
fn rows_6_7_8_at_goal() {
    let nodes = [at_goal("a"), at_goal("b")];
    let status = check(accepted(Mode::Enforce), &nodes, "T/Valid T/Programmed T/Enforced T/Enforced", "Current");
    assert_eq!((status.summary.as_str(), status.strength), ("2/2", Some(Strength::Deny)));
    let nodes = in_mode(Mode::Monitor, nodes);
    check(accepted(Mode::Monitor), &nodes, "T/Valid T/Programmed F/Monitor T/Monitoring", "Current");
    check(suspended(), &nodes, "T/Valid T/Programmed F/Monitor T/Suspended", "Current");
    let nodes = in_mode(Mode::Observe, nodes);
    check(accepted(Mode::Observe), &nodes, "T/Valid T/Programmed F/ObserveOnly T/Observing", "Current");
}

#[test]
fn row_5_a_mode_is_claimed_when_every_node_has_said_that_it_is_in_it() {
    // The annotation makes no generation: what nodes say of this one may be about the mode before.
    let rolling = |enforcing| format!("T/Valid F/Progressing {enforcing} F/Progressing Reconciling");
    let [a, b] = [at_goal("a"), at_goal("b")];
    let half = [in_mode(Mode::Monitor, [a.clone()]), [b.clone()]].concat();
    let unknown = rolling("U/PreviousGeneration");
    check(suspended(), &[a.clone(), b], &unknown, "InProgress");
    let status = check(suspended(), &half, &unknown, "InProgress");
    assert_eq!(status.summary, "1/2");
    check(accepted(Mode::Enforce), &half, &unknown, "InProgress");
    check(accepted(Mode::Enforce), &in_mode(Mode::Monitor, [a.clone()]), &unknown, "InProgress");
    // An edit to another mode, and one within the mode that denies nothing.
    check(accepted(Mode::Monitor), &[older(node("a"))], &unknown, "InProgress");
    check(accepted(Mode::Monitor), &in_mode(Mode::Monitor, [older(node("a"))]), &rolling("F/Monitor"), "InProgress");
    // What is in force in a mode that nobody has told is not what was asked for.
    let mut silent = a;
    silent.entry.as_mut().unwrap().mode = None;
    check(accepted(Mode::Enforce), &[silent], &unknown, "InProgress");
}

#[test]
fn pods_that_no_policy_reaches_are_told_of_where_it_is_in_force() {
    let mut nodes = [at_goal("a"), at_goal("b"), at_goal("c")];
    for (node, beyond) in nodes.iter_mut().zip(["1+", "10+"]) {
        node.entry.as_mut().unwrap().pods_out_of_reach = Some(beyond.into());
    }
    let status = check(accepted(Mode::Enforce), &nodes, "T/Valid T/Programmed T/Enforced T/Enforced", "Current");
    assert_eq!(
        status.conditions[2].message,
        "in force on 3 of 3 nodes (it does not reach 10+ pods that have a kernel of their own)"
    );
}

#[test]
fn row_9_no_node_is_meant() {
    let expected = "T/Valid T/NoNodes F/NoNodes T/NoNodes";
    check(accepted(Mode::Enforce), &[], expected, "Current");
    let requirement = LabelRequirement { key: "pool".into(), operator: LabelOperator::Exists, values: BTreeSet::new() };
    let selector = LabelSelector { requirements: BTreeSet::from([requirement]) };
    let document = Document::Accepted {
        mode: Mode::Enforce,
        digest: String::new(),
        node_selector: Some(selector),
        suspended: false,
    };
    let status = check(document, &[at_goal("a")], expected, "Current");
    assert_eq!(status.nodes.unwrap().skipped, 1);
}

#[test]
fn row_10_no_enforcer_anywhere() {
    let nodes = [Node { covered: false, ..node("a") }];
    let expected = "T/Valid F/NoEnforcer F/NoEnforcer F/NoEnforcer Reconciling";
    let status = check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
    assert_eq!((status.summary.as_str(), status.nodes.unwrap().uncovered), ("0/0", 1));
}

#[test]
fn row_11_some_nodes_can_never_run_it() {
    let nodes = [at_goal("a"), trouble("b", EntryState::Failed, Reason::HookUnavailable)];
    let expected = "T/Valid F/HookUnavailable F/HookUnavailable F/HookUnavailable Stalled";
    let status = check(accepted(Mode::Enforce), &nodes, expected, "Failed");
    assert_eq!(status.summary, "1/2");
    assert_eq!(status.failures[0].example_node, "b");
    let expected = "T/Valid F/HookUnavailable F/Monitor F/HookUnavailable Stalled";
    check(accepted(Mode::Monitor), &in_mode(Mode::Monitor, nodes), expected, "Failed");
    let lacking = [trouble("b", EntryState::Failed, Reason::BpfLsmMissing)];
    let expected = "T/Valid F/HookUnavailable F/HookUnavailable F/HookUnavailable Stalled";
    check(accepted(Mode::Enforce), &lacking, expected, "Failed");
}

#[test]
fn rows_12_and_13_a_load_that_fails() {
    let expected = "T/Valid F/LoadFailed F/LoadFailed F/LoadFailed ";
    let retrying = [trouble("a", EntryState::Retrying, Reason::LoadFailed)];
    check(accepted(Mode::Enforce), &retrying, &format!("{expected}Reconciling"), "InProgress");
    let failed = [trouble("a", EntryState::Failed, Reason::LoadFailed)];
    check(accepted(Mode::Enforce), &failed, &format!("{expected}Stalled"), "Failed");
}

#[test]
fn row_14_a_new_generation_that_cannot_load() {
    let expected = "T/Valid F/StaleRevision U/PreviousGeneration F/HookUnavailable Stalled";
    let nodes = [older(trouble("a", EntryState::Failed, Reason::HookUnavailable))];
    check(accepted(Mode::Enforce), &nodes, expected, "Failed");
    let expected = "T/Valid F/StaleRevision U/PreviousGeneration F/LoadFailed Reconciling";
    let nodes = [older(trouble("a", EntryState::Retrying, Reason::LoadFailed))];
    check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
}

#[test]
fn row_15_weaker_than_asked_for() {
    let nodes = [at_goal("a"), trouble("b", EntryState::Failed, Reason::TooWeak)];
    check(accepted(Mode::Enforce), &nodes, "T/Valid T/Programmed F/TooWeak F/TooWeak Stalled", "Failed");
}

#[test]
fn row_16_tampered() {
    let nodes = [at_goal("a"), trouble("b", EntryState::Retrying, Reason::Tampered)];
    let expected = "T/Valid F/Tampered F/Tampered F/Tampered Reconciling";
    check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
}

#[test]
fn row_17_an_agent_that_died() {
    let nodes = [at_goal("a"), Node { liveness: Liveness::AgentDown, ..at_goal("b") }];
    let expected = "T/Valid U/AgentDown U/AgentDown F/AgentDown Reconciling";
    check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
}

#[test]
fn row_18_unreachable_and_joining_nodes_are_counted_and_hold_nothing_up() {
    let unreachable = Node { liveness: Liveness::Unreachable, ..at_goal("b") };
    let joining = Node { joining: true, ..node("c") };
    let nodes = [at_goal("a"), unreachable, joining];
    let status = check(accepted(Mode::Enforce), &nodes, "T/Valid T/Programmed T/Enforced T/Enforced", "Current");
    let counts = status.nodes.unwrap();
    assert_eq!((counts.desired, counts.at_goal, counts.unreachable, counts.joining), (3, 1, 1, 1));
    assert_eq!(status.summary, "1/3");
    assert!(status.conditions[3].message.contains("1 unreachable"), "{}", status.conditions[3].message);
}

#[test]
fn row_18_a_node_that_has_just_joined_is_meant_before_its_enforcer_speaks() {
    let new = Node { joining: true, covered: false, ..node("a") };
    let expected = "T/Valid F/Progressing F/Progressing F/Progressing Reconciling";
    check(accepted(Mode::Enforce), std::slice::from_ref(&new), expected, "InProgress");
    check(accepted(Mode::Enforce), &[new, at_goal("b")], "T/Valid T/Programmed T/Enforced T/Enforced", "Current");
}

#[test]
fn row_19_every_desired_node_is_unreachable() {
    let nodes = [Node { liveness: Liveness::Unreachable, ..at_goal("a") }];
    let expected = "T/Valid U/NodesUnreachable U/NodesUnreachable U/NodesUnreachable Reconciling";
    check(accepted(Mode::Enforce), &nodes, expected, "InProgress");
}

#[test]
fn row_20_nothing_is_written_while_it_is_deleted() {
    let now = Timestamp::from_second(1000).unwrap();
    let document = accepted(Mode::Enforce);
    let input = Input { generation: GENERATION, deleting: true, document, nodes: &[], previous: None, now };
    assert_eq!(roll_up(&input), None);
    // So what was said last stays. Argo CD asks no script about what is being deleted.
    let last = status_of(accepted(Mode::Enforce), &[at_goal("a")]);
    assert_eq!(kstatus(&last, true), "Terminating");
}

#[test]
fn of_several_causes_the_first_is_named() {
    let causes = [Reason::Tampered, Reason::TooWeak, Reason::HookUnavailable, Reason::LoadFailed];
    for (at, first) in causes.iter().enumerate() {
        let nodes: Vec<Node> = causes[at..].iter().rev().map(|c| trouble("n", EntryState::Failed, *c)).collect();
        let status = status_of(accepted(Mode::Enforce), &nodes);
        assert_eq!(status.conditions[3].reason, first.as_str());
    }
}

#[test]
fn a_time_changes_only_with_its_status() {
    let nodes = [at_goal("a")];
    let first = status_of(accepted(Mode::Enforce), &nodes);
    let later = |mode, previous| {
        let (now, document) = (Timestamp::from_second(2000).unwrap(), accepted(mode));
        let nodes = in_mode(mode, nodes.clone());
        roll_up(&Input { generation: GENERATION, deleting: false, document, nodes: &nodes, previous, now }).unwrap()
    };
    assert_eq!(later(Mode::Enforce, Some(&first)), first, "nothing to write");
    let monitor = later(Mode::Monitor, Some(&first));
    let time = |status: &PolicyStatus, n: usize| status.conditions[n].last_transition_time.0;
    assert_eq!(time(&monitor, 3), time(&first, 3), "Ready stays True");
    assert_ne!(time(&monitor, 2), time(&first, 2), "Enforcing is False now");
}

#[test]
fn a_status_of_five_thousand_nodes_is_small() {
    let nodes: Vec<Node> = (0..5000)
        .map(|n| {
            let reason = if n % 2 == 0 { Reason::HookUnavailable } else { Reason::LoadFailed };
            let mut node = trouble(&format!("node-{n}"), EntryState::Failed, reason);
            node.entry.as_mut().unwrap().message = Some("x".repeat(256));
            node
        })
        .collect();
    let status = status_of(accepted(Mode::Enforce), &nodes);
    assert!(serde_json::to_vec(&status).unwrap().len() < 8192);
    assert_eq!(status.failures.iter().map(|failure| failure.nodes).sum::<i32>(), 5000);
}

#[test]
fn what_the_nodes_did_is_added_up_and_stays_while_none_of_them_says() {
    let mut nodes = [at_goal("a"), at_goal("b"), node("new")];
    for node in nodes.iter_mut().take(2) {
        node.entry.as_mut().unwrap().activity = Some(Activity::of(70, 3, 0));
    }
    let status = status_of(accepted(Mode::Enforce), &nodes);
    assert_eq!(status.activity, Some(Activity::of(20, 2, 0)));
    let (now, silent) = (Timestamp::from_second(2000).unwrap(), [node("a")]);
    let document = accepted(Mode::Enforce);
    let input =
        Input { generation: GENERATION, deleting: false, document, nodes: &silent, previous: Some(&status), now };
    assert_eq!(roll_up(&input).unwrap().activity, status.activity);
}
