//! One entry of a list of hooks: where it attaches, what it reads, what it selects.

use super::arguments::{self, Context};
use super::node::Node;
use super::point;
use super::report::Report;
use super::selector;
use super::spec::{MAX_HOOKS, Surroundings};
use super::well_known;
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{Hook, HookPoint, Selector, Strength};

/// How many bytes a message may have, and a tag.
const MESSAGE_BYTES: (usize, usize) = (2, 256);
const TAG_BYTES: (usize, usize) = (2, 128);
const MAX_TAGS: usize = 16;
/// How many values the hooks of one list may have together: those of its selectors, for each of its functions.
const MAX_COPIES: usize = 1 << 17;

/// Which list of the spec an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Kprobe,
    Lsm,
    Tracepoint,
    Fentry,
    Uprobe,
    Usdt,
}

impl Family {
    pub(super) const ALL: [Self; 6] =
        [Self::Kprobe, Self::Lsm, Self::Tracepoint, Self::Fentry, Self::Uprobe, Self::Usdt];

    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobes",
            Self::Lsm => "lsmhooks",
            Self::Tracepoint => "tracepoints",
            Self::Fentry => "fentries",
            Self::Uprobe => "uprobes",
            Self::Usdt => "usdts",
        }
    }
}

/// Hooks, and what the policy as a whole needs to know about them.
pub(super) struct Reading {
    /// One for each point that the entry names.
    pub(super) hooks: Vec<Hook>,
    pub(super) path: String,
    /// The strongest that all of them can be on any kernel.
    pub(super) reach: Strength,
    /// The strength that the actions ask for; `None` when they only observe.
    pub(super) asks: Option<Strength>,
    /// An action is NotifyEnforcer.
    pub(super) notifies: bool,
}

pub(super) fn read(
    node: &Node<'_>,
    family: Family,
    index: u32,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Reading {
    let mut points = point::points(node, family, surroundings, report);
    if points.len() > MAX_HOOKS {
        let what = format!("the list has {} functions, and a policy can have {MAX_HOOKS} hooks", points.len());
        report.fault(node.path_of("call"), codes::TOO_MANY, what, "split it into several policies");
        points.truncate(1);
    }
    let returns = node.flag_of("return").unwrap_or(false);
    let context = Context { family, points: &points, returns };
    let args = arguments::read(node, &context, report);
    let (return_type, returned) = arguments::returned(node, &context, report);
    let place = selector::Place {
        family,
        points: &points,
        args: &args,
        returns: return_type,
        asked_return: returns,
        acts: returned.action.is_some(),
    };
    let readings = selector::read_all(node, &place, surroundings, report);
    let asks = readings.iter().filter_map(|reading| reading.asks).max();
    let notifies = readings.iter().any(|reading| reading.notifies);
    let selectors: Vec<Selector> = readings.into_iter().map(|reading| reading.selector).collect();
    let hook = Hook {
        point: HookPoint::Lsm { hook: String::new() },
        index,
        message: message(node, report),
        tags: tags(node, report),
        args: args.read,
        returns: return_type,
        returned,
        may_be_missing: may_be_missing(node, report),
        selectors,
    };
    let reach = points.iter().map(well_known::reach).min().unwrap_or(Strength::Deny);
    let copies = points.len().saturating_mul(hook.selectors.iter().map(weight).sum::<usize>());
    if points.len() > 1 && copies > MAX_COPIES {
        let what = format!("{} functions with these selectors are more than can be represented", points.len());
        report.fault(node.path_of("call"), codes::TOO_MANY, what, "split the list, or list fewer values");
        return Reading { hooks: Vec::new(), path: node.path().to_owned(), reach, asks, notifies };
    }
    let hooks = points.into_iter().map(|point| at(&hook, point)).collect();
    Reading { hooks, path: node.path().to_owned(), reach, asks, notifies }
}

/// The hook at one of its points. Killing refuses the operation where that can be; of a list, not everywhere.
fn at(hook: &Hook, point: HookPoint) -> Hook {
    let can_refuse = well_known::reach(&point) >= Strength::Override;
    let mut hook = Hook { point, ..hook.clone() };
    for selector in hook.selectors.iter_mut().filter(|_| !can_refuse) {
        selector.actions.deny = None;
    }
    hook
}

/// How many values a selector has.
fn weight(selector: &Selector) -> usize {
    use crate::ir::ArgTest;
    let of = |test: &ArgTest| match test {
        ArgTest::Number(set) => set.len(),
        ArgTest::String(_, set) | ArgTest::Substring { values: set, .. } => set.len(),
        ArgTest::SourceAddress(set) | ArgTest::DestinationAddress(set) => set.len(),
        _ => 8,
    };
    let args: usize = selector.args.iter().map(|filter| of(&filter.test)).sum();
    let binaries: usize = selector.binaries.iter().map(|filter| filter.values.len()).sum();
    args + binaries + selector.pids.iter().map(|filter| filter.pids.len()).sum::<usize>() + 8
}

fn may_be_missing(node: &Node<'_>, report: &mut Report) -> bool {
    let Some(ignore) = node.field("ignore") else { return false };
    let said = ["callNotFound", "digestVerificationFailure"].into_iter().find_map(|name| ignore.said(name));
    if let Some(said) = &said {
        report.needs(said.path(), Feature::Field("ignore"));
    }
    said.is_some()
}

fn message(node: &Node<'_>, report: &mut Report) -> String {
    let text = node.text_of("message");
    if !text.is_empty() {
        check_length(node.path_of("message"), "a message", text, MESSAGE_BYTES, report);
    }
    text.to_owned()
}

fn tags(node: &Node<'_>, report: &mut Report) -> Vec<String> {
    let tags = node.list("tags");
    if tags.len() > MAX_TAGS {
        let what = format!("there are {} tags, and at most {MAX_TAGS} can be reported", tags.len());
        report.fault(node.path_of("tags"), codes::TOO_MANY, what, "remove some");
    }
    for tag in &tags {
        if let Some(text) = tag.text() {
            check_length(tag.path().to_owned(), "a tag", text, TAG_BYTES, report);
        }
    }
    tags.iter().filter_map(|tag| tag.text().map(ToOwned::to_owned)).collect()
}

fn check_length(path: String, what: &str, text: &str, (least, most): (usize, usize), report: &mut Report) {
    if !(least..=most).contains(&text.len()) {
        let message = format!("{what} of {} bytes is not reported whole", text.len());
        report.fault(path, codes::TEXT_LENGTH, message, format!("write {least} to {most} bytes"));
    }
}
