//! Kprobes: they observe, and can signal.

use crate::argument::Source;
use crate::judge::judge;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::kprobe;
use aya_ebpf::programs::ProbeContext;
use core::ffi::c_void;

/// The registers at a function's entry.
#[derive(Clone, Copy)]
struct Registers(*mut c_void);

/// Loads a register at its offset in x86-64's `pt_regs`, which is in the instruction.
macro_rules! register {
    ($context:expr, $($index:literal => $offset:literal),+; $wanted:expr) => {
        match $wanted {
            $($index => {
                let word: u64;
                // SAFETY: the verifier checks the offset.
                unsafe {
                    core::arch::asm!(
                        "{word} = *(u64 *)({context} + {offset})",
                        word = out(reg) word,
                        context = in(reg) $context,
                        offset = const $offset,
                        options(nostack, readonly),
                    );
                }
                Some(word)
            })+
            _ => None,
        }
    };
}

impl Source for Registers {
    #[inline(always)]
    fn argument(&self, index: u32) -> Option<u64> {
        register!(self.0, 0 => 112, 1 => 104, 2 => 96, 3 => 88, 4 => 72, 5 => 64; index)
    }
}

/// The template of kprobes.
#[kprobe]
#[inline(always)]
pub(crate) fn kprobe_hook(context: ProbeContext) -> u32 {
    judge(Registers(context.as_ptr()));
    0
}
