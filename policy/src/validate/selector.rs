//! One alternative of a hook: its filters and its actions.

use super::arguments::Args;
use super::covers::covers;
use super::hook::{Family, check_nul};
use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::spec::Surroundings;
use super::{actions, args, binaries, capabilities, changes, namespaces, pids, scope};
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{ArgType, HookPoint, OnReturn, Scope, Selector, Strength};
use crate::language::limits::{MAX_ENTRIES, MAX_SELECTORS};

/// How many may be listed, with repetitions, for all of them to be looked at.
const MAX_LISTED: usize = 1000;

/// The hook around a selector.
pub(super) struct Place<'a> {
    pub(super) family: Family,
    /// All of its points; none when they could not be read.
    pub(super) points: &'a [HookPoint],
    pub(super) args: &'a Args,
    /// What it returns, if that is read and was understood.
    pub(super) returns: Option<ArgType>,
    /// `return: true`.
    pub(super) asked_return: bool,
    /// The hook does something whatever its selectors say: `returnArgAction`.
    pub(super) acts: bool,
}

/// A selector and what it asks for.
pub(super) struct Reading {
    pub(super) selector: Selector,
    /// The strength that its actions ask for; `None` when they only observe.
    pub(super) asks: Option<Strength>,
    /// An action is NotifyEnforcer.
    pub(super) notifies: bool,
    /// All of it was understood: a filter that is absent here is absent in the document.
    whole: bool,
}

/// The fields that say which events are meant.
const FILTERS: [&str; 10] = [
    "matchPIDs",
    "matchBinaries",
    "matchParentBinaries",
    "matchNamespaces",
    "matchNamespaceChanges",
    "matchCapabilities",
    "matchCapabilityChanges",
    "matchWorkloads",
    "matchArgs",
    "matchData",
];
/// Those of them that are lists of entries.
const ENTRIES: [&str; 10] = [
    "matchPIDs",
    "matchBinaries",
    "matchParentBinaries",
    "matchNamespaces",
    "matchNamespaceChanges",
    "matchCapabilities",
    "matchCapabilityChanges",
    "matchArgs",
    "matchData",
    "matchReturnArgs",
];
const OTHERS: [&str; 3] = ["matchActions", "matchReturnArgs", "matchReturnActions"];

