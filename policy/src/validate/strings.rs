//! Filters that compare strings and paths, byte by byte.

use std::collections::BTreeSet;

use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::StringCompare;
use crate::language::limits::{MAX_PARTS, MAX_VALUE_BYTES};

/// What kind of string is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An absolute path as the kernel writes it.
    Path,
    /// Any string without NUL.
    Text,
}

/// The values of `node`, without those that others include: what has the prefix `/etc` decides about `/etc/ssl` too.
pub(super) fn values(
    node: &Node<'_>,
    compare: StringCompare,
    negated: bool,
    kind: Kind,
    report: &mut Report,
) -> BTreeSet<String> {
    if node.count("values") == 0 && node.field("values").is_none_or(|list| list.is_list()) {
        let what = "there is nothing to compare with";
        report.fault(
            node.path_of("values"),
            codes::VALUES_EMPTY,
            what,
            "list at least one value, or remove the filter",
        );
    }
    let mut set = BTreeSet::new();
    for value in node.each("values") {
        if let Some(text) = value.text() {
            check(text, value.path(), compare, negated, kind, report);
            set.insert(text.to_owned());
        }
    }
    minimal(&set, compare)
}

/// The values of `SubString` and `SubStringIgnCase`, without those that have another value in them.
pub(super) fn parts(node: &Node<'_>, ignore_case: bool, kind: Kind, report: &mut Report) -> BTreeSet<String> {
    let set = super::numbers::parse_each(node, report, |text, path, report| {
        if text.is_empty() {
            let what = "nothing is a part of everything";
            report.fault(path, codes::FILTER_ALWAYS, what, "write what is looked for, or remove the filter");
            return None;
        }
        if text.contains('\0') {
            let what = format!("{} contains a NUL, which ends a string", quoted(text));
            report.fault(path, codes::VALUE_NEVER, what, "write it without the NUL");
            return None;
        }
        if text.len() > MAX_VALUE_BYTES {
            let what = format!("the value has {} bytes, and at most {MAX_VALUE_BYTES} can be compared", text.len());
            report.fault(path, codes::VALUE_TOO_LONG, what, "write a shorter one");
            return None;
        }
        if kind == Kind::Path && text == "/" {
            let what = "every path has a '/' in it";
            report.fault(path, codes::FILTER_ALWAYS, what, "write what is looked for, or remove the filter");
            return None;
        }
        if kind == Kind::Path
            && let Some(what) = never_within(text)
        {
            report.fault(path, codes::VALUE_NEVER, format!("{} {what}", quoted(text)), "write a part of a path");
            return None;
        }
        Some(if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() })
    });
    if set.len() > MAX_PARTS {
        let what = format!("there are {} parts to look for, and at most {MAX_PARTS} can be", set.len());
        report.fault(node.path_of("values"), codes::TOO_MANY, what, "split them over several selectors");
        return set;
    }
    set.iter()
        .filter(|value| !set.iter().any(|part| part != *value && value.contains(part.as_str())))
        .cloned()
        .collect()
}

fn check(text: &str, path: &str, compare: StringCompare, negated: bool, kind: Kind, report: &mut Report) {
    if text.len() > MAX_VALUE_BYTES {
        let what = format!("the value has {} bytes, and at most {MAX_VALUE_BYTES} can be compared", text.len());
        report.fault(path, codes::VALUE_TOO_LONG, what, "write a shorter one");
    }
    if text.is_empty() && compare != StringCompare::Equal {
        let (code, what) = if negated {
            (codes::FILTER_NEVER, "everything begins and ends with nothing, so nothing is left")
        } else {
            (codes::FILTER_ALWAYS, "everything begins and ends with nothing")
        };
        report.fault(path, code, what, "write what it begins or ends with, or remove the filter");
    } else if text == "/" && compare == StringCompare::Prefix && kind == Kind::Path {
        let (code, what) = if negated {
            (codes::FILTER_NEVER, "every path begins with '/', so nothing is left")
        } else {
            (codes::FILTER_ALWAYS, "every path begins with '/'")
        };
        report.fault(path, code, what, "write more of the beginning, or remove the filter");
    } else if let Some(what) = never_in(text, compare, kind) {
        report.fault(path, codes::VALUE_NEVER, format!("{} {what}", quoted(text)), never_help(compare, kind));
    }
}

