//! Filters on numbers and on what has numbers: families, protocols, states, capabilities, system calls.

use std::collections::BTreeSet;

use super::capabilities;
use super::lists::{List, Lists};
use super::nearest;
use super::node::Node;
use super::ranges::Ranges;
use super::report::Report;
use super::schema::quoted;
use super::well_known;
use crate::fault::codes;
use crate::ir::{ArgTest, ArgType, Class, FileType, NumberRange, Syscall};
use crate::language::limits::MAX_BESIDE_LIST;
use crate::language::{ALL_FILE_TYPES, FILE_TYPES, Subject, TCP_STATES};

/// Ranges of fewer numbers than this are written out, so that every engine can look them up.
const FEW: u128 = 64;

/// What an operator on numbers asks: the test, with ranges only where they are of many numbers.
pub(super) fn test(
    node: &Node<'_>,
    subject: Subject,
    negated: bool,
    ty: ArgType,
    lists: &Lists,
    report: &mut Report,
) -> Option<ArgTest> {
    let set = match subject {
        Subject::Above | Subject::Below => bound(node, subject, ty, report)?,
        Subject::Mask => return mask(node, ty, report),
        Subject::Map => {
            let (mut named, mut referred) = (BTreeSet::new(), BTreeSet::new());
            let set = parse_each(node, report, |text, path, report| match lists.referred(text, path, report) {
                // The same list once more adds nothing, and may be long.
                Some(list) if referred.insert(text.to_owned()) => {
                    named.extend(syscalls(list, ty, path, report));
                    None
                }
                Some(_) => None,
                None => range(text, path, ty, report),
            });
            if !named.is_empty() {
                return Some(with_list(node, named, &set, report));
            }
            set
        }
        Subject::Range => parse_each(node, report, |text, path, report| {
            if text.contains(':') {
                return range(text, path, ty, report);
            }
            let what = format!("{} is not a range", quoted(text));
            report.fault(path, codes::NUMBER_INVALID, what, "write first:last, or use InMap for single numbers");
            None
        }),
        _ => parse_each(node, report, |text, path, report| {
            let number = one(text, path, ty, report)?;
            Some((number, number))
        }),
    };
    let written = node.count("values");
    let ranges = to_ranges(&set);
    if ranges.contains_all(&domain(ty)) && !ranges.is_empty() {
        let (code, what) = if negated {
            (codes::FILTER_NEVER, "every number that it can be is excluded")
        } else {
            (codes::FILTER_ALWAYS, "every number that it can be is listed")
        };
        report.fault(node.path_of("values"), code, what, "list fewer, or remove the filter");
    }
    Some(numbers(&ranges, written))
}

/// A set of stored numbers as a test.
fn numbers(ranges: &Ranges, written: usize) -> ArgTest {
    let count = ranges.count();
    if count <= FEW.max(4 * written as u128) {
        let each = ranges.iter().flat_map(|(first, last)| first..=last);
        return ArgTest::Number(each.filter_map(|number| u64::try_from(number).ok()).collect());
    }
    let range = |(first, last): (u128, u128)| {
        Some(NumberRange { first: u64::try_from(first).ok()?, last: u64::try_from(last).ok()? })
    };
    ArgTest::Range(ranges.iter().filter_map(range).collect())
}

/// Both sets as one test; `None`: they are no sets of numbers. Two lists stay one, which every engine can look up.
pub(super) fn union(left: &ArgTest, right: &ArgTest) -> Option<ArgTest> {
    let of = |test: &ArgTest| -> Option<Vec<(u128, u128)>> {
        match test {
            ArgTest::Number(set) => Some(set.iter().map(|number| ((*number).into(), (*number).into())).collect()),
            ArgTest::Range(set) => Some(set.iter().map(|range| (range.first.into(), range.last.into())).collect()),
            _ => None,
        }
    };
    if let (ArgTest::Number(left), ArgTest::Number(right)) = (left, right) {
        return Some(ArgTest::Number(left | right));
    }
    Some(numbers(&Ranges::new(of(left)?.into_iter().chain(of(right)?)), 0))
}

