//! Which LSM hooks stand behind a `security_` function.

/// The hooks that `security_NAME` may call, whichever of them a kernel has.
pub(super) fn of(name: &str) -> Vec<&str> {
    let renamed = RENAMED.iter().filter(|(function, _)| *function == name).map(|(_, hook)| *hook);
    std::iter::once(name).chain(renamed).collect()
}

/// Functions whose hook has another name.
const RENAMED: &[(&str, &str)] = &[
    ("bpf_map_alloc", "bpf_map_alloc_security"),
    ("bpf_map_free", "bpf_map_free_security"),
    ("bpf_prog_alloc", "bpf_prog_alloc_security"),
    ("bpf_prog_free", "bpf_prog_free_security"),
    ("bprm_check", "bprm_check_security"),
    ("create_user_ns", "userns_create"),
    ("file_alloc", "file_alloc_security"),
    ("file_free", "file_free_security"),
    ("inode_alloc", "inode_alloc_security"),
    ("inode_free", "inode_free_security"),
    ("msg_msg_alloc", "msg_msg_alloc_security"),
    ("msg_msg_free", "msg_msg_free_security"),
    ("msg_queue_alloc", "msg_queue_alloc_security"),
    ("prepare_creds", "cred_prepare"),
    ("sb_alloc", "sb_alloc_security"),
    ("sb_free", "sb_free_security"),
    ("sem_alloc", "sem_alloc_security"),
    ("settime64", "settime"),
    ("shm_alloc", "shm_alloc_security"),
    ("sk_alloc", "sk_alloc_security"),
    ("sk_clone", "sk_clone_security"),
    ("sk_free", "sk_free_security"),
    ("sock_rcv_skb", "socket_sock_rcv_skb"),
    ("transfer_creds", "cred_transfer"),
];

/// Hooks that the kernel has and that no program may attach to, or whose arguments changed meaning.
pub(super) const UNUSABLE: &[&str] = &[
    "audit_rule_match",
    "getprocattr",
    "getselfattr",
    "inode_copy_up_xattr",
    "inode_getsecurity",
    "inode_listsecurity",
    "inode_need_killpriv",
    "ismaclabel",
    "key_getsecurity",
    "setprocattr",
    "vm_enough_memory",
    "xfrm_decode_session",
];
