//! Policies at their places → the rows of each hook. Pure and deterministic: the order of policies changes nothing.
//!
//! A rule is one selector of one hook of one policy. It is a conjunction of tests, each on one dimension; a dimension's
//! table answers, for a value, which rules' tests hold. The layout of bits is that of `docs/adr/0002-rules-as-bits.md`.

mod dimensions;
mod fields;
mod masks;
mod nested;
mod tables;
mod tests_of;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stockade_enforcer_common::dimension::MASKS;
use stockade_enforcer_common::plan::{ArgPlan, MAX_ARGS, Plan, kind, plan_flag};
use stockade_policy::ir::{self, Mode, PolicyId, Strength, ValidatedPolicy};

use self::masks::Masked;
use crate::instance::{Attach, Specification};
use crate::legend::{Family, Rule, RuleArg};
use crate::place::{Placed, spelling};
use crate::rows::Rows;
use crate::scope::Members;

pub use dimensions::Binaries;
pub use tests_of::{MarkSet, Marks, marks_of};

/// One hook of one policy, at its place.
#[derive(Debug, Clone)]
pub struct PlacedHook<'a> {
    /// The policy.
    pub policy: &'a ValidatedPolicy,
    /// [`crate::scope::member`] of it.
    pub key: String,
    /// The hook.
    pub hook: &'a ir::Hook,
    /// Its place.
    pub placed: Placed,
}

/// What rows depend on besides the policies.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Classes and the policies that apply to them.
    pub classes: BTreeMap<u32, Members>,
    /// The members that classes are made of.
    pub assigned: Members,
    /// Slots of marks.
    pub marks: Marks,
    /// The host's namespaces: kind → inode number.
    pub host_namespaces: BTreeMap<ir::Namespace, u32>,
    /// Every binary that any policy on the node lists.
    pub binaries: Binaries,
    /// What the node has of the policies already; of one that is not named it has nothing.
    pub standing: BTreeMap<PolicyId, Standing>,
}

/// What a node has of a policy already: who comes first where there is not room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Standing {
    /// This version is in force.
    InForce,
    /// Another version of it is.
    Changed,
    /// Nothing of it is.
    #[default]
    New,
}

/// The program and rows of one place.
#[derive(Debug, Clone)]
pub struct CompiledHook {
    /// Its program.
    pub specification: Specification,
    /// Its rows.
    pub rows: Arc<Rows>,
    /// What its rule numbers mean.
    pub legend: BTreeMap<u32, Rule>,
    /// The rule of the agent's own probes; `None`: there is none, or no room for one.
    pub probe: Option<u32>,
}

/// Why a hook of a policy has no room at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// More selectors than a word has bits.
    #[error("a hook has at most 63 selectors, this one has {0}")]
    Selectors(usize),
    /// The place's rules are used up.
    #[error("the policies on {0} have more rules than the 1024 that it has room for")]
    Rules(String),
    /// The place's arguments are used up.
    #[error("the policies on {0} read more than {MAX_ARGS} different arguments")]
    Arguments(String),
    /// The masks of one of the place's numbers are used up.
    #[error("the policies on {0} compare one number with more than {MASKS} different masks")]
    Masks(String),
    /// A value is longer than a key.
    #[error("`{0}` is longer than the 255 bytes that a table holds")]
    Value(String),
}

