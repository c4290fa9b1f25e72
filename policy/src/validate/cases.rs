//! What an expression asks of each argument: the cases in which it is true.

use std::collections::BTreeMap;

use super::numbers;
use super::ranges::Ranges;
use crate::ir::{Arg, Compare, Expression};

/// For some arguments, by their positions, the stored numbers that each must be one of.
pub(super) type Case = BTreeMap<usize, Ranges>;

/// How many cases are told apart.
const MOST: usize = 256;

/// The cases in which `expression` is `truth`; `None`: too many. In none of them is it never so. What calculates, or compares
/// two arguments, asks nothing that is looked at here, so there may be cases too many, but none is missing.
pub(super) fn of(expression: &Expression, truth: bool, args: &[Arg]) -> Option<Vec<Case>> {
    let of = |expression, truth| of(expression, truth, args);
    let all = match expression {
        Expression::Truth(is) if *is == truth => vec![Case::new()],
        Expression::Truth(_) => Vec::new(),
        Expression::Not(inner) => of(inner, !truth)?,
        Expression::Both(left, right) if truth => both(&of(left, true)?, &of(right, true)?),
        Expression::Either(left, right) if !truth => both(&of(left, false)?, &of(right, false)?),
        Expression::Both(left, right) | Expression::Either(left, right) => {
            [of(left, truth)?, of(right, truth)?].concat()
        }
        Expression::Same(left, right) => {
            let true_then = both(&of(left, true)?, &of(right, truth)?);
            let false_then = both(&of(left, false)?, &of(right, !truth)?);
            [true_then, false_then].concat()
        }
        Expression::Compare(compare, left, right) => comparison(*compare, left, right, truth, args),
        Expression::Number(_) | Expression::Arg(_) | Expression::Calculate(..) | Expression::Cast(..) => {
            vec![Case::new()]
        }
    };
    (all.len() <= MOST).then_some(all)
}

/// The cases in which one of each holds.
pub(super) fn both(left: &[Case], right: &[Case]) -> Vec<Case> {
    let mut all = Vec::new();
    for one in left {
        for other in right {
            let mut merged = one.clone();
            for (at, set) in other {
                let narrowed = merged.get(at).map_or_else(|| set.clone(), |known| known.intersection(set));
                merged.insert(*at, narrowed);
            }
            if merged.values().all(|set| !set.is_empty()) {
                all.push(merged);
            }
            if all.len() > MOST {
                return all;
            }
        }
    }
    all
}

fn comparison(compare: Compare, left: &Expression, right: &Expression, truth: bool, args: &[Arg]) -> Vec<Case> {
    let holds = |left: i128, right: i128| match compare {
        Compare::Equal => left == right,
        Compare::Less => left < right,
        Compare::LessOrEqual => left <= right,
    };
    let known = |is: bool| if is == truth { vec![Case::new()] } else { Vec::new() };
    let (at, range) = match (left, right) {
        (Expression::Number(left), Expression::Number(right)) => return known(holds(*left, *right)),
        (Expression::Arg(left), Expression::Arg(right)) if left == right => return known(holds(0, 0)),
        (Expression::Arg(at), Expression::Number(number)) => (
            at,
            match compare {
                Compare::Equal => (*number, *number),
                Compare::Less => (i128::MIN, number.saturating_sub(1)),
                Compare::LessOrEqual => (i128::MIN, *number),
            },
        ),
        (Expression::Number(number), Expression::Arg(at)) => (
            at,
            match compare {
                Compare::Equal => (*number, *number),
                Compare::Less => (number.saturating_add(1), i128::MAX),
                Compare::LessOrEqual => (*number, i128::MAX),
            },
        ),
        _ => return vec![Case::new()],
    };
    let Some((ty, (least, most))) = args.get(*at).and_then(|arg| Some((arg.ty, arg.ty.bounds()?))) else {
        return vec![Case::new()];
    };
    let (first, last) = (range.0.max(least), range.1.min(most));
    let inside = if first <= last { numbers::to_ranges(&[(first, last)].into()) } else { Ranges::default() };
    let set = if truth { inside } else { numbers::domain(ty).without(&inside) };
    if set.is_empty() { Vec::new() } else { vec![Case::from([(*at, set)])] }
}
