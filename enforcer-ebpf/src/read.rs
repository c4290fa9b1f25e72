//! Reading the kernel's memory.

use crate::rodata::kernel;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel};
use core::mem::MaybeUninit;
use stockade_enforcer_common::offset::feature;
use stockade_enforcer_common::verifier::opaque;

/// A value at an address; `None` if it cannot be read. Every bit pattern is a `T`: it is made of integers.
#[inline(always)]
pub(crate) fn value<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes into `value`, zeros where it fails.
    unsafe {
        let error = bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        (error == 0).then_some(value.assume_init())
    }
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
            // Of its address the verifier must not know that it is a pointer: functions take numbers.
            (bpf_get_current_task(), leader)
        }
    } else {
        // SAFETY: no arguments.
        let task = unsafe { bpf_get_current_task() };
        (task, pointer(at(task, kernel!(task_group_leader))).unwrap_or(task))
    }
}

/// Copies `size` bytes if they are at most `room`. The check is right before the use, because the verifier forgets it when
/// the compiler keeps the size elsewhere in between.
///
/// # Safety
/// `to` has room for `room` bytes.
#[inline(always)]
pub(crate) unsafe fn copy(to: *mut u8, room: u64, from: *const u8, size: u64) -> bool {
    let size = opaque(size);
    if size > room {
        return false;
    }
    // SAFETY: as the caller's.
    unsafe { bpf_probe_read_kernel(to.cast(), size as u32, from.cast()) == 0 }
}
