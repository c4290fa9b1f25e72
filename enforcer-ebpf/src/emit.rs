//! Events into the ring.

use crate::identity;
use crate::judge::head_of;
use crate::map::{EVENTS, address, count};
use crate::read;
use crate::rodata::plan;
use crate::scratch::{ARGS, FRONT, Scratch, Space, of};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::bits::{WORDS, Words};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::event::{
    EventHeader, HOOK_CONTENDED, HOOK_DENIED, HOOK_PROCESS_UNKNOWN, HOOK_SIGNALLED, HOOK_WOULD_DENY, HookEvent,
    MAX_EVENT, event_kind,
};
use stockade_enforcer_common::head::Head;
use stockade_enforcer_common::process::ProcessRecord;
use stockade_enforcer_common::verifier::opaque;

/// The error of an event for which the ring had no room.
const ENOSPC: i64 = -28;

/// Copies a record into a ring entry of `$room` bytes, the first size that fits.
macro_rules! copy_if_fits {
    ($from:expr, $size:expr, $($room:literal),+) => {
        $(let size = opaque($size);
        if size <= $room {
            let entry = bpf_ringbuf_reserve(address(&EVENTS), $room, 0);
            if entry.is_null() {
                count(Place::EventLost, ENOSPC);
                return 0;
            }
            let error = bpf_probe_read_kernel(entry, size as u32, $from);
            if error == 0 {
                bpf_ringbuf_submit(entry, 0);
            } else {
                bpf_ringbuf_discard(entry, 0);
                count(Place::EventLost, error);
            }
            return 0;
        })+
    };
}

/// Sends `size` bytes of the scratch, beginning `before` bytes before [`Scratch::args`].
#[inline(always)]
pub(crate) fn send(space: Space, before: u64, size: u64) {
    send_record(space.number, FRONT as u64 - before, size);
}

/// Sends `size` bytes of the scratch `space`, from `offset` of its front. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn send_record(space: u64, offset: u64, size: u64) -> u64 {
    let scratch = of(space);
    let (offset, size) = (opaque(offset), opaque(size));
    if scratch.is_null() || offset > FRONT as u64 || size == 0 || size > MAX_EVENT as u64 {
        return 1;
    }
    // SAFETY: `from` is inside the scratch; the caller has counted what it wrote. Entries are submitted or discarded.
    unsafe {
        let from: *const c_void = (&raw const (*scratch).front).cast::<u8>().add(offset as usize).cast();
        copy_if_fits!(from, size, 192, 320, 576, 1088, 2112, 4672, 8192);
    }
    1
}

/// The header of a record.
#[inline(always)]
pub(crate) fn header(kind: u16, flags: u16, size: u32) -> EventHeader {
    // SAFETY: no arguments.
    EventHeader { size, kind, flags, time_ns: unsafe { bpf_ktime_get_boot_ns() } }
}

/// Posts what has fired, with the arguments that have been put down.
#[inline(always)]
pub(crate) fn hook(space: Space, slot: u32, class: u32, errno: u16) {
    post_event(space.number, u64::from(slot), u64::from(class), u64::from(errno));
}

