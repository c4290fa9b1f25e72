//! One entry of a list of hooks: where it attaches, what it reads, what it selects.

use std::collections::BTreeSet;

use super::arguments::{self, Context};
use super::node::Node;
use super::point::{self, Points};
use super::report::Report;
use super::selector;
use super::spec::Surroundings;
use super::well_known;
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{Hook, HookPoint, Selector, Strength};
use crate::language::limits::{MAX_EXPRESSION_BYTES, TEXT_UNIT};

/// How many bytes a message may have, and a tag.
const MESSAGE_BYTES: (usize, usize) = (2, 256);
const TAG_BYTES: (usize, usize) = (2, 128);
const MAX_TAGS: usize = 16;

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
    /// One for each point that the entry names, if there is room for them.
    pub(super) hooks: Vec<Hook>,
    /// How many points it names.
    pub(super) points: usize,
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
    let Points { points, listed } = point::points(node, family, surroundings, report);
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
    let fits = points.len() == 1 || report.write_out(copies, &node.path_of("call"));
    let hooks = points.into_iter().filter(|_| fits).map(|point| at(&hook, point)).collect();
    Reading { hooks, points: listed, path: node.path().to_owned(), reach, asks, notifies }
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

/// How many values a selector has; long texts count for more.
fn weight(selector: &Selector) -> usize {
    use crate::ir::ArgTest;
    let texts = |set: &BTreeSet<String>| set.iter().map(|text| 1 + text.len() / TEXT_UNIT).sum::<usize>();
    let of = |test: &ArgTest| match test {
        ArgTest::Number(set) => set.len(),
        ArgTest::Range(set) => set.len(),
        ArgTest::Syscall(set) => set.len(),
        ArgTest::String(_, set) | ArgTest::Substring { values: set, .. } => texts(set),
        ArgTest::SourceAddress(set) | ArgTest::DestinationAddress(set) => set.len(),
        ArgTest::SourcePort(set) | ArgTest::DestinationPort(set) => set.len(),
        ArgTest::Family(set) | ArgTest::Protocol(set) | ArgTest::State(set) => set.len(),
        ArgTest::Expression(_) => MAX_EXPRESSION_BYTES / TEXT_UNIT,
        ArgTest::Mask(_) | ArgTest::Gained { .. } | ArgTest::FileType(_) => 1,
    };
    let Selector { pids, binaries, parent_binaries, namespaces, args, on_return, .. } = selector;
    let returned = on_return.iter().flat_map(|on_return| &on_return.args);
    // What is left out is at most a few dozen entries of a few words each.
    args.iter().chain(returned).map(|filter| of(&filter.test)).sum::<usize>()
        + binaries.iter().chain(parent_binaries).map(|filter| texts(&filter.values)).sum::<usize>()
        + pids.iter().map(|filter| filter.pids.len()).sum::<usize>()
        + namespaces.iter().map(|filter| filter.inodes.len()).sum::<usize>()
        + 8
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
        check_text(&node.path_of("message"), "a message", text, MESSAGE_BYTES, report);
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
            check_text(tag.path(), "a tag", text, TAG_BYTES, report);
        }
    }
    tags.iter().filter_map(|tag| tag.text().map(ToOwned::to_owned)).collect()
}

fn check_text(path: &str, what: &str, text: &str, (least, most): (usize, usize), report: &mut Report) {
    check_nul(path, what, text, report);
    if !(least..=most).contains(&text.len()) {
        let message = format!("{what} of {} bytes is not reported whole", text.len());
        report.fault(path, codes::TEXT_LENGTH, message, format!("write {least} to {most} bytes"));
    }
}

/// A NUL ends a text for most who read events, so what follows it would be lost.
pub(super) fn check_nul(path: &str, what: &str, text: &str, report: &mut Report) {
    if text.contains('\0') {
        let message = format!("{what} has a NUL in it, which ends a text for most programs");
        report.fault(path, codes::TEXT_NUL, message, "write it without the NUL");
    }
}
