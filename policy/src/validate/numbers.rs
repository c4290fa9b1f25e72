//! Filters on numbers, families and protocols.

use std::collections::BTreeSet;

use super::nearest;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use super::well_known;
use crate::fault::codes;
use crate::ir::ArgType;

/// The values of `Equal` and `NotEqual` on a number of type `ty`, sign-extended to 64 bits.
pub(super) fn values(node: &Node<'_>, ty: ArgType, report: &mut Report) -> BTreeSet<u64> {
    let (least, most): (i128, i128) = match ty {
        ArgType::Int => (i32::MIN.into(), i32::MAX.into()),
        ArgType::Uint32 => (0, u32::MAX.into()),
        _ => (0, u64::MAX.into()),
    };
    parse_each(node, report, |text, path, report| {
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
        number.map(two_s_complement)
    })
}

/// The low 64 bits, which for a negative number are its sign extension.
fn two_s_complement(number: i128) -> u64 {
    u64::try_from(number).unwrap_or_else(|_| u64::MAX - u64::try_from(-1 - number).unwrap_or(0))
}

/// A number as upstream reads it: decimal, or with the prefix of another base. A leading 0 alone means octal there and
/// decimal to most people, so it is not a number here.
fn parse(text: &str) -> Option<i128> {
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
    let values = node.list("values");
    if values.is_empty() && node.field("values").is_none_or(|list| list.is_list()) {
        let what = "there is nothing to compare with";
        report.fault(
            node.path_of("values"),
            codes::VALUES_EMPTY,
            what,
            "list at least one value, or remove the filter",
        );
    }
    values.iter().filter_map(|value| parse(value.text()?, value.path(), report)).collect()
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
