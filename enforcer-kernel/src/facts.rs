//! What this node's kernel has and can do, measured.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use stockade_policy::NodeFacts;

use crate::btf::KernelBtf;
use crate::sys::{self, ProbeProgram};

/// Where the kernel lists its active security modules.
const LSM_LIST: &str = "/sys/kernel/security/lsm";
/// The number of the perf device of kprobes.
const KPROBE_TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";
/// The number of the perf device of uprobes.
const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// A function that every kernel has and that nobody calls often: attached to for a moment to learn what attaches.
const PROBED_FUNCTION: &std::ffi::CStr = c"vfs_fsync_range";

/// Where the unified cgroup hierarchy is mounted.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The capabilities that matter here, by their bit in `/proc/self/status`.
const CAPABILITIES: &[(u32, &str)] = &[
    (2, "CAP_DAC_READ_SEARCH"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (24, "CAP_SYS_RESOURCE"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// Measures everything but the node's name and labels, which the caller knows.
#[must_use]
pub fn facts(btf: Option<&KernelBtf>) -> NodeFacts {
    let (kernel_release, architecture) = sys::release_and_machine();
    let mut features = BTreeSet::new();
    let mut have = |name: &str, is: bool| {
        if is {
            features.insert(name.to_owned());
        }
    };
    have("btf", btf.is_some());
    have("cgroup2", cgroup2());
    have("perf_events", perf_events());
    have("kprobe_multi", kprobe_multi());
    have("override_return", override_return());
    NodeFacts {
        node: String::new(),
        kernel_release,
        architecture,
        lsm: lsm_list(),
        lsm_hooks: btf.and_then(|btf| btf.lsm_hooks().ok()).unwrap_or_default(),
        features,
        ..NodeFacts::default()
    }
}

/// The active security modules, in order; empty where securityfs is not mounted.
#[must_use]
pub fn lsm_list() -> Vec<String> {
    let text = std::fs::read_to_string(LSM_LIST).unwrap_or_default();
    text.trim().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The effective capabilities of this process, of those that matter.
pub fn own_capabilities() -> io::Result<BTreeSet<&'static str>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(CAPABILITIES.iter().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect())
}

/// Whether the unified hierarchy is mounted where it belongs.
#[must_use]
pub fn cgroup2() -> bool {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    sys::file_system_is(c"/sys/fs/cgroup", CGROUP2_SUPER_MAGIC)
}

/// Whether the kernel has a function of this name, in itself or in a module; `None` if it does not say.
pub(crate) fn has_function(name: &str) -> Option<bool> {
    let symbols = std::fs::read_to_string("/proc/kallsyms").ok()?;
    Some(symbols.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        matches!(words.next(), Some("t" | "T" | "w" | "W")) && words.next() == Some(name)
    }))
}

/// The number of the kprobe device, for [`sys::perf_kprobe`].
pub(crate) fn kprobe_type() -> io::Result<u32> {
    device(KPROBE_TYPE)
}

/// The number of the uprobe device, for [`sys::perf_uprobe`].
pub(crate) fn uprobe_type() -> io::Result<u32> {
    device(UPROBE_TYPE)
}

fn device(path: &str) -> io::Result<u32> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether this process may open perf events for kprobes and tracepoints.
fn perf_events() -> bool {
    kprobe_type().and_then(|kind| sys::perf_kprobe(kind, PROBED_FUNCTION, false)).is_ok()
}

/// `BPF_PROG_TYPE_KPROBE`
const KPROBE: u32 = 2;
/// `r0 = 0; exit`
const RETURN_ZERO: [u64; 2] = [0x0000_0000_0000_00b7, 0x95];

fn kprobe_multi() -> bool {
    const BPF_TRACE_KPROBE_MULTI: u32 = 42;
    let program = ProbeProgram {
        kind: KPROBE,
        attach_type: BPF_TRACE_KPROBE_MULTI,
        attach_btf_id: 0,
        instructions: &RETURN_ZERO,
    };
    sys::load_probe_program(&program)
        .and_then(|program| sys::link_create_kprobe_multi(program.as_fd(), PROBED_FUNCTION, false))
        .is_ok()
}

/// `r0 = 0; exit` after a call of the helper with this number.
fn calling(helper: u64) -> [u64; 4] {
    // r2 = 0; call; r0 = 0; exit
    [0x0000_0000_0000_02b7, helper << 32 | 0x85, 0x0000_0000_0000_00b7, 0x95]
}

fn override_return() -> bool {
    const BPF_OVERRIDE_RETURN: u64 = 58;
    // Loads only where the kernel was built with the helper.
    let instructions = calling(BPF_OVERRIDE_RETURN);
    let program = ProbeProgram { kind: KPROBE, attach_type: 0, attach_btf_id: 0, instructions: &instructions };
    sys::load_probe_program(&program).is_ok()
}

/// Whether LSM programs may call the helper with this number, whose first argument, if any, may be anything.
pub(crate) fn lsm_helper(btf: &KernelBtf, helper: u64) -> bool {
    const BPF_PROG_TYPE_LSM: u32 = 29;
    const BPF_LSM_MAC: u32 = 27;
    let Some(attach_btf_id) = btf.function_id("bpf_lsm_file_open") else { return false };
    // r1 = 0; call; r0 = 0; exit
    let instructions = [0x0000_0000_0000_01b7, helper << 32 | 0x85, 0x0000_0000_0000_00b7, 0x95];
    let program =
        ProbeProgram { kind: BPF_PROG_TYPE_LSM, attach_type: BPF_LSM_MAC, attach_btf_id, instructions: &instructions };
    sys::load_probe_program(&program).is_ok()
}
