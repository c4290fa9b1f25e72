//! `spec`: what holds for the whole policy, and its hooks.

use std::collections::BTreeSet;

use super::hook::{self, Reading};
use super::nearest;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::scope;
use crate::fault::codes;
use crate::ir::{LabelSelector, Mode, OnFault, PolicyId, PolicyKind, Scope, Strength, ValidatedPolicy, hook_text};

/// Options that upstream knows and that have nothing to act on here.
const OPTIONS_WITHOUT_EFFECT: [&str; 4] =
    ["disable-kprobe-multi", "disable-uprobe-multi", "override-method", "sleepable-preload-size"];
const POLICY_MODE: &str = "policy-mode";
/// The families of hooks that exist.
const FAMILIES: [&str; 6] = ["kprobes", "lsmhooks", "tracepoints", "uprobes", "usdts", "fentries"];

/// What the parts of a hook need to know of the policy around it.
pub(super) struct Surroundings {
    pub(super) kind: PolicyKind,
    /// The policy is about pods, so "pid 1" may be a container's.
    pub(super) about_pods: bool,
    /// `nodeSelector` can only select one node.
    pub(super) one_node: bool,
}

/// Judges `spec`. What is returned only counts when nothing was reported.
pub(super) fn judge(spec: &Node<'_>, id: PolicyId, report: &mut Report) -> ValidatedPolicy {
    let scope: Scope = scope::read(spec, &id, report);
    let node_selector: Option<LabelSelector> = scope::node_selector(spec, report);
    let surroundings = Surroundings {
        kind: id.kind,
        about_pods: scope::is_about_pods(&scope),
        one_node: scope::selects_one_node(node_selector.as_ref()),
    };
    if id.kind == PolicyKind::Namespaced {
        check_reach(spec, report);
    }
    let readings = hooks(spec, &surroundings, report);
    let loader = spec.flag_of("loader").unwrap_or(false);
    if FAMILIES.iter().all(|family| spec.list(family).is_empty()) && !loader && spec.is_object() {
        let help = "list at least one entry in kprobes, lsmhooks or tracepoints";
        report.fault(spec.path(), codes::NO_HOOKS, "the policy hooks nothing", help);
    }
    let mode = mode(spec, report);
    let minimum_strength = strength(spec, &readings, report);
    let on_fault = on_fault(spec, &readings, report);
    ValidatedPolicy {
        id,
        uid: String::new(),
        generation: 0,
        mode,
        on_fault,
        minimum_strength,
        scope,
        node_selector,
        hooks: readings.into_iter().map(|reading| reading.hook).collect(),
    }
}

fn hooks(spec: &Node<'_>, surroundings: &Surroundings, report: &mut Report) -> Vec<Reading> {
    let mut readings = Vec::new();
    let mut said = BTreeSet::new();
    for family in [hook::Family::Kprobe, hook::Family::Lsm, hook::Family::Tracepoint] {
        for (node, index) in spec.list(family.field()).into_iter().zip(0..) {
            let reading = hook::read(&node, family, index, surroundings, report);
            // What is said twice is reported once: repetition means nothing.
            if said.insert(hook_text(&reading.hook)) {
                readings.push(reading);
            }
        }
    }
    readings
}

/// What reaches beyond a namespace is not for those who may only write policies in one.
fn check_reach(spec: &Node<'_>, report: &mut Report) {
    let mut refuse = |path: String, code, what: &str| {
        report.fault(path, code, what, "remove it, or use TracingPolicy");
    };
    for (field, code, what) in [
        ("uprobes", codes::UPROBES_IN_NAMESPACED, "uprobes name files of the node, which other namespaces run too"),
        ("usdts", codes::USDTS_IN_NAMESPACED, "usdts name files of the node, which other namespaces run too"),
        ("enforcers", codes::ENFORCERS_IN_NAMESPACED, "enforcers act on the whole node"),
    ] {
        if !spec.list(field).is_empty() {
            refuse(spec.path_of(field), code, what);
        }
    }
    if spec.flag_of("loader") == Some(true) {
        refuse(spec.path_of("loader"), codes::LOADER_IN_NAMESPACED, "loader events come from the whole node");
    }
    for list in spec.list("lists").iter().filter(|list| list.text_of("type").starts_with("generated_")) {
        let what = "a generated list hooks everything that the kernel has";
        refuse(list.path_of("type"), codes::GENERATED_LIST_IN_NAMESPACED, what);
    }
}

