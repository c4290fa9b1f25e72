//! Whether what is asked of several arguments at once can be satisfied together with what is asked of each.

use std::collections::BTreeSet;

use super::cases::{self, Case};
use super::together;
use crate::ir::{Arg, ArgFilter, ArgTest};

/// How many pairs of numbers are tried.
const TRIED: usize = 1 << 16;
/// How many cases of several expressions are told apart.
const CASES: usize = 256;

/// Whether a test is about the argument that its filter names, and no other.
pub(super) const fn is_about_one(test: &ArgTest) -> bool {
    !matches!(test, ArgTest::Expression(_) | ArgTest::Gained { .. })
}

/// Why nothing satisfies all filters, because of those that are about several arguments.
pub(super) fn never(filters: &[ArgFilter], args: &[Arg]) -> Option<&'static str> {
    if filters.iter().all(|filter| is_about_one(&filter.test)) {
        return None;
    }
    if no_case(filters, args) {
        return Some("the expressions, and the filters on what they are about, leave no number");
    }
    let nothing = |filter: &ArgFilter| match &filter.test {
        ArgTest::Gained { new } => nothing_gained(filter, *new, filters),
        _ => false,
    };
    filters.iter().any(nothing).then_some("the filters on the capabilities leave none that could be gained")
}

fn no_case(filters: &[ArgFilter], args: &[Arg]) -> bool {
    let mut all = vec![Case::new()];
    for filter in filters {
        let ArgTest::Expression(expression) = &filter.test else { continue };
        // What is too long to be told apart asks for nothing here.
        let Some(cases) = cases::of(expression, !filter.negated, args) else { continue };
        let more = cases::both(&all, &cases);
        if more.len() > CASES {
            return false;
        }
        all = more;
    }
    let possible = |case: &Case| {
        case.iter().all(|(at, set)| {
            let own: Vec<&ArgFilter> =
                filters.iter().filter(|filter| filter.arg == *at && is_about_one(&filter.test)).collect();
            args.get(*at).is_none_or(|arg| !together::no_number(&own, arg, &[set]))
        })
    };
    !all.iter().any(possible)
}

fn nothing_gained(filter: &ArgFilter, new: usize, filters: &[ArgFilter]) -> bool {
    let contrary = ArgFilter { negated: !filter.negated, ..filter.clone() };
    if filter.negated {
        return filters.contains(&contrary);
    }
    let (before, after) = (listed(filter.arg, filters), listed(new, filters));
    match (before, after) {
        (Some(before), Some(after)) if before.len().saturating_mul(after.len()) <= TRIED => {
            !after.iter().any(|after| before.iter().any(|before| after & !before != 0))
        }
        // What is had before is anything, but for bits that each are asked for.
        (None, Some(after)) => {
            let had = masks(filter.arg, filters, false).filter(|mask| mask.is_power_of_two());
            let had = had.fold(0, |all, mask| all | mask);
            !after.iter().any(|after| after & !had != 0)
        }
        (Some(before), None) => {
            let not_had = masks(new, filters, true).fold(0, |all, mask| all | mask);
            !before.iter().any(|before| !before & !not_had != 0)
        }
        _ => false,
    }
}

fn masks(at: usize, filters: &[ArgFilter], negated: bool) -> impl Iterator<Item = u64> {
    filters.iter().filter(move |filter| filter.arg == at && filter.negated == negated).filter_map(|filter| match filter
        .test
    {
        ArgTest::Mask(mask) => Some(mask),
        _ => None,
    })
}

/// The numbers that an argument can be, if filters list them.
fn listed(at: usize, filters: &[ArgFilter]) -> Option<BTreeSet<u64>> {
    let sets = |negated: bool| {
        filters.iter().filter(move |filter| filter.arg == at && filter.negated == negated).filter_map(|filter| {
            match &filter.test {
                ArgTest::Number(set) => Some(set),
                _ => None,
            }
        })
    };
    let mut asked = sets(false);
    let first = asked.next()?.clone();
    let mut all = asked.fold(first, |all, set| &all & set);
    for set in sets(true) {
        all = &all - set;
    }
    let has = |number: &u64| {
        masks(at, filters, false).all(|mask| number & mask != 0)
            && masks(at, filters, true).all(|mask| number & mask == 0)
    };
    all.retain(has);
    Some(all)
}
