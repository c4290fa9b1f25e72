//! Functions whose arguments are the same on every kernel that is supported (5.10 to 7.2).
//!
//! Only what does not differ is listed: what a document says about another function is compared with what nodes have
//! published, and is never a reason to refuse. Where a kernel has an argument more, the longer list is given.

use super::well_known::Class;
use super::well_known::Class::{Number as N, Pointer as P, Text as T};

/// A function: its name and its arguments.
pub(super) type Function = (&'static str, &'static [(&'static str, Class)]);

/// LSM hooks. `security_x` has the arguments of `x`, except for what is in [`FUNCTIONS`].
pub(super) const LSM_HOOKS: &[Function] = &[
    ("bpf", &[("cmd", N), ("attr", P("bpf_attr")), ("size", N), ("kernel", N)]),
    ("bprm_check_security", &[("bprm", P("linux_binprm"))]),
    ("bprm_committed_creds", &[("bprm", P("linux_binprm"))]),
    ("bprm_committing_creds", &[("bprm", P("linux_binprm"))]),
    ("bprm_creds_for_exec", &[("bprm", P("linux_binprm"))]),
    ("bprm_creds_from_file", &[("bprm", P("linux_binprm")), ("file", P("file"))]),
    (
        "capset",
        &[
            ("new", P("cred")),
            ("old", P("cred")),
            ("effective", P("kernel_cap_t")),
            ("inheritable", P("kernel_cap_t")),
            ("permitted", P("kernel_cap_t")),
        ],
    ),
    ("file_fcntl", &[("file", P("file")), ("cmd", N), ("arg", N)]),
    ("file_ioctl", &[("file", P("file")), ("cmd", N), ("arg", N)]),
    ("file_lock", &[("file", P("file")), ("cmd", N)]),
    ("file_mprotect", &[("vma", P("vm_area_struct")), ("reqprot", N), ("prot", N)]),
    ("file_open", &[("file", P("file"))]),
    ("file_permission", &[("file", P("file")), ("mask", N)]),
    ("file_receive", &[("file", P("file"))]),
    ("file_truncate", &[("file", P("file"))]),
    ("inode_follow_link", &[("dentry", P("dentry")), ("inode", P("inode")), ("rcu", N)]),
    ("inode_mkdir", &[("dir", P("inode")), ("dentry", P("dentry")), ("mode", N)]),
    ("inode_permission", &[("inode", P("inode")), ("mask", N)]),
    ("inode_rmdir", &[("dir", P("inode")), ("dentry", P("dentry"))]),
    ("inode_unlink", &[("dir", P("inode")), ("dentry", P("dentry"))]),
    ("kernel_load_data", &[("id", N), ("contents", N)]),
    ("kernel_module_request", &[("kmod_name", T)]),
    ("kernel_read_file", &[("file", P("file")), ("id", N), ("contents", N)]),
    ("mmap_file", &[("file", P("file")), ("reqprot", N), ("prot", N), ("flags", N)]),
    ("path_chmod", &[("path", P("path")), ("mode", N)]),
    ("path_chroot", &[("path", P("path"))]),
    ("path_link", &[("old_dentry", P("dentry")), ("new_dir", P("path")), ("new_dentry", P("dentry"))]),
    ("path_mkdir", &[("dir", P("path")), ("dentry", P("dentry")), ("mode", N)]),
    ("path_mknod", &[("dir", P("path")), ("dentry", P("dentry")), ("mode", N), ("dev", N)]),
    (
        "path_rename",
        &[
            ("old_dir", P("path")),
            ("old_dentry", P("dentry")),
            ("new_dir", P("path")),
            ("new_dentry", P("dentry")),
            ("flags", N),
        ],
    ),
    ("path_rmdir", &[("dir", P("path")), ("dentry", P("dentry"))]),
    ("path_symlink", &[("dir", P("path")), ("dentry", P("dentry")), ("old_name", T)]),
    ("path_truncate", &[("path", P("path"))]),
    ("path_unlink", &[("dir", P("path")), ("dentry", P("dentry"))]),
    ("ptrace_access_check", &[("child", P("task_struct")), ("mode", N)]),
    ("sb_mount", &[("dev_name", T), ("path", P("path")), ("type", T), ("flags", N), ("data", P("void"))]),
    ("socket_accept", &[("sock", P("socket")), ("newsock", P("socket"))]),
    ("socket_bind", &[("sock", P("socket")), ("address", P("sockaddr")), ("addrlen", N)]),
    ("socket_connect", &[("sock", P("socket")), ("address", P("sockaddr")), ("addrlen", N)]),
    ("socket_create", &[("family", N), ("type", N), ("protocol", N), ("kern", N)]),
    ("socket_listen", &[("sock", P("socket")), ("backlog", N)]),
    ("socket_recvmsg", &[("sock", P("socket")), ("msg", P("msghdr")), ("size", N), ("flags", N)]),
    ("socket_sendmsg", &[("sock", P("socket")), ("msg", P("msghdr")), ("size", N)]),
    ("socket_shutdown", &[("sock", P("socket")), ("how", N)]),
    ("task_getscheduler", &[("p", P("task_struct"))]),
    ("task_kill", &[("p", P("task_struct")), ("info", P("kernel_siginfo")), ("sig", N), ("cred", P("cred"))]),
];

/// Functions of the kernel, and those `security_` functions that differ from the hook of the same name.
pub(super) const FUNCTIONS: &[Function] = &[
    ("__sk_free", &[("sk", P("sock"))]),
    ("commit_creds", &[("new", P("cred"))]),
    ("fd_install", &[("fd", N), ("file", P("file"))]),
    ("security_bprm_check", &[("bprm", P("linux_binprm"))]),
    ("security_mmap_file", &[("file", P("file")), ("prot", N), ("flags", N)]),
    ("sk_free", &[("sk", P("sock"))]),
    ("tcp_close", &[("sk", P("sock")), ("timeout", N)]),
    ("tcp_connect", &[("sk", P("sock"))]),
    ("tcp_sendmsg", &[("sk", P("sock")), ("msg", P("msghdr")), ("size", N)]),
    ("tcp_set_state", &[("sk", P("sock")), ("state", N)]),
    ("tcp_v4_connect", &[("sk", P("sock")), ("uaddr", P("sockaddr")), ("addr_len", N)]),
    ("tcp_v6_connect", &[("sk", P("sock")), ("uaddr", P("sockaddr")), ("addr_len", N)]),
    ("udp_sendmsg", &[("sk", P("sock")), ("msg", P("msghdr")), ("len", N)]),
];
