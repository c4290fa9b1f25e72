//! `matchActions` and `matchReturnActions`: what a matching selector does.

use std::collections::BTreeSet;

use super::arguments::is_register;
use super::hook::Family;
use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::selector::Place;
use super::spec::Surroundings;
use super::well_known;
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{
    Actions, ArgType, Effect, HookPoint, Jump, PolicyKind, Posting, RateLimit, RateScope, SockAction, Strength,
};

const EPERM: u16 = 1;
const SIGKILL: u8 = 9;
/// The highest error number that the kernel can return in a pointer.
const MAX_ERRNO: i64 = 4095;
const MAX_SIGNAL: i64 = 64;
/// The longest URL, and the longest name that DNS can have.
const MAX_URL: usize = 2048;
const MAX_FQDN: usize = 253;

/// Which arguments an action has; the others mean nothing on it.
const ARGUMENTS: [(&str, &[&str]); 12] = [
    ("Post", &["rateLimit", "rateLimitScope", "kernelStackTrace", "userStackTrace", "imaHash"]),
    ("NoPost", &[]),
    ("Sigkill", &[]),
    ("Signal", &["argSig"]),
    ("Override", &["argError", "argRegs", "argNewSymbol", "argNewAddr", "argNewOffset"]),
    ("GetUrl", &["argUrl"]),
    ("DnsLookup", &["argFqdn"]),
    ("TrackSock", &["argSock"]),
    ("UntrackSock", &["argSock"]),
    ("NotifyEnforcer", &["argError", "argSig"]),
    ("CleanupEnforcerNotification", &[]),
    ("Set", &["argIndex", "argValue"]),
];

/// LSM hooks at which the kernel can say the digest that IMA has of a file.
const IMA_HOOKS: [&str; 11] = [
    "bprm_check_security",
    "bprm_committed_creds",
    "bprm_committing_creds",
    "bprm_creds_for_exec",
    "bprm_creds_from_file",
    "file_ioctl",
    "file_lock",
    "file_open",
    "file_post_open",
    "file_receive",
    "mmap_file",
];

/// Everything that the actions of a selector say.
#[derive(Default)]
struct Said {
    post: bool,
    no_post: bool,
    kill: bool,
    errors: BTreeSet<u16>,
    signals: BTreeSet<u8>,
    posting: Option<Posting>,
    effects: BTreeSet<Effect>,
}

/// What a selector does, and the strength that this asks for.
pub(super) struct Done {
    pub(super) actions: Actions,
    pub(super) posting: Posting,
    pub(super) effects: BTreeSet<Effect>,
    pub(super) asks: Option<Strength>,
}

impl Done {
    pub(super) fn notifies(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::NotifyEnforcer { .. }))
    }
}