/// A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn post_event(space: u64, slot: u64, class: u64, errno: u64) -> u64 {
    let (Some(head), scratch) = (head_of(slot as u32), of(space)) else { return 1 };
    if scratch.is_null() {
        return 1;
    }
    let (_, leader) = read::current();
    let record = identity::record(leader);
    // SAFETY: this CPU's scratch.
    let (work, outcome) = unsafe { (&(*scratch).work, &raw const (*scratch).outcome) };
    // SAFETY: as above.
    let (fired, faulted) =
        unsafe { (read_volatile(&raw const (*outcome).fired), read_volatile(&raw const (*outcome).faulted)) };
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*scratch).words, 0) }
    // The words of `faulted` are last, so they are put down first, from the end.
    put_words(scratch, &work.faulted, faulted);
    put_words(scratch, &work.possible, fired);
    // SAFETY: as above.
    let (words, cursor, args) = unsafe {
        (
            read_volatile(&raw const (*scratch).words),
            read_volatile(&raw const (*scratch).cursor),
            read_volatile(&raw const (*scratch).count),
        )
    };
    let (front, cursor) = (opaque(size_of::<HookEvent>() as u64 + words * 8), opaque(cursor));
    if front < size_of::<HookEvent>() as u64 || front > FRONT as u64 || cursor > ARGS as u64 {
        return 1;
    }
    // SAFETY: as above.
    let (signal, would_deny) = unsafe { ((*outcome).signal, (*outcome).would_deny) };
    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    let flags = flag(errno != 0, HOOK_DENIED)
        | flag(signal, HOOK_SIGNALLED)
        | flag(would_deny, HOOK_WOULD_DENY)
        | flag(record.is_null(), HOOK_PROCESS_UNKNOWN);
    // SAFETY: between the beginning of the front and the arguments.
    let event: *mut HookEvent = unsafe {
        let offset = opaque(FRONT as u64 - front);
        if offset > (FRONT - size_of::<HookEvent>()) as u64 {
            return 1;
        }
        (&raw mut (*scratch).front).cast::<u8>().add(offset as usize).cast()
    };
    clear(event);
    identify(record, event);
    // SAFETY: as above.
    unsafe {
        (*event).header = header(event_kind::HOOK, flags, (front + cursor) as u32);
        (*event).generation = head.generation;
        (*event).hook = plan!(hook);
        (*event).tid = bpf_get_current_pid_tgid() as u32;
        (*event).class = class as u32;
        (*event).errno = errno as u16;
        (*event).args = args as u16;
        (*event).fired_summary = fired as u16;
        (*event).fault_summary = faulted as u16;
    }
    send_record(space, FRONT as u64 - front, front + cursor)
}

/// Zeros, word by word: the compiler's way is a call, which the verifier follows byte by byte.
#[inline(always)]
fn clear(event: *mut HookEvent) {
    for word in 0..size_of::<HookEvent>() / 8 {
        // SAFETY: inside the event.
        unsafe { write_volatile(event.cast::<u64>().add(word), 0) }
    }
}

/// Whose event it is.
#[inline(always)]
fn identify(record: *const ProcessRecord, event: *mut HookEvent) {
    // SAFETY: the event is the caller's; the record is a map's value or null.
    unsafe {
        match record.as_ref() {
            Some(record) => {
                // Process, image, parent and the parent's image, in the same order.
                let from = (&raw const record.id).cast::<u64>();
                let to = (&raw mut (*event).process).cast::<u64>();
                for word in 0..8 {
                    write_volatile(to.add(word), read_volatile(from.add(word)));
                }
                (*event).cgroup = record.cgroup;
                (*event).own_tgid = record.own_tgid;
            }
            None => (*event).process.tgid = (bpf_get_current_pid_tgid() >> 32) as u32,
        }
    }
}

/// Puts the words that are not empty before those that have been put down.
#[inline(always)]
fn put_words(scratch: *mut Scratch, from: &Words, summary: u32) {
    for index in (0..WORDS).rev() {
        if summary >> index & 1 == 0 {
            continue;
        }
        let word = from.get(index).copied().unwrap_or_default();
        // SAFETY: at most 32 words before the arguments.
        unsafe {
            let count = read_volatile(&raw const (*scratch).words) + 1;
            let place = opaque((FRONT / 8) as u64 - count);
            if place >= (FRONT / 8) as u64 {
                break;
            }
            write_volatile((&raw mut (*scratch).front).cast::<u64>().add(place as usize), word);
            write_volatile(&raw mut (*scratch).words, count);
        }
    }
}

/// Posts that a check was given up: nothing but the fixed part, because nothing else can be trusted.
#[inline(always)]
pub(crate) fn contended(head: &Head, class: u32, tgid_pid: u64, errno: u16) {
    // SAFETY: the entry is written whole and submitted.
    unsafe {
        let entry = bpf_ringbuf_reserve(address(&EVENTS), size_of::<HookEvent>() as u64, 0).cast::<HookEvent>();
        if entry.is_null() {
            count(Place::EventLost, ENOSPC);
            return;
        }
        let flags = HOOK_CONTENDED | if errno == 0 { 0 } else { HOOK_DENIED };
        clear(entry);
        (*entry).header = header(event_kind::HOOK, flags, size_of::<HookEvent>() as u32);
        (*entry).generation = head.generation;
        (*entry).hook = plan!(hook);
        (*entry).tid = tgid_pid as u32;
        (*entry).class = class;
        (*entry).errno = errno;
        (*entry).process.tgid = (tgid_pid >> 32) as u32;
        bpf_ringbuf_submit(entry.cast(), 0);
    }
}
