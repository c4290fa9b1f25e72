//! What every hook's program does: end early for most, decide, act, report.

use crate::argument::{Happening, Source};
use crate::cgroup;
use crate::emit;
use crate::identity;
use crate::limit::limit_event;
use crate::map::{HEAD, RULE_COUNTS, address, count, find, find_inner};
use crate::read;
use crate::rodata::{plan, words};
use crate::scratch::{self, Space, add, give, take};
use crate::table::Rows;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_send_signal;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::bits::MAX_RULES;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::decide::{self, Carried, EPERM, Effects, MAX_COUNTED, Outcome, Tally};
use stockade_enforcer_common::head::{CLASS_HOST, HEAD_IN_FORCE, Head, RuleCounts, head_of_slot};
use stockade_enforcer_common::plan::plan_flag;
use stockade_enforcer_common::process::ProcessRecord;

/// Judges an event; returns the errno to refuse it with, or 0.
#[inline(always)]
pub(crate) fn judge<S: Source>(source: S) -> u16 {
    let Some(head) = head() else {
        count(Place::HeadMissing, 0);
        return 0;
    };
    let (task, leader) = read::current();
    let record = identity::record(leader);
    let class = class(record, task);
    if !decide::class_possible(head, class) {
        return 0;
    }
    if record.is_null() {
        count(Place::ProcessMissing, 0);
    } else {
        identity::name_process(record);
    }
    let Some(space) = take() else { return give_up(head, class) };
    let errno = judge_in(space, head, Happening { source, space, task, record, class });
    give(space);
    errno
}

/// Judges in a space that has been taken.
#[inline(always)]
fn judge_in<S: Source>(space: Space, head: &Head, mut happening: Happening<S>) -> u16 {
    let Space { number, scratch } = space;
    // SAFETY: the space is this run's alone.
    unsafe {
        write_volatile(&raw mut (*scratch).cursor, 0);
        write_volatile(&raw mut (*scratch).read, 0);
        write_volatile(&raw mut (*scratch).count, 0);
        write_volatile(&raw mut (*scratch).restless, 0);
    }
    let (slot, class) = (head.slot, happening.class);
    let rows = Rows { slot, space: number };
    // SAFETY: as above.
    let work = unsafe { &mut (*scratch).work };
    let outcome = decide::decide(head, &rows, &mut happening, work);
    // SAFETY: as above.
    if unsafe { read_volatile(&raw const (*scratch).restless) } != 0 {
        return give_up(head, class);
    }
    let Some(outcome) = outcome else { return 0 };
    let post = outcome.post;
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*scratch).outcome, outcome) }
    let mut errno = act(number, slot, outcome);
    if plan!(flags) & plan_flag::CAN_DENY == 0 {
        errno = 0;
    }
    if post {
        happening.complete();
        if plan!(flags) & plan_flag::LIMITS == 0 || limit_event(number, u64::from(slot)) != 0 {
            emit::hook(space, slot, class, errno);
        }
    }
    errno
}

/// Counts and signals; returns the errno.
#[inline(always)]
fn act(space: u64, slot: u32, outcome: Outcome) -> u16 {
    let mut carried = Carried::NOTHING;
    for _ in 0..MAX_COUNTED {
        let next = act_on_rule(space, u64::from(slot), u64::from(outcome.rules()), u64::from(carried.at));
        carried = Carried { at: next as u32, lowest: decide::lower(carried.lowest, (next >> 32) as u32) };
        if carried.at >= MAX_RULES as u32 {
            break;
        }
    }
    carried.finish(outcome.deny, &mut Acts { slot })
}

/// Acts on the first rule from `at` on, of those that have fired. A function that the verifier looks at once, however many
/// rules there are; what is [`Carried`] is a number, lowest errno first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn act_on_rule(space: u64, slot: u64, words: u64, at: u64) -> u64 {
    let slot = slot as u32;
    let (Some(head), scratch) = (head_of(slot), scratch::of(space)) else { return MAX_RULES as u64 };
    if scratch.is_null() {
        return MAX_RULES as u64;
    }
    // SAFETY: the space is this run's alone.
    let work = unsafe { &(*scratch).work };
    let Carried { at, lowest } =
        decide::carry_out_rule(head, &Rows { slot, space }, work, words as u32, at as u32, &mut Acts { slot });
    u64::from(lowest) << 32 | u64::from(at)
}

/// The head in force. One run reads it once: the next read may find another generation's.
#[inline(always)]
fn head<'a>() -> Option<&'a Head> {
    head_at(HEAD_IN_FORCE)
}

/// The head of a slot, for functions that are told the slot of the run's head. It stays as long as any run reads it.
#[inline(always)]
pub(crate) fn head_of<'a>(slot: u32) -> Option<&'a Head> {
    head_at(head_of_slot(slot))
}

#[inline(always)]
fn head_at<'a>(element: u32) -> Option<&'a Head> {
    let index = 0u32;
    // SAFETY: the arrays' values are heads; they do not change while their slot is in force.
    unsafe { find_inner::<_, Head>(&HEAD, element, (&raw const index).cast()).as_ref() }
}

/// The scope class of the process: kept with it; looked up for one that has no record, and for one that executes.
#[inline(always)]
fn class(record: *mut ProcessRecord, task: u64) -> u32 {
    if !record.is_null() {
        let class = identity::class(record);
        if class != CLASS_HOST || plan!(flags) & plan_flag::EXEC == 0 {
            return class;
        }
    }
    match cgroup::scope(task) {
        Some(scope) => scope.class,
        None => {
            count(Place::CgroupUnreadable, 0);
            CLASS_HOST
        }
    }
}

/// It cannot be judged: no space was free, or a path never stood still. Where a rule could deny, it is denied.
#[inline(always)]
fn give_up(head: &Head, class: u32) -> u16 {
    let rows = Rows { slot: head.slot, space: 0 };
    let deny = plan!(flags) & plan_flag::CAN_DENY != 0 && decide::contended(head, &rows, words(), class);
    let errno = if deny { EPERM } else { 0 };
    emit::contended(head, class, bpf_get_current_pid_tgid(), errno);
    errno
}

/// The counts of a rule of a slot; null if there are none.
#[inline(always)]
pub(crate) fn counts_of(slot: u32, rule: u32) -> *mut RuleCounts {
    let row = (slot & 1) * MAX_RULES as u32 + rule;
    // SAFETY: the array's values are counts.
    unsafe { find(address(&RULE_COUNTS), (&raw const row).cast()) }
}

/// What rules do, in the kernel.
struct Acts {
    slot: u32,
}

impl Effects for Acts {
    #[inline(always)]
    fn count(&mut self, rule: u32, tally: Tally) {
        let counts = counts_of(self.slot, rule);
        if counts.is_null() {
            return;
        }
        // SAFETY: a map's value; the kernel adds atomically.
        unsafe {
            add(&raw mut (*counts).matched, tally.matched);
            add(&raw mut (*counts).denied, tally.denied);
            add(&raw mut (*counts).would_deny, tally.would_deny);
            add(&raw mut (*counts).faults, tally.faults);
        }
    }

    #[inline(always)]
    fn send(&mut self, signal: u8) {
        // SAFETY: no pointers.
        let error = unsafe { bpf_send_signal(u32::from(signal)) };
        if error != 0 {
            count(Place::SignalFailed, error);
        }
    }

    #[inline(always)]
    fn uncounted(&mut self) {
        count(Place::FiredUncounted, 0);
    }
}