/// Ranges in the order of the type as ranges of stored numbers: a range across 0 is two.
pub(super) fn to_ranges(set: &BTreeSet<(i128, i128)>) -> Ranges {
    const SIZE: i128 = 1 << 64;
    let stored = |number: i128| u128::try_from(if number < 0 { number + SIZE } else { number }).unwrap_or(0);
    Ranges::new(set.iter().flat_map(|(first, last)| {
        let negative = (*first < 0).then(|| (stored(*first), stored((*last).min(-1))));
        let positive = (*last >= 0).then(|| (stored((*first).max(0)), stored(*last)));
        negative.into_iter().chain(positive)
    }))
}

/// Every stored number that an argument of the type can be. Of capabilities those, too, that a later kernel may have.
pub(super) fn domain(ty: ArgType) -> Ranges {
    if ty.class() == Class::Capability {
        return Ranges::new([(0, 63)]);
    }
    to_ranges(&ty.bounds().into_iter().collect())
}

/// `GT`, `LT`: of several numbers, only one would ever decide.
fn bound(node: &Node<'_>, subject: Subject, ty: ArgType, report: &mut Report) -> Option<BTreeSet<(i128, i128)>> {
    let numbers = parse_each(node, report, |text, path, report| one(text, path, ty, report));
    let operator = node.text_of("operator");
    if numbers.len() > 1 {
        let what = format!("{operator} compares with one number: of several, only one would ever decide");
        report.fault(node.path_of("values"), codes::ONE_VALUE, what, "keep the one that is meant");
    }
    let (least, most) = ty.bounds()?;
    let number = *numbers.first()?;
    let (first, last) = if subject == Subject::Above { (number + 1, most) } else { (least, number - 1) };
    if first > last {
        let what =
            format!("no {} is {} than {number}", ty.name(), if subject == Subject::Above { "greater" } else { "less" });
        report.fault(node.path_of("values"), codes::FILTER_NEVER, what, "write a number that leaves something");
        return None;
    }
    Some([(first, last)].into())
}

fn mask(node: &Node<'_>, ty: ArgType, report: &mut Report) -> Option<ArgTest> {
    let bits = parse_each(node, report, |text, path, report| {
        let number = one(text, path, ty, report)?;
        if number == 0 {
            let what = "0 has no bits, so none of them can be set";
            report.fault(path, codes::VALUE_NEVER, what, "write the bits that are meant");
            return None;
        }
        Some(number)
    });
    let width = match ty.class() {
        Class::Number { bits, .. } => u64::MAX >> (64 - bits),
        _ => u64::MAX,
    };
    let mask = bits.iter().fold(0, |mask, number| mask | two_s_complement(*number)) & width;
    Some(ArgTest::Mask(mask))
}

/// A number, of a type that may have names for its numbers.
fn one(text: &str, path: &str, ty: ArgType, report: &mut Report) -> Option<i128> {
    match ty.class() {
        Class::Capability if text.starts_with("CAP_") => {
            let number = capabilities::number(text).map(i128::from);
            if number.is_none() {
                capabilities::unknown(text, path, report);
            }
            return number;
        }
        Class::Capabilities if text.starts_with("CAP_") => {
            let mut set = 0_i128;
            for name in text.split(',') {
                match capabilities::number(name.trim()) {
                    Some(number) => set |= 1 << number,
                    None => capabilities::unknown(name.trim(), path, report),
                }
            }
            return (set != 0).then_some(set);
        }
        _ => {}
    }
    let (least, most) = ty.bounds()?;
    let number = parse(text).filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let plain = text.trim_start_matches('0');
        let octal = plain.len() < text.len() && parse(plain).is_some_and(|number| number > 0);
        let (what, help) = if octal {
            let what = format!("{} is octal for some programs and decimal for others", quoted(text));
            (what, format!("write {plain} or 0o{plain}"))
        } else {
            let what = format!("{} is not a number that the argument can be", quoted(text));
            (what, format!("write a number from {least} to {most}, decimal, or with 0x, 0o or 0b"))
        };
        report.fault(path, codes::NUMBER_INVALID, what, help);
    }
    number
}

