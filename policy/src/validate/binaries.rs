//! `matchBinaries` and `matchParentBinaries`.

use std::collections::BTreeSet;

use super::exclusions;
use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::strings::{self, Kind};
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{BinaryFilter, StringCompare};
use crate::language::limits::MAX_ENTRIES;

/// What an engine may not have.
const FOLLOWED_PARTS: &str = "followChildren with Prefix or Postfix";

/// The filters on the process's executable, and those on its parent's.
pub(super) fn read(selector: &Merged<'_>, report: &mut Report) -> (Vec<BinaryFilter>, Vec<BinaryFilter>) {
    let own = read_list(selector, "matchBinaries", report);
    let parent = read_list(selector, "matchParentBinaries", report);
    let mut never = |field: &str, what: Option<String>| {
        if let Some(what) = what {
            let what = format!("no executable satisfies all entries: {what}");
            report.fault(selector.path_of(field), codes::FILTER_NEVER, what, "remove one of them");
        }
    };
    never("matchBinaries", own_never(&own, &parent));
    never("matchParentBinaries", parent_never(&own, &parent));
    (exclusions::joined(own, merged), exclusions::joined(parent, merged))
}

fn merged(one: &BinaryFilter, other: &BinaryFilter) -> Option<BinaryFilter> {
    let alike =
        one.negated && other.negated && (one.compare, one.follow_children) == (other.compare, other.follow_children);
    let values = || strings::minimal(&(&one.values | &other.values), one.compare);
    alike.then(|| BinaryFilter { values: values(), ..one.clone() })
}

/// Whether no process satisfies `own` whose parents satisfy `parent`.
pub(super) fn never(own: &[BinaryFilter], parent: &[BinaryFilter]) -> bool {
    // What is only excluded of parents is satisfied by who has none.
    let asks = parent.iter().any(|filter| !filter.negated);
    own_never(own, parent).is_some() || (asks && parent_never(own, parent).is_some())
}

fn read_list(selector: &Merged<'_>, field: &str, report: &mut Report) -> Vec<BinaryFilter> {
    let mut filters: Vec<BinaryFilter> =
        selector.list(field).iter().take(MAX_ENTRIES).filter_map(|node| read_one(node, report)).collect();
    filters.sort_unstable();
    filters.dedup();
    filters
}

/// Why no process satisfies `own`, whose parents satisfy `parent`.
fn own_never(own: &[BinaryFilter], parent: &[BinaryFilter]) -> Option<String> {
    let alone: Vec<_> = own.iter().filter(about_itself).collect();
    excluded(&alone).or_else(|| {
        own.iter().filter(demands_ancestor).find_map(|filter| {
            // One that is demanded is the process itself, or above it, where nothing excludes it.
            let itself = excluded(&[&alone[..], &[filter]].concat());
            let above = excluded(&[&excluded_above(own)[..], &excluded_above(parent), &[filter]].concat());
            itself.and(above)
        })
    })
}

/// Why no parent satisfies `parent`, of a process that satisfies `own`.
fn parent_never(own: &[BinaryFilter], parent: &[BinaryFilter]) -> Option<String> {
    let alone: Vec<_> = parent.iter().filter(about_itself).collect();
    excluded(&[&alone[..], &excluded_above(own)].concat()).or_else(|| {
        parent
            .iter()
            .filter(demands_ancestor)
            .find_map(|filter| excluded(&[&excluded_above(own)[..], &excluded_above(parent), &[filter]].concat()))
    })
}

/// Whether a filter says something about the process itself: with followChildren, one that excludes does.
fn about_itself(filter: &&BinaryFilter) -> bool {
    !filter.follow_children || filter.negated
}

fn demands_ancestor(filter: &&BinaryFilter) -> bool {
    filter.follow_children && !filter.negated
}

/// What excludes a process whatever its place among the ancestors.
fn excluded_above(filters: &[BinaryFilter]) -> Vec<&BinaryFilter> {
    filters.iter().filter(|filter| filter.follow_children && filter.negated).collect()
}

/// Why no executable satisfies all filters.
fn excluded(filters: &[&BinaryFilter]) -> Option<String> {
    let tests: Vec<_> = filters
        .iter()
        .map(|filter| strings::Test { compare: filter.compare, negated: filter.negated, values: &filter.values })
        .collect();
    strings::never(&tests)
}

fn read_one(node: &Node<'_>, report: &mut Report) -> Option<BinaryFilter> {
    let (compare, negated) = match node.text_of("operator") {
        "In" => (StringCompare::Equal, false),
        "NotIn" => (StringCompare::Equal, true),
        "Prefix" => (StringCompare::Prefix, false),
        "NotPrefix" => (StringCompare::Prefix, true),
        "Postfix" => (StringCompare::Postfix, false),
        "NotPostfix" => (StringCompare::Postfix, true),
        _ => return None,
    };
    let values: BTreeSet<String> = strings::values(node, compare, negated, Kind::Path, report);
    let follow_children = node.flag_of("followChildren").unwrap_or(false);
    if follow_children && compare != StringCompare::Equal {
        report.needs_or(node.path_of("followChildren"), Feature::Field(FOLLOWED_PARTS), "use In or NotIn");
    }
    Some(BinaryFilter { compare, negated, values, follow_children })
}
