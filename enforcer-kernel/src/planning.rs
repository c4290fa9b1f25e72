//! Stage 5: policies, and who is on the node → what this node's kernel shall do, and what is to be said of each policy.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::dimension::MARK_SLOTS;
use stockade_policy::ir::{self, PolicyId, Scope, ValidatedPolicy};

use crate::compile::{self, Binaries, Context, MarkSet, Marks, PlacedHook, Standing};
use crate::execute::{Desired, DesiredHook};
use crate::instance::Attach;
use crate::legend::{Legend, Memory};
use crate::place::{self, NoPlace, Node, Part, Placed};
use crate::report::{HookReport, PolicyReport, Reason, Trouble};
use crate::rows::Table;
use crate::scope::{self, Assignment, ScopeSnapshot, member};

/// What is to be done, with everything that is to be known about it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planned {
    /// For the executor.
    pub(crate) desired: Desired,
    /// By instance: what its rules mean; the generation is not known yet.
    pub(crate) legends: BTreeMap<String, Legend>,
    /// Cgroups and classes.
    pub(crate) assignment: Assignment,
    /// Marks of binaries.
    pub(crate) mark_rows: Table,
    /// The slots of marks.
    pub(crate) marks: Marks,
    /// By policy, as if everything succeeded.
    pub(crate) reports: BTreeMap<PolicyId, PolicyReport>,
    /// By place: the policies with a hook there.
    pub(crate) users: BTreeMap<Attach, BTreeSet<PolicyId>>,
}

/// What planning depends on besides policies.
pub(crate) struct Site<'a> {
    pub(crate) node: Node<'a>,
    pub(crate) base_digest: &'a [u8],
    pub(crate) host_namespaces: &'a BTreeMap<ir::Namespace, u32>,
    /// Members besides those of the policies that classes are to tell apart.
    pub(crate) also: &'a [(String, Scope)],
    /// What the node has of the policies already.
    pub(crate) standing: BTreeMap<PolicyId, Standing>,
}

/// A policy with all its hooks placed.
struct PlacedPolicy<'a> {
    policy: &'a ValidatedPolicy,
    key: String,
    /// By hook: its places; none where a kernel may lack it and does.
    placed: Vec<Vec<Placed>>,
    /// A hook that the node lacks and may get: the others are in force meanwhile.
    lacking: Option<String>,
}

/// Plans. `memory` gives and keeps the numbers of classes and marks.
pub(crate) fn plan(
    policies: &[&ValidatedPolicy],
    snapshot: &ScopeSnapshot,
    site: &Site<'_>,
    memory: &mut Memory,
) -> Planned {
    let mut planned = Planned::default();
    let mut taken = Vec::new();
    for policy in policies {
        match place_all(policy, site.node) {
            Ok((placed, lacking)) => {
                taken.push(PlacedPolicy { policy, key: member(&policy.id, &policy.scope), placed, lacking });
            }
            Err(report) => drop(planned.reports.insert(policy.id.clone(), report)),
        }
    }
    let standing = |policy: &PlacedPolicy<'_>| site.standing.get(&policy.policy.id).copied().unwrap_or_default();
    taken.sort_by_key(|policy| (standing(policy), policy.key.clone()));
    take_marks(&mut taken, memory, &mut planned);
    taken.sort_by(|a, b| a.key.cmp(&b.key));
    // What does not fit is left out, and then the rest is compiled as if it had never been there.
    while let Some(refused) = compile_all(&taken, snapshot, site, memory, &mut planned) {
        taken.retain(|policy| !refused.contains(&policy.policy.id));
    }
    for policy in &taken {
        let lacking = policy.lacking.clone().map(|message| Trouble { reason: Reason::AttachFailed, message });
        let report = report(policy.policy, &policy.placed);
        let trouble = lacking.or(report.trouble);
        planned.reports.insert(policy.policy.id.clone(), PolicyReport { trouble, ..report });
    }
    planned
}

/// The places of each hook, and what the node lacks for one and may get.
type AllPlaced = (Vec<Vec<Placed>>, Option<String>);