pub(super) fn read(
    selector: &Merged<'_>,
    field: &str,
    place: &Place<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Done {
    let mut said = Said::default();
    let on_return = field == "matchReturnActions";
    for node in selector.list(field) {
        check_reach(&node, surroundings, report);
        check_hook(&node, place, on_return, report);
        check_arguments(&node, report);
        read_one(&node, place, &mut said, report);
    }
    check_contradictions(&selector.path_of(field), &said, report);
    let can_deny = !on_return && place.points.iter().any(|point| well_known::reach(point) == Strength::Deny);
    let asked = said.errors.first().copied();
    let deny = asked.or((said.kill && can_deny).then_some(EPERM));
    let signal = if said.kill { Some(SIGKILL) } else { said.signals.first().copied() };
    let notified = |effect: &Effect| match effect {
        Effect::NotifyEnforcer { error: Some(_), .. } | Effect::Jump(_) | Effect::Registers(_) => {
            Some(Strength::Override)
        }
        Effect::NotifyEnforcer { signal: Some(_), .. } => Some(Strength::Signal),
        _ => None,
    };
    let asks = said.effects.iter().filter_map(notified).max();
    let asks = asks.max(asked.map(|_| Strength::Override)).max(signal.map(|_| Strength::Signal));
    let actions = Actions { post: !said.no_post, deny, signal };
    Done { actions, posting: said.posting.unwrap_or_default(), effects: said.effects, asks }
}

fn read_one(node: &Node<'_>, place: &Place<'_>, said: &mut Said, report: &mut Report) {
    match node.text_of("action") {
        "Post" => {
            said.post = true;
            let posting = posting(node, place, report);
            if said.posting.is_some_and(|before| before != posting) {
                let what = "two actions Post say different things about the event";
                report.fault(node.path(), codes::ACTION_CONTRADICTION, what, "keep one of them");
            }
            said.posting = Some(posting);
        }
        "NoPost" => said.no_post = true,
        "Sigkill" => said.kill = true,
        "Signal" => said.signals.extend(signal_number(node, report)),
        "Override" if place.family == Family::Uprobe => said.effects.extend(override_of_program(node, report)),
        "Override" => said.errors.extend(error_number(node, report)),
        "GetUrl" => said.effects.extend(url(node, report).map(Effect::GetUrl)),
        "DnsLookup" => said.effects.extend(name(node, report).map(Effect::DnsLookup)),
        "TrackSock" => said.effects.extend(sock(node, SockAction::Track, place, report)),
        "UntrackSock" => said.effects.extend(sock(node, SockAction::Untrack, place, report)),
        "NotifyEnforcer" => said.effects.extend(notify(node, report)),
        "CleanupEnforcerNotification" => {
            said.effects.insert(Effect::CleanupEnforcerNotification);
        }
        "Set" => said.effects.extend(set(node, place, report)),
        _ => {}
    }
}

/// An action with an argument of another would be half of what somebody meant.
fn check_arguments(node: &Node<'_>, report: &mut Report) {
    let action = node.text_of("action");
    let Some((_, own)) = ARGUMENTS.iter().find(|(name, _)| *name == action) else { return };
    report.needs(node.path_of("action"), Feature::Action(name_of(action)));
    let all: BTreeSet<&str> = ARGUMENTS.iter().flat_map(|(_, fields)| fields.iter().copied()).collect();
    for field in all.into_iter().filter(|field| node.said(field).is_some() && !own.contains(field)) {
        let owner = ARGUMENTS.iter().find(|(_, fields)| fields.contains(&field)).map_or("", |(name, _)| name);
        let what = format!("{action} has no {field}");
        report.fault(node.path_of(field), codes::ACTION_ARGUMENT, what, format!("remove it, or use {owner}"));
    }
}

/// The action's name with the lifetime of the table.
fn name_of(action: &str) -> &'static str {
    ARGUMENTS.iter().find(|(name, _)| *name == action).map_or("", |(name, _)| name)
}

/// Actions that act for the policy's author outside of its namespace.
fn check_reach(node: &Node<'_>, surroundings: &Surroundings<'_>, report: &mut Report) {
    if surroundings.kind != PolicyKind::Namespaced {
        return;
    }
    let (code, what) = match node.text_of("action") {
        "GetUrl" => (codes::GET_URL_IN_NAMESPACED, "the agent would fetch a URL in the node's network"),
        "DnsLookup" => (codes::DNS_LOOKUP_IN_NAMESPACED, "the agent would resolve a name in the node's network"),
        "Set" => (codes::SET_IN_NAMESPACED, "the memory of processes would be written"),
        _ => return,
    };
    report.fault(node.path_of("action"), code, what, "remove it, or use TracingPolicy");
}

/// Whether the hook can carry the action out.
fn check_hook(node: &Node<'_>, place: &Place<'_>, on_return: bool, report: &mut Report) {
    use Family::{Fentry, Kprobe, Lsm, Tracepoint, Uprobe, Usdt};
    let action = node.text_of("action");
    let family = place.family;
    let (what, help) = match action {
        "Override" => {
            if on_return {
                ("the function has returned already".to_owned(), "write it in matchActions")
            } else {
                match place.points.iter().find(|point| !can_override(point)) {
                    Some(point) => (no_override(point), "use an LSM hook or a security_ function, or Sigkill"),
                    None => return,
                }
            }
        }
        "Sigkill" | "Signal" | "NotifyEnforcer" if family == Fentry => {
            ("fentries miss calls on some kernels, so nothing is enforced there".to_owned(), "use kprobes or lsmhooks")
        }
        "Set" if family != Usdt => ("only the arguments of a static probe (usdts) can be set".to_owned(), "remove it"),
        "GetUrl" | "DnsLookup" if matches!(family, Uprobe | Usdt | Lsm) => {
            (format!("{action} is done for hooks of kprobes and tracepoints"), "remove it, or use one of those")
        }
        "NotifyEnforcer" | "CleanupEnforcerNotification" if !matches!(family, Kprobe | Tracepoint | Fentry) => {
            (format!("{action} is done by kprobes and tracepoints"), "use one of those, or Override")
        }
        "TrackSock" | "UntrackSock" if matches!(family, Uprobe | Usdt | Tracepoint) => {
            ("the hook has no sockets".to_owned(), "use kprobes")
        }
        _ => return,
    };
    report.fault(node.path_of("action"), codes::ACTION_ON_HOOK, what, help);
}

