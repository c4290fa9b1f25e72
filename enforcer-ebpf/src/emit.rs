//! Events into the ring.

use crate::argument::{Happening, Source};
use crate::map::{EVENTS, address, count};
use crate::read::opaque;
use crate::rodata::plan;
use crate::scratch::{ARGS, FRONT, Scratch, intact};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid};
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit};
use core::ffi::c_void;
use core::ptr::write_volatile;
use stockade_enforcer_common::bits::{WORDS, Words};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::event::{
    EventHeader, HOOK_CONTENDED, HOOK_DENIED, HOOK_PROCESS_UNKNOWN, HOOK_SIGNALLED, HOOK_WOULD_DENY, HookEvent, MAX_EVENT,
    event_kind,
};
use stockade_enforcer_common::decide::Outcome;
use stockade_enforcer_common::head::Head;

/// The error of an event that was lost because another task has taken the scratch.
const EAGAIN: i64 = -11;
/// The error of an event for which the ring had no room.
const ENOSPC: i64 = -28;

/// Copies a record into a ring entry of `$room` bytes, the first size that fits.
macro_rules! copy_if_fits {
    ($from:expr, $size:expr, $scratch:expr, $task:expr, $($room:literal),+) => {
        $(if $size <= $room {
            let entry = bpf_ringbuf_reserve(address(&EVENTS), $room, 0);
            if entry.is_null() {
                count(Place::EventLost, ENOSPC);
                return;
            }
            let error = bpf_probe_read_kernel(entry, $size, $from);
            if error == 0 && intact($scratch, $task) {
                bpf_ringbuf_submit(entry, 0);
            } else {
                bpf_ringbuf_discard(entry, 0);
                count(Place::EventLost, if error == 0 { EAGAIN } else { error });
            }
            return;
        })+
    };
}

/// Sends `size` bytes of the scratch, beginning `before` bytes before [`Scratch::args`].
#[inline(always)]
pub(crate) fn send(scratch: *mut Scratch, task: u64, before: u32, size: u32) {
    let (before, size) = (opaque(before), opaque(size));
    if before > FRONT as u32 || size == 0 || size > MAX_EVENT as u32 {
        return;
    }
    // SAFETY: `from` is inside the scratch; what is after its end is not copied, because the helper checks nothing but the
    // caller has counted what it wrote. Entries are submitted or discarded.
    unsafe {
        let from: *const c_void = (&raw const (*scratch).args).cast::<u8>().sub(before as usize).cast();
        copy_if_fits!(from, size, scratch, task, 192, 320, 576, 1088, 2112, 4672, 8192);
    }
}

/// The header of a record.
#[inline(always)]
pub(crate) fn header(kind: u16, flags: u16, size: u32) -> EventHeader {
    // SAFETY: no arguments.
    EventHeader { size, kind, flags, time_ns: unsafe { bpf_ktime_get_boot_ns() } }
}

/// Posts what has fired.
#[inline(always)]
pub(crate) fn hook<S: Source>(head: &Head, happening: &mut Happening<S>, outcome: &Outcome, errno: u16) {
    happening.complete();
    let scratch = happening.scratch;
    // SAFETY: this CPU's scratch.
    let work = unsafe { &(*scratch).work };
    let mut words = 0;
    // The words of `faulted` are last, so they are put down first, from the end.
    words = put_words(scratch, &work.faulted, outcome.faulted, words);
    words = put_words(scratch, &work.possible, outcome.fired, words);
    let before = size_of::<HookEvent>() as u32 + words * 8;
    let cursor = opaque(happening.cursor);
    if cursor > ARGS as u32 {
        return;
    }
    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    let flags = flag(errno != 0, HOOK_DENIED)
        | flag(outcome.signal, HOOK_SIGNALLED)
        | flag(outcome.would_deny, HOOK_WOULD_DENY)
        | flag(happening.record.is_null(), HOOK_PROCESS_UNKNOWN);
    let mut event = HookEvent {
        header: header(event_kind::HOOK, flags, before + cursor),
        generation: head.generation,
        hook: plan!(hook),
        tid: bpf_get_current_pid_tgid() as u32,
        class: happening.class,
        errno,
        args: happening.count as u16,
        fired_summary: outcome.fired as u16,
        fault_summary: outcome.faulted as u16,
        ..HookEvent::default()
    };
    identify(happening, &mut event);
    let before = opaque(before);
    if before > FRONT as u32 {
        return;
    }
    // SAFETY: between the beginning of the front and the arguments.
    unsafe { *(&raw mut (*scratch).args).cast::<u8>().sub(before as usize).cast::<HookEvent>() = event }
    send(scratch, happening.task, before, before + cursor);
}

/// Whose event it is.
#[inline(always)]
fn identify<S: Source>(happening: &Happening<S>, event: &mut HookEvent) {
    // SAFETY: a map's value or null.
    match unsafe { happening.record.as_ref() } {
        Some(record) => {
            event.process = record.id;
            event.image = record.image;
            event.parent = record.parent;
            event.parent_image = record.parent_image;
            event.cgroup = record.cgroup;
            event.own_tgid = record.own_tgid;
        }
        None => event.process.tgid = (bpf_get_current_pid_tgid() >> 32) as u32,
    }
}

/// Puts the words that are not empty before those that have been put down. Returns how many there are then.
#[inline(always)]
fn put_words(scratch: *mut Scratch, from: &Words, summary: u32, mut count: u32) -> u32 {
    for index in (0..WORDS).rev() {
        if summary >> index & 1 == 0 {
            continue;
        }
        count = opaque(count);
        if count >= 2 * WORDS as u32 {
            break;
        }
        count += 1;
        let word = from.get(index).copied().unwrap_or_default();
        // SAFETY: at most 32 words before the arguments.
        unsafe { write_volatile((&raw mut (*scratch).args).cast::<u64>().sub(count as usize), word) }
    }
    count
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
        let mut event = HookEvent {
            header: header(event_kind::HOOK, flags, size_of::<HookEvent>() as u32),
            generation: head.generation,
            hook: plan!(hook),
            tid: tgid_pid as u32,
            class,
            errno,
            ..HookEvent::default()
        };
        event.process.tgid = (tgid_pid >> 32) as u32;
        *entry = event;
        bpf_ringbuf_submit(entry.cast(), 0);
    }
}
