//! Whether the filters on one argument can be satisfied together.

use std::collections::BTreeSet;

use super::addresses;
use super::args::{AF_INET, AF_INET6};
use super::numbers;
use super::ranges::Ranges;
use super::report::Report;
use super::strings;
use crate::fault::codes;
use crate::ir::{Arg, ArgFilter, ArgTest, FileType, PortRange, StringCompare};
use crate::language;

/// Whether the filters on one argument exclude each other.
pub(super) fn check(filters: &[&ArgFilter], arg: &Arg, path: &str, report: &mut Report) {
    if filters.len() < 2 {
        return;
    }
    let mut never = |code, what: &str| {
        let what = format!("the filters on argument {} {what}", arg.index);
        report.fault(path, code, what, "remove one of them");
    };
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
    if no_number(filters, arg) {
        never(codes::FILTER_NEVER, "leave no number");
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
    let texts: Vec<_> = filters.iter().filter_map(|filter| text_test(filter)).collect();
    if let Some(what) = strings::never(&texts).or_else(|| no_part(filters, &texts)) {
        never(codes::FILTER_NEVER, &format!("leave no string: {what}"));
    }
    for source in [true, false] {
        check_ports(filters, source, &mut never);
        check_addresses(filters, source, &families, &mut never);
    }
}

/// How many numbers are tried one by one against a mask.
const TRIED: u128 = 4096;

/// Whether no number satisfies all filters on numbers.
fn no_number(filters: &[&ArgFilter], arg: &Arg) -> bool {
    let wanted = sets(filters, |test| match test {
        ArgTest::Number(set) => Some(Ranges::new(set.iter().map(|number| (u128::from(*number), u128::from(*number))))),
        ArgTest::Range(set) => Some(Ranges::new(set.iter().map(|range| (range.first.into(), range.last.into())))),
        _ => None,
    });
    let masks: Vec<u64> = filters
        .iter()
        .filter_map(|filter| if let ArgTest::Mask(mask) = filter.test { Some(mask) } else { None })
        .collect();
    if wanted.is_empty() || arg.ty.bounds().is_none() {
        return false;
    }
    let mut rest = numbers::domain(arg.ty);
    for (negated, set) in &wanted {
        rest = if *negated { rest.without(set) } else { rest.intersection(set) };
    }
    let satisfied =
        |number: u128| masks.iter().all(|mask| u64::try_from(number).is_ok_and(|number| number & mask != 0));
    rest.is_empty() || (rest.count() <= TRIED && !rest.iter().flat_map(|(first, last)| first..=last).any(satisfied))
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

/// What must be equal to one of some values, and has none of the parts that are asked for.
fn no_part(filters: &[&ArgFilter], texts: &[strings::Test<'_>]) -> Option<String> {
    let exact = texts.iter().find(|test| test.compare == StringCompare::Equal && !test.negated)?;
    let has = |value: &String| {
        filters.iter().all(|filter| match &filter.test {
            ArgTest::Substring { ignore_case, values } => {
                let text = if *ignore_case { value.to_ascii_lowercase() } else { value.clone() };
                values.iter().any(|part| text.contains(part.as_str()))
            }
            _ => true,
        })
    };
    let none = !exact.values.iter().any(has);
    none.then(|| "what must be equal to one of the values has none of the parts that are asked for".into())
}

fn text_test(filter: &ArgFilter) -> Option<strings::Test<'_>> {
    match &filter.test {
        ArgTest::String(compare, values) => Some(strings::Test { compare: *compare, negated: filter.negated, values }),
        _ => None,
    }
}

fn check_ports(filters: &[&ArgFilter], source: bool, never: &mut impl FnMut(&'static str, &str)) {
    let ports = sets(filters, |test| match test {
        ArgTest::SourcePort(set) if source => Some(port_ranges(set)),
        ArgTest::DestinationPort(set) if !source => Some(port_ranges(set)),
        _ => None,
    });
    if left(&ports, (0, u16::MAX.into())).is_empty() {
        never(codes::PORT_NEVER, "leave no port");
    }
}

fn port_ranges(set: &BTreeSet<PortRange>) -> Ranges {
    Ranges::new(set.iter().map(|range| (range.first.into(), range.last.into())))
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