fn can_override(point: &HookPoint) -> bool {
    matches!(point, HookPoint::Uprobe { .. }) || well_known::reach(point) >= Strength::Override
}

fn no_override(point: &HookPoint) -> String {
    match point {
        HookPoint::Tracepoint { .. } => "a tracepoint has no return value to override".to_owned(),
        HookPoint::Usdt { .. } => "a static probe has no return value to override".to_owned(),
        HookPoint::Fentry { .. } => "fentries miss calls on some kernels, so nothing is enforced there".to_owned(),
        _ => format!("the kernel does not let the return value of {} be overridden", point.name()),
    }
}

/// What an action Post says about the event.
fn posting(node: &Node<'_>, place: &Place<'_>, report: &mut Report) -> Posting {
    for field in ["kernelStackTrace", "userStackTrace", "imaHash", "rateLimit"] {
        if node.said(field).is_some() {
            let field_name =
                ARGUMENTS.iter().flat_map(|(_, fields)| fields.iter().copied()).find(|name| *name == field);
            report.needs(node.path_of(field), Feature::Field(field_name.unwrap_or_default()));
        }
    }
    if place.family == Family::Usdt && node.said("kernelStackTrace").is_some() {
        let what = "at a probe of a program the kernel has no stack of interest";
        report.fault(node.path_of("kernelStackTrace"), codes::ACTION_ON_HOOK, what, "write userStackTrace");
    }
    let hashed = |point: &HookPoint| matches!(point, HookPoint::Lsm { hook } if IMA_HOOKS.contains(&hook.as_str()));
    if node.said("imaHash").is_some() && !place.points.iter().all(hashed) {
        let what = "the kernel has no digest of a file at this hook";
        let help = "use an LSM hook on a file, such as file_open or bprm_check_security";
        report.fault(node.path_of("imaHash"), codes::ACTION_ON_HOOK, what, help);
    }
    Posting {
        limit: rate_limit(node, report),
        kernel_stack: node.said("kernelStackTrace").is_some(),
        user_stack: node.said("userStackTrace").is_some(),
        ima_hash: node.said("imaHash").is_some(),
    }
}

fn rate_limit(node: &Node<'_>, report: &mut Report) -> Option<RateLimit> {
    let scope = node.text_of("rateLimitScope");
    let Some(limit) = node.said("rateLimit").and_then(|limit| limit.text()) else {
        if !scope.is_empty() {
            let what = "rateLimitScope has no effect without rateLimit";
            report.fault(node.path_of("rateLimitScope"), codes::RATE_LIMIT_SCOPE_ALONE, what, "remove it");
        }
        return None;
    };
    let (digits, unit) = match limit.as_bytes().last() {
        Some(b's') => (limit.strip_suffix('s'), 1),
        Some(b'm') => (limit.strip_suffix('m'), 60),
        Some(b'h') => (limit.strip_suffix('h'), 3600),
        _ => (Some(limit), 1),
    };
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse::<u32>().ok()).and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds > 0);
    if seconds.is_none() {
        let what = format!("{} is not a time between events", quoted(limit));
        report.fault(node.path_of("rateLimit"), codes::RATE_LIMIT_INVALID, what, "write seconds, or 5s, 1m, 1h");
    }
    let scope = match scope {
        "" | "thread" => RateScope::Thread,
        "process" => RateScope::Process,
        "global" => RateScope::Global,
        other => {
            let what = format!("{} is not whose events are counted together", quoted(other));
            report.fault(
                node.path_of("rateLimitScope"),
                codes::RATE_LIMIT_INVALID,
                what,
                "write thread, process or global",
            );
            return None;
        }
    };
    Some(RateLimit { seconds: seconds?, scope })
}

