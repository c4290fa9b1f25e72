//! `matchBinaries` and `matchParentBinaries`.

use std::collections::BTreeSet;

use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::selector::MAX_ENTRIES;
use super::strings::{self, Kind};
use crate::engine::Feature;
use crate::fault::codes;
use crate::ir::{BinaryFilter, StringCompare};

/// What an engine may not have.
const FOLLOWED_PARTS: &str = "followChildren with Prefix or Postfix";

pub(super) fn read(selector: &Merged<'_>, field: &str, report: &mut Report) -> Vec<BinaryFilter> {
    let mut filters: Vec<BinaryFilter> =
        selector.list(field).iter().take(MAX_ENTRIES).filter_map(|node| read_one(node, report)).collect();
    filters.sort_unstable();
    filters.dedup();
    let alone: Vec<_> = filters
        .iter()
        .filter(|filter| !filter.follow_children)
        .map(|filter| strings::Test { compare: filter.compare, negated: filter.negated, values: &filter.values })
        .collect();
    let never = strings::never(&alone).or_else(|| children_never(&filters));
    if let Some(what) = never {
        let path = selector.path_of(field);
        report.fault(
            path,
            codes::FILTER_NEVER,
            format!("no executable satisfies all entries: {what}"),
            "remove one of them",
        );
    }
    filters
}

/// A process that descends from one of these binaries, or is one, and neither descends from nor is one of the same.
fn children_never(filters: &[BinaryFilter]) -> Option<String> {
    let positive = filters.iter().filter(|filter| !filter.negated);
    for left in positive {
        let same = |right: &&BinaryFilter| {
            right.negated
                && right.compare == left.compare
                && (right.follow_children || !left.follow_children)
                && !left.values.is_empty()
                && left.values.is_subset(&right.values)
        };
        if filters.iter().any(|right| same(&right)) {
            return Some("what one entry selects, another excludes".into());
        }
    }
    None
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
