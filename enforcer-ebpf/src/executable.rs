//! Executables: their paths as keys, interned, and which listed values they match.

use crate::map::{BINARIES, BINARY_LPM, BINARY_STR64, BINARY_STR256, address, count, find, find_inner, store};
use crate::path::{self, Built};
use crate::read;
use crate::scratch::{Scratch, Space, of};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::dimension::{BINARY_POSTFIX, BINARY_PREFIX};
use stockade_enforcer_common::key::{MAX_SHORT_TEXT, MAX_TEXT, STR_DIMENSION_BITS};
use stockade_enforcer_common::process::{BinaryIds, BinaryRow, MAX_PATH, ProcessRecord};
use stockade_enforcer_common::verifier::opaque;

/// 64-bit words of a text key, its dimension included.
const KEY_WORDS: usize = 32;
/// Words of the key of a short text.
const SHORT_WORDS: usize = 8;

/// Writes the keys of a path that has been built into [`Scratch::binary`], and returns its hash.
#[inline(always)]
fn prepare(scratch: *mut Scratch, path: Built) -> u64 {
    let kept = opaque(path.length);
    let kept = if kept > MAX_TEXT as u64 { MAX_TEXT as u64 } else { kept };
    // SAFETY: all inside the scratch: `start` is below MAX_PATH, and 255 bytes fit after it because of the margin.
    unsafe {
        let row = &raw mut (*scratch).binary;
        let (prefix, postfix) = words(row);
        for word in 0..KEY_WORDS {
            write_volatile(prefix.add(word), 0);
            write_volatile(postfix.add(word), 0);
        }
        let end = (&raw const (*scratch).path).cast::<u8>().add(MAX_PATH);
        read::copy((&raw mut (*row).prefix.text).cast(), MAX_TEXT as u64, path::bytes(scratch, path), kept);
        (*row).length = path.length as u32;
        (*row).used = (bpf_ktime_get_boot_ns() / 1_000_000_000) as u32;
        (*row).reserved = 0;
        (*row).reserved_too = 0;
        (*row).prefix.dimension = BINARY_PREFIX as u8;
        (*row).prefix.prefix_length = STR_DIMENSION_BITS + kept as u32 * 8;
        (*row).postfix.dimension = BINARY_POSTFIX as u8;
        (*row).postfix.prefix_length = STR_DIMENSION_BITS + kept as u32 * 8;
        // Most paths are short, and most of what follows is proportional to the words that are looked at.
        let to = (&raw mut (*row).postfix.text).cast();
        if kept <= MAX_SHORT_TEXT as u64 {
            reverse_words::<SHORT_WORDS>(to, end, kept);
            hash::<SHORT_WORDS>(path.length, prefix, postfix)
        } else {
            reverse(to, end, kept);
            hash::<KEY_WORDS>(path.length, prefix, postfix)
        }
    }
}

#[inline(always)]
unsafe fn hash<const WORDS: usize>(length: u64, prefix: *const u64, postfix: *const u64) -> u64 {
    let mut hash = length;
    for word in 0..WORDS {
        // SAFETY: as the caller's: both have as many words.
        hash = unsafe { mix(mix(hash, read_volatile(prefix.add(word))), read_volatile(postfix.add(word))) };
    }
    hash | 1
}

/// What of two rows' keys differs.
#[inline(always)]
unsafe fn differ<const WORDS: usize>(one: *mut BinaryRow, other: *mut BinaryRow) -> u64 {
    // SAFETY: as the caller's: two rows.
    unsafe {
        let ((prefix, postfix), (other_prefix, other_postfix)) = (words(one), words(other));
        let mut differ = 0;
        for word in 0..WORDS {
            differ |= read_volatile(prefix.add(word)) ^ read_volatile(other_prefix.add(word));
            differ |= read_volatile(postfix.add(word)) ^ read_volatile(other_postfix.add(word));
        }
        differ
    }
}