/// Compiles what is at one place. A hook that does not fit is left out and named (by its position in `hooks`): never one that is in
/// force for one that is new.
pub fn compile(attach: &Attach, hooks: &[PlacedHook<'_>], context: &Context) -> (CompiledHook, Vec<(usize, TooLarge)>) {
    let by_key = |at: &usize| hooks.get(*at).map(|hook| (hook.key.clone(), hook.hook.index));
    let standing = |at: &usize| hooks.get(*at).and_then(|hook| context.standing.get(&hook.policy.id)).copied();
    let mut order: Vec<usize> = (0..hooks.len()).collect();
    order.sort_by_key(by_key);
    let mut taken = take(attach, hooks, &order);
    if !taken.failures.is_empty() {
        // Rows depend on the order only here, so that what is in force does not change them when everything fits.
        order.sort_by_key(|at| standing(at).unwrap_or_default());
        taken = take(attach, hooks, &order);
    }
    let Taken { hooks: taken, room: Room { args, mut fields, masks: _ }, failures } = taken;
    let probe = crate::probe::class_of(attach).and_then(|class| {
        fields.take(1, attach).ok()?;
        Some(Probe { rule: fields.iter().last()?.first, class })
    });
    (build(attach, &taken, &args, &fields, probe, context), failures)
}

/// The hooks that have room, the room, and the hooks that have none.
#[derive(Default)]
struct Taken<'a, 'b> {
    hooks: Vec<&'b PlacedHook<'a>>,
    room: Room,
    failures: Vec<(usize, TooLarge)>,
}

/// Takes room for hooks in this order.
fn take<'a, 'b>(attach: &Attach, hooks: &'b [PlacedHook<'a>], order: &[usize]) -> Taken<'a, 'b> {
    let mut taken = Taken::default();
    for at in order {
        let Some(hook) = hooks.get(*at) else { continue };
        match taken.room.take(attach, hook) {
            Ok(()) => taken.hooks.push(hook),
            Err(error) => taken.failures.push((*at, error)),
        }
    }
    taken
}

/// An argument plan, ordered.
type ArgKey = [u32; 10];

fn arg_key(plan: &ArgPlan) -> ArgKey {
    let [a, b, c, d] = plan.chain;
    [plan.index, plan.kind, plan.source, plan.size, plan.flags, plan.depth, a, b, c, d]
}

fn arg_plan(key: &ArgKey) -> ArgPlan {
    let [index, kind, source, size, flags, depth, a, b, c, d] = *key;
    ArgPlan { kind, source, index, size, flags, depth, chain: [a, b, c, d] }
}

/// What is taken of a place.
#[derive(Default)]
struct Room {
    args: BTreeSet<ArgKey>,
    /// Different masks.
    masks: BTreeMap<Masked<ArgKey>, BTreeSet<u64>>,
    fields: fields::Fields,
}

impl Room {
    /// Takes room for a hook: arguments, masks and bits, or nothing.
    fn take(&mut self, attach: &Attach, hook: &PlacedHook<'_>) -> Result<(), TooLarge> {
        tables::check_lengths(hook.hook)?;
        let read = hook.placed.args.iter().chain(&hook.placed.returned).filter(|arg| arg.kind != kind::NONE);
        let args: BTreeSet<ArgKey> = self.args.iter().copied().chain(read.map(arg_key)).collect();
        if args.len() > MAX_ARGS {
            return Err(TooLarge::Arguments(attach.to_string()));
        }
        let mut masks = self.masks.clone();
        let returned = hook.placed.returned.as_ref().map(arg_key);
        for (of, mask) in masks::of(hook.hook) {
            let of = match of {
                Masked::Returned => match returned {
                    Some(returned) => Masked::Arg(returned),
                    None => continue,
                },
                Masked::Arg(at) => Masked::Arg(arg_key(hook.placed.args.get(at).unwrap_or(&ArgPlan::default()))),
                Masked::Capabilities(set) => Masked::Capabilities(set),
            };
            masks.entry(of).or_default().insert(mask);
        }
        if masks.values().any(|masks| masks.len() > MASKS) {
            return Err(TooLarge::Masks(attach.to_string()));
        }
        self.fields.take(tests_of::count(hook), attach)?;
        (self.args, self.masks) = (args, masks);
        Ok(())
    }
}

/// The rule of the agent's own probes.
#[derive(Clone, Copy)]
struct Probe {
    rule: u32,
    class: u32,
}