fn error_number(node: &Node<'_>, report: &mut Report) -> Option<u16> {
    let Some(field) = node.field("argError") else {
        let what = "Override does not say which error is returned";
        let help = "write argError: -1 (EPERM) or another negative error number";
        report.fault(node.path_of("argError"), codes::ERROR_NUMBER, what, help);
        return None;
    };
    errno(&field, report)
}

fn errno(field: &Node<'_>, report: &mut Report) -> Option<u16> {
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
        let help = format!("write a number from -{MAX_ERRNO} to -1, for instance -1 (EPERM)");
        report.fault(field.path(), codes::ERROR_NUMBER, what, help);
    }
    errno
}

fn signal_number(node: &Node<'_>, report: &mut Report) -> Option<u8> {
    let Some(field) = node.field("argSig") else {
        let what = "Signal does not say which signal";
        report.fault(node.path_of("argSig"), codes::SIGNAL_NUMBER, what, "write argSig: 15 (SIGTERM) or another");
        return None;
    };
    signal(&field, report)
}

fn signal(field: &Node<'_>, report: &mut Report) -> Option<u8> {
    let number = field.integer()?;
    let signal = u8::try_from(number).ok().filter(|_| (1..=MAX_SIGNAL).contains(&number));
    if signal.is_none() {
        let what = format!("{number} is not a signal");
        report.fault(field.path(), codes::SIGNAL_NUMBER, what, format!("write a number from 1 to {MAX_SIGNAL}"));
    }
    signal
}

/// `Override` of a uprobe: registers, or where the program goes on.
fn override_of_program(node: &Node<'_>, report: &mut Report) -> Option<Effect> {
    report.needs(node.path_of("action"), Feature::Action("Override of a uprobe"));
    let ways: Vec<&str> = ["argRegs", "argNewSymbol", "argNewAddr", "argNewOffset", "argError"]
        .into_iter()
        .filter(|field| node.said(field).is_some())
        .collect();
    if ways.len() > 1 {
        let what = format!("{} say in {} ways how the program goes on", ways.join(" and "), ways.len());
        report.fault(node.path(), codes::ACTION_CONTRADICTION, what, "keep one of them");
        return None;
    }
    let number = |field: &str| node.field(field).and_then(|value| u64::try_from(value.integer()?).ok());
    Some(match ways.first().copied() {
        Some("argRegs") => Effect::Registers(registers(node, report)),
        Some("argNewSymbol") => Effect::Jump(Jump::Symbol(node.text_of("argNewSymbol").to_owned())),
        Some("argNewAddr") => Effect::Jump(Jump::Address(number("argNewAddr")?)),
        Some("argNewOffset") => Effect::Jump(Jump::Offset(number("argNewOffset")?)),
        _ => {
            let value = node.field("argError").and_then(|value| value.integer());
            let Some(value) = value else {
                let what = "Override does not say what the function returns, or where the program goes on";
                let help = "write argError, argRegs, argNewSymbol, argNewAddr or argNewOffset";
                report.fault(node.path(), codes::ERROR_NUMBER, what, help);
                return None;
            };
            Effect::Jump(Jump::Return(i32::try_from(value).ok()?))
        }
    })
}

/// `rax=11`, `rbp=(%rsp)`.
fn registers(node: &Node<'_>, report: &mut Report) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    let mut targets = BTreeSet::new();
    for value in node.list("argRegs") {
        let Some(text) = value.text() else { continue };
        let (target, from) = text.split_once('=').unwrap_or((text, ""));
        let from_number = super::numbers::parse(from).is_some();
        if !is_register(target) || target.contains('(') || !(from_number || is_register(from)) {
            let what = format!("{} sets no register", quoted(text));
            report.fault(value.path(), codes::ACTION_ARGUMENT, what, "write one such as rax=11 or rip=8(%rsp)");
            continue;
        }
        if set.insert(text.to_owned()) && !targets.insert(target) {
            let what = format!("{target} is set twice");
            report.fault(value.path(), codes::ACTION_CONTRADICTION, what, "keep one of them");
        }
    }
    set
}