fn place_all(policy: &ValidatedPolicy, node: Node<'_>) -> Result<AllPlaced, PolicyReport> {
    let places: Vec<Result<Vec<Placed>, NoPlace>> = policy.hooks.iter().map(|hook| place::place(hook, node)).collect();
    let hooks = policy.hooks.iter().zip(&places).flat_map(|(hook, places)| match places {
        Ok(places) => places.iter().map(|placed| hook_report(hook, placed)).collect(),
        Err(no) => vec![absent(hook, no.to_string())],
    });
    let hooks: Vec<HookReport> = hooks.collect();
    let refuse = |reason, message: String| PolicyReport {
        generation_in_force: None,
        digest: stockade_policy::digest(policy),
        strength: None,
        trouble: Some(Trouble { reason, message }),
        hooks: hooks.clone(),
    };
    let (mut any, mut lacking) = (false, None);
    for (hook, place) in policy.hooks.iter().zip(&places) {
        match place {
            Err(NoPlace::Missing(_)) if hook.may_be_missing => {}
            // What the policy has elsewhere must not end because a program is upgraded.
            Err(no @ NoPlace::File(_)) => lacking = Some(no.to_string()),
            Err(no) => return Err(refuse(Reason::HookUnavailable, no.to_string())),
            Ok(_) => any = true,
        }
    }
    if let (false, Some(lacking)) = (any, &lacking) {
        return Err(refuse(Reason::AttachFailed, lacking.clone()));
    }
    if !any {
        let message = "every hook of it may be missing (ignore.callNotFound), and on this kernel all are";
        return Err(refuse(Reason::HookUnavailable, message.into()));
    }
    let about_pods = matches!(policy.scope, Scope::Some { .. });
    if about_pods && !node.facts.features.contains("cgroup2") {
        let message = "this node has no unified cgroup hierarchy: only policies about everything run here";
        return Err(refuse(Reason::CgroupV1, message.into()));
    }
    Ok((places.into_iter().map(Result::unwrap_or_default).collect(), lacking))
}

/// Why a policy is less than it asks to be at least. It is in force all the same: what there is of it is better than nothing.
fn too_weak(policy: &ValidatedPolicy, placed: &[Vec<Placed>]) -> Option<Trouble> {
    let wanted = policy.minimum_strength?;
    let missing = policy.hooks.iter().zip(placed).find(|(hook, places)| hook.acts() && places.is_empty());
    if let Some((hook, _)) = missing {
        let message = format!("{wanted:?} is asked for, and this kernel has no `{}`", function(hook));
        return Some(Trouble { reason: Reason::TooWeak, message });
    }
    let weakest = weakest(policy, placed)?.strength;
    let why = acting(policy, placed).find_map(|placed| placed.why_weaker.clone()).unwrap_or_default();
    let message = || format!("{wanted:?} is asked for, {weakest:?} is what there is: {why}");
    (weakest < wanted).then(|| Trouble { reason: Reason::TooWeak, message: message() })
}

/// The places where hooks do more than report; where none does, all.
fn acting<'a>(policy: &'a ValidatedPolicy, placed: &'a [Vec<Placed>]) -> impl Iterator<Item = &'a Placed> {
    let any = policy.hooks.iter().any(ir::Hook::acts);
    let places = policy.hooks.iter().zip(placed).filter(move |(hook, _)| !any || hook.acts());
    places.flat_map(|(_, places)| places).filter(move |placed| !any || placed.part != Part::Report)
}

fn weakest<'a>(policy: &'a ValidatedPolicy, placed: &'a [Vec<Placed>]) -> Option<&'a Placed> {
    acting(policy, placed).min_by_key(|placed| placed.strength)
}

fn function(hook: &ir::Hook) -> String {
    hook.point.name()
}

/// The report of a hook that is nowhere.
fn absent(hook: &ir::Hook, why: String) -> HookReport {
    HookReport { function: function(hook), mechanism: None, strength: None, why: Some(why) }
}

fn hook_report(hook: &ir::Hook, placed: &Placed) -> HookReport {
    HookReport {
        function: function(hook),
        mechanism: Some(placed.attach.to_string()),
        strength: Some(placed.strength),
        why: placed.why_weaker.clone(),
    }
}

/// Every place of every hook.
fn places_of<'a>(
    policy: &'a ValidatedPolicy,
    placed: &'a [Vec<Placed>],
) -> impl Iterator<Item = (&'a ir::Hook, &'a Placed)> {
    policy.hooks.iter().zip(placed).flat_map(|(hook, places)| places.iter().map(move |placed| (hook, placed)))
}

/// The report of a policy that is in force.
fn report(policy: &ValidatedPolicy, placed: &[Vec<Placed>]) -> PolicyReport {
    PolicyReport {
        generation_in_force: Some(policy.generation),
        digest: stockade_policy::digest(policy),
        strength: weakest(policy, placed).map(|placed| placed.strength),
        trouble: too_weak(policy, placed),
        hooks: policy.hooks.iter().zip(placed).flat_map(|(hook, places)| hook_reports(hook, places)).collect(),
    }
}

/// The reports of a hook that is in force, or may be missing and is.
fn hook_reports(hook: &ir::Hook, places: &[Placed]) -> Vec<HookReport> {
    if places.is_empty() {
        return vec![absent(hook, format!("this node has no `{}`", function(hook)))];
    }
    places.iter().map(|placed| hook_report(hook, placed)).collect()
}

