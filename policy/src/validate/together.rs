//! Whether the filters on one argument can be satisfied together.

use std::collections::BTreeSet;

use super::addresses;
use super::args::{AF_INET, AF_INET6};
use super::numbers;
use super::ports;
use super::ranges::Ranges;
use super::report::Report;
use super::strings;
use super::system_calls;
use crate::fault::codes;
use crate::ir::{Arg, ArgFilter, ArgTest, Class, FileType, PortRange};
use crate::language;

/// The ports that an event may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortsOf {
    /// Those that there are: what leaves only port 0 leaves no port.
    Ports,
    /// Those that a socket may say it has: 0 before it is bound or connected.
    Sockets,
}

/// Whether the filters on one argument exclude each other.
pub(super) fn check(filters: &[&ArgFilter], arg: &Arg, path: &str, report: &mut Report) {
    if filters.len() < 2 {
        return;
    }
    for (code, what) in never(filters, arg, PortsOf::Ports) {
        let what = format!("the filters on argument {} {what}", arg.index);
        report.fault(path, code, what, "remove one of them");
    }
}

/// Why nothing satisfies all filters on an argument: what they exclude, each with its code.
pub(super) fn never(filters: &[&ArgFilter], arg: &Arg, of: PortsOf) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut never = |code, what: &str| found.push((code, what.to_owned()));
    let of_small = |set: &BTreeSet<u16>| Ranges::new(set.iter().map(|n| (u128::from(*n), u128::from(*n))));
    let families = sets(filters, |test| match test {
        ArgTest::Family(set) => Some(of_small(set)),
        _ => None,
    });
    let protocols = sets(filters, |test| match test {
        ArgTest::Protocol(set) => Some(of_small(set)),
        _ => None,
    });
    let states = sets(filters, |test| match test {
        ArgTest::State(set) => Some(of_small(set)),
        _ => None,
    });
    if no_number(filters, arg, &[]) {
        never(codes::FILTER_NEVER, "leave no number");
    }
    if system_calls::none_is_left(filters, arg) {
        never(codes::FILTER_NEVER, "leave no system call");
    }
    if left(&states, (0, u16::MAX.into())).is_empty() {
        never(codes::FILTER_NEVER, "leave no state");
    }
    if no_file_type(filters) {
        never(codes::FILTER_NEVER, "leave no kind of file");
    }
    if left(&families, (0, u16::MAX.into())).is_empty() {
        never(codes::FILTER_NEVER, "leave no address family");
    }
    if left(&protocols, (0, u16::MAX.into())).is_empty() {
        never(codes::FILTER_NEVER, "leave no protocol");
    }
    if let Some(what) = no_text(filters) {
        never(codes::FILTER_NEVER, &format!("leave no string: {what}"));
    }
    for source in [true, false] {
        check_ports(filters, source, of, &mut never);
        check_addresses(filters, source, &families, &mut never);
    }
    check_ported_families(filters, &families, &mut never);
    found
}

/// Whether no number satisfies all filters on numbers and is in all of `also`.
pub(super) fn no_number(filters: &[&ArgFilter], arg: &Arg, also: &[&Ranges]) -> bool {
    let wanted = sets(filters, |test| match test {
        ArgTest::Number(set) => Some(Ranges::new(set.iter().map(|number| (u128::from(*number), u128::from(*number))))),
        ArgTest::Range(set) => Some(Ranges::new(set.iter().map(|range| (range.first.into(), range.last.into())))),
        _ => None,
    });
    let masks = |negated: bool| {
        filters.iter().filter_map(move |filter| match filter.test {
            ArgTest::Mask(mask) if filter.negated == negated => Some(mask),
            _ => None,
        })
    };
    let (asked, excluded): (Vec<u64>, u64) = (masks(false).collect(), masks(true).fold(0, |all, mask| all | mask));
    let asks = !wanted.is_empty() || !asked.is_empty() || excluded != 0 || !also.is_empty();
    if !asks || arg.ty.bounds().is_none() || arg.ty.class() == Class::Syscall {
        return false;
    }
    let mut rest = numbers::domain(arg.ty);
    for (negated, set) in &wanted {
        rest = if *negated { rest.without(set) } else { rest.intersection(set) };
    }
    for set in also {
        rest = rest.intersection(set);
    }
    if asked.is_empty() && excluded == 0 { rest.is_empty() } else { !with_bits(&rest, &asked, excluded) }
}

/// Whether a number of the set has a bit of each of `asked` and none of `excluded`. A range falls into blocks in which the
/// high bits are given and the low ones free; what has all of those has most of what is asked for.
fn with_bits(set: &Ranges, asked: &[u64], excluded: u64) -> bool {
    set.iter().any(|(first, last)| {
        let (mut first, Ok(last)) = (first, u64::try_from(last)) else { return false };
        while let Ok(begin) = u64::try_from(first)
            && begin <= last
        {
            let mut size = 0;
            while size < 64 && begin.trailing_zeros() > size && begin | low_bits(size + 1) <= last {
                size += 1;
            }
            let fullest = (begin | low_bits(size)) & !(excluded & low_bits(size));
            if fullest & excluded == 0 && asked.iter().all(|mask| fullest & mask != 0) {
                return true;
            }
            first = u128::from(begin | low_bits(size)) + 1;
        }
        false
    })
}

const fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

