//! The table of states: each row is one arm here and one test.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use stockade_crds::policy_status::{MAX_CONDITION_MESSAGE, magnitude};
use stockade_crds::{ConditionStatus, ConditionType, Mode, Reason};
use stockade_policy::Fault;

use super::count::Count;
use super::{Document, Input, Progress};

/// One condition without its time.
type Claim = (ConditionStatus, Reason);

/// What holds of a policy.
struct Row {
    accepted: Claim,
    programmed: Claim,
    enforcing: Claim,
    ready: Claim,
    /// `Reconciling` or `Stalled`.
    third: Option<ConditionType>,
    message: String,
}

use ConditionStatus::{False, True, Unknown};

const ACCEPTED: Claim = (True, Reason::Valid);

pub(super) fn conditions(input: &Input<'_>, count: &Count<'_>) -> Vec<Condition> {
    let row = row(input, count);
    let Row { accepted, programmed, enforcing, ready, third, message } = row;
    let mut claims = vec![
        (ConditionType::Accepted, accepted),
        (ConditionType::Programmed, programmed),
        (ConditionType::Enforcing, enforcing),
        (ConditionType::Ready, ready),
    ];
    claims.extend(third.map(|third| (third, (True, ready.1))));
    // What became of a policy on its nodes is not why it was accepted.
    let text = |kind, claim| match (kind, claim) {
        (ConditionType::Accepted, ACCEPTED) => "it means one thing, and this release knows how to do it",
        _ => message.as_str(),
    };
    claims.into_iter().map(|(kind, claim)| condition(input, kind, claim, text(kind, claim))).collect()
}

fn row(input: &Input<'_>, count: &Count<'_>) -> Row {
    match &input.document {
        Document::Invalid(faults) => invalid(faults, count),
        Document::Accepted { mode, suspended, .. } => match cause(count) {
            Some(cause) => not_ready(*mode, &cause, count),
            None if !count.any_desired && count.nodes.uncovered > 0 => no_enforcer(count),
            None if !count.any_desired && count.any_awaited => awaited(*mode, count),
            None if !count.any_desired => no_nodes(),
            None if count.standings.is_empty() => no_live_node(*mode, count),
            None => at_goal(*mode, *suspended, count),
        },
    }
}

/// The first cause, by order of precedence, for which a live node is not at goal; whether it will stay so; an example.
fn cause(count: &Count<'_>) -> Option<Cause> {
    let causes = count.standings.iter().filter_map(|standing| match &standing.progress {
        Progress::AtGoal(_) => None,
        Progress::Not { cause, message, stalled } => Some((*cause, *stalled, standing.node, message)),
    });
    let first = causes.clone().map(|(cause, ..)| cause).min()?;
    let of_first = causes.filter(|(cause, ..)| *cause == first);
    let stalled = of_first.clone().any(|(_, stalled, ..)| stalled);
    let (_, _, node, message) = of_first.clone().next()?;
    Some(Cause { reason: first, stalled, text: format!("{node}: {message}"), nodes: of_first.count() })
}

struct Cause {
    reason: Reason,
    stalled: bool,
    text: String,
    nodes: usize,
}

/// Rows 2 and 3.
fn invalid(faults: &[Fault], count: &Count<'_>) -> Row {
    let refused = (False, Reason::Invalid);
    let (programmed, enforcing) = if count.older {
        ((False, Reason::StaleRevision), (Unknown, Reason::PreviousGeneration))
    } else {
        (refused, refused)
    };
    Row {
        accepted: refused,
        programmed,
        enforcing,
        ready: refused,
        third: Some(ConditionType::Stalled),
        message: faults_message(faults),
    }
}

fn faults_message(faults: &[Fault]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = faults.iter().take(SHOWN).map(ToString::to_string).collect();
    match faults.len() {
        n if n <= SHOWN => shown.join("; "),
        n => format!("{SHOWN} of {n} faults: {}; `stockade lint` shows all", shown.join("; ")),
    }
}

/// Rows 4, 5 and 11 to 17.
fn not_ready(mode: Mode, cause: &Cause, count: &Count<'_>) -> Row {
    let reason = cause.reason;
    let stalled = match reason {
        Reason::TooWeak | Reason::HookUnavailable => true,
        Reason::LoadFailed => cause.stalled,
        _ => false,
    };
    let (programmed, enforcing) = match (reason, count.older) {
        (Reason::Progressing, true) => ((False, reason), (Unknown, Reason::PreviousGeneration)),
        (Reason::HookUnavailable | Reason::LoadFailed, true) => {
            ((False, Reason::StaleRevision), (Unknown, Reason::PreviousGeneration))
        }
        (Reason::AgentDown, _) => ((Unknown, reason), (Unknown, reason)),
        (Reason::TooWeak, _) => ((True, Reason::Programmed), (False, reason)),
        _ => ((False, reason), (False, reason)),
    };
    Row {
        accepted: ACCEPTED,
        programmed,
        enforcing: of_mode(mode, enforcing, count),
        ready: (False, reason),
        third: Some(if stalled { ConditionType::Stalled } else { ConditionType::Reconciling }),
        message: format!("{}; {} on {}, {}", progress(count), reason, nodes(cause.nodes), cause.text),
    }
}