/// Gives every mark a slot. A slot keeps its set, because processes keep their bits.
fn take_marks(taken: &mut Vec<PlacedPolicy<'_>>, memory: &mut Memory, planned: &mut Planned) {
    taken.retain(|policy| {
        let wanted: BTreeSet<MarkSet> = compile::marks_of([policy.policy]);
        let mut slots = memory.marks.clone();
        for mark in &wanted {
            let used: BTreeSet<u32> = slots.values().copied().collect();
            let free = (0..MARK_SLOTS as u32).find(|slot| !used.contains(slot));
            let name = mark.to_string();
            if let (false, Some(slot)) = (slots.contains_key(&name), free) {
                slots.insert(name, slot);
            }
        }
        let found: Option<Marks> =
            wanted.iter().map(|mark| Some((mark.clone(), *slots.get(&mark.to_string())?))).collect();
        let Some(found) = found else {
            let trouble = Trouble {
                reason: Reason::TooLarge,
                message: format!("the node's {MARK_SLOTS} inherited marks are used up by other policies"),
            };
            let report = report(policy.policy, &policy.placed);
            let report = PolicyReport { generation_in_force: None, strength: None, trouble: Some(trouble), ..report };
            planned.reports.insert(policy.policy.id.clone(), report);
            return false;
        };
        memory.marks = slots;
        planned.marks.extend(found);
        true
    });
}

/// Compiles every place; `Some`: policies that do not fit, with their reports made.
fn compile_all(
    taken: &[PlacedPolicy<'_>],
    snapshot: &ScopeSnapshot,
    site: &Site<'_>,
    memory: &mut Memory,
    planned: &mut Planned,
) -> Option<BTreeSet<PolicyId>> {
    let scopes = taken.iter().map(|policy| (policy.key.clone(), &policy.policy.scope));
    let scopes: Vec<(String, &Scope)> =
        scopes.chain(site.also.iter().map(|(key, scope)| (key.clone(), scope))).collect();
    planned.assignment = scope::assign(snapshot, &scopes, &mut memory.classes);
    let binaries = Binaries::of(taken.iter().map(|policy| policy.policy));
    planned.mark_rows = binaries.mark_rows(&planned.marks);
    planned.desired = Desired { hooks: Vec::new(), binaries: binaries.tables() };
    planned.legends.clear();
    planned.users.clear();
    let context = Context {
        classes: planned.assignment.classes.clone(),
        assigned: planned.assignment.assigned.clone(),
        marks: planned.marks.clone(),
        host_namespaces: site.host_namespaces.clone(),
        binaries,
        standing: site.standing.clone(),
    };
    let mut places: BTreeMap<Attach, Vec<PlacedHook<'_>>> = BTreeMap::new();
    for policy in taken {
        for (hook, placed) in places_of(policy.policy, &policy.placed) {
            planned.users.entry(placed.attach.clone()).or_default().insert(policy.policy.id.clone());
            let hook = PlacedHook { policy: policy.policy, key: policy.key.clone(), hook, placed: placed.clone() };
            places.entry(placed.attach.clone()).or_default().push(hook);
        }
    }
    let mut refused = BTreeSet::new();
    for (attach, hooks) in &places {
        let (compiled, failures) = compile::compile(attach, hooks, &context);
        for (at, error) in failures {
            let Some(hook) = hooks.get(at) else { continue };
            let trouble = Trouble { reason: Reason::TooLarge, message: error.to_string() };
            let report = report(hook.policy, &[]);
            let report = PolicyReport { generation_in_force: None, trouble: Some(trouble), ..report };
            planned.reports.insert(hook.policy.id.clone(), report);
            refused.insert(hook.policy.id.clone());
        }
        let identity = compiled.specification.identity(site.base_digest);
        let legend = Legend {
            hook: identity.number,
            generation: 0,
            attach: attach.to_string(),
            rules: compiled.legend,
            probe: compiled.probe,
        };
        planned.legends.insert(identity.name.clone(), legend);
        let hook = DesiredHook { identity, specification: compiled.specification, rows: compiled.rows };
        planned.desired.hooks.push(hook);
    }
    (!refused.is_empty()).then_some(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_policy::ir::Strength;

    #[test]
    fn a_policy_that_is_weaker_than_it_asks_is_in_force_and_says_so() {
        let document = serde_json::json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": "p", "generation": 2},
            "spec": {"kprobes": [{"call": "security_file_open", "syscall": false,
                "args": [{"index": 0, "type": "file"}],
                "selectors": [{"matchArgs": [{"index": 0, "operator": "Equal", "values": ["/a"]}],
                    "matchActions": [{"action": "Sigkill"}]}]}]},
        });
        let policy = stockade_policy::judge(&document).policy.unwrap();
        let placed = |strength| Placed {
            attach: Attach::Lsm("file_open".into()),
            args: Vec::new(),
            strength,
            why_weaker: Some("no LSM here".into()),
            parameters: 1,
            part: Part::Whole,
            returned: None,
        };
        assert_eq!(report(&policy, &[vec![placed(Strength::Signal)]]).trouble, None);
        let weak = report(&policy, &[vec![placed(Strength::Observe)]]);
        assert_eq!(weak.generation_in_force, Some(2));
        assert_eq!(weak.trouble.map(|trouble| trouble.reason), Some(Reason::TooWeak));
    }
}