/// `5`, `first:last`.
fn range(text: &str, path: &str, ty: ArgType, report: &mut Report) -> Option<(i128, i128)> {
    let Some((first, last)) = text.split_once(':') else {
        let number = one(text, path, ty, report)?;
        return Some((number, number));
    };
    let (first, last) = (one(first, path, ty, report)?, one(last, path, ty, report)?);
    if last < first {
        let what = format!("{} ends before it begins", quoted(text));
        report.fault(path, codes::NUMBER_RANGE, what, format!("write {last}:{first}"));
        return None;
    }
    Some((first, last))
}

/// The system calls of a list.
fn syscalls(list: &List, ty: ArgType, path: &str, report: &mut Report) -> BTreeSet<Syscall> {
    match list {
        List::Wrong => {}
        List::Syscalls(calls) if ty.class() == Class::Syscall => {
            if report.write_out(calls.len(), path) {
                let named = |(abi, name): &(_, String)| Syscall::Named { abi: *abi, name: name.clone() };
                return calls.iter().map(named).collect();
            }
        }
        List::Syscalls(_) => {
            let what = format!("{} is not the number of a system call", ty.name());
            report.fault(path, codes::LIST_INVALID, what, "compare an argument of type syscall64");
        }
        List::Functions(_) | List::Generated(_) => {
            let what = "the list has no system calls to compare with";
            report.fault(path, codes::LIST_INVALID, what, "write type: syscalls in the list");
        }
    }
    BTreeSet::new()
}

fn with_list(
    node: &Node<'_>,
    mut named: BTreeSet<Syscall>,
    beside: &BTreeSet<(i128, i128)>,
    report: &mut Report,
) -> ArgTest {
    let ranges = to_ranges(beside);
    if ranges.count() > MAX_BESIDE_LIST {
        let what =
            format!("there are {} numbers beside the list, and at most {MAX_BESIDE_LIST} can be", ranges.count());
        report.fault(node.path_of("values"), codes::TOO_MANY, what, "write a filter of its own for them");
        return ArgTest::Syscall(named);
    }
    let each = ranges.iter().flat_map(|(first, last)| first..=last);
    named.extend(each.filter_map(|number| u32::try_from(number).ok()).map(Syscall::Numbered));
    ArgTest::Syscall(named)
}

/// The low 64 bits, which for a negative number are its sign extension.
fn two_s_complement(number: i128) -> u64 {
    u64::try_from(number).unwrap_or_else(|_| u64::MAX - u64::try_from(-1 - number).unwrap_or(0))
}

/// A number as upstream reads it: decimal, or with the prefix of another base. A leading 0 alone means octal there and
/// decimal to most people, so it is not a number here.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        _ => (10, lower.as_str()),
    };
    let leading_zero = base == 10 && digits.len() > 1 && digits.starts_with('0');
    if leading_zero || digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let number = i128::from_str_radix(digits, base).ok()?;
    Some(if negative { -number } else { number })
}

/// The values of `Family`.
pub(super) fn families(node: &Node<'_>, report: &mut Report) -> BTreeSet<u16> {
    named(node, &well_known::FAMILIES, ("an address family", "a name like AF_INET"), report)
}

