//! Whether a selector matches everything that another does: whatever it asks, the other cannot match without.

use super::together::{self, PortsOf};
use super::{binaries, capabilities, changes, joint, namespaces, pids, scope};
use crate::ir::{Arg, ArgFilter, Namespace, NamespaceFilter, Scope, Selector};

/// Whether `earlier` matches everything that `later` matches. `within` is the policy's own scope. What only several
/// selectors together cover is not found.
pub(super) fn covers(earlier: &Selector, later: &Selector, within: &Scope, args: &[Arg]) -> bool {
    let Selector {
        pids,
        binaries,
        parent_binaries,
        namespaces,
        namespace_changes,
        capabilities,
        capability_changes,
        workloads,
        args: filters,
        ..
    } = earlier;
    // Whatever is cheap to say no to comes first: most selectors do not cover each other.
    let Selector { args: later_filters, .. } = later;
    filters.iter().all(|filter| later_filters.contains(filter) || is_asked(filter, later_filters, args))
        && binaries.iter().all(|filter| {
            let own = with(&later.binaries, filter, |filter| filter.negated = !filter.negated);
            later.binaries.contains(filter) || binaries::never(&own, &later.parent_binaries)
        })
        && parent_binaries.iter().all(|filter| {
            let own = with(&later.parent_binaries, filter, |filter| filter.negated = !filter.negated);
            // Who has no parent satisfies what excludes parents, and nothing that asks for one.
            later.parent_binaries.contains(filter) || binaries::never(&later.binaries, &own)
        })
        && pids.iter().all(|filter| {
            let own = with(&later.pids, filter, |filter| filter.negated = !filter.negated);
            later.pids.contains(filter) || pids::contradiction(&own).is_some()
        })
        && namespaces.iter().all(|filter| {
            let own = with(&later.namespaces, filter, |filter| filter.negated = !filter.negated);
            later.namespaces.contains(filter) || no_namespace(&own, filter.namespace, later)
        })
        && namespace_changes.iter().all(|filter| {
            let own = with(&later.namespace_changes, filter, |filter| filter.negated = !filter.negated);
            later.namespace_changes.contains(filter) || changes::never(&own)
        })
        && capabilities.iter().all(|filter| {
            let own = with(&later.capabilities, filter, |filter| filter.negated = !filter.negated);
            let of_all = own.iter().map(|filter| (filter.set, filter.negated, filter.capabilities));
            later.capabilities.contains(filter)
                || (elsewhere(filter.in_namespace, later) && capabilities::never(&of_all).is_some())
        })
        && capability_changes.iter().all(|filter| {
            let own = with(&later.capability_changes, filter, |filter| filter.negated = !filter.negated);
            let of_all = own.iter().map(|filter| (filter.set, filter.negated, filter.capabilities));
            later.capability_changes.contains(filter)
                || (elsewhere(filter.in_namespace, later) && capabilities::never(&of_all).is_some())
        })
        && workloads.as_ref().is_none_or(|outer| {
            let own = later.workloads.as_ref().map_or_else(|| within.clone(), |own| scope::both(within, own));
            scope::is_within(&own, outer)
        })
}

/// `filters` and the contrary of `filter`.
fn with<T: Clone>(filters: &[T], filter: &T, negate: impl Fn(&mut T)) -> Vec<T> {
    let mut contrary = filter.clone();
    negate(&mut contrary);
    filters.iter().cloned().chain([contrary]).collect()
}

/// A filter about capabilities in a namespace holds nowhere else, so only what asks for that cannot do without it.
fn elsewhere(in_namespace: bool, later: &Selector) -> bool {
    !in_namespace
        || later.capabilities.iter().any(|filter| filter.in_namespace)
        || later.capability_changes.iter().any(|filter| filter.in_namespace)
        || no_namespace(
            &with(&later.namespaces, &namespaces::users_of_host(true), |filter| filter.negated = false),
            Namespace::User,
            &Selector::default(),
        )
}

fn no_namespace(filters: &[NamespaceFilter], kind: Namespace, later: &Selector) -> bool {
    let of_users = later.capabilities.iter().any(|filter| filter.in_namespace)
        || later.capability_changes.iter().any(|filter| filter.in_namespace);
    let own = of_users.then(|| namespaces::users_of_host(true));
    namespaces::never(&filters.iter().cloned().chain(own).collect::<Vec<_>>(), kind)
}

/// Whether nothing satisfies `filters` that does not satisfy `filter`.
fn is_asked(filter: &ArgFilter, filters: &[ArgFilter], args: &[Arg]) -> bool {
    let all = with(filters, filter, |filter| filter.negated = !filter.negated);
    let own: Vec<&ArgFilter> =
        all.iter().filter(|other| other.arg == filter.arg && joint::is_about_one(&other.test)).collect();
    let by_itself = joint::is_about_one(&filter.test)
        && own.len() > 1
        && args.get(filter.arg).is_some_and(|arg| !together::never(&own, arg, PortsOf::Sockets).is_empty());
    by_itself || joint::never(&all, args).is_some()
}
