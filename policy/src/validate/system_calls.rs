//! Whether filters on a system call leave any.

use super::ranges::Ranges;
use crate::ir::{Abi, Arg, ArgFilter, ArgTest, Class, Syscall};
use crate::language;

/// A system call is its ABI and its number there; the ABIs lie one behind the other.
const ABIS: [Abi; 3] = [Abi::X64, Abi::Arm64, Abi::I386];
const SIZE: u128 = 1 << 31;

/// Whether no system call satisfies all filters.
pub(super) fn none_is_left(filters: &[&ArgFilter], arg: &Arg) -> bool {
    if arg.ty.class() != Class::Syscall {
        return false;
    }
    let mut rest = Ranges::new([(0, 3 * SIZE - 1)]);
    for filter in filters {
        let Some(set) = set(&filter.test) else { continue };
        rest = if filter.negated { rest.without(&set) } else { rest.intersection(&set) };
    }
    rest.is_empty()
}

/// The calls that are listed; `None`: some may be of a kernel that is not known here.
fn set(test: &ArgTest) -> Option<Ranges> {
    let mut ranges: Vec<(u128, u128)> = Vec::new();
    match test {
        ArgTest::Number(set) => ranges.extend(set.iter().flat_map(|raw| raw_range((*raw).into(), (*raw).into()))),
        ArgTest::Range(set) => {
            ranges.extend(set.iter().flat_map(|range| raw_range(range.first.into(), range.last.into())));
        }
        ArgTest::Syscall(calls) => {
            for call in calls {
                match call {
                    Syscall::Numbered(raw) => ranges.extend(raw_range((*raw).into(), (*raw).into())),
                    Syscall::Named { abi, name } => ranges.extend(named(*abi, name)?),
                }
            }
        }
        _ => return None,
    }
    Some(Ranges::new(ranges))
}

/// Raw numbers: the highest bit says that it was called in 32 bits, without it the way is the node's own.
fn raw_range(first: u128, last: u128) -> Vec<(u128, u128)> {
    let own = (first < SIZE).then(|| (first, last.min(SIZE - 1)));
    let own = own.into_iter().flat_map(|(first, last)| [(first, last), (SIZE + first, SIZE + last)]);
    let old = (last >= SIZE).then(|| (SIZE + first.max(SIZE), SIZE + last.min(2 * SIZE - 1)));
    own.chain(old).collect()
}

fn named(abi: Option<Abi>, name: &str) -> Option<Vec<(u128, u128)>> {
    let wanted = |(_, known): &(u128, Abi)| abi.map_or(*known != Abi::I386, |abi| abi == *known);
    let places = [0, SIZE, 2 * SIZE].into_iter().zip(ABIS).filter(wanted);
    let numbers: Vec<u128> =
        places.filter_map(|(first, abi)| Some(first + u128::from(language::syscall_number(abi, name)?))).collect();
    (!numbers.is_empty()).then(|| numbers.into_iter().map(|number| (number, number)).collect())
}
