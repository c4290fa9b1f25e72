//! The words of the language and what they go with: which operator has a meaning on which type, what can be hooked, and what
//! older documents say. Validation, the documentation and the commands all read these tables.

pub mod limits;
mod operators;
mod syscalls;

pub use self::operators::{OPERATORS, Operator, Side, Subject, operator};
pub(crate) use self::syscalls::names as syscall_names;
pub use self::syscalls::{numbered, same_everywhere, syscall_number};

use crate::ir::FileType;
pub use crate::validate::{FAMILIES, PROTOCOLS, nearest};

/// The highest capability that there is (`CAP_CHECKPOINT_RESTORE`).
pub const LAST_CAPABILITY: u32 = 40;

/// The capabilities by their numbers (`include/uapi/linux/capability.h`).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The states of a TCP socket (`include/net/tcp_states.h`).
pub const TCP_STATES: [(&str, u16); 12] = [
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
    ("TCP_NEW_SYN_RECV", 12),
];

/// The kinds of files, by all their names.
pub const FILE_TYPES: [(&str, FileType); 13] = [
    ("sock", FileType::Socket),
    ("socket", FileType::Socket),
    ("lnk", FileType::Link),
    ("link", FileType::Link),
    ("reg", FileType::Regular),
    ("regular", FileType::Regular),
    ("blk", FileType::Block),
    ("block", FileType::Block),
    ("dir", FileType::Directory),
    ("chr", FileType::Character),
    ("char", FileType::Character),
    ("fifo", FileType::Fifo),
    ("pipe", FileType::Fifo),
];

/// How many kinds of files there are.
pub const ALL_FILE_TYPES: usize = 7;

/// Words that older releases of the language had, or that only look like its words, and what to write instead.
pub const OBSOLETE: &[(&str, &str)] = &[
    (
        "FollowFD",
        "read the argument as a file (type: file, or fd for a descriptor): its path is known without following descriptors",
    ),
    ("UnfollowFD", "remove it: paths of descriptors are known without following them"),
    ("CopyFD", "remove it: paths of descriptors are known without following them"),
    ("NotifyKiller", "write NotifyEnforcer, and enforcers instead of killers"),
    ("killers", "write enforcers"),
    (
        "matchCurrentCred",
        "read the credential with data (source: current_task, resolve: cred.uid.val) and compare it with matchData",
    ),
    ("eq", "write Equal"),
    ("neq", "write NotEqual"),
    ("gt", "write GT"),
    ("lt", "write LT"),
    ("SubStringIgnoreCase", "write SubStringIgnCase"),
    ("NotSPortPriv", "write NotSportPriv"),
    ("In", "write Equal"),
    ("NotIn", "write NotEqual"),
];

/// What to write instead of a word that is no longer one.
#[must_use]
pub fn instead_of(word: &str) -> Option<&'static str> {
    OBSOLETE.iter().find(|(old, _)| *old == word).map(|(_, instead)| *instead)
}
