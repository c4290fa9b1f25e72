//! Named objects of the kernel as upstream's JSON spells them.

use serde_json::{Value as Json, json};
use stockade_enforcer_common::event::{OBJECT_UNKNOWN, ObjectData};
use stockade_enforcer_common::plan::kind;

use super::super::directory::insert;

/// `BPF_PROG_TYPE_*`, by number.
const PROGRAMS: [&str; 33] = [
    "UNSPEC",
    "SOCKET_FILTER",
    "KPROBE",
    "SCHED_CLS",
    "SCHED_ACT",
    "TRACEPOINT",
    "XDP",
    "PERF_EVENT",
    "CGROUP_SKB",
    "CGROUP_SOCK",
    "LWT_IN",
    "LWT_OUT",
    "LWT_XMIT",
    "SOCK_OPS",
    "SK_SKB",
    "CGROUP_DEVICE",
    "SK_MSG",
    "RAW_TRACEPOINT",
    "CGROUP_SOCK_ADDR",
    "LWT_SEG6LOCAL",
    "LIRC_MODE2",
    "SK_REUSEPORT",
    "FLOW_DISSECTOR",
    "CGROUP_SYSCTL",
    "RAW_TRACEPOINT_WRITABLE",
    "CGROUP_SOCKOPT",
    "TRACING",
    "STRUCT_OPS",
    "EXT",
    "LSM",
    "SK_LOOKUP",
    "SYSCALL",
    "NETFILTER",
];

/// `BPF_MAP_TYPE_*`, by number.
const MAPS: [&str; 34] = [
    "UNSPEC",
    "HASH",
    "ARRAY",
    "PROG_ARRAY",
    "PERF_EVENT_ARRAY",
    "PERCPU_HASH",
    "PERCPU_ARRAY",
    "STACK_TRACE",
    "CGROUP_ARRAY",
    "LRU_HASH",
    "LRU_PERCPU_HASH",
    "LPM_TRIE",
    "ARRAY_OF_MAPS",
    "HASH_OF_MAPS",
    "DEVMAP",
    "SOCKMAP",
    "CPUMAP",
    "XSKMAP",
    "SOCKHASH",
    "CGROUP_STORAGE",
    "REUSEPORT_SOCKARRAY",
    "PERCPU_CGROUP_STORAGE",
    "QUEUE",
    "STACK",
    "SK_STORAGE",
    "DEVMAP_HASH",
    "STRUCT_OPS",
    "RINGBUF",
    "INODE_STORAGE",
    "TASK_STORAGE",
    "BLOOM_FILTER",
    "USER_RINGBUF",
    "CGRP_STORAGE",
    "ARENA",
];

/// `PERF_TYPE_*`, by number; others are numbers of devices.
const EVENTS: [&str; 6] = ["HARDWARE", "SOFTWARE", "TRACEPOINT", "HW_CACHE", "RAW", "BREAKPOINT"];

/// What taints the kernel, by bit.
const TAINTS: [(u64, &str); 7] = [
    (0, "TAINT_PROPRIETARY_MODULE"),
    (1, "TAINT_FORCED_MODULE"),
    (3, "TAINT_FORCED_UNLOAD_MODULE"),
    (10, "TAINT_STAGED_MODULE"),
    (12, "TAINT_OUT_OF_TREE_MODULE"),
    (13, "TAINT_UNSIGNED_MODULE"),
    (15, "TAINT_KERNEL_LIVE_PATCH_MODULE"),
];