pub(super) fn read_all(
    hook: &Node<'_>,
    place: &Place<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<Reading> {
    let listed = hook.count("selectors");
    let mut readings: Vec<(String, Reading)> = Vec::new();
    for node in hook.each("selectors").take(MAX_LISTED) {
        let path = node.path().to_owned();
        readings.push((path, read(node, place, surroundings, report)));
    }
    if listed > MAX_LISTED {
        report.pass_over();
    } else {
        // Dropping what is said twice first keeps the count independent of repetition.
        check_order(&mut readings, place, surroundings.scope, report);
    }
    let mut readings: Vec<_> = readings.into_iter().map(|(_, reading)| reading).collect();
    let count = if listed > MAX_LISTED { listed } else { readings.len() };
    if count > MAX_SELECTORS {
        readings.truncate(MAX_SELECTORS);
        let what = format!("there are {count} selectors, and a hook can have {MAX_SELECTORS}");
        let help = "merge some, or split the policy";
        report.fault(hook.path_of("selectors"), codes::TOO_MANY_SELECTORS, what, help);
    }
    readings
}

fn read(own: Node<'_>, place: &Place<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Reading {
    let before = report.count();
    let is_object = own.is_object();
    // The macros live as long as the document, the selector's node only as long as this call.
    let node = surroundings.macros.merge(own, report);
    let written = |names: &[&str]| names.iter().any(|name| node.said(name).is_some());
    // What a macro says that is not there is not known.
    let unknown = node.said("macros").is_some() && node.pieces().next().is_none();
    if is_object && !unknown && !written(&FILTERS) && !written(&OTHERS) {
        let what = "an empty selector says nothing, and matches every event";
        report.fault(node.path(), codes::SELECTOR_EMPTY, what, "remove it, or write a filter or an action");
    }
    check_return(&node, place, report);
    for field in ENTRIES {
        let count = node.count(field);
        if count > MAX_ENTRIES {
            let what = format!("there are {count} entries, and at most {MAX_ENTRIES} can be combined");
            report.fault(node.path_of(field), codes::TOO_MANY, what, "merge some");
        }
    }
    for field in FILTERS.into_iter().filter(|field| node.said(field).is_some()) {
        report.needs(node.path_of(field), Feature::Filter(field));
    }
    let done = actions::read(&node, "matchActions", place, surroundings, report);
    let returned = on_return(&node, place, surroundings, report);
    let mut asks = done.asks;
    let mut notifies = done.notifies();
    let on_return = returned.map(|(on_return, done)| {
        asks = asks.max(done.asks);
        notifies |= done.notifies();
        on_return
    });
    let (binaries, parent_binaries) = binaries::read(&node, report);
    let selector = Selector {
        pids: pids::read(&node, surroundings, report),
        binaries,
        parent_binaries,
        namespaces: namespaces::read(&node, report),
        namespace_changes: changes::namespaces(&node, report),
        capabilities: capabilities::read(&node, report),
        capability_changes: changes::capabilities(&node, report),
        workloads: scope::workloads(&node, surroundings, report),
        args: args::read(&node, place, surroundings, report),
        actions: done.actions,
        posting: done.posting,
        effects: done.effects,
        on_return,
        label: node.field("label").and_then(|label| label.text()).unwrap_or_default().to_owned(),
    };
    namespaces::check_users(&node, &selector, report);
    if node.said("label").is_some() {
        report.needs(node.path_of("label"), Feature::Field("label"));
        check_nul(&node.path_of("label"), "a label", &selector.label, report);
    }
    let whole = report.count() == before
        && !report.is_faulty(node.path())
        && node.pieces().all(|piece| !report.is_faulty(piece.path()));
    Reading { selector, asks, notifies, whole }
}

fn check_return(node: &Merged<'_>, place: &Place<'_>, report: &mut Report) {
    for field in ["matchReturnArgs", "matchReturnActions"] {
        if node.said(field).is_none() {
            continue;
        }
        report.needs(node.path_of(field), Feature::Field(field));
        if !place.asked_return {
            let what = format!("{field} has no effect without return: true");
            let help = if matches!(place.family, Family::Kprobe | Family::Fentry | Family::Uprobe) {
                "write return: true and a returnArg, or remove it"
            } else {
                "remove it: such a hook has no return to look at"
            };
            report.fault(node.path_of(field), codes::RETURN_UNUSED, what, help);
        }
    }
}

/// What is asked and done on return; `None` when nothing is said about it.
fn on_return(
    node: &Merged<'_>,
    place: &Place<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<(OnReturn, actions::Done)> {
    if node.said("matchReturnArgs").is_none() && node.said("matchReturnActions").is_none() {
        return None;
    }
    let args = args::read_returned(node, place, surroundings, report);
    let done = actions::read(node, "matchReturnActions", place, surroundings, report);
    let on_return = OnReturn { args, actions: done.actions, posting: done.posting, effects: done.effects.clone() };
    Some((on_return, done))
}

/// Selectors are tried in written order, and the first that matches decides.
fn check_order(readings: &mut Vec<(String, Reading)>, place: &Place<'_>, scope: &Scope, report: &mut Report) {
    if !readings.iter().all(|(_, reading)| reading.whole) {
        return;
    }
    let mut kept: Vec<(String, Reading)> = Vec::with_capacity(readings.len());
    for (path, reading) in readings.drain(..) {
        let covering =
            |(_, earlier): &&(String, Reading)| covers(&earlier.selector, &reading.selector, scope, &place.args.read);
        match kept.iter().find(covering) {
            None => kept.push((path, reading)),
            // The same thing said twice means what it means once.
            Some((_, earlier)) if earlier.selector == reading.selector => {}
            Some((earlier, _)) => {
                let what = format!("{earlier} matches whatever this one matches, and comes first");
                let help = "put this one first, or remove one of them";
                report.fault(path, codes::SELECTOR_UNREACHABLE, what, help);
            }
        }
    }
    *readings = kept;
    // Where the hook acts by itself, a selector may be there to say that nothing is posted.
    for (path, reading) in readings.iter().rev() {
        let Selector { actions, effects, on_return, .. } = &reading.selector;
        if place.acts || actions.post || actions.acts() || !effects.is_empty() || on_return.is_some() {
            break;
        }
        let what = "it does nothing, and there is no later selector that it could keep from matching";
        let help = "remove it, or put it before the selector it is an exception to";
        report.fault(path.clone(), codes::SELECTOR_NO_EFFECT, what, help);
    }
}
