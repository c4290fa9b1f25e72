//! KERNEL: offsets of the running kernel's structures, from its BTF, and what helpers it has.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kernel has no such field.
pub const MISSING: u32 = u32::MAX;

/// Bits of [`Kernel::features`].
pub mod feature {
    /// `bpf_get_current_task_btf` (5.11).
    pub const CURRENT_TASK_BTF: u32 = 1;
    /// `bpf_get_current_ancestor_cgroup_id` in LSM programs (not 5.10).
    pub const ANCESTOR_CGROUP: u32 = 2;
}

macro_rules! kernel {
    ($($(#[$meta:meta])* $field:ident: $($path:literal),+;)*) => {
        /// Offsets in bytes; [`MISSING`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct Kernel {
            /// Address of the kernel's `rename_lock`, 0 where it is not known.
            pub rename_lock: u64,
            /// [`feature`].
            pub features: u32,
            $($(#[$meta])* #[doc = concat!("Offset of ", $("`", $path, "` "),+, "(the first that exists).")] pub $field: u32,)*
        }

        impl Kernel {
            /// Nothing is known.
            pub const UNKNOWN: Self = Self { rename_lock: 0, features: 0, $($field: MISSING,)* };

            /// By field of this structure: the spellings `struct.member.member`, best first, that it is the offset of.
            /// A member of an anonymous union or structure is found by its own name.
            pub const FIELDS: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($field), &[$($path),+]),)*];

            /// The field of this name.
            pub fn field_mut(&mut self, name: &str) -> Option<&mut u32> {
                match name {
                    $(stringify!($field) => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

kernel! {
    task_group_leader: "task_struct.group_leader";
    task_real_parent: "task_struct.real_parent";
    task_tgid: "task_struct.tgid";
    task_pid: "task_struct.pid";
    task_flags: "task_struct.flags";
    task_exit_code: "task_struct.exit_code";
    task_signal: "task_struct.signal";
    task_nsproxy: "task_struct.nsproxy";
    task_cred: "task_struct.cred";
    task_mm: "task_struct.mm";
    task_cgroups: "task_struct.cgroups";
    task_thread_pid: "task_struct.thread_pid";
    task_start_boottime: "task_struct.start_boottime", "task_struct.real_start_time";
    signal_pids: "signal_struct.pids";
    pid_level: "pid.level";
    pid_numbers: "pid.numbers";
    upid_nr: "upid.nr";
    upid_ns: "upid.ns";
    nsproxy_uts: "nsproxy.uts_ns";
    nsproxy_ipc: "nsproxy.ipc_ns";
    nsproxy_mnt: "nsproxy.mnt_ns";
    nsproxy_pid_for_children: "nsproxy.pid_ns_for_children";
    nsproxy_net: "nsproxy.net_ns";
    nsproxy_time: "nsproxy.time_ns";
    nsproxy_time_for_children: "nsproxy.time_ns_for_children";
    nsproxy_cgroup: "nsproxy.cgroup_ns";
    uts_inum: "uts_namespace.ns.inum";
    ipc_inum: "ipc_namespace.ns.inum";
    mnt_inum: "mnt_namespace.ns.inum";
    pid_inum: "pid_namespace.ns.inum";
    net_inum: "net.ns.inum";
    time_inum: "time_namespace.ns.inum";
    cgroup_inum: "cgroup_namespace.ns.inum";
    user_inum: "user_namespace.ns.inum";
    user_level: "user_namespace.level";
    user_owner: "user_namespace.owner";
    user_group: "user_namespace.group";
    /// Eight ids and the secure bits stand one after the other.
    cred_uid: "cred.uid";
    cred_euid: "cred.euid";
    cred_egid: "cred.egid";
    cred_user_ns: "cred.user_ns";
    cred_cap_effective: "cred.cap_effective";
    cred_cap_inheritable: "cred.cap_inheritable";
    cred_cap_permitted: "cred.cap_permitted";
    mm_exe_file: "mm_struct.exe_file";
    css_set_dfl_cgrp: "css_set.dfl_cgrp";
    cgroup_kn: "cgroup.kn";
    cgroup_level: "cgroup.level";
    /// An array of ids; newer kernels have [`Self::cgroup_ancestors`].
    cgroup_ancestor_ids: "cgroup.ancestor_ids";
    /// An array of pointers.
    cgroup_ancestors: "cgroup.ancestors";
    kernfs_node_id: "kernfs_node.id";
    bprm_file: "linux_binprm.file";
    bprm_p: "linux_binprm.p";
    bprm_exec: "linux_binprm.exec";
    bprm_argc: "linux_binprm.argc";
    file_path: "file.f_path";
    path_mnt: "path.mnt";
    path_dentry: "path.dentry";
    dentry_parent: "dentry.d_parent";
    dentry_name: "dentry.d_name.name", "dentry.__d_name.name";
    /// Hash in the low half, length in the high half.
    dentry_hash_length: "dentry.d_name.hash_len", "dentry.__d_name.hash_len";
    mount_parent: "mount.mnt_parent";
    mount_mountpoint: "mount.mnt_mountpoint";
    /// Of the `vfsmount` inside.
    mount_mnt: "mount.mnt";
    vfsmount_root: "vfsmount.mnt_root";
    socket_sk: "socket.sk";
    skb_head: "sk_buff.head";
    skb_len: "sk_buff.len";
    /// From the head.
    skb_network_header: "sk_buff.network_header";
    /// Kind of the program, number of its instructions and what else there is of it.
    bpf_program_kind: "bpf_prog.type";
    bpf_program_length: "bpf_prog.len";
    bpf_program_aux: "bpf_prog.aux";
    bpf_aux_name: "bpf_prog_aux.name";
    bpf_map_kind: "bpf_map.map_type";
    bpf_map_key_size: "bpf_map.key_size";
    bpf_map_value_size: "bpf_map.value_size";
    bpf_map_max_entries: "bpf_map.max_entries";
    bpf_map_name: "bpf_map.name";
    perf_kind: "perf_event.attr.type";
    perf_config: "perf_event.attr.config";
    /// In user memory.
    perf_probe_function: "perf_event.attr.kprobe_func";
    perf_probe_offset: "perf_event.attr.probe_offset";
    module_name: "module.name";
    module_taints: "module.taints";
    module_signed: "module.sig_ok";
    load_name: "load_info.name";
    load_signed: "load_info.sig_ok";
    sock_family: "sock.__sk_common.skc_family";
    sock_number: "sock.__sk_common.skc_num";
    sock_dport: "sock.__sk_common.skc_dport";
    sock_daddr: "sock.__sk_common.skc_daddr";
    sock_rcv_saddr: "sock.__sk_common.skc_rcv_saddr";
    sock_v6_daddr: "sock.__sk_common.skc_v6_daddr";
    sock_v6_rcv_saddr: "sock.__sk_common.skc_v6_rcv_saddr";
    sock_state: "sock.__sk_common.skc_state";
    /// 8 bits at byte 1 of the bit field until 5.5; a field of its own since.
    sock_protocol: "sock.sk_protocol";
    sock_type: "sock.sk_type";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_can_be_set_by_name() {
        let mut kernel = Kernel::UNKNOWN;
        for (index, (name, spellings)) in Kernel::FIELDS.iter().enumerate() {
            assert!(!spellings.is_empty());
            *kernel.field_mut(name).unwrap() = u32::try_from(index).unwrap();
        }
        assert!(!kernel.as_bytes()[12..].chunks(4).any(|field| field == [0xff; 4]), "a field was not set");
        assert_eq!(kernel.field_mut("no_such"), None);
    }
}
