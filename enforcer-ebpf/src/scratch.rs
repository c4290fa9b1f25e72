//! Working space: one pool, each space held by one program run at a time.
//!
//! A task may be preempted in the middle of a program, or interrupted, and another run a program on this CPU meanwhile. Whoever
//! takes a space adds itself to its holders and looks whether it is alone; if not, it takes itself off again and tries the
//! next. That needs no atomic operation that tells the old value, which 5.10 does not have: whoever comes in between sees two
//! and goes on, so at worst a space stays free that could have been taken.
//!
//! A run begins with the spaces of its CPU, whose memory is near. Any number of tasks can be preempted in the middle on one CPU
//! while others have none to do, so what is free elsewhere is taken when these are held.
//!
//! There is no sharing, and so nothing to check afterwards: an earlier form shared one space and compared an owner's mark at
//! the end, and what a stale owner wrote before it compared spoilt the verdict of the next one.

use crate::limit::Limiting;
use crate::map::{SCRATCH, address, count, find};
use crate::path::Walker;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use core::ptr::read_volatile;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::decide::{Outcome, Work};
use stockade_enforcer_common::event::{HookEvent, MAX_EVENT, SocketData};
use stockade_enforcer_common::key::LpmStrKey;
use stockade_enforcer_common::process::{BinaryRow, MAX_PATH, ProcessRecord};

/// Bytes for a hook event's fixed part and its rule words.
pub(crate) const FRONT: usize = size_of::<HookEvent>() + 2 * 16 * 8;
/// Bytes for arguments.
pub(crate) const ARGS: usize = MAX_EVENT - FRONT;
/// A component is at most 255 bytes and its slash.
const MARGIN: usize = 256;

/// Working space of one program at a time.
#[repr(C)]
pub(crate) struct Scratch {
    /// How many hold it, or are about to see that they are not alone.
    pub(crate) holders: u64,
    /// The decision.
    pub(crate) work: Work,
    /// Bytes of arguments put down. In memory, like the next, so that the verifier does not follow each value of it.
    pub(crate) cursor: u64,
    /// Bit *n*: argument *n* has been put down.
    pub(crate) read: u64,
    /// How many have been.
    pub(crate) count: u64,
    /// Where the path begins.
    pub(crate) start: u64,
    /// Not 0: the path is walked from a dentry of which no mount is known.
    pub(crate) from_dentry: u64,
    /// Not 0: a path changed each time it was walked, so that nothing can be said of it.
    pub(crate) restless: u64,
    /// A walk under way.
    pub(crate) walker: Walker,
    /// What the decision asks for.
    pub(crate) outcome: Outcome,
    pub(crate) reserved_too: u32,
    /// Rule words put down.
    pub(crate) words: u64,
    /// Limits of what is reported.
    pub(crate) limiting: Limiting,
    /// What a function of its own is to read: in memory, because to the verifier it may be a pointer, and functions take
    /// numbers.
    pub(crate) address: u64,
    /// A socket.
    pub(crate) socket: SocketData,
    /// A path, built from its end.
    pub(crate) path: [u8; MAX_PATH + MARGIN],
    /// A key: text tables are asked with it.
    pub(crate) key: LpmStrKey,
    pub(crate) reserved: u32,
    /// An executable's path as stored.
    pub(crate) binary: BinaryRow,
    /// A process record as stored.
    pub(crate) record: ProcessRecord,
    /// The event's fixed part ends where its arguments begin, however many words there are.
    pub(crate) front: [u8; FRONT],
    /// The event's arguments.
    pub(crate) args: [u8; ARGS],
}

/// Spaces for each CPU: the loader makes as many for each that there is.
pub(crate) const SPACES_PER_CPU: u32 = 12;
/// Other CPUs' spaces that are tried. A run that finds none free judges nothing, and denies where a rule could
/// ([`Place::ScratchFull`]).
const ELSEWHERE: u32 = 64;

/// A space that has been taken: its number, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    pub(crate) number: u64,
    pub(crate) scratch: *mut Scratch,
}

/// No space is free.
const NONE: u64 = u64::MAX;

/// The space of this number. For functions that the verifier looks at on their own: they take numbers.
#[inline(always)]
pub(crate) fn of(number: u64) -> *mut Scratch {
    let index = number as u32;
    // SAFETY: the array's values are spaces.
    unsafe { find(address(&SCRATCH), (&raw const index).cast()) }
}

/// Takes a space; it is to be given back with [`give`], on every way.
#[inline(always)]
pub(crate) fn take() -> Option<Space> {
    let number = take_space();
    let scratch = of(number);
    if scratch.is_null() {
        count(Place::ScratchFull, 0);
        return None;
    }
    Some(Space { number, scratch })
}

/// Gives a space back.
#[inline(always)]
pub(crate) fn give(space: Space) {
    // SAFETY: the pointer is from `take`. What this run has written is there first: x86's locked addition orders it (ADR 4).
    unsafe { add(&raw mut (*space.scratch).holders, u64::MAX) }
}

/// The first space that nobody holds, or [`NONE`]. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_space() -> u64 {
    for step in 0..SPACES_PER_CPU {
        // Asked for each time: a loop from a number that the verifier does not know to another has no end that it sees.
        // SAFETY: no pointers.
        let number = unsafe { bpf_get_smp_processor_id() } as u32 * SPACES_PER_CPU + step;
        if hold(number) == Some(true) {
            return u64::from(number);
        }
    }
    for number in 0..ELSEWHERE {
        match hold(number) {
            Some(true) => return u64::from(number),
            Some(false) => {}
            None => break,
        }
    }
    NONE
}

/// Whether a space could be taken; `None` if there is no space of this number.
#[inline(always)]
fn hold(number: u32) -> Option<bool> {
    let scratch = of(u64::from(number));
    if scratch.is_null() {
        return None;
    }
    // SAFETY: a space; its holders are only ever added to.
    unsafe {
        add(&raw mut (*scratch).holders, 1);
        if read_volatile(&raw const (*scratch).holders) == 1 {
            return Some(true);
        }
        add(&raw mut (*scratch).holders, u64::MAX);
    }
    Some(false)
}

/// Adds, atomically. An atomic whose old value is used does not load on 5.10, and the compiler may make one of any.
///
/// # Safety
/// A number in a map's value.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, number: u64) {
    // SAFETY: as the caller's.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) number, options(nostack)) }
}
