//! Reading the kernel's memory.

use crate::rodata::kernel;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel};
use stockade_enforcer_common::offset::feature;

/// A value at an address; `None` if it cannot be read.
#[inline(always)]
pub(crate) fn value<T: Copy + Default>(address: u64) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the helper writes `size_of::<T>()` bytes into `value`, for which any bytes are valid, or fails.
    let error = unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, address as *const _) };
    (error == 0).then_some(value)
}

/// The pointer at an address; `None` if it cannot be read or is null.
#[inline(always)]
pub(crate) fn pointer(address: u64) -> Option<u64> {
    value::<u64>(address).filter(|pointer| *pointer != 0)
}

/// `base` and an offset.
#[inline(always)]
pub(crate) fn at(base: u64, offset: u32) -> u64 {
    base + u64::from(offset)
}

/// The current task and the leader of its thread group, by their addresses.
#[inline(always)]
pub(crate) fn current() -> (u64, u64) {
    if kernel!(features) & feature::CURRENT_TASK_BTF != 0 {
        // SAFETY: the verifier knows the type of what the helper returns and that the offset is the leader's.
        unsafe {
            let task = bpf_get_current_task_btf().cast::<u8>();
            let leader = *task.add(kernel!(task_group_leader) as usize).cast::<u64>();
            (task as u64, leader)
        }
    } else {
        // SAFETY: no arguments.
        let task = unsafe { bpf_get_current_task() };
        (task, pointer(at(task, kernel!(task_group_leader))).unwrap_or(task))
    }
}

/// The same value, of which the compiler knows nothing: what is checked after it stays checked.
#[inline(always)]
pub(crate) fn opaque(value: u32) -> u32 {
    let mut value = u64::from(value);
    // SAFETY: no instructions.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value as u32
}
