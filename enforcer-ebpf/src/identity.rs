//! The record of the process that an event is of.

use crate::cgroup;
use crate::map::{PROCESSES, SHARED, address, find};
use crate::read::{at, pointer, value};
use crate::rodata::kernel;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::head::CLASS_HOST;
use stockade_enforcer_common::process::{ProcessRecord, Shared};

/// `PIDTYPE_TGID` in `signal_struct.pids`.
const TGID: u64 = 1;

/// The record of a leader; null if there is none.
#[inline(always)]
pub(crate) fn record(leader: u64) -> *mut ProcessRecord {
    // SAFETY: keys are addresses, values records.
    unsafe { find(address(&PROCESSES), (&raw const leader).cast()) }
}

/// The row that all programs read; zeros if the loader has not made it.
#[inline(always)]
pub(crate) fn shared() -> Shared {
    let index = 0u32;
    // SAFETY: the array's values are these rows.
    unsafe { find::<Shared>(address(&SHARED), (&raw const index).cast()).as_ref().copied().unwrap_or_default() }
}

/// `Shared::scope_epoch`.
#[inline(always)]
fn epoch() -> u32 {
    let index = 0u32;
    // SAFETY: the array's values are these rows.
    unsafe {
        let row: *mut Shared = find(address(&SHARED), (&raw const index).cast());
        if row.is_null() { 0 } else { read_volatile(&raw const (*row).scope_epoch) }
    }
}

/// A scope class as it is kept in a record.
#[inline(always)]
pub(crate) fn packed(epoch: u32, class: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(class)
}

/// The scope class of a record; looked up again after cgroups have been registered.
#[inline(always)]
pub(crate) fn class(record: *mut ProcessRecord) -> u32 {
    // SAFETY: the record is a map's value; one word is never torn.
    unsafe {
        let (scope, epoch) = (read_volatile(&raw const (*record).scope), epoch());
        if (scope >> 32) as u32 == epoch {
            return scope as u32;
        }
        let class = match cgroup::class((*record).cgroup) {
            Some(class) => class,
            None => cgroup::class((*record).scope_cgroup).unwrap_or(CLASS_HOST),
        };
        write_volatile(&raw mut (*record).scope, packed(epoch, class));
        class
    }
}

/// The process's id, which was not known when it was forked. Only for the record of the current process.
#[inline(always)]
pub(crate) fn name_process(record: *mut ProcessRecord) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: the record is a map's value; every writer writes the same.
    unsafe {
        if (*record).id.tgid == 0 {
            write_volatile(&raw mut (*record).id.tgid, tgid);
        }
    }
}

/// The thread group's id in its own pid namespace.
#[inline(always)]
pub(crate) fn own_tgid(task: u64) -> Option<u32> {
    let signal = pointer(at(task, kernel!(task_signal)))?;
    let pid = pointer(at(signal, kernel!(signal_pids)) + TGID * 8)?;
    let level: u32 = value(at(pid, kernel!(pid_level)))?;
    value(at(pid, kernel!(pid_numbers)) + u64::from(level & 31) * 16 + u64::from(kernel!(upid_nr)))
}
