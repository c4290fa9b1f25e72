//! An event about which two policies decide differently.
//!
//! The values to try come from the policies themselves: each that a filter names, those next to it, and one that nobody names.
//! Events that fulfil an alternative are taken as starting points and changed in one or two things; what differs is reduced to
//! what is needed. That none is found proves nothing, and is said so.

mod candidates;
mod places;
mod space;

use std::collections::BTreeSet;

pub use candidates::hosts;

use crate::ir::{Arg, ArgType, Hook, Scope, Selector, ValidatedPolicy, hook_text};
use crate::model::{Argument, Process, Verdict, decide, decide_return, in_scope, selector_matches};
use crate::point;
use crate::reasons::parts;
use space::{Event, Space};

/// An event, and what each of both policies does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Where, as [`point::example`] calls it.
    pub point: String,
    /// Who.
    pub process: Process,
    /// Every argument that either reads: what it is called ([`point::key`]), its type, its value, and the parts of it that
    /// matter, if it is a socket.
    pub arguments: Vec<Told>,
    /// What was returned, if that matters.
    pub returned: Option<Told>,
    /// What of the process is asked about: everything else is of no matter.
    pub asked: BTreeSet<Asked>,
    /// What the first does.
    pub before: Verdict,
    /// What the second does.
    pub after: Verdict,
}

/// An argument of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is called.
    pub key: String,
    /// Its type.
    pub ty: ArgType,
    /// Its value.
    pub value: Argument,
    /// The parts of a socket that are asked about; of other values none.
    pub parts: BTreeSet<Part>,
}

/// A part of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Part {
    Family,
    Protocol,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    State,
}

/// Something that can be asked about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Asked {
    Pid,
    OwnPid,
    Binary,
    Parent,
    Namespaces,
    NamespacesAtExec,
    Capabilities,
    CapabilitiesAtExec,
    Pod,
    Container,
}

/// How many filters are tried on events at most.
const WORK: usize = 2_000_000;
/// At how many points is looked.
const POINTS: usize = 32;
/// How many alternatives that both have are looked at.
const COMMON: usize = 8;
/// How many that differ are looked at for the smallest.
const FOUND: usize = 24;

/// The smallest event that was found about which `before` and `after` decide differently; an absent policy does nothing.
#[must_use]
pub fn witness(before: Option<&ValidatedPolicy>, after: Option<&ValidatedPolicy>) -> Option<Witness> {
    let names = points(before, after);
    let sides: Vec<Sides<'_>> = names.into_iter().map(|name| Sides::at(name, before, after)).collect();
    // First what is plain, then what cannot be read: nobody asks about that first.
    let found = [false, true].into_iter().find_map(|unreadable| {
        let mut tries = WORK;
        let found = sides.iter().filter_map(|sides| search(sides, unreadable, &mut tries));
        found.min_by_key(|(size, _)| *size)
    });
    found.map(|(_, witness)| witness)
}

/// The points at which the policies could differ: where a hook differs, or, if they differ as a whole, all.
fn points(before: Option<&ValidatedPolicy>, after: Option<&ValidatedPolicy>) -> BTreeSet<String> {
    let whole = |policy: &ValidatedPolicy| (policy.mode, policy.on_fault, policy.scope.clone());
    let texts = |policy: Option<&ValidatedPolicy>| -> BTreeSet<String> {
        policy.iter().flat_map(|policy| &policy.hooks).map(hook_text).collect()
    };
    let same: BTreeSet<String> = match before.map(whole) == after.map(whole) {
        true => texts(before).intersection(&texts(after)).cloned().collect(),
        false => BTreeSet::new(),
    };
    let hooks = [before, after].into_iter().flatten().flat_map(|policy| &policy.hooks);
    let differing = hooks.filter(|hook| !same.contains(&hook_text(hook)));
    let mut names = BTreeSet::new();
    for hook in differing {
        if names.len() < POINTS {
            names.insert(point::example(&hook.point));
        }
    }
    names
}

