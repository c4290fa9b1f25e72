//! Two filters that ask the same of different values: the values that only one of them has.

use std::collections::BTreeSet;

use crate::ir::{
    ArgFilter, ArgTest, BinaryFilter, Capabilities, CapabilityChange, CapabilityFilter, NamespaceFilter, PidFilter,
    Selector,
};

/// What two filters do not have in common.
pub(super) struct Split {
    /// Both are negated.
    pub(super) negated: bool,
    /// The positive filter of the values that only the first has.
    pub(super) gone: Option<Selector>,
    /// The same of the second.
    pub(super) new: Option<Selector>,
}

/// The values of two filters of the same kind on the same thing; `None`: they are no such filters.
pub(super) fn split(before: &Selector, after: &Selector) -> Option<Split> {
    let (old, new) = (before, after);
    let none = Selector::default;
    if let (Some(old), Some(new)) = (old.pids.first(), new.pids.first()) {
        let part = |pids| Selector { pids: vec![PidFilter { negated: false, pids, ..new.clone() }], ..none() };
        let alike = |filter: &PidFilter| (filter.negated, filter.follow_forks, filter.namespace_pid);
        return sets(alike(old) == alike(new), new.negated, &old.pids, &new.pids, part);
    }
    if let (Some(old), Some(new)) = (old.binaries.first(), new.binaries.first()) {
        let part = |filter| Selector { binaries: vec![filter], ..none() };
        return binaries(old, new, part);
    }
    if let (Some(old), Some(new)) = (old.parent_binaries.first(), new.parent_binaries.first()) {
        let part = |filter| Selector { parent_binaries: vec![filter], ..none() };
        return binaries(old, new, part);
    }
    if let (Some(old), Some(new)) = (old.namespaces.first(), new.namespaces.first()) {
        let alike = |filter: &NamespaceFilter| (filter.negated, filter.namespace);
        // The host's namespace is a value among the others.
        let values = |filter: &NamespaceFilter| {
            let host = filter.host.then_some(None);
            filter.inodes.iter().copied().map(Some).chain(host).collect::<BTreeSet<Option<u32>>>()
        };
        let part = |values: BTreeSet<Option<u32>>| {
            let host = values.contains(&None);
            let inodes = values.into_iter().flatten().collect();
            Selector { namespaces: vec![NamespaceFilter { negated: false, inodes, host, ..new.clone() }], ..none() }
        };
        return sets(alike(old) == alike(new), new.negated, &values(old), &values(new), part);
    }
    if let (Some(old), Some(new)) = (old.capabilities.first(), new.capabilities.first()) {
        let alike = |filter: &CapabilityFilter| (filter.set, filter.negated, filter.in_namespace);
        let part = |capabilities| Selector {
            capabilities: vec![CapabilityFilter { negated: false, capabilities, ..new.clone() }],
            ..none()
        };
        return bits(alike(old) == alike(new), new.negated, old.capabilities, new.capabilities, part);
    }
    if let (Some(old), Some(new)) = (old.capability_changes.first(), new.capability_changes.first()) {
        let alike = |filter: &CapabilityChange| (filter.set, filter.negated, filter.in_namespace);
        let part = |capabilities| Selector {
            capability_changes: vec![CapabilityChange { negated: false, capabilities, ..new.clone() }],
            ..none()
        };
        return bits(alike(old) == alike(new), new.negated, old.capabilities, new.capabilities, part);
    }
    arguments(old.args.first()?, new.args.first()?)
}

fn binaries(old: &BinaryFilter, new: &BinaryFilter, part: impl Fn(BinaryFilter) -> Selector) -> Option<Split> {
    let alike = |filter: &BinaryFilter| (filter.compare, filter.negated, filter.follow_children);
    let filter = |values| part(BinaryFilter { negated: false, values, ..new.clone() });
    sets(alike(old) == alike(new), new.negated, &old.values, &new.values, filter)
}

fn arguments(old: &ArgFilter, new: &ArgFilter) -> Option<Split> {
    let ArgFilter { arg, negated, .. } = *new;
    let alike = (old.arg, old.negated) == (arg, negated);
    let part = |test: ArgTest| Selector { args: vec![ArgFilter { arg, test, negated: false }], ..Selector::default() };
    macro_rules! of_set {
        ($($variant:ident)*) => {
            match (&old.test, &new.test) {
                $((ArgTest::$variant(old), ArgTest::$variant(new)) => {
                    sets(alike, negated, old, new, |values| part(ArgTest::$variant(values)))
                })*
                (ArgTest::String(compare, old), ArgTest::String(also, new)) => {
                    sets(alike && compare == also, negated, old, new, |values| part(ArgTest::String(*compare, values)))
                }
                (
                    ArgTest::Substring { ignore_case, values: old },
                    ArgTest::Substring { ignore_case: also, values: new },
                ) => sets(alike && ignore_case == also, negated, old, new, |values| {
                    part(ArgTest::Substring { ignore_case: *ignore_case, values })
                }),
                (ArgTest::Mask(old), ArgTest::Mask(new)) => {
                    bits(alike, negated, Capabilities(*old), Capabilities(*new), |set| part(ArgTest::Mask(set.0)))
                }
                _ => None,
            }
        };
    }
    of_set!(Number Range Syscall FileType SourceAddress DestinationAddress SourcePort DestinationPort Family Protocol State)
}

fn sets<T: Ord + Clone>(
    alike: bool,
    negated: bool,
    old: &BTreeSet<T>,
    new: &BTreeSet<T>,
    part: impl Fn(BTreeSet<T>) -> Selector,
) -> Option<Split> {
    let only = |one: &BTreeSet<T>, other: &BTreeSet<T>| {
        let values: BTreeSet<T> = one.difference(other).cloned().collect();
        (!values.is_empty()).then(|| part(values))
    };
    alike.then(|| Split { negated, gone: only(old, new), new: only(new, old) })
}

fn bits(
    alike: bool,
    negated: bool,
    old: Capabilities,
    new: Capabilities,
    part: impl Fn(Capabilities) -> Selector,
) -> Option<Split> {
    let only = |one: u64, other: u64| (one & !other != 0).then(|| part(Capabilities(one & !other)));
    alike.then(|| Split { negated, gone: only(old.0, new.0), new: only(new.0, old.0) })
}
