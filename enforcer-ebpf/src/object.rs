//! Named objects of the kernel that no rule asks about and events report: programs and maps of BPF, perf events, modules.

use crate::argument::put;
use crate::read::{at, pointer, value};
use crate::rodata::{kernel, reads};
use crate::scratch::of;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::event::{OBJECT_NAME, OBJECT_UNKNOWN, ObjectData, arg_status};
use stockade_enforcer_common::offset::MISSING;
use stockade_enforcer_common::plan::{MAX_ARGS, kind};

/// Where `union bpf_attr` has what `BPF_PROG_LOAD` says. It is what processes are compiled for, so it does not move.
mod program_load {
    pub(super) const KIND: u32 = 0;
    pub(super) const LENGTH: u32 = 4;
    pub(super) const NAME: u32 = 48;
}

/// The first `perf_event_attr.type` that is a device's, as those of kprobes and uprobes are; only there is the word that a
/// name is read through an address.
const FIRST_DEVICE: u64 = 6;

/// Puts down what is at [`crate::scratch::Scratch::address`]; 0 if it could be read. A function that the verifier looks at
/// once, and whose stack is its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_object(space: u64, position: u64, kind: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() || !reads(kind::is_object) || position >= MAX_ARGS as u64 {
        return 1;
    }
    // SAFETY: the space is this run's alone.
    let raw = unsafe { read_volatile(&raw const (*scratch).address) };
    let kind = kind as u32;
    let numbers = numbers(raw, kind);
    let Some(name) = name(raw, kind, numbers) else { return 1 };
    let length = size_of::<ObjectData>() as u64;
    let Some(place) = put(scratch, position as u32, kind, arg_status::READ, length) else { return 0 };
    let place = place.cast::<ObjectData>();
    // SAFETY: `put` has made room.
    unsafe {
        write_volatile(&raw mut (*place).numbers, numbers);
        let to = (&raw mut (*place).name).cast::<u64>();
        for word in 0..OBJECT_NAME / 8 {
            write_volatile(to.add(word), 0);
        }
        // What cannot be read leaves zeros.
        if kind == kind::PERF_EVENT {
            bpf_probe_read_user_str(to.cast(), OBJECT_NAME as u32, name as *const c_void);
        } else {
            bpf_probe_read_kernel_str(to.cast(), OBJECT_NAME as u32, name as *const c_void);
        }
    }
    0
}

/// What [`ObjectData::numbers`] has of an object.
#[inline(always)]
fn numbers(raw: u64, kind: u32) -> [u64; 4] {
    const NONE: u64 = OBJECT_UNKNOWN;
    match kind {
        kind::BPF_ATTR => {
            [number::<u32>(raw, program_load::KIND), number::<u32>(raw, program_load::LENGTH), NONE, NONE]
        }
        kind::BPF_PROGRAM => {
            [number::<u32>(raw, kernel!(bpf_program_kind)), number::<u32>(raw, kernel!(bpf_program_length)), NONE, NONE]
        }
        kind::BPF_MAP => [
            number::<u32>(raw, kernel!(bpf_map_kind)),
            number::<u32>(raw, kernel!(bpf_map_key_size)),
            number::<u32>(raw, kernel!(bpf_map_value_size)),
            number::<u32>(raw, kernel!(bpf_map_max_entries)),
        ],
        kind::PERF_EVENT => [
            number::<u32>(raw, kernel!(perf_kind)),
            number::<u64>(raw, kernel!(perf_config)),
            number::<u64>(raw, kernel!(perf_probe_offset)),
            NONE,
        ],
        kind::MODULE => {
            [number::<u8>(raw, kernel!(module_signed)), number::<u64>(raw, kernel!(module_taints)), NONE, NONE]
        }
        _ => [number::<u8>(raw, kernel!(load_signed)), NONE, NONE, NONE],
    }
}

/// Where the object's name is; 0: it has none. `None`: the object cannot be read.
#[inline(always)]
fn name(raw: u64, kind: u32, numbers: [u64; 4]) -> Option<u64> {
    let [first, ..] = numbers;
    match kind {
        kind::BPF_PROGRAM => Some(at(pointer(at(raw, kernel!(bpf_program_aux)))?, kernel!(bpf_aux_name))),
        kind::LOAD_INFO => pointer(at(raw, kernel!(load_name))),
        kind::MODULE => {
            let name = at(raw, kernel!(module_name));
            value::<u8>(name).map(|_| name)
        }
        // Their type is always there.
        _ if first == OBJECT_UNKNOWN => None,
        kind::BPF_ATTR => Some(at(raw, program_load::NAME)),
        kind::BPF_MAP => Some(at(raw, kernel!(bpf_map_name))),
        _ if first < FIRST_DEVICE => Some(0),
        _ => value(at(raw, kernel!(perf_probe_function))),
    }
}

/// The number at an offset, whatever its width.
#[inline(always)]
fn number<T: Copy + Into<u64>>(raw: u64, offset: u32) -> u64 {
    if offset == MISSING {
        return OBJECT_UNKNOWN;
    }
    value::<T>(at(raw, offset)).map_or(OBJECT_UNKNOWN, Into::into)
}
