//! Numbers, ports and their ranges.

use serde_json::Value;

use super::case::{Case, Found, choice, one};
use super::path::element;
use super::{Edit, Reading};
use crate::validate::numbers::parse;

fn operator<'c>(case: &'c Case<'_>, levels: usize) -> &'c str {
    let filter = case.above(levels).and_then(|at| case.get(at));
    filter.and_then(|filter| filter.get("operator")).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn invalid(case: &Case<'_>) -> Found {
    let text = case.text()?;
    let plain = text.strip_prefix('+').unwrap_or(text);
    let plain = if grouped(plain) { plain.replace('_', "") } else { plain.to_owned() };
    if plain != text && parse(&plain).is_some() {
        return one(format!("{plain}, the same number"), [case.set(plain)]);
    }
    leading_zero(case, text)
}

/// Underscores between digits, as Go reads them.
fn grouped(text: &str) -> bool {
    text.contains('_') && !text.starts_with('_') && !text.ends_with('_') && !text.contains("__")
}

/// `010`: octal where the base is told by the prefix, decimal where it is always ten.
fn leading_zero(case: &Case<'_>, text: &str) -> Found {
    let digits = text.trim_start_matches('0');
    if digits.len() == text.len() || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimal = Reading::new(format!("{digits}, the decimal number"), [case.set(digits)]);
    // Inodes of namespaces, and ports, have no other base.
    let in_args = case.at.iter().rev().nth(3).is_some_and(|step| {
        matches!(step, super::Step::Field(name) if ["matchArgs", "matchData", "matchReturnArgs"].contains(&name.as_str()))
    });
    let octal = parse(&format!("0o{digits}")).filter(|_| in_args && !operator(case, 2).contains("Port"));
    let Some(octal) = octal else { return choice([decimal]) };
    let whose = if operator(case, 2).contains("InMap") { "" } else { ", which is what Tetragon reads" };
    let written = format!("0o{digits}");
    choice([
        Reading::new(format!("{written}, the octal number, {octal} in decimal{whose}"), [case.set(written)]),
        decimal,
    ])
}

/// `9:5`.
pub(super) fn range(case: &Case<'_>) -> Found {
    let (first, last) = case.text()?.split_once(':')?;
    let turned = format!("{last}:{first}");
    let list = case.get(case.above(1)?)?.as_array()?;
    let gone =
        (list.len() > 1).then(|| Reading::new("without it, as it is empty", [Edit::Remove { at: case.at.clone() }]));
    choice([Reading::new(format!("{turned}, the other way around"), [case.set(turned)])].into_iter().chain(gone))
}

/// `GT [5, 10]` is true of what is greater than any of the two: greater than 5.
pub(super) fn one_value(case: &Case<'_>) -> Found {
    let lowest = match operator(case, 1) {
        "GT" | "GreaterThan" => true,
        "LT" | "LessThan" => false,
        _ => return None,
    };
    let numbers = case.value()?.as_array()?.iter().map(|value| Some((parse(value.as_str()?)?, value.as_str()?)));
    let numbers: Vec<(i128, &str)> = numbers.collect::<Option<_>>()?;
    let (_, kept) = if lowest { numbers.iter().min() } else { numbers.iter().max() }?;
    let kept_at = numbers.iter().position(|(_, text)| text == kept)?;
    let others = (0..numbers.len()).filter(|index| *index != kept_at);
    let edits: Vec<Edit> = others.map(|index| Edit::Remove { at: element(&case.at, index) }).collect();
    one(format!("{kept} is kept: of these it is the one that decides"), edits)
}

pub(super) fn port_invalid(case: &Case<'_>) -> Found {
    let text = case.text()?;
    let canonical = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
    if let Some((first, last)) = text.split_once('-').map(|(first, last)| (first.trim(), last.trim()))
        && canonical(first)
        && canonical(last)
    {
        let written = format!("{first}:{last}");
        return one(format!("{written}, the range"), [case.set(written)]);
    }
    leading_zero(case, text)
}

/// No packet has port 0, so a range from 0 is the one from 1.
pub(super) fn port_zero(case: &Case<'_>) -> Found {
    let (_, last) = case.text()?.split_once(':').filter(|(_, last)| *last != "0")?;
    let written = format!("1:{last}");
    one(format!("{written}: 0 is no port"), [case.set(written)])
}