/// Writes the last `kept` bytes before `end` backwards, zeros after them; a word at a time and without a branch: the verifier
/// would follow everything that comes after for each length at which a loop can end.
///
/// # Safety
/// 256 bytes before `end` can be read, and `to` has room for [`MAX_TEXT`] bytes.
#[inline(always)]
pub(crate) unsafe fn reverse(to: *mut u64, end: *const u8, kept: u64) {
    // SAFETY: as the caller's.
    unsafe {
        reverse_words::<{ KEY_WORDS - 1 }>(to, end, kept);
        // The last 7 bytes of 255. Not in the loop: 6.1 takes no loop that is entered in its middle.
        let word = reversed_word(end, KEY_WORDS - 1, kept);
        let to = to.add(KEY_WORDS - 1).cast::<u8>();
        for byte in 0..7 {
            write_volatile(to.add(byte), (word >> (8 * byte)) as u8);
        }
    }
}

/// The first words of what [`reverse`] writes.
#[inline(always)]
unsafe fn reverse_words<const WORDS: usize>(to: *mut u64, end: *const u8, kept: u64) {
    for word in 0..WORDS {
        // SAFETY: as the caller's: there is room for as many words.
        unsafe { store_word(to.add(word), reversed_word(end, word, kept)) }
    }
}

/// Word `word` of what [`reverse`] writes.
#[inline(always)]
unsafe fn reversed_word(end: *const u8, word: usize, kept: u64) -> u64 {
    // SAFETY: as the caller's.
    let bytes = unsafe { read_volatile(end.sub(8 * (word + 1)).cast::<u64>()) };
    bytes.swap_bytes() & first_bytes(opaque(kept).wrapping_sub(8 * word as u64))
}

/// Stores a word anywhere. The compiler's way is a call where it may not be aligned; BPF does not mind.
#[inline(always)]
unsafe fn store_word(to: *mut u64, word: u64) {
    // SAFETY: as the caller's: there is room for it.
    unsafe { core::arch::asm!("*(u64 *)({0} + 0) = {1}", in(reg) to, in(reg) word, options(nostack)) }
}

/// A mask of the first `count` bytes of a word: none for a count below zero, all for one above eight.
#[inline(always)]
pub(crate) fn first_bytes(count: u64) -> u64 {
    let bits = (count as i64) << 3;
    let some = opaque((0i64.wrapping_sub(bits) >> 63) as u64);
    let all = opaque(!((bits.wrapping_sub(64) >> 63) as u64));
    some & (all | (1u64 << (bits & 63)).wrapping_sub(1))
}

/// The words of the path and of its reversed end, the dimensions before them included.
#[inline(always)]
unsafe fn words(row: *mut BinaryRow) -> (*mut u64, *mut u64) {
    // SAFETY: as the caller's: both are aligned to 8 bytes in the row.
    unsafe { ((&raw mut (*row).prefix.dimension).cast(), (&raw mut (*row).postfix.dimension).cast()) }
}

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 29
}

/// Stores the path in the scratch `space` as [`intern`] does. 0: not. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn intern_executable(space: u64, start: u64, length: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() {
        return 0;
    }
    let key = prepare(scratch, Built { start, length });
    intern(scratch, key)
}

/// Stores the path that has been built; returns its key in BINARIES, 0 if that fails.
#[inline(always)]
pub(crate) fn store_path(space: Space, path: Built) -> u64 {
    if path.length == 0 { 0 } else { intern_executable(space.number, path.start, path.length) }
}

