//! Read-only data, set at load. The verifier knows its values and drops what they rule out.

use stockade_enforcer_common::dimension::DimensionSet;
use stockade_enforcer_common::offset::Kernel;
use stockade_enforcer_common::plan::{ArgPlan, MAX_ARGS, MAX_CHAIN, Plan};

#[unsafe(no_mangle)]
pub(crate) static KERNEL: Kernel = Kernel::UNKNOWN;

#[unsafe(no_mangle)]
pub(crate) static PLAN: Plan = Plan {
    hook: 0,
    flags: 0,
    dimensions: [0; 2],
    result_index: 0,
    words: 0,
    reserved: [0; 2],
    args: [ArgPlan { kind: 0, source: 0, index: 0, size: 0, flags: 0, depth: 0, chain: [0; MAX_CHAIN] }; MAX_ARGS],
};

/// A field of [`KERNEL`]; the compiler must not know it.
macro_rules! kernel {
    ($field:ident) => {
        // SAFETY: a field of a static.
        unsafe { core::ptr::read_volatile(&raw const $crate::rodata::KERNEL.$field) }
    };
}
pub(crate) use kernel;

/// A field of [`PLAN`].
macro_rules! plan {
    ($field:ident) => {
        // SAFETY: a field of a static.
        unsafe { core::ptr::read_volatile(&raw const $crate::rodata::PLAN.$field) }
    };
}
pub(crate) use plan;

/// A field of an argument's plan.
macro_rules! arg {
    ($arg:expr, $field:ident) => {
        // SAFETY: every caller's `arg` is below MAX_ARGS.
        unsafe {
            core::ptr::read_volatile(
                &raw const (*(&raw const $crate::rodata::PLAN.args)
                    .cast::<stockade_enforcer_common::plan::ArgPlan>()
                    .add($arg as usize))
                .$field,
            )
        }
    };
}
pub(crate) use arg;

/// Whether any argument that the program reads is of such a kind; what is for others only, the verifier drops.
#[inline(always)]
pub(crate) fn reads(is: impl Fn(u32) -> bool) -> bool {
    (0..MAX_ARGS as u32).any(|arg| is(arg!(arg, kind)))
}

/// The dimensions that the program is built for.
#[inline(always)]
pub(crate) fn dimensions() -> DimensionSet {
    // SAFETY: fields of a static.
    unsafe {
        let words = (&raw const PLAN.dimensions).cast::<u64>();
        [core::ptr::read_volatile(words), core::ptr::read_volatile(words.add(1))]
    }
}

/// An offset of an argument's chain of pointers.
#[inline(always)]
pub(crate) fn chain(arg: u32, step: usize) -> u32 {
    // SAFETY: every caller's `arg` is below MAX_ARGS and `step` below MAX_CHAIN.
    unsafe {
        let args = (&raw const PLAN.args).cast::<ArgPlan>();
        core::ptr::read_volatile((&raw const (*args.add(arg as usize)).chain).cast::<u32>().add(step))
    }
}

/// Words of rules that are looked at; all, where the loader does not say.
#[inline(always)]
pub(crate) fn words() -> u32 {
    match plan!(words) {
        0 => stockade_enforcer_common::bits::WORDS as u32,
        words => words,
    }
}
