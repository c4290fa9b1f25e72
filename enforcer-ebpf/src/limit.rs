//! Rate limits: what of an event was posted shortly before is taken out of it.
//!
//! Keys and digests lie in the scratch, because the stack has no room for them; what is done for each argument and each rule is
//! done by functions that the verifier looks at once.

use crate::executable::first_bytes;
use crate::judge::{counts_of, head_of};
use crate::map::{LIMITS, SHARED, address, find, store};
use crate::read::{self, at, value};
use crate::rodata::{kernel, words};
use crate::scratch::{ARGS, Scratch, add, of};
use crate::table::Rows;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::bits::MAX_RULES;
use stockade_enforcer_common::event::MAX_EVENT;
use stockade_enforcer_common::head::RuleRow;
use stockade_enforcer_common::limit::{self, Digest, LimitKey, MAX_LIMITED, Windows, scope};
use stockade_enforcer_common::plan::MAX_ARGS;
use stockade_enforcer_common::process::Shared;
use stockade_enforcer_common::verifier::opaque;

/// What limits need of the scratch.
#[repr(C)]
pub(crate) struct Limiting {
    /// How far the arguments have been read, in bytes.
    at: u64,
    /// Bytes left of the argument under way.
    left: u64,
    /// Which it is; [`MAX_ARGS`]: none.
    position: u64,
    /// Its digest so far.
    digest: Digest,
    /// Of each argument, by position; 0 where there is none.
    digests: [u64; MAX_ARGS],
    /// A window that is asked for.
    key: LimitKey,
    now: u64,
}

/// Words of an argument that are read in one call, and calls: every argument can end in the middle of one.
const STEP_WORDS: usize = 32;
const STEPS: usize = MAX_EVENT / 8 / STEP_WORDS + MAX_ARGS + 1;

/// `BPF_NOEXIST`, and the error where there is one.
const NO_EXIST: u64 = 1;
const EEXIST: i64 = -17;

/// Takes out of what fired the rules whose events are not due. 0: nothing is left to be posted. A function that the verifier
/// looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn limit_event(space: u64, slot: u64) -> u64 {
    let (Some(head), scratch) = (head_of(slot as u32), of(space)) else { return 1 };
    if scratch.is_null() {
        return 1;
    }
    // SAFETY: the space is this run's alone.
    let limited = limit::limited(head, unsafe { &(*scratch).work }, words());
    if limited == 0 {
        return 1;
    }
    // SAFETY: as above.
    unsafe {
        let limiting = &raw mut (*scratch).limiting;
        write_volatile(&raw mut (*limiting).at, 0);
        write_volatile(&raw mut (*limiting).position, MAX_ARGS as u64);
        for position in 0..MAX_ARGS {
            write_volatile((&raw mut (*limiting).digests).cast::<u64>().add(position), 0);
        }
    }
    for _ in 0..STEPS {
        if digest_on(space) != 0 {
            break;
        }
    }
    let mut next = 0;
    for _ in 0..MAX_LIMITED {
        next = limit_on(space, slot, u64::from(limited), next);
        if next >= MAX_RULES as u64 {
            break;
        }
    }
    // SAFETY: as above.
    let (fired, post) = limit::left(head, unsafe { &(*scratch).work }, words());
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*scratch).outcome.fired, fired) }
    u64::from(post)
}

/// Digests some words of the arguments; not 0 when none is left. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn digest_on(space: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() {
        return 1;
    }
    // SAFETY: inside the scratch, which is this run's alone.
    unsafe {
        let limiting = &raw mut (*scratch).limiting;
        let mut at = read_volatile(&raw const (*limiting).at);
        if read_volatile(&raw const (*limiting).position) >= MAX_ARGS as u64 {
            let end = read_volatile(&raw const (*scratch).cursor);
            let (true, Some(header)) = (at < end, word(scratch, at)) else { return 1 };
            // Not its position, which others' arguments change: a window outlives them.
            write_volatile(&raw mut (*limiting).digest, Digest::new(secret()).add(header & !0xff));
            write_volatile(&raw mut (*limiting).position, header & 0xff);
            write_volatile(&raw mut (*limiting).left, header >> 32);
            at += 8;
        }
        let mut left = read_volatile(&raw const (*limiting).left);
        let mut digest = read_volatile(&raw const (*limiting).digest);
        for _ in 0..STEP_WORDS {
            if left == 0 {
                break;
            }
            let Some(word) = word(scratch, at) else { return 1 };
            // What is behind the end of a text is of an earlier one.
            digest = digest.add(word & first_bytes(left));
            left = if left < 8 { 0 } else { left - 8 };
            at += 8;
        }
        write_volatile(&raw mut (*limiting).at, at);
        write_volatile(&raw mut (*limiting).left, left);
        write_volatile(&raw mut (*limiting).digest, digest);
        if left == 0 {
            let position = opaque(read_volatile(&raw const (*limiting).position));
            if position >= MAX_ARGS as u64 {
                return 1;
            }
            write_volatile((&raw mut (*limiting).digests).cast::<u64>().add(position as usize), digest.finish());
            write_volatile(&raw mut (*limiting).position, MAX_ARGS as u64);
        }
    }
    0
}