/// Why nothing can compare with `text`.
fn never_in(text: &str, compare: StringCompare, kind: Kind) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("contains a NUL, which ends a string");
    }
    if kind == Kind::Text {
        return None;
    }
    if compare != StringCompare::Postfix && !text.starts_with('/') {
        return Some("does not begin with '/', as every path of the kernel does");
    }
    if let Some(what) = never_within(text) {
        return Some(what);
    }
    let ends_in_dots = text.ends_with("/.") || text.ends_with("/..");
    if compare == StringCompare::Equal && (ends_in_dots || (text.len() > 1 && text.ends_with('/'))) {
        return Some("ends in a way that no path of the kernel does");
    }
    if compare == StringCompare::Postfix && text.len() > 1 && (text.ends_with('/') || ends_in_dots) {
        return Some("ends in a way that no path of the kernel does");
    }
    None
}

/// Why no path has `text` in it.
fn never_within(text: &str) -> Option<&'static str> {
    let odd = ["//", "/./", "/../"].iter().any(|odd| text.contains(odd));
    odd.then_some("has a part that the kernel never writes in a path")
}

fn never_help(compare: StringCompare, kind: Kind) -> &'static str {
    match (kind, compare) {
        // Some policies write the NUL at the end of a C string: Equal compares whole strings without it.
        (Kind::Text, _) => "write it without the NUL",
        (Kind::Path, StringCompare::Postfix) => "write how the path ends",
        (Kind::Path, _) => "write the absolute path, or use Postfix for how it ends",
    }
}

/// The values that no other value includes.
pub(super) fn minimal(set: &BTreeSet<String>, compare: StringCompare) -> BTreeSet<String> {
    let included = |value: &String| match compare {
        StringCompare::Equal => false,
        StringCompare::Prefix => beginnings(value).any(|shorter| shorter.len() < value.len() && set.contains(shorter)),
        StringCompare::Postfix => ends(value).any(|shorter| shorter.len() < value.len() && set.contains(shorter)),
    };
    set.iter().filter(|value| !included(value)).cloned().collect()
}

/// Every beginning of `text` that a value can be: those of [`MAX_VALUE_BYTES`] at most.
fn beginnings(text: &str) -> impl Iterator<Item = &str> {
    (0..=text.len().min(MAX_VALUE_BYTES)).filter_map(|end| text.get(..end))
}

/// Every end of `text` that a value can be.
fn ends(text: &str) -> impl Iterator<Item = &str> {
    (text.len().saturating_sub(MAX_VALUE_BYTES)..=text.len()).filter_map(|start| text.get(start..))
}

/// A comparison with a set of values.
pub(super) struct Test<'a> {
    pub(super) compare: StringCompare,
    pub(super) negated: bool,
    pub(super) values: &'a BTreeSet<String>,
}

impl Test<'_> {
    fn holds(&self, text: &str) -> bool {
        let any = match self.compare {
            StringCompare::Equal => self.values.contains(text),
            StringCompare::Prefix => beginnings(text).any(|beginning| self.values.contains(beginning)),
            StringCompare::Postfix => ends(text).any(|end| self.values.contains(end)),
        };
        any != self.negated
    }
}

/// A search for parts.
pub(super) struct Parts<'a> {
    /// The values are in lower case, and letters are the same in both.
    pub(super) ignore_case: bool,
    pub(super) negated: bool,
    pub(super) values: &'a BTreeSet<String>,
}

impl Parts<'_> {
    fn holds(&self, text: &str) -> bool {
        self.are_in(text) != self.negated
    }

    fn are_in(&self, text: &str) -> bool {
        let lower = if self.ignore_case { text.to_ascii_lowercase() } else { String::new() };
        let text = if self.ignore_case { lower.as_str() } else { text };
        self.values.iter().any(|part| text.contains(part.as_str()))
    }
}

/// Why no string satisfies all of `tests` and of `parts`, because of the parts; `None` when one may.
pub(super) fn no_part(tests: &[Test<'_>], parts: &[Parts<'_>]) -> Option<String> {
    let positive = || tests.iter().filter(|test| !test.negated && !test.values.is_empty());
    if let Some(exact) = positive().find(|test| test.compare == StringCompare::Equal) {
        let has = |value: &&String| {
            tests.iter().all(|test| test.values.is_empty() || test.holds(value))
                && parts.iter().all(|part| part.values.is_empty() || part.holds(value))
        };
        let none = !exact.values.iter().any(|value| has(&value));
        return none.then(|| "what must be equal to one of the values has none of the parts that are asked for".into());
    }
    // Whatever begins with a text, ends with it or has it in it has its parts.
    let texts = positive().map(|test| (test.values, false));
    let within = parts.iter().filter(|part| !part.negated).map(|part| (part.values, part.ignore_case));
    let mut asked = texts.chain(within);
    let excluded: Vec<_> = parts.iter().filter(|part| part.negated && !part.values.is_empty()).collect();
    let all_excluded = |(values, any_case): (&BTreeSet<String>, bool)| {
        let is_excluded =
            |value: &String| excluded.iter().any(|part| (part.ignore_case || !any_case) && part.are_in(value));
        !values.is_empty() && values.iter().all(is_excluded)
    };
    asked.any(all_excluded).then(|| "what is asked for has a part that is excluded".into())
}