/// What is not enforced because it is not meant to be is not a failure to enforce. Where nodes may still have a version that
/// denies, nobody knows yet that nothing is.
fn of_mode(mode: Mode, enforcing: Claim, count: &Count<'_>) -> Claim {
    match mode {
        Mode::Monitor | Mode::Observe if count.older_denies => (Unknown, Reason::PreviousGeneration),
        Mode::Monitor => (False, Reason::Monitor),
        Mode::Observe => (False, Reason::ObserveOnly),
        Mode::Enforce | Mode::Other => enforcing,
    }
}

/// Rows 6, 7 and 8; row 18 shows in the message.
fn at_goal(mode: Mode, suspended: bool, count: &Count<'_>) -> Row {
    let (enforcing, ready) = match mode {
        Mode::Monitor if suspended => ((False, Reason::Monitor), (True, Reason::Suspended)),
        Mode::Monitor => ((False, Reason::Monitor), (True, Reason::Monitoring)),
        Mode::Observe => ((False, Reason::ObserveOnly), (True, Reason::Observing)),
        Mode::Enforce | Mode::Other => ((True, Reason::Enforced), (True, Reason::Enforced)),
    };
    let programmed = (True, Reason::Programmed);
    Row { accepted: ACCEPTED, programmed, enforcing, ready, third: None, message: progress(count) }
}

/// Row 9.
fn no_nodes() -> Row {
    Row {
        accepted: ACCEPTED,
        programmed: (True, Reason::NoNodes),
        enforcing: (False, Reason::NoNodes),
        ready: (True, Reason::NoNodes),
        third: None,
        message: "no node is meant: the nodeSelector matches none, or there are none".into(),
    }
}

/// Every node that is meant has just joined: a first rollout, and nothing that somebody who waits may take for done.
fn awaited(mode: Mode, count: &Count<'_>) -> Row {
    let claim = (False, Reason::Progressing);
    Row {
        accepted: ACCEPTED,
        programmed: claim,
        enforcing: of_mode(mode, claim, count),
        ready: claim,
        third: Some(ConditionType::Reconciling),
        message: "the nodes that are meant have just joined, and their enforcers are on their way".into(),
    }
}

/// Row 10.
fn no_enforcer(count: &Count<'_>) -> Row {
    let claim = (False, Reason::NoEnforcer);
    Row {
        accepted: ACCEPTED,
        programmed: claim,
        enforcing: claim,
        ready: claim,
        third: Some(ConditionType::Reconciling),
        message: format!(
            "{} meant, and no enforcer has ever run on any of them",
            nodes(usize_of(count.nodes.uncovered))
        ),
    }
}

/// Row 19; nodes that only join are a first rollout.
fn no_live_node(mode: Mode, count: &Count<'_>) -> Row {
    let claim =
        if count.nodes.unreachable > 0 { (Unknown, Reason::NodesUnreachable) } else { (False, Reason::Progressing) };
    Row {
        accepted: ACCEPTED,
        programmed: claim,
        enforcing: of_mode(mode, claim, count),
        ready: claim,
        third: Some(ConditionType::Reconciling),
        message: progress(count),
    }
}

/// "in force on 2 of 3 nodes (1 unreachable)".
fn progress(count: &Count<'_>) -> String {
    let n = &count.nodes;
    let mut aside = Vec::new();
    for (number, what) in [(n.unreachable, "unreachable"), (n.joining, "joining"), (n.uncovered, "without an enforcer")]
    {
        if number > 0 {
            aside.push(format!("{number} {what}"));
        }
    }
    if count.pods_out_of_reach > 0 {
        let pods = magnitude(count.pods_out_of_reach);
        aside.push(format!("it does not reach {pods} pods that have a kernel of their own"));
    }
    let aside = if aside.is_empty() { String::new() } else { format!(" ({})", aside.join(", ")) };
    format!("in force on {} of {}{aside}", n.at_goal, nodes(usize_of(n.desired)))
}

fn usize_of(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn nodes(number: usize) -> String {
    if number == 1 { "1 node".into() } else { format!("{number} nodes") }
}

/// The time changes only with the status; everything else when it changes.
fn condition(input: &Input<'_>, kind: ConditionType, (status, reason): Claim, message: &str) -> Condition {
    let before = input.previous.into_iter().flat_map(|previous| &previous.conditions);
    let same = before.clone().find(|c| c.type_ == kind.as_str() && c.status == status.as_str());
    Condition {
        type_: kind.as_str().into(),
        status: status.as_str().into(),
        reason: reason.as_str().into(),
        message: shorten(message),
        last_transition_time: same.map_or(Time(input.now), |c| c.last_transition_time.clone()),
        observed_generation: Some(input.generation),
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= MAX_CONDITION_MESSAGE {
        return text.to_owned();
    }
    let room = MAX_CONDITION_MESSAGE - '…'.len_utf8();
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}