/// The hooks of both policies at one point.
struct Sides<'p> {
    name: String,
    before: Vec<(&'p ValidatedPolicy, &'p Hook)>,
    after: Vec<(&'p ValidatedPolicy, &'p Hook)>,
}

impl<'p> Sides<'p> {
    fn at(name: String, before: Option<&'p ValidatedPolicy>, after: Option<&'p ValidatedPolicy>) -> Self {
        let of = |policy: Option<&'p ValidatedPolicy>| {
            let hooks = policy.into_iter().flat_map(|policy| policy.hooks.iter().map(move |hook| (policy, hook)));
            hooks.filter(|(_, hook)| point::is_at(&hook.point, &name)).collect()
        };
        Self { before: of(before), after: of(after), name }
    }

    fn all(&self) -> impl Iterator<Item = (&'p ValidatedPolicy, &'p Hook)> {
        self.before.iter().chain(&self.after).copied()
    }

    /// Every alternative, and for hooks without any none, with whether both have it; those that only one has come first.
    fn selectors(&self) -> Vec<(&'p ValidatedPolicy, &'p Hook, Option<&'p Selector>, bool)> {
        let has = |hooks: &[(&'p ValidatedPolicy, &'p Hook)], selector: &Selector| {
            hooks.iter().flat_map(|(_, hook)| &hook.selectors).any(|other| other == selector)
        };
        let mut all = Vec::new();
        for (policy, hook) in self.all() {
            let none = hook.selectors.is_empty().then_some((policy, hook, None, false));
            all.extend(none);
            all.extend(hook.selectors.iter().map(|selector| {
                (policy, hook, Some(selector), has(&self.before, selector) && has(&self.after, selector))
            }));
        }
        all.sort_by_key(|(.., is_common)| *is_common);
        all
    }

    /// What both do, if it is not the same.
    fn differ(&self, space: &Space, event: &Event) -> Option<(Verdict, Verdict)> {
        let done = |hooks: &[(&ValidatedPolicy, &Hook)]| {
            let verdicts = hooks.iter().map(|(policy, hook)| judged(policy, hook, space, event));
            verdicts.min_by_key(rank).unwrap_or_default()
        };
        let (before, after) = (done(&self.before), done(&self.after));
        // Which alternative decided is no difference.
        let same = |verdict: Verdict| Verdict { selector: None, ..verdict };
        (same(before) != same(after)).then_some((before, after))
    }
}

fn judged(policy: &ValidatedPolicy, hook: &Hook, space: &Space, event: &Event) -> Verdict {
    let arguments = space.arguments(event, hook);
    let called = decide(policy, hook, &event.process, &arguments);
    match &event.returned {
        Some(returned) => decide_return(policy, hook, called, returned),
        None => called,
    }
}

/// The strongest first: what becomes of the operation.
fn rank(verdict: &Verdict) -> [bool; 5] {
    let Verdict { deny, signal, fault, would_deny, post, .. } = *verdict;
    [deny.is_none(), signal.is_none(), !fault, !would_deny, !post]
}

fn search(sides: &Sides<'_>, unreadable: bool, tries: &mut usize) -> Option<(usize, Witness)> {
    let space = Space::new(sides, unreadable);
    let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
    let bases = bases(sides, &space);
    let selectors = || sides.all().flat_map(|(_, hook)| &hook.selectors);
    let cost = 1 + selectors().map(|selector| parts(selector).len()).sum::<usize>();
    let mut attempt = |choice: &[usize], found: &mut Vec<(usize, Vec<usize>)>| {
        *tries = tries.saturating_sub(cost);
        if space.event(choice).is_some_and(|event| sides.differ(&space, &event).is_some()) {
            let smallest = reduced(sides, &space, choice.to_vec());
            found.push((space.size(&smallest), smallest));
        }
        *tries > 0 && found.len() < FOUND
    };
    let mut go = bases.iter().all(|base| attempt(base, &mut found));
    for base in &bases {
        go = go && neighbours(&space, base).all(|event| attempt(&event, &mut found));
    }
    if found.is_empty() {
        for base in &bases {
            go = go && neighbours(&space, base).all(|near| neighbours(&space, &near).all(|e| attempt(&e, &mut found)));
        }
    }
    let (size, choice) = found.into_iter().min()?;
    let event = space.event(&choice)?;
    let (before, after) = sides.differ(&space, &event)?;
    Some((size, space.told(sides.name.clone(), &event, before, after)))
}

