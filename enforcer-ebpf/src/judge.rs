//! What every hook's program does: end early for most, decide, act, report.

use crate::argument::{Happening, Source};
use crate::cgroup;
use crate::emit;
use crate::identity;
use crate::map::{HEAD, JUMP, RULE_COUNTS, address, count, find, find_inner};
use crate::read;
use crate::rodata::{plan, words};
use crate::scratch::{self, Scratch, User, intact, take};
use crate::table::Rows;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_send_signal, bpf_tail_call};
use core::ptr::write_volatile;
use stockade_enforcer_common::bits::MAX_RULES;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::decide::{self, Carried, EPERM, Effects, MAX_COUNTED, Outcome, Tally};
use stockade_enforcer_common::head::{CLASS_HOST, Head, RuleCounts};
use stockade_enforcer_common::plan::plan_flag;
use stockade_enforcer_common::process::ProcessRecord;

/// Judges an event; returns the errno to refuse it with, or 0.
#[inline(always)]
pub(crate) fn judge<S: Source>(source: S, user: User) -> u16 {
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
    let Some(scratch) = take(user, task) else { return 0 };
    // SAFETY: this CPU's scratch.
    unsafe {
        write_volatile(&raw mut (*scratch).cursor, 0);
        write_volatile(&raw mut (*scratch).read, 0);
        write_volatile(&raw mut (*scratch).count, 0);
    }
    let rows = Rows { slot: head.slot, user };
    let mut happening = Happening { source, scratch, user, task, record, class };
    // SAFETY: this CPU's scratch, checked below.
    let work = unsafe { &mut (*scratch).work };
    let outcome = decide::decide(head, &rows, &mut happening, work);
    if !intact(scratch, task) {
        return again(source, head, &rows, class);
    }
    let Some(outcome) = outcome else { return 0 };
    let post = outcome.post;
    // SAFETY: this CPU's scratch.
    unsafe { write_volatile(&raw mut (*scratch).outcome, outcome) }
    let mut errno = act(scratch, user, task, head.slot, outcome);
    if plan!(flags) & plan_flag::CAN_DENY == 0 {
        errno = 0;
    }
    if post {
        happening.complete();
        emit::hook(user, task, class, errno);
    }
    errno
}

/// Counts and signals; returns the errno.
#[inline(always)]
fn act(scratch: *mut Scratch, user: User, task: u64, slot: u32, outcome: Outcome) -> u16 {
    let mut carried = Carried::NOTHING;
    for _ in 0..MAX_COUNTED {
        let next = act_on_rule(user as u64, task, u64::from(outcome.rules()), u64::from(carried.at));
        carried = Carried { at: next as u32, lowest: decide::lower(carried.lowest, (next >> 32) as u32) };
        if carried.at >= MAX_RULES as u32 {
            break;
        }
    }
    carried.finish(outcome.deny, &mut Acts { scratch, task, slot })
}

/// Acts on the first rule from `at` on, of those that have fired. A function that the verifier looks at once, however many
/// rules there are; what is [`Carried`] is a number, lowest errno first, so that another task cannot disturb it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn act_on_rule(user: u64, task: u64, words: u64, at: u64) -> u64 {
    let (Some(head), scratch) = (head(), scratch::of(user)) else { return MAX_RULES as u64 };
    if scratch.is_null() {
        return MAX_RULES as u64;
    }
    let rows = Rows { slot: head.slot, user: User::Task };
    let mut effects = Acts { scratch, task, slot: head.slot };
    // SAFETY: this CPU's scratch.
    let work = unsafe { &(*scratch).work };
    let Carried { at, lowest } = decide::carry_out_rule(head, &rows, work, words as u32, at as u32, &mut effects);
    u64::from(lowest) << 32 | u64::from(at)
}

#[inline(always)]
pub(crate) fn head<'a>() -> Option<&'a Head> {
    let index = 0u32;
    // SAFETY: the array's value is a head; it does not change while it is in force.
    unsafe { find_inner::<_, Head>(&HEAD, 0, (&raw const index).cast()).as_ref() }
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

/// Another task has used the scratch in between: starts over. Where that has been tried too often, what enforces denies.
#[inline(always)]
fn again<S: Source>(source: S, head: &Head, rows: &Rows, class: u32) -> u16 {
    count(Place::ScratchRestart, 0);
    // SAFETY: the map holds this program.
    unsafe { bpf_tail_call(source.context(), address(&JUMP), plan!(jump)) };
    count(Place::ScratchGaveUp, 0);
    let deny = plan!(flags) & plan_flag::CAN_DENY != 0 && decide::contended(head, rows, words(), class);
    let errno = if deny { EPERM } else { 0 };
    emit::contended(head, class, bpf_get_current_pid_tgid(), errno);
    errno
}

/// What rules do, in the kernel.
struct Acts {
    scratch: *mut Scratch,
    task: u64,
    slot: u32,
}

impl Effects for Acts {
    #[inline(always)]
    fn count(&mut self, rule: u32, tally: Tally) {
        let row = (self.slot & 1) * MAX_RULES as u32 + rule;
        // SAFETY: the array's values are counts; the kernel adds atomically.
        unsafe {
            let counts: *mut RuleCounts = find(address(&RULE_COUNTS), (&raw const row).cast());
            if counts.is_null() {
                return;
            }
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

    #[inline(always)]
    fn intact(&self) -> bool {
        intact(self.scratch, self.task)
    }
}

/// Adds, atomically. An atomic whose old value is used does not load on 5.10, and the compiler may make one of any.
#[inline(always)]
unsafe fn add(counter: *mut u64, number: u64) {
    // SAFETY: as the caller's: a counter in a map's value.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) number, options(nostack)) }
}