/// An object; what its kernel does not say is left out.
pub(super) fn described(kind: u32, object: &ObjectData) -> Json {
    let name = String::from_utf8_lossy(object.name.split(|byte| *byte == 0).next().unwrap_or_default());
    let [first, second, third, fourth] = object.numbers;
    match kind {
        kind::BPF_ATTR | kind::BPF_PROGRAM => {
            let program = fields([
                ("ProgType", known(first).map(|ty| json!(named("BPF_PROG_TYPE_", ty, &PROGRAMS)))),
                ("InsnCnt", known(second).map(|count| json!(count))),
                ("ProgName", Some(json!(name))),
            ]);
            if kind == kind::BPF_ATTR { json!({"bpf_attr_arg": program}) } else { json!({"bpf_prog_arg": program}) }
        }
        kind::BPF_MAP => json!({"bpf_map_arg": fields([
            ("MapType", known(first).map(|ty| json!(named("BPF_MAP_TYPE_", ty, &MAPS)))),
            ("KeySize", known(second).map(|size| json!(size))),
            ("ValueSize", known(third).map(|size| json!(size))),
            ("MaxEntries", known(fourth).map(|count| json!(count))),
            ("MapName", Some(json!(name))),
        ])}),
        kind::PERF_EVENT => json!({"perf_event_arg": fields([
            ("KprobeFunc", Some(json!(name))),
            ("Type", known(first).map(|ty| json!(named("PERF_TYPE_", ty, &EVENTS)))),
            // As protojson writes 64 bits.
            ("Config", known(second).map(|config| json!(config.to_string()))),
            ("ProbeOffset", known(third).map(|offset| json!(offset.to_string()))),
        ])}),
        _ => json!({"module_arg": fields([
            ("name", Some(json!(name))),
            ("signature_ok", known(first).map(|right| json!(right != 0))),
            ("tainted", if kind == kind::MODULE { known(second).map(|bits| json!(taints(bits))) } else { None }),
        ])}),
    }
}

fn known(number: u64) -> Option<u64> {
    (number != OBJECT_UNKNOWN).then_some(number)
}

fn fields<const N: usize>(fields: [(&str, Option<Json>); N]) -> Json {
    let mut object = json!({});
    for (name, value) in fields {
        if let Some(value) = value {
            insert(&mut object, name, value);
        }
    }
    object
}

/// A number that newer kernels have given a name is a number.
fn named(prefix: &str, number: u64, names: &[&str]) -> String {
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    name.map_or_else(|| number.to_string(), |name| format!("{prefix}{name}"))
}

fn taints(bits: u64) -> Vec<String> {
    let set = (0..64_u64).filter(|bit| bits >> bit & 1 == 1);
    set.map(|bit| {
        let name = TAINTS.iter().find(|(known, _)| *known == bit);
        name.map_or_else(|| format!("TAINT_{bit}"), |(_, name)| (*name).to_owned())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(numbers: [u64; 4], name: &str) -> ObjectData {
        let mut object = ObjectData { numbers, name: [0; 64] };
        object.name[..name.len()].copy_from_slice(name.as_bytes());
        object
    }

    #[test]
    fn objects_are_spelt_as_upstream_spells_them() {
        const NO: u64 = OBJECT_UNKNOWN;
        assert_eq!(
            described(kind::BPF_ATTR, &object([2, 12, NO, NO], "probe")),
            json!({"bpf_attr_arg": {"ProgType": "BPF_PROG_TYPE_KPROBE", "InsnCnt": 12, "ProgName": "probe"}})
        );
        assert_eq!(
            described(kind::BPF_MAP, &object([27, 0, 0, 4096], "events")),
            json!({"bpf_map_arg": {"MapType": "BPF_MAP_TYPE_RINGBUF", "KeySize": 0, "ValueSize": 0, "MaxEntries": 4096,
                "MapName": "events"}})
        );
        assert_eq!(
            described(kind::PERF_EVENT, &object([8, 0, 16, NO], "vfs_open")),
            json!({"perf_event_arg": {"KprobeFunc": "vfs_open", "Type": "8", "Config": "0", "ProbeOffset": "16"}})
        );
        assert_eq!(
            described(kind::MODULE, &object([0, 1 << 12 | 1 << 13, NO, NO], "evil")),
            json!({"module_arg": {"name": "evil", "signature_ok": false,
                "tainted": ["TAINT_OUT_OF_TREE_MODULE", "TAINT_UNSIGNED_MODULE"]}})
        );
        let unsaid = described(kind::LOAD_INFO, &object([NO; 4], "evil"));
        assert_eq!(unsaid, json!({"module_arg": {"name": "evil"}}));
    }
}