/// The events that differ from this one in one thing.
fn neighbours<'s>(space: &'s Space, base: &'s [usize]) -> impl Iterator<Item = Vec<usize>> + 's {
    let base = base.to_vec();
    (0..space.dimensions()).flat_map(move |dimension| {
        let base = base.clone();
        let own = base.get(dimension).copied().unwrap_or(0);
        (0..space.candidates(dimension)).filter(move |at| *at != own).map(move |at| with(&base, dimension, at))
    })
}

fn with(base: &[usize], dimension: usize, at: usize) -> Vec<usize> {
    let mut choice = base.to_vec();
    choice.get_mut(dimension).into_iter().for_each(|value| *value = at);
    choice
}

/// The plainest event that still differs.
fn reduced(sides: &Sides<'_>, space: &Space, mut choice: Vec<usize>) -> Vec<usize> {
    for dimension in 0..space.dimensions() {
        let own = choice.get(dimension).copied().unwrap_or(0);
        let plainer = (0..own).map(|at| with(&choice, dimension, at));
        let differs =
            |choice: &Vec<usize>| space.event(choice).is_some_and(|event| sides.differ(space, &event).is_some());
        let least = plainer.filter(differs).min_by_key(|choice| space.size(choice));
        if let Some(plainer) = least.filter(|plainer| space.size(plainer) < space.size(&choice)) {
            choice = plainer;
        }
    }
    choice
}

/// The plainest event of all, and for each alternative that only one of both has (and some others) one that fulfils it, as
/// far as one is found.
fn bases(sides: &Sides<'_>, space: &Space) -> Vec<Vec<usize>> {
    let plain = vec![0; space.dimensions()];
    let mut bases = vec![plain.clone()];
    let mut common = 0;
    for (policy, hook, selector, is_common) in sides.selectors() {
        common += usize::from(is_common);
        if common <= COMMON || !is_common {
            let filters = selector.into_iter().flat_map(parts).map(|filter| Ask::Filter(hook, Box::new(filter)));
            let asks: Vec<Ask<'_>> = [Ask::Scope(&policy.scope)].into_iter().chain(filters).collect();
            bases.push(fulfil(space, plain.clone(), &asks));
        }
    }
    bases.dedup();
    bases
}

/// Something that an event is to fulfil.
enum Ask<'p> {
    Scope(&'p Scope),
    Filter(&'p Hook, Box<Selector>),
}

impl Ask<'_> {
    fn holds(&self, space: &Space, event: &Event) -> bool {
        match self {
            Self::Scope(scope) => in_scope(scope, &event.process.place),
            Self::Filter(hook, filter) => {
                selector_matches(filter, hook, &event.process, &space.arguments(event, hook)) == Some(true)
            }
        }
    }
}

/// Changes one thing after the other until as much as possible of what is asked holds.
fn fulfil(space: &Space, mut choice: Vec<usize>, asks: &[Ask<'_>]) -> Vec<usize> {
    let score = |choice: &[usize]| {
        space.event(choice).map_or(0, |event| asks.iter().filter(|ask| ask.holds(space, &event)).count())
    };
    let mut best = score(&choice);
    while best < asks.len() {
        let better = neighbours(space, &choice).find(|near| score(near) > best);
        let Some(near) = better else { break };
        best = score(&near);
        choice = near;
    }
    choice
}

/// The type of an argument, for those that are read as several.
fn is_of(arg: &Arg, other: &Arg) -> bool {
    point::key(arg) == point::key(other)
        && std::mem::discriminant(&arg.ty.class()) == std::mem::discriminant(&other.ty.class())
}
