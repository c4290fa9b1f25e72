//! KERNEL: the global that tells programs where the running kernel keeps its fields.

use stockade_enforcer_common::offset::{Kernel, feature};

use crate::btf::KernelBtf;
use crate::facts;

/// Helpers that not every kernel lets LSM programs call.
const HELPERS: &[(u32, u64)] = &[
    // bpf_get_current_task_btf
    (feature::CURRENT_TASK_BTF, 158),
    // bpf_get_current_ancestor_cgroup_id
    (feature::ANCESTOR_CGROUP, 80),
];

/// Reads everything that [`Kernel`] asks for; what this kernel has not stays [`stockade_enforcer_common::offset::MISSING`].
#[must_use]
pub fn kernel(btf: &KernelBtf) -> Kernel {
    let mut kernel = Kernel::UNKNOWN;
    for (name, spellings) in Kernel::FIELDS {
        let found = spellings.iter().find_map(|spelling| {
            let (structure, path) = spelling.split_once('.')?;
            btf.field(structure, path).ok()
        });
        if let (Some(found), Some(place)) = (found, kernel.field_mut(name)) {
            *place = found.offset();
        }
    }
    for (bit, helper) in HELPERS {
        if facts::lsm_helper(btf, *helper) {
            kernel.features |= bit;
        }
    }
    kernel.rename_lock = symbol("rename_lock").unwrap_or_default();
    kernel
}

/// The address of a kernel symbol; `None` where the kernel hides addresses from this process.
fn symbol(name: &str) -> Option<u64> {
    let symbols = std::fs::read_to_string("/proc/kallsyms").ok()?;
    symbols.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (address, _kind, found) = (words.next()?, words.next()?, words.next()?);
        (found == name).then(|| u64::from_str_radix(address, 16).ok())?.filter(|address| *address != 0)
    })
}
