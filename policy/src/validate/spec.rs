//! `spec`: what holds for the whole policy, and its hooks.

use std::collections::BTreeSet;

use super::hook::{self, Family, Reading};
use super::lists::Lists;
use super::macros::Macros;
use super::node::Node;
use super::report::Report;
use super::{enforcers, options, scope};
use crate::engine::{Feature, HookKind};
use crate::fault::codes;
use crate::ir::{
    Hook, LabelSelector, OnFault, PolicyId, PolicyKind, Scope, Strength, ValidatedPolicy, hook_text, short,
};
use crate::language::limits::MAX_HOOKS;

/// How many hooks may be listed, with repetitions, for all of them to be looked at.
const MAX_LISTED: usize = 2 * MAX_HOOKS;

/// What the parts of a hook need to know of the policy around it.
pub(super) struct Surroundings<'a> {
    pub(super) kind: PolicyKind,
    /// The namespace of a namespaced policy.
    pub(super) id: &'a PolicyId,
    /// Which processes the policy is about.
    pub(super) scope: &'a Scope,
    /// The policy is about pods, so "pid 1" may be a container's.
    pub(super) about_pods: bool,
    /// `nodeSelector` can only select one node.
    pub(super) one_node: bool,
    pub(super) lists: &'a Lists,
    pub(super) macros: &'a Macros<'a>,
}

/// Judges `spec`. What is returned only counts when nothing was reported.
pub(super) fn judge(spec: &Node<'_>, id: PolicyId, report: &mut Report) -> ValidatedPolicy {
    let scope: Scope = scope::read(spec, &id, report);
    let node_selector: Option<LabelSelector> = scope::node_selector(spec, report);
    if id.kind == PolicyKind::Namespaced {
        check_reach(spec, report);
    }
    let lists = Lists::read(spec, report);
    let macros = Macros::read(spec, report);
    let surroundings = Surroundings {
        kind: id.kind,
        id: &id,
        scope: &scope,
        about_pods: scope::is_about_pods(&scope),
        one_node: scope::selects_one_node(node_selector.as_ref()),
        lists: &lists,
        macros: &macros,
    };
    let Hooks { any, readings, hooks } = hooks(spec, &surroundings, report);
    let loader = loader(spec, &scope, report);
    if !any && !loader && spec.is_object() {
        let help = "list at least one entry in kprobes, lsmhooks or tracepoints";
        report.fault(spec.path(), codes::NO_HOOKS, "the policy hooks nothing", help);
    }
    let enforcers = enforcers::read(spec, &lists, report);
    enforcers::check_use(spec, &readings, report);
    lists.check_use(report);
    macros.check_use(report);
    let mode = options::mode(spec, report);
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
        hooks,
        enforcers,
        loader,
    }
}

/// All hooks of a policy.
struct Hooks {
    /// There is an entry, whatever it says.
    any: bool,
    /// The entries that do more than observe: what the policy as a whole needs to know about them.
    readings: Vec<Reading>,
    /// Those that differ: what is said twice is reported once, because repetition means nothing. None when something is
    /// wrong, because then nobody asks for them.
    hooks: Vec<Hook>,
}

fn hooks(spec: &Node<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Hooks {
    let (mut readings, mut hooks, mut any) = (Vec::new(), Vec::new(), false);
    let mut said = BTreeSet::new();
    let mut listed = 0_usize;
    let entries =
        Family::ALL.into_iter().flat_map(|family| spec.each(family.field()).zip(0..).map(move |e| (family, e)));
    for (family, (node, index)) in entries {
        let mut reading = hook::read(&node, family, index, surroundings, report);
        listed += reading.points;
        // Beyond this, whether some are the same is not looked at: there are too many either way.
        for hook in std::mem::take(&mut reading.hooks).into_iter().filter(|_| listed <= MAX_LISTED) {
            if said.insert(short(&hook_text(&hook))) && report.count() == 0 {
                hooks.push(hook);
            }
        }
        any = true;
        if reading.asks.is_some() || reading.notifies {
            readings.push(reading);
        }
    }
    if said.len() > MAX_HOOKS || listed > MAX_LISTED {
        let what = format!("there are {listed} hooks, and a policy can have {MAX_HOOKS}");
        report.fault(spec.path(), codes::TOO_MANY, what, "split it into several policies");
    }
    Hooks { readings, hooks, any }
}

/// `loader: true`: of the whole node, because what maps a file is not yet what the policy is about.
fn loader(spec: &Node<'_>, scope: &Scope, report: &mut Report) -> bool {
    let loader = spec.flag_of("loader").unwrap_or(false);
    if loader {
        report.needs(spec.path_of("loader"), Feature::Hook(HookKind::Loader));
        if *scope != Scope::Everything
            && !matches!(scope, Scope::Some { pods: Some(pods), .. } if pods.namespace.is_some())
        {
            let what = "loader events come from the whole node, whatever the selectors say";
            report.fault(spec.path_of("loader"), codes::LOADER_SCOPE, what, "remove the selectors, or loader");
        }
    }
    loader
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
        if spec.count(field) != 0 {
            refuse(spec.path_of(field), code, what);
        }
    }
    if spec.flag_of("loader") == Some(true) {
        refuse(spec.path_of("loader"), codes::LOADER_IN_NAMESPACED, "loader events come from the whole node");
    }
    for list in spec.each("lists").filter(|list| list.text_of("type").starts_with("generated_")) {
        let what = "a generated list hooks everything that the kernel has";
        refuse(list.path_of("type"), codes::GENERATED_LIST_IN_NAMESPACED, what);
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
