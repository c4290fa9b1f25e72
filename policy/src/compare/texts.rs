//! Two sequences side by side, and what differs in two things that no sentence tells apart.

use serde::Serialize;
use serde_json::Value;

use super::Line;
use crate::ir::Selector;

/// What belongs together in two sequences.
pub(super) enum Pair<T> {
    /// Something that both have.
    Both(T, T),
    /// Only the first has it.
    Gone(T),
    /// Only the second has it.
    New(T),
}

/// A selector, and its position.
type At<'s> = (usize, &'s Selector);

/// So many selectors are compared each with each.
const MANY: usize = 64;

/// The selectors that differ: what stands between two that are equal belongs together in its order.
pub(super) fn paired<'s>(before: &'s [Selector], after: &'s [Selector]) -> Vec<Pair<At<'s>>> {
    let equal = if before.len() <= MANY && after.len() <= MANY { common(before, after) } else { Vec::new() };
    let mut pairs = Vec::new();
    let (mut old_start, mut new_start) = (0, 0);
    for (old_end, new_end) in equal.into_iter().chain([(before.len(), after.len())]) {
        let old: Vec<At<'s>> = before.iter().enumerate().take(old_end).skip(old_start).collect();
        let new: Vec<At<'s>> = after.iter().enumerate().take(new_end).skip(new_start).collect();
        let both = old.len().min(new.len());
        pairs.extend(old.iter().zip(&new).map(|(old, new)| Pair::Both(*old, *new)));
        pairs.extend(old.iter().skip(both).map(|old| Pair::Gone(*old)));
        pairs.extend(new.iter().skip(both).map(|new| Pair::New(*new)));
        (old_start, new_start) = (old_end + 1, new_end + 1);
    }
    pairs
}

/// The positions of a longest common subsequence.
fn common(before: &[Selector], after: &[Selector]) -> Vec<(usize, usize)> {
    // How long it is from here on, row by row from the end.
    let mut rows: Vec<Vec<usize>> = vec![vec![0; after.len() + 1]];
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(0);
    for old in before.iter().rev() {
        let below = rows.last().cloned().unwrap_or_default();
        let mut row = vec![0; after.len() + 1];
        for (column, new) in after.iter().enumerate().rev() {
            let longest =
                if old == new { at(&below, column + 1) + 1 } else { at(&below, column).max(at(&row, column + 1)) };
            row.get_mut(column).into_iter().for_each(|cell| *cell = longest);
        }
        rows.push(row);
    }
    rows.reverse();
    let length = |old: usize, new: usize| rows.get(old).map_or(0, |row| at(row, new));
    let (mut old, mut new, mut found) = (0, 0, Vec::new());
    while old < before.len() && new < after.len() {
        if before.get(old) == after.get(new) {
            found.push((old, new));
            (old, new) = (old + 1, new + 1);
        } else if length(old + 1, new) >= length(old, new + 1) {
            old += 1;
        } else {
            new += 1;
        }
    }
    found
}

/// What differs in what two things are stored as.
pub(super) fn fields<T: Serialize>(before: &T, after: &T) -> Vec<Line> {
    let value = |of: &T| serde_json::to_value(of).unwrap_or_default();
    let mut lines = Vec::new();
    differing("", &value(before), &value(after), &mut lines);
    lines
}

fn differing(path: &str, before: &Value, after: &Value, lines: &mut Vec<Line>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names.filter(|name| !["id", "uid", "generation", "index"].contains(&name.as_str())) {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let of = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                differing(&below, &of(old), &of(new), lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                differing(&format!("{path}[{at}]"), old, new, lines);
            }
        }
        _ if before == after => {}
        _ => {
            lines.push(Line::Gone(format!("{path}: {before}")));
            lines.push(Line::New(format!("{path}: {after}")));
        }
    }
}
