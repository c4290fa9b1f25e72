//! `matchActions`: what a matching selector does.

use std::collections::BTreeSet;

use super::node::Node;
use super::report::Report;
use super::spec::Surroundings;
use super::well_known;
use crate::fault::codes;
use crate::ir::{Actions, HookPoint, PolicyKind, Strength};

const EPERM: u16 = 1;
const SIGKILL: u8 = 9;
/// The highest error number that the kernel can return in a pointer.
const MAX_ERRNO: i64 = 4095;
const MAX_SIGNAL: i64 = 64;

/// Everything that the actions of a selector say.
#[derive(Default)]
struct Said {
    post: bool,
    no_post: bool,
    kill: bool,
    errors: BTreeSet<u16>,
    signals: BTreeSet<u8>,
}

/// The actions, and the strength that they ask for.
pub(super) fn read(
    selector: &Node<'_>,
    point: &HookPoint,
    surroundings: &Surroundings,
    report: &mut Report,
) -> (Actions, Option<Strength>) {
    let mut said = Said::default();
    for node in selector.list("matchActions") {
        read_one(&node, point, surroundings, &mut said, report);
    }
    check_contradictions(&selector.path_of("matchActions"), &said, report);
    let can_deny = well_known::reach(point) == Strength::Deny;
    let deny = said.errors.first().copied().or((said.kill && can_deny).then_some(EPERM));
    let signal = if said.kill { Some(SIGKILL) } else { said.signals.first().copied() };
    let asks = if !said.errors.is_empty() { Some(Strength::Override) } else { signal.map(|_| Strength::Signal) };
    (Actions { post: !said.no_post, deny, signal }, asks)
}

fn read_one(node: &Node<'_>, point: &HookPoint, surroundings: &Surroundings, said: &mut Said, report: &mut Report) {
    let action = node.text_of("action");
    match action {
        "Post" => said.post = true,
        "NoPost" => said.no_post = true,
        "Sigkill" => said.kill = true,
        "Signal" => said.signals.extend(signal_number(node, report)),
        "Override" => {
            said.errors.extend(error_number(node, report));
            check_override(node, point, report);
        }
        other => {
            check_reach(node, other, surroundings, report);
            return;
        }
    }
    for (field, owner) in [("argError", "Override"), ("argSig", "Signal")] {
        let stated = node.field(field).is_some_and(|value| value.integer() != Some(0));
        if stated && action != owner {
            let what = format!("{action} has no {field}");
            report.fault(node.path_of(field), codes::ACTION_ARGUMENT, what, format!("remove it, or use {owner}"));
        }
    }
    let posts = |field: &str| node.field(field).is_some_and(|value| value.text().is_some_and(|text| !text.is_empty()));
    if posts("rateLimitScope") && !posts("rateLimit") {
        let what = "rateLimitScope has no effect without rateLimit";
        report.fault(node.path_of("rateLimitScope"), codes::RATE_LIMIT_SCOPE_ALONE, what, "remove it");
    }
}

/// Actions that act for the policy's author outside of its namespace.
fn check_reach(node: &Node<'_>, action: &str, surroundings: &Surroundings, report: &mut Report) {
    if surroundings.kind != PolicyKind::Namespaced {
        return;
    }
    let (code, what) = match action {
        "GetUrl" => (codes::GET_URL_IN_NAMESPACED, "the agent would fetch a URL in the node's network"),
        "DnsLookup" => (codes::DNS_LOOKUP_IN_NAMESPACED, "the agent would resolve a name in the node's network"),
        "Set" => (codes::SET_IN_NAMESPACED, "the memory of processes would be written"),
        _ => return,
    };
    report.fault(node.path_of("action"), code, what, "remove it, or use TracingPolicy");
}

fn check_override(node: &Node<'_>, point: &HookPoint, report: &mut Report) {
    if well_known::reach(point) >= Strength::Override {
        return;
    }
    let what = match point {
        HookPoint::Tracepoint { .. } => "a tracepoint has no return value to override".to_owned(),
        HookPoint::Kprobe { .. } | HookPoint::Lsm { .. } => {
            format!("the kernel does not let the return value of {} be overridden", well_known::name(point))
        }
    };
    let help = "use an LSM hook or a security_ function, or Sigkill";
    report.fault(node.path_of("action"), codes::ACTION_ON_HOOK, what, help);
}

fn error_number(node: &Node<'_>, report: &mut Report) -> Option<u16> {
    let path = node.path_of("argError");
    let Some(field) = node.field("argError") else {
        let what = "Override does not say which error is returned";
        report.fault(path, codes::ERROR_NUMBER, what, "write argError: -1 (EPERM) or another negative error number");
        return None;
    };
    let number = field.integer()?;
    let errno =
        number.checked_neg().filter(|errno| (1..=MAX_ERRNO).contains(errno)).and_then(|errno| errno.try_into().ok());
    if errno.is_none() {
        let what = if number == 0 {
            "0 is success: the operation would be reported as done without having been done, or be let through"
                .to_owned()
        } else {
            format!("{number} is not an error that the kernel can return")
        };
        report.fault(
            path,
            codes::ERROR_NUMBER,
            what,
            format!("write a number from -{MAX_ERRNO} to -1, for instance -1 (EPERM)"),
        );
    }
    errno
}

fn signal_number(node: &Node<'_>, report: &mut Report) -> Option<u8> {
    let path = node.path_of("argSig");
    let Some(field) = node.field("argSig") else {
        report.fault(
            path,
            codes::SIGNAL_NUMBER,
            "Signal does not say which signal",
            "write argSig: 15 (SIGTERM) or another",
        );
        return None;
    };
    let number = field.integer()?;
    let signal = u8::try_from(number).ok().filter(|_| (1..=MAX_SIGNAL).contains(&number));
    if signal.is_none() {
        let what = format!("{number} is not a signal");
        report.fault(path, codes::SIGNAL_NUMBER, what, format!("write a number from 1 to {MAX_SIGNAL}"));
    }
    signal
}

fn check_contradictions(path: &str, said: &Said, report: &mut Report) {
    let mut refuse = |what: String| {
        report.fault(path, codes::ACTION_CONTRADICTION, what, "keep one of them");
    };
    if said.post && said.no_post {
        refuse("Post and NoPost exclude each other".into());
    }
    if said.errors.len() > 1 {
        let errors: Vec<_> = said.errors.iter().map(|errno| format!("-{errno}")).collect();
        refuse(format!("one operation cannot return {}", errors.join(" and ")));
    }
    let mut signals = said.signals.clone();
    if said.kill {
        signals.insert(SIGKILL);
    }
    if signals.len() > 1 {
        let signals: Vec<_> = signals.iter().map(ToString::to_string).collect();
        refuse(format!("one event cannot send the signals {}", signals.join(" and ")));
    }
}
