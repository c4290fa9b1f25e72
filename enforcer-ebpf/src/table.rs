//! A hook's tables as the decision asks for them.

use crate::executable::reverse;
use crate::judge::head_of;
use crate::map::{LPM_NET, LPM_STR, NUM, RULES, STR64, STR256, VEC, count, find_inner};
use crate::read;
use crate::rodata::{dimensions, reads, words};
use crate::scratch::{ARGS, Scratch, of};
use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::bits::Vector;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::decide::{self, Combine, Outcome, Tables, Work};
use stockade_enforcer_common::dimension::{MASKED, intersects, more_of_number};
use stockade_enforcer_common::head::{Head, RuleRow};
use stockade_enforcer_common::key::{
    LpmNetKey, MAX_SHORT_TEXT, MAX_TEXT, NET_DIMENSION_BITS, NumKey, STR_DIMENSION_BITS,
};
use stockade_enforcer_common::plan::kind;
use stockade_enforcer_common::process::MAX_PATH;
use stockade_enforcer_common::verifier::opaque;

/// A text in [`Scratch::args`].
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The last offset at which a text begins: the longest still fits.
pub(crate) const LAST_TEXT: u64 = (ARGS - MAX_PATH) as u64;

/// The rows of the generation that decides.
///
/// What is looked up is looked up by functions that the verifier looks at once; a hook has more than a hundred dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) slot: u32,
    /// The number of the space that texts and the decision are in.
    pub(crate) space: u64,
}

/// A function's answer where there is no row.
const NO_ROW: u64 = u64::MAX;

/// Up to this many words of rules are looked at where they are needed; more by a function.
const FEW_WORDS: u32 = 2;

#[inline(always)]
fn row(answer: u64) -> Option<u32> {
    if answer == NO_ROW { None } else { Some(answer as u32) }
}

