//! The maps. Which of them are shared and which are a hook's own is in `stockade_enforcer_common::name`.

use crate::scratch::{SPACES_PER_CPU, Scratch, add};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_map_update_elem};
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use stockade_enforcer_common::bits::{MAX_RULES, Vector};
use stockade_enforcer_common::counter::{Counter, PLACES, Place};
use stockade_enforcer_common::head::{HEADS, Head, RuleCounts, RuleRow};
use stockade_enforcer_common::key::{NumKey, StrKey64, StrKey256};
use stockade_enforcer_common::limit::{LimitKey, WINDOWS};
use stockade_enforcer_common::process::{BinaryRow, CgroupRow, MarkChange, MarkRow, ProcessRecord, Shared};

/// `BPF_F_INNER_MAP`: inner arrays may differ in size.
const INNER: usize = 1 << 12;
/// `BPF_F_NO_PREALLOC`: tries cannot be made otherwise; of others only what they hold costs memory.
const NO_PREALLOC: usize = 1;

/// The data of an LPM key: its dimension and the text after it.
type Text = [u8; 256];
/// The data of an LPM key: its dimension, padding and an address.
type Net = [u8; 20];

#[btf_map]
pub(crate) static PROCESSES: HashMap<u64, ProcessRecord, 16384> = HashMap::new();
#[btf_map]
pub(crate) static BINARIES: HashMap<u64, BinaryRow, 1024> = HashMap::new();
#[btf_map]
pub(crate) static CGROUPS: HashMap<u64, CgroupRow, 2048> = HashMap::new();
#[btf_map]
pub(crate) static MARKS: HashMap<NumKey, MarkRow, 1024> = HashMap::new();
#[btf_map]
pub(crate) static MARK_CHANGES: HashMap<u64, MarkChange, 16384, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub(crate) static SHARED: Array<Shared, 1> = Array::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<u8, 1048576> = RingBuf::new();
#[btf_map]
pub(crate) static SCRATCH: Array<Scratch, { SPACES_PER_CPU as usize }> = Array::new();
#[btf_map]
pub(crate) static BINARY_STR64: ArrayOfMaps<HashMap<StrKey64, u64, 1>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static BINARY_STR256: ArrayOfMaps<HashMap<StrKey256, u64, 1>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static BINARY_LPM: ArrayOfMaps<LpmTrie<Text, u64, 1, NO_PREALLOC>, 2> = ArrayOfMaps::new();

#[btf_map]
pub(crate) static HEAD: ArrayOfMaps<Array<Head, 1>, { HEADS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static NUM: ArrayOfMaps<HashMap<NumKey, u32, 1>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static STR64: ArrayOfMaps<HashMap<StrKey64, u32, 1>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static STR256: ArrayOfMaps<HashMap<StrKey256, u32, 1>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static LPM_STR: ArrayOfMaps<LpmTrie<Text, u32, 1, NO_PREALLOC>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static LPM_NET: ArrayOfMaps<LpmTrie<Net, u32, 1, NO_PREALLOC>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static VEC: ArrayOfMaps<Array<Vector, 1, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static RULES: ArrayOfMaps<Array<RuleRow, 1, INNER>, 2> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static RULE_COUNTS: Array<RuleCounts, { 2 * MAX_RULES }> = Array::new();
#[btf_map]
pub(crate) static LIMITS: LruHashMap<LimitKey, u64, { WINDOWS as usize }> = LruHashMap::new();
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counter, { PLACES as usize }> = PerCpuArray::new();

/// A map's address for helpers.
#[inline(always)]
pub(crate) fn address<M>(map: &M) -> *mut c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}

/// The value of `key`; null if there is none.
///
/// # Safety
/// `map` is a map whose keys are like `key` and whose values are `V`.
#[inline(always)]
pub(crate) unsafe fn find<V>(map: *mut c_void, key: *const c_void) -> *mut V {
    // SAFETY: as the caller's.
    unsafe { bpf_map_lookup_elem(map, key.cast_mut()).cast() }
}

/// The value of `key` in the inner map `slot` of `outer`; null if there is none.
///
/// # Safety
/// As [`find`].
#[inline(always)]
pub(crate) unsafe fn find_inner<M, V>(outer: &M, slot: u32, key: *const c_void) -> *mut V {
    // SAFETY: as the caller's.
    unsafe {
        let inner: *mut c_void = find(address(outer), (&raw const slot).cast());
        if inner.is_null() { core::ptr::null_mut() } else { find(inner, key) }
    }
}

/// Stores a value; the helper's error otherwise.
///
/// # Safety
/// `map` is a map whose keys are like `key` and whose values are like `value`.
#[inline(always)]
pub(crate) unsafe fn store(map: *mut c_void, key: *const u64, value: *const c_void, flags: u64) -> i64 {
    // SAFETY: as the caller's.
    unsafe { bpf_map_update_elem(map, key.cast_mut().cast(), value.cast_mut(), flags) }
}

/// Counts what went wrong.
#[inline(always)]
pub(crate) fn count(place: Place, error: i64) {
    let index = place as u32;
    // SAFETY: this CPU's own row; another run on it may be counting too.
    unsafe {
        let row: *mut Counter = find(address(&COUNTERS), (&raw const index).cast());
        if !row.is_null() {
            add(&raw mut (*row).count, 1);
            (*row).error = error;
        }
    }
}
