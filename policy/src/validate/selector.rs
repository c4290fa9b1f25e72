//! One alternative of a hook: its filters and its actions.

use super::hook::Args;
use super::node::Node;
use super::report::Report;
use super::spec::Surroundings;
use super::{actions, args, binaries, namespaces, pids};
use crate::fault::codes;
use crate::ir::{HookPoint, Selector, Strength};

/// How many selectors a hook can have: they share one word of the kernel's rule table.
pub(super) const MAX_SELECTORS: usize = 63;

/// How many entries one filter of a selector can have.
pub(super) const MAX_ENTRIES: usize = 64;
/// How many may be listed, with repetitions, for their order to be looked at.
const MAX_LISTED: usize = 1000;

/// A selector and what it asks for.
pub(super) struct Reading {
    pub(super) selector: Selector,
    /// The strength that its actions ask for; `None` when they only observe.
    pub(super) asks: Option<Strength>,
    /// All of it was understood: a filter that is absent here is absent in the document.
    whole: bool,
}

const FILTERS: [&str; 11] = [
    "matchPIDs",
    "matchBinaries",
    "matchNamespaces",
    "matchArgs",
    "matchData",
    "matchCapabilities",
    "matchNamespaceChanges",
    "matchCapabilityChanges",
    "matchParentBinaries",
    "matchWorkloads",
    "macros",
];
const OTHERS: [&str; 3] = ["matchActions", "matchReturnArgs", "matchReturnActions"];

pub(super) fn read_all(
    hook: &Node<'_>,
    point: &HookPoint,
    args: &Args,
    surroundings: &Surroundings,
    report: &mut Report,
) -> Vec<Reading> {
    let nodes = hook.list("selectors");
    let mut readings: Vec<(Node<'_>, Reading)> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let reading = read(&node, hook, point, args, surroundings, report);
        readings.push((node, reading));
    }
    // Dropping what is said twice first keeps the count independent of repetition.
    if readings.len() <= MAX_LISTED {
        check_order(&mut readings, report);
    }
    let readings: Vec<_> = readings.into_iter().map(|(_, reading)| reading).collect();
    if readings.len() > MAX_SELECTORS {
        let what = format!("there are {} selectors, and a hook can have {MAX_SELECTORS}", readings.len());
        let help = "merge some, or split the policy";
        report.fault(hook.path_of("selectors"), codes::TOO_MANY_SELECTORS, what, help);
    }
    readings
}

fn read(
    node: &Node<'_>,
    hook: &Node<'_>,
    point: &HookPoint,
    args: &Args,
    surroundings: &Surroundings,
    report: &mut Report,
) -> Reading {
    let written = |names: &[&str]| names.iter().any(|name| node.field(name).is_some_and(|field| !is_empty(&field)));
    if node.is_object() && !written(&FILTERS) && !written(&OTHERS) {
        let what = "an empty selector says nothing, and matches every event";
        report.fault(node.path(), codes::SELECTOR_EMPTY, what, "remove it, or write a filter or an action");
    }
    if hook.flag_of("return") != Some(true) {
        for field in ["matchReturnArgs", "matchReturnActions"] {
            if node.field(field).is_some_and(|field| !is_empty(&field)) {
                let what = format!("{field} has no effect without return: true");
                let help = "write return: true and a returnArg, or remove it";
                report.fault(node.path_of(field), codes::RETURN_UNUSED, what, help);
            }
        }
    }
    for field in ["matchPIDs", "matchBinaries", "matchNamespaces", "matchArgs"] {
        let count = node.list(field).len();
        if count > MAX_ENTRIES {
            let what = format!("there are {count} entries, and at most {MAX_ENTRIES} can be combined");
            report.fault(node.path_of(field), codes::TOO_MANY, what, "merge some");
        }
    }
    let (actions, asks) = actions::read(node, point, surroundings, report);
    let selector = Selector {
        pids: pids::read(node, surroundings, report),
        binaries: binaries::read(node, report),
        namespaces: namespaces::read(node, report),
        args: args::read(node, point, args, report),
        actions,
    };
    let whole = !report.is_faulty(node.path());
    Reading { selector, asks, whole }
}

fn is_empty(field: &Node<'_>) -> bool {
    !field.is_object() && field.items().next().is_none()
}

/// Selectors are tried in written order, and the first that matches decides.
fn check_order(readings: &mut Vec<(Node<'_>, Reading)>, report: &mut Report) {
    if !readings.iter().all(|(_, reading)| reading.whole) {
        return;
    }
    let mut kept: Vec<(Node<'_>, Reading)> = Vec::with_capacity(readings.len());
    for (node, reading) in readings.drain(..) {
        match kept.iter().find(|(_, earlier)| covers(&earlier.selector, &reading.selector)) {
            None => kept.push((node, reading)),
            // The same thing said twice means what it means once.
            Some((_, earlier)) if earlier.selector == reading.selector => {}
            Some((earlier, _)) => {
                let what = format!("{} matches whatever this one matches, and comes first", earlier.path());
                let help = "put this one first, or remove one of them";
                report.fault(node.path(), codes::SELECTOR_UNREACHABLE, what, help);
            }
        }
    }
    *readings = kept;
    for (node, reading) in readings.iter().rev() {
        let actions = &reading.selector.actions;
        if actions.post || actions.deny.is_some() || actions.signal.is_some() {
            break;
        }
        let what = "it does nothing, and there is no later selector that it could keep from matching";
        report.fault(
            node.path(),
            codes::SELECTOR_NO_EFFECT,
            what,
            "remove it, or put it before the selector it is an exception to",
        );
    }
}

/// Whether `earlier` matches everything that `later` matches, as far as their filters show: its filters are among the
/// other's.
fn covers(earlier: &Selector, later: &Selector) -> bool {
    let Selector { pids, binaries, namespaces, args, actions: _ } = earlier;
    pids.iter().all(|filter| later.pids.contains(filter))
        && binaries.iter().all(|filter| later.binaries.contains(filter))
        && namespaces.iter().all(|filter| later.namespaces.contains(filter))
        && args.iter().all(|filter| later.args.contains(filter))
}
