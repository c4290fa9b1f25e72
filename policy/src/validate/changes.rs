//! `matchNamespaceChanges` and `matchCapabilityChanges`: what is another than when the process was executed.

use std::collections::BTreeSet;

use super::capabilities::{self, Entry};
use super::exclusions;
use super::macros::Merged;
use super::namespaces::namespace;
use super::node::Node;
use super::report::Report;
use crate::fault::codes;
use crate::ir::{Capabilities, CapabilityChange, Namespace, NamespaceChange};
use crate::language::limits::MAX_ENTRIES;

pub(super) fn namespaces(selector: &Merged<'_>, report: &mut Report) -> Vec<NamespaceChange> {
    let entries = selector.list("matchNamespaceChanges");
    let mut filters: Vec<NamespaceChange> =
        entries.iter().take(MAX_ENTRIES).filter_map(|node| namespace_change(node, report)).collect();
    filters.sort_unstable();
    filters.dedup();
    if never(&filters) {
        let what = "what one entry asks to have changed, another excludes";
        report.fault(selector.path_of("matchNamespaceChanges"), codes::FILTER_NEVER, what, "remove one of them");
    }
    exclusions::joined(filters, |one, other| {
        let alike = one.negated && other.negated;
        alike.then(|| NamespaceChange { namespaces: &one.namespaces | &other.namespaces, ..one.clone() })
    })
}

/// Whether what one entry asks to have changed, others exclude.
pub(super) fn never(filters: &[NamespaceChange]) -> bool {
    let excluded: BTreeSet<Namespace> =
        filters.iter().filter(|filter| filter.negated).flat_map(|filter| filter.namespaces.iter().copied()).collect();
    let none_left = |filter: &NamespaceChange| {
        !filter.negated && !filter.namespaces.is_empty() && filter.namespaces.is_subset(&excluded)
    };
    filters.iter().any(none_left)
}

fn namespace_change(node: &Node<'_>, report: &mut Report) -> Option<NamespaceChange> {
    let values = node.list("values");
    if values.is_empty() && node.field("values").is_some_and(|list| list.is_list()) {
        let what = "the list of namespaces is empty";
        report.fault(node.path_of("values"), codes::VALUES_EMPTY, what, "list at least one, such as Mnt");
    }
    let negated = match node.text_of("operator") {
        "In" => false,
        "NotIn" => true,
        _ => return None,
    };
    warn_unchanged(node, negated, report);
    let namespaces = values.iter().filter_map(|value| namespace(value.text()?)).collect();
    Some(NamespaceChange { negated, namespaces })
}

/// Tetragon takes `NotIn` for "something else has changed"; here it is the negation of `In`.
fn warn_unchanged(node: &Node<'_>, negated: bool, report: &mut Report) {
    if negated {
        let what = "NotIn also matches when nothing at all has changed";
        let help = "to be told of changes of others, write In and list those";
        report.warn(node.path_of("operator"), codes::UNCHANGED_MATCHES, what, help);
    }
}

pub(super) fn capabilities(selector: &Merged<'_>, report: &mut Report) -> Vec<CapabilityChange> {
    let entries = selector.list("matchCapabilityChanges");
    let mut filters: Vec<CapabilityChange> = entries
        .iter()
        .take(MAX_ENTRIES)
        .filter_map(|node| {
            let Entry { set, negated, in_namespace, capabilities } = capabilities::entry(node, report)?;
            warn_unchanged(node, negated, report);
            Some(CapabilityChange { set, negated, in_namespace, capabilities })
        })
        .collect();
    filters.sort_unstable();
    filters.dedup();
    let never = capabilities::never(&filters.iter().map(|filter| (filter.set, filter.negated, filter.capabilities)));
    if let Some(which) = never {
        let what = format!("no change of the {which:?} set satisfies all entries: what one asks for, another excludes");
        report.fault(selector.path_of("matchCapabilityChanges"), codes::FILTER_NEVER, what, "remove one of them");
    }
    exclusions::joined(filters, |one, other| {
        let alike = one.negated && other.negated && (one.set, one.in_namespace) == (other.set, other.in_namespace);
        let all = Capabilities(one.capabilities.0 | other.capabilities.0);
        alike.then(|| CapabilityChange { capabilities: all, ..one.clone() })
    })
}
