//! A hook's tables as the decision asks for them.

use crate::executable::reverse;
use crate::map::{LPM_NET, LPM_STR, NUM, RULES, STR64, STR256, VEC, count, find_inner};
use crate::read;
use crate::scratch::{ARGS, Scratch};
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::bits::Vector;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::decide::Tables;
use stockade_enforcer_common::head::RuleRow;
use stockade_enforcer_common::key::{
    LpmNetKey, MAX_SHORT_TEXT, MAX_TEXT, NET_DIMENSION_BITS, NumKey, STR_DIMENSION_BITS,
};
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
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) slot: u32,
    pub(crate) scratch: *mut Scratch,
}

impl Rows {
    /// Copies up to 255 bytes of a text into the key; returns how many, or `None` if that fails.
    #[inline(always)]
    unsafe fn fill(&self, dimension: u32, text: Text) -> Option<u64> {
        let (offset, length) = (opaque(text.offset), opaque(text.length));
        if offset > LAST_TEXT {
            return None;
        }
        let kept = if length > MAX_TEXT as u64 { MAX_TEXT as u64 } else { length };
        // SAFETY: inside the scratch.
        unsafe {
            let key = &raw mut (*self.scratch).key;
            (*key).dimension = dimension as u8;
            (*key).prefix_length = STR_DIMENSION_BITS + kept as u32 * 8;
            let from = (&raw const (*self.scratch).args).cast::<u8>().add(offset as usize);
            read::copy((&raw mut (*key).text).cast(), MAX_TEXT as u64, from, kept);
        }
        Some(kept)
    }
}

#[inline(always)]
unsafe fn number(row: *const u32) -> Option<u32> {
    // SAFETY: as the caller's: a map's value or null.
    unsafe { row.as_ref().copied() }
}

/// An [`LpmNetKey`] in words: the dimension's byte is the lowest of its own.
#[repr(C)]
struct NetKey {
    prefix_length: u32,
    dimension: u32,
    value: [u32; 4],
}

const _: () = assert!(size_of::<NetKey>() == size_of::<LpmNetKey>());

impl Tables for Rows {
    type Text = Text;

    #[inline(always)]
    fn number(&self, dimension: u32, value: u64) -> Option<u32> {
        let key = NumKey::new(dimension, value);
        // SAFETY: the key is the table's.
        unsafe { number(find_inner(&NUM, self.slot, (&raw const key).cast())) }
    }

    #[inline(always)]
    fn whole(&self, dimension: u32, text: Text) -> Option<u32> {
        if text.length as usize > MAX_TEXT {
            return None;
        }
        // SAFETY: the keys are the tables'; all inside the scratch. The key's dimension is aligned to 4 bytes.
        unsafe {
            let key = (&raw mut (*self.scratch).key.dimension).cast::<u32>();
            let words = if text.length as usize > MAX_SHORT_TEXT { 64 } else { 16 };
            for word in 0..64 {
                if word >= words {
                    break;
                }
                write_volatile(key.add(word), 0);
            }
            self.fill(dimension, text)?;
            if text.length as usize > MAX_SHORT_TEXT {
                number(find_inner(&STR256, self.slot, key.cast()))
            } else {
                number(find_inner(&STR64, self.slot, key.cast()))
            }
        }
    }

    #[inline(always)]
    fn prefix(&self, dimension: u32, text: Text) -> Option<u32> {
        // SAFETY: the key is the table's.
        unsafe {
            self.fill(dimension, text)?;
            number(find_inner(&LPM_STR, self.slot, (&raw const (*self.scratch).key).cast()))
        }
    }

    #[inline(always)]
    fn postfix(&self, dimension: u32, text: Text) -> Option<u32> {
        let (offset, length) = (opaque(text.offset), opaque(text.length));
        if offset > LAST_TEXT || length > MAX_PATH as u64 {
            return None;
        }
        let kept = if length > MAX_TEXT as u64 { MAX_TEXT as u64 } else { length };
        // SAFETY: inside the scratch: `offset + length` is at most `ARGS`.
        unsafe {
            let key = &raw mut (*self.scratch).key;
            (*key).dimension = dimension as u8;
            (*key).prefix_length = STR_DIMENSION_BITS + kept as u32 * 8;
            let end = opaque(offset + length);
            if end > ARGS as u64 {
                return None;
            }
            // What is before the arguments can be read as well, and is masked.
            let from = (&raw const (*self.scratch).args).cast::<u8>().add(end as usize);
            reverse((&raw mut (*key).text).cast(), from, kept);
            number(find_inner(&LPM_STR, self.slot, key.cast()))
        }
    }

    #[inline(always)]
    fn address(&self, dimension: u32, address: &[u8; 16]) -> Option<u32> {
        let words = core::ptr::from_ref(address).cast::<u32>();
        // SAFETY: addresses are aligned in what sockets are read into; the key is the table's.
        unsafe {
            let key = NetKey {
                prefix_length: NET_DIMENSION_BITS + 128,
                dimension,
                value: [
                    read_volatile(words),
                    read_volatile(words.add(1)),
                    read_volatile(words.add(2)),
                    read_volatile(words.add(3)),
                ],
            };
            number(find_inner(&LPM_NET, self.slot, (&raw const key).cast()))
        }
    }

    #[inline(always)]
    fn port(&self, dimension: u32, port: u16) -> Option<u32> {
        let value = [u32::from(port.to_be()), 0, 0, 0];
        let key = NetKey { prefix_length: NET_DIMENSION_BITS + 16, dimension, value };
        // SAFETY: the key is the table's.
        unsafe { number(find_inner(&LPM_NET, self.slot, (&raw const key).cast())) }
    }

    #[inline(always)]
    fn vector(&self, number: u32) -> Option<&Vector> {
        // SAFETY: the array's values are vectors; they do not change while their slot is in force.
        let vector: *const Vector = unsafe { find_inner(&VEC, self.slot, (&raw const number).cast()) };
        if vector.is_null() {
            count(Place::RowMissing, 0);
        }
        // SAFETY: as above.
        unsafe { vector.as_ref() }
    }

    #[inline(always)]
    fn rule(&self, rule: u32) -> Option<RuleRow> {
        // SAFETY: the array's values are rows.
        unsafe { find_inner::<_, RuleRow>(&RULES, self.slot, (&raw const rule).cast()).as_ref().copied() }
    }
}
