//! Tracepoints: they observe, and can signal.

use crate::argument::Source;
use crate::judge::judge;
use crate::lsm::Arguments;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::{raw_tracepoint, tracepoint};
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use core::ffi::c_void;

/// A tracepoint's record.
#[derive(Clone, Copy)]
struct Record(*mut c_void);

impl Source for Record {
    #[inline(always)]
    fn argument(&self, _: u32) -> Option<u64> {
        None
    }

    #[inline(always)]
    fn field(&self, offset: u32, size: u32) -> Option<u64> {
        let mut word = 0u64;
        if size == 0 || size > 8 {
            return None;
        }
        // SAFETY: at most 8 bytes of the record.
        let error = unsafe {
            bpf_probe_read_kernel((&raw mut word).cast(), size, self.0.cast::<u8>().add(offset as usize).cast())
        };
        (error == 0).then_some(word)
    }

    #[inline(always)]
    fn located(&self, offset: u32) -> Option<u64> {
        let word = self.field(offset, 4)?;
        Some(self.0 as u64 + (word & 0xffff))
    }
}

/// The template of perf tracepoints.
#[tracepoint]
#[inline(always)]
pub(crate) fn tracepoint_hook(context: TracePointContext) -> u32 {
    judge(Record(context.as_ptr()));
    0
}

/// The template of raw tracepoints.
#[raw_tracepoint]
#[inline(always)]
pub(crate) fn raw_tracepoint_hook(context: RawTracePointContext) -> i32 {
    judge(Arguments(context.as_ptr()));
    0
}
