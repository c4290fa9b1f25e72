//! `matchCapabilities`, and what it has in common with other filters on capabilities.

use super::exclusions;
use super::macros::Merged;
use super::nearest;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::{Capabilities, CapabilityFilter, CapabilitySet};
use crate::language::CAPABILITIES;
use crate::language::limits::MAX_ENTRIES;

pub(super) fn read(selector: &Merged<'_>, report: &mut Report) -> Vec<CapabilityFilter> {
    let entries = selector.list("matchCapabilities");
    let mut filters: Vec<CapabilityFilter> = entries
        .iter()
        .take(MAX_ENTRIES)
        .filter_map(|node| {
            let entry = entry(node, report)?;
            let Entry { set, negated, in_namespace, capabilities } = entry;
            Some(CapabilityFilter { set, negated, in_namespace, capabilities })
        })
        .collect();
    filters.sort_unstable();
    filters.dedup();
    let never = never(&filters.iter().map(|filter| (filter.set, filter.negated, filter.capabilities)));
    if let Some(which) = never {
        let what = format!("no {which:?} set satisfies all entries: what one asks for, another excludes");
        report.fault(selector.path_of("matchCapabilities"), codes::FILTER_NEVER, what, "remove one of them");
    }
    exclusions::joined(filters, |one, other| {
        let alike = one.negated && other.negated && (one.set, one.in_namespace) == (other.set, other.in_namespace);
        let all = Capabilities(one.capabilities.0 | other.capabilities.0);
        alike.then(|| CapabilityFilter { capabilities: all, ..one.clone() })
    })
}

/// An entry of a filter on capabilities.
pub(super) struct Entry {
    pub(super) set: CapabilitySet,
    pub(super) negated: bool,
    pub(super) in_namespace: bool,
    pub(super) capabilities: Capabilities,
}

pub(super) fn entry(node: &Node<'_>, report: &mut Report) -> Option<Entry> {
    let capabilities = names(node, report);
    let set = match node.text_of("type") {
        "" | "Effective" => CapabilitySet::Effective,
        "Inheritable" => CapabilitySet::Inheritable,
        "Permitted" => CapabilitySet::Permitted,
        _ => return None,
    };
    let negated = match node.text_of("operator") {
        "In" => false,
        "NotIn" => true,
        _ => return None,
    };
    let in_namespace = node.flag_of("isNamespaceCapability").unwrap_or(false);
    Some(Entry { set, negated, in_namespace, capabilities })
}

fn names(node: &Node<'_>, report: &mut Report) -> Capabilities {
    let values = node.list("values");
    if values.is_empty() && node.field("values").is_some_and(|list| list.is_list()) {
        let what = "the list of capabilities is empty";
        report.fault(node.path_of("values"), codes::VALUES_EMPTY, what, "list at least one, such as CAP_SYS_ADMIN");
    }
    let mut set = Capabilities::default();
    for value in &values {
        let Some(text) = value.text() else { continue };
        match number(text) {
            Some(number) => set.0 |= 1 << number,
            None => unknown(text, value.path(), report),
        }
    }
    set
}

/// The number of the capability of that name.
pub(super) fn number(name: &str) -> Option<u32> {
    CAPABILITIES.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number)
}

pub(super) fn unknown(text: &str, path: &str, report: &mut Report) {
    let near = if report.is_flooded() { None } else { nearest::nearest(text, CAPABILITIES) };
    let help =
        near.map_or_else(|| "write a name like CAP_SYS_ADMIN".to_owned(), |name| format!("did you mean {name}?"));
    report.fault(path, codes::UNKNOWN_VALUE, format!("{} is not a capability", quoted(text)), help);
}

/// The set of which the entries ask for something that they also exclude.
pub(super) fn never(
    entries: &(impl Iterator<Item = (CapabilitySet, bool, Capabilities)> + Clone),
) -> Option<CapabilitySet> {
    let excluded = |of: CapabilitySet| {
        entries
            .clone()
            .filter(|(set, negated, _)| *set == of && *negated)
            .fold(0, |all, (_, _, Capabilities(bits))| all | bits)
    };
    let asked = entries.clone().filter(|(_, negated, Capabilities(bits))| !negated && *bits != 0);
    { asked }.find(|(set, _, Capabilities(bits))| bits & !excluded(*set) == 0).map(|(set, ..)| set)
}
