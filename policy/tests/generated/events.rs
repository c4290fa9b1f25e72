//! Events that hit what filters say: what they list, what is next to that, and one that satisfies whatever is asked, if any
//! does. What concerns different things of an event is looked for in each by itself, so that few have to be tried.

mod arguments;
mod processes;

use std::collections::BTreeMap;

use stockade_policy::ir::{Hook, Scope, Selector};
use stockade_policy::model::{Argument, Place, Process, in_scope, selector_matches};
use stockade_policy::reasons::parts;

use self::processes::Known;
use super::Dice;

/// Something that happens at a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) process: Process,
    pub(crate) arguments: Vec<Argument>,
}

/// A filter, and whether it shall hold.
pub(crate) type Want = (Selector, bool);

/// The filter that says the contrary, if one filter can.
pub(crate) fn flipped(filter: &Selector) -> Option<Selector> {
    let mut other = filter.clone();
    let Selector {
        pids,
        binaries,
        parent_binaries,
        namespaces,
        namespace_changes,
        capabilities,
        capability_changes,
        args,
        ..
    } = &mut other;
    let flags = pids.iter_mut().map(|one| &mut one.negated);
    let flags = flags.chain(binaries.iter_mut().map(|one| &mut one.negated));
    let flags = flags.chain(parent_binaries.iter_mut().map(|one| &mut one.negated));
    let flags = flags.chain(namespaces.iter_mut().map(|one| &mut one.negated));
    let flags = flags.chain(namespace_changes.iter_mut().map(|one| &mut one.negated));
    let flags = flags.chain(args.iter_mut().map(|one| &mut one.negated));
    let mut flags: Vec<&mut bool> = flags.collect();
    // Negated or not, one about capabilities in a namespace holds only there.
    let capabilities = capabilities.iter_mut().filter(|one| !one.in_namespace).map(|one| &mut one.negated);
    let changes = capability_changes.iter_mut().filter(|one| !one.in_namespace).map(|one| &mut one.negated);
    flags.extend(capabilities.chain(changes));
    for flag in &mut flags {
        **flag = !**flag;
    }
    let any = !flags.is_empty();
    any.then_some(other)
}

/// An event in `scope` about which every wish comes true; `None`: there is none, as far as can be seen.
pub(crate) fn satisfy(scope: &Scope, hook: &Hook, wanted: &[Want]) -> Option<Event> {
    let wanted: Vec<Want> = wanted
        .iter()
        .map(|(filter, truth)| match flipped(filter).filter(|_| !truth) {
            Some(other) => (other, true),
            None => (filter.clone(), *truth),
        })
        .collect();
    let mut event = Event { process: processes::plain(), arguments: Vec::new() };
    let workloads: Vec<(&Scope, bool)> =
        wanted.iter().filter_map(|(filter, truth)| Some((filter.workloads.as_ref()?, *truth))).collect();
    let scopes: Vec<&Scope> = std::iter::once(scope).chain(workloads.iter().map(|(scope, _)| *scope)).collect();
    event.process.place = processes::places(&scopes).into_iter().find(|place| {
        in_scope(scope, place) && workloads.iter().all(|(scope, truth)| in_scope(scope, place) == *truth)
    })?;
    processes::credentials(&mut event.process, &wanted)?;
    event.process.lineage = processes::lineage(&wanted)?;
    event.arguments = arguments::satisfying(hook, &wanted)?;
    let holds =
        |(filter, truth): &Want| selector_matches(filter, hook, &event.process, &event.arguments) == Some(*truth);
    wanted.iter().all(holds).then_some(event)
}

/// What is worth trying at a hook.
pub(crate) struct Pools {
    known: Known,
    places: Vec<Place>,
    arguments: Vec<Vec<Argument>>,
    /// An event for each alternative that has one.
    matching: Vec<Event>,
}

impl Pools {
    pub(crate) fn of(scope: &Scope, hook: &Hook) -> Self {
        let filters: Vec<Selector> = hook.selectors.iter().flat_map(parts).collect();
        let workloads = filters.iter().filter_map(|filter| filter.workloads.as_ref());
        let scopes: Vec<&Scope> = std::iter::once(scope).chain(workloads).collect();
        let matching = hook.selectors.iter().filter_map(|selector| {
            let wanted: Vec<Want> = parts(selector).into_iter().map(|filter| (filter, true)).collect();
            satisfy(scope, hook, &wanted)
        });
        Self {
            known: Known::of(&filters),
            places: processes::places(&scopes),
            arguments: arguments::pools(hook, &filters),
            matching: matching.collect(),
        }
    }

    /// Some event. `readable`: all of it can be read.
    pub(crate) fn event(&self, dice: &mut Dice, readable: bool) -> Event {
        let any = |dice: &mut Dice| Event {
            process: Process { place: dice.pick(&self.places).clone(), ..self.known.process(dice, readable) },
            arguments: self.arguments.iter().map(|pool| self.argument(pool, dice, readable)).collect(),
        };
        if self.matching.is_empty() || dice.one_in(3) {
            return any(dice);
        }
        // One that matches, or is wrong in one thing.
        let mut event = dice.pick(&self.matching).clone();
        let other = any(dice);
        match dice.roll(8) {
            0 => event.process.lineage = other.process.lineage,
            1 => event.process.place = other.process.place,
            2 => event.process.capabilities = other.process.capabilities,
            3 => event.process.namespaces = other.process.namespaces,
            4..7 if !event.arguments.is_empty() => {
                let at = dice.roll(event.arguments.len());
                event.arguments[at] = other.arguments[at].clone();
            }
            _ => {}
        }
        event
    }

    fn argument(&self, pool: &[Argument], dice: &mut Dice, readable: bool) -> Argument {
        if !readable && dice.one_in(6) { Argument::Unreadable } else { dice.pick(pool).clone() }
    }

    /// Values of the argument at that place.
    pub(crate) fn values(&self, at: usize) -> &[Argument] {
        &self.arguments[at]
    }
}

/// Each once.
fn once<T: Ord + Clone>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut known = BTreeMap::new();
    for (at, value) in values.into_iter().enumerate() {
        known.entry(value).or_insert(at);
    }
    let mut values: Vec<(T, usize)> = known.into_iter().collect();
    values.sort_by_key(|(_, at)| *at);
    values.into_iter().map(|(value, _)| value).collect()
}