/// Stores [`Scratch::binary`] under its hash unless it is there. Returns the key; 0 if it cannot be stored, or another
/// path has the same hash: better an unknown binary than a wrong one.
#[inline(always)]
fn intern(scratch: *mut Scratch, key: u64) -> u64 {
    // SAFETY: keys are hashes, values rows; the row in the scratch is complete.
    unsafe {
        let prepared = &raw mut (*scratch).binary;
        let known: *mut BinaryRow = find(address(&BINARIES), (&raw const key).cast());
        if known.is_null() {
            let error = store(address(&BINARIES), &raw const key, prepared.cast(), 0);
            if error != 0 {
                count(Place::BinaryFull, error);
                return 0;
            }
            return key;
        }
        let mut differ = u64::from((*prepared).length ^ (*known).length);
        differ |= if (*prepared).length <= MAX_SHORT_TEXT as u32 {
            self::differ::<SHORT_WORDS>(prepared, known)
        } else {
            self::differ::<KEY_WORDS>(prepared, known)
        };
        if differ != 0 {
            count(Place::BinaryFull, -17);
            return 0;
        }
        (*known).used = (*prepared).used;
        key
    }
}

/// What of a row's path is listed in a slot of the binary tables.
#[inline(always)]
pub(crate) fn look_up(row: *const BinaryRow, generation: u64, slot: u32) -> BinaryIds {
    // SAFETY: the keys are the tables'.
    unsafe {
        let length = (*row).length as usize;
        let whole = (&raw const (*row).prefix.dimension).cast();
        let exact = if length <= MAX_SHORT_TEXT {
            id(find_inner(&BINARY_STR64, slot, whole))
        } else if length <= MAX_TEXT {
            id(find_inner(&BINARY_STR256, slot, whole))
        } else {
            0
        };
        let prefix = id(find_inner(&BINARY_LPM, slot, (&raw const (*row).prefix).cast()));
        let postfix = id(find_inner(&BINARY_LPM, slot, (&raw const (*row).postfix).cast()));
        BinaryIds { generation, exact, prefix, postfix }
    }
}

#[inline(always)]
unsafe fn id(row: *const u64) -> u64 {
    // SAFETY: as the caller's: a map's value or null.
    unsafe { row.as_ref().copied().unwrap_or_default() }
}

/// What of a process's executable is listed in a generation of the binary tables; `None`: it is not known.
#[inline(always)]
pub(crate) fn ids_of(record: *mut ProcessRecord, generation: u64, slot: u32) -> Option<BinaryIds> {
    // SAFETY: the record is a map's value.
    unsafe {
        let cached = (&raw mut (*record).binary_ids).cast::<BinaryIds>().add((slot & 1) as usize);
        if read_volatile(&raw const (*cached).generation) == generation {
            let ids = read_volatile(cached);
            // A thread of the same process may be at writing another generation's.
            if read_volatile(&raw const (*cached).generation) == generation && ids.generation == generation {
                return Some(ids);
            }
        }
        let key = (*record).binary;
        if key == 0 {
            return None;
        }
        let row: *mut BinaryRow = find(address(&BINARIES), (&raw const key).cast());
        if row.is_null() {
            count(Place::BinaryMissing, 0);
            return None;
        }
        let ids = look_up(row, generation, slot);
        cache(cached, &ids);
        Some(ids)
    }
}

/// Keeps ids so that a reader never takes one generation's for another's.
#[inline(always)]
pub(crate) unsafe fn cache(place: *mut BinaryIds, ids: &BinaryIds) {
    // SAFETY: as the caller's: a place in a record.
    unsafe {
        write_volatile(&raw mut (*place).generation, 0);
        write_volatile(&raw mut (*place).exact, ids.exact);
        write_volatile(&raw mut (*place).prefix, ids.prefix);
        write_volatile(&raw mut (*place).postfix, ids.postfix);
        write_volatile(&raw mut (*place).generation, ids.generation);
    }
}

/// The address of the `struct path` of a `struct linux_binprm`'s file.
#[inline(always)]
pub(crate) fn path_of(bprm: u64) -> Option<u64> {
    let file = read::pointer(read::at(bprm, crate::rodata::kernel!(bprm_file)))?;
    Some(read::at(file, crate::rodata::kernel!(file_path)))
}