/// The answer for the row of `key` in a slot of `outer`.
///
/// # Safety
/// The key is one of the table's.
#[inline(always)]
unsafe fn answer<M>(outer: &M, slot: u64, key: *const c_void) -> u64 {
    // SAFETY: as the caller's; a map's value or null.
    unsafe { find_inner::<_, u32>(outer, slot as u32, key).as_ref().map_or(NO_ROW, |number| u64::from(*number)) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_number(slot: u64, dimension: u64, value: u64) -> u64 {
    let key = NumKey::new(dimension as u32, value);
    // SAFETY: the key is the table's.
    unsafe { answer(&NUM, slot, (&raw const key).cast()) }
}

/// An [`LpmNetKey`] in words: the dimension's byte is the lowest of its own.
#[repr(C)]
struct NetKey {
    prefix_length: u32,
    dimension: u32,
    value: [u64; 2],
}

const _: () = assert!(size_of::<NetKey>() == size_of::<LpmNetKey>());

/// The first `bits` bits of a value whose bytes are those of `low` and `high`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_net(slot: u64, dimension: u64, bits: u64, low: u64, high: u64) -> u64 {
    let key =
        NetKey { prefix_length: NET_DIMENSION_BITS + bits as u32, dimension: dimension as u32, value: [low, high] };
    // SAFETY: the key is the table's.
    unsafe { answer(&LPM_NET, slot, (&raw const key).cast()) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_whole(space: u64, slot: u64, dimension: u64, offset: u64, length: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() || length > MAX_TEXT as u64 {
        return NO_ROW;
    }
    // SAFETY: the keys are the tables'; all inside the scratch. The key's dimension is aligned to 4 bytes.
    unsafe {
        let key = (&raw mut (*scratch).key.dimension).cast::<u32>();
        for word in 0..16 {
            write_volatile(key.add(word), 0);
        }
        if length > MAX_SHORT_TEXT as u64 {
            for word in 16..64 {
                write_volatile(key.add(word), 0);
            }
        }
        if !fill(scratch, dimension, Text { offset, length }) || ends_with_zero(scratch, length) {
            return NO_ROW;
        }
        if length > MAX_SHORT_TEXT as u64 {
            answer(&STR256, slot, key.cast())
        } else {
            answer(&STR64, slot, key.cast())
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_prefix(space: u64, slot: u64, dimension: u64, offset: u64, length: u64) -> u64 {
    let scratch = of(space);
    // SAFETY: the key is the table's.
    unsafe {
        if scratch.is_null() || !fill(scratch, dimension, Text { offset, length }) {
            return NO_ROW;
        }
        answer(&LPM_STR, slot, (&raw const (*scratch).key).cast())
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_postfix(space: u64, slot: u64, dimension: u64, offset: u64, length: u64) -> u64 {
    let scratch = of(space);
    let (offset, length) = (opaque(offset), opaque(length));
    if scratch.is_null() || offset > LAST_TEXT || length > MAX_PATH as u64 {
        return NO_ROW;
    }
    let kept = if length > MAX_TEXT as u64 { MAX_TEXT as u64 } else { length };
    // SAFETY: inside the scratch: `offset + length` is at most `ARGS`.
    unsafe {
        let key = &raw mut (*scratch).key;
        (*key).dimension = dimension as u8;
        (*key).prefix_length = STR_DIMENSION_BITS + kept as u32 * 8;
        let end = opaque(offset + length);
        if end > ARGS as u64 {
            return NO_ROW;
        }
        // What is before the arguments can be read as well, and is masked.
        let from = (&raw const (*scratch).args).cast::<u8>().add(end as usize);
        reverse((&raw mut (*key).text).cast(), from, kept);
        answer(&LPM_STR, slot, key.cast())
    }
}

/// Whether the text of a key ends with a zero, as only a buffer's can: with the zeros after it, it would be the key of a shorter
/// one.
#[inline(always)]
fn ends_with_zero(scratch: *mut Scratch, length: u64) -> bool {
    if !reads(|kind| kind == kind::BUFFER) {
        return false;
    }
    // At most MAX_TEXT, in a way that 5.10's verifier sees too. The byte before the text is the dimension.
    let length = opaque(length) & MAX_TEXT as u64;
    // SAFETY: inside the key.
    length != 0 && unsafe { read_volatile((&raw const (*scratch).key.dimension).add(length as usize)) == 0 }
}

/// Copies up to 255 bytes of a text into the key; returns whether that can be.
#[inline(always)]
unsafe fn fill(scratch: *mut Scratch, dimension: u64, text: Text) -> bool {
    let (offset, length) = (opaque(text.offset), opaque(text.length));
    if offset > LAST_TEXT {
        return false;
    }
    let kept = if length > MAX_TEXT as u64 { MAX_TEXT as u64 } else { length };
    // SAFETY: inside the scratch.
    unsafe {
        let key = &raw mut (*scratch).key;
        (*key).dimension = dimension as u8;
        (*key).prefix_length = STR_DIMENSION_BITS + kept as u32 * 8;
        let from = (&raw const (*scratch).args).cast::<u8>().add(offset as usize);
        read::copy((&raw mut (*key).text).cast(), MAX_TEXT as u64, from, kept);
    }
    true
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn combine_rules(space: u64, slot: u64, number: u64, how: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: this CPU's scratch.
    let work = unsafe { &mut (*scratch).work };
    let how = Combine::numbered(how);
    u64::from(match vector(slot as u32, number as u32) {
        Some(vector) => decide::combine(how, work, words(), vector),
        None => how.without_vector(),
    })
}

/// [`decide::keep_number`]; 1 if any rule is left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keep_number(space: u64, slot: u64, what: u64, value: u64) -> u64 {
    if !asks_more_of_numbers() {
        return 1;
    }
    let (Some(head), scratch) = (head_of(slot as u32), of(space)) else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: the space is this run's alone.
    let work = unsafe { &mut (*scratch).work };
    u64::from(decide::keep_number(head, &Rows { slot: slot as u32, space }, what as u32, value, work, words()))
}

/// Whether the program is built for ranges or masks of anything: if not, the verifier need not look further.
#[inline(always)]
fn asks_more_of_numbers() -> bool {
    let planned = dimensions();
    (0..MASKED as u32).any(|of| intersects(&planned, &more_of_number(of)))
}

/// Returns a packed [`Outcome`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conclude_rules(space: u64, slot: u64) -> u64 {
    let (Some(head), scratch) = (head_of(slot as u32), of(space)) else { return 0 };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: this CPU's scratch.
    decide::conclude(head, words(), unsafe { &mut (*scratch).work }).packed()
}

#[inline(always)]
fn vector<'a>(slot: u32, number: u32) -> Option<&'a Vector> {
    // SAFETY: the array's values are vectors; they do not change while their slot is in force.
    let vector: *const Vector = unsafe { find_inner(&VEC, slot, (&raw const number).cast()) };
    if vector.is_null() {
        count(Place::RowMissing, 0);
    }
    // SAFETY: as above.
    unsafe { vector.as_ref() }
}

impl Rows {
    #[inline(always)]
    fn asked(&self) -> (u64, u64) {
        (self.space, u64::from(self.slot))
    }
}

impl Tables for Rows {
    type Text = Text;

    #[inline(always)]
    fn number(&self, dimension: u32, value: u64) -> Option<u32> {
        row(find_number(u64::from(self.slot), u64::from(dimension), value))
    }

    #[inline(always)]
    fn whole(&self, dimension: u32, text: Text) -> Option<u32> {
        let (space, slot) = self.asked();
        row(find_whole(space, slot, u64::from(dimension), text.offset, text.length))
    }

    #[inline(always)]
    fn prefix(&self, dimension: u32, text: Text) -> Option<u32> {
        let (space, slot) = self.asked();
        row(find_prefix(space, slot, u64::from(dimension), text.offset, text.length))
    }

    #[inline(always)]
    fn postfix(&self, dimension: u32, text: Text) -> Option<u32> {
        let (space, slot) = self.asked();
        row(find_postfix(space, slot, u64::from(dimension), text.offset, text.length))
    }

    #[inline(always)]
    fn address(&self, dimension: u32, address: &[u8; 16]) -> Option<u32> {
        let words = core::ptr::from_ref(address).cast::<u64>();
        // SAFETY: addresses are aligned in what sockets are read into.
        let (low, high) = unsafe { (read_volatile(words), read_volatile(words.add(1))) };
        row(find_net(u64::from(self.slot), u64::from(dimension), 128, low, high))
    }

    #[inline(always)]
    fn range(&self, dimension: u32, value: u64) -> Option<u32> {
        row(find_net(u64::from(self.slot), u64::from(dimension), 64, value.to_be(), 0))
    }

    #[inline(always)]
    fn port(&self, dimension: u32, port: u16) -> Option<u32> {
        row(find_net(u64::from(self.slot), u64::from(dimension), 16, u64::from(port.to_be()), 0))
    }

    #[inline(always)]
    fn vector(&self, number: u32) -> Option<&Vector> {
        vector(self.slot, number)
    }

    #[inline(always)]
    fn rule(&self, rule: u32) -> Option<RuleRow> {
        // SAFETY: the array's values are rows.
        unsafe { find_inner::<_, RuleRow>(&RULES, self.slot, (&raw const rule).cast()).as_ref().copied() }
    }

    #[inline(always)]
    fn combine(&self, how: Combine, number: u32, work: &mut Work, words: u32) -> bool {
        if words > FEW_WORDS {
            let (space, slot) = self.asked();
            return combine_rules(space, slot, u64::from(number), how as u64) != 0;
        }
        match vector(self.slot, number) {
            Some(vector) => decide::combine(how, work, words, vector),
            None => how.without_vector(),
        }
    }

    #[inline(always)]
    fn keep_number(&self, _head: &Head, of: u32, value: u64, _work: &mut Work, _words: u32) -> bool {
        let (space, slot) = self.asked();
        keep_number(space, slot, u64::from(of), value) != 0
    }

    #[inline(always)]
    fn conclude(&self, head: &Head, work: &mut Work, words: u32) -> Outcome {
        if words > FEW_WORDS {
            let (space, slot) = self.asked();
            return Outcome::unpacked(conclude_rules(space, slot));
        }
        decide::conclude(head, words, work)
    }
}