/// The mode, from `spec.mode`, or from upstream's option.
fn mode(spec: &Node<'_>, report: &mut Report) -> Mode {
    let from_option = options(spec, report);
    let field = match spec.text_of("mode") {
        "Enforce" => Some(Mode::Enforce),
        "Monitor" => Some(Mode::Monitor),
        _ => None,
    };
    if let (Some(field), Some(option)) = (field, from_option)
        && field != option
    {
        let what = "spec.mode and the option policy-mode say different things";
        report.fault(spec.path_of("mode"), codes::MODE_CONTRADICTION, what, "write one of the two");
    }
    field.or(from_option).unwrap_or(Mode::Enforce)
}

/// The mode that `options` give; every other option is refused.
fn options(spec: &Node<'_>, report: &mut Report) -> Option<Mode> {
    let mut modes = Vec::new();
    for option in spec.list("options") {
        let name = option.text_of("name");
        if name == POLICY_MODE {
            modes.extend(policy_mode(&option, report));
        } else if OPTIONS_WITHOUT_EFFECT.contains(&name) {
            let what = format!("the option {name} would have no effect");
            report.fault(option.path_of("name"), codes::UNSUPPORTED, what, "remove it");
        } else if option.field("name").is_some_and(|name| name.text().is_some()) {
            let known = [&[POLICY_MODE][..], &OPTIONS_WITHOUT_EFFECT[..]].concat();
            let what = format!("the option {} does not exist", quoted(name));
            report.fault(
                option.path_of("name"),
                codes::OPTION_UNKNOWN,
                what,
                nearest::suggestion(name, &known, &[POLICY_MODE]),
            );
        }
    }
    modes.sort_unstable();
    modes.dedup();
    if modes.len() > 1 {
        let what = "policy-mode is given twice, with different values";
        report.fault(spec.path_of("options"), codes::OPTION_VALUE, what, "write one of them");
    }
    modes.first().copied()
}

fn policy_mode(option: &Node<'_>, report: &mut Report) -> Option<Mode> {
    match option.text_of("value") {
        "enforce" => Some(Mode::Enforce),
        "monitor" => Some(Mode::Monitor),
        other => {
            let what = format!("{} is not a policy-mode", quoted(other));
            report.fault(option.path_of("value"), codes::OPTION_VALUE, what, "write enforce or monitor");
            None
        }
    }
}

/// The weakest mechanism that the author accepts: what is written, else what the actions ask for.
fn strength(spec: &Node<'_>, readings: &[Reading], report: &mut Report) -> Option<Strength> {
    let asked = readings.iter().filter_map(|reading| reading.asks).max();
    let written = match spec.text_of("minimumStrength") {
        "Observe" => Strength::Observe,
        "Signal" => Strength::Signal,
        "Override" => Strength::Override,
        "Deny" => Strength::Deny,
        _ => return asked,
    };
    let path = spec.path_of("minimumStrength");
    if asked.is_none() {
        let what = "nothing in the policy enforces, so there is no strength to ask for";
        report.fault(path, codes::NOTHING_ENFORCES, what, "remove it, or add an enforcing action");
        return None;
    }
    for reading in readings.iter().filter(|reading| reading.asks.is_some() && reading.reach < written) {
        let what = format!("{} can reach {:?} at most", reading.path, reading.reach);
        let help = "use an LSM hook, or ask for less";
        report.fault(path.clone(), codes::STRENGTH_UNREACHABLE, what, help);
    }
    Some(written)
}

fn on_fault(spec: &Node<'_>, readings: &[Reading], report: &mut Report) -> OnFault {
    if spec.text_of("onFault") != "Deny" {
        return OnFault::Allow;
    }
    if readings.iter().all(|reading| reading.asks.is_none()) {
        let what = "nothing in the policy enforces, so nothing can be denied";
        report.fault(spec.path_of("onFault"), codes::NOTHING_ENFORCES, what, "remove it, or add an enforcing action");
    }
    OnFault::Deny
}
