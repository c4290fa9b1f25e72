//! Working space: per CPU, and checked like a seqlock.
//!
//! A task that is preempted may find that another has used the space in between. Each user writes its task's address first
//! and compares it at the end; whoever finds another's starts over by a tail call to itself.
//!
//! This is not tight: a task that has lost the space goes on writing until it compares, and may do so after the owner has
//! taken the space again. The stress test shows it (docs/development.md).

use crate::map::{SCRATCH, address, count, find};
use crate::path::Walker;
use core::ptr::{read_volatile, write_volatile};
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
    /// The address of the task that uses it.
    pub(crate) owner: u64,
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
    /// A walk under way.
    pub(crate) walker: Walker,
    /// What the decision asks for.
    pub(crate) outcome: Outcome,
    pub(crate) reserved_too: u32,
    /// Rule words put down.
    pub(crate) words: u64,
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

/// Who uses the space: each has its own, because one may interrupt the other in the same task.
#[derive(Clone, Copy)]
pub(crate) enum User {
    /// LSM hooks and process tracking, in the context of the task.
    Task = 0,
    /// LSM hooks that run in interrupts as well.
    Anywhere = 1,
    /// Kprobes and tracepoints.
    Tracing = 2,
}

/// The space of a user that has taken it. For functions that the verifier looks at on their own: they take numbers.
#[inline(always)]
pub(crate) fn of(user: u64) -> *mut Scratch {
    let index = user as u32;
    // SAFETY: this CPU's own row.
    unsafe { find(address(&SCRATCH), (&raw const index).cast()) }
}

/// Takes the space for a task.
#[inline(always)]
pub(crate) fn take(user: User, task: u64) -> Option<*mut Scratch> {
    let index = user as u32;
    // SAFETY: this CPU's own row; see above for who else writes it.
    unsafe {
        let scratch: *mut Scratch = find(address(&SCRATCH), (&raw const index).cast());
        if scratch.is_null() {
            count(Place::ScratchMissing, 0);
            return None;
        }
        write_volatile(&raw mut (*scratch).owner, task);
        Some(scratch)
    }
}

/// Whether nobody else has taken the space since.
#[inline(always)]
pub(crate) fn intact(scratch: *mut Scratch, task: u64) -> bool {
    // SAFETY: the pointer is from `take`.
    unsafe { read_volatile(&raw const (*scratch).owner) == task }
}

/// Gives the space up: whoever has taken it will find it taken by another, and start over.
#[inline(always)]
pub(crate) fn release(scratch: *mut Scratch) {
    // SAFETY: the pointer is from `of`.
    unsafe { write_volatile(&raw mut (*scratch).owner, 0) }
}
