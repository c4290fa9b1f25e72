//! Masks: each has a bit in what the kernel finds out about a number.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::dimension;
use stockade_enforcer_common::head::Head;
use stockade_policy::ir::{ArgTest, CapabilitySet, Hook};

use super::tests_of::{CompiledRule, Set};

/// What a hook compares with masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Masked<A> {
    /// An argument.
    Arg(A),
    /// What the function returned.
    Returned,
    /// A set of the process's capabilities.
    Capabilities(CapabilitySet),
}

/// The masks that a hook asks about; arguments are positions in [`Hook::args`].
pub(super) fn of(hook: &Hook) -> impl Iterator<Item = (Masked<usize>, u64)> {
    hook.selectors.iter().flat_map(|selector| {
        let args = selector.args.iter().filter_map(|filter| match filter.test {
            ArgTest::Mask(mask) => Some((Masked::Arg(filter.arg), mask)),
            _ => None,
        });
        let on_return = selector.on_return.iter().flat_map(|on_return| &on_return.args);
        let returned = on_return.filter_map(|filter| match filter.test {
            ArgTest::Mask(mask) => Some((Masked::Returned, mask)),
            _ => None,
        });
        let capabilities = selector.capabilities.iter();
        args.chain(returned).chain(capabilities.map(|filter| (Masked::Capabilities(filter.set), filter.capabilities.0)))
    })
}

/// Gives each mask of a number a bit: the tests ask about bits of chunks from now on. No number has more masks than there
/// are bits.
pub(super) fn number(rules: &mut [CompiledRule], head: &mut Head) {
    let mut masks: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for (_, test) in rules.iter().flat_map(|rule| &rule.tests) {
        if let Set::Mask { of, mask } = test.set {
            masks.entry(of).or_default().insert(mask);
        }
    }
    for (dimension, test) in rules.iter_mut().flat_map(|rule| &mut rule.tests) {
        let Set::Mask { of, mask } = test.set else { continue };
        let before = masks.get(&of).map_or(0, |masks| masks.range(..mask).count());
        let slot = u32::try_from(before).unwrap_or(u32::MAX);
        let (chunk, bit) = (slot / 8, slot % 8);
        let row = of as usize * dimension::MASK_CHUNKS + chunk as usize;
        if let Some(place) = head.masks.get_mut(row).and_then(|row| row.get_mut(bit as usize)) {
            *place = mask;
        }
        *dimension = dimension::masks(of, chunk);
        test.set = Set::Mark { bit, binary: false };
    }
}
