//! What this node's kernel has and can do, measured.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use stockade_policy::NodeFacts;

use crate::btf::KernelBtf;
use crate::sys;

/// Where the kernel lists its active security modules.
const LSM_LIST: &str = "/sys/kernel/security/lsm";
/// The number of the perf device of kprobes.
const KPROBE_TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";
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

/// The number of the kprobe device, for [`sys::perf_kprobe`].
pub(crate) fn kprobe_type() -> io::Result<u32> {
    let text = std::fs::read_to_string(KPROBE_TYPE)?;
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether this process may open perf events for kprobes and tracepoints.
fn perf_events() -> bool {
    kprobe_type().and_then(|kind| sys::perf_kprobe(kind, PROBED_FUNCTION, false)).is_ok()
}

/// `r0 = 0; exit`
const RETURN_ZERO: [u64; 2] = [0x0000_0000_0000_00b7, 0x95];

fn kprobe_multi() -> bool {
    const BPF_TRACE_KPROBE_MULTI: u32 = 42;
    sys::load_probe_program(&RETURN_ZERO, BPF_TRACE_KPROBE_MULTI)
        .and_then(|program| sys::link_create_kprobe_multi(program.as_fd(), PROBED_FUNCTION, false))
        .is_ok()
}

fn override_return() -> bool {
    // r2 = 0; call bpf_override_return; r0 = 0; exit: loads only where the kernel was built with the helper.
    let program = [0x0000_0000_0000_02b7, 0x0000_003a_0000_0085, 0x0000_0000_0000_00b7, 0x95];
    sys::load_probe_program(&program, 0).is_ok()
}