fn no_file_type(filters: &[&ArgFilter]) -> bool {
    let of = |wanted: bool| {
        filters.iter().filter(move |filter| filter.negated != wanted).filter_map(|filter| match &filter.test {
            ArgTest::FileType(set) => Some(set),
            _ => None,
        })
    };
    let mut asked = of(true);
    let excluded: BTreeSet<FileType> = of(false).flatten().copied().collect();
    match asked.next() {
        None => excluded.len() == language::ALL_FILE_TYPES,
        Some(first) => asked.fold(first.clone(), |left, set| &left & set).is_subset(&excluded),
    }
}

fn no_text(filters: &[&ArgFilter]) -> Option<String> {
    let texts: Vec<_> = filters.iter().filter_map(|filter| text_test(filter)).collect();
    let parts: Vec<_> = filters
        .iter()
        .filter_map(|filter| match &filter.test {
            ArgTest::Substring { ignore_case, values } => {
                Some(strings::Parts { ignore_case: *ignore_case, negated: filter.negated, values })
            }
            _ => None,
        })
        .collect();
    strings::never(&texts).or_else(|| strings::no_part(&texts, &parts))
}

fn text_test(filter: &ArgFilter) -> Option<strings::Test<'_>> {
    match &filter.test {
        ArgTest::String(compare, values) => Some(strings::Test { compare: *compare, negated: filter.negated, values }),
        _ => None,
    }
}

fn ports_of(filters: &[&ArgFilter], source: bool) -> Vec<(bool, Ranges)> {
    sets(filters, |test| match test {
        ArgTest::SourcePort(set) if source => Some(port_ranges(set)),
        ArgTest::DestinationPort(set) if !source => Some(port_ranges(set)),
        _ => None,
    })
}

fn check_ports(filters: &[&ArgFilter], source: bool, of: PortsOf, never: &mut impl FnMut(&'static str, &str)) {
    let universe = if of == PortsOf::Ports { ports::ALL } else { (0, ports::ALL.1) };
    if left(&ports_of(filters, source), universe).is_empty() {
        never(codes::PORT_NEVER, "leave no port");
    }
}

fn port_ranges(set: &BTreeSet<PortRange>) -> Ranges {
    Ranges::new(set.iter().map(|range| (range.first.into(), range.last.into())))
}

/// Only sockets of IP have ports.
fn check_ported_families(
    filters: &[&ArgFilter],
    families: &[(bool, Ranges)],
    never: &mut impl FnMut(&'static str, &str),
) {
    let asked = [true, false].into_iter().any(|source| !ports_of(filters, source).is_empty());
    let families = left(families, (0, u16::MAX.into()));
    let of_ip = Ranges::new([AF_INET, AF_INET6].map(|family| (family.into(), family.into())));
    if asked && !families.is_empty() && families.intersection(&of_ip).is_empty() {
        never(codes::ADDR_FAMILY_NEVER, "exclude each other: no socket of that Family has ports");
    }
}

fn check_addresses(
    filters: &[&ArgFilter],
    source: bool,
    families: &[(bool, Ranges)],
    never: &mut impl FnMut(&'static str, &str),
) {
    let addresses = sets(filters, |test| match test {
        ArgTest::SourceAddress(set) if source => Some(addresses::to_ranges(set)),
        ArgTest::DestinationAddress(set) if !source => Some(addresses::to_ranges(set)),
        _ => None,
    });
    if addresses.is_empty() {
        return;
    }
    let addresses = left(&addresses, (0, u128::MAX));
    if addresses.is_empty() {
        never(codes::ADDR_NEVER, "leave no address");
        return;
    }
    let families = left(families, (0, u16::MAX.into()));
    let has = |family: u16| families.contains_all(&Ranges::new([(family.into(), family.into())]));
    // An AF_INET6 socket has native and mapped addresses, an AF_INET socket only IPv4, any other has none.
    let ipv4_only = has(AF_INET) && !has(AF_INET6);
    let reachable = has(AF_INET6) || (ipv4_only && !addresses.intersection(&Ranges::new([addresses::IPV4])).is_empty());
    if !families.is_empty() && !reachable {
        never(codes::ADDR_FAMILY_NEVER, "exclude each other: no socket of that Family has such an address");
    }
}

/// The sets that `pick` takes from the filters, with whether they are excluded.
fn sets(filters: &[&ArgFilter], pick: impl Fn(&ArgTest) -> Option<Ranges>) -> Vec<(bool, Ranges)> {
    filters
        .iter()
        .filter_map(|filter| Some((filter.negated, pick(&filter.test)?)))
        .filter(|(_, set)| !set.is_empty())
        .collect()
}

/// What satisfies all of `sets`.
fn left(sets: &[(bool, Ranges)], universe: (u128, u128)) -> Ranges {
    let mut left = Ranges::new([universe]);
    for (negated, set) in sets {
        left = if *negated { left.without(set) } else { left.intersection(set) };
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_bits_is_found_exactly_when_there_is_one() {
        for (first, last) in [(0, 255), (3, 9), (16, 16), (100, 130), (127, 128), (200, 254)] {
            let set = Ranges::new([(first, last)]);
            for asked in [[1, 2], [4, 64], [128, 128], [3, 12], [96, 7]] {
                for excluded in [0, 1, 8, 64, 127] {
                    let fits = |number: u64| number & excluded == 0 && asked.iter().all(|mask| number & mask != 0);
                    let expected = (first..=last).any(|number| fits(u64::try_from(number).unwrap()));
                    assert_eq!(with_bits(&set, &asked, excluded), expected, "{first}:{last} {asked:?} {excluded}");
                }
            }
        }
        assert!(with_bits(&Ranges::new([(0, u64::MAX.into())]), &[1 << 63], 1));
    }
}
