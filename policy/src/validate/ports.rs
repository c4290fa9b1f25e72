//! Filters on ports.

use std::collections::BTreeSet;

use super::node::Node;
use super::numbers;
use super::ranges::Ranges;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::PortRange;

/// Ports that only a privileged process can bind.
pub(super) const PRIVILEGED: PortRange = PortRange { first: 0, last: 1023 };
/// Every port that a packet can have.
pub(super) const ALL: (u128, u128) = (1, 65535);

/// The values of `SPort`, `DPort` and their negations, as ranges that neither overlap nor touch.
pub(super) fn values(node: &Node<'_>, negated: bool, report: &mut Report) -> BTreeSet<PortRange> {
    let ranges = numbers::parse_each(node, report, parse);
    let set = Ranges::new(ranges.iter().map(|range| (range.first.into(), range.last.into())));
    if set == Ranges::new([ALL]) {
        let (code, what) = if negated {
            (codes::PORT_NEVER, "every port is excluded")
        } else {
            (codes::PORT_ALWAYS, "every port is listed")
        };
        report.fault(node.path_of("values"), code, what, "list fewer ports, or remove the filter");
    }
    ranges_of(&set)
}

/// Both sets, in the fewest ranges.
pub(super) fn union(left: &BTreeSet<PortRange>, right: &BTreeSet<PortRange>) -> BTreeSet<PortRange> {
    ranges_of(&Ranges::new(left.iter().chain(right).map(|range| (range.first.into(), range.last.into()))))
}

fn ranges_of(set: &Ranges) -> BTreeSet<PortRange> {
    set.iter()
        .filter_map(|(first, last)| Some(PortRange { first: first.try_into().ok()?, last: last.try_into().ok()? }))
        .collect()
}

fn parse(text: &str, path: &str, report: &mut Report) -> Option<PortRange> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        let what = format!("{} is not a port or a range of ports", quoted(text));
        report.fault(path, codes::PORT_INVALID, what, "write a number from 1 to 65535, or first:last");
        return None;
    };
    if first == 0 {
        report.fault(path, codes::PORT_ZERO, "0 is no port", "begin with 1");
        return None;
    }
    if last < first {
        let what = format!("{} ends before it begins", quoted(text));
        report.fault(path, codes::PORT_RANGE, what, format!("write {last}:{first}"));
        return None;
    }
    Some(PortRange { first, last })
}

fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}