fn url(node: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = node.text_of("argUrl");
    let rest = ["http://", "https://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if host.is_none_or(str::is_empty) || text.contains(odd) || text.len() > MAX_URL {
        let what = if text.is_empty() {
            "GetUrl does not say which URL".into()
        } else {
            format!("{} is not a URL", quoted(text))
        };
        report.fault(
            node.path_of("argUrl"),
            codes::ACTION_ARGUMENT,
            what,
            "write one that begins with http:// or https://",
        );
        return None;
    }
    Some(text.to_owned())
}

fn name(node: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = node.text_of("argFqdn");
    let plain = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if plain.len() > MAX_FQDN || !plain.split('.').all(label) {
        let what = if text.is_empty() {
            "DnsLookup does not say which name".into()
        } else {
            format!("{} is not a name", quoted(text))
        };
        report.fault(node.path_of("argFqdn"), codes::ACTION_ARGUMENT, what, "write one such as canary.example.org");
        return None;
    }
    Some(text.to_owned())
}

/// The socket that an action is about: `argSock` is the index of an argument of the hook.
fn sock(node: &Node<'_>, action: SockAction, place: &Place<'_>, report: &mut Report) -> Option<Effect> {
    let index = match node.field("argSock") {
        None => 0,
        Some(field) => u32::try_from(field.integer()?).ok()?,
    };
    let own = place.args.read.iter().enumerate().filter(|(_, arg)| !arg.is_data());
    let found = { own }.find(|(_, arg)| arg.index == index);
    match found {
        Some((position, arg)) if matches!(arg.ty, ArgType::Sock | ArgType::Socket) => {
            Some(Effect::Sock(action, position))
        }
        Some((_, arg)) => {
            let what = format!("argument {index} is read as {}, not as a socket", arg.ty.name());
            report.fault(node.path_of("argSock"), codes::ACTION_ARGUMENT, what, "write the index of a sock in args");
            None
        }
        None => {
            if !place.args.unclear {
                let what = format!("argument {index} is not read");
                report.fault(
                    node.path_of("argSock"),
                    codes::ARG_NOT_READ,
                    what,
                    format!("list index {index} in args of the hook"),
                );
            }
            None
        }
    }
}

fn notify(node: &Node<'_>, report: &mut Report) -> Option<Effect> {
    let error = node.said("argError").map(|field| errno(&field, report));
    let signal = node.said("argSig").map(|field| signal(&field, report));
    if error.is_none() && signal.is_none() {
        let what = "NotifyEnforcer does not say what the enforcer does";
        report.fault(node.path(), codes::ERROR_NUMBER, what, "write argError: -1, argSig: 9, or both");
        return None;
    }
    Some(Effect::NotifyEnforcer { error: error.flatten(), signal: signal.flatten() })
}

fn set(node: &Node<'_>, place: &Place<'_>, report: &mut Report) -> Option<Effect> {
    let number = |field: &str| match node.field(field) {
        None => Some(0),
        Some(value) => u32::try_from(value.integer()?).ok(),
    };
    if node.field("argValue").is_none() {
        let what = "Set does not say which value is written";
        report.fault(node.path_of("argValue"), codes::ACTION_ARGUMENT, what, "write argValue");
    }
    let (arg, value) = (number("argIndex")?, number("argValue")?);
    let read = usize::try_from(arg).is_ok_and(|at| at < place.args.read.len());
    if !read && !place.args.unclear {
        let what = format!("args has {} entries, numbered from 0, and none is number {arg}", place.args.read.len());
        report.fault(node.path_of("argIndex"), codes::ARG_NOT_READ, what, "write the number of one that is there");
        return None;
    }
    Some(Effect::Set { arg, value })
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
    let notifications = said.effects.iter().filter(|effect| matches!(effect, Effect::NotifyEnforcer { .. })).count();
    let cleanup = said.effects.contains(&Effect::CleanupEnforcerNotification);
    if notifications > 1 || (notifications > 0 && cleanup) {
        refuse("one event cannot notify the enforcer in two ways".into());
    }
    let elsewhere =
        said.effects.iter().filter(|effect| matches!(effect, Effect::Jump(_) | Effect::Registers(_))).count();
    if elsewhere > 1 {
        refuse("a program can go on in one way".into());
    }
}
