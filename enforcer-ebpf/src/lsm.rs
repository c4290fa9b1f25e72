//! LSM hooks: the only programs whose result decides.

use crate::argument::Source;
use crate::judge::judge;
use crate::rodata::plan;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::ffi::c_void;
use stockade_enforcer_common::plan::plan_flag;

/// The context of an LSM hook, and of BTF tracepoints and iterators: an array of arguments.
#[derive(Clone, Copy)]
pub(crate) struct Arguments(pub(crate) *mut c_void);

/// Loads a word of the context at an offset that is in the instruction: the verifier accepts no other, and the compiler
/// would compute an address.
macro_rules! word {
    ($context:expr, $($index:literal),+; $wanted:expr) => {
        match $wanted {
            $($index => {
                let word: u64;
                // SAFETY: the verifier checks that the hook has this argument.
                unsafe {
                    core::arch::asm!(
                        "{word} = *(u64 *)({context} + {offset})",
                        word = out(reg) word,
                        context = in(reg) $context,
                        offset = const $index * 8,
                        options(nostack, readonly),
                    );
                }
                Some(word)
            })+
            _ => None,
        }
    };
}

impl Source for Arguments {
    #[inline(always)]
    fn argument(&self, index: u32) -> Option<u64> {
        word!(self.0, 0, 1, 2, 3, 4, 5, 6, 7, 8; index)
    }
}

/// The template of LSM hooks; its hook is chosen at load.
#[lsm]
#[inline(always)]
pub(crate) fn lsm_hook(context: LsmContext) -> i32 {
    let arguments = Arguments(context.as_ptr());
    let can_deny = plan!(flags) & plan_flag::CAN_DENY != 0;
    if can_deny {
        // Another program has refused already.
        let before = arguments.argument(plan!(result_index)).unwrap_or_default() as i32;
        if before != 0 {
            return clamped(i64::from(before));
        }
    }
    let errno = judge(arguments);
    if can_deny { clamped(-i64::from(errno)) } else { 0 }
}

/// What an LSM hook may return; anything else refuses. The verifier of newer kernels wants to see it.
#[inline(always)]
fn clamped(result: i64) -> i32 {
    let mut result = result;
    // SAFETY: no instructions.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) result, options(nomem, nostack, preserves_flags)) };
    if (-4095..=0).contains(&result) { result as i32 } else { -1 }
}