/// A word of the arguments.
#[inline(always)]
fn word(scratch: *const Scratch, at: u64) -> Option<u64> {
    let at = opaque(at);
    if at > (ARGS - 8) as u64 {
        return None;
    }
    // SAFETY: inside the arguments, whose beginning is aligned, as is everything that is put down in them.
    Some(unsafe { read_volatile((&raw const (*scratch).args).cast::<u8>().add(at as usize).cast::<u64>()) })
}

/// [`Shared::secret`].
#[inline(always)]
fn secret() -> [u64; 2] {
    let index = 0u32;
    // SAFETY: the array's values are these rows.
    unsafe {
        let row: *const Shared = find(address(&SHARED), (&raw const index).cast());
        if row.is_null() {
            return [0; 2];
        }
        let secret = (&raw const (*row).secret).cast::<u64>();
        [read_volatile(secret), read_volatile(secret.add(1))]
    }
}

/// Limits the first rule from `at` on; returns where to go on. A function that the verifier looks at once, however many rules
/// there are.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn limit_on(space: u64, slot: u64, words: u64, at: u64) -> u64 {
    let slot = slot as u32;
    let (Some(head), scratch) = (head_of(slot), of(space)) else { return MAX_RULES as u64 };
    if scratch.is_null() {
        return MAX_RULES as u64;
    }
    // SAFETY: the space is this run's alone.
    let (work, limiting) = unsafe { (&mut (*scratch).work, &raw mut (*scratch).limiting) };
    let rows = Rows { slot, space };
    u64::from(limit::limit_rule(head, &rows, work, words as u32, at as u32, &mut Kept { slot, limiting }))
}

/// The windows that the hook remembers.
struct Kept {
    slot: u32,
    limiting: *mut Limiting,
}

impl Kept {
    /// Makes the key of a rule's window.
    #[inline(always)]
    fn ask(&mut self, row: &RuleRow) {
        let mut digest = Digest::new([0; 2]);
        // SAFETY: inside the scratch, which is this run's alone.
        unsafe {
            for position in 0..MAX_ARGS {
                if row.args >> position & 1 == 1 {
                    let own = (&raw const (*self.limiting).digests).cast::<u64>().add(position);
                    digest = digest.add(read_volatile(own));
                }
            }
            let key = &raw mut (*self.limiting).key;
            write_volatile(&raw mut (*key).rule, row.window);
            write_volatile(&raw mut (*key).arguments, digest.finish());
            let (task, leader) = read::current();
            let ids = bpf_get_current_pid_tgid();
            let (task, id) = match row.scope {
                scope::THREAD => (task, ids as u32),
                scope::PROCESS => (leader, (ids >> 32) as u32),
                _ => (0, 0),
            };
            let start = if task == 0 { None } else { value(self::at(task, kernel!(task_start_boottime))) };
            write_volatile(&raw mut (*key).start_ns, start.unwrap_or_default());
            write_volatile(&raw mut (*key).id, id);
            write_volatile(&raw mut (*key).reserved, 0);
        }
    }
}

impl Windows for Kept {
    #[inline(always)]
    fn is_due(&mut self, row: &RuleRow) -> bool {
        self.ask(row);
        // SAFETY: the key is the table's and in the scratch; the values are times.
        unsafe {
            let now = bpf_ktime_get_boot_ns();
            let key = &raw const (*self.limiting).key;
            let last: *mut u64 = find(address(&LIMITS), key.cast());
            if last.is_null() {
                write_volatile(&raw mut (*self.limiting).now, now);
                // Where there is no room for it, it is posted. Of two CPUs, the one that comes first.
                return store(address(&LIMITS), key.cast(), (&raw const (*self.limiting).now).cast(), NO_EXIST)
                    != EEXIST;
            }
            // Another CPU's may be later than this one's.
            if (now.wrapping_sub(read_volatile(last)) as i64) < (u64::from(row.seconds) * 1_000_000_000) as i64 {
                return false;
            }
            write_volatile(last, now);
        }
        true
    }

    #[inline(always)]
    fn count(&mut self, rule: u32) {
        let counts = counts_of(self.slot, rule);
        if !counts.is_null() {
            // SAFETY: a map's value; the kernel adds atomically.
            unsafe { add(&raw mut (*counts).limited, 1) }
        }
    }
}
