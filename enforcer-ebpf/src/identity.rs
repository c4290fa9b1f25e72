//! The record of the process that an event is of.

use crate::cgroup;
use crate::map::{MARKS, PROCESSES, SHARED, address, find};
use crate::read::{self, at, pointer, value};
use crate::rodata::kernel;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::dimension::{PID_HOST, PID_OWN};
use stockade_enforcer_common::head::CLASS_HOST;
use stockade_enforcer_common::key::NumKey;
use stockade_enforcer_common::process::{MARKS_HOST_PIDS, MARKS_OWN_PIDS, MarkRow, ProcessRecord, Shared};

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
    // SAFETY: the record is a map's value; every writer writes the same.
    unsafe {
        if read_volatile(&raw const (*record).id.tgid) == 0 {
            let tgid = bpf_get_current_pid_tgid() >> 32;
            // First what a policy says of who has this id: another thread that finds the id there judges by it.
            if shared().marks != 0 {
                mark_by_id(tgid);
            }
            write_volatile(&raw mut (*record).id.tgid, tgid as u32);
        }
    }
}

/// Gives the current process the marks of who has its ids. Once for each process, so a function of its own, which the
/// verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mark_by_id(tgid: u64) -> u64 {
    let (task, leader) = read::current();
    let record = record(leader);
    // SAFETY: a map's value or null.
    let Some(record) = (unsafe { record.as_mut() }) else { return 1 };
    let marks = shared().marks;
    if marks & MARKS_HOST_PIDS != 0 {
        mark(record, PID_HOST, tgid);
    }
    if marks & MARKS_OWN_PIDS != 0
        && let Some(own) = own_tgid(task)
    {
        mark(record, PID_OWN, u64::from(own));
    }
    0
}

/// Sets the marks of a row of MARKS.
#[inline(always)]
pub(crate) fn mark(record: &mut ProcessRecord, dimension: u32, id: u64) {
    if id == 0 {
        return;
    }
    let key = NumKey::new(dimension, id);
    // SAFETY: the map's values are rows.
    if let Some(row) = unsafe { find::<MarkRow>(address(&MARKS), (&raw const key).cast()).as_ref() } {
        let ([low, high], [new_low, new_high]) = (record.marks, row.marks);
        record.marks = [low | new_low, high | new_high];
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