/// The values of `State`.
pub(super) fn states(node: &Node<'_>, report: &mut Report) -> BTreeSet<u16> {
    let states = named(node, &TCP_STATES, ("a TCP state", "a name like TCP_LISTEN"), report);
    if let Some(wrong) = states.iter().find(|state| TCP_STATES.iter().all(|(_, known)| known != *state)) {
        let what = format!("no socket is ever in state {wrong}");
        report.fault(node.path_of("values"), codes::VALUE_NEVER, what, "write a name like TCP_LISTEN");
    }
    if states.len() == TCP_STATES.len() {
        let what = "every state is listed";
        report.fault(node.path_of("values"), codes::FILTER_ALWAYS, what, "list fewer, or remove the filter");
    }
    states
}

/// The values of `FileType` and `NotFileType`.
pub(super) fn file_types(node: &Node<'_>, negated: bool, report: &mut Report) -> BTreeSet<FileType> {
    let types = parse_each(node, report, |text, path, report| {
        let found = FILE_TYPES.iter().find(|(name, _)| *name == text).map(|(_, ty)| *ty);
        if found.is_none() {
            let what = format!("{} is not a kind of file", quoted(text));
            report.fault(path, codes::UNKNOWN_VALUE, what, "write reg, dir, lnk, chr, blk, fifo or sock");
        }
        found
    });
    if types.len() == ALL_FILE_TYPES {
        let code = if negated { codes::FILTER_NEVER } else { codes::FILTER_ALWAYS };
        report.fault(node.path_of("values"), code, "every kind of file is listed", "list fewer, or remove the filter");
    }
    types
}

/// The values of `Protocol`.
pub(super) fn protocols(node: &Node<'_>, report: &mut Report) -> BTreeSet<u16> {
    named(node, &well_known::PROTOCOLS, ("a protocol", "a name like IPPROTO_TCP"), report)
}

fn named(
    node: &Node<'_>,
    names: &[(&'static str, u16)],
    (what, example): (&str, &str),
    report: &mut Report,
) -> BTreeSet<u16> {
    parse_each(node, report, |text, path, report| {
        if let Some((_, number)) = names.iter().find(|(name, _)| *name == text) {
            return Some(*number);
        }
        let number = parse(text).and_then(|number| u16::try_from(number).ok());
        if number.is_none() {
            let help =
                if report.is_flooded() { None } else { nearest::nearest(text, names.iter().map(|(name, _)| *name)) };
            let help =
                help.map_or_else(|| format!("write {example}, or a number"), |name| format!("did you mean {name}?"));
            report.fault(path, codes::UNKNOWN_VALUE, format!("{} is not {what}", quoted(text)), help);
        }
        number
    })
}

/// Parses each value; an empty list is a fault.
pub(super) fn parse_each<T: Ord>(
    node: &Node<'_>,
    report: &mut Report,
    mut parse: impl FnMut(&str, &str, &mut Report) -> Option<T>,
) -> BTreeSet<T> {
    if node.count("values") == 0 && node.field("values").is_none_or(|list| list.is_list()) {
        let what = "there is nothing to compare with";
        report.fault(
            node.path_of("values"),
            codes::VALUES_EMPTY,
            what,
            "list at least one value, or remove the filter",
        );
    }
    node.each("values").filter_map(|value| parse(value.text()?, value.path(), report)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_base_and_never_as_octal_by_accident() {
        assert_eq!(parse("64"), Some(64));
        assert_eq!(parse("0x40"), Some(64));
        assert_eq!(parse("0o100"), Some(64));
        assert_eq!(parse("0b1000000"), Some(64));
        assert_eq!(parse("-1"), Some(-1));
        assert_eq!(parse("0"), Some(0));
        for wrong in [
            "",
            "-",
            "0100",
            "1_000",
            "+1",
            " 1",
            "0x",
            "--1",
            "0x-1",
            "é",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(two_s_complement(-1), u64::MAX);
        assert_eq!(two_s_complement(i32::MIN.into()), i64::from(i32::MIN) as u64);
        assert_eq!(two_s_complement(7), 7);
    }
}