/// Why no string satisfies all of `tests`; `None` when one may.
pub(super) fn never(tests: &[Test<'_>]) -> Option<String> {
    let tests: Vec<_> = tests.iter().filter(|test| !test.values.is_empty()).collect();
    let mut exact = tests.iter().filter(|test| test.compare == StringCompare::Equal && !test.negated);
    if let Some(first) = exact.next() {
        let left = first.values.iter().any(|value| tests.iter().all(|test| test.holds(value)));
        return (!left).then(|| "what must be equal to one of the values is excluded by another filter".into());
    }
    [StringCompare::Prefix, StringCompare::Postfix].into_iter().find_map(|compare| ends_never(&tests, compare))
}

/// The same for one end of the string: the longest demands must agree, and no exclusion may be among their beginnings.
fn ends_never(tests: &[&Test<'_>], compare: StringCompare) -> Option<String> {
    let of_end = || tests.iter().filter(|test| test.compare == compare);
    let mut demanded = of_end().filter(|test| !test.negated).map(|test| test.values.clone());
    let first = demanded.next()?;
    let left = demanded.fold(first, |left, values| both_ends(&left, &values, compare));
    let left: Vec<_> =
        left.iter().filter(|value| of_end().filter(|test| test.negated).all(|test| test.holds(value))).collect();
    let end = if compare == StringCompare::Prefix { "beginning" } else { "end" };
    left.is_empty().then(|| format!("they exclude each other's {end}"))
}

/// What begins (or ends) with one of `left` and with one of `right` begins with the longer of the two.
fn both_ends(left: &BTreeSet<String>, right: &BTreeSet<String>, compare: StringCompare) -> BTreeSet<String> {
    let within = |long: &str, set: &BTreeSet<String>| Test { compare, negated: false, values: set }.holds(long);
    let of_left = left.iter().filter(|value| within(value, right));
    let of_right = right.iter().filter(|value| within(value, left));
    of_left.chain(of_right).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn a_shorter_prefix_decides_about_longer_ones() {
        let values = set(&["/etc", "/etc-x", "/etc/ssl", "/var"]);
        assert_eq!(minimal(&values, StringCompare::Prefix), set(&["/etc", "/var"]));
        assert_eq!(minimal(&set(&["rc", ".bashrc", "x"]), StringCompare::Postfix), set(&["rc", "x"]));
        assert_eq!(minimal(&values, StringCompare::Equal), values);
    }

    fn compare() -> impl Strategy<Value = StringCompare> {
        prop_oneof![Just(StringCompare::Equal), Just(StringCompare::Prefix), Just(StringCompare::Postfix)]
    }

    /// Every string of at most `length` of the letters a, b and c.
    fn strings(length: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..length {
            let to = all.len();
            for at in from..to {
                for letter in ["a", "b", "c"] {
                    all.push(format!("{}{letter}", all[at]));
                }
            }
            from = to;
        }
        all
    }

    fn satisfies(text: &str, compare: StringCompare, negated: bool, values: &BTreeSet<String>) -> bool {
        let any = values.iter().any(|value| match compare {
            StringCompare::Equal => text == value,
            StringCompare::Prefix => text.starts_with(value.as_str()),
            StringCompare::Postfix => text.ends_with(value.as_str()),
        });
        any != negated
    }

    proptest! {
        /// Values are made of a and b, so that a string with c is something that no value is about.
        #[test]
        fn never_is_said_exactly_when_no_string_satisfies_all(
            filters in prop::collection::vec((compare(), any::<bool>(), prop::collection::btree_set("[ab]{1,2}", 1..3)), 1..5)
        ) {
            let tests: Vec<_> = filters
                .iter()
                .map(|(compare, negated, values)| Test { compare: *compare, negated: *negated, values })
                .collect();
            let found = strings(5).into_iter().find(|text| {
                filters.iter().all(|(compare, negated, values)| satisfies(text, *compare, *negated, values))
            });
            prop_assert_eq!(never(&tests).is_none(), found.is_some(), "{:?}", found);
        }

        #[test]
        fn leaving_out_what_is_included_changes_nothing(
            compare in compare(), values in prop::collection::btree_set("[ab]{1,3}", 0..6)
        ) {
            let fewer = minimal(&values, compare);
            for text in strings(4) {
                prop_assert_eq!(satisfies(&text, compare, false, &values), satisfies(&text, compare, false, &fewer));
            }
        }
    }
}
