//! The `.rodata` of a hook's program: what the verifier specialises it by.

use crate::dimension::DimensionSet;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Arguments that a hook can read.
pub const MAX_ARGS: usize = 5;
/// Pointers that can be followed to an argument.
pub const MAX_CHAIN: usize = 4;

/// How an argument is read: [`ArgPlan::kind`].
pub mod kind {
    /// The argument is not there.
    pub const NONE: u32 = 0;
    /// 32 bits, signed.
    pub const INT: u32 = 1;
    /// 32 bits, unsigned.
    pub const UINT32: u32 = 2;
    /// 64 bits.
    pub const SIZE: u32 = 3;
    /// `char *`, in kernel or user memory ([`super::flag::USER`]).
    pub const STRING: u32 = 4;
    /// `struct file *`.
    pub const FILE: u32 = 5;
    /// `struct path *`.
    pub const PATH: u32 = 6;
    /// `struct linux_binprm *`: the path of its file.
    pub const BINPRM: u32 = 7;
    /// `struct sock *`, or `struct socket *` with [`super::flag::SOCKET`].
    pub const SOCK: u32 = 8;
    /// `struct sockaddr *`, in kernel or user memory.
    pub const SOCKADDR: u32 = 9;
    /// 64 bits, signed.
    pub const INT64: u32 = 10;
    /// `struct sk_buff *`: what its headers say.
    pub const PACKET: u32 = 11;
    /// `struct cred *`: what it allows, for reports only.
    pub const CREDENTIALS: u32 = 12;
    /// `struct user_namespace *`, for reports only.
    pub const USER_NAMESPACE: u32 = 13;
    /// `struct dentry *`: its path from the root of its file system.
    pub const DENTRY: u32 = 14;
    /// Bytes whose number another argument says ([`super::flag::USER`] or by their address, in user or kernel memory).
    pub const BUFFER: u32 = 15;
    /// An array of `char` inside what the argument points to, [`super::ArgPlan::size`] bytes from its beginning.
    pub const INNER_STRING: u32 = 16;
    /// `union bpf_attr *` of `BPF_PROG_LOAD`, for reports only, like all that follow.
    pub const BPF_ATTR: u32 = 17;
    /// `struct bpf_prog *`.
    pub const BPF_PROGRAM: u32 = 18;
    /// `struct bpf_map *`.
    pub const BPF_MAP: u32 = 19;
    /// `struct perf_event *`.
    pub const PERF_EVENT: u32 = 20;
    /// `struct module *`.
    pub const MODULE: u32 = 21;
    /// `struct load_info *`.
    pub const LOAD_INFO: u32 = 22;

    /// Whether it is a number.
    #[inline(always)]
    #[must_use]
    pub const fn is_number(kind: u32) -> bool {
        matches!(kind, INT | UINT32 | SIZE | INT64)
    }

    /// Whether it is read only where an event reports it.
    #[inline(always)]
    #[must_use]
    pub const fn is_report(kind: u32) -> bool {
        matches!(kind, CREDENTIALS | USER_NAMESPACE) || is_object(kind)
    }

    /// Whether it is a named object of the kernel ([`crate::event::ObjectData`]).
    #[inline(always)]
    #[must_use]
    pub const fn is_object(kind: u32) -> bool {
        matches!(kind, BPF_ATTR | BPF_PROGRAM | BPF_MAP | PERF_EVENT | MODULE | LOAD_INFO)
    }

    /// Whether it is a text or a path.
    #[inline(always)]
    #[must_use]
    pub const fn is_text(kind: u32) -> bool {
        matches!(kind, STRING | INNER_STRING | FILE | PATH | BINPRM | DENTRY | BUFFER)
    }

    /// Whether it has addresses and ports.
    #[inline(always)]
    #[must_use]
    pub const fn is_socket(kind: u32) -> bool {
        matches!(kind, SOCK | SOCKADDR | PACKET)
    }
}

/// Where an argument comes from: [`ArgPlan::source`].
pub mod source {
    /// The function's argument number [`super::ArgPlan::index`].
    pub const ARGUMENT: u32 = 0;
    /// `index` bytes into the tracepoint's record, `size` bytes wide.
    pub const FIELD: u32 = 1;
    /// As `FIELD`, the word being a `__data_loc`: offset in the low half, length in the high half.
    pub const DATA_LOC: u32 = 2;
}

/// Bits of [`ArgPlan::flags`].
pub mod flag {
    /// The pointer is into user memory.
    pub const USER: u32 = 1;
    /// The pointer is to a `struct socket`, its `sk` is meant.
    pub const SOCKET: u32 = 2;
    /// A null pointer is an absent value (an empty text), not a fault.
    pub const NULLABLE: u32 = 4;
    /// A field of the tracepoint is signed.
    pub const SIGNED: u32 = 8;
    /// The length of a buffer has 32 bits: what is above them in its register is not the caller's to say.
    pub const SHORT_LENGTH: u32 = 16;
}

/// How one argument is read.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ArgPlan {
    /// [`kind`].
    pub kind: u32,
    /// [`source`].
    pub source: u32,
    /// Which argument, or where in the record.
    pub index: u32,
    /// Width of a tracepoint's field in bytes; of an argument, where it has less than its kind: 1 or 2. Of a buffer: the
    /// argument that says how long it is, or where a chain begins, the offset in what that argument points to.
    pub size: u32,
    /// [`flag`].
    pub flags: u32,
    /// How many of `chain` are followed before the value is taken.
    pub depth: u32,
    /// Each: `value = *(u64 *)(value + offset)`. For a system call the first is the offset in `pt_regs`.
    pub chain: [u32; MAX_CHAIN],
}

/// What a hook's program is: bits of [`Plan::flags`].
pub mod plan_flag {
    /// The program's return value decides: LSM hooks that are not void.
    pub const CAN_DENY: u32 = 1;
    /// The hook is part of an exec (`bprm_*`): a process that is in no container yet is judged by the cgroup it is in now.
    pub const EXEC: u32 = 2;
    /// A rule's events are limited ([`crate::limit`]).
    pub const LIMITS: u32 = 4;
}

/// PLAN: what the program of a hook instance does.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Plan {
    /// Number of the hook instance; its events carry it.
    pub hook: u32,
    /// [`plan_flag`].
    pub flags: u32,
    /// The dimensions that the program can look up: a superset of every head's `used`.
    pub dimensions: DimensionSet,
    /// Index of the previous LSM program's result among the hook's arguments: their number. 0: not an LSM hook.
    pub result_index: u32,
    /// Words of rules that the program looks at: at least every head's `words`; 0: all [`crate::bits::WORDS`].
    pub words: u32,
    /// Zero.
    pub reserved: [u32; 2],
    /// The arguments, in the policies' order.
    pub args: [ArgPlan; MAX_ARGS],
}

const _: () = assert!(size_of::<ArgPlan>() == 40);
const _: () = assert!(size_of::<Plan>() == 40 + MAX_ARGS * 40);
