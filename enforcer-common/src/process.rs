//! What is known of processes, their executables and their containers.

use crate::key::LpmStrKey;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the longest path that is built.
pub const MAX_PATH: usize = 4096;

/// Which process, or which image of it: one that has run since `start_ns` under the id `tgid`.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ProcessId {
    /// Boot time of the fork or exec that made it.
    pub start_ns: u64,
    /// Thread group id in the host's pid namespace; 0 while it is not known.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}

/// What of an executable's path is listed by any policy, in one generation of the binary tables.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BinaryIds {
    /// Generation of the tables that were asked; 0: none yet.
    pub generation: u64,
    /// Id of the listed value that the path equals; 0: none.
    pub exact: u64,
    /// Id of the longest listed prefix; 0: none.
    pub prefix: u64,
    /// Id of the longest listed postfix; 0: none.
    pub postfix: u64,
}

/// PROCESSES: key is the address of the thread group leader's `task_struct`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessRecord {
    /// This process since its last fork or exec.
    pub id: ProcessId,
    /// The exec whose event has its binary and arguments: its own, or an ancestor's.
    pub image: ProcessId,
    /// The process that forked it.
    pub parent: ProcessId,
    /// The exec whose event has the parent's binary and arguments.
    pub parent_image: ProcessId,
    /// Inherited bits, slot 0 in the lowest bit of the first word.
    pub marks: [u64; 2],
    /// The cgroup it was executed in.
    pub cgroup: u64,
    /// The deepest cgroup among that one and its ancestors that was registered then; 0: none.
    pub scope_cgroup: u64,
    /// `epoch << 32 | class`: the scope class as of that epoch ([`Shared::scope_epoch`]). One word, so never torn.
    pub scope: u64,
    /// Key of the executable's path in BINARIES; 0: the path could not be built.
    pub binary: u64,
    /// By slot of the binary tables.
    pub binary_ids: [BinaryIds; 2],
    /// Effective ids at the exec.
    pub uid: u32,
    /// Effective group at the exec.
    pub gid: u32,
    /// Thread group id in its own pid namespace; 0 while it is not known.
    pub own_tgid: u32,
    /// `PROCESS_*`.
    pub flags: u32,
}

const _: () = assert!(size_of::<ProcessRecord>() == 64 + 16 + 32 + 64 + 16);

/// It was found by the iterator: it is older than the agent.
pub const PROCESS_FOUND: u32 = 1;
/// It has not executed anything since it was forked.
pub const PROCESS_FORKED: u32 = 2;
/// Its path could not be built: its binary is unknown.
pub const PROCESS_BINARY_UNKNOWN: u32 = 4;
/// It is a kernel thread.
pub const PROCESS_KERNEL: u32 = 8;
/// Its executable or that of an ancestor is unknown, so whether that was a listed one is too. Inherited.
pub const PROCESS_LINEAGE_UNKNOWN: u32 = 16;

/// What a process has from its ancestors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inherited {
    /// [`ProcessRecord::marks`].
    pub marks: [u64; 2],
    /// [`PROCESS_LINEAGE_UNKNOWN`].
    pub unknown: bool,
}

impl ProcessRecord {
    /// A record of nothing.
    pub const EMPTY: Self = Self {
        id: ProcessId { start_ns: 0, tgid: 0, reserved: 0 },
        image: ProcessId { start_ns: 0, tgid: 0, reserved: 0 },
        parent: ProcessId { start_ns: 0, tgid: 0, reserved: 0 },
        parent_image: ProcessId { start_ns: 0, tgid: 0, reserved: 0 },
        marks: [0; 2],
        cgroup: 0,
        scope_cgroup: 0,
        scope: 0,
        binary: 0,
        binary_ids: [BinaryIds { generation: 0, exact: 0, prefix: 0, postfix: 0 }; 2],
        uid: 0,
        gid: 0,
        own_tgid: 0,
        flags: 0,
    };
}

/// BINARIES: the path of an executable, by its hash, as the keys that the binary tables are asked with (in the dimensions
/// of [`crate::dimension`]). The key of the whole path is that of the prefix without its length.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BinaryRow {
    /// Bytes of the whole path.
    pub length: u32,
    /// Boot time of the latest exec, in seconds: lets user space drop what is not used.
    pub used: u32,
    /// Zero.
    pub reserved: u32,
    /// The path's first bytes, zeros after them.
    pub prefix: LpmStrKey,
    /// Zero.
    pub reserved_too: u32,
    /// The path's last bytes, reversed, zeros after them.
    pub postfix: LpmStrKey,
}

const _: () = assert!(size_of::<BinaryRow>() == 536);

/// The dimension in the keys of whole paths in BINARY_STR64 and BINARY_STR256, which hold nothing else.
pub const WHOLE_BINARY: u32 = crate::dimension::BINARY_PREFIX;

/// CGROUPS: key is the cgroup's id.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupRow {
    /// The class of what runs in it and below.
    pub class: u32,
    /// Zero.
    pub reserved: u32,
}

/// SHARED: one row that all programs read.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Shared {
    /// Raised by user space after each change of CGROUPS. Never 0 once set up.
    pub scope_epoch: u32,
    /// Which slot of the binary tables new executions are looked up in.
    pub binary_slot: u32,
    /// Generation of that slot.
    pub binary_generation: u64,
    /// `MARKS_*`: which rows MARKS has besides those of binaries.
    pub marks: u32,
    /// Zero.
    pub reserved: u32,
    /// Random: the key of digests that nobody else must be able to foresee ([`crate::limit::Digest`]).
    pub secret: [u64; 2],
}

/// MARKS has rows of pids in the host's pid namespace.
pub const MARKS_HOST_PIDS: u32 = 1;
/// MARKS has rows of pids in their own pid namespace.
pub const MARKS_OWN_PIDS: u32 = 2;

/// MARKS (value): the marks that a process gets. Key: [`MarkKey`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MarkRow {
    /// Set at the exec of a binary with this id, or when a process has this pid.
    pub marks: [u64; 2],
}

/// MARKS (key): a dimension of binaries and the id in it, or one of pids and the pid.
pub type MarkKey = crate::key::NumKey;

/// MARK_CHANGES (value): what is to be changed of a running process's marks. Key: as in PROCESSES.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MarkChange {
    /// Marks that it gets.
    pub set: [u64; 2],
    /// Marks that it loses.
    pub clear: [u64; 2],
    /// Flags that it gets.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// Id of a listed binary value: FNV-1a over the kind of comparison and its bytes; never 0, which is "none".
#[must_use]
pub fn binary_value_id(dimension: u32, value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in dimension.to_le_bytes().iter().chain(value) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash.max(1)
}