fn build(
    attach: &Attach,
    hooks: &[&PlacedHook<'_>],
    args: &BTreeSet<ArgKey>,
    fields: &fields::Fields,
    probe: Option<Probe>,
    context: &Context,
) -> CompiledHook {
    let positions: BTreeMap<ArgKey, u32> = args.iter().copied().zip(0..).collect();
    let mut rules = Vec::new();
    let mut legend = BTreeMap::new();
    for (hook, field) in hooks.iter().zip(fields.iter()) {
        let position = |arg: &ArgPlan| positions.get(&arg_key(arg)).copied().unwrap_or_default();
        let at: Vec<u32> = hook.placed.args.iter().map(position).collect();
        let returned = hook.placed.returned.as_ref().map(position);
        let places = tests_of::Positions { args: &at, returned };
        for rule in tests_of::rules(hook, &places, field, context) {
            legend.insert(rule.number, explain(hook, &rule, &at, returned));
            rules.push(rule);
        }
    }
    let can_deny = hooks.iter().any(|hook| hook.placed.strength == Strength::Deny);
    rules.extend(probe.map(|Probe { rule, class }| tests_of::probe(rule, class, can_deny)));
    let (head, tables) = tables::tables(&mut rules, fields, context);
    let result_index = match attach {
        Attach::Lsm(_) => hooks.first().map_or(0, |hook| hook.placed.parameters),
        _ => 0,
    };
    let limits = if rules.iter().any(|rule| rule.limit.is_some()) { plan_flag::LIMITS } else { 0 };
    let mut plan = Plan {
        flags: flags(attach, can_deny) | limits,
        dimensions: head.used,
        result_index,
        // Rounded up, so that a few rules more are another generation and not another program.
        words: head.words.next_power_of_two(),
        ..Plan::default()
    };
    for (place, key) in plan.args.iter_mut().zip(args) {
        *place = arg_plan(key);
    }
    CompiledHook {
        specification: Specification { attach: attach.clone(), plan },
        rows: Arc::new(Rows { head, tables }),
        legend,
        probe: probe.map(|probe| probe.rule),
    }
}

/// What a hook's place says about its program.
fn flags(attach: &Attach, can_deny: bool) -> u32 {
    let Attach::Lsm(hook) = attach else { return 0 };
    let mut flags = if can_deny { plan_flag::CAN_DENY } else { 0 };
    if hook.starts_with("bprm_") {
        flags |= plan_flag::EXEC;
    }
    flags
}

fn explain(hook: &PlacedHook<'_>, rule: &tests_of::CompiledRule, positions: &[u32], returned: Option<u32>) -> Rule {
    let PlacedHook { policy, key: _, hook: document, placed } = hook;
    let (family, function) = match &document.point {
        ir::HookPoint::Uprobe { path, .. } => {
            let place = if let Attach::Uprobe { place, .. } = &placed.attach { place.as_str() } else { "" };
            (Family::Uprobe, format!("{path}:{place}"))
        }
        ir::HookPoint::Kprobe { call, syscall: _ } => (Family::Kprobe, call.clone()),
        ir::HookPoint::Lsm { hook } => (Family::Lsm, hook.clone()),
        ir::HookPoint::Tracepoint { subsystem, event, raw: _ } => (Family::Tracepoint, format!("{subsystem}/{event}")),
        // The engine's table (`stockade_policy::engine`) keeps them out.
        other => (Family::Kprobe, other.name()),
    };
    let read = document.args.iter().zip(positions).filter(|(arg, _)| arg.ty != ir::ArgType::Nop);
    let described = |position: u32, ty: ir::ArgType, label: &str| RuleArg {
        position: u8::try_from(position).unwrap_or(u8::MAX),
        ty: spelling(ty).into(),
        label: label.into(),
    };
    let args = read.map(|(arg, position)| described(*position, arg.ty, &arg.label));
    let returned = returned.zip(document.returns);
    Rule {
        namespaced: policy.id.kind == ir::PolicyKind::Namespaced,
        namespace: policy.id.namespace.clone(),
        policy: policy.id.name.clone(),
        uid: policy.uid.clone(),
        generation: policy.generation,
        family,
        function,
        hook_index: document.index,
        selector: rule.selector,
        message: document.message.clone(),
        tags: document.tags.clone(),
        monitor: policy.mode == Mode::Monitor,
        deny: rule.deny,
        signal: rule.signal,
        post: rule.post,
        args: args.collect(),
        returned: returned.map(|(position, ty)| described(position, ty, &document.returned.label)),
    }
}

#[cfg(test)]
mod tests;
