//! Returns of functions: they observe what came of a call, with its arguments.

use crate::judge::judge;
use crate::lsm::Arguments;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;

/// The template of returns; its function is chosen at load. What a function returned comes after its arguments.
#[fexit]
#[inline(always)]
pub(crate) fn fexit_hook(context: FExitContext) -> i32 {
    judge(Arguments(context.as_ptr()));
    0
}
